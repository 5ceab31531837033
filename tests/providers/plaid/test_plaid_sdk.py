"""The vendor's own client reads the simulator over real HTTP: what it decodes is what was scripted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import plaid
import pytest
from plaid.api.plaid_api import PlaidApi
from plaid.model.accounts_get_request import AccountsGetRequest
from plaid.model.country_code import CountryCode
from plaid.model.investments_holdings_get_request import InvestmentsHoldingsGetRequest
from plaid.model.investments_transactions_get_request import InvestmentsTransactionsGetRequest
from plaid.model.investments_transactions_get_request_options import InvestmentsTransactionsGetRequestOptions
from plaid.model.item_get_request import ItemGetRequest
from plaid.model.item_public_token_exchange_request import ItemPublicTokenExchangeRequest
from plaid.model.item_remove_request import ItemRemoveRequest
from plaid.model.link_token_create_request import LinkTokenCreateRequest
from plaid.model.link_token_create_request_user import LinkTokenCreateRequestUser
from plaid.model.products import Products
from plaid.model.sandbox_item_reset_login_request import SandboxItemResetLoginRequest
from plaid.model.sandbox_public_token_create_request import SandboxPublicTokenCreateRequest
from plaid.model.transactions_sync_request import TransactionsSyncRequest
from plaid.model.webhook_verification_key_get_request import WebhookVerificationKeyGetRequest

from fin_infra.providers.plaid.simulator import Fault, PlaidSimulator, SimItem, SimTransaction, sandbox
from fin_infra.testing import serve

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TOKEN = "access-sandbox-sim"


@pytest.fixture
def vendor() -> PlaidSimulator:
    simulator = PlaidSimulator(now=lambda: NOW)
    sandbox(simulator, TOKEN, today=NOW.date(), name="sim")
    return simulator


@pytest.fixture
def item(vendor: PlaidSimulator) -> SimItem:
    return vendor.items[TOKEN]


@pytest.fixture
def client(vendor: PlaidSimulator) -> Iterator[PlaidApi]:
    with serve(vendor) as served:
        made = plaid.Configuration(host=served.url, api_key={"clientId": "client", "secret": "secret"})
        with plaid.ApiClient(made) as api:
            yield PlaidApi(api)


@dataclass
class Replica:
    """What an application keeps that follows the documentation: rows by id, and the cursor of the last whole loop."""

    rows: dict[str, Any] = field(default_factory=dict)
    cursor: str = ""
    pages: int = 0
    status: str = ""

    def drain(self, client: PlaidApi, count: int = 7) -> None:
        cursor, rows = self.cursor, dict(self.rows)
        while True:
            page = client.transactions_sync(TransactionsSyncRequest(access_token=TOKEN, cursor=cursor, count=count))
            self.pages += 1
            for row in [*page.added, *page.modified]:
                rows[row.transaction_id] = row
            for row in page.removed:
                rows.pop(row.transaction_id, None)
            cursor, self.status = page.next_cursor, str(page.transactions_update_status)
            if not page.has_more:
                self.rows, self.cursor = rows, cursor
                return

    @property
    def seen(self) -> dict[str, tuple[float, date, bool, str | None]]:
        return {n: (r.amount, r.date, r.pending, r.pending_transaction_id) for n, r in self.rows.items()}


def scripted(item: SimItem) -> dict[str, tuple[float, date, bool, str | None]]:
    return {
        row.id: (float(row.amount), date.fromisoformat(row.date), row.pending, row.pending_transaction_id)
        for row in item.transactions.values()
    }


def test_the_whole_sync_flow_is_decoded_as_it_was_scripted(client: PlaidApi, item: SimItem) -> None:
    replica = Replica()
    replica.drain(client)
    assert replica.seen == scripted(item)
    assert replica.pages == -(-len(item.transactions) // 7)
    assert replica.status == "HISTORICAL_UPDATE_COMPLETE"
    before = replica.cursor
    replica.drain(client)
    assert (replica.seen, replica.cursor) == (scripted(item), before)  # nothing new: the cursor stays

    [pending] = [row.id for row in item.transactions.values() if row.pending]
    item.post(pending, "posted_1", on="2026-11-26", amount="31.30")
    settled = [row.id for row in item.transactions.values() if row.id != "posted_1"]
    item.modify(settled[0], amount="0.01")
    item.remove(settled[1])
    replica.drain(client, count=1)
    assert replica.seen == scripted(item)
    assert replica.seen["posted_1"] == (31.30, date(2026, 11, 26), False, pending)
    after = replica.cursor
    replica.cursor = before  # an old cursor stays good, and what it brings is brought again
    replica.drain(client)
    assert (replica.seen, replica.cursor) == (scripted(item), after)


def test_phases_and_changes_between_pages_are_refused_or_told(
    client: PlaidApi, vendor: PlaidSimulator, item: SimItem
) -> None:
    item.phase = "NOT_READY"
    page = client.transactions_sync(TransactionsSyncRequest(access_token=TOKEN))
    assert (page.added, page.next_cursor, page.has_more) == ([], "", False)
    item.phase = "INITIAL"
    item.later = [SimTransaction("old_1", item.accounts[0].id, "3.00", "2025-01-05")]
    replica = Replica()
    replica.drain(client)
    assert replica.status == "INITIAL_UPDATE_COMPLETE"
    assert "old_1" not in replica.rows
    item.finish_history()
    replica.drain(client)
    assert "old_1" in replica.rows

    item.add(*(SimTransaction(f"new_{n}", item.accounts[0].id, "1.00", "2026-11-24") for n in range(9)))
    vendor.between_pages = lambda changed: changed.remove("new_0") if "new_0" in changed.transactions else None
    with pytest.raises(plaid.ApiException) as refused:
        replica.drain(client)
    assert (refused.value.status, code_of(refused.value)) == (400, "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION")
    replica.drain(client)
    assert replica.seen == scripted(item)


def test_accounts_and_item_are_the_scripted_ones(client: PlaidApi, item: SimItem) -> None:
    answer = client.accounts_get(AccountsGetRequest(access_token=TOKEN))
    assert [(a.account_id, str(a.type), str(a.subtype), a.mask, a.balances.current) for a in answer.accounts] == [
        (a.id, a.type, a.subtype, a.mask, float(a.current or "nan")) for a in item.accounts
    ]
    told = client.item_get(ItemGetRequest(access_token=TOKEN))
    assert (told.item.item_id, told.item.error) == (item.item_id, None)
    assert told.status.transactions.last_successful_update == NOW
    item.error = "ITEM_LOGIN_REQUIRED"
    told = client.item_get(ItemGetRequest(access_token=TOKEN))
    assert told.item.error.error_code == "ITEM_LOGIN_REQUIRED"


def test_holdings_and_their_history_are_the_scripted_ones(client: PlaidApi, item: SimItem) -> None:
    answer = client.investments_holdings_get(InvestmentsHoldingsGetRequest(access_token=TOKEN))
    assert [(h.security_id, h.quantity, h.institution_price, h.cost_basis) for h in answer.holdings] == [
        (h.security_id, float(h.quantity), float(h.price), None if h.cost_basis is None else float(h.cost_basis))
        for h in item.holdings
    ]
    assert {s.ticker_symbol for s in answer.securities} == {"CUR:USD", "AAPL", "MSFT"}
    total = sum(Decimal(str(h.institution_value)) for h in answer.holdings)
    [account] = answer.to_dict()["accounts"]  # as attributes its own models contradict each other
    assert Decimal(str(account["balances"]["current"])) == total

    rows: list[Any] = []
    while True:
        page = client.investments_transactions_get(
            InvestmentsTransactionsGetRequest(
                access_token=TOKEN, start_date=date(2026, 1, 1), end_date=NOW.date(),
                options=InvestmentsTransactionsGetRequestOptions(count=2, offset=len(rows)),
            )
        )  # fmt: skip
        rows += page.investment_transactions
        if len(rows) >= page.total_investment_transactions:
            break
    newest_first = sorted(item.activities, key=lambda row: row.date, reverse=True)
    assert [(r.investment_transaction_id, r.amount, r.date, str(r.type), str(r.subtype)) for r in rows] == [
        (r.id, float(r.amount), date.fromisoformat(r.date), r.type, r.subtype) for r in newest_first
    ]


def test_an_item_is_linked_broken_and_removed(client: PlaidApi, vendor: PlaidSimulator) -> None:
    link = client.link_token_create(
        LinkTokenCreateRequest(
            client_name="fin_infra", language="en", country_codes=[CountryCode("US")],
            user=LinkTokenCreateRequestUser(client_user_id="ada"), products=[Products("transactions")],
        )
    )  # fmt: skip
    assert link.link_token.startswith("link-sandbox-")
    made = client.sandbox_public_token_create(
        SandboxPublicTokenCreateRequest(institution_id="ins_109508", initial_products=[Products("transactions")])
    )
    token = client.item_public_token_exchange(ItemPublicTokenExchangeRequest(public_token=made.public_token))
    assert vendor.items[token.access_token].item_id == token.item_id
    with pytest.raises(plaid.ApiException) as refused:  # it is good for once
        client.item_public_token_exchange(ItemPublicTokenExchangeRequest(public_token=made.public_token))
    assert code_of(refused.value) == "INVALID_PUBLIC_TOKEN"
    client.sandbox_item_reset_login(SandboxItemResetLoginRequest(access_token=token.access_token))
    with pytest.raises(plaid.ApiException) as refused:
        client.accounts_get(AccountsGetRequest(access_token=token.access_token))
    assert code_of(refused.value) == "ITEM_LOGIN_REQUIRED"
    client.item_remove(ItemRemoveRequest(access_token=token.access_token))
    with pytest.raises(plaid.ApiException) as refused:
        client.item_get(ItemGetRequest(access_token=token.access_token))
    assert code_of(refused.value) == "INVALID_ACCESS_TOKEN"


def test_refusals_and_the_key_of_webhooks_are_decoded(client: PlaidApi, vendor: PlaidSimulator) -> None:
    vendor.fail_next(Fault("refuse", code="TRANSACTIONS_SYNC_LIMIT"))
    with pytest.raises(plaid.ApiException) as refused:
        client.transactions_sync(TransactionsSyncRequest(access_token=TOKEN))
    assert (refused.value.status, code_of(refused.value)) == (429, "TRANSACTIONS_SYNC_LIMIT")
    with pytest.raises(plaid.ApiException) as refused:
        client.transactions_sync(TransactionsSyncRequest(access_token=TOKEN, cursor="bm9uZQ=="))
    assert code_of(refused.value) == "INVALID_FIELD"
    key = client.webhook_verification_key_get(WebhookVerificationKeyGetRequest(key_id=vendor.kid)).key
    assert (key.kid, key.alg, key.crv, key.expired_at) == (vendor.kid, "ES256", "P-256", None)


def code_of(refused: plaid.ApiException) -> str:
    code: str = json.loads(refused.body)["error_code"]
    return code
