"""Asks CoinGecko and yields pages. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from fin_infra.errors import DefectError, OwnerActionError
from fin_infra.providers.base import Acting, Ask, Found, Http, Page, Reply, Want
from fin_infra.providers.coingecko import symbols, wire

API = "/api/v3"
CURRENCY = "usd"
DECIMALS = "18"  # all that an amount here can have; "full" has more of them for coins of small prices
COINS_PER_CALL = 200  # of ids, some twenty letters each: the address stays below what servers take
AT_ONCE = timedelta(days=1000)  # so that a broken answer costs little; one call for all that a free plan has
DAILY_FROM = timedelta(days=92)  # of a span of up to 90 days the points are hours
PLAN_WINDOW = timedelta(days=364)  # without a paid plan 365 days back from the moment of the call
TIME_RANGE = "10012"
CANDLES = {"30m": (1,), "4h": (7, 14, 30)}
"""Of how many days up to now candles of a length can be had; above 30 they are of four days."""
COINS_OWN = frozenset({"unknown_symbol", "not_found"})
"""Refusals of one coin alone."""


async def prices(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Daily closes, coin by coin, each in spans. A coin that is refused, or whose answer is broken, stops no other.

    Where the plan does not go back so far, the days that it covers come, and its refusal with them.
    """
    failed: DefectError | None = None
    wants, errors = await _resolved(http, ask.wants, "prices")
    for page in errors:
        yield page
    for want, coin in wants:
        try:
            async for page in _history(http, want, coin, ask.at):
                yield page
        except OwnerActionError as error:
            if error.code not in COINS_OWN and error.context.get("word") != TIME_RANGE:
                raise
            yield Page("prices", error=error, wants=(want,))
        except DefectError as error:
            failed = failed or error
    if failed is not None:
        raise failed


async def _history(http: Http, want: Want, coin: str, at: datetime) -> AsyncIterator[Page]:
    refused: OwnerActionError | None = None
    oldest = (at - PLAN_WINDOW).date()
    try:
        async for page in _spans(http, want, coin, at):
            yield page
    except OwnerActionError as error:
        if error.context.get("word") != TIME_RANGE or want.first >= oldest:
            raise
        refused = error
    if refused is None:
        return
    if want.last >= oldest:
        async for page in _spans(http, want._replace(first=oldest), coin, at):
            yield page
    said = f"{refused.message}; asked for {want.first} to {want.last}, and nothing before {oldest} was read"
    raise OwnerActionError(said, code=refused.code, word=TIME_RANGE)


async def _spans(http: Http, want: Want, coin: str, at: datetime) -> AsyncIterator[Page]:
    first = want.first
    while True:
        last = min(first + AT_ONCE, want.last)
        begin, end = span(first, last, at)
        params = {"vs_currency": CURRENCY, "from": begin, "to": end, "precision": DECIMALS}
        reply = await http.get(f"{API}/coins/{coin}/market_chart/range", params)
        chart = wire.chart(reply.body)
        _within(chart, begin, end, reply)
        further = last + timedelta(days=1)
        more = further <= want.last
        yield Page(
            "prices", reply, position=str(further) if more else None, value=replace(chart, coin=want.ticker),
            wants=(want,),
        )  # fmt: skip
        if not more:
            return
        first = further


def span(first: date, last: date, at: datetime) -> tuple[int, int]:
    """Seconds since 1970 from the close of `first` to the close of `last`, and an hour more: who knows whether an end
    is within. So wide that the points are days: towards today where there is room, else towards the past."""
    begin, end = first + timedelta(days=1), last + timedelta(days=1)
    end = max(end, min(begin + DAILY_FROM, at.astimezone(UTC).date()))
    begin = min(begin, end - DAILY_FROM)
    return _seconds(begin), _seconds(end) + 3600


