"""Backfills beside live work."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from fin_infra.connections import Connection
from fin_infra.runtime import Runtime
from tests.backfill_world import Stage, state_of, symbols
from tests.broker import BARS
from tests.guards import guarded

INSTRUMENTS = 300 if int(os.environ.get("SOAK_KILLS", "0")) >= 20 else 24


@guarded("backfills take all slots", "runtime/app.py",
         "if self._backfilling >= max(1, self._slots // 2):", "if self._backfilling >= self._slots:")  # fmt: skip
def test_t56_live_work_does_not_feel_three_backfills(tmp_path: Path) -> None:
    """The same live syncs with an idle key and beside three backfills that ask as fast as they may.

    Together they fit into the vendor's minute. When they do not, a denied live call has the next unit: see the ledger.
    """
    calm = Stage.of(tmp_path / "calm", symbols(3))

    async def alone(runtime: Runtime, connection: Connection) -> None:
        end = calm.clock.seconds + 60
        await calm.working(runtime, lambda: calm.clock.seconds > end, live=connection)

    calm.run(alone)
    busy = Stage.of(tmp_path / "busy", symbols(INSTRUMENTS))
    busy.live_every = 1.1 if INSTRUMENTS < 100 else 3.0

    async def beside(runtime: Runtime, connection: Connection) -> int:
        third = len(busy.names) // 3
        ids = []
        for n in range(3):
            own, _ = await busy.backfill(runtime, connection, busy.names[n * third : (n + 1) * third], "2006-01-01")
            ids.append(own)
        await busy.working(runtime, state_of(runtime, *ids), live=connection)
        assert {runtime.backfiller.books.get(one).state for one in ids} == {"done"}
        return sum(runtime.backfiller.books.get(one).calls for one in ids)

    calls = busy.run(beside)
    before, after = statistics.median(calm.latencies), statistics.median(busy.latencies)
    worst = max(busy.latencies) - max(calm.latencies)
    print(f"{calls} backfill calls; live p50 {before:.2f} s → {after:.2f} s, the worst {worst:+.2f} s")
    assert after <= before + 0.1
    assert worst <= 0.3
    assert sum(BARS in request for request in busy.vendor.requests) >= calls
