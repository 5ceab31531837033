"""The imitated vendor's order book: orders of an account, in the vendor's words, and what it refuses.

An order changes only when its owner asks for it or the script says so: `fill`, `end`. What an order would cost is
reserved while it is open. Part of the simulator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import NAMESPACE_URL, uuid5

OPEN = frozenset(
    {"new", "accepted", "pending_new", "partially_filled", "held", "pending_cancel", "accepted_for_bidding"}
)
NO_LONGER = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
FORCES = ("day", "gtc", "opg", "cls", "ioc", "fok")


class Unplaced(Exception):
    """A refusal: status, the vendor's code, its message, and what else its body has."""

    def __init__(self, status: int, code: int, message: str, **more: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more


@dataclass
class SimOrder:
    """One order. Amounts are the very text that is sent."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    submitted_at: datetime
    asset_id: str
    asset_class: str = "us_equity"
    qty: str | None = None
    notional: str | None = None
    limit_price: str | None = None
    stop_price: str | None = None
    extended_hours: bool = False
    status: str = "accepted"
    filled_qty: str = "0"
    filled_avg_price: str | None = None
    updated_at: datetime = datetime.min
    ended: dict[str, datetime] = field(default_factory=dict)
    """When it was filled, canceled, expired or failed, by the name of that field."""

    @property
    def reserved(self) -> Decimal:
        """What of the buying power an open purchase holds."""
        if self.status not in OPEN or self.side != "buy":
            return Decimal(0)
        if self.notional is not None:
            return Decimal(self.notional)
        price = self.limit_price or self.stop_price or "0"
        return (Decimal(self.qty or "0") - Decimal(self.filled_qty)) * Decimal(price)

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id, "client_order_id": self.client_order_id, "created_at": stamp(self.submitted_at, 411),
            "updated_at": stamp(self.updated_at, 768), "submitted_at": stamp(self.submitted_at, 61),
            **{name: stamp(at, 5) if (at := self.ended.get(name)) else None for name in
               ("filled_at", "expired_at", "canceled_at", "failed_at", "replaced_at")},
            "replaced_by": None, "replaces": None, "asset_id": self.asset_id, "symbol": self.symbol,
            "asset_class": self.asset_class, "notional": self.notional, "qty": self.qty,
            "filled_qty": self.filled_qty, "filled_avg_price": self.filled_avg_price, "order_class": "",
            "order_type": self.type, "type": self.type, "side": self.side, "time_in_force": self.time_in_force,
            "limit_price": self.limit_price, "stop_price": self.stop_price, "status": self.status,
            "extended_hours": self.extended_hours, "legs": None, "trail_percent": None, "trail_price": None,
            "hwm": None,
        }  # fmt: skip


@dataclass
class OrderBook:
    """An account's orders, oldest first.

    `unique`: a `client_order_id` that was seen is refused, as the vendor does; without it the book is a careless one,
    with which tests prove that we do not lean on that.
    """

    orders: list[SimOrder] = field(default_factory=list)
    unique: bool = True
    duplicates: int = 0
    """How often one was refused because of its id."""

    @property
    def reserved(self) -> Decimal:
        return sum((order.reserved for order in self.orders), Decimal(0))

    def of(self, client_order_id: str) -> list[SimOrder]:
        return [order for order in self.orders if order.client_order_id == client_order_id]

    def place(
        self, said: Mapping[str, Any], now: datetime, *, is_open: bool, power: Decimal,
        asset: Callable[[str], tuple[str, str, str] | None],
    ) -> SimOrder:  # fmt: skip
        """The new order. `asset`: by symbol its id, class and spelling; None: there is none that can be traded."""
        order_id = str(said.get("client_order_id") or uuid5(NAMESPACE_URL, f"client {len(self.orders)} {now}"))
        if len(order_id) > 128:
            raise _malformed("client_order_id must be no more than 128 characters")
        known = asset(str(said.get("symbol") or ""))
        if known is None:
            raise Unplaced(422, 42210000, f'asset "{said.get("symbol")}" not found')
        amounts = {name: _amount(said, name) for name in ("qty", "notional", "limit_price", "stop_price")}
        _sensible(said, amounts)
        if self.unique and self.of(order_id):
            self.duplicates += 1
            raise _malformed("client_order_id must be unique")
        asset_id, asset_class, symbol = known
        order = SimOrder(
            str(uuid5(NAMESPACE_URL, f"order {order_id} {len(self.orders)} {now}")), order_id, symbol,
            said["side"], said["type"], said["time_in_force"], now, asset_id, asset_class, amounts["qty"],
            amounts["notional"], amounts["limit_price"], amounts["stop_price"],
            extended_hours=bool(said.get("extended_hours")), updated_at=now,
            status="pending_new" if asset_class == "crypto" else "new" if is_open else "accepted",
        )  # fmt: skip
        if order.reserved > power - self.reserved:
            left = format(max(power - self.reserved, Decimal(0)), "f")
            raise Unplaced(
                403, 40310000, "insufficient buying power", buying_power=left, cost_basis=format(order.reserved, "f")
            )
        self.orders.append(order)
        return order

    def by_id(self, order_id: str) -> SimOrder:
        for order in self.orders:
            if order.id == order_id:
                return order
        raise Unplaced(404, 40410000, f"order not found for {order_id}")

    def by_client_order_id(self, client_order_id: str) -> SimOrder:
        found = self.of(client_order_id)
        if not found:
            raise Unplaced(404, 40410000, f"order not found for {client_order_id}")
        return found[0]

    def cancel(self, order_id: str, now: datetime) -> None:
        order = self.by_id(order_id)
        if order.status in NO_LONGER:
            raise Unplaced(422, 42210000, f'order is already in "{order.status}" state')
        end(order, "canceled", now)

    def listed(self, query: Mapping[str, str], moment: Callable[[str, str], datetime]) -> Sequence[SimOrder]:
        """What `GET /v2/orders` gives, both times exclusive. `moment` reads a time of the query."""
        status, direction, limit = query.get("status", "open"), query.get("direction", "desc"), query.get("limit", "50")
        if status not in ("open", "closed", "all") or direction not in ("asc", "desc"):
            raise _malformed("invalid status or direction")
        if not limit.isdecimal() or not 1 <= int(limit) <= 500:
            raise _malformed("limit must be between 1 and 500")
        found = [order for order in self.orders if status == "all" or (order.status in OPEN) == (status == "open")]
        if after := query.get("after"):
            begin = moment(after, "after")
            found = [order for order in found if order.submitted_at > begin]
        if until := query.get("until"):
            end_at = moment(until, "until")
            found = [order for order in found if order.submitted_at < end_at]
        if symbols := query.get("symbols"):
            wanted = {symbol.replace("/", "") for symbol in symbols.split(",")}
            found = [order for order in found if order.symbol.replace("/", "") in wanted]
        return sorted(found, key=lambda order: order.submitted_at, reverse=direction == "desc")[: int(limit)]


def fill(order: SimOrder, qty: str, price: str, now: datetime) -> None:
    """So much of it is executed at a price; whole, or the rest stays open."""
    before = Decimal(order.filled_qty)
    after = before + Decimal(qty)
    paid = before * Decimal(order.filled_avg_price or "0") + Decimal(qty) * Decimal(price)
    average = format((paid / after).quantize(Decimal("1e-9")).normalize(), "f")
    order.filled_qty, order.filled_avg_price = format(after.normalize(), "f"), average
    whole = order.qty is None or after >= Decimal(order.qty)
    if whole:
        end(order, "filled", now)
    else:
        order.status, order.updated_at = "partially_filled", now


def end(order: SimOrder, status: str, now: datetime) -> None:
    """filled, canceled, expired, rejected: it changes no more."""
    order.status, order.updated_at = status, now
    order.ended["failed_at" if status == "rejected" else f"{status}_at"] = now


def _sensible(said: Mapping[str, Any], amounts: Mapping[str, str | None]) -> None:
    for name, known in (("type", TYPES), ("time_in_force", FORCES), ("side", ("buy", "sell"))):
        if said.get(name) not in known:
            raise _malformed(f"invalid {name}")
    if amounts["qty"] is None and amounts["notional"] is None:
        raise _malformed("qty or notional is required")
    if amounts["qty"] is not None and amounts["notional"] is not None:
        raise _malformed("only one of qty or notional is accepted")
    if (amounts["limit_price"] is not None) != (said["type"] in ("limit", "stop_limit")):
        raise _malformed("limit orders require limit price, others have none")
    if (amounts["stop_price"] is not None) != (said["type"] in ("stop", "stop_limit")):
        raise _malformed("stop orders require stop price, others have none")


def _amount(said: Mapping[str, Any], name: str) -> str | None:
    """The digits as they were sent, text or number."""
    given = said.get(name)
    if given is None:
        return None
    text = str(given)
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    decimals = len(text.partition(".")[2])
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not amount.is_finite() or amount <= 0 or decimals > 9:
        raise _malformed(f"invalid {name}")
    return format(amount.normalize(), "f")


def _malformed(message: str) -> Unplaced:
    return Unplaced(422, 40010001, message)


def body_of(body: bytes) -> Mapping[str, Any]:
    """The request's JSON, numbers as their digits."""
    try:
        said = json.loads(body, parse_float=str, parse_int=str)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Unplaced(400, 40010000, "request body format is invalid")
    return said


def stamp(moment: datetime, nanoseconds: int) -> str:
    """With nanoseconds, as the vendor writes them."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}{nanoseconds:03d}Z"
