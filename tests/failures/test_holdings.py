"""T-23 … T-28 and T-44 … T-48 at a broker: positions, what they cost, and what happens beside them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fin_infra.providers.alpaca.simulator import PAPER_CASH, Fault, SimActivity, SimBrokerage, sandbox
from fin_infra.reader import read
from fin_infra.store import open_store
from tests.broker import BARS, BrokerWorld, position
from tests.guards import guarded

HOUR = timedelta(hours=1)


# -- T-23, T-24, T-25, T-28: refusals and limits -------------------------------------------------------------------------


async def test_t23_t24_a_revoked_key_is_parked_and_the_others_go_on(market: BrokerWorld) -> None:
    market.has_bars("AAPL", "MSFT")
    good = await market.link("AAPL")
    bad = await market.link("MSFT", key_id="PK2", tenant="lin")
    await market.work_after("2026-11-24")
    market.broker.revoke("PK2")
    market.broker.account("PK1").positions.append(position("KO"))
    reports = await market.work_after("2026-11-25")
    assert {r.outcome for r in reports if r.connection_id == good.connection_id} == {"ok"}
    assert {r.error_code for r in reports if r.connection_id == bad.connection_id} <= {
        "auth_invalid",
        "reauth_required",
    }
    assert [row["instrument"] for row in market.rows("holdings", tenant="ada")] == ["us:AAPL", "us:KO"]
    assert [row["instrument"] for row in market.rows("holdings", tenant="lin")] == ["us:MSFT"], "kept as they were"
    assert max(market.held("AAPL")) == date(2026, 11, 25)
    async with market.runtime() as runtime:
        state = runtime.connections.get(bad.connection_id)
    assert (state.state, "relink" in (state.reason or "")) == ("reauth", True)
    assert await asked_after(market, "2026-11-27") == {"PK1"}, "a dead key is not even tried"


async def test_t24_a_key_that_only_market_data_refuses_is_parked_too_and_a_new_one_goes_on(
    market: BrokerWorld,
) -> None:
    market.has_bars("AAPL")
    connection = await market.link("AAPL")
    await market.work_after("2026-11-24")
    account = market.broker.account("PK1")
    market.broker.revoke("PK1")
    report = await market.sync(at=market.after_close("2026-11-25"))
    assert (report.outcome, report.error_code) == ("park", "auth_invalid")
    assert market.stream("prices")["state"] == "reauth"
    assert max(market.held()) == date(2026, 11, 24)
    market.broker.open_account("PK9", "new", account)
    async with market.runtime() as runtime:
        runtime.connections.relink(connection.connection_id, {"key_id": "PK9", "secret_key": "new"})
    await market.work()
    assert max(market.held()) == date(2026, 11, 25)
    assert market.stream("prices")["state"] == "ok"


async def test_t24_a_plan_that_lacks_prices_stops_prices_alone(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    body = b'{"message":"subscription does not permit querying recent SIP data"}'
    market.broker.fail_next(Fault("refuse", times=9, on=BARS, status=403, body=body))
    reports = {r.dataset: r for r in await market.work_after("2026-11-24")}
    assert (reports["prices"].outcome, reports["prices"].error_code) == ("park", "plan_limit")
    assert {name: r.outcome for name, r in reports.items() if name != "prices"} == dict.fromkeys(
        ("accounts", "holdings", "activities"), "ok"
    )
    async with market.runtime() as runtime:
        assert runtime.connections.all()[0].state == "active"
    market.broker.faults.clear()
    await market.work_after("2026-11-25")
    assert max(market.held()) == date(2026, 11, 25)


async def test_t25_a_limit_on_market_data_is_a_wait_with_a_time_and_holds_up_nothing_else(market: BrokerWorld) -> None:
    market.has_bars("AAPL")
    await market.link("AAPL")
    market.broker.fail_next(Fault("refuse", on=BARS, status=429, retry_after="900"))
    reports = {r.dataset: r for r in await market.work_after("2026-11-24")}
    limited = reports.pop("prices")
    assert (limited.outcome, limited.error_code, limited.follow_up.after) == ("later", "rate_limited", 900.0)
    assert {r.outcome for r in reports.values()} == {"ok"}
    stream = market.stream("prices")
    assert "2026-11-24T21:45:0" in stream["next_reason"]  # a call before it may have waited a second for its turn
    assert stream["state"] not in ("reauth", "error")
    assert "link" not in stream["next_reason"]
    assert await market.work(timedelta(seconds=899)) == []
    [report] = await market.work(timedelta(seconds=2))
    assert report.outcome == "ok"
    assert market.held() == market.served()


async def test_t23_positions_that_are_refused_do_not_keep_prices_from_what_is_watched(market: BrokerWorld) -> None:
    market.settings = market.settings.model_copy(update={"watchlist": "us:SPY"})
    market.has_bars("SPY", "AAPL")
    await market.link("AAPL")
    market.broker.fail_next(Fault("refuse", times=2, on="/v2/positions", status=403))
    reports = {r.dataset: r for r in await market.work_after("2026-11-24")}
    assert (reports["holdings"].outcome, reports["holdings"].error_code) == ("park", "permission_denied")
    assert reports["prices"].outcome == "ok"
    assert market.held("SPY") == market.served("SPY")
    await market.work_after("2026-11-25")
    assert market.held("AAPL") == market.served("AAPL", first=min(market.held("AAPL")))


async def test_t28_holdings_and_prices_commit_although_the_history_of_activities_is_limited(
    market: BrokerWorld,
) -> None:
    market.has_bars("AAPL")
    account = SimBrokerage("acc_1", positions=[position("AAPL")])
    begin = datetime(2026, 1, 5, 15, tzinfo=UTC)
    for n in range(1_850):
        account.record(SimActivity("FILL", at=begin + n * timedelta(minutes=1), symbol="AAPL", qty="1", price="25"))
    market.broker.limit_per_minute = 12
    await market.link(account=account)
    reports = {r.dataset: r for r in await market.work_after("2026-11-24")}
    limited = reports["activities"]
    assert (limited.outcome, limited.error_code) == ("later", "quota_exhausted"), "its headers told us: no call is lost"
    assert {reports[name].outcome for name in ("accounts", "holdings", "prices")} == {"ok"}
    assert [row["instrument"] for row in market.rows("holdings")] == ["us:AAPL"]
    assert market.held() == market.served()
    assert market.rows("activities") == []
    for _ in range(2):
        await market.work(timedelta(minutes=1))
    assert len(market.rows("activities")) == 1_850
    tokens = [query.get("page_token") for query in market.asked("/v2/account/activities")]
    assert len(set(tokens)) == 19, "nineteen pages"
    assert len(tokens) - 19 <= 2, "none that was paid for is asked for again, but the one that was refused"


@guarded(
    "what is dated before the newest row is skipped", "providers/alpaca/client.py",
    "rows = wire.activities(reply.body)",
    'rows = [r for r in wire.activities(reply.body) if str(r.get("date") or "9") >= str(since)]',
)  # fmt: skip
async def test_t19_an_activity_that_is_booked_late_under_an_old_date_is_picked_up(market: BrokerWorld) -> None:
    account = SimBrokerage("acc_1", positions=[position("AAPL")])
    for on, made in (
        ("2026-11-20", "2026-11-21"),
        ("2026-10-30", "2026-11-24T20:00"),
        ("2026-09-01", "2026-11-25T06:00"),
    ):
        created = datetime.fromisoformat(made).replace(tzinfo=UTC)
        account.record(SimActivity("DIV", on=date.fromisoformat(on), net_amount="1.50", created_at=created))
    await market.link(account=account)
    seen = []
    for _ in range(3):
        await market.work(12 * HOUR)
        seen.append([f"{row['traded_on']:%m-%d}" for row in market.rows("activities")])
    assert [len(days) for days in seen] == [2, 3, 3]
    assert sorted(seen[-1]) == ["09-01", "10-30", "11-20"]


# -- T-44, T-46: what a position costs, and what explains it -------------------------------------------------------------


@guarded(
    "the average cost is taken for the position's", "providers/alpaca/frames.py",
    '_fine(_short(row, "cost_basis"))',
    '_fine(_text(row, "avg_entry_price"))',
)  # fmt: skip
async def test_t44_the_basis_is_the_total_and_what_is_not_said_stays_unknown(market: BrokerWorld) -> None:
    unsaid: dict[str, str | None] = {"cost_basis": None, "market_value": None, "current_price": None}
    await market.link(account=SimBrokerage("acc_1", positions=[
        position("AAPL", "10", "25.5"),
        position("MSFT", "-3", "400", side="short"),
        position("KO", "4", "60", exact=unsaid),
        position("AAPL260116C00200000", "2", "5.25", asset_class="us_option"),
    ]))  # fmt: skip
    await market.work()
    found = {row["instrument"]: row for row in market.rows("holdings")}
    assert {key: row["cost_basis"] for key, row in found.items()} == {
        "us:AAPL": 255, "us:MSFT": -1200, "us:KO": None, "opt:AAPL:2026-01-16:C:200": 1050,
    }  # fmt: skip
    assert (found["us:KO"]["price"], found["us:KO"]["market_value"]) == (None, None), "never zero"
    for row in found.values():
        if row["price"] is not None:
            assert row["market_value"] == row["quantity"] * row["multiplier"] * row["price"]


@guarded(
    "a sale costs money", "providers/alpaca/frames.py",
    'return _negated(quantity) if _kind(row) == "sell" else quantity',
    "return quantity",
)  # fmt: skip
async def test_t46_activities_explain_cash_and_positions_and_values_add_up_to_the_total(market: BrokerWorld) -> None:
    account = sandbox(market.broker, "PK1", "secret of PK1", today=market.clock().date())
    await market.linked({"key_id": "PK1", "secret_key": "secret of PK1"}, "ada")
    await market.work()
    rows = market.rows("activities")
    [balance] = market.rows("balances")
    assert PAPER_CASH + sum(row["amount"] for row in rows) == balance["cash"] == Decimal(account.cash)
    moved: dict[str, Decimal] = {}
    for row in rows:
        if row["quantity"] is not None:
            moved[row["instrument"]] = moved.get(row["instrument"], Decimal(0)) + row["quantity"]
    holdings = market.rows("holdings")
    assert {row["instrument"]: row["quantity"] for row in holdings} == moved
    assert sum(row["market_value"] for row in holdings) + balance["cash"] == balance["current"]
    signs = {kind: {row["amount"] > 0 for row in rows if row["kind"] == kind} for kind in {r["kind"] for r in rows}}
    assert signs == {
        "buy": {False}, "sell": {True}, "dividend": {True}, "deposit": {True}, "withdrawal": {False}, "fee": {False}
    }  # fmt: skip


# -- T-47: one snapshot or the other -------------------------------------------------------------------------------------


Snapshot = tuple[Any, ...]
HELD, WORTH = ["instrument", "quantity", "market_value", "cost_basis"], ["current", "cash"]


class Reader(threading.Thread):
    """Reads as fast as it can until it is told to stop, and keeps every different thing it saw."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.seen: dict[str, dict[Snapshot, int]] = {"holdings": {}, "balances": {}}
        self.over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        store = open_store(self.url)
        try:
            while not self.over.is_set():
                for name, columns in (("holdings", HELD), ("balances", WORTH)):
                    rows = tuple(read(name, store=store).select(columns).collect().rows())
                    self.seen[name][rows] = self.seen[name].get(rows, 0) + 1
        except BaseException as error:  # said by whoever waits for this thread
            self.error = error
        finally:
            store.close()


