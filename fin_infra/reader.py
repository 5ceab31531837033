"""The reader: a dataset as a `pl.LazyFrame`, now or as it was known at some instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import polars as pl
from polars.io.plugins import register_io_source

from fin_infra.datasets import dataset as schema_of
from fin_infra.errors import UsageError
from fin_infra.providers import PROVIDERS
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
    store: Store | None = None,
) -> pl.LazyFrame:
    """Rows of a dataset in key order; columns, `head` and filters are pushed down to where the rows lie.

    `since` and `until` are inclusive days of the dataset's own date; rows without one are then left out. `as_of`
    gives the rows as they were known at that instant, `history` all versions with `known_from` and `known_to` (null:
    still so). With `tenant` no row of another tenant is ever read. Nothing is read before `collect()`, and then one
    consistent snapshot. Raises `UsageError` for an unknown dataset or a filter it does not have.

    Of prices there is one row a session, chosen among the rows that the arguments ask for: of each instrument one
    basis (raw before split_adjusted before adjusted: bars of two bases do not join), of each session the provider that
    comes first in `FIN_INFRA_PRICE_PROVIDERS`. `all_providers` and `history` give every row there is.
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


def _preferred(prices: pl.LazyFrame) -> pl.LazyFrame:
    """One row per instrument and session."""
    preferred = Settings.load().preferred_prices
    if unknown := [name for name in preferred if name not in PROVIDERS]:
        raise UsageError(f"FIN_INFRA_PRICE_PROVIDERS names {', '.join(unknown)}; there are: {', '.join(PROVIDERS)}")
    order = [*dict.fromkeys([*preferred, *PROVIDERS])]
    place = pl.col("provider").replace_strict(order, list(range(len(order))), default=len(order), return_dtype=pl.Int64)
    basis, day = pl.col("basis").to_physical(), ("instrument", "session")
    like_with_like = prices.filter(basis == basis.min().over("instrument"))
    return like_with_like.filter(place == place.min().over(day)).filter(
        pl.col("provider") == pl.col("provider").min().over(day)
    )
