"""What is said of a run: its row, the state of its streams and accounts, and what was found."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from fin_infra.datasets.operations import AccountStates, Findings, Runs, Streams
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.outcomes import Outcome
from fin_infra.store import Applied, Counts, Records, Store

Row = dict[str, Any]
SETTLED_BY_A_GOOD_RUN = (
    "shrink_guard", "contract_broken", "defect", "missing_sessions", "unresolved_instrument", "rebased", "restated",
    "unpriced",
)  # fmt: skip


def books(
    run: Run, outcome: Outcome, applied: Applied | None, calls: int, store: Store, now: datetime
) -> list[Records]:
    """The bookkeeping of a run, to be committed with its rows; `applied` is None when it committed none."""
    mine = {"connection_id": run.connection.connection_id}
    accounts = {"tenant_id": run.connection.tenant_id, **mine}  # the begin of the key, or all would be looked at
    base = {
        **mine, "tenant_id": run.connection.tenant_id, "provider": run.connection.provider, "fetched_at": now,
        "run_id": run.run_id,
    }  # fmt: skip
    found = [row for row in store.records(Findings, {**mine, "state": "open"}) if row["dataset"] in run.source.datasets]
    return [
        Records(Runs, [_run(run, outcome, applied, calls, base, now)]),
        Records(Streams, _streams(run, outcome, store.records(Streams, mine), base, now)),
        Records(AccountStates, _account_states(run, store.records(AccountStates, accounts), base, now)),
        Records(Findings, _findings(run, found, base, now, settle=applied is not None and not run.failed)),
    ]


def _run(run: Run, outcome: Outcome, applied: Applied | None, calls: int, base: Row, now: datetime) -> Row:
    total = applied.total() if applied else Counts()
    return {
        **base, "dataset": run.stream.dataset, "lane": run.lane, "started_at": run.started_at, "finished_at": now,
        "outcome": run.recorded(outcome), **total._asdict(), "calls": calls, "attempt": run.attempt,
        "error_code": outcome.code, "error": outcome.message,
    }  # fmt: skip


def _streams(run: Run, outcome: Outcome, known: list[Row], base: Row, now: datetime) -> list[Row]:
    """One row per dataset the source feeds. Attempt, success, the vendor's time and newest row stay four things."""
    recorded = run.recorded(outcome)
    by_name = {row["dataset"]: row for row in known}
    rows = []
    for name in run.source.datasets:
        before = by_name.get(name, {})
        # of a source with several datasets each tells for itself: accounts may be fresh while balances are not
        fresh = recorded in ("ok", "partial") and (not run.failed or any(part[0] == name for part in run.complete))
        state = "park" if recorded == "partial" and not fresh else recorded
        newest = [*run.newest.values(), before.get("newest_row") or ""] if name == run.stream.dataset else [""]
        rows.append(
            {
                **base, "dataset": name, "state": _state(state, outcome.code, before.get("state")),
                "last_attempt_at": run.started_at,
                "last_success_at": now if fresh else before.get("last_success_at"),
                "vendor_as_of": before.get("vendor_as_of"), "newest_row": max(newest) or None,
                "next_reason": _next_reason(run, outcome, now), "error_code": outcome.code,
            }
        )  # fmt: skip
    return rows


def _next_reason(run: Run, outcome: Outcome, now: datetime) -> str | None:
    if outcome.kind == "later" and outcome.after is not None:
        at = (now + timedelta(seconds=outcome.after)).isoformat(timespec="seconds")
        return f"asked again at {at}: {outcome.message}"
    if outcome.message is None and run.guarded:
        return "a much shorter answer waits for a second read that confirms it"
    return outcome.message


def _account_states(run: Run, known: list[Row], base: Row, now: datetime) -> list[Row]:
    """One row per account and dataset that was asked for: one that failed says so, the others are fresh."""
    by_key = {(row["account_id"], row["dataset"]): row for row in known}
    rows = []
    for vendor_id, account in run.accounts.items():
        error = run.failed.get(vendor_id)
        for name in run.source.datasets:
            done = (name, vendor_id) in run.complete and error is None
            fresh = done and vendor_id not in run.held_back
            if name == "accounts" or not (done or error):
                continue
            before = by_key.get((account.account_id, name), {})
            code = error.code if error else None
            rows.append(
                {
                    **base, "account_id": account.account_id, "dataset": name,
                    "state": "ok" if fresh else "partial" if done else _state("park", code, None),
                    "last_success_at": now if fresh else before.get("last_success_at"),
                    "newest_row": run.newest.get(vendor_id) or before.get("newest_row"), "error_code": code,
                }
            )  # fmt: skip
    return rows


def _findings(run: Run, known: list[Row], base: Row, now: datetime, *, settle: bool) -> list[Row]:
    """What was seen now, under the same id as before. `settle`: what a good run disproves is resolved."""
    before = {row["finding_id"]: row for row in known}
    rows = {}
    for name, doubt in run.doubts:
        finding_id = _finding_id(run.connection.connection_id, name, doubt)
        rows[finding_id] = {
            **base, "finding_id": finding_id, "dataset": name, "kind": doubt.kind, "subject": doubt.subject,
            "detail": doubt.detail, "state": "open",
            "first_seen_at": before.get(finding_id, {}).get("first_seen_at") or now,
        }  # fmt: skip
    if settle and run.stopped is None:
        for finding_id, row in before.items():
            if _about_others(run, row):
                continue
            if finding_id not in rows and row["kind"] in SETTLED_BY_A_GOOD_RUN:
                rows[finding_id] = {**row, **base, "state": "resolved"}
    return list(rows.values())


def _about_others(run: Run, row: Row) -> bool:
    """Whether a finding is about an instrument that this run did not look at."""
    if row["kind"] == "unpriced":
        return run.ordered is not None
    return (
        row["dataset"] == "instruments"
        and row["kind"] == "unresolved_instrument"
        and row["subject"] not in run.answered
    )


def _state(recorded: str, code: str | None, before: str | None) -> str:
    """A stream that only waits is as fresh as it was; one that failed says so."""
    if recorded in ("later", "stale_cursor"):
        return before or "stale"
    if code in ("reauth_required", "auth_invalid"):
        return "reauth" if recorded != "partial" else "partial"
    return recorded if recorded in ("ok", "partial") else "error"


def _finding_id(connection_id: str, dataset: str, doubt: Doubt) -> str:
    parts = "\n".join((connection_id, dataset, doubt.kind, doubt.subject))
    return "fnd_" + hashlib.sha256(parts.encode()).hexdigest()[:16]
