"""SimpleFIN's answers → normalized rows. Pure: no clock, no network, no environment.

Amounts are signed from the holder's point of view already: what is owed on a card or a loan is negative.
Source: https://www.simplefin.org/protocol.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Context, Decimal, DecimalException

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Built
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.simplefin.complaints import complaints
from fin_infra.providers.simplefin.symbols import is_cash, key_of
from fin_infra.providers.simplefin.wire import AccountSet, Row, SfinAccount, moment, text

Columns = dict[str, Sequence[str | None]]
Pages = Sequence[tuple[AccountSet, datetime]]
NAMES = (
    (r"401 ?\(?k\)?|403 ?\(?b\)?|\b(roth|ira|brokerage|investments?|529|hsa)\b", "investment"),
    (r"\b(mortgage|loan|heloc)\b", "loan"),
    (r"\b(credit card|visa|mastercard|amex|american express|card)\b", "credit"),
    (r"\b(checking|savings|money market)\b", "depository"),
)
"""What an account's name says of its kind. No sign depends on it."""


def kind_of(row: SfinAccount) -> str:
    """SimpleFIN states no kind: one with holdings is for investment, else its name may tell; `other` where neither."""
    if row.holdings:
        return "investment"
    name = re.sub(r"[^a-z0-9() ]", " ", (row.name or "").lower())
    return next((kind for words, kind in NAMES if re.search(words, name)), "other")


def currency(said: str) -> str | None:
    """The code; null of a custom currency, which is an address that is not asked: it could lead anywhere."""
    code = said.strip().upper()
    return code if re.fullmatch(r"[A-Z0-9]{3,12}", code) else None


