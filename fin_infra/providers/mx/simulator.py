"""MX imitated over HTTP: users with logins and accounts, both versions, paging with its trap, faults.

State is scripted from outside and changes only then. Amounts are text, and reach the JSON digit by digit.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fin_infra.providers.mx.dialects import CURRENT, LEGACY
from fin_infra.providers.simulating import Fault, Simulator

CLIENT_ID, API_KEY = "sim-client", "sim-key"
DEFAULT_PAGE = 25
USUAL = timedelta(days=120)
AHEAD = timedelta(days=5)


@dataclass
class SimTransaction:
    """One row: `amount` is positive, `type` says which way it goes. `updated` is when it changed last."""

    guid: str
    amount: str
    date: str
    type: str | None = "DEBIT"
    status: str | None = "POSTED"
    description: str = "Purchase"
    category: str | None = "Shopping"
    currency: str | None = "USD"
    updated: datetime | None = None


@dataclass
class SimHolding:
    guid: str
    symbol: str | None
    quantity: str
    price: str
    cost_basis: str | None = None
    holding_type: str = "EQUITY"
    currency: str | None = "USD"
    put_or_call: str | None = None

    @property
    def value(self) -> Decimal:
        return Decimal(self.quantity) * Decimal(self.price) * (100 if self.put_or_call else 1)


@dataclass
class SimAccount:
    """An account: `balance` as MX states it, on a card or loan what is owed, positive."""

    guid: str
    type: str | None = "CHECKING"
    balance: str = "100.00"
    name: str = "Checking"
    number: str | None = "****1234"
    subtype: str | None = None
    currency: str | None = "USD"
    available: str | None = None
    available_credit: str | None = None
    credit_limit: str | None = None
    cash: str | None = None
    closed: bool = False
    transactions: list[SimTransaction] = field(default_factory=list)
    holdings: list[SimHolding] = field(default_factory=list)


@dataclass
class SimMember:
    """A login at an institution. `status` is its `connection_status`."""

    guid: str
    accounts: list[SimAccount]
    name: str = "MX Bank"
    status: str = "CONNECTED"
    read_at: datetime | None = None


@dataclass
class SimUser:
    guid: str
    members: list[SimMember]

    @property
    def accounts(self) -> list[tuple[SimMember, SimAccount]]:
        return [(member, account) for member in self.members for account in member.accounts]


class MxSimulator(Simulator):
    """The vendor. `page_cap`: the largest page it gives, over which 25 come, without a word."""

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), client_id: str = CLIENT_ID,
        api_key: str = API_KEY, page_cap: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__(now=now)
        self.client_id = client_id
        self.api_key = api_key
        self.page_cap = page_cap
        self.users: dict[str, SimUser] = {}
        user, member = "/users/{user}", "/users/{user}/members/{member}"
        routes = {
            f"{user}/members": self._members, member: self._member, f"{user}/accounts": self._accounts,
            f"{member}/accounts": self._accounts, f"{user}/investment_holdings": self._holdings,
            f"{member}/investment_holdings": self._holdings, f"{user}/holdings": self._old_holdings,
            f"{member}/holdings": self._old_holdings, f"{user}/transactions": self._transactions,
            f"{member}/transactions": self._transactions,
            f"{user}/accounts/{{account}}/transactions": self._transactions,
        }  # fmt: skip
        self.answering = Starlette(routes=[Route(path, self._checked(answer)) for path, answer in routes.items()])

    # -- script ----------------------------------------------------------------------------------------------------

    def register(self, guid: str, *members: SimMember) -> SimUser:
        self.users[guid] = SimUser(guid, list(members))
        return self.users[guid]

    def account(self, guid: str) -> SimAccount:
        return next(a for user in self.users.values() for _, a in user.accounts if a.guid == guid)

    def member(self, guid: str) -> SimMember:
        return next(m for user in self.users.values() for m in user.members if m.guid == guid)

    def add(self, account: str, *rows: SimTransaction) -> None:
        """New rows, which stand newest first; changed now unless they say when."""
        own = self.account(account)
        for row in rows:
            row.updated = row.updated or self._now()
            own.transactions.append(row)
        own.transactions.sort(key=lambda row: (row.date, row.guid), reverse=True)

    def change(self, account: str, guid: str, **values: Any) -> None:
        """A row is corrected."""
        row = next(row for row in self.account(account).transactions if row.guid == guid)
        for name, value in values.items():
            setattr(row, name, value)
        row.updated = self._now()

    def remove(self, account: str, guid: str) -> None:
        own = self.account(account)
        own.transactions = [row for row in own.transactions if row.guid != guid]

    def refusal(self, fault: Fault, path: str) -> Response:
        return refused(fault.status, fault.code)

    # -- the API ---------------------------------------------------------------------------------------------------

    def _checked(self, answer: Callable[[Request, SimUser], Response]) -> Callable[[Request], Response]:
        def checked(request: Request) -> Response:
            if not self._version(request):
                return refused(406, "not_acceptable_error")
            if not self._known(request.headers.get("authorization", "")):
                return refused(401, "unauthorized_error")
            user = self.users.get(request.path_params["user"])
            wanted = request.path_params.get("member")
            if user is None or (wanted and all(member.guid != wanted for member in user.members)):
                return refused(404, "not_found_error")
            return answer(request, user)

        return checked

    def _version(self, request: Request) -> str:
        if (named := request.headers.get("accept-version")) is not None:
            return named if named in (CURRENT, LEGACY) else ""
        return LEGACY if "application/vnd.mx.api.v1+json" in request.headers.get("accept", "") else ""

    def _known(self, header: str) -> bool:
        told = base64.b64encode(f"{self.client_id}:{self.api_key}".encode()).decode()
        return header == f"Basic {told}"

    def _members(self, request: Request, user: SimUser) -> Response:
        return self._page(request, "members", [self._member_json(member, user) for member in user.members])

    def _member(self, request: Request, user: SimUser) -> Response:
        found = next(member for member in user.members if member.guid == request.path_params["member"])
        return answered({"member": self._member_json(found, user)})

    def _accounts(self, request: Request, user: SimUser) -> Response:
        return self._page(request, "accounts", [_account_json(a, m, user) for m, a in _of(request, user)])

    def _holdings(self, request: Request, user: SimUser) -> Response:
        rows = [_holding_json(row, a, user) for _, a in _of(request, user) for row in a.holdings]
        return self._page(request, "investment_holdings", rows)

    def _old_holdings(self, request: Request, user: SimUser) -> Response:
        if self._version(request) != LEGACY:
            return refused(404, "not_found_error")
        rows = [_old_holding_json(row, a, m, user) for m, a in _of(request, user) for row in a.holdings]
        return self._page(request, "holdings", rows)

    def _transactions(self, request: Request, user: SimUser) -> Response:
        wanted = request.path_params.get("account")
        places = [place for place in _of(request, user) if wanted in (None, place[1].guid)]
        if wanted and not places:
            return refused(404, "not_found_error")
        query, today = request.query_params, self._now().date()
        days: dict[str, date] = {"from_date": today - USUAL, "to_date": today + AHEAD}
        for name in ("from_date", "to_date", "from_updated_at"):
            if (said := query.get(name)) is not None:
                day = _day_of(said, self._version(request))
                if day is None:
                    return refused(400, "bad_request_error")
                days[name] = day
        changed = days.get("from_updated_at")
        since = datetime.combine(changed, time(), UTC) if changed else None
        rows = [
            _transaction_json(row, account, member, user)
            for member, account in places
            for row in account.transactions
            if days["from_date"].isoformat() <= row.date <= days["to_date"].isoformat()
            and (since is None or (row.updated is not None and row.updated >= since))
        ]
        return self._page(request, "transactions", rows)

    def _page(self, request: Request, name: str, rows: Sequence[dict[str, Any]]) -> Response:
        query = request.query_params
        size, number = int(query.get("records_per_page", DEFAULT_PAGE)), int(query.get("page", 1))
        size = size if 10 <= size <= self.page_cap else DEFAULT_PAGE
        counts = {
            "current_page": number, "per_page": size, "total_entries": len(rows),
            "total_pages": max(1, -(-len(rows) // size)),
        }  # fmt: skip
        return answered({name: list(rows[(number - 1) * size : number * size]), "pagination": counts})

    def _member_json(self, member: SimMember, user: SimUser) -> dict[str, Any]:
        read_at = stamp(member.read_at or self._now())
        return {
            "guid": member.guid, "id": None, "name": member.name, "connection_status": member.status,
            "institution_code": member.name.lower().replace(" ", ""), "is_being_aggregated": False,
            "is_managed_by_user": True, "is_manual": False, "is_oauth": False, "aggregated_at": read_at,
            "successfully_aggregated_at": read_at, "user_guid": user.guid, "user_id": None, "metadata": None,
        }  # fmt: skip


def _of(request: Request, user: SimUser) -> list[tuple[SimMember, SimAccount]]:
    wanted = request.path_params.get("member")
    return [place for place in user.accounts if wanted in (None, place[0].guid)]


def _day_of(said: str, version: str) -> date | None:
    """A filter's day: only UNIX seconds in the current version, only a date in the older one."""
    try:
        return datetime.fromtimestamp(int(said), UTC).date() if version == CURRENT else date.fromisoformat(said)
    except ValueError:
        return None


