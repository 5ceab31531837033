"""Plaid imitated over HTTP: Items with a true log of changes behind their cursors, investments, refusals and faults.

State is scripted from outside and changes only then; answers have the shapes of the published OpenAPI description.
Amounts are decimal text in Plaid's own sign and leave as JSON numbers, digit by digit. It speaks ASGI: serve it on a
socket with `fin_infra.testing.serve`, or hand it to httpx's ASGI transport.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator

INITIAL_DAYS = 30
MOST_ROWS = 500
PHASES = {"NOT_READY": "NOT_READY", "INITIAL": "INITIAL_UPDATE_COMPLETE", "HISTORICAL": "HISTORICAL_UPDATE_COMPLETE",
          "UNKNOWN": "TRANSACTIONS_UPDATE_STATUS_UNKNOWN"}  # fmt: skip
ERROR_TYPES = {
    "ITEM_ERROR": ("ITEM_", "PRODUCT_NOT_READY", "NO_ACCOUNTS", "NO_INVESTMENT_ACCOUNTS", "PRODUCTS_NOT_SUPPORTED",
                   "PENDING_", "USER_", "ACCESS_NOT_GRANTED"),
    "INSTITUTION_ERROR": ("INSTITUTION_",),
    "INVALID_INPUT": ("INVALID_API_KEYS", "INVALID_ACCESS_TOKEN", "INVALID_PUBLIC_TOKEN"),
    "TRANSACTIONS_ERROR": ("TRANSACTIONS_SYNC_MUTATION",),
    "API_ERROR": ("INTERNAL_SERVER_ERROR", "PLANNED_MAINTENANCE"),
}  # fmt: skip
MERCHANTS = (
    ("Corner Grocery", "GENERAL_MERCHANDISE", "18.40"), ("City Transit", "TRANSPORTATION", "2.75"),
    ("Blue Door Coffee", "FOOD_AND_DRINK", "4.50"), ("Northside Pharmacy", "MEDICAL", "23.19"),
    ("Hardware & Sons", "HOME_IMPROVEMENT", "61.07"), ("Lamplight Books", "GENERAL_MERCHANDISE", "15.99"),
    ("Riverside Fuel", "TRANSPORTATION", "44.82"), ("Union Telephone", "RENT_AND_UTILITIES", "39.00"),
)  # fmt: skip


class Number(str):
    """Decimal text that leaves as a JSON number."""


@dataclass
class SimTransaction:
    """One row; `amount` in Plaid's sign, positive when money goes out."""

    id: str
    account_id: str
    amount: str
    date: str
    name: str = "Corner Grocery"
    pending: bool = False
    pending_transaction_id: str | None = None
    authorized_date: str | None = None
    merchant_name: str | None = None
    category: str = "GENERAL_MERCHANDISE"
    currency: str | None = "USD"
    unofficial_currency: str | None = None


@dataclass
class SimAccount:
    """An account; balances in Plaid's sign: on a card or loan what is owed, positive."""

    id: str
    type: str = "depository"
    subtype: str = "checking"
    name: str = "Checking"
    mask: str | None = "0000"
    current: str | None = "100.00"
    available: str | None = None
    limit: str | None = None
    currency: str | None = "USD"
    persistent_id: str | None = None


@dataclass
class SimSecurity:
    """What positions are in."""

    id: str
    ticker: str | None
    type: str = "equity"
    name: str = "A Share"
    mic: str | None = "XNAS"
    isin: str | None = None
    close: str = "1"
    currency: str | None = "USD"
    cash_equivalent: bool = False


@dataclass
class SimHolding:
    """A position; an option's `quantity` is contracts times 100. `value` is quantity by price where it is not given."""

    account_id: str
    security_id: str
    quantity: str
    price: str
    cost_basis: str | None = None
    value: str | None = None
    currency: str | None = "USD"


@dataclass
class SimActivity:
    """An investment transaction; `amount` in Plaid's sign, positive when cash goes out."""

    id: str
    account_id: str
    amount: str
    date: str
    type: str = "buy"
    subtype: str = "buy"
    quantity: str = "0"
    price: str = "0"
    fees: str | None = "0"
    security_id: str | None = None
    name: str = "BUY"
    currency: str | None = "USD"


