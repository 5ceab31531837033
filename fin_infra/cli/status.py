from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import datetime, timedelta

LIMITS = {"rate_limited": "rate limit of the vendor", "quota_exhausted": "quota"}
BROKEN_NUMBERS = ("balance_unexplained", "holdings_total")


def status(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Say how fresh every stream is, and why one is not. Old data is stale, however well its last run went.

    Example: fin-infra status
    """
    from fin_infra.cli.output import put_json, say, table
    from fin_infra.connections import Connections, open_vault
    from fin_infra.reader import read
    from fin_infra.settings import Settings
    from fin_infra.store import open_store
    from fin_infra.store.opening import utc_now

    settings, now = Settings.load(), utc_now()
    objectives = settings.objectives
    store = open_store(settings.store_url)
    connections = {c.connection_id: c for c in Connections(store, open_vault(settings)).all()}

    def rows_of(dataset: str) -> list[dict[str, Any]]:
        return read(dataset, store=store).collect().to_dicts()

    findings = [row for row in rows_of("findings") if row["state"] == "open"]
    streams = [_aged(row, objectives, now) for row in rows_of("streams") if row["connection_id"] in connections]
    for row in streams:
        row["open_findings"] = sum(_stream(row) == _stream(finding) for finding in findings)
        row["connection_state"] = connections[row["connection_id"]].state
    accounts = [_aged(row, objectives, now) for row in rows_of("account_states")]
    numbers = [row for row in findings if row["kind"] in BROKEN_NUMBERS]
    never = [c for c in connections.values() if not any(s["connection_id"] == c.connection_id for s in streams)]
    if as_json:
        put_json(
            {
                "streams": streams,
                "accounts_with_errors": [row for row in accounts if row["error_code"] is not None],
                "accounts_not_ok": [row for row in accounts if row["state"] != "ok"],
                "broken_numbers": [_told(row) for row in numbers],
                "never_run": [c.connection_id for c in never],
            }
        )
        return
    header = ("stream", "tenant", "state", "waits for", "last success", "last attempt", "vendor as of", "newest row",
              "findings", "why")  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for s in streams:
        connection = connections[s["connection_id"]]
        state = s["state"] if connection.state == "active" else connection.state
        rows.append(
            (
                _stream(s), s["tenant_id"], state, _waits(s), s["last_success_at"], s["last_attempt_at"],
                s["vendor_as_of"], s["newest_row"], s["open_findings"] or None, connection.reason or s["why"],
            )
        )  # fmt: skip
    rows += [(c.connection_id, c.tenant_id, c.state, *[None] * 6, "never run yet") for c in never]
    table(rows, header)
    for row in accounts:
        if row["error_code"] is not None:
            say(f"account {row['account_id']}, {row['dataset']}: {row['error_code']}")
    for row in numbers:
        say(f"{_stream(row)}, {row['subject']}: {row['detail']}")
    if not rows:
        say("nothing is linked yet: fin-infra connections add PROVIDER --secret-stdin, or fin-infra demo")


def _aged(row: dict[str, Any], objectives: dict[str, timedelta], now: datetime) -> dict[str, Any]:
    """The row as it is now. `recorded_state`: what its last run said; `retry_at`: when it is asked again, if known;
    `waits_for`: rate_limited or quota_exhausted, until then."""
    from fin_infra.engine.freshness import freshness, waits_until

    found = freshness(row, now, objectives.get(row["dataset"]))
    retry_at = waits_until(row.get("next_reason"))
    waits = row["error_code"] if row["error_code"] in LIMITS and retry_at is not None and retry_at > now else None
    return {
        **row, "state": found.state, "recorded_state": row["state"], "why": found.why, "retry_at": retry_at,
        "waits_for": waits,
    }  # fmt: skip


def _waits(row: dict[str, Any]) -> str | None:
    """A limit and its end: nothing that a user could mend, and no error."""
    from fin_infra.cli.output import instant

    if row["waits_for"] is None:
        return None
    return f"{LIMITS[row['waits_for']]} until {instant(row['retry_at'].replace(microsecond=0))}"


def _stream(row: dict[str, Any]) -> str:
    return f"{row['connection_id']}/{row['dataset']}"


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {"stream": _stream(row), **{name: row[name] for name in ("kind", "subject", "detail", "first_seen_at")}}
