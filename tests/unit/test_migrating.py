"""A bank's connection at one vendor replaced by one at another: which accounts and rows are the same."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.engine.migrating import same_accounts, same_transactions
from fin_infra.errors import UsageError
from tests.guards import guarded

FILE = "engine/migrating.py"
Row = tuple[str, int, int, str]


def accounts(*rows: tuple[str, str | None]) -> pl.DataFrame:
    columns = {"account_id": pl.String, "mask": pl.String}
    return pl.DataFrame(list(rows), schema=columns, orient="row").with_columns(
        kind=pl.lit("depository"), currency=pl.lit("USD")
    )


def rows(*told: Row, status: str = "posted") -> pl.DataFrame:
    """Rows of id, day, amount and text."""
    days = [(i, date(2025, 6, 1) + timedelta(days=d), a, t) for i, d, a, t in told]
    columns = {"transaction_id": pl.String, "booked_on": pl.Date, "amount": pl.Int64, "description": pl.String}
    frame = pl.DataFrame(days, schema=columns, orient="row")
    return frame.with_columns(
        currency=pl.lit("USD"), status=pl.lit(status), amount=pl.col("amount").cast(pl.Decimal(38, 2))
    )


def pairs(held: pl.DataFrame, came: pl.DataFrame) -> dict[str, str]:
    return {vendor: found.ours for vendor, found in same_transactions(held, came).sure.items()}


@guarded(
    "an account that two claim is given to neither", FILE,
    "len(fits) == 1 and claimed.count(fits[0]) == 1", "len(fits) == 1",
)  # fmt: skip
def test_accounts_are_paired_by_last_digits_and_never_guessed() -> None:
    found = same_accounts(accounts(("a", "1"), ("b", "2")), accounts(("x", "1"), ("y", "2"), ("z", "2")), {})
    assert {vendor: known.ours for vendor, known in found.sure.items()} == {"x": "a"}
    assert found.unsure == {"y": ["b"], "z": ["b"]}


def test_the_owners_word_decides_and_unknown_digits_do_not() -> None:
    old, new = accounts(("a", None), ("b", "2")), accounts(("x", None), ("y", "2"))
    assert set(same_accounts(old, new, {}).sure) == {"y"}
    assert same_accounts(old, new, {"a": "x"}).sure["x"].ours == "a"
    for said in ({"a": "nobody"}, {"nobody": "x"}, {"a": "x", "b": "x"}):
        with pytest.raises(UsageError):
            same_accounts(old, new, said)


def test_twins_stay_two_and_what_one_vendor_tells_stays_alone() -> None:
    held = rows(("a1", 0, 5, "tea"), ("a2", 0, 5, "tea"), ("a3", 1, 9, "old alone"))
    came = rows(("b1", 0, 5, "Tea"), ("b2", 0, 5, "Tea"), ("b3", 1, 8, "new alone"))
    assert pairs(held, came) == {"b1": "a1", "b2": "a2"}


@guarded("a row is the same only within three days", FILE, "<= SAME_WITHIN", "<= SAME_WITHIN * 9")
def test_days_may_differ_by_three() -> None:
    assert pairs(rows(("a", 0, 5, "x")), rows(("b", 3, 5, "y"))) == {"b": "a"}
    assert pairs(rows(("a", 0, 5, "x")), rows(("b", 4, 5, "x"))) == {}


def test_text_breaks_a_tie_and_what_stays_open_is_told() -> None:
    held = rows(("a1", 0, 5, "tea"), ("a2", 2, 5, "milk"))
    assert pairs(held, rows(("b1", 1, 5, "MILK"))) == {"b1": "a2"}
    assert same_transactions(held, rows(("b1", 1, 5, "bread"))).unsure == {"b1": ["a1", "a2"]}


def test_a_pending_row_is_not_a_posted_one() -> None:
    assert pairs(rows(("a", 0, 5, "tea"), status="pending"), rows(("b", 0, 5, "tea"))) == {}


TOLD = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.sampled_from(["tea", "milk"])), max_size=8)


@given(TOLD, TOLD)
def test_each_row_is_paired_once_with_one_of_its_amount(old: list[tuple[int, int, str]],
                                                         new: list[tuple[int, int, str]]) -> None:  # fmt: skip
    held, came = (
        [(f"{side}{n}", *row) for n, row in enumerate(told)] for side, told in (("a", old), ("b", new))
    )  # fmt: skip
    found = same_transactions(rows(*held), rows(*came))
    ours = [known.ours for known in found.sure.values()]
    assert len(set(ours)) == len(ours)
    assert not set(found.sure) & set(found.unsure)
    amounts = {row[0]: row[2] for row in [*held, *came]}
    assert all(amounts[vendor] == amounts[known.ours] for vendor, known in found.sure.items())
    assert not set(ours) & {one for fits in found.unsure.values() for one in fits}


@given(TOLD)
def test_the_same_history_is_paired_whole(told: list[tuple[int, int, str]]) -> None:
    held, came = (rows(*((f"{side}{n}", *row) for n, row in enumerate(told))) for side in "ab")
    assert len(pairs(held, came)) == len(told)
