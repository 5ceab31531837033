"""Cursor streams: a log of pages becomes its net effect, account by account."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence

import polars as pl

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Dataset, Reject
from fin_infra.datasets.transactions import Transactions
from fin_infra.engine.identities import moved, stepped
from fin_infra.engine.identity import Found
from fin_infra.engine.migrating import continued_rows
from fin_infra.engine.parts import Place, confirmable, doubted, first_ids, ids_of, note, renamed, value_of
from fin_infra.engine.quarantine import NAMED, set_aside
from fin_infra.engine.reconcile import reconcile, reconcile_delta
from fin_infra.engine.run import Run
from fin_infra.errors import WireError
from fin_infra.providers.base import Account, Ask, Feed, Page, Source
from fin_infra.store import Change, Store


def begin_of(source: Source, place: Place, left_out: Collection[str] = ()) -> str:
    """Where the vendor goes on; the beginning when what a whole read missed waits for a second one to miss it too, or
    an account is taken in whose rows were passed over."""
    anew = place.get("unconfirmed") or taken_in(place, left_out)
    return "" if source.kind != "cursor" or anew else str(place.get("cursor", ""))


def taken_in(place: Place, left_out: Collection[str]) -> bool:
    """Whether there are accounts, passed over behind the cursor, that are no longer left out."""
    return any(account not in left_out for account in place.get("passed_over", ()))


def halfway(body: str) -> str:
    """The place of a stream while only some of a long commit's rows are in: should it end there, they come again as
    rows that are held, and what they moved could not be told. The balances are then held against a new anchor."""
    place: Place = json.loads(body)
    if "accounts" in place:
        spots = {k: {n: v for n, v in spot.items() if n != "anchor"} for k, spot in place["accounts"].items()}
        place["accounts"] = {k: spot for k, spot in spots.items() if spot}
    return json.dumps(place, sort_keys=True, separators=(",", ":"))


def retried(body: str, rows: pl.DataFrame, aliases: Mapping[str, Mapping[str, str]], store: Store) -> str:
    """The place of a stream after transactions of it were built again: they moved their accounts as any others did."""
    place: Place = json.loads(body)
    vendor_ids = {ours: vendor_id for vendor_id, ours in aliases.get("account", {}).items()}
    for (account,), mine in rows.group_by("account_id"):
        spot = place.get("accounts", {}).get(vendor_ids.get(str(account), str(account)), {})
        if "anchor" in spot:
            held = store.held(Transactions, list(mine.select(Transactions.key()).rows()))
            spot["anchor"] = stepped(spot["anchor"], held, mine, ())
    return json.dumps(place, sort_keys=True, separators=(",", ":"))


def delta(run: Run, feed: Feed, pages: Sequence[Page], ask: Ask, place: Place, store: Store) -> Change:
    """The net effect of a cursor stream's pages, account by account, and the cursor behind them."""
    last = pages[-1]
    if not last.cursor:
        raise WireError(f"the last page of {run.stream} has no cursor: what follows could never be asked for")
    rows, removed, rejects = _net(run, feed, pages, ask, store)
    rows, ended = continued_rows(run, rows, store)
    set_aside(run, feed.schema, rejects)
    run.history = last.history
    rows = rows.filter(~pl.col("account_id").is_in(sorted(run.left_out.accounts)))
    place.pop("passed_over", None)
    if run.left_out.accounts:
        place["passed_over"] = sorted(run.left_out.accounts)
    if run.rejects <= NAMED:  # else not all of them are kept as evidence, and behind the cursor they would be lost
        place["cursor"] = last.cursor
    tenant, spots = run.connection.tenant_id, place["accounts"]
    ours = {account.account_id: vendor_id for vendor_id, account in run.accounts.items()}
    # of an account that is no longer listed a whole pass says nothing: it has no rows here, and is closed, not empty
    wholly = {*rows["account_id"], *(() if run.short_list else ours)} if run.whole else set[str]()
    mentioned = {*rows["account_id"], *wholly, *(_accounts_of(run, store) if removed else ())}
    keep = ids_of(rejects, "transaction_id", run, store)
    parts, gone = [rows.clear()], []
    suspects = {v: {k: spot[k] for k in ("suspect", "missed_at") if k in spot} for v, spot in spots.items()}
    anchors = {vendor_id: moved(spots.get(vendor_id, {}).get("anchor", {})) for vendor_id in run.accounts}
    for account in sorted(mentioned):
        mine = rows.filter(pl.col("account_id") == account)
        vendor_id = ours.get(account, account)
        if account in wholly:
            spot = spots.get(vendor_id, {})
            told = {"provider": run.connection.provider} if vendor_id != account else {}
            held = store.rows(feed.schema, {"tenant_id": tenant, "account_id": account, **told})
            done = reconcile(
                held, mine, account=account, keep=frozenset(keep) if all(keep) else None,
                suspect=confirmable(spot, run.started_at),
                # of one without rows the others tell how far back the vendor's history goes
                judged_from=None if mine.height else rows["booked_on"].min(),  # type: ignore[arg-type]
            )  # fmt: skip
            suspects[vendor_id] = doubted(spot, done.suspect, run.started_at)
        else:
            held = _touched(feed.schema, account, mine, removed, run, store)
            done = reconcile_delta(held, mine, removed)
        anchors[vendor_id] = stepped(anchors.get(vendor_id, {}), held, done.rows, done.removed)
        if _foreign(run.accounts.get(vendor_id), held, done.rows):
            anchors[vendor_id] = {}
        note(run, feed.schema.dataset_name(), done)
        parts.append(done.rows)
        gone += [(tenant, account, row_id) for row_id in done.removed]
        if (newest := done.rows["booked_on"].max()) is not None:
            run.newest[vendor_id] = str(newest)
    suspect = {vendor_id: spot for vendor_id, spot in suspects.items() if spot}
    place["unconfirmed"] = bool(suspect)
    whole = run.history is not False  # while older rows still come, they move no balance
    place["accounts"] = {**suspect, **{k: {**suspect.get(k, {}), "anchor": anchors[k]} for k in anchors if whole}}
    return Change(feed.schema, pl.concat([*parts, ended.select(rows.columns)]), gone)


