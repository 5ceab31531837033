"""The simulator's orders, and the bodies that we send, keep to the vendor's interface description, read strictly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.orders_world import SECRETS, OrdersWorld, orders_of
from tests.providers.alpaca.test_alpaca_description import TRADING, _check, check_answer, check_request

KEYS = {"APCA-API-KEY-ID": SECRETS["key_id"], "APCA-API-SECRET-KEY": SECRETS["secret_key"]}
POST = TRADING["paths"]["/v2/orders"]["post"]
BODY: dict[str, Any] = POST["requestBody"]["content"]["application/json"]["schema"]
ORDER: dict[str, Any] = TRADING["components"]["schemas"]["Order"]
for name in ("expires_at", "position_intent", "ratio_qty"):  # said of some orders only
    assert name in ORDER["properties"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrdersWorld]:
    with orders_of(tmp_path) as found:
        yield found


async def ask(world: OrdersWorld, method: str, path: str, **more: Any) -> httpx.Response:
    app = httpx.ASGITransport(app=world.broker)
    async with httpx.AsyncClient(transport=app, base_url="http://alpaca", headers=KEYS) as client:
        return await client.request(method, path, **more)


ORDERS: list[dict[str, Any]] = [
    {"qty": "2", "type": "limit", "limit_price": "150.05", "time_in_force": "gtc"},
    {"qty": "1", "type": "stop_limit", "stop_price": "150", "limit_price": "151", "time_in_force": "gtc"},
    {"qty": "1", "type": "limit", "limit_price": "150", "time_in_force": "day", "extended_hours": True},
    {"qty": "1", "type": "limit", "limit_price": "150", "time_in_force": "cls"},
    {"instrument": "crypto:bitcoin", "qty": "0.000000001", "type": "limit", "limit_price": "60000"},
]


@pytest.mark.parametrize("order", ORDERS)
async def test_what_we_send_and_what_comes_back_is_as_described(world: OrdersWorld, order: dict[str, Any]) -> None:
    placed = await world.submit(**order)
    [sent] = map(json.loads, world.road.posts)
    _check(TRADING, BODY, sent)
    assert set(sent) <= set(BODY["properties"])
    assert all(isinstance(sent[name], str) for name in ("qty", "limit_price", "stop_price") if name in sent)
    for path in (
        f"/v2/orders/{placed.vendor_id}",
        f"/v2/orders:by_client_order_id?client_order_id={placed.client_order_id}",
    ):
        reply = await ask(world, "GET", path)
        _check(TRADING, ORDER, reply.json())
        assert set(ORDER["required"]) <= set(reply.json())
    for status in ("open", "closed", "all"):
        params = {"status": status, "limit": "500", "direction": "asc", "after": "2026-01-01T00:00:00Z"}
        check_request("trading", "/v2/orders", params)
        check_answer("trading", "/v2/orders", await ask(world, "GET", "/v2/orders", params=params))


async def test_cancelling_answers_as_described(world: OrdersWorld) -> None:
    placed = await world.submit()
    described = TRADING["paths"]["/v2/orders/{order_id}"]["delete"]["responses"]
    replies = [await ask(world, "DELETE", f"/v2/orders/{placed.vendor_id}") for _ in range(2)]
    assert [str(reply.status_code) for reply in replies] == sorted(described) == ["204", "422"]
    await world.submit("k2")
    every = await ask(world, "DELETE", "/v2/orders")
    assert every.status_code == 207
    schema = TRADING["paths"]["/v2/orders"]["delete"]["responses"]["207"]["content"]["application/json"]["schema"]
    _check(TRADING, schema, every.json())


@pytest.mark.parametrize("more", [{}, {"qty": "1", "notional": "2"}])
async def test_a_size_that_is_missing_or_double_is_refused_as_recorded(
    world: OrdersWorld, more: dict[str, str]
) -> None:
    body = {"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", **more}
    reply = await ask(world, "POST", "/v2/orders", json=body)
    message = "only one of qty or notional is accepted" if more else "qty or notional is required"
    assert (reply.status_code, reply.json()) == (422, {"code": 40010001, "message": message})
