"""Plaid's pages → normalized rows. Pure: no clock, no network, no environment.

Plaid counts money that goes out as positive, in transactions of every kind of account and in investment transactions
alike; what is owed on a card or a loan is a positive balance. Ours is the holder's point of view in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal, DecimalException
from typing import Any

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Built
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.plaid import wire
from fin_infra.providers.plaid.symbols import cash_of, is_option, key_of, text

Columns = dict[str, Sequence[str | None]]
KINDS = ("depository", "credit", "loan", "investment", "other")
OWED = ("credit", "loan")
MINOR = {"GBX": "GBP", "GBp": "GBP", "GBPENCE": "GBP", "ILA": "ILS", "ZAC": "ZAR", "ZAc": "ZAR"}
"""Codes of a hundredth of a currency, as institutions write them."""
EXACT = Context(prec=80)
CLASSES = {
    "equity": "equity", "etf": "etf", "mutual fund": "fund", "fixed income": "bond", "cryptocurrency": "crypto",
    "cash": "cash",
}  # fmt: skip


def accounts(pages: Sequence[tuple[wire.Accounts, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """One row per account. One of a kind we do not know the signs of is a reject, never a guess.

    Source: https://plaid.com/docs/api/accounts
    """
    rows = [(account, page.item) for page, _ in pages for account in page.accounts]
    columns: Columns = {
        "account_id": [row.account_id for row, _ in rows],
        "institution": [item.institution_name if item else None for _, item in rows],
        "name": [row.name or row.official_name for row, _ in rows],
        "mask": [row.mask[-4:] if row.mask and len(row.mask) > 1 else None for row, _ in rows],
        "kind": [row.kind if row.kind in KINDS else f"unknown: {row.type}" for row, _ in rows],
        "subkind": [row.subtype.replace(" ", "_") if row.subtype else None for row, _ in rows],
        "currency": [currency(row.currency) for row, _ in rows],
    }
    return Accounts.build(columns, ask.columns(pages[-1][1], status="open") if pages else {})


def persistent(page: wire.Accounts) -> dict[str, str]:
    """Ids that outlive a re-link, where the institution gives them."""
    return {row.account_id: row.persistent_account_id for row in page.accounts if row.persistent_account_id}


def login(page: wire.Accounts) -> str | None:
    """The Item, by which webhooks name the login."""
    return page.item.item_id if page.item else None


def balances(
    pages: Sequence[tuple[wire.Accounts | wire.Holdings, datetime]], ask: Ask, account: Account | None
) -> Built:
    """What accounts hold: of one account when it is given, else of all.

    `cash` is the sum of an investment account's positions in plain cash; where some are in another currency, that
    currency has a row of its own. Null where the answer has no positions. `as_of` is when Plaid last heard of the
    account from its institution. Source: https://plaid.com/docs/api/accounts
    """
    rows: list[dict[str, str | None]] = []
    for page, at in pages:
        held = _cash(page) if isinstance(page, wire.Holdings) else {}
        for row in page.accounts:
            if _ours(row.account_id, ask, account) is None:
                continue
            if isinstance(page, wire.Holdings) and row.kind != "investment":
                continue
            as_of = page.as_of if isinstance(page, wire.Holdings) else page.as_of.get(row.kind)
            rows += _balances(row, held.get(row.account_id, {}), _ours(row.account_id, ask, account), as_of or at)
    columns: Columns = {name: [row.get(name) for row in rows] for name in BALANCE_COLUMNS}
    return Balances.build(columns, ask.columns(pages[-1][1]) if pages else {})


BALANCE_COLUMNS = ("account_id", "currency", "current", "cash", "available", "credit_limit", "as_of")


def transactions(pages: Sequence[tuple[wire.Transactions, datetime]], ask: Ask, account: Account | None) -> Built:
    """Added and modified transactions, in the order of the answer; of rows with one id within a page the later one.

    `occurred_at` only where the institution gives a time of day: midnight is none.
    Source: https://plaid.com/docs/api/products/transactions
    """
    rows = [row for page, _ in pages for row in (*page.added, *page.modified)]
    rows = [row for row in rows if account is None or text(row, "account_id") == account.vendor_id]
    rows = list({_id_of(row) or n: row for n, row in enumerate(rows)}.values())
    categories = [row.get("personal_finance_category") for row in rows]
    columns: Columns = {
        "account_id": _texts(rows, "account_id"),
        "transaction_id": _texts(rows, "transaction_id"),
        "status": [_status(row) for row in rows],
        "amount": [_major(row, negated(text(row, "amount"))) for row in rows],
        "currency": [_currency_of(row) for row in rows],
        "booked_on": _texts(rows, "date"),
        "authorized_on": _texts(rows, "authorized_date"),
        "occurred_at": [_time_of(row, "authorized_datetime") or _time_of(row, "datetime") for row in rows],
        "description": [text(row, "name") or text(row, "original_description") for row in rows],
        "merchant": _texts(rows, "merchant_name"),
        "category": [
            text(found, "detailed") or text(found, "primary") if isinstance(found, dict) else _older(row)
            for row, found in zip(rows, categories, strict=True)
        ],
        "type": [text(row, "transaction_code") or text(row, "payment_channel") or text(row, "transaction_type")
                 for row in rows],
        "pending_transaction_id": _texts(rows, "pending_transaction_id"),
    }  # fmt: skip
    return Transactions.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def _id_of(row: wire.Row) -> tuple[str | None, str] | None:
    """Account and id: ids are scoped to the account, and a blank one is none."""
    own = (text(row, "transaction_id") or "").strip()
    return (text(row, "account_id"), own) if own else None


def _status(row: wire.Row) -> str | None:
    pending = row.get("pending")
    return "pending" if pending is True else "posted" if pending is False else None


def removed(page: wire.Transactions) -> Sequence[str]:
    """Ids that the page takes back."""
    return page.removed


def holdings(pages: Sequence[tuple[wire.Holdings, datetime]], ask: Ask, account: Account | None) -> Built:
    """Positions of one account, or of all where none is given, in the order of the answer; plain cash is left out.

    Positions of an account in one instrument are one row: their sum. A short position has negative quantity, value and
    basis. An option is counted in contracts. `cost_basis` is the position's total; null where the vendor's figure is
    zero, or can only be meant per unit. Source: https://plaid.com/docs/api/products/investments
    """
    found: dict[tuple[str | None, str | None, str | None], list[Position]] = {}
    for page, at in pages:
        for row in page.holdings:
            ours = _ours(text(row, "account_id"), ask, account)
            security = page.securities.get(text(row, "security_id") or "", {"security_id": row.get("security_id")})
            if ours is not None and cash_of(security) is None:
                position = _position(row, security, ours, page.as_of or at)
                key = (position["account_id"], position["instrument"] or f"none {len(found)}", position["currency"])
                found.setdefault(key, []).append(position)
    rows = [_merged(positions) for positions in found.values()]
    columns: Columns = {name: [row[name] for row in rows] for name in POSITION_COLUMNS}
    return Holdings.build(columns, ask.columns(pages[-1][1]) if pages else {})


Position = dict[str, str | None]
POSITION_COLUMNS = (
    "account_id", "instrument", "as_of", "quantity", "multiplier", "price", "market_value", "cost_basis", "currency",
)  # fmt: skip


def instruments(
    pages: Sequence[tuple[wire.Holdings | wire.Activities, datetime]], ask: Ask, _: Account | None = None
) -> Built:
    """What the securities are. One that is quoted in a hundredth of its currency has `quote_unit` minor.

    Source: https://plaid.com/docs/api/products/investments
    """
    listed = [security for page, _ in pages for security in page.securities.values()]
    rows = list({key: row for row in listed if (key := key_of(row)) is not None}.items())
    columns: Columns = {
        "instrument": [key for key, _ in rows],
        "name": [text(row, "name") for _, row in rows],
        "kind": [_class_of(key, row) for key, row in rows],
        "mic": [_mic_of(key, row) for key, row in rows],
        "currency": [_currency_of(row) for _, row in rows],
        "quote_unit": ["minor" if _is_minor(row) else "major" for _, row in rows],
        "isin": [_matching(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", text(row, "isin")) for _, row in rows],
        "cusip": [_matching(r"[A-Z0-9*@#]{9}", text(row, "cusip")) for _, row in rows],
    }
    return Instruments.build(columns, ask.columns(pages[-1][1]) if pages else {})


def activities(pages: Sequence[tuple[wire.Activities, datetime]], ask: Ask, account: Account | None) -> Built:
    """Investment transactions of one account, or of all where none is given, in the order of the answers.

    `quantity` is null where only cash moved: Plaid repeats the amount there. `traded_on` is Plaid's `date`, the posting
    date; `recorded_at` the begin of that day, by which Plaid cuts its windows.
    Source: https://plaid.com/docs/api/products/investments
    """
    rows = [
        (ours, row, page.securities.get(text(row, "security_id") or ""))
        for page, _ in pages
        for row in page.rows
        if (ours := _ours(text(row, "account_id"), ask, account)) is not None
    ]
    keys = [_traded(row, security) for _, row, security in rows]
    columns: Columns = {
        "account_id": [ours for ours, _, _ in rows],
        "activity_id": [text(row, "investment_transaction_id") for _, row, _ in rows],
        "kind": [kind_of(row, security) for _, row, security in rows],
        "instrument": keys,
        "quantity": [_moved(row, key) for (_, row, _), key in zip(rows, keys, strict=True)],
        "price": [
            _major(row, text(row, "price")) if key and not _is_zero(text(row, "price")) else None
            for (_, row, _), key in zip(rows, keys, strict=True)
        ],
        "fees": [_major(row, text(row, "fees")) for _, row, _ in rows],
        "amount": [_major(row, negated(text(row, "amount"))) for _, row, _ in rows],
        "currency": [_currency_of(row) for _, row, _ in rows],
        "traded_on": [text(row, "date") for _, row, _ in rows],
        "recorded_at": [_begin_of(text(row, "date")) for _, row, _ in rows],
    }
    return Activities.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


# -- balances ------------------------------------------------------------------------------------------------------


def _ours(vendor_id: str | None, ask: Ask, account: Account | None) -> str | None:
    """The id under which an account's rows are built; None where they are not asked for."""
    if account is None or ask.any_account:
        return vendor_id or ""
    return account.account_id if vendor_id == account.vendor_id else None


