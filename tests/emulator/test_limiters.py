"""The emulated limiters keep to what their kind means: else a fleet that is never refused would prove nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulator.limiters import (
    LIMITERS,
    FixedWindow,
    Limiter,
    Line,
    RollingLog,
    TokenBucket,
    WindowCounter,
    ceiling,
)

ARRIVALS = st.lists(st.floats(0, 60, allow_nan=False), max_size=120).map(sorted)


def accepted(limiter: Limiter, arrivals: list[float]) -> list[float]:
    return [at for at in arrivals if limiter.asked(at)]


@given(ARRIVALS)
def test_a_rolling_limiter_accepts_all_that_fits_and_no_more(arrivals: list[float]) -> None:
    taken: list[float] = []
    for at, was in zip(arrivals, map(RollingLog(5, 10.0).asked, arrivals), strict=True):
        assert was is (sum(before > at - 10.0 for before in taken) < 5)
        taken += [at] if was else []


@given(ARRIVALS, st.floats(0, 10, exclude_max=True))
def test_a_fixed_window_counts_within_its_own_windows_only(arrivals: list[float], phase: float) -> None:
    taken = accepted(FixedWindow(5, 10.0, phase=phase), arrivals)
    for window in range(8):
        begin, end = window * 10.0 - phase, (window + 1) * 10.0 - phase
        there = sum(begin <= at < end for at in arrivals)
        assert sum(begin <= at < end for at in taken) == min(5, there)


@given(ARRIVALS)
def test_a_bucket_holds_its_capacity_and_fills_evenly(arrivals: list[float]) -> None:
    taken = accepted(TokenBucket(5, 10.0), arrivals)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= 5 + (taken[last] - begin) * 5 / 10.0 + 1e-6


def test_a_counter_refuses_legal_traffic() -> None:
    """Five calls at the begin of a window, then one more than ten seconds later: never more than five in ten seconds."""
    counter = WindowCounter(5, 10.0)
    assert [counter.asked(at) for at in (0.1, 0.2, 0.3, 0.4, 0.5)] == [True] * 5
    assert counter.asked(10.6) is False
    assert counter.asked(12.1) is True


@pytest.mark.parametrize("kind", LIMITERS)
def test_whoever_hammers_a_strict_limiter_gets_less(kind: str) -> None:
    def through(strict: bool) -> int:
        return len(accepted(LIMITERS[kind](5, 10.0, strict=strict, phase=3.0), [n / 10 for n in range(600)]))

    assert through(False) >= 25
    assert through(True) <= through(False)
    if kind in ("rolling", "bucket", "counter"):
        assert through(True) <= 10


@pytest.mark.parametrize("kind", LIMITERS)
@given(arrivals=ARRIVALS)
def test_who_waits_as_told_is_accepted_and_finds_all_at_the_reset(kind: str, arrivals: list[float]) -> None:
    limiter = LIMITERS[kind](5, 10.0, phase=3.0)
    accepted(limiter, arrivals)
    now = arrivals[-1] if arrivals else 0.0
    reset = now + limiter.reset(now) + 1e-6
    later = now + limiter.wait(now) + 1e-6
    assert limiter.left(later) >= 1
    assert limiter.left(max(reset, later)) == 5 or reset < later


def test_the_ceiling_is_what_a_round_trip_leaves() -> None:
    assert ceiling("rolling", 60, 60.0, Line()) == pytest.approx(0.9909, abs=1e-4)
    assert ceiling("rolling", 60, 60.0, Line(work=3.0)) == pytest.approx(0.9836, abs=1e-4)
    assert ceiling("counter", 5, 60.0, Line()) == pytest.approx(0.7927, abs=1e-4)
    assert ceiling("rolling", 20, 5.0, Line()) == pytest.approx(0.9009, abs=1e-4)
