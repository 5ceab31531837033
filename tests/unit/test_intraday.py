"""Intraday series: what is asked for, when a bar is final, and that every bar of a vendor comes in, once it is over."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.calendars import get_calendar
from fin_infra.datasets.base import Built
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.engine.intraday import CATCH_UP, FIRST_READ, LENGTHS, judge, judged_alone, open_doubts, wants_of
from fin_infra.engine.series import Spot
from fin_infra.providers.base import Reach, Series, Want
from tests.guards import guarded

COIN, SHARE = "crypto:bitcoin", "us:AAPL"
MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def series(*intervals: str, **more: Any) -> Series:
    return Series(ticker=lambda name: name.partition(":")[2], intervals=intervals or ("1h",), **more)


def bars(
    starts: Sequence[datetime], at: datetime, *, name: str = COIN, interval: str = "1h", close: str = "2"
) -> Built:  # fmt: skip
    columns = {"start_at": [start.isoformat() for start in starts]}
    same = {"instrument": name, "interval": interval, "provider": "sim", "basis": "raw", "state": "provisional"}
    return IntradayPrices.build(columns, {**same, "close": close, "fetched_at": at, "run_id": "r"})


def asked(spots: dict[str, Spot], now: datetime, of: Series | None = None, name: str = COIN) -> list[Want]:
    return wants_of(of or series(), [name], spots, now)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00+00:00")


# -- what is asked for -------------------------------------------------------------------------------------------------


def test_a_first_read_goes_a_few_days_back_or_as_far_as_is_declared() -> None:
    assert [w.since for w in asked({}, NOON)] == [NOON - FIRST_READ]
    assert [w.since for w in asked({}, NOON, series(history=timedelta(days=2)))] == [NOON - timedelta(days=2)]
    newest = series("1m", "1h", reach=Reach(rows=720, older=False))
    assert [w.since for w in asked({}, NOON, newest)] == [NOON - 720 * MINUTE, NOON - FIRST_READ]


def test_it_goes_on_where_all_bars_are_final_less_the_overlap_with_the_running_session() -> None:
    spots = {COIN: {"final": {"1h": "2026-11-24T03:00:00+00:00"}}}
    [want] = asked(spots, NOON)
    assert want == Want(COIN, "bitcoin", date(2026, 11, 23), date(2026, 11, 24), "1h", at("2026-11-23T22:00"))
    assert want.subject == "crypto:bitcoin 1h"


@pytest.mark.parametrize(
    ("final", "now", "since"),
    [
        ("2026-11-23T21:00", "2026-11-24T14:00", None),  # New York has not opened
        ("2026-11-23T21:00", "2026-11-24T14:31", None),  # no hour is over
        ("2026-11-23T21:00", "2026-11-24T15:30", "2026-11-23T16:00"),
        ("2026-11-24T16:30", "2026-11-24T17:40", "2026-11-23T18:00"),
        ("2026-11-25T21:00", "2026-11-27T13:00", None),  # Thanksgiving
        ("2026-11-27T18:00", "2026-11-27T20:00", None),  # it closed early
        ("2026-11-27T17:30", "2026-11-27T20:00", "2026-11-25T19:00"),
    ],
)  # fmt: skip
def test_of_a_share_only_regular_hours_are_asked_for_and_counted(final: str, now: str, since: str | None) -> None:
    spots = {SHARE: {"final": {"1h": at(final).isoformat()}}}
    assert [w.since for w in asked(spots, at(now), name=SHARE)] == ([at(since)] if since else [])


def test_nothing_is_asked_for_without_ticker_or_calendar_or_lately_refused() -> None:
    assert wants_of(Series(ticker=lambda name: None, intervals=("1h",)), [COIN], {}, NOON) == []
    assert asked({}, NOON, name="teller:xyz") == []
    assert asked({COIN: {"refused": "2026-11-20"}}, NOON) == []
    assert asked({COIN: {"refused": "2026-11-01"}}, NOON) != []


def test_after_a_long_pause_what_is_not_read_any_more_is_said() -> None:
    final = NOON - CATCH_UP - timedelta(days=3)
    spots: dict[str, Spot] = {COIN: {"final": {"1h": final.isoformat()}}}
    [want] = asked(spots, NOON)
    assert want.since is not None
    assert final < want.since < NOON - CATCH_UP
    judge(bars([want.since], NOON), [want], IntradayPrices.empty(), spots, series())
    [doubt] = open_doubts(spots, [COIN])
    assert (doubt.kind, doubt.subject) == ("missing_sessions", "crypto:bitcoin 1h")


@guarded(
    "a span out of the vendor's reach goes unsaid", "engine/intraday.py", "begin > final:", "begin > final + CATCH_UP:"
)
def test_what_the_vendor_does_not_reach_back_to_is_said_but_not_of_a_first_read() -> None:
    spots: dict[str, Spot] = {}
    [want] = asked(spots, NOON)
    reaches = NOON - timedelta(hours=5)
    judge(bars([reaches], NOON), [want], IntradayPrices.empty(), spots, series(), reaches)
    assert open_doubts(spots, [COIN]) == []
    later = NOON + timedelta(hours=30)
    judge(bars([later - timedelta(hours=2)], later), asked(spots, later), IntradayPrices.empty(), spots, series(),
          later - timedelta(hours=2))  # fmt: skip
    [doubt] = open_doubts(spots, [COIN])
    assert "from 2026-11-24T08:00:00+00:00 to 2026-11-25T16:00:00+00:00" in doubt.detail


def test_without_an_overlap_a_night_is_no_span_that_was_not_read() -> None:
    spots: dict[str, Spot] = {SHARE: {"final": {"1h": at("2026-11-23T21:00").isoformat()}}}
    now, own = at("2026-11-24T16:00"), series(overlap=0)
    [want] = asked(spots, now, own, SHARE)
    judge(bars([at("2026-11-24T14:30")], now, name=SHARE), [want], IntradayPrices.empty(), spots, own)
    assert open_doubts(spots, [SHARE]) == []


# -- what comes --------------------------------------------------------------------------------------------------------


def reasons(built: Built) -> list[str]:
    return [reject.reason for reject in built.rejects]


@guarded("an open bar is final", "engine/intraday.py",
         'closed = pl.col("fetched_at") >= pl.col("end_at") + pl.col("lag")',
         'closed = pl.col("fetched_at") >= pl.col("start_at") + pl.col("lag")')  # fmt: skip
def test_a_bar_is_final_when_it_was_read_after_its_end_and_the_lag() -> None:
    hours = [NOON - timedelta(hours=n) for n in (2, 1, 0)]
    found = judged_alone(bars(hours, NOON + 30 * MINUTE), series(), None, None)
    assert found.good["state"].to_list() == ["final", "final", "provisional"]
    late = judged_alone(bars(hours, NOON + 30 * MINUTE), series(lags={"24/7": timedelta(hours=1)}), None, None)
    assert late.good["state"].to_list() == ["final", "provisional", "provisional"]


def test_the_last_bar_of_a_session_ends_with_it() -> None:
    share = bars([at("2026-11-27T17:30")], at("2026-11-27T18:00"), name=SHARE)
    assert judged_alone(share, series(), None, None).good["state"].to_list() == ["final"]


@pytest.mark.parametrize(
    ("name", "interval", "start", "reason"),
    [
        (COIN, "1h", "2026-11-24T10:30", "no 1h bar begins at 2026-11-24T10:30:00+00:00"),
        (COIN, "4h", "2026-11-24T02:00", "no 4h bar begins at"),
        (COIN, "4h", "2026-11-24T04:00", None),
        (SHARE, "1h", "2026-11-24T14:30", None),  # counted from the open
        (SHARE, "1h", "2026-11-24T15:00", None),  # counted by the clock
        (SHARE, "1h", "2026-11-24T14:00", "outside of what was asked for, or of the hours of XNYS"),
        (SHARE, "5m", "2026-11-24T21:00", "outside of what was asked for, or of the hours of XNYS"),
        (SHARE, "5m", "2026-11-24T15:02", "no 5m bar begins at"),
        (SHARE, "1m", "2026-11-26T15:02", "outside of what was asked for"),  # Thanksgiving
    ],
)
def test_a_bar_off_the_marks_or_outside_the_hours_is_set_aside(
    name: str, interval: str, start: str, reason: str | None
) -> None:
    built = bars([at(start)], at("2026-11-28T00:00"), name=name, interval=interval)
    found = judged_alone(built, series(interval), None, None)
    assert (found.good.height, len(found.rejects)) == ((1, 0) if reason is None else (0, 1))
    assert reason is None or reason in reasons(found)[0]


def test_what_was_not_asked_for_is_set_aside() -> None:
    [want] = asked({}, NOON)
    for built, reason in (
        (bars([NOON], NOON, name="crypto:ethereum"), "were not asked for"),
        (bars([NOON], NOON, interval="4h"), "4h bars of this instrument were not asked for"),
        (bars([NOON - timedelta(days=9)], NOON), "outside of what was asked for"),
    ):
        done = judge(built, [want], IntradayPrices.empty(), {}, series())
        assert done.rows.is_empty()
        assert reason in done.strays[0].reason


@guarded("a final bar changes without a word", "engine/intraday.py", "before, on=KEY,", "before.clear(), on=KEY,")
def test_a_restated_final_bar_is_taken_over_and_said_and_an_open_one_just_moves() -> None:
    spots: dict[str, Spot] = {}
    hours = [NOON - timedelta(hours=1), NOON]
    [want] = asked(spots, NOON)
    first = judge(bars(hours, NOON + MINUTE), [want], IntradayPrices.empty(), spots, series())
    [again] = asked(spots, NOON + timedelta(hours=1))
    second = judge(bars(hours, NOON + timedelta(hours=1), close="3"), [again], first.rows, spots, series())
    assert [(d.kind, d.subject, d.detail) for d in second.doubts] == [
        ("restated", "crypto:bitcoin 1h", "the vendor changed final bars: 2026-11-24T11:00+00:00")
    ]
    assert second.rows["state"].to_list() == ["final", "final"]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6), st.sampled_from(["15m", "1h", "4h"]), st.sampled_from([(COIN, "24/7"), (SHARE, "XNYS")]),
    st.lists(st.integers(1, 4000), min_size=1, max_size=12),
)  # fmt: skip
def test_every_bar_comes_in_once_it_is_over_and_none_is_made_up(
    seed: int, interval: str, what: tuple[str, str], steps: list[int]
) -> None:
    """A vendor with holes, read whenever: what is held as final is what it had, up to the newest one that is over."""
    name, length = what[0], LENGTHS[interval]
    calendar = get_calendar(what[1])
    served = [
        session.open_at + n * length
        for session in calendar.sessions(date(2026, 11, 18), date(2026, 12, 28))
        for n in range(-(-(session.close_at - session.open_at) // length))
    ]
    draw = random.Random(seed)
    served = [start for start in served if draw.random() < 0.7]
    spots: dict[str, Spot] = {}
    held: dict[datetime, str] = {}
    now, begin = NOON, None
    for step in steps:
        now += step * MINUTE
        for want in asked(spots, now, series(interval), name):
            assert want.since is not None
            begin = begin or want.since
            came = [start for start in served if want.since <= start <= now]
            done = judge(bars(came, now, name=name, interval=interval), [want], IntradayPrices.empty(), spots,
                         series(interval))  # fmt: skip
            assert [*done.strays, *done.doubts] == []
            held |= dict(done.rows.select("start_at", "state").iter_rows())
        if begin is None:
            continue

        def over(start: datetime, now: datetime = now) -> bool:
            session = calendar.running(start)
            assert session is not None
            return min(start + length, session.close_at) <= now

        begun = [start for start in served if begin <= start <= now]
        assert sorted(start for start in held if start >= begin and held[start] == "final") == [
            s for s in begun if over(s)
        ]
    assert set(held) <= set(served)
