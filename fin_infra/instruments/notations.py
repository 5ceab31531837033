"""Conventions that are no vendor of ours but stand in files, terminals and answers: one notation each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from fin_infra.instruments.identifiers import good
from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.keys import occ_of, option_of
from fin_infra.instruments.known import coin_of, meant, spelled, ticker_of
from fin_infra.instruments.notation import Context, Notation
from fin_infra.instruments.series import KEYS, VENUES, Style, rewritten

FIAT = frozenset(
    {"USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "TRY",
     "ILS", "ZAR", "MXN", "BRL", "CLP", "COP", "PEN", "ARS", "CNY", "CNH", "HKD", "SGD", "KRW", "TWD", "INR", "IDR",
     "MYR", "THB", "PHP", "VND", "SAR", "AED", "QAR", "KWD", "BHD", "OMR", "JOD", "EGP", "MAD", "NGN", "KES", "ISK",
     "RUB", "UAH", "BGN"}
)  # fmt: skip
"""Currencies that are traded as such: what tells a pair of them from one of coins."""

# -- lines of US shares, https://www.nasdaqtrader.com/trader.aspx?id=CQSsymbolconvention ------------------------------

CQS: Style = {
    "warrant": (".WS", ".WS.{}"), "unit": (".U", None), "right": ("r", None), "issued": ("w", None),
    "preferred": ("p", "p{}"), "class": (None, ".{}"),
}  # fmt: skip
CMS: Style = {
    "warrant": (" WS", " WS{}"), "unit": (" U", None), "right": (" RT", None), "issued": (" WI", None),
    "preferred": (" PR", " PR{}"), "class": (None, " {}"),
}  # fmt: skip
INTEGRATED: Style = {
    "warrant": ("+", "+{}"), "unit": ("=", None), "right": ("^", None), "issued": ("#", None),
    "preferred": ("-", "-{}"), "class": (None, ".{}"),
}  # fmt: skip
ACT: Style = {
    "warrant": (".W", None), "unit": (".U", None), "right": (".R", None), "preferred": ("$", "${}"),
    "class": (None, ".{}"),
}  # fmt: skip
SLASHED: Style = {"class": (None, "/{}")}
DASHED: Style = {"class": (None, "-{}")}

Back = Callable[[str, Context], str | None]


def us_lines(style: Style) -> Notation:
    """US listings, written in a style; nothing else."""
    return Notation(lambda key: _us(key, style), lambda symbol, context: _from_us(symbol, style))


def _us(key: InstrumentKey, style: Style) -> str | None:
    return rewritten(key.symbol, KEYS, style) if key.namespace == "us" else None


def _from_us(symbol: str, style: Style) -> str | None:
    own = rewritten(symbol, style, KEYS)
    return f"us:{own}" if own and own[0].isalpha() else None


# -- Polygon: a letter and a colon before all that is no share --------------------------------------------------------


def _to_polygon(key: InstrumentKey) -> str | None:
    match key.namespace:
        case "us":
            return rewritten(key.symbol, KEYS, CQS)
        case "opt":
            return f"O:{occ}" if (occ := occ_of(str(key))) else None
        case "fx":
            return f"C:{key.symbol}"
        case "crypto":
            return f"X:{ticker}USD" if (ticker := ticker_of(key.symbol)) else None
        case "idx":
            return f"I:{key.symbol}"
        case _:
            return None


def _from_polygon(symbol: str, _: Context) -> str | None:
    kind, colon, rest = symbol.partition(":")
    if not colon:
        return _from_us(symbol, CQS)
    match kind:
        case "O":
            return option_of(rest) if " " not in rest else None
        case "C":
            return _fx(rest)
        case "X":
            return f"crypto:{coin}" if (coin := coin_of(rest.removesuffix("USD"))) and rest.endswith("USD") else None
        case "I":
            return f"idx:{rest}"
        case _:
            return None


# -- exchanges by a code behind or before the ticker -----------------------------------------------------------------

BLOOMBERG = {
    "us": "US", "xlon": "LN", "xhkg": "HK", "xtks": "JP", "xpar": "FP", "xams": "NA", "xbru": "BB", "xlis": "PL",
    "xmil": "IM", "xmad": "SM", "xetr": "GY", "xfra": "GF", "xsto": "SS", "xcse": "DC", "xhel": "FH", "xosl": "NO",
    "xswx": "SE", "xtse": "CT", "xtsx": "CV", "xasx": "AU", "xnze": "NZ", "xses": "SP", "xjse": "SJ", "xtae": "IT",
    "xkrx": "KP", "xkos": "KQ", "xtai": "TT", "xshg": "CG", "xshe": "CS", "xnse": "IS", "xbom": "IB", "bvmf": "BS",
    "xwar": "PW", "xwbo": "AV",
}  # fmt: skip
"""Bloomberg's exchange codes, of Japan and Australia the composite that everybody writes."""
STOOQ = {"us": "us", "xlon": "uk", "xetr": "de", "xtks": "jp", "xhkg": "hk", "xbud": "hu"}
EODHD = {
    "us": "US", "xlon": "LSE", "xtse": "TO", "xtsx": "V", "xetr": "XETRA", "xfra": "F", "xpar": "PA", "xams": "AS",
    "xbru": "BR", "xlis": "LS", "xmad": "MC", "xswx": "SW", "xsto": "ST", "xcse": "CO", "xhel": "HE", "xosl": "OL",
    "xhkg": "HK", "xasx": "AU", "xkrx": "KO", "xkos": "KQ", "xtai": "TW", "roco": "TWO", "xshg": "SHG", "xshe": "SHE",
    "xjse": "JSE", "bvmf": "SA", "xmex": "MX", "xnse": "NSE", "xbom": "BSE",
}  # fmt: skip
FUTU = {"us": "US", "xhkg": "HK", "xshg": "SH", "xshe": "SZ", "xses": "SG"}
LITERAL = frozenset({"xnse", "xbom"})
"""Where a hyphen is a part of the ticker."""