def _cash(page: wire.Holdings) -> dict[str, dict[str, str | None]]:
    """Plain cash by account and currency; null for a sum that cannot be told."""
    parts: dict[str, dict[str, list[str | None]]] = {}
    for row in page.holdings:
        security = page.securities.get(text(row, "security_id") or "", {})
        code = cash_of(security)
        if code is None:
            continue
        own = _currency_of(row)
        foreign = bool(code) and code != own
        amount = text(row, "quantity") if foreign else _major(row, text(row, "institution_value"))
        of = parts.setdefault(text(row, "account_id") or "", {})
        of.setdefault((code if foreign else own) or "", []).append(amount)
    return {account: {code: _sum(found) for code, found in of.items()} for account, of in parts.items()}


def _balances(
    row: wire.PlaidAccount, cash: Mapping[str, str | None], ours: str | None, as_of: datetime
) -> Iterable[dict[str, str | None]]:
    code = currency(row.currency)
    owed = row.kind in OWED
    stated = row.balances.last_updated_datetime
    said = {"iso_currency_code": row.balances.iso_currency_code,
            "unofficial_currency_code": row.balances.unofficial_currency_code}  # fmt: skip
    yield {
        "account_id": ours, "currency": code, "cash": cash.get(code or ""), "as_of": stated or as_of.isoformat(),
        "current": _major(said, negated(row.balances.current) if owed else row.balances.current),
        "available": _major(said, row.balances.available), "credit_limit": _major(said, row.balances.limit),
    }  # fmt: skip
    for other, amount in cash.items():
        if other != code:
            yield {"account_id": ours, "currency": other, "cash": amount, "as_of": as_of.isoformat()}


