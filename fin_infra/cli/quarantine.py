from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.engine.retrying import Retried
    from fin_infra.store import Kept

app = typer.Typer(no_args_is_help=True, help="Rows and answers that could not be used, with their evidence.")


@app.command("ls")
def ls(
    connection: Annotated[str | None, typer.Option("--connection", metavar="ID", help="Only this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List what is in quarantine and why, last seen first.

    Example: fin-infra quarantine ls
    """
    from fin_infra.cli.output import put_json, say, table
    from fin_infra.store import open_store

    entries = open_store().quarantined(connection)
    if as_json:
        for entry in entries:
            put_json(_told(entry))
        return
    rows = [(e.quarantine_id, e.at, f"{e.connection_id}/{e.dataset}", e.kind, e.reason) for e in entries]
    table(rows, ("id", "last seen", "stream", "kind", "reason"))
    say(f"{len(entries)} in quarantine" + ("; fin-infra quarantine show ID, retry ID" if entries else ""))


@app.command("show")
def show(quarantine_id: Annotated[str, typer.Argument(metavar="ID", help="qua_….")]) -> None:
    """Print what the vendor sent, decrypted, as it was kept: it may hold personal data. Secrets are left out.

    Example: fin-infra quarantine show qua_0123456789abcdef
    """
    import json

    from fin_infra.cli.output import put_json, say
    from fin_infra.connections import Connections, open_vault
    from fin_infra.engine.retrying import entry, evidence, shown
    from fin_infra.errors import FinInfraError
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    store = open_store(settings.store_url)
    connections = Connections(store, open_vault(settings))
    found = entry(store, quarantine_id)
    body = evidence(store, connections.vault, quarantine_id)
    try:
        secrets = list(connections.secrets(connections.get(found.connection_id)).values())
    except FinInfraError:  # removed meanwhile: then there is none to hide
        secrets = []
    text = shown(body, secrets)
    try:
        told = json.loads(text) if found.kind == "row" else text
    except ValueError:
        told = text
    put_json({**_told(found), "evidence": told})
    say("this is the vendor's data as it came; it may be personal")


@app.command("retry")
def retry(
    quarantine_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="qua_….")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every entry.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Try again with today's code: a row is built from its evidence, of a whole answer the stream is synced now.

    What holds is committed and leaves the quarantine. Exit 1 if anything stays.

    Example: fin-infra quarantine retry --all
    """
    import asyncio

    from fin_infra.cli.output import put, put_json, quiet_logs
    from fin_infra.errors import UsageError

    if (quarantine_id is None) == (not all_):
        raise UsageError("say which: fin-infra quarantine retry ID, or --all")
    quiet_logs()
    done = asyncio.run(_retry(quarantine_id))
    for one in done:
        if as_json:
            put_json({"id": one.entry.quarantine_id, "healed": one.healed, "said": one.said})
        else:
            put(f"{one.entry.quarantine_id}: {one.said}")
    if not all(one.healed for one in done):
        raise SystemExit(1)


async def _retry(quarantine_id: str | None) -> list[Retried]:
    from fin_infra.engine.retrying import entry, retry
    from fin_infra.runtime import Runtime
    from fin_infra.settings import Settings

    async with Runtime(Settings.load()) as runtime:
        store, done = runtime.store, []
        for kept in store.quarantined() if quarantine_id is None else [entry(store, quarantine_id)]:
            if store.evidence(kept.quarantine_id) is not None:  # a sync for an earlier one may have healed it
                done.append(await retry(kept, store, runtime.connections, runtime.engine.sync, runtime.now))
        return done


def _told(entry: Kept) -> dict[str, object]:
    return {
        "id": entry.quarantine_id, "last_seen_at": entry.at, "connection_id": entry.connection_id,
        "dataset": entry.dataset, "tenant_id": entry.tenant_id, "kind": entry.kind, "reason": entry.reason,
        "run_id": entry.run_id,
    }  # fmt: skip
