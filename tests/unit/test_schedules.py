"""Schedules: a typo stops the start with file, line and what is allowed; due times are stable and never early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.calendars import Session, get_calendar
from fin_infra.errors import UsageError
from fin_infra.planning import load_schedules
from fin_infra.planning.schedules import EPOCH, LANES, Rule, Schedule, due_after_many, duration, signed_duration
from fin_infra.project import find_project
from fin_infra.settings import Settings
from tests.guards import guarded
from tests.unit.helpers import START, one_sentence

JOBS = {"sync_accounts": "accounts", "sync_transactions": "transactions"}


def load(folder: Path, *files: str) -> list[Schedule]:
    folder = folder / "schedules"
    folder.mkdir(exist_ok=True)
    for n, text in enumerate(files):
        (folder / f"file{n}.yaml").write_text(text, encoding="utf-8")
    return load_schedules(folder, JOBS)


def fault(folder: Path, *files: str) -> str:
    with pytest.raises(UsageError) as wrong:
        load(folder, *files)
    return one_sentence(wrong.value)


def one(line: str) -> str:
    return f"# why this hour\nschedules:\n  banks: {{{line}}}\n"


def test_a_schedule_is_read_with_its_place(tmp_path: Path) -> None:
    (found,) = load(
        tmp_path, one("job: sync_transactions, every: 6h, jitter: 30m, providers: [teller], lane: backfill")
    )
    assert (found.name, found.dataset, found.file, found.line) == ("banks", "transactions", "file0.yaml", 3)
    rule = found.rule
    assert (rule.every, rule.jitter) == (timedelta(hours=6), timedelta(minutes=30))
    assert (rule.job, rule.lane, rule.providers, rule.tenants) == ("sync_transactions", "backfill", ["teller"], None)


def test_the_shipped_schedules_are_good() -> None:
    project = find_project(Settings(project=Path(__file__).parents[2]))
    driven = {schedule.rule.job for schedule in project.schedules}
    assert driven | {"backfill_chunk"} == set(project.jobs)  # its owner's orders drive that one, no time does


@pytest.mark.parametrize("text", ["", "# nothing\n", "schedules: {}\n"])
def test_a_file_without_schedules_is_no_fault(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == []


GOOD = "job: sync_accounts, every: 6h"


def two(line: str, calendar: str = "{mic: XNYS}") -> str:
    return f"calendars:\n  us: {calendar}\nschedules:\n  eod: {{job: sync_accounts, {line}}}\n"


CLOSE = "calendar: us, at: close"
EVENING = 'calendar: us, at: "18:15"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedule:\n  x: {}\n", ["file0.yaml:1:", "unknown section 'schedule'", "did you mean 'schedules'"]),
        (one("jbo: sync_accounts, every: 6h"), ["file0.yaml:3:", "unknown field 'jbo'", "did you mean 'job'", "every"]),
        (one("job: sync_acounts, every: 6h"), [
            "file0.yaml:3:", "unknown 'sync_acounts'", "did you mean 'sync_accounts'", "sync_transactions"]),
        (one(GOOD + ", providers: [telller]"), ["file0.yaml:3:", "unknown 'telller'", "did you mean 'teller'"]),
        (one(GOOD + ", lane: urgent"), ["file0.yaml:3:", "banks.lane", "'urgent'", *LANES]),
        (one("job: sync_accounts"), ["file0.yaml:3:", "banks.every", "required"]),
        (one("every: 6h"), ["file0.yaml:3:", "banks.job", "required"]),
        (one("job: sync_accounts, every: 6"), ["file0.yaml:3:", "banks.every '6'", "90s, 30m, 6h, 1d"]),
        (one("job: sync_accounts, every: 6:30"), ["file0.yaml:3:", "banks.every '6:30'", "number with a unit"]),
        (one("job: sync_accounts, every: six hours"), ["file0.yaml:3:", "number with a unit"]),
        (one("job: sync_accounts, every: -6h"), ["file0.yaml:3:", "number with a unit"]),
        (one("job: sync_accounts, every: 1.5h"), ["file0.yaml:3:", "number with a unit"]),
        (one("job: sync_accounts, every: 0m"), ["file0.yaml:3:", "longer than nothing"]),
        (one("job: sync_accounts, every: 99999999999999d"), ["file0.yaml:3:", "banks.every"]),
        (one("job: sync_accounts, every: 1h, jitter: 2h"), ["file0.yaml:3:", "jitter", "not be longer than every"]),
        (one("job: sync_accounts, every: "), ["file0.yaml:3:", "banks.every"]),
        (one("job: [sync_accounts], every: 6h"), ["file0.yaml:3:", "banks.job"]),
        (one(GOOD + ", providers: teller"), ["file0.yaml:3:", "banks.providers", "list"]),
        (one(GOOD + ", tenants: {a: b}"), ["file0.yaml:3:", "banks.tenants", "list"]),
        (one(GOOD + ", every: 1h"), ["file0.yaml:3:", "'every' stands twice"]),
        ("schedules:\n  a: {job: sync_accounts, every: 6h}\n  a: {job: sync_accounts, every: 1h}\n",
         ["file0.yaml:3:", "'a' stands twice"]),
        ("schedules:\n  a: nightly\n", ["file0.yaml:2:", "expected a mapping"]),
        ("schedules:\n  - job: sync_accounts\n", ["file0.yaml:2:", "expected a mapping"]),
        ("- schedules\n", ["file0.yaml:1:", "expected a mapping"]),
        ("just text", ["file0.yaml:1:", "expected a mapping"]),
        ("schedules:\n\ta: {}\n", ["file0.yaml:2:", "not readable as YAML"]),
        ("schedules:\n  a: {job: sync_accounts\n", ["file0.yaml:", "not readable as YAML"]),
        ("schedules: {}\n---\nschedules: {}\n", ["file0.yaml:2:", "not readable as YAML"]),
        (two(CLOSE + ", every: 6h"), ["file0.yaml:4:", "eod.at", "every or at, not both"]),
        (two("calendar: us"), ["file0.yaml:4:", "eod.every: field required", "at: close"]),
        (two("every: 6h, calendar: us"), ["file0.yaml:4:", "eod.calendar", "market hours or not; add while: open"]),
        (two("every: 6h, offset: +5m"), ["file0.yaml:4:", "eod.offset", "belongs to at"]),
        (two("every: 6h, tz: UTC"), ["file0.yaml:4:", "eod.tz", "belongs to at"]),
        (two("every: 6h, on_closed: run"), ["file0.yaml:4:", "eod.on_closed", "belongs to at"]),
        (two("at: close"), ["file0.yaml:4:", "eod.at", "close needs a calendar"]),
        (two("at: open"), ["file0.yaml:4:", "eod.at", "open needs a calendar"]),
        (two('at: "18:15"'), ["file0.yaml:4:", "eod.tz", "needs a zone"]),
        (two('at: "18:15", tz: UTC, on_closed: run'), ["file0.yaml:4:", "eod.on_closed", "needs a calendar"]),
        (two(CLOSE + ", tz: UTC"), ["file0.yaml:4:", "eod.tz", "belongs to a time of day"]),
        (two(CLOSE + ", on_closed: run"), ["file0.yaml:4:", "eod.on_closed", "a day without a session has no close"]),
        (two(CLOSE + ", on_closed: later"), ["file0.yaml:4:", "eod.on_closed 'later'", "allowed: skip, next, run"]),
        (two(CLOSE + ", offset: 30m"), ["file0.yaml:4:", "eod.offset '30m'", "+30m, -15m"]),
        (two(CLOSE + ", offset: +25h"), ["file0.yaml:4:", "eod.offset", "not be longer than a day"]),
        (two(CLOSE + ", offset: -25h"), ["file0.yaml:4:", "eod.offset", "not be longer than a day"]),
        (two(CLOSE + ", jitter: 2d"), ["file0.yaml:4:", "eod.jitter", "not be longer than a day"]),
        (two("calendar: us, at: noon"), ["file0.yaml:4:", "eod.at 'noon'", 'close, open, or a time of day such as "18:15"']),
        (two("calendar: us, at: 6:30"), ["file0.yaml:4:", "eod.at '6:30'", "time of day"]),
        (two("calendar: us, at: 24:00"), ["file0.yaml:4:", "eod.at '24:00'", "time of day"]),
        (two(EVENING + ", tz: america/new york"), ["file0.yaml:4:", "eod.tz", "not a time zone", "America/New_York"]),
        (two(EVENING + ", tz: ../UTC"), ["file0.yaml:4:", "eod.tz", "not a time zone"]),
        (two(EVENING + ", tz: America"), ["file0.yaml:4:", "eod.tz", "not a time zone"]),
        (two(EVENING + ", tz: "), ["file0.yaml:4:", "eod.tz", "has no value"]),
        (two("calendar: , at: close"), ["file0.yaml:4:", "eod.calendar", "has no value"]),
        (two("calendar: uss, at: close"), ["file0.yaml:4:", "unknown 'uss'", "did you mean 'us'", "allowed: us"]),
        (one("job: sync_accounts, calendar: us, at: close"), [
            "file0.yaml:3:", "unknown 'us'", "no section calendars"]),
        (two(CLOSE, "{mic: XNYE}"), ["file0.yaml:2:", "us.mic", "'XNYE'", "'XNYS'", "fin-infra calendar ls"]),
        (two(CLOSE, "{mci: XNYS}"), ["file0.yaml:2:", "unknown field 'mci'", "did you mean 'mic'"]),
        (two(CLOSE, "{}"), ["file0.yaml:2:", "us.mic: field required", "XNYS"]),
        (two(CLOSE, "{mic: }"), ["file0.yaml:2:", "us.mic", "unknown None"]),
        (two(CLOSE, "XNYS"), ["file0.yaml:2:", "expected a mapping"]),
        (two("every: 15m, while: open"), ["file0.yaml:4:", "eod.while", "open needs a calendar"]),
        (two("every: 15m, while: closed, calendar: us"), ["file0.yaml:4:", "eod.while 'closed'", "allowed: open"]),
        (two("every: 15m, while: opne, calendar: us"), ["eod.while 'opne'", "did you mean 'open'"]),
        (two("every: 1d, while: open, calendar: us"), ["eod.every", "shorter than a day with while: open"]),
        (two("every: 15m, while: open, calendar: us, on: month_first"), ["eod.on", "belongs to at"]),
        (two(CLOSE + ", while: open"), ["eod.while", "belongs to every"]),
        (two(CLOSE + ", on: month_frist"), ["eod.on 'month_frist'", "did you mean 'month_first'", "mon, tue"]),
        (two(CLOSE + ", on: fri"), ["eod.on 'fri'", "did you mean [fri]", "each_session"]),
        (two(CLOSE + ", on: [fri, satt]"), ["eod.on", "unknown weekday 'satt'", "did you mean 'sat'"]),
        (two(CLOSE + ", on: [fri, fri]"), ["eod.on", "stands twice"]),
        (two(CLOSE + ", on: []"), ["eod.on", "month_first, month_last, or a list of mon"]),
        (two(CLOSE + ", on: "), ["eod.on", "has no value"]),
        (two(CLOSE + ", on: [sat, sun]"), ["file0.yaml:4:", "eod.on", "XNYS has no session on sat, sun"]),
        (two(CLOSE + ", on_closed: next"), ["eod.on_closed", "a time of day or to weekdays"]),
        (two(EVENING + ", on: month_last, on_closed: next"), ["eod.on_closed", "never a closed day"]),
        (two('at: "18:15", tz: UTC, on: each_session'), ["eod.on", "needs a calendar"]),
        (one("job: sync_accounts, cron: 30 6 * *, tz: UTC"), ["file0.yaml:3:", "banks.cron", "five fields"]),
        (one("job: sync_accounts, cron: '30 25 * * *', tz: UTC"), ["banks.cron", "bad hour", "30 6 * * mon-fri"]),
        (one("job: sync_accounts, cron: '0 0 30 2 *', tz: UTC"), ["banks.cron", "bad day-of-month"]),
        (one("job: sync_accounts, cron: '0 30 6 * * *', tz: UTC"), ["banks.cron", "five fields"]),
        (one("job: sync_accounts, cron: '@daily', tz: UTC"), ["banks.cron", "five fields"]),
        (one("job: sync_accounts, cron: 30 6 * * *"), ["banks.tz", "cron needs a zone"]),
        (one("job: sync_accounts, cron: 30 6 * * *, tz: UTC, every: 6h"), ["banks.cron", "every or cron, not both"]),
        (one("job: sync_accounts, cron: 30 6 * * *, tz: UTC, offset: +5m"), ["banks.offset", "says the minute itself"]),
        (one("job: sync_accounts, cron: 30 6 * * *, tz: UTC, on: [mon]"), ["banks.on", "a field for the day"]),
        (two("cron: 0 0 * * sat, calendar: us"), ["file0.yaml:4:", "eod.cron", "XNYS has no session on such a day"]),
        (two("cron: 0 0 25 12 *, calendar: us"), ["file0.yaml:4:", "eod.cron", "on_closed: next"]),
        (one("job: sync_accounts, every: " + "999999d" * 1_100), ["file0.yaml:3:", "longer than any time"]),
        (one(GOOD + ", tenants: "), ["file0.yaml:3:", "banks.tenants: has no value"]),
        (one(GOOD + ", tenants: []"), ["file0.yaml:3:", "banks.tenants []", "at least 1 item"]),
        (one("job: sync_transactions, every: 6h, providers: [alpaca, teller]"), ["file0.yaml:3:", "banks.providers: alpaca has no"]),
        (one(GOOD + ", tenants: &all [*all]"), ["file0.yaml:1:", "anchor contain itself"]),
        ("schedules: " + "[" * 5_000, ["file0.yaml:1:", "nested too deep"]),
        (two(CLOSE + ", offset: -5m, until: final, retry: 20m, deadline: 23:00"), ["eod.offset", "not be before the close"]),
        (two(CLOSE + ", until: final"), ["eod.retry: field required", "eod.deadline: field required"]),
        (two(CLOSE + ", until: finale, retry: 20m, deadline: 23:00"), ["eod.until 'finale'", "did you mean 'final'"]),
        (two(CLOSE + ", until: final, retry: 20m, deadline: 25:00"), ["eod.deadline '25:00'", "time of day"]),
        (two(CLOSE + ", until: final, retry: 5s, deadline: 23:00"), ["eod.retry", "between a minute and a day"]),
        (two(CLOSE + ", retry: 20m"), ["eod.retry", "belongs to until"]),
        (two(CLOSE + ", deadline: 23:00"), ["eod.deadline", "belongs to until"]),
        (two('at: "18:15", tz: UTC, until: final, retry: 20m, deadline: 23:00'), ["eod.until", "needs a calendar"]),
        (two("every: 6h, until: final, retry: 20m, deadline: 23:00"), ["eod.until", "belongs to at"]),
        ("calendars: [us]\n", ["file0.yaml:1:", "expected a mapping of calendars"]),
        ("calendar:\n  us: {mic: XNYS}\n", ["file0.yaml:1:", "did you mean 'calendars'", "schedules, calendars"]),
    ],
)  # fmt: skip
def test_every_kind_of_fault_has_its_place_and_what_is_allowed(tmp_path: Path, text: str, said: list[str]) -> None:
    message = fault(tmp_path, text)
    for part in said:
        assert part in message


def test_a_fault_is_shown_on_its_own_line(tmp_path: Path) -> None:
    text = "schedules:\n  banks:\n    job: sync_accounts\n    every: 6h\n\n    lane: urgent\n"
    assert "file0.yaml:6:" in fault(tmp_path, text)


def test_all_faults_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    message = fault(tmp_path, one("jbo: x, every: 6h"), one("job: nope, every: 6h"), "- x\n")
    assert all(f"file{n}.yaml:" in message for n in range(3))


def test_a_name_in_two_files_names_both_places(tmp_path: Path) -> None:
    message = fault(tmp_path, one(GOOD), "schedules:\n  banks: {job: sync_accounts, every: 1h}\n")
    assert "file1.yaml:2:" in message
    assert "file0.yaml:3" in message


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "bad.yaml").write_bytes(b"schedules: \xff\xfe\n")
    assert "bad.yaml:1:" in fault(tmp_path)


def test_a_folder_that_is_named_like_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "schedules" / "odd.yaml").mkdir(parents=True)
    assert "odd.yaml" in fault(tmp_path)


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert "gone.yaml" in fault(tmp_path)


def test_a_missing_folder_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fin-infra init"):
        load_schedules(tmp_path / "nowhere", JOBS)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("1d", 86400), ("1h30m", 5400), (" 5s ", 5)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "h", "6", 6, 6.5, None, "1w", "1 h", "6H", "1h-30m", "٣h", "1e3s"])
def test_what_is_no_duration_says_the_form(value: object) -> None:
    with pytest.raises(ValueError, match="number with a unit"):
        duration(value)


spans = st.integers(1, 40 * 86400).map(lambda n: timedelta(seconds=n))
moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
streams = st.text(min_size=1, max_size=12)


def every(span: timedelta, jitter: timedelta = timedelta()) -> Schedule:
    return Schedule("banks", Rule.model_construct(
        job="sync_accounts", every=span, jitter=jitter, lane="scheduled", providers=None, tenants=None,
    ), "accounts", "f.yaml", 1)  # fmt: skip


def span_of(schedule: Schedule) -> timedelta:
    assert schedule.rule.every is not None
    return schedule.rule.every


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    span = draw(spans)
    share = draw(st.sampled_from([0, 0.1, 0.5, 1]))
    return every(span, timedelta(seconds=int(span.total_seconds() * share)))


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams)
def test_the_next_due_time_is_the_first_one_strictly_after(schedule: Schedule, moment: datetime, stream: str) -> None:
    due = schedule.due_after(moment, stream)
    assert moment < due <= moment + span_of(schedule)


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams)
def test_due_times_are_multiples_of_every_plus_a_share_of_jitter(
    schedule: Schedule, moment: datetime, stream: str
) -> None:
    share = (schedule.due_after(moment, stream) - EPOCH) % span_of(schedule)
    assert share < max(schedule.rule.jitter, timedelta(microseconds=1))


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams, part=st.floats(0, 1, exclude_max=True))
def test_a_restart_at_any_moment_between_moves_nothing(
    schedule: Schedule, moment: datetime, stream: str, part: float
) -> None:
    due = schedule.due_after(moment, stream)
    between = moment + (due - moment) * part
    if between < due:
        assert schedule.due_after(between, stream) == due


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams)
def test_due_times_follow_each_other_by_exactly_every(schedule: Schedule, moment: datetime, stream: str) -> None:
    due = schedule.due_after(moment, stream)
    assert schedule.due_after(due, stream) == due + span_of(schedule)


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams, minutes=st.integers(-14 * 60, 14 * 60))
def test_t53_the_zone_a_moment_is_written_in_changes_nothing(
    schedule: Schedule, moment: datetime, stream: str, minutes: int
) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert schedule.due_after(there, stream) == schedule.due_after(moment, stream)


@pytest.mark.parametrize("night", [datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)])
def test_t53_a_night_with_a_changed_clock_has_as_many_runs_as_any(night: datetime) -> None:
    schedule, runs, at = every(timedelta(hours=6)), 0, night
    while (at := schedule.due_after(at, "s")) <= night + timedelta(days=2):
        runs += 1
    assert runs == 8


def test_jitter_spreads_streams_over_its_span() -> None:
    schedule = every(timedelta(hours=6), timedelta(minutes=30))
    shares = [(schedule.due_after(START, f"con_{n}/accounts") - EPOCH) % timedelta(hours=6) for n in range(500)]
    assert len(set(shares)) > 300
    assert min(shares) < timedelta(minutes=2)
    assert max(shares) > timedelta(minutes=28)


def test_without_jitter_all_streams_are_due_at_once() -> None:
    schedule = every(timedelta(hours=6))
    assert len({schedule.due_after(START, f"con_{n}/accounts") for n in range(50)}) == 1


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams)
def test_after_a_run_the_next_is_on_the_grid_and_half_a_span_away_at_least(
    schedule: Schedule, moment: datetime, stream: str
) -> None:
    due = schedule.due_after_run(moment, stream)
    assert moment + span_of(schedule) / 2 < due <= moment + span_of(schedule) * 1.5
    assert schedule.due_after(due - timedelta(microseconds=1), stream) == due


# -- calendars ---------------------------------------------------------------------------------------------------------

US = get_calendar("XNYS")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def local(at: str, mic: str | None = "XNYS", **more: Any) -> Schedule:
    calendar = {"calendar": "us"} if mic else {}
    rule = Rule.model_validate({"job": "sync_accounts", "at": at, **calendar, **more})
    return Schedule("eod", rule, "accounts", "f.yaml", 1, mic)


def due_from(schedule: Schedule, moment: datetime, stream: str = "s") -> Iterator[datetime]:
    while True:
        moment = schedule.due_after(moment, stream)
        yield moment


def dues(schedule: Schedule, first: str, count: int) -> list[str]:
    found = islice(due_from(schedule, at(f"{first}T00:00Z")), count)
    return [f"{due:%Y-%m-%d %H:%M}" for due in found]


def test_a_schedule_with_a_calendar_is_read(tmp_path: Path) -> None:
    (tmp_path / "schedules").mkdir()
    text = two(CLOSE + ", offset: +30m") + '  tokyo: {job: sync_accounts, at: "07:00", tz: Asia/Tokyo}\n'
    eod, tokyo = load(tmp_path, text + "# the order of sections does not matter\n")
    assert (eod.mic, eod.calendar, eod.rule.at, eod.rule.offset) == ("XNYS", US, "close", timedelta(minutes=30))
    assert (tokyo.mic, tokyo.calendar, tokyo.rule.at, tokyo.rule.tz) == (None, None, "07:00", "Asia/Tokyo")


def test_schedules_may_stand_before_their_calendars_and_24_7_needs_no_quotes(tmp_path: Path) -> None:
    text = "schedules:\n  a: {job: sync_accounts, calendar: all, at: 00:05}\ncalendars:\n  all: {mic: 24/7}\n"
    (found,) = load(tmp_path, text)
    assert found.mic == "24/7"
    assert dues(found, "2026-11-26", 2) == ["2026-11-26 00:05", "2026-11-27 00:05"]


def test_a_calendar_holds_for_its_own_file(tmp_path: Path) -> None:
    other = "schedules:\n  b: {job: sync_accounts, calendar: us, at: close}\n"
    assert "file1.yaml:2: b.calendar: unknown 'us'" in fault(tmp_path, two(CLOSE), other)


@pytest.mark.parametrize(("text", "seconds"), [("+30m", 1800), ("-15m", -900), ("+1h30m", 5400), (" -1d ", -86400)])
def test_offsets(text: str, seconds: int) -> None:
    assert signed_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "+", "30m", "+30", "+-30m", "+30m-5m", "+ 30m", None])
def test_what_is_no_offset_says_the_form(value: object) -> None:
    with pytest.raises(ValueError, match="duration with a sign"):
        signed_duration(value)


@pytest.mark.parametrize(
    ("schedule", "first", "expected"),
    [
        # Thanksgiving is a holiday, New York closes at 13:00 the day after
        (local("close", offset="+30m"), "2026-11-25",
         ["2026-11-25 21:30", "2026-11-27 18:30", "2026-11-30 21:30", "2026-12-01 21:30"]),
        (local("close", offset="-15m"), "2026-11-25", ["2026-11-25 20:45", "2026-11-27 17:45", "2026-11-30 20:45"]),
        (local("close"), "2026-11-27", ["2026-11-27 18:00", "2026-11-30 21:00"]),
        (local("open", offset="+5m"), "2026-11-25", ["2026-11-25 14:35", "2026-11-27 14:35", "2026-11-30 14:35"]),
        (local("open"), "2002-09-11", ["2002-09-11 16:00", "2002-09-12 13:30"]),  # it opened at noon
        (local("18:15"), "2026-11-26", ["2026-11-27 23:15", "2026-11-30 23:15"]),
        (local("18:15", on_closed="next"), "2026-11-26", ["2026-11-27 23:15", "2026-11-30 23:15"]),
        (local("18:15", on_closed="run"), "2026-11-26", ["2026-11-26 23:15", "2026-11-27 23:15", "2026-11-28 23:15"]),
        (local("07:00", tz="Asia/Tokyo"), "2026-11-25", ["2026-11-26 22:00", "2026-11-29 22:00"]),
        (local("23:30", offset="+1h"), "2026-11-26", ["2026-11-26 05:30", "2026-11-28 05:30", "2026-12-01 05:30"]),
        (local("close", mic="24/7", offset="+10m"), "2026-11-26", ["2026-11-26 00:10", "2026-11-27 00:10"]),
        # the clock of New York changes on 2026-03-08 and 2026-11-01
        (local("close", offset="+30m"), "2026-03-06", ["2026-03-06 21:30", "2026-03-09 20:30"]),
        (local("close", offset="+30m"), "2026-10-30", ["2026-10-30 20:30", "2026-11-02 21:30"]),
        (local("18:15"), "2026-10-30", ["2026-10-30 22:15", "2026-11-02 23:15"]),
        (local("18:15", None, tz="America/New_York"), "2026-10-31",
         ["2026-10-31 22:15", "2026-11-01 23:15", "2026-11-02 23:15"]),
    ],
)  # fmt: skip
def test_due_times_of_a_calendar(schedule: Schedule, first: str, expected: list[str]) -> None:
    assert dues(schedule, first, len(expected)) == expected


@pytest.mark.parametrize(
    ("zone", "clock", "first", "expected"),
    [
        # left out: as much later as the clock jumps
        ("America/New_York", "02:30", "2026-03-07", ["2026-03-07 07:30", "2026-03-08 07:30", "2026-03-09 06:30"]),
        ("Europe/Berlin", "02:30", "2026-03-28", ["2026-03-28 01:30", "2026-03-29 01:30", "2026-03-30 00:30"]),
        ("Australia/Lord_Howe", "02:15", "2026-10-03", ["2026-10-03 15:45", "2026-10-04 15:15"]),  # by half an hour
        ("Asia/Beirut", "00:30", "2026-03-28", ["2026-03-28 22:30", "2026-03-29 21:30"]),  # the gap is at midnight
        # twice: the first counts
        ("America/New_York", "01:30", "2026-10-31", ["2026-10-31 05:30", "2026-11-01 05:30", "2026-11-02 06:30"]),
        ("Europe/Berlin", "02:30", "2026-10-24", ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"]),
        # Samoa had no 30th of December 2011: that day's run falls into the next, where it meets that day's own
        ("Pacific/Apia", "12:00", "2011-12-29", ["2011-12-29 22:00", "2011-12-30 22:00", "2011-12-31 22:00"]),
    ],
)
def test_t53_once_a_day_when_the_clock_changes(zone: str, clock: str, first: str, expected: list[str]) -> None:
    assert dues(local(clock, None, tz=zone), first, len(expected)) == expected


zones = st.sampled_from(
    ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Beirut", "Pacific/Chatham", "UTC"]
)
clocks = st.times().map(lambda clock: f"{clock:%H:%M}")
offsets = st.sampled_from(["+0s", "+30m", "-15m", "+23h", "-1d"])
jitters = st.sampled_from(["0s", "30m", "1d"])
of_sessions = st.builds(
    lambda at, offset, jitter: local(at, offset=offset, jitter=jitter),
    st.sampled_from(["close", "open"]),
    offsets,
    jitters,
)
of_clocks = st.builds(
    lambda at, tz, offset, jitter, on_closed: local(at, tz=tz, offset=offset, jitter=jitter, on_closed=on_closed),
    clocks, zones, offsets, jitters, st.sampled_from(["skip", "next"]),
)  # fmt: skip
years = st.dates(date(2024, 1, 1), date(2027, 12, 10))


def rule(mic: str | None = "XNYS", **words: Any) -> Schedule:
    calendar = {"calendar": "us"} if mic else {}
    return Schedule("x", Rule.model_validate({"job": "sync_accounts", **calendar, **words}), "accounts", "f", 1, mic)


def intraday(every: str = "15m", mic: str = "XNYS", **words: Any) -> Schedule:
    return rule(mic, every=every, **{"while": "open"}, **words)


@pytest.mark.parametrize(
    ("schedule", "first", "expected"),
    [
        # an early close stops it; nothing on the holiday; the slot at the close is none
        (intraday("2h"), "2026-11-25", ["2026-11-25 14:30", "2026-11-25 16:30", "2026-11-25 18:30", "2026-11-25 20:30",
                                        "2026-11-27 14:30", "2026-11-27 16:30", "2026-11-30 14:30"]),
        (intraday("210m"), "2026-11-27", ["2026-11-27 14:30", "2026-11-30 14:30", "2026-11-30 18:00"]),
        (intraday("10h", "24/7"), "2026-11-26", ["2026-11-26 10:00", "2026-11-26 20:00", "2026-11-27 00:00"]),
        # over the weekend, and where a session opens the evening before
        (rule("FX", at="close", offset="+5m"), "2026-11-26", ["2026-11-26 22:05", "2026-11-27 22:05", "2026-11-30 22:05"]),
        # Hong Kong stops for lunch from 12:00 to 13:00, and on Christmas Eve for the day
        (intraday("50m", "XHKG"), "2026-12-24", ["2026-12-24 01:30", "2026-12-24 02:20", "2026-12-24 03:10",
                                                 "2026-12-28 01:30", "2026-12-28 02:20", "2026-12-28 03:10",
                                                 "2026-12-28 05:40", "2026-12-28 06:30", "2026-12-28 07:20"]),
        # of each month
        (rule(at="07:00", on="month_first", tz="America/New_York"), "2026-10-15",
         ["2026-11-02 12:00", "2026-12-01 12:00", "2027-01-04 12:00"]),
        (rule(at="close", on="month_last", offset="+30m"), "2026-10-15",
         ["2026-10-30 20:30", "2026-11-30 21:30", "2026-12-31 21:30"]),
        (rule(None, at="07:00", on="month_last", tz="UTC"), "2027-01-15", ["2027-01-31 07:00", "2027-02-28 07:00"]),
        (rule(None, at="07:00", on="month_first", tz="UTC"), "2027-01-15", ["2027-02-01 07:00", "2027-03-01 07:00"]),
        # weekdays: Thanksgiving is a Thursday
        (rule(at="close", on=["mon", "thu"]), "2026-11-23",
         ["2026-11-23 21:00", "2026-11-30 21:00", "2026-12-03 21:00"]),
        (rule(at="close", on=["thu"], on_closed="next"), "2026-11-23", ["2026-11-27 18:00", "2026-12-03 21:00"]),
        (rule(at="09:00", on=["thu"], on_closed="next"), "2026-11-23", ["2026-11-27 14:00", "2026-12-03 14:00"]),
        (rule(at="09:00", on=["thu", "fri"], on_closed="next"), "2026-11-23", ["2026-11-27 14:00", "2026-12-03 14:00"]),
        (rule(at="09:00", on=["thu"], on_closed="run"), "2026-11-23", ["2026-11-26 14:00", "2026-12-03 14:00"]),
        (rule(at="09:00", on=["sat"], on_closed="next"), "2026-11-24", ["2026-11-30 14:00", "2026-12-07 14:00"]),
        (rule(None, at="09:00", on=["thu"], tz="UTC"), "2026-11-23", ["2026-11-26 09:00", "2026-12-03 09:00"]),
        # cron
        (rule(None, cron="30 6 * * mon-fri", tz="America/New_York"), "2026-11-26",
         ["2026-11-26 11:30", "2026-11-27 11:30", "2026-11-30 11:30"]),
        (rule(cron="30 6 * * *"), "2026-11-26", ["2026-11-27 11:30", "2026-11-30 11:30"]),
        (rule(cron="30 6 * * thu", on_closed="next"), "2026-11-26", ["2026-11-27 11:30", "2026-12-03 11:30"]),
        (rule(cron="30 6 * * thu", on_closed="run"), "2026-11-26", ["2026-11-26 11:30", "2026-12-03 11:30"]),
        (rule(None, cron="0 0 29 2 *", tz="UTC"), "2026-11-26", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        (rule(None, cron="0 9,17 L * *", tz="UTC"), "2027-02-01",
         ["2027-02-28 09:00", "2027-02-28 17:00", "2027-03-31 09:00"]),
        (rule(None, cron="*/20 * * * *", tz="UTC"), "2026-11-26", ["2026-11-26 00:20", "2026-11-26 00:40"]),
    ],
)  # fmt: skip
@guarded(
    "a closed weekday does not move", "planning/due.py",
    "any(counts(day) for day in _days(waits, session.date))", "counts(session.date)",
)  # fmt: skip
@guarded("a slot at the close", "planning/due.py", "if slot < closes:", "if slot <= closes:")
def test_due_times_of_every_word(schedule: Schedule, first: str, expected: list[str]) -> None:
    assert dues(schedule, first, len(expected)) == expected


@pytest.mark.parametrize(
    ("zone", "line", "first", "expected"),
    [
        # an hour that is named: left out, it comes as much later as the clock jumps; twice, it counts once
        ("America/New_York", "30 2 * * *", "2026-03-08", ["03-08 07:30", "03-09 06:30"]),
        ("America/New_York", "0,30 2,3 * * *", "2026-03-08", ["03-08 07:00", "03-08 07:30", "03-09 06:00"]),
        ("America/New_York", "*/30 2 * * *", "2026-03-08", ["03-08 07:00", "03-08 07:30", "03-09 06:00"]),
        ("America/New_York", "30 1 * * *", "2026-11-01", ["11-01 05:30", "11-02 06:30"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03", ["10-03 15:45", "10-04 15:15"]),
        # all hours: each that passes has its own, also the second of the same name
        ("America/New_York", "30 * * * *", "2026-03-08", [f"03-08 {n:02}:30" for n in range(24)]),
        ("America/New_York", "30 * * * *", "2026-11-01", [f"11-01 {n:02}:30" for n in range(24)]),
        ("America/New_York", "0 */2 * * *", "2026-03-08", ["03-08 01:00", "03-08 03:00", "03-08 05:00", "03-08 07:00",
                                                           "03-08 08:00"]),
        ("Australia/Lord_Howe", "0,30 * * * *", "2026-04-04", [f"04-04 {n // 2:02}:{n % 2 * 30:02}" for n in
                                                              range(1, 48)]),
    ],
)  # fmt: skip
def test_t53_cron_when_the_clock_changes(zone: str, line: str, first: str, expected: list[str]) -> None:
    schedule = rule(None, cron=line, tz=zone)
    assert [due[5:] for due in dues(schedule, first, len(expected))] == expected


SIX_ZONES = {
    "America/New_York": 2026, "Australia/Lord_Howe": 2026, "America/Santiago": 2026, "Europe/Dublin": 2026,
    "Africa/Casablanca": 2026, "Asia/Beirut": 2026,
}  # fmt: skip


@pytest.mark.parametrize(("zone", "year"), SIX_ZONES.items())
def test_t53_over_a_year_of_minutes_each_local_time_is_due_once_a_day(zone: str, year: int) -> None:
    """Told by a clock that is looked at every minute of the year, which knows nothing of zoneinfo's folds."""
    there, minute = ZoneInfo(zone), timedelta(minutes=1)
    begin = datetime(year, 1, 1, tzinfo=there).astimezone(UTC)
    end = datetime(year + 1, 1, 1, tzinfo=there).astimezone(UTC)
    seen: dict[str, datetime] = {}  # each minute of the year, as the clock shows it, when it first does
    changes, moment, before = [], begin, begin.astimezone(there).utcoffset()
    while moment < end:
        local = moment.astimezone(there)
        seen.setdefault(f"{local:%m-%d %H:%M}", moment)
        if (offset := local.utcoffset()) != before:
            assert offset is not None
            assert before is not None
            changes.append((moment, offset - before))
            before = offset
        moment += minute
    assert len(changes) >= 2
    near_changes = {
        f"{(change.astimezone(there) + k * 30 * minute):%H:%M}" for change, _ in changes for k in range(-3, 4)
    }
    for clock in sorted({*near_changes, "00:00", "00:30", "12:00", "23:59"}):
        schedule = local_time(clock, zone)
        found = [due.due_at for due in schedule.occurrences(begin, end)]
        expected = []
        for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days):
            day = date(year, 1, 1) + timedelta(days=n)
            at = seen.get(f"{day:%m-%d} {clock}")
            if at is None:  # in a gap: as much later as the clock jumps
                [(change, jump)] = [c for c in changes if abs((c[0].astimezone(there).date() - day).days) <= 1]
                at = seen[f"{datetime.combine(day, datetime.min.time()) + _of(clock) + jump:%m-%d %H:%M}"]
                assert change <= at < change + jump
            expected.append(at)
        assert found == expected, clock


