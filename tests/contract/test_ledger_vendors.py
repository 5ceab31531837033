"""What the ledger promises, against modelled vendors in virtual time: no refusal, and hardly a unit wasted.

The model of a vendor is its own rule and nothing of ours: a call arrives some time after it was sent, is counted there
and then by the vendor's rule, and is answered some time later. A strict vendor counts what it refuses, too.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Rolling, Window, paced
from tests.guards import guarded

START = datetime(2026, 3, 7, tzinfo=UTC)
DAY = 86_400.0


class Vendor(Protocol):
    def asked(self, at: float) -> bool:
        """A call arrives; whether it is served."""
        ...


@dataclass
class SlidingVendor:
    limit: int
    period: float
    strict: bool = False
    calls: deque[float] = field(default_factory=deque)

    def asked(self, at: float) -> bool:
        while self.calls and self.calls[0] <= at - self.period:
            self.calls.popleft()
        served = len(self.calls) < self.limit
        if served or self.strict:
            self.calls.append(at)
        return served


@dataclass
class FixedVendor:
    limit: int
    period: float
    phase: float
    window: int = -1
    count: int = 0

    def asked(self, at: float) -> bool:
        if (window := int((at + self.phase) // self.period)) != self.window:
            self.window, self.count = window, 0
        self.count += 1
        return self.count <= self.limit


@dataclass
class BucketVendor:
    limit: int
    period: float
    tokens: float = -1.0
    at: float = 0.0

    def asked(self, at: float) -> bool:
        full = self.tokens if self.tokens >= 0 else float(self.limit)
        self.tokens = min(self.limit, full + (at - self.at) * self.limit / self.period)
        self.at = at
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class CounterVendor:
    """Estimates from two fixed windows, as gateways do: what is left of the one before, and this one."""

    limit: int
    period: float
    phase: float
    window: int = -1
    count: int = 0
    before: int = 0

    def asked(self, at: float) -> bool:
        window, into = divmod(at + self.phase, self.period)
        if window != self.window:
            self.before = self.count if window == self.window + 1 else 0
            self.window, self.count = int(window), 0
        if self.before * (1 - into / self.period) + self.count + 1 > self.limit + 1e-9:
            return False
        self.count += 1
        return True


@dataclass
class Told:
    served: int = 0
    refused: int = 0


def driven(
    vendor: Vendor, windows: tuple[Window, ...], seconds: float, seed: int, *, way: float = 0.5, work: float = 0.0,
    callers: int = 10, learns: bool = False,
) -> Told:  # fmt: skip
    """Callers that always want another call and come back at their ETA. On the way each way up to `way` seconds."""
    draw, told, now = random.Random(seed), Told(), START
    ledger = MemoryLedger(lambda: now)
    order = itertools.count()
    begin = START.timestamp()
    events: list[tuple[float, int, str, Grant | None]] = [
        (begin + draw.random(), next(order), "ask", None) for _ in range(callers)
    ]
    heapq.heapify(events)
    while events and events[0][0] < begin + seconds:
        at, _, what, grant = heapq.heappop(events)
        now = START + timedelta(seconds=at - begin)
        if what == "ask":
            found = ledger.acquire(windows)
            if isinstance(found, Denied):
                heapq.heappush(events, (begin + (found.at - START).total_seconds() + 1e-6, next(order), "ask", None))
            else:
                heapq.heappush(events, (at + draw.uniform(0.0, way), next(order), "arrive", found))
        elif what == "arrive":
            served = vendor.asked(at)
            told.served += served
            told.refused += not served
            if learns and not served:
                assert grant is not None
                ledger.throttled(grant, grant.windows)
            heapq.heappush(events, (at + work + draw.uniform(0.0, way), next(order), "answer", grant))
        else:
            assert grant is not None
            ledger.settle(grant, written=datetime.fromtimestamp(grant.at / 1e6, UTC))
            heapq.heappush(events, (at, next(order), "ask", None))
    return told


def vendors(limit: int, period: float, draw: random.Random) -> Iterator[Vendor]:
    yield SlidingVendor(limit, period)
    yield SlidingVendor(limit, period, strict=True)
    yield FixedVendor(limit, period, draw.uniform(0, period))
    yield BucketVendor(limit, period)


@guarded(
    "a call counts from its answer",
    "quotas/counting.py",
    "    if written is None or spec.arrive is None:\n        return now\n    return min(",
    "    return grant.at + 0 * min(now,",
)
@pytest.mark.parametrize(("limit", "periods"), [(5, 60), (60, 12), (200, 10)])
def test_no_vendor_ever_refuses_and_hardly_a_unit_is_wasted(limit: int, periods: int) -> None:
    window = Rolling("minute", limit, 60.0, arrive_within=None)
    for seed, vendor in enumerate(vendors(limit, 60.0, random.Random(limit))):
        told = driven(vendor, paced((window,)), periods * 60.0, seed)
        assert told.refused == 0, vendor
        assert told.served >= 0.98 * limit * periods, (vendor, told)


@guarded(
    "a slow answer costs nothing",
    "quotas/counting.py",
    "return min(now, max(written, grant.at) + spec.arrive)",
    "return now",
)
def test_a_slow_vendor_is_used_as_well() -> None:
    """Three seconds of work behind the arrival: the call counts from a second after it was written."""
    for seed, vendor in enumerate(vendors(60, 60.0, random.Random(3))):
        told = driven(vendor, paced((Rolling("minute", 60, 60.0),)), 720.0, seed, work=3.0)
        assert told.refused == 0
        assert told.served >= 0.98 * 60 * 12, (vendor, told)


@pytest.mark.parametrize(("limit", "ceiling"), [(5, 0.79), (30, 0.955), (200, 0.981)])
@guarded(
    "one unit less for a vendor that estimates",
    "quotas/windows.py",
    "return max(1, self.limit - 1) if self.profile",
    "return max(1, self.limit) if self.profile",
)
def test_a_vendor_that_estimates_is_not_tripped(limit: int, ceiling: float) -> None:
    window = Rolling("minute", limit, 60.0, profile="counter")
    for seed in range(3):
        told = driven(CounterVendor(limit, 60.0, 17.3 * seed), paced((window,)), 10 * 60.0, seed)
        assert told.refused == 0
        assert told.served >= (ceiling - 0.01) * limit * 10, told


@guarded("a refusal lowers the limit", "quotas/counting.py", "DOWN = 0.9 ", "DOWN = 1.0 ")
@pytest.mark.parametrize("real", [20, 24, 27])
def test_a_limit_that_is_declared_too_high_is_learned(real: int) -> None:
    """Thirty a minute are declared."""
    told = driven(SlidingVendor(real, 60.0), paced((Rolling("minute", 30, 60.0),)), 5 * 3600.0, 1, learns=True)
    assert told.refused < 0.005 * told.served
    assert told.served >= 0.9 * real * 300
