"""CoinGecko's JSON, in its own words, API version 3. Facts: https://docs.coingecko.com"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, TypeAdapter

from fin_infra.errors import OwnerActionError, WireError
from fin_infra.providers.base import Wire, checked, exact_json

DAY = 24 * 3600 * 1000
INTERVALS = {30 * 60 * 1000: "30m", 4 * 3600 * 1000: "4h"}
"""Steps of candles that are shorter than a day, in milliseconds. Longer ones are days, or four of them."""
UNKNOWN_COIN = "coin not found"


class MarketChart(Wire):
    """`/coins/{id}/market_chart` and `…/range`: three lists of [milliseconds, value]."""

    prices: list[tuple[str, str | None]]
    market_caps: list[tuple[str, str | None]]
    total_volumes: list[tuple[str, str | None]]


class SimplePrice(Wire):
    """A coin in `/simple/price`. `usd` is null for a coin that nobody trades any more."""

    usd: str | None
    last_updated_at: str | None = None


class Market(Wire):
    """A row of `/coins/markets`."""

    id: str
    current_price: str | None
    last_updated: str | None


class Coin(Wire):
    """A row of `/coins/list?include_platform=true`, or `/coins/{id}`. `platforms`: contract by platform."""

    id: str
    symbol: str
    name: str
    platforms: dict[str, str | None]


class Ping(Wire):
    gecko_says: str = Field(min_length=1)


@dataclass(frozen=True)
class Chart:
    """Milliseconds and price, oldest first. `coin`: by which ticker it was asked for; "" where nobody says."""

    points: Sequence[tuple[int, str | None]]
    coin: str = ""


@dataclass(frozen=True)
class Candles:
    """Milliseconds of the close, then open, high, low, close; `step`: how long each is. `coin`: as in `Chart`."""

    rows: Sequence[tuple[int, str, str, str, str]]
    step: int
    coin: str = ""


@dataclass(frozen=True)
class Quoted:
    """Price and its time, by coin. The time is a text of ISO 8601, or of seconds since 1970."""

    coins: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class Coins:
    """`named`: which coin each ticker that was asked for means, where it is not its id."""

    rows: Sequence[Coin]
    named: Mapping[str, str] = field(default_factory=dict)


_CHART = TypeAdapter(MarketChart)
_CANDLES = TypeAdapter(list[tuple[str, str, str, str, str]])
_PRICES = TypeAdapter(dict[str, SimplePrice])
_MARKETS = TypeAdapter(list[Market])
_COINS, _COIN = TypeAdapter(list[Coin]), TypeAdapter(Coin)
_PING = TypeAdapter(Ping)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44}")


def bars(body: bytes) -> Chart | Candles | Quoted:
    """What has a price of a day: a chart, daily candles, or the newest prices where they say of when they are.

    Raises `WireError` on anything else, candles of another length too.
    """
    value = exact_json(body)
    if isinstance(value, dict) and "prices" in value:
        return chart(body, value)
    if isinstance(value, list) and (not value or isinstance(value[0], list)):
        found = candles(body, value)
        if found.rows and found.step != DAY:
            raise broken(f"candles of {found.step // 60_000} minutes are no daily bars", body)
        return found
    quoted = quotes(body)
    if all(at is None for _, at in quoted.coins.values()):
        raise broken("prices that do not say of which day they are", body)
    return quoted


def chart(body: bytes, value: Any = None) -> Chart:
    """The prices of a chart, in the order of the answer. Raises `WireError` where the times go back."""
    told = checked(_CHART, exact_json(body) if value is None else value, body)
    points = [(_whole(at, body), price) for at, price in told.prices]
    if any(later < earlier for (earlier, _), (later, _) in itertools.pairwise(points)):
        raise broken("prices: the times go back", body)
    return Chart(points)


def candles(body: bytes, value: Any = None) -> Candles:
    """`/coins/{id}/ohlc`. How long a candle is nobody says: as long as the shortest step from one to the next, which is
    0 where there is only one. Raises `WireError` on steps that are no multiples of the shortest.
    """
    told = checked(_CANDLES, exact_json(body) if value is None else value, body)
    rows = [(_whole(at, body), first, high, low, last) for at, first, high, low, last in told]
    steps = [after[0] - before[0] for before, after in itertools.pairwise(rows)]
    step = min(steps, default=0)
    if steps and (step <= 0 or any(one % step for one in steps)):
        raise broken("candles whose times do not tell how long they are", body)
    return Candles(rows, step)


def intraday(body: bytes) -> Candles:
    """The same, of candles shorter than a day alone, or of a single one."""
    found = candles(body)
    if found.step and found.step not in INTERVALS:
        raise broken(f"candles of {found.step // 60_000} minutes are not of 30 minutes or 4 hours", body)
    return found


def quotes(body: bytes) -> Quoted:
    """`/simple/price` or `/coins/markets`. Raises `OwnerActionError` (unknown_symbol) where it knows none of the coins.

    Prices by contract do not say on which chain it is: they are refused with a `WireError`.
    """
    value = exact_json(body)
    if isinstance(value, list):
        rows = checked(_MARKETS, value, body)
        return Quoted({row.id: (row.current_price, row.last_updated) for row in rows})
    found = prices(body, value)
    if not found:
        raise OwnerActionError("coingecko knows none of these coins; look for their ids", code="unknown_symbol")
    if any(_ADDRESS.fullmatch(name) for name in found):
        raise broken("prices by contract, and the chain is not said", body)
    return Quoted({coin: (price.usd, price.last_updated_at) for coin, price in found.items()})


def prices(body: bytes, value: Any = None) -> dict[str, SimplePrice]:
    """`/simple/price`: what it does not know is not in it."""
    return checked(_PRICES, exact_json(body) if value is None else value, body)


def coins(body: bytes) -> Coins:
    """`/coins/list?include_platform=true`, or `/coins/{id}`."""
    value = exact_json(body)
    if isinstance(value, dict):
        return Coins([checked(_COIN, value, body)])
    listed = checked(_COINS, value, body)
    return Coins(listed)


def ping(body: bytes) -> str:
    return checked(_PING, exact_json(body), body).gecko_says


def broken(why: str, body: bytes) -> WireError:
    return WireError(f"an answer without its documented shape: {why}", evidence=body)


def _whole(text: str, body: bytes) -> int:
    """Milliseconds since 1970, up to the year 2286."""
    if not re.fullmatch(r"[0-9]{1,13}", text):
        raise broken("a time that is no whole number of milliseconds", body)
    return int(text)


# -- refusals ----------------------------------------------------------------------------------------------------------

_LONGEST = 4096  # a refusal is a sentence; what is longer is data, and not worth a second reading
_TEXT = re.compile(rb"\s*error code: ([0-9]{3,5})\b", re.IGNORECASE)
_MONTH = re.compile(r"\bmonth", re.IGNORECASE)


def refusal_word(body: bytes) -> str | None:
    """The code of a refusal, None for a good answer. Four shapes and the text of the network before it (1020) have one.

    `monthly`: a 429 that speaks of the month's credits. Where there is no code, the vendor's own words in lower case,
    or `error`. `status` and `error` may be coins as well: a price is no refusal.
    """
    if len(body) > _LONGEST:
        return None
    if (text := _TEXT.match(body)) is not None:
        return text[1].decode()
    try:
        value = exact_json(body)
    except WireError:
        return None
    if not isinstance(value, dict):
        return None
    return _word(value)


def _word(value: dict[str, Any]) -> str | None:
    said = value.get("error")
    if isinstance(said, str):
        return _plain(said)
    status = said.get("status") if isinstance(said, dict) else value.get("status")
    status = status if isinstance(status, dict) else {}
    code, message = status.get("error_code", value.get("error_code")), status.get("error_message")
    if code == "429" and isinstance(message, str) and _MONTH.search(message):
        return "monthly"
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3,5}", code):
        return code
    return _plain(message) if isinstance(message, str) else None


def _plain(text: str) -> str:
    """Words that can hold nothing of ours but the names of parameters."""
    text = text.strip().rstrip(".").lower()
    return text if re.fullmatch(r"[a-z_ ]{1,80}", text) else "error"
