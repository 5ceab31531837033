"""The sync group: 100,000 transactions over HTTP, the same again with 1 % changed, and with nothing new."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import data
from bench.figures import ROOT, Figure, middle

ROUNDS = 3
DLT = ROOT / ".venv-bench/bin/python"
Measured = dict[str, float]


def measure() -> list[Figure]:
    runs: dict[str, list[Measured]] = {}
    with bank() as url:
        for _ in range(ROUNDS):  # ours and theirs in turn: a machine that slows down slows all
            for contender in (_ours, _floor, _dlt("tuned"), _dlt("trimmed"), _dlt("each")):
                with tempfile.TemporaryDirectory() as folder:
                    for name, measured in contender(Path(folder), url):
                        runs.setdefault(name, []).append(measured)
    return _figures(runs)


def _figures(runs: dict[str, list[Measured]]) -> list[Figure]:
    peers = ("floor", "dlt", "dlt_trimmed")

    def cpu(state: str) -> Figure:
        name = {"first": "sync_initial_100k.cpu", "changed": "sync_changed_1pct.cpu"}[state]
        return Figure(
            name, middle(runs[f"ours {state}"], "cpu"), {p: middle(runs[f"{p} {state}"], "cpu") for p in peers}
        )

    def first(what: str) -> dict[str, float]:
        return {peer: middle(runs[f"{peer} first"], what) for peer in peers}

    def per_connection(who: str) -> float:
        return middle(runs[f"{who} nothing"], "cpu") / middle(runs[f"{who} nothing"], "connections") * 1000

    rows = data.LOGINS * data.ROWS
    return [
        cpu("first"),
        Figure("sync_initial_100k.imports", middle(runs["ours first"], "imports"), first("imports")),
        Figure("sync_initial_100k.peak", middle(runs["ours first"], "peak"), first("peak")),
        Figure(
            "sync_initial_100k.rows_per_s", rows / middle(runs["ours first"], "wall"),
            {peer: rows / wall for peer, wall in first("wall").items()},
        ),
        cpu("changed"),
        Figure(
            "sync_nothing_new.per_connection", per_connection("ours"),
            {who: per_connection(who) for who in (*peers, "dlt_each")},
        ),
    ]  # fmt: skip


def _ours(folder: Path, url: str) -> Iterator[tuple[str, Measured]]:
    _run(sys.executable, "bench.sync_ours", "link", folder)
    for name, state in (("first", "first"), ("changed", "changed"), ("nothing", "changed")):
        measured = _run(sys.executable, "bench.sync_ours", "sync", folder, f"{url}/{state}")
        expected = {"first": (100_000, 0), "changed": (0, 1_000), "nothing": (0, 0)}[name]
        assert (measured["inserted"], measured["updated"]) == expected, (name, measured)
        yield f"ours {name}", measured


def _floor(folder: Path, url: str) -> Iterator[tuple[str, Measured]]:
    for name, arguments in _states(url):
        yield f"floor {name}", _checked(name, _run(sys.executable, "bench.sync_floor", folder, *arguments))


def _dlt(mode: str):  # type: ignore[no-untyped-def]
    def contender(folder: Path, url: str) -> Iterator[tuple[str, Measured]]:
        peer = {"tuned": "dlt", "trimmed": "dlt_trimmed", "each": "dlt_each"}[mode]
        for name, arguments in _states(url):
            measured = _run(DLT, "bench.sync_dlt", mode, folder, *arguments)
            yield f"{peer} {name}", measured if mode == "each" else _checked(name, measured)

    return contender


def _states(url: str) -> list[tuple[str, list[str]]]:
    since = data.SINCE.isoformat()
    return [("first", [f"{url}/first"]), ("changed", [f"{url}/changed", since]), ("nothing", [f"{url}/changed", since])]


def _checked(name: str, measured: Measured) -> Measured:
    """A peer that lost rows on its way is no peer."""
    assert measured["rows"] == (data.LOGINS * data.ROWS if name == "first" else measured["rows"]) > 0, measured
    return measured


def _run(*command: object) -> Measured:
    """A fresh process; what it reports on its last line."""
    python, module, *arguments = map(str, command)
    done = subprocess.run(
        [python, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}


@contextmanager
def bank() -> Iterator[str]:
    """The address of the bank, served by a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "bench.server"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
