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
    """List all vendors with their datasets and whether this machine is configured for them.

    Example: fin-infra providers ls
    """
    from fin_infra.cli.output import put_json, table
    from fin_infra.providers import PROVIDERS, resolve
    from fin_infra.settings import Settings

    settings = Settings.load()
    rows = []
    for name in PROVIDERS:
        provider = resolve(name)
        vendor = settings.vendor(name)
        missing = [f.name for f in provider.app_fields if f.required and vendor.secret(f.name) is None]
        address = vendor.shown_base_url or provider.base_url
        domains = ", ".join(f"{domain}:{name}" for domain in provider.domains)
        state = "missing: " + ", ".join(map(vendor.variable, missing)) if missing else "configured"
        rows.append((domains, provider.title, ", ".join(provider.datasets), address, state))
    header = ("provider", "title", "datasets", "address", "state")
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
    from fin_infra.providers import resolve
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
    put(provider.attribution)


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
