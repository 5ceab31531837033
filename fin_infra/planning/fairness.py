"""Whose turn it is: start-time fair queueing over tenants, the earliest deadline inside one. Pure.

A tenant's next item starts where its last one ended, or at the virtual time where that is later: who was idle has saved
nothing up, and who asks for more than its share waits alone. An item moves its tenant on by cost / weight.

A little is lent: of a tenant with one connection a single run may be worth hours of its share, and the next would be
late for it, while another one is greedy. Who always waits gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items that wait, by tenant. `weight`: of a tenant, above 0; shares are as these. `order`: of items of one tenant,
    and of tenants that start at the same time. `lent`: cost by which a tenant may be ahead of its share."""

    def __init__(self, weight: Callable[[str], float], order: Callable[[Item], Any], lent: float = 0.0) -> None:
        self._lent = lent
        self._weight = weight
        self._order = order
        self._now = 0.0
        self._ends: dict[str, float] = {}
        self._waiting: dict[str, list[tuple[Any, int, Item]]] = {}
        self._turns: list[tuple[float, Any, str]] = []  # when the next item of each tenant that waits starts
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Item]:
        """All that wait, in no order."""
        return (item for waiting in self._waiting.values() for _, _, item in waiting)

    def push(self, tenant: str, item: Item) -> None:
        self._count += 1
        entry = (self._order(item), self._count, item)
        if tenant in self._waiting:
            heappush(self._waiting[tenant], entry)
        else:
            self._waiting[tenant] = [entry]
            heappush(self._turns, (self._start(tenant), entry[0], tenant))

    def refill(self, items: Iterable[tuple[str, Item]]) -> None:
        """These wait now, tenant and item, and nothing else. Who had how much is remembered."""
        self._waiting.clear()
        for tenant, item in items:
            self._count += 1
            self._waiting.setdefault(tenant, []).append((self._order(item), self._count, item))
        for waiting in self._waiting.values():
            heapify(waiting)
        self._turns = [(self._start(tenant), waiting[0][0], tenant) for tenant, waiting in self._waiting.items()]
        heapify(self._turns)

    def take(self, cost_of: Callable[[Item], float | None]) -> Item | None:
        """The item whose turn it is, taken out and charged; None when there is none.

        `cost_of`: what an item costs. None: it cannot be served now; it is taken out free of charge, and the next one
        is looked at. Who wants it to wait on pushes it again.
        """
        while self._turns:
            start, _, tenant = heappop(self._turns)
            waiting = self._waiting[tenant]
            _, _, item = heappop(waiting)
            cost = cost_of(item)
            if cost is not None:
                self._now = start
                self._ends[tenant] = max(self._ends.get(tenant, 0.0), start) + cost / self._weight(tenant)
                start = self._start(tenant)
            if waiting:
                heappush(self._turns, (start, waiting[0][0], tenant))
            else:
                del self._waiting[tenant]
            if cost is not None:
                return item
        return None

    def _start(self, tenant: str) -> float:
        return max(self._ends.get(tenant, 0.0) - self._lent / self._weight(tenant), self._now)
