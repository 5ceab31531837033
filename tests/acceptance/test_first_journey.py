"""A user links a bank and a broker through the app; the worker beside it syncs; the app shows what both said, exactly.

The expected rows are asked of the simulated vendors themselves, in their own words and signs, so what is compared went
two different ways; what no date changes is known from the seed and written down here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fin_infra.testing.seeds import Seed
from tests.acceptance.conftest import Service
from tests.acceptance.seed import LINKS

Rows = list[dict[str, Any]]

DATASETS = {
    "teller": {"accounts", "balances", "transactions"},
    "alpaca": {"accounts", "balances", "holdings", "activities", "instruments", "corporate_actions", "prices"},
}
QUANTITIES = {"us:AAPL": "18", "us:BRK.B": "4.373456912", "us:KO": "120", "us:MSFT": "12", "us:VTI": "42.5"}


def text(amount: Decimal | str) -> str:
    """An amount as the app writes it: exact, without idle zeros."""
    found = f"{Decimal(amount):f}"
    return found.rstrip("0").rstrip(".") if "." in found else found


@dataclass(frozen=True)
class Vendor:
    """A simulated vendor as its own clients see it, with the seed's credentials."""

    service: Service
    auth: tuple[str, str] | None = None
    headers: dict[str, str] | None = None

    def says(self, path: str, **params: Any) -> Any:
        """The answer; its numbers are exact."""
        answer = self.service.http.get(path, auth=self.auth, headers=self.headers, params=params)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.content, parse_float=Decimal)


@pytest.fixture(scope="module")
def bank(teller: Service, seed: Seed) -> Vendor:
    return Vendor(teller, auth=(seed.token, ""))


@pytest.fixture(scope="module")
def broker(alpaca: Service, seed: Seed) -> Vendor:
    return Vendor(alpaca, headers={"APCA-API-KEY-ID": seed.key_id, "APCA-API-SECRET-KEY": seed.secret})


@dataclass(frozen=True)
class Linked:
    """The user's two connections, synced; and what the broker said before: a close may come at any time."""

    bank: str
    broker: str
    brokerage: dict[str, Any]
    positions: Rows

    def of(self, connection: str, rows: Rows) -> Rows:
        return [row for row in rows if row["connection_id"] == connection]


@pytest.fixture(scope="module")
def linked(app: Service, broker: Vendor, seed: Seed) -> Linked:
    before = broker.says("/v2/account"), broker.says("/v2/positions")
    ids = {vendor: link(app, vendor, seed) for vendor in DATASETS}
    for vendor, connection in ids.items():
        synced(app, connection, DATASETS[vendor])
    return Linked(ids["teller"], ids["alpaca"], *before)


def link(app: Service, vendor: str, seed: Seed) -> str:
    provider, secrets = LINKS[vendor]
    answer = app.post("/connections", {"provider": provider, "secrets": secrets(seed)})
    assert answer.keys() == {"connection_id", "provider", "state"}
    assert (answer["provider"], answer["state"]) == (vendor, "active")
    connection: str = answer["connection_id"]
    return connection


def synced(app: Service, connection: str, datasets: set[str]) -> Rows:
    """The connection's streams, once each of `datasets` was synced with success."""

    def own(rows: Rows) -> Rows:
        return [row for row in rows if row["connection_id"] == connection]

    def all_there(rows: Rows) -> bool:
        return {row["dataset"] for row in own(rows) if row["last_success_at"]} >= datasets

    return own(app.wait_for("/status", all_there, f"{', '.join(sorted(datasets))} of {connection}"))


def test_a_refused_link_says_why_without_the_secret(app: Service, seed: Seed) -> None:
    body = {"provider": "banking:teller", "secrets": {"acces_token": seed.token}}
    assert "access_token" in app.post("/connections", body, status=422)["detail"]
    refused = app.post("/connections", {**body, "provider": "banking:nowhere"}, status=422)
    assert refused["code"] == "usage"
    assert "teller" in refused["detail"]


