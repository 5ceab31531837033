"""What would run when, as `fin-infra plan --dry-run` says it; and that it comes true."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.connections import Connection
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.windows import Rolling
from fin_infra.store import opening
from fin_infra.store.ledger import open_ledger
from tests.cli.conftest import Cli
from tests.cli.test_quotas import on_a_terminal, plain
from tests.guards import guarded
from tests.world import START, World, bought, checking

DAY = timedelta(days=1)


@pytest.fixture
def there(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world, where the command line looks at it in its own time."""
    monkeypatch.setattr(opening, "utc_now", world.clock)
    monkeypatch.setenv("FIN_INFRA_STORE_URL", world.settings.store_url)
    return world


async def linked(world: World, number: int, tenant: str = "ada") -> Connection:
    world.bank.enroll(f"tok{number}", checking(f"acc_{number}", bought(f"txn_{number}")))
    return await world.link(f"tok{number}", tenant)


def planned(cli: Cli, *more: str) -> dict[str, Any]:
    said = cli("plan", "--dry-run", "--json", *more)
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "plan only looks ahead: fin-infra plan --dry-run; what plans for real is fin-infra worker"),
        (("--dry-run", "--horizon", "soon"), "--horizon 'soon': a duration is a number with a unit: 90s"),
        (("--dry-run", "--horizon", "0h"), "--horizon '0h' is nothing to look at; write 1m to 31d, such as 24h"),
        (("--dry-run", "--horizon", "32d"), "--horizon '32d' is nothing to look at"),
        (("--dry-run", "--provider", "tellr"), "no provider 'tellr'"),
        (("--dry-run", "--limit", "-1"), None),
        (("--dry", "run"), None),
    ],
)
def test_misuse(cli: Cli, arguments: tuple[str, ...], sentence: str | None) -> None:
    said = cli("plan", *arguments)
    assert said.code == 2
    if sentence is not None:
        assert sentence in said.error


def test_nothing_linked_is_a_sentence(cli: Cli) -> None:
    said = cli("plan", "--dry-run")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("nothing is due before 2")
    assert planned(cli)["runs"] == []


@guarded(
    "the next run does not follow from the one before", "planning/outlook.py",
    "return self._schedules[run.schedule].due_after_run(at, run.stream)",
    "return self._schedules[run.schedule].due_after_run(at + timedelta(days=1), run.stream)",
)  # fmt: skip
async def test_where_the_quota_carries_all_the_plan_comes_true_to_the_second(cli: Cli, there: World) -> None:
    for number in range(3):
        await linked(there, number)
    await there.work()
    there.clock.advance(timedelta(hours=1))
    found = planned(cli)
    foreseen = [(run["starts_at"], run["stream"], run["calls"]) for run in found["runs"]]
    assert Counter(stream.partition("/")[2] for _, stream, _ in foreseen) == {"transactions": 12, "accounts": 6}
    assert found["keys"][0]["late"] == found["keys"][0]["beyond"] == 0
    for moment in sorted({at for at, _, _ in foreseen}):
        there.clock.set(datetime.fromisoformat(moment) - timedelta(seconds=1))
        assert await there.work() == [], "nothing runs before"
        await there.work(timedelta(seconds=1))
    runs = [r for r in there.rows("runs") if r["started_at"] > START + timedelta(hours=1)]
    assert sorted((iso(r["started_at"]), f"{r['connection_id']}/{r['dataset']}", r["calls"]) for r in runs) == sorted(
        foreseen
    )


async def test_a_scarce_quota_makes_a_line_that_says_what_it_waits_for(
    cli: Cli, there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        await linked(there, number, "bob" if number else "ada")
    await there.work()
    there.clock.advance(timedelta(hours=13))
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "hour=6/3600s")
    found = planned(cli, "--horizon", "4h")
    [key] = found["keys"]
    runs = found["runs"]
    assert key["needed"] == sum(run["calls"] for run in runs) == 24, "eight logins, three calls each, all overdue"
    assert (key["permitted"], key["window"]) == (24, "teller/app#hour")
    starts = [run["starts_at"] for run in runs]
    assert starts == sorted(starts)
    for run in runs:
        if run["starts_at"] != iso(there.clock()):
            assert (run["why"], run["held_back_by"]) == ("full", "teller/app#hour")
    assert key["late"] > 0
    first = min((run for run in runs if run["tenant"] == "ada"), key=lambda run: run["starts_at"])
    before = [run for run in runs if run["starts_at"] < first["starts_at"]]
    assert all(run["due_at"] <= first["due_at"] for run in before), (
        "of what is lent nobody's later run comes before hers"
    )
    said = cli("plan", "--dry-run", "--horizon", "4h", "--limit", "3")
    assert len([line for line in said.out.splitlines() if "/accounts" in line or "/transactions" in line]) == 3
    assert f"and {len(runs) - 3} more runs; --limit {len(runs)} or --json lists them all" in said.err
    assert said.out.splitlines()[-1].startswith(
        "teller app: 16 runs, needs 24 of 24 calls (window hour: 6 calls in any hour); "
    )
    short = planned(cli, "--horizon", "2h")
    assert short["keys"][0]["beyond"] > 0
    assert [run["starts_at"] for run in short["runs"]].count(None) == short["keys"][0]["beyond"]
    assert "do not start before" in cli("plan", "--dry-run", "--horizon", "2h").out


