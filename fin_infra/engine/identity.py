"""Which rows are one and the same though their ids differ: pure functions, and the evidence of each decision.

Nothing is matched by a name alone, and nothing where two answers are possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import polars as pl

SETTLES_WITHIN = timedelta(days=8)
REISSUED_ROWS = 3  # so many rows of an answer under new ids are no coincidence, even where the text changed too


class Found(NamedTuple):
    """Ours: the id at first sight. Why: the evidence, in words."""

    ours: str
    why: str


def match_pending(pending: pl.DataFrame, posted: pl.DataFrame) -> tuple[dict[str, str], set[str], set[str]]:
    """Vanished pending rows and newly come posted rows: {posted: pending} where exactly one fits the other.

    A fit: same amount and currency, posted 0 to 8 days after. Also the posted and the pending ids that fit in more
    than one way. All rows are of one account.
    """
    posted = posted.filter(pl.col("status") == "posted")
    if pending.is_empty() or posted.is_empty():
        return {}, set(), set()
    columns = ["transaction_id", "amount", "currency", "booked_on"]
    pairs = (
        posted.select(columns)
        .join(pending.select(columns), on=["amount", "currency"], suffix="_pending", nulls_equal=True)
        .filter((pl.col("booked_on") - pl.col("booked_on_pending")).is_between(timedelta(0), SETTLES_WITHIN))
        .select("transaction_id", "transaction_id_pending")
    )
    sure = pairs.filter(pl.col("transaction_id").is_unique() & pl.col("transaction_id_pending").is_unique())
    unsure = pairs.filter(~(pl.col("transaction_id").is_unique() & pl.col("transaction_id_pending").is_unique()))
    return dict(sure.rows()), set(unsure["transaction_id"]), set(unsure["transaction_id_pending"])


def reissued(vanished: pl.DataFrame, new: pl.DataFrame) -> dict[str, Found]:
    """Rows of one account that vanished and came back under another id: {new id: the id at first sight}.

    A bank does so for whole blocks of days, and after a re-link for everything. The same row has the same date, amount,
    currency and state, and the same text. Where the text changed too, a day counts as re-issued only when all that
    vanished from it came back, amount by amount, and enough rows of the answer did so that it is no coincidence. Real
    twins are interchangeable: as many are matched as there are on both sides.
    """
    if vanished.is_empty() or new.is_empty():
        return {}
    gone, came = _fingerprints(vanished), _fingerprints(new)
    same = ["day", "amount", "currency", "pending", "text"]
    told = pl.col("text").is_not_null()
    exact = _paired(gone.filter(told), came.filter(told), same)
    found = {new_id: Found(old, "same date, amount and text") for new_id, old in exact.items()}
    gone = gone.filter(~pl.col("id").is_in(list(exact.values())))
    came = came.filter(~pl.col("id").is_in(list(exact)))
    if gone.is_empty() or came.is_empty():
        return found
    counts = (
        gone.group_by(same[:4]).len().join(came.group_by(same[:4]).len(), on=same[:4], how="full", nulls_equal=True)
    )
    unequal = counts.filter(pl.col("len").is_null() | (pl.col("len") != pl.col("len_right").fill_null(-1)))
    odd = unequal.filter(pl.col("len").is_not_null())["day"].unique().to_list()
    whole = (gone.filter(~pl.col("day").is_in(odd)), came.filter(~pl.col("day").is_in(odd)))
    reworded = _paired(*whole, same[:4])
    if len(found) + len(reworded) >= REISSUED_ROWS:
        why = "all rows of its day came back under new ids with the same amounts"
        found |= {new_id: Found(old, why) for new_id, old in reworded.items()}
    return found


def _fingerprints(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        id="transaction_id", day="booked_on", amount="amount", currency="currency",
        pending=pl.col("status") == "pending", text="description",
    )  # fmt: skip


def _paired(gone: pl.DataFrame, came: pl.DataFrame, on: list[str]) -> dict[str, str]:
    """{id that came: id that is gone}: the nth of equal ones with the nth, in the order of their ids."""
    nth = pl.int_range(pl.len()).over(on).alias("nth")
    left, right = (side.sort("id").with_columns(nth) for side in (came, gone))
    return dict(left.join(right, on=[*on, "nth"], nulls_equal=True, suffix="_gone").select("id", "id_gone").rows())


def under_first_ids(rows: pl.DataFrame, found: Mapping[str, Found]) -> pl.DataFrame:
    """The rows with the ids they had at first sight."""
    if not found:
        return rows
    return rows.with_columns(pl.col("transaction_id").replace({new: known.ours for new, known in found.items()}))


class Continued(NamedTuple):
    """Accounts that go on under a new id: {vendor's new id: ours}; and new ones that could be any of several."""

    sure: dict[str, Found]
    unsure: dict[str, list[str]]


ACCOUNT_TRAITS = ("institution", "mask", "kind", "subkind", "currency")


def continued(new: pl.DataFrame, absent: pl.DataFrame, persistent: Mapping[str, str]) -> Continued:
    """Which newly listed accounts are ones we know, of those that are no longer listed under their id.

    `persistent`: {vendor's id: our id} by the vendor's own lasting id. Else institution, last digits, kind, subkind and
    currency must all agree, the digits must be known, and there must be one candidate on either side. A name proves
    nothing: two accounts may have the same.
    """
    by_id = {vendor: ours for vendor, ours in persistent.items() if ours in set(absent["account_id"])}
    # two that claim one account prove nothing either
    lasting = {vendor: ours for vendor, ours in by_id.items() if list(by_id.values()).count(ours) == 1}
    sure = {vendor: Found(ours, "the vendor's lasting id of the account") for vendor, ours in lasting.items()}
    new = new.filter(~pl.col("account_id").is_in(list(sure)) & pl.col("mask").is_not_null())
    absent = absent.filter(~pl.col("account_id").is_in(list(lasting.values())))
    traits = list(ACCOUNT_TRAITS)
    pairs = new.select("account_id", *traits).join(
        absent.select("account_id", *traits), on=traits, nulls_equal=True, suffix="_ours"
    )
    unsure: dict[str, list[str]] = {}
    for vendor, ours in pairs.select("account_id", "account_id_ours").sort("account_id", "account_id_ours").rows():
        unsure.setdefault(vendor, []).append(ours)
    claimed = pairs["account_id_ours"].to_list()
    for vendor, candidates in list(unsure.items()):
        if len(candidates) == 1 and claimed.count(candidates[0]) == 1:
            sure[vendor] = Found(candidates[0], "same institution, last digits, kind and currency")
            del unsure[vendor]
    return Continued(sure, unsure)
