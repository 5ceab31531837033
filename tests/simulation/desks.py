"""The counters at which a bank is reached: the same accounts and rows, told to a vendor's simulator in its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from fin_infra.providers.plaid import simulator as plaid
from fin_infra.providers.plaid.simulator import PlaidSimulator
from fin_infra.providers.teller import simulator as teller
from fin_infra.providers.teller.simulator import TellerSimulator
from tests.simulation.model import Book, Row


class Desk(Protocol):
    """One vendor's side of a bank. Accounts are named by their vendor's id, logins by their access token."""

    provider: str
    token: str  # what an access token looks like
    keeps_ids: bool  # a pending row may post under its id
    invests: bool  # it has brokerage accounts too
    streams: frozenset[str]

    def enroll(self, token: str) -> None: ...

    def renew(self, token: str, new_token: str, ids: Mapping[str, str] | None) -> None:
        """Another token; with `ids`, {old: new}, every account and row has another id as well."""
        ...

    def heard(self, now: datetime) -> None:
        """The vendor has just heard of the bank."""
        ...

    def disconnect(self, token: str) -> None: ...

    def disconnected(self, token: str) -> bool: ...

    def open(self, token: str, account_id: str, kind: str, mask: str) -> None: ...

    def close(self, token: str, account_id: str, *, silently: bool) -> None:
        """It is no longer listed; where the vendor has that, listed as closed unless `silently`."""
        ...

    def show(self, token: str, book: Book, row: Row, supersedes: str | None) -> None: ...

    def hide(self, token: str, book: Book, row_id: str) -> None: ...

    def balance(self, token: str, book: Book) -> None: ...

    def hold(self, token: str, book: Book, ticker: str, pieces: int) -> None: ...


class TellerDesk:
    """Amounts and balances of a card count what is owed."""

    provider = "banking:teller"
    token, keeps_ids, invests = "token_{}", True, False
    streams = frozenset({"accounts", "transactions"})

    def __init__(self, simulator: TellerSimulator) -> None:
        self._simulator = simulator

    def enroll(self, token: str) -> None:
        self._simulator.enroll(token)

    def renew(self, token: str, new_token: str, ids: Mapping[str, str] | None) -> None:
        enrollment = self._simulator.enrollments.pop(token)
        enrollment.token, enrollment.disconnected = new_token, None
        self._simulator.enrollments[new_token] = enrollment
        if ids is not None:
            for account in enrollment.accounts:
                account.id = ids[account.id]
                for row in account.transactions:
                    row.id = ids[row.id]

    def heard(self, now: datetime) -> None:
        """Teller does not say when it last heard of the bank."""

    def disconnect(self, token: str) -> None:
        self._simulator.disconnect(token)

    def disconnected(self, token: str) -> bool:
        return self._simulator.enrollments[token].disconnected is not None

    def open(self, token: str, account_id: str, kind: str, mask: str) -> None:
        subtype = "checking" if kind == "depository" else "credit_card"
        account = teller.SimAccount(account_id, kind, subtype, last_four=mask)
        self._simulator.enrollments[token].accounts.append(account)

    def close(self, token: str, account_id: str, *, silently: bool) -> None:
        account = self._simulator.account(account_id)
        if silently:
            self._simulator.enrollments[token].accounts.remove(account)
        else:
            account.status, account.refusal = "closed", (410, "account.closed")

    def show(self, token: str, book: Book, row: Row, supersedes: str | None) -> None:
        amount = row.amount if book.kind == "depository" else -row.amount
        sent = teller.SimTransaction(row.id, str(amount), row.day.isoformat(), row.text, row.status)
        self._simulator.add(book.vendor_id, sent)

    def hide(self, token: str, book: Book, row_id: str) -> None:
        self._simulator.remove(book.vendor_id, row_id)

    def balance(self, token: str, book: Book) -> None:
        account = self._simulator.account(book.vendor_id)
        account.ledger = account.available = str(book.balance if book.kind == "depository" else -book.balance)

    def hold(self, token: str, book: Book, ticker: str, pieces: int) -> None:
        raise NotImplementedError("Teller has no positions")


class PlaidDesk:
    """Amounts count what goes out, on every account; a balance of a card what is owed. Rows come as a log of changes."""

    provider = "banking:plaid"
    token, keeps_ids, invests = "access-sandbox-{}", False, True
    streams = frozenset({"accounts", "transactions", "holdings"})

    def __init__(self, simulator: PlaidSimulator) -> None:
        self._simulator = simulator

    def enroll(self, token: str) -> None:
        self._simulator.link(token)

    def renew(self, token: str, new_token: str, ids: Mapping[str, str] | None) -> None:
        old = self._simulator.items.pop(token)
        if ids is None:
            self._simulator.items[new_token] = replace(old, token=new_token, refusal=None)
            return
        accounts = [replace(account, id=ids[account.id]) for account in old.accounts]
        item = self._simulator.link(new_token, *accounts, securities=old.securities)
        item.holdings = [replace(row, account_id=ids[row.account_id]) for row in old.holdings]
        for row in old.transactions.values():
            if row.account_id in ids:
                before = row.pending_transaction_id
                item.add(replace(row, id=ids[row.id], account_id=ids[row.account_id],
                                 pending_transaction_id=before and ids.get(before, before)))  # fmt: skip

    def heard(self, now: datetime) -> None:
        for item in self._simulator.items.values():
            item.updated_at = now

    def disconnect(self, token: str) -> None:
        self._simulator.items[token].refusal = "ITEM_LOGIN_REQUIRED"

    def disconnected(self, token: str) -> bool:
        return self._simulator.items[token].refusal is not None

    def open(self, token: str, account_id: str, kind: str, mask: str) -> None:
        subtype = {"depository": "checking", "credit": "credit card", "investment": "brokerage"}[kind]
        self._simulator.items[token].accounts.append(plaid.SimAccount(account_id, kind, subtype, mask=mask))

    def close(self, token: str, account_id: str, *, silently: bool) -> None:
        item = self._simulator.items[token]
        item.accounts.remove(item.account(account_id))
        item.holdings = [row for row in item.holdings if row.account_id != account_id]
        item.remove(*[row.id for row in item.transactions.values() if row.account_id == account_id])

    def show(self, token: str, book: Book, row: Row, supersedes: str | None) -> None:
        sent = plaid.SimTransaction(
            row.id, book.vendor_id, str(-row.amount), row.day.isoformat(), row.text, row.status == "pending", supersedes
        )  # fmt: skip
        self._simulator.items[token].add(sent)

    def hide(self, token: str, book: Book, row_id: str) -> None:
        self._simulator.items[token].remove(row_id)

    def balance(self, token: str, book: Book) -> None:
        account = self._simulator.items[token].account(book.vendor_id)
        account.current = str(-book.balance if book.kind == "credit" else book.balance)

    def hold(self, token: str, book: Book, ticker: str, pieces: int) -> None:
        item = self._simulator.items[token]
        if all(security.ticker != ticker for security in item.securities):
            item.securities.append(plaid.SimSecurity(f"sec_{ticker}", ticker, close="10"))
        mine = (book.vendor_id, f"sec_{ticker}")
        item.holdings = [row for row in item.holdings if (row.account_id, row.security_id) != mine]
        if pieces:
            item.holdings.append(plaid.SimHolding(*mine, str(pieces), "10"))
