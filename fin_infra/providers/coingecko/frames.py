"""CoinGecko's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from fin_infra.datasets.base import Built
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.errors import UsageError
from fin_infra.providers.base import Account, Ask, Want
from fin_infra.providers.coingecko import wire
from fin_infra.providers.coingecko.symbols import from_coingecko

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CURRENCY = "USD"  # all is asked for in dollars, and no answer says so
Daily = wire.Chart | wire.Candles | wire.Quoted


class Bar(NamedTuple):
    """A day's bar as text; `at`: of a price that is no close, the moment it is of."""

    session: date | None
    close: str | None
    at: datetime | None = None
    open: str | None = None
    high: str | None = None
    low: str | None = None


def prices(pages: Sequence[tuple[Daily, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Daily bars in the order of the answer, all `provisional`: what is final the engine knows.

    A point of 00:00 UTC is the close of the day before, and no other point of a chart is one. The last, "now", is a
    provisional bar of its day, and is left out where days were asked for. A chart has the close alone: opens, highs and
    lows are not said, and its volumes are dollars of the last 24 hours, not units of the day.
    Source: https://docs.coingecko.com/reference/coins-id-market-chart-range
    """
    rows: list[tuple[str, Bar, datetime]] = []
    for page, at in pages:
        for instrument, first, last, bars in _by_instrument(page, ask):
            asked = last < date.max
            rows += [
                (instrument, bar, min(bar.at or at, at))
                for bar in bars
                if bar.session is None or (first <= bar.session <= last and not (asked and bar.at))
            ]
    columns: dict[str, list[str | None]] = {
        "instrument": [instrument for instrument, _, _ in rows],
        "session": [_text(bar.session) for _, bar, _ in rows],
        "fetched_at": [seen.isoformat() for _, _, seen in rows],
        **{name: [getattr(bar, name) for _, bar, _ in rows] for name in ("open", "high", "low", "close")},
    }
    constants = {"basis": "raw", "currency": CURRENCY, "state": "provisional"}
    return Prices.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def quotes(pages: Sequence[tuple[wire.Quoted, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """The newest price of each coin, with the vendor's own time of it. A coin without one is a reject.

    Source: https://docs.coingecko.com/reference/simple-price
    """
    wants = _wants(ask)
    rows = [
        (want.instrument, price, _moment(at))
        for page, _ in pages
        for coin, (price, at) in page.coins.items()
        for want in _meant(coin, wants)
    ]
    columns: dict[str, list[str | None]] = {
        "instrument": [instrument for instrument, _, _ in rows],
        "price": [price for _, price, _ in rows],
        "quoted_at": [_text(at) for _, _, at in rows],
        "session": [_text(at and at.date()) for _, _, at in rows],
    }
    return Quotes.build(columns, ask.columns(pages[-1][1] if pages else ask.at, currency=CURRENCY))


def instruments(pages: Sequence[tuple[wire.Coins, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Name and kind of each coin. It is listed nowhere and in no currency.

    Source: https://docs.coingecko.com/reference/coins-list
    """
    wants = _wants(ask)
    rows: list[tuple[str, str]] = []
    for page in (page for page, _ in pages):
        tickers: dict[str, list[str]] = {}
        for ticker, coin in page.named.items():
            tickers.setdefault(coin, []).append(ticker)
        rows += [
            (want.instrument, coin.name)
            for coin in page.rows
            for ticker in tickers.get(coin.id, [coin.id])
            for want in _meant(ticker, wants)
        ]
    columns = {"instrument": [instrument for instrument, _ in rows], "name": [name for _, name in rows]}
    constants = {"kind": "crypto", "quote_unit": "major"}
    return Instruments.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def intraday(pages: Sequence[tuple[wire.Candles, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Candles of 30 minutes or 4 hours, without volume, all `provisional`. Each is stamped with its close.

    The last one is still open: its close lies ahead of the answer. Raises `WireError` where they are not as long as was
    asked for. Source: https://docs.coingecko.com/reference/coins-id-ohlc
    """
    rows = [
        (want.instrument, interval, _instant(row[0]) - length, row[1:])
        for page, _ in pages
        for want in _named(page.coin, ask)
        for interval, length in _lengths(page, want)
        for row in page.rows
        if want.first <= (_instant(row[0]) - length).date() <= want.last  # there are always whole days up to now
    ]
    columns: dict[str, list[str | None]] = {
        "instrument": [instrument for instrument, _, _, _ in rows],
        "interval": [interval for _, interval, _, _ in rows],
        "start_at": [start.isoformat() for _, _, start, _ in rows],
        **{
            name: [prices[place] for _, _, _, prices in rows]
            for place, name in enumerate(("open", "high", "low", "close"))
        },
    }
    constants = {"basis": "raw", "currency": CURRENCY, "state": "provisional"}
    return IntradayPrices.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def _lengths(page: wire.Candles, want: Want) -> list[tuple[str, timedelta]]:
    """How long the candles of a page are; of a single one as long as was asked for. None, where there are none."""
    if not page.rows:
        return []
    told = wire.INTERVALS.get(page.step, want.interval)
    if not told or want.interval not in ("", told):
        raise wire.broken(
            f"candles of {told or 'nobody knows how long'}, not of {want.interval or 'a known length'}", b""
        )
    return [(name, timedelta(milliseconds=step)) for step, name in wire.INTERVALS.items() if name == told]


# -- bars -------------------------------------------------------------------------------------------------------------


def _by_instrument(page: Daily, ask: Ask) -> Iterator[tuple[str, date, date, list[Bar]]]:
    """The bars of a page, with the days that were asked for."""
    if isinstance(page, wire.Quoted):
        wants = _wants(ask)
        for coin, (price, at) in page.coins.items():
            moment = _moment(at)
            bar = Bar(moment and moment.date(), price, moment)
            for want in _meant(coin, wants):
                yield want.instrument, want.first, want.last, [bar]
        return
    bars = _closes(page) if isinstance(page, wire.Chart) else _candles(page)
    for want in _named(page.coin, ask):
        yield want.instrument, want.first, want.last, bars


def _closes(chart: wire.Chart) -> list[Bar]:
    """Where a chart says no price there is no bar. Raises `WireError` for one of several days that has no close."""
    points = [(at, price) for at, price in chart.points if price is not None]
    bars = [Bar(_day_before(at), price) for at, price in points if at % wire.DAY == 0]
    if not bars and points and points[-1][0] - points[0][0] > 2 * wire.DAY:
        raise wire.broken("prices of several days, and none of 00:00 UTC: they are no daily closes", b"")
    if points and points[-1][0] % wire.DAY:
        at, price = points[-1]
        bars.append(Bar(_instant(at).date(), price, _instant(at)))
    return bars


def _candles(candles: wire.Candles) -> list[Bar]:
    """Daily ones, stamped with their close at 00:00 UTC. The last may be open still: its close lies ahead."""
    return [Bar(_day_before(at), close, None, first, high, low) for at, first, high, low, close in candles.rows]


# -- one value --------------------------------------------------------------------------------------------------------


def _wants(ask: Ask) -> Mapping[str, Sequence[Want]]:
    found: dict[str, list[Want]] = {}
    for want in ask.wants:
        found.setdefault(want.ticker, []).append(want)
    return found


def _meant(coin: str, wants: Mapping[str, Sequence[Want]]) -> Sequence[Want]:
    """What was asked for by this ticker; of a recorded answer that nobody asked for, the coin itself."""
    if coin in wants:
        return wants[coin]
    key = from_coingecko(coin)
    return (Want(key or f"coingecko:{coin}", coin, date.min, date.max),)


def _named(coin: str, ask: Ask) -> Sequence[Want]:
    """The same of an answer that does not say of which coin it is."""
    if coin:
        return _wants(ask).get(coin, ())
    if len(ask.wants) != 1 or not ask.wants[0].instrument:
        raise UsageError("a chart does not say of which coin it is: --context instrument=crypto:bitcoin")
    return ask.wants


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _instant(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def _day_before(milliseconds: int) -> date:
    return (_instant(milliseconds) - timedelta(milliseconds=1)).date()


def _moment(text: str | None) -> datetime | None:
    """Of seconds since 1970, or ISO 8601; None for what is neither."""
    try:
        if text is not None and text.isdecimal():
            return EPOCH + timedelta(seconds=int(text))
        moment = datetime.fromisoformat(text or "")
    except (ValueError, OverflowError):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None