@contextmanager
def reading(market: BrokerWorld) -> Iterator[Reader]:
    reader = Reader(market.settings.store_url)
    reader.start()
    try:
        yield reader
    finally:
        reader.over.set()
        reader.join(timeout=30)
    if reader.error is not None:
        raise reader.error


def snapshots() -> list[SimBrokerage]:
    """Two states of one account that have some symbols in common and nothing of their amounts.

    A switch changes more rows than a transaction has when it need not be whole.
    """
    names = [f"S{chr(65 + n // 676)}{chr(65 + n // 26 % 26)}{chr(65 + n % 26)}" for n in range(1_400)]
    first = [position(name, "3", f"{n + 1}") for n, name in enumerate(names[:900])]
    second = [position(name, "7", f"{n + 2}.5") for n, name in enumerate(names[600:])]
    return [SimBrokerage("acc_1", "1000", positions=first), SimBrokerage("acc_1", "2222", positions=second)]


@guarded("a snapshot is written in parts", "engine/sync.py", 'atomic=run.source.kind == "snapshot"', "atomic=False")
async def test_t47_whoever_reads_while_snapshots_are_switched_sees_the_one_or_the_other(market: BrokerWorld) -> None:
    states = snapshots()
    account = SimBrokerage("acc_1", positions=list(states[0].positions), cash=states[0].cash)
    await market.link(account=account)
    await market.sync("holdings")
    expected: dict[str, list[Snapshot]] = {"holdings": [], "balances": []}
    with reading(market) as reader:
        for turn in range(12):
            state = states[turn % 2]
            account.positions, account.cash = list(state.positions), state.cash
            await market.sync("balances", after=HOUR)
            for _ in range(2):  # the second read agrees
                await market.sync("holdings", after=HOUR)
            if turn < 2:
                for name, columns in (("holdings", HELD), ("balances", WORTH)):
                    expected[name].append(tuple(market.frame(name).select(columns).rows()))
    assert [len(rows) for rows in expected["holdings"]] == [900, 800]
    for name, seen in reader.seen.items():
        assert set(seen) == set(expected[name]), f"{len(seen)} different {name} seen"
        assert min(seen.values()) >= 2
    for hours in range(36):  # and whoever asks what was known then
        then = tuple(market.frame("holdings", as_of=market.clock() - hours * HOUR).select(HELD).rows())
        assert then in expected["holdings"]


