"""A bank that lives: its customers buy, its rows post, change and vanish. Every move is told to the model too."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

from tests.simulation.desks import Desk
from tests.simulation.model import Book, Row

TICKERS = ("AAPL", "MSFT", "NVDA", "TSLA", "KO", "VTI")
TEXTS = ("Corner Grocery", "City Transit", "Blue Door Coffee", "Riverside Fuel", "Café Zürich", "Lamplight Books")


class Bank:
    """Logins at a bank, each through one vendor. `rows_of`: what our table has of an account right now."""

    def __init__(
        self, draw: random.Random, today: Callable[[], date],
        rows_of: Callable[[str], dict[str, Row]], say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.books: dict[str, Book] = {}
        self.owner: dict[str, str] = {}  # account → login
        self.desks: dict[str, Desk] = {}
        self.tokens: dict[str, str] = {}  # login → the access token that is valid now
        self.links_certain = True  # answers were lost whole so far: else a pending row may have been seen to vanish
        self._draw = draw
        self._today = today
        self._rows_of = rows_of
        self._say = say
        self._number = 0
        self._amounts: set[Decimal] = set()

    # -- logins ----------------------------------------------------------------------------------------------------

    def join(self, login: str, desk: Desk, *, accounts: int, rows: int) -> str:
        """A new login with accounts that have some history. Its access token."""
        self.desks[login] = desk
        token = self.tokens[login] = self._token(login)
        desk.enroll(token)
        for _ in range(accounts):
            self.open_account(login, rows=self._draw.randint(0, rows))
        if desk.invests and self._draw.random() < 0.6:
            book = self.open_account(login, rows=0, kind="investment")
            for _ in range(self._draw.randint(0, 5)):
                self.trade(book)
        return token

    def of(self, login: str) -> list[Book]:
        return [book for book in self.books.values() if self.owner[book.id] == login]

    def renew(self, login: str, *, anew: bool) -> str:
        """The user logs in again: another token, and the old one is void. `anew`: so are all ids, as at many vendors."""
        old, token = self.tokens[login], self._token(login)
        self.tokens[login] = token
        self._say(f"bank: {login} logs in again")
        if not anew:
            self.desks[login].renew(old, token, None)
            for book in self.of(login):
                book.read_anew = True
                book.remember_edge()
            return token
        ids = {book.vendor_id: f"acc_{self._next()}" for book in self.of(login)}
        rows = {row_id: f"txn_{self._next()}" for book in self.of(login) for row_id in book.rows}
        self.desks[login].renew(old, token, ids | rows)
        for book in self.of(login):
            book.read_anew = True
            book.reissue(ids[book.vendor_id], rows, self._rows_of(book.id))
            self._forget(book)
            book.unsure = {rows.get(row_id, row_id) for row_id in book.unsure}
            self._say(f"bank: {book.id} is now {book.vendor_id}, and all of its rows have new ids")
        return token

    def disconnect(self, login: str) -> None:
        self.desks[login].disconnect(self.tokens[login])
        self._say(f"bank: {login} must log in again")

    def open_account(self, login: str, *, rows: int, kind: str = "") -> Book:
        kind, account_id = kind or self._draw.choice(("depository", "credit")), f"acc_{self._next()}"
        self.desks[login].open(self.tokens[login], account_id, kind, f"{1_000 + len(self.books)}")
        book = self.books[account_id] = Book(account_id, account_id, kind, Decimal(0))
        self.owner[account_id] = login
        self._balance(book)
        for _ in range(rows):
            self._show(book, self._day(50), "posted")
        self._say(f"bank: {account_id} ({kind}) is opened with {rows} rows")
        return book

    def close_account(self, book: Book) -> None:
        """Either it is listed as closed and refuses, or it is simply no longer listed."""
        book.open, silently = False, self._draw.random() < 0.5
        self._at(book).close(self._token_of(book), book.vendor_id, silently=silently)
        self._say(f"bank: {book.id} is {'no longer listed' if silently else 'closed'}")

    # -- moves -----------------------------------------------------------------------------------------------------

    def move(self) -> None:
        """Something happens on an open account."""
        books = [book for book in self.books.values() if book.open]
        if not books:
            return
        book = self._draw.choice(books)
        moves: tuple[Callable[[Book], None], ...] = (
            self.buy, self.buy, self.authorize, self.authorize, self.post, self.post, self.drop, self.edit, self.edit,
            self.remove, self.twins, self.twins, self.rotate,
        )  # fmt: skip
        if book.kind == "investment":
            moves = (self.trade, self.trade, self.trade, self.sell_out)
        self._draw.choice(moves)(book)
        if self._draw.random() < 0.5:
            self._balance(book)

    def trade(self, book: Book) -> None:
        """More or less of something; none left where it is all sold."""
        ticker = self._draw.choice(TICKERS)
        self._hold(book, ticker, self._draw.choice((0, 1, 5, 10, 200)))

    def sell_out(self, book: Book) -> None:
        """Most of what is held, at once."""
        for instrument in list(book.positions)[1:]:
            self._hold(book, instrument.removeprefix("us:"), 0)

    def _hold(self, book: Book, ticker: str, pieces: int) -> None:
        if book.positions.get(f"us:{ticker}", 0) != pieces:
            self._at(book).hold(self._token_of(book), book, ticker, pieces)
            book.hold(f"us:{ticker}", pieces)
            self._say(f"bank: {book.id} holds {pieces} {ticker}")

    def buy(self, book: Book) -> None:
        for _ in range(self._draw.choice((1, 1, 1, 2, 6))):
            row = self._show(book, self._day(3), "posted")
            self._say(f"bank: {book.id} +{row.id} posted {row.amount} on {row.day}")

    def authorize(self, book: Book) -> None:
        row = self._show(book, self._day(1), "pending")
        self._say(f"bank: {book.id} +{row.id} pending {row.amount} on {row.day}")

    def twins(self, book: Book) -> None:
        """Two equal payments, of which both post at once under new ids: nobody can say which is which."""
        equal = [row for row in book.recent("pending") if row.text == "Twin"]
        if len(equal) < 2:
            amount, day = self._amount(), self._day(1)
            for _ in range(2):
                row = self._show(book, day, "pending", amount=amount, text="Twin")
                self._say(f"bank: {book.id} +{row.id} pending {row.amount} on {row.day}, one of two")
            return
        amount = equal[0].amount
        for row in [row for row in equal if row.amount == amount]:
            self._hide(book, row.id)
            new = self._show(book, self._today(), "posted", amount=amount, text="Twin")
            book.unsure.add(new.id)
            self._say(f"bank: {book.id} {row.id} posts as {new.id}, one of two")

    def post(self, book: Book) -> None:
        """A pending row posts: under its id or a new one, with its amount or, after a tip, another."""
        waiting = [row for row in book.recent("pending") if row.text != "Twin"]
        if not waiting:
            return
        row = self._draw.choice(waiting)
        day = min(row.day + timedelta(days=self._draw.randint(0, 3)), self._today() + timedelta(days=1))
        day = max(day, book.peak - timedelta(days=8))
        tip = self._draw.random() < 0.2
        amount = self._amount() if tip else row.amount
        if self._at(book).keeps_ids and self._draw.random() < 0.4:
            self._hide(book, row.id)
            self._show(book, day, "posted", amount=amount, text=row.text, row_id=row.id)
            self._say(f"bank: {book.id} {row.id} posts {amount} on {day}")
            return
        held = row.id in self._rows_of(book.id) and self._rows_of(book.id)[row.id].status == "pending"
        self._hide(book, row.id)
        linked = not self._at(book).keeps_ids and self._draw.random() < 0.6  # the vendor itself says what it was
        new = self._show(book, day, "posted", amount=amount, text=row.text, supersedes=row.id if linked else None)
        fits = timedelta(0) <= day - row.day <= timedelta(days=8)
        if linked or (held and not tip and fits and self.links_certain):
            book.links[new.id] = row.id
        self._say(f"bank: {book.id} {row.id} posts as {new.id} {amount} on {day}")

    def drop(self, book: Book) -> None:
        waiting = book.recent("pending")
        if waiting:
            row = self._draw.choice(waiting)
            self._hide(book, row.id)
            self._say(f"bank: {book.id} pending {row.id} vanishes")

    def edit(self, book: Book) -> None:
        recent = [row for row in book.recent("posted") if row.id not in book.links and row.id not in book.unsure]
        if not recent:
            return
        row = self._draw.choice(recent)
        match self._draw.choice(("text", "amount", "day")):
            case "text":
                new = row._replace(text=f"{row.text} ({self._next()})")
            case "amount":
                new = row._replace(amount=self._amount())
            case _:
                day = row.day + timedelta(days=self._draw.choice((-2, -1, 1, 2)))
                new = row._replace(day=min(max(day, book.peak - timedelta(days=8)), self._today() + timedelta(days=1)))
        self._hide(book, row.id)
        self._show(book, new.day, "posted", amount=new.amount, text=new.text, row_id=row.id)
        self._say(f"bank: {book.id} {row.id} is now {new.amount} on {new.day} {new.text!r}")

    def rotate(self, book: Book) -> None:
        """Where rows come as a log, some get other ids, as some institutions do."""
        recent = [row for row in book.recent("posted") if row.id not in book.unsure]
        if self._at(book).keeps_ids or not recent:
            return
        held = self._rows_of(book.id)
        some = self._draw.sample(recent, self._draw.randint(1, len(recent)))
        new_ids = {row.id: f"txn_{self._next()}" for row in some}
        for row in some:
            self._at(book).hide(self._token_of(book), book, row.id)
        for row in some:
            self._at(book).show(self._token_of(book), book, row._replace(id=new_ids[row.id]), None)
        book.reissue(book.vendor_id, {row_id: new_ids.get(row_id, row_id) for row_id in book.rows}, held)
        self._forget(book)
        self._say(f"bank: {book.id} has new ids for {', '.join(new_ids)}")

    def remove(self, book: Book) -> None:
        if recent := book.recent("posted"):
            row = self._draw.choice(recent)
            self._hide(book, row.id)
            self._say(f"bank: {book.id} -{row.id}")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _show(
        self, book: Book, day: date, status: str, *, amount: Decimal | None = None, text: str | None = None,
        row_id: str | None = None, supersedes: str | None = None,
    ) -> Row:  # fmt: skip
        row = Row(
            row_id or f"txn_{self._next()}", self._amount() if amount is None else amount, day, status,
            text or self._draw.choice(TEXTS),
        )  # fmt: skip
        self._at(book).show(self._token_of(book), book, row, supersedes)
        return book.show(row)

    def _hide(self, book: Book, row_id: str) -> Row:
        self._at(book).hide(self._token_of(book), book, row_id)
        return book.hide(row_id)

    def _forget(self, book: Book) -> None:
        """Two empty answers in a row take rows away, as they must: what comes back then is not known again."""
        if not self.links_certain:
            book.first_ids.clear()

    def _balance(self, book: Book) -> None:
        book.balance = Decimal(self._draw.randint(-100_000, 900_000)).scaleb(-2)
        self._at(book).balance(self._token_of(book), book)

    def _day(self, back: int) -> date:
        return self._today() - timedelta(days=self._draw.randint(0, back))

    def _amount(self) -> Decimal:
        """One that no other row has, so that equal rows are meant."""
        while True:
            amount = Decimal(self._draw.randint(-50_000, 20_000)).scaleb(-2)
            if amount and amount not in self._amounts:
                self._amounts.add(amount)
                return amount

    def _token(self, login: str) -> str:
        return self.desks[login].token.format(f"{login}_{self._draw.getrandbits(40):010x}")

    def _at(self, book: Book) -> Desk:
        return self.desks[self.owner[book.id]]

    def _token_of(self, book: Book) -> str:
        return self.tokens[self.owner[book.id]]

    def _next(self) -> int:
        self._number += 1
        return self._number