def _within(chart: wire.Chart, begin: int, end: int, reply: Reply) -> None:
    """Who answers with other days than it was asked for may do so for ever: nothing is taken, and no further page is
    asked for."""
    day = wire.DAY // 1000
    outside = [at for at, _ in chart.points if not begin - day <= at // 1000 <= end + day]
    if outside:
        raise wire.broken(
            f"prices: {len(outside)} of {len(chart.points)} are of other days than were asked", reply.body
        )


async def intraday(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """Candles, coin by coin and length by length: what is not as far back as was asked for nobody has any more."""
    failed: DefectError | None = None
    wants, errors = await _resolved(http, ask.wants, "intraday_prices")
    for page in errors:
        yield page
    for want, coin in wants:
        since = want.since or datetime.combine(want.first, time(), UTC)
        reach = next((days for days in CANDLES[want.interval] if since >= ask.at - timedelta(days=days)), None)
        days = reach or CANDLES[want.interval][-1]
        params = {"vs_currency": CURRENCY, "days": days, "precision": DECIMALS}
        try:
            reply = await http.get(f"{API}/coins/{coin}/ohlc", params)
            found = wire.intraday(reply.body)
        except OwnerActionError as error:
            if error.code not in COINS_OWN:
                raise
            yield Page("intraday_prices", error=error, wants=(want,))
        except DefectError as error:
            failed = failed or error
        else:
            reaches = None if reach else ask.at - timedelta(days=days)
            value = replace(found, coin=want.ticker)
            yield Page("intraday_prices", reply, value=value, wants=(want,), reaches=reaches)
    if failed is not None:
        raise failed


async def quotes(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """The newest prices, many coins a call. A coin that the answer does not name is none that CoinGecko knows."""
    wants, errors = await _resolved(http, ask.wants, "quotes")
    for page in errors:
        yield page
    for start in range(0, len(wants), COINS_PER_CALL):
        group = wants[start : start + COINS_PER_CALL]
        ids = ",".join(sorted({coin for _, coin in group}))
        params = {"ids": ids, "vs_currencies": CURRENCY, "include_last_updated_at": "true", "precision": DECIMALS}
        reply = await http.get(f"{API}/simple/price", params)
        found = wire.prices(reply.body)
        for want, coin in group:
            if coin not in found:
                yield Page("quotes", error=_unknown(coin), wants=(want,))
            elif found[coin].usd is None:
                yield Page("quotes", error=_priceless(coin), wants=(want,))
        priced = {want.ticker: found[coin] for want, coin in group if coin in found and found[coin].usd is not None}
        if priced:
            told = wire.Quoted({ticker: (price.usd, price.last_updated_at) for ticker, price in priced.items()})
            answered = [want for want, _ in group if want.ticker in priced]
            yield Page("quotes", reply, value=told, wants=answered)


async def instruments(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """What each coin is: one call for a single one, else the list of all, which costs no more."""
    if not ask.wants:
        return
    wants = list(ask.wants)
    if len(wants) == 1 and not symbols.is_contract(wants[0].ticker):
        try:
            reply = await http.get(f"{API}/coins/{wants[0].ticker}", BARE)
        except OwnerActionError as error:
            if error.code != "unknown_symbol":
                raise
            yield Page("instruments", error=_unlisted(wants[0].ticker), wants=wants)
        else:
            yield Page("instruments", reply, value=wire.coins(reply.body), wants=wants)
        return
    reply = await _list(http)
    listed = wire.coins(reply.body)
    ids, contracts = {coin.id for coin in listed.rows}, symbols.by_contract(listed.rows)
    named = {want.ticker: contracts.get(want.ticker, want.ticker) for want in wants}
    for want in wants:
        if named[want.ticker] not in ids:
            yield Page("instruments", error=_unlisted(want.ticker), wants=(want,))
    known = [want for want in wants if named[want.ticker] in ids]
    if known:
        meant = set(named.values())
        rows = [coin for coin in listed.rows if coin.id in meant]
        yield Page("instruments", reply, value=wire.Coins(rows, named), wants=known)


async def coins(http: Http, word: str) -> Sequence[Found]:
    """All coins, whatever the word. A symbol is no key: many coins share one."""
    return [
        Found(coin.id, coin.name, symbols.from_coingecko(coin.id), {"symbol": coin.symbol, **_contracts(coin)})
        for coin in wire.coins((await _list(http)).body).rows
    ]


async def probe(http: Acting) -> str:
    """A call that any key may make; without a key it tells that the address answers."""
    return f"it answers {wire.ping((await http.get(f'{API}/ping')).body)!r}"


BARE = dict.fromkeys(
    ("localization", "tickers", "market_data", "community_data", "developer_data", "sparkline"), "false"
)  # fmt: skip
"""`/coins/{id}` without what is not read: of a well-known coin that is most of it."""


async def _list(http: Http) -> Reply:
    return await http.get(f"{API}/coins/list", {"include_platform": "true"})


async def _resolved(
    http: Http, wants: Sequence[Want], dataset: str
) -> tuple[list[tuple[Want, str]], list[Page]]:  # fmt: skip
    """Each want with the id that its ticker means, and pages of those that mean none. The list is asked for only where
    a ticker is a contract."""
    contracts: dict[str, str] = {}
    if any(symbols.is_contract(want.ticker) for want in wants):
        contracts = symbols.by_contract(wire.coins((await _list(http)).body).rows)
    meant = [(want, contracts.get(want.ticker, want.ticker)) for want in wants]
    known = [(want, coin) for want, coin in meant if not symbols.is_contract(coin)]
    unknown = [Page(dataset, error=_unknown(coin), wants=(want,)) for want, coin in meant if symbols.is_contract(coin)]
    return known, unknown


def _contracts(coin: wire.Coin) -> dict[str, str]:
    return {platform: address for platform, address in coin.platforms.items() if platform and address}


def _unknown(coin: str) -> OwnerActionError:
    return OwnerActionError(
        f"coingecko knows no coin {coin!r}; look for its id on coingecko.com", code="unknown_symbol"
    )


def _priceless(coin: str) -> OwnerActionError:
    return OwnerActionError(f"coingecko has no price of {coin!r} now; nobody trades it", code="not_found")


def _unlisted(coin: str) -> OwnerActionError:
    return OwnerActionError(f"coingecko lists no coin {coin!r}; what is known of it is kept", code="not_found")


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
