"""MX's JSON, in MX's words. Facts: https://docs.mx.com/api-reference/platform-api"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fin_infra.errors import WireError
from fin_infra.providers.base import exact_json

Row = dict[str, Any]
NEEDS_THE_USER = frozenset(
    {"CHALLENGED", "DENIED", "EXPIRED", "IMPAIRED", "IMPEDED", "LOCKED", "PREVENTED", "REJECTED"}
)  # fmt: skip
"""States of a login in which nothing new comes before the user has acted."""


@dataclass(frozen=True)
class Listed:
    """Rows of one page. `pagination` is empty where one row was asked for by its id; `members`: by their ids."""

    rows: Sequence[Row]
    pagination: Mapping[str, int] = field(default_factory=dict)
    members: Mapping[str, Row] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.pagination.get("total_entries", len(self.rows))


def accounts(body: bytes) -> Listed:
    """`GET /users/{u}/accounts`, or one account."""
    return _listed(body, ("accounts",), "account")


def members(body: bytes) -> Listed:
    """`GET /users/{u}/members`, or one member."""
    return _listed(body, ("members",), "member")


def transactions(body: bytes) -> Listed:
    """`GET /users/{u}/accounts/{a}/transactions`, or one transaction."""
    return _listed(body, ("transactions",), "transaction")


def holdings(body: bytes) -> Listed:
    """`GET /users/{u}/investment_holdings`, in the older version `/users/{u}/holdings`, or one holding."""
    return _listed(body, ("investment_holdings", "holdings"), "investment_holding")


def _listed(body: bytes, names: tuple[str, ...], one: str) -> Listed:
    value = exact_json(body)
    if not isinstance(value, dict):
        raise WireError("an answer without its documented shape: not an object", evidence=body)
    if isinstance(value.get(one), dict):
        rows: Any = [value[one]]
        pagination = dict[str, int]()
    else:
        rows = next((value[name] for name in names if name in value), None)
        pagination = _pagination(value.get("pagination"), body)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError(f"an answer without its documented shape: no list of {names[0]}", evidence=body)
    if rows and not any(isinstance(row.get("guid"), str) for row in rows):
        raise WireError("an answer without its documented shape: no row has a guid", evidence=body)
    return Listed(rows, pagination)


def _pagination(value: Any, body: bytes) -> dict[str, int]:
    """Its four counts. A list that comes without them may be cut, and nobody would know."""
    said = value if isinstance(value, dict) else {}
    counts = {name: said.get(name) for name in ("current_page", "per_page", "total_entries", "total_pages")}
    if not all(isinstance(count, str) and re.fullmatch(r"[0-9]{1,9}", count) for count in counts.values()):
        raise WireError("an answer without its documented shape: pagination does not count its pages", evidence=body)
    return {name: int(str(count)) for name, count in counts.items()}


def text(row: Row, name: str) -> str | None:
    """A field that is a text, or a number, which the reader keeps as one."""
    value = row.get(name)
    return value if isinstance(value, str) and value.strip() else None


def moment(value: str | None) -> datetime | None:
    """An instant with its zone, None for anything else."""
    try:
        found = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def refusal_word(body: bytes) -> str | None:
    """`error.type` of a refusal; None when the body is not of that form."""
    try:
        word = exact_json(body)["error"]["type"]
    except (WireError, KeyError, TypeError, IndexError):
        return None
    return word if isinstance(word, str) and re.fullmatch(r"[a-z0-9_]{1,80}", word) else None
