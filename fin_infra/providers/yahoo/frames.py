"""Yahoo's charts → normalized frames. Pure: bodies and an ask in, rows and rejects out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fin_infra.datasets.base import Built, Dataset, Reject
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.errors import UsageError, WireError
from fin_infra.instruments.currencies import major
from fin_infra.instruments.notation import Context
from fin_infra.instruments.venues import MINOR_VENUES
from fin_infra.providers.base import Account, Ask, Want
from fin_infra.providers.yahoo import wire
from fin_infra.providers.yahoo.figures import EXACT, decimal, meant, mixed, over
from fin_infra.providers.yahoo.symbols import from_yahoo

Cells = dict[str, str | None]
Pages = Sequence[tuple[list[wire.Chart], datetime]]
FIGURES = ("open", "high", "low", "close")
KINDS = {
    "EQUITY": "equity", "ETF": "etf", "MUTUALFUND": "fund", "INDEX": "index", "CURRENCY": "fx",
    "CRYPTOCURRENCY": "crypto", "FUTURE": "future", "OPTION": "option", "MONEYMARKET": "fund",
}  # fmt: skip
"""Yahoo's `instrumentType`, as observed; what is new is `other`."""
US_VENUES = {
    "NMS": "XNAS", "NGM": "XNAS", "NCM": "XNAS", "NAS": "XNAS", "NYQ": "XNYS", "NYS": "XNYS", "PCX": "ARCX",
    "ASE": "XASE", "BTS": "BATS",
}  # fmt: skip
"""Yahoo's codes of US venues, as observed; elsewhere the suffix of the symbol tells."""
A_DAY = timedelta(days=1)


class Unit(NamedTuple):
    """What prices are counted in, how many of it are one of the currency, and to how many digits it is quoted."""

    currency: str | None
    factor: Decimal
    hint: int
    fault: str | None = None

    def price(self, text: str | None) -> str | None:
        """The decimal that was meant, in the major unit. The digits are those of the quote: it is divided last."""
        return over(meant(text, self.hint), self.factor)


