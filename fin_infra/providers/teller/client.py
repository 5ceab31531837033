"""Asks Teller and yields pages. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from fin_infra.errors import FinInfraError
from fin_infra.providers.base import Account, Ask, Http, Page, Reply
from fin_infra.providers.teller import wire

PAGE = 100
ONE_ACCOUNT_ONLY = frozenset(
    {"account_closed", "not_found", "permission_denied", "reauth_required", "vendor_unavailable", "bad_request",
     "contract_broken"}
)  # fmt: skip
"""Errors that stop one account: the others are still asked. All others stop the connection."""


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All accounts of the enrollment, then the balances of each open one (a live call to the bank, so only those)."""
    listing = await http.get("/accounts")
    rows = wire.accounts(listing.body)
    yield Page("accounts", listing, value=rows)
    for row in rows:
        if row.status == "open" and "balances" in row.links:
            account = Account(row.id, row.id, row.type, row.currency)
            yield await _page("balances", account, http.get(f"/accounts/{row.id}/balances"), wire.balances)


async def transactions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Each account's transactions, newest first, from `ask.since` on; the whole history when there is no since.

    There is no total and no next link: a page shorter than `count` is the last; `from_id` goes on behind a row.
    """
    for account in ask.accounts:
        position = ask.resume.get(account.vendor_id)
        more = True
        while more:
            params = {"count": str(PAGE)}
            if since := ask.since.get(account.vendor_id):
                params["start_date"] = since.isoformat()
            if position:
                params["from_id"] = position
            path = f"/accounts/{account.vendor_id}/transactions"
            page = await _page("transactions", account, http.get(path, params), wire.transactions)
            rows = page.value or []
            last = str(rows[-1].get("id")) if len(rows) >= PAGE else None
            more = last is not None and last != position  # a vendor that does not move on is not asked for ever
            position = last
            yield replace(page, position=position if more else None)


async def _page(
    dataset: str, account: Account, asked: Awaitable[Reply], parse: Callable[[bytes], Any]
) -> Page:  # fmt: skip
    """The account's page, or its own error."""
    try:
        reply = await asked
        return Page(dataset, reply, account, value=parse(reply.body))
    except FinInfraError as error:
        if error.code not in ONE_ACCOUNT_ONLY or getattr(error, "vendor_wide", False):
            raise
        return Page(dataset, account=account, error=error)
