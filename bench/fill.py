"""A store that already holds much: rows written in bulk, straight into the store's own tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bench import data
from fin_infra.store import open_store
from fin_infra.store.codec import micros
from fin_infra.store.opening import is_postgres

ROWS_PER_ACCOUNT = 500


def fill(url: str, accounts: int) -> None:
    """A store with `accounts` connections of one account each and 500 transactions per account, in key order."""
    now = micros(data.START)
    if is_postgres(url):
        _fill_postgres(url, accounts, now)
    else:
        _fill_sqlite(url, accounts, now)


def _fill_postgres(url: str, accounts: int, now: int) -> None:
    import psycopg

    number, turn = "lpad(n::text, 6, '0')", "lpad((m * 2)::text, 6, '0')"
    row = {
        "tenant_id": f"'t' || {number}", "account_id": f"'acc' || {number}",
        "transaction_id": f"'txn_' || {number} || {turn}", "status": "'posted'",
        "amount": "-(1 + m % 250) - (m % 100) / 100.0", "currency": "'USD'",
        "booked_on": "to_char(date '2026-11-24' - m, 'YYYY-MM-DD')", "description": "'Corner Grocery #' || m",
        "merchant": "'Corner Grocery'", "category": "'groceries'", "type": "'card_payment'", "provider": "'teller'",
        "connection_id": f"'con_' || {number}", "fetched_at": str(now), "run_id": "'run_0'", "known_from": str(now),
    }  # fmt: skip
    with psycopg.connect(url.replace("+psycopg", ""), options="-c search_path=fin_infra") as sql:
        many = f"generate_series(0, {accounts - 1}) AS n"
        sql.execute(
            f"INSERT INTO connections SELECT 'con_' || {number}, 't' || {number}, 'teller', 'active', NULL, 1, "
            f"{now}, {now}, NULL FROM {many}"
        )
        sql.execute(f"INSERT INTO cursors SELECT 'con_' || {number}, 'transactions', 1, 1, '{{}}', 'run_0' FROM {many}")
        sql.execute(
            f"INSERT INTO transactions ({', '.join(row)}) SELECT {', '.join(row.values())} "
            f"FROM {many}, generate_series(0, {ROWS_PER_ACCOUNT - 1}) AS m"
        )
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as sql:
        sql.execute("VACUUM ANALYZE")


def _fill_sqlite(url: str, accounts: int, now: int) -> None:
    open_store(url).close()
    path = Path(url.removeprefix("sqlite:///"))
    sql = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-262144"):
        sql.execute(f"PRAGMA {pragma}")
    sql.execute("BEGIN")
    many = f"WITH RECURSIVE a(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM a WHERE n + 1 < {accounts})"
    sql.execute(
        f"INSERT INTO connections {many} "
        f"SELECT printf('con_%06d', n), printf('t%06d', n), 'teller', 'active', NULL, 1, {now}, {now}, NULL FROM a"
    )
    sql.execute(
        f"INSERT INTO cursors {many} SELECT printf('con_%06d', n), 'transactions', 1, 1, '{{}}', 'run_0' FROM a"
    )
    row = {
        "tenant_id": "printf('t%06d', n)", "account_id": "printf('acc%06d', n)",
        "transaction_id": "printf('txn_%06d%06d', n, m * 2)", "status": "'posted'",
        "amount": "printf('-%d.%02d', 1 + m % 250, m % 100)", "currency": "'USD'",
        "booked_on": "date('2026-11-24', printf('-%d days', m))", "description": "printf('Corner Grocery #%d', m)",
        "merchant": "'Corner Grocery'", "category": "'groceries'", "type": "'card_payment'", "provider": "'teller'",
        "connection_id": "printf('con_%06d', n)", "fetched_at": str(now), "run_id": "'run_0'", "known_from": str(now),
    }  # fmt: skip
    sql.execute(
        f"INSERT INTO transactions ({', '.join(row)}) {many}, "
        f"b(m) AS (SELECT 0 UNION ALL SELECT m + 1 FROM b WHERE m + 1 < {ROWS_PER_ACCOUNT}) "
        f"SELECT {', '.join(row.values())} FROM a CROSS JOIN b"
    )
    sql.execute("COMMIT")
    sql.close()
