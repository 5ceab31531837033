"""Activities are cut by offset, newest first, from a list that moves while it is read: none is lost, none comes twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fin_infra.providers.simulating import Fault
from fin_infra.providers.snaptrade import client
from fin_infra.providers.snaptrade.simulator import SimAccount
from tests.guards import guarded
from tests.providers.snaptrade.broker import SnaptradeWorld, bought, brokerage, set_keys, snaptrade_of

CLIENT = "providers/snaptrade/client.py"
NEWEST = date(2026, 11, 23)


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnaptradeWorld]:
    """Pages of ten rows, each of which begins three rows before the end of the one before."""
    set_keys(monkeypatch)
    monkeypatch.setattr(client, "PAGE", 10)
    monkeypatch.setattr(client, "OVERLAP", 3)
    with snaptrade_of(tmp_path) as found:
        yield found


def with_rows(broker: SnaptradeWorld, count: int) -> SimAccount:
    account = brokerage("acc_1", total="1000.00")
    account.activities = [bought(f"a{n:03}", str(NEWEST - timedelta(days=n))) for n in range(count)]
    broker.has(account)
    return account


def at_request(broker: SnaptradeWorld, number: int, act: Callable[[], None]) -> None:
    """Something happens just before the n-th page of activities is answered."""
    seen = {"count": 0}

    def look(path: str) -> None:
        seen["count"] += path.endswith("/activities")
        if path.endswith("/activities") and seen["count"] == number:
            act()

    broker.sim.on_request = look


def offsets(broker: SnaptradeWorld) -> list[int]:
    asked = [request.partition("?")[2] for request in broker.sim.requests if "/activities?" in request]
    return [int(parse_qs(query)["offset"][0]) for query in asked]


@pytest.mark.parametrize(("count", "expected"), [(0, [0]), (1, [0]), (10, [0]), (11, [0, 7]), (24, [0, 7, 14])])
async def test_pages_overlap_and_every_row_comes_once(
    broker: SnaptradeWorld, count: int, expected: list[int]
) -> None:  # fmt: skip
    account = with_rows(broker, count)
    await broker.link()
    await broker.work()
    assert offsets(broker) == expected
    assert broker.activity_ids() == sorted(row.id for row in account.activities)
    assert broker.findings() == {}


@guarded("Rows that left the list meanwhile are no gap", CLIENT, "max(0, end - OVERLAP)", "end")
@pytest.mark.parametrize("gone", [1, 3])
async def test_rows_that_leave_meanwhile_hide_no_other(broker: SnaptradeWorld, gone: int) -> None:
    account = with_rows(broker, 24)
    await broker.link()
    await broker.sync("accounts")

    def leave() -> None:
        del account.activities[:gone]

    at_request(broker, 2, leave)
    assert (await broker.sync("activities")).outcome == "ok"
    kept = {row.id for row in account.activities}
    assert kept <= set(broker.activity_ids())


@guarded("A page without the row before it is no next page", CLIENT, "anchor not in ids:\n", "anchor == '':\n")
async def test_a_gap_that_no_overlap_covers_is_read_anew(broker: SnaptradeWorld) -> None:
    account = with_rows(broker, 24)
    await broker.link()
    await broker.sync("accounts")

    def leave() -> None:
        del account.activities[:5]

    at_request(broker, 2, leave)
    assert (await broker.sync("activities")).outcome == "ok"
    assert offsets(broker)[:4] == [0, 7, 0, 7]
    assert broker.activity_ids() == sorted(row.id for row in account.activities)


@guarded("The head is read again when the list moved", CLIENT, "page.total != first.total", "False")
@pytest.mark.parametrize("more", [1, 4])
async def test_rows_that_come_meanwhile_are_in_the_same_read(broker: SnaptradeWorld, more: int) -> None:
    account = with_rows(broker, 24)
    await broker.link()
    await broker.sync("accounts")
    new = [bought(f"n{n}", "2026-11-24") for n in range(more)]
    at_request(broker, 2, lambda: broker.sim.add("acc_1", *new))
    assert (await broker.sync("activities")).outcome == "ok"
    assert broker.activity_ids() == sorted(row.id for row in account.activities)
    assert len(broker.activity_ids()) == 24 + more
    assert broker.findings() == {}


async def test_a_list_that_moves_at_each_page_is_read_whole_some_day(broker: SnaptradeWorld) -> None:
    with_rows(broker, 24)
    await broker.link()
    await broker.sync("accounts")
    count = {"n": 0}

    def look(path: str) -> None:
        if path.endswith("/activities") and count["n"] < 30:
            count["n"] += 1
            broker.sim.add("acc_1", *(bought(f"n{count['n']}_{m}", "2026-11-24") for m in range(3)))

    broker.sim.on_request = look
    for _ in range(6):
        await broker.sync("activities", timedelta(hours=1))
    assert broker.activity_ids() == sorted(row.id for row in broker.sim.account("acc_1").activities)


async def test_an_account_that_was_cut_short_goes_on_where_it_stopped(broker: SnaptradeWorld) -> None:
    account = with_rows(broker, 34)
    await broker.link()
    await broker.sync("accounts")
    at_request(broker, 3, lambda: broker.sim.fail_next(Fault("refuse", on="/activities", status=429, code="0000")))
    assert (await broker.sync("activities")).outcome == "later"
    assert broker.activity_ids() == []
    broker.sim.on_request = lambda path: None
    assert (await broker.sync("activities", timedelta(minutes=5))).outcome == "ok"
    assert offsets(broker) == [0, 7, 14, 14, 21, 28]
    assert broker.activity_ids() == sorted(row.id for row in account.activities)


async def test_a_later_read_begins_thirty_days_before_the_newest_row(broker: SnaptradeWorld) -> None:
    with_rows(broker, 90)
    await broker.link()
    await broker.work()
    assert len(broker.activity_ids()) == 90
    broker.sim.requests.clear()
    broker.sim.remove("acc_1", "a002")
    broker.sim.add("acc_1", bought("late", "2026-11-01", amount="-99.00", units="3"))
    assert (await broker.sync("activities", timedelta(days=1))).outcome == "ok"
    asked = [request for request in broker.sim.requests if "/activities?" in request]
    assert {parse_qs(request.partition("?")[2])["startDate"][0] for request in asked} == {"2026-10-24"}
    assert "a002" not in broker.activity_ids()
    assert "late" in broker.activity_ids()
    assert len(broker.activity_ids()) == 90


@guarded(
    "An activity that vanishes while others come",
    "engine/changes.py",
    "        description=pl.concat_str(",
    "        other=pl.concat_str(",
)
async def test_a_row_that_comes_again_under_another_id_keeps_its_first(broker: SnaptradeWorld) -> None:
    with_rows(broker, 12)
    await broker.link()
    await broker.work()
    row = broker.sim.account("acc_1").activities[2]
    row.id = "read anew at the brokerage"
    broker.sim.add("acc_1", bought("new", "2026-11-24", amount="-99.00"))
    for _ in range(2):
        assert (await broker.sync("activities", timedelta(hours=6))).outcome == "ok"
        assert broker.activity_ids() == [*(f"a{n:03}" for n in range(12)), "new"]
    names = [name for name in broker.rows("activities") if name["activity_id"] == "a002"]
    assert len(names) == 1
