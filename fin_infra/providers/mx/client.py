"""Asks MX and yields pages. Sleeps, retries, quotas and errors are the shared transport's.

A login that the user must repair goes on answering with what was known last: the members are asked first, once a run,
and an account of such a one has an error instead of rows. Where all are so, the user must act.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from fin_infra.errors import FinInfraError, QuotaError, TransientError, WireError, error_of
from fin_infra.providers.base import Account, Acting, Ask, Http, Page, Reply
from fin_infra.providers.mx import frames, wire

PAGE = 100
"""Of accounts, members and holdings, which is their documented maximum."""
ROWS = 1000
"""Of transactions, theirs. What is over a maximum becomes 25 without a word."""
BEGINNING = date(2000, 1, 1)
"""The first read asks from here on: without a day MX gives 120 days."""
UPDATED_AT_MOST = timedelta(days=180)  # the older version lets six months be asked for
MOST_PAGES = 1000
REPAIR = "the user must act in MX Connect; the rows held are kept"
ONE_ACCOUNT_ONLY = frozenset(
    {"not_found", "permission_denied", "reauth_required", "not_ready", "vendor_unavailable", "bad_request",
     "contract_broken", "mutation_during_pagination"}
)  # fmt: skip
"""Errors that stop one account: the others are still asked. All others stop the connection."""


@dataclass(frozen=True)
class Survey:
    """The user's logins, by their guids."""

    members: Mapping[str, wire.Row]

    def refuses(self, member: str | None) -> FinInfraError | None:
        """Why a login has only old data."""
        if member is None or not _broken(row := self.members.get(member, {})):
            return None
        state = str(row.get("connection_status")).lower()
        return error_of("reauth_required", f"mx calls the login of this account {state}; {REPAIR}")

    def check(self) -> None:
        """Raises `reauth_required` where every login needs the user."""
        if self.members and all(map(_broken, self.members.values())):
            states = ", ".join(sorted({str(row.get("connection_status")).lower() for row in self.members.values()}))
            raise error_of("reauth_required", f"mx gets nothing new of any login of this user ({states}); {REPAIR}")


async def probe(http: Acting) -> str:
    """How many logins the user has, and how many of them work."""
    survey = await _survey(http)
    broken = sum(map(_broken, survey.members.values()))
    said = f"{len(survey.members)} member{'s' * (len(survey.members) != 1)}"
    return f"{said}, {broken} of them need the user" if broken else said


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All accounts of the user, or of its one login; what each is worth, the list says."""
    survey, (reply, found) = await _survey(http), await _whole(http, "/users/~/accounts", wire.accounts)
    found = replace(found, members=survey.members)
    yield Page("accounts", reply, value=found)
    survey.check()
    for row in found.rows:
        guid = wire.text(row, "guid")
        if guid is None or ask.leaves_out(guid) or (kind := frames.kind_of(row)) not in frames.KINDS.values():
            continue
        account = Account(guid, guid, kind, wire.text(row, "currency_code"))
        if (error := survey.refuses(wire.text(row, "member_guid"))) is not None:
            yield Page("balances", account=account, error=error)
        else:
            value = replace(found, rows=[row])
            yield Page("balances", reply, account, value=value, as_of=frames.known_at(row, survey.members))


async def transactions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Each account's transactions from `ask.since` on, and older ones that were changed lately.

    Everything is asked for when there is no since. Rows dated ahead, up to five days, are MX's default and wanted.
    """
    survey, of = await _places(http)
    for account in ask.accounts:
        member = of.get(account.vendor_id)
        if (error := survey.refuses(member)) is not None:
            yield Page("transactions", account=account, error=error)
            continue
        as_of = wire.moment(wire.text(survey.members.get(member or "", {}), "successfully_aggregated_at"))
        try:
            async for page in _rows(http, ask, account):
                yield replace(page, as_of=as_of)
        except FinInfraError as failed:
            of_one = failed.code in ONE_ACCOUNT_ONLY or (isinstance(failed, QuotaError) and failed.of_one_account)
            if not of_one or getattr(failed, "vendor_wide", False):
                raise
            yield Page("transactions", account=account, error=failed)


