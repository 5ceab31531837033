"""A second user links an Item: bank accounts and investments through one credential."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from fin_infra.testing.seeds import Seed
from tests.acceptance.conftest import Service, service
from tests.acceptance.seed import LINKS

DATASETS = {"accounts", "balances", "transactions", "holdings", "activities", "instruments"}


@pytest.fixture(scope="module")
def eve(seed: Seed) -> Iterator[Service]:
    """The app as a user sees it whose Item is linked and read."""
    found = service("app", **{"x-user": f"eve-{secrets.token_hex(4)}"})
    with found.http:
        provider, made = LINKS["plaid"]
        found.post("/connections", {"provider": provider, "secrets": made(seed)})
        found.wait_for(
            "/status", lambda rows: {r["dataset"] for r in rows if r["last_success_at"]} >= DATASETS, "the Item"
        )
        yield found


def said(plaid: Service, seed: Seed, path: str, **body: Any) -> Any:
    """What Plaid answers to its own application; numbers are exact."""
    keys = {"PLAID-CLIENT-ID": f"client-{seed.slug}", "PLAID-SECRET": seed.secret}
    answer = plaid.http.post(path, json={"access_token": seed.item_token, **body}, headers=keys)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content, parse_float=Decimal, parse_int=Decimal)


def test_transactions_are_plaids_with_the_holders_sign(eve: Service, plaid: Service, seed: Seed) -> None:
    expected = said(plaid, seed, "/transactions/sync", count=500)["added"]
    shown = {row["transaction_id"]: row for row in eve.get("/transactions")}
    assert len(expected) > 100
    assert {name: Decimal(row["amount"]) for name, row in shown.items()} == {
        row["transaction_id"]: -row["amount"] for row in expected
    }
    assert [row["status"] for row in shown.values()].count("pending") == 1


def test_positions_and_cash_are_the_accounts_value(eve: Service, plaid: Service, seed: Seed) -> None:
    accounts = said(plaid, seed, "/accounts/get")["accounts"]
    shown = {row["account_id"]: row for row in eve.get("/balances")}
    owed = {row["account_id"]: -1 if row["type"] in ("credit", "loan") else 1 for row in accounts}
    assert {name: Decimal(row["current"]) for name, row in shown.items()} == {
        row["account_id"]: owed[row["account_id"]] * row["balances"]["current"] for row in accounts
    }
    broker = f"plaid_{seed.slug}_broker"
    held = [row for row in eve.get("/holdings") if row["account_id"] == broker]
    assert {row["instrument"] for row in held} == {"us:AAPL", "us:MSFT"}
    total = sum(Decimal(row["market_value"]) for row in held) + Decimal(shown[broker]["cash"])
    assert total == Decimal(shown[broker]["current"])


def test_no_answer_holds_the_access_token(eve: Service, seed: Seed) -> None:
    assert not [answer for answer in eve.answers if seed.item_token in answer or seed.secret in answer]
