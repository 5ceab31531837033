"""SnapTrade's pages → normalized rows. Pure: no clock, no network, no environment.

Its amounts are the holder's already: cash that comes in is positive, what is owed is negative, a short position has
negative units. Prices and bases are per share, of an option too, whose units are contracts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Context, Decimal, DecimalException
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Built
from fin_infra.datasets.holdings import Holdings
from fin_infra.instruments.currencies import ALIASES, currencies
from fin_infra.instruments.notation import Context as Beside
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.snaptrade import wire
from fin_infra.providers.snaptrade.symbols import from_snaptrade
from fin_infra.providers.snaptrade.wire import Row, inner, text

Columns = dict[str, Sequence[str | None]]
EXACT = Context(prec=80)
STATUS = {"open": "open", "closed": "closed", "archived": "closed", "unavailable": "inaccessible"}


def accounts(pages: Sequence[tuple[wire.Accounts, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """One row per account. One of a kind we do not know the signs of is a reject, never a guess.

    `history_complete`: SnapTrade has fetched all the transactions that the brokerage gives.
    Source: https://docs.snaptrade.com/reference/Account%20Information
    """
    rows = [(row, page.connections) for page, _ in pages for row in page.rows]
    columns: Columns = {
        "account_id": [text(row, "id") for row, _ in rows],
        "institution": [_institution(row, connections) for row, connections in rows],
        "name": [text(row, "display_name") or text(row, "name") for row, _ in rows],
        "mask": [_mask(text(row, "masked_account_number") or text(row, "number")) for row, _ in rows],
        "kind": [wire.kind_of(row) for row, _ in rows],
        "subkind": [_subkind(row) for row, _ in rows],
        "currency": [wire.total_of(row)[1] for row, _ in rows],
        "status": [_status(row) for row, _ in rows],
        "history_complete": [_synced(row) for row, _ in rows],
    }
    return Accounts.build(columns, ask.columns(pages[-1][1]) if pages else {})


def persistent(page: wire.Accounts) -> dict[str, str]:
    """The institution's own ids, where it gives them: SnapTrade's are new when a connection is made anew."""
    return {
        own: f"{text(row, 'institution_id') or text(row, 'institution_name') or ''}:{lasting}"
        for row in page.rows
        if (own := text(row, "id")) and (lasting := (text(row, "institution_account_id") or "").strip())
    }


def login(page: wire.Accounts) -> str | None:
    """The connection that the accounts come by, which webhooks name; of several the first."""
    return next((found for row in page.rows if (found := wire.connection_of(row))), None)


def balances(pages: Sequence[tuple[wire.Balances, datetime]], ask: Ask, account: Account | None) -> Built:
    """What one account holds, a row per currency; the total stands in the row of the currency it is counted in.

    A row of another currency has no total, and null is what the vendor does not say. `available` is what is left of a
    credit line: the buying power of a brokerage account may be borrowed.
    Source: https://docs.snaptrade.com/reference/Account%20Information
    """
    assert account is not None, "balances belong to an account"
    found = [
        row
        for page, at in pages
        for row in (_listed(page, ask, account, at) if not page.rows else _held(page, account, at))
    ]
    columns: Columns = {name: [row.get(name) for row in found] for name in BALANCE_COLUMNS}
    return Balances.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


BALANCE_COLUMNS = ("account_id", "currency", "current", "cash", "available", "as_of")


def holdings(pages: Sequence[tuple[wire.Positions, datetime]], ask: Ask, account: Account | None) -> Built:
    """Positions of one account, in the order of the answer; those in one instrument are one row: their sum.

    Cash equivalents are left out: they are in the balance's cash already. `cost_basis` is units by multiplier by
    basis per unit, `market_value` the same of the price; null where a factor is, or where it does not fit 18 decimals.
    Source: https://docs.snaptrade.com/reference/Account%20Information
    """
    assert account is not None, "positions belong to an account"
    merged: dict[tuple[str | None, str | None], list[dict[str, str | None]]] = {}
    for page, at in pages:
        as_of = (wire.moment(page.as_of) or at).isoformat()
        for row in page.rows:
            if row.get("cash_equivalent") is True:
                continue
            position = _position(row, account.account_id, as_of)
            key = (position["instrument"] or f"none {len(merged)}", position["currency"])
            merged.setdefault(key, []).append(position)
    rows = [_sum_of(positions) for positions in merged.values()]
    columns: Columns = {name: [row[name] for row in rows] for name in POSITION_COLUMNS}
    return Holdings.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


POSITION_COLUMNS = (
    "account_id", "instrument", "as_of", "quantity", "multiplier", "price", "market_value", "cost_basis", "currency",
)  # fmt: skip


def activities(pages: Sequence[tuple[wire.Activities, datetime]], ask: Ask, account: Account | None) -> Built:
    """Investment transactions of one account, newest first, as the answers have them.

    `quantity` is null where only cash moved: the units of a dividend are what earned it. `traded_on` is the day at the
    exchange, or of the settlement where no trade date is given; `recorded_at` the trade date, by which SnapTrade cuts.
    Source: https://docs.snaptrade.com/reference/Account%20Information
    """
    assert account is not None, "activities belong to an account"
    rows = [row for page, _ in pages for row in page.rows]
    keys = [_traded(row) for row in rows]
    quoted = [_quoted(_currency_of(row)) for row in rows]
    columns: Columns = {
        "account_id": [account.account_id for _ in rows],
        "activity_id": [text(row, "id") for row in rows],
        "kind": [kind_of(row) for row in rows],
        "instrument": keys,
        "quantity": [_moved(row, key) for row, key in zip(rows, keys, strict=True)],
        "price": [
            _product(text(row, "price"), part) if key else None
            for row, key, (_, part) in zip(rows, keys, quoted, strict=True)
        ],
        "fees": [
            _product((text(row, "fee") or "").removeprefix("-") or None, part)
            for row, (_, part) in zip(rows, quoted, strict=True)
        ],
        "amount": [_product(text(row, "amount"), part) for row, (_, part) in zip(rows, quoted, strict=True)],
        "currency": [code for code, _ in quoted],
        "traded_on": [_day(row, "trade_date") or _day(row, "settlement_date") for row in rows],
        "settled_on": [_day(row, "settlement_date") for row in rows],
        "recorded_at": [_instant(text(row, "trade_date")) for row in rows],
    }
    return Activities.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


# -- accounts and balances -----------------------------------------------------------------------------------------


def _institution(row: Row, connections: Mapping[str, Row]) -> str | None:
    brokerage = inner(connections.get(wire.connection_of(row) or "", {}), "brokerage")
    return text(row, "institution_name") or text(brokerage, "display_name") or text(brokerage, "name")


def _mask(number: str | None) -> str | None:
    """The last four characters that are shown."""
    shown = (number or "").strip()[-4:].lstrip("*Xx•")
    return shown if len(shown) > 1 else None


def _subkind(row: Row) -> str | None:
    """The institution's word for it; of an annuity, which has none of ours, that."""
    said = text(row, "raw_type") or ("annuity" if text(row, "kind") == "annuity" else None)
    return said.strip().lower().replace(" ", "_") if said else None


