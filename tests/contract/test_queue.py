"""The contract of a job queue: svc-infra's protocol, and what syncs need beyond it. Engine-agnostic."""

from __future__ import annotations

import inspect
import random
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from svc_infra.jobs import Job
from svc_infra.jobs.queue import JobQueue
from svc_infra.jobs.worker import process_one

from fin_infra.planning.schedules import LANES
from fin_infra.runtime.queue import MAX_CRASHES, LeasedJob, QueuedJob, QueueStats, SqlJobQueue
from fin_infra.testing import VirtualClock
from tests.contract.conftest import START, OpenQueue
from tests.contract.draining import drain, meet_at

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)


def taken(queue: SqlJobQueue) -> LeasedJob:
    job = queue.reserve_next()
    assert job is not None
    return job


def only(queue: SqlJobQueue) -> QueuedJob:
    (job,) = queue.jobs()
    return job


def key_of(job: Job) -> int:
    return int(job.id.split(".")[0])


# -- svc-infra's protocol ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["enqueue", "reserve_next", "ack", "fail"])
def test_every_call_of_svc_infras_protocol_is_accepted(queue: SqlJobQueue, method: str) -> None:
    theirs = inspect.signature(getattr(JobQueue, method)).parameters
    ours = inspect.signature(getattr(type(queue), method)).parameters
    for name, parameter in theirs.items():
        assert ours[name].kind is parameter.kind
    extra = [p for name, p in ours.items() if name not in theirs]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is not inspect.Parameter.empty for p in extra)


def test_a_job_is_svc_infras_job(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {"connection": "c", "ü": [1, None]})
    job = taken(queue)
    assert isinstance(job, Job)
    assert (job.name, job.payload, job.attempts, job.lane) == (
        "sync",
        {"connection": "c", "ü": [1, None]},
        1,
        "scheduled",
    )


async def test_svc_infras_own_worker_runs_it(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {"n": 1})
    seen: list[Any] = []

    async def handler(job: Job) -> None:
        seen.append(job.payload)

    assert await process_one(queue, handler)
    assert not await process_one(queue, handler)
    assert (seen, queue.stats().done) == ([{"n": 1}], 1)


async def test_svc_infras_own_worker_fails_it(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {})

    async def handler(job: Job) -> None:
        raise RuntimeError("no")

    assert await process_one(queue, handler)
    assert (only(queue).state, only(queue).last_error) == ("queued", "no")


# -- order and time ------------------------------------------------------------------------------------------------------


def test_lanes_go_by_urgency_whatever_came_first(queue: SqlJobQueue, clock: VirtualClock) -> None:
    for lane in reversed(LANES):
        queue.enqueue("sync", {}, lane=lane)
        clock.advance(SECOND)
    assert [taken(queue).lane for _ in LANES] == list(LANES)


def test_within_a_lane_the_oldest_due_goes_first(queue: SqlJobQueue, clock: VirtualClock) -> None:
    for n, delay in enumerate([30, 10, 20, 10]):
        queue.enqueue("sync", {"n": n}, delay_seconds=delay)
    clock.advance(timedelta(minutes=1))
    assert [taken(queue).payload["n"] for _ in range(4)] == [1, 3, 2, 0]


def test_a_delay_never_fires_early(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {}, delay_seconds=10)
    clock.advance(timedelta(seconds=10) - timedelta(microseconds=1))
    assert queue.reserve_next() is None
    clock.advance(timedelta(microseconds=1))
    assert taken(queue).attempts == 1


def test_an_urgent_job_that_is_not_due_holds_nobody_up(queue: SqlJobQueue) -> None:
    queue.enqueue("later", {}, lane="interactive", delay_seconds=60)
    queue.enqueue("now", {}, lane="backfill")
    assert taken(queue).name == "now"


def test_an_empty_queue_has_no_job(queue: SqlJobQueue) -> None:
    assert queue.reserve_next() is None


# -- unique keys ---------------------------------------------------------------------------------------------------------


def test_t55_a_key_that_is_queued_is_not_queued_again(queue: SqlJobQueue) -> None:
    first = queue.enqueue("sync", {"n": 1}, unique_key="k")
    second = queue.enqueue("sync", {"n": 2}, unique_key="k")
    assert key_of(first) == key_of(second)
    assert second.payload == {"n": 1}