def local_time(clock: str, zone: str) -> Schedule:
    return rule(None, at=clock, tz=zone)


def _of(clock: str) -> timedelta:
    hour, minute = clock.split(":")
    return timedelta(hours=int(hour), minutes=int(minute))


@guarded("a repeated hour of cron runs once", "planning/due.py", "if twice and _comes_twice(at):", "if False:")
@pytest.mark.parametrize(("zone", "year"), SIX_ZONES.items())
def test_t53_a_cron_of_all_hours_loses_no_minute_of_a_year(zone: str, year: int) -> None:
    """Every quarter of an hour, in zones that jump by whole quarters: as if no clock had ever changed."""
    begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    found = [due.due_at for due in rule(None, cron="*/15 * * * *", tz=zone).occurrences(begin, end)]
    assert found == [begin + n * timedelta(minutes=15) for n in range(len(found))]
    assert len(found) == 365 * 96


MICS = ("XNYS", "XLON", "XHKG", "XTKS", "XPAR", "XETR", "XASX", "XTSE", "XNSE", "XKRX")
SINCE, UNTIL = datetime(1999, 1, 4, tzinfo=UTC), datetime(2026, 12, 30, tzinfo=UTC)  # all of them are known so long
of_slots = st.builds(
    lambda every, jitter: intraday(every, jitter=jitter), st.sampled_from(["50m", "7h", "1h"]),
    st.sampled_from(["0s", "50m", "1s"]),
)  # fmt: skip
of_cron = st.builds(
    lambda line, tz: rule(None, cron=line, tz=tz),
    st.sampled_from(["*/7 * * * *", "30 1,2 * * *", "0 */2 * * mon", "0 0 1 * *"]), zones,
)  # fmt: skip
of_days = st.builds(
    lambda at, on, jitter: local(at, on=on, jitter=jitter),
    st.sampled_from(["close", "open", "18:15"]), st.sampled_from(["month_first", "month_last", ["mon", "fri"]]), jitters,
)  # fmt: skip


