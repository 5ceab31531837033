"""Why a stream is as it is, in sentences: state and reason, what was tried, what it waits for, what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from fin_infra.calendars import Calendar
from fin_infra.connections import Connection
from fin_infra.datasets.operations import AccountStates, Findings, Runs, Streams
from fin_infra.engine.backfilling.keeping import Backfill, Backfills
from fin_infra.engine.freshness import freshness, span
from fin_infra.engine.reasons import Budget, Next, Reason, Waiting, expectation, of_backfill, reasons_of, starts_at
from fin_infra.errors import UsageError
from fin_infra.providers import declared
from fin_infra.quotas.telling import units
from fin_infra.store import Cursor, Kept, Store, Stream
from fin_infra.store.codec import from_micros
from fin_infra.store.opening import utc_now
from fin_infra.store.tables import DUE

Row = dict[str, Any]
RUNS = 3
SAMPLED = 8  # of its last runs the cost is an average, see `fin_infra.planning.costs`
LISTED = 5  # findings and entries that are told one by one


@dataclass(frozen=True)
class Facts:
    """All that is known of one stream. `row`: None when it never ran. `lead`: the stream whose runs feed it."""

    connection: Connection
    dataset: str
    lead: Stream
    row: Row | None
    accounts: Sequence[Row]
    runs: Sequence[Row]
    findings: Sequence[Row]
    quarantined: Sequence[Kept]
    cursor: Cursor
    due: Sequence[Next]
    jobs: Sequence[Waiting]
    budget: Budget | None = None
    backfills: Sequence[Backfill] = ()


def facts_of(
    store: Store, connection: Connection, dataset: str, jobs: Mapping[str, Sequence[Waiting]], *,
    calendars: Mapping[str, Calendar] | None = None, budget: Callable[[Stream], Budget | None] = lambda stream: None,
    new: Callable[[Stream], Sequence[Next]] = lambda stream: (),
) -> Facts:  # fmt: skip
    """Gathers them, of one moment. Raises `UsageError` for no such stream.

    `jobs`: of the queue, by the stream; `calendars`: of the schedules that have one; `budget`: what the quota says;
    `new`: schedules that drive it and have no due time yet.
    """
    provider = declared(connection.provider)
    source = provider.source(dataset)
    if source is None:
        raise UsageError(f"{provider.name} has no {dataset}; it has: {', '.join(provider.datasets)}")
    mine, lead = {"connection_id": connection.connection_id}, Stream(connection.connection_id, source.lead)
    of_it = {**mine, "dataset": dataset}
    with store.reading() as sql:
        due = sql.execute(
            select(DUE.c.schedule, DUE.c.due_at)
            .where(DUE.c.connection_id == lead.connection_id, DUE.c.dataset == lead.dataset)
            .order_by(DUE.c.due_at)
        ).all()
        runs = store.records(Runs, {**mine, "dataset": source.lead})
        return Facts(
            connection, dataset, lead, next(iter(store.records(Streams, of_it)), None),
            store.records(AccountStates, {"tenant_id": connection.tenant_id, **of_it}),
            sorted(runs, key=lambda run: (run["started_at"], run["run_id"]), reverse=True),
            store.records(Findings, {**of_it, "state": "open"}),
            [kept for kept in store.quarantined(connection.connection_id) if kept.dataset == dataset],
            store.cursor(lead, connection.generation),
            [*(Next(name, from_micros(at), (calendars or {}).get(name)) for name, at in due), *new(lead)],
            jobs.get(str(lead), ()), budget(lead),
            [
                one for one in Backfills(store, utc_now).all()
                if one.connection_id == lead.connection_id and one.dataset == dataset
            ],
        )  # fmt: skip


def sentences(facts: Facts, now: datetime, within: timedelta | None) -> list[str]:
    """What there is to say, most important first. Pure."""
    return [
        *_state(facts, now, within), *(reason.sentence() for reason in reasons(facts, now)),
        *expectation(facts.connection, facts.jobs, facts.due, facts.budget, now, _sampled(facts)), *_tried(facts),
        *_accounts(facts, now, within), *_wrong(facts), *_position(facts),
    ]  # fmt: skip


def reasons(facts: Facts, now: datetime) -> list[Reason]:
    """Why it does not run now, most decisive first. Pure."""
    code = None if facts.row is None else facts.row["error_code"]
    found = reasons_of(facts.connection, facts.jobs, facts.due, facts.budget, code, now)
    return [*found, *(one for backfill in facts.backfills for one in of_backfill(backfill))]


def as_dict(facts: Facts, now: datetime, within: timedelta | None) -> dict[str, Any]:
    """The same for machines: sentences, reasons, when it is expected to start and what a run costs."""
    budget = facts.budget
    return {
        "stream": f"{facts.connection.connection_id}/{facts.dataset}",
        "sentences": sentences(facts, now, within),
        "reasons": [reason.as_dict() for reason in reasons(facts, now)],
        "expected_start": starts_at(facts.connection, facts.jobs, facts.due, budget, now),
        "quota_key": facts.connection.quota_key,
        "calls_per_run": None if budget is None else budget.calls,
    }


def _sampled(facts: Facts) -> int:
    good = [run for run in facts.runs if run["outcome"] in ("ok", "partial") and run["calls"]]
    return min(len(good), SAMPLED)


def _state(facts: Facts, now: datetime, within: timedelta | None) -> list[str]:
    name = f"{facts.connection.connection_id}/{facts.dataset}"
    row = facts.row
    if row is None:
        return [f"{name} has never run"]
    state, why = _fresh(row, now, within)
    told = f"{name} is {state}" + (f": {why}" if why else "")
    if state != row["state"]:
        told += f" (its last run left it {row['state']})"
    vendor = f", the vendor's data is of {_at(row['vendor_as_of'])}" if row["vendor_as_of"] else ""
    newest = f", its newest row is of {row['newest_row']}" if row["newest_row"] else ""
    good = _at(row["last_success_at"]) if row["last_success_at"] else "never"
    times = f"last tried {_at(row['last_attempt_at'])}, last success {good}{vendor}{newest}"
    limit = [f"it counts as stale when that is more than {span(within)} old"] if within else []
    return [told, times, *limit]


def _tried(facts: Facts) -> list[str]:
    said = []
    for run in facts.runs[:RUNS]:
        counts = [f"{run[word]} {word}" for word in ("inserted", "updated", "removed", "unchanged") if run[word]]
        told = f"run {run['run_id']} at {_at(run['started_at'])} came to {run['outcome']}"
        told += f", {', '.join(counts) or 'no rows'}, {units(run['calls'])}"
        said.append(told + (f"; {run['error_code']}: {run['error']}" if run["error_code"] else ""))
    return said


def _accounts(facts: Facts, now: datetime, within: timedelta | None) -> list[str]:
    said = []
    for row in facts.accounts:
        state, why = _fresh(row, now, within)
        if state != "ok":
            reason = row["error_code"] or why or "see the findings"
            said.append(f"account {row['account_id']} is {state}: {reason}")
        if row["history_complete"] is False:
            said.append(f"account {row['account_id']}: the vendor is still fetching its older history")
    known = [row["history_complete"] for row in facts.accounts]
    if known and all(known):
        said.append("the vendor has delivered all the history it has, of every account")
    return said


def _wrong(facts: Facts) -> list[str]:
    said = [f"finding {row['kind']}, {row['subject']}: {row['detail']}" for row in facts.findings[:LISTED]]
    if len(facts.findings) > LISTED:
        said.append(f"and {len(facts.findings) - LISTED} more findings; fin-infra read findings")
    if facts.quarantined:
        said.append(f"{len(facts.quarantined)} entries are in quarantine; fin-infra quarantine ls --connection "
                    f"{facts.connection.connection_id}")  # fmt: skip
    return said


def _position(facts: Facts) -> list[str]:
    cursor = facts.cursor
    if cursor.version == 0:
        return ["nothing was ever committed: it has no cursor"]
    moved = next((run for run in facts.runs if run["run_id"] == cursor.run_id), None)
    when = f", moved last at {_at(moved['finished_at'])}" if moved else ""
    begin = "; it begins anew with the next run" if cursor.body == "{}" else ""
    return [f"its cursor is version {cursor.version}, of credential generation {cursor.generation}{when}{begin}"]


def _fresh(row: Row, now: datetime, within: timedelta | None) -> tuple[str, str | None]:
    found = freshness(row, now, within)
    return found.state, found.why


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
