"""The same small world with Plaid: an Item with bank and investment accounts, read by a worker on real files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.providers.plaid.simulator import (
    Fault,
    PlaidSimulator,
    SimAccount,
    SimActivity,
    SimHolding,
    SimItem,
    SimSecurity,
    SimTransaction,
)
from fin_infra.testing import VirtualClock, serve
from tests.world import START, VendorWorld

__all__ = ["Fault", "PlaidWorld", "bank", "bought", "broker", "card", "investment", "plaid_of"]


class PlaidWorld(VendorWorld):
    """Items. The application's keys stand in the environment, as they do outside."""

    vendor = "plaid"

    def __init__(self, folder: Path, plaid: PlaidSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.plaid = plaid

    @property
    def item(self) -> SimItem:
        """The newest Item."""
        return list(self.plaid.items.values())[-1]

    async def link(
        self, *accounts: SimAccount, token: str = "access-sandbox-1", tenant: str = "ada", **more: Any
    ) -> Connection:
        """An Item of these accounts, linked."""
        if token not in self.plaid.items:
            self.plaid.link(token, *(accounts or (bank(),)), **more)
        return await self.linked({"access_token": token}, tenant)

    async def sync(self, dataset: str = "transactions", after: timedelta = timedelta()) -> SyncReport:
        """Time passes, then one stream of the newest connection is synced, whether or not it is due."""
        self.clock.advance(after)
        async with self.runtime() as runtime:
            connection = runtime.connections.all()[-1]
            return await runtime.engine.sync(dataset, connection.connection_id)

    def ids(self, dataset: str = "transactions", column: str = "transaction_id") -> list[str]:
        return sorted(row[column] for row in self.rows(dataset))

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies of all requests to a path so far, without credentials."""
        return [body for asked, body in self.plaid.bodies if asked == path]

    def evidence(self) -> list[str]:
        """Why rows are in quarantine."""
        with self.store() as store, store.reading() as sql:
            return list(sql.exec_driver_sql("SELECT reason FROM quarantine ORDER BY at").scalars())

    def findings(self) -> dict[str, str]:
        return {row["kind"]: row["detail"] for row in self.rows("findings") if row["state"] == "open"}


@contextmanager
def plaid_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    clock = VirtualClock(START)
    plaid = PlaidSimulator(now=clock)
    monkeypatch.setenv("FIN_INFRA_PLAID_CLIENT_ID", "client")
    monkeypatch.setenv("FIN_INFRA_PLAID_SECRET", "secret")
    with serve(plaid) as served:
        yield PlaidWorld(folder, plaid, served.url, clock)


def bank(account_id: str = "acc_1", **more: Any) -> SimAccount:
    return SimAccount(account_id, **{"available": "90.00", **more})


def card(account_id: str = "acc_2", **more: Any) -> SimAccount:
    told = {"name": "Card", "mask": "4321", "current": "50.00", "available": "950.00", "limit": "1000", **more}
    return SimAccount(account_id, "credit", "credit card", **told)


def bought(transaction_id: str, amount: str = "10.00", on: str = "2026-11-20", **more: Any) -> SimTransaction:
    """Plaid's sign: what goes out is positive."""
    return SimTransaction(transaction_id, more.pop("account_id", "acc_1"), amount, on, **more)


def broker(item: SimItem, account_id: str = "acc_9") -> SimItem:
    """Gives an Item's investment account ten shares for 1,000 and 500 in cash."""
    item.account(account_id).current = "1500"
    item.securities = [
        SimSecurity("sec_usd", "CUR:USD", "cash", "U S Dollar", None, cash_equivalent=True),
        SimSecurity("sec_aapl", "AAPL", "equity", "Apple Inc", close="100"),
    ]
    item.holdings = [
        SimHolding(account_id, "sec_usd", "500", "1"),
        SimHolding(account_id, "sec_aapl", "10", "100", "800"),
    ]
    item.activities = [
        SimActivity("inv_1", account_id, "800", "2026-09-01", quantity="10", price="80", security_id="sec_aapl"),
        SimActivity("inv_2", account_id, "-1300", "2026-08-30", "cash", "deposit", "-1300", "1", security_id="sec_usd"),
    ]
    return item


def investment(account_id: str = "acc_9") -> SimAccount:
    return SimAccount(account_id, "investment", "brokerage", "Brokerage", "1122", "1500")
