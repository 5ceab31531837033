"""Looks into the files themselves, not through our code: what must hold at any moment, and what when all is quiet."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.simulation.model import Book, Held, Portfolio, Row, whole

FED = {
    "accounts": ("tenant_id", "account_id"),
    "balances": ("tenant_id", "account_id", "currency"),
    "transactions": ("tenant_id", "account_id", "transaction_id"),
    "holdings": ("tenant_id", "account_id", "instrument"),
}
"""Datasets with a change feed and a history, and their keys."""
NOT_COMPARED = {"fetched_at", "run_id", "as_of", "known_from", "known_to"}


class Audit:
    """The files of one world, read as anybody could read them."""

    def __init__(self, folder: Path) -> None:
        self._store = self._open(folder / "fin.db")
        self._queue = self._open(folder / "fin-queue.db")
        self._seen = 0
        self._looked_at: tuple[Any, ...] = ()
        self._fed: dict[str, set[tuple[str, ...]]] = {name: set() for name in FED}

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    def close(self) -> None:
        self._store.close()
        self._queue.close()

    def rows(self, text: str, *values: Any) -> list[sqlite3.Row]:
        with closing(self._store.execute(text, values)) as cursor:
            return cursor.fetchall()

    # -- what there is ---------------------------------------------------------------------------------------------

    def held(self) -> list[Held]:
        return [_held(row) for row in self.rows("SELECT * FROM transactions ORDER BY account_id, transaction_id")]

    def portfolios(self) -> dict[str, Portfolio]:
        """What each account holds."""
        found: dict[str, set[tuple[str, int]]] = {}
        for row in self.rows("SELECT account_id, instrument, quantity FROM holdings"):
            found.setdefault(row["account_id"], set()).add((row["instrument"], int(Decimal(row["quantity"]))))
        return {account: frozenset(held) for account, held in found.items()}

    def of(self, account: str) -> dict[str, Row]:
        """Our rows of an account, by their ids."""
        rows = self.rows("SELECT * FROM transactions WHERE account_id = ? ORDER BY transaction_id", account)
        return {row["transaction_id"]: _held(row).row for row in rows}

    def idle(self, now: int) -> bool:
        """No job runs, and none is due."""
        found = self._queue.execute(
            "SELECT 1 FROM fin_infra_jobs WHERE state = 'running' OR (state = 'queued' AND available_at <= ?) LIMIT 1",
            (now,),
        )
        return found.fetchone() is None

    def waiting(self) -> int:
        """Jobs that wait for a later time."""
        return int(self._queue.execute("SELECT COUNT(*) FROM fin_infra_jobs WHERE state = 'queued'").fetchone()[0])

    def jobs(self) -> list[sqlite3.Row]:
        return self._queue.execute("SELECT * FROM fin_infra_jobs ORDER BY id").fetchall()

    # -- at any moment ---------------------------------------------------------------------------------------------

    def feed(self) -> list[str]:
        """The change feed, played from its begin, gives the keys of the tables."""
        wrong = []
        for change in self.rows("SELECT * FROM changes WHERE seq > ? ORDER BY seq", self._seen):
            self._seen = change["seq"]
            name = change["dataset"]
            if name not in FED:
                continue
            keys = self._fed[name]
            parts = {op: [tuple(key) for key in json.loads(change[op])] for op in ("inserted", "updated", "removed")}
            wrong += [f"{name} {key} was inserted twice" for key in parts["inserted"] if key in keys]
            for op in ("updated", "removed"):
                wrong += [f"{name} {key} was {op} and is not there" for key in parts[op] if key not in keys]
            keys |= set(parts["inserted"])
            keys -= set(parts["removed"])
        for name, key in FED.items():
            there = {tuple(row) for row in self.rows(f"SELECT {', '.join(key)} FROM {name}")}
            wrong += [f"the feed and {name} differ in {odd}" for odd in there ^ self._fed[name]]
        return wrong

    def committed(self, books: Mapping[str, Book]) -> list[str]:
        """What is wrong right after a commit, as any reader may see it. Cheap where nothing of interest changed."""
        now = tuple(self.rows("SELECT (SELECT SUM(version) FROM cursors), (SELECT MAX(seq) FROM changes)")[0])
        if now == self._looked_at:
            return []
        before, self._looked_at = self._looked_at, now
        torn = self.rows(
            "SELECT dataset, run_id FROM changes WHERE seq > ? AND dataset IN ('accounts', 'balances', 'holdings') "
            "AND run_id NOT IN (SELECT run_id FROM runs)",
            (before[1] if before else 0) or 0,
        )
        wrong = [
            f"{row['dataset']} are changed by {row['run_id']}, which is not at its end: old and new are mixed"
            for row in torn
        ]
        return wrong + self.cursors() + whole(books, self.portfolios())

    def cursors(self) -> list[str]:
        """No cursor is ahead of the rows: a row of the day it stands at was committed."""
        wrong = []
        for cursor in self.rows("SELECT * FROM cursors WHERE dataset = 'transactions'"):
            for vendor_id, spot in json.loads(cursor["body"]).get("accounts", {}).items():
                newest = spot.get("newest")
                if newest and not self.rows(
                    "SELECT 1 FROM transactions WHERE account_id = ?1 AND booked_on >= ?2 UNION ALL "
                    "SELECT 1 FROM transactions_history WHERE account_id = ?1 AND booked_on >= ?2 LIMIT 1",
                    self._ours(vendor_id), newest,
                ):  # fmt: skip
                    wrong.append(
                        f"the cursor of {cursor['connection_id']} is at {newest} of {vendor_id}, the rows are not"
                    )
        return wrong

    def _ours(self, vendor_id: str) -> str:
        found = self.rows("SELECT id FROM aliases WHERE kind = 'account' AND vendor_id = ?", vendor_id)
        return str(found[0]["id"]) if found else vendor_id

    def serial(self) -> list[str]:
        """Of one stream no run commits that began before another's commit: it would bring back what is no more."""
        wrong = []
        last: dict[tuple[str, str], sqlite3.Row] = {}
        for run in self.rows("SELECT * FROM runs WHERE outcome IN ('ok', 'partial') ORDER BY finished_at, started_at"):
            stream = run["connection_id"], run["dataset"]
            if stream in last and run["started_at"] < last[stream]["finished_at"]:
                wrong.append(f"{run['run_id']} committed {'/'.join(stream)} from before {last[stream]['run_id']}")
            last[stream] = run
        return wrong

    def working(self) -> bool:
        """Some job is leased."""
        return self._queue.execute("SELECT 1 FROM fin_infra_jobs WHERE state = 'running'").fetchone() is not None

    # -- when all is quiet -----------------------------------------------------------------------------------------

    def versions(self) -> list[str]:
        """Versions of a row follow each other without gap or overlap, and each differs from the one before."""
        wrong = []
        for name, key in FED.items():
            by_key: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for table in (f"{name}_history", name):
                for row in self.rows(f"SELECT * FROM {table}"):
                    by_key.setdefault(tuple(row[c] for c in key), []).append(dict(row))
            for which, rows in by_key.items():
                rows.sort(key=lambda row: row["known_from"])
                for before, after in itertools.pairwise(rows):
                    if before["known_to"] > after["known_from"]:
                        wrong.append(f"two versions of {name} {which} are known at the same time")
                    if before["known_to"] == after["known_from"] and _content(before) == _content(after):
                        wrong.append(f"{name} {which} was written again without a change")
        return wrong

    def snapshot(self) -> Iterator[str]:
        """Everything that is decided by the seed, as text. Sealed bytes are not: their seal is drawn by the system."""
        for table in (*FED, *(f"{name}_history" for name in FED), "runs", "streams", "account_states", "findings",
                      "cursors", "changes", "connections", "due", "aliases"):  # fmt: skip
            for row in sorted(map(tuple, self.rows(f"SELECT * FROM {table}")), key=repr):
                yield f"{table} {row!r}"
        for job in self.jobs():
            yield f"job {tuple(job)!r}"


def _content(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in NOT_COMPARED}


def _held(row: sqlite3.Row) -> Held:
    booked = date.fromisoformat(row["booked_on"])
    inner = Row(row["transaction_id"], Decimal(row["amount"]), booked, row["status"], row["description"])
    return Held(row["account_id"], inner, row["pending_transaction_id"])
