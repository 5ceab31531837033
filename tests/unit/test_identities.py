"""Figures held against each other: chains of running balances, what moved between two balances, values and a total."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.datasets.base import MONEY
from fin_infra.datasets.transactions import Transactions
from fin_infra.engine.identities import (
    Gap,
    Reading,
    chained,
    plain,
    running_gap,
    stepped,
    summed,
    tolerance,
    total,
    weighed,
    worth_difference,
)  # fmt: skip
from tests.guards import guarded

DAY = date(2026, 11, 1)
BIG = Decimal("99999999999999999999.999999999999999999")
OWED = BIG.copy_negate()
thorough = settings(max_examples=150, deadline=None)


def rows(*given: tuple[int | None, Any, Any] | tuple[int | None, Any, Any, str]) -> pl.DataFrame:
    """(day, amount, running balance, status)."""
    columns = {
        "transaction_id": [f"t{n}" for n in range(len(given))],
        "booked_on": [None if day is None else DAY + timedelta(days=day) for day, *_ in given],
        "amount": [Decimal(amount) for _, amount, *_ in given],
        "running_balance": [None if running is None else Decimal(running) for _, _, running, *_ in given],
        "status": [row[3] if len(row) > 3 else "posted" for row in given],
    }
    dtypes = Transactions.dtypes()
    return pl.DataFrame(columns, schema={name: dtypes[name] for name in columns})


def chain(amounts: Sequence[tuple[int, int]], opening: int = 0) -> list[tuple[int, int, int]]:
    """Rows in the order in which they were booked."""
    found, balance = [], opening
    for day, amount in amounts:
        balance += amount
        found.append((day, amount, balance))
    return found


days_and_amounts = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=1, max_size=14).map(
    lambda found: sorted(found, key=lambda row: row[0])
)


# -- running balances ----------------------------------------------------------------------------------------------------


@thorough
@given(booked=days_and_amounts, data=st.data())
def test_a_true_chain_has_no_gap_in_whatever_order_its_rows_come(booked: Any, data: st.DataObject) -> None:
    assert running_gap(rows(*data.draw(st.permutations(chain(booked))))) is None


@thorough
@given(booked=days_and_amounts, data=st.data())
def test_nulls_and_pending_rows_break_no_true_chain(booked: Any, data: st.DataObject) -> None:
    told = [(day, amount, None if data.draw(st.booleans()) else at) for day, amount, at in chain(booked)]
    more = [(day, 7, None, "pending") for day in range(3)] + [(None, 5, 5)]
    assert running_gap(rows(*data.draw(st.permutations([*told, *more])))) is None


@thorough
@given(amounts=st.lists(st.integers(1, 50), min_size=3, max_size=12, unique=True), data=st.data())
def test_a_row_that_is_missing_between_others_is_a_gap_of_its_amount(amounts: list[int], data: st.DataObject) -> None:
    whole = chain([(n, amount) for n, amount in enumerate(amounts)])
    place = data.draw(st.integers(1, len(whole) - 2))
    left = [*whole[:place], *whole[place + 1 :]]
    expected = Gap(DAY + timedelta(days=place + 1), DAY + timedelta(days=place - 1), Decimal(amounts[place]))
    assert running_gap(rows(*data.draw(st.permutations(left)))) == expected


@pytest.mark.parametrize(
    ("given", "day", "after", "off"),
    [
        ([(0, 10, 10), (1, -3, 7), (1, -3, 7)], 1, 1, None),  # a row twice
        ([(0, 10, 10), (1, 3, 7)], 1, 0, -6),  # a wrong sign
        ([(0, 10, 10), (0, 5, 20)], 0, 0, None),  # within one day
        ([(0, 10, 10), (1, 5, None), (2, 1, 17)], 2, 0, 1),  # over a day that tells nothing
        ([(0, 10, 10), (1, 5, 15), (1, -5, 10), (2, 1, 15)], 2, 1, 4),  # after a round
        ([(0, 10, 10), (1, 5, 100), (1, -5, 95)], 1, 0, 85),  # a round elsewhere
    ],
)
def test_where_rows_do_not_lead_on_is_told_with_the_difference(
    given: Any, day: int, after: int, off: int | None
) -> None:
    expected = Gap(DAY + timedelta(days=day), DAY + timedelta(days=after), None if off is None else Decimal(off))
    assert running_gap(rows(*given)) == expected
    assert running_gap(rows(*given[::-1])) == expected


@guarded(
    "a bank that dates otherwise than it books is taken for wrong", "engine/identities.py",
    "and _walk(booked) is not None:",
    "and False:",
)  # fmt: skip
def test_rows_booked_in_another_order_than_they_are_dated_are_no_gap() -> None:
    assert running_gap(rows((1, 5, 13), (0, 10, 10), (4, 1, 14), (3, -2, 8))) is None


@guarded(
    "sums are rounded to 28 digits", "engine/identities.py", "EXACT = Context(prec=76)", "EXACT = Context(prec=28)"
)
def test_amounts_of_38_digits_are_exact() -> None:
    tiny = Decimal("0.000000000000000001")
    assert total([BIG, BIG, OWED, tiny]) == Decimal("100000000000000000000")
    assert plain(total([BIG, BIG])) == "199999999999999999999.999999999999999998"
    assert running_gap(rows((0, BIG, 0), (1, OWED, OWED), (2, BIG, 0))) is None
    assert running_gap(rows((0, BIG, 0), (1, OWED, OWED), (2, BIG, tiny))) == Gap(
        DAY + timedelta(days=2), DAY + timedelta(days=1), tiny
    )
    assert summed({}, rows((0, BIG, None), (0, BIG, None)), DAY)["sum"] == "199999999999999999999.999999999999999998"


def test_a_gap_stands_until_an_answer_shows_its_day_again() -> None:
    broken, fine = rows((0, 10, 10), (1, 5, 20)), rows((2, 1, 21))
    told = chained(None, broken, None)
    assert told == {"day": "2026-11-02", "after": "2026-11-01", "off": "5"}
    assert chained(told, fine, DAY + timedelta(days=1)) == told
    assert chained(told, rows((0, 15, 15), (1, 5, 20), (2, 1, 21)), DAY) is None


def test_a_long_history_is_looked_through_in_a_moment() -> None:
    draw = random.Random(1)
    booked = chain([(n // 20, draw.randint(-500, 500)) for n in range(40_000)])
    frame = rows(*booked).sample(fraction=1, shuffle=True, seed=1)
    begin = time.perf_counter()
    assert running_gap(frame) is None
    assert time.perf_counter() - begin < 5


# -- two balances ----------------------------------------------------------------------------------------------------------


def read(current: Any, at: int) -> Reading:
    return Reading("USD", None if current is None else Decimal(current), None, at)


def weigh(*steps: tuple[int, int]) -> list[str | None]:
    """(Balance, sum of the rows known by then) at each reading: the difference that is told."""
    anchor: dict[str, Any] = {"total": str(steps[0][1])}
    told = []
    for at, (current, known) in enumerate(steps):
        anchor = weighed({**anchor, "before": anchor["total"], "total": str(known)}, read(current, at))
        told.append(anchor.get("off"))
    return told


def test_a_difference_is_told_at_its_second_reading_and_until_it_agrees_again() -> None:
    assert weigh(*[(100, 0)] * 3, (90, 0), (90, 0), (85, -5), (85, -15)) == [None] * 4 + ["-10", "-10", None]


def test_feeds_of_different_speed_are_no_difference() -> None:
    assert weigh(*[(100, 0)] * 3, (90, 0), (85, -10), (70, -15), (70, -30), (70, -35), (65, -35)) == [None] * 9


def test_an_anchor_that_was_cast_between_two_feeds_is_not_held_to() -> None:
    assert weigh((90, 0), (90, -10), (90, -10), (80, -20), (80, -20)) == [None] * 5


def test_one_reading_is_judged_once_and_one_without_a_balance_not_at_all() -> None:
    anchor = weighed({"before": "0", "total": "0"}, read(5, 1))
    assert weighed(anchor, read(5, 1)) == anchor
    assert weighed(anchor, read(None, 2)) == anchor
    assert weighed({}, read(5, 1)) == {}


def test_a_window_counts_the_days_that_both_answers_show() -> None:
    first = summed({}, rows((0, 100, None), (5, -3, None), (6, -4, None, "pending")), DAY + timedelta(days=4))
    assert first == {"before": "0", "total": "0", "from": "2026-11-05", "sum": "-3"}
    then = summed(first, rows((5, -3, None), (6, -4, None), (9, -1, None)), DAY + timedelta(days=8))
    assert then == {"before": "0", "total": "-5", "from": "2026-11-09", "sum": "-1"}
    assert summed(then, rows((8, -7, None)), DAY + timedelta(days=8))["total"] == "-11"
    assert summed(then, rows((None, 1, None)), DAY) == {}


@thorough
@given(
    steps=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), max_size=6, unique_by=lambda row: row[0]), max_size=5
    )
)
def test_a_cursor_streams_steps_come_to_the_sum_of_what_is_left(steps: Any) -> None:
    held: dict[str, int] = {}
    anchor: dict[str, Any] = {"total": "0"}
    for step in steps:
        names = {f"t{n}": amount for n, amount in step}
        removed = [name for name, amount in names.items() if amount == 0]
        new = {name: amount for name, amount in names.items() if amount}
        before = rows(*((0, amount, None) for amount in held.values()))
        before = before.with_columns(transaction_id=pl.Series(list(held), dtype=pl.String))
        came = rows(*((0, amount, None) for amount in new.values()))
        came = came.with_columns(transaction_id=pl.Series(list(new), dtype=pl.String))
        anchor = stepped(anchor, before, came, removed)
        held = {name: amount for name, amount in {**held, **new}.items() if name not in removed}
        assert Decimal(anchor["total"]) == sum(held.values())


# -- values and the total --------------------------------------------------------------------------------------------------

MINUTE = 60_000_000


def worth(values: Sequence[Any], current: Any, cash: Any, at: int = 0, currency: str = "USD") -> Decimal | None:
    columns = {
        "market_value": [None if v is None else Decimal(v) for v in values],
        "currency": [currency] * len(values),
    }
    frame = pl.DataFrame(columns, schema={"market_value": MONEY, "currency": pl.String})
    total_value, its_cash = (None if v is None else Decimal(v) for v in (current, cash))
    return worth_difference(frame, Reading("USD", total_value, its_cash, 0), at)


@pytest.mark.parametrize(
    ("values", "current", "cash", "expected"),
    [
        (["100", "200"], "350", "50", 0),
        (["100", "200"], "350.02", "50", 0),  # rounded, or priced a moment later
        (["100000"], "100400", "0", 0),
        (["100000"], "100600", "0", -600),
        (["100", "100", "200", "200"], "350", "50", 300),  # two snapshots in one
        ([], "50", "50", 0),
        ([], "50", "20", -30),
        (["-300", "300"], "10", "0", -10),  # long and short: what moves with prices is not what is left of them
        (["100", None], "350", "50", None),
        (["100"], None, "50", None),
        (["100"], "150", None, None),
        ([BIG, BIG], BIG, "0", BIG),
    ],
)
def test_positions_and_cash_are_the_accounts_value(values: Any, current: Any, cash: Any, expected: Any) -> None:
    assert worth(values, current, cash) == expected


def test_there_is_no_verdict_over_currencies_or_hours() -> None:
    assert worth(["100"], "900", "0", currency="EUR") is None
    assert worth(["100"], "900", "0", at=16 * MINUTE) is None
    assert worth(["100"], "900", "0", at=-15 * MINUTE) == -800


def test_the_tolerance_is_a_cent_a_position_or_half_a_percent_of_what_moves() -> None:
    assert tolerance([]) == 0
    assert tolerance([Decimal("0.10")] * 3) == Decimal("0.03")
    assert tolerance([Decimal(-1000), Decimal(1000)]) == 10
