"""T-01 … T-13: identity and duplicates."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

from tests.guards import guarded
from tests.world import World, bought, card, checking


@guarded("what the store holds already is new to it", "store/sql.py", "if old is None:", "if True:")
async def test_t01_two_jobs_for_one_connection_at_once_leave_each_row_once(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", *(bought(f"txn_{n}") for n in range(250))))
    connection = await world.link()
    async with world.runtime() as one, world.runtime() as two:
        reports = await asyncio.gather(
            *(runtime.engine.sync("transactions", connection.connection_id) for runtime in (one, two, one, two))
        )
    assert {report.outcome for report in reports} <= {"ok", "stale_cursor"}
    assert sum(report.total.inserted for report in reports if report.dataset == "transactions") == 250
    assert len(world.ids()) == len(set(world.ids())) == 250
    with world.store() as store:
        keys = store.changes().filter(dataset="transactions")["key"].list.get(2).to_list()
    assert sorted(keys) == world.ids()


@guarded(
    "every row counts as changed", "store/statements.py",
    "return all(new[i] == old[i] for i in self._compared)",
    "return False",
)  # fmt: skip
@guarded("a changed row is not written", "store/statements.py", "DO UPDATE SET {updates}", "DO NOTHING")
async def test_t02_a_changed_row_is_changed_not_added_and_replaying_it_does_nothing(world: World) -> None:
    row = bought("txn_1", "-10.00")
    world.bank.enroll("tok", checking("acc_1", row))
    await world.link()
    await world.work()
    row.amount, row.description = "-12.50", "Corner Grocery, corrected"
    second = await world.next_day()
    third = await world.next_day()
    fourth = await world.next_day()
    assert [r.total.updated for r in second if r.dataset == "transactions"] == [1]
    assert [(r.total.inserted, r.total.updated, r.total.unchanged) for r in (*third, *fourth)
            if r.dataset == "transactions"] == [(0, 0, 1)] * 2  # fmt: skip
    [kept] = world.rows("transactions")
    assert (kept["transaction_id"], kept["amount"]) == ("txn_1", Decimal("-12.5"))
    assert len(world.rows("transactions", history=True)) == 2


@guarded("no match of pending and posted", "engine/identity.py", "return dict(sure.rows()),", "return {},")
async def test_t03_a_posted_row_with_a_new_id_supersedes_its_pending_row(world: World) -> None:
    world.bank.enroll("tok", card("acc_2", bought("txn_p", "31.00", "2026-11-23", status="pending")))
    await world.link()
    await world.work()
    world.bank.post("acc_2", "txn_p", on="2026-11-25", new_id="txn_n")
    await world.next_day()
    [row] = world.rows("transactions")
    assert (row["transaction_id"], row["status"], row["pending_transaction_id"]) == ("txn_n", "posted", "txn_p")
    assert row["amount"] == Decimal("-31")
    await world.next_day()
    assert world.rows("transactions")[0]["pending_transaction_id"] == "txn_p"


@guarded(
    "an ambiguous posting is guessed", "engine/identity.py",
    '.filter(pl.col("transaction_id").is_unique() & ',
    ".filter(True | ",
)  # fmt: skip
async def test_t03_an_ambiguous_posting_goes_to_review_and_a_vanished_pending_row_leaves_the_totals(
    world: World,
) -> None:
    pending = [bought(f"txn_p{n}", "5.00", "2026-11-23", status="pending") for n in (1, 2)]
    world.bank.enroll("tok", card("acc_2", *pending))
    await world.link()
    await world.work()
    world.bank.post("acc_2", "txn_p1", on="2026-11-24", new_id="txn_n")
    world.bank.remove("acc_2", "txn_p2")
    await world.next_day()
    statuses = {row["transaction_id"]: row["status"] for row in world.rows("transactions")}
    assert statuses == {"txn_n": "review", "txn_p1": "expired", "txn_p2": "expired"}
    assert [f["kind"] for f in world.rows("findings")] == ["ambiguous_match"]
    await world.next_day()
    assert {row["transaction_id"]: row["status"] for row in world.rows("transactions")} == statuses


@guarded(
    "a pending row outlives its posting", "engine/reconcile.py",
    "[*posted_gone.to_list(), *sorted({*matches.values(), *by_link})]",
    "posted_gone.to_list()",
)  # fmt: skip
async def test_t04_posted_supersedes_pending_whatever_the_order_of_rows(world: World) -> None:
    world.bank.enroll("tok", card("acc_2", bought("txn_p", "7.00", "2026-11-22", status="pending"), bought("txn_x")))
    await world.link()
    await world.work()
    world.bank.post("acc_2", "txn_p", on="2026-11-24", new_id="txn_n")
    world.bank.account("acc_2").transactions.reverse()
    await world.next_day()
    assert {row["transaction_id"]: row["status"] for row in world.rows("transactions")} == {
        "txn_n": "posted",
        "txn_x": "posted",
    }


@guarded(
    "date and amount make an identity", "providers/teller/frames.py",
    '"transaction_id": _texts(rows, "id"),',
    "\"transaction_id\": [f\"{row.get('date')} {row.get('amount')}\" for row in rows],",
)  # fmt: skip
async def test_t09_two_real_identical_purchases_stay_two(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1"), bought("txn_2")))
    await world.link()
    await world.work()
    await world.next_day()
    assert world.ids() == ["txn_1", "txn_2"]


@guarded(
    "a blank id stays an id", "datasets/base.py",
    'return pl.when(column != "").then(column).alias(name)',
    "return column.alias(name)",
)  # fmt: skip
async def test_t10_blank_ids_match_nothing_and_the_rest_commits(world: World) -> None:
    rows = [bought(" ", "-1.00"), bought("", "-2.00"), bought("txn_3", "-3.00")]
    world.bank.enroll("tok", checking("acc_1", *rows), checking("acc_9", bought(" ", "-4.00")))
    await world.link()
    first = await world.work()
    await world.next_day()
    assert world.ids() == ["txn_3"]
    assert [r.outcome for r in first if r.dataset == "transactions"] == ["partial"]
    findings = [f for f in world.rows("findings") if f["kind"] == "row_invalid"]
    assert findings
    assert all("transaction_id is missing" in f["detail"] for f in findings)


@guarded("removed rows stay", "store/sql.py", "statements.remove(sql, gone)", "pass")
async def test_t13_a_removed_row_leaves_the_table_stays_in_history_and_revives(world: World) -> None:
    rows = [bought(f"txn_{n}", on="2026-11-20") for n in range(20)]
    world.bank.enroll("tok", checking("acc_1", *rows))
    await world.link()
    await world.work()
    gone = world.bank.remove("acc_1", "txn_7")
    [report] = [r for r in await world.next_day() if r.dataset == "transactions"]
    assert report.total.removed == 1
    assert "txn_7" not in world.ids()
    before = world.rows("transactions", as_of=world.clock() - timedelta(hours=1))
    assert "txn_7" in {row["transaction_id"] for row in before}
    world.bank.add("acc_1", gone)
    await world.next_day()
    assert "txn_7" in world.ids()
    versions = [v for v in world.rows("transactions", history=True) if v["transaction_id"] == "txn_7"]
    assert [v["known_to"] is None for v in versions] == [False, True]


@guarded(
    "an empty answer empties the table", "engine/reconcile.py",
    "confirmed = suspect if suspect <=",
    "confirmed = frozenset(vanished['transaction_id']) if suspect is not None or suspect <=",
)  # fmt: skip
async def test_t36_an_empty_answer_removes_nothing_until_a_second_read_agrees(world: World) -> None:
    account = checking("acc_1", *(bought(f"txn_{n}") for n in range(10)))
    world.bank.enroll("tok", account)
    await world.link()
    await world.work()
    kept, account.transactions = account.transactions, []
    [report] = [r for r in await world.next_day() if r.dataset == "transactions"]
    assert report.outcome == "partial"
    assert len(world.ids()) == 10
    assert [f["state"] for f in world.rows("findings") if f["kind"] == "shrink_guard"] == ["open"]
    account.transactions = kept
    await world.next_day()
    assert len(world.ids()) == 10
    assert [f["state"] for f in world.rows("findings") if f["kind"] == "shrink_guard"] == ["resolved"]
    account.transactions = []
    await world.next_day()
    await world.next_day()
    assert world.ids() == []


async def test_t36_an_empty_list_of_accounts_closes_none_until_a_second_read_agrees(world: World) -> None:
    enrollment = world.bank.enroll("tok", checking("acc_1"), card("acc_2"))
    await world.link()
    await world.work()
    accounts, enrollment.accounts = enrollment.accounts, []
    await world.next_day()
    assert [row["status"] for row in world.rows("accounts")] == ["open", "open"]
    enrollment.accounts = accounts[:1]
    await world.next_day()
    assert [row["status"] for row in world.rows("accounts")] == ["open", "closed"]
    assert len(world.rows("balances")) == 2