@guarded(
    "half the positions vanish at once", "engine/changes.py",
    'if shrunk and confirmable(before, run.started_at) != missed:',
    "if False:",
)  # fmt: skip
@guarded(
    "a guarded answer is half taken over", "engine/changes.py",
    "return Change(schema, built.good.clear())",
    "return Change(schema, built.good)",
)  # fmt: skip
async def test_t47_when_half_the_positions_vanish_nothing_changes_until_a_second_read_agrees(
    market: BrokerWorld,
) -> None:
    account = SimBrokerage("acc_1", positions=[position(name) for name in ("AA", "BB", "CC", "DD", "EE", "FF")])
    await market.link(account=account)
    await market.work()
    before = market.rows("holdings")
    whole = account.positions
    account.positions = [position("DD", "99", "1"), *whole[4:]]
    [report] = [r for r in await market.work(6 * HOUR) if r.dataset == "holdings"]
    assert report.outcome == "partial"
    assert market.rows("holdings") == before, "not even the position that came with another quantity"
    assert "until a second read agrees" in market.findings()["shrink_guard"]
    [state] = [row for row in market.rows("account_states") if row["dataset"] == "holdings"]
    assert (state["state"], state["last_success_at"] < market.clock()) == ("partial", True)
    account.positions = [*whole[:1], *whole[4:]]  # others are gone this time: that is no agreement
    await market.work(6 * HOUR)
    assert market.rows("holdings") == before
    await market.work(6 * HOUR)
    assert [row["instrument"] for row in market.rows("holdings")] == ["us:AA", "us:EE", "us:FF"]
    assert market.findings() == {}


