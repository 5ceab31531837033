"""MX's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Built
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.mx import wire
from fin_infra.providers.mx.wire import Row, text

Columns = dict[str, Sequence[str | None]]
Pages = Sequence[tuple[wire.Listed, datetime]]
KINDS: Mapping[str, str] = {
    "CHECKING": "depository", "SAVINGS": "depository", "CASH": "depository", "PREPAID": "depository",
    "CREDIT_CARD": "credit", "LINE_OF_CREDIT": "credit", "CHECKING_LINE_OF_CREDIT": "credit",
    "LOAN": "loan", "MORTGAGE": "loan", "INVESTMENT": "investment", "INSURANCE": "other", "PROPERTY": "other",
}  # fmt: skip
STATES = {"PENDING": "pending", "POSTED": "posted", None: "posted"}
NOT_HELD = frozenset({"CASH", "MONEY_MARKET"})
"""Types of holdings that the balance's cash has already."""
TRADED = re.compile(r"[A-Z]{1,5}(\.[A-Z])?")


def kind_of(row: Row) -> str:
    """What decides the sign of an account's balance; of one that we do not know, no kind at all."""
    said = text(row, "type")
    return KINDS.get(said or "", f"unknown: {said}")


def known_at(row: Row, members: Mapping[str, Row]) -> datetime | None:
    """When MX last got an account's data from its institution."""
    return wire.moment(text(members.get(text(row, "member_guid") or "", {}), "successfully_aggregated_at"))


def accounts(pages: Pages, ask: Ask, _: Account | None = None) -> Built:
    """One row per account. One whose type we do not know is a reject: its signs would be a guess.

    Source: https://docs.mx.com/api-reference/platform-api/reference/accounts
    """
    found = [(row, page.members) for page, _ in pages for row in page.rows]
    rows = [row for row, _ in found]
    columns: Columns = {
        "account_id": [text(row, "guid") for row in rows],
        "institution": [
            text(members.get(text(row, "member_guid") or "", {}), "name") or text(row, "institution_code")
            for row, members in found
        ],
        "name": [text(row, "nickname") or text(row, "name") for row in rows],
        "mask": [_mask(text(row, "account_number")) for row in rows],
        "kind": [kind_of(row) for row in rows],
        "subkind": [(text(row, "subtype") or text(row, "type") or "").lower() for row in rows],
        "currency": [text(row, "currency_code") for row in rows],
        "status": ["closed" if row.get("is_closed") is True else "open" for row in rows],
    }
    return Accounts.build(columns, ask.columns(pages[-1][1]) if pages else {})


def balances(pages: Pages, ask: Ask, account: Account | None) -> Built:
    """What the list of accounts says each is worth. MX states what is owed as positive; ours is negative.

    Source: https://docs.mx.com/api-reference/platform-api/reference/accounts
    """
    found = [(row, at, page.members) for page, at in pages for row in page.rows]
    rows = [row for row, _, _ in found]
    kinds = [kind_of(row) for row in rows]
    columns: Columns = {
        "account_id": [account.account_id if account else text(row, "guid") for row in rows],
        "currency": [text(row, "currency_code") for row in rows],
        "current": [
            _worth(text(row, "balance"), kind) for row, kind in zip(rows, kinds, strict=True)
        ],
        "cash": [
            text(row, "cash_balance") if kind == "investment" else None for row, kind in zip(rows, kinds, strict=True)
        ],
        "available": [
            text(row, "available_credit") if kind == "credit"
            else text(row, "available_balance") if kind == "depository" else None
            for row, kind in zip(rows, kinds, strict=True)
        ],
        "credit_limit": [
            text(row, "credit_limit") if kind == "credit" else None for row, kind in zip(rows, kinds, strict=True)
        ],
        "as_of": [(known_at(row, members) or at).isoformat() for row, at, members in found],
    }  # fmt: skip
    return Balances.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def transactions(pages: Pages, ask: Ask, account: Account | None) -> Built:
    """Transactions in the order of the answers; of one guid that came twice the later answer wins.

    Amounts are positive, and `type` says which way: DEBIT goes out. A row without it is a reject, never a guess.
    `date` is what MX goes by; a stamp of noon UTC says a day, and no time. No status means posted.
    Source: https://docs.mx.com/api-reference/platform-api/reference/transactions
    """
    rows = list({row.get("guid") or n: row for n, row in enumerate(row for page, _ in pages for row in page.rows)}
                .values())  # fmt: skip
    columns: Columns = {
        "account_id": [_own(row, account) for row in rows],
        "transaction_id": [text(row, "guid") for row in rows],
        "status": [_state(row) for row in rows],
        "amount": [signed_amount(row) for row in rows],
        "currency": [text(row, "currency_code") or (account.currency if account else None) for row in rows],
        "booked_on": [text(row, "date") or _day(text(row, "posted_at")) for row in rows],
        "authorized_on": [_day(text(row, "transacted_at")) for row in rows],
        "occurred_at": [_time(text(row, "transacted_at")) for row in rows],
        "description": [text(row, "original_description") or text(row, "description") for row in rows],
        "merchant": [_merchant(row) for row in rows],
        "category": [text(row, "category") for row in rows],
        "type": [text(row, "type") for row in rows],
    }
    return Transactions.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def holdings(pages: Pages, ask: Ask, account: Account | None) -> Built:
    """Positions in the order of the answer; those of an account in one instrument are one row: their sum.

    Cash is left out, the balance has it. `cost_basis` is the position's total already.
    Source: https://docs.mx.com/api-reference/platform-api/reference/investment-holdings
    """
    found: dict[tuple[str | None, ...], list[dict[str, str | None]]] = {}
    for page, at in pages:
        for row in page.rows:
            if (text(row, "holding_type") or "").upper() not in NOT_HELD:
                one = _position(row, account, at)
                key = (one["account_id"], one["instrument"] or f"none {len(found)}", one["currency"])
                found.setdefault(key, []).append(one)
    rows = [_sum_of(group) for group in found.values()]
    columns: Columns = {name: [row[name] for row in rows] for name in POSITION}
    return Holdings.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