@pytest.mark.parametrize("mic", MICS)
def test_over_28_years_each_session_has_exactly_one_run_at_its_close(mic: str) -> None:
    calendar = get_calendar(mic)
    begin, end = SINCE, UNTIL
    found = list(rule(mic, at="close", offset="+30m", jitter="10m").occurrences(begin, end, "con_1/prices"))
    sessions = [
        session for session in calendar.sessions(SINCE.date(), UNTIL.date())
        if begin <= session.close_at + timedelta(minutes=35) < end
    ]  # fmt: skip
    assert [due.session for due in found][5:-5] == sessions[5:-5]
    assert abs(len(found) - len(sessions)) <= 1
    late = {due.due_at - due.session.close_at for due in found if due.session}
    assert len(late) == 1, "a stream's share of the jitter never changes"
    assert timedelta(minutes=30) <= late.pop() < timedelta(minutes=40)


@guarded("a lunch break is open", "planning/due.py", "for begin, end in session.breaks:", "for begin, end in ():")
@guarded(
    "jitter pushes a run over the close", "planning/schedules.py",
    "min(jitter, room // SECOND)", "jitter",
)  # fmt: skip
@pytest.mark.parametrize("mic", MICS)
def test_over_28_years_nothing_runs_while_closed_nor_in_a_break(mic: str) -> None:
    calendar = get_calendar(mic)
    begin, end = SINCE, UNTIL
    runs = []
    for jitter in ("0s", "50m"):
        count: Counter[date] = Counter()
        for due, session in intraday("50m", mic, jitter=jitter).occurrences(begin, end, "con_1/prices"):
            assert session is not None
            assert calendar.is_open(due)
            assert session.open_at <= due < session.close_at
            count[session.date] += 1
        runs.append(count)
    plain, spread = runs
    for day in (min(plain), max(plain)):  # cut off in the middle of their session
        del plain[day], spread[day]
    assert plain == spread, "no run is lost by its jitter"
    assert sorted(plain) == calendar.dates(min(plain), max(plain))


