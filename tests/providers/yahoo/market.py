"""Yahoo over real HTTP, with a clock, a store on real files, and a connection that needs no key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fin_infra.calendars import get_calendar
from fin_infra.engine import SyncReport
from fin_infra.project import init
from fin_infra.providers import resolve
from fin_infra.providers.yahoo.simulator import YahooSimulator
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.world import VendorWorld

CLOSED = datetime(2026, 11, 24, 21, 45, tzinfo=UTC)
"""Three quarters of an hour after New York closed, on a Tuesday."""
SCHEDULES = """
calendars:
  us: {mic: XNYS}
schedules:
  prices: {job: sync_prices, calendar: us, at: close, offset: +40m, providers: [yahoo]}
  corporate_actions: {job: sync_corporate_actions, calendar: us, at: open, offset: -60m, providers: [yahoo]}
"""


class YahooWorld(VendorWorld):
    """`yahoo`: the vendor. Instruments come from the watchlist."""

    vendor = "yahoo"

    def __init__(self, folder: Path, yahoo: YahooSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.yahoo = yahoo
        self.con = ""
        self.schedule(SCHEDULES)

    def schedule(self, text: str) -> None:
        """A project with these schedules alone."""
        project = self.folder / "project"
        if not project.exists():
            init(project)
        for shipped in (project / "schedules").glob("*.yaml"):
            shipped.unlink()
        (project / "schedules/all.yaml").write_text(text, encoding="utf-8")
        self.settings = Settings(**{**self.settings.model_dump(), "project": project})

    def watch(self, *instruments: str) -> None:
        self.settings = self.settings.model_copy(update={"watchlist": ",".join(instruments)})

    async def link(self, *watched: str) -> str:
        self.watch(*watched)
        async with self.runtime() as runtime:
            linked = runtime.connections.add(resolve(self.vendor), {}, tenant="ada", simulated=True)
        self.con = linked.connection_id
        return self.con

    async def sync(self, dataset: str = "prices", after: timedelta = timedelta(), **more: Any) -> SyncReport:
        """Time passes, then one stream is synced by a process of its own."""
        self.clock.advance(after)
        async with self.runtime() as runtime:
            return await runtime.engine.sync(dataset, self.con, **more)

    def sessions(self, first: str, last: str, mic: str = "XNYS") -> Sequence[date]:
        return list(get_calendar(mic).dates(date.fromisoformat(first), date.fromisoformat(last)))

    def trades(self, symbol: str, first: str, last: str, mic: str = "XNYS", begin: str = "100.00") -> None:
        """A bar of each session, each a cent above the one before."""
        close = Decimal(begin)
        for day in self.sessions(first, last, mic):
            self.yahoo.set_bar(symbol, day, str(close))
            close += Decimal("0.01")

    def held(self, instrument: str, column: str = "close") -> dict[str, str]:
        """Bars in the store by session, a column as short text."""
        rows = self.rows("prices", instruments=[instrument])
        return {str(row["session"]): short(row[column]) for row in rows}

    def findings(self, state: str = "open") -> dict[str, str]:
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == state}

    def evidence(self) -> list[str]:
        with self.store() as store:
            return [kept.reason for kept in store.quarantined()]

    def asked(self) -> list[str]:
        """Paths since the last time it was asked here."""
        found = [request.partition("?")[0].removeprefix("/v8/finance/chart/") for request in self.yahoo.requests]
        self.yahoo.requests.clear()
        return found


def short(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


@contextmanager
def yahoo_of(folder: Path, at: datetime = CLOSED) -> Iterator[YahooWorld]:
    clock = VirtualClock(at)
    yahoo = YahooSimulator(now=clock)
    with serve(yahoo) as served:
        yield YahooWorld(folder, yahoo, served.url, clock)
