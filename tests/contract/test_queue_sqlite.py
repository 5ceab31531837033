"""What only a queue in one SQLite file must hold: its plan of looking for the next job, and files that are not ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fin_infra.errors import StoreError, UsageError
from fin_infra.planning.schedules import LANES
from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.store import open_store
from fin_infra.testing import VirtualClock


@pytest.mark.parametrize("names", [None, ["sync", "other"]])
def test_taking_a_job_never_walks_over_those_that_wait_for_later(
    tmp_path: Path, clock: VirtualClock, names: list[str] | None
) -> None:
    path = tmp_path / "jobs.db"
    queue = SqlJobQueue(f"sqlite:///{path}", now=clock, names=names)
    queue.enqueue_many(
        [{"name": "sync", "payload": {}, "lane": LANES[n % 4], "delay_seconds": 3600 + n} for n in range(20_000)]
    )
    queue.enqueue("sync", {}, lane="backfill")
    asked: list[str] = []
    with queue._engine.connect() as sql:  # the pool hands the same connection out again
        sql.connection.driver_connection.set_trace_callback(asked.append)  # type: ignore[union-attr]
    assert queue.reserve_next() is not None
    queue.close()
    plans = []
    with sqlite3.connect(path) as sql_:
        for statement in asked:
            if statement.lstrip().startswith(("SELECT", "UPDATE")):
                plans.append([row[3] for row in sql_.execute(f"EXPLAIN QUERY PLAN {statement}")])
    sql_.close()
    assert len(plans) >= 2  # leases that ran out, the next job with its lease
    steps = [step for plan in plans for step in plan if "fin_infra_jobs" in step]
    assert all(step.startswith("SEARCH") for step in steps), steps
    assert sum("queued_by_urgency (lane=? AND available_at<?)" in step for step in steps) == len(LANES)


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE songs (title TEXT)")
    sql.close()


def text_file(path: Path) -> None:
    path.write_text("dear diary, " * 500)


def store_file(path: Path) -> None:
    open_store(f"sqlite:///{path}").close()


@pytest.mark.parametrize("made", [foreign_database, text_file, store_file], ids=lambda made: made.__name__)
def test_a_file_that_is_no_queue_is_refused_and_left_as_it_is(tmp_path: Path, made: object) -> None:
    path = tmp_path / "jobs.db"
    made(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(UsageError, match="FIN_INFRA_QUEUE_URL") as refused:
        SqlJobQueue(f"sqlite:///{path}")
    assert refused.value.code == "store_foreign"
    assert "\n" not in refused.value.message
    assert path.read_bytes() == before


def test_a_queue_file_that_cannot_be_used_is_a_store_error(tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "jobs.db"
    queue = SqlJobQueue(f"sqlite:///{path}", now=clock)
    with sqlite3.connect(path) as sql:
        sql.execute("ALTER TABLE fin_infra_jobs RENAME TO away")
    sql.close()
    for act in (queue.reserve_next, lambda: queue.enqueue("sync", {}), lambda: queue.ack("1.1"), queue.stats):
        with pytest.raises(StoreError, match=r"jobs\.db"):
            act()
    queue.close()
