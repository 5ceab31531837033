"""Every SnapTrade sample of the shared collection: checked rows, rejects with their reason, or the code it stands for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError, WebhookRefused, WireError
from fin_infra.providers import resolve
from fin_infra.providers.base import Follows
from fin_infra.providers.snaptrade.quota import throttle
from fin_infra.providers.snaptrade.signing import canonical, proof, signature
from fin_infra.providers.snaptrade.webhooks import WEBHOOKS
from fin_infra.providers.snaptrade.wire import moment, transactions_at

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/snaptrade/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
DATASETS = ("accounts", "balances", "holdings", "activities")


@dataclass(frozen=True)
class Rejected:
    """Rows of the right shape that are none of ours: a reason each."""

    reasons: list[str]


def held(instrument: str, quantity: str, price: str, value: str, basis: str, size: str = "1") -> dict[str, Any]:
    return {
        "account_id": "acc", "instrument": instrument, "quantity": Decimal(quantity), "multiplier": Decimal(size),
        "price": Decimal(price), "market_value": Decimal(value), "cost_basis": Decimal(basis), "currency": "USD",
    }  # fmt: skip


def did(
    activity_id: str, instrument: str, traded: str, settled: str, quantity: str, price: str, amount: str
) -> dict[str, Any]:
    return {
        "account_id": "acc", "activity_id": activity_id, "kind": "buy", "instrument": instrument,
        "quantity": Decimal(quantity), "price": Decimal(price), "fees": Decimal(0), "amount": Decimal(amount),
        "currency": "USD", "traded_on": date.fromisoformat(traded), "settled_on": date.fromisoformat(settled),
    }  # fmt: skip


def cash(amount: str, total: str | None = None) -> dict[str, Any]:
    """`available` is null: the buying power may be borrowed."""
    return {
        "account_id": "acc", "currency": "USD", "cash": Decimal(amount), "current": total, "available": None,
        "credit_limit": None,
    }  # fmt: skip


ACC = {"account_id": "acc"}
NAMELESS = Rejected(["account_id is missing"])  # the derived examples have {} for an id
Expected = str | list[dict[str, Any]] | Rejected

EXPECTED: dict[str, tuple[str, dict[str, str], Expected]] = {
    # file: (dataset asked for, context, rows, rejects or error code)
    "fix_accounts_fidelity.json": (
        "accounts", {},
        [{"account_id": "acct-1", "institution": "Fidelity", "name": "Individual", "mask": None, "kind": "investment",
          "subkind": None, "currency": "USD", "status": "open", "history_complete": None}],
    ),
    "doc_accounts.json": ("accounts", {}, NAMELESS),
    "doc_accounts_accountId.json": ("accounts", {}, NAMELESS),
    "doc_authorizations_authorizationId_accounts.json": ("accounts", {}, NAMELESS),
    "doc_connections_connectionId_accounts.json": ("accounts", {}, NAMELESS),
    "fix_balances.json": ("balances", ACC, [cash("1000")]),
    "doc_accounts_accountId_balances.json": ("balances", ACC, [cash("300.71")]),
    "fix_positions_all.json": (  # without SPAXX, a cash equivalent
        "holdings", ACC,
        [
            held("us:AAPL", "20", "230", "4600", "3000"),
            held("us:VOO", "0.5", "600", "300", "250"),
            held("opt:XYZ:2028-12-15:C:50", "2", "0.55", "110", "250", "100"),
        ],
    ),
    "doc_accounts_accountId_positions_all.json": (
        "holdings", ACC, [held("us:AAPL", "10.5", "123.45", "1296.225", "1241.1")]
    ),
    "fix_activities_page.json": (
        "activities", ACC,
        [
            did("a1", "us:AAPL", "2024-07-01", "2024-07-02", "1", "200", "-200"),
            did("a2", "opt:ABC:2026-12-18:C:45", "2024-07-01", "2024-07-02", "1", "200", "-200"),
        ],
    ),
    "doc_accounts_accountId_activities.json": (
        "activities", ACC,
        [did("2f7dc9b3-5c33-4668-3440-2b31e056ebe6", "opt:AAPL:2026-12-18:C:240", "2024-03-22", "2024-03-26", "5.2",
             "0.4", "263.82")],
    ),
    # refusals
    "doc_accounts_accountId_balances_503.json": ("balances", {}, "vendor_unavailable"),
    "doc_accounts_accountId_holdings_400.json": ("holdings", {}, "bad_request"),
    "doc_accounts_accountId_holdings_403.json": ("holdings", {}, "permission_denied"),
    "doc_accounts_accountId_holdings_425.json": ("holdings", {}, "not_ready"),
    "doc_accounts_accountId_holdings_503.json": ("holdings", {}, "vendor_unavailable"),
    "doc_authorizations_authorizationId_refresh_401.json": ("accounts", {}, "auth_invalid"),
    "doc_authorizations_authorizationId_refresh_402.json": ("accounts", {}, "reauth_required"),
    "doc_authorizations_authorizationId_refresh_403.json": ("accounts", {}, "permission_denied"),
    "doc_authorizations_authorizationId_refresh_404.json": ("accounts", {}, "not_found"),
    "doc_authorizations_authorizationId_refresh_429.json": ("accounts", {}, "rate_limited"),
    "error_401_signature.json": ("accounts", {}, "auth_invalid"),
    "error_401_user_secret.json": ("accounts", {}, "auth_invalid"),
    "error_429_throttled.json": ("activities", {}, "rate_limited"),
}  # fmt: skip

WEBHOOK_FILES = {name for name in INDEX if name.startswith("webhook_")}
NEVER_READ = WEBHOOK_FILES | {
    "doc_accounts_accountId_balanceHistory.json", "doc_accounts_accountId_holdings.json",
    "doc_accounts_accountId_orders.json", "doc_authorizations.json", "doc_authorizations_authorizationId.json",
    "doc_authorizations_authorizationId_refresh.json", "doc_brokerages.json", "doc_snapTrade_login.json",
    "doc_snapTrade_partners.json", "doc_snapTrade_registerUser.json", "doc_sync_status.json", "signature_vectors.json",
}  # fmt: skip
"""Answers of which no dataset is made: whatever is asked of them, none may pass for rows."""
ANNOUNCING = {"doc_accounts_accountId_activities.json"}
"""Answers that say that there is a page behind them."""
ALSO = {"accounts": {"accounts", "balances"}}
"""A list of accounts says what each is worth too."""
STRANGERS = [
    (file, dataset)
    for file, row in sorted(INDEX.items())
    for dataset in DATASETS
    if row["status"] == 200 and (file in NEVER_READ or dataset not in ALSO.get(EXPECTED[file][0], {EXPECTED[file][0]}))
]


def replayed(file: str, dataset: str, context: dict[str, str]) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("brokerage:snaptrade"), dataset, [answer], context)


def test_the_table_names_every_sample() -> None:
    on_disk = {path.name for path in SAMPLES.glob("*.json")} - {"INDEX.json"}
    assert set(EXPECTED) | NEVER_READ == on_disk == set(INDEX)
    assert not set(EXPECTED) & NEVER_READ
    assert len(on_disk) == 52


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_a_sample_gives_its_rows_its_rejects_or_its_code(file: str) -> None:
    dataset, context, expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            replayed(file, dataset, context)
        assert caught.value.code == expected
        return
    found = replayed(file, dataset, context)
    rows, reasons = ([], expected.reasons) if isinstance(expected, Rejected) else (expected, [])
    assert [{name: row[name] for name in want} for row, want in zip(found.good.to_dicts(), rows, strict=True)] == rows
    assert [reject.reason for reject in found.rejects] == reasons
    assert found.differing == ()
    assert found.announced == (file in ANNOUNCING)


@pytest.mark.parametrize(("file", "dataset"), STRANGERS)
def test_an_answer_of_another_endpoint_is_a_broken_contract_never_rows(file: str, dataset: str) -> None:
    with pytest.raises(WireError) as caught:
        replayed(file, dataset, ACC)
    assert caught.value.code == "contract_broken"


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("file", sorted(file for file, row in INDEX.items() if row["status"] != 200))
def test_a_refusal_is_the_same_whichever_dataset_was_asked_for(file: str, dataset: str) -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed(file, dataset, {})
    assert caught.value.code == EXPECTED[file][2]


def test_a_list_of_accounts_says_what_each_is_worth() -> None:
    [row] = replayed("fix_accounts_fidelity.json", "balances", {}).good.to_dicts()
    assert (row["account_id"], row["currency"], row["current"], row["cash"]) == ("acct-1", "USD", 6010, None)
    assert row["as_of"] == datetime(2026, 10, 6, 20, 19, 15, 909815, UTC)


def test_the_wrong_signature_is_the_applications_and_the_wrong_secret_the_users() -> None:
    for file, ours in (("error_401_signature.json", True), ("error_401_user_secret.json", False),
                       ("doc_authorizations_authorizationId_refresh_401.json", True)):  # fmt: skip
        with pytest.raises(FinInfraError) as caught:
            replayed(file, "accounts", {})
        assert caught.value.context.get("application") == ours


def test_a_brokerage_that_fails_is_not_the_vendor_as_a_whole() -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed("doc_accounts_accountId_balances_503.json", "balances", {})
    assert getattr(caught.value, "vendor_wide", None) is False


def test_the_wait_of_a_429_stands_in_its_text() -> None:
    body = (SAMPLES / "error_429_throttled.json").read_bytes()
    assert throttle((429, {}, body, datetime(2026, 11, 24, tzinfo=UTC))).wait == 7.0


def test_the_dates_of_a_sync_are_a_day_and_an_instant_with_a_blank() -> None:
    status = json.loads((SAMPLES / "doc_sync_status.json").read_text())
    at = datetime(2026, 11, 24, tzinfo=UTC)
    assert transactions_at(status, at) == datetime(2022, 1, 25, tzinfo=UTC)
    assert transactions_at(status, datetime(2022, 1, 24, 12, tzinfo=UTC)) == datetime(2022, 1, 24, 12, tzinfo=UTC)
    said = status["sync_status"]["holdings"]["last_successful_sync"]
    assert moment(said) == datetime(2024, 6, 28, 18, 42, 46, 561408, UTC)


def test_the_recorded_signatures_are_ours() -> None:
    vectors = json.loads((SAMPLES / "signature_vectors.json").read_text())["vectors"]
    assert len(vectors) == 2
    for vector in vectors:
        made = signature(vector["consumerKey"], vector["path"], vector["query"], vector["content"])
        assert made == vector["signature"]


@pytest.mark.parametrize("file", sorted(WEBHOOK_FILES))
def test_a_webhook_is_believed_with_its_proof_alone_and_leads_to_something_we_know(file: str) -> None:
    said = json.loads((SAMPLES / file).read_text())
    body = json.dumps(said, indent=1).encode()  # spaces and order are not what is signed
    at = datetime.fromisoformat(said["eventTimestamp"])
    headers = {"signature": proof("key", canonical(said))}
    event = WEBHOOKS.verify(headers, body, ["old", "key"], at + timedelta(seconds=300))
    assert (event.name, event.at) == (said["eventType"], at)
    assert isinstance(WEBHOOKS.events[event.name], Follows)
    about = said.get("accountId") if event.name != "NEW_ACCOUNT_AVAILABLE" else None
    expected = ((about,), None) if about else ((), said.get("brokerageAuthorizationId"))
    assert (event.accounts, event.login) == expected
    for keys, moment_ in (
        (["other"], at), ([], at), (["key"], at + timedelta(seconds=301)), (["key"], at - timedelta(seconds=31)),
    ):  # fmt: skip
        with pytest.raises(WebhookRefused):
            WEBHOOKS.verify(headers, body, keys, moment_)
    with pytest.raises(WebhookRefused):
        WEBHOOKS.verify(headers, body.replace(b"2", b"3"), ["key"], at)
