"""One name for one thing: vendors' spellings there and back, and what is said of those that nothing resolves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.instruments.aliases import SymbolAlias

app = typer.Typer(no_args_is_help=True, help="Names of instruments: keys, vendors' spellings, aliases.")

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("convert")
def convert(
    key: Annotated[str, typer.Argument(metavar="KEY", help="An InstrumentKey, like us:BRK.B.")],
    to: Annotated[str, typer.Option("--to", metavar="VENDOR", help="Whose spelling.")],
    as_json: JsonOption = False,
) -> None:
    """Show how a vendor spells an instrument, and in which unit it quotes it.

    Example: fin-infra instruments convert xhkg:00700 --to yahoo
    """
    from fin_infra.cli.output import put, put_json
    from fin_infra.instruments.symbols import quote_at, to_vendor

    symbol = to_vendor(key, to)
    if as_json:
        quote = quote_at(key, to)
        put_json(
            {
                "instrument": key, "vendor": to, "symbol": symbol, "currency": quote and quote.currency,
                "quote_unit": quote and quote.unit,
            }
        )  # fmt: skip
    else:
        put(symbol)


@app.command("parse")
def parse(
    vendor: Annotated[str, typer.Argument(metavar="VENDOR", help="Whose spelling it is.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="The symbol as the vendor writes it.")],
    context: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="K=V", help="Said beside it: mic=XLON, kind=crypto, currency=GBp."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="DAY", help="When it was said. Default: today.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which instrument a vendor's symbol means: by the stored aliases, else by its spelling.

    Example: fin-infra instruments parse yahoo BRK-B
    """
    from datetime import UTC, datetime

    from fin_infra.cli.output import calendar_day, put, put_json
    from fin_infra.errors import UsageError
    from fin_infra.instruments.aliases import alias_of
    from fin_infra.instruments.key import InstrumentKey
    from fin_infra.instruments.symbols import from_vendor, quote_at
    from fin_infra.instruments.venues import quote_of

    said: dict[str, str | None] = {}
    for pair in context or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--context {pair!r} is no pair; write kind=crypto")
        said[name] = value
    day = calendar_day(at, "--at") or datetime.now(UTC).date()
    alias = alias_of(_stored(vendor), symbol, day)
    key = InstrumentKey.parse(alias) if alias else from_vendor(vendor, symbol, **said)
    if as_json:
        money = said.get("currency")
        quote = quote_of(key, currency=money) if alias else quote_at(key, vendor, symbol=symbol, currency=money)
        put_json(
            {
                "vendor": vendor, "symbol": symbol, "instrument": str(key), "by": "alias" if alias else "spelling",
                "currency": quote and quote.currency, "quote_unit": quote and quote.unit,
            }
        )  # fmt: skip
    else:
        put(str(key))


@app.command("alias")
def alias(
    vendor: Annotated[str, typer.Argument(metavar="VENDOR", help="Whose symbol it is.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Its symbol, or its own id: of plaid:XYZ it is XYZ.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The InstrumentKey that it means.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="How you know.")],
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day. Default: ever.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="DAY", help="First day it no longer does.")] = None,
) -> None:
    """Say what a symbol means that nothing resolves. The next sync uses it; rows of before keep their key.

    Example: fin-infra instruments alias plaid 8E4L9XLl6MudjEpwPAAgivmdZRdBPJuvMPlPb us:AAPL --reason "statement of May"
    """
    from datetime import UTC, datetime

    from fin_infra.cli.output import calendar_day, say
    from fin_infra.errors import UsageError
    from fin_infra.instruments.aliases import SymbolAlias
    from fin_infra.instruments.key import LOCAL, InstrumentKey, is_local
    from fin_infra.instruments.symbols import spellings
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    meant = InstrumentKey.parse(key)
    if not is_local(vendor) and vendor not in spellings():
        raise UsageError(f"no vendor {vendor!r}; there are: {', '.join(sorted({*LOCAL, *spellings()}))}")
    if not symbol.strip() or not reason.strip():
        raise UsageError("the symbol and --reason must not be blank")
    if meant.namespace == vendor:
        raise UsageError(f"{meant} is {vendor}'s own id and says nothing more; name a listing, an ISIN or another key")
    begins, ends = calendar_day(first, "--from"), calendar_day(end, "--to")
    if ends is not None and begins is not None and ends <= begins:
        raise UsageError(f"--to {ends} is not after --from {begins}; it is the first day on which it no longer holds")
    kept = SymbolAlias(vendor, symbol.removeprefix(f"{vendor}:").strip(), str(meant), reason.strip(), begins, ends)
    open_store(Settings.load().store_url).say_symbol(kept, datetime.now(UTC))
    say(f"{vendor} {kept.symbol} means {meant} from {begins or 'ever'} to {ends or 'now'}; the next sync uses it")


@app.command("aliases")
def aliases(
    vendor: Annotated[str | None, typer.Option("--provider", metavar="VENDOR", help="Only of one vendor.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List what was said of symbols.

    Example: fin-infra instruments aliases
    """
    from fin_infra.cli.output import put_json, table

    found = _stored(vendor)
    header = ("provider", "symbol", "instrument", "valid from", "valid to", "reason")
    if as_json:
        put_json([entry._asdict() for entry in found])
    else:
        table(
            [(a.provider, a.symbol, a.instrument, a.valid_from, a.valid_to, a.reason) for a in found], header
        )  # fmt: skip


def _stored(vendor: str | None) -> list[SymbolAlias]:
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    return open_store(Settings.load().store_url).symbol_aliases(vendor)