async def test_t47_an_answer_in_which_they_are_back_needs_no_second_read(market: BrokerWorld) -> None:
    account = SimBrokerage("acc_1", positions=[position(name) for name in ("AA", "BB", "CC", "DD")])
    await market.link(account=account)
    await market.work()
    whole, account.positions = account.positions, []
    await market.work(6 * HOUR)
    account.positions = [*whole, position("EE")]
    await market.work(6 * HOUR)
    assert len(market.rows("holdings")) == 5
    account.positions = []
    await market.work(6 * HOUR)
    assert len(market.rows("holdings")) == 5, "the read of long ago confirms nothing"
    await market.work(6 * HOUR)
    assert market.rows("holdings") == []


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_t36_an_empty_list_of_positions_empties_no_account_at_first(market: BrokerWorld, count: int) -> None:
    account = SimBrokerage("acc_1", positions=[position(name) for name in ("AA", "BB", "CC", "DD", "EE")[:count]])
    await market.link(account=account)
    await market.work()
    account.positions = []
    await market.work(6 * HOUR)
    assert len(market.rows("holdings")) == count
    await market.work(6 * HOUR)
    assert market.rows("holdings") == []


@guarded(
    "an unusable row keeps sold positions alive", "engine/changes.py",
    'if account is None or "" in unusable:',
    "if account is None or built.rejects:",
)  # fmt: skip
@pytest.mark.parametrize("known", [True, False])
async def test_t47_a_position_that_cannot_be_used_stays_and_keeps_no_sold_one_alive(
    market: BrokerWorld, known: bool
) -> None:
    account = SimBrokerage("acc_1", positions=[position("AA"), position("BB"), position("CC")])
    await market.link(account=account)
    await market.work()
    nameless: dict[str, str | None] = {"symbol": None, "asset_id": None}
    account.positions = [position("AA", "11"), position("BB", exact={"qty": "ten"} if known else nameless)]
    [report] = [r for r in await market.work(6 * HOUR) if r.dataset == "holdings"]
    assert report.outcome == "partial"
    found = {row["instrument"]: row["quantity"] for row in market.rows("holdings")}
    assert found == {"us:AA": 11, "us:BB": 10} if known else {"us:AA": 11, "us:BB": 10, "us:CC": 10}