def prices(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Daily bars, oldest first, in the listing's major unit, basis `split_adjusted`, all `provisional`.

    - A day's date is that of its stamp in the exchange's own zone.
    - Two bars of one day, the second stamped with now, are one: its close, the first open, the widest range.
    - A bar of nulls alone is a day without one. One that has some figures and lacks others is a reject: it is being
      made, or broken, and a close without its day's range would look whole. A volume, or a whole column, that is not
      there is null.
    - A bar in another unit than those around it (see `figures.mixed`) is a reject.
    """
    rows: list[Cells] = []
    rejects: list[Reject] = []
    for chart, at in _all(pages):
        rows += _daily(chart, ask, ask.columns(at), rejects)
    return _with(Prices, rows, rejects, ask, pages)


def intraday_prices(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Bars shorter than a day, oldest first, by the same rules: `start_at` is the stamp itself.

    The last one may be stamped with now, within a bar that is open or at the end of the day: it is a part of the bar
    before it, and is left out.
    """
    rows: list[Cells] = []
    rejects: list[Reject] = []
    for chart, at in _all(pages):
        rows += _intraday(chart, ask, ask.columns(at), rejects)
    return _with(IntradayPrices, rows, rejects, ask, pages)


def quotes(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """The newest price of each listing, beside it what its own day shows. One without a price is a reject."""
    rows: list[Cells] = []
    rejects: list[Reject] = []
    for chart, at in _all(pages):
        row = _quote(chart, ask)
        fault = _unit(chart, row["instrument"]).fault or ("it states no price" if row["price"] is None else None)
        if fault is not None:
            rejects.append(Reject(fault, row, ask.columns(at)))
        else:
            rows.append(row)
    return _with(Quotes, rows, rejects, ask, pages)


def instruments(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """What the charts say of their listings. When its prices begin at Yahoo is not when it was listed: not told."""
    rows: list[Cells] = []
    for chart, _at in _all(pages):
        meta, key = chart.meta, _key(chart, ask)
        unit = _unit(chart, key)
        rows.append(
            {
                "instrument": key, "name": meta.long_name or meta.short_name,
                "kind": KINDS.get(meta.kind or "", "other") if meta.kind else None, "mic": _mic(key, meta.exchange),
                "currency": unit.currency, "quote_unit": "minor" if unit.factor != 1 else "major",
            }
        )  # fmt: skip
    return _with(Instruments, rows, [], ask, pages)


def corporate_actions(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Splits and cash dividends, by ex-date: the date of the event in the exchange's own zone.

    Yahoo states a dividend per share of today. It is brought to the shares of its own day by all splits from that day
    on, which is why the chart must reach from before the dividend to now: 0.0575 before a 4-for-1 was 0.23. Several of
    one day are one: dividends add up, splits multiply. In the major unit, as prices are.
    """
    rows: list[Cells] = []
    rejects: list[Reject] = []
    for chart, at in _all(pages):
        rows += _actions(chart, ask, ask.columns(at), rejects)
    return _with(CorporateActions, rows, rejects, ask, pages)


# -- one chart ---------------------------------------------------------------------------------------------------------


def _daily(chart: wire.Chart, ask: Ask, constants: Mapping[str, object], rejects: list[Reject]) -> list[Cells]:
    key, zone = _key(chart, ask), _zone(chart)
    unit = _unit(chart, key)
    wants = [want for want in ask.wants if want.instrument == key]
    days = [(day, bar) for day, bar in _merged(chart.bars, zone) if not _beside_the_asked(day, wants)]
    rows = [
        {
            "instrument": key, "session": day.isoformat(), "volume": bar.volume, "currency": unit.currency,
            **{name: unit.price(value) for name, value in zip(FIGURES, bar.prices, strict=True)},
        }
        for day, bar in days
    ]  # fmt: skip
    if chart.quoted:  # a price of a moment names no range, and is none of a series
        return _unless(rows, dict.fromkeys(range(len(rows)), unit.fault) if unit.fault else {}, constants, rejects)
    wrong = _judged([(day, bar.prices) for day, bar in days], rows, chart, zone, unit)
    return _unless(rows, wrong, constants, rejects)


def _intraday(chart: wire.Chart, ask: Ask, constants: Mapping[str, object], rejects: list[Reject]) -> list[Cells]:
    key, zone = _key(chart, ask), _zone(chart)
    unit = _unit(chart, key)
    whole = [bar for bar in chart.bars if any(value is not None for value in bar.prices)]
    if whole and _is_now(whole, chart):
        whole = whole[:-1]
    days = [(_day(bar.at, zone), bar) for bar in whole]
    rows = [
        {
            "instrument": key, "interval": wire.INTRADAY[chart.meta.granularity],
            "start_at": datetime.fromtimestamp(bar.at, UTC).isoformat(), "volume": bar.volume,
            "currency": unit.currency,
            **{name: unit.price(value) for name, value in zip(FIGURES, bar.prices, strict=True)},
        }
        for _, bar in days
    ]  # fmt: skip
    wrong = _judged([(day, bar.prices) for day, bar in days], rows, chart, zone, unit)
    return _unless(rows, wrong, constants, rejects)


def _is_now(bars: Sequence[wire.Bar], chart: wire.Chart) -> bool:
    """Whether the last one is no bar of its own: stamped with the newest price, off the marks or at the day's end."""
    last, seconds = bars[-1].at, wire.SECONDS[chart.meta.granularity]
    if str(last) != chart.meta.priced_at:
        return False
    regular = (chart.meta.trading or {}).get("regular")
    end = regular.get("end") if isinstance(regular, dict) else None
    on_a_mark = len(bars) < 2 or (last - bars[-2].at) % seconds == 0
    return not on_a_mark or (isinstance(end, str) and end.isdigit() and last >= int(end))


def _judged(
    bars: Sequence[tuple[date, Sequence[str | None]]], rows: Sequence[Cells], chart: wire.Chart, zone: ZoneInfo,
    unit: Unit,
) -> dict[int, str]:  # fmt: skip
    """Which rows cannot be kept, by their place, and why."""
    if unit.fault is not None:
        return dict.fromkeys(range(len(rows)), unit.fault)
    wrong = {}
    for place, (_, figures) in enumerate(bars):
        lacking = [
            name for name, value in zip(FIGURES, figures, strict=True)
            if value is None and (name in chart.said or name == "close")
        ]  # fmt: skip
        if lacking:
            wrong[place] = f"{', '.join(lacking)} is null beside other figures of the bar: it is not whole"
    numbers = [(day, [decimal(value) for value in figures]) for day, figures in bars]
    price, at = decimal(chart.meta.price), _instant(chart.meta.priced_at)
    now = None if price is None or at is None or price <= 0 else (at.astimezone(zone).date(), price)
    return {**mixed(numbers, now), **wrong}


def _quote(chart: wire.Chart, ask: Ask) -> Cells:
    key, zone, meta = _key(chart, ask), _zone(chart), chart.meta
    unit, at = _unit(chart, key), _instant(meta.priced_at)
    day = at.astimezone(zone).date() if at is not None else None
    own = next((bar for on, bar in _merged(chart.bars, zone) if on == day), None) if day is not None else None
    before = meta.previous_close or (meta.chart_previous_close if meta.span == "1d" else None)
    row: Cells = {
        "instrument": key, "price": unit.price(meta.price), "currency": unit.currency,
        "quoted_at": at.isoformat() if at is not None else None, "session": day.isoformat() if day else None,
        "previous_close": unit.price(before),
    }  # fmt: skip
    if own is not None:
        row |= {"open": unit.price(own.open), "high": unit.price(own.high), "low": unit.price(own.low),
                "volume": own.volume}  # fmt: skip
    return row


def _actions(chart: wire.Chart, ask: Ask, constants: Mapping[str, object], rejects: list[Reject]) -> list[Cells]:
    key, zone = _key(chart, ask), _zone(chart)
    unit = _unit(chart, key)
    nulls = dict.fromkeys(("ratio", "new_shares", "old_shares", "amount", "currency"))
    ratios: dict[date, tuple[Decimal, Decimal]] = {}
    for split in chart.splits:
        day, new, old = _day(split.at, zone), decimal(split.new), decimal(split.old)
        if new is None or old is None or new <= 0 or old <= 0:
            told = {"instrument": key, "ex_on": day.isoformat(), "kind": "split", **nulls,
                    "new_shares": split.new, "old_shares": split.old}  # fmt: skip
            rejects.append(Reject("a split without two numbers of shares", told, constants))
            continue
        above, below = ratios.get(day, (Decimal(1), Decimal(1)))
        ratios[day] = EXACT.multiply(above, new), EXACT.multiply(below, old)
    rows = [
        {
            "instrument": key, "ex_on": day.isoformat(), "kind": "split", **nulls,
            "new_shares": _text(new), "old_shares": _text(old), "ratio": _text(_at_18(Fraction(new) / Fraction(old))),
        }
        for day, (new, old) in sorted(ratios.items())
        if new != old
    ]  # fmt: skip
    paid: dict[date, list[str | None]] = {}
    for dividend in chart.dividends:
        paid.setdefault(_day(dividend.at, zone), []).append(dividend.amount)
    for day, amounts in sorted(paid.items()):
        numbers = [number for amount in amounts if (number := decimal(unit.price(amount))) is not None]
        row = {"instrument": key, "ex_on": day.isoformat(), "kind": "dividend", **nulls, "currency": unit.currency}
        if unit.fault is not None or len(numbers) < len(amounts):
            told = {**row, "amount": next((amount for amount in amounts if decimal(amount) is None), amounts[0])}
            rejects.append(Reject(unit.fault or "a dividend whose amount is no number", told, constants))
            continue
        total = sum((Fraction(number) for number in numbers), Fraction(0))
        for ex_on, (new, old) in ratios.items():
            if ex_on >= day:  # a split of the same day is in it too: it is told per share of today
                total *= Fraction(new) / Fraction(old)
        rows.append({**row, "amount": _text(_at_18(total))})
    return sorted(rows, key=lambda row: (row["ex_on"] or "", row["kind"] or ""))


# -- days --------------------------------------------------------------------------------------------------------------


def _merged(bars: Iterable[wire.Bar], zone: ZoneInfo) -> list[tuple[date, wire.Bar]]:
    """One bar a day, oldest first, without those that have no price at all.

    The second one of a day is what it is now: its close and, of both, the widest range and the larger volume, which
    counts the whole day. Where it has no close the first stands.
    """
    days: dict[date, wire.Bar] = {}
    for bar in sorted((bar for bar in bars if any(value is not None for value in bar.prices)), key=lambda bar: bar.at):
        day = _day(bar.at, zone)
        first = days.get(day)
        if first is None or first.close is None:
            days[day] = bar
        elif bar.close is not None:
            days[day] = wire.Bar(
                bar.at, first.open if first.open is not None else bar.open, _most(first.high, bar.high, max),
                _most(first.low, bar.low, min), bar.close, _most(first.volume, bar.volume, max),
            )  # fmt: skip
    return sorted(days.items())


def _most(
    one: str | None, other: str | None, pick: Callable[[list[tuple[Decimal, str]]], tuple[Decimal, str]]
) -> str | None:
    known = [(number, text) for text in (one, other) if text is not None and (number := decimal(text)) is not None]
    return pick(known)[1] if known else one or other


def _beside_the_asked(day: date, wants: Sequence[Want]) -> bool:
    """Whether it is the day before or after what was asked for, which comes along: UTC's days are none of its."""
    if any(want.first <= day <= want.last for want in wants):
        return False
    edges = {edge for want in wants for edge in (want.first.toordinal() - 1, want.last.toordinal() + 1)}
    return day.toordinal() in edges


def _day(at: int, zone: ZoneInfo) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)).astimezone(zone).date()


def _instant(text: str | None) -> datetime | None:
    number = decimal(text)
    if number is None or not wire.FIRST_YEAR <= number <= wire.LAST_YEAR:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(number))


def _zone(chart: wire.Chart) -> ZoneInfo:
    """The exchange's zone. `gmtoffset` beside it is today's, and wrong on the other side of a change of the clocks."""
    try:
        return ZoneInfo(chart.meta.zone)
    except (KeyError, ValueError, OSError):
        raise WireError("an answer whose exchangeTimezoneName is no zone that is known") from None


# -- one value ---------------------------------------------------------------------------------------------------------


def _key(chart: wire.Chart, ask: Ask) -> str | None:
    """What was asked for under this symbol; in a recorded answer, what the symbol and its kind mean."""
    symbol = chart.meta.symbol
    asked = next((want.instrument for want in ask.wants if want.ticker == symbol), None)
    return asked or from_yahoo(symbol, Context(kind=KINDS.get(chart.meta.kind or "")))


def _unit(chart: wire.Chart, key: str | None) -> Unit:
    hint = chart.meta.price_hint
    digits = int(hint) if hint is not None and hint.isdigit() and len(hint) < 2 else 2
    code = chart.meta.currency
    if code is None:
        minor = (key or "").partition(":")[0] in MINOR_VENUES
        why = "no currency is said, and the venue quotes in hundredths and in whole units" if minor else None
        return Unit(None, Decimal(1), digits, why)
    try:
        one, major_code = major(Decimal(1), code)
        return Unit(major_code, EXACT.divide(Decimal(1), one), digits)
    except UsageError:
        return Unit(code, Decimal(1), digits, f"its currency {code[:12]!r} is none that is known")


def _mic(key: str | None, exchange: str | None) -> str | None:
    namespace = (key or "").partition(":")[0]
    if namespace == "us":
        return US_VENUES.get(exchange or "")
    return namespace.upper() if len(namespace) == 4 else None


def _at_18(number: Fraction) -> Decimal:
    quotient = EXACT.divide(Decimal(number.numerator), Decimal(number.denominator))
    return quotient.quantize(Decimal("1e-18"), context=EXACT)


def _text(number: Decimal) -> str:
    return format(number.normalize(EXACT), "f")


def _all(pages: Pages) -> Iterable[tuple[wire.Chart, datetime]]:
    return ((chart, at) for charts, at in pages for chart in charts)


def _unless(
    rows: Sequence[Cells], wrong: Mapping[int, str], constants: Mapping[str, object], rejects: list[Reject]
) -> list[Cells]:
    """The rows that are not wrong; the others are set aside with their reason."""
    same = {**constants, **SERIES}
    rejects += [Reject(reason, rows[place], same) for place, reason in wrong.items()]
    return [row for place, row in enumerate(rows) if place not in wrong]


SERIES = {"basis": "split_adjusted", "state": "provisional"}
CONSTANTS: Mapping[type[Dataset], Mapping[str, object]] = {Prices: SERIES, IntradayPrices: SERIES}


def _with(schema: type[Dataset], rows: Sequence[Cells], rejects: Sequence[Reject], ask: Ask, pages: Pages) -> Built:
    names = [name for name in schema.dtypes() if any(name in row for row in rows)]
    columns = {name: [row.get(name) for row in rows] for name in names}
    at = pages[-1][1] if pages else ask.at
    built = schema.build(columns, ask.columns(at, **CONSTANTS.get(schema, {})))
    return Built(built.good, (*rejects, *built.rejects), built.differing)
