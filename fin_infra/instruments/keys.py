"""InstrumentKey: `namespace:symbol`. The namespace is a lower-case MIC or one of a few fixed words."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

_CALENDARS = {"us": "XNYS", "opt": "XNYS", "mf": "XNYS", "crypto": "24/7", "caip19": "24/7", "fx": "FX"}
_FUTURES = {"xcec": "CMES", "xnym": "CMES", "xcme": "CMES", "xcbt": "CMES"}
_NO_VENUES = frozenset({"cash", "isin", "figi"})  # of four letters, and no MIC
_OCC = re.compile(r"([A-Z][A-Z0-9.]{0,5}) *([0-9]{2})([0-9]{2})([0-9]{2})([CP])([0-9]{8})")
_OPTION = re.compile(r"opt:([A-Z0-9.]+):20([0-9]{2})-([0-9]{2})-([0-9]{2}):([CP]):([0-9]+(?:\.[0-9]+)?)")


def calendar_of(instrument: str) -> str | None:
    """The calendar whose sessions an instrument has: a MIC, FX, CMES or 24/7; None where its name does not tell.

    `us:AAPL` → `XNYS`, `mf:VFIAX` → `XNYS`, `crypto:bitcoin` → `24/7`, `xlon:VOD` → `XLON`, `fut:xcec:GC` → `CMES`,
    `fx:EURUSD` → `FX`. None for an index, an ISIN and other identifiers, cash, and a vendor's own id. Whether we have
    that calendar is another question.
    """
    namespace, _, symbol = instrument.partition(":")
    if namespace in _CALENDARS:
        return _CALENDARS[namespace]
    if namespace == "fut":
        return _FUTURES.get(symbol.partition(":")[0])
    return namespace.upper() if re.fullmatch(r"[a-z0-9]{4}", namespace) and namespace not in _NO_VENUES else None


def option_of(occ: str) -> str | None:
    """`AAPL260116C00200000`, padded or not → `opt:AAPL:2026-01-16:C:200`; None for what is no OCC symbol."""
    if (found := _OCC.fullmatch(occ)) is None:
        return None
    root, year, month, day, right, strike = found.groups()
    try:
        date(2000 + int(year), int(month), int(day))
    except ValueError:
        return None
    plain = format((Decimal(strike) / 1000).normalize(), "f")
    return f"opt:{root}:20{year}-{month}-{day}:{right}:{plain}"


def occ_of(instrument: str) -> str | None:
    """The way back, unpadded; None for what is no option, or one that OCC cannot write: it has tenths of a cent."""
    if (found := _OPTION.fullmatch(instrument)) is None:
        return None
    root, year, month, day, right, strike = found.groups()
    occ = f"{root}{year}{month}{day}{right}{int(Decimal(strike) * 1000):08d}"
    return occ if option_of(occ) == instrument else None
