"""What a plan costs: its calls played against a copy of the ledger in virtual time, as if nobody else asked.

Pure but for the windows, which are those that the transport would count the plan's first question in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from fin_infra.engine.backfilling.asking import first_question
from fin_infra.engine.backfilling.planning import Plan, source_of
from fin_infra.providers import declared
from fin_infra.providers.base import Want
from fin_infra.providers.metering import Quotas, span
from fin_infra.providers.transport import endpoint_of
from fin_infra.quotas.base import CountingLedger
from fin_infra.quotas.declared import UNCOUNTED, UNDECLARED
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.rehearsal import rehearsal
from fin_infra.quotas.windows import Calendar, Rolling, Spacing, Window, bound

ANSWERED = timedelta(seconds=0.2)  # how long an answer takes; it matters where no window makes calls wait longer
PLAYED = 3_000  # calls that are played one by one; of more the rest goes on at the pace of the last third
ROWS_A_SECOND = 25_000  # about what one worker parses, compares and commits


@dataclass(frozen=True)
class Cost:
    """What a window takes of it. `units` of `limit` in each `period`, which alone would take `seconds`."""

    window: str
    units: int
    limit: int
    period: str
    seconds: float

    def sentence(self) -> str:
        """`25 a day: 12 days`."""
        return f"{self.limit} {self.period}: {duration(self.seconds)}"


@dataclass(frozen=True)
class Reckoned:
    """`seconds` until the last answer is here, all windows considered; `work`: seconds this machine works for it."""

    calls: int
    seconds: float
    work: float
    costs: tuple[Cost, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "calls": self.calls, "eta_seconds": round(self.seconds, 3), "work_seconds": round(self.work, 3),
            "windows": [asdict(cost) for cost in self.costs],
        }  # fmt: skip


async def windows_of(plan: Plan, quotas: Quotas, now: datetime) -> tuple[tuple[Window, ...], int]:
    """The windows that count the plan's calls, and the units of each."""
    connection, provider = plan.connection, declared(plan.connection.provider)
    source = source_of(provider, plan.dataset)
    quota = provider.quota or UNDECLARED
    assert source.series is not None, "only a series is backfilled"
    wants = [Want(name, str(source.series.ticker(name)), plan.first, plan.last) for name in plan.chunks[0].subjects[:1]]
    host, path, words = await first_question(provider, source, wants, now)
    endpoint = quota.named(host, endpoint_of(path, "", words=words))
    holder = connection.quota_key or provider.quota_key({})
    place = {"holder": holder, "connection": connection.connection_id, "account": ""}
    found = bound(quotas.windows(provider, holder), **place, endpoint=endpoint)
    return found or bound((UNCOUNTED,), **place, endpoint=endpoint), quota.costs.get(endpoint, 1)


def reckon(
    calls: int, windows: Sequence[Window], ledger: CountingLedger, now: datetime, *, units: int = 1, rows: int = 0
) -> Reckoned:  # fmt: skip
    """What so many calls cost, of `units` each, beside what the ledger has in use by now, which is left as it is.

    Raises `StoreError` when the ledger cannot be read.
    """
    costs = [
        Cost(window.key.rpartition("#")[2], calls * units, window.permitted, period(window),
             played(calls, (window,), ledger, now, units=units))
        for window in windows
        if not isinstance(window, Spacing)
    ]  # fmt: skip
    seconds = played(calls, windows, ledger, now, units=units)
    return Reckoned(calls, seconds, rows / ROWS_A_SECOND, tuple(costs))


def played(calls: int, windows: Sequence[Window], ledger: CountingLedger, now: datetime, *, units: int = 1) -> float:
    """Seconds until the last of the calls, one after the other, is answered."""
    clock = _Clock(now)
    copy, ends = rehearsal(ledger, windows, clock), list[datetime]()
    while len(ends) < min(calls, PLAYED):
        answer = copy.acquire(windows, units, lane="backfill")
        if isinstance(answer, Denied):
            clock.at += timedelta(seconds=max(answer.eta, 1e-6))
            continue
        clock.at += ANSWERED
        copy.settle(answer)
        ends.append(clock.at)
    if not ends:
        return 0.0
    third = len(ends) // 3
    pace = (ends[-1] - ends[third]) / max(1, len(ends) - 1 - third)
    return (ends[-1] - now + pace * (calls - len(ends))).total_seconds()


class _Clock:
    """Virtual time."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


def period(window: Rolling | Calendar) -> str:
    """`a day`, `a minute`, `in 5 minutes`."""
    if isinstance(window, Calendar):
        return f"a {window.unit}"
    named = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}
    return named.get(window.period) or f"in {span(window.period)}"


def duration(seconds: float) -> str:
    """For people: `40 minutes`, `1.5 hours`, `12 days`."""
    for unit, length, most in (("second", 1.0, 90.0), ("minute", 60.0, 5400.0), ("hour", 3600.0, 129_600.0)):
        if seconds < most:
            return _plural(seconds / length, unit)
    return _plural(seconds / 86400.0, "day")


def _plural(number: float, unit: str) -> str:
    shown = (
        f"{number:.1f}".removesuffix(".0") if unit in ("hour", "day") and number < 10 else f"{max(1, round(number))}"
    )
    return f"{shown} {unit}" if shown == "1" else f"{shown} {unit}s"
