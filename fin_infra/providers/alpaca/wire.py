"""Alpaca's JSON, in Alpaca's words. Facts: https://docs.alpaca.markets"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, TypeAdapter

from fin_infra.errors import WireError
from fin_infra.providers.base import Wire, checked, exact_json


class AlpacaAccount(Wire):
    id: str
    account_number: str | None = None
    status: str
    currency: str
    cash: str
    equity: str | None = None
    portfolio_value: str | None = None

    @property
    def account_id(self) -> str:
        return self.id


class Asset(Wire):
    id: str
    symbol: str
    asset_class: str = Field(alias="class")
    exchange: str | None = None
    name: str | None = None
    cusip: str | None = None


Row = dict[str, Any]


@dataclass(frozen=True)
class Bars:
    """Bars by symbol, as rows, and where the next page begins."""

    rows: Sequence[tuple[str, Row]]
    next_page_token: str | None


@dataclass(frozen=True)
class Actions:
    """Corporate actions by their type, as rows, and where the next page begins."""

    rows: Sequence[tuple[str, Row]]
    next_page_token: str | None


ACCOUNT = TypeAdapter(AlpacaAccount)
ASSETS = TypeAdapter(list[Asset])
ASSET = TypeAdapter(Asset)


def account(body: bytes) -> AlpacaAccount:
    """`GET /v2/account`."""
    return checked(ACCOUNT, exact_json(body), body)


def assets(body: bytes) -> list[Asset]:
    """`GET /v2/assets` (a list), or `GET /v2/assets/{symbol}` (one)."""
    value = exact_json(body)
    return [checked(ASSET, value, body)] if isinstance(value, dict) else checked(ASSETS, value, body)


def positions(body: bytes) -> list[Row]:
    """`GET /v2/positions` (a list), or `GET /v2/positions/{symbol}` (one)."""
    return _rows(body, "positions", ("asset_id", "symbol", "qty", "side", "cost_basis"))


def activities(body: bytes) -> list[Row]:
    """`GET /v2/account/activities`, trades and the others mixed."""
    return _rows(body, "activities", ("id", "activity_type"))


def bars(body: bytes) -> Bars:
    """`GET /v2/stocks/bars`, of several symbols or one; the same of crypto and options. Empty is {} or null."""
    value = exact_json(body)
    if not isinstance(value, dict) or "bars" not in value or "next_page_token" not in value:
        raise WireError("an answer without its documented shape: no bars with a next_page_token", evidence=body)
    found, token = value["bars"], value["next_page_token"]
    if not (token is None or isinstance(token, str)):
        raise WireError("an answer without its documented shape: next_page_token is no text", evidence=body)
    if isinstance(value.get("symbol"), str):
        found = {value["symbol"]: found or []}
    found = {} if found is None else found
    whole = isinstance(found, dict) and all(
        isinstance(listed, list) and all(isinstance(bar, dict) for bar in listed) for listed in found.values()
    )
    if not whole:
        raise WireError("an answer without its documented shape: bars are no lists by symbol", evidence=body)
    rows = [(symbol, bar) for symbol, listed in found.items() for bar in listed]
    if rows and not any("t" in bar and "c" in bar for _, bar in rows):
        raise WireError("an answer without its documented shape: no bar has a time and a close", evidence=body)
    return Bars(rows, token or None)


def actions(body: bytes) -> Actions:
    """`GET /v1/corporate-actions`: lists by type. A type without an action is missing; none at all is {} or null."""
    value = exact_json(body)
    if not isinstance(value, dict) or "corporate_actions" not in value or "next_page_token" not in value:
        raise WireError(
            "an answer without its documented shape: no corporate_actions with a next_page_token", evidence=body
        )
    found, token = value["corporate_actions"], value["next_page_token"]
    if not (token is None or isinstance(token, str)):
        raise WireError("an answer without its documented shape: next_page_token is no text", evidence=body)
    found = {} if found is None else found
    whole = isinstance(found, dict) and all(
        listed is None or (isinstance(listed, list) and all(isinstance(row, dict) for row in listed))
        for listed in found.values()
    )
    if not whole:
        raise WireError("an answer without its documented shape: actions are no lists by type", evidence=body)
    return Actions([(kind, row) for kind, listed in found.items() for row in listed or ()], token or None)


def _rows(body: bytes, what: str, needed: Sequence[str]) -> list[Row]:
    """Rows that are checked as columns, not one by one; a list none of whose rows is one is of another shape."""
    value = exact_json(body)
    rows = [value] if isinstance(value, dict) and all(name in value for name in needed) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError(f"an answer without its documented shape: not a list of {what}", evidence=body)
    if rows and not any(all(name in row for name in needed) for row in rows):
        raise WireError(
            f"an answer without its documented shape: no row has {', '.join(needed)}", evidence=body
        )  # fmt: skip
    return rows


NO_SUCH_ORDER = "40410000"
DUPLICATE = "client_order_id must be unique"
TALKING = frozenset({"40010001", "40310000", "42210000"})
"""Codes that stand for many things: the message alone tells which, and who placed an order wants to know."""


def refusal_word(body: bytes) -> str | None:
    """`code` of a refusal of the trading host; of the data host, which has no code, its message."""
    try:
        value = exact_json(body)
        word = value.get("code") or value["message"]
        if word in TALKING and isinstance(value.get("message"), str):
            said = re.sub(r"[^A-Za-z0-9_ .:/-]", "", value["message"])[:70].strip()
            word = f"{word} {said}".strip()
    except (WireError, KeyError, TypeError, AttributeError):
        return None
    return word if isinstance(word, str) and re.fullmatch(r"[A-Za-z0-9_ .:/-]{1,80}", word) else None


def invalid_symbol(word: str | None) -> str | None:
    """The symbol that a refusal names as unknown."""
    found = re.match(r"invalid symbol: ([A-Za-z0-9./-]{1,30})$", word or "")
    return found.group(1) if found else None
