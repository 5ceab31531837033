"""What a way of writing instruments is: there and back, as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fin_infra.errors import OwnerActionError
from fin_infra.instruments.key import InstrumentKey


class Context(NamedTuple):
    """What is said beside a symbol: the venue's MIC, what kind of thing it is, and the currency it is quoted in.

    `kind` is one of the kinds of `instruments`: equity, etf, fund, option, future, crypto, cash, fx, index, ….
    """

    mic: str | None = None
    kind: str | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Notation:
    """One vendor's spelling, or a convention that several share.

    `to`: the spelling of a key, None when there is none. `back`: the key of a spelling, None when it is not known or
    several would fit. `paired`: a symbol is always told with its venue and kind, so it leads back only with them.
    `pays`: the currency in which a spelling is quoted, where the spelling itself says so (the second half of a pair).
    """

    to: Callable[[InstrumentKey], str | None]
    back: Callable[[str, Context], str | None]
    paired: bool = False
    pays: Callable[[str], str | None] = lambda symbol: None


def unknown(message: str) -> OwnerActionError:
    """The error of a symbol that nobody can tell, or a key that a vendor has no spelling for."""
    return OwnerActionError(message, code="unknown_symbol")


def split_suffix(symbol: str, suffixes: Mapping[str, str]) -> tuple[str, str] | None:
    """`VOD.L` → (`VOD`, `.L`) by the longest suffix of the table; None where it has none, or nothing before it."""
    found = [suffix for suffix in suffixes if symbol.endswith(suffix) and len(symbol) > len(suffix)]
    best = max(found, key=len, default=None)
    return (symbol[: -len(best)], best) if best is not None else None
