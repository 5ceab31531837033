"""`python -m tests.quota_simulation`: the scenes over several seeds, as a table, with their gates.

The ledger is `MemoryLedger`; `--ledger sqlite` takes the one on a file, which decides alike and takes longer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fin_infra.quotas.ledger import Ledger
from fin_infra.store.ledger import open_ledger
from fin_infra.testing import VirtualClock
from tests.quota_simulation.machine import folder
from tests.quota_simulation.scenes import Daily, Figures, daily, fleet

Row = tuple[str, Figures | Daily, list[str]]
SCENES = ("fleet", "greedy", "day", "rolling")


def scene(name: str, seed: int, hours: float, days: int, ledger: str) -> Row:
    with folder() as made:
        place = Path(made)

        def opened(clock: VirtualClock) -> Ledger:
            return open_ledger(f"sqlite:///{place / 'quota.db'}", now=clock)

        use: Callable[[VirtualClock], Ledger] | None = opened if ledger == "sqlite" else None
        if name in ("fleet", "greedy"):
            found: Figures | Daily = fleet(place, seed, hours, greedy=name == "greedy", ledger=use)
        else:
            found = daily(place, seed, days, rolling=name == "rolling", ledger=use)
        # in a rolling day a unit that is kept is a unit lost: what it comes to is shown, and no gate
        return name, found, [] if name == "rolling" else found.misses()


def shown(row: Row) -> str:
    name, found, _ = row
    if isinstance(found, Figures):
        low, high = found.interactive
        age, late, oldest = found.ages
        return (
            f"{name:8} {found.seed:4} used {found.used:6.2f} %  429s {found.refused}  interactive {low:4.1f} / {high:4.1f} s"
            f"  webhook {found.webhook:4.1f} s  age {age:.2f} / {late:.2f} / {oldest:.2f} h  worst tenant {found.worst:.3f}"
            f"  reserves a sync {found.per_sync:.3f}  deferrals {found.deferrals}  backlog {found.backfill:.1f} h"
        )
    return (
        f"{name:8} {found.seed:4} used {found.used:6.2f} %  429s {found.refused}  urgent at once {found.urgent:.1f} % of "
        f"{found.orders:.1f} a day  refreshes {found.refreshes:.1f} a day, {found.early:.0f} % within 6 h of the close"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.quota_simulation", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of the scenes with 10,000 connections")
    parser.add_argument(
        "--days", type=int, default=37, help="of the scenes with 25 calls a day; the first 7 only teach"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--scene", choices=SCENES, action="append", help="only these; default: all")
    parser.add_argument("--ledger", choices=("memory", "sqlite"), default="memory")
    asked = parser.parse_args()
    print(f"ledger: {asked.ledger}; interactive p50 / p99, webhook p99, age p50 / p99 / longest", flush=True)
    missed = 0
    with ProcessPoolExecutor(asked.jobs) as pool:
        runs = [
            pool.submit(scene, name, seed, asked.hours, asked.days, asked.ledger)
            for seed in range(1, asked.seeds + 1)
            for name in asked.scene or SCENES
        ]
        for run in runs:
            row = run.result()
            print(shown(row), flush=True)
            for miss in row[2]:
                print(f"         missed: {miss}", flush=True)
            missed += len(row[2])
    print("all gates held (a rolling day has none)" if not missed else f"{missed} gates were missed", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
