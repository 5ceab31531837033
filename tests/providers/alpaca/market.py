"""A broker over real HTTP, both hosts, with a clock, a store on real files and one linked account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fin_infra.connections import Connection
from fin_infra.engine import SyncReport
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimActivity, SimBrokerage, sandbox
from fin_infra.runtime import Runtime
from fin_infra.testing import VirtualClock, serve
from tests.world import VendorWorld

CLOSED = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)
"""Half an hour after New York closed."""
KEY_ID, SECRET = "PKSIM7731", "sim-secret-7731"


class Market(VendorWorld):
    """One linked account. Each `sync()` is a process of its own unless one is given."""

    vendor = "alpaca"

    def __init__(self, folder: Path, broker: AlpacaSimulator, urls: dict[str, str], clock: VirtualClock) -> None:
        super().__init__(folder, urls["alpaca"], clock)
        self.broker = broker
        self.urls = urls
        self.con = ""

    def runtime(self, **more: Any) -> Runtime:
        return Runtime(self.settings, now=self.clock, **{"base_urls": self.urls, **more})

    async def link(self, **secrets: str) -> Connection:
        linked = await self.linked({"key_id": KEY_ID, "secret_key": SECRET, **secrets}, "ada")
        self.con = linked.connection_id
        return linked

    async def sync(self, dataset: str, runtime: Runtime | None = None, **more: Any) -> SyncReport:
        if runtime is not None:
            return await runtime.engine.sync(dataset, self.con, **more)
        async with self.runtime() as runtime:
            return await runtime.engine.sync(dataset, self.con, **more)

    def watch(self, *instruments: str) -> None:
        self.settings = self.settings.model_copy(update={"watchlist": ",".join(instruments)})

    def sessions(self, instrument: str) -> list[date]:
        return [row["session"] for row in self.rows("prices", instruments=[instrument])]

    def state(self, dataset: str) -> str:
        return str(self.stream(dataset)["state"])

    def findings(self, dataset: str) -> list[tuple[str, str, str]]:
        """(kind, subject, state) of what was found in a dataset."""
        return [(f["kind"], f["subject"], f["state"]) for f in self.rows("findings") if f["dataset"] == dataset]

    def asked(self, path: str) -> list[str]:
        """Requests of a path since the last time it was asked here, and forgets them all."""
        found = [request for request in self.broker.requests if request.partition("?")[0] == path]
        self.broker.requests.clear()
        return found


def filled(number: int, at: datetime, **more: Any) -> SimActivity:
    """A purchase, told apart by its quantity."""
    return SimActivity("FILL", at=at, symbol="SPY", qty=f"1.{number:06}", price="100", **more)


def empty_account() -> SimBrokerage:
    return SimBrokerage("3f0b2c1e-5d1a-4a5c-9f52-5d4b0b7c1f10")


@contextmanager
def market_of(folder: Path, **options: Any) -> Iterator[Market]:
    """Trading and data host on an address each, with a lifelike account."""
    clock = VirtualClock(CLOSED)
    broker = AlpacaSimulator(now=clock, **options)
    sandbox(broker, KEY_ID, SECRET, today=CLOSED.date())
    with serve(broker.trading) as trading, serve(broker.data) as data:
        yield Market(folder, broker, {"alpaca": trading.url, "alpaca.data": data.url}, clock)