def _account_json(account: SimAccount, member: SimMember, user: SimUser) -> dict[str, Any]:
    return {
        "guid": account.guid, "id": None, "name": account.name, "nickname": None, "type": account.type,
        "subtype": account.subtype, "account_number": account.number, "balance": number(account.balance),
        "available_balance": number(account.available), "available_credit": number(account.available_credit),
        "credit_limit": number(account.credit_limit), "cash_balance": number(account.cash),
        "currency_code": account.currency, "is_closed": account.closed, "is_hidden": False, "is_manual": False,
        "institution_code": member.name.lower().replace(" ", ""), "member_guid": member.guid, "user_guid": user.guid,
    }  # fmt: skip


def _transaction_json(
    row: SimTransaction, account: SimAccount, member: SimMember, user: SimUser
) -> dict[str, Any]:  # fmt: skip
    noon = f"{row.date}T12:00:00Z"
    return {
        "guid": row.guid, "id": None, "account_guid": account.guid, "account_id": None, "amount": number(row.amount),
        "type": row.type, "status": row.status, "date": row.date, "transacted_at": noon,
        "posted_at": noon if row.status != "PENDING" else None, "description": row.description,
        "original_description": row.description.upper(), "category": row.category, "currency_code": row.currency,
        "member_guid": member.guid, "user_guid": user.guid, "is_expense": row.type == "DEBIT",
        "updated_at": stamp(row.updated) if row.updated else None,
    }  # fmt: skip


