"""`python -m tests.emulator`, `make emulate`: fleets of workers against every kind of limiter, with both ledgers.

Each cell is a vendor and four worker processes of its own, with 2.7 times more due than is permitted and a user's order
now and then. It prints a line as each ends, and fails when one was refused a call or used too little.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.fleet import MIGRATING, WORKERS, Run, middle, run
from tests.emulator.limiters import LIMITERS, Line, ceiling
from tests.emulator.vendor import HEADERS, Terms
from tests.postgres import PostgresServer, postgres_server

LONG = 30.0
"""Seconds: of a window at least as long, `USED` of it is used."""
USED = 0.98
ROOM = 0.01
"""Below the ceiling, of shorter ones and of a counter."""
URGENT = 2.0
COLUMNS = f"{'limiter':9}{'strict':8}{'headers':13}{'line':11}{'ledger':10}{'limit':>10}  {'used':>7}{'by turn':>9}{'gate':>8}{'best':>8}  {'429s':>5}  {'orders':>7}{'p50':>6}{'max':>6}"


@dataclass(frozen=True)
class Cell:
    """One vendor and one ledger."""

    terms: Terms
    ledger: str

    @property
    def best(self) -> float:
        """The share that cannot be exceeded."""
        return ceiling(self.terms.kind, self.terms.limit, self.terms.period, self.terms.line)

    @property
    def gate(self) -> float:
        return self.best - ROOM if self.terms.kind == "counter" or self.terms.period < LONG else USED

    def missed(self, lived: Run) -> list[str]:
        """What did not hold."""
        found = [f"{lived.refused} calls were refused"] if lived.refused else []
        found += [f"used {lived.used:.2%}, less than {self.gate:.2%}"] if lived.used < self.gate else []
        waits = lived.waits()
        found += [f"an order waited {max(waits):.2f} s"] if waits and max(waits) > URGENT else []
        return found

    def line(self, lived: Run) -> str:
        terms, waits = self.terms, lived.waits()
        way = f"{terms.line.shortest * 1000:.0f}-{terms.line.longest * 1000:.0f}ms"
        way += f"+{terms.line.work:g}s" if terms.line.work else ""
        orders = f"{len(waits):>7}{middle(waits):>6.2f}{max(waits):>6.2f}" if waits else f"{0:>7}"
        return (
            f"{terms.kind:9}{'strict' if terms.strict else 'lenient':8}{terms.headers:13}{way:11}{self.ledger:10}"
            f"{terms.limit:>5}/{terms.period:g}s  {lived.used:>7.2%}{lived.turn:>9.2%}{self.gate:>8.2%}{self.best:>8.2%}"
            f"  {lived.refused:>5}  {orders}"
        )


def cells(given: argparse.Namespace) -> Iterator[Cell]:
    strictness = {"strict": (True,), "lenient": (False,), "both": (True, False)}[given.strict]
    line = Line(given.shortest, given.longest, given.work)
    for n, (kind, strict, headers, ledger) in enumerate(
        itertools.product(given.kinds, strictness, given.headers, given.ledgers)
    ):
        yield Cell(Terms(kind, given.limit, given.period, strict, headers, line, given.seed + n), ledger)


def lived(cell: Cell, folder: Path, server: PostgresServer | None, given: argparse.Namespace) -> Run:
    """The cell, run; its fleet's files are in the folder."""
    folder.mkdir()
    if cell.ledger == "postgres":
        assert server is not None
        with MIGRATING:
            url = server.migrated()
    else:
        url = f"sqlite:///{folder / 'fin.db'}"
    every = max(2, round(cell.terms.period / 2))
    return run(
        folder, url, cell.terms, windows=given.windows, every=every, orders_every=given.orders_every,
        workers=given.workers,
    )  # fmt: skip


def _some(known: tuple[str, ...]) -> object:
    def parts(text: str) -> list[str]:
        chosen = list(known) if text == "all" else text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"no {unknown[0]!r}; there are: all, {', '.join(known)}")
        return chosen

    return parts


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    add = parser.add_argument
    add("--kinds", type=_some(tuple(LIMITERS)), default=list(LIMITERS), help="all, or names with commas")  # type: ignore[arg-type]
    add("--ledgers", type=_some(("sqlite", "postgres")), default=["sqlite", "postgres"], help="all, or one")  # type: ignore[arg-type]
    add("--headers", type=_some(HEADERS), default=["none"], help="what the vendor says of its limit: all, or names")  # type: ignore[arg-type]
    add("--strict", choices=("strict", "lenient", "both"), default="strict", help="whether refused calls count")
    add("--limit", type=int, default=60)
    add("--period", type=float, default=60.0, help="seconds")
    add("--windows", type=int, default=10, help="that are measured, behind the first")
    add("--shortest", type=float, default=0.05, help="seconds on the line, each way")
    add("--longest", type=float, default=0.5)
    add("--work", type=float, default=0.0, help="seconds the vendor works once a call has arrived")
    add("--orders-every", type=float, default=10.0, help="seconds between a user's orders")
    add("--workers", type=int, default=WORKERS)
    add("--at-once", type=int, default=1, help="cells at once; their processes share this machine")
    add("--seed", type=int, default=1)
    add("--keep", type=Path, help="folder for the files of the fleets, which is kept")
    return parser.parse_args(given)


def main() -> None:
    given = arguments()
    wanted = list(cells(given))
    failed = 0
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        postgres = any(cell.ledger == "postgres" for cell in wanted)
        server = stack.enter_context(postgres_server()) if postgres else None
        pool = stack.enter_context(ThreadPoolExecutor(given.at_once))
        print(COLUMNS, flush=True)
        found = {pool.submit(lived, cell, folder / f"cell{n}", server, given): cell for n, cell in enumerate(wanted)}
        for future in as_completed(found):
            cell = found[future]
            if (error := future.exception()) is not None:
                failed += 1
                print(f"{cell.terms.kind:17}{cell.ledger:10}  FAILED: {error!r:.300}", flush=True)
                continue
            result = future.result()
            missed = cell.missed(result)
            failed += bool(missed)
            print(cell.line(result) + (f"  MISSED: {'; '.join(missed)}" if missed else ""), flush=True)
    if failed:
        sys.exit(f"{failed} of {len(wanted)} cells missed their gate")


if __name__ == "__main__":
    main()
