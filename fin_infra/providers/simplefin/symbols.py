"""SimpleFIN's holdings → InstrumentKey. It says a symbol and a currency, and neither venue nor kind."""

from __future__ import annotations

import re

from fin_infra.instruments import option_of
from fin_infra.instruments.identifiers import good
from fin_infra.providers.simplefin.wire import Row, text

_US_TICKER = re.compile(r"[A-Z]{1,5}(?:\.[A-Z]{1,2})?")
COINS = frozenset(
    ("ADA", "AVAX", "BCH", "BTC", "DOGE", "DOT", "ETC", "ETH", "LINK", "LTC", "MATIC", "SHIB", "SOL", "UNI", "USDC",
     "USDT", "XLM", "XRP")
)  # fmt: skip
"""Tickers that are coins, and of which some are listed funds too: which of both is held is not said."""


def key_of(row: Row, currency: str | None) -> str | None:
    """An option by its OCC symbol; a US ticker where it is held in dollars; else its CUSIP or ISIN; else, as
    `simplefin:<symbol>`, what the institution calls it. Null of what has neither symbol nor id."""
    symbol = (text(row, "symbol") or "").strip().upper()
    if (option := option_of(symbol)) is not None:
        return option
    if currency == "USD" and _US_TICKER.fullmatch(symbol) and symbol not in COINS:
        return f"us:{symbol}"
    for scheme in ("isin", "cusip"):
        if (found := good(scheme, symbol)) is not None:
            return f"{scheme}:{found}"
    own = symbol or (text(row, "id") or "").strip()
    return f"simplefin:{own}" if own else None


def is_cash(row: Row, currency: str | None) -> bool:
    """Whether it is the account's plain cash, which its balance has in it."""
    symbol = (text(row, "symbol") or "").strip().upper().removeprefix("CUR:")
    return bool(symbol) and symbol == currency
