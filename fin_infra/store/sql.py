"""The store on SQL: one commit for rows, history, cursor and bookkeeping."""

from __future__ import annotations

import itertools
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any

import polars as pl
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, Table, Text, delete, func, literal, make_url, null, select, text, union, union_all
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fin_infra.datasets import SYNCED
from fin_infra.datasets.base import INSTANT, Dataset
from fin_infra.errors import StaleCursor, StoreError, UsageError
from fin_infra.instruments.aliases import SymbolAlias, overlapping
from fin_infra.store import tables
from fin_infra.store.base import (
    Alias,
    Applied,
    Batch,
    Book,
    Change,
    Counts,
    Cursor,
    Forgotten,
    Kept,
    Learned,
    Now,
    Query,
    Records,
    Sealed,
    StagedPage,
    Stream,
)
from fin_infra.store.codec import decode, decode_record, encode, encode_records, from_micros, micros
from fin_infra.store.statements import KEYS_PER_SELECT, Dialect, Statements, changed, fetched, many

CHUNK = 1_000  # rows a transaction changes at most: other writers wait for milliseconds, not seconds
READ_BATCH = 50_000
EVIDENCE_KEPT = 500  # entries in quarantine, per connection
SEEN_AGAIN = text(
    "INSERT INTO quarantine (quarantine_id, tenant_id, connection_id, dataset, run_id, at, reason, body, kind) "
    "VALUES (:quarantine_id, :tenant_id, :connection_id, :dataset, :run_id, :at, :reason, :body, :kind) "
    "ON CONFLICT (quarantine_id) DO UPDATE SET run_id = excluded.run_id, at = excluded.at, reason = excluded.reason, "
    "body = excluded.body, kind = excluded.kind"
)
TIME_COLUMN = {
    "transactions": "booked_on", "activities": "traded_on", "prices": "session", "fx_rates": "rate_on",
    "intraday_prices": "start_at", "quotes": "quoted_at", "corporate_actions": "ex_on", "runs": "started_at",
    "findings": "first_seen_at",
}  # fmt: skip


