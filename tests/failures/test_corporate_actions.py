"""T-30, T-31, T-33, T-34: corporate actions, what prices are made of with them, and steps that no action explains."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from fin_infra.cli import app
from fin_infra.errors import UsageError
from fin_infra.providers.alpaca.simulator import Fault
from fin_infra.reader import read
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


# -- T-30, T-31, T-33: prices adjusted when they are read ------------------------------------------------------------------


def closes(market: BrokerWorld, symbol: str = "AAPL", **filters: Any) -> dict[str, Decimal]:
    rows = market.rows("prices", instruments=[f"us:{symbol}"], **filters)
    return {row["session"].isoformat(): row["close"] for row in rows}


async def flat(market: BrokerWorld, *symbols: str, close: str = "100") -> None:
    """Each costs the same on every day, as far as nothing happens to it."""
    for symbol in symbols:
        for day in market.sessions():
            market.bar(symbol, day, close)
    await market.link(*symbols)


def morning(market: BrokerWorld, day: str) -> datetime:
    """Half an hour before the open, when the actions of the day are read."""
    return (market.broker.opens(date.fromisoformat(day)) - HOUR / 2).astimezone(UTC)


async def through(market: BrokerWorld, *days: str) -> None:
    """The actions before the open of each day, the prices half an hour after its close."""
    for day in days:
        market.clock.set(morning(market, day))
        await market.work()
        await market.work_after(day)


WEEK = ("2026-11-24", "2026-11-25", "2026-11-27", "2026-11-30")


@guarded("bars of two share counts join", "reader.py", "made = adjusted(prices, _actions(prices, asked, adjust), adjust)",
         "made = prices")  # fmt: skip
async def test_t30_the_worth_of_a_position_is_continuous_over_a_split(market: BrokerWorld) -> None:
    """As-traded quantities belong with raw bars, today's quantity with split-adjusted ones: the same worth on any day."""
    await flat(market, "AAPL")
    market.broker.split("AAPL", SPLIT, "50", "1")
    for day in WEEK:
        if day == str(SPLIT):
            market.broker.account("PK1").positions = [position("AAPL", qty="500", price="2")]
        market.clock.set(morning(market, day))
        await market.work()
        await market.sync("holdings", at=market.after_close(day, timedelta(minutes=20)))
        await market.work_after(day)
    raw, split = closes(market), closes(market, adjust="split")
    assert {raw[day] for day in WEEK[:2]} == {Decimal(100)}
    assert {raw[day] for day in WEEK[2:]} == {Decimal(2)}
    held = market.rows("holdings", history=True)
    assert {row["quantity"] for row in held} == {Decimal(10), Decimal(500)}
    for day in WEEK:
        at = market.after_close(day)
        [then] = market.rows("holdings", as_of=at)
        assert then["quantity"] * raw[day] == 1000, day
        assert 500 * split[day] == 1000, "counted in today's shares"
    assert set(split.values()) == {Decimal(2)}
    assert {row["basis"] for row in market.rows("prices", adjust="split")} == {"split_adjusted"}
    assert {row["basis"] for row in market.rows("prices")} == {"raw"}
    assert market.findings() == {}


