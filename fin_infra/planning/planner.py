"""What is due now: durable due rows, enqueued by a unique key, then moved on.

A crash between the two repeats a no-op. After downtime a stream is simply overdue: it runs once, and its window
covers the gap. Any number of planners may run: they meet at the unique key.

What a webhook made due is a row too, a mark: one per stream, however many webhooks came, and gone once a job is queued
that starts after the newest of them. A job that runs already may have read before the change, so it does not count: the
mark waits for its end.

Where a vendor's windows carry all that is due, all of it is queued in one go; else as much as they carry, see
`admission`.

With `until: final`, the row of a stream that was queued comes back after `retry`, marked in its column `rule`: then the
planner looks whether the session's data is final, and queues it again or lets it be. After the deadline it lets it be
in any case, and says so.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import delete, insert, select, text, tuple_, update

from fin_infra.errors import UsageError
from fin_infra.planning.admission import DATASET, HORIZON, Admission, Admitted, DueRow, WindowsOf
from fin_infra.planning.finality import is_final
from fin_infra.planning.schedules import LANES, WEBHOOK, Schedule, due_after_many
from fin_infra.providers import REGISTRY, declared
from fin_infra.quotas.ledger import Ledger
from fin_infra.store import Store
from fin_infra.store.base import Now, Stream
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.statements import fetched, many
from fin_infra.store.tables import CONNECTIONS, DUE, TABLES

log = logging.getLogger("fin_infra.planner")

BATCH = 5_000
WAITING = 20_000
"""Due rows of a scarce quota key that are looked at; no key could run more in any time that matters."""
READ_ANEW = timedelta(seconds=60)
"""What is remembered as due is read anew after this: a connection that waited for its owner may be back."""
OVERLAP = timedelta(seconds=15)
"""A row may be committed so much later than it is dated."""
RANK = {lane: rank for rank, lane in enumerate(LANES)}
AGAIN = " again "
"""Between a rule's fingerprint and `due_at deadline`, in microseconds, of a stream that may have to be asked again."""
WAITS_FOR_DATA = (None, "not_ready", "quota_exhausted")
"""Error codes of a stream whose job may wait for exactly what a webhook announces, or for units that are kept for more
urgent calls. Other waits are kept."""


class Due(NamedTuple):
    """A stream whose time has come. `session`: with a calendar, the newest session that has closed by now.

    `mark`: of the webhook that made it due, "" where a schedule did. `at_once`: a job of it that waits need not.
    `deadline`: of a stream that has run for its session and is asked again until that session's data is final.
    `cost`: calls that it is likely to make, of the quota `quota_key`; 0 where nobody counts them.
    """

    schedule: str
    connection_id: str
    dataset: str
    job: str
    lane: str
    due_at: datetime
    session: date | None = None
    mark: str = ""
    at_once: bool = False
    deadline: datetime | None = None
    quota_key: str = ""
    cost: int = 0

    @property
    def unique_key(self) -> str:
        """One pending or running job per stream, whatever schedules drive it."""
        return f"{self.connection_id}/{self.dataset}"


Final = Callable[[SqlConnection, Stream, "date | None", datetime], bool]
"""Whether a stream's data of a session is final; the instant is when it was last queued."""


