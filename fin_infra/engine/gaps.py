"""Gaps: the sessions that should have a final bar and have none, of all instruments at once.

Each session has an ordinal in its calendar, so a hole is where two neighbouring bars are more than one ordinal apart.
Bars of the store come sorted: none is hashed, joined or sorted, each is looked at a few times in one sweep.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby
from typing import NamedTuple

import polars as pl

from fin_infra.calendars import get_calendar

FEW = 5_000  # bars: a year of some twenty instruments
KIND = pl.Enum(["head", "hole", "tail"])
GAPS = {"instrument": pl.String(), "first": pl.Date(), "last": pl.Date(), "sessions": pl.Int64(), "kind": KIND}
DAYS = pl.Series([], dtype=pl.Date)
ORDINALS = pl.Series([], dtype=pl.Int32)
BOUNDS = {"row": pl.UInt32(), "instrument": pl.String(), "calendar": pl.String(), "low": pl.Int32(),
          "high": pl.Int32(), "base": pl.Int32()}  # fmt: skip
SPANS = {"instrument": pl.String(), "calendar": pl.String(), "first": pl.Date(), "last": pl.Date()}


def gaps(held: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Runs of expected sessions without a final bar: `instrument`, `first` and `last` session, `sessions`, `kind`.

    `held`: `instrument` (text, Enum or Categorical), `session`, and their `state` where not all bars are final. Sorted
    by instrument and session, as the store gives them; else they are sorted here, at several times the cost. `spans`:
    what is expected: `instrument`, once each, the code of its `calendar`, and the days from `first` to `last`, both
    included; days that the calendar does not know are not expected.

    In the order of `spans`, then by session. `kind`: head where nothing is held before it within the span, so an
    instrument without any bar is one head; tail where nothing is held after it; else hole. Bars of other instruments,
    outside of a span or on days without a session count for nothing, and twice the same bar counts once.
    """
    if held.height <= FEW:
        return _one_by_one(held, spans)
    expected = _bounds(spans)
    found = _sweep(held, expected)
    if found is None:
        found = _sweep(held.with_columns(pl.col("instrument").cast(pl.String)).sort("instrument", "session"), expected)
        assert found is not None, "sorted bars have one run per instrument"
    sessions = pl.concat([DAYS, *(_sessions(name) for name in _calendars(spans))])
    return (
        pl.concat([_edges(found, expected), _holes(found)])
        .with_columns(a=pl.max_horizontal("a", "low"), b=pl.min_horizontal("b", "high"))
        .filter(pl.col("a") <= pl.col("b"))
        .sort("row", "a")
        .select(
            "instrument",
            first=_at(sessions, pl.col("base") + pl.col("a")), last=_at(sessions, pl.col("base") + pl.col("b")),
            sessions=(pl.col("b") - pl.col("a") + 1).cast(pl.Int64),
            kind=pl.when(pl.col("a") == pl.col("low")).then(pl.lit("head"))
            .when(pl.col("b") == pl.col("high")).then(pl.lit("tail"))
            .otherwise(pl.lit("hole")).cast(KIND),
        )
    )  # fmt: skip


