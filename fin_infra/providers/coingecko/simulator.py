"""CoinGecko imitated over HTTP: the host of free keys and callers without one, and that of paid keys.

Closes are scripted by day, as text, and come out as the same digits, never through a float. Between two closes the
price goes evenly from one to the next. Charts have the vendor's own steps: five minutes for a day, hours up to ninety
days, days above; their last point is now.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fin_infra.providers.simulating import Fault, Simulator

API = "/api/v3"
DAY = timedelta(days=1)
PUBLISHED = timedelta(minutes=20)
"""So long after midnight the close of a day is there."""
LATE = timedelta(seconds=41, milliseconds=331)
"""Points of hours and minutes lie a little behind them."""
PLAN_WINDOW = timedelta(days=365)
DEAD = datetime(2019, 4, 30, tzinfo=UTC)
PRICING = "https://www.coingecko.com/en/api/pricing"
OHLC_DAYS = ("1", "7", "14", "30", "90", "180", "365", "max")
CURRENCIES = ("btc", "eth", "usd", "eur", "gbp")


@dataclass
class SimCoin:
    """A coin. `closes`: by UTC day, as text; without any nobody trades it. `volume`: dollars a day."""

    id: str
    symbol: str
    name: str
    platforms: Mapping[str, str] = field(default_factory=dict)
    closes: dict[date, str] = field(default_factory=dict)
    volume: str = "1000000"
    genesis: date | None = None


class Digits(str):
    """A number that goes out as the digits it was scripted with."""


class Refused(Exception):
    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class CoingeckoSimulator(Simulator):
    """The host of free keys; `pro` is that of paid ones, with the same coins. Both count, refuse and fail alike.

    `per_minute` and `per_month`: calls of a key, or of all without one; None: as many as you like. `history`: how far
    back free plans go; `paid_history`: the same of paid ones, None: to the beginning.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(now=now)
        self.coins: dict[str, SimCoin] = {}
        self.demo_keys: set[str] = set()
        self.pro_keys: set[str] = set()
        self.per_minute: int | None = None
        self.per_month: int | None = None
        self.history: timedelta = PLAN_WINDOW
        self.paid_history: timedelta | None = None
        self.calls: dict[str, list[datetime]] = {}
        self.answering = self._app(paid=False)
        self.pro: ASGIApp = _Face(self, self._app(paid=True))

    # -- scripting -----------------------------------------------------------------------------------------------------

    def coin(self, coin: str, symbol: str = "", name: str = "", **more: Any) -> SimCoin:
        made = SimCoin(coin, symbol or coin[:4], name or coin.replace("-", " ").title(), **more)
        self.coins[coin] = made
        return made

    def set_close(self, coin: str, day: date | str, close: str) -> None:
        """The price at the end of a UTC day."""
        found = self.coins.get(coin) or self.coin(coin)
        found.closes[date.fromisoformat(str(day))] = close

    def closes(self, coin: str, first: date | str = date.min) -> dict[date, Decimal]:
        """Those that can be read by now, oldest first."""
        now = self._now()
        return {
            day: Decimal(close)
            for day, close in sorted(self.coins[coin].closes.items())
            if _midnight(day + DAY) + PUBLISHED <= now and str(day) >= str(first)
        }

    def price(self, coin: str, moment: datetime) -> str | None:
        """The price at a moment: at midnight the close of the day before, to the digit. None where there is none."""
        closes, day = self.coins[coin].closes, moment.astimezone(UTC).date()
        passed = moment - _midnight(day)
        before, after = closes.get(day - DAY), closes.get(day)
        if before is None or not passed:
            return before
        share = Decimal(passed // timedelta(milliseconds=1)) / Decimal(DAY // timedelta(milliseconds=1))
        moved = Decimal(before) + (Decimal(after or before) - Decimal(before)) * share
        return f"{moved.quantize(Decimal('1e-20')).normalize():f}"

    # -- who asks ------------------------------------------------------------------------------------------------------

    def _app(self, *, paid: bool) -> ASGIApp:
        def route(path: str, answer: Callable[[Request, bool], Any]) -> Route:
            def endpoint(request: Request) -> Response:
                try:
                    self._admit(request, paid)
                    return _answered(answer(request, paid))
                except Refused as refused:
                    return _answered(refused.body, refused.status)

            return Route(f"{API}{path}", endpoint)

        return Starlette(
            routes=[
                route("/ping", lambda request, paid: {"gecko_says": "(V3) To the Moon!"}),
                route("/key", self._key),
                route("/simple/price", self._simple_price),
                route("/simple/supported_vs_currencies", lambda request, paid: list(CURRENCIES)),
                route("/coins/list", self._list),
                route("/coins/markets", self._markets),
                route("/coins/{coin}", self._coin),
                route("/coins/{coin}/market_chart", self._market_chart),
                route("/coins/{coin}/market_chart/range", self._market_chart_range),
                route("/coins/{coin}/ohlc", self._ohlc),
            ],
        )

    def _admit(self, request: Request, paid: bool) -> None:
        """The key, then the limits: a refused call counts too, but of a key that is none."""
        demo, pro = request.headers.get("x-cg-demo-api-key"), request.headers.get("x-cg-pro-api-key")
        if pro is not None and not paid:
            raise Refused(400, wrong_host(10010, self._now()))
        if demo is not None and paid:
            raise Refused(400, wrong_host(10011))
        if paid and pro is None:
            raise Refused(401, status_of(10002, MISSING_KEY))
        if (pro is not None and pro not in self.pro_keys) or (demo is not None and demo not in self.demo_keys):
            raise Refused(401, status_of(10002, "Invalid API Key"))
        self._count(pro or demo or "")

    def _count(self, key: str) -> None:
        now, mine = self._now(), self.calls.setdefault(key, [])
        mine.append(now)
        minute = sum(now - at < timedelta(minutes=1) for at in mine)
        month = sum((at.year, at.month) == (now.year, now.month) for at in mine)
        if key and self.per_month is not None and month > self.per_month:
            raise Refused(429, status_of(429, MONTHLY))
        if self.per_minute is not None and minute > self.per_minute:
            raise Refused(429, status_of(429, RATE_LIMIT))

    def refusal(self, fault: Fault, path: str) -> Response:
        """`code`: one of the vendor's own, in the shape that it has; else a rate limit, or an unknown coin."""
        if fault.code.isdecimal() and fault.code != "429":
            return _answered(CODED.get(fault.code, status_of(int(fault.code), "an error")), fault.status)
        if fault.status == 404:
            return _answered({"error": "coin not found"}, 404)
        if fault.status in (429, 403):
            return _answered(status_of(429, RATE_LIMIT), fault.status)
        return _answered(status_of(fault.status, "Internal Server Error"), fault.status)

    # -- answers -------------------------------------------------------------------------------------------------------

    def _key(self, request: Request, paid: bool) -> Any:
        if not paid:
            raise Refused(401, CODED["10005"])
        limit = self.per_month or 100_000
        used = len(self.calls[request.headers["x-cg-pro-api-key"]])
        return {
            "plan": "Basic", "rate_limit_request_per_minute": self.per_minute or 250, "monthly_call_credit": limit,
            "current_total_monthly_calls": used, "current_remaining_monthly_calls": max(0, limit - used),
            "api_key_rate_limit_request_per_minute": self.per_minute or 250, "api_key_monthly_call_credit": limit,
            "api_key_current_total_monthly_calls": used,
        }  # fmt: skip

    def _simple_price(self, request: Request, paid: bool) -> Any:
        """What it does not know it leaves out, without a word."""
        currency = self._currency(request, "vs_currencies")
        found = {}
        for name in request.query_params.get("ids", "").split(","):
            if name in self.coins:
                price, at = self.newest(name)
                told: dict[str, Any] = {currency: None if price is None else _rounded(price, request)}
                if request.query_params.get("include_last_updated_at") == "true":
                    told["last_updated_at"] = int(at.timestamp())
                found[name] = told
        return found

    def newest(self, coin: str) -> tuple[str | None, datetime]:
        """The price of now and when it was made: some seconds ago."""
        if not self.coins[coin].closes:
            return None, DEAD
        at = self._now().replace(second=0, microsecond=0)
        return self.price(coin, at), at

    def _list(self, request: Request, paid: bool) -> Any:
        platforms = request.query_params.get("include_platform") == "true"
        return [
            {"id": coin.id, "symbol": coin.symbol, "name": coin.name}
            | ({"platforms": dict(coin.platforms)} if platforms else {})
            for coin in self.coins.values()
        ]

    def _markets(self, request: Request, paid: bool) -> Any:
        self._currency(request, "vs_currency")
        ids = [name for name in request.query_params.get("ids", "").split(",") if name]
        return [self._market(name) for name in ids or self.coins if name in self.coins]

    def _market(self, name: str) -> dict[str, Any]:
        coin, (price, at) = self.coins[name], self.newest(name)
        nulls = (
            "market_cap", "market_cap_rank", "fully_diluted_valuation", "high_24h", "low_24h", "price_change_24h",
            "price_change_percentage_24h", "market_cap_change_24h", "market_cap_change_percentage_24h", "total_supply",
            "max_supply", "roi",
        )  # fmt: skip
        told = {"current_price": None if price is None else Digits(price), "total_volume": Digits(coin.volume)}
        return {
            "id": coin.id, "symbol": coin.symbol, "name": coin.name, "image": _image(coin.id),
            "circulating_supply": 1, "ath": 1, "ath_change_percentage": 0, "ath_date": _iso(DEAD), "atl": 1,
            "atl_change_percentage": 0, "atl_date": _iso(DEAD), "last_updated": _iso(at),
            **dict.fromkeys(nulls), **told,
        }  # fmt: skip

    def _coin(self, request: Request, paid: bool) -> Any:
        coin = self._known(request)
        platform = next(iter(coin.platforms), None)
        return {
            "id": coin.id, "symbol": coin.symbol, "name": coin.name, "web_slug": coin.id,
            "asset_platform_id": platform, "platforms": dict(coin.platforms) or {"": ""},
            "detail_platforms": {
                name: {"decimal_place": 18, "contract_address": address} for name, address in coin.platforms.items()
            },
            "block_time_in_minutes": 10, "hashing_algorithm": None, "categories": [], "preview_listing": False,
            "public_notice": None, "additional_notices": [], "has_supply_breakdown": False, "description": {"en": ""},
            "links": {}, "image": {size: _image(coin.id) for size in ("thumb", "small", "large")}, "country_origin": "",
            "genesis_date": coin.genesis and coin.genesis.isoformat(), "sentiment_votes_up_percentage": None,
            "sentiment_votes_down_percentage": None, "watchlist_portfolio_users": 1, "market_cap_rank": 1,
            "market_cap_rank_with_rehypothecated": 1, "status_updates": [], "last_updated": _iso(self._now()),
        }  # fmt: skip

    def _market_chart(self, request: Request, paid: bool) -> Any:
        self._currency(request, "vs_currency")
        coin, now = self._known(request), self._now()
        text = request.query_params.get("days", "")
        if text == "max":
            first = _midnight(min(coin.closes, default=now.date()))
        elif text.isdecimal():
            first = now - timedelta(days=int(text))
        else:
            raise Refused(400, {"error": "Invalid days"})
        self._covered(min(first, now - timedelta(days=366)) if text == "max" else first, paid, slack=DAY)
        return self._points(coin, first, now, request, daily=request.query_params.get("interval") == "daily")

    def _market_chart_range(self, request: Request, paid: bool) -> Any:
        self._currency(request, "vs_currency")
        coin = self._known(request)
        try:
            first, last = (datetime.fromtimestamp(int(request.query_params[name]), UTC) for name in ("from", "to"))
        except (KeyError, ValueError, OverflowError):
            raise Refused(400, {"error": "Invalid from or to"}) from None
        self._covered(first, paid)
        daily = paid and request.query_params.get("interval") == "daily"
        return self._points(coin, first, last, request, daily=daily)

    def _covered(self, first: datetime, paid: bool, slack: timedelta = timedelta()) -> None:
        history = self.paid_history if paid else self.history
        if history is not None and first < self._now() - history - slack:
            raise Refused(401, CODED["10012"])

    def _points(self, coin: SimCoin, first: datetime, last: datetime, request: Request, *, daily: bool) -> Any:
        found = [(at, price) for at in self._times(first, last, daily) if (price := self.price(coin.id, at))]
        rows = [[_milliseconds(at), _rounded(price, request)] for at, price in found]
        return {
            "prices": rows,
            "market_caps": [[at, Digits("1000000000")] for at, _ in rows],
            "total_volumes": [[at, Digits(coin.volume)] for at, _ in rows],
        }

    def _times(self, first: datetime, last: datetime, daily: bool) -> Iterator[datetime]:
        """Steps by how long the span is; then now, where it is within."""
        now, length = self._now(), last - first
        if daily or length > timedelta(days=90):
            step, late = DAY, timedelta()
        else:
            step, late = (timedelta(hours=1) if length > DAY else timedelta(minutes=5)), LATE
        at = _midnight(first.date())
        while at + late <= min(last, now):
            if at + late >= first and (at.time() != time() or late or at + PUBLISHED <= now):
                yield at + late
            at += step
        if first <= now <= last:
            yield now

    def _ohlc(self, request: Request, paid: bool) -> Any:
        """Stamped with the close, which for the last one lies ahead."""
        self._currency(request, "vs_currency")
        coin, now, text = self._known(request), self._now(), request.query_params.get("days", "")
        if text not in OHLC_DAYS:
            raise Refused(400, {"error": "Invalid days"})
        days = 366 if text == "max" else int(text)
        self._covered(now - timedelta(days=days), paid)
        step = timedelta(minutes=30) if days <= 2 else timedelta(hours=4) if days <= 30 else timedelta(days=4)
        at, rows = _midnight(now.date() - timedelta(days=days)), []
        while at <= now:
            times = [at + step * n / 8 for n in range(9) if at + step * n / 8 <= now]
            prices = [price for moment in times if (price := self.price(coin.id, moment)) is not None]
            if prices and at >= now - timedelta(days=days):
                low, high = min(prices, key=Decimal), max(prices, key=Decimal)
                four = [_rounded(price, request) for price in (prices[0], high, low, prices[-1])]
                rows.append([_milliseconds(at + step), *four])
            at += step
        return rows

    def _known(self, request: Request) -> SimCoin:
        coin = self.coins.get(request.path_params["coin"])
        if coin is None:
            raise Refused(404, {"error": "coin not found"})
        return coin

    def _currency(self, request: Request, name: str) -> str:
        """Prices are dollars, whatever the currency is."""
        told = request.query_params.get(name)
        if not told:
            raise Refused(400, {"error": f"Missing parameter {name}"})
        if told not in CURRENCIES:
            raise Refused(400, {"error": "invalid vs_currency"})
        return told


class _Face:
    """A second host of the same simulator."""

    def __init__(self, simulator: CoingeckoSimulator, app: ASGIApp) -> None:
        self._simulator = simulator
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._simulator.serve(self._app, scope, receive, send)


# -- the vendor's words ------------------------------------------------------------------------------------------------

RATE_LIMIT = (
    f"You've exceeded the Rate Limit. Please visit {PRICING} to subscribe to our API plans for higher rate limits."
)
MONTHLY = f"You've reached your monthly API credit limit. Please visit {PRICING} to upgrade your plan."
MISSING_KEY = (
    "API Key Missing. Please make sure you're using the right authentication method. For Pro API, ensure you pass the "
    "correct API key, else use Demo API with demo key"
)
ROOTS = {"Pro": ("api.coingecko.com", "pro-api.coingecko.com"), "Demo": ("pro-api.coingecko.com", "api.coingecko.com")}


def status_of(code: int, message: str) -> dict[str, Any]:
    return {"status": {"error_code": code, "error_message": message}}


def wrong_host(code: int, at: datetime | None = None) -> dict[str, Any]:
    plan = "Pro" if code == 10010 else "Demo"
    wrong, right = ROOTS[plan]
    message = f"If you are using {plan} API key, please change your root URL from {wrong} to {right}"
    stamp = {} if at is None else {"timestamp": at.isoformat(timespec="milliseconds")}
    return {**stamp, "error_code": code, "status": {"error_message": message}}


CODED: Mapping[str, dict[str, Any]] = {
    "10002": status_of(10002, "Invalid API Key"),
    "10005": status_of(
        10005, f"This request is limited to PRO API subscribers. Please visit {PRICING} to subscribe to our API plans "
        "to access this exclusive endpoint.",
    ),
    "10010": wrong_host(10010),
    "10011": wrong_host(10011),
    "10012": {"error": {"status": {
        "timestamp": "2026-09-18T03:59:28.512+00:00", "error_code": 10012,
        "error_message": "Your request exceeds the allowed time range. Public API users are limited to querying "
        "historical data within the past 365 days. Upgrade to a paid plan to enjoy full historical data access: "
        f"{PRICING}.",
    }}},
}  # fmt: skip


def _rounded(price: str, request: Request) -> Digits:
    """To the decimals that were asked for; "full" are all of them."""
    decimals = request.query_params.get("precision", "full")
    if not decimals.isdecimal() or -int(str(Decimal(price).as_tuple().exponent)) <= int(decimals):
        return Digits(price)
    return Digits(f"{Decimal(price).quantize(Decimal(1).scaleb(-int(decimals))):f}")


def _answered(value: Any, status: int = 200) -> Response:
    return Response(_json(value), status, media_type="application/json")


def _json(value: Any) -> str:
    """JSON whose scripted numbers are the digits they were scripted with."""
    if isinstance(value, Digits):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(name)}:{_json(part)}" for name, part in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value)


