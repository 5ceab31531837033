"""Share classes, preferreds, warrants, units: what stands behind the root of a listed symbol, in each convention.

A style gives, for each kind of line, how it is written plain and with a letter. The keys' own style is that of CMS with
dots, as US brokers write it; Canadian lines have the style of Toronto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

Style = Mapping[str, tuple[str | None, str | None]]

KINDS = ("warrant", "unit", "usd", "right", "issued", "debenture", "preferred", "class")
"""In the order in which a spelling is looked at: `-P` is a preferred before it is a class P."""

KEYS: Style = {
    "warrant": (".WS", ".WS.{}"), "unit": (".U", None), "right": (".RT", None), "issued": (".WI", None),
    "preferred": (".PR", ".PR{}"), "class": (None, ".{}"),
}  # fmt: skip
TORONTO: Style = {
    "warrant": (".WT", ".WT.{}"), "unit": (".UN", None), "usd": (".U", None), "right": (".RT", None),
    "debenture": (".DB", ".DB.{}"), "preferred": (None, ".PR.{}"), "class": (None, ".{}"),
}  # fmt: skip
VENUES: Style = {"class": (None, ".{}")}
"""Of other venues: `NOVO.B`."""


def rewritten(symbol: str, old: Style, new: Style) -> str | None:
    """The symbol in another style; None where that style cannot write it, or reads something else in it."""
    if (parts := taken_apart(symbol, old)) is None:
        return None
    root, kind, letter = parts
    if kind is None:
        return root
    plain, lettered = new.get(kind, (None, None))
    if letter is None:
        return None if plain is None else root + plain
    return None if lettered is None else root + lettered.format(letter)


def taken_apart(symbol: str, style: Style) -> tuple[str, str | None, str | None] | None:
    """Root, kind of line and its letter; None for a spelling that the style does not have."""
    for kind, pattern in _patterns(tuple((kind, style[kind]) for kind in KINDS if kind in style)):
        if (found := pattern.fullmatch(symbol)) is not None:
            return found["root"], kind, found.groupdict().get("letter")
    return (symbol, None, None) if re.fullmatch(r"[A-Z0-9]+", symbol) else None


@cache
def _patterns(forms: tuple[tuple[str, tuple[str | None, str | None]], ...]) -> list[tuple[str, re.Pattern[str]]]:
    made = []
    for kind, (plain, lettered) in forms:
        for form in (plain, lettered):
            if form is not None:
                behind = re.escape(form).replace(r"\{\}", "(?P<letter>[A-Z])")
                made.append((kind, re.compile(f"(?P<root>[A-Z0-9]+){behind}")))
    return made
