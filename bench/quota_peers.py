"""What a limiter costs and what it is worth: the peers `limits` and `pyrate-limiter`, beside which the ledger stands.

`python -m bench.quota_peers FOLDER` runs in the environment of `bench/requirements.lock` and prints one JSON object.
Two questions are asked of each: how long one admission takes, and, in virtual time against a rolling vendor whose line
takes 50 to 500 ms each way, how much of what is permitted it uses and how often it is refused nevertheless.
Nothing but the standard library is imported before a peer is: both environments read this file.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, Protocol

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-bench/bin/python"

WINDOWS = ((75, 60.0), (5_000, 3600.0), (50_000, 86_400.0))
"""Units and seconds of the three windows that an admission passes when its time is taken."""
ADMISSIONS = 5_000
LIMIT, PERIOD, HOURS = 5, 60.0, 24
LINE = (0.05, 0.5)
CALLERS = 8


class Limiter(Protocol):
    """A contender, by the clock it was made with."""

    def ask(self) -> tuple[Any, float]:
        """What was given, or None and the seconds after which it says to ask again."""
        ...

    def answered(self, given: Any) -> None:
        """The answer to the call is here."""
        ...


class Model:
    """A rolling vendor in virtual time, and callers that always want more. Seconds, from 0."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 1_000_000.0  # a clock's zero is a special moment to nobody
        self.accepted = self.refused = 0
        self._log = deque[float]()
        self._draw = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), then))

    def use(self, limiter: Limiter) -> dict[str, float]:
        """Share of what is permitted that was used in `HOURS`, and refusals."""

        def call() -> None:
            given, wait = limiter.ask()
            if given is None:
                self.after(max(wait, 1e-3), call)
                return
            self.after(self._draw.uniform(*LINE), lambda: arrive(given))

        def arrive(given: Any) -> None:
            while self._log and self._log[0] <= self.now - PERIOD:
                self._log.popleft()
            accepted = len(self._log) < LIMIT
            if accepted:
                self._log.append(self.now)
            self.accepted += accepted
            self.refused += not accepted
            self.after(self._draw.uniform(*LINE), lambda: back(given))

        def back(given: Any) -> None:
            limiter.answered(given)
            call()

        for _ in range(CALLERS):
            self.after(self._draw.random(), call)
        end = self.now + HOURS * 3600
        while self._events and self._events[0][0] < end:
            self.now, _, then = heapq.heappop(self._events)
            then()
        return {"used": self.accepted / (LIMIT * HOURS * 3600 / PERIOD), "refused": float(self.refused)}


def microseconds(admit: Callable[[], bool], admissions: int = ADMISSIONS) -> float:
    """Median of single admissions, the first tenth left out. All of them must be given."""
    taken = []
    for _ in range(admissions):
        begin = perf_counter_ns()
        given = admit()
        taken.append(perf_counter_ns() - begin)
        assert given
    return median(taken[admissions // 10 :]) / 1000


def measured() -> dict[str, dict[str, float]]:
    """What the peers need and reach now, in their environment: by the name of our figure and the peer."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(PYTHON), "-m", "bench.quota_peers", folder], cwd=ROOT, capture_output=True, text=True
        )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"bench.quota_peers failed:\n{done.stderr}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- the peers, in their own environment -------------------------------------------------------------------------------


class OfLimits:
    """Its moving window in memory: the exact log of admissions. Its clock is `time.time`, put in place of the
    module's."""

    def __init__(self, now: Callable[[], float], limit: int = LIMIT, period: float = PERIOD) -> None:
        import types

        from limits import RateLimitItemPerSecond
        from limits.storage import MemoryStorage, memory
        from limits.strategies import MovingWindowRateLimiter

        memory.time = types.SimpleNamespace(time=now)
        memory.MemoryStorage._MemoryStorage__schedule_expiry = lambda self: None  # a thread by the real clock
        self._now = now
        self._item = RateLimitItemPerSecond(limit, round(period))
        storage = MemoryStorage()
        storage.timer.cancel()
        self._limiter = MovingWindowRateLimiter(storage)

    def ask(self) -> tuple[Any, float]:
        if self._limiter.hit(self._item, "key"):
            return True, 0.0
        return None, self._limiter.get_window_stats(self._item, "key").reset_time - self._now()

    def answered(self, given: Any) -> None:
        """It counts admissions only."""


class OfPyrate:
    """Its sliding log in memory, which waits as its own blocking does: what it says, and its buffer."""

    def __init__(self, now: Callable[[], float], limit: int = LIMIT, period: float = PERIOD) -> None:
        from pyrate_limiter import InMemoryBucket, Limiter, Rate, RateItem, SingleBucketFactory

        class Bucket(InMemoryBucket):
            def now(self) -> int:
                return round(now() * 1000)

        self._bucket = Bucket([Rate(limit, round(period * 1000))])
        self._limiter = Limiter(SingleBucketFactory(self._bucket, schedule_leak=False))
        self._item = RateItem

    def ask(self) -> tuple[Any, float]:
        self._bucket.leak(self._bucket.now())
        if self._limiter.try_acquire("key", blocking=False):
            return True, 0.0
        wait = self._bucket.waiting(self._item("key", self._bucket.now()))
        return None, (wait + self._limiter.buffer_ms) / 1000

    def answered(self, given: Any) -> None:
        """It counts admissions only."""


def limits_memory() -> float:
    """Three windows one after the other: it has no admission to all or none."""
    from limits import RateLimitItemPerSecond
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    limiter = MovingWindowRateLimiter(MemoryStorage())
    items = [RateLimitItemPerSecond(ADMISSIONS * 2, round(period)) for _, period in WINDOWS]
    return microseconds(lambda: all(limiter.hit(item, "key") for item in items))


def pyrate_memory() -> float:
    from pyrate_limiter import InMemoryBucket, Limiter

    limiter = Limiter(InMemoryBucket(rates()))
    return microseconds(lambda: bool(limiter.try_acquire("key", blocking=False)))


def pyrate_sqlite(folder: Path) -> float:
    """In a file, for one process: several need its file lock beside it, which costs more."""
    from pyrate_limiter import Limiter, SQLiteBucket

    bucket = SQLiteBucket.init_from_file(rates(), db_path=str(folder / "pyrate.db"))
    limiter = Limiter(bucket)
    return microseconds(lambda: bool(limiter.try_acquire("key", blocking=False)), ADMISSIONS // 10)


def rates() -> list[Any]:
    """The three windows for pyrate, wide enough that every admission is given."""
    from pyrate_limiter import Rate

    return [Rate(ADMISSIONS * (2 + n), round(period * 1000)) for n, (_, period) in enumerate(WINDOWS)]


def main() -> None:
    folder = Path(sys.argv[1])
    makers: dict[str, Callable[[Callable[[], float]], Limiter]] = {"limits": OfLimits, "pyrate-limiter": OfPyrate}
    costs = {
        "quota_acquire.memory": {"limits": limits_memory(), "pyrate-limiter": pyrate_memory()},
        "quota_acquire.sqlite": {"pyrate-limiter": pyrate_sqlite(folder)},
    }
    used = {}
    for peer, make in makers.items():
        model = Model()
        used[peer] = model.use(make(lambda model=model: model.now))  # type: ignore[misc]
    costs["quota_used"] = {peer: found["used"] for peer, found in used.items()}
    costs["quota_429"] = {peer: found["refused"] for peer, found in used.items()}
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
