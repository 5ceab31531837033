"""Many seeds, and that a seed is one world."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.planted import PLANTS, WITHIN, Plant, first_found
from tests.simulation.running import lived

SEEDS = 200
ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_rows_are_the_vendors_whatever_happens_on_the_way() -> None:
    """In processes of their own: a Polars with one thread is much faster for frames this small."""
    done = run("--seeds", str(SEEDS), "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def found() -> dict[str, int | None]:
    """By which seed each planted bug is found, from the one that is noted beside it on."""
    with ThreadPoolExecutor(2) as threads:
        return dict(threads.map(lambda plant: (plant.name, first_found(plant, plant.found, 40)[0]), PLANTS))


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_bug_is_found(plant: Plant, found: dict[str, int | None]) -> None:
    """By the seed that is noted beside it, or, since other code may have changed that world, by one soon after it.

    `python -m tests.simulation --planted` looks for all of them from the first seed on.
    """
    seed = found[plant.name]
    assert seed is not None
    assert seed <= WITHIN


def test_a_seed_is_the_same_world_to_the_byte_in_any_process() -> None:
    here = [verdict.digest for verdict in lived([3, 4, 3, 4])]
    assert here[:2] == here[2:]
    told = run("--seed", "4", FIN_INFRA_LEASE_SECONDS="7").stdout
    assert told.rstrip().endswith(here[1][:16])


def test_the_worlds_are_rough_enough() -> None:
    """Processes die, answers fail and jobs are delivered twice: what never happens proves nothing."""
    traces = ["\n".join(verdict.trace) for verdict in lived(range(1, 31))]
    for what in ("is killed", "logs in again", "have new ids", "stands still", "our clock is wrong", "429", "(truncated)",
                 "(empty)", "(shuffled)", "lost its lease", "stale_cursor", "one of two", "is asked to stop", "'review'",
                 "'expired'", "contract_broken", "→ 400", "holdings (", "/accounts/acc"):  # fmt: skip
        assert any(what in trace for trace in traces), f"in no world of thirty: {what}"
