"""Alpaca's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time
from decimal import Context, Decimal, DecimalException
from typing import Any
from zoneinfo import ZoneInfo

from fin_infra.calendars import get_calendar
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Built
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.instruments import option_of
from fin_infra.providers.alpaca import wire
from fin_infra.providers.alpaca.symbols import COINS, from_alpaca
from fin_infra.providers.base import Account, Ask

Columns = dict[str, Sequence[str | None]]
NEW_YORK = ZoneInfo("America/New_York")
CUTS = (ZoneInfo("UTC"), NEW_YORK, ZoneInfo("America/Chicago"))  # where midnight is that a crypto day begins at
MICS = {
    "NASDAQ": "XNAS", "NYSE": "XNYS", "AMEX": "XASE", "ARCA": "ARCX", "NYSEARCA": "ARCX", "BATS": "BATS",
    "OTC": "OTCM",
}  # fmt: skip
CLASSES = {"us_equity": "equity", "us_option": "option", "crypto": "crypto", "ipo": "equity"}
STATUSES = {
    "ACTIVE": "open", "ACCOUNT_UPDATED": "open", "APPROVED": "open", "PAPER_ONLY": "open", "LIMITED": "open",
    "ACTION_REQUIRED": "open", "ACCOUNT_CLOSED_PENDING": "open", "ACCOUNT_CLOSED": "closed", "REJECTED": "closed",
    "INACTIVE": "inaccessible", "ONBOARDING": "inaccessible", "SUBMITTED": "inaccessible",
    "SUBMISSION_FAILED": "inaccessible", "APPROVAL_PENDING": "inaccessible",
}  # fmt: skip
BY_SIGN = {"ACATC": "transfer", "ACATS": "transfer", "FOPT": "transfer", "JNL": "transfer", "JNLC": "transfer",
           "JNLS": "transfer", "TRANS": "cash"}  # fmt: skip
ACTIVITY_KINDS = {
    "CSD": "deposit", "CSW": "withdrawal", "FEE": "fee", "CFEE": "fee", "PTC": "fee", "DIVFEE": "fee",
    "DIV": "dividend", "DIVCGL": "dividend", "DIVCGS": "dividend", "DIVROC": "dividend", "DIVTXEX": "dividend",
    "CGD": "dividend", "DIVFT": "tax", "DIVNRA": "tax", "DIVTW": "tax", "INTNRA": "tax", "INTTW": "tax",
    "INT": "interest", "SPLIT": "split",
}  # fmt: skip
MOVES_SHARES = frozenset(
    {"ACATS", "CFEE", "FOPT", "JNLS", "MA", "NC", "OPASN", "OPCA", "OPEXC", "OPEXP", "OPTRD", "REORG", "SPIN", "SPLIT"}
)
"""Types whose `qty` is a change of the position. A dividend's is the number of shares that earned it."""


