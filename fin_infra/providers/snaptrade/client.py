"""Asks SnapTrade and yields pages. Sleeps, retries, quotas and errors are the shared transport's.

A connection that is disabled answers with a status of 200 and old data: the user's connections are asked first, and an
account of a disabled one has an error instead of rows. Where all are disabled, the user must act.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fin_infra.errors import FinInfraError, QuotaError, TransientError, WireError, error_of
from fin_infra.providers.base import Account, Acting, Ask, Found, Http, Page, Reply
from fin_infra.providers.snaptrade import wire

PAGE = 1000
OVERLAP = 50
"""Rows of the page before that each further page of activities covers again: so many may leave the list meanwhile."""
MOST_PAGES = 1000
FIRST_SYNC = 300.0  # seconds until a first sync is looked at again: it takes minutes
RECONNECT = "the user must reconnect it in SnapTrade's connection portal; the rows held are kept"
ONE_ACCOUNT_ONLY = frozenset(
    {"not_found", "permission_denied", "plan_limit", "reauth_required", "not_ready", "vendor_unavailable",
     "bad_request", "contract_broken"}
)  # fmt: skip
"""Errors that stop one account: the others are still asked. All others stop the connection."""


@dataclass(frozen=True)
class Survey:
    """What a user has connected. `accounts` is empty where they were not asked for."""

    connections: dict[str, wire.Row]
    accounts: Sequence[wire.Row] = ()
    reply: Reply | None = None

    def refuses(self, account: str) -> FinInfraError | None:
        """Why an account has only old data."""
        row = self.account(account)
        connection = self.connections.get(wire.connection_of(row) or "", {})
        if connection.get("disabled") is not True:
            return None
        since = wire.text(connection, "disabled_date")
        when = f" since {since[:10]}" if since and re.match(r"[0-9-]{10}", since) else ""
        return error_of("reauth_required", f"snaptrade has no access to this account's brokerage{when}; {RECONNECT}")

    def account(self, vendor_id: str) -> wire.Row:
        return next((row for row in self.accounts if wire.text(row, "id") == vendor_id), {})

    @property
    def disabled(self) -> list[str]:
        return [own for own, connection in self.connections.items() if connection.get("disabled") is True]

    def check(self) -> None:
        """Raises `reauth_required` where every connection is disabled."""
        if self.connections and len(self.disabled) == len(self.connections):
            raise error_of(
                "reauth_required", f"snaptrade has no access to any brokerage of this user any more; {RECONNECT}"
            )


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All accounts of the user, then the balances of each investment account; what others are worth the list says.

    With `ask.accounts` the list was answered before, and these are what is left.
    """
    survey = await _survey(http)
    assert survey.reply is not None
    rest = {account.vendor_id for account in ask.accounts}
    listed = [row for row in survey.accounts if isinstance(row.get("id"), str) and not ask.leaves_out(row["id"])]
    asked = [row for row in listed if wire.kind_of(row) == "investment" and (not rest or row["id"] in rest)]
    if not rest:
        found = wire.Accounts(survey.accounts, survey.connections)
        yield Page("accounts", survey.reply, value=found, follow=[row["id"] for row in asked])
        survey.check()
        for row in listed:
            if wire.kind_of(row) not in ("depository", "credit", "other"):
                continue
            if (error := survey.refuses(row["id"])) is not None:
                yield Page("balances", account=_account(row), error=error)
            elif wire.total_of(row)[0] is not None:  # else it is not known now: what is held stays
                value = wire.Balances((), [row])
                yield Page("balances", survey.reply, _account(row), value=value, as_of=wire.balances_at(row))
    for row in asked:
        if (error := survey.refuses(row["id"])) is not None:
            yield Page("balances", account=_account(row), error=error)
            continue
        asking = http.get(f"/accounts/{row['id']}/balances", account=row["id"])
        page = await _page("balances", _account(row), asking, wire.balances)
        worth = replace(page.value, accounts=[row]) if page.error is None else None
        yield replace(page, value=worth, as_of=wire.balances_at(row))


