"""The quotas group: one vendor call's cost at the ledger, acquire and settle, in microseconds by the clock.

Three windows count the call, a minute, a day and a calendar day, as at a vendor that has them all. Their limits are so
wide that every call is admitted. Beside it what a refusal costs whose window has 15,000 entries.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from bench.figures import ROOT, Figure
from bench.quota_peers import LIMIT, PERIOD, PYTHON, Model, measured
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
    """The median of each run, and of the runs; of use and refusals by a modelled vendor one run, whose clock is no
    machine's. Peers are measured where the benchmark's own environment is."""
    runs = [_run() for _ in range(ROUNDS)]
    model = Model()
    worth = model.use(_Ours(model))
    peers: dict[str, dict[str, float]] = {}
    if PYTHON.exists():
        with tempfile.TemporaryDirectory() as folder:
            peers = measured(Path(folder))

    def of_peers(what: str, share: float = 1.0) -> dict[str, float]:
        return {peer: found[what] * share for peer, found in peers.items() if what in found}

    def middle(name: str) -> float:
        return median(run[name] for run in runs)

    return [
        Figure("quota_acquire.memory", middle("memory"), of_peers("memory")),
        Figure("quota_acquire.sqlite", middle("sqlite"), of_peers("sqlite")),
        Figure("quota_deny_15k.sqlite", middle("deny")),
        Figure("quota_used", worth["used"] * 100, of_peers("used", 100)),
        Figure("quota_refused", worth["refused"], of_peers("refused")),
    ]


class _Ours:
    """The ledger, as `Model` asks a limiter."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._ledger = MemoryLedger(lambda: datetime.fromtimestamp(model.now, UTC))
        self._windows = paced((Rolling("minute", LIMIT, PERIOD),))

    def ask(self) -> tuple[Any, float]:
        found = self._ledger.acquire(self._windows)
        return (None, found.eta) if isinstance(found, Denied) else (found, 0.0)

    def answered(self, given: Any) -> None:
        self._ledger.settle(given, written=datetime.fromtimestamp(given.at / 1e6, UTC))


def _run() -> dict[str, float]:
    command = [sys.executable, "-m", "bench.quotas"]
    found: dict[str, float] = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return found


def ours() -> dict[str, float]:
    memory = MemoryLedger(lambda: datetime.now(UTC))
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(f"sqlite:///{folder}/quota.db")
        found = {
            "memory": _each(lambda: _call(memory)),
            "sqlite": _each(lambda: _call(ledger)),
        }
        full = (Rolling("vendor/app#full", FULL, 86_400.0, None),)
        while isinstance(ledger.acquire(full), Grant):
            pass
        found["deny"] = _each(lambda: _deny(ledger, full))
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
