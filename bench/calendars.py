"""The calendars group: one question to an exchange's calendar, with and without a lunch break; what the first costs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from time import process_time
from typing import Any

from bench.figures import ROOT, Figure

QUESTIONS, ROUNDS = 200_000, 3
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def measure() -> list[Figure]:
    """Beside exchange_calendars, asked for the same minutes."""
    runs = [_run(who) for who in ("ours", "peer") for _ in range(ROUNDS)]

    def middle(who: str, what: str) -> float:
        return median(run[what] for run in runs if run["who"] == who)

    snapshot = ROOT / "fin_infra/calendars/snapshot"
    return [
        Figure("calendar_is_open", middle("ours", "ns"), {"exchange_calendars": middle("peer", "ns")}),
        Figure("calendar_is_open_lunch", middle("ours", "lunch")),
        Figure("calendar_session", middle("ours", "session")),
        Figure("calendar_next_open", middle("ours", "next_open")),
        Figure("calendar_column", middle("ours", "column")),
        Figure("snapshot.start", middle("ours", "start"), {"exchange_calendars": middle("peer", "start")}),
        Figure("snapshot.memory", middle("ours", "memory"), {"exchange_calendars": middle("peer", "memory")}),
        Figure("snapshot.size", sum(path.stat().st_size for path in snapshot.iterdir()) / 1e6),
    ]


def _run(who: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.calendars", who]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return {"who": who, **found}


def ours() -> dict[str, float]:
    from fin_infra.calendars import get_calendar

    held = _memory()
    begin = process_time()
    calendar = get_calendar("XNYS")
    calendar.is_open(BEGIN)
    start, memory = process_time() - begin, _memory() - held
    moments = [BEGIN + timedelta(minutes=7 * n) for n in range(QUESTIONS)]
    days = [BEGIN.date() + timedelta(days=n % 1_000) for n in range(QUESTIONS)]
    found = {
        "start": start * 1000, "memory": memory, "ns": _each(calendar.is_open, moments),
        "lunch": _each(get_calendar("XHKG").is_open, moments), "session": _each(calendar.session, days),
        "next_open": _each(calendar.next_open, moments),
    }  # fmt: skip

    import polars as pl

    column = pl.Series(moments, dtype=pl.Datetime("us", "UTC"))
    calendar.is_open_at(column[:1])
    begin = process_time()
    calendar.is_open_at(column)
    return {**found, "column": (process_time() - begin) / QUESTIONS * 1e9}


def _each(ask: Callable[[Any], Any], questions: Sequence[Any]) -> float:
    """Nanoseconds of one question; a session is made at the first question for it, and that is not measured."""
    for question in questions:
        ask(question)
    begin = process_time()
    for question in questions:
        ask(question)
    return (process_time() - begin) / len(questions) * 1e9


def _memory() -> float:
    """The most this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def peer() -> dict[str, float]:
    held = _memory()
    begin = process_time()
    import exchange_calendars
    import pandas as pd

    calendar = exchange_calendars.get_calendar("XNYS")
    calendar.is_open_on_minute(pd.Timestamp(BEGIN))
    start, memory = process_time() - begin, _memory() - held
    moments = [pd.Timestamp(BEGIN + timedelta(minutes=7 * n)) for n in range(2_000)]
    begin = process_time()
    for moment in moments:
        calendar.is_open_on_minute(moment)
    return {"start": start * 1000, "memory": memory, "ns": (process_time() - begin) / len(moments) * 1e9}


if __name__ == "__main__":
    print(json.dumps({"ours": ours, "peer": peer}[sys.argv[1]]()))
