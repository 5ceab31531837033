"""The contract of a quota ledger, engine-agnostic: what each of its methods promises."""

from __future__ import annotations

import heapq
import itertools
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from fin_infra.errors import StoreError, UsageError
from fin_infra.quotas.ledger import FRAME, Denied, Grant, Ledger
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Calendar, Lane, Rolling, Spacing, Window
from fin_infra.store.ledger import migrate_ledger, open_ledger
from fin_infra.testing import VirtualClock
from tests.guards import guarded
from tests.postgres import PostgresServer

START = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = Rolling("plaid/app#minute", 3, 60.0)
DAY = Rolling("plaid/app#day", 25, 86_400.0, None)
TODAY = Calendar("coin/app#today", 4, "day", "UTC")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger of each kind."""
    if request.param == "memory":
        yield MemoryLedger(clock)
        return
    if request.param == "sqlite":
        opened = open_ledger(f"sqlite:///{tmp_path / 'new' / 'quota.db'}", now=clock)
        yield opened
        opened.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.lent() as url:
        migrate_ledger(url)
        opened = open_ledger(url, now=clock)
        yield opened
        opened.close()


def given(ledger: Ledger, *windows: Window, cost: int = 1, lane: Lane = "scheduled") -> Grant:
    found = ledger.acquire(windows, cost, lane=lane)
    assert isinstance(found, Grant), found
    return found


def denied(ledger: Ledger, *windows: Window, cost: int = 1, lane: Lane = "scheduled") -> Denied:
    found = ledger.acquire(windows, cost, lane=lane)
    assert isinstance(found, Denied), found
    return found


def row(ledger: Ledger, window: Window) -> dict[str, Any]:
    return ledger.frame().row(by_predicate=pl.col("window") == window.key, named=True)


# -- acquire and settle --------------------------------------------------------------------------------------------------


def test_all_windows_or_none(ledger: Ledger) -> None:
    for _ in range(3):
        given(ledger, MINUTE, DAY)
    found = denied(ledger, DAY, MINUTE)
    assert (found.window, found.why) == (MINUTE, "full")
    assert row(ledger, DAY)["used"] == 3  # nothing of the denied call


def test_a_call_without_windows_is_free(ledger: Ledger) -> None:
    ledger.settle(given(ledger))
    assert ledger.frame().height == 0
    assert ledger.capacity((), 1.0) > 10**6


def test_a_call_counts_from_its_answer(ledger: Ledger, clock: VirtualClock) -> None:
    window = replace(MINUTE, limit=1, arrive_within=None)
    grant = given(ledger, window)
    assert denied(ledger, window).eta == 30 + 60  # in flight: as if it were answered as late as can be
    clock.advance(2 * SECOND)
    ledger.settle(grant)
    assert denied(ledger, window).eta == 60


def test_a_slow_answer_counts_from_a_second_after_it_was_asked_for(ledger: Ledger, clock: VirtualClock) -> None:
    window = replace(MINUTE, limit=1)
    grant = given(ledger, window)
    assert denied(ledger, window).eta == 61
    clock.advance(5 * SECOND)
    ledger.settle(grant, written=START + SECOND)
    assert denied(ledger, window).at == START + 62 * SECOND


def test_a_late_answer_of_a_call_given_up_counts_still(ledger: Ledger, clock: VirtualClock) -> None:
    """It came when its entry had ended: the vendor may have counted it just now."""
    window = Rolling("slow#second", 1, 1.0, None)
    grant = given(ledger, window)
    clock.advance(40 * SECOND)
    other = given(ledger, window)
    ledger.cancel(other)
    ledger.settle(grant)
    assert denied(ledger, window).eta == 1


def test_a_crashed_callers_unit_comes_back(ledger: Ledger, clock: VirtualClock) -> None:
    window = replace(MINUTE, limit=1)
    given(ledger, window)
    clock.advance(61 * SECOND)
    given(ledger, window)


@guarded(
    "a grant ends once",
    "quotas/base.py",
    "if not grant.windows or grant.id in self._ended:\n            return\n"
    "        specs = self._specs(grant.windows)\n        sent",
    "if not grant.windows:\n            return\n        specs = self._specs(grant.windows)\n        sent",
)
def test_a_second_settle_changes_nothing(ledger: Ledger, clock: VirtualClock) -> None:
    windows = (replace(MINUTE, charge="success"), replace(TODAY, charge="success"))
    grant = given(ledger, *windows, cost=2)
    for _ in range(2):
        ledger.settle(grant, success=False)
        ledger.cancel(grant)
    assert ledger.frame()["used"].to_list() == [0, 0]
    grant = given(ledger, *windows, cost=2)
    ledger.settle(grant)
    clock.advance(70 * SECOND)
    ledger.settle(grant)
    assert ledger.frame()["used"].to_list() == [2, 0]


def test_a_cancelled_call_was_never_given(ledger: Ledger) -> None:
    pace = Spacing("plaid/app#pace", 10.0)
    before = given(ledger, MINUTE, TODAY, pace)
    ledger.cancel(before)
    for name, used in (("coin/app#today", 0), ("plaid/app#minute", 0), ("plaid/app#pace", 0)):
        assert ledger.frame().row(by_predicate=pl.col("window") == name, named=True)["used"] == used
    given(ledger, MINUTE, TODAY, pace)


def test_a_call_may_cost_more_or_less_than_thought(ledger: Ledger, clock: VirtualClock) -> None:
    grant = given(ledger, DAY, TODAY, cost=2)
    ledger.settle(grant, cost=3)
    assert ledger.frame()["used"].to_list() == [3, 3]
    ledger.settle(given(ledger, DAY), cost=0)
    assert row(ledger, DAY)["used"] == 3


def test_a_refused_call_is_free_where_success_is_charged(ledger: Ledger) -> None:
    free, charged = replace(MINUTE, charge="success"), DAY
    ledger.settle(given(ledger, free, charged), success=False)
    assert (row(ledger, free)["used"], row(ledger, charged)["used"]) == (0, 1)


def test_a_call_that_costs_more_than_the_window_has_takes_all_of_it(ledger: Ledger, clock: VirtualClock) -> None:
    grant = given(ledger, MINUTE, cost=5)
    ledger.settle(grant)
    assert denied(ledger, MINUTE).eta == 60
    clock.advance(60 * SECOND)
    given(ledger, MINUTE, cost=5)


def test_two_windows_of_one_name_are_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="one name"):
        ledger.acquire((MINUTE, MINUTE))


# -- days and months -----------------------------------------------------------------------------------------------------


def test_a_day_frees_all_at_its_reset_and_is_closed_around_it(ledger: Ledger, clock: VirtualClock) -> None:
    for _ in range(4):
        ledger.settle(given(ledger, TODAY))
    reset = datetime(2026, 3, 8, tzinfo=UTC)
    found = denied(ledger, TODAY)
    assert (found.at, found.why) == (reset + 5 * SECOND, "full")
    clock.set(reset - 5 * SECOND)
    assert denied(ledger, TODAY).why == "closed"
    clock.set(reset + 4 * SECOND)
    assert denied(ledger, TODAY).why == "closed"
    clock.set(reset + 5 * SECOND)
    given(ledger, TODAY)


@guarded(
    "who knows on which side of the reset it was counted",
    "quotas/counting.py",
    "                row.used += units\n            elif",
    "                row.used += 0\n            elif",
)
def test_a_call_that_is_answered_behind_the_reset_counts_in_both_days(ledger: Ledger, clock: VirtualClock) -> None:
    clock.set(datetime(2026, 3, 7, 23, 59, 54, tzinfo=UTC))
    grant = given(ledger, TODAY)
    clock.advance(7 * SECOND)
    ledger.settle(grant)
    assert row(ledger, TODAY)["used"] == 1
    clock.advance(86_400 * SECOND)
    assert row(ledger, TODAY)["used"] == 0


# -- pace, hold, reserve -------------------------------------------------------------------------------------------------


def test_calls_are_paced_but_for_those_a_person_waits_for(ledger: Ledger, clock: VirtualClock) -> None:
    pace = Spacing("plaid/app#pace", 2.0)
    given(ledger, pace)
    found = denied(ledger, pace, lane="webhook")
    assert (found.eta, found.why) == (1.85, "pace")  # it may come a little late and cost nothing
    given(ledger, pace, lane="interactive")
    assert denied(ledger, pace).eta == 3.85


@guarded(
    "the next unit is for who is more urgent",
    "quotas/counting.py",
    "if row.hold_until > when and row.hold_lane < lane:",
    "if row.hold_until > FAR and row.hold_lane < lane:",
)
def test_the_next_unit_is_held_for_the_more_urgent_call(ledger: Ledger, clock: VirtualClock) -> None:
    for _ in range(3):
        ledger.settle(given(ledger, MINUTE, lane="backfill"))
        clock.advance(10 * SECOND)
    urgent = denied(ledger, MINUTE, lane="interactive")
    clock.set(urgent.at)
    for lane in ("webhook", "scheduled", "backfill"):
        found = denied(ledger, MINUTE, lane=lane)
        assert (found.why, found.at) == ("hold", urgent.at + SECOND / 4)
    given(ledger, MINUTE, lane="interactive")
    assert row(ledger, MINUTE)["hold"] is None
    clock.advance(10 * SECOND)
    given(ledger, MINUTE, lane="backfill")  # held no longer


def test_a_hold_ends_when_nobody_comes(ledger: Ledger, clock: VirtualClock) -> None:
    for _ in range(3):
        ledger.settle(given(ledger, MINUTE))
    urgent = denied(ledger, MINUTE, lane="webhook")
    less = denied(ledger, MINUTE, lane="backfill")
    assert less.at == urgent.at + SECOND / 4
    clock.set(less.at)
    given(ledger, MINUTE, lane="backfill")


def one_day_vendor(window: Window, seed: int, *, days: int = 30, warm: int = 6) -> tuple[float, float]:
    """Sixty symbols due each day after the close, urgent calls at random, eight a day: the share of those that are
    served at once, and of all units that are used."""
    draw, clock = random.Random(seed), VirtualClock(START)
    ledger = MemoryLedger(clock)
    order = itertools.count()
    events: list[tuple[datetime, int, str]] = []
    at = START
    while at < START + timedelta(days=days):
        at += timedelta(days=draw.expovariate(8))
        events.append((at, next(order), "urgent"))
    for day in range(days):
        events.append((START + timedelta(days=day, hours=9), next(order), "due"))
    heapq.heapify(events)
    pending = asked = served = used = 0
    waits = False
    while events[0][0] < START + timedelta(days=days):
        now, _, what = heapq.heappop(events)
        clock.set(now)
        counts = now >= START + timedelta(days=warm)
        if what == "urgent":
            grant = ledger.acquire((window,), lane="interactive")
            asked += counts
            served += counts and isinstance(grant, Grant)
            if isinstance(grant, Grant):
                ledger.settle(grant)
                used += counts
            continue
        if what == "due":
            pending = 60
            if waits:
                continue
        waits = False
        while pending:
            found = ledger.acquire((window,))
            if isinstance(found, Denied):
                heapq.heappush(events, (found.at, next(order), "again"))
                waits = True
                break
            ledger.settle(found)
            used, pending = used + counts, pending - 1
    return served / asked, used / (25 * (days - warm))


@guarded(
    "units of a day are kept for urgent calls",
    "quotas/counting.py",
    "math.ceil(expected + math.sqrt(expected) - 0.25)",
    "math.ceil(expected / 9)",
)
def test_the_reserve_of_a_day_serves_urgent_calls_and_is_used_up() -> None:
    runs = [one_day_vendor(Calendar("day", 25, "day", "America/New_York"), seed) for seed in range(5)]
    assert sum(served for served, _ in runs) / 5 >= 0.85
    assert min(used for _, used in runs) >= 0.99


def test_a_log_of_a_day_keeps_a_unit_between_releases() -> None:
    runs = [one_day_vendor(Rolling("day", 25, 86_400.0, None), seed, days=18) for seed in range(3)]
    assert sum(served for served, _ in runs) / 3 >= 0.6
    assert min(used for _, used in runs) >= 0.95


# -- the vendor's word ---------------------------------------------------------------------------------------------------


def test_nobody_passes_before_the_vendor_said(ledger: Ledger, clock: VirtualClock) -> None:
    until = START + timedelta(minutes=7)
    ledger.penalize((MINUTE,), until)
    ledger.penalize((MINUTE,), START)  # a shorter one does not shorten it
    found = denied(ledger, MINUTE, lane="interactive")
    assert (found.at, found.why) == (until, "blocked")
    assert row(ledger, MINUTE)["blocked_until"] == until
    clock.set(until)
    given(ledger, MINUTE, lane="interactive")


@guarded(
    "one step down for all calls that were under way",
    "quotas/counting.py",
    "        if grant.at > row.adapted_at:",
    "        if grant.at > 0:",
)
def test_a_refusal_lowers_the_limit_once_and_clean_periods_restore_it(ledger: Ledger, clock: VirtualClock) -> None:
    window = replace(MINUTE, limit=20)
    grants = [given(ledger, window) for _ in range(3)]
    clock.advance(SECOND)
    for grant in grants:
        ledger.settle(grant)
        ledger.throttled(grant, grant.windows)
    found = row(ledger, window)
    assert (found["limit"], found["declared"], found["throttled"]) == (18, 20, 3)
    clock.advance(timedelta(minutes=10))
    assert row(ledger, window)["limit"] == 19
    clock.advance(timedelta(minutes=100))
    assert row(ledger, window)["limit"] == 20


def test_what_others_spent_counts_until_the_reset(ledger: Ledger, clock: VirtualClock) -> None:
    window = replace(MINUTE, limit=10)
    grant, second = given(ledger, window), given(ledger, window)
    ledger.observe(second, window, 8)  # as we know
    assert row(ledger, window)["used"] == 2
    reset = START + 20 * SECOND
    ledger.observe(grant, window, 5, reset)  # it had 8 to 9 left, by us; somebody else took three at least
    assert (row(ledger, window)["used"], row(ledger, window)["spent"]) == (5, 2)
    ledger.observe(second, window, 5, reset)  # what is told twice counts once
    ledger.observe(second, window, 9, reset)  # and never does a vendor give units back
    assert row(ledger, window)["used"] == 5
    clock.set(reset)
    assert row(ledger, window)["used"] == 2


def test_a_lower_limit_of_the_vendors_takes_ours_place(ledger: Ledger) -> None:
    window = replace(MINUTE, limit=10)
    grant = given(ledger, window)
    ledger.observe(grant, window, 4, limit=5)
    found = row(ledger, window)
    assert (found["limit"], found["used"]) == (5, 1)


def test_a_window_declared_anew_keeps_what_is_spent(ledger: Ledger) -> None:
    for _ in range(3):
        given(ledger, MINUTE)
    denied(ledger, MINUTE)
    given(ledger, replace(MINUTE, limit=4))
    assert (row(ledger, MINUTE)["used"], row(ledger, MINUTE)["limit"]) == (4, 4)


# -- capacity, leases, the frame -----------------------------------------------------------------------------------------


def test_capacity_is_what_the_horizon_gives(ledger: Ledger, clock: VirtualClock) -> None:
    assert ledger.capacity((MINUTE, DAY), 6.0) == 3
    for _ in range(3):
        ledger.settle(given(ledger, MINUTE, DAY))
        clock.advance(10 * SECOND)
    assert ledger.capacity((MINUTE, DAY), 6.0) == 0
    assert ledger.capacity((MINUTE, DAY), 45.0) == 2
    assert ledger.capacity((DAY,), 6.0) == 22
    pace = Spacing("plaid/app#pace", 2.0)
    given(ledger, pace)
    assert ledger.capacity((pace,), 6.0) == 3
    assert ledger.capacity((pace, DAY), 6.0, lane="interactive") == 22
    ledger.penalize((DAY,), clock() + timedelta(minutes=1))
    assert ledger.capacity((DAY, pace), 6.0) == 0


def test_what_capacity_promises_is_given(ledger: Ledger, clock: VirtualClock) -> None:
    windows = (MINUTE, replace(DAY, limit=10))
    for _ in range(4):
        promised = ledger.capacity(windows, 0.0)
        for _ in range(promised):
            ledger.settle(given(ledger, *windows))
        denied(ledger, *windows)
        clock.advance(61 * SECOND)


def test_a_lease_has_one_owner(ledger: Ledger, clock: VirtualClock) -> None:
    assert ledger.lease("plan/plaid", "one", 10.0)
    assert not ledger.lease("plan/plaid", "two", 10.0)
    assert ledger.lease("plan/other", "two", 10.0)
    clock.advance(9 * SECOND)
    assert ledger.lease("plan/plaid", "one", 10.0)
    clock.advance(10 * SECOND)
    assert ledger.lease("plan/plaid", "two", 10.0)
    assert not ledger.lease("plan/plaid", "one", 10.0)


def test_the_frame_tells_every_window(ledger: Ledger, clock: VirtualClock) -> None:
    for _ in range(3):
        ledger.settle(given(ledger, MINUTE, TODAY, DAY))
    denied(ledger, MINUTE, lane="webhook")
    frame = ledger.frame()
    assert frame.columns == list(FRAME)
    assert frame["window"].to_list() == ["coin/app#today", "plaid/app#day", "plaid/app#minute"]
    full = START + 60 * SECOND
    assert row(ledger, MINUTE) == {
        "window": MINUTE.key, "kind": "rolling", "used": 3, "limit": 3, "declared": 3, "period_seconds": 60.0,
        "blocked_until": None, "hold": "webhook", "hold_until": full + SECOND / 4, "reserve": 0, "free_at": full,
        "reset_at": full, "throttled": 0, "spent": 3,
    }  # fmt: skip
    today = row(ledger, TODAY)
    assert (today["kind"], today["reset_at"]) == ("day", datetime(2026, 3, 8, tzinfo=UTC))
    clock.advance(120 * SECOND)
    assert row(ledger, MINUTE)["used"] == 0


# -- many at once --------------------------------------------------------------------------------------------------------


def test_threads_never_get_more_than_there_is(ledger: Ledger) -> None:
    window, grants, lock = replace(DAY, limit=40), [], threading.Lock()

    def work() -> None:
        while isinstance(found := ledger.acquire((window, replace(MINUTE, limit=60))), Grant):
            with lock:
                grants.append(found.id)
            ledger.settle(found)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(grants)) == len(grants) == 40


# -- on disk -------------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_the_days_count(clock: VirtualClock, tmp_path: Path, ledger: Ledger) -> None:
    url = getattr(ledger, "url", None)
    if url is None:
        return  # what is in memory ends with its process
    given(ledger, TODAY, DAY)
    ledger.close()
    again = open_ledger(url, now=clock)
    given(again, TODAY, DAY)
    assert again.frame()["used"].to_list() == [2, 2]
    again.close()


def test_a_ledger_out_of_reach_denies(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    ledger = open_ledger(f"sqlite:///{tmp_path / 'quota.db'}", now=clock)
    grant = given(ledger, MINUTE)
    ledger.close()
    (tmp_path / "quota.db").unlink()
    (tmp_path / "quota.db").mkdir()
    for _ in range(3):
        found = denied(ledger, MINUTE, lane="interactive")
        assert (found.eta, found.window, found.why) == (5.0, None, "unreachable")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(StoreError):
        ledger.settle(grant)


@guarded("a ledger whose file is gone counts on alone", "store/ledger.py",
         "if session is not None and session.moved():", "if False:")  # fmt: skip
def test_a_ledger_whose_file_is_taken_away_denies_and_goes_on_in_the_one_that_takes_its_place(
    tmp_path: Path, clock: VirtualClock
) -> None:
    url, path = f"sqlite:///{tmp_path / 'quota.db'}", tmp_path / "quota.db"
    ledger = open_ledger(url, now=clock)
    grant = given(ledger, MINUTE)
    path.unlink()
    found = denied(ledger, MINUTE, lane="interactive")
    assert found.why == "unreachable"
    assert not path.exists(), "an empty one would count from nothing"
    other = open_ledger(url, now=clock)  # somebody began a new one
    given(ledger, MINUTE)
    given(other, MINUTE)
    ledger.settle(grant)  # a call that was made: the new one counts it too
    assert ledger.frame()["used"].to_list() == other.frame()["used"].to_list() == [3]
    ledger.close()
    other.close()


@guarded("each call waits for a lock that another process has", "store/ledger.py",
         "self._shut = ended + AGAIN", "pass")  # fmt: skip
def test_a_lock_that_another_process_keeps_is_waited_for_once(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fin_infra.store.ledger.PATIENCE", 1.0)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'quota.db'}", now=clock)
    other = sqlite3.connect(tmp_path / "quota.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert denied(ledger, MINUTE).why == "unreachable"
    began = time.monotonic()
    assert [denied(ledger, MINUTE).why for _ in range(3)] == ["unreachable"] * 3
    assert time.monotonic() - began < 0.5
    other.close()
    ledger.close()


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"not a database at all, but something dear to somebody" * 30)
    before = other.read_bytes()
    with pytest.raises(UsageError, match="not a fin_infra quota ledger"):
        open_ledger(f"sqlite:///{other}")
    assert other.read_bytes() == before


def test_postgres_without_our_tables_says_what_to_do(postgres: PostgresServer) -> None:
    with pytest.raises(UsageError, match="fin-infra migrate"):
        open_ledger(postgres.empty())


@pytest.mark.parametrize("make", [migrate_ledger])
def test_migrating_twice_changes_nothing(postgres: PostgresServer, make: Callable[[str], bool], tmp_path: Path) -> None:
    for url in (postgres.empty(), f"sqlite:///{tmp_path / 'quota.db'}"):
        assert make(url)
        assert not make(url)


def test_the_servers_clock_counts_where_none_is_given(postgres: PostgresServer) -> None:
    with postgres.lent() as url:
        migrate_ledger(url)
        ledger = open_ledger(url)
        grant = given(ledger, DAY)
        assert abs(grant.at / 1e6 - datetime.now(UTC).timestamp()) < 60
        ledger.settle(grant, written=datetime.now(UTC))
        assert row(ledger, DAY)["used"] == 1
        ledger.close()


def test_a_connection_that_the_server_closed_is_made_again(postgres: PostgresServer) -> None:
    with postgres.lent() as url:
        migrate_ledger(url)
        ledger = open_ledger(url)
        given(ledger, DAY)
        with postgres.connect(urlsplit(url).path[1:]) as sql:
            sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                        "AND pid <> pg_backend_pid()")  # fmt: skip
        given(ledger, DAY)
        assert row(ledger, DAY)["used"] == 2
        ledger.close()


@guarded(
    "calls of a clock that was far ahead block a window for a while, not until that date",
    "quotas/counting.py",
    "and _set_back(state, spec, row, entry):",
    "and False:",
)
@guarded(
    "a day that a clock far ahead has begun ends with this one",
    "quotas/counting.py",
    "elif row.win > end:",
    "elif False:",
)
def test_a_clock_that_was_years_ahead_starves_nobody_until_then(ledger: Ledger, clock: VirtualClock) -> None:
    pace = Spacing("coin/app#pace", 20.0)
    clock.advance(timedelta(days=20_000))
    for _ in range(3):
        given(ledger, MINUTE, pace, TODAY)
        clock.advance(20 * SECOND)
    ledger.penalize((DAY,), clock() + timedelta(days=1))
    clock.advance(START - clock())
    assert denied(ledger, MINUTE, pace, TODAY).eta <= 60.0
    assert denied(ledger, MINUTE, lane="interactive").eta <= 60.0  # what it spent counts
    given(ledger, DAY)
    for _ in range(3):
        clock.advance(timedelta(days=1))
        for _ in range(3):
            given(ledger, MINUTE, pace, TODAY)
            clock.advance(21 * SECOND)


@guarded(
    "no word of a vendor's closes a window for years",
    "quotas/counting.py",
    "until = min(until, state.now + MONTH + DAY)",
    "until = min(until, FAR)",
)
def test_nobody_waits_longer_than_the_longest_window(ledger: Ledger, clock: VirtualClock) -> None:
    ledger.penalize((MINUTE,), START + timedelta(days=20_000))
    assert denied(ledger, MINUTE).eta <= 32 * 86_400


def test_a_frame_of_some_windows_has_those_alone(ledger: Ledger) -> None:
    given(ledger, MINUTE, TODAY)
    assert ledger.frame((TODAY,))["window"].to_list() == [TODAY.key]
    assert ledger.frame((TODAY,)).equals(ledger.frame().filter(pl.col("window") == TODAY.key))