POSITION = (
    "account_id", "instrument", "as_of", "quantity", "multiplier", "price", "market_value", "cost_basis", "currency",
)  # fmt: skip


def _position(row: Row, account: Account | None, at: datetime) -> dict[str, str | None]:
    quantity, price, value = (
        text(row, "quantity") or text(row, "shares"), text(row, "current_price"), text(row, "market_value"),
    )  # fmt: skip
    return {
        "account_id": _own(row, account), "instrument": instrument_of(row), "as_of": at.isoformat(),
        "quantity": quantity, "multiplier": "100" if _is_option(row) else "1", "price": price, "market_value": value,
        "cost_basis": text(row, "cost_basis"),
        "currency": text(row, "currency_code") or (account.currency if account else None),
    }  # fmt: skip


def instrument_of(row: Row) -> str | None:
    """The US listing of a plain symbol in dollars; MX names no exchange, so all else is its own: `mx:HOL-…`."""
    symbol = text(row, "symbol")
    if symbol and TRADED.fullmatch(symbol) and text(row, "currency_code") == "USD" and not _is_option(row):
        return f"us:{symbol}"
    guid = text(row, "guid")
    return f"mx:{guid}" if guid else None


def _is_option(row: Row) -> bool:
    return text(row, "put_or_call") is not None or (text(row, "holding_type") or "").upper() == "OPTION"


def _sum_of(group: Sequence[dict[str, str | None]]) -> dict[str, str | None]:
    summed = dict(group[-1])
    if len(group) > 1:
        for name in ("quantity", "market_value", "cost_basis"):
            summed[name] = _total([one[name] for one in group])
    return summed


def _total(parts: Sequence[str | None]) -> str | None:
    """The sum, or the first part that is no number, which the row is then refused for; null where one is."""
    total = Decimal(0)
    for part in parts:
        if part is None:
            return None
        try:
            total += Decimal(part)
        except InvalidOperation:
            return part
    return format(total, "f")


def signed_amount(row: Row) -> str | None:
    """The amount from the holder's point of view; None where MX's own rule, positive and a type, does not hold."""
    amount, way = text(row, "amount"), row.get("type")
    if amount is None or amount.lstrip().startswith("-") or way not in ("CREDIT", "DEBIT"):
        return None
    return amount if way == "CREDIT" else negated(amount)


def negated(amount: str | None) -> str | None:
    """The amount with the other sign, still as text."""
    if amount is None:
        return None
    return amount[1:] if amount.startswith("-") else f"-{amount}"


def _worth(balance: str | None, kind: str) -> str | None:
    return negated(balance) if kind in ("credit", "loan") else balance


def _own(row: Row, account: Account | None) -> str | None:
    """Our id of the account the row is of; None, a reject, where it is of another than was asked about."""
    said = text(row, "account_guid")
    if account is None:
        return said
    return account.account_id if said in (None, account.vendor_id) else None


def _state(row: Row) -> str:
    said = text(row, "status")
    return STATES.get(said, f"unknown: {said}")


def _merchant(row: Row) -> str | None:
    merchant = row.get("merchant")
    return text(merchant, "name") if isinstance(merchant, dict) else None


def _day(stamp: str | None) -> str | None:
    return stamp[:10] if stamp else None


def _time(stamp: str | None) -> str | None:
    """A real time: noon and midnight only stand for the day."""
    at = wire.moment(stamp)
    return None if at is None or (at.hour in (0, 12) and at.minute == at.second == 0) else at.isoformat()


def _mask(number: str | None) -> str | None:
    digits = re.sub(r"[^0-9A-Za-z]", "", number or "")[-4:]
    return digits if len(digits) > 1 else None
