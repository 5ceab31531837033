"""Why two of the vendor's rows are one of ours, in words."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from fin_infra.engine.explaining import explain_transaction
from fin_infra.errors import UsageError
from tests.world import World, bought, checking


async def test_a_row_under_a_new_id_that_superseded_a_pending_one_tells_all_of_it(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("wait", "-7.00", "2026-11-23", status="pending")))
    connection = await world.link()
    await world.work()
    world.bank.post("acc_1", "wait", on="2026-11-24", new_id="first")
    await world.next_day()
    world.bank.account("acc_1").transactions[0].id = "second"
    await world.next_day()
    with world.store() as store:
        for name in ("first", "second", "wait"):
            stories = explain_transaction(name, store)
            [story] = [s for s in stories if s.transaction_id == "first"]
            told = "\n".join(story.sentences())
            assert "first of acc_1 is one row: posted, -7 USD, 2026-11-24" in told
            assert "teller calls it second since" in told
            assert "it took the place of the pending row wait: same amount and currency" in told
            assert connection.connection_id in json.dumps(story.as_dict())
        with pytest.raises(UsageError, match="no transaction 'nobody'"):
            explain_transaction("nobody", store)
        with pytest.raises(UsageError, match="no transaction 'first'"):
            explain_transaction("first", store, tenant="bob")


async def test_a_row_that_left_and_came_back_tells_when(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1", "-5.00"), bought("txn_0", "-1.00", "2026-11-10")))
    await world.link()
    await world.work()
    row = world.bank.remove("acc_1", "txn_1")
    await world.next_day()
    with world.store() as store:
        [story] = explain_transaction("txn_1", store)
        assert next(story.sentences()).startswith("txn_1 of acc_1 left the table at 2026-11-25")
    row.amount = "-6.50"
    world.bank.add("acc_1", row)
    await world.work(timedelta(days=1))
    with world.store() as store:
        [story] = explain_transaction("txn_1", store)
        assert "amount -5 → -6.5" in "\n".join(story.sentences())
