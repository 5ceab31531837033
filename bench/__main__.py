"""`python -m bench [GROUP …]`: measures, writes bench/results.json, prints a table."""

from __future__ import annotations

import importlib
import sys

from bench.figures import Figure, rounded, write

GROUPS = ("sync", "commit", "jobs", "plan", "calendars", "gaps", "schedules", "quotas", "start")


def main() -> None:
    wanted = sys.argv[1:] or list(GROUPS)
    if unknown := [name for name in wanted if name not in GROUPS]:
        raise SystemExit(f"no group {unknown[0]!r}; there are: {', '.join(GROUPS)}")
    for group in wanted:
        found = importlib.import_module(f"bench.{group}").measure()
        write(found)
        for figure in found:
            print(_line(figure), flush=True)


def _line(figure: Figure) -> str:
    budget = "" if figure.budget is None else f"budget {figure.budget:g}" + ("" if figure.met else "  MISSED")
    peers = ", ".join(f"{peer} {rounded(value):g}" for peer, value in figure.peers.items())
    return f"{figure.name:34} {rounded(figure.value):>9g} {figure.unit:6} {budget:22} {peers}".rstrip()


if __name__ == "__main__":
    main()