def accounts(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """One row per account that the server lists, open: it says nothing of closed ones.

    A login that failed and of which no account is listed is a row that cannot be used, without an id: it may be any
    account that is missing, so none is taken for closed.
    """
    rows = [(page, row) for page, _ in pages for row in page.accounts]
    unlisted = [None for page, _ in pages if complaints(page).unlisted]
    columns: Columns = {
        "account_id": [page.known_as(row) for page, row in rows],
        "institution": [page.institution_of(row) for page, row in rows],
        "name": [row.name for _, row in rows],
        "kind": [kind_of(row) for _, row in rows],
        "currency": [currency(row.currency) for _, row in rows],
        "status": ["open" for _ in rows],
    }
    columns = {name: [*cells, *unlisted] for name, cells in columns.items()}
    return Accounts.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def balances(pages: Pages, ask: Ask, account: Account | None) -> Built:
    """What each account holds, as of the day that the answer states. None of one in a custom currency: no code of a
    currency says what it would be counted in."""
    rows = [
        (ours, row, moment(row.balance_date) or at)
        for ours, _, row, at in _rows(pages, ask, account)
        if currency(row.currency) is not None
    ]
    columns: Columns = {
        "account_id": [ours for ours, _, _ in rows],
        "currency": [currency(row.currency) for _, row, _ in rows],
        "current": [row.balance for _, row, _ in rows],
        "available": [row.available for _, row, _ in rows],
        "as_of": [as_of.isoformat() for _, _, as_of in rows],
    }
    return Balances.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def transactions(pages: Pages, ask: Ask, account: Account | None) -> Built:
    """Transactions from the account's own begin on, in the order of the answers.

    `booked_on` is the day (UTC) on which it posted; of a pending row, which has none, when it was transacted. An answer
    may be about more days than this account needs: what is older is not looked at.
    """
    since = ask.since.get(account.vendor_id) if account is not None else None
    begin = since.isoformat() if since is not None else ""
    rows = [
        (ours, listed, row)
        for ours, _, listed, _ in _rows(pages, ask, account)
        for row in listed.transactions
        if (_booked(row) or "9") >= begin
    ]
    columns: Columns = {
        "account_id": [ours for ours, _, _ in rows],
        "transaction_id": [text(row, "id") for _, _, row in rows],
        "status": ["pending" if _is_pending(row) else "posted" for _, _, row in rows],
        "amount": [text(row, "amount") for _, _, row in rows],
        "currency": [currency(listed.currency) for _, listed, _ in rows],
        "booked_on": [_booked(row) for _, _, row in rows],
        "authorized_on": [_day(row, "transacted_at") for _, _, row in rows],
        "description": [text(row, "description") for _, _, row in rows],
        "merchant": [text(row, "payee") for _, _, row in rows],
    }
    return Transactions.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def holdings(pages: Pages, ask: Ask, account: Account | None) -> Built:
    """Positions; those of one account in one instrument are one row, their sum. Plain cash is left out.

    `market_value` is the institution's; there is no price of now. `cost_basis` is a total: see `basis_of`.
    """
    merged: dict[tuple[str, str | None, str | None], list[dict[str, str | None]]] = {}
    for ours, _, listed, at in _rows(pages, ask, account):
        as_of = (moment(listed.balance_date) or at).isoformat()
        for row in listed.holdings:
            code = currency(text(row, "currency") or listed.currency)
            if is_cash(row, code):
                continue
            found = _position(row, ours, code, as_of)
            own = found["instrument"] or f"none {len(merged)}"
            merged.setdefault((ours, own, code), []).append(found)
    rows = [_sum_of(positions) for positions in merged.values()]
    columns: Columns = {name: [row[name] for row in rows] for name in POSITION}
    return Holdings.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


POSITION = ("account_id", "instrument", "as_of", "quantity", "multiplier", "market_value", "cost_basis", "currency")


def basis_of(basis: str | None, shares: str | None, price: str | None, value: str | None) -> str | None:
    """The total basis, of a figure that some institutions state for all shares and others for one; null if unknown.

    Zero means unknown. The purchase price tells which of both it is; without one, a figure that is far off the value
    as a total and near it per share may be either, so it is not known.
    """
    total, units, each, worth = (_number(said) for said in (basis, shares, price, value))
    if not total or total < 0:
        return basis if total else None
    if units and each:
        bought = EXACT.abs(units * each)
        if _near(total, bought):
            return basis
        if _near(total, each):
            return format(EXACT.abs(EXACT.multiply(total, units)), "f")
        return None
    if units and worth:
        as_total, per_share = abs(total / worth), abs(total * units / worth)
        if not FAR[0] < as_total < FAR[1] and NEAR[0] < per_share < NEAR[1]:
            return None
    return basis


FAR = (Decimal("0.1"), Decimal(10))
NEAR = (Decimal("0.33"), Decimal(3))
EXACT = Context(prec=76)


def _near(one: Decimal, other: Decimal) -> bool:
    """Equal but for rounding: a purchase price has fewer digits than the sum it comes from."""
    return abs(one - other) <= max(abs(other) / 50, Decimal("0.01"))


def _rows(pages: Pages, ask: Ask, account: Account | None) -> Iterator[tuple[str, AccountSet, SfinAccount, datetime]]:
    """The accounts of the answers that are asked for, each under our id."""
    for page, at in pages:
        for row in page.accounts:
            own = page.known_as(row)
            if account is None or ask.any_account:
                yield own, page, row, at
            elif own == account.vendor_id:
                yield account.account_id, page, row, at


def _is_pending(row: Row) -> bool:
    return row.get("pending") is True or moment(row.get("posted")) is None


def _booked(row: Row) -> str | None:
    return _day(row, "posted") or _day(row, "transacted_at")


def _day(row: Row, name: str) -> str | None:
    found = moment(row.get(name))
    return found.date().isoformat() if found else None


def _position(row: Row, ours: str, code: str | None, as_of: str) -> dict[str, str | None]:
    key, shares, value = key_of(row, code), text(row, "shares"), text(row, "market_value")
    return {
        "account_id": ours, "instrument": key, "as_of": as_of, "quantity": shares, "market_value": value,
        "multiplier": "100" if (key or "").startswith("opt:") else "1", "currency": code,
        "cost_basis": basis_of(text(row, "cost_basis"), shares, text(row, "purchase_price"), value),
    }  # fmt: skip


def _sum_of(positions: Sequence[dict[str, str | None]]) -> dict[str, str | None]:
    first = positions[0]
    if len(positions) == 1:
        return first
    sums = {name: _sum([one[name] for one in positions]) for name in ("quantity", "market_value", "cost_basis")}
    return {**first, **sums}


def _sum(amounts: Sequence[str | None]) -> str | None:
    total = Decimal(0)
    for amount in amounts:
        if (number := _number(amount)) is None:
            return None
        total = EXACT.add(total, number)
    return format(total, "f")


def _number(amount: str | None) -> Decimal | None:
    try:
        number = Decimal(amount or "")
    except DecimalException:
        return None
    return number if number.is_finite() and -60 < number.adjusted() < 60 else None
