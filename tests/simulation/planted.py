"""Bugs planted on purpose, one line each in a copy of the code: every one must be found, and soon.

    .venv/bin/python -m tests.simulation --planted

`found`: the first seed that shows it, noted so that `make test` needs to live through that one alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHIN = 200


@dataclass(frozen=True)
class Plant:
    """`old` (one place in `file`) becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    found: int


PLANTS = (
    Plant("cursor before rows", "store/sql.py",
          "        for chunk in early:  # rows",
          "        with self.writing() as sql:\n            self._advance(sql, stream, expect, applied, next, run_id)\n"
          "        for chunk in early:  # rows", 1),
    Plant("removal ignored", "engine/reconcile.py",
          "[*posted_gone.to_list(), *sorted({", "[*sorted({", 1),
    Plant("retry without fencing", "store/sql.py", "        if done != 1:", "        if False:", 1),
    Plant("page dropped", "engine/sync.py",
          "                run.pages.setdefault((page.dataset, vendor_id), []).append(page)\n",
          "                if page.position is None or (page.dataset, vendor_id) not in run.pages:\n"
          "                    run.pages.setdefault((page.dataset, vendor_id), []).append(page)\n", 1),
    Plant("duplicate on re-link", "engine/linking.py",
          "    found = continued(new, free, _lasting(", "    found = continued(new, free.clear(), _lasting(", 1),
    Plant("stale snapshot mixed", "engine/sync.py", 'atomic=run.source.kind == "snapshot"', "atomic=False", 4),
    Plant("ack before commit", "runtime/worker.py",
          "        work = asyncio.create_task(self._outcome(job))\n",
          "        self._jobs.ack(job.id)\n        work = asyncio.create_task(self._outcome(job))\n", 1),
    Plant("lost outcome", "engine/sync.py",
          "                self._record(run, outcome, calls)\n", "                self._stop_refused(run)\n", 1),
    Plant("posting not matched", "engine/identity.py",
          "return dict(sure.rows()),", "return {},", 19),
    Plant("row written without a change", "store/statements.py",
          "return all(new[i] == old[i] for i in self._compared)", "return False", 1),
    Plant("wait forgotten", "providers/metering.py",
          "        ledger.penalize(list(stopped.values()), reply.at + timedelta(seconds=wait))\n", "", 8),
    Plant("what the log takes back stays", "engine/delta.py",
          "return rows, _still_named(removed, run, store) - set(rows", "return rows, set() - set(rows", 1),
)  # fmt: skip


def planted(plant: Plant, folder: Path) -> Path:
    """A copy of the tree with the bug in it. Raises `SystemExit` where the line is not there any more."""
    tree = folder / plant.name.replace(" ", "-")
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("fin_infra", "jobs", "schedules", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    shutil.copyfile(ROOT / "pyproject.toml", tree / "pyproject.toml")
    path = tree / "fin_infra" / plant.file
    path.write_text(_changed(plant), encoding="utf-8")
    return tree


def _changed(plant: Plant) -> str:
    text = (ROOT / "fin_infra" / plant.file).read_text(encoding="utf-8")
    if text.count(plant.old) != 1:
        raise SystemExit(f"{plant.name}: {plant.old!r} stands {text.count(plant.old)} times in {plant.file}")
    return text.replace(plant.old, plant.new)


def first_found(plant: Plant, first: int, seeds: int) -> tuple[int | None, str]:
    """The first seed that shows the bug, and what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        tree = planted(plant, Path(folder))
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--first", str(first), "--seeds", str(seeds), "--stop"],
            cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True,
        )  # fmt: skip
    line = next((line for line in done.stdout.splitlines() if line.startswith("seed ")), "")
    if done.returncode not in (0, 1) or (done.returncode == 1 and not line):
        raise SystemExit(f"{plant.name}: the simulation could not run: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return (int(line.split(":")[0].removeprefix("seed ")), line) if line else (None, "")


def hunt(only: str = "", *, jobs: int = 2) -> int:
    """Looks for every bug from the first seed on. How many stay hidden."""
    hidden, plants = 0, [plant for plant in PLANTS if only in plant.name]
    for plant in plants:
        _changed(plant)
    with ThreadPoolExecutor(jobs) as threads:
        for plant, (seed, line) in zip(plants, threads.map(lambda p: first_found(p, 1, WITHIN), plants), strict=True):
            hidden += seed is None
            print(
                f"{'HIDDEN' if seed is None else f'found by seed {seed}':20} {plant.name:30} {line[:150]}", flush=True
            )
    return hidden
