"""Orders are placed once: recorded before they are sent, looked up before they are sent again.

Each order goes through these steps, each committed by compare-and-set before the next begins:

    intended ──▶ sent ──▶ accepted ──▶ filled, canceled, expired, rejected, replaced
       ▲          │ ├───▶ rejected
       └──────────┴─┴───▶ unknown ──▶ accepted, or intended once the vendor says that it never came

An order that is `intended` is not on its way: it may be sent. One that is `sent` or `unknown` may be: it is looked up
by the id made of its key, and sent again only when the vendor says that it has none, and so much time passed since
that what was in flight cannot arrive any more. Should it arrive nevertheless, the vendor refuses one of the two,
because both have the same id.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal, Protocol
from urllib.parse import urlsplit

from fin_infra.connections import Connection, Connections
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.errors import FinInfraError, LaterError, NotReady, OwnerActionError, UsageError, WireError
from fin_infra.orders import calendar, checks
from fin_infra.orders.books import FINAL, OPEN, Order, OrderBooks, Step
from fin_infra.orders.request import (
    Amount,
    OrderRequest,
    checked_key,
    client_order_id,
    difference,
    requested,
)
from fin_infra.providers import declared
from fin_infra.providers.base import Acting, Provider
from fin_infra.providers.ordering import Listing, MarketClock, Ordering, Placed, Ticket
from fin_infra.settings import Settings
from fin_infra.store import Store
from fin_infra.store.base import Now

log = logging.getLogger("fin_infra.orders")

PATIENCE = 5.0
"""Seconds that the second of two who submit one order at once waits for what becomes of the first."""
LOOKS = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0)
"""The waits between its looks; together PATIENCE."""
SLACK = timedelta(seconds=60)
"""What may pass between the record that an order is sent and the end of its call, beside the call's own time."""

Transporting = Callable[[Provider, Connection, Mapping[str, str], str], Acting]
Stage = Literal["admitted", "intended", "sent", "answered", "recorded"]


class Counting(Acting, Protocol):
    """A transport that counts its calls: whether one was made tells whether anything left."""

    @property
    def calls(self) -> int: ...


@dataclass(frozen=True)
class Submitted:
    """What became of a submission. `replayed`: the order was there before, nothing was sent now."""

    order: Order
    replayed: bool


@dataclass(frozen=True)
class Listed:
    """An order as the vendor has it; `key`: ours, None of one that was not placed here."""

    placed: Placed
    key: str | None


@dataclass(frozen=True)
class Desk:
    """A connection with what placing orders there needs."""

    connection: Connection
    provider: Provider
    ordering: Ordering
    http: Acting
    live: bool


