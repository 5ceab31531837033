"""Alpha Vantage over real HTTP, with a clock, a store on real files, and a key that must never be seen again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from fin_infra.calendars import get_calendar
from fin_infra.engine import SyncReport
from fin_infra.project import init
from fin_infra.providers.alphavantage.simulator import AlphaVantageSimulator
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.world import VendorWorld

KEY = "HUSH7731KEY"
CLOSED = datetime(2026, 11, 24, 21, 45, tzinfo=UTC)
"""Three quarters of an hour after New York closed, on a Tuesday."""
SCHEDULES = """
calendars:
  us: {mic: XNYS}
schedules:
  prices: {job: sync_prices, calendar: us, at: close, offset: +40m, providers: [alphavantage]}
"""


class AlphaWorld(VendorWorld):
    """`alpha`: the vendor. Instruments come from the watchlist."""

    vendor = "alphavantage"

    def __init__(self, folder: Path, alpha: AlphaVantageSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.alpha = alpha
        self.con = ""
        self._projects = count()
        self.schedule(SCHEDULES)

    def schedule(self, text: str | None) -> None:
        """A project with these schedules alone; None: with those that are shipped."""
        project = self.folder / f"project{next(self._projects)}"
        init(project)
        if text is not None:
            for shipped in (project / "schedules").glob("*.yaml"):
                shipped.unlink()
            (project / "schedules/all.yaml").write_text(text, encoding="utf-8")
        self.settings = Settings(**{**self.settings.model_dump(), "project": project})

    def watch(self, *instruments: str) -> None:
        self.settings = self.settings.model_copy(update={"watchlist": ",".join(instruments)})

    async def link(self, *watched: str, key: str = KEY, premium: bool = False) -> str:
        """`premium`: the vendor's word for a key of a paid plan; ours, of which plan it is, is a setting."""
        (self.alpha.premium if premium else self.alpha.keys).add(key)
        self.watch(*watched)
        self.con = (await self.linked({"key": key}, "ada")).connection_id
        return self.con

    async def sync(self, dataset: str = "prices", after: timedelta = timedelta(), **more: Any) -> SyncReport:
        """Time passes, then one stream is synced by a process of its own."""
        self.clock.advance(after)
        async with self.runtime() as runtime:
            return await runtime.engine.sync(dataset, self.con, **more)

    def sessions(self, first: str, last: str, mic: str = "XNYS") -> Sequence[date]:
        return list(get_calendar(mic).dates(date.fromisoformat(first), date.fromisoformat(last)))

    def trades(
        self, symbol: str, first: str = "2026-06-01", last: str = "2026-11-30", mic: str = "XNYS",
        begin: str = "100.00", **more: Any,
    ) -> None:  # fmt: skip
        """A bar of each session, each a cent above the one before."""
        listing = self.alpha.list_(symbol, name=f"The {symbol} company", **more)
        close = Decimal(begin)
        for day in self.sessions(first, last, mic):
            text = f"{close:.4f}"
            listing.bars[day] = (text, text, text, text, "1000")
            close += Decimal("0.01")

    def minutes(self, symbol: str, day: date, mic: str = "XNYS") -> None:
        """Bars of five minutes of a session's regular hours, each a cent above the one before."""
        [session] = get_calendar(mic).sessions(day, day)
        at, close = session.open_at, Decimal("100.00")
        while at < session.close_at:
            text = f"{close:.4f}"
            self.alpha.listings[symbol].minutes[at] = (text, text, text, text, "10")
            at, close = at + timedelta(minutes=5), close + Decimal("0.01")

    def held(self, instrument: str, column: str = "close") -> dict[str, str]:
        """Bars in the store by session, a column as short text."""
        rows = self.rows("prices", instruments=[instrument])
        return {str(row["session"]): short(row[column]) for row in rows}

    def findings(self, state: str = "open") -> dict[str, str]:
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == state}

    def asked(self) -> list[str]:
        """Functions and symbols since the last time it was asked here."""
        found = list(self.alpha.functions)
        self.alpha.functions.clear()
        return found


def short(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


@contextmanager
def alpha_of(folder: Path, at: datetime = CLOSED, *, limited: bool = False) -> Iterator[AlphaWorld]:
    clock = VirtualClock(at)
    alpha = AlphaVantageSimulator(limited=limited, now=clock)
    with serve(alpha) as served:
        yield AlphaWorld(folder, alpha, served.url, clock)