def _status(row: Row) -> str:
    """Null is unknown: what is listed is open."""
    said = text(row, "status")
    return "open" if said is None else STATUS.get(said, f"unknown: {said}")


def _synced(row: Row) -> str | None:
    done = inner(row, "sync_status", "transactions").get("initial_sync_completed")
    return {True: "true", False: "false"}.get(done) if isinstance(done, bool) else None


def _listed(page: wire.Balances, ask: Ask, account: Account, at: datetime) -> list[dict[str, str | None]]:
    """What a list of accounts says each is worth; of others than the one asked for nothing."""
    found: list[dict[str, str | None]] = []
    for row in page.accounts:
        if not ask.any_account and text(row, "id") != account.vendor_id:
            continue
        amount, code = wire.total_of(row)
        if amount is None:
            continue
        ours = text(row, "id") if ask.any_account else account.account_id
        credit = text(inner(row, "available_credit"), "amount")
        as_of = (wire.balances_at(row) or at).isoformat()
        found.append({"account_id": ours, "currency": code, "current": amount, "available": credit, "as_of": as_of})
    return found


def _held(page: wire.Balances, account: Account, at: datetime) -> list[dict[str, str | None]]:
    """Cash by currency, and the total in its own currency, which may be one without cash."""
    row = next((row for row in page.accounts if text(row, "id") == account.vendor_id), {})
    amount, code = wire.total_of(row)
    ours = {"account_id": account.account_id, "as_of": (wire.balances_at(row) or at).isoformat()}
    found: list[dict[str, str | None]] = []
    for cash in page.rows:
        own = _code(cash, "currency")
        found.append({**ours, "currency": own, "cash": text(cash, "cash"), "current": amount if own == code else None})
    if amount is not None and code not in [one["currency"] for one in found]:
        found.append({**ours, "currency": code, "current": amount})
    return found