class SqlStore:
    """`Store` over a SQLAlchemy engine; made by `open_store`, which also looks at the schema."""

    def __init__(self, engine: Engine, url: str, now: Now, dialect: Dialect | None = None) -> None:
        self.url = url
        self._dialect = dialect or Dialect()
        self._engine = engine
        self._reader = self._dialect.reader(engine)
        self._writer = engine.execution_options(begin="IMMEDIATE")
        self._now = now
        self._outer: ContextVar[SqlConnection | None] = ContextVar("outer", default=None)
        self._statements: dict[str, Statements] = {}

    # -- transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[SqlConnection]:
        with rim(self.url), self._writer.begin() as sql, self._around(sql):
            self._dialect.begin(sql, alone=alone)
            yield sql

    @contextmanager
    def reading(self) -> Iterator[SqlConnection]:
        outer = self._outer.get()
        if outer is not None:  # a part of the transaction around it: one begin for many reads, and they see one state
            yield outer
            return
        with self._snapshot() as sql, self._around(sql):
            yield sql

    @contextmanager
    def _around(self, sql: SqlConnection) -> Iterator[None]:
        """Reads within the block are a part of this transaction."""
        token = self._outer.set(sql)
        try:
            yield
        finally:
            self._outer.reset(token)

    @contextmanager
    def _snapshot(self) -> Iterator[SqlConnection]:
        with rim(self.url), self._reader.connect() as sql, sql.begin():
            yield sql

    def close(self) -> None:
        self._engine.dispose()

    # -- the one commit --------------------------------------------------------------------------------------------

    def apply(
        self, batch: Batch, *, stream: Stream, run_id: str, expect: Cursor, next: str,
        books: Callable[[Applied], Sequence[Book]] | None = None, dry_run: bool = False,
    ) -> Applied:  # fmt: skip
        applied = Applied(expect.version)
        *early, last = _chunks(batch)
        if dry_run:
            with self.reading() as sql:
                for chunk in (*early, last):
                    self._write(sql, stream, run_id, chunk, applied, dry_run=True)
            return applied
        names = batch.aliases  # with the first chunk: a row under its first id is not found without them
        before = expect.body if batch.halfway is None else batch.halfway
        for chunk in early:  # rows only: the cursor stays where it is until the last chunk
            with self.writing() as sql:
                self._advance(sql, stream, expect, applied, before, expect.run_id)
                self._name(sql, stream.connection_id, names)
                self._write(sql, stream, run_id, chunk, applied)
            names = ()
        with self.writing() as sql:
            self._advance(sql, stream, expect, applied, next, run_id)
            self._name(sql, stream.connection_id, names)
            self._write(sql, stream, run_id, last, applied)
            self._keep_books(sql, [*batch.books, *(books(applied) if books else ())])
            self._quarantine(sql, stream.connection_id, run_id, batch.quarantined)
            if batch.within is not None:
                batch.within(sql)
            kept, of_them = "", tuple[Any, ...]()
            if batch.unfinished:
                kept = f" AND (generation <> ? OR subject NOT IN ({', '.join('?' * len(batch.unfinished))}))"
                of_them = (expect.generation, *batch.unfinished)
            changed(sql, f"DELETE FROM staged_pages WHERE connection_id = ? AND dataset = ?{kept}", (*stream, *of_them))
        return applied

    def _advance(
        self, sql: SqlConnection, stream: Stream, expect: Cursor, applied: Applied, body: str, run_id: str | None
    ) -> None:
        """Compare-and-set, before anything else: who comes second writes nothing."""
        done = 0
        if _generation(sql, stream.connection_id) == expect.generation:
            if applied.version == 0:
                done = changed(
                    sql,
                    "INSERT INTO cursors (version, generation, body, run_id, connection_id, dataset) "
                    "VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (expect.generation, body, run_id, *stream),
                )
            else:
                done = changed(
                    sql,
                    "UPDATE cursors SET version = version + 1, generation = ?, body = ?, run_id = ? "
                    "WHERE connection_id = ? AND dataset = ? AND version = ?",
                    (expect.generation, body, run_id, *stream, applied.version),
                )
        if done != 1:
            raise StaleCursor(
                f"{stream} was committed by another run, or its connection was relinked or removed meanwhile: "
                "nothing was written, it is read again"
            )
        applied.version += 1

    def _write(
        self, sql: SqlConnection, stream: Stream, run_id: str, changes: Iterable[Change], applied: Applied,
        *, dry_run: bool = False,
    ) -> None:  # fmt: skip
        """Diff against the current rows; old images to the history; only what changed is written."""
        now = micros(self._now())
        asked = []
        for change in changes:
            statements = self._of(change.schema)
            incoming = {row[: statements.key_width]: row for row in encode(change.rows, change.schema)}
            removed = [key for key in dict.fromkeys(change.removed) if key not in incoming]
            asked.append((change, statements, incoming, removed))
        if not dry_run:
            self._dialect.claim(sql, ((c.schema.dataset_name(), [*new, *gone]) for c, _, new, gone in asked))
        for change, statements, incoming, removed in asked:
            name = change.schema.dataset_name()
            current = statements.current(sql, [*incoming, *removed])
            inserted, updated, unchanged = [], [], 0
            for key, row in incoming.items():
                old = current.get(key)
                if old is None:
                    inserted.append(key)
                elif statements.same(row, old):
                    unchanged += 1
                else:
                    updated.append(key)
            gone = [key for key in removed if key in current]
            if (inserted or updated or gone) and not dry_run:
                old_images = [current[key] for key in itertools.chain(updated, gone)]
                statements.to_history(sql, [(*row, max(now, row[-1] + 1)) for row in old_images])
                statements.remove(sql, gone)
                left = statements.left(sql, inserted)
                statements.upsert(sql, [(*incoming[key], max(now, left.get(key, now))) for key in inserted])
                statements.upsert(sql, [(*incoming[key], _since(now, current[key])) for key in updated])
                self._feed(sql, stream, run_id, now, change.schema, (inserted, updated, gone))
            before = applied.counts.get(name, Counts())
            counts = Counts(len(inserted), len(updated), len(gone), unchanged)
            applied.counts[name] = Counts(*(a + b for a, b in zip(before, counts, strict=True)))

    def _feed(
        self, sql: SqlConnection, stream: Stream, run_id: str, now: int, schema: type[Dataset],
        keys: tuple[list[Any], list[Any], list[Any]],
    ) -> None:  # fmt: skip
        """One row of the change feed; its tenant is empty for what belongs to nobody."""
        name = schema.dataset_name()
        tenant = next(iter(itertools.chain(*keys)))[0] if schema.key()[0] == "tenant_id" else ""
        inserted, updated, removed = (json.dumps(part, separators=(",", ":")) for part in keys)
        changed(
            sql,
            "INSERT INTO changes (changed_at, dataset, tenant_id, connection_id, run_id, inserted, updated, removed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (now, name, tenant, stream.connection_id, run_id, inserted, updated, removed),
        )

    def _keep_books(self, sql: SqlConnection, books: Sequence[Book]) -> None:
        for book in books:
            if isinstance(book, Forgotten):
                self._forget(sql, book)
        kept = [book for book in books if not isinstance(book, Forgotten)]
        for book in sorted(kept, key=lambda book: book.schema.dataset_name()):  # all who write take the same order
            encoded = (
                encode_records(book.rows, book.schema) if isinstance(book, Records) else encode(book.rows, book.schema)
            )
            self._of(book.schema).upsert(sql, encoded)

    def _quarantine(self, sql: SqlConnection, connection_id: str, run_id: str, evidence: Sequence[Sealed]) -> None:
        if not evidence:
            return
        tenant = sql.scalar(
            select(tables.CONNECTIONS.c.tenant_id).where(tables.CONNECTIONS.c.connection_id == connection_id)
        )
        now = micros(self._now())
        sql.execute(
            SEEN_AGAIN,
            [
                {
                    "quarantine_id": item.id or f"{run_id}-{uuid.uuid4().hex}", "tenant_id": tenant,
                    "connection_id": connection_id,
                    "dataset": item.dataset, "run_id": run_id, "at": now, "reason": item.reason, "body": item.body,
                    "kind": item.kind,
                }
                for item in evidence
            ],
        )  # fmt: skip
        self._bound(sql, connection_id)

    def _bound(self, sql: SqlConnection, connection_id: str) -> None:
        """However much a vendor sends that cannot be used, a connection's evidence stays of a size."""
        q = tables.QUARANTINE.c
        newest = (
            select(q.quarantine_id).where(q.connection_id == connection_id)
            .order_by(q.at.desc(), q.quarantine_id).limit(EVIDENCE_KEPT)
        )  # fmt: skip
        sql.execute(delete(tables.QUARANTINE).where(q.connection_id == connection_id, q.quarantine_id.not_in(newest)))

    def _forget(self, sql: SqlConnection, book: Forgotten) -> None:
        q = tables.QUARANTINE.c
        for begin in book.begins:
            begins = func.substr(q.quarantine_id, 1, len(begin)) == begin
            sql.execute(delete(tables.QUARANTINE).where(q.connection_id == book.connection_id, begins))

    def record(
        self, books: Sequence[Book], quarantined: Sequence[Sealed] = (), *, connection_id: str, run_id: str = "none"
    ) -> None:
        with self.writing() as sql:
            if _generation(sql, connection_id) is None:  # erased meanwhile: nothing of it may come back
                return
            self._keep_books(sql, books)
            self._quarantine(sql, connection_id, run_id, quarantined)

    def _of(self, schema: type[Dataset]) -> Statements:
        name = schema.dataset_name()
        if name not in self._statements:
            self._statements[name] = self._dialect.statements(schema, history=name in SYNCED)
        return self._statements[name]

    # -- reading ---------------------------------------------------------------------------------------------------

    def cursor(self, stream: Stream, generation: int) -> Cursor:
        """The stream's cursor; its body starts anew when the credential is of another generation."""
        with self.reading() as sql:
            found = fetched(
                sql,
                "SELECT version, generation, body, run_id FROM cursors WHERE connection_id = ? AND dataset = ?",
                stream,
            )
        if not found:
            return Cursor(generation=generation)
        known = Cursor(*found[0])
        return known if known.generation == generation else Cursor(known.version, generation)

    def rows(self, schema: type[Dataset], where: Mapping[str, Any]) -> pl.DataFrame:
        return decode(self._found(schema, where), schema.dtypes())

    def records(self, schema: type[Dataset], where: Mapping[str, Any]) -> list[dict[str, Any]]:
        dtypes = schema.dtypes()
        return [decode_record(row, dtypes) for row in self._found(schema, where)]

    def values(self, schema: type[Dataset], columns: Sequence[str], where: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._found(schema, where, tuple(columns))

    def _found(
        self, schema: type[Dataset], where: Mapping[str, Any], columns: tuple[str, ...] | None = None
    ) -> list[tuple[Any, ...]]:
        asked = [(name, *_comparison(value)) for name, value in where.items()]
        text = _lookup(schema, columns, tuple((name, condition) for name, condition, _ in asked))
        with self.reading() as sql:
            return fetched(sql, text, tuple(value for *_, value in asked if value is not None))

    def read(
        self, schema: type[Dataset], query: Query, columns: Sequence[str] | None = None, limit: int | None = None
    ) -> Iterator[pl.DataFrame]:
        dtypes = read_dtypes(schema, history=query.history)
        wanted = {name: dtypes[name] for name in (columns if columns is not None else dtypes)}
        statement = _select(schema, query, list(wanted))
        if limit is not None:
            statement = statement.limit(limit)
        # a snapshot of its own: who iterates may do so in another thread, or never come to the end
        with self._snapshot() as sql, sql.execution_options(yield_per=READ_BATCH).execute(statement) as result:
            empty = True
            for part in result.partitions():
                empty = False
                yield decode([tuple(row) for row in part], wanted)
            if empty:
                yield decode([], wanted)

    def check(self, schema: type[Dataset], query: Query) -> None:
        _select(schema, query, [])

    def changes(self, since: int = 0, *, connection: str | None = None) -> pl.DataFrame:
        statement = select(tables.CHANGES).where(tables.CHANGES.c.seq > since).order_by(tables.CHANGES.c.seq)
        if connection is not None:
            statement = statement.where(tables.CHANGES.c.connection_id == connection)
        outer = self._outer.get()
        if outer is None or outer.get_execution_options().get("begin") != "IMMEDIATE":  # who writes knows its own
            with rim(self.url):
                settled = self._dialect.settled(self._engine)
            if settled is not None:
                statement = statement.where(tables.CHANGES.c.seq <= settled)
                outer = None  # the transaction around may be older than that
        with self.reading() if outer is not None else self._snapshot() as sql:
            found = sql.execute(statement).fetchall()
        rows = [
            (row.seq, row.changed_at, row.dataset, op, [_key_part(part) for part in key], row.run_id)
            for row in found
            for op in ("inserted", "updated", "removed")
            for key in json.loads(getattr(row, op))
        ]
        schema: dict[str, Any] = {
            "seq": pl.Int64, "changed_at": pl.Int64, "dataset": pl.String, "op": pl.String,
            "key": pl.List(pl.String), "run_id": pl.String,
        }  # fmt: skip
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_columns(pl.from_epoch("changed_at", time_unit="us").cast(INSTANT))

    # -- pages that wait, names that changed, erasure --------------------------------------------------------------

    def stage_pages(self, stream: Stream, generation: int, pages: Sequence[StagedPage]) -> None:
        rows = [(*stream, generation, p.subject, p.n, p.position, p.status, micros(p.staged_at), p.body) for p in pages]
        with self.writing() as sql:
            # else erased or relinked meanwhile: nothing of it may come back
            if _generation(sql, stream.connection_id) == generation:
                many(
                    sql,
                    "INSERT INTO staged_pages "
                    "(connection_id, dataset, generation, subject, n, position, status, staged_at, body) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (connection_id, dataset, generation, subject, n) "
                    "DO UPDATE SET position = excluded.position, status = excluded.status, "
                    "staged_at = excluded.staged_at, body = excluded.body",
                    rows,
                )

    def staged_pages(self, stream: Stream, generation: int) -> list[StagedPage]:
        with self.reading() as sql:
            found = fetched(
                sql,
                "SELECT subject, n, position, status, body, staged_at FROM staged_pages "
                "WHERE connection_id = ? AND dataset = ? AND generation = ? ORDER BY subject, n",
                (*stream, generation),
            )
        return [
            StagedPage(subject, n, position, status, body, from_micros(at))
            for subject, n, position, status, body, at in found
        ]

    def unstage(self, stream: Stream) -> None:
        with self.writing() as sql:
            changed(sql, "DELETE FROM staged_pages WHERE connection_id = ? AND dataset = ?", stream)

    def quarantined(self, connection: str | None = None) -> list[Kept]:
        q = tables.QUARANTINE.c
        shown = (q.quarantine_id, q.tenant_id, q.connection_id, q.dataset, q.run_id, q.at, q.reason, q.kind)
        statement = select(*shown).order_by(q.at.desc(), q.quarantine_id)
        if connection is not None:
            statement = statement.where(q.connection_id == connection)
        with self.reading() as sql:
            return [
                Kept(qid, tenant, owner, dataset, run_id, from_micros(at), reason, kind)
                for qid, tenant, owner, dataset, run_id, at, reason, kind in sql.execute(statement)
            ]

    def evidence(self, quarantine_id: str) -> bytes | None:
        q = tables.QUARANTINE.c
        with self.reading() as sql:
            body: bytes | None = sql.scalar(select(q.body).where(q.quarantine_id == quarantine_id))
            return body

    def instruments_held(self, tenant: str) -> list[str]:
        parts = [
            select(table.c.instrument).where(table.c.tenant_id == tenant, table.c.instrument.is_not(None))
            for table in (tables.TABLES["holdings"], tables.HISTORY["holdings"], tables.TABLES["activities"])
        ]
        with self.reading() as sql:
            return sorted(sql.scalars(union(*parts)))

    def holders(self, tenant: str) -> dict[str, int]:
        with self.reading() as sql:
            rows = fetched(
                sql,
                "SELECT instrument, COUNT(DISTINCT account_id) FROM holdings "
                "WHERE tenant_id = ? AND instrument IS NOT NULL GROUP BY instrument",
                (tenant,),
            )
        return {instrument: int(count) for instrument, count in rows}

    def aliases(self, connection_id: str) -> dict[str, dict[str, str]]:
        with self.reading() as sql:
            found = fetched(
                sql,
                "SELECT kind, vendor_id, id FROM aliases WHERE connection_id = ? "
                "AND kind IN ('account', 'persistent', 'login') ORDER BY valid_from, vendor_id",
                (connection_id,),
            )
            many = fetched(
                sql,
                "SELECT DISTINCT kind FROM aliases WHERE connection_id = ? AND kind IN ('transaction', 'activity')",
                (connection_id,),
            )
        aliases: dict[str, dict[str, str]] = {kind: {} for (kind,) in many}
        for kind, vendor_id, ours in found:
            aliases.setdefault(kind, {})[vendor_id] = ours
        return aliases

    def names(
        self, kind: str, *, vendor_ids: Sequence[str] | None = None, ids: Sequence[str] | None = None,
        tenant: str | None = None, connection: str | None = None,
    ) -> list[Learned]:  # fmt: skip
        a = tables.ALIASES.c
        column, values = (a.vendor_id, vendor_ids) if vendor_ids is not None else (a.id, ids or ())
        query = select(a.kind, a.vendor_id, a.id, a.reason, a.tenant_id, a.connection_id, a.valid_from)
        query = query.where(a.kind == kind)
        for owner, value in ((a.tenant_id, tenant), (a.connection_id, connection)):
            query = query if value is None else query.where(owner == value)
        found: list[Any] = []
        with self.reading() as sql:
            for start in range(0, len(values), KEYS_PER_SELECT):
                found += sql.execute(query.where(column.in_(values[start : start + KEYS_PER_SELECT]))).all()
        found.sort(key=lambda row: (row.valid_from, row.vendor_id))
        return [
            Learned(Alias(*row[:4]), row.tenant_id, row.connection_id, from_micros(row.valid_from)) for row in found
        ]

    def places(self, schema: type[Dataset], columns: Sequence[str], where: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        name = schema.dataset_name()
        parts = [
            select(*(table.c[column] for column in columns)).where(*(table.c[k] == v for k, v in where.items()))
            for table in (tables.TABLES[name], tables.HISTORY[name])
        ]
        with self.reading() as sql:
            return sorted(tuple(row) for row in sql.execute(union(*parts)))

    def symbol_aliases(self, provider: str | None = None) -> list[SymbolAlias]:
        a = tables.SYMBOL_ALIASES.c
        query = select(a.provider, a.symbol, a.instrument, a.reason, a.valid_from, a.valid_to)
        query = query if provider is None else query.where(a.provider == provider)
        with self.reading() as sql:
            found = sql.execute(query.order_by(a.provider, a.symbol, a.valid_from)).all()
        return [
            SymbolAlias(r.provider, r.symbol, r.instrument, r.reason, _day(r.valid_from), _day(r.valid_to))
            for r in found
        ]

    def say_symbol(self, alias: SymbolAlias, now: datetime) -> None:
        a, first = tables.SYMBOL_ALIASES.c, alias.valid_from.isoformat() if alias.valid_from else ""
        with self.writing(alone=True) as sql:
            for other in self.symbol_aliases(alias.provider):
                same = other.symbol == alias.symbol
                if same and other.valid_from != alias.valid_from and overlapping(other, alias):
                    raise UsageError(
                        f"{alias.provider} symbol {alias.symbol!r} already means {other.instrument} "
                        f"from {other.valid_from or 'ever'} to {other.valid_to or 'now'}; end that one first, with --to"
                    )
            mine = (a.provider == alias.provider, a.symbol == alias.symbol, a.valid_from == first)
            sql.execute(delete(tables.SYMBOL_ALIASES).where(*mine))
            row = {
                "provider": alias.provider, "symbol": alias.symbol, "valid_from": first, "reason": alias.reason,
                "valid_to": alias.valid_to.isoformat() if alias.valid_to else None, "instrument": alias.instrument,
                "recorded_at": micros(now),
            }  # fmt: skip
            sql.execute(tables.SYMBOL_ALIASES.insert().values(row))

    def idle_connections(self, tenant: str) -> list[str]:
        with self.reading() as sql:
            query = "SELECT connection_id FROM connections WHERE tenant_id = ? AND state <> 'active'"
            return [row[0] for row in fetched(sql, query, (tenant,))]

    def held(self, schema: type[Dataset], keys: Sequence[tuple[str, ...]]) -> pl.DataFrame:
        width = len(schema.dtypes())
        with self.reading() as sql:
            rows = self._of(schema).current(sql, keys)
        return decode([row[:width] for row in rows.values()], schema.dtypes())

    def _name(self, sql: SqlConnection, connection_id: str, aliases: Sequence[Alias]) -> None:
        """Names that were learned; one that is learned again is the newest from now on."""
        if not aliases:
            return
        [(tenant,)] = fetched(sql, "SELECT tenant_id FROM connections WHERE connection_id = ?", (connection_id,))
        now = micros(self._now())
        many(
            sql,
            "INSERT INTO aliases (tenant_id, connection_id, kind, vendor_id, id, valid_from, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, connection_id, kind, vendor_id) "
            "DO UPDATE SET id = excluded.id, valid_from = excluded.valid_from, reason = excluded.reason",
            sorted((tenant, connection_id, a.kind, a.vendor_id, a.id, now, a.reason) for a in aliases),
        )

    def erase(self, connection_id: str) -> int:
        with self.writing(alone=True) as sql:
            count = 0
            self._read_anew(sql, connection_id)
            changes = tables.CHANGES  # what belongs to nobody stays, and so does what the feed says of it
            sql.execute(
                changes.update()
                .where(changes.c.connection_id == connection_id, changes.c.tenant_id == "")
                .values(connection_id="")
            )
            for table in tables.OWNED_BY_CONNECTION:
                count += sql.execute(delete(table).where(table.c.connection_id == connection_id)).rowcount
        with rim(self.url):
            self._dialect.erased(self._engine, connection_id)
        return count

    def _read_anew(self, sql: SqlConnection, connection_id: str) -> None:
        """Streams of other connections that share accounts with this one start anew: their rows go with its rows."""
        cursors = tables.CURSORS
        # the last to deliver a row owns it: of one account the row may be one link's and its transactions another's
        owned = [table for table in tables.TABLES.values() if {"account_id", "connection_id"} <= set(table.c.keys())]
        shared = sql.scalars(
            union(*(select(table.c.account_id).where(table.c.connection_id == connection_id) for table in owned))
        ).all()
        others = select(tables.CONNECTIONS.c.connection_id).where(
            tables.CONNECTIONS.c.tenant_id.in_(
                select(tables.CONNECTIONS.c.tenant_id).where(tables.CONNECTIONS.c.connection_id == connection_id)
            )
        )
        for row in sql.execute(select(cursors).where(cursors.c.connection_id.in_(others))).fetchall():
            if any(account in row.body for account in map(json.dumps, shared)):
                sql.execute(
                    delete(cursors).where(
                        cursors.c.connection_id == row.connection_id, cursors.c.dataset == row.dataset
                    )
                )


# -- helpers -------------------------------------------------------------------------------------------------------


@contextmanager
def rim(url: str) -> Iterator[None]:
    """Errors of the driver become ours, with the database's name and no statement or value in the message."""
    try:
        yield
    except (DBAPIError, PoolTimeout, DisconnectionError, sqlite3.Error) as error:
        raise _failed(url, getattr(error, "orig", None) or error) from None
    except Exception as error:
        if not type(error).__module__.startswith("psycopg"):  # which is not imported where it is not used
            raise
        raise _failed(url, error) from None


def _failed(url: str, error: BaseException) -> StoreError:
    cause, remedy = _cause(error)
    return StoreError(f"the database {shown(url)} failed: {cause}; {remedy}")


def _cause(error: BaseException) -> tuple[str, str]:
    """What happened, in one line without a value, and what helps."""
    if isinstance(error, PoolTimeout):
        return "all its connections are in use", "the work is kept and tried again"
    state = getattr(error, "sqlstate", None)
    if state is not None:
        primary = error.diag.message_primary or type(error).__name__  # type: ignore[attr-defined]
        # the message about a value that does not fit shows it
        cause = f"{type(error).__name__} ({state})" if state[:2] in ("22", "23") else primary
        return cause, _REMEDIES.get(state, _REMEDIES.get(state[:2], "the work is kept and tried again"))
    cause = " ".join(str(error).split("\n", 1)[0].rsplit("FATAL:", 1)[-1].split())
    return cause, _remedy(cause)


_REMEDIES = {
    "08": "the server is away or restarts; the work is kept and tried again",
    "57": "the server is away or restarts; the work is kept and tried again",
    "40": "another writer was in the way; the work is kept and tried again",
    "53": "give the server more room; nothing was half written and the work is tried again",
    "28": "correct user and password in its URL",
    "3D000": "create the database first, then run fin-infra migrate",
    "42P01": "run fin-infra migrate",
    "42703": "run fin-infra migrate",
    "42501": "give this user the right to use the schema fin_infra",
}


def _remedy(cause: str) -> str:
    if "full" in cause or "disk I/O" in cause:
        return "free some space; nothing was half written and the work is tried again"
    if "locked" in cause or "busy" in cause:
        return "another process holds it for long; the work is tried again"
    if "readonly" in cause or "unable to open" in cause:
        return "give this user the right to write the file and its folder"
    if "authentication" in cause or "role" in cause or 'database "' in cause:
        return "correct its URL, or make what it names"
    if "connection" in cause or "server" in cause or "database system" in cause:
        return "the server is away or restarts; the work is kept and tried again"
    return "the work is kept and tried again"


def shown(url: str) -> str:
    """A database's address for people: a file's path, or host and name; never a user or a password."""
    if url.startswith("sqlite"):
        return url.removeprefix("sqlite:///").split("?")[0]
    try:
        parts = make_url(url)
    except ArgumentError:
        return "at that URL"
    host = parts.host or parts.query.get("host", "localhost")
    return f"{parts.database or ''} at {host if isinstance(host, str) else ', '.join(host)}".strip()


def _chunks(batch: Batch) -> list[list[Change]]:
    """The changes in transactions of at most `CHUNK` rows; one transaction when the batch is atomic or small."""
    if batch.atomic or sum(c.rows.height + len(c.removed) for c in batch.changes) <= CHUNK:
        return [list(batch.changes)]
    chunks: list[list[Change]] = []
    for change in batch.changes:
        for start in range(0, change.rows.height, CHUNK):
            chunks.append([Change(change.schema, change.rows.slice(start, CHUNK))])
        for start in range(0, len(change.removed), CHUNK):
            gone = change.removed[start : start + CHUNK]
            chunks.append([Change(change.schema, change.rows.clear(), gone)])
    return chunks


def _since(now: int, old: tuple[Any, ...] | None) -> int:
    """From when this version is known: never before the one it replaces, even if the clock went back."""
    return now if old is None else max(now, old[-1] + 1)


def _generation(sql: SqlConnection, connection_id: str) -> int | None:
    """Of the connection's credential; None when it was erased."""
    found = fetched(sql, "SELECT generation FROM connections WHERE connection_id = ?", (connection_id,))
    return found[0][0] if found else None


def _comparison(value: Any) -> tuple[str, Any]:
    """The condition on a column, `{}`, and its value as the database has it."""
    if value is None:
        return "{} IS NULL", None
    operator, operand = value if isinstance(value, tuple) else ("=", value)
    return ("({0} >= ? OR {0} IS NULL)" if operator == ">= or null" else f"{{}} {operator} ?"), _stored(operand)


@cache
def _lookup(schema: type[Dataset], columns: tuple[str, ...] | None, conditions: tuple[tuple[str, str], ...]) -> str:
    """The query for current rows, as text: building it anew costs more than running it."""
    table = tables.TABLES[schema.dataset_name()]
    shown = ", ".join(f'"{table.c[name].name}"' for name in columns or schema.dtypes())
    where = " AND ".join(condition.format(f'"{table.c[name].name}"') for name, condition in conditions)
    return f"SELECT {shown} FROM {table.name} WHERE {where or 'TRUE'}"


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return micros(value)
    return value.isoformat() if isinstance(value, date) else value


def read_dtypes(schema: type[Dataset], *, history: bool) -> dict[str, pl.DataType]:
    """Columns of a read; with `history` also when each version was known."""
    return {**schema.dtypes(), **({"known_from": INSTANT, "known_to": INSTANT} if history else {})}


def _select(schema: type[Dataset], query: Query, columns: list[str]) -> Any:
    name = schema.dataset_name()
    current = tables.TABLES[name]
    if query.history and query.as_of:
        raise UsageError("history has all versions and as_of those of one instant: ask for one of the two")
    if (query.history or query.as_of) and name not in SYNCED:
        raise UsageError(f"{name} has no history; as_of and history work for: {', '.join(SYNCED)}")
    key = schema.key()

    def part(table: Table, *more: Any) -> Any:
        picked = [
            table.c[column] if column in table.c else null().label(column)
            for column in dict.fromkeys([*columns, *key, *(["known_from"] if query.history else [])])
        ]
        return select(*picked).where(*_filters(table, name, query), *more)

    if not (query.history or query.as_of):
        return part(current).order_by(*(current.c[k] for k in key)).with_only_columns(*(current.c[c] for c in columns))
    past = tables.HISTORY[name]
    if query.history:
        both = union_all(part(current), part(past)).subquery()
        order = [*(both.c[k] for k in key), both.c.known_from]
    else:
        at = micros(query.as_of) if query.as_of else 0
        both = union_all(
            part(current, current.c.known_from <= at),
            part(past, past.c.known_from <= at, past.c.known_to > at),
        ).subquery()
        order = [both.c[k] for k in key]
    return select(*(both.c[c] for c in columns)).order_by(*order)


def _filters(table: Table, name: str, query: Query) -> list[Any]:
    found: list[Any] = []
    for column, value in (("tenant_id", query.tenant), ("connection_id", query.connection)):
        if value is not None:
            if column not in table.c:
                raise UsageError(f"{name} belong to no tenant and no connection: they are the same for everyone")
            found.append(table.c[column] == value)
    for column, values in (("account_id", query.accounts), ("instrument", query.instruments)):
        if values is not None:
            if column == "instrument" and {"base", "quote"} <= set(
                table.c.keys()
            ):  # a pair is an instrument: fx:EURUSD
                found.append((literal("fx:") + table.c.base + table.c.quote).in_(list(values)))
                continue
            if column not in table.c:
                what = "accounts" if column == "account_id" else "instruments"
                raise UsageError(f"{name} has no {what} to filter by")
            found.append(table.c[column].in_(list(values)))
    if query.since is not None or query.until is not None:
        if name not in TIME_COLUMN:
            raise UsageError(f"{name} has no date to filter by; since and until work for: {', '.join(TIME_COLUMN)}")
        when = table.c[TIME_COLUMN[name]]
        if query.since is not None:
            found.append(when >= _first_of(query.since, when))
        if query.until is not None:
            if isinstance(when.type, Text):
                found.append(when <= query.until.isoformat())
            else:
                found.append(when <= micros(datetime.combine(query.until, time.max, UTC)))
    return found


def _first_of(day: date, column: Any) -> str | int:
    """The day's begin as the column stores it: a date, or its first microsecond in UTC."""
    return day.isoformat() if isinstance(column.type, Text) else micros(datetime.combine(day, time(), UTC))


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _key_part(part: str | int) -> str:
    """A part of a key as text; an instant, which the store keeps as microseconds, as ISO 8601."""
    return part if isinstance(part, str) else from_micros(part).isoformat()
