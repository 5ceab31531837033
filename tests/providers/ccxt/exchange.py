"""An exchange over real HTTP, with a clock, a store on real files and a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fin_infra.engine import SyncReport
from fin_infra.providers.ccxt.simulator import (
    STEPS,
    BinanceSimulator,
    CoinbaseSimulator,
    ExchangeSimulator,
    KrakenSimulator,
    sandbox,
)
from fin_infra.testing import VirtualClock, serve
from tests.world import VendorWorld

NOON = datetime(2026, 11, 24, 12, 7, 30, tzinfo=UTC)
SIMULATORS: dict[str, type[ExchangeSimulator]] = {
    "kraken": KrakenSimulator, "coinbase": CoinbaseSimulator, "binance": BinanceSimulator,
}  # fmt: skip
PAIRS = {"kraken": "XXBTZUSD", "coinbase": "BTC-USD", "binance": "BTCUSDT"}
BITCOIN = "crypto:bitcoin"


class Exchange(VendorWorld):
    """One exchange; `held(interval)` is what the store has of bitcoin."""

    def __init__(self, folder: Path, name: str, simulator: ExchangeSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.vendor = f"ccxt.{name}"  # type: ignore[misc]
        self.pair = PAIRS[name]
        self.exchange = simulator
        self.settings = self.settings.model_copy(update={"watchlist": BITCOIN})
        self.con = ""

    async def link(self) -> None:
        self.con = (await self.linked({}, "ada")).connection_id

    async def sync(self, dataset: str = "intraday_prices", after: timedelta = timedelta(), **more: Any) -> SyncReport:
        self.clock.advance(after)
        async with self.runtime() as runtime:
            return await runtime.engine.sync(dataset, self.con, **more)

    def held(self, interval: str, over_by: datetime | None = None) -> dict[datetime, tuple[str, ...]]:
        """Start → state and the five numbers, as plain text. `over_by`: only candles that were closed by then."""
        return {
            row["start_at"]: (row["state"], *(_text(row[n]) for n in ("open", "high", "low", "close", "volume")))
            for row in self.rows("intraday_prices")
            if row["interval"] == interval and (over_by is None or _over(row["start_at"], interval, over_by))
        }

    def served(self, interval: str, first: datetime, over_by: datetime) -> dict[datetime, tuple[str, ...]]:
        """What the exchange has of candles that were closed by then, from `first` on, in the same form."""
        last = int(over_by.timestamp())
        return {
            start: ("final", *(_text(number) for number in candle))
            for at, candle in self.exchange.candles(self.pair, STEPS[interval], int(first.timestamp()), last)
            if _over(start := datetime.fromtimestamp(at, UTC), interval, over_by)
        }

    def findings(self) -> set[str]:
        return {row["kind"] for row in self.rows("findings") if row["state"] == "open"}


def _over(start: datetime, interval: str, by: datetime) -> bool:
    return start + timedelta(seconds=STEPS[interval] + 60) <= by


def _text(number: Any) -> str:
    text = format(number, "f") if not isinstance(number, str) else number
    return text.rstrip("0").rstrip(".") if "." in text else text


@contextmanager
def exchange_of(folder: Path, name: str) -> Iterator[Exchange]:
    clock = VirtualClock(NOON)
    simulator = SIMULATORS[name](now=clock)
    sandbox(simulator)
    with serve(simulator) as served:
        yield Exchange(folder, name, simulator, served.url, clock)
