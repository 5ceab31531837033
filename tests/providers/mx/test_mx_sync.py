"""From outside: the imitated vendor over HTTP, the queue, the store, and what is read back."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from fin_infra.providers.mx.simulator import Fault, SimAccount, SimHolding
from tests.guards import guarded
from tests.providers.mx.platform import MxWorld, paid

FRAMES, CLIENT, DIALECTS = (f"providers/mx/{name}.py" for name in ("frames", "client", "dialects"))


@guarded("DEBIT goes out", FRAMES, 'return amount if way == "CREDIT" else negated(amount)', "return amount")
@guarded("What is owed is negative", FRAMES, 'return negated(balance) if kind in ("credit", "loan") else balance',
         "return balance")  # fmt: skip
@pytest.mark.parametrize("version", ["v20250224", "v20111101"])
async def test_a_user_is_read_whole_and_signed_for_the_holder(mx: MxWorld, version: str) -> None:
    mx.has(
        SimAccount("ACT-1", balance="120.5", available="100"),
        SimAccount("ACT-2", "CREDIT_CARD", "842.17", available_credit="4157.83", credit_limit="5000"),
        SimAccount("ACT-3", "MORTGAGE", "1000.01"),
        SimAccount("ACT-4", "INVESTMENT", "700", cash="100", holdings=[
            SimHolding("HOL-1", "AAPL", "2", "300", "450.25"), SimHolding("HOL-2", None, "100", "1", None, "CASH"),
        ]),
    )  # fmt: skip
    mx.sim.add("ACT-1", paid("TRN-1", type="DEBIT"), paid("TRN-2", "99.99", type="CREDIT"))
    mx.sim.add("ACT-2", paid("TRN-3", "5", type="DEBIT", status=None), paid("TRN-4", "7", "2020-01-02"))
    await mx.link(api_version=version)
    reports = await mx.work()
    assert {(report.dataset, report.outcome) for report in reports} == {
        ("accounts", "ok"), ("transactions", "ok"), ("holdings", "ok"),
    }  # fmt: skip
    assert mx.amounts() == {"TRN-1": "-10.5", "TRN-2": "99.99", "TRN-3": "-5", "TRN-4": "-7"}
    worth = {row["account_id"]: (row["current"], row["available"]) for row in mx.rows("balances")}
    assert worth == {
        "ACT-1": (Decimal("120.5"), 100), "ACT-2": (Decimal("-842.17"), Decimal("4157.83")),
        "ACT-3": (Decimal("-1000.01"), None), "ACT-4": (700, None),
    }  # fmt: skip
    [held] = mx.rows("holdings")
    assert (held["account_id"], held["instrument"], held["quantity"]) == ("ACT-4", "us:AAPL", 2)
    assert held["cost_basis"] == Decimal("450.25")
    assert any(("/users/USR-1/investment_holdings" in path) == (version == "v20250224") for path in mx.sim.requests)


@guarded("No type, no row", FRAMES, 'way not in ("CREDIT", "DEBIT")', "False")
async def test_a_row_without_a_type_is_set_aside(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    mx.sim.add("ACT-1", paid("TRN-1", type=None), paid("TRN-2", "-3"), paid("TRN-3"))
    await mx.link()
    await mx.work()
    assert list(mx.amounts()) == ["TRN-3"]


@guarded("A page of another size", CLIENT, 'page.pagination["per_page"] != size', "False")
async def test_a_page_that_silently_became_25_is_not_used(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    mx.sim.add("ACT-1", *(paid(f"TRN-{n:03}") for n in range(60)))
    await mx.link()
    await mx.sync("accounts")
    mx.sim.page_cap = 500
    report = await mx.sync("transactions")
    assert report.error_code == "contract_broken"
    assert mx.rows("transactions") == []
    mx.sim.page_cap = 1000
    assert (await mx.sync("transactions")).outcome == "ok"
    assert len(mx.rows("transactions")) == 60


async def test_more_rows_than_a_page_are_read_once_each(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    mx.sim.add("ACT-1", *(paid(f"TRN-{n:04}") for n in range(2003)))
    await mx.link()
    await mx.sync("accounts")
    assert (await mx.sync("transactions")).outcome == "ok"
    assert len(mx.rows("transactions")) == 2003


async def test_pages_that_move_are_read_again(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    mx.sim.add("ACT-1", *(paid(f"TRN-{n:04}") for n in range(2003)))
    await mx.link()
    await mx.sync("accounts")
    asked = 0

    def moves(path: str) -> None:
        nonlocal asked
        asked += path.endswith("/transactions")
        if asked == 2:
            mx.sim.remove("ACT-1", "TRN-2000")
            mx.sim.on_request = lambda path: None

    mx.sim.on_request = moves
    report = await mx.sync("transactions")
    assert report.outcome != "ok"
    mx.clock.advance(timedelta(hours=1))
    assert (await mx.sync("transactions")).outcome == "ok"
    assert len(mx.rows("transactions")) == 2002


@guarded("The beginning is asked for", CLIENT, "since or BEGINNING", "since or ask.at.date() - timedelta(days=120)")
async def test_the_first_read_has_more_than_120_days(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    mx.sim.add("ACT-1", paid("TRN-old", on="2024-02-01"), paid("TRN-new"), paid("TRN-ahead", on="2026-11-28"))
    await mx.link()
    await mx.work()
    assert set(mx.amounts()) == {"TRN-old", "TRN-new", "TRN-ahead"}


@guarded("What was changed is asked for", CLIENT, "changed = max(since,", "changed = max(ask.at.date(),")
@pytest.mark.parametrize("version", ["v20250224", "v20111101"])
async def test_a_later_read_has_what_is_new_changed_and_gone(mx: MxWorld, version: str) -> None:
    mx.has(SimAccount("ACT-1"))
    old = mx.clock() - timedelta(days=90)
    mx.sim.add("ACT-1", paid("TRN-old", "1", "2026-06-01", updated=old), paid("TRN-same", "4", "2026-06-02", updated=old),
               paid("TRN-hold", "2", "2026-11-23", status="PENDING"), paid("TRN-1", "3"))  # fmt: skip
    await mx.link(api_version=version)
    await mx.work()
    mx.sim.remove("ACT-1", "TRN-hold")
    mx.sim.change("ACT-1", "TRN-old", amount="1.5")
    mx.sim.add("ACT-1", paid("TRN-post", "2", "2026-11-24"))
    mx.sim.requests.clear()
    mx.clock.advance(timedelta(days=1))
    assert (await mx.sync("transactions")).outcome == "ok"
    found = mx.amounts()
    assert (found["TRN-old"], found["TRN-same"], found["TRN-1"]) == ("-1.5", "-4", "-3")
    assert sorted(row["amount"] for row in mx.rows("transactions") if row["status"] == "posted") == [
        -4, -3, -2, Decimal("-1.5"),
    ]  # fmt: skip
    assert not any(row["status"] == "pending" for row in mx.rows("transactions"))
    assert sum("from_updated_at" in path for path in mx.sim.requests) == 1


@guarded("States that need the user", "providers/mx/wire.py", '"CHALLENGED", "DENIED",', '"CHALLENGED",')
async def test_a_login_that_needs_the_user_stops_only_its_own_accounts(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    broken = mx.has(SimAccount("ACT-2"), member="MBR-2")
    mx.sim.add("ACT-1", paid("TRN-1"))
    mx.sim.add("ACT-2", paid("TRN-2"))
    await mx.link()
    await mx.work()
    broken.status = "DENIED"
    mx.sim.add("ACT-1", paid("TRN-3"))
    mx.sim.add("ACT-2", paid("TRN-4"))
    mx.sim.requests.clear()
    report = await mx.sync("transactions", timedelta(days=1))
    assert report.outcome != "ok"
    assert set(mx.amounts()) == {"TRN-1", "TRN-2", "TRN-3"}
    assert sum(path.startswith("/users/USR-1/members") for path in mx.sim.requests) == 1


async def test_where_all_logins_need_the_user_the_connection_stops(mx: MxWorld) -> None:
    only = mx.has(SimAccount("ACT-1"))
    await mx.link()
    await mx.work()
    only.status = "CHALLENGED"
    report = await mx.sync("transactions", timedelta(days=1))
    assert report.error_code == "reauth_required"


async def test_one_login_is_read_alone(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    mx.has(SimAccount("ACT-2"), member="MBR-2")
    await mx.link(member_guid="MBR-2")
    await mx.work()
    assert [row["account_id"] for row in mx.rows("accounts")] == ["ACT-2"]
    assert all("/accounts/ACT-" in path or "/members/MBR-2" in path for path in mx.sim.requests)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "institution_maintenance_error", "vendor_unavailable"),
        (400, "institution_prevented_error", "permission_denied"),
        (409, "conflict_error", "not_ready"),
        (429, "rate_limit_error", "rate_limited"),
    ],
)
async def test_refusals_have_their_codes(mx: MxWorld, status: int, code: str, expected: str) -> None:
    mx.has(SimAccount("ACT-1"))
    await mx.link()
    mx.sim.fail_next(Fault("refuse", times=20, status=status, code=code))
    assert (await mx.sync("accounts")).error_code == expected


@guarded("The version is named", DIALECTS, 'request.headers["Accept-Version"] = CURRENT', "pass")
async def test_wrong_keys_are_the_applications(mx: MxWorld) -> None:
    mx.has(SimAccount("ACT-1"))
    await mx.link()
    mx.sim.api_key = "another"
    assert (await mx.sync("accounts")).error_code == "auth_invalid"
