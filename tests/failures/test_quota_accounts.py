"""T-26 and T-27: a vendor that counts by account and day, and accounts that nobody wants, must not burn the quota."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from fin_infra.engine import SyncReport
from fin_infra.providers import resolve
from fin_infra.providers.teller.simulator import TellerSimulator
from fin_infra.testing import VirtualClock, serve
from tests.guards import guarded
from tests.plaid_world import PlaidWorld, bank, plaid_of
from tests.plaid_world import bought as spent
from tests.world import START, World, bought, checking, world_of

FOUR_A_DAY = "account:balances=4/24h@/accounts/{id}/balances,account:rows=4/24h@/accounts/{id}/transactions"


class Limited:
    """The vendor's own limiter: so many calls per account and endpoint in any 24 hours, refused ones count too."""

    def __init__(self, bank: TellerSimulator, clock: VirtualClock, limit: int) -> None:
        self.bank, self.clock, self.limit = bank, clock, limit
        self.calls: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = scope["path"].strip("/").split("/") if scope["type"] == "http" else []
        if len(parts) >= 3:
            mine = self.calls[parts[1], parts[2]]
            mine.append(self.clock())
            if sum(at > self.clock() - timedelta(hours=24) for at in mine) > self.limit:
                self.refused += 1
                self.bank.requests.append(f"refused {scope['path']}")
                body = b'{"error": {"code": "too_many_requests", "message": "4 a day"}}'
                await send({"type": "http.response.start", "status": 429, "headers": []})
                await send({"type": "http.response.body", "body": body})
                return
        await self.bank(scope, receive, send)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        yield found


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Limited]]:
    """A bank that answers four calls a day for each account and endpoint, and is declared so."""
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", FOUR_A_DAY)
    clock = VirtualClock(START)
    bank = TellerSimulator(now=clock)
    limiter = Limited(bank, clock, 4)
    with serve(limiter) as served:
        yield World(tmp_path, bank, served.url, clock), limiter


@pytest.fixture
def plaid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


def asked(world: Any, begin: int = 0) -> list[str]:
    """Paths that the bank was asked, each without its query."""
    return [request.partition("?")[0] for request in world.bank.requests[begin:]]


async def pressed(world: World, dataset: str = "transactions", after: timedelta = timedelta()) -> SyncReport:
    """What `fin-infra sync` does, in a process of its own as far as state goes."""
    world.clock.advance(after)
    async with world.runtime() as runtime:
        [connection] = runtime.connections.all()
        return await runtime.engine.sync(dataset, connection.connection_id)


# -- T-26 ------------------------------------------------------------------------------------------------------------


@guarded("a spent account stops all", "providers/teller/client.py",
         "(isinstance(error, QuotaError) and error.of_one_account)", "False")  # fmt: skip
async def test_t26_accounts_with_budget_are_synced_and_the_others_say_when(limited: tuple[World, Limited]) -> None:
    world, limiter = limited
    accounts = [checking(f"acc_{n}", bought(f"first_{n}")) for n in range(1, 6)]
    world.bank.enroll("tok", *accounts[:4])
    await world.link()
    for _ in range(4):
        await pressed(world, after=timedelta(hours=1))
    world.bank.enroll("tok", *accounts)  # the fifth is opened: its budget is untouched
    await pressed(world, "accounts")
    for n in range(1, 6):
        world.bank.add(f"acc_{n}", bought(f"news_{n}", on="2026-11-24"))

    report = await pressed(world, after=timedelta(hours=1))
    assert (report.outcome, report.calls, report.error_code) == ("partial", 1, "quota_exhausted")
    assert report.accounts == {f"acc_{n}": "quota_exhausted" for n in range(1, 5)}
    assert "news_5" in world.ids()
    assert len(world.ids()) == 6, "the others keep what they have"
    again = START + timedelta(hours=25)  # a day after the first of the four
    assert f"{again:%Y-%m-%dT%H:%M:%SZ}" in report.sentence()
    assert "4 calls" in report.sentence() or "all 4" in report.sentence()
    assert world.stream()["next_reason"].startswith(f"asked again at {again:%Y-%m-%dT%H:%M:%SZ}")
    states = {r["account_id"]: (r["state"], r["error_code"]) for r in world.rows("account_states")
              if r["dataset"] == "transactions"}  # fmt: skip
    assert states == {**{f"acc_{n}": ("ok", "quota_exhausted") for n in range(1, 5)}, "acc_5": ("ok", None)}

    for _ in range(3):
        await pressed(world)
    seen = len(world.bank.requests)
    nothing = await pressed(world)
    assert (nothing.outcome, nothing.calls, len(world.bank.requests)) == ("later", 0, seen), "answered from the budget"
    assert f"{again:%Y-%m-%dT%H:%M:%SZ}" in nothing.sentence()
    world.clock.set(again - timedelta(seconds=3))
    assert (await pressed(world)).calls == 0
    world.clock.set(again)
    report = await pressed(world)
    assert report.calls == 4
    assert world.ids() == sorted([f"{word}_{n}" for word in ("first", "news") for n in range(1, 6)])
    assert limiter.refused == 0


