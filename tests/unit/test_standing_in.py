"""Who is asked for what: properties of the pure choice."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fin_infra.calendars import get_calendar
from fin_infra.engine.series import Spot
from fin_infra.engine.standing_in import BEYOND_PLAN, PATIENCE, Before, lacking, standing_in
from fin_infra.providers.base import Series
from tests.guards import guarded

LAG = timedelta(minutes=30)
SERIES = Series(ticker=lambda name: None if name == "us:NONE" else name, lags={"XNYS": LAG})
NOW = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
DUE = date(2026, 11, 23)
"""The newest session whose bar is out for a day."""
INSTRUMENTS = ("us:A", "us:B", "us:NONE")
spots = st.sampled_from([{}, {"refused": "2026-11-20"}, {"refused": "2026-11-10"}, {BEYOND_PLAN: "2026-11-01"}])
held = st.none() | st.dates(date(2026, 11, 18), date(2026, 11, 24))
instants = st.datetimes(datetime(2026, 11, 20), datetime(2026, 12, 20), timezones=st.just(UTC))


@st.composite
def befores(draw: st.DrawFn) -> Before:
    newest = {name: day for name in INSTRUMENTS if (day := draw(held)) is not None}
    down = draw(st.sampled_from([None, None, "is off"]))
    remembered: dict[str, Spot] = {name: dict(draw(spots)) for name in INSTRUMENTS}
    return Before(draw(st.sampled_from(["p", "q"])), SERIES, down, remembered, newest)


def brings(one: Before, name: str, noticed: str) -> bool:
    """Whether it is left to it, worked out anew."""
    spot = one.spots[name]
    if one.down or name == "us:NONE" or BEYOND_PLAN in spot or spot.get("refused") == "2026-11-20":
        return False
    if name in one.newest:
        return one.newest[name] >= DUE
    return NOW - datetime.fromisoformat(noticed) < PATIENCE if noticed else True


@given(st.lists(befores(), min_size=1, max_size=3), st.dictionaries(st.sampled_from(INSTRUMENTS), instants))
def test_asked_is_what_none_before_brings(before: list[Before], known: dict[str, datetime]) -> None:
    told = {name: min(at, NOW).isoformat() for name, at in known.items()}
    noticed = lacking(before, INSTRUMENTS, told, NOW)
    found = standing_in(before, INSTRUMENTS, noticed, {}, NOW)
    assert set(found) == {
        name for name in INSTRUMENTS if not any(brings(one, name, noticed.get(name, "")) for one in before)
    }
    assert all(found.values())


@guarded("what was noticed is noticed anew each time", "engine/standing_in.py",
         'noticed.get(name, now.isoformat(timespec="seconds"))', 'now.isoformat(timespec="seconds")')  # fmt: skip
def test_what_is_lacking_is_noticed_once_and_forgotten_when_it_came() -> None:
    none, some = Before("p", SERIES), Before("p", SERIES, newest={"us:A": DUE})
    first = lacking([none], ["us:A"], {}, NOW)
    assert lacking([none], ["us:A"], first, NOW + PATIENCE) == first
    assert standing_in([none], ["us:A"], first, {}, NOW) == {}
    assert standing_in([none], ["us:A"], first, {}, NOW + PATIENCE) == {"us:A": "p has brought no bar of it"}
    assert lacking([none, some], ["us:A"], first, NOW) == {}


@guarded("nobody is patient", "engine/standing_in.py", "now - PATIENCE, listing", "now, listing")
def test_a_bar_is_late_a_day_after_it_was_out_and_not_a_moment_before() -> None:
    out = get_calendar("XNYS").sessions(date(2026, 11, 24), date(2026, 11, 24))[0].close_at + LAG
    one = Before("p", SERIES, newest={"us:A": DUE})
    assert standing_in([one], ["us:A"], {}, {}, out + PATIENCE - timedelta(seconds=1)) == {}
    assert standing_in([one], ["us:A"], {}, {}, out + PATIENCE) == {"us:A": "p has no bar after 2026-11-23"}


def test_nothing_is_late_behind_the_last_day_of_trading() -> None:
    one = Before("p", SERIES, newest={"us:A": date(2026, 11, 18)})
    ended = {"us:A": (None, date(2026, 11, 18))}
    assert standing_in([one], ["us:A"], {}, ended, NOW) == {}
    assert set(standing_in([one], ["us:A"], {}, {}, NOW)) == {"us:A"}
