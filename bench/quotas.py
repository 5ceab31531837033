"""The quotas group: one vendor call's cost at the ledger, acquire and settle, in microseconds by the clock.

Three windows count the call, a minute, a day and a calendar day, as at a vendor that has them all. Their limits are so
wide that every call is admitted. Beside it what a refusal costs whose window has 15,000 entries, and what all of it is
good for: in virtual time, how much a rolling vendor's limit is used, and how often it refuses.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter_ns
from typing import Any

from bench import quota_peers
from bench.figures import ROOT, Figure
from fin_infra.quotas.ledger import Denied, Grant, Ledger
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Calendar, Rolling, Window, paced
from fin_infra.store.ledger import open_ledger

ROUNDS, CALLS, FULL = 3, 10_000, 15_000
WINDOWS: tuple[Window, ...] = (
    Rolling("vendor/app#minute", 1_000_000, 60.0),
    Rolling("vendor/app#day", 1_000_000, 86_400.0, None),
    Calendar("vendor/app#today", 1_000_000, "day", "America/New_York", skew=0.0),
)


def measure() -> list[Figure]:
    """The median of each run, and of the runs. `bench.quota_peers` has what others need for the same."""
    runs = [_run() for _ in range(ROUNDS)]
    peers = quota_peers.measured() if quota_peers.PYTHON.exists() else {}
    model = quota_peers.Model()
    used = model.use(Ours(model))
    values = {name: median(run[name] for run in runs) for name in runs[0]}
    values |= {"quota_used": used["used"], "quota_429": used["refused"]}
    return [Figure(name, value, peers.get(name, {})) for name, value in values.items()]


class Ours:
    """The ledger as the model's limiter. A call is written as soon as it is given."""

    def __init__(self, model: quota_peers.Model) -> None:
        self._model = model
        self._ledger = MemoryLedger(self._now)
        self._windows = paced([Rolling("vendor/app#minute", quota_peers.LIMIT, quota_peers.PERIOD)])

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._model.now, UTC)

    def ask(self) -> tuple[tuple[Grant, datetime] | None, float]:
        answer = self._ledger.acquire(self._windows)
        return ((answer, self._now()), 0.0) if isinstance(answer, Grant) else (None, answer.eta)

    def answered(self, given: tuple[Grant, datetime]) -> None:
        grant, written = given
        self._ledger.settle(grant, written=written)


def _run() -> dict[str, float]:
    command = [sys.executable, "-m", "bench.quotas"]
    found: dict[str, float] = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return found


def ours() -> dict[str, float]:
    memory = MemoryLedger(lambda: datetime.now(UTC))
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(f"sqlite:///{folder}/quota.db")
        found = {
            "quota_acquire.memory": _each(lambda: _call(memory)),
            "quota_acquire.sqlite": _each(lambda: _call(ledger)),
        }
        full = (Rolling("vendor/app#full", FULL, 86_400.0, None),)
        while isinstance(ledger.acquire(full), Grant):
            pass
        found["quota_deny_15k.sqlite"] = _each(lambda: _deny(ledger, full))
        ledger.close()
    return found


def _call(ledger: Ledger) -> None:
    grant = ledger.acquire(WINDOWS)
    assert isinstance(grant, Grant)
    ledger.settle(grant)


def _deny(ledger: Ledger, windows: tuple[Window, ...]) -> None:
    assert isinstance(ledger.acquire(windows), Denied)


def _each(act: Callable[[], Any]) -> float:
    """Microseconds of the middle one."""
    times = []
    for _ in range(CALLS):
        begin = perf_counter_ns()
        act()
        times.append(perf_counter_ns() - begin)
    return median(times) / 1000


if __name__ == "__main__":
    print(json.dumps(ours()))
