"""The calendars group: one question to an exchange's calendar, and what the first one costs."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

from bench.figures import ROOT, Figure

QUESTIONS, ROUNDS = 200_000, 3
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def measure() -> list[Figure]:
    """Beside exchange_calendars, asked for the same minutes."""
    runs = [_run(who) for who in ("ours", "peer") for _ in range(ROUNDS)]

    def middle(who: str, what: str) -> float:
        return median(run[what] for run in runs if run["who"] == who)

    snapshot = ROOT / "fin_infra/calendars/snapshot.json"
    return [
        Figure("calendar_is_open", middle("ours", "ns"), {"exchange_calendars": middle("peer", "ns")}),
        Figure("snapshot.start", middle("ours", "start"), {"exchange_calendars": middle("peer", "start")}),
        Figure("snapshot.size", snapshot.stat().st_size / 1e6),
    ]


def _run(who: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.calendars", who]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return {"who": who, **found}


def ours() -> dict[str, float]:
    from fin_infra.calendars import get_calendar

    begin = perf_counter()
    calendar = get_calendar("XNYS")
    calendar.is_open(BEGIN)
    start = perf_counter() - begin
    moments = [BEGIN + timedelta(minutes=7 * n) for n in range(QUESTIONS)]
    begin = perf_counter()
    for moment in moments:
        calendar.is_open(moment)
    return {"start": start * 1000, "ns": (perf_counter() - begin) / QUESTIONS * 1e9}


def peer() -> dict[str, float]:
    begin = perf_counter()
    import exchange_calendars
    import pandas as pd

    calendar = exchange_calendars.get_calendar("XNYS")
    calendar.is_open_on_minute(pd.Timestamp(BEGIN))
    start = perf_counter() - begin
    moments = [pd.Timestamp(BEGIN + timedelta(minutes=7 * n)) for n in range(2_000)]
    begin = perf_counter()
    for moment in moments:
        calendar.is_open_on_minute(moment)
    return {"start": start * 1000, "ns": (perf_counter() - begin) / len(moments) * 1e9}


if __name__ == "__main__":
    print(json.dumps({"ours": ours, "peer": peer}[sys.argv[1]]()))
