"""Yahoo's charts imitated over HTTP: bars, events, holes, the row of now, and refusals as plain text.

State is scripted from outside, as traded: what is served is adjusted for the splits up to now, and a float32, as the
vendor's is. The float is the vendor's own loss, imitated; nothing of ours goes through one.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fin_infra.calendars import get_calendar
from fin_infra.providers.simulating import Fault, Simulator

RANGES = {"1d": 1, "5d": 5, "1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731, "5y": 1827, "10y": 3653, "max": 0}
MINUTES = {"1m": 1, "2m": 2, "5m": 5, "15m": 15, "30m": 30, "60m": 60, "90m": 90, "1h": 60}
WITHIN = {"1m": 30, "60m": 730, "1h": 730}
"""So many days back goes the history of an interval; 60 for the others."""
NAMES = ("open", "high", "low", "close", "volume")
THROTTLED = "Too Many Requests\r\n"


@dataclass
class SimBar:
    """Figures of a bar as traded, as text; None: null in its array."""

    open: str | None
    high: str | None
    low: str | None
    close: str | None
    volume: str | None = "1000"

    def times(self, factor: Fraction) -> SimBar:
        """Per share after a split into so many."""
        first, high, low, last = (_by(text, 1 / factor) for text in (self.open, self.high, self.low, self.close))
        volume = _by(self.volume, factor)
        return SimBar(first, high, low, last, volume.partition(".")[0] if volume else volume)


NOTHING = SimBar(None, None, None, None, None)


@dataclass
class SimListing:
    """One symbol. Bars and dividends are per share of their own day; `currency` may be a hundredth, as `GBp`.

    `unapplied`: ex-dates of splits that the bars were not adjusted for. `twice`: the row of now has one of the day's
    begin beside it. `verbatim`: bars, by day, that are served with just these figures.
    """

    symbol: str
    currency: str | None = "USD"
    zone: str = "America/New_York"
    opens: time = time(9, 30)
    closes: time = time(16, 0)
    kind: str = "EQUITY"
    exchange: str = "NMS"
    hint: int = 2
    bars: dict[date, SimBar] = field(default_factory=dict)
    splits: dict[date, tuple[str, str]] = field(default_factory=dict)
    dividends: dict[date, str] = field(default_factory=dict)
    unapplied: set[date] = field(default_factory=set)
    verbatim: dict[date, SimBar] = field(default_factory=dict)
    shorter: dict[str, dict[datetime, SimBar]] = field(default_factory=dict)
    twice: bool = False
    price: str | None = None  # the one of now, where it is not the newest close
    silent: bool = False  # 200 without bars: what a symbol gets that was never traded

    def begin(self, day: date) -> datetime:
        return datetime.combine(day, self.opens, ZoneInfo(self.zone)).astimezone(UTC)

    def end(self, day: date) -> datetime:
        last = datetime.combine(day, self.closes, ZoneInfo(self.zone)).astimezone(UTC)
        return last if last > self.begin(day) else last + timedelta(days=1)

    def factor(self, day: date, today: date, *, bars: bool = True) -> Fraction:
        """Shares of today for one of this day: of a dividend the split of the very day counts too."""
        made = Fraction(1)
        for ex_on, (new, old) in self.splits.items():
            if (day < ex_on if bars else day <= ex_on) and ex_on <= today and not (bars and ex_on in self.unapplied):
                made *= Fraction(new) / Fraction(old)
        return made


class YahooSimulator(Simulator):
    """Listings by their symbol. `throttled_until`: any request before is refused, and counted in `refused`."""

    def __init__(self, **more: Callable[[], datetime]) -> None:
        super().__init__(**more)
        self.listings: dict[str, SimListing] = {}
        self.throttled_until: datetime | None = None
        self.refused = 0
        self.agents: set[str] = set()
        self.answering = Starlette(
            routes=[
                Route("/v8/finance/chart/{symbol}", self._asked),
                Route("/v7/finance/quote", self._quote),
            ]
        )

    # -- script --------------------------------------------------------------------------------------------------------

    def listed(self, symbol: str, **more: Any) -> SimListing:
        """A new listing without bars."""
        self.listings[symbol] = SimListing(symbol, **more)
        return self.listings[symbol]

    def set_bar(self, symbol: str, day: date | str, close: str, **more: str | None) -> None:
        """A day's bar as traded; what is not said is its close."""
        listing = self.listings.get(symbol) or self.listed(symbol)
        prices = {name: more.get(name, close) for name in NAMES[:3]}
        listing.bars[date.fromisoformat(str(day))] = SimBar(**prices, close=close, volume=more.get("volume", "1000"))

    def hole(self, symbol: str, day: date | str) -> None:
        """A row of nulls alone."""
        self.listings[symbol].verbatim[date.fromisoformat(str(day))] = NOTHING

    def split(self, symbol: str, ex_on: date | str, new: str, old: str = "1", *, applied: bool = True) -> None:
        day = date.fromisoformat(str(ex_on))
        self.listings[symbol].splits[day] = new, old
        if not applied:
            self.listings[symbol].unapplied.add(day)

    def dividend(self, symbol: str, ex_on: date | str, amount: str) -> None:
        """So much per share as held before this day."""
        self.listings[symbol].dividends[date.fromisoformat(str(ex_on))] = amount

    # -- answers -------------------------------------------------------------------------------------------------------

    def _asked(self, request: Request) -> Response:
        self.agents.add(request.headers.get("user-agent", ""))
        if self.throttled_until is not None and self._now() < self.throttled_until:
            self.refused += 1
            return PlainTextResponse(THROTTLED, 429)
        if not request.headers.get("user-agent", "").startswith("Mozilla/"):
            return PlainTextResponse(THROTTLED, 429)
        listing = self.listings.get(request.path_params["symbol"])
        if listing is None:
            return failed(404, "Not Found", "No data found, symbol may be delisted")
        asked = request.query_params
        interval = asked.get("interval", "1d")
        begin, end = self._span(asked.get("period1"), asked.get("period2"), asked.get("range", "1d"))
        if (told := self._too_far(interval, begin, end)) is not None:
            return failed(422, "Unprocessable Entity", told)
        if not listing.silent and listing.bars and end <= listing.begin(min(listing.bars)):
            start, stop = (int(at.timestamp()) for at in (begin, end))
            return failed(400, "Bad Request", f"Data doesn't exist for startDate = {start}, endDate = {stop}")
        return _answered(self._chart(listing, interval, begin, end, asked))

    def _quote(self, request: Request) -> Response:
        return JSONResponse(
            {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}, 401
        )

    def _span(self, first: str | None, last: str | None, span: str) -> tuple[datetime, datetime]:
        epoch, now = datetime(1970, 1, 1, tzinfo=UTC), self._now()
        if first is not None and last is not None:
            return epoch + timedelta(seconds=int(first)), epoch + timedelta(seconds=int(last))
        days = RANGES.get(span, 1)
        return (now - timedelta(days=days) if days else epoch), now + timedelta(seconds=1)

    def _too_far(self, interval: str, begin: datetime, end: datetime) -> str | None:
        if interval not in MINUTES:
            return None
        within, times = WITHIN.get(interval, 60), f"startTime={begin.timestamp():.0f} and endTime={end.timestamp():.0f}"
        told = f"{interval} data not available for {times}."
        if interval == "1m" and end - begin > timedelta(days=8):
            return f"{told} Only 8 days worth of 1m granularity data are allowed to be fetched per request."
        if begin < self._now() - timedelta(days=within + 1):
            return f"{told} The requested range must be within the last {within} days."
        return None

    def _chart(
        self, listing: SimListing, interval: str, begin: datetime, end: datetime, asked: Any
    ) -> dict[str, Any]:  # fmt: skip
        now = self._now()
        whole = self._shorter(listing, interval) if interval in MINUTES else self._days(listing)
        rows = [(at, bar) for at, bar in whole if begin <= at < end]
        earlier = [bar.close for at, bar in whole if at < begin and bar.close is not None]
        traded = [(at, bar) for at, bar in self._days(listing) if bar.close is not None]
        zone = ZoneInfo(listing.zone)
        offset = int((now.astimezone(zone).utcoffset() or timedelta()).total_seconds())
        word = now.astimezone(zone).tzname() or "UTC"
        today = now.astimezone(zone).date()
        open_at, close_at = (int(at.timestamp()) for at in (listing.begin(today), listing.end(today)))
        meta: dict[str, Any] = {
            "currency": None if listing.silent else listing.currency, "symbol": listing.symbol,
            "exchangeName": listing.exchange, "instrumentType": listing.kind,
            "firstTradeDate": int(listing.begin(min(listing.bars)).timestamp()) if traded else None,
            "regularMarketTime": int(self._priced_at(listing, now).timestamp()), "gmtoffset": offset, "timezone": word,
            "exchangeTimezoneName": listing.zone,
            "regularMarketPrice": _float32(listing.price or traded[-1][1].close) if traded else None,
            "chartPreviousClose": _float32(earlier[-1]) if earlier else None, "priceHint": listing.hint,
            "currentTradingPeriod": {
                part: {"timezone": word, "end": close_at, "start": open_at, "gmtoffset": offset}
                for part in ("pre", "regular", "post")
            },
            "dataGranularity": interval, "range": asked.get("range", ""), "validRanges": [*RANGES, "ytd"],
        }  # fmt: skip
        if listing.silent or not rows:
            for name in ("regularMarketPrice", "chartPreviousClose"):
                if meta[name] is None:
                    del meta[name]
            return {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
        quote = {
            name: [
                None if (text := getattr(bar, name)) is None else int(text) if name == "volume" else _float32(text)
                for _, bar in rows
            ]
            for name in NAMES
        }
        indicators: dict[str, Any] = {"quote": [quote]}
        if interval not in MINUTES:
            indicators["adjclose"] = [{"adjclose": quote["close"]}]
        found = {"meta": meta, "timestamp": [int(at.timestamp()) for at, _ in rows], "indicators": indicators}
        events = self._events(listing, begin, end, today) if asked.get("events") else {}
        return {**found, "events": events} if events else found

    def _days(self, listing: SimListing) -> list[tuple[datetime, SimBar]]:
        """Bars that can be seen by now. That of today is stamped with now, or with its end once the day is over."""
        now = self._now()
        today = now.astimezone(ZoneInfo(listing.zone)).date()
        rows = []
        for day in sorted({*listing.bars, *listing.verbatim}):
            if listing.begin(day) > now:
                continue
            bar = listing.verbatim.get(day) or listing.bars[day].times(listing.factor(day, today))
            if day == today:
                if listing.twice and bar.close is not None:  # what the day was so far, and what it is now
                    rows.append((listing.begin(day), replace(bar, close=bar.open, volume="0")))
                    bar = replace(bar, open=bar.close, high=bar.close, low=bar.close)
                rows.append((self._priced_at(listing, now), bar))
            else:
                rows.append((listing.begin(day), bar))
        return rows

    def _shorter(self, listing: SimListing, interval: str) -> list[tuple[datetime, SimBar]]:
        today = self._now().astimezone(ZoneInfo(listing.zone)).date()
        found = [
            (at, bar.times(listing.factor(at.astimezone(ZoneInfo(listing.zone)).date(), today)))
            for at, bar in sorted(listing.shorter.get(interval, {}).items())
            if at <= self._now()
        ]
        now = self._priced_at(listing, self._now())
        if found and found[-1][0] < now:  # the row of now, within the last bar or behind it
            last = found[-1][1].close
            found.append((now, SimBar(last, last, last, last, "0")))
        return found

    def _priced_at(self, listing: SimListing, now: datetime) -> datetime:
        days = [day for day in listing.bars if listing.begin(day) <= now]
        return min(now, listing.end(max(days)) + timedelta(seconds=7)) if days else now

    def _events(self, listing: SimListing, begin: datetime, end: datetime, today: date) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for day, amount in sorted(listing.dividends.items()):
            at = int(listing.begin(day).timestamp())
            if begin <= listing.begin(day) < end and day <= today:
                adjusted = _by(amount, 1 / listing.factor(day, today, bars=False))
                found.setdefault("dividends", {})[str(at)] = {"amount": _Digits(adjusted), "date": at}
        for day, (new, old) in sorted(listing.splits.items()):
            at = int(listing.begin(day).timestamp())
            if begin <= listing.begin(day) < end and day <= today:
                shares = {"numerator": _Digits(new), "denominator": _Digits(old), "splitRatio": f"{new}:{old}"}
                found.setdefault("splits", {})[str(at)] = {"date": at, **shares}
        return found

    def refusal(self, fault: Fault, path: str) -> Response:
        if fault.status == 429:
            return PlainTextResponse(THROTTLED, 429)
        if fault.status >= 500:
            return HTMLResponse("<html><body>Yahoo! - Error</body></html>", fault.status)
        return failed(fault.status, *SAID.get(fault.status, ("Error", fault.code)))


SAID = {
    400: ("Bad Request", "Data doesn't exist for startDate = 1577836800, endDate = 1578009600"),
    401: ("Unauthorized", "Invalid Crumb"),
    404: ("Not Found", "No data found, symbol may be delisted"),
    422: ("Unprocessable Entity", "The requested range must be within the last 60 days."),
}


def failed(status: int, code: str, description: str) -> Response:
    """The vendor's error as JSON."""
    return JSONResponse({"chart": {"result": None, "error": {"code": code, "description": description}}}, status)


class _Digits(float):
    """A number that goes out as the very digits it was made of."""

    def __new__(cls, text: str | None) -> _Digits:
        made = super().__new__(cls, text or "0")
        made.text = text or "0"  # type: ignore[attr-defined]
        return made

    def __repr__(self) -> str:
        return str(self.text)  # type: ignore[attr-defined]


def _answered(result: dict[str, Any]) -> Response:
    """Compact JSON; numbers as they print."""

    def plain(part: Any) -> str:
        if isinstance(part, dict):
            return "{" + ",".join(f"{json.dumps(name)}:{plain(inner)}" for name, inner in part.items()) + "}"
        if isinstance(part, list):
            return "[" + ",".join(map(plain, part)) + "]"
        return repr(part) if isinstance(part, float) else json.dumps(part)

    return Response(plain({"chart": {"result": [result], "error": None}}), media_type="application/json")


def _float32(text: str | None) -> float | None:
    return None if text is None else float(struct.unpack("f", struct.pack("f", float(text)))[0])


def _by(text: str | None, factor: Fraction) -> str | None:
    """An amount by a factor, to six decimals, as the vendor has adjusted ones; unchanged where there is none."""
    if text is None or factor == 1:
        return text
    made = Fraction(Decimal(text)) * factor
    return format((Decimal(made.numerator) / Decimal(made.denominator)).quantize(Decimal("0.000001")).normalize(), "f")


# -- a believable state ------------------------------------------------------------------------------------------------

LISTED: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("AAPL", "XNYS", "231.40", {}),
    ("MSFT", "XNYS", "418.20", {}),
    ("SPY", "XNYS", "602.10", {"kind": "ETF", "exchange": "PCX"}),
    ("BRK-B", "XNYS", "471.15", {"exchange": "NYQ"}),
    ("VOD.L", "XLON", "71.62", {"currency": "GBp", "zone": "Europe/London", "opens": time(8), "closes": time(16, 30),
                                "exchange": "LSE"}),
    ("BTC-USD", "24/7", "96120.55", {"kind": "CRYPTOCURRENCY", "zone": "UTC", "opens": time(), "closes": time(),
                                     "exchange": "CCC"}),
)  # fmt: skip


