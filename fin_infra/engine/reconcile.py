"""What a window's answer means for the rows already held: which posted, which vanished, which are in doubt.

Pure functions on frames of one account. Nothing is guessed: an ambiguous match goes to review, and an answer that
is suddenly empty or much shorter removes nothing until a second read says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

SETTLES_WITHIN = timedelta(days=8)
SHRINK_SHARE = 0.2
SHRINK_ROWS = 2


@dataclass(frozen=True)
class Doubt:
    """Something seen and not hidden: becomes a finding."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Reconciled:
    """`rows` to upsert, `removed` transaction ids, `suspect`: ids that a second read must miss too."""

    rows: pl.DataFrame
    removed: Sequence[str] = ()
    doubts: Sequence[Doubt] = ()
    suspect: frozenset[str] = frozenset()


def reconcile(held: pl.DataFrame, answer: pl.DataFrame, *, account: str, keep: frozenset[str] | None,
              suspect: frozenset[str] = frozenset(), judged_from: date | None = None) -> Reconciled:  # fmt: skip
    """One account's window. `held`: rows in the store within the window; `answer`: rows of the complete answer.

    `keep`: ids that came but could not be used (their held rows stay); None when such a row had no id, so that
    nothing may be removed. `suspect`: ids that an earlier read missed and this one must miss too. `judged_from`: only
    rows dated from here on are taken for gone, so that one whose date moved over the window's edge is not; None in a
    full read, where rows older than the answer's oldest have aged out of the vendor's history and stay.
    """
    answer = _inherit(held, answer)
    here = list(set(answer["transaction_id"]) | (keep or set()))
    vanished = held.filter(~pl.col("transaction_id").is_in(here) & (pl.col("status") != "expired"))
    first = judged_from or answer["booked_on"].min()
    if first is not None:
        vanished = vanished.filter((pl.col("booked_on") >= first) | (pl.col("status") == "pending"))
    if keep is None or vanished.is_empty():
        return Reconciled(answer)
    live = held.filter(pl.col("status") != "expired").height
    doubts: list[Doubt] = []
    posted_gone = vanished.filter(pl.col("status") != "pending")
    if posted_gone.height > max(SHRINK_ROWS, SHRINK_SHARE * live) or (answer.is_empty() and live > 0):
        guarded = vanished if answer.is_empty() else posted_gone
        # a read in which some came back confirms nothing of the others
        confirmed = suspect if suspect <= set(vanished["transaction_id"]) else frozenset()
        unconfirmed = guarded.filter(~pl.col("transaction_id").is_in(list(confirmed)))["transaction_id"].to_list()
        if unconfirmed:
            doubts.append(
                Doubt(
                    "shrink_guard", account,
                    f"{len(unconfirmed)} of {live} rows of the window are missing in the answer; they are not removed "
                    "until a second read misses them too",
                )
            )  # fmt: skip
        suspect = frozenset(unconfirmed)
        vanished = vanished.filter(~pl.col("transaction_id").is_in(unconfirmed))
        posted_gone = vanished.filter(pl.col("status") != "pending")
    else:
        suspect = frozenset()
    new = answer.filter(~pl.col("transaction_id").is_in(held["transaction_id"].to_list()))
    pending = vanished.filter(pl.col("status") == "pending")
    matches, unsure_posted, unsure_pending = match_pending(pending, new)
    supersedes = pl.col("transaction_id").replace_strict(matches, default=None, return_dtype=pl.String)
    rows = answer.with_columns(
        pending_transaction_id=pl.coalesce(supersedes, "pending_transaction_id"),
        status=pl.when(pl.col("transaction_id").is_in(list(unsure_posted)))
        .then(pl.lit("review").cast(answer.schema["status"]))
        .otherwise("status"),
    )
    settled = set(matches.values())
    expired = pending.filter(~pl.col("transaction_id").is_in(list(settled))).with_columns(
        status=pl.lit("expired").cast(pending.schema["status"])
    )
    doubts += [
        Doubt(
            "ambiguous_match", posted,
            f"it may be the posting of any of {', '.join(sorted(unsure_pending))}; no guess was made",
        )
        for posted in sorted(unsure_posted)
    ]  # fmt: skip
    removed = [*posted_gone["transaction_id"].to_list(), *sorted(settled)]
    return Reconciled(pl.concat([rows, expired.select(rows.columns)]), removed, doubts, suspect)


def undisturbed(held: Iterable[tuple[str, str, str | None]], came: Set[str]) -> bool:
    """Whether `reconcile` would give back the answer as it is: nothing vanished, and of the rows that came again
    there is nothing that we know better. Most answers are like that.

    `held`: id, status and `pending_transaction_id` of the rows in the window; `came`: ids of the answer.
    """
    return all(
        status != "review" and supersedes is None if row_id in came else status == "expired"
        for row_id, status, supersedes in held
    )


def match_pending(pending: pl.DataFrame, posted: pl.DataFrame) -> tuple[dict[str, str], set[str], set[str]]:
    """Vanished pending rows and newly come posted rows: {posted: pending} where exactly one fits the other.

    A fit: same amount and currency, posted 0 to 8 days after. Also the posted and the pending ids that fit in more
    than one way.
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


def _inherit(held: pl.DataFrame, answer: pl.DataFrame) -> pl.DataFrame:
    """What we found out ourselves about a row survives the vendor saying the same row again."""
    known = held.filter((pl.col("status") == "review") | pl.col("pending_transaction_id").is_not_null())
    if known.is_empty():
        return answer
    ours = known.select("transaction_id", ours="status", supersedes="pending_transaction_id")
    review = (pl.col("ours") == "review") & (pl.col("status") == "posted")
    return (
        answer.join(ours, on="transaction_id", how="left", maintain_order="left")
        .with_columns(
            pending_transaction_id=pl.coalesce("pending_transaction_id", "supersedes"),
            status=pl.when(review).then("ours").otherwise("status"),
        )
        .drop("ours", "supersedes")
    )
