"""T-14 … T-29: cursors, partial work, errors, isolation."""

from __future__ import annotations

import resource
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from fin_infra.providers.teller.simulator import Fault
from fin_infra.store import Stream
from tests.guards import guarded
from tests.world import World, bought, card, checking


@guarded(
    "a full disk goes unnoticed", "store/sql.py",
    '        raise _failed(url, getattr',
    '        return\n        raise _failed(url, getattr',
)  # fmt: skip
async def test_t16_an_answer_that_could_not_be_applied_is_not_lost(world: World, tmp_path: Path) -> None:
    """The disk fills up while rows are applied: the cursor stays behind them, and the next run brings them."""
    world.bank.enroll("tok", checking("acc_1", *(bought(f"txn_{n}", description="x" * 500) for n in range(900))))
    connection = await world.link()
    async with world.runtime() as runtime:
        await runtime.engine.sync("accounts", connection.connection_id)
    script = tmp_path / "full.py"
    script.write_text(
        f"""
import asyncio, resource, sys
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from tests.world import START

async def main():
    settings = Settings(store_url={world.settings.store_url!r})
    async with Runtime(settings, now=lambda: START, base_urls={{"teller": {world.url!r}}}) as runtime:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        report = await runtime.engine.sync("transactions", {connection.connection_id!r})
        print(report.outcome, report.error_code, report.error)

asyncio.run(main())
"""
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=root, check=True,
                          env={"PYTHONPATH": root, "PATH": ""})  # fmt: skip
    assert done.stdout.startswith("retry store_unavailable the database"), done.stdout + done.stderr
    assert "free some space" in done.stdout
    assert "Traceback" not in done.stderr
    assert world.ids() == []
    with world.store() as store:
        cursor = store.cursor(_stream(connection.connection_id), 1)
    assert cursor.body == "{}"
    [report] = [r for r in await world.work() if r.dataset == "transactions"]
    assert (report.outcome, report.total.inserted) == ("ok", 900)


