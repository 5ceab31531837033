"""Pairs of three exchanges ↔ InstrumentKey: `crypto:bitcoin` is XBTUSD at Kraken, BTC-USD at Coinbase and BTCUSDT at
Binance.

A pair has a price in its second half: USDT is a coin, and no dollar. Sources: https://api.kraken.com/0/public/AssetPairs
(`altname`), https://api.exchange.coinbase.com/products, https://api.binance.com/api/v3/exchangeInfo.
"""

from __future__ import annotations

import re

from fin_infra.instruments.known import coin_of, ticker_of

KRAKEN_QUOTE, COINBASE_QUOTE, BINANCE_QUOTE = "USD", "USD", "USDT"
FIAT = frozenset({"USD", "EUR", "GBP", "CAD", "JPY", "AUD", "CHF"})
_OLD_COIN = re.compile(r"X([A-Z]{3})")
_OLD_FIAT = re.compile(r"Z([A-Z]{3})")
_PLAIN = re.compile(r"[A-Z0-9]+")


def to_kraken(instrument: str) -> str | None:
    """`XBTUSD`: assets without the letter that old ones have before them, which is how Kraken itself names pairs."""
    asset = _ticker(instrument, "kraken")
    return None if asset is None else _OLD_COIN.sub(r"\1", asset) + KRAKEN_QUOTE


def to_coinbase(instrument: str) -> str | None:
    """`BTC-USD`."""
    ticker = _ticker(instrument, "symbol")
    return None if ticker is None else f"{ticker}-{COINBASE_QUOTE}"


def to_binance(instrument: str) -> str | None:
    """`BTCUSDT`; None of the coin that pairs are quoted in."""
    ticker = _ticker(instrument, "symbol")
    return None if ticker in (None, BINANCE_QUOTE) else f"{ticker}{BINANCE_QUOTE}"


def pair_of(symbol: str) -> tuple[str, str] | None:
    """The way back, of any of the three: InstrumentKey and currency. None for a pair that is not known, or in doubt.

    `XXBTZUSD` and `XBTUSD` → `crypto:bitcoin`, USD; `XBTUSDT`, `BTC-USDT` and `BTC/USDT` → `crypto:bitcoin`, USDT.
    """
    halves = re.split(r"[-/]", symbol)
    splits = [halves] if len(halves) == 2 else [[symbol[:at], symbol[at:]] for at in range(2, len(symbol) - 2)]
    found = {(coin, currency) for base, quote in splits if (coin := _coin(base)) and (currency := _currency(quote))}
    return found.pop() if len(found) == 1 else None


def _ticker(instrument: str, column: str) -> str | None:
    namespace, _, coin = instrument.partition(":")
    ticker = ticker_of(coin, column) if namespace == "crypto" else None
    return ticker if ticker and _PLAIN.fullmatch(ticker) else None


def _coin(asset: str) -> str | None:
    for name in (asset, f"X{asset}"):
        if (coin := coin_of(name, "kraken")) is not None:
            return f"crypto:{coin}"
    coin = coin_of(asset)
    return f"crypto:{coin}" if coin else None


def _currency(asset: str) -> str | None:
    fiat = _OLD_FIAT.sub(r"\1", asset) if len(asset) == 4 else asset
    if fiat in FIAT:
        return fiat
    coin = _coin(asset)
    return ticker_of(coin.partition(":")[2]) if coin else None
