"""Teller's JSON, in Teller's words. Facts: https://teller.io/docs/api"""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter

from fin_infra.errors import WireError
from fin_infra.providers.base import Wire, checked, exact_json


class Institution(Wire):
    id: str | None = None
    name: str | None = None


class TellerAccount(Wire):
    id: str
    type: str
    status: str
    enrollment_id: str | None = None
    currency: str | None = None
    subtype: str | None = None
    name: str | None = None
    last_four: str | None = None
    institution: Institution | None = None
    links: dict[str, str] | None = (
        None  # which sub-resources exist: an account without `balances` is not asked for them
    )


class Balances(Wire):
    account_id: str
    ledger: str | None = None
    available: str | None = None


class Listed(Wire):
    """One of `/institutions`."""

    id: str
    name: str
    products: list[str] = []


ACCOUNTS = TypeAdapter(list[TellerAccount])
INSTITUTIONS = TypeAdapter(list[Listed])
ONE_ACCOUNT = TypeAdapter(TellerAccount)
BALANCES = TypeAdapter(Balances)


def accounts(body: bytes) -> list[TellerAccount]:
    """`GET /accounts` (a bare list), or `GET /accounts/{id}` (one)."""
    value = exact_json(body)
    return [checked(ONE_ACCOUNT, value, body)] if isinstance(value, dict) else checked(ACCOUNTS, value, body)


def balances(body: bytes) -> Balances:
    """`GET /accounts/{id}/balances`. At least one of the two amounts is there."""
    value = checked(BALANCES, exact_json(body), body)
    if value.ledger is None and value.available is None:
        raise WireError("balances without an amount: neither ledger nor available is there", evidence=body)
    return value


def transactions(body: bytes) -> list[dict[str, Any]]:
    """`GET /accounts/{id}/transactions` (a list), or one transaction. Rows are checked as columns, not one by one."""
    value = exact_json(body)
    rows = [value] if isinstance(value, dict) and "amount" in value else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError("an answer without its documented shape: not a list of transactions", evidence=body)
    if rows and not any("id" in row and "amount" in row for row in rows):
        raise WireError("an answer without its documented shape: no row has an id and an amount", evidence=body)
    return rows


def institutions(body: bytes) -> list[Listed]:
    """`GET /institutions`: all of them, no pages."""
    return checked(INSTITUTIONS, exact_json(body), body)


def refusal_word(body: bytes) -> str | None:
    """`error.code` of a refusal; None when the body is not of that form."""
    try:
        error = exact_json(body)["error"]
        code = error["code"]
    except (WireError, KeyError, TypeError, IndexError):
        return None
    return code if isinstance(code, str) and re.fullmatch(r"[a-z0-9_.-]{1,80}", code) else None