# -- holdings ------------------------------------------------------------------------------------------------------


def _position(row: wire.Row, security: wire.Row, ours: str, as_of: datetime) -> Position:
    key = key_of(security)
    option = is_option(key)
    units = text(row, "quantity")
    price = _major(row, text(row, "institution_price"))
    return {
        "account_id": ours, "instrument": key, "as_of": as_of.isoformat(),
        "quantity": _hundredth(units) if option else units, "multiplier": "100" if option else "1",
        "price": price, "currency": _currency_of(row),
        "market_value": _signed_like(units, _major(row, text(row, "institution_value"))),
        "cost_basis": _basis(_major(row, text(row, "cost_basis")), units, price),
    }  # fmt: skip


def _merged(positions: Sequence[Position]) -> Position:
    """One row of several positions in one instrument: an institution lists lots, or vested and other shares, apart."""
    first = positions[0]
    if len(positions) == 1:
        return first
    sums = {name: _sum([position[name] for position in positions])
            for name in ("quantity", "market_value", "cost_basis")}  # fmt: skip
    prices = {position["price"] for position in positions}
    return {**first, **sums, "price": first["price"] if len(prices) == 1 else None}


def _basis(basis: str | None, quantity: str | None, price: str | None) -> str | None:
    """The total basis; null where it is not known.

    Zero is how institutions say that they do not know. Plaid's figure is a total, but some institutions give it per
    unit: one that is far off the price as a total and near it per unit may be either, so it is not known.
    """
    total, units, each = _number(basis), _number(quantity), _number(price)
    if total is None or total == 0:
        return None
    if units and each:
        as_total, per_unit = abs(total / units / each), abs(total / each)
        if not FAR[0] < as_total < FAR[1] and NEAR[0] < per_unit < NEAR[1]:
            return None
    return _signed_like(quantity, basis)


