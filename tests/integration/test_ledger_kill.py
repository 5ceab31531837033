"""One ledger, many processes: killed at any moment, forked, all at once. The counters stay the entries, the limit holds."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from fin_infra.quotas.ledger import Grant
from fin_infra.quotas.windows import Rolling
from fin_infra.store.ledger import SqlLedger, migrate_ledger, open_ledger
from tests.guards import guarded
from tests.postgres import PostgresServer
from tests.spending import LONG, MONTH, SHORT, spend, take

KILLS = 25
SEED = int(os.environ.get("FIN_INFRA_TEST_SEED", "20261124"))
PRELOAD = ["tests.spending"]


def context() -> Any:
    """Processes begin as copies of one that has imported everything: half a second less for each."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOAD)
    return found


def never_more(grants: list[tuple[int, int]], limit: int, period: int) -> None:
    """No period from any grant on holds more units than the limit; by the moments at which they were given."""
    grants.sort()
    first = units = 0
    for at, cost in grants:
        units += cost
        while grants[first][0] <= at - period:
            units -= grants[first][1]
            first += 1
        assert units <= limit


def test_killed_at_any_moment_the_counters_are_the_entries(tmp_path: Path) -> None:
    url, journal = f"sqlite:///{tmp_path / 'quota.db'}", tmp_path / "journal"
    journal.touch()
    draw, start = random.Random(SEED), context()

    def worker() -> Any:
        made = start.Process(target=spend, args=(url, str(journal)), daemon=True)
        made.start()
        return made

    workers = [worker() for _ in range(3)]
    for _ in range(KILLS):
        size = journal.stat().st_size + draw.randrange(20, 600)
        while journal.stat().st_size < size:
            time.sleep(0.001)
        victim = draw.randrange(len(workers))
        os.kill(workers[victim].pid, signal.SIGKILL)
        workers[victim].join()
        workers[victim] = worker()
    for one in workers:
        os.kill(one.pid, signal.SIGKILL)
        one.join()
    assert consistent(tmp_path / "quota.db")
    grants = [(int(at), int(cost)) for at, cost in map(str.split, journal.read_text().splitlines())]
    assert len(grants) > 100
    never_more(grants, SHORT.limit, 250_000)


def consistent(path: Path) -> bool:
    """SQLite finds the file whole, and each window's counter is the sum of its entries; the month has them all."""
    sql = sqlite3.connect(path)
    try:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        used = dict(sql.execute("SELECT key, used FROM fin_infra_windows"))
        entries = dict(sql.execute("SELECT key, SUM(units) FROM fin_infra_entries GROUP BY key"))
    finally:
        sql.close()
    assert used[LONG.key] == entries[LONG.key] == used[MONTH.key] > 100
    assert used[SHORT.key] == entries.get(SHORT.key, 0)
    return True


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        with server.lent() as lent:
            migrate_ledger(lent)
            yield lent
        return
    yield f"sqlite:///{tmp_path / 'quota.db'}"


@guarded("one writer at a time", "store/ledger.py", 'else "BEGIN IMMEDIATE")', 'else "BEGIN")')
@guarded("rows are locked", "store/ledger.py", "ORDER BY key FOR UPDATE)", "ORDER BY key)")
def test_processes_at_once_never_get_more_than_there_is(url: str) -> None:
    start = context()
    found, meeting = start.Queue(), start.Barrier(4)
    open_ledger(url).close()
    window = Rolling("vendor/app#day", 300, 86_400.0, None)
    workers = [start.Process(target=take, args=(url, window, meeting, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    counts = [found.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(count for count, _ in counts) == 300
    assert {why for _, why in counts} == {"full"}


@guarded("a child has ids of its own", "quotas/base.py", "os.register_at_fork(after_in_child=self._renew)", "pass")
@guarded("a child opens a connection of its own", "store/ledger.py", "        ledger._forked()\n", "        pass\n")
def test_a_child_of_a_fork_goes_on_by_itself(url: str) -> None:
    ledger = open_ledger(url)
    first = ledger.acquire((LONG,))
    assert isinstance(first, Grant)
    parent = {first.id}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ids = [took.id for _ in range(20) if isinstance(took := ledger.acquire((LONG,)), Grant)]
        os.write(writing, " ".join([*ids, "new" if ledger._session is not None else "none"]).encode())
        os._exit(0)
    parent |= {took.id for _ in range(20) if isinstance(took := ledger.acquire((LONG,)), Grant)}
    os.close(writing)
    os.waitpid(child, 0)
    *children, opened = os.read(reading, 10_000).decode().split()
    os.close(reading)
    assert len(children) == 20
    assert opened == "new"
    assert parent.isdisjoint(children)
    assert used(ledger) == 41
    ledger.settle(first)  # the parent's connection is whole
    ledger.close()


def used(ledger: SqlLedger) -> int:
    return int(ledger.frame()["used"].sum())
