"""A broker with decades of bars that cost nothing, and the ways to backfill them: by worker, by command, in no time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from fin_infra.calendars import get_calendar
from fin_infra.cli import app
from fin_infra.connections import Connection
from fin_infra.engine.backfilling import Backfill, Plan, plan
from fin_infra.engine.backfilling.reckoning import reckon, windows_of
from fin_infra.project import init
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimBrokerage
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.broker import BARS, BrokerWorld
from tests.simulation.clock import SimClock, SimLoop

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LISTED = date(2004, 1, 1)
SESSIONS = get_calendar("XNYS").dates(LISTED, date(2027, 1, 31))
NO_SCHEDULES = "schedules: {}\n"


def symbols(count: int) -> list[str]:
    """SAA, SAB, …"""
    return [f"S{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]


def broker(names: Sequence[str], now: Callable[[], datetime], **more: Any) -> AlpacaSimulator:
    """Each symbol has a bar of every session since 2004."""
    made = AlpacaSimulator(now=now, sessions=SESSIONS, **more)
    for name in names:
        made.generate(name, LISTED)
    return made


def quiet_project(folder: Path) -> Path:
    """The shipped jobs and no schedules: what runs, a test queued."""
    project = folder / "project"
    if not project.exists():
        init(project)
        for shipped in (project / "schedules").glob("*.yaml"):
            shipped.unlink()
        (project / "schedules/none.yaml").write_text(NO_SCHEDULES, encoding="utf-8")
    return project


class BackfillWorld(BrokerWorld):
    """Bars since 2004, a key that opens an empty account, and no schedules."""

    def __init__(self, folder: Path, sim: AlpacaSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, sim, url, clock)
        self.settings = self.settings.model_copy(update={"project": quiet_project(folder / "quiet")})
        self.connection: Connection

    async def plan(self, names: Sequence[str], first: str, last: str | None = None, **more: Any) -> Plan:
        async with self.runtime() as runtime:
            return self._plan(runtime, names, first, last, **more)

    def _plan(self, runtime: Runtime, names: Sequence[str], first: str, last: str | None, **more: Any) -> Plan:
        [connection] = runtime.connections.all()
        return plan(
            runtime.store, connection, "prices", [f"us:{name}" for name in names], date.fromisoformat(first),
            date.fromisoformat(last) if last else None, self.clock(), **more,
        )  # fmt: skip

    async def wish(self, names: Sequence[str], first: str, last: str | None = None, **more: Any) -> Backfill:
        """A backfill is made and its job queued, as the command does."""
        async with self.runtime() as runtime:
            made = self._plan(runtime, names, first, last, **more)
            assert made.nothing is None, made.nothing
            backfill = runtime.backfiller.books.create(
                made.connection, "prices", made.subjects, made.first, made.last, made.chunks
            )
            runtime.queue.enqueue_many([backfill.order])
            return backfill

    async def until_done(self, backfill: Backfill, hours: int = 48) -> Backfill:
        """Workers come by, time passes in between, until it no longer runs."""
        end = self.clock() + timedelta(hours=hours)
        while self.clock() < end:
            await self.work()
            if (now := await self.look(backfill)).state != "running":
                return now
            async with self.runtime() as runtime:
                waiting = [job.available_at for job in runtime.queue.jobs("queued")]
            self.clock.set(max(self.clock() + timedelta(seconds=1), min(waiting, default=self.clock())))
        raise AssertionError(f"not done in {hours} hours: {await self.look(backfill)}")

    async def look(self, backfill: Backfill) -> Backfill:
        async with self.runtime() as runtime:
            return runtime.backfiller.books.get(backfill.backfill_id)

    def live_cursor(self) -> str:
        """Where the live stream stands."""
        with self.store() as store, store.reading() as sql:
            found = sql.exec_driver_sql("SELECT version, body FROM cursors WHERE dataset = 'prices'").fetchall()
        return json.dumps([list(row) for row in found])

    def tables(self) -> dict[str, int]:
        """How many rows each table of the store has."""
        with self.store() as store, store.reading() as sql:
            names = sql.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
            return {name: sql.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar() or 0 for name in names}

    async def command(self, patch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
        """A command as its user types it: exit code, data, talk."""
        for name, value in self.environment().items():
            patch.setenv(name, value)
        result = await asyncio.to_thread(CliRunner().invoke, app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    def environment(self) -> dict[str, str]:
        return {
            "FIN_INFRA_STORE_URL": self.settings.store_url, "FIN_INFRA_ALPACA_BASE_URL": self.url,
            "FIN_INFRA_PROJECT": str(self.settings.project),
        }  # fmt: skip


@contextmanager
def backfill_world(folder: Path, names: Sequence[str], **more: Any) -> Iterator[BackfillWorld]:
    clock = VirtualClock(NOW)
    sim = broker(names, clock, **more)
    with serve(sim) as served:
        world = BackfillWorld(folder, sim, served.url, clock)
        asyncio.run(_open(world))
        yield world


async def _open(world: BackfillWorld) -> None:
    world.connection = await world.link(account=SimBrokerage("acc_empty"))


class Between(httpx.AsyncBaseTransport):
    """The real network; `act` happens while the n-th answer with bars is on its way back."""

    def __init__(self, act: Callable[[], Awaitable[None]], nth: int = 1) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._act = act
        self._left = nth

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        await answer.aread()
        await answer.aclose()
        self._left -= request.url.path == BARS
        if request.url.path == BARS and self._left == 0:
            await self._act()
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


class Wire(httpx.AsyncBaseTransport):
    """A vendor without a socket, so many seconds away by the loop's own time."""

    def __init__(self, vendor: Any, seconds: float) -> None:
        self._inner = httpx.ASGITransport(app=vendor)
        self._half = seconds / 2

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self._half)
        response = await self._inner.handle_async_request(request)
        await response.aread()
        await asyncio.sleep(self._half)
        return response


