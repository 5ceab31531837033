"""Accounts that go on under a new id, and the names by which the vendor knows them for good."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import polars as pl

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.operations import AccountStates
from fin_infra.engine.identity import Found, continued
from fin_infra.engine.parts import value_of
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.providers.base import Feed, Page
from fin_infra.store import Store


def continued_list(run: Run, listed: pl.DataFrame, store: Store) -> pl.DataFrame:
    """The accounts of a list, still under the vendor's ids, under ours.

    An account that the vendor lists under a new id goes on as the one it was: see `identity.continued`. Its old id must
    be gone from the list, or its connection be out of use.
    """
    tenant, connection_id = run.connection.tenant_id, run.connection.connection_id
    listed = _by_known_names(run, listed)
    glance = store.values(Accounts, ("account_id", "connection_id"), {"tenant_id": tenant})
    known = {account for account, owner in glance if owner == connection_id}
    listed = _with_coverage(run, listed, store)
    came = set(listed["account_id"])
    if came <= known or not glance:
        return listed
    return _by_new_names(run, listed, known, store)


def _with_coverage(run: Run, listed: pl.DataFrame, store: Store) -> pl.DataFrame:
    """Whether an account's history is whole was found out when its transactions were read."""
    mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
    rows = store.values(AccountStates, ("account_id", "history_complete"), {**mine, "dataset": "transactions"})
    told = {account: bool(complete) for account, complete in rows if complete is not None}
    if not told:
        return listed
    found = pl.col("account_id").replace_strict(told, default=None, return_dtype=pl.Boolean)
    return listed.with_columns(history_complete=pl.coalesce("history_complete", found))


def _by_known_names(run: Run, listed: pl.DataFrame) -> pl.DataFrame:
    """The names we learned earlier. Two that are listed at once are two accounts, whatever was thought of them."""
    accounts = run.aliases.get("account", {})
    if not accounts:
        return listed
    vendor_ids = listed["account_id"].to_list()
    newest = {ours: vendor_id for vendor_id, ours in accounts.items()}
    for vendor_id in vendor_ids:
        ours = accounts.get(vendor_id, vendor_id)
        if vendor_id == ours and newest.get(ours, ours) != ours:
            run.learn("account", {ours: Found(ours, "listed under its first id again")})
        elif vendor_id != ours and (ours in vendor_ids or (newest[ours] != vendor_id and newest[ours] in vendor_ids)):
            run.learn("account", {vendor_id: Found(vendor_id, "listed beside the account it was taken for")})
            accounts = {**accounts, vendor_id: vendor_id}
            if vendor_id in run.accounts:
                run.accounts[vendor_id] = replace(run.accounts[vendor_id], account_id=vendor_id)
    run.aliases = {**run.aliases, "account": accounts}
    return listed.with_columns(pl.col("account_id").replace(accounts))


def _by_new_names(run: Run, listed: pl.DataFrame, known: Set[str], store: Store) -> pl.DataFrame:
    """Accounts of the list that we do not know are looked for among those that are no longer delivered."""
    tenant, connection_id = run.connection.tenant_id, run.connection.connection_id
    new = listed.filter(~pl.col("account_id").is_in(list(known)))
    held = store.rows(Accounts, {"tenant_id": tenant}).filter(
        ~pl.col("account_id").is_in(listed["account_id"].to_list()) & (pl.col("provider") == run.connection.provider)
    )
    mine = [connection_id, *store.idle_connections(tenant)]
    free = held.filter(pl.col("connection_id").is_in(mine))
    found = continued(new, free, _lasting(run, new["account_id"].to_list(), free, store))
    for vendor_id, candidates in found.unsure.items():
        detail = f"it may be any of {', '.join(candidates)} under a new id; no guess was made, it is a new account"
        run.doubts.append(("accounts", Doubt("ambiguous_account", vendor_id, detail)))
    for vendor_id in continued(new, held.filter(~pl.col("connection_id").is_in(mine)), {}).sure:
        detail = "another connection in use delivers an account with the same institution, last digits and currency"
        run.doubts.append(("accounts", Doubt("linked_twice", vendor_id, detail)))
    run.learn("account", found.sure)
    renames = {vendor_id: known.ours for vendor_id, known in found.sure.items()}
    run.aliases = {**run.aliases, "account": {**run.aliases.get("account", {}), **renames}}
    for vendor_id in renames.keys() & run.accounts.keys():
        run.accounts[vendor_id] = replace(run.accounts[vendor_id], account_id=renames[vendor_id])
    return listed.with_columns(pl.col("account_id").replace(renames))


def _lasting(run: Run, new: Sequence[str], free: pl.DataFrame, store: Store) -> dict[str, str]:
    """{vendor's id: ours} of new accounts whose lasting id is that of one that is free: two links may both have it."""
    feed = run.source.feed("accounts")
    if feed.persistent is None:
        return {}
    ids: dict[str, str] = {}
    for page in run.pages["accounts", None]:
        ids |= feed.persistent(value_of(feed.parse, page)[0])
    names = store.names("persistent", vendor_ids=sorted(ids.values()), tenant=run.connection.tenant_id)
    candidates = set(free["account_id"])
    ours = {name.alias.vendor_id: name.alias.id for name in names if name.alias.id in candidates}
    return {vendor_id: ours[ids[vendor_id]] for vendor_id in new if ids.get(vendor_id) in ours}


def learn_names(run: Run, feed: Feed, pages: Sequence[Page]) -> None:
    """The vendor's lasting ids of the accounts, and its word for the login, which its webhooks bring."""
    values = [value_of(feed.parse, page)[0] for page in pages]
    accounts, known = run.aliases.get("account", {}), run.aliases.get("persistent", {})
    if feed.persistent is not None:
        lasting = {k: accounts.get(v, v) for value in values for v, k in feed.persistent(value).items()}
        why = "the vendor's lasting id of the account"
        run.learn("persistent", {k: Found(ours, why) for k, ours in lasting.items() if known.get(k) != ours})
    if feed.login is not None:
        newest = list(run.aliases.get("login", {}))[-1:]  # an earlier one that is back is learned again
        logins = {feed.login(value) for value in values} - {None, *newest}
        found = Found(run.connection.connection_id, "the login that delivers the accounts")
        run.learn("login", {str(login): found for login in sorted(map(str, logins))})
