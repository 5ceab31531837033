from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from fin_infra.connections import Connection, Connections
    from fin_infra.engine import SyncReport
    from fin_infra.providers.base import Acting, Provider

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Linked credentials: one per user and institution.")

SecretOption = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="FIELD=env:VAR|FIELD=file:PATH", help="Where a field of the secret is read."),
]
StdinOption = Annotated[
    bool, typer.Option("--secret-stdin", help="Read the secret from stdin: a JSON object, or the bare token.")
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The connection, con_….")]


@app.command("link")
def link(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example banking:plaid.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose data it will be.")] = "me",
    product: Annotated[
        list[str] | None, typer.Option("--product", help="What the login must give, in the vendor's words.")
    ] = None,
    if_supported: Annotated[
        list[str] | None, typer.Option("--if-supported", help="A product to ask for where the institution has it.")
    ] = None,
    country: Annotated[list[str] | None, typer.Option("--country", help="Countries of institutions; US.")] = None,
    language: Annotated[str, typer.Option("--language", help="Of the vendor's page.")] = "en",
    application: Annotated[str, typer.Option("--application", help="Its name on the page.")] = "fin_infra",
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Where webhooks go.")] = None,
    repair: Annotated[str | None, typer.Option("--repair", metavar="ID", help="A connection to log in anew.")] = None,
    host: Annotated[str, typer.Option("--host", help="Another of the vendor's addresses, like sandbox.")] = "",
) -> None:
    """Print the token that opens the vendor's own page, where the user logs in.

    What the page gives at the end, a public token, goes to `connections add`. After a --repair, no token changes:
    `connections relink ID --same` goes on.

    Example: fin-infra connections link banking:plaid --tenant ada --host sandbox
    """
    from fin_infra.cli.output import put, say
    from fin_infra.errors import UsageError
    from fin_infra.providers import resolve
    from fin_infra.providers.base import LinkOrder

    found = resolve(provider)
    if found.linking is None or found.linking.start is None:
        raise UsageError(f"{found.name} has no page to open from here; give its secret to connections add")
    if host and host not in found.hosts:
        raise UsageError(f"{found.name} has no host {host!r}; it has: {', '.join(found.hosts)}")
    connection = secrets = None
    if repair is not None:
        connections = _connections()
        connection = connections.get(repair)
        if connection.provider != found.name:
            raise UsageError(f"{repair} is of {connection.provider}, not of {found.name}")
        secrets = connections.secrets(connection)
    order = LinkOrder(
        connection.tenant_id if connection else tenant, tuple(product or found.linking.products),
        tuple(if_supported or ()), application, tuple(country or ("US",)), language, webhook, repair is not None, host,
    )  # fmt: skip
    start = found.linking.start
    put(_asked(found, lambda http: start(http, order), secrets or {}, connection))
    if connection is None:
        say("open the page with it; then pipe the public token into: fin-infra connections add " + provider + " "
            f"--tenant {tenant} --secret-stdin")  # fmt: skip
    else:
        say(f"open the page with it; then: fin-infra connections relink {connection.connection_id} --same")


@app.command("add")
def add(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example banking:teller.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose data it is.")] = "me",
    secret: SecretOption = None,
    secret_stdin: StdinOption = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="List its accounts, and ask for none until it is taken in.")
    ] = False,
) -> None:
    """Link a credential. Secrets come from stdin, a file or the environment, never as an argument.

    A vendor's public token is taken in place of the secret, and exchanged for it. A vendor that needs no secret, like
    fx:ecb, is given none. With --choose one call lists its accounts, and nothing else is asked before `take-in`.

    Example: echo "$TOKEN" | fin-infra connections add banking:teller --secret-stdin
    """
    from fin_infra.cli.output import put, say
    from fin_infra.errors import FinInfraError, UsageError
    from fin_infra.providers import resolve

    found = resolve(provider)
    if choose and found.source("accounts") is None:
        raise UsageError(f"{found.name} has no accounts to choose from; leave out --choose")
    connections = _connections()
    given = _secrets(found, secret, secret_stdin, without=True)
    secrets = _exchanged(found, given)
    try:
        connection = connections.add(found, secrets, tenant=tenant, choose=choose)
    except FinInfraError:
        if found.linking is not None and secrets is not given:  # nobody else knows of it, and it costs
            _asked(found, found.linking.forget, secrets, None)
        raise
    put(connection.connection_id)
    if choose:
        _listed(connections, connection)
    else:
        say(f"linked for {tenant}; next: fin-infra sync --connection {connection.connection_id}")