def suffixed(codes: Mapping[str, str], joint: str, style: Style, hong_kong: int, *, lower: bool = False) -> Notation:
    """Ticker, joint, code of the venue. `hong_kong`: how many digits a code from there has at least."""
    venues = {code: namespace for namespace, code in codes.items()}

    def to(key: InstrumentKey) -> str | None:
        if key.namespace not in codes:
            return None
        ticker = _ticker(key, style, hong_kong)
        text = None if ticker is None else f"{ticker}{joint}{codes[key.namespace]}"
        return text.lower() if text and lower else text

    def back(symbol: str, _: Context) -> str | None:
        if lower and symbol != symbol.lower():
            return None
        ticker, _joint, code = symbol.rpartition(joint)
        return _key(venues.get(code), ticker.upper() if lower else ticker, style)

    return Notation(to, back)


def _ticker(key: InstrumentKey, style: Style, hong_kong: int) -> str | None:
    match key.namespace:
        case "us":
            return rewritten(key.symbol, KEYS, style)
        case "xhkg":
            return str(int(key.symbol)).zfill(hong_kong) if re.fullmatch(r"[0-9]{5}", key.symbol) else None
        case venue if venue in LITERAL:
            return None if "." in key.symbol else key.symbol
        case _:
            return rewritten(key.symbol, VENUES, style)


def _key(namespace: str | None, ticker: str, style: Style) -> str | None:
    match namespace:
        case None:
            return None
        case "us":
            return _from_us(ticker, style)
        case "xhkg":
            return f"xhkg:{ticker.zfill(5)}" if re.fullmatch(r"[0-9]{1,5}", ticker) else None
        case venue if venue in LITERAL:
            return f"{venue}:{ticker}" if ticker and "." not in ticker else None
        case _:
            own = rewritten(ticker, style, VENUES)
            return f"{namespace}:{own}" if own else None


def _to_futu(key: InstrumentKey) -> str | None:
    if key.namespace not in FUTU:
        return None
    own = key.symbol if key.namespace != "us" else rewritten(key.symbol, KEYS, KEYS)
    return f"{FUTU[key.namespace]}.{own}" if own else None


