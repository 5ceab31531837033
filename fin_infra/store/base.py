"""What a store does, for any SQL engine behind it: the protocol that the contract suite holds every store to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

import polars as pl
from sqlalchemy import Connection as SqlConnection

from fin_infra.datasets.base import Dataset
from fin_infra.instruments.aliases import SymbolAlias

Now = Callable[[], datetime]


class Stream(NamedTuple):
    """What is leased, synced, fresh or stale: one dataset of one connection, written `CONNECTION/DATASET`."""

    connection_id: str
    dataset: str

    def __str__(self) -> str:
        return f"{self.connection_id}/{self.dataset}"


@dataclass(frozen=True)
class Cursor:
    """Where a stream stands: `version` for the compare-and-set, `body` opaque to the store."""

    version: int = 0
    generation: int = 1
    body: str = "{}"
    run_id: str | None = None


@dataclass(frozen=True)
class Change:
    """Rows of one dataset: `rows` to upsert (a frame of its schema), `removed` keys that leave the table."""

    schema: type[Dataset]
    rows: pl.DataFrame
    removed: Sequence[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Records:
    """A few rows of bookkeeping as plain dictionaries: no frame is made for them."""

    schema: type[Dataset]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Forgotten:
    """Evidence that is needed no more: entries of a connection whose ids begin with one of these."""

    connection_id: str
    begins: Sequence[str]


Book = Change | Records | Forgotten


@dataclass(frozen=True)
class Sealed:
    """Evidence of something that could not be used, encrypted before it comes here.

    `kind`: page (an answer as it came) or row (one row and its constants). `id`: the same thing seen again takes the
    place of what was kept of it; "" keeps each apart.
    """

    dataset: str
    reason: str
    body: bytes
    kind: str = "page"
    id: str = ""


@dataclass(frozen=True)
class Kept:
    """An entry of the quarantine without its evidence. `at`: when it was last seen, by `run_id`."""

    quarantine_id: str
    tenant_id: str
    connection_id: str
    dataset: str
    run_id: str
    at: datetime
    reason: str
    kind: str


class Alias(NamedTuple):
    """A name that is not the first: of kind account, transaction or activity the vendor's id for what we call `id`; of
    kind persistent its lasting id of an account, of kind login its word for the connection; of kind superseded the
    pending row whose place the posted row `id` took. `reason`: the evidence."""

    kind: str
    vendor_id: str
    id: str
    reason: str


class Learned(NamedTuple):
    """An alias, whose it is, and since when it is known."""

    alias: Alias
    tenant_id: str
    connection_id: str
    at: datetime


@dataclass(frozen=True)
class Batch:
    """All that one run commits: rows, bookkeeping frames (runs, streams, account states, findings), evidence, names.

    `atomic`: never cut into several transactions, however long (a snapshot is switched whole). `unfinished`:
    subjects whose staged pages stay, because the run could not bring them to their end. `halfway`: the cursor's body
    until the last of several transactions; None: it stays as it was. `within`: what else the (last) transaction writes.
    """

    changes: Sequence[Change]
    books: Sequence[Book] = ()
    quarantined: Sequence[Sealed] = ()
    atomic: bool = False
    unfinished: Sequence[str] = ()
    aliases: Sequence[Alias] = ()
    halfway: str | None = None
    within: Callable[[SqlConnection], None] | None = None


@dataclass
class Applied:
    """What a commit did, per dataset: inserted, updated, removed, unchanged; and the cursor's new version."""

    version: int
    counts: dict[str, Counts] = field(default_factory=dict)

    def total(self) -> Counts:
        return Counts(*(sum(parts) for parts in zip(*self.counts.values(), strict=True))) if self.counts else Counts()


class Counts(NamedTuple):
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class StagedPage:
    """A page that was paid for and not yet applied: its sealed body, and where the next one begins."""

    subject: str
    n: int
    position: str
    status: int
    body: bytes
    staged_at: datetime


@dataclass(frozen=True)
class Query:
    """Which rows of a dataset to read. None: no such filter. `since` and `until` are inclusive days."""

    tenant: str | None = None
    connection: str | None = None
    accounts: Sequence[str] | None = None
    instruments: Sequence[str] | None = None
    since: date | None = None
    until: date | None = None
    as_of: datetime | None = None
    history: bool = False


