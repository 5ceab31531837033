"""Exchanges by MIC (ISO 10383): in which currency a listing is quoted, and whether in its major unit or in cents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fin_infra.instruments.currencies import currency as currency_of
from fin_infra.instruments.key import InstrumentKey, as_key
from fin_infra.instruments.known import spelled

Unit = Literal["major", "minor"]

US_MICS = frozenset(
    {"XNYS", "XNAS", "XASE", "ARCX", "BATS", "BATY", "EDGA", "EDGX", "XCHI", "XPHL", "XBOS", "IEXG", "MEMX", "XNGS",
     "XNMS", "XNCM", "XCIS", "AMXO", "OTCM", "OTCQ", "OTCB", "PINX", "XOTC", "PSGM"}
)  # fmt: skip
"""Venues whose tickers form one namespace, that of US listings."""

CURRENCIES = {
    "xlon": "GBP", "xtse": "CAD", "xtsx": "CAD", "xcnq": "CAD", "neoe": "CAD", "xhkg": "HKD", "xtks": "JPY",
    "xngo": "JPY", "xfka": "JPY", "xsap": "JPY", "xshg": "CNY", "xshe": "CNY", "bjse": "CNY", "xkrx": "KRW",
    "xkos": "KRW", "xtai": "TWD", "roco": "TWD", "xses": "SGD", "xasx": "AUD", "xnze": "NZD", "xnse": "INR",
    "xbom": "INR", "xidx": "IDR", "xkls": "MYR", "xbkk": "THB", "xstc": "VND", "xhnx": "VND", "xphs": "PHP",
    "xpar": "EUR", "xams": "EUR", "xbru": "EUR", "xlis": "EUR", "xdub": "EUR", "xmil": "EUR", "xmad": "EUR",
    "xetr": "EUR", "xfra": "EUR", "xber": "EUR", "xdus": "EUR", "xham": "EUR", "xhan": "EUR", "xmun": "EUR",
    "xstu": "EUR", "xgat": "EUR", "xwbo": "EUR", "asex": "EUR", "xath": "EUR", "xhel": "EUR", "xtal": "EUR",
    "xris": "EUR", "xlit": "EUR", "xmal": "EUR", "xlju": "EUR", "xlux": "EUR", "xzag": "EUR", "xbul": "BGN",
    "xsto": "SEK", "xcse": "DKK", "xosl": "NOK", "xice": "ISK", "xswx": "CHF", "xpra": "CZK", "xwar": "PLN",
    "xbud": "HUF", "xbse": "RON", "xist": "TRY", "misx": "RUB", "xtae": "ILS", "xjse": "ZAR", "xsau": "SAR",
    "dsmd": "QAR", "xkuw": "KWD", "xdfm": "AED", "xads": "AED", "xbah": "BHD", "xmus": "OMR", "xamm": "JOD",
    "xcai": "EGP", "xcas": "MAD", "xnsa": "NGN", "xnai": "KES", "bvmf": "BRL", "xmex": "MXN", "xsgo": "CLP",
    "xbue": "ARS", "xbog": "COP", "xlim": "PEN", "bvca": "VES", "xkar": "PKR", "xcol": "LKR", "xdha": "BDT",
}  # fmt: skip
"""What a venue trades in, if a listing does not say otherwise. Source: the exchanges' own pages."""

MINOR_VENUES = {"xlon": "GBX", "xjse": "ZAc", "xtae": "ILA", "xkuw": "KWF"}
"""Venues that quote in a part of the currency: pence, cents, agorot (hundredths) and fils (thousandths)."""

EXCEPTIONS = {
    # Vanguard's and iShares' lines in London by the trading currency of their product pages
    "xlon:VUSA": "GBP", "xlon:VUAG": "GBP", "xlon:VWRL": "GBP", "xlon:VWRP": "GBP", "xlon:VEVE": "GBP",
    "xlon:VHVG": "GBP", "xlon:VFEM": "GBP", "xlon:VMID": "GBP", "xlon:VUKE": "GBP", "xlon:VHYL": "GBP",
    "xlon:VJPN": "GBP", "xlon:VERX": "GBP", "xlon:VAPX": "GBP", "xlon:VNRT": "GBP", "xlon:VGOV": "GBP",
    "xlon:VUSD": "USD", "xlon:VUAA": "USD", "xlon:VWRD": "USD", "xlon:VWRA": "USD", "xlon:VHYD": "USD",
    "xlon:CSPX": "USD", "xlon:IDUS": "USD", "xlon:IWDA": "USD", "xlon:SWDA": "GBX", "xlon:EIMI": "USD",
    "xlon:EMIM": "GBX", "xlon:IGLN": "USD", "xlon:IUSA": "GBX", "xlon:CNX1": "GBX", "xlon:CNDX": "USD",
    "xlon:SSAC": "GBX", "xlon:ISAC": "USD", "xlon:IDTL": "USD", "xlon:DTLA": "USD", "xlon:IB01": "USD",
    "xlon:SGLN": "GBX", "xlon:PHAU": "USD", "xlon:SPXL": "USD",
}  # fmt: skip
"""Listings whose line is not quoted in the venue's own unit (or is easily thought so): funds choose it line by line."""


@dataclass(frozen=True)
class Quote:
    """How a listing is quoted: the ISO 4217 currency, in its major unit or in a part of it, and the code of that."""

    currency: str
    unit: Unit = "major"
    code: str = ""


def quote_of(key: InstrumentKey | str, *, currency: str | None = None) -> Quote | None:
    """The currency and unit of a listing's prices; None where that depends on who is asked (a coin, an ISIN).

    `currency`: what the vendor says beside the price: it outranks every table, and its case matters (`GBp` is pence).
    Raises `UsageError` for what is no key.
    """
    if currency:
        return quoted_in(currency)
    key = as_key(key)
    match key.namespace:
        case "us" | "opt" | "mf":
            return Quote("USD", "major", "USD")
        case "fut":
            code = FUTURES.get(key.symbol.split(":")[0])
        case "idx":
            code = spelled(str(key), "currency")
        case "fx":
            code = key.symbol[3:]
        case "cash":
            code = key.symbol
        case _:
            code = _listed_in(key) if key.is_mic else None
    return quoted_in(code) if code else None


FUTURES = {"xcec": "USD", "xnym": "USD", "xcme": "USD", "xcbt": "USD", "ifus": "USD", "ifeu": "USD", "xcbf": "USD"}


def quoted_in(code: str) -> Quote:
    """The quote of a vendor's currency code. Raises `UsageError` for what is none."""
    found = currency_of(code)
    if found.status == "quote_unit" and found.normalises_to is not None:
        return Quote(found.normalises_to, "minor", code)
    return Quote(found.code, "major", code)


def _listed_in(key: InstrumentKey) -> str | None:
    if (code := EXCEPTIONS.get(str(key))) is not None:
        return code
    venue, symbol = key.namespace, key.symbol
    if venue == "xhkg" and re.fullmatch(r"8[0-9]{4}", symbol):
        return "CNY"  # the exchange's plan of stock codes: 80000 to 89999 trade in renminbi
    if venue == "xhkg" and re.fullmatch(r"09(?:0|1|80|81|82|83|84)[0-9]+", symbol) and len(symbol) == 5:
        return "USD"  # … 9000 to 9199 and 9800 to 9849 in US dollars
    if venue in ("xtse", "xtsx", "xcnq", "neoe") and symbol.endswith(".U"):
        return "USD"  # Toronto marks lines in US dollars so
    return MINOR_VENUES.get(venue) or CURRENCIES.get(venue)