def _from_futu(symbol: str, _: Context) -> str | None:
    code, _dot, own = symbol.partition(".")
    namespace = {v: k for k, v in FUTU.items()}.get(code)
    if namespace == "us":
        return _from_us(own, KEYS)
    digits = {"xhkg": 5, "xshg": 6, "xshe": 6}.get(namespace or "")
    if namespace is None or (digits is not None and re.fullmatch(rf"[0-9]{{{digits}}}", own) is None):
        return None
    return f"{namespace}:{own}"


# -- Interactive Brokers: a symbol alone, its exchange and class said beside it ----------------------------------------

IBKR: Style = {"class": (None, " {}"), "preferred": (" PR", " PR{}"), "warrant": (" WS", " WS{}")}


def _to_ibkr(key: InstrumentKey) -> str | None:
    if key.namespace == "idx":
        return spelled(str(key), "ibkr")
    if key.namespace == "us" or key.is_mic:
        return _ticker(key, IBKR, 1)
    return None


def _from_ibkr(symbol: str, context: Context) -> str | None:
    """Without a venue: an index that is known, a code of Hong Kong that no other venue could have, or a US share.

    Four digits alone may be of Hong Kong, Tokyo or Taipei, six of Seoul or Shanghai: they need their `mic`.
    """
    index = meant("ibkr", symbol)
    if context.kind == "index" or (context.kind is None and context.mic is None and index is not None):
        return index
    namespace = _namespace(context)
    if namespace is not None:
        return _key(namespace, symbol, IBKR)
    if symbol.isdigit():
        return f"xhkg:{symbol.zfill(5)}" if len(symbol) in (1, 2, 3, 5) and symbol[0] != "0" else None
    return _from_us(symbol, IBKR)


def _namespace(context: Context) -> str | None:
    """The namespace of a venue that is said beside a symbol."""
    from fin_infra.instruments.venues import US_MICS

    if context.mic is None:
        return None
    return "us" if context.mic.upper() in US_MICS else context.mic.lower()


# -- the London Stock Exchange's own mnemonics ------------------------------------------------------------------------


def _to_lse(key: InstrumentKey) -> str | None:
    """One of two letters has a dot behind it: the code is of three characters at least."""
    if key.namespace != "xlon":
        return None
    return f"{key.symbol}." if len(key.symbol) == 2 else key.symbol


def _from_lse(symbol: str, _: Context) -> str | None:
    own = symbol.removesuffix(".")
    if not own or (len(own) == 2) != symbol.endswith("."):
        return None
    return f"xlon:{own}"


# -- options, currencies, coins --------------------------------------------------------------------------------


def _to_occ(key: InstrumentKey) -> str | None:
    """All 21 characters, the root filled up with spaces."""
    occ = occ_of(str(key))
    return None if occ is None else occ[:-15].ljust(6) + occ[-15:]


def _from_occ(symbol: str, _: Context) -> str | None:
    return option_of(symbol)


def _fx(pair: str) -> str | None:
    return f"fx:{pair}" if re.fullmatch(r"[A-Z]{6}", pair) and pair[:3] != pair[3:] else None


def _to_oanda(key: InstrumentKey) -> str | None:
    return f"{key.symbol[:3]}_{key.symbol[3:]}" if key.namespace == "fx" else None


def _from_oanda(symbol: str, _: Context) -> str | None:
    return _fx(symbol.replace("_", "", 1)) if re.fullmatch(r"[A-Z]{3}_[A-Z]{3}", symbol) else None


def _to_ccxt(key: InstrumentKey) -> str | None:
    """Unified names of ccxt: a coin alone, currencies as a pair."""
    match key.namespace:
        case "crypto":
            return ticker_of(key.symbol)
        case "cash":
            return key.symbol if key.symbol in FIAT else None
        case "fx":
            pair = (key.symbol[:3], key.symbol[3:])
            return "/".join(pair) if FIAT.issuperset(pair) else None
        case _:
            return None


def _from_ccxt(symbol: str, _: Context) -> str | None:
    """A pair means its base, of two currencies the rate between them; the settlement behind a colon is a derivative."""
    base, slash, quote = symbol.partition("/")
    if base in FIAT:
        return f"cash:{base}" if not slash else _fx(base + quote) if quote in FIAT else None
    if ":" in symbol or (slash and quote not in FIAT and coin_of(quote) is None):
        return None
    return f"crypto:{coin}" if (coin := coin_of(base)) else None


