"""T-11, T-12, T-21, T-45, T-46, T-48: whose id a row has, what a stream remembers, what is taken as the vendor says it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from fin_infra.providers.alpaca.simulator import SimActivity, SimBrokerage
from fin_infra.store import Stream
from tests.broker import BrokerWorld, position
from tests.guards import guarded
from tests.world import START, World, bought, card, checking

HOUR = timedelta(hours=1)
BUY_AT = datetime(2026, 11, 20, 15, tzinfo=UTC)


# -- T-11, T-12: identity is the vendor's id and nothing else --------------------------------------------------------------


@guarded(
    "an identity is made of what a merchant is called", "providers/teller/frames.py",
    '"transaction_id": _texts(rows, "id"),',
    '"transaction_id": [f"{row.get(\'id\')} {row.get(\'description\')}" for row in rows],',
)  # fmt: skip
async def test_t11_a_whole_history_read_again_under_other_names_adds_and_removes_nothing(world: World) -> None:
    rows = [bought(f"txn_{n:03}", f"-{n + 1}.00", f"2026-{1 + n % 10:02}-15") for n in range(150)]
    rows.sort(key=lambda row: row.date, reverse=True)
    world.bank.enroll("tok", checking("acc_1", *rows))
    connection = await world.link()
    await world.work()
    before = world.ids()
    assert before == sorted(row.id for row in rows)
    for row in rows:  # the bank tidies up what it says of a row, and its history is asked for as a whole
        row.description, row.category, row.counterparty = f"{row.description} #12", "shopping", "CORNER GROCERY"
    async with world.runtime() as runtime:
        runtime.connections.relink(connection.connection_id, {"access_token": "tok"})
    [report] = [r for r in await world.work() if r.dataset == "transactions"]
    assert report.total._asdict() == {"inserted": 0, "updated": 150, "removed": 0, "unchanged": 0}
    assert world.ids() == before
    [again] = [r for r in await world.next_day() if r.dataset == "transactions"]
    assert (again.total.inserted, again.total.updated) == (0, 0)
    assert [row for row in world.rows("findings") if row["kind"] == "shrink_guard"] == []


@guarded(
    "an order's reference is taken for a row's id", "providers/alpaca/frames.py",
    '"activity_id": [_text(row, "id") for row in rows],',
    '"activity_id": [_text(row, "order_id") or _text(row, "id") for row in rows],',
)  # fmt: skip
async def test_t12_fills_fee_and_tax_of_one_order_stay_as_many_as_they_are(market: BrokerWorld) -> None:
    account = SimBrokerage("acc_1", positions=[position("AAPL")])
    fill = SimActivity("FILL", at=BUY_AT, symbol="AAPL", qty="4", price="25", order="order-1")
    for activity in (
        fill,
        replace(fill, at=BUY_AT + timedelta(seconds=1), qty="6"),
        SimActivity("FEE", on=BUY_AT.date(), net_amount="-0.02", description="order-1", order="order-1"),
        SimActivity("DIVNRA", on=BUY_AT.date(), net_amount="-1.50", description="order-1", order="order-1"),
    ):
        account.record(activity)
    await market.link(account=account)
    for _ in range(3):
        await market.work(6 * HOUR)
        rows = market.rows("activities")
        assert sorted((row["kind"], row["amount"]) for row in rows) == [
            ("buy", -150), ("buy", -100), ("fee", Decimal("-0.02")), ("tax", Decimal("-1.5")),
        ]  # fmt: skip
    assert market.findings() == {}


@guarded(
    "of two different rows under one id the last wins, and nobody hears of it", "engine/changes.py",
    "for twin in built.differing:",
    "for twin in ():",
)  # fmt: skip
async def test_t12_two_different_rows_under_one_id_are_said_and_not_silently_one(market: BrokerWorld) -> None:
    account = SimBrokerage("acc_1", positions=[position("AAPL")])
    for qty in ("4", "6"):
        account.record(SimActivity("FILL", at=BUY_AT, symbol="AAPL", qty=qty, price="25", id="20261120::same"))
    await market.link(account=account)
    await market.work(6 * HOUR)
    assert [row["activity_id"] for row in market.rows("activities")] == ["20261120::same"]
    assert market.findings() == {"differing_twins": "came twice with different contents"}


# -- T-21: what is remembered --------------------------------------------------------------------------------------------


@guarded(
    "accounts of long ago are remembered for ever", "engine/sync.py",
    'spots = {k: v for k, v in place.get("accounts", {}).items() if k in kept}',
    'spots = dict(place.get("accounts", {}))',
)  # fmt: skip
async def test_t21_what_a_stream_remembers_is_bounded_by_its_accounts_not_by_time(world: World) -> None:
    """Two years of syncs: rows come, wait, post under new ids, leave, and every account is replaced in time."""
    enrollment = world.bank.enroll("tok", checking("acc_0_1"), card("acc_0_2"))
    connection = await world.link()
    await world.work()
    stream = Stream(connection.connection_id, "transactions")
    sizes, pages, body = [], [], ""
    async with world.runtime() as runtime:
        for week in range(0, 104, 2):
            day = (START + timedelta(days=7 * (week + 2))).date()
            if week % 8 == 6:  # the bank closes one and opens another, of other last digits
                old = enrollment.accounts.pop(0)
                fresh = (checking if old.kind == "depository" else card)(f"acc_{week}_n")
                fresh.last_four = f"{week:04}"
                enrollment.accounts.append(fresh)
            for account in enrollment.accounts:
                rows = account.transactions
                for row in [row for row in rows if row.status == "pending"]:
                    world.bank.post(account.id, row.id, on=day.isoformat(), new_id=f"{row.id}_posted")
                if len(rows) > 3:
                    world.bank.remove(account.id, rows[1].id)
                for n in range(3):
                    new = bought(f"t{week}_{account.id}_{n}", f"{week}.{n}", str(day))
                    new.status = "pending" if n == 2 else "posted"
                    world.bank.add(account.id, new)
            world.clock.advance(timedelta(days=14))
            for dataset in ("accounts", "transactions"):
                await runtime.engine.sync(dataset, connection.connection_id)
            body = runtime.store.cursor(stream, 1).body
            sizes.append(len(body))
            pages.append(len(runtime.store.staged_pages(stream, 1)))
    assert len(world.rows("transactions")) > 200
    assert max(sizes) < 2 * 400, "of two accounts, whatever became of their rows"
    assert max(sizes[26:]) <= max(sizes[:26]) + 20
    assert set(pages) == {0}
    assert json.loads(body)["accounts"].keys() == {account.id for account in enrollment.accounts}


# -- T-45: no lots -------------------------------------------------------------------------------------------------------


@guarded(
    "a basis that nobody stated is worked out", "providers/alpaca/frames.py",
    '"cost_basis": [_fine(_short(row, "cost_basis")) for row in rows],',
    '"cost_basis": [_fine(_short(row, "cost_basis") or _short(row, "market_value")) for row in rows],',
)  # fmt: skip
async def test_t45_the_basis_after_a_sale_is_the_vendors_own_and_trades_dilute_none(market: BrokerWorld) -> None:
    """No lots are kept, so none can be wrong: the total is the vendor's, whatever trades we know of, or unknown."""
    account = SimBrokerage("acc_1", cash="100000")
    for n, (side, qty, price) in enumerate([("buy", "10", "20"), ("sell", "10", "30"), ("buy", "5", "40")]):
        moment = BUY_AT + timedelta(minutes=n)
        account.book(SimActivity("FILL", at=moment, symbol="AAPL", side=side, qty=qty, price=price))
    [held] = account.positions
    held.current_price = held.lastday_price = "41"
    gift = position("KO", "8", "60", exact={"cost_basis": None})  # came in by a transfer: nobody knows at what cost
    account.positions.append(gift)
    account.record(SimActivity("ACATS", on=BUY_AT.date(), symbol="KO", qty="8", net_amount="0"))
    await market.link(account=account)
    await market.work()
    found = {row["instrument"]: (row["quantity"], row["cost_basis"]) for row in market.rows("holdings")}
    assert found == {"us:AAPL": (5, 200), "us:KO": (8, None)}
    account.book(SimActivity("FILL", at=BUY_AT + HOUR, symbol="KO", side="buy", qty="2", price="61"))
    gift.exact["cost_basis"] = None
    await market.work(6 * HOUR)
    found = {row["instrument"]: (row["quantity"], row["cost_basis"]) for row in market.rows("holdings")}
    assert found == {"us:AAPL": (5, 200), "us:KO": (10, None)}


