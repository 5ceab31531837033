"""Yahoo's JSON, in Yahoo's words: charts (v8), and quotes (v7) where somebody recorded one. Nothing is documented.

All that is known was observed: https://github.com/ranaroussi/yfinance and recorded answers of other projects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import Field, TypeAdapter

from fin_infra.errors import WireError
from fin_infra.providers.base import Wire, checked, exact_json

NO_SUCH = "no such symbol"
"""Our word for an answer that is good by its status and has nothing: not even a currency."""
SMALL = 8_192  # bytes: an answer with bars is longer, and need not be looked into for a refusal
FIGURES = ("open", "high", "low", "close", "volume")
FIRST_YEAR, LAST_YEAR = -2_300_000_000, 7_300_000_000
"""Seconds from 1970 of about 1897 and 2201: beyond them it is no second of a trading day."""


class Meta(Wire):
    """What a chart says of the listing. `currency` may be a hundredth: `GBp`. Prices and instants are text."""

    symbol: str
    zone: str = Field(alias="exchangeTimezoneName")
    granularity: str = Field(alias="dataGranularity")
    currency: str | None = None
    span: str | None = Field(None, alias="range")
    price_hint: str | None = Field(None, alias="priceHint")
    exchange: str | None = Field(None, alias="exchangeName")
    kind: str | None = Field(None, alias="instrumentType")
    long_name: str | None = Field(None, alias="longName")
    short_name: str | None = Field(None, alias="shortName")
    price: str | None = Field(None, alias="regularMarketPrice")
    priced_at: str | None = Field(None, alias="regularMarketTime")
    previous_close: str | None = Field(None, alias="previousClose")
    trading: dict[str, Any] | None = Field(None, alias="currentTradingPeriod")
    chart_previous_close: str | None = Field(None, alias="chartPreviousClose")


class Listed(Wire):
    """One listing of a v7 quote."""

    symbol: str
    zone: str = Field(alias="exchangeTimezoneName")
    currency: str | None = None
    price_hint: str | None = Field(None, alias="priceHint")
    exchange: str | None = None
    kind: str | None = Field(None, alias="quoteType")
    price: str = Field(alias="regularMarketPrice")
    priced_at: str = Field(alias="regularMarketTime")
    open: str | None = Field(None, alias="regularMarketOpen")
    high: str | None = Field(None, alias="regularMarketDayHigh")
    low: str | None = Field(None, alias="regularMarketDayLow")
    volume: str | None = Field(None, alias="regularMarketVolume")
    previous_close: str | None = Field(None, alias="regularMarketPreviousClose")


class Bar(NamedTuple):
    """One place of the arrays. `at`: seconds from 1970, of the bar's begin or, of the last one, of now."""

    at: int
    open: str | None
    high: str | None
    low: str | None
    close: str | None
    volume: str | None

    @property
    def prices(self) -> tuple[str | None, ...]:
        return self.open, self.high, self.low, self.close


class Split(NamedTuple):
    """So many new shares for so many old ones, as text."""

    at: int
    new: str | None
    old: str | None


class Dividend(NamedTuple):
    """Cash for a share of today, not of that day."""

    at: int
    amount: str | None


@dataclass(frozen=True)
class Chart:
    """Bars of one listing, oldest first as they came, and what happened to its shares in between."""

    meta: Meta
    bars: Sequence[Bar] = ()
    splits: Sequence[Split] = ()
    dividends: Sequence[Dividend] = ()
    said: frozenset[str] = frozenset(FIGURES)  # which columns there are at all
    quoted: bool = False  # it is a price of a moment, the day's figures beside it, and no series


META = TypeAdapter(Meta)
LISTED = TypeAdapter(list[Listed])
INTRADAY = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "60m": "1h", "1h": "1h"}
"""Granularities that are intervals of ours."""
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "1h": 3600}
"""How long their bars are."""


def charts(body: bytes) -> list[Chart]:
    """`GET /v8/finance/chart/{symbol}`, whatever the granularity; or `GET /v7/finance/quote`, a price each."""
    value = exact_json(body)
    if isinstance(value, dict) and "quoteResponse" in value:
        return [_quoted(one) for one in checked(LISTED, _result(value, "quoteResponse", body), body)]
    return [_chart(one, body) for one in _result(value, "chart", body)]


def daily(body: bytes) -> list[Chart]:
    """The same, of days. Bars of hours or weeks under this name would pass for days."""
    return _only(charts(body), ("1d",), body)


def intraday(body: bytes) -> list[Chart]:
    """The same, of an interval shorter than a day."""
    return _only(charts(body), tuple(INTRADAY), body)


def acted(body: bytes) -> list[Chart]:
    """A chart with its events. A quote has none, which does not mean that nothing happened."""
    found = charts(body)
    if any(chart.quoted for chart in found):
        raise WireError("a quote where a chart with its events was asked for", evidence=body)
    return found


