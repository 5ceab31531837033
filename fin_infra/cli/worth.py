"""What all accounts are worth together, and what could not be counted. Pure: frames in, amounts and sentences out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from decimal import Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fin_infra.instruments import calendar_of

if TYPE_CHECKING:
    from datetime import date

    import polars as pl


ZERO = Decimal(0)
EXACT = Context(prec=100)  # Python's usual 28 digits would round a large sum, or a coin's 18 decimals, in passing


@dataclass(frozen=True)
class NetWorth:
    """`total` by currency; `missing`: what is not in it, `old`: what is in it at an old close, a sentence each."""

    total: dict[str, Decimal]
    missing: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)


def net_worth(
    accounts: pl.DataFrame, balances: pl.DataFrame, holdings: pl.DataFrame, prices: pl.DataFrame,
    actions: pl.DataFrame | None = None,
) -> NetWorth:  # fmt: skip
    """Balances, of investment accounts their cash, plus holdings at the newest close.

    A quantity and a close belong together when they count the same shares: where a split of `actions` lies between the
    day of the one and the session of the other, it is taken into account.

    A missing amount is never zero, a missing price never the broker's own value, and nothing is converted: it is named.
    Closed accounts are left out: their rows say what was last known of them.
    """
    import polars as pl

    closed = accounts.filter(pl.col("status") == "closed")["account_id"].to_list()
    accounts, balances, holdings = (
        f.filter(~pl.col("account_id").is_in(closed)) for f in (accounts, balances, holdings)
    )

    kinds = dict(accounts.select("account_id", "kind").iter_rows())
    total: dict[str, Decimal] = {}
    missing: list[str] = []
    for row in balances.iter_rows(named=True):
        name = "cash" if kinds.get(row["account_id"]) == "investment" else "current"
        if row[name] is None:
            missing.append(f"account {row['account_id']}: the vendor did not say its {name}")
        else:
            total[row["currency"]] = EXACT.add(total.get(row["currency"], ZERO), row[name])
    without = [i for i in accounts["account_id"] if i not in set(balances["account_id"])]
    missing += [f"account {account}: no balance is known" for account in without]
    newest = prices.sort("session").group_by("instrument").agg(pl.col("session", "close", "currency").last())
    closes = {name: (close, currency) for name, _, close, currency in newest.iter_rows()}
    sessions = dict(newest.select("instrument", "session").iter_rows())
    last: dict[str | None, date] = {}  # by calendar: a coin's Sunday makes no share's Friday old
    for name, session in sessions.items():
        last[calendar_of(name)] = max(session, last.get(calendar_of(name), session))
    old = [
        f"{name}: its newest close is of {sessions[name]}"
        for name in holdings["instrument"].unique(maintain_order=True)
        if name in sessions and sessions[name] != last[calendar_of(name)]
    ]
    for row in holdings.iter_rows(named=True):
        close, currency = closes.get(row["instrument"], (None, None))
        if close is None or currency is None:
            value = row["market_value"]
            said = "" if value is None else f", by the broker {_plain(value)} {row['currency']}"
            missing.append(f"{_plain(row['quantity'])} {row['instrument']}: no price is held{said}")
        else:
            value = EXACT.multiply(EXACT.multiply(row["quantity"], row["multiplier"]), close)
            if actions is not None and (by := _same_shares(row, sessions[row["instrument"]], actions)) != 1:
                value = EXACT.divide(EXACT.multiply(value, Decimal(by.numerator)), Decimal(by.denominator))
                value = value.quantize(Decimal("1e-18"), context=EXACT)
            total[currency] = EXACT.add(total.get(currency, ZERO), value)
    return NetWorth(total, missing, old)


def _same_shares(holding: dict[str, Any], session: date, actions: pl.DataFrame) -> Fraction:
    """What the product of quantity and close is multiplied by, so that both count the same shares."""
    from fin_infra.calendars import get_calendar
    from fin_infra.engine.adjusting import of_one_provider, shares_between

    name = holding["instrument"]
    if name not in actions["instrument"]:
        return Fraction(1)
    calendar = calendar_of(name)
    zone = ZoneInfo(get_calendar(calendar).zone) if calendar is not None else UTC
    day, known = holding["as_of"].astimezone(zone).date(), of_one_provider(actions)
    return shares_between(known, name, day, session) / shares_between(known, name, session, day)


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize(EXACT):f}"
