"""An Item from its link to rows in the store, by a worker, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.providers.plaid.simulator import SimItem, SimTransaction
from tests.guards import guarded
from tests.plaid_world import Fault, PlaidWorld, bank, bought, broker, card, investment, plaid_of
from tests.world import START

SYNC = "/transactions/sync"
HISTORY = "/investments/transactions/get"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


async def test_a_linked_item_is_read_whole_and_signed_for_the_holder(world: PlaidWorld) -> None:
    await world.link(bank(), card(), investment())
    broker(world.item)
    world.item.add(
        bought("t1", "12.50", pending=True),
        bought("t2", "-2500", "2026-11-15"),
        bought("t3", "0.10", account_id="acc_2"),
        bought("t4", "-40", account_id="acc_2"),
    )
    reports = await world.work()
    assert {report.outcome for report in reports} == {"ok"}
    assert {r["transaction_id"]: (r["account_id"], str(r["amount"].normalize()), r["status"]) for r in world.rows("transactions")} == {
        "t1": ("acc_1", "-12.5", "pending"), "t2": ("acc_1", "2.5E+3", "posted"),
        "t3": ("acc_2", "-0.1", "posted"), "t4": ("acc_2", "4E+1", "posted"),
    }  # fmt: skip
    assert {r["account_id"]: (r["current"], r["cash"], r["available"]) for r in world.rows("balances")} == {
        "acc_1": (100, None, 90), "acc_2": (-50, None, 950), "acc_9": (1500, 500, None)
    }  # fmt: skip
    [held] = world.rows("holdings")
    assert (held["instrument"], held["quantity"], held["market_value"], held["cost_basis"]) == (
        "us:AAPL",
        10,
        1000,
        800,
    )
    assert {(r["activity_id"], r["kind"], r["quantity"], r["amount"]) for r in world.rows("activities")} == {
        ("inv_1", "buy", Decimal(10), Decimal(-800)), ("inv_2", "deposit", None, Decimal(1300))
    }  # fmt: skip
    assert [r["name"] for r in world.rows("instruments")] == ["Apple Inc"]
    assert world.findings() == {}
    await world.next_day()
    assert {r["account_id"]: r["history_complete"] for r in world.rows("accounts")}["acc_1"] is True


async def test_nothing_new_asks_from_the_last_cursor_and_rewrites_no_row(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(bought("t1"))
    await world.work()
    before = world.frame("transactions", history=True)
    first = world.asked(SYNC)
    assert first[0] == {"cursor": "", "count": 500, "options": {"days_requested": 730}}
    report = await world.sync(after=timedelta(hours=6))
    assert report.outcome == "ok"
    last = world.asked(SYNC)[-1]
    assert last == {"cursor": world.item.cursor(1, 1, 0), "count": 500}
    assert world.frame("transactions", history=True).equals(before)


async def test_no_request_to_plaid_costs_by_the_call(world: PlaidWorld) -> None:
    await world.link(bank(), investment())
    broker(world.item)
    await world.work()
    assert {path for path, _ in world.plaid.bodies} == {
        "/item/get", "/accounts/get", SYNC, "/investments/holdings/get", HISTORY
    }  # fmt: skip


@guarded(
    "plaid: investments are asked for of every Item",
    "providers/plaid/client.py",
    'if invested and item.item.has("investments"):',
    'if item.item.has("investments"):',
)
async def test_an_item_of_bank_accounts_is_never_asked_for_investments(world: PlaidWorld) -> None:
    await world.link(bank(), card())
    reports = await world.work()
    assert {report.outcome for report in reports} == {"ok"}
    assert not [path for path, _ in world.plaid.bodies if path.startswith("/investments")]


async def test_an_item_of_investments_alone_is_never_asked_for_transactions(world: PlaidWorld) -> None:
    await world.link(investment())
    broker(world.item)
    reports = await world.work()
    assert {report.outcome for report in reports} == {"ok"}
    assert world.asked(SYNC) == []
    assert len(world.rows("activities")) == 2


# -- identity --------------------------------------------------------------------------------------------------------


@guarded(
    "plaid: which pending row it was is not read",
    "providers/plaid/frames.py",
    '"pending_transaction_id": _texts(rows, "pending_transaction_id"),',
    '"pending_transaction_id": [None for _ in rows],',
)
@pytest.mark.parametrize("linked", [True, False])
async def test_t03_a_purchase_that_posts_under_a_new_id_stays_one_row(world: PlaidWorld, linked: bool) -> None:
    await world.link()
    world.item.add(bought("p1", "15.00", "2026-11-23", pending=True), bought("t2", "3.00"))
    await world.work()
    world.item.post("p1", "t1", on="2026-11-25", amount="18.00" if linked else None, linked=linked)
    await world.next_day()
    rows = {r["transaction_id"]: r for r in world.rows("transactions")}
    assert len(rows) == 2
    [posted] = [r for r in rows.values() if r["transaction_id"] != "t2"]
    assert posted["status"] == "posted"
    assert posted["amount"] == (-18 if linked else -15)


@guarded("plaid: what is taken back stays", "providers/plaid/frames.py", "    return page.removed\n", "    return ()\n")
async def test_t13_a_removed_row_leaves_and_one_that_returns_is_back(world: PlaidWorld) -> None:
    await world.link()
    row = bought("t1")
    world.item.add(row, bought("t2"))
    await world.work()
    world.item.remove("t1")
    await world.next_day()
    assert world.ids() == ["t2"]
    assert "t1" in set(world.frame("transactions", history=True)["transaction_id"])
    world.item.add(row)
    await world.next_day()
    assert world.ids() == ["t1", "t2"]


@guarded(
    "plaid: blank ids are one id",
    "providers/plaid/frames.py",
    'return (text(row, "account_id"), own) if own else None',
    'return (text(row, "account_id"), own)',
)
async def test_t10_rows_with_a_blank_id_are_no_twins_of_each_other(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(bought("t1"), bought(" ", "1.00"), bought("  ", "2.00"))
    [report] = [r for r in await world.work() if r.dataset == "transactions"]
    assert report.outcome == "partial"
    assert world.ids() == ["t1"]
    assert world.evidence() == ["transaction_id is missing"] * 2


async def test_ids_that_differ_in_case_alone_are_two(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(bought("tX"), bought("tx", "11.00"))
    await world.work()
    assert world.ids() == ["tX", "tx"]


@guarded(
    "plaid: a link that is made anew is another account",
    "providers/plaid/__init__.py",
    "persistent=frames.persistent, ",
    "",
)
async def test_t05_a_login_linked_anew_goes_on_under_the_ids_it_had(world: PlaidWorld) -> None:
    """Two accounts that only their persistent ids tell apart."""
    connection = await world.link(bank(persistent_id="pers_1"), bank("acc_2", persistent_id="pers_2"))
    world.item.add(bought("t1"), bought("t2", "5.00", account_id="acc_2"))
    await world.work()
    world.plaid.relink("access-sandbox-1", "access-sandbox-2")
    async with world.runtime() as runtime:
        runtime.connections.relink(connection.connection_id, {"access_token": "access-sandbox-2"})
    new = world.item
    new.add(bought("t3", "7.00", account_id=new.accounts[0].id))
    new.accounts.reverse()
    await world.next_day()
    await world.next_day()
    assert sorted(r["account_id"] for r in world.rows("accounts")) == ["acc_1", "acc_2"]
    rows = {r["transaction_id"]: r["account_id"] for r in world.rows("transactions")}
    assert rows == {"t1": "acc_1", "t2": "acc_2", "t3": "acc_1"}


async def test_t08_a_block_of_days_under_new_ids_stays_the_rows_it_was(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(40))
    await world.work()
    before = world.ids()
    first = min(row.date for row in world.item.transactions.values())
    moved = world.item.rotate("acc_1", first, "2026-10-20")
    assert len(moved) > 10
    for _ in range(2):
        await world.next_day()
    assert len(world.ids()) == 40
    assert world.ids() == before


# -- cursors ---------------------------------------------------------------------------------------------------------


def many(number: int, start: int = 0) -> list[SimTransaction]:
    return [
        bought(f"m{n:05}", f"{n + 1}.00", str(date(2026, 11, 1) - timedelta(days=n % 300)))
        for n in range(start, start + number)
    ]


async def test_a_loop_of_several_pages_is_one_commit(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(1234))
    await world.work()
    assert len(world.rows("transactions")) == 1234
    assert [body["count"] for body in world.asked(SYNC)] == [500, 500, 500]
    assert [r["inserted"] for r in world.rows("runs") if r["dataset"] == "transactions"] == [1234]


@guarded(
    "pages that changed are read on",
    "engine/sync.py",
    '    return error.code == "mutation_during_pagination" and run',
    "    return False and run",
)
@guarded(
    "plaid: changed pages are an odd request",
    "providers/plaid/refusals.py",
    '"TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"',
    '"NOTHING"',
)
async def test_t14_data_that_changes_between_pages_begins_the_loop_again(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(700))
    changes = iter(range(2))

    def change(item: SimItem) -> None:
        if (n := next(changes, None)) is not None:
            item.remove(f"m{n:05}")
            item.add(bought(f"late{n}"))

    world.plaid.between_pages = change
    reports = [r for r in await world.work() if r.dataset == "transactions"]
    assert [r.outcome for r in reports] == ["ok"]
    assert world.ids() == sorted(world.item.transactions)
    assert [body["cursor"] == "" for body in world.asked(SYNC)] == [True, False, True, False, True, False]


@guarded(
    "no whole pass ends what never gets through",
    "engine/sync.py",
    'asks = itertools.chain(asks, itertools.repeat(replace(ask, resume={}, cursor=""), RESTARTS))',
    "pass",
)
@guarded(
    "a whole pass forgets what was deleted",
    "engine/delta.py",
    "        if account in wholly:\n            spot",
    "        if False:\n            spot",
)
async def test_t14_a_stored_cursor_that_never_gets_through_ends_in_a_whole_pass(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(20))
    await world.work()
    world.item.remove("m00003")
    world.item.add(*many(700, 20))
    stuck = world.item.cursor(20, 20, 0)

    def change(item: SimItem) -> None:
        if world.asked(SYNC)[-1]["cursor"] == stuck:
            item.modify("m00005", name=f"changed {len(item.log)}")

    world.plaid.between_pages = change
    reports = await world.next_day()
    assert {r.outcome for r in reports if r.dataset == "transactions"} == {"ok"}
    await world.next_day()
    assert world.ids() == sorted(world.item.transactions)
    assert world.asked(SYNC)[-1]["cursor"]


@guarded(
    "a refused cursor is sent for ever",
    "engine/sync.py",
    'return run.source.kind == "cursor" and (not run.whole or bool(ask.resume))',
    "return False",
)
@guarded(
    "plaid: another Item's cursor is an odd request",
    "providers/plaid/refusals.py",
    '"INVALID_FIELD:cursor"',
    '"NOTHING:cursor"',
)
async def test_t15_a_cursor_of_another_item_is_dropped_and_everything_reconciled(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(*many(10))
    await world.work()
    world.item.item_id = "another"
    world.item.remove("m00001")
    [report] = [r for r in await world.next_day() if r.dataset == "transactions"]
    assert report.outcome == "ok"
    await world.next_day()
    assert world.ids() == sorted(world.item.transactions)


@guarded(
    "history still to come is not awaited", "engine/run.py", "        if self.history is False:", "        if False:"
)
@guarded(
    "plaid: nothing yet is no transactions",
    "providers/plaid/wire.py",
    '    if status == "NOT_READY" or not cursor.strip():',
    "    if False:",
)
@guarded(
    "plaid: history is whole from the first page",
    "providers/plaid/wire.py",
    '"INITIAL_UPDATE_COMPLETE": False',
    '"INITIAL_UPDATE_COMPLETE": True',
)
async def test_t17_history_that_comes_later_is_awaited_and_said(world: PlaidWorld) -> None:
    await world.link(phase="NOT_READY", later=[bought("old", "9.00", "2025-01-05")])
    reports = {r.dataset: r for r in await world.work()}
    assert reports["transactions"].error_code == "not_ready"
    assert world.rows("transactions") == []
    assert world.stream()["last_success_at"] is None
    world.item.phase = "INITIAL"
    world.item.add(bought("new"))
    await world.next_day()
    assert world.ids() == ["new"]
    assert covered(world) == {False}
    world.item.finish_history()
    await world.work(timedelta(minutes=16))  # no webhook came, and the schedule's next time is hours away
    assert world.ids() == ["new", "old"]
    assert covered(world) == {True}
    await world.next_day()
    assert [r["history_complete"] for r in world.rows("accounts")] == [True]


def covered(world: PlaidWorld) -> set[bool | None]:
    return {r["history_complete"] for r in world.rows("account_states") if r["dataset"] == "transactions"}


# -- what is broken --------------------------------------------------------------------------------------------------


@guarded(
    "plaid: an Item's error beside a 200 is not read",
    "providers/plaid/wire.py",
    "    if found is not None and found.error is not None:",
    "    if False:",
)
async def test_t24_an_item_that_is_broken_is_no_success_though_its_answers_are_200(world: PlaidWorld) -> None:
    connection = await world.link()
    world.item.add(bought("t1"))
    await world.work()
    world.item.error = "ITEM_LOGIN_REQUIRED"
    world.item.add(bought("t2"))
    reports = await world.next_day()
    assert {r.error_code for r in reports} == {"reauth_required"}
    assert world.ids() == ["t1"]
    async with world.runtime() as runtime:
        assert runtime.connections.get(connection.connection_id).state == "reauth"
    assert world.stream()["state"] == "reauth"
    before = len(world.plaid.bodies)
    await world.next_day()
    assert len(world.plaid.bodies) == before  # nobody asks until the owner has acted


@guarded(
    "plaid: an unknown error of an Item is the owner's",
    "providers/plaid/refusals.py",
    '            "contract_broken", f"{said}, which',
    '            "permission_denied", f"{said}, which',
)
async def test_t24_an_item_error_that_nobody_knows_is_a_broken_contract(world: PlaidWorld) -> None:
    await world.link()
    world.item.error = "SOMETHING_NEW"
    reports = await world.work()
    assert {r.error_code for r in reports} == {"contract_broken"}


async def test_an_institution_that_is_down_is_tried_again_and_keeps_all_rows(world: PlaidWorld) -> None:
    await world.link()
    world.item.add(bought("t1"))
    await world.work()
    world.item.refusal = "INSTITUTION_DOWN"
    report = await world.sync(after=timedelta(hours=6))
    assert (report.outcome, report.error_code) == ("retry", "vendor_unavailable")
    assert world.ids() == ["t1"]


@guarded(
    "a green run is fresh",
    "engine/books.py",
    '**base, "dataset": name, "state": "stale" if old else state,',
    '**base, "dataset": name, "state": state,',
)
@guarded(
    "what Plaid says of its data's age is not looked at",
    "providers/plaid/client.py",
    'history=page.history, as_of=item.updated("transactions")',
    "history=page.history",
)
async def test_t18_a_green_run_on_old_data_is_stale_and_says_of_when_the_data_is(world: PlaidWorld) -> None:
    """Plaid answers well, with nothing new, from what it fetched from the bank days ago."""
    await world.link(updated_at=START)
    world.item.add(bought("t1", on="2026-11-20"))
    await world.work()
    assert (world.stream()["state"], world.stream()["vendor_as_of"]) == ("ok", START)
    assert {r["as_of"] for r in world.rows("balances")} == {START}
    for _ in range(2):
        reports = {r.dataset: r for r in await world.next_day()}
        assert (reports["transactions"].outcome, reports["transactions"].total.inserted) == ("ok", 0)
    stream = world.stream()
    assert stream["state"] == "stale"
    assert stream["next_reason"].startswith("the vendor's data is of 2026-11-24T12:00Z, more than 36h old")
    assert (stream["last_success_at"], stream["vendor_as_of"]) == (world.clock(), START)
    assert stream["newest_row"] == "2026-11-20"
    [account] = [r for r in world.rows("account_states") if r["dataset"] == "transactions"]
    assert (account["state"], account["vendor_as_of"]) == ("stale", START)
    world.item.updated_at = world.clock() + timedelta(days=1)
    await world.next_day()
    assert (world.stream()["state"], world.stream()["next_reason"]) == ("ok", None)


# -- investments -----------------------------------------------------------------------------------------------------


@guarded(
    "plaid: a limited history takes the holdings along",
    "providers/plaid/client.py",
    '    found = replace(wire.holdings(reply.body), as_of=item.updated("investments"))\n    listed',
    '    await http.post("/investments/transactions/get", {})\n    found = replace(wire.holdings(reply.body), as_of=item.updated("investments"))\n    listed',
)
async def test_t28_history_that_is_limited_loses_no_holdings(world: PlaidWorld) -> None:
    await world.link(bank(), investment())
    broker(world.item)
    world.plaid.limits[HISTORY] = 0
    reports = {r.dataset: r for r in await world.work()}
    assert reports["activities"].error_code == "rate_limited"
    assert reports["holdings"].outcome == reports["accounts"].outcome == "ok"
    assert [r["instrument"] for r in world.rows("holdings")] == ["us:AAPL"]
    assert len(world.rows("accounts")) == 2
    del world.plaid.limits[HISTORY]
    await world.work(timedelta(minutes=2))
    assert len(world.rows("activities")) == 2


@guarded("plaid: history in small pages", "providers/plaid/client.py", "PAGE = 500", "PAGE = 100")
async def test_t28_history_is_read_in_the_largest_pages(world: PlaidWorld) -> None:
    await world.link(investment())
    broker(world.item)
    template = world.item.activities[0]
    world.item.activities = [
        replace(template, id=f"inv_{n:04}", date=str(date(2026, 11, 20) - timedelta(days=n % 700))) for n in range(1201)
    ]
    await world.work()
    assert len(world.rows("activities")) == 1201
    assert [body["options"] for body in world.asked(HISTORY)] == [{"count": 500, "offset": n} for n in (0, 500, 1000)]
    assert world.asked(HISTORY)[0]["start_date"] == "2024-11-24"
    await world.sync("activities", timedelta(days=1))
    assert world.asked(HISTORY)[-1]["start_date"] == "2026-10-21"  # thirty days before the newest row
    assert len(world.rows("activities")) == 1201


@guarded(
    "plaid: rows that move between pages are lost",
    "providers/plaid/client.py",
    "        if moved or len(set(ids)) != len(ids) or seen & set(ids) or behind > page.total:",
    "        if False:",
)
async def test_rows_that_move_between_pages_of_history_are_read_again(world: PlaidWorld) -> None:
    await world.link(investment())
    broker(world.item)
    template = world.item.activities[0]
    world.item.activities = [replace(template, id=f"inv_{n:04}") for n in range(600)]
    seen = {"pages": 0}

    def newcomer(path: str) -> None:
        seen["pages"] += path == HISTORY
        if path == HISTORY and seen["pages"] == 2:
            world.item.activities.append(replace(template, id="inv_new", date="2026-11-23"))

    world.plaid.on_request = newcomer
    reports = {r.dataset: r for r in await world.work()}
    assert reports["activities"].outcome == "ok"
    assert len(world.ids("activities", "activity_id")) == 601


@pytest.mark.parametrize("code", ["PRODUCTS_NOT_SUPPORTED", "NO_INVESTMENT_ACCOUNTS", "PRODUCT_NOT_READY"])
async def test_investments_that_are_refused_remove_no_holding(world: PlaidWorld, code: str) -> None:
    await world.link(bank(), investment())
    broker(world.item)
    await world.work()
    read_at = world.stream("holdings")["last_success_at"]
    world.plaid.fail_next(Fault("refuse", times=99, on="/investments/", status=400, code=code))
    for _ in range(3):
        await world.next_day()
    assert [r["instrument"] for r in world.rows("holdings")] == ["us:AAPL"]
    assert len(world.rows("activities")) == 2
    assert {r["account_id"]: r["cash"] for r in world.rows("balances")} == {"acc_1": None, "acc_9": 500}
    assert world.stream("holdings")["last_success_at"] == read_at


@guarded(
    "plaid: cash is not read with the positions",
    "providers/plaid/client.py",
    '            yield Page("balances", reply, account, value=found, as_of=found.as_of)\n    yield',
    "            pass\n    yield",
)
async def test_t47_positions_and_cash_are_the_accounts_value(world: PlaidWorld) -> None:
    await world.link(investment())
    broker(world.item)
    await world.work()
    world.item.holdings[1] = replace(world.item.holdings[1], price="110")
    world.item.account("acc_9").current = "1600"
    await world.sync("holdings", timedelta(days=1))
    [held], [balance] = world.rows("holdings"), world.rows("balances")
    assert held["market_value"] + balance["cash"] == balance["current"] == 1600


async def test_no_token_or_key_is_shown_anywhere(world: PlaidWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await world.link(token="access-sandbox-hush-hush")
    world.plaid.keys = ("client", "other-secret")
    await world.work()
    told = [str(world.rows(name)) for name in ("runs", "streams", "findings")]
    assert "INVALID_API_KEYS" in "".join(told)
    assert "hush" not in "".join([*told, caplog.text])


@guarded(
    "wrong keys of the application stop every login", "engine/run.py", ' and not error.context.get("application")', ""
)
async def test_wrong_keys_of_the_application_stop_no_login(world: PlaidWorld) -> None:
    connection = await world.link()
    world.item.add(bought("t1"))
    world.plaid.keys = ("client", "rotated")
    reports = await world.work()
    assert {r.error_code for r in reports} == {"auth_invalid"}
    async with world.runtime() as runtime:
        assert runtime.connections.get(connection.connection_id).state == "active"
    world.plaid.keys = ("client", "secret")
    await world.next_day()
    assert world.ids() == ["t1"]
