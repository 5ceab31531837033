"""Rows that a vendor says must be gone: no version of them stays, and the change feed says that they left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import delete, insert, select

from fin_infra.store import tables
from fin_infra.store.codec import micros


def erase_rows(sql: SqlConnection, dataset: str, provider: str, ids: Sequence[str], now: datetime) -> int:
    """Erases the vendor's rows with these ids, of all tenants, and their history. How many were current.

    `ids`: values of the last column of the dataset's key.
    """
    current, history = tables.TABLES[dataset], tables.HISTORY[dataset]
    key = list(current.primary_key.columns)
    named = (current.c.provider == provider, key[-1].in_(list(ids)))
    rows = sql.execute(select(*key, current.c.connection_id).where(*named).order_by(*key)).all()
    for row in rows:
        sql.execute(
            insert(tables.CHANGES),
            {
                "changed_at": micros(now), "dataset": dataset, "tenant_id": row[0], "connection_id": row[-1],
                "run_id": "erased", "inserted": "[]", "updated": "[]",
                "removed": json.dumps([list(row[:-1])], separators=(",", ":")),
            },
        )  # fmt: skip
    sql.execute(delete(current).where(*named))
    sql.execute(delete(history).where(history.c.provider == provider, history.c[key[-1].name].in_(list(ids))))
    return len(rows)
