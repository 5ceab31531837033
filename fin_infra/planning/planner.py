"""What is due now: durable due rows, enqueued by a unique key, then moved on.

A crash between the two repeats a no-op. After downtime a stream is simply overdue: it runs once, and its window
covers the gap. Any number of planners may run: they meet at the unique key.

What a webhook made due is a row too, a mark: one per stream, however many webhooks came, and gone once a job is queued
that starts after the newest of them. A job that runs already may have read before the change, so it does not count: the
mark waits for its end.

With `until: final`, the row of a stream that was queued comes back after `retry`, marked in its column `rule`: then the
planner looks whether the session's data is final, and queues it again or lets it be. After the deadline it lets it be
in any case, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import bindparam, delete, insert, select, text, tuple_, update

from fin_infra.datasets import SYNCED
from fin_infra.errors import UsageError
from fin_infra.planning.finality import is_final
from fin_infra.planning.schedules import LANES, WEBHOOK, Schedule, due_after_many
from fin_infra.providers import PROVIDERS, resolve
from fin_infra.store import Store
from fin_infra.store.base import Now, Stream
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.tables import CONNECTIONS, DUE, META, TABLES

log = logging.getLogger("fin_infra.planner")

BATCH = 5_000
AGAIN = " again "
"""Between a rule's fingerprint and `due_at deadline`, in microseconds, of a stream that may have to be asked again."""
WAITS_FOR_DATA = (None, "not_ready")
"""Error codes of a stream whose job may wait for exactly what a webhook announces. Other waits are kept."""


@dataclass(frozen=True)
class Due:
    """A stream whose time has come. `session`: with a calendar, the newest session that has closed by now.

    `mark`: of the webhook that made it due, "" where a schedule did. `at_once`: a job of it that waits need not.
    `deadline`: of a stream that has run for its session and is asked again until that session's data is final.
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

    @property
    def unique_key(self) -> str:
        """One pending or running job per stream, whatever schedules drive it."""
        return f"{self.connection_id}/{self.dataset}"


Final = Callable[[SqlConnection, Stream, "date | None", datetime], bool]
"""Whether a stream's data of a session is final; the instant is when it was last queued."""