async def test_t26_a_job_waits_for_the_exact_time_and_asks_only_who_was_not_answered(
    limited: tuple[World, Limited],
) -> None:
    world, limiter = limited
    world.bank.enroll("tok", checking("acc_1", bought("a")), checking("acc_2", bought("b")))
    await world.link()
    await pressed(world, "accounts")
    for minutes in (1, 2, 3, 4):  # acc_1 alone is read, four times
        async with world.runtime() as runtime:
            [connection] = runtime.connections.all()
            runtime.connections.leave_out(connection.connection_id, ["acc_2"])
            world.clock.set(START + timedelta(minutes=minutes))
            await runtime.engine.sync("transactions", connection.connection_id, lane="scheduled")
            runtime.connections.take_in(connection.connection_id, ["acc_2"])
    begin = len(world.bank.requests)
    [report] = [r for r in await world.work(timedelta(hours=2)) if r.dataset == "transactions"]
    assert (report.outcome, report.calls, report.follow_up.code) == ("partial", 1, "quota_exhausted")
    async with world.runtime() as runtime:
        [job] = [job for job in runtime.queue.jobs() if job.name == "sync_transactions"]
    assert (job.available_at, job.attempts, job.deferrals) == (START + timedelta(days=1, minutes=1), 0, 1)
    world.clock.set(job.available_at - timedelta(microseconds=1))
    assert [r for r in await world.work() if r.dataset == "transactions"] == []
    begin = len(world.bank.requests)
    [report] = [r for r in await world.work(timedelta(microseconds=1)) if r.dataset == "transactions"]
    assert (report.outcome, report.calls) == ("ok", 1)
    assert [path for path in asked(world, begin) if "transactions" in path] == ["/accounts/acc_1/transactions"]
    assert limiter.refused == 0


@guarded("staged pages do not outlive a long wait", "engine/staging.py",
         "min(waited_until or staged.staged_at, run.started_at)", "staged.staged_at")  # fmt: skip
async def test_t26_a_history_that_is_longer_than_a_days_budget_comes_whole_and_no_page_twice(
    limited: tuple[World, Limited],
) -> None:
    world, limiter = limited
    world.bank.enroll("tok", checking("acc_1", *(bought(f"txn_{n:04}", on="2026-11-01") for n in range(4250))))
    await world.link()
    await world.work()
    runs = [r for r in world.rows("runs") if r["dataset"] == "transactions"]
    assert [(r["outcome"], r["calls"]) for r in runs] == [("later", 4)]
    assert world.ids() == []
    for _ in range(10):  # longer than a job may be put off that does not move on
        await world.next_day()
    assert len(world.ids()) == 4250
    async with world.runtime() as runtime:
        assert runtime.queue.stats().dead == 0
    pages = [request for request in world.bank.requests if "/transactions" in request]
    assert len(pages) == len(set(pages)) == 43
    assert limiter.refused == 0


