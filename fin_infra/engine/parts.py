"""What all kinds of streams do with a page: parse it, and put its rows under our ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from fin_infra.datasets.base import Reject
from fin_infra.engine.reconcile import Reconciled
from fin_infra.engine.run import Run
from fin_infra.engine.staging import Restored
from fin_infra.providers.base import Page
from fin_infra.store import Store

Place = dict[str, Any]
"""A stream's position: `accounts`, by the vendor's id: newest, oldest_pending, undated_pending, suspect ids and
since when; or `instruments`, each with its spot, see `series`; or the vendor's own `cursor`."""
WINDOWED = {"transactions": ("transaction_id", "booked_on"), "activities": ("activity_id", "recorded_at")}
"""Datasets that are read by windows: the column of a row's id, and the one that the vendor cuts a window by."""
CONFIRMED_APART = timedelta(minutes=10)
"""A second read confirms what a first one missed only so much later: one outage spoils reads in a row."""
RENAMED = {"transaction": ("transaction_id", "pending_transaction_id"), "activity": ("activity_id",)}
"""Columns with ids that a vendor may issue anew, by the kind of their aliases."""


def confirmable(spot: Place, now: datetime) -> frozenset[str]:
    """What an earlier read missed, if that is long enough ago for this one to confirm it."""
    missed_at = spot.get("missed_at")
    if missed_at is not None and abs(now - datetime.fromisoformat(missed_at)) < CONFIRMED_APART:
        return frozenset()
    return frozenset(spot.get("suspect", ()))


def doubted(before: Place, suspect: Iterable[str], now: datetime) -> Place:
    """What a spot remembers of what is missed: what it is, and since when just that is."""
    ids = sorted(suspect)
    if not ids:
        return {}
    since = before.get("missed_at") if ids == before.get("suspect") else None
    return {"suspect": ids, "missed_at": since or now.isoformat()}


def value_of(parse: Callable[[bytes], Any], page: Page) -> tuple[Any, datetime]:
    if isinstance(page.value, Restored):
        return page.value
    assert page.reply is not None, "a page without an answer is an account's error and never comes here"
    return (parse(page.reply.body) if page.value is None else page.value), page.reply.at


def renamed(frame: pl.DataFrame, run: Run, store: Store) -> pl.DataFrame:
    """Vendor ids that changed since first sight become ours."""
    if (accounts := run.aliases.get("account")) and "account_id" in frame.columns:
        frame = frame.with_columns(pl.col("account_id").replace(accounts))
    for kind, columns in RENAMED.items():
        if kind in run.aliases and columns[0] in frame.columns:
            ids = {value for column in columns for value in frame[column].drop_nulls()}
            ours = first_ids(kind, ids, run, store)
            frame = frame.with_columns(pl.col(column).replace(ours) for column in columns)
    return frame


def first_ids(kind: str, vendor_ids: Iterable[str], run: Run, store: Store) -> dict[str, str]:
    """The vendor's ids, of these, that stand for another one of ours."""
    known = store.names(kind, vendor_ids=sorted(vendor_ids), connection=run.connection.connection_id)
    return {name.alias.vendor_id: name.alias.id for name in known}


def ids_of(rejects: Sequence[Reject], row_id: str, run: Run, store: Store) -> list[str]:
    """Our ids of the rows that came and cannot be used; "" for one that has none."""
    ids = [(reject.row.get(row_id) or "").strip() for reject in rejects]
    kind = row_id.removesuffix("_id")
    ours = first_ids(kind, ids, run, store) if kind in run.aliases else {}
    return [ours.get(vendor_id, vendor_id) for vendor_id in ids]


def note(run: Run, name: str, done: Reconciled) -> None:
    """What reconciling found: doubts, ids that were issued anew, and which posted row took a pending one's place."""
    run.doubts += [(name, doubt) for doubt in done.doubts]
    run.learn(WINDOWED[name][0].removesuffix("_id"), done.reissued)
    run.learn("superseded", done.settled)