async def holdings(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All holdings of the user at once; each investment account has the page of its own."""
    survey, of = await _places(http)
    reply, found = await _whole(http, "/users/~/holdings", wire.holdings)
    for account in ask.accounts:
        if account.kind != "investment":
            continue
        member = of.get(account.vendor_id)
        if (error := survey.refuses(member)) is not None:
            yield Page("holdings", account=account, error=error)
            continue
        own = [row for row in found.rows if row.get("account_guid") == account.vendor_id]
        as_of = wire.moment(wire.text(survey.members.get(member or "", {}), "successfully_aggregated_at"))
        yield Page("holdings", reply, account, value=replace(found, rows=own), as_of=as_of)


async def _survey(http: Http) -> Survey:
    _, found = await _whole(http, "/users/~/members", wire.members)
    return Survey({guid: row for row in found.rows if (guid := wire.text(row, "guid")) is not None})


async def _places(http: Http) -> tuple[Survey, dict[str, str | None]]:
    """The logins, which are checked, and of which of them each account is."""
    survey = await _survey(http)
    survey.check()
    _, found = await _whole(http, "/users/~/accounts", wire.accounts)
    return survey, {row["guid"]: wire.text(row, "member_guid") for row in found.rows if wire.text(row, "guid")}


async def _rows(http: Http, ask: Ask, account: Account) -> AsyncIterator[Page]:
    """The window's pages, then those of older rows that were changed within the window's time.

    None is given before all are there: pages of a list that moved meanwhile must not stay behind as if they were true.
    """
    path = f"/users/~/accounts/{account.vendor_id}/transactions"
    since = ask.since.get(account.vendor_id)
    pages = await _paged(http, path, {"from_date": (since or BEGINNING).isoformat()}, account)
    if since is not None:
        changed = max(since, (ask.at - UPDATED_AT_MOST).date())
        older = {"from_date": BEGINNING.isoformat(), "to_date": since.isoformat()}
        pages += await _paged(http, path, {**older, "from_updated_at": changed.isoformat()}, account)
    for number, page in enumerate(pages, start=2):
        yield replace(page, position=f"page {number}" if number <= len(pages) else None)


async def _paged(http: Http, path: str, params: Mapping[str, str], account: Account) -> list[Page]:
    """Pages by number, which shift while MX aggregates. Raises when their count changes, or the first of them does."""
    pages: list[Page] = []
    first: wire.Listed | None = None
    for number in range(1, MOST_PAGES + 1):
        reply, page = await _asked(http, path, {**params, "page": str(number)}, ROWS, wire.transactions, account)
        first = first or page
        if page.total != first.total:
            raise moved()
        more = number * ROWS < page.total
        if len(page.rows) != (ROWS if more else page.total - (number - 1) * ROWS):
            raise moved()
        pages.append(Page("transactions", reply, account, value=page))
        if not more:
            break
    else:
        raise WireError(f"more than {MOST_PAGES} pages of transactions, which is no account's history")
    if len(pages) > 1:
        _, again = await _asked(http, path, {**params, "page": "1"}, ROWS, wire.transactions, account)
        if again.total != first.total or _guids(again) != _guids(first):
            raise moved()
    return pages


async def _whole(http: Http, path: str, parse: Callable[[bytes], wire.Listed]) -> tuple[Reply, wire.Listed]:
    """All pages of a list, mostly one."""
    reply, first = await _asked(http, path, {"page": "1"}, PAGE, parse)
    rows = list(first.rows)
    for number in range(2, first.pagination.get("total_pages", 1) + 1):
        reply, page = await _asked(http, path, {"page": str(number)}, PAGE, parse)
        if page.total != first.total:
            raise moved()
        rows += page.rows
    unique = {row.get("guid"): row for row in rows}
    if len(unique) != first.total:
        raise moved()
    return reply, replace(first, rows=list(unique.values()))


async def _asked(
    http: Http, path: str, params: Mapping[str, str], size: int, parse: Callable[[bytes], wire.Listed],
    account: Account | None = None,
) -> tuple[Reply, wire.Listed]:  # fmt: skip
    """One page, of the size that was asked for. Another size would leave rows out between two pages."""
    asked = {**params, "records_per_page": str(size)}
    reply = await http.get(path, asked, account=account.vendor_id if account else "")
    page = parse(reply.body)
    if page.pagination and page.pagination["per_page"] != size:
        raise WireError(
            f"mx was asked for {size} rows a page and gave {page.pagination['per_page']}; nothing of it was used",
            evidence=reply.body,
        )
    if page.pagination and str(page.pagination["current_page"]) != params["page"]:
        raise WireError("mx gave another page than was asked for; nothing of it was used", evidence=reply.body)
    return reply, page


def moved() -> TransientError:
    return TransientError(
        "rows of mx changed while their pages were read; they are read again", code="mutation_during_pagination"
    )


def _guids(page: wire.Listed) -> list[str | None]:
    return [wire.text(row, "guid") for row in page.rows]


def _broken(row: wire.Row) -> bool:
    return row.get("connection_status") in wire.NEEDS_THE_USER
