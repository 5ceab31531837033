"""T-01 and T-24 as webhooks bring them about: bursts, news in the middle of a run, a login that ends."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from fin_infra.connections import Connection
from fin_infra.planning import Due, Planner
from fin_infra.project import find_project
from fin_infra.providers.teller.simulator import SimAccount
from fin_infra.runtime import Door, open_queue
from fin_infra.store import open_store
from fin_infra.store.tables import DUE
from fin_infra.webhooks import WebhookReceipt
from tests.guards import guarded
from tests.world import World, bought, checking

SECRET = "whsec_simulated"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_WEBHOOK_SECRET", SECRET)


async def linked(world: World, *accounts: SimAccount) -> Connection:
    world.bank.enroll("tok", *(accounts or [checking("acc_1", bought("txn_1"))]))
    connection = await world.link()
    await world.work()
    return connection


def deliver(world: World, headers: Mapping[str, str], body: bytes) -> WebhookReceipt:
    """As another process would: with a store of its own."""
    store = open_store(world.settings.store_url, now=world.clock)
    try:
        return Door(world.settings, store, now=world.clock).receive("teller", headers, body)
    finally:
        store.close()


def processed(world: World, account_id: str = "acc_1") -> WebhookReceipt:
    return deliver(world, *world.bank.processed(account_id, secrets=[SECRET]))


def planned(world: World) -> list[Due]:
    """Another process plans now."""
    project = find_project(world.settings)
    store, queue = open_store(world.settings.store_url, now=world.clock), open_queue(world.settings, now=world.clock)
    try:
        jobs = {name: job.dataset.dataset_name() for name, job in project.jobs.items()}
        return Planner(store, queue, project.schedules, now=world.clock, jobs=jobs).tick()
    finally:
        queue.close()
        store.close()


def marks(world: World) -> list[str]:
    with world.store() as store, store.reading() as sql:
        return list(sql.scalars(select(DUE.c.dataset).where(DUE.c.schedule == "webhook")))


def lanes(world: World) -> int:
    """How many runs were in lane `webhook`."""
    return sum(row["lane"] == "webhook" for row in world.rows("runs"))


@guarded(
    "each webhook of a burst is a mark of its own",
    "planning/planner.py",
    '"ON CONFLICT (schedule, connection_id, dataset) DO UPDATE SET rule = excluded.rule"',
    '""',
)
async def test_t01_fifty_webhooks_in_a_second_are_one_run(world: World) -> None:
    await linked(world)
    world.bank.add("acc_1", bought("txn_2"))
    webhooks = [world.bank.processed("acc_1", secrets=[SECRET]) for _ in range(50)]
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda webhook: deliver(world, *webhook), webhooks))
    assert {receipt.action for receipt in receipts} == {"marked"}
    assert marks(world) == ["transactions"]
    [report] = await world.work()
    assert (lanes(world), report.total.inserted) == (1, 1)
    assert world.ids() == ["txn_1", "txn_2"]
    assert await world.work() == []


async def test_t01_a_burst_that_planners_run_into_is_one_run_too(world: World) -> None:
    """Between any two webhooks some process may plan: they all meet at the job that waits."""
    await linked(world)
    webhooks = [world.bank.processed("acc_1", secrets=[SECRET]) for _ in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda webhook: (deliver(world, *webhook), planned(world)), webhooks))
    planned(world)
    assert marks(world) == []
    assert [report.dataset for report in await world.work()] == ["transactions"]


@guarded(
    "a replayed delivery counts again",
    "webhooks.py",
    "if not self._first_time(sql, provider, digest, now):",
    "if not self._first_time(sql, provider, digest, now) and False:",
)
async def test_t01_replayed_deliveries_start_nothing(world: World) -> None:
    await linked(world)
    webhook = world.bank.processed("acc_1", secrets=[SECRET])
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: deliver(world, *webhook), range(24)))
    assert sorted(receipt.action for receipt in receipts) == [*["duplicate"] * 23, "marked"]
    assert len(await world.work()) == 1
    assert deliver(world, *webhook).duplicate
    assert await world.work() == []


@guarded(
    "a mark under a running job is gone",
    "planning/planner.py",
    "if not (d.mark and d.unique_key in running)",
    "if True",
)
async def test_t01_news_that_comes_while_its_stream_is_read_is_read_after_it(world: World) -> None:
    """The run has read the first account already when a row comes to it: only another run can bring it."""
    await linked(world, checking("acc_1", bought("txn_1")), checking("acc_2", bought("txn_2")))
    asked: list[str] = []
    news: list[object] = []

    def on_request(path: str) -> None:
        if not path.endswith("/transactions"):
            return
        asked.append(path.split("/")[2])
        if len(asked) == 2:
            world.bank.add(asked[0], bought("txn_new"))
            news.append(processed(world, asked[0]).action)
            news.append([due.dataset for due in planned(world) if due.mark])  # a planner looks meanwhile, and waits

    world.bank.on_request = on_request
    processed(world)
    assert [report.dataset for report in await world.work()] == ["transactions"]
    assert news == ["marked", []]
    assert "txn_new" not in world.ids()
    assert marks(world) == ["transactions"]
    [report] = await world.work()
    assert (lanes(world), report.total.inserted) == (2, 1)
    assert "txn_new" in world.ids()
    assert await world.work() == []


@guarded(
    "a mark is deleted that nobody looked at",
    "planning/planner.py",
    'AND dataset = ? AND rule = ?", served',
    "AND dataset = ? AND ? <> ''\", served",
)
async def test_t01_news_between_a_planners_look_and_its_deletion_keeps_its_mark(world: World) -> None:
    """A planner deletes the mark that it saw, not the one that a later webhook made of it."""
    connection = await linked(world)
    processed(world)
    store, queue = open_store(world.settings.store_url, now=world.clock), open_queue(world.settings, now=world.clock)

    class Slow:
        """A queue whose job is done before the planner comes to delete the mark, and meanwhile there are news."""

        def running(self, keys: list[str]) -> set[str]:
            return queue.running(keys)

        def enqueue_many(self, orders: list[Mapping[str, object]]) -> int:
            queue.enqueue_many(orders)
            job = queue.reserve_next()
            assert job is not None
            queue.ack(job.id)
            return int(processed(world).action == "marked")

    jobs, schedules = {"sync_transactions": "transactions"}, find_project(world.settings).schedules
    Planner(store, Slow(), schedules, now=world.clock, jobs=jobs).tick()  # type: ignore[arg-type]
    assert marks(world) == ["transactions"]
    queue.close()
    store.close()
    assert [report.connection_id for report in await world.work()] == [connection.connection_id]
    assert marks(world) == []


@pytest.mark.parametrize("before", [True, False])
async def test_t01_a_planner_that_dies_loses_no_mark_and_doubles_no_row(world: World, before: bool) -> None:
    await linked(world)
    world.bank.add("acc_1", bought("txn_2"))
    processed(world)
    store, queue = open_store(world.settings.store_url, now=world.clock), open_queue(world.settings, now=world.clock)

    class Dying:
        def running(self, keys: list[str]) -> set[str]:
            return queue.running(keys)

        def enqueue_many(self, orders: list[Mapping[str, object]]) -> int:
            if not before:
                queue.enqueue_many(orders)
            raise KeyboardInterrupt

    jobs, schedules = {"sync_transactions": "transactions"}, find_project(world.settings).schedules
    with pytest.raises(KeyboardInterrupt):
        Planner(store, Dying(), schedules, now=world.clock, jobs=jobs).tick()  # type: ignore[arg-type]
    queue.close()
    store.close()
    assert marks(world) == ["transactions"]
    runs = [*await world.work(), *await world.work()]  # a job may run already that nobody knows to be of this mark
    assert 1 <= len(runs) <= 2
    assert sum(report.total.inserted for report in runs) == 1
    assert world.ids() == ["txn_1", "txn_2"]
    assert marks(world) == []


@guarded(
    "a login that ended by webhook stays green",
    "webhooks.py",
    '.values(state="reauth", error_code="reauth_required", next_reason=reason)',
    ".values(next_reason=reason)",
)
async def test_t24_a_login_that_ended_by_webhook_is_red_everywhere_and_asked_no_more(world: World) -> None:
    connection = await linked(world)
    world.bank.disconnect("tok", "account_locked")
    payload = {"enrollment_id": world.bank.enrollments["tok"].id, "reason": "disconnected.account_locked"}
    receipt = deliver(world, *world.bank.webhook("enrollment.disconnected", payload, secrets=[SECRET]))
    assert (receipt.action, receipt.connection_id, receipt.login) == (
        "reauth",
        connection.connection_id,
        world.bank.enrollments["tok"].id,
    )
    assert {row["state"] for row in world.rows("streams")} == {"reauth"}
    assert {row["error_code"] for row in world.rows("streams")} == {"reauth_required"}
    [why] = {row["next_reason"] for row in world.rows("streams")}
    assert "account_locked" in why
    assert "fin-infra connections relink" in why
    before = len(world.bank.requests)
    assert await world.next_day() == []
    assert len(world.bank.requests) == before
    assert all(row["last_success_at"] is not None for row in world.rows("streams"))  # what was fresh is told apart


@guarded(
    "a login that ended is asked for its news",
    "planning/planner.py",
    "ON c.connection_id = d.connection_id WHERE c.state = 'active'\"",
    'ON c.connection_id = d.connection_id WHERE TRUE"',
)
async def test_t24_news_of_a_login_that_ended_waits_for_it(world: World) -> None:
    connection = await linked(world)
    payload = {"enrollment_id": world.bank.enrollments["tok"].id, "reason": "disconnected.account_locked"}
    deliver(world, *world.bank.webhook("enrollment.disconnected", payload, secrets=[SECRET]))
    world.bank.add("acc_1", bought("txn_2"))
    assert processed(world).action == "marked"
    assert await world.work() == []
    async with world.runtime() as runtime:
        runtime.connections.relink(connection.connection_id, {"access_token": "tok"})
    assert {report.outcome for report in await world.work()} == {"ok"}
    assert world.ids() == ["txn_1", "txn_2"]
    assert {row["state"] for row in world.rows("streams")} == {"ok"}
