"""Asks Alpaca's two hosts and yields pages. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from fin_infra.calendars import get_calendar
from fin_infra.errors import FinInfraError, OwnerActionError, TransientError, WireError
from fin_infra.providers.alpaca import wire
from fin_infra.providers.alpaca.frames import NEW_YORK
from fin_infra.providers.base import Account, Ask, Http, Page, Want

ACTIVITIES_PAGE = 100
BARS_PAGE = 10_000
ACTIONS_PAGE = 1_000
ANNOUNCED_AHEAD = timedelta(days=365)
SYMBOLS_PER_CALL = 100
TIMEFRAMES = {"1m": "1Min", "5m": "5Min", "15m": "15Min", "30m": "30Min"}
"""Alpaca's hours begin on the clock's: the first of a session would have half an hour of before the open in it."""
DELAY = timedelta(minutes=15)
"""So old consolidated data must be on a free plan; what is newer may not even be asked for."""
MOST_PAGES = 10_000
CONCERNS_ALL = frozenset(
    {"auth_invalid", "rate_limited", "quota_exhausted", "network_error", "vendor_timeout", "usage"}
)


async def probe(http: Http) -> str:
    """Which account the key opens."""
    found = wire.account((await http.get("/v2/account")).body)
    return f"the account is {found.status.lower()}"


async def accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """The credential's account and its balances: one answer says both."""
    reply = await http.get("/v2/account")
    found = wire.account(reply.body)
    yield Page("accounts", reply, value=found)
    yield Page("balances", reply, Account(found.id, found.id, "investment", found.currency), value=found)