def test_t55_a_key_that_is_running_is_not_queued_again(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, unique_key="k")
    taken(queue)
    queue.enqueue("sync", {}, unique_key="k")
    assert (queue.stats().ready, queue.stats().running) == (0, 1)


def test_t55_a_finished_key_can_be_queued_again(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {"n": 1}, unique_key="k")
    queue.ack(taken(queue).id)
    queue.enqueue("sync", {"n": 2}, unique_key="k")
    assert taken(queue).payload == {"n": 2}


def test_t55_a_dead_key_can_be_queued_again(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, unique_key="k")
    queue.bury(taken(queue).id, reason="no")
    queue.enqueue("sync", {}, unique_key="k")
    assert (queue.stats().ready, queue.stats().dead) == (1, 1)


def test_t55_a_retry_does_not_collide_with_its_own_key(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, unique_key="k")
    queue.fail(taken(queue).id, error="x", at_most=0.0)
    assert taken(queue).attempts == 2


def test_jobs_without_a_key_are_all_kept(queue: SqlJobQueue) -> None:
    for _ in range(3):
        queue.enqueue("sync", {})
    assert queue.stats().ready == 3


@pytest.mark.parametrize(("first", "second", "then"), [
    ("scheduled", "interactive", "interactive"), ("interactive", "scheduled", "interactive"),
    ("backfill", "webhook", "webhook"), ("scheduled", "scheduled", "scheduled"),
])  # fmt: skip
def test_a_more_urgent_wish_raises_the_pending_job(queue: SqlJobQueue, first: str, second: str, then: str) -> None:
    queue.enqueue("sync", {}, unique_key="k", lane=first)
    queue.enqueue("sync", {}, unique_key="k", lane=second)
    assert only(queue).lane == then


def test_a_running_job_keeps_its_lane(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, unique_key="k", lane="backfill")
    taken(queue)
    queue.enqueue("sync", {}, unique_key="k", lane="interactive")
    assert only(queue).lane == "backfill"


def test_asking_again_for_a_running_key_gives_no_right_to_end_it(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, unique_key="k")
    taken(queue)
    queue.ack(queue.enqueue("sync", {}, unique_key="k").id)
    assert queue.stats().running == 1


def test_many_are_added_at_once_and_the_new_ones_counted(queue: SqlJobQueue) -> None:
    orders: list[dict[str, Any]] = [
        {"name": "sync", "payload": {}, "unique_key": key, "lane": "scheduled"} for key in ("a", "b", "a")
    ]
    assert queue.enqueue_many(orders) == 2
    assert queue.enqueue_many(orders) == 0
    assert queue.stats().ready == 2


def test_which_keys_run_is_told(queue: SqlJobQueue) -> None:
    for key in ("a", "b", "c"):
        queue.enqueue("sync", {}, unique_key=key)
    queue.enqueue("sync", {}, lane="interactive")  # of no key
    assert queue.running(["a", "b"]) == set()
    assert taken(queue) is not None
    first = taken(queue)
    assert queue.running(["a", "b", "c", "d"]) == {"a"}
    assert queue.running(["b"]) == set()
    queue.ack(first.id)
    assert queue.running(["a"]) == set()


def test_an_order_at_once_hastens_the_job_that_waits_and_no_running_one(
    queue: SqlJobQueue, clock: VirtualClock
) -> None:
    queue.enqueue("sync", {}, unique_key="a", delay_seconds=3600)
    order: dict[str, Any] = {"name": "sync", "payload": {}, "unique_key": "a", "lane": "webhook"}
    assert queue.enqueue_many([order]) == 0
    assert queue.reserve_next() is None
    assert queue.enqueue_many([{**order, "at_once": True}]) == 0
    job = taken(queue)
    assert (job.lane, job.attempts) == ("webhook", 1)
    assert queue.enqueue_many([{**order, "at_once": True}]) == 0
    assert (queue.stats().ready, queue.stats().running) == (0, 1)


# -- leases and fences ---------------------------------------------------------------------------------------------------


