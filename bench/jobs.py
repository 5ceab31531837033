"""The jobs group: how many jobs a second go through the worker, each of which waits 20 ms as for a vendor."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from svc_infra.jobs import Job, JobRegistry, JobResult

from bench.figures import ROOT, Figure
from fin_infra.outcomes import OK, Outcome
from fin_infra.runtime import SqlJobQueue, SyncWorker

JOBS, SLOTS, WAIT = 4_000, 32, 0.020
ROUNDS = 5


def measure() -> list[Figure]:
    """Most the slots could do: 32 slots / 20 ms = 1,600 a second."""
    command = [sys.executable, "-m", "bench.jobs"]
    rates = [
        json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(ROUNDS)
    ]
    return [Figure("jobs_sqlite.per_s", median(rates))]


async def work_off(queue: SqlJobQueue) -> float:
    """Jobs a second, from the first reserve to the last acknowledgement."""
    registry, left = JobRegistry(metric_prefix="bench_jobs"), JOBS
    finished = asyncio.Event()

    async def vendor(job: Job) -> JobResult:
        nonlocal left
        await asyncio.sleep(WAIT)
        left -= 1
        if left == 0:
            finished.set()
        return JobResult(True, "")

    async def handle(job: Job) -> Outcome:
        await registry.dispatch(job, timeout=None)
        return OK

    registry.register("wait", vendor)
    worker = SyncWorker(queue, handle, slots=SLOTS)
    begin = time.perf_counter()
    loop = worker.start()
    await finished.wait()
    await worker.stop()
    await loop
    rate = JOBS / (time.perf_counter() - begin)
    assert queue.stats().done == JOBS, queue.stats()
    return rate


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = SqlJobQueue(f"sqlite:///{Path(folder) / 'queue.db'}", names=["wait"])
        queue.enqueue_many(
            [
                {"name": "wait", "payload": {"connection": f"con_{n}"}, "unique_key": f"con_{n}", "lane": "scheduled"}
                for n in range(JOBS)
            ]
        )
        print(json.dumps(asyncio.run(work_off(queue))))
        queue.close()


if __name__ == "__main__":
    main()