class PlannedQueue(Protocol):
    """What the planner needs of a queue."""

    def enqueue_many(self, orders: Sequence[Mapping[str, Any]]) -> int:
        """Each order: name, payload, unique_key, lane, at_once. One whose key is pending or running is passed over."""
        ...

    def running(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose job runs now."""
        ...


class Planner:
    """Turns due rows into jobs. `tick` is safe in any number of processes and never raises a due row away.

    `jobs`: name → dataset, of all jobs; one of them does what a webhook made due. `final`: see `until` of a schedule.
    """

    def __init__(
        self, store: Store, queue: PlannedQueue, schedules: Sequence[Schedule], *, now: Now,
        jobs: Mapping[str, str] | None = None, final: Final = is_final,
    ) -> None:  # fmt: skip
        self._store = store
        self._queue = queue
        self._jobs = jobs or {}
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._now = now
        self._final = final
        self._topology: int | None = None

    def tick(self) -> list[Due]:
        """Enqueues what is due and returns it, most urgent lane first."""
        now = self._now()
        with self._store.reading() as sql:
            topology = sql.scalar(select(META.c.value).where(META.c.name == "topology")) or 0
            changed = topology != self._topology
            due = [] if changed else self._all_due(sql, now)
        if changed:
            with self._store.writing(alone=True) as sql:
                self._settle(sql, now)
            self._topology = topology
            with self._store.reading() as sql:
                due = self._all_due(sql, now)
        if again := [d for d in due if d.deadline is not None]:
            due = self._not_final(due, again, now)
        due = self._startable(due)
        if due:
            self._queue.enqueue_many(
                [
                    {"name": d.job, "payload": {"connection": d.connection_id}, "unique_key": d.unique_key,
                     "lane": d.lane, "at_once": d.at_once}
                    for d in due
                ]
            )  # fmt: skip
            self._move_on(due, now)
        return due

    def _all_due(self, sql: SqlConnection, now: datetime) -> list[Due]:
        return sorted([*self._marked(sql), *self._due(sql, now)], key=_urgency)

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

    def _marked(self, sql: SqlConnection) -> list[Due]:
        """What webhooks made due, of connections that work. A mark that no job of ours serves is left where it is."""
        streams = TABLES["streams"].c
        rows = sql.execute(
            select(DUE, CONNECTIONS.c.provider, streams.error_code)
            .join(CONNECTIONS, CONNECTIONS.c.connection_id == DUE.c.connection_id)
            .outerjoin(
                TABLES["streams"],
                (streams.connection_id == DUE.c.connection_id) & (streams.dataset == DUE.c.dataset),
            )
            .where(DUE.c.schedule == WEBHOOK, CONNECTIONS.c.state == "active")
            .order_by(DUE.c.due_at)
            .limit(BATCH)
        ).fetchall()
        return [
            Due(
                WEBHOOK, row.connection_id, row.dataset, job, row.lane, from_micros(row.due_at), None, row.rule,
                row.error_code in WAITS_FOR_DATA,
            )
            for row in rows
            if (job := self._job_of(row.provider, row.dataset)) is not None
        ]  # fmt: skip

    def _job_of(self, provider: str, lead: str) -> str | None:
        """The job that drives the stream: the one of its dataset, else one of another that the same source feeds."""
        source = resolve(provider).source(lead) if provider in PROVIDERS else None
        if source is None:
            return None
        names = [name for name, dataset in self._jobs.items() if dataset in source.datasets]
        return min(names, key=lambda name: self._jobs[name] != lead, default=None)

    def _due(self, sql: SqlConnection, now: datetime) -> list[Due]:
        mine = DUE.c.schedule.concat("").in_(self._schedules)  # as a value: by its index all rows would be walked
        rows = sql.execute(
            select(DUE)
            .join(CONNECTIONS, CONNECTIONS.c.connection_id == DUE.c.connection_id)
            .where(DUE.c.due_at <= micros(now), CONNECTIONS.c.state == "active", mine)
            .order_by(DUE.c.due_at)
            .limit(BATCH)
        ).fetchall()
        session = {name: schedule.session_at(now) for name, schedule in self._schedules.items()} if rows else {}
        return [_due(row, session[row.schedule], self._schedules[row.schedule]) for row in rows]

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
            moved.append({
                "s": d.schedule, "c": d.connection_id, "d": d.dataset, "was": micros(d.due_at), "next": next_at,
                "closed": session, "from": rule,
            })  # fmt: skip
        moved.sort(key=lambda row: (row["s"], row["c"], row["d"]))  # two planners at once lock in the same order
        served = [{"c": d.connection_id, "d": d.dataset, "m": d.mark} for d in due if d.mark]
        served.sort(key=lambda row: (row["c"], row["d"]))
        with self._store.writing() as sql:
            if moved:
                sql.execute(
                    update(DUE)
                    .where(
                        DUE.c.schedule == bindparam("s"), DUE.c.connection_id == bindparam("c"),
                        DUE.c.dataset == bindparam("d"), DUE.c.due_at == bindparam("was"),
                    )
                    .values(due_at=bindparam("next"), session=bindparam("closed"), rule=bindparam("from")),
                    moved,
                )  # fmt: skip
            if served:
                sql.execute(
                    delete(DUE).where(
                        DUE.c.schedule == WEBHOOK, DUE.c.connection_id == bindparam("c"),
                        DUE.c.dataset == bindparam("d"), DUE.c.rule == bindparam("m"),
                    ),
                    served,
                )  # fmt: skip


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
    if provider not in PROVIDERS:  # its adapter is no longer installed: that stops nobody else
        return None
    source = resolve(provider).source(schedule.dataset)
    if source is None:
        return None
    if (rule.providers is not None and provider not in rule.providers) or (
        rule.tenants is not None and tenant not in rule.tenants
    ):
        return None
    return source.lead


def _urgency(due: Due) -> tuple[int, datetime, int]:
    """Lane, then time; at the same time accounts first: the others need them."""
    order = SYNCED.index(due.dataset) if due.dataset in SYNCED else len(SYNCED)
    return LANES.index(due.lane), due.due_at, order


def _session(schedule: Schedule, due_at: datetime) -> str | None:
    session = schedule.session_at(due_at)
    return None if session is None else session.isoformat()


def _stands(row: Any, schedule: Schedule, due_at: int) -> bool:
    """Whether the row that is held says what is wanted."""
    return bool(row.rule.partition(AGAIN)[0] == schedule.fingerprint and row.due_at == due_at)


def _due(row: Any, session: date | None, schedule: Schedule) -> Due:
    deadline = None if schedule.rule.until is None else _deadline(row)
    if deadline is not None and row.session is not None:
        session = date.fromisoformat(row.session)
    return Due(
        row.schedule, row.connection_id, row.dataset, row.job, row.lane, from_micros(row.due_at), session,
        deadline=deadline,
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
