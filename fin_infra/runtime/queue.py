"""`SqlJobQueue`: svc-infra's `JobQueue` protocol on SQL, with what syncs need beyond it.

The id handed out is `<id>.<fence>`, and the fence grows with every hand-out: a worker that lost its lease and acks
late changes nothing. A lease that runs out puts the job back and counts a crash, not an attempt; a job that was
deferred counts neither. Nothing is dropped: what cannot be done ends as a dead letter with its reason.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError
from svc_infra.jobs import Job

from fin_infra.planning.schedules import LANES
from fin_infra.store.base import Now
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.opening import inspect, sqlite_engine, sqlite_path, utc_now
from fin_infra.store.sql import rim
from fin_infra.store.statements import changed, fetched

log = logging.getLogger("fin_infra.queue")

MAX_CRASHES = 20
"""A job whose worker died this often kills workers: it is taken out, with that reason."""

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS fin_infra_jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        payload TEXT NOT NULL,
        lane INTEGER NOT NULL,
        state TEXT NOT NULL,              -- queued | running | dead
        unique_key TEXT,
        fence INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        deferrals INTEGER NOT NULL,
        max_attempts INTEGER NOT NULL,
        backoff_seconds INTEGER NOT NULL,
        available_at INTEGER NOT NULL,
        enqueued_at INTEGER NOT NULL,
        lease_until INTEGER,
        last_error TEXT
    )
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS one_live_job_per_key ON fin_infra_jobs (unique_key) WHERE state <> 'dead'",
    "CREATE INDEX IF NOT EXISTS queued_by_urgency ON fin_infra_jobs (lane, available_at, id) WHERE state = 'queued'",
    "CREATE INDEX IF NOT EXISTS leases ON fin_infra_jobs (lease_until) WHERE state = 'running'",
    "CREATE TABLE IF NOT EXISTS fin_infra_totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)


@dataclass
class LeasedJob(Job):
    """svc-infra's job with its lane."""

    lane: str = "scheduled"


@dataclass(frozen=True)
class QueueStats:
    """How many jobs wait, wait for a later time, run, are dead; how many were done since the file was made."""

    ready: int
    later: int
    running: int
    dead: int
    done: int


@dataclass(frozen=True)
class QueuedJob:
    """A job as the queue holds it, for people to look at."""

    id: int
    name: str
    payload: dict[str, Any]
    lane: str
    state: str
    unique_key: str | None
    attempts: int
    crashes: int
    deferrals: int
    available_at: datetime
    enqueued_at: datetime
    lease_until: datetime | None
    last_error: str | None


