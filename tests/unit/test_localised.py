"""Tables in a locale: separators and signs change, digits never."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from babel.numbers import parse_decimal
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.cli.localised import EXACT, Localised
from fin_infra.errors import UsageError
from tests.guards import guarded
from tests.unit.helpers import one_sentence

amounts = st.decimals(min_value=-(10**19), max_value=10**19, places=18, allow_nan=False, allow_infinity=False)
locales = st.sampled_from(["en_US", "de_DE", "de_CH", "fr_FR", "hi_IN", "ja_JP", "pt_BR", "sv_SE"])


@pytest.mark.parametrize(
    ("locale", "amount", "currency", "shown"),
    [
        ("en_US", "-1234.5", "USD", "-$1,234.50"),
        ("de_DE", "-1234.5", "EUR", "-1.234,50 €"),
        ("hi_IN", "1234567", "INR", "₹12,34,567.00"),
        ("en_US", "1000000", "JPY", "¥1,000,000"),
        ("en_US", "0.5", "JPY", "¥0.5"),  # half a yen is an average, and stays one
        ("en_US", "5", "AFN", "AFN 5.00"),  # CLDR shows none of its digits
        ("en_US", "5.125", "KWD", "KWD 5.125"),
        ("de_DE", "0.000000000000000001", "ETH", "0,000000000000000001 ETH"),
        ("en_US", "0.00000001", "BTC", "BTC 0.00000001"),
        ("en_US", "1E+3", "USD", "$1,000.00"),
        ("en_US", "-0", "USD", "$0.00"),
    ],
)
def test_money_in_a_locale(locale: str, amount: str, currency: str, shown: str) -> None:
    assert Localised.of(locale).money(Decimal(amount), currency).replace("\u00a0", " ") == shown


@guarded("tables keep all digits", "cli/localised.py", "EXACT = Context(prec=100)", "EXACT = Context(prec=28)")
@given(amount=amounts, locale=locales)
def test_no_digit_is_lost(amount: Decimal, locale: str) -> None:
    local = Localised.of(locale)
    assert EXACT.compare(parse_decimal(local.number(amount), locale=locale), amount) == 0
    digits = [c for c in local.money(amount, "USD") if c.isdigit()]
    plain = [c for c in f"{amount:f}".rstrip("0") if c.isdigit()]
    assert "".join(digits).lstrip("0").startswith("".join(plain).lstrip("0"))


def test_days_and_instants() -> None:
    local = Localised.of("de_DE")
    assert local.day(date(2026, 11, 27)) == "27.11.2026"
    assert "27. November 2026" in local.instant(datetime(2026, 11, 27, 18, tzinfo=UTC))
    assert "UTC" in local.instant(datetime(2026, 11, 27, 18, tzinfo=UTC))
    assert local.cell("us:TRUE") == "us:TRUE"
    assert local.cell(None) is None


def test_names_with_a_hyphen_are_understood_and_others_refused() -> None:
    assert Localised.of("de-CH") == Localised.of("de_CH")
    with pytest.raises(UsageError) as wrong:
        Localised.of("klingon")
    assert "klingon" in one_sentence(wrong.value)
