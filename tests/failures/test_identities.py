"""T-46, T-47: figures of one vendor that do not agree are told with the difference, and no row is dropped for it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from fin_infra.providers.alpaca.simulator import SimBrokerage
from fin_infra.providers.teller.simulator import SimAccount, SimTransaction, sandbox
from fin_infra.store import Stream
from tests.broker import BrokerWorld, position
from tests.guards import guarded
from tests.world import START, World, bought, card, checking

KINDS = ("balance_unexplained", "running_balance_broken", "holdings_total")


def told(world: World | BrokerWorld) -> dict[str, str]:
    """Open findings of ours: {kind and subject: detail}."""
    rows = [row for row in world.rows("findings") if row["kind"] in KINDS and row["state"] == "open"]
    return {f"{row['kind']} {row['subject']}": row["detail"] for row in rows}


def day(after: int) -> str:
    return (START.date() + timedelta(days=after)).isoformat()


class Ledger:
    """An account whose ledger moves with its rows, as a bank's does; `sign`: of an amount in the ledger."""

    def __init__(self, world: World, account: SimAccount, *, running: bool = False) -> None:
        self.world, self.account, self.running = world, account, running
        self.rows = 0

    def move(self, amount: str, on: str) -> None:
        self.account.ledger = str(Decimal(self.account.ledger) + Decimal(amount))

    def book(self, amount: str, on: str, *, listed: bool = True) -> SimTransaction:
        self.move(amount, on)
        self.rows += 1
        row = bought(f"{self.account.id}_{self.rows:03}", amount, on)
        row.running_balance = self.account.ledger if self.running else None
        return self.world.bank.add(self.account.id, row) if listed else row


async def days(world: World, count: int = 1) -> None:
    """The balances are read, then the rows: which comes first is chance otherwise."""
    for _ in range(count):
        world.clock.advance(timedelta(days=1))
        async with world.runtime() as runtime:
            [connection] = runtime.connections.all()
            for dataset in ("accounts", "transactions"):
                await runtime.engine.sync(dataset, connection.connection_id)


# -- two balances and the rows between -------------------------------------------------------------------------------------


@guarded(
    "a balance that nothing explains goes unsaid", "engine/identities.py",
    "doubts = balance_doubts(spot.get(\"anchor\", {}), account.account_id)",
    "doubts: list[Doubt] = []",
)  # fmt: skip
@guarded(
    "a card's debt counts as money", "providers/teller/frames.py",
    '"current": [signed(page.ledger) for page, _ in pages],',
    '"current": [page.ledger for page, _ in pages],',
)  # fmt: skip
@pytest.mark.parametrize("kind", [checking, card])
async def test_t46_what_moved_the_balance_and_is_no_row_is_told_until_it_is_one(world: World, kind: type) -> None:
    ledger = Ledger(world, kind("acc_1"))
    world.bank.enroll("tok", ledger.account)
    ledger.book("-10.25", day(-20))
    await world.link()
    await world.work()
    for n in range(1, 5):
        ledger.book(f"-{n}.10", day(n))
        await days(world)
    assert told(world) == {}
    lost = ledger.book("-17.35", day(5), listed=False)
    ledger.book("250.00", day(5))
    await days(world, 4)
    off = "-17.35" if kind is checking else "17.35"
    assert list(told(world)) == ["balance_unexplained acc_1"]
    assert f"moved by {off} more" in told(world)["balance_unexplained acc_1"]
    assert len(world.ids()) == 6
    ledger.book("-3.33", day(9))
    await days(world)
    assert f"moved by {off} more" in told(world)["balance_unexplained acc_1"], "whatever else happens"
    world.bank.add("acc_1", lost)
    await days(world)
    assert told(world) == {}
    assert [row["state"] for row in world.rows("findings") if row["kind"] in KINDS] == ["resolved"]


async def test_t46_pending_rows_posting_corrections_and_removals_explain_what_they_move(world: World) -> None:
    ledger = Ledger(world, card("acc_1"))
    world.bank.enroll("tok", ledger.account)
    rows = [ledger.book(f"{n}.50", day(-n)) for n in range(1, 9)]
    await world.link()
    await world.work()
    await days(world, 2)
    world.bank.add("acc_1", bought("p1", "31.00", day(2), status="pending"))  # moves no ledger yet
    await days(world)
    world.bank.post("acc_1", "p1", on=day(4), amount="33.00", new_id="q1")
    ledger.move("33.00", day(4))
    await days(world)
    rows[0].amount = "2.50"
    ledger.move("1.00", day(5))
    await days(world)
    world.bank.remove("acc_1", rows[1].id)
    ledger.move("-2.50", day(6))
    await days(world, 3)
    for n in range(9, 60):  # the window moves over them all
        ledger.book(f"{n}.01", day(n))
        await days(world)
    assert told(world) == {}


