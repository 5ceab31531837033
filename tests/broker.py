"""The same small world with a broker: two hosts in one, positions, activities, and daily bars on a calendar."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.project import init
from fin_infra.providers.alpaca.simulator import NEW_YORK, AlpacaSimulator, Fault, SimBrokerage, SimPosition
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.world import START, VendorWorld

SCHEDULES = """
calendars:
  us: {mic: XNYS}
schedules:
  accounts: {job: sync_accounts, every: 12h}
  holdings: {job: sync_holdings, every: 6h}
  activities: {job: sync_activities, every: 6h}
  prices: {job: sync_prices, calendar: us, at: close, offset: +30m}
"""
FIRST = date(2025, 11, 1)  # before all that a first read at START asks for
BARS = "/v2/stocks/bars"


class BrokerWorld(VendorWorld):
    """A broker whose prices are due half an hour after each close, in a project of its own."""

    vendor = "alpaca"

    def __init__(self, folder: Path, broker: AlpacaSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.broker = broker
        self.schedule(SCHEDULES)

    def schedule(self, schedules: str, **settings: Any) -> None:
        """A project with these schedules and no others takes the place of the one before."""
        project = self.folder / "project"
        if not project.exists():
            init(project)
        for shipped in (project / "schedules").glob("*.yaml"):
            shipped.unlink()
        (project / "schedules/all.yaml").write_text(schedules, encoding="utf-8")
        self.settings = Settings(**{**self.settings.model_dump(), "project": project, **settings})

    async def link(
        self, *symbols: str, key_id: str = "PK1", tenant: str = "ada", account: SimBrokerage | None = None
    ) -> Connection:
        """An account that holds ten of each symbol, linked."""
        account = account or SimBrokerage(f"acc_{key_id}", positions=[position(symbol) for symbol in symbols])
        self.broker.open_account(key_id, f"secret of {key_id}", account)
        return await self.linked({"key_id": key_id, "secret_key": f"secret of {key_id}"}, tenant)

    async def sync(
        self, dataset: str = "prices", after: timedelta = timedelta(), *, at: datetime | None = None
    ) -> SyncReport:
        """Time passes, then one stream of the one connection is synced, whether or not it is due."""
        self.clock.set(at or self.clock.advance(after))
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            return await runtime.engine.sync(dataset, connection.connection_id)

    # -- bars ----------------------------------------------------------------------------------------------------------

    def sessions(self, first: date | str = FIRST, last: date | str = date(2027, 1, 31)) -> list[date]:
        """The broker's own list of sessions, both days included."""
        return [day for day in self.broker.sessions if str(first) <= str(day) <= str(last)]

    def has_bars(self, *symbols: str, days: Iterable[date] | None = None, scale: str = "1") -> None:
        """Bars that tell instruments and days apart; they show when the clock gets there."""
        for symbol in symbols:
            for day in self.sessions() if days is None else days:
                self.bar(symbol, day, close_of(symbol, day, scale))

    def bar(self, symbol: str, day: date | str, close: str, *, served_from: datetime | None = None) -> None:
        day = date.fromisoformat(str(day))
        figures = (close, f"{Decimal(close) * 2}", f"{Decimal(close) / 2}", close, "1000")
        self.broker.set_bar(symbol, day, *figures, served_from=served_from)

    def has_no_bar(self, symbol: str, *days: date | str) -> None:
        for day in days:
            self.broker._bars[symbol].pop(date.fromisoformat(str(day)), None)

    def after_close(self, day: date | str, by: timedelta = timedelta(minutes=30)) -> datetime:
        return (self.broker.closes(date.fromisoformat(str(day))) + by).astimezone(UTC)

    async def work_after(self, day: date | str) -> list[SyncReport]:
        """A worker half an hour after the close of this day."""
        self.clock.set(self.after_close(day))
        return await self.work()

    def held(self, symbol: str = "AAPL") -> dict[date, Decimal]:
        """Closes in the store, by session."""
        return {row["session"]: row["close"] for row in self.rows("prices", instruments=[f"us:{symbol}"])}

    def states(self, symbol: str = "AAPL") -> dict[str, str]:
        rows = self.rows("prices", instruments=[f"us:{symbol}"])
        return {row["session"].isoformat(): row["state"] for row in rows}

    def served(self, symbol: str = "AAPL", first: date | str = "2025-11-19") -> dict[date, Decimal]:
        """Closes that the vendor has by now, of the days that a first read on the 24th asks for, unless said."""
        shown = self.broker.bars(symbol, self.clock() - timedelta(minutes=15))
        return {day: Decimal(bar.close) for day, bar in shown.items() if str(day) >= str(first)}

    # -- what was asked ------------------------------------------------------------------------------------------------

    def asked(self, path: str = BARS) -> list[dict[str, str]]:
        """The queries of all requests to a path so far."""
        found = [request.partition("?") for request in self.broker.requests if request.startswith(path)]
        return [{name: values[0] for name, values in parse_qs(query).items()} for _, _, query in found]

    def answer_next(self, body: bytes, on: str = BARS, *, nth: int = 1) -> None:
        """The very bytes of the answer to the n-th request to a path from now on."""
        count = {"seen": 0}

        def strike(path: str) -> None:
            count["seen"] += on in path
            if on in path and count["seen"] == nth:
                self.broker.fail_next(Fault("refuse", on=on, status=200, body=body))

        self.broker.on_request = strike

    def findings(self, state: str = "open") -> dict[str, str]:
        """Kind → detail."""
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == state}

    def quarantined(self) -> list[str]:
        """The reasons."""
        with self.store() as store:
            return [kept.reason for kept in store.quarantined()]

    def bar_of(self, day: date | str, symbol: str = "AAPL") -> tuple[str, str]:
        """Close, without idle zeros, and state of one bar in the store."""
        [row] = self.rows("prices", instruments=[f"us:{symbol}"], since=(at := date.fromisoformat(str(day))), until=at)
        return f"{row['close'].normalize():f}", row["state"]

    def evidence(self) -> list[str]:
        with self.store() as store, store.reading() as sql:
            return list(sql.exec_driver_sql("SELECT reason FROM quarantine ORDER BY at").scalars())

    def removed(self) -> list[Any]:
        with self.store() as store:
            return store.changes().filter(op="removed", dataset="prices")["key"].to_list()


