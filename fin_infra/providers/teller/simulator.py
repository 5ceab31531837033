"""Teller imitated over HTTP: enrollments with accounts, paging, pending rows that post, refusals and faults.

State is scripted from outside and changes only then; answers have the shapes of the documented API. It speaks ASGI:
serve it on a socket with `fin_infra.testing.serve`, or hand it to httpx's ASGI transport.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from fin_infra.providers.simulating import Fault, Simulator
from fin_infra.providers.teller.webhooks import sign

API = "https://api.teller.io"

MERCHANTS = (
    ("Corner Grocery", "groceries", "18.40"), ("City Transit", "transportation", "2.75"),
    ("Blue Door Coffee", "dining", "4.50"), ("Northside Pharmacy", "health", "23.19"),
    ("Hardware & Sons", "home", "61.07"), ("Lamplight Books", "shopping", "15.99"),
    ("Riverside Fuel", "fuel", "44.82"), ("Union Telephone", "phone", "39.00"),
)  # fmt: skip


@dataclass
class SimTransaction:
    """One row, with the amount in Teller's own sign for the kind of account it is on."""

    id: str
    amount: str
    date: str
    description: str
    status: str = "posted"
    type: str = "card_payment"
    category: str | None = "general"
    counterparty: str | None = None
    running_balance: str | None = None


@dataclass
class SimAccount:
    """An account: `ledger` in Teller's sign (on a credit account what is owed, positive), rows newest first."""

    id: str
    kind: str = "depository"
    subtype: str = "checking"
    name: str = "Checking"
    last_four: str = "1234"
    institution: str = "Simulated Bank"
    currency: str = "USD"
    status: str = "open"
    ledger: str = "0.00"
    available: str | None = None
    transactions: list[SimTransaction] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    """(status, code) that every sub-resource of this account answers, e.g. (410, "account.closed")."""


@dataclass
class Enrollment:
    token: str
    accounts: list[SimAccount]
    disconnected: str | None = None  # e.g. user_action.mfa_required
    revoked: bool = False

    @property
    def id(self) -> str:
        """Which webhooks name. It says nothing of the token, and is stored where the token never is."""
        return "enr_" + hashlib.sha256(self.token.encode()).hexdigest()[:20]


