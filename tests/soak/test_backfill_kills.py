"""SIGKILL while a backfill runs: no bar is lost, and nothing but the chunk in flight is asked for again.

A worker process reads decades of bars over real HTTP, and is killed at a random request or a random moment after it.
`make soak` kills it twenty times over 300 instruments; FIN_INFRA_TEST_SEED says where.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import parse_qs

from sqlalchemy import text

from fin_infra.engine.backfilling import coverage, plan
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimBrokerage
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.testing import serve
from tests.backfill_world import SEED, SESSIONS, broker, linked, settings_of, symbols
from tests.broker import BARS

LONG = int(os.environ.get("SOAK_KILLS", "0")) >= 20
KILLS, INSTRUMENTS = (20, 300) if LONG else (5, 30)
FIRST, LAST = date(2006, 1, 1), date(2025, 12, 31)
PRELOAD = ["fin_infra.runtime", "fin_infra.providers.alpaca", "fin_infra.datasets.operations", "tests.backfill_world"]
COMPRESSED = "data=12000/60s,trading=12000/60s"  # sixty times as fast as the vendor permits


def run(settings: Settings, url: str) -> None:
    """The worker process."""
    os.environ["FIN_INFRA_ALPACA_QUOTAS"] = COMPRESSED

    async def work() -> None:
        async with Runtime(settings, base_urls={"alpaca": url}) as runtime:
            await runtime.run_worker(slots=2)

    asyncio.run(work())


Question = tuple[str, str, str]


def question(request: str) -> Question:
    """The chunk that a request is a page of: symbols, first and last day."""
    said = parse_qs(request.partition("?")[2])
    return said["symbols"][0], said["start"][0], said["end"][0]


class Hunt:
    """Worker after worker, each killed in the middle; what each of them asked."""

    def __init__(self, vendor: AlpacaSimulator, settings: Settings, url: str, draw: random.Random, most: int) -> None:
        self.vendor, self.settings, self.url, self.draw, self.most = vendor, settings, url, draw, most
        self.lives: list[list[str]] = []
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([*PRELOAD, "tests.soak.test_backfill_kills"])

    def one(self) -> None:
        """One worker's life, up to its end by SIGKILL."""
        shot, seen, begun = threading.Event(), {"n": 0}, len(self.vendor.requests)
        target, delay = self.draw.randint(1, self.most), self.draw.choice([0.0, self.draw.uniform(0.0, 0.3)])

        def on_request(path: str) -> None:
            seen["n"] += path == BARS
            if seen["n"] >= target:
                shot.set()

        self.vendor.on_request = on_request
        process = self.context.Process(target=run, args=(self.settings, self.url), daemon=True)
        process.start()
        assert process.pid is not None
        assert shot.wait(timeout=60), "the worker asked nothing"
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.vendor.on_request = lambda path: None
        self.lives.append([request for request in self.vendor.requests[begun:] if request.startswith(BARS)])


def test_kills_lose_no_bar_and_only_the_chunk_in_flight_is_asked_for_again(tmp_path: Path) -> None:
    names = symbols(INSTRUMENTS)
    vendor = broker(names, lambda: datetime.now(UTC), limit_per_minute=12_000)
    vendor.open_account("PK1", "secret of PK1", SimBrokerage("acc_empty"))
    settings = settings_of(tmp_path, lease_seconds=2.0, plan_seconds=0.2)
    linked(settings, lambda: datetime.now(UTC))
    backfill_id, chunks, calls = asyncio.run(wish(settings, names))
    draw = random.Random(SEED)
    with serve(vendor) as served:
        hunt = Hunt(vendor, settings, served.url, draw, max(2, calls // KILLS - 1))
        for _ in range(KILLS):
            hunt.one()
        killed = asyncio.run(state(settings, backfill_id))
        begun = len(vendor.requests)
        process = hunt.context.Process(target=run, args=(settings, served.url), daemon=True)
        process.start()
        deadline = time.monotonic() + 600
        while asyncio.run(state(settings, backfill_id))[0] == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
        process.kill()
        process.join()
        hunt.lives.append([request for request in vendor.requests[begun:] if request.startswith(BARS)])
    assert killed[0] == "running", "the kills fell while it ran"
    asyncio.run(check(settings, backfill_id, names))
    asked = [[question(request) for request in life] for life in hunt.lives]
    for n, life in enumerate(asked[:-1]):
        ended = {one for one in life if one != life[-1]}
        again = ended & {one for later in asked[n + 1 :] for one in later}
        assert not again, f"life {n}: asked for again, and not in flight at the kill: {again}"
    times = Counter(request for life in hunt.lives for request in life)
    twice = sum(count - 1 for count in times.values())
    assert len(times) == calls, "each page was asked for"
    assert twice <= KILLS * (calls / chunks), "a chunk's pages once more for each kill at the worst"
    print(f"{KILLS} kills, {chunks} chunks, {calls} pages: {twice} were asked for twice")


async def wish(settings: Settings, names: list[str]) -> tuple[str, int, int]:
    async with Runtime(settings) as runtime:
        [connection] = runtime.connections.all()
        subjects = [f"us:{name}" for name in names]
        made = plan(runtime.store, connection, "prices", subjects, FIRST, LAST, datetime.now(UTC))
        one = runtime.backfiller.books.create(connection, "prices", made.subjects, made.first, made.last, made.chunks)
        runtime.queue.enqueue_many([one.order])
        return one.backfill_id, len(made.chunks), made.calls


async def state(settings: Settings, backfill_id: str) -> tuple[str, int]:
    async with Runtime(settings) as runtime:
        one = runtime.backfiller.books.get(backfill_id)
        return one.state, one.done


async def check(settings: Settings, backfill_id: str, names: list[str]) -> None:
    expected = len([day for day in SESSIONS if FIRST <= day <= LAST])
    async with Runtime(settings) as runtime:
        one = runtime.backfiller.books.get(backfill_id)
        assert (one.state, one.reason) == ("done", None)
        assert one.rows == expected * len(names)
        [connection] = runtime.connections.all()
        stand = coverage(runtime.store, connection, one, datetime.now(UTC))
        assert {(c.expected, c.held, c.missing) for c in stand} == {(expected, expected, 0)}
        with runtime.store.reading() as sql:
            states = sql.execute(text("SELECT state, COUNT(*) FROM prices GROUP BY state")).fetchall()
            assert [tuple(row) for row in states] == [("final", expected * len(names))]
            history = sql.scalar(text("SELECT COUNT(*) FROM prices_history"))
            assert history == 0, "no bar was written twice"
            streams = sql.scalars(text("SELECT dataset FROM cursors")).all()
            assert streams == [], "the live stream was not touched, and nothing is left behind"
            assert sql.scalar(text("SELECT COUNT(*) FROM staged_pages")) == 0
            counted = sql.scalar(text("SELECT SUM(json_array_length(inserted)) FROM changes"))
            assert counted == expected * len(names), "each bar is in the feed once"
            assert sql.scalar(text("PRAGMA integrity_check")) == "ok"
            lanes = sql.scalars(text("SELECT DISTINCT lane FROM runs")).all()
            assert lanes == ["backfill"]