def test_accounts_are_those_of_the_vendors(app: Service, bank: Vendor, broker: Vendor, linked: Linked) -> None:
    rows = app.get("/accounts")
    shown = {(row["account_id"], row["name"], row["mask"], row["kind"], row["subkind"]) for row in rows}
    brokers = broker.says("/v2/account")
    assert shown == {
        ("acc_a0_checking", "Everyday Checking", "7346", "depository", "checking"),
        ("acc_a0_savings", "Rainy Day Savings", "3528", "depository", "savings"),
        ("acc_a0_card", "Platinum Card", "7857", "credit", "credit_card"),
        (brokers["id"], None, brokers["account_number"][-4:], "investment", "brokerage"),
    }
    assert {(row["status"], row["currency"]) for row in rows} == {("open", "USD")}
    assert {row["account_id"] for row in linked.of(linked.bank, rows)} == {row["id"] for row in bank.says("/accounts")}
    assert [row["account_id"] for row in linked.of(linked.broker, rows)] == [brokers["id"]]


def test_balances_are_exact_and_owed_money_is_negative(
    app: Service, bank: Vendor, broker: Vendor, linked: Linked
) -> None:
    shown = {row["account_id"]: row for row in app.get("/balances")}
    assert len(shown) == 4
    brokerage = broker.says("/v2/account")
    at_broker = shown.pop(brokerage["id"])
    assert at_broker["cash"] == text(brokerage["cash"])
    assert at_broker["current"] in {text(said["equity"]) for said in (linked.brokerage, brokerage)}
    for account_id, row in shown.items():
        said = bank.says(f"/accounts/{account_id}/balances")
        owed = -1 if account_id.endswith("_card") else 1
        assert row["current"] == text(owed * Decimal(said["ledger"])), account_id
        assert row["available"] == text(said["available"]), account_id
    assert shown["acc_a0_card"]["current"].startswith("-")


def test_transactions_are_exact_and_spending_is_negative(app: Service, bank: Vendor, linked: Linked) -> None:
    shown = app.get("/transactions")
    expected = {}
    for account in bank.says("/accounts"):
        sign = -1 if account["type"] == "credit" else 1
        for row in bank.says(f"/accounts/{account['id']}/transactions"):
            amount = text(sign * Decimal(row["amount"]))
            expected[account["id"], row["id"]] = (amount, row["date"], row["status"], row["description"])
    assert len(expected) > 40
    assert len(shown) == len(expected)
    assert {
        (row["account_id"], row["transaction_id"]): (
            row["amount"], row["booked_on"], row["status"], row["description"]
        )
        for row in shown
    } == expected  # fmt: skip

    purchases = [row for row in shown if row["category"] in {"groceries", "dining", "fuel", "phone", "shopping"}]
    assert {row["account_id"] for row in purchases} == {"acc_a0_checking", "acc_a0_card"}
    assert all(row["amount"].startswith("-") for row in purchases)
    of_pay = {row["amount"] for row in shown if row["description"] == "Acme Payroll"}
    to_card = {(row["account_id"], row["amount"]) for row in shown if row["type"] == "payment"}
    assert of_pay == {"1850"}
    assert to_card == {("acc_a0_checking", "-240"), ("acc_a0_card", "240")}
    [pending] = [row for row in shown if row["status"] == "pending"]
    assert (pending["transaction_id"], pending["amount"]) == ("txn_a0_pending", "-27.8")


def test_holdings_are_exact(app: Service, broker: Vendor, linked: Linked) -> None:
    shown = {row["instrument"]: row for row in app.get("/holdings")}
    assert {key: row["quantity"] for key, row in shown.items()} == QUANTITIES
    now = {f"us:{row['symbol']}": row for row in broker.says("/v2/positions")}
    before = {f"us:{row['symbol']}": row for row in linked.positions}
    assert now.keys() == shown.keys()
    for key, row in shown.items():
        assert row["cost_basis"] == text(now[key]["cost_basis"]), key
        assert row["currency"] == "USD"
        said = {(text(p["current_price"]), text(p["market_value"])) for p in (before[key], now[key])}
        assert (row["price"], row["market_value"]) in said, key


