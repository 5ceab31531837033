"""What is to come, read from store and queue: the runs of every stream by quota key, and how each key's line would go.

Reads and writes nothing. What nobody can know is not in it: syncs that users start, webhooks to come, a session that is
not final at its first look and is asked for again. Of a backfill it has the chunk that is queued, and none behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from sqlalchemy import Connection as SqlConnection

from fin_infra.engine.reasons import Budget, Next
from fin_infra.errors import StoreError, UsageError
from fin_infra.planning.costs import Costs
from fin_infra.planning.forecast import LEAST, Clock, Planned, Run, play
from fin_infra.planning.planner import AGAIN, driven
from fin_infra.planning.schedules import WEBHOOK, Schedule
from fin_infra.quotas.base import CountingLedger
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.rehearsal import rehearsal
from fin_infra.quotas.windows import SHORT, Lane, Rolling, Spacing, Window, bound
from fin_infra.store import Store
from fin_infra.store.base import Stream
from fin_infra.store.codec import from_micros
from fin_infra.store.statements import fetched

FORESEEN = timedelta(hours=24)
"""How far the start of a single stream is looked for, """
MOST = 3_000
"""and past how many others at most."""
WindowsOf = Callable[[str, str], Sequence[Window]]
"""What a provider permits a quota key, unbound."""


class Queued(Protocol):
    """What is asked of a job in the queue."""

    @property
    def name(self) -> str: ...
    @property
    def lane(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def unique_key(self) -> str | None: ...
    @property
    def available_at(self) -> datetime: ...
    @property
    def payload(self) -> Mapping[str, object]: ...
    @property
    def cost(self) -> int: ...


class Linked(NamedTuple):
    """A connection as the planner sees it."""

    connection_id: str
    tenant: str
    provider: str
    state: str
    quota_key: str


@dataclass
class Key:
    """One quota key: its provider, and what is to come of its connections."""

    name: str
    provider: str
    runs: list[Run] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """How the line of one key goes. `needed` and `permitted`: calls within the horizon, the latter by `window`, its
    scarcest; None where no window counts them."""

    key: Key
    planned: Sequence[Planned]
    needed: int
    permitted: int | None = None
    window: Window | None = None

    @property
    def scarce(self) -> bool:
        """Whether anything starts later than it is due."""
        return any(p.starts_at is None or (p.starts_at > p.run.due_at and p.denied is not None) for p in self.planned)


class Outlook:
    """`jobs`: of the queue. `ledger`: opens what was spent, None: nothing ever. `windows`: see `Quotas.windows`."""

    def __init__(
        self, store: Store, schedules: Sequence[Schedule], jobs: Iterable[Queued], *, now: datetime,
        ledger: Callable[[], CountingLedger | None], windows: WindowsOf,
    ) -> None:  # fmt: skip
        self.now = now
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._open = ledger
        self._ledger: CountingLedger | None = None
        self._windows = windows
        self.idle: list[Linked] = []  # connections that are not planned: their owner has to act
        self.keys: dict[str, Key] = {}
        self._new: dict[Stream, list[Next]] = {}
        self._copies: dict[str, tuple[MemoryLedger, tuple[Window, ...]]] = {}
        self._own: dict[str, dict[str, tuple[Window, ...]]] = {}  # by key and connection
        with store.reading() as sql:
            self._read(sql, [job for job in jobs if job.unique_key])

    def _read(self, sql: SqlConnection, jobs: Sequence[Queued]) -> None:
        costs = Costs(lambda: self.now)
        due = {(row[0], row[1], row[2]): row for row in fetched(sql, DUE_ROWS)}
        linked = {row[0]: Linked(*row) for row in fetched(sql, LINKED)}
        calls: dict[tuple[Stream, str], float] = {}

        def add(one: Linked, stream: Stream, schedule: str, job: str, lane: str, at: datetime) -> None:
            key = self.keys.setdefault(one.quota_key, Key(one.quota_key, one.provider))
            if (stream, lane) not in calls:
                calls[stream, lane] = costs.of(sql, one.provider, stream, _lane(lane))
            key.runs.append(Run(str(stream), schedule, job, one.tenant, _lane(lane), at, calls[stream, lane]))

        leads: dict[tuple[str, str], list[tuple[Schedule, str]]] = {}
        for one in linked.values():
            if one.state != "active":
                self.idle.append(one)
                continue
            key = self.keys.setdefault(one.quota_key, Key(one.quota_key, one.provider))
            key.weights[one.tenant] = key.weights.get(one.tenant, 0) + 1
            if (one.provider, one.tenant) not in leads:
                leads[one.provider, one.tenant] = [
                    (schedule, lead)
                    for schedule in self._schedules.values()
                    if (lead := driven(schedule, one.provider, one.tenant)) is not None
                ]
            for schedule, lead in leads[one.provider, one.tenant]:
                stream = Stream(one.connection_id, lead)
                row = due.get((schedule.name, *stream))
                if row is None:
                    self._new.setdefault(stream, []).append(Next(schedule.name, self.now, new=True))
                at = self._due_at(schedule, stream, row)
                add(one, stream, schedule.name, schedule.rule.job, schedule.rule.lane, at)
        for name, connection_id, dataset, _, lane, at, _ in due.values():
            if name == WEBHOOK and connection_id in linked and linked[connection_id].state == "active":
                add(linked[connection_id], Stream(connection_id, dataset), "", WEBHOOK, lane, from_micros(at))
        for queued in jobs:
            linked_by = linked.get(str(queued.payload.get("connection")))
            if queued.state != "queued" or linked_by is None:
                continue
            key = self.keys.setdefault(linked_by.quota_key, Key(linked_by.quota_key, linked_by.provider))
            name, lane, cost = str(queued.unique_key), _lane(queued.lane), float(queued.cost)
            key.runs.append(Run(name, "", queued.name, linked_by.tenant, lane, queued.available_at, cost))

    def _due_at(self, schedule: Schedule, stream: Stream, row: Sequence[object] | None) -> datetime:
        """When the planner would find it due: a stream without a row at once, one of a changed rule from now on."""
        if row is None:
            return self.now
        if str(row[6]).partition(AGAIN)[0] != schedule.fingerprint:
            return schedule.due_after(self.now, str(stream))
        return from_micros(row[5])  # type: ignore[arg-type]

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def lines(self, end: datetime) -> Iterator[Line]:
        """Every key with runs up to `end`, by name."""
        for name in sorted(self.keys):
            if any(run.due_at < end for run in self.keys[name].runs):
                yield self.line(self.keys[name], end)

    def line(self, key: Key, end: datetime, *, until: str | None = None) -> Line:
        """How the line of one key goes up to `end`, or to the start of the stream `until`."""
        planned, _ = self._played(key, end, until, None)
        needed = sum(int(p.run.calls) for p in planned)
        copy, shared = self.rehearsed(key)
        counted = [window for window in shared if not isinstance(window, Spacing)]
        if not counted:
            return Line(key, planned, needed)
        horizon = (end - self.now - LEAST).total_seconds()  # what is free at its very end is not within it
        room = {window.key: copy.capacity((window,), horizon) for window in counted}
        least = min(counted, key=lambda window: room[window.key])
        return Line(key, planned, needed, room[least.key], least)

    def _played(
        self, key: Key, end: datetime, until: str | None, most: int | None
    ) -> tuple[Sequence[Planned], datetime]:
        """The runs, and how far the play came."""
        clock = Clock(self.now)
        copy, shared = self.rehearsed(key)
        own = {window.key: window for windows in self._own[key.name].values() for window in windows}
        ledger = rehearsal(copy, [*shared, *own.values()], clock) if shared or own else None
        planned = play(
            key.runs, ledger, clock, end, windows=shared, following=self._following,
            own=lambda stream: self._own[key.name].get(stream.partition("/")[0], ()),
            weight=lambda tenant: key.weights.get(tenant, 1), until=until, most=most,
        )  # fmt: skip
        return planned, clock.at

    def new(self, stream: Stream) -> Sequence[Next]:
        """The schedules that drive a stream without a due time yet."""
        return self._new.get(stream, ())

    def budget(self, quota_key: str, stream: Stream, lane: str | None = None) -> Budget:
        """What a run of the stream costs, what the ledger says of it now, and when its turn comes.

        `lane`: of its job that waits; default: that in which it is due. A ledger out of reach is an answer too.
        """
        name = str(stream)
        key = self.keys.get(quota_key)
        mine = [] if key is None else [run for run in key.runs if run.stream == name]
        if key is None or not mine:
            return Budget(quota_key)
        first = min(mine, key=lambda run: run.due_at)
        calls = first.calls
        end = self.now + FORESEEN
        try:
            copy, shared = self.rehearsed(key)
            windows = [*shared, *self._own[key.name].get(stream.connection_id, ())]
            copy = rehearsal(copy, windows, lambda: self.now)
            answer = copy.acquire(windows, lane=_lane(lane or first.lane)) if windows else None
            planned, reached = self._played(key, end, name, MOST) if first.due_at < end else ((), end)
        except (StoreError, UsageError):  # it cannot be read, or is not ours: no call is made either way
            return Budget(quota_key, calls, denied=Denied(0.0, self.now, None, "unreachable"))
        denied = answer if isinstance(answer, Denied) else None
        row = None
        if denied is not None and denied.window is not None:
            rows = copy.frame().iter_rows(named=True)
            row = next((row for row in rows if row["window"] == denied.window.key), None)
        waiting = first.due_at <= self.now
        ahead = {p.run.stream for p in planned if p.run.due_at <= self.now} - {name} if waiting else ()
        if not planned or planned[-1].run.stream != name or (start := planned[-1].starts_at) is None:
            until = None if first.due_at >= end else end if len(planned) < MOST else reached
            return Budget(quota_key, calls, denied, row, len(ahead), until=until)
        return Budget(quota_key, calls, denied, row, len(ahead), start)

    def rehearsed(self, key: Key) -> tuple[MemoryLedger, tuple[Window, ...]]:
        """A copy of the ledger for this key at the present moment, and the windows that its calls share.

        Of windows of single endpoints the widest count, as for the planner: which one a stream needs is not known here.
        """
        known = self._copies.get(key.name)
        if known is not None:
            return known
        windows = self._windows(key.provider, key.name)
        endpoints = sorted({endpoint for window in windows for endpoint in window.endpoints}) or [""]
        groups = [
            bound((w for w in windows if w.scope == "key"), holder=key.name, connection="", account="", endpoint=one)
            for one in endpoints
        ]
        single = [w for w in windows if w.scope == "connection" and not w.endpoints]
        own = {
            one: bound(single, holder=key.name, connection=one, account="", endpoint="")
            for one in dict.fromkeys(run.stream.partition("/")[0] for run in key.runs) if single
        }  # fmt: skip
        if self._ledger is None:
            self._ledger = self._open()
        everything = list({w.key: w for group in [*groups, *own.values()] for w in group}.values())
        copy = rehearsal(self._ledger or MemoryLedger(lambda: self.now), everything, lambda: self.now)
        used = {row["window"] for row in copy.frame().iter_rows(named=True) if row["used"] or row["blocked_until"]}
        # a run every few hours meets a short window of its own connection only if something of it is spent now
        self._own[key.name] = {
            one: tuple(w for w in mine if w.key in used or not isinstance(w, Rolling) or w.period > SHORT)
            for one, mine in own.items()
        }
        shared = max(groups, key=lambda group: copy.capacity(group, 3600.0) if group else 0)
        self._copies[key.name] = copy, shared
        return copy, shared

    def _following(self, run: Run, at: datetime) -> datetime | None:
        return self._schedules[run.schedule].due_after_run(at, run.stream)


DUE_ROWS = "SELECT schedule, connection_id, dataset, job, lane, due_at, rule FROM due"
LINKED = (
    "SELECT connection_id, tenant_id, provider, state, COALESCE(quota_key, provider || '/' || connection_id) "
    "FROM connections ORDER BY created_at, connection_id"
)


def _lane(name: str) -> Lane:
    return name  # type: ignore[return-value]