@guarded(
    "the first difference of two feeds is told at once", "engine/identities.py",
    "if stands := _agreed(opened, past, 2):",
    "if stands := set(opened):",
)  # fmt: skip
async def test_t48_a_row_that_comes_days_after_the_balance_moved_is_no_difference(world: World) -> None:
    ledger = Ledger(world, checking("acc_1"))
    world.bank.enroll("tok", ledger.account)
    ledger.book("-5.00", day(-3))
    await world.link()
    await world.work()
    await days(world, 3)
    late: list[SimTransaction] = []
    seen = []
    for n in range(4, 15):  # each row is listed three days after it moved the balance
        late.append(ledger.book(f"-{n * n}.00", day(n), listed=False))
        if len(late) > 3:
            world.bank.add("acc_1", late.pop(0))
        await days(world)
        seen.append(told(world))
    assert seen == [{}] * 11


async def test_a_lifelike_login_agrees_with_itself(world: World) -> None:
    sandbox(world.bank, "tok", today=START.date(), days=120)
    await world.link()
    await world.work()
    await days(world, 4)
    assert told(world) == {}
    with world.store() as store:
        [connection] = {row["connection_id"] for row in world.rows("accounts")}
        body = store.cursor(Stream(connection, "transactions"), 1).body
    assert body.count('"opening"') == 3
    assert len(body) < 3 * 400


# -- running balances --------------------------------------------------------------------------------------------------------


@guarded(
    "running balances are not followed", "engine/identities.py",
    "gap = _first_gap(days)",
    "gap = None if days else _first_gap(days)",
)  # fmt: skip
async def test_t46_running_balances_that_do_not_lead_on_are_told_with_the_difference(world: World) -> None:
    ledger = Ledger(world, checking("acc_1"), running=True)
    world.bank.enroll("tok", ledger.account)
    for n in range(12):
        ledger.book(f"-{n + 1}.05", day(-15 + n // 3))
    ledger.book("-6.66", day(-9), listed=False)
    hidden = ledger.rows
    for n in range(4):
        ledger.book(f"-{n + 20}.05", day(-8 + n))
    await world.link()
    await world.work()
    assert list(told(world)) == ["running_balance_broken acc_1"]
    assert f"balances of {day(-8)} begin -6.66 beside" in told(world)["running_balance_broken acc_1"]
    assert len(world.ids()) == 16
    for n in range(1, 30):  # the gap is no longer in any answer, and stands all the same
        ledger.book("-1.00", day(n))
        await days(world)
    assert f"balances of {day(-8)} begin -6.66 beside" in told(world)["running_balance_broken acc_1"]
    assert hidden == 13


async def test_t46_a_chain_that_is_whole_again_is_told_no_more(world: World) -> None:
    ledger = Ledger(world, checking("acc_1"), running=True)
    world.bank.enroll("tok", ledger.account)
    for n in range(6):
        ledger.book(f"-{n + 1}.05", day(-8 + n))
    late = ledger.book("-6.66", day(-2), listed=False)
    ledger.book("-2.00", day(-1))
    await world.link()
    await world.work()
    assert "running_balance_broken acc_1" in told(world)
    world.bank.add("acc_1", late)
    await days(world)
    assert told(world) == {}


# -- positions, cash and the total -------------------------------------------------------------------------------------------


@guarded(
    "positions and cash may come to anything", "engine/identities.py",
    "return off if abs(off) > tolerance(values) else ZERO",
    "return ZERO",
)  # fmt: skip
async def test_t47_positions_that_do_not_add_up_to_the_account_are_told_with_the_difference(
    market: BrokerWorld,
) -> None:
    account = SimBrokerage("acc_1", cash="500", positions=[position("AAPL", "10", "25"), position("KO", "4", "60")])
    await market.link(account=account)
    await market.work()
    assert told(market) == {}
    account.exact["equity"] = "1150.10"  # the vendor's own total goes another way
    await market.work(timedelta(hours=12))
    assert list(told(market)) == ["holdings_total acc_1"]
    assert "are -160.1 more" in told(market)["holdings_total acc_1"]
    assert len(market.rows("holdings")) == 2
    account.exact["equity"] = "991.00"  # prices moved between two answers
    await market.work(timedelta(hours=12))
    assert told(market) == {}


async def test_t47_there_is_no_false_verdict_where_a_value_is_unknown_or_the_total_is_of_earlier(
    market: BrokerWorld,
) -> None:
    account = SimBrokerage("acc_1", cash="500", positions=[position("AAPL", "10", "25")])
    await market.link(account=account)
    await market.work()
    account.positions.append(position("KO", "4", "60", exact={"market_value": None}))
    await market.work(timedelta(hours=12))
    assert told(market) == {}
    account.positions[0] = position("AAPL", "10", "40")
    account.positions.pop()
    await market.sync("holdings", after=timedelta(hours=3))
    assert told(market) == {}, "the balance is hours older than the positions"
