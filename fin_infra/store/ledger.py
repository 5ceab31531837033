"""`SqlLedger`: the quota ledger on disk, for all processes that share a file or a PostgreSQL.

A SQLite file of its own, not the store's: a call must not wait for a commit of thousands of rows. Plain statements on
the driver's connection, one connection per process. A power cut may forget the last calls, a killed process none.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine

from fin_infra.errors import StoreError, UsageError
from fin_infra.quotas.base import CountingLedger
from fin_infra.quotas.bounds import SECOND, micros, moment
from fin_infra.quotas.counting import FAR, Row, State
from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.windows import Lane, Window
from fin_infra.store.base import Now
from fin_infra.store.opening import _write_ahead, inspect, is_postgres, postgres_driver, sqlite_path
from fin_infra.store.sql import rim, shown

log = logging.getLogger("fin_infra.quotas")
T = TypeVar("T")

VARIABLE = "FIN_INFRA_QUOTA_URL"
MARK = "fin_infra_windows"
VERSION = 1
PATIENCE = 5.0  # seconds for a lock that another process has
LONG = 1.0  # seconds of such a wait after which the next calls are denied at once: a wait holds up all of a process
AGAIN = 5.0  # seconds after which a call is tried again that found the ledger out of reach

KEPT = (
    "mark", "used", "win", "tat", "blocked", "hold_lane", "hold_until", "limit_now", "adapted_at", "total", "others",
    "urgent", "urgent_at", "throttled", "oldest", "reserve", "reserve_until",
)  # fmt: skip
_COLUMNS = ", ".join(f"{name} {'DOUBLE PRECISION' if name == 'urgent' else 'BIGINT'} NOT NULL" for name in KEPT)
SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS fin_infra_windows (key TEXT PRIMARY KEY, {_COLUMNS}, declaration TEXT NOT NULL)",
    # one tree: entries are read by stamp, and a call knows its own
    "CREATE TABLE IF NOT EXISTS fin_infra_entries (key TEXT NOT NULL, stamp BIGINT NOT NULL, entry TEXT NOT NULL, "
    "units BIGINT NOT NULL, sent BIGINT NOT NULL, PRIMARY KEY (key, stamp, entry))",
    "CREATE TABLE IF NOT EXISTS fin_infra_leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until BIGINT NOT NULL)",
)
_READ = f"SELECT key, {', '.join(KEPT)} FROM fin_infra_windows"
_INSERT = f"INSERT INTO fin_infra_windows (key, {', '.join(KEPT)}, declaration) VALUES ({'?, ' * len(KEPT)}?, '')"
_SAVE = f"UPDATE fin_infra_windows SET {', '.join(f'{name} = ?' for name in KEPT)} WHERE key = ?"
_CLOCK = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
_COUNTING = "FROM fin_infra_entries WHERE key = ? AND stamp > ?"
_LEASE = (
    "INSERT INTO fin_infra_leases (name, owner, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
    "SET owner = excluded.owner, until = excluded.until "
    "WHERE fin_infra_leases.owner = excluded.owner OR fin_infra_leases.until <= ? RETURNING name"
)


class _Undone(Exception):
    """What was begun must be undone; the transaction is run again the long way."""


class _Session:
    """A connection, and what the algorithm asks of it within a transaction: see `State`."""

    now: int

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.long_way = False
        self.reading = False
        self._keys: Sequence[str] = ()
        self._ended: dict[str, int] = {}
        self._rows: dict[str, Row] = {}
        self._new: list[str] = []
        self._declared: list[tuple[str, str]] = []

    def moved(self) -> bool:
        """Whether this is no longer the database that others open at its place."""
        return False

    def begin(self, keys: Sequence[str]) -> None:
        self._keys, self._rows = keys, {}
        self._new, self._declared, self._ended = [], [], {}

    def commit(self) -> None:
        if self._rows and not self.reading:
            new, declared = self._new, self._declared
            many = self.connection.executemany
            if new:
                many(_INSERT, [(key, *_values(self._rows[key])) for key in new])
            changed = [(*_values(row), row.key) for row in self._rows.values() if row.changed and row.key not in new]
            if changed:
                many(_SAVE, changed)
            if declared:
                many("UPDATE fin_infra_windows SET declaration = ? WHERE key = ?", declared)
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        self.connection.rollback()

    def row(self, key: str) -> Row:
        rows = self._rows
        if not rows:
            self._load()
        row = rows.get(key)
        if row is None:
            row = rows[key] = Row(key)
            self._new.append(key)
        return row

    def _load(self) -> None:
        raise NotImplementedError

    def declare(self, row: Row, declaration: str) -> None:
        self._declared.append((declaration, row.key))

    def expire(self, key: str, until: int) -> tuple[int, int]:
        execute = self.connection.execute
        if self.reading:  # passed over, and taken out by the next call that is given
            freed = self.units(key, until)
            self._ended[key] = until
        else:
            gone = execute("DELETE FROM fin_infra_entries WHERE key = ? AND stamp <= ? RETURNING units", (key, until))
            freed = sum(units for (units,) in gone.fetchall())
        first = execute(f"SELECT stamp {_COUNTING} ORDER BY stamp LIMIT 1", (key, until)).fetchone()
        return freed, first[0] if first else FAR

    def entries(self, key: str) -> Iterable[tuple[int, int]]:
        found: Iterable[tuple[int, int]] = self.connection.execute(
            f"SELECT stamp, units {_COUNTING} ORDER BY stamp, entry", self._counting(key)
        )
        return found

    def grains(self, key: str, grain: int) -> Sequence[tuple[int, int]]:
        if grain == 1:
            return list(self.entries(key))
        found = self.connection.execute(
            f"SELECT MAX(stamp), CAST(SUM(units) AS BIGINT) {_COUNTING} GROUP BY stamp / {grain:d} ORDER BY 1",
            self._counting(key),
        )
        return cast(Sequence[tuple[int, int]], found.fetchall())

    def units(self, key: str, until: int) -> int:
        found = self.connection.execute(
            f"SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) {_COUNTING} AND stamp <= ?", (*self._counting(key), until)
        )
        return int(found.fetchone()[0])

    def newest(self, key: str) -> int:
        found = self.connection.execute(
            f"SELECT stamp {_COUNTING} ORDER BY stamp DESC LIMIT 1", self._counting(key)
        ).fetchone()
        return found[0] if found else 0

    def _counting(self, key: str) -> tuple[str, int]:
        return key, self._ended.get(key, -FAR)

    def add(self, entry: str, key: str, stamp: int, units: int, *, sent: bool) -> None:
        self.connection.execute(
            "INSERT INTO fin_infra_entries (key, stamp, entry, units, sent) VALUES (?, ?, ?, ?, ?)",
            (key, stamp, entry, units, int(sent)),
        )

    def restamp(self, entry: str, stamps: Sequence[tuple[str, int, int]]) -> bool:
        if self.long_way:
            return False
        for key, old, new in stamps:
            moved = self.connection.execute(
                "UPDATE fin_infra_entries SET stamp = ?, sent = 1 WHERE key = ? AND stamp = ? AND entry = ? "
                "AND sent = 0",
                (new, key, old, entry),
            )
            if moved.rowcount != 1:
                raise _Undone
        return True

    def take(self, entry: str, key: str, stamp: int) -> int | None:
        found = self.connection.execute(
            "DELETE FROM fin_infra_entries WHERE key = ? AND stamp = ? AND entry = ? AND sent = 0 RETURNING units",
            (key, stamp, entry),
        ).fetchone()
        return found[0] if found else None

    def settled(self, entry: str, key: str) -> bool:
        return bool(
            self.connection.execute(
                "SELECT 1 FROM fin_infra_entries WHERE key = ? AND entry = ? AND sent = 1", (key, entry)
            ).fetchone()
        )

    def lease(self, name: str, owner: str, micros: int) -> bool:
        until = self.now + micros
        return self.connection.execute(_LEASE, (name, owner, until, self.now)).fetchone() is not None


def _values(row: Row) -> tuple[Any, ...]:
    return (
        row.mark, row.used, row.win, row.tat, row.blocked, row.hold_lane, row.hold_until, row.limit_now,
        row.adapted_at, row.total, row.others, row.urgent, row.urgent_at, row.throttled, row.oldest, row.reserve,
        row.reserve_until,
    )  # fmt: skip


class _Sqlite(_Session):
    """One writer at a time: `BEGIN IMMEDIATE`, and the clock is read behind it, so that it never goes back."""

    def __init__(self, url: str, now: Now | None) -> None:
        self._path = sqlite_path(url, VARIABLE)
        if not self._path.exists():  # an empty one in its place would count from nothing
            raise StoreError(
                f"the ledger {self._path} was taken away; put it back, or begin a new one with fin-infra migrate"
            )
        connection = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous=NORMAL")
        super().__init__(connection)
        self._now = now
        self._file = _file(self._path)

    def moved(self) -> bool:
        return _file(self._path) != self._file

    def begin(self, keys: Sequence[str]) -> None:
        super().begin(keys)
        self.connection.execute("BEGIN" if self.reading else "BEGIN IMMEDIATE")
        self.now = time.time_ns() // 1000 if self._now is None else micros(self._now())

    def _load(self) -> None:
        keys = self._keys
        for begin in range(0, len(keys), 500):
            part = keys[begin : begin + 500]
            found = self.connection.execute(f"{_READ} WHERE key IN ({', '.join('?' * len(part))})", part)
            for values in found.fetchall():
                self._rows[values[0]] = Row(*values)


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Postgres(_Session):
    """Rows are locked in the order of their keys; the clock, if none is given, is the server's behind the locks."""

    def __init__(self, url: str, now: Now | None) -> None:
        driver = postgres_driver()
        connection = driver.Driver.connect(
            url.replace("+psycopg", "", 1), application_name="fin_infra", connect_timeout=round(PATIENCE)
        )
        connection.autocommit = True
        connection.execute(f"SET search_path TO {driver.SCHEMA}; SET client_min_messages TO warning")
        connection.execute(f"SET lock_timeout TO {round(PATIENCE * 1000)}")
        connection.autocommit = False
        super().__init__(connection)
        self._now = now
        self.ahead = 0  # microseconds that the server's clock is before ours

    def begin(self, keys: Sequence[str]) -> None:
        super().begin(keys)
        if self.reading:
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = self.connection.execute(f"{_READ} WHERE key = ANY(?)", (list(keys),)).fetchall()
            self._rows = {values[0]: Row(*values) for values in found}
            self.now = self._clock() if self._now is None else micros(self._now())
            return
        asked = time.time_ns() // 1000
        while True:
            # an inner query, so that the clock is read when a row is locked and not when it is found
            found = self.connection.execute(
                f"SELECT {_CLOCK}, locked.* FROM ({_READ} WHERE key = ANY(?) ORDER BY key FOR UPDATE) AS locked",
                (list(keys),),
            ).fetchall()
            if len(found) == len(keys):
                break
            self.connection.execute("ROLLBACK")  # a new row is made under no lock, or two might wait for each other
            for key in sorted(set(keys) - {values[1] for values in found}):
                self.connection.execute(f"{_INSERT} ON CONFLICT (key) DO NOTHING", (key, *_values(Row(key))))
            self.connection.execute("COMMIT")
        self._rows = {values[1]: Row(*values[1:]) for values in found}
        if self._now is not None:
            self.now = micros(self._now())
            return
        self.now = max(values[0] for values in found) if found else self._clock()
        self.ahead = self.now - asked

    def _clock(self) -> int:
        return int(self.connection.execute(f"SELECT {_CLOCK}").fetchone()[0])

    def _load(self) -> None:
        """All rows are there already."""


