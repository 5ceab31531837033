"""Money, numbers and dates as people of a locale write them: in tables alone, never in data that is read by machines.

No digit is lost: a locale decides about separators, signs and the place of the currency, never about rounding. CLDR's
own digits of a currency are for price tags (it knows none for the Afghani), so those of ISO 4217 are the fewest shown.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime
from babel.numbers import NumberPattern, format_decimal, get_currency_symbol

from fin_infra.errors import UsageError
from fin_infra.instruments.currencies import minor_units

EXACT = Context(prec=100)
NO_BREAK = "\u00a0"
"""Between a code and its digits: `BTC0.1` reads as a word."""


@dataclass(frozen=True)
class Localised:
    """How values look in one locale. `of` makes it from a name such as `de_DE` or `de-CH`."""

    locale: Locale

    @classmethod
    def of(cls, name: str) -> Localised:
        """Raises `UsageError` for a name that CLDR does not know."""
        try:
            return cls(Locale.parse(name.strip(), sep="-" if "-" in name else "_"))
        except (ValueError, UnknownLocaleError, TypeError):
            raise UsageError(f"no locale {name!r}; write a language and a country, like en_US or de_CH") from None

    def money(self, amount: Decimal, currency: str) -> str:
        """`-12,34 €`: all digits of the amount, and at least those that its currency has."""
        pattern: NumberPattern = copy.copy(self.locale.currency_formats["standard"])
        least = minor_units(currency) or 0
        pattern.frac_prec = (least, least)
        symbol = get_currency_symbol(currency, locale=self.locale)
        (plus, minus), (after_plus, after_minus) = pattern.prefix, pattern.suffix
        pattern.prefix = _apart(plus, symbol, before=True), _apart(minus, symbol, before=True)
        pattern.suffix = _apart(after_plus, symbol, before=False), _apart(after_minus, symbol, before=False)
        with localcontext(EXACT):  # Python's usual 28 digits would round in passing
            text: str = pattern.apply(
                _short(amount), self.locale, currency=currency, currency_digits=False, decimal_quantization=False
            )
        return text

    def number(self, value: Decimal) -> str:
        """`1.234,5`: all digits, no idle zeros."""
        with localcontext(EXACT):
            return format_decimal(_short(value), locale=self.locale, decimal_quantization=False)

    def day(self, day: date) -> str:
        return format_date(day, "medium", locale=self.locale)

    def instant(self, at: datetime) -> str:
        """To the second, in UTC, which it says."""
        return format_datetime(at.astimezone(UTC), "long", tzinfo=UTC, locale=self.locale)

    def cell(self, value: Any, currency: str | None = None) -> Any:
        """A table's value; what is neither amount nor time stays as it is."""
        match value:
            case Decimal():
                return self.number(value) if currency is None else self.money(value, currency)
            case datetime():
                return self.instant(value)
            case date():
                return self.day(value)
            case _:
                return value


def _short(value: Decimal) -> Decimal:
    """Without idle zeros, which Babel would show as digits of the amount."""
    short = value.normalize(EXACT)
    return Decimal(0) if short == 0 else short


def _apart(part: str, symbol: str, *, before: bool) -> str:
    """A letter of the symbol does not touch a digit."""
    if (not part.endswith("¤") and before) or (not part.startswith("¤") and not before):
        return part
    if before:
        return part + NO_BREAK if symbol[-1:].isalpha() else part
    return NO_BREAK + part if symbol[:1].isalpha() else part
