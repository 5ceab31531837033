"""Plaid's webhooks from end to end: the simulated vendor signs, hands out its key, and is asked for what is new."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.errors import WebhookRefused
from fin_infra.providers.plaid.simulator import (
    PlaidSimulator,
    SimAccount,
    SimActivity,
    SimHolding,
    SimItem,
    SimSecurity,
    SimTransaction,
)
from fin_infra.runtime import Door
from fin_infra.testing import VirtualClock, serve
from fin_infra.webhooks import WebhookReceipt
from tests.world import START, VendorWorld

TOKEN = "access-sandbox-1"
MINUTE = timedelta(minutes=1)


class Bank(VendorWorld):
    """One Item, with a checking and an investment account, whose first rows are there."""

    vendor = "plaid"

    def __init__(self, folder: Path, url: str, clock: VirtualClock, plaid: PlaidSimulator) -> None:
        super().__init__(folder, url, clock)
        self.plaid = plaid

    def send(self, kind: str, code: str, **more: Any) -> WebhookReceipt:
        return self.deliver(*self.plaid.signed_webhook(self.plaid.webhook_of(self.item, kind, code, **more)))

    def deliver(self, headers: dict[str, str], body: bytes) -> WebhookReceipt:
        with self.store() as store:
            return Door(self.settings, store, now=self.clock, base_urls={"plaid": self.url}).receive(
                "plaid", headers, body
            )

    @property
    def item(self) -> SimItem:
        return self.plaid.items[TOKEN]

    def states(self) -> set[str]:
        return {row["state"] for row in self.rows("streams")}


@pytest.fixture
async def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bank]:
    monkeypatch.setenv("FIN_INFRA_PLAID_CLIENT_ID", "client")
    monkeypatch.setenv("FIN_INFRA_PLAID_SECRET", "secret")
    clock = VirtualClock(START)
    plaid = PlaidSimulator(now=clock)
    with serve(plaid) as served:
        world = Bank(tmp_path, served.url, clock, plaid)
        item = plaid.link(
            TOKEN, SimAccount("acc_1"), SimAccount("acc_2", "investment", "brokerage", mask="2222", current="100.00"),
            products=["transactions", "investments"], phase="HISTORICAL",
            securities=[SimSecurity("sec_1", "AAPL")],
        )  # fmt: skip
        item.add(SimTransaction("txn_1", "acc_1", "12.50", "2026-11-20"))
        item.holdings.append(SimHolding("acc_2", "sec_1", "1", "100.00"))
        await world.linked({"access_token": TOKEN}, "ada")
        await world.work()
        assert world.states() == {"ok"}
        yield world


async def test_what_is_new_comes_by_webhook_from_the_right_stream_alone(bank: Bank) -> None:
    assert await bank.work(MINUTE) == []
    bank.item.add(SimTransaction("txn_2", "acc_1", "1.00", "2026-11-24"))
    receipt = bank.deliver(*bank.plaid.signed_webhook(bank.plaid.updates_available(bank.item)))
    assert (receipt.action, receipt.datasets, receipt.login) == ("marked", ("transactions",), bank.item.item_id)
    assert [report.dataset for report in await bank.work()] == ["transactions"]
    assert sorted(row["transaction_id"] for row in bank.rows("transactions")) == ["txn_1", "txn_2"]

    bank.item.holdings[0].quantity = "2"
    assert bank.send("HOLDINGS", "DEFAULT_UPDATE", new_holdings=0, updated_holdings=1).datasets == ("holdings",)
    assert [report.dataset for report in await bank.work()] == ["holdings"]
    assert [str(row["quantity"].normalize()) for row in bank.rows("holdings")] == ["2"]

    bank.item.activities.append(SimActivity("act_1", "acc_2", "100", "2026-11-23", quantity="1", security_id="sec_1"))
    assert bank.send("INVESTMENTS_TRANSACTIONS", "DEFAULT_UPDATE").datasets == ("activities",)
    assert [report.dataset for report in await bank.work()] == ["activities"]
    assert [row["activity_id"] for row in bank.rows("activities")] == ["act_1"]
    keys = [path for path in bank.plaid.requests if "webhook_verification_key" in path]
    assert len(keys) == 1


async def test_t24_an_item_error_is_reauth_and_a_repair_brings_all_back(bank: Bank) -> None:
    bank.item.error = bank.item.refusal = "ITEM_LOGIN_REQUIRED"
    error = {"error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN_REQUIRED", "error_message": "no", "status": 400}
    assert bank.send("ITEM", "ERROR", error=error).action == "reauth"
    assert bank.states() == {"reauth"}
    asked = len(bank.plaid.requests)
    assert await bank.next_day() == []
    assert len(bank.plaid.requests) == asked

    bank.item.error = bank.item.refusal = None
    bank.item.add(SimTransaction("txn_2", "acc_1", "1.00", "2026-11-24"))
    receipt = bank.send("ITEM", "LOGIN_REPAIRED")
    assert (receipt.action, set(receipt.datasets)) == ("active", {"accounts", "transactions", "holdings", "activities"})
    assert bank.states() == {"stale"}
    assert {report.outcome for report in await bank.work()} == {"ok"}
    assert bank.states() == {"ok"}
    assert len(bank.rows("transactions")) == 2


async def test_an_outage_of_the_institution_parks_nobody(bank: Bank) -> None:
    error = {"error_type": "INSTITUTION_ERROR", "error_code": "INSTITUTION_DOWN", "error_message": "no", "status": 400}
    assert bank.send("ITEM", "ERROR", error=error).action == "nothing"
    assert bank.states() == {"ok"}


async def test_a_key_that_the_vendor_does_not_know_proves_nothing(bank: Bank) -> None:
    body = bank.plaid.updates_available(bank.item)
    headers, raw = bank.plaid.signed_webhook(body, kid="another")
    with pytest.raises(WebhookRefused, match="did not give"):
        bank.deliver(headers, raw)
    with pytest.raises(WebhookRefused, match="five minutes"):
        bank.deliver(*bank.plaid.signed_webhook(body, issued_at=bank.clock() - timedelta(minutes=6)))


async def test_who_lies_about_the_environment_blocks_no_key_of_another(bank: Bank) -> None:
    """A body is not proven when the key is asked for: what it says decides only where, and for itself."""
    body = {**bank.plaid.updates_available(bank.item), "environment": "production"}
    with pytest.raises(WebhookRefused):
        bank.deliver(bank.plaid.signed_webhook(body, kid="x")[0], bank.plaid.signed_webhook(body)[1])
    assert bank.send("TRANSACTIONS", "DEFAULT_UPDATE").action == "marked"


async def test_an_item_that_was_just_linked_is_found_once_its_accounts_were_read(bank: Bank) -> None:
    other = bank.plaid.link("access-sandbox-2", SimAccount("acc_9"), phase="HISTORICAL")
    await bank.linked({"access_token": "access-sandbox-2"}, "bob")
    body = bank.plaid.updates_available(other)
    assert bank.deliver(*bank.plaid.signed_webhook(body)).action == "unknown_login"
    await bank.work()
    assert bank.deliver(*bank.plaid.signed_webhook(body)).action == "marked"
