"""Many seeds, and that a seed is one world."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.running import complaint, lived

SEEDS, PART = 200, 25
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, SEEDS + 1, PART))
def test_rows_are_the_vendors_whatever_happens_on_the_way(first: int) -> None:
    complaints = [complaint(verdict) for verdict in lived(range(first, first + PART)) if verdict.wrong]
    assert not complaints, "\n".join(complaints)


def test_a_seed_is_the_same_world_to_the_byte_in_any_process() -> None:
    here = [verdict.digest for verdict in lived([3, 4, 3, 4])]
    assert here[:2] == here[2:]
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "4"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "FIN_INFRA_LEASE_SECONDS": "7"},
    ).stdout  # fmt: skip
    assert told.rstrip().endswith(here[1][:16])


def test_the_worlds_are_rough_enough() -> None:
    """Processes die, answers fail and jobs are delivered twice: what never happens proves nothing."""
    traces = ["\n".join(verdict.trace) for verdict in lived(range(1, 31))]
    for what in ("is killed", "logs in again", "stands still", "our clock is wrong", "429", "(truncated)", "(empty)",
                 "lost its lease", "stale_cursor", "one of two", "is asked to stop", "'review'", "'expired'",
                 "contract_broken"):  # fmt: skip
        assert any(what in trace for trace in traces), f"in no world of thirty: {what}"
