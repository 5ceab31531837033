"""The same small world with SnapTrade: one user, whose accounts come by connections to brokerages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.providers.snaptrade.simulator import (
    CLIENT_ID,
    CONSUMER_KEY,
    SimAccount,
    SimActivity,
    SimConnection,
    SimPosition,
    SnaptradeSimulator,
)
from fin_infra.testing import VirtualClock, serve
from tests.world import START, VendorWorld

USER, SECRET = "user_1", "very-secret-user-secret"


class SnaptradeWorld(VendorWorld):
    """A user with one connection, unless more are told."""

    vendor = "snaptrade"

    def __init__(self, folder: Path, sim: SnaptradeSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.sim = sim

    def has(self, *accounts: SimAccount, connection: str = "con_1", **more: Any) -> SimConnection:
        """A connection of the user's with these accounts."""
        if USER not in self.sim.users:
            self.sim.register(USER, SECRET)
        made = SimConnection(connection, list(accounts), **more)
        self.sim.users[USER].connections.append(made)
        return made

    async def link(self, user: str = USER, secret: str = SECRET, tenant: str = "ada") -> Connection:
        return await self.linked({"user_id": user, "user_secret": secret}, tenant)

    async def sync(self, dataset: str, after: timedelta = timedelta()) -> SyncReport:
        """Time passes, then one stream of the one connection is synced, whether or not it is due."""
        self.clock.advance(after)
        async with self.runtime() as runtime:
            [connection] = runtime.connections.all()
            return await runtime.engine.sync(dataset, connection.connection_id)

    def activity_ids(self) -> list[str]:
        return sorted(row["activity_id"] for row in self.rows("activities"))

    def asked(self, part: str = "") -> list[str]:
        """Paths of the requests so far."""
        return [path for request in self.sim.requests if part in (path := request.partition("?")[0])]

    def findings(self, state: str = "open") -> dict[str, str]:
        """Kind → detail."""
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == state}


def set_keys(patch: pytest.MonkeyPatch, consumer_key: str = CONSUMER_KEY) -> None:
    """The application's own keys, as settings."""
    patch.setenv("FIN_INFRA_SNAPTRADE_CLIENT_ID", CLIENT_ID)
    patch.setenv("FIN_INFRA_SNAPTRADE_CONSUMER_KEY", consumer_key)


@contextmanager
def snaptrade_of(folder: Path, **more: Any) -> Iterator[SnaptradeWorld]:
    clock = VirtualClock(START)
    sim = SnaptradeSimulator(now=clock, **more)
    with serve(sim) as served:
        yield SnaptradeWorld(folder, sim, served.url, clock)


def brokerage(account_id: str = "acc_1", *positions: SimPosition, **more: Any) -> SimAccount:
    return SimAccount(
        account_id, positions=list(positions), **{"total": "5000.00", "cash": {"USD": ("1000.00", "2000.00")}, **more}
    )


def bought(activity_id: str, on: str = "2026-11-20", **more: Any) -> SimActivity:
    told = {"amount": "-230.00", "symbol": "AAPL", "units": "1", "price": "230.00", **more}
    return SimActivity(activity_id, told.pop("type", "BUY"), told.pop("amount"), f"{on}T05:00:00Z", **told)


def shares(symbol: str, units: str = "10", price: str = "25", **more: Any) -> SimPosition:
    return SimPosition(symbol, units, price, **{"cost_basis": "20", **more})


__all__ = ["START", "SnaptradeWorld", "bought", "brokerage", "set_keys", "shares", "snaptrade_of"]
