"""The machine: events in virtual time, a vendor that counts, and workers as far as quotas see them.

Real are `Planner`, `SqlJobQueue` and the store's due table on SQLite files, and the ledger. A sync is imitated: so many
calls one after the other, each of which acquires, takes its time and settles; a call that is denied for longer than a
worker waits defers its job to the ETA, and the job goes on there.
"""

from __future__ import annotations

import heapq
import random
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fin_infra.planning import Planner
from fin_infra.planning.schedules import Rule, Schedule
from fin_infra.quotas.ledger import Denied, Ledger
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Lane, Window, bound
from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.store import open_store
from fin_infra.store.statements import fetched, many
from fin_infra.testing import VirtualClock

START = datetime(2026, 3, 2, tzinfo=UTC)
PATIENCE = 2.0
"""Seconds that a worker waits in its slot for the next unit."""
POLL = 0.25
TICK = 5.0
SLOTS = 48


@dataclass(frozen=True)
class Limit:
    """What the vendor permits: `units` in any `period` seconds, and in each fixed period, whatever its phase."""

    units: int
    period: float
    zone: str = ""  # of a limit per day: only the days of this zone are counted


class Vendor:
    """Counts every call that arrives, the refused ones too, rolling and in fixed windows, whichever is the stricter."""

    def __init__(self, key: Sequence[Limit], connection: Sequence[Limit], rng: random.Random) -> None:
        self._limits = {"": tuple(key), "connection": tuple(connection)}
        self._phase = {limit: rng.uniform(0, limit.period) for limits in self._limits.values() for limit in limits}
        self._rolling: dict[tuple[str, Limit], deque[float]] = {}
        self._fixed: dict[tuple[str, Limit], tuple[int, int]] = {}
        self.accepted: list[float] = []
        self.refused = 0

    def arrives(self, at: float, connection: str) -> bool:
        fits = True
        for whose, limits in (("", self._limits[""]), (connection, self._limits["connection"])):
            for limit in limits:
                key = whose, limit
                log = self._rolling.setdefault(key, deque())
                while log and log[0] <= at - limit.period:
                    log.popleft()
                log.append(at)
                period = self._period(at, limit)
                current, count = self._fixed.get(key, (period, 0))
                count = count + 1 if current == period else 1
                self._fixed[key] = period, count
                fits = fits and count <= limit.units and (bool(limit.zone) or len(log) <= limit.units)
        if fits:
            self.accepted.append(at)
        else:
            self.refused += 1
        return fits

    def _period(self, at: float, limit: Limit) -> int:
        if limit.zone:
            return (START + timedelta(seconds=at)).astimezone(ZoneInfo(limit.zone)).toordinal()
        return int((at + self._phase[limit]) // limit.period)


@dataclass
class Sync:
    """A job that runs: calls left, and the first instant it was handed out."""

    job_id: str
    stream: str
    lane: Lane
    calls: int
    made: int = 0


@dataclass
class Seen:
    """What came of it all. Waits in seconds, by lane; ages: seconds between the ends of two syncs of a stream."""

    reserves: int = 0
    syncs: int = 0
    deferrals: int = 0
    waits: dict[str, list[float]] = field(default_factory=dict)
    answered: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    ages: dict[str, list[float]] = field(default_factory=dict)
    done: dict[str, list[tuple[float, str]]] = field(default_factory=dict)


class Machine:
    """One vendor, one fleet of workers, one planner. Scenes schedule what happens with `at`."""

    def __init__(
        self, folder: Path, *, windows: Sequence[Window], vendor: Vendor, schedules: Sequence[Schedule],
        rng: random.Random, tick: float = TICK, slots: int = SLOTS, ledger: Callable[[VirtualClock], Ledger] | None = None,
        provider: str = "teller",
    ) -> None:  # fmt: skip
        self.clock = VirtualClock(START)
        self.now = 0.0
        self.rng = rng
        self.vendor = vendor
        self.seen = Seen()
        self.provider, self.holder = provider, f"{provider}/app"
        self.windows = tuple(windows)
        self.ledger = ledger(self.clock) if ledger else MemoryLedger(self.clock)
        self.store = open_store(f"sqlite:///{folder / 'fin.db'}", now=self.clock)
        self.queue = SqlJobQueue(f"sqlite:///{folder / 'jobs.db'}", now=self.clock, lease_seconds=86400 * 30.0)
        self.schedules = list(schedules)
        jobs = {schedule.rule.job: schedule.dataset for schedule in schedules}
        self.planner = Planner(
            self.store, self.queue, schedules, now=self.clock, jobs=jobs, ledger=self.ledger,
            windows=lambda provider, key: self.windows, horizon=tick + 3.0,
        )  # fmt: skip
        self.tick, self.slots = tick, slots
        self.running: dict[str, Sync] = {}
        self.left: dict[str, int] = {}  # calls left of a stream's deferred job
        self.asked: dict[str, list[tuple[float, str]]] = {}  # who waits for a stream since when
        self.calls_of: Callable[[str], int] = lambda stream: 1
        self.lane_of_runs: list[tuple[Any, ...]] = []
        self.on_done: Callable[[str, str], None] = lambda stream, lane: None
        self.on_tick: Callable[[], None] = lambda: None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._bound: dict[str, tuple[Window, ...]] = {}
        self._waking = float("inf")
        self._last: dict[str, float] = {}
        self._runs: list[tuple[Any, ...]] = []

    # -- time ----------------------------------------------------------------------------------------------------------

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, act))

    def run(self, seconds: float) -> Seen:
        self.at(0.0, self._plan)
        while self._events and self._events[0][0] <= seconds:
            when, _, act = heapq.heappop(self._events)
            if when > self.now:
                self.now = when
                self.clock.set(START + timedelta(seconds=when))
            act()
        self.now = seconds
        self.queue.close()
        self.store.close()
        return self.seen

    # -- planner and worker --------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        self.on_tick()
        if self._runs:
            runs, self._runs = self._runs, []
            with self.store.writing() as sql:
                many(sql, RUN, runs)
        if self.planner.tick():
            self.wake(self.rng.uniform(0.0, POLL))
        self.at(self.now + self.tick, self._plan)

    def wake(self, after: float = 0.0) -> None:
        """A worker with a free slot looks at the queue."""
        when = self.now + after
        if when < self._waking:
            self._waking = when
            self.at(when, self._look)

    def _look(self) -> None:
        self._waking = float("inf")
        while len(self.running) < self.slots:
            job = self.queue.reserve_next()
            if job is None:
                return
            self.seen.reserves += 1
            stream = f"{job.payload['connection']}/{job.name}"
            sync = Sync(job.id, stream, job.lane, self.left.pop(stream, 0) or self.calls_of(stream))  # type: ignore[arg-type]
            self.running[job.id] = sync
            self._call(sync)

    def _call(self, sync: Sync) -> None:
        connection = sync.stream.partition("/")[0]
        windows = self._bound.get(connection)
        if windows is None:
            windows = self._bound[connection] = bound(
                self.windows, holder=self.holder, connection=connection, account="", endpoint="/"
            )
        grant = self.ledger.acquire(windows, lane=sync.lane)
        if isinstance(grant, Denied):
            if grant.eta <= PATIENCE:
                self.at(self.now + max(grant.eta, 0.001), lambda: self._call(sync))
                return
            self.left[sync.stream] = sync.calls - sync.made
            del self.running[sync.job_id]
            self.queue.defer(sync.job_id, grant.eta, reason=grant.why)
            self.seen.deferrals += 1
            self.at(self.now + grant.eta + self.rng.uniform(0.0, POLL), self.wake)
            self.wake(0.001)
            return
        sent, rtt = self.now, self.rng.uniform(0.05, 0.5)
        written = self.clock()
        self.at(sent + self.rng.uniform(0.0, rtt), lambda: self._arrives(connection))

        def answered() -> None:
            self.ledger.settle(grant, written=written)
            sync.made += 1
            if sync.made < sync.calls:
                self._call(sync)
            else:
                self._done(sync)

        self.at(sent + rtt, answered)

    def _arrives(self, connection: str) -> None:
        self.vendor.arrives(self.now, connection)

    def _done(self, sync: Sync) -> None:
        del self.running[sync.job_id]
        self.queue.ack(sync.job_id)
        self.seen.syncs += 1
        last = self._last.get(sync.stream)
        if last is not None:
            self.seen.ages.setdefault(sync.stream, []).append(self.now - last)
        self._last[sync.stream] = self.now
        for since, kind in self.asked.pop(sync.stream, ()):
            self.seen.waits.setdefault(kind, []).append(self.now - since)
            self.seen.answered.setdefault(kind, []).append((since, self.now - since))
        connection, job = sync.stream.split("/")
        dataset = next(schedule.dataset for schedule in self.schedules if schedule.rule.job == job)
        at = round(self.now * 1e6) + round(START.timestamp() * 1e6)
        self._runs.append((f"r{self.seen.syncs}", connection, dataset, sync.lane, at, at, sync.made, self.provider, at))
        self.on_done(sync.stream, sync.lane)
        self.wake(0.001)

    # -- what scenes do ------------------------------------------------------------------------------------------------

    def link(self, connections: Sequence[tuple[str, str]]) -> None:
        """Connection and tenant each."""
        with self.store.writing() as sql:
            many(
                sql,
                "INSERT INTO connections (connection_id, tenant_id, provider, state, generation, created_at, updated_at, "
                "quota_key) VALUES (?, ?, ?, 'active', 1, 0, 0, ?)",
                [(connection, tenant, self.provider, self.holder) for connection, tenant in connections],
            )

    def due(self, rows: Sequence[tuple[Schedule, str, float]]) -> None:
        """Schedule, connection, and when its stream is due."""
        begin = round(START.timestamp() * 1e6)
        with self.store.writing() as sql:
            many(
                sql,
                "INSERT INTO due VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                [
                    (schedule.name, connection, schedule.dataset, schedule.rule.job, schedule.rule.lane,
                     begin + round(when * 1e6), schedule.fingerprint)
                    for schedule, connection, when in rows
                ],
            )  # fmt: skip

    def waiting(self) -> bool:
        """Whether anything is due."""
        with self.store.reading() as sql:
            at = round((START.timestamp() + self.now) * 1e6)
            return bool(fetched(sql, "SELECT 1 FROM due WHERE due_at <= ? LIMIT 1", (at,)))

    def again(self, schedule: Schedule, connection: str) -> None:
        """The stream is due at once."""
        with self.store.writing() as sql:
            many(
                sql,
                "UPDATE due SET due_at = ? WHERE schedule = ? AND connection_id = ?",
                [(round((START.timestamp() + self.now) * 1e6), schedule.name, connection)],
            )

    def order(self, connection: str, job: str) -> None:
        """Somebody waits for the stream."""
        stream = f"{connection}/{job}"
        self.asked.setdefault(stream, []).append((self.now, "interactive"))
        dataset = next(schedule.dataset for schedule in self.schedules if schedule.rule.job == job)
        self.queue.enqueue(
            job, {"connection": connection}, unique_key=f"{connection}/{dataset}", lane="interactive",
            quota_key=self.holder, cost=1,
        )  # fmt: skip
        self.wake(self.rng.uniform(0.0, POLL))


RUN = (
    "INSERT INTO runs (run_id, tenant_id, connection_id, dataset, lane, started_at, finished_at, outcome, inserted, "
    "updated, removed, unchanged, calls, attempt, provider, fetched_at) "
    "VALUES (?, '', ?, ?, ?, ?, ?, 'ok', 0, 0, 0, 0, ?, 1, ?, ?)"
)


def schedule(name: str, job: str, dataset: str, *, mic: str | None = None, **rule: Any) -> Schedule:
    return Schedule(name, Rule.model_validate({"job": job, **rule}), dataset, "simulation.yaml", 1, mic)


def folder() -> tempfile.TemporaryDirectory[str]:
    """In memory where the system has such a place: what is measured is no disk."""
    place = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=place if place.is_dir() else None)
