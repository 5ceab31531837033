"""The record of orders, on every store: one row for a key, one who moves it on, and what a racing thread sees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from cryptography.fernet import Fernet

from fin_infra.connections import Connection, Connections
from fin_infra.connections.vault import Vault
from fin_infra.errors import UsageError
from fin_infra.orders import Order, OrderBooks
from fin_infra.providers import resolve
from fin_infra.providers.ordering import Placed, Ticket
from fin_infra.store import Store
from fin_infra.testing import VirtualClock
from tests.guards import guarded

TICKET = Ticket("fi1-a", "AAPL", "buy", "limit", "gtc", Decimal("2.000000001"), None, Decimal("12345678901.123456789"))


@pytest.fixture
def connection(store: Store, clock: VirtualClock) -> Connection:
    return Connections(store, Vault([Fernet.generate_key()]), clock).add(
        resolve("alpaca"), {"key_id": "PK1", "secret_key": "s"}, tenant="ada"
    )


def _intended(books: OrderBooks, connection: Connection, key: str = "k1") -> Order:
    return books.intend(
        replace(TICKET, client_order_id=f"fi1-{key}"), tenant="ada", connection=connection.connection_id, key=key,
        instrument="us:AAPL", live=False,
    )  # fmt: skip


def test_amounts_come_back_as_they_went_in(store: Store, clock: VirtualClock, connection: Connection) -> None:
    books = OrderBooks(store, clock)
    _intended(books, connection)
    order = books.get(connection.connection_id, "k1")
    assert order is not None
    assert (str(order.qty), str(order.limit_price)) == ("2.000000001", "12345678901.123456789")
    assert order.ticket == replace(TICKET, client_order_id="fi1-k1")
    assert _intended(books, connection) == order
    assert len(books.steps(order)) == 1


@guarded(
    "an order is moved on by one alone", "orders/books.py",
    "            if done != 1:\n                return None\n", "            if done > 1:\n                return None\n",
)  # fmt: skip
def test_of_many_who_move_an_order_on_one_does(store: Store, clock: VirtualClock, connection: Connection) -> None:
    books = OrderBooks(store, clock)
    for number in range(10):
        order = _intended(books, connection, f"k{number}")
        with ThreadPoolExecutor(4) as pool:
            moved = list(pool.map(lambda n: books.move(order, "sent", attempts=n), range(4)))  # noqa: B023
        assert len([one for one in moved if one is not None]) == 1
        now = books.get(connection.connection_id, f"k{number}")
        assert now is not None
        assert [step.state for step in books.steps(now)] == ["intended", "sent"]


def test_the_vendors_word_stands_whoever_moved_the_order_meanwhile(
    store: Store, clock: VirtualClock, connection: Connection
) -> None:
    books = OrderBooks(store, clock)
    stale = books.get(connection.connection_id, "k1") or _intended(books, connection)
    books.move(stale, "sent")
    placed = Placed("v1", "fi1-k1", "new", "accepted", "AAPL", "buy", "limit", "gtc", TICKET.qty, None,
                    TICKET.limit_price, None, Decimal(0), None, clock(), clock())  # fmt: skip
    taken = books.take(stale, placed)
    assert (taken.state, taken.vendor_id, taken.version) == ("accepted", "v1", 3)
    filled = replace(placed, status="filled", state="filled", filled_qty=TICKET.qty or Decimal(0),
                     updated_at=clock() + timedelta(seconds=1))  # fmt: skip
    assert books.take(taken, filled).state == "filled"
    assert books.take(taken, placed).state == "filled"  # an older word changes nothing
    assert [order.key for order in books.all(states=("filled",))] == ["k1"]


def test_no_order_is_recorded_of_a_connection_that_was_removed(
    store: Store, clock: VirtualClock, connection: Connection
) -> None:
    store.erase(connection.connection_id)
    with pytest.raises(UsageError, match="was removed meanwhile; nothing was sent"):
        _intended(OrderBooks(store, clock), connection)
