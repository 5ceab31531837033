"""What a schedule may say: one pydantic model, and which of its words go together. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fin_infra.quotas.windows import LANES, Lane

OnClosed = Literal["skip", "next", "run"]
ON_CLOSED: tuple[OnClosed, ...] = ("skip", "next", "run")
While = Literal["open"]
Until = Literal["final"]
CHOICES: dict[str, tuple[str, ...]] = {"lane": LANES, "on_closed": ON_CLOSED, "while": ("open",), "until": ("final",)}
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ON = ("each_session", "month_first", "month_last")
WEBHOOK = "webhook"
"""What stands for a schedule's name where a webhook made a stream due."""
DAY = timedelta(days=1)
CRON_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = r"(?:[0-9]{1,6}[smhd])+"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"


def duration(value: object) -> timedelta:
    """`90s`, `30m`, `6h`, `1d`, or several in a row: `1h30m`."""
    text = str(value).strip()
    if not re.fullmatch(_DURATION, text):
        raise ValueError("a duration is a number with a unit: 90s, 30m, 6h, 1d, 1h30m")
    try:
        return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text)))
    except OverflowError:
        raise ValueError("longer than any time there is") from None


def signed_duration(value: object) -> timedelta:
    """A duration with its sign: `+30m` is later, `-15m` earlier."""
    text = str(value).strip()
    if not re.fullmatch(rf"[+-]{_DURATION}", text):
        raise ValueError("an offset is a duration with a sign: +30m, -15m, +1h30m")
    return -duration(text[1:]) if text[0] == "-" else duration(text[1:])


def time_of_day(value: object) -> str:
    """`close`, `open`, or a local time with two digits each: `18:15`."""
    text = str(value).strip()
    if text not in ("close", "open") and not re.fullmatch(_CLOCK, text, re.ASCII):
        raise ValueError('at is close, open, or a time of day such as "18:15"')
    return text


def clock(value: object) -> time:
    """A local time with two digits each: `23:00`."""
    text = str(value).strip()
    if not re.fullmatch(_CLOCK, text, re.ASCII):
        raise ValueError('a deadline is a time of day such as "23:00"')
    return time.fromisoformat(text)


def zone(value: object) -> str:
    """The name of a time zone."""
    text = str(value).strip()
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(text, sorted(available_timezones()), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"not a time zone of this machine{hint}; allowed: names such as America/New_York") from None


def on_days(value: object) -> str | tuple[str, ...]:
    """`each_session`, `month_first`, `month_last`, or a list of weekdays, which comes out in the order of the week."""
    if isinstance(value, str):
        if value.strip() in ON:
            return value.strip()
        hint = f" (did you mean [{value}]?)" if value in WEEKDAYS else near(value, ON, listed=False)
        raise ValueError(f"unknown day{hint}; allowed: {', '.join(ON)}, or a list of {', '.join(WEEKDAYS)}")
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"allowed: {', '.join(ON)}, or a list of {', '.join(WEEKDAYS)}")
    for item in value:
        if item not in WEEKDAYS:
            raise ValueError(f"unknown weekday {item!r}{near(str(item), WEEKDAYS)}")
    if len(set(value)) < len(value):
        raise ValueError("a weekday stands twice")
    return tuple(day for day in WEEKDAYS if day in value)


def cron_line(value: object) -> str:
    """Five fields of cron, one space between them."""
    text = " ".join(str(value).split())
    told = f'cron has five fields, {", ".join(CRON_FIELDS)}: "30 6 * * mon-fri"'
    if len(text.split()) != len(CRON_FIELDS):
        raise ValueError(told)
    try:
        CronSim(text, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"{str(error).lower()}; {told}") from None
    return text


def near(name: str, allowed: Collection[str], *, listed: bool = True, most: int = 1) -> str:
    """The nearest of the allowed names, and all of them."""
    close = " or ".join(map(repr, difflib.get_close_matches(name, allowed, n=most)))
    hint = f" (did you mean {close}?)" if close else ""
    return f"{hint}; allowed: {', '.join(allowed)}" if listed else hint


