"""Alpha Vantage's answers → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Context as Digits
from decimal import Decimal, DecimalException
from zoneinfo import ZoneInfo

from fin_infra.datasets.base import Built, Dataset, Reject
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.errors import UsageError
from fin_infra.instruments.currencies import major
from fin_infra.instruments.notation import Context
from fin_infra.instruments.venues import Quote, quote_of
from fin_infra.providers.alphavantage import wire
from fin_infra.providers.alphavantage.symbols import from_alphavantage
from fin_infra.providers.base import Account, Ask

Cells = dict[str, str | None]
Pages = Sequence[tuple[wire.Bars, datetime]]
EXACT = Digits(prec=80)
FIGURES = ("open", "high", "low", "close")
KINDS = {
    "equity": "equity", "common stock": "equity", "preferred stock": "equity", "etf": "etf", "mutual fund": "fund",
    "index": "index",
}  # fmt: skip
"""Its words for what a listing is; what is new is `other`."""
US_VENUES = {"NYSE": "XNYS", "NASDAQ": "XNAS", "NYSE ARCA": "ARCX", "NYSE MKT": "XASE", "BATS": "BATS"}


def prices(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Raw daily bars, oldest first, in the listing's major unit, all `provisional`: what is final the engine knows.

    Of an adjusted series the raw figures: its own "adjusted close" is left. The answer is always the whole series: what
    was not asked for is left out. No currency is said beside prices; it is that of the listing, as its venue has it.
    Source: https://www.alphavantage.co/documentation/#daily
    """
    rows: list[Cells] = []
    for page, _at in pages:
        key = _key(page.symbol, ask)
        first, last = _asked(key, ask)
        unit = _unit(key)
        for stamp, cells in reversed(page.rows):
            if first <= stamp <= last:
                rows.append(
                    {
                        "instrument": key, "session": stamp, "volume": cells.get("volume"),
                        "currency": unit.currency if unit else None,
                        **{name: _price(cells.get(name), unit) for name in FIGURES},
                    }
                )  # fmt: skip
    return _built(Prices, rows, ask, pages, basis="raw", state="provisional")


