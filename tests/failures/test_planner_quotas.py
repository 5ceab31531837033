"""T-52 and what scarce quotas do to planning, from outside: real workers, a simulated bank, windows from the settings."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from fin_infra.engine import SyncReport
from fin_infra.project import init
from fin_infra.providers import resolve
from fin_infra.quotas.declared import key_windows
from fin_infra.runtime import Door, Runtime, open_queue
from fin_infra.settings import Settings
from fin_infra.store import open_store
from fin_infra.testing import VirtualClock
from tests.broker import BrokerWorld
from tests.guards import guarded
from tests.world import START, World, bought, checking

SECRET = "whsec_simulated"
BANKS = "schedules:\n  transactions: {job: sync_transactions, every: 6h}\n  holdings: {job: sync_holdings, every: 6h}\n"


@pytest.fixture
def scarce(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The bank permits the application ten calls in a minute, and its schedules are of one stream a connection."""
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "application=10/60s")
    monkeypatch.setenv("FIN_INFRA_TELLER_WEBHOOK_SECRET", SECRET)
    project = world.folder / "project"
    init(project)
    for shipped in (project / "schedules").glob("*.yaml"):
        shipped.unlink()
    (project / "schedules/all.yaml").write_text(BANKS, encoding="utf-8")
    world.settings = Settings(**{**world.settings.model_dump(), "project": project})
    return world


async def linked(world: World, count: int) -> list[str]:
    """So many connections, each with an account of one booking."""
    found = []
    for n in range(count):
        world.bank.enroll(f"tok_{n}", checking(f"acc_{n}", bought(f"txn_{n}")))
        found.append((await world.link(f"tok_{n}", tenant=f"t{n % 3}")).connection_id)
    return found


def queued(world: World) -> list[tuple[str, str]]:
    """Connection and lane of each job that is in the queue."""
    queue = open_queue(world.settings, now=world.clock)
    try:
        return [(str(job.payload["connection"]), job.lane) for job in queue.jobs()]
    finally:
        queue.close()


async def worked(world: World, until: int) -> Counter[str]:
    """Works minute by minute until so many runs were whole. How many those of each connection were."""
    runs: Counter[str] = Counter()
    for _ in range(60):
        runs.update(report.connection_id for report in await world.work() if report.outcome == "ok")
        if sum(runs.values()) >= until:
            break
        world.clock.advance(timedelta(minutes=1))
    return runs


async def test_a_starving_key_holds_up_no_other_vendor(scarce: World, market: BrokerWorld) -> None:
    banks = await linked(scarce, 5)
    async with scarce.runtime() as runtime:
        windows = key_windows(runtime.quotas.windows("teller", "teller/app"), "teller/app")
        runtime.ledger.penalize(windows, START + timedelta(hours=1))
        market.settings = scarce.settings
    broker = await market.link("AAPL")
    reports: list[SyncReport] = []
    urls = {"teller": scarce.url, "alpaca": market.url}
    async with Runtime(scarce.settings, now=scarce.clock, base_urls=urls, on_report=reports.append) as runtime:
        await runtime.run_worker(until_idle=True)
    assert {(report.connection_id, report.outcome) for report in reports} == {(broker.connection_id, "ok")}, [
        r.dataset for r in reports
    ]
    assert queued(scarce) == [], "what cannot run is not queued"
    scarce.clock.advance(timedelta(hours=1, seconds=1))
    assert await worked(scarce, 5) == dict.fromkeys(banks, 1)


def processed(world: World, account: str) -> str:
    """The bank says that there is something new. What came of it."""
    store = open_store(world.settings.store_url, now=world.clock)
    try:
        headers, body = world.bank.processed(account, secrets=[SECRET])
        return Door(world.settings, store, now=world.clock).receive("teller", headers, body).action
    finally:
        store.close()


@guarded("a webhook waits for its turn among the scheduled", "planning/admission.py", "before += pending.get(lane, 0)",
         "before = sum(pending.values())")  # fmt: skip
@guarded("the class of a pending job is not raised", "runtime/queue.py", "\"UPDATE fin_infra_jobs SET lane = ? WHERE",
         "\"UPDATE fin_infra_jobs SET lane = lane WHERE 9 = ? AND")  # fmt: skip
async def test_a_webhook_comes_before_what_is_only_due_and_raises_the_job_that_waits(scarce: World) -> None:
    banks = await linked(scarce, 6)
    await worked(scarce, 6)
    scarce.clock.advance(timedelta(hours=12))
    async with scarce.runtime() as runtime:
        planner = runtime.planner()
        first = [due.connection_id for due in planner.tick()]
        assert 0 < len(first) < 6, "ten a minute, paced, are two within the next seconds"
        waits = next(n for n, bank in enumerate(banks) if bank not in first)
        assert processed(scarce, f"acc_{waits}") == "marked"
        assert [(due.connection_id, due.lane) for due in planner.tick()] == [(banks[waits], "webhook")]
        assert queued(scarce) == [(banks[waits], "webhook"), *((bank, "scheduled") for bank in first)]
        raised = banks.index(first[-1])
        assert processed(scarce, f"acc_{raised}") == "marked"
        while (first[-1], "webhook") not in queued(scarce):
            assert planner.tick() or scarce.clock.advance(timedelta(seconds=2)) < START + timedelta(days=1)
    assert len(queued(scarce)) <= 6
    assert max(Counter(connection for connection, _ in queued(scarce)).values()) == 1


async def test_t52_after_downtime_each_stream_runs_once_however_scarce_the_quota(scarce: World) -> None:
    banks = await linked(scarce, 8)
    assert await worked(scarce, 8) == dict.fromkeys(banks, 1)
    scarce.clock.advance(timedelta(days=10))
    assert await worked(scarce, 8) == dict.fromkeys(banks, 1)
    assert await scarce.work() == []
    assert queued(scarce) == []


_start: list[Barrier] = []


def _meet(barrier: Barrier) -> None:
    _start.append(barrier)


def _planned(settings: str) -> int:
    """In a process of its own: one tick. How many it queued."""
    runtime = Runtime(Settings.model_validate_json(settings), now=VirtualClock(START))
    planner = runtime.planner()
    _start[0].wait(60)
    try:
        return len(planner.tick())
    finally:
        runtime.queue.close()
        runtime.ledger.close()
        runtime.store.close()


async def test_t55_planners_of_two_processes_admit_what_there_is_once(scarce: World, tmp_path: Path) -> None:
    await linked(scarce, 30)
    async with scarce.runtime() as runtime:  # makes the files, so that they meet at the planning
        assert runtime.queue.stats().ready == 0
        runtime.ledger.frame()
    context = multiprocessing.get_context("spawn")
    settings = scarce.settings.model_dump_json()
    barrier = context.Barrier(2)
    with context.Pool(2, initializer=_meet, initargs=(barrier,)) as pool:
        counts = pool.map(_planned, [settings, settings], chunksize=1)
    assert sorted(counts)[0] == 0
    assert len(queued(scarce)) == max(counts) <= 10
    assert resolve("teller").name == "teller"
