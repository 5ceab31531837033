"""Breaks the code on purpose, one line at a time, and sees that the test beside which it stands notices: `make mutants`.

A test that still passes when its guard is gone protects nothing. Each mutant is put into a copy of the tree, two at a
time; `python -m tests.mutants WORD` runs those with the word in their test's name or their description.
"""

from __future__ import annotations

import importlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.guards import Guard, guards_of

ROOT = Path(__file__).parent.parent
WHERE = ("failures", "unit", "contract", "providers", "integration", "simulation", "cli")
AT_ONCE = 2
SECONDS = 120.0
"""A mutant under which its test never ends is killed too."""


class Mutant(NamedTuple):
    """`test` is a node of pytest: the file, and the function in it."""

    guard: Guard
    test: str


def mutants() -> Iterator[Mutant]:
    """All that are noted, in the order of the files and the functions in them."""
    for folder in WHERE:
        for path in sorted((ROOT / "tests" / folder).rglob("test_*.py")):
            if "@guarded(" not in path.read_text(encoding="utf-8"):
                continue
            place = path.relative_to(ROOT)
            module = importlib.import_module(".".join(place.with_suffix("").parts))
            for name, test in vars(module).items():
                if name.startswith("test_"):
                    yield from (Mutant(guard, f"{place.as_posix()}::{name}") for guard in guards_of(test))


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether the test passes although its guard is gone from this copy of the tree."""
    guard = mutant.guard
    path = tree / "fin_infra" / guard.file
    text = path.read_text(encoding="utf-8")
    if text.count(guard.old) != 1:
        raise SystemExit(f"{guard.what}: {guard.old!r} stands {text.count(guard.old)} times in {guard.file}")
    path.write_text(text.replace(guard.old, guard.new), encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test],
            cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(text, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{guard.what}: pytest could not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> None:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    wanted = [mutant for mutant in mutants() if word in mutant.test or word in mutant.guard.what]
    ignored = shutil.ignore_patterns(".venv", ".git", "var", "dist", "__pycache__", ".*_cache", ".hypothesis")
    alive = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for n in range(AT_ONCE):
            tree = Path(folder) / f"tree{n}"
            shutil.copytree(ROOT, tree, ignore=ignored)
            trees.put(tree)

        def tried(mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                return survives(mutant, tree)
            finally:
                trees.put(tree)

        for mutant, found in zip(wanted, pool.map(tried, wanted), strict=True):
            test = mutant.test.partition("::")[2]
            print(f"{'SURVIVES' if found else 'killed  '}  {mutant.guard.what}  ({test})", flush=True)
            alive += [mutant.guard.what] if found else []
    if alive:
        raise SystemExit(f"{len(alive)} of {len(wanted)} mutants survive: {'; '.join(alive)}")
    print(f"{len(wanted)} mutants, all killed")


if __name__ == "__main__":
    main()
