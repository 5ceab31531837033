"""A thousand keys, each submitted by several at once, over a network and through processes that fail at every step.

Half of them against a broker that refuses a second order with an id it has seen, as the real one does, and whose late
requests may land whenever they like; half against a careless one that would take it twice, where nothing but our own
steps stands between a key and two orders. There a request that is late lands within the time that is waited for it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from fin_infra.connections import Connections, open_vault
from fin_infra.errors import FinInfraError, LaterError, UsageError
from fin_infra.orders import Order
from fin_infra.store import open_store
from fin_infra.store.base import Store
from tests.guards import guarded
from tests.orders_world import Killed, OrdersWorld, orders_of

SEED = int(os.environ.get("FIN_INFRA_TEST_SEED", "20261124"))
RUNS = 500  # with each of the two brokers
TRIES = 25
STAGES = ("admitted", "intended", "sent", "answered", "recorded")
POSTS = (
    ["ok"] * 6 + ["unreachable", "lost", "lost", "silent", "silent", "cut", "late", "late", "killed:before"]
    + ["killed:after", "killed:after", "500", "503", "401", "403", "429", "done:504", "done:500", "garbage"]
)  # fmt: skip
READS = ["ok"] * 30 + ["unreachable", "lost", "500", "killed:before", "garbage", "429"]


@dataclass
class Run:
    """One key's life, drawn."""

    world: OrdersWorld
    draw: random.Random
    key: str
    calm: int = 0
    """Tries after which nothing goes wrong any more."""

    def fate(self, request: httpx.Request) -> str:
        if self.calm > TRIES * 2 // 3:
            return "ok"
        drawn = self.draw.choice(POSTS if request.method == "POST" else READS)
        most = 600 if self.world.account.order_book.unique else 140
        return f"late:{self.draw.randint(1, most)}" if drawn == "late" else drawn

    def stage(self, stage: str, key: str) -> None:
        if self.calm <= TRIES // 2 and self.draw.random() < 0.06:
            raise Killed(stage)

    async def submitter(self, store: Store) -> Order | None:
        """Tries with processes that die until one of them says what became of the order; None: it gave up."""
        for _ in range(TRIES):
            self.calm += 1
            wait = self.draw.choice([0.0, 1.0, 20.0])
            try:
                async with self.world.orders(store, on_stage=self.stage) as orders:
                    done = await orders.submit(
                        self.world.at, self.key, "us:AAPL", "buy", qty="2", type="limit", limit_price="1.5",
                        time_in_force="gtc",
                    )  # fmt: skip
                    return done.order
            except Killed:
                pass
            except LaterError as error:
                wait = self.draw.choice([1.0, error.retry_after, error.retry_after + 1])
            except UsageError:  # its key was refused, and no order of it is sent: its owner looks, and finds it good
                connections = Connections(store, open_vault(self.world.settings), self.world.clock)
                if connections.get(self.world.at).state == "active":
                    raise
                connections.set_state(self.world.at, "active", None)
            except FinInfraError:
                pass
            self.world.clock.advance(timedelta(seconds=wait))
        return None


async def life(world: OrdersWorld, number: int, stores: Sequence[Store]) -> tuple[list[Order | None], Run]:
    draw = random.Random(f"{SEED} {world.account.order_book.unique} {number}")
    run = Run(world, draw, f"key {number}")
    world.road.fate, world.road.pause = run.fate, lambda: draw.choice([0, 0, 1, 3])
    many = draw.choice([1, 2, 2, 3])
    told = await asyncio.gather(*(run.submitter(draw.choice(stores)) for _ in range(many)))
    world.road.fate = lambda request: "ok"
    await world.road.arrive(all=True)
    world.clock.advance(timedelta(seconds=200))
    return list(told), run


@pytest.fixture
def world_of_orders(tmp_path: Path) -> Iterator[OrdersWorld]:
    with orders_of(tmp_path) as found:
        yield found


@pytest.mark.parametrize("unique", [True, False], ids=["as the vendor", "careless"])
@guarded(
    "an order whose end nobody knows is not sent again at once", "orders/placing.py",
    "        if not late:\n            return order\n", "        if False:\n            return order\n",
)  # fmt: skip
@guarded(
    "an answer of 500 says nothing of the order", "providers/alpaca/ordering.py",
    "    never_left = status is None and", "    never_left =",
)  # fmt: skip
async def test_a_thousand_keys_give_one_order_each_whatever_breaks(world_of_orders: OrdersWorld, unique: bool) -> None:
    world = world_of_orders
    world.account.order_book.unique = unique
    stores = [open_store(world.settings.store_url, now=world.clock) for _ in range(2)]
    successes = given_up = 0
    for number in range(RUNS):
        told, run = await life(world, number, stores)
        book = world.account.order_book
        async with world.orders(stores[0]) as orders:
            await orders.settle_unknown(world.at)
            found = orders.books.get(world.at, run.key)
            if found is not None:
                found = (await orders.show(world.at, run.key))[0]
        placed = [] if found is None else book.of(found.client_order_id)
        where = f"{run.key}, seed {SEED}, {'unique' if unique else 'careless'}: {found}"
        assert len(placed) <= 1, where
        for order in told:
            if order is None:
                given_up += 1
            elif order.state == "accepted":
                successes += 1
                assert [order.vendor_id] == [one.id for one in placed], where
            else:
                assert order.state == "rejected", where
        if found is not None:  # the record and the broker say the same
            assert (found.state == "accepted") == (len(placed) == 1), where
            assert found.vendor_id == (placed[0].id if placed else None), where
            assert found.state in ("accepted", "rejected", "intended"), where
    assert len(world.placed) == len({order.client_order_id for order in world.placed})
    assert successes > RUNS
    assert given_up < RUNS // 20
    for store in stores:
        store.close()
