"""When things run: `schedules/*.yaml`, checked down to file and line. A typo stops the start, it is never skipped.

    calendars:
      us: {mic: XNYS}
    schedules:
      banks: {job: sync_transactions, every: 6h, jitter: 30m}
      us_eod: {job: sync_prices, calendar: us, at: close, offset: +30m}

`every` is wall clock: due times are whole multiples of it since 1970 in UTC, plus a stable share of `jitter` per
stream, so that a thousand connections do not knock at one second and a restart moves nothing. `at` is the close or
open of each session of a calendar, or a local time of day. A local time that a clock change leaves out is read with the
offset before the change, so it falls after the gap; one that comes twice counts when it comes first. Due times are
instants in UTC.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fin_infra.calendars import Calendar, Session, calendar_names, get_calendar
from fin_infra.errors import UsageError
from fin_infra.providers import PROVIDERS

log = logging.getLogger("fin_infra.planner")

Lane = Literal["interactive", "webhook", "scheduled", "backfill"]
LANES: tuple[Lane, ...] = ("interactive", "webhook", "scheduled", "backfill")
OnClosed = Literal["skip", "next", "run"]
ON_CLOSED: tuple[OnClosed, ...] = ("skip", "next", "run")
WEBHOOK = "webhook"
"""What stands for a schedule's name where a webhook made a stream due."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: object) -> timedelta:
    """`90s`, `30m`, `6h`, `1d`, or several in a row: `1h30m`."""
    text = str(value).strip()
    if not re.fullmatch(r"(?:[0-9]{1,6}[smhd])+", text):
        raise ValueError("a duration is a number with a unit: 90s, 30m, 6h, 1d, 1h30m")
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text)))


def signed_duration(value: object) -> timedelta:
    """A duration with its sign: `+30m` is later, `-15m` earlier."""
    text = str(value).strip()
    if not re.fullmatch(r"[+-](?:[0-9]{1,6}[smhd])+", text):
        raise ValueError("an offset is a duration with a sign: +30m, -15m, +1h30m")
    return -duration(text[1:]) if text[0] == "-" else duration(text[1:])


def time_of_day(value: object) -> str:
    """`close`, `open`, or a local time with two digits each: `18:15`."""
    text = str(value).strip()
    if text not in ("close", "open") and not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text, re.ASCII):
        raise ValueError('at is close, open, or a time of day such as "18:15"')
    return text


