"""Webhooks from outside: what the vendor signs is received, and the worker asks sooner."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from fin_infra.errors import WebhookRefused
from fin_infra.providers.snaptrade.signing import canonical, proof
from fin_infra.runtime.webhooks import Door
from fin_infra.webhooks import WebhookReceipt
from tests.guards import guarded
from tests.providers.snaptrade.broker import SnaptradeWorld, bought, brokerage, shares

FILE = "providers/snaptrade/webhooks.py"


def received(broker: SnaptradeWorld, headers: dict[str, str], body: bytes) -> WebhookReceipt:
    with broker.store() as store:
        return Door(broker.settings, store, now=broker.clock).receive("brokerage:snaptrade", headers, body)


def said(broker: SnaptradeWorld, event: str, **more: Any) -> WebhookReceipt:
    return received(broker, *broker.sim.webhook(event, userId="user_1", **more))


async def linked(broker: SnaptradeWorld) -> str:
    broker.has(brokerage("acc_1", shares("AAPL"), total="1250.00"))
    broker.has(brokerage("acc_2", total="1000.00"), connection="con_2", brokerage="Questrade")
    connection = await broker.link()
    await broker.work()
    return connection.connection_id


@pytest.mark.parametrize(("event", "datasets"), [
    ("ACCOUNT_HOLDINGS_UPDATED", ("accounts", "holdings")), ("TRADE_DETECTION", ("accounts", "holdings")),
    ("ACCOUNT_TRANSACTIONS_UPDATED", ("activities",)), ("ACCOUNT_TRANSACTIONS_INITIAL_UPDATE", ("activities",)),
    ("ACCOUNT_REMOVED", ("accounts",)),
])  # fmt: skip
async def test_an_event_of_an_account_finds_its_connection_by_it(
    broker: SnaptradeWorld, event: str, datasets: tuple[str, ...]
) -> None:  # fmt: skip
    own = await linked(broker)
    for account, connection in (("acc_1", "con_1"), ("acc_2", "con_2")):
        receipt = said(broker, event, accountId=account, brokerageAuthorizationId=connection)
        assert (receipt.action, receipt.connections, receipt.datasets) == ("marked", (own,), datasets)


async def test_new_rows_are_read_within_the_next_work(broker: SnaptradeWorld) -> None:
    await linked(broker)
    broker.sim.add("acc_1", bought("new", "2026-11-24"))
    assert await broker.work(timedelta(minutes=1)) == []
    said(broker, "ACCOUNT_TRANSACTIONS_UPDATED", accountId="acc_1", brokerageAuthorizationId="con_1")
    assert {report.dataset for report in await broker.work()} == {"activities"}
    assert broker.activity_ids() == ["new"]


async def test_a_broken_connection_stops_its_accounts_and_not_the_others(broker: SnaptradeWorld) -> None:
    own = await linked(broker)
    broker.sim.disable("con_1")
    receipt = said(broker, "CONNECTION_BROKEN", brokerageAuthorizationId="con_1")
    assert (receipt.action, receipt.datasets) == ("marked", ("accounts",))
    [report] = await broker.work(timedelta(minutes=1))
    assert (report.outcome, report.accounts) == ("partial", {"acc_1": "reauth_required"})
    async with broker.runtime() as runtime:
        assert runtime.connections.get(own).state == "active"


async def test_a_user_whose_connections_all_broke_works_again_when_one_is_fixed(broker: SnaptradeWorld) -> None:
    own = await linked(broker)
    broker.sim.disable("con_1")
    broker.sim.disable("con_2")
    said(broker, "CONNECTION_BROKEN", brokerageAuthorizationId="con_1")
    [report] = await broker.work(timedelta(minutes=1))
    assert (report.outcome, report.error_code) == ("partial", "reauth_required")
    async with broker.runtime() as runtime:
        assert runtime.connections.get(own).state == "reauth"
    broker.sim.enable("con_1")
    assert said(broker, "CONNECTION_FIXED", brokerageAuthorizationId="con_1").action == "active"
    reports = {report.dataset: report.accounts for report in await broker.work(timedelta(minutes=1))}
    assert set(reports) == {"accounts", "holdings", "activities"}
    assert set(map(str, reports.values())) == {"{'acc_2': 'reauth_required'}"}


async def test_what_concerns_nothing_of_ours_does_nothing(broker: SnaptradeWorld) -> None:
    await linked(broker)
    assert said(broker, "USER_REGISTERED").action == "nothing"
    assert said(broker, "CONNECTION_FAILED").action == "nothing"
    assert said(broker, "A_NEW_WORD", accountId="acc_1").action == "nothing"
    assert said(broker, "CONNECTION_BROKEN", brokerageAuthorizationId="of another").action == "unknown_login"
    assert said(broker, "ACCOUNT_REMOVED", accountId="of another").action == "unknown_login"
    assert await broker.work(timedelta(minutes=1)) == []


async def test_the_same_delivery_counts_once(broker: SnaptradeWorld) -> None:
    await linked(broker)
    headers, body = broker.sim.webhook("ACCOUNT_REMOVED", accountId="acc_1")
    assert received(broker, headers, body).action == "marked"
    assert received(broker, headers, body).duplicate


@guarded("An old event is refused", FILE, "not -SKEW <= now - at <= WINDOW", "not -SKEW <= now - at")
async def test_an_old_event_and_one_of_tomorrow_are_refused(broker: SnaptradeWorld) -> None:
    now = broker.clock()
    for at in (now - timedelta(seconds=301), now + timedelta(seconds=31)):
        with pytest.raises(WebhookRefused, match="last five minutes"):
            said(broker, "ACCOUNT_REMOVED", accountId="acc_1", at=at)
    assert said(broker, "ACCOUNT_REMOVED", accountId="acc_1", at=now - timedelta(seconds=300)).action == "unknown_login"


@guarded("A wrong signature is refused", FILE, "hmac.compare_digest(proof(key, message), given)", "True")
async def test_what_is_not_signed_with_our_key_is_refused_without_a_word_of_it(broker: SnaptradeWorld) -> None:
    headers, body = broker.sim.webhook("ACCOUNT_REMOVED", accountId="acc_1", note="very private")
    for wrong in ({}, {"Signature": "no"}, {"Signature": proof("another key", canonical(json.loads(body)))}):
        with pytest.raises(WebhookRefused) as caught:
            received(broker, wrong, body)
        assert "private" not in str(caught.value)
        assert "sim-consumer-key" not in str(caught.value)
    for other in (b"", b"[1", body.replace(b"acc_1", b"acc_2")):
        with pytest.raises(WebhookRefused):
            received(broker, headers, other)


def test_of_two_keys_during_a_change_one_that_agrees_is_enough(
    broker: SnaptradeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_SNAPTRADE_CONSUMER_KEY", "sim-consumer-key,old")
    assert said(broker, "USER_DELETED").action == "nothing"


async def test_a_body_beyond_ascii_is_proven_as_it_is_signed(broker: SnaptradeWorld) -> None:
    await linked(broker)
    assert said(broker, "ACCOUNT_REMOVED", accountId="acc_1", details={"name": "Compte épargne"}).action == "marked"


async def test_a_signed_body_of_another_shape_is_refused(broker: SnaptradeWorld) -> None:
    for value in ({"eventType": "X"}, {"eventTimestamp": "now", "eventType": "X"}, ["eventType"], 7, None):
        body = json.dumps(value).encode()
        with pytest.raises(WebhookRefused, match="no documented shape"):
            received(broker, {"Signature": proof("sim-consumer-key", canonical(value))}, body)
