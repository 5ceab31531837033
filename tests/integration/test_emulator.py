"""Four worker processes, the real queue and a vendor of its own over real HTTP: no call is refused, hardly one unused.

The long form is `make emulate`; here both ledgers are tried at once, and half a minute of it must do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.emulator.fleet import Run, run
from tests.emulator.limiters import ceiling
from tests.emulator.vendor import Terms
from tests.postgres import PostgresServer

LATE = 0.5
"""Seconds that each turn of 5 s may be late beyond the round trip, on a machine with nothing else to do: a worker looks
into its queue every quarter of one. With 0.55 s on the line at best 90.1 % is used, and 82.6 % must be. Who leaves two
of the 20 units in each turn is at 81 %; who waits a second longer than needed, at 76 %."""


def test_four_workers_with_more_to_do_than_is_permitted_are_never_refused_and_leave_hardly_a_unit(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    terms = Terms("rolling", 20, 5.0, strict=True)

    def lived(name: str, url: str) -> Run:
        return run(tmp_path / name, url, terms, windows=2, every=10)

    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lived, ("sqlite", "postgres"), (f"sqlite:///{tmp_path / 'sqlite/fin.db'}", postgres.migrated()))
        for found in runs:
            assert found.refused == 0
            late = LATE + found.starved / 3  # in each of the three turns the machine let the workers wait, too
            assert found.turn >= terms.period / (terms.period + found.round_trip + late)
            assert found.turn <= ceiling("rolling", terms.limit, terms.period, terms.line) * 1.05, "measured wrongly"
