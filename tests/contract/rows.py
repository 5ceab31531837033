"""Frames for the store's suite, made from the dataset schemas, and short ways to commit and read them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from cryptography.fernet import Fernet
from hypothesis import strategies as st
from sqlalchemy import inspect, text

from fin_infra.connections import Connection, Connections, Vault
from fin_infra.datasets.base import Dataset
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers import resolve
from fin_infra.store import Applied, Batch, Change, Cursor, Query, Store, Stream
from fin_infra.testing import VirtualClock

MICROSECOND = timedelta(microseconds=1)
DIGITS = 10**38 - 1

_numbers = itertools.count(1)


class Bench:
    """A store with one linked connection, and its transactions as the rows to play with."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.connections = Connections(store, Vault([Fernet.generate_key()]), clock)
        self.connection = self.link("ada")
        self.stream = Stream(self.connection.connection_id, "transactions")

    def link(self, tenant: str) -> Connection:
        return self.connections.add(resolve("teller"), {"access_token": "tok"}, tenant=tenant)

    def cursor(self, stream: Stream | None = None) -> Cursor:
        return self.store.cursor(stream or self.stream, 1)

    def row(self, transaction_id: str, **more: Any) -> dict[str, Any]:
        """A transaction of the linked connection, all of it the same unless said otherwise."""
        return {
            "tenant_id": self.connection.tenant_id, "account_id": "acc", "transaction_id": transaction_id,
            "status": "posted", "amount": Decimal("-1.5"), "currency": "USD", "booked_on": date(2026, 11, 1),
            "provider": "teller", "connection_id": self.connection.connection_id,
            "fetched_at": self.clock(), "run_id": "run_0", **more,
        }  # fmt: skip

    def change(self, rows: Sequence[Mapping[str, Any]], removed: Sequence[str] = ()) -> Change:
        tenant = self.connection.tenant_id
        return Change(Transactions, frame(Transactions, rows), [(tenant, "acc", gone) for gone in removed])

    def commit(
        self, rows: Sequence[Mapping[str, Any]], removed: Sequence[str] = (), *, run_id: str | None = None,
        stream: Stream | None = None, **more: Any,
    ) -> Applied:  # fmt: skip
        """Commits transactions behind the stream's cursor, as one run."""
        run_id = run_id or f"run_{next(_numbers)}"
        stamped = [{**row, "run_id": run_id, "fetched_at": self.clock()} for row in rows]
        if "expect" not in more:
            more["expect"] = self.cursor(stream)
        more.setdefault("next", f'{{"run":"{run_id}"}}')
        batch = Batch([self.change(stamped, removed)], atomic=more.pop("atomic", False))
        return self.store.apply(batch, stream=stream or self.stream, run_id=run_id, **more)

    def ids(self, **query: Any) -> list[str]:
        return held(self.store, Transactions, **query)["transaction_id"].to_list()

    def amounts(self, **query: Any) -> dict[str, Decimal]:
        found = held(self.store, Transactions, **query)
        return dict(zip(found["transaction_id"], found["amount"], strict=True))


def frame(schema: type[Dataset], rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of the schema; columns that a row does not name are null."""
    columns = {name: [row.get(name) for row in rows] for name in schema.dtypes()}
    return pl.DataFrame(columns, schema=schema.dtypes())


def held(store: Store, schema: type[Dataset], columns: Sequence[str] | None = None, **query: Any) -> pl.DataFrame:
    """All rows of a read, its parts joined."""
    return pl.concat(list(store.read(schema, Query(**query), columns)))


def in_key_order(rows: pl.DataFrame, schema: type[Dataset]) -> pl.DataFrame:
    """Sorted by the key as a store sorts it: text by its bytes, a closed word by its letters."""
    return rows.sort([pl.col(name).cast(pl.String) for name in schema.key()])


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, for who looks for traces."""
    with store.reading() as sql:
        names = inspect(sql).get_table_names()
        return {name: [tuple(row) for row in sql.execute(text(f'SELECT * FROM "{name}"'))] for name in names}


# -- anything that fits a schema -----------------------------------------------------------------------------------------

money = st.one_of(
    st.sampled_from([DIGITS, -DIGITS, 0, 1, -1, 10**18, -(10**19), 10**37]),
    st.integers(-DIGITS, DIGITS),
    st.integers(-(10**22), 10**22),
).map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -18)))  # fmt: skip
"""Amounts with 18 decimals, up to all 38 digits."""

words = st.one_of(
    st.sampled_from(
        ["é", "e\u0301", "👩\u200d👩\u200d👧", "\u202eevil", "' OR 1=1 --", '"', "%", "ﷺ", "0", "1.10", "NULL"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12),
)
"""Text of any kind; a NUL never comes so far, and a lone surrogate is no text."""

instants = st.one_of(
    st.sampled_from(
        [
            datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1970, 1, 1, tzinfo=UTC),
        ]
    ),
    st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip
"""Zone-aware moments to the microsecond, before 1970 too."""


def value_of(name: str, dtype: pl.DataType) -> st.SearchStrategy[Any]:
    match dtype:
        case pl.Decimal():
            return money
        case pl.Datetime():
            return instants
        case pl.Date():
            return st.dates()
        case pl.Boolean():
            return st.booleans()
        case pl.Int64():
            return st.integers(-(2**63), 2**63 - 1)
        case pl.Enum():
            return st.sampled_from(dtype.categories.to_list())
        case pl.String() if "currency" in name:
            return st.sampled_from(["USD", "JPY", "KWD", "BTC"])
        case _:
            return words


def frames_of(schema: type[Dataset], *, tenant: str, max_rows: int = 6) -> st.SearchStrategy[pl.DataFrame]:
    """Frames of a schema for one tenant, with keys that differ and nulls wherever it allows them.

    Of what belongs to no tenant, the first of the key carries the tenant's name: nobody else has the same.
    """
    columns = schema.columns()
    key = schema.primary_key()
    mine = words.map(lambda word: f"us:{tenant}{word}")
    rows = st.fixed_dictionaries(
        {
            name: st.none() | value_of(name, dtype) if columns[name].nullable else value_of(name, dtype)
            for name, dtype in schema.dtypes().items()
        }
        | {"tenant_id": st.just(tenant)}
        | ({} if "tenant_id" in columns else {key[0]: mine})
    )
    several = st.lists(rows, min_size=1, max_size=max_rows, unique_by=lambda row: tuple(row[name] for name in key))
    return several.map(lambda found: frame(schema, found))
