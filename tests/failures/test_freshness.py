"""T-18, T-20, T-23, T-25, T-50: what a stream says of itself, and that it is true."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fin_infra.connections import Connection
from fin_infra.engine.condition import facts_of, sentences
from fin_infra.engine.freshness import freshness, waits_until
from fin_infra.engine.reasons import Next, Waiting
from fin_infra.providers.teller.simulator import Fault
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from tests.guards import guarded
from tests.world import START, World, bought, card, checking

DAY = timedelta(days=1)
WITHIN = timedelta(hours=36)


def row(state: str = "ok", success: timedelta | None = timedelta(), as_of: timedelta | None = None) -> dict[str, Any]:
    """A stream's row; times as so long before `START`."""
    return {
        "dataset": "transactions", "state": state, "next_reason": None,
        "last_success_at": None if success is None else START - success,
        "vendor_as_of": None if as_of is None else START - as_of,
    }  # fmt: skip


@guarded("nobody working is not noticed", "engine/freshness.py", "if success is None or success < since:", "if False:")
@pytest.mark.parametrize(
    ("given", "state", "why"),
    [
        (row(), "ok", None),
        (row(success=WITHIN), "ok", None),
        (row(success=WITHIN + timedelta(seconds=1)), "stale", "the last success was 2026-11-22T23:59Z, which is more "),
        (row("partial", success=2 * DAY), "stale", "the last success was"),
        (row("error", success=None), "error", None),
        (row("reauth", success=9 * DAY, as_of=9 * DAY), "reauth", None),
        (row("stale", success=None), "stale", "the last success was never"),
        (row(as_of=WITHIN), "ok", None),
        (row(as_of=3 * DAY), "stale", "the vendor's data is of 2026-11-21T12:00Z, more than 36h old"),
    ],
)
def test_t18_the_states_of_age(given: dict[str, Any], state: str, why: str | None) -> None:
    found = freshness(given, START, WITHIN)
    assert found.state == state
    assert found.why == why or (why is not None and str(found.why).startswith(why))
    assert freshness(given, START, None).state == given["state"], "without an objective nothing ages"


@pytest.mark.parametrize(
    ("now", "read_at", "state"),
    [  # Thanksgiving is 2026-11-26; New York closes at 18:00 UTC on the 27th, else at 21:00
        ("2026-11-26T20:00", "2026-11-25T21:30", "ok"),
        ("2026-11-28T05:00", "2026-11-25T21:30", "ok"),  # eleven hours after the close: it may still come
        ("2026-11-28T07:00", "2026-11-25T21:30", "stale"),
        ("2026-11-30T20:00", "2026-11-27T18:30", "ok"),  # over the weekend
        ("2026-12-01T10:00", "2026-11-27T18:30", "stale"),
    ],
)
def test_t18_prices_age_by_sessions(now: str, read_at: str, state: str) -> None:
    success = datetime.fromisoformat(read_at).replace(tzinfo=UTC)
    given = {**row(), "dataset": "prices", "last_success_at": success}
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert freshness(given, at, timedelta(hours=12)).state == state


