"""Calendars: every row of the truth tables, what a session is, and the snapshot's own making."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fin_infra
from fin_infra.calendars import Calendar, Session, build, calendar_names, get_calendar
from fin_infra.calendars.snapshot import SNAPSHOT, expanded
from fin_infra.errors import UsageError
from tests.unit.helpers import one_sentence

DATA = Path(__file__).parents[1] / "data"
US = get_calendar("XNYS")
ALWAYS = get_calendar("24/7")
BOTH = pytest.mark.parametrize("calendar", [US, ALWAYS], ids=["XNYS", "24/7"])


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def refusal(wrong: pytest.ExceptionInfo[UsageError]) -> str:
    return one_sentence(wrong.value)


# -- the truth tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("calendar_truth"), ids=lambda row: f"{row['exchange']} {row['date']}")
def test_truth_of_days(row: dict[str, str]) -> None:
    session = get_calendar(row["exchange"]).session(date.fromisoformat(row["date"]))
    if row["expected"] == "closed":
        assert session is None
        return
    assert session is not None
    assert session.kind == {"open": "regular"}.get(row["expected"], row["expected"])
    assert (session.open_at, session.close_at) == (at(row["open_utc"]), at(row["close_utc"]))
    assert not session.provisional


@pytest.mark.parametrize("row", rows("calendar_instants"), ids=lambda row: f"{row['exchange']} {row['at_utc']}")
def test_truth_of_instants(row: dict[str, str]) -> None:
    calendar = get_calendar("24/7" if row["exchange"] == "CRYPTO" else row["exchange"])
    assert calendar.is_open(at(row["at_utc"])) == (row["is_open"] == "true")
    if row["session"]:
        assert calendar.is_session(date.fromisoformat(row["session"]))


@pytest.mark.parametrize("row", rows("session_counts"), ids=lambda row: f"{row['exchange']} {row['year']}")
def test_truth_of_counts(row: dict[str, str]) -> None:
    year = int(row["year"])
    assert len(get_calendar(row["exchange"]).dates(date(year, 1, 1), date(year, 12, 31))) == int(row["sessions"])


def test_the_truth_tables_are_there() -> None:
    assert [len(rows(name)) for name in ("calendar_truth", "calendar_instants", "session_counts")] == [72, 86, 13]


# NYSE Group's announcement of 2025-12-23 for 2026 to 2028
HOLIDAYS = """
2026-01-01 2026-01-19 2026-02-16 2026-04-03 2026-05-25 2026-06-19 2026-07-03 2026-09-07 2026-11-26 2026-12-25
2027-01-01 2027-01-18 2027-02-15 2027-03-26 2027-05-31 2027-06-18 2027-07-05 2027-09-06 2027-11-25 2027-12-24
           2028-01-17 2028-02-21 2028-04-14 2028-05-29 2028-06-19 2028-07-04 2028-09-04 2028-11-23 2028-12-25
