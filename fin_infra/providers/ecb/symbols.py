"""Pairs ↔ the currencies the ECB has a reference rate of."""

from __future__ import annotations

CURRENCIES = (
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KRW",
    "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK", "SGD", "THB", "TRY", "USD", "ZAR",
)  # fmt: skip
ENDED = ("BGN", "CYP", "EEK", "HRK", "LTL", "LVL", "MTL", "ROL", "RUB", "SIT", "SKK", "TRL")
"""Had one once: it is in the history, and no new one comes. Most became the euro; the rouble was suspended in 2022."""


def to_ecb(pair: str) -> str | None:
    """`fx:EURUSD` → `USD`; None for a pair that has no reference rate, or has none any more."""
    code = pair.removeprefix("fx:EUR")
    return code if code in CURRENCIES else None


def calendar(pair: str) -> str:
    """Days with a reference rate are TARGET's working days."""
    return "TARGET"