@contextmanager
def broker_of(folder: Path) -> Iterator[BrokerWorld]:
    clock = VirtualClock(START)
    broker = AlpacaSimulator(now=clock)
    with serve(broker) as served:
        yield BrokerWorld(folder, broker, served.url, clock)


def position(symbol: str, qty: str = "10", price: str = "25", **more: Any) -> SimPosition:
    return SimPosition(symbol, qty, price, **{"current_price": price, "lastday_price": price, **more})


def close_of(symbol: str, day: date, scale: str = "1") -> str:
    """A close that no other day or symbol has, to the cent."""
    cents = 1_000 + sum(map(ord, symbol)) % 97 * 100 + day.toordinal() % 800
    return f"{(Decimal(cents) * Decimal(scale) / 100).quantize(Decimal('0.01'))}"


def answer(bars: Mapping[str, Sequence[tuple[date | str, str]]], token: str | None = None) -> bytes:
    """The body of an answer with these closes."""
    return json.dumps({"bars": {s: [_bar(*one) for one in those] for s, those in bars.items()},
                       "next_page_token": token}).encode()  # fmt: skip


def _bar(day: date | str, close: str) -> dict[str, Any]:
    stamp = datetime.combine(date.fromisoformat(str(day)), time(), NEW_YORK).astimezone(UTC)
    figures = {"o": close, "h": close, "l": close, "c": close, "v": "1000", "n": "10", "vw": close}
    return {"t": f"{stamp:%Y-%m-%dT%H:%M:%SZ}", **{name: float(text) for name, text in figures.items()}}


def day_of(stamp: str) -> date:
    """The session that a request's start or end says."""
    return datetime.fromisoformat(unquote(stamp)).astimezone(NEW_YORK).date()
