"""Keys ↔ spellings of vendors and conventions, always checked both ways."""

from __future__ import annotations

import difflib
import importlib
from functools import cache

from fin_infra.errors import UsageError
from fin_infra.instruments.key import InstrumentKey, as_key
from fin_infra.instruments.notation import Context, Notation, unknown
from fin_infra.instruments.notations import NOTATIONS
from fin_infra.instruments.venues import US_MICS, Quote, quote_of, quoted_in

VENDORS = ("alpaca", "alphavantage", "coingecko", "kraken", "plaid", "snaptrade", "yahoo")
"""Vendors whose spelling is told by the `symbols` module of their folder."""
KINDS = {
    "us": "equity", "opt": "option", "fut": "future", "mf": "fund", "idx": "index", "fx": "fx", "cash": "cash",
    "crypto": "crypto", "caip19": "crypto",
}  # fmt: skip
SURE = ("option", "future", "index", "fx", "cash", "crypto")
"""Kinds that a namespace tells for sure; a listing may be a share, a fund or a bond."""


def spellings() -> list[str]:
    """All that `to_vendor` and `from_vendor` know, in order."""
    return sorted([*VENDORS, *NOTATIONS])


def to_vendor(key: InstrumentKey | str, vendor: str) -> str:
    """The vendor's spelling of a key: `us:BRK.B` → `BRK-B` at yahoo.

    It leads back to the same key: where a spelling would be read as something else there is an error in its place.
    Raises `UsageError` for what is no key or no vendor, `OwnerActionError` (unknown_symbol) when there is no spelling.
    """
    key, notation = as_key(key), _notation(vendor)
    symbol = key.symbol if key.namespace == vendor and key.is_local else notation.to(key)
    if symbol is None:
        raise unknown(f"{vendor} has no spelling of {key} that we know; say one by: fin-infra instruments alias")
    if not _leads_back(notation, vendor, symbol, key):
        raise unknown(f"{vendor} would take {symbol!r}, the spelling of {key}, for something else; no symbol is safe")
    return symbol


def from_vendor(vendor: str, symbol: str, **context: str | None) -> InstrumentKey:
    """The key of a vendor's spelling: `BRK-B` of yahoo → `us:BRK.B`.

    `context`: what the vendor says beside it, `mic=`, `kind=`, `currency=`: it decides where the spelling alone does
    not, and what contradicts it is an error. Raises as `to_vendor` does.
    """
    key = find(vendor, symbol, **context)
    if key is None:
        raise unknown(
            f"{vendor} symbol {symbol!r} is no instrument that we know, or may be several; "
            f"say more by context (mic, kind), or once and for all by: fin-infra instruments alias"
        )
    return key


def find(vendor: str, symbol: str, **context: str | None) -> InstrumentKey | None:
    """The same; None where it cannot be told. What contradicts its context is still an error."""
    notation, said = _notation(vendor), _context(context)
    if not isinstance(symbol, str):
        raise UsageError(f"{vendor} symbol {symbol!r} is a {type(symbol).__name__}; symbols are text: quote it")
    if (text := notation.back(symbol, said)) is None:
        return None
    key = InstrumentKey.parse(text)
    _agrees(vendor, symbol, key, said)
    again = notation.to(key)
    if again is not None and not _leads_back(notation, vendor, again, key) and notation.back(again, said) != text:
        return None
    return key


def quote_at(
    key: InstrumentKey | str, vendor: str, *, symbol: str | None = None, currency: str | None = None
) -> Quote | None:
    """How this vendor quotes an instrument: what it says itself (`currency`), the second half of its pair, or the
    listing's own; None where nobody can tell. `symbol`: its spelling, default that of `to_vendor`."""
    key, notation = as_key(key), _notation(vendor)
    if currency:
        return quoted_in(currency)
    pays = notation.pays(symbol if symbol is not None else to_vendor(key, vendor))
    return quoted_in(pays) if pays else quote_of(key)


def kind_of(key: InstrumentKey) -> str | None:
    """What its namespace says a key is; None where it does not."""
    return KINDS.get(key.namespace)


def _leads_back(notation: Notation, vendor: str, symbol: str, key: InstrumentKey) -> bool:
    if key.is_local:
        return True
    contexts = [Context()]
    if notation.paired:
        contexts.append(Context(key.namespace.upper() if key.is_mic else None, kind_of(key)))
        contexts.append(Context("XNYS" if key.namespace == "us" else None, kind_of(key)))
    return str(key) in (notation.back(symbol, context) for context in contexts)


def _agrees(vendor: str, symbol: str, key: InstrumentKey, said: Context) -> None:
    """Raises where the vendor says beside a symbol what it cannot be."""
    mic, kind = (said.mic or "").upper(), kind_of(key)
    at_us = key.namespace in ("us", "opt", "mf")
    if mic and ((key.is_mic and key.namespace.upper() != mic) or (at_us and mic not in US_MICS)):
        raise unknown(f"{vendor} symbol {symbol!r} is {key} by its spelling but its venue is said to be {mic}")
    if said.kind and kind != said.kind and (said.kind in SURE or kind in SURE):
        raise unknown(f"{vendor} symbol {symbol!r} is {key} by its spelling but is said to be of kind {said.kind}")


def _context(context: dict[str, str | None]) -> Context:
    if strange := sorted(set(context) - set(Context._fields)):
        raise UsageError(f"no context {', '.join(strange)}; there are: {', '.join(Context._fields)}")
    return Context(**context)


@cache
def _notation(vendor: str) -> Notation:
    if vendor in NOTATIONS:
        return NOTATIONS[vendor]
    if vendor not in VENDORS:
        close = difflib.get_close_matches(vendor, spellings(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(
            f"no spelling of instruments is known for {vendor!r}{hint}; there are: {', '.join(spellings())}"
        )
    notation: Notation = importlib.import_module(f"fin_infra.providers.{vendor}.symbols").NOTATION
    return notation
