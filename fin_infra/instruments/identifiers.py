"""ISIN, CUSIP, SEDOL and FIGI: whether a text is one. A wrong check digit is refused, never put right."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from types import ModuleType

SCHEMES = ("isin", "cusip", "sedol", "figi")
NAMES = {"isin": "ISIN", "cusip": "CUSIP", "sedol": "SEDOL", "figi": "FIGI"}
_MODULES = {"isin": "stdnum.isin", "cusip": "stdnum.cusip", "sedol": "stdnum.gb.sedol", "figi": "stdnum.figi"}
_SHAPES = {
    "isin": re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]"),
    "cusip": re.compile(r"[A-Z0-9*@#]{8}[0-9]"),
    "sedol": re.compile(r"[B-DF-HJ-NP-TV-Z0-9]{6}[0-9]"),
    "figi": re.compile(r"[B-DF-HJ-NP-TV-Z]{2}G[B-DF-HJ-NP-TV-Z0-9]{8}[0-9]"),
}


def fault_of(scheme: str, text: str) -> str | None:
    """What is wrong with an identifier of a scheme, in a few words; None when it is good.

    Upper case only and without spaces: what an import lost or added is not guessed. The check digits and the countries
    of an ISIN are those of python-stdnum.
    """
    if _SHAPES[scheme].fullmatch(text) is None:
        return f"is no {NAMES[scheme]}"
    module = _module(scheme)
    if module.is_valid(text):
        return None
    check: Callable[[str], str] = getattr(module, "calc_check_digit")  # noqa: B009 - stdnum has no types
    if check(text[:-1]) != text[-1]:
        return f"has the wrong check digit for a {NAMES[scheme]}" if scheme != "isin" else "has a wrong check digit"
    return f"is no {NAMES[scheme]}: its country or prefix is not assigned"


def good(scheme: str, text: str | None) -> str | None:
    """The identifier; None where there is none or it is wrong."""
    return text if text is not None and fault_of(scheme, text) is None else None


def isin_of(scheme: str, text: str) -> str | None:
    """The ISIN that a SEDOL (GB) or a CUSIP (US) is the middle of; None for a wrong one, and for a FIGI.

    A CUSIP of a Canadian or foreign issuer belongs to another country: its ISIN is not told by it alone, so this is for
    comparing, never for storing.
    """
    if good(scheme, text) is None:
        return None
    match scheme:
        case "isin":
            return text
        case "cusip" | "sedol":
            made: str = _module(scheme).to_isin(text)
            return good("isin", made)
        case _:
            return None


def _module(scheme: str) -> ModuleType:
    return importlib.import_module(_MODULES[scheme])  # each when it is needed: they read tables of countries
