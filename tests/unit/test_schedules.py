"""Schedules: a typo stops the start with file, line and what is allowed; due times are stable and never early."""

from __future__ import annotations

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
from fin_infra.planning.schedules import EPOCH, LANES, Rule, Schedule, duration, load_schedules, signed_duration
from fin_infra.project import find_project
from fin_infra.settings import Settings
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
    assert {schedule.rule.job for schedule in project.schedules} == set(project.jobs)


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
        (two("every: 6h, calendar: us"), ["file0.yaml:4:", "eod.calendar", "takes no calendar yet"]),
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
        (two(CLOSE, "{mic: XNYE}"), ["file0.yaml:2:", "us.mic", "'XNYE'", "did you mean 'XNYS'", "XNAS, XNYS, 24/7"]),
        (two(CLOSE, "{mci: XNYS}"), ["file0.yaml:2:", "unknown field 'mci'", "did you mean 'mic'"]),
        (two(CLOSE, "{}"), ["file0.yaml:2:", "us.mic: field required", "XNYS"]),
        (two(CLOSE, "{mic: }"), ["file0.yaml:2:", "us.mic", "unknown None"]),
        (two(CLOSE, "XNYS"), ["file0.yaml:2:", "expected a mapping"]),
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
@given(schedule=of_sessions | of_clocks, moment=st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 1), timezones=st.just(UTC)),
       part=st.floats(0, 1, exclude_max=True), stream=streams)  # fmt: skip
def test_a_restart_between_two_sessions_moves_nothing(
    schedule: Schedule, moment: datetime, part: float, stream: str
) -> None:
    due = schedule.due_after(moment, stream)
    between = moment + (due - moment) * part
    if between < due:
        assert schedule.due_after(between, stream) == due
        assert schedule.due_after_run(between, stream) == due


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
        every(timedelta(hours=6)),
    ]  # fmt: skip
    assert len({schedule.fingerprint for schedule in kinds}) == len(kinds)
    assert local("18:15").fingerprint == local("18:15", tz="America/New_York").fingerprint
    assert local("18:15", tz="UTC", offset="-30m").fingerprint == (
        "sync_accounts at 18:15 UTC -0:30:00 calendar XNYS on_closed skip jitter 0:00:00 lane scheduled"
    )
