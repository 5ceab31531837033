"""Why a stream does not run now and when it will, as `fin-infra explain` says it: each reason met from outside."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.connections import Connection
from fin_infra.providers.alpaca.simulator import AlpacaSimulator
from fin_infra.providers.teller.simulator import Fault
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.windows import Lane, Rolling
from fin_infra.store import opening
from fin_infra.store.ledger import SqlLedger, open_ledger
from fin_infra.testing import VirtualClock, serve
from tests.backfill_world import backfill_world, symbols
from tests.broker import BrokerWorld
from tests.cli.conftest import Cli
from tests.guards import guarded
from tests.world import START, VendorWorld, World, bought, checking

HOUR = Rolling("teller/app#hour", 4, 3600.0)


class Desk:
    """The command line at a world's time and on its files."""

    def __init__(self, cli: Cli, world: VendorWorld) -> None:
        self.cli = cli
        self.world = world

    def why(self, connection: Connection, dataset: str = "transactions") -> dict[str, Any]:
        said = self.cli("explain", f"{connection.connection_id}/{dataset}", "--json")
        assert said.code == 0, said.err
        told: dict[str, Any] = json.loads(said.out)
        lines = [line.strip() for line in self.cli("explain", f"{connection.connection_id}/{dataset}").out.splitlines()]
        assert lines == told["sentences"]
        return told

    def reason(self, connection: Connection, code: str, dataset: str = "transactions") -> dict[str, Any]:
        """The one reason of this code, which is in the sentences too."""
        told = self.why(connection, dataset)
        found = [reason for reason in told["reasons"] if reason["code"] == code]
        assert len(found) == 1, told["reasons"]
        assert any(line.startswith(found[0]["said"]) for line in told["sentences"])
        return {**found[0], "start": told["expected_start"]}

    def ledger(self) -> SqlLedger:
        return open_ledger(self.world.settings.effective_quota_url, now=self.world.clock)


