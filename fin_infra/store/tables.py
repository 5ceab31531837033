"""The SQL side of the datasets, and the tables of the store's own bookkeeping.

Dataset tables are made from their schema through our own map dtype → (SQL type, codec), because dataframely's
`to_sqlalchemy_columns()` gives lossy NUMERIC, naive DATETIME and VARCHAR(n). Dates and words are TEXT, instants are
integer microseconds, flags are 0/1; amounts are TEXT on SQLite and NUMERIC(38, 18) on PostgreSQL.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table
from sqlalchemy.types import TypeEngine

from fin_infra.datasets import DATASETS, SYNCED, dataset
from fin_infra.datasets.base import Dataset
from fin_infra.store.columns import AMOUNT, PLACE
from fin_infra.store.columns import TEXT as Text

METADATA = MetaData()


def sql_type(dtype: pl.DataType) -> TypeEngine[Any]:
    """TEXT, BIGINT, and on PostgreSQL NUMERIC: the storage classes that lose nothing."""
    if is_amount(dtype):
        return AMOUNT
    if is_number(dtype):
        return BigInteger()
    if isinstance(dtype, pl.String | pl.Enum | pl.Date):
        return Text
    raise TypeError(f"no exact SQL type for {dtype}; add it to sql_type and to the codec")


def is_amount(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Decimal)


def is_number(dtype: pl.DataType) -> bool:
    """Stored as an integer: microseconds, a flag or a count."""
    return isinstance(dtype, pl.Datetime | pl.Boolean | pl.Int64)


def _columns(schema: type[Dataset]) -> list[Column[Any]]:
    columns = schema.columns()
    key = schema.key()
    return [
        Column(name, sql_type(dtype), primary_key=name in key, nullable=columns[name].nullable)
        for name, dtype in schema.dtypes().items()
    ]


def _dataset_table(name: str) -> Table:
    schema = dataset(name)
    known = [Column("known_from", BigInteger, nullable=False)] if name in SYNCED else []
    return Table(name, METADATA, *_columns(schema), *known, sqlite_with_rowid=False)


def _history_table(name: str) -> Table:
    schema = dataset(name)
    return Table(
        f"{name}_history",
        METADATA,
        *_columns(schema),
        Column("known_from", BigInteger, primary_key=True),
        Column("known_to", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


TABLES = {name: _dataset_table(name) for name in DATASETS}
HISTORY = {name: _history_table(name) for name in SYNCED}

CONNECTIONS = Table(
    "connections", METADATA,
    Column("connection_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),            # active | reauth | disabled
    Column("reason", Text),                           # why it is not active, in one sentence
    Column("generation", Integer, nullable=False),    # counts credentials: cursors belong to one
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("quota_key", Text),                        # whose quota its calls spend; NULL: linked before there was one
    sqlite_with_rowid=False,
)  # fmt: skip

SECRETS = Table(
    "secrets", METADATA,
    Column("connection_id", Text, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),      # sealed by the vault
)  # fmt: skip

CURSORS = Table(
    "cursors", METADATA,
    Column("connection_id", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("version", Integer, nullable=False),       # compare-and-set: one more with every commit
    Column("generation", Integer, nullable=False),
    Column("body", Text, nullable=False),             # opaque JSON of the stream's kind
    Column("run_id", Text),                           # the run that published it: a second delivery is a no-op
    sqlite_with_rowid=False,
)  # fmt: skip

STAGED_PAGES = Table(
    "staged_pages", METADATA,
    Column("connection_id", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("position", Text, nullable=False),         # where the vendor's next page begins
    Column("status", Integer, nullable=False),
    Column("staged_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),      # sealed by the vault
)  # fmt: skip

CHANGES = Table(
    "changes", METADATA,
    Column("seq", PLACE, primary_key=True),
    Column("changed_at", BigInteger, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("connection_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("inserted", Text, nullable=False),         # JSON lists of keys, in the dataset's key order
    Column("updated", Text, nullable=False),
    Column("removed", Text, nullable=False),
    sqlite_autoincrement=True,                        # a number is never used twice: readers keep it as their place
)  # fmt: skip

QUARANTINE = Table(
    "quarantine", METADATA,
    Column("quarantine_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("connection_id", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),      # the evidence, sealed by the vault
    Column("kind", Text, nullable=False),             # page | row: an answer as it came, or one row and its constants
)  # fmt: skip

ALIASES = Table(
    "aliases", METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),           # account | transaction
    Column("vendor_id", Text, primary_key=True),
    Column("id", Text, nullable=False),               # ours: the vendor's id at first sight
    Column("valid_from", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

LEFT_OUT = Table(
    "left_out", METADATA,
    Column("connection_id", Text, primary_key=True),
    Column("account_id", Text, primary_key=True),     # an account its owner does not want: listed, and never asked for
    Column("since", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

SYMBOL_ALIASES = Table(
    "symbol_aliases", METADATA,
    Column("provider", Text, primary_key=True),       # whose spelling it is
    Column("symbol", Text, primary_key=True),
    Column("valid_from", Text, primary_key=True),     # the first day it means this instrument; "" since ever
    Column("valid_to", Text),                         # the first day it no longer does; NULL still
    Column("instrument", Text, nullable=False),       # InstrumentKey
    Column("reason", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

DUE = Table(
    "due", METADATA,
    Column("schedule", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("job", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("session", Text),
    Column("rule", Text, nullable=False),             # what `due_at` was computed from: a changed rule starts anew
    Index("due_by_time", "due_at"),
    sqlite_with_rowid=False,
)  # fmt: skip

WEBHOOK_RECEIPTS = Table(
    "webhook_receipts", METADATA,
    Column("provider", Text, primary_key=True),
    Column("digest", Text, primary_key=True),         # of signature and body: the same delivery twice is one
    Column("received_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

WEBHOOK_KEYS = Table(
    "webhook_keys", METADATA,
    Column("provider", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("body", Text, nullable=False),             # the vendor's public key, as JSON
    Column("fetched_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

BACKFILLS = Table(
    "backfills", METADATA,
    Column("backfill_id", Text, primary_key=True),
    Column("connection_id", Text, nullable=False),    # whose credential is spent
    Column("tenant_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("first", Text, nullable=False),
    Column("last", Text, nullable=False),
    Column("subjects", Text, nullable=False),         # JSON list: InstrumentKeys that were asked for
    Column("state", Text, nullable=False),            # running | paused | cancelled | done | failed
    Column("reason", Text),                           # why it is so, or what is known to be missing, in one sentence
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("backfills_by_state", "state"),
    sqlite_with_rowid=False,
)  # fmt: skip

BACKFILL_CHUNKS = Table(
    "backfill_chunks", METADATA,
    Column("backfill_id", Text, primary_key=True),
    Column("n", Integer, primary_key=True),           # newest days first
    Column("connection_id", Text, nullable=False),
    Column("subjects", Text, nullable=False),         # JSON list: instruments that are asked about together
    Column("first", Text, nullable=False),
    Column("last", Text, nullable=False),
    Column("expected", Integer, nullable=False),      # sessions over all subjects, when it was planned
    Column("planned_calls", Integer, nullable=False),
    Column("state", Text, nullable=False),            # open | done | parked
    Column("calls", Integer, nullable=False),         # made so far, by all attempts
    Column("rows", Integer, nullable=False),          # that came and are held now
    Column("run_id", Text),                           # the run that committed it
    Column("tries", Integer, nullable=False),         # attempts that failed
    Column("detail", Text),                           # JSON: reason, missing, refused, invalid
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

SERIES_KNOWN = Table(
    "series_known", METADATA,
    Column("provider", Text, primary_key=True),       # what a vendor has not, it has for no tenant
    Column("dataset", Text, primary_key=True),
    Column("subject", Text, primary_key=True),        # InstrumentKey
    Column("body", Text, nullable=False),             # JSON: before which day it has nothing, which sessions, and since
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

ORDERS = Table(
    "orders", METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),            # the caller's: the same key is the same order, for ever
    Column("client_order_id", Text, nullable=False),  # made of the three, what the vendor knows it by
    Column("instrument", Text, nullable=False),       # InstrumentKey
    Column("symbol", Text, nullable=False),           # the vendor's spelling
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("time_in_force", Text, nullable=False),
    Column("qty", Text),                              # amounts: exact text on every engine
    Column("notional", Text),
    Column("limit_price", Text),
    Column("stop_price", Text),
    Column("extended_hours", BigInteger, nullable=False),
    Column("live", BigInteger, nullable=False),       # 1: with real money
    Column("state", Text, nullable=False),            # see fin_infra.orders.STATES
    Column("version", Integer, nullable=False),       # compare-and-set: one more with every step
    Column("attempts", Integer, nullable=False),      # times it was sent
    Column("sent_at", BigInteger),                    # when the last attempt began
    Column("vendor_id", Text),
    Column("vendor_status", Text),                    # the vendor's own word
    Column("filled_qty", Text),
    Column("filled_avg_price", Text),
    Column("reason", Text),                           # why it is so, in one sentence
    Column("submitted_at", BigInteger),               # the vendor's times
    Column("vendor_updated_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("orders_by_client_order_id", "client_order_id", unique=True),
    Index("orders_by_state", "state"),
    sqlite_with_rowid=False,
)  # fmt: skip

ORDER_EVENTS = Table(
    "order_events", METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("connection_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", Integer, primary_key=True),     # the order's, after this step
    Column("at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("vendor_status", Text),
    Column("reason", Text),
    sqlite_with_rowid=False,
)  # fmt: skip

META = Table(
    "meta", METADATA,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)  # fmt: skip

Index("transactions_by_connection", TABLES["transactions"].c.connection_id)
Index("holdings_by_connection", TABLES["holdings"].c.connection_id)
Index("activities_by_connection", TABLES["activities"].c.connection_id)
Index("runs_by_stream", TABLES["runs"].c.connection_id, TABLES["runs"].c.dataset, TABLES["runs"].c.started_at)
Index("findings_by_stream", TABLES["findings"].c.connection_id, TABLES["findings"].c.dataset)
Index("quarantine_by_connection", QUARANTINE.c.connection_id)
Index("aliases_by_id", ALIASES.c.connection_id, ALIASES.c.id)
Index("aliases_by_vendor_id", ALIASES.c.kind, ALIASES.c.vendor_id)

OWNED_BY_CONNECTION = [
    *(table for table in (*TABLES.values(), *HISTORY.values()) if "connection_id" in table.c),
    CURSORS, STAGED_PAGES, CHANGES, QUARANTINE, ALIASES, LEFT_OUT, DUE, BACKFILLS, BACKFILL_CHUNKS, ORDERS,
    ORDER_EVENTS, SECRETS, CONNECTIONS,
]  # fmt: skip
"""Every table with rows of a connection: what erasing it empties. Prices and instruments belong to nobody and stay."""