def _ccxt_pays(symbol: str) -> str | None:
    base, _, quote = symbol.partition("/")
    return quote if base not in FIAT and quote in FIAT else None


def _to_binance(key: InstrumentKey) -> str | None:
    ticker = ticker_of(key.symbol) if key.namespace == "crypto" else None
    return f"{ticker}USDT" if ticker and ticker.isalnum() and ticker != "USDT" else None


def _from_binance(symbol: str, _: Context) -> str | None:
    """A pair means its base. USDT is a coin, no dollar: the pair says nothing of a currency."""
    for quote in ("FDUSD", "USDT", "USDC", "BTC", "ETH", "BNB", "EUR", "TRY"):
        if symbol.endswith(quote) and (coin := coin_of(symbol.removesuffix(quote))):
            return f"crypto:{coin}"
    return None


def _to_caip19(key: InstrumentKey) -> str | None:
    if key.namespace == "caip19":
        return key.symbol
    return ticker_of(key.symbol, "caip19") if key.namespace == "crypto" else None


def _from_caip19(symbol: str, _: Context) -> str | None:
    """A coin that the table has at this address, else the address itself."""
    kept = InstrumentKey("caip19", symbol).symbol
    coin = coin_of(kept, "caip19")
    return f"crypto:{coin}" if coin else f"caip19:{kept}"


def _to_symbol(key: InstrumentKey) -> str | None:
    return ticker_of(key.symbol) if key.namespace == "crypto" else spelled(str(key), "symbol")


def _from_symbol(symbol: str, _: Context) -> str | None:
    coin = coin_of(symbol)
    return f"crypto:{coin}" if coin else meant("symbol", symbol)


# -- identifiers and numbers that only a table can tell --------------------------------------------------


def identifier(scheme: str, notation: str = "") -> Notation:
    """ISIN, CUSIP, SEDOL or FIGI: the listing where the table knows it, else the identifier itself."""
    table = notation or scheme

    def to(key: InstrumentKey) -> str | None:
        return key.symbol if key.namespace == scheme else spelled(str(key), table)

    def back(symbol: str, _: Context) -> str | None:
        InstrumentKey(scheme, symbol)  # a wrong check digit is an error that says so
        return meant(table, symbol) or f"{scheme}:{good(scheme, symbol)}"

    return Notation(to, back)


def table(name: str) -> Notation:
    return Notation(lambda key: spelled(str(key), name), lambda symbol, context: meant(name, symbol))


NOTATIONS: Mapping[str, Notation] = {
    "polygon": Notation(_to_polygon, _from_polygon),
    "nasdaq_cqs": us_lines(CQS),
    "cms": us_lines(CMS),
    "nasdaq_integrated": us_lines(INTEGRATED),
    "nasdaq_act": us_lines(ACT),
    "bloomberg": suffixed(BLOOMBERG, " ", SLASHED, 1),
    "stooq": suffixed(STOOQ, ".", DASHED, 1, lower=True),
    "eodhd": suffixed(EODHD, ".", DASHED, 4),
    "futu": Notation(_to_futu, _from_futu),
    "ibkr": Notation(_to_ibkr, _from_ibkr, paired=True),
    "lse": Notation(_to_lse, _from_lse),
    "occ": Notation(_to_occ, _from_occ),
    "oanda": Notation(_to_oanda, _from_oanda),
    "ccxt": Notation(_to_ccxt, _from_ccxt, pays=_ccxt_pays),
    "binance": Notation(_to_binance, _from_binance),
    "caip19": Notation(_to_caip19, _from_caip19),
    "symbol": Notation(_to_symbol, _from_symbol),
    "isin": identifier("isin"),
    "cusip": identifier("cusip"),
    "sedol": identifier("sedol"),
    "figi": identifier("figi", "openfigi_composite"),
    "openfigi_composite": identifier("figi", "openfigi_composite"),
    "bse_scrip": table("bse_scrip"),
}
