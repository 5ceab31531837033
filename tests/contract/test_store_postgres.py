"""What only a store in PostgreSQL must hold: many writers at once, a schema of its own, a server that goes away."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest

from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.prices import Prices
from fin_infra.errors import StoreError, UsageError
from fin_infra.runtime.queue import SqlJobQueue, migrate_queue
from fin_infra.store import Batch, Change, Cursor, Stream, open_store
from fin_infra.store.opening import HEAD, migrate
from fin_infra.store.postgres import canonical, marked
from fin_infra.testing import VirtualClock
from tests.contract.conftest import START
from tests.contract.rows import Bench, frame, held
from tests.postgres import PostgresServer


def test_a_database_that_was_never_migrated_says_what_to_do(postgres: PostgresServer) -> None:
    url = postgres.empty()
    for opening in (open_store, SqlJobQueue):
        with pytest.raises(UsageError, match="run fin-infra migrate") as refused:
            opening(url)
        assert "postgres@" not in refused.value.message
    assert migrate(url) == (None, HEAD)
    assert migrate(url) == (HEAD, HEAD)
    assert (migrate_queue(url), migrate_queue(url)) == (True, False)
    open_store(url).close()
    SqlJobQueue(url).close()


@pytest.mark.parametrize(("version", "says"), [("0001", "run fin-infra migrate"), ("9999", "upgrade fin_infra")])
def test_tables_of_another_release_are_refused(postgres: PostgresServer, version: str, says: str) -> None:
    with postgres.lent() as url, psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as sql:
        sql.execute("UPDATE fin_infra.fin_infra_version SET version_num = %s", (version,))
        with pytest.raises(UsageError, match=f"{version}.*{HEAD}.*{says}"):
            open_store(url)
        if version > HEAD:
            with pytest.raises(UsageError, match=says):
                migrate(url)
        sql.execute("UPDATE fin_infra.fin_infra_version SET version_num = %s", (HEAD,))


def test_a_schema_of_somebody_else_is_left_as_it_is(postgres: PostgresServer) -> None:
    url = postgres.empty()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as sql:
        sql.execute("CREATE SCHEMA fin_infra CREATE TABLE songs (title text)")
    for opening in (open_store, migrate):
        with pytest.raises(UsageError, match="not ours") as refused:
            opening(url)
        assert refused.value.code == "store_foreign"


def test_an_application_in_the_same_database_is_not_touched(postgres: PostgresServer) -> None:
    url = postgres.empty()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as sql:
        sql.execute("CREATE TABLE accounts (mine text)")
        sql.execute("CREATE TABLE alembic_version (version_num text)")
        migrate(url)
        found = sql.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'").fetchall()
        assert sorted(found) == [("accounts",), ("alembic_version",)]


def test_eight_migrations_at_once_are_one(postgres: PostgresServer) -> None:
    url = postgres.empty()
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: (migrate(url), migrate_queue(url)), range(8)))
    assert sum(before is None for (before, _), _ in done) == 1
    assert sum(new for _, new in done) == 1
    open_store(url).close()


def test_amounts_are_numbers_to_other_readers(postgres: PostgresServer, clock: VirtualClock) -> None:
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        bench = Bench(store, clock)
        bench.commit([bench.row("t1", amount=Decimal("10.10")), bench.row("t2", amount=Decimal("9.9"))])
        with psycopg.connect(url.replace("+psycopg", "")) as sql:
            assert sql.execute("SELECT sum(amount) FROM fin_infra.transactions").fetchone() == (Decimal(20),)
            order = sql.execute("SELECT transaction_id FROM fin_infra.transactions ORDER BY amount").fetchall()
            assert order == [("t2",), ("t1",)]
        store.close()


def test_marks_and_numbers_are_translated_as_sqlite_has_them() -> None:
    assert marked("SELECT '%' WHERE a = ? AND b IN (?, ?)") == "SELECT '%%' WHERE a = %s AND b IN (%s, %s)"
    assert [canonical(n) for n in ("1.500000000000000000", "100", "0.000000000000000000", "-0.10", "1200.0")] == [
        "1.5", "100", "0", "-0.1", "1200",
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [199, 200, 2_500])
def test_few_rows_and_many_are_written_alike(postgres: PostgresServer, clock: VirtualClock, rows: int) -> None:
    """Arrays below, COPY above; text with whatever COPY gives a meaning to."""
    odd = ["a\tb", "a\nb", "\\N", "\\.", "a\\b", "NULL", "{}", '"', "'", "é,€", ""]
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        bench = Bench(store, clock)
        made = [bench.row(f"t{n:05}", description=odd[n % 11] or None, amount=Decimal(n) / 8) for n in range(rows)]
        bench.commit(made, atomic=True)
        found = held(store, bench.change([]).schema)
        assert found["description"].to_list() == [row["description"] for row in made]
        assert found["amount"].to_list() == [row["amount"] for row in made]
        changed = [{**row, "amount": row["amount"] + 1} for row in made]
        assert bench.commit(changed, atomic=True).total().updated == rows
        assert held(store, bench.change([]).schema, history=True).height == 2 * rows
        store.close()


def writer(url: str, clock: VirtualClock, connection: str, n: int, rounds: int, start: threading.Barrier) -> int:
    """Commits bars that all the others commit too, in an order of its own; how often it came second."""
    store = open_store(url, now=clock)
    stream = Stream(connection, "prices")
    start.wait(30)
    for lap in range(rounds):
        keys = [f"us:S{k:03}" for k in range(60)]
        keys = keys[n * 7 :] + keys[: n * 7] if n % 2 else list(reversed(keys))
        common = {"provider": "alpaca", "fetched_at": clock(), "run_id": f"run_{n}_{lap}"}
        prices = frame(Prices, [
            {"instrument": key, "session": START.date(), "basis": "raw", "close": Decimal(n * 1000 + lap),
             "state": "provisional", **common} for key in keys
        ])  # fmt: skip
        instruments = frame(Instruments, [
            {"instrument": key, "name": f"{n}/{lap}", "quote_unit": "major", **common} for key in keys[:30]
        ])  # fmt: skip
        changes = [Change(Prices, prices), Change(Instruments, instruments)]
        batch = Batch(changes if n % 3 else changes[::-1])
        cursor: Cursor = store.cursor(stream, 1)
        store.apply(batch, stream=stream, run_id=f"run_{n}_{lap}", expect=cursor, next="{}")
    store.close()
    return rounds


def test_eight_writers_of_the_same_keys_neither_wait_in_a_ring_nor_lose_a_version(
    postgres: PostgresServer, clock: VirtualClock
) -> None:
    rounds = 6
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        bench = Bench(store, clock)
        connections = [bench.link("ada").connection_id for _ in range(8)]
        barrier = threading.Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            done = pool.map(lambda n: writer(url, clock, connections[n], n, rounds, barrier), range(8))
            assert sum(done) == 8 * rounds
        for schema, keys in ((Prices, 60), (Instruments, 30)):
            versions = held(store, schema, history=True)
            if schema is Prices:
                assert versions.height == keys * 8 * rounds, "every version that was replaced is in the history"
            chain = versions.sort("instrument", "known_from")
            for _, one in chain.group_by("instrument"):
                ends, begins = one["known_to"].to_list(), one["known_from"].to_list()
                assert ends[:-1] == begins[1:], "each version begins when the one before ends"
                assert ends[-1] is None
        feed = store.changes()
        assert feed.filter(dataset="prices", op="inserted").height == 60
        store.close()


def test_a_reader_of_the_feed_misses_nothing_while_eight_write(postgres: PostgresServer, clock: VirtualClock) -> None:
    """A number is given before its commit: who has seen a later one must have seen all before it."""
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        bench = Bench(store, clock)
        connections = [bench.link("ada").connection_id for _ in range(4)]
        barrier = threading.Barrier(5)

        def write(connection: str) -> None:
            mine = open_store(url, now=clock)
            stream = Stream(connection, "transactions")
            barrier.wait(30)
            for n in range(40):
                row = bench.row(f"{connection}-{n}", connection_id=connection, account_id=connection)
                mine.apply(
                    Batch([bench.change([row])]), stream=stream, run_id=f"{connection}-{n}",
                    expect=mine.cursor(stream, 1), next="{}",
                )  # fmt: skip
            mine.close()

        seen: list[str] = []
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(write, connection) for connection in connections]
            barrier.wait(30)
            place = 0
            while True:
                ended = all(one.done() for one in work)
                news = store.changes(place)
                seen += news["run_id"].to_list()
                place = max(news["seq"], default=place)
                if ended:
                    break
            for one in work:
                one.result()
        assert sorted(seen) == sorted(f"{connection}-{n}" for connection in connections for n in range(40))
        store.close()


def test_a_connection_that_the_server_ended_is_not_handed_out(postgres: PostgresServer, clock: VirtualClock) -> None:
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        bench = Bench(store, clock)
        queue = SqlJobQueue(url, now=clock)
        queue.enqueue("sync", {})
        with postgres.connect() as sql:
            name = url.split("/")[3].split("?")[0]
            sql.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
        bench.commit([bench.row("t1")])
        assert bench.ids() == ["t1"]
        assert queue.reserve_next() is not None
        queue.close()
        store.close()


def test_a_connection_that_ends_within_a_transaction_is_a_store_error_that_passes(
    postgres: PostgresServer, clock: VirtualClock
) -> None:
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        bench = Bench(store, clock)

        def ended_within() -> None:
            with store.writing() as sql:
                [pid] = sql.exec_driver_sql("SELECT pg_backend_pid()").scalars()
                with postgres.connect() as other:
                    other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
                sql.exec_driver_sql("DELETE FROM transactions")

        with pytest.raises(StoreError, match="server is away") as failed:
            ended_within()
        assert "\n" not in failed.value.message
        bench.commit([bench.row("t1")])
        assert bench.ids() == ["t1"]
        store.close()


def test_a_server_that_is_not_there_is_a_store_error_without_the_password(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+psycopg://fin:hunter2@/fin?host={tmp_path}&password=hunter3"
    for opening in (open_store, SqlJobQueue, migrate, migrate_queue):
        with pytest.raises(StoreError, match="server is away") as failed:
            opening(url)
        assert "hunter" not in failed.value.message
        assert "\n" not in failed.value.message


def test_a_value_that_does_not_fit_is_not_shown(postgres: PostgresServer, clock: VirtualClock) -> None:
    with postgres.lent() as url:
        store = open_store(url, now=clock)
        with pytest.raises(StoreError) as failed, store.writing() as sql:
            sql.exec_driver_sql("SELECT %s::bigint", ("4111 1111 1111 1111",))
        assert "4111" not in failed.value.message
        store.close()
