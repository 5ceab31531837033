"""What a measured process says of itself: CPU of its imports, CPU of its work, peak memory."""

from __future__ import annotations

import json
import resource
import sys
import time


def cpu() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def peak() -> float:
    """MiB that the largest of this process and its children had in memory at once."""
    scale = 1024 if sys.platform == "darwin" else 1
    usages = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(usages) / 1024 / scale


class Stopwatch:
    """Started after the imports; `report` prints one line of JSON for the process that measures."""

    def __init__(self) -> None:
        self.imports = cpu()
        self._wall = time.perf_counter()

    def report(self, **more: float) -> None:
        print(
            json.dumps(
                {
                    "imports": self.imports, "cpu": cpu() - self.imports, "wall": time.perf_counter() - self._wall,
                    "peak": peak(), **more,
                }
            ),
            flush=True,
        )  # fmt: skip