class SqlJobQueue:
    """A durable job queue in a SQLite file of its own. Safe for any number of processes and threads.

    `names`: only these jobs are handed out; a job of a kind we do not know is left for who does.
    Every method raises `StoreError` when the file cannot be used.
    """

    def __init__(
        self, url: str, *, now: Now = utc_now, lease_seconds: float = 60.0, max_attempts: int = 8,
        names: Collection[str] | None = None, random_share: random.Random | None = None,
    ) -> None:  # fmt: skip
        self.url = url
        self.lease_seconds = lease_seconds
        self._now = now
        self._max_attempts = max_attempts
        self._names = None if names is None else sorted(names)
        self._random = random_share or random.Random()  # noqa: S311 - spreads retries, guards nothing
        path = sqlite_path(url, "FIN_INFRA_QUEUE_URL")
        inspect(path, what="queue", variable="FIN_INFRA_QUEUE_URL", mark="fin_infra_jobs")
        self._engine = sqlite_engine(path, secure_delete=False)
        with self._writing() as sql:
            for statement in SCHEMA:
                sql.execute(text(statement))
        part = "" if self._names is None else f"AND name IN ({', '.join('?' * len(self._names))})"
        # one seek per lane: ordering by lane and time at once would walk over every job that waits for later
        by_lane = (
            f"SELECT * FROM (SELECT * FROM fin_infra_jobs WHERE state = 'queued' AND lane = {lane} "
            f"AND available_at <= ? {part} ORDER BY available_at, id LIMIT 1)"
            for lane in range(len(LANES))
        )
        self._next = " UNION ALL ".join(by_lane) + " ORDER BY lane LIMIT 1"

    # -- svc-infra's protocol --------------------------------------------------------------------------------------

    def enqueue(
        self, name: str, payload: dict[str, Any], *, delay_seconds: float = 0, unique_key: str | None = None,
        lane: str = "scheduled", max_attempts: int | None = None,
    ) -> LeasedJob:  # fmt: skip
        """Adds a job. With a `unique_key` that is already queued or running, that job is returned instead."""
        order = {
            "name": name, "payload": payload, "delay_seconds": delay_seconds, "unique_key": unique_key, "lane": lane,
            "max_attempts": max_attempts,
        }  # fmt: skip
        with self._writing() as sql:
            key = self._insert(sql, order)
            if key is None:
                found = sql.execute(
                    text("SELECT * FROM fin_infra_jobs WHERE unique_key = :key AND state <> 'dead'"),
                    {"key": unique_key},
                )
            else:
                found = sql.execute(text("SELECT * FROM fin_infra_jobs WHERE id = :id"), {"id": key})
            row = dict(found.mappings().one())
        return _job({**row, "fence": 0})  # an id that never holds: who asked has no lease

    def enqueue_many(self, orders: Sequence[Mapping[str, Any]]) -> int:
        """Adds many in one transaction. Returns how many were new.

        `at_once`: one of the same key that waits for later waits no longer.
        """
        with self._writing() as sql:
            return sum(self._insert(sql, order) is not None for order in orders)

    def running(self, keys: Sequence[str]) -> set[str]:
        """Those of the unique keys whose job runs now."""
        with self._reading() as sql:
            rows = sql.execute(text("SELECT unique_key FROM fin_infra_jobs WHERE state = 'running'")).fetchall()
        return {row.unique_key for row in rows}.intersection(keys)

    def reserve_next(self) -> LeasedJob | None:
        """The most urgent job that is due, leased to the caller; its attempt counts from here on."""
        now = micros(self._now())
        with self._writing() as sql:
            self._reclaim(sql, now)
            values = (now, *(self._names or ())) * len(LANES)
            row = sql.exec_driver_sql(self._next, values).mappings().one_or_none()
            if row is None:
                return None
            sql.exec_driver_sql(
                "UPDATE fin_infra_jobs SET state = 'running', fence = fence + 1, attempts = attempts + 1, "
                "lease_until = ? WHERE id = ?",
                (now + self._lease, row["id"]),
            )
        return _job({**row, "fence": row["fence"] + 1, "attempts": row["attempts"] + 1})

    def ack(self, job_id: str) -> None:
        """The job is done. A stale id (its lease was lost) changes nothing."""
        with self._writing() as sql:
            if self._held(sql, "DELETE FROM fin_infra_jobs", job_id):
                sql.exec_driver_sql(
                    "INSERT INTO fin_infra_totals VALUES ('done', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
                )
            else:
                log.warning("job %s was acknowledged after its lease was lost; another attempt owns it", job_id)

    def fail(self, job_id: str, *, error: str | None = None, at_least: float = 0.0, at_most: float = 3600.0) -> None:
        """Tried again after a full-jitter exponential back-off, in seconds within the bounds, or a dead letter."""
        with self._writing() as sql:
            row = self._running(sql, job_id)
            if row is None:
                return
            if row["attempts"] >= row["max_attempts"]:
                self._bury(sql, job_id, f"failed {row['attempts']} times, last: {error or 'no reason given'}")
                return
            ceiling = min(row["backoff_seconds"] * 2.0 ** min(row["attempts"] - 1, 30), at_most)
            delay = max(self._random.uniform(0.0, ceiling), at_least)
            self._held(
                sql,
                "UPDATE fin_infra_jobs SET state = 'queued', lease_until = NULL, available_at = ?, last_error = ?",
                job_id, micros(self._now()) + int(delay * 1e6), error,
            )  # fmt: skip

    # -- beyond it -------------------------------------------------------------------------------------------------

    def extend(self, job_id: str) -> int:
        """Renews the lease. 0: it was lost, another attempt owns the job."""
        with self._writing() as sql:
            until = micros(self._now()) + self._lease
            return self._held(sql, "UPDATE fin_infra_jobs SET lease_until = ?", job_id, until)

    def defer(
        self, job_id: str, delay_seconds: float, *, count_attempt: bool = False, reason: str | None = None
    ) -> int:
        """Put back for later, the attempt unburned unless told otherwise. 0: the lease was lost."""
        with self._writing() as sql:
            return self._held(
                sql,
                "UPDATE fin_infra_jobs SET state = 'queued', lease_until = NULL, available_at = ?, "
                "attempts = attempts - ?, deferrals = deferrals + 1, last_error = COALESCE(?, last_error)",
                job_id, micros(self._now()) + int(delay_seconds * 1e6), 0 if count_attempt else 1, reason,
            )  # fmt: skip

    def bury(self, job_id: str, *, reason: str) -> int:
        """A dead letter at once: trying again cannot help. 0: the lease was lost."""
        with self._writing() as sql:
            return self._bury(sql, job_id, reason)

    def revive(self, key: int) -> bool:
        """A dead letter is queued again with fresh attempts. False when there is none, or its stream has a live job."""
        with self._writing() as sql:
            try:
                done = sql.execute(
                    text(
                        "UPDATE fin_infra_jobs SET state = 'queued', attempts = 0, crashes = 0, deferrals = 0, "
                        "available_at = :now, enqueued_at = :now WHERE id = :id AND state = 'dead'"
                    ),
                    {"id": key, "now": micros(self._now())},
                ).rowcount
            except IntegrityError:
                return False
        return done == 1

    def hasten(self, connection_id: str) -> int:
        """Jobs of a connection that wait for later are due now: their owner has acted."""
        now = micros(self._now())
        with self._writing() as sql:
            return sql.execute(
                text(
                    "UPDATE fin_infra_jobs SET available_at = :now "
                    "WHERE state = 'queued' AND available_at > :now AND json_extract(payload, '$.connection') = :id"
                ),
                {"now": now, "id": connection_id},
            ).rowcount

    def forget(self, connection_id: str) -> int:
        """Removes every job of a connection, dead letters too."""
        with self._writing() as sql:
            return sql.execute(
                text("DELETE FROM fin_infra_jobs WHERE json_extract(payload, '$.connection') = :id"),
                {"id": connection_id},
            ).rowcount

    def age(self, job_id: str) -> float | None:
        """Seconds since a running job was enqueued; None when its lease was lost."""
        with self._reading() as sql:
            row = self._running(sql, job_id)
        return None if row is None else (micros(self._now()) - int(row["enqueued_at"])) / 1e6

    def stats(self) -> QueueStats:
        now = micros(self._now())
        with self._reading() as sql:
            row = sql.execute(
                text(
                    """
                    SELECT COUNT(*) FILTER (WHERE state = 'queued' AND available_at <= :now),
                           COUNT(*) FILTER (WHERE state = 'queued' AND available_at > :now),
                           COUNT(*) FILTER (WHERE state = 'running'),
                           COUNT(*) FILTER (WHERE state = 'dead'),
                           COALESCE((SELECT value FROM fin_infra_totals WHERE name = 'done'), 0)
                    FROM fin_infra_jobs
                    """
                ),
                {"now": now},
            ).one()
        return QueueStats(*row)

    def jobs(self, state: str | None = None) -> list[QueuedJob]:
        """Jobs in the order they would run; of one state, or all."""
        where = "" if state is None else "WHERE state = :state"
        with self._reading() as sql:
            rows = sql.execute(
                text(f"SELECT * FROM fin_infra_jobs {where} ORDER BY state, lane, available_at, id"),
                {} if state is None else {"state": state},
            ).mappings()
            return [_queued(dict(row)) for row in rows]

    def idle(self) -> bool:
        """Nothing is ready and nothing runs."""
        stats = self.stats()
        return stats.ready == 0 and stats.running == 0

    def close(self) -> None:
        self._engine.dispose()

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _lease(self) -> int:
        return int(self.lease_seconds * 1e6)

    @contextmanager
    def _writing(self) -> Iterator[SqlConnection]:
        with rim(self.url), self._engine.execution_options(begin="IMMEDIATE").begin() as sql:
            yield sql

    @contextmanager
    def _reading(self) -> Iterator[SqlConnection]:
        with rim(self.url), self._engine.begin() as sql:
            yield sql

    def _insert(self, sql: SqlConnection, order: Mapping[str, Any]) -> int | None:
        now = micros(self._now())
        if order.get("unique_key"):
            # a more urgent wish raises the class of the job that is already waiting
            lane = LANES.index(order["lane"])
            changed(
                sql,
                "UPDATE fin_infra_jobs SET lane = ? WHERE unique_key = ? AND state = 'queued' AND lane > ?",
                (lane, order["unique_key"], lane),
            )
            if order.get("at_once"):
                changed(
                    sql,
                    "UPDATE fin_infra_jobs SET available_at = ? "
                    "WHERE unique_key = ? AND state = 'queued' AND available_at > ?",
                    (now, order["unique_key"], now),
                )
        made = fetched(
            sql,
            "INSERT INTO fin_infra_jobs (name, payload, lane, state, unique_key, fence, attempts, crashes, deferrals, "
            "max_attempts, backoff_seconds, available_at, enqueued_at) "
            "VALUES (?, ?, ?, 'queued', ?, 0, 0, 0, 0, ?, 30, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (
                order["name"], json.dumps(order["payload"]), LANES.index(order["lane"]), order.get("unique_key"),
                order.get("max_attempts") or self._max_attempts,
                now + int(float(order.get("delay_seconds") or 0) * 1e6), now,
            ),
        )  # fmt: skip
        return int(made[0][0]) if made else None

    def _reclaim(self, sql: SqlConnection, now: int) -> None:
        """Jobs whose worker went silent wait again; one that did so too often is taken out."""
        lost = sql.exec_driver_sql(
            "SELECT id, fence, crashes FROM fin_infra_jobs WHERE state = 'running' AND lease_until <= ?", (now,)
        ).fetchall()
        for row in lost:
            if row.crashes + 1 >= MAX_CRASHES:
                self._bury(sql, f"{row.id}.{row.fence}", f"its worker died or went silent {MAX_CRASHES} times")
                continue
            sql.execute(
                text(
                    "UPDATE fin_infra_jobs SET state = 'queued', lease_until = NULL, available_at = :now, "
                    "attempts = attempts - 1, crashes = crashes + 1, last_error = 'the lease ran out' WHERE id = :id"
                ),
                {"id": row.id, "now": now},
            )

    def _running(self, sql: SqlConnection, job_id: str) -> RowMapping | None:
        key, fence = _parts(job_id)
        return (
            sql.execute(
                text("SELECT * FROM fin_infra_jobs WHERE id = :id AND fence = :fence AND state = 'running'"),
                {"id": key, "fence": fence},
            )
            .mappings()
            .one_or_none()
        )

    def _held(self, sql: SqlConnection, statement: str, job_id: str, *values: Any) -> int:
        """The statement on a job whose lease is still that of the id. 0: it was lost."""
        key, fence = _parts(job_id)
        return sql.exec_driver_sql(
            f"{statement} WHERE id = ? AND fence = ? AND state = 'running'", (*values, key, fence)
        ).rowcount

    def _bury(self, sql: SqlConnection, job_id: str, reason: str) -> int:
        return self._held(
            sql,
            "UPDATE fin_infra_jobs SET state = 'dead', lease_until = NULL, last_error = ?",
            job_id,
            reason,
        )


def _parts(job_id: str) -> tuple[int, int]:
    key, _, fence = job_id.partition(".")
    try:
        return int(key), int(fence or -1)
    except ValueError:
        return -1, -1


def _job(row: Mapping[str, Any]) -> LeasedJob:
    return LeasedJob(
        id=f"{row['id']}.{row['fence']}",
        name=row["name"],
        payload=json.loads(row["payload"]),
        available_at=from_micros(row["available_at"]),
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        backoff_seconds=row["backoff_seconds"],
        last_error=row["last_error"],
        lane=LANES[row["lane"]],
    )


def _queued(row: Mapping[str, Any]) -> QueuedJob:
    return QueuedJob(
        row["id"], row["name"], json.loads(row["payload"]), LANES[row["lane"]], row["state"], row["unique_key"],
        row["attempts"], row["crashes"], row["deferrals"], from_micros(row["available_at"]),
        from_micros(row["enqueued_at"]), from_micros(row["lease_until"]) if row["lease_until"] else None,
        row["last_error"],
    )  # fmt: skip
