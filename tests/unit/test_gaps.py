"""The gap finder against the naive way: per instrument, the set of expected sessions less the set of final bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_infra.calendars import get_calendar
from fin_infra.engine import gaps as finder
from fin_infra.engine.gaps import KIND, SPANS, gaps
from tests.guards import guarded

BEGIN = date(2026, 11, 16)  # a Monday; Thanksgiving is the 26th
STATE = pl.Enum(["provisional", "final"])


class Bar(NamedTuple):
    instrument: str
    session: date
    state: str = "final"


class Span(NamedTuple):
    instrument: str
    calendar: str
    first: date
    last: date


def day(n: int) -> date:
    return BEGIN + timedelta(days=n)


def frame_of(bars: Sequence[Bar], name: Any = pl.String) -> pl.DataFrame:
    schema = {"instrument": name, "session": pl.Date, "state": STATE}
    return pl.DataFrame(bars, schema=schema, orient="row")


def found(bars: Sequence[Bar] | pl.DataFrame, *spans: Span) -> list[tuple[str, str, str, int, str]]:
    held = bars if isinstance(bars, pl.DataFrame) else frame_of(bars)
    rows = gaps(held, pl.DataFrame(spans, schema=SPANS, orient="row")).iter_rows()
    return [(name, f"{first:%m-%d}", f"{last:%m-%d}", count, kind) for name, first, last, count, kind in rows]


def naive(bars: Sequence[Bar], spans: Sequence[Span]) -> list[tuple[str, date, date, int, str]]:
    """Written from the definition, with sets, one instrument after the other."""
    rows = []
    for span in spans:
        expected = get_calendar(span.calendar).dates(span.first, span.last)
        final = {bar.session for bar in bars if bar.instrument == span.instrument and bar.state == "final"}
        flagged = [(number, one) for number, one in enumerate(expected) if one not in final]
        for _, run in groupby(enumerate(flagged), lambda place: place[1][0] - place[0]):
            missing = [one for _, (_, one) in run]
            kind = "hole"
            if missing[0] == expected[0]:
                kind = "head"
            elif missing[-1] == expected[-1]:
                kind = "tail"
            rows.append((span.instrument, missing[0], missing[-1], len(missing), kind))
    return rows


NAMES = ("crypto:bitcoin", "us:A", "us:B", "us:C", "us:D")
days = st.integers(-6, 30).map(day)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Bar], list[Span]]:
    bars: list[Bar] = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        dense = draw(st.booleans())
        those = [day(n) for n in range(-6, 31)] if dense else []
        those = [one for one in those if one not in draw(st.sets(days, max_size=5))]
        those += draw(st.lists(days, max_size=6))  # duplicates, days without a session, bars outside of any span
        provisional = draw(st.sets(days, max_size=3))
        bars += [Bar(name, one, "provisional" if one in provisional else "final") for one in those]
    spans = [
        Span(
            name,
            "24/7" if name.startswith("crypto") else draw(st.sampled_from(["XNYS", "XNAS"])),
            draw(days),
            draw(days),
        )
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    return bars, spans


@pytest.fixture(params=["many", "few"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few bars are looked at one by one, many in a sweep: what is found is the same."""
    monkeypatch.setattr(finder, "FEW", -1 if request.param == "many" else 10**9)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), presorted=st.booleans(), name=st.sampled_from([pl.String, pl.Categorical, pl.Enum(NAMES)]))
def test_gaps_are_the_expected_sessions_less_the_final_bars(
    world: tuple[list[Bar], list[Span]], presorted: bool, name: Any
) -> None:
    bars, spans = world
    held = frame_of(sorted(bars) if presorted else bars, name)
    rows = list(gaps(held, pl.DataFrame(spans, schema=SPANS, orient="row")).iter_rows())
    assert rows == naive(bars, spans)


WEEK = Span("us:A", "XNYS", date(2026, 11, 23), date(2026, 11, 30))


@guarded("a hole is no gap", "engine/gaps.py", "_places(step > 1)", "_places(step > 9999)")
def test_a_holiday_is_no_gap_and_a_missing_half_day_is_a_hole() -> None:
    held = [Bar("us:A", date(2026, 11, n)) for n in (23, 24, 25, 30)]
    assert found(held, WEEK) == [("us:A", "11-27", "11-27", 1, "hole")]
    assert found([*held[:3], Bar("us:A", date(2026, 11, 27)), held[3]], WEEK) == []


@guarded("a bar on a holiday stands for a session", "engine/gaps.py", "return calendar.ordinals(days)",
         "return calendar.ordinals(days).forward_fill()")  # fmt: skip
def test_bars_on_days_without_a_session_stand_for_none() -> None:
    held = [Bar("us:A", date(2026, 11, n)) for n in (23, 24, 26, 28, 30)]
    assert found(held, WEEK) == [("us:A", "11-25", "11-27", 2, "hole")]


@guarded("what was never read is not missed", "engine/gaps.py", 'edges = expected.join(runs, on="row", how="left")',
         'edges = expected.join(runs, on="row", how="inner")')  # fmt: skip
def test_an_instrument_without_any_bar_is_one_head_and_one_that_is_not_expected_is_nothing() -> None:
    assert found([], WEEK) == [("us:A", "11-23", "11-30", 5, "head")]
    assert found([Bar("us:B", date(2026, 11, 23))], WEEK) == [("us:A", "11-23", "11-30", 5, "head")]
    assert found([], WEEK._replace(last=date(2026, 11, 22))) == []
    assert found([]) == []


@guarded("provisional bars count as final", "engine/gaps.py", "at.is_not_null() & final", "at.is_not_null()")
def test_a_provisional_bar_is_still_missing() -> None:
    held = [Bar("us:A", date(2026, 11, n), "provisional" if n in (25, 30) else "final") for n in (23, 24, 25, 27, 30)]
    assert found(held, WEEK) == [("us:A", "11-25", "11-25", 1, "hole"), ("us:A", "11-30", "11-30", 1, "tail")]


def test_bars_before_the_span_and_behind_it_make_no_gap_there() -> None:
    held = [Bar("us:A", date(2026, 11, n)) for n in (2, 24)] + [Bar("us:A", date(2026, 12, 9))]
    assert found(held, WEEK) == [("us:A", "11-23", "11-23", 1, "head"), ("us:A", "11-25", "11-30", 3, "tail")]


def test_days_that_the_calendar_does_not_know_are_not_expected() -> None:
    held = [Bar("us:A", date(1960, 1, 4)), Bar("us:A", date(2099, 1, 5))]
    [row] = gaps(frame_of(held), pl.DataFrame([WEEK._replace(first=date(1950, 1, 1), last=date(2100, 1, 1))],
                                              schema=SPANS, orient="row")).iter_rows()  # fmt: skip
    assert (row[1], row[4]) == (date(1990, 1, 2), "head")


def test_what_comes_back_has_its_columns_and_types() -> None:
    empty = gaps(frame_of([]), pl.DataFrame(schema=SPANS))
    assert dict(empty.schema) == {"instrument": pl.String, "first": pl.Date, "last": pl.Date, "sessions": pl.Int64,
                                  "kind": KIND}  # fmt: skip


@pytest.mark.parametrize("name", ["XNYS", "24/7"])
def test_a_whole_series_has_no_gap_on_its_own_calendar(name: str) -> None:
    span = Span("us:A", name, date(2020, 1, 1), date(2026, 11, 20))
    assert found([Bar("us:A", one) for one in get_calendar(name).dates(span.first, span.last)], span) == []
