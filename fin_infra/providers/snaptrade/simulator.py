"""SnapTrade imitated over HTTP: users with connections and accounts, signatures, paging, limits, refusals and faults.

State is scripted from outside and changes only then. Amounts go in as text and come out as the same digits, as JSON
numbers or strings as the vendor has them, never through a float.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator
from fin_infra.providers.snaptrade.signing import canonical, proof, signature

CLIENT_ID = "SIMCLIENT"
CONSUMER_KEY = "sim-consumer-key"
MOST_ROWS = 1000
LEGACY = "/api/v1"
SPACE = uuid.UUID("5f1c2d3e-0000-4000-8000-000000000000")


def own_id(*parts: str) -> str:
    """An id that looks like the vendor's and is the same in each run."""
    return str(uuid.uuid5(SPACE, "/".join(parts)))


@dataclass
class SimPosition:
    """One position. `cost_basis` is per unit; `units` of an option are contracts, negative when short."""

    symbol: str
    units: str | None
    price: str | None
    cost_basis: str | None = None
    kind: str = "stock"
    currency: str | None = "USD"
    cash_equivalent: bool | None = None
    exchange: str | None = "XNAS"
    multiplier: str | None = None


@dataclass
class SimActivity:
    """One row, with the amount in SnapTrade's sign, which is the holder's."""

    id: str
    type: str
    amount: str | None
    trade_date: str | None
    settlement_date: str | None = None
    symbol: str | None = None
    option: str | None = None
    units: str = "0"
    price: str = "0"
    fee: str = "0"
    currency: str | None = "USD"
    description: str = "as the brokerage says"
    mic: str = "XNAS"
    timezone: str = "America/New_York"

    @property
    def day(self) -> str:
        return (self.trade_date or self.settlement_date or "")[:10]


@dataclass
class SimAccount:
    """An account. `total` None: the brokerage does not say what it is worth. `cash`: by currency, cash and power."""

    id: str
    kind: str = "investment"
    name: str = "Individual"
    number: str = "****8443"
    institution_account_id: str | None = None
    raw_type: str | None = "Margin"
    total: str | None = "0"
    currency: str = "USD"
    cash: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    positions: list[SimPosition] = field(default_factory=list)
    activities: list[SimActivity] = field(default_factory=list)
    synced_at: datetime | None = None
    """When positions and balances were got from the brokerage; None: now, each time."""
    transactions_until: date | None = None
    first_sync_done: bool = True
    available_credit: str | None = None
    refusal: tuple[int, str, str] | None = None
    """(status, code, detail) that every answer about this account is."""


@dataclass
class SimConnection:
    id: str
    accounts: list[SimAccount]
    brokerage: str = "Robinhood"
    disabled: bool = False
    disabled_date: str | None = None


@dataclass
class SimUser:
    user_id: str
    secret: str
    connections: list[SimConnection]

    @property
    def accounts(self) -> list[SimAccount]:
        return [account for connection in self.connections for account in connection.accounts]