# -- T-46: the sign contract ---------------------------------------------------------------------------------------------

SIGNS = [  # kind of account, what it is, the amount as Teller says it, as ours
    ("depository", "salary", "1500.00", "1500"),
    ("depository", "purchase", "-20.00", "-20"),
    ("depository", "debit interest", "-3.10", "-3.1"),
    ("depository", "credit interest", "0.75", "0.75"),
    ("depository", "payment to the card", "-240.00", "-240"),
    ("credit", "purchase", "20.00", "-20"),
    ("credit", "refund", "-5.00", "5"),
    ("credit", "payment received", "-240.00", "240"),
    ("credit", "debit interest", "12.34", "-12.34"),
    ("credit", "fee", "+35.00", "-35"),
]


@guarded(
    "debit interest is income", "providers/teller/frames.py",
    '"amount": [signed(text) for text in _texts(rows, "amount")],',
    '"amount": [text and text.strip("-") if row.get("description") == "debit interest" else signed(text)'
    ' for row, text in zip(rows, _texts(rows, "amount"), strict=True)],',
)  # fmt: skip
@pytest.mark.parametrize("kind", ["depository", "credit"])
async def test_t46_tellers_signs_by_kind_of_account(world: World, kind: str) -> None:
    mine = [row for row in SIGNS if row[0] == kind]
    rows = [bought(f"txn_{n}", amount, description=what) for n, (_, what, amount, _) in enumerate(mine)]
    world.bank.enroll("tok", (checking if kind == "depository" else card)("acc_1", *rows))
    await world.link()
    await world.work()
    assert [(row["description"], row["amount"]) for row in world.rows("transactions")] == [
        (what, Decimal(ours)) for _, what, _, ours in mine
    ]
    [balance] = world.rows("balances")
    assert balance["current"] == (100 if kind == "depository" else -50), "what is owed on a card is negative"


