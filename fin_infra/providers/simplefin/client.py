"""Asks SimpleFIN and yields pages. Sleeps, retries, quotas and errors are the shared transport's.

One call brings all accounts with their transactions and holdings; there are no pages, and 24 calls a day. So each
stream makes one call for all accounts, and a long history one for each 90 days. A status of 200 does not mean that all
is well: the answer says which logins failed, and what it lists of them is what was known last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from fin_infra.errors import DefectError, error_of
from fin_infra.providers.base import Account, Acting, Ask, Http, Page, Reply
from fin_infra.providers.simplefin import wire
from fin_infra.providers.simplefin.access import SERVER
from fin_infra.providers.simplefin.complaints import complaints
from fin_infra.providers.simplefin.frames import currency, kind_of

SPAN = timedelta(days=90)
"""The most days that one request may ask for."""
HISTORY = timedelta(days=359)
"""How far back a first read goes: four requests."""
VERSION_2 = {"version": "2"}


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All accounts, with the balance and the holdings of each, by one call."""
    reply, value = await _account_set(http, {"start-date": str(_seconds(ask.at.date()))})
    said = complaints(value)
    yield Page("accounts", reply, value=value)
    for row in value.accounts:
        if ask.leaves_out(value.known_as(row)):
            continue
        account, alone = _account(value, row), _alone(value, row)
        as_of = wire.moment(row.balance_date)
        # what it was worth when it was last read is still that, and says of when it is
        yield Page("balances", reply, account, value=alone, as_of=as_of)
        if (error := said.accounts.get(account.vendor_id)) is not None:
            yield Page("holdings", account=account, error=error)
        else:
            yield Page("holdings", reply, account, value=alone, as_of=as_of)
    if said.others is not None:
        raise said.others


async def transactions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """The transactions of all accounts, from the oldest day that one of them needs, newest 90 days first.

    What is older than an account's own begin is cut off in the frame. A first read ends where nothing is found in a
    whole span.
    """
    today = ask.at.date()
    begins = [ask.since.get(account.vendor_id) for account in ask.accounts]
    known = [day for day in begins if day is not None]
    needed = min(known, default=None)
    oldest = min([*known, today - HISTORY]) if None in begins else needed or today
    answers: list[tuple[Reply, wire.AccountSet]] = []
    for first, end in spans(oldest, today):
        params = {"start-date": str(_seconds(first)), "pending": "1"}
        if end is not None:
            params["end-date"] = str(_seconds(end))
        answers.append(await _account_set(http, params))
        found = any(account.transactions for account in answers[-1][1].accounts)
        if end is not None and not found and (needed is None or needed >= first):
            break
    said = [complaints(value) for _, value in answers]
    for account in ask.accounts:
        error = next((one.accounts[account.vendor_id] for one in said if account.vendor_id in one.accounts), None)
        rows = [(reply, value, _listed(value, account)) for reply, value in answers]
        if error is None and any(row is None for _, _, row in rows):
            error = error_of("not_found", f"{ask.provider} does not list this account now; its rows are kept")
        if error is not None:
            yield Page("transactions", account=account, error=error)
            continue
        for reply, value, row in rows:
            if row is not None:
                as_of = wire.moment(row.balance_date)
                yield Page("transactions", reply, account, value=_alone(value, row), as_of=as_of)
    if (others := next((one.others for one in said if one.others is not None), None)) is not None:
        raise others


async def probe(http: Acting) -> str:
    """How many accounts there are, and how many of them are in trouble: one call."""
    _, value = await _account_set(http, {"balances-only": "1"})
    said, count = complaints(value), len(value.accounts)
    told = f"{count} account" if count == 1 else f"{count} accounts"
    if said.accounts:
        told += f", {len(said.accounts)} of them in trouble"
    return told + (f"; {said.others.message}" if said.others else "")


def spans(oldest: date, today: date) -> list[tuple[date, date | None]]:
    """The requests for the days from `oldest` on, newest first: from (inclusive), until (exclusive; None: now)."""
    first = max(oldest, today - SPAN + timedelta(days=1))
    found: list[tuple[date, date | None]] = [(first, None)]
    while first > oldest:
        first, end = max(oldest, first - SPAN), first
        found.append((first, end))
    return found


async def _account_set(http: Http, params: Mapping[str, str]) -> tuple[Reply, wire.AccountSet]:
    """One answer. A server that knows no version 2 may refuse the word: it is asked without."""
    try:
        reply = await http.get("/accounts", {**params, **VERSION_2})
    except DefectError as error:
        if error.code != "bad_request":
            raise
        reply = await http.get("/accounts", dict(params))
    value = wire.account_set(reply.body)
    return reply, value.model_copy(update={"server": reply.headers.get(SERVER, "")})


def _account(value: wire.AccountSet, row: wire.SfinAccount) -> Account:
    own = value.known_as(row)
    return Account(own, own, kind_of(row), currency(row.currency))


def _listed(value: wire.AccountSet, account: Account) -> wire.SfinAccount | None:
    return next((row for row in value.accounts if value.known_as(row) == account.vendor_id), None)


def _alone(value: wire.AccountSet, row: wire.SfinAccount) -> wire.AccountSet:
    return value.model_copy(update={"accounts": [row]})


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
