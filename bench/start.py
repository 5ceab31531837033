"""The start group: wall seconds of a fresh process that imports the library, and of one that asks for help."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.figures import Figure

RUNS = 9


def measure() -> list[Figure]:
    python = sys.executable
    return [
        Figure("import", seconds(python, "-c", "import fin_infra")),
        Figure("help", seconds(str(Path(python).with_name("fin-infra")), "--help")),
    ]


def seconds(*command: str) -> float:
    """Median of several runs, after one that is not counted."""
    found = []
    for _ in range(RUNS + 1):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - begin)
    return median(found[1:])