# -- holdings ------------------------------------------------------------------------------------------------------

KINDS = {
    "stock": "equity", "adr": "equity", "etf": "etf", "cef": "fund", "mutualfund": "fund", "crypto": "crypto",
    "option": "option",
}  # fmt: skip
"""Kinds whose symbol says what it is. That of a CFD is its underlying's, and a future's leads to no key."""
TYPES = {
    "ad": "equity", "cs": "equity", "ps": "equity", "rt": "equity", "ut": "equity", "wi": "equity", "wt": "equity",
    "et": "etf", "cef": "fund", "oef": "fund", "crypto": "crypto",
}  # fmt: skip
"""The same of an activity's symbol, by the code of its type."""


def _position(row: Row, account_id: str, as_of: str) -> dict[str, str | None]:
    instrument = inner(row, "instrument")
    kind, units = text(instrument, "kind") or "", text(row, "units")
    size = text(instrument, "multiplier") or ("100" if kind == "option" else "1")
    code, part = _quoted(text(row, "currency") or text(instrument, "currency"))
    return {
        "account_id": account_id, "instrument": _key(instrument, KINDS.get(kind)), "as_of": as_of, "quantity": units,
        "multiplier": size, "price": _product(text(row, "price"), part), "currency": code,
        "market_value": _product(text(row, "price"), part, units, size),
        "cost_basis": _product(text(row, "cost_basis"), part, units, size),
    }  # fmt: skip


def _key(named: Row, kind: str | None, mic: str | None = None) -> str | None:
    """The InstrumentKey; what has none keeps SnapTrade's id of it, or its symbol. None of what has neither."""
    symbol = (text(named, "symbol") or "").strip().upper()
    venue = mic or text(named, "exchange")
    found = from_snaptrade(symbol, Beside(venue, kind)) if symbol and kind is not None else None
    own = (text(named, "id") or symbol).strip()
    return found or (f"snaptrade:{own}" if own else None)


def _sum_of(positions: Sequence[dict[str, str | None]]) -> dict[str, str | None]:
    """One row of several positions in one instrument: a brokerage lists lots, or cash and margin shares, apart."""
    first = positions[0]
    if len(positions) == 1:
        return first
    sums = {name: _sum([position[name] for position in positions])
            for name in ("quantity", "market_value", "cost_basis")}  # fmt: skip
    prices = {position["price"] for position in positions}
    return {**first, **sums, "price": first["price"] if len(prices) == 1 else None}


# -- activities ----------------------------------------------------------------------------------------------------

ACTIVITY_KINDS = {
    "BUY": "buy", "SELL": "sell", "DIVIDEND": "dividend", "SUBSTITUTE_DIVIDEND": "dividend",
    "STOCK_DIVIDEND": "dividend", "INTEREST": "interest", "FEE": "fee", "TAX": "tax", "CONTRIBUTION": "deposit",
    "WITHDRAWAL": "withdrawal", "EXTERNAL_ASSET_TRANSFER_IN": "transfer_in",
    "EXTERNAL_ASSET_TRANSFER_OUT": "transfer_out", "SPLIT": "split",
}  # fmt: skip
GROWS = frozenset({"BUY", "REI", "STOCK_DIVIDEND", "EXTERNAL_ASSET_TRANSFER_IN"})
SHRINKS = frozenset({"SELL", "EXTERNAL_ASSET_TRANSFER_OUT"})
AS_SAID = frozenset(
    {"TRANSFER", "SPLIT", "ADJUSTMENT", "OPTIONEXPIRATION", "OPTIONASSIGNMENT", "OPTIONEXERCISE", "CONTRIBUTION",
     "WITHDRAWAL"}
)  # fmt: skip
"""Types whose units change the position: up, down, or as their sign says. Those of others may be what earned it."""
NEW_YORK = "America/New_York"