class SqlLedger(CountingLedger):
    """See `Ledger`. Safe for any number of processes and threads; a child of a fork opens its own connection.

    `now`: the clock; by default that of the machine, or the server's on PostgreSQL. `timeout`: seconds after which a
    call without an answer was counted at the latest, for windows that say nothing of it (`arrive_within=None`).
    """

    def __init__(self, url: str, *, now: Now | None = None, timeout: float = 30.0) -> None:
        super().__init__(timeout)
        self.url = url
        self._now = now
        self._postgres = is_postgres(url)
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._told = float("-inf")
        self._shut = float("-inf")
        _LEDGERS.add(self)

    def acquire(self, windows: Sequence[Window], cost: int = 1, *, lane: Lane = "scheduled") -> Grant | Denied:
        began = time.monotonic()
        if began < self._shut:
            return self._unreachable()
        try:
            return super().acquire(windows, cost, lane=lane)
        except StoreError as error:
            ended = time.monotonic()
            if ended - began >= LONG:
                self._shut = ended + AGAIN
            if ended - self._told >= 60:
                self._told = ended
                log.error("no vendor is called: the quota ledger cannot be used (%s)", error)
            return self._unreachable()

    def _unreachable(self) -> Denied:
        now = time.time_ns() // 1000 if self._now is None else micros(self._now())
        return Denied(AGAIN, moment(now + round(AGAIN * SECOND)), None, "unreachable")

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        return self._run((), lambda state: cast(_Session, state).lease(name, owner, round(seconds * SECOND)))

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _run(self, keys: Sequence[str], act: Callable[[State], T], *, reading: bool = False) -> T:
        with self._lock:
            try:
                return self._transaction(keys, act, reading)
            except Exception as error:
                if not _of_driver(error):
                    raise
                gone = self._session is not None and self._postgres and self._session.connection.closed
                self._drop()
                if not gone:
                    with rim(self.url):
                        raise
            with rim(self.url):
                return self._transaction(keys, act, reading)  # an idle connection that the server has left

    def _transaction(self, keys: Sequence[str], act: Callable[[State], T], reading: bool) -> T:
        session = self._session
        if session is not None and session.moved():  # two ledgers for one key would permit twice of it
            self._drop()
            session = None
        if session is None:
            session = self._session = self._opened()
        session.reading = reading
        while True:
            try:
                session.begin(keys)
                found = act(session)
                session.commit()
            except _Undone:
                session.rollback()
                session.long_way = True
                continue
            except BaseException:
                session.long_way = False
                session.rollback()
                raise
            session.long_way = False
            return found

    def _opened(self) -> _Session:
        return _Postgres(self.url, self._now) if self._postgres else _Sqlite(self.url, self._now)

    def _ours(self, written: datetime) -> int:
        session = self._session
        return micros(written) + (session.ahead if isinstance(session, _Postgres) else 0)

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def _declarations(self) -> Iterable[str]:
        def all_of_them(state: State) -> list[str]:
            found = cast(_Session, state).connection.execute("SELECT declaration FROM fin_infra_windows")
            return [text for (text,) in found.fetchall()]

        return self._run((), all_of_them, reading=True)

    def _forked(self) -> None:
        """In the child: the parent's connection is left alone, open as it is, for closing it would close the file's
        locks of nobody and the server's connection of the parent."""
        self._lock = threading.Lock()
        if self._session is not None:
            _ABANDONED.append(self._session)
            self._session = None


