"""How long a backfill takes, in virtual time: what the dry run says is true. `make soak` has 300 instruments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fin_infra.connections import Connection
from fin_infra.runtime import Runtime
from tests.backfill_world import Stage, state_of, symbols

INSTRUMENTS = 300 if int(os.environ.get("SOAK_KILLS", "0")) >= 20 else 24


def test_the_dry_run_tells_within_five_percent_how_long_it_takes(tmp_path: Path) -> None:
    stage = Stage.of(tmp_path, symbols(INSTRUMENTS))

    async def act(runtime: Runtime, connection: Connection) -> tuple[float, float, str]:
        own, told = await stage.backfill(runtime, connection, stage.names, "2006-01-01")
        begun = stage.clock.seconds
        await stage.working(runtime, state_of(runtime, own))
        return told, stage.clock.seconds - begun, runtime.backfiller.books.get(own).state

    told, took, state = stage.run(act)
    print(f"{INSTRUMENTS} instruments: the dry run said {told:.1f} s, it took {took:.1f} s")
    assert state == "done"
    assert took == pytest.approx(told, rel=0.05)
