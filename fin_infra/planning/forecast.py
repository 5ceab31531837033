"""What would run when: schedules played against a copy of the ledger, in virtual time. Pure: nothing is written.

Keys share no window, so each is played alone. At any moment the line of a key is served as the planner serves it: the
most urgent lane first, in it the tenant whose turn it is by what its runs have cost, in a tenant what is due first. The
head of the line starts when the ledger admits what it costs; the others wait behind it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fin_infra.planning.admission import DATASET, LENT
from fin_infra.planning.fairness import FairQueue
from fin_infra.quotas.ledger import Denied, Ledger
from fin_infra.quotas.windows import LANES, Lane, Spacing, Window

LEAST = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Run:
    """A run to come. `schedule`: what makes it due, "" for a job that is queued already. `calls`: what it costs."""

    stream: str
    schedule: str
    job: str
    tenant: str
    lane: Lane
    due_at: datetime
    calls: float
    begun: bool = False  # the rest of one that has started


@dataclass(frozen=True)
class Planned:
    """`starts_at`: None where its turn does not come within the horizon. `denied`: what held it back last."""

    run: Run
    starts_at: datetime | None
    denied: Denied | None = None

    @property
    def waits(self) -> timedelta | None:
        return None if self.starts_at is None else self.starts_at - self.run.due_at


class Clock:
    """The time of a play."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


Following = Callable[[Run, datetime], "datetime | None"]
"""When the schedule of a run makes its stream due again, after it was queued at an instant; None: not again."""


def never(run: Run, at: datetime) -> datetime | None:
    """It does not."""
    return None


def _order(run: Run) -> tuple[bool, datetime, int]:
    """Inside a tenant: what has begun, then what is due first; at the same time as the planner takes them."""
    return not run.begun, run.due_at, DATASET.get(run.stream.rpartition("/")[2], len(DATASET))


def play(
    runs: Iterable[Run], ledger: Ledger | None, clock: Clock, end: datetime, *, windows: Sequence[Window] = (),
    following: Following = never, own: Callable[[str], Sequence[Window]] = lambda stream: (),
    weight: Callable[[str], float] = lambda tenant: 1.0, until: str | None = None, most: int | None = None,
) -> list[Planned]:  # fmt: skip
    """The runs of one key from the clock's time up to `end`, in the order they start; then those that do not.

    `ledger`: a copy that nobody else uses, on `clock`; None where no window counts. `windows`: those that all calls of
    the key share, `own`: those of a stream's connection alone. `until`: the play ends when this stream has started, at
    the latest when `most` runs have; the clock says how far it came.
    """
    return _Play(ledger, clock, end, windows, following, own, weight).run(runs, until, most)


