"""Adjusting is a pure function of raw bars and actions: exact, rounded once, and never twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.datasets.base import MONEY
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.prices import Prices
from fin_infra.engine.adjusting import adjusted, shares_between, times
from fin_infra.errors import FrameError, UsageError
from tests.guards import guarded

AT = datetime(2026, 11, 24, tzinfo=UTC)
MONDAY = date(2026, 11, 2)
KINDS: tuple[Literal["split", "total"], ...] = ("split", "total")


def bars(
    *closes: str, name: str = "us:A", first: date = MONDAY, basis: str = "raw", volume: str = "1000"
) -> pl.DataFrame:
    """Bars of one day after the other."""
    days = [(first + timedelta(days=n)).isoformat() for n in range(len(closes))]
    columns: dict[str, list[str | None]] = {name: [*closes] for name in ("open", "high", "low", "close")}
    columns |= {"session": [*days], "volume": [volume for _ in closes]}
    constants: dict[str, Any] = {
        "instrument": name,
        "basis": basis,
        "currency": "USD",
        "state": "final",
        "provider": "alpaca",
    }
    made = Prices.build(columns, {**constants, "fetched_at": AT, "run_id": "r"})
    assert not made.rejects, made.rejects
    return made.good


def actions(*rows: tuple[str, int, str], name: str = "us:A", **more: str) -> pl.DataFrame:
    """`("3/2", 4, "split")`: so much on the n-th day."""
    parts = [(said.split("/"), MONDAY + timedelta(days=day), kind) for said, day, kind in rows]
    split = [kind == "split" for _, _, kind in parts]
    columns: dict[str, list[str | None]] = {
        "ex_on": [day.isoformat() for _, day, _ in parts],
        "kind": [kind for *_, kind in parts],
        "new_shares": [said[0] if yes else None for (said, *_), yes in zip(parts, split, strict=True)],
        "old_shares": [said[1] if yes else None for (said, *_), yes in zip(parts, split, strict=True)],
        "ratio": ["1" if yes else None for yes in split],  # nobody computes with it
        "amount": [None if yes or kind != "dividend" else said[0] for (said, _, kind), yes in zip(parts, split, strict=True)],
    }  # fmt: skip
    made = CorporateActions.build(
        columns, {"instrument": name, "provider": "alpaca", "fetched_at": AT, "run_id": "r", **more}
    )
    assert not made.rejects, made.rejects
    return made.good


def closes(frame: pl.DataFrame, column: str = "close") -> list[str]:
    return [f"{value.normalize():f}" for value in frame[column]]


def bases(frame: pl.DataFrame) -> set[str]:
    return set(frame["basis"].cast(pl.String))


@pytest.mark.parametrize(
    ("ratio", "before", "after", "volume"),
    [("50/1", "0.2", "10", "50000"), ("3/2", "6.666666666666666667", "10", "1500"), ("1/8", "80", "10", "125"),
     ("1.05/1", "9.523809523809523810", "10", "1050"), ("2/1", "5", "10", "2000")],
)  # fmt: skip
@guarded("volumes stay", "engine/adjusting.py", "volume * ratio", "volume")
def test_prices_before_a_split_are_in_new_shares_and_volumes_too(
    ratio: str, before: str, after: str, volume: str
) -> None:
    made = adjusted(bars("10", "10", "10"), actions((ratio, 2, "split")))
    assert closes(made) == [f"{Decimal(before).normalize():f}"] * 2 + [after]
    assert closes(made, "volume") == [volume, volume, "1000"]
    assert closes(made, "open") == closes(made, "high") == closes(made, "low") == closes(made)
    assert bases(made) == {"split_adjusted"}


def test_a_dividend_is_taken_off_by_the_close_it_is_paid_from() -> None:
    made = adjusted(bars("50", "40", "39", "41"), actions(("1", 2, "dividend")), "total")
    assert closes(made) == ["48.75", "39", "39", "41"], "by 1 - 1/40"
    assert closes(made, "volume") == ["1000"] * 4
    assert bases(made) == {"adjusted"}
    assert closes(adjusted(bars("50", "40", "39"), actions(("1", 2, "dividend")))) == ["50", "40", "39"]


def test_a_dividend_on_the_day_of_a_split_is_per_share_as_held_before() -> None:
    both = actions(("1", 2, "dividend"), ("2/1", 2, "split"))
    raw = bars("40", "40", "19.5")
    assert closes(adjusted(raw, both, "total")) == ["19.5", "19.5", "19.5"], "nothing was earned or lost"
    assert closes(adjusted(raw, both)) == ["20", "20", "19.5"]


def test_days_without_a_bar_and_a_dividend_after_a_split() -> None:
    """The split's raw closes and the dividend's are of different shares: each factor is of its own day."""
    raw = bars("100", "100", "50", "50", "49").filter(pl.col("session") != MONDAY + timedelta(days=3))
    made = adjusted(raw, actions(("2/1", 2, "split"), ("1", 3, "dividend")), "total")
    assert closes(made) == ["49", "49", "49", "49"]


@guarded("an announced split counts at once", "engine/adjusting.py", "ex_on > sessions[-1]", "False")
def test_an_action_counts_from_the_first_bar_of_its_ex_date_on() -> None:
    raw, announced = bars("10", "10"), actions(("2/1", 2, "split"), ("0.5", 3, "dividend"))
    for kind in KINDS:
        assert closes(adjusted(raw, announced, kind)) == ["10", "10"]
    assert closes(adjusted(bars("10", "10", "5"), announced, "total")) == ["5", "5", "5"]


def test_an_action_older_than_the_first_bar_changes_nothing() -> None:
    raw = bars("10", "10")
    assert closes(adjusted(raw, actions(("2/1", 0, "split"), ("1", -9, "dividend")), "total")) == ["10", "10"]


def test_only_splits_and_dividends_make_factors_and_only_of_their_own_instrument() -> None:
    raw = pl.concat([bars("10", "10", "10"), bars("7", "7", "7", name="us:B")])
    found = pl.concat(
        [actions(("2/1", 2, "split"), name="us:B"), actions(("1/1", 1, "spin_off")), actions(("1/1", 1, "other"))]
    )
    assert closes(adjusted(raw, found)) == ["10", "10", "10", "3.5", "3.5", "7"]


def test_rows_come_back_in_their_order_with_their_columns() -> None:
    raw = pl.concat([bars("10", "11", "12"), bars("7", "8", "9", name="us:B")]).sample(fraction=1, shuffle=True, seed=3)
    made = adjusted(raw, actions(("2/1", 2, "split")))
    assert made.schema == raw.schema
    same = ["instrument", "session", "provider", "currency", "state", "fetched_at", "run_id"]
    assert made.select(same).equals(raw.select(same))
    some = adjusted(raw.select("instrument", "session", "basis", "close"), actions(("2/1", 2, "split")))
    assert some["close"].equals(made["close"])
    assert adjusted(Prices.empty(), actions(("2/1", 2, "split"))).equals(Prices.empty())


# -- what must not be done ---------------------------------------------------------------------------------------------


@guarded("adjusted twice", "engine/adjusting.py",
         'pl.when(stored.is_in(MADE_OF[kind])).then(pl.lit(BASIS[kind]))', 'pl.when(pl.lit(False)).then(pl.lit(BASIS[kind]))')  # fmt: skip
def test_t33_adjusting_what_is_adjusted_changes_nothing_and_another_basis_is_refused() -> None:
    raw, found = bars("40", "40", "19.5"), actions(("1", 2, "dividend"), ("2/1", 2, "split"))
    for kind in KINDS:
        once = adjusted(raw, found, kind)
        assert adjusted(once, found, kind).equals(once)
    assert adjusted(adjusted(raw, found), found, "total")["close"].equals(adjusted(raw, found, "total")["close"])
    with pytest.raises(UsageError, match="us:A are adjusted"):
        adjusted(adjusted(raw, found, "total"), found)
    with pytest.raises(UsageError, match="split or total"):
        adjusted(raw, found, "both")  # type: ignore[arg-type]


def test_a_row_that_is_adjusted_already_stays_beside_raw_ones() -> None:
    mixed = pl.concat([bars("10", "10", "10"), bars("3", "3", "3", name="us:B", basis="split_adjusted")])
    found = pl.concat([actions(("2/1", 2, "split")), actions(("2/1", 2, "split"), name="us:B")])
    assert closes(adjusted(mixed, found)) == ["5", "5", "10", "3", "3", "3"]


def test_two_actions_of_one_day_a_foreign_dividend_and_one_larger_than_the_price_are_refused() -> None:
    raw = bars("10", "10", "10")
    twice = pl.concat([actions(("2/1", 2, "split")), actions(("2/1", 2, "split"), provider="other")])
    with pytest.raises(UsageError, match="choose one provider"):
        adjusted(raw, twice)
    with pytest.raises(UsageError, match="is in EUR, its prices are in USD"):
        adjusted(raw, actions(("1", 2, "dividend"), currency="EUR"), "total")
    assert closes(adjusted(raw, actions(("1", 2, "dividend"), currency="USD"), "total")) == ["9", "9", "10"]
    for amount in ("10", "10.5"):
        with pytest.raises(FrameError, match="us:A on 2026-11-04"):
            adjusted(raw, actions((amount, 2, "dividend")), "total")


def test_what_would_not_fit_or_vanish_is_an_error_and_no_other_number() -> None:
    large, small = "99999999999999999999", "0.000000000000000001"
    with pytest.raises(FrameError, match="open of us:A does not fit"):
        adjusted(bars(large, large, "1"), actions(("1/50", 2, "split")))
    with pytest.raises(FrameError, match="does not fit"):
        adjusted(bars(small, small, "1"), actions(("50/1", 2, "split")))
    with pytest.raises(FrameError, match="volume of us:A does not fit"):
        adjusted(bars("1", "1", volume=large), actions(("50/1", 1, "split")))
    assert closes(adjusted(bars(large, "1"), actions(("1/1.0", 1, "split")))) == [large, "1"]
    third = adjusted(bars(large, "1"), actions(("3/1", 1, "split")))
    assert closes(third) == ["33333333333333333333", "1"]


# -- properties --------------------------------------------------------------------------------------------------------


def exact(units: int) -> Decimal:
    """Python's usual 28 digits would round it."""
    return Decimal(units).scaleb(-18, Context(prec=60))