def _one_by_one(held: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The same of few bars, where to begin a sweep takes longer than a set of them."""
    bars = held.filter(pl.col("state") == "final") if "state" in held.columns else held
    by_name = bars.group_by(pl.col("instrument").cast(pl.String)).agg("session").iter_rows()
    final = {name: set(days) for name, days in by_name}
    rows = []
    for name, code, first, last in spans.select(list(SPANS)).iter_rows():
        calendar, known = get_calendar(code), final.get(name, set())
        expected = calendar.dates(max(first, calendar.first), min(last, calendar.last))
        missing = [n for n, day in enumerate(expected) if day not in known]
        for _, run in groupby(enumerate(missing), lambda place: place[1] - place[0]):
            numbers = [n for _, n in run]
            a, b = numbers[0], numbers[-1]
            kind = "head" if a == 0 else "tail" if b == len(expected) - 1 else "hole"
            rows.append((name, expected[a], expected[b], b - a + 1, kind))
    return pl.DataFrame(rows, schema=GAPS, orient="row")


class _Swept(NamedTuple):
    """`runs`: of each instrument where its bars `begin` and `end` in `at`, the ordinals of final bars in order.
    `jumps`: where the next ordinal is not the next session's, or another instrument's."""

    runs: pl.DataFrame
    at: pl.Series
    jumps: pl.Series


@cache
def _sessions(name: str) -> pl.Series:
    """All sessions of a calendar: an ordinal is a place here."""
    calendar = get_calendar(name)
    return pl.Series(calendar.dates(calendar.first, calendar.last), dtype=pl.Date)


def _calendars(spans: pl.DataFrame) -> list[str]:
    return spans["calendar"].unique(maintain_order=True).to_list()


def _bounds(spans: pl.DataFrame) -> pl.DataFrame:
    """The spans as ordinals from `low` to `high`, empty ones left out. `base`: what stands before the calendar's
    sessions where those of all are in one row."""
    numbered = spans.with_columns(pl.col("instrument").cast(pl.String)).with_row_index("row")
    parts, base = [pl.DataFrame(schema=BOUNDS)], 0
    for name in _calendars(spans):
        part, sessions = numbered.filter(pl.col("calendar") == name), _sessions(name)
        low, high = sessions.search_sorted(part["first"], "left"), sessions.search_sorted(part["last"], "right")
        some = part.select("row", "instrument", "calendar", low=low, high=high.cast(pl.Int32) - 1, base=pl.lit(base))
        parts.append(some.cast(BOUNDS))  # type: ignore[arg-type]
        base += sessions.len()
    return pl.concat(parts).filter(pl.col("low") <= pl.col("high"))


def _sweep(held: pl.DataFrame, expected: pl.DataFrame) -> _Swept | None:
    """None where the bars are not sorted."""
    names, days = held["instrument"].rechunk(), held["session"].rechunk()
    begins = _places(names != names.shift(1), first=names.len() > 0)
    runs = pl.DataFrame({"instrument": names.gather(begins).cast(pl.String), "begin": begins})
    if runs["instrument"].n_unique() < runs.height:
        return None
    runs = runs.with_columns(end=pl.col("begin").shift(-1, fill_value=names.len()))
    runs = runs.join(expected, on="instrument", how="left", maintain_order="left")
    at = pl.concat([ORDINALS, *(_ordinals(calendar, days[begin:end]) for calendar, begin, end in _blocks(runs))])
    final = held["state"].rechunk() == "final" if "state" in held.columns else None
    if at.null_count() or not (final is None or final.all()):
        counts = at.is_not_null() if final is None else at.is_not_null() & final
        before = pl.concat([pl.Series([0], dtype=pl.UInt32), counts.cast(pl.UInt32).cum_sum()])
        runs = runs.with_columns(begin=before.gather(runs["begin"]), end=before.gather(runs["end"]))
        at = at.filter(counts)
    runs = runs.filter(pl.col("begin") < pl.col("end"))
    step = at.rechunk().diff()
    back = _places(step < 0)
    if not back.is_in(runs["begin"].implode()).all():
        return None
    return _Swept(runs, at, _places(step > 1))


def _blocks(runs: pl.DataFrame) -> list[tuple[str | None, int, int]]:
    """Neighbouring runs of one calendar, as one."""
    blocks = runs.group_by(pl.col("calendar").rle_id(), maintain_order=True)
    found = blocks.agg(name=pl.col("calendar").first(), begin=pl.col("begin").min(), end=pl.col("end").max())
    return list(found.select("name", "begin", "end").iter_rows())


def _ordinals(name: str | None, days: pl.Series) -> pl.Series:
    """Null on days without a session, on those the calendar does not know, and of what is not expected at all."""
    if name is None or days.is_empty():
        return ORDINALS.extend_constant(None, days.len())
    calendar = get_calendar(name)
    if days.min() < calendar.first or days.max() > calendar.last:  # type: ignore[operator]
        days = days.set((days < calendar.first) | (days > calendar.last), None)
    return calendar.ordinals(days)


def _edges(found: _Swept, expected: pl.DataFrame) -> pl.DataFrame:
    """What lies before the first and behind the last bar of each instrument; all of one that has none."""
    runs = found.runs.select("row", before=_at(found.at, pl.col("begin")), behind=_at(found.at, pl.col("end") - 1))
    edges = expected.join(runs, on="row", how="left")
    head = edges.with_columns(a="low", b=pl.coalesce(pl.col("before") - 1, "high"))
    tail = edges.drop_nulls("behind").with_columns(a=pl.col("behind") + 1, b="high")
    return pl.concat([head, tail]).select(*BOUNDS, "a", "b")


def _holes(found: _Swept) -> pl.DataFrame:
    jumps = pl.DataFrame({"place": found.jumps}).join_asof(
        found.runs.with_columns(pl.col("begin").set_sorted()), left_on="place", right_on="begin", coalesce=False
    )
    inner = jumps.filter(pl.col("place") > pl.col("begin"))
    return inner.with_columns(
        a=_at(found.at, pl.col("place") - 1) + 1, b=_at(found.at, pl.col("place")) - 1
    ).select(*BOUNDS, "a", "b")  # fmt: skip


def _places(flags: pl.Series, *, first: bool = False) -> pl.Series:
    """Where a flag is set; with `first` at the very first place too."""
    found = flags.fill_null(False).arg_true()
    return pl.concat([pl.Series([0], dtype=found.dtype), found]) if first else found


def _at(values: pl.Series, places: pl.Expr) -> pl.Expr:
    return pl.lit(values).gather(places)
