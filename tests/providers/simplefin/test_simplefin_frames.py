"""What figures and texts of SimpleFIN mean. Pure."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.providers.simplefin.client import SPAN, spans
from fin_infra.providers.simplefin.frames import basis_of
from fin_infra.providers.simplefin.wire import plain


@pytest.mark.parametrize(
    ("basis", "shares", "price", "value", "total"),
    [
        ("7320.00", "30.5", "240.00", "9150.00", "7320.00"),  # the total, by its purchase price
        ("240.00", "30.5", "240.00", "9150.00", "7320.000"),  # of one share, by its purchase price
        ("500.00", "30.5", "240.00", "9150.00", None),  # neither
        ("0.00", "30.5", "240.00", "9150.00", None),
        ("10000.00", "200.00", "0.00", "15000.00", "10000.00"),
        ("70.00", "200.00", "0.00", "15000.00", None),  # of one share by its looks, but nothing says so
        (None, "1", "1", "1", None),
        ("n/a", "1", "1", "1", None),
    ],
)
def test_a_basis_is_a_total_or_not_known(
    basis: str | None, shares: str, price: str, value: str, total: str | None
) -> None:
    assert basis_of(basis, shares, price, value) == total


@given(st.integers(0, 800))
def test_spans_cover_every_day_once_and_none_is_too_long(back: int) -> None:
    today = date(2026, 11, 24)
    oldest = today - timedelta(days=back)
    found = spans(oldest, today)
    days = [
        first + timedelta(days=n) for first, end in found for n in range(((end or today + timedelta(1)) - first).days)
    ]
    assert sorted(days) == [oldest + timedelta(days=n) for n in range(back + 1)]
    assert all((end or today + timedelta(days=1)) - first <= SPAN for first, end in found)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("<b>Hi</b> there", "Hi there"), ("&lt;script&gt;alert(1)&lt;/script&gt;", "alert(1)"), ("a < b", "a b"),
        ("see https://u:p@evil.example/x now", "see (address) now"), ("a\x1b[31m\u202eb", "a [31m b"),
    ],
)  # fmt: skip
def test_error_texts_can_be_shown(said: str, shown: str) -> None:
    assert plain(said) == shown
