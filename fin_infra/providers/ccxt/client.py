"""Asks an exchange for candles and yields pages. Sleeps, retries, quotas and errors are the shared transport's.

An answer is never trusted to be whole because it is short: limits change without notice. Each next page begins where
the last candle ended, whatever its length, and the end is reached when the newest candle that was asked for is there
or nothing comes any more. A page that brings nothing new although it has candles is a broken contract, and no loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import NoReturn

from fin_infra.errors import FinInfraError, WireError
from fin_infra.providers.base import Ask, Fetch, Http, Page, Reply, Want
from fin_infra.providers.ccxt import wire
from fin_infra.providers.ccxt.symbols import pair_of
from fin_infra.providers.ccxt.wire import Candles

DAILY = "1d"
SECONDS: Mapping[str, int] = {
    "1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14_400, "6h": 21_600,
    "12h": 43_200, DAILY: 86_400,
}  # fmt: skip
KRAKEN_ROWS, COINBASE_ROWS, BINANCE_ROWS = 720, 300, 1000
MOST_PAGES = 20_000
OF_THE_PAIR = frozenset({"unknown_symbol", "not_found", "bad_request"})


@dataclass(frozen=True)
class Span:
    """Candles that are asked for: of a pair, `step` seconds each, starting from `begin` to `end`, both included."""

    want: Want
    dataset: str
    interval: str
    step: int
    begin: int
    end: int


@dataclass(frozen=True)
class Part:
    """An answer with those of its candles that are new and asked for. `next`: where the following one begins."""

    reply: Reply
    candles: Candles
    next: int | None
    reaches: int | None = None


Paging = Callable[[Http, Span], AsyncIterator[Part]]


def candles(paging: Paging) -> Fetch:
    """A source's fetch: all wants, one after the other. A pair that is refused stops no other."""

    async def fetch(http: Http, ask: Ask) -> AsyncIterator[Page]:
        refused: set[str] = set()
        for want in ask.wants:
            if want.ticker in refused:
                continue
            span = span_of(want, ask.at)
            try:
                async for part in paging(http, span):
                    yield Page(
                        span.dataset, part.reply, position=None if part.next is None else str(part.next),
                        value=replace(part.candles, pair=want.ticker), wants=(want,),
                        reaches=None if part.reaches is None else datetime.fromtimestamp(part.reaches, UTC),
                    )  # fmt: skip
            except FinInfraError as error:
                if error.code not in OF_THE_PAIR:
                    raise
                refused.add(want.ticker)
                yield Page(span.dataset, error=error, wants=(want,))

    return fetch


def span_of(want: Want, at: datetime) -> Span:
    """Whole candles: from the one that runs at the first moment to the one that runs at the last."""
    interval = want.interval or DAILY
    step = SECONDS[interval]
    begin = int((want.since or _midnight(want.first)).timestamp())
    last = _midnight(want.last) + timedelta(days=1) - timedelta(seconds=1)
    end = int(min(last, at).timestamp())
    dataset = "intraday_prices" if want.interval else "prices"
    return Span(want, dataset, interval, step, begin // step * step, end // step * step)


async def kraken(http: Http, span: Span) -> AsyncIterator[Part]:
    """One answer: Kraken has the newest 720 candles of an interval and nothing before, whatever `since` says.

    `since` itself is left out of the answer, so it is a second before.
    """
    params = {"pair": span.want.ticker, "interval": str(span.step // 60), "since": str(span.begin - 1)}
    reply = await http.get("/0/public/OHLC", params)
    found = wire.kraken(reply.body)
    if found.pair is not None and (meant := pair_of(found.pair)) is not None and meant != pair_of(span.want.ticker):
        raise WireError(f"candles of another pair than {span.want.ticker}, which was asked for", evidence=reply.body)
    cut = found.stamps and found.stamps[0] > span.begin and len(found.stamps) >= KRAKEN_ROWS
    yield Part(reply, _within(found, span.begin, span.end), None, found.stamps[0] if cut else None)


async def binance(http: Http, span: Span) -> AsyncIterator[Part]:
    """Pages of at most 1000, oldest first."""
    begin: int | None = span.begin
    for _ in range(MOST_PAGES):
        assert begin is not None
        params = {
            "symbol": span.want.ticker, "interval": span.interval, "startTime": str(begin * 1000),
            "endTime": str(span.end * 1000), "limit": str(BINANCE_ROWS),
        }  # fmt: skip
        reply = await http.get("/api/v3/klines", params)
        found = wire.binance(reply.body)
        new = _within(found, begin, span.end)
        if found.stamps and found.stamps[-1] < begin:
            _no_progress(span, reply)
        begin = _next(new.rows[-1].start, span) if new.rows else None
        yield Part(reply, new, begin)
        if begin is None:
            return
    _endless(span)


async def coinbase(http: Http, span: Span) -> AsyncIterator[Part]:
    """Windows of 300 candles, each asked for by both its ends.

    An answer is cut at its old end. So where its oldest candle is not the window's first, what is before that is asked
    for again, until nothing comes: then nobody traded there.
    """
    low, before = span.begin, b""
    for _ in range(MOST_PAGES):
        high = min(low + (COINBASE_ROWS - 1) * span.step, span.end)
        following = high + span.step if high + span.step <= span.end else None
        while True:
            params = {"granularity": str(span.step), "start": _iso(low), "end": _iso(high)}
            reply = await http.get(f"/products/{span.want.ticker}/candles", params)
            found = wire.coinbase(reply.body)
            new = _within(found, low, high)
            if found.stamps and not new.rows and reply.body == before:
                _no_progress(span, reply)
            before = reply.body
            oldest = new.rows[0].start if new.rows else low
            again = oldest > low
            yield Part(reply, new, low if again else following)
            if not again:
                break
            high = oldest - span.step
        if following is None:
            return
        low = following
    _endless(span)


def _within(found: Candles, begin: int, end: int) -> Candles:
    return replace(found, rows=[row for row in found.rows if begin <= row.start <= end])


def _next(last: int, span: Span) -> int | None:
    begin = last // span.step * span.step + span.step
    return begin if begin <= span.end else None


def _no_progress(span: Span, reply: Reply) -> NoReturn:
    raise WireError(
        f"candles of {span.want.ticker} that were asked for on from the last one, and came again: the vendor does not "
        "go by the time that is asked for", evidence=reply.body,
    )  # fmt: skip


def _endless(span: Span) -> NoReturn:
    raise WireError(f"more than {MOST_PAGES} pages of {span.interval} candles of {span.want.ticker} without an end")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _iso(stamp: int) -> str:
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
