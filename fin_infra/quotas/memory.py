"""The ledger of one process, for tests and simulations: nothing outlives it."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from fin_infra.quotas.base import CountingLedger
from fin_infra.quotas.bounds import SECOND, micros
from fin_infra.quotas.counting import FAR, Row, State

T = TypeVar("T")


class MemoryLedger(CountingLedger):
    """See `Ledger`. `timeout`: seconds after which a call without an answer was counted at the latest, for windows
    that say nothing of it (`arrive_within=None`)."""

    def __init__(self, now: Callable[[], datetime], *, timeout: float = 30.0) -> None:
        super().__init__(timeout)
        self._now = now
        self._lock = threading.Lock()
        self._state = _Memory()
        self._leases: dict[str, tuple[str, int]] = {}

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        with self._lock:
            now = micros(self._now())
            holder, until = self._leases.get(name, (owner, 0))
            if holder != owner and until > now:
                return False
            self._leases[name] = owner, now + round(seconds * SECOND)
            return True

    def _run(self, keys: Sequence[str], act: Callable[[State], T], *, reading: bool = False) -> T:
        with self._lock:
            self._state.now = micros(self._now())
            return act(_Reading(self._state) if reading else self._state)

    def _declarations(self) -> Iterable[str]:
        return list(self._state.declarations.values())


class _Memory:
    """Rows by key, and the entries of each window: by id, and their stamps in order."""

    def __init__(self) -> None:
        self.now = 0
        self.rows: dict[str, Row] = {}
        self.declarations: dict[str, str] = {}
        self.known: dict[str, dict[str, tuple[int, int, bool]]] = {}  # stamp, units, settled
        self.order: dict[str, list[tuple[int, str]]] = {}

    def row(self, key: str) -> Row:
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(key)
            self.known[key], self.order[key] = {}, []
        return row

    def declare(self, row: Row, declaration: str) -> None:
        self.declarations[row.key] = declaration

    def expire(self, key: str, until: int) -> tuple[int, int]:
        order, entries = self.order[key], self.known[key]
        ended = bisect_right(order, (until, "\x7f"))
        freed = sum(entries.pop(entry)[1] for _, entry in order[:ended])
        del order[:ended]
        return freed, order[0][0] if order else FAR

    def entries(self, key: str) -> Iterable[tuple[int, int]]:
        entries = self.known[key]
        return ((stamp, entries[entry][1]) for stamp, entry in self.order[key])

    def grains(self, key: str, grain: int) -> Sequence[tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for stamp, units in self.entries(key):
            found[stamp // grain] = stamp, found.get(stamp // grain, (0, 0))[1] + units
        return list(found.values())

    def units(self, key: str, until: int) -> int:
        entries, order = self.known[key], self.order[key]
        return sum(entries[entry][1] for _, entry in order[: bisect_right(order, (until, "\x7f"))])

    def newest(self, key: str) -> int:
        order = self.order[key]
        return order[-1][0] if order else 0

    def add(self, entry: str, key: str, stamp: int, units: int, *, sent: bool) -> None:
        self.known[key][entry] = stamp, units, sent
        insort(self.order[key], (stamp, entry))

    def restamp(self, entry: str, stamps: Sequence[tuple[str, int, int]]) -> bool:
        for key, _, _ in stamps:
            known = self.known[key].get(entry)
            if known is None or known[2]:
                return False
        for key, _, stamp in stamps:
            entries, order = self.known[key], self.order[key]
            old, units, _ = entries[entry]
            del order[bisect_left(order, (old, entry))]
            entries[entry] = stamp, units, True
            insort(order, (stamp, entry))
        return True

    def take(self, entry: str, key: str, stamp: int) -> int | None:
        known = self.known[key].get(entry)
        if known is None or known[2]:
            return None
        del self.known[key][entry]
        order = self.order[key]
        del order[bisect_left(order, (known[0], entry))]
        return known[1]

    def settled(self, entry: str, key: str) -> bool:
        return entry in self.known[key]


class _Reading(_Memory):
    """Rows are copied and entries looked at: nothing that happens to them is kept."""

    def __init__(self, kept: _Memory) -> None:
        super().__init__()
        self.now = kept.now
        self._kept = kept

    def row(self, key: str) -> Row:
        if key not in self.rows and key in self._kept.rows:
            self.rows[key] = replace(self._kept.rows[key])
            self.known[key], self.order[key] = self._kept.known[key], self._kept.order[key]
        return super().row(key)

    def expire(self, key: str, until: int) -> tuple[int, int]:
        freed, order = self.units(key, until), self.order[key]
        self.order[key] = order = order[bisect_right(order, (until, "\x7f")) :]
        return freed, order[0][0] if order else FAR
