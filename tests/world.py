"""A small world for tests from outside: a simulated vendor over real HTTP, a clock, and a worker on real files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.providers import resolve
from fin_infra.providers.teller.simulator import SimAccount, SimTransaction, TellerSimulator
from fin_infra.reader import read
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.store import Store, open_store
from fin_infra.testing import VirtualClock, serve

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class VendorWorld:
    """One vendor, one store, one clock. Each `work()` is a fresh worker process as far as state goes."""

    vendor: ClassVar[str]

    def __init__(self, folder: Path, url: str, clock: VirtualClock) -> None:
        self.folder = folder
        self.url = url
        self.clock = clock
        self.settings = Settings(store_url=f"sqlite:///{folder / 'fin.db'}", http_timeout=2.0)
        self.reports: list[SyncReport] = []

    def runtime(self, **more: Any) -> Runtime:
        return Runtime(
            self.settings, now=self.clock, base_urls={self.vendor: self.url}, on_report=self.reports.append, **more
        )

    async def linked(self, secrets: dict[str, str], tenant: str) -> Connection:
        async with self.runtime() as runtime:
            return runtime.connections.add(resolve(self.vendor), secrets, tenant=tenant)

    async def work(self, after: timedelta = timedelta()) -> list[SyncReport]:
        """Time passes, then a worker plans and works until nothing is due. Its reports."""
        self.clock.advance(after)
        self.reports.clear()
        async with self.runtime() as runtime:
            await runtime.run_worker(until_idle=True)
        return list(self.reports)

    async def next_day(self) -> list[SyncReport]:
        return await self.work(timedelta(days=1))

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(self.settings.store_url, now=self.clock)
        try:
            yield store
        finally:
            store.close()

    def rows(self, dataset: str, **filters: Any) -> list[dict[str, Any]]:
        with self.store() as store:
            return read(dataset, store=store, **filters).collect().to_dicts()

    def frame(self, dataset: str, **filters: Any) -> pl.DataFrame:
        with self.store() as store:
            return read(dataset, store=store, **filters).collect()

    def stream(self, dataset: str = "transactions") -> dict[str, Any]:
        return next(row for row in self.rows("streams") if row["dataset"] == dataset)


class World(VendorWorld):
    """A bank."""

    vendor = "teller"

    def __init__(self, folder: Path, bank: TellerSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.bank = bank

    async def link(self, token: str = "tok", tenant: str = "ada") -> Connection:
        return await self.linked({"access_token": token}, tenant)

    def ids(self, dataset: str = "transactions") -> list[str]:
        return sorted(row["transaction_id"] for row in self.rows(dataset))


@contextmanager
def world_of(folder: Path) -> Iterator[World]:
    clock = VirtualClock(START)
    bank = TellerSimulator(now=clock)
    with serve(bank) as served:
        yield World(folder, bank, served.url, clock)


def checking(account_id: str = "acc_1", *transactions: SimTransaction, **more: Any) -> SimAccount:
    return SimAccount(account_id, ledger="100.00", available="100.00", transactions=list(transactions), **more)


def card(account_id: str = "acc_2", *transactions: SimTransaction, **more: Any) -> SimAccount:
    return SimAccount(
        account_id, "credit", "credit_card", "Card", "4321", ledger="50.00", available="950.00",
        transactions=list(transactions), **more,
    )  # fmt: skip


def bought(transaction_id: str, amount: str = "-10.00", on: str = "2026-11-20", **more: Any) -> SimTransaction:
    return SimTransaction(transaction_id, amount, on, more.pop("description", "Corner Grocery"), **more)
