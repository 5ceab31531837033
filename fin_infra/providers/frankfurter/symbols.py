"""Pairs ↔ the currencies Frankfurter has: those of the ECB."""

from __future__ import annotations

CURRENCIES = (
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KRW",
    "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK", "SGD", "THB", "TRY", "USD", "ZAR",
)  # fmt: skip


def to_frankfurter(pair: str) -> str | None:
    """`fx:EURUSD` → `USD`; None for a pair it has no rate of. Only the euro is asked for as base."""
    code = pair.removeprefix("fx:EUR")
    return code if code in CURRENCIES else None


def calendar(pair: str) -> str:
    """The ECB's days: TARGET's."""
    return "TARGET"
