"""Asks Alpha Vantage, one instrument a call, and yields pages. The rest is the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date, timedelta
from typing import Any

from fin_infra.errors import FinInfraError, OwnerActionError, TransientError
from fin_infra.providers.alphavantage import wire
from fin_infra.providers.alphavantage.symbols import from_alphavantage
from fin_infra.providers.base import Ask, Found, Http, Page, Want

COMPACT = timedelta(days=138)
"""So long ago is surely within the 100 newest bars: 96 sessions at most. What is older needs `outputsize=full`."""
ALONE = frozenset({"unknown_symbol", "not_found", "bad_request", "contract_broken", "plan_limit"})
"""Errors that are one instrument's own; any other concerns all of them."""
INTERVAL = "5min"


async def prices(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Raw daily bars. The 100 newest, or, where older ones are wanted, all: for which a plan must be paid."""

    def params(want: Want) -> Mapping[str, str]:
        return {"function": "TIME_SERIES_DAILY", "symbol": want.ticker, "outputsize": _size(ask, want)}

    async for page in _each(http, ask, "prices", params, wire.daily):
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
        return {"function": "FX_DAILY", "from_symbol": base, "to_symbol": quote, "outputsize": _size(ask, want)}

    async for page in _each(http, ask, "fx_rates", params, wire.rates):
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
    """Raw bars of the regular hours, a month a call."""
    for want in ask.wants:
        months = _months(want.first, want.last)
        try:
            for month in months:
                reply = await http.get("/query", {
                    "function": "TIME_SERIES_INTRADAY", "symbol": want.ticker, "interval": INTERVAL,
                    "adjusted": "false", "extended_hours": "false", "month": month, "outputsize": "full",
                })  # fmt: skip
                position = None if month == months[-1] else month
                yield Page(
                    "intraday_prices", reply, position=position, value=wire.intraday(reply.body), wants=(want,)
                )  # fmt: skip
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


async def _each(
    http: Http, ask: Ask, dataset: str, params: Callable[[Want], Mapping[str, str]], parse: Callable[[bytes], Any]
) -> AsyncIterator[Page]:
    """One page for each instrument; one that fails alone stops no other."""
    for want in ask.wants:
        try:
            reply = await http.get("/query", params(want))
            page = Page(dataset, reply, value=parse(reply.body), wants=(want,))
        except FinInfraError as error:
            page = _failed(dataset, want, error)
        yield page


def _failed(dataset: str, want: Want, error: FinInfraError) -> Page:
    """This instrument's error as its page. Raises what concerns all: a key, a limit, or a vendor that is down."""
    if error.code not in ALONE or isinstance(error, TransientError):
        raise error
    return Page(dataset, error=error, wants=(want,))


def _size(ask: Ask, want: Want) -> str:
    return "full" if want.first < ask.at.date() - COMPACT else "compact"


def _months(first: date, last: date) -> list[str]:
    months = []
    day = first.replace(day=1)
    while day <= last:
        months.append(f"{day:%Y-%m}")
        day = (day + timedelta(days=32)).replace(day=1)
    return months
