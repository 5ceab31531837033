"""Alpha Vantage's JSON, in its own words. Facts: https://www.alphavantage.co/documentation

Every refusal is a 200 with one key, and the text of one repeats the caller's key: no text is ever passed on, it is
only sorted under a word of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fin_infra.errors import WireError
from fin_infra.providers.base import exact_json

NUMBERED = re.compile(r"^[0-9]+[a-z]?\. ")
SERIES = re.compile(
    r"(?:(Weekly|Monthly)(?: Adjusted)? )?Time Series(?: (FX|Crypto|Digital Currency))?(?: ?\((\w+)\))?"
)
INTERVALS = {"1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "60min": "1h"}


@dataclass(frozen=True)
class Bars:
    """A series as it came, newest first: stamps, each with its values by their names without a number.

    `span`: daily, weekly, monthly, or one of `INTERVALS`. `symbol`: of a share; `pair`: of currencies. `refreshed`:
    "3. Last Refreshed", a day, or a moment of `zone` while it is open. `one_day`: it is the newest price, no series.
    """

    span: str
    rows: list[tuple[str, Mapping[str, str]]]
    symbol: str | None = None
    pair: tuple[str, str] | None = None
    refreshed: str = ""
    zone: str = "US/Eastern"
    one_day: bool = False


@dataclass(frozen=True)
class Actions:
    """Rows of SPLITS or DIVIDENDS. `kind`: split or dividend."""

    symbol: str
    kind: str
    rows: list[Mapping[str, str]]


@dataclass(frozen=True)
class Listing:
    """What is said of one listing, by SYMBOL_SEARCH or by OVERVIEW; None where it says nothing."""

    symbol: str
    name: str | None = None
    kind: str | None = None
    currency: str | None = None
    exchange: str | None = None
    region: str | None = None


def bars(body: bytes) -> Bars:
    """A time series of whatever span, of a share or a pair. Raises `WireError` on anything else."""
    value = _object(body)
    meta, name = value.get("Meta Data"), next((key for key in value if "Time Series" in key), None)
    if not isinstance(meta, dict) or name is None or not isinstance(value[name], dict):
        raise _shapeless("it is no time series", body)
    told = {_plain(key): text for key, text in meta.items() if isinstance(text, str)}
    found = SERIES.fullmatch(name)
    if found is None:
        raise _shapeless("a time series of an unknown kind", body)
    inner = found[3]
    span = found[1].lower() if found[1] else INTERVALS.get(inner or "", (inner or "").lower())
    base = told.get("From Symbol") or told.get("Digital Currency Code")
    quote = told.get("To Symbol") or told.get("Market Code")
    rows: list[tuple[str, Mapping[str, str]]] = []
    for stamp, cells in value[name].items():
        if not isinstance(cells, dict) or not all(isinstance(text, str) for text in cells.values()):
            raise _shapeless("a row that is not made of texts", body)
        rows.append((stamp, {_plain(key): text for key, text in cells.items()}))
    return Bars(
        span, rows, told.get("Symbol"), (base, quote) if base and quote else None, told.get("Last Refreshed", ""),
        told.get("Time Zone", "US/Eastern"),
    )  # fmt: skip


def daily(body: bytes) -> Bars:
    """Daily bars of a share, adjusted or not, or its newest price as the bar of its day."""
    value = _object(body)
    found = _quoted(value, body) if "Global Quote" in value else bars(body)
    if found.span != "daily" or found.symbol is None:
        raise _shapeless("these are no daily bars of a share", body)
    return found


def quote(body: bytes) -> Bars:
    """GLOBAL_QUOTE."""
    value = _object(body)
    if "Global Quote" not in value:
        raise _shapeless("there is no Global Quote in it", body)
    return _quoted(value, body)


def intraday(body: bytes) -> Bars:
    """Bars of a share that are shorter than a day."""
    found = bars(body)
    if found.span not in INTERVALS.values() or found.symbol is None:
        raise _shapeless("these are no bars of a share that are shorter than a day", body)
    return found


def rates(body: bytes) -> Bars:
    """FX_DAILY, or CURRENCY_EXCHANGE_RATE as the rate of its day."""
    value = _object(body)
    now = value.get("Realtime Currency Exchange Rate")
    if isinstance(now, dict):
        told = {_plain(key): text for key, text in now.items() if isinstance(text, str)}
        try:
            pair = told["From_Currency Code"], told["To_Currency Code"]
            rate, at = told["Exchange Rate"], told["Last Refreshed"]
        except KeyError:
            raise _shapeless("an exchange rate without its parts", body) from None
        return Bars("daily", [(at[:10], {"close": rate})], None, pair, at, told.get("Time Zone", "UTC"), one_day=True)
    found = bars(body)
    if found.span != "daily" or found.pair is None:
        raise _shapeless("these are no daily rates of a pair", body)
    return found


def actions(body: bytes) -> Actions:
    """SPLITS or DIVIDENDS; which of them, the rows say. An empty list is an answer: there were none."""
    value = _object(body)
    symbol, rows = value.get("symbol"), value.get("data")
    if not isinstance(symbol, str) or not isinstance(rows, list):
        raise _shapeless("there are neither splits nor dividends in it", body)
    kinds = {"split" if "split_factor" in row else "dividend" if "ex_dividend_date" in row else "" for row in rows}
    if len(kinds) > 1 or "" in kinds:
        raise _shapeless("rows that are neither splits nor dividends", body)
    return Actions(symbol, kinds.pop() if kinds else "none", rows)


def listings(body: bytes) -> list[Listing]:
    """The best matches of SYMBOL_SEARCH, or the one of OVERVIEW."""
    value = _object(body)
    if isinstance(value.get("bestMatches"), list):
        found = [{_plain(key): text for key, text in row.items()} for row in value["bestMatches"]]
        return [
            Listing(
                row["symbol"], _said(row.get("name")), _said(row.get("type")), _said(row.get("currency")),
                region=_said(row.get("region")),
            )
            for row in found if isinstance(row.get("symbol"), str)
        ]  # fmt: skip
    if isinstance(value.get("Symbol"), str) and "AssetType" in value:
        said = {key: _said(text) for key, text in value.items()}
        return [
            Listing(value["Symbol"], said.get("Name"), said["AssetType"], said.get("Currency"), said.get("Exchange"))
        ]
    raise _shapeless("there is no listing in it", body)


def refusal_word(body: bytes) -> str | None:
    """What a body refuses, in a word of ours; None where it does not refuse.

    `burst`, `daily`, `minute`, `throttled` (a text that nobody knows), `premium`, `demo`, `key`, `call`, `error`,
    `empty` (nothing under this symbol).
    """
    try:
        value = exact_json(body)
    except WireError:
        return None
    if value == {} or (isinstance(value, dict) and value in ({"Global Quote": {}}, {"bestMatches": []})):
        return "empty"
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((name, said),) = value.items()
    if name not in ("Note", "Information", "Error Message") or not isinstance(said, str):
        return None
    return _sorted(name, said.casefold())


def _sorted(name: str, text: str) -> str:
    """Texts name one another's limits: the order decides."""
    if "apikey is invalid" in text or "api key is invalid" in text or "invalid or missing" in text:
        return "key"
    if name == "Error Message":
        return "call" if "invalid api call" in text else "error"
    if "spreading out" in text or "burst" in text:
        return "burst"
    if "demo" in text and "api key" in text:
        return "demo"
    if "premium endpoint" in text and "requests per day." not in text and "rate limit is" not in text:
        return "premium"
    if "calls per minute" in text or "requests per minute" in text:
        return "minute"
    if "requests per day" in text or "calls per day" in text:
        return "daily"
    return "premium" if "premium plan" in text and "rate limit" not in text else "throttled"


def _quoted(value: Mapping[str, Any], body: bytes) -> Bars:
    told = value["Global Quote"]
    if not isinstance(told, dict) or not all(isinstance(text, str) for text in told.values()):
        raise _shapeless("a quote that is not made of texts", body)
    cells = {_plain(key): text for key, text in told.items()}
    if not {"symbol", "price", "latest trading day"} <= set(cells):
        raise _shapeless("a quote without its symbol, price or day", body)
    day = cells["latest trading day"]
    return Bars("daily", [(day, {**cells, "close": cells["price"]})], cells["symbol"], refreshed=day, one_day=True)


def _object(body: bytes) -> dict[str, Any]:
    value = exact_json(body)
    if not isinstance(value, dict):
        raise _shapeless("it is no object", body)
    return value


def _plain(name: str) -> str:
    """`"5. volume"` → `volume`: numbers differ by function, names do not."""
    return NUMBERED.sub("", name)


def _said(text: Any) -> str | None:
    """What is missing is a word there."""
    return text if isinstance(text, str) and text.strip() not in ("", "None", "-") else None


def _shapeless(why: str, body: bytes) -> WireError:
    return WireError(f"an answer without its documented shape: {why}", evidence=body)
