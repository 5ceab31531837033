"""Alpaca's spellings ↔ InstrumentKey. Class shares have a dot (BRK.B) in both; crypto is a pair (BTC/USD)."""

from __future__ import annotations

import re

from fin_infra.instruments import occ_of, option_of
from fin_infra.instruments.notation import Notation

COINS = {
    "AAVE": "aave", "ADA": "cardano", "ALGO": "algorand", "ARB": "arbitrum", "AVAX": "avalanche-2",
    "BAT": "basic-attention-token", "BCH": "bitcoin-cash", "BONK": "bonk", "BTC": "bitcoin", "CRV": "curve-dao-token",
    "DOGE": "dogecoin", "DOT": "polkadot", "ETH": "ethereum", "FIL": "filecoin", "GRT": "the-graph",
    "HYPE": "hyperliquid", "LDO": "lido-dao", "LINK": "chainlink", "LTC": "litecoin", "MKR": "maker",
    "NEAR": "near", "ONDO": "ondo-finance", "PAXG": "pax-gold", "PEPE": "pepe", "POL": "polygon-ecosystem-token",
    "RENDER": "render-token", "SHIB": "shiba-inu", "SKY": "sky", "SOL": "solana", "SUSHI": "sushi",
    "TRUMP": "official-trump", "UNI": "uniswap", "USDC": "usd-coin", "USDG": "global-dollar", "USDT": "tether",
    "WIF": "dogwifcoin", "XRP": "ripple", "XTZ": "tezos", "YFI": "yearn-finance",
}  # fmt: skip
"""Alpaca's coins by the id CoinGecko gives them: a ticker alone names several coins."""
CLASSES = {"crypto": "crypto", "option": "us_option", "equity": "us_equity", "etf": "us_equity"}
"""Alpaca's asset class of a kind of ours."""
_TICKERS = {coin: ticker for ticker, coin in COINS.items()}
_EQUITY = re.compile(r"[A-Z][A-Z0-9]*(?:\.[A-Z]{1,3})?")


def from_alpaca(symbol: str, asset_class: str | None = None) -> str | None:
    """`BRK.B` → `us:BRK.B`, `BTC/USD` or, of a crypto position, `BTCUSD` → `crypto:bitcoin`, OCC → `opt:…`.

    None for what is no instrument of ours: an unknown coin, or a pair that is not priced in US dollars. Where no class
    is said (an activity), six letters or more that end in USD and begin with a coin are the older form of its pair: no
    listed symbol is so long.
    """
    if asset_class == "crypto" or "/" in symbol or (asset_class is None and _is_pair(symbol)):
        coin = symbol.removesuffix("/USD") if "/" in symbol else symbol.removesuffix("USD")
        return f"crypto:{COINS[coin]}" if coin in COINS and coin != symbol else None
    if asset_class in (None, "us_option") and (option := option_of(symbol)) is not None:
        return option
    return f"us:{symbol}" if asset_class != "us_option" and _EQUITY.fullmatch(symbol) else None


def _is_pair(symbol: str) -> bool:
    return len(symbol) >= 6 and symbol.endswith("USD") and symbol.removesuffix("USD") in COINS


def to_alpaca(instrument: str) -> str | None:
    """The symbol that market data is asked by; None when Alpaca has none, or means something else by it."""
    namespace, _, symbol = instrument.partition(":")
    match namespace:
        case "us":
            return symbol if from_alpaca(symbol) == instrument else None
        case "crypto":
            return f"{_TICKERS[symbol]}/USD" if symbol in _TICKERS else None
        case "opt":
            return occ_of(instrument)
        case _:
            return None


def priced(instrument: str) -> str | None:
    """The same for what is asked for day by day: an option has a bar only on days it trades, so none is expected."""
    return None if instrument.startswith("opt:") else to_alpaca(instrument)


def acting(instrument: str) -> str | None:
    """What corporate actions are asked by: shares and funds. A coin has none, an option those of its share."""
    return to_alpaca(instrument) if instrument.startswith("us:") else None


def _pays(symbol: str) -> str | None:
    return symbol.partition("/")[2] or None


NOTATION = Notation(
    lambda key: to_alpaca(str(key)),
    lambda symbol, context: from_alpaca(symbol, CLASSES.get(context.kind or "")),
    pays=_pays,
)
