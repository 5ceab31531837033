"""The contract of `Store`: exact rows, one commit, whole history, nothing twice, nothing half. Engine-agnostic."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from polars.testing import assert_frame_equal
from sqlalchemy import event
from sqlalchemy.pool import Pool

from fin_infra.connections import LeftOut
from fin_infra.datasets import DATASETS, SYNCED, dataset
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Dataset
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.operations import AccountStates, Findings, Runs, Streams
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.transactions import Transactions
from fin_infra.errors import StaleCursor, UsageError
from fin_infra.reader import read
from fin_infra.store import (
    Applied,
    Batch,
    Change,
    Counts,
    Cursor,
    Query,
    Records,
    Sealed,
    StagedPage,
    Store,
    Stream,
    open_store,
)
from fin_infra.testing import VirtualClock
from tests.contract.conftest import START
from tests.contract.rows import MICROSECOND, Bench, everything, frame, frames_of, held, in_key_order

fast = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# -- exact rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYNCED)
@fast
@given(data=st.data())
def test_rows_of_vendors_come_back_equal_dtype_for_dtype(bench: Bench, name: str, data: st.DataObject) -> None:
    schema = dataset(name)
    connection = bench.link("ada")
    mine = data.draw(frames_of(schema, tenant=connection.connection_id))
    stream = Stream(connection.connection_id, name)
    bench.store.apply(
        Batch([Change(schema, mine)]), stream=stream, run_id="run_x", expect=bench.cursor(stream), next="{}"
    )
    whose: dict[str, Any] = {"tenant": connection.connection_id}
    if "tenant_id" not in schema.dtypes():
        whose = {"instruments": mine["instrument"].to_list()} if "instrument" in schema.dtypes() else {}
    back = held(bench.store, schema, **whose)
    if not whose:
        back = back.filter(pl.col(schema.key()[0]).is_in(mine[schema.key()[0]].to_list()))
    assert_frame_equal(back, in_key_order(mine, schema), check_exact=True)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in SYNCED])
@fast
@given(data=st.data())
def test_bookkeeping_comes_back_equal_dtype_for_dtype(bench: Bench, name: str, data: st.DataObject) -> None:
    schema = dataset(name)
    rows = data.draw(frames_of(schema, tenant=bench.link("ada").connection_id))
    bench.store.record([Change(schema, rows)], connection_id=bench.connection.connection_id)
    back = bench.store.rows(schema, {"tenant_id": rows["tenant_id"][0]})
    assert_frame_equal(back, rows, check_exact=True, check_row_order=False)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in SYNCED])
@fast
@given(data=st.data())
def test_bookkeeping_given_as_records_is_what_a_frame_would_be(bench: Bench, name: str, data: st.DataObject) -> None:
    schema, tenant = dataset(name), bench.link("ada").connection_id
    rows = data.draw(frames_of(schema, tenant=tenant))
    bench.store.record([Records(schema, rows.to_dicts())], connection_id=bench.connection.connection_id)
    back = bench.store.rows(schema, {"tenant_id": tenant})
    assert_frame_equal(back, rows, check_exact=True, check_row_order=False)
    found = bench.store.records(schema, {"tenant_id": tenant})
    by_key = {tuple(row[name] for name in schema.primary_key()): row for row in found}
    assert by_key == {tuple(row[name] for name in schema.primary_key()): row for row in rows.to_dicts()}


def test_a_column_that_begins_with_2000_nulls_keeps_its_values(bench: Bench) -> None:
    odd = [Decimal("0.000000000000000001"), Decimal("-12345678901234567890.123456789012345678")]
    rows = [bench.row(f"t{n:05}", running_balance=None if n < 2_000 else odd[n % 2]) for n in range(2_100)]
    bench.commit(rows)
    back = held(bench.store, Transactions)
    assert back.schema["running_balance"] == pl.Decimal(38, 18)
    assert back["running_balance"].to_list() == [row["running_balance"] for row in rows]


def test_a_column_of_nulls_alone_keeps_its_dtype(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert held(bench.store, Transactions).schema == pl.Schema(Transactions.dtypes())


def test_an_empty_table_is_an_empty_frame_of_the_schema(bench: Bench) -> None:
    assert held(bench.store, Transactions).schema == pl.Schema(Transactions.dtypes())


def test_text_keys_that_look_alike_stay_apart(bench: Bench) -> None:
    alike = ["é", "e\u0301", "E", "e", "e ", "1", "01", "1.0"]
    bench.commit([bench.row(key) for key in alike])
    assert sorted(bench.ids()) == sorted(alike)


# -- twice is as good as once --------------------------------------------------------------------------------------------


def test_t02_the_same_batch_twice_changes_nothing(bench: Bench) -> None:
    rows = [bench.row(f"t{n}") for n in range(5)]
    assert bench.commit(rows).counts == {"transactions": Counts(inserted=5)}
    assert bench.commit(rows).counts == {"transactions": Counts(unchanged=5)}


def test_a_sync_with_nothing_new_rewrites_no_row(bench: Bench) -> None:
    bench.commit([bench.row("t1"), bench.row("t2")], run_id="run_first")
    before = held(bench.store, Transactions)
    bench.clock.advance(timedelta(hours=6))
    bench.commit([bench.row("t1"), bench.row("t2")], run_id="run_second")
    assert_frame_equal(held(bench.store, Transactions), before)
    assert before["run_id"].to_list() == ["run_first", "run_first"]


def test_a_sync_with_nothing_new_leaves_no_history_and_no_change(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    bench.commit([bench.row("t1")])
    assert held(bench.store, Transactions, history=True).height == 1
    assert bench.store.changes().height == 1


def test_an_as_of_that_moves_alone_is_no_change(bench: Bench) -> None:
    row = {
        "tenant_id": "ada", "account_id": "acc", "currency": "USD", "current": Decimal(1), "provider": "teller",
        "connection_id": bench.connection.connection_id, "fetched_at": START, "run_id": "r",
    }  # fmt: skip
    stream = Stream(bench.connection.connection_id, "balances")
    for minute in range(2):
        rows = frame(Balances, [{**row, "as_of": START + timedelta(minutes=minute)}])
        done = bench.store.apply(
            Batch([Change(Balances, rows)]), stream=stream, run_id="r", expect=bench.cursor(stream), next="{}"
        )
    assert done.counts["balances"] == Counts(unchanged=1)


def test_an_upsert_rewrites_only_the_row_that_changed(bench: Bench) -> None:
    bench.commit([bench.row("t1"), bench.row("t2")], run_id="run_first")
    done = bench.commit([bench.row("t1"), bench.row("t2", amount=Decimal(9))], run_id="run_second")
    assert done.counts["transactions"] == Counts(updated=1, unchanged=1)
    assert held(bench.store, Transactions)["run_id"].to_list() == ["run_first", "run_second"]


@pytest.mark.parametrize("column", [c for c in Transactions.compared() if c not in ("connection_id", "provider")])
def test_a_change_of_any_compared_column_is_seen(bench: Bench, column: str) -> None:
    bench.commit([bench.row("t1")])
    dtype = Transactions.dtypes()[column]
    other: dict[type, Any] = {
        pl.String: "XYZ", pl.Decimal: Decimal("0.000000000000000001"), pl.Date: date(1969, 1, 2),
        pl.Datetime: datetime(1969, 1, 1, 0, 0, 0, 1, UTC), pl.Enum: "pending",
    }  # fmt: skip
    done = bench.commit([bench.row("t1", **{column: other[type(dtype)]})])
    assert done.counts["transactions"] == Counts(updated=1)


def test_a_value_that_becomes_null_is_a_change(bench: Bench) -> None:
    bench.commit([bench.row("t1", merchant="shop")])
    assert bench.commit([bench.row("t1")]).counts["transactions"] == Counts(updated=1)
    assert held(bench.store, Transactions)["merchant"].to_list() == [None]


def test_a_dry_run_counts_and_writes_nothing(bench: Bench) -> None:
    bench.commit([bench.row("t1"), bench.row("t3")])
    before = everything(bench.store)
    done = bench.commit([bench.row("t1", amount=Decimal(2)), bench.row("t2")], removed=["t3"], dry_run=True)
    assert done.counts["transactions"] == Counts(inserted=1, updated=1, removed=1)
    assert everything(bench.store) == before


# -- removal, history, as-of ---------------------------------------------------------------------------------------------


def test_t13_a_removed_row_leaves_the_table_and_stays_in_the_history(bench: Bench) -> None:
    bench.commit([bench.row("t1"), bench.row("t2")])
    bench.clock.advance(timedelta(hours=1))
    assert bench.commit([], removed=["t1"]).counts["transactions"] == Counts(removed=1)
    assert bench.ids() == ["t2"]
    past = held(bench.store, Transactions, history=True).filter(pl.col("transaction_id") == "t1")
    assert past.select("known_from", "known_to").rows() == [(START, START + timedelta(hours=1))]


def test_t13_an_id_that_returns_is_revived(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    bench.clock.advance(timedelta(hours=1))
    bench.commit([], removed=["t1"])
    bench.clock.advance(timedelta(hours=1))
    assert bench.commit([bench.row("t1", amount=Decimal(7))]).counts["transactions"] == Counts(inserted=1)
    assert bench.amounts() == {"t1": Decimal(7)}
    assert bench.amounts(as_of=START + timedelta(minutes=90)) == {}
    assert bench.amounts(as_of=START) == {"t1": Decimal("-1.5")}


def test_removing_what_is_not_there_is_nothing(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert bench.commit([], removed=["t9"]).counts["transactions"] == Counts()


def test_a_key_removed_twice_in_one_batch_counts_once(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert bench.commit([], removed=["t1", "t1"]).counts["transactions"] == Counts(removed=1)
    assert bench.store.changes().filter(pl.col("op") == "removed").height == 1


def test_a_key_that_comes_and_is_removed_in_one_batch_stays(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert bench.commit([bench.row("t1")], removed=["t1"]).counts["transactions"] == Counts(unchanged=1)
    assert bench.ids() == ["t1"]


def test_as_of_before_the_first_commit_knows_nothing(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert bench.ids(as_of=START - MICROSECOND) == []
    assert bench.ids(as_of=START) == ["t1"]


def test_a_current_row_has_no_end_in_the_history(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert held(bench.store, Transactions, history=True)["known_to"].to_list() == [None]


def test_removed_and_revived_within_one_instant_is_never_two_rows(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    bench.commit([], removed=["t1"])
    bench.commit([bench.row("t1", amount=Decimal(7))])
    for offset in range(-1, 4):
        assert len(bench.ids(as_of=START + offset * MICROSECOND)) <= 1
    assert bench.amounts(as_of=START + timedelta(days=1)) == {"t1": Decimal(7)}


def test_removed_and_revived_within_one_instant_loses_no_version(bench: Bench) -> None:
    bench.commit([bench.row("t1", amount=Decimal(1))])
    bench.commit([], removed=["t1"])
    bench.commit([bench.row("t1", amount=Decimal(2))])
    bench.commit([bench.row("t1", amount=Decimal(3))])
    assert held(bench.store, Transactions, history=True)["amount"].to_list() == [1, 2, 3]


def test_a_clock_that_goes_back_while_a_row_is_away_never_doubles_it(bench: Bench) -> None:
    bench.commit([bench.row("t1", amount=Decimal(1))])
    bench.clock.advance(timedelta(hours=2))
    bench.commit([], removed=["t1"])
    bench.clock.advance(-timedelta(hours=1))
    bench.commit([bench.row("t1", amount=Decimal(2))])
    for minutes in range(0, 181, 30):
        assert len(bench.ids(as_of=START + timedelta(minutes=minutes))) <= 1


IDS = [f"t{n}" for n in range(3)]
ops = st.dictionaries(st.sampled_from(IDS), st.none() | st.integers(0, 2), min_size=1)
"""id → a new amount, or None to remove it."""


class History(RuleBasedStateMachine):
    """Batches against a dict. `wild`: the clock may stand still or go back."""

    wild = False

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self.bench = Bench(store, clock)
        self.now: dict[str, int] = {}
        self.versions: dict[str, list[int]] = {key: [] for key in IDS}
        self.known: list[tuple[datetime, dict[str, int]]] = []

    @initialize()
    def begin(self) -> None:
        self.tenant = self.bench.connection.connection_id  # one of its own in every example
        object.__setattr__(self.bench.connection, "tenant_id", self.tenant)

    @rule(batch=ops, steps=st.sampled_from([0, 0, 1, 2, -1, -3]))
    def commit(self, batch: dict[str, int | None], steps: int) -> None:
        self.clock.advance((steps if self.wild else abs(steps) + 1) * MICROSECOND)
        rows = [self.bench.row(key, amount=Decimal(n)) for key, n in batch.items() if n is not None]
        self.bench.commit(rows, [key for key, n in batch.items() if n is None])
        for key, n in batch.items():
            if n is None:
                self.now.pop(key, None)
            elif self.now.get(key) != n:
                self.now[key] = n
                self.versions[key].append(n)
        self.known.append((self.clock(), dict(self.now)))

    @invariant()
    def the_table_is_the_dict(self) -> None:
        if self.known:
            assert self.bench.amounts(tenant=self.tenant) == self.now

    @invariant()
    def history_has_every_version_once(self) -> None:
        found = held(self.bench.store, Transactions, tenant=self.tenant, history=True)
        for key, versions in self.versions.items():
            mine = found.filter(pl.col("transaction_id") == key)
            assert [int(n) for n in mine["amount"]] == versions
            spans = mine.select("known_from", "known_to").rows()
            assert all(end is None or begin < end for begin, end in spans)
            assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))

    @rule(offset=st.integers(-2, 40))
    def as_of_is_never_two_rows_of_one_key(self, offset: int) -> None:
        if self.known:
            found = self.bench.ids(tenant=self.tenant, as_of=self.known[0][0] + offset * MICROSECOND)
            assert len(found) == len(set(found))


class ForwardHistory(History):
    @rule(data=st.data())
    def as_of_is_what_the_dict_was_then(self, data: st.DataObject) -> None:
        if not self.known:
            return
        at = data.draw(st.sampled_from([t for t, _ in self.known])) + data.draw(st.integers(-1, 1)) * MICROSECOND
        expected = next((state for t, state in reversed(self.known) if t <= at), {})
        assert self.bench.amounts(tenant=self.tenant, as_of=at) == expected


class WildHistory(History):
    wild = True


@pytest.mark.parametrize("machine", [ForwardHistory, WildHistory])
def test_history_is_what_a_dict_would_remember(store: Store, clock: VirtualClock, machine: type[History]) -> None:
    run_state_machine_as_test(
        lambda: machine(store, clock),  # type: ignore[arg-type]
        settings=settings(
            max_examples=40,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[
                Phase.explicit,
                Phase.reuse,
                Phase.generate,
            ],  # a short story needs no shrinking, which takes minutes
        ),
    )


# -- compare-and-set -----------------------------------------------------------------------------------------------------


def test_a_stale_cursor_writes_nothing(bench: Bench) -> None:
    stale = bench.cursor()
    bench.commit([bench.row("t1")])
    before = everything(bench.store)
    with pytest.raises(StaleCursor):
        bench.commit([bench.row("t2")], expect=stale)
    assert everything(bench.store) == before


def test_t16_the_cursor_moves_with_the_rows(bench: Bench) -> None:
    done = bench.commit([bench.row("t1")], run_id="run_a", next='{"page":7}')
    assert bench.cursor() == Cursor(done.version, 1, '{"page":7}', "run_a")


def test_t16_books_that_raise_leave_neither_rows_nor_cursor(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    before = everything(bench.store)

    def books(applied: Applied) -> list[Change]:
        raise RuntimeError("books")

    with pytest.raises(RuntimeError, match="books"):
        bench.commit([bench.row("t2")], books=books)
    assert everything(bench.store) == before


def test_t20_books_are_kept_in_the_same_commit_with_the_counts(bench: Bench) -> None:
    def books(applied: Applied) -> list[Change]:
        row = {
            "run_id": "run_b", "tenant_id": "ada", "connection_id": bench.connection.connection_id,
            "dataset": "transactions", "lane": "scheduled", "started_at": START, "finished_at": START,
            "outcome": "ok", **applied.total()._asdict(), "calls": 1, "attempt": 1, "provider": "teller",
            "fetched_at": START,
        }  # fmt: skip
        return [Change(Runs, frame(Runs, [row]))]

    bench.commit([bench.row("t1"), bench.row("t2")], books=books)
    assert bench.store.rows(Runs, {})["inserted"].to_list() == [2]


def test_t15_another_generation_of_the_credential_is_a_stale_cursor(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    expect = bench.cursor()
    bench.connections.relink(bench.connection.connection_id, {"access_token": "new"})
    before = everything(bench.store)
    with pytest.raises(StaleCursor):
        bench.commit([bench.row("t2")], expect=expect)
    assert everything(bench.store) == before


def test_t15_a_new_generation_begins_with_an_empty_cursor_and_can_commit(bench: Bench) -> None:
    bench.commit([bench.row("t1")], next='{"page":7}')
    bench.connections.relink(bench.connection.connection_id, {"access_token": "new"})
    cursor = bench.store.cursor(bench.stream, 2)
    assert (cursor.body, cursor.generation) == ("{}", 2)
    bench.commit([bench.row("t2")], expect=cursor)
    assert bench.ids() == ["t1", "t2"]


def test_a_connection_that_is_gone_is_a_stale_cursor(bench: Bench) -> None:
    expect = bench.cursor()
    bench.store.erase(bench.connection.connection_id)
    with pytest.raises(StaleCursor):
        bench.commit([bench.row("t1")], expect=expect)


def test_t01_of_two_threads_that_commit_at_once_exactly_one_wins(bench: Bench, store_url: str) -> None:
    others = [open_store(store_url, now=bench.clock) for _ in range(2)]
    for turn in range(15):
        expect, barrier, won = bench.cursor(), threading.Barrier(2), list[str]()

        def contend(store: Store, key: str, *, turn: int = turn, expect: Cursor = expect,
                    barrier: threading.Barrier = barrier, won: list[str] = won) -> None:  # fmt: skip
            row = bench.row(key, run_id=f"run_{turn}{key}")
            barrier.wait(10)
            try:
                store.apply(Batch([bench.change([row])]), stream=bench.stream, run_id=key, expect=expect, next=key)
            except StaleCursor:
                return
            won.append(key)

        threads = [
            threading.Thread(target=contend, args=(store, f"{name}{turn}"))
            for store, name in zip(others, "ab", strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(won) == 1
        assert [key for key in bench.ids() if key[1:] == str(turn)] == won
        assert bench.cursor().body == won[0]
    for store in others:
        store.close()


# -- long batches --------------------------------------------------------------------------------------------------------


def many(bench: Bench, count: int = 2_500) -> list[dict[str, Any]]:
    return [bench.row(f"t{n:05}") for n in range(count)]


def test_a_long_batch_commits_whole_and_publishes_its_cursor_once(bench: Bench) -> None:
    done = bench.commit(many(bench), next='{"end":1}', run_id="run_long")
    assert done.counts["transactions"] == Counts(inserted=2_500)
    assert (bench.cursor().body, bench.cursor().version) == ('{"end":1}', done.version)
    assert len(bench.ids()) == 2_500


def test_t16_an_error_between_the_parts_leaves_the_cursor_unpublished(bench: Bench) -> None:
    bench.commit([bench.row("first")], next='{"begin":1}', run_id="run_begin")

    def books(applied: Applied) -> list[Change]:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        bench.commit(many(bench), books=books)
    cursor = bench.cursor()
    assert (cursor.body, cursor.run_id) == ('{"begin":1}', "run_begin")


def test_t16_the_same_long_batch_again_completes_it(bench: Bench) -> None:
    def books(applied: Applied) -> list[Change]:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        bench.commit(many(bench), books=books)
    bench.commit(many(bench), next='{"end":1}')
    assert len(bench.ids()) == 2_500
    assert held(bench.store, Transactions, history=True).height == 2_500
    assert bench.store.changes().height == 2_500


def test_t22_a_second_writer_between_the_parts_wins_and_the_first_is_stale(bench: Bench, store_url: str) -> None:
    other = open_store(store_url, now=bench.clock)
    parts: list[int] = []

    def between(*_: object) -> None:
        parts.append(len(parts))
        if len(parts) == 2:  # the cursor was read, one part is committed
            cursor = other.cursor(bench.stream, 1)
            batch = Batch([bench.change([bench.row("other")])])
            other.apply(batch, stream=bench.stream, run_id="run_other", expect=cursor, next='{"other":1}')

    rows, expect = many(bench), bench.cursor()
    parts.append(0)
    event.listen(Pool, "checkin", between)
    try:
        with pytest.raises(StaleCursor):
            bench.commit(rows, expect=expect)
    finally:
        event.remove(Pool, "checkin", between)
        other.close()
    assert (bench.cursor().body, bench.cursor().run_id) == ('{"other":1}', "run_other")
    assert len(bench.ids()) == 1_001


def test_a_snapshot_is_never_cut(bench: Bench) -> None:
    def books(applied: Applied) -> list[Change]:
        raise RuntimeError("killed")

    before = everything(bench.store)
    with pytest.raises(RuntimeError, match="killed"):
        bench.commit(many(bench), atomic=True, books=books)
    assert everything(bench.store) == before


def test_long_removals_are_counted_and_all_leave(bench: Bench) -> None:
    rows = many(bench, 1_200)
    bench.commit(rows)
    done = bench.commit([bench.row("new")], removed=[row["transaction_id"] for row in rows])
    assert done.counts["transactions"] == Counts(inserted=1, removed=1_200)
    assert bench.ids() == ["new"]


# -- change feed ---------------------------------------------------------------------------------------------------------


def test_the_feed_lists_exactly_the_keys_that_changed(bench: Bench) -> None:
    bench.commit([bench.row(f"t{n}") for n in range(4)])
    place = int(bench.store.changes()["seq"].max())  # type: ignore[arg-type]
    bench.commit([bench.row("t0"), bench.row("t1", amount=Decimal(3)), bench.row("t9")], removed=["t2"], run_id="run_c")
    found = bench.store.changes(place)
    assert sorted((op, key[-1]) for op, key in found.select("op", "key").rows()) == [
        ("inserted", "t9"), ("removed", "t2"), ("updated", "t1"),
    ]  # fmt: skip
    assert set(found["run_id"]) == {"run_c"}
    assert set(found["changed_at"]) == {START}


def test_a_key_in_the_feed_is_the_whole_key_in_the_datasets_order(bench: Bench) -> None:
    bench.commit([bench.row("ü\n\"'")])
    assert bench.store.changes()["key"].to_list() == [["ada", "acc", "ü\n\"'"]]


def test_the_feed_can_be_read_for_one_connection(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    assert bench.store.changes(connection="con_other").height == 0
    assert bench.store.changes(connection=bench.connection.connection_id).height == 1


def test_a_place_in_the_feed_is_never_given_twice(bench: Bench) -> None:
    bench.commit([bench.row("t1")])
    place = bench.store.changes()["seq"].max()
    bench.store.erase(bench.connection.connection_id)
    again = Bench(bench.store, bench.clock)
    again.commit([again.row("t1")])
    assert again.store.changes()["seq"].min() > place  # type: ignore[operator]


# -- erasure -------------------------------------------------------------------------------------------------------------

MARK = "Zyzzyva-Erase-Me"


def full(bench: Bench) -> None:
    """A connection with something in every table."""
    con = bench.connection.connection_id
    base = {"tenant_id": MARK, "connection_id": con, "provider": "teller", "fetched_at": START, "run_id": f"run_{MARK}"}
    account = {**base, "account_id": f"acc_{MARK}", "name": MARK, "kind": "depository", "status": "open"}
    row = {
        **base, "account_id": f"acc_{MARK}", "transaction_id": f"txn_{MARK}", "status": "posted", "amount": Decimal(1),
        "description": MARK,
    }  # fmt: skip
    books = [
        Change(Runs, frame(Runs, [{
            **base, "dataset": "transactions", "lane": "scheduled", "started_at": START, "finished_at": START,
            "outcome": "ok", "inserted": 0, "updated": 0, "removed": 0, "unchanged": 0, "calls": 0, "attempt": 1,
            "error": MARK,
        }])),
        Change(Streams, frame(Streams, [{**base, "dataset": "transactions", "state": "ok", "next_reason": MARK}])),
        Change(AccountStates, frame(AccountStates, [
            {**base, "account_id": f"acc_{MARK}", "dataset": "transactions", "state": "ok"}])),
        Change(Findings, frame(Findings, [{
            **base, "finding_id": f"fnd_{MARK}", "dataset": "transactions", "kind": "row_invalid", "detail": MARK,
            "state": "open", "first_seen_at": START,
        }])),
    ]  # fmt: skip
    for amount in (1, 2):
        bench.store.apply(
            Batch(
                [
                    Change(Accounts, frame(Accounts, [{**account, "mask": f"00{amount}"}])),
                    Change(Transactions, frame(Transactions, [{**row, "amount": Decimal(amount)}])),
                ],
                books, [Sealed("transactions", MARK, MARK.encode())] if amount == 1 else [],
            ),
            stream=bench.stream, run_id=f"run_{MARK}{amount}", expect=bench.cursor(), next=MARK,
        )  # fmt: skip
    bench.store.stage_pages(bench.stream, 1, [StagedPage(MARK, 1, MARK, 200, MARK.encode(), START)])
    bench.connections.leave_out(bench.connection.connection_id, [MARK])


def traces(store: Store, *marks: str) -> list[str]:
    return [
        name
        for name, rows in everything(store).items()
        for row in rows
        for value in row
        if any(mark in (value.decode("latin-1") if isinstance(value, bytes) else str(value)) for mark in marks)
    ]


def test_accounts_are_left_out_and_taken_in(bench: Bench) -> None:
    links, con = bench.connections, bench.connection.connection_id
    assert links.left_out(con) == LeftOut()
    for _ in range(2):  # twice is as good as once
        links.leave_out(con, ["a", "b"])
    links.leave_out(con, new_ones=True)
    assert links.left_out(con) == LeftOut(frozenset("ab"), True)
    links.take_in(con, ["a"])
    assert links.left_out(con) == LeftOut(frozenset("b"), True)
    other = bench.link("ada").connection_id
    links.leave_out(other, ["b"])
    links.take_in(con)
    assert links.left_out(con) == LeftOut()
    assert links.left_out(other) == LeftOut(frozenset("b"))


def test_erasing_a_connection_leaves_no_trace_in_any_table(bench: Bench) -> None:
    full(bench)
    con = bench.connection.connection_id
    before = set(traces(bench.store, MARK, con))
    assert before >= {
        "accounts", "transactions", "accounts_history", "transactions_history", "runs", "streams", "account_states",
        "findings", "quarantine", "changes", "staged_pages", "cursors", "connections", "secrets", "left_out",
    }  # fmt: skip
    assert bench.store.erase(con) > 0
    assert traces(bench.store, MARK, con) == []


def test_erasing_a_connection_leaves_the_others_as_they_were(bench: Bench) -> None:
    full(bench)
    other = Bench(bench.store, bench.clock)
    other.commit([other.row("t1")])
    before = {name: [row for row in rows if other.connection.connection_id in map(str, row)]
              for name, rows in everything(bench.store).items()}  # fmt: skip
    bench.store.erase(bench.connection.connection_id)
    after = everything(bench.store)
    assert all(row in after[name] for name, rows in before.items() for row in rows)
    assert other.ids(tenant="ada") == ["t1"]


def test_a_run_still_under_way_brings_nothing_back_after_erasure(bench: Bench) -> None:
    con, expect = bench.connection.connection_id, bench.cursor()
    bench.store.erase(con)
    bench.store.stage_pages(bench.stream, 1, [StagedPage("acc", 1, "next", 200, b"sealed", START)])
    with pytest.raises(StaleCursor):
        bench.commit([bench.row("t1")], expect=expect)
    streams = frame(Streams, [{
        "connection_id": con, "dataset": "transactions", "tenant_id": "ada", "state": "ok", "provider": "teller",
        "fetched_at": START,
    }])  # fmt: skip
    bench.store.record([Change(Streams, streams)], [Sealed("transactions", "why", b"x")], connection_id=con)
    assert traces(bench.store, con) == []


# -- reading -------------------------------------------------------------------------------------------------------------


def spread(bench: Bench) -> None:
    """Rows of two tenants, two accounts and some weeks."""
    rows = [
        bench.row(f"t{n:02}", account_id=f"acc{n % 2}", booked_on=date(2026, 11, 1) + timedelta(days=n),
                  amount=Decimal(n) - 5, merchant=None if n % 3 == 0 else f"m{n % 4}",
                  status="pending" if n % 5 == 0 else "posted")
        for n in range(10)
    ]  # fmt: skip
    bench.commit([*rows, bench.row("undated", booked_on=None, account_id="acc1")])
    grace = Bench(bench.store, bench.clock)
    object.__setattr__(grace.connection, "tenant_id", "grace")
    grace.commit([grace.row("g1", account_id="acc0"), grace.row("g2", account_id="acc1")])


def test_a_tenant_never_reads_another(bench: Bench) -> None:
    spread(bench)
    for query in ({}, {"accounts": ["acc0", "acc1"]}, {"history": True}, {"as_of": START}):
        assert set(held(bench.store, Transactions, tenant="ada", **query)["tenant_id"]) == {"ada"}
    assert held(bench.store, Transactions, tenant="").height == 0


def test_connection_and_account_filters(bench: Bench) -> None:
    spread(bench)
    assert set(bench.ids(connection=bench.connection.connection_id)) == {f"t{n:02}" for n in range(10)} | {"undated"}
    assert bench.ids(tenant="grace", accounts=["acc1"]) == ["g2"]
    assert bench.ids(accounts=[]) == []


def test_since_and_until_are_inclusive_days_and_leave_out_rows_without_one(bench: Bench) -> None:
    spread(bench)
    found = bench.ids(tenant="ada", since=date(2026, 11, 3), until=date(2026, 11, 5))
    assert sorted(found) == ["t02", "t03", "t04"]


@pytest.mark.parametrize("until", [date.max, date(9999, 12, 30)])
def test_until_may_be_the_last_day_there_is(bench: Bench, until: date) -> None:
    spread(bench)
    assert len(bench.ids(tenant="ada", since=date.min, until=until)) == 10


def test_since_and_until_of_an_instant_are_utc_days(bench: Bench) -> None:
    base = {"tenant_id": "ada", "connection_id": bench.connection.connection_id, "dataset": "transactions",
            "kind": "k", "detail": "d", "state": "open", "provider": "teller", "fetched_at": START, "run_id": "r"}  # fmt: skip
    edges = [datetime(2026, 11, 2, tzinfo=UTC) - MICROSECOND, datetime(2026, 11, 2, tzinfo=UTC),
             datetime(2026, 11, 3, tzinfo=UTC) - MICROSECOND, datetime(2026, 11, 3, tzinfo=UTC)]  # fmt: skip
    rows = frame(Findings, [{**base, "finding_id": f"f{n}", "first_seen_at": at} for n, at in enumerate(edges)])
    bench.store.record([Change(Findings, rows)], connection_id=bench.connection.connection_id)
    day = date(2026, 11, 2)
    assert held(bench.store, Findings, since=day, until=day)["finding_id"].to_list() == ["f1", "f2"]


@pytest.mark.parametrize(
    ("schema", "query"),
    [
        (Accounts, Query(since=date(2026, 1, 1))), (Streams, Query(accounts=["a"])), (Runs, Query(as_of=START)),
        (Runs, Query(history=True)), (Accounts, Query(instruments=["us:SPY"])), (Prices, Query(accounts=["a"])),
        (Prices, Query(tenant="ada")), (Prices, Query(connection="con_1")), (Instruments, Query(tenant="ada")),
        (Instruments, Query(connection="con_1")), (Instruments, Query(since=date(2026, 1, 1))),
    ],
)  # fmt: skip
def test_a_filter_the_dataset_does_not_have_is_refused(store: Store, schema: type[Dataset], query: Query) -> None:
    with pytest.raises(UsageError):
        store.check(schema, query)


def test_rows_come_in_key_order_whatever_order_they_were_written_in(bench: Bench) -> None:
    keys = ["b", "a", "Z", "é", "10", "9"]
    bench.commit([bench.row(key) for key in keys])
    assert bench.ids() == sorted(keys, key=lambda key: key.encode())


def test_columns_and_limit_are_pushed_down(bench: Bench) -> None:
    spread(bench)
    found = pl.concat(list(bench.store.read(Transactions, Query(tenant="ada"), ["amount", "transaction_id"], 3)))
    assert found.columns == ["amount", "transaction_id"]
    assert found.height == 3
    assert found["transaction_id"].to_list() == bench.ids(tenant="ada")[:3]


def test_a_limit_of_nothing_is_an_empty_frame(bench: Bench) -> None:
    spread(bench)
    assert pl.concat(list(bench.store.read(Transactions, Query(), ["amount"], 0))).height == 0


def lazy(bench: Bench, **query: Any) -> pl.LazyFrame:
    return read("transactions", store=bench.store, **query)


def test_a_lazy_head_counts_rows_that_pass_the_filter(bench: Bench) -> None:
    spread(bench)
    found = lazy(bench, tenant="ada").filter(pl.col("amount") > 0).head(2).collect()
    assert found["transaction_id"].to_list() == ["t06", "t08"]


def test_a_lazy_head_before_the_filter_counts_rows_before_it(bench: Bench) -> None:
    spread(bench)
    found = lazy(bench, tenant="ada").head(6).filter(pl.col("amount") > 0).collect()
    assert found["transaction_id"].to_list() == ["t06", "t08"]
    assert lazy(bench, tenant="ada").head(3).filter(pl.col("amount") > 0).collect().height == 0


def test_a_filter_on_a_column_that_is_not_selected_works(bench: Bench) -> None:
    spread(bench)
    found = lazy(bench).filter(pl.col("tenant_id") == "grace").select("transaction_id").collect()
    assert found.to_dict(as_series=False) == {"transaction_id": ["g1", "g2"]}


def test_rows_can_be_counted_without_a_column(bench: Bench) -> None:
    spread(bench)
    assert lazy(bench, tenant="grace").select(pl.len()).collect().item() == 2


def test_a_limit_over_several_parts_stops_at_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fin_infra.store.sql.READ_BATCH", 2)
    spread(bench)
    found = lazy(bench, tenant="ada").filter(pl.col("status") == "posted").head(5).collect()
    assert found.height == 5


predicates = st.sampled_from(
    [
        pl.col("amount") > 0, pl.col("amount") == Decimal(2), pl.col("amount").is_between(Decimal(-3), Decimal(1)),
        pl.col("merchant").is_null(), pl.col("merchant") == "m2", pl.col("status") == "pending",
        pl.col("booked_on") >= date(2026, 11, 4), pl.col("transaction_id").str.starts_with("t0"),
        pl.col("account_id") == "acc1", pl.col("occurred_at").is_not_null(), ~(pl.col("amount") < Decimal("1.5")),
    ]
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("filter"), predicates),
        st.tuples(st.just("head"), st.integers(0, 8)),
        st.tuples(st.just("slice"), st.tuples(st.integers(0, 4), st.integers(0, 5))),
        st.tuples(st.just("either"), st.tuples(predicates, predicates)),
    ),
    max_size=4,
)
picks = st.none() | st.lists(st.sampled_from(list(Transactions.dtypes())), min_size=1, max_size=3, unique=True)


@pytest.fixture
def spread_bench(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("fin_infra.store.sql.READ_BATCH", 3)
    spread(bench)
    return bench


@settings(fast, max_examples=120)
@given(steps=steps, picked=picks, history=st.booleans())
def test_lazy_steps_equal_the_same_steps_on_the_whole_frame(
    spread_bench: Bench, steps: list[tuple[str, Any]], picked: list[str] | None, history: bool
) -> None:
    def walked(frame: Any) -> Any:
        for kind, what in steps:
            match kind:
                case "filter":
                    frame = frame.filter(what)
                case "either":
                    frame = frame.filter(what[0] | what[1])
                case "head":
                    frame = frame.head(what)
                case _:
                    frame = frame.slice(*what)
        return frame if picked is None else frame.select(picked)

    source = lazy(spread_bench, history=history)
    assert_frame_equal(walked(source).collect(), walked(source.collect()))


def test_a_read_sees_one_snapshot_while_a_writer_commits(
    bench: Bench, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fin_infra.store.sql.READ_BATCH", 10)
    bench.commit([bench.row(f"t{n:03}", amount=Decimal(1)) for n in range(100)])
    reader = open_store(store_url, now=bench.clock)
    parts = reader.read(Transactions, Query())
    found = [next(parts)]
    bench.commit([bench.row(f"t{n:03}", amount=Decimal(2)) for n in range(50, 120)], removed=["t001"])
    found += list(parts)
    whole = pl.concat(found)
    assert whole.height == 100
    assert set(whole["amount"]) == {Decimal(1)}
    assert pl.concat(list(reader.read(Transactions, Query()))).height == 119
    reader.close()


def test_a_plan_is_not_read_before_it_is_collected(bench: Bench) -> None:
    plan = lazy(bench)
    bench.commit([bench.row("t1")])
    assert plan.collect().height == 1


def test_as_of_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="zone"):
        read("transactions", as_of=datetime(2026, 1, 1), store=store)


# -- pages, aliases, evidence --------------------------------------------------------------------------------------------


@fast
@given(
    position=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    body=st.binary(max_size=200),
    status=st.integers(100, 599),
)
def test_staged_pages_round_trip(bench: Bench, position: str, body: bytes, status: int) -> None:
    page = StagedPage("acc", 1, position, status, body, START + MICROSECOND)
    bench.store.stage_pages(bench.stream, 1, [page])
    assert bench.store.staged_pages(bench.stream, 1) == [page]


def test_staged_pages_come_in_order_and_belong_to_one_generation(bench: Bench) -> None:
    pages = [StagedPage(who, n, f"p{n}", 200, b"x", START) for who in ("b", "a") for n in (10, 2, 1)]
    for page in pages:
        bench.store.stage_pages(bench.stream, 1, [page])
    assert bench.store.staged_pages(bench.stream, 1) == sorted(pages, key=lambda page: (page.subject, page.n))
    assert bench.store.staged_pages(bench.stream, 2) == []
    assert bench.store.staged_pages(Stream(bench.connection.connection_id, "accounts"), 1) == []


def test_a_page_staged_again_replaces_the_first(bench: Bench) -> None:
    for body in (b"old", b"new"):
        bench.store.stage_pages(bench.stream, 1, [StagedPage("acc", 1, "p", 200, body, START)])
    assert [page.body for page in bench.store.staged_pages(bench.stream, 1)] == [b"new"]


def test_a_commit_drops_the_pages_of_its_stream(bench: Bench) -> None:
    bench.store.stage_pages(bench.stream, 1, [StagedPage("acc", 1, "p", 200, b"x", START)])
    bench.commit([bench.row("t1")])
    assert bench.store.staged_pages(bench.stream, 1) == []


def test_a_commit_keeps_the_pages_of_the_accounts_it_could_not_finish(bench: Bench) -> None:
    pages = [StagedPage(who, 1, "p", 200, b"x", START) for who in ("done", "waits")]
    bench.store.stage_pages(bench.stream, 1, pages)
    batch = Batch([bench.change([bench.row("t1")])], unfinished=["waits"])
    bench.store.apply(batch, stream=bench.stream, run_id="r", expect=bench.cursor(), next="{}")
    assert bench.store.staged_pages(bench.stream, 1) == pages[1:]


def test_a_stale_commit_keeps_the_pages_of_its_stream(bench: Bench) -> None:
    stale = bench.cursor()
    bench.commit([bench.row("t1")])
    bench.store.stage_pages(bench.stream, 1, [StagedPage("acc", 1, "p", 200, b"x", START)])
    with pytest.raises(StaleCursor):
        bench.commit([bench.row("t2")], expect=stale)
    assert len(bench.store.staged_pages(bench.stream, 1)) == 1


def test_evidence_is_recorded_once_per_item(bench: Bench) -> None:
    two = [Sealed("transactions", "why", b"1"), Sealed("transactions", "why", b"2")]
    bench.store.record([], two, connection_id=bench.connection.connection_id)
    assert [row[-2] for row in everything(bench.store)["quarantine"]] == [b"1", b"2"]


def test_evidence_without_a_run_can_be_recorded_twice(bench: Bench) -> None:
    for body in (b"1", b"2"):
        bench.store.record([], [Sealed("transactions", "why", body)], connection_id=bench.connection.connection_id)
    assert len(everything(bench.store)["quarantine"]) == 2


def test_what_was_committed_is_there_after_reopening(bench: Bench, store_url: str) -> None:
    bench.commit([bench.row("t1")], next='{"page":1}', run_id="run_z")
    bench.store.close()
    again = open_store(store_url, now=bench.clock)
    assert held(again, Transactions)["transaction_id"].to_list() == ["t1"]
    assert again.cursor(bench.stream, 1) == Cursor(1, 1, '{"page":1}', "run_z")
    again.close()


def test_a_store_can_be_opened_by_eight_threads_at_once(store_url: str) -> None:
    barrier, failed = threading.Barrier(8), list[BaseException]()

    def opening() -> None:
        barrier.wait(10)
        try:
            open_store(store_url).close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
