"""The same small world with MX: one user, whose accounts come by logins at institutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.providers.mx.simulator import API_KEY, CLIENT_ID, MxSimulator, SimAccount, SimMember, SimTransaction
from fin_infra.testing import VirtualClock, serve
from tests.world import START, VendorWorld

USER = "USR-1"


class MxWorld(VendorWorld):
    """A user with the logins that are told."""

    vendor = "mx"

    def __init__(self, folder: Path, sim: MxSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.sim = sim

    def has(self, *accounts: SimAccount, member: str = "MBR-1", **more: Any) -> SimMember:
        if USER not in self.sim.users:
            self.sim.register(USER)
        made = SimMember(member, list(accounts), **more)
        self.sim.users[USER].members.append(made)
        return made

    async def link(self, **more: str) -> Connection:
        return await self.linked({"user_guid": USER, **more}, "ada")

    async def sync(self, dataset: str, after: timedelta = timedelta()) -> SyncReport:
        """Time passes, then one stream of the one connection is synced, whether or not it is due."""
        self.clock.advance(after)
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            return await runtime.engine.sync(dataset, connection.connection_id)

    def amounts(self) -> dict[str, str]:
        """Guid → signed amount."""
        return {row["transaction_id"]: format(row["amount"].normalize(), "f") for row in self.rows("transactions")}


def paid(guid: str, amount: str = "10.50", on: str = "2026-11-20", **more: Any) -> SimTransaction:
    return SimTransaction(guid, amount, on, **more)


def set_keys(patch: pytest.MonkeyPatch) -> None:
    """The application's own keys, as settings."""
    patch.setenv("FIN_INFRA_MX_CLIENT_ID", CLIENT_ID)
    patch.setenv("FIN_INFRA_MX_API_KEY", API_KEY)


@contextmanager
def mx_of(folder: Path, **more: Any) -> Iterator[MxWorld]:
    clock = VirtualClock(START)
    sim = MxSimulator(now=clock, **more)
    with serve(sim) as served:
        yield MxWorld(folder, sim, served.url, clock)