@settings(deadline=None, max_examples=300)
@given(stream=streams, first=st.dates(date(2020, 1, 1), date(2027, 1, 1)), every=st.integers(1, 400))
def test_of_an_open_market_every_slot_has_one_run_however_long_the_jitter(stream: str, first: date, every: int) -> None:
    schedule, plain = intraday(f"{every}m", jitter=f"{every}m"), intraday(f"{every}m")
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end = begin + timedelta(days=7)
    found, slots = [list(of.occurrences(begin, end, stream)) for of in (schedule, plain)]
    assert len(found) == len(slots)
    for run, slot in zip(found, slots, strict=True):
        assert run.session == slot.session
        assert slot.session is not None
        assert slot.due_at <= run.due_at < min(slot.session.close_at, slot.due_at + timedelta(minutes=every))


@settings(deadline=None)
@given(schedule=of_sessions | of_clocks, first=years, stream=streams)
def test_t53_each_session_is_due_exactly_once_and_closed_days_never(
    schedule: Schedule, first: date, stream: str
) -> None:
    sessions = US.sessions(first, first + timedelta(days=14))
    begin = sessions[0].open_at - timedelta(days=5)
    found: list[Session] = []
    moment = begin
    while not found or found[-1].date < sessions[-1].date:
        due, session = schedule.occurrence_after(moment, stream)
        assert due > moment
        assert session is not None
        assert due.utcoffset() == timedelta()
        found.append(session)
        moment = due
    assert [session for session in found if session.date >= first] == sessions


