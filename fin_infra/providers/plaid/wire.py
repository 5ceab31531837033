"""Plaid's JSON, in Plaid's words, more lenient than its own client. Facts: https://plaid.com/docs/api"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from fin_infra.errors import WireError, error_of
from fin_infra.providers.base import Wire, checked, exact_json
from fin_infra.providers.plaid.refusals import item_error

Row = dict[str, Any]


class Problem(Wire):
    """What Plaid says of a failure, in refusals, Items and webhooks alike."""

    error_code: str
    error_type: str | None = None
    error_message: str | None = None


class Item(Wire):
    item_id: str
    institution_id: str | None = None
    institution_name: str | None = None
    error: Problem | None = None
    products: list[str] | None = None
    billed_products: list[str] | None = None

    def has(self, product: str) -> bool:
        return product in (self.products or []) or product in (self.billed_products or [])


class Updates(Wire):
    last_successful_update: datetime | None = None


class Status(Wire):
    transactions: Updates | None = None
    investments: Updates | None = None


class ItemAnswer(Wire):
    item: Item
    status: Status | None = None

    def updated(self, product: str) -> datetime | None:
        """When Plaid last brought in this product from the institution."""
        updates: Updates | None = getattr(self.status, product, None)
        return updates.last_successful_update if updates else None


class Balances(Wire):
    current: str | None = None
    available: str | None = None
    limit: str | None = None
    iso_currency_code: str | None = None
    unofficial_currency_code: str | None = None
    last_updated_datetime: str | None = None


class PlaidAccount(Wire):
    account_id: str
    type: str
    subtype: str | None = None
    name: str | None = None
    official_name: str | None = None
    mask: str | None = None
    balances: Balances = Balances()
    persistent_account_id: str | None = None

    @property
    def kind(self) -> str:
        return "investment" if self.type == "brokerage" else self.type

    @property
    def currency(self) -> str | None:
        return self.balances.iso_currency_code or self.balances.unofficial_currency_code


class Listing(Wire):
    accounts: list[PlaidAccount]
    item: Item | None = None


@dataclass(frozen=True)
class Accounts:
    """All accounts of an Item. `as_of`, by kind of account: when Plaid last heard of it from the institution."""

    accounts: Sequence[PlaidAccount]
    item: Item | None = None
    as_of: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Transactions:
    """One page of a `/transactions/sync` loop."""

    added: Sequence[Row]
    modified: Sequence[Row]
    removed: Sequence[str]
    next_cursor: str
    has_more: bool
    history: bool | None

    @property
    def next_page_token(self) -> str | None:
        return (self.next_cursor or "more") if self.has_more else None


@dataclass(frozen=True)
class Holdings:
    """Positions of all investment accounts of an Item, and what they are positions in, by security_id."""

    accounts: Sequence[PlaidAccount]
    holdings: Sequence[Row]
    securities: Mapping[str, Row]
    item: Item | None = None
    as_of: datetime | None = None


@dataclass(frozen=True)
class Activities:
    """One page of investment transactions, newest first, of all investment accounts of an Item."""

    rows: Sequence[Row]
    securities: Mapping[str, Row]
    total: int
    offset: int = 0

    @property
    def next_page_token(self) -> str | None:
        behind = self.offset + len(self.rows)
        return str(behind) if behind < self.total else None


class Webhook(Wire):
    webhook_type: str
    webhook_code: str
    item_id: str | None = None
    account_id: str | None = None
    error: Problem | None = None
    environment: str | None = None
    initial_update_complete: bool | None = None
    historical_update_complete: bool | None = None
    removed_transactions: list[str] | None = None
    reason: str | None = None


class VerificationKey(Wire):
    alg: str
    crv: str
    kid: str
    kty: str
    use: str
    x: str
    y: str
    created_at: int
    expired_at: int | None = None


class KeyAnswer(Wire):
    key: VerificationKey


class Exchanged(Wire):
    access_token: str
    item_id: str


class PublicToken(Wire):
    public_token: str


class LinkToken(Wire):
    link_token: str


ITEM = TypeAdapter(ItemAnswer)
ITEM_ALONE = TypeAdapter(Item)
LISTING = TypeAdapter(Listing)
ACCOUNT_LIST = TypeAdapter(list[PlaidAccount])
WEBHOOK = TypeAdapter(Webhook)
KEY = TypeAdapter(KeyAnswer)
EXCHANGED = TypeAdapter(Exchanged)
PUBLIC_TOKEN = TypeAdapter(PublicToken)
LINK_TOKEN = TypeAdapter(LinkToken)


def item(body: bytes) -> ItemAnswer:
    """`POST /item/get`. Raises what the Item's own error stands for: that comes with a status of 200."""
    answer = checked(ITEM, exact_json(body), body)
    _healthy(answer.item, body)
    return answer


def accounts(body: bytes) -> Accounts:
    """`POST /accounts/get`, or any other answer that lists accounts."""
    value = _object(body)
    if "accounts" not in value and isinstance(value.get("item"), dict):  # an Item alone: it may say why
        _healthy(checked(ITEM_ALONE, value["item"], body), body)
    found = checked(LISTING, value, body)
    _healthy(found.item, body)
    return Accounts(found.accounts, found.item)


def balances(body: bytes) -> Accounts | Holdings:
    """Accounts with their balances; where positions come with them, these say what is cash."""
    return holdings(body) if "holdings" in _object(body) else accounts(body)