@app.command("migrate")
def migrate(
    connection_id: IdArgument,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="The new vendor, for example banking:teller.")],
    secret: SecretOption = None,
    secret_stdin: StdinOption = False,
    mapped: Annotated[
        list[str] | None, typer.Option("--map", metavar="OLD=NEW", help="Which account is which; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which accounts would go on, and link nothing.")
    ] = False,
) -> None:
    """Replace a connection by one at another vendor: the same accounts keep their ids, nothing is counted twice.

    The new vendor is asked for its accounts once. An account goes on where last digits, kind and currency are those of
    one account on either side, or where --map says so; nothing is guessed. The old connection is disabled in the same
    step and its rows stay. Transactions that both vendors told are found out at the first sync.

    Example: echo "$TOKEN" | fin-infra connections migrate con_0123456789abcdef banking:teller --secret-stdin
    """
    from fin_infra.cli.output import put, say
    from fin_infra.engine.migrating import listed_accounts, same_accounts
    from fin_infra.errors import UsageError
    from fin_infra.providers import resolve
    from fin_infra.store.opening import utc_now

    found, connections = resolve(provider), _connections()
    old = connections.get(connection_id)
    if found.name == old.provider:
        raise UsageError(f"{connection_id} is of {found.name} already: fin-infra connections relink {connection_id}")
    if found.source("accounts") is None:
        raise UsageError(f"{found.name} has no accounts; it has: {', '.join(found.datasets)}")
    if old.state == "disabled":
        raise UsageError(f"{connection_id} is disabled: {old.reason or 'nothing of it goes on'}")
    said = {}
    for pair in mapped or []:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours or not theirs:
            raise UsageError(f"--map {pair!r} is not OLD=NEW, two ids of accounts")
        said[ours] = theirs
    secrets = _exchanged(found, _secrets(found, secret, secret_stdin, without=True))
    new = _asked(found, lambda http: listed_accounts(http, found, utc_now()), secrets, None)
    pairs = same_accounts(connections.account_rows(connection_id), new, said)
    for vendor_id, known in sorted(pairs.sure.items()):
        say(f"{known.ours} goes on as {vendor_id} of {found.name}: {known.why}")
    for vendor_id, fits in sorted(pairs.unsure.items()):
        say(f"{vendor_id} may be any of {', '.join(fits)}: say which by --map OLD={vendor_id}")
    for vendor_id in sorted(set(new["account_id"]) - set(pairs.sure) - set(pairs.unsure)):
        say(f"{vendor_id} is new")
    if dry_run:
        return
    if pairs.unsure:
        raise UsageError("accounts are in doubt, so nothing was linked; say which is which by --map")
    if not pairs.sure:
        raise UsageError("no account of the one is known to be one of the other; say which is which by --map")
    taken = {vendor_id: known.ours for vendor_id, known in pairs.sure.items()}
    linked = connections.add(found, secrets, tenant=old.tenant_id, instead_of=old, accounts=taken)
    put(linked.connection_id)
    say(f"{connection_id} is disabled, its rows stay; next: fin-infra sync --connection {linked.connection_id}")


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
    """Show one connection with its accounts, and which of them are left out. Its secret is never shown.

    Example: fin-infra connections show con_0123456789abcdef
    """
    from fin_infra.cli.output import put_json, say

    connections = _connections()
    shown = _row(connections.get(connection_id))
    accounts, left = connections.accounts(connection_id), connections.left_out(connection_id)
    put_json({**shown, "accounts": accounts, "new_accounts": "left out" if left.new_ones else "taken in"})
    say("its secret is in the vault and is not shown")


@app.command("relink")
def relink(
    connection_id: IdArgument,
    secret: SecretOption = None,
    secret_stdin: StdinOption = False,
    same: Annotated[
        bool, typer.Option("--same", help="The user logged in anew; the secret is the one it was.")
    ] = False,
) -> None:
    """Give a connection a new credential: active again, its rows kept, everything read anew.

    With --same it is active again and goes on where it stopped.

    Example: echo "$TOKEN" | fin-infra connections relink con_0123456789abcdef --secret-stdin
    """
    from fin_infra.cli.output import say
    from fin_infra.errors import UsageError
    from fin_infra.providers import declared
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    connections = _connections()
    connection = connections.get(connection_id)
    provider = declared(connection.provider)
    if same:
        if secret or secret_stdin:
            raise UsageError("with --same no secret is given: the one in the vault stays")
        connections.secrets(connection)  # one that was removed has none
        connections.set_state(connection_id, "active", None)
    else:
        connections.relink(connection_id, _exchanged(provider, _secrets(provider, secret, secret_stdin)))
    queue = open_queue(Settings.load())
    queue.hasten(connection_id)
    queue.close()
    say(f"{connection_id} is active again and due now")


@app.command("leave-out")
def leave_out(
    connection_id: IdArgument,
    accounts: Annotated[list[str], typer.Argument(metavar="ACCOUNT…", help="Ids, as connections show tells them.")],
) -> None:
    """Ask for an account no more: it stays on the list, its rows stay as they are, and it costs no call.

    Example: fin-infra connections leave-out con_0123456789abcdef acc_1 acc_2
    """
    from fin_infra.cli.output import say
    from fin_infra.errors import UsageError

    connections = _connections()
    known = [account["account_id"] for account in connections.accounts(connection_id)]
    if unknown := [account for account in accounts if account not in known]:
        there = f"it has: {', '.join(known)}" if known else "none was listed yet: fin-infra sync accounts"
        raise UsageError(f"{connection_id} has no account {', '.join(unknown)}; {there}")
    connections.leave_out(connection_id, accounts)
    say(f"left out: {', '.join(accounts)}; to ask for it again: fin-infra connections take-in {connection_id} …")


