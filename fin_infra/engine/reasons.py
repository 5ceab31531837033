"""Why a stream does not run now, and when it will: what is in its way, most decisive first. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from fin_infra.calendars import Calendar
from fin_infra.connections import Connection
from fin_infra.engine.backfilling.keeping import Backfill
from fin_infra.errors import UsageError
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.telling import Place, at, place, refusal, units

PUT_OFF = {
    "rate_limited": "rate_limited", "quota_exhausted": "quota", "not_ready": "not_ready",
    "vendor_unavailable": "cool_down", "vendor_timeout": "cool_down", "network_error": "cool_down",
}  # fmt: skip
"""Code of a stream whose job waits for later → why it waits."""


class Waiting(NamedTuple):
    """A job of the stream in the queue: `state` is queued, running or dead."""

    job_id: int
    state: str
    available_at: datetime
    lease_until: datetime | None
    attempts: int
    last_error: str | None
    lane: str = "scheduled"


class Next(NamedTuple):
    """When a schedule drives it next. `calendar`: whose sessions it follows; `new`: the planner has not met it yet."""

    schedule: str
    due_at: datetime
    calendar: Calendar | None = None
    new: bool = False


@dataclass(frozen=True)
class Budget:
    """What a run costs, and what the quota says of it.

    `calls`: what one is likely to cost. `denied`: what the ledger answers now; None: there are units. `row`: of the
    window that denies, see `Ledger.frame`. `ahead`: streams that stand before it in the line of its key. `starts_at`:
    when its turn comes; None with `until`: not before then.
    """

    key: str
    calls: float | None = None
    denied: Denied | None = None
    row: Mapping[str, Any] | None = None
    ahead: int = 0
    starts_at: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Reason:
    """Something in the way. `until`: when it ends, if that is known; `remedy`: what its owner can do."""

    code: str
    said: str
    until: datetime | None = None
    remedy: str | None = None

    def sentence(self) -> str:
        return self.said + (f"; {self.remedy}" if self.remedy else "")

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "said": self.said, "until": self.until, "remedy": self.remedy}


def reasons_of(
    connection: Connection, jobs: Sequence[Waiting], due: Sequence[Next], budget: Budget | None, code: str | None,
    now: datetime,
) -> list[Reason]:  # fmt: skip
    """Why it does not run now. `code`: the error code of the stream's last run."""
    return [
        *_of_connection(connection), *(_of_job(job, code, now) for job in jobs),
        *_of_quota(jobs, due, budget, now), *_of_schedules(jobs, due, now),
    ]  # fmt: skip


def starts_at(
    connection: Connection, jobs: Sequence[Waiting], due: Sequence[Next], budget: Budget | None, now: datetime
) -> datetime | None:
    """When a worker will begin with it; now, where it could already. None: nobody knows, or not before `budget.until`.

    A running job has begun.
    """
    live = [job for job in jobs if job.state != "dead"]
    if connection.state != "active" and not live:
        return None
    if any(job.state == "running" for job in live):
        return now
    times = [job.available_at for job in live] or [one.due_at for one in due]
    if not times:
        return None
    if budget is not None and budget.starts_at is not None:
        return max(now, budget.starts_at, *(job.available_at for job in live))
    if budget is not None and budget.until is not None:
        return None
    denied = () if budget is None or budget.denied is None else (budget.denied.at,)
    return max(now, min(times), *denied)


def expectation(
    connection: Connection, jobs: Sequence[Waiting], due: Sequence[Next], budget: Budget | None, now: datetime,
    sampled: int = 0,
) -> list[str]:  # fmt: skip
    """When it starts and what that costs, in sentences. `sampled`: runs of its own that the cost is known by."""
    said = []
    begins = starts_at(connection, jobs, due, budget, now)
    if any(job.state == "running" for job in jobs):
        pass  # it has
    elif begins is not None:
        said.append("expected to start now, as soon as a worker is free" if begins <= now
                    else f"expected to start at {at(begins)}")  # fmt: skip
    elif budget is not None and budget.until is not None and connection.state == "active":
        said.append(f"not expected to start before {at(budget.until)}: fin-infra plan --dry-run shows what goes before")
    if budget is not None and budget.calls is not None:
        last = "as its last run did" if sampled == 1 else f"as its last {sampled} runs did"
        source = last if sampled else "as others of its kind do"
        said.append(f"a run costs about {units(math.ceil(budget.calls))} to {_of(budget.key).provider}, {source}")
    return said


def _of_connection(connection: Connection) -> Iterator[Reason]:
    if connection.state == "active":
        return
    said = f"its connection is {connection.state}: {connection.reason or 'nothing is asked'}"
    yield Reason(
        connection.state, said, remedy=f"fin-infra connections relink {connection.connection_id} --secret-stdin"
    )  # fmt: skip


