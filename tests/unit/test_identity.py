"""Rows and accounts under new ids: what counts as the same, and what does not. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.datasets.accounts import Accounts
from fin_infra.engine.identity import continued, reissued
from fin_infra.engine.reconcile import Reconciled, reconcile_delta
from tests.unit.helpers import START
from tests.unit.test_reconcile import Row, after, frame, row

texts = st.sampled_from(["Coffee", "Parking", None])
rows = st.builds(
    lambda amount, day, text, status: {"amount": amount, "day": day, "description": text, "status": status},
    st.sampled_from([-5, -6, 7]), st.integers(0, 3), texts, st.sampled_from(["posted", "pending"]),
)  # fmt: skip


def made(prefix: str, given_rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        row(f"{prefix}{n}", r["status"], r["amount"], r["day"], description=r["description"])
        for n, r in enumerate(given_rows)
    ]  # fmt: skip


def print_of(r: Row, *, text: bool) -> tuple[Any, ...]:
    return (r["booked_on"], r["amount"], r["currency"], r["status"], *([r["description"]] if text else []))


@given(st.lists(rows, max_size=8))
def test_everything_under_new_ids_is_everything_that_was(before: list[dict[str, Any]]) -> None:
    told = [r for r in before if r["description"]]
    found = reissued(frame(made("old", told)), frame(made("new", told)))
    assert len(found) == len({known.ours for known in found.values()}) == len(told)


@given(st.lists(rows, max_size=8), st.lists(rows, max_size=8))
def test_no_row_is_taken_for_one_of_another_day_amount_or_state_nor_for_two(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    old, new = made("old", before), made("new", now)
    found = reissued(frame(old), frame(new))
    by_id = {r["transaction_id"]: r for r in (*old, *new)}
    assert len({known.ours for known in found.values()}) == len(found)
    for new_id, known in found.items():
        assert print_of(by_id[new_id], text=False) == print_of(by_id[known.ours], text=False)
    # as many are matched by text as there are on both sides
    counts = [Counter(print_of(r, text=True) for r in side if r["description"]) for side in (old, new)]
    assert len(found) >= (counts[0] & counts[1]).total()


@given(st.lists(rows, max_size=8), st.lists(rows, max_size=8))
def test_the_order_of_rows_decides_nothing(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> None:
    old, new = frame(made("old", before)), frame(made("new", now))
    assert reissued(old, new) == reissued(old.reverse(), new.reverse())


def test_a_changed_text_is_believed_of_whole_days_only() -> None:
    old = [row(f"old{n}", amount=-n, description=f"Shop {n}") for n in range(1, 5)]
    new = [row(f"new{n}", amount=-n, description="Same for all") for n in range(1, 5)]
    assert len(reissued(frame(old), frame(new))) == 4
    assert reissued(frame(old), frame(new[:3])) == {}
    assert reissued(frame(old[:2]), frame(new[:2])) == {}, "two may be chance"


# -- the log of a cursor stream --------------------------------------------------------------------------------------------


def told(held: Sequence[Row], answer: Sequence[Row], removed: set[str] = frozenset()) -> Reconciled:  # type: ignore[assignment]
    return reconcile_delta(frame(held), frame(answer), set(removed))


def test_t03_the_vendors_link_settles_whatever_the_amount() -> None:
    held = [row("p", "pending", -5)]
    done = told(held, [row("x", amount=-7, pending_transaction_id="p")], {"p"})
    assert list(after(held, done)) == ["x"]


def test_t03_without_a_link_the_one_row_that_fits_settles_and_two_are_in_review() -> None:
    held = [row("p", "pending"), row("q", "pending", -9)]
    done = told(held, [row("x", day=2)], {"p"})
    assert {k: r["status"] for k, r in after(held, done).items()} == {"q": "pending", "x": "posted"}
    assert done.rows["pending_transaction_id"].to_list() == ["p"]
    twins = [row("p1", "pending"), row("p2", "pending")]
    done = told(twins, [row("x", day=2)], {"p1", "p2"})
    assert {r["status"] for r in after(twins, done).values()} == {"expired", "review"}
    assert [doubt.kind for doubt in done.doubts] == ["ambiguous_match"]


@pytest.mark.parametrize("day", [2, 8])
def test_t03_a_posting_that_comes_with_a_later_answer_takes_the_expired_rows_place(day: int) -> None:
    held = [row("p", "pending")]
    first = told(held, [], {"p"})
    assert after(held, first)["p"]["status"] == "expired"
    then = list(after(held, first).values())
    second = told(then, [row("x", day=day)])
    assert list(after(then, second)) == ["x"]
    assert second.settled["p"].ours == "x"


def test_t04_a_posted_row_supersedes_its_pending_one_in_the_same_answer() -> None:
    rows_given = [row("p", "pending"), row("x", pending_transaction_id="p")]
    for answer in (rows_given, rows_given[::-1]):
        assert list(after([], told([], answer))) == ["x"]


def test_t13_what_is_taken_back_leaves_and_returns_when_it_is_told_again() -> None:
    held = [row("a"), row("b", amount=-6)]
    done = told(held, [], {"a", "unknown"})
    assert list(after(held, done)) == ["b"]
    left = list(after(held, done).values())
    assert sorted(after(left, told(left, [row("a")]))) == ["a", "b"]


def test_what_is_taken_back_and_told_at_once_stays() -> None:
    held = [row("a")]
    assert list(after(held, told(held, [row("a", amount=-6)], {"a"}))) == ["a"]


# -- accounts ----------------------------------------------------------------------------------------------------------------


def account(account_id: str, **more: Any) -> dict[str, Any]:
    return {
        "tenant_id": "ada", "account_id": account_id, "institution": "Bank", "name": "Everyday", "mask": "1234",
        "kind": "depository", "subkind": "checking", "currency": "USD", "status": "open", "provider": "teller",
        "connection_id": "con", "fetched_at": START, "run_id": "run", **more,
    }  # fmt: skip


def accounts(*given_rows: dict[str, Any]) -> pl.DataFrame:
    dtypes = Accounts.dtypes()
    return pl.DataFrame({name: [r.get(name) for r in given_rows] for name in dtypes}, schema=dtypes)


def test_t05_one_account_that_is_gone_and_one_that_is_new_are_the_same_when_all_traits_agree() -> None:
    found = continued(accounts(account("new")), accounts(account("old")), {})
    assert {new: known.ours for new, known in found.sure.items()} == {"new": "old"}


@pytest.mark.parametrize("trait", [
    {"mask": "9999"}, {"mask": None}, {"institution": "Other"}, {"currency": "EUR"}, {"subkind": "savings"},
    {"kind": "credit"},
])  # fmt: skip
def test_t06_any_trait_that_differs_makes_another_account(trait: dict[str, Any]) -> None:
    found = continued(accounts(account("new", **trait)), accounts(account("old")), {})
    assert (found.sure, found.unsure) == ({}, {})


def test_t06_the_vendors_lasting_id_decides_where_traits_cannot() -> None:
    new, old = accounts(account("n1"), account("n2")), accounts(account("o1"), account("o2"))
    assert continued(new, old, {}).unsure == {"n1": ["o1", "o2"], "n2": ["o1", "o2"]}
    found = continued(new, old, {"n1": "o2", "n2": "o1"})
    assert {k: v.ours for k, v in found.sure.items()} == {"n1": "o2", "n2": "o1"}
    assert continued(new, old, {"n1": "o1", "n2": "o1"}).sure == {}, "two that claim one prove nothing"


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["USD", "EUR"])), max_size=4),
       st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["USD", "EUR"])), max_size=4))  # fmt: skip
def test_no_account_is_matched_twice_and_none_against_its_traits(
    new: list[tuple[str, str]], old: list[tuple[str, str]]
) -> None:
    traits = {f"n{i}": t for i, t in enumerate(new)} | {f"o{i}": t for i, t in enumerate(old)}
    sides = [
        accounts(*(account(f"{side}{i}", mask=m * 4, currency=c) for i, (m, c) in enumerate(given_rows)))
        for side, given_rows in (("n", new), ("o", old))
    ]  # fmt: skip
    found = continued(sides[0], sides[1], {})
    assert len({known.ours for known in found.sure.values()}) == len(found.sure)
    for vendor_id, known in found.sure.items():
        assert traits[vendor_id] == traits[known.ours]
        assert (new.count(traits[vendor_id]), old.count(traits[vendor_id])) == (1, 1)
