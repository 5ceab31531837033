"""Rows of which no version may stay, on each kind of store."""

from __future__ import annotations

from datetime import timedelta

from fin_infra.datasets.transactions import Transactions
from fin_infra.store import Query
from fin_infra.store.erasing import erase_rows
from tests.contract.rows import Bench


def test_an_erased_row_leaves_with_its_history_and_is_told(bench: Bench) -> None:
    bench.commit([bench.row("txn_1"), bench.row("txn_2")])
    bench.clock.advance(timedelta(hours=1))
    bench.commit([bench.row("txn_1", description="changed"), bench.row("txn_2", description="changed")])
    before = bench.store.changes()["seq"].max()
    assert isinstance(before, int)
    counts = []
    for name in ("alpaca", "teller", "teller"):  # another vendor's rows with such an id are not meant
        with bench.store.writing() as sql:
            counts.append(erase_rows(sql, "transactions", name, ["txn_1", "txn_none"], bench.clock()))
    assert counts == [0, 1, 0]
    left = list(bench.store.read(Transactions, Query(history=True)))
    assert {row for part in left for row in part["transaction_id"]} == {"txn_2"}
    told = bench.store.changes(before)
    assert told.select("op", "key").rows() == [("removed", [bench.connection.tenant_id, "acc", "txn_1"])]