def _of_job(job: Waiting, code: str | None, now: datetime) -> Reason:
    error = f"; {job.last_error}" if job.last_error else ""
    match job.state:
        case "queued" if job.available_at > now:
            why = PUT_OFF.get(code or "", "put_off")
            return Reason(why, f"job {job.job_id} is put off until {at(job.available_at)}{error}", job.available_at)
        case "queued":
            return Reason("queued", f"job {job.job_id} waits for a worker{error}")
        case "running" if job.lease_until is not None and job.lease_until <= now:
            said = f"job {job.job_id} was running in a worker that went silent; the next one takes it over"
            return Reason("lease_lost", said)
        case "running":
            held = "" if job.lease_until is None else f", its worker's lease lasts until {at(job.lease_until)}"
            return Reason("running", f"job {job.job_id} is running, attempt {job.attempts}{held}", job.lease_until)
        case _:
            return Reason("dead", f"job {job.job_id} is a dead letter{error}",
                          remedy=f"fin-infra jobs retry {job.job_id}")  # fmt: skip


def _of_quota(jobs: Sequence[Waiting], due: Sequence[Next], budget: Budget | None, now: datetime) -> Iterator[Reason]:
    """What the ledger and the line say; nothing while it would not run anyway."""
    if budget is None or any(job.state == "running" for job in jobs):
        return
    wanted = [job.available_at for job in jobs if job.state == "queued"] + [one.due_at for one in due]
    first = min(wanted, default=None)
    denied = budget.denied
    if denied is not None and (denied.window is None or (first is not None and denied.at > max(first, now))):
        yield Reason(_code(denied), refusal(denied, budget.row), denied.at, _remedy(denied))
    if first is not None and first <= now and budget.ahead:
        more = " or more" if budget.starts_at is None else ""
        streams = "1 stream stands" if budget.ahead == 1 else f"{budget.ahead:,} streams{more} stand"
        where = _of(budget.key)
        said = f"{streams} before it in the line for {where.provider} {where.short}"
        yield Reason("behind_others", said, budget.starts_at)


def _code(denied: Denied) -> str:
    return "cool_down" if denied.why == "blocked" else "quota"


def _remedy(denied: Denied) -> str | None:
    """What may help: nothing does but time where the vendor told us to wait."""
    if denied.window is None or denied.why not in ("full", "reserve"):
        return None
    provider = place(denied.window.key).provider
    return f"fin-infra quotas --provider {provider} shows all, a larger plan is told by {_variable(provider)}"


def _variable(provider: str) -> str:
    return f"FIN_INFRA_{provider.upper().replace('.', '_')}_PLAN"


def _of_schedules(jobs: Sequence[Waiting], due: Sequence[Next], now: datetime) -> Iterator[Reason]:
    for name, due_at, calendar, new in due:
        if new:
            yield Reason("due", f"the schedule {name} drives it as soon as a worker plans: fin-infra worker")
            continue
        if due_at <= now:
            yield Reason("due", f"the schedule {name} drives it now: it is due since {at(due_at)}")
            continue
        opens = _opens(calendar, now)
        if opens is not None and calendar is not None:
            market = f"; its market {calendar.name} is closed until {at(opens)}"
            yield Reason("market_closed", f"the schedule {name} drives it next at {at(due_at)}{market}", due_at)
        else:
            yield Reason("not_due", f"the schedule {name} drives it next at {at(due_at)}", due_at)
    if not jobs and not due:
        yield Reason("no_schedule", "no job and no schedule drives it: fin-infra schedules next, or fin-infra sync")


def of_backfill(backfill: Backfill) -> Iterator[Reason]:
    """One that has not ended, of the same connection and dataset."""
    name = f"its backfill {backfill.backfill_id}"
    done = f"{backfill.done:,} of {backfill.chunks:,} chunks are done"
    match backfill.state:
        case "running":
            yield Reason("backfill", f"{name} reads older rows behind all other work, {done}")
        case "paused" | "failed":
            why = f", {backfill.reason}" if backfill.reason else ""
            remedy = f"fin-infra backfill resume {backfill.backfill_id}"
            yield Reason(backfill.state, f"{name} is {backfill.state}{why}; {done}", remedy=remedy)


def _opens(calendar: Calendar | None, now: datetime) -> datetime | None:
    """When a market that is closed now opens; None while it is open, and where its calendar does not reach."""
    try:
        return None if calendar is None or calendar.is_open(now) else calendar.next_open(now)
    except UsageError:
        return None


def _of(key: str) -> Place:
    return place(f"{key}#")