@settings(deadline=None)
@given(clock=clocks, zone=zones, first=years)
def test_t53_a_local_time_without_a_calendar_is_due_once_a_day(clock: str, zone: str, first: date) -> None:
    schedule = local(clock, None, tz=zone)
    start = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone)) - timedelta(microseconds=1)
    found = [due.astimezone(ZoneInfo(zone)) for due in islice(due_from(schedule, start), 10)]
    assert [due.date() for due in found] == [first + timedelta(days=n) for n in range(10)]
    assert sum(f"{due:%H:%M}" != clock for due in found) <= 1  # in a gap


@settings(deadline=None)
@given(schedule=of_sessions | of_clocks | of_slots | of_cron | of_days, moment=st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 1), timezones=st.just(UTC)),
       part=st.floats(0, 1, exclude_max=True), stream=streams)  # fmt: skip
def test_a_restart_between_two_sessions_moves_nothing(
    schedule: Schedule, moment: datetime, part: float, stream: str
) -> None:
    due = schedule.due_after(moment, stream)
    between = moment + (due - moment) * part
    if between < due:
        assert schedule.due_after(between, stream) == due
        assert schedule.rule.every is not None or schedule.due_after_run(between, stream) == due


@settings(deadline=None)
@given(asked=st.lists(of_sessions | of_clocks | of_slots | of_cron | of_days | schedules(), max_size=8),
       moment=st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 1), timezones=st.just(UTC)), stream=streams,
       queued=st.booleans())  # fmt: skip
