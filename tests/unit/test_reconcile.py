"""What a window's answer means for the rows held: pending settle, vanished leave, the doubtful is shown, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.datasets.transactions import Transactions
from fin_infra.engine.identity import match_pending
from fin_infra.engine.reconcile import SHRINK_ROWS, Reconciled, reconcile, undisturbed
from tests.guards import guarded
from tests.unit.helpers import START

DAY = date(2026, 11, 10)
Row = dict[str, Any]


def row(transaction_id: str, status: str = "posted", amount: int = -5, day: int | None = 0, **more: Any) -> Row:
    return {
        "tenant_id": "ada", "account_id": "acc", "transaction_id": transaction_id, "status": status,
        "amount": Decimal(amount), "currency": "USD",
        "booked_on": None if day is None else DAY + timedelta(days=day), "provider": "teller", "connection_id": "con",
        "fetched_at": START, "run_id": "run", **more,
    }  # fmt: skip


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    dtypes = Transactions.dtypes()
    return pl.DataFrame({name: [r.get(name) for r in rows] for name in dtypes}, schema=dtypes)


def meet(held: Sequence[Row], answer: Sequence[Row], *, keep: frozenset[str] | None = frozenset(),
         suspect: frozenset[str] = frozenset()) -> Reconciled:  # fmt: skip
    return reconcile(frame(held), frame(answer), account="acc", keep=keep, suspect=suspect)


def confirmed(held: Sequence[Row], answer: Sequence[Row]) -> Reconciled:
    """The same answer read twice: what a guard held back is then done."""
    first = meet(held, answer)
    return meet(held, answer, suspect=first.suspect) if first.suspect else first


def after(held: Sequence[Row], done: Reconciled) -> dict[str, Row]:
    """The table after the commit."""
    now = {r["transaction_id"]: r for r in frame(held).to_dicts()}
    now.update({r["transaction_id"]: r for r in done.rows.to_dicts()})
    return {key: r for key, r in now.items() if key not in done.removed}


def statuses(held: Sequence[Row], done: Reconciled) -> dict[str, str]:
    return {key: r["status"] for key, r in after(held, done).items()}


def summary(done: Reconciled) -> tuple[Any, ...]:
    rows = {r["transaction_id"]: tuple(sorted(r.items(), key=lambda i: i[0])) for r in done.rows.to_dicts()}
    return rows, sorted(done.removed), sorted((d.kind, d.subject, d.detail) for d in done.doubts), done.suspect


# -- pending and posted --------------------------------------------------------------------------------------------------


def test_t03_a_posted_row_supersedes_the_one_pending_row_it_fits() -> None:
    held = [row("p", "pending")]
    done = meet(held, [row("new", day=2)])
    assert done.rows["pending_transaction_id"].to_list() == ["p"]
    assert list(done.removed) == ["p"]
    assert statuses(held, done) == {"new": "posted"}


@pytest.mark.parametrize(("days", "fits"), [(-1, False), (0, True), (1, True), (8, True), (9, False)])
def test_t03_a_posting_comes_0_to_8_days_after(days: int, fits: bool) -> None:
    held = [row("p", "pending")]
    done = meet(held, [row("new", day=days)])
    assert (done.rows.filter(pl.col("transaction_id") == "new")["pending_transaction_id"][0] == "p") is fits
    assert statuses(held, done) == ({"new": "posted"} if fits else {"new": "posted", "p": "expired"})


@pytest.mark.parametrize("other", [{"amount": -6}, {"amount": 5}, {"currency": "EUR"}, {"currency": None}])
def test_t03_another_amount_or_currency_is_no_match(other: Row) -> None:
    held = [row("p", "pending")]
    assert statuses(held, meet(held, [{**row("new"), **{k: Decimal(v) if k == "amount" else v
                                                        for k, v in other.items()}}]))["p"] == "expired"  # fmt: skip


def test_t03_two_currencies_that_were_not_said_fit() -> None:
    done = meet([row("p", "pending", currency=None)], [row("new", currency=None)])
    assert list(done.removed) == ["p"]


def test_t03_a_row_without_a_date_is_never_matched() -> None:
    held = [row("p", "pending", day=None)]
    assert statuses(held, meet(held, [row("new")]))["p"] == "expired"


@pytest.mark.parametrize(
    ("pending", "posted", "review"),
    [(["p1", "p2"], ["n"], ["n"]), (["p"], ["n1", "n2"], ["n1", "n2"]), (["p1", "p2"], ["n1", "n2"], ["n1", "n2"])],
)
def test_t03_an_ambiguous_match_goes_to_review_and_is_not_guessed(
    pending: list[str], posted: list[str], review: list[str]
) -> None:
    held = [row(key, "pending") for key in pending]
    done = meet(held, [row(key) for key in posted])
    assert done.rows["pending_transaction_id"].drop_nulls().to_list() == []
    assert sorted(done.rows.filter(pl.col("status") == "review")["transaction_id"]) == review
    assert sorted(doubt.subject for doubt in done.doubts if doubt.kind == "ambiguous_match") == review
    assert {statuses(held, done)[key] for key in pending} == {"expired"}


def test_t03_a_sure_match_beside_an_ambiguous_one_is_made() -> None:
    held = [row("p1", "pending"), row("p2", "pending"), row("q", "pending", amount=-7)]
    done = meet(held, [row("n"), row("m", amount=-7)])
    links = dict(done.rows.select("transaction_id", "pending_transaction_id").rows())
    assert (links["m"], links["n"]) == ("q", None)


def test_t03_a_pending_row_that_vanishes_unmatched_expires_visibly() -> None:
    held = [row("p", "pending"), row("t")]
    done = meet(held, [row("t")])
    assert statuses(held, done) == {"p": "expired", "t": "posted"}
    assert not done.removed


def test_t03_a_pending_row_that_is_still_there_is_left_alone() -> None:
    held = [row("p", "pending")]
    done = meet(held, [row("p", "pending"), row("new")])
    assert statuses(held, done) == {"p": "pending", "new": "posted"}
    assert done.rows["pending_transaction_id"].to_list() == [None, None]


def test_t03_a_pending_row_that_posts_under_its_own_id_is_simply_updated() -> None:
    held = [row("p", "pending")]
    done = meet(held, [row("p", "posted", day=1)])
    assert statuses(held, done) == {"p": "posted"}


def test_t04_a_posted_row_that_came_before_its_pending_row_went_counts_once() -> None:
    held = [row("p", "pending")]
    between = after(held, meet(held, [row("p", "pending"), row("new", day=1)]))
    done = meet(list(between.values()), [row("new", day=1)])
    counted = [key for key, r in after(list(between.values()), done).items() if r["status"] != "expired"]
    assert counted == ["new"]


def test_a_vendors_own_link_is_kept() -> None:
    done = meet([row("x", "pending", amount=-9)], [row("new", pending_transaction_id="old")])
    assert done.rows.filter(pl.col("transaction_id") == "new")["pending_transaction_id"].to_list() == ["old"]


def test_what_we_found_out_survives_the_vendor_saying_the_row_again() -> None:
    held = [row("a", "review"), row("b", pending_transaction_id="p")]
    done = meet(held, [row("a"), row("b")])
    now = after(held, done)
    assert (now["a"]["status"], now["b"]["pending_transaction_id"]) == ("review", "p")


def test_an_expired_row_that_comes_back_is_pending_again() -> None:
    held = [row("p", "expired")]
    assert statuses(held, meet(held, [row("p", "pending")])) == {"p": "pending"}


def test_an_expired_row_stays_as_it_is() -> None:
    held = [row("p", "expired"), row("t")]
    done = meet(held, [row("t")])
    assert statuses(held, done) == {"p": "expired", "t": "posted"}
    assert done.suspect == frozenset()


# -- what vanished -------------------------------------------------------------------------------------------------------


def test_t13_a_posted_row_that_vanished_is_removed() -> None:
    held = [row(f"t{n}", amount=-n) for n in range(20)]
    done = meet(held, [row(f"t{n}", amount=-n) for n in range(1, 20)])
    assert list(done.removed) == ["t0"]


def test_t36_an_empty_answer_removes_nothing_at_first() -> None:
    held = [row("t1"), row("t2")]
    done = meet(held, [])
    assert (list(done.removed), done.rows.height) == ([], 0)
    assert [doubt.kind for doubt in done.doubts] == ["shrink_guard"]
    assert done.suspect


def test_t36_a_second_equal_read_confirms_a_shorter_answer() -> None:
    held = [row(f"t{n}", amount=-n) for n in range(10)]
    first = meet(held, [row("t0", amount=0)])
    assert list(first.removed) == []
    second = meet(held, [row("t0", amount=0)], suspect=first.suspect)
    assert sorted(second.removed) == [f"t{n}" for n in range(1, 10)]
    assert second.suspect == frozenset()


def test_t36_a_second_read_that_differs_confirms_nothing() -> None:
    held = [row(f"t{n}", amount=-n) for n in range(10)]
    first = meet(held, [row("t0", amount=0)])
    second = meet(held, [row("t1", amount=-1)], suspect=first.suspect)
    assert list(second.removed) == []
    assert second.suspect not in (frozenset(), first.suspect)


def test_t36_a_healthy_read_between_withdraws_the_suspicion() -> None:
    held = [row(f"t{n}", amount=-n) for n in range(10)]
    assert meet(held, held, suspect=meet(held, []).suspect).suspect == frozenset()


@pytest.mark.parametrize(("live", "gone", "guarded"), [(5, 2, False), (5, 3, True), (20, 4, False), (20, 5, True)])
def test_t36_a_few_rows_may_leave_at_once(live: int, gone: int, guarded: bool) -> None:
    assert SHRINK_ROWS == 2
    held = [row(f"t{n}", amount=-n) for n in range(live)]
    done = meet(held, held[gone:])
    assert bool(done.suspect) is guarded
    assert len(done.removed) == (0 if guarded else gone)


def test_t36_new_rows_are_kept_while_the_guard_holds() -> None:
    held = [row(f"t{n}", amount=-n) for n in range(10)]
    assert meet(held, [row("new")]).rows["transaction_id"].to_list() == ["new"]


def test_a_row_that_came_but_could_not_be_used_stays() -> None:
    held = [row("t1"), row("t2", amount=-6)]
    assert list(meet(held, [row("t1")], keep=frozenset({"t2"})).removed) == []


def test_a_row_without_an_id_forbids_any_removal() -> None:
    held = [row("t1"), row("t2"), row("p", "pending")]
    done = meet(held, [row("t1")], keep=None)
    assert (list(done.removed), done.rows.height) == ([], 1)


def test_nothing_held_and_nothing_answered_is_nothing() -> None:
    assert summary(meet([], [])) == ({}, [], [], frozenset())


# -- any rows, any order -------------------------------------------------------------------------------------------------

rows_held = st.lists(
    st.builds(
        row, st.sampled_from([f"h{n}" for n in range(8)]),
        st.sampled_from(["pending", "pending", "posted", "posted", "review", "expired"]), st.integers(-2, -1),
        st.none() | st.integers(-3, 3),
    ),
    max_size=8, unique_by=lambda r: str(r["transaction_id"]),
)  # fmt: skip
rows_answered = st.lists(
    st.builds(
        row, st.sampled_from([f"h{n}" for n in range(8)] + [f"n{n}" for n in range(5)]),
        st.sampled_from(["pending", "posted", "posted"]), st.integers(-2, -1), st.none() | st.integers(-3, 9),
    ),
    max_size=8, unique_by=lambda r: str(r["transaction_id"]),
)  # fmt: skip
thorough = settings(max_examples=200, deadline=None)


@thorough
@given(held=rows_held, answer=rows_answered, data=st.data(), again=st.booleans())
def test_t04_the_order_of_rows_never_changes_the_result(
    held: list[Row], answer: list[Row], data: st.DataObject, again: bool
) -> None:
    suspect = meet(held, answer).suspect if again else frozenset()
    mixed = meet(data.draw(st.permutations(held)), data.draw(st.permutations(answer)), suspect=suspect)
    assert summary(mixed) == summary(meet(held, answer, suspect=suspect))


@thorough
@given(held=rows_held, answer=rows_answered)
def test_t02_the_same_answer_again_changes_nothing_more(held: list[Row], answer: list[Row]) -> None:
    once = after(held, confirmed(held, answer))
    settled = list(once.values())
    done = meet(settled, answer)
    assert (list(done.removed), done.suspect) == ([], frozenset())
    assert after(settled, done) == once


@thorough
@given(held=rows_held, answer=rows_answered)
def test_every_answered_row_is_in_the_table(held: list[Row], answer: list[Row]) -> None:
    assert {r["transaction_id"] for r in answer} <= set(after(held, confirmed(held, answer)))


@thorough
@given(held=rows_held, answer=rows_answered)
def test_t13_only_rows_that_were_held_and_not_answered_leave(held: list[Row], answer: list[Row]) -> None:
    gone = set(confirmed(held, answer).removed)
    assert gone <= {r["transaction_id"] for r in held} - {r["transaction_id"] for r in answer}


@thorough
@given(held=rows_held, answer=rows_answered, later=rows_answered)
def test_t08_a_removed_row_is_never_resurrected_by_itself(held: list[Row], answer: list[Row], later: list[Row]) -> None:
    first = confirmed(held, answer)
    gone = set(first.removed) - {r["transaction_id"] for r in later}
    settled = list(after(held, first).values())
    assert not gone & set(after(settled, confirmed(settled, later)))


@thorough
@given(held=rows_held, answer=rows_answered)
def test_t03_no_live_row_that_vanished_is_left_over(held: list[Row], answer: list[Row]) -> None:
    answered = {r["transaction_id"] for r in answer}
    oldest = min((r["booked_on"] for r in answer if r["booked_on"]), default=None)
    left = [r for key, r in after(held, confirmed(held, answer)).items() if key not in answered]
    for r in left:  # posted rows the vendor's history no longer reaches stay, as do those whose place in it is unknown
        aged_out = r["booked_on"] is None or (oldest is not None and r["booked_on"] < oldest)
        assert r["status"] == "expired" or (r["status"] != "pending" and aged_out and oldest is not None)


@thorough
@given(held=rows_held, answer=rows_answered)
def test_t03_a_pending_row_is_superseded_by_one_row_at_most_and_then_leaves(held: list[Row], answer: list[Row]) -> None:
    done = confirmed(held, answer)
    links = done.rows["pending_transaction_id"].drop_nulls().to_list()
    assert len(links) == len(set(links))
    assert set(links) <= set(done.removed)


@thorough
@given(count=st.integers(2, 6), amount=st.integers(-3, -1))
def test_t09_real_twin_purchases_stay_as_many_as_they_are(count: int, amount: int) -> None:
    twins = [row(f"t{n}", amount=amount) for n in range(count)]
    assert len(after([], meet([], twins))) == count
    assert len(after(twins, meet(twins, twins))) == count


@thorough
@given(held=rows_held, answer=rows_answered)
def test_a_match_is_one_to_one_and_fits(held: list[Row], answer: list[Row]) -> None:
    pending = [r for r in held if r["status"] == "pending"]
    new_ones = [r for r in answer if r["transaction_id"].startswith("n")]
    matches, unsure_posted, unsure_pending = match_pending(frame(pending), frame(new_ones))
    assert len(set(matches.values())) == len(matches)
    assert not set(matches) & unsure_posted
    assert not set(matches.values()) & unsure_pending
    by_id = {r["transaction_id"]: r for r in [*pending, *new_ones]}
    for new, old in matches.items():
        assert by_id[new]["amount"] == by_id[old]["amount"]
        assert timedelta(0) <= by_id[new]["booked_on"] - by_id[old]["booked_on"] <= timedelta(days=8)


@guarded(
    "a row we know better is taken for undisturbed", "engine/reconcile.py",
    'status != "review" and supersedes is None if row_id in came',
    "True if row_id in came",
)  # fmt: skip
@thorough
@given(held=rows_held, answer=rows_answered, whole=st.booleans(), suspect=st.booleans())
def test_an_answer_that_disturbs_nothing_is_what_reconciling_would_give_back(
    held: list[Row], answer: list[Row], whole: bool, suspect: bool
) -> None:
    """The short way is taken only where the long one comes to the same."""
    if whole:  # most answers are like that: everything held came again
        answer = [*answer, *(r for r in held if r["transaction_id"] not in {a["transaction_id"] for a in answer})]
    glance = [(r["transaction_id"], r["status"], r.get("pending_transaction_id")) for r in held]
    if undisturbed(glance, {r["transaction_id"] for r in answer}):
        missed = frozenset(r["transaction_id"] for r in held[:2]) if suspect else frozenset()
        done = meet(held, answer, suspect=missed)
        assert summary(done) == summary(Reconciled(frame(answer)))
