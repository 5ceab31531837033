"""A vendor's day and month: long and short days, days without a midnight, months without their day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.quotas.bounds import micros, moment, period_of
from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Calendar
from fin_infra.testing import VirtualClock
from tests.guards import guarded

ZONES = (
    "UTC", "America/New_York", "Europe/Berlin", "Asia/Tokyo", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo",
    "Asia/Beirut", "America/Havana", "America/Santiago", "Pacific/Apia", "America/St_Johns",
)  # fmt: skip


def bounds(unit: str, tz: str, at: str, anchor: int = 1) -> tuple[str, str]:
    window = Calendar("k", 1, unit, tz, anchor)  # type: ignore[arg-type]
    start, end = period_of(window, micros(datetime.fromisoformat(at)))
    return moment(start).isoformat()[:16], moment(end).isoformat()[:16]


@pytest.mark.parametrize(
    ("tz", "at", "start", "end"),
    [
        ("UTC", "2026-03-07T00:00+00:00", "2026-03-07T00:00", "2026-03-08T00:00"),
        ("America/New_York", "2026-03-08T12:00-04:00", "2026-03-08T05:00", "2026-03-09T04:00"),  # 23 hours
        ("America/New_York", "2026-11-01T12:00-05:00", "2026-11-01T04:00", "2026-11-02T05:00"),  # 25 hours
        ("Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Africa/Cairo", "2026-04-24T12:00+03:00", "2026-04-23T22:00", "2026-04-24T21:00"),  # begins at one o'clock
        ("America/Havana", "2026-03-08T12:00-04:00", "2026-03-08T05:00", "2026-03-09T04:00"),  # the same
        ("America/Havana", "2026-11-01T12:00-05:00", "2026-11-01T04:00", "2026-11-02T05:00"),  # midnight comes twice
        ("America/St_Johns", "2010-11-07T02:00+00:00", "2010-11-06T02:30", "2010-11-07T02:30"),
        ("America/St_Johns", "2010-11-07T02:45+00:00", "2010-11-07T02:30", "2010-11-08T03:30"),  # put back at 00:01
        ("Pacific/Apia", "2011-12-30T09:00+00:00", "2011-12-29T10:00", "2011-12-30T10:00"),  # the next day is left out
        ("Pacific/Apia", "2011-12-30T11:00+00:00", "2011-12-30T10:00", "2011-12-31T10:00"),
    ],
)
@guarded(
    "a day without a midnight begins when the clock is put forward",
    "quotas/bounds.py",
    "    late = micros(local.astimezone(UTC))\n",
    "    late = micros(local.astimezone(UTC)) + 60 * SECOND\n",
)
def test_a_day_begins_at_the_first_moment_of_its_date(tz: str, at: str, start: str, end: str) -> None:
    assert bounds("day", tz, at) == (start, end)


@pytest.mark.parametrize(
    ("anchor", "at", "start", "end"),
    [
        (1, "2026-03-31T23:59+00:00", "2026-03-01T00:00", "2026-04-01T00:00"),
        (31, "2026-03-01T00:00+00:00", "2026-02-28T00:00", "2026-03-31T00:00"),
        (30, "2026-02-27T00:00+00:00", "2026-01-30T00:00", "2026-02-28T00:00"),
        (29, "2028-02-29T00:00+00:00", "2028-02-29T00:00", "2028-03-29T00:00"),  # leap
        (29, "2027-02-28T00:00+00:00", "2027-02-28T00:00", "2027-03-29T00:00"),
        (31, "2026-12-31T00:00+00:00", "2026-12-31T00:00", "2027-01-31T00:00"),
        (15, "2027-01-03T00:00+00:00", "2026-12-15T00:00", "2027-01-15T00:00"),
    ],
)
def test_a_month_begins_at_its_anchor_or_its_last_day(anchor: int, at: str, start: str, end: str) -> None:
    assert bounds("month", "UTC", at, anchor) == (start, end)


instants = st.datetimes(datetime(2005, 1, 1), datetime(2037, 1, 1)).map(lambda naive: micros(naive.replace(tzinfo=UTC)))


@settings(deadline=None)
@given(instants, st.sampled_from(ZONES), st.sampled_from(("day", "month")), st.integers(1, 31))
def test_periods_follow_one_another_without_a_gap(now: int, tz: str, unit: str, anchor: int) -> None:
    window = Calendar("k", 1, unit, tz, anchor)  # type: ignore[arg-type]
    start, end = period_of(window, now)
    assert start <= now < end
    assert period_of(window, start) == (start, end) == period_of(window, end - 1)
    assert period_of(window, end)[0] == end
    begun = moment(start).astimezone(ZoneInfo(tz))
    assert moment(start - 1).astimezone(ZoneInfo(tz)).date() < begun.date()


@guarded("closed before the reset", "quotas/counting.py", "    if at >= end - spec.skew:", "    if at >= end:")
@guarded("closed behind the reset", "quotas/counting.py", "    if at < start + spec.skew:", "    if at < start:")
@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from((datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC))),
    st.integers(-20_000_000, 20_000_000),
    st.sampled_from(("interactive", "backfill")),
)
def test_nothing_is_sent_near_a_reset(reset: datetime, micros: int, lane: str) -> None:
    clock = VirtualClock(reset + timedelta(microseconds=micros))
    found = MemoryLedger(clock).acquire(
        (Calendar("today", 9, "day", "America/New_York"),),
        lane=lane,  # type: ignore[arg-type]
    )
    if -5_000_000 <= micros < 5_000_000:
        assert isinstance(found, Denied)
        assert (found.at, found.why) == (reset + timedelta(seconds=5), "closed")
    else:
        assert isinstance(found, Grant)
