"""SimpleFIN's JSON, in its own words. Facts: https://www.simplefin.org/protocol.html, versions 1 and 2"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any

from pydantic import AliasChoices, Field, TypeAdapter

from fin_infra.providers.base import Wire, checked, exact_json

Row = dict[str, Any]


class Organisation(Wire):
    """Version 1: the institution, said with each of its accounts."""

    name: str | None = None
    domain: str | None = None


class Login(Wire):
    """Version 2: a login at an institution."""

    conn_id: str
    name: str | None = None
    org_name: str | None = None


class Complaint(Wire):
    """Version 2: what is wrong, with everything, one login or one account."""

    code: str = ""
    message: str = Field("", validation_alias=AliasChoices("msg", "message"))
    conn_id: str | None = None
    account_id: str | None = None


class SfinAccount(Wire):
    """An account with what came with it. Numbers are text; `available` is there where the institution says it."""

    id: str = Field(min_length=1)
    name: str | None = None
    currency: str
    balance: str
    available: str | None = Field(None, alias="available-balance")
    balance_date: str | None = Field(None, alias="balance-date")
    conn_id: str | None = None
    org: Organisation | None = None
    transactions: list[Row] = []
    holdings: list[Row] = []


class AccountSet(Wire):
    """One answer. `server`: which host gave it, "" where that is not known (a recorded one)."""

    accounts: list[SfinAccount]
    connections: list[Login] = []
    errlist: list[Complaint] = []
    errors: list[str] = []
    server: str = ""

    def known_as(self, account: SfinAccount) -> str:
        """The account's id among all servers. The Bridge's own ids are random and stand alone; another's, like `1` or
        `Demo Savings`, has its server before it."""
        return account.id if not self.server or _RANDOM.fullmatch(account.id) else f"{self.server}/{account.id}"

    def institution_of(self, account: SfinAccount) -> str | None:
        login = next((one for one in self.connections if one.conn_id == account.conn_id), None)
        if login is not None:
            return login.org_name or login.name
        return (account.org.name or account.org.domain) if account.org else None


_RANDOM = re.compile(r"ACT-[0-9A-Za-z-]{20,}")
ACCOUNT_SET = TypeAdapter(AccountSet)


def account_set(body: bytes) -> AccountSet:
    """`GET /accounts`, of either version."""
    return checked(ACCOUNT_SET, exact_json(body), body)


def no_word(body: bytes) -> str | None:
    """Refusals have no code of their own: a page of HTML, or a text."""
    return None


def moment(seconds: Any) -> datetime | None:
    """The instant of unix seconds; None for none, for 0 and for what is no time."""
    said = str(seconds) if isinstance(seconds, str | int) and not isinstance(seconds, bool) else ""
    if not re.fullmatch(r"[0-9]{1,12}", said) or int(said) == 0:
        return None
    try:
        return datetime.fromtimestamp(int(said), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def plain(message: str) -> str:
    """An error text that may be shown: without markup, addresses and control characters, and not too long."""
    said = message
    for _ in range(2):  # what is escaped once comes out as markup
        said = html.unescape(re.sub(r"<[^<>]*>", " ", said))
    said = re.sub(r"[a-z]+://\S+", "(address)", said, flags=re.IGNORECASE)
    said = re.sub(r"[<>\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\s]+", " ", said)
    return said.strip()[:200]