def dated(found: Accounts, answer: ItemAnswer) -> Accounts:
    """The accounts, with the times at which Plaid last heard of them."""
    times = {kind: answer.updated("investments" if kind == "investment" else "transactions") for kind in KINDS}
    return replace(found, as_of={kind: at for kind, at in times.items() if at is not None})


KINDS = ("depository", "credit", "loan", "investment", "other")


def transactions(body: bytes) -> Transactions:
    """`POST /transactions/sync`, or one answer of the older `/transactions/get`, which has no cursor.

    Raises `NotReady` while Plaid has not fetched anything yet: an empty success would be taken for no transactions.
    """
    value = _object(body)
    _healthy(_item_in(value, body), body)
    if "transactions" in value:
        rows = _rows(value, "transactions", ("transaction_id", "amount"), body)
        total = _number(value, "total_transactions", body)
        return Transactions(rows, (), (), "", len(rows) < total, None)
    added, modified = (_rows(value, name, ("transaction_id", "amount"), body) for name in ("added", "modified"))
    removed = [row.get("transaction_id") for row in _rows(value, "removed", ("transaction_id",), body)]
    cursor, more, status = value.get("next_cursor"), value.get("has_more"), value.get("transactions_update_status")
    if not isinstance(cursor, str) or not isinstance(more, bool):
        raise WireError("an answer without its documented shape: no next_cursor with has_more", evidence=body)
    if status == "NOT_READY" or not cursor.strip():
        raise error_of("not_ready", "plaid has not fetched the transactions yet; it is asked again later")
    history = {"HISTORICAL_UPDATE_COMPLETE": True, "INITIAL_UPDATE_COMPLETE": False}.get(str(status))
    ids = [text.strip() for text in removed if isinstance(text, str) and text.strip()]
    return Transactions(added, modified, ids, cursor, more, history)


def holdings(body: bytes) -> Holdings:
    """`POST /investments/holdings/get`."""
    value = _object(body)
    found = _item_in(value, body)
    _healthy(found, body)
    if "holdings" not in value or "securities" not in value:
        raise WireError("an answer without its documented shape: no holdings with securities", evidence=body)
    rows = _rows(value, "holdings", ("account_id", "security_id", "quantity"), body)
    listed = checked(ACCOUNT_LIST, value.get("accounts", []), body)
    return Holdings(listed, rows, _securities(value, body), found)


def activities(body: bytes) -> Activities:
    """`POST /investments/transactions/get`."""
    value = _object(body)
    _healthy(_item_in(value, body), body)
    if "investment_transactions" not in value:
        raise WireError("an answer without its documented shape: no investment_transactions", evidence=body)
    rows = _rows(value, "investment_transactions", ("account_id", "investment_transaction_id", "amount"), body)
    return Activities(rows, _securities(value, body), _number(value, "total_investment_transactions", body))


def at_offset(page: Activities, offset: int) -> Activities:
    """The page, knowing where in the whole it lies: its body does not say."""
    return replace(page, offset=offset)


def exchanged(body: bytes) -> Exchanged:
    """`POST /item/public_token/exchange`."""
    return checked(EXCHANGED, exact_json(body), body)


def public_token(body: bytes) -> PublicToken:
    """`POST /sandbox/public_token/create`."""
    return checked(PUBLIC_TOKEN, exact_json(body), body)


def link_token(body: bytes) -> LinkToken:
    """`POST /link/token/create`."""
    return checked(LINK_TOKEN, exact_json(body), body)


def webhook(body: bytes) -> Webhook:
    """The body of a webhook; verified before it is believed."""
    return checked(WEBHOOK, exact_json(body), body)


def verification_key(body: bytes) -> VerificationKey:
    """`POST /webhook_verification_key/get`."""
    return checked(KEY, exact_json(body), body).key


def refusal_word(body: bytes) -> str | None:
    """`error_code` of a refusal, with `:cursor` behind it where that is the refused field; None of other bodies."""
    try:
        value = exact_json(body)
        code, message = value["error_code"], value.get("error_message")
    except (WireError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(code, str) or not re.fullmatch(r"[A-Z0-9_]{1,80}", code):
        return None
    of_cursor = code == "INVALID_FIELD" and isinstance(message, str) and "cursor" in message.lower()
    return f"{code}:cursor" if of_cursor else code


def _healthy(found: Item | None, body: bytes) -> None:
    if found is not None and found.error is not None:
        raise item_error(found.error.error_code, body)


def _item_in(value: Row, body: bytes) -> Item | None:
    return checked(ITEM_ALONE, value["item"], body) if value.get("item") is not None else None


def _object(body: bytes) -> Row:
    value = exact_json(body)
    if not isinstance(value, dict):
        raise WireError("an answer without its documented shape: not an object", evidence=body)
    return value


def _rows(value: Row, name: str, needed: Sequence[str], body: bytes) -> list[Row]:
    """Rows that are checked as columns, not one by one; a list none of whose rows is one is of another shape."""
    rows = value.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError(f"an answer without its documented shape: {name} is no list of rows", evidence=body)
    if rows and not any(all(field in row for field in needed) for row in rows):
        raise WireError(
            f"an answer without its documented shape: no row of {name} has {', '.join(needed)}", evidence=body
        )
    return rows


def _securities(value: Row, body: bytes) -> dict[str, Row]:
    return {str(row["security_id"]): row for row in _rows(value, "securities", ("security_id",), body)
            if isinstance(row.get("security_id"), str)}  # fmt: skip


def _number(value: Row, name: str, body: bytes) -> int:
    text = value.get(name)
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,12}", text):
        raise WireError(f"an answer without its documented shape: {name} is no count", evidence=body)
    return int(text)
