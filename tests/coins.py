"""A small world with CoinGecko: its simulator over real HTTP, a clock, and a worker on real files."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fin_infra.engine import SyncReport
from fin_infra.engine.backfilling import Backfill, plan
from fin_infra.providers import resolve
from fin_infra.providers.coingecko.simulator import CoingeckoSimulator
from fin_infra.providers.simulating import Fault
from fin_infra.providers.transport import Transport
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.backfill_world import quiet_project
from tests.world import VendorWorld

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
YESTERDAY = date(2026, 11, 23)
WATCHED = "crypto:bitcoin,crypto:ethereum"
logging.getLogger("fin_infra.engine").setLevel(logging.ERROR)


class CoinWorld(VendorWorld):
    """Two coins are watched, and have closes from the first of 2025 on; each a little above the one before."""

    vendor = "coingecko"

    def __init__(self, folder: Path, sim: CoingeckoSimulator, url: str, clock: VirtualClock, watched: str) -> None:
        super().__init__(folder, url, clock)
        self.sim = sim
        self.urls = {self.vendor: url}
        self.watch(watched)

    def runtime(self, **more: Any) -> Runtime:
        return Runtime(self.settings, now=self.clock, on_report=self.reports.append, **{"base_urls": self.urls, **more})

    @asynccontextmanager
    async def http(self) -> AsyncIterator[Transport]:
        """The way of the one connection to the vendor."""
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            secrets = runtime.connections.secrets(connection)
            yield runtime.http.transport(resolve(self.vendor), connection, secrets, "interactive")

    def watch(self, watched: str, **more: Any) -> None:
        self.settings = Settings(
            store_url=f"sqlite:///{self.folder / 'fin.db'}", http_timeout=2.0, watchlist=watched, **more
        )

    async def link(self, **secrets: str) -> str:
        """With a free key, unless another credential is given; `api_key=""` for none."""
        secrets = {"api_key": "CG-free", **secrets}
        self.sim.demo_keys.add("CG-free")
        secrets = {name: value for name, value in secrets.items() if value}
        return (await self.linked(secrets, "ada")).connection_id

    async def sync(self, dataset: str = "prices", after: timedelta = timedelta(), **more: Any) -> SyncReport:
        self.clock.advance(after)
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            return await runtime.engine.sync(dataset, connection.connection_id, **more)

    def has(self, coin: str, first: str = "2025-01-01", last: str = "2027-01-31", begin: str = "1") -> None:
        day, close = date.fromisoformat(first), Decimal(begin)
        while day <= date.fromisoformat(last):
            self.sim.set_close(coin, day, str(close))
            close += Decimal("0.001")
            day += timedelta(days=1)

    async def backfill(self, first: str, last: str | None = None, coin: str = "bitcoin") -> Backfill:
        """Older rows of a coin, in the background, until nothing more happens."""
        self.settings = self.settings.model_copy(update={"project": quiet_project(self.folder / "quiet")})
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            days = date.fromisoformat(first), date.fromisoformat(last) if last else None
            made = plan(runtime.store, connection, "prices", [f"crypto:{coin}"], *days, self.clock())
            assert made.nothing is None, made.nothing
            books = runtime.backfiller.books
            wish = books.create(made.connection, "prices", made.subjects, made.first, made.last, made.chunks)
            runtime.queue.enqueue_many([wish.order])
        for _ in range(30):
            await self.work(timedelta(seconds=30))
            async with self.runtime() as runtime:
                if (now := runtime.backfiller.books.get(wish.backfill_id)).state != "running":
                    return now
        raise AssertionError(f"not done: {now}")

    def held(self, coin: str = "bitcoin") -> dict[date, Decimal]:
        return {row["session"]: row["close"] for row in self.rows("prices", instruments=[f"crypto:{coin}"])}

    def findings(self) -> dict[str, str]:
        """Kind → detail of those that are open."""
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == "open"}

    def asked(self, path: str = "/market_chart/range") -> list[dict[str, str]]:
        found = [request.partition("?") for request in self.sim.requests if path in request]
        return [{name: values[0] for name, values in parse_qs(query).items()} for _, _, query in found]

    def refuse(self, *, times: int = 1, on: str = "", status: int = 429, code: str = "429", **more: Any) -> None:
        self.sim.fail_next(Fault("refuse", times=times, on=on, status=status, code=code, **more))


@contextmanager
def coins_of(folder: Path, watched: str = WATCHED, at: datetime = START, *, paid: bool = False) -> Iterator[CoinWorld]:
    clock = VirtualClock(at)
    sim = CoingeckoSimulator(now=clock)
    with serve(sim.pro if paid else sim) as served:
        world = CoinWorld(folder, sim, served.url, clock, watched)
        world.has("bitcoin", begin="80000.1")
        world.has("ethereum", begin="2800.25")
        yield world
