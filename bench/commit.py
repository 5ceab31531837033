"""The commit group: one sync's commit, 50 rows written and 2 removed, in stores of 0.1, 1 and 5 million rows.

`python -m bench.commit URL FIRST STEP ACCOUNTS SEED` is one measured process; it syncs the accounts FIRST, FIRST +
STEP and so on: of two that commit to one stream at once the store would refuse one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from statistics import median
from typing import Any

import polars as pl

from bench import data
from bench.figures import ROOT, Figure
from bench.fill import ROWS_PER_ACCOUNT, fill
from fin_infra.datasets.operations import Runs, Streams
from fin_infra.datasets.transactions import Transactions
from fin_infra.store import Applied, Batch, Change, Cursor, Records, Store, Stream, open_store
from tests.postgres import postgres_server

SIZES = {"0.1m": 200, "1m": 2_000, "5m": 10_000}  # accounts, by the rows they hold
COMMITS = 600
ROUNDS = 3
POSTGRES = "shared_buffers = 512MB\nmax_wal_size = 4GB\nmax_connections = 50\nlog_min_messages = fatal\n"
"""A server as it is delivered, every commit on disk, with memory and log of a size that fits the rows."""
WARM = 20  # seeds of the commits that only warm up
WRITTEN, REMOVED = 50, 2  # half of the written rows are new, half replace a row that is held


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        figures = _measured("commit", {name: f"sqlite:///{folder}/{name}.db" for name in SIZES})
    with postgres_server(POSTGRES) as server:
        return figures + _measured("commit_pg", {name: server.migrated() for name in SIZES})


def _measured(name: str, urls: Mapping[str, str]) -> list[Figure]:
    """One kind of store: the sizes take turns, so that a slow minute of the machine hits them all."""
    for size, url in urls.items():
        fill(url, SIZES[size])
    middles: dict[str, list[float]] = {size: [] for size in SIZES}
    rates, together = [], []
    for turn in range(ROUNDS):
        for size, url in urls.items():
            said = _said(_start(url, (0, 1, SIZES[size]), turn))
            middles[size].append(said["p50"])
        rates.append(said["per_s"])
        four = [_start(urls["5m"], (first, 4, SIZES["5m"]), ROUNDS + turn) for first in range(4)]
        together.append(sum(_said(process)["per_s"] for process in four))
    small = middles["0.1m"]

    def growth(size: str) -> float:
        return median(many / few for many, few in zip(middles[size], small, strict=True))

    return [
        Figure(f"{name}.p50_growth", growth("5m")),
        Figure(f"{name}.p50_growth_1m", growth("1m")),
        Figure(f"{name}.per_s", median(rates)),
        Figure(f"{name}.per_s_4proc", median(together)),
    ]


def _start(url: str, accounts: tuple[int, int, int], seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.commit", url, *map(str, accounts), str(seed)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str]) -> dict[str, float]:
    output, _ = process.communicate(timeout=300)
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def commits(store: Store, accounts: range, seed: int) -> tuple[list[float], float]:
    """Up to `COMMITS` commits, every one to another account by chance: seconds of each, and of all together."""
    draw = random.Random(seed)
    chosen = draw.sample(accounts, min(COMMITS, len(accounts)))
    waiting = [(account, f"run_{seed}_{account}") for account in chosen]
    prepared = [(account, run_id, rows(account, seed, draw, run_id)) for account, run_id in waiting]
    seconds, first = [], time.perf_counter()
    for account, run_id, change in prepared:
        stream = Stream(f"con_{account:06d}", "transactions")
        cursor = store.cursor(stream, 1)
        begin = time.perf_counter()
        apply(store, change, stream, run_id, cursor)
        seconds.append(time.perf_counter() - begin)
    return seconds, time.perf_counter() - first


def rows(account: int, seed: int, draw: random.Random, run_id: str) -> Change:
    """What one sync brings: half of the rows are held and have a new text, half are new; two are gone."""
    tenant = f"t{account:06d}"
    held = [f"txn_{account:06d}{n * 2:06d}" for n in draw.sample(range(100, ROWS_PER_ACCOUNT), WRITTEN // 2)]
    ids = held + [f"txn_{account:06d}n{seed:03d}{n:02d}" for n in range(WRITTEN // 2)]
    gone = [f"txn_{account:06d}{(seed * REMOVED + n) * 2:06d}" for n in range(REMOVED)]  # each seed has its own
    account_id = f"acc{account:06d}"
    made: dict[str, Any] = {
        "tenant_id": tenant, "account_id": account_id, "transaction_id": ids, "status": "posted",
        "amount": Decimal("-12.34"), "currency": "USD", "booked_on": date(2026, 11, 24),
        "description": f"Blue Door Coffee {run_id}", "merchant": "Blue Door Coffee", "category": "dining",
        "type": "card_payment", "provider": "teller", "connection_id": f"con_{account:06d}",
        "fetched_at": data.START, "run_id": run_id,
    }  # fmt: skip
    columns = [
        pl.lit(pl.Series(ids)).alias(name)
        if name == "transaction_id"
        else pl.lit(made.get(name)).cast(dtype).alias(name)
        for name, dtype in Transactions.dtypes().items()
    ]
    return Change(Transactions, pl.select(columns), [(tenant, account_id, row_id) for row_id in gone])


def apply(store: Store, change: Change, stream: Stream, run_id: str, cursor: Cursor) -> Applied:
    """The commit, with the books a run keeps."""
    base = {
        "tenant_id": "t", "connection_id": stream.connection_id, "dataset": stream.dataset, "provider": "teller",
        "fetched_at": data.START, "run_id": run_id,
    }  # fmt: skip

    def books(applied: Applied) -> list[Records]:
        run = {
            **base, "lane": "scheduled", "started_at": data.START, "finished_at": data.START, "outcome": "ok",
            **applied.total()._asdict(), "calls": 1, "attempt": 1,
        }  # fmt: skip
        return [Records(Runs, [run]), Records(Streams, [{**base, "state": "ok", "last_attempt_at": data.START}])]

    applied = store.apply(Batch([change]), stream=stream, run_id=run_id, expect=cursor, next="{}", books=books)
    assert applied.total() == (WRITTEN // 2, WRITTEN // 2, REMOVED, 0), applied
    return applied


def main() -> None:
    url, first, step, end, seed = sys.argv[1:]
    accounts = range(int(first), int(end), int(step))
    store = open_store(url, now=lambda: data.START)
    commits(store, accounts, int(seed) + WARM)  # warm: the file's cache, the statements
    seconds, together = commits(store, accounts, int(seed))
    store.close()
    print(json.dumps({"p50": median(seconds), "per_s": len(seconds) / together}))


if __name__ == "__main__":
    main()
