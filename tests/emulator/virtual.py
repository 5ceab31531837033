"""The same vendor in virtual time, and callers that always want more than there is: a day in seconds.

Here only the ledger decides; the queue, the planner and the processes are the fleet's (`tests.emulator.fleet`).
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.windows import Lane, Rolling, Spacing, Window, bound, paced
from tests.emulator.vendor import Terms

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)


class Asked(Protocol):
    """What a limiter on our side must offer: the ledger does, and so do the peers' adapters."""

    def acquire(self, windows: Sequence[Window], cost: int = 1, *, lane: Lane = "scheduled") -> Grant | Denied: ...

    def settle(
        self, grant: Grant, *, written: datetime | None = None, cost: int | None = None, success: bool = True
    ) -> None: ...  # fmt: skip


class Time:
    """Now, in microseconds since `BEGIN`, and what will happen."""

    def __init__(self) -> None:
        self.micros = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> datetime:
        return BEGIN + timedelta(microseconds=self.micros)

    @property
    def seconds(self) -> float:
        return self.micros / 1e6

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        self.at(self.micros + round(seconds * 1e6), then)

    def at(self, micros: int, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(micros, self.micros), next(self._numbers), then))

    def run(self, until: float) -> None:
        """Everything that happens before so many seconds."""
        while self._events and self._events[0][0] < until * 1e6:
            self.micros, _, then = heapq.heappop(self._events)
            then()
        self.micros = round(until * 1e6)


@dataclass
class Lived:
    """What came of it: by the vendor's count behind the first window, and seconds that urgent orders waited."""

    terms: Terms
    seconds: float
    accepted: int = 0
    refused: int = 0
    early: int = 0
    """Refused in the first window."""
    waits: list[float] = field(default_factory=list)

    @property
    def used(self) -> float:
        return self.accepted / (self.terms.limit * (self.seconds / self.terms.period - 1))


def windows_of(terms: Terms, *, arrive_within: float | None = 1.0, limit: int | None = None) -> tuple[Window, ...]:
    """As they are planned with: a rolling window whatever the vendor has, of a counter with its profile, paced."""
    rolling = Rolling(
        "own",
        limit or terms.limit,
        terms.period,
        arrive_within,
        profile="counter" if terms.kind == "counter" else "log",
    )
    return bound(paced([rolling]), holder="teller/app", connection="", account="", endpoint="/x")


def live(
    make: Callable[[Callable[[], datetime]], Asked], terms: Terms, *, seconds: float, callers: int = 8,
    windows: tuple[Window, ...] | None = None, orders_every: float | None = None, urgent: Lane = "interactive",
    late: float = 0.0,
) -> Lived:  # fmt: skip
    """`callers` that ask again as soon as they have their answer. `make`: the ledger for a clock. `orders_every`:
    seconds between single calls in lane `urgent`; they begin with the second window. `late`: who waits comes up to so
    many seconds after its ETA."""
    time = Time()
    ledger = make(time)
    limiter, draw, line = terms.limiter(), random.Random(terms.seed), terms.line
    lived = Lived(terms, seconds)
    own = windows_of(terms) if windows is None else windows

    def call(lane: Lane, then: Callable[[], None], ordered_at: float | None = None) -> None:
        answer = ledger.acquire(own, lane=lane)
        if isinstance(answer, Denied):
            eta = round((answer.at - BEGIN) / timedelta(microseconds=1)) + round(draw.uniform(0.0, late) * 1e6)
            time.at(eta, lambda: call(lane, then, ordered_at))
            return
        if ordered_at is not None:
            lived.waits.append(time.seconds - ordered_at)
        written = time()
        time.after(draw.uniform(line.shortest, line.longest), lambda: arrive(answer, written, then))

    def arrive(grant: Grant, written: datetime, then: Callable[[], None]) -> None:
        accepted, first = limiter.asked(time.seconds), time.seconds < terms.period
        lived.accepted += accepted and not first
        lived.refused += not accepted and not first
        lived.early += not accepted and first
        work = line.work if accepted else 0.0
        time.after(work + draw.uniform(line.shortest, line.longest), lambda: back(grant, written, then))

    def back(grant: Grant, written: datetime, then: Callable[[], None]) -> None:
        ledger.settle(grant, written=written)
        then()

    def again() -> None:
        call("scheduled", again)

    def order() -> None:
        call(urgent, lambda: None, time.seconds)
        assert orders_every is not None
        time.after(orders_every * draw.uniform(0.5, 1.5), order)

    for _ in range(callers):
        time.after(draw.random(), again)
    if orders_every is not None:
        time.after(terms.period, order)
    time.run(seconds)
    return lived


def unpaced(windows: Sequence[Window]) -> tuple[Window, ...]:
    return tuple(window for window in windows if not isinstance(window, Spacing))
