"""The durable side: backfills, their chunks, and what vendors are known not to have."""

from __future__ import annotations

import json
import secrets as entropy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import func, select, update

from fin_infra.connections import Connection
from fin_infra.engine.backfilling.cutting import Chunk
from fin_infra.engine.backfilling.known import Known
from fin_infra.errors import StaleCursor, UsageError
from fin_infra.quotas.windows import Lane
from fin_infra.store import Store, Stream
from fin_infra.store.base import Now
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.tables import BACKFILL_CHUNKS as CHUNKS
from fin_infra.store.tables import BACKFILLS, CONNECTIONS, CURSORS, SERIES_KNOWN, STAGED_PAGES

State = Literal["running", "paused", "cancelled", "done", "failed"]
LANE: Lane = "backfill"
JOB = "backfill_chunk"


@dataclass(frozen=True)
class Backfill:
    """One wish for older rows, and how far it is. `calls`, `rows`: made and held so far; `calls_left`: of open chunks.

    `chunks`, `done`, `parked`: how many chunks there are, are done, or wait for somebody to act.
    """

    backfill_id: str
    connection_id: str
    tenant_id: str
    provider: str
    dataset: str
    first: date
    last: date
    subjects: tuple[str, ...]
    state: State
    reason: str | None
    created_at: datetime
    updated_at: datetime
    chunks: int = 0
    done: int = 0
    parked: int = 0
    calls: int = 0
    rows: int = 0
    calls_left: int = 0
    quota_key: str | None = None

    @property
    def stream(self) -> Stream:
        """Its own place in the store: the live stream's is never touched."""
        return Stream(self.connection_id, f"{self.dataset} {self.backfill_id}")

    @property
    def unique_key(self) -> str:
        """One job in flight per backfill."""
        return f"backfill/{self.backfill_id}"

    @property
    def order(self) -> dict[str, Any]:
        """Its job, as the queue takes it."""
        payload = {"connection": self.connection_id, "backfill": self.backfill_id}
        return {
            "name": JOB, "payload": payload, "unique_key": self.unique_key, "lane": LANE, "quota_key": self.quota_key,
            "cost": max(1, -(-self.calls_left // max(1, self.chunks - self.done - self.parked))),
        }  # fmt: skip


@dataclass(frozen=True)
class KeptChunk:
    """A chunk as it is kept. `detail`: what is to be said of it, see `Detail`."""

    n: int
    subjects: tuple[str, ...]
    first: date
    last: date
    expected: int
    planned_calls: int
    state: Literal["open", "done", "parked"]
    calls: int
    rows: int
    run_id: str | None
    tries: int
    detail: Mapping[str, Any] = field(default_factory=dict)


class Backfills:
    """Reads and writes them in a store."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        self._now = now

    # -- made and looked at --------------------------------------------------------------------------------------------

    def create(
        self, connection: Connection, dataset: str, subjects: Sequence[str], first: date, last: date,
        chunks: Sequence[Chunk],
    ) -> Backfill:  # fmt: skip
        """Keeps a new one, running. Its job is the caller's to enqueue."""
        now = micros(self._now())
        own = f"bf_{entropy.token_hex(4)}"
        with self._store.writing() as sql:
            sql.execute(
                BACKFILLS.insert().values(
                    backfill_id=own, connection_id=connection.connection_id, tenant_id=connection.tenant_id,
                    provider=connection.provider, dataset=dataset, first=first.isoformat(), last=last.isoformat(),
                    subjects=json.dumps(list(subjects)), state="running", reason=None, created_at=now, updated_at=now,
                )
            )  # fmt: skip
            rows = [
                {
                    "backfill_id": own, "n": n, "connection_id": connection.connection_id,
                    "subjects": json.dumps(chunk.subjects), "first": chunk.first.isoformat(),
                    "last": chunk.last.isoformat(), "expected": chunk.expected, "planned_calls": chunk.calls,
                    "state": "open", "calls": 0, "rows": 0, "run_id": None, "tries": 0, "detail": None,
                    "updated_at": now,
                }
                for n, chunk in enumerate(chunks, 1)
            ]  # fmt: skip
            if rows:
                sql.execute(CHUNKS.insert(), rows)
        return self.get(own)

    def get(self, backfill_id: str) -> Backfill:
        """Raises `UsageError` when there is none."""
        found = self.all(backfill_id)
        if not found:
            raise UsageError(f"no backfill {backfill_id!r}; fin-infra backfill ls shows them")
        return found[0]

    def all(self, backfill_id: str | None = None, *, state: State | None = None) -> list[Backfill]:
        """Newest first; those of one state, or all."""
        mine = [BACKFILLS.c.backfill_id == backfill_id] if backfill_id is not None else []
        mine += [BACKFILLS.c.state == state] if state is not None else []
        c = CHUNKS.c
        counts = (
            select(
                c.backfill_id, func.count().label("chunks"),
                func.sum((c.state == "done").cast(c.n.type)).label("done"),
                func.sum((c.state == "parked").cast(c.n.type)).label("parked"),
                func.sum(c.calls).label("calls"), func.sum(c.rows).label("rows"),
                func.sum((c.state == "open").cast(c.n.type) * c.planned_calls).label("calls_left"),
            )
            .group_by(c.backfill_id)
            .subquery()
        )  # fmt: skip
        query = (
            select(BACKFILLS, CONNECTIONS.c.quota_key, *(counts.c[name] for name in COUNTS))
            .outerjoin(counts, counts.c.backfill_id == BACKFILLS.c.backfill_id)
            .outerjoin(CONNECTIONS, CONNECTIONS.c.connection_id == BACKFILLS.c.connection_id)
            .where(*mine)
            .order_by(BACKFILLS.c.created_at.desc(), BACKFILLS.c.backfill_id)
        )
        with self._store.reading() as sql:
            return [_backfill(dict(row._mapping)) for row in sql.execute(query)]

    def running(self) -> list[Backfill]:
        """Those whose connection works."""
        with self._store.reading() as sql:
            active = set(sql.scalars(select(CONNECTIONS.c.connection_id).where(CONNECTIONS.c.state == "active")))
            some = sql.scalar(select(BACKFILLS.c.backfill_id).where(BACKFILLS.c.state == "running").limit(1))
        return [one for one in self.all(state="running") if one.connection_id in active] if some else []

    def chunks(self, backfill_id: str) -> list[KeptChunk]:
        """Newest days first."""
        with self._store.reading() as sql:
            rows = sql.execute(select(CHUNKS).where(CHUNKS.c.backfill_id == backfill_id).order_by(CHUNKS.c.n))
            return [_chunk(dict(row._mapping)) for row in rows]

    def next_chunk(self, backfill_id: str) -> KeptChunk | None:
        """The open one with the newest days."""
        mine = (CHUNKS.c.backfill_id == backfill_id, CHUNKS.c.state == "open")
        with self._store.reading() as sql:
            row = sql.execute(select(CHUNKS).where(*mine).order_by(CHUNKS.c.n).limit(1)).first()
        return None if row is None else _chunk(dict(row._mapping))

    # -- moved on ------------------------------------------------------------------------------------------------------

    def close(
        self, sql: SqlConnection, backfill_id: str, chunk: KeptChunk, *, calls: int, rows: int, run_id: str | None,
        detail: Mapping[str, Any], state: Literal["done", "parked"] = "done",
    ) -> None:  # fmt: skip
        """Ends an open chunk, within the transaction of its rows. Raises `StaleCursor` when it is not open any more."""
        ended = sql.execute(
            update(CHUNKS)
            .where(CHUNKS.c.backfill_id == backfill_id, CHUNKS.c.n == chunk.n, CHUNKS.c.state == "open")
            .values(
                state=state, calls=CHUNKS.c.calls + calls, rows=rows, run_id=run_id,
                detail=json.dumps(dict(detail)) if detail else None, updated_at=micros(self._now()),
            )
        ).rowcount  # fmt: skip
        if ended != 1:
            raise StaleCursor(f"chunk {chunk.n} of {backfill_id} was ended by another run: nothing was written")

    def park(self, backfill_id: str, chunk: KeptChunk, reason: str, *, calls: int, run_id: str | None) -> None:
        """It waits for somebody to act; the others go on."""
        with self._store.writing() as sql:
            self.close(
                sql, backfill_id, chunk, calls=calls, rows=0, run_id=run_id, detail={"reason": reason}, state="parked"
            )

    def tried(self, backfill_id: str, chunk: KeptChunk, reason: str, *, calls: int, failed: bool) -> int:
        """An attempt ended before its end. How many have failed by now."""
        with self._store.writing() as sql:
            sql.execute(
                update(CHUNKS)
                .where(CHUNKS.c.backfill_id == backfill_id, CHUNKS.c.n == chunk.n, CHUNKS.c.state == "open")
                .values(
                    calls=CHUNKS.c.calls + calls, tries=CHUNKS.c.tries + int(failed),
                    detail=json.dumps({"reason": reason}), updated_at=micros(self._now()),
                )
            )  # fmt: skip
        return chunk.tries + int(failed)

    def set_state(self, backfill_id: str, state: State, reason: str | None, *, of: Iterable[State]) -> bool:
        """Whether it was in one of the states `of` and is in the new one now."""
        with self._store.writing() as sql:
            done = sql.execute(
                update(BACKFILLS)
                .where(BACKFILLS.c.backfill_id == backfill_id, BACKFILLS.c.state.in_(list(of)))
                .values(state=state, reason=reason, updated_at=micros(self._now()))
            ).rowcount
        return done == 1

    def reopen(self, backfill_id: str) -> None:
        """Parked chunks are tried again."""
        with self._store.writing() as sql:
            sql.execute(
                update(CHUNKS)
                .where(CHUNKS.c.backfill_id == backfill_id, CHUNKS.c.state == "parked")
                .values(state="open", tries=0, updated_at=micros(self._now()))
            )

    def clear(self, backfill: Backfill) -> None:
        """Forgets what only a running one needs: staged pages and its place."""
        with self._store.writing() as sql:
            for table in (STAGED_PAGES, CURSORS):
                mine = (
                    table.c.connection_id == backfill.stream.connection_id,
                    table.c.dataset == backfill.stream.dataset,
                )
                sql.execute(table.delete().where(*mine))

    # -- what vendors have not -----------------------------------------------------------------------------------------

    def known(self, provider: str, dataset: str, subjects: Sequence[str]) -> dict[str, Known]:
        """By subject; those of which nothing is known are left out."""
        k, wanted = SERIES_KNOWN.c, set(subjects)
        with self._store.reading() as sql:
            rows = sql.execute(
                select(k.subject, k.body).where(k.provider == provider, k.dataset == dataset)
            ).all()  # fmt: skip
        return {row.subject: json.loads(row.body) for row in rows if row.subject in wanted}

    def remember(self, sql: SqlConnection, provider: str, dataset: str, known: Mapping[str, Known]) -> None:
        """What is known of these subjects from now on."""
        k = SERIES_KNOWN.c
        for subject in sorted(known):
            mine = (k.provider == provider, k.dataset == dataset, k.subject == subject)
            sql.execute(SERIES_KNOWN.delete().where(*mine))
            if known[subject]:
                sql.execute(
                    SERIES_KNOWN.insert().values(
                        provider=provider, dataset=dataset, subject=subject, updated_at=micros(self._now()),
                        body=json.dumps(known[subject], sort_keys=True, separators=(",", ":")),
                    )
                )  # fmt: skip


COUNTS = ("chunks", "done", "parked", "calls", "rows", "calls_left")


def _backfill(row: Mapping[str, Any]) -> Backfill:
    named: dict[str, Any] = {
        name: row[name]
        for name in ("backfill_id", "connection_id", "tenant_id", "provider", "dataset", "reason", "quota_key")
    }
    counts: dict[str, Any] = {name: int(row[name] or 0) for name in COUNTS}
    return Backfill(
        **named, **counts, first=date.fromisoformat(row["first"]), last=date.fromisoformat(row["last"]),
        subjects=tuple(json.loads(row["subjects"])), state=row["state"], created_at=from_micros(row["created_at"]),
        updated_at=from_micros(row["updated_at"]),
    )  # fmt: skip


def _chunk(row: Mapping[str, Any]) -> KeptChunk:
    named = ("n", "expected", "planned_calls", "state", "calls", "rows", "run_id", "tries")
    return KeptChunk(
        subjects=tuple(json.loads(row["subjects"])), first=date.fromisoformat(row["first"]),
        last=date.fromisoformat(row["last"]), detail=json.loads(row["detail"] or "{}"),
        **{name: row[name] for name in named},
    )  # fmt: skip