def settings_of(folder: Path, **more: Any) -> Settings:
    return Settings(store_url=f"sqlite:///{folder / 'fin.db'}", project=quiet_project(folder), **more)


def linked(settings: Settings, now: Callable[[], datetime], **more: Any) -> Connection:
    """A connection with the first key."""

    async def link() -> Connection:
        async with Runtime(settings, now=now, **more) as runtime:
            return runtime.connections.add(
                resolve("alpaca"), {"key_id": "PK1", "secret_key": "secret of PK1"}, tenant="ada"
            )

    return asyncio.run(link())


SEED = int(os.environ.get("FIN_INFRA_TEST_SEED", "20261124"))


# -- virtual time ------------------------------------------------------------------------------------------------------

AWAY = 0.1  # seconds until the vendor has answered


async def at_once(work: Callable[[], Any]) -> Any:
    return work()


@dataclass
class Stage:
    """One vendor, one key of 200 a minute, one worker."""

    settings: Settings
    clock: SimClock
    names: list[str]
    vendor: Any
    ledger: MemoryLedger
    latencies: list[float] = field(default_factory=list)
    live_every: float = 1.1

    @classmethod
    def of(cls, folder: Path, names: list[str]) -> Stage:
        folder.mkdir(exist_ok=True)
        clock = SimClock(NOW)
        vendor = broker([*names, "LIVE"], clock, limit_per_minute=200)
        vendor.open_account("PK1", "secret of PK1", SimBrokerage("acc_empty"))
        stage = cls(settings_of(folder), clock, names, vendor, MemoryLedger(clock))
        linked(stage.settings, clock)
        return stage

    def run(self, act: Callable[[Runtime, Connection], Any]) -> Any:
        loop = SimLoop(self.clock)
        try:
            return loop.run_until_complete(self._within(act))
        finally:
            loop.close()

    async def _within(self, act: Callable[[Runtime, Connection], Any]) -> Any:
        async with Runtime(
            self.settings, now=self.clock, network=Wire(self.vendor, AWAY), offload=at_once, ledger=self.ledger
        ) as runtime:
            [connection] = runtime.connections.all()
            return await act(runtime, connection)

    async def backfill(
        self, runtime: Runtime, connection: Connection, names: list[str], first: str
    ) -> tuple[str, float]:
        """Made as the command does: its id, and how long the dry run said that it takes."""
        subjects = [f"us:{name}" for name in names]
        made = plan(runtime.store, connection, "prices", subjects, date.fromisoformat(first), None, self.clock())
        windows, units = await windows_of(made, runtime.quotas, self.clock())
        told = reckon(made.calls, windows, self.ledger, self.clock(), units=units).seconds
        one = runtime.backfiller.books.create(connection, "prices", made.subjects, made.first, made.last, made.chunks)
        runtime.queue.enqueue_many([one.order])
        return one.backfill_id, told

    async def working(self, runtime: Runtime, until: Callable[[], bool], *, live: Connection | None = None) -> None:
        """A worker at work, with somebody who waits for one instrument again and again, until it is so."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(runtime.run_worker(slots=2, stop=stop))]
        if live is not None:
            tasks.append(asyncio.create_task(self._live(runtime, live, stop)))
        while not until():
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*tasks)

    async def _live(self, runtime: Runtime, connection: Connection, stop: asyncio.Event) -> None:
        while not stop.is_set():
            asked = sum("LIVE" in request for request in self.vendor.requests)
            begun = self.clock.seconds
            order = {"connection": connection.connection_id, "instruments": ["us:LIVE"]}
            runtime.queue.enqueue("sync_prices", order, unique_key="live", lane="interactive")
            while any(job.unique_key == "live" for job in runtime.queue.jobs()):
                await asyncio.sleep(0.01)
            assert sum("LIVE" in request for request in self.vendor.requests) > asked, "it asked the vendor"
            self.latencies.append(self.clock.seconds - begun)
            await asyncio.sleep(self.live_every)


def state_of(runtime: Runtime, *ids: str) -> Callable[[], bool]:
    return lambda: all(runtime.backfiller.books.get(one).state != "running" for one in ids)