def kind_of(row: Row) -> str:
    """What happened. The types are open-ended, and a brokerage's own pass through: `other`."""
    said = text(row, "type") or ""
    if said == "TRANSFER":
        out = (_number(text(row, "units")) or _number(text(row, "amount")) or 0) < 0
        return "transfer_out" if out else "transfer_in"
    if said == "REI":  # a dividend that bought shares, mostly beside a row of the dividend
        return "buy" if _number(text(row, "units")) else "dividend"
    return ACTIVITY_KINDS.get(said, "other")


def _traded(row: Row) -> str | None:
    """What it is about: an option, or a symbol; null of a row of cash."""
    option, symbol = inner(row, "option_symbol"), inner(row, "symbol")
    if option:
        return _key({"id": option.get("id"), "symbol": option.get("ticker")}, "option")
    if not symbol:
        return None
    kind = text(inner(symbol, "type"), "code")
    mic = text(inner(symbol, "exchange"), "mic_code")
    return _key({**symbol, "exchange": None}, TYPES.get(kind) if kind else "equity", mic)


def _moved(row: Row, key: str | None) -> str | None:
    """Change of the position. What is no number stays as it is, for the schema to judge."""
    said, units = text(row, "type") or "", text(row, "units")
    number = _number(units)
    if key is None or said not in GROWS | SHRINKS | AS_SAID or number == 0:
        return None
    if number is None or said in AS_SAID:
        return units
    return format(EXACT.abs(number) if said in GROWS else EXACT.minus(EXACT.abs(number)), "f")


def _currency_of(row: Row) -> str | None:
    """What it is counted in: a coin, where it was paid with one."""
    return _code(row, "currency") or (text(inner(row, "currency_universal_symbol"), "symbol") or "").upper() or None


def _day(row: Row, name: str) -> str | None:
    """The day of an instant at the exchange. Midnight UTC is no instant: it only says a day."""
    said = text(row, name)
    found = wire.moment(said)
    if found is None or found.time() == time():
        return found.date().isoformat() if found else said
    zone = text(inner(row, "symbol", "exchange"), "timezone") or NEW_YORK
    return found.astimezone(_zone(zone)).date().isoformat()


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(NEW_YORK)


def _instant(said: str | None) -> str | None:
    """The instant as it is said; the begin of what is a day alone."""
    try:
        return f"{date.fromisoformat(said or '')}T00:00:00+00:00"
    except ValueError:
        return said


# -- one value -----------------------------------------------------------------------------------------------------


def _code(row: Row, name: str) -> str | None:
    """A currency's code, said alone or in an object."""
    return text(row, name) or text(inner(row, name), "code")


@cache
def _quoted(code: str | None) -> tuple[str | None, str | None]:
    """The currency of a code, and what part of it the code counts: of `GBX` ("GBP", "0.01"), mostly all of it."""
    found = currencies().get(ALIASES.get(code or "", code or ""))
    if found is None or found.status != "quote_unit" or not found.factor:
        return code, None
    return found.normalises_to, format(1 / found.factor, "f")


def _number(amount: str | None) -> Decimal | None:
    try:
        number = Decimal(amount or "")
    except DecimalException:
        return None
    return number if number.is_finite() and -60 < number.adjusted() < 60 else None


def _product(amount: str | None, *factors: str | None) -> str | None:
    """The amount times what is not left out, exact; null where it is, or where the product does not fit 18 decimals.

    The first of `factors` may be None, for 1; of others one that is not known makes the product unknown. What is no
    number stays as it is, for the schema to judge.
    """
    part, *others = factors
    if amount is None or None in others:
        return None
    if part is None and not others:
        return amount
    number = _number(amount)
    if number is None:
        return amount
    for factor in (part or "1", *others):
        if (times := _number(factor)) is None:
            return None
        number = EXACT.multiply(number, times)
    return _fitting(number)


def _sum(amounts: Sequence[str | None]) -> str | None:
    total = Decimal(0)
    for amount in amounts:
        if (number := _number(amount)) is None:
            return None
        total = EXACT.add(total, number)
    return _fitting(total)


def _fitting(number: Decimal) -> str | None:
    exponent = number.normalize(EXACT).as_tuple().exponent
    fits = isinstance(exponent, int) and exponent >= -18 and number.adjusted() < 20
    return format(number, "f") if fits else None
