"""The series engine's decisions, whatever a vendor has, lacks, brings late, corrects or rescales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_infra.calendars import get_calendar
from fin_infra.datasets.base import Built
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.datasets.prices import Prices
from fin_infra.engine.changes import _ranked
from fin_infra.engine.quarantine import subject_of
from fin_infra.engine.series import PRICES, RATES, Shape, judge, wants_of
from fin_infra.providers.base import Series, Want
from tests.guards import guarded

AAPL = "us:AAPL"
XNYS = get_calendar("XNYS")
SERIES = Series(ticker=lambda key: key.removeprefix("us:"), lags={"XNYS": timedelta(minutes=15)},
                history=timedelta(days=25), overlap=5)  # fmt: skip
FIRST, LAST = date(2026, 10, 20), date(2026, 12, 18)
FRIDAY = date(2026, 12, 4)  # the last run in which the vendor may still change; Thanksgiving lies in the weeks before
SESSIONS = XNYS.dates(FIRST, LAST)
KEY = ["instrument", "session"]


@dataclass
class Vendor:
    """`late`: session → days after its close until its bar shows. `first`: figures that are corrected `corrected` days
    later. `rebased`: from that moment on all earlier figures are multiplied."""

    late: Mapping[date, float]
    corrected: Mapping[date, float] = field(default_factory=dict)
    strays: Sequence[date] = ()
    rebased: datetime | None = None
    by: Decimal = Decimal(1)
    changes_until: datetime = datetime(2999, 1, 1, tzinfo=UTC)

    def close(self, day: date, at: datetime) -> Decimal | None:
        closed, at = _closed(day), min(at, self.changes_until)
        if at < closed + timedelta(days=self.late.get(day, 0)):
            return None
        close = Decimal(100 + day.toordinal() % 61)
        if day in self.corrected and at < closed + timedelta(days=self.corrected[day]):
            close += 7
        if self.rebased is not None and at >= self.rebased > closed:
            close *= self.by
        return close

    def answer(self, want: Want, at: datetime) -> list[tuple[date, Decimal]]:
        shown = [(day, close) for day in SESSIONS if _closed(day) < at and (close := self.close(day, at)) is not None]
        shown += [(day, Decimal(1)) for day in self.strays if not XNYS.is_session(day)]
        return sorted(bar for bar in shown if want.first <= bar[0] <= want.last)


def _closed(day: date) -> datetime:
    session = XNYS.session(day)
    assert session is not None
    return session.close_at


class Store:
    """What a store does with the rows: one that says the same is not rewritten, its answer's time neither."""

    def __init__(self) -> None:
        self.rows = Prices.empty()

    def upsert(self, rows: pl.DataFrame) -> None:
        told = [name for name in rows.columns if name not in ("fetched_at", "run_id")]
        new = rows.join(self.rows.select(told), on=told, how="anti", nulls_equal=True)
        self.rows = pl.concat([self.rows.join(new, on=KEY, how="anti"), new]).sort(KEY)


