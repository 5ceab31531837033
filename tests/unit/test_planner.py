"""The planner: durable due rows, enqueued once, moved on. A crash in between repeats a no-op."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import insert, select, update

from fin_infra.calendars import Calendar
from fin_infra.calendars.snapshot import entry_of, expanded
from fin_infra.connections import Connection, Connections, Vault
from fin_infra.errors import StoreError
from fin_infra.planning import Due, Planner
from fin_infra.planning.schedules import Rule, Schedule
from fin_infra.providers import resolve
from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.store import Store, open_store
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.tables import CONNECTIONS, DUE
from fin_infra.testing import VirtualClock
from tests.guards import guarded
from tests.unit.helpers import START


@pytest.fixture
def connections(store: Store, clock: VirtualClock) -> Connections:
    return Connections(store, Vault([Fernet.generate_key()]), clock)


@pytest.fixture
def linked(connections: Connections) -> Connection:
    return link(connections)


def link(connections: Connections, tenant: str = "ada") -> Connection:
    return connections.add(resolve("teller"), {"access_token": "tok"}, tenant=tenant)


def every(span: str = "6h", *, name: str = "banks", job: str = "sync_transactions", **more: Any) -> Schedule:
    dataset = {"sync_transactions": "transactions", "sync_accounts": "accounts"}[job]
    return Schedule(name, Rule.model_validate({"job": job, "every": span, **more}), dataset, "f.yaml", 1)


@pytest.fixture
def planner(store: Store, queue: SqlJobQueue, clock: VirtualClock) -> Planner:
    return Planner(store, queue, [every()], now=clock)


def upcoming(store: Store) -> list[tuple[str, datetime]]:
    """The due rows as they lie in the store: schedule and time, soonest first."""
    with store.reading() as sql:
        return [
            (row.schedule, from_micros(row.due_at))
            for row in sql.execute(select(DUE).order_by(DUE.c.due_at)).fetchall()
        ]


def work(queue: SqlJobQueue) -> int:
    """Does what is due. How much that was."""
    done = 0
    while (job := queue.reserve_next()) is not None:
        queue.ack(job.id)
        done += 1
    return done


def test_a_new_stream_is_due_at_once(planner: Planner, queue: SqlJobQueue, linked: Connection) -> None:
    due = planner.tick()
    assert [(d.connection_id, d.dataset, d.due_at) for d in due] == [(linked.connection_id, "transactions", START)]
    job = queue.reserve_next()
    assert job is not None
    assert (job.name, job.payload) == ("sync_transactions", {"connection": linked.connection_id})


def test_what_was_planned_is_not_due_again(
    store: Store, planner: Planner, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner.tick()
    work(queue)
    assert planner.tick() == []
    ((_, due_at),) = upcoming(store)
    assert clock() < due_at <= clock() + timedelta(hours=9)


def test_t52_a_due_row_survives_the_process(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    Planner(store, queue, [every()], now=clock).tick()
    work(queue)
    before = upcoming(store)
    assert Planner(store, queue, [every()], now=clock).tick() == []
    assert upcoming(store) == before


def test_due_rows_of_a_schedule_that_another_process_knows_are_left_to_it(
    store: Store, planner: Planner, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner.tick()
    other = Planner(store, queue, [every(), every("1h", name="more", job="sync_accounts")], now=clock)
    other.tick()
    work(queue)
    clock.advance(timedelta(days=1))
    assert [due.schedule for due in planner.tick()] == ["banks"]
    assert [due.schedule for due in other.tick()] == ["more"]


def test_t52_downtime_is_made_up_by_one_run(
    store: Store, planner: Planner, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner.tick()
    work(queue)
    clock.advance(timedelta(days=10))
    assert len(planner.tick()) == 1
    assert planner.tick() == []
    assert work(queue) == 1
    assert upcoming(store)[0][1] > clock()


def test_over_a_week_there_is_a_run_every_span(
    planner: Planner, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    runs = 0
    for _ in range(7 * 24 * 4):
        planner.tick()
        runs += work(queue)
        clock.advance(timedelta(minutes=15))
    assert 28 <= runs <= 29


def test_t54_a_changed_schedule_takes_effect_from_now(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    Planner(store, queue, [every("6h")], now=clock).tick()
    work(queue)
    clock.advance(timedelta(days=3))
    changed = Planner(store, queue, [every("1h")], now=clock)
    assert changed.tick() == []
    assert clock() < upcoming(store)[0][1] <= clock() + timedelta(hours=1)


def test_a_schedule_that_is_gone_drives_nothing_more(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    Planner(store, queue, [every()], now=clock).tick()
    work(queue)
    clock.advance(timedelta(days=1))
    without = Planner(store, queue, [], now=clock)
    assert without.tick() == []
    assert upcoming(store) == []


class Broken:
    """A process that dies between enqueueing and moving on, or before."""

    def __init__(self, queue: SqlJobQueue, *, before: bool) -> None:
        self.queue, self.before = queue, before

    def enqueue_many(self, orders: Sequence[Mapping[str, Any]]) -> int:
        if not self.before:
            self.queue.enqueue_many(orders)
        raise KeyboardInterrupt

    def running(self, keys: Sequence[str]) -> set[str]:
        return self.queue.running(keys)

    def pending_cost(self, keys: Sequence[str], until: datetime) -> dict[str, dict[str, int]]:
        return self.queue.pending_cost(keys, until)

    def promote(self, quota_key: str) -> int:
        return self.queue.promote(quota_key)


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_while_planning_is_repeated_as_a_no_op(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock, before: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Planner(store, Broken(queue, before=before), [every()], now=clock).tick()
    assert queue.stats().ready == (0 if before else 1)
    assert len(Planner(store, queue, [every()], now=clock).tick()) == 1
    assert queue.stats().ready == 1


def test_a_queue_that_cannot_be_written_loses_no_due_row(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    class Full(SqlJobQueue):
        def enqueue_many(self, orders: Sequence[Mapping[str, Any]]) -> int:
            raise StoreError("the disk is full")

    full = Full(queue.url, now=clock)
    with pytest.raises(StoreError):
        Planner(store, full, [every()], now=clock).tick()
    full.close()
    assert len(Planner(store, queue, [every()], now=clock).tick()) == 1


def test_t55_two_planners_at_once_enqueue_one_job(
    tmp_path: Path, store: Store, queue: SqlJobQueue, connections: Connections, clock: VirtualClock
) -> None:
    for turn in range(5):
        expected = {f"{link(connections).connection_id}/transactions" for _ in range(3)}
        barrier, failed = threading.Barrier(2), list[BaseException]()

        def plan(barrier: threading.Barrier = barrier, failed: list[BaseException] = failed) -> None:
            mine = open_store(store.url, now=clock)
            waiting = SqlJobQueue(queue.url, now=clock)
            barrier.wait(10)
            try:
                Planner(mine, waiting, [every()], now=clock).tick()
            except BaseException as error:
                failed.append(error)
            finally:
                mine.close()
                waiting.close()

        threads = [threading.Thread(target=plan) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert failed == []
        keys = [job.unique_key for job in queue.jobs("queued")]
        assert sorted(map(str, keys)) == sorted(expected)
        assert work(queue) == 3, turn


def test_a_stream_whose_job_still_runs_is_passed_over(
    planner: Planner, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner.tick()
    assert queue.reserve_next() is not None
    clock.advance(timedelta(hours=12))
    planner.tick()
    assert (queue.stats().ready, queue.stats().running) == (0, 1)


def test_two_schedules_of_one_stream_make_one_pending_job_in_the_more_urgent_lane(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    both = [every(name="slow", lane="backfill"), every(name="fast", lane="webhook")]
    assert len(Planner(store, queue, both, now=clock).tick()) == 2
    (job,) = queue.jobs()
    assert job.lane == "webhook"


@pytest.mark.parametrize("state", ["reauth", "disabled"])
def test_t24_a_connection_that_waits_for_its_owner_is_not_planned(
    planner: Planner, queue: SqlJobQueue, connections: Connections, linked: Connection, clock: VirtualClock, state: str
) -> None:
    planner.tick()
    work(queue)
    connections.set_state(linked.connection_id, state, "why")
    clock.advance(timedelta(days=2))
    assert planner.tick() == []
    assert queue.jobs() == []


def test_t15_a_relinked_connection_is_due_at_once(
    planner: Planner, queue: SqlJobQueue, connections: Connections, linked: Connection
) -> None:
    planner.tick()
    work(queue)
    connections.set_state(linked.connection_id, "reauth", "why")
    planner.tick()
    connections.relink(linked.connection_id, {"access_token": "new"})
    assert len(planner.tick()) == 1


@pytest.mark.parametrize("erase", [True, False])
def test_a_connection_that_was_removed_is_not_planned(
    store: Store, planner: Planner, connections: Connections, linked: Connection, clock: VirtualClock, erase: bool
) -> None:
    planner.tick()
    connections.remove(linked.connection_id, erase=erase)
    clock.advance(timedelta(days=1))
    assert planner.tick() == []
    assert upcoming(store) == []


def test_a_connection_added_while_running_is_seen_by_the_next_tick(
    planner: Planner, connections: Connections, linked: Connection
) -> None:
    planner.tick()
    other = link(connections, "grace")
    assert [due.connection_id for due in planner.tick()] == [other.connection_id]


@pytest.mark.parametrize(
    ("narrowed", "planned"),
    [
        ({"tenants": ["ada"]}, 1),
        ({"tenants": ["grace"]}, 0),
        ({"providers": ["teller"]}, 1),
        ({"providers": ["plaid"]}, 0),
    ],
)
def test_a_schedule_can_be_narrowed(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock, narrowed: dict[str, Any], planned: int
) -> None:
    assert len(Planner(store, queue, [every(**narrowed)], now=clock).tick()) == planned


def test_lanes_then_time_then_accounts_first(
    store: Store, queue: SqlJobQueue, connections: Connections, clock: VirtualClock
) -> None:
    link(connections)
    plan = [
        every(name="t"), every(name="a", job="sync_accounts"),
        every(name="u", job="sync_transactions", lane="interactive"),
    ]  # fmt: skip
    due = Planner(store, queue, plan, now=clock).tick()
    assert [(d.lane, d.dataset) for d in due] == [
        ("interactive", "transactions"), ("scheduled", "accounts"), ("scheduled", "transactions"),
    ]  # fmt: skip


def test_an_idle_tick_writes_nothing(
    tmp_path: Path, planner: Planner, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner.tick()
    work(queue)

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm")}

    before = files()
    assert "fin.db" in before
    for _ in range(5):
        clock.advance(timedelta(seconds=2))
        assert planner.tick() == []
    assert files() == before


def test_a_connection_of_a_vendor_that_is_no_longer_there_stops_nobody_else(
    store: Store, planner: Planner, linked: Connection
) -> None:
    with store.writing() as sql:
        sql.execute(insert(CONNECTIONS), {
            "connection_id": "con_odd", "tenant_id": "ada", "provider": "gone", "state": "active", "generation": 1,
            "created_at": micros(START), "updated_at": micros(START),
        })  # fmt: skip
    assert [due.connection_id for due in planner.tick()] == [linked.connection_id]


def test_without_connections_nothing_is_due(planner: Planner) -> None:
    assert planner.tick() == list[Due]()


def test_many_due_streams_are_planned_in_one_go(
    planner: Planner, queue: SqlJobQueue, store: Store, connections: Connections
) -> None:
    with store.writing() as sql:
        sql.execute(insert(CONNECTIONS), [
            {"connection_id": f"con_{n:04}", "tenant_id": "ada", "provider": "teller", "state": "active",
             "generation": 1, "created_at": 0, "updated_at": 0}
            for n in range(1_500)
        ])  # fmt: skip
    assert len(planner.tick()) == 1_500
    assert queue.stats().ready == 1_500
    assert planner.tick() == []


# -- calendars ---------------------------------------------------------------------------------------------------------


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def eod(*, name: str = "eod", mic: str = "XNYS", **more: Any) -> Schedule:
    rule = {"job": "sync_accounts", "calendar": "us", "at": "close", "offset": "+30m", **more}
    return Schedule(name, Rule.model_validate(rule), "accounts", "f.yaml", 1, mic)


def sessions(store: Store) -> list[tuple[datetime, str | None]]:
    """The due rows as they lie in the store: time and session."""
    with store.reading() as sql:
        return [(from_micros(row.due_at), row.session) for row in sql.execute(select(DUE).order_by(DUE.c.due_at))]


def test_a_new_stream_is_due_at_once_then_with_its_calendar(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner = Planner(store, queue, [eod()], now=clock)  # it is Tuesday noon in UTC
    assert [(due.due_at, due.session) for due in planner.tick()] == [(START, date(2026, 11, 23))]
    assert sessions(store) == [(at("2026-11-24T21:30Z"), "2026-11-24")]


def test_over_thanksgiving_each_session_has_its_run_and_the_holiday_none(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner = Planner(store, queue, [eod()], now=clock)
    planner.tick()
    work(queue)
    found = []
    while clock() < at("2026-12-01T12:00Z"):
        clock.advance(timedelta(minutes=10))
        found += [(clock(), due.due_at, due.session) for due in planner.tick()]
        work(queue)
    expected = [
        ("2026-11-24T21:30Z", 24), ("2026-11-25T21:30Z", 25), ("2026-11-27T18:30Z", 27), ("2026-11-30T21:30Z", 30),
    ]  # fmt: skip
    assert found == [(at(when), at(when), date(2026, 11, day)) for when, day in expected]


def test_t52_downtime_over_sessions_is_made_up_by_one_run_for_the_newest(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    planner = Planner(store, queue, [eod()], now=clock)
    planner.tick()
    work(queue)
    clock.advance(timedelta(days=12))  # to Sunday the 6th
    assert [(due.due_at, due.session) for due in Planner(store, queue, [eod()], now=clock).tick()] == [
        (at("2026-11-24T21:30Z"), date(2026, 12, 4))
    ]
    assert work(queue) == 1
    assert planner.tick() == []
    assert sessions(store) == [(at("2026-12-07T21:30Z"), "2026-12-07")]


def test_a_run_minutes_before_the_close_does_not_take_the_sessions_own_away(
    store: Store, queue: SqlJobQueue, connections: Connections, clock: VirtualClock
) -> None:
    planner = Planner(store, queue, [eod()], now=clock)
    clock.advance(at("2026-11-27T18:25Z") - START)
    link(connections)
    assert [due.session for due in planner.tick()] == [date(2026, 11, 27)]
    work(queue)
    clock.advance(timedelta(minutes=5))
    assert [due.due_at for due in planner.tick()] == [at("2026-11-27T18:30Z")]


@pytest.mark.parametrize(
    ("changed", "then"),
    [
        (eod(offset="+2h"), "2026-11-25T23:00Z"),  # of today, still to come
        (eod(offset="+10m"), "2026-11-27T18:10Z"),  # today's is past: not made up
        (eod(mic="24/7"), "2026-11-26T00:30Z"),
        (every(name="eod", job="sync_accounts"), "2026-11-26T00:00Z"),
    ],
)
def test_t54_a_changed_rule_takes_effect_from_now(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock, changed: Schedule, then: str
) -> None:
    Planner(store, queue, [eod()], now=clock).tick()
    work(queue)
    clock.advance(at("2026-11-25T21:15Z") - START)  # today's due time is not past yet, the one of yesterday is overdue
    assert Planner(store, queue, [changed], now=clock).tick() == []
    session = changed.session_at(at(then))
    assert sessions(store) == [(at(then), None if session is None else session.isoformat())]


def test_t54_a_calendar_renamed_in_the_file_changes_nothing(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    Planner(store, queue, [eod()], now=clock).tick()
    work(queue)
    before = sessions(store)
    clock.advance(timedelta(hours=1))
    assert Planner(store, queue, [eod(calendar="new_york")], now=clock).tick() == []
    assert sessions(store) == before


def test_a_newer_release_that_knows_of_a_holiday_moves_what_has_not_come(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    Planner(store, queue, [eod()], now=clock).tick()
    work(queue)
    with store.writing() as sql:  # as the old release left it: it thought that Thanksgiving had a session
        sql.execute(update(DUE).values(due_at=micros(at("2026-11-26T21:30Z")), session="2026-11-26"))
    clock.advance(at("2026-11-26T12:00Z") - START)
    assert Planner(store, queue, [eod()], now=clock).tick() == []
    assert sessions(store) == [(at("2026-11-27T18:30Z"), "2026-11-27")]


def release_without(day: str) -> Callable[[str], Calendar]:
    """The calendars of an older release, which does not know yet what is unusual about a day."""
    entry = dict(entry_of("XNYS"))
    year, _, rest = day.partition("-")
    closed = " ".join(other for other in entry["closed"].get(year, "").split() if other != rest)
    entry["closed"] = {**entry["closed"], year: closed}
    entry["hours_on"] = {other: hours for other, hours in entry["hours_on"].items() if other != day}
    calendar = expanded("XNYS", entry)
    return lambda mic: calendar


def planned_by(schedule: Schedule, calendars: Callable[[str], Calendar]) -> Schedule:
    return replace(schedule, calendars=calendars)


@guarded("a moved session is not told", "planning/planner.py", "said[told] = said.get(told, 0) + 1", "pass")
@pytest.mark.parametrize(
    ("unknown", "words", "before", "after", "told"),
    [
        ("2026-11-26", {}, ("2026-11-26T21:30Z", "2026-11-26"), ("2026-11-27T18:30Z", "2026-11-27"),
         "schedule eod: session 2026-11-26 of XNYS is no longer planned; next is 2026-11-27T18:30Z (2 streams)"),
        ("2026-11-27", {}, ("2026-11-27T21:30Z", "2026-11-27"), ("2026-11-27T18:30Z", "2026-11-27"),
         "schedule eod: session 2026-11-27 of XNYS is planned at 2026-11-27T18:30Z, no longer at 2026-11-27T21:30Z "
         "(2 streams)"),
        ("2026-11-26", {"at": "09:00", "offset": "+0s"}, ("2026-11-26T14:00Z", "2026-11-25"),
         ("2026-11-27T14:00Z", "2026-11-25"),
         "schedule eod: session 2026-11-26 of XNYS is no longer planned; next is 2026-11-27T14:00Z (2 streams)"),
    ],
)  # fmt: skip
def test_an_override_that_moves_or_closes_a_planned_session_moves_its_row_and_is_told_once(
    store: Store, queue: SqlJobQueue, connections: Connections, clock: VirtualClock, caplog: pytest.LogCaptureFixture,
    unknown: str, words: dict[str, Any], before: tuple[str, str], after: tuple[str, str], told: str,
) -> None:  # fmt: skip
    for tenant in ("ada", "grace"):
        link(connections, tenant)
    clock.advance(at("2026-11-26T12:00Z") - START)
    old = planned_by(eod(**words), release_without(unknown))
    Planner(store, queue, [old], now=clock).tick()
    work(queue)
    assert sessions(store) == [(at(before[0]), before[1])] * 2
    assert caplog.text == ""
    new = Planner(store, queue, [eod(**words)], now=clock)
    assert new.tick() == []
    assert sessions(store) == [(at(after[0]), after[1])] * 2
    assert [record.message for record in caplog.records] == [told]
    Planner(store, queue, [eod(**words)], now=clock).tick()
    assert len(caplog.records) == 1, "it is told once"


def test_an_early_close_that_was_not_known_ends_what_runs_while_open(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    rule = Rule.model_validate({"job": "sync_accounts", "calendar": "us", "every": "2h", "while": "open"})
    schedule = Schedule("open", rule, "accounts", "f.yaml", 1, "XNYS")
    clock.advance(at("2026-11-27T16:45Z") - START)
    Planner(store, queue, [planned_by(schedule, release_without("2026-11-27"))], now=clock).tick()
    work(queue)
    assert [when for when, _ in sessions(store)] == [at("2026-11-27T18:30Z")]
    Planner(store, queue, [schedule], now=clock).tick()
    assert [when for when, _ in sessions(store)] == [at("2026-11-30T14:30Z")]


@guarded(
    "a start plans a queued stream's next but one",
    "planning/planner.py",
    "times, queued = due_after_many(streams, now),",
    "times, queued = due_after_many(streams, now, queued=True),",
)
def test_a_restart_skips_no_slot_of_an_open_market(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    rule = Rule.model_validate({"job": "sync_accounts", "calendar": "us", "every": "15m", "while": "open"})
    schedule = Schedule("open", rule, "accounts", "f.yaml", 1, "XNYS")
    clock.advance(at("2026-11-25T14:00Z") - START)
    Planner(store, queue, [schedule], now=clock).tick()
    work(queue)
    found = []
    while clock() < at("2026-11-25T21:30Z"):
        clock.advance(timedelta(minutes=5))
        found += [due.due_at for due in Planner(store, queue, [schedule], now=clock).tick()]  # one a process
        work(queue)
    assert found == [at("2026-11-25T14:30Z") + n * timedelta(minutes=15) for n in range(26)]


def test_what_is_overdue_at_a_start_stays_overdue(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    Planner(store, queue, [eod()], now=clock).tick()
    work(queue)
    clock.advance(at("2026-11-24T21:30Z") - START)
    assert len(Planner(store, queue, [eod()], now=clock).tick()) == 1


def test_a_schedule_without_a_calendar_has_no_session(
    store: Store, planner: Planner, linked: Connection, clock: VirtualClock
) -> None:
    assert [due.session for due in planner.tick()] == [None]
    assert [session for _, session in sessions(store)] == [None]


def test_a_calendar_that_ends_stops_nobody(
    store: Store, queue: SqlJobQueue, linked: Connection, clock: VirtualClock
) -> None:
    clock.advance(datetime(2036, 1, 2, tzinfo=UTC) - START)
    planner = Planner(store, queue, [eod(), every()], now=clock)
    assert len(planner.tick()) == 2
    work(queue)
    assert planner.tick() == []
    assert min(moment for moment, _ in sessions(store)) > clock()
