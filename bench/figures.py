"""What is measured: each figure's unit and budget, and how results are written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results.json"

BUDGETS: dict[str, tuple[str, float | None]] = {
    "sync_initial_100k.cpu": ("s", 4.0),
    "sync_initial_100k.imports": ("s", None),
    "sync_initial_100k.peak": ("MiB", 250.0),
    "sync_initial_100k.rows_per_s": ("rows/s", None),
    "sync_changed_1pct.cpu": ("s", 0.7),
    "sync_nothing_new.per_connection": ("ms", 5.0),
    "commit.p50_growth": ("ratio", 1.3),
    "commit.p50_growth_1m": ("ratio", 1.3),
    "commit.per_s": ("1/s", 200.0),
    "commit.per_s_4proc": ("1/s", None),
    "commit_pg.p50_growth": ("ratio", 1.3),
    "commit_pg.p50_growth_1m": ("ratio", 1.3),
    "commit_pg.per_s": ("1/s", None),
    "commit_pg.per_s_4proc": ("1/s", None),
    "jobs_sqlite.per_s": ("1/s", 1200.0),
    "plan_due_100k": ("s", 3.0),
    "plan_idle_tick": ("ms", 1.0),
    "calendar_is_open": ("ns", 1000.0),
    "calendar_is_open_lunch": ("ns", 1000.0),
    "calendar_session": ("ns", 1000.0),
    "calendar_next_open": ("ns", 1000.0),
    "calendar_column": ("ns", None),
    "gaps_25m": ("s", 0.5),
    "snapshot.start": ("ms", 20.0),
    "snapshot.memory": ("MB", 15.0),
    "snapshot.size": ("MB", 8.0),
    "next_run_10k_rules": ("ms", 5.0),
    "next_run_10k_rules.first": ("ms", None),
    "quota_acquire.memory": ("us", 20.0),
    "quota_acquire.sqlite": ("us", 100.0),
    "quota_deny_15k.sqlite": ("us", 200.0),
    "quota_used": ("share", 0.98),
    "quota_429": ("count", 0.0),
    "import": ("s", 0.3),
    "help": ("s", 0.5),
}
"""Unit and budget by name, in the order they are shown. The budget of a rate or a share is a floor, every other one a
ceiling."""


@dataclass(frozen=True)
class Figure:
    """One measured value, the median of its runs, and what peers needed in the same run."""

    name: str
    value: float
    peers: Mapping[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        return BUDGETS[self.name][0]

    @property
    def budget(self) -> float | None:
        return BUDGETS[self.name][1]

    @property
    def met(self) -> bool:
        if self.budget is None:
            return True
        floor = self.unit.endswith("/s") or self.unit == "share"
        return self.value >= self.budget if floor else self.value <= self.budget

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "value": rounded(self.value), "unit": self.unit, "budget": self.budget,
            "peers": {peer: rounded(value) for peer, value in self.peers.items()},
        }  # fmt: skip


def rounded(value: float) -> float:
    """Three significant digits: more is noise."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))


def middle(values: list[dict[str, float]], name: str) -> float:
    return median(value[name] for value in values)


def write(figures: list[Figure], python: str = platform.python_version()) -> None:
    """Puts these figures into the results; figures of groups that were not measured now stay as they were."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"] if RESULTS.exists() else []
    by_name = {figure["name"]: figure for figure in kept} | {figure.name: figure.as_dict() for figure in figures}
    result = {
        "commit": _commit(), "python": python, "machine": _machine(),
        "figures": [by_name[name] for name in BUDGETS if name in by_name],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    """Processor, cores, memory, system: no name of a host, no path."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"
