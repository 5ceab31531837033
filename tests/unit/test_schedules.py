"""Schedules: a typo stops the start with file, line and what is allowed; due times are stable and never early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.errors import UsageError
from fin_infra.planning.schedules import EPOCH, LANES, Rule, Schedule, duration, load_schedules
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
    found = load_schedules(Path(__file__).parents[2] / "schedules", JOBS)
    assert {schedule.rule.job for schedule in found} == set(JOBS)


@pytest.mark.parametrize("text", ["", "# nothing\n", "schedules: {}\n"])
def test_a_file_without_schedules_is_no_fault(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == []


GOOD = "job: sync_accounts, every: 6h"


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


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    span = draw(spans)
    share = draw(st.sampled_from([0, 0.1, 0.5, 1]))
    return every(span, timedelta(seconds=int(span.total_seconds() * share)))


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams)
def test_the_next_due_time_is_the_first_one_strictly_after(schedule: Schedule, moment: datetime, stream: str) -> None:
    due = schedule.due_after(moment, stream)
    assert moment < due <= moment + schedule.rule.every


@settings(deadline=None)
@given(schedule=schedules(), moment=moments, stream=streams)
def test_due_times_are_multiples_of_every_plus_a_share_of_jitter(
    schedule: Schedule, moment: datetime, stream: str
) -> None:
    share = (schedule.due_after(moment, stream) - EPOCH) % schedule.rule.every
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
    assert schedule.due_after(due, stream) == due + schedule.rule.every


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
    assert moment + schedule.rule.every / 2 < due <= moment + schedule.rule.every * 1.5
    assert schedule.due_after(due - timedelta(microseconds=1), stream) == due
