from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The vendors' keys: whether they are good.")


@app.command("verify")
def verify(
    provider: Annotated[str | None, typer.Argument(metavar="[PROVIDER]", help="Default: all that are linked.")] = None,
    connection: Annotated[str | None, typer.Option("--connection", metavar="ID", help="Only this connection.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Prove each credential by the vendor's cheapest authenticated call. Exit 1 if one is refused.

    Every linked credential is asked with, and where none is linked the one in the settings. It costs one call each, of
    the same quota as any other.

    Example: fin-infra keys verify brokerage:alpaca
    """
    import asyncio

    from fin_infra.cli.output import put_json, say, table
    from fin_infra.connections import Connections, open_vault
    from fin_infra.providers import REGISTRY, resolve
    from fin_infra.runtime.asking import verified
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    store = open_store(settings.store_url)
    try:
        connections = Connections(store, open_vault(settings))
        if connection is not None:
            names = [connections.get(connection).provider]
        else:
            names = [resolve(provider).name] if provider else [n for n in REGISTRY.names() if REGISTRY.off(n) is None]
        rows = asyncio.run(verified(connections, [REGISTRY.declared(name) for name in names], connection))
    finally:
        store.close()
    if as_json:
        put_json(rows)
    elif rows:
        header = ("provider", "connection", "state", "says")
        table([tuple(row[name] for name in header) for row in rows], header)
    if not rows:
        say("no credential is linked or set: fin-infra connections add PROVIDER")
    if any(row["state"] in ("refused", "unknown") for row in rows):
        raise SystemExit(1)
