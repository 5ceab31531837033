"""The small world with a SimpleFIN server: one user with one access URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.providers.simplefin.simulator import SimAccess, SimAccount, SimplefinSimulator, SimTransaction
from fin_infra.testing import VirtualClock, serve
from tests.world import START, VendorWorld

USER, PASSWORD = "demo-user", "hush-hush-password"


class SimplefinWorld(VendorWorld):
    vendor = "simplefin"

    def __init__(self, folder: Path, sim: SimplefinSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.sim = sim

    def access_url(self, host: str = "", user: str = USER) -> str:
        scheme, _, own = self.url.partition("://")
        return (
            f"https://{user}:{PASSWORD}@{host}/simplefin" if host else f"{scheme}://{user}:{PASSWORD}@{own}/simplefin"
        )

    def has(self, *accounts: SimAccount, user: str = USER) -> SimAccess:
        return self.sim.grant(user, PASSWORD, *accounts)

    async def link(self, host: str = "", user: str = USER, tenant: str = "ada") -> Connection:
        return await self.linked({"access_url": self.access_url(host, user)}, tenant)

    async def sync(self, dataset: str, after: timedelta = timedelta()) -> SyncReport:
        self.clock.advance(after)
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            return await runtime.engine.sync(dataset, connection.connection_id)

    def ids(self) -> list[str]:
        return sorted(row["transaction_id"] for row in self.rows("transactions"))

    def calls(self) -> int:
        return len(self.sim.requests)

    async def state(self) -> tuple[str, str | None]:
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
        return connection.state, connection.reason


@contextmanager
def simplefin_of(folder: Path, **more: Any) -> Iterator[SimplefinWorld]:
    clock = VirtualClock(START)
    sim = SimplefinSimulator(now=clock, **more)
    with serve(sim) as served:
        yield SimplefinWorld(folder, sim, served.url, clock)


def own(number: int) -> str:
    """An id as the Bridge gives them."""
    return f"ACT-0a1b2c3d-{number:04d}-4000-8000-000000000000"


def noon(back: int) -> datetime:
    """So many days before the world's start."""
    return datetime.combine(START.date() - timedelta(days=back), time(12), UTC)


def paid(transaction_id: str, amount: str = "-10.00", back: int = 4, **more: Any) -> SimTransaction:
    return SimTransaction(transaction_id, amount, noon(back), **more)
