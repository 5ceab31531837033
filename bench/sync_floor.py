"""A floor, written by hand: httpx, json, polars, sqlite. No history, no checks, no queue, no record of what was done.

What nobody's general tool can be much below. `python -m bench.sync_floor FOLDER URL [SINCE]`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpcore  # noqa: F401 - httpx imports both only when it first asks; imports are measured apart, so they come first
import httpx
import polars as pl

from bench import data
from bench.measured import Stopwatch

COLUMNS = ("id", "account_id", "status", "amount", "currency", "date", "description", "merchant", "category", "type")
TABLE = f"CREATE TABLE IF NOT EXISTS transactions ({', '.join(COLUMNS)}, PRIMARY KEY (account_id, id)) WITHOUT ROWID"
UPSERT = f"INSERT OR REPLACE INTO transactions VALUES ({', '.join('?' * len(COLUMNS))})"


async def rows_of(client: httpx.AsyncClient, login: int, since: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    auth, path = (data.token(login), ""), f"/accounts/{data.account_id(login)}/transactions"
    while True:
        params = {"count": str(data.PAGE)} | ({"start_date": since} if since else {})
        params |= {"from_id": rows[-1]["id"]} if rows else {}
        answer = await client.get(path, params=params, auth=auth)
        page = json.loads(answer.content, parse_float=str)
        rows += page
        if len(page) < data.PAGE:
            return rows


def framed(rows: list[dict[str, Any]]) -> pl.DataFrame:
    columns = {name: [row[name] for row in rows] for name in ("id", "account_id", "status", "amount", "date")}
    columns |= {name: [row[name] for row in rows] for name in ("description", "type")}
    columns["merchant"] = [row["details"]["counterparty"]["name"] for row in rows]
    columns["category"] = [row["details"]["category"] for row in rows]
    return pl.DataFrame(columns).with_columns(
        pl.col("amount").cast(pl.Decimal(38, 18)), pl.col("date").str.to_date(), currency=pl.lit("USD")
    )


async def sync(folder: Path, url: str, since: str | None) -> int:
    sql = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", TABLE):
        sql.execute(statement)
    slots, done = asyncio.Semaphore(8), 0

    async def one(login: int) -> None:
        nonlocal done
        async with slots:
            rows = await rows_of(client, login, since)
            frame = framed(rows).select(pl.col(COLUMNS).cast(pl.String))
            sql.execute("BEGIN IMMEDIATE")
            sql.executemany(UPSERT, frame.rows())
            sql.execute("COMMIT")
            done += len(rows)

    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        await asyncio.gather(*(one(login) for login in range(data.LOGINS)))
    sql.close()
    return done


def main() -> None:
    folder, url, *since = sys.argv[1:]
    watch = Stopwatch()
    rows = asyncio.run(sync(Path(folder), url, since[0] if since else None))
    watch.report(rows=rows, connections=data.LOGINS)


if __name__ == "__main__":
    main()