async def holdings(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All positions of each investment account: one answer each, never paged."""
    survey = await _survey(http)
    survey.check()
    for account in _invested(ask):
        if (error := survey.refuses(account.vendor_id) or _unseen(survey.account(account.vendor_id))) is not None:
            yield Page("holdings", account=account, error=error)
            continue
        path = f"/accounts/{account.vendor_id}/positions/all"
        page = await _page("holdings", account, http.get(path, account=account.vendor_id), wire.positions)
        yield replace(page, as_of=wire.moment(page.value.as_of)) if page.error is None else page


async def activities(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Each investment account's activities from `ask.since` on, newest first; all of them when there is no since.

    They are synced once a day and known up to a day that the list of accounts states.
    """
    survey = await _survey(http)
    survey.check()
    for account in _invested(ask):
        row = survey.account(account.vendor_id)
        if (error := survey.refuses(account.vendor_id) or _unsynced(row)) is not None:
            yield Page("activities", account=account, error=error)
            continue
        as_of = wire.transactions_at(row, ask.at)
        try:
            async for page in _paged(http, ask, account):
                yield replace(page, as_of=as_of)
        except FinInfraError as failed:
            if not _of_one(failed):
                raise
            yield Page("activities", account=account, error=failed)


async def _paged(http: Http, ask: Ask, account: Account) -> AsyncIterator[Page]:
    """The pages of one account. They are cut by offset, and the list may move while it is read.

    So each further page begins a little before the end of the one before and must have its last row in it: then nothing
    lies between the two. Rows that came while it was read stand at its head, which is then read once more.
    """
    end, anchor = _resumed(ask.resume.get(account.vendor_id))
    begun = anchor is None
    first: wire.Activities | None = None
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        reply, page = await _activities(http, ask, account, 0 if anchor is None else max(0, end - OVERLAP))
        first = first or page
        ids = [wire.text(row, "id") for row in page.rows]
        if anchor is not None and anchor not in ids:
            raise moved(ask)
        fresh = page.rows[ids.index(anchor) + 1 :] if anchor is not None else page.rows
        more = page.end < page.total
        last = next((own for own in reversed(ids) if own and own.strip()), None)
        if more and (not fresh or last is None or last == anchor):
            raise moved(ask)
        seen |= {own for own in ids if own}
        end, anchor = page.end, last or anchor
        again = not more and begun and page.total != first.total
        position = f"{end} behind {anchor}" if more or again else None
        yield Page("activities", reply, account, position, value=replace(page, rows=fresh))
        if again:
            reply, head = await _activities(http, ask, account, 0)
            ids = [wire.text(row, "id") for row in head.rows]
            known = next((own for row in first.rows if (own := wire.text(row, "id"))), None)
            if (known is not None and known not in ids) or len(seen | {own for own in ids if own}) < head.total:
                raise moved(ask)
            yield Page("activities", reply, account, value=head)
        if not more:
            return
    raise TransientError(
        f"more than {MOST_PAGES} pages of activities without an end", code="mutation_during_pagination"
    )


async def _activities(http: Http, ask: Ask, account: Account, offset: int) -> tuple[Reply, wire.Activities]:
    params = {"offset": str(offset), "limit": str(PAGE)}
    if since := ask.since.get(account.vendor_id):
        params["startDate"] = since.isoformat()
    reply = await http.get(f"/accounts/{account.vendor_id}/activities", params, account=account.vendor_id)
    page = wire.activities(reply.body)
    if page.offset != offset:
        raise WireError("a page of another offset than was asked for", evidence=reply.body)
    return reply, page


def _resumed(position: str | None) -> tuple[int, str | None]:
    """Where an interrupted account goes on: the place, and the id of the row before it."""
    end, _, anchor = (position or "").partition(" behind ")
    return (int(end), anchor) if end.isdigit() and anchor else (0, None)


def moved(ask: Ask) -> TransientError:
    return TransientError(
        f"rows of {ask.provider} changed while its pages were read; they are read again",
        code="mutation_during_pagination",
    )


async def probe(http: Acting) -> str:
    """How many connections the user has, and whether they work: one call."""
    survey = Survey(wire.connections((await http.get("/authorizations")).body))
    count, broken = len(survey.connections), len(survey.disabled)
    said = f"{count} connection" if count == 1 else f"{count} connections"
    return f"{said}, {broken} of them disabled" if broken else said


async def institutions(http: Http, word: str) -> list[Found]:
    """All brokerages that can be connected: the vendor has one list, whatever the word."""
    rows = wire.brokerages((await http.get("/brokerages")).body)
    return [Found(slug, _name(row), more=_more(row)) for row in rows if (slug := wire.text(row, "slug"))]


def _name(brokerage: wire.Row) -> str:
    return wire.text(brokerage, "display_name") or wire.text(brokerage, "name") or ""


def _more(brokerage: wire.Row) -> dict[str, str]:
    said = {name: wire.text(brokerage, name) for name in ("url", "description")}
    flags = {name: brokerage.get(name) for name in ("enabled", "maintenance_mode", "is_degraded")}
    told = {name: str(value).lower() for name, value in flags.items() if isinstance(value, bool)}
    return {**{name: value for name, value in said.items() if value}, **told}


# -- what the list of accounts says --------------------------------------------------------------------------------


async def _survey(http: Http) -> Survey:
    connections = wire.connections((await http.get("/authorizations")).body)
    listing = await http.get("/accounts/all")
    return Survey(connections, wire.accounts(listing.body).rows, listing)


def _account(row: wire.Row) -> Account:
    return Account(row["id"], row["id"], wire.kind_of(row), wire.total_of(row)[1])


def _invested(ask: Ask) -> list[Account]:
    return [account for account in ask.accounts if account.kind == "investment"]


def _unsynced(row: wire.Row) -> FinInfraError | None:
    """While the first sync runs a list is no list: an empty one would be taken for no activities."""
    if wire.inner(row, "sync_status", "transactions").get("initial_sync_completed") is not False:
        return None
    return error_of(
        "not_ready", "snaptrade has not fetched the activities yet; it is asked again later", retry_after=FIRST_SYNC
    )


def _unseen(row: wire.Row) -> FinInfraError | None:
    """Positions that the brokerage does not show: an empty list says nothing of what is held."""
    if wire.inner(row, "sync_status", "holdings").get("holdings_unavailable") is not True:
        return None
    return error_of("permission_denied", "the brokerage does not show this account's positions; its value is kept")


# -- one account's error -------------------------------------------------------------------------------------------


async def _page(dataset: str, account: Account, asked: Awaitable[Reply], parse: Callable[[bytes], Any]) -> Page:
    """The account's page, or its own error."""
    try:
        reply = await asked
        return Page(dataset, reply, account, value=parse(reply.body))
    except FinInfraError as error:
        if not _of_one(error):
            raise
        return Page(dataset, account=account, error=error)


def _of_one(error: FinInfraError) -> bool:
    of_one = error.code in ONE_ACCOUNT_ONLY or (isinstance(error, QuotaError) and error.of_one_account)
    return of_one and not getattr(error, "vendor_wide", False)
