"""Asks Yahoo for charts, one symbol a call, and yields pages. The rest is the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import quote

from fin_infra.errors import FinInfraError, OwnerActionError, TransientError, error_of
from fin_infra.providers.base import Ask, Http, Page, Want
from fin_infra.providers.yahoo import wire

EVENTS = "div|split"
PAUSE = timedelta(minutes=15).total_seconds()
"""Seconds that nobody asks after a refusal: it lasts minutes to hours, and nothing says how long."""
ALONE = frozenset({"unknown_symbol", "not_found", "bad_request", "contract_broken"})
"""Errors that are one symbol's own; any other concerns all of them."""
Params = Callable[[Want], Mapping[str, str]]


async def prices(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Daily bars. An exchange's day begins up to 14 hours before UTC's: a day more is asked for on each side."""

    def params(want: Want) -> Mapping[str, str]:
        return {**_span(want.first - timedelta(days=1), want.last + timedelta(days=1)), "interval": "1d"}

    async for page in _each(http, ask, "prices", params):
        yield page


async def intraday_prices(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Bars shorter than a day, from where they are needed: one call of an instrument and interval."""

    def params(want: Want) -> Mapping[str, str]:
        span = _span(want.first - timedelta(days=1), want.last + timedelta(days=1))
        if want.since is not None:
            span["period1"] = str(int(want.since.timestamp()))
        return {**span, "interval": want.interval, "includePrePost": "false"}

    async for page in _each(http, ask, "intraday_prices", params):
        yield page


async def corporate_actions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All events of the chart's whole history: a dividend can only be told from it and all splits behind it."""

    def params(want: Want) -> Mapping[str, str]:
        return {**_span(date(1970, 1, 1), ask.at.date() + timedelta(days=1)), "interval": "1d", "events": EVENTS}

    async for page in _each(http, ask, "corporate_actions", params):
        yield page


async def quotes(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """The chart of today: its head has the newest price. The quote endpoint needs a cookie, which this does not."""
    async for page in _each(http, ask, "quotes", _today):
        yield page


async def instruments(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """What the head of a chart says of its listing."""
    async for page in _each(http, ask, "instruments", _today):
        yield page


def _today(want: Want) -> Mapping[str, str]:
    return {"interval": "1d", "range": "1d"}


async def _each(http: Http, ask: Ask, dataset: str, params: Params) -> AsyncIterator[Page]:
    """One page for each instrument; one that fails alone stops no other.

    "No data found" is what a symbol that does not exist gets, and what a good one gets where Yahoo throttles. So those
    are asked again behind the others, and believed when they are refused twice; not even then where nothing else was
    answered: that is Yahoo's silence, not theirs.
    """
    unknown: list[Want] = []
    answered = False
    for want in ask.wants:
        try:
            page = await _asked(http, dataset, want, params)
        except OwnerActionError as error:
            if error.code != "unknown_symbol" or error.context.get("word") == wire.NO_SUCH:
                page = _failed(dataset, want, error)
            else:
                unknown.append(want)
                continue
        except FinInfraError as error:
            page = _failed(dataset, want, error)
        answered = True
        yield page
    twice: list[Page] = []
    for want in unknown:
        try:
            page = await _asked(http, dataset, want, params)
        except FinInfraError as error:
            twice.append(_failed(dataset, want, error))
        else:
            answered = True
            yield page
    if len(twice) > 1 and not answered:
        raise error_of(
            "rate_limited", f"yahoo has no data of any of {len(twice)} symbols, which is how it throttles too; "
            "none of them is believed unknown, they are asked again after the wait", retry_after=PAUSE,
        )  # fmt: skip
    for page in twice:
        yield page


async def _asked(http: Http, dataset: str, want: Want, params: Params) -> Page:
    reply = await http.get(f"/v8/finance/chart/{quote(want.ticker, safe='')}", params(want))
    return Page(dataset, reply, value=wire.charts(reply.body), wants=(want,))


def _failed(dataset: str, want: Want, error: FinInfraError) -> Page:
    """This instrument's error as its page. Raises what concerns all: a limit, or a vendor that is down."""
    if error.code not in ALONE or isinstance(error, TransientError):
        raise error
    return Page(dataset, error=error, wants=(want,))


def _span(first: date, last: date) -> dict[str, str]:
    """From the begin of one day to the end of another, UTC, in seconds."""
    begin, end = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
    return {"period1": str(int(begin.timestamp())), "period2": str(int(end.timestamp()))}