async def test_t26_a_window_of_the_connection_lets_all_accounts_have_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "connection:tight=3/12h")
    world.bank.enroll("tok", *(checking(f"acc_{n}", bought(f"txn_{n}")) for n in range(6)))
    await world.link()
    for _ in range(6):
        await world.work(timedelta(hours=12))
        paths = asked(world)
        for what in ("balances", "transactions"):
            mine = [path for path in paths if path.endswith(what)][:6]
            assert len(mine) == len(set(mine)), "nobody twice before everybody once"
    assert {path for path in paths if path != "/accounts"} == {
        f"/accounts/acc_{n}/{what}" for n in range(6) for what in ("balances", "transactions")
    }
    whole = max(paths.index(f"/accounts/acc_{n}/balances") for n in range(6))
    assert paths[:whole].count("/accounts") == 1, "the list is not asked for again in the middle of it"
    assert len(world.ids()) == 6


# -- T-27 ------------------------------------------------------------------------------------------------------------


@guarded("a left-out account is asked for its balances", "providers/teller/client.py",
         "for row in live if not ask.leaves_out(row.id)]", "for row in live]")  # fmt: skip
@guarded("a left-out account is asked for its rows", "engine/sync.py",
         "if account.account_id not in run.left_out.accounts]\n        asked = found", "]\n        asked = found")  # fmt: skip
async def test_t27_forgotten_sub_accounts_cost_one_call_until_their_owner_has_chosen(world: World) -> None:
    accounts = [checking(f"acc_{n:02}", bought(f"txn_{n:02}")) for n in range(22)]
    world.bank.enroll("tok", *accounts)
    async with world.runtime() as runtime:
        linked = runtime.connections.add(resolve("teller"), {"access_token": "tok"}, tenant="ada", choose=True)
    await world.work()
    assert asked(world) == ["/accounts"]
    assert len(world.rows("accounts")) == 22
    assert (world.rows("transactions"), world.rows("balances")) == ([], [])
    assert {row["dataset"]: row["state"] for row in world.rows("streams")}["transactions"] == "left_out"

    async with world.runtime() as runtime:
        runtime.connections.take_in(linked.connection_id, ["acc_03", "acc_07"])
    begin = len(world.bank.requests)
    await world.work()
    wanted = {f"/accounts/{a}/{what}" for a in ("acc_03", "acc_07") for what in ("balances", "transactions")}
    assert sorted(asked(world, begin)) == sorted(["/accounts", *wanted])
    assert world.ids() == ["txn_03", "txn_07"]

    accounts.append(checking("acc_22", bought("txn_22")))  # opened at the bank later: it waits for its owner too
    world.bank.enrollments["tok"].accounts.append(accounts[-1])
    begin = len(world.bank.requests)
    await world.next_day()
    assert len(world.rows("accounts")) == 23
    assert not [path for path in asked(world, begin) if "acc_22" in path]


@guarded("what was read of a left-out account is forgotten", "engine/sync.py",
         "kept = {*run.accounts, *ask.left_out, *run.answered_before}", "kept = {*run.accounts, *run.answered_before}")  # fmt: skip
@guarded("a left-out account grows stale", "connections/__init__.py",
         'self._say(sql, connection_id, names, "left_out")', "pass")  # fmt: skip
