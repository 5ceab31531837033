"""`SyncWorker`: slots, heartbeats, and an end that loses nothing. A real queue, its clock moved by hand."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from svc_infra.jobs import Job, WorkerRunner

from fin_infra.errors import DefectError, OwnerActionError, QuotaError, TransientError
from fin_infra.outcomes import OK, Outcome
from fin_infra.runtime.queue import QueueStats, SqlJobQueue
from fin_infra.runtime.worker import MAX_DEFERRAL_DAYS, SyncWorker
from fin_infra.testing import VirtualClock
from tests.guards import guarded
from tests.unit.helpers import START, until

Handler = Callable[[Job], Awaitable[Outcome]]


@pytest.fixture
def quick(queue: SqlJobQueue) -> SqlJobQueue:
    """A queue whose leases are renewed every 10 ms; they run out by the clock that is moved by hand."""
    queue.lease_seconds = 0.03
    return queue


def at_work(queue: SqlJobQueue, handler: Handler, *, slots: int = 4) -> SyncWorker:
    worker = SyncWorker(queue, handler, slots=slots, poll_interval=0.01)
    worker.start()
    return worker


def answers(outcome: Outcome) -> Handler:
    async def handler(job: Job) -> Outcome:
        return outcome

    return handler


class Endless:
    """Work that ends when it is cancelled."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []

    async def __call__(self, job: Job) -> Outcome:
        self.started.append(job.id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        return OK


async def run_one(queue: SqlJobQueue, handler: Handler) -> None:
    """Works until the one job that is ready was worked on."""
    worker = at_work(queue, handler)
    await until(lambda: (queue.stats().ready == 0 and queue.stats().running == 0) or queue.stats().later > 0)
    await worker.stop()


def test_it_is_svc_infras_worker(queue: SqlJobQueue) -> None:
    assert isinstance(SyncWorker(queue, answers(OK)), WorkerRunner)


# -- what follows from an outcome ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ok", "partial", "park"])
async def test_what_is_done_or_parked_is_acknowledged(queue: SqlJobQueue, kind: Any) -> None:
    queue.enqueue("sync", {})
    await run_one(queue, answers(Outcome(kind)))
    assert queue.stats() == QueueStats(0, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("outcome", "state", "attempts", "deferrals", "low", "high", "said"),
    [
        (Outcome("later", 90.0, "rate_limited", "wait"), "queued", 0, 1, 90, 90, "wait"),
        (Outcome("later", 0.0, "rate_limited", "wait"), "queued", 0, 1, 30, 30, "wait"),
        (Outcome("later", None, "not_ready", "wait"), "queued", 0, 1, 1, 1, "wait"),
        (Outcome("later", 3.25, "quota_exhausted", "wait"), "queued", 0, 1, 3.25, 3.25, "wait"),
        (Outcome("retry", None, "network_error", "net"), "queued", 1, 0, 0, 30, "net"),
        (Outcome("retry", 300.0, "vendor_unavailable", "ill"), "queued", 1, 0, 300, 300, "ill"),
        (Outcome("stale_cursor", 0.0, "stale_cursor", "stale"), "queued", 1, 0, 0, 1, "stale"),
    ],
)  # fmt: skip
async def test_what_may_succeed_later_waits(
    queue: SqlJobQueue, outcome: Outcome, state: str, attempts: int, deferrals: int, low: float, high: float, said: str
) -> None:
    queue.enqueue("sync", {})
    await run_one(queue, answers(outcome))
    (job,) = queue.jobs()
    assert (job.state, job.attempts, job.deferrals, job.last_error) == (state, attempts, deferrals, said)
    assert low <= (job.available_at - START).total_seconds() <= high


async def test_a_defect_is_a_dead_letter_with_code_and_reason(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {})
    await run_one(queue, answers(Outcome("quarantine", None, "contract_broken", "no list")))
    (job,) = queue.jobs()
    assert (job.state, job.last_error) == ("dead", "contract_broken: no list")


@pytest.mark.parametrize(
    ("error", "state", "attempts"),
    [
        (ValueError("hunter2"), "queued", 1), (TransientError("ill"), "queued", 1), (DefectError("bad"), "dead", 1),
        (QuotaError("wait", retry_after=50.0), "queued", 0),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
async def test_an_error_of_the_handler_is_decided_like_any(
    queue: SqlJobQueue, error: Exception, state: str, attempts: int
) -> None:
    async def handler(job: Job) -> Outcome:
        raise error

    queue.enqueue("sync", {})
    await run_one(queue, handler)
    (job,) = queue.jobs()
    assert (job.state, job.attempts) == (state, attempts)
    assert "hunter2" not in str(job.last_error)


async def test_an_error_only_the_owner_can_repair_ends_the_job(queue: SqlJobQueue) -> None:
    async def handler(job: Job) -> Outcome:
        raise OwnerActionError("relink")

    queue.enqueue("sync", {})
    await run_one(queue, handler)
    assert queue.stats() == QueueStats(0, 0, 0, 0, 1)


async def test_what_waits_for_a_week_is_given_up_with_the_reason(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    clock.advance(timedelta(days=MAX_DEFERRAL_DAYS, seconds=1))
    await run_one(queue, answers(Outcome("later", 60.0, "rate_limited", "wait")))
    (job,) = queue.jobs()
    assert job.state == "dead"
    assert f"{MAX_DEFERRAL_DAYS} days" in str(job.last_error)


@guarded("a month's window is a dead letter", "runtime/worker.py", "anew=after > longest", "anew=False")
async def test_a_wait_longer_than_a_week_counts_from_its_end(queue: SqlJobQueue, clock: VirtualClock) -> None:
    month = Outcome("later", 31 * 86400.0, "quota_exhausted", "month: none of 10000 is left")
    queue.enqueue("sync", {})
    await run_one(queue, answers(month))
    assert queue.jobs()[0].available_at == START + timedelta(days=31)
    clock.advance(timedelta(days=31, seconds=-1))
    assert queue.stats().ready == 0, "not before its time"
    clock.advance(timedelta(seconds=1))
    day = Outcome("later", 86400.0, "quota_exhausted", "day: none of 25 is left")
    for _ in range(8):  # now it could run, and is denied again and again
        await run_one(queue, answers(day))
        assert queue.jobs()[0].state == "queued"
        clock.advance(timedelta(days=1))
    await run_one(queue, answers(day))
    (job,) = queue.jobs()
    assert job.state == "dead"
    since = (START + timedelta(days=31)).isoformat(timespec="seconds")
    assert job.last_error == f"deferred for {MAX_DEFERRAL_DAYS} days, since {since}, last: day: none of 25 is left"


@guarded("slow progress is a dead letter", "runtime/worker.py", " and not outcome.moved", "")
async def test_what_moves_on_may_take_its_time(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    clock.advance(timedelta(days=MAX_DEFERRAL_DAYS, seconds=1))
    await run_one(queue, answers(Outcome("later", 60.0, "quota_exhausted", "wait", moved=True)))
    assert queue.jobs()[0].state == "queued"
    clock.advance(timedelta(minutes=1))
    await run_one(queue, answers(Outcome("later", 60.0, "quota_exhausted", "wait")))
    assert queue.jobs()[0].state == "dead"


async def test_a_revived_job_may_wait_for_a_week_again(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    taken = queue.reserve_next()
    assert taken is not None
    queue.bury(taken.id, reason="no")
    clock.advance(timedelta(days=30))
    queue.revive(queue.jobs()[0].id)
    await run_one(queue, answers(Outcome("later", 60.0, "rate_limited", "wait")))
    assert queue.jobs()[0].state == "queued"


# -- slots ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3, 8])
async def test_as_many_jobs_run_at_once_as_there_are_slots(queue: SqlJobQueue, slots: int) -> None:
    meeting, running, most = asyncio.Barrier(slots), 0, 0

    async def handler(job: Job) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await meeting.wait()  # passes only when all slots are here
        await asyncio.sleep(0)
        running -= 1
        return OK

    for _ in range(slots * 3):
        queue.enqueue("sync", {})
    worker = at_work(queue, handler, slots=slots)
    await until(lambda: queue.stats().done == slots * 3)
    await worker.stop()
    assert most == slots


async def test_a_job_more_than_slots_waits_in_the_queue(queue: SqlJobQueue) -> None:
    work = Endless()
    for _ in range(3):
        queue.enqueue("sync", {})
    worker = at_work(queue, work, slots=2)
    await until(lambda: len(work.started) == 2)
    await asyncio.sleep(0.05)
    assert (worker.busy, queue.stats().ready, queue.stats().running) == (2, 1, 2)
    await worker.stop(grace_seconds=0.0)


async def test_one_slow_job_holds_up_nobody(queue: SqlJobQueue) -> None:
    async def handler(job: Job) -> Outcome:
        if job.payload.get("slow"):
            await asyncio.Event().wait()
        return OK

    queue.enqueue("sync", {"slow": True})
    for _ in range(10):
        queue.enqueue("sync", {})
    worker = at_work(queue, handler, slots=2)
    await until(lambda: queue.stats().done == 10)
    await worker.stop(grace_seconds=0.0)


async def test_a_job_that_is_queued_while_the_worker_is_idle_is_taken(queue: SqlJobQueue) -> None:
    worker = at_work(queue, answers(OK))
    await asyncio.sleep(0.03)
    queue.enqueue("sync", {})
    await until(lambda: queue.stats().done == 1)
    await worker.stop()


# -- leases --------------------------------------------------------------------------------------------------------------


async def test_t50_a_heartbeat_keeps_the_job_however_long_it_takes(quick: SqlJobQueue, clock: VirtualClock) -> None:
    work = Endless()
    quick.enqueue("sync", {})
    worker = at_work(quick, work)
    await until(lambda: len(work.started) == 1)
    for _ in range(5):
        clock.advance(timedelta(seconds=0.02))
        soon = clock() + timedelta(seconds=0.03)
        await until(lambda soon=soon: quick.jobs()[0].lease_until == soon)  # type: ignore[misc]
    assert (work.started, work.cancelled, quick.jobs()[0].crashes) == ([work.started[0]], [], 0)
    await worker.stop(grace_seconds=0.0)


async def test_t51_a_lost_lease_cancels_the_work_and_never_acknowledges(
    quick: SqlJobQueue, clock: VirtualClock
) -> None:
    work = Endless()
    quick.enqueue("sync", {})
    worker = at_work(quick, work, slots=1)
    await until(lambda: len(work.started) == 1)
    clock.advance(timedelta(hours=1))
    other = quick.reserve_next()  # before the next heartbeat: nothing was awaited in between
    assert other is not None
    await until(lambda: work.cancelled == work.started)
    await until(lambda: worker.busy == 0)
    (job,) = quick.jobs()
    assert (job.state, quick.stats().done) == ("running", 0)
    assert quick.extend(other.id) == 1
    await worker.stop()
    assert quick.extend(other.id) == 1


async def test_t51_work_that_ignores_its_cancellation_still_cannot_acknowledge(
    quick: SqlJobQueue, clock: VirtualClock
) -> None:
    told = asyncio.Event()

    async def stubborn(job: Job) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
        return OK

    quick.enqueue("sync", {})
    worker = at_work(quick, stubborn, slots=1)
    await until(lambda: worker.busy == 1)
    clock.advance(timedelta(hours=1))
    other = quick.reserve_next()
    assert other is not None
    await asyncio.wait_for(told.wait(), 5)
    await until(lambda: worker.busy == 0)
    assert (quick.stats().done, quick.extend(other.id)) == (0, 1)
    await worker.stop()


async def test_heartbeats_end_with_the_job(quick: SqlJobQueue) -> None:
    before = len(asyncio.all_tasks())
    quick.enqueue("sync", {})
    worker = at_work(quick, answers(OK))
    await until(lambda: quick.stats().done == 1)
    await worker.stop()
    await until(lambda: len(asyncio.all_tasks()) == before)


# -- the end -------------------------------------------------------------------------------------------------------------


async def test_t50_stopping_gives_what_is_left_back_with_the_attempt_unburned(queue: SqlJobQueue) -> None:
    work = Endless()
    for _ in range(3):
        queue.enqueue("sync", {})
    worker = at_work(queue, work, slots=2)
    await until(lambda: len(work.started) == 2)
    await worker.stop(grace_seconds=0.05)
    assert sorted(work.cancelled) == sorted(work.started)
    assert queue.stats() == QueueStats(ready=3, later=0, running=0, dead=0, done=0)
    assert {(job.attempts, job.crashes) for job in queue.jobs()} == {(0, 0)}


async def test_stopping_lets_running_jobs_end_within_the_grace(queue: SqlJobQueue) -> None:
    release, started = asyncio.Event(), asyncio.Event()

    async def handler(job: Job) -> Outcome:
        started.set()
        await release.wait()
        return OK

    queue.enqueue("sync", {})
    queue.enqueue("sync", {})
    worker = at_work(queue, handler, slots=1)
    await started.wait()
    stopping = asyncio.create_task(worker.stop(grace_seconds=10.0))
    await asyncio.sleep(0.02)
    release.set()
    await stopping
    assert queue.stats() == QueueStats(ready=1, later=0, running=0, dead=0, done=1)


async def test_after_a_stop_nothing_more_is_taken(queue: SqlJobQueue) -> None:
    worker = at_work(queue, answers(OK))
    await worker.stop()
    queue.enqueue("sync", {})
    await asyncio.sleep(0.05)
    assert queue.stats().ready == 1


async def test_work_that_ends_in_spite_of_its_cancellation_is_settled(queue: SqlJobQueue) -> None:
    async def finishing(job: Job) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return OK

    queue.enqueue("sync", {})
    worker = at_work(queue, finishing)
    await until(lambda: worker.busy == 1)
    await worker.stop(grace_seconds=0.0)
    assert queue.stats().done == 1


async def test_stopping_an_idle_worker_is_quick_and_may_be_done_twice(queue: SqlJobQueue) -> None:
    worker = at_work(queue, answers(OK))
    await asyncio.wait_for(worker.stop(), 2)
    await asyncio.wait_for(worker.stop(), 2)


# -- a queue that cannot be used -----------------------------------------------------------------------------------------


def rename(path: Path, old: str, new: str) -> None:
    """Takes the queue's table away, or puts it back."""
    with sqlite3.connect(path) as sql:
        sql.execute(f"ALTER TABLE {old} RENAME TO {new}")
    sql.close()


async def test_a_queue_that_cannot_be_read_for_a_while_is_survived(queue: SqlJobQueue, tmp_path: Path) -> None:
    rename(tmp_path / "jobs.db", "fin_infra_jobs", "away")
    worker = at_work(queue, answers(OK))
    await asyncio.sleep(0.05)
    rename(tmp_path / "jobs.db", "away", "fin_infra_jobs")
    queue.enqueue("sync", {})
    await until(lambda: queue.stats().done == 1)
    await worker.stop()


async def test_an_outcome_the_queue_cannot_take_is_delivered_again(
    queue: SqlJobQueue, tmp_path: Path, clock: VirtualClock
) -> None:
    runs = 0

    async def handler(job: Job) -> Outcome:
        nonlocal runs
        runs += 1
        if runs == 1:
            rename(tmp_path / "jobs.db", "fin_infra_jobs", "away")
        return OK

    queue.enqueue("sync", {})
    worker = at_work(queue, handler, slots=1)
    await until(lambda: runs == 1 and worker.busy == 0)
    rename(tmp_path / "jobs.db", "away", "fin_infra_jobs")
    clock.advance(timedelta(minutes=2))
    await until(lambda: queue.stats().done == 1)
    await worker.stop()
    assert runs == 2


async def test_a_heartbeat_the_queue_cannot_take_does_not_end_the_work(quick: SqlJobQueue, tmp_path: Path) -> None:
    work = Endless()
    quick.enqueue("sync", {})
    worker = at_work(quick, work, slots=1)
    await until(lambda: len(work.started) == 1)
    rename(tmp_path / "jobs.db", "fin_infra_jobs", "away")
    await asyncio.sleep(0.05)
    rename(tmp_path / "jobs.db", "away", "fin_infra_jobs")
    assert work.cancelled == []
    await worker.stop(grace_seconds=0.0)
