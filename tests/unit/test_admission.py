"""What windows can carry is queued, and no more: by class, in turn among tenants, and no key in another's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from fin_infra.errors import StoreError
from fin_infra.planning import Planner, mark
from fin_infra.planning.schedules import Rule, Schedule
from fin_infra.quotas.ledger import Grant
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Calendar, Lane, Rolling, Window, bound
from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.store import Store, Stream
from fin_infra.store.codec import micros
from fin_infra.store.statements import many
from fin_infra.store.tables import CONNECTIONS, DUE
from fin_infra.testing import VirtualClock
from tests.guards import guarded

TEN = (Rolling("minute", 10, 60.0),)
SCARCE, OTHER = "teller/scarce", "teller/other"


def rule(name: str = "banks", **more: Any) -> Schedule:
    return Schedule(
        name, Rule.model_validate({"job": "sync_transactions", "every": "6h", **more}), "transactions", "f", 1
    )


SYNCS = rule()
PAST = Schedule(
    "past", Rule.model_validate({"job": "sync_accounts", "every": "30d", "lane": "backfill"}), "accounts", "f", 1
)
JOBS = {"sync_transactions": "transactions", "sync_accounts": "accounts"}


def link(store: Store, key: str | None, tenants: Sequence[str], *, begin: int = 0) -> list[str]:
    """One connection for each, at that quota key."""
    names = [f"con_{begin + n:05}" for n in range(len(tenants))]
    with store.writing() as sql:
        many(
            sql,
            "INSERT INTO connections (connection_id, tenant_id, provider, state, generation, created_at, updated_at, "
            "quota_key) VALUES (?, ?, 'teller', 'active', 1, 0, 0, ?)",
            [(name, tenant, key) for name, tenant in zip(names, tenants, strict=True)],
        )
    return names


def made_due(store: Store, schedule: Schedule, names: Sequence[str], at: datetime) -> None:
    with store.writing() as sql:
        many(
            sql,
            "INSERT INTO due VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
            [
                (schedule.name, name, schedule.dataset, schedule.rule.job, schedule.rule.lane, micros(at),
                 schedule.fingerprint)
                for name in names
            ],
        )  # fmt: skip


def scarce_only(provider: str, key: str) -> Sequence[Window]:
    return TEN if key == SCARCE else ()


Make = Callable[..., Planner]


@pytest.fixture
def ledger(clock: VirtualClock) -> MemoryLedger:
    return MemoryLedger(clock)


@pytest.fixture
def planner_of(store: Store, queue: SqlJobQueue, clock: VirtualClock, ledger: MemoryLedger) -> Make:
    def make(*schedules: Schedule, windows: Any = scarce_only, queue: SqlJobQueue = queue, **more: Any) -> Planner:
        return Planner(
            store, queue, schedules or [SYNCS], now=clock, jobs=JOBS, ledger=ledger, windows=windows, **more
        )  # fmt: skip

    return make


def spend(
    ledger: MemoryLedger, units: int, *, key: str = SCARCE, windows: Sequence[Window] = TEN, of: str = ""
) -> None:
    """So many calls, each as soon as it may be: time passes meanwhile."""
    mine = bound(windows, holder=key, connection=of, account="", endpoint="")
    clock = ledger._now
    assert isinstance(clock, VirtualClock)
    for _ in range(units):
        while not isinstance(grant := ledger.acquire(mine), Grant):
            clock.advance(timedelta(seconds=grant.eta))
        ledger.settle(grant)


def work(queue: SqlJobQueue, ledger: MemoryLedger | None = None) -> list[tuple[str, str]]:
    """Does all that is queued, each with one call. Connection and lane of each."""
    done = []
    while (job := queue.reserve_next()) is not None:
        if ledger is not None:
            spend(ledger, 1)
        queue.ack(job.id)
        done.append((job.payload["connection"], job.lane))
    return done


@guarded("everything due is queued at once", "planning/admission.py", "<= AMPLE * room:", "<= AMPLE * room + 1000:")
def test_of_a_scarce_key_only_what_the_windows_carry_is_queued(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    link(store, SCARCE, ["ada"] * 50)
    planner = planner_of()
    assert len(planner.tick()) == 10
    assert planner.tick() == [], "what is queued counts as spent"
    assert len(work(queue, ledger)) == 10
    assert planner.tick() == [], "all is spent"
    begin, done = clock(), 10
    while done < 50:
        clock.advance(timedelta(seconds=5))
        planner.tick()
        done += len(work(queue, ledger))
    assert timedelta(minutes=4) <= clock() - begin <= timedelta(minutes=4, seconds=20)
    assert planner.tick() == []


def test_of_an_ample_key_everything_is_queued_at_once(store: Store, queue: SqlJobQueue, planner_of: Make) -> None:
    link(store, SCARCE, ["ada"] * 300)
    planner = planner_of(windows=lambda provider, key: (Rolling("minute", 1_000, 60.0),))
    assert len(planner.tick()) == 300
    assert {job.quota_key for job in queue.jobs()} == {SCARCE}


@guarded("due rows of a starving key hide all others", "planning/planner.py", "rows = self._rows(sql, now, since=since, but=scarce)",
         "rows = self._rows(sql, now, since=since)")  # fmt: skip
def test_a_starving_key_hides_no_other(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    spend(ledger, 10)
    starving, other = link(store, SCARCE, ["ada"] * 6_000), link(store, OTHER, ["grace"], begin=9_000)
    planner = planner_of()
    planner.tick()
    clock.advance(timedelta(hours=12))
    with store.writing() as sql:  # those of the other vendor are due last of all
        sql.execute(update(DUE).where(DUE.c.connection_id.in_(starving)).values(due_at=micros(clock()) - 5))
        sql.execute(update(DUE).where(DUE.c.connection_id.in_(other)).values(due_at=micros(clock()) - 1))
    spend(ledger, 10)
    assert [due.connection_id for due in planner.tick()] == other
    fresh = planner_of()
    assert fresh.tick() == []


def test_a_connection_that_comes_back_is_seen_while_its_key_is_scarce(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    names = link(store, SCARCE, ["ada"] * 10 + ["grace"])
    with store.writing() as sql:
        sql.execute(update(CONNECTIONS).where(CONNECTIONS.c.connection_id == names[-1]).values(state="reauth"))
    planner = planner_of()
    spend(ledger, 9)
    assert len(planner.tick()) == 1
    with store.writing() as sql:
        sql.execute(update(CONNECTIONS).where(CONNECTIONS.c.connection_id == names[-1]).values(state="active"))
    seen = []
    for _ in range(40):
        clock.advance(timedelta(seconds=5))
        planner.tick()
        seen += work(queue, ledger)
    assert (names[-1], "scheduled") in seen


@guarded("what is remembered is queued unseen", "planning/planner.py", "if now and now[0][5] == row.due_at:", "if now:")
def test_what_was_moved_on_meanwhile_is_not_queued(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    names = link(store, SCARCE, ["ada"] * 20)
    planner = planner_of()
    assert len(planner.tick()) == 10
    gone = sorted(set(names) - {job.payload["connection"] for job in queue.jobs()})[:5]
    with store.writing() as sql:
        sql.execute(
            update(DUE).where(DUE.c.connection_id.in_(gone)).values(due_at=micros(clock() + timedelta(hours=6)))
        )
    work(queue)
    assert not {due.connection_id for due in planner.tick()} & set(gone)


def webhook(store: Store, name: str, clock: VirtualClock) -> None:
    with store.writing() as sql:
        mark(sql, Stream(name, "transactions"), f"m{name}{clock()}", clock())


@guarded("scheduled work comes before a webhook's", "planning/admission.py", "for lane in LANES[1:]:",
         "for lane in (LANES[2], LANES[1], LANES[3]):")  # fmt: skip
@guarded("a webhook waits behind what is queued", "planning/admission.py", "before += pending.get(lane, 0)",
         "before = sum(pending.values())")  # fmt: skip
def test_a_webhook_comes_before_scheduled_work_and_that_before_backfill(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    names = link(store, SCARCE, ["ada"] * 30)
    planner = planner_of(SYNCS, PAST)
    planner.tick()
    assert Counter(job.lane for job in queue.jobs()) == {"scheduled": 10}
    webhook(store, names[-1], clock)
    [due] = planner.tick()
    assert (due.connection_id, due.lane) == (names[-1], "webhook")
    job = queue.reserve_next()
    assert job is not None
    assert job.lane == "webhook"


@guarded("backfill gets nothing while others wait", "planning/admission.py", "LEAST = 0.05", "LEAST = 0.0")
@guarded("backfill gets as much as it likes", "planning/admission.py", "key.owed -= cost", "key.owed = MOST_OWED")
def test_backfill_keeps_a_twentieth_while_more_is_due_than_there_is(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    link(store, SCARCE, ["ada"] * 900)
    planner, done = planner_of(SYNCS, PAST), Counter[str]()
    for _ in range(1_000):
        planner.tick()
        while (job := queue.reserve_next()) is not None:
            calls = 10 if job.name == "sync_accounts" else 1
            spend(ledger, calls)
            done[job.name] += calls
            queue.ack(job.id)
        clock.advance(timedelta(seconds=5))
        if sum(done.values()) > 800:
            break
    assert 0.03 < done["sync_accounts"] / sum(done.values()) < 0.08


@guarded("backfill that is queued never gets its share", "planning/admission.py", "return self._queue.promote(key.name)",
         "return 0")  # fmt: skip
def test_the_least_share_goes_to_backfill_that_is_queued_already(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    link(store, SCARCE, ["ada"] * 400)
    for n in range(3):
        queue.enqueue(
            "part", {"connection": f"b{n}"}, lane="backfill", quota_key=SCARCE, cost=5, unique_key=f"part {n}"
        )
    planner, done = planner_of(), []
    for _ in range(60):
        planner.tick()
        for _ in range(10):
            job = queue.reserve_next()
            if job is None or job.lane == "backfill":
                if job is not None:
                    queue.defer(job.id, 30.0)
                break
            done.append(job.name)
            queue.ack(job.id)
        clock.advance(timedelta(seconds=61))
    assert done.count("part") == 3


def test_tenants_have_turns_and_the_one_with_more_connections_more_of_them(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    owners = ["big"] * 600 + ["mid"] * 200 + ["small"] * 100
    names = link(store, SCARCE, owners)
    owner_of, planner, got = dict(zip(names, owners, strict=True)), planner_of(), Counter[str]()
    for _ in range(9):  # of the first ten calls each may be ahead
        planner.tick()
        work(queue, ledger)
        clock.advance(timedelta(seconds=61))
    for _ in range(27):
        got.update(owner_of[due.connection_id] for due in planner.tick())
        work(queue, ledger)
        clock.advance(timedelta(seconds=61))
    assert sum(got.values()) == 270
    assert got["big"] == pytest.approx(180, abs=2)
    assert got["mid"] == pytest.approx(60, abs=2)
    assert got["small"] == pytest.approx(30, abs=2)


@guarded("a connection without quota is queued", "planning/admission.py", "if windows and not self._is_open(windows, row, lane):",
         "if False:")  # fmt: skip
def test_a_connection_that_is_out_of_quota_is_passed_over_and_blocks_nobody(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    windows = (*TEN, Rolling("own", 1, 3600.0, scope="connection"))
    names = link(store, SCARCE, ["ada"] * 12)
    for name in names[:5]:
        spend(ledger, 1, windows=windows[1:], of=name)
    planner = planner_of(windows=lambda provider, key: windows)
    assert sorted(due.connection_id for due in planner.tick()) == names[5:]
    work(queue)
    clock.advance(timedelta(minutes=61))
    assert sorted(due.connection_id for due in planner.tick()) == names[:5]


def test_many_connections_linked_at_once_do_not_stampede(
    store: Store, queue: SqlJobQueue, ledger: MemoryLedger, clock: VirtualClock, planner_of: Make
) -> None:
    link(store, SCARCE, [f"t{n % 40}" for n in range(2_000)])
    planner, most = planner_of(), 0
    for _ in range(60):
        planner.tick()
        most = max(most, queue.stats().ready)
        work(queue, ledger)
        clock.advance(timedelta(seconds=20))
    assert most <= 10


class Away(MemoryLedger):
    """A ledger that cannot be reached."""

    away = True

    def capacity(self, windows: Sequence[Window], horizon: float, *, lane: Lane = "scheduled") -> int:
        if self.away:
            raise StoreError("the database is locked")
        return super().capacity(windows, horizon, lane=lane)

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        if self.away:
            raise StoreError("the database is locked")
        return super().lease(name, owner, seconds)


def test_a_ledger_out_of_reach_admits_nothing_that_is_counted_and_says_so_once(
    store: Store, queue: SqlJobQueue, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(clock)
    link(store, SCARCE, ["ada"] * 3)
    free = link(store, OTHER, ["grace"], begin=50)
    planner = Planner(store, queue, [SYNCS], now=clock, ledger=away, windows=scarce_only)
    assert [due.connection_id for due in planner.tick()] == free
    for _ in range(3):
        clock.advance(timedelta(seconds=2))
        assert planner.tick() == []
    assert [record.message for record in caplog.records] == [
        "the quota ledger is out of reach, so nothing of a scarce quota is queued: the database is locked"
    ]
    away.away = False
    assert len(planner.tick()) == 3


@guarded("two planners admit the same units", "planning/admission.py", "mine = [key for key in self._keys.values() if self._leads(key.name)]",
         "mine = list(self._keys.values())")  # fmt: skip
def test_two_planners_admit_a_scarce_key_once_and_the_second_takes_over(
    store: Store, queue: SqlJobQueue, clock: VirtualClock, planner_of: Make, tmp_path: Any
) -> None:
    """Each has a queue of its own, so that only the lease is between them."""
    apart = SqlJobQueue(f"sqlite:///{tmp_path / 'apart.db'}", now=clock)
    link(store, SCARCE, ["ada"] * 40)
    first, second = planner_of(), planner_of(queue=apart)
    assert len(first.tick()) == 10
    assert second.tick() == []
    clock.advance(timedelta(seconds=11))
    assert len(second.tick()) == 10
    apart.close()


def test_what_a_stream_costs_is_learned_from_its_runs(
    store: Store, queue: SqlJobQueue, clock: VirtualClock, planner_of: Make
) -> None:
    names = link(store, SCARCE, ["ada"] * 40)
    with store.writing() as sql:
        many(
            sql,
            "INSERT INTO runs (run_id, tenant_id, connection_id, dataset, lane, started_at, finished_at, outcome, "
            "inserted, updated, removed, unchanged, calls, attempt, provider, fetched_at) "
            "VALUES (?, 'ada', ?, 'transactions', 'scheduled', 0, 0, 'ok', 0, 0, 0, 0, ?, 1, 'teller', 0)",
            [(f"r{n}", name, 4) for n, name in enumerate(names[:-1])],
        )
    due = planner_of().tick()
    assert [d.cost for d in due] == [4, 4, 4], "the third begins within what there is"
    assert {job.cost for job in queue.jobs()} == {4}


# -- whoever waits -----------------------------------------------------------------------------------------------------


@guarded(
    "whoever waits is not let in before",
    "runtime/queue.py",
    'order.get("at_once") or lane == 0',
    'order.get("at_once")',
)
def test_an_order_now_runs_the_deferred_job_at_once_and_in_its_class(
    store: Store, queue: SqlJobQueue, clock: VirtualClock
) -> None:
    queue.enqueue("sync_transactions", {"connection": "c"}, unique_key="c/transactions")
    job = queue.reserve_next()
    assert job is not None
    queue.defer(job.id, 3600.0, reason="the quota is spent")
    assert queue.reserve_next() is None
    queue.enqueue("sync_transactions", {"connection": "c"}, unique_key="c/transactions", lane="interactive")
    again = queue.reserve_next()
    assert again is not None
    assert (again.lane, again.attempts) == ("interactive", 1)
    assert queue.reserve_next() is None


def test_pending_cost_counts_what_runs_and_what_may_run_in_time(queue: SqlJobQueue, clock: VirtualClock) -> None:
    for n, (lane, delay) in enumerate([("scheduled", 0), ("scheduled", 0), ("webhook", 5), ("backfill", 60)]):
        queue.enqueue("s", {"connection": f"c{n}"}, lane=lane, delay_seconds=delay, quota_key=SCARCE, cost=n + 1)
    queue.enqueue("s", {"connection": "x"}, quota_key=OTHER, cost=9)
    queue.enqueue("s", {"connection": "y"})
    assert queue.reserve_next() is not None
    soon = clock() + timedelta(seconds=6)
    assert queue.pending_cost([SCARCE], soon) == {SCARCE: {"scheduled": 3, "webhook": 3}}
    assert queue.pending_cost([SCARCE, OTHER, "z"], clock() + timedelta(hours=1)) == {
        SCARCE: {"scheduled": 3, "webhook": 3, "backfill": 4}, OTHER: {"scheduled": 9}, "z": {},
    }  # fmt: skip
    job = queue.reserve_next()
    assert job is not None
    queue.bury(job.id, reason="it is")
    assert queue.pending_cost([SCARCE], soon)[SCARCE]["scheduled"] in (1, 2)


@guarded(
    "units of a month are kept for its last close",
    "planning/admission.py",
    'isinstance(window, Calendar) and window.unit == "day"',
    "isinstance(window, Calendar)",
)
def test_a_month_that_runs_short_is_spent_all_the_same(store: Store, clock: VirtualClock, planner_of: Make) -> None:
    month = (Calendar("month", 8, "month", "UTC"),)
    closes = Schedule(
        "eod", Rule.model_validate({"job": "sync_transactions", "calendar": "us", "at": "close", "offset": "+5m"}),
        "transactions", "f", 1, "XNYS",
    )  # fmt: skip
    names = link(store, SCARCE, ["ada"] * 20)
    planner = planner_of(closes, windows=lambda provider, key: month)
    queued = len(planner.tick())  # in the middle of a month, all are new
    assert queued == 8, (names, clock())
