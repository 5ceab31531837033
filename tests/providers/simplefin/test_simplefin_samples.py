"""Every SimpleFIN sample of the shared collection: checked rows, or the code it stands for. One line per file."""

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

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/simplefin/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}

EXPECTED: dict[str, dict[str, int] | str] = {
    # file: rows by dataset, or error code
    "doc_account_set_v1.json": {"accounts": 1, "balances": 1, "holdings": 0, "transactions": 1},
    "doc_account_set_v2_errlist.json": {"accounts": 1, "balances": 1, "holdings": 0, "transactions": 0},
    "doc_custom_currency.json": "contract_broken",  # is never asked for
    "doc_info.json": "contract_broken",
    "rec_402.json": "permission_denied",
    "rec_403.html": "auth_invalid",
    "rec_accounts_200_with_errors.json": {"accounts": 8, "balances": 8, "holdings": 2, "transactions": 1},
    "rec_accounts_v2_demo.json": {"accounts": 2, "balances": 2, "holdings": 0, "transactions": 4},
}


def built_from(file: str, dataset: str) -> Built:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("banking:simplefin"), dataset, [answer], {})


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == set(INDEX)


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_sample_gives_its_rows_or_its_code(file: str) -> None:
    expected = EXPECTED[file]
    for dataset in ("accounts", "balances", "holdings", "transactions"):
        if isinstance(expected, str):
            assert expected in CODES
            with pytest.raises(FinInfraError) as caught:
                built_from(file, dataset)
            assert caught.value.code == expected
        else:
            built = built_from(file, dataset)
            assert (built.good.height, built.rejects) == (expected[dataset], ())


def test_recorded_accounts_and_holdings_are_told_honestly() -> None:
    file = "rec_accounts_200_with_errors.json"
    kinds = {row["name"]: row["kind"] for row in built_from(file, "accounts").good.to_dicts()}
    assert kinds == {
        "The Bank": "other", "My Checking": "depository", "PRIME SAVINGS": "depository",
        "Costco Anywhere Visa® Card": "credit", "Dr Evil": "investment", "NerdCorp Series B": "investment",
        "Unicorn Pot": "other", "Castle Mortgage": "loan",
    }  # fmt: skip
    balances = built_from(file, "balances").good.to_dicts()
    assert sorted(str(row["current"].normalize()) for row in balances)[0] == "-532.69"
    assert balances[0]["as_of"].timestamp() == 1705413843
    held = built_from(file, "holdings").good.to_dicts()
    assert [(row["instrument"], row["quantity"], row["cost_basis"], row["currency"]) for row in held] == [
        ("us:FGKFX", 200, 10000, "USD"), ("simplefin:FGKFX", 150, 7500, "EUR"),
    ]  # fmt: skip


def test_a_recorded_pending_row_has_the_day_of_its_purchase() -> None:
    rows = built_from("rec_accounts_v2_demo.json", "transactions").good.to_dicts()
    raw = json.loads((SAMPLES / "rec_accounts_v2_demo.json").read_text())
    told = [Decimal(row["amount"]) for account in raw["accounts"] for row in account["transactions"]]
    assert [row["amount"] for row in rows] == told
    pending = next(row for row in rows if row["transaction_id"] == "c-2")
    assert (pending["status"], str(pending["booked_on"])) == ("pending", "2026-10-03")