@guarded("paid pages are forgotten", "engine/staging.py", "        resume[staged.subject] = staged.position\n", "")
async def test_t16_pages_already_paid_for_are_not_asked_again_after_a_break(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", *(bought(f"txn_{n:04}") for n in range(450))))
    connection = await world.link()
    async with world.runtime() as runtime:
        await runtime.engine.sync("accounts", connection.connection_id)
        world.bank.fail_next(Fault("refuse", on="/transactions", status=429, retry_after="3600", times=0))
        seen = len(world.bank.requests)
        world.bank.on_request = lambda path: _refuse_after(world, seen + 3)
        report = await runtime.engine.sync("transactions", connection.connection_id)
        assert (report.outcome, report.calls) == ("later", 3)
        world.bank.on_request = lambda path: None
    assert world.ids() == []
    world.clock.advance(timedelta(hours=1))
    async with world.runtime() as runtime:
        report = await runtime.engine.sync("transactions", connection.connection_id)
    assert (report.outcome, report.total.inserted, report.calls) == ("ok", 450, 3)
    with world.store() as store:
        assert store.staged_pages(_stream(connection.connection_id), 1) == []


async def test_t16_pages_of_an_unfinished_account_are_kept_while_the_others_commit(world: World) -> None:
    world.bank.enroll(
        "tok", checking("acc_1", bought("txn_a")), checking("acc_2", *(bought(f"b{n:03}") for n in range(250)))
    )
    connection = await world.link()
    async with world.runtime() as runtime:
        await runtime.engine.sync("accounts", connection.connection_id)
        seen = len(world.bank.requests)
        world.bank.on_request = lambda path: _refuse_after(world, seen + 3)
        report = await runtime.engine.sync("transactions", connection.connection_id)
        world.bank.on_request = lambda path: None
    assert (report.outcome, report.follow_up.kind, report.total.inserted) == ("partial", "later", 1)
    world.clock.advance(timedelta(hours=1))
    async with world.runtime() as runtime:
        report = await runtime.engine.sync("transactions", connection.connection_id)
    assert (report.outcome, report.total.inserted, report.calls) == ("ok", 250, 3), "acc_1 again, two pages of acc_2"


@guarded(
    "one account stops all", "providers/teller/client.py",
    "of_one = error.code in ONE_ACCOUNT_ONLY or",
    "of_one = False or",
)  # fmt: skip
async def test_t23_one_account_that_fails_stops_no_other(world: World) -> None:
    accounts = [checking(f"acc_{n}", bought(f"txn_{n}")) for n in range(13)]
    world.bank.enroll("tok", *accounts)
    await world.link()
    await world.work()
    accounts[3].refusal = (404, "enrollment.disconnected.user_action.mfa_required")
    accounts[5].refusal = (410, "account.closed")
    for account in accounts:
        world.bank.add(account.id, bought(f"new_{account.id}", on="2026-11-24"))
    reports = {r.dataset: r for r in await world.next_day()}
    assert reports["transactions"].outcome == "partial"
    assert reports["transactions"].accounts == {"acc_3": "reauth_required", "acc_5": "account_closed"}
    assert reports["transactions"].total.inserted == 11
    states = {row["account_id"]: row for row in world.rows("account_states") if row["dataset"] == "transactions"}
    assert {a: s["error_code"] for a, s in states.items() if s["state"] != "ok"} == reports["transactions"].accounts
    assert states["acc_3"]["state"] == "reauth"
    assert states["acc_3"]["last_success_at"] is not None
    assert len(world.rows("balances")) == 13


async def test_t23_another_connection_goes_on_when_one_needs_its_owner(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    world.bank.enroll("bad", checking("acc_2", bought("txn_2")))
    await world.link("tok")
    bad = await world.link("bad", tenant="lin")
    world.bank.disconnect("bad")
    await world.work()
    assert world.ids() == ["txn_1"]
    async with world.runtime() as runtime:
        state = runtime.connections.get(bad.connection_id)
    assert state.state == "reauth"
    assert "log in at the bank again" in (state.reason or "")


@guarded(
    "a dead login is asked again", "planning/planner.py",
    "ON c.connection_id = d.connection_id WHERE c.state = 'active'\"",
    "ON c.connection_id = d.connection_id WHERE TRUE\"",
)  # fmt: skip
async def test_t24_reauth_is_a_state_and_retries_stop_until_the_owner_acts(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    connection = await world.link()
    await world.work()
    world.bank.disconnect("tok")
    await world.next_day()
    assert world.stream("accounts")["state"] == "reauth"
    asked = len(world.bank.requests)
    assert await world.next_day() == [], "nothing is even tried"
    assert len(world.bank.requests) == asked
    world.bank.reconnect("tok")
    world.bank.add("acc_1", bought("txn_2", on="2026-11-24"))
    async with world.runtime() as runtime:
        runtime.connections.relink(connection.connection_id, {"access_token": "tok"})
    await world.work()
    assert world.ids() == ["txn_1", "txn_2"]
    assert world.stream("accounts")["state"] == "ok"


@guarded(
    "a rate limit burns an attempt", "outcomes.py",
    'return Outcome("later", error.retry_after',
    'return Outcome("retry", error.retry_after',
)  # fmt: skip
async def test_t25_a_rate_limit_is_a_wait_with_a_time_and_nothing_asks_to_relink(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    world.bank.fail_next(Fault("refuse", times=1, on="/transactions", status=429, retry_after="900"))
    reports = {r.dataset: r for r in await world.work()}
    limited = reports["transactions"]
    assert (limited.outcome, limited.error_code, limited.follow_up.after) == ("later", "rate_limited", 900.0)
    stream = world.stream()
    assert "2026-11-24T12:15:00" in stream["next_reason"]
    assert stream["state"] not in ("reauth", "error")
    assert "link" not in stream["next_reason"]
    async with world.runtime() as runtime:
        [job] = runtime.queue.jobs()
        assert (job.attempts, job.deferrals) == (0, 1)
        assert runtime.connections.all()[0].state == "active"
    assert await world.work(timedelta(seconds=899)) == []
    [report] = await world.work(timedelta(seconds=2))
    assert (report.outcome, report.total.inserted) == ("ok", 1)


async def test_t25_a_short_wait_is_waited_for_without_giving_the_slot_back(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    await world.link()
    world.bank.fail_next(Fault("refuse", times=1, on="/transactions", status=429, retry_after="0"))
    reports = {r.dataset: r for r in await world.work()}
    assert (reports["transactions"].outcome, reports["transactions"].calls) == ("ok", 2)


@guarded("the second commit wins too", "store/sql.py", "if done != 1:", "if False:")
async def test_t22_a_run_that_commits_second_writes_nothing(world: World) -> None:
    world.bank.enroll("tok", card("acc_2", bought("txn_1", "5.00")))
    connection = await world.link()
    await world.work()
    async with world.runtime() as slow, world.runtime() as fast:
        busy = {"done": False}

        def meanwhile(path: str) -> None:
            """While the slow run waits for its answer, the credential is replaced: its generation is over."""
            if path.endswith("/transactions") and not busy["done"]:
                busy["done"] = True
                fast.connections.relink(connection.connection_id, {"access_token": "tok"})

        world.bank.on_request = meanwhile
        world.bank.add("acc_2", bought("txn_2", "6.00"))
        report = await slow.engine.sync("transactions", connection.connection_id)
        world.bank.on_request = lambda path: None
    assert report.outcome == "stale_cursor"
    assert world.ids() == ["txn_1"]
    await world.work()
    assert world.ids() == ["txn_1", "txn_2"]


@guarded(
    "a card's purchases count as income", "providers/teller/frames.py",
    "        return negated\n",
    "        return lambda text: text\n",
)  # fmt: skip
async def test_t46_signs_are_the_holders_for_every_kind_of_account(world: World) -> None:
    world.bank.enroll(
        "tok",
        checking("acc_1", bought("out", "-20.00", running_balance="80.00"), bought("in", "1500.00")),
        card("acc_2", bought("purchase", "20.00"), bought("refund", "-5.00")),
    )
    await world.link()
    await world.work()
    amounts = {row["transaction_id"]: row["amount"] for row in world.rows("transactions")}
    assert amounts == {"out": -20, "in": 1500, "purchase": -20, "refund": 5}
    balances = {row["account_id"]: (row["current"], row["available"]) for row in world.rows("balances")}
    assert balances == {"acc_1": (100, 100), "acc_2": (-50, 950)}
    assert world.rows("transactions", accounts=["acc_1"])[1]["running_balance"] == Decimal(80)


def _stream(connection_id: str) -> Stream:
    return Stream(connection_id, "transactions")


def _refuse_after(world: World, count: int) -> None:
    if len(world.bank.requests) >= count and not any(f.times for f in world.bank.faults):
        world.bank.fail_next(Fault("refuse", times=1, on="/transactions", status=429, retry_after="3000"))