"""
EARLY = "2026-11-27 2026-12-24 2027-11-26 2028-07-03 2028-11-24"


def test_the_published_years_are_as_published() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(365 + 365 + 366)]
    closed = [day.isoformat() for day in days if day.weekday() < 5 and not US.is_session(day)]
    assert closed == HOLIDAYS.split()
    odd = [session for session in US.sessions(days[0], days[-1]) if session.kind != "regular"]
    assert [session.date.isoformat() for session in odd] == EARLY.split()
    assert {session.kind for session in odd} == {"early"}


# -- New York ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2026-03-06", "14:30", "21:00"), ("2026-03-09", "13:30", "20:00"),
        ("2026-10-30", "13:30", "20:00"), ("2026-11-02", "14:30", "21:00"), ("2026-11-27", "14:30", "18:00"),
        ("2006-03-31", "14:30", "21:00"), ("2006-04-03", "13:30", "20:00"),  # until 2006 the clock changed in April
    ],
)  # fmt: skip
def test_t53_hours_are_local_and_instants_follow_the_clock(day: str, opens: str, closes: str) -> None:
    session = US.session(date.fromisoformat(day))
    assert session is not None
    assert (session.open_at, session.close_at) == (at(f"{day}T{opens}Z"), at(f"{day}T{closes}Z"))


@pytest.mark.parametrize(
    ("day", "kind", "hours"),
    [
        ("1996-01-08", "shifted", ("11:00", "14:00")),  # a blizzard
        ("2002-09-11", "late", ("12:00", "16:00")),
        ("1999-12-31", "early", ("09:30", "13:00")),  # by override
    ],
)
def test_kinds(day: str, kind: str, hours: tuple[str, str]) -> None:
    session = US.session(date.fromisoformat(day))
    assert session is not None
    new_york = ZoneInfo("America/New_York")
    local = tuple(f"{moment.astimezone(new_york):%H:%M}" for moment in (session.open_at, session.close_at))
    assert (session.kind, local) == (kind, hours)


def test_provisional_is_what_the_exchange_has_not_published() -> None:
    published, by_rule = US.session(date(2028, 12, 29)), US.session(date(2029, 1, 2))
    assert published is not None
    assert by_rule is not None
    assert (published.provisional, by_rule.provisional) == (False, True)


def test_neighbours_of_an_instant() -> None:
    friday = US.session(date(2026, 11, 27))
    assert friday is not None
    second = timedelta(seconds=1)
    assert US.next_session(at("2026-11-26T12:00Z")) == friday  # Thanksgiving
    assert US.next_session(friday.open_at - second) == friday
    assert US.next_session(friday.open_at).date == date(2026, 11, 30)  # it opens already, the next is Monday's
    assert US.last_closed(friday.close_at - second).date == date(2026, 11, 25)
    assert US.last_closed(friday.close_at) == friday
    assert US.last_closed(at("2026-11-29T12:00Z")) == friday


def test_local_date_is_the_exchanges() -> None:
    assert US.local_date(at("2026-11-25T04:59:59Z")) == date(2026, 11, 24)
    assert US.local_date(at("2026-11-25T05:00:00Z")) == date(2026, 11, 25)
    assert US.local_date(at("2026-07-01T13:00:00+09:00")) == date(2026, 7, 1)
    assert ALWAYS.local_date(at("2026-07-01T08:59:59+09:00")) == date(2026, 6, 30)


def test_names_and_zones() -> None:
    assert calendar_names() == ["XNAS", "XNYS", "24/7"]
    assert [(c.name, c.zone) for c in map(get_calendar, calendar_names())] == [
        ("XNAS", "America/New_York"), ("XNYS", "America/New_York"), ("24/7", "UTC"),
    ]  # fmt: skip
    assert fin_infra.get_calendar("XNYS") is US
    assert repr(US) == "<Calendar XNYS 1990-01-01 to 2035-12-31>"


def test_nasdaq_keeps_new_yorks_sessions() -> None:
    years = date(1990, 1, 1), date(2035, 12, 31)
    assert get_calendar("XNAS").sessions(*years) == US.sessions(*years)


# -- any calendar ------------------------------------------------------------------------------------------------------

days = st.dates(date(1990, 1, 2), date(2035, 12, 28))
moments = st.datetimes(datetime(1990, 1, 4), datetime(2035, 12, 28), timezones=st.just(UTC))
spans = st.integers(0, 400).map(lambda n: timedelta(days=n))


@BOTH
@settings(deadline=None)
@given(first=days, span=spans)
def test_sessions_are_sorted_and_do_not_overlap(calendar: Calendar, first: date, span: timedelta) -> None:
    last = min(first + span, calendar.last)
    sessions = calendar.sessions(first, last)
    assert [session.date for session in sessions] == calendar.dates(first, last)
    assert all(first <= session.date <= last and session.open_at < session.close_at for session in sessions)
    for one, next_ in pairwise(sessions):
        assert one.date < next_.date
        assert one.close_at <= next_.open_at


@BOTH
@settings(deadline=None)
@given(moment=moments)
def test_open_means_within_a_session(calendar: Calendar, moment: datetime) -> None:
    near = moment.date()
    sessions = calendar.sessions(near - timedelta(days=2), near + timedelta(days=2))
    running = [session for session in sessions if session.open_at <= moment < session.close_at]
    assert calendar.is_open(moment) == bool(running)
    assert all(session.date == calendar.local_date(moment) for session in running)


@BOTH
@settings(deadline=None)
@given(day=days)
def test_a_session_is_open_from_its_opening_up_to_its_close(calendar: Calendar, day: date) -> None:
    session, tick = calendar.session(day), timedelta(microseconds=1)
    assert calendar.is_session(day) == (session is not None)
    if session is not None:
        assert calendar.is_open(session.open_at)
        assert calendar.is_open(session.close_at - tick)
        assert calendar.last_closed(session.close_at) == session
        assert calendar.next_session(session.open_at - tick) == session
        if calendar is US:
            assert not calendar.is_open(session.close_at)
            assert not calendar.is_open(session.open_at - tick)


@BOTH
@settings(deadline=None)
@given(moment=moments)
def test_neighbours_are_the_nearest(calendar: Calendar, moment: datetime) -> None:
    before, after = calendar.last_closed(moment), calendar.next_session(moment)
    assert before.close_at <= moment < after.open_at
    between = calendar.sessions(before.date + timedelta(days=1), after.date - timedelta(days=1))
    assert all(session.open_at <= moment < session.close_at for session in between)


@settings(deadline=None)
@given(day=st.dates(date(1990, 1, 1), date(2035, 12, 31)))
def test_local_hours_are_what_a_clock_in_new_york_shows(day: date) -> None:
    session = US.session(day)
    if session is not None and session.kind == "regular":
        local = [moment.astimezone(ZoneInfo("America/New_York")) for moment in (session.open_at, session.close_at)]
        assert [f"{moment:%Y-%m-%d %H:%M}" for moment in local] == [f"{day} 09:30", f"{day} 16:00"]


def test_always_open_is_utc_days() -> None:
    assert ALWAYS.session(date(2026, 11, 26)) == Session(
        date(2026, 11, 26), at("2026-11-26T00:00Z"), at("2026-11-27T00:00Z"), "regular", provisional=False
    )
    assert ALWAYS.next_session(at("2026-11-26T00:00Z")).date == date(2026, 11, 27)
    assert ALWAYS.last_closed(at("2026-11-26T00:00Z")).date == date(2026, 11, 25)
    assert len(ALWAYS.dates(date(2024, 1, 1), date(2024, 12, 31))) == 366


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["XLON", "xnys", "NYSE", "NASDAQ", "", "247"])
def test_an_unknown_calendar_lists_what_exists(name: str) -> None:
    with pytest.raises(UsageError) as wrong:
        get_calendar(name)
    assert "there are: XNAS, XNYS, 24/7" in refusal(wrong)


def test_a_near_miss_is_pointed_out() -> None:
    with pytest.raises(UsageError, match="did you mean 'XNYS'"):
        get_calendar("xnys")


@BOTH
@pytest.mark.parametrize("question", ["is_open", "next_session", "last_closed", "local_date"])
def test_an_instant_needs_a_zone(calendar: Calendar, question: str) -> None:
    with pytest.raises(UsageError) as wrong:
        getattr(calendar, question)(datetime(2026, 11, 27, 15))
    assert "has no zone" in refusal(wrong)


@BOTH
def test_an_instant_is_no_day(calendar: Calendar) -> None:
    with pytest.raises(UsageError) as wrong:
        calendar.is_session(at("2026-11-27T15:00Z"))
    assert "local_date" in refusal(wrong)


@BOTH
def test_what_is_not_known_is_not_closed(calendar: Calendar) -> None:
    before, after = calendar.first - timedelta(days=1), calendar.last + timedelta(days=1)
    for day in (before, after):
        noon = datetime(day.year, day.month, day.day, 17, tzinfo=UTC)
        for ask in (calendar.is_session, calendar.session):
            with pytest.raises(UsageError, match=f"not {day}"):
                ask(day)
        for question in (calendar.is_open, calendar.next_session, calendar.last_closed):
            with pytest.raises(UsageError, match="knows the days"):
                question(noon + timedelta(days=1 if day is after else -1))
    for first, last in ((before, calendar.first), (calendar.last, after)):
        with pytest.raises(UsageError, match="knows the days"):
            calendar.dates(first, last)
        with pytest.raises(UsageError, match="knows the days"):
            calendar.sessions(first, last)
    assert calendar.sessions(after, calendar.last) == []
    assert calendar.dates(after, calendar.last) == []


def test_the_ends_of_the_table() -> None:
    first, last = US.dates(US.first, US.last)[0], US.dates(US.first, US.last)[-1]
    assert (first, last) == (date(1990, 1, 2), date(2035, 12, 31))
    with pytest.raises(UsageError, match="knows the days"):
        US.last_closed(at("1990-01-02T15:00Z"))
    with pytest.raises(UsageError, match="knows the days"):
        US.next_session(at("2035-12-31T15:00Z"))


def test_a_machine_without_zone_data_is_told_what_to_install() -> None:
    entry = json.loads(SNAPSHOT.read_text(encoding="utf-8"))["calendars"]["XNYS"]
    with pytest.raises(UsageError, match="tzdata"):
        expanded("XNYS", {**entry, "zone": "Atlantis/Capital"})


# -- the snapshot ------------------------------------------------------------------------------------------------------


def test_the_shipped_snapshot_is_what_the_library_and_the_overrides_give() -> None:
    assert build.build() == SNAPSHOT.read_text(encoding="utf-8"), "run make calendars"
    assert SNAPSHOT.stat().st_size < 100_000


@pytest.fixture
def overrides(tmp_path: Path) -> Path:
    path = tmp_path / "overrides.csv"
    path.write_text(",".join(build.COLUMNS) + "\n", encoding="utf-8")
    return path


def add(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def test_an_override_wins_over_the_library(overrides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def entry() -> dict[str, dict[str, list[str]]]:
        calendars: dict[str, dict[str, dict[str, list[str]]]] = json.loads(build.build(overrides))["calendars"]
        return calendars["XNYS"]

    assert "1999-12-31" not in entry()["hours_on"]  # the library says a full day
    add(
        overrides,
        "XNYS,1999-12-31,early,09:30,13:00,eve of 2000,the exchange",
        "XNYS,2026-12-01,closed,,,storm,the exchange",
        "XNYS,2026-11-26,open,09:30,16:00,no holiday,the exchange",
        "XNYS,2026-11-28,special,10:00,12:00,a Saturday test,the exchange",
        "XNYS,2026-12-02,late,10:30,16:00,a fault,the exchange",
        "XNYS,2026-12-25,closed,,,as the library says,the exchange",
    )
    made = entry()
    assert made["hours_on"]["1999-12-31"] == ["09:30", "13:00", "early"]
    assert "the library says the same of 2026-12-25" in capsys.readouterr().err
    calendar = expanded("XNYS", made)
    found = calendar.sessions(date(2026, 11, 25), date(2026, 12, 3))
    assert [(session.date.day, session.kind) for session in found] == [
        (25, "regular"), (26, "regular"), (27, "early"), (28, "special"), (30, "regular"), (2, "late"), (3, "regular"),
    ]  # fmt: skip
    assert calendar.is_open(at("2026-11-28T15:00Z"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("XLON,2026-12-01,closed,,,why,who", "unknown mic 'XLON'; there are: XNYS"),
        ("XNYS,2026-13-01,closed,,,why,who", "month must be in 1..12"),
        ("XNYS,1985-01-02,closed,,,why,who", "not between 1990-01-01 and 2035-12-31"),
        ("XNYS,2026-12-01,closed,,,,who", "needs its reason and its source"),
        ("XNYS,2026-12-01,closed,,,why,", "needs its reason and its source"),
        ("XNYS,2026-12-01,early,,,why,who", "does not match format"),
        ("XNYS,2026-12-01,early,09:30,16:00,why,who", "by its hours the day is regular, not early"),
        ("XNYS,2026-12-01,open,09:30,13:00,why,who", "by its hours the day is early, not open"),
        ("XNYS,2026-12-05,early,09:30,13:00,why,who", "by its hours the day is special, not early"),
    ],
)
def test_an_override_that_is_not_whole_stops_the_build(overrides: Path, line: str, said: str) -> None:
    add(overrides, line)
    with pytest.raises(UsageError) as wrong:
        build.build(overrides)
    assert "overrides.csv:2: " in refusal(wrong)
    assert said in refusal(wrong)


def test_columns_of_another_file_are_refused(overrides: Path) -> None:
    overrides.write_text("mic,day\nXNYS,2026-12-01\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the columns must be mic,date,expected"):
        build.build(overrides)


def test_every_override_is_in_the_snapshot() -> None:
    for override in build.read_overrides(build.OVERRIDES):
        session = get_calendar(override.mic).session(override.day)
        assert (session is None) == (override.hours is None)
        if session is not None and override.hours is not None:
            local = session.close_at.astimezone(ZoneInfo(get_calendar(override.mic).zone))
            assert f"{local:%H:%M}" == override.hours[1]


def test_asking_a_calendar_loads_nothing_heavy() -> None:
    code = (
        "import sys, fin_infra, datetime; fin_infra.get_calendar('XNYS').is_session(datetime.date(2026, 11, 27));"
        "print(sorted({'pandas', 'polars', 'numpy', 'pydantic', 'svc_infra', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
