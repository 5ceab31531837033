"""What a broker's adapter declares of orders, and what its functions are given and give back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from fin_infra.errors import FinInfraError

if TYPE_CHECKING:
    from fin_infra.providers.base import Acting, Http

Side = Literal["buy", "sell"]


@dataclass(frozen=True)
class Ticket:
    """An order as it is sent, in the vendor's symbol. Of `qty` and `notional` exactly one is there."""

    client_order_id: str
    symbol: str
    side: Side
    type: str
    time_in_force: str
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool = False


@dataclass(frozen=True)
class Placed:
    """An order as the vendor has it. `status`: its word; `state`: ours for it, see `fin_infra.orders`."""

    vendor_id: str
    client_order_id: str
    status: str
    state: str
    symbol: str | None
    side: str | None
    type: str | None
    time_in_force: str | None
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    submitted_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True)
class MarketClock:
    """The vendor's time, and whether its market is open."""

    at: datetime
    is_open: bool
    next_open: datetime
    next_close: datetime


@dataclass(frozen=True)
class MarketDay:
    """One row of the vendor's calendar, in the exchange's wall time."""

    day: date
    opens: time
    closes: time


@dataclass(frozen=True)
class Means:
    """What an account can pay and deliver. `blocked`: why it may not trade at all, None if it may.

    `available`: units of the asked symbol that can be sold, without those that other orders hold.
    """

    buying_power: Decimal
    available: Decimal
    currency: str
    blocked: str | None = None


@dataclass(frozen=True)
class Listing:
    """Which orders to list, newest first. `status`: open, closed or all; both times exclusive, of submission."""

    status: Literal["open", "closed", "all"] = "open"
    after: datetime | None = None
    until: datetime | None = None
    symbols: Sequence[str] = ()


Verdict = Literal["refused", "duplicate", "unsent", "unknown"]
"""What an error says of the order it was the answer to: it was refused, the vendor had it already, it never became one
and may be sent again, or nobody knows."""


@dataclass(frozen=True)
class Ordering:
    """How orders are placed at a vendor.

    `place` is never repeated by what lies beneath. `find` looks an order up by our id, None only where the vendor says
    that it has none. `cancel` says False of an order that can no longer be. `symbol`: the vendor's spelling of an
    InstrumentKey that can be traded, `instrument` back. `always_open`: whether an instrument trades day and night.
    `live_hosts`: addresses at which orders cost real money. `verdict`: see `Verdict`.
    """

    place: Callable[[Acting, Ticket], Awaitable[Placed]]
    find: Callable[[Http, str], Awaitable[Placed | None]]
    show: Callable[[Http, str], Awaitable[Placed]]
    listed: Callable[[Http, Listing], AsyncIterator[Sequence[Placed]]]
    cancel: Callable[[Acting, str], Awaitable[bool]]
    clock: Callable[[Http], Awaitable[MarketClock]]
    calendar: Callable[[Http, date, date], Awaitable[Sequence[MarketDay]]]
    means: Callable[[Http, str], Awaitable[Means]]
    symbol: Callable[[str], str | None]
    instrument: Callable[[str], str | None]
    always_open: Callable[[str], bool]
    is_live: Callable[[Mapping[str, str]], bool]
    live_hosts: tuple[str, ...]
    verdict: Callable[[FinInfraError], Verdict]
    same_symbol: Callable[[str, str], bool] = lambda one, other: one == other
    mic: str = "XNYS"
