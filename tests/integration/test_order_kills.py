"""SIGKILL to real processes in the middle of an order, and two processes at once with one key. One order each.

The broker takes a second order with an id it has seen, which the real one refuses: nothing but our own steps stands
between a key and two orders.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fin_infra.connections import Connections, open_vault
from fin_infra.errors import NotReady
from fin_infra.orders import OrderBooks
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimAsset, SimBrokerage
from fin_infra.runtime.ordering import open_orders
from fin_infra.settings import Settings
from fin_infra.store import open_store
from fin_infra.testing import Served, VirtualClock, serve
from tests.guards import guarded
from tests.orders_world import OPEN_HOURS, SECRETS, Free

KILLS = 20
SEED = int(os.environ.get("FIN_INFRA_TEST_SEED", "20261124"))
PRELOAD = ["fin_infra.runtime.ordering", "fin_infra.providers.alpaca", "tests.integration.test_order_kills"]
STAGES = ("admitted", "intended", "sent", "in flight", "answered", "recorded")


async def shortly(seconds: float) -> None:
    await asyncio.sleep(seconds / 20)


async def submitted(
    settings: Settings, url: str, connection: str, key: str, at: datetime, dies: str | None = None
) -> str:
    """The state after one submission by this process, which ends itself at a stage."""

    def stage(done: str, of: str) -> None:
        if done == dies:
            os.kill(os.getpid(), signal.SIGKILL)

    clock = VirtualClock(at)
    async with open_orders(
        settings, now=clock, base_urls={"alpaca": url}, meter=Free(), on_stage=stage, sleep=shortly
    ) as orders:
        done = await orders.submit(connection, key, "us:AAPL", "buy", qty="2", type="limit", limit_price="1.5",
                                   time_in_force="gtc")  # fmt: skip
    return f"{done.order.state} {done.order.vendor_id}"


def process(settings: Settings, url: str, connection: str, key: str, at: datetime, dies: str | None) -> None:
    asyncio.run(submitted(settings, url, connection, key, at, dies))


@pytest.fixture
def broker() -> Iterator[tuple[AlpacaSimulator, Served]]:
    simulator = AlpacaSimulator(now=lambda: OPEN_HOURS)
    simulator.open_account(SECRETS["key_id"], SECRETS["secret_key"], SimBrokerage("acc_1", cash="1000000"))
    simulator.account(SECRETS["key_id"]).order_book.unique = False
    simulator.add_asset(SimAsset("AAPL", "Apple Inc."))
    with serve(simulator) as served:
        yield simulator, served


def linked(folder: Path) -> tuple[Settings, str]:
    settings = Settings(store_url=f"sqlite:///{folder / 'fin.db'}", http_timeout=20.0, orders_max_skew=100_000)
    store = open_store(settings.store_url)
    connection = Connections(store, open_vault(settings)).add(resolve("alpaca"), SECRETS, tenant="ada")
    store.close()
    return settings, connection.connection_id


@guarded(
    "an order is recorded as sent before the call", "orders/placing.py",
    'sent = self.books.move(known, "sent", attempts=known.attempts + 1, sent_at=self._now())',
    "sent = known",
)  # fmt: skip
async def test_a_process_that_is_killed_at_any_step_leaves_one_order(
    tmp_path: Path, broker: tuple[AlpacaSimulator, Served]
) -> None:
    simulator, served = broker
    settings, connection = linked(tmp_path)
    draw = random.Random(SEED)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    book = simulator.account(SECRETS["key_id"]).order_book
    for number in range(KILLS):
        key, stage = f"key {number}", STAGES[number % len(STAGES)]
        victim = context.Process(
            target=process,
            args=(settings, served.url, connection, key, OPEN_HOURS, None if stage == "in flight" else stage),
        )
        arrives = draw.random() < 0.5

        def shoot(path: str, victim: multiprocessing.process.BaseProcess = victim, arrives: bool = arrives) -> None:
            if path == "/v2/orders":
                os.kill(victim.pid or 0, signal.SIGKILL)
                if not arrives:
                    raise ConnectionResetError("scripted: the broker never saw it")

        simulator.on_request = shoot if stage == "in flight" else lambda path: None
        victim.start()
        victim.join(60)
        assert victim.exitcode == -signal.SIGKILL, (key, stage, victim.exitcode)
        simulator.on_request = lambda path: None
        try:
            said = await submitted(settings, served.url, connection, key, OPEN_HOURS)
        except NotReady:
            assert stage in ("sent", "in flight"), stage
            said = await submitted(settings, served.url, connection, key, OPEN_HOURS + timedelta(seconds=181))
        store = open_store(settings.store_url)
        order = OrderBooks(store, lambda: OPEN_HOURS).get(connection, key)
        store.close()
        assert order is not None
        assert said == f"accepted {order.vendor_id}"
        assert [order.vendor_id] == [one.id for one in book.of(order.client_order_id)], (key, stage)
    assert len(book.orders) == KILLS


async def test_four_processes_with_one_key_place_one_order(
    tmp_path: Path, broker: tuple[AlpacaSimulator, Served]
) -> None:
    simulator, served = broker
    settings, connection = linked(tmp_path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    many = [
        context.Process(target=process, args=(settings, served.url, connection, "one", OPEN_HOURS, None))
        for _ in range(4)
    ]
    for each in many:
        each.start()
    for each in many:
        each.join(60)
    assert [each.exitcode for each in many] == [0] * 4
    assert len(simulator.account(SECRETS["key_id"]).order_book.orders) == 1