BROKER_SIGNS = [  # type, side or quantity, net amount, then our kind, quantity and amount
    (SimActivity("FILL", symbol="AAPL", side="buy", qty="4", price="25"), "buy", 4, -100),
    (SimActivity("FILL", symbol="AAPL", side="sell", qty="4", price="25"), "sell", -4, 100),
    (SimActivity("FILL", symbol="AAPL", side="sell_short", qty="2", price="25"), "sell", -2, 50),
    (SimActivity("DIV", symbol="AAPL", qty="10", net_amount="1.5"), "dividend", None, Decimal("1.5")),
    (SimActivity("DIVNRA", symbol="AAPL", net_amount="-0.5"), "tax", None, Decimal("-0.5")),
    (SimActivity("INT", net_amount="0.4"), "interest", None, Decimal("0.4")),
    (SimActivity("INT", net_amount="-7.25"), "interest", None, Decimal("-7.25")),
    (SimActivity("FEE", net_amount="-0.02"), "fee", None, Decimal("-0.02")),
    (SimActivity("CSD", net_amount="500"), "deposit", None, 500),
    (SimActivity("CSW", net_amount="-500"), "withdrawal", None, -500),
    (SimActivity("JNLC", net_amount="-30"), "transfer_out", None, -30),
    (SimActivity("ACATS", symbol="KO", qty="-8", net_amount="0"), "transfer_out", -8, 0),
]


@guarded(
    "margin interest is income", "providers/alpaca/frames.py",
    '"amount": [_cash_of(row) if fill else _text(row, "net_amount") ',
    '"amount": [_cash_of(row) if fill else (_text(row, "net_amount") or "").strip("-") ',
)  # fmt: skip
async def test_t46_alpacas_signs_by_type_of_activity(market: BrokerWorld) -> None:
    account = SimBrokerage("acc_1", cash="-250", positions=[position("TSLA", "-3", "100", side="short")])
    ids = []
    for n, (activity, *_) in enumerate(BROKER_SIGNS):
        when = {"at": BUY_AT + timedelta(minutes=n)} if activity.type == "FILL" else {"on": BUY_AT.date()}
        ids.append(account.record(replace(activity, **when)).id)
    await market.link(account=account)
    await market.work()
    found = {row["activity_id"]: (row["kind"], row["quantity"], row["amount"]) for row in market.rows("activities")}
    assert [found[row_id] for row_id in ids] == [(kind, moved, cash) for _, kind, moved, cash in BROKER_SIGNS]
    [short] = market.rows("holdings")
    assert (short["quantity"], short["market_value"], short["cost_basis"]) == (-3, -300, -300)
    [balance] = market.rows("balances")
    assert (balance["cash"], balance["current"]) == (-250, -550), "owed to the broker"


# -- T-48: each product as of its own time -------------------------------------------------------------------------------


@guarded(
    "an instrument without a position is not priced", "store/sql.py",
    'tables.HISTORY["holdings"], tables.TABLES["activities"])',
    'tables.HISTORY["holdings"])',
)  # fmt: skip
async def test_t48_each_product_says_as_of_when_it_is_and_nothing_is_inferred_from_another(market: BrokerWorld) -> None:
    account = SimBrokerage("acc_1", cash="1000")
    market.has_bars("AAPL", "KO")
    await market.link(account=account)
    await market.work_after("2026-11-24")
    account.record(SimActivity("FILL", at=market.clock() - HOUR, symbol="KO", qty="1", price="60"))
    await market.sync("activities", after=HOUR)
    read_at = market.clock()
    account.positions = [position("AAPL")]  # no trade of it is told yet
    await market.sync("holdings", after=HOUR)
    await market.sync("prices", after=HOUR)
    assert [(r["instrument"], r["as_of"]) for r in market.rows("holdings")] == [("us:AAPL", read_at + HOUR)]
    assert [row["instrument"] for row in market.rows("activities")] == ["us:KO"]
    assert {row["instrument"] for row in market.rows("prices")} == {"us:AAPL", "us:KO"}
    fresh = {row["dataset"]: row["last_success_at"] for row in market.rows("streams")}
    assert (fresh["activities"], fresh["holdings"], fresh["prices"]) == (read_at, read_at + HOUR, read_at + 2 * HOUR)
    [balance] = market.rows("balances")
    assert balance["as_of"] < read_at, "as of its own answer, which knows nothing of the position"