@dataclass
class SimItem:
    """A login: accounts, and a log of every change to its transactions, behind which its cursors are positions.

    `phase`: NOT_READY, INITIAL (only the newest 30 days are there), HISTORICAL, or UNKNOWN. `error`: the code that
    /item/get shows while answers go on with 200, as Plaid does with a broken Item. `refusal`: the code with which every
    product refuses.
    """

    token: str
    item_id: str
    accounts: list[SimAccount]
    institution_id: str = "ins_109508"
    institution_name: str = "First Platypus Bank"
    products: list[str] = field(default_factory=lambda: ["investments", "transactions"])
    phase: str = "HISTORICAL"
    error: str | None = None
    refusal: str | None = None
    updated_at: datetime | None = None
    webhook: str | None = None
    transactions: dict[str, SimTransaction] = field(default_factory=dict)
    log: list[tuple[str, bool]] = field(default_factory=list)  # (transaction id, whether it was there before)
    owners: dict[str, str] = field(default_factory=dict)  # the account of each transaction there ever was
    later: list[SimTransaction] = field(default_factory=list)  # what the historical update will bring
    securities: list[SimSecurity] = field(default_factory=list)
    holdings: list[SimHolding] = field(default_factory=list)
    activities: list[SimActivity] = field(default_factory=list)

    def account(self, account_id: str) -> SimAccount:
        return next(account for account in self.accounts if account.id == account_id)

    # -- script ----------------------------------------------------------------------------------------------------

    def add(self, *rows: SimTransaction) -> None:
        """New rows; an id that was removed comes back."""
        for row in rows:
            self.log.append((row.id, row.id in self.transactions))
            self.owners[row.id] = row.account_id
            self.transactions[row.id] = row

    def modify(self, transaction_id: str, **changes: Any) -> SimTransaction:
        row = replace(self.transactions[transaction_id], **changes)
        self.log.append((transaction_id, True))
        self.transactions[transaction_id] = row
        return row

    def remove(self, *ids: str) -> None:
        for transaction_id in ids:
            self.log.append((transaction_id, True))
            del self.transactions[transaction_id]

    def post(
        self, pending_id: str, new_id: str, *, on: str, amount: str | None = None, linked: bool = True
    ) -> SimTransaction:  # fmt: skip
        """A pending row posts under a new id; some institutions never say which one it was: `linked=False`."""
        before = self.transactions[pending_id]
        self.remove(pending_id)
        row = replace(
            before, id=new_id, pending=False, date=on, amount=amount or before.amount,
            pending_transaction_id=pending_id if linked else None,
        )  # fmt: skip
        self.add(row)
        return row

    def rotate(self, account_id: str, first: str, last: str, suffix: str = "_r") -> list[str]:
        """All rows of an account between two dates get other ids, as some institutions do. The new ids."""
        moved = [r for r in self.transactions.values() if r.account_id == account_id and first <= r.date <= last]
        for row in moved:
            self.remove(row.id)
        self.add(*(replace(row, id=f"{row.id}{suffix}") for row in moved))
        return [f"{row.id}{suffix}" for row in moved]

    def finish_history(self) -> None:
        """The historical update: what is older than the first 30 days arrives."""
        self.phase = "HISTORICAL"
        rows, self.later = self.later, []
        self.add(*rows)

    # -- cursors ---------------------------------------------------------------------------------------------------

    def changes(self, since: int) -> list[tuple[str, str]]:
        """(added | modified | removed, id) of what differs between a position of the log and now."""
        there: dict[str, bool] = {}
        for transaction_id, before in self.log[since:]:
            there.setdefault(transaction_id, before)
        if since == 0:
            there = dict.fromkeys(there, False)
        found = []
        for transaction_id, before in there.items():
            now = transaction_id in self.transactions
            if before or now:
                found.append(("modified" if before and now else "added" if now else "removed", transaction_id))
        return found

    def cursor(self, begin: int, end: int, done: int) -> str:
        """Opaque to who is given it: the Item, the loop's begin and end in the log, and the rows already given."""
        return base64.b64encode(json.dumps([self.item_id, begin, end, done]).encode()).decode()