@pytest.fixture
def desk(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return desk_of(cli, world, monkeypatch)


def desk_of(cli: Cli, world: VendorWorld, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(opening, "utc_now", world.clock)
    monkeypatch.setenv("FIN_INFRA_STORE_URL", world.settings.store_url)
    if world.settings.project is not None:
        monkeypatch.setenv("FIN_INFRA_PROJECT", str(world.settings.project))
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "hour=4/3600s")
    return Desk(cli, world)


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def linked(world: World, number: int = 1, accounts: int = 1) -> Connection:
    rows = [checking(f"acc_{number}_{n}", bought(f"txn_{number}_{n}")) for n in range(accounts)]
    world.bank.enroll(f"tok{number}", *rows)
    return await world.link(f"tok{number}")


def spend(ledger: SqlLedger, units: int, lane: Lane = "scheduled") -> None:
    for _ in range(units):
        grant = ledger.acquire((HOUR,), lane=lane)
        assert not isinstance(grant, Denied)
        ledger.settle(grant)


async def test_a_spent_window_is_named_with_its_units_and_the_instant_and_the_run_starts_then(
    desk: Desk, world: World
) -> None:
    connection = await linked(world)
    ledger = desk.ledger()
    spend(ledger, 4)
    ledger.close()
    found = desk.reason(connection, "quota")
    free = START + timedelta(hours=1)
    assert found["said"] == (
        "window hour of teller app: 4 of 4 calls are used, the next is free at 2026-11-24T13:00:00Z"
    )
    assert found["until"] == found["start"] == iso(free)
    assert "FIN_INFRA_TELLER_PLAN" in found["remedy"]
    assert "link" not in json.dumps(desk.why(connection)["sentences"]), "nothing that a user could mend"
    assert {r.outcome for r in await world.work(timedelta(minutes=59))} <= {"later"}
    reports = await world.work(timedelta(minutes=1))
    assert "ok" in {r.outcome for r in reports}, "and at that instant it is asked"


async def test_a_vendor_that_told_us_to_wait_is_left_alone_by_all_who_share_its_key(
    desk: Desk, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIN_INFRA_TELLER_QUOTAS")
    first = await linked(world)
    await world.work()
    world.bank.fail_next(Fault("refuse", on="/transactions", status=429, retry_after="900"))
    [report] = [r for r in await world.work(timedelta(hours=7)) if r.dataset == "transactions"]
    assert report.error_code == "rate_limited"
    until = world.clock() + timedelta(seconds=900)
    put_off = desk.reason(first, "rate_limited")
    assert put_off["until"] == iso(until)
    second = await linked(world, 2)
    found = desk.reason(second, "cool_down")
    assert "the vendor asked us to wait until 2026-11-24T19:15:00Z" in found["said"]
    assert (found["until"], found["start"], found["remedy"]) == (iso(until), iso(until), None)


@guarded(
    "a held unit is told as a spent one", "quotas/telling.py",
    'f"{name}: the next call is held for {held} work, ours is at {until}"',
    'f"{name}: {used:,} of {units(limit)} are used, the next is free at {until}"',
)  # fmt: skip
async def test_a_unit_that_is_held_for_more_urgent_work_is_told_as_such(desk: Desk, world: World) -> None:
    connection = await linked(world)
    ledger = desk.ledger()
    spend(ledger, 4)
    assert isinstance(ledger.acquire((HOUR,), lane="interactive"), Denied)
    ledger.close()
    found = desk.reason(connection, "quota")
    assert "held for interactive work" in found["said"]
    assert found["until"] == iso(START + timedelta(hours=1, milliseconds=250))


async def test_units_kept_for_urgent_work_are_told_as_such(
    desk: Desk, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "day=10/86400s")
    day = Rolling("teller/app#day", 10, 86400.0, arrive_within=None)
    connection = await linked(world)
    ledger = desk.ledger()
    for lane, times in (("scheduled", 2), ("interactive", 6)):
        for _ in range(times):
            world.clock.advance(timedelta(minutes=30))
            grant = ledger.acquire((day,), lane=lane)  # type: ignore[arg-type]
            assert not isinstance(grant, Denied)
            ledger.settle(grant)
    ledger.close()
    found = desk.reason(connection, "quota")
    assert "kept for urgent work" in found["said"]
    assert "the last 2 calls of 10" in found["said"]
    assert found["until"] > iso(world.clock())


async def test_who_stands_before_it_in_the_line_is_counted(desk: Desk, world: World) -> None:
    connections = [await linked(world, n) for n in range(1, 5)]
    ahead = []
    for connection in connections:
        assert desk.why(connection, "accounts")["expected_start"] == iso(START), "accounts first: the others need them"
        found = desk.reason(connection, "behind_others")
        assert found["said"].endswith(" streams stand before it in the line for teller app")
        assert found["start"] == found["until"] == iso(START + timedelta(hours=1))
        ahead.append(int(found["said"].split()[0]))
    assert sorted(ahead) == [4, 5, 6, 7]


async def test_a_connection_that_waits_for_its_owner_says_what_to_do(desk: Desk, world: World) -> None:
    connection = await linked(world)
    await world.work()
    world.bank.enrollments.clear()
    await world.work(timedelta(hours=13))
    told = desk.why(connection)
    assert told["reasons"][0]["code"] == "reauth"
    assert told["reasons"][0]["remedy"] == f"fin-infra connections relink {connection.connection_id} --secret-stdin"
    assert told["expected_start"] is None
    assert desk.cli("connections", "disable", connection.connection_id).code == 0
    assert desk.why(connection)["reasons"][0]["code"] == "disabled"


async def test_a_job_that_runs_or_ran_in_a_worker_that_went_silent(desk: Desk, world: World) -> None:
    connection = await linked(world)
    await world.work()
    world.clock.advance(timedelta(days=1))
    async with world.runtime() as dead:
        dead.planner().tick()
        while dead.queue.reserve_next() is not None:
            pass  # and is never heard of again
    found = desk.reason(connection, "running")
    lease = timedelta(seconds=world.settings.lease_seconds)
    assert found["until"] == iso(world.clock() + lease)
    assert found["start"] == iso(world.clock())
    world.clock.advance(lease)
    assert "went silent" in desk.reason(connection, "lease_lost")["said"]


async def test_what_is_not_due_says_when_and_what_a_run_costs(
    desk: Desk, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIN_INFRA_TELLER_QUOTAS")
    connection = await linked(world, accounts=2)
    assert desk.reason(connection, "due")["said"].endswith("as soon as a worker plans: fin-infra worker")
    await world.work()
    await world.work(timedelta(hours=1))
    found = desk.reason(connection, "not_due")
    assert found["until"] == found["start"] > iso(world.clock())
    lines = desk.why(connection)["sentences"]
    assert [line for line in lines if line.startswith("a run costs")] == [
        "a run costs about 2 calls to teller, as its last run did"
    ]
    assert f"expected to start at {found['until'].replace('.000000', '')}" in lines


async def test_a_ledger_that_cannot_be_read_is_why_nobody_is_asked(
    desk: Desk, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await linked(world)
    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as sql:
        sql.execute("CREATE TABLE customers (id INTEGER)")
    monkeypatch.setenv("FIN_INFRA_QUOTA_URL", f"sqlite:///{theirs}")
    found = desk.reason(connection, "quota")
    assert found["said"] == "the quota ledger cannot be read, so no call is made: fin-infra doctor says why"


def test_a_backfill_that_was_paused_says_so_and_how_it_goes_on(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = symbols(3)
    with backfill_world(tmp_path, names) as world:
        backfill = asyncio.run(world.wish(names, "2021-01-01"))
        desk = desk_of(cli, world, monkeypatch)
        assert "behind all other work, 0 of" in desk.reason(world.connection, "backfill", "prices")["said"]
        told = cli("plan", "--dry-run").out
        assert "backfill_chunk, queued" in told
        assert cli("backfill", "pause", backfill.backfill_id).code == 0
        found = desk.reason(world.connection, "paused", "prices")
        assert found["said"].startswith(f"its backfill {backfill.backfill_id} is paused, paused by its owner; 0 of ")
        assert found["remedy"] == f"fin-infra backfill resume {backfill.backfill_id}"


async def test_looking_makes_no_ledger_and_changes_none(desk: Desk, world: World) -> None:
    connection = await linked(world)
    file = Path(world.settings.effective_quota_url.removeprefix("sqlite:///"))
    desk.why(connection)
    assert not file.exists()
    ledger = desk.ledger()
    spend(ledger, 3)
    before = ledger.frame()
    desk.why(connection)
    assert ledger.frame().equals(before)
    ledger.close()


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerWorld]:
    clock = VirtualClock(START)
    simulator = AlpacaSimulator(now=clock)
    with serve(simulator) as served:
        yield BrokerWorld(tmp_path, simulator, served.url, clock)


@guarded(
    "a closed market is not told", "engine/reasons.py",
    "if opens is not None and calendar is not None:", "if False:",
)  # fmt: skip
async def test_a_closed_market_says_when_it_opens(
    broker: BrokerWorld, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await broker.link("AAPL")
    broker.has_bars("AAPL")
    await broker.work()
    desk = desk_of(cli, broker, monkeypatch)
    found = desk.reason(connection, "market_closed", "prices")
    assert found["said"] == (
        "the schedule prices drives it next at 2026-11-24T21:30:00Z; "
        "its market XNYS is closed until 2026-11-24T14:30:00Z"
    )
    assert found["until"] == found["start"] == "2026-11-24T21:30:00Z"
    broker.clock.set(datetime.fromisoformat("2026-11-24T15:00:00Z"))
    assert desk.reason(connection, "not_due", "prices")["until"] == "2026-11-24T21:30:00Z"
