"""Every MX sample of the shared collection: checked rows, or the code it stands for. One line per file."""

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
from fin_infra.providers.mx import wire

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/mx/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
BROKEN = "contract_broken"

EXPECTED: dict[str, tuple[str, int | str]] = {
    # file: (dataset asked for, number of rows or error code)
    "doc_institutions.json": ("accounts", BROKEN),
    "doc_institutions_institution_code.json": ("accounts", BROKEN),
    "doc_users.json": ("accounts", BROKEN),
    "doc_users_user_guid_accounts_account_guid.json": ("accounts", 1),
    "doc_users_user_guid_accounts_account_guid_transactions.json": ("transactions", 1),
    "doc_users_user_guid_investment_holdings.json": ("holdings", 1),
    "doc_users_user_guid_investment_holdings_holding_guid.json": ("holdings", 1),
    "doc_users_user_guid_members_member_guid_investment_holdings.json": ("holdings", 1),
    "doc_users_user_guid_transactions_transaction_guid.json": ("transactions", 1),
    "doc_users_user_identifier.json": ("accounts", BROKEN),
    "doc_users_user_identifier_accounts.json": ("balances", 1),
    "doc_users_user_identifier_members.json": ("accounts", BROKEN),  # members feed no dataset; see below
    "doc_users_user_identifier_members_member_identifier.json": ("accounts", BROKEN),
    "doc_users_user_identifier_members_member_identifier_accounts.json": ("accounts", 1),
    "doc_users_user_identifier_members_member_identifier_aggregate_202.json": ("accounts", BROKEN),
    "doc_users_user_identifier_members_member_identifier_status.json": ("accounts", BROKEN),
    "doc_users_user_identifier_members_member_identifier_transactions.json": ("transactions", 1),
    "doc_users_user_identifier_transactions.json": ("transactions", 1),
    "error_400_institution_maintenance.json": ("accounts", "vendor_unavailable"),
    "error_401_unauthorized.json": ("accounts", "auth_invalid"),
    "error_404_not_found.json": ("accounts", "not_found"),
    "error_409_conflict.json": ("accounts", "not_ready"),
    "error_429_too_many_requests.json": ("accounts", "rate_limited"),
    # decoded verifiable credentials of the /vc/ paths, in FDX's words: another shape, which is not read
    "rec_vc_accounts_fdx.json": ("accounts", BROKEN),
    "rec_vc_transactions_fdx_a.json": ("transactions", BROKEN),
}


def built_from(file: str, dataset: str) -> Built:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("banking:mx"), dataset, [answer], {})


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == set(INDEX)


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_sample_gives_its_rows_or_its_code(file: str) -> None:
    dataset, expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            built_from(file, dataset)
        assert caught.value.code == expected
    else:
        built = built_from(file, dataset)
        assert (built.good.height, built.rejects) == (expected, ())


def test_a_documented_transaction_is_exact() -> None:
    [row] = built_from("doc_users_user_identifier_transactions.json", "transactions").good.to_dicts()
    assert (row["amount"], row["status"], row["type"], row["merchant"]) == (Decimal("61.11"), "posted", "CREDIT", "MX")
    assert (str(row["booked_on"]), str(row["authorized_on"]), row["occurred_at"]) == ("2024-12-20", "2024-12-20", None)


def test_a_documented_account_and_position_keep_the_vendors_words() -> None:
    [row] = built_from("doc_users_user_identifier_members_member_identifier_accounts.json", "accounts").good.to_dicts()
    assert (row["kind"], row["subkind"], row["mask"], row["name"]) == (
        "depository", "money_market", "1261", "My Checking",
    )  # fmt: skip
    [held] = built_from("doc_users_user_guid_investment_holdings.json", "holdings").good.to_dicts()
    assert (held["instrument"], held["quantity"], held["cost_basis"]) == ("us:DEF", 5000, 827)


@pytest.mark.parametrize("file", [name for name in sorted(INDEX) if name.split("_")[-1] in ("members.json",)])
def test_members_are_read(file: str) -> None:
    [row] = wire.members((SAMPLES / file).read_bytes()).rows
    assert row["connection_status"] == "CONNECTED"
