from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.connections import Connection, Connections
    from fin_infra.providers.base import Provider

app = typer.Typer(no_args_is_help=True, help="Linked credentials: one per user and institution.")

SecretOption = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="FIELD=env:VAR|FIELD=file:PATH", help="Where a field of the secret is read."),
]
StdinOption = Annotated[
    bool, typer.Option("--secret-stdin", help="Read the secret from stdin: a JSON object, or the bare token.")
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The connection, con_….")]


@app.command("add")
def add(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example banking:teller.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose data it is.")] = "me",
    secret: SecretOption = None,
    secret_stdin: StdinOption = False,
) -> None:
    """Link a credential. Secrets come from stdin, a file or the environment, never as an argument.

    Example: echo "$TOKEN" | fin-infra connections add banking:teller --secret-stdin
    """
    from fin_infra.cli.output import put, say
    from fin_infra.providers import resolve

    found = resolve(provider)
    connection = _connections().add(found, _secrets(found, secret, secret_stdin), tenant=tenant)
    put(connection.connection_id)
    say(f"linked for {tenant}; next: fin-infra sync --connection {connection.connection_id}")


@app.command("ls")
def ls(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List connections and their state.

    Example: fin-infra connections ls
    """
    from fin_infra.cli.output import put_json, table

    header = ("connection", "tenant", "provider", "state", "reason", "since")
    rows = [(c.connection_id, c.tenant_id, c.provider, c.state, c.reason, c.created_at) for c in _connections().all()]
    if as_json:
        put_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        table(rows, header)


@app.command("show")
def show(connection_id: IdArgument) -> None:
    """Show one connection. Its secret is never shown.

    Example: fin-infra connections show con_0123456789abcdef
    """
    from fin_infra.cli.output import put_json, say

    put_json(_row(_connections().get(connection_id)))
    say("its secret is in the vault and is not shown")


@app.command("relink")
def relink(connection_id: IdArgument, secret: SecretOption = None, secret_stdin: StdinOption = False) -> None:
    """Give a connection a new credential: active again, its rows kept, everything read anew.

    Example: echo "$TOKEN" | fin-infra connections relink con_0123456789abcdef --secret-stdin
    """
    from fin_infra.cli.output import say
    from fin_infra.providers import resolve
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    connections = _connections()
    provider = resolve(connections.get(connection_id).provider)
    connections.relink(connection_id, _secrets(provider, secret, secret_stdin))
    queue = open_queue(Settings.load())
    queue.hasten(connection_id)
    queue.close()
    say(f"{connection_id} is active again and due now")


@app.command("reseal")
def reseal() -> None:
    """Encrypt all stored secrets and evidence with the newest vault key, so that an older one can be dropped.

    Example: fin-infra connections reseal
    """
    from fin_infra.cli.output import say

    say(f"{_connections().reseal()} sealed values now need only the newest key")


@app.command("disable")
def disable(connection_id: IdArgument) -> None:
    """Stop syncing a connection; rows and secret are kept. `relink` starts it again.

    Example: fin-infra connections disable con_0123456789abcdef
    """
    from fin_infra.cli.output import say

    connections = _connections()
    connections.get(connection_id)
    connections.set_state(connection_id, "disabled", "disabled by its owner; relink to go on")
    say(f"{connection_id} is disabled")


@app.command("rm")
def rm(
    connection_id: IdArgument,
    erase: Annotated[bool, typer.Option("--erase", help="Its rows, their history and all evidence too.")] = False,
) -> None:
    """Forget a credential; with --erase everything that ever came through it.

    Example: fin-infra connections rm con_0123456789abcdef --erase
    """
    from fin_infra.cli.output import say
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    removed = _connections().remove(connection_id, erase=erase)
    queue = open_queue(Settings.load())
    jobs = queue.forget(connection_id)
    queue.close()
    say(f"{connection_id}: secret forgotten" + (f", {removed} rows and {jobs} jobs erased" if erase else ""))


def _connections() -> Connections:
    from fin_infra.connections import Connections, open_vault
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    return Connections(open_store(settings.store_url), open_vault(settings))


def _row(connection: Connection) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(connection)


def _secrets(provider: Provider, given: list[str] | None, from_stdin: bool) -> dict[str, str]:
    """The secret's fields from where the options say. No message repeats a value."""
    import json

    from fin_infra.errors import UsageError
    from fin_infra.settings import Settings

    fields = [field.name for field in provider.secrets]
    if from_stdin:
        if given:
            raise UsageError("give --secret or --secret-stdin, not both")
        text = sys.stdin.read().strip()
        if not text:
            raise UsageError("nothing came on stdin; pipe the token or a JSON object into the command")
        if text[0] in "{[":
            try:
                value = json.loads(text)
            except ValueError:
                raise UsageError(f"stdin is no JSON object with the fields {', '.join(fields)}") from None
            if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                raise UsageError(f"stdin is no JSON object of text fields; they are: {', '.join(fields)}")
            return {str(k): str(v) for k, v in value.items()}
        if len(fields) != 1:
            raise UsageError(f"{provider.name} needs a JSON object with the fields {', '.join(fields)}")
        return {fields[0]: text}
    if not given:
        raise UsageError(
            f"where is the secret? --secret-stdin, or --secret {fields[0]}=env:VAR, or --secret {fields[0]}=file:PATH"
        )
    secrets = {}
    for item in given:
        field, _, place = item.partition("=")
        kind, _, where = place.partition(":")
        if field not in fields or kind not in ("env", "file") or not where:
            raise UsageError(
                f"--secret takes FIELD=env:VAR or FIELD=file:PATH, with FIELD one of {', '.join(fields)}; "
                "a secret itself is never an argument"
            )
        secrets[field] = Settings.secret_from(kind, where)
    return secrets
