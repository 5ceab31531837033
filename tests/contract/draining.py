"""One process of the test in which several empty a queue together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier

from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.testing import VirtualClock

LATER = datetime(2026, 11, 24, 12, 0, tzinfo=UTC) + timedelta(seconds=1)

_start: list[Barrier] = []


def meet_at(barrier: Barrier) -> None:
    """Where this process waits for the others."""
    _start.append(barrier)


def drain(url: str) -> list[int]:
    """Takes and ends jobs until there is none; the numbers of those it ended."""
    queue = SqlJobQueue(url, now=VirtualClock(LATER))
    done = []
    _start[0].wait(30)
    while (job := queue.reserve_next()) is not None:
        queue.ack(job.id)
        done.append(int(job.payload["n"]))
    queue.close()
    return done
