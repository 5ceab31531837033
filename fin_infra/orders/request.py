"""What is to be bought or sold, checked and exact, and the id that the caller's key stands for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from fin_infra.errors import UsageError
from fin_infra.providers.ordering import Side

Amount = str | int | Decimal

TYPES = ("market", "limit", "stop", "stop_limit")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")
FINEST = 9
"""Decimals that a broker takes of a quantity."""
MOST = Decimal("1e15")
PARAMETERS = (
    "instrument", "side", "qty", "notional", "type", "limit_price", "stop_price", "time_in_force", "extended_hours",
)  # fmt: skip
"""What makes an order that order: the same key with another of these is a mistake."""


@dataclass(frozen=True)
class OrderRequest:
    """An order as its caller means it; amounts exact, those not given None. Made by `requested`."""

    instrument: str
    side: Side
    qty: Decimal | None = None
    notional: Decimal | None = None
    type: str = "market"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str = "day"
    extended_hours: bool = False

    def parameters(self) -> dict[str, Any]:
        """As they are recorded: amounts as the shortest exact text."""
        values = {name: getattr(self, name) for name in PARAMETERS}
        return {name: exact(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def requested(
    instrument: str, side: str, *, qty: Amount | None = None, notional: Amount | None = None, type: str = "market",
    limit_price: Amount | None = None, stop_price: Amount | None = None, time_in_force: str | None = None,
    extended_hours: bool = False, always_open: bool = False,
) -> OrderRequest:  # fmt: skip
    """An order that makes sense. `instrument`: an InstrumentKey; `always_open`: one that trades day and night.

    `time_in_force`: default day, of what is always open gtc. Raises `UsageError` that says what is wrong; a float is
    refused, because it is not the number that was written.
    """
    amounts = {
        "qty": _amount("qty", qty), "notional": _amount("notional", notional),
        "limit_price": _amount("limit_price", limit_price), "stop_price": _amount("stop_price", stop_price),
    }  # fmt: skip
    force = time_in_force or ("gtc" if always_open else "day")
    if side not in ("buy", "sell"):
        raise UsageError(f"side is buy or sell, not {side!r}")
    _among("type", type, ("market", "limit", "stop_limit") if always_open else TYPES)
    _among("time_in_force", force, ("gtc", "ioc") if always_open else TIMES_IN_FORCE)
    if (amounts["qty"] is None) == (amounts["notional"] is None):
        raise UsageError("an order has either qty or notional: give one of them")
    for name, types in (("limit_price", ("limit", "stop_limit")), ("stop_price", ("stop", "stop_limit"))):
        if (amounts[name] is not None) != (type in types):
            raise UsageError(
                f"{name} goes with type {' and '.join(types)}, and only with {'them' if types[1:] else 'it'}"
            )
    if amounts["notional"] is not None and (type != "market" or force not in ("day", "gtc", "ioc")):
        raise UsageError("notional goes with market orders of the day only; give qty")
    if amounts["notional"] is not None and not always_open and force != "day":
        raise UsageError("notional goes with market orders of the day only; give qty")
    if force in ("opg", "cls") and type not in ("market", "limit"):
        raise UsageError(f"time_in_force {force} goes with type market and limit only")
    if extended_hours and (always_open or type != "limit" or force not in ("day", "gtc")):
        raise UsageError("extended_hours goes with limit orders of shares, day or gtc, only")
    return OrderRequest(
        instrument, "buy" if side == "buy" else "sell", type=type, time_in_force=force, extended_hours=extended_hours,
        **amounts,
    )  # fmt: skip


def _among(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} is one of {', '.join(known)} here, not {value!r}")


def _amount(name: str, given: Amount | None) -> Decimal | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
        raise UsageError(f"{name} is a {type(given).__name__}; give it as text or Decimal, which are exact")
    try:
        amount = Decimal(given)
    except InvalidOperation:
        raise UsageError(f"{name} {given!r} is no amount; write it like 12.5") from None
    if not amount.is_finite() or not 0 < amount < MOST:
        raise UsageError(f"{name} is {given}; it must be more than 0 and less than {MOST:f}")
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > FINEST:
        raise UsageError(f"{name} {given} is finer than {FINEST} decimals, which no broker takes")
    return Decimal(exact(amount))


def exact(amount: Decimal) -> str:
    """`1.50` → `1.5`, `1E+2` → `100`: the shortest text of this number."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def checked_key(key: str) -> str:
    """The caller's idempotency key. Raises `UsageError` for one that could not be told from another."""
    if not 1 <= len(key) <= 200 or not key.isprintable() or key != key.strip():
        raise UsageError("a key has 1 to 200 printable characters, without a space at its ends: it names one order")
    return key


def client_order_id(tenant_id: str, connection_id: str, key: str) -> str:
    """What the vendor knows the order by: the same for the same three, for ever, and of no other three.

    It must never change: an order whose record was lost is found again by it alone.
    """
    told = json.dumps([tenant_id, connection_id, key], ensure_ascii=True, separators=(",", ":"))
    return f"fi1-{hashlib.sha256(told.encode()).hexdigest()}"


def difference(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """In what two orders differ, for people; None where they are the same."""
    differing = [
        f"{name} {_shown(recorded[name])} then, {_shown(wanted[name])} now"
        for name in PARAMETERS
        if recorded[name] != wanted[name]
    ]
    return "; ".join(differing) or None


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
