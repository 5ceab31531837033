"""SnapTrade's spellings ↔ InstrumentKey: Yahoo's suffixes, dots for classes, OCC symbols with a space.

Source: the description of `UniversalSymbol.symbol` in its interface, and its docs on symbology.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fin_infra.instruments import occ_of, option_of
from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.known import coin_of, ticker_of
from fin_infra.instruments.notation import Context, Notation, split_suffix
from fin_infra.instruments.venues import US_MICS

SUFFIXES: Mapping[str, str] = {
    ".TO": "xtse", ".V": "xtsx", ".CN": "xcnq", ".NE": "neoe", ".L": "xlon", ".PA": "xpar", ".AS": "xams",
    ".BR": "xbru", ".LS": "xlis", ".DE": "xetr", ".F": "xfra", ".MI": "xmil", ".MC": "xmad", ".SW": "xswx",
    ".ST": "xsto", ".CO": "xcse", ".HE": "xhel", ".OL": "xosl", ".AX": "xasx", ".NZ": "xnze", ".HK": "xhkg",
    ".T": "xtks", ".SI": "xses", ".NS": "xnse", ".BO": "xbom",
}  # fmt: skip
"""Suffixes that no US line has: SnapTrade writes classes with a dot too."""
_SUFFIX_OF = {mic: suffix for suffix, mic in SUFFIXES.items()}
_US = re.compile(r"[A-Z][A-Z0-9]*(?:\.(?:[A-Z]|PR[A-Z]?|WS|WS\.[A-Z]|RT|WI))?")


def to_snaptrade(key: InstrumentKey) -> str | None:
    """`xtse:TECK.B` → `TECK.B.TO`, `us:BRK.B` → `BRK.B`, `opt:SPY:…` → `SPY 220819P00200000`; else None."""
    symbol = key.symbol
    match key.namespace:
        case "us":
            return symbol if _US.fullmatch(symbol) else None
        case "mf":
            return symbol if re.fullmatch(r"[A-Z]{4}X", symbol) else None
        case "opt":
            return f"{occ[:-15]} {occ[-15:]}" if (occ := occ_of(str(key))) else None
        case "crypto":
            return ticker_of(symbol)
        case "xhkg":
            return f"{int(symbol):04d}.HK" if re.fullmatch(r"[0-9]{5}", symbol) else None
        case mic if mic in _SUFFIX_OF:
            return symbol + _SUFFIX_OF[mic]
        case _:
            return None


def from_snaptrade(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back. Every position says its kind beside the symbol: a coin is one only where that says so."""
    if context.kind == "crypto":
        return f"crypto:{coin}" if (coin := coin_of(symbol)) else None
    if (option := option_of(symbol)) is not None:
        return option
    us = context.mic is not None and context.mic.upper() in US_MICS
    if not us and (parts := split_suffix(symbol, SUFFIXES)) is not None:
        mic = SUFFIXES[parts[1]]
        if mic == "xhkg":
            return f"xhkg:{parts[0].zfill(5)}" if re.fullmatch(r"0[0-9]{3}|[1-9][0-9]{3,4}", parts[0]) else None
        return f"{mic}:{parts[0]}"
    if re.fullmatch(r"[A-Z]{4}X", symbol) and context.kind in (None, "fund"):
        return f"mf:{symbol}"
    return f"us:{symbol}" if _US.fullmatch(symbol) else None


NOTATION = Notation(to_snaptrade, from_snaptrade, paired=True)
