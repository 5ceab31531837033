"""The plan group: CPU seconds until 100,000 due streams are queued, and of a tick that finds nothing due."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import median

from bench import data
from bench.figures import ROOT, Figure
from bench.measured import cpu
from fin_infra.planning import Planner
from fin_infra.project import find_project
from fin_infra.runtime import SqlJobQueue, settle_down
from fin_infra.settings import Settings
from fin_infra.store import open_store
from fin_infra.store.codec import micros

STREAMS, IDLE_TICKS, ROUNDS = 100_000, 200, 3


def measure() -> list[Figure]:
    """One connection a stream: 100,000 transactions of an ample vendor, all overdue."""
    command = [sys.executable, "-m", "bench.plan"]
    runs = [
        json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(ROUNDS)
    ]
    return [
        Figure("plan_due_100k", median(run["due"] for run in runs)),
        Figure("plan_idle_tick", median(run["idle"] for run in runs) * 1000),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, now = Path(folder) / "fin.db", data.START
        store = open_store(f"sqlite:///{path}", now=lambda: now)
        sql = sqlite3.connect(path)
        sql.executemany(
            "INSERT INTO connections VALUES (?, ?, 'teller', 'active', NULL, 1, 0, 0, 'teller/app')",
            ((f"con_{n:06}", f"t{n:06}") for n in range(STREAMS)),
        )
        sql.commit()
        schedules = [s for s in find_project(Settings(project=ROOT)).schedules if s.name == "transactions"]
        queue = SqlJobQueue(f"sqlite:///{Path(folder) / 'queue.db'}", names=["sync_transactions"], now=lambda: now)
        planner = Planner(store, queue, schedules, now=lambda: now)
        sql.executemany(
            "INSERT INTO due VALUES ('transactions', ?, 'transactions', 'sync_transactions', 'scheduled', ?, NULL, ?)",
            ((f"con_{n:06}", micros(now - timedelta(hours=1)), schedules[0].fingerprint) for n in range(STREAMS)),
        )
        sql.execute("UPDATE due SET due_at = due_at + 86400000000")
        sql.commit()
        settle_down()  # as `fin-infra worker` does
        planner.tick()  # looks at all connections once, as at every start; nothing is due yet
        sql.execute("UPDATE due SET due_at = due_at - 86400000000")
        sql.commit()
        begin, queued = cpu(), 0
        while found := planner.tick():
            queued += len(found)
        due = cpu() - begin
        assert queued == STREAMS == queue.stats().ready, (queued, queue.stats())
        begin = cpu()
        for _ in range(IDLE_TICKS):
            assert planner.tick() == []
        print(json.dumps({"due": due, "idle": (cpu() - begin) / IDLE_TICKS}))
        queue.close()
        store.close()


if __name__ == "__main__":
    main()
