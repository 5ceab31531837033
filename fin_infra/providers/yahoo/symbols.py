"""Yahoo's spellings ↔ InstrumentKey: a suffix for each venue, hyphens for classes, `=X`, `=F`, `^`, and pairs of coins.

Sources: https://help.yahoo.com/kb/SLN2310.html (suffixes), the symbology of the yfinance community (classes, pairs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fin_infra.errors import UsageError
from fin_infra.instruments import occ_of, option_of
from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.known import coin_of, meant, spelled, ticker_of
from fin_infra.instruments.notation import Context, Notation, split_suffix
from fin_infra.instruments.series import KEYS, TORONTO, VENUES, Style, rewritten

SUFFIXES: Mapping[str, str] = {
    ".L": "xlon", ".TO": "xtse", ".V": "xtsx", ".CN": "xcnq", ".NE": "neoe", ".HK": "xhkg", ".T": "xtks",
    ".SS": "xshg", ".SZ": "xshe", ".KS": "xkrx", ".KQ": "xkos", ".TW": "xtai", ".TWO": "roco", ".SI": "xses",
    ".AX": "xasx", ".NZ": "xnze", ".NS": "xnse", ".BO": "xbom", ".JK": "xidx", ".KL": "xkls", ".BK": "xbkk",
    ".VN": "xstc", ".PS": "xphs", ".PA": "xpar", ".AS": "xams", ".BR": "xbru", ".LS": "xlis", ".IR": "xdub",
    ".MI": "xmil", ".MC": "xmad", ".DE": "xetr", ".F": "xfra", ".BE": "xber", ".DU": "xdus", ".HM": "xham",
    ".HA": "xhan", ".MU": "xmun", ".SG": "xstu", ".VI": "xwbo", ".AT": "asex", ".HE": "xhel", ".ST": "xsto",
    ".CO": "xcse", ".OL": "xosl", ".IC": "xice", ".SW": "xswx", ".PR": "xpra", ".WA": "xwar", ".BD": "xbud",
    ".RO": "xbse", ".TL": "xtal", ".RG": "xris", ".VS": "xlit", ".IS": "xist", ".ME": "misx", ".TA": "xtae",
    ".JO": "xjse", ".SR": "xsau", ".QA": "dsmd", ".KW": "xkuw", ".AE": "xdfm", ".CA": "xcai", ".SA": "bvmf",
    ".MX": "xmex", ".SN": "xsgo", ".BA": "xbue", ".CL": "xbog", ".LM": "xlim", ".CR": "bvca",
}  # fmt: skip
_SUFFIX_OF = {mic: suffix for suffix, mic in SUFFIXES.items()}
US: Style = {
    "warrant": ("-WT", "-WT{}"), "unit": ("-UN", None), "right": ("-RI", None), "issued": ("-WI", None),
    "preferred": ("-P", "-P{}"), "class": (None, "-{}"),
}  # fmt: skip
_TORONTO: Style = {
    "warrant": ("-WT", "-WT-{}"), "unit": ("-UN", None), "usd": ("-U", None), "right": ("-RT", None),
    "debenture": ("-DB", "-DB-{}"), "preferred": (None, "-P{}"), "class": (None, "-{}"),
}  # fmt: skip
_HYPHEN: Style = {"class": (None, "-{}")}
CANADA = frozenset({"xtse", "xtsx", "xcnq", "neoe"})
HYPHENATED = frozenset({"xnse", "xbom", "xbkk", "xidx", "xkls"})
"""Venues where a hyphen is a part of the ticker: BAJAJ-AUTO. Elsewhere it stands before a class."""
FUTURES = {
    **dict.fromkeys(("GC", "SI", "HG", "MGC", "SIL"), "xcec"),
    **dict.fromkeys(("CL", "NG", "RB", "HO", "BZ", "PL", "PA", "MCL"), "xnym"),
    **dict.fromkeys(("ES", "NQ", "RTY", "MES", "MNQ", "M2K", "LE", "HE", "GF", "6A", "6B", "6C", "6E", "6J", "6M", "6N",
                     "6S", "BTC", "MBT", "ETH"), "xcme"),
    **dict.fromkeys(("YM", "MYM", "ZB", "ZN", "ZF", "ZT", "ZC", "ZW", "ZS", "ZL", "ZM", "ZO", "ZR", "KE"), "xcbt"),
    **dict.fromkeys(("KC", "SB", "CC", "CT", "OJ", "DX"), "ifus"),
}  # fmt: skip
"""Roots of futures and where they trade (CME Group's and ICE's contract specifications)."""
ACTLESS = frozenset({"crypto", "fx", "fut", "idx", "cash", "opt"})
"""Namespaces of what has no corporate actions."""
_MONTHS = "FGHJKMNQUVXZ"
_DATED = {".CMX": "xcec", ".NYM": "xnym", ".CME": "xcme", ".CBT": "xcbt", ".NYB": "ifus"}
_DATED_OF = {mic: suffix for suffix, mic in _DATED.items()}
_FUND = re.compile(r"[A-Z]{4}X")
_US_INDEX = re.compile(r"(?:000[0-9]{3}\.SS|399[0-9]{3}\.SZ)")


def to_yahoo(key: InstrumentKey) -> str | None:
    """`us:BRK.B` → `BRK-B`, `xhkg:00700` → `0700.HK`, `fx:USDJPY` → `JPY=X`; None where Yahoo has no spelling of it."""
    symbol = key.symbol
    match key.namespace:
        case "us":
            return rewritten(symbol, KEYS, US)
        case "mf":
            return symbol if _FUND.fullmatch(symbol) else None
        case "opt":
            return occ_of(str(key))
        case "idx":
            return spelled(str(key), "yahoo")
        case "fx":
            return f"{symbol.removeprefix('USD')}=X"
        case "crypto":
            return ticker_of(symbol, "yahoo")
        case "fut":
            return _future(symbol)
        case mic if mic in _SUFFIX_OF:
            return ticker + _SUFFIX_OF[mic] if (ticker := _ticker(mic, symbol)) else None
        case _:
            return None


def from_yahoo(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back. Five letters that end in X are a mutual fund unless `kind` says otherwise: Nasdaq's rule for funds.

    `BTC-USD` is a pair and means the coin; the same in another currency is the same coin.
    """
    if (index := meant("yahoo", symbol)) is not None:
        return index
    if _US_INDEX.fullmatch(symbol):  # no share has such a code there
        return None
    if symbol.endswith("=X"):
        return _pair(symbol.removesuffix("=X"))
    if symbol.endswith("=F"):
        root = symbol.removesuffix("=F")
        return f"fut:{FUTURES[root]}:{root}" if root in FUTURES else None
    if (option := option_of(symbol)) is not None:
        return option
    if (coin := _coin(symbol)) is not None:
        return f"crypto:{coin}"
    if (dated := _dated(symbol)) is not None:
        return dated
    if (parts := split_suffix(symbol, SUFFIXES)) is not None:
        mic = SUFFIXES[parts[1]]
        own = _own(mic, parts[0])
        return f"{mic}:{own}" if own else None
    if _FUND.fullmatch(symbol) and context.kind in (None, "fund"):
        return f"mf:{symbol}"
    own = rewritten(symbol, US, KEYS)
    return f"us:{own}" if own and own[0].isalpha() else None


