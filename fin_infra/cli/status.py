from __future__ import annotations

from typing import Annotated

import typer


def status(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Say how fresh every stream is, and why one is not.

    Example: fin-infra status
    """
    from fin_infra.cli.output import put_json, say, table
    from fin_infra.connections import Connections, open_vault
    from fin_infra.reader import read
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    store = open_store(settings.store_url)
    connections = {c.connection_id: c for c in Connections(store, open_vault(settings)).all()}
    streams = read("streams", store=store).collect().to_dicts()
    accounts = [
        row for row in read("account_states", store=store).collect().to_dicts() if row["error_code"] is not None
    ]
    never = [c for c in connections.values() if not any(s["connection_id"] == c.connection_id for s in streams)]
    if as_json:
        put_json({"streams": streams, "accounts_with_errors": accounts, "never_run": [c.connection_id for c in never]})
        return
    header = ("stream", "tenant", "state", "last success", "last attempt", "newest row", "why")
    rows = [
        (
            f"{s['connection_id']}/{s['dataset']}", s["tenant_id"],
            s["state"] if connections[s["connection_id"]].state == "active" else connections[s["connection_id"]].state,
            s["last_success_at"], s["last_attempt_at"], s["newest_row"],
            connections[s["connection_id"]].reason or s["next_reason"],
        )
        for s in streams
        if s["connection_id"] in connections
    ]  # fmt: skip
    rows += [(c.connection_id, c.tenant_id, c.state, None, None, None, "never run yet") for c in never]
    table(rows, header)
    for row in accounts:
        say(f"account {row['account_id']}, {row['dataset']}: {row['error_code']}")
    if not rows:
        say("nothing is linked yet: fin-infra connections add PROVIDER --secret-stdin, or fin-infra demo")
