"""What a second pair of eyes found: interrupted whole passes, split accounts, late webhooks, findings that never end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fin_infra.connections import open_vault
from fin_infra.engine.retrying import evidence, retry
from fin_infra.providers.plaid.simulator import SimTransaction
from fin_infra.runtime import Door
from tests.plaid_world import Fault, PlaidWorld, bank, bought, broker, investment, plaid_of

SYNC = "/transactions/sync"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


def many(number: int, start: int = 0) -> list[SimTransaction]:
    return [
        bought(f"m{n:05}", f"{n + 1}.00", str(date(2026, 11, 1) - timedelta(days=n % 300)))
        for n in range(start, start + number)
    ]


async def relinked(world: PlaidWorld, connection_id: str, token: str) -> None:
    async with world.runtime() as runtime:
        runtime.connections.relink(connection_id, {"access_token": token})


def answer(world: PlaidWorld, **parts: Any) -> Fault:
    """The very next page of transactions, written by hand."""
    page = {
        "added": [], "modified": [], "removed": [], "next_cursor": "c", "has_more": False,
        "transactions_update_status": "HISTORICAL_UPDATE_COMPLETE", **parts,
    }  # fmt: skip
    return Fault("garbage", on=SYNC, body=json.dumps(page).encode())


# -- whole passes ----------------------------------------------------------------------------------------------------


async def test_t15_a_whole_pass_that_is_interrupted_goes_on_as_a_whole_pass(world: PlaidWorld) -> None:
    """The cursor is void and a row left meanwhile: only a pass from the very beginning shows that it is gone."""
    await world.link()
    world.item.add(*many(1100))
    await world.work()
    world.item.item_id = "another"
    world.item.remove("m00001")
    world.plaid.limits = {SYNC: 2}  # the refusal and one page: the pass ends in its midst
    [first] = [r for r in await world.next_day() if r.dataset == "transactions"]
    assert first.outcome == "later"
    world.plaid.limits = {}
    for _ in range(3):
        await world.next_day() if _ else await world.work(timedelta(minutes=5))
    assert world.ids() == sorted(world.item.transactions)


async def test_t15_a_kept_position_of_a_whole_pass_that_is_void_is_read_again_at_once(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(1100))
    world.plaid.limits = {SYNC: 1}
    await world.work()
    world.item.item_id = "another"
    world.plaid.limits = {}
    await world.work(timedelta(minutes=5))
    assert len(world.ids()) == 1100


async def test_an_account_whose_rows_are_all_too_old_for_a_whole_pass_keeps_them(world: PlaidWorld) -> None:
    connection = await world.link(bank(mask="1111"), bank("acc_2", mask="2222"))
    world.item.add(*many(5), bought("old", "5.00", "2024-12-01", account_id="acc_2"))
    await world.work()
    world.plaid.relink("access-sandbox-1", "access-sandbox-2")
    new = world.item
    [aged] = [row for row in new.transactions if row.startswith("old")]
    del new.transactions[aged]
    new.log = [entry for entry in new.log if entry[0] != aged]
    await relinked(world, connection.connection_id, "access-sandbox-2")
    for _ in range(4):
        await world.next_day()
    assert "old" in world.ids()


async def test_cursors_that_lead_in_a_circle_end_the_loop(world: PlaidWorld) -> None:
    await world.link()
    await world.work()
    for n in range(400):
        world.plaid.fail_next(answer(world, next_cursor="ab"[n % 2], has_more=True))
    report = await world.sync(after=timedelta(hours=6))
    assert report.error_code == "contract_broken"
    assert sum(fault.times for fault in world.plaid.faults) > 390


# -- accounts --------------------------------------------------------------------------------------------------------


async def test_an_account_listed_beside_the_one_it_was_taken_for_has_its_own_balance(world: PlaidWorld) -> None:
    connection = await world.link(bank(mask="1111", current="100.00"))
    await world.work()
    world.plaid.link("access-sandbox-2", bank("new_1", mask="1111", current="200.00"))
    await relinked(world, connection.connection_id, "access-sandbox-2")
    await world.work(timedelta(minutes=1))
    assert [r["account_id"] for r in world.rows("accounts")] == ["acc_1"]
    world.item.accounts.append(bank("acc_1", mask="1111", current="300.00"))
    await world.sync("accounts", timedelta(days=1))
    assert {r["account_id"]: r["current"] for r in world.rows("balances")} == {"acc_1": 300, "new_1": 200}
    assert sorted(r["account_id"] for r in world.rows("accounts")) == ["acc_1", "new_1"]


async def test_t05_a_lasting_id_known_from_two_links_leads_to_the_one_that_is_free(world: PlaidWorld) -> None:
    first = await world.link(bank(mask=None, persistent_id="pers_1"))
    await world.work()
    world.plaid.link("access-sandbox-2", bank("acc_b", mask=None, persistent_id="pers_1"))
    await world.linked({"access_token": "access-sandbox-2"}, "ada")
    await world.work(timedelta(minutes=1))
    world.plaid.link("access-sandbox-3", bank("acc_c", mask=None, persistent_id="pers_1"))
    await relinked(world, first.connection_id, "access-sandbox-3")
    await world.work(timedelta(minutes=1))
    assert sorted(r["account_id"] for r in world.rows("accounts")) == ["acc_1", "acc_b"]


async def test_an_account_of_a_kind_without_known_signs_has_no_guessed_balance(world: PlaidWorld) -> None:
    await world.link(bank(), replace(bank("acc_2"), type="mortgage", current="500.00"))
    await world.work()
    assert [r["account_id"] for r in world.rows("balances")] == ["acc_1"]


async def test_an_amount_in_pence_is_a_hundredth_of_the_pound_it_is_said_in(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(replace(bought("t1", "1250"), currency=None, unofficial_currency="GBX"))
    await world.work()
    [row] = world.rows("transactions")
    assert (row["currency"], str(row["amount"].normalize())) == ("GBP", "-12.5")


# -- webhooks --------------------------------------------------------------------------------------------------------


async def test_t24_a_late_webhook_of_a_login_that_was_replaced_stops_nothing(world: PlaidWorld) -> None:
    connection = await world.link()
    await world.work()
    old = world.item
    world.plaid.relink("access-sandbox-1", "access-sandbox-2")
    await relinked(world, connection.connection_id, "access-sandbox-2")
    await world.next_day()
    said = {"error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN_REQUIRED", "error_message": "no"}
    headers, raw = world.plaid.signed_webhook(world.plaid.webhook_of(old, "ITEM", "ERROR", error=said))
    with world.store() as store:
        receipt = Door(world.settings, store, now=world.clock, base_urls={"plaid": world.url}).receive(
            "plaid", headers, raw
        )
    assert receipt.action in ("unknown_login", "overtaken")
    async with world.runtime() as runtime:
        assert runtime.connections.get(connection.connection_id).state == "active"


# -- findings --------------------------------------------------------------------------------------------------------


async def test_the_finding_of_further_bad_rows_ends_when_they_come_well(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(3))
    await world.work()
    world.item.add(*(replace(row, date="never") for row in many(600, 10)))
    await world.next_day()
    assert any(r["subject"] == "further rows" for r in world.rows("findings") if r["state"] == "open")
    for row in many(600, 10):
        world.item.transactions[row.id] = row
    await world.next_day()
    assert len(world.ids()) == 603
    assert [r["subject"] for r in world.rows("findings") if r["state"] == "open"] == []


async def test_t46_a_commit_cut_in_two_by_a_kill_invents_no_difference(world: PlaidWorld) -> None:
    """Rows of the first transaction are there when the run is done again, and still moved the balance."""
    await world.link()
    account, total = world.item.accounts[0], [0]

    async def day(*rows: SimTransaction) -> None:
        world.item.add(*rows)
        total[0] += sum(int(float(row.amount)) for row in rows)
        account.current = str(100_000_000 - total[0])
        world.clock.advance(timedelta(days=1))
        await world.sync("accounts")
        await world.sync("transactions")

    for n in range(5):
        await day(*many(1, n))
    assert world.findings() == {}
    with world.store() as store, store.writing() as sql:
        sql.execute(text("CREATE TRIGGER killed BEFORE UPDATE ON cursors WHEN NEW.body <> OLD.body "
                         "AND (SELECT count(*) FROM transactions) > 1000 BEGIN SELECT RAISE(ABORT, 'killed'); END"))  # fmt: skip
    await day(*many(1500, 10))
    assert len(world.ids()) == 1005
    with world.store() as store, store.writing() as sql:
        sql.execute(text("DROP TRIGGER killed"))
    for n in range(5):
        await day(*many(1, 2000 + n))
    assert len(world.ids()) == 1510
    assert world.findings() == {}


# -- odd data --------------------------------------------------------------------------------------------------------


async def test_history_that_never_ends_keeps_its_job_and_its_rows(world: PlaidWorld) -> None:
    await world.link(phase="INITIAL")
    world.item.add(bought("t0"))
    await world.work()
    for n in range(1, 30):
        world.item.add(bought(f"t{n}"))
        await world.work(timedelta(hours=7))
    assert len(world.ids()) == 30
    assert world.stream()["state"] == "partial"


async def test_not_ready_after_data_loses_nothing(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(bought("t1"))
    await world.work()
    world.item.phase = "NOT_READY"
    world.item.add(bought("t2"))
    await world.next_day()
    world.item.phase = "HISTORICAL"
    world.item.add(bought("t3"))
    await world.next_day()
    assert world.ids() == ["t1", "t2", "t3"]


async def test_t46_a_row_retried_from_quarantine_moves_what_the_balance_is_held_against(world: PlaidWorld) -> None:
    await world.link()
    account, total = world.item.accounts[0], [0]

    async def day(*rows: SimTransaction) -> None:
        world.item.add(*rows)
        total[0] += sum(int(float(row.amount)) for row in rows)
        account.current = str(1_000 - total[0])
        world.clock.advance(timedelta(days=1))
        await world.sync("accounts")
        await world.sync("transactions")

    for n in range(5):
        await day(*many(1, n))
    await day(replace(bought("bad", "17.00"), date="never"))
    for n in range(5, 8):
        await day(*many(1, n))
    assert "-17 more" in world.findings()["balance_unexplained"]
    vault = open_vault(world.settings)
    with world.store() as store:
        [kept] = store.quarantined()
        mended = evidence(store, vault, kept.quarantine_id).replace(b'"never"', b'"2026-11-25"')
        with store.writing() as sql:
            sql.execute(text("UPDATE quarantine SET body = :body"), {"body": vault.seal(mended)})
    async with world.runtime() as runtime:
        done = await retry(kept, runtime.store, runtime.connections, runtime.engine.sync, world.clock)
    assert done.healed
    for n in range(8, 12):
        await day(*many(1, n))
    assert "bad" in world.ids()
    assert world.findings() == {}


async def test_t46_rows_of_another_currency_are_not_summed_with_the_balance(world: PlaidWorld) -> None:
    await world.link()
    account, total = world.item.accounts[0], 0
    for n in range(12):
        row = bought(f"t{n}", f"{n + 1}.00")
        total += n + 1
        if n == 6:
            row, total = replace(row, amount="5000", currency="JPY"), total + 24
        world.item.add(row)
        account.current = str(1_000 - total)
        world.clock.advance(timedelta(days=1))
        await world.sync("accounts")
        await world.sync("transactions")
        assert world.findings() == {}


async def test_t13_a_row_that_came_back_under_its_first_id_can_be_taken_back(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(bought("t1", "5.00"))
    await world.work()
    for before, after in (("t1", "n1"), ("n1", "m1"), ("m1", "n1"), ("n1", "t1")):
        world.item.remove(before)
        world.item.add(bought(after, "5.00"))
        await world.next_day()
        assert world.ids() == ["t1"]
    world.item.remove("t1")
    await world.next_day()
    assert world.ids() == []


async def test_t05_accounts_that_a_new_link_lacks_are_closed_and_keep_their_rows(world: PlaidWorld) -> None:
    four = [bank(f"acc_{n}", mask=f"{n}{n}{n}{n}") for n in range(1, 5)]
    connection = await world.link(*four)
    world.item.add(*(bought(f"t{a}{n}", f"{n + 1}.50", account_id=f"acc_{a}") for a in range(1, 5) for n in range(9)))
    await world.work()
    new = world.plaid.link("access-sandbox-2", replace(four[0], id="new_1"), bank("new_5", mask="5555"))
    new.add(*(bought(f"n{n}", f"{n + 1}.50", account_id="new_1") for n in range(9)))
    await relinked(world, connection.connection_id, "access-sandbox-2")
    async with world.runtime() as runtime:
        await runtime.engine.sync("transactions", connection.connection_id)
        await runtime.engine.sync("transactions", connection.connection_id)
    await world.next_day()
    await world.next_day()
    states = {r["account_id"]: r["status"] for r in world.rows("accounts")}
    assert states == {"acc_1": "open", "acc_2": "closed", "acc_3": "closed", "acc_4": "closed", "new_5": "open"}
    assert world.ids() == sorted(f"t{a}{n}" for a in range(1, 5) for n in range(9))


async def test_t05_activities_of_accounts_that_a_new_link_lacks_stay(world: PlaidWorld) -> None:
    connection = await world.link(bank(), bank("acc_2", mask="2222"), investment())
    broker(world.item)
    await world.work()
    kept = world.ids("activities", "activity_id")
    new = world.plaid.link("access-sandbox-2", bank("new_1"), investment("new_9"))
    new.accounts[1].mask = "9999"
    await relinked(world, connection.connection_id, "access-sandbox-2")
    async with world.runtime() as runtime:
        for _ in range(3):
            await runtime.engine.sync("activities", connection.connection_id)
    await world.next_day()
    assert world.ids("activities", "activity_id") == kept