def test_many_at_once_are_due_when_each_alone_is(
    asked: list[Schedule], moment: datetime, stream: str, queued: bool
) -> None:
    alone = [s.due_after_run(moment, stream) if queued else s.due_after(moment, stream) for s in asked]
    many = due_after_many([(schedule, stream) for schedule in asked], moment, queued=queued)
    assert [EPOCH + timedelta(microseconds=due) for due in many] == alone


def test_many_of_a_calendar_that_ends_are_daily(caplog: pytest.LogCaptureFixture) -> None:
    late = at("2035-12-31T22:00Z")
    [due] = due_after_many([(local("close"), "s")], late)
    assert EPOCH + timedelta(microseconds=due) == late + timedelta(days=1)


def test_days_before_a_calendar_begins_are_refused_and_those_after_it_have_none() -> None:
    with pytest.raises(UsageError, match="knows the days 1990-01-01"):
        list(local("close").occurrences(at("1989-12-01T00:00Z"), at("1990-02-01T00:00Z")))
    last = list(local("close").occurrences(at("2035-12-30T00:00Z"), at("2036-02-01T00:00Z")))
    assert [session.date for _, session in last if session] == [date(2035, 12, 31)]


def test_jitter_is_a_streams_own_share() -> None:
    schedule = local("close", offset="+30m", jitter="30m")
    first = [schedule.due_after(at("2026-11-27T00:00Z"), f"con_{n}/prices") for n in range(200)]
    assert at("2026-11-27T18:30Z") <= min(first) < max(first) < at("2026-11-27T19:00Z")
    assert first == [schedule.due_after(at("2026-11-27T12:00Z"), f"con_{n}/prices") for n in range(200)]


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ("2026-11-27T17:59:59Z", "2026-11-25"),
        ("2026-11-27T18:00:00Z", "2026-11-27"),
        ("2026-11-29T12:00Z", "2026-11-27"),
    ],
)
def test_the_newest_session_that_has_closed(moment: str, session: str) -> None:
    assert local("close").session_at(at(moment)) == date.fromisoformat(session)
    assert local("18:15", None, tz="UTC").session_at(at(moment)) is None
    assert every(timedelta(hours=1)).session_at(at(moment)) is None