class Orders:
    """Places, lists and cancels orders of connections whose vendor takes some.

    `transport` gives the way to the vendor; `on_stage` is told each step once it is done, before the next begins.
    """

    def __init__(
        self, store: Store, connections: Connections, transport: Transporting, settings: Settings, *, now: Now,
        sleep: Callable[[float], Awaitable[None]], on_stage: Callable[[Stage, str], None] = lambda stage, key: None,
        base_urls: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.books = OrderBooks(store, now)
        self._store = store
        self._connections = connections
        self._transport = transport
        self._settings = settings
        self._now = now
        self._sleep = sleep
        self._on_stage = on_stage
        self._base_urls = base_urls or {}
        told = timedelta(seconds=settings.orders_settle_seconds)
        self.settles = max(told, timedelta(seconds=settings.http_timeout) + SLACK)
        """So long after it was sent an order may still arrive."""

    # -- submit --------------------------------------------------------------------------------------------------------

    async def submit(
        self, connection_id: str, key: str, instrument: str, side: str, *, qty: Amount | None = None,
        notional: Amount | None = None, type: str = "market", limit_price: Amount | None = None,
        stop_price: Amount | None = None, time_in_force: str | None = None, extended_hours: bool = False,
        queue: bool = False,
    ) -> Submitted:  # fmt: skip
        """Places an order, once for its key however often this is called, by how many processes and after what crash.

        The same key with the same order gives the recorded one and sends nothing. `instrument`: an InstrumentKey or
        the vendor's symbol. `queue`: it may wait for the market to open. Raises `UsageError` for an order that must
        not be sent, with the reason; `NotReady` while nobody knows what became of it: the same call later goes on; and
        what the vendor's transport raises where it was certainly not placed.
        """
        desk = self._desk(connection_id)
        key = checked_key(key)
        found = self._instrument(desk, instrument)
        request = requested(
            found, side, qty=qty, notional=notional, type=type, limit_price=limit_price, stop_price=stop_price,
            time_in_force=time_in_force, extended_hours=extended_hours, always_open=desk.ordering.always_open(found),
        )  # fmt: skip
        known = self.books.get(connection_id, key)
        while True:
            if known is not None:
                self._same(desk, known, request)
                if known.state in OPEN:
                    known = await self._awaited(desk, known)
                if known.state != "intended":
                    return Submitted(known, replayed=True)
            await self._admit(desk, request, queue=queue)
            self._on_stage("admitted", key)
            if known is None:
                known = self.books.intend(
                    self._ticket(desk, key, request), tenant=desk.connection.tenant_id, connection=connection_id,
                    key=key, instrument=found, live=desk.live,
                )  # fmt: skip
                self._same(desk, known, request)
                self._on_stage("intended", key)
            if known.state == "intended":
                sent = self.books.move(known, "sent", attempts=known.attempts + 1, sent_at=self._now())
                if sent is not None:  # ours to send, and nobody else's
                    self._on_stage("sent", key)
                    return Submitted(await self._send(desk, sent), replayed=False)
            known = self.books.get(connection_id, key)

    def _same(self, desk: Desk, known: Order, request: OrderRequest) -> None:
        """Raises `UsageError` where the key stands for another order."""
        differs = difference(known.parameters(), request.parameters())
        if differs is not None:
            raise UsageError(
                f"the key {known.key!r} stands for another order ({differs}); another order needs another key"
            )
        if known.live != desk.live:
            was, now = ("live", "on paper") if known.live else ("on paper", "live")
            raise UsageError(
                f"the order {known.key!r} was placed {was} and the connection is {now} now; take another key"
            )

    async def _admit(self, desk: Desk, request: OrderRequest, *, queue: bool) -> None:
        """All that must hold at this moment, what costs nothing first. Raises `UsageError`; nothing is recorded."""
        limits = checks.limits_of(self._settings, live=desk.live)
        checks.check_symbol(request, limits)
        price = self._price(request.instrument)
        value = checks.check_limits(request, limits, price)
        clock = await self._clock(desk)
        if not desk.ordering.always_open(request.instrument):
            checks.check_open(request, clock, queue=queue)
        symbol = desk.ordering.symbol(request.instrument) or ""
        checks.check_means(request, value, price, await desk.ordering.means(desk.http, symbol))

    async def _clock(self, desk: Desk) -> MarketClock:
        before = self._now()
        clock = await desk.ordering.clock(desk.http)
        checks.check_clock(clock, before, self._now(), timedelta(seconds=self._settings.orders_max_skew))
        return clock

    async def _send(self, desk: Desk, order: Order) -> Order:
        """The one call of this attempt, and what is known after it."""
        calls = _calls(desk.http)
        try:
            placed = await desk.ordering.place(desk.http, order.ticket)
        except FinInfraError as error:
            self._on_stage("answered", order.key)
            left = _calls(desk.http) != calls
            verdict = desk.ordering.verdict(error) if left else "unsent"
            if verdict == "unsent":
                return await self._not_sent(desk, order, error)
            return await self._looked_up(desk, order, error, refused=verdict == "refused")
        self._on_stage("answered", order.key)
        return self._accepted(order, placed)

    async def _not_sent(self, desk: Desk, order: Order, error: FinInfraError) -> Order:
        """It certainly did not become an order. Raises the error; the same call may be made again."""
        moved = self.books.move(order, "intended", error.message)
        self._on_stage("recorded", order.key)
        if isinstance(error, OwnerActionError) and error.code == "auth_invalid":
            self._connections.refused(desk.connection, error.message)
        if moved is None:  # somebody who waited long enough went on with it
            again = self._again(order)
            if again.vendor_id is not None:
                return again
        raise error

    async def _looked_up(self, desk: Desk, order: Order, error: FinInfraError, *, refused: bool) -> Order:
        """What the vendor has under the order's id, after an answer that is not the order itself.

        A refusal is looked up too: that an earlier attempt arrived after all may be the very reason for it.
        """
        try:
            found = await desk.ordering.find(desk.http, order.client_order_id)
        except FinInfraError:
            if refused and order.attempts == 1:
                return self._rejected(order, error)
            found = None
            refused = False
        if found is not None:
            return self._accepted(order, found)
        if refused:
            return self._rejected(order, error)
        moved = self.books.move(order, "unknown", error.message)
        self._on_stage("recorded", order.key)
        if moved is None and (again := self._again(order)).state not in OPEN:
            return again
        raise self._unknown(order) from error

    def _accepted(self, order: Order, placed: Placed) -> Order:
        """The record of the vendor's order. Raises `WireError` where it is not the one that was sent."""
        if (differs := _differing(order, placed, self._ordering(order).same_symbol)) is not None:
            self.books.move(order, "unknown", f"the vendor has another order under its id: {differs}")
            raise WireError(
                f"the vendor has an order under the id of {order.key!r} that is not it: {differs}; look at it there"
            )
        taken = self.books.take(order, placed)
        self._on_stage("recorded", order.key)
        return taken

    def _rejected(self, order: Order, error: FinInfraError) -> Order:
        moved = self.books.move(order, "rejected", error.message)
        self._on_stage("recorded", order.key)
        return moved or self._again(order)

    def _unknown(self, order: Order) -> NotReady:
        wait = max(1.0, (self._settled_at(order) - self._now()).total_seconds())
        return NotReady(
            f"nobody knows yet whether the order {order.key!r} was placed; it is not sent again before that is known: "
            f"submit it with the same key, or run fin-infra orders settle, in {wait:.0f} s",
            retry_after=wait,
        )

    async def _awaited(self, desk: Desk, order: Order) -> Order:
        """An order on its way, once it arrived or certainly did not; who sends it may be another process.

        Raises `NotReady` where that stays unknown for longer than one waits.
        """
        for wait in (*LOOKS, None):
            order = await self._settled(desk, order)
            if order.state not in OPEN:
                return order
            if wait is None or order.state == "unknown":
                break
            await self._sleep(wait)
            order = self._again(order)
            if order.state not in OPEN:
                return order
        raise self._unknown(order)

    async def _settled(self, desk: Desk, order: Order) -> Order:
        """An order on its way, looked up: accepted, or intended again once nothing of it can arrive, or as it was."""
        late = self._now() >= self._settled_at(order)  # before the question: the answer may be slow
        found = await desk.ordering.find(desk.http, order.client_order_id)
        if found is not None:
            return self._accepted(order, found)
        if not late:
            return order
        gone = (
            f"not placed: {desk.provider.name} has no such order {self.settles.total_seconds():.0f} s after it was sent"
        )
        return self.books.move(order, "intended", gone) or self._again(order)

    def _settled_at(self, order: Order) -> datetime:
        return (order.sent_at or order.updated_at) + self.settles

    # -- what became of them -------------------------------------------------------------------------------------------

    async def settle_unknown(self, connection_id: str | None = None) -> list[Order]:
        """Looks up every order of which nobody knows whether it was placed; none is sent. What became of them.

        Those that the vendor has are accepted; those that it has not, and cannot get any more, are intended again: the
        same submission sends them. What cannot be asked stays as it is.
        """
        found = []
        for order in self.books.all(connection=connection_id, states=OPEN):
            try:
                found.append(await self._settled(self._desk(order.connection_id, acting=False), order))
            except FinInfraError as error:
                log.warning("order %s of %s: %s", order.key, order.connection_id, error.message)
                found.append(self._again(order))
        return found

    async def show(self, connection_id: str, key: str) -> tuple[Order, list[Step]]:
        """An order with the vendor's newest word of it, and its steps. Raises `UsageError` where there is none."""
        order = self._known(connection_id, key)
        desk = self._desk(connection_id, acting=False)
        if order.state in OPEN:
            order = await self._settled(desk, order)
        elif order.vendor_id is None and order.attempts:
            found = await desk.ordering.find(desk.http, order.client_order_id)
            order = order if found is None else self._accepted(order, found)
        elif order.vendor_id is not None and order.state not in FINAL:
            order = self.books.take(order, await desk.ordering.show(desk.http, order.vendor_id))
        return order, self.books.steps(order)

    async def listed(
        self, connection_id: str, *, status: Literal["open", "closed", "all"] = "open",
        after: datetime | None = None, until: datetime | None = None, instruments: Sequence[str] = (),
    ) -> AsyncIterator[Listed]:  # fmt: skip
        """The vendor's orders, newest first: all of the account's, whoever placed them. Those of ours are recorded."""
        desk = self._desk(connection_id, acting=False)
        symbols = [desk.ordering.symbol(self._instrument(desk, one)) or "" for one in instruments]
        async for page in desk.ordering.listed(desk.http, Listing(status, after, until, symbols)):
            for placed in page:
                ours = self.books.by_client_order_id(placed.client_order_id)
                if ours is not None and ours.connection_id == connection_id:
                    self.books.take(ours, placed)
                    yield Listed(placed, ours.key)
                else:
                    yield Listed(placed, None)

    async def cancel(self, connection_id: str, key: str) -> Order:
        """Asks for an order to be cancelled; of one that is cancelled already it is the record. An order that was not
        sent is not sent any more.

        Raises `UsageError` for one that was executed or ended otherwise, `NotReady` while nobody knows whether the
        vendor has it.
        """
        order = self._known(connection_id, key)
        desk = self._desk(connection_id)
        while True:
            if order.state in OPEN:
                order = await self._awaited(desk, order)
            elif order.vendor_id is None and order.attempts:
                found = await desk.ordering.find(desk.http, order.client_order_id)
                order = order if found is None else self._accepted(order, found)
            if order.state == "canceled":
                return order
            if order.state in FINAL:
                raise UsageError(f"the order {key!r} is {order.state} and can no longer be cancelled")
            if order.vendor_id is not None:
                break
            if (moved := self.books.move(order, "canceled", "cancelled before it was sent")) is not None:
                return moved
            order = self._again(order)
        done = await desk.ordering.cancel(desk.http, order.vendor_id)
        order = self.books.take(order, await desk.ordering.show(desk.http, order.vendor_id))
        if not done and order.state != "canceled":
            raise UsageError(
                f"{desk.provider.name} does not cancel the order {key!r}, which is {order.vendor_status} there"
            )
        return order

    # -- the vendor's time ---------------------------------------------------------------------------------------------

    async def clock(self, connection_id: str) -> MarketClock:
        """The vendor's clock. Raises `UsageError` when ours is too far off for orders."""
        return await self._clock(self._desk(connection_id, acting=False))

    async def check_calendar(self, connection_id: str, sessions: int = 20) -> list[str]:
        """A sentence for each of the next sessions on which the vendor's calendar is not ours; each is an open finding
        `calendar_disagrees` until they agree."""
        desk = self._desk(connection_id, acting=False)
        ours = calendar.our_days(desk.ordering.mic, self._now(), sessions)
        theirs = await desk.ordering.calendar(desk.http, ours[0].day, ours[-1].day)
        found = calendar.disagreements(ours, theirs)
        calendar.keep(self._store, desk.connection, found, self._now())
        return found

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _desk(self, connection_id: str, *, acting: bool = True) -> Desk:
        """Raises `UsageError` where no order may be placed, or, without `acting`, none could be asked for."""
        connection = self._connections.get(connection_id)
        provider = declared(connection.provider)
        if provider.ordering is None:
            raise UsageError(f"{provider.name} takes no orders; a brokerage connection does, like brokerage:alpaca")
        if acting and connection.state != "active":
            raise UsageError(f"{connection_id} is {connection.state}: {connection.reason or 'enable it first'}")
        secrets = self._connections.secrets(connection)
        live = self._live(provider, provider.ordering, secrets)
        variable = self._settings.vendor(provider.name).variable("live_orders")
        if acting and live and self._settings.environment.get(variable, "").strip() != "1":
            raise UsageError(
                f"{connection_id} is a live account, whose orders cost real money; set {variable}=1 if that is meant, "
                "or link a paper account"
            )
        http = self._transport(provider, connection, secrets, "interactive")
        return Desk(connection, provider, provider.ordering, http, live)

    def _live(self, provider: Provider, ordering: Ordering, secrets: Mapping[str, str]) -> bool:
        """By the credential, and by the address that is really asked, whatever the credential says of itself."""
        vendor = self._settings.vendor(provider.name)
        home = provider.home(secrets)
        told = self._base_urls.get(f"{provider.name}.{home}") or self._base_urls.get(provider.name)
        address = told or vendor.base_url_of(home) or vendor.base_url or provider.address(home)
        return ordering.is_live(secrets) or (urlsplit(address).hostname or "").lower() in ordering.live_hosts

    def _ordering(self, order: Order) -> Ordering:
        found = declared(self._connections.get(order.connection_id).provider).ordering
        assert found is not None, "an order is of a vendor that takes some"
        return found

    def _instrument(self, desk: Desk, instrument: str) -> str:
        found = instrument if ":" in instrument else desk.ordering.instrument(instrument)
        if found is None or desk.ordering.symbol(found) is None:
            raise UsageError(
                f"{instrument!r} cannot be traded at {desk.provider.name}; write an InstrumentKey like us:SPY or "
                "crypto:bitcoin"
            )
        return found

    def _ticket(self, desk: Desk, key: str, request: OrderRequest) -> Ticket:
        connection = desk.connection
        return Ticket(
            client_order_id(connection.tenant_id, connection.connection_id, key),
            desk.ordering.symbol(request.instrument) or "", request.side, request.type, request.time_in_force,
            request.qty, request.notional, request.limit_price, request.stop_price, request.extended_hours,
        )  # fmt: skip

    def _known(self, connection_id: str, key: str) -> Order:
        self._connections.get(connection_id)
        order = self.books.get(connection_id, key)
        if order is None:
            raise UsageError(f"no order {key!r} of {connection_id}; fin-infra orders ls shows them")
        return order

    def _again(self, order: Order) -> Order:
        return self._known(order.connection_id, order.key)

    def _price(self, instrument: str) -> checks.Price | None:
        """The newest price in US dollars that is held, not too old."""
        now = self._now()
        found = []
        for row in self._store.records(Quotes, {"instrument": instrument, "currency": "USD"}):
            if row["quoted_at"] is not None:
                found.append((row["quoted_at"], row["price"]))
        since = (now - checks.PRICE_AGE).date()
        for row in self._store.records(Prices, {"instrument": instrument, "session": (">=", since.isoformat())}):
            if row["currency"] == "USD" and row["basis"] == "raw":
                found.append((row["session"], row["close"]))
        return _newest(found, now)


def _newest(found: Sequence[tuple[object, object]], now: datetime) -> checks.Price | None:
    from decimal import Decimal

    prices = []
    for at, amount in found:
        moment = at if isinstance(at, datetime) else datetime.combine(_day(at), time(), UTC) + timedelta(days=1)
        if now - checks.PRICE_AGE <= moment <= now + timedelta(days=1) and Decimal(str(amount)) > 0:
            prices.append(checks.Price(Decimal(str(amount)), min(moment, now)))
    return max(prices, key=lambda price: price.at, default=None)


def _day(value: object) -> datetime:
    return datetime.fromisoformat(str(value))


def _calls(http: Acting) -> int | None:
    """How many calls were made so far; None of a transport that does not say."""
    calls: int | None = getattr(http, "calls", None)
    return calls


def _differing(order: Order, placed: Placed, same_symbol: Callable[[str, str], bool]) -> str | None:
    """In what the vendor's order is not ours. What it does not say does not differ."""
    told = {
        "symbol": placed.symbol is not None and not same_symbol(placed.symbol, order.symbol),
        "side": placed.side is not None and placed.side != order.side,
        "type": placed.type is not None and placed.type != order.type,
        "qty": order.qty is not None and placed.qty is not None and placed.qty != order.qty,
        "notional": order.notional is not None and placed.notional is not None and placed.notional != order.notional,
    }
    return ", ".join(name for name, differs in told.items() if differs) or None


__all__ = ["Desk", "LaterError", "Listed", "Orders", "Submitted"]
