"""An id that the vendor changed keeps the name it had at first sight."""

from __future__ import annotations

from sqlalchemy import insert

from fin_infra.store.tables import ALIASES
from tests.world import World, bought, card


async def test_rows_of_a_renamed_account_and_transaction_go_on_under_their_first_ids(world: World) -> None:
    enrollment = world.bank.enroll("tok", card("acc_old", bought("txn_old", "5.00")))
    connection = await world.link()
    await world.work()
    [account] = enrollment.accounts
    account.id, account.transactions[0].id = "acc_new", "txn_new"
    world.bank.add("acc_new", bought("txn_2", "7.00", "2026-11-24"))
    base = {"tenant_id": "ada", "connection_id": connection.connection_id, "valid_from": 0, "reason": "rotated"}
    with world.store() as store, store.writing() as sql:
        sql.execute(
            insert(ALIASES),
            [
                {**base, "kind": "account", "vendor_id": "acc_new", "id": "acc_old"},
                {**base, "kind": "transaction", "vendor_id": "txn_new", "id": "txn_old"},
            ],
        )
    reports = {r.dataset: r for r in await world.next_day()}
    assert {r.outcome for r in reports.values()} == {"ok"}
    assert [row["account_id"] for row in world.rows("accounts")] == ["acc_old"]
    assert [row["account_id"] for row in world.rows("balances")] == ["acc_old"]
    assert world.ids() == ["txn_2", "txn_old"]
    assert reports["transactions"].total.removed == 0
    assert {row["account_id"] for row in world.rows("account_states")} == {"acc_old"}
    assert "/accounts/acc_new/transactions" in {path.split("?")[0] for path in world.bank.requests}