def _foreign(account: Account | None, held: pl.DataFrame, rows: pl.DataFrame) -> bool:
    """Whether rows of another currency moved: by how much the balance moved for them, nobody says."""
    moved = {*rows["currency"].drop_nulls(), *held["currency"].drop_nulls()}
    return account is not None and account.currency is not None and bool(moved - {account.currency})


def _accounts_of(run: Run, store: Store) -> set[str]:
    """All accounts of the connection: what is taken back comes without an account, and may be of a closed one."""
    mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
    return {account for (account,) in store.values(Accounts, ("account_id",), mine)} - run.left_out.accounts


def _net(
    run: Run, feed: Feed, pages: Sequence[Page], ask: Ask, store: Store
) -> tuple[pl.DataFrame, set[str], list[Reject]]:
    """Rows as the last page says them, under our ids; ids that are taken back in the end; rows of no use.

    Pages are a log: what a later one says of an id stands, whatever an earlier one said.
    """
    assert feed.removed is not None
    frames, rejects = [feed.schema.empty()], dict[str, Reject]()
    removed: set[str] = set()
    nameless = itertools.count()
    for page in pages:
        value, at = value_of(feed.parse, page)
        built = feed.frames([(value, at)], ask, None)
        frames.append(built.good)
        rejected = {(r.row.get("transaction_id") or "").strip() or f" {next(nameless)}": r for r in built.rejects}
        came = set(built.good["transaction_id"])
        rejects = {row_id: r for row_id, r in rejects.items() if row_id not in came} | rejected
        removed = (removed - came - rejected.keys()) | set(feed.removed(value))
    # a row that came well and was then of no use stays as it was
    rows = pl.concat(frames).unique("transaction_id", keep="last", maintain_order=True)
    rows = rows.filter(~pl.col("transaction_id").is_in([*removed, *rejects]))
    _learn_again(set(rows["transaction_id"]), run, store)
    rows = renamed(rows, run, store).unique("transaction_id", keep="last", maintain_order=True)
    used = [r for row_id, r in rejects.items() if row_id not in removed]
    return rows, _still_named(removed, run, store) - set(rows["transaction_id"]), used


def _learn_again(vendor_ids: set[str], run: Run, store: Store) -> None:
    """A row that comes under an earlier name once more is known by that one from now on: see `_still_named`."""
    if not vendor_ids or "transaction" not in run.aliases:
        return
    ours = first_ids("transaction", vendor_ids, run, store)
    ids = {ours.get(vendor_id, vendor_id): vendor_id for vendor_id in sorted(vendor_ids)}
    names = store.names("transaction", ids=sorted(ids), tenant=run.connection.tenant_id)
    newest = {name.alias.id: name.alias.vendor_id for name in names}
    back = {ids[mine]: mine for mine, vendor_id in newest.items() if vendor_id != ids[mine]}
    run.learn("transaction", {k: Found(mine, "it came under an earlier id again") for k, mine in back.items()})


def _still_named(removed: set[str], run: Run, store: Store) -> set[str]:
    """Our ids of what is taken back. An old name of a row that goes on under a newer one takes nothing back."""
    if not removed or "transaction" not in run.aliases:
        return removed
    ours = first_ids("transaction", removed, run, store)
    wanted = {ours.get(vendor_id, vendor_id): vendor_id for vendor_id in sorted(removed)}
    names = store.names("transaction", ids=sorted(wanted), tenant=run.connection.tenant_id)
    newest = {name.alias.id: name.alias.vendor_id for name in names}
    return {mine for mine, vendor_id in wanted.items() if newest.get(mine, vendor_id) in removed}


def _touched(
    schema: type[Dataset], account: str, rows: pl.DataFrame, removed: set[str], run: Run, store: Store
) -> pl.DataFrame:
    """Rows held that the new ones change, take back or take the place of."""
    tenant = run.connection.tenant_id
    ids = {*rows["transaction_id"], *rows["pending_transaction_id"].drop_nulls(), *removed}
    held = store.held(schema, [(tenant, account, row_id) for row_id in sorted(ids)])
    posted = rows.filter(pl.col("status") == "posted")
    if posted["transaction_id"].is_in(held["transaction_id"].to_list()).all():
        return held
    waiting = store.rows(schema, {"tenant_id": tenant, "account_id": account, "status": "expired"})
    return pl.concat([held, waiting]).unique("transaction_id", maintain_order=True)
