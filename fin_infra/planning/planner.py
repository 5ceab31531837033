"""What is due now: durable due rows, enqueued by a unique key, then moved on.

A crash between the two repeats a no-op. After downtime a stream is simply overdue: it runs once, and its window
covers the gap. Any number of planners may run: they meet at the unique key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import bindparam, delete, insert, select, tuple_, update

from fin_infra.datasets import SYNCED
from fin_infra.planning.schedules import LANES, Schedule
from fin_infra.providers import PROVIDERS, resolve
from fin_infra.store import Store
from fin_infra.store.base import Now
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.tables import CONNECTIONS, DUE, META

log = logging.getLogger("fin_infra.planner")

BATCH = 5_000


@dataclass(frozen=True)
class Due:
    """A stream whose time has come. `session`: with a calendar, the newest session that has closed by now."""

    schedule: str
    connection_id: str
    dataset: str
    job: str
    lane: str
    due_at: datetime
    session: date | None = None

    @property
    def unique_key(self) -> str:
        """One pending or running job per stream, whatever schedules drive it."""
        return f"{self.connection_id}/{self.dataset}"


class PlannedQueue(Protocol):
    """What the planner needs of a queue."""

    def enqueue_many(self, orders: Sequence[Mapping[str, Any]]) -> int:
        """Each order: name, payload, unique_key, lane. One whose key is pending or running is passed over."""
        ...


class Planner:
    """Turns due rows into jobs. `tick` is safe in any number of processes and never raises a due row away."""

    def __init__(self, store: Store, queue: PlannedQueue, schedules: Sequence[Schedule], *, now: Now) -> None:
        self._store = store
        self._queue = queue
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._now = now
        self._topology: int | None = None

    def tick(self) -> list[Due]:
        """Enqueues what is due and returns it, most urgent lane first."""
        now = self._now()
        with self._store.reading() as sql:
            topology = sql.scalar(select(META.c.value).where(META.c.name == "topology")) or 0
            changed = topology != self._topology
            due = [] if changed else self._due(sql, now)
        if changed:
            with self._store.writing(alone=True) as sql:
                self._settle(sql, now)
            self._topology = topology
            with self._store.reading() as sql:
                due = self._due(sql, now)
        if due:
            self._queue.enqueue_many(
                [
                    {"name": d.job, "payload": {"connection": d.connection_id}, "unique_key": d.unique_key,
                     "lane": d.lane}
                    for d in due
                ]
            )  # fmt: skip
            self._move_on(due, now)
        return due

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
        return sorted((_due(row, session[row.schedule]) for row in rows), key=_urgency)

    def _settle(self, sql: SqlConnection, now: datetime) -> None:
        """One due row per schedule and stream: new ones are due at once, changed rules from now, gone ones leave.

        At the start, rows of a calendar whose time has not come are computed anew: a newer release, or newer zone data,
        may know of a holiday that the old one did not.
        """
        held = {(row.schedule, row.connection_id, row.dataset): row for row in sql.execute(select(DUE))}
        starting = self._topology is None
        wanted: dict[tuple[str, str, str], tuple[Schedule, int]] = {}
        for connection in sql.execute(select(CONNECTIONS).where(CONNECTIONS.c.state != "disabled")).fetchall():
            for schedule in self._schedules.values():
                lead = driven(schedule, connection.provider, connection.tenant_id)
                if lead is None:
                    continue
                key = (schedule.name, connection.connection_id, lead)
                row = held.get(key)
                stream = f"{connection.connection_id}/{lead}"
                if row is None:
                    wanted[key] = (schedule, micros(now))
                elif row.rule != schedule.fingerprint:
                    wanted[key] = (schedule, micros(schedule.due_after(now, stream)))
                elif starting and schedule.rule.at is not None and row.due_at > micros(now):
                    wanted[key] = (schedule, micros(schedule.due_after_run(now, stream)))
                else:
                    wanted[key] = (schedule, row.due_at)
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

    def _move_on(self, due: Sequence[Due], now: datetime) -> None:
        moved = []
        for d in due:
            schedule = self._schedules[d.schedule]
            next_at = schedule.due_after_run(now, d.unique_key)
            moved.append({
                "s": d.schedule, "c": d.connection_id, "d": d.dataset, "was": micros(d.due_at), "next": micros(next_at),
                "closed": _session(schedule, next_at),
            })  # fmt: skip
        moved.sort(key=lambda row: (row["s"], row["c"], row["d"]))  # two planners at once lock in the same order
        with self._store.writing() as sql:
            sql.execute(
                update(DUE)
                .where(
                    DUE.c.schedule == bindparam("s"), DUE.c.connection_id == bindparam("c"),
                    DUE.c.dataset == bindparam("d"), DUE.c.due_at == bindparam("was"),
                )
                .values(due_at=bindparam("next"), session=bindparam("closed")),
                moved,
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
    return bool(row.rule == schedule.fingerprint and row.due_at == due_at)


def _due(row: Any, session: date | None) -> Due:
    return Due(row.schedule, row.connection_id, row.dataset, row.job, row.lane, from_micros(row.due_at), session)
