"""A broker with decades of bars that cost nothing, and the ways to backfill them: by worker, by command, in no time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from fin_infra.project import init
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimBrokerage
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.broker import BrokerWorld

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
