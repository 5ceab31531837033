"""Candles → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, DecimalException

from fin_infra.datasets.base import Built
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.ccxt.symbols import pair_of
from fin_infra.providers.ccxt.wire import Candle, Candles

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBERS = ("open", "high", "low", "close", "volume")
Pages = Sequence[tuple[Candles, datetime]]


def prices(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Raw daily bars, oldest first, all `provisional`: what is final the engine knows.

    A candle that does not begin a UTC day is no daily bar, and a reject; so is a ticker that does not say its day.
    """
    rows = [(candles, row) for candles, _ in pages for row in candles.rows]
    columns = _columns(rows, ask) | {"session": [_session(candles, row) for candles, row in rows]}
    constants = {"basis": "raw", "state": "provisional"}
    return Prices.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def intraday(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """Raw bars of the interval that was asked for, oldest first, all `provisional`. A ticker is none."""
    rows = [(candles, row) for candles, _ in pages for row in candles.rows if not candles.ticker]
    interval = ask.wants[0].interval if ask.wants else ""
    columns = _columns(rows, ask) | {
        "start_at": [_moment(row).isoformat() for _, row in rows],
        "interval": [interval or None for _ in rows],
    }
    constants = {"basis": "raw", "state": "provisional"}
    return IntradayPrices.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def _columns(rows: Sequence[tuple[Candles, Candle]], ask: Ask) -> dict[str, Sequence[str | None]]:
    """What a candle says. Of an answer that names its pair that is what it is about; else who asked knows it."""
    pairs = {candles.pair: pair_of(candles.pair) for candles, _ in rows if candles.pair is not None}
    told = ask.wants[0].instrument or None if ask.wants else None
    meant = [(pairs.get(candles.pair) if candles.pair is not None else (told, None)) for candles, _ in rows]
    return {
        "instrument": [found[0] if found else None for found in meant],
        "currency": [found[1] if found else None for found in meant],
        **{name: [_plain(getattr(row, name)) for _, row in rows] for name in NUMBERS},
    }  # fmt: skip


def _moment(row: Candle) -> datetime:
    return EPOCH + timedelta(seconds=row.start)


def _session(candles: Candles, row: Candle) -> str | None:
    """The UTC day that begins with it; the stamp itself, which is no date, where none does."""
    if candles.ticker:
        return candles.at[:10] if candles.at else None
    moment = _moment(row)
    return moment.date().isoformat() if row.start % 86_400 == 0 else moment.isoformat()


def _plain(number: str | None) -> str | None:
    """The same number without an exponent: JSON writes small ones as 1.2e-7."""
    if number is None or "e" not in number.lower():
        return number
    try:
        return format(Decimal(number), "f")
    except DecimalException:
        return number
