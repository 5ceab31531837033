"""Teller's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Built
from fin_infra.datasets.transactions import Transactions
from fin_infra.errors import DefectError, WireError
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.teller import wire

Columns = dict[str, Sequence[str | None]]
KINDS = ("depository", "credit")


def accounts(pages: Sequence[tuple[list[wire.TellerAccount], datetime]], ask: Ask, _: Account | None = None) -> Built:
    """One row per account. An account of a kind we do not know the signs of is a reject, never a guess.

    Source: https://teller.io/docs/api/accounts
    """
    rows = [account for page, _ in pages for account in page]
    columns: Columns = {
        "account_id": [row.id for row in rows],
        "institution": [row.institution.name if row.institution else None for row in rows],
        "name": [row.name for row in rows],
        "mask": [row.last_four[-4:] if row.last_four and len(row.last_four) > 1 else None for row in rows],
        "kind": [row.type if row.type in KINDS else f"unknown: {row.type}" for row in rows],
        "subkind": [row.subtype for row in rows],
        "currency": [row.currency for row in rows],
        "status": [row.status for row in rows],
    }
    return Accounts.build(columns, ask.columns(pages[-1][1]) if pages else {})


def login(page: Sequence[wire.TellerAccount]) -> str | None:
    """The enrollment that the listed accounts belong to: one access token is one enrollment."""
    return next((row.enrollment_id for row in page if row.enrollment_id), None)


def balances(pages: Sequence[tuple[wire.Balances, datetime]], ask: Ask, account: Account | None) -> Built:
    """The balance of one account. Teller states what is owed on a card as a positive `ledger`; ours is negative.

    Source: https://teller.io/docs/api/account/balances; sign seen in recorded answers.
    """
    assert account is not None, "balances belong to an account"
    signed = sign(account)
    if any(page.account_id != account.vendor_id for page, _ in pages):
        raise WireError("the balances are of another account than was asked for")
    at = pages[-1][1]
    columns: Columns = {
        "account_id": [account.account_id for _ in pages],
        "current": [signed(page.ledger) for page, _ in pages],
        "available": [page.available for page, _ in pages],
    }
    return Balances.build(columns, ask.columns(at, currency=account.currency, as_of=at))


def transactions(pages: Sequence[tuple[list[dict[str, Any]], datetime]], ask: Ask, account: Account | None) -> Built:
    """Transactions of one account, in the order of the answers (newest first inside a page).

    On a credit account Teller counts a purchase positive, on a depository account negative: ours is negative in
    both. `running_balance` is signed like the ledger. Source: https://teller.io/docs/api/account/transactions
    """
    assert account is not None, "transactions belong to an account"
    signed = sign(account)
    rows = [row for page, _ in pages for row in page]
    details = _objects(rows, "details")
    columns: Columns = {
        "account_id": [_own_account(row, account) for row in rows],
        "transaction_id": _texts(rows, "id"),
        "status": _texts(rows, "status"),
        "amount": [signed(text) for text in _texts(rows, "amount")],
        "booked_on": _texts(rows, "date"),
        "description": _texts(rows, "description"),
        "merchant": _texts(_objects(details, "counterparty"), "name"),
        "category": _texts(details, "category"),
        "type": _texts(rows, "type"),
        "running_balance": [signed(text) for text in _texts(rows, "running_balance")],
    }
    at = pages[-1][1] if pages else ask.at
    return Transactions.build(columns, ask.columns(at, currency=account.currency))


def sign(account: Account) -> Callable[[str | None], str | None]:
    """How Teller's amounts of this kind of account become ours."""
    if account.kind == "credit":
        return negated
    if account.kind == "depository":
        return lambda text: text
    raise DefectError(
        f"the sign of teller's amounts is not known for an account of kind {account.kind!r}; it knows: "
        + ", ".join(KINDS)
    )


def negated(text: str | None) -> str | None:
    """The amount with the other sign, still as text."""
    if text is None or not text.strip():
        return None
    text = text.strip()
    if text[:2] in ("--", "-+", "+-", "++"):  # no number, and none after taking one sign off either
        return text
    return text[1:] if text.startswith("-") else "-" + text.removeprefix("+")


def _own_account(row: dict[str, Any], account: Account) -> str | None:
    """Our id, or None (a reject) for a row that says it belongs to another account."""
    return account.account_id if row.get("account_id", account.vendor_id) == account.vendor_id else None


TEXT = frozenset({str, type(None)})
OBJECT = frozenset({dict})


def _texts(rows: Sequence[dict[str, Any]], name: str) -> list[str | None]:
    """A field of all rows: text, or None where it is missing or something else."""
    values: list[Any] = [row.get(name) for row in rows]
    if TEXT.issuperset(map(type, values)):  # looked at as a whole: field by field costs three times as much
        return values
    return [value if isinstance(value, str) else None for value in values]


def _objects(rows: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """A field of all rows: an object, empty where it is missing or something else."""
    values: list[Any] = [row.get(name) for row in rows]
    if OBJECT.issuperset(map(type, values)):
        return values
    return [value if isinstance(value, dict) else {} for value in values]