def test_a_leased_job_is_given_to_nobody_else(queue: SqlJobQueue, open_queue: OpenQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    taken(queue)
    clock.advance(LEASE - timedelta(microseconds=1))
    assert open_queue().reserve_next() is None


def test_t50_a_lease_that_ran_out_gives_the_job_to_another(
    queue: SqlJobQueue, open_queue: OpenQueue, clock: VirtualClock
) -> None:
    queue.enqueue("sync", {})
    first = taken(queue)
    clock.advance(LEASE)
    second = taken(open_queue())
    assert key_of(second) == key_of(first)
    assert second.id != first.id


def test_t50_a_crash_is_counted_and_burns_no_attempt(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {}, max_attempts=1)
    taken(queue)
    clock.advance(LEASE)
    assert taken(queue).attempts == 1
    assert only(queue).crashes == 1


def test_a_job_that_kills_workers_ends_as_a_dead_letter_with_that_reason(
    queue: SqlJobQueue, clock: VirtualClock
) -> None:
    queue.enqueue("sync", {})
    for _ in range(MAX_CRASHES):
        taken(queue)
        clock.advance(LEASE)
    assert queue.reserve_next() is None
    assert only(queue).state == "dead"
    assert f"{MAX_CRASHES} times" in str(only(queue).last_error)


@pytest.mark.parametrize(
    "late",
    [
        lambda q, i: q.ack(i), lambda q, i: q.fail(i, error="late"), lambda q, i: q.extend(i),
        lambda q, i: q.defer(i, 5.0), lambda q, i: q.bury(i, reason="late"),
    ],
    ids=["ack", "fail", "extend", "defer", "bury"],
)  # fmt: skip
@pytest.mark.parametrize("then", ["lost", "taken by another", "done"])
def test_t51_a_late_word_of_a_lost_lease_changes_nothing(
    queue: SqlJobQueue, clock: VirtualClock, late: Any, then: str
) -> None:
    queue.enqueue("sync", {})
    old = taken(queue)
    queue.enqueue("other", {}, delay_seconds=3600)
    clock.advance(LEASE)
    new = taken(queue)
    if then == "done":
        queue.ack(new.id)
    elif then == "lost":
        clock.advance(LEASE)
        queue.enqueue("third", {}, lane="interactive")
        taken(queue)
    before, stats = queue.jobs(), queue.stats()
    assert not late(queue, old.id)
    assert (queue.jobs(), queue.stats()) == (before, stats)


@pytest.mark.parametrize("job_id", ["", "x", "1", "1.x", "99.1", "1.1.1", "1.0"])
def test_an_id_that_nobody_holds_changes_nothing(queue: SqlJobQueue, job_id: str) -> None:
    queue.enqueue("sync", {})
    taken(queue)
    before = queue.jobs()
    queue.ack(job_id)
    queue.fail(job_id)
    assert queue.extend(job_id) == queue.defer(job_id, 1.0) == queue.bury(job_id, reason="x") == 0
    assert queue.jobs() == before


def test_extending_keeps_the_job(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    job = taken(queue)
    for _ in range(5):
        clock.advance(LEASE / 2)
        assert queue.extend(job.id) == 1
        assert queue.reserve_next() is None
    assert only(queue).crashes == 0


# -- what becomes of a job -----------------------------------------------------------------------------------------------


def test_a_done_job_is_gone_and_counted(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {})
    queue.ack(taken(queue).id)
    assert queue.jobs() == []
    assert queue.stats() == QueueStats(0, 0, 0, 0, 1)


def test_an_ack_twice_counts_once(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {})
    job = taken(queue)
    queue.ack(job.id)
    queue.ack(job.id)
    assert queue.stats().done == 1


def test_failing_waits_a_random_share_of_a_doubling_ceiling(open_queue: OpenQueue, clock: VirtualClock) -> None:
    shares: dict[int, list[float]] = {}
    for seed in range(12):
        queue = open_queue(random_share=random.Random(seed), max_attempts=6)
        queue.enqueue("sync", {})
        for attempt in range(1, 6):
            job = taken(queue)
            queue.fail(job.id, error="x")
            wait = (only(queue).available_at - clock()).total_seconds()
            ceiling = 30 * 2 ** (attempt - 1)
            assert 0 <= wait <= ceiling
            shares.setdefault(attempt, []).append(wait / ceiling)
            clock.advance(timedelta(seconds=ceiling))
        queue.bury(taken(queue).id, reason="next seed")
        queue.revive(only(queue).id)
        queue.ack(taken(queue).id)
    assert all(min(found) < 0.35 and max(found) > 0.65 for found in shares.values())


@pytest.mark.parametrize(("bounds", "low", "high"), [
    ({"at_least": 100.0}, 100, 100), ({"at_most": 1.0}, 0, 1), ({"at_most": 0.0}, 0, 0),
    ({"at_least": 5.0, "at_most": 1.0}, 5, 5),
])  # fmt: skip
def test_failing_waits_within_its_bounds(
    queue: SqlJobQueue, clock: VirtualClock, bounds: dict[str, float], low: float, high: float
) -> None:
    queue.enqueue("sync", {})
    queue.fail(taken(queue).id, **bounds)  # type: ignore[arg-type]
    assert low <= (only(queue).available_at - clock()).total_seconds() <= high


def test_the_last_attempt_that_fails_is_a_dead_letter_with_the_reason(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, max_attempts=2)
    for _ in range(2):
        queue.fail(taken(queue).id, error="the bank is closed", at_most=0.0)
    assert only(queue).state == "dead"
    assert "2 times" in str(only(queue).last_error)
    assert "the bank is closed" in str(only(queue).last_error)


def test_a_thousand_failures_still_wait_within_bounds(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {}, max_attempts=5_000)
    for _ in range(1_030):
        queue.fail(taken(queue).id, at_most=0.0)
    assert only(queue).attempts == 1_030


def test_deferring_burns_no_attempt(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {}, max_attempts=1)
    for _ in range(5):
        job = taken(queue)
        assert job.attempts == 1
        assert queue.defer(job.id, 10.0, reason="quota") == 1
        assert queue.reserve_next() is None
        clock.advance(timedelta(seconds=10))
    assert (only(queue).deferrals, only(queue).attempts, only(queue).last_error) == (5, 0, "quota")


def test_a_wait_may_set_a_jobs_age_to_its_end(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    assert not taken(queue).begun
    clock.advance(SECOND)
    again = queue.reserve_next()
    assert again is None
    job = queue.jobs()[0]
    queue.defer(f"{job.id}.1", 3600.0, anew=True)
    clock.advance(timedelta(hours=1, seconds=5))
    job_again = taken(queue)
    assert (job_again.begun, queue.age(job_again.id)) == (True, 5.0)


@pytest.mark.parametrize(("lane", "age"), [("scheduled", 90.0), ("webhook", 0.0), ("interactive", 0.0)])
def test_an_urgent_wish_that_meets_a_job_put_off_in_the_middle_is_a_new_one(
    queue: SqlJobQueue, clock: VirtualClock, lane: str, age: float
) -> None:
    """What was answered before it does not count for it."""
    queue.enqueue("sync", {}, unique_key="k", lane="scheduled")
    queue.defer(taken(queue).id, 90.0)
    clock.advance(timedelta(seconds=90))
    queue.enqueue("sync", {}, unique_key="k", lane=lane)
    assert queue.age(taken(queue).id) == age


def test_deferring_can_count_the_attempt(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {})
    queue.defer(taken(queue).id, 0.0, count_attempt=True)
    assert taken(queue).attempts == 2


def test_a_buried_job_keeps_its_payload_and_reason(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {"connection": "c"})
    assert queue.bury(taken(queue).id, reason="contract_broken: no") == 1
    assert (only(queue).state, only(queue).payload, only(queue).last_error) == (
        "dead", {"connection": "c"}, "contract_broken: no",
    )  # fmt: skip
    assert queue.reserve_next() is None


def test_reviving_gives_fresh_attempts(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {}, max_attempts=1)
    queue.fail(taken(queue).id)
    assert queue.revive(only(queue).id)
    assert taken(queue).attempts == 1


def test_reviving_begins_the_age_anew(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    queue.bury(taken(queue).id, reason="no")
    clock.advance(timedelta(days=30))
    queue.revive(only(queue).id)
    assert queue.age(taken(queue).id) == 0.0


def test_reviving_what_is_not_dead_is_refused(queue: SqlJobQueue) -> None:
    job = queue.enqueue("sync", {})
    assert not queue.revive(key_of(job))
    assert not queue.revive(999)


def test_t55_reviving_beside_a_live_job_of_its_key_is_refused(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, unique_key="k")
    dead = taken(queue)
    queue.bury(dead.id, reason="no")
    queue.enqueue("sync", {}, unique_key="k")
    assert not queue.revive(key_of(dead))
    assert (queue.stats().dead, queue.stats().ready) == (1, 1)


def test_t56_a_job_of_an_unknown_name_is_left_for_who_knows_it(queue: SqlJobQueue, open_queue: OpenQueue) -> None:
    queue.enqueue("strange", {}, lane="interactive")
    queue.enqueue("sync", {}, lane="backfill")
    mine = open_queue(names=["sync"])
    assert taken(mine).name == "sync"
    assert mine.reserve_next() is None
    assert taken(open_queue(names=["strange"])).name == "strange"


def test_t56_a_queue_that_knows_no_names_takes_nothing(queue: SqlJobQueue, open_queue: OpenQueue) -> None:
    queue.enqueue("sync", {})
    assert open_queue(names=[]).reserve_next() is None


def test_stats_tell_waiting_from_waiting_for_later(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("dies", {}, lane="interactive")
    queue.bury(taken(queue).id, reason="no")
    queue.enqueue("runs", {}, lane="interactive")
    taken(queue)
    queue.enqueue("ready", {})
    queue.enqueue("later", {}, delay_seconds=60)
    assert queue.stats() == QueueStats(ready=1, later=1, running=1, dead=1, done=0)
    clock.advance(timedelta(seconds=60))
    assert queue.stats().ready == 2


def test_idle_is_nothing_ready_and_nothing_running(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {}, delay_seconds=60)
    assert queue.idle()
    queue.enqueue("sync", {})
    assert not queue.idle()
    job = taken(queue)
    assert not queue.idle()
    queue.ack(job.id)
    assert queue.idle()


def test_forgetting_a_connection_removes_its_jobs_alone_dead_ones_too(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {"connection": "con_a"}, lane="interactive")
    queue.bury(taken(queue).id, reason="no")
    queue.enqueue("sync", {"connection": "con_a"})
    queue.enqueue("sync", {"connection": "con_b"})
    queue.enqueue("sync", {"other": "con_a"})
    assert queue.forget("con_a") == 2
    assert sorted(map(str, (job.payload for job in queue.jobs()))) == ["{'connection': 'con_b'}", "{'other': 'con_a'}"]


def test_jobs_survive_the_process(queue: SqlJobQueue, open_queue: OpenQueue) -> None:
    queue.enqueue("sync", {"n": 1})
    queue.ack(taken(queue).id)
    queue.enqueue("sync", {"n": 2})
    queue.close()
    again = open_queue()
    assert taken(again).payload == {"n": 2}
    assert again.stats().done == 1


def test_the_age_of_a_job_is_that_of_its_order(queue: SqlJobQueue, clock: VirtualClock) -> None:
    queue.enqueue("sync", {})
    clock.advance(SECOND)
    job = taken(queue)
    assert queue.age(job.id) == 1.0
    queue.ack(job.id)
    assert queue.age(job.id) is None


# -- any order of events -------------------------------------------------------------------------------------------------


class Events(RuleBasedStateMachine):
    """A queue against a dict: no job lost, none handed out twice within its lease, the most urgent first."""

    def __init__(self, queue: SqlJobQueue, clock: VirtualClock) -> None:
        super().__init__()
        self.queue, self.clock = queue, clock
        for job in queue.jobs():
            queue.forget(str(job.payload["connection"]))
        self.done_before = queue.stats().done
        self.live: dict[int, dict[str, Any]] = {}
        self.dead: set[int] = set()
        self.done = 0
        self.held: list[str] = []

    def _expire(self) -> None:
        for job in self.live.values():
            if job["until"] is not None and job["until"] <= self.clock():
                job.update(until=None, at=self.clock(), attempts=job["attempts"] - 1, crashes=job["crashes"] + 1)

    def _mine(self, job_id: str) -> dict[str, Any] | None:
        """The job, if this id still holds it. A lease that ran out holds until another takes the job."""
        return next((job for job in self.live.values() if job["held"] == job_id and job["until"] is not None), None)

    @rule(lane=st.sampled_from(LANES), delay=st.sampled_from([0, 0, 5]), key=st.none() | st.sampled_from("ab"))
    def enqueue(self, lane: str, delay: int, key: str | None) -> None:
        job = self.queue.enqueue(
            "sync", {"connection": "c"}, lane=lane, delay_seconds=delay, unique_key=key, max_attempts=3
        )
        twin = next((n for n, job in self.live.items() if key is not None and job["key"] == key), None)
        if twin is not None:
            assert key_of(job) == twin
            if self.live[twin]["until"] is None:
                self.live[twin]["lane"] = min(self.live[twin]["lane"], LANES.index(lane))
                if lane == "interactive" and not delay:  # somebody waits for it
                    self.live[twin]["at"] = min(self.live[twin]["at"], self.clock())
            return
        assert key_of(job) not in self.live
        self.live[key_of(job)] = {
            "lane": LANES.index(lane), "at": self.clock() + timedelta(seconds=delay), "until": None, "held": None,
            "attempts": 0, "crashes": 0, "key": key,
        }  # fmt: skip

    @rule()
    def reserve(self) -> None:
        self._expire()
        due = [(job["lane"], job["at"], n) for n, job in self.live.items()
               if job["until"] is None and job["at"] <= self.clock()]  # fmt: skip
        job = self.queue.reserve_next()
        if not due:
            assert job is None
            return
        assert job is not None
        assert key_of(job) == min(due)[2]
        assert job.id not in self.held
        mine = self.live[key_of(job)]
        mine.update(until=self.clock() + LEASE, held=job.id, attempts=mine["attempts"] + 1)
        assert job.attempts == mine["attempts"]
        self.held.append(job.id)

    def _pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.held))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        job_id = self._pick(data)
        if self._mine(job_id) is not None:
            del self.live[int(job_id.split(".")[0])]
            self.done += 1
        self.queue.ack(job_id)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job_id = self._pick(data)
        self.queue.fail(job_id, error="x")
        if (job := self._mine(job_id)) is None:
            return
        number = int(job_id.split(".")[0])
        if job["attempts"] >= 3:
            del self.live[number]
            self.dead.add(number)
            return
        at = next(found.available_at for found in self.queue.jobs("queued") if found.id == number)
        assert self.clock() <= at <= self.clock() + timedelta(seconds=30 * 2 ** (job["attempts"] - 1))
        job.update(until=None, at=at)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), delay=st.integers(0, 90))
    def defer(self, data: st.DataObject, delay: int) -> None:
        job_id = self._pick(data)
        job = self._mine(job_id)
        assert self.queue.defer(job_id, delay) == (job is not None)
        if job is not None:
            job.update(until=None, at=self.clock() + timedelta(seconds=delay), attempts=job["attempts"] - 1)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        job_id = self._pick(data)
        job = self._mine(job_id)
        assert self.queue.extend(job_id) == (job is not None)
        if job is not None:
            job["until"] = self.clock() + LEASE

    @rule(seconds=st.sampled_from([1, 5, 30, 59, 61]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @invariant()
    def no_job_is_lost_or_doubled(self) -> None:
        found = {job.id: job for job in self.queue.jobs()}
        assert {n for n, job in found.items() if job.state != "dead"} == set(self.live)
        assert {n for n, job in found.items() if job.state == "dead"} == self.dead
        for n, job in self.live.items():
            assert (found[n].state == "running") == (job["until"] is not None)
            assert found[n].attempts == job["attempts"]
            assert found[n].crashes == job["crashes"]
            assert LANES.index(found[n].lane) == job["lane"]
        assert self.queue.stats().done - self.done_before == self.done


def test_t01_in_any_order_of_events_no_job_is_lost_and_none_handed_out_twice(
    queue: SqlJobQueue, clock: VirtualClock
) -> None:
    run_state_machine_as_test(
        lambda: Events(queue, clock),  # type: ignore[arg-type]
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )  # fmt: skip


def test_four_processes_do_each_of_400_jobs_exactly_once(queue: SqlJobQueue, queue_url: str) -> None:
    queue.enqueue_many([{"name": "sync", "payload": {"n": n}, "lane": LANES[n % 4]} for n in range(400)])
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.contract.draining"])
    barrier = context.Barrier(4)
    with ProcessPoolExecutor(4, mp_context=context, initializer=meet_at, initargs=(barrier,)) as pool:
        done = list(pool.map(drain, [queue_url] * 4))
    assert sorted(n for part in done for n in part) == list(range(400))
    assert sum(bool(part) for part in done) > 1
    assert queue.stats() == QueueStats(0, 0, 0, 0, 400)


def test_a_queue_can_be_opened_by_many_at_once(open_queue: OpenQueue) -> None:
    queues = [open_queue() for _ in range(5)]
    queues[0].enqueue("sync", {})
    assert [queue.reserve_next() is not None for queue in queues[1:]] == [True, False, False, False]


def test_the_clock_is_the_one_that_was_injected(queue: SqlJobQueue) -> None:
    queue.enqueue("sync", {})
    taken(queue)
    assert (only(queue).enqueued_at, only(queue).lease_until) == (START, START + LEASE)
