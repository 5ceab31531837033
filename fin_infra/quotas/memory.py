"""The ledger of one process, for tests and simulations: nothing outlives it."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
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
            return act(self._state)

    def _declarations(self) -> Iterable[str]:
        return list(self._state.declarations.values())


class _Memory:
    """Rows by key, and the entries of each window: by id, and their stamps in order."""

    def __init__(self) -> None:
        self.now = 0
        self.rows: dict[str, Row] = {}
        self.declarations: dict[str, str] = {}
        self._entries: dict[str, dict[str, tuple[int, int, bool]]] = {}  # stamp, units, settled
        self._order: dict[str, list[tuple[int, str]]] = {}

    def row(self, key: str) -> Row:
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(key)
            self._entries[key], self._order[key] = {}, []
        return row

    def declare(self, row: Row, declaration: str) -> None:
        self.declarations[row.key] = declaration

    def expire(self, key: str, until: int) -> tuple[int, int]:
        order, entries = self._order[key], self._entries[key]
        ended = bisect_right(order, (until, "\x7f"))
        freed = sum(entries.pop(entry)[1] for _, entry in order[:ended])
        del order[:ended]
        return freed, order[0][0] if order else FAR

    def entries(self, key: str) -> Iterable[tuple[int, int]]:
        entries = self._entries[key]
        return ((stamp, entries[entry][1]) for stamp, entry in self._order[key])

    def grains(self, key: str, grain: int) -> Sequence[tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for stamp, units in self.entries(key):
            found[stamp // grain] = stamp, found.get(stamp // grain, (0, 0))[1] + units
        return list(found.values())

    def units(self, key: str, until: int) -> int:
        entries, order = self._entries[key], self._order[key]
        return sum(entries[entry][1] for _, entry in order[: bisect_right(order, (until, "\x7f"))])

    def newest(self, key: str) -> int:
        order = self._order[key]
        return order[-1][0] if order else 0

    def add(self, entry: str, key: str, stamp: int, units: int, *, sent: bool) -> None:
        self._entries[key][entry] = stamp, units, sent
        insort(self._order[key], (stamp, entry))

    def restamp(self, entry: str, stamps: Sequence[tuple[str, int, int]]) -> bool:
        for key, _, _ in stamps:
            known = self._entries[key].get(entry)
            if known is None or known[2]:
                return False
        for key, _, stamp in stamps:
            entries, order = self._entries[key], self._order[key]
            old, units, _ = entries[entry]
            del order[bisect_left(order, (old, entry))]
            entries[entry] = stamp, units, True
            insort(order, (stamp, entry))
        return True

    def take(self, entry: str, key: str, stamp: int) -> int | None:
        known = self._entries[key].get(entry)
        if known is None or known[2]:
            return None
        del self._entries[key][entry]
        order = self._order[key]
        del order[bisect_left(order, (known[0], entry))]
        return known[1]

    def settled(self, entry: str, key: str) -> bool:
        return entry in self._entries[key]
