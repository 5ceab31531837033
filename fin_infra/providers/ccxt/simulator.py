"""Three exchanges imitated over HTTP: their candles, paging limits, open candles, minutes without a trade, refusals.

Each candle is drawn from the seed, its pair, its interval and its start alone, so any span of years is there at no
cost; `set_candle` scripts one. Numbers are text from the draw to the wire, never a float.
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator

NEAR = {"BTC": "91250.40", "ETH": "3021.55", "SOL": "138.42", "XRP": "2.2140", "ADA": "0.4127", "DOGE": "0.15203"}
"""Prices in dollars near which a sandbox begins; by the coin's ticker."""
STEPS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14_400, "6h": 21_600,
         "12h": 43_200, "1d": 86_400}  # fmt: skip


class SimCandle(NamedTuple):
    """Text, as it goes to the wire."""

    open: str
    high: str
    low: str
    close: str
    volume: str


class ExchangeSimulator(Simulator):
    """Pairs with their candles. `holes`: the share of candles in which nobody traded. `most`: rows of an answer, by
    default the exchange's own limit. `deaf`: it answers as if no time had been asked for."""

    limit: int
    steps: frozenset[int]

    def __init__(self, *, seed: int = 0, holes: float = 0.0, **more: Callable[[], datetime]) -> None:
        super().__init__(**more)
        self.seed = seed
        self.holes = holes
        self.most = self.limit
        self.deaf = False
        self.pairs: dict[str, str] = {}
        self.listed: dict[str, int] = {}
        self.scripted: dict[tuple[str, int, int], SimCandle | None] = {}
        self.answering = Starlette(routes=self.routes())

    def list_pair(self, pair: str, near: str, *, since: date | None = None) -> None:
        """A pair by the exchange's own name, its prices near this one; none before `since`."""
        self.pairs[pair] = near
        self.listed[pair] = int(datetime(since.year, since.month, since.day, tzinfo=UTC).timestamp()) if since else 0

    def set_candle(self, pair: str, interval: str, start: datetime, candle: SimCandle | None) -> None:
        """This candle instead of the drawn one; None: nobody traded."""
        self.scripted[pair, STEPS[interval], int(start.timestamp())] = candle

    def candle(self, pair: str, step: int, start: int) -> SimCandle | None:
        """What is served for it now; of the open one as much as has happened."""
        if (pair, step, start) in self.scripted:
            return self.scripted[pair, step, start]
        now = int(self._now().timestamp())
        if start > now or start < self.listed[pair]:
            return None
        draw = random.Random(f"{self.seed} {pair} {step} {start}")
        if draw.random() < self.holes:
            return None
        near = Decimal(self.pairs[pair])
        prices = [(near * (10_000 + draw.randint(-99, 99)) / 10_000).quantize(near) for _ in range(4)]
        volume = Decimal(draw.randint(1, 10**11)) / 10**8
        if start + step > now:  # still open: the price and the volume go on with every second
            part = Decimal(now - start + 1) / step
            prices[1] = (prices[0] + (prices[1] - prices[0]) * part).quantize(near)
            volume = (volume * part).quantize(Decimal("0.00000001"))
        opened, close = prices[:2]
        high, low = max(prices), min(prices)
        return SimCandle(*(format(number, "f") for number in (opened, high, low, close, volume)))

    def candles(self, pair: str, step: int, first: int, last: int) -> list[tuple[int, SimCandle]]:
        """Those that start from `first` to `last`, oldest first."""
        begin = -(-first // step) * step
        found = ((start, self.candle(pair, step, start)) for start in range(begin, last + 1, step))
        return [(start, candle) for start, candle in found if candle is not None]

    def now(self) -> int:
        return int(self._now().timestamp())

    @abstractmethod
    def routes(self) -> list[Route]: ...


class KrakenSimulator(ExchangeSimulator):
    """Status 200 whatever happens; the newest 720 candles and none before; `since` itself is left out."""

    limit = 720
    steps = frozenset(STEPS[name] for name in ("1m", "5m", "15m", "30m", "1h", "4h", "1d"))

    def routes(self) -> list[Route]:
        return [Route("/0/public/OHLC", self._ohlc)]

    def _ohlc(self, request: Request) -> Response:
        asked = request.query_params
        pair = next((name for name in self.pairs if asked.get("pair") in (name, _altname(name))), None)
        if pair is None:
            return _kraken_error("EQuery:Unknown asset pair")
        step = int(asked.get("interval", "1")) * 60
        if step not in self.steps:
            return _kraken_error("EGeneral:Invalid arguments")
        newest = self.now() // step * step
        oldest = newest - (self.limit - 1) * step
        since = 0 if self.deaf else int(asked.get("since", "0"))
        rows = self.candles(pair, step, max(oldest, since + 1), newest)[-self.most :]
        last = newest - step if rows else since
        told = [[start, c.open, c.high, c.low, c.close, c.close, c.volume, 1 + start % 97] for start, c in rows]
        return JSONResponse(
            {"error": [], "result": {pair: told, "last": str(min(last, rows[-1][0]) if rows else last)}}
        )

    def refusal(self, fault: Fault, path: str) -> Response:
        return _kraken_error(fault.code)


class CoinbaseSimulator(ExchangeSimulator):
    """Low before high before open, newest first, numbers; no more than 300 in a call, by both ends."""

    limit = 300
    steps = frozenset(STEPS[name] for name in ("1m", "5m", "15m", "1h", "6h", "1d"))

    def routes(self) -> list[Route]:
        return [Route("/products/{pair}/candles", self._candles)]

    def _candles(self, request: Request) -> Response:
        pair, asked = request.path_params["pair"], request.query_params
        if pair not in self.pairs:
            return JSONResponse({"message": "NotFound"}, 404)
        step = int(asked.get("granularity", "60"))
        if step not in self.steps:
            return JSONResponse({"message": "Unsupported granularity"}, 400)
        end, start = self.now(), self.now() - (self.limit - 1) * step
        if "start" in asked and "end" in asked and not self.deaf:
            start, end = _stamp(asked["start"]), _stamp(asked["end"])
        if (end - start) // step >= self.limit:
            told = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
            return JSONResponse({"message": told}, 400)
        rows = self.candles(pair, step, start, min(end, self.now()))[::-1][: self.most]
        parts = [f"[{at},{c.low},{c.high},{c.open},{c.close},{c.volume}]" for at, c in rows]
        return Response("[" + ",".join(parts) + "]", media_type="application/json")

    def refusal(self, fault: Fault, path: str) -> Response:
        return JSONResponse({"message": fault.code}, fault.status)


class BinanceSimulator(ExchangeSimulator):
    """Milliseconds, text, twelve columns, oldest first; no more than 1000 in a call, and its weight in a header."""

    limit = 1000
    steps = frozenset(STEPS.values())

    def routes(self) -> list[Route]:
        return [Route("/api/v3/klines", self._klines)]

    def _klines(self, request: Request) -> Response:
        asked = request.query_params
        pair, step = asked.get("symbol", ""), STEPS.get(asked.get("interval", ""), 0)
        if pair not in self.pairs:
            return JSONResponse({"code": -1121, "msg": "Invalid symbol."}, 400)
        if step not in self.steps:
            return JSONResponse({"code": -1120, "msg": "Invalid interval."}, 400)
        most = min(int(asked.get("limit", "500")), self.most)
        last = min(int(asked.get("endTime", "9" * 13)) // 1000, self.now())
        first = int(asked["startTime"]) // 1000 if "startTime" in asked else last - (most - 1) * step
        if self.deaf:
            first, last = self.now() - (most - 1) * step, self.now()
            if "startTime" in asked:
                first, last = first - 10 * most * step, last - 10 * most * step
        rows = self.candles(pair, step, first, last)[:most]
        told = [
            [at * 1000, c.open, c.high, c.low, c.close, c.volume, (at + step) * 1000 - 1, "0", 7, "0", "0", "0"]
            for at, c in rows
        ]
        return JSONResponse(told, headers={"x-mbx-used-weight-1m": "2"})

    def refusal(self, fault: Fault, path: str) -> Response:
        return JSONResponse({"code": int(fault.code) if fault.code.lstrip("-").isdecimal() else 0, "msg": "refused"},
                            fault.status)  # fmt: skip


def _altname(pair: str) -> str:
    """`XXBTZUSD` → `XBTUSD`."""
    if len(pair) == 8 and pair[0] == "X" and pair[4] == "Z":
        return pair[1:4] + pair[5:]
    return pair


def _kraken_error(word: str) -> Response:
    return Response(json.dumps({"error": [word]}), media_type="application/json")


def _stamp(text: str) -> int:
    return int(text) if text.isdecimal() else int(datetime.fromisoformat(text).timestamp())


def sandbox(simulator: ExchangeSimulator, *, seed: int = 0) -> None:
    """Half a dozen coins, by the exchange's own names; some minutes without a trade."""
    simulator.seed, simulator.holes = seed, 0.02
    for ticker, near in NEAR.items():
        match simulator:
            case KrakenSimulator():
                old = {"BTC": "XXBTZUSD", "ETH": "XETHZUSD", "XRP": "XXRPZUSD", "DOGE": "XDGUSD"}
                simulator.list_pair(old.get(ticker, f"{ticker}USD"), near)
            case CoinbaseSimulator():
                simulator.list_pair(f"{ticker}-USD", near)
            case _:
                simulator.list_pair(f"{ticker}USDT", near)