def _image(coin: str) -> str:
    return f"https://coin-images.coingecko.com/coins/images/1/large/{coin}.png"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


# -- a believable state ------------------------------------------------------------------------------------------------

COINS: Sequence[tuple[str, str, str, str, dict[str, str]]] = (
    ("bitcoin", "btc", "Bitcoin", "86412.55", {}),
    ("ethereum", "eth", "Ethereum", "2810.4", {}),
    ("tether", "usdt", "Tether", "0.999", {"ethereum": "0xdac17f958d2ee523a2206206994597c13d831ec7"}),
    ("usd-coin", "usdc", "USDC", "1.0", {"ethereum": "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"}),
    ("solana", "sol", "Solana", "131.7", {}),
    ("shiba-inu", "shib", "Shiba Inu", "0.00000783",
     {"ethereum": "0x95ad61b0a150d79219dcf64e1e6cc01f0b64c4ce"}),
    ("batcat", "btc", "batcat", "0.0000001234", {"solana": "EtBc6gkCvsB9c6f5wSbwG8wPjRqXMB5euptK6bqG1R4X"}),
)  # fmt: skip
"""Id, symbol, name, a price, and contracts. Two of them have one symbol, as many have."""


def sandbox(simulator: CoingeckoSimulator, *, today: date, seed: int = 0, days: int = 400) -> None:
    """Coins with closes from `days` ago to a week after `today`: they show when the clock gets there."""
    draw = random.Random(seed)
    for coin, symbol, name, price, platforms in COINS:
        made = simulator.coin(coin, symbol, name, platforms=platforms)
        close, finest = Decimal(price), Decimal(price).as_tuple().exponent
        assert isinstance(finest, int)
        steady = coin in ("tether", "usd-coin")
        for day in (today + timedelta(days=n) for n in range(-days, 8)):
            moved = close if steady else close * (1 + Decimal(draw.randint(-300, 303)) / 10_000)
            close = max(moved.quantize(Decimal(1).scaleb(finest - 2)), Decimal(1).scaleb(finest - 2))
            made.closes[day] = f"{close:f}"