async def holdings(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All open positions: one answer, never paged."""
    account = await _opened(http, ask)
    reply = await http.get("/v2/positions")
    yield Page("holdings", reply, account, value=wire.positions(reply.body))


async def activities(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Activities created after `ask.since`, oldest first; all when there is no since.

    There is no next link: a page shorter than asked for is the last, and the id of a page's last row leads on.
    """
    account = await _opened(http, ask)
    position = ask.resume.get(account.vendor_id)
    for _ in range(MOST_PAGES):
        params = {"direction": "asc", "page_size": str(ACTIVITIES_PAGE)}
        if since := ask.since.get(account.vendor_id):
            params["after"] = datetime.combine(since, time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if position:
            params["page_token"] = position
        reply = await http.get("/v2/account/activities", params)
        rows = wire.activities(reply.body)
        last = rows[-1].get("id") if rows else None
        more = len(rows) >= ACTIVITIES_PAGE
        if more and (not isinstance(last, str) or not last.strip() or last == position):
            raise WireError("a full page that does not lead on: what is newer cannot be asked for", evidence=reply.body)
        position = last if more else None
        yield Page("activities", reply, account, position, value=rows)
        if not more:
            return
    raise TransientError(
        f"more than {MOST_PAGES} pages of activities without an end", code="mutation_during_pagination"
    )


async def _opened(http: Http, ask: Ask) -> Account:
    """The account that the key opens now. Positions and activities do not say whose they are, and a paper account
    that was reset, or a key of another account, would put them under the old one."""
    found = wire.account((await http.get("/v2/account")).body)
    known = next((account for account in ask.accounts if account.vendor_id == found.id), None)
    return known or Account(found.id, found.id, "investment", found.currency)


async def assets(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """What each wanted instrument is, one call each. One that Alpaca no longer lists has a page with its error."""
    for want in ask.wants:
        try:
            reply = await http.get(f"/v2/assets/{want.ticker.replace('/', '%2F')}")
        except OwnerActionError as error:
            if error.code != "not_found":
                raise
            yield Page("instruments", error=error, wants=(want,))
        else:
            yield Page("instruments", reply, value=wire.assets(reply.body), wants=(want,))


async def bars(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Raw daily bars of all wanted instruments, many symbols a call where they want the same sessions."""
    groups = [Group("prices", path, wants, partial(_params, path), wire.bars) for path, wants in _groups(ask.wants)]
    async for page in _all(http, groups):
        yield page


async def intraday(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Raw bars of minutes, many symbols a call where they want the same interval from the same moment on."""

    def call(want: Want) -> tuple[str, str, datetime, date]:
        return _path(want), want.interval, want.since or datetime.combine(want.first, time(), UTC), want.last

    groups = []
    for (path, interval, since, last), alike in itertools.groupby(sorted(ask.wants, key=call), key=call):
        wants = list(alike)
        params = partial(_minutes, path, interval, since, _until(path, last, ask.at))
        groups += [
            Group("intraday_prices", path, wants[start : start + SYMBOLS_PER_CALL], params, wire.bars)
            for start in range(0, len(wants), SYMBOLS_PER_CALL)
        ]
    async for page in _all(http, groups):
        yield page


def _until(path: str, last: date, now: datetime) -> datetime:
    """The last moment that may be asked for: of shares a second before the session's close, or what is old enough."""
    if not path.startswith("/v2/stocks"):
        return min(datetime.combine(last + timedelta(days=1), time(), UTC) - timedelta(seconds=1), now)
    session = get_calendar("XNYS").session(last)
    close = session.close_at if session is not None else datetime.combine(last, time(16), NEW_YORK).astimezone(UTC)
    return min(close - timedelta(seconds=1), now - DELAY)


def _minutes(path: str, interval: str, since: datetime, until: datetime, wants: Sequence[Want]) -> dict[str, str]:
    params = {
        "symbols": ",".join(want.ticker for want in wants), "timeframe": TIMEFRAMES[interval],
        "limit": str(BARS_PAGE), "start": _stamp(since), "end": _stamp(max(since, until)), "sort": "asc",
    }  # fmt: skip
    if path.startswith("/v2/stocks"):
        params |= {"adjustment": "raw", "feed": "sip"}
    return params


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def actions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All corporate actions of all wanted instruments, many symbols a call: those of the past and those announced.

    They are asked for by the day Alpaca processes them, and the default of both ends is today.
    """

    def params(wants: Sequence[Want]) -> dict[str, str]:
        return {
            "symbols": ",".join(want.ticker for want in wants), "start": "1970-01-01",
            "end": (ask.at.date() + ANNOUNCED_AHEAD).isoformat(), "limit": str(ACTIONS_PAGE), "sort": "asc",
        }  # fmt: skip

    wants = sorted(ask.wants, key=lambda want: want.ticker)
    groups = [
        Group(
            "corporate_actions", "/v1/corporate-actions", wants[start : start + SYMBOLS_PER_CALL], params, wire.actions
        )
        for start in range(0, len(wants), SYMBOLS_PER_CALL)
    ]
    async for page in _all(http, groups):
        yield page


@dataclass(frozen=True)
class Group:
    """What the pages of one question are about, and how it is put."""

    dataset: str
    path: str
    wants: Sequence[Want]
    params: Callable[[Sequence[Want]], dict[str, str]]
    parse: Callable[[bytes], wire.Bars | wire.Actions]


async def _all(http: Http, groups: Sequence[Group]) -> AsyncIterator[Page]:
    """The pages of all groups.

    A group that is answered with an error stops no other: it is raised when all were asked. What concerns them all, a
    refused key, a limit or a host that is not reached, is raised at once.
    """
    failed: FinInfraError | None = None
    for group in groups:
        try:
            async for page in _paged(http, group):
                yield page
        except FinInfraError as error:
            if error.code in CONCERNS_ALL:
                raise
            failed = failed or error
    if failed is not None:
        raise failed


async def _paged(http: Http, group: Group) -> AsyncIterator[Page]:
    """The pages of one group. A symbol that is refused is left out, said, and the others asked again."""
    token: str | None = None
    been: set[str] = set()
    wants = group.wants
    for _ in range(MOST_PAGES):
        try:
            leading = {} if token is None else {"page_token": token}
            reply = await http.get(group.path, {**group.params(wants), **leading}, host="data")
        except FinInfraError as error:
            refused = _refused(error, wants) if token is None else None
            if refused is None:
                raise
            yield Page(group.dataset, error=error, wants=(refused,))
            wants = [want for want in wants if want is not refused]
            if not wants:
                return
            continue
        page = group.parse(reply.body)
        token = page.next_page_token
        if token in been:
            raise WireError("a page that leads back: what is behind it cannot be asked for", evidence=reply.body)
        been |= {token} if token else set()
        yield Page(group.dataset, reply, position=token, value=page, wants=wants)
        if token is None:
            return
    raise TransientError(
        f"more than {MOST_PAGES} pages of {group.dataset} without an end", code="mutation_during_pagination"
    )


def _groups(wants: Sequence[Want]) -> list[tuple[str, list[Want]]]:
    """Wants that one call can answer: the same path and the same sessions."""

    def call(want: Want) -> tuple[str, date, date]:
        return _path(want), want.first, want.last

    return [
        (path, alike[start : start + SYMBOLS_PER_CALL])
        for (path, _, _), group in itertools.groupby(sorted(wants, key=call), key=call)
        for alike in [list(group)]
        for start in range(0, len(alike), SYMBOLS_PER_CALL)
    ]


def _path(want: Want) -> str:
    return "/v1beta3/crypto/us/bars" if "/" in want.ticker else "/v2/stocks/bars"


def _params(path: str, wants: Sequence[Want]) -> dict[str, str]:
    """`end` is the last bar's stamp, inclusive: a later one may lie in the 15 minutes that a free plan may not ask."""
    stocks = path.startswith("/v2/stocks")
    params = {
        "symbols": ",".join(want.ticker for want in wants), "timeframe": "1Day", "limit": str(BARS_PAGE),
        "start": _begin(wants[0].first) if stocks else f"{wants[0].first}T00:00:00Z",
        "end": _begin(wants[0].last) if stocks else f"{wants[0].last}T23:59:59Z",
        "sort": "asc",
    }  # fmt: skip
    if stocks:
        params |= {"adjustment": "raw", "feed": "sip"}
    return params


def _begin(day: date) -> str:
    """Midnight in New York, which stamps a day's bar."""
    return datetime.combine(day, time(), NEW_YORK).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(error: FinInfraError, wants: Sequence[Want]) -> Want | None:
    """The one of them that the refusal names."""
    if error.code != "unknown_symbol":
        return None
    symbol = wire.invalid_symbol(error.context.get("word"))
    return next((want for want in wants if want.ticker == symbol), None)