# -- T-48: feeds of different speed --------------------------------------------------------------------------------------


async def test_t48_a_position_may_show_before_its_trade_and_a_trade_without_a_position(market: BrokerWorld) -> None:
    bought = datetime(2026, 11, 24, 15, tzinfo=UTC)
    account = SimBrokerage("acc_1", positions=[position("AAPL")])
    account.record(SimActivity("FILL", at=bought, symbol="AAPL", qty="10", price="25", created_at=bought + 24 * HOUR))
    account.record(SimActivity("FILL", at=bought - 30 * HOUR, symbol="KO", qty="5", price="60"))
    market.has_bars("AAPL", "KO")
    await market.link(account=account)
    await market.work_after("2026-11-24")
    assert [row["instrument"] for row in market.rows("holdings")] == ["us:AAPL"]
    assert [row["instrument"] for row in market.rows("activities")] == ["us:KO"]
    await market.sync()  # prices may have been first: calls take turns
    assert {row["state"] for row in market.rows("streams")} == {"ok"}
    account.positions = [position("MSFT"), *account.positions]
    await market.work_after("2026-11-25")
    assert [row["instrument"] for row in market.rows("holdings")] == ["us:AAPL", "us:MSFT"]
    assert sorted(row["instrument"] for row in market.rows("activities")) == ["us:AAPL", "us:KO"]
    assert {row["instrument"] for row in market.rows("prices")} >= {"us:AAPL", "us:KO"}, "of all that was ever traded"
    assert market.findings() == {}


async def asked_after(market: BrokerWorld, day: str) -> set[str]:
    """The keys with which the broker is asked when a worker runs after this day's close."""
    seen: set[str] = set()
    spend = market.broker._spend

    def spied(host: str, key: str) -> tuple[int, int]:
        seen.add(key)
        return spend(host, key)

    market.broker._spend = spied  # type: ignore[method-assign]
    await market.work_after(day)
    return seen