def intraday_prices(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Raw bars shorter than a day, oldest first; the stamp is the bar's begin, in the zone that the answer names.

    Times are New York's for every listing. Bars outside of the regular hours are not asked for; where an answer has
    some they are bars all the same. Source: https://www.alphavantage.co/documentation/#intraday
    """
    rows: list[Cells] = []
    rejects: list[Reject] = []
    for page, at in pages:
        key, zone = _key(page.symbol, ask), _zone(page.zone)
        first, last = _asked(key, ask, page.span)
        since = next((want.since for want in ask.wants if (want.instrument, want.interval) == (key, page.span)), None)
        unit = _unit(key)
        for stamp, cells in reversed(page.rows):
            if not first <= stamp[:10] <= last:
                continue
            row: Cells = {
                "instrument": key, "interval": page.span, "start_at": None, "volume": cells.get("volume"),
                "currency": unit.currency if unit else None,
                **{name: _price(cells.get(name), unit) for name in FIGURES},
            }  # fmt: skip
            begin = _begin(stamp, zone)
            if begin is None:
                rejects.append(Reject(f"{stamp[:40]!r} is no time of {page.zone[:40]!r}", row, ask.columns(at)))
            elif since is None or begin >= since:
                rows.append({**row, "start_at": begin.isoformat()})
    return _built(IntradayPrices, rows, ask, pages, rejects, basis="raw", state="provisional")


def quotes(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """The newest price of each listing and what is said of its day. When it was, is not said."""
    rows: list[Cells] = []
    for page, _at in pages:
        key = _key(page.symbol, ask)
        unit = _unit(key)
        for day, cells in page.rows:
            told = {"price": "price", "open": "open", "high": "high", "low": "low", "previous_close": "previous close"}
            rows.append(
                {
                    "instrument": key, "session": day, "currency": unit.currency if unit else None,
                    "volume": cells.get("volume"),
                    **{name: _price(cells.get(theirs), unit) for name, theirs in told.items()},
                }
            )  # fmt: skip
    return _built(Quotes, rows, ask, pages)


def rates(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Units of the second currency for one of the first: the close of the day, in UTC, oldest first, `provisional`.

    Of a coin too, under its ticker. Source: https://www.alphavantage.co/documentation/#fx-daily
    """
    rows: list[Cells] = []
    for page, _at in pages:
        assert page.pair is not None, "the wire has looked"
        base, quote = page.pair
        first, last = _asked(f"fx:{base}{quote}", ask)
        for day, cells in reversed(page.rows):
            row: Cells = {"base": base, "quote": quote, "rate_on": day, "rate": cells.get("close")}
            if first <= day <= last:
                rows.append(row)
    return _built(FxRates, rows, ask, pages, state="provisional")


def instruments(pages: Sequence[tuple[list[wire.Listing], datetime]], ask: Ask, _: Account | None = None) -> Built:
    """What is said of the listings that were asked for; of all in the answer, where none was."""
    asked = {want.ticker: want.instrument for want in ask.wants}
    rows: list[Cells] = []
    for listings, _at in pages:
        for one in listings:
            if asked and one.symbol not in asked:
                continue
            kind = KINDS.get((one.kind or "").casefold(), "other") if one.kind else None
            key = asked.get(one.symbol) or from_alphavantage(one.symbol, Context(kind=kind))
            unit = _said_unit(one.currency) or _unit(key)
            rows.append(
                {
                    "instrument": key, "name": one.name, "kind": kind, "mic": _mic(key, one.exchange),
                    "currency": unit.currency if unit else None, "quote_unit": unit.unit if unit else None,
                }
            )  # fmt: skip
    return _built(Instruments, rows, ask, pages)


def corporate_actions(
    pages: Sequence[tuple[wire.Actions, datetime]], ask: Ask, _: Account | None = None
) -> Built:  # fmt: skip
    """Splits and cash dividends by ex-date, oldest first. A factor of 4 is four new shares for one; of 0.125 one for
    eight. Several dividends of one day add up. In the major unit, as prices are.

    Source: https://www.alphavantage.co/documentation/#dividends
    """
    rows: list[Cells] = []
    rejects: list[Reject] = []
    for page, at in pages:
        key = _key(page.symbol, ask)
        unit = _unit(key)
        paid: dict[str, list[tuple[Decimal | None, Cells]]] = {}
        for told in reversed(page.rows):
            if page.kind == "split":
                factor = _decimal(told.get("split_factor"))
                row: Cells = {"instrument": key, "ex_on": told.get("effective_date"), "kind": "split"}
                if factor is None or factor <= 0:
                    shown = {**row, "new_shares": told.get("split_factor")}
                    rejects.append(Reject("a split whose factor is no number", shown, ask.columns(at)))
                    continue
                rows.append({**row, "new_shares": _text(factor), "old_shares": "1", "ratio": _text(factor)})
                continue
            cells: Cells = {
                "instrument": key, "ex_on": told.get("ex_dividend_date"), "kind": "dividend",
                "amount": _price(told.get("amount"), unit), "currency": unit.currency if unit else None,
                "paid_on": _day(told.get("payment_date")),
            }  # fmt: skip
            paid.setdefault(cells["ex_on"] or "", []).append((_decimal(cells["amount"]), cells))
        for alike in paid.values():
            amounts = [amount for amount, _cells in alike if amount is not None]
            one = alike[0][1]
            if len(alike) > 1 and len(amounts) == len(alike):
                one = {**one, "amount": _text(sum(amounts, Decimal(0)))}
            rows.append(one)
    return _built(CorporateActions, rows, ask, pages, rejects)


# -- one value ---------------------------------------------------------------------------------------------------------


def _key(symbol: str | None, ask: Ask) -> str | None:
    """What was asked for under this symbol, else what it is read as."""
    asked = next((want.instrument for want in ask.wants if want.ticker == symbol), None)
    return asked or (from_alphavantage(symbol) if symbol else None)


def _asked(key: str | None, ask: Ask, interval: str = "") -> tuple[str, str]:
    """The days that are wanted of an instrument, as texts; all where nothing was asked for."""
    want = next((want for want in ask.wants if (want.instrument, want.interval) == (key, interval)), None)
    return (want.first.isoformat(), want.last.isoformat()) if want else ("", "~")


def _unit(key: str | None) -> Quote | None:
    return quote_of(key) if key else None


def _said_unit(code: str | None) -> Quote | None:
    try:
        return quote_of("us:X", currency=code) if code else None
    except UsageError:
        return None


def _price(text: str | None, unit: Quote | None) -> str | None:
    """In the major unit. What is no number stays, and its row is refused."""
    number = _decimal(text)
    if number is None or unit is None or unit.unit == "major":
        return text
    return _text(major(number, unit.code)[0])


def _decimal(text: str | None) -> Decimal | None:
    try:
        number = EXACT.create_decimal(text) if text is not None else None
    except DecimalException:
        return None
    return number if number is not None and number.is_finite() and abs(number.adjusted()) < 40 else None


def _text(number: Decimal) -> str:
    return format(number.normalize(EXACT), "f")


def _day(text: str | None) -> str | None:
    """A day, or nothing: what is missing is the word None there."""
    try:
        return date.fromisoformat(text or "").isoformat()
    except ValueError:
        return None


def _begin(stamp: str, zone: ZoneInfo | None) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp).replace(tzinfo=zone).astimezone(UTC) if zone else None
    except ValueError:
        return None


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _mic(key: str | None, exchange: str | None) -> str | None:
    namespace = (key or "").partition(":")[0]
    if namespace == "us":
        return US_VENUES.get(exchange or "")
    return namespace.upper() if len(namespace) == 4 else None


def _built(
    schema: type[Dataset], rows: Sequence[Cells], ask: Ask, pages: Sequence[tuple[object, datetime]],
    rejects: Sequence[Reject] = (), **constants: str,
) -> Built:  # fmt: skip
    names = [name for name in schema.dtypes() if any(name in row for row in rows)]
    columns = {name: [row.get(name) for row in rows] for name in names}
    built = schema.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))
    return Built(built.good, (*rejects, *built.rejects), built.differing)
