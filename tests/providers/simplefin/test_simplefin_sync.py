"""From outside: the imitated server over HTTP, the queue, the store, and what is read back."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.providers.simplefin.simulator import Fault, SimAccount, SimHolding, SimTransaction, sandbox
from tests.guards import guarded
from tests.providers.simplefin.server import PASSWORD, USER, SimplefinWorld, noon, own, paid, simplefin_of

CLIENT, FRAMES, WIRE = (f"providers/simplefin/{name}.py" for name in ("client", "frames", "wire"))
COMPLAINTS = "providers/simplefin/complaints.py"
DAY = timedelta(days=1)


async def test_a_believable_user_is_read_whole_and_signed_for_the_holder(bridge: SimplefinWorld) -> None:
    access = sandbox(bridge.sim, USER, PASSWORD, today=bridge.clock().date())
    await bridge.link()
    reports = await bridge.work()
    assert {(report.dataset, report.outcome) for report in reports} == {("accounts", "ok"), ("transactions", "ok")}
    assert [(row["kind"], row["institution"], row["currency"]) for row in bridge.rows("accounts")] == [
        ("depository", "My Bank", "USD"), ("credit", "My Bank", "USD"), ("investment", "My Broker", "USD"),
    ]  # fmt: skip
    balances = {row["account_id"]: row["current"] for row in bridge.rows("balances")}
    assert balances == {row.id: Decimal(row.balance) for row in access.accounts}
    assert balances[access.accounts[1].id] < 0
    held = {row["instrument"]: (row["quantity"], row["cost_basis"]) for row in bridge.rows("holdings")}
    assert held == {"us:VTI": (Decimal("30.5"), 7320), "us:FXAIX": (Decimal("12.25"), 2100)}
    rows = bridge.rows("transactions")
    told = {(row.id, Decimal(row.amount)) for account in access.accounts for row in account.transactions}
    assert {(row["transaction_id"], row["amount"]) for row in rows} == told
    assert [row["transaction_id"] for row in rows if row["status"] == "pending"] == ["TRN-pending"]


@guarded("A posted time of zero is none", WIRE, "or int(said) == 0:", "or False:")
async def test_a_pending_row_is_dated_by_its_purchase_and_superseded_when_it_posts(bridge: SimplefinWorld) -> None:
    account = SimAccount(own(1), transactions=[SimTransaction("p-1", "-40.00", None, "Coffee", transacted=noon(1))])
    bridge.has(account)
    await bridge.link()
    await bridge.work()
    [row] = bridge.rows("transactions")
    assert (row["status"], str(row["booked_on"])) == ("pending", str(noon(1).date()))
    account.transactions = [paid("t-1", "-40.00", 0)]
    await bridge.sync("transactions", DAY)
    [row] = bridge.rows("transactions")
    assert (row["transaction_id"], row["status"], row["pending_transaction_id"]) == ("t-1", "posted", "p-1")


@guarded("No request asks for more than 90 days", CLIENT, "SPAN = timedelta(days=90)", "SPAN = timedelta(days=120)")
async def test_a_long_history_is_read_in_spans_without_gaps_or_twins(bridge: SimplefinWorld) -> None:
    rows = [paid(f"t-{back:03d}", back=back) for back in range(1, 359)]
    bridge.has(SimAccount(own(1), transactions=rows))
    await bridge.link()
    await bridge.work()
    assert bridge.ids() == [row.id for row in rows]
    asked = [request for request in bridge.sim.requests if "pending=1" in request]
    assert len(asked) == 4
    await bridge.sync("transactions", DAY)
    asked = [request for request in bridge.sim.requests if "pending=1" in request]
    assert len(asked) == 5
    assert len(bridge.ids()) == 358


async def test_a_first_read_ends_where_nothing_is_found(bridge: SimplefinWorld) -> None:
    bridge.has(SimAccount(own(1), transactions=[paid("t-1")]))
    await bridge.link()
    await bridge.work()
    assert len([request for request in bridge.sim.requests if "pending=1" in request]) == 2


@guarded("A new account's history removes no row of another", FRAMES, 'if (_booked(row) or "9") >= begin', "if True")
async def test_a_new_account_is_read_whole_and_the_others_only_from_their_own_begin(bridge: SimplefinWorld) -> None:
    old = SimAccount(own(1), transactions=[paid("a-1", "-5.00", 60), paid("a-2", back=1)])
    access = bridge.has(old)
    await bridge.link()
    await bridge.work()
    old.transactions[0] = paid("a-1", "-6.00", 60)  # before its window: not looked at any more
    access.accounts.append(SimAccount(own(2), "Savings", transactions=[paid("b-1", back=70)]))
    await bridge.sync("accounts", DAY)
    await bridge.sync("transactions")
    rows = {row["transaction_id"]: row["amount"] for row in bridge.rows("transactions")}
    assert rows == {"a-1": -5, "a-2": -10, "b-1": -10}


@guarded("A login that failed brings no rows", CLIENT, "        if error is not None:\n", "        if False:\n")
async def test_of_a_login_that_failed_nothing_is_removed_while_the_others_go_on(bridge: SimplefinWorld) -> None:
    broken = SimAccount(own(1), transactions=[paid("a-1")], holdings=[SimHolding("VTI", "1", "300.00")])
    fine = SimAccount(own(2), login="CON-2", transactions=[paid("b-1")])
    access = bridge.has(broken, fine)
    access.institutions = {"CON-1": "My Bank", "CON-2": "Other Bank"}
    await bridge.link()
    await bridge.work()
    access.errors = [{"code": "con.auth", "message": "Sign <b>in</b> again <script>x</script>", "conn_id": "CON-1"}]
    broken.transactions, broken.holdings, broken.balance = [], [], "90.00"
    fine.transactions.append(paid("b-2", back=1))
    for _ in range(2):
        listed = await bridge.sync("accounts", DAY)
        assert (listed.outcome, listed.accounts) == ("partial", {own(1): "reauth_required"})
        read = await bridge.sync("transactions")
        assert (read.outcome, read.accounts) == ("partial", {own(1): "reauth_required"})
    assert bridge.ids() == ["a-1", "b-1", "b-2"]
    assert len(bridge.rows("holdings")) == 1
    assert {row["account_id"]: row["current"] for row in bridge.rows("balances")}[own(1)] == 90
    why = bridge.stream("transactions")["next_reason"]
    assert "Sign in again x" in why
    assert "<" not in why
    assert (await bridge.state())[0] == "active"
    access.errors = []
    broken.transactions = [paid("a-1"), paid("a-3", back=0)]
    assert (await bridge.sync("transactions", DAY)).outcome == "ok"
    assert bridge.ids() == ["a-1", "a-3", "b-1", "b-2"]


async def test_version_1_names_the_institution_in_a_text(tmp_path: Path) -> None:
    with simplefin_of(tmp_path, version=1) as bridge:
        access = bridge.has(SimAccount(own(1)), SimAccount(own(2), login="CON-2"))
        access.institutions = {"CON-1": "My Bank", "CON-2": "Other Bank"}
        access.errors = [{"code": "con.auth", "message": "Connection to Other Bank may need attention"}]
        await bridge.link()
        report = await bridge.sync("accounts")
        assert (report.outcome, report.accounts) == ("partial", {own(2): "reauth_required"})
        assert [row["institution"] for row in bridge.rows("accounts")] == ["My Bank", "Other Bank"]
        assert len(bridge.rows("balances")) == 2


@guarded(
    "An account that a failed login hides is not closed", COMPLAINTS, "unlisted |= not concerned", "unlisted |= False"
)
async def test_an_account_that_a_failed_login_hides_is_not_closed(bridge: SimplefinWorld) -> None:
    access = bridge.has(SimAccount(own(1)), SimAccount(own(2), login="CON-2"))
    await bridge.link()
    await bridge.work()
    hidden = access.accounts.pop()
    access.errors = [{"code": "con.auth", "message": "Authentication required", "conn_id": "CON-2"}]
    assert (await bridge.sync("accounts", DAY)).outcome == "partial"
    assert [row["status"] for row in bridge.rows("accounts")] == ["open", "open"]
    assert (await bridge.state())[0] == "active"
    access.errors = []
    await bridge.sync("accounts", DAY)
    assert {row["account_id"]: row["status"] for row in bridge.rows("accounts")}[hidden.id] == "closed"


@pytest.mark.parametrize(
    ("change", "code", "state"), [("revoked", "auth_invalid", "reauth"), ("paid", "permission_denied", "active")]
)
async def test_a_refused_access_says_what_the_user_can_do(
    bridge: SimplefinWorld, change: str, code: str, state: str
) -> None:
    access = bridge.has(SimAccount(own(1)))
    await bridge.link()
    await bridge.work()
    setattr(access, change, change == "revoked")
    report = await bridge.sync("accounts", DAY)
    assert (report.outcome, report.error_code) == ("park", code)
    found, reason = await bridge.state()
    assert found == state
    assert PASSWORD not in f"{reason}{report}"
    if state == "active":
        access.paid = True
        assert (await bridge.sync("accounts", DAY)).outcome == "ok"


async def test_a_429_waits_for_the_next_day(bridge: SimplefinWorld) -> None:
    bridge.has(SimAccount(own(1)))
    await bridge.link()
    bridge.sim.fail_next(Fault("refuse", status=429))
    report = await bridge.sync("accounts")
    assert (report.outcome, report.error_code, report.follow_up.after) == ("later", "rate_limited", 86400)


async def test_a_day_of_all_schedules_stays_far_within_24_requests(bridge: SimplefinWorld) -> None:
    bridge.has(*(SimAccount(own(n), transactions=[paid(f"t-{n}")]) for n in range(9)))
    await bridge.link()
    await bridge.work()
    before = bridge.calls()
    for _ in range(24):
        await bridge.work(timedelta(hours=1))
    assert 2 <= bridge.calls() - before <= 14


@guarded("The same id at two servers is two accounts", WIRE, "or _RANDOM.fullmatch(account.id)", "or True")
async def test_the_same_id_at_two_servers_is_two_accounts(bridge: SimplefinWorld) -> None:
    bridge.has(SimAccount("1", "Savings", "10.00"))
    bridge.has(SimAccount("1", "Savings", "20.00", transactions=[paid("t-1")]), user="other")
    await bridge.link("one.example.com")
    await bridge.link("two.example.com", "other")
    await bridge.work()
    balances = {row["account_id"]: row["current"] for row in bridge.rows("balances")}
    assert balances == {"one.example.com/1": 10, "two.example.com/1": 20}
    [row] = bridge.rows("transactions")
    assert row["account_id"] == "two.example.com/1"


async def test_a_custom_currency_is_never_asked_for(bridge: SimplefinWorld) -> None:
    bridge.has(SimAccount(own(1), "Miles", "5000", currency=f"{bridge.url}/miles"))
    await bridge.link()
    await bridge.work()
    [row] = bridge.rows("accounts")
    assert row["currency"] is None
    assert bridge.rows("balances") == []
    assert not [request for request in bridge.sim.requests if "miles" in request]
