"""How many calls a run of a stream is likely to make: from its last runs, else as others of its kind do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection as SqlConnection

from fin_infra.quotas.windows import Lane
from fin_infra.store.base import Now, Stream
from fin_infra.store.statements import fetched

NEWEST = 0.3
"""Weight of a run against all before it: one odd day changes little, a new habit is known within a few runs."""
RUNS = 8
SAMPLED = 200
USUAL_FOR = timedelta(minutes=10)
UNKNOWN_FOR = timedelta(seconds=10)

LAST = (
    "SELECT calls FROM runs WHERE connection_id = ? AND dataset = ? AND outcome IN ('ok', 'partial') AND calls > 0 "
    f"AND (lane = 'backfill') = ? ORDER BY started_at DESC LIMIT {RUNS}"
)
OTHERS = (
    "SELECT AVG(calls) FROM (SELECT r.calls FROM (SELECT connection_id FROM connections WHERE provider = ? "
    f"LIMIT {SAMPLED}) AS c JOIN runs r ON r.connection_id = c.connection_id AND r.dataset = ? "
    f"WHERE r.outcome IN ('ok', 'partial') AND r.calls > 0 AND (r.lane = 'backfill') = ? LIMIT {SAMPLED}) AS sampled"
)
UNKNOWN = 1
PART = 10
"""Calls that a part of a backfill makes at most."""


class Costs:
    """Estimates from the table `runs`, in whole calls, at least 1."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._usual: dict[tuple[str, str, bool], tuple[datetime, int]] = {}

    def of(self, sql: SqlConnection, provider: str, stream: Stream, lane: Lane) -> int:
        """Of one stream; its parts of a backfill are another matter than its runs."""
        calls = [int(row[0]) for row in fetched(sql, LAST, (*stream, lane == "backfill"))]
        return math.ceil(likely(calls)) if calls else self.usual(sql, provider, stream.dataset, lane)

    def usual(self, sql: SqlConnection, provider: str, dataset: str, lane: Lane) -> int:
        """Of a stream that has not run yet: the average of the vendor's others of this dataset, else 1."""
        now, kind = self._now(), (provider, dataset, lane == "backfill")
        until, cost = self._usual.get(kind, (now, 0))
        if until <= now:
            [(average,)] = fetched(sql, OTHERS, kind)
            cost = max(1, round(float(average or (PART if kind[2] else UNKNOWN))))
            self._usual[kind] = now + (UNKNOWN_FOR if average is None else USUAL_FOR), cost
        return cost


def likely(calls: Sequence[int]) -> float:
    """An exponentially weighted average; `calls` of the last runs, newest first."""
    *newer, oldest = calls
    average = float(oldest)
    for count in reversed(newer):
        average += NEWEST * (count - average)
    return average
