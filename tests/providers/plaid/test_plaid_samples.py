"""Every Plaid sample of the shared collection: checked rows, or the code it stands for. One line per file."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.datasets.base import Built
from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.plaid import wire

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/plaid/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}

EXPECTED: dict[str, tuple[str, int | str]] = {
    # file: (dataset asked for, number of rows or error code); `webhook`: what its body says
    "doc_accounts_balance_get.json": ("balances", 3),
    "doc_accounts_get.json": ("accounts", 3),
    "doc_institutions_get_by_id.json": ("accounts", "contract_broken"),
    "doc_investments_holdings_get.json": ("holdings", 7),
    "doc_investments_refresh.json": ("holdings", "contract_broken"),
    "doc_investments_transactions_get.json": ("activities", 3),
    "doc_item_access_token_invalidate.json": ("accounts", "contract_broken"),
    "doc_item_get.json": ("accounts", "contract_broken"),
    "doc_item_get_with_error.json": ("accounts", "reauth_required"),
    "doc_item_public_token_exchange.json": ("accounts", "contract_broken"),
    "doc_item_remove.json": ("accounts", "contract_broken"),
    "doc_item_webhook_update.json": ("accounts", "contract_broken"),
    "doc_liabilities_get.json": ("accounts", 4),
    "doc_sandbox_item_fire_webhook.json": ("accounts", "contract_broken"),
    "doc_sandbox_item_reset_login.json": ("accounts", "contract_broken"),
    "doc_sandbox_public_token_create.json": ("accounts", "contract_broken"),
    "doc_sandbox_transactions_create.json": ("transactions", "contract_broken"),
    "doc_sandbox_transactions_create_invalid_dates_400.json": ("transactions", "bad_request"),
    "doc_sandbox_transactions_create_too_many_transactions_400.json": ("transactions", "bad_request"),
    "doc_transactions_get.json": ("transactions", 2),
    "doc_transactions_recurring_get.json": ("transactions", "contract_broken"),
    "doc_transactions_refresh.json": ("transactions", "contract_broken"),
    "doc_transactions_sync.json": ("transactions", 2),
    "doc_webhook_verification_key_get.json": ("accounts", "contract_broken"),
    "error_400_INSTITUTION_DOWN.json": ("accounts", "vendor_unavailable"),
    "error_400_INVALID_ACCESS_TOKEN.json": ("accounts", "auth_invalid"),
    "error_400_INVALID_API_KEYS.json": ("accounts", "auth_invalid"),
    "error_400_ITEM_LOGIN_REQUIRED.json": ("transactions", "reauth_required"),
    "error_400_PRODUCT_NOT_READY.json": ("holdings", "not_ready"),
    "error_400_TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION.json": ("transactions", "mutation_during_pagination"),
    "error_429_ACCOUNTS_BALANCE_GET_LIMIT.json": ("balances", "rate_limited"),
    "error_429_ACCOUNTS_LIMIT.json": ("accounts", "rate_limited"),
    "error_429_INVESTMENT_TRANSACTIONS_LIMIT.json": ("activities", "rate_limited"),
    "error_429_ITEM_GET_LIMIT.json": ("accounts", "rate_limited"),
    "error_429_TRANSACTIONS_SYNC_LIMIT.json": ("transactions", "rate_limited"),
    "error_500_INTERNAL_SERVER_ERROR.json": ("accounts", "vendor_unavailable"),
    "rec_accounts_balance_get_2020.json": ("accounts", 5),
    "rec_accounts_get.json": ("accounts", 4),
    "rec_investments_holdings_get.json": ("holdings", 2),
    "rec_item_get.json": ("accounts", "contract_broken"),
    "rec_item_public_token_exchange.json": ("accounts", "contract_broken"),
    "rec_sandbox_public_token_create.json": ("accounts", "contract_broken"),
    "rec_transactions_get_2020_first.json": ("transactions", 46),
    "seed_custom_user_brokerage.json": ("holdings", "contract_broken"),
    "seed_custom_user_business.json": ("transactions", "contract_broken"),
    "seed_custom_user_checking_savings.json": ("transactions", "contract_broken"),
    "sync_flow_1_initial_page1.json": ("transactions", 2),
    "sync_flow_2_initial_page2.json": ("transactions", 1),
    "sync_flow_3_pending_posted.json": ("transactions", 2),
    "sync_flow_4_nothing_new.json": ("transactions", 0),
    "sync_not_ready.json": ("transactions", "not_ready"),
    "webhook_DefaultUpdateWebhook.json": ("webhook", "TRANSACTIONS DEFAULT_UPDATE"),
    "webhook_HistoricalUpdateWebhook.json": ("webhook", "TRANSACTIONS HISTORICAL_UPDATE"),
    "webhook_HoldingsDefaultUpdateWebhook.json": ("webhook", "HOLDINGS DEFAULT_UPDATE"),
    "webhook_InitialUpdateWebhook.json": ("webhook", "TRANSACTIONS INITIAL_UPDATE"),
    "webhook_InvestmentsDefaultUpdateWebhook.json": ("webhook", "INVESTMENTS_TRANSACTIONS DEFAULT_UPDATE"),
    "webhook_InvestmentsHistoricalUpdateWebhook.json": ("webhook", "INVESTMENTS_TRANSACTIONS HISTORICAL_UPDATE"),
    "webhook_ItemErrorWebhook.json": ("webhook", "ITEM ERROR"),
    "webhook_ItemLoginRepairedWebhook.json": ("webhook", "ITEM LOGIN_REPAIRED"),
    "webhook_LiabilitiesDefaultUpdateWebhook.json": ("webhook", "LIABILITIES DEFAULT_UPDATE"),
    "webhook_NewAccountsAvailableWebhook.json": ("webhook", "ITEM NEW_ACCOUNTS_AVAILABLE"),
    "webhook_PendingDisconnectWebhook.json": ("webhook", "ITEM PENDING_DISCONNECT"),
    "webhook_PendingExpirationWebhook.json": ("webhook", "ITEM PENDING_EXPIRATION"),
    "webhook_RecurringTransactionsUpdateWebhook.json": ("webhook", "TRANSACTIONS RECURRING_TRANSACTIONS_UPDATE"),
    "webhook_SyncUpdatesAvailableWebhook.json": ("webhook", "TRANSACTIONS SYNC_UPDATES_AVAILABLE"),
    "webhook_TransactionsRemovedWebhook.json": ("webhook", "TRANSACTIONS TRANSACTIONS_REMOVED"),
    "webhook_UserAccountRevokedWebhook.json": ("webhook", "ITEM USER_ACCOUNT_REVOKED"),
    "webhook_UserPermissionRevokedWebhook.json": ("webhook", "ITEM USER_PERMISSION_REVOKED"),
    "webhook_WebhookUpdateAcknowledgedWebhook.json": ("webhook", "ITEM WEBHOOK_UPDATE_ACKNOWLEDGED"),
}
ALL_DATASETS = ("accounts", "balances", "transactions", "holdings", "activities", "instruments")


def replayed(dataset: str, *files: str, **context: str) -> Replayed:
    answers = [Recorded((SAMPLES / file).read_bytes(), INDEX[file]["status"], INDEX[file]["headers"]) for file in files]
    return replay(resolve("banking:plaid"), dataset, answers, context)


def raw(file: str) -> Any:
    return json.loads((SAMPLES / file).read_text(), parse_float=Decimal, parse_int=Decimal)


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == set(INDEX)
    assert len(EXPECTED) == 69


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_sample_gives_its_rows_or_its_code(file: str) -> None:
    dataset, expected = EXPECTED[file]
    if dataset == "webhook":
        said = wire.webhook((SAMPLES / file).read_bytes())
        assert f"{said.webhook_type} {said.webhook_code}" == expected
        assert said.item_id
        for asked in ALL_DATASETS:
            with pytest.raises(FinInfraError) as caught:
                replayed(asked, file)
            assert caught.value.code == "contract_broken"
    elif isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            replayed(dataset, file)
        assert caught.value.code == expected
    else:
        built: Built = replayed(dataset, file)
        assert (built.good.height, built.rejects, built.differing) == (expected, (), ())


@pytest.mark.parametrize("file", [name for name, (what, _) in EXPECTED.items() if name.startswith("error_")])
@pytest.mark.parametrize("dataset", ALL_DATASETS)
def test_a_refusal_is_the_same_whatever_was_asked(file: str, dataset: str) -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed(dataset, file)
    assert caught.value.code == EXPECTED[file][1]
    assert getattr(caught.value, "retry_after", None) == (
        60 if caught.value.code in ("rate_limited", "not_ready") else None
    )


def test_an_institution_that_is_down_is_not_plaid_being_down() -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed("accounts", "error_400_INSTITUTION_DOWN.json")
    assert getattr(caught.value, "vendor_wide", None) is False


def test_recorded_accounts_and_balances_are_signed_for_the_holder() -> None:
    rows = replayed("accounts", "rec_accounts_get.json").good.to_dicts()
    assert [(r["kind"], r["subkind"], r["mask"], r["institution"], r["status"]) for r in rows] == [
        ("investment", "brokerage", "1122", "First Platypus Bank", "open"),
        ("credit", "credit_card", "1219", "First Platypus Bank", "open"),
        ("depository", "checking", "4243", "First Platypus Bank", "open"),
        ("loan", "student", "9572", "First Platypus Bank", "open"),
    ]
    found = replayed("balances", "rec_accounts_get.json").good.select("current", "cash", "available", "credit_limit")
    assert [tuple(None if v is None else str(v.normalize()) for v in row) for row in found.rows()] == [
        ("1E+4", None, "8E+3", None),
        ("-1E+3", None, "9372.38", "1.05E+4"),
        ("1E+4", None, "1E+4", None),
        ("-1.5E+4", None, "1.5E+4", None),
    ]


def test_recorded_holdings_leave_cash_to_the_balances() -> None:
    rows = replayed("holdings", "rec_investments_holdings_get.json").good.to_dicts()
    assert [(r["instrument"], r["quantity"], r["price"], r["market_value"], r["cost_basis"]) for r in rows] == [
        ("us:AAPL", 20, 100, 2000, 2000),
        ("plaid:7Dv19k16PZtEaexk6EZyFxP95o9ynrF4REalG", 5000, 1, 5000, 5000),
    ]
    [balance] = replayed("balances", "rec_investments_holdings_get.json").good.to_dicts()
    assert (balance["current"], balance["cash"], balance["currency"]) == (10000, 3000, "USD")
    assert sum(row["market_value"] for row in rows) + balance["cash"] == balance["current"]


def test_documented_holdings_have_honest_keys_units_and_bases() -> None:
    rows = replayed("holdings", "doc_investments_holdings_get.json").good.to_dicts()
    assert {r["instrument"]: (str(r["quantity"].normalize()), int(r["multiplier"]), r["cost_basis"]) for r in rows} == {
        "us:ACHN": ("1", 1, Decimal("1.5")),
        "us:DBLTX": ("2", 1, Decimal(10)),  # half the price as a total, the price itself per unit: within the bounds
        "opt:NFLX:2018-02-01:C:355": ("1E+2", 100, None),  # 10,000 units; the basis is per unit or of a great win
        "us:MIPTX": ("23.567", 1, None),
        "plaid:nnmo8doZ4lfKNEDe3mPJipLGkaGw3jfPrpxoN": ("100.05", 1, None),
        "cusip:912797HE0": ("1E+1", 1, Decimal("948.08")),
        "crypto:dogecoin": ("2.5E+4", 1, Decimal("92.47")),
    }
    worth = [(r["quantity"] * r["multiplier"] * r["price"], r["market_value"]) for r in rows]
    assert all(abs(product - said) < Decimal("0.01") for product, said in worth)
    cash = {
        r["account_id"]: r["cash"] for r in replayed("balances", "doc_investments_holdings_get.json").good.to_dicts()
    }
    assert sorted(filter(None, cash.values())) == [Decimal("0.01"), Decimal("12345.67")]
    named = replayed("instruments", "doc_investments_holdings_get.json").good
    assert dict(named.select("instrument", "kind").rows())["opt:NFLX:2018-02-01:C:355"] == "option"
    assert sorted(named["kind"].cast(str)) == ["bond", "crypto", "equity", "etf", "fund", "fund", "option"]


def test_documented_activities_are_signed_for_the_holder() -> None:
    rows = replayed("activities", "doc_investments_transactions_get.json").good.to_dicts()
    assert [(r["kind"], r["instrument"], r["quantity"], r["amount"], r["fees"], str(r["traded_on"])) for r in rows] == [
        ("dividend", "us:SBSI", None, Decimal("8.72"), 0, "2020-05-29"),
        ("sell", "us:MIPTX", Decimal("-47.74104242992852"), Decimal("1289.01"), Decimal("7.99"), "2020-05-28"),
        ("buy", "us:DBLTX", Decimal("0.7388014749727547"), Decimal("-7.70"), Decimal("7.99"), "2020-05-27"),
    ]


def test_recorded_transactions_are_exact_and_signed_for_the_holder() -> None:
    source = raw("rec_transactions_get_2020_first.json")["transactions"]
    built = replayed("transactions", "rec_transactions_get_2020_first.json")
    frame = built.good
    assert frame["transaction_id"].to_list() == [row["transaction_id"] for row in source]
    assert frame["amount"].to_list() == [-row["amount"] for row in source]
    assert [str(day) for day in frame["booked_on"]] == [row["date"] for row in source]
    assert set(frame["status"].cast(str)) == {"posted"}
    assert built.announced  # 46 of 170


def test_t03_the_flow_of_pages_leaves_one_row_for_a_purchase_that_posted() -> None:
    files = [
        f"sync_flow_{name}.json" for name in ("1_initial_page1", "2_initial_page2", "3_pending_posted", "4_nothing_new")
    ]
    built = replayed("transactions", *files)
    rows = {row["transaction_id"]: row for row in built.good.to_dicts()}
    assert sorted(rows) == ["t2", "t3", "t4"]
    assert (rows["t4"]["pending_transaction_id"], rows["t4"]["amount"], rows["t4"]["status"]) == ("t1", -15, "posted")
    assert rows["t3"]["amount"] == Decimal("-90.40")
    assert rows["t2"]["amount"] == 2500
    assert not built.announced
    assert replayed("transactions", files[0]).announced
