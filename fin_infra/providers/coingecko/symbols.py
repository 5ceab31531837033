"""CoinGecko's ids ↔ InstrumentKey: `crypto:` is made of them, so they are the same."""

from __future__ import annotations

import re

from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.notation import Context, Notation

_ID = re.compile(r"[a-z0-9_][a-z0-9_.-]*")


def to_coingecko(key: InstrumentKey) -> str | None:
    """`crypto:bitcoin` → `bitcoin`; None for all that is no coin."""
    return key.symbol if key.namespace == "crypto" else None


def from_coingecko(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back. An id, never a ticker: `BTC` names several coins."""
    return f"crypto:{symbol}" if _ID.fullmatch(symbol) else None


NOTATION = Notation(to_coingecko, from_coingecko)
