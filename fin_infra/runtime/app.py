"""Puts the parts together: store, queue, engine, worker and planner of one process."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx
from svc_infra.jobs import InMemoryScheduler, JobRegistry, JobResult
from svc_infra.jobs import Job as QueueJob

from fin_infra.connections import Connections, open_vault
from fin_infra.datasets.base import Dataset
from fin_infra.engine import Engine, Job, SyncReport
from fin_infra.engine.backfilling import JOB, Backfiller
from fin_infra.errors import FinInfraError, UsageError
from fin_infra.outcomes import Outcome, decide, where
from fin_infra.planning import Due, Planner
from fin_infra.planning.admission import HORIZON
from fin_infra.planning.schedules import LANES
from fin_infra.project import Project, find_project
from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.providers.transport import Meter
from fin_infra.quotas.base import CountingLedger
from fin_infra.quotas.windows import Lane
from fin_infra.runtime.http import HttpPool, Sleep
from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.runtime.worker import SyncWorker
from fin_infra.settings import Settings
from fin_infra.store import Store, Stream, open_store
from fin_infra.store.base import Now
from fin_infra.store.ledger import open_ledger
from fin_infra.store.opening import utc_now

log = logging.getLogger("fin_infra.runtime")

T = TypeVar("T")
KEPT_AGAIN = timedelta(seconds=10)
"""So often a worker looks whether every running backfill has its job."""


def settle_down() -> None:
    """For a process that does nothing but work: what is imported by now stays, so the garbage collector need not walk
    over it again and again. A tenth of the CPU of a worker that reads many rows."""
    gc.freeze()


class Runtime:
    """One process's parts, opened from settings. Use it as an async context manager: it closes what it opened."""

    def __init__(
        self, settings: Settings, *, now: Now = utc_now, base_urls: Mapping[str, str] | None = None,
        meter: Meter | None = None, ledger: CountingLedger | None = None, sleep: Sleep | None = None,
        project: Project | None = None, network: httpx.AsyncBaseTransport | None = None,
        offload: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None,
        on_page: Callable[[Stream, int], None] = lambda stream, pages: None,
        on_report: Callable[[SyncReport], None] = lambda report: None, random_share: random.Random | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.now = now
        self._project = project
        self._on_report = on_report
        self.store: Store = open_store(settings.store_url, now=now)
        self.connections = Connections(self.store, open_vault(settings), now)
        self.quotas = Quotas(settings.environment)
        self._ledger, self._own_ledger = ledger, ledger is None
        self._metered = meter is None
        self.http = HttpPool(
            settings, now=now, meter=meter or QuotaMeter(lambda: self.ledger, self.quotas, now), sleep=sleep,
            base_urls=base_urls, network=network,
        )  # fmt: skip
        # frames and commits leave the event loop for one thread: several would only fight for the interpreter, and
        # the database has one writer anyway
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fin-infra")
        self._plan_away = offload or asyncio.to_thread  # planning waits for no commit
        self._random_share = random_share
        self.engine = Engine(
            self.store, self.connections, self.http.transport, now=now, offload=offload or self._offload,
            on_page=on_page, listed=[*settings.watched, *settings.pairs], fresh_within=settings.objectives,
        )  # fmt: skip
        self.backfiller = Backfiller(
            self.store, self.connections, self.http.transport, now=now, offload=offload or self._offload
        )  # fmt: skip
        self._slots = settings.slots
        self._backfilling = 0  # chunks that run now in this process
        self._kept_at: datetime | None = None
        self._queue: SqlJobQueue | None = None

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        self._thread.shutdown()
        if self._queue is not None:
            self._queue.close()
        if self._ledger is not None and self._own_ledger:
            self._ledger.close()
        self.store.close()

    async def _offload(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    @property
    def project(self) -> Project:
        if self._project is None:
            self._project = find_project(self.settings)
        return self._project

    @property
    def queue(self) -> SqlJobQueue:
        if self._queue is None:
            self._queue = open_queue(
                self.settings, now=self.now, names=list(self.project.jobs), random_share=self._random_share
            )  # fmt: skip
        return self._queue

    @property
    def ledger(self) -> CountingLedger:
        """What is spent of every vendor's quota, by all processes of these settings."""
        if self._ledger is None:
            self._ledger = quota_ledger(self.settings, now=self.now)
        return self._ledger

    def keep_backfills(self) -> int:
        """Sees to it that every running backfill has a job, or is told to have failed. Returns how many were queued.

        Chunk by chunk the same job goes on; it is missing only where a process died between the store and the queue.
        """
        now = self.now()
        if self._kept_at is not None and now - self._kept_at < KEPT_AGAIN:
            return 0
        self._kept_at = now
        running = self.backfiller.books.running()
        if not running:
            return 0
        dead = {job.unique_key: job for job in self.queue.jobs("dead") if job.name == JOB}
        for backfill in running:
            job = dead.get(backfill.unique_key)
            if job is not None and job.enqueued_at >= backfill.updated_at:
                told = f"its job {job.id} is a dead letter: {job.last_error}; fin-infra backfill resume "
                self.backfiller.books.set_state(
                    backfill.backfill_id, "failed", told + backfill.backfill_id, of=["running"]
                )
        return self.queue.enqueue_many([one.order for one in self.backfiller.books.running()])

    async def backfill(self, backfill_id: str, *, lane: Lane, attempt: int) -> SyncReport:
        """One chunk. Half of the slots at most are a backfill's: what is more urgent shall find one free."""
        if self._backfilling >= max(1, self._slots // 2):
            wait = Outcome("later", 1.0, "busy", "other backfills have the slots that backfills may have")
            own = self.backfiller.books.get(backfill_id)
            return SyncReport(own.connection_id, own.dataset, "none", "later", follow_up=wait)
        self._backfilling += 1
        try:
            return await self.backfiller.chunk(backfill_id, lane=lane, attempt=attempt)
        finally:
            self._backfilling -= 1

    def planner(self) -> Planner:
        """Plans by what the ledger says is left; without one, when somebody else's meter counts, all that is due."""
        jobs = {name: job.dataset.dataset_name() for name, job in self.project.jobs.items()}
        return Planner(
            self.store, self.queue, self.project.schedules, now=self.now, jobs=jobs,
            ledger=self.ledger if self._metered else None, windows=self.quotas.windows,
            horizon=max(HORIZON, self.settings.plan_seconds + 4.0),
        )  # fmt: skip

    def worker(
        self, *, slots: int | None = None, poll_interval: float = 0.25, queue: SqlJobQueue | None = None
    ) -> SyncWorker:
        """A worker over this project's jobs, dispatched by svc-infra's registry; `queue`: another view of the queue."""
        registry = JobRegistry(metric_prefix="fin_infra_jobs")
        for job in self.project.jobs.values():
            registry.register(job.name, self._handler(job))

        async def handle(queued: QueueJob) -> Outcome:
            result = await registry.dispatch(queued, timeout=None)
            outcome = (result.details or {})["outcome"]
            assert isinstance(outcome, Outcome)
            return outcome

        self._slots = slots or self.settings.slots
        return SyncWorker(queue or self.queue, handle, slots=self._slots, poll_interval=poll_interval)

    def _handler(self, job: Job[Any]) -> Callable[[QueueJob], Awaitable[JobResult]]:
        async def handler(queued: QueueJob) -> JobResult:
            lane = getattr(queued, "lane", "scheduled")
            wished_at = getattr(queued, "enqueued_at", None) if getattr(queued, "begun", False) else None
            context = JobContext(
                self.engine, lane=lane, attempt=queued.attempts, wished_at=wished_at, backfill=self.backfill
            )  # fmt: skip
            try:
                report = await job.deliver(queued.payload, context)
            except Exception as error:
                outcome = decide(error)
                log.error("job %s: %s", job.name, outcome.message if outcome.code != "internal_error" else where(error))
                return JobResult(False, outcome.message or outcome.kind, {"outcome": outcome})
            self._on_report(report)
            ok = report.outcome in ("ok", "partial")
            return JobResult(ok, report.sentence(), {"outcome": report.follow_up})

        return handler

    def scheduler(self, planner: Planner, on_planned: Callable[[list[Due]], None]) -> InMemoryScheduler:
        """svc-infra's scheduler with exactly one task, whose body never raises: one that did would starve the rest."""
        scheduler = InMemoryScheduler(tick_interval=self.settings.plan_seconds, now_provider=self.now)

        async def plan() -> None:
            try:
                on_planned(await self._plan_away(planner.tick))
                await self._plan_away(self.keep_backfills)
            except Exception as error:
                known = isinstance(error, FinInfraError)
                log.error("planning failed, it is tried again: %s", error if known else where(error))

        scheduler.add_task("plan", 0, plan)
        return scheduler

    async def run_worker(
        self, *, slots: int | None = None, until_idle: bool = False, stop: asyncio.Event | None = None,
        grace_seconds: float = 10.0, on_planned: Callable[[list[Due]], None] = lambda due: None,
    ) -> None:  # fmt: skip
        """Plans and works until `stop` is set, or, with `until_idle`, until nothing is due and nothing runs."""
        planner = self.planner()
        worker = self.worker(slots=slots, poll_interval=0.05 if until_idle else 0.25)
        if until_idle:  # planned first: what a job serves that waits already is not due once more when it runs
            on_planned(await self._plan_away(planner.tick))
            await self._plan_away(self.keep_backfills)
        loop = worker.start()
        plan = asyncio.create_task(self.scheduler(planner, on_planned).run()) if not until_idle else None
        try:
            if until_idle:
                await self._idle(worker, stop)
                while not (stop and stop.is_set()) and planner.waits:
                    if not (due := await self._plan_away(planner.tick)):
                        break  # the rest of a scarce quota is of a later time
                    on_planned(due)
                    await self._idle(worker, stop)
            else:
                await (stop or asyncio.Event()).wait()
        finally:
            if plan is not None:
                plan.cancel()
                await asyncio.gather(plan, return_exceptions=True)
            await worker.stop(grace_seconds=grace_seconds)
            await asyncio.gather(loop, return_exceptions=True)

    async def _idle(self, worker: SyncWorker, stop: asyncio.Event | None) -> None:
        """Until nothing runs and nothing could; polled, because jobs that another process runs are waited for too."""
        while not (worker.busy == 0 and self.queue.idle()) and not (stop and stop.is_set()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class JobContext:
    """What a job is given: the engine, with the lane and the attempt of its order, and of one that goes on since when
    it was wished for."""

    def __init__(
        self, engine: Engine, *, lane: str, attempt: int, wished_at: datetime | None = None,
        backfill: Callable[..., Awaitable[SyncReport]] | None = None,
    ) -> None:  # fmt: skip
        assert lane in LANES
        self._backfill = backfill
        self._wished_at = wished_at
        self._engine = engine
        self._lane = lane
        self._attempt = attempt

    async def sync(
        self, dataset: type[Dataset], connection: str, *, instruments: Sequence[str] | None = None
    ) -> SyncReport:
        return await self._engine.sync(
            dataset.dataset_name(), connection, lane=self._lane, attempt=self._attempt, instruments=instruments,
            wished_at=self._wished_at,
        )  # fmt: skip

    async def backfill(self, backfill_id: str) -> SyncReport:
        assert self._backfill is not None, "a worker gives its jobs what backfills"
        return await self._backfill(backfill_id, lane=self._lane, attempt=self._attempt)


def open_queue(
    settings: Settings, *, now: Now = utc_now, names: list[str] | None = None,
    random_share: random.Random | None = None,
) -> SqlJobQueue:  # fmt: skip
    """The queue of these settings."""
    return SqlJobQueue(
        settings.effective_queue_url, now=now, lease_seconds=settings.lease_seconds,
        max_attempts=settings.max_attempts, names=names, random_share=random_share,
    )  # fmt: skip


def quota_ledger(settings: Settings, *, now: Now = utc_now) -> CountingLedger:
    """The quota ledger of these settings. Real time is the database's own where it serves several machines."""
    return open_ledger(
        settings.effective_quota_url, now=None if now is utc_now else now, timeout=settings.http_timeout
    )  # fmt: skip


async def sync(dataset: str, connection: str, *, store: Store | None = None) -> SyncReport:
    """Syncs one stream now, in this process, without the queue. `store` must be the one of the settings, if given.

    The report says what came of it; only a wrong call raises (`UsageError`).
    """
    settings = Settings.load()
    if store is not None and store.url != settings.store_url:
        settings = settings.model_copy(update={"store_url": store.url})
    if not connection:
        raise UsageError("which connection? fin-infra connections ls shows them")
    async with Runtime(settings) as runtime:
        return await runtime.engine.sync(dataset, connection)