class PlaidSimulator(Simulator):
    """The vendor. Script it with its methods; hand the object itself to whoever serves ASGI.

    `bodies`: what was asked, without credentials. `limits`: calls a minute and Item by path, none at first.
    `between_pages`: called after each page of a /transactions/sync loop that is not the last.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        keys: tuple[str, str] = ("client", "secret"),
    ) -> None:
        super().__init__(now=now)
        self.keys = keys
        self.items: dict[str, SimItem] = {}
        self.public_tokens: dict[str, str] = {}
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.limits: dict[str, int] = {}
        self.between_pages: Callable[[SimItem], None] = lambda item: None
        self.removed_items: list[str] = []
        self._asked: dict[tuple[str, str], list[datetime]] = {}
        self._made_key: ec.EllipticCurvePrivateKey | None = None
        paths: dict[str, Callable[[SimItem, dict[str, Any]], Response]] = {
            "/accounts/get": self._accounts, "/accounts/balance/get": self._accounts, "/item/get": self._item,
            "/item/remove": self._remove, "/item/webhook/update": self._update_webhook,
            "/transactions/sync": self._sync, "/transactions/refresh": self._plain,
            "/investments/holdings/get": self._holdings, "/investments/transactions/get": self._activities,
            "/investments/refresh": self._plain, "/sandbox/item/reset_login": self._reset_login,
            "/sandbox/item/fire_webhook": self._fire_webhook,
        }  # fmt: skip
        open_paths: dict[str, Callable[[dict[str, Any]], Response]] = {
            "/link/token/create": self._link_token, "/sandbox/public_token/create": self._public_token,
            "/item/public_token/exchange": self._exchange, "/webhook_verification_key/get": self._verification_key,
        }  # fmt: skip
        self.answering = Starlette(
            routes=[
                *(Route(path, self._of_item(path, answer), methods=["POST"]) for path, answer in paths.items()),
                *(Route(path, self._of_all(path, answer), methods=["POST"]) for path, answer in open_paths.items()),
            ]
        )

    # -- script ----------------------------------------------------------------------------------------------------

    def link(self, token: str, *accounts: SimAccount, item_id: str | None = None, **more: Any) -> SimItem:
        """A user's login: these accounts answer to this access token."""
        own = item_id or "item" + hashlib.sha256(token.encode()).hexdigest()[:20]
        self.items[token] = SimItem(token, own, list(accounts), **more)
        return self.items[token]

    def relink(self, token: str, new_token: str) -> SimItem:
        """The same login linked once more: another Item, other ids of accounts and rows; persistent ids stay."""
        old = self.items[token]
        mark = hashlib.sha256(new_token.encode()).hexdigest()[:6]
        accounts = [replace(account, id=f"{account.id}_{mark}") for account in old.accounts]
        item = self.link(
            new_token, *accounts, institution_id=old.institution_id, institution_name=old.institution_name,
            products=list(old.products), securities=list(old.securities),
        )  # fmt: skip
        item.holdings = [replace(row, account_id=f"{row.account_id}_{mark}") for row in old.holdings]
        item.activities = [
            replace(row, id=f"{row.id}_{mark}", account_id=f"{row.account_id}_{mark}") for row in old.activities
        ]
        for row in old.transactions.values():
            before = row.pending_transaction_id
            item.add(replace(row, id=f"{row.id}_{mark}", account_id=f"{row.account_id}_{mark}",
                             pending_transaction_id=before and f"{before}_{mark}"))  # fmt: skip
        return item

    @property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        """What webhooks are signed with, of this simulator alone."""
        if self._made_key is None:
            self._made_key = ec.generate_private_key(ec.SECP256R1())
        return self._made_key

    @property
    def kid(self) -> str:
        """The key's name."""
        return _uuid(str(self._key.public_key().public_numbers().x))

    def signed_webhook(
        self, body: Mapping[str, Any] | bytes, *, issued_at: datetime | None = None, kid: str | None = None
    ) -> tuple[dict[str, str], bytes]:  # fmt: skip
        """Headers and raw body of a webhook, signed as Plaid signs: ES256 over the body's hash."""
        raw = body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()
        claims = {
            "iat": int((issued_at or self._now()).timestamp()), "request_body_sha256": hashlib.sha256(raw).hexdigest(),
        }  # fmt: skip
        token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": kid or self.kid})
        return {"plaid-verification": token, "content-type": "application/json"}, raw

    def webhook_of(self, item: SimItem, kind: str, code: str, **more: Any) -> dict[str, Any]:
        """The body of a webhook about an Item."""
        return {"webhook_type": kind, "webhook_code": code, "item_id": item.item_id, "environment": "sandbox", **more}

    def updates_available(self, item: SimItem) -> dict[str, Any]:
        return self.webhook_of(
            item, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", initial_update_complete=item.phase != "NOT_READY",
            historical_update_complete=item.phase == "HISTORICAL",
        )  # fmt: skip

    def refusal(self, fault: Fault, path: str) -> Response:
        code = fault.code if fault.code.isupper() else "RATE_LIMIT" if fault.status == 429 else "INTERNAL_SERVER_ERROR"
        return _error(code, fault.status)

    # -- who asks --------------------------------------------------------------------------------------------------

    async def _asks(self, request: Request, path: str) -> dict[str, Any] | Response:
        try:
            body = json.loads(await request.body())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return _error("INVALID_BODY", message="body could not be parsed as JSON")
        given = (
            body.get("client_id") or request.headers.get("plaid-client-id"),
            body.get("secret") or request.headers.get("plaid-secret"),
        )
        told = {name: value for name, value in body.items() if name not in ("client_id", "secret", "access_token")}
        self.bodies.append((path, told))
        return (
            body if given == self.keys else _error("INVALID_API_KEYS", message="invalid client_id or secret provided")
        )

    def _of_all(self, path: str, answer: Callable[[dict[str, Any]], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await self._asks(request, path)
            return body if isinstance(body, Response) else answer(body)

        return endpoint

    def _of_item(self, path: str, answer: Callable[[SimItem, dict[str, Any]], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await self._asks(request, path)
            if isinstance(body, Response):
                return body
            item = self.items.get(str(body.get("access_token")))
            if item is None:
                return _error("INVALID_ACCESS_TOKEN", message="could not find matching access token")
            if self._limited(item, path):
                return _error(_limit_of(path), 429)
            if item.refusal and path not in ("/item/get", "/item/remove"):
                return _error(item.refusal)
            return answer(item, body)

        return endpoint

    def _limited(self, item: SimItem, path: str) -> bool:
        if path not in self.limits:
            return False
        now = self._now()
        window = [at for at in self._asked.get((item.item_id, path), []) if now - at < timedelta(minutes=1)]
        if len(window) < self.limits[path]:
            window.append(now)
        else:
            return True
        self._asked[item.item_id, path] = window
        return False

    # -- the API ---------------------------------------------------------------------------------------------------

    def _plain(self, item: SimItem, body: dict[str, Any]) -> Response:
        return _json({"request_id": _request_id()})

    def _item(self, item: SimItem, body: dict[str, Any]) -> Response:
        at = _stamp(item.updated_at or self._now()) if item.phase != "NOT_READY" else None
        updates = {"last_successful_update": at, "last_failed_update": None}
        status = {"transactions": updates, "investments": updates, "last_webhook": None}
        return _json({"item": self._item_json(item), "status": status, "request_id": _request_id()})

    def _item_json(self, item: SimItem) -> dict[str, Any]:
        return {
            "item_id": item.item_id, "institution_id": item.institution_id, "institution_name": item.institution_name,
            "webhook": item.webhook, "error": _problem(item.error) if item.error else None,
            "available_products": ["balance", "identity"], "billed_products": item.products, "products": item.products,
            "consent_expiration_time": None, "update_type": "background", "auth_method": None,
        }  # fmt: skip

    def _accounts(self, item: SimItem, body: dict[str, Any]) -> Response:
        wanted = (body.get("options") or {}).get("account_ids")
        accounts = [account for account in item.accounts if wanted is None or account.id in wanted]
        if wanted is not None and len(accounts) != len(wanted):
            return _error("INVALID_FIELD", message="account_ids: no account of this item")
        if not accounts:
            return _error("NO_ACCOUNTS")
        return _json(
            {
                "accounts": [_account_json(a) for a in accounts],
                "item": self._item_json(item),
                "request_id": _request_id(),
            }
        )

    def _sync(self, item: SimItem, body: dict[str, Any]) -> Response:
        options, count = body.get("options") or {}, body.get("count", 100)
        if not isinstance(count, int) or not 1 <= count <= MOST_ROWS:
            return _error("INVALID_FIELD", message=f"count must be between 1 and {MOST_ROWS}")
        days = options.get("days_requested", 90)
        if not isinstance(days, int) or not 1 <= days <= 730:
            return _error("INVALID_FIELD", message="days_requested must be between 1 and 730")
        place = self._place(item, body.get("cursor") or "")
        if place is None:
            return _error("INVALID_FIELD", message="cursor not associated with access_token")
        begin, end, done = place
        if done and end != len(item.log):
            return _error("TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION", message="Underlying transaction data changed "
                          "since last page was fetched. Please restart pagination from last update.")  # fmt: skip
        answer: dict[str, Any] = {
            "added": [], "modified": [], "removed": [], "accounts": [_account_json(a) for a in item.accounts],
            "transactions_update_status": PHASES[item.phase], "request_id": _request_id(),
        }  # fmt: skip
        if item.phase == "NOT_READY":
            return _json({**answer, "next_cursor": "", "has_more": False})
        changes = item.changes(begin)
        page = changes[done : done + count]
        for what, transaction_id in page:
            row = item.transactions.get(transaction_id)
            answer[what].append(_transaction_json(row) if row and what != "removed" else _gone(item, transaction_id))
        more = done + len(page) < len(changes)
        end = len(item.log)
        cursor = item.cursor(begin, end, done + len(page)) if more else item.cursor(end, end, 0)
        if more:
            self.between_pages(item)
        return _json({**answer, "next_cursor": cursor, "has_more": more})

    def _place(self, item: SimItem, cursor: str) -> tuple[int, int, int] | None:
        if not cursor:
            return 0, len(item.log), 0
        try:
            owner, begin, end, done = json.loads(base64.b64decode(cursor, validate=True))
        except ValueError:
            return None
        return (begin, end, done) if owner == item.item_id and end <= len(item.log) else None

    def _holdings(self, item: SimItem, body: dict[str, Any]) -> Response:
        refused = self._investments_refused(item)
        if refused is not None:
            return refused
        held = {row.security_id for row in item.holdings}
        return _json(
            {
                "accounts": [_account_json(a) for a in item.accounts if a.type == "investment"],
                "holdings": [_holding_json(row) for row in item.holdings],
                "securities": [_security_json(row) for row in item.securities if row.id in held],
                "item": self._item_json(item), "request_id": _request_id(),
            }
        )  # fmt: skip

    def _investments_refused(self, item: SimItem) -> Response | None:
        if not any(account.type == "investment" for account in item.accounts):
            return _error("NO_INVESTMENT_ACCOUNTS")
        if item.phase == "NOT_READY":
            return _error("PRODUCT_NOT_READY", message="the requested product is not yet ready. please provide a "
                          "webhook or try the request again later")  # fmt: skip
        return None

    def _activities(self, item: SimItem, body: dict[str, Any]) -> Response:
        refused = self._investments_refused(item)
        if refused is not None:
            return refused
        first, last = str(body.get("start_date")), str(body.get("end_date"))
        if not all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in (first, last)) or first > last:
            return _error("INVALID_FIELD", message="start_date and end_date must be dates in order")
        options = body.get("options") or {}
        count, offset = options.get("count", 100), options.get("offset", 0)
        if not 1 <= count <= MOST_ROWS or offset < 0:
            return _error("INVALID_FIELD", message=f"count must be between 1 and {MOST_ROWS}")
        rows = sorted((r for r in item.activities if first <= r.date <= last), key=lambda r: r.date, reverse=True)
        page = rows[offset : offset + count]
        about = {row.security_id for row in page}
        return _json(
            {
                "accounts": [_account_json(a) for a in item.accounts if a.type == "investment"],
                "investment_transactions": [_activity_json(row) for row in page],
                "securities": [_security_json(row) for row in item.securities if row.id in about],
                "total_investment_transactions": len(rows), "item": self._item_json(item), "request_id": _request_id(),
            }
        )  # fmt: skip

    def _remove(self, item: SimItem, body: dict[str, Any]) -> Response:
        del self.items[item.token]
        self.removed_items.append(item.item_id)
        return _json({"request_id": _request_id()})

    def _update_webhook(self, item: SimItem, body: dict[str, Any]) -> Response:
        item.webhook = body.get("webhook")
        return _json({"item": self._item_json(item), "request_id": _request_id()})

    def _reset_login(self, item: SimItem, body: dict[str, Any]) -> Response:
        item.error = item.refusal = "ITEM_LOGIN_REQUIRED"
        return _json({"reset_login": True, "request_id": _request_id()})

    def _fire_webhook(self, item: SimItem, body: dict[str, Any]) -> Response:
        if not item.webhook:
            return _error("SANDBOX_WEBHOOK_INVALID", message="the item has no webhook url")
        return _json({"webhook_fired": True, "request_id": _request_id()})

    def _link_token(self, body: dict[str, Any]) -> Response:
        missing = [name for name in ("client_name", "language", "country_codes", "user") if not body.get(name)]
        if missing or not (body.get("products") or body.get("access_token")):
            return _error("MISSING_FIELDS", message=f"missing: {', '.join(missing or ['products'])}")
        expires = _stamp(self._now() + timedelta(hours=4))
        return _json(
            {"link_token": f"link-sandbox-{_uuid(str(body))}", "expiration": expires, "request_id": _request_id()}
        )

    def _public_token(self, body: dict[str, Any]) -> Response:
        if not body.get("institution_id") or not body.get("initial_products"):
            return _error("MISSING_FIELDS", message="missing: institution_id or initial_products")
        number = len(self.public_tokens) + 1
        public, token = f"public-sandbox-{_uuid(f'p{number}')}", f"access-sandbox-{_uuid(f'a{number}')}"
        self.public_tokens[public] = token
        if token not in self.items:
            sandbox(self, token, today=self._now().date(), seed=number)
        return _json({"public_token": public, "request_id": _request_id()})

    def _exchange(self, body: dict[str, Any]) -> Response:
        token = self.public_tokens.pop(str(body.get("public_token")), None)
        if token is None:
            return _error("INVALID_PUBLIC_TOKEN", message="could not find matching public token")
        item = self.items[token]
        return _json({"access_token": token, "item_id": item.item_id, "request_id": _request_id()})

    def _verification_key(self, body: dict[str, Any]) -> Response:
        if body.get("key_id") != self.kid:
            return _error("INVALID_FIELD", message="key_id not found")
        numbers = self._key.public_key().public_numbers()
        key = {
            "alg": "ES256", "crv": "P-256", "kid": self.kid, "kty": "EC", "use": "sig", "created_at": 1_760_000_000,
            "expired_at": None, "x": _coordinate(numbers.x), "y": _coordinate(numbers.y),
        }  # fmt: skip
        return _json({"key": key, "request_id": _request_id()})


def sandbox(
    simulator: PlaidSimulator, token: str, *, today: date, days: int = 90, seed: int = 7, name: str | None = None
) -> SimItem:  # fmt: skip
    """A lifelike Item: checking, savings, a card, a loan and a brokerage account, `days` of history up to `today`.

    `name`: what the ids of accounts and rows are made of; the token unless it is said.
    """
    draw = random.Random(seed)
    own = name or token
    checking = SimAccount(f"plaid_{own}_checking", name="Everyday Checking", mask="2046", available="2380.15")
    savings = SimAccount(f"plaid_{own}_savings", subtype="savings", name="Rainy Day", mask="8815", current="12000.00")
    card = SimAccount(
        f"plaid_{own}_card", "credit", "credit card", "Platinum Card", "4410", "310.40", "4689.60", "5000"
    )
    loan = SimAccount(f"plaid_{own}_loan", "loan", "student", "Student Loan", "9572", "15000.00")
    broker = SimAccount(f"plaid_{own}_broker", "investment", "brokerage", "Brokerage", "1122")
    item = simulator.link(token, checking, savings, card, loan, broker, item_id=f"item_{own}")
    rows: list[SimTransaction] = []
    for back in range(days, 0, -1):
        day = (today - timedelta(days=back)).isoformat()
        for account in (checking, card):
            for _ in range(draw.randint(0, 2)):
                merchant, category, amount = draw.choice(MERCHANTS)
                rows.append(_bought(own, len(rows), account, day, amount, merchant, category))
        if day.endswith(("-01", "-15")):
            rows.append(_bought(own, len(rows), checking, day, "-1850.00", "Acme Payroll", "INCOME"))
    pending = _bought(own, len(rows), card, today.isoformat(), "27.80", "Blue Door Coffee", "FOOD_AND_DRINK")
    item.add(*rows, replace(pending, pending=True))
    checking.current = "2410.15"
    _invest(item, broker, own, today)
    return item


def _bought(
    own: str, number: int, account: SimAccount, day: str, amount: str, merchant: str, category: str
) -> SimTransaction:  # fmt: skip
    return SimTransaction(f"plaid_{own}_t{number:04d}", account.id, amount, day, merchant.upper(), authorized_date=day,
                          merchant_name=merchant, category=category)  # fmt: skip


def _invest(item: SimItem, broker: SimAccount, own: str, today: date) -> None:
    cash = SimSecurity(f"sec_{own}_usd", "CUR:USD", "cash", "U S Dollar", None, cash_equivalent=True)
    shares = [SimSecurity(f"sec_{own}_{t.lower()}", t, "equity", n, "XNAS", close=c)
              for t, n, c in (("AAPL", "Apple Inc", "211.26"), ("MSFT", "Microsoft Corp", "402.50"))]  # fmt: skip
    item.securities = [cash, *shares]
    item.holdings = [SimHolding(broker.id, cash.id, "1500.25", "1")]
    total = Decimal("1500.25")
    for number, share in enumerate(shares):
        quantity, on = Decimal(10 + number), (today - timedelta(days=60 + number)).isoformat()
        value, paid = quantity * Decimal(share.close), quantity * Decimal(100)
        total += value
        item.holdings.append(SimHolding(broker.id, share.id, str(quantity), share.close, str(paid)))
        item.activities.append(SimActivity(f"inv_{own}_{number}", broker.id, str(paid), on, "buy", "buy", str(quantity),
                                           "100", "0", share.id, f"BUY {share.name}"))  # fmt: skip
    item.activities.append(
        SimActivity(f"inv_{own}_cash", broker.id, "-5000", (today - timedelta(days=70)).isoformat(), "cash",
                    "contribution", "-5000", "1", None, cash.id, "CONTRIBUTION")
    )  # fmt: skip
    item.activities.append(
        SimActivity(f"inv_{own}_div", broker.id, "-2.40", (today - timedelta(days=20)).isoformat(), "cash", "dividend",
                    "0", "0", "0", shares[0].id, "DIVIDEND Apple Inc")
    )  # fmt: skip
    broker.current, broker.available = str(total), "1500.25"


# -- the shapes of the answers -------------------------------------------------------------------------------------


def _account_json(account: SimAccount) -> dict[str, Any]:
    balances: dict[str, Any] = {
        "available": _number(account.available), "current": _number(account.current), "limit": _number(account.limit),
        "iso_currency_code": account.currency, "unofficial_currency_code": None,
    }  # fmt: skip
    if account.type == "investment":
        balances["margin_loan_amount"] = None
    told = {"persistent_account_id": account.persistent_id} if account.persistent_id else {}
    return {
        "account_id": account.id, "balances": balances, "mask": account.mask, "name": account.name,
        "official_name": None, "type": account.type, "subtype": account.subtype, "holder_category": "personal", **told,
    }  # fmt: skip


def _transaction_json(row: SimTransaction) -> dict[str, Any]:
    nothing = ("address", "city", "region", "postal_code", "country", "lat", "lon", "store_number")
    payment = ("by_order_of", "payee", "payer", "payment_method", "payment_processor", "ppd_id", "reason",
               "reference_number")  # fmt: skip
    return {
        "transaction_id": row.id, "account_id": row.account_id, "amount": _number(row.amount), "date": row.date,
        "name": row.name, "merchant_name": row.merchant_name, "pending": row.pending,
        "pending_transaction_id": row.pending_transaction_id, "authorized_date": row.authorized_date,
        "authorized_datetime": None, "datetime": None, "iso_currency_code": row.currency,
        "unofficial_currency_code": row.unofficial_currency, "account_owner": None, "check_number": None,
        "counterparties": [], "location": dict.fromkeys(nothing), "logo_url": None, "merchant_entity_id": None,
        "payment_channel": "in store", "payment_meta": dict.fromkeys(payment),
        "personal_finance_category": {"primary": row.category, "detailed": f"{row.category}_OTHER",
                                      "confidence_level": "HIGH"},
        "personal_finance_category_icon_url": "https://plaid-category-icons.plaid.com/PFC_OTHER.png",
        "transaction_code": None, "transaction_type": "place", "website": None,
    }  # fmt: skip


def _gone(item: SimItem, transaction_id: str) -> dict[str, Any]:
    return {"transaction_id": transaction_id, "account_id": item.owners[transaction_id]}


def _holding_json(row: SimHolding) -> dict[str, Any]:
    value = row.value if row.value is not None else format(Decimal(row.quantity) * Decimal(row.price), "f")
    return {
        "account_id": row.account_id, "security_id": row.security_id, "quantity": _number(row.quantity),
        "institution_price": _number(row.price), "institution_value": _number(value),
        "cost_basis": _number(row.cost_basis), "institution_price_as_of": None, "institution_price_datetime": None,
        "iso_currency_code": row.currency, "unofficial_currency_code": None, "vested_quantity": None,
        "vested_value": None,
    }  # fmt: skip


def _security_json(row: SimSecurity) -> dict[str, Any]:
    return {
        "security_id": row.id, "ticker_symbol": row.ticker, "type": row.type, "name": row.name, "isin": row.isin,
        "cusip": None, "sedol": None, "institution_security_id": None, "institution_id": None,
        "proxy_security_id": None, "is_cash_equivalent": row.cash_equivalent, "close_price": _number(row.close),
        "close_price_as_of": None, "update_datetime": None, "iso_currency_code": row.currency,
        "unofficial_currency_code": None, "market_identifier_code": row.mic, "sector": None, "industry": None,
        "cfi_code": None, "option_contract": None, "fixed_income": None, "subtype": None, "figi": None,
    }  # fmt: skip


def _activity_json(row: SimActivity) -> dict[str, Any]:
    return {
        "investment_transaction_id": row.id, "account_id": row.account_id, "security_id": row.security_id,
        "date": row.date, "transaction_datetime": None, "name": row.name, "quantity": _number(row.quantity),
        "amount": _number(row.amount), "price": _number(row.price), "fees": _number(row.fees), "type": row.type,
        "subtype": row.subtype, "iso_currency_code": row.currency, "unofficial_currency_code": None,
        "cancel_transaction_id": None,
    }  # fmt: skip


def _problem(code: str, message: str | None = None) -> dict[str, Any]:
    kind = next((k for k, begins in ERROR_TYPES.items() if code.startswith(begins)), "INVALID_REQUEST")
    if code.endswith("_LIMIT") or code == "RATE_LIMIT":
        kind, message = (
            "RATE_LIMIT_EXCEEDED",
            "rate limit exceeded for attempts to access this item. please try again later",
        )
    said = message or code.lower().replace("_", " ")
    return {"error_type": kind, "error_code": code, "error_message": said, "display_message": None}


def _error(code: str, status: int = 400, message: str | None = None) -> Response:
    return _json({**_problem(code, message), "request_id": _request_id()}, status)


def _limit_of(path: str) -> str:
    names = {"/accounts/get": "ACCOUNTS_LIMIT", "/accounts/balance/get": "ACCOUNTS_BALANCE_GET_LIMIT",
             "/item/get": "ITEM_GET_LIMIT", "/transactions/sync": "TRANSACTIONS_SYNC_LIMIT",
             "/investments/holdings/get": "INVESTMENT_HOLDINGS_GET_LIMIT",
             "/investments/transactions/get": "INVESTMENT_TRANSACTIONS_LIMIT"}  # fmt: skip
    return names.get(path, "RATE_LIMIT")


def _json(answer: Mapping[str, Any], status: int = 200) -> Response:
    return Response(_text(answer), status, media_type="application/json")


def _text(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(name)}:{_text(part)}" for name, part in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _number(amount: str | None) -> Number | None:
    return None if amount is None else Number(format(Decimal(amount), "f"))


def _stamp(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _request_id() -> str:
    return "Sim0ReQuEsT1d00"


def _uuid(seed: str) -> str:
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def _coordinate(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


__all__ = [
    "Fault", "PlaidSimulator", "SimAccount", "SimActivity", "SimHolding", "SimItem", "SimSecurity", "SimTransaction",
    "sandbox",
]  # fmt: skip
