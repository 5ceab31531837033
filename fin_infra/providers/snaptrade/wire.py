"""SnapTrade's JSON, in SnapTrade's words. Facts: its interface description and https://docs.snaptrade.com

An account comes in two shapes: with its `kind` (`/accounts/all` and the list of a connection), and in the older one of
`/accounts`, which has `balance.total` in place of `net_value` and `brokerage_authorization` of `connection_id`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from fin_infra.errors import WireError
from fin_infra.providers.base import exact_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Accounts:
    """All accounts of a user, and the connections they come by, where these were asked for, by their ids."""

    rows: Sequence[Row]
    connections: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Balances:
    """Cash of one account, a row per currency, and of each account listed here what it is worth in all."""

    rows: Sequence[Row]
    accounts: Sequence[Row] = ()


@dataclass(frozen=True)
class Positions:
    """All positions of one account, and when SnapTrade got them from the brokerage."""

    rows: Sequence[Row]
    as_of: str | None = None


@dataclass(frozen=True)
class Activities:
    """One page of an account's activities, newest first, and how many there are in all."""

    rows: Sequence[Row]
    offset: int
    total: int

    @property
    def end(self) -> int:
        """The place of the first row behind the page."""
        return self.offset + len(self.rows)

    @property
    def next_page_token(self) -> str | None:
        return str(self.end) if self.end < self.total else None


def accounts(body: bytes) -> Accounts:
    """`GET /accounts/all`; also `/accounts`, the lists of a connection, and one account alone."""
    found = _accounts(exact_json(body))
    if found is None:
        raise WireError("an answer without its documented shape: not a list of accounts", evidence=body)
    return Accounts(found)


def balances(body: bytes) -> Balances:
    """`GET /accounts/{id}/balances`, or a list of accounts, each of which says what it is worth."""
    value = exact_json(body)
    if value and (listed := _accounts(value)) is not None:
        return Balances((), listed)
    return Balances(_rows(value, "balances", ("currency", "cash"), body))


def positions(body: bytes) -> Positions:
    """`GET /accounts/{id}/positions/all`."""
    value = exact_json(body)
    fresh = value.get("data_freshness") if isinstance(value, dict) else None
    if not isinstance(value, dict) or "results" not in value or not (value["results"] or isinstance(fresh, dict)):
        raise WireError("an answer without its documented shape: no results with data_freshness", evidence=body)
    rows = _rows(value["results"], "positions", ("instrument",), body)
    return Positions(rows, text(fresh, "as_of") if isinstance(fresh, dict) else None)


def activities(body: bytes) -> Activities:
    """`GET /accounts/{id}/activities`."""
    value = exact_json(body)
    pages = value.get("pagination") if isinstance(value, dict) else None
    if not isinstance(value, dict) or "data" not in value or not isinstance(pages, dict):
        raise WireError("an answer without its documented shape: no data with a pagination", evidence=body)
    rows = _rows(value["data"], "activities", ("id", "type"), body)
    return Activities(rows, _count(pages, "offset", body), _count(pages, "total", body))


def connections(body: bytes) -> dict[str, Row]:
    """`GET /authorizations`, by id."""
    rows = _rows(exact_json(body), "connections", ("id", "brokerage"), body)
    if not all(isinstance(row.get("id"), str) for row in rows):
        raise WireError("an answer without its documented shape: a connection without an id", evidence=body)
    return {row["id"]: row for row in rows}


def brokerages(body: bytes) -> list[Row]:
    """`GET /brokerages`."""
    return _rows(exact_json(body), "brokerages", ("slug", "name"), body)


def refusal_word(body: bytes) -> str | None:
    """`code`, or `default_code` as the interface description has it, a text or a number; None of other bodies."""
    try:
        value = exact_json(body)
        word = value["code"] if "code" in value else value["default_code"]
    except (WireError, KeyError, TypeError):
        return None
    return word if isinstance(word, str) and re.fullmatch(r"[A-Za-z0-9_]{1,40}", word) else None


# -- one row ------------------------------------------------------------------------------------------------------


def text(row: Row, name: str) -> str | None:
    """A field that is a text, or a number, which the reader keeps as one."""
    value = row.get(name)
    return value if isinstance(value, str) else None


def inner(row: Row, *names: str) -> Row:
    """An object within the row; empty where it is not there."""
    for name in names:
        value = row.get(name)
        row = value if isinstance(value, dict) else {}
    return row


def connection_of(account: Row) -> str | None:
    """The connection that an account comes by."""
    return text(account, "connection_id") or text(account, "brokerage_authorization")


def kind_of(account: Row) -> str:
    """Our kind; "unknown: …" of one whose signs we do not know. What `/accounts` does not tell is a brokerage's."""
    said = text(account, "kind") or text(account, "account_category") or "investment"
    return KINDS.get(said.lower(), f"unknown: {said}")


KINDS = {
    "investment": "investment", "deposit": "depository", "line_of_credit": "credit", "loc": "credit",
    "annuity": "other",
}  # fmt: skip


def total_of(account: Row) -> tuple[str | None, str | None]:
    """What the account is worth, and in which currency. Null where the brokerage does not say."""
    said = inner(account, "net_value") or inner(account, "balance", "total")
    return text(said, "amount"), text(said, "currency")


def balances_at(row: Row) -> datetime | None:
    """When SnapTrade last got the account's balances from the brokerage."""
    status = inner(row, "sync_status")
    return moment(text(status, "balances") or text(inner(status, "holdings"), "last_successful_sync"))


def transactions_at(row: Row, at: datetime) -> datetime | None:
    """Up to when the account's activities are known: the end of the day that is stated, which is covered whole."""
    said = text(inner(row, "sync_status", "transactions"), "last_successful_sync")
    try:
        day = date.fromisoformat(said or "")
    except ValueError:
        return moment(said)
    return min(datetime.combine(day, time(), UTC) + timedelta(days=1), at)


def moment(said: str | None) -> datetime | None:
    """An instant with its zone, written with a T or a blank; None of anything else."""
    try:
        found = datetime.fromisoformat(said or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _accounts(value: Any) -> list[Row] | None:
    """The accounts of a body; None where it is of another shape."""
    listed = value
    if isinstance(value, dict):
        freshness = "data_freshness" in value  # of positions, which are `results` too
        listed = [value] if _is_account(value) else None if freshness else value.get("results")
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        return None
    return listed if not listed or any(map(_is_account, listed)) else None


def _is_account(row: Row) -> bool:
    return "id" in row and "sync_status" in row and ("connection_id" in row or "brokerage_authorization" in row)


def _rows(value: Any, what: str, needed: Sequence[str], body: bytes) -> list[Row]:
    """Rows that are checked as columns, not one by one; a list none of whose rows is one is of another shape."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise WireError(f"an answer without its documented shape: not a list of {what}", evidence=body)
    if value and not any(all(name in row for name in needed) for row in value):
        raise WireError(f"an answer without its documented shape: no row has {', '.join(needed)}", evidence=body)
    return value


def _count(row: Row, name: str, body: bytes) -> int:
    said = text(row, name) or ""
    if not re.fullmatch(r"[0-9]{1,9}", said):
        raise WireError(f"an answer without its documented shape: pagination.{name} is no count", evidence=body)
    return int(said)
