"""Cuts what is missing into chunks, newest days first. Pure.

A chunk is one question and its pages: at most ten calls and so many rows as one transaction may write while live work
waits for the database. What a vendor answers at once is not asked for in parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import ceil
from typing import NamedTuple

import polars as pl

from fin_infra.calendars import get_calendar
from fin_infra.providers.base import Reach

CALLS = 10  # of one chunk, at most
ROWS = 20_000  # of one chunk: its transaction takes well below a second


class Chunk(NamedTuple):
    """Sessions from `first` to `last` of all `subjects`. `expected`: how many over all of them; `calls`: that bring
    them."""

    subjects: tuple[str, ...]
    first: date
    last: date
    expected: int
    calls: int


def cut(missing: pl.DataFrame, calendars: dict[str, str], reach: Reach) -> list[Chunk]:
    """The chunks, newest first. `missing`: instrument, first, last, as `gaps` gives them; `calendars`: by instrument.

    Instruments that miss the same sessions of the same calendar are asked about together: nothing that is held is
    asked for again.
    """
    alike: dict[tuple[str, date, date], list[str]] = {}
    for name, first, last in missing.select("instrument", "first", "last").iter_rows():
        alike.setdefault((calendars[name], first, last), []).append(name)
    chunks = []
    for (calendar, first, last), names in alike.items():
        sessions = get_calendar(calendar).dates(first, last)
        size = _subjects(len(names), len(sessions), reach)
        for start in range(0, len(names), size):
            chunks += _windows(tuple(sorted(names)[start : start + size]), sessions, reach)
    chunks = sorted(chunks, key=lambda chunk: (-chunk.last.toordinal(), chunk.subjects))
    if reach.whole and chunks:  # the one answer is kept for the others
        chunks = [chunk._replace(calls=int(n == 0)) for n, chunk in enumerate(chunks)]
    return chunks


def calls_of(subjects: int, sessions: int, first: date, last: date, reach: Reach) -> int:
    """How many calls bring so many sessions of so many subjects."""
    together = reach.at_once or subjects
    whole, rest = divmod(subjects, together)
    groups = [together] * whole + ([rest] if rest else [])
    spans = ceil(((last - first).days + 1) / reach.days) if reach.days else 1
    return sum(max(spans, ceil(group * sessions / reach.rows) if reach.rows else 1) for group in groups)


def _subjects(names: int, sessions: int, reach: Reach) -> int:
    """How many subjects a chunk is about."""
    if reach.at_once is None:
        return names
    if reach.at_once > 1:
        return reach.at_once
    return max(1, min(CALLS, ROWS // max(1, sessions)))


def _windows(names: tuple[str, ...], sessions: Sequence[date], reach: Reach) -> list[Chunk]:
    """Consecutive sessions, from the newest back, as many as a chunk may have."""
    chunks = []
    for part in reversed(_parts(sessions, _length(len(names), len(sessions), reach), reach)):
        calls = calls_of(len(names), len(part), part[0], part[-1], reach)
        chunks.append(Chunk(names, part[0], part[-1], len(names) * len(part), calls))
    return chunks


def _length(names: int, sessions: int, reach: Reach) -> int:
    """How many sessions: pages are filled, and a whole series that one call brings stays whole."""
    if reach.at_once == 1 and reach.rows is None and reach.days is None:
        return sessions
    if reach.rows is None:
        return max(1, ROWS // names)
    together = min(names, reach.at_once or names)
    groups = ceil(names / together)
    pages = max(1, min(CALLS // groups, ROWS // (groups * reach.rows)))
    return max(1, min(pages * reach.rows // together, ROWS // names))


def _parts(sessions: Sequence[date], length: int, reach: Reach) -> list[Sequence[date]]:
    """Runs of at most `length` sessions, and of as many days as the calls of a chunk may span; oldest first."""
    longest = reach.days * CALLS if reach.days else None
    parts: list[Sequence[date]] = []
    end = len(sessions)
    while end > 0:
        start = max(0, end - length)
        if longest is not None:
            while (sessions[end - 1] - sessions[start]).days >= longest:
                start += 1
        parts.append(sessions[start:end])
        end = start
    return parts[::-1]
