"""Pairs ↔ ExchangeRate-API's currencies: nearly all of ISO 4217."""

from __future__ import annotations

import re


def to_exchangerate(pair: str) -> str | None:
    """`fx:EURUSD` → `USD`; None for what is no pair of the euro, which alone is asked for as base."""
    found = re.fullmatch(r"fx:EUR([A-Z]{3})", pair)
    return found[1] if found and found[1] != "EUR" else None


def calendar(pair: str) -> str:
    """Rates of every day, in UTC."""
    return "24/7"
