"""Compiles `snapshot.json` from pandas_market_calendars and `overrides.csv`. Needs the extra `calendars`.

    make calendars

An entry holds the zone, the weekly pattern with its regular local hours, and what departs from it: `closed` days, and
`hours_on` other days with their kind. Local hours and not instants are kept, so that a government's new rule for
summer time reaches us with the machine's zone data and not with our next release.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from fin_infra.calendars.calendar import Kind
from fin_infra.calendars.snapshot import SNAPSHOT
from fin_infra.errors import UsageError

OVERRIDES = Path(__file__).with_name("overrides.csv")
COLUMNS = ["mic", "date", "expected", "open", "close", "reason", "source"]
VERSION = 1

Hours = tuple[str, str]
"""Local opening and close as HH:MM."""


@dataclass(frozen=True)
class Exchange:
    """What is compiled of one exchange.

    `published`: up to this day the exchange has announced its holidays, see `published_in`; the library's rules go on
    to `last`, and those sessions are provisional.
    """

    library: str
    zone: str
    hours: Hours
    first: date
    last: date
    published: date
    published_in: str
    week: tuple[int, ...] = (0, 1, 2, 3, 4)


EXCHANGES = {
    "XNYS": Exchange(
        # the library has New York twice; this one knows the late openings and interrupted days of the 1990s
        library="NYSE", zone="America/New_York", hours=("09:30", "16:00"),
        first=date(1990, 1, 1), last=date(2035, 12, 31), published=date(2028, 12, 31),
        published_in="NYSE Group announces 2026, 2027 and 2028 holiday and early closings calendar, 2025-12-23",
    ),
}  # fmt: skip

ALIASES = {"XNAS": "XNYS"}
"""Exchanges that keep another's sessions."""


class Override(NamedTuple):
    """A day on which we know better than the library; `hours` are None when it is closed."""

    mic: str
    day: date
    hours: Hours | None
    line: int


def build(overrides: Path = OVERRIDES) -> str:
    """The text of the snapshot: the same library and overrides give the same bytes."""
    known = read_overrides(overrides)
    calendars: dict[str, Any] = {}
    for mic, exchange in EXCHANGES.items():
        sessions = library_sessions(exchange)
        for override in known:
            if override.mic == mic:
                apply(override, sessions, exchange)
        calendars[mic] = compiled(exchange, sessions)
    calendars |= {alias: {"same_as": mic} for alias, mic in ALIASES.items()}
    return json.dumps({"version": VERSION, "calendars": calendars}, indent=1) + "\n"


def library_sessions(exchange: Exchange) -> dict[date, Hours]:
    """The library's sessions with their local hours, oldest first. Raises `UsageError` where it gives half of them."""
    import pandas
    import pandas_market_calendars

    if tuple(int(part) for part in pandas.__version__.split(".")[:2]) >= (3, 1):
        raise UsageError(f"pandas {pandas.__version__} silently loses sessions; install pandas<3.1")
    schedule = pandas_market_calendars.get_calendar(exchange.library).schedule(
        exchange.first, exchange.last, tz=exchange.zone
    )
    found: dict[date, Hours] = {}
    for stamp, opening, closing in zip(schedule.index, schedule["market_open"], schedule["market_close"], strict=True):
        day = stamp.date()
        if not opening.date() == closing.date() == day or opening >= closing:
            raise UsageError(f"{exchange.library} {day}: a session from {opening} to {closing} is not one local day's")
        found[day] = (f"{opening:%H:%M}", f"{closing:%H:%M}")
    return found


def read_overrides(path: Path) -> list[Override]:
    """The rows of the override file. Raises `UsageError` with file and line at a row that is not whole."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != COLUMNS:
            raise UsageError(f"{path.name}:1: the columns must be {','.join(COLUMNS)}")
        return [_override(row, f"{path.name}:{rows.line_num}", rows.line_num) for row in rows]


def _override(row: Mapping[str, str], place: str, line: int) -> Override:
    exchange = EXCHANGES.get(row["mic"])
    if exchange is None:
        raise UsageError(f"{place}: unknown mic {row['mic']!r}; there are: {', '.join(EXCHANGES)}")
    try:
        day = date.fromisoformat(row["date"])
        hours = (_clock(row["open"]), _clock(row["close"])) if row["expected"] != "closed" else None
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None
    if not exchange.first <= day <= exchange.last:
        raise UsageError(f"{place}: {day} is not between {exchange.first} and {exchange.last}")
    if not (row["reason"] and row["source"]):
        raise UsageError(f"{place}: an override needs its reason and its source")
    is_kind = "closed" if hours is None else kind(day, hours, exchange)
    if (is_kind if is_kind != "regular" else "open") != row["expected"]:
        raise UsageError(f"{place}: by its hours the day is {is_kind}, not {row['expected']}")
    return Override(row["mic"], day, hours, line)


def _clock(text: str) -> str:
    return f"{datetime.strptime(text, '%H:%M'):%H:%M}"


def apply(override: Override, sessions: dict[date, Hours], exchange: Exchange) -> None:
    """Writes an override over the library's `sessions`; tells when the library has come to say the same."""
    if sessions.get(override.day) == override.hours:
        say(f"{OVERRIDES.name}:{override.line}: the library says the same of {override.day} now")
    if override.hours is None:
        sessions.pop(override.day, None)
    else:
        sessions[override.day] = override.hours


def compiled(exchange: Exchange, sessions: Mapping[date, Hours]) -> dict[str, Any]:
    """The entry of one exchange: its weekly pattern, and every day that departs from it."""
    pattern = (day for day in days(exchange.first, exchange.last) if day.weekday() in exchange.week)
    other = {
        day.isoformat(): [*hours, is_kind]
        for day, hours in sorted(sessions.items())
        if (is_kind := kind(day, hours, exchange)) != "regular"
    }
    return {
        "zone": exchange.zone,
        "first": exchange.first.isoformat(),
        "last": exchange.last.isoformat(),
        "published": exchange.published.isoformat(),
        "published_in": exchange.published_in,
        "week": list(exchange.week),
        "hours": list(exchange.hours),
        "closed": [day.isoformat() for day in pattern if day not in sessions],
        "hours_on": other,
    }


def kind(day: date, hours: Hours, exchange: Exchange) -> Kind:
    """What sets the day apart from the weekly pattern; a later close alone is special, too."""
    (opening, closing), (usual_opening, usual_closing) = hours, exchange.hours
    if day.weekday() not in exchange.week or opening < usual_opening or closing > usual_closing:
        return "special"
    late, early = opening > usual_opening, closing < usual_closing
    return "shifted" if late and early else "late" if late else "early" if early else "regular"


def days(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    text = build()
    if not SNAPSHOT.is_file() or SNAPSHOT.read_text(encoding="utf-8") != text:
        SNAPSHOT.write_text(text, encoding="utf-8")
        say(f"{SNAPSHOT.name} is new")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
