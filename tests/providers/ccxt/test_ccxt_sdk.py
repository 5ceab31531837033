"""The library ccxt reads the simulators over real HTTP: its candles are those of our frames, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from fin_infra.providers.ccxt.simulator import STEPS, SimCandle
from fin_infra.providers.simulating import Fault
from tests.providers.ccxt.exchange import NOON, PAIRS, exchange_of

CLASSES: dict[str, Callable[..., Any]] = {
    "kraken": ccxt.kraken, "coinbase": ccxt.coinbaseexchange, "binance": ccxt.binance,
}  # fmt: skip


def library(name: str, url: str) -> Any:
    """The library's exchange at this address, its market told and not asked for, its numbers left as text."""
    made = CLASSES[name]({"enableRateLimit": False})
    made.number = str
    made.urls["api"] = {"public": url + ("/api/v3" if name == "binance" else "")}
    quote = "USDT" if name == "binance" else "USD"
    market = {"id": PAIRS[name], "symbol": f"BTC/{quote}", "base": "BTC", "quote": quote, "type": "spot", "spot": True}
    made.set_markets([made.safe_market_structure(market)])
    return made


@pytest.mark.parametrize("name", sorted(CLASSES))
async def test_the_librarys_candles_are_those_of_our_frames(tmp_path: Path, name: str) -> None:
    with exchange_of(tmp_path, name) as exchange:
        small = SimCandle("1.10", "1.1234567", "0.00001234", "1.5", "0.00000012")
        exchange.exchange.set_candle(
            exchange.pair, "1h", datetime(2026, 11, 24, 9, tzinfo=UTC), small._replace(high="2")
        )
        await exchange.link()
        await exchange.sync()
        begin = NOON - timedelta(days=3)
        since = int(begin.timestamp()) // STEPS["1h"] * STEPS["1h"] * 1000
        rows = library(name, exchange.url).fetch_ohlcv(
            "BTC/USDT" if name == "binance" else "BTC/USD", "1h", since, 100
        )  # fmt: skip
        theirs = {
            datetime.fromtimestamp(int(row[0]) / 1000, UTC): tuple(Decimal(str(number)) for number in row[1:])
            for row in rows
        }
    held = {
        row["start_at"]: tuple(row[column] for column in ("open", "high", "low", "close", "volume"))
        for row in exchange.rows("intraday_prices")
        if row["interval"] == "1h" and row["start_at"] >= datetime.fromtimestamp(since / 1000, UTC)
    }
    open_hour = datetime(2026, 11, 24, 12, tzinfo=UTC)  # goes on between the two reads
    theirs.pop(open_hour)
    held.pop(open_hour)
    assert len(theirs) > 65
    assert theirs == held


@pytest.mark.parametrize(
    ("name", "fault", "error"),
    [
        ("kraken", Fault("refuse", code="EAPI:Rate limit exceeded"), ccxt.DDoSProtection),
        ("kraken", Fault("refuse", code="EQuery:Unknown asset pair"), ccxt.ExchangeError),
        ("coinbase", Fault("refuse", code="Public rate limit exceeded"), ccxt.RateLimitExceeded),
        ("coinbase", Fault("refuse", status=503, code="busy"), ccxt.ExchangeNotAvailable),
        ("binance", Fault("refuse", code="-1003"), ccxt.NetworkError),
    ],
)
def test_a_simulators_refusals_are_what_the_library_takes_them_for(
    tmp_path: Path, name: str, fault: Fault, error: type[Exception]
) -> None:
    with exchange_of(tmp_path, name) as exchange:
        exchange.exchange.fail_next(fault)
        with pytest.raises(error):
            library(name, exchange.url).fetch_ohlcv("BTC/USDT" if name == "binance" else "BTC/USD", "1h")
