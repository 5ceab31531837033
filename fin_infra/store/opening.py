"""Opening a store: it is looked at before it is touched. A file is then brought up to this version's schema; a
PostgreSQL belongs to a fleet, whose tables change only when `migrate` is asked for."""

from __future__ import annotations

import logging
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.pool import NullPool

from fin_infra.errors import StoreError, UsageError
from fin_infra.settings import Settings
from fin_infra.store.base import Now
from fin_infra.store.sql import SqlStore, rim, shown

logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)  # at INFO it logs every row that is written

HEAD = "0009"  # the newest revision in migrations/versions; a test holds the two together
VERSION_TABLE = "fin_infra_version"


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_store(url: str | None = None, *, now: Now = utc_now) -> SqlStore:
    """The store at `url` (default: `FIN_INFRA_STORE_URL`, else `sqlite:///var/fin.db`), its schema up to date.

    Raises `UsageError` when the URL is of no known kind, the database is not ours, is from a newer fin_infra or, on
    PostgreSQL, from an older one, `StoreError` when it cannot be opened or written.
    """
    url = url or Settings.load().store_url
    if is_postgres(url):
        return _open_postgres(url, now)
    path = sqlite_path(url, "FIN_INFRA_STORE_URL")
    tables = inspect(path, what="store", variable="FIN_INFRA_STORE_URL", mark=VERSION_TABLE)
    engine = sqlite_engine(path)
    with rim(url):
        _migrate(engine, path, tables)
    return SqlStore(engine, url, now)


def is_postgres(url: str) -> bool:
    return url.startswith("postgresql+psycopg://")


def postgres_driver() -> Any:
    """Our module that knows psycopg, imported when it is needed and not before."""
    try:
        from fin_infra.store import postgres
    except ImportError:
        raise UsageError('PostgreSQL needs psycopg; install fin_infra with its extra "postgres"') from None
    return postgres


def _open_postgres(url: str, now: Now) -> SqlStore:
    driver = postgres_driver()
    engine: Engine = driver.postgres_engine(url, "FIN_INFRA_STORE_URL")
    try:
        with rim(url), engine.connect() as sql:
            version = _postgres_version(sql, url)
        if version is None:
            raise UsageError(f"{shown(url)} has no tables of fin_infra yet; run fin-infra migrate")
        if version < HEAD:
            raise UsageError(
                f"{shown(url)} has the tables of an older fin_infra (schema {version}, this one needs {HEAD}); "
                "run fin-infra migrate"
            )
    except BaseException:
        engine.dispose()
        raise
    return SqlStore(engine, url, now, driver.Postgres())


def _postgres_version(sql: SqlConnection, url: str) -> str | None:
    """The revision of the tables; None when there are none. Refuses tables that are not ours, or of a newer release."""
    found = set(
        sql.exec_driver_sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'fin_infra'")
        .scalars()
        .all()
    )
    if VERSION_TABLE not in found:
        if found and not found & {"fin_infra_jobs", "fin_infra_windows"}:  # queue and ledger may be there before
            raise UsageError(
                f"{shown(url)} has a schema fin_infra that is not ours and was left as it is; use another database",
                code="store_foreign",
            )
        return None
    version: str | None = sql.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    if version is not None and version > HEAD:
        raise UsageError(
            f"{shown(url)} was made by a newer fin_infra (schema {version}, this one knows {HEAD}); upgrade fin_infra",
            code="store_foreign",
        )
    return version


