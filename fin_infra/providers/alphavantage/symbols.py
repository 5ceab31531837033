"""Alpha Vantage's spellings ↔ InstrumentKey: a suffix of three letters for each venue, hyphens for classes.

Sources: the vendor's documentation and its SYMBOL_SEARCH (suffixes), LISTING_STATUS (classes, preferreds, warrants).
Currencies and coins are asked for by two parameters; a pair with a slash stands for both: `EUR/USD`, `BTC/USD`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fin_infra.errors import UsageError
from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.known import coin_of, ticker_of
from fin_infra.instruments.notation import Context, Notation, split_suffix
from fin_infra.instruments.series import KEYS, TORONTO, VENUES, Style, rewritten

SUFFIXES: Mapping[str, str] = {
    ".LON": "xlon", ".TRT": "xtse", ".TRV": "xtsx", ".DEX": "xetr", ".FRK": "xfra", ".BSE": "xbom", ".SHH": "xshg",
    ".SHZ": "xshe", ".SAO": "bvmf", ".PAR": "xpar", ".AMS": "xams", ".HKG": "xhkg",
}  # fmt: skip
_SUFFIX_OF = {mic: suffix for suffix, mic in SUFFIXES.items()}
US: Style = {
    "warrant": ("-WS", "-WS-{}"), "unit": ("-U", None), "preferred": ("-P", "-P-{}"), "class": (None, "-{}"),
}  # fmt: skip
_TORONTO: Style = {
    "unit": ("-UN", None), "usd": ("-U", None), "preferred": (None, "-PR-{}"), "class": (None, "-{}")
}  # fmt: skip
_HYPHEN: Style = {"class": (None, "-{}")}


def to_alphavantage(key: InstrumentKey) -> str | None:
    """`us:BRK.B` → `BRK-B`, `xlon:TSCO` → `TSCO.LON`, `fx:EURUSD` → `EUR/USD`; None where there is no spelling."""
    symbol = key.symbol
    match key.namespace:
        case "us":
            return rewritten(symbol, KEYS, US)
        case "mf":
            return symbol if re.fullmatch(r"[A-Z]{4}X", symbol) else None
        case "fx":
            return f"{symbol[:3]}/{symbol[3:]}"
        case "crypto":
            return f"{ticker}/USD" if (ticker := ticker_of(symbol)) else None
        case mic if mic in _SUFFIX_OF:
            return own + _SUFFIX_OF[mic] if (own := _ticker(mic, symbol)) else None
        case _:
            return None


def from_alphavantage(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back. A bare ticker is a US listing, or, where `kind` says so, a coin."""
    if "/" in symbol:
        base, _, quote = symbol.partition("/")
        if (coin := coin_of(base)) is not None and re.fullmatch(r"[A-Z]{3}", quote):
            return f"crypto:{coin}"
        return f"fx:{base}{quote}" if re.fullmatch(r"[A-Z]{3}/[A-Z]{3}", symbol) and base != quote else None
    if context.kind == "crypto":
        return f"crypto:{coin}" if (coin := coin_of(symbol)) else None
    if (parts := split_suffix(symbol, SUFFIXES)) is not None:
        mic = SUFFIXES[parts[1]]
        return f"{mic}:{own}" if (own := _own(mic, parts[0])) else None
    if re.fullmatch(r"[A-Z]{4}X", symbol) and context.kind in (None, "fund"):
        return f"mf:{symbol}"
    own = rewritten(symbol, US, KEYS)
    return f"us:{own}" if own and own[0].isalpha() else None


def pays(symbol: str) -> str | None:
    return symbol.partition("/")[2] or None


def _ticker(mic: str, symbol: str) -> str | None:
    match mic:
        case "xhkg":
            return f"{int(symbol):04d}" if re.fullmatch(r"[0-9]{5}", symbol) else None
        case "xbom":
            return None if "." in symbol else symbol
        case "xtse" | "xtsx":
            return rewritten(symbol, TORONTO, _TORONTO)
        case _:
            return rewritten(symbol, VENUES, _HYPHEN)


def _own(mic: str, ticker: str) -> str | None:
    match mic:
        case "xhkg":
            return ticker.zfill(5) if re.fullmatch(r"0[0-9]{3}|[1-9][0-9]{3,4}", ticker) else None
        case "xbom":
            return None if "." in ticker else ticker
        case "xtse" | "xtsx":
            return rewritten(ticker, _TORONTO, TORONTO)
        case _:
            return rewritten(ticker, _HYPHEN, VENUES)


NOTATION = Notation(to_alphavantage, from_alphavantage, pays=pays)


def priced(instrument: str) -> str | None:
    """The symbol whose daily bars are asked for; None of pairs and coins, which are no listings there."""
    try:
        key = InstrumentKey.parse(instrument)
    except UsageError:
        return None
    return None if key.namespace in ("fx", "crypto", "cash") else to_alphavantage(key)


def priced_within_days(instrument: str) -> str | None:
    """The same of bars shorter than a day, which are of US listings: their stamps are New York's."""
    return priced(instrument) if instrument.startswith("us:") else None


def paired(instrument: str) -> str | None:
    """`fx:EURUSD` → `EUR/USD`; None of what is no pair."""
    return to_alphavantage(InstrumentKey.parse(instrument)) if instrument.startswith("fx:") else None