@app.command("take-in")
def take_in(
    connection_id: IdArgument,
    accounts: Annotated[list[str] | None, typer.Argument(metavar="ACCOUNT…", help="Ids of accounts left out.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, and those that are new later.")] = False,
) -> None:
    """Ask for an account that was left out: its streams are due now, and what was missed meanwhile is read.

    Example: fin-infra connections take-in con_0123456789abcdef acc_1
    """
    from fin_infra.cli.output import say
    from fin_infra.errors import UsageError
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    if bool(accounts) == all_:
        raise UsageError("say which: ACCOUNT… or --all")
    connections = _connections()
    connections.get(connection_id)
    left = sorted(connections.left_out(connection_id).accounts)
    if strange := [account for account in accounts or () if account not in left]:
        raise UsageError(f"{', '.join(strange)} is not left out; left out are: {', '.join(left) or 'none'}")
    connections.take_in(connection_id, None if all_ else accounts)
    queue = open_queue(Settings.load())
    queue.hasten(connection_id)
    queue.close()
    say(f"taken in: {', '.join(left if all_ else accounts or ())}; next: fin-infra sync --connection {connection_id}")


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
    """Forget a credential; with --erase everything that ever came through it. The vendor is told, where it can be.

    Example: fin-infra connections rm con_0123456789abcdef --erase
    """
    from fin_infra.cli.output import say
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    connections = _connections()
    told = _forgotten(connections, connection_id)
    removed = connections.remove(connection_id, erase=erase)
    queue = open_queue(Settings.load())
    jobs = queue.forget(connection_id)
    queue.close()
    say(f"{connection_id}: secret forgotten" + (f", {removed} rows and {jobs} jobs erased" if erase else "") + told)


def _connections() -> Connections:
    from fin_infra.connections import Connections, open_vault
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    return Connections(open_store(settings.store_url), open_vault(settings))


def _listed(connections: Connections, connection: Connection) -> None:
    """Lists the accounts of a new connection, which costs one call, and shows them to choose from."""
    import asyncio

    from fin_infra.cli.output import say
    from fin_infra.runtime import Runtime
    from fin_infra.settings import Settings

    async def listed() -> SyncReport:
        async with Runtime(Settings.load()) as runtime:
            return await runtime.engine.sync("accounts", connection.connection_id)

    report = asyncio.run(listed())
    for account in connections.accounts(connection.connection_id):
        what = " ".join(str(account[word]) for word in ("name", "mask", "kind", "currency", "status") if account[word])
        say(f"{account['account_id']}: {what}")
    if report.outcome == "ok":
        say(f"all are left out; next: fin-infra connections take-in {connection.connection_id} ACCOUNT…")
    else:
        say(f"{report.sentence()}; its accounts are left out until they are listed and taken in")


def _asked(
    provider: Provider, ask: Callable[[Acting], Awaitable[T]], secrets: Mapping[str, str], connection: Connection | None
) -> T:
    """What a vendor answers to one question from here, with these secrets."""
    import asyncio

    from fin_infra.runtime.asking import asked

    return asyncio.run(asked(provider, ask, secrets, connection))


def _exchanged(provider: Provider, secrets: dict[str, str]) -> dict[str, str]:
    """The credential; where a one-time token was given in its place, what the vendor gives for it."""
    linking = provider.linking
    if linking is None or linking.once not in secrets:
        return secrets
    token, exchange = secrets[linking.once].strip(), linking.exchange
    return _asked(provider, lambda http: exchange(http, token), {linking.once: token}, None)


def _forgotten(connections: Connections, connection_id: str) -> str:
    """Tells the vendor that a credential is not used any more. What to say of it; it stops nothing if it fails."""
    from fin_infra.errors import FinInfraError
    from fin_infra.providers import declared

    connection = connections.get(connection_id)
    try:
        provider = declared(connection.provider)
        if provider.linking is None:
            return ""
        _asked(provider, provider.linking.forget, connections.secrets(connection), connection)
    except FinInfraError as error:
        return f"; the vendor could not be told, end it in its dashboard: {error.message}"
    return f"; {provider.name} has removed it too"


def _row(connection: Connection) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(connection)


def _secrets(
    provider: Provider, given: list[str] | None, from_stdin: bool, *, without: bool = False
) -> dict[str, str]:  # fmt: skip
    """The secret's fields from where the options say. No message repeats a value.

    `without`: none is needed where all fields are optional. A relink must say so: it would drop the key it had.
    """
    import json

    from fin_infra.errors import UsageError
    from fin_infra.settings import Settings

    linking = provider.linking
    own = [field.name for field in provider.secrets]
    if not own and (from_stdin or given):
        raise UsageError(f"{provider.name} takes no secret: leave it out")
    if not (from_stdin or given) and (not own or (without and not any(f.required for f in provider.secrets))):
        return {}
    fields = [*own, *([linking.once] if linking else [])]
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
        if len(own) != 1:
            raise UsageError(f"{provider.name} needs a JSON object with the fields {', '.join(own)}")
        return {linking.once if linking and text.startswith(linking.begins) else own[0]: text}
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