def pays(symbol: str) -> str | None:
    """The currency of a pair of a coin; None of everything else."""
    return symbol.rpartition("-")[2] if _coin(symbol) is not None else None


def priced(instrument: str) -> str | None:
    """The symbol whose chart is asked for; None of options, which trade on few days, and of strangers."""
    try:
        key = InstrumentKey.parse(instrument)
    except UsageError:
        return None
    return None if key.namespace == "opt" else to_yahoo(key)


def acting(instrument: str) -> str | None:
    """The same of what a company may split or pay on."""
    return None if instrument.partition(":")[0] in ACTLESS else priced(instrument)


def _ticker(mic: str, symbol: str) -> str | None:
    if mic == "xhkg":  # five digits there, at least four here
        return f"{int(symbol):04d}" if re.fullmatch(r"[0-9]{5}", symbol) else None
    if mic in HYPHENATED:
        return None if "." in symbol else symbol
    return rewritten(symbol, TORONTO, _TORONTO) if mic in CANADA else rewritten(symbol, VENUES, _HYPHEN)


def _own(mic: str, ticker: str) -> str | None:
    if mic == "xhkg":
        return ticker.zfill(5) if re.fullmatch(r"0[0-9]{3}|[1-9][0-9]{3,4}", ticker) else None
    if mic in HYPHENATED:
        return None if "." in ticker else ticker
    return rewritten(ticker, _TORONTO, TORONTO) if mic in CANADA else rewritten(ticker, _HYPHEN, VENUES)


def _pair(text: str) -> str | None:
    pair = f"USD{text}" if len(text) == 3 else text
    return f"fx:{pair}" if re.fullmatch(r"[A-Z]{6}", pair) and pair[:3] != pair[3:] else None


def _coin(symbol: str) -> str | None:
    """Yahoo numbers coins whose ticker another one had first: `UNI7083-USD`."""
    ticker, dash, quote = symbol.rpartition("-")
    return coin_of(f"{ticker}-USD", "yahoo") if dash and re.fullmatch(r"[A-Z]{3}", quote) else None


def _future(symbol: str) -> str | None:
    venue, root, *month = symbol.split(":")
    if not month:
        return f"{root}=F" if FUTURES.get(root) == venue else None
    year, number = month[0].split("-")
    suffix = _DATED_OF.get(venue)
    return f"{root}{_MONTHS[int(number) - 1]}{year[2:]}{suffix}" if suffix else None


def _dated(symbol: str) -> str | None:
    found = re.fullmatch(rf"([A-Z0-9]+)([{_MONTHS}])([0-9]{{2}})(\.[A-Z]{{3}})", symbol)
    if found is None or found[4] not in _DATED:
        return None
    return f"fut:{_DATED[found[4]]}:{found[1]}:20{found[3]}-{_MONTHS.index(found[2]) + 1:02d}"


NOTATION = Notation(to_yahoo, from_yahoo, pays=pays)
