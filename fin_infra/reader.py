"""The reader: a dataset as a `pl.LazyFrame`, now or as it was known at some instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal

import polars as pl
from polars.io.plugins import register_io_source

from fin_infra.datasets import dataset as schema_of
from fin_infra.errors import UsageError
from fin_infra.providers import names
from fin_infra.settings import Settings
from fin_infra.store import Query, Store, open_store
from fin_infra.store.sql import read_dtypes


def read(
    dataset: str,
    *,
    tenant: str | None = None,
    connection: str | None = None,
    accounts: Sequence[str] | None = None,
    instruments: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    as_of: datetime | None = None,
    history: bool = False,
    all_providers: bool = False,
    adjust: Literal["split", "total"] | None = None,
    store: Store | None = None,
) -> pl.LazyFrame:
    """Rows of a dataset in key order; columns, `head` and filters are pushed down to where the rows lie.

    `since` and `until` are inclusive days of the dataset's own date; rows without one are then left out. `as_of`
    gives the rows as they were known at that instant, `history` all versions with `known_from` and `known_to` (null:
    still so). With `tenant` no row of another tenant is ever read. Nothing is read before `collect()`, and then one
    consistent snapshot. Raises `UsageError` for an unknown dataset or a filter it does not have.

    Of prices there is one row a session, chosen among the rows that the arguments ask for: of each instrument one
    basis (raw before split_adjusted before adjusted: bars of two bases do not join), of those of which a series is up
    to date: its newest bar at most three days older than the newest of any. Of each session the provider that comes
    first in `FIN_INFRA_PRICE_PROVIDERS`. `all_providers` and `history` give every row there is.

    `adjust` makes one basis of raw prices: `split`, or `total` for dividends too (also of split-adjusted ones), by the
    actions held (as of the same
    instant), up to the newest bar there is whatever `until` says; see `engine.adjusting`. Collecting it raises
    `UsageError` when an instrument's corporate actions were never read, or not since a week before its newest bar.
    """
    schema = schema_of(dataset)
    if as_of is not None and as_of.tzinfo is None:
        raise UsageError("as_of needs a zone: an instant without one could be any of 24 hours")
    for what, chosen in (("accounts", accounts), ("instruments", instruments)):
        if isinstance(chosen, str):
            raise UsageError(f"{what} is a list: [{chosen!r}]")
    for name, day in (("since", since), ("until", until)):
        if day is not None and (isinstance(day, datetime) or not isinstance(day, date)):
            raise UsageError(f"{name} is a day, a datetime.date: an instant or a text could mean another day")
    if adjust is not None and (dataset != "prices" or history):
        raise UsageError("adjust is for prices, one version of each: not for another dataset, nor with history")
    if adjust is not None:
        return _adjusted(adjust, until, {
            "tenant": tenant, "connection": connection, "accounts": accounts, "instruments": instruments,
            "since": since, "as_of": as_of, "all_providers": all_providers, "store": store or open_store(),
        })  # fmt: skip
    query = Query(tenant, connection, accounts, instruments, since, until, as_of, history)
    source = store or open_store()
    source.check(schema, query)

    def scan(
        columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        needed = columns
        if columns is not None and predicate is not None:
            needed = list(dict.fromkeys([*columns, *predicate.meta.root_names()]))
        # polars hands both over only for a head *before* the filter: the limit counts rows before the predicate
        for part in source.read(schema, query, needed, limit):
            found = part if predicate is None else part.filter(predicate)
            yield found if columns is None else found.select(columns)

    found = register_io_source(scan, schema=read_dtypes(schema, history=history), explain_name=dataset)
    return found if dataset != "prices" or all_providers or history else _preferred(found)


ALWAYS = ("instrument", "session", "provider", "basis", "close", "currency")
"""Columns that adjusting looks at."""
ACTLESS = frozenset({"crypto", "fx", "cash"})
"""Namespaces of what has no corporate actions."""
READ_WITHIN = timedelta(days=7)
UP_TO_DATE = timedelta(days=3)
"""So far may a series be behind the newest bar of any: a weekend, or one run that failed. One that is further behind
gives way, whole, to one of another basis."""


def _adjusted(adjust: Literal["split", "total"], until: date | None, asked: dict[str, Any]) -> pl.LazyFrame:
    """Prices that are adjusted when they are collected. Wrong arguments are refused now."""
    from fin_infra.engine.adjusting import BASIS, adjusted

    if adjust not in BASIS:
        raise UsageError(f"adjust is split or total, not {adjust!r}")
    bars = read("prices", **asked)
    read("prices", until=until, store=asked["store"])

    def scan(
        columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        names = [] if columns is None else [*columns, *(predicate.meta.root_names() if predicate is not None else ())]
        needed = list(dict.fromkeys([*ALWAYS, *names]))
        prices = (bars if columns is None else bars.select(needed)).collect()
        made = adjusted(prices, _actions(prices, asked, adjust), adjust)
        made = made if until is None else made.filter(pl.col("session") <= until)
        made = made if limit is None else made.head(limit)
        made = made if predicate is None else made.filter(predicate)
        yield made if columns is None else made.select(columns)

    return register_io_source(scan, schema=bars.collect_schema(), explain_name=f"prices, adjusted by {adjust}")


def _actions(prices: pl.DataFrame, asked: Mapping[str, Any], adjust: Literal["split", "total"]) -> pl.DataFrame:
    """Their corporate actions, by one provider each. Raises `UsageError` where they are not known."""
    from fin_infra.engine.actions import asked_on
    from fin_infra.engine.adjusting import MADE_OF

    made_of = prices.filter(pl.col("basis").cast(pl.String).is_in(MADE_OF[adjust]))
    last = made_of.group_by("instrument").agg(pl.col("session").max())
    newest = {name: day for name, day in last.iter_rows() if name.partition(":")[0] not in ACTLESS}
    known = asked_on(asked["store"])
    if never := sorted(set(newest) - set(known)):
        raise UsageError(
            f"corporate actions of {_some(never)} were never read, their prices cannot be adjusted: "
            "fin-infra sync corporate_actions, or read others alone with instruments"
        )
    if late := sorted(name for name, day in newest.items() if day - known[name] > READ_WITHIN):
        raise UsageError(
            f"corporate actions of {_some(late)} were last read on {min(known[name] for name in late)}, more than "
            f"{READ_WITHIN.days} days before their newest bar: fin-infra sync corporate_actions"
        )
    found = read(
        "corporate_actions", instruments=list(newest), as_of=asked["as_of"], store=asked["store"]
    ).collect()  # fmt: skip
    place = _place()
    return found.filter(place == place.min().over("instrument")).filter(
        pl.col("provider") == pl.col("provider").min().over("instrument")
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _place() -> pl.Expr:
    """Where a provider stands in `FIN_INFRA_PRICE_PROVIDERS`."""
    preferred = Settings.load().preferred_prices
    known = names()
    if unknown := [name for name in preferred if name not in known]:
        raise UsageError(f"FIN_INFRA_PRICE_PROVIDERS names {', '.join(unknown)}; there are: {', '.join(known)}")
    order = [*dict.fromkeys([*preferred, *known])]
    return pl.col("provider").replace_strict(order, list(range(len(order))), default=len(order), return_dtype=pl.Int64)


def _preferred(prices: pl.LazyFrame) -> pl.LazyFrame:
    """One row per instrument and session."""
    place = _place()
    basis, day = pl.col("basis").to_physical(), ("instrument", "session")
    newest = pl.col("session").max()
    behind = newest.over("instrument") - newest.over("instrument", "provider", "basis")
    up_to_date = pl.when(behind <= UP_TO_DATE).then(basis)
    like_with_like = prices.filter(basis == up_to_date.min().over("instrument"))
    return like_with_like.filter(place == place.min().over(day)).filter(
        pl.col("provider") == pl.col("provider").min().over(day)
    )
