"""From the pages of an answer to what changes in the store, by the kind of stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import polars as pl

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Built, Dataset
from fin_infra.engine.reconcile import Doubt, reconcile
from fin_infra.engine.run import Run
from fin_infra.engine.staging import Restored
from fin_infra.errors import DefectError
from fin_infra.providers.base import Account, Ask, Page, Source
from fin_infra.store import Change, Store

Place = dict[str, Any]
"""A stream's position: `accounts`: by the vendor's id, newest, oldest_pending and suspect; `suspect` of the whole."""


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


def since_of(source: Source, place: Place) -> dict[str, date]:
    """Window streams: each account from its newest row less the overlap, or from its oldest open pending row."""
    since = {}
    if source.kind == "window":
        for vendor_id, spot in place.get("accounts", {}).items():
            if newest := spot.get("newest"):
                start = date.fromisoformat(newest) - source.overlap
                pending = spot.get("oldest_pending")
                since[vendor_id] = min(start, date.fromisoformat(pending)) if pending else start
    return since


def _built(run: Run, ask: Ask, dataset: str, subject: str | None, pages: list[Page], store: Store) -> Built | None:
    """Rows of one account's pages, under our ids. A page of the wrong shape fails its account alone."""
    feed = run.source.feed(dataset)
    account = run.accounts.get(subject) if subject else None
    try:
        built = feed.frames([_value(feed.parse, page) for page in pages], ask, account)
    except DefectError as error:
        if subject is None:
            raise
        run.account_failed(dataset, subject, error)
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
    where: dict[str, Any] = {"tenant_id": tenant, "account_id": account.account_id}
    if since is not None:
        where["booked_on"] = (">=", since)
    ids = [(reject.row.get("transaction_id") or "").strip() for reject in built.rejects]
    spot = place["accounts"].get(account.vendor_id, {})
    done = reconcile(
        store.rows(schema, where), built.good, account=account.account_id,
        keep=frozenset(ids) if all(ids) else None, suspect=spot.get("suspect"),
    )  # fmt: skip
    run.doubts += [(schema.dataset_name(), doubt) for doubt in done.doubts]
    days = [day for day in (done.rows["booked_on"].max(), _day(spot.get("newest"))) if isinstance(day, date)]
    newest = max(days, default=None)
    pending = done.rows.filter(pl.col("status") == "pending")["booked_on"].min()
    moved = {"newest": _iso(newest), "oldest_pending": _iso(pending), "suspect": done.suspect}
    place["accounts"][account.vendor_id] = {name: value for name, value in moved.items() if value is not None}
    if newest is not None:
        run.newest[account.vendor_id] = str(newest)
    return Change(schema, done.rows, [(tenant, account.account_id, gone) for gone in done.removed])


def _accounts(run: Run, built: Built, place: Place, store: Store) -> Change:
    """The whole set: one no longer listed is closed, not deleted; an empty list closes nothing at first."""
    before, place["suspect"] = place.get("suspect"), None
    held = store.rows(Accounts, {"connection_id": run.connection.connection_id})
    rejected = [(reject.row.get("account_id") or "").strip() for reject in built.rejects]
    listed = [*built.good["account_id"].to_list(), *rejected]
    absent = held.filter(~pl.col("account_id").is_in(listed) & (pl.col("status") == "open"))
    if absent.is_empty() or "" in rejected:
        return Change(Accounts, built.good)
    digest = hashlib.sha256("\n".join(sorted(absent["account_id"])).encode()).hexdigest()[:16]
    if built.good.is_empty() and before != digest:
        place["suspect"] = digest
        detail = f"none of {absent.height} accounts is listed any more; nothing is closed until a second read agrees"
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
