"""What a window of days can miss: rows at its edges, ahead of today, without a date, or gone while pages were read."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from fin_infra.providers import resolve
from fin_infra.providers.teller.simulator import Fault, SimTransaction
from tests.guards import guarded
from tests.world import START, World, bought, card, checking


def day(back: int) -> str:
    return (START.date() - timedelta(days=back)).isoformat()


def state(world: World) -> dict[str, str]:
    return {row["transaction_id"]: row["status"] for row in world.rows("transactions")}


@guarded(
    "a pending row is judged at the edge", "engine/changes.py",
    'first = min(newest, today, _day(spot.get("oldest_pending")) or newest)',
    "first = min(newest, today)",
)  # fmt: skip
async def test_t03_an_empty_answer_between_does_not_lose_sight_of_an_old_pending_row(world: World) -> None:
    account = checking("acc_1", bought("t9", on=day(1)), bought("p1", "-50.00", day(20), status="pending"))
    world.bank.enroll("tok", account)
    await world.link()
    await world.work()
    kept, account.transactions = account.transactions, []
    await world.next_day()
    account.transactions = kept
    world.bank.post("acc_1", "p1", on=day(-2), new_id="q1")
    for _ in range(4):
        await world.next_day()
    assert state(world) == {"q1": "posted", "t9": "posted", "p1": "expired"}


async def test_t03_a_pending_row_that_posts_under_an_earlier_date_is_followed(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("t9", on=day(1)), bought("p1", on=day(20), status="pending")))
    await world.link()
    await world.work()
    world.bank.post("acc_1", "p1", on=day(22))
    await world.next_day()
    assert state(world) == {"p1": "posted", "t9": "posted"}


async def test_t03_a_pending_row_without_a_date_leaves_when_it_vanishes(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("t1", on=day(1)), bought("p0", "-50.00", "0", status="pending")))
    await world.link()
    await world.work()
    world.bank.remove("acc_1", "p0")
    world.bank.add("acc_1", bought("q0", "-50.00", day(0)))
    await world.next_day()
    assert state(world) == {"p0": "expired", "q0": "posted", "t1": "posted"}


@guarded(
    "a row ahead of today moves the window", "engine/changes.py",
    "first = min(newest, today, ",
    "first = min(newest, ",
)  # fmt: skip
async def test_a_row_dated_ahead_of_today_does_not_hide_what_comes_before_it(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("f1", "-99.00", day(-20)), bought("t1", on=day(1))))
    await world.link()
    await world.work()
    for n in range(1, 30):
        world.bank.add("acc_1", bought(f"d{n:02}", on=day(1 - n)))
        await world.next_day()
    assert world.ids() == sorted(row.id for row in world.bank.account("acc_1").transactions)


@guarded(
    "rows that moved over the edge are gone", "providers/teller/__init__.py",
    "margin=timedelta(days=4)",
    "margin=timedelta(days=0)",
)  # fmt: skip
async def test_a_row_that_moves_over_the_windows_edge_is_not_taken_for_gone(world: World) -> None:
    rows = [bought("t0", on=day(0)), bought("t11", on=day(11)), bought("t12", on=day(12))]
    world.bank.enroll("tok", checking("acc_1", *rows))
    await world.link()
    await world.work()
    rows[1].date, rows[2].date = day(15), day(16)
    for _ in range(2):
        await world.next_day()
    assert world.ids() == ["t0", "t11", "t12"]


async def test_t36_a_full_read_of_a_shorter_history_keeps_what_aged_out_of_it(world: World) -> None:
    rows = [bought(f"t{n:03}", on=day(n)) for n in range(1, 120)]
    world.bank.enroll("tok", checking("acc_1", *rows))
    world.bank.enroll("tok2", checking("acc_1", *rows[:99]))
    connection = await world.link()
    await world.work()
    world.bank.enrollments.pop("tok")
    async with world.runtime() as runtime:
        runtime.connections.relink(connection.connection_id, {"access_token": "tok2"})
    await world.work()
    assert len(world.ids()) == 119


@guarded(
    "the window moves on under a guard", "engine/changes.py",
    "if settled and not done.suspect else",
    "if settled else",
)  # fmt: skip
async def test_t36_deleted_rows_leave_although_new_ones_come_every_day(world: World) -> None:
    names = [f"t{n:02}{k}" for n in range(11) for k in "ab"]
    world.bank.enroll("tok", checking("acc_1", *(bought(name, on=day(int(name[1:3]))) for name in names)))
    await world.link()
    await world.work()
    for name in names:
        if name.endswith("b"):
            world.bank.remove("acc_1", name)
    for n in range(1, 4):
        world.bank.add("acc_1", bought(f"n{n:02}", on=day(-n)))
        await world.next_day()
    assert not [name for name in world.ids() if name.endswith("b")]
    assert {f["state"] for f in world.rows("findings") if f["kind"] == "shrink_guard"} == {"resolved"}


async def test_t36_a_posting_is_matched_while_removals_wait_to_be_confirmed(world: World) -> None:
    rows = [bought(f"t{n}", on=day(n)) for n in range(1, 8)]
    world.bank.enroll("tok", checking("acc_1", bought("p1", "-50.00", day(1), status="pending"), *rows))
    await world.link()
    await world.work()
    for n in (1, 2, 3):
        world.bank.remove("acc_1", f"t{n}")
    world.bank.post("acc_1", "p1", on=day(0), new_id="q1")
    await world.work(timedelta(hours=8))
    assert state(world) == {"q1": "posted", **{f"t{n}": "posted" for n in range(1, 8)}}


async def test_t36_a_much_shorter_list_of_accounts_closes_none_at_first(world: World) -> None:
    enrollment = world.bank.enroll("tok", *(checking(f"acc_{n}") for n in range(10)))
    await world.link()
    await world.work()
    del enrollment.accounts[1:]
    await world.next_day()
    assert {row["status"] for row in world.rows("accounts")} == {"open"}
    await world.next_day()
    assert sorted(row["status"] for row in world.rows("accounts")) == ["closed"] * 9 + ["open"]


@guarded(
    "a gone row ends the history", "providers/teller/client.py",
    "lost = position and not rows and page.error is None and",
    "lost = False and",
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
async def test_a_row_that_goes_between_two_pages_cuts_nothing_off(world: World, first: bool) -> None:
    rows = [bought(f"t{n:03}", on=day(n // 20)) for n in range(1, 180)]
    world.bank.enroll("tok", checking("acc_1", *rows))
    await world.link()
    if not first:
        await world.work()
    seen = {"pages": 0}

    def between(path: str) -> None:
        if path.endswith("/transactions"):
            seen["pages"] += 1
            if seen["pages"] == 2:
                world.bank.remove("acc_1", world.bank.account("acc_1").transactions[99].id)

    world.bank.on_request = between
    await world.work(timedelta(days=1))
    held = set(world.ids())
    assert {row.id for row in world.bank.account("acc_1").transactions} <= held
    await world.next_day()
    assert world.ids() == sorted(row.id for row in world.bank.account("acc_1").transactions)
    removed = [r for r in world.rows("runs") if r["removed"] > 1]
    assert removed == [], "nothing but the one row was ever taken for gone"


async def test_t10_a_full_page_whose_last_row_has_no_id_is_no_end_of_the_history(world: World) -> None:
    rows = [bought(f"t{n:03}", on=day(n)) for n in range(1, 180)]
    rows[99].id = " "
    world.bank.enroll("tok", checking("acc_1", *rows))
    await world.link()
    [report] = [r for r in await world.work() if r.dataset == "transactions"]
    assert report.accounts == {"acc_1": "contract_broken"}
    rows[99].id = "t100"
    await world.next_day()
    assert len(world.ids()) == 179


@guarded(
    "the first accounts are always first", "engine/sync.py",
    "return at is not None, at, str(",
    "return False, 0, str(",
)  # fmt: skip
async def test_t23_a_limit_that_ends_every_run_early_starves_no_account(world: World) -> None:
    world.bank.enroll("tok", *(checking(f"acc_{n}", bought(f"t{n}")) for n in range(1, 6)))
    await world.link()
    await world.work()
    for n in range(1, 6):
        world.bank.add(f"acc_{n}", bought(f"n{n}", on=day(0)))
    for _ in range(4):
        asked = {"calls": 0}

        def limited(path: str, asked: dict[str, int] = asked) -> None:
            asked["calls"] += path.endswith("/transactions")
            if asked["calls"] == 4 and path.endswith("/transactions"):
                world.bank.fail_next(Fault("refuse", on="/transactions", status=429, retry_after="3600"))

        world.bank.on_request = limited
        await world.work(timedelta(hours=8))
    assert {f"n{n}" for n in range(1, 6)} <= set(world.ids())


@guarded(
    "an old refusal undoes a relink", "connections/__init__.py",
    "CONNECTIONS.c.generation == connection.generation,",
    "",
)  # fmt: skip
async def test_t24_a_refused_old_credential_does_not_undo_a_relink(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("t1")))
    world.bank.enroll("new", checking("acc_1", bought("t1")))
    connection = await world.link()
    await world.work()
    world.bank.enrollments["tok"].revoked = True
    async with world.runtime() as runtime:

        def relinked(path: str) -> None:
            world.bank.on_request = lambda path: None
            runtime.connections.relink(connection.connection_id, {"access_token": "new"})

        world.bank.on_request = relinked
        report = await runtime.engine.sync("transactions", connection.connection_id)
        assert report.outcome == "park"
        assert runtime.connections.get(connection.connection_id).state == "active"


async def test_balances_that_fail_are_not_as_fresh_as_the_accounts_beside_them(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1"))
    await world.link()
    await world.work()
    first = world.stream("balances")["last_success_at"]
    world.bank.fail_next(Fault("refuse", times=9, on="balances", status=502, code="bad_gateway"))
    await world.next_day()
    assert world.stream("balances")["last_success_at"] == first
    assert world.stream("balances")["state"] == "error"
    assert world.stream("accounts")["last_success_at"] > first


async def test_t22_balances_of_another_account_are_not_taken(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1"), card("acc_2"))
    await world.link()
    world.bank.fail_next(
        Fault("garbage", on="acc_1/balances", body=b'{"account_id":"acc_2","ledger":"777.00","links":{}}')
    )
    await world.work()
    assert {row["account_id"]: row["current"] for row in world.rows("balances")} == {"acc_2": Decimal(-50)}


async def test_t25_at_once_is_not_taken_as_leave_to_hammer(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("t1")))
    await world.link()
    await world.work()
    world.bank.fail_next(Fault("refuse", times=10**6, on="/transactions", status=429, retry_after="0"))
    await world.next_day()
    world.bank.requests.clear()
    for _ in range(20):
        await world.work(timedelta(seconds=1))
    assert len(world.bank.requests) <= 2


async def test_t01_erasing_one_of_two_links_to_a_bank_leaves_the_others_rows_to_come_again(world: World) -> None:
    rows = [bought(f"t{n:03}", on=day(n)) for n in range(1, 60)]
    world.bank.enroll("tok", checking("acc_1", *rows))
    world.bank.enroll("tok2", checking("acc_1", *rows))
    await world.link("tok")
    await world.link("tok2")
    await world.work()
    owner = world.rows("transactions")[0]["connection_id"]
    async with world.runtime() as runtime:
        runtime.connections.remove(owner, erase=True)
    await world.next_day()
    await world.next_day()
    assert len(world.ids()) == 59


async def test_t01_a_link_whose_account_row_is_the_others_takes_no_rows_with_it_for_good(world: World) -> None:
    """The last to deliver a row owns it: here the account is the second link's, and its transactions the first one's."""
    rows = [bought(f"t{n:03}", on=day(n)) for n in range(1, 60)]
    world.bank.enroll("tok", checking("acc_1", *rows))
    world.bank.enroll("tok2", checking("acc_1", *rows))
    first, second = [await world.link(token) for token in ("tok", "tok2")]
    async with world.runtime() as runtime:
        for dataset, connection in (("transactions", second), ("transactions", first), ("accounts", second)):
            assert (await runtime.engine.sync(dataset, connection.connection_id)).outcome == "ok"
    assert {row["connection_id"] for row in world.rows("accounts")} == {second.connection_id}
    assert {row["connection_id"] for row in world.rows("transactions")} == {first.connection_id}
    async with world.runtime() as runtime:
        runtime.connections.remove(first.connection_id, erase=True)
    assert world.ids() == []
    await world.next_day()
    assert len(world.ids()) == 59


@pytest.mark.parametrize(
    "wrong", [SimTransaction("t0", "--5.00", day(1), "x"), SimTransaction("t0", "+-5", day(1), "x")]
)
async def test_t46_a_malformed_amount_does_not_become_one_by_taking_its_sign_off(
    world: World, wrong: SimTransaction
) -> None:
    world.bank.enroll("tok", card("acc_2", wrong, bought("t1", "5.00")))
    await world.link()
    await world.work()
    assert world.ids() == ["t1"]


async def test_a_date_of_the_year_one_stops_nobody(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("f1", on="0001-01-01")), checking("acc_2", bought("g1")))
    connection = await world.link()
    await world.work()
    world.bank.add("acc_2", bought("g2", on=day(0)))
    reports = await world.next_day()
    assert {r.outcome for r in reports} == {"ok"}
    assert world.ids() == ["f1", "g1", "g2"]
    assert resolve(connection.provider).name == "teller"
    assert min(row["booked_on"] for row in world.rows("transactions")) == date(1, 1, 1)


@guarded(
    "one outage confirms itself", "engine/parts.py",
    "    if missed_at is not None and abs(now",
    "    if False and abs(now",
)  # fmt: skip
async def test_t36_two_empty_answers_of_one_outage_confirm_nothing(world: World) -> None:
    rows = [bought(f"txn_{n}", on=f"2026-11-{n + 1:02}") for n in range(20)]
    account = checking("acc_1", *reversed(rows))
    world.bank.enroll("tok", account)
    connection = await world.link()
    await world.work()
    kept, account.transactions[:] = list(account.transactions), []
    for _ in range(3):
        world.clock.advance(timedelta(seconds=90))
        async with world.runtime() as runtime:
            report = await runtime.engine.sync("transactions", connection.connection_id)
        assert (report.outcome, report.total.removed) == ("partial", 0)
    account.transactions[:] = kept
    await world.next_day()
    assert len(world.ids()) == 20
    assert len(world.rows("transactions", history=True)) == 20
    account.transactions.clear()
    await world.next_day()
    await world.next_day()
    assert "txn_19" not in world.ids(), "two days in a row it is so"


@guarded(
    "an empty page in the middle ends the history", "providers/teller/client.py",
    "            if position and page.value == []:", "            if False:",
)  # fmt: skip
async def test_t43_an_empty_page_in_the_middle_of_a_first_read_does_not_end_it(world: World) -> None:
    rows = [bought(f"txn_{n:03}", on=f"2026-{1 + n // 28:02}-{1 + n % 28:02}") for n in range(250)]
    world.bank.enroll("tok", checking("acc_1", *reversed(rows)))
    connection = await world.link()
    asked: list[str] = []

    def hide(path: str) -> None:
        asked.append(path)
        if [p.endswith("/transactions") for p in asked].count(True) == 2 and path.endswith("/transactions"):
            world.bank.fail_next(Fault("garbage", body=b"[]"))

    world.bank.on_request = hide
    async with world.runtime() as runtime:
        report = await runtime.engine.sync("transactions", connection.connection_id)
    assert report.outcome == "ok"
    assert len(world.ids()) == 250
