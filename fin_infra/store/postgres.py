"""PostgreSQL: our own schema in the database of an application, the same statements, locks in one order.

The driver's connection takes `?` marks as SQLite's does and gives NUMERIC as the text that SQLite holds, so that the
code above knows no dialect. Loaded only for a `postgresql+psycopg://` URL.
"""

from __future__ import annotations

import select
import zlib
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import psycopg
from psycopg.adapt import Loader
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DisconnectionError

from fin_infra.datasets.base import Dataset
from fin_infra.errors import UsageError
from fin_infra.store.statements import Dialect, Statements, changed, fetched
from fin_infra.store.tables import is_amount, is_number

SCHEMA = "fin_infra"
BULK = 200  # rows from which COPY beats arrays
WRITERS = 7_203_001  # advisory locks are numbers, and of the whole database: ours begin here
MIGRATING = 7_203_002
PARTS = 128  # of a dataset's keys; two writers meet only in the same part


class Exact(Loader):
    """NUMERIC as text without idle zeros: the text that SQLite holds for the same number."""

    def load(self, data: Any) -> str:
        return canonical(str(data if isinstance(data, bytes) else bytes(data), "ascii"))


def canonical(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


@lru_cache(maxsize=4096)
def marked(statement: str) -> str:
    """A statement with `?` marks as the driver wants it. No statement of ours has a question mark of its own."""
    return statement.replace("%", "%%").replace("?", "%s")


class Reading(psycopg.ServerCursor[Any]):
    """A read that is broken off leaves its cursor behind. It ends with its transaction, so nobody need be warned."""

    def __del__(self, *_: Any) -> None:
        pass


class Driver(psycopg.Connection[Any]):
    """The driver's connection with the calls that sqlite3's has, so that raw statements are the same on both."""

    def __del__(self, *_: Any) -> None:
        """As above: a connection whose read was broken off is closed without a word."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> psycopg.Cursor[Any]:
        return super().execute(marked(query) if params is not None else query, params, **more)

    def executemany(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        with self.cursor() as cursor:
            cursor.executemany(marked(query), rows)


def postgres_engine(url: str, variable: str) -> Engine:
    """An engine whose connections work in our schema, and that never hands out one that the server has left."""
    try:
        engine = create_engine(url, hide_parameters=True, pool_size=8, max_overflow=56)
    except ArgumentError:
        raise UsageError(f"{variable} is no URL; write postgresql+psycopg://USER@HOST/DATABASE") from None

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, args: Any, more: Any) -> Driver:
        connection = Driver.connect(*args, **{"application_name": "fin_infra", **more})
        connection.server_cursor_factory = Reading
        connection.adapters.register_loader("numeric", Exact)
        connection.autocommit = True  # a setting made in a transaction goes with it
        connection.execute(f"SET search_path TO {SCHEMA}; SET client_min_messages TO warning")
        connection.autocommit = False
        return connection

    @event.listens_for(engine, "checkout")
    def alive(connection: Any, _: Any, __: Any) -> None:
        """An idle connection has nothing to read, unless the server said goodbye: a look at the socket, no question."""
        idle = select.poll()
        if not connection.closed:
            idle.register(connection.fileno(), select.POLLIN | select.POLLHUP)
        if connection.closed or idle.poll(0):
            raise DisconnectionError

    return engine


def own_schema(sql: SqlConnection) -> None:
    """Our schema, and nobody else changing it until the transaction ends."""
    fetched(sql, "SELECT pg_advisory_xact_lock(?)", (MIGRATING,))
    if not fetched(sql, "SELECT 1 FROM pg_namespace WHERE nspname = ?", (SCHEMA,)):  # the owner may have made it for us
        sql.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")


class Postgres(Dialect):
    """Many write at once, so what SQLite's one writer has for nothing is locked here, always in the same order:
    first that one writes, then the parts of the data that are written, then rows, sorted by key."""

    def statements(self, schema: type[Dataset], *, history: bool) -> Statements:
        return PostgresStatements(schema, history=history)

    def reader(self, engine: Engine) -> Engine:
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def begin(self, sql: SqlConnection, *, alone: bool) -> None:
        fetched(sql, f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}(?)", (WRITERS,))

    def claim(self, sql: SqlConnection, keys: Iterable[tuple[str, Sequence[tuple[Any, ...]]]]) -> None:
        parts = {(name, part) for name, some in keys for part in {_part(key) for key in some}}
        if not parts:
            return
        numbered = sorted((_number(name), part) for name, part in parts)
        fetched(
            sql,
            "SELECT pg_advisory_xact_lock(k.name, k.part) FROM unnest(?::int[], ?::int[]) AS k (name, part)",
            ([name for name, _ in numbered], [part for _, part in numbered]),
        )

    def settled(self, engine: Engine) -> int:
        """Numbers are given before the commit, so a lower one may still come: wait for who writes now."""
        with engine.begin() as sql:
            self.begin(sql, alone=True)
            return int(fetched(sql, "SELECT COALESCE(MAX(seq), 0) FROM changes")[0][0])

    def erased(self, engine: Engine, connection_id: str) -> None:
        """Nothing to do at once: the server's own vacuum overwrites what was deleted; see the operator's page."""


def _part(key: tuple[Any, ...]) -> int:
    """The part of an account's rows, or of an instrument's."""
    return zlib.crc32("\x1f".join(map(str, key[:2])).encode()) % PARTS


@cache
def _number(name: str) -> int:
    return zlib.crc32(name.encode()) % 2**31


class PostgresStatements(Statements):
    """A batch is one statement with an array for each column; long ones come by COPY."""

    def __init__(self, schema: type[Dataset], *, history: bool) -> None:
        super().__init__(schema, history=history)
        dtypes = schema.dtypes()
        types = {name: "numeric" if is_amount(dtype) else "bigint" if is_number(dtype) else "text"
                 for name, dtype in dtypes.items()}  # fmt: skip
        types |= {"known_from": "bigint", "known_to": "bigint"}
        self._key_types = [types[name] for name in self._key]
        names = ", ".join(map(_q, self._key))
        arrays = ", ".join(f"?::{kind}[]" for kind in self._key_types)
        on = " AND ".join(f"t.{_q(c)} = k.{_q(c)}" for c in self._key)
        shown = ", ".join(f"t.{_q(c)}" for c in self._key)
        self._current = f"SELECT {self._columns} FROM unnest({arrays}) AS k ({names}) JOIN {self._name} t ON {on}"
        self._left = (
            f"SELECT {shown}, MAX(t.known_to) FROM unnest({arrays}) AS k ({names}) "
            f"JOIN {self._name}_history t ON {on} GROUP BY {shown}"
        )
        self._remove = f"DELETE FROM {self._name} t USING unnest({arrays}) AS k ({names}) WHERE {on}"
        stored = [*dtypes, "known_from"] if history else list(dtypes)
        updates = ", ".join(f"{_q(c)} = excluded.{_q(c)}" for c in stored if c not in self._key)
        self._put = _Put(self._name, stored, types, f"ON CONFLICT ({names}) DO UPDATE SET {updates}")
        self._past = _Put(f"{self._name}_history", [*dtypes, "known_from", "known_to"], types, "ON CONFLICT DO NOTHING")

    def current(self, sql: SqlConnection, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        if not keys:
            return {}
        return {row[: self.key_width]: row for row in fetched(sql, self._current, _turned(keys))}

    def left(self, sql: SqlConnection, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
        if not keys:
            return {}
        return {row[: self.key_width]: int(row[-1]) for row in fetched(sql, self._left, _turned(keys))}

    def upsert(self, sql: SqlConnection, rows: list[tuple[Any, ...]]) -> None:
        last = {row[: self.key_width]: row for row in rows}  # a statement touches a row once: the last one counts
        self._put.run(sql, [last[key] for key in sorted(last)])

    def remove(self, sql: SqlConnection, keys: list[tuple[Any, ...]]) -> None:
        if keys:
            changed(sql, self._remove, _turned(keys))

    def to_history(self, sql: SqlConnection, rows: list[tuple[Any, ...]]) -> None:
        self._past.run(sql, rows)


class _Put:
    """Rows into one table: few as arrays, many by COPY through a table of this session."""

    def __init__(self, table: str, columns: Sequence[str], types: dict[str, str], conflict: str) -> None:
        names = ", ".join(map(_q, columns))
        arrays = ", ".join(f"?::{types[c]}[]" for c in columns)
        self._few = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {conflict}"
        self._aside = f"incoming_{table}"
        declared = ", ".join(f"{_q(c)} {types[c]}" for c in columns)
        self._make = f"CREATE TEMP TABLE IF NOT EXISTS {self._aside} ({declared}) ON COMMIT DELETE ROWS"
        self._copy = f"COPY pg_temp.{self._aside} ({names}) FROM STDIN"
        self._many = f"INSERT INTO {table} ({names}) SELECT {names} FROM pg_temp.{self._aside} {conflict}"

    def run(self, sql: SqlConnection, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        driver: Any = sql.connection.driver_connection
        if len(rows) < BULK:
            driver.execute(self._few, _turned(rows))
            return
        driver.execute(self._make)  # again and again: a transaction that failed took it along
        with driver.cursor() as cursor:
            with cursor.copy(self._copy) as copy:
                for row in rows:
                    copy.write_row(row)
            cursor.execute(self._many)
            cursor.execute(f"TRUNCATE pg_temp.{self._aside}")


def _turned(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Rows as columns."""
    return tuple(map(list, zip(*rows, strict=True)))


def _q(name: str) -> str:
    return f'"{name}"'
