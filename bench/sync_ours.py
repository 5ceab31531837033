"""Ours, measured: 200 connections as queued jobs through the worker, over HTTP, into a store on disk.

`python -m bench.sync_ours link FOLDER` links the connections; `… sync FOLDER URL` syncs them all once.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # as `fin-infra worker` does, before polars is imported

import httpcore  # noqa: F401 - httpx imports both only when it first asks; imports are measured apart, so they come first

import fin_infra.datasets.operations
import fin_infra.providers.teller
import fin_infra.store.tables  # noqa: F401
from bench import data
from bench.measured import Stopwatch
from fin_infra.providers import resolve
from fin_infra.runtime import Runtime, settle_down
from fin_infra.settings import Settings


def settings(folder: Path) -> Settings:
    return Settings(store_url=f"sqlite:///{folder / 'fin.db'}")


def clock(days: int = 0) -> Callable[[], datetime]:
    """The bank's day, moving at the speed of time."""
    begin = time.monotonic()
    return lambda: data.START + timedelta(days=days, seconds=time.monotonic() - begin)


async def link(folder: Path) -> None:
    async with Runtime(settings(folder), now=clock()) as runtime:
        for login in range(data.LOGINS):
            runtime.connections.add(resolve("teller"), {"access_token": data.token(login)}, tenant=f"t{login:04d}")


async def sync(folder: Path, url: str) -> tuple[int, int, int]:
    """Connections as jobs, worked off. (jobs that are done, rows that came new, rows that came changed)."""
    reports = []
    async with Runtime(settings(folder), now=clock(), base_urls={"teller": url}, on_report=reports.append) as runtime:
        jobs = [
            {
                "name": "sync_transactions", "payload": {"connection": connection.connection_id},
                "unique_key": f"{connection.connection_id}/transactions", "lane": "scheduled",
            }
            for connection in runtime.connections.all()
        ]  # fmt: skip
        settle_down()  # as `fin-infra worker` does
        runtime.queue.enqueue_many(jobs)
        worker = runtime.worker(slots=8)
        loop = worker.start()
        while len(reports) < len(jobs):  # noqa: ASYNC110 - what a worker that ends when idle does
            await asyncio.sleep(0.05)
        await worker.stop()
        await asyncio.gather(loop, return_exceptions=True)
    wrong = [report.sentence() for report in reports if report.outcome != "ok"]
    if wrong:
        raise SystemExit(f"{len(wrong)} runs failed: {wrong[0]}")
    totals = [report.total for report in reports]
    return len(reports), sum(t.inserted for t in totals), sum(t.updated for t in totals)


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "link":
        asyncio.run(link(folder))
        return
    watch = Stopwatch()
    jobs, inserted, updated = asyncio.run(sync(folder, sys.argv[3]))
    watch.report(connections=jobs, inserted=inserted, updated=updated)


if __name__ == "__main__":
    main()
