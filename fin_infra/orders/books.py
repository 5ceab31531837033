"""What is recorded of orders: one row by the caller's key, changed by compare-and-set, and each step beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from fin_infra.errors import UsageError
from fin_infra.orders.request import PARAMETERS, exact
from fin_infra.providers.ordering import Placed, Ticket
from fin_infra.store import Store
from fin_infra.store.base import Now
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.statements import changed, fetched
from fin_infra.store.tables import ORDERS

COLUMNS = [column.name for column in ORDERS.columns]
AMOUNTS = ("qty", "notional", "limit_price", "stop_price", "filled_qty", "filled_avg_price")
MOMENTS = ("sent_at", "submitted_at", "vendor_updated_at", "created_at", "updated_at")
FLAGS = ("extended_hours", "live")
OPEN = ("sent", "unknown")
"""Of an order in these states nobody knows whether the vendor has it."""
FINAL = ("filled", "canceled", "expired", "rejected", "replaced")
"""States that an order does not leave, whatever an older answer says."""
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM orders"


@dataclass(frozen=True)
class Order:
    """An order as it is recorded. `state`: see `fin_infra.orders.STATES`; `vendor_status`: the vendor's own word."""

    tenant_id: str
    connection_id: str
    key: str
    client_order_id: str
    instrument: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    live: bool
    state: str
    version: int
    attempts: int
    sent_at: datetime | None
    vendor_id: str | None
    vendor_status: str | None
    filled_qty: Decimal | None
    filled_avg_price: Decimal | None
    reason: str | None
    submitted_at: datetime | None
    vendor_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def parameters(self) -> dict[str, Any]:
        """As `OrderRequest.parameters`."""
        values = {name: getattr(self, name) for name in PARAMETERS}
        return {name: exact(value) if isinstance(value, Decimal) else value for name, value in values.items()}

    @property
    def ticket(self) -> Ticket:
        return Ticket(
            self.client_order_id, self.symbol, "buy" if self.side == "buy" else "sell", self.type, self.time_in_force,
            self.qty, self.notional, self.limit_price, self.stop_price, self.extended_hours,
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step of an order's."""

    version: int
    at: datetime
    state: str
    vendor_status: str | None
    reason: str | None


class OrderBooks:
    """The orders of a store."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        self._now = now

    def get(self, connection_id: str, key: str) -> Order | None:
        with self._store.reading() as sql:
            found = fetched(sql, f"{_SELECT} WHERE connection_id = ? AND key = ?", (connection_id, key))
        return _order(found[0]) if found else None

    def by_client_order_id(self, client_order_id: str) -> Order | None:
        with self._store.reading() as sql:
            found = fetched(sql, f"{_SELECT} WHERE client_order_id = ?", (client_order_id,))
        return _order(found[0]) if found else None

    def all(self, *, connection: str | None = None, states: Sequence[str] | None = None) -> list[Order]:
        """Newest first."""
        where, values = ["1 = 1"], list[Any]()
        if connection is not None:
            where, values = [*where, "connection_id = ?"], [*values, connection]
        if states is not None:
            where, values = [*where, f"state IN ({', '.join('?' * len(states))})"], [*values, *states]
        with self._store.reading() as sql:
            found = fetched(
                sql, f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY created_at DESC, connection_id, key",
                tuple(values),
            )  # fmt: skip
        return [_order(row) for row in found]

    def steps(self, order: Order) -> list[Step]:
        """What became of it, oldest first."""
        with self._store.reading() as sql:
            found = fetched(
                sql, "SELECT version, at, state, vendor_status, reason FROM order_events "
                "WHERE tenant_id = ? AND connection_id = ? AND key = ? ORDER BY version",
                (order.tenant_id, order.connection_id, order.key),
            )  # fmt: skip
        return [Step(version, from_micros(at), *rest) for version, at, *rest in found]

    def intend(self, ticket: Ticket, *, tenant: str, connection: str, key: str, instrument: str, live: bool) -> Order:
        """The order of this key, recorded now unless it was before. Committed when this returns.

        Raises `UsageError` when the connection was removed meanwhile.
        """
        now = micros(self._now())
        amounts = {name: getattr(ticket, name) for name in ("qty", "notional", "limit_price", "stop_price")}
        row = dict.fromkeys(COLUMNS, None) | {
            "tenant_id": tenant, "connection_id": connection, "key": key, "client_order_id": ticket.client_order_id,
            "instrument": instrument, "symbol": ticket.symbol, "side": ticket.side, "type": ticket.type,
            "time_in_force": ticket.time_in_force, "extended_hours": int(ticket.extended_hours), "live": int(live),
            "state": "intended", "version": 1, "attempts": 0, "created_at": now, "updated_at": now,
            **{name: None if value is None else exact(value) for name, value in amounts.items()},
        }  # fmt: skip
        with self._store.writing() as sql:
            if not fetched(sql, "SELECT 1 FROM connections WHERE connection_id = ?", (connection,)):
                raise UsageError(f"{connection} was removed meanwhile; nothing was sent")
            done = changed(
                sql, f"INSERT INTO orders ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
                "ON CONFLICT DO NOTHING",
                tuple(row[name] for name in COLUMNS),
            )  # fmt: skip
            if done == 1:
                self._step(sql, (tenant, connection, key), 1, now, "intended", None, None)
            found = fetched(sql, f"{_SELECT} WHERE connection_id = ? AND key = ?", (connection, key))
        return _order(found[0])

    def move(self, order: Order, state: str, reason: str | None = None, **values: Any) -> Order | None:
        """The order in its next state, if nobody moved it since it was read; else None, and nothing is written."""
        now = micros(self._now())
        key = (order.tenant_id, order.connection_id, order.key)
        changes = {"state": state, "reason": reason, "updated_at": now, **{n: _stored(v) for n, v in values.items()}}
        with self._store.writing() as sql:
            done = changed(
                sql, f"UPDATE orders SET version = version + 1, {', '.join(f'{name} = ?' for name in changes)} "
                "WHERE tenant_id = ? AND connection_id = ? AND key = ? AND version = ?",
                (*changes.values(), *key, order.version),
            )  # fmt: skip
            if done != 1:
                return None
            status = changes.get("vendor_status", order.vendor_status)
            self._step(sql, key, order.version + 1, now, state, status, reason)
            found = fetched(sql, f"{_SELECT} WHERE connection_id = ? AND key = ?", key[1:])
        return _order(found[0])

    def take(self, order: Order, placed: Placed) -> Order:
        """The order with what the vendor says of it. Whoever else moved it meanwhile: the vendor's word is a fact, and
        stands, unless a newer one is recorded."""
        while True:
            if not _newer(order, placed):
                return self.get(order.connection_id, order.key) or order
            moved = self.move(
                order, placed.state, f"{placed.status} at the vendor" if placed.state == "rejected" else None,
                vendor_id=placed.vendor_id, vendor_status=placed.status, filled_qty=placed.filled_qty,
                filled_avg_price=placed.filled_avg_price, submitted_at=placed.submitted_at,
                vendor_updated_at=placed.updated_at,
            )  # fmt: skip
            if moved is not None:
                return moved
            again = self.get(order.connection_id, order.key)
            if again is None:
                raise UsageError(f"{order.connection_id} was removed meanwhile; its order {order.key} is not recorded")
            order = again

    def _step(
        self, sql: Any, key: tuple[str, str, str], version: int, at: int, state: str, status: str | None,
        reason: str | None,
    ) -> None:  # fmt: skip
        changed(
            sql, "INSERT INTO order_events (tenant_id, connection_id, key, version, at, state, vendor_status, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, version, at, state, status, reason),
        )  # fmt: skip


def _newer(order: Order, placed: Placed) -> bool:
    """Whether the vendor's word says more than the record."""
    if order.vendor_id is None:
        return True
    if order.state in FINAL:  # an answer that was long on its way
        return False
    if order.vendor_updated_at and placed.updated_at and placed.updated_at < order.vendor_updated_at:
        return False
    told = (placed.state, placed.status, placed.filled_qty, placed.filled_avg_price)
    return told != (order.state, order.vendor_status, order.filled_qty, order.filled_avg_price)


def _stored(value: Any) -> Any:
    match value:
        case Decimal():
            return exact(value)
        case datetime():
            return micros(value)
        case _:
            return value


def _order(row: Sequence[Any]) -> Order:
    found = dict(zip(COLUMNS, row, strict=True))
    found |= {name: None if found[name] is None else Decimal(found[name]) for name in AMOUNTS}
    found |= {name: None if found[name] is None else from_micros(found[name]) for name in MOMENTS}
    found |= {name: bool(found[name]) for name in FLAGS}
    return Order(**found)
