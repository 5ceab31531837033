"""What the rows must be, in plain dictionaries. It knows nothing of windows, cursors or pages.

A bank account is what its vendor shows: `rows` now, and every version it ever showed. From that follow the rows that
we must hold when all is quiet, and the rows that we may hold at any moment. Where a vendor issues all ids anew, rows
are told by their content; those that had not changed must be known under their first id.
"""

from __future__ import annotations

from collections import Counter
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


Portfolio = frozenset[tuple[str, int]]


class Held(NamedTuple):
    """A row of our table."""

    account: str
    row: Row  # its status is ours: review and expired too
    supersedes: str | None


@dataclass
class Book:
    """One account at the bank."""

    id: str  # ours: the vendor's at first sight
    vendor_id: str
    kind: str
    balance: Decimal
    rows: dict[str, Row] = field(default_factory=dict)
    shown: set[Row] = field(default_factory=set)
    pended: set[str] = field(default_factory=set)  # ids that were ever shown as pending
    unsure: set[str] = field(default_factory=set)  # posted rows that fit more than one pending row
    read_anew: bool = False  # as a whole, after a re-link
    edge: date = date.min  # where such a read may have begun: what is older aged out, or was taken back, who knows
    links: dict[str, str] = field(default_factory=dict)  # posted → the pending row that it must be known to supersede
    positions: dict[str, int] = field(default_factory=dict)  # of a brokerage account: pieces by instrument
    portfolios: set[Portfolio] = field(default_factory=lambda: {frozenset()})  # every one that it ever was, whole
    reissued: bool = False  # it got another id, and its rows did, too
    first_ids: dict[str, str] = field(default_factory=dict)  # by the vendor's new id, of rows that we must know again
    peak: date = date(2000, 1, 1)  # the newest day ever shown
    open: bool = True  # what a closed account showed last we may have missed

    def show(self, row: Row) -> Row:
        self.rows[row.id] = row
        self.shown.add(row)
        self.peak = max(self.peak, row.day)
        if row.status == "pending":
            self.pended.add(row.id)
        self.remember_edge()
        return row

    def hide(self, row_id: str) -> Row:
        row = self.rows.pop(row_id)
        self.links.pop(row_id, None)
        self.first_ids.pop(row_id, None)
        self.remember_edge()
        return row

    def remember_edge(self) -> None:
        if self.read_anew:
            self.edge = max(self.edge, min((row.day for row in self.rows.values()), default=self.edge))

    @property
    def horizon(self) -> date:
        """Rows older than this may be there still. Of an account that shows nothing after a re-link it is unknown: how
        far back the vendor's history reaches, only the login's other accounts tell."""
        return date.max if self.read_anew and not self.rows else self.edge

    def reissue(self, vendor_id: str, new_ids: Mapping[str, str], held: Mapping[str, Row]) -> None:
        """All ids are new. `held`: our rows of the account by their ids."""
        self.vendor_id, self.reissued = vendor_id, True
        self.links.clear()
        rows, before = list(self.rows.values()), self.first_ids
        self.rows, self.first_ids = {}, {}
        for row in rows:
            new = self.show(row._replace(id=new_ids[row.id]))
            first = before.get(row.id, row.id)
            alone = all(sum(_told(other) == _told(row) for other in side) == 1 for side in (rows, held.values()))
            if alone and first in held and _told(held[first]) == _told(row):
                self.first_ids[new.id] = first

    def ever(self, row: Row) -> bool:
        """Whether it was ever shown like this."""
        return row in self.shown or (self.reissued and _told(row) in {_told(other) for other in self.shown})

    def hold(self, instrument: str, pieces: int) -> None:
        self.positions[instrument] = pieces
        if not pieces:
            del self.positions[instrument]
        self.portfolios.add(frozenset(self.positions.items()))

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
        elif not book.ever(row._replace(status=said)):
            wrong.append(f"{row.id} of {account} was never shown as {_said(row)}")
    return wrong


def whole(books: Mapping[str, Book], held: Mapping[str, Portfolio]) -> list[str]:
    """What is wrong with positions at any moment: an account's are those of one moment, never of two."""
    return [
        f"{account} holds {sorted(portfolio)}, which it never did"
        for account, portfolio in held.items()
        if account not in books or portfolio not in books[account].portfolios
    ]


def final_portfolios(books: Mapping[str, Book], held: Mapping[str, Portfolio]) -> list[str]:
    """What is wrong with positions when all is quiet."""
    return [
        f"{book.id} holds {sorted(held.get(book.id, frozenset()))}, at the broker it is {sorted(book.positions.items())}"
        for book in books.values()
        if book.open and held.get(book.id, frozenset()) != frozenset(book.positions.items())
    ]


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
        if book.reissued:
            wrong += _by_content(book, ours)
            continue
        for row in book.rows.values():
            found = ours.get(row.id)
            if found is None:
                wrong.append(f"{row.id} of {account} is missing: {_said(row)}")
                continue
            states = {row.status, "review"} if row.id in book.unsure else {row.status}
            if found.row._replace(status=row.status) != row or found.row.status not in states:
                wrong.append(f"{row.id} of {account} is {_said(found.row)}; the vendor shows {_said(row)}")
        for row_id, found in ours.items():
            if row_id in book.rows or found.row.day < book.horizon:
                continue
            if found.row.status != "expired" or row_id not in book.pended:
                wrong.append(f"{row_id} of {account} is still there as {_said(found.row)}")
        for posted, pending in book.links.items():
            if posted in ours and ours[posted].supersedes != pending:
                wrong.append(f"{posted} of {account} is not known to be {pending}, posted")
            if pending in ours:
                wrong.append(f"{pending} of {account} counts twice: it posted as {posted}")
    return wrong


def _by_content(book: Book, ours: Mapping[str, Held]) -> list[str]:
    """The same, where ids are no longer the vendor's: each row once by its content, and known again where it must be."""
    wrong = []
    live = [item.row for item in ours.values() if item.row.status != "expired"]
    kept = Counter(_told(row._replace(status="posted" if row.status == "review" else row.status)) for row in live)
    shown = Counter(map(_told, book.rows.values()))
    wrong += [f"missing in {book.id} after a re-link: {told}" for told in shown - kept]
    wrong += [
        f"double or gone, and still in {book.id} after a re-link: {told}"
        for told in kept - shown
        if told[1] >= book.horizon
    ]
    for new, first in book.first_ids.items():
        if first not in ours:
            wrong.append(f"{new} of {book.id} is not known again as {first}")
    return wrong


def _told(row: Row) -> tuple[Decimal, date, str, str]:
    return row.amount, row.day, row.status, row.text


def _said(row: Row) -> str:
    return f"{row.status} {row.amount} on {row.day} {row.text!r}"