class _Play:
    def __init__(
        self, ledger: Ledger | None, clock: Clock, end: datetime, windows: Sequence[Window], following: Following,
        own: Callable[[str], Sequence[Window]], weight: Callable[[str], float],
    ) -> None:  # fmt: skip
        self._ledger, self._clock, self._end = ledger, clock, end
        self._windows, self._own, self._following = windows, own, following
        self._most = min((window.permitted for window in windows if not isinstance(window, Spacing)), default=0)
        self._numbers = itertools.count()
        self._coming: list[tuple[datetime, int, Run]] = []
        self._lines: dict[Lane, FairQueue[Run]] = {lane: FairQueue(weight, _order, LENT) for lane in LANES}
        self._rows: dict[str, list[Run]] = {}  # due rows of a stream that waits: one run serves them all
        self._promised: tuple[Lane, datetime] | None = None  # who was told to come back when
        self._denied: dict[str, Denied] = {}  # by lane, and by stream where its own windows deny

    def run(self, runs: Iterable[Run], until: str | None, most: int | None) -> list[Planned]:
        found: list[Planned] = []
        for one in sorted(runs, key=lambda run: run.stream):
            self._push(one.due_at, one)
        while (lane := self._next()) is not None:
            if (run := self._lines[lane].take(self._served)) is None:
                continue
            spent, rows = self._spent, self._rows.pop(run.stream)
            if not run.begun:
                late = run.due_at < self._clock.at
                denied = self._denied.pop(run.stream, None) or self._denied.get(lane)
                found.append(Planned(run, self._clock.at, denied if late else None))
            if run.stream == until or len(found) == most:
                return found
            self._follow(run, rows, spent)
        return [*found, *self._left()]

    def _next(self) -> Lane | None:
        """The lane whose head can be served now; time passes until there is one. None at the end."""
        while True:
            while self._coming and self._coming[0][0] <= self._clock.at:
                self._arrive(heapq.heappop(self._coming)[2])
            lane = next((lane for lane in LANES if len(self._lines[lane])), None)
            later = self._coming[0][0] if self._coming else self._end
            if lane is not None:
                denied = None if (lane, self._clock.at) == self._promised else self._probed(lane)
                self._promised = None
                if denied is None:
                    return lane
                self._denied[lane] = denied
                self._promised = lane, denied.at
                later = min(later, max(denied.at, self._clock.at + LEAST))
            if later >= self._end:
                return None
            self._clock.at = later

    def _probed(self, lane: Lane) -> Denied | None:
        """Why the windows that all share give this lane nothing now."""
        if self._ledger is None or not self._windows:
            return None
        answer = self._ledger.acquire(self._windows, 1, lane=lane)
        if isinstance(answer, Denied):
            return answer
        self._ledger.cancel(answer)
        return None

    def _served(self, run: Run) -> float | None:
        """Units that the run is given now; None where a window of its connection alone gives it none."""
        windows = [*self._windows, *self._own(run.stream)]
        if self._ledger is None or not windows:
            self._spent = run.calls
            return run.calls
        cost = min(max(1, math.ceil(run.calls)), self._most or 1_000_000)
        answer = self._ledger.acquire(windows, cost, lane=run.lane)
        if isinstance(answer, Denied) and cost > 1:  # it begins with what there is
            cost = max(1, min(cost, self._ledger.capacity(windows, 0.0, lane=run.lane)))
            answer = self._ledger.acquire(windows, cost, lane=run.lane)
        if isinstance(answer, Denied):
            self._denied[run.stream] = answer
            for row in self._rows.pop(run.stream):
                self._push(max(answer.at, self._clock.at + LEAST), row)
            return None
        self._ledger.settle(answer)
        self._spent = float(cost)
        return self._spent

    def _follow(self, run: Run, rows: Sequence[Run], spent: float) -> None:
        """What comes of a run that has started: the rest of it, and the next time of each schedule it served."""
        now = self._clock.at
        if run.calls > spent:
            self._push(now, replace(run, calls=run.calls - spent, begun=True))
        for row in rows:
            if row.schedule and not row.begun and (due_at := self._following(row, now)) is not None:
                self._push(due_at, replace(row, due_at=due_at))

    def _push(self, at: datetime, run: Run) -> None:
        if at < self._end or run.due_at < self._end:
            heapq.heappush(self._coming, (at, next(self._numbers), run))

    def _arrive(self, run: Run) -> None:
        if run.stream in self._rows:
            self._rows[run.stream].append(run)
        else:
            self._rows[run.stream] = [run]
            self._lines[run.lane].push(run.tenant, run)

    def _left(self) -> list[Planned]:
        """Whose turn does not come, in the order of lane and time."""
        waiting = [(rows[0], lane) for rows in self._rows.values() for lane in [rows[0].lane]]
        waiting += [(run, run.lane) for _, _, run in self._coming if run.stream not in self._rows]
        waiting.sort(key=lambda one: (LANES.index(one[1]), one[0].due_at, one[0].stream))
        return [
            Planned(run, None, self._denied.get(run.stream) or self._denied.get(lane))
            for run, lane in waiting
            if not run.begun and run.due_at < self._end
        ]