_LEDGERS: weakref.WeakSet[SqlLedger] = weakref.WeakSet()
_ABANDONED: list[_Session] = []


def _after_fork() -> None:
    for ledger in list(_LEDGERS):
        ledger._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _of_driver(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) or type(error).__module__.startswith("psycopg")


def open_ledger(url: str, *, now: Now | None = None, timeout: float = 30.0) -> SqlLedger:
    """The ledger at `url`: `sqlite:///PATH`, a file of its own that is made where there is none, or PostgreSQL.

    Raises `UsageError` when the URL is of no known kind or the database is not ours, or not migrated yet, `StoreError`
    when it cannot be opened.
    """
    if not is_postgres(url):
        _prepare(url)
        return SqlLedger(url, now=now, timeout=timeout)
    engine: Engine = postgres_driver().postgres_engine(url, VARIABLE)
    try:
        with rim(url), engine.connect() as sql:
            if not _has_ledger(sql):
                raise UsageError(f"{shown(url)} has no quota ledger of fin_infra yet; run fin-infra migrate")
    finally:
        engine.dispose()
    return SqlLedger(url, now=now, timeout=timeout)


def _has_ledger(sql: SqlConnection) -> bool:
    return sql.exec_driver_sql(f"SELECT to_regclass('fin_infra.{MARK}')").scalar() is not None


