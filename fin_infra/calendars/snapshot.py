"""The shipped snapshot: local rules and their exceptions, expanded to arrays when a calendar is first asked for."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fin_infra.calendars.calendar import DAY, EPOCH_DAY, AlwaysOpen, Calendar, Kind, SessionTable
from fin_infra.errors import UsageError

_LOCAL_EPOCH = datetime(1970, 1, 1)
STEADY = 14
"""No zone changes its clock and back within so many days: where they begin and end with one offset, all have it."""

SNAPSHOT = Path(__file__).with_name("snapshot.json")


@cache
def get_calendar(mic: str) -> Calendar:
    """The calendar of an exchange by its MIC, `XNYS`, or `24/7`. Raises `UsageError` that lists what exists."""
    if mic == "24/7":
        return AlwaysOpen()
    entries = _entries()
    entry = entries.get(mic)
    if entry is None:
        close = difflib.get_close_matches(str(mic).upper(), calendar_names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(f"no calendar {mic!r}{hint}; there are: {', '.join(calendar_names())}")
    return expanded(mic, entries[entry["same_as"]] if "same_as" in entry else entry)


def calendar_names() -> list[str]:
    """What `get_calendar` knows."""
    return [*sorted(_entries()), "24/7"]


@cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    entries: Mapping[str, Mapping[str, Any]] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))["calendars"]
    return entries


def expanded(name: str, entry: Mapping[str, Any]) -> SessionTable:
    """The sessions of one entry of the snapshot; `build.py` says how an entry is made."""
    try:
        zone = ZoneInfo(entry["zone"])
    except ZoneInfoNotFoundError:
        raise UsageError(
            f"this machine has no time zone data for {entry['zone']}; install the package tzdata"
        ) from None
    first, last = date.fromisoformat(entry["first"]), date.fromisoformat(entry["last"])
    week = frozenset(entry["week"])
    closed = {date.fromisoformat(day).toordinal() for day in entry["closed"]}
    other = {date.fromisoformat(day).toordinal(): hours for day, hours in entry["hours_on"].items()}
    regular = _seconds(entry["hours"][0]), _seconds(entry["hours"][1])
    days: list[int] = []
    opens: list[int] = []
    closes: list[int] = []
    kinds: dict[int, Kind] = {}
    begin = first.toordinal()
    offset: int | None = None  # None: the clock changes within these days, and each time is asked for
    then = _offset(zone, (begin - EPOCH_DAY) * DAY)
    for day in range(begin, last.toordinal() + 1):
        if (day - begin) % STEADY == 0:
            now, then = then, _offset(zone, (day + STEADY - EPOCH_DAY) * DAY)
            offset = now if now == then else None
        opening, closing = regular
        if day in other:
            hours = other[day]
            opening, closing, kinds[day] = _seconds(hours[0]), _seconds(hours[1]), hours[2]
        elif (day - 1) % 7 not in week or day in closed:
            continue
        midnight = (day - EPOCH_DAY) * DAY
        days.append(day)
        opens.append(midnight + opening - (_offset(zone, midnight + opening) if offset is None else offset))
        closes.append(midnight + closing - (_offset(zone, midnight + closing) if offset is None else offset))
    published = date.fromisoformat(entry["published"])
    return SessionTable(name, zone, first, last, published, days=days, opens=opens, closes=closes, kinds=kinds)


def _seconds(clock: str) -> int:
    hour, _, minute = clock.partition(":")
    return int(hour) * 3600 + int(minute) * 60


def _offset(zone: ZoneInfo, local: int) -> int:
    """Seconds from UTC of a local time, given in seconds since the local midnight of 1970-01-01."""
    offset = (_LOCAL_EPOCH + timedelta(seconds=local)).replace(tzinfo=zone).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds
