"""Orders at Alpaca: what is sent, what comes back, what is refused before anything leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.errors import UsageError
from tests.orders_world import OrdersWorld, orders_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrdersWorld]:
    with orders_of(tmp_path) as found:
        yield found


async def test_an_order_is_sent_exactly_as_it_was_meant_and_recorded_as_the_vendor_has_it(world: OrdersWorld) -> None:
    order = await world.submit(qty="2.100000001", limit_price="150.10", type="limit", time_in_force="gtc")
    [sent] = map(json.loads, world.road.posts)
    assert sent == {
        "symbol": "AAPL", "side": "buy", "type": "limit", "time_in_force": "gtc", "qty": "2.100000001",
        "limit_price": "150.1", "client_order_id": order.client_order_id,
    }  # fmt: skip
    [placed] = world.placed
    assert (order.state, order.vendor_status, order.vendor_id) == ("accepted", "new", placed.id)
    assert (order.qty, order.limit_price, order.live) == (Decimal("2.100000001"), Decimal("150.1"), False)
    assert order == world.recorded()


async def test_the_same_key_gives_the_recorded_order_and_asks_nobody(world: OrdersWorld) -> None:
    first = await world.submit()
    asked = len(world.broker.requests)
    assert await world.submit(limit_price="150.00", type="limit", time_in_force="gtc") == first
    assert len(world.broker.requests) == asked
    with pytest.raises(UsageError, match=r"another order \(qty 2 then, 3 now\); another order needs another key"):
        await world.submit(qty="3")
    assert len(world.placed) == 1