class Follower:
    """Runs as the engine does: what is wanted is asked for, judged and kept; a changed basis is read anew at once."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.store = Store()
        self.spots: dict[str, Any] = {}

    def run(self, at: datetime, *faults: str) -> int:
        """Over how many days was asked; 0: no call."""
        asked = 0
        for fault in (*faults, "", "")[:2]:
            wants = wants_of(SERIES, [AAPL], self.store.rows, self.spots, at)
            if not wants:
                return asked
            bars = self.vendor.answer(wants[0], at)
            bars = {"": bars, "empty": [], "short": bars[-2:], "holes": bars[1::3]}[fault]
            held = self.store.rows.filter(pl.col("session") >= wants[0].first)
            judged = judge(_built(bars, at), wants, held, self.spots, SERIES, at)
            self.store.upsert(judged.rows)
            asked += (wants[0].last - wants[0].first).days + 1
            if not judged.redo:
                break
        return asked

    def held(self, state: str | None = None) -> dict[date, Decimal]:
        rows = self.store.rows if state is None else self.store.rows.filter(pl.col("state") == state)
        return dict(rows.select("session", "close").iter_rows())


def _built(bars: Sequence[tuple[date, Decimal]], at: datetime) -> Built:
    closes = [str(close) for _, close in bars]
    columns = {
        "instrument": [AAPL for _ in bars], "session": [str(day) for day, _ in bars],
        **dict.fromkeys(("open", "high", "low", "close"), closes),
    }  # fmt: skip
    constants = {"provider": "alpaca", "basis": "raw", "state": "provisional", "currency": "USD", "fetched_at": at,
                 "run_id": "r"}  # fmt: skip
    return Prices.build(columns, constants)


NEVER = 9999.0


@st.composite
def vendors(draw: st.DrawFn) -> Vendor:
    listed = draw(st.sampled_from([FIRST, FIRST, *SESSIONS[-28:-12]]))
    some = st.sampled_from(SESSIONS[:-10])
    late = draw(st.dictionaries(some, st.floats(0, 3) | st.integers(1, 20).map(float) | st.just(NEVER), max_size=9))
    late |= {day: NEVER for day in SESSIONS if day < listed}
    corrected = draw(st.dictionaries(some, st.sampled_from([0.3, 0.9, 2.0]), max_size=9))
    strays = draw(st.lists(st.sampled_from([FIRST + timedelta(days=n) for n in range(60)]), max_size=4))
    rebased = draw(st.none() | st.integers(0, 20).map(lambda n: datetime(2026, 11, 14, 12, tzinfo=UTC) + timedelta(n)))
    return Vendor(
        late, corrected, strays, rebased, draw(st.sampled_from([Decimal("0.25"), Decimal("1.5"), Decimal(20)]))
    )


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[datetime, str, str]]:
    """Daily runs at about the same hour, some left out, some twice, and the faults of their two reads.

    No two answers in a row are faulty: what two reads agree on counts as so.
    """
    made: list[tuple[datetime, str, str]] = []
    faults = st.sampled_from(["", "", "", "empty", "short", "holes"])
    for back in range(draw(st.integers(5, 20)), -1, -1):
        at = datetime(FRIDAY.year, FRIDAY.month, FRIDAY.day, 22, tzinfo=UTC) - timedelta(days=back)
        for n in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2]))):
            first = "" if made and any(made[-1][1:]) else draw(faults)
            again = "" if first else draw(faults)
            made.append((at + timedelta(minutes=draw(st.integers(0, 60)) + 20 * n), first, again))
    return made


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(vendor=vendors(), planned=runs())
def test_whatever_a_vendor_does_the_series_ends_whole_exact_and_quiet(
    vendor: Vendor, planned: list[tuple[datetime, str, str]]
) -> None:
    follower = Follower(vendor)
    for at, *faults in planned:
        before = set(follower.held())
        follower.run(at, *faults)
        assert before <= set(follower.held()), "no bar ever leaves"
        assert set(follower.held()) <= set(SESSIONS), "no row on a day without a session"
    calm = datetime(2026, 12, 5, 0, 30, tzinfo=UTC)  # the three runs and what follows lie before Monday's close
    vendor.changes_until = calm
    for n in range(3):
        follower.run(calm + n * timedelta(hours=21))
    for n in range(3):
        assert follower.run(calm + timedelta(hours=63, minutes=20 * n)) == 0, "all is known: nothing is asked for"
    expected = {day: close for day in XNYS.dates(FRIDAY - SERIES.history, FRIDAY) if (close := vendor.close(day, calm))}
    held = follower.held()
    assert {day: held.get(day) for day in expected} == expected
    assert {day: close for day, close in held.items() if day >= FRIDAY - SERIES.history} == expected
    assert follower.held("final") == held


# -- rates are a series too --------------------------------------------------------------------------------------------


EURUSD = "fx:EURUSD"
RATED = Series(lambda key: key.removeprefix("fx:"), history=timedelta(days=25), calendar=lambda key: "XNYS")


def rates(days: Sequence[date], at: datetime, rate: str = "1.08") -> Built:
    columns = {"rate_on": [str(day) for day in days], "rate": [rate for _ in days]}
    constants = {"base": "EUR", "quote": "USD", "provider": "ecb", "state": "provisional", "fetched_at": at,
                 "run_id": "r"}  # fmt: skip
    return FxRates.build(columns, constants)


@guarded("rates have no calendar of their own", "engine/series.py", "name = series.calendar(instrument)",
         "from fin_infra.instruments import calendar_of; name = calendar_of(instrument)")  # fmt: skip
def test_rates_of_a_pair_are_asked_for_judged_and_kept_like_bars() -> None:
    at = datetime(2026, 12, 4, 22, tzinfo=UTC)
    spots: dict[str, Any] = {}
    wants = wants_of(RATED, [EURUSD], RATES.keyed(FxRates.empty()), spots, at)
    assert wants == [Want(EURUSD, "EURUSD", date(2026, 11, 9), FRIDAY)]
    thanksgiving = date(2026, 11, 26)
    served = [*XNYS.dates(date(2026, 11, 9), FRIDAY), thanksgiving]
    judged = judge(rates(served, at), wants, FxRates.empty(), spots, RATED, at, RATES)
    assert judged.rows.columns == list(FxRates.dtypes())
    assert judged.rows["rate_on"].to_list() == served[:-1]
    assert [stray.reason for stray in judged.strays] == ["2026-11-26 is no session of XNYS"]
    assert judged.strays[0].row == {"base": "EUR", "quote": "USD", "rate_on": "2026-11-26",
                                    "rate": "1.080000000000000000"}  # fmt: skip
    later = at + timedelta(hours=1)
    [want] = wants_of(RATED, [EURUSD], RATES.keyed(judged.rows), spots, later)
    assert (want.first, want.last) == (date(2026, 11, 24), FRIDAY), "its newest are provisional, the overlap before"
    again = judge(
        rates(XNYS.dates(want.first, want.last), later, "1.09"), [want], judged.rows, spots, RATED, later, RATES
    )
    assert again.redo == frozenset(), "a rate has no basis"
    assert [doubt.kind for doubt in again.doubts] == ["restated"]


@pytest.mark.parametrize(("shape", "subject", "named"), [(PRICES, AAPL, AAPL), (RATES, EURUSD, "EUR USD")])
def test_a_finding_about_a_row_leads_back_to_its_subject(shape: Shape, subject: str, named: str) -> None:
    row = {**shape.where(subject), shape.day: "2026-11-24", "provider": "v", "basis": "raw"}
    assert subject_of(shape.schema, row) == f"{named} 2026-11-24"
    assert shape.told(f"{named} 2026-11-24") == (subject, "2026-11-24")


# -- other venues than New York ----------------------------------------------------------------------------------------


ELSEWHERE = Series(lambda key: key, lags=dict.fromkeys(["XLON", "XHKG", "XTKS", "24/7"], timedelta(minutes=15)))


def bars_of(instrument: str, days: Sequence[date], at: datetime) -> Built:
    columns = {"instrument": [instrument for _ in days], "session": [str(one) for one in days],
               **{name: ["42" for _ in days] for name in ("open", "high", "low", "close")}}  # fmt: skip
    constants = {"provider": "v", "basis": "raw", "state": "provisional", "fetched_at": at, "run_id": "r"}
    return Prices.build(columns, constants)


@pytest.mark.parametrize(
    ("instrument", "code", "none"),
    [
        (
            "xlon:VOD",
            "XLON",
            ["12-25", "12-26", "12-27", "12-28"],
        ),  # the 26th is a Saturday: Boxing Day moves to Monday
        ("xhkg:0005", "XHKG", ["12-25", "12-26", "12-27"]),
        ("xtks:7203", "XTKS", ["12-26", "12-27", "12-31"]),
        ("crypto:bitcoin", "24/7", []),
    ],
)
def test_t40_a_bar_on_a_day_without_a_session_of_its_own_venue_is_set_aside_and_no_other(
    instrument: str, code: str, none: list[str]
) -> None:
    at, first, last = datetime(2027, 1, 4, tzinfo=UTC), date(2026, 12, 21), date(2026, 12, 31)
    days = [first + timedelta(days=n) for n in range(-1, 12)]  # one before what was asked for, and one behind
    want = Want(instrument, instrument, first, last)
    judged = judge(bars_of(instrument, days, at), [want], Prices.empty(), {}, ELSEWHERE, at)
    kept = [one for one in days[1:-1] if f"{one:%m-%d}" not in none]
    assert judged.rows["session"].to_list() == kept
    told = {stray.row["session"]: stray.reason for stray in judged.strays}
    assert told == {
        "2026-12-20": "2026-12-20 is outside of what was asked for",
        "2027-01-01": "2027-01-01 is outside of what was asked for",
        **{f"2026-{one}": f"2026-{one} is no session of {code}" for one in none},
    }


@pytest.mark.parametrize(
    ("instrument", "at", "last"),
    [
        ("xhkg:0005", "2026-12-22T04:30Z", "2026-12-21"),  # lunch is no close
        ("xtks:7203", "2026-12-22T02:45Z", "2026-12-21"),
        ("xhkg:0005", "2026-12-24T04:14Z", "2026-12-23"),  # closed at noon for Christmas, published a quarter later
        ("xhkg:0005", "2026-12-24T04:15Z", "2026-12-24"),
        ("xlon:VOD", "2026-12-24T12:44Z", "2026-12-23"),  # closed at half past twelve
        ("xlon:VOD", "2026-12-24T12:45Z", "2026-12-24"),
        ("xlon:VOD", "2026-12-28T20:00Z", "2026-12-24"),
        ("xtks:7203", "2026-11-24T05:00Z", "2026-11-20"),  # a Tuesday; Monday was Labour Thanksgiving Day
        ("crypto:bitcoin", "2026-12-26T00:14Z", "2026-12-24"),
        ("crypto:bitcoin", "2026-12-26T00:15Z", "2026-12-25"),
    ],
)
def test_t39_the_newest_session_that_is_asked_for_is_the_venues_own(instrument: str, at: str, last: str) -> None:
    [want] = wants_of(ELSEWHERE, [instrument], Prices.empty(), {}, datetime.fromisoformat(at))
    assert want.last == date.fromisoformat(last)


def test_sessions_of_venues_and_coins_are_asked_for_together_each_on_its_own_calendar() -> None:
    at = datetime(2026, 12, 28, 23, tzinfo=UTC)
    names = ["crypto:bitcoin", "us:AAPL", "xhkg:0005", "xlon:VOD"]
    series = Series(lambda key: key, history=timedelta(days=7), overlap=0)
    held = [bars_of(name, [date(2026, 12, 23), date(2026, 12, 24)], at).good for name in names]
    known = pl.concat(held).with_columns(state=pl.lit("final").cast(Prices.dtypes()["state"]))
    since = dict.fromkeys(names, (date(2026, 12, 23), None))
    found = {want.instrument: (want.first.day, want.last.day) for want in wants_of(series, names, known, {}, at, since)}
    assert found == {"crypto:bitcoin": (25, 27), "us:AAPL": (28, 28), "xhkg:0005": (28, 28)}


# -- in which order ----------------------------------------------------------------------------------------------------


@guarded("what is watched comes last", "engine/changes.py", "name not in watched,", "name in watched,")
@guarded(
    "who has the newest bar is asked first", "engine/changes.py", "newest.get(name, date.min), name", "date.min, name"
)
def test_of_instruments_that_serve_as_many_the_one_longest_without_a_bar_comes_first() -> None:
    wants = [Want(f"us:{name}", name, date(2026, 11, 2), date(2026, 11, 24)) for name in ("A", "B", "C", "D")]
    bars = pl.DataFrame(
        {
            "instrument": ["us:A", "us:A", "us:B", "us:D"],
            "session": [date(2026, 11, 2), date(2026, 11, 23), date(2026, 11, 20), date(2026, 11, 24)],
        }
    )
    ranked = _ranked(wants, bars, {"us:D": 1}, [])
    assert [want.ticker for want in ranked] == ["D", "C", "B", "A"]
    ranked = _ranked(wants, bars, {"us:D": 1}, ["us:A"])
    assert [want.ticker for want in ranked] == ["D", "A", "C", "B"]