class TellerSimulator(Simulator):
    """The vendor. Script it with its methods; hand the object itself to whoever serves ASGI.

    `needs_certificate`: refuse clients that show no TLS certificate, as Teller does outside the sandbox.
    """

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), needs_certificate: bool = False
    ) -> None:
        super().__init__(now=now)
        self.enrollments: dict[str, Enrollment] = {}
        self.needs_certificate = needs_certificate
        self._webhooks = 0
        self.answering = Starlette(
            routes=[
                Route("/", self._root),
                Route("/accounts", self._accounts),
                Route("/accounts/{account_id}", self._account),
                Route("/accounts/{account_id}/balances", self._balances),
                Route("/accounts/{account_id}/transactions", self._transactions),
                Route("/accounts/{account_id}/transactions/{transaction_id}", self._transaction),
                Route("/institutions", self._institutions),
            ]
        )

    # -- script ----------------------------------------------------------------------------------------------------

    def enroll(self, token: str, *accounts: SimAccount) -> Enrollment:
        """A user's bank login: these accounts answer to this access token."""
        self.enrollments[token] = Enrollment(token, list(accounts))
        return self.enrollments[token]

    def account(self, account_id: str) -> SimAccount:
        return next(a for e in self.enrollments.values() for a in e.accounts if a.id == account_id)

    def add(self, account_id: str, transaction: SimTransaction) -> SimTransaction:
        """A new row; the list stays newest first, a later one before an earlier one of its day."""
        rows = self.account(account_id).transactions
        place = next((i for i, row in enumerate(rows) if row.date <= transaction.date), len(rows))
        rows.insert(place, transaction)
        return transaction

    def post(
        self, account_id: str, transaction_id: str, *, on: str, amount: str | None = None, new_id: str | None = None
    ) -> SimTransaction:  # fmt: skip
        """A pending row posts: same id or, as some banks do, a new one; the pending one then just vanishes."""
        row = self.remove(account_id, transaction_id)
        row.status, row.date = "posted", on
        row.amount = amount or row.amount
        row.id = new_id or row.id
        return self.add(account_id, row)

    def remove(self, account_id: str, transaction_id: str) -> SimTransaction:
        rows = self.account(account_id).transactions
        row = next(row for row in rows if row.id == transaction_id)
        rows.remove(row)
        return row

    def disconnect(self, token: str, reason: str = "user_action.mfa_required") -> None:
        self.enrollments[token].disconnected = reason

    def reconnect(self, token: str) -> None:
        self.enrollments[token].disconnected = None

    def webhook(
        self, type: str, payload: dict[str, Any], *, secrets: Sequence[str], at: datetime | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a webhook as Teller would send it now, signed with each of the secrets."""
        moment = at or self._now()
        self._webhooks += 1
        said = {
            "id": f"wh_sim{self._webhooks:06d}", "type": type, "payload": payload,
            "timestamp": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        body, seconds = json.dumps(said).encode(), str(int(moment.timestamp()))
        proofs = ",".join(f"v1={sign(secret, seconds, body)}" for secret in secrets)
        return {"Teller-Signature": f"t={seconds},{proofs}", "Content-Type": "application/json"}, body

    def processed(self, *account_ids: str, secrets: Sequence[str]) -> tuple[dict[str, str], bytes]:
        """The webhook that says: new rows on these accounts. It names the accounts, not the enrollment."""
        rows = [
            _transaction_json(account, row)
            for account in map(self.account, account_ids)
            for row in account.transactions[:1]
        ]
        return self.webhook("transactions.processed", {"transactions": rows}, secrets=secrets)

    def refusal(self, fault: Fault, path: str) -> Response:
        return _error(fault.status, fault.code, "scripted refusal")

    # -- the API ---------------------------------------------------------------------------------------------------

    def _enrollment(self, request: Request) -> Enrollment | Response:
        if self.needs_certificate and not _shows_certificate(request.scope):
            return _error(400, "bad_request", "Missing certificate: retry with your client certificate.")
        user = _basic_user(request.headers.get("authorization", ""))
        if not user:
            return _error(401, "unauthorized", "Missing access token")
        enrollment = self.enrollments.get(user)
        if enrollment is None or enrollment.revoked:
            return _error(403, "forbidden", "Invalid or revoked access token")
        return enrollment

    def _of(self, request: Request) -> SimAccount | Response:
        enrollment = self._enrollment(request)
        if isinstance(enrollment, Response):
            return enrollment
        if enrollment.disconnected:
            return _error(404, f"enrollment.disconnected.{enrollment.disconnected}", "Enrollment is not healthy")
        account = next((a for a in enrollment.accounts if a.id == request.path_params["account_id"]), None)
        if account is None:
            return _error(404, "not_found", "The requested account was not found.")
        if account.refusal:
            return _error(*account.refusal, "scripted refusal of this account")
        return account

    async def _root(self, request: Request) -> Response:
        return JSONResponse({"links": {"accounts": f"{API}/accounts"}})

    async def _institutions(self, request: Request) -> Response:
        return JSONResponse([{"id": "sim", "name": "Simulated Bank", "products": ["balance", "transactions"]}])

    async def _accounts(self, request: Request) -> Response:
        enrollment = self._enrollment(request)
        if isinstance(enrollment, Response):
            return enrollment
        if enrollment.disconnected:
            return _error(404, f"enrollment.disconnected.{enrollment.disconnected}", "Enrollment is not healthy")
        return JSONResponse([_account_json(account, enrollment) for account in enrollment.accounts])

    async def _account(self, request: Request) -> Response:
        account = self._of(request)
        if isinstance(account, Response):
            return account
        enrollment = next(e for e in self.enrollments.values() if account in e.accounts)
        return JSONResponse(_account_json(account, enrollment))

    async def _balances(self, request: Request) -> Response:
        account = self._of(request)
        if isinstance(account, Response):
            return account
        links = {"self": f"{API}/accounts/{account.id}/balances", "account": f"{API}/accounts/{account.id}"}
        return JSONResponse(
            {"account_id": account.id, "ledger": account.ledger, "available": account.available, "links": links}
        )

    async def _transactions(self, request: Request) -> Response:
        account = self._of(request)
        if isinstance(account, Response):
            return account
        query = request.query_params
        rows = account.transactions
        if start := query.get("start_date"):
            rows = [row for row in rows if row.date >= start]
        if end := query.get("end_date"):
            rows = [row for row in rows if row.date <= end]
        if from_id := query.get("from_id"):
            ids = [row.id for row in rows]
            rows = rows[ids.index(from_id) + 1 :] if from_id in ids else []
        if count := query.get("count"):
            if not count.isdigit() or int(count) < 1:
                return _error(422, "unprocessable_entity", "count must be a positive number")
            rows = rows[: int(count)]
        return JSONResponse([_transaction_json(account, row) for row in rows])

    async def _transaction(self, request: Request) -> Response:
        account = self._of(request)
        if isinstance(account, Response):
            return account
        wanted = request.path_params["transaction_id"]
        row = next((row for row in account.transactions if row.id == wanted), None)
        if row is None:
            return _error(404, "not_found", "The requested transaction was not found.")
        return JSONResponse(_transaction_json(account, row))


def sandbox(simulator: TellerSimulator, token: str, *, today: date, days: int = 45, seed: int = 7) -> Enrollment:
    """A lifelike enrollment: checking, savings and a credit card, with `days` of history up to `today`."""
    draw = random.Random(seed)
    checking = SimAccount(f"acc_{token}_checking", name="Everyday Checking", last_four="7346")
    savings = SimAccount(f"acc_{token}_savings", subtype="savings", name="Rainy Day Savings", last_four="3528")
    card = SimAccount(f"acc_{token}_card", "credit", "credit_card", "Platinum Card", "7857")
    enrollment = simulator.enroll(token, checking, savings, card)
    worth = {checking.id: Decimal("2410.15"), savings.id: Decimal("12000.00"), card.id: Decimal("310.40")}
    for back in range(days, 0, -1):
        day = today - timedelta(days=back)
        for account in (checking, card):
            for _ in range(draw.randint(0, 2)):
                merchant, category, amount = draw.choice(MERCHANTS)
                _book(simulator, worth, account, day, amount if account is card else f"-{amount}", merchant, category)
        if day.day in (1, 15):
            _book(simulator, worth, checking, day, "1850.00", "Acme Payroll", "income", kind="ach")
        if day.day == 20:
            _book(simulator, worth, checking, day, "-240.00", "Card payment", "service", kind="payment")
            _book(simulator, worth, card, day, "-240.00", "Payment received", "service", kind="payment")
        if day.day == 28:
            _book(simulator, worth, savings, day, "14.27", "Interest", "income", kind="interest")
    for account in (checking, savings):
        account.ledger = account.available = str(worth[account.id])
    card.ledger, card.available = str(worth[card.id]), str(Decimal("5000.00") - worth[card.id])
    simulator.add(
        card.id,
        SimTransaction(f"txn_{token}_pending", "27.80", today.isoformat(), "BLUE DOOR COF", "pending",
                       category="dining", counterparty="BLUE DOOR COFFEE"),
    )  # fmt: skip
    return enrollment


def _book(
    simulator: TellerSimulator, worth: dict[str, Decimal], account: SimAccount, day: date, amount: str, what: str,
    category: str, *, kind: str = "card_payment",
) -> None:  # fmt: skip
    worth[account.id] += Decimal(amount)
    running = str(worth[account.id]) if account.kind == "depository" else None
    number = len(account.transactions) + 1
    simulator.add(
        account.id,
        SimTransaction(f"txn_{account.id.removeprefix('acc_')}_{number:04d}", amount, day.isoformat(), what,
                       type=kind, category=category, counterparty=what.upper(), running_balance=running),
    )  # fmt: skip


def _account_json(account: SimAccount, enrollment: Enrollment) -> dict[str, Any]:
    base = f"{API}/accounts/{account.id}"
    return {
        "id": account.id, "enrollment_id": enrollment.id, "type": account.kind, "subtype": account.subtype,
        "name": account.name, "last_four": account.last_four, "currency": account.currency, "status": account.status,
        "institution": {"id": account.institution.lower().replace(" ", "_"), "name": account.institution},
        "links": {"self": base, "balances": f"{base}/balances", "transactions": f"{base}/transactions"},
    }  # fmt: skip


def _transaction_json(account: SimAccount, row: SimTransaction) -> dict[str, Any]:
    base = f"{API}/accounts/{account.id}"
    counterparty = {"name": row.counterparty, "type": "organization" if row.counterparty else None}
    return {
        "id": row.id, "account_id": account.id, "amount": row.amount, "date": row.date, "description": row.description,
        "status": row.status, "type": row.type, "running_balance": row.running_balance,
        "details": {"processing_status": "complete", "category": row.category, "counterparty": counterparty},
        "links": {"self": f"{base}/transactions/{row.id}", "account": base},
    }  # fmt: skip


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def _basic_user(header: str) -> str:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value).decode().partition(":")[0]
    except ValueError:
        return ""


def _shows_certificate(scope: Scope) -> bool:
    """The server's own TLS layer has verified it; it says so in the scope's extension or was told to demand one."""
    return bool(scope.get("extensions", {}).get("tls", {}).get("client_cert_chain")) or bool(scope.get("client_cert"))


__all__ = ["Enrollment", "Fault", "SimAccount", "SimTransaction", "TellerSimulator", "sandbox"]
