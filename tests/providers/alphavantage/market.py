"""Alpha Vantage over real HTTP, with a clock, a store on real files, and a free key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fin_infra.calendars import get_calendar
from fin_infra.engine import SyncReport
from fin_infra.project import init
from fin_infra.providers.alphavantage.simulator import AlphaVantageSimulator
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.world import VendorWorld

KEY = "AVKEY0123456789X"
CLOSED = datetime(2026, 11, 24, 21, 45, tzinfo=UTC)
"""Three quarters of an hour after New York closed, on a Tuesday."""
SCHEDULES = """
calendars:
  us: {mic: XNYS}
schedules:
  prices: {job: sync_prices, calendar: us, at: close, offset: +40m, providers: [alphavantage]}
"""


class AvWorld(VendorWorld):
    """`sim`: the vendor. Instruments come from the watchlist."""

    vendor = "alphavantage"

    def __init__(self, folder: Path, sim: AlphaVantageSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.sim = sim
        self.con = ""
        project = folder / "project"
        init(project)
        for shipped in (project / "schedules").glob("*.yaml"):
            shipped.unlink()
        (project / "schedules/all.yaml").write_text(SCHEDULES, encoding="utf-8")
        self.settings = Settings(**{**self.settings.model_dump(), "project": project})

    async def link(self, *watched: str, key: str = KEY) -> str:
        self.settings = self.settings.model_copy(update={"watchlist": ",".join(watched)})
        self.con = (await self.linked({"key": key}, "ada")).connection_id
        return self.con

    async def sync(self, dataset: str = "prices", after: timedelta = timedelta(), **more: Any) -> SyncReport:
        """Time passes, then one stream is synced by a process of its own."""
        self.clock.advance(after)
        async with self.runtime() as runtime:
            return await runtime.engine.sync(dataset, self.con, **more)

    def trades(self, symbol: str, first: str, last: str, mic: str = "XNYS", begin: str = "100.00") -> None:
        """A bar of each session, each a cent above the one before."""
        listing = self.sim.listings.get(symbol) or self.sim.list_(symbol)
        close = Decimal(begin)
        for day in get_calendar(mic).dates(date.fromisoformat(first), date.fromisoformat(last)):
            top, bottom = close + Decimal("0.50"), close - Decimal("0.50")
            listing.bars[day] = (f"{close}00", f"{top}00", f"{bottom}00", f"{close}00", "1000000")
            close += Decimal("0.01")

    def held(self, instrument: str, column: str = "close") -> dict[str, str]:
        """Bars in the store by session, a column as short text."""
        rows = self.rows("prices", instruments=[instrument])
        return {str(row["session"]): short(row[column]) for row in rows}

    def findings(self, state: str = "open") -> dict[str, str]:
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == state}

    def asked(self) -> list[str]:
        """Functions with their symbols since the last time it was asked here."""
        found = list(self.sim.functions)
        self.sim.functions.clear()
        return found


def short(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


@contextmanager
def av_of(folder: Path, *, limited: bool = False, at: datetime = CLOSED) -> Iterator[AvWorld]:
    """`limited`: the simulator keeps the free plan's limits and refuses what is beyond them."""
    clock = VirtualClock(at)
    sim = AlphaVantageSimulator(now=clock, limited=limited)
    sim.keys.add(KEY)
    with serve(sim) as served:
        yield AvWorld(folder, sim, served.url, clock)
