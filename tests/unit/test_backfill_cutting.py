"""Chunks hold what is missing and nothing else, however a vendor has to be asked."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.calendars import get_calendar
from fin_infra.engine.backfilling.cutting import CALLS, ROWS, Chunk, calls_of, cut
from fin_infra.engine.gaps import GAPS
from fin_infra.providers.base import Reach
from tests.guards import guarded

REACHES = [
    Reach(at_once=100, rows=10_000), Reach(at_once=7, rows=500), Reach(at_once=1), Reach(at_once=1, rows=1_000),
    Reach(at_once=None, days=181), Reach(at_once=None),
]  # fmt: skip
CALENDAR = get_calendar("XNYS")
DAYS = st.integers(0, 7_000).map(lambda n: date(2006, 1, 3) + timedelta(days=n))


@st.composite
def missing(draw: st.DrawFn) -> pl.DataFrame:
    """Instruments that mostly miss the same, and some that miss something else."""
    rows = []
    common = sorted((draw(DAYS), draw(DAYS)))
    for n in range(draw(st.integers(1, 25))):
        first, last = common if draw(st.integers(0, 3)) else sorted((draw(DAYS), draw(DAYS)))
        days = CALENDAR.dates(first, last)
        if days:
            rows.append((f"us:S{n:02}", days[0], days[-1], len(days), "hole"))
    return pl.DataFrame(rows, schema=GAPS, orient="row")


def sessions(chunk: Chunk) -> list[tuple[str, date]]:
    return [(name, day) for name in chunk.subjects for day in CALENDAR.dates(chunk.first, chunk.last)]


@guarded("a session between two chunks is lost", "engine/backfilling/cutting.py",
         "        end = start\n", "        end = start - 1\n")  # fmt: skip
@settings(max_examples=60, deadline=None)
@given(missing(), st.sampled_from(REACHES))
def test_every_missing_session_is_in_one_chunk(frame: pl.DataFrame, reach: Reach) -> None:
    chunks = cut(frame, dict.fromkeys(frame["instrument"], "XNYS"), reach)
    held = [one for chunk in chunks for one in sessions(chunk)]
    wanted = [(name, day) for name, first, last, *_ in frame.iter_rows() for day in CALENDAR.dates(first, last)]
    assert sorted(held) == sorted(wanted)
    assert [chunk.last for chunk in chunks] == sorted((chunk.last for chunk in chunks), reverse=True), "newest first"
    for chunk in chunks:
        assert chunk.expected == len(sessions(chunk))
        assert chunk.calls <= CALLS
        assert chunk.expected <= ROWS or len(chunk.subjects) == 1


@pytest.mark.parametrize(
    ("reach", "subjects", "count", "calls"),
    [
        (Reach(at_once=100, rows=10_000), 300, 5_000, 150),  # pages over all symbols of a call
        (Reach(at_once=100, rows=10_000), 150, 50, 2),  # two calls, neither full
        (Reach(at_once=1), 60, 5_000, 60),  # one whole series a call
        (Reach(at_once=None, days=181), 29, 5_000, 40),  # half a year of all pairs a call
        (Reach(at_once=None), 29, 5_000, 1),  # one file with everything
    ],
)
def test_how_many_calls_bring_it(reach: Reach, subjects: int, count: int, calls: int) -> None:
    days = CALENDAR.dates(date(2006, 1, 3), date(2026, 1, 1))[:count]
    assert calls_of(subjects, count, days[0], days[-1], reach) == pytest.approx(calls, abs=1)


def test_pages_are_filled() -> None:
    days = CALENDAR.dates(date(2006, 1, 3), date(2025, 12, 31))
    rows = [(f"us:S{n:03}", days[0], days[-1], len(days), "head") for n in range(300)]
    chunks = cut(
        pl.DataFrame(rows, schema=GAPS, orient="row"), {row[0]: "XNYS" for row in rows}, Reach(at_once=100, rows=10_000)
    )
    ideal = 300 * len(days) / 10_000
    assert ideal <= sum(chunk.calls for chunk in chunks) <= ideal + 3


def test_one_answer_with_everything_is_paid_for_once() -> None:
    days = CALENDAR.dates(date(2006, 1, 3), date(2025, 12, 31))
    rows = [(f"us:S{n:03}", days[0], days[-1], len(days), "head") for n in range(30)]
    frame = pl.DataFrame(rows, schema=GAPS, orient="row")
    chunks = cut(frame, {row[0]: "XNYS" for row in rows}, Reach(at_once=None))
    assert len(chunks) > 1
    assert [chunk.calls for chunk in chunks] == [1] + [0] * (len(chunks) - 1)