async def test_t27_an_account_left_out_keeps_its_rows_is_not_stale_and_catches_up_when_it_is_taken_in(
    world: World,
) -> None:
    old = [bought(f"old_{n:03}", on="2026-10-01") for n in range(120)]
    world.bank.enroll("tok", checking("acc_1", bought("a_1")), checking("acc_2", bought("b_1", on="2026-11-23"), *old))
    linked = await world.link()
    await world.work()
    async with world.runtime() as runtime:
        runtime.connections.leave_out(linked.connection_id, ["acc_2"])
        assert [a["left_out"] for a in runtime.connections.accounts(linked.connection_id)] == [False, True]
    for n in range(20):
        on = (START.date() + timedelta(days=n + 1)).isoformat()
        world.bank.add("acc_1", bought(f"a_new{n:02}", on=on))
        world.bank.add("acc_2", bought(f"b_new{n:02}", on=on))
    begin = len(world.bank.requests)
    await world.work(timedelta(days=21))
    assert not [path for path in asked(world, begin) if "acc_2" in path]
    assert len(world.rows("transactions", accounts=["acc_1"])) == 21
    assert len(world.rows("transactions", accounts=["acc_2"])) == 121
    assert len(world.rows("balances")) == 2, "its last balance stays"
    states = {(r["account_id"], r["dataset"]): r["state"] for r in world.rows("account_states")}
    assert states["acc_2", "transactions"] == states["acc_2", "balances"] == "left_out"
    assert world.stream()["state"] == "ok"

    async with world.runtime() as runtime:
        runtime.connections.take_in(linked.connection_id, ["acc_2"])
    begin = len(world.bank.requests)
    await world.work()
    assert len(world.rows("transactions", accounts=["acc_2"])) == 141, "the gap is closed"
    since = [request for request in world.bank.requests[begin:] if request.startswith("/accounts/acc_2/transactions")]
    assert len(since) == 1, "and nothing else is read again"
    assert "start_date=2026-11" in since[0]
    states = {(r["account_id"], r["dataset"]): r["state"] for r in world.rows("account_states")}
    assert {state for (account, _), state in states.items() if account == "acc_2"} == {"ok"}


async def test_t27_what_is_left_out_is_erased_with_its_connection(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("a_1")))
    linked = await world.link()
    await world.work()
    async with world.runtime() as runtime:
        runtime.connections.leave_out(linked.connection_id, ["acc_1"], new_ones=True)
        runtime.connections.remove(linked.connection_id, erase=True)
        assert runtime.connections.left_out(linked.connection_id) == (frozenset(), False)


@guarded("rows passed over are never read", "engine/delta.py",
         'anew = place.get("unconfirmed") or taken_in(place, left_out)', 'anew = place.get("unconfirmed")')  # fmt: skip
@guarded("rows of a left-out account come with the others'", "engine/delta.py",
         'rows = rows.filter(~pl.col("account_id").is_in(sorted(run.left_out.accounts)))', "")  # fmt: skip
async def test_t27_a_log_of_all_accounts_passes_one_over_and_is_read_anew_when_it_is_taken_in(
    plaid: PlaidWorld,
) -> None:
    linked = await plaid.link(bank("acc_1"), bank("acc_2"))
    await plaid.sync("accounts")
    await plaid.sync()
    async with plaid.runtime() as runtime:
        runtime.connections.leave_out(linked.connection_id, ["acc_2"])
    plaid.item.add(spent("a1"), spent("b1", account_id="acc_2"))
    plaid.item.account("acc_2").current = "7.00"
    await plaid.sync("accounts", timedelta(days=1))
    await plaid.sync()
    plaid.item.add(spent("a2"))
    plaid.item.modify("b1", amount="11.00")
    await plaid.sync(after=timedelta(days=1))
    assert plaid.ids() == ["a1", "a2"]
    balances = {row["account_id"]: str(row["current"]) for row in plaid.rows("balances")}
    assert not balances["acc_2"].startswith("7.00"), "its last balance stays, though the answer has a newer one"
    cursors = [body["cursor"] for body in plaid.asked("/transactions/sync")]
    assert all(cursors[1:]), "what is passed over does not have the others read anew"

    async with plaid.runtime() as runtime:
        runtime.connections.take_in(linked.connection_id, ["acc_2"])
    await plaid.sync()
    assert plaid.ids() == ["a1", "a2", "b1"]
    plaid.item.add(spent("b2", account_id="acc_2"))
    await plaid.sync(after=timedelta(days=1))
    assert plaid.ids() == ["a1", "a2", "b1", "b2"]
    cursors = [body["cursor"] for body in plaid.asked("/transactions/sync")]
    assert cursors.count("") == 2, "once at first, once when it was taken in"
