"""Orders at Alpaca: what is sent, what comes back, how they are listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.errors import UsageError, WireError
from fin_infra.providers.alpaca import PROVIDER, ordering
from fin_infra.providers.base import Reply
from fin_infra.providers.transport import refusal
from tests.guards import guarded
from tests.orders_world import OPEN_HOURS, OrdersWorld, orders_of


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
    async with world.orders() as orders:
        steps = (await orders.show(world.at, "k1"))[1]
    assert [step.state for step in steps] == ["intended", "sent", "accepted"]


@guarded(
    "a key stands for one order", "orders/placing.py",
    "        if differs is not None:\n            raise UsageError(\n                f\"the key", "        if False:\n            raise UsageError(\n                f\"the key",
)  # fmt: skip
async def test_the_same_key_gives_the_recorded_order_and_asks_nobody(world: OrdersWorld) -> None:
    first = await world.submit()
    asked = len(world.broker.requests)
    assert await world.submit(limit_price="150.00", type="limit", time_in_force="gtc") == first
    assert len(world.broker.requests) == asked
    with pytest.raises(UsageError, match=r"another order \(qty 2 then, 3 now\); another order needs another key"):
        await world.submit(qty="3")
    assert len(world.placed) == 1


async def test_the_vendors_symbol_is_the_same_order_as_its_instrument(world: OrdersWorld) -> None:
    first = await world.submit("coin", "BTC/USD", qty="0.01", type="limit", limit_price="60000")
    assert first.instrument == "crypto:bitcoin"
    assert first.time_in_force == "gtc"
    again = await world.submit("coin", "crypto:bitcoin", qty="0.010", type="limit", limit_price="60000.0")
    assert again == first
    sold = await world.submit("sold", "crypto:bitcoin", "sell", qty="0.1", type="limit", limit_price="60000")
    assert sold.symbol == "BTC/USD"


@guarded(
    "orders of one instant", "providers/alpaca/ordering.py", "until = oldest + 2 * LEAST_STEP", "until = oldest",
)  # fmt: skip
async def test_all_orders_are_listed_once_however_many_came_in_one_instant(
    world: OrdersWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "ORDERS_PAGE", 4)
    for number in range(11):
        if number % 3 == 0:
            world.clock.advance(timedelta(seconds=1))
        world.account.order_book.place(
            {"symbol": "SPY", "qty": "1", "side": "buy", "type": "limit", "limit_price": "5", "time_in_force": "gtc",
             "client_order_id": f"other {number}"},
            world.clock(), is_open=True, power=Decimal(10**6), asset=world.broker._tradable,
        )  # fmt: skip
    ours = await world.submit()
    async with world.orders() as orders:
        found = [one async for one in orders.listed(world.at)]
        assert [one.key for one in found if one.key] == ["k1"]
        assert len(found) == len({one.placed.vendor_id for one in found}) == 12
        times = [one.placed.submitted_at for one in found if one.placed.submitted_at]
        assert times == sorted(times, reverse=True)
        await orders.cancel(world.at, "k1")
        assert [one.placed.vendor_id async for one in orders.listed(world.at, status="closed")] == [ours.vendor_id]
        assert len([one async for one in orders.listed(world.at, instruments=["us:SPY"])]) == 11
        since = world.clock() - timedelta(milliseconds=1)
        assert len([one async for one in orders.listed(world.at, after=since)]) == 2


async def test_a_full_page_that_leads_nowhere_is_an_error_and_no_short_list(
    world: OrdersWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "ORDERS_PAGE", 2)
    for key in ("k1", "k2", "k3"):
        await world.submit(key)
    async with world.orders() as orders:
        with pytest.raises(WireError, match="does not lead on"):
            [one async for one in orders.listed(world.at)]


async def test_the_list_tells_the_record_what_became_of_ours(world: OrdersWorld) -> None:
    await world.submit()
    world.broker.fill(world.placed[0], "2", "149.5")
    async with world.orders() as orders:
        assert [one.placed.state async for one in orders.listed(world.at, status="closed")] == ["filled"]
    order = world.recorded()
    assert order is not None
    assert (order.state, order.filled_qty, order.filled_avg_price) == ("filled", Decimal(2), Decimal("149.5"))


@guarded(
    "what a broken server says of an order", "providers/alpaca/ordering.py",
    "REFUSING = frozenset({400, 403, 404, 422})", "REFUSING = frozenset({400, 403, 404, 422, 500, 503, 504})",
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 301, 408, 500, 502, 503, 504, 418])
def test_any_other_answer_leaves_it_unknown(status: int) -> None:
    body = b"Too Many Requests" if status == 200 else b'{"code": 50010000, "message": "internal server error"}'
    error = refusal(PROVIDER, Reply(status, {}, body, OPEN_HOURS), good=(200, 201, 202, 204))
    assert error is not None
    error.context["status"] = status
    assert ordering.verdict(error) == "unknown"


@guarded(
    "a blank amount is no zero", "providers/alpaca/ordering.py",
    "    if amount is None:\n        raise WireError(", "    if amount is None:\n        return Decimal(0)\n        raise WireError(",
)  # fmt: skip
async def test_a_blank_buying_power_is_a_broken_answer_and_no_zero() -> None:
    class Blank:
        async def get(self, path: str, params: object = None, **more: object) -> Reply:
            body = b'{"status": "ACTIVE", "currency": "USD", "buying_power": " "}'
            return Reply(200, {}, body, OPEN_HOURS)

    with pytest.raises(WireError, match="an amount is blank"):
        await ordering.means(Blank(), "AAPL")  # type: ignore[arg-type]
