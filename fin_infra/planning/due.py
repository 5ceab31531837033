"""When a rule is due: pure, from the rule, a calendar and a moment alone.

All times are microseconds since 1970 in UTC. A rule's times are computed a few weeks at a stretch and kept; what is
asked again and again lies between two of them, and is told by comparing three numbers.

**When the clock changes.** A local time is read as zoneinfo reads it with `fold=0`: one that is left out comes as much
later as the clock jumps, one that comes twice counts when it comes first. Of a cron line whose hours are `*` or a step
of it, the second passage counts too: it names no hour of the day, it runs through all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from fin_infra.calendars import Calendar, Session
from fin_infra.planning.rules import WEEKDAYS, OnClosed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
DAY = timedelta(days=1)
WEEKS = 16  # days that are computed at a stretch
CLOSED_AT_MOST = timedelta(days=35)  # no exchange has been closed for so long that was to open again
TIMES_AT_ONCE = 2_000

Found = tuple[int, Session | None]
"""A time, and the session whose close, open or day it is."""


def micros(at: datetime) -> int:
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def instant(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


class Times(ABC):
    """The times of a rule, before `offset` and `jitter`.

    `gap`: two times with none between them, replaced as one: threads share these.
    """

    gap: tuple[int, int] = (0, 0)

    @abstractmethod
    def after(self, moment: int) -> int:
        """The first time later than `moment`. Raises `UsageError` where the calendar does not reach."""

    def session(self, at: int) -> Session | None:
        """The session that a time, which `after` has given, belongs to."""
        return None

    def room(self, at: int) -> int | None:
        """How much later than `at` a run may be put, at most; None: as much as the rule says."""
        return None


class Grid(Times):
    """Whole multiples of a span since 1970."""

    def __init__(self, every: int) -> None:
        self._every = every

    def after(self, moment: int) -> int:
        slot = moment // self._every * self._every
        self.gap = (slot, slot + self._every)
        return slot + self._every


class Listed(Times):
    """Times that are listed, some weeks at a stretch: `listing(first, last)` gives those of local days."""

    def __init__(self, listing: Callable[[date, date], Sequence[Found]], calendar: Calendar | None, days: int) -> None:
        self._listing = listing
        self._calendar = calendar
        self._days = days
        self._stretch: tuple[int, int, list[int], dict[int, Session | None]] = (0, 0, [], {})

    def after(self, moment: int) -> int:
        low, high = self.gap
        if low <= moment < high:
            return high
        begin, end, times, _ = self._at(moment)
        place = bisect_right(times, moment)
        before = times[place - 1] if place else begin
        while place == len(times):
            (_, end, times, _), place = self._at(end), 0
        self.gap = (before, times[place])
        return times[place]

    def session(self, at: int) -> Session | None:
        return self._at(at)[3].get(at)

    def _at(self, moment: int) -> tuple[int, int, list[int], dict[int, Session | None]]:
        stretch = self._stretch
        if not stretch[0] <= moment < stretch[1]:
            stretch = self._stretch = self._computed(instant(moment).date())
        return stretch

    def _computed(self, day: date) -> tuple[int, int, list[int], dict[int, Session | None]]:
        last = day + timedelta(days=self._days)
        if self._calendar is not None:
            self._calendar.is_session(day)  # raises where the calendar does not reach
            last = min(last, self._calendar.last + DAY)
        begin, end = _midnight(day), _midnight(last)
        # a session closes, and a local day lies, within three days of its date in UTC
        found = self._listing(day - 3 * DAY, last + 3 * DAY)
        sessions: dict[int, Session | None] = {}
        for at, session in found:
            if begin <= at < end and sessions.get(at) is None:
                sessions[at] = session
        return begin, end, sorted(sessions), sessions


class Slots(Times):
    """While a calendar is open: every so long from each session's open on, up to and not including its close.

    A break is left out, and does not begin the count anew.
    """

    def __init__(self, calendar: Calendar, every: int) -> None:
        self._calendar = calendar
        self._every = every
        self._stretch: tuple[int, int, list[tuple[int, int, int, Session]]] = (0, 0, [])

    def after(self, moment: int) -> int:
        low, high = self.gap
        if low <= moment < high:
            return high
        found, _, _ = self._slot(moment)
        self.gap = (moment, found)
        return found

    def session(self, at: int) -> Session | None:
        return self._slot(at - 1)[2]

    def room(self, at: int) -> int | None:
        return self._slot(at - 1)[1] - at

    def _slot(self, moment: int) -> tuple[int, int, Session]:
        """The first slot later than `moment`, the end of the open hours it lies in, and its session."""
        asked = moment
        while True:
            _, end, spans = self._at(asked)
            for origin, opens, closes, session in spans:
                if closes <= moment:
                    continue
                first = max(moment + 1, opens)
                slot = origin - (origin - first) // self._every * self._every  # rounded up
                if slot < closes:
                    return slot, closes, session
            asked = end

    def _at(self, moment: int) -> tuple[int, int, list[tuple[int, int, int, Session]]]:
        stretch = self._stretch
        if not stretch[0] <= moment < stretch[1]:
            stretch = self._stretch = self._computed(instant(moment).date())
        return stretch

    def _computed(self, day: date) -> tuple[int, int, list[tuple[int, int, int, Session]]]:
        calendar = self._calendar
        calendar.is_session(day)  # raises where the calendar does not reach
        last = min(day + timedelta(days=WEEKS), calendar.last + DAY)
        spans = []
        for session in calendar.sessions(*_within(calendar, day - 3 * DAY, last + 3 * DAY)):
            origin, opens = micros(session.open_at), session.open_at
            for begin, end in session.breaks:
                spans.append((origin, micros(opens), micros(begin), session))
                opens = end
            spans.append((origin, micros(opens), micros(session.close_at), session))
        return _midnight(day), _midnight(last), spans


# -- which times -------------------------------------------------------------------------------------------------------

On = str | tuple[str, ...]


@lru_cache(maxsize=4096)
def grid(every: int) -> Times:
    """By the wall clock."""
    return Grid(every)


@lru_cache(maxsize=4096)
def while_open(calendar: Calendar, every: int) -> Times:
    """Every so long while the calendar is open."""
    return Slots(calendar, every)


@lru_cache(maxsize=4096)
def of_sessions(calendar: Calendar, opens: bool, on: On, on_closed: OnClosed) -> Times:
    """The close, or open, of sessions."""

    def listing(first: date, last: date) -> Sequence[Found]:
        return [
            (micros(session.open_at if opens else session.close_at), session)
            for _, session in days_of(on, on_closed, calendar, first, last)
            if session is not None
        ]

    return Listed(listing, calendar, WEEKS)


@lru_cache(maxsize=16384)
def of_clock(calendar: Calendar | None, at: str, zone: str, on: On, on_closed: OnClosed) -> Times:
    """A local time of the days that count."""
    clock, there = time.fromisoformat(at), ZoneInfo(zone)

    def listing(first: date, last: date) -> Sequence[Found]:
        return [
            (micros(datetime.combine(day, clock, there)), session)
            for day, session in days_of(on, on_closed, calendar, first, last)
        ]

    return Listed(listing, calendar, WEEKS)


@lru_cache(maxsize=4096)
def of_cron(calendar: Calendar | None, line: str, zone: str, on_closed: OnClosed) -> Times:
    """The local times of a cron line."""
    fields, there = CronSim(line, EPOCH), ZoneInfo(zone)
    clocks = [time(hour, minute) for hour in sorted(fields.hours) for minute in sorted(fields.minutes)]
    twice = line.split()[1].startswith("*")

    def listing(first: date, last: date) -> Iterator[Found]:
        for day, session in cron_days(line, on_closed, calendar, first, last):
            for clock in clocks:
                at = datetime.combine(day, clock, there)
                yield micros(at), session
                if twice and _comes_twice(at):
                    yield micros(at.replace(fold=1)), session

    days = max(3, min(TIMES_AT_ONCE // len(clocks), 366))
    return Listed(lambda first, last: list(listing(first, last)), calendar, days)


def days_of(
    on: On, on_closed: OnClosed, calendar: Calendar | None, first: date, last: date
) -> list[tuple[date, Session | None]]:
    """The days from `first` to `last` that a rule is for, with the session of each, oldest first."""
    if on in ("month_first", "month_last"):
        return _of_months(on == "month_first", calendar, first, last)
    if not isinstance(on, str):
        return chosen(lambda day: WEEKDAYS[day.weekday()] in on, on_closed, calendar, first, last)
    if calendar is not None and on_closed != "run":
        return [(session.date, session) for session in calendar.sessions(*_within(calendar, first, last))]
    return chosen(lambda day: True, on_closed, calendar, first, last)


def cron_days(
    line: str, on_closed: OnClosed, calendar: Calendar | None, first: date, last: date
) -> list[tuple[date, Session | None]]:
    """The same of a cron line."""
    fields = CronSim(line, EPOCH)
    return chosen(lambda day: day.month in fields.months and fields.match_day(day), on_closed, calendar, first, last)


def chosen(
    counts: Callable[[date], bool], on_closed: OnClosed, calendar: Calendar | None, first: date, last: date
) -> list[tuple[date, Session | None]]:
    """The days that count; what becomes of one without a session, `on_closed` says."""
    if calendar is None:
        return [(day, None) for day in _days(first, last) if counts(day)]
    first, last = _within(calendar, first, last)
    if on_closed == "run":
        return [(day, calendar.session(day)) for day in _days(first, last) if counts(day)]
    if on_closed == "skip":
        return [(session.date, session) for session in calendar.sessions(first, last) if counts(session.date)]
    begin = max(first - CLOSED_AT_MOST, calendar.first)
    moved, found, waits = calendar.sessions(begin, last), [], begin
    for session in moved:
        if any(counts(day) for day in _days(waits, session.date)):  # its own, and the closed days just before it
            found.append((session.date, session))
        waits = session.date + DAY
    return [(day, session) for day, session in found if day >= first]


def _of_months(is_first: bool, calendar: Calendar | None, first: date, last: date) -> list[tuple[date, Session | None]]:
    """The first, or last, session of each month; without a calendar, its first or last day."""
    found: list[tuple[date, Session | None]] = []
    month = first.replace(day=1)
    while month <= last:
        following = (month + 31 * DAY).replace(day=1)
        if calendar is None:
            found.append((month if is_first else following - DAY, None))
        elif sessions := calendar.sessions(*_within(calendar, month, following - DAY)):
            session = sessions[0 if is_first else -1]
            found.append((session.date, session))
        month = following
    return [(day, session) for day, session in found if first <= day <= last]


def clock_after(moment: datetime, clock: time, zone: str) -> datetime:
    """The first time later than `moment` at which a zone's clock shows this."""
    there = ZoneInfo(zone)
    day = moment.astimezone(there).date() - DAY
    while (at := datetime.combine(day, clock, there).astimezone(UTC)) <= moment:
        day += DAY
    return at


def _comes_twice(at: datetime) -> bool:
    first, second = at.utcoffset(), at.replace(fold=1).utcoffset()
    assert first is not None
    assert second is not None
    return first > second


def _within(calendar: Calendar, first: date, last: date) -> tuple[date, date]:
    return max(first, calendar.first), min(last, calendar.last)


def _days(first: date, last: date) -> Iterator[date]:
    for day in range(first.toordinal(), last.toordinal() + 1):
        yield date.fromordinal(day)


def _midnight(day: date) -> int:
    return (day.toordinal() - EPOCH.toordinal()) * 86_400 * SECOND
