"""Asks Teller and yields pages. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from fin_infra.errors import FinInfraError, OwnerActionError, QuotaError, TransientError, WireError
from fin_infra.providers.base import Account, Ask, Found, Http, Page, Reply
from fin_infra.providers.teller import wire

PAGE = 100
ONE_ACCOUNT_ONLY = frozenset(
    {"account_closed", "not_found", "permission_denied", "reauth_required", "vendor_unavailable", "bad_request",
     "contract_broken"}
)  # fmt: skip
"""Errors that stop one account: the others are still asked. All others stop the connection."""


async def probe(http: Http) -> str:
    """Lists the accounts, which no bank is asked for."""
    return f"{len(wire.accounts((await http.get('/accounts')).body))} accounts"


async def institutions(http: Http, word: str) -> list[Found]:
    """All institutions that Teller reaches."""
    listed = wire.institutions((await http.get("/institutions")).body)
    return [Found(one.id, one.name, None, {"products": ", ".join(one.products)}) for one in listed]


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All accounts of the enrollment, then the balances of each open one (a live call to the bank, so only those).

    With `ask.accounts` the list was answered before, and these are what is left.
    """
    rest = ask.accounts
    if not rest:
        listing = await http.get("/accounts")
        rows = wire.accounts(listing.body)
        live = [row for row in rows if row.status == "open" and "balances" in (row.links or {})]
        rest = [Account(row.id, row.id, row.type, row.currency) for row in live if not ask.leaves_out(row.id)]
        yield Page("accounts", listing, value=rows, follow=[account.vendor_id for account in rest])
    for account in rest:
        asked = http.get(f"/accounts/{account.vendor_id}/balances", account=account.vendor_id)
        yield await _page("balances", account, asked, wire.balances)


async def transactions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Each account's transactions, newest first, from `ask.since` on; the whole history when there is no since.

    There is no total and no next link: a page shorter than `count` is the last; `from_id` goes on behind a row.
    """
    for account in ask.accounts:
        position = ask.resume.get(account.vendor_id)
        edge: list[str] = []  # ids before the one we went on behind, nearest last
        more = True
        while more:
            page = await _transactions(http, ask, account, position)
            if position and page.value == []:  # the list ends so; one that is wrongly empty would end the history too
                page = await _transactions(http, ask, account, position)
            rows = page.value or []
            try:
                lost = position and not rows and page.error is None and not await _exists(http, account, position)
            except QuotaError as error:
                if not error.of_one_account:
                    raise
                yield Page("transactions", account=account, error=error)
                break
            if lost:
                # the row we went on behind is gone: its page says nothing of what is older, so go on behind another
                if not edge:
                    raise TransientError(
                        f"rows of {ask.provider} changed while its pages were read; they are read again",
                        code="mutation_during_pagination",
                    )
                position = edge.pop()
                continue
            more = len(rows) >= PAGE and rows[-1]["id"] != position  # one that does not move on is not asked for ever
            position = rows[-1]["id"] if more else None
            edge = [row["id"] for row in rows[:-1] if isinstance(row.get("id"), str)]
            yield replace(page, position=position)


async def _transactions(http: Http, ask: Ask, account: Account, position: str | None) -> Page:
    params = {"count": str(PAGE)}
    if since := ask.since.get(account.vendor_id):
        params["start_date"] = since.isoformat()
    if position:
        params["from_id"] = position
    asked = http.get(f"/accounts/{account.vendor_id}/transactions", params, account=account.vendor_id)
    return await _page("transactions", account, asked, _full)


def _full(body: bytes) -> list[dict[str, Any]]:
    """A page behind whose last row one can go on."""
    rows = wire.transactions(body)
    if len(rows) >= PAGE and not (isinstance(rows[-1].get("id"), str) and rows[-1]["id"].strip()):
        raise WireError("a full page whose last row has no id: what is older cannot be asked for", evidence=body)
    return rows


async def _exists(http: Http, account: Account, transaction_id: str) -> bool:
    try:
        await http.get(f"/accounts/{account.vendor_id}/transactions/{transaction_id}", account=account.vendor_id)
    except OwnerActionError as error:
        if error.code == "not_found":
            return False
        raise
    return True


async def _page(
    dataset: str, account: Account, asked: Awaitable[Reply], parse: Callable[[bytes], Any]
) -> Page:  # fmt: skip
    """The account's page, or its own error."""
    try:
        reply = await asked
        return Page(dataset, reply, account, value=parse(reply.body))
    except FinInfraError as error:
        of_one = error.code in ONE_ACCOUNT_ONLY or (isinstance(error, QuotaError) and error.of_one_account)
        if not of_one or getattr(error, "vendor_wide", False):
            raise
        return Page(dataset, account=account, error=error)
