"""What a backfill costs: pure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fin_infra.engine.backfilling.reckoning import duration, reckon
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import PACE, Rolling, paced
from tests.backfill_world import NOW
from tests.guards import guarded
from tests.simulation.clock import SimClock


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 second"), (44, "44 seconds"), (90, "2 minutes"), (2400, "40 minutes"), (5400, "1.5 hours"),
     (86_400, "24 hours"), (12 * 86_400, "12 days"), (2.25 * 86_400, "2.2 days")],
)  # fmt: skip
def test_a_length_of_time_for_people(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("window", "calls", "told"),
    [(Rolling("day", 25, 86400.0), 310, "25 a day: 12 days"), (Rolling("minute", 75, 60.0), 3000, "75 a minute: 39 minutes"),
     (Rolling("minute", 200, 60.0), 152, "200 a minute: 30 seconds")],
)  # fmt: skip
def test_each_window_is_told(window: Rolling, calls: int, told: str) -> None:
    ledger = MemoryLedger(SimClock(NOW))
    assert reckon(calls, paced((window,)), ledger, NOW).costs[0].sentence() == told


@guarded("the dry run forgets the pace", "engine/backfilling/reckoning.py",
         "    seconds = played(calls, windows, ledger, now, units=units)",
         "    seconds = max(cost.seconds for cost in costs)")  # fmt: skip
def test_the_pace_counts_as_much_as_the_window() -> None:
    ledger, windows = MemoryLedger(SimClock(NOW)), paced((Rolling("minute", 200, 60.0),))
    assert reckon(152, windows, ledger, NOW).seconds == pytest.approx(151 * 60 / (PACE * 200) + 0.2, rel=0.01)


def test_many_calls_go_on_at_the_pace_of_those_that_were_played() -> None:
    ledger, windows = MemoryLedger(SimClock(NOW)), paced((Rolling("minute", 200, 60.0),))
    many = reckon(200_000, windows, ledger, NOW).seconds
    assert many == pytest.approx(200_000 / 200 * 60, rel=0.01)


@guarded("a dry run begins with an empty ledger", "engine/backfilling/reckoning.py",
         "rehearsal(ledger, windows, clock)", "rehearsal(ledger, (), clock)")  # fmt: skip
def test_a_used_up_day_counts_in_what_the_dry_run_tells() -> None:
    clock = SimClock(NOW)
    ledger, day = MemoryLedger(clock), Rolling("vendor/app#day", 25, 86400.0)
    for _ in range(20):
        ledger.settle(ledger.acquire((day,)))  # type: ignore[arg-type]
        clock.hop(timedelta(minutes=6))
    told = reckon(30, (day,), ledger, clock())
    assert told.costs[0].sentence() == "25 a day: 24 hours"
    assert reckon(5, (day,), ledger, clock()).seconds < 60, "so many are left"
    assert reckon(6, (day,), ledger, clock()).seconds == pytest.approx(22 * 3600, rel=0.01), "the first comes back"
    begun = clock.seconds
    for _ in range(30):
        while not hasattr(answer := ledger.acquire((day,), lane="backfill"), "id"):
            clock.hop(timedelta(seconds=answer.eta))
        ledger.settle(answer)  # type: ignore[arg-type]
    assert told.seconds == pytest.approx(clock.seconds - begun, rel=0.05)


@pytest.mark.parametrize(("then", "now"), [(1, 25), (500, 25)])
def test_limits_that_were_set_after_the_last_call_count(then: int, now: int) -> None:
    ledger = MemoryLedger(SimClock(NOW))
    ledger.settle(ledger.acquire((Rolling("vendor/app#day", then, 86400.0),)))  # type: ignore[arg-type]
    told = reckon(25, (Rolling("vendor/app#day", now, 86400.0),), ledger, NOW)
    assert told.costs[0].sentence() == "25 a day: 24 hours"
    assert reckon(24, (Rolling("vendor/app#day", now, 86400.0),), ledger, NOW).seconds < 60
