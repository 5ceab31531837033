"""Kraken's assets ↔ InstrumentKey. Old assets have a letter before them, X for coins and Z for currencies: XXBT, ZUSD.

Source: https://support.kraken.com/articles/360001185506 (asset codes) and its public Assets and AssetPairs.
"""

from __future__ import annotations

import re

from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.known import coin_of, ticker_of
from fin_infra.instruments.notation import Context, Notation

CASH = {
    "USD": "ZUSD", "EUR": "ZEUR", "GBP": "ZGBP", "CAD": "ZCAD", "JPY": "ZJPY", "AUD": "ZAUD", "CHF": "CHF",
    "AED": "AED",
}  # fmt: skip
_CASH_OF = {asset: code for code, asset in CASH.items()}
_OLD = re.compile(r"X([A-Z]{3})")
_HELD = re.compile(r"\.(?:S|F|M|B|P)$")
"""Balances that are staked, earn a reward or are parachained: of the same asset."""


def to_kraken(key: InstrumentKey) -> str | None:
    """`crypto:bitcoin` → `XXBT`, `cash:USD` → `ZUSD`; None for what it has not, or has by a name we do not know."""
    match key.namespace:
        case "crypto":
            return ticker_of(key.symbol, "kraken")
        case "cash":
            return CASH.get(key.symbol)
        case _:
            return None


def from_kraken(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back: an asset, staked or not, its name without the letter (`XBT`), or a pair, which means its base."""
    if symbol in ("ETH2", "ETH2.S"):
        return "crypto:ethereum"
    asset = _HELD.sub("", symbol)
    if (found := _asset(asset)) is not None:
        return found
    pairs = {found for base, quote in _halves(asset) if (found := _asset(base)) and _asset(quote)}
    return pairs.pop() if len(pairs) == 1 else None


def pays(symbol: str) -> str | None:
    """The currency of a pair, where it is one; None of an asset."""
    if _asset(symbol) is not None:
        return None
    quotes = {quote for base, half in _halves(symbol) if _asset(base) and (quote := _asset(half))}
    quote = quotes.pop() if len(quotes) == 1 else ""
    return quote.removeprefix("cash:") if quote.startswith("cash:") else None


def _asset(name: str) -> str | None:
    if (code := _CASH_OF.get(name) or (name if name in CASH else None)) is not None:
        return f"cash:{code}"
    coin = coin_of(name, "kraken") or coin_of(f"X{name}", "kraken")
    if coin is None and (old := _OLD.fullmatch(name)):
        coin = coin_of(old[1], "kraken")
    return f"crypto:{coin}" if coin else None


def _halves(pair: str) -> list[tuple[str, str]]:
    if "/" in pair:
        base, _, quote = pair.partition("/")
        return [(base, quote)]
    return [(pair[:at], pair[at:]) for at in range(2, len(pair) - 1)]


NOTATION = Notation(to_kraken, from_kraken, pays=pays)
