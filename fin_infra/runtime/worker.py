"""`SyncWorker`: svc-infra's `WorkerRunner` with N slots, heartbeats, and a shutdown that loses nothing.

The stock runner works one job at a time, renews no lease, and dies silently on the first queue error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from svc_infra.jobs import Job, WorkerRunner

from fin_infra.errors import StoreError
from fin_infra.outcomes import Outcome, decide, where
from fin_infra.runtime.queue import SqlJobQueue

log = logging.getLogger("fin_infra.worker")

Handler = Callable[[Job], Awaitable[Outcome]]
QUEUE_PAUSE = 1.0
MAX_DEFERRAL_DAYS = 7  # how long a job may be put off again and again
SHORTEST_LIMIT = 30.0
STORE_PAUSE = 5.0
"""Seconds until a job whose commit failed is tried again, at no attempt's cost: an outage makes no dead letters."""


class SyncWorker(WorkerRunner):
    """Runs jobs of a queue in `slots` at once; `handler` turns a job into its outcome.

    Start it with `start()`, end it with `stop()`: nothing more is reserved, running jobs get `grace_seconds`, the
    rest goes back to the queue with its attempt unburned.
    """

    def __init__(self, queue: SqlJobQueue, handler: Handler, *, slots: int = 8, poll_interval: float = 0.25) -> None:
        super().__init__(queue, handler, poll_interval=poll_interval)  # type: ignore[arg-type]
        self._jobs = queue
        self._handle = handler
        self._slots = slots
        self._running: dict[asyncio.Task[None], Job] = {}
        self._wake = asyncio.Event()

    @property
    def busy(self) -> int:
        """Jobs running now."""
        return len(self._running)

    async def _loop(self) -> None:
        while not self._stopping.is_set():
            job = self._reserve() if len(self._running) < self._slots else None
            if job is None:
                await self._nap()
                continue
            task = asyncio.create_task(self._work(job), name=f"job {job.id}")
            self._running[task] = job
            task.add_done_callback(self._done)
            await asyncio.sleep(0)  # let it start before the next one is taken

    def _reserve(self) -> Job | None:
        """The next job; a queue that cannot be read is waited for, never a reason to end."""
        try:
            return self._jobs.reserve_next()
        except StoreError as error:
            log.warning("the queue cannot be read: %s", error.message)
            return None

    async def _nap(self) -> None:
        """Until a slot is free, a stop is wished for, or it is time to look again."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._poll_interval)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._wake.set()

    async def _work(self, job: Job) -> None:
        work = asyncio.create_task(self._outcome(job))
        beat = asyncio.create_task(self._heartbeat(job, work))
        try:
            outcome = await work
        except asyncio.CancelledError:
            if work.done() and not work.cancelled():
                outcome = work.result()
            else:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                if not self._stopping.is_set():
                    return  # the lease was lost: another attempt owns the job, nothing of this one counts
                self._settle_with_patience(lambda: self._jobs.defer(job.id, 0.0))
                return
        finally:
            beat.cancel()
        self._settle_with_patience(lambda: self._settle(job, outcome))

    async def _outcome(self, job: Job) -> Outcome:
        try:
            return await self._handle(job)
        except Exception as error:
            log.error("%s failed with an unmapped %s", job.name, where(error))
            return decide(error)

    async def _heartbeat(self, job: Job, work: asyncio.Task[Outcome]) -> None:
        """Renews the lease every third of it; a lost lease cancels the work."""
        while True:
            await asyncio.sleep(self._jobs.lease_seconds / 3)
            try:
                if self._jobs.extend(job.id) == 0:
                    log.warning("job %s lost its lease: it is left to whoever has it now", job.id)
                    work.cancel()
                    return
            except StoreError as error:
                log.warning("the lease of job %s could not be renewed: %s", job.id, error.message)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """What the queue does with the job, by its outcome."""
        match outcome.kind:
            case "ok" if outcome.code == "next_chunk":
                self._jobs.again(job.id)
            case "ok" | "partial" | "park":
                self._jobs.ack(job.id)
            case "later":
                self._later(job, outcome)
            case "retry" if outcome.code == "store_unavailable":  # our own database was away: nothing the job did
                self._later(job, replace(outcome, after=STORE_PAUSE))
            case "retry":
                self._jobs.fail(job.id, error=outcome.message, at_least=outcome.after or 0.0)
            case "stale_cursor":  # nobody is ill: the other run is done, so this one looks again at once
                self._jobs.fail(job.id, error=outcome.message, at_most=1.0)
            case "quarantine":
                self._jobs.bury(job.id, reason=f"{outcome.code}: {outcome.message}")

    def _later(self, job: Job, outcome: Outcome) -> None:
        """Deferred at no attempt's cost; but not for ever, unless it still moves on.

        A wait that is longer than any job may be put off is no fault of the job's: its age counts from the end of it.
        """
        age, longest = self._jobs.age(job.id), MAX_DEFERRAL_DAYS * 86400.0
        if age is not None and age > longest and not outcome.moved:
            wished = getattr(job, "enqueued_at", None)
            since = f", since {wished.isoformat(timespec='seconds')}" if wished else ""
            self._jobs.bury(job.id, reason=f"deferred for {MAX_DEFERRAL_DAYS} days{since}, last: {outcome.message}")
            return
        after = outcome.after or 0.0
        if outcome.code == "rate_limited":  # the vendor's word: "at once" was tried already and refused
            after = max(after, SHORTEST_LIMIT)
        elif outcome.code != "quota_exhausted":  # our own ledger's time is exact
            after = max(after, 1.0)
        self._jobs.defer(job.id, after, reason=outcome.message, anew=after > longest)

    def _settle_with_patience(self, act: Callable[[], object]) -> None:
        """An answer the queue could not take is not lost work: the lease runs out and the job is done again."""
        try:
            act()
        except StoreError as error:
            log.error("the queue could not take a job's outcome, the job will be delivered again: %s", error.message)

    async def stop(self, *, grace_seconds: float = 10.0) -> None:
        """Ends: running jobs get `grace_seconds`, what is left then goes back to the queue."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._running:
            await asyncio.wait(list(self._running), timeout=grace_seconds)
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