def _only(found: list[Chart], granularities: Sequence[str], body: bytes) -> list[Chart]:
    for chart in found:
        if chart.meta.granularity not in granularities:
            raise WireError(
                f"bars of another length than was asked for: {chart.meta.granularity[:10]}", evidence=body
            )  # fmt: skip
    return found


def _result(value: Any, name: str, body: bytes) -> list[Any]:
    part = value.get(name) if isinstance(value, dict) else None
    found = part.get("result") if isinstance(part, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise WireError(f"an answer without its observed shape: no {name} with a result", evidence=body)
    return found


def _quoted(one: Listed) -> Chart:
    told = one.model_dump()
    meta = {name: told[name] for name in ("symbol", "zone", "currency", "price_hint", "exchange", "kind", "price",
                                          "priced_at", "previous_close")}  # fmt: skip
    at = _seconds(one.priced_at)
    bars = () if at is None else (Bar(at, one.open, one.high, one.low, one.price, one.volume),)
    return Chart(Meta.model_construct(granularity="1d", **meta), bars, quoted=True)


def _chart(one: Mapping[str, Any], body: bytes) -> Chart:
    meta = checked(META, one.get("meta"), body)
    indicators = one.get("indicators")
    quotes = indicators.get("quote") if isinstance(indicators, dict) else None
    quote = quotes[0] if isinstance(quotes, list) and quotes else {}
    stamps = one.get("timestamp") or []
    if not isinstance(quote, dict) or not isinstance(stamps, list):
        raise WireError("an answer without its observed shape: no columns beside the timestamps", evidence=body)
    columns = [_column(quote, name, len(stamps), body) for name in FIGURES]
    if stamps and not any(name in quote for name in FIGURES):
        raise WireError("an answer without its observed shape: timestamps without any column", evidence=body)
    bars = [Bar(_second(at, body), *figures) for at, *figures in zip(stamps, *columns, strict=True)]
    events = one.get("events") or {}
    splits = [
        Split(at, _plain(row.get("numerator")), _plain(row.get("denominator")))
        for at, row in _events(events, "splits", body)
    ]
    dividends = [Dividend(at, _plain(row.get("amount"))) for at, row in _events(events, "dividends", body)]
    return Chart(meta, bars, splits, dividends, frozenset(quote) & frozenset(FIGURES))


def _column(quote: Mapping[str, Any], name: str, count: int, body: bytes) -> list[str | None]:
    """One array, as long as the timestamps: were it shorter, every figure behind the gap would be of another day."""
    found = quote.get(name)
    if found is None:
        return [None] * count
    if not isinstance(found, list) or len(found) != count:
        raise WireError(f"an answer without its observed shape: {name} is not as long as timestamp", evidence=body)
    return [_plain(value) for value in found]


def _events(events: Any, name: str, body: bytes) -> list[tuple[int, Mapping[str, Any]]]:
    found = events.get(name) if isinstance(events, dict) else None
    if found is None:
        return []
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
        raise WireError(f"an answer without its observed shape: {name} are no events by their second", evidence=body)
    return sorted((_second(row.get("date", key), body), row) for key, row in found.items())


def _plain(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _second(value: Any, body: bytes) -> int:
    if (found := _seconds(value)) is None:
        raise WireError("an answer without its observed shape: a timestamp that is no second", evidence=body)
    return found


def _seconds(value: Any) -> int | None:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,10}", value):
        return None
    return at if FIRST_YEAR <= (at := int(value)) <= LAST_YEAR else None


def refusal_word(body: bytes) -> str | None:
    """`code: description` of an answer that refuses, with whatever status; `NO_SUCH` of one that has nothing at all.

    None of a good answer, and of one that is no JSON: throttling comes as plain text.
    """
    if len(body) > SMALL:
        return None
    try:
        value = exact_json(body)
    except WireError:
        return None
    for name in ("chart", "quoteResponse", "finance"):
        part = value.get(name) if isinstance(value, dict) else None
        if not isinstance(part, dict):
            continue
        if part.get("error") is not None:
            return _said(part["error"])
        if name != "finance" and _nothing(part.get("result")):
            return NO_SUCH
    return None


def _said(error: Any) -> str:
    parts = [error.get("code"), error.get("description")] if isinstance(error, dict) else [error]
    told = ": ".join(part for part in parts if isinstance(part, str))
    return re.sub(r"[^A-Za-z0-9 _.,:;'=+/-]", "", told)[:160] or "an error without a word"


def _nothing(result: Any) -> bool:
    """No result, or one that knows neither bars nor a currency: what comes for a symbol that does not exist."""
    if not result:
        return True
    one = result[0] if isinstance(result, list) else None
    if not isinstance(one, dict):
        return False
    meta = one.get("meta")
    if not isinstance(meta, dict):
        return set(one) == {"events"} and not one["events"]
    return not one.get("timestamp") and meta.get("currency") is None and meta.get("firstTradeDate") is None
