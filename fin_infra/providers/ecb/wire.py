"""The ECB's reference rates: nested Cubes in XML, or the data portal's CSV.

Facts: https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import NamedTuple
from xml.parsers import expat

from fin_infra.errors import WireError


class Cube(NamedTuple):
    """One rate: units of `currency` per euro, as the text that came, fixed on the day `time`."""

    time: str
    currency: str
    rate: str


@dataclass(frozen=True)
class ReferenceRates:
    """Rates in the order of the answer."""

    cubes: list[Cube]


ABSENT = frozenset({"", "N/A", "-"})
SERIES = ("CURRENCY", "TIME_PERIOD", "OBS_VALUE")


def rates(body: bytes) -> ReferenceRates:
    """The daily file, the one of 90 days, the whole history, or CSV of the series `EXR.D..EUR.SP00.A`.

    A currency without a value is left out: some come, some go. Raises `WireError` on anything else.
    """
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    return _cubes(body) if text.startswith(b"<") else _series(body)


def _cubes(body: bytes) -> ReferenceRates:
    """`<Cube><Cube time=…><Cube currency=… rate=…/>`. A document type is refused before it is read."""
    found: list[Cube] = []
    days: list[str | None] = []  # of each open Cube, the day it is of

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition("|")[2] != "Cube":
            return
        day = attributes.get("time", days[-1] if days else None)
        days.append(day)
        if "currency" in attributes or "rate" in attributes:
            if day is None or "currency" not in attributes or "rate" not in attributes:
                raise _shapeless("a rate without its day, currency or value", body)
            found.append(Cube(day, attributes["currency"], attributes["rate"].strip()))

    def end(tag: str) -> None:
        if tag.rpartition("|")[2] == "Cube":
            days.pop()

    def declared(*_: object) -> None:
        raise _shapeless("it declares a document type, which no rates need", body)

    parser = expat.ParserCreate(namespace_separator="|")
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = declared
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):  # LookupError: an encoding that nobody knows
        raise _shapeless(f"not whole XML ({len(body)} bytes)", body) from None
    return _some(found, body)


def _series(body: bytes) -> ReferenceRates:
    try:
        rows = list(csv.DictReader(body.decode("utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise _shapeless("neither XML nor CSV", body) from None
    if rows and not all(name in rows[0] for name in SERIES):
        raise _shapeless("neither XML nor CSV with CURRENCY, TIME_PERIOD and OBS_VALUE", body)
    cubes = [
        Cube(row["TIME_PERIOD"], row["CURRENCY"], (row["OBS_VALUE"] or "").strip()) for row in rows if row["CURRENCY"]
    ]
    return _some(cubes, body)


def _some(cubes: list[Cube], body: bytes) -> ReferenceRates:
    if not cubes:
        raise _shapeless("there is no rate in it", body)
    return ReferenceRates([cube for cube in cubes if cube.rate not in ABSENT])


def _shapeless(what: str, body: bytes) -> WireError:
    return WireError(f"an answer without its documented shape: {what}", evidence=body)


def refusal_word(body: bytes) -> str | None:
    """The ECB's refusals are pages for people: they have no word."""
    return None
