"""Alpaca imitated over HTTP: a paper account on the trading host, daily bars on the data host, refusals and faults.

State is scripted from outside and changes only then, except that bars appear as the injected clock passes them. Amounts
go in and out as decimal text: strings on the trading host, digits on the data host, never a float in between. It
speaks ASGI: the simulator serves both hosts' paths, `.trading` and `.data` one host's each.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from http.client import responses
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5
from zlib import crc32
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fin_infra.providers.alpaca import book
from fin_infra.providers.alpaca.book import OrderBook, SimOrder, Unplaced
from fin_infra.providers.simulating import Fault, Simulator

NEW_YORK = ZoneInfo("America/New_York")
CENTRAL = ZoneInfo("America/Chicago")  # the vendor's crypto day begins at midnight there
DELAY = timedelta(minutes=15)  # how old SIP data must be on the free plan
OPEN, CLOSE, EARLY_CLOSE = time(9, 30), time(16), time(13)
PER_MINUTE = 200  # the quota both hosts state for the free plan
TOO_RECENT = "subscription does not permit querying recent SIP data"
EXACT = Context(prec=76)  # products of two 38-digit amounts are whole
PAPER_CASH = Decimal(100_000)  # a paper account begins with it; no activity row says so

NEWEST: Final = "newest close"
"""As a position's `current_price`: follow the newest served close of its symbol."""

HOLIDAYS = frozenset(
    date.fromisoformat(day)
    for day in (
        "2025-01-01", "2025-01-09", "2025-01-20", "2025-02-17", "2025-04-18", "2025-05-26", "2025-06-19", "2025-07-04",
        "2025-09-01", "2025-11-27", "2025-12-25", "2026-01-01", "2026-01-19", "2026-02-16", "2026-04-03", "2026-05-25",
        "2026-06-19", "2026-07-03", "2026-09-07", "2026-11-26", "2026-12-25", "2027-01-01", "2027-01-18", "2027-02-15",
        "2027-03-26", "2027-05-31", "2027-06-18", "2027-07-05", "2027-09-06", "2027-11-25", "2027-12-24",
    )
)  # fmt: skip
EARLY_CLOSES = frozenset(
    date.fromisoformat(day)
    for day in ("2025-07-03", "2025-11-28", "2025-12-24", "2026-11-27", "2026-12-24", "2027-11-26")
)


def weekdays_without_holidays() -> list[date]:
    """New York's sessions of 2025 to 2027, oldest first."""
    days = (date(2025, 1, 1) + timedelta(days=n) for n in range(3 * 365))
    return [day for day in days if day.weekday() < 5 and day not in HOLIDAYS]


# -- state -------------------------------------------------------------------------------------------------------------


@dataclass
class SimPosition:
    """A holding. Shorts have a negative `qty` and side "short"; option quantities are contracts of 100."""

    symbol: str
    qty: str
    avg_entry_price: str
    side: str = "long"
    asset_class: str = "us_equity"  # us_option | crypto
    exchange: str = "NASDAQ"
    current_price: str | None = NEWEST
    lastday_price: str | None = NEWEST
    exact: dict[str, str | None] = field(default_factory=dict)
    """Fields of the answer said outright, e.g. {"market_value": "723.1"}; the others are worked out."""


@dataclass
class SimActivity:
    """A FILL (with `at`, side, price, qty, symbol) or a row of another type (with `on` and `net_amount`).

    Its id is made when it is booked: New York's wall time of a FILL, or the midnight of `on`, then a UUID.
    """

    type: str
    at: datetime | None = None
    on: date | None = None
    symbol: str | None = None
    qty: str | None = None
    side: str = "buy"
    price: str | None = None
    net_amount: str | None = None
    per_share_amount: str | None = None
    sub_type: str | None = None
    description: str | None = ""
    status: str = "executed"
    order: str = ""  # fills of one order share it
    leaves_qty: str = "0"
    cum_qty: str | None = None  # None: `qty`
    created_at: datetime | None = None
    """When the vendor has the row: a FILL at once, others the morning after `on`, unless said. Never served before."""
    id: str = ""

    @property
    def created(self) -> datetime:
        if self.created_at or self.at:
            return self.created_at or self.at  # type: ignore[return-value]
        assert self.on is not None
        return datetime.combine(self.on + timedelta(days=1), time(9, 12, 4, 650275), UTC)


@dataclass
class SimAsset:
    symbol: str
    name: str
    asset_class: str = "us_equity"
    exchange: str = "NASDAQ"
    status: str = "active"
    tradable: bool = True


@dataclass
class SimBrokerage:
    """One account with its positions and activities. `exact` says fields of /v2/account outright."""

    account_id: str = "1d9eed04-be39-4e01-9b84-a48ac5bbafcf"
    cash: str = "100000"
    currency: str = "USD"
    status: str = "ACTIVE"
    account_number: str = "PA3SIM00001"
    created_at: str = "2024-01-02T14:31:09.123456Z"
    positions: list[SimPosition] = field(default_factory=list)
    activities: list[SimActivity] = field(default_factory=list)
    exact: dict[str, str | None] = field(default_factory=dict)
    order_book: OrderBook = field(default_factory=OrderBook)

    def record(self, activity: SimActivity) -> SimActivity:
        """The row alone, oldest first by id; cash and positions stay as they are."""
        activity.id = activity.id or _activity_id(self.account_id, activity, len(self.activities))
        self.activities.append(activity)
        self.activities.sort(key=lambda row: row.id)
        return activity

    def book(self, activity: SimActivity) -> SimActivity:
        """The row and what it does: a FILL moves cash and the position, another row moves cash by its net amount."""
        with localcontext(EXACT):
            if activity.type == "FILL":
                if not (activity.qty and activity.price and activity.symbol):
                    raise ValueError("a FILL needs symbol, qty and price")
                bought = Decimal(activity.qty) * (1 if activity.side == "buy" else -1)
                self.cash = plain(Decimal(self.cash) - bought * Decimal(activity.price))
                self._move(activity.symbol, bought, Decimal(activity.price))
            else:
                self.cash = plain(Decimal(self.cash) + Decimal(activity.net_amount or "0"))
        return self.record(activity)

    def _move(self, symbol: str, bought: Decimal, price: Decimal) -> None:
        held = next((p for p in self.positions if p.symbol == symbol), None)
        if held is None:
            held = SimPosition(symbol, "0", "0")
            self.positions.append(held)
        before, average = Decimal(held.qty), Decimal(held.avg_entry_price)
        after = before + bought
        if not after:
            self.positions.remove(held)
            return
        if before * after < 0 or not before:
            average = price  # opened, or turned around
        elif abs(after) > abs(before):
            average = ((before * average + bought * price) / after).quantize(Decimal("1e-9"))
        held.qty, held.avg_entry_price, held.side = plain(after), plain(average), "long" if after > 0 else "short"


@dataclass(frozen=True)
class SimBar:
    """One bar, as the very digits that are sent."""

    open: str
    high: str
    low: str
    close: str
    volume: str
    trades: str
    vwap: str

    def text(self, stamp: str) -> Digits:
        return Digits(
            f'{{"t":"{stamp}","o":{self.open},"h":{self.high},"l":{self.low},"c":{self.close},'
            f'"v":{self.volume},"n":{self.trades},"vw":{self.vwap}}}'
        )


