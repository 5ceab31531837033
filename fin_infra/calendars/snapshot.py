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
from typing import Any, NamedTuple, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fin_infra.calendars.calendar import DAY, EPOCH_DAY, AlwaysOpen, Calendar, Kind, SessionTable
from fin_infra.errors import UsageError

STEADY = 14
"""No zone changes its clock and back within so many days: where they begin and end with one offset, all have it."""

SNAPSHOT = Path(__file__).with_name("snapshot")
"""A folder with one file a calendar, so that the first question to one does not read them all."""

EVE = "<"
"""Before a local time: it is that of the day before, as in `<17:00-16:00`."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When trading runs on one day: `times` at which it begins and stops, in turn, in seconds since local midnight.

    More than two are a session with breaks; a session that opens the evening before begins below 0.
    """

    text: str
    times: tuple[int, ...]

    @property
    def opening(self) -> int:
        return self.times[0]

    @property
    def close(self) -> int:
        return self.times[-1]


Week = list[tuple[Kind, Hours] | None]
"""A weekly pattern, Monday first: the kind and the hours of each weekday, None for one without sessions."""


@cache
def hours(text: str) -> Hours:
    """Reads `09:30-12:00 13:00-16:00`. Raises `ValueError` where it is not so, or the times do not ascend."""
    try:
        times = tuple(_seconds(clock) for span in text.split(" ") for clock in span.split("-", 1))
    except ValueError:
        raise ValueError(f"{text!r} is not as 09:30-12:00 13:00-16:00") from None
    if len(times) % 2 or any(a >= b for a, b in pairwise(times)):
        raise ValueError(f"the times of {text!r} do not ascend in pairs")
    return Hours(text, times)


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


class Described(NamedTuple):
    """One line of the list of calendars."""

    mic: str
    name: str
    zone: str
    first: date
    last: date
    published: date
    published_in: str


def described() -> list[Described]:
    """What calendars there are, and up to which day their sessions are announced, by whom."""
    found = []
    for mic in calendar_names()[:-1]:
        entry = entry_of(mic)
        first, last, published = (date.fromisoformat(entry[part]) for part in ("first", "last", "published"))
        found.append(Described(mic, entry["name"], entry["zone"], first, last, published, entry["published_in"]))
    always = AlwaysOpen()
    return [
        *found,
        Described(
            always.name, "crypto, always open", always.zone, always.first, always.last, always.published,
            "it has no holidays to announce",
        ),
    ]  # fmt: skip


def entry_of(mic: str, snapshot: Path = SNAPSHOT) -> Mapping[str, Any]:
    """The entry of a calendar, or of the one whose sessions it keeps."""
    entry: Mapping[str, Any] = json.loads((snapshot / f"{mic}.json").read_text(encoding="utf-8"))
    return {**entry_of(entry["same_as"], snapshot), "name": entry["name"]} if "same_as" in entry else entry


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
    edges: list[int] = []
    kinds: dict[int, Kind] = {}
    breaks = any(len(usual[1].times) > 2 for _, pattern in regimes for usual in pattern if usual is not None)
    breaks = breaks or any(len(hours(text).times) > 2 for _, text in other.values())
    opens: list[int] = []
    closes: list[int] = []
    for since, until, pattern in _stretches(regimes, begin, end):
        before = None
        for start in range(since, until, STEADY):
            stop = min(start + STEADY, until)
            # from the evening before the first day to the midnight after the last one
            before = _offset(zone, start - 1) if before is None else before
            before = before if before == _offset(zone, stop) else None  # None: the clock changes
            for day in range(start, stop):
                usual = pattern[(day - 1) % 7]
                if day in other:
                    kinds[day], times = cast(Kind, other[day][0]), hours(other[day][1]).times
                elif usual is None or day in closed:
                    continue
                else:
                    times = usual[1].times
                    if usual[0] != "regular":
                        kinds[day] = usual[0]
                midnight = (day - EPOCH_DAY) * DAY - (before or 0)
                moments = [midnight + moment for moment in times]
                if before is None:
                    moments = [moment - _offset(zone, EPOCH_DAY, moment) for moment in moments]
                days.append(day)
                edges += moments
                if breaks:
                    opens.append(moments[0])
                    closes.append(moments[-1])
    # where sessions open the evening before, the last evening belongs to a session that is not known
    eve = min((usual[1].times[0] for usual in regimes[-1][1] if usual is not None), default=0)
    known = [(begin - EPOCH_DAY) * DAY, (end - EPOCH_DAY) * DAY + min(eve, 0)]
    start, stop = (moment - _offset(zone, EPOCH_DAY, moment) for moment in known)
    return SessionTable(
        name, zone, first, last, date.fromisoformat(entry["published"]), begin=start, end=stop, days=days,
        opens=opens if breaks else edges[::2], closes=closes if breaks else edges[1::2], edges=edges, kinds=kinds,
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


def _seconds(clock: str) -> int:
    moment = time.fromisoformat(clock.removeprefix(EVE))
    return moment.hour * 3600 + moment.minute * 60 - (DAY if clock.startswith(EVE) else 0)


def _offset(zone: ZoneInfo, day: int, seconds: int = 0) -> int:
    """Seconds from UTC of a local time: so many seconds after the midnight that begins the proleptic ordinal `day`."""
    local = datetime.fromordinal(day)
    offset = zone.utcoffset(local + timedelta(seconds=seconds) if seconds else local)
    assert offset is not None
    return offset.days * DAY + offset.seconds
