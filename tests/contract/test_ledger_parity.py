"""The three ledgers decide alike, and their ETA is the moment: random histories over the spring change of the clocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_infra.quotas.ledger import Denied, Grant, Ledger
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import LANES, Calendar, Rolling, Spacing, Window
from fin_infra.store.ledger import migrate_ledger, open_ledger
from fin_infra.testing import VirtualClock
from tests.guards import guarded
from tests.postgres import PostgresServer

START = datetime(
    2026, 3, 8, 4, 40, tzinfo=UTC
)  # in New York twenty minutes to midnight, and at two o'clock it is three
EARLIER = timedelta(milliseconds=10)
ALIKE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
EXACT = settings(deadline=None, max_examples=150)

WINDOWS: tuple[tuple[Window, ...], ...] = (
    (Rolling("second", 2, 1.0), Rolling("minute", 6, 60.0), Rolling("day", 25, 86_400.0, None)),
    (Rolling("minute", 4, 60.0, None, charge="success"), Spacing("pace", 2.5)),
    (Calendar("today", 9, "day", "America/New_York", charge="success"), Rolling("counter", 4, 30.0, profile="counter")),
    (Calendar("month", 12, "month", "America/New_York", anchor=8), Spacing("pace", 0.7)),
    (Rolling("hours", 10, 7_200.0, None), Calendar("today", 16, "day", "America/New_York", skew=2.0)),
)
spans = st.one_of(
    st.integers(0, 3_000_000), st.integers(0, 90_000_000), st.integers(0, 8_000_000_000), st.integers(0, 2 * 10**11)
).map(lambda micros: timedelta(microseconds=micros))
acquires = st.tuples(st.just("acquire"), st.integers(1, 3), st.sampled_from(LANES))
steps = st.one_of(
    acquires, acquires, acquires,
    st.tuples(st.just("wait"), spans),
    st.tuples(st.just("come back"), st.sampled_from((timedelta(0), -EARLIER))),
    st.tuples(st.just("settle"), st.integers(0, 5), st.booleans(), st.sampled_from((None, None, None, 0, 1, 4)), spans),
    st.tuples(st.just("settle"), st.integers(0, 5), st.just(True), st.none(), st.none()),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("penalize"), spans),
    st.tuples(st.just("throttled"), st.integers(0, 5)),
    st.tuples(st.just("observe"), st.integers(0, 5), st.integers(0, 2), st.integers(0, 9), st.none() | spans,
              st.none() | st.integers(1, 9)),
    st.tuples(st.just("capacity"), spans, st.sampled_from(LANES)),
)  # fmt: skip
histories = st.tuples(st.sampled_from(WINDOWS), st.lists(steps, max_size=45))


class History:
    """A history as one ledger sees it, whose names have a prefix of their own; what it answers, without that."""

    def __init__(self, ledger: Ledger, prefix: str, windows: tuple[Window, ...]) -> None:
        from dataclasses import replace

        self.ledger = ledger
        self.prefix = prefix
        self.windows = tuple(replace(window, key=prefix + window.key) for window in windows)
        self.grants: list[Grant] = []
        self.denied: Denied | None = None

    def play(self, step: tuple[Any, ...], now: datetime) -> Any:
        match step:
            case "acquire", cost, lane:
                found = self.ledger.acquire(self.windows, cost, lane=lane)
                if isinstance(found, Grant):
                    self.grants.append(found)
                    return found.left, found.total, found.at
                self.denied = found
                assert found.window is not None
                return found.at, found.window.key.removeprefix(self.prefix), found.why
            case "capacity", horizon, lane:
                return self.ledger.capacity(self.windows, horizon.total_seconds(), lane=lane)
            case "penalize", wait:
                self.ledger.penalize(self.windows[:1], now + wait / 10)
            case ("settle" | "cancel" | "throttled" | "observe") as name, place, *rest if self.grants:
                grant = self.grants[-1 - place % len(self.grants)]
                self.about(name, grant, rest, now)
        return None

    def about(self, name: str, grant: Grant, rest: list[Any], now: datetime) -> None:
        match name, rest:
            case "settle", [success, cost, ago]:
                written = None if ago is None else now - ago / 100
                self.ledger.settle(grant, written=written, cost=cost, success=success)
            case "cancel", []:
                self.ledger.cancel(grant)
            case "throttled", []:
                self.ledger.throttled(grant, grant.windows)
            case "observe", [which, remaining, reset, limit]:
                window = grant.windows[which % len(grant.windows)]
                until = None if reset is None else now + reset
                self.ledger.observe(grant, window, remaining, until, limit)

    def state(self) -> list[dict[str, Any]]:
        rows = self.ledger.frame().to_dicts()
        return [row for row in rows if row["window"].startswith(self.prefix)]


def moved(clock: VirtualClock, step: tuple[Any, ...], denied: Denied | None) -> None:
    if step[0] == "wait":
        clock.advance(step[1])
    if step[0] == "come back" and denied is not None and denied.at + step[1] > clock():
        clock.set(denied.at + step[1])


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[str]:
    with postgres.lent() as url:
        migrate_ledger(url)
        yield url


numbers = itertools.count()


def test_three_ledgers_decide_alike(server: str, tmp_path: Path) -> None:
    clock = VirtualClock(START)
    ledgers = [
        MemoryLedger(clock), open_ledger(f"sqlite:///{tmp_path / 'quota.db'}", now=clock), open_ledger(server, now=clock)
    ]  # fmt: skip

    @ALIKE
    @given(histories)
    def alike(history: tuple[tuple[Window, ...], list[tuple[Any, ...]]]) -> None:
        windows, played = history
        clock.set(START)
        prefix = f"{next(numbers)}:"
        runs = [History(ledger, prefix, windows) for ledger in ledgers]
        for step in played:
            moved(clock, step, runs[0].denied)
            memory, *others = [run.play(step, clock()) for run in runs]
            for other in others:
                assert other == memory, step
        first, *rest = [run.state() for run in runs]
        assert all(state == first for state in rest)

    alike()
    for ledger in ledgers:
        ledger.close()


@guarded(
    "an entry ends with its period",
    "quotas/counting.py",
    "ends.append((entry[0] + spec.period,",
    "ends.append((entry[0] + spec.period + 20_000,",
)
@EXACT
@given(histories, st.integers(1, 3), st.sampled_from(LANES))
def test_the_eta_is_the_moment(history: tuple[tuple[Window, ...], list[tuple[Any, ...]]], cost: int, lane: Any) -> None:
    """Nothing else happening, a denied call is admitted at its ETA, and not ten milliseconds before."""
    clock = VirtualClock(START)
    ledger = MemoryLedger(clock)
    run = History(ledger, "", history[0])
    for step in history[1]:
        moved(clock, step, run.denied)
        run.play(step, clock())
    for _ in range(4):
        denied = ledger.acquire(run.windows, cost, lane=lane)
        if isinstance(denied, Grant):
            continue
        assert abs((denied.at - clock()).total_seconds() - denied.eta) < 1e-6
        if denied.at - EARLIER > clock():
            clock.set(denied.at - EARLIER)
            before = ledger.acquire(run.windows, cost, lane=lane)
            assert isinstance(before, Denied)
            assert abs(before.at - denied.at) <= timedelta(milliseconds=2)
        clock.set(denied.at)
        assert isinstance(ledger.acquire(run.windows, cost, lane=lane), Grant)
