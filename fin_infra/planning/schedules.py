"""A schedule: a named rule, and when it is due next for a stream. Due times are instants in UTC.

They follow from the rule, its calendar and a moment alone: no state, so a restart moves nothing. A stream has a stable
share of `jitter`, so that a thousand connections do not knock at one second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import NamedTuple

from fin_infra.calendars import Calendar, Session, get_calendar
from fin_infra.errors import UsageError
from fin_infra.planning.due import (
    EPOCH,
    SECOND,
    Times,
    clock_after,
    grid,
    instant,
    micros,
    of_clock,
    of_cron,
    of_sessions,
    while_open,
)
from fin_infra.planning.rules import DAY, WEBHOOK, Rule, duration, signed_duration
from fin_infra.quotas.windows import LANES

__all__ = [
    "EPOCH", "LANES", "WEBHOOK", "Occurrence", "Rule", "Schedule", "due_after_many", "duration", "signed_duration",
]  # fmt: skip

log = logging.getLogger("fin_infra.planner")

MICROSECOND = timedelta(microseconds=1)


class Occurrence(NamedTuple):
    """One due time, and the session whose close, open or day it is; None without one."""

    due_at: datetime
    session: Session | None


@dataclass(frozen=True)
class Schedule:
    """A named rule and the dataset its job drives. `mic` is what the file says of the rule's calendar.

    `calendars`: what knows the calendar of a MIC.
    """

    name: str
    rule: Rule
    dataset: str
    file: str
    line: int
    mic: str | None = None
    calendars: Callable[[str], Calendar] = field(default=get_calendar, compare=False, repr=False)

    @cached_property
    def calendar(self) -> Calendar | None:
        return None if self.mic is None else self.calendars(self.mic)

    @cached_property
    def fingerprint(self) -> str:
        """What due times follow from: a change of it starts the schedule anew, from now."""
        rule = self.rule
        calendar = f" calendar {self.mic}" if self.mic else ""
        where = f" {self.zone}" if rule.is_local else ""
        sessions = f"{calendar} on_closed {rule.on_closed}" if self.mic else ""
        if rule.every is not None:
            when = f"every {rule.every}" + (f" while {rule.while_}{calendar}" if rule.while_ else "")
        elif rule.cron is not None:
            when = f"cron {rule.cron}{where}{sessions}"
        else:
            days = (
                "" if rule.on == "each_session" else f" on {rule.on if isinstance(rule.on, str) else ','.join(rule.on)}"
            )
            when = f"at {rule.at}{where} {'-' if rule.offset < timedelta() else '+'}{abs(rule.offset)}{days}{sessions}"
        again = ""
        if rule.until is not None:
            again = f" until {rule.until} retry {rule.retry} deadline {rule.deadline:%H:%M} {self.zone}"
        return f"{rule.job} {when}{again} jitter {rule.jitter} lane {rule.lane}"

    def due_after(self, moment: datetime, stream: str) -> datetime:
        """The first due time of a stream after `moment`, in UTC; where the calendar ends, a day later.

        One schedule whose calendar is too old must not stop the others.
        """
        return instant(self._due_or_daily(micros(moment), stream))

    def due_after_run(self, moment: datetime, stream: str) -> datetime:
        """The next due time of a stream that was just queued; with `every` never sooner than half of it later.

        A stream that ran late, or at once because it was new, does not run again minutes later at its usual hour. But
        each session has its own run, however late the one before.
        """
        return self.due_after(moment + (self.rule.every or timedelta()) / 2, stream)

    def occurrence_after(self, moment: datetime, stream: str | None) -> Occurrence:
        """The first due time of a stream after `moment`, and its session; `UsageError` where the calendar ends.

        Of no stream: as if there were no jitter.
        """
        due, base = self._next(micros(moment), stream)
        return Occurrence(instant(due), self._times.session(base))

    def occurrences(self, begin: datetime, end: datetime, stream: str | None = None) -> Iterator[Occurrence]:
        """All from `begin` on up to, not including, `end`; none beyond the end of the calendar.

        Raises `UsageError` when `begin` is before the calendar's first day.
        """
        moment = begin - MICROSECOND
        try:
            while (found := self.occurrence_after(moment, stream)).due_at < end:
                yield found
                moment = found.due_at
        except UsageError:
            if self.calendar is not None and moment.date() < self.calendar.first:
                raise

    def session_at(self, moment: datetime) -> date | None:
        """The newest session that has closed by `moment`: what a run at this instant can be complete for.

        None without a calendar, and where the calendar does not reach.
        """
        if self.calendar is None:
            return None
        try:
            return self.calendar.last_closed(moment).date
        except UsageError:
            return None

    def deadline_after(self, moment: datetime) -> datetime:
        """With `until`: the first time later than `moment` at which the rule's clock shows its deadline."""
        assert self.rule.deadline is not None
        return clock_after(moment, self.rule.deadline, self.zone)

    @property
    def zone(self) -> str:
        """Of the local times of this rule."""
        return self.rule.tz or ("UTC" if self.calendar is None else self.calendar.zone)

    def _next(self, moment: int, stream: str | None) -> tuple[int, int]:
        """The first due time after a moment, and the rule's own time that it comes of."""
        times, offset, jitter, _ = self._parts
        if not jitter or stream is None:
            base = times.after(moment - offset)
            return base + offset, base
        if self.rule.while_ is None:
            shift = offset + share_of(self.name, stream, jitter)
            base = times.after(moment - shift)
            return base + shift, base
        base = times.after(moment - jitter * SECOND)
        while True:  # where less than the jitter is left before the close, that much is shared out
            room = times.room(base)
            assert room is not None
            due = base + share_of(self.name, stream, min(jitter, room // SECOND))
            if due > moment:
                return due, base
            base = times.after(base)

    def _due_or_daily(self, moment: int, stream: str) -> int:
        try:
            return self._next(moment, stream)[0]
        except UsageError as error:
            log.error("schedule %s runs once a day from now on: %s", self.name, error)
            return moment + DAY // MICROSECOND

    @cached_property
    def _times(self) -> Times:
        rule, calendar = self.rule, self.calendar
        if rule.every is not None:
            every = rule.every // MICROSECOND
            return grid(every) if rule.while_ is None or calendar is None else while_open(calendar, every)
        if rule.cron is not None:
            return of_cron(calendar, rule.cron, self.zone, rule.on_closed)
        assert rule.at is not None
        if rule.is_local:
            return of_clock(calendar, rule.at, self.zone, rule.on, rule.on_closed)
        assert calendar is not None
        return of_sessions(calendar, rule.at == "open", rule.on, rule.on_closed)

    @cached_property
    def _parts(self) -> tuple[Times, int, int, int]:
        """Times; offset in microseconds, jitter in seconds, half of `every` in microseconds."""
        rule = self.rule
        half = (rule.every or timedelta()) / 2
        jitter = int(rule.jitter.total_seconds())
        return self._times, rule.offset // MICROSECOND, jitter, half // MICROSECOND


def due_after_many(asked: Iterable[tuple[Schedule, str]], moment: datetime, *, queued: bool = False) -> list[int]:
    """`due_after` of many schedules and streams, each in microseconds since 1970. `queued`: `due_after_run`."""
    now = micros(moment)
    found = []
    for schedule, stream in asked:
        times, shift, jitter, half = schedule._parts
        since = now + half if queued else now
        if jitter:
            if schedule.rule.while_ is not None:
                found.append(schedule._due_or_daily(since, stream))
                continue
            shift += share_of(schedule.name, stream, jitter)
        low, high = times.gap
        if low <= since - shift < high:  # most are asked again before their time has come
            found.append(high + shift)
        else:
            found.append(schedule._due_or_daily(since, stream))
    return found


@lru_cache(maxsize=1 << 15)
def share_of(name: str, stream: str, jitter: int) -> int:
    """A stream's stable share of a schedule's jitter: whole seconds, less than `jitter`, in microseconds."""
    share = int.from_bytes(sha256(f"{name}\n{stream}".encode()).digest()[:8], "big")
    return (share * jitter >> 64) * SECOND
