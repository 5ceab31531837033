"""From outside: the imitated vendor over HTTP, the queue, the store, and what is read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from fin_infra.errors import FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.base import Acting
from fin_infra.providers.snaptrade.signing import signed
from fin_infra.providers.snaptrade.simulator import CLIENT_ID, CONSUMER_KEY, SimAccount, SimPosition
from fin_infra.providers.transport import Transport
from tests.guards import guarded
from tests.metering import meter_of
from tests.providers.snaptrade.broker import SECRET, SnaptradeWorld, bought, brokerage, shares

FRAMES = "providers/snaptrade/frames.py"
CLIENT = "providers/snaptrade/client.py"


async def test_a_user_with_accounts_of_three_kinds_is_read_whole(broker: SnaptradeWorld) -> None:
    broker.has(
        brokerage("acc_1", shares("AAPL"), number="****8443", institution_account_id="54953432"),
        SimAccount("acc_2", "deposit", "Checking", "****4821", raw_type="CHECKING", total="3120.44"),
        SimAccount("acc_3", "line_of_credit", "Card", "****1881", raw_type="CREDIT_CARD", total="-842.17",
                   available_credit="4157.83"),
    )  # fmt: skip
    broker.sim.add("acc_1", bought("a1"))
    await broker.link()
    reports = await broker.work()
    assert {(report.dataset, report.outcome) for report in reports} == {
        ("accounts", "ok"), ("holdings", "ok"), ("activities", "ok"),
    }  # fmt: skip
    rows = broker.rows("accounts")
    assert [(row["account_id"], row["kind"], row["subkind"], row["mask"], row["institution"]) for row in rows] == [
        ("acc_1", "investment", "margin", "8443", "Robinhood"),
        ("acc_2", "depository", "checking", "4821", "Robinhood"),
        ("acc_3", "credit", "credit_card", "1881", "Robinhood"),
    ]
    balances = {row["account_id"]: row for row in broker.rows("balances")}
    assert [(a, str(row["current"]), row["cash"], row["available"]) for a, row in balances.items()] == [
        ("acc_1", "5000.000000000000000000", Decimal("1000.00"), None),
        ("acc_2", "3120.440000000000000000", None, None),
        ("acc_3", "-842.170000000000000000", None, Decimal("4157.83")),
    ]
    [held] = broker.rows("holdings")
    assert (held["instrument"], held["quantity"], held["cost_basis"]) == ("us:AAPL", 10, 200)
    assert broker.activity_ids() == ["a1"]
    assert broker.stream("activities")["vendor_as_of"].isoformat() == "2026-11-24T00:00:00+00:00"


@guarded("A cash equivalent is no holding", FRAMES, 'if row.get("cash_equivalent") is True:', "if False:")
async def test_a_cash_equivalent_counts_once_in_the_balances_cash(broker: SnaptradeWorld) -> None:
    sweep = SimPosition("SPAXX", "400", "1", "1", "mutualfund", cash_equivalent=True)
    broker.has(brokerage("acc_1", shares("AAPL"), sweep, total="1250.00"))
    await broker.link()
    await broker.work()
    assert [row["instrument"] for row in broker.rows("holdings")] == ["us:AAPL"]
    [balance] = broker.rows("balances")
    [held] = broker.rows("holdings")
    assert balance["cash"] + held["market_value"] == balance["current"] == 1250


async def test_signs_shorts_and_options_are_the_holders(broker: SnaptradeWorld) -> None:
    broker.has(brokerage(
        "acc_1", shares("MSFT", "-5", "400", cost_basis="410.10"),
        SimPosition("XYZ   281215C00050000", "2", "0.55", "1.25", "option"),
        SimPosition("XYZ   281215P00050000", "-1", "3", "2", "option"),
        SimPosition("TECK.B.TO", "10", "58.12", None, currency="CAD", exchange="XTSE"),
        cash={"USD": ("-23140.20", "0"), "CAD": (None, "10")},
    ))  # fmt: skip
    broker.sim.add(
        "acc_1", bought("buy"), bought("sell", type="SELL", amount="99.90", units="-2", fee="0.10"),
        bought("dividend", type="DIVIDEND", amount="4.80", units="20"),
        bought("own word", type="CRYPTO_AIRDROP", amount=None),
    )  # fmt: skip
    await broker.link()
    await broker.work()
    held = {row["instrument"]: row for row in broker.rows("holdings")}
    assert {name: (row["quantity"], row["multiplier"], row["market_value"], row["cost_basis"]) for name, row in held.items()} == {
        "us:MSFT": (-5, 1, -2000, Decimal("-2050.5")),
        "opt:XYZ:2028-12-15:C:50": (2, 100, 110, 250),
        "opt:XYZ:2028-12-15:P:50": (-1, 100, -300, -200),
        "xtse:TECK.B": (10, 1, Decimal("581.2"), None),
    }  # fmt: skip
    balances = {row["currency"]: (row["current"], row["cash"]) for row in broker.rows("balances")}
    assert balances == {"USD": (5000, Decimal("-23140.2")), "CAD": (None, None)}
    rows = {row["activity_id"]: row for row in broker.rows("activities")}
    assert {own: (row["kind"], row["quantity"], row["amount"]) for own, row in rows.items()} == {
        "buy": ("buy", 1, -230), "sell": ("sell", -2, Decimal("99.9")),
        "dividend": ("dividend", None, Decimal("4.8")), "own word": ("other", None, None),
    }  # fmt: skip


@guarded("Of a disabled connection nothing is read", CLIENT, 'if connection.get("disabled") is not True:', "if True:")
async def test_a_disabled_connection_is_no_source_of_rows_while_the_others_go_on(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1", shares("AAPL")))
    broker.has(brokerage("acc_2", shares("VOO")), connection="con_2", brokerage="Questrade")
    connection = await broker.link()
    await broker.work()
    broker.sim.disable("con_1")
    broker.sim.account("acc_1").positions.clear()  # what it would say now, were it asked
    broker.sim.account("acc_2").positions.append(shares("MSFT"))
    held = await broker.sync("holdings", timedelta(days=1))
    assert (held.outcome, held.accounts) == ("partial", {"acc_1": "reauth_required"})
    listed = await broker.sync("accounts")
    assert (listed.outcome, listed.accounts) == ("partial", {"acc_1": "reauth_required"})
    assert sorted(row["instrument"] for row in broker.rows("holdings")) == ["us:AAPL", "us:MSFT", "us:VOO"]
    states = {(row["account_id"], row["dataset"]): row["state"] for row in broker.rows("account_states")}
    assert states["acc_1", "holdings"] == states["acc_1", "balances"] == "reauth"
    assert states["acc_2", "holdings"] == states["acc_2", "balances"] == "ok"
    async with broker.runtime() as runtime:
        assert runtime.connections.get(connection.connection_id).state == "active"
    broker.sim.enable("con_1")
    broker.sim.account("acc_1").positions.append(shares("AAPL", "12"))
    assert (await broker.sync("holdings", timedelta(days=1))).outcome == "ok"


@guarded("All connections disabled: the user must act", CLIENT, "len(self.disabled) == len(self.connections)", "False")
@pytest.mark.parametrize("dataset", ["accounts", "holdings", "activities"])
async def test_a_user_all_of_whose_connections_are_disabled_must_reconnect(
    broker: SnaptradeWorld, dataset: str
) -> None:  # fmt: skip
    broker.has(brokerage("acc_1", shares("AAPL")))
    connection = await broker.link()
    await broker.work()
    broker.sim.disable("con_1")
    report = await broker.sync(dataset, timedelta(days=1))
    assert (report.outcome, report.error_code) == ("partial" if dataset == "accounts" else "park", "reauth_required")
    async with broker.runtime() as runtime:
        found = runtime.connections.get(connection.connection_id)
    assert found.state == "reauth"
    assert "reconnect" in str(found.reason)
    assert len(broker.rows("holdings")) == len(broker.rows("balances")) == 1
    calls = len(broker.sim.requests)
    await broker.next_day()
    assert len(broker.sim.requests) == calls


async def test_holdings_that_shrink_wait_for_a_second_read(broker: SnaptradeWorld) -> None:
    account = brokerage("acc_1", *(shares(symbol) for symbol in ("AAPL", "MSFT", "VOO", "SPY")))
    broker.has(account)
    await broker.link()
    await broker.work()
    account.positions = account.positions[:1]
    assert (await broker.sync("holdings", timedelta(days=1))).outcome == "partial"
    assert len(broker.rows("holdings")) == 4
    assert "shrink_guard" in broker.findings()
    assert (await broker.sync("holdings", timedelta(days=1))).outcome == "ok"
    assert [row["instrument"] for row in broker.rows("holdings")] == ["us:AAPL"]


async def test_a_second_read_with_nothing_new_changes_no_row(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1", shares("AAPL")))
    broker.sim.add("acc_1", bought("a1"), bought("a2", "2026-11-19"))
    await broker.link()
    await broker.work()
    for dataset in ("accounts", "holdings", "activities"):
        report = await broker.sync(dataset, timedelta(hours=1))
        assert report.outcome == "ok"
        assert {(c.inserted, c.updated, c.removed) for c in report.counts.values()} <= {(0, 0, 0)}


async def test_an_account_of_a_new_connection_goes_on_as_the_one_it_was(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_old", shares("AAPL"), institution_account_id="54953432"))
    await broker.link()
    await broker.work()
    broker.sim.users["user_1"].connections.clear()
    broker.has(brokerage("acc_new", shares("AAPL"), institution_account_id="54953432"), connection="con_9")
    await broker.sync("accounts", timedelta(days=1))
    await broker.sync("holdings")
    assert [(row["account_id"], row["status"]) for row in broker.rows("accounts")] == [("acc_old", "open")]
    assert [row["account_id"] for row in broker.rows("holdings")] == ["acc_old"]


async def test_a_first_sync_that_runs_is_waited_for(broker: SnaptradeWorld) -> None:
    account = brokerage("acc_1", shares("AAPL"), first_sync_done=False)
    broker.has(account)
    broker.sim.add("acc_1", bought("a1"))
    await broker.link()
    await broker.sync("accounts")
    for dataset in ("holdings", "activities"):
        report = await broker.sync(dataset)
        assert (report.outcome, report.accounts) == ("later", {"acc_1": "not_ready"})
    assert broker.rows("accounts")[0]["history_complete"] is False
    account.first_sync_done = True
    for dataset in ("accounts", "holdings", "activities"):
        assert (await broker.sync(dataset, timedelta(minutes=5))).outcome == "ok"
    assert broker.activity_ids() == ["a1"]
    assert broker.rows("accounts")[0]["history_complete"] is True


async def test_a_brokerage_that_fails_stops_one_account(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1"), brokerage("acc_2", shares("AAPL"), refusal=(503, "3002", "Unable to sync")))
    await broker.link()
    await broker.sync("accounts")
    assert [row["account_id"] for row in broker.rows("balances")] == ["acc_1"]
    report = await broker.sync("holdings")
    assert (report.outcome, report.accounts) == ("partial", {"acc_2": "vendor_unavailable"})


@pytest.mark.parametrize("total", [None, "0"])
async def test_a_total_that_is_not_told_is_null(broker: SnaptradeWorld, total: str | None) -> None:
    broker.has(brokerage("acc_1", total=total))
    await broker.link()
    await broker.sync("accounts")
    [balance] = broker.rows("balances")
    assert (balance["current"], balance["cash"]) == (None if total is None else 0, 1000)


async def test_no_secret_is_anywhere_but_in_the_vault(broker: SnaptradeWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    broker.has(brokerage("acc_1"))
    await broker.link()
    broker.sim.quiet = True
    broker.sim.users["user_1"].secret = "another"
    report = await broker.sync("accounts")
    assert (report.outcome, report.error_code) == ("park", "auth_invalid")
    broker.sim.consumer_key = "another key"
    await broker.sync("accounts")
    said = caplog.text + repr(report) + repr(broker.rows("runs")) + repr(broker.rows("findings"))
    assert SECRET not in said
    assert "sim-consumer-key" not in said
    assert "Signature" not in said
    for file in broker.folder.rglob("*.db*"):
        assert SECRET.encode() not in file.read_bytes()


async def test_bank_accounts_of_a_disabled_connection_keep_what_was_known(broker: SnaptradeWorld) -> None:
    account = SimAccount("acc_2", "deposit", "Checking", "****4821", total="3120.44")
    broker.has(brokerage("acc_1"))
    broker.has(account, connection="con_2", brokerage="Chase")
    await broker.link()
    await broker.work()
    broker.sim.disable("con_2")
    account.total = "0"
    report = await broker.sync("accounts", timedelta(days=1))
    assert (report.outcome, report.accounts) == ("partial", {"acc_2": "reauth_required"})
    broker.sim.enable("con_2")
    account.total = None
    assert (await broker.sync("accounts", timedelta(days=1))).outcome == "ok"
    [balance] = [row for row in broker.rows("balances") if row["account_id"] == "acc_2"]
    assert balance["current"] == Decimal("3120.44")


async def test_a_credential_is_proven_by_one_cheap_call(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1"))
    broker.has(brokerage("acc_2"), connection="con_2", disabled=True)
    provider = resolve("brokerage:snaptrade")
    assert provider.probe is not None
    async with asking(broker) as http:
        assert await provider.probe(http) == "2 connections, 1 of them disabled"
    assert broker.asked() == ["/authorizations"]
    async with asking(broker, user_secret="wrong") as http:
        with pytest.raises(FinInfraError) as caught:
            await provider.probe(http)
    assert caught.value.code == "auth_invalid"


async def test_brokerages_are_looked_up_in_one_list(broker: SnaptradeWorld) -> None:
    broker.has()
    lookup = resolve("snaptrade").lookups["institutions"]
    assert lookup.whole
    async with asking(broker) as http:
        found = await lookup.ask(http, "")
    assert [(one.symbol, one.name) for one in found][:2] == [("ROBINHOOD", "Robinhood"), ("QUESTRADE", "Questrade")]
    assert found[0].more["enabled"] == "true"


@asynccontextmanager
async def asking(broker: SnaptradeWorld, user_secret: str = SECRET) -> AsyncIterator[Acting]:
    """The transport of a user, without a connection."""
    provider = resolve("snaptrade")
    secrets = {"user_id": "user_1", "user_secret": user_secret}
    app = {"client_id": CLIENT_ID, "consumer_key": CONSUMER_KEY}
    async with httpx.AsyncClient(base_url=broker.url) as client:
        auth = signed(secrets, app, broker.clock)
        yield Transport(
            provider, client, auth, connection_id="con", now=broker.clock, meter=meter_of(broker.clock)
        )  # fmt: skip
