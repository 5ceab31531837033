"""Runs seeds and says what came of them."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fin_infra.runtime import settle_down
from tests.simulation.planted import hunt
from tests.simulation.world import Template, Verdict, simulate

MEMORY = Path("/dev/shm")


def scratch() -> Path | None:
    """A folder in memory, where the system has one."""
    return MEMORY if MEMORY.is_dir() else None


def lived(seeds: Iterable[int]) -> Iterator[Verdict]:
    """The seeds' worlds, one after the other."""
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="fin-infra-simulation-") as folder:
        template = Template(Path(folder) / "template")
        settle_down()
        for seed in seeds:
            yield simulate(seed, template, Path(folder))


def replay(seed: int) -> str:
    """The command that lives through a seed again."""
    return f".venv/bin/python -m tests.simulation --seed {seed} --trace"


def complaint(verdict: Verdict) -> str:
    more = f" (and {len(verdict.wrong) - 3} more)" if len(verdict.wrong) > 3 else ""
    return f"seed {verdict.seed}: {'; '.join(verdict.wrong[:3])}{more}\n  again: {replay(verdict.seed)}"


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    asked.add_argument("--seeds", type=int, default=200, help="how many")
    asked.add_argument("--first", type=int, default=1, help="the first of them")
    asked.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    asked.add_argument("--seed", type=int, help="this one alone")
    asked.add_argument("--trace", action="store_true", help="print what happened")
    asked.add_argument("--jobs", type=int, default=1, help="processes")
    asked.add_argument("--stop", action="store_true", help="at the first seed that fails")
    asked.add_argument("--planted", nargs="?", const="", metavar="NAME", help="plant bugs and see that each is found")
    given = asked.parse_args()
    if given.planted is not None:
        raise SystemExit(hunt(given.planted, jobs=given.jobs))
    if given.seed is not None:
        raise SystemExit(_one(given.seed, trace=given.trace))
    raise SystemExit(_many(given) if given.jobs == 1 else _spread(given))


def _one(seed: int, *, trace: bool) -> int:
    (verdict,) = lived([seed])
    if trace:
        print("\n".join(verdict.trace))
    print(
        complaint(verdict)
        if verdict.wrong
        else f"seed {seed}: {verdict.runs} runs, nothing wrong, {verdict.digest[:16]}"
    )
    return int(bool(verdict.wrong))


def _many(given: argparse.Namespace) -> int:
    began, failed, calls, crashes, runs = time.monotonic(), 0, 0, 0, 0
    for verdict in lived(range(given.first, given.first + given.seeds * given.step, given.step)):
        calls, crashes, runs = calls + verdict.calls, crashes + verdict.crashes, runs + verdict.runs
        if verdict.wrong:
            failed += 1
            print(complaint(verdict), flush=True)
            if given.stop:
                break
    took = time.monotonic() - began
    print(
        f"{given.seeds} seeds, {failed} failed; {runs} runs, {calls} calls, {crashes} crashes; {took:.1f} s, {given.seeds / took:.1f} seeds/s",
        flush=True,
    )
    return int(failed > 0)


def _spread(given: argparse.Namespace) -> int:
    """Every process lives through every n-th seed."""
    began = time.monotonic()
    share = [given.seeds // given.jobs + (number < given.seeds % given.jobs) for number in range(given.jobs)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.simulation", "--first", str(given.first + number), "--step", str(given.jobs),
             "--seeds", str(count), *(["--stop"] if given.stop else [])],
        )
        for number, count in enumerate(share)
    ]  # fmt: skip
    failed = sum(process.wait() != 0 for process in started)
    took = time.monotonic() - began
    print(f"together {given.seeds} seeds in {took:.1f} s, {given.seeds / took:.1f} seeds/s")
    return int(failed > 0)
