"""The quotas group: one vendor call's cost at the ledger, acquire and settle, in microseconds by the clock.

Three windows count the call, a minute, a day and a calendar day, as at a vendor that has them all. Their limits are so
wide that every call is admitted. Beside it what a refusal costs whose window has 15,000 entries.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from statistics import median
from time import perf_counter_ns
from typing import Any

from bench.figures import ROOT, Figure
from fin_infra.quotas.ledger import Denied, Grant, Ledger
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Calendar, Rolling, Window
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
    peers = _peers()
    return [
        Figure(name, median(run[name] for run in runs), peers.get(name, {}))
        for name in ("quota_acquire.memory", "quota_acquire.sqlite", "quota_deny_15k.sqlite")
    ]


def _peers() -> Mapping[str, Mapping[str, float]]:
    """Microseconds by figure and peer; none where no peers are installed."""
    if importlib.util.find_spec("bench.quota_peers") is None:
        return {}
    found: Mapping[str, Mapping[str, float]] = importlib.import_module("bench.quota_peers").overhead()
    return found


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