async def test_t18_a_stream_that_nobody_works_on_is_stale_though_its_last_run_was_green(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    await world.work()
    stream = world.stream()
    assert stream["state"] == "ok"
    aged = freshness(stream, world.clock() + timedelta(days=3), world.settings.objectives["transactions"])
    assert aged.state == "stale"
    assert "is a worker running?" in str(aged.why)


@guarded(
    "a failure midway throws away what came", "engine/sync.py",
    "if run.stopped is not None and not run.complete:", "if run.stopped is not None:",
)  # fmt: skip
async def test_t20_a_source_of_two_datasets_that_fails_midway_keeps_what_it_has_and_goes_on(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1"), checking("acc_2"), card("acc_3"))
    await world.link()
    world.bank.fail_next(Fault("refuse", times=9, on="/acc_2/balances", status=429, retry_after="600"))
    reports = {r.dataset: r for r in await world.work()}
    assert (reports["accounts"].outcome, reports["accounts"].error_code) == ("partial", "rate_limited")
    assert [r["account_id"] for r in world.rows("accounts")] == ["acc_1", "acc_2", "acc_3"]
    assert [r["account_id"] for r in world.rows("balances")] == ["acc_1"]
    streams = {r["dataset"]: r for r in world.rows("streams")}
    assert (streams["accounts"]["state"], streams["balances"]["state"]) == ("ok", "partial")
    known = {(r["account_id"], r["state"]) for r in world.rows("account_states") if r["dataset"] == "balances"}
    assert known == {("acc_1", "ok")}, "the state is that of the rows, of the same commit"
    run_ids = {r["run_id"] for r in [*world.rows("accounts"), *world.rows("balances"), streams["accounts"]]}
    assert len(run_ids) == 1
    world.bank.faults.clear()
    await world.work(timedelta(minutes=11))
    assert sorted(r["account_id"] for r in world.rows("balances")) == ["acc_1", "acc_2", "acc_3"]
    assert len(world.rows("balances", history=True)) == 3, "nothing came twice"
    assert len(world.rows("accounts", history=True)) == 3
    assert {r["state"] for r in world.rows("streams")} == {"ok"}


@guarded(
    "the accounts are committed before their balances came", "engine/sync.py",
    "                self._on_page(run.stream, sum(map(len, run.pages.values())))\n",
    "                self._on_page(run.stream, sum(map(len, run.pages.values())))\n"
    "                if page.dataset == 'accounts' and not dry_run:\n"
    "                    self._commit(run, ask, cursor, {}, 0, dry_run)\n",
)  # fmt: skip
def test_t20_a_process_killed_between_two_datasets_leaves_neither_rows_nor_state(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")), checking("acc_2"))
    connection = asyncio.run(world.link())
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_sync_accounts, args=(world.settings, world.url, connection.connection_id))

    def kill(path: str) -> None:
        if path == "/accounts/acc_2/balances" and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)

    world.bank.on_request = kill
    process.start()
    process.join(timeout=60)
    world.bank.on_request = lambda path: None
    assert process.exitcode == -signal.SIGKILL
    for dataset in ("accounts", "balances", "streams", "account_states", "runs"):
        assert world.rows(dataset) == [], dataset
    with world.store() as store:
        assert store.changes().is_empty()
    asyncio.run(world.work())
    assert [r["account_id"] for r in world.rows("balances", history=True)] == ["acc_1", "acc_2"]
    assert [r["account_id"] for r in world.rows("accounts", history=True)] == ["acc_1", "acc_2"]
    assert world.ids() == ["txn_1"]


def _sync_accounts(settings: Settings, url: str, connection_id: str) -> None:
    async def work() -> None:
        async with Runtime(settings, base_urls={"teller": url}) as runtime:
            await runtime.engine.sync("accounts", connection_id)

    asyncio.run(work())


@guarded(
    "one product's failure is its account's in all", "engine/books.py",
    "        read = any(part[0] == name for part in run.complete)\n", "        read = not run.failed\n",
)  # fmt: skip
async def test_t23_each_product_of_each_account_has_its_own_outcome(world: World) -> None:
    world.bank.enroll("tok", *(checking(f"acc_{n}", bought(f"txn_{n}")) for n in range(3)))
    await world.link()
    await world.work()
    world.clock.advance(DAY)
    gone = Fault("refuse", times=1, on="/acc_1/balances", status=404, code="enrollment.disconnected.account_locked")
    world.bank.fail_next(gone)
    world.bank.fail_next(Fault("garbage", times=1, on="/acc_2/transactions"))
    await world.work()
    states = {(r["account_id"], r["dataset"]): (r["state"], r["error_code"]) for r in world.rows("account_states")}
    assert states == {
        ("acc_0", "balances"): ("ok", None), ("acc_1", "balances"): ("reauth", "reauth_required"),
        ("acc_2", "balances"): ("ok", None), ("acc_0", "transactions"): ("ok", None),
        ("acc_1", "transactions"): ("ok", None), ("acc_2", "transactions"): ("error", "contract_broken"),
    }  # fmt: skip
    streams = {r["dataset"]: r["state"] for r in world.rows("streams")}
    assert streams == {"accounts": "ok", "balances": "partial", "transactions": "partial"}


@guarded("a wait does not say until when", "engine/freshness.py", "asked again at {at", "asked again after {at")
async def test_t25_a_rate_limit_shows_as_such_with_its_time(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    connection = await world.link()
    await world.work()
    world.bank.fail_next(Fault("refuse", times=1, on="/transactions", status=429, retry_after="900"))
    await world.next_day()
    stream = world.stream()
    assert (stream["state"], stream["error_code"]) == ("ok", "rate_limited"), "as fresh as it was"
    assert waits_until(stream["next_reason"]) == world.clock() + timedelta(seconds=900)
    told = await explained(world, connection, "transactions")
    assert any("is ok: asked again at 2026-11-25T12:15:00" in line for line in told)
    assert any("is put off until 2026-11-25T12:15:00Z" in line for line in told)
    assert not any("link" in line for line in told)


@guarded(
    "a job whose worker is gone runs for ever", "engine/reasons.py",
    "if job.lease_until is not None and job.lease_until <= now:", "if False:",
)  # fmt: skip
async def test_t50_nothing_is_shown_as_under_way_when_its_worker_is_gone(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    connection = await world.link()
    await world.work()
    world.clock.advance(DAY)
    async with world.runtime() as dead:
        dead.planner().tick()
        assert dead.queue.reserve_next() is not None
        assert dead.queue.reserve_next() is not None  # and is never heard of again
    assert any("is running, attempt 1" in line for line in await explained(world, connection, "transactions"))
    assert {r["state"] for r in world.rows("streams")} == {"ok"}, "a stream is never 'syncing'"
    world.clock.advance(timedelta(seconds=world.settings.lease_seconds + 1))
    told = await explained(world, connection, "transactions")
    assert any("went silent; the next one takes it over" in line for line in told)
    await world.work()
    assert not any("job" in line for line in await explained(world, connection, "transactions"))


async def test_explain_tells_what_is_known(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1"), bought("txn_2", "much")), checking("acc_2"))
    connection = await world.link()
    told = await explained(world, connection, "transactions")
    assert told[0].endswith("has never run")
    assert told[-1] == "nothing was ever committed: it has no cursor"
    world.bank.account("acc_2").refusal = (410, "account.closed")
    await world.work()
    told = await explained(world, connection, "transactions")
    assert told[0].startswith(f"{connection.connection_id}/transactions is partial")
    assert any(line.startswith("account acc_2 is error: account_closed") for line in told)
    assert any(line.startswith("finding row_invalid, acc_1 txn_2: not kept: amount") for line in told)
    assert any("1 entries are in quarantine" in line for line in told)
    assert any("the schedule transactions drives it next at 2026-11-24T" in line for line in told)
    assert any("came to partial, 1 inserted, " in line for line in told)
    assert told[-1].startswith("its cursor is version 1, of credential generation 1, moved last at 2026-11-24T12:00:00")
    assert (await explained(world, connection, "balances"))[0].split(" is ")[0].endswith("/balances")


async def explained(world: World, connection: Connection, dataset: str) -> list[str]:
    """What `fin-infra explain` would say at the world's time."""
    async with world.runtime() as runtime:
        jobs: dict[str, list[Waiting]] = {}
        for job in runtime.queue.jobs():
            told = Waiting(job.id, job.state, job.available_at, job.lease_until, job.attempts, job.last_error)
            jobs.setdefault(str(job.unique_key), []).append(told)
        facts = facts_of(runtime.store, runtime.connections.get(connection.connection_id), dataset, jobs)
        assert all(isinstance(one, Next) for one in facts.due)
        return sentences(facts, world.clock(), world.settings.objectives.get(dataset))