FAR = (Decimal("0.1"), Decimal(10))
NEAR = (Decimal("0.33"), Decimal(3))


def _class_of(key: str, security: wire.Row) -> str:
    if is_option(key):
        return "option"
    if key.startswith("crypto:"):
        return "crypto"
    return CLASSES.get(text(security, "type") or "", "other")


def _mic_of(key: str, security: wire.Row) -> str | None:
    """The venue of what is listed: a coin's or an option's is no listing."""
    mic = _matching(r"[A-Z0-9]{4}", text(security, "market_identifier_code"))
    return None if is_option(key) or key.startswith("crypto:") else mic


# -- activities ----------------------------------------------------------------------------------------------------

BY_SUBTYPE = {
    "dividend": "dividend", "qualified dividend": "dividend", "non-qualified dividend": "dividend",
    "long-term capital gain": "dividend", "short-term capital gain": "dividend", "unqualified gain": "dividend",
    "interest": "interest", "interest receivable": "interest", "margin expense": "interest",
    "account fee": "fee", "fund fee": "fee", "legal fee": "fee", "management fee": "fee", "miscellaneous fee": "fee",
    "transfer fee": "fee", "trust fee": "fee",
    "tax": "tax", "tax withheld": "tax", "non-resident tax": "tax",
    "split": "split",
}  # fmt: skip
CASH_MOVES = ("contribution", "deposit", "distribution", "withdrawal")
MOVES = ("transfer", "send", "request")


def kind_of(row: wire.Row, security: wire.Row | None) -> str:
    """What happened, by Plaid's type and subtype. A type we do not know makes the row a reject.

    A contribution or distribution that bought or sold nothing is a deposit or withdrawal, by the way the cash went. A
    merger, spin-off, exercise, assignment or expiry is `other`: its quantity says what it did to the position.
    """
    kind, subtype = text(row, "type") or "", text(row, "subtype") or ""
    if kind not in ("buy", "sell", "cancel", "cash", "fee", "transfer"):
        return f"unknown: {kind}"
    about_cash = security is None or cash_of(security) is not None
    if kind in ("buy", "sell") and not about_cash:
        return kind
    if kind == "cancel":
        return "other"
    if subtype in CASH_MOVES:
        return _by_way(row, "deposit", "withdrawal")
    if subtype in MOVES:
        return _by_way(row, "transfer_in", "transfer_out")
    if kind in ("buy", "sell") and subtype not in BY_SUBTYPE:
        return "other"  # cash that was swept into cash
    return BY_SUBTYPE.get(subtype, "fee" if kind == "fee" and not subtype else "other")


def _by_way(row: wire.Row, incoming: str, outgoing: str) -> str:
    """By cash: positive goes out. Where none moved, by the position."""
    cash, units = _number(text(row, "amount")), _number(text(row, "quantity"))
    if text(row, "type") == "transfer" and units:
        return incoming if units > 0 else outgoing
    return incoming if (cash or 0) < 0 else outgoing


def _traded(row: wire.Row, security: wire.Row | None) -> str | None:
    """The key of what it is about; what the answer does not describe keeps Plaid's id."""
    own = (text(row, "security_id") or "").strip()
    if security is None:
        return f"plaid:{own}" if own else None
    return key_of(security)