async def test_a_plan_of_a_scarce_quota_comes_true_too(cli: Cli, there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        await linked(there, number, "bob" if number % 2 else "ada")
    await there.work()
    begin = there.clock.advance(timedelta(hours=13))
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "hour=6/3600s")
    found = planned(cli, "--horizon", "4h")
    foreseen = {(run["starts_at"], run["stream"]) for run in found["runs"]}
    assert len({at for at, _ in foreseen}) == 3, "eighteen calls, six an hour"
    for moment in sorted({at for at, _ in foreseen}):
        there.clock.set(datetime.fromisoformat(moment))
        await there.work()
    runs = [r for r in there.rows("runs") if r["started_at"] >= begin and r["calls"]]
    assert sum(r["calls"] for r in runs) == found["keys"][0]["needed"] == 18
    began = {}
    for row in sorted(runs, key=lambda r: r["started_at"], reverse=True):
        began[f"{row['connection_id']}/{row['dataset']}"] = iso(row["started_at"])
    assert {(at, stream) for stream, at in began.items()} == foreseen


async def test_what_is_spent_already_and_what_is_queued_counts(
    cli: Cli, there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await linked(there, 1)
    await there.work()
    there.clock.advance(DAY)
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "hour=4/3600s")
    window = Rolling("teller/app#hour", 4, 3600.0)
    ledger = open_ledger(there.settings.effective_quota_url, now=there.clock)
    for _ in range(2):
        grant = ledger.acquire((window,))
        assert not isinstance(grant, Denied)
        ledger.settle(grant)
    ledger.close()
    async with there.runtime() as runtime:
        runtime.planner().tick()
    found = planned(cli, "--horizon", "3h")
    assert found["keys"][0]["permitted"] == 4 * 3 - 2, "two of this hour's are spent"
    by_stream = {run["stream"]: run for run in found["runs"]}
    assert {run["schedule"] for run in by_stream.values()} == {None}, "they are in the queue"
    assert by_stream[f"{connection.connection_id}/accounts"]["starts_at"] == iso(there.clock())
    assert by_stream[f"{connection.connection_id}/transactions"]["starts_at"] == iso(there.clock() + timedelta(hours=1))
    assert "sync_transactions, queued" in cli("plan", "--dry-run", "--horizon", "3h").out


async def test_a_narrow_terminal_has_lines_in_place_of_the_table(there: World, tmp_path: Path) -> None:
    connection = await linked(there, 1)
    lines = [line for line in plain(on_a_terminal(tmp_path, 60, "plan", "--dry-run")) if "/accounts" in line]
    assert re.fullmatch(
        rf"2\S+Z: {connection.connection_id}/accounts, accounts, scheduled, 1 call", lines[0].strip()
    ), lines[0]  # fmt: skip


async def test_a_connection_that_waits_for_its_owner_is_not_planned_and_said(cli: Cli, there: World) -> None:
    connection = await linked(there, 1)
    await there.work()
    assert cli("connections", "disable", connection.connection_id).code == 0
    found = planned(cli)
    assert found["runs"] == []
    assert found["not_planned"] == [{"connection": connection.connection_id, "state": "disabled"}]
    assert f"{connection.connection_id} is not planned: the owner has to act" in cli("plan", "--dry-run").err


async def test_a_plan_writes_nothing(cli: Cli, there: World, tmp_path: Path) -> None:
    for number in range(3):
        await linked(there, number)
    await there.work()
    there.clock.advance(DAY)
    before = {path.name: everything(path) for path in tmp_path.glob("fin*.db")}
    assert set(before) == {"fin.db", "fin-queue.db", "fin-quota.db"}
    assert planned(cli)["runs"]
    assert cli("plan", "--dry-run").code == 0
    assert {path.name: everything(path) for path in tmp_path.glob("fin*.db")} == before


def everything(path: Path) -> list[str]:
    """All that is in a database."""
    sql = sqlite3.connect(path)
    try:
        return list(sql.iterdump())
    finally:
        sql.close()


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
