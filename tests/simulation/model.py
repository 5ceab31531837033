"""What the rows must be, in plain dictionaries. It knows nothing of windows, cursors or pages.

A bank account is what its vendor shows: `rows` now, and every version it ever showed. From that follow the rows that
we must hold when all is quiet, and the rows that we may hold at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple


class Row(NamedTuple):
    """A transaction as its holder sees it: money that goes out is negative."""

    id: str
    amount: Decimal
    day: date
    status: str  # pending | posted
    text: str


class Held(NamedTuple):
    """A row of our table."""

    account: str
    row: Row  # its status is ours: review and expired too
    supersedes: str | None


@dataclass
class Book:
    """One account at the bank."""

    id: str
    kind: str
    balance: Decimal
    rows: dict[str, Row] = field(default_factory=dict)
    shown: set[Row] = field(default_factory=set)
    pended: set[str] = field(default_factory=set)  # ids that were ever shown as pending
    unsure: set[str] = field(default_factory=set)  # posted rows that fit more than one pending row
    read_anew: bool = False  # as a whole, after a re-link: then what is older than all that is shown may have aged out
    links: dict[str, str] = field(default_factory=dict)  # posted → the pending row that it must be known to supersede
    peak: date = date(2000, 1, 1)  # the newest day ever shown
    open: bool = True  # what a closed account showed last we may have missed

    def show(self, row: Row) -> Row:
        self.rows[row.id] = row
        self.shown.add(row)
        self.peak = max(self.peak, row.day)
        if row.status == "pending":
            self.pended.add(row.id)
        return row

    def hide(self, row_id: str) -> Row:
        row = self.rows.pop(row_id)
        self.links.pop(row_id, None)
        return row

    def recent(self, status: str, days: int = 8) -> list[Row]:
        """Rows that every later read still covers, whichever read was the last: young against the newest one."""
        since = self.peak - timedelta(days=days)
        return [row for row in self.rows.values() if row.status == status and (status == "pending" or row.day >= since)]


def possible(books: Mapping[str, Book], held: Iterable[Held]) -> list[str]:
    """What is wrong with rows at any moment: each must be one that the vendor showed, of that very account."""
    wrong = []
    for account, row, _ in held:
        book = books.get(account)
        said = {"review": "posted", "expired": "pending"}.get(row.status, row.status)
        if book is None:
            wrong.append(f"{row.id} is kept under {account}, which no vendor has")
        elif row._replace(status=said) not in book.shown:
            wrong.append(f"{row.id} of {account} was never shown as {_said(row)}")
    return wrong


def final(books: Mapping[str, Book], held: Iterable[Held]) -> list[str]:
    """What is wrong when all is quiet: each row of an open account exactly once, as the vendor shows it now."""
    mine: dict[str, dict[str, Held]] = {account: {} for account in books}
    for item in held:
        mine.setdefault(item.account, {})[item.row.id] = item
    wrong = []
    for account, book in books.items():
        if not book.open:
            continue
        ours = mine[account]
        for row in book.rows.values():
            found = ours.get(row.id)
            if found is None:
                wrong.append(f"{row.id} of {account} is missing: {_said(row)}")
                continue
            states = {row.status, "review"} if row.id in book.unsure else {row.status}
            if found.row._replace(status=row.status) != row or found.row.status not in states:
                wrong.append(f"{row.id} of {account} is {_said(found.row)}; the vendor shows {_said(row)}")
        for row_id, found in ours.items():
            aged = book.read_anew and all(found.row.day < row.day for row in book.rows.values())
            if row_id in book.rows or aged:
                continue
            if found.row.status != "expired" or row_id not in book.pended:
                wrong.append(f"{row_id} of {account} is still there as {_said(found.row)}")
        for posted, pending in book.links.items():
            if posted in ours and ours[posted].supersedes != pending:
                wrong.append(f"{posted} of {account} is not known to be {pending}, posted")
            if pending in ours:
                wrong.append(f"{pending} of {account} counts twice: it posted as {posted}")
    return wrong


def _said(row: Row) -> str:
    return f"{row.status} {row.amount} on {row.day} {row.text!r}"
