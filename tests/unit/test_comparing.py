"""What vendors say of the same shares, held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.engine.comparing import disagreements, doubts
from tests.guards import guarded

AT = datetime(2026, 11, 24, tzinfo=UTC)
TODAY = date(2026, 11, 24)
DAY = date(2026, 8, 10)
ASKED = {"alpaca": {"us:A": TODAY}, "yahoo": {"us:A": TODAY}}


def said(provider: str, *rows: tuple[str, str, str], name: str = "us:A", currency: str | None = "USD") -> pl.DataFrame:
    """`("2026-08-10", "split", "4/1")`, `("2026-08-10", "dividend", "0.25")`."""
    split = [kind == "split" for _, kind, _ in rows]
    columns: dict[str, list[str | None]] = {
        "ex_on": [day for day, _, _ in rows], "kind": [kind for _, kind, _ in rows],
        "new_shares": [what.split("/")[0] if yes else None for (*_, what), yes in zip(rows, split, strict=True)],
        "old_shares": [what.split("/")[1] if yes else None for (*_, what), yes in zip(rows, split, strict=True)],
        "ratio": ["1" if yes else None for yes in split],
        "amount": [None if yes else what for (*_, what), yes in zip(rows, split, strict=True)],
        "currency": [None if yes else currency for yes in split],
    }  # fmt: skip
    made = CorporateActions.build(
        columns, {"instrument": name, "provider": provider, "fetched_at": AT, "run_id": "r"}
    )  # fmt: skip
    assert not made.rejects, made.rejects
    return made.good


def told(*frames: pl.DataFrame, asked: Mapping[str, Mapping[str, date]] = ASKED) -> dict[str, str]:
    return {doubt.subject: doubt.detail for doubt in doubts(pl.concat(frames), asked)}


@pytest.mark.parametrize(
    ("kind", "one", "other", "detail"),
    [
        ("split", "4/1", "8/2", None),
        ("split", "1.05/1", "1.0499999/1", None),
        ("split", "4/1", "5/1", "the split of 2026-08-10: alpaca says 4-for-1, yahoo says 5-for-1"),
        ("dividend", "0.25", "0.25", None),
        ("dividend", "0.25", "0.2500004", None),
        ("dividend", "0.25", "0.26", "the dividend of 2026-08-10: alpaca says 0.25 USD, yahoo says 0.26 USD"),
        ("dividend", "0.00001", "0.000011", None),
    ],
)
def test_values_differ_by_more_than_rounding_or_not(kind: str, one: str, other: str, detail: str | None) -> None:
    found = told(said("alpaca", (str(DAY), kind, one)), said("yahoo", (str(DAY), kind, other)))
    assert found == ({f"us:A {DAY} {kind}": detail} if detail else {})


def test_another_currency_is_another_amount_and_an_untold_one_is_none() -> None:
    one, row = said("alpaca", (str(DAY), "dividend", "0.25")), (str(DAY), "dividend", "0.25")
    assert told(one, said("yahoo", row, currency="CAD")) == {
        f"us:A {DAY} dividend": f"the dividend of {DAY}: alpaca says 0.25 USD, yahoo says 0.25 CAD"
    }
    assert told(one, said("yahoo", row, currency=None)) == {}


@guarded("who was not asked is said not to know", "engine/comparing.py", "(day := days.get(event.instrument)) is not None and day > event.ex_on",
         "(day := days.get(event.instrument, date.max)) > event.ex_on")  # fmt: skip
@guarded(
    "today's action is missed at once",
    "engine/comparing.py",
    "is not None and day > event.ex_on",
    "is not None and day >= event.ex_on",
)
def test_who_does_not_know_it_is_told_when_it_was_asked_later_than_its_day() -> None:
    one = said("alpaca", (str(DAY), "split", "4/1"))
    wanted = {f"us:A {DAY} split": f"the split of {DAY}: alpaca says 4-for-1, yahoo knows of none"}
    assert told(one) == wanted
    for day in (DAY, DAY - timedelta(days=1)):
        assert told(one, asked={**ASKED, "yahoo": {"us:A": day}}) == {}
    assert told(one, asked={"alpaca": ASKED["alpaca"]}) == {}
    assert told(one, asked={**ASKED, "yahoo": {"us:B": TODAY}}) == {}
    assert told(one, said("yahoo", (str(DAY), "split", "4/1"), name="us:B")) == wanted
    assert told(said("alpaca", (str(TODAY), "split", "4/1"))) == {}, "its day is not over"


@guarded(
    "two dates of one split are two findings", "engine/comparing.py", "apart <= APART and", "apart < timedelta() and"
)
def test_one_action_under_two_dates_is_one_finding() -> None:
    later = DAY + timedelta(days=3)
    found = told(said("alpaca", (str(DAY), "split", "4/1")), said("yahoo", (str(later), "split", "4/1")))
    assert found == {
        f"us:A {DAY} split": f"the split of {DAY}: alpaca says 4-for-1 on {DAY}, yahoo says 4-for-1 on {later}"
    }
    apart = told(said("alpaca", (str(DAY), "split", "4/1")), said("yahoo", (str(later), "split", "2/1")))
    assert len(apart) == 2
    weekly = (str(DAY), "dividend", "0.1"), (str(DAY + timedelta(days=7)), "dividend", "0.1")
    assert told(said("alpaca", *weekly), said("yahoo", weekly[0])) == {
        f"us:A {DAY + timedelta(days=7)} dividend":
        f"the dividend of {DAY + timedelta(days=7)}: alpaca says 0.1 USD, yahoo knows of none"
    }  # fmt: skip


def test_rounding_of_an_amount_that_was_told_in_shares_of_today_is_allowed_for() -> None:
    """0.0000893 rounded to six decimals and multiplied by 112 is not what was paid, and not another dividend."""
    splits = (("2014-06-09", "split", "7/1"), ("2020-08-31", "split", "16/1"))
    paid = (("1990-02-16", "dividend", "0.01"), *splits)
    rounded = (("1990-02-16", "dividend", str(112 * 0.000089)), *splits)
    assert told(said("alpaca", *paid), said("yahoo", *rounded)) == {}
    assert len(told(said("alpaca", paid[0]), said("yahoo", rounded[0]))) == 1


def test_three_vendors_are_one_finding_that_names_all() -> None:
    asked = {**ASKED, "alphavantage": {"us:A": TODAY}}
    found = told(
        said("alpaca", (str(DAY), "split", "4/1")), said("alphavantage", (str(DAY), "split", "3/1")), asked=asked
    )
    assert found == {
        f"us:A {DAY} split":
        f"the split of {DAY}: alpaca says 4-for-1, alphavantage says 3-for-1, yahoo knows of none"
    }  # fmt: skip


def test_before_the_first_bar_only_values_matter() -> None:
    one = pl.concat([said("alpaca", (str(DAY), "split", "4/1")), said("yahoo", ("2026-09-01", "split", "2/1"))])
    assert [d.subject for d in doubts(one, ASKED, {"us:A": DAY})] == ["us:A 2026-09-01 split"]
    differ = pl.concat([said("alpaca", (str(DAY), "split", "4/1")), said("yahoo", (str(DAY), "split", "2/1"))])
    assert len(doubts(differ, ASKED, {"us:A": DAY})) == 1


def test_what_changes_no_price_by_a_factor_is_not_compared() -> None:
    assert told(said("alpaca", (str(DAY), "delisting", "1"))) == {}


DAYS = st.integers(0, 60).map(lambda n: str(DAY - timedelta(days=n)))
ROWS = st.dictionaries(
    st.tuples(DAYS, st.sampled_from(["split", "dividend"])), st.integers(1, 9), max_size=6
)  # fmt: skip


def rows(found: Mapping[tuple[str, str], int]) -> list[tuple[str, str, str]]:
    return [(day, kind, f"{n + 1}/1" if kind == "split" else f"0.{n}") for (day, kind), n in found.items()]


@given(ROWS)
def test_vendors_that_say_the_same_agree(found: Mapping[tuple[str, str], int]) -> None:
    both = [said(name, *rows(found)) for name in ("alpaca", "yahoo") if found]
    assert disagreements(pl.concat([CorporateActions.empty(), *both]), ASKED) == []


@given(ROWS, ROWS)
def test_who_disagrees_does_not_depend_on_who_is_named_first(
    one: Mapping[tuple[str, str], int], other: Mapping[tuple[str, str], int]
) -> None:
    def subjects(first: str, second: str) -> set[str]:
        parts = [said(name, *rows(found)) for name, found in ((first, one), (second, other)) if found]
        return {doubt.subject for doubt in doubts(pl.concat([CorporateActions.empty(), *parts]), ASKED)}

    assert subjects("alpaca", "yahoo") == subjects("yahoo", "alpaca")
    if set(one) == set(other):  # nobody lacks one: only values can differ
        differ = {key for key in one if Fraction(one[key]) != Fraction(other[key])}
        assert subjects("alpaca", "yahoo") == {f"us:A {day} {kind}" for day, kind in differ}


@given(ROWS, ROWS)
def test_nothing_one_vendor_alone_says_goes_unsaid(
    one: Mapping[tuple[str, str], int], other: Mapping[tuple[str, str], int]
) -> None:
    """Each action that the other lacks is named by a finding, or by one of the same a few days apart."""
    parts = [said(name, *rows(found)) for name, found in (("alpaca", one), ("yahoo", other)) if found]
    found = disagreements(pl.concat([CorporateActions.empty(), *parts]), ASKED)
    named = {
        (vendor, str(event.on.get(vendor, event.ex_on)), event.kind) for event, _ in found for vendor in event.said
    }
    alone = {("alpaca", *key) for key in one if key not in other} | {("yahoo", *key) for key in other if key not in one}
    assert alone <= named
