"""The ledger against vendors nobody tuned it to, in virtual time: each kind of limiter, a slow vendor, users' orders."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Lane, Window
from tests.emulator.limiters import LIMITERS, Line, ceiling
from tests.emulator.vendor import Terms
from tests.emulator.virtual import live, windows_of
from tests.guards import guarded

HOUR = 3600.0
LATE = 0.25  # seconds: how often a worker looks into its queue
CASES = [(kind, limit, late) for kind in LIMITERS for limit, late in ((5, 0.0), (60, 0.0), (200, LATE))]


@guarded(
    "ledger: a call counts from its sending",
    "quotas/counting.py",
    "    return min(now, max(written, grant.at) + spec.arrive)",
    "    return grant.at",
)
@guarded(
    "ledger: a vendor that estimates is planned with its full limit",
    "quotas/windows.py",
    'return max(1, self.limit - 1) if self.profile == "counter" else self.limit',
    "return self.limit",
)
@guarded(
    "ledger: a vendor that estimates is asked in bursts",
    "quotas/windows.py",
    "EVEN = 0.99",
    "EVEN = 1.05",
)
@guarded(
    "ledger: who comes a little late has lost its turn",
    "quotas/counting.py",
    "row.tat = max(row.tat, now - min(spec.interval, LATE))",
    "row.tat = max(row.tat, now)",
)
@pytest.mark.parametrize(("kind", "limit", "late"), CASES)
def test_no_kind_of_limiter_refuses_a_call_and_hardly_a_unit_is_left(kind: str, limit: int, late: float) -> None:
    for seed in (1, 2):
        terms = Terms(kind, limit, strict=True, seed=seed)
        lived = live(MemoryLedger, terms, seconds=max(660.0, 6 * HOUR / limit), late=late)
        assert (lived.refused, lived.early) == (0, 0)
        best = ceiling(kind, limit, terms.period, terms.line)
        assert lived.used >= (best - 0.01 if kind == "counter" else 0.98)
        assert lived.used <= best + limit**-1, "what cannot be was measured wrongly"


@guarded(
    "ledger: a slow answer is waited for before the call ages",
    "quotas/counting.py",
    "    if written is None or spec.arrive is None:\n        return now",
    "    if True:\n        return now",
)
@pytest.mark.parametrize("limit", [5, 60])
def test_a_vendor_that_works_three_seconds_on_each_call_is_used_no_less(limit: int) -> None:
    terms = Terms("rolling", limit, strict=True, line=Line(work=3.0))
    lived = live(MemoryLedger, terms, seconds=HOUR)
    assert (lived.refused, lived.early) == (0, 0)
    assert lived.used >= 0.98
    strict = live(MemoryLedger, terms, seconds=HOUR, windows=windows_of(terms, arrive_within=None))
    assert (strict.refused, strict.early) == (0, 0)
    assert strict.used < 0.96, "who does not know when a call is counted pays for the whole answer"


class OneLane(MemoryLedger):
    """A ledger to which all calls are alike."""

    def acquire(self, windows: Sequence[Window], cost: int = 1, *, lane: Lane = "scheduled") -> Grant | Denied:
        return super().acquire(windows, cost, lane="scheduled")


@guarded(
    "ledger: no unit is held for an urgent call",
    "quotas/counting.py",
    "        row.hold_lane, row.hold_until, row.changed = rank, until, True",
    "        pass",
)
@guarded(
    "ledger: pacing leaves a gap at the end of each period",
    "quotas/windows.py",
    "PACE = 1.0",
    "PACE = 1.05",
)
def test_a_users_call_waits_two_seconds_at_most_where_everything_is_spent() -> None:
    waits: list[float] = []
    for seed in range(4):
        terms = Terms("rolling", 60, strict=True, seed=seed)
        lived = live(MemoryLedger, terms, seconds=12 * 60.0, callers=27, orders_every=7.0, late=LATE / 5)
        assert (lived.refused, lived.early) == (0, 0)
        assert lived.used >= 0.98
        waits += lived.waits
    assert len(waits) > 300
    assert max(waits) <= 2.0
    alike = live(OneLane, Terms("rolling", 60, strict=True), seconds=12 * 60.0, callers=27, orders_every=7.0)
    assert max(alike.waits) > 10.0, "without lanes a user waits behind all others"


@guarded(
    "ledger: an urgent call goes out of turn where a vendor estimates",
    "quotas/windows.py",
    "for_all=estimated))",
    "for_all=False))",
)
@pytest.mark.parametrize("seed", range(6))
def test_a_vendor_that_estimates_refuses_no_urgent_call_either(seed: int) -> None:
    terms = Terms("counter", 60, strict=True, seed=seed)
    lived = live(MemoryLedger, terms, seconds=20 * 60.0, orders_every=2.0, late=0.1)
    assert (lived.refused, lived.early) == (0, 0)
    assert lived.used >= ceiling("counter", 60, terms.period, terms.line) - 0.01


def test_a_virtual_vendor_notices_a_ledger_that_counts_from_the_sending() -> None:
    """The sliding log that libraries have: it is refused, and far more so where refused calls count."""

    def usual(strict: bool) -> tuple[int, float]:
        terms = Terms("rolling", 5, strict=strict)
        lived = live(MemoryLedger, terms, seconds=6 * HOUR, windows=windows_of(terms, arrive_within=0.0))
        return lived.refused, lived.used

    refused, used = usual(strict=False)
    assert refused > 100
    assert used < 0.95
    assert usual(strict=True)[1] < 0.6