@dataclass(frozen=True)
class SimAction:
    """A corporate action, its fields in the vendor's words. `type` is the plural that lists it: forward_splits, …"""

    id: str
    type: str
    fields: dict[str, Any]
    known_from: datetime  # never served before

    @property
    def symbols(self) -> set[str]:
        """Those it is found by."""
        named = ("symbol", "old_symbol", "new_symbol", "source_symbol", "acquiree_symbol", "acquirer_symbol")
        return {self.fields[name] for name in named if name in self.fields}

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands among the others: by the day it is processed."""
        cusips = ("cusip", "old_cusip", "source_cusip", "acquiree_cusip")
        return self.fields["process_date"], next((self.fields[n] for n in cusips if n in self.fields), ""), self.id

    @property
    def ex_on(self) -> date:
        named = ("ex_date", "effective_date", "process_date")
        return date.fromisoformat(next(self.fields[name] for name in named if name in self.fields))


def made_bar(symbol: str, session: date) -> SimBar:
    """A bar that tells symbols and days apart, the same whenever it is asked for; no day is far from the one before."""
    cents = 5_000 + crc32(symbol.encode()) % 4_000 + session.toordinal() % 89
    close, low, high = (f"{n // 100}.{n % 100:02}" for n in (cents, cents - 25, cents + 25))
    return SimBar(close, high, low, close, str(1_000 + session.toordinal() % 997), "10", close)


class Digits(str):
    """JSON text to be sent as it is: a number, exactly as scripted, or a value made of such."""


# -- the vendor --------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """An answer other than 200, in the words of the host that gives it."""

    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or (40010001 if status == 400 else status * 100_000 + 10_000)


class AlpacaSimulator(Simulator):
    """The vendor. Script it with its methods; hand the object itself, `.trading` or `.data` to whoever serves ASGI.

    `sessions`: New York's trading days, oldest first; default those of 2025 to 2027. `realtime`: the paid data plan.
    `limit_per_minute`: refuse an account's further requests to a host within a minute of the clock; None: never.
    `short_pages`: pages of bars hold fewer points than asked for although more exist, as the vendor's may.
    """

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), sessions: Sequence[date] | None = None,
        early_closes: Collection[date] = EARLY_CLOSES, realtime: bool = False, limit_per_minute: int | None = None,
        short_pages: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(now=now)
        self.sessions = list(weekdays_without_holidays() if sessions is None else sessions)
        self.early_closes = frozenset(early_closes)
        self.realtime = realtime
        self.limit_per_minute = limit_per_minute
        self.short_pages = short_pages
        self.keys: dict[str, tuple[str, SimBrokerage]] = {}
        self.assets: dict[str, SimAsset] = {}
        self.actions: dict[str, SimAction] = {}
        self._bars: dict[str, dict[date, list[tuple[datetime, SimBar]]]] = {}
        self._generated: dict[str, tuple[date, date]] = {}
        self._minutes: dict[str, dict[datetime, SimBar]] = {}
        self._used: dict[tuple[str, str, int], int] = {}
        trading = [
            Route("/v2/account", self._on_trading(self._account)),
            Route("/v2/orders", self._on_trading(self._orders), methods=["GET"]),
            Route("/v2/orders", self._acting(self._place), methods=["POST"]),
            Route("/v2/orders", self._acting(self._cancel_all), methods=["DELETE"]),
            Route("/v2/orders:by_client_order_id", self._on_trading(self._order_by_ours), methods=["GET"]),
            Route("/v2/orders/{order_id}", self._on_trading(self._order), methods=["GET"]),
            Route("/v2/orders/{order_id}", self._acting(self._cancel), methods=["DELETE"]),
            Route("/v2/account/activities", self._on_trading(self._activities)),
            Route("/v2/account/activities/{activity_type}", self._on_trading(self._activities)),
            Route("/v2/positions", self._on_trading(self._positions)),
            Route("/v2/positions/{symbol:path}", self._on_trading(self._position)),
            Route("/v2/assets", self._on_trading(self._assets)),
            Route("/v2/assets/{symbol:path}", self._on_trading(self._asset)),
            Route("/v2/calendar", self._on_trading(self._calendar)),
            Route("/v2/clock", self._on_trading(self._clock)),
        ]
        data = [
            Route("/v2/stocks/bars", self._on_data(self._stock_bars)),
            Route("/v2/stocks/bars/latest", self._on_data(self._latest_bars)),
            Route("/v2/stocks/snapshots", self._on_data(self._snapshots)),
            Route("/v2/stocks/{symbol}/bars", self._on_data(self._stock_bars)),
            Route("/v1beta3/crypto/{loc}/bars", self._on_data(self._crypto_bars, public=True)),
            Route("/v1/corporate-actions", self._on_data(self._corporate_actions)),
        ]
        handlers = {Refused: _refused, Unplaced: _unplaced, HTTPException: _not_found}
        self.answering = Starlette(routes=[*trading, *data], exception_handlers=handlers)  # type: ignore[arg-type]
        self.trading = _Host(self, Starlette(routes=trading, exception_handlers=handlers))  # type: ignore[arg-type]
        self.data = _Host(self, Starlette(routes=data, exception_handlers=handlers))  # type: ignore[arg-type]

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = _host(scope["path"])
            key = dict(scope["headers"]).get(b"apca-api-key-id", b"").decode("latin-1")
            used, until = self._spend(host, key)
            limit = self.limit_per_minute
            left = PER_MINUTE - 1 if limit is None else max(0, limit - used)
            send = _with_headers(send, limit or PER_MINUTE, left, until, request_id=len(self.requests))
            if limit is not None and used > limit:
                app = _refusal(host, 429)
        await super().serve(app, scope, receive, send)

    def refusal(self, fault: Fault, path: str) -> Response:
        return _refusal(_host(path), fault.status, int(fault.code) if fault.code.isdigit() else None)

    def _spend(self, host: str, key: str) -> tuple[int, int]:
        """Requests of this key to this host in the clock's minute, this one too, and when the minute ends."""
        minute = int(self._now().timestamp()) // 60
        self._used = {spent: n for spent, n in self._used.items() if spent[2] == minute}
        self._used[host, key, minute] = self._used.get((host, key, minute), 0) + 1
        return self._used[host, key, minute], (minute + 1) * 60

    # -- script --------------------------------------------------------------------------------------------------------

    def open_account(self, key_id: str, secret: str, brokerage: SimBrokerage) -> SimBrokerage:
        """This pair of keys opens the account; several pairs may open the same one."""
        self.keys[key_id] = (secret, brokerage)
        return brokerage

    def account(self, key_id: str) -> SimBrokerage:
        return self.keys[key_id][1]

    def revoke(self, key_id: str) -> None:
        """The keys are refused from now on; the account lives on for its other keys."""
        del self.keys[key_id]

    def add_asset(self, asset: SimAsset) -> SimAsset:
        self.assets[asset.symbol] = asset
        return asset

    def set_bar(
        self, symbol: str, session: date, o: str, h: str, l: str, c: str, v: str, *,  # noqa: E741
        n: str | None = None, vw: str | None = None, served_from: datetime | None = None,
    ) -> SimBar:  # fmt: skip
        """A daily bar, in the digits it is to be sent with, instead of all this session had before.

        With `served_from` it follows the earlier ones at that moment instead: partial figures, then final ones from
        the close, then a late correction. A bar is never served before its session opens. Raises ValueError when a
        figure is not the text of a JSON number.
        """
        middle = plain(((Decimal(h) + Decimal(l) + Decimal(c)) / 3).quantize(Decimal("1e-6"))) if vw is None else vw
        bar = SimBar(o, h, l, c, v, n or str(max(1, int(Decimal(v)) // 100)), middle)
        for figure in (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades, bar.vwap):
            if not isinstance(figure, str) or not re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", figure):
                raise ValueError(f"bar of {symbol} on {session}: {figure!r} is not the text of a JSON number")
        opening = self.opens(session) if "/" not in symbol else _midnight(session, CENTRAL)
        versions = self._bars.setdefault(symbol, {})
        kept = [] if served_from is None else [old for old in versions.get(session, []) if old[0] < served_from]
        versions[session] = [*kept, (max(opening, served_from or opening), bar)]
        return bar

    def generate(self, symbol: str, first: date, last: date = date.max) -> None:
        """The symbol has a bar of every session between the two days, worked out when it is asked for: see `made_bar`.

        Twenty years of it cost nothing. A bar that is set takes the place of the one that would be made.
        """
        self._generated[symbol] = first, last

    def set_minutes(self, symbol: str, first: datetime, *closes: str) -> None:
        """Bars of the minutes from `first` on, one for each close; an empty one: nobody traded. Each is served when it
        is over; longer bars are made of them."""
        minutes = self._minutes.setdefault(symbol, {})
        for number, close in enumerate(closes):
            if close:
                minutes[first + number * timedelta(minutes=1)] = SimBar(close, close, close, close, "10", "1", close)

    def _merged(self, symbol: str, length: timedelta, newest: datetime) -> Iterator[tuple[datetime, SimBar]]:
        """Bars of a length, on the clock's marks, of the minutes that are over."""
        marks: dict[datetime, list[SimBar]] = {}
        for at, bar in sorted(self._minutes.get(symbol, {}).items()):
            if at + timedelta(minutes=1) <= newest:
                marks.setdefault(at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % length, []).append(bar)
        for mark, parts in marks.items():
            high = max(parts, key=lambda part: Decimal(part.high)).high
            low = min(parts, key=lambda part: Decimal(part.low)).low
            volume = str(sum(int(part.volume) for part in parts))
            yield mark, SimBar(parts[0].open, high, low, parts[-1].close, volume, str(len(parts)), parts[-1].close)

    def opens(self, session: date) -> datetime:
        return datetime.combine(session, OPEN, NEW_YORK)

    def closes(self, session: date) -> datetime:
        return datetime.combine(session, EARLY_CLOSE if session in self.early_closes else CLOSE, NEW_YORK)

    def bars(self, symbol: str, at: datetime | None = None) -> dict[date, SimBar]:
        """What is served of a symbol at a moment, now by default, oldest first."""
        moment = at or self._now()
        served = dict(self._made(symbol, date.min, date.max, moment))
        for session, versions in sorted(self._bars.get(symbol, {}).items()):
            out = [bar for since, bar in versions if since <= moment]
            if out:
                served[session] = out[-1]
        return dict(sorted(served.items())) if symbol in self._generated else served

    def _made(self, symbol: str, first: date, last: date, newest: datetime) -> Iterator[tuple[date, SimBar]]:
        """Generated bars of the sessions between the days that have begun by `newest`, oldest first."""
        if symbol not in self._generated:
            return
        begin, end = self._generated[symbol]
        place = bisect_left(self.sessions, max(first, begin))
        for session in self.sessions[place : bisect_right(self.sessions, min(last, end))]:
            if self.opens(session) > newest:
                return
            yield session, made_bar(symbol, session)

    def newest_closes(self, symbol: str) -> list[str]:
        """The newest served close and the one before it, newest first; fewer when there are fewer."""
        return [bar.close for bar in list(self.bars(symbol).values())[:-3:-1]]

    # -- script of corporate actions -----------------------------------------------------------------------------------

    def act(self, type: str, *, known_from: datetime | None = None, **fields: Any) -> SimAction:
        """An action in the vendor's words, alone: no bar changes. Numbers are given as the text of their digits.

        CUSIPs are made of their symbols where none is given. Served at once, or from `known_from` on.
        """
        made = {name: day.isoformat() if isinstance(day, date) else day for name, day in fields.items()}
        named = [name for name in made if name.endswith("symbol") and (name, type) != ("symbol", "reverse_splits")]
        for name in named:
            made.setdefault(name.replace("symbol", "cusip"), cusip_of(made[name]))
        made = {name: Digits(value) if name.endswith("rate") else value for name, value in made.items()}
        action_id = str(uuid5(NAMESPACE_URL, f"action {type} {sorted(made.items())} {len(self.actions)}"))
        known = known_from or datetime.min.replace(tzinfo=UTC)
        self.actions[action_id] = SimAction(action_id, type, made, known)
        return self.actions[action_id]

    def withdraw(self, action: SimAction) -> None:
        """The vendor takes the action back: it is not served any more. Bars stay as they are."""
        del self.actions[action.id]

    def split(
        self, symbol: str, ex_on: date, new: str, old: str, *, bars: bool = True, known_from: datetime | None = None
    ) -> SimAction:  # fmt: skip
        """`new` shares for `old`: bars scripted so far for `ex_on` and later are counted in new shares from now on."""
        if bars:
            self._rescale(symbol, ex_on, Decimal(old) / Decimal(new))
        forward = Decimal(new) > Decimal(old)
        same: dict[str, Any] = (
            {} if forward else {"old_cusip": cusip_of(symbol), "new_cusip": cusip_of(f"{symbol} new")}
        )
        return self.act("forward_splits" if forward else "reverse_splits", symbol=symbol, ex_date=ex_on,
                        process_date=ex_on, record_date=ex_on, new_rate=new, old_rate=old, known_from=known_from,
                        **same)  # fmt: skip

    def stock_dividend(self, symbol: str, ex_on: date, rate: str, *, known_from: datetime | None = None) -> SimAction:
        self._rescale(symbol, ex_on, 1 / (1 + Decimal(rate)))
        return self.act("stock_dividends", symbol=symbol, ex_date=ex_on, process_date=ex_on, record_date=ex_on,
                        payable_date=ex_on, rate=rate, known_from=known_from)  # fmt: skip

    def dividend(
        self, symbol: str, ex_on: date, rate: str, *, special: bool = False, payable: date | None = None,
        known_from: datetime | None = None, **more: str,
    ) -> SimAction:  # fmt: skip
        """So much cash a share. Bars stay: how far a price falls on its ex-date is the market's matter."""
        paid = payable or ex_on + timedelta(days=14)
        return self.act("cash_dividends", symbol=symbol, ex_date=ex_on, process_date=paid, record_date=ex_on,
                        payable_date=paid, rate=rate, special=special, foreign=False, known_from=known_from,
                        **more)  # fmt: skip

    def rename(self, old: str, new: str, on: date, *, known_from: datetime | None = None) -> SimAction:
        """From `on` its bars are under the new symbol, and its asset too."""
        kept = self._bars.setdefault(old, {})
        self._bars.setdefault(new, {}).update({day: kept.pop(day) for day in list(kept) if day >= on})
        if asset := self.assets.get(old):
            self.add_asset(SimAsset(new, asset.name, asset.asset_class, asset.exchange))
        return self.act("name_changes", old_symbol=old, new_symbol=new, process_date=on, known_from=known_from)

    def delist(
        self, symbol: str, on: date, *, cash: str | None = None, into: str | None = None, rate: str = "1",
        known_from: datetime | None = None,
    ) -> SimAction:  # fmt: skip
        """No bar from `on`: bought for `cash` a share, for `rate` shares of `into`, for both; else worthless."""
        kept = self._bars.setdefault(symbol, {})
        for day in [day for day in kept if day >= on]:
            del kept[day]
        if asset := self.assets.get(symbol):
            asset.status, asset.tradable = "inactive", False
        when: dict[str, Any] = {"process_date": on, "known_from": known_from}
        if cash is None and into is None:
            return self.act("worthless_removals", symbol=symbol, **when)
        when |= {"acquiree_symbol": symbol, "effective_date": on, "payable_date": on}
        if into is None:
            return self.act("cash_mergers", rate=cash, **when)
        when |= {"acquirer_symbol": into, "acquirer_rate": rate, "acquiree_rate": "1"}
        return self.act("stock_mergers", **when) if cash is None else self.act(
            "stock_and_cash_mergers", cash_rate=cash, **when)  # fmt: skip

    def spin_off(
        self, symbol: str, ex_on: date, new: str, *, new_rate: str = "1", source_rate: str = "1",
        known_from: datetime | None = None,
    ) -> SimAction:  # fmt: skip
        when: dict[str, Any] = {"ex_date": ex_on, "process_date": ex_on, "record_date": ex_on}
        return self.act("spin_offs", source_symbol=symbol, new_symbol=new, new_rate=new_rate, source_rate=source_rate,
                        known_from=known_from, **when)  # fmt: skip

    def _rescale(self, symbol: str, ex_on: date, factor: Decimal) -> None:
        """Prices to four decimals, as the tape has them, volumes to whole shares."""
        for day, versions in self._bars.get(symbol, {}).items():
            if day >= ex_on:
                self._bars[symbol][day] = [(since, _scaled(bar, factor)) for since, bar in versions]

    # -- trading host --------------------------------------------------------------------------------------------------

    def _on_trading(self, answer: Callable[[Request, SimBrokerage], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            account = self._account_of(request)
            if account is None:
                raise Refused(401, "request is not authorized")
            with localcontext(EXACT):
                return _json(answer(request, account))

        return endpoint

    def _account_of(self, request: Request) -> SimBrokerage | None:
        secret, account = self.keys.get(request.headers.get("apca-api-key-id", ""), ("", None))
        return account if account and request.headers.get("apca-api-secret-key") == secret else None

    def _account(self, request: Request, account: SimBrokerage) -> Any:
        cash = Decimal(account.cash)
        worth = [self._worth(position) for position in account.positions]
        long = sum((now for now, _ in worth if now > 0), Decimal(0))
        short = sum((now for now, _ in worth if now < 0), Decimal(0))
        equity = plain(cash + long + short)
        power = plain(self.buying_power(account))  # a cash account: what is there can be spent, once
        return {
            "id": account.account_id, "account_number": account.account_number, "status": account.status,
            "crypto_status": "ACTIVE", "currency": account.currency, "cash": account.cash, "buying_power": power,
            "regt_buying_power": power, "non_marginable_buying_power": power, "options_buying_power": power,
            "accrued_fees": "0", "portfolio_value": equity, "equity": equity,
            "last_equity": plain(cash + sum((before for _, before in worth), Decimal(0))),
            "long_market_value": plain(long), "short_market_value": plain(short), "multiplier": "1",
            "initial_margin": "0", "maintenance_margin": "0", "last_maintenance_margin": "0", "sma": "0",
            "trading_blocked": False, "transfers_blocked": False, "account_blocked": False,
            "trade_suspended_by_user": False, "shorting_enabled": False, "options_approved_level": 0,
            "options_trading_level": 0, "created_at": account.created_at, "balance_asof": self._day_before(),
            **account.exact,
        }  # fmt: skip

    def buying_power(self, account: SimBrokerage) -> Decimal:
        """What open orders leave of the cash, or what `exact` says."""
        cash = account.exact.get("buying_power") or account.cash
        return max(Decimal(cash) - account.order_book.reserved, Decimal(0))

    # -- orders --------------------------------------------------------------------------------------------------------

    def _acting(
        self, answer: Callable[[Request, SimBrokerage, bytes], Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            account = self._account_of(request)
            if account is None:
                raise Refused(401, "request is not authorized")
            body = await request.body()
            with localcontext(EXACT):
                return answer(request, account, body)

        return endpoint

    def _place(self, request: Request, account: SimBrokerage, body: bytes) -> Response:
        now = self._now()
        order = account.order_book.place(
            book.body_of(body), now, is_open=self.is_open(now), asset=self._tradable,
            power=max(Decimal(account.exact.get("buying_power") or account.cash), Decimal(0)),
        )  # fmt: skip
        return _json(order.json())

    def _tradable(self, symbol: str) -> tuple[str, str, str] | None:
        """Assets that are listed; a symbol that has bars needs no listing."""
        for known, asset in self.assets.items():
            if symbol in (known, known.replace("/", ""), asset_id(known)):
                return (asset_id(known), asset.asset_class, known) if asset.tradable else None
        if symbol in self._bars or symbol in self._generated:
            return asset_id(symbol), "crypto" if "/" in symbol else "us_equity", symbol
        return None

    def _orders(self, request: Request, account: SimBrokerage) -> Any:
        found = account.order_book.listed(request.query_params, lambda text, name: _moment(text, name, UTC))
        return [order.json() for order in found]

    def _order(self, request: Request, account: SimBrokerage) -> Any:
        return account.order_book.by_id(request.path_params["order_id"]).json()

    def _order_by_ours(self, request: Request, account: SimBrokerage) -> Any:
        return account.order_book.by_client_order_id(request.query_params.get("client_order_id", "")).json()

    def _cancel(self, request: Request, account: SimBrokerage, body: bytes) -> Response:
        account.order_book.cancel(request.path_params["order_id"], self._now())
        return Response(status_code=204)

    def _cancel_all(self, request: Request, account: SimBrokerage, body: bytes) -> Response:
        found = [order for order in account.order_book.orders if order.status in book.OPEN]
        for order in found:
            account.order_book.cancel(order.id, self._now())
        return _json([{"id": order.id, "status": 200} for order in found], 207)

    def is_open(self, at: datetime) -> bool:
        """Whether New York trades at this moment."""
        return any(self.opens(day) <= at < self.closes(day) for day in (at.astimezone(NEW_YORK).date(),)
                   if day in self.sessions)  # fmt: skip

    def fill(self, order: SimOrder, qty: str, price: str) -> None:
        """So much of an order is executed; cash and positions stay: book a FILL where they shall move."""
        book.fill(order, qty, price, self._now())

    def end_order(self, order: SimOrder, status: str) -> None:
        """filled, canceled, expired, rejected."""
        book.end(order, status, self._now())

    def _day_before(self) -> str:
        today = self._now().astimezone(NEW_YORK).date()
        return max((day for day in self.sessions if day < today), default=today - timedelta(days=1)).isoformat()

    def _prices(self, position: SimPosition) -> tuple[str | None, str | None]:
        """(current, last day's) price, None where neither said nor known."""
        closes: list[str | None] = [*self.newest_closes(_data_symbol(position)), None, None]
        current = closes[0] if position.current_price == NEWEST else position.current_price
        return current, (closes[1] or current) if position.lastday_price == NEWEST else position.lastday_price

    def _worth(self, position: SimPosition) -> tuple[Decimal, Decimal]:
        """Market value now and at last day's price; a position without a price counts as nothing."""
        prices, size = self._prices(position), Decimal(position.qty) * _multiplier(position)
        now, before = (size * Decimal(price or "0") for price in prices)
        return now, before

    def _positions(self, request: Request, account: SimBrokerage) -> Any:
        return [self._position_json(position) for position in account.positions]

    def _position(self, request: Request, account: SimBrokerage) -> Any:
        wanted = request.path_params["symbol"]
        for position in account.positions:
            if wanted in (position.symbol, _data_symbol(position), asset_id(_data_symbol(position))):
                return self._position_json(position)
        raise Refused(404, "position does not exist")

    def _position_json(self, position: SimPosition) -> Any:
        current, last = self._prices(position)
        size = Decimal(position.qty) * _multiplier(position)
        cost = size * Decimal(position.avg_entry_price)
        worth = None if current is None else size * Decimal(current)
        gain = None if worth is None else worth - cost
        today = None if current is None or last is None else Decimal(current) - Decimal(last)
        change = _ratio(today, None if last is None else Decimal(last))
        answer = {
            "asset_id": asset_id(_data_symbol(position)), "symbol": position.symbol, "exchange": position.exchange,
            "asset_class": position.asset_class, "asset_marginable": False, "qty": position.qty,
            "qty_available": position.qty, "avg_entry_price": position.avg_entry_price, "side": position.side,
            "market_value": plain(worth), "cost_basis": plain(cost), "unrealized_pl": plain(gain),
            "unrealized_plpc": _ratio(gain, abs(cost)),
            "unrealized_intraday_pl": plain(None if today is None else size * today),
            "unrealized_intraday_plpc": change, "current_price": current, "lastday_price": last,
            "change_today": change,
        }  # fmt: skip
        return answer | position.exact

    def _activities(self, request: Request, account: SimBrokerage) -> Any:
        query = request.query_params
        size, direction = query.get("page_size", "100"), query.get("direction", "desc")
        if not size.isdecimal() or not 1 <= int(size) <= 100:
            raise Refused(422, "page_size must be between 1 and 100")
        if direction not in ("asc", "desc"):
            raise Refused(422, "direction must be asc or desc")
        kinds = _kinds(request.path_params.get("activity_type") or query.get("activity_types"), query.get("category"))
        now = self._now()
        rows = [row for row in account.activities if row.created <= now and kinds(row.type)]
        if after := query.get("after"):
            rows = [row for row in rows if row.created > _moment(after, "after", UTC)]
        if until := query.get("until"):
            rows = [row for row in rows if row.created < _moment(until, "until", UTC)]
        if day := query.get("date"):
            begin = _moment(day, "date", UTC)
            rows = [row for row in rows if begin <= row.created < begin + timedelta(days=1)]
        if token := query.get("page_token"):
            rows = [row for row in rows if (row.id > token if direction == "asc" else row.id < token)]
        rows = sorted(rows, key=lambda row: row.id, reverse=direction == "desc")
        return [_activity_json(account, row) for row in rows[: int(size)]]

    def _assets(self, request: Request, account: SimBrokerage) -> Any:
        query = request.query_params
        wanted = {name: query.get(name) for name in ("status", "asset_class", "exchange")}
        return [
            _asset_json(asset)
            for asset in self.assets.values()
            if all(not value or getattr(asset, name) == value for name, value in wanted.items())
        ]

    def _asset(self, request: Request, account: SimBrokerage) -> Any:
        wanted = request.path_params["symbol"]
        for symbol, asset in self.assets.items():
            if wanted in (symbol, symbol.replace("/", ""), asset_id(symbol)):
                return _asset_json(asset)
        raise Refused(404, f"asset not found for {wanted}")

    def _calendar(self, request: Request, account: SimBrokerage) -> Any:
        start, end = (request.query_params.get(name) for name in ("start", "end"))
        first = _moment(start, "start", NEW_YORK).astimezone(NEW_YORK).date() if start else date.min
        last = _moment(end, "end", NEW_YORK).astimezone(NEW_YORK).date() if end else date.max
        follows = dict(zip(self.sessions, self.sessions[1:], strict=False))
        return [
            {
                "date": day.isoformat(), "open": "09:30", "close": f"{self.closes(day):%H:%M}", "session_open": "0400",
                "session_close": "1700" if day in self.early_closes else "2000",
                "settlement_date": follows.get(day, day + timedelta(days=1)).isoformat(),
            }
            for day in self.sessions
            if first <= day <= last
        ]  # fmt: skip

    def _clock(self, request: Request, account: SimBrokerage) -> Any:
        now = self._now().astimezone(NEW_YORK)
        opened = next((self.opens(day) for day in self.sessions if self.opens(day) > now), None)
        closed = next((self.closes(day) for day in self.sessions if self.closes(day) > now), None)
        if opened is None or closed is None:
            raise Refused(500, "internal server error")  # the clock ran past the sessions it was given
        offset = now.isoformat()[-6:]
        return {
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond:06d}169{offset}",
            "is_open": closed < opened, "next_open": opened.isoformat(), "next_close": closed.isoformat(),
        }  # fmt: skip

    # -- data host -----------------------------------------------------------------------------------------------------

    def _on_data(
        self, answer: Callable[[Request], Any], *, public: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            anonymous = public and "apca-api-key-id" not in request.headers
            if not anonymous and self._account_of(request) is None:
                raise Refused(403, "forbidden.")
            return _json(answer(request))

        return endpoint

    def _stock_bars(self, request: Request) -> Any:
        query = request.query_params
        _among(query.get("feed", "sip"), ("sip", "iex", "otc", "boats"), "feed")
        for adjustment in query.get("adjustment", "raw").split(","):
            _among(adjustment, ("raw", "split", "dividend", "spin-off", "all"), "adjustment")
        delayed = not self.realtime and query.get("feed", "sip") == "sip"
        single = request.path_params.get("symbol")
        symbols = _symbols(single or query.get("symbols"), r"[A-Z]+(\.[A-Z]+)*")
        found, token = self._page(request, symbols, NEW_YORK, delayed=delayed)
        if single:
            return {"bars": found.get(single), "symbol": single, "next_page_token": token}
        return {"bars": found, "next_page_token": token}

    def _crypto_bars(self, request: Request) -> Any:
        _among(request.path_params["loc"], ("us",), "location")
        symbols = _symbols(request.query_params.get("symbols"), r"[A-Z0-9]+/[A-Z]+")
        found, token = self._page(request, symbols, CENTRAL, delayed=False)
        return {"bars": found, "next_page_token": token}

    def _page(
        self, request: Request, symbols: list[str], zone: ZoneInfo, *, delayed: bool
    ) -> tuple[dict[str, list[Digits]], str | None]:
        """At most `limit` bars over all symbols, by symbol, then time; the token of the last one while more follow."""
        query = request.query_params
        if "timeframe" not in query:
            raise Refused(400, "timeframe is required")
        _among(query["timeframe"], ("1Day", "1D", *MINUTES), "timeframe")
        minutes = MINUTES.get(query["timeframe"])
        limit, order = query.get("limit", "1000"), query.get("sort", "asc")
        if not limit.isdecimal() or not 1 <= int(limit) <= 10_000:
            raise Refused(400, "limit must be between 1 and 10000")
        _among(order, ("asc", "desc"), "sort")
        newest = self._now() - DELAY if delayed else self._now()
        start, end = query.get("start"), query.get("end")
        first = _moment(start, "start", zone) if start else _midnight(newest.astimezone(zone).date(), zone)
        last = _moment(end, "end", zone, whole_day=True) if end else newest
        if delayed and last > newest:
            raise Refused(403, TOO_RECENT)
        if last < first:
            raise Refused(400, "end should not be before start")
        size = max(1, int(limit) // 3) if self.short_pages else int(limit)
        begin = _token_place(query.get("page_token"))
        found: dict[str, list[Digits]] = {}
        count, place = 0, ("", "")
        rows = (
            self._between(request, symbols, first, last, newest, zone, order)
            if minutes is None
            else self._shorter(symbols, timedelta(minutes=minutes), first, last, newest, order)
        )
        for symbol, stamp, bar in rows:
            if begin and not _behind((symbol, stamp), begin, order):
                continue
            if count == size:
                return found, _page_token(*place)
            found.setdefault(symbol, []).append(bar.text(stamp))
            count, place = count + 1, (symbol, stamp)
        return found, None

    def _shorter(
        self, symbols: list[str], length: timedelta, first: datetime, last: datetime, newest: datetime, order: str
    ) -> Iterator[tuple[str, str, SimBar]]:
        for symbol in symbols:
            served = [(at, bar) for at, bar in self._merged(symbol, length, newest) if first <= at <= last]
            for at, bar in served if order == "asc" else served[::-1]:
                yield symbol, f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", bar

    def _between(
        self,
        request: Request,
        symbols: list[str],
        first: datetime,
        last: datetime,
        newest: datetime,
        zone: ZoneInfo,
        order: str,
    ) -> Iterator[tuple[str, str, SimBar]]:
        adjustment = request.query_params.get("adjustment", "raw")
        for symbol in symbols:
            if adjustment == "raw" and symbol in self._generated and symbol not in self._bars:
                near = (first.astimezone(zone).date(), last.astimezone(zone).date())  # not all of twenty years
                served = list(self._made(symbol, *near, newest))
            else:
                served = self._adjusted(symbol, self.bars(symbol, newest), adjustment)
            for session, bar in served if order == "asc" else served[::-1]:
                if first <= _midnight(session, zone) <= last:
                    yield symbol, _stamp(session, zone), bar

    def _adjusted(self, symbol: str, bars: dict[date, SimBar], adjustment: str) -> list[tuple[date, SimBar]]:
        """Bars as the vendor adjusts them, to four decimals: for splits, for dividends, or for both (`all`)."""
        wanted = set(adjustment.split(","))
        factors: list[tuple[date, Decimal]] = []
        for action in self._known_actions():
            before = [bar for day, bar in bars.items() if day < action.ex_on]
            if action.fields.get("symbol") != symbol or not before or action.ex_on > max(bars):
                continue
            if action.type in ("forward_splits", "reverse_splits") and wanted & {"split", "all"}:
                factors.append((action.ex_on, Decimal(action.fields["old_rate"]) / Decimal(action.fields["new_rate"])))
            elif action.type == "stock_dividends" and wanted & {"split", "all"}:
                factors.append((action.ex_on, 1 / (1 + Decimal(action.fields["rate"]))))
            elif action.type == "cash_dividends" and wanted & {"dividend", "all"}:
                factors.append((action.ex_on, 1 - Decimal(action.fields["rate"]) / Decimal(before[-1].close)))
        made = []
        for day, bar in bars.items():
            factor = Decimal(1)
            for ex_on, step in factors:
                factor *= step if day < ex_on else 1
            made.append((day, bar if factor == 1 else _scaled(bar, factor)))
        return made

    def _known_actions(self) -> list[SimAction]:
        return [action for action in self.actions.values() if action.known_from <= self._now()]

    def _corporate_actions(self, request: Request) -> Any:
        """At most `limit` actions over all types, by the day they are processed."""
        query = request.query_params
        limit, order = query.get("limit", "100"), query.get("sort", "asc")
        if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            raise Refused(400, "limit must be between 1 and 1000")
        _among(order, ("asc", "desc"), "sort")
        types = [name for name in query.get("types", "").split(",") if name]
        for name in types:
            _among(name, ACTION_TYPES, "type")
        found = self._known_actions()
        if ids := query.get("ids"):
            if set(query) & {"symbols", "cusips", "types", "start", "end"}:
                raise Refused(400, "ids cannot be used together with other filters")
            found = [action for action in found if action.id in ids.split(",")]
        else:
            today = self._now().astimezone(NEW_YORK).date().isoformat()
            start, end = query.get("start", today), query.get("end", today)
            for name, day in (("start", start), ("end", end)):
                _moment(day, name, NEW_YORK)
            if end < start:
                raise Refused(400, "end should not be before start")
            found = [action for action in found if start <= action.fields["process_date"] <= end]
        if query.get("symbols"):
            symbols = set(_symbols(query["symbols"], r"[A-Z]+(\.[A-Z]+)*"))
            found = [action for action in found if action.symbols & symbols]
        if query.get("cusips"):
            cusips = set(query["cusips"].split(","))
            found = [a for a in found if {v for n, v in a.fields.items() if n.endswith("cusip")} & cusips]
        if types:
            found = [action for action in found if action.type.removesuffix("s") in types]
        found.sort(key=lambda action: action.place, reverse=order == "desc")
        if token := query.get("page_token"):
            begin = _action_place(token)
            found = [a for a in found if (a.place > begin if order == "asc" else a.place < begin)]
        page, more = found[: int(limit)], len(found) > int(limit)
        listed: dict[str, list[Any]] = {}
        for action in page:
            listed.setdefault(action.type, []).append({"id": action.id, **action.fields})
        return {"corporate_actions": listed, "next_page_token": _action_token(page[-1].place) if more else None}

    def _latest(self, request: Request) -> Iterator[tuple[str, datetime, list[tuple[date, SimBar]]]]:
        """Each known symbol of the request, when it last traded and its served bars."""
        query = request.query_params
        feed = query.get("feed", "sip" if self.realtime else "iex")
        _among(feed, ("sip", "iex", "delayed_sip", "otc", "boats", "overnight"), "feed")
        if feed == "sip" and not self.realtime:
            raise Refused(403, TOO_RECENT)
        now = self._now() - DELAY if feed == "delayed_sip" else self._now()
        for symbol in _symbols(query.get("symbols"), r"[A-Z]+(\.[A-Z]+)*"):
            if served := list(self.bars(symbol, now).items()):
                yield symbol, min(now, self.closes(served[-1][0])), served

    def _latest_bars(self, request: Request) -> Any:
        return {"bars": {symbol: _minute(at, served[-1][1]) for symbol, at, served in self._latest(request)}}

    def _snapshots(self, request: Request) -> Any:
        return {symbol: _snapshot(at, served) for symbol, at, served in self._latest(request)}


class _Host:
    """One host of the two: its own paths alone, over the same state."""

    def __init__(self, vendor: AlpacaSimulator, app: ASGIApp) -> None:
        self._vendor = vendor
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._vendor.serve(self._app, scope, receive, send)


MINUTES = {"1Min": 1, "5Min": 5, "15Min": 15, "30Min": 30, "1Hour": 60}


def _host(path: str) -> str:
    return "data" if path.startswith(("/v2/stocks", "/v1")) else "trading"


MESSAGES = {
    "trading": {401: "request is not authorized", 404: "endpoint not found", 429: "rate limit exceeded"},
    "data": {403: "forbidden.", 404: "endpoint not found", 429: "too many requests."},
}


def _refusal(host: str, status: int, code: int | None = None) -> Response:
    usual = responses.get(status, "refused").lower()
    return _refusal_json(host, Refused(status, MESSAGES[host].get(status, usual), code))


def _refusal_json(host: str, refused: Refused) -> Response:
    code = {"code": refused.code} if host == "trading" else {}
    return _json({**code, "message": refused.message}, refused.status)


async def _refused(request: Request, refused: Refused) -> Response:
    return _refusal_json(_host(request.url.path), refused)


async def _unplaced(request: Request, refused: Unplaced) -> Response:
    return _json({"code": refused.code, "message": refused.message, **refused.more}, refused.status)


async def _not_found(request: Request, refused: HTTPException) -> Response:
    return _refusal(_host(request.url.path), refused.status_code)


def _with_headers(send: Send, limit: int, left: int, until: int, *, request_id: int) -> Send:
    more = [
        (b"x-request-id", uuid5(NAMESPACE_URL, f"request {request_id}").hex.encode()),
        (b"x-ratelimit-limit", str(limit).encode()),
        (b"x-ratelimit-remaining", str(left).encode()),
        (b"x-ratelimit-reset", str(until).encode()),
    ]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending


def _json(answer: Any, status: int = 200) -> Response:
    return Response(_text(answer), status, media_type="application/json")


def _text(value: Any) -> str:
    if isinstance(value, Digits):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_text(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


# -- what requests say -------------------------------------------------------------------------------------------------


def _moment(text: str, name: str, zone: ZoneInfo | Any, *, whole_day: bool = False) -> datetime:
    """A moment with its zone, or a date: its first moment in `zone`, its last where the `whole_day` counts."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            begin = datetime.combine(date.fromisoformat(text), time(), zone)
            return datetime.combine(begin, time.max, zone) if whole_day else begin
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused(400, f"invalid {name}: {text}")
    return moment


def _symbols(text: str | None, shape: str) -> list[str]:
    if not text:
        raise Refused(400, "symbols is required")
    names = sorted(set(text.split(",")))
    for name in names:
        if not re.fullmatch(shape, name):
            raise Refused(400, f"invalid symbol: {name}")
    return names


def _among(value: str, known: Collection[str], name: str) -> None:
    if value not in known:
        raise Refused(400, f"invalid {name}: {value}")


KINDS = frozenset({
    "FILL", "ACATC", "ACATS", "CFEE", "CGD", "CSD", "CSW", "DIV", "DIVCGL", "DIVCGS", "DIVFEE", "DIVFT", "DIVNRA",
    "DIVROC", "DIVTW", "DIVTXEX", "FEE", "INT", "INTNRA", "INTTW", "JNL", "JNLC", "JNLS", "MA", "NC", "OPASN",
    "OPCA", "OPCSH", "OPEXC", "OPEXP", "OPTRD", "PTC", "PTR", "REORG", "SPIN", "SPLIT", "FOPT",
})  # fmt: skip
GROUPS = {"TRANS": frozenset({"CSD", "CSW"}), "MISC": KINDS - {"FILL", "CSD", "CSW", "DIV"}}


def _kinds(types: str | None, category: str | None) -> Callable[[str], bool]:
    """Whether an activity of a type is asked for."""
    if types and category:
        raise Refused(422, "activity_types and category cannot be used together")
    if category:
        if category not in ("trade_activity", "non_trade_activity"):
            raise Refused(422, f"invalid category: {category}")
        return lambda kind: (kind == "FILL") == (category == "trade_activity")
    if not types:
        return lambda kind: True
    wanted: set[str] = set()
    for name in types.split(","):
        if name not in KINDS and name not in GROUPS:
            raise Refused(422, f"invalid activity type: {name}")
        wanted |= GROUPS.get(name, {name})
    return wanted.__contains__


def _page_token(symbol: str, stamp: str) -> str:
    return base64.b64encode(f"{symbol}|D|{stamp[:-1]}.000000000Z".encode()).decode()


def _token_place(token: str | None) -> tuple[str, str] | None:
    if not token:
        return None
    try:
        symbol, _, stamp = base64.b64decode(token, validate=True).decode().split("|")
    except (binascii.Error, ValueError):
        raise Refused(400, "invalid page_token") from None
    return symbol, stamp.replace(".000000000Z", "Z")


ACTION_TYPES = (
    "reverse_split", "forward_split", "unit_split", "cash_dividend", "stock_dividend", "spin_off", "cash_merger",
    "stock_merger", "stock_and_cash_merger", "redemption", "name_change", "worthless_removal", "rights_distribution",
    "partial_call", "reorganization",
)  # fmt: skip


def _action_token(place: tuple[str, str, str]) -> str:
    day, cusip, action_id = place
    return base64.b64encode(f"{cusip}|{day}|{action_id}".encode()).decode()  # as of fix_corporate_actions.json


def _action_place(token: str) -> tuple[str, str, str]:
    try:
        cusip, day, action_id = base64.b64decode(token, validate=True).decode().split("|")
    except (binascii.Error, ValueError):
        raise Refused(400, "invalid page_token") from None
    return day, cusip, action_id


def cusip_of(symbol: str) -> str:
    """Nine signs that stand for a symbol; no real CUSIP."""
    return uuid5(NAMESPACE_URL, f"cusip {symbol}").hex[:9].upper()


def _scaled(bar: SimBar, factor: Decimal) -> SimBar:
    with localcontext(EXACT):
        prices = (bar.open, bar.high, bar.low, bar.close)
        o, h, low, c = (str(plain((Decimal(price) * factor).quantize(Decimal("1e-4")))) for price in prices)
        volume = str(plain((Decimal(bar.volume) / factor).quantize(Decimal(1))))
        return SimBar(
            o, h, low, c, volume, bar.trades, str(plain((Decimal(bar.vwap) * factor).quantize(Decimal("1e-6"))))
        )


def _behind(place: tuple[str, str], other: tuple[str, str], order: str) -> bool:
    if place[0] != other[0]:
        return place[0] > other[0]
    return place[1] > other[1] if order == "asc" else place[1] < other[1]


# -- what answers say --------------------------------------------------------------------------------------------------


def plain(amount: Decimal | None) -> Any:
    """The amount as the vendor writes it: no exponent, no idle zeros. None stays None."""
    if amount is None:
        return None
    text = format(amount, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _ratio(part: Decimal | None, whole: Decimal | None) -> str | None:
    if part is None or whole is None:
        return None
    return str(plain((part / whole).quantize(Decimal("1e-16")))) if whole else "0"


def _multiplier(position: SimPosition) -> int:
    return 100 if position.asset_class == "us_option" else 1


def _data_symbol(position: SimPosition) -> str:
    """The position's symbol on the data host, which writes crypto pairs with a slash."""
    if position.asset_class != "crypto" or "/" in position.symbol:
        return position.symbol
    return re.sub(r"(USDT|USDC|USD|BTC)$", r"/\1", position.symbol)


def asset_id(symbol: str) -> str:
    """The id of a symbol's asset, always the same; crypto with its slash."""
    return str(uuid5(NAMESPACE_URL, f"asset {symbol}"))


def _activity_id(account_id: str, row: SimActivity, number: int) -> str:
    local = row.at.astimezone(NEW_YORK) if row.at else None
    prefix = f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03d}" if local else f"{row.on:%Y%m%d}000000000"
    return f"{prefix}::{uuid5(NAMESPACE_URL, f'{account_id} {prefix} {row.type} {row.symbol} {number}')}"


def _activity_json(account: SimBrokerage, row: SimActivity) -> dict[str, Any]:
    if row.type == "FILL":
        return {
            "id": row.id, "activity_type": "FILL", "transaction_time": _utc(row.created),
            "type": "fill" if row.leaves_qty == "0" else "partial_fill", "price": row.price, "qty": row.qty,
            "side": row.side, "symbol": row.symbol, "leaves_qty": row.leaves_qty, "cum_qty": row.cum_qty or row.qty,
            "order_id": str(uuid5(NAMESPACE_URL, f"order {row.order or row.id}")),
            "order_status": "filled" if row.leaves_qty == "0" else "partially_filled",
        }  # fmt: skip
    optional = {
        "symbol": row.symbol, "qty": row.qty, "per_share_amount": row.per_share_amount,
        "activity_sub_type": row.sub_type, "description": row.description,
    }  # fmt: skip
    return {
        "id": row.id, "activity_type": row.type, "date": row.on.isoformat() if row.on else None,
        "net_amount": row.net_amount, "status": row.status, "currency": account.currency,
        "created_at": _utc(row.created),
        **{name: value for name, value in optional.items() if value is not None},
    }  # fmt: skip


def _asset_json(asset: SimAsset) -> dict[str, Any]:
    crypto = asset.asset_class == "crypto"
    sizes = {"min_order_size": "0.000025", "min_trade_increment": "0.000000001", "price_increment": "0.01"}
    return {
        "id": asset_id(asset.symbol), "class": asset.asset_class, "exchange": asset.exchange, "symbol": asset.symbol,
        "name": asset.name, "status": asset.status, "tradable": asset.tradable, "marginable": not crypto,
        "maintenance_margin_requirement": 100 if crypto else 30, "margin_requirement_long": "100" if crypto else "30",
        "margin_requirement_short": "100" if crypto else "30", "shortable": not crypto, "easy_to_borrow": not crypto,
        "fractionable": True, "attributes": [], **(sizes if crypto else {}),
    }  # fmt: skip


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _midnight(session: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(session, time(), zone)


@lru_cache(maxsize=4096)
def _stamp(session: date, zone: ZoneInfo) -> str:
    return f"{_midnight(session, zone).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _minute(at: datetime, bar: SimBar) -> Digits:
    last = SimBar(bar.close, bar.close, bar.close, bar.close, "2100", "2", bar.close)
    return last.text(f"{at.astimezone(UTC) - timedelta(minutes=1):%Y-%m-%dT%H:%M:00Z}")


def _snapshot(at: datetime, served: list[tuple[date, SimBar]]) -> dict[str, Any]:
    session, bar = served[-1]
    price, moment = Digits(bar.close), _utc(at).replace("Z", "113Z")
    trade = {"t": moment, "x": "V", "p": price, "s": 100, "c": ["@"], "i": 2880534893454904000, "z": "C"}
    quote = {"t": moment, "ax": "V", "ap": price, "as": 200, "bx": "V", "bp": price, "bs": 500, "c": ["R"], "z": "C"}
    answer = {"latestTrade": trade, "latestQuote": quote, "minuteBar": _minute(at, bar)}
    answer["dailyBar"] = bar.text(_stamp(session, NEW_YORK))
    if len(served) > 1:
        answer["prevDailyBar"] = served[-2][1].text(_stamp(served[-2][0], NEW_YORK))
    return answer


# -- a lifelike account ------------------------------------------------------------------------------------------------

LISTED = (  # symbol, name, exchange, price at the beginning of the walk
    ("AAPL", "Apple Inc. Common Stock", "NASDAQ", "243.85"),
    ("BRK.B", "Berkshire Hathaway Inc. Class B", "NYSE", "451.10"),
    ("KO", "Coca-Cola Company", "NYSE", "61.84"),
    ("MSFT", "Microsoft Corporation Common Stock", "NASDAQ", "418.58"),
    ("SPY", "SPDR S&P 500 ETF Trust", "ARCA", "584.64"),
    ("VTI", "Vanguard Total Stock Market ETF", "ARCA", "289.81"),
)
EVENTS: tuple[tuple[float, str, Any, *tuple[str, ...]], ...] = (
    # how far into the year, what, symbol, quantity of each fill or the amount
    (0.02, "buy", "VTI", "40"),
    (0.05, "buy", "AAPL", "20", "5"),
    (0.11, "buy", "KO", "150"),
    (0.20, "buy", "MSFT", "12"),
    (0.23, "DIV", "KO", "0.51"),
    (0.33, "buy", "BRK.B", "3.123456789"),
    (0.34, "CSD", None, "5000"),
    (0.37, "DIV", "AAPL", "0.26"),
    (0.48, "DIV", "KO", "0.53"),
    (0.52, "sell", "AAPL", "7"),
    (0.62, "DIV", "AAPL", "0.27"),
    (0.68, "buy", "VTI", "2.5"),
    (0.73, "DIV", "KO", "0.53"),
    (0.81, "buy", "BRK.B", "0.000000123", "1.25"),
    (0.87, "CSW", None, "-250.75"),
    (0.93, "sell", "KO", "30"),
    (0.97, "DIV", "KO", "0.53"),
)


def sandbox(
    simulator: AlpacaSimulator, key_id: str = "PKSIM", secret: str = "sim-secret", *,
    today: date, seed: int = 7, days: int = 365, ahead: int = 45,
) -> SimBrokerage:  # fmt: skip
    """A lifelike paper account: five holdings, and activities that explain them and the cash since `PAPER_CASH`.

    Daily bars of all held symbols and SPY cover `days` back from `today`. They are scripted `ahead` as well, the
    coming ones with partial figures until the close: nothing of them shows before the clock gets there.
    """
    brokerage = simulator.open_account(key_id, secret, SimBrokerage(str(uuid5(NAMESPACE_URL, f"account {key_id}"))))
    sessions = [day for day in simulator.sessions if -days <= (day - today).days <= ahead]
    past = [day for day in sessions if (day - today).days < -2]  # what they book is known to the vendor by `today`
    if not past:
        raise ValueError(f"no sessions in the {days} days before {today}: the simulator has others")
    for symbol, name, exchange, price in LISTED:
        simulator.add_asset(SimAsset(symbol, name, exchange=exchange))
        _walk(simulator, random.Random(f"{seed} {symbol}"), symbol, Decimal(price), sessions, today)
    for share, kind, symbol, *said in EVENTS:
        day = past[int(share * len(past))]
        if kind in ("buy", "sell"):
            _trade(simulator, brokerage, day, symbol, kind, said)
        elif kind == "DIV":
            _pay(brokerage, day, symbol, said[0])
            simulator.dividend(symbol, _session_before(simulator, day, 14), said[0], payable=day)
        else:
            brokerage.book(SimActivity(kind, on=day, net_amount=said[0]))
    for position in brokerage.positions:
        position.exchange = simulator.assets[position.symbol].exchange
    return brokerage


def _walk(
    simulator: AlpacaSimulator, draw: random.Random, symbol: str, price: Decimal, wanted: list[date], today: date
) -> None:
    """Daily bars that drift a little: to the cent, highs and lows finer, as the tape has them.

    The walk begins with the simulator's first session, so that a day's bar is the same whatever day it is today.
    """

    def about(amount: Decimal, low: int, high: int, unit: str = "0.01") -> Decimal:
        return (amount * (1 + Decimal(draw.randint(low, high)) / 10_000)).quantize(Decimal(unit))

    for session in simulator.sessions:
        opened, price = about(price, -60, 60), about(price, -150, 158)
        high, low = about(max(opened, price), 0, 80, "0.0001"), about(min(opened, price), -80, 0, "0.0001")
        volume = draw.randint(2_000_000, 60_000_000)
        if wanted[0] <= session < today:
            _figures(simulator, symbol, session, (opened, high, low, price), volume)
        elif today <= session <= wanted[-1]:
            _figures(simulator, symbol, session, (opened, max(opened, low), low, low), volume // 3)
            _figures(simulator, symbol, session, (opened, high, low, price), volume, simulator.closes(session))


def _figures(
    simulator: AlpacaSimulator, symbol: str, session: date, prices: tuple[Decimal, Decimal, Decimal, Decimal],
    volume: int, served_from: datetime | None = None,
) -> None:  # fmt: skip
    opened, high, low, close = map(plain, prices)
    simulator.set_bar(symbol, session, opened, high, low, close, str(volume), served_from=served_from)


def _trade(
    simulator: AlpacaSimulator, brokerage: SimBrokerage, day: date, symbol: str, side: str, fills: list[str]
) -> None:
    """One order in one or more fills, at the session's opening price, then its close; a sale costs a fee."""
    bar = simulator.bars(symbol, simulator.closes(day))[day]
    at = datetime.combine(day, time(10, 3, 18, 500245), NEW_YORK).astimezone(UTC)
    left, done = sum(map(Decimal, fills), Decimal(0)), Decimal(0)
    for number, qty in enumerate(fills):
        left, done = left - Decimal(qty), done + Decimal(qty)
        brokerage.book(
            SimActivity("FILL", at=at + number * timedelta(seconds=2, microseconds=250), symbol=symbol, side=side,
                        qty=qty, price=bar.close if number else bar.open, order=f"{symbol} {day}",
                        leaves_qty=plain(left), cum_qty=plain(done)),
        )  # fmt: skip
    if side == "sell":
        brokerage.book(SimActivity("FEE", on=day, net_amount="-0.02", sub_type="TAF", description="TAF fee"))


def _session_before(simulator: AlpacaSimulator, day: date, days: int) -> date:
    """The last session at least so many days before."""
    return max(session for session in simulator.sessions if (day - session).days >= days)


def _pay(brokerage: SimBrokerage, day: date, symbol: str, per_share: str) -> None:
    held = next(position.qty for position in brokerage.positions if position.symbol == symbol)
    amount = (Decimal(held) * Decimal(per_share)).quantize(Decimal("0.01"))
    brokerage.book(
        SimActivity("DIV", on=day, symbol=symbol, qty=held, per_share_amount=per_share, net_amount=plain(amount),
                    sub_type="CDIV", description=f"Cash DIV @ {per_share}"),
    )  # fmt: skip


__all__ = [
    "NEWEST", "PAPER_CASH", "AlpacaSimulator", "Fault", "SimAction", "SimActivity", "SimAsset", "SimBar",
    "SimBrokerage", "SimOrder", "SimPosition", "asset_id", "sandbox",
]  # fmt: skip
