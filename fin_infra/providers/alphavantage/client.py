"""Asks Alpha Vantage, one instrument a call, and yields pages. The rest is the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import Any

from fin_infra.errors import FinInfraError, OwnerActionError, TransientError
from fin_infra.providers.alphavantage import wire
from fin_infra.providers.alphavantage.symbols import from_alphavantage
from fin_infra.providers.base import Ask, Found, Http, Page, Reply, Want

COMPACT = timedelta(days=138)
"""So long ago is surely within the 100 newest bars: there are no more weekdays in it. Older needs a paid plan."""
HISTORY = timedelta(days=370)
"""So far back a first read would go, and does not: what is older than the newest bars is left to a backfill."""
NEAR_IT = timedelta(days=10)
THEIRS = {ours: theirs for theirs, ours in wire.INTERVALS.items()}
ALONE = frozenset({"unknown_symbol", "not_found", "bad_request", "contract_broken"})
"""Errors that are one instrument's own; any other concerns all of them."""
Params = Callable[[Want], Mapping[str, str]]


async def prices(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Raw daily bars. The 100 newest, or, where older ones are wanted, all: for which a plan must be paid."""

    def params(want: Want) -> Mapping[str, str]:
        return {"function": "TIME_SERIES_DAILY", "symbol": want.ticker}

    async for page in _series(http, ask, "prices", params, wire.daily):
        yield page


async def quotes(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """The newest price of each."""

    def params(want: Want) -> Mapping[str, str]:
        return {"function": "GLOBAL_QUOTE", "symbol": want.ticker}

    async for page in _each(http, ask, "quotes", params, wire.quote):
        yield page


async def rates(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Daily rates of each pair, base and quote as they are asked for."""

    def params(want: Want) -> Mapping[str, str]:
        base, _, quote = want.ticker.partition("/")
        return {"function": "FX_DAILY", "from_symbol": base, "to_symbol": quote}

    async for page in _series(http, ask, "fx_rates", params, wire.rates):
        yield page


async def instruments(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """What the search says of the very symbol."""

    def params(want: Want) -> Mapping[str, str]:
        return {"function": "SYMBOL_SEARCH", "keywords": want.ticker}

    async for page in _each(http, ask, "instruments", params, wire.listings):
        yield page


async def actions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All splits and all dividends of each instrument: two calls, one answer."""
    for want in ask.wants:
        try:
            for function, last in (("SPLITS", False), ("DIVIDENDS", True)):
                reply = await http.get("/query", {"function": function, "symbol": want.ticker})
                value = wire.actions(reply.body)
                position = None if last else "DIVIDENDS"
                yield Page("corporate_actions", reply, position=position, value=value, wants=(want,))
        except FinInfraError as error:
            yield _failed("corporate_actions", want, error)


async def intraday(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Raw bars of the regular hours, a month a call: the last one's page ends the answer."""
    for want in ask.wants:
        months = _months(want.first, want.last)
        try:
            for month, following in zip(months, [*months[1:], None], strict=True):
                reply = await http.get("/query", {
                    "function": "TIME_SERIES_INTRADAY", "symbol": want.ticker, "interval": THEIRS[want.interval],
                    "adjusted": "false", "extended_hours": "false", "month": month, "outputsize": "full",
                })  # fmt: skip
                value = wire.intraday(reply.body)
                yield Page("intraday_prices", reply, position=following, value=value, wants=(want,))
        except FinInfraError as error:
            yield _failed("intraday_prices", want, error)


async def probe(http: Http) -> str:
    """The newest price of one share: there is no call that costs nothing."""
    found = wire.quote((await http.get("/query", {"function": "GLOBAL_QUOTE", "symbol": "IBM"})).body)
    return f"it answers, with prices of {found.rows[0][0]}"


async def symbols(http: Http, word: str) -> list[Found]:
    """Listings that match a word, the best first; none where it finds none."""
    try:
        reply = await http.get("/query", {"function": "SYMBOL_SEARCH", "keywords": word})
    except OwnerActionError as error:
        if error.code == "unknown_symbol":
            return []
        raise
    found = []
    for listing in wire.listings(reply.body):
        more = {"kind": listing.kind, "currency": listing.currency, "region": listing.region}
        told = {name: text for name, text in more.items() if text is not None}
        found.append(Found(listing.symbol, listing.name or "", from_alphavantage(listing.symbol), told))
    return found


async def _series(
    http: Http, ask: Ask, dataset: str, params: Params, parse: Callable[[bytes], Any]
) -> AsyncIterator[Page]:  # fmt: skip
    """Of each instrument the 100 newest rows, or, where older ones are wanted, all of them; not by a first read.

    A plan that does not cover them says so once, and is not asked again: each such call counts. The newest are read all
    the same, and the engine names the days in between as missing; where all that is wanted is older, that is an error.
    """
    uncovered: FinInfraError | None = None
    reach = ask.at.date() - COMPACT

    async def answer(want: Want) -> Reply:
        nonlocal uncovered
        first_read = abs(ask.at.date() - HISTORY - want.first) <= NEAR_IT and want.last >= reach
        if want.first < reach and uncovered is None and not first_read:
            try:
                return await http.get("/query", {**params(want), "outputsize": "full"})
            except FinInfraError as error:
                if error.code != "plan_limit":
                    raise
                uncovered = error
        if want.last < reach and uncovered is not None:
            raise uncovered
        return await http.get("/query", {**params(want), "outputsize": "compact"})

    async for page in _each(http, ask, dataset, answer, parse, ALONE | {"plan_limit"}):
        yield page


async def _each(
    http: Http, ask: Ask, dataset: str, how: Params | Callable[[Want], Awaitable[Reply]], parse: Callable[[bytes], Any],
    alone: frozenset[str] = ALONE,
) -> AsyncIterator[Page]:  # fmt: skip
    """One page for each instrument; one that fails alone stops no other."""
    for want in ask.wants:
        try:
            asked = how(want)
            reply = await http.get("/query", asked) if isinstance(asked, Mapping) else await asked
            page = Page(dataset, reply, value=parse(reply.body), wants=(want,))
        except FinInfraError as error:
            page = _failed(dataset, want, error, alone)
        yield page


def _failed(dataset: str, want: Want, error: FinInfraError, alone: frozenset[str] = ALONE) -> Page:
    """This instrument's error as its page. Raises what concerns all: a key, a limit, or a vendor that is down."""
    if error.code not in alone or isinstance(error, TransientError):
        raise error
    return Page(dataset, error=error, wants=(want,))


def _months(first: date, last: date) -> list[str]:
    months = []
    day = first.replace(day=1)
    while day <= last:
        months.append(f"{day:%Y-%m}")
        day = (day + timedelta(days=32)).replace(day=1)
    return months
