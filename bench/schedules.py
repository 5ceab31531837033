"""The schedules group: the next run of 10,000 rules, asked anew as time goes by, and the very first time."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

from bench.figures import ROOT, Figure

RULES, TICKS, ROUNDS = 10_000, 60, 3
BEGIN = datetime(2026, 11, 25, 12, tzinfo=UTC)  # the day before Thanksgiving
APART = timedelta(seconds=61)


def measure() -> list[Figure]:
    """No two rules are alike: a fifth each of every, at: close, a local time of sessions, of days, while: open."""
    command = [sys.executable, "-m", "bench.schedules"]
    runs = [
        json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout) for _ in range(ROUNDS)
    ]
    return [
        Figure("next_run_10k_rules", median(run["again"] for run in runs) * 1000),
        Figure("next_run_10k_rules.first", median(run["first"] for run in runs) * 1000),
    ]


def rule(n: int) -> tuple[dict[str, Any], str | None]:
    """The words of one rule, and its exchange."""
    clock = f"{n // 60 % 24:02}:{n % 60:02}"
    match n % 5:
        case 0:
            return {"every": f"{1 + n % 48}h", "jitter": "30m"}, None
        case 1:
            return {"at": "close", "offset": f"+{n % 600}m", "calendar": "c"}, "XNYS"
        case 2:
            return {"at": clock, "calendar": "c"}, ("XNYS", "XNAS", "24/7")[n % 3]
        case 3:
            return {"at": clock, "tz": ("Europe/Berlin", "Asia/Tokyo", "America/New_York")[n % 3]}, None
        case _:
            return {"every": f"{1 + n % 90}m", "while": "open", "calendar": "c"}, ("XNYS", "XNAS", "24/7")[n % 3]


def main() -> None:
    from fin_infra.planning.schedules import Rule, Schedule, due_after_many

    asked = []
    for n in range(RULES):
        words, mic = rule(n)
        asked.append(
            (Schedule(f"s{n}", Rule.model_validate({"job": "j", **words}), "prices", "f", 1, mic), f"c{n}/prices")
        )
    begin = perf_counter()
    due_after_many(asked, BEGIN)
    first = perf_counter() - begin
    again = []
    for tick in range(1, TICKS + 1):
        moment = BEGIN + tick * APART
        begin = perf_counter()
        found = due_after_many(asked, moment)
        again.append(perf_counter() - begin)
        assert len(found) == RULES
    print(json.dumps({"first": first, "again": median(again)}))


if __name__ == "__main__":
    main()
