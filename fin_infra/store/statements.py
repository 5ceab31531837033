"""The SQL of one dataset's table, made once and run as plain executemany: binding through the ORM layer costs twice.

Marks are `?` everywhere. `Dialect` is the one seam between SQLite, which is here, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine

from fin_infra.datasets.base import Dataset
from fin_infra.errors import StoreError

KEYS_PER_SELECT = 500


class Statements:
    """Reads, writes and retires rows of one dataset. Rows are tuples in schema order, `known_from` behind."""

    def __init__(self, schema: type[Dataset], *, history: bool) -> None:
        name = schema.dataset_name()
        columns = list(schema.dtypes())
        key = schema.key()
        self.key_width = len(key)
        compared = set(schema.compared())
        self._compared = [index for index, column in enumerate(columns) if column in compared]
        stored = [*columns, "known_from"] if history else columns
        self._columns = ", ".join(f"t.{_q(c)}" for c in stored)
        self._name, self._key = name, key
        updates = ", ".join(f"{_q(c)} = excluded.{_q(c)}" for c in stored if c not in key)
        self._upsert = (
            f"INSERT INTO {name} ({', '.join(map(_q, stored))}) VALUES ({_marks(len(stored))}) "
            f"ON CONFLICT ({', '.join(map(_q, key))}) DO UPDATE SET {updates}"
        )
        self._delete = f"DELETE FROM {name} WHERE " + " AND ".join(f"{_q(c)} = ?" for c in key)
        past = [*columns, "known_from", "known_to"]
        self._history = (
            f"INSERT INTO {name}_history ({', '.join(map(_q, past))}) VALUES ({_marks(len(past))}) "
            f"ON CONFLICT ({', '.join(map(_q, [*key, 'known_from']))}) DO NOTHING"
        )

    def same(self, new: tuple[Any, ...], old: tuple[Any, ...]) -> bool:
        """Whether two rows are equal but for what changes with every answer."""
        return all(new[i] == old[i] for i in self._compared)

    def current(self, sql: SqlConnection, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Current rows by key."""
        found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for start in range(0, len(keys), KEYS_PER_SELECT):
            part = keys[start : start + KEYS_PER_SELECT]
            names = ", ".join(map(_q, self._key))
            on = " AND ".join(f"t.{_q(c)} = k.{_q(c)}" for c in self._key)
            values = ", ".join([f"({_marks(len(self._key))})"] * len(part))
            rows = fetched(
                sql,
                f"WITH k ({names}) AS (VALUES {values}) "
                f"SELECT {self._columns} FROM k CROSS JOIN {self._name} t ON {on}",
                tuple(value for key in part for value in key),
            )
            for row in rows:
                found[row[: self.key_width]] = row
        return found

    def left(self, sql: SqlConnection, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
        """Until when the last version of each key was known, of those that were known before."""
        found: dict[tuple[Any, ...], int] = {}
        for start in range(0, len(keys), KEYS_PER_SELECT):
            part = keys[start : start + KEYS_PER_SELECT]
            names = ", ".join(map(_q, self._key))
            on = " AND ".join(f"t.{_q(c)} = k.{_q(c)}" for c in self._key)
            values = ", ".join([f"({_marks(len(self._key))})"] * len(part))
            shown = ", ".join(f"t.{_q(c)}" for c in self._key)
            rows = fetched(
                sql,
                f"WITH k ({names}) AS (VALUES {values}) SELECT {shown}, MAX(t.known_to) "
                f"FROM k CROSS JOIN {self._name}_history t ON {on} GROUP BY {shown}",
                tuple(value for key in part for value in key),
            )
            found |= {row[: self.key_width]: int(row[-1]) for row in rows}
        return found

    def upsert(self, sql: SqlConnection, rows: list[tuple[Any, ...]]) -> None:
        many(sql, self._upsert, rows)

    def remove(self, sql: SqlConnection, keys: list[tuple[Any, ...]]) -> None:
        many(sql, self._delete, keys)

    def to_history(self, sql: SqlConnection, rows: list[tuple[Any, ...]]) -> None:
        many(sql, self._history, rows)


class Dialect:
    """What engines do differently: SQLite's side, in which most is nothing, for there one process writes at a time."""

    def statements(self, schema: type[Dataset], *, history: bool) -> Statements:
        return Statements(schema, history=history)

    def reader(self, engine: Engine) -> Engine:
        """The engine whose transactions see one state."""
        return engine

    def begin(self, sql: SqlConnection, *, alone: bool) -> None:
        """A transaction that writes begins; `alone`: nobody else writes until it ends."""

    def claim(self, sql: SqlConnection, keys: Iterable[tuple[str, Sequence[tuple[Any, ...]]]]) -> None:
        """Until the transaction ends nobody else reads these keys of datasets to write them, whether held or not."""

    def settled(self, engine: Engine) -> int | None:
        """Up to where the change feed is whole; None: all of it."""
        return None

    def erased(self, engine: Engine, connection_id: str) -> None:
        """Rows were erased: their bytes go too, where that is in our hands."""
        with engine.connect() as sql:  # the write-ahead log still holds them
            busy = sql.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar()
        if busy:
            raise StoreError(
                f"everything of {connection_id} was erased, but a long read keeps the log of {engine.url.database} "
                "open, which still holds it; end that read and erase again"
            )


def fetched(sql: SqlConnection, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of a query, in the transaction of `sql` but straight from its driver.

    A lookup that takes the driver two microseconds takes seventy as a Core expression, and a run makes a score of them.
    """
    rows: list[tuple[Any, ...]] = sql.connection.driver_connection.execute(text, values).fetchall()  # type: ignore[union-attr]
    return rows


def changed(sql: SqlConnection, text: str, values: Sequence[Any]) -> int:
    """How many rows a statement changed; see `fetched`."""
    count: int = sql.connection.driver_connection.execute(text, values).rowcount  # type: ignore[union-attr]
    return count


def many(sql: SqlConnection, statement: str, rows: list[tuple[Any, ...]]) -> None:
    """A statement for each of the rows; see `fetched`."""
    if rows:
        sql.connection.driver_connection.executemany(statement, rows)  # type: ignore[union-attr]


def _q(name: str) -> str:
    return f'"{name}"'


def _marks(count: int) -> str:
    return ", ".join("?" * count)