class Store(Protocol):
    """One transactional store. Every method raises `StoreError` when the database cannot be used."""

    url: str

    def apply(
        self, batch: Batch, *, stream: Stream, run_id: str, expect: Cursor, next: str,
        books: Callable[[Applied], Sequence[Book]] | None = None, dry_run: bool = False,
    ) -> Applied:  # fmt: skip
        """Commits rows and cursor together, or nothing. Raises `StaleCursor` when another run committed first.

        `books` makes the bookkeeping frames once the counts are known. `dry_run`: counts only, nothing is written.
        """
        ...

    def record(
        self, books: Sequence[Book], quarantined: Sequence[Sealed] = (), *, connection_id: str, run_id: str = "none"
    ) -> None:
        """Commits bookkeeping without rows: a run that failed, a stream's new state."""
        ...

    def cursor(self, stream: Stream, generation: int) -> Cursor: ...

    def rows(self, schema: type[Dataset], where: Mapping[str, Any]) -> pl.DataFrame:
        """Current rows whose columns equal the given values; a tuple `(op, value)` compares otherwise.

        `op` is one of SQL's or `>= or null`.
        """
        ...

    def records(self, schema: type[Dataset], where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same as plain dictionaries, cheaper for a handful of rows. Amounts and dates stay text."""
        ...

    def values(self, schema: type[Dataset], columns: Sequence[str], where: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """These columns of the same rows just as they are stored: the cheapest way to look at what is held."""
        ...

    def read(self, schema: type[Dataset], query: Query, columns: Sequence[str] | None = None,
             limit: int | None = None) -> Iterator[pl.DataFrame]:  # fmt: skip
        """Frames of one consistent snapshot, in key order."""
        ...

    def check(self, schema: type[Dataset], query: Query) -> None:
        """Raises `UsageError` when the dataset cannot be read that way."""
        ...

    def changes(self, since: int = 0, *, connection: str | None = None) -> pl.DataFrame:
        """The change feed after place `since`: seq, changed_at, dataset, op, key (list of text), run_id."""
        ...

    def stage_pages(self, stream: Stream, generation: int, pages: Sequence[StagedPage]) -> None: ...

    def staged_pages(self, stream: Stream, generation: int) -> list[StagedPage]: ...

    def unstage(self, stream: Stream) -> None:
        """Forgets the staged pages of a stream: what they say no longer fits together."""
        ...

    def quarantined(self, connection: str | None = None) -> list[Kept]:
        """What is in quarantine, last seen first; of one connection, or all."""
        ...

    def evidence(self, quarantine_id: str) -> bytes | None:
        """The sealed evidence of an entry; None when there is none of this id."""
        ...

    def instruments_held(self, tenant: str) -> list[str]:
        """InstrumentKeys that the tenant's accounts hold, ever held or ever traded, in order."""
        ...

    def holders(self, tenant: str) -> dict[str, int]:
        """How many of the tenant's accounts hold each instrument now."""
        ...

    def aliases(self, connection_id: str) -> dict[str, dict[str, str]]:
        """By kind (account, persistent, login): the vendor's id → ours, the newest name of each last.

        Of transactions and activities, which may be many, only whether there are any: an empty entry of their kind.
        See `names`.
        """
        ...

    def names(
        self, kind: str, *, vendor_ids: Sequence[str] | None = None, ids: Sequence[str] | None = None,
        tenant: str | None = None, connection: str | None = None,
    ) -> list[Learned]:  # fmt: skip
        """What was learned of these vendor's ids, or of these ids of ours, oldest first."""
        ...

    def learn(self, sql: SqlConnection, connection_id: str, aliases: Sequence[Alias]) -> None:
        """Names of a connection that were learned elsewhere than by a run, as a part of the caller's transaction."""
        ...

    def places(self, schema: type[Dataset], columns: Sequence[str], where: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Different values of these columns among all rows, current and past, that are equal to `where`."""
        ...

    def symbol_aliases(self, provider: str | None = None) -> list[SymbolAlias]:
        """What symbols of a vendor, or of all, were said to mean; by vendor, symbol and first day."""
        ...

    def say_symbol(self, alias: SymbolAlias, now: datetime) -> None:
        """Keeps an alias; the same symbol from the same day on is said anew.

        Raises `UsageError` when it overlaps another one of its symbol: one day would have two meanings.
        """
        ...

    def idle_connections(self, tenant: str) -> list[str]:
        """Connections of the tenant that are not in use: disabled, or waiting for their owner."""
        ...

    def held(self, schema: type[Dataset], keys: Sequence[tuple[str, ...]]) -> pl.DataFrame:
        """The current rows of these keys."""
        ...

    def erase(self, connection_id: str) -> int:
        """Removes every row of a connection, its history, evidence and secrets. Returns how many rows went."""
        ...

    def reading(self) -> AbstractContextManager[SqlConnection]:
        """A read transaction: reads within the block see one state. Never await within it."""
        ...

    def writing(self, *, alone: bool = False) -> AbstractContextManager[SqlConnection]:
        """A write transaction, for the bookkeeping of connections and plans; `alone`: what it reads, nobody writes."""
        ...

    def close(self) -> None: ...
