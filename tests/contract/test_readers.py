"""Readers beside a writer: of two snapshots of an account's holdings a read shows the one or the other, whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from fin_infra.datasets.holdings import Holdings
from fin_infra.reader import read
from fin_infra.store import Batch, Change, Stream, open_store
from fin_infra.testing import VirtualClock
from tests.contract.conftest import START
from tests.contract.rows import Bench, frame

SWITCHES = 12
SIZES = (1_100, 1_400)  # more than a commit's usual part: a snapshot is never cut


def snapshot(bench: Bench, n: int) -> Change:
    """The n-th snapshot: every quantity is n, and every other one has 300 positions that its neighbours lack."""
    size, other = SIZES[n % 2], SIZES[1 - n % 2]
    rows = [
        {"tenant_id": "ada", "account_id": "acc", "instrument": f"us:S{k:04}", "as_of": START, "quantity": Decimal(n),
         "multiplier": Decimal(1), "provider": "alpaca", "connection_id": bench.connection.connection_id,
         "fetched_at": START, "run_id": f"run_{n}"}
        for k in range(size)
    ]  # fmt: skip
    gone = [("ada", "acc", f"us:S{k:04}") for k in range(size, other)]
    return Change(Holdings, frame(Holdings, rows), gone)


def test_t36_holdings_of_two_snapshots_are_never_mixed_while_a_writer_switches_them(
    bench: Bench, store_url: str, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fin_infra.store.sql.READ_BATCH", 100)  # many parts, and time for the writer between them
    stream = Stream(bench.connection.connection_id, "holdings")
    started, ended = threading.Barrier(4), threading.Event()

    def reading(_: int) -> list[tuple[int, int]]:
        mine, seen = open_store(store_url, now=clock), []
        started.wait(60)
        while True:
            last = ended.is_set()
            held = read("holdings", store=mine).collect()
            quantities = held["quantity"].unique().to_list()
            assert len(quantities) <= 1, f"rows of snapshots {quantities} in one read"
            if quantities:
                seen.append((int(quantities[0]), held.height))
            if last:
                mine.close()
                return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(reading, n) for n in range(3)]
        started.wait(60)
        try:
            for n in range(SWITCHES):
                batch = Batch([snapshot(bench, n)], atomic=True)
                bench.store.apply(
                    batch, stream=stream, run_id=f"run_{n}", expect=bench.cursor(stream), next="{}"
                )  # fmt: skip
        finally:
            ended.set()
        seen = [found for reader in readers for found in reader.result()]
    assert {height == SIZES[n % 2] for n, height in seen} == {True}
    assert len({n for n, _ in seen}) > 1, "the readers saw the holdings change"
    assert (SWITCHES - 1, SIZES[(SWITCHES - 1) % 2]) in seen