class PlannedQueue(Protocol):
    """What the planner needs of a queue."""

    def enqueue_many(self, orders: Sequence[Mapping[str, Any]]) -> int:
        """Each order: name, payload, unique_key, lane, at_once, quota_key, cost. One whose key is pending or running is
        passed over."""
        ...

    def running(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose job runs now."""
        ...

    def pending_cost(self, keys: Sequence[str], until: datetime) -> Mapping[str, Mapping[str, int]]:
        """Calls that jobs of these quota keys are likely to make which run or may by `until`: by key, then lane."""
        ...

    def promote(self, quota_key: str) -> int:
        """A backfill job of the quota key that waits is scheduled work from now on. Its cost; 0: none waits."""
        ...


class Planner:
    """Turns due rows into jobs. `tick` is safe in any number of processes and never raises a due row away.

    `jobs`: name → dataset, of all jobs; one of them does what a webhook made due. `final`: see `until` of a schedule.
    `ledger` and `windows`: what each quota key is permitted, and what is left of it; without them everything is ample.
    `horizon`: seconds that are planned ahead, longer than between two ticks.
    """

    def __init__(
        self, store: Store, queue: PlannedQueue, schedules: Sequence[Schedule], *, now: Now,
        jobs: Mapping[str, str] | None = None, final: Final = is_final, ledger: Ledger | None = None,
        windows: WindowsOf | None = None, horizon: float = HORIZON,
    ) -> None:  # fmt: skip
        self._store = store
        self._queue = queue
        self._jobs = jobs or {}
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._now = now
        self._final = final
        self._topology: int | None = None
        self._mine = [*self._schedules, WEBHOOK]
        self._admission: Admission | None = None
        if ledger is not None and windows is not None:
            owner = f"{os.getpid()}.{secrets.token_hex(4)}"
            self._admission = Admission(
                ledger, windows, queue, owner=owner, now=now, horizon=horizon, next_close=self._next_close
            )  # fmt: skip
        self._read_until: datetime | None = None
        self._anew_at: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether more was due at the last tick than its windows carry."""
        return self._admission is not None and bool(self._admission.scarce)

    def tick(self) -> list[Due]:
        """Enqueues what is due and what its windows carry, and returns it, most urgent lane first."""
        now = self._now()
        with self._store.reading() as sql:
            [*found] = fetched(sql, "SELECT value FROM meta WHERE name = 'topology'")
            topology = found[0][0] if found else 0
            changed = topology != self._topology
            due = [] if changed else self._all_due(sql, now)
        if changed:
            with self._store.writing(alone=True) as sql:
                self._settle(sql, now)
            self._topology = topology
            self._anew_at = None
            with self._store.reading() as sql:
                due = self._all_due(sql, now)
        if again := [d for d in due if d.deadline is not None]:
            due = self._not_final(due, again, now)
        due = self._startable(due)
        if due:
            self._queue.enqueue_many(
                [
                    {"name": d.job, "payload": {"connection": d.connection_id}, "unique_key": d.unique_key,
                     "lane": d.lane, "at_once": d.at_once, "quota_key": d.quota_key if d.cost else None, "cost": d.cost}
                    for d in due
                ]
            )  # fmt: skip
            self._move_on(due, now)
        return due

    def _all_due(self, sql: SqlConnection, now: datetime) -> list[Due]:
        """What is due and may be queued now, most urgent first; see `_urgency`."""
        if self._admission is None:
            chosen = [Admitted(row) for row in self._rows(sql, now)]
        else:
            chosen = self._admitted(sql, self._admission, now)
        chosen.sort(key=_urgency)
        return self._dues(sql, chosen, now)

    def _admitted(self, sql: SqlConnection, admission: Admission, now: datetime) -> list[Admitted]:
        """Rows of ample keys, all at once, and of the scarce ones what they carry."""
        known, anew = admission.scarce, self._anew_at is None or now >= self._anew_at
        since = None if anew or not known else self._read_until
        admitted: list[Admitted] = []
        while True:
            scarce = admission.scarce
            rows = self._rows(sql, now, since=since, but=scarce)
            admitted += admission.ample(sql, rows)
            if len(rows) < BATCH or len(admission.scarce) == len(scarce):
                break  # else rows of those that turned out to be scarce may have hidden others
        whole = len(rows) < BATCH
        self._read_until = now - OVERLAP if whole else None
        if known and not anew:
            admission.add(self._waiting(sql, now, known, since=now - OVERLAP - READ_ANEW))
        if anew:
            self._anew_at = now + READ_ANEW
        if fresh := [key for key in admission.scarce if anew or key not in known]:
            admission.refill(sql, fresh, self._waiting(sql, now, fresh))
        return admitted + self._still_due(sql, admission.admit(sql))

    def _still_due(self, sql: SqlConnection, chosen: Sequence[Admitted]) -> list[Admitted]:
        """Those that are as they were read, some time ago."""
        found: list[Admitted] = []
        for row, cost in chosen:
            now = fetched(sql, f"{DUE_ROW} AND d.schedule = ? AND d.connection_id = ? AND d.dataset = ?", row.key)
            if now and now[0][5] == row.due_at:
                found += [Admitted(row, cost) for row in self._served([DueRow._make(now[0])])]
        return found

    def _rows(
        self, sql: SqlConnection, now: datetime, *, since: datetime | None = None, but: Sequence[str] = ()
    ) -> list[DueRow]:
        """Due rows of connections that work, soonest first, of all quota keys but these. A batch at most."""
        some = f" AND {QUOTA_KEY} NOT IN ({_marks(but)})" if but else ""
        after = "" if since is None else " AND d.due_at > ?"
        values = (*self._mine, micros(now), *but, *([] if since is None else [micros(since)]))
        rows = fetched(
            sql,
            f"{DUE_ROW} AND d.schedule || '' IN ({_marks(self._mine)}) AND d.due_at <= ?{some}{after} "
            f"ORDER BY d.due_at LIMIT {BATCH}",
            values,
        )  # the name is concatenated, or by its index all rows would be walked
        return self._served(map(DueRow._make, rows))

    def _waiting(
        self, sql: SqlConnection, now: datetime, keys: Sequence[str], since: datetime | None = None
    ) -> list[DueRow]:
        """The same of these keys alone, so many of each that none hides another."""
        after = "" if since is None else " AND d.due_at > ?"
        values = (*self._mine, micros(now), *keys, *([] if since is None else [micros(since)]), WAITING)
        rows = fetched(
            sql,
            f"SELECT {', '.join(DueRow._fields)} FROM (SELECT due.*, ROW_NUMBER() OVER (PARTITION BY quota_key "
            f"ORDER BY due_at) AS n FROM ({DUE_ROW} AND d.schedule || '' IN ({_marks(self._mine)}) AND d.due_at <= ? "
            f"AND {QUOTA_KEY} IN ({_marks(keys)}){after}) AS due) AS numbered WHERE n <= ?",
            values,
        )
        return self._served(map(DueRow._make, rows))

    def _served(self, rows: Iterable[DueRow]) -> list[DueRow]:
        """With the job that does what a webhook made due. A mark that no job of ours serves is left where it is."""
        served = []
        for row in rows:
            if row.schedule != WEBHOOK:
                served.append(row)
            elif (job := self._job_of(row.provider, row.dataset)) is not None:
                served.append(row._replace(job=job))
        return served

    def _dues(self, sql: SqlConnection, chosen: Sequence[Admitted], now: datetime) -> list[Due]:
        sessions = {name: schedule.session_at(now) for name, schedule in self._schedules.items()} if chosen else {}
        return [
            self._mark(sql, row, cost)
            if row.schedule == WEBHOOK
            else _due(row, cost, sessions[row.schedule], self._schedules[row.schedule])
            for row, cost in chosen
        ]

    def _mark(self, sql: SqlConnection, row: DueRow, cost: int) -> Due:
        told = fetched(
            sql,
            "SELECT error_code FROM streams WHERE connection_id = ? AND dataset = ?",
            (row.connection_id, row.dataset),
        )
        return Due(
            WEBHOOK, row.connection_id, row.dataset, row.job, row.lane, from_micros(row.due_at), None, row.rule,
            not told or told[0][0] in WAITS_FOR_DATA, None, row.quota_key, cost,
        )  # fmt: skip

    def _not_final(self, due: list[Due], again: Sequence[Due], now: datetime) -> list[Due]:
        """Without the streams whose data is final by now, or whose deadline is past: they wait for their next time."""
        with self._store.reading() as sql:
            done = {
                d for d in again
                if self._final(
                    sql, Stream(d.connection_id, d.dataset), d.session,
                    d.due_at - (self._schedules[d.schedule].rule.retry or timedelta()),
                )
            }  # fmt: skip
        late = {d for d in again if d not in done and d.deadline is not None and d.deadline <= now}
        if done or late:
            self._move_on([*done, *late], now, final=True)
            self._say_late(late)
        return [d for d in due if d not in done and d not in late]

    def _say_late(self, late: Iterable[Due]) -> None:
        """In the log, and as what the stream waits for; its next run takes that back."""
        streams = TABLES["streams"]
        for d in sorted(late, key=lambda d: d.unique_key):
            schedule = self._schedules[d.schedule]
            next_at = schedule.due_after(self._now(), d.unique_key)
            told = (
                f"session {d.session} was not final at {schedule.rule.deadline:%H:%M} {schedule.zone}, "
                f"it is asked again at {_at(next_at)}"
            )
            log.warning("schedule %s: %s of %s", d.schedule, told, d.unique_key)
            with self._store.writing() as sql:
                sql.execute(
                    update(streams)
                    .where(
                        streams.c.connection_id == d.connection_id, streams.c.dataset == d.dataset,
                        streams.c.next_reason.is_(None),
                    )
                    .values(next_reason=told)
                )  # fmt: skip

    def _startable(self, due: list[Due]) -> list[Due]:
        """Without the marks of streams whose job runs: it may have read before the change. Asked before anything is
        queued, so that whatever runs later for the others has started after their marks."""
        marked = [d.unique_key for d in due if d.mark]
        running = self._queue.running(marked) if marked else set()
        return [d for d in due if not (d.mark and d.unique_key in running)]

    def _next_close(self, name: str) -> int | None:
        """When a schedule is due next that goes by a calendar's sessions; None of others."""
        schedule = self._schedules.get(name)
        if schedule is None or schedule.mic is None or schedule.rule.at is None:
            return None
        return micros(schedule.due_after(self._now(), ""))

    def _job_of(self, provider: str, lead: str) -> str | None:
        """The job that drives the stream: the one of its dataset, else one of another that the same source feeds."""
        source = declared(provider).source(lead) if provider in REGISTRY.names() else None
        if source is None:
            return None
        names = [name for name, dataset in self._jobs.items() if dataset in source.datasets]
        return min(names, key=lambda name: self._jobs[name] != lead, default=None)

    def _settle(self, sql: SqlConnection, now: datetime) -> None:
        """One due row per schedule and stream: new ones are due at once, changed rules from now, gone ones leave.

        At the start, rows of a calendar whose time has not come are computed anew: a newer release, or newer zone data,
        may know of a holiday that the old one did not.
        """
        planned = sql.execute(select(DUE).where(DUE.c.schedule != WEBHOOK))
        held = {(row.schedule, row.connection_id, row.dataset): row for row in planned}
        starting = self._topology is None
        wanted: dict[tuple[str, str, str], tuple[Schedule, int]] = {}
        anew: list[tuple[str, str, str]] = []
        for connection in sql.execute(select(CONNECTIONS).where(CONNECTIONS.c.state != "disabled")).fetchall():
            for schedule in self._schedules.values():
                lead = driven(schedule, connection.provider, connection.tenant_id)
                if lead is None:
                    continue
                key = (schedule.name, connection.connection_id, lead)
                row = held.get(key)
                wanted[key] = (schedule, micros(now) if row is None else row.due_at)
                if row is None:
                    continue
                rule, again, _ = row.rule.partition(AGAIN)
                if rule != schedule.fingerprint or (
                    starting and schedule.rule.is_dated and row.due_at > micros(now) and not again
                ):
                    anew.append(key)
        streams = [(wanted[key][0], f"{key[1]}/{key[2]}") for key in anew]
        times, queued = due_after_many(streams, now), due_after_many(streams, now, queued=True)
        for key, due_at, after_run in zip(anew, times, queued, strict=True):
            # a stream that was queued just now keeps the half of `every` it was given
            stands = held[key].due_at == after_run and _stands(held[key], wanted[key][0], after_run)
            if not stands:
                wanted[key] = (wanted[key][0], due_at)
        self._say_moved((held[key], *wanted[key]) for key in anew)
        fresh = [
            {
                "schedule": key[0], "connection_id": key[1], "dataset": key[2], "job": schedule.rule.job,
                "lane": schedule.rule.lane, "due_at": due_at, "rule": schedule.fingerprint,
                "session": _session(schedule, from_micros(due_at)),
            }
            for key, (schedule, due_at) in wanted.items()
            if key not in held or not _stands(held[key], schedule, due_at)
        ]  # fmt: skip
        obsolete = [key for key in held if key not in wanted or not _stands(held[key], *wanted[key])]
        for start in range(0, len(obsolete), 1_000):
            part = obsolete[start : start + 1_000]
            sql.execute(delete(DUE).where(tuple_(DUE.c.schedule, DUE.c.connection_id, DUE.c.dataset).in_(part)))
        if fresh:
            sql.execute(insert(DUE), fresh)

    def _say_moved(self, moved: Iterable[tuple[Any, Schedule, int]]) -> None:
        """What was planned by a calendar, or a zone, that has changed since: once a schedule and session."""
        said: dict[str, int] = {}
        for row, schedule, due_at in moved:
            if due_at != row.due_at and row.rule == schedule.fingerprint:
                told = _moved(schedule, row.session, from_micros(row.due_at), from_micros(due_at))
                said[told] = said.get(told, 0) + 1
        for told, count in said.items():
            log.warning("%s (%d stream%s)", told, count, "" if count == 1 else "s")

    def _move_on(self, due: Sequence[Due], now: datetime, *, final: bool = False) -> None:
        """Due rows get their next time; marks leave, unless a newer webhook has renewed them meanwhile.

        `final`: no look whether they are has to follow.
        """
        moved = []
        planned = [d for d in due if not d.mark]
        times = due_after_many([(self._schedules[d.schedule], d.unique_key) for d in planned], now, queued=True)
        for d, next_at in zip(planned, times, strict=True):
            schedule = self._schedules[d.schedule]
            rule = schedule.fingerprint
            session = None if schedule.mic is None else _session(schedule, from_micros(next_at))
            if not final and schedule.rule.retry is not None:
                look = micros(now + schedule.rule.retry)
                if look < next_at:
                    deadline = micros(d.deadline or schedule.deadline_after(d.due_at))
                    next_at, rule = look, f"{rule}{AGAIN}{look} {deadline}"
                    session = None if d.session is None else d.session.isoformat()
            moved.append((next_at, session, rule, d.schedule, d.connection_id, d.dataset, micros(d.due_at)))
        moved.sort(key=lambda row: row[3:6])  # two planners at once lock in the same order
        served = sorted((WEBHOOK, d.connection_id, d.dataset, d.mark) for d in due if d.mark)
        with self._store.writing() as sql:
            many(
                sql,
                "UPDATE due SET due_at = ?, session = ?, rule = ? "
                "WHERE schedule = ? AND connection_id = ? AND dataset = ? AND due_at = ?",
                moved,
            )
            many(
                sql, "DELETE FROM due WHERE schedule = ? AND connection_id = ? AND dataset = ? AND rule = ?", served
            )  # fmt: skip


QUOTA_KEY = "COALESCE(c.quota_key, c.provider || '/' || c.connection_id)"
DUE_ROW = (
    "SELECT d.schedule, d.connection_id, d.dataset, d.job, d.lane, d.due_at, d.session, d.rule, "
    f"c.tenant_id AS tenant, c.provider, {QUOTA_KEY} AS quota_key "
    "FROM due AS d JOIN connections AS c ON c.connection_id = d.connection_id WHERE c.state = 'active'"
)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


MARK = text(
    "INSERT INTO due (schedule, connection_id, dataset, job, lane, due_at, session, rule) "
    "VALUES (:schedule, :connection, :dataset, '', 'webhook', :now, NULL, :mark) "
    "ON CONFLICT (schedule, connection_id, dataset) DO UPDATE SET rule = excluded.rule"
)


def mark(sql: SqlConnection, stream: Stream, name: str, now: datetime) -> None:
    """The stream is due at once, in lane `webhook`. `name` tells this mark from an earlier one that it renews.

    Which job that is, the planner says: who receives a webhook need not have the project at hand.
    """
    sql.execute(
        MARK,
        {"schedule": WEBHOOK, "connection": stream.connection_id, "dataset": stream.dataset, "now": micros(now),
         "mark": name},
    )  # fmt: skip


def driven(schedule: Schedule, provider: str, tenant: str) -> str | None:
    """The dataset of the stream that a schedule drives on a connection; None when it does not drive it."""
    rule = schedule.rule
    if provider not in REGISTRY.names() or REGISTRY.off(
        provider
    ):  # no longer installed, or off: that stops nobody else
        return None
    source = declared(provider).source(schedule.dataset)
    if source is None:
        return None
    if (rule.providers is not None and provider not in rule.providers) or (
        rule.tenants is not None and tenant not in rule.tenants
    ):
        return None
    return source.lead


def _urgency(admitted: Admitted) -> tuple[int, int, int]:
    """Lane, then time; at the same time accounts first: the others need them."""
    row = admitted[0]
    return RANK[row[4]], row[5], DATASET.get(row[2], len(DATASET))


def _session(schedule: Schedule, due_at: datetime) -> str | None:
    session = schedule.session_at(due_at)
    return None if session is None else session.isoformat()


def _stands(row: Any, schedule: Schedule, due_at: int) -> bool:
    """Whether the row that is held says what is wanted."""
    return bool(row.rule.partition(AGAIN)[0] == schedule.fingerprint and row.due_at == due_at)


def _due(row: DueRow, cost: int, session: date | None, schedule: Schedule) -> Due:
    deadline = None if schedule.rule.until is None else _deadline(row)
    if deadline is not None and row.session is not None:
        session = date.fromisoformat(row.session)
    return Due(
        row[0], row[1], row[2], row[3], row[4], from_micros(row[5]), session, "", False, deadline, row[10], cost
    )  # fmt: skip


def _deadline(row: Any) -> datetime | None:
    """Of a row that is a look whether its data is final. One that was made due meanwhile, by a relink, runs at once."""
    _, again, told = row.rule.partition(AGAIN)
    if not again:
        return None
    look, deadline = (int(number) for number in told.split())
    return from_micros(deadline) if look == row.due_at else None


def _moved(schedule: Schedule, session: str | None, was: datetime, due_at: datetime) -> str:
    """What is to be said of a due time that is no longer what it was."""
    what = f"schedule {schedule.name}: "
    calendar, rule = schedule.calendar, schedule.rule
    if calendar is None:
        return f"{what}the run at {_at(was)} is now planned at {_at(due_at)}"
    local = (was - rule.offset).astimezone(ZoneInfo(schedule.zone)).date()
    day = date.fromisoformat(session) if rule.at == "close" and session is not None else local
    try:
        there = calendar.is_session(day)
    except UsageError:
        there = False
    if not there:
        return f"{what}session {day} of {schedule.mic} is no longer planned; next is {_at(due_at)}"
    return f"{what}session {day} of {schedule.mic} is planned at {_at(due_at)}, no longer at {_at(was)}"


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")