AMOUNTS = st.integers(1, 10**38 - 1).map(exact)
PRICES = st.integers(1, 10**9).map(lambda cents: Decimal(cents).scaleb(-4))
RATIOS = st.sampled_from(["2/1", "3/2", "1/8", "50/1", "1.05/1", "7/3", "1/20", "20/19", "1.1/0.7"])
SPLITS = st.dictionaries(st.integers(0, 12), RATIOS, max_size=5)
DIVIDENDS = st.dictionaries(st.integers(0, 12), st.decimals("0.0001", "0.1", places=4).map(str), max_size=5)


@given(AMOUNTS, st.fractions(min_value=Fraction(1, 10**6), max_value=1, max_denominator=10**9))
def test_a_product_is_the_exact_one_rounded_once_half_to_even(amount: Decimal, by: Fraction) -> None:
    wanted = exact(round(Fraction(amount) * by * 10**18))  # round() of a fraction is half to even
    given_ = pl.Series("close", [amount, None, amount.copy_negate()], dtype=MONEY)
    if wanted == 0:
        with pytest.raises(FrameError):
            times(given_, by, "us:A")
    else:
        assert times(given_, by, "us:A").to_list() == [wanted, None, wanted.copy_negate()]


@settings(deadline=None)
@given(st.lists(PRICES, min_size=1, max_size=12), SPLITS, DIVIDENDS, st.sampled_from(KINDS))
def test_the_factor_is_the_product_of_the_actions_behind_a_session(
    prices: Sequence[Decimal], splits: dict[int, str], dividends: dict[int, str], kind: Literal["split", "total"]
) -> None:
    prices = [price + 1 for price in prices]
    raw = bars(*map(str, prices))
    rows = [(said, day, "split") for day, said in splits.items()]
    rows += [(said, day, "dividend") for day, said in dividends.items()]
    made = adjusted(raw, actions(*rows) if rows else CorporateActions.empty(), kind)
    for n, price in enumerate(prices):
        factor = Fraction(1)
        for said, day, what in rows:
            if n < day < len(prices) and what == "split":
                new, old = said.split("/")
                factor *= Fraction(old) / Fraction(new)
            elif n < day < len(prices) and kind == "total":
                factor *= 1 - Fraction(said) / Fraction(prices[day - 1])
        assert made["close"][n] == exact(round(Fraction(price) * factor * 10**18))
    assert Prices.validate(made).equals(made), "still bars"
    assert adjusted(made, actions(*rows) if rows else CorporateActions.empty(), kind).equals(made)
    assert adjusted(raw.reverse(), actions(*reversed(rows)) if rows else CorporateActions.empty(), kind).equals(
        made.reverse()
    )


