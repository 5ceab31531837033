"""A copy of a ledger to try things with: what would be admitted when, without a trace in the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from fin_infra.quotas.base import CountingLedger
from fin_infra.quotas.counting import Row, State
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Window


def rehearsal(ledger: CountingLedger, windows: Sequence[Window], now: Callable[[], datetime]) -> MemoryLedger:
    """These windows as they stand in a ledger, in one of memory that goes by the clock `now`.

    Raises `StoreError` when the ledger cannot be read.
    """
    copy = MemoryLedger(now, timeout=ledger._timeout / 1e6)
    specs = ledger._specs(windows)
    if not specs:
        return copy

    def read(state: State) -> list[tuple[Row, list[tuple[int, int]]]]:
        rows = [replace(state.row(spec.key)) for spec in specs]
        return [(row, list(state.entries(row.key)) if row.used else []) for row in rows]

    kept = ledger._run([spec.key for spec in specs], read, reading=True)
    state = copy._state
    for spec, (row, entries) in zip(specs, kept, strict=True):
        state.row(spec.key)  # makes room for its entries
        state.rows[spec.key] = row
        if row.mark:
            state.declare(row, spec.declaration)
        for number, (stamp, units) in enumerate(entries):
            state.add(f"copied{number}", spec.key, stamp, units, sent=True)
    return copy