def zone(value: object) -> str:
    """The name of a time zone."""
    text = str(value).strip()
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(text, sorted(available_timezones()), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise NoZone(f"not a time zone of this machine{hint}; allowed: names such as America/New_York") from None


class NoZone(ValueError):
    """Said as it is: names of zones keep their capitals."""


Duration = Annotated[timedelta, BeforeValidator(duration)]
Offset = Annotated[timedelta, BeforeValidator(signed_duration)]
TimeOfDay = Annotated[str, BeforeValidator(time_of_day)]
Zone = Annotated[str, BeforeValidator(zone)]


class Rule(BaseModel):
    """One schedule as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str = Field(description="a job of jobs/; it says which dataset")
    every: Duration | None = Field(None, description="how often, by the wall clock in UTC")
    at: TimeOfDay | None = Field(None, description="when in the day: at each session's close or open, or local time")
    calendar: str | None = Field(None, description="whose sessions: a name of the file's section `calendars`")
    offset: Offset = Field(timedelta(), description="so much after `at`, or before it: `+30m`, `-15m`")
    tz: Zone | None = Field(None, description="the zone of a local time; default: the calendar's")
    on_closed: OnClosed = Field("skip", description="what a local time does on a day without a session")
    jitter: Duration = Field(timedelta(), description="spread over this span, the same for a stream every time")
    lane: Lane = Field("scheduled", description="class of work: interactive > webhook > scheduled > backfill")
    providers: list[str] | None = Field(None, description="only connections of these; default: all with the dataset")
    tenants: list[str] | None = Field(None, description="only connections of these; default: all")

    @property
    def is_local(self) -> bool:
        """Whether `at` is a local time of day."""
        return self.at is not None and ":" in self.at


class Occurrence(NamedTuple):
    """One due time, and the session whose close, open or day it is; None without one."""

    due_at: datetime
    session: Session | None


@dataclass(frozen=True)
class Schedule:
    """A named rule and the dataset its job drives. `mic` is what the file says of the rule's calendar."""

    name: str
    rule: Rule
    dataset: str
    file: str
    line: int
    mic: str | None = None

    @cached_property
    def calendar(self) -> Calendar | None:
        return None if self.mic is None else get_calendar(self.mic)

    @property
    def fingerprint(self) -> str:
        """What due times follow from: a change of it starts the schedule anew, from now."""
        rule = self.rule
        if rule.every is not None:
            when = f"every {rule.every}"
        else:
            where = f" {self._zone.key}" if rule.is_local else ""
            sessions = f" calendar {self.mic} on_closed {rule.on_closed}" if self.mic else ""
            when = f"at {rule.at}{where} {'-' if rule.offset < timedelta() else '+'}{abs(rule.offset)}{sessions}"
        return f"{rule.job} {when} jitter {rule.jitter} lane {rule.lane}"

    def due_after(self, moment: datetime, stream: str) -> datetime:
        """The first due time of a stream after `moment`, in UTC; where the calendar ends, a day later.

        One schedule whose calendar is too old must not stop the others.
        """
        try:
            return self.occurrence_after(moment, stream).due_at
        except UsageError as error:
            log.error("schedule %s runs once a day from now on: %s", self.name, error)
            return moment.astimezone(UTC) + DAY

    def due_after_run(self, moment: datetime, stream: str) -> datetime:
        """The next due time of a stream that was just queued; with `every` never sooner than half of it later.

        A stream that ran late, or at once because it was new, does not run again minutes later at its usual hour. But
        each session has its own run, however late the one before.
        """
        return self.due_after(moment + (self.rule.every or timedelta()) / 2, stream)

    def occurrence_after(self, moment: datetime, stream: str) -> Occurrence:
        """The first due time of a stream after `moment`, and its session; `UsageError` where the calendar ends."""
        shift = self._share_of_jitter(stream) + self.rule.offset
        if (every := self.rule.every) is not None:
            slots = (moment - EPOCH - shift) // every + 1
            return Occurrence(EPOCH + shift + slots * every, None)
        base, session = self._local_after(moment - shift) if self.rule.is_local else self._session_after(moment - shift)
        return Occurrence(base + shift, session)

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

    def _session_after(self, moment: datetime) -> tuple[datetime, Session]:
        """The first close, or open, later than `moment`."""
        assert self.calendar is not None
        if self.rule.at == "open":
            session = self.calendar.next_session(moment)
            return session.open_at, session
        session = self.calendar.next_session(self.calendar.last_closed(moment).open_at)
        return session.close_at, session

    def _local_after(self, moment: datetime) -> tuple[datetime, Session | None]:
        """The first time later than `moment` at which the rule's clock shows its time on a day that counts."""
        day = moment.astimezone(self._zone).date() - DAY  # yesterday's may lie in a gap at midnight
        while True:
            session = None if self.calendar is None else self.calendar.session(day)
            if session is not None or self.calendar is None or self.rule.on_closed == "run":
                at = datetime.combine(day, self._clock, self._zone).astimezone(UTC)
                if at > moment:
                    return at, session
            day += DAY

    @cached_property
    def _clock(self) -> time:
        assert self.rule.at is not None
        return time.fromisoformat(self.rule.at)

    @cached_property
    def _zone(self) -> ZoneInfo:
        if self.rule.tz is not None:
            return ZoneInfo(self.rule.tz)
        assert self.calendar is not None
        return ZoneInfo(self.calendar.zone)

    def _share_of_jitter(self, stream: str) -> timedelta:
        if not self.rule.jitter:
            return timedelta()
        digest = hashlib.sha256(f"{self.name}\n{stream}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return timedelta(seconds=int(share * self.rule.jitter.total_seconds()))


def load_schedules(folder: Path, jobs: Mapping[str, str]) -> list[Schedule]:
    """All schedules of a folder's YAML files. `jobs`: name → dataset.

    Raises `UsageError` with every fault as `file:line: what, allowed values`.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; fin-infra init makes one")
    faults: list[str] = []
    found: dict[str, Schedule] = {}
    for path in sorted(folder.glob("*.y*ml")):
        for schedule in _in_file(path, jobs, faults):
            if (other := found.get(schedule.name)) is not None:
                faults.append(
                    f"{path.name}:{schedule.line}: schedule {schedule.name!r} is already in {other.file}:{other.line}"
                )
            found[schedule.name] = schedule
    if faults:
        raise UsageError("; ".join(faults))
    return list(found.values())


def _in_file(path: Path, jobs: Mapping[str, str], faults: list[str]) -> list[Schedule]:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        faults.append(f"{path.name}:1: cannot be read: {(error.strerror or str(error)).lower()}")
        return []
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "it is not UTF-8 text"
        faults.append(f"{path.name}:{line}: not readable as YAML: {problem}")
        return []
    if node is None:
        return []
    sections = {
        name: _entries(section, path, faults, allowed=None, what=name.removesuffix("s"))
        for name, _, section in _entries(node, path, faults, allowed=("schedules", "calendars"), what="section")
    }
    calendars = {name: _mic(name, line, entry, path, faults) for name, line, entry in sections.get("calendars", [])}
    schedules = []
    for name, line, entry in sections.get("schedules", []):
        if name == WEBHOOK:
            faults.append(f"{path.name}:{line}: the name {name!r} is taken: it stands for what webhooks mark due")
            continue
        if (rule := _rule(name, line, entry, path, jobs, calendars, faults)) is not None:
            mic = calendars[rule.calendar] if rule.calendar is not None else None
            schedules.append(Schedule(name, rule, jobs[rule.job], path.name, line, mic))
    return schedules


def _mic(name: str, line: int, node: yaml.Node, path: Path, faults: list[str]) -> str | None:
    """What a name of the section `calendars` stands for; None when it is faulty."""
    before = len(faults)
    entries = _entries(node, path, faults, allowed=("mic",), what="field")
    if not entries and len(faults) == before:
        faults.append(f"{path.name}:{line}: {name}.mic: field required; allowed: {', '.join(calendar_names())}")
    for _, at, value in entries:
        mic = _plain(value)
        if mic in calendar_names():
            return str(mic)
        faults.append(f"{path.name}:{at}: {name}.mic: unknown {mic!r}{_near(str(mic), calendar_names())}")
    return None


def _entries(
    node: yaml.Node, path: Path, faults: list[str], *, allowed: Collection[str] | None, what: str
) -> list[tuple[str, int, yaml.Node]]:
    """Name, line and value of a mapping's entries; a name twice or not allowed is a fault."""
    if not isinstance(node, yaml.MappingNode):
        faults.append(f"{path.name}:{node.start_mark.line + 1}: expected a mapping of {what}s")
        return []
    entries: dict[str, tuple[str, int, yaml.Node]] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if allowed is not None and name not in allowed:
            faults.append(f"{path.name}:{line}: unknown {what} {name!r}{_near(name, allowed)}")
        elif name in entries:
            faults.append(f"{path.name}:{line}: {what} {name!r} stands twice")
        else:
            entries[name] = (name, line, value)
    return list(entries.values())


def _rule(
    name: str, line: int, node: yaml.Node, path: Path, jobs: Mapping[str, str], calendars: Mapping[str, str | None],
    faults: list[str],
) -> Rule | None:  # fmt: skip
    before = len(faults)
    fields = list(Rule.model_fields)
    entries = _entries(node, path, faults, allowed=fields, what="field")
    if len(faults) > before:
        return None
    lines = {field: at for field, at, _ in entries}
    values = {field: _plain(value) for field, _, value in entries}

    def fault(field: str, said: str) -> None:
        faults.append(f"{path.name}:{lines.get(field, line)}: {name}.{field}{said}")

    for field in ("every", "at", "calendar", "offset", "tz", "on_closed"):
        if field in values and values[field] is None:
            fault(field, ": has no value")
    if len(faults) > before:
        return None
    try:
        rule = Rule.model_validate(values)
    except ValidationError as error:
        for wrong in error.errors(include_url=False):
            field = str(wrong["loc"][0]) if wrong["loc"] else name
            told = wrong.get("ctx", {}).get("error")
            message = str(told) if isinstance(told, NoZone) else wrong["msg"].removeprefix("Value error, ").lower()
            choices = {"lane": LANES, "on_closed": ON_CLOSED}.get(field)
            allowed = f"; allowed: {', '.join(choices)}" if choices else ""
            given = f" {values[field]!r}" if field in values else ""
            fault(field, f"{given}: {message}{allowed}")
        return None
    for field, value, known in (
        ("job", [rule.job], jobs), ("providers", rule.providers or [], PROVIDERS),
        ("calendar", [rule.calendar] if rule.calendar is not None else [], calendars),
    ):  # fmt: skip
        for item in value:
            if item not in known:
                where = "" if known else " (the file has no section calendars)"
                fault(field, f": unknown {item!r}{where or _near(item, known)}")
    for field, said in _contradictions(rule, given=values.keys()):
        fault(field, f": {said}")
    usable = rule.calendar is None or calendars.get(rule.calendar) is not None
    return rule if len(faults) == before and usable else None


def _contradictions(rule: Rule, *, given: Collection[str]) -> Iterator[tuple[str, str]]:
    """Fields that are good each by itself but not together, with the reason."""
    if rule.every is None and rule.at is None:
        yield "every", 'field required, unless there is at: close, open, or a time of day such as "18:15"'
    elif rule.every is not None and rule.at is not None:
        yield "at", "a schedule has every or at, not both"
    elif rule.every is not None:
        yield from _contradictions_of_every(rule, rule.every, given)
    else:
        yield from _contradictions_of_at(rule, given)


def _contradictions_of_every(rule: Rule, every: timedelta, given: Collection[str]) -> Iterator[tuple[str, str]]:
    if every <= timedelta():
        yield "every", "must be longer than nothing"
    if every > timedelta(days=366):
        yield "every", "must not be longer than a year"
    if rule.jitter > every:
        yield "jitter", "must not be longer than every"
    if "calendar" in given:
        yield (
            "calendar",
            "every runs by the wall clock, market hours or not, and takes no calendar yet; use at, or drop it",
        )
    for field in ("offset", "tz", "on_closed"):
        if field in given:
            yield field, "belongs to at, not to every"


def _contradictions_of_at(rule: Rule, given: Collection[str]) -> Iterator[tuple[str, str]]:
    if rule.jitter > DAY:
        yield "jitter", "must not be longer than a day with at"
    if abs(rule.offset) > DAY:
        yield "offset", "must not be longer than a day"
    if not rule.is_local:
        if rule.calendar is None:
            yield "at", f"{rule.at} needs a calendar: which market's?"
        if "tz" in given:
            yield "tz", f"belongs to a time of day; {rule.at} is at the calendar's own hour"
        if rule.on_closed != "skip":
            yield "on_closed", f"belongs to a time of day; a day without a session has no {rule.at}"
    elif rule.calendar is None:
        if rule.tz is None:
            yield "tz", "field required: a time of day needs a zone, or a calendar that has one"
        if "on_closed" in given:
            yield "on_closed", "needs a calendar: without one no day is closed"


def _plain(node: yaml.Node) -> Any:
    """The node's value with every scalar as the text it was written as: YAML would read 6:30 as a number."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return {str(key.value): _plain(value) for key, value in node.value}


def _near(name: str, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}; allowed: {', '.join(allowed)}"
