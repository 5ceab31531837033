"""T-30, T-31, T-33, T-34: corporate actions, what prices are made of with them, and steps that no action explains."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.providers.alpaca.simulator import Fault
from tests.broker import SCHEDULES, BrokerWorld, broker_of, position
from tests.guards import guarded

ACTIONS = "/v1/corporate-actions"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SPLIT = date(2026, 11, 27)


@pytest.fixture
def market(tmp_path: Path) -> Iterator[BrokerWorld]:
    """A broker whose corporate actions are read an hour before New York opens."""
    with broker_of(tmp_path) as found:
        more = "  corporate_actions: {job: sync_corporate_actions, calendar: us, at: open, offset: -60m}\n"
        found.schedule(SCHEDULES + more)
        yield found


def acted(market: BrokerWorld, *columns: str, **filters: Any) -> list[tuple[Any, ...]]:
    """The actions held, in key order: instrument, ex_on, kind, and these columns, numbers as short text."""
    names = ("instrument", "ex_on", "kind", *columns)
    return [tuple(map(_short, (row[name] for name in names))) for row in market.rows("corporate_actions", **filters)]


def _short(value: Any) -> Any:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value) if isinstance(value, date) else value


# -- the dataset -------------------------------------------------------------------------------------------------------


async def test_actions_of_what_is_held_come_once_and_reading_them_again_changes_nothing(market: BrokerWorld) -> None:
    market.broker.split("AAPL", date(2020, 8, 31), "4", "1")
    market.broker.split("AAPL", SPLIT, "3", "2")
    market.broker.split("MSFT", date(2019, 3, 1), "1", "8")
    market.broker.stock_dividend("MSFT", date(2021, 5, 3), "0.05")
    market.broker.dividend("AAPL", date(2026, 11, 9), "0.27")
    market.broker.split("OTHER", SPLIT, "2", "1")
    await market.link("AAPL", "MSFT")
    await market.work()
    found = [
        ("us:AAPL", "2020-08-31", "split", "4", "4", "1", None),
        ("us:AAPL", "2026-11-09", "dividend", None, None, None, "0.27"),
        ("us:AAPL", "2026-11-27", "split", "1.5", "3", "2", None),
        ("us:MSFT", "2019-03-01", "split", "0.125", "1", "8", None),
        ("us:MSFT", "2021-05-03", "split", "1.05", "1.05", "1", None),
    ]
    columns = ("ratio", "new_shares", "old_shares", "amount")
    assert acted(market, *columns) == found, "the announced one too, and nobody else's"
    assert len(market.asked(ACTIONS)) == 1
    again = await market.sync("corporate_actions", DAY)
    assert (again.outcome, again.total.unchanged, again.total.updated) == ("ok", 5, 0)
    assert acted(market, *columns) == found
    assert acted(market, since=date(2026, 11, 10)) == [("us:AAPL", "2026-11-27", "split")]
    assert market.findings() == {}


async def test_dividends_of_one_day_are_summed_exactly_and_a_record_that_came_twice_counts_once(
    market: BrokerWorld,
) -> None:
    day = date(2026, 11, 9)
    for rate in ("0.100000000000000001", "0.2"):
        market.broker.dividend("AAPL", day, rate, special=rate == "0.2")
    market.broker.dividend("AAPL", day, "0.2", special=True)  # under another id
    market.broker.split("AAPL", day, "2", "1", bars=False)
    market.broker.stock_dividend("AAPL", day, "0.1")
    await market.link("AAPL")
    await market.work()
    assert acted(market, "amount", "ratio") == [
        ("us:AAPL", "2026-11-09", "dividend", "0.300000000000000001", None),
        ("us:AAPL", "2026-11-09", "split", None, "2.2"),
    ]


async def test_dividends_in_two_currencies_are_not_added(market: BrokerWorld) -> None:
    day = date(2026, 11, 9)
    market.broker.dividend("AAPL", day, "0.1", currency="USD")
    market.broker.dividend("AAPL", day, "0.2", currency="EUR")
    await market.link("AAPL")
    await market.work()
    assert acted(market, "amount", "currency") == [("us:AAPL", "2026-11-09", "dividend", "0.1", "USD")]
    assert "a dividend in EUR beside one in USD" in market.findings()["row_invalid"]


@guarded("one missing action is believed gone for ever", "engine/actions.py", "removed += keys\n            continue\n        ids",
         "continue\n        ids")  # fmt: skip
async def test_an_announced_split_that_is_moved_moves_and_one_that_is_cancelled_leaves(market: BrokerWorld) -> None:
    market.broker.dividend("AAPL", date(2026, 8, 10), "0.26")
    announced = market.broker.split("AAPL", date(2026, 12, 7), "4", "1")
    await market.link("AAPL")
    await market.work()
    market.broker.withdraw(announced)
    moved = market.broker.split("AAPL", date(2026, 12, 14), "4", "1")
    await market.sync("corporate_actions", DAY)
    assert acted(market) == [("us:AAPL", "2026-08-10", "dividend"), ("us:AAPL", "2026-12-14", "split")]
    market.broker.withdraw(moved)
    await market.sync("corporate_actions", DAY)
    assert acted(market) == [("us:AAPL", "2026-08-10", "dividend")]
    assert len(acted(market, history=True)) == 3, "history keeps them"


@guarded("an empty answer empties the table", "engine/actions.py", "if few and name in delivered:", "if True:")
@guarded("the same outage confirms itself", "engine/actions.py", ">= MISSED_APART:", ">= timedelta():")
async def test_an_answer_that_is_suddenly_empty_removes_nothing_before_another_day_agrees(market: BrokerWorld) -> None:
    action = market.broker.split("AAPL", date(2020, 8, 31), "4", "1")
    await market.link("AAPL")
    await market.work()
    market.broker.withdraw(action)
    for wait in (HOUR, HOUR):
        report = await market.sync("corporate_actions", wait)
        assert acted(market) == [("us:AAPL", "2020-08-31", "split")]
        assert "shrink_guard" in market.findings()
        assert report.outcome == "partial"
    market.broker.actions[action.id] = action
    await market.sync("corporate_actions", HOUR)
    assert market.findings() == {}
    market.broker.withdraw(action)
    await market.sync("corporate_actions", DAY)
    assert acted(market) == [("us:AAPL", "2020-08-31", "split")], "what came back is missed anew"
    await market.sync("corporate_actions", DAY)
    assert acted(market) == []
    assert market.findings() == {}


@guarded("what a vendor forgets is lost", "engine/actions.py", "is_in([*ended, *spoiled])", "is_in([*spoiled])")
async def test_actions_of_a_symbol_that_is_no_longer_traded_stay_when_the_vendor_forgets_it(
    market: BrokerWorld,
) -> None:
    market.broker.split("GONE", date(2026, 3, 2), "2", "1")
    market.broker.delist("GONE", date(2026, 11, 2), cash="5.37")
    await market.link("GONE")
    await market.work()
    market.broker.actions.clear()
    for _ in range(3):
        await market.sync("corporate_actions", DAY)
    assert acted(market, "amount") == [
        ("us:GONE", "2026-03-02", "split", None),
        ("us:GONE", "2026-11-02", "delisting", "5.37"),
    ]


async def test_a_page_that_fails_changes_nothing_and_the_next_run_reads_all(market: BrokerWorld) -> None:
    for n in range(1001):
        market.broker.dividend("AAPL", date(2020, 1, 1) + n * DAY, "0.1")
    await market.link("AAPL")
    pages = {"asked": 0}

    def second_fails(path: str) -> None:
        pages["asked"] += path == ACTIONS
        if path == ACTIONS and pages["asked"] == 2:
            market.broker.fail_next(Fault("refuse", status=500, times=5, on=ACTIONS))

    market.broker.on_request = second_fails
    await market.work()
    assert acted(market) == []
    market.broker.faults.clear()
    await market.work(HOUR)
    assert len(acted(market)) == 1001


async def test_mergers_and_renames_say_where_they_lead(market: BrokerWorld) -> None:
    day = date(2026, 11, 9)
    market.broker.rename("OLDCO", "NEWCO", day)
    market.broker.delist("BOTH", day, into="NEWCO", rate="0.7733", cash="7.8")
    market.broker.delist("NIL", day)
    market.broker.act(
        "name_changes", old_symbol="SAME", new_symbol="SAME", old_cusip="1", new_cusip="2", process_date=day
    )
    await market.link("OLDCO", "BOTH", "NIL", "SAME")
    await market.work()
    assert acted(market, "new_instrument", "new_shares", "amount") == [
        ("us:BOTH", "2026-11-09", "delisting", "us:NEWCO", "0.7733", "7.8"),
        ("us:NIL", "2026-11-09", "delisting", None, None, None),
        ("us:OLDCO", "2026-11-09", "symbol_change", "us:NEWCO", None, None),
    ]


@guarded("a spin-off vanishes in silence", "engine/actions.py", "UNADJUSTED = {\"spin_off\": \"a spin-off\", ",
         "UNADJUSTED = {")  # fmt: skip
async def test_a_spin_off_is_kept_and_said_where_bars_of_both_sides_are_held(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    market.broker.spin_off("AAPL", date(2026, 11, 2), "SPUN", source_rate="4")
    market.broker.spin_off("AAPL", date(2010, 11, 2), "EARLY")
    await market.link("AAPL")
    await market.work_after("2026-11-24")
    await market.sync("corporate_actions", HOUR)
    assert acted(market, "new_instrument", "ratio") == [
        ("us:AAPL", "2010-11-02", "spin_off", "us:EARLY", "1"),
        ("us:AAPL", "2026-11-02", "spin_off", "us:SPUN", "0.25"),
    ]
    [told] = [row for row in market.rows("findings") if row["kind"] == "not_adjusted"]
    assert (told["subject"], told["state"]) == ("us:AAPL 2026-11-02", "open")
    assert "a spin-off of us:SPUN" in told["detail"]
    await market.sync("corporate_actions", DAY)
    assert "not_adjusted" in market.findings(), "as long as it is so"


async def test_t31_actions_are_read_of_what_was_sold_long_ago_and_of_what_is_watched(market: BrokerWorld) -> None:
    await market.link("AAPL", "SOLD")
    await market.work()
    market.broker.account("PK1").positions = [position("AAPL")]
    for _ in range(2):
        await market.sync("holdings", HOUR)
    assert {row["instrument"] for row in market.rows("holdings")} == {"us:AAPL"}
    market.schedule(SCHEDULES, watchlist="us:SEEN,crypto:bitcoin")
    market.broker.split("SOLD", SPLIT, "20", "1")
    market.broker.split("SEEN", SPLIT, "2", "1")
    await market.sync("corporate_actions", DAY)
    assert acted(market) == [("us:SEEN", "2026-11-27", "split"), ("us:SOLD", "2026-11-27", "split")]
    assert market.asked(ACTIONS)[-1]["symbols"] == "AAPL,SEEN,SOLD", "a coin has none"
