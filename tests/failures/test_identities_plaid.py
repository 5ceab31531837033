"""T-46 and T-47 at Plaid: a cursor stream tells changes alone, and its balances and rows are held together all the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.guards import guarded
from tests.plaid_world import PlaidWorld, bank, bought, broker, card, investment, plaid_of
from tests.world import START


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


SIGNS = [  # account, what it is, the amount as Plaid says it (what goes out is positive), as ours
    ("acc_1", "salary", "-1500", "1500"),
    ("acc_1", "purchase", "20.00", "-20"),
    ("acc_1", "debit interest", "3.10", "-3.1"),
    ("acc_1", "payment to the card", "240", "-240"),
    ("acc_2", "purchase", "20.00", "-20"),
    ("acc_2", "refund", "-5.00", "5"),
    ("acc_2", "payment received", "-240", "240"),
    ("acc_2", "debit interest", "12.34", "-12.34"),
]


@guarded(
    "what goes out comes in", "providers/plaid/frames.py",
    '"amount": [_major(row, negated(text(row, "amount"))) for row in rows],',
    '"amount": [_major(row, text(row, "amount")) for row in rows],',
)  # fmt: skip
async def test_t46_plaids_signs_by_kind_of_account(world: PlaidWorld) -> None:
    loan = bank("acc_3", type="loan", subtype="mortgage", mask="7777", current="1000", available=None)
    await world.link(bank(), card(), loan)
    for n, (account, what, amount, _) in enumerate(SIGNS):
        world.item.add(bought(f"t{n}", amount, account_id=account, name=what))
    await world.work()
    found = {row["transaction_id"]: row["amount"] for row in world.rows("transactions")}
    assert found == {f"t{n}": Decimal(ours) for n, (*_, ours) in enumerate(SIGNS)}
    owed = {row["account_id"]: row["current"] for row in world.rows("balances")}
    assert owed == {"acc_1": 100, "acc_2": -50, "acc_3": -1000}


@guarded(
    "what a step of a cursor moved is forgotten", "engine/delta.py",
    "anchors[vendor_id] = stepped(anchors.get(vendor_id, {}), held, done.rows, done.removed)",
    "pass",
)  # fmt: skip
@pytest.mark.parametrize(
    ("account", "order"), [("acc_1", ("accounts", "transactions")), ("acc_2", ("transactions", "accounts"))]
)
async def test_t46_a_balance_that_no_row_explains_is_told_until_one_does(
    world: PlaidWorld, account: str, order: tuple[str, str]
) -> None:
    await world.link(bank(), card())
    item, outward = world.item, -1 if account == "acc_1" else 1  # a card's balance is what is owed

    def moved(amount: str) -> None:
        held = item.account(account)
        held.current = str(Decimal(held.current or "0") + outward * Decimal(amount))

    async def days(count: int = 1) -> None:
        for _ in range(count):
            await world.sync(order[0], after=timedelta(days=1))
            await world.sync(order[1])

    item.add(bought("t0", "5.00", account_id=account))
    await world.work()
    for n in range(1, 7):
        day = str((START + timedelta(days=n)).date())
        item.add(bought(f"t{n}", f"{n}.10", day, account_id=account))
        moved(f"{n}.10")
        await days()
    item.modify("t2", amount="4.10")
    moved("2.00")
    item.remove("t3")
    moved("-3.10")
    item.add(bought("p1", "9.99", "2026-12-01", pending=True, account_id=account))
    await days(3)
    item.post("p1", "q1", on="2026-12-03", amount="11.00")
    moved("11.00")
    await days(3)
    assert world.findings() == {}
    moved("17.35")
    await days(3)
    assert "moved by -17.35 more" in world.findings()["balance_unexplained"]
    item.add(bought("lost", "17.35", "2026-12-07", account_id=account))
    await days(2)
    assert world.findings() == {}


@guarded(
    "older rows that are still to come count as movements", "engine/delta.py",
    "whole = run.history is not False",
    "whole = True",
)  # fmt: skip
async def test_t17_older_history_that_comes_later_moves_no_balance(world: PlaidWorld) -> None:
    await world.link(bank(), phase="INITIAL")
    item = world.item
    item.later = [bought("old", "700.00", "2026-03-01")]
    item.add(bought("t0", "5.00"))
    await world.work()
    for _ in range(4):
        await world.next_day()
    item.finish_history()
    for _ in range(6):
        await world.next_day()
    assert world.ids() == ["old", "t0"]
    assert world.findings() == {}


async def test_t47_plaids_positions_and_cash_are_the_accounts_value(world: PlaidWorld) -> None:
    await world.link(investment())
    broker(world.item)
    await world.work()
    assert world.findings() == {}
    world.item.account("acc_9").current = "1900"
    await world.sync("accounts", after=timedelta(hours=12))
    await world.sync("holdings")
    assert "holdings_total" in world.findings()
