"""Alpha Vantage imitated over HTTP: one path, all texts, every refusal a 200 with a sentence.

State is scripted from outside. Its limits are those of the free plan unless told otherwise: 25 a day from the first
call on, and one a second.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fin_infra.calendars import get_calendar
from fin_infra.providers.simulating import Fault, Simulator

NEW_YORK = ZoneInfo("America/New_York")
COMPACT = 100
TEXTS = {
    "burst": ("Information", "Please consider spreading out your free API requests more sparingly (1 request "
              "per second). Premium plans lift the free key rate limit (25 requests per day)."),
    "daily": ("Information", "We have detected your API key as {key} and our standard API rate limit is 25 requests "
              "per day. Please subscribe to any of the premium plans to instantly remove all daily rate limits."),
    "minute": ("Note", "Thank you! Our standard API call frequency is 5 calls per minute and 500 calls per day."),
    "premium": ("Information", "Thank you! This is a premium endpoint. You may subscribe to any of the premium plans."),
    "demo": ("Information", "The **demo** API key is for demo purposes only. Please claim your free API key."),
    "unknown text": ("Information", "Our hamsters rest. Your key is {key}."),
    "key": ("Error Message", "the parameter apikey is invalid or missing. Please claim your free API key."),
    "unknown error": ("Error Message", "Something about {key} went wrong."),
    "call": ("Error Message", "Invalid API call. Please retry or visit the documentation."),
}  # fmt: skip
"""Texts as the vendor words them, shortened: of each the part that tells it from the others."""


@dataclass
class SimListing:
    """One listing: its bars by day (open, high, low, close, volume), its actions, and what the search says of it."""

    symbol: str
    name: str = ""
    kind: str = "Equity"
    region: str = "United States"
    currency: str = "USD"
    bars: dict[date, tuple[str, str, str, str, str]] = field(default_factory=dict)
    minutes: dict[datetime, tuple[str, str, str, str, str]] = field(default_factory=dict)
    splits: dict[date, str] = field(default_factory=dict)
    dividends: dict[date, str] = field(default_factory=dict)


class AlphaVantageSimulator(Simulator):
    """Listings and pairs. `premium`: keys of a paid plan; `limited`: whether the free plan's limits are kept."""

    def __init__(self, *, limited: bool = False, **more: Callable[[], datetime]) -> None:
        super().__init__(**more)
        self.keys: set[str] = set()
        self.premium: set[str] = set()
        self.limited = limited
        self.listings: dict[str, SimListing] = {}
        self.pairs: dict[tuple[str, str], dict[date, str]] = {}
        self.counted: dict[str, list[datetime]] = {}
        self.functions: list[str] = []
        """Every function that was asked for, with its symbol: the key is not in it."""
        self.answering = Starlette(routes=[Route("/query", self._query)])

    def list_(self, symbol: str, **more: Any) -> SimListing:
        self.listings[symbol] = SimListing(symbol, **more)
        return self.listings[symbol]

    def refusal(self, fault: Fault, path: str) -> Response:
        """`code` is one of the texts; a status other than 429 is a page of a proxy."""
        if fault.code in TEXTS:
            return _said(fault.code, "KEY-ECHO")
        return Response("<html><body>Service Unavailable</body></html>", fault.status, media_type="text/html")

    async def _query(self, request: Request) -> Response:
        asked = request.query_params
        key, function = asked.get("apikey", ""), asked.get("function", "")
        self.functions.append(f"{function} {asked.get('symbol') or asked.get('keywords') or ''}".strip())
        if key == "demo":
            return _said("demo", key)
        if key not in self.keys | self.premium:
            return _said("key", key)
        if key not in self.premium and self.limited and (word := self._over(key)) is not None:
            return _said(word, key)
        if key not in self.premium and (
            function in ("TIME_SERIES_INTRADAY", "TIME_SERIES_DAILY_ADJUSTED") or asked.get("outputsize") == "full"
        ):
            return _said("premium", key)
        answers: dict[str, Callable[[Request], Response]] = {
            "TIME_SERIES_DAILY": self._daily, "TIME_SERIES_INTRADAY": self._intraday, "GLOBAL_QUOTE": self._quote,
            "SYMBOL_SEARCH": self._search, "FX_DAILY": self._fx, "SPLITS": self._splits, "DIVIDENDS": self._dividends,
            "CURRENCY_EXCHANGE_RATE": self._rate,
        }  # fmt: skip
        return answers[function](request) if function in answers else _said("call", key)

    def _over(self, key: str) -> str | None:
        """Which limit of the free plan is met. Refused calls count too."""
        now = self._now()
        calls = self.counted.setdefault(key, [])
        calls.append(now)
        if sum(now - at < timedelta(days=1) for at in calls) > 25:
            return "daily"
        return "burst" if sum(now - at < timedelta(seconds=1) for at in calls) > 1 else None

    def _daily(self, request: Request) -> Response:
        listing = self.listings.get(request.query_params.get("symbol", ""))
        days = [day for day in sorted(listing.bars, reverse=True) if self._open(day) <= self._now()] if listing else []
        if listing is None or not days:
            return _said("call", "")
        running = self._now() < datetime.combine(days[0], time(16), NEW_YORK)
        size = request.query_params.get("outputsize", "compact")
        refreshed = self._now().astimezone(NEW_YORK).strftime("%Y-%m-%d %H:%M:%S") if running else str(days[0])
        meta = {
            "1. Information": "Daily Prices (open, high, low, close) and Volumes", "2. Symbol": listing.symbol,
            "3. Last Refreshed": refreshed, "4. Output Size": size.capitalize(), "5. Time Zone": "US/Eastern",
        }  # fmt: skip
        shown = days if size == "full" else days[:COMPACT]
        return JSONResponse(
            {"Meta Data": meta, "Time Series (Daily)": {str(day): _cells(listing.bars[day]) for day in shown}}
        )

    def _intraday(self, request: Request) -> Response:
        listing, month = self.listings.get(request.query_params.get("symbol", "")), request.query_params.get("month")
        interval = request.query_params.get("interval", "")
        if listing is None:
            return _said("call", "")
        shown = {
            at.astimezone(NEW_YORK).strftime("%Y-%m-%d %H:%M:%S"): _cells(cells)
            for at, cells in sorted(listing.minutes.items(), reverse=True)
            if at <= self._now() and month in (None, at.astimezone(NEW_YORK).strftime("%Y-%m"))
        }
        meta = {
            "1. Information": f"Intraday ({interval}) open, high, low, close prices and volume",
            "2. Symbol": listing.symbol, "3. Last Refreshed": next(iter(shown), ""), "4. Interval": interval,
            "5. Output Size": "Full size", "6. Time Zone": "US/Eastern",
        }  # fmt: skip
        return JSONResponse({"Meta Data": meta, f"Time Series ({interval})": shown})

    def _quote(self, request: Request) -> Response:
        listing = self.listings.get(request.query_params.get("symbol", ""))
        days = [day for day in sorted(listing.bars) if self._open(day) <= self._now()] if listing else []
        if listing is None or not days:
            return JSONResponse({"Global Quote": {}})
        opened, high, low, close, volume = listing.bars[days[-1]]
        before = listing.bars[days[-2]][3] if len(days) > 1 else opened
        change = Decimal(close) - Decimal(before)
        told = (
            ("symbol", listing.symbol), ("open", opened), ("high", high), ("low", low), ("price", close),
            ("volume", volume), ("latest trading day", str(days[-1])), ("previous close", before),
            ("change", f"{change:.4f}"), ("change percent", f"{100 * change / Decimal(before):.4f}%"),
        )  # fmt: skip
        return JSONResponse({"Global Quote": {f"{n:02}. {name}": text for n, (name, text) in enumerate(told, 1)}})

    def _search(self, request: Request) -> Response:
        word = request.query_params.get("keywords", "").casefold()
        found = [one for one in self.listings.values() if word in one.symbol.casefold() or word in one.name.casefold()]
        rows = [
            {
                "1. symbol": one.symbol, "2. name": one.name, "3. type": one.kind, "4. region": one.region,
                "5. marketOpen": "09:30", "6. marketClose": "16:00", "7. timezone": "UTC-04",
                "8. currency": one.currency, "9. matchScore": "1.0000" if one.symbol.casefold() == word else "0.5000",
            }
            for one in found
        ]  # fmt: skip
        return JSONResponse({"bestMatches": rows})

    def _fx(self, request: Request) -> Response:
        pair = request.query_params.get("from_symbol", ""), request.query_params.get("to_symbol", "")
        days = {day: rate for day, rate in self.pairs.get(pair, {}).items() if day <= self._now().date()}
        if not days:
            return _said("call", "")
        size = request.query_params.get("outputsize", "compact")
        newest = sorted(days, reverse=True)
        meta = {
            "1. Information": "Forex Daily Prices (open, high, low, close)", "2. From Symbol": pair[0],
            "3. To Symbol": pair[1], "4. Output Size": size.capitalize(), "5. Last Refreshed": str(newest[0]),
            "6. Time Zone": "UTC",
        }  # fmt: skip
        shown = newest if size == "full" else newest[:COMPACT]
        names = ("open", "high", "low", "close")
        rows = {str(day): {f"{n}. {name}": days[day] for n, name in enumerate(names, 1)} for day in shown}
        return JSONResponse({"Meta Data": meta, "Time Series FX (Daily)": rows})

    def _rate(self, request: Request) -> Response:
        pair = request.query_params.get("from_currency", ""), request.query_params.get("to_currency", "")
        days = {day: rate for day, rate in self.pairs.get(pair, {}).items() if day <= self._now().date()}
        if not days:
            return _said("call", "")
        newest = max(days)
        rate, at = (
            days[newest],
            datetime.combine(newest, self._now().timetz() if newest == self._now().date() else time()),
        )
        told = (
            ("From_Currency Code", pair[0]), ("From_Currency Name", pair[0]), ("To_Currency Code", pair[1]),
            ("To_Currency Name", pair[1]), ("Exchange Rate", rate), ("Last Refreshed", f"{at:%Y-%m-%d %H:%M:%S}"),
            ("Time Zone", "UTC"), ("Bid Price", rate), ("Ask Price", rate),
        )  # fmt: skip
        return JSONResponse(
            {"Realtime Currency Exchange Rate": {f"{n}. {name}": text for n, (name, text) in enumerate(told, 1)}}
        )

    def _splits(self, request: Request) -> Response:
        return self._acted(request, "splits", "effective_date", "split_factor")

    def _dividends(self, request: Request) -> Response:
        return self._acted(request, "dividends", "ex_dividend_date", "amount")

    def _acted(self, request: Request, what: str, day: str, value: str) -> Response:
        listing = self.listings.get(request.query_params.get("symbol", ""))
        if listing is None:
            return JSONResponse({})
        rows = [
            {day: str(on), value: text, **({"payment_date": "None"} if what == "dividends" else {})}
            for on, text in sorted(getattr(listing, what).items(), reverse=True)
        ]
        return JSONResponse({"symbol": listing.symbol, "data": rows})

    def _open(self, day: date) -> datetime:
        return datetime.combine(day, time(9, 30), NEW_YORK).astimezone(UTC)