async def test_t30_net_worth_is_the_same_when_the_holding_is_older_than_the_split(
    market: BrokerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await flat(market, "AAPL")
    market.broker.split("AAPL", SPLIT, "50", "1")
    await through(market, "2026-11-24", "2026-11-25")
    monkeypatch.setenv("FIN_INFRA_STORE_URL", market.settings.store_url)

    def worth() -> Any:
        done = CliRunner().invoke(app, ["worth", "--tenant", "ada", "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)["total"]

    before = worth()
    assert before == {"USD": "101000"}
    await market.sync("prices", at=market.after_close(SPLIT))
    assert worth() == before, "the holding was read the day before"
    market.broker.account("PK1").positions = [position("AAPL", qty="500", price="2")]
    await market.sync("holdings", HOUR)
    assert worth() == before
    assert closes(market)["2026-11-27"] == 2


async def test_t30_on_the_morning_of_the_split_the_close_is_of_the_day_before(
    market: BrokerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await flat(market, "AAPL")
    market.broker.split("AAPL", SPLIT, "50", "1")
    await through(market, "2026-11-24", "2026-11-25")
    market.broker.account("PK1").positions = [position("AAPL", qty="500", price="2")]
    await market.sync("holdings", at=morning(market, "2026-11-27"))
    monkeypatch.setenv("FIN_INFRA_STORE_URL", market.settings.store_url)
    done = CliRunner().invoke(app, ["worth", "--tenant", "ada", "--json"])
    assert (json.loads(done.output)["total"], max(closes(market))) == ({"USD": "101000"}, "2026-11-25")


async def test_t31_what_was_sold_before_its_split_is_adjusted_like_what_is_still_held(market: BrokerWorld) -> None:
    await flat(market, "AAPL", "SOLD")
    for symbol in ("AAPL", "SOLD"):
        market.broker.split(symbol, SPLIT, "3", "2")
    await through(market, "2026-11-24")
    market.broker.account("PK1").positions = [position("AAPL")]
    for wait in (HOUR, HOUR):
        await market.sync("holdings", wait)
    await through(market, "2026-11-25", "2026-11-27", "2026-11-30")
    assert {row["instrument"] for row in market.rows("holdings")} == {"us:AAPL"}
    assert closes(market, "SOLD", adjust="split") == closes(market, adjust="split")
    assert set(closes(market, "SOLD", adjust="split").values()) == {
        Decimal("66.6667"),
        Decimal("66.666666666666666667"),
    }


async def test_t33_reading_again_and_syncing_again_adjusts_nothing_twice(market: BrokerWorld) -> None:
    await flat(market, "AAPL")
    market.broker.dividend("AAPL", date(2026, 11, 25), "1")
    market.broker.split("AAPL", SPLIT, "2", "1")
    await through(market, *WEEK)
    kinds = ("split", "total")
    first = {kind: market.frame("prices", adjust=kind) for kind in kinds}
    for wait in (HOUR, DAY):
        await market.sync("corporate_actions", wait)
        await market.sync("prices", HOUR)
    for kind in kinds:
        again = market.frame("prices", adjust=kind, until=date(2026, 11, 30))
        same = ["instrument", "session", "basis", "open", "high", "low", "close", "volume"]
        assert again.select(same).equals(first[kind].select(same))
    assert closes(market, adjust="total")["2026-11-24"] == Decimal("49.5"), "half of 100 less a hundredth"


async def test_adjusted_closes_are_those_of_the_vendors_own_adjustment(market: BrokerWorld) -> None:
    """Its figures are rounded to four decimals."""
    market.has_bars("AAPL")
    await market.link("AAPL")
    days = market.sessions("2026-01-01")
    market.broker.split("AAPL", days[30], "3", "2")
    market.broker.split("AAPL", days[90], "1", "8")
    market.broker.stock_dividend("AAPL", days[120], "0.05")
    for n in (20, 60, 90, 150):
        market.broker.dividend("AAPL", days[n], "0.25")
    await through(market, *WEEK)
    for kind, theirs in (("split", "split"), ("total", "all")):
        shown = market.broker._adjusted("AAPL", market.broker.bars("AAPL"), theirs)
        wanted = {day.isoformat(): Decimal(bar.close) for day, bar in shown}
        found = closes(market, adjust=kind)
        assert len(found) > 200
        assert all(abs(close - wanted[day]) <= Decimal("0.00011") for day, close in found.items())


async def test_a_read_of_some_days_and_columns_is_the_part_of_the_whole_one(market: BrokerWorld) -> None:
    """What `until` leaves out still counts: a chart of last year does not step when this year splits."""
    await flat(market, "AAPL", "MSFT")
    market.broker.split("AAPL", SPLIT, "4", "1")
    market.broker.dividend("AAPL", SPLIT, "1")
    await through(market, *WEEK)
    whole = market.frame("prices", adjust="total")
    since, until = date(2026, 11, 23), date(2026, 11, 25)
    part = market.frame("prices", adjust="total", since=since, until=until, instruments=["us:AAPL"])
    wanted = whole.filter(instrument="us:AAPL").filter(
        (whole.filter(instrument="us:AAPL")["session"]).is_between(since, until)
    )
    assert part.equals(wanted)
    assert set(part["close"]) == {Decimal("24.75")}
    with market.store() as store:
        lazy = read("prices", adjust="total", store=store)
        assert lazy.select("close").collect().equals(whole.select("close"))
        assert lazy.filter(pl.col("session") == until).select("instrument").collect().height == 2
        assert lazy.head(3).collect().equals(whole.head(3))
        assert lazy.collect_schema() == read("prices", store=store).collect_schema()
    day_before = market.after_close("2026-11-25", HOUR)
    assert set(closes(market, adjust="split", as_of=day_before).values()) == {Decimal(100)}


@guarded("what is not known counts as nothing happened", "reader.py", "if never := sorted(set(newest) - set(known)):",
         "if never := []:")  # fmt: skip
@guarded("actions may be of any age", "reader.py", "> READ_WITHIN)", "> timedelta(days=999))")
async def test_prices_whose_actions_were_never_read_or_long_ago_are_not_adjusted(market: BrokerWorld) -> None:
    await flat(market, "AAPL", "MSFT")
    market.schedule(SCHEDULES)
    await market.work_after("2026-11-24")
    with pytest.raises(UsageError, match="corporate actions of us:AAPL, us:MSFT were never read"):
        market.rows("prices", adjust="split")
    async with market.runtime() as runtime:
        [connection] = runtime.connections.all()
        await runtime.engine.sync("corporate_actions", connection.connection_id, instruments=["us:AAPL"])
    assert set(closes(market, adjust="split").values()) == {Decimal(100)}
    with pytest.raises(UsageError, match="corporate actions of us:MSFT were never read"):
        market.rows("prices", adjust="split")
    await market.work_after("2026-12-04")
    with pytest.raises(UsageError, match="us:AAPL were last read on 2026-11-24, more than 7 days"):
        closes(market, adjust="split")
    assert set(closes(market, adjust="split", as_of=market.after_close("2026-11-25")).values()) == {Decimal(100)}


async def test_coins_need_no_actions_and_wrong_arguments_are_refused_at_once(market: BrokerWorld) -> None:
    day = date(2026, 11, 22)
    market.broker.set_bar("BTC/USD", day, "91000", "92000", "90000", "91999.999999999999999999", "12.5")
    market.schedule(SCHEDULES, watchlist="crypto:bitcoin")
    await market.link()
    await market.work()
    [bar] = market.rows("prices", adjust="split")
    assert (bar["close"], bar["basis"]) == (Decimal("91999.999999999999999999"), "split_adjusted")
    with market.store() as store:
        for wrong in ({"adjust": "both"}, {"adjust": "split", "history": True}, {"adjust": "split", "until": "2026"}):
            with pytest.raises(UsageError):
                read("prices", store=store, **wrong)
        with pytest.raises(UsageError, match="adjust is for prices"):
            read("holdings", store=store, adjust="split")


async def test_the_command_prints_adjusted_prices(market: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await flat(market, "AAPL")
    market.broker.split("AAPL", SPLIT, "50", "1")
    await through(market, *WEEK)
    monkeypatch.setenv("FIN_INFRA_STORE_URL", market.settings.store_url)
    arguments = ["read", "prices", "--instrument", "us:AAPL", "--since", "2026-11-25", "--format", "csv"]
    for adjust, basis, first in (([], "raw", "100"), (["--adjust", "split"], "split_adjusted", "2")):
        done = CliRunner().invoke(app, [*arguments, *adjust])
        assert done.exit_code == 0, done.output
        rows = list(csv.DictReader(done.output.splitlines()))
        assert [(row["basis"], row["close"]) for row in rows] == [(basis, first), (basis, "2"), (basis, "2")]
    done = CliRunner().invoke(app, [*arguments, "--adjust", "both"])
    assert isinstance(done.exception, UsageError)


# -- T-34: a step without an action ------------------------------------------------------------------------------------


async def calm(market: BrokerWorld, *symbols: str) -> None:
    """A year of bars at 100, read up to the Wednesday before Thanksgiving."""
    await flat(market, *symbols)
    await through(market, "2026-11-24", "2026-11-25")


def falls(
    market: BrokerWorld, close: str, symbol: str = "AAPL", first: str = "2026-11-27", last: str = "2027-01-31"
) -> None:
    for day in market.sessions(first, last):
        market.bar(symbol, day, close)


@guarded("a step is believed", "engine/splits.py", "waits.append(step)", "pass")
@guarded(
    "the action does not help",
    "engine/splits.py",
    'share *= float(action["new_shares"])',
    'share *= 1 + 0 * float(action["new_shares"])',
)
async def test_t34_bars_behind_a_step_wait_for_the_action_that_explains_it(market: BrokerWorld) -> None:
    await calm(market, "AAPL", "MSFT")
    told = market.after_close("2026-11-27", 2 * HOUR)
    market.broker.split("AAPL", SPLIT, "20", "1", known_from=told)
    await through(market, "2026-11-27")
    assert max(market.held("AAPL")) == date(2026, 11, 25)
    assert max(market.held("MSFT")) == SPLIT, "the others go on"
    [finding] = [row for row in market.rows("findings") if row["kind"] == "unexplained_jump"]
    assert (finding["subject"], finding["state"]) == ("us:AAPL", "open")
    assert "from 2026-11-25 to 2026-11-27 its price moved as in a 20-for-1 split" in finding["detail"]
    assert market.asked(ACTIONS)[-1]["symbols"] == "AAPL", "its actions are read at once when the step is seen"
    [kept] = market.quarantined()
    assert kept.startswith("from 2026-11-25 to 2026-11-27 its price moved as in a 20-for-1 split"), "is quarantined"
    await market.sync("corporate_actions", 3 * HOUR)
    await market.sync("prices", HOUR)
    assert market.held("AAPL")[SPLIT] == 5
    assert set(closes(market, adjust="split").values()) == {Decimal(5)}
    assert market.findings() == {}
    assert market.quarantined() == []


async def test_t34_actions_that_were_never_read_are_read_as_soon_as_a_step_is_seen(market: BrokerWorld) -> None:
    """A first read of a year with a split in it, and nothing scheduled that reads actions: no bar is late."""
    market.schedule(SCHEDULES)
    for day in market.sessions():
        market.bar("AAPL", day, "100")
    market.broker.split("AAPL", date(2026, 6, 10), "10", "1")
    await market.link("AAPL")
    await market.work_after("2026-11-24")
    assert market.held() == market.served(first="2025-11-19")
    assert len(market.asked(ACTIONS)) == 1
    assert market.findings() == {}
    assert len(set(closes(market, adjust="split").values())) == 1


@guarded("a crash blocks for ever", "engine/splits.py", ">= MISSED_APART)", ">= 99 * MISSED_APART)")
@guarded("two reads in a row confirm each other", "engine/splits.py", ">= MISSED_APART)", ">= 0 * MISSED_APART)")
async def test_t34_a_crash_is_taken_over_a_day_later_and_the_finding_stays(market: BrokerWorld) -> None:
    await calm(market, "AAPL")
    falls(market, "51.3")
    await through(market, "2026-11-27")
    await market.sync("prices", HOUR)
    assert max(market.held()) == date(2026, 11, 25), "an hour later nothing else would be said"
    assert "wait" in market.findings()["unexplained_jump"]
    await through(market, "2026-11-30")
    assert market.held() == market.served(first="2025-11-18")
    assert "a second read said the same" in market.findings()["unexplained_jump"]
    await through(market, "2026-12-01", "2026-12-02", "2026-12-14")
    assert market.held() == market.served(first="2025-11-18"), "it holds nothing up any more"
    assert set(market.states().values()) == {"final", "provisional"}
    assert "2-for-1" in market.findings()["unexplained_jump"]
    late = market.broker.split("AAPL", SPLIT, "2", "1", bars=False)
    await market.sync("corporate_actions", HOUR)
    await market.sync("prices", at=market.after_close("2026-12-15"))
    assert market.findings() == {}, "the vendor remembered the split after all"
    assert late.id in market.broker.actions


async def test_t34_a_bad_print_that_is_corrected_the_day_after_was_never_kept(market: BrokerWorld) -> None:
    await calm(market, "AAPL")
    market.bar("AAPL", SPLIT, "1000")
    await through(market, "2026-11-27")
    assert "1-for-10" in market.findings()["unexplained_jump"]
    market.bar("AAPL", SPLIT, "101")
    await through(market, "2026-11-30")
    assert market.held()[SPLIT] == 101
    assert market.findings() == {}
    assert not [row for row in market.rows("prices", history=True) if row["close"] == 1000]


async def test_t34_a_split_that_does_not_show_in_the_bars_is_none(market: BrokerWorld) -> None:
    """A repair invented it, or the bars are adjusted where raw ones were asked for: adjusting would make a step."""
    await calm(market, "AAPL")
    market.broker.split("AAPL", SPLIT, "4", "1", bars=False)
    await through(market, "2026-11-27")
    assert "1-for-4" in market.findings()["unexplained_jump"]
    assert max(market.held()) == date(2026, 11, 25)
    market.broker.actions.clear()
    for day in ("2026-11-30", "2026-12-01"):
        market.clock.set(morning(market, day))
        await market.work()
    await market.work_after("2026-12-01")
    assert market.held() == market.served(first="2025-11-18")
    assert market.findings() == {}


async def test_t34_a_split_on_a_lively_day_is_no_step_and_neither_is_a_large_dividend(market: BrokerWorld) -> None:
    await calm(market, "AAPL", "MSFT", "KO")
    market.broker.split("AAPL", SPLIT, "3", "2")
    falls(market, "71.20")  # a good day for the new shares
    market.broker.dividend("MSFT", SPLIT, "33.50", special=True)
    falls(market, "66.50", "MSFT")
    market.broker.spin_off("KO", SPLIT, "SPUN")
    falls(market, "50", "KO")
    await through(market, "2026-11-27", "2026-11-30")
    for symbol in ("AAPL", "MSFT", "KO"):
        assert max(market.held(symbol)) == date(2026, 11, 30), symbol
    assert "unexplained_jump" not in market.findings()
    assert set(closes(market, "MSFT", adjust="total").values()) == {Decimal("66.5")}


async def test_t34_a_coin_that_halves_is_not_held_back(market: BrokerWorld) -> None:
    for n, close in enumerate(("100", "50", "49")):
        market.broker.set_bar("BTC/USD", date(2026, 11, 20) + n * DAY, close, close, close, close, "1")
    market.schedule(SCHEDULES, watchlist="crypto:bitcoin")
    await market.link()
    await market.work()
    assert [row["close"] for row in market.rows("prices")] == [100, 50, 49]
    assert "unexplained_jump" not in market.findings()


async def test_t34_an_adjusted_series_where_a_raw_one_was_asked_for_is_a_new_basis_and_no_step(
    market: BrokerWorld,
) -> None:
    """All of the overlap has one ratio: the series is read anew. Its one step, were it half adjusted, would be held."""
    await calm(market, "AAPL")
    await market.sync("prices", HOUR)
    falls(market, "50", first="2025-11-01")
    await through(market, "2026-11-27")
    assert set(market.held().values()) == {Decimal(50)}
    assert set(market.findings()) == {"rebased"}
    falls(market, "25", first="2025-11-01", last="2026-06-30")  # half of it, a year back
    falls(market, "200", first="2026-11-30")
    await through(market, "2026-11-30")
    assert set(market.held().values()) <= {Decimal(50)}, "no half of each basis"
    assert "unexplained_jump" in market.findings()


# -- delistings and symbols ---------------------------------------------------------------------------------------------


async def test_after_a_delisting_or_a_change_of_symbol_no_bar_is_missed(market: BrokerWorld) -> None:
    await flat(market, "GONE", "OLD", "AAPL")
    market.broker.delist("GONE", SPLIT, cash="101")
    market.broker.rename("OLD", "NEW", SPLIT, known_from=market.after_close("2026-12-01"))  # told late
    await through(market, *WEEK, "2026-12-01", "2026-12-02", "2026-12-03", "2026-12-04")
    assert max(market.held("GONE")) == max(market.held("OLD")) == date(2026, 11, 25)
    assert max(market.held("AAPL")) == date(2026, 12, 4)
    assert "missing_sessions" not in market.findings()
    assert market.asked()[-1]["symbols"] == "AAPL", "they are not asked for any more"
    assert set(closes(market, "GONE", adjust="split").values()) == {Decimal(100)}