def _moved(row: wire.Row, key: str | None) -> str | None:
    """Change of the position, in contracts where it is an option."""
    kind, units = text(row, "type"), text(row, "quantity")
    if key is None or units is None or kind in ("cash", "fee") or _is_zero(units):
        return None
    if kind == "buy":
        units = units.removeprefix("-")
    elif kind == "sell":
        units = negated(units.removeprefix("-"))
    return _hundredth(units) if is_option(key) and _counts_units(row) else units


def _counts_units(row: wire.Row) -> bool:
    """Whether an option's quantity is contracts times 100, as it is in holdings; the price decides, if there is one."""
    price, units, cash = (_number(text(row, name)) for name in ("price", "quantity", "amount"))
    fees = _number(text(row, "fees")) or Decimal(0)
    if price and units and cash:
        paid = abs(cash)
        apart = [min(abs(paid - abs(price * units) * size + sign * fees) for sign in (-1, 0, 1)) for size in (1, 100)]
        return apart[0] <= apart[1]
    return units is not None and units % 100 == 0


# -- one value -----------------------------------------------------------------------------------------------------


def negated(amount: str | None) -> str | None:
    """The amount with its sign turned; zero has none."""
    if amount is None or _is_zero(amount):
        return amount
    return amount[1:] if amount.startswith("-") else f"-{amount.removeprefix('+')}"


def currency(code: str | None) -> str | None:
    """The currency that a code stands for, whatever its unit."""
    return MINOR.get(code or "", code)


def _currency_of(row: Mapping[str, Any]) -> str | None:
    return currency(_code_of(row))


def _code_of(row: Mapping[str, Any]) -> str | None:
    return text(dict(row), "iso_currency_code") or text(dict(row), "unofficial_currency_code")


def _is_minor(row: Mapping[str, Any]) -> bool:
    return (_code_of(row) or "") in MINOR


def _major(row: Mapping[str, Any], amount: str | None) -> str | None:
    """An amount in its major unit: pence by 100."""
    return _hundredth(amount) if _is_minor(row) else amount


def _texts(rows: Sequence[wire.Row], name: str) -> list[str | None]:
    return [text(row, name) for row in rows]


def _matching(pattern: str, value: str | None) -> str | None:
    return value if value and re.fullmatch(pattern, value) else None


def _older(row: wire.Row) -> str | None:
    """The category as answers before 2022 gave it: from the general to the special."""
    found = row.get("category")
    return " > ".join(found) if isinstance(found, list) and all(isinstance(part, str) for part in found) else None


def _time_of(row: wire.Row, name: str) -> str | None:
    stamp = text(row, name)
    return None if stamp is None or re.search(r"T00:00:00(?:\.0+)?(?:Z|[+-]00:?00)?$", stamp) else stamp


def _begin_of(day: str | None) -> str | None:
    return f"{day}T00:00:00+00:00" if day and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day) else None


def _is_zero(amount: str | None) -> bool:
    return re.fullmatch(r"[+-]?0*\.?0*(?:[eE][+-]?[0-9]+)?", amount or "none") is not None


def _number(amount: str | None) -> Decimal | None:
    try:
        number = Decimal(amount or "")
    except DecimalException:
        return None
    return number if number.is_finite() and -60 < number.adjusted() < 60 else None


def _exactly(amount: str | None, turned: Callable[[Decimal], Decimal]) -> str | None:
    """A figure made of another without rounding; what is no number stays as it is, for the schema to judge."""
    number = _number(amount)
    return amount if number is None else format(turned(number), "f")


def _hundredth(amount: str | None) -> str | None:
    return _exactly(amount, lambda number: number.scaleb(-2, EXACT))


def _signed_like(quantity: str | None, amount: str | None) -> str | None:
    """The amount, negative where the position is short, whether or not the institution says so itself."""
    units = _number(quantity)
    return _exactly(amount, lambda number: EXACT.minus(abs(number))) if units is not None and units < 0 else amount


def _sum(amounts: Sequence[str | None]) -> str | None:
    total = Decimal(0)
    for amount in amounts:
        if (number := _number(amount)) is None:
            return None
        total = EXACT.add(total, number)
    return format(total, "f")