def _said(word: str, key: str) -> Response:
    name, text = TEXTS[word]
    return Response(json.dumps({name: text.format(key=key)}), media_type="application/json")


def _cells(bar: tuple[str, str, str, str, str]) -> dict[str, str]:
    names = ("open", "high", "low", "close", "volume")
    return {f"{n}. {name}": text for n, (name, text) in enumerate(zip(names, bar, strict=True), 1)}


def sandbox(
    simulator: AlphaVantageSimulator, key: str, *, today: date, seed: int = 0,
    symbols: tuple[tuple[str, str, str], ...] = (("IBM", "International Business Machines", "251.40"),),
) -> None:  # fmt: skip
    """A key and its listings, each (symbol, name, price): two years of sessions and a week ahead, drawn."""
    simulator.keys.add(key)
    draw = random.Random(seed)
    days = get_calendar("XNYS").dates(today - timedelta(days=730), today + timedelta(days=7))
    for symbol, name, price in symbols:
        listing = simulator.list_(symbol, name=name)
        last = Decimal(price)
        for day in reversed(days):  # the newest is near to the stated price
            before = (last * (1 + Decimal(draw.randint(-150, 150)) / 10_000)).quantize(Decimal("0.01"))
            spread = (last * Decimal(draw.randint(10, 120)) / 10_000).quantize(Decimal("0.01"))
            top, bottom = max(before, last) + spread, min(before, last) - spread
            volume = str(draw.randint(2_000_000, 9_000_000))
            listing.bars[day] = (f"{before}00", f"{top}00", f"{bottom}00", f"{last}00", volume)
            last = before