@guarded(
    "the split of the very day is in no amount",
    "engine/adjusting.py",
    "first <= ex_on <= last",
    "first < ex_on <= last",
)
def test_a_split_adjusted_close_meets_a_dividend_in_the_same_shares() -> None:
    """Two for one on the day of a dividend of 1: half of it is paid for a share of the bars."""
    found = actions(("1", 2, "dividend"), ("2/1", 2, "split"), ("5/1", 9, "split"))
    served = bars("20", "20", "19.5", basis="split_adjusted")
    made = adjusted(served, found, "total")
    assert (closes(made), bases(made)) == (["19.5", "19.5", "19.5"], {"adjusted"})
    assert closes(made, "volume") == ["1000", "1000", "1000"], "the split is in them already"
    assert adjusted(served, found, "split").equals(served), "there is nothing to do"
    with pytest.raises(FrameError, match="is 20, its close before was 20"):
        adjusted(served, actions(("20", 2, "dividend")), "total")


@settings(deadline=None)
@given(st.lists(PRICES, min_size=1, max_size=12), SPLITS, DIVIDENDS)
def test_total_of_split_adjusted_bars_is_total_of_the_raw_ones(
    prices: Sequence[Decimal], splits: dict[int, str], dividends: dict[int, str]
) -> None:
    rows = [(said, day, "split") for day, said in splits.items()]
    rows += [(said, day, "dividend") for day, said in dividends.items()]
    found = actions(*rows) if rows else CorporateActions.empty()
    raw = bars(*(str(price + 1_000_000) for price in prices))  # so that what is rounded on the way is nothing
    at_once = adjusted(raw, found, "total")
    in_steps = adjusted(adjusted(raw, found, "split"), found, "total")
    for one, other in zip(at_once["close"], in_steps["close"], strict=True):
        assert abs(one - other) <= one * Decimal("1e-15") + Decimal("1e-17")
    assert at_once["volume"].equals(in_steps["volume"])


@given(SPLITS, st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_t30_a_position_is_worth_the_same_whichever_days_shares_it_is_counted_in(
    splits: dict[int, str], a: int, b: int, c: int
) -> None:
    first, middle, last = (MONDAY + timedelta(days=day) for day in sorted((a, b, c)))
    rows: list[Any] = [(said, day, "split") for day, said in splits.items()]
    found = actions(*rows) if rows else CorporateActions.empty()
    there = shares_between(found, "us:A", first, last)
    assert there == shares_between(found, "us:A", first, middle) * shares_between(found, "us:A", middle, last)
    assert shares_between(found, "us:B", first, last) == 1
    # the quantity of a day by its own close is the quantity of a later day by the close in later shares
    raw = bars("100", *["1"] * 12)
    made = adjusted(raw, found)
    shares = shares_between(found, "us:A", MONDAY, MONDAY + timedelta(days=12))
    assert abs(Fraction(made["close"][0]) * shares - 100) <= shares / 10**18
