"""A month as a picture: sessions, holidays, early closes, and what is due on each day. Pure text, plain ASCII."""

from __future__ import annotations

import calendar as weeks
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from fin_infra.calendars import Calendar, Session
from fin_infra.engine.freshness import span
from fin_infra.planning import Schedule
from fin_infra.planning.rules import FIELDS, Rule

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
NARROWEST = 11
DAY = timedelta(days=1)
UNDRAWN = ("job", "calendar", "jitter", "lane", "providers", "tenants")


def month_view(schedules: Sequence[Schedule], first: date, tz: str | None = None) -> Iterator[str]:
    """Lines: for each calendar in use a picture of the month that begins on `first`, then what its letters mean.

    Due times are those before `jitter`. A schedule without a calendar stands in the first picture; one that runs
    several times a day round the clock only in the legend. `tz`: a zone instead of the calendar's own. Raises
    `UsageError` for a month that a calendar does not know.
    """
    marked = {schedule.name: _letter(n) for n, schedule in enumerate(s for s in schedules if _is_drawn(s))}
    mics = list(dict.fromkeys(schedule.mic for schedule in schedules if schedule.mic is not None))
    for n, mic in enumerate(mics or [None]):
        shown = [s for s in schedules if s.mic == mic or (n == 0 and s.mic is None)]
        found = next((s.calendar for s in shown if s.mic == mic), None) if mic else None
        if n:
            yield ""
        yield from _picture([s for s in shown if s.name in marked], found, first, tz, marked)
        yield ""
        yield from _legend(shown, marked)


def _picture(
    drawn: Sequence[Schedule], found: Calendar | None, first: date, tz: str | None, marked: dict[str, str]
) -> Iterator[str]:
    name = tz or ("UTC" if found is None else found.zone)
    zone = ZoneInfo(name)
    after = (first + 31 * DAY).replace(day=1)
    due = {s.name: _by_day(s, first, after, zone) for s in drawn}
    usual = {day.weekday() for day in found.dates(first, after - DAY)} if found else set()
    cells: dict[date, list[str]] = {}
    for n in range((after - first).days):
        day = first + n * DAY
        session = found.session(day) if found else None
        times = sorted((due[s.name][day], marked[s.name]) for s in drawn if day in due[s.name])
        cells[day] = _day(day, session, zone, is_holiday=day.weekday() in usual)
        cells[day] += [_times(letter, here) for here, letter in times]
    width = max([NARROWEST, *(len(line) for lines in cells.values() for line in lines)]) + 1
    where = "" if found is None else f"{found.name}, "
    yield f"{first:%B %Y}, {where}times in {name}"
    yield ""
    yield "".join(f"{day:{width}}" for day in WEEKDAYS).rstrip()
    for week in weeks.Calendar().monthdatescalendar(first.year, first.month):
        columns = [cells.get(day, []) for day in week]
        for n in range(max(len(lines) for lines in columns)):
            yield "".join(f"{lines[n] if n < len(lines) else '':{width}}" for lines in columns).rstrip()
        yield ""
    yield "early, late, shifted: other hours than usual   holiday: no session   ~: by rule, not published yet"


def _day(day: date, session: Session | None, zone: ZoneInfo, *, is_holiday: bool) -> list[str]:
    if session is None:
        return [f"{day.day} holiday" if is_holiday else f"{day.day}"]
    kind = "" if session.kind == "regular" else f" {session.kind}"
    opens, closes = session.open_at.astimezone(zone), session.close_at.astimezone(zone)
    hours = "24 hours" if closes - opens == DAY else f"{opens:%H:%M}-{closes:%H:%M}"
    return [f"{day.day}{'~' if session.provisional else ''}{kind}", hours]


def _by_day(schedule: Schedule, first: date, after: date, zone: ZoneInfo) -> dict[date, list[datetime]]:
    begin, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, after))
    found: dict[date, list[datetime]] = {}
    for due_at, _ in schedule.occurrences(begin, end):
        local = due_at.astimezone(zone)
        found.setdefault(local.date(), []).append(local)
    return found


def _times(letter: str, times: Sequence[datetime]) -> str:
    return f"{letter} {times[0]:%H:%M}" + (f" x{len(times)}" if len(times) > 1 else "")


def _legend(shown: Sequence[Schedule], marked: dict[str, str]) -> Iterator[str]:
    width = max((len(schedule.name) for schedule in shown), default=0)
    for schedule in shown:
        rule = schedule.rule
        jitter = f", and up to {span(rule.jitter)} later" if rule.jitter else ""
        drawn = "" if schedule.name in marked else ", round the clock: not drawn"
        yield f"{marked.get(schedule.name, '-'):2} {schedule.name:{width}}  {rule.job}, {_words(rule)}{jitter}{drawn}"


def _words(rule: Rule) -> str:
    """What the file says of when."""
    said = []
    for word, field in FIELDS.items():
        name = f"{word}_" if word == "while" else word
        value = getattr(rule, name)
        if word in UNDRAWN or value == field.default:
            continue
        match value:
            case timedelta():
                told = span(abs(value)) if value % DAY else f"{abs(value.days)}d"
                value = f"{'-' if value < timedelta() else '+'}{told}" if word == "offset" else told
            case time():
                value = f"{value:%H:%M}"
            case tuple():
                value = ", ".join(value)
        said.append(f"{word} {value}")
    return ", ".join(said)


def _is_drawn(schedule: Schedule) -> bool:
    rule = schedule.rule
    return rule.every is None or rule.while_ is not None or rule.every >= DAY


def _letter(n: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return letters[n] if n < len(letters) else letters[n // len(letters) - 1] + letters[n % len(letters)]
