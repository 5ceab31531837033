"""A user links a bank through the app; the worker beside it syncs; the app shows what the bank said, exactly.

The expected rows are asked of the simulated vendor itself, in its own words and signs, so what is compared went two
different ways; a few are known from the seed alone.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fin_infra.testing.seeds import Seed
from tests.acceptance.conftest import Service

Rows = list[dict[str, Any]]


def text(amount: Decimal | str) -> str:
    """An amount as the app writes it: exact, without idle zeros."""
    found = f"{Decimal(amount):f}"
    return found.rstrip("0").rstrip(".") if "." in found else found


@pytest.fixture(scope="module")
def connection(app: Service, seed: Seed) -> str:
    """The bank's connection, linked once, with all its streams synced."""
    linked = app.post("/connections", {"provider": "banking:teller", "secrets": {"access_token": seed.token}})
    assert linked.keys() == {"connection_id", "provider", "state"}
    assert (linked["provider"], linked["state"]) == ("teller", "active")
    connection_id: str = linked["connection_id"]
    synced(app, connection_id, {"accounts", "balances", "transactions"})
    return connection_id


def synced(app: Service, connection_id: str, datasets: set[str]) -> Rows:
    """The connection's streams, once each of `datasets` was synced with success."""

    def of_connection(rows: Rows) -> Rows:
        return [row for row in rows if row["connection_id"] == connection_id]

    def all_there(rows: Rows) -> bool:
        return {row["dataset"] for row in of_connection(rows) if row["last_success_at"]} >= datasets

    streams = app.wait_for("/status", all_there, f"{', '.join(sorted(datasets))} of {connection_id}")
    return of_connection(streams)


def at_bank(teller: Service, seed: Seed, path: str) -> Any:
    """What the vendor says itself, to who has the token."""
    answer = teller.http.get(path, auth=(seed.token, ""))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_refused_link_says_why_without_the_secret(app: Service, seed: Seed) -> None:
    body = {"provider": "banking:teller", "secrets": {"acces_token": seed.token}}
    assert "access_token" in app.post("/connections", body, status=422)["detail"]
    refused = app.post("/connections", {**body, "provider": "banking:nowhere"}, status=422)
    assert refused["code"] == "usage"
    assert "teller" in refused["detail"]


def test_accounts_are_those_of_the_bank(app: Service, teller: Service, seed: Seed, connection: str) -> None:
    rows = [row for row in app.get("/accounts") if row["connection_id"] == connection]
    shown = {(row["account_id"], row["name"], row["mask"], row["kind"], row["subkind"]) for row in rows}
    assert shown == {
        ("acc_a0_checking", "Everyday Checking", "7346", "depository", "checking"),
        ("acc_a0_savings", "Rainy Day Savings", "3528", "depository", "savings"),
        ("acc_a0_card", "Platinum Card", "7857", "credit", "credit_card"),
    }
    assert {(row["status"], row["currency"], row["institution"]) for row in rows} == {("open", "USD", "Simulated Bank")}
    assert {row["account_id"] for row in rows} == {row["id"] for row in at_bank(teller, seed, "/accounts")}


def test_balances_are_exact_and_owed_money_is_negative(
    app: Service, teller: Service, seed: Seed, connection: str
) -> None:
    shown = {row["account_id"]: row for row in app.get("/balances") if row["connection_id"] == connection}
    assert len(shown) == 3
    for account_id, row in shown.items():
        said = at_bank(teller, seed, f"/accounts/{account_id}/balances")
        owed = -1 if account_id.endswith("_card") else 1
        assert row["current"] == text(owed * Decimal(said["ledger"])), account_id
        assert row["available"] == text(said["available"]), account_id
    assert shown["acc_a0_card"]["current"].startswith("-")


def test_transactions_are_exact_and_spending_is_negative(
    app: Service, teller: Service, seed: Seed, connection: str
) -> None:
    shown = [row for row in app.get("/transactions") if row["connection_id"] == connection]
    expected = {}
    for account in at_bank(teller, seed, "/accounts"):
        sign = -1 if account["type"] == "credit" else 1
        for row in at_bank(teller, seed, f"/accounts/{account['id']}/transactions"):
            amount = text(sign * Decimal(row["amount"]))
            expected[account["id"], row["id"]] = (amount, row["date"], row["status"], row["description"])
    assert len(expected) > 40
    assert {
        (row["account_id"], row["transaction_id"]): (
            row["amount"], row["booked_on"], row["status"], row["description"]
        )
        for row in shown
    } == expected  # fmt: skip
    assert len(shown) == len(expected)

    purchases = [row for row in shown if row["category"] in {"groceries", "dining", "fuel", "phone", "shopping"}]
    assert {row["account_id"] for row in purchases} == {"acc_a0_checking", "acc_a0_card"}
    assert all(row["amount"].startswith("-") for row in purchases)
    of_pay = {row["amount"] for row in shown if row["description"] == "Acme Payroll"}
    to_card = {(row["account_id"], row["amount"]) for row in shown if row["type"] == "payment"}
    assert of_pay == {"1850"}
    assert to_card == {("acc_a0_checking", "-240"), ("acc_a0_card", "240")}
    [pending] = [row for row in shown if row["status"] == "pending"]
    assert (pending["transaction_id"], pending["amount"]) == ("txn_a0_pending", "-27.8")


def test_every_stream_is_fresh(app: Service, connection: str) -> None:
    streams = synced(app, connection, {"accounts", "balances", "transactions"})
    assert {(row["dataset"], row["state"]) for row in streams} == {
        ("accounts", "ok"), ("balances", "ok"), ("transactions", "ok")
    }  # fmt: skip
    [newest] = [row["newest_row"] for row in streams if row["dataset"] == "transactions"]
    assert newest[:10] == max(row["booked_on"] for row in app.get("/transactions"))


def test_another_user_sees_none_of_it(app: Service, connection: str) -> None:
    for path in ("/accounts", "/balances", "/transactions", "/status"):
        assert app.http.get(path, headers={"x-user": "lin"}).json() == [], path
    assert app.http.get("/accounts", headers={"x-user": ""}).status_code == 401


def test_no_answer_held_a_secret(app: Service, seed: Seed, connection: str) -> None:
    assert len(app.answers) > 5
    assert [answer[:200] for answer in app.answers for secret in seed.credentials if secret in answer] == []