def test_a_calendar_that_ends_makes_it_daily_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    schedule, late = local("close", offset="+30m"), at("2035-12-31T22:00Z")
    assert schedule.due_after(late, "s") == late + timedelta(days=1)
    assert "eod runs once a day from now on" in caplog.text
    assert schedule.session_at(late + timedelta(days=3)) is None
    with pytest.raises(UsageError, match="newer fin_infra"):
        schedule.occurrence_after(late, "s")


def test_t54_the_fingerprint_of_every_is_as_it_was_in_stored_rows() -> None:
    rule = Rule.model_validate({"job": "sync_accounts", "every": "6h", "jitter": "30m"})
    schedule = Schedule("banks", rule, "accounts", "f.yaml", 1)
    assert schedule.fingerprint == "sync_accounts every 6:00:00 jitter 0:30:00 lane scheduled"


def test_t54_all_that_moves_due_times_is_in_the_fingerprint() -> None:
    kinds = [
        local("close"), local("open"), local("close", offset="+30m"), local("close", offset="-30m"),
        local("close", "24/7"), local("close", jitter="5m"), local("close", lane="backfill"), local("18:15"),
        local("18:15", tz="UTC"), local("18:15", on_closed="run"), local("18:15", None, tz="UTC"),
        every(timedelta(hours=6)), intraday("6h"), intraday("6h", "24/7"), rule(cron="15 18 * * *"),
        rule(cron="15 18 * * *", tz="UTC"), local("18:15", on="month_first"), local("18:15", on=["mon"]),
        local("close", on=["mon"]), local("close", until="final", retry="20m", deadline="23:00"),
        local("close", until="final", retry="30m", deadline="23:00"),
        local("close", until="final", retry="20m", deadline="23:30"),
        local("close", until="final", retry="20m", deadline="23:00", tz="UTC"),
    ]  # fmt: skip
    assert len({schedule.fingerprint for schedule in kinds}) == len(kinds)
    assert local("18:15").fingerprint == local("18:15", tz="America/New_York").fingerprint
    assert local("18:15", tz="UTC", offset="-30m").fingerprint == (
        "sync_accounts at 18:15 UTC -0:30:00 calendar XNYS on_closed skip jitter 0:00:00 lane scheduled"
    )
