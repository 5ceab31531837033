"""The vendor's own client places, finds, lists and cancels orders at the simulator; what it decodes is what we record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.models import Clock, Order
from alpaca.trading.requests import GetOrdersRequest, LimitOrderRequest, MarketOrderRequest

from fin_infra.testing import serve
from tests.orders_world import SECRETS, OrdersWorld, orders_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrdersWorld]:
    with orders_of(tmp_path) as found:
        yield found


@pytest.fixture
def sdk(world: OrdersWorld) -> Iterator[TradingClient]:
    with serve(world.broker) as served:
        yield TradingClient(SECRETS["key_id"], SECRETS["secret_key"], url_override=served.url)


def limit(ours: str, qty: float = 2, price: float = 150) -> LimitOrderRequest:
    return LimitOrderRequest(
        symbol="AAPL", qty=qty, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=price,
        client_order_id=ours,
    )  # fmt: skip


def test_the_vendors_client_reads_the_order_that_we_recorded(world: OrdersWorld, sdk: TradingClient) -> None:
    ours = asyncio.run(world.submit(qty="2.123456789", limit_price="150.05", type="limit", time_in_force="gtc"))
    read = sdk.get_order_by_client_id(ours.client_order_id)
    assert isinstance(read, Order)
    assert (str(read.id), read.status, read.symbol) == (ours.vendor_id, OrderStatus.NEW, ours.symbol)
    assert (Decimal(str(read.qty)), Decimal(str(read.limit_price))) == (ours.qty, ours.limit_price)
    assert read.submitted_at.replace(microsecond=0) == ours.submitted_at.replace(microsecond=0)  # type: ignore[union-attr]
    assert sdk.get_order_by_id(read.id) == read


def test_an_order_of_the_vendors_client_is_listed_as_somebody_elses(world: OrdersWorld, sdk: TradingClient) -> None:
    placed = sdk.submit_order(limit("by hand", qty=1.5))
    assert isinstance(placed, Order)
    coin = sdk.submit_order(
        MarketOrderRequest(symbol="BTC/USD", notional=50, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)
    )
    assert isinstance(coin, Order)

    async def listed() -> dict[str, tuple[str | None, Decimal | None, Decimal | None]]:
        async with world.orders() as orders:
            return {
                one.placed.vendor_id: (one.key, one.placed.qty, one.placed.notional)
                async for one in orders.listed(world.at)
            }

    assert asyncio.run(listed()) == {
        str(placed.id): (None, Decimal("1.5"), None),
        str(coin.id): (None, None, Decimal(50)),
    }


def test_duplicates_refusals_cancelling_and_lists(world: OrdersWorld, sdk: TradingClient) -> None:
    first = sdk.submit_order(limit("one"))
    assert isinstance(first, Order)
    with pytest.raises(APIError) as twice:
        sdk.submit_order(limit("one"))
    assert (twice.value.status_code, twice.value.code) == (422, 40010001)
    assert "client_order_id must be unique" in twice.value.message
    world.account.exact["buying_power"] = "400"
    with pytest.raises(APIError) as poor:
        sdk.submit_order(limit("two"))
    assert (poor.value.status_code, poor.value.code) == (403, 40310000)
    with pytest.raises(APIError) as unknown:
        sdk.get_order_by_client_id("never")
    assert (unknown.value.status_code, unknown.value.code) == (404, 40410000)
    sdk.cancel_order_by_id(first.id)
    with pytest.raises(APIError) as late:
        sdk.cancel_order_by_id(first.id)
    assert late.value.status_code == 422
    assert sdk.get_orders() == []
    [closed] = sdk.get_orders(GetOrdersRequest(status=QueryOrderStatus.CLOSED, symbols=["AAPL"]))
    assert isinstance(closed, Order)
    assert (closed.id, closed.status) == (UUID(str(first.id)), OrderStatus.CANCELED)
    assert closed.canceled_at is not None
    sdk.submit_order(limit("three", qty=1))
    assert [answer.status for answer in sdk.cancel_orders()] == [200]  # type: ignore[union-attr]
    clock = sdk.get_clock()
    assert isinstance(clock, Clock)
    assert clock.is_open
