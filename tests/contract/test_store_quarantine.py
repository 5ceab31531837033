"""What every store does with evidence."""

from __future__ import annotations

from datetime import timedelta

from fin_infra.store import Forgotten, Sealed
from fin_infra.store.sql import EVIDENCE_KEPT
from fin_infra.testing import VirtualClock
from tests.contract.conftest import START
from tests.contract.rows import Bench
from tests.guards import guarded


def keep(bench: Bench, *ids: str, reason: str = "why", run_id: str = "run_1") -> None:
    items = [Sealed("transactions", reason, f"{run_id} {name}".encode(), "row", name) for name in ids]
    bench.store.record([], items, connection_id=bench.connection.connection_id, run_id=run_id)


def ids(bench: Bench) -> list[str]:
    return [kept.quarantine_id for kept in bench.store.quarantined()]


@guarded(
    "evidence of one thing piles up", "store/sql.py",
    'item.id or f"{run_id}-{uuid.uuid4().hex}"', 'f"{run_id}-{uuid.uuid4().hex}"',
)  # fmt: skip
def test_the_same_thing_seen_again_is_one_entry_as_it_was_last_seen(bench: Bench, clock: VirtualClock) -> None:
    keep(bench, "qua_a", "qua_b")
    clock.advance(timedelta(minutes=1))
    keep(bench, "qua_a", reason="another", run_id="run_2")
    last, first = bench.store.quarantined()
    assert (last.quarantine_id, last.reason, last.run_id) == ("qua_a", "another", "run_2")
    assert (first.quarantine_id, first.at) == ("qua_b", START)
    assert last.at == START + timedelta(minutes=1)
    assert bench.store.evidence("qua_a") == b"run_2 qua_a"
    assert bench.store.evidence("qua_c") is None
    assert (last.tenant_id, last.connection_id, last.kind) == (
        bench.connection.tenant_id, bench.connection.connection_id, "row",
    )  # fmt: skip
    assert bench.store.quarantined(bench.connection.connection_id) == [last, first]
    assert bench.store.quarantined("con_other") == []


def test_entries_of_a_finding_leave_together_and_no_other(bench: Bench) -> None:
    keep(bench, "qua_1a", "qua_1b", "qua_2", "qua_%")
    forget = [Forgotten(bench.connection.connection_id, ["qua_1", "qua_%"])]
    bench.store.record(forget, connection_id=bench.connection.connection_id)
    assert ids(bench) == ["qua_2"]
    bench.store.record([Forgotten("con_other", ["qua_2"])], connection_id=bench.connection.connection_id)
    assert ids(bench) == ["qua_2"], "another connection's"


@guarded("evidence grows for ever", "store/sql.py", ".limit(EVIDENCE_KEPT)", ".limit(10**9)")
def test_t21_a_connections_evidence_stays_of_a_size_and_the_newest_stay(bench: Bench, clock: VirtualClock) -> None:
    keep(bench, *(f"qua_old{n:04}" for n in range(EVIDENCE_KEPT)))
    clock.advance(timedelta(minutes=1))
    keep(bench, *(f"qua_new{n:04}" for n in range(100)))
    assert len(ids(bench)) == EVIDENCE_KEPT
    assert sum(name.startswith("qua_new") for name in ids(bench)) == 100
