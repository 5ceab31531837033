"""T-05 … T-08: accounts and rows that come back under other ids stay the ones they were; nothing is re-pointed by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fin_infra.connections import Connections, open_vault
from fin_infra.engine import SyncReport
from fin_infra.providers.teller.simulator import SimAccount, SimTransaction
from tests.guards import guarded
from tests.world import World, bought, card, checking

MANY = [(f"{n:02}", f"-{n + 1}.10", f"2026-11-{1 + n % 20:02}") for n in range(30)]


def rows_of(prefix: str, *, pending: bool = True) -> list[SimTransaction]:
    """Thirty rows, two of them twins, and a pending one; newest first."""
    rows = [bought(f"{prefix}_{n}", amount, on, description=f"Shop {n}") for n, amount, on in MANY]
    rows += [bought(f"{prefix}_twin{n}", "-4.50", "2026-11-21", description="Blue Door Coffee") for n in (1, 2)]
    rows += [bought(f"{prefix}_wait", "-7.00", "2026-11-23", status="pending")] if pending else []
    return sorted(rows, key=lambda row: row.date, reverse=True)


def contents(world: World) -> list[tuple[Any, ...]]:
    return sorted(
        (r["account_id"], str(r["booked_on"]), r["amount"], r["description"], r["status"])
        for r in world.rows("transactions")
    )  # fmt: skip


def findings(world: World, kind: str) -> list[dict[str, Any]]:
    return [row for row in world.rows("findings") if row["kind"] == kind and row["state"] == "open"]


async def relinked(world: World, connection_id: str, token: str) -> SyncReport:
    """A new credential, of which the transactions are asked for first of all. What came of that."""
    async with world.runtime() as runtime:
        runtime.connections.relink(connection_id, {"access_token": token})
        report = await runtime.engine.sync("transactions", connection_id)
    await world.work(timedelta(minutes=1))
    return report


@guarded(
    "accounts that come back under new ids are strangers", "engine/identity.py",
    "if len(candidates) == 1 and claimed.count(candidates[0]) == 1:",
    "if False:",
)  # fmt: skip
@guarded(
    "rows under new ids are new rows",
    "engine/identity.py",
    "    if vanished.is_empty() or new.is_empty():\n        return {}\n    gone",
    "    return {}\n    gone",
)
@guarded(
    "a new credential asks under old ids",
    "engine/sync.py",
    "known = run.source.needs_accounts and self._accounts_known(run, provider)",
    "known = run.source.needs_accounts",
)
async def test_t05_a_relink_with_new_account_and_row_ids_doubles_nothing(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", *rows_of("old")))
    connection = await world.link()
    await world.work()
    before, ids = contents(world), world.ids()
    world.bank.enrollments.clear()
    world.bank.enroll("tok2", checking("acc_9", *rows_of("new")))
    report = await relinked(world, connection.connection_id, "tok2")
    assert (report.outcome, report.accounts) == ("ok", {})
    assert (contents(world), world.ids()) == (before, ids)
    assert [row["account_id"] for row in world.rows("accounts")] == ["acc_1"]
    assert [row["account_id"] for row in world.rows("balances")] == ["acc_1"]
    assert findings(world, "shrink_guard") == []
    world.bank.add("acc_9", bought("new_99", "-1.00", "2026-11-24"))
    world.bank.post("acc_9", "new_wait", on="2026-11-24", new_id="new_posted")
    await world.next_day()
    await world.next_day()
    assert world.ids() == sorted([*(row for row in ids if row != "old_wait"), "new_99", "new_posted"])
    [posted] = [row for row in world.rows("transactions") if row["transaction_id"] == "new_posted"]
    assert (posted["account_id"], posted["pending_transaction_id"]) == ("acc_1", "old_wait")


@guarded(
    "idle links keep their accounts to themselves",
    "engine/linking.py",
    "mine = [connection_id, *store.idle_connections(tenant)]",
    "mine = [connection_id]",
)
async def test_t05_a_second_link_after_the_first_was_removed_goes_on_with_its_accounts(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", *rows_of("old")))
    first = await world.link()
    await world.work()
    before, ids = contents(world), world.ids()
    with world.store() as store:
        Connections(store, open_vault(world.settings), world.clock).remove(first.connection_id)
    world.bank.enrollments.clear()
    world.bank.enroll("tok2", checking("acc_9", *rows_of("new")))
    second = await world.link("tok2")
    await world.work(timedelta(minutes=1))
    assert (contents(world), world.ids()) == (before, ids)
    assert {row["connection_id"] for row in world.rows("transactions")} == {second.connection_id}


@guarded(
    "an account that is linked twice goes unsaid", "engine/linking.py",
    'in continued(new, held.filter(~pl.col("connection_id").is_in(mine)), {}).sure:',
    "in ():",
)  # fmt: skip
@guarded(
    "a link in use loses its account to another",
    "engine/linking.py",
    'free = held.filter(pl.col("connection_id").is_in(mine))',
    "free = held",
)
async def test_t05_a_second_link_beside_one_in_use_is_not_merged_but_told(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    world.bank.enroll("tok2", checking("acc_9", bought("txn_9")))
    await world.link()
    await world.work()
    await world.link("tok2")
    await world.work(timedelta(minutes=1))
    assert sorted(row["account_id"] for row in world.rows("accounts")) == ["acc_1", "acc_9"]
    assert [row["subject"] for row in findings(world, "linked_twice")] == ["acc_9"]


async def test_t05_another_tenant_never_goes_on_with_it(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    first = await world.link(tenant="ada")
    await world.work()
    with world.store() as store:
        Connections(store, open_vault(world.settings), world.clock).remove(first.connection_id)
    world.bank.enroll("tok2", checking("acc_9", bought("txn_9")))
    await world.link("tok2", tenant="bob")
    await world.work(timedelta(minutes=1))
    assert [(r["tenant_id"], r["account_id"]) for r in world.rows("accounts", tenant="bob")] == [("bob", "acc_9")]


@guarded(
    "the last digits tell no accounts apart", "engine/identity.py",
    '("institution", "mask", "kind", "subkind", "currency")',
    '("institution", "kind", "subkind", "currency")',
)  # fmt: skip
async def test_t06_an_account_of_the_same_name_is_another_account(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1"), name="Everyday", last_four="1111"))
    connection = await world.link()
    await world.work()
    world.bank.enrollments.clear()
    world.bank.enroll("tok2", checking("acc_9", bought("txn_9", "-99.00"), name="Everyday", last_four="2222"))
    await relinked(world, connection.connection_id, "tok2")
    await world.next_day()
    status = {row["account_id"]: row["status"] for row in world.rows("accounts")}
    assert status == {"acc_1": "closed", "acc_9": "open"}
    assert {(r["account_id"], r["transaction_id"]) for r in world.rows("transactions")} == {
        ("acc_1", "txn_1"), ("acc_9", "txn_9"),
    }  # fmt: skip


@guarded(
    "the first of two candidates is taken", "engine/identity.py",
    "if len(candidates) == 1 and claimed.count(candidates[0]) == 1:",
    "if candidates:",
)  # fmt: skip
async def test_t06_two_candidates_are_no_answer(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")), checking("acc_2", bought("txn_2")))
    connection = await world.link()
    await world.work()
    world.bank.enrollments.clear()
    world.bank.enroll("tok2", checking("acc_9", bought("txn_9", "-99.00")))
    await relinked(world, connection.connection_id, "tok2")
    [finding] = findings(world, "ambiguous_account")
    assert finding["subject"] == "acc_9"
    assert "acc_1, acc_2" in finding["detail"]
    assert ("acc_9", "txn_9") in {(r["account_id"], r["transaction_id"]) for r in world.rows("transactions")}


@guarded(
    "an account still listed goes on under another id",
    "engine/linking.py",
    '        ~pl.col("account_id").is_in(listed["account_id"].to_list()) & (pl.col("provider")',
    '        True & (pl.col("provider")',
)
async def test_t06_the_old_account_must_be_gone_from_the_list(world: World) -> None:
    enrollment = world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    await world.work()
    enrollment.accounts.append(checking("acc_9", bought("txn_9", "-99.00")))
    await world.next_day()
    await world.next_day()
    assert {(r["account_id"], r["transaction_id"]) for r in world.rows("transactions")} == {
        ("acc_1", "txn_1"), ("acc_9", "txn_9"),
    }  # fmt: skip


@guarded(
    "two listed accounts stay one",
    "engine/linking.py",
    "            accounts = {**accounts, vendor_id: vendor_id}\n",
    "            pass\n",
)
async def test_t06_an_account_listed_beside_the_one_it_was_taken_for_is_its_own_again(world: World) -> None:
    enrollment = world.bank.enroll("tok", checking("acc_1", bought("txn_1", "-1.00", "2026-11-20")))
    await world.link()
    await world.work()
    old, enrollment.accounts[:] = enrollment.accounts[0], [checking("acc_9", bought("txn_9", "-9.00", "2026-11-21"))]
    await world.next_day()
    assert [row["account_id"] for row in world.rows("accounts")] == ["acc_1"]
    enrollment.accounts.insert(0, old)
    await world.next_day()
    assert sorted(row["account_id"] for row in world.rows("accounts")) == ["acc_1", "acc_9"]
    world.bank.add("acc_1", bought("txn_2", "-2.00", "2026-11-25"))
    world.bank.add("acc_9", bought("txn_8", "-8.00", "2026-11-25"))
    await world.next_day()
    where = {r["transaction_id"]: r["account_id"] for r in world.rows("transactions")}
    assert (where["txn_2"], where["txn_8"]) == ("acc_1", "acc_9")


@guarded(
    "how far history was read is the connection's, not the account's", "providers/teller/client.py",
    "if since := ask.since.get(account.vendor_id):",
    "if since := min(ask.since.values(), default=None):",
)  # fmt: skip
async def test_t07_an_account_that_is_new_at_an_old_link_gets_its_whole_history(world: World) -> None:
    enrollment = world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    for _ in range(3):
        await world.next_day()
    old = [bought(f"old_{n}", "-1.00", f"2024-{1 + n % 12:02}-10") for n in range(150)]
    enrollment.accounts.append(card("acc_2", *sorted(old, key=lambda row: row.date, reverse=True)))
    await world.next_day()  # listed now, perhaps after the transactions were read
    await world.next_day()
    assert len([row for row in world.rows("transactions") if row["account_id"] == "acc_2"]) == 150


@guarded(
    "rows that come back under new ids are other rows", "engine/reconcile.py",
    "again = reissued(vanished, new)",
    "again: dict[str, Found] = {}",
)  # fmt: skip
async def test_t08_a_block_of_days_under_new_ids_stays_the_rows_they_were(world: World) -> None:
    account: SimAccount = checking("acc_1", *rows_of("a", pending=False))
    world.bank.enroll("tok", account)
    await world.link()
    await world.work()
    ids = world.ids()
    for row in account.transactions:
        if row.date >= "2026-11-15":
            row.id = row.id.replace("a_", "b_")
            row.description += " (reworded)" if row.date == "2026-11-20" else ""
    await world.next_day()
    await world.next_day()
    assert world.ids() == ids
    assert findings(world, "shrink_guard") == []
    reworded = [row for row in world.rows("transactions") if "reworded" in row["description"]]
    assert {str(row["booked_on"]) for row in reworded} == {"2026-11-20"}
    assert reworded


@guarded(
    "ids issued anew near the edge double their rows",
    "engine/reconcile.py",
    "    again = reissued(vanished, new)\n    vanished",
    "    again = reissued(vanished.filter(pl.col('booked_on') >= (judged_from or date.min)), new)\n    vanished",
)
async def test_t08_a_row_removed_under_its_newer_id_leaves_and_does_not_come_back(world: World) -> None:
    account = checking("acc_1", *rows_of("a", pending=False))
    world.bank.enroll("tok", account)
    await world.link()
    await world.work()
    for row in account.transactions:
        row.id = row.id.replace("a_", "b_")
    await world.next_day()
    world.bank.remove("acc_1", "b_twin1")
    for _ in range(3):
        await world.next_day()
    left = [i for i in world.ids() if "twin" in i]
    assert len(left) == 1
    assert len(world.ids()) == 31


@guarded(
    "newer ids are forgotten",
    "engine/parts.py",
    "            ours = first_ids(kind, ids, run, store)\n",
    "            ours = dict[str, str]()\n",
)
async def test_t08_a_row_that_changes_under_its_newer_id_is_changed_and_stays_one(world: World) -> None:
    account = checking("acc_1", *rows_of("a", pending=False))
    world.bank.enroll("tok", account)
    await world.link()
    await world.work()
    ids = world.ids()
    for row in account.transactions:
        row.id = row.id.replace("a_", "b_")
    await world.next_day()
    newest: SimTransaction = account.transactions[2]
    newest.amount, newest.description = "-77.00", "Corrected"
    await world.next_day()
    assert world.ids() == ids
    [changed] = [r for r in world.rows("transactions") if r["description"] == "Corrected"]
    assert changed["transaction_id"] == newest.id.replace("b_", "a_")


@guarded(
    "one row under a new text is taken for the old one", "engine/identity.py",
    "REISSUED_ROWS = 3",
    "REISSUED_ROWS = 1",
)  # fmt: skip
async def test_t08_one_purchase_that_replaces_another_is_no_new_id_of_it(world: World) -> None:
    account = checking("acc_1", bought("txn_1", "-5.00", description="Coffee"), bought("txn_0", "-1.00", "2026-11-19"))
    world.bank.enroll("tok", account)
    await world.link()
    await world.work()
    world.bank.remove("acc_1", "txn_1")
    world.bank.add("acc_1", bought("txn_2", "-5.00", description="Parking"))
    for _ in range(3):
        await world.next_day()
    assert world.ids() == ["txn_0", "txn_2"]
