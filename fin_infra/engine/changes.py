"""From the pages of an answer to what changes in the store, by the kind of stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Built, Dataset
from fin_infra.engine.reconcile import SHRINK_SHARE, Doubt, Reconciled, reconcile
from fin_infra.engine.run import Run
from fin_infra.engine.staging import Restored
from fin_infra.errors import FinInfraError, FrameError, StoreError
from fin_infra.outcomes import where
from fin_infra.providers.base import Account, Ask, Page, Source
from fin_infra.store import Change, Store

Place = dict[str, Any]
"""A stream's position: `accounts`, by the vendor's id: newest, oldest_pending, undated_pending, suspect ids."""


def changes_of(run: Run, ask: Ask, place: Place, store: Store) -> list[Change]:
    """One change per dataset from all complete parts of the answer. Moves `place` on and fills the run's doubts."""
    changes: dict[type[Dataset], list[Change]] = {}
    for feed in run.source.feeds:
        for part, pages in run.pages.items():
            if part[0] != feed.schema.dataset_name() or part not in run.complete:
                continue
            built = _built(run, ask, part[0], part[1], pages, store)
            if built is not None:
                change = _change(run, feed.schema, part[1], built, ask, place, store)
                changes.setdefault(feed.schema, []).append(change)
    return [
        Change(schema, pl.concat([c.rows for c in group]), [key for c in group for key in c.removed])
        for schema, group in changes.items()
    ]


def since_of(source: Source, place: Place, today: date) -> dict[str, date]:
    """Window streams: each account from its newest row, or its oldest pending one, less the overlap.

    A row dated ahead of today does not move the window on: what is booked until then would never be asked for. An
    account with a pending row that has no date is read whole.
    """
    since = {}
    if source.kind == "window":
        for vendor_id, spot in place.get("accounts", {}).items():
            if (newest := _day(spot.get("newest"))) and not spot.get("undated_pending"):
                first = min(newest, today, _day(spot.get("oldest_pending")) or newest)
                since[vendor_id] = _earlier(first, source.overlap)
    return since


def _earlier(day: date, by: timedelta) -> date:
    return date.fromordinal(max(1, day.toordinal() - by.days))


def _later(day: date, by: timedelta) -> date:
    return date.fromordinal(min(date.max.toordinal(), day.toordinal() + by.days))


def _built(run: Run, ask: Ask, dataset: str, subject: str | None, pages: list[Page], store: Store) -> Built | None:
    """Rows of one account's pages, under our ids. A page of the wrong shape fails its account alone."""
    feed = run.source.feed(dataset)
    account = run.accounts.get(subject) if subject else None
    try:
        built = feed.frames([_value(feed.parse, page) for page in pages], ask, account)
    except Exception as error:
        if subject is None or isinstance(error, StoreError):
            raise
        known = error if isinstance(error, FinInfraError) else None
        run.account_failed(dataset, subject, known or FrameError(f"rows that cannot be built: {where(error)}"))
        run.complete.discard((dataset, subject))
        return None
    for reject in built.rejects:
        run.rejects += 1
        row_id = str(reject.row.get("transaction_id") or reject.row.get("account_id") or "").strip()
        run.doubts.append(
            (dataset, Doubt("row_invalid", row_id or "a row without an id", f"not kept: {reject.reason}"))
        )
        run.evidence.append((dataset, reject.reason, json.dumps(reject.row).encode()))
    for twin in built.differing:
        run.doubts.append((dataset, Doubt("differing_twins", twin[-1], "came twice with different contents")))
    return replace(built, good=_renamed(built.good, run, store))


def _renamed(frame: pl.DataFrame, run: Run, store: Store) -> pl.DataFrame:
    """Vendor ids that changed since first sight become ours."""
    for column, kind in (("account_id", "account"), ("transaction_id", "transaction")):
        if column in frame.columns and (aliases := store.aliases(run.connection.connection_id, kind)):
            frame = frame.with_columns(pl.col(column).replace(aliases))
    return frame


def _change(
    run: Run, schema: type[Dataset], subject: str | None, built: Built, ask: Ask, place: Place, store: Store
) -> Change:
    if run.source.kind == "window" and subject is not None:
        return _window(run, schema, run.accounts[subject], built, ask, place, store)
    if schema is Accounts:
        return _accounts(run, built, place, store)
    return _snapshot(run, schema, run.accounts[subject] if subject else None, built, store)


