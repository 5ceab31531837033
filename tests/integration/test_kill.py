"""SIGKILL at random points, over and over: planner, queue, worker, engine and store as they run in production.

A worker process plans every tenth of a second, syncs twenty connections over real HTTP, and is killed at a random
request, or a random moment after it. Meanwhile the bank moves on. Whatever was hit, nothing is lost or doubled.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from fin_infra.project import Project
from fin_infra.providers import resolve
from fin_infra.providers.teller.simulator import SimTransaction, TellerSimulator
from fin_infra.runtime import Runtime, open_queue
from fin_infra.settings import Settings
from fin_infra.testing import serve
from tests.world import bought, checking

KILLS = 100
CONNECTIONS = 20
SEED = int(os.environ.get("FIN_INFRA_TEST_SEED", "20261124"))
PRELOAD = ["fin_infra.runtime", "fin_infra.providers.teller", "fin_infra.datasets.operations", "tests.world"]

AMPLE = "application=1000000/10m, connection=1000000/60s"
"""Everything is due every second here: more than the vendor's plan is taken to permit."""


def run(settings: Settings, url: str, seconds: float | None) -> None:
    """The worker process: for ever, or until nothing is due."""

    async def work() -> None:
        async with Runtime(settings, base_urls={"teller": url}) as runtime:
            await runtime.run_worker(slots=4, until_idle=seconds is not None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_INFRA_TELLER_QUOTAS", AMPLE)
        asyncio.run(work())


def eager_project(folder: Path) -> Path:
    """A project in which everything is due every second."""
    from fin_infra.project import init

    init(folder)
    (folder / "schedules/accounts.yaml").write_text("schedules:\n  accounts: {job: sync_accounts, every: 2s}\n")
    (folder / "schedules/transactions.yaml").write_text("schedules:\n  moves: {job: sync_transactions, every: 1s}\n")
    return folder


class Hunter:
    """Kills the worker at its n-th request, or some milliseconds after it, and knows what was in flight."""

    def __init__(self, bank: TellerSimulator, draw: random.Random) -> None:
        self._bank = bank
        self._draw = draw
        self._lock = threading.Lock()
        self.asked: list[str] = []

    def hunt(self, settings: Settings, url: str, context: multiprocessing.context.ForkServerContext) -> set[str]:
        """One worker's life. The accounts that were asked about in it."""
        self.asked = []
        shot = threading.Event()
        target, delay = self._draw.randint(1, 60), self._draw.choice([0.0, self._draw.uniform(0.0, 0.04)])

        def on_request(path: str) -> None:
            with self._lock:
                self.asked.append(path)
                if len(self.asked) >= target:
                    shot.set()

        self._bank.on_request = on_request
        process = context.Process(target=run, args=(settings, url, None), daemon=True)
        process.start()
        assert process.pid is not None
        shot.wait(timeout=20)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        return {part for path in self.asked for part in path.split("/") if part.startswith("acc_")}


def test_t16_t50_a_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    bank = TellerSimulator()
    tokens = [f"tok{n:02}" for n in range(CONNECTIONS)]
    for token in tokens:
        rows = [bought(f"txn_{token}_{n:03}", on="2026-11-01") for n in range(130)]  # more than one page
        bank.enroll(token, checking(f"acc_{token}", *rows))
    settings = Settings(
        store_url=f"sqlite:///{tmp_path / 'fin.db'}", project=eager_project(tmp_path / "project"), lease_seconds=0.5,
        plan_seconds=0.1,
    )  # fmt: skip
    owner: dict[str, str] = {}

    async def link() -> None:
        async with Runtime(settings) as runtime:
            for token in tokens:
                connection = runtime.connections.add(resolve("teller"), {"access_token": token}, tenant=token)
                owner[connection.connection_id] = f"acc_{token}"

    asyncio.run(link())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    hunter = Hunter(bank, draw)
    between = 0
    with serve(bank) as served:
        for kill in range(KILLS):
            asked = hunter.hunt(settings, served.url, context)
            queue = open_queue(settings)
            running = {owner[job.payload["connection"]] for job in queue.jobs("running")}
            queue.close()
            between += bool(running & asked)
            token = draw.choice(tokens)
            bank.add(f"acc_{token}", SimTransaction(f"txn_{token}_k{kill:03}", "-1.00", "2026-11-02", "Meanwhile"))
        bank.on_request = lambda path: None
        time.sleep(settings.lease_seconds)  # the last victim's leases run out
        calm = settings.model_copy(update={"project": None})
        asyncio.run(settle(calm, served.url, list(owner)))
    assert between >= 0.3 * KILLS, f"only {between} of {KILLS} kills fell between a first request and its ack"
    asyncio.run(check(calm, bank, owner))
    print(f"{between} of {KILLS} kills fell between a first request and its ack")


async def settle(settings: Settings, url: str, connections: list[str]) -> None:
    """What is left in the queue is done, then everything once more: the last rows of the bank come in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_INFRA_TELLER_QUOTAS", AMPLE)
        async with Runtime(settings, base_urls={"teller": url}) as runtime:
            await runtime.run_worker(slots=4, until_idle=True)
            for connection in connections:
                for dataset in ("accounts", "transactions"):
                    report = await runtime.engine.sync(dataset, connection)
                    assert report.outcome == "ok", report


async def check(settings: Settings, bank: TellerSimulator, owner: dict[str, str]) -> None:
    from fin_infra.reader import read

    async with Runtime(settings, project=Project(Path())) as runtime:
        rows = read("transactions", store=runtime.store).collect()
        wanted = sorted(row.id for e in bank.enrollments.values() for a in e.accounts for row in a.transactions)
        assert sorted(rows["transaction_id"]) == wanted, "one row per vendor id"
        feed = runtime.store.changes()
        keys = feed.filter(dataset="transactions", op="inserted")["key"].list.get(2)
        assert sorted(keys) == wanted, "each row was inserted once"
        assert feed.filter(op="removed").is_empty()
        assert read("transactions", store=runtime.store, history=True).collect().height == len(wanted)
        for connection_id, account in owner.items():
            from fin_infra.store import Stream

            cursor = runtime.store.cursor(Stream(connection_id, "transactions"), 1)
            newest = str(max(rows.filter(account_id=account)["booked_on"]))
            assert f'"newest":"{newest}"' in cursor.body, "the cursor equals the rows"
            assert runtime.store.staged_pages(Stream(connection_id, "transactions"), 1) == []
        runs = read("runs", store=runtime.store).collect()
        assert runs["finished_at"].null_count() == 0
        assert set(runs["outcome"].cast(str)) <= {"ok", "stale_cursor", "later", "retry"}
        told = read("findings", store=runtime.store).collect()["kind"].to_list()
        assert set(told) <= {"balance_unexplained"}, "this bank's new rows move no balance, and nothing else is odd"
        assert set(read("streams", store=runtime.store).collect()["state"].cast(str)) == {"ok"}
    queue = open_queue(settings)
    stats = queue.stats()
    assert (stats.ready, stats.running, stats.dead) == (0, 0, 0), queue.jobs()
    queue.close()
    if settings.store_file is not None:
        with runtime.store.reading() as sql:
            assert sql.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_two_workers_on_the_same_files_share_the_work(tmp_path: Path) -> None:
    bank = TellerSimulator()
    for n in range(30):
        bank.enroll(f"tok{n}", checking(f"acc_{n}", bought(f"txn_{n}")))
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'fin.db'}")

    async def link() -> None:
        async with Runtime(settings) as runtime:
            for n in range(30):
                runtime.connections.add(resolve("teller"), {"access_token": f"tok{n}"}, tenant="ada")

    asyncio.run(link())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    both = context.Queue()
    with serve(bank) as served:
        workers = [context.Process(target=report_to, args=(both, settings, served.url)) for _ in range(2)]
        for worker in workers:
            worker.start()
        shares = [both.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
    assert all(share for share in shares), "each worker got some of it"
    done = sorted(shares[0] + shares[1])
    assert [job for job, outcome in done if outcome == "ok"] == sorted({job for job, _ in done})
    assert len(done) == 60, "each job was done once"


def report_to(queue: multiprocessing.Queue[list[tuple[str, str]]], settings: Settings, url: str) -> None:
    done: list[tuple[str, str]] = []

    async def work() -> None:
        async with Runtime(
            settings, base_urls={"teller": url},
            on_report=lambda r: done.append((f"{r.connection_id}/{r.dataset}", r.outcome)),
        ) as runtime:  # fmt: skip
            await runtime.run_worker(slots=2, until_idle=True)

    asyncio.run(work())
    queue.put(done)
