"""Orders at Alpaca: placed once, found again by our own id, listed, cancelled; its clock, calendar and account.

Facts: https://docs.alpaca.markets/reference/postorder and the trading description 2.0.1. Alpaca refuses a second order
with a `client_order_id` it has seen (422, "client_order_id must be unique"); 500, 504 and silence say nothing of
whether there is an order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation

from pydantic import TypeAdapter

from fin_infra.errors import FinInfraError, OwnerActionError, TransientError, UsageError, WireError
from fin_infra.providers.alpaca import symbols
from fin_infra.providers.alpaca.wire import DUPLICATE, NO_SUCH_ORDER
from fin_infra.providers.base import Acting, Http, Wire, checked, exact_json
from fin_infra.providers.ordering import Listing, MarketClock, MarketDay, Means, Ordering, Placed, Ticket, Verdict

ORDERS_PAGE = 500
MOST_PAGES = 1_000
LEAST_STEP = timedelta(microseconds=1)
"""Alpaca's times are finer than ours: cut to microseconds one may lie before itself, never by more than this."""
STATES = {"filled": "filled", "canceled": "canceled", "expired": "expired", "rejected": "rejected",
          "replaced": "replaced"}  # fmt: skip
"""Alpaca's words of an order that will not change any more. `done_for_day`, `stopped`, `suspended`, … may go on."""
REFUSING = frozenset({400, 403, 404, 422})
"""Statuses that say for certain that there is no order of this request."""


class AlpacaOrder(Wire):
    """Of several legs neither symbol nor side is said of the whole."""

    id: str
    client_order_id: str
    status: str
    symbol: str | None = None
    side: str | None = None
    type: str | None = None
    time_in_force: str | None = None
    qty: str | None = None
    notional: str | None = None
    limit_price: str | None = None
    stop_price: str | None = None
    filled_qty: str | None = None
    filled_avg_price: str | None = None
    submitted_at: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class AlpacaClock(Wire):
    timestamp: str
    is_open: bool
    next_open: str
    next_close: str


class AlpacaDay(Wire):
    date: str
    open: str
    close: str


class AlpacaMeans(Wire):
    status: str
    currency: str
    buying_power: str
    non_marginable_buying_power: str | None = None
    trading_blocked: bool = False
    account_blocked: bool = False
    trade_suspended_by_user: bool = False


class AlpacaHolding(Wire):
    qty: str
    qty_available: str | None = None


ORDER, ORDERS = TypeAdapter(AlpacaOrder), TypeAdapter(list[AlpacaOrder])
CLOCK, DAYS = TypeAdapter(AlpacaClock), TypeAdapter(list[AlpacaDay])
MEANS, HOLDING = TypeAdapter(AlpacaMeans), TypeAdapter(AlpacaHolding)


# -- what is asked -----------------------------------------------------------------------------------------------------


async def place(http: Acting, ticket: Ticket) -> Placed:
    """Sends an order, once. Whoever calls must know what an error leaves open: see `verdict`."""
    reply = await http.send("POST", "/v2/orders", body_of(ticket), repeat=False)
    return order(reply.body)


def body_of(ticket: Ticket) -> dict[str, object]:
    """The order in Alpaca's words; amounts as exact text."""
    amounts = {
        "qty": ticket.qty, "notional": ticket.notional, "limit_price": ticket.limit_price,
        "stop_price": ticket.stop_price,
    }  # fmt: skip
    return {
        "symbol": ticket.symbol, "side": ticket.side, "type": ticket.type, "time_in_force": ticket.time_in_force,
        "client_order_id": ticket.client_order_id,
        **{name: format(amount, "f") for name, amount in amounts.items() if amount is not None},
        **({"extended_hours": True} if ticket.extended_hours else {}),
    }  # fmt: skip


async def find(http: Http, client_order_id: str) -> Placed | None:
    """The order with our id; None only where Alpaca itself says that it has none."""
    try:
        reply = await http.get("/v2/orders:by_client_order_id", {"client_order_id": client_order_id})
    except OwnerActionError as error:
        if error.code == "not_found" and str(error.context.get("word")).startswith(NO_SUCH_ORDER):
            return None
        raise
    found = order(reply.body)
    if found.client_order_id != client_order_id:
        raise WireError("alpaca answered with another order than the one that was asked for", evidence=reply.body)
    return found


async def show(http: Http, vendor_id: str) -> Placed:
    reply = await http.get(f"/v2/orders/{vendor_id}")
    return order(reply.body)


async def listed(http: Http, listing: Listing) -> AsyncIterator[Sequence[Placed]]:
    """Orders newest first, a page at a time, each once.

    There is no token: the next page is asked for by the time of the last row, that instant included again, because
    several orders may have been submitted in it.
    """
    until, seen = listing.until, set[str]()
    for _ in range(MOST_PAGES):
        params = {"status": listing.status, "limit": str(ORDERS_PAGE), "direction": "desc"}
        params |= {"after": _moment_text(listing.after)} if listing.after else {}
        params |= {"until": _moment_text(until)} if until else {}
        params |= {"symbols": ",".join(listing.symbols)} if listing.symbols else {}
        reply = await http.get("/v2/orders", params)
        page = orders(reply.body)
        new = [found for found in page if found.vendor_id not in seen]
        seen |= {found.vendor_id for found in new}
        yield new
        if len(page) < ORDERS_PAGE:
            return
        oldest = page[-1].submitted_at
        if oldest is None or not new:
            raise WireError("a full page of orders that does not lead on: older ones cannot be asked for",
                            evidence=reply.body)  # fmt: skip
        until = oldest + 2 * LEAST_STEP
    raise TransientError(f"more than {MOST_PAGES} pages of orders without an end", code="mutation_during_pagination")


