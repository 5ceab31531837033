from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from fin_infra.connections import Connection
    from fin_infra.providers.base import Acting

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Sessions in which a vendor verifies who somebody is.")

ConnectionOption = Annotated[
    str | None, typer.Option("--connection", metavar="ID", help="Whose key is used; the only one of identity:stripe.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("start")
def start(
    key: Annotated[
        str | None, typer.Option("--attempt", help="Your own word for this attempt: the same word, the same session.")
    ] = None,
    kind: Annotated[str, typer.Option("--type", help="document or id_number.")] = "document",
    reference: Annotated[str, typer.Option("--reference", help="Your id of the user, kept with the session.")] = "",
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a session, and print its id and the link that opens it: for its user alone, shown here and kept nowhere.

    Should it fail on the way, give the same --attempt again: there will be one session. Stripe remembers it for a day.

    Example: fin-infra identity start --attempt signup-4711 --reference user-42
    """
    import secrets as entropy

    from fin_infra.cli.output import put, put_json, say
    from fin_infra.errors import TransientError
    from fin_infra.providers.stripe import client

    if key is None:
        key = entropy.token_hex(8)
        say(f"if this fails on the way, go on with: --attempt {key}")
    one = _chosen(connection)
    told = client.idempotency_key(one.connection_id, key)
    try:
        found = _asked(one, lambda http: client.start(http, told, kind, reference))
    except TransientError as error:
        said = error.message.partition(";")[0]
        raise TransientError(
            f"{said}; whether a session was started is not known, the same --attempt gives it", code=error.code,
            retry_after=error.retry_after,
        ) from None  # fmt: skip
    if as_json:
        put_json({"session_id": found.session_id, "status": found.status, "url": found.url})
        return
    put(found.session_id)
    if found.url is None:
        say(f"it needs no link any more: it is {found.status}")
    else:
        put(found.url)
        say("the link is for its user alone, works once, and is not shown again")


@app.command("get")
def get(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="The vendor's id, vs_….")],
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask how a session stands now. Nothing of the person or the documents is asked for.

    Example: fin-infra identity get vs_1NuN4zLkdIwHu7ixleE6HvkI
    """
    from fin_infra.cli.output import put_json, table
    from fin_infra.providers.stripe import client

    row = _shown([_asked(_chosen(connection), lambda http: client.one(http, session_id))])[0]
    if as_json:
        put_json(row)
    else:
        table([list(row.values())], list(row))


@app.command("ls")
def ls(connection: ConnectionOption = None, as_json: JsonOption = False) -> None:
    """List the sessions that are open now, newest first, as the vendor has them.

    What is kept of all of them is the dataset identity_sessions.

    Example: fin-infra identity ls
    """
    from fin_infra.cli.output import put_json, say, table
    from fin_infra.providers.stripe import client

    async def opened(http: Acting) -> list[dict[str, Any]]:
        return [
            row
            for status in ("requires_input", "processing")
            async for page in client.listed(http, {"status": status})
            for row in page.value.rows
        ]

    rows = _shown(_asked(_chosen(connection), opened))
    rows.sort(key=lambda row: row["created_at"], reverse=True)
    if as_json:
        put_json(rows)
    elif rows:
        table([list(row.values()) for row in rows], list(rows[0]))
    else:
        say("no session is open; a new one: fin-infra identity start")


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What may be shown, and is kept, of a session."""
    from datetime import UTC, datetime

    from fin_infra.providers.base import Ask
    from fin_infra.providers.stripe import frames, wire

    now = datetime.now(UTC)
    ask = Ask("stripe", "", "", "", now)
    kept = {
        row["session_id"]: row
        for row in frames.sessions([(wire.Listed(rows, has_more=False), now)], ask).good.iter_rows(named=True)
    }
    columns = ("session_id", "status", "type", "created_at", "last_error_code")
    gone = {
        row["id"]: {"session_id": row["id"], "status": "redacted", "type": None, "created_at": None,
                    "last_error_code": None}
        for row in rows if wire.is_redacted(row)
    }  # fmt: skip
    return [*({name: row[name] for name in columns} for row in kept.values()), *gone.values()]


def _chosen(connection_id: str | None) -> Connection:
    from fin_infra.connections import Connections, open_vault
    from fin_infra.errors import UsageError
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    connections = Connections(open_store(settings.store_url), open_vault(settings))
    if connection_id is not None:
        one = connections.get(connection_id)
        if one.provider != "stripe":
            raise UsageError(f"{connection_id} is of {one.provider}; identity sessions are stripe's")
        return one
    active = [one for one in connections.all(provider="stripe") if one.state == "active"]
    if len(active) != 1:
        there = ", ".join(one.connection_id for one in active) or "none is linked: fin-infra connections add"
        raise UsageError(f"which connection of stripe? --connection ID; there are: {there}")
    return active[0]


def _asked(one: Connection, ask: Callable[[Acting], Awaitable[T]]) -> T:
    import asyncio

    from fin_infra.connections import Connections, open_vault
    from fin_infra.providers import resolve
    from fin_infra.runtime.asking import asked
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    secrets = Connections(open_store(settings.store_url), open_vault(settings)).secrets(one)
    return asyncio.run(asked(resolve("identity:stripe"), ask, secrets, one))


__all__ = ["app"]
