"""Every Teller sample of the shared collection: checked rows, or the code it stands for. One line per file."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.datasets.base import Built
from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import CODES, FinInfraError
from fin_infra.providers import resolve

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/teller/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
CREDIT = {"account_kind": "credit", "currency": "USD"}
CHECKING = {"account_kind": "depository", "currency": "USD"}

EXPECTED: dict[str, tuple[str, dict[str, str], int | str]] = {
    # file: (dataset asked for, context, number of rows or error code)
    "rec_accounts.json": ("accounts", {}, 3),
    "rec_account_credit.json": ("accounts", {}, 1),
    "rec_balances_credit.json": ("balances", CREDIT, 1),
    "rec_transactions_credit_newest80.json": ("transactions", CREDIT, 80),
    "rec_details_404.json": ("accounts", {}, "not_found"),
    "rec_root.json": ("accounts", {}, "contract_broken"),
    "doc_balances_checking.json": ("balances", CHECKING, 1),
    "doc_transaction_atm.json": ("transactions", CREDIT, 1),
    "doc_details_checking.json": ("accounts", {}, "contract_broken"),
    "doc_identity.json": ("accounts", {}, "contract_broken"),
    "doc_institutions.json": ("accounts", {}, "contract_broken"),
    "derived_depository_page_pending.json": ("transactions", CHECKING, 3),
    "derived_depository_page_posted.json": ("transactions", CHECKING, 3),
    "error_400_missing_certificate.json": ("accounts", {}, "bad_request"),
    "error_401_no_token.json": ("accounts", {}, "auth_invalid"),
    "error_403_revoked_token.json": ("accounts", {}, "auth_invalid"),
    "error_404_details_verification_expired.json": ("accounts", {}, "reauth_required"),
    "error_404_details_verification_pending.json": ("accounts", {}, "not_ready"),
    "error_404_enrollment_mfa_required.json": ("transactions", CREDIT, "reauth_required"),
    "error_404_enrollment_not_healthy.json": ("transactions", CREDIT, "reauth_required"),
    "error_410_account_closed.json": ("transactions", CREDIT, "account_closed"),
    "error_429_rate_limited.json": ("transactions", CREDIT, "rate_limited"),
    "error_502_institution_unavailable.json": ("transactions", CREDIT, "vendor_unavailable"),
    "webhook_enrollment_disconnected.json": ("transactions", CREDIT, "contract_broken"),
    "webhook_test.json": ("transactions", CREDIT, "contract_broken"),
    "webhook_transactions_processed.json": ("transactions", CREDIT, "contract_broken"),
}


def built_from(file: str, dataset: str, context: dict[str, str]) -> Built:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("banking:teller"), dataset, [answer], context)


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == set(INDEX)


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_sample_gives_its_rows_or_its_code(file: str) -> None:
    dataset, context, expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            built_from(file, dataset, context)
        assert caught.value.code == expected
    else:
        built = built_from(file, dataset, context)
        assert (built.good.height, built.rejects) == (expected, ())


def test_recorded_transactions_are_exact_and_signed_for_the_holder() -> None:
    raw = json.loads((SAMPLES / "rec_transactions_credit_newest80.json").read_text())
    frame = built_from("rec_transactions_credit_newest80.json", "transactions", CREDIT).good
    assert frame["transaction_id"].to_list() == [row["id"] for row in raw]
    assert frame["amount"].to_list() == [-Decimal(row["amount"]) for row in raw]
    assert frame["status"].cast(str).to_list() == [row["status"] for row in raw]
    assert frame.filter(status="pending")["transaction_id"].to_list() == ["txn_oj0t0gfqpvj7favgn8000"]
    purchases = frame.filter(type="card_payment")["amount"].to_list()
    assert all(amount < 0 for amount in purchases)
    credits = frame.filter(type="credit")["amount"].to_list()
    assert credits
    assert all(amount > 0 for amount in credits)
    assert [str(day) for day in frame["booked_on"]] == [row["date"] for row in raw]


def test_recorded_balances_of_a_card_are_what_is_owed() -> None:
    [row] = built_from("rec_balances_credit.json", "balances", CREDIT).good.to_dicts()
    assert (row["current"], row["available"], row["credit_limit"]) == (Decimal("-4698.93"), Decimal("301.07"), None)
    assert row["as_of"].isoformat() == "2023-07-23T16:42:06+00:00"


def test_recorded_accounts_keep_the_vendors_words() -> None:
    rows = built_from("rec_accounts.json", "accounts", {}).good.to_dicts()
    assert [(r["kind"], r["subkind"], r["mask"], r["institution"]) for r in rows] == [
        ("credit", "credit_card", "7857", "Security Credit Union"),
        ("depository", "checking", "7346", "Security Credit Union"),
        ("depository", "savings", "3528", "Security Credit Union"),
    ]