async def cancel(http: Acting, vendor_id: str) -> bool:
    """Asks for the order to be cancelled; False where it no longer can be. Asking twice is as good as once."""
    try:
        await http.send("DELETE", f"/v2/orders/{vendor_id}")
    except FinInfraError as error:
        if error.context.get("status") == 422:
            return False
        raise
    return True


async def clock(http: Http) -> MarketClock:
    reply = await http.get("/v2/clock")
    said = checked(CLOCK, exact_json(reply.body), reply.body)
    at, opens, closes = (
        _moment(text, reply.body) for text in (said.timestamp, said.next_open, said.next_close)
    )  # fmt: skip
    return MarketClock(at, said.is_open, opens, closes)


async def calendar(http: Http, first: date, last: date) -> Sequence[MarketDay]:
    reply = await http.get("/v2/calendar", {"start": first.isoformat(), "end": last.isoformat()})
    rows = checked(DAYS, exact_json(reply.body), reply.body)
    try:
        return [
            MarketDay(date.fromisoformat(row.date), time.fromisoformat(row.open), time.fromisoformat(row.close))
            for row in rows
        ]
    except ValueError:
        raise WireError(
            "an answer without its documented shape: no date and time of day", evidence=reply.body
        ) from None


async def means(http: Http, symbol: str) -> Means:
    """What the account can pay, and how much of the symbol it can sell. A coin is not bought on margin."""
    reply = await http.get("/v2/account")
    said = checked(MEANS, exact_json(reply.body), reply.body)
    power = said.buying_power
    if "/" in symbol and said.non_marginable_buying_power is not None:
        power = said.non_marginable_buying_power
    reasons = {
        f"the account is {said.status.lower()}": said.status != "ACTIVE",
        "trading is blocked": said.trading_blocked or said.account_blocked,
        "its owner suspended trading": said.trade_suspended_by_user,
    }
    return Means(
        _stated(power, reply.body), await _available(http, symbol), said.currency,
        next((reason for reason, holds in reasons.items() if holds), None),
    )  # fmt: skip


async def _available(http: Http, symbol: str) -> Decimal:
    try:
        reply = await http.get(f"/v2/positions/{symbol.replace('/', '')}")
    except OwnerActionError as error:
        if error.code == "not_found":
            return Decimal(0)
        raise
    held = checked(HOLDING, exact_json(reply.body), reply.body)
    return _stated(held.qty if held.qty_available is None else held.qty_available, reply.body)


# -- what is answered --------------------------------------------------------------------------------------------------


def order(body: bytes) -> Placed:
    """`POST /v2/orders`, `GET /v2/orders/{id}` and by our id."""
    return _placed(checked(ORDER, exact_json(body), body), body)


def orders(body: bytes) -> list[Placed]:
    """`GET /v2/orders`."""
    return [_placed(row, body) for row in checked(ORDERS, exact_json(body), body)]


def _placed(row: AlpacaOrder, body: bytes) -> Placed:
    def amount(text: str | None) -> Decimal | None:
        return _amount(text, body)

    submitted, updated = row.submitted_at or row.created_at, row.updated_at
    return Placed(
        row.id, row.client_order_id, row.status, STATES.get(row.status, "accepted"), row.symbol or None,
        row.side or None, row.type, row.time_in_force, amount(row.qty), amount(row.notional), amount(row.limit_price),
        amount(row.stop_price), amount(row.filled_qty) or Decimal(0), amount(row.filled_avg_price),
        _moment(submitted, body) if submitted else None, _moment(updated, body) if updated else None,
    )  # fmt: skip


def _stated(text: str | None, body: bytes) -> Decimal:
    """An amount that must be there: what is not said is no zero."""
    amount = _amount(text, body)
    if amount is None:
        raise WireError("an answer without its documented shape: an amount is blank", evidence=body)
    return amount


def _amount(text: str | None, body: bytes) -> Decimal | None:
    if text is None or not text.strip():
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount.adjusted()) > 38:
        raise WireError("an answer without its documented shape: an amount that is no number", evidence=body)
    return amount


def _moment(text: str, body: bytes) -> datetime:
    """With nanoseconds and an offset, as Alpaca writes them; cut to microseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WireError("an answer without its documented shape: a time without its zone", evidence=body)
    return moment.astimezone(UTC)


def _moment_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def verdict(error: FinInfraError) -> Verdict:
    """What the answer to `place` says of the order. What is not known to be a refusal is unknown."""
    status = error.context.get("status")
    if status in REFUSING:
        return "duplicate" if DUPLICATE in str(error.context.get("word")) else "refused"
    if status in (401, 429):
        return "unsent"
    never_left = status is None and "sent" not in error.context and isinstance(error, TransientError | UsageError)
    return "unsent" if never_left else "unknown"


# -- the declaration ---------------------------------------------------------------------------------------------------


def traded(instrument: str) -> str | None:
    """The symbol an order names: shares, funds and coins. Options have rules of their own and are not placed."""
    return symbols.to_alpaca(instrument) if instrument.startswith(("us:", "crypto:")) else None


def _is_live(secrets: Mapping[str, str]) -> bool:
    return secrets.get("environment") == "live"


def _same_symbol(one: str, other: str) -> bool:
    """`BTC/USD` is `BTCUSD` in older answers."""
    return one.replace("/", "") == other.replace("/", "")


ORDERING = Ordering(
    place=place,
    find=find,
    show=show,
    listed=listed,
    cancel=cancel,
    clock=clock,
    calendar=calendar,
    means=means,
    symbol=traded,
    instrument=symbols.from_alpaca,
    always_open=lambda instrument: instrument.startswith("crypto:"),
    is_live=_is_live,
    live_hosts=("api.alpaca.markets",),
    verdict=verdict,
    same_symbol=_same_symbol,
)
