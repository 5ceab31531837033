"""What is said of a run: its row, the state of its streams and accounts, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from fin_infra.datasets import dataset as schema_of
from fin_infra.datasets.operations import AccountStates, Findings, Runs, Streams
from fin_infra.datasets.transactions import Transactions
from fin_infra.engine.freshness import old_data, waiting
from fin_infra.engine.naming import own_ids
from fin_infra.engine.parts import value_of
from fin_infra.engine.quarantine import FURTHER, entries_of, finding_id, subject_of
from fin_infra.engine.run import Run
from fin_infra.engine.series import PRICES, SHAPES
from fin_infra.errors import FinInfraError
from fin_infra.outcomes import OK, Outcome, decide
from fin_infra.providers.transport import Traffic
from fin_infra.store import Applied, Counts, Forgotten, Records, Store
from fin_infra.store.base import Book

Row = dict[str, Any]
Objectives = Mapping[str, timedelta]
"""How old data may be, by dataset."""
UNWANTED = "all of its accounts are left out: fin-infra connections take-in"
SETTLED_BY_A_GOOD_RUN = (
    "shrink_guard", "contract_broken", "defect", "missing_sessions", "unresolved_instrument", "rebased", "restated",
    "unpriced", "differing_twins", "balance_unexplained", "running_balance_broken",
    "holdings_total", "not_adjusted", "unexplained_jump", "standing_in",
    "wrong_identifier", "unknown_to_vendor",
)  # fmt: skip
"""Kinds of findings that are said again by every run that still sees them."""
SEEN = ("failed_calls", "waited_ms", "slowest_ms", "vendor_limit", "vendor_remaining", "vendor_reset_at")


def books(
    run: Run, outcome: Outcome, applied: Applied | None, calls: int, store: Store, now: datetime,
    within: Objectives | None = None,
) -> list[Book]:  # fmt: skip
    """The bookkeeping of a run, to be committed with its rows; `applied` is None when it committed none."""
    mine = {"connection_id": run.connection.connection_id}
    accounts = {"tenant_id": run.connection.tenant_id, **mine}  # the begin of the key, or all would be looked at
    base = {
        **mine, "tenant_id": run.connection.tenant_id, "provider": run.connection.provider, "fetched_at": now,
        "run_id": run.run_id,
    }  # fmt: skip
    found = [row for row in store.records(Findings, {**mine, "state": "open"}) if row["dataset"] in run.source.datasets]
    findings = _findings(run, found, base, now, store, committed=applied is not None)
    gone = [entries_of(row["finding_id"]) for row in findings if row["state"] == "resolved"]
    return [
        Records(Runs, [run_row(run, outcome, applied, calls, base, now)]),
        Records(Streams, _streams(run, outcome, store.records(Streams, mine), base, now, within or {})),
        Records(AccountStates, _account_states(run, store.records(AccountStates, accounts), base, now, within or {})),
        Records(Findings, findings),
        Forgotten(run.connection.connection_id, gone),
    ]


def run_row(run: Run, outcome: Outcome, applied: Applied | None, calls: int, base: Row, now: datetime) -> Row:
    """What `runs` says of it."""
    total = applied.total() if applied else Counts()
    return {
        **base, "dataset": run.stream.dataset, "lane": run.lane, "started_at": run.started_at, "finished_at": now,
        "outcome": run.recorded(outcome), **total._asdict(), "calls": calls, "attempt": run.attempt,
        "error_code": outcome.code, "error": outcome.message, **_seen(run.traffic),
    }  # fmt: skip


def _seen(traffic: Traffic | None) -> Row:
    """What the run saw of its vendor; nothing where nobody was asked."""
    if traffic is None or not traffic.calls:
        return dict.fromkeys(SEEN)
    told = traffic.told
    return {
        "failed_calls": traffic.failed, "waited_ms": round(1000 * traffic.waited),
        "slowest_ms": round(1000 * traffic.slowest), "vendor_limit": told and told.limit,
        "vendor_remaining": told and told.remaining, "vendor_reset_at": told and told.reset,
    }  # fmt: skip


def _streams(
    run: Run, outcome: Outcome, known: list[Row], base: Row, now: datetime, within: Objectives
) -> list[Row]:  # fmt: skip
    """One row per dataset the source feeds. Attempt, success, the vendor's time and newest row stay four things.

    A run that succeeded on old data leaves its stream stale.
    """
    recorded = run.recorded(outcome)
    by_name = {row["dataset"]: row for row in known}
    rows = []
    for name in run.source.datasets:
        before = by_name.get(name, {})
        # of a source with several datasets each tells for itself: accounts may be fresh while balances are not
        read = any(part[0] == name for part in run.complete)
        fresh = recorded in ("ok", "partial") and (read or not (run.failed or run.stopped is not None or run.idle))
        whole = recorded == "partial" and (name, None) in run.complete and not _doubtful(run, name)
        state = _state("park" if recorded == "partial" and not fresh else recorded, outcome.code, before.get("state"))
        state = "ok" if whole else state
        unwanted = run.idle and not run.answered_before
        state = "left_out" if unwanted and state == "ok" else state
        as_of = min((at for part, at in run.as_of.items() if part[0] == name), default=None)
        old = old_data(name, as_of, now, within.get(name)) if state == "ok" else None
        newest = [*run.newest.values(), before.get("newest_row") or ""] if name == run.stream.dataset else [""]
        rows.append(
            {
                **base, "dataset": name, "state": "stale" if old else state,
                "last_attempt_at": run.started_at,
                "last_success_at": now if fresh else before.get("last_success_at"),
                "vendor_as_of": as_of if fresh else before.get("vendor_as_of"), "newest_row": max(newest) or None,
                "next_reason": UNWANTED if unwanted else old or _next_reason(run, outcome, now),
                "error_code": None if whole else outcome.code,
            }
        )  # fmt: skip
    return rows


def _doubtful(run: Run, name: str) -> bool:
    """Whether there was anything in this dataset that was not taken as it came."""
    if run.history is False and name == run.stream.dataset:
        return True
    return any(dataset == name and doubt.kind in ("row_invalid", "shrink_guard") for dataset, doubt in run.doubts)


def _next_reason(run: Run, outcome: Outcome, now: datetime) -> str | None:
    if outcome.kind == "later" and outcome.after is not None:
        return waiting(now + timedelta(seconds=outcome.after), outcome.message)
    if outcome.message is None and run.guarded:
        return "a much shorter answer waits for a second read that confirms it"
    return outcome.message


def _account_states(run: Run, known: list[Row], base: Row, now: datetime, within: Objectives) -> list[Row]:
    """One row per account and dataset that was asked for: one that failed says so, the others are fresh."""
    by_key = {(row["account_id"], row["dataset"]): row for row in known}
    rows = []
    for vendor_id, account in run.accounts.items():
        error = run.failed.get(vendor_id)
        for name in run.source.datasets:
            of_all = run.source.kind == "cursor" and (name, None) in run.complete  # its pages are the connection's
            done = (of_all or (name, vendor_id) in run.complete) and error is None
            fresh = done and vendor_id not in run.held_back
            if name == "accounts" or not (done or error):
                continue
            before = by_key.get((account.account_id, name), {})
            code = error.code if error else None
            as_of = run.as_of.get((name, vendor_id)) or run.as_of.get((name, None))
            old = old_data(name, as_of, now, within.get(name))
            state = "stale" if old else "ok"
            complete = before.get("history_complete") if run.history is None else run.history
            rows.append(
                {
                    **base, "account_id": account.account_id, "dataset": name,
                    "state": state if fresh else "partial" if done else _failed(error, before.get("state")),
                    "last_success_at": now if fresh else before.get("last_success_at"),
                    "vendor_as_of": as_of if fresh else before.get("vendor_as_of"), "history_complete": complete,
                    "newest_row": run.newest.get(vendor_id) or before.get("newest_row"), "error_code": code,
                }
            )  # fmt: skip
    return rows


def _findings(run: Run, known: list[Row], base: Row, now: datetime, store: Store, *, committed: bool) -> list[Row]:
    """What was seen now, under the same id as before; what this run disproves is resolved."""
    before = {row["finding_id"]: row for row in known}
    rows = {}
    for name, doubt in run.doubts:
        found = finding_id(run.connection.connection_id, name, doubt.kind, doubt.subject)
        rows[found] = {
            **base, "finding_id": found, "dataset": name, "kind": doubt.kind, "subject": doubt.subject,
            "detail": doubt.detail, "state": "open",
            "first_seen_at": before.get(found, {}).get("first_seen_at") or now,
        }  # fmt: skip
    gone = [row for found, row in before.items() if found not in rows]
    if gone and committed:
        disproved = Disproved(run, store)
        for row in gone:
            if disproved(row):
                rows[row["finding_id"]] = {**row, **base, "state": "resolved"}
    return list(rows.values())


class Disproved:
    """Whether a finding that a run did not make again is disproved by it, and not just out of its sight."""

    def __init__(self, run: Run, store: Store) -> None:
        self._run = run
        self._store = store
        self._came: dict[str, set[str]] = {}
        self._whole = not run.failed and run.stopped is None
        self._whole_of = {name for name, vendor in run.complete if vendor is None}
        fine = [(name, vendor) for name, vendor in run.complete if vendor not in run.failed and vendor in run.accounts]
        self._read = {(name, vendor) for name, vendor in fine if vendor not in run.held_back}
        self._read |= {(name, run.accounts[str(vendor)].account_id) for name, vendor in self._read}

    def __call__(self, row: Row) -> bool:
        match row["kind"]:
            case "row_invalid":
                well = row["subject"] in self._delivered(row["dataset"])
                return well or self._taken_back(row) or self._no_longer_delivered(row)
            case "ambiguous_match":
                return not self._in_review(row["subject"])
            case "unresolved_instrument" if row["dataset"] == "activities":  # an older row may not come again
                return row["subject"].partition(" ")[2] in own_ids(self._run, self._store)
            case "actions_disagree":
                return self._answered(row)
            case kind if kind in SETTLED_BY_A_GOOD_RUN:
                return self._read_wholly(row) and not _about_others(self._run, row)
            case _:
                return False

    def _read_wholly(self, row: Row) -> bool:
        """All of what it is about was read: the stream, or the account that its subject begins with."""
        part = (row["dataset"], row["subject"].partition(" ")[0])
        return self._whole or part[0] in self._whole_of or part in self._read

    def _delivered(self, name: str) -> set[str]:
        """Subjects that came well in this run, or were taken back."""
        if name not in self._came:
            schema, came = schema_of(name), set[str]()
            for change in self._run.changes:
                if change.schema.dataset_name() == name:
                    rows = change.rows.select(schema.key())
                    came |= {subject_of(schema, row) for row in rows.iter_rows(named=True)}
                    keys = [dict(zip(schema.key(), key, strict=True)) for key in change.removed]
                    came |= {subject_of(schema, key) for key in keys}
            self._came[name] = came
        return self._came[name]

    def _taken_back(self, row: Row) -> bool:
        """Of a cursor stream: the vendor removed it, though we never held it."""
        run, name = self._run, row["dataset"]
        feed = run.source.feed(name)
        if feed.removed is None:
            return False
        row_id = row["subject"].rpartition(" ")[2]
        pages = [page for part, pages in run.pages.items() if part[0] == name for page in pages]
        return any(row_id in feed.removed(value_of(feed.parse, page)[0]) for page in pages)

    def _no_longer_delivered(self, row: Row) -> bool:
        """What a bad row was in, was read whole, and it was not there."""
        run, name = self._run, row["dataset"]
        if run.source.series is not None:
            return self._asked(name, row["subject"])
        if run.source.kind == "cursor" and not run.whole and row["subject"] != FURTHER:
            return False  # behind an answer with further bad rows the cursor did not move: all of it was read again
        return self._read_wholly(row) and any(part[0] == name for part in run.complete)

    def _asked(self, name: str, subject: str) -> bool:
        """Of a series: its session was within what was asked for, and answered."""
        shape = SHAPES.get(self._run.source.feed(name).schema, PRICES)
        instrument, day = shape.told(subject)
        wants = [
            want for part, pages in self._run.pages.items() if part in self._run.complete and part[0] == name
            for page in pages for want in page.wants if want.instrument == instrument
        ]  # fmt: skip
        if any(want.interval for want in wants):
            wants = [want for want in wants if subject.startswith(f"{want.subject} ")]
            day = day.partition(" ")[2][:10]
        return any(not day or want.first.isoformat() <= day <= want.last.isoformat() for want in wants)

    def _answered(self, row: Row) -> bool:
        """There is a whole answer of this run about the instrument that the subject begins with."""
        name = row["subject"].partition(" ")[0]
        parts = [pages for part, pages in self._run.pages.items() if part in self._run.complete]
        return any(want.instrument == name for pages in parts for page in pages for want in page.wants)

    def _in_review(self, transaction_id: str) -> bool:
        mine = {"tenant_id": self._run.connection.tenant_id, "transaction_id": transaction_id, "status": "review"}
        return bool(self._store.values(Transactions, ("transaction_id",), mine))


def _about_others(run: Run, row: Row) -> bool:
    """Whether a finding is about an instrument that this run did not look at."""
    if row["kind"] in ("unpriced", "standing_in"):
        return run.ordered is not None
    return (
        row["dataset"] == "instruments"
        and row["kind"] == "unresolved_instrument"
        and row["subject"] not in run.answered
    )


def _failed(error: FinInfraError | None, before: str | None) -> str:
    """The state of an account that failed alone; one that only waits is as fresh as it was."""
    outcome = decide(error) if error is not None else OK
    return _state("later" if outcome.kind == "later" else "park", outcome.code, before)


def _state(recorded: str, code: str | None, before: str | None) -> str:
    """A stream that only waits is as fresh as it was; one that failed says so."""
    if recorded in ("later", "stale_cursor"):
        return before or "stale"
    if code in ("reauth_required", "auth_invalid"):
        return "reauth" if recorded != "partial" else "partial"
    return recorded if recorded in ("ok", "partial") else "error"
