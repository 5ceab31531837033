"""Which accounts and transactions of a new connection are those of the one it replaces, at another vendor.

A pair is made only where it is the one possible pair on both sides; all else is told, never guessed. All but
`continued_rows` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from fin_infra.datasets.transactions import Transactions
from fin_infra.engine.identity import Continued, Found
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.errors import UsageError
from fin_infra.providers.base import Ask, Http, Provider
from fin_infra.store import Store

SAME_WITHIN = timedelta(days=3)  # vendors date the same booking by the bank's day or by their own
TRAITS = ("mask", "kind", "currency")  # institution ids and names are each vendor's own words


async def listed_accounts(http: Http, provider: Provider, at: datetime) -> pl.DataFrame:
    """The accounts that a vendor lists, before anything of it is linked. One call where it lists them all at once."""
    source = provider.source("accounts")
    assert source is not None, "who has no accounts is not asked for them"
    ask, feed = Ask(provider.name, "migrate", "migrate", "migrate", at), source.feed("accounts")
    pages = []
    fetched: Any = source.fetch(http, ask)
    async with aclosing(fetched) as asked:
        async for page in asked:
            if page.dataset != "accounts":
                break
            if page.error is not None:
                raise page.error
            assert page.reply is not None, "a page without an answer has an error"
            pages.append((feed.parse(page.reply.body) if page.value is None else page.value, page.reply.at))
    return feed.frames(pages, ask, None).good


def same_accounts(old: pl.DataFrame, new: pl.DataFrame, said: Mapping[str, str]) -> Continued:
    """Frames of accounts → {new id: old id, and why}, and {new id: the old ids it may be} where more than one fits.

    `said`: {old id: new id}, the owner's word, which goes before everything. Without it last digits, kind and currency
    must be known and agree, and be those of one account on either side. Raises UsageError for an id of `said` that
    is not there, or that is said twice.
    """
    for side, ids in ((old, list(said)), (new, list(said.values()))):
        if strange := sorted(set(ids) - set(side["account_id"])):
            raise UsageError(f"there is no account {', '.join(strange)}; look at connections show")
        if len(set(ids)) < len(ids):
            raise UsageError("an account is mapped twice; map each to one")
    sure = {vendor: Found(ours, "said by its owner") for ours, vendor in said.items()}
    traits = list(TRAITS)
    free_old = old.filter(~pl.col("account_id").is_in(list(said))).select("account_id", *traits)
    free_new = new.filter(~pl.col("account_id").is_in(list(sure))).select("account_id", *traits)
    pairs = free_new.join(free_old, on=traits, suffix="_ours").sort("account_id", "account_id_ours")
    candidates: dict[str, list[str]] = {}
    for vendor, ours in pairs.select("account_id", "account_id_ours").rows():
        candidates.setdefault(vendor, []).append(ours)
    claimed = pairs["account_id_ours"].to_list()
    unsure: dict[str, list[str]] = {}
    for vendor, fits in candidates.items():
        if len(fits) == 1 and claimed.count(fits[0]) == 1:
            sure[vendor] = Found(fits[0], "same last digits, kind and currency")
        else:
            unsure[vendor] = fits
    return Continued(sure, unsure)


def same_transactions(held: pl.DataFrame, came: pl.DataFrame) -> Continued:
    """Transactions of one account as two vendors tell them → {new id: old id, and why}, and those in doubt.

    A fit: same currency, exact amount and state, booked within three days. Rows of the very same day are paired
    first, where both sides tell equally many: twins stay as many as they are. Then a row is paired that has one fit on
    either side, or one of the same text. A row without a fit is in neither answer: only one vendor tells it.
    """
    old, new = _facts(held), _facts(came)
    key = ["amount", "currency", "pending"]
    days = [*key, "day"]
    equal = (
        old.group_by(days).len().join(new.group_by(days).len(), on=[*days, "len"], nulls_equal=True).select(days)
    )  # fmt: skip
    nth = pl.int_range(pl.len()).over(days).alias("nth")
    left, right = (
        side.join(equal, on=days, how="semi", nulls_equal=True).sort("text", "id", nulls_last=True).with_columns(nth)
        for side in (new, old)
    )
    paired = left.join(right, on=[*days, "nth"], nulls_equal=True, suffix="_old").select("id", "id_old").rows()
    sure = {vendor: Found(ours, "same day and amount, as many on both sides") for vendor, ours in paired}
    old, new = _without(old, {ours for _, ours in paired}), _without(new, set(sure))
    pairs = (
        new.join(old, on=key, nulls_equal=True, suffix="_old")
        .filter((pl.col("day") - pl.col("day_old")).abs() <= SAME_WITHIN)
        .with_columns(same_text=(pl.col("text") == pl.col("text_old")).fill_null(value=False))
    )
    for fits, why in (
        (pairs, "same amount, booked within three days, and no other fits"),
        (pairs.filter("same_text"), "same amount and text, booked within three days, and no other fits"),
    ):
        fits = fits.filter(~pl.col("id").is_in(list(sure)))
        single = fits.filter(pl.col("id").is_unique() & pl.col("id_old").is_unique())
        sure |= {vendor: Found(ours, why) for vendor, ours in single.select("id", "id_old").rows()}
    taken = {found.ours for found in sure.values()}
    unsure: dict[str, list[str]] = {}
    for vendor, ours in pairs.select("id", "id_old").sort("id", "id_old").rows():
        if vendor not in sure and ours not in taken:
            unsure.setdefault(vendor, []).append(ours)
    return Continued(sure, unsure)


def _facts(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("status") != "expired").select(
        id="transaction_id", day="booked_on", amount="amount", currency="currency",
        pending=pl.col("status") == "pending", text=pl.col("description").str.to_lowercase().str.strip_chars(),
    )  # fmt: skip


def _without(rows: pl.DataFrame, ids: set[str]) -> pl.DataFrame:
    return rows.filter(~pl.col("id").is_in(list(ids)))


def continued_rows(run: Run, rows: pl.DataFrame, store: Store) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Transactions of an answer, those that another vendor told before under the ids they have here.

    Of accounts that were taken over alone: see `connections migrate`. A row that may be any of several of the other
    vendor's is in `review` until it is told apart. Also gives the other vendor's pending rows that nobody posts any
    more: they are expired.
    """
    none = Transactions.empty()
    taken_over = set(run.aliases.get("account", {}).values())
    if rows.is_empty() or taken_over.isdisjoint(rows["account_id"]):
        return rows, none
    parts, ended = [rows.filter(~pl.col("account_id").is_in(sorted(taken_over)))], [none]
    for account in sorted(taken_over & set(rows["account_id"])):
        came = rows.filter(pl.col("account_id") == account)
        held = store.rows(Transactions, {"tenant_id": run.connection.tenant_id, "account_id": account})
        others = held.filter(pl.col("provider") != run.connection.provider)
        if others.is_empty():
            parts.append(came)
            continue
        settled = held.filter(pl.col("status") != "review")["transaction_id"].to_list()
        found = same_transactions(others, came.filter(~pl.col("transaction_id").is_in(settled)))
        run.learn("transaction", found.sure)
        ours = {vendor_id: known.ours for vendor_id, known in found.sure.items()}
        for vendor_id, fits in sorted(found.unsure.items()):
            detail = f"it may be any of {', '.join(fits)}, which the vendor before told; no guess was made"
            run.doubts.append((Transactions.dataset_name(), Doubt("ambiguous_match", vendor_id, detail)))
        review = pl.lit("review").cast(came.schema["status"])
        parts.append(
            came.with_columns(
                pl.col("transaction_id").replace(ours),
                pl.col("pending_transaction_id").replace(ours),
                status=pl.when(pl.col("transaction_id").is_in(list(found.unsure))).then(review).otherwise("status"),
            )
        )
        waiting = (pl.col("status") == "pending") & ~pl.col("transaction_id").is_in(list(ours.values()))
        ended.append(others.filter(waiting).with_columns(status=pl.lit("expired").cast(others.schema["status"])))
    return pl.concat(parts).unique(Transactions.key(), keep="last", maintain_order=True), pl.concat(ended)
