"""A small world with a provider of exchange rates: its simulator over real HTTP, a clock, and a worker on real files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fin_infra.engine import SyncReport
from fin_infra.providers.ecb.simulator import EcbSimulator
from fin_infra.providers.exchangerate_api.simulator import ExchangeRateSimulator
from fin_infra.providers.frankfurter.simulator import FrankfurterSimulator
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.world import VendorWorld

SIMULATORS: dict[str, Any] = {
    "ecb": EcbSimulator, "frankfurter": FrankfurterSimulator, "exchangerate_api": ExchangeRateSimulator,
}  # fmt: skip
START = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)  # a Tuesday, the ECB's rates of the day are out
CLOSED = {
    "2025-04-18",
    "2025-04-21",
    "2025-05-01",
    "2025-12-25",
    "2025-12-26",
    "2026-01-01",
    "2026-04-03",
    "2026-04-06",
    "2026-05-01",
    "2026-12-25",
}
logging.getLogger("fin_infra.engine").setLevel(logging.ERROR)


class RatesWorld(VendorWorld):
    """`sim`: the provider's simulator. By default two currencies are kept."""

    vendor = "ecb"

    def __init__(self, folder: Path, vendor: str, sim: Any, url: str, clock: VirtualClock, currencies: str) -> None:
        super().__init__(folder, url, clock)
        self.vendor = vendor  # type: ignore[misc]
        self.sim = sim
        self.keep(currencies)

    def keep(self, currencies: str) -> None:
        self.settings = Settings(
            store_url=f"sqlite:///{self.folder / 'fin.db'}", http_timeout=2.0, currencies=currencies
        )

    async def link(self, **secrets: str) -> str:
        return (await self.linked(secrets, "ada")).connection_id

    async def sync(self, after: timedelta = timedelta(), *, at: datetime | None = None) -> SyncReport:
        self.clock.set(at or self.clock.advance(after))
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            return await runtime.engine.sync("fx_rates", connection.connection_id)

    def has(self, code: str, first: str, last: str, *, weekends: bool = False, begin: str = "1.0000") -> None:
        """Rates of every working day, each a hundredth of a percent above the one before."""
        day, rate = date.fromisoformat(first), Decimal(begin)
        while day <= date.fromisoformat(last):
            if weekends or (day.weekday() < 5 and str(day) not in CLOSED):
                self.sim.set_rate(day, code, str(rate))
                rate += Decimal("0.0001")
            day += timedelta(days=1)

    def held(self, code: str = "USD") -> dict[str, str]:
        """Rates in the store by day, without idle zeros."""
        rows = self.rows("fx_rates", instruments=[f"fx:EUR{code}"])
        return {str(row["rate_on"]): f"{row['rate'].normalize():f}" for row in rows}

    def states(self, code: str = "USD") -> dict[str, str]:
        rows = self.rows("fx_rates", instruments=[f"fx:EUR{code}"])
        return {str(row["rate_on"]): row["state"] for row in rows}

    def findings(self) -> dict[str, str]:
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == "open"}

    def evidence(self) -> list[str]:
        with self.store() as store, store.reading() as sql:
            return list(sql.exec_driver_sql("SELECT reason FROM quarantine ORDER BY at").scalars())


@contextmanager
def rates_of(folder: Path, vendor: str, currencies: str = "USD,GBP", at: datetime = START) -> Iterator[RatesWorld]:
    clock = VirtualClock(at)
    sim = SIMULATORS[vendor](now=clock)
    with serve(sim) as served:
        yield RatesWorld(folder, vendor, sim, served.url, clock, currencies)
