"""What all accounts are worth together, and what could not be counted.

`net_worth` and `in_one` are pure: frames in, amounts and sentences out. The command reads the store and prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from decimal import Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fin_infra.instruments import calendar_of

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from fin_infra.conversion import Converted


ZERO = Decimal(0)
LARGEST = Decimal(10) ** 20  # what Decimal(38, 18) has no room for
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


def in_one(worth: NetWorth, to: str, on: date, rates: pl.DataFrame) -> Converted:
    """The totals in one currency, by the newest rates of `on` or before: columns currency, total, total_in and the
    rate's. A total without a rate is null and in `missing`. One with more than 18 decimals, a coin's quantity by its
    price, is rounded to them, half even. Raises `UsageError` for what is no currency, and for a total too large."""
    import polars as pl

    from fin_infra.conversion import convert
    from fin_infra.datasets.base import amounts

    totals = [(code, _fitting(code, total)) for code, total in sorted(worth.total.items())]
    frame = pl.DataFrame(
        {
            "currency": pl.Series([code for code, _ in totals], dtype=pl.String),
            "total": amounts(pl.Series("total", [_plain(total) for _, total in totals], dtype=pl.String)),
        }
    )
    return convert(frame, to=to, on=on, amount="total", rates=rates)


def _fitting(code: str, total: Decimal) -> Decimal:
    from fin_infra.errors import UsageError

    if abs(total) >= LARGEST:
        raise UsageError(f"the total in {code} has more than 20 digits before the point; worth without --in shows it")
    return total.quantize(Decimal("1e-18"), context=EXACT)


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize(EXACT):f}"


def worth(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose accounts.")] = "me",
    to: Annotated[
        str | None, typer.Option("--in", metavar="CURRENCY", help="All of it in one currency, by the rates held.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="DAY", help="The day whose rates are used; default today, in UTC.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Add up what a tenant owns and owes, each currency by itself or all in one, and name what is not counted.

    Every rate is shown with its day and its age. A currency without a rate is not counted, and the exit code is 1.

    Example: fin-infra worth --tenant ada --in USD
    """
    from datetime import UTC, datetime

    from fin_infra.cli.output import calendar_day, put_json
    from fin_infra.errors import UsageError
    from fin_infra.reader import read
    from fin_infra.store import open_store

    if on is not None and to is None:
        raise UsageError("--on says whose rates are used: give --in CURRENCY with it")
    day = calendar_day(on, "--on") or datetime.now(UTC).date()
    store = open_store()
    accounts, balances, holdings = (
        read(name, tenant=tenant, store=store).collect() for name in ("accounts", "balances", "holdings")
    )
    found = net_worth(
        accounts,
        balances,
        holdings,
        read("prices", store=store).collect(),
        read("corporate_actions", store=store).collect(),
    )
    converted = None if to is None else in_one(found, to, day, read("fx_rates", until=day, store=store).collect())
    if as_json:
        put_json(_as_json(found, converted))
    else:
        _show(found, converted)
    if converted is not None and not converted.missing.is_empty():
        raise typer.Exit(1)


def _as_json(found: NetWorth, converted: Converted | None) -> dict[str, object]:
    said: dict[str, object] = {"total": found.total, "missing": found.missing, "old": found.old}
    if converted is not None:
        total = converted.total()
        said |= {
            "in": converted.to, "worth": total.amount, "complete": total.complete and not found.missing,
            "rates": converted.rows.to_dicts(), "missing": [*found.missing, *total.lacking],
        }  # fmt: skip
    return said


def _show(found: NetWorth, converted: Converted | None) -> None:
    from fin_infra.cli.output import amount, put, table

    if converted is None:
        table(sorted(found.total.items()), ("currency", "net worth"))
    else:
        from fin_infra.instruments.currencies import rounded

        shown = ("total", "currency", "rate", "rate_on", "rate_age", "rate_provider", "total_in")
        rows = [
            [rounded(row[name], converted.to) if name == "total_in" and row[name] is not None else row[name]
             for name in shown]
            for row in converted.rows.iter_rows(named=True)
        ]  # fmt: skip
        table(rows, ("net worth", "currency", "rate", "of", "days old", "provider", f"in {converted.to}"))
        total = converted.total()
        lacks = "" if total.complete and not found.missing else ", without what is not counted"
        put(f"net worth: {amount(rounded(total.amount, converted.to))} {converted.to}{lacks}")
    for sentence in (*found.missing, *(converted.total().lacking if converted is not None else ())):
        put(f"  not counted: {sentence}")
    for sentence in found.old:
        put(f"  counted at an old price: {sentence}")
