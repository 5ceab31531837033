"""Steps between bars that look like a split, and which bars wait for what explains them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.engine.series import Judged, Spot
from fin_infra.engine.splits import SIMPLE, Step, held_back, jump_doubts, simple, steps
from tests.guards import guarded
from tests.unit.test_adjusting import AT, MONDAY, actions, bars

NONE = CorporateActions.empty()


def days(frame: pl.DataFrame) -> list[int]:
    """As the n-th day."""
    return [(day - MONDAY).days for day in frame["session"]]


def looked(frame: pl.DataFrame, found: pl.DataFrame = NONE) -> list[tuple[int, str]]:
    return [((step.session - MONDAY).days, str(step.near)) for step in steps(frame, found)]


@pytest.mark.parametrize("ratio", ["2", "3/2", "5/2", "1/8", "1/50", "30", "1000"])
def test_every_simple_ratio_is_seen_through_a_move_of_the_market(ratio: str) -> None:
    by = Fraction(ratio)
    for move in (Fraction(97, 100), 1, Fraction(103, 100)):
        after = Decimal(str(float(100 / by * move)))
        assert looked(bars("100", str(after.quantize(Decimal("0.0001"))))) == [(1, ratio)], move


@pytest.mark.parametrize("after", ["75", "133", "80", "66.67E0", "64", "28", "100"])
def test_what_shares_do_on_a_bad_day_is_none_unless_it_is_a_ratio_of_splits(after: str) -> None:
    close = f"{Decimal(after):f}"
    assert looked(bars("100", close)) == ([(1, "3/2")] if close in ("66.67", "64") else [])


def test_a_fall_that_is_made_good_by_the_close_is_no_split() -> None:
    frame = bars("100", "98").with_columns(
        open=pl.when(pl.col("session") > MONDAY).then(50).otherwise(100).cast(pl.Decimal(38, 18))
    )
    assert looked(frame) == []


@guarded(
    "a known split is a step", "engine/splits.py", '"split" if action["provider"] == min(providers)', '"split" if False'
)
def test_known_actions_explain_what_they_explain_and_no_more() -> None:
    halved = bars("100", "100", "50")
    assert looked(halved) == [(2, "2")]
    assert looked(halved, actions(("2/1", 2, "split"))) == []
    assert looked(halved, actions(("4/1", 2, "split"))) == [(2, "1/2")], "half of it does not show"
    assert looked(halved, actions(("2/1", 1, "split"))) == [(1, "1/2"), (2, "2")], "it is of another day"
    assert looked(halved, actions(("2/1", 2, "split"), name="us:B")) == [(2, "2")]
    assert looked(halved, actions(("49", 2, "dividend"))) == []
    assert looked(halved, actions(("1/1", 2, "spin_off"))) == []
    both = pl.concat([actions(("2/1", 2, "split")), actions(("2/1", 2, "split"), provider="other")])
    assert looked(halved, both) == [], "told twice it is one"
    assert looked(halved.filter(pl.col("session") != MONDAY + timedelta(days=1)), actions(("2/1", 1, "split"))) == []


def test_coins_are_exempt_and_series_are_looked_at_each_by_itself() -> None:
    coin = bars("100", "50", name="crypto:bitcoin")
    assert looked(pl.concat([bars("100", "100"), bars("50", "50", name="us:B"), coin])) == []


def judged(
    rows: pl.DataFrame, held: pl.DataFrame, spots: dict[str, Spot], now: datetime = AT, **more: bool
) -> list[int]:
    """Which of the rows may be kept."""
    done = held_back(Judged(rows), held, NONE, spots, now, lambda step: more.get("agreed", False))
    assert (done.stepped == {"us:A"}) == (done.rows.height < rows.height)
    return days(done.rows)


@guarded("a second vendor counts for nothing", "engine/splits.py", "if agreed(step):", "if False:")
def test_a_second_source_is_as_good_as_an_action() -> None:
    rows = bars("100", "100", "50", "50")
    spots: dict[str, Spot] = {}
    assert judged(rows, rows[:2], spots) == [0, 1]
    assert list(spots["us:A"]["jumps"]) == ["2026-11-04"]
    assert judged(rows, rows[:2], spots, agreed=True) == [0, 1, 2, 3]
    assert spots == {"us:A": {}}


def test_only_the_side_that_is_new_waits_and_both_where_both_changed() -> None:
    rows = bars("100", "100", "50", "50")
    assert judged(rows, rows[2:], {}) == [2, 3], "older ones, read later, are of another basis"
    assert judged(rows, rows, {}) == [0, 1, 2, 3], "they are held already, as they are"
    assert judged(rows, bars("99", "99", "100", "100"), {}) == [], "half of each would be worse"
    hole = bars("100", "100", "50", "100", "100")
    assert judged(hole, hole.filter(hole["close"] == 100), {}) == [0, 1, 3, 4], "a bad print"
    assert judged(rows, rows[3:], {}) == [2, 3], "what is held is trusted, the older ones wait"
    assert judged(rows, rows.clear(), {}) == [0, 1]
    assert judged(bars("100", "101", "100"), rows.clear(), {}) == [0, 1, 2]


def test_the_same_step_on_another_day_is_kept_and_said_until_an_action_explains_it() -> None:
    rows = bars("100", "100", "50", "50")
    spots: dict[str, Spot] = {}
    for hours, kept in ((0, [0, 1]), (19, [0, 1]), (20, [0, 1, 2, 3])):
        assert judged(rows, rows[:2], spots, AT + timedelta(hours=hours)) == kept
    assert judged(rows, rows, spots, AT + timedelta(hours=40)) == [0, 1, 2, 3]
    [doubt] = jump_doubts(spots, lambda names: NONE)
    assert (doubt.kind, doubt.subject) == ("unexplained_jump", "us:A")
    assert "2-for-1" in doubt.detail
    assert jump_doubts(spots, lambda names: actions(("3/1", 2, "split"))) != []
    assert jump_doubts(spots, lambda names: actions(("2/1", 2, "split"))) == []
    assert spots == {"us:A": {}}


def test_another_step_in_its_place_waits_anew() -> None:
    rows = bars("100", "100", "50", "50")
    spots: dict[str, Spot] = {}
    assert judged(rows, rows[:2], spots) == [0, 1]
    other = bars("100", "100", "25", "25")
    assert judged(other, rows[:2], spots, AT + timedelta(hours=30)) == [0, 1]
    assert judged(other, rows[:2], spots, AT + timedelta(hours=60)) == [0, 1, 2, 3]


@given(st.floats(1e-4, 1e4))
def test_a_ratio_is_simple_both_ways_or_not_at_all(ratio: float) -> None:
    near = simple(ratio)
    assert near is None or (near in SIMPLE and abs(ratio / float(near) - 1) <= 0.05)
    if near is not None and abs(ratio / float(near) - 1) < 0.04:
        assert simple(1 / ratio) is not None


@given(st.lists(st.sampled_from(["100", "50", "51", "200", "33", "99"]), min_size=2, max_size=8), st.data())
def test_what_is_kept_beside_what_is_held_has_no_new_step(closes: list[str], data: st.DataObject) -> None:
    rows = bars(*closes)
    held = rows.filter(pl.Series(data.draw(st.lists(st.booleans(), min_size=len(closes), max_size=len(closes)))))
    before = {step.session for step in steps(held, NONE)}
    kept = held_back(Judged(rows), held, NONE, {}, AT).rows
    after = pl.concat([kept, held.join(kept, on=["instrument", "session"], how="anti")])
    assert [step for step in steps(after, NONE) if _new(step, held, before)] == []
    assert set(held["session"]) <= set(after["session"])


def _new(step: Step, held: pl.DataFrame, before: set[date]) -> bool:
    """A step between bars that were held both, one after the other, was there before."""
    both = {step.before, step.session} <= set(held["session"])
    return not (both and step.session in before)
