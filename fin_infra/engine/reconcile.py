"""What a window's answer means for the rows already held: which posted, which vanished, which are in doubt.

Pure functions on frames of one account. Nothing is guessed: an ambiguous match goes to review, and an answer that
is suddenly empty or much shorter removes nothing until a second read says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl

from fin_infra.engine.identity import Found, match_pending, reissued, under_first_ids

SETTLED_WHY = "same amount and currency, posted within 8 days, and no other fits"
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
    """`rows` to upsert, `removed` transaction ids, `suspect`: ids that a second read must miss too.

    `reissued`: {vendor's new id: the id at first sight, and why}; `settled`: {pending id: the posted id that supersedes
    it, and why}, of those that the vendor did not link itself.
    """

    rows: pl.DataFrame
    removed: Sequence[str] = ()
    doubts: Sequence[Doubt] = ()
    suspect: frozenset[str] = frozenset()
    reissued: Mapping[str, Found] = field(default_factory=dict)
    settled: Mapping[str, Found] = field(default_factory=dict)


def reconcile(held: pl.DataFrame, answer: pl.DataFrame, *, account: str, keep: frozenset[str] | None,
              suspect: frozenset[str] = frozenset(), judged_from: date | None = None) -> Reconciled:  # fmt: skip
    """One account's window. `held`: rows in the store within the window; `answer`: rows of the complete answer.

    `keep`: ids that came but could not be used (their held rows stay); None when such a row had no id, so that
    nothing may be removed. `suspect`: ids that an earlier read missed and this one must miss too. `judged_from`: only
    rows dated from here on are taken for gone, so that one whose date moved over the window's edge is not; None in a
    full read, where rows older than the answer's oldest have aged out of the vendor's history and stay.
    """
    answer = _without_superseded(_inherit(held, answer))
    if keep is None:
        return Reconciled(answer)
    here = list(set(answer["transaction_id"]) | keep)
    vanished = held.filter(~pl.col("transaction_id").is_in(here) & (pl.col("status") != "expired"))
    new = answer.filter(~pl.col("transaction_id").is_in(held["transaction_id"].to_list()))
    again = reissued(vanished, new)
    vanished = _but(vanished, {known.ours for known in again.values()})
    first = judged_from or answer["booked_on"].min()
    if first is not None:
        vanished = vanished.filter((pl.col("booked_on") >= first) | (pl.col("status") == "pending"))
    live = held.filter(pl.col("status") != "expired").height
    posted_gone = vanished.filter(pl.col("status") != "pending")
    doubts: list[Doubt] = []
    unconfirmed: list[str] = []
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
    done = _settled(held, answer, _but(vanished, unconfirmed), new, again)
    return replace(done, doubts=[*doubts, *done.doubts], suspect=frozenset(unconfirmed))


def reconcile_delta(held: pl.DataFrame, answer: pl.DataFrame, removed: Set[str]) -> Reconciled:
    """One account's part of a cursor stream: rows that are new or changed, and the ids that the vendor takes back.

    `held`: rows in the store that have one of these ids, and those whose place a new row may take: pending, expired.
    What the vendor takes back in so many words leaves, however much it is; what it does not mention stays.
    """
    answer = _without_superseded(_inherit(held, answer))
    gone = removed - set(answer["transaction_id"])
    vanished = held.filter(pl.col("transaction_id").is_in(list(gone)) & (pl.col("status") != "expired"))
    new = answer.filter(~pl.col("transaction_id").is_in(held["transaction_id"].to_list()))
    again = reissued(_but(vanished, _linked(answer)), new)
    return _settled(held, answer, _but(vanished, {known.ours for known in again.values()}), new, again)


def _settled(
    held: pl.DataFrame, answer: pl.DataFrame, vanished: pl.DataFrame, new: pl.DataFrame, again: Mapping[str, Found]
) -> Reconciled:
    """What becomes of the vanished: a pending row is superseded, or expires; a posted one is removed.

    One that expired earlier still waits for its posting, which may come with a later answer.
    """
    linked = _linked(answer)
    waits = pl.col("status").is_in(["pending", "expired"])
    by_link = held.filter(waits & pl.col("transaction_id").is_in(list(linked)))["transaction_id"].to_list()
    pending = _but(vanished.filter(pl.col("status") == "pending"), by_link)
    came = set(answer["transaction_id"])
    waiting = _but(held.filter(pl.col("status") == "expired"), {*by_link, *came})
    free = new.filter(~pl.col("transaction_id").is_in(list(again)) & pl.col("pending_transaction_id").is_null())
    matches, unsure_posted, unsure_pending = match_pending(pl.concat([pending, waiting]), free)
    supersedes = pl.col("transaction_id").replace_strict(matches, default=None, return_dtype=pl.String)
    rows = answer.with_columns(
        pending_transaction_id=pl.coalesce(supersedes, "pending_transaction_id"),
        status=pl.when(pl.col("transaction_id").is_in(list(unsure_posted)))
        .then(pl.lit("review").cast(answer.schema["status"]))
        .otherwise("status"),
    )
    expired = _but(pending, matches.values()).with_columns(status=pl.lit("expired").cast(pending.schema["status"]))
    doubts = [
        Doubt(
            "ambiguous_match", posted,
            f"it may be the posting of any of {', '.join(sorted(unsure_pending))}; no guess was made",
        )
        for posted in sorted(unsure_posted)
    ]  # fmt: skip
    posted_gone = vanished.filter(pl.col("status") != "pending")["transaction_id"]
    return Reconciled(
        pl.concat([under_first_ids(rows, again), expired.select(rows.columns)]),
        [*posted_gone.to_list(), *sorted({*matches.values(), *by_link})], doubts, reissued=again,
        settled={gone: Found(posted, SETTLED_WHY) for posted, gone in matches.items()},
    )  # fmt: skip


def _but(rows: pl.DataFrame, ids: Iterable[str]) -> pl.DataFrame:
    return rows.filter(~pl.col("transaction_id").is_in(list(ids)))


def _linked(answer: pl.DataFrame) -> set[str]:
    """Ids of the pending rows that rows of the answer say they are the posting of."""
    return set(answer["pending_transaction_id"].drop_nulls())


def _without_superseded(answer: pl.DataFrame) -> pl.DataFrame:
    """A posted row supersedes its pending one in whatever order the two come."""
    linked = _linked(answer)
    if not linked:
        return answer
    return answer.filter(~(pl.col("transaction_id").is_in(list(linked)) & (pl.col("status") == "pending")))


def undisturbed(held: Iterable[tuple[str, str, str | None]], came: Set[str]) -> bool:
    """Whether `reconcile` would give back the answer as it is: nothing vanished, nothing new may be what an expired
    row waits for, and of the rows that came again there is nothing that we know better. Most answers are like that.

    `held`: id, status and `pending_transaction_id` of the rows in the window; `came`: ids of the answer.
    """
    rows = list(held)
    all_known = len(came) <= len(rows) and came <= {row_id for row_id, _, _ in rows}
    return all(
        status != "review" and supersedes is None if row_id in came else status == "expired" and all_known
        for row_id, status, supersedes in rows
    )


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