def _text(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(duration), _text(_DURATION, "6h")]
Offset = Annotated[timedelta, BeforeValidator(signed_duration), _text(rf"[+-]{_DURATION}", "+30m")]
TimeOfDay = Annotated[str, BeforeValidator(time_of_day), _text(rf"(?:close|open|{_CLOCK})", "close")]
Clock = Annotated[time, BeforeValidator(clock), _text(_CLOCK, "23:00")]
Zone = Annotated[str, BeforeValidator(zone), _text(r"[A-Za-z][A-Za-z0-9_+/-]*", "America/New_York")]
Cron = Annotated[str, BeforeValidator(cron_line), _text(r"\s*(?:\S+\s+){4}\S+\s*", "30 6 * * mon-fri")]
On = Annotated[
    str | tuple[str, ...],
    BeforeValidator(on_days),
    WithJsonSchema(
        {
            "oneOf": [
                {"enum": list(ON)},
                {"type": "array", "items": {"enum": list(WEEKDAYS)}, "minItems": 1, "uniqueItems": True},
            ]
        }
    ),
]


class Rule(BaseModel):
    """One schedule as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str = Field(description="a job of jobs/; it says which dataset")
    every: Duration | None = Field(None, description="how often: by the wall clock in UTC, or from each open on")
    while_: While | None = Field(None, alias="while", description="with `every`: only while the calendar is open")
    at: TimeOfDay | None = Field(None, description="when in the day: at each session's close or open, or local time")
    cron: Cron | None = Field(None, description="five fields of cron, in local time")
    calendar: str | None = Field(None, description="whose sessions: a name of the file's section `calendars`")
    offset: Offset = Field(timedelta(), description="so much after `at`, or before it: `+30m`, `-15m`")
    tz: Zone | None = Field(None, description="the zone of a local time; default: the calendar's")
    on: On = Field("each_session", description="which days `at` is for")
    on_closed: OnClosed = Field("skip", description="what becomes of a day without a session")
    until: Until | None = Field(None, description="asked again until the session's data is final")
    retry: Duration | None = Field(None, description="with `until`: how long after a run it is asked again")
    deadline: Clock | None = Field(None, description="with `until`: the local time after which it is left at that")
    jitter: Duration = Field(timedelta(), description="spread over this span, the same for a stream every time")
    lane: Lane = Field("scheduled", description="class of work: interactive > webhook > scheduled > backfill")
    providers: list[str] | None = Field(
        None, min_length=1, description="only connections of these; default: all with the dataset"
    )
    tenants: list[str] | None = Field(None, min_length=1, description="only connections of these; default: all")

    @property
    def is_local(self) -> bool:
        """Whether it is due at a local time of day."""
        return self.cron is not None or (self.at is not None and ":" in self.at)

    @property
    def is_dated(self) -> bool:
        """Whether its due times follow from a calendar or a zone, of which a newer release may know more."""
        return self.every is None or self.while_ is not None


FIELDS = {field.alias or name: field for name, field in Rule.model_fields.items()}
"""The words of the file."""

CLOCKS = ("every", "at", "cron")


def contradictions(rule: Rule, *, given: Collection[str]) -> Iterator[tuple[str, str]]:
    """Fields that are good each by itself but not together, with the reason."""
    clocks = [name for name in CLOCKS if getattr(rule, name) is not None]
    if not clocks:
        yield "every", 'field required, unless there is at: close, open, or a time of day such as "18:15"; or cron'
    elif len(clocks) > 1:
        yield clocks[1], f"a schedule has {clocks[0]} or {clocks[1]}, not both"
    elif rule.every is not None:
        yield from _of_every(rule, rule.every, given)
    elif rule.cron is not None:
        yield from _of_cron(rule, given)
    else:
        yield from _of_at(rule, given)
    if len(clocks) == 1:
        yield from _of_until(rule, given)


def _of_every(rule: Rule, every: timedelta, given: Collection[str]) -> Iterator[tuple[str, str]]:
    if every <= timedelta():
        yield "every", "must be longer than nothing"
    if every > timedelta(days=366):
        yield "every", "must not be longer than a year"
    if rule.jitter > every:
        yield "jitter", "must not be longer than every"
    if rule.while_ is None and "calendar" in given:
        yield "calendar", "every runs by the wall clock, market hours or not; add while: open, use at, or drop it"
    if rule.while_ is not None and rule.calendar is None:
        yield "while", "open needs a calendar: which market's?"
    if rule.while_ is not None and every >= DAY:
        yield "every", "must be shorter than a day with while: open; for one run a session there is at"
    for field in ("offset", "tz", "on", "on_closed"):
        if field in given:
            yield field, "belongs to at, not to every"


def _of_cron(rule: Rule, given: Collection[str]) -> Iterator[tuple[str, str]]:
    if rule.jitter > DAY:
        yield "jitter", "must not be longer than a day with cron"
    yield from _of_clock(rule, given, "cron")
    for field, why in (
        ("while", "belongs to every, not to cron"), ("offset", "belongs to at; cron says the minute itself"),
        ("on", "belongs to at; cron has a field for the day"),
    ):  # fmt: skip
        if field in given:
            yield field, why


def _of_at(rule: Rule, given: Collection[str]) -> Iterator[tuple[str, str]]:
    if rule.jitter > DAY:
        yield "jitter", "must not be longer than a day with at"
    if abs(rule.offset) > DAY:
        yield "offset", "must not be longer than a day"
    if "while" in given:
        yield "while", "belongs to every, not to at"
    if not rule.is_local:
        if rule.calendar is None:
            yield "at", f"{rule.at} needs a calendar: which market's?"
        if "tz" in given and rule.deadline is None:
            yield "tz", f"belongs to a time of day; {rule.at} is at the calendar's own hour"
        if rule.on_closed == "run":
            yield "on_closed", f"run belongs to a time of day; a day without a session has no {rule.at}"
        elif rule.on_closed == "next" and isinstance(rule.on, str):
            yield "on_closed", f"next belongs to a time of day or to weekdays; a day without a session has no {rule.at}"
    else:
        yield from _of_clock(rule, given, "a time of day")
        if rule.calendar is None and rule.on == "each_session" and "on" in given:
            yield "on", "each_session needs a calendar: which market's?"
    if rule.on in ("month_first", "month_last") and rule.calendar is not None and "on_closed" in given:
        yield "on_closed", f"{rule.on} is a session of the calendar, never a closed day"


def _of_clock(rule: Rule, given: Collection[str], what: str) -> Iterator[tuple[str, str]]:
    if rule.calendar is None:
        if rule.tz is None:
            yield "tz", f"field required: {what} needs a zone, or a calendar that has one"
        if "on_closed" in given:
            yield "on_closed", "needs a calendar: without one no day is closed"


def _of_until(rule: Rule, given: Collection[str]) -> Iterator[tuple[str, str]]:
    if rule.until is None:
        for field in ("retry", "deadline"):
            if field in given:
                yield field, "belongs to until: final"
        return
    if rule.at is None:
        yield "until", "final belongs to at: one run a session"
    elif rule.calendar is None:
        yield "until", "final needs a calendar: which session's data?"
    if rule.at == "close" and rule.offset < timedelta():
        yield "offset", "must not be before the close with until: final; the session that has closed by then is another"
    if rule.retry is None:
        yield "retry", "field required with until: how long after a run is it asked again? such as 20m"
    elif not timedelta(minutes=1) <= rule.retry <= DAY:
        yield "retry", "must be between a minute and a day"
    if rule.deadline is None:
        yield "deadline", 'field required with until: up to which local time is it asked again? such as "23:00"'