def migrate_ledger(url: str) -> bool:
    """Makes the ledger's tables in PostgreSQL; a SQLite file gets them when it is opened. Whether there were none.

    Raises `StoreError` when the database cannot be changed.
    """
    if not is_postgres(url):
        return _prepare(url)
    driver = postgres_driver()
    engine: Engine = driver.postgres_engine(url, VARIABLE)
    try:
        with rim(url), engine.begin() as sql:
            driver.own_schema(sql)
            new = not _has_ledger(sql)
            for statement in SCHEMA:
                sql.exec_driver_sql(statement)
    finally:
        engine.dispose()
    return new


def _prepare(url: str) -> bool:
    path = sqlite_path(url, VARIABLE)
    new = not inspect(path, what="quota ledger", variable=VARIABLE, mark=MARK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"cannot make the folder {path.parent}: {reason}; choose another place") from None
    with rim(url):
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise UsageError(
                    f"{path} was made by a newer fin_infra (quota ledger {version}, this one knows {VERSION}); "
                    "upgrade fin_infra",
                    code="store_foreign",
                )
            if new or version < VERSION:
                _write_ahead(connection)
                connection.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA:
                    connection.execute(f"{statement} WITHOUT ROWID")
                connection.execute(f"PRAGMA user_version={VERSION}")
                connection.execute("COMMIT")
        finally:
            connection.close()
    return new
