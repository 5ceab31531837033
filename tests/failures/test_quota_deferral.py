"""A spent quota ends a run in the middle: what is whole is kept, and the rest is asked for when its time has come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from fin_infra.engine import SyncReport
from fin_infra.runtime import Runtime
from fin_infra.runtime.app import JobContext
from tests.broker import BrokerWorld
from tests.guards import guarded
from tests.plaid_world import PlaidWorld, plaid_of
from tests.plaid_world import bought as spent
from tests.world import START, World, bought, checking, world_of

HOUR = timedelta(hours=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        yield found


@pytest.fixture
def plaid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


def of(dataset: str, reports: list[SyncReport]) -> list[SyncReport]:
    return [report for report in reports if report.dataset == dataset]


# -- a log of pages ----------------------------------------------------------------------------------------------------


async def test_t52_a_loop_that_a_quota_ends_goes_on_behind_its_last_page_and_missed_times_are_one_run(
    plaid: PlaidWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_PLAID_QUOTAS", "connection:pages=2/12h@/transactions/sync")
    await plaid.link()
    plaid.item.add(*(spent(f"t{n:04}") for n in range(2600)))
    first = of("transactions", await plaid.work())
    assert [(r.outcome, r.error_code) for r in first] == [("later", "quota_exhausted")]
    assert plaid.ids() == []
    for _ in range(2):  # its schedule comes due twice meanwhile, and adds nothing
        assert of("transactions", await plaid.work(timedelta(hours=5, minutes=55))) == []
    [second] = of("transactions", await plaid.work(timedelta(minutes=10)))
    assert second.outcome == "later"
    [third] = of("transactions", await plaid.work(timedelta(hours=12)))
    assert (third.outcome, third.total.inserted) == ("ok", 2600)
    cursors = [body["cursor"] for body in plaid.asked("/transactions/sync")]
    assert len(cursors) == len(set(cursors)) == 6, "no page twice"


# -- a series ----------------------------------------------------------------------------------------------------------


@guarded("instruments that were answered are asked again", "engine/sync.py",
         'left = [want for want in wants if answered.get(want.subject, "") < since]', "left = list(wants)")  # fmt: skip
async def test_t38_after_a_week_down_a_quota_that_allows_a_part_fills_the_gap_over_several_runs(
    market: BrokerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"X{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(210)]
    market.has_bars(*names, days=market.sessions(date(2026, 11, 18), date(2026, 12, 4)))
    await market.link(*names)
    await market.work_after("2026-11-24")
    monkeypatch.setenv("FIN_INFRA_ALPACA_QUOTAS", "data=1/1h")
    market.clock.set(market.after_close("2026-12-03"))
    begin = len(market.asked())
    told = []
    for _ in range(4):
        told += [(r.outcome, r.calls) for r in of("prices", await market.work())]
        market.clock.advance(HOUR)
    assert told == [("partial", 1), ("partial", 1), ("ok", 1)]
    asked = [set(query["symbols"].split(",")) for query in market.asked()[begin:]]
    assert [len(symbols) for symbols in asked] == [100, 100, 10]
    assert set().union(*asked) == set(names)
    for name in (names[0], names[150], names[209]):
        assert market.held(name) == market.served(name)
    runs = sorted((run for run in market.rows("runs") if run["dataset"] == "prices"), key=lambda r: r["started_at"])
    assert [(run["outcome"], run["calls"]) for run in runs[-3:]] == told


# -- deliveries --------------------------------------------------------------------------------------------------------


async def delivered(runtime: Runtime, name: str) -> SyncReport:
    """A worker takes the job, works, and dies before it can say so."""
    job = runtime.queue.reserve_next()
    assert job is not None
    assert job.name == name
    context = JobContext(runtime.engine, lane=job.lane, attempt=job.attempts)
    return await runtime.project.jobs[name].deliver(job.payload, context)


@guarded("a second delivery asks again", "engine/sync.py", "if account.account_id not in fresh]", "]")
async def test_t52_a_run_that_is_delivered_twice_settles_once(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("a")), checking("acc_2", bought("b")))
    linked = await world.link()
    async with world.runtime() as runtime:
        await runtime.engine.sync("accounts", linked.connection_id)
        runtime.queue.enqueue("sync_transactions", {"connection": linked.connection_id}, unique_key="k")
        report = await delivered(runtime, "sync_transactions")
    assert (report.outcome, report.calls, report.total.inserted) == ("ok", 2, 2)
    seen = len(world.bank.requests)
    world.clock.advance(timedelta(minutes=2))  # its lease runs out
    async with world.runtime() as runtime:
        await runtime.run_worker(until_idle=True)
        assert runtime.queue.stats().done >= 1
    again = [r for r in world.bank.requests[seen:] if "transactions" in r]
    assert len(again) == 2, "those of the schedule's own job, and none of the one that was delivered twice"
    assert world.ids() == ["a", "b"]


async def test_a_wish_for_now_goes_only_as_far_as_the_ledger_lets_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "connection:tight=2/6h")
    world.bank.enroll("tok", checking("acc_1", bought("a")), checking("acc_2", bought("b")))
    linked = await world.link()
    await world.work()
    seen = len(world.bank.requests)
    assert seen == 2
    async with world.runtime() as runtime:
        before = {job.name: job.available_at for job in runtime.queue.jobs()}
        assert set(before.values()) == {START + timedelta(hours=6)}
        assert runtime.queue.hasten(linked.connection_id) == len(before)
    await world.work(HOUR)
    assert len(world.bank.requests) == seen, "no call is wasted on it"
    async with world.runtime() as runtime:
        jobs = runtime.queue.jobs()
    assert {job.name: job.available_at for job in jobs} == before, "it waits for the same time as before"
    assert {job.attempts for job in jobs} == {0}
    world.clock.set(START + timedelta(hours=6, microseconds=-1))
    assert await world.work() == []


@guarded("news of an account that was answered is not looked at", "runtime/queue.py",
         "SET enqueued_at = ? WHERE unique_key = ? AND state = 'queued' AND fence > 0",
         "SET enqueued_at = ? WHERE unique_key = ? AND state = 'queued' AND FALSE")  # fmt: skip
@pytest.mark.parametrize("lane", ["webhook", "scheduled"])
async def test_news_that_meet_a_run_that_was_put_off_in_the_middle_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch, lane: str
) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("a")), checking("acc_2", bought("b")))
    linked = await world.link()
    async with world.runtime() as runtime:
        await runtime.engine.sync("accounts", linked.connection_id)
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "rows=1/1h@/accounts/{id}/transactions")
    [report] = of("transactions", await world.work())
    assert (report.outcome, report.total.inserted) == ("partial", 1)
    first = world.rows("transactions")[0]["account_id"]
    world.bank.add(first, bought("news", on="2026-11-24"))
    world.clock.advance(timedelta(minutes=1))
    async with world.runtime() as runtime:
        key = f"{linked.connection_id}/transactions"
        runtime.queue.enqueue("sync_transactions", {"connection": linked.connection_id}, unique_key=key, lane=lane)
    await world.work(HOUR)
    await world.work(HOUR)
    assert world.ids() == (["a", "b", "news"] if lane == "webhook" else ["a", "b"])