def migrate(url: str) -> tuple[str | None, str]:
    """Brings a store's tables up to this version's; any number may do it at once. The revisions before and after.

    Raises `UsageError` when the database is not ours or from a newer fin_infra, `StoreError` when it cannot be changed.
    """
    if not is_postgres(url):
        path = sqlite_path(url, "FIN_INFRA_STORE_URL")
        known = VERSION_TABLE in inspect(path, what="store", variable="FIN_INFRA_STORE_URL", mark=VERSION_TABLE)
        engine = sqlite_engine(path)
        with rim(url):
            before = _version(engine) if known else None
        engine.dispose()
        open_store(url).close()
        return before, HEAD
    from fin_infra.store.migrations import upgrade

    driver = postgres_driver()
    engine = driver.postgres_engine(url, "FIN_INFRA_STORE_URL")
    found: list[str | None] = []

    def prepare(sql: SqlConnection) -> None:
        driver.own_schema(sql)
        found.append(_postgres_version(sql, url))

    try:
        with rim(url):
            upgrade(engine, prepare)
    finally:
        engine.dispose()
    return found[0], HEAD


def sqlite_path(url: str, variable: str) -> Path:
    """The file of a `sqlite:///PATH` URL."""
    path = url.removeprefix("sqlite:///")
    if "?" in path:
        raise UsageError(f"{variable} has a query, which sqlite:///PATH does not take; leave out what begins at '?'")
    if path.startswith(":memory:"):
        raise UsageError(f"{variable} is in memory, where no other process sees it; write sqlite:///PATH")
    if path == url or not path:
        kind = url.split(":", 1)[0]
        raise UsageError(
            f"{variable} is of kind {kind!r}; write sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"
        )
    return Path(path)


def sqlite_engine(path: Path, *, secure_delete: bool = True) -> Engine:
    """An engine with our pragmas: WAL, synchronous=NORMAL, ten seconds of patience, transactions begun by us."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path.parent}: {_reason(error)}; choose another place") from None
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": 10.0, "check_same_thread": False},
        hide_parameters=True,
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def prepared(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # sqlite3 would begin late and commit early on its own
        for pragma in (
            "busy_timeout=10000",
            "synchronous=NORMAL",
            f"secure_delete={'ON' if secure_delete else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        _write_ahead(connection)

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        mode = connection.get_execution_options().get("begin", "")
        # every transaction does this, so without detours
        connection.connection.driver_connection.execute(f"BEGIN {mode}")

    return engine


def _write_ahead(connection: Any) -> None:
    """WAL. Of two processes that make a new file at once one may be refused, without SQLite's usual patience."""
    patience = time.monotonic() + 10
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > patience:
                raise
            time.sleep(0.01)


def inspect(path: Path, *, what: str, variable: str, mark: str) -> set[str]:
    """The tables of the file, none when there is no file yet. Not a byte of it is changed.

    Refuses a file that is no database, or that has tables but not `mark`, the one that says it is ours.
    """
    if path.is_dir():
        raise StoreError(f"the {what} {path} is a folder; set {variable} to a file")
    try:
        if not path.exists() or path.stat().st_size == 0:
            return set()
    except OSError as error:
        raise StoreError(f"the {what} {path} cannot be reached: {_reason(error)}; set {variable}") from None
    refusal = UsageError(
        f"{path} is not a fin_infra {what} and was left as it is; set {variable} to another file", code="store_foreign"
    )
    probe = create_engine(f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true", poolclass=NullPool)
    try:
        with rim(str(path)), probe.connect() as sql:
            names = {row[0] for row in sql.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
            known = VERSION_TABLE in names
            version = sql.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() if known else None
    except StoreError as error:
        if "not a database" in error.message or "malformed" in error.message:
            raise refusal from None
        raise
    names.discard("sqlite_sequence")
    if names and mark not in names:
        raise refusal
    if version is not None and version > HEAD:
        raise UsageError(
            f"{path} was made by a newer fin_infra (schema {version}, this one knows {HEAD}); upgrade fin_infra",
            code="store_foreign",
        )
    return names


def _migrate(engine: Engine, path: Path, tables: set[str]) -> None:
    version = _version(engine) if VERSION_TABLE in tables else None
    if version == HEAD:
        return  # the usual case, without the cost of importing Alembic
    from fin_infra.store.migrations import upgrade

    upgrade(engine)


def _version(engine: Engine) -> str | None:
    with engine.connect() as sql:
        found: str | None = sql.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return found


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