def _window(
    run: Run, schema: type[Dataset], account: Account, built: Built, ask: Ask, place: Place, store: Store
) -> Change:
    """Upserts the window's rows; what vanished from it is matched, expired or removed. See `reconcile`."""
    since = ask.since.get(account.vendor_id)
    tenant = run.connection.tenant_id
    mine: dict[str, Any] = {"tenant_id": tenant, "account_id": account.account_id}
    held = store.rows(schema, mine if since is None else {**mine, "booked_on": (">=", since)})
    if since is not None:
        held = pl.concat([held, store.rows(schema, {**mine, "booked_on": None})])
    ids = [(reject.row.get("transaction_id") or "").strip() for reject in built.rejects]
    spot = place["accounts"].get(account.vendor_id, {})
    done = reconcile(
        held, built.good, account=account.account_id, keep=frozenset(ids) if all(ids) else None,
        suspect=frozenset(spot.get("suspect", ())), judged_from=since and _later(since, run.source.margin),
    )  # fmt: skip
    run.doubts += [(schema.dataset_name(), doubt) for doubt in done.doubts]
    place["accounts"][account.vendor_id] = _spot(spot, held, done, settled=not built.rejects)
    days = [str(day) for day in (done.rows["booked_on"].max(), spot.get("newest")) if day is not None]
    if days:
        run.newest[account.vendor_id] = max(days)
    return Change(schema, done.rows, [(tenant, account.account_id, gone) for gone in done.removed])


def _spot(before: Place, held: pl.DataFrame, done: Reconciled, *, settled: bool) -> Place:
    """Where the account stands now. While something waits to be confirmed or was rejected, the window does not move."""
    kept = held.filter(~pl.col("transaction_id").is_in([*done.rows["transaction_id"].to_list(), *done.removed]))
    pending = pl.concat([kept, done.rows.select(kept.columns)]).filter(pl.col("status") == "pending")["booked_on"]
    days = [day for day in (done.rows["booked_on"].max(), _day(before.get("newest"))) if isinstance(day, date)]
    newest = max(days, default=None) if settled and not done.suspect else _day(before.get("newest"))
    spot = {
        "newest": _iso(newest), "oldest_pending": _iso(pending.min()), "undated_pending": pending.null_count() > 0,
        "suspect": sorted(done.suspect),
    }  # fmt: skip
    return {name: value for name, value in spot.items() if value}


def _accounts(run: Run, built: Built, place: Place, store: Store) -> Change:
    """The whole set: one no longer listed is closed, not deleted; a much shorter list closes nothing at first."""
    before, place["suspect"] = place.get("suspect"), None
    held = store.rows(Accounts, {"connection_id": run.connection.connection_id})
    rejected = [(reject.row.get("account_id") or "").strip() for reject in built.rejects]
    listed = [*built.good["account_id"].to_list(), *rejected]
    absent = held.filter(~pl.col("account_id").is_in(listed) & (pl.col("status") == "open"))
    if absent.is_empty() or "" in rejected:
        return Change(Accounts, built.good)
    digest = hashlib.sha256("\n".join(sorted(absent["account_id"])).encode()).hexdigest()[:16]
    open_ones = held.filter(pl.col("status") == "open").height
    shrunk = built.good.is_empty() or absent.height > max(1, SHRINK_SHARE * open_ones)
    if shrunk and before != digest:
        place["suspect"] = digest
        detail = f"{absent.height} of {open_ones} accounts are not listed; none is closed until a second read agrees"
        run.doubts.append(("accounts", Doubt("shrink_guard", run.connection.connection_id, detail)))
        return Change(Accounts, built.good)
    closed = absent.with_columns(status=pl.lit("closed").cast(absent.schema["status"]), run_id=pl.lit(run.run_id))
    return Change(Accounts, pl.concat([built.good, closed]))


def _snapshot(run: Run, schema: type[Dataset], account: Account | None, built: Built, store: Store) -> Change:
    """The whole set of one account: what it no longer holds leaves the table in the same commit."""
    if account is None or built.rejects:
        return Change(schema, built.good)
    where = {"tenant_id": run.connection.tenant_id, "account_id": account.account_id}
    came = set(built.good.select(schema.key()).rows())
    held = [tuple(row[name] for name in schema.key()) for row in store.records(schema, where)]
    return Change(schema, built.good, [key for key in held if key not in came])


def _value(parse: Callable[[bytes], Any], page: Page) -> tuple[Any, datetime]:
    if isinstance(page.value, Restored):
        return page.value
    assert page.reply is not None, "a page without an answer is an account's error and never comes here"
    return (parse(page.reply.body) if page.value is None else page.value), page.reply.at


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def _iso(value: Any) -> str | None:
    return value.isoformat() if value is not None else None
