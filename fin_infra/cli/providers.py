from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fin_infra.providers.base import Provider
    from fin_infra.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Vendors we can sync from, and what they need.")


@app.command("ls")
def ls(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List all vendors with their datasets, the plan whose quota is kept, and whether they are configured or off.

    Example: fin-infra providers ls
    """
    from fin_infra.cli.output import put_json, table
    from fin_infra.providers import REGISTRY
    from fin_infra.providers.metering import Quotas
    from fin_infra.quotas.telling import in_short
    from fin_infra.settings import Settings

    settings = Settings.load()
    quotas = Quotas(settings.environment)
    rows = []
    for name in REGISTRY.names():
        provider = REGISTRY.declared(name)
        vendor = settings.vendor(name)
        missing = [f.name for f in provider.app_fields if f.required and vendor.secret(f.name) is None]
        address = vendor.shown_base_url or provider.base_url
        domains = ", ".join(f"{domain}:{name}" for domain in provider.domains)
        state = "missing: " + ", ".join(map(vendor.variable, missing)) if missing else "configured"
        if (why := REGISTRY.off(name)) is not None or (why := REGISTRY.unlinkable(provider)) is not None:
            state = f"off: {why}"
        plan = quotas.plan(provider, f"{name}/app")
        rows.append((domains, provider.title, ", ".join(provider.datasets), in_short(plan), address, state))
    header = ("provider", "title", "datasets", "quota", "address", "state")
    if as_json:
        put_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        table(rows, header)


@app.command("show")
def show(name: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example banking:teller.")]) -> None:
    """Say what a vendor delivers, which credentials it takes, what it permits, and what to know about it.

    Example: fin-infra providers show banking:teller
    """
    from fin_infra.cli.output import put
    from fin_infra.providers import REGISTRY, resolve
    from fin_infra.settings import Settings

    provider, settings = resolve(name), Settings.load()
    vendor = settings.vendor(provider.name)
    put(f"{provider.title} ({', '.join(f'{d}:{provider.name}' for d in provider.domains)})")
    put(f"address: {vendor.shown_base_url or provider.base_url}")
    for host, address in provider.hosts.items():
        put(f"address, {host}: {vendor.shown(vendor.base_url_of(host)) or vendor.shown_base_url or address}")
    for source in provider.sources:
        put(f"{', '.join(source.datasets)}: {source.kind}")
    for field in provider.secrets:
        put(f"secret of a connection: {field.name}: {field.purpose}{'' if field.required else ' (optional)'}")
    for field in provider.app_fields:
        state = "set" if vendor.secret(field.name) else "required" if field.required else "not set"
        put(f"setting {vendor.variable(field.name)}: {field.purpose} ({state})")
    for line in _quota(settings, provider):
        put(line)
    for fact in provider.facts:
        put(f"mind: {fact}")
    for sentence in provider.terms:
        put(f"terms: {sentence}")
    if (why := REGISTRY.unlinkable(provider)) is not None:
        put(f"off: {why}")
    put(provider.attribution)


@app.command("find")
def find(
    name: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example crypto:coingecko.")],
    what: Annotated[str, typer.Argument(help="What is looked up: symbols, coins, institutions.")],
    word: Annotated[str, typer.Argument(help="A name, a symbol, an id.")],
    connection: Annotated[str | None, typer.Option("--connection", metavar="ID", help="With whose key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Look something up at a vendor: how it spells an instrument, which coin is meant, where a bank is.

    Answers are kept for as long as they hold; it costs a call only when they are older.

    Example: fin-infra providers find crypto:coingecko coins bitcoin
    """
    import asyncio

    from fin_infra.cli.output import put_json, say, table
    from fin_infra.connections import Connections, open_vault
    from fin_infra.providers import resolve
    from fin_infra.runtime.asking import credentials, looked_up
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    provider, settings = resolve(name), Settings.load()
    store = open_store(settings.store_url)
    try:
        secrets, one = credentials(provider, Connections(store, open_vault(settings)), connection)
        found = asyncio.run(looked_up(provider, what, word, secrets, one))
    finally:
        store.close()
    rows = [(each.symbol, each.instrument or "", each.name) for each in found]
    if as_json:
        put_json([{"symbol": f.symbol, "instrument": f.instrument, "name": f.name, **f.more} for f in found])
    else:
        table(rows, ("symbol", "instrument", "name"))
    if not found:
        say(f"{provider.name} finds no {what} for {word!r}")
        raise SystemExit(1)


@app.command("health")
def health(
    name: Annotated[str | None, typer.Argument(metavar="[PROVIDER]", help="Default: all that were asked.")] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="How far back is looked.")] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say how each vendor served us, by our own runs: availability, errors, latency.

    availability: the share of calls that were answered and served. errors: the share of runs that failed, by whatever
    fault; throttled: that the vendor or our own ledger put off. Backfills count too.

    Example: fin-infra providers health --hours 6
    """
    from datetime import timedelta

    from fin_infra.cli.output import put_json, say, table
    from fin_infra.engine.health import health_of
    from fin_infra.providers import resolve
    from fin_infra.settings import Settings
    from fin_infra.store import open_store
    from fin_infra.store.opening import utc_now

    store = open_store(Settings.load().store_url)
    try:
        found = health_of(store, utc_now() - timedelta(hours=hours), resolve(name).name if name else None)
    finally:
        store.close()
    if as_json:
        put_json([one.as_dict() for one in found])
    else:
        header = (
            "provider",
            "runs",
            "calls",
            "availability",
            "errors",
            "throttled",
            "latency",
            "slowest",
            "last success",
        )
        table([one.told() for one in found], header)
    if not found:
        say(f"nobody was asked within {hours:g} hours")


def _quota(settings: Settings, provider: Provider) -> Iterator[str]:
    """The declared plans, which of them is in force, and what the settings put in place of its windows."""
    from fin_infra.providers.metering import Quotas
    from fin_infra.quotas.telling import declared, plans
    from fin_infra.quotas.windows import Spacing

    quotas, key = Quotas(settings.environment), f"{provider.name}/app"
    plan = quotas.plan(provider, key)
    yield from plans(provider.quota, plan.name)
    own = [w for w in quotas.windows(provider, key) if not isinstance(w, Spacing) and w not in plan.windows]
    if own:
        yield f"quota, in the place of windows of plan {plan.name} with the same name, or beside them:"
    for window in own:
        yield f"  {window.key}: {declared(window)}, set by {settings.vendor(provider.name).variable('quotas')}"
