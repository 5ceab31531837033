"""T-32 … T-40 and T-43: bars that are late, wrong, restated, missing, or none of what was asked."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, event

from fin_infra.connections import Connection
from fin_infra.datasets.instruments import Instruments
from fin_infra.providers.alpaca.simulator import Fault, SimBrokerage
from fin_infra.reader import read
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.store import Batch, Change, Cursor, Stream, open_store
from fin_infra.testing import VirtualClock
from tests.broker import BARS, BrokerWorld, answer, close_of, day_of, position
from tests.guards import guarded

HOUR = timedelta(hours=1)


# -- T-32: the basis changes -------------------------------------------------------------------------------------------


async def settled(market: BrokerWorld, *symbols: str) -> None:
    """A year of bars, all final: the clock stands on Wednesday evening, the day before Thanksgiving."""
    market.has_bars(*symbols)
    await market.link(*symbols)
    for day in ("2026-11-24", "2026-11-25"):
        await market.work_after(day)
    await market.sync(after=HOUR)
    assert set(market.states(symbols[0]).values()) == {"final"}


@guarded("a changed basis goes unseen", "engine/series.py", "& _differs((shape.basis,)))", "& False)")
async def test_t32_a_split_adjusted_series_is_read_anew_at_once_and_has_no_step(market: BrokerWorld) -> None:
    await settled(market, "AAPL", "MSFT")
    before = market.held("MSFT")
    market.has_bars("AAPL", scale="0.25")
    asked = len(market.asked())
    await market.work_after("2026-11-27")
    assert market.held() == market.served()
    assert market.held("MSFT") == {**before, date(2026, 11, 27): Decimal(close_of("MSFT", date(2026, 11, 27)))}
    overlap, anew = market.asked()[asked:]
    assert (overlap["symbols"], day_of(overlap["start"]) > date(2026, 11, 1)) == ("AAPL,MSFT", True)
    assert (anew["symbols"], day_of(anew["start"])) == ("AAPL", min(market.held()))
    assert "rebased" in {row["kind"] for row in market.rows("findings")}
    await market.work_after("2026-11-30")
    await market.work_after("2026-12-01")
    assert market.held() == market.served()
    states = market.states()
    assert [day for day, state in states.items() if state != "final"] == ["2026-12-01"]
    assert not {"rebased", "restated"} & set(market.findings())
    assert market.removed() == []


@pytest.mark.parametrize("scale", ["0.05", "20", "0.99", "0.9995"])
async def test_t32_a_ratio_is_seen_through_the_vendors_rounding(market: BrokerWorld, scale: str) -> None:
    await settled(market, "AAPL")
    market.has_bars("AAPL", scale=scale)
    await market.work_after("2026-11-27")
    assert market.held() == market.served()


async def test_t32_a_vendor_that_adjusts_days_after_the_split_leaves_no_step(market: BrokerWorld) -> None:
    """By then some bars after the split are held: the ratio is not one over the whole overlap."""
    await settled(market, "AAPL")
    for day in market.sessions("2026-11-24"):  # the split, as traded
        market.bar("AAPL", day, close_of("AAPL", day, "0.25"))
    await market.work_after("2026-11-27")
    await market.work_after("2026-11-30")
    market.has_bars("AAPL", scale="0.25")
    await market.work_after("2026-12-01")
    assert market.held() == market.served()


@guarded(
    "bars older than a first read keep their basis", "engine/series.py",
    'days = [*held.filter(pl.col("instrument") == instrument)["session"], *expected.sessions()]',
    "days = expected.sessions()",
)  # fmt: skip
async def test_t32_bars_older_than_a_first_read_goes_are_read_anew_too(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    await market.sync(at=market.after_close("2027-01-15"))
    await market.sync(after=HOUR)
    market.has_bars("AAPL", scale="0.25")
    await market.sync(at=market.after_close("2027-01-19"))
    assert market.held() == market.served()


@guarded(
    "half a series takes the place of a whole one", "engine/series.py",
    "if before is None or len(lost) < before:",
    "if False:",
)  # fmt: skip
async def test_t32_a_short_answer_to_the_second_read_switches_nothing_by_half(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    before = market.held()
    market.has_bars("AAPL", scale="0.25")
    days = market.sessions("2026-08-01", "2026-11-27")
    market.answer_next(answer({"AAPL": [(day, close_of("AAPL", day, "0.25")) for day in days]}), nth=2)
    await market.work_after("2026-11-27")
    assert market.held() == before, "a half of each basis is worse than a day late"
    assert "shrink_guard" in market.findings()
    await market.work_after("2026-11-30")
    assert market.held() == market.served()
    assert set(market.findings()) == {"rebased"}, "until a second read agrees"
    await market.work_after("2026-12-01")
    assert market.findings() == {}


async def test_t32_a_series_whose_old_bars_are_gone_for_good_goes_on_and_says_where_it_steps(
    market: BrokerWorld,
) -> None:
    await settled(market, "AAPL")
    before = market.held()
    market.has_bars("AAPL", scale="0.25")
    market.has_no_bar("AAPL", *market.sessions(last="2026-07-31"))
    for day in ("2026-11-27", "2026-11-30", "2026-12-01", "2026-12-02"):
        await market.work_after(day)
    held = market.held()
    assert {day: close for day, close in held.items() if day >= date(2026, 8, 1)} == market.served()
    assert {state for day, state in market.states().items() if day < "2026-12-02"} == {"final"}
    assert {day: close for day, close in held.items() if day < date(2026, 8, 1)} == {
        day: close for day, close in before.items() if day < date(2026, 8, 1)
    }
    assert "up to 2026-07-31 keep an older basis" in market.findings()["rebased"]


async def test_t32_one_corrected_final_bar_is_taken_over_said_and_final_after_a_second_read(
    market: BrokerWorld,
) -> None:
    await settled(market, "AAPL")
    before = market.held()
    market.bar("AAPL", "2026-11-23", "77.77")
    asked = len(market.asked())
    await market.work_after("2026-11-27")
    assert len(market.asked()) == asked + 1, "a correction is no new basis"
    assert market.held() == {**before, date(2026, 11, 23): Decimal("77.77"), date(2026, 11, 27): Decimal(
        close_of("AAPL", date(2026, 11, 27)))}  # fmt: skip
    assert "2026-11-23" in market.findings()["restated"]
    assert market.states()["2026-11-23"] == "provisional", "four days old, but read once"
    await market.sync(after=HOUR)
    assert market.states()["2026-11-23"] == "final"
    assert market.findings() == {}


# -- T-35: incomplete bars ---------------------------------------------------------------------------------------------


@guarded("one read is enough", "engine/series.py", "pl.when(kept | again | late)", "pl.when(pl.lit(True))")
async def test_t35_an_incomplete_bar_stored_after_the_close_does_not_stay(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    friday = date(2026, 11, 27)
    market.bar("AAPL", friday, "50.00")
    market.bar("AAPL", friday, "51.00", served_from=market.after_close(friday, by=2 * HOUR))
    await market.work_after(friday)
    assert market.bar_of(friday) == ("50", "provisional")
    await market.sync(at=market.after_close(friday, by=26 * HOUR))
    assert market.bar_of(friday) == ("51", "provisional")
    await market.sync(after=HOUR)
    assert market.bar_of(friday) == ("51", "final")
    asked = len(market.broker.requests)
    for _ in range(8):
        report = await market.sync(after=3 * HOUR)
        assert (report.outcome, report.calls) == ("ok", 0)
    assert len(market.broker.requests) == asked


async def test_t35_two_reads_within_a_moment_are_one(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    await market.work_after("2026-11-27")
    await market.sync(after=timedelta(minutes=1))
    assert market.states()["2026-11-27"] == "provisional"


@guarded(
    "an old bar that changed is final at once", "engine/series.py",
    'late = pl.col("read_at").is_null() & (',
    "late = (",
)  # fmt: skip
async def test_t35_an_incomplete_bar_that_is_corrected_after_the_weekend_is_not_final_at_one_read(
    market: BrokerWorld,
) -> None:
    await settled(market, "AAPL")
    friday = date(2026, 11, 27)
    market.bar("AAPL", friday, "50.00")
    market.bar("AAPL", friday, "50.50", served_from=market.after_close("2026-11-30", by=timedelta()))
    market.bar("AAPL", friday, "51.00", served_from=market.after_close("2026-12-01", by=timedelta()))
    await market.work_after(friday)
    await market.work_after("2026-11-30")
    assert market.bar_of(friday) == ("50.5", "provisional")
    await market.work_after("2026-12-01")
    await market.work_after("2026-12-02")
    assert market.bar_of(friday) == ("51", "final")


# -- T-36: empty and short answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'{"bars":{},"next_page_token":null}', b'{"bars":null,"next_page_token":null}',
                                  answer({"AAPL": []}), answer({"AAPL": [("2026-11-27", "42.00")]})])  # fmt: skip
async def test_t36_an_empty_or_short_answer_removes_no_bar(market: BrokerWorld, body: bytes) -> None:
    await settled(market, "AAPL")
    before = market.held()
    market.answer_next(body)
    [report] = [r for r in await market.work_after("2026-11-27") if r.dataset == "prices"]
    assert report.outcome == "ok"
    assert {day: close for day, close in market.held().items() if day in before} == before
    assert market.removed() == []
    await market.work_after("2026-11-30")
    assert market.held().keys() == market.served().keys()


async def test_t36_an_empty_answer_to_a_full_read_removes_no_bar(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    before = market.held()
    market.has_bars("AAPL", scale="0.25")
    market.answer_next(answer({}), nth=2)
    await market.work_after("2026-11-27")
    assert market.held() == before
    market.has_no_bar("AAPL", *market.sessions())
    for day in ("2026-11-30", "2026-12-01", "2026-12-02"):
        await market.work_after(day)
    assert market.held() == before
    assert market.removed() == []


# -- T-37: nothing before ----------------------------------------------------------------------------------------------


@guarded(
    "what was before the listing is asked for ever", "engine/series.py",
    '            spot["head"] = begin\n',
    "            pass\n",
)  # fmt: skip
async def test_t37_what_was_not_yet_listed_is_asked_for_twice_and_then_no_more(market: BrokerWorld) -> None:
    market.has_bars("NEWCO", days=market.sessions("2026-11-10"))
    await market.link("NEWCO")
    await market.work_after("2026-11-24")
    await market.work_after("2026-11-25")
    assert {day_of(query["start"]) for query in market.asked()} <= {date(2025, 11, 19), date(2025, 11, 20)}
    asked = len(market.asked())
    for day in ("2026-11-27", "2026-11-30", "2026-12-01"):
        await market.work_after(day)
    assert [day_of(query["start"]) >= date(2026, 10, 28) for query in market.asked()[asked:]] == [True] * 3
    assert market.held("NEWCO").keys() == set(market.sessions("2026-11-10", "2026-12-01"))
    assert market.findings() == {}
    await market.sync(after=HOUR)
    asked = len(market.broker.requests)
    await market.sync(at=market.after_close("2026-12-01", by=20 * HOUR))
    assert len(market.broker.requests) == asked


@pytest.mark.parametrize("first", ["AAPL", "MSFT"])
async def test_t37_a_vendors_bad_day_does_not_cut_the_history_off(market: BrokerWorld, first: str) -> None:
    """The very first answer holds but the last week, or nothing, of one instrument."""
    market.has_bars("AAPL", "MSFT")
    await market.link("AAPL", "MSFT")
    market.clock.set(market.after_close("2026-11-24"))
    week = [(day, close_of(first, day)) for day in market.sessions("2026-11-18", "2026-11-24")]
    market.answer_next(answer({first: week}))
    await market.work()
    await market.work_after("2026-11-25")
    await market.work_after("2026-11-27")
    for symbol in ("AAPL", "MSFT"):
        assert market.held(symbol) == market.served(symbol, first="2025-11-20")


@guarded(
    "one miss is enough", "engine/series.py",
    "return not seen or now - datetime.fromisoformat(seen) >= MISSED_APART",
    "return True",
)  # fmt: skip
async def test_t37_two_reads_around_midnight_are_no_two_days(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.sync(at=datetime(2026, 11, 24, 12, tzinfo=UTC), dataset="holdings")
    week = {"AAPL": [(day, close_of("AAPL", day)) for day in market.sessions("2026-11-18", "2026-11-24")]}
    for minutes in (50, 70):
        market.answer_next(answer(week))
        await market.sync(at=datetime(2026, 11, 24, 23, tzinfo=UTC) + timedelta(minutes=minutes))
    await market.work_after("2026-11-25")
    assert market.held() == market.served(first="2025-11-20")


async def test_t37_a_vendor_that_had_nothing_for_days_is_asked_for_all_once_it_has_something(
    market: BrokerWorld,
) -> None:
    await market.link("AAPL")
    for day in ("2026-11-24", "2026-11-25", "2026-11-27"):
        await market.work_after(day)
    assert market.held() == {}
    assert day_of(market.asked()[-1]["start"]) > date(2026, 10, 28), "no endless re-request of a year"
    market.has_bars("AAPL")
    await market.work_after("2026-11-30")
    await market.work_after("2026-12-01")
    assert market.held() == market.served(first=min(market.held()))
    assert min(market.held()) < date(2025, 12, 1)


def told_listing(market: BrokerWorld, connection: Connection, symbol: str, **days: date) -> None:
    """An instrument of which some vendor told when it began or ceased to trade."""
    columns: dict[str, Any] = {"instrument": [f"us:{symbol}"], **{name: [str(day)] for name, day in days.items()}}
    constants = {"provider": "other", "quote_unit": "major", "fetched_at": market.clock(), "run_id": "r"}
    built = Instruments.build(columns, constants)
    with market.store() as store:
        stream, none = Stream(connection.connection_id, "told"), Cursor(generation=connection.generation)
        store.apply(Batch([Change(Instruments, built.good)]), stream=stream, run_id="r", expect=none, next="{}")


@guarded("what was before the listing is asked for", "engine/series.py", "calendar.first, head, listed_on or date.min)",
         "calendar.first, head)")  # fmt: skip
async def test_t37_before_a_listing_that_is_known_nothing_is_ever_asked_for(market: BrokerWorld) -> None:
    market.has_bars("NEWCO", days=market.sessions("2026-11-10"))
    told_listing(market, await market.link("NEWCO"), "NEWCO", listed_on=date(2026, 11, 10))
    for day in ("2026-11-24", "2026-11-25", "2026-11-27", "2026-11-30"):
        await market.work_after(day)
    assert min(day_of(query["start"]) for query in market.asked()) == date(2026, 11, 10)
    assert market.held("NEWCO").keys() == set(market.sessions("2026-11-10", "2026-11-30"))
    assert market.findings() == {}


@guarded("a delisted share is asked for ever", "engine/series.py", "min(last, delisted_on or last)", "last")
async def test_t37_behind_a_delisting_nothing_is_asked_for_and_its_last_bar_becomes_final(market: BrokerWorld) -> None:
    market.has_bars("AAPL", "OLDCO")
    market.has_no_bar("OLDCO", *market.sessions("2026-11-25"))
    connection = await market.link("AAPL", "OLDCO")
    await market.work_after("2026-11-24")
    told_listing(market, connection, "OLDCO", delisted_on=date(2026, 11, 24))
    for day in ("2026-11-25", "2026-11-27", "2026-11-30"):
        await market.work_after(day)
    assert max(market.held("OLDCO")) == date(2026, 11, 24)
    assert set(market.states("OLDCO").values()) == {"final"}
    assert market.findings() == {}, "no bar of it is missing"
    old = [query for query in market.asked() if "OLDCO" in query["symbols"]]
    assert {day_of(query["end"]) for query in old} == {date(2026, 11, 24)}
    assert len(old) == 2, "the first read, and the second one that settles it"
    assert market.held("AAPL") == market.served()


async def test_t37_a_day_on_which_it_did_not_trade_is_said_and_not_asked_for_for_ever(market: BrokerWorld) -> None:
    market.has_bars("THIN")
    market.has_no_bar("THIN", "2026-11-12", "2026-11-25")
    await market.link("THIN")
    for day in ("2026-11-24", "2026-11-25", "2026-11-27"):
        await market.work_after(day)
    assert market.findings()["missing_sessions"].endswith("2026-11-12, 2026-11-25")
    await market.sync(after=24 * HOUR)
    asked = len(market.broker.requests)
    for _ in range(4):
        await market.sync(after=HOUR)
    assert len(market.broker.requests) == asked
    assert "missing_sessions" in market.findings(), "as long as it is so"


async def test_t37_a_bar_that_comes_weeks_late_is_taken(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    market.has_no_bar("AAPL", "2026-11-27")
    for day in market.sessions("2026-11-27", "2026-12-11"):
        await market.work_after(day)
    assert date(2026, 11, 27) not in market.held()
    market.bar("AAPL", "2026-11-27", "92.00")
    await market.work_after("2026-12-14")
    assert market.held()[date(2026, 11, 27)] == 92
    assert market.findings() == {}


# -- T-38: downtime, holidays, weekends --------------------------------------------------------------------------------


async def test_t38_after_twelve_days_down_over_a_holiday_one_run_leaves_no_hole(market: BrokerWorld) -> None:
    market.has_bars("AAPL", "MSFT")
    await market.link("AAPL", "MSFT")
    await market.work_after("2026-11-20")
    await market.work_after("2026-11-23")
    reports = await market.work(timedelta(days=12))  # Saturday, the 5th of December
    assert [r.dataset for r in reports].count("prices") == 1
    for symbol in ("AAPL", "MSFT"):
        assert market.held(symbol) == market.served(symbol, first=min(market.held(symbol)))
        assert sorted(market.held(symbol)) == market.sessions(min(market.held(symbol)), "2026-12-04")
    added = [day for day in market.held() if day > date(2026, 11, 23)]
    assert [f"{day:%m-%d}" for day in added] == [
        "11-24", "11-25", "11-27", "11-30", "12-01", "12-02", "12-03", "12-04"
    ]  # fmt: skip
    assert market.findings() == {}


@guarded(
    "final bars are asked for again", "engine/series.py",
    "begin = next((day for gap in missing for day in expected.sessions(*gap)), None)",
    "begin = expected.first",
)  # fmt: skip
async def test_t38_on_a_weekend_repeated_runs_ask_for_nothing_once_all_is_final(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    market.schedule("schedules: {prices: {job: sync_prices, every: 1h}}")
    await market.link("AAPL")
    market.clock.set(market.after_close("2026-12-04"))  # a Friday
    await market.work()
    await market.work(2 * HOUR)
    asked = len(market.broker.requests)
    reports = [report for _ in range(54) for report in await market.work(HOUR)]  # to Monday, before the opening
    assert len(reports) > 20
    assert {(report.outcome, report.calls) for report in reports} == {("ok", 0)}
    assert len(market.broker.requests) == asked
    assert max(market.held()) == date(2026, 12, 4)


async def test_t38_nothing_runs_for_prices_on_thanksgiving_and_early_on_the_friday(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.work_after("2026-11-25")
    runs = []
    for _ in range(48):
        reports = await market.work(HOUR)
        runs += [market.clock() for r in reports if r.dataset == "prices"]
    assert runs == [datetime(2026, 11, 27, 19, 30, tzinfo=UTC)] or [f"{run:%m-%d %H}" for run in runs] == ["11-27 18"]
    assert max(market.held()) == date(2026, 11, 27)


# -- T-39: which day a bar is of ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("short_pages", [False, True])
async def test_t39_the_first_and_the_last_session_of_a_request_are_there_once(
    market: BrokerWorld, short_pages: bool
) -> None:
    market.broker.short_pages = short_pages
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.work_after("2026-11-24")
    first, last = (day_of(market.asked()[0][name]) for name in ("start", "end"))
    rows = [row["session"] for row in market.rows("prices")]
    assert rows == market.sessions(first, last)
    assert (rows[0], rows[-1]) == (first, last) == (date(2025, 11, 19), date(2026, 11, 24))
    await market.work_after("2026-11-25")
    assert [row["session"] for row in market.rows("prices")] == [*rows, date(2026, 11, 25)]
    assert market.held() == market.served(first=first)


async def test_t39_late_in_the_evening_the_session_is_new_yorks_day_not_utcs(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.sync("holdings")
    await market.sync(at=datetime(2026, 11, 25, 2, 0, tzinfo=UTC))  # 21:00 of the 24th in New York
    assert max(market.held()) == date(2026, 11, 24)
    assert market.held()[date(2026, 11, 24)] == Decimal(close_of("AAPL", date(2026, 11, 24)))
    assert market.held()[date(2026, 7, 15)] == Decimal(close_of("AAPL", date(2026, 7, 15))), "in summer time too"


async def test_t39_the_running_session_is_not_asked_for_before_it_is_published(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.sync("holdings")
    await market.sync(at=market.after_close("2026-11-24", by=timedelta(minutes=14)))
    assert max(market.held()) == date(2026, 11, 23)
    await market.sync(after=timedelta(minutes=1))
    assert max(market.held()) == date(2026, 11, 24)


async def test_t39_bars_outside_of_the_request_are_set_aside_and_the_others_commit(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    before = market.held()
    strays = [("2019-03-01", "5.00"), ("2026-11-27", "92.00"), ("2026-11-30", "99.00")]
    market.answer_next(answer({"AAPL": strays, "TSLA": [("2026-11-27", "1.00")]}))
    [report] = [r for r in await market.work_after("2026-11-27") if r.dataset == "prices"]
    assert report.outcome == "partial"
    assert market.held() == {**before, date(2026, 11, 27): 92}
    assert market.held("TSLA") == {}
    assert market.evidence() == [
        "2019-03-01 is outside of what was asked for", "2026-11-30 is outside of what was asked for",
        "this instrument was not asked for",
    ]  # fmt: skip


async def test_t39_a_coin_has_a_bar_every_day_and_its_day_is_over_before_it_is_asked_for(market: BrokerWorld) -> None:
    days = [date(2025, 11, 1) + timedelta(days=n) for n in range(460)]
    market.has_bars("BTC/USD", days=days)
    coin = position("BTCUSD", "0.5", "60000", asset_class="crypto")
    await market.link(account=SimBrokerage("acc_1", positions=[coin]))
    await market.sync("holdings")
    await market.sync(at=datetime(2026, 11, 28, 6, 10, tzinfo=UTC))  # Chicago's Friday has ended ten minutes ago
    rows = market.rows("prices", instruments=["crypto:bitcoin"])
    assert rows[-1]["session"] == date(2026, 11, 26), "Thanksgiving"
    await market.sync(after=timedelta(minutes=5))
    rows = market.rows("prices", instruments=["crypto:bitcoin"])
    first = rows[0]["session"]
    assert [row["session"] for row in rows] == [day for day in days if first <= day <= date(2026, 11, 27)]
    assert [row["close"] for row in rows] == [Decimal(close_of("BTC/USD", row["session"])) for row in rows]
    assert market.findings() == {}


# -- T-40: days without a session --------------------------------------------------------------------------------------


@guarded("a holiday has a bar", "engine/series.py", "    return inside, strays", "    return rows, strays")
async def test_t40_a_bar_on_a_holiday_or_a_weekend_is_set_aside_and_the_others_commit(market: BrokerWorld) -> None:
    await settled(market, "AAPL")
    market.has_bars("AAPL", days=[date(2026, 11, 26), date(2026, 11, 28)])
    await market.work_after("2026-11-27")
    [report] = [r for r in await market.work_after("2026-11-30") if r.dataset == "prices"]
    assert report.outcome == "partial"
    assert sorted(market.held()) == market.sessions("2025-11-19", "2026-11-30")
    subjects = {row["subject"]: row["detail"] for row in market.rows("findings") if row["kind"] == "row_invalid"}
    assert subjects == {
        "us:AAPL 2026-11-26": "not kept: 2026-11-26 is no session of XNYS",
        "us:AAPL 2026-11-28": "not kept: 2026-11-28 is no session of XNYS",
    }
    assert "2026-11-26 is no session of XNYS" in market.evidence()


# -- T-43: pages -------------------------------------------------------------------------------------------------------


@guarded("a page that leads back is followed", "providers/alpaca/client.py", "if token in been:", "if False:")
@pytest.mark.parametrize("tokens", ["AA", "ABA", "ABCB"])
async def test_t43_a_page_that_leads_back_is_an_error_and_no_endless_loop(market: BrokerWorld, tokens: str) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.sync("holdings")
    for token in tokens + tokens[-2:] * 9:
        page = answer({"AAPL": [("2026-11-23", "42.00")]}, token=token)
        market.broker.fail_next(Fault("refuse", on=BARS, status=200, body=page))
    report = await market.sync()
    assert (report.outcome, report.error_code) == ("quarantine", "contract_broken")
    assert len(market.asked()) == len(tokens)
    assert market.held() == {}
    market.broker.faults.clear()
    await market.sync()
    assert market.held() == market.served(first="2025-11-18")


async def test_t43_short_pages_are_followed_to_the_end(market: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from fin_infra.providers.alpaca import client

    monkeypatch.setattr(client, "BARS_PAGE", 100)
    market.broker.short_pages = True
    market.has_bars("AAPL", "MSFT", "SPY")
    await market.link("AAPL", "MSFT", "SPY")
    await market.work()
    assert len(market.asked()) >= 3 * 250 / 33
    for symbol in ("AAPL", "MSFT", "SPY"):
        assert market.held(symbol) == market.served(symbol, first="2025-11-18")
    assert market.findings() == {}


# -- T-50: killed at any place -----------------------------------------------------------------------------------------


SYMBOLS = ("AAPL", "KO", "MSFT", "SPY", "VTI")  # more than one transaction's rows
PRELOAD = ["fin_infra.runtime", "fin_infra.providers.alpaca", "fin_infra.datasets.operations", "tests.broker"]


@contextmanager
def at_commits(strike: Any) -> Iterator[list[int]]:
    """Calls `strike` with its number just before each commit of this process."""
    seen: list[int] = []

    def before(_: Any) -> None:
        seen.append(len(seen) + 1)
        strike(seen[-1])

    event.listen(Engine, "commit", before)
    try:
        yield seen
    finally:
        event.remove(Engine, "commit", before)


async def sync_prices(settings: Settings, url: str, now: datetime) -> str:
    async with Runtime(settings, now=VirtualClock(now), base_urls={"alpaca": url}) as runtime:
        [connection] = runtime.connections.all()
        return (await runtime.engine.sync("prices", connection.connection_id)).outcome


def die_at(settings: Settings, url: str, now: datetime, commit: int) -> None:
    """The process that is killed: before its n-th commit, or from outside."""

    def strike(number: int) -> None:
        if number == commit:
            os.kill(os.getpid(), signal.SIGKILL)

    with at_commits(strike):
        asyncio.run(sync_prices(settings, url, now))


def state_of(settings: Settings) -> dict[str, Any]:
    """All that a sync of prices leaves behind, but for the names of its runs."""
    store = open_store(settings.store_url)
    try:
        feed = store.changes().filter(dataset="prices").select("op", "key").sort("op", "key")
        [connection] = read("streams", store=store).collect()["connection_id"].unique()
        return {
            "rows": read("prices", store=store).drop("run_id").collect().rows(),
            "versions": read("prices", store=store, history=True).drop("run_id").collect().rows(),
            "feed": feed.rows(),
            "cursor": store.cursor(Stream(connection, "prices"), 1).body,
            "findings": read("findings", store=store).select("kind", "subject", "detail", "state").collect().rows(),
        }
    finally:
        store.close()


@pytest.mark.parametrize("rebased", [False, True])
async def test_t50_a_sync_of_prices_killed_at_any_place_ends_as_if_it_had_not_been(
    market: BrokerWorld, tmp_path_factory: pytest.TempPathFactory, rebased: bool
) -> None:
    if rebased:
        await settled(market, *SYMBOLS)
        market.has_bars(*SYMBOLS, scale="0.25")
        market.clock.set(market.after_close("2026-11-27"))
    else:
        market.has_bars(*SYMBOLS)
        await market.link(*SYMBOLS)
        await market.sync("holdings", at=market.after_close("2026-11-24"))

    def copied(name: str) -> Settings:
        folder = tmp_path_factory.mktemp(name) / "copy"
        shutil.copytree(market.folder, folder, ignore=shutil.ignore_patterns("project"))
        return market.settings.model_copy(update={"store_url": f"sqlite:///{folder / 'fin.db'}", "project": None})

    calm = copied("calm")
    with at_commits(lambda number: None) as commits:
        assert await sync_prices(calm, market.url, market.clock()) == "ok"
    expected = state_of(calm)
    assert [row[:2] for row in expected["rows"]] == [
        (f"us:{symbol}", day) for symbol in SYMBOLS for day in market.served(symbol)
    ]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    last = len(commits)
    for place in (0, *range(last - 4, last + 1)):
        settings = copied(f"killed{place}")
        process = context.Process(target=die_at, args=(settings, market.url, market.clock(), place), daemon=True)

        def at_the_vendor(path: str, victim: Any = process, outside: bool = place == 0) -> None:
            if outside and path == BARS:
                os.kill(victim.pid, signal.SIGKILL)

        market.broker.on_request = at_the_vendor
        process.start()
        await asyncio.to_thread(process.join)
        assert process.exitcode == -signal.SIGKILL, place
        market.broker.on_request = lambda path: None
        if place:
            assert state_of(settings) != expected
        assert await sync_prices(settings, market.url, market.clock()) == "ok"
        assert state_of(settings) == expected, f"killed before commit {place} of {last}"
