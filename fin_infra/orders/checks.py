"""What must hold before an order leaves: limits, means, clock. Pure: figures in, a sentence or nothing out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, localcontext

from fin_infra.errors import UsageError
from fin_infra.orders.request import OrderRequest, exact
from fin_infra.providers.ordering import MarketClock, Means
from fin_infra.settings import Settings

EXACT = Context(prec=76)
"""Products of two amounts are whole."""
PAPER_NOTIONAL, PAPER_QTY = Decimal(10_000), Decimal(1_000)
"""What one order on paper may be where nothing is set: enough to try, too little to get used to."""
PRICE_AGE = timedelta(days=5)
"""A price older than this says nothing of what an order is worth: no close is older, over a long weekend."""
MAX_NOTIONAL, MAX_QTY, SYMBOLS = "FIN_INFRA_ORDERS_MAX_NOTIONAL", "FIN_INFRA_ORDERS_MAX_QTY", "FIN_INFRA_ORDERS_SYMBOLS"


@dataclass(frozen=True)
class Limits:
    """`symbols`: the InstrumentKeys that may be traded, None: all."""

    max_notional: Decimal
    max_qty: Decimal
    symbols: Collection[str] | None


@dataclass(frozen=True)
class Price:
    """The newest price held of an instrument, and when it was one."""

    amount: Decimal
    at: datetime | date


def limits_of(settings: Settings, *, live: bool) -> Limits:
    """The limits in force. Live has none of its own: raises `UsageError` naming what is not set."""
    symbols = settings.tradable or None
    if not live:
        return Limits(settings.orders_max_notional or PAPER_NOTIONAL, settings.orders_max_qty or PAPER_QTY, symbols)
    told = {MAX_NOTIONAL: settings.orders_max_notional, MAX_QTY: settings.orders_max_qty, SYMBOLS: symbols}
    missing = [name for name, value in told.items() if value is None]
    if missing or settings.orders_max_notional is None or settings.orders_max_qty is None:
        raise UsageError(f"orders with real money need limits: set {', '.join(missing)}")
    return Limits(settings.orders_max_notional, settings.orders_max_qty, symbols)


def check_symbol(request: OrderRequest, limits: Limits) -> None:
    if limits.symbols is not None and request.instrument not in limits.symbols:
        raise UsageError(f"{request.instrument} is not among the instruments that may be traded; {SYMBOLS} lists them")


def worth(request: OrderRequest, price: Price | None) -> Decimal:
    """What the order may come to, at most as far as can be known, exactly.

    A limit bounds what is paid; it does not bound what is got, so a sale counts at the price held where that is higher.
    Raises `UsageError` where no price says it.
    """
    with localcontext(EXACT):
        if request.notional is not None:
            return request.notional
        assert request.qty is not None, "an order has qty or notional"
        bound = request.limit_price
        if bound is None and price is None:
            raise UsageError(_no_price(request))
        if bound is None or request.side == "sell":
            known = (bound, request.stop_price, None if price is None else price.amount)
            bound = max(amount for amount in known if amount is not None)
        return request.qty * bound


def check_limits(request: OrderRequest, limits: Limits, price: Price | None) -> Decimal:
    """Within the limits, or `UsageError`. What the order may be worth."""
    check_symbol(request, limits)
    value = worth(request, price)
    if value > limits.max_notional:
        raise UsageError(
            f"the order is worth {exact(value)}, more than the {exact(limits.max_notional)} that {MAX_NOTIONAL} permits"
        )
    with localcontext(EXACT):
        if request.qty is not None:
            units, more = request.qty, request.qty > limits.max_qty
        elif price is None:
            raise UsageError(_no_price(request))
        else:  # multiplied, not divided: a quotient would be rounded
            units, more = value / price.amount, value > limits.max_qty * price.amount
    if more:
        raise UsageError(f"{units:.9g} units are more than the {exact(limits.max_qty)} that {MAX_QTY} permits")
    return value


def _no_price(request: OrderRequest) -> str:
    return (
        f"what the order is worth cannot be told: no price of {request.instrument} of the last {PRICE_AGE.days} days "
        "is held; sync quotes or prices first, or give a limit_price"
    )


def check_means(request: OrderRequest, value: Decimal, price: Price | None, means: Means) -> None:
    """The account can pay a purchase and has what is sold, or `UsageError`. Nothing is sold short."""
    if means.blocked is not None:
        raise UsageError(f"the broker takes no orders of this account: {means.blocked}")
    if means.currency != "USD":
        raise UsageError(f"the account is in {means.currency}; orders are checked in USD only and none is sent")
    if request.side == "buy":
        if value > means.buying_power:
            raise UsageError(
                f"the order is worth {exact(value)}, more than the buying power of {exact(means.buying_power)}"
            )
        return
    with localcontext(EXACT):
        if request.qty is not None:
            enough = request.qty <= means.available
        else:
            enough = price is not None and value <= means.available * price.amount
    if not enough:
        raise UsageError(
            f"{exact(means.available)} of {request.instrument} can be sold, less than the order says; "
            "nothing is sold that is not held"
        )


def check_clock(clock: MarketClock, before: datetime, after: datetime, most: timedelta) -> None:
    """The vendor's time lies between when we asked and when we knew, or near to it; else `UsageError`."""
    off = max(before - clock.at, clock.at - after, timedelta())
    if off > most:
        raise UsageError(
            f"our clock and the broker's differ by {off.total_seconds():.0f} s, more than the "
            f"{most.total_seconds():g} s that FIN_INFRA_ORDERS_MAX_SKEW permits; set the clock of this machine"
        )


def check_open(request: OrderRequest, clock: MarketClock, *, queue: bool) -> None:
    """Open, or the order says itself that it is for later; else `UsageError`.

    What was meant for now must not wait for a morning whose prices nobody knows: gtc, opg and cls say that they may
    wait, extended_hours that it is for the hours around; day, ioc and fok only with `queue`.
    """
    waits = request.time_in_force in ("gtc", "opg", "cls") or request.extended_hours
    if not (clock.is_open or waits or queue):
        raise UsageError(
            f"the market is closed until {clock.next_open:%Y-%m-%d %H:%M} UTC and a {request.time_in_force} order "
            "would wait; say so with queue (--queue), or with time_in_force gtc, opg or cls"
        )