def test_prices_are_exact_and_on_trading_sessions_only(app: Service, broker: Vendor, linked: Linked) -> None:
    shown = app.get("/prices")
    assert {row["instrument"] for row in shown} == set(QUANTITIES)
    days = sorted({row["session"] for row in shown})
    sessions = {row["date"] for row in broker.says("/v2/calendar", start=days[0], end=days[-1])}
    for instrument in QUANTITIES:  # no weekend, no holiday, no hole
        assert {row["session"] for row in shown if row["instrument"] == instrument} == sessions, instrument
    assert len(sessions) > 240
    assert all(date.fromisoformat(day).weekday() < 5 for day in days)
    assert {"2025-12-25", "2026-01-01", "2026-07-03", "2026-11-26"} & set(days) == set()

    final = {(row["instrument"], row["session"]): row for row in shown if row["state"] == "final"}
    said = bars(broker, days[0], days[-1])
    assert len(final) >= len(said) - 2 * len(QUANTITIES)  # the newest may still be provisional
    for key, row in final.items():
        bar = said[key]
        assert [row[name] for name in ("open", "high", "low", "close", "volume")] == [
            text(bar[name]) for name in ("o", "h", "l", "c", "v")
        ], key
    assert {(row["basis"], row["currency"], row["provider"]) for row in shown} == {("raw", "USD", "alpaca")}
    assert app.get("/prices", params={"instrument": "us:KO"}) == [row for row in shown if row["instrument"] == "us:KO"]


def bars(broker: Vendor, since: str, until: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The broker's daily bars by instrument and session; a bar is stamped with midnight in New York."""
    symbols = ",".join(key.removeprefix("us:") for key in QUANTITIES)
    # the last bar's own stamp: a day as the end would reach into what the free plan may not ask for yet
    end = datetime.combine(date.fromisoformat(until), time(), ZoneInfo("America/New_York")).astimezone(UTC)
    params = {
        "symbols": symbols, "timeframe": "1Day", "start": since, "end": end.isoformat().replace("+00:00", "Z"),
        "adjustment": "raw",
    }  # fmt: skip
    found: dict[tuple[str, str], dict[str, Any]] = {}
    while True:
        page = broker.says("/v2/stocks/bars", **params)
        for symbol, rows in page["bars"].items():
            found |= {(f"us:{symbol}", bar["t"][:10]): bar for bar in rows}
        if not page["next_page_token"]:
            return found
        params["page_token"] = page["next_page_token"]


def test_every_stream_is_fresh(app: Service, linked: Linked) -> None:
    streams = app.get("/status")
    for connection, vendor in ((linked.bank, "teller"), (linked.broker, "alpaca")):
        states = {row["dataset"]: row["state"] for row in linked.of(connection, streams)}
        assert states == dict.fromkeys(DATASETS[vendor], "ok")
    newest = {row["dataset"]: row["newest_row"] for row in streams if row["dataset"] in ("transactions", "prices")}
    assert newest["transactions"][:10] == max(row["booked_on"] for row in app.get("/transactions"))
    assert newest["prices"][:10] == max(row["session"] for row in app.get("/prices"))


def test_another_user_sees_none_of_it(app: Service, linked: Linked) -> None:
    for path in ("/accounts", "/balances", "/transactions", "/holdings", "/prices", "/status"):
        assert app.http.get(path, headers={"x-user": "lin"}).json() == [], path
    assert app.http.get("/accounts", headers={"x-user": ""}).status_code == 401


def test_no_answer_held_a_secret(app: Service, seed: Seed, linked: Linked) -> None:
    assert len(app.answers) > 8
    assert [answer[:200] for answer in app.answers for secret in seed.credentials if secret in answer] == []
