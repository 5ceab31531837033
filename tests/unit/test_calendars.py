"""Calendars: every row of the truth tables, what a session is, and the snapshot's own making."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tomllib
from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fin_infra
from fin_infra.calendars import Calendar, Session, build, calendar_names, get_calendar
from fin_infra.calendars.exchanges import ALIASES, EXCHANGES, Exchange, Regime, easter, weekdays
from fin_infra.calendars.snapshot import SNAPSHOT, described, entry_of, expanded, hours
from fin_infra.errors import UsageError
from tests.guards import guarded
from tests.unit.helpers import one_sentence

DATA = Path(__file__).parents[1] / "data"
ROOT = Path(__file__).parents[2]
NAMES = calendar_names()
US = get_calendar("XNYS")
ALWAYS = get_calendar("24/7")
BOTH = pytest.mark.parametrize("calendar", [US, ALWAYS], ids=["XNYS", "24/7"])


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def pause(text: str) -> tuple[datetime, datetime]:
    begin, _, end = text.partition("/")
    return at(begin), at(end)


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
    assert not session.provisional
    if row["open_utc"]:  # without times the table knows the status only
        assert (session.open_at, session.close_at) == (at(row["open_utc"]), at(row["close_utc"]))
        assert session.breaks == tuple(pause(text) for text in row["break_utc"].split())


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
    assert [len(rows(name)) for name in ("calendar_truth", "calendar_instants", "session_counts")] == [349, 303, 164]


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


ASKED = """
XNYS XNAS XTSE XTSX XMEX BVMF XBUE XBOG XSGO XLIM XCBF CMES SIFMAUS XLON XDUB XPAR XAMS XBRU XLIS XMIL XOSL XETR XFRA
XSTU XEUR XSWX XWBO XMAD XSTO XHEL XCSE XWAR XPRA XBUD XATH XIST XTAE XJSE XSAU XBOM XNSE XBKK XIDX XKLS XPHS XSES XHKG
XSHG XSHE XTAI ROCO XKRX XKOS XTKS XASX XNZE XASE ARCX BATS FX TARGET 24/7
"""


def test_the_exchanges_that_are_asked_for_are_there() -> None:
    assert set(ASKED.split()) <= set(NAMES)
    assert len(EXCHANGES) >= 45
    tabled = {row["exchange"] for name in ("calendar_truth", "session_counts") for row in rows(name)}
    assert tabled <= set(NAMES)


def test_names_and_zones() -> None:
    assert [*sorted({*EXCHANGES, *ALIASES}), "24/7"] == NAMES
    assert fin_infra.get_calendar("XNYS") is US
    assert repr(US) == "<Calendar XNYS 1990-01-01 to 2035-12-31>"
    assert [row.mic for row in described()] == NAMES
    for row in described():
        calendar = get_calendar(row.mic)
        assert (row.zone, row.first, row.last) == (calendar.zone, calendar.first, calendar.last)
        assert row.published == calendar.published
        assert row.name
        assert row.published_in


def test_every_exchange_says_why_its_source_was_chosen() -> None:
    for mic, exchange in EXCHANGES.items():
        assert exchange.chosen, mic
        assert (exchange.library is None) == (exchange.closed is not None), mic
        assert date(2026, 12, 31) <= exchange.published <= exchange.last, mic


def test_nasdaq_keeps_new_yorks_sessions() -> None:
    years = date(1990, 1, 1), date(2035, 12, 31)
    assert get_calendar("XNAS").sessions(*years) == US.sessions(*years)


# -- hours that are not one span of one local day ------------------------------------------------------------------------


def local(calendar: Calendar, moments: list[datetime]) -> list[str]:
    return [f"{moment.astimezone(ZoneInfo(calendar.zone)):%a %H:%M}" for moment in moments]


def hours_of(mic: str, day: str) -> str:
    calendar = get_calendar(mic)
    session = calendar.session(date.fromisoformat(day))
    assert session is not None
    inner = [moment for pause in session.breaks for moment in pause]
    return " ".join(local(calendar, [session.open_at, *inner, session.close_at]))


@pytest.mark.parametrize(
    ("mic", "day", "expected"),
    [
        ("XTKS", "2011-11-18", "Fri 09:00 Fri 11:00 Fri 12:30 Fri 15:00"),
        ("XTKS", "2011-11-21", "Mon 09:00 Mon 11:30 Mon 12:30 Mon 15:00"),
        ("XTKS", "2024-11-05", "Tue 09:00 Tue 11:30 Tue 12:30 Tue 15:30"),
        ("XHKG", "2011-03-04", "Fri 10:00 Fri 12:30 Fri 14:30 Fri 16:00"),
        ("XHKG", "2012-03-02", "Fri 09:30 Fri 12:00 Fri 13:30 Fri 16:00"),
        ("XHKG", "2012-03-05", "Mon 09:30 Mon 12:00 Mon 13:00 Mon 16:00"),
        ("XHKG", "2026-12-24", "Thu 09:30 Thu 12:00"),
        ("XHKG", "2021-06-28", "Mon 13:30 Mon 16:00"),
        ("XSES", "2011-07-29", "Fri 09:00 Fri 12:30 Fri 14:00 Fri 17:00"),
        ("XSES", "2011-08-01", "Mon 09:00 Mon 17:00"),
        ("XKRX", "2000-05-19", "Fri 09:00 Fri 12:00 Fri 13:00 Fri 15:00"),
        ("XKRX", "2000-05-22", "Mon 09:00 Mon 15:00"),
        ("XNSE", "2024-03-02", "Sat 09:15 Sat 10:00 Sat 11:30 Sat 12:30"),
        ("XTAE", "2025-12-28", "Sun 09:59 Sun 15:40"),
        ("XTAE", "2026-01-09", "Fri 09:59 Fri 13:50"),
        ("XSGO", "2026-02-27", "Fri 09:30 Fri 17:00"),
        ("XSGO", "2026-03-02", "Mon 09:30 Mon 16:00"),
        ("CMES", "2026-11-23", "Sun 17:00 Mon 16:00"),
        ("CMES", "2026-11-03", "Mon 17:00 Tue 16:00"),
        ("FX", "2026-11-23", "Sun 17:00 Mon 17:00"),
        ("FX", "2026-11-02", "Sun 17:00 Mon 17:00"),
        ("TARGET", "2023-03-17", "Fri 07:00 Fri 18:00"),
        ("TARGET", "2023-03-20", "Mon 02:30 Mon 18:00"),
    ],
)
def test_hours_change_over_the_years_and_have_breaks_and_evenings(mic: str, day: str, expected: str) -> None:
    assert hours_of(mic, day) == expected


def test_a_lunch_break_is_closed_and_within_its_session() -> None:
    hong_kong = get_calendar("XHKG")
    noon = at("2026-11-24T04:00Z")
    session = hong_kong.session(date(2026, 11, 24))
    assert session is not None
    assert session.breaks == ((noon, noon + timedelta(hours=1)),)
    second = timedelta(seconds=1)
    shown = [hong_kong.is_open(noon + step) for step in (-second, 0 * second, timedelta(hours=1) - second)]
    assert shown == [True, False, False]
    assert hong_kong.is_open(noon + timedelta(hours=1))
    assert hong_kong.running(noon) == session
    assert hong_kong.minutes_to_close(noon) is None
    assert hong_kong.minutes_to_close(noon - second) == 240  # the break is on the way
    assert hong_kong.minutes_to_close(noon - 61 * second) == 241
    assert hong_kong.next_close(noon - second) == session.close_at  # where a break begins is no close
    assert hong_kong.next_open(noon) == session.open_at + timedelta(days=1)  # and its end no opening


@pytest.mark.parametrize(
    ("now", "lag", "expected"),
    [
        ("2026-11-27T18:00Z", 0, "2026-11-27"),
        ("2026-11-27T17:59Z", 0, "2026-11-25"),
        ("2026-11-27T18:29:59Z", 30, "2026-11-25"),
        ("2026-11-27T18:30Z", 30, "2026-11-27"),
        ("2026-11-29T12:00Z", 30, "2026-11-27"),
    ],
)
def test_the_last_final_session_closed_long_enough_ago(now: str, lag: int, expected: str) -> None:
    found = US.last_final_session(at(now), timedelta(minutes=lag))
    assert found.date == date.fromisoformat(expected)


def test_minutes_to_close_are_whole_and_none_when_closed() -> None:
    close = at("2026-11-27T18:00Z")
    for seconds, expected in ((1, 0), (59, 0), (60, 1), (3600, 60), (0, None), (-1, None)):
        assert US.minutes_to_close(close - timedelta(seconds=seconds)) == expected
    assert ALWAYS.minutes_to_close(at("2026-11-27T23:59Z")) == 1


def test_an_evening_whose_session_is_not_known_raises() -> None:
    globex = get_calendar("CMES")
    last_evening = datetime(2035, 12, 31, 17, tzinfo=ZoneInfo("America/Chicago"))
    assert not globex.is_open(last_evening - timedelta(minutes=1))
    with pytest.raises(UsageError, match="knows the days"):
        globex.is_open(last_evening)


@pytest.mark.parametrize(
    ("year", "sunday"), [(1999, "04-04"), (2000, "04-23"), (2008, "03-23"), (2011, "04-24"), (2026, "04-05"), (2038, "04-25")]
)  # fmt: skip
def test_easter(year: int, sunday: str) -> None:
    assert easter(year).isoformat() == f"{year}-{sunday}"


def test_the_first_years_of_target_had_other_holidays() -> None:
    target = get_calendar("TARGET")
    days = [date(1999, 1, 4) + timedelta(days=n) for n in range(3 * 365)]
    closed = [day.isoformat() for day in days if day.weekday() < 5 and not target.is_session(day)]
    assert closed == [
        "1999-12-31", "2000-04-21", "2000-04-24", "2000-05-01", "2000-12-25", "2000-12-26", "2001-01-01", "2001-04-13",
        "2001-04-16", "2001-05-01", "2001-12-25", "2001-12-26", "2001-12-31", "2002-01-01",
    ]  # fmt: skip


# -- any calendar ------------------------------------------------------------------------------------------------------

EACH = pytest.mark.parametrize("name", NAMES)


@cache
def all_sessions(name: str) -> list[Session]:
    """The sessions of a calendar, of 24/7 some years."""
    calendar = get_calendar(name)
    first, last = (date(2020, 1, 1), date(2030, 12, 31)) if name == "24/7" else (calendar.first, calendar.last)
    return calendar.sessions(first, last)


@EACH
def test_sessions_are_sorted_and_do_not_overlap(name: str) -> None:
    calendar, sessions = get_calendar(name), all_sessions(name)
    assert [session.date for session in sessions] == calendar.dates(sessions[0].date, sessions[-1].date)
    for session in sessions:
        edges = [session.open_at, *(moment for pause in session.breaks for moment in pause), session.close_at]
        assert all(begin < end for begin, end in pairwise(edges))
        assert session.close_at - session.open_at <= timedelta(days=1, hours=1)  # the day on which the clock goes back
        assert calendar.local_date(session.close_at - timedelta(seconds=1)) == session.date
        assert session.provisional == (session.date > calendar.published)
    for one, next_ in pairwise(sessions):
        assert one.date < next_.date
        assert one.close_at <= next_.open_at


@EACH
def test_local_hours_are_those_of_the_weekly_pattern_whatever_the_clock_does(name: str) -> None:
    calendar = get_calendar(name)
    if name == "24/7":
        return
    zone = ZoneInfo(calendar.zone)
    texts = {text for regime in entry_of(name)["regimes"] for text in regime["week"] if text is not None}
    patterns = {hours(text.removeprefix("early ")).times for text in texts}
    for session in all_sessions(name):
        if session.kind == "regular":
            edges = [session.open_at, *(moment for pause in session.breaks for moment in pause), session.close_at]
            midnight = datetime(session.date.year, session.date.month, session.date.day)
            shown = (moment.astimezone(zone).replace(tzinfo=None) - midnight for moment in edges)
            assert tuple(int(since.total_seconds()) for since in shown) in patterns


@guarded(
    "a close belongs to the next session", "calendars/calendar.py",
    "return bisect_right(self._edges, self._moment(at)) % 2 == 1",
    "return bisect_left(self._edges, self._moment(at)) % 2 == 1",
)  # fmt: skip
@EACH
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_answers_agree_at_any_instant(name: str, data: st.DataObject) -> None:
    calendar, sessions = get_calendar(name), all_sessions(name)
    at_session = data.draw(st.integers(2, len(sessions) - 3))
    near = sessions[at_session]
    edges = [near.open_at, *(moment for pause in near.breaks for moment in pause), near.close_at]
    ticks = [timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1)]
    moment = data.draw(
        st.one_of(
            st.builds(lambda edge, tick: edge + tick, st.sampled_from(edges), st.sampled_from(ticks)),
            st.integers(-90_000, 90_000).map(lambda seconds: near.open_at + timedelta(seconds=seconds)),
        )
    )
    # by hand, from the list of sessions
    around = sessions[max(at_session - 4, 0) : at_session + 4]
    running = next((session for session in around if session.open_at <= moment < session.close_at), None)
    paused = running is not None and any(begin <= moment < end for begin, end in running.breaks)
    is_open = running is not None and not paused
    assert calendar.running(moment) == running
    assert calendar.is_open(moment) == is_open
    later = sessions[bisect_left(sessions, (moment, 0), key=lambda session: (session.open_at, -1)) :]
    assert calendar.next_session(moment) == next(session for session in later if session.open_at > moment)
    assert calendar.next_open(moment) == calendar.next_session(moment).open_at > moment
    assert calendar.is_open(calendar.next_open(moment))
    closes = [session.close_at for session in around if session.close_at > moment]
    if closes:
        assert calendar.next_close(moment) == closes[0]
    closed = [session for session in around if session.close_at <= moment]
    if closed:
        assert calendar.last_closed(moment) == closed[-1] == calendar.last_final_session(moment)
    if running is None or paused:
        assert calendar.minutes_to_close(moment) is None
    else:
        assert calendar.minutes_to_close(moment) == (running.close_at - moment) // timedelta(minutes=1)


# -- whole columns -----------------------------------------------------------------------------------------------------


@EACH
def test_a_column_is_answered_as_each_of_its_instants(name: str) -> None:
    calendar, sessions = get_calendar(name), all_sessions(name)
    few = [*sessions[1:40], *sessions[len(sessions) // 2 :][:40], *sessions[-40:-2]]
    ticks = [timedelta(0), timedelta(microseconds=-1), timedelta(hours=2, microseconds=1)]
    edges = [m for s in few for m in (s.open_at, *(m for pause in s.breaks for m in pause), s.close_at)]
    moments = [edge + tick for edge in edges for tick in ticks]
    instants = pl.Series("at", [*moments, None], pl.Datetime("us", "UTC"))
    assert calendar.is_open_at(instants).to_list() == [*map(calendar.is_open, moments), None]
    found = [calendar.running(moment) for moment in moments]
    assert calendar.session_of(instants).to_list() == [*(None if s is None else s.date for s in found), None]
    assert calendar.is_open_at(instants).name == calendar.session_of(instants).name == "at"
    there = instants.dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")
    assert calendar.is_open_at(there).to_list() == calendar.is_open_at(instants).to_list()


@EACH
def test_ordinals_count_the_sessions_between(name: str) -> None:
    calendar, sessions = get_calendar(name), all_sessions(name)
    first = max(calendar.first, sessions[0].date)
    days = pl.date_range(first, sessions[-1].date, eager=True).alias("day")
    ordinals = calendar.ordinals(days)
    assert ordinals.dtype == pl.Int32
    assert ordinals.name == "day"
    known = pl.DataFrame([days, ordinals.alias("ordinal")]).drop_nulls()
    assert known["day"].to_list() == [session.date for session in sessions]
    assert known["ordinal"].diff().drop_nulls().unique().to_list() == [1]
    assert calendar.ordinals(pl.Series([None], dtype=pl.Date)).to_list() == [None]


@EACH
def test_a_frame_of_sessions_is_the_sessions(name: str) -> None:
    calendar = get_calendar(name)
    first, last = date(2023, 3, 1), date(2026, 12, 31)
    frame = calendar.session_frame(first, last)
    sessions = calendar.sessions(first, last)
    assert frame.select("session", "open_at", "close_at", "kind", "provisional").rows() == [
        (s.date, s.open_at, s.close_at, s.kind, s.provisional) for s in sessions
    ]
    assert frame["ordinal"].to_list() == calendar.ordinals(frame["session"]).to_list()
    assert frame.schema == calendar.session_frame(last, first).schema
    assert calendar.session_frame(last, first).is_empty()


@BOTH
def test_a_column_needs_instants_or_days_that_are_known(calendar: Calendar) -> None:
    with pytest.raises(UsageError, match="needs a Datetime with a zone"):
        calendar.is_open_at(pl.Series([datetime(2026, 11, 27, 15)]))
    with pytest.raises(UsageError, match="needs a Date"):
        calendar.ordinals(pl.Series([at("2026-11-27T15:00Z")]))
    after = calendar.last + timedelta(days=1)
    for ask, asked in (
        (calendar.ordinals, pl.Series([date(2026, 1, 1), after])),
        (calendar.is_open_at, pl.Series([at("2026-11-27T15:00Z"), datetime(after.year, 1, 1, 12, tzinfo=UTC)])),
        (calendar.session_of, pl.Series([datetime(after.year, 1, 1, 12, tzinfo=UTC)])),
    ):
        with pytest.raises(UsageError, match="knows the days") as wrong:
            ask(asked)
        assert str(after.year) in refusal(wrong)
    with pytest.raises(UsageError, match="knows the days"):
        calendar.session_frame(date(2026, 1, 1), after)


def test_always_open_is_utc_days() -> None:
    assert ALWAYS.session(date(2026, 11, 26)) == Session(
        date(2026, 11, 26), at("2026-11-26T00:00Z"), at("2026-11-27T00:00Z"), "regular", provisional=False
    )
    assert ALWAYS.next_session(at("2026-11-26T00:00Z")).date == date(2026, 11, 27)
    assert ALWAYS.last_closed(at("2026-11-26T00:00Z")).date == date(2026, 11, 25)
    assert len(ALWAYS.dates(date(2024, 1, 1), date(2024, 12, 31))) == 366


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["XXXX", "xnys", "NYSE", "NASDAQ", "", "247", "../FX"])
def test_an_unknown_calendar_says_where_they_are_listed(name: str) -> None:
    with pytest.raises(UsageError) as wrong:
        get_calendar(name)
    assert f"`fin-infra calendar ls` lists the {len(NAMES)} there are" in refusal(wrong)


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
    entry = entry_of("XNYS")
    with pytest.raises(UsageError, match="tzdata"):
        expanded("XNYS", {**entry, "zone": "Atlantis/Capital"})


# -- the snapshot ------------------------------------------------------------------------------------------------------


@guarded(
    "the mirror of Seoul is not the original", "calendars/exchanges.py",
    'name, f"exchange_calendars {mic}", chosen,', "name, mic, chosen,",
)  # fmt: skip
def test_the_shipped_snapshot_is_what_the_libraries_and_the_overrides_give() -> None:
    texts = build.build()
    assert build.differences(texts, SNAPSHOT) == [], "run make calendars"
    assert {path.name: path.read_text(encoding="utf-8") for path in SNAPSHOT.iterdir()} == {
        f"{mic}.json": text for mic, text in texts.items()
    }
    assert sum(len(text) for text in texts.values()) < 1_000_000


def test_the_snapshot_has_a_version() -> None:
    assert {json.loads(path.read_text(encoding="utf-8"))["version"] for path in SNAPSHOT.iterdir()} == {build.VERSION}


def test_differences_name_the_calendar_and_the_day(tmp_path: Path) -> None:
    texts = build.build(only=["FX", "TARGET", "XNYS"])
    assert build.write(texts, tmp_path) == [
        "ARCX", "BATS", "FX", "IEXG", "TARGET", "XASE", "XNAS", "XNYS",
    ]  # fmt: skip
    assert build.write(texts, tmp_path) == []
    assert build.differences(texts, tmp_path) == []
    held = (tmp_path / "XNYS.json").read_text(encoding="utf-8").replace("11-26 12-25", "12-25", 1)
    (tmp_path / "XNYS.json").write_text(held, encoding="utf-8")
    (tmp_path / "XOLD.json").write_text("{}\n", encoding="utf-8")
    found = build.differences(texts, tmp_path)
    assert [line.split(":")[0] for line in found] == ["XNYS 1992-11-26", "XOLD"]
    assert "nothing is now closed" in found[0]
    assert build.write(texts, tmp_path) == ["XNYS", "XOLD"]
    assert not (tmp_path / "XOLD.json").exists()


@pytest.fixture
def overrides(tmp_path: Path) -> Path:
    path = tmp_path / "overrides.csv"
    path.write_text(",".join(build.COLUMNS) + "\n", encoding="utf-8")
    return path


def add(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def test_an_override_wins_over_the_library(overrides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def entry() -> dict[str, dict[str, str]]:
        made: dict[str, dict[str, str]] = json.loads(build.build(overrides, ["XNYS"])["XNYS"])
        return made

    assert "1999-12-31" not in entry()["hours_on"]  # the library says a full day
    add(
        overrides,
        "XNYS,1999-12-31,early,09:30,13:00,,eve of 2000,the exchange",
        "XNYS,2026-12-01,closed,,,,storm,the exchange",
        "XNYS,2026-11-26,open,09:30,16:00,,no holiday,the exchange",
        "XNYS,2026-11-28,special,10:00,12:00,10:30-11:00,a Saturday test,the exchange",
        "XNYS,2026-12-02,late,10:30,16:00,,a fault,the exchange",
        "XNYS,2026-12-03,special,12:00,13:00,,one hour only,the exchange",
        "XNYS,2026-12-25,closed,,,,as the library says,the exchange",
    )
    made = entry()
    assert made["hours_on"]["1999-12-31"] == "early 09:30-13:00"
    assert "the library says the same of 2026-12-25" in capsys.readouterr().err
    calendar = expanded("XNYS", made)
    found = calendar.sessions(date(2026, 11, 25), date(2026, 12, 3))
    assert [(session.date.day, session.kind) for session in found] == [
        (25, "regular"), (26, "regular"), (27, "early"), (28, "special"), (30, "regular"), (2, "late"), (3, "special"),
    ]  # fmt: skip
    assert calendar.is_open(at("2026-11-28T15:00Z"))
    assert not calendar.is_open(at("2026-11-28T15:30Z"))
    assert calendar.is_open(at("2026-11-28T16:00Z"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("XXXX,2026-12-01,closed,,,,why,who", "unknown mic 'XXXX'; there are: XNYS"),
        ("XNAS,2026-12-01,closed,,,,why,who", "unknown mic 'XNAS'; there are: XNYS"),
        ("XNYS,2026-13-01,closed,,,,why,who", "month must be in 1..12"),
        ("XNYS,1985-01-02,closed,,,,why,who", "not between 1990-01-01 and 2035-12-31"),
        ("XNYS,2026-12-01,closed,,,,,who", "needs its reason and its source"),
        ("XNYS,2026-12-01,closed,,,,why,", "needs its reason and its source"),
        ("XNYS,2026-12-01,early,,,,why,who", "is not as 09:30-12:00 13:00-16:00"),
        ("XNYS,2026-12-01,early,09:30,09:00,,why,who", "do not ascend"),
        ("XNYS,2026-12-01,early,09:30,13:00,12:00,why,who", "is not as 09:30-12:00 13:00-16:00"),
        ("XNYS,2026-12-01,early,09:30,13:00,12:00-14:00,why,who", "do not ascend"),
        ("XNYS,2026-12-01,early,09:30,16:00,,why,who", "by its hours the day is regular, not early"),
        ("XNYS,2026-12-01,special,09:30,16:00,,why,who", "by its hours the day is regular, not special"),
        ("XNYS,2026-12-01,open,09:30,13:00,,why,who", "by its hours the day is early, not open"),
        ("XNYS,2026-12-05,early,09:30,13:00,,why,who", "by its hours the day is special, not early"),
        ("XNYS,2026-12-01,shifted,09:30,13:00,,why,who", "by its hours the day is early, not shifted"),
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
        calendar = get_calendar(override.mic)
        session = calendar.session(override.day)
        assert (session is None) == (override.hours is None), override
        if session is not None and override.hours is not None:
            assert ("open" if session.kind == "regular" else session.kind) == override.expected, override
            shown = local(calendar, [session.open_at, session.close_at])
            close = override.hours.text[-5:]
            assert shown[1].endswith(close), override


def test_no_override_rests_on_the_truth_tables() -> None:
    with build.OVERRIDES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert len(row["source"]) > 20, row
            assert "calendar_truth" not in row["source"], row


def test_no_override_says_what_the_library_says_anyway(capsys: pytest.CaptureFixture[str]) -> None:
    build.build(only=["XNYS", "XJSE", "XTAI"])
    assert "the library says the same" not in capsys.readouterr().err


# -- why pandas stays below 3.1 ----------------------------------------------------------------------------------------


def test_pandas_is_pinned_where_it_still_gives_all_sessions() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (pin,) = [line for line in extras["calendars"] if line.startswith("pandas>")]
    assert pin.endswith(",<3.1")


@guarded(
    "pandas 3.1 compiles nothing", "calendars/build.py",
    'raise UsageError(f"pandas {pandas.__version__} silently loses sessions; install pandas<3.1")', "pass",
)  # fmt: skip
def test_pandas_that_loses_sessions_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas

    for version in ("3.1.0", "3.10.2", "4.0.0.dev0"):
        monkeypatch.setattr(pandas, "__version__", version)
        with pytest.raises(UsageError, match=r"silently loses sessions; install pandas<3\.1"):
            build.build(only=["XNYS"])


@guarded(
    "a lost session stops the build", "calendars/build.py",
    "day not in sessions and day not in holidays", "day not in holidays and not sessions",
)  # fmt: skip
def test_a_session_that_is_lost_without_a_holiday_stops_the_build() -> None:
    """What pandas 3.1 did to the libraries: days fall out of the schedule that no holiday explains."""
    exchange = Exchange(
        "a market", "TEST", "for this test", "UTC", date(2026, 12, 31), "here", first=date(2026, 1, 1), last=date(2026, 1, 9)
    )  # fmt: skip
    regimes = (Regime(exchange.first, weekdays("09:00-17:00")),)
    holidays = {date(2026, 1, 1)}
    whole = {day for day in build.days(exchange.first, exchange.last) if day.weekday() < 5} - holidays
    build.refuse_losses(exchange, whole, regimes, holidays)
    with pytest.raises(UsageError) as wrong:
        build.refuse_losses(exchange, whole - {date(2026, 1, 7), date(2026, 1, 8)}, regimes, holidays)
    assert "TEST has lost 2 sessions, the first on 2026-01-07" in refusal(wrong)


def test_asking_a_calendar_loads_nothing_heavy() -> None:
    code = (
        "import sys, fin_infra, datetime; fin_infra.get_calendar('XNYS').is_session(datetime.date(2026, 11, 27));"
        "print(sorted({'pandas', 'polars', 'numpy', 'pydantic', 'svc_infra', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mic", ["XSES", "XNSE", "XBOM"])
def test_a_year_that_is_not_announced_goes_on_by_rule_and_says_so(mic: str) -> None:
    """Their holidays follow the moon; the worker must not stop on New Year's Day because nobody has said next year's."""
    calendar = get_calendar(mic)
    sessions = calendar.sessions(date(2027, 1, 4), date(2027, 12, 31))
    assert 240 < len(sessions) < 260
    assert all(session.provisional for session in sessions)
    assert calendar.session(date(2027, 3, 26)) is None, "Good Friday needs no announcement"
