"""Plaid's securities → InstrumentKey. What cannot be told honestly stays under Plaid's own id of it."""

from __future__ import annotations

import re
from typing import Any

from fin_infra.instruments import occ_of, option_of
from fin_infra.instruments.identifiers import good
from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.notation import Context, Notation
from fin_infra.instruments.venues import US_MICS

COINS = {
    "AAVE": "aave", "ADA": "cardano", "ALGO": "algorand", "ATOM": "cosmos", "AVAX": "avalanche-2",
    "BCH": "bitcoin-cash", "BTC": "bitcoin", "DOGE": "dogecoin", "DOT": "polkadot", "ETC": "ethereum-classic",
    "ETH": "ethereum", "FIL": "filecoin", "GRT": "the-graph", "LINK": "chainlink", "LTC": "litecoin",
    "SHIB": "shiba-inu", "SOL": "solana", "UNI": "uniswap", "USDC": "usd-coin", "USDT": "tether", "XLM": "stellar",
    "XRP": "ripple", "XTZ": "tezos",
}  # fmt: skip
"""The coins whose ticker is not in doubt, by the id CoinGecko gives them."""
LISTED = ("equity", "etf", "mutual fund")
_US_TICKER = re.compile(r"[A-Z]{1,5}(?:\.[A-Z]{1,2})?")
_TICKER = re.compile(r"[A-Z0-9]{1,12}(?:[.-][A-Z0-9]{1,4})?")

Security = dict[str, Any]


def key_of(security: Security) -> str | None:
    """The InstrumentKey of a security; None for one without an id of any kind, and for plain cash.

    An option by its contract or OCC symbol; a coin by its ticker; what is listed by its ticker and venue, which must
    both be there (an institution's own number for a fund is no ticker); else by ISIN, or CUSIP;
    one with a wrong check digit is none; else `plaid:<security_id>`.
    """
    if cash_of(security) is not None:
        return None
    kind, ticker = text(security, "type"), (text(security, "ticker_symbol") or "").strip()
    if (option := _option(security, ticker)) is not None:
        return option
    if (coin := _coin(kind, ticker)) is not None:
        return f"crypto:{coin}"
    mic = text(security, "market_identifier_code") or ""
    own_number = ticker == (text(security, "institution_security_id") or "").strip()
    if kind in LISTED and not own_number and re.fullmatch(r"[A-Z0-9]{4}", mic):
        if mic in US_MICS and _US_TICKER.fullmatch(ticker):
            return f"us:{ticker}"
        if mic not in US_MICS and _TICKER.fullmatch(ticker):
            return f"{mic.lower()}:{ticker}"
    isin, own = good("isin", text(security, "isin")), (text(security, "security_id") or "").strip()
    if isin is not None:
        return f"isin:{isin}"
    if (cusip := good("cusip", text(security, "cusip"))) is not None:
        return f"cusip:{cusip}"
    return f"plaid:{own}" if own else None


def cash_of(security: Security) -> str | None:
    """The currency of a security that is plain cash: `CUR:USD` or, in older answers, `USD`; else None.

    A money market fund is no cash, though `is_cash_equivalent` says it is as good as that; a coin is none either,
    though older answers type `CUR:BTC` as cash.
    """
    if text(security, "type") != "cash":
        return None
    code = _code(text(security, "ticker_symbol") or "")
    if code in COINS:
        return None
    return code if re.fullmatch(r"[A-Z]{3}", code) else text(security, "iso_currency_code") or ""


def is_option(key: str | None) -> bool:
    return (key or "").startswith("opt:")


def text(row: Security, name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _code(ticker: str) -> str:
    return ticker.strip().removeprefix("CUR:")


def _coin(kind: str | None, ticker: str) -> str | None:
    return COINS.get(_code(ticker)) if kind in ("cryptocurrency", "cash") else None


def _option(security: Security, ticker: str) -> str | None:
    if (option := option_of(ticker)) is not None:
        return option
    contract = security.get("option_contract")
    if not isinstance(contract, dict):
        return None
    right = {"call": "C", "put": "P"}.get(text(contract, "contract_type") or "")
    day, root = text(contract, "expiration_date") or "", text(contract, "underlying_security_ticker") or ""
    strike = re.fullmatch(r"0*([0-9]{1,5})(?:\.([0-9]{1,3})0*)?", text(contract, "strike_price") or "")
    if right is None or strike is None or not re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", day):
        return None
    thousandths = int(strike[1]) * 1000 + int((strike[2] or "").ljust(3, "0"))
    return option_of(f"{root}{day[2:4]}{day[5:7]}{day[8:10]}{right}{thousandths:08d}")


# -- a ticker alone, as the rest of the house spells it ----------------------------------------------------------------

TYPES = {"equity": "equity", "etf": "etf", "fund": "mutual fund", "crypto": "cryptocurrency", "cash": "cash",
         "option": "derivative", "bond": "fixed income"}  # fmt: skip
"""Plaid's type of a kind of ours."""
_TICKERS = {coin: ticker for ticker, coin in COINS.items()}


def to_plaid(key: InstrumentKey) -> str | None:
    """What Plaid has as ticker: `CUR:USD` of cash, `CUR:BTC` of a coin, the exchange's of a listing, an OCC symbol."""
    match key.namespace:
        case "cash":
            return f"CUR:{key.symbol}"
        case "crypto":
            return f"CUR:{_TICKERS[key.symbol]}" if key.symbol in _TICKERS else None
        case "opt":
            return occ_of(str(key))
        case "us":
            return key.symbol if _US_TICKER.fullmatch(key.symbol) else None
        case _:
            return key.symbol if key.is_mic and _TICKER.fullmatch(key.symbol) else None


def from_plaid(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back; a listed ticker needs its venue (`mic`), as a security of Plaid says it."""
    if symbol.startswith("CUR:"):
        code = _code(symbol)
        return f"crypto:{COINS[code]}" if code in COINS else f"cash:{code}" if re.fullmatch(r"[A-Z]{3}", code) else None
    kind = context.kind or ("equity" if context.mic else "derivative")
    security = {"type": TYPES.get(kind, kind), "ticker_symbol": symbol, "market_identifier_code": context.mic}
    return key_of(security)


NOTATION = Notation(to_plaid, from_plaid, paired=True)