class SnaptradeSimulator(Simulator):
    """The vendor. `personal`: each account has a limit of its own, as with a personal key.

    `signs`: whether signatures are looked at, which `/` and `/brokerages` never do.
    """

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), client_id: str = CLIENT_ID,
        consumer_key: str = CONSUMER_KEY, personal: bool = False, limit: int = 250, account_limit: int = 10,
    ) -> None:  # fmt: skip
        super().__init__(now=now)
        self.client_id = client_id
        self.consumer_key = consumer_key
        self.personal = personal
        self.limit = limit
        self.account_limit = account_limit
        self.quiet = False
        """Answers without the headers of the limits, as some have them."""
        self.users: dict[str, SimUser] = {}
        self._calls: dict[str, deque[datetime]] = {}
        self._webhooks = 0
        routes = {
            "/": self._root, "/brokerages": self._brokerages, "/accounts": self._plain_accounts,
            "/accounts/all": self._accounts, "/accounts/{account_id}": self._account,
            "/accounts/{account_id}/balances": self._balances,
            "/accounts/{account_id}/positions/all": self._positions,
            "/accounts/{account_id}/activities": self._activities, "/authorizations": self._authorizations,
            "/connections/{connection_id}/accounts": self._of_connection,
        }  # fmt: skip
        self.answering = Starlette(
            routes=[
                Route(prefix + path, self._answering(answer))
                for path, answer in routes.items()
                for prefix in ("", LEGACY)
            ],
            exception_handlers={404: self._nowhere},
        )

    # -- script ----------------------------------------------------------------------------------------------------

    def register(self, user_id: str, secret: str, *connections: SimConnection) -> SimUser:
        """A user of the application, with what is connected."""
        self.users[user_id] = SimUser(user_id, secret, list(connections))
        return self.users[user_id]

    def account(self, account_id: str) -> SimAccount:
        return next(a for user in self.users.values() for a in user.accounts if a.id == account_id)

    def connection(self, connection_id: str) -> SimConnection:
        return next(c for user in self.users.values() for c in user.connections if c.id == connection_id)

    def disable(self, connection_id: str) -> None:
        """The brokerage lets SnapTrade in no more: it goes on answering with what it knew last."""
        connection = self.connection(connection_id)
        connection.disabled, connection.disabled_date = True, stamp(self._now())
        for account in connection.accounts:
            account.synced_at = account.synced_at or self._now()

    def enable(self, connection_id: str) -> None:
        connection = self.connection(connection_id)
        connection.disabled, connection.disabled_date = False, None

    def add(self, account_id: str, *rows: SimActivity) -> None:
        """New rows; the list stays newest first, a later one before an earlier one of its day."""
        listed = self.account(account_id).activities
        for row in rows:
            place = next((i for i, other in enumerate(listed) if other.day <= row.day), len(listed))
            listed.insert(place, row)

    def remove(self, account_id: str, activity_id: str) -> None:
        account = self.account(account_id)
        account.activities = [row for row in account.activities if row.id != activity_id]

    def webhook(self, event: str, **said: Any) -> tuple[dict[str, str], bytes]:
        """Headers and body of a webhook as SnapTrade would send it now. `at`: its event's time, if not now."""
        self._webhooks += 1
        moment = said.pop("at", None) or self._now()
        body = {
            "webhookId": own_id("webhook", str(self._webhooks)), "clientId": self.client_id, "eventType": event,
            "eventTimestamp": moment.astimezone(UTC).isoformat(), "webhookSecret": "deprecated", **said,
        }  # fmt: skip
        headers = {"Signature": proof(self.consumer_key, canonical(body)), "Content-Type": "application/json"}
        return headers, json.dumps(body).encode()

    def refusal(self, fault: Fault, path: str) -> Response:
        return refused(fault.status, fault.code, "scripted refusal")

    # -- who asks, and how often -------------------------------------------------------------------------------------

    def _answering(
        self, answer: Callable[[Request, SimUser | None], Response]
    ) -> Callable[[Request], Awaitable[Response]]:  # fmt: skip
        async def answered(request: Request) -> Response:
            headers, full = self._count(request)
            user = self._user(request)
            reply = full or (user if isinstance(user, Response) else answer(request, user))
            if not self.quiet:
                reply.headers.update(headers)
            if request.url.path.startswith(LEGACY):
                reply.headers["Deprecation"] = "@1781222400"
            reply.headers["X-Request-ID"] = own_id("request", str(len(self.requests)))
            return reply

        return answered

    def _user(self, request: Request) -> SimUser | Response | None:
        """Whose data is asked for; None where anybody may ask."""
        path = request.url.path.removeprefix(LEGACY)
        if path in ("/", "/brokerages"):
            return None
        query = request.scope["query_string"].decode()
        said = {name: values[0] for name, values in parse_qs(query).items()}
        path = request.scope.get("raw_path", request.url.path.encode()).decode().partition("?")[0]
        stamped = said.get("timestamp", "")
        old = not stamped.isdigit() or abs(self._now().timestamp() - int(stamped)) > 300
        if request.headers.get("signature") != signature(self.consumer_key, path, query) or old:
            return refused(401, "1076", "Unable to verify signature sent")
        if said.get("clientId") != self.client_id:
            return refused(401, "1083", "Invalid clientId provided")
        user = self.users.get(said.get("userId", ""))
        if user is None or user.secret != said.get("userSecret"):
            return refused(401, "1083", "Invalid userID or userSecret provided")
        return user

    def _count(self, request: Request) -> tuple[dict[str, str], Response | None]:
        """The headers of the limits, and the refusal where one of them is met."""
        limits = [("X-RateLimit-", "client", self.limit)]
        if self.personal and (account := request.path_params.get("account_id")):
            limits.append(("X-RateLimit-Account-", account, self.account_limit))
        headers: dict[str, str] = {}
        wait = 0
        for family, name, limit in limits:
            calls = self._calls.setdefault(name, deque())
            now = self._now()
            while calls and (now - calls[0]).total_seconds() >= 60:
                calls.popleft()
            full = len(calls) >= limit
            if not full:
                calls.append(now)
            reset = 60 - int((now - calls[0]).total_seconds()) if calls else 60
            wait = max(wait, reset) if full else wait
            left = str(limit - len(calls))
            headers |= {f"{family}Limit": str(limit), f"{family}Remaining": left, f"{family}Reset": str(reset)}
        if not wait:
            return headers, None
        return headers, refused(429, "0000", f"Request was throttled. Expected available in {wait} seconds.")

    # -- the API ---------------------------------------------------------------------------------------------------

    def _of(self, request: Request, user: SimUser | None) -> SimAccount | Response:
        assert user is not None
        account = next((a for a in user.accounts if a.id == request.path_params["account_id"]), None)
        if account is None:
            return refused(404, "1011", "The requested resource does not exist.")
        return refused(*account.refusal) if account.refusal else account

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        return refused(404, "1011", "The requested resource does not exist.")

    def _root(self, request: Request, user: SimUser | None) -> Response:
        return answered({"version": 151, "timestamp": stamp(self._now()), "online": True})

    def _brokerages(self, request: Request, user: SimUser | None) -> Response:
        return answered([_brokerage(name) for name in BROKERAGES])

    def _authorizations(self, request: Request, user: SimUser | None) -> Response:
        assert user is not None
        return answered([
            {
                "id": connection.id, "created_date": "2026-01-05 21:56:19.123935+00:00",
                "brokerage": _brokerage(connection.brokerage), "name": f"Connection-{number}", "type": "read",
                "disabled": connection.disabled, "disabled_date": connection.disabled_date, "meta": {},
                "data_freshness_mode": "delayed",
            }
            for number, connection in enumerate(user.connections, 1)
        ])  # fmt: skip

    def _accounts(self, request: Request, user: SimUser | None) -> Response:
        assert user is not None
        found = [self._with_kind(account, c) for c in user.connections for account in c.accounts]
        return answered({"results": found})

    def _of_connection(self, request: Request, user: SimUser | None) -> Response:
        assert user is not None
        wanted = request.path_params["connection_id"]
        connection = next((c for c in user.connections if c.id == wanted), None)
        if connection is None:
            return refused(404, "1011", "The requested resource does not exist.")
        return answered([self._with_kind(account, connection) for account in connection.accounts])

    def _plain_accounts(self, request: Request, user: SimUser | None) -> Response:
        """The older list, of brokerage accounts alone."""
        assert user is not None
        pairs = [(a, c) for c in user.connections for a in c.accounts if a.kind == "investment"]
        return answered([self._plain(account, connection) for account, connection in pairs])

    def _account(self, request: Request, user: SimUser | None) -> Response:
        account = self._of(request, user)
        if isinstance(account, Response):
            return account
        assert user is not None
        return answered(self._plain(account, next(c for c in user.connections if account in c.accounts)))

    def _balances(self, request: Request, user: SimUser | None) -> Response:
        account = self._of(request, user)
        if isinstance(account, Response):
            return account
        return answered([
            {"currency": _currency(code), "cash": number(cash), "buying_power": number(power)}
            for code, (cash, power) in account.cash.items()
        ])  # fmt: skip

    def _positions(self, request: Request, user: SimUser | None) -> Response:
        account = self._of(request, user)
        if isinstance(account, Response):
            return account
        if not account.first_sync_done:
            return refused(425, "3012", "The resource is currently being populated. Please try again later.")
        rows = [_position(position) for position in account.positions]
        return answered({"results": rows, "data_freshness": {"as_of": stamp(account.synced_at or self._now())}})

    def _activities(self, request: Request, user: SimUser | None) -> Response:
        account = self._of(request, user)
        if isinstance(account, Response):
            return account
        query = request.query_params
        offset, limit = query.get("offset", "0"), query.get("limit", str(MOST_ROWS))
        if not offset.isdigit() or not limit.isdigit() or limit == "0":
            return refused(400, "1000", "offset and limit must be counts")
        rows = [
            row for row in account.activities
            if query.get("startDate", "") <= row.day <= query.get("endDate", "9999")
        ]  # fmt: skip
        first, most = int(offset), min(int(limit), MOST_ROWS)
        return answered({
            "data": [_activity(row) for row in rows[first : first + most]],
            "pagination": {"offset": first, "limit": most, "total": len(rows)},
        })  # fmt: skip

    def _with_kind(self, account: SimAccount, connection: SimConnection) -> dict[str, Any]:
        """An account of the lists that tell the kind."""
        synced = stamp(account.synced_at or self._now())
        status: dict[str, Any] = {"transactions": self._transactions(account), "balances": synced}
        if account.kind == "investment":
            status |= {"orders": synced, "positions": synced}
        found: dict[str, Any] = {
            "kind": account.kind, "id": account.id, "connection_id": connection.id, "display_name": account.name,
            "number": account.number, "masked_account_number": account.number,
            "institution_account_id": account.institution_account_id,
            "institution_id": own_id("institution", connection.brokerage), "opening_date": None,
            "sync_status": status, "raw_type": account.raw_type,
            "net_value": {"amount": number(account.total), "currency": account.currency} if account.total else None,
        }  # fmt: skip
        if account.kind == "investment":
            found |= {"is_paper": False, "funding_date": None, "cash_or_margin": "unknown"}
        if account.available_credit is not None:
            found["available_credit"] = {"amount": number(account.available_credit), "currency": account.currency}
        return found

    def _plain(self, account: SimAccount, connection: SimConnection) -> dict[str, Any]:
        """An account of the older list."""
        holdings = {
            "initial_sync_completed": account.first_sync_done,
            "last_successful_sync": stamp(account.synced_at or self._now()),
        }
        total = {"amount": number(account.total), "currency": account.currency} if account.total else None
        return {
            "id": account.id, "brokerage_authorization": connection.id, "name": account.name,
            "number": account.number, "institution_account_id": account.institution_account_id,
            "institution_name": connection.brokerage, "created_date": "2026-01-05 22:50:22.761390+00:00",
            "funding_date": None, "opening_date": None, "balance": {"total": total}, "status": "open",
            "sync_status": {"transactions": self._transactions(account), "holdings": holdings},
            "raw_type": account.raw_type, "account_category": "INVESTMENT", "is_paper": False,
        }  # fmt: skip

    def _transactions(self, account: SimAccount) -> dict[str, Any]:
        """Synced once a day, a day late."""
        until = account.transactions_until or self._now().date() - timedelta(days=1)
        days = sorted(row.day for row in account.activities if row.day)
        return {
            "initial_sync_completed": account.first_sync_done, "last_successful_sync": until.isoformat(),
            "first_transaction_date": days[0] if days else None,
        }  # fmt: skip


BROKERAGES = ("Robinhood", "Questrade", "Fidelity", "Chase")


def _brokerage(name: str) -> dict[str, Any]:
    return {
        "id": own_id("brokerage", name), "slug": name.upper(), "name": name, "display_name": name,
        "description": f"{name}, imitated", "aws_s3_logo_url": "https://logos.example/logo.png",
        "aws_s3_square_logo_url": "https://logos.example/square.png", "url": f"https://{name.lower()}.example",
        "enabled": True, "maintenance_mode": False, "is_degraded": False, "allows_trading": True,
        "allows_fractional_units": True, "has_reporting": True, "is_real_time_connection": False,
        "brokerage_type": {"id": own_id("type", "traditional"), "name": "Traditional Brokerage"}, "exchanges": [],
        "open_url": None,
    }  # fmt: skip


def _currency(code: str) -> dict[str, Any]:
    return {"id": own_id("currency", code), "code": code, "name": code}


def _position(position: SimPosition) -> dict[str, Any]:
    return {
        "instrument": _instrument(position), "units": position.units, "price": position.price,
        "cost_basis": position.cost_basis, "currency": position.currency,
        **({} if position.cash_equivalent is None else {"cash_equivalent": position.cash_equivalent}),
    }  # fmt: skip


def _instrument(position: SimPosition) -> dict[str, Any]:
    named = {"kind": position.kind, "id": own_id("instrument", position.symbol), "symbol": position.symbol}
    if position.kind == "option":
        right, strike = position.symbol[-9], Decimal(position.symbol[-8:]) / 1000
        year, month, day = (position.symbol[-15:-9][n : n + 2] for n in (0, 2, 4))
        return {
            **named, "option_type": "CALL" if right == "C" else "PUT", "strike_price": str(strike),
            "expiration_date": f"20{year}-{month}-{day}", "multiplier": position.multiplier or "100",
            "underlying": {**named, "kind": "stock", "symbol": position.symbol[:-15].strip(),
                           "raw_symbol": position.symbol[:-15].strip()},
        }  # fmt: skip
    if position.kind == "future":
        return {
            **named, "root_symbol": position.symbol[:-3], "expiration_code": position.symbol[-3:],
            "multiplier": position.multiplier, "currency": position.currency, "exchange": position.exchange,
        }  # fmt: skip
    raw = position.symbol.removesuffix(".TO")
    listed = {**named, "raw_symbol": raw, "description": f"{raw} Inc", "currency": position.currency}
    return {**listed, "exchange": position.exchange}


def _activity(row: SimActivity) -> dict[str, Any]:
    option = None
    if row.option is not None:
        right, strike = row.option[-9], Decimal(row.option[-8:]) / 1000
        year, month, day = (row.option[-15:-9][n : n + 2] for n in (0, 2, 4))
        option = {
            "id": own_id("instrument", row.option), "ticker": row.option, "strike_price": strike,
            "option_type": "CALL" if right == "C" else "PUT", "expiration_date": f"20{year}-{month}-{day}",
            "is_mini_option": False, "underlying_symbol": {**_symbol(row, row.option[:-15].strip()), "currencies": []},
        }  # fmt: skip
    return {
        "id": row.id, "symbol": _symbol(row, row.symbol) if row.symbol else None, "option_symbol": option,
        "currency_universal_symbol": None, "price": number(row.price), "units": number(row.units),
        "amount": number(row.amount), "currency": _currency(row.currency) if row.currency else None,
        "type": row.type, "option_type": "", "description": row.description, "trade_date": row.trade_date,
        "settlement_date": row.settlement_date or row.trade_date, "fee": number(row.fee), "fx_rate": None,
        "institution": "Simulated", "external_reference_id": None,
    }  # fmt: skip


def _symbol(row: SimActivity, symbol: str) -> dict[str, Any]:
    return {
        "id": own_id("instrument", symbol), "symbol": symbol, "raw_symbol": symbol.removesuffix(".TO"),
        "description": f"{symbol} Inc", "currency": _currency(row.currency or "USD"),
        "exchange": {
            "id": own_id("exchange", row.mic), "code": row.mic, "mic_code": row.mic, "name": row.mic,
            "timezone": row.timezone, "start_time": "09:30:00", "close_time": "16:00:00", "suffix": None,
        },
        "type": {"id": own_id("type", "cs"), "code": "cs", "description": "Common Stock", "is_supported": True},
        "figi_code": None, "figi_instrument": None,
    }  # fmt: skip


def number(amount: str | None) -> Decimal | None:
    """A JSON number with these digits."""
    return None if amount is None else Decimal(amount)


def stamp(moment: datetime) -> str:
    """As SnapTrade writes an instant: with a blank."""
    return moment.astimezone(UTC).isoformat(" ", "microseconds")


def answered(value: Any, status: int = 200) -> Response:
    return Response(_plain_json(value), status, media_type="application/json")


def refused(status: int, code: str, detail: str) -> Response:
    return answered({"detail": detail, "status_code": status, "code": code}, status)


def _plain_json(value: Any) -> str:
    """JSON in which decimals keep their digits."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_plain_json(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_plain_json, value)) + "]"
    return json.dumps(value)


PRICES = {"AAPL": "230.00", "MSFT": "415.20", "VOO": "601.35", "TECK.B.TO": "58.12"}


def sandbox(
    simulator: SnaptradeSimulator, user_id: str = "user_sandbox", secret: str = "sandbox-user-secret", *,
    today: date, days: int = 60, seed: int = 7,
) -> SimUser:  # fmt: skip
    """A lifelike user: a margin account in two currencies, an empty one, savings and a credit line; its own history."""
    draw = random.Random(seed)
    margin = SimAccount(
        own_id(user_id, "margin"), institution_account_id=f"{user_id}-54953432", currency="USD",
        cash={"USD": ("1520.44", "3040.88"), "CAD": ("250.10", "250.10")},
        positions=[
            SimPosition("AAPL", "20", PRICES["AAPL"], "150.00"),
            SimPosition("VOO", "3.5", PRICES["VOO"], "480.25", "etf", exchange="ARCX"),
            SimPosition("TECK.B.TO", "40", PRICES["TECK.B.TO"], "51.5", currency="CAD", exchange="XTSE"),
            SimPosition("MSFT", "-5", PRICES["MSFT"], "401.10"),
            SimPosition("SPAXX", "400", "1", "1", "mutualfund", cash_equivalent=True, exchange=None),
            SimPosition("SPY   281215C00650000", "2", "12.55", "9.25", "option", exchange=None),
        ],
    )  # fmt: skip
    margin.total = "12345.67"
    cash_only = SimAccount(
        own_id(user_id, "cash"), name="Retirement", number="****2210", raw_type="IRA",
        institution_account_id=f"{user_id}-77102934", total="900.00", cash={"USD": ("900.00", "900.00")},
    )  # fmt: skip
    savings = SimAccount(own_id(user_id, "savings"), "deposit", "Total Checking", "****4821", raw_type="CHECKING")
    savings.total = "3120.44"
    line = SimAccount(own_id(user_id, "line"), "line_of_credit", "Card", "****1881", raw_type="CREDIT_CARD")
    line.total, line.available_credit = "-842.17", "4157.83"
    user = simulator.register(
        user_id, secret, SimConnection(own_id(user_id, "broker"), [margin, cash_only]),
        SimConnection(own_id(user_id, "bank"), [savings, line], "Chase"),
    )  # fmt: skip
    for back in range(days, 0, -1):
        day = today - timedelta(days=back)
        if day.weekday() < 5 and draw.random() < 0.5:
            simulator.add(margin.id, _trade(user_id, day, draw))
        if day.day == 15:
            simulator.add(margin.id, SimActivity(
                own_id(user_id, "dividend", day.isoformat()), "DIVIDEND", "4.80", f"{day}T05:00:00Z", symbol="AAPL",
                units="20", price="0.24", description="CASH DIVIDEND",
            ))  # fmt: skip
        if day.day == 1:
            simulator.add(cash_only.id, SimActivity(
                own_id(user_id, "deposit", day.isoformat()), "CONTRIBUTION", "300.00", f"{day} 00:00:00+00:00",
                description="ACH DEPOSIT",
            ))  # fmt: skip
    return user


def _trade(user_id: str, day: date, draw: random.Random) -> SimActivity:
    symbol = draw.choice(["AAPL", "VOO"])
    units, buys = Decimal(draw.randint(1, 9)), draw.random() < 0.6
    paid = units * Decimal(PRICES[symbol])
    return SimActivity(
        own_id(user_id, "trade", day.isoformat()), "BUY" if buys else "SELL", str(-paid if buys else paid),
        f"{day}T15:{draw.randint(10, 59)}:00Z", f"{day + timedelta(days=1)}T05:00:00Z", symbol,
        units=str(units if buys else -units), price=PRICES[symbol],
        description="YOU BOUGHT" if buys else "YOU SOLD",
    )  # fmt: skip


__all__ = ["Fault", "SimAccount", "SimActivity", "SimConnection", "SimPosition", "SnaptradeSimulator", "sandbox"]