def _holding_json(row: SimHolding, account: SimAccount, user: SimUser) -> dict[str, Any]:
    return {
        "guid": row.guid, "account_guid": account.guid, "user_guid": user.guid, "symbol": row.symbol,
        "quantity": row.quantity, "current_price": number(row.price), "market_value": row.value,
        "cost_basis": number(row.cost_basis), "currency_code": row.currency, "holding_type": row.holding_type,
        "put_or_call": row.put_or_call, "description": row.symbol,
    }  # fmt: skip


def _old_holding_json(row: SimHolding, account: SimAccount, member: SimMember, user: SimUser) -> dict[str, Any]:
    return {
        "guid": row.guid, "account_guid": account.guid, "user_guid": user.guid, "member_guid": member.guid,
        "symbol": row.symbol, "shares": number(row.quantity), "market_value": row.value,
        "cost_basis": number(row.cost_basis), "currency_code": row.currency, "holding_type": row.holding_type,
        "description": row.symbol,
    }  # fmt: skip


def number(amount: str | None) -> Decimal | None:
    """A JSON number with these digits."""
    return None if amount is None else Decimal(amount)


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def answered(value: Any, status: int = 200) -> Response:
    return Response(_exact(value), status, media_type="application/json")


def refused(status: int, type: str) -> Response:
    return answered({"error": {"message": "Scripted refusal.", "status": "refused", "type": type}}, status)


def _exact(value: Any) -> str:
    """JSON in which decimals keep their digits."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_exact(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_exact, value)) + "]"
    return json.dumps(value)


def own_guid(kind: str, *parts: str) -> str:
    """The same guid for the same parts in each run."""
    return f"{kind}-{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join(('mx', *parts)))}"


SHOPS = (
    ("Corner Grocery", "Groceries", "18.40"), ("City Transit", "Public Transportation", "2.75"),
    ("Blue Door Coffee", "Coffee Shops", "4.50"), ("Hardware & Sons", "Home Improvement", "61.07"),
)  # fmt: skip


def sandbox(
    simulator: MxSimulator, user: str = "USR-sandbox", *, today: date, days: int = 60, seed: int = 7
) -> SimUser:  # fmt: skip
    """A lifelike user: a bank with checking, card and mortgage, and a broker; its own history up to `today`."""
    draw = random.Random(seed)
    checking = SimAccount(own_guid("ACT", user, "checking"), balance="2410.15", available="2380.15")
    card = SimAccount(
        own_guid("ACT", user, "card"), "CREDIT_CARD", "842.17", "Card", "****1881", available_credit="4157.83",
        credit_limit="5000",
    )  # fmt: skip
    house = SimAccount(own_guid("ACT", user, "house"), "MORTGAGE", "211000.55", "Mortgage", "****7003")
    invested = SimAccount(
        own_guid("ACT", user, "invested"), "INVESTMENT", "7204.75", "Brokerage", "****9920", "BROKERAGE",
        cash="500.25", holdings=[
            SimHolding(own_guid("HOL", user, "voo"), "VOO", "3.5", "601.35", "1680.875", "EXCHANGE_TRADED_FUND"),
            SimHolding(own_guid("HOL", user, "aapl"), "AAPL", "20", "230.00", "3000"),
        ],
    )  # fmt: skip
    made = simulator.register(
        user, SimMember(own_guid("MBR", user, "bank"), [checking, card, house]),
        SimMember(own_guid("MBR", user, "broker"), [invested], "MX Invest"),
    )  # fmt: skip
    for back in range(days, -1, -1):
        day = today - timedelta(days=back)
        for account in (checking, card):
            for n in range(draw.randint(0, 2)):
                shop, category, amount = draw.choice(SHOPS)
                guid = own_guid("TRN", account.guid, day.isoformat(), str(n))
                status = "PENDING" if back == 0 else "POSTED"
                simulator.add(account.guid, SimTransaction(
                    guid, amount, day.isoformat(), "DEBIT", status, shop, category,
                ))  # fmt: skip
        if day.day in (1, 15):
            guid = own_guid("TRN", checking.guid, day.isoformat(), "pay")
            simulator.add(checking.guid, SimTransaction(
                guid, "1850.00", day.isoformat(), "CREDIT", "POSTED", "Acme Payroll", "Paycheck",
            ))  # fmt: skip
    return made


__all__ = ["Fault", "MxSimulator", "SimAccount", "SimHolding", "SimMember", "SimTransaction", "SimUser", "sandbox"]
