"""InstrumentKey: `namespace:symbol`, one name for one thing across vendors. Strict: what is no key is an error."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

from fin_infra.errors import UsageError
from fin_infra.instruments.caip import caip19
from fin_infra.instruments.identifiers import SCHEMES, fault_of

WORDS = ("us", "opt", "fut", "mf", "idx", "fx", "cash", "crypto", "caip19", *SCHEMES)
"""The fixed namespaces; every other one of four characters is a MIC in lower case."""
LOCAL = (
    "alpaca", "alphavantage", "coingecko", "ecb", "exchangerate_api", "frankfurter", "kraken", "mx", "plaid",
    "simplefin", "snaptrade", "stripe", "teller", "yahoo",
)  # fmt: skip
"""Vendors whose own id may stand for what nothing resolves: `plaid:<id>`. So may dotted names, `ccxt.<exchange>`."""

MIC = re.compile(r"[a-z0-9]{4}")
_DOTTED = re.compile(r"[a-z][a-z0-9]*(?:\.[a-z0-9]+)+")
_SHAPES = {
    "us": (re.compile(r"[A-Z][A-Z0-9]*(?:\.[A-Z]{1,5}){0,2}"), "us:AAPL, us:BRK.B, us:BAC.PRL"),
    "mf": (re.compile(r"[A-Z][A-Z0-9]*"), "mf:VFIAX"),
    "idx": (re.compile(r"[A-Z0-9](?:[A-Z0-9.&-]*[A-Z0-9])?"), "idx:SPX"),
    "fx": (re.compile(r"[A-Z]{6}"), "fx:EURUSD"),
    "cash": (re.compile(r"[A-Z]{3}"), "cash:USD"),
    "crypto": (re.compile(r"[a-z0-9_][a-z0-9_.-]*"), "crypto:bitcoin, the coin's id at CoinGecko"),
    "fut": (
        re.compile(r"[a-z0-9]{4}:[A-Z0-9]+(?::20[0-9]{2}-(?:0[1-9]|1[0-2]))?"),
        "fut:xcec:GC or fut:xcec:GC:2026-12",
    ),
    "opt": (
        re.compile(r"[A-Z][A-Z0-9.]{0,5}:20[0-9]{2}-[0-9]{2}-[0-9]{2}:[CP]:(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?"),
        "opt:AAPL:2026-01-16:C:200",
    ),
}  # fmt: skip
_LISTED = re.compile(r"[A-Z0-9](?:[A-Z0-9.&*+-]*[A-Z0-9*+])?")
_OWN = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?")


@dataclass(frozen=True, order=True, slots=True)
class InstrumentKey:
    """A name of an instrument. `str(InstrumentKey.parse(text)) == text`, but for the case of addresses in `caip19:`.

    Namespaces: `us` (all US listings form one), a MIC in lower case (`xlon`, `xhkg`), `opt`, `fut`, `mf` (mutual fund),
    `idx`, `fx`, `cash`, `crypto` (an id of CoinGecko), `caip19`, `isin`, `cusip`, `sedol`, `figi`, or a vendor's name
    before its own id. Both parts are text: `us:TRUE`, `xhkg:00700`. Raises `UsageError` for what is no key.
    """

    namespace: str
    symbol: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", _checked(self.namespace, self.symbol))

    def __str__(self) -> str:
        return f"{self.namespace}:{self.symbol}"

    @classmethod
    def parse(cls, text: str) -> InstrumentKey:
        """The key that is written so. Raises `UsageError`, one sentence, for anything else."""
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no instrument but a {type(text).__name__}; quote it, like 'us:TRUE'")
        namespace, colon, symbol = text.partition(":")
        if not colon:
            raise UsageError(f"{text!r} is no instrument; write namespace:symbol, like us:AAPL or xlon:VOD")
        return cls(namespace, symbol)

    @property
    def is_mic(self) -> bool:
        """Whether it is a listing at a venue outside the US."""
        return is_mic(self.namespace)

    @property
    def is_local(self) -> bool:
        """Whether it is only a vendor's own id: nothing resolved it."""
        return is_local(self.namespace)


def is_mic(namespace: str) -> bool:
    return namespace not in WORDS and namespace not in LOCAL and MIC.fullmatch(namespace) is not None


def is_local(namespace: str) -> bool:
    return namespace in LOCAL or _DOTTED.fullmatch(namespace) is not None


def as_key(key: InstrumentKey | str) -> InstrumentKey:
    return key if isinstance(key, InstrumentKey) else InstrumentKey.parse(key)


def _checked(namespace: str, symbol: str) -> str:
    """The symbol as it is kept. Raises `UsageError` for one that its namespace cannot have."""
    if namespace in SCHEMES:
        if (fault := fault_of(namespace, symbol)) is not None:
            raise UsageError(f"{namespace}:{symbol} is no instrument: {symbol!r} {fault}")
        return symbol
    if namespace == "caip19":
        return caip19(symbol)
    if namespace in _SHAPES:
        shape, example = _SHAPES[namespace]
        if shape.fullmatch(symbol) is None or not _is_real(namespace, symbol):
            _refuse(namespace, symbol, f"write {example}")
        return symbol
    if is_mic(namespace):
        if _LISTED.fullmatch(symbol) is None:
            _refuse(namespace, symbol, "write the exchange's code in capitals, like xlon:VOD or xhkg:00700")
        return symbol
    if is_local(namespace):
        if _OWN.fullmatch(symbol) is None:
            _refuse(namespace, symbol, "the vendor's id must not be blank")
        return symbol
    close = difflib.get_close_matches(namespace.lower(), [*WORDS, *LOCAL], n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UsageError(
        f"{namespace}:{symbol} is no instrument: {namespace!r} is no namespace{hint}; "
        f"there are: a MIC in lower case, {', '.join(WORDS)}, or a vendor's name"
    )


def _refuse(namespace: str, symbol: str, remedy: str) -> NoReturn:
    raise UsageError(f"{namespace}:{symbol} is no instrument: {symbol!r} is no symbol of {namespace}; {remedy}")


def _is_real(namespace: str, symbol: str) -> bool:
    """What a shape alone cannot tell: a day that exists, two different currencies."""
    if namespace == "fx":
        return symbol[:3] != symbol[3:]
    if namespace == "opt":
        try:
            date.fromisoformat(symbol.split(":")[1])
        except ValueError:
            return False
    return True
