"""Frankfurter's answers: days, periods, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from fin_infra.errors import WireError
from fin_infra.providers.base import Ask, Want
from fin_infra.providers.frankfurter import frames, wire
from fin_infra.providers.frankfurter.symbols import CURRENCIES, to_frankfurter
from tests.guards import guarded

AT = datetime(2026, 11, 24, 17, tzinfo=UTC)


def body(**more: Any) -> bytes:
    return json.dumps({"amount": 1.0, "base": "EUR", "date": "2026-11-20", "rates": {"USD": 1.1}, **more}).encode()


def test_every_digit_of_a_number_is_kept() -> None:
    text = b'{"amount":1.0,"base":"EUR","date":"2026-11-20","rates":{"USD":1.13670,"IDR":20384.10,"BTC":1e-05}}'
    assert wire.rates(text).rows == [
        ("2026-11-20", "USD", "1.13670"), ("2026-11-20", "IDR", "20384.10"), ("2026-11-20", "BTC", "1e-05"),
    ]  # fmt: skip
    built = frames.rates([(wire.rates(text), AT)], Ask("frankfurter", "ada", "con", "run", AT))
    assert built.good.sort("quote")["rate"].to_list() == [Decimal("0.00001"), Decimal("20384.1"), Decimal("1.1367")]


@guarded(
    "rates of 100 are not rates of 1",
    "providers/frankfurter/wire.py",
    'if not re.fullmatch(r"1(\\.0*)?", amount):',
    "if False:",
)
@pytest.mark.parametrize("amount", [100, 10.0, 0.5, 0, 1.5])
def test_rates_of_another_amount_than_one_are_refused(amount: float) -> None:
    with pytest.raises(WireError, match="an amount that is not 1"):
        wire.rates(body(amount=amount))
    assert wire.rates(body(amount=1)).rows == wire.rates(body()).rows


@pytest.mark.parametrize("answer", [
    b"", b"[]", b"null", b"{", b'{"message":"not found"}', body(rates=None), body(rates=[1]), body(date=None), body(base=None),
    body(rates={"USD": None}), body(rates={"USD": {"x": 1}}), body(start_date="2026-11-20"), b'{"amount":1,"base":"EUR","date":"2026-11-20","rates":{"USD":NaN}}',
])  # fmt: skip
def test_anything_else_is_a_broken_contract(answer: bytes) -> None:
    with pytest.raises(WireError):
        wire.rates(answer)


def test_t39_the_day_is_the_one_in_the_answer_not_the_one_asked_for() -> None:
    saturday = Ask("frankfurter", "ada", "con", "run", AT)
    built = frames.rates([(wire.rates(body()), AT)], saturday)
    assert built.good["rate_on"].to_list() == [date(2026, 11, 20)]


def test_days_before_the_period_other_currencies_and_the_base_itself_are_left_out() -> None:
    period = json.dumps({"amount": 1, "base": "EUR", "start_date": "2026-11-13", "end_date": "2026-11-17", "rates": {
        "2026-11-13": {"USD": 1.13}, "2026-11-16": {"USD": 1.16, "GBP": 0.8, "EUR": 1}, "2026-11-17": {"USD": 1.17},
    }}).encode()  # fmt: skip
    want = Want("fx:EURUSD", "USD", date(2026, 11, 16), date(2026, 11, 16))
    built = frames.rates([(wire.rates(period), AT)], Ask("frankfurter", "ada", "con", "run", AT, wants=[want]))
    assert built.good["rate_on"].to_list() == [date(2026, 11, 16), date(2026, 11, 17)]  # a later one the engine refuses
    assert set(built.good["quote"]) == {"USD"}
    assert built.rejects == ()


def test_a_pair_and_its_currency() -> None:
    assert to_frankfurter("fx:EURUSD") == "USD"
    assert [to_frankfurter(pair) for pair in ("fx:EURRUB", "fx:USDEUR", "fx:EUREUR", "us:USD")] == [None] * 4
    assert len(CURRENCIES) == 29
