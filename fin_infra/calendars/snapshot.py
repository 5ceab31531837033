"""The shipped snapshot: local rules and their exceptions, expanded to arrays when a calendar is first asked for."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fin_infra.calendars.calendar import DAY, EPOCH_DAY, AlwaysOpen, Calendar, Kind, SessionTable
from fin_infra.errors import UsageError

_LOCAL_EPOCH = datetime(1970, 1, 1)
STEADY = 14
"""No zone changes its clock and back within so many days: where they begin and end with one offset, all have it."""

SNAPSHOT = Path(__file__).with_name("snapshot")
"""A folder with one file a calendar, so that the first question to one does not read them all."""

EVE = "<"
"""Before a local time: it is that of the day before, as in `<17:00-16:00`."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When trading runs on one day: `spans` from begin to stop, in seconds since the day's local midnight.

    More than one span is a session with breaks; a session that opens the evening before begins below 0.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    @property
    def opening(self) -> int:
        return self.spans[0][0]

    @property
    def close(self) -> int:
        return self.spans[-1][1]


Week = list[tuple[Kind, Hours] | None]
"""A weekly pattern, Monday first: the kind and the hours of each weekday, None for one without sessions."""


@cache
def hours(text: str) -> Hours:
    """Reads `09:30-12:00 13:00-16:00`. Raises `ValueError` where the times do not ascend."""
    spans = tuple(_span(part) for part in text.split(" "))
    times = [moment for span in spans for moment in span]
    if any(a >= b for a, b in pairwise(times)):
        raise ValueError(f"the times of {text!r} do not ascend")
    return Hours(text, spans)


@cache
def get_calendar(mic: str) -> Calendar:
    """The calendar of an exchange by its MIC, `XNYS`, or of `24/7`, `FX`, `TARGET`, `SIFMAUS`, `CMES`.

    Raises `UsageError` for another name, with the nearest one that exists.
    """
    if mic == "24/7":
        return AlwaysOpen()
    names = calendar_names()
    if mic not in names:
        close = difflib.get_close_matches(str(mic).upper(), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"no calendar {mic!r}; {hint}`fin-infra calendar ls` lists the {len(names)} there are")
    return expanded(mic, entry_of(mic))


@cache
def calendar_names() -> list[str]:
    """What `get_calendar` knows."""
    return [*sorted(path.stem for path in SNAPSHOT.glob("*.json")), "24/7"]


def entry_of(mic: str, snapshot: Path = SNAPSHOT) -> Mapping[str, Any]:
    """The entry of a calendar, or of the one whose sessions it keeps."""
    entry: Mapping[str, Any] = json.loads((snapshot / f"{mic}.json").read_text(encoding="utf-8"))
    return entry_of(entry["same_as"], snapshot) if "same_as" in entry else entry


def expanded(name: str, entry: Mapping[str, Any]) -> SessionTable:
    """The sessions of one entry of the snapshot; `build.py` says how an entry is made."""
    try:
        zone = ZoneInfo(entry["zone"])
    except ZoneInfoNotFoundError:
        raise UsageError(
            f"this machine has no time zone data for {entry['zone']}; install the package tzdata"
        ) from None
    first, last = date.fromisoformat(entry["first"]), date.fromisoformat(entry["last"])
    closed = {
        date.fromisoformat(f"{year}-{day}").toordinal()
        for year, found in entry["closed"].items()
        for day in found.split()
    }
    other = {date.fromisoformat(day).toordinal(): text.split(" ", 1) for day, text in entry["hours_on"].items()}
    regimes = [(date.fromisoformat(regime["from"]).toordinal(), week(regime["week"])) for regime in entry["regimes"]]
    begin, end = first.toordinal(), last.toordinal() + 1
    days: list[int] = []
    opens: list[int] = []
    closes: list[int] = []
    edges: list[int] = []
    kinds: dict[int, Kind] = {}
    for since, until, pattern in _stretches(regimes, begin, end):
        for start in range(since, until, STEADY):
            stop = min(start + STEADY, until)
            # from the evening before the first day to the midnight after the last one
            before, after = (_offset(zone, (day - EPOCH_DAY) * DAY) for day in (start - 1, stop))
            offset = before if before == after else None  # None: the clock changes, and each time is asked for
            for day in range(start, stop):
                usual = pattern[(day - 1) % 7]
                if day in other:
                    kinds[day], spans = cast(Kind, other[day][0]), hours(other[day][1]).spans
                elif usual is None or day in closed:
                    continue
                else:
                    if usual[0] != "regular":
                        kinds[day] = usual[0]
                    spans = usual[1].spans
                midnight = (day - EPOCH_DAY) * DAY
                if offset is None:
                    local = [midnight + moment for span in spans for moment in span]
                    times = [moment - _offset(zone, moment) for moment in local]
                else:
                    begins = midnight - offset
                    times = [begins + moment for span in spans for moment in span]
                days.append(day)
                opens.append(times[0])
                closes.append(times[-1])
                edges += times
    # where sessions open the evening before, the last evening belongs to a session that is not known
    eve = min((usual[1].opening for usual in regimes[-1][1] if usual is not None), default=0)
    bounds = [(begin - EPOCH_DAY) * DAY, (end - EPOCH_DAY) * DAY + min(eve, 0)]
    start, stop = (bound - _offset(zone, bound) for bound in bounds)
    published = date.fromisoformat(entry["published"])
    return SessionTable(
        name, zone, first, last, published, begin=start, end=stop,
        days=days, opens=opens, closes=closes, edges=edges, kinds=kinds,
    )  # fmt: skip


def week(days: Sequence[str | None]) -> Week:
    """Reads the seven entries of a weekly pattern."""
    return [None if text is None else usual(text) for text in days]


def usual(text: str) -> tuple[Kind, Hours]:
    """Reads hours that may have their kind in front: `early 10:00-13:50`."""
    kind, _, rest = text.partition(" ")
    return (cast(Kind, kind), hours(rest)) if kind in get_args(Kind) else ("regular", hours(text))


def _stretches(regimes: Sequence[tuple[int, Week]], begin: int, end: int) -> list[tuple[int, int, Week]]:
    """The days each regime lasts, within `begin` up to, not including, `end`."""
    ends = [since for since, _ in regimes[1:]] + [end]
    return [
        (max(since, begin), min(until, end), pattern)
        for (since, pattern), until in zip(regimes, ends, strict=True)
        if max(since, begin) < min(until, end)
    ]


def _span(text: str) -> tuple[int, int]:
    begin, _, end = text.partition("-")
    return _seconds(begin), _seconds(end)


def _seconds(clock: str) -> int:
    moment = time.fromisoformat(clock.removeprefix(EVE))
    return moment.hour * 3600 + moment.minute * 60 - (DAY if clock.startswith(EVE) else 0)


def _offset(zone: ZoneInfo, local: int) -> int:
    """Seconds from UTC of a local time, given in seconds since the local midnight of 1970-01-01."""
    offset = (_LOCAL_EPOCH + timedelta(seconds=local)).replace(tzinfo=zone).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds
