"""A SimpleFIN server, imitated: setup tokens that are good once, access URLs, partial errors and its quota of a day."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator

DAY = 86_400
FORBIDDEN = (
    "<!doctype html><html><head><title>Forbidden</title></head><body><h1>Forbidden</h1>Access denied</body></html>"
)


@dataclass
class SimTransaction:
    """`posted`: when, None while it is pending."""

    id: str
    amount: str
    posted: datetime | None
    description: str = "Corner Grocery"
    transacted: datetime | None = None
    payee: str | None = None


@dataclass
class SimHolding:
    symbol: str
    shares: str
    market_value: str
    cost_basis: str = "0.00"
    purchase_price: str = "0.00"
    currency: str = ""
    id: str = ""


@dataclass
class SimAccount:
    id: str
    name: str = "Checking"
    balance: str = "100.00"
    available: str | None = None
    currency: str = "USD"
    login: str = "CON-1"
    transactions: list[SimTransaction] = field(default_factory=list)
    holdings: list[SimHolding] | None = None
    as_of: datetime | None = None


@dataclass
class SimAccess:
    """What one access URL leads to. `errors`: of version 2, as dicts; version 1 says only their texts."""

    accounts: list[SimAccount] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    institutions: dict[str, str] = field(default_factory=lambda: {"CON-1": "My Bank"})
    revoked: bool = False
    paid: bool = True
    asked: list[datetime] = field(default_factory=list)


class SimplefinSimulator(Simulator):
    """`user:password` → access. `version`: the newest of the protocol that it speaks; `limit`: requests a day."""

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), version: int = 2, limit: int = 24
    ) -> None:  # fmt: skip
        super().__init__(now=now)
        self.accesses: dict[str, SimAccess] = {}
        self.claims: dict[str, str] = {}
        self.claimed: list[str] = []
        self.version = version
        self.limit = limit
        paths = [
            ("/accounts", self._accounts, "GET"), ("/info", self._info, "GET"), ("/claim/{token}", self._claim, "POST")
        ]  # fmt: skip
        self.answering = Starlette(
            routes=[
                Route(prefix + path, endpoint, methods=[method])
                for prefix in ("", "/simplefin")
                for path, endpoint, method in paths
            ]
        )

    def grant(self, user: str, password: str, *accounts: SimAccount) -> SimAccess:
        """An access for these credentials."""
        access = self.accesses[f"{user}:{password}"] = SimAccess(list(accounts))
        return access

    def setup_token(self, base: str, user: str, password: str, token: str = "claim-me") -> str:
        """A setup token for an access; `base`: where this server is reached."""
        scheme, _, host = base.rstrip("/").partition("://")
        self.claims[token] = f"{scheme}://{user}:{password}@{host}/simplefin"
        return base64.b64encode(f"{base.rstrip('/')}/simplefin/claim/{token}".encode()).decode()

    def refusal(self, fault: Fault, path: str) -> Response:
        if fault.status == 402:
            return JSONResponse({"errors": ["Payment required."], "accounts": []}, 402)
        return HTMLResponse(FORBIDDEN, fault.status)

    async def _info(self, request: Request) -> Response:
        return JSONResponse({"versions": ["1.0", "2.0"][: self.version]})

    async def _claim(self, request: Request) -> Response:
        found = self.claims.pop(request.path_params["token"], None)
        if found is None:
            return HTMLResponse(FORBIDDEN, 403)
        self.claimed.append(request.path_params["token"])
        return PlainTextResponse(found)

    async def _accounts(self, request: Request) -> Response:
        access = self.accesses.get(_credentials(request.headers.get("authorization", "")))
        if access is None or access.revoked:
            return HTMLResponse(FORBIDDEN, 403)
        if not access.paid:
            return self.refusal(Fault("refuse", status=402), "")
        now, query = self._now(), request.query_params
        access.asked = [at for at in access.asked if now - at < timedelta(days=1)]
        if len(access.asked) >= self.limit:
            return PlainTextResponse("Slow down", 429)
        access.asked.append(now)
        second = query.get("version") == "2"
        if query.get("version") not in (None, "1", "2") or (second and self.version < 2):
            return PlainTextResponse("unknown version", 400)
        try:
            end = int(query.get("end-date", now.timestamp()))
            start = int(query.get("start-date", end))
        except ValueError:
            return PlainTextResponse("a date is in unix seconds", 400)
        if end - start > 90 * DAY:
            return PlainTextResponse("at most 90 days", 400)
        bare, pending = query.get("balances-only") == "1", query.get("pending") == "1"
        until = end if "end-date" in query else end + DAY
        wanted = query.getlist("account")
        listed = [
            self._account(access, row, (start, until), bare=bare, pending=pending, second=second)
            for row in access.accounts if not wanted or row.id in wanted
        ]  # fmt: skip
        texts = [error["message"] for error in access.errors]
        if not second:
            return JSONResponse({"errors": texts, "accounts": listed})
        logins = [
            {"conn_id": own, "name": f"{name} - me", "org_id": f"INST-{own}", "org_name": name}
            for own, name in access.institutions.items()
        ]
        said = [{("msg" if key == "message" else key): value for key, value in one.items()} for one in access.errors]
        return JSONResponse({"errlist": said, "connections": logins, "accounts": listed})

    def _account(
        self, access: SimAccess, row: SimAccount, span: tuple[int, int], *, bare: bool, pending: bool, second: bool
    ) -> dict[str, Any]:  # fmt: skip
        as_of = row.as_of or self._now()
        told: dict[str, Any] = {
            "id": row.id, "name": row.name, "currency": row.currency, "balance": row.balance,
            "balance-date": int(as_of.timestamp()),
        }  # fmt: skip
        if row.available is not None:
            told["available-balance"] = row.available
        if second:
            told["conn_id"] = row.login
        else:
            told["org"] = {
                "domain": "bank.example",
                "name": access.institutions.get(row.login),
                "sfin-url": "https://s.example",
            }
        if not bare:
            told["transactions"] = [
                _transaction(one) for one in row.transactions
                if (pending if one.posted is None else span[0] <= one.posted.timestamp() < span[1])
            ]  # fmt: skip
            if row.holdings is not None:
                told["holdings"] = [_holding(one, place, as_of) for place, one in enumerate(row.holdings)]
        return told


def _transaction(row: SimTransaction) -> dict[str, Any]:
    told: dict[str, Any] = {"id": row.id, "amount": row.amount, "description": row.description}
    told["posted"] = int(row.posted.timestamp()) if row.posted else 0
    if row.posted is None:
        told["pending"] = True
    if row.transacted is not None:
        told["transacted_at"] = int(row.transacted.timestamp())
    if row.payee is not None:
        told["payee"] = row.payee
    return told


def _holding(row: SimHolding, place: int, at: datetime) -> dict[str, Any]:
    return {
        "id": row.id or f"HOL-{place}", "created": int(at.timestamp()), "currency": row.currency,
        "cost_basis": row.cost_basis, "market_value": row.market_value, "purchase_price": row.purchase_price,
        "shares": row.shares, "symbol": row.symbol, "description": f"{row.symbol} fund",
    }  # fmt: skip


def _credentials(header: str) -> str:
    scheme, _, value = header.partition(" ")
    try:
        return base64.b64decode(value).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


def sandbox(
    simulator: SimplefinSimulator, user: str, password: str, *, today: date, days: int = 45, seed: int = 7
) -> SimAccess:  # fmt: skip
    """Believable accounts of one user: checking, a card and a brokerage account, with `days` of history."""
    draw = random.Random(seed)
    checking = SimAccount("ACT-0a1b2c3d-0001-4000-8000-000000000001", "Everyday Checking")
    card = SimAccount("ACT-0a1b2c3d-0002-4000-8000-000000000002", "Platinum Visa Card", login="CON-1")
    broker = SimAccount("ACT-0a1b2c3d-0003-4000-8000-000000000003", "Roth IRA", "12500.00", login="CON-2")
    broker.holdings = [
        SimHolding("VTI", "30.5", "9150.00", "7320.00", "240.00"), SimHolding("FXAIX", "12.25", "2450.00", "2100.00")
    ]  # fmt: skip
    worth = {checking.id: Decimal("2410.15"), card.id: Decimal("-310.40")}
    for back in range(days, 0, -1):
        day = datetime.combine(today - timedelta(days=back), time(12), UTC)
        for account in (checking, card):
            for number in range(draw.randint(0, 2)):
                amount = f"-{draw.randint(3, 90)}.{draw.randint(0, 99):02d}"
                worth[account.id] += Decimal(amount)
                own = f"TRN-{account.id[-1]}-{back}-{number}"
                account.transactions.append(SimTransaction(own, amount, day, payee="Corner Grocery", transacted=day))
        if day.day in (1, 15):
            worth[checking.id] += Decimal("1850.00")
            checking.transactions.append(SimTransaction(f"TRN-pay-{back}", "1850.00", day, "Acme Payroll"))
    checking.balance, card.balance = str(worth[checking.id]), str(worth[card.id])
    now = datetime.combine(today, time(9), UTC)
    card.transactions.append(SimTransaction("TRN-pending", "-27.80", None, "BLUE DOOR COF", transacted=now))
    access = simulator.grant(user, password, checking, card, broker)
    access.institutions = {"CON-1": "My Bank", "CON-2": "My Broker"}
    return access


__all__ = ["Fault", "SimAccess", "SimAccount", "SimHolding", "SimTransaction", "SimplefinSimulator", "sandbox"]
