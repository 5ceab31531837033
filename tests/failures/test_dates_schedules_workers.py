"""T-49 … T-56: dates, schedules, workers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fin_infra.engine import SyncReport
from fin_infra.providers.teller.simulator import Fault
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from tests.broker import BrokerWorld
from tests.guards import guarded
from tests.world import World, bought, checking


@guarded(
    "a date passes through a zone", "store/codec.py",
    'return column.str.to_date("%Y-%m-%d")',
    'return column.str.to_datetime("%Y-%m-%d", time_zone="UTC").dt.convert_time_zone("America/New_York").dt.date()',
)  # fmt: skip
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "Pacific/Pago_Pago", "UTC"])
async def test_t49_a_bank_date_stays_the_date_it_is_in_every_zone(
    world: World, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        world.bank.enroll("tok", checking("acc_1", bought("txn_1", on="2026-11-20"), bought("txn_2", on="2026-03-08")))
        await world.link()
        await world.work(timedelta(hours=11, minutes=30))  # 23:30 UTC
        rows = {row["transaction_id"]: row["booked_on"] for row in world.rows("transactions")}
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert rows == {"txn_1": date(2026, 11, 20), "txn_2": date(2026, 3, 8)}
    assert [r["booked_on"] for r in world.rows("transactions", since=date(2026, 11, 20), until=date(2026, 11, 20))] == [
        date(2026, 11, 20)
    ]


@guarded(
    "no date is 1970", "datasets/base.py",
    'given = given.replace("0", None)  # a vendor',
    "cast = cast.fill_null(pl.date(1970, 1, 1))  # a vendor",
)  # fmt: skip
async def test_t49_a_missing_date_is_null_never_1970_and_a_wrong_one_is_not_guessed(world: World) -> None:
    rows = [bought("txn_0", on="0"), bought("txn_b", on=" "), bought("txn_w", on="2026-02-30"), bought("txn_ok")]
    world.bank.enroll("tok", checking("acc_1", *rows))
    await world.link()
    await world.work()
    kept = {row["transaction_id"]: row["booked_on"] for row in world.rows("transactions")}
    assert kept == {"txn_0": None, "txn_b": None, "txn_ok": date(2026, 11, 20)}
    [finding] = world.rows("findings")
    assert (finding["subject"], finding["detail"]) == ("acc_1 txn_w", "not kept: booked_on is not a date as YYYY-MM-DD")


@guarded("a vanished worker keeps its job", "runtime/queue.py", "            self._reclaim(sql, now)\n", "")
async def test_t50_a_job_whose_worker_vanished_is_done_by_the_next_within_its_lease(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    connection = await world.link()
    async with world.runtime() as dead:
        dead.planner().tick()
        taken = [dead.queue.reserve_next(), dead.queue.reserve_next()]  # and is never heard of again
        assert None not in taken
    async with world.runtime() as early:
        await _one_look(early)  # the lease still runs: nobody else may touch it
    assert world.reports == []
    assert world.rows("runs") == []
    reports = await world.work(timedelta(seconds=world.settings.lease_seconds + 1))
    assert {(r.dataset, r.outcome) for r in reports} == {("accounts", "ok"), ("transactions", "ok")}
    assert world.ids() == ["txn_1"]
    async with world.runtime() as late:
        for job in taken:
            assert job is not None
            assert late.queue.extend(job.id) == 0
            late.queue.fail(job.id, error="too late")
            late.queue.ack(job.id)
        assert late.queue.jobs() == []
        assert late.queue.stats().done == 2
    assert world.stream()["connection_id"] == connection.connection_id
    assert {run["outcome"] for run in world.rows("runs")} == {"ok"}


@guarded("leases are not renewed", "runtime/worker.py", "if self._jobs.extend(job.id) == 0:", "if False:")
async def test_t50_a_slow_job_keeps_its_lease_while_its_worker_lives(world: World) -> None:
    settings = world.settings.model_copy(update={"lease_seconds": 0.5})
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    world.bank.fail_next(Fault("slow", on="/accounts", seconds=1.2))
    reports: list[SyncReport] = []
    async with Runtime(settings, base_urls={"teller": world.url}, on_report=reports.append) as runtime:
        worker = asyncio.create_task(runtime.run_worker(until_idle=True))
        async with Runtime(settings, base_urls={"teller": world.url}, on_report=reports.append) as other:
            await asyncio.sleep(0.1)
            await other.run_worker(until_idle=True)
        await worker
    assert [(r.dataset, r.outcome) for r in reports if r.dataset == "accounts"] == [("accounts", "ok")]


@guarded(
    "a late ack counts", "runtime/queue.py",
    "{statement} WHERE id = ? AND fence = ? AND state = 'running'\", (*values, *_parts(job_id))",
    '{statement} WHERE id = ?", (*values, _parts(job_id)[0])',
)  # fmt: skip
async def test_t51_a_run_whose_lease_was_lost_writes_nothing_over_its_successor(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    await world.work()
    row = world.bank.account("acc_1").transactions[0]
    world.clock.advance(timedelta(days=1))
    async with world.runtime() as slow, world.runtime() as next_one:
        slow.planner().tick()
        stuck = slow.queue.reserve_next()
        assert stuck is not None
        world.clock.advance(timedelta(seconds=61))
        row.amount = "-11.00"
        successors = {
            job.id.split(".")[0]: job for job in (next_one.queue.reserve_next(), next_one.queue.reserve_next()) if job
        }
        slow.queue.ack(stuck.id)
        slow.queue.fail(stuck.id, error="too late")
        slow.queue.defer(stuck.id, 0)
        assert next_one.queue.stats().running == 2, "the successor's job is untouched"
        for job in successors.values():
            assert next_one.queue.extend(job.id) == 1
            next_one.queue.defer(job.id, 0)
        await next_one.run_worker(until_idle=True)
        slow.queue.ack(stuck.id)
        assert next_one.queue.jobs() == []
    assert world.rows("transactions")[0]["amount"] == -11


async def test_t52_after_downtime_a_stream_runs_once_and_covers_the_gap(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_0")))
    await world.link()
    await world.work()
    for n in range(1, 20):
        world.bank.add("acc_1", bought(f"txn_{n:02}", on=f"2026-12-{n:02}"))
    reports = await world.work(timedelta(days=30))
    assert sorted(r.dataset for r in reports) == ["accounts", "transactions"]
    assert len(world.ids()) == 20
    assert await world.work() == []


@pytest.mark.parametrize(
    ("when", "first", "expected"),
    [
        # 02:30 does not exist on the 14th of March 2027: it comes an hour later by the clock
        (
            'at: "02:30", tz: America/New_York',
            "2027-03-13",
            ["03-13 07:30", "03-14 07:30", "03-15 06:30", "03-16 06:30"],
        ),
        # 01:30 comes twice on the 7th of November: the first counts
        (
            'at: "01:30", tz: America/New_York',
            "2027-11-06",
            ["11-06 05:30", "11-07 05:30", "11-08 06:30", "11-09 06:30"],
        ),
        # Friday's close is before the change of the clock, Monday's after it; no run at the weekend
        ("at: close, calendar: us, offset: +30m", "2027-03-12", ["03-12 21:30", "03-15 20:30"]),
    ],
)
async def test_t53_a_day_with_a_changed_clock_has_one_run(
    world: World, tmp_path: Path, when: str, first: str, expected: list[str]
) -> None:
    from fin_infra.project import init

    project = tmp_path / "mine"
    init(project)
    for shipped in (project / "schedules").glob("*.yaml"):
        shipped.unlink()
    (project / "schedules/zoned.yaml").write_text(
        f"calendars:\n  us: {{mic: XNYS}}\nschedules:\n  zoned: {{job: sync_transactions, {when}}}\n"
    )
    world.settings = Settings(**{**world.settings.model_dump(), "project": project})
    world.bank.enroll("tok", checking("acc_1"))
    await world.link()
    begin = datetime.fromisoformat(f"{first}T00:00Z")
    await world.work(begin - timedelta(hours=6) - world.clock())  # it was new: that run is done
    runs = []
    async with world.runtime() as runtime:
        planner = runtime.planner()
        while world.clock() < begin + timedelta(days=4):
            world.clock.advance(timedelta(minutes=30))
            runs += [(world.clock(), due.due_at) for due in planner.tick()]
            while (job := runtime.queue.reserve_next()) is not None:
                runtime.queue.ack(job.id)
    assert all(planned == due for planned, due in runs)
    assert [f"{due:%m-%d %H:%M}" for _, due in runs if due >= begin] == expected


@guarded(
    "a changed schedule runs at once", "planning/planner.py",
    "wanted[key] = (wanted[key][0], due_at)",
    "wanted[key] = (wanted[key][0], micros(now))",
)  # fmt: skip
async def test_t54_a_changed_schedule_takes_effect_from_now(world: World, tmp_path: Path) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    await world.work()
    project = tmp_path / "mine"
    from fin_infra.project import init

    init(project)
    (project / "schedules/transactions.yaml").write_text(
        "schedules:\n  transactions: {job: sync_transactions, every: 1h}\n"
    )
    world.settings = Settings(**{**world.settings.model_dump(), "project": project})
    assert await world.work(timedelta(minutes=5)) == []
    reports = await world.work(timedelta(minutes=55))
    assert [r.dataset for r in reports] == ["transactions"]


UNTIL_FINAL = """
calendars:
  us: {mic: XNYS}
schedules:
  holdings: {job: sync_holdings, every: 7d}
  prices: {job: sync_prices, calendar: us, at: close, offset: +30m, until: final, retry: 20m, deadline: "18:00"}
"""


async def priced(market: BrokerWorld, until: str, *, each: Callable[[], None] = lambda: None) -> list[str]:
    """When prices are asked for, by workers that start and stop every ten minutes."""
    asked = []
    while f"{market.clock():%m-%d %H:%M}" < until:
        each()
        ran = [report.dataset for report in await market.work(timedelta(minutes=10))]
        asked += [f"{market.clock():%m-%d %H:%M}"] * ran.count("prices")
    return asked


async def before_thanksgiving(market: BrokerWorld) -> None:
    """It is a quarter past four in New York, the day before, and all older bars are final."""
    market.schedule(UNTIL_FINAL)
    market.has_bars("AAPL")
    await market.link("AAPL")
    await market.work_after("2026-11-24")
    await market.work(timedelta(minutes=20))
    assert {report.dataset for report in await market.work(timedelta(hours=2))} <= {"accounts", "holdings"}
    market.clock.set(datetime(2026, 11, 25, 21, 15, tzinfo=UTC))
    await market.work()
    assert set(market.states().values()) == {"final"}


@guarded(
    "final data is asked for again", "planning/planner.py",
    "return [d for d in due if d not in done and d not in late]", "return [d for d in due if d not in late]",
)  # fmt: skip
@guarded("until: final is forgotten", "planning/planner.py", "if look < next_at:", "if False:")
async def test_t35_a_session_is_asked_for_again_until_its_bars_are_final(market: BrokerWorld) -> None:
    await before_thanksgiving(market)
    assert await priced(market, "11-26 06:00") == ["11-25 21:35", "11-25 21:55"]
    assert market.states()["2026-11-25"] == "final"
    assert market.stream("prices")["next_reason"] is None
    assert await priced(market, "11-27 19:30") == ["11-27 18:35", "11-27 18:55"], "the early close, and its own look"


@guarded("a deadline is none", "planning/planner.py", "and d.deadline <= now}", "and False}")
async def test_t35_at_its_deadline_a_session_that_is_not_final_is_left_and_said_so(
    market: BrokerWorld, caplog: pytest.LogCaptureFixture
) -> None:
    await before_thanksgiving(market)
    cents = iter(range(1_000))

    def correct() -> None:
        market.bar("AAPL", "2026-11-25", f"20.{next(cents):03}")

    asked = await priced(market, "11-26 03:00", each=correct)
    assert asked == ["11-25 21:35", "11-25 21:55", "11-25 22:15", "11-25 22:35", "11-25 22:55"]
    told = "session 2026-11-25 was not final at 18:00 America/New_York, it is asked again at 2026-11-27T18:30Z"
    assert market.stream("prices")["next_reason"] == told
    assert caplog.text.count(told) == 1
    assert await priced(market, "11-27 19:30") == ["11-27 18:35", "11-27 18:55"]
    assert market.stream("prices")["next_reason"] is None
    assert set(market.states().values()) == {"final"}


@guarded(
    "a relinked stream only looks whether it is final", "planning/planner.py",
    "from_micros(deadline) if look == row.due_at else None", "from_micros(deadline)",
)  # fmt: skip
async def test_t15_a_relink_while_final_data_waits_for_its_next_session_runs_at_once(market: BrokerWorld) -> None:
    await before_thanksgiving(market)
    await priced(market, "11-25 21:45")
    await market.sync(after=timedelta(minutes=15))  # by hand: final before the look
    async with market.runtime() as runtime:
        [connection] = runtime.connections.all()
        runtime.connections.relink(connection.connection_id, {"key_id": "PK1", "secret_key": "secret of PK1"})
    assert "prices" in {report.dataset for report in await market.work()}


@guarded("a stream may have two jobs", "planning/planner.py", '"unique_key": d.unique_key', '"unique_key": None')
async def test_t55_a_finished_job_can_be_queued_again_and_a_live_one_only_once(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1"))
    await world.link()
    async with world.runtime() as runtime:
        one, two = runtime.planner(), runtime.planner()
        assert len(one.tick()) == 2
        with runtime.store.writing() as sql:  # the first planner died between enqueueing and moving on
            sql.exec_driver_sql("UPDATE due SET due_at = due_at - 86400000000")
        assert len(two.tick()) == 2
        assert runtime.queue.stats().ready == 2
        await runtime.run_worker(until_idle=True)
        assert runtime.queue.stats().done == 2
        world.clock.advance(timedelta(days=1))
        assert len(one.tick()) == 2
        assert runtime.queue.stats().ready == 2


@guarded("unknown jobs are taken", "runtime/queue.py", 'f"AND name IN (', 'f"AND id NOT IN (')
async def test_t56_a_job_of_a_kind_we_do_not_know_is_left_for_who_does(world: World) -> None:
    async with world.runtime() as runtime:
        runtime.queue.enqueue("somebody_elses", {"connection": "x"})
        await asyncio.wait_for(_one_look(runtime), 5)
        [job] = runtime.queue.jobs()
        assert (job.name, job.state, job.attempts) == ("somebody_elses", "queued", 0)
    assert os.path.exists(world.folder / "fin-queue.db")


async def _one_look(runtime: Runtime) -> None:
    worker = runtime.worker()
    loop = worker.start()
    await asyncio.sleep(0.4)
    await worker.stop()
    await loop