def sandbox(simulator: YahooSimulator, *, today: date, seed: int = 0, days: int = 400, ahead: int = 45) -> None:
    """A few listings with daily bars around `today`, a dividend each quarter, and one split half a year ago."""
    for symbol, mic, price, more in LISTED:
        listing = simulator.listed(symbol, **more)
        sessions = get_calendar(mic).dates(today - timedelta(days=days), today + timedelta(days=ahead))
        _walk(simulator, random.Random(f"{seed} {symbol}"), symbol, Decimal(price), sessions)
        if listing.kind == "EQUITY":
            for day in sessions[30::63]:
                simulator.dividend(symbol, day, "0.25" if listing.currency == "USD" else "2.10")
    split_on = next(day for day in get_calendar("XNYS").dates(today - timedelta(days=180), today))
    simulator.split("MSFT", split_on, "2")
    for day, bar in simulator.listings["MSFT"].bars.items():
        if day < split_on:  # as traded: twice the price, half the shares
            simulator.listings["MSFT"].bars[day] = bar.times(Fraction(1, 2))


def _walk(
    simulator: YahooSimulator, draw: random.Random, symbol: str, price: Decimal, sessions: Iterable[date]
) -> None:
    def about(amount: Decimal, low: int, high: int) -> Decimal:
        return (amount * (1 + Decimal(draw.randint(low, high)) / 10_000)).quantize(Decimal("0.01"))

    for day in sessions:
        begin, price = price, about(price, -180, 190)
        top, bottom = about(max(begin, price), 0, 80), about(min(begin, price), -80, 0)
        simulator.set_bar(symbol, day, str(price), open=str(begin), high=str(top), low=str(bottom),
                          volume=str(draw.randint(100_000, 90_000_000)))  # fmt: skip
