"""Asks Plaid and yields pages. Sleeps, retries, quotas and errors are the shared transport's.

An Item that is broken answers with a status of 200, old data and its error beside it: the Item is asked first, and its
error is the answer. It also says when Plaid last heard from the institution, which a green answer alone does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from fin_infra.errors import FinInfraError, TransientError, WireError
from fin_infra.providers.base import Account, Ask, Http, Page
from fin_infra.providers.plaid import wire

PAGE = 500
HISTORY = timedelta(days=730)
MOST_PAGES = 10_000
CONCERNS_ALL = frozenset(
    {"auth_invalid", "reauth_required", "network_error", "vendor_timeout", "quota_exhausted", "usage"}
)


async def probe(http: Http) -> str:
    """How the Item stands, without asking its institution."""
    item = wire.item((await http.post("/item/get", {})).body).item
    return f"an Item of {item.institution_name or item.institution_id or 'an institution'}"


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All accounts of the Item with their balances, as Plaid has them: not live at the bank, which would be billed.

    The cash part of an investment account is known from its positions, so they are asked for where the Item has them.
    """
    item = wire.item((await http.post("/item/get", {})).body)
    reply = await http.post("/accounts/get", {})
    found = wire.dated(wire.accounts(reply.body), item)
    yield Page("accounts", reply, value=found, as_of=max(found.as_of.values(), default=None))
    invested = [account for account in found.accounts if account.kind == "investment"]
    for row in found.accounts:
        if row.kind not in wire.KINDS:  # a reject of the list: what its figures mean is not known
            continue
        if row.kind != "investment" or not item.item.has("investments"):
            yield Page("balances", reply, _account(row), value=found, as_of=found.as_of.get(row.kind))
    if invested and item.item.has("investments"):
        try:
            held = await http.post("/investments/holdings/get", {})
            positions = replace(wire.holdings(held.body), as_of=item.updated("investments"))
        except FinInfraError as error:
            if error.code in CONCERNS_ALL:
                raise
            for row in invested:
                yield Page("balances", account=_account(row), error=error)
        else:
            for row in invested:
                yield Page("balances", held, _account(row), value=positions, as_of=positions.as_of)


async def transactions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """What changed since `ask.cursor`, in pages of the whole Item; all there is when it is blank.

    Data that changes between two pages ends the loop with Plaid's own refusal: who asked begins it again. An Item of
    investment accounts alone is not asked: that would add a product to it, which is billed.
    """
    item = wire.item((await http.post("/item/get", {})).body)
    if ask.accounts and all(account.kind == "investment" for account in ask.accounts):
        return
    cursor = ask.resume.get("") or ask.cursor
    been = {cursor}
    for _ in range(MOST_PAGES):
        body: dict[str, object] = {"cursor": cursor, "count": PAGE}
        if not cursor:  # how much Plaid fetches from the institution is settled by the very first call
            body["options"] = {"days_requested": HISTORY.days}
        reply = await http.post("/transactions/sync", body)
        page = wire.transactions(reply.body)
        if page.has_more and page.next_cursor in been:
            raise WireError(
                "a page that leads back to an earlier one: what is behind it cannot be asked for", evidence=reply.body
            )
        cursor = page.next_cursor
        been.add(cursor)
        yield Page(
            "transactions", reply, value=page, position=cursor if page.has_more else None, cursor=cursor,
            history=page.history, as_of=item.updated("transactions"),
        )  # fmt: skip
        if not page.has_more:
            return
    raise TransientError(
        f"more than {MOST_PAGES} pages of transactions without an end", code="mutation_during_pagination"
    )


async def holdings(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Positions of the Item's investment accounts, with their balances and what the securities are: one answer.

    Of an Item without an investment account they are not asked for: that would add a product to it, which is billed.
    """
    item = wire.item((await http.post("/item/get", {})).body)
    invested = [account for account in ask.accounts if account.kind == "investment"]
    if not invested:
        return
    reply = await http.post("/investments/holdings/get", {})
    found = replace(wire.holdings(reply.body), as_of=item.updated("investments"))
    listed = {row.account_id for row in found.accounts}
    for account in invested:
        if account.vendor_id in listed:  # one that is not listed was not answered: its positions are not gone
            yield Page("holdings", reply, account, value=found, as_of=found.as_of)
            yield Page("balances", reply, account, value=found, as_of=found.as_of)
    yield Page("instruments", reply, value=found)


async def activities(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Investment transactions since the earliest day that an account asks for, newest first, at most 24 months.

    A page is of the whole Item, and so is a page of each account. The answer says how many there are in all: when that
    changes, or as many were not seen, rows moved between the pages.
    """
    item = wire.item((await http.post("/item/get", {})).body)
    invested = [account for account in ask.accounts if account.kind == "investment"]
    if not invested:
        return
    today = ask.at.date()
    first = min(max(ask.since.get(account.vendor_id, today - HISTORY), today - HISTORY) for account in invested)
    offset, total = _resumed(ask, invested)
    seen = set[str]()
    for _ in range(MOST_PAGES):
        options = {"count": PAGE, "offset": offset}
        body = {"start_date": first.isoformat(), "end_date": today.isoformat(), "options": options}
        reply = await http.post("/investments/transactions/get", body)
        page = wire.at_offset(wire.activities(reply.body), offset)
        named = [row.get("investment_transaction_id") for row in page.rows]
        ids = [own for own in named if isinstance(own, str) and own.strip()]
        behind = offset + len(page.rows)
        moved = (total is not None and page.total != total) or (not page.rows and behind < page.total)
        if moved or len(set(ids)) != len(ids) or seen & set(ids) or behind > page.total:
            raise TransientError(
                f"rows of {ask.provider} changed while its pages were read; they are read again",
                code="mutation_during_pagination",
            )
        seen |= set(ids)
        offset, total = behind, page.total
        more = offset < total
        for account in invested:
            yield Page(
                "activities", reply, account, f"{offset} of {total}" if more else None, value=page,
                as_of=item.updated("investments"),
            )  # fmt: skip
        if not more:
            return
    raise TransientError(
        f"more than {MOST_PAGES} pages of activities without an end", code="mutation_during_pagination"
    )


def _resumed(ask: Ask, invested: list[Account]) -> tuple[int, int | None]:
    """Where an interrupted loop goes on, and how many rows there were in all; from the begin if it cannot be told."""
    kept = {ask.resume.get(account.vendor_id) for account in invested}
    offset, _, total = (kept.pop() or "").partition(" of ") if len(kept) == 1 else ("", "", "")
    return (int(offset), int(total)) if offset.isdigit() and total.isdigit() else (0, None)


def _account(row: wire.PlaidAccount) -> Account:
    return Account(row.account_id, row.account_id, row.kind, row.currency)