def accounts(pages: Sequence[tuple[wire.AlpacaAccount, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """The one account of a credential. Source: https://docs.alpaca.markets/reference/getaccount-1"""
    rows = [page for page, _ in pages]
    columns: Columns = {
        "account_id": [row.id for row in rows],
        "mask": [
            row.account_number[-4:] if row.account_number and len(row.account_number) > 4 else None for row in rows
        ],
        "status": [STATUSES.get(row.status, f"unknown: {row.status}") for row in rows],
        "currency": [row.currency for row in rows],
    }
    constants = {"institution": "Alpaca", "kind": "investment", "subkind": "brokerage"}
    return Accounts.build(columns, ask.columns(pages[-1][1], **constants) if pages else {})


def balances(pages: Sequence[tuple[wire.AlpacaAccount, datetime]], ask: Ask, account: Account | None = None) -> Built:
    """Total value and its cash part, negative on margin. Alpaca says what could be bought with borrowed money, not what
    can be spent: `available` is null. Source: https://docs.alpaca.markets/reference/getaccount-1"""
    rows = [page for page, _ in pages]
    columns: Columns = {
        "account_id": [account.account_id if account else row.id for row in rows],
        "currency": [row.currency for row in rows],
        "current": [_fine(row.equity or row.portfolio_value) for row in rows],
        "cash": [_fine(row.cash) for row in rows],
    }
    at = pages[-1][1] if pages else ask.at
    return Balances.build(columns, ask.columns(at, as_of=at))


def holdings(pages: Sequence[tuple[list[wire.Row], datetime]], ask: Ask, account: Account | None) -> Built:
    """Open positions, in the order of the answer. A short one has negative quantity, value and basis.

    `cost_basis` is the position's total; a position in something we have no key for is kept under Alpaca's asset id.
    Source: https://docs.alpaca.markets/reference/getallopenpositions
    """
    assert account is not None, "holdings belong to an account"
    rows = [row for page, _ in pages for row in page]
    keys = [_held(row) for row in rows]
    options = [
        _text(row, "asset_class") == "us_option" or (key or "").startswith("opt:")
        for row, key in zip(rows, keys, strict=True)
    ]
    columns: Columns = {
        "account_id": [account.account_id for _ in rows],
        "instrument": keys,
        "quantity": [_short(row, "qty") for row in rows],
        "multiplier": ["100" if option else "1" for option in options],
        "price": [_fine(_text(row, "current_price")) for row in rows],
        "market_value": [_fine(_short(row, "market_value")) for row in rows],
        "cost_basis": [_fine(_short(row, "cost_basis")) for row in rows],
    }
    at = pages[-1][1] if pages else ask.at
    return Holdings.build(columns, ask.columns(at, as_of=at, currency=account.currency or "USD"))


def activities(pages: Sequence[tuple[list[wire.Row], datetime]], ask: Ask, account: Account | None) -> Built:
    """Trades and everything else that moved cash or positions, in the order of the answer; cancelled ones are left out.

    A trade's `amount` is minus quantity by price (by 100 for an option): its fees are rows of their own. `traded_on`
    of a trade is its day in New York. Source: https://docs.alpaca.markets/reference/getaccountactivities-2
    """
    assert account is not None, "activities belong to an account"
    rows = [row for page, _ in pages for row in page if row.get("status") != "canceled"]
    fills = [_text(row, "activity_type") == "FILL" for row in rows]
    columns: Columns = {
        "account_id": [_whose(row, ask, account) for row in rows],
        "activity_id": [_text(row, "id") for row in rows],
        "kind": [_kind(row) for row in rows],
        "instrument": [_traded(s) if (s := _text(row, "symbol")) else None for row in rows],
        "quantity": [_moved(row) for row in rows],
        "price": [_text(row, "price") for row in rows],
        "amount": [_cash_of(row) if fill else _text(row, "net_amount") for row, fill in zip(rows, fills, strict=True)],
        "currency": [_paid_in(row) or account.currency or "USD" for row in rows],
        "traded_on": [
            _trade_day(_text(row, "transaction_time")) if fill else _first_day(_text(row, "date"))
            for row, fill in zip(rows, fills, strict=True)
        ],
        "recorded_at": [
            str(moment) if (moment := _instant(_text(row, "transaction_time" if fill else "created_at"))) else None
            for row, fill in zip(rows, fills, strict=True)
        ],
    }  # fmt: skip
    return Activities.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def instruments(pages: Sequence[tuple[list[wire.Asset], datetime]], ask: Ask, _: Account | None = None) -> Built:
    """What the assets are. Alpaca tells no fund from a share: both are `equity`.

    Source: https://docs.alpaca.markets/reference/get-v2-assets-1
    """
    rows = [asset for page, _ in pages for asset in page]
    columns: Columns = {
        "instrument": [from_alpaca(row.symbol, row.asset_class) for row in rows],
        "name": [row.name for row in rows],
        "kind": [CLASSES.get(row.asset_class, f"unknown: {row.asset_class}") for row in rows],
        "mic": [MICS.get(row.exchange or "") for row in rows],
        "cusip": [row.cusip for row in rows],
    }
    constants = {"currency": "USD", "quote_unit": "major"}
    return Instruments.build(columns, ask.columns(pages[-1][1], **constants) if pages else {})


def prices(pages: Sequence[tuple[wire.Bars, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Raw daily bars, oldest first per symbol, all `provisional`: what is final the engine knows.

    The stamp of a daily bar is midnight in New York; a bar stamped otherwise is no daily bar and is a reject.
    Source: https://docs.alpaca.markets/reference/stockbars
    """
    rows = [row for page, _ in pages for row in page.rows]
    keys = {symbol: from_alpaca(symbol) for symbol, _ in rows}
    columns: Columns = {
        "instrument": [keys[symbol] for symbol, _ in rows],
        "session": [_session(_text(bar, "t"), symbol) for symbol, bar in rows],
        **{name: [_text(bar, name[0]) for _, bar in rows] for name in ("open", "high", "low", "close", "volume")},
    }
    constants = {"basis": "raw", "currency": "USD", "state": "provisional"}
    return Prices.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def intraday(pages: Sequence[tuple[wire.Bars, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Raw bars of the interval that was asked for, oldest first per symbol, all `provisional`.

    Alpaca serves shares from four in the morning to eight in the evening; bars of before the open and after the close
    are no bars of the session, and are left out. A bar whose time cannot be read is a reject, whenever it was.
    """
    rows = [row for page, _ in pages for row in page.rows if _of_hours(*row)]
    keys = {symbol: from_alpaca(symbol) for symbol, _ in rows}
    interval = ask.wants[0].interval if ask.wants else ""
    columns: Columns = {
        "instrument": [keys[symbol] for symbol, _ in rows],
        "start_at": [_text(bar, "t") for _, bar in rows],
        "interval": [interval or None for _ in rows],
        **{name: [_text(bar, name[0]) for _, bar in rows] for name in ("open", "high", "low", "close", "volume")},
    }
    constants = {"basis": "raw", "currency": "USD", "state": "provisional"}
    return IntradayPrices.build(columns, ask.columns(pages[-1][1] if pages else ask.at, **constants))


def _of_hours(symbol: str, bar: dict[str, Any]) -> bool:
    """Whether a bar is not known to be of the hours around a session."""
    try:
        start = datetime.fromisoformat(_text(bar, "t") or "")
    except ValueError:
        return True
    if "/" in symbol or start.tzinfo is None or option_of(symbol) is not None:
        return True
    return get_calendar("XNYS").running(start) is not None


# -- one value ----------------------------------------------------------------------------------------------------


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _fine(amount: str | None) -> str | None:
    """The amount; null where it has more decimals than fit, as a product of two may: its row must not fall with it."""
    try:
        exponent = Decimal(amount or "0").normalize(EXACT).as_tuple().exponent
    except DecimalException:
        return amount
    return None if isinstance(exponent, int) and exponent < -18 else amount


def _whose(row: wire.Row, ask: Ask, account: Account) -> str:
    """Our id of the account; where nobody said of which one the answers are, the one a row names."""
    return (_text(row, "account_id") if ask.any_account else None) or account.account_id


def _traded(symbol: str) -> str:
    """The key; of a pair that is priced in another coin that of its base; what we have no key for keeps its symbol."""
    coin = COINS.get(symbol.partition("/")[0]) if "/" in symbol else None
    return from_alpaca(symbol) or (f"crypto:{coin}" if coin else f"alpaca:{symbol}")


def _paid_in(row: wire.Row) -> str | None:
    """The currency the row is counted in: that of a pair is its second half."""
    pair = (_text(row, "symbol") or "").partition("/")[2]
    return _text(row, "currency") or (pair if _text(row, "activity_type") == "FILL" and pair else None)


def _held(row: wire.Row) -> str | None:
    symbol, asset_id = _text(row, "symbol"), _text(row, "asset_id")
    key = from_alpaca(symbol, _text(row, "asset_class")) if symbol else None
    return key or (f"alpaca:{asset_id}" if asset_id else None)


def _short(row: wire.Row, name: str) -> str | None:
    """The amount, negative when the position is short, whether or not Alpaca already says so."""
    value = _text(row, name)
    if value is None or _text(row, "side") != "short" or value.startswith("-") or re.fullmatch(r"0*\.?0*", value):
        return value
    return f"-{value.removeprefix('+')}"


def _kind(row: wire.Row) -> str:
    what = _text(row, "activity_type") or ""
    if what == "FILL":
        side = _text(row, "side") or ""
        return "buy" if side.startswith("buy") else "sell" if side.startswith("sell") else f"unknown: {side}"
    if what in BY_SIGN:
        out = (_text(row, "net_amount") or _text(row, "qty") or "").startswith("-")
        if BY_SIGN[what] == "cash":
            return "withdrawal" if out else "deposit"
        moved = _text(row, "qty") if what in MOVES_SHARES else _text(row, "net_amount")
        return "transfer_out" if (moved or "").startswith("-") else "transfer_in"
    return ACTIVITY_KINDS.get(what, "other")


def _moved(row: wire.Row) -> str | None:
    """Change of the position."""
    quantity, what = _text(row, "qty"), _text(row, "activity_type")
    if quantity is None:
        return None
    if what == "FILL":
        return _negated(quantity) if _kind(row) == "sell" else quantity
    return quantity if what in MOVES_SHARES else None


def _negated(amount: str) -> str:
    return amount[1:] if amount.startswith("-") else f"-{amount.removeprefix('+')}"


EXACT = Context(prec=80)


def _cash_of(row: wire.Row) -> str | None:
    """What a trade moved in cash, exact; null rather than rounded."""
    price, quantity = _text(row, "price"), _moved(row)
    if price is None or quantity is None:
        return None
    try:
        size = 100 if (from_alpaca(_text(row, "symbol") or "") or "").startswith("opt:") else 1
        cash = EXACT.multiply(EXACT.multiply(Decimal(price), EXACT.minus(Decimal(quantity))), Decimal(size))
    except ArithmeticError:
        return None
    exponent = cash.normalize(EXACT).as_tuple().exponent
    if not cash.is_finite() or cash.adjusted() > 19 or not isinstance(exponent, int) or exponent < -18:
        return None
    return format(cash, "f")


def _instant(text: str | None) -> datetime | None:
    """Alpaca's times have nanoseconds, which Python's have not."""
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text or ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _trade_day(text: str | None) -> str | None:
    moment = _instant(text)
    return moment.astimezone(NEW_YORK).date().isoformat() if moment else text


def _first_day(text: str | None) -> str | None:
    """A date, or the date of an instant that only says a date (midnight UTC)."""
    return text[:10] if text and re.fullmatch(r"[0-9-]{10}T00:00:00(?:\.0+)?(?:Z|\+00:00)", text) else text


def _session(text: str | None, symbol: str) -> str | None:
    """The day that begins at this stamp; the stamp itself, which is no date, when no day begins there."""
    moment = _instant(text)
    if moment is None:
        return text
    for zone in CUTS if "/" in symbol else (NEW_YORK,):
        local = moment.astimezone(zone)
        if local.time() == time():
            return local.date().isoformat()
    return text
