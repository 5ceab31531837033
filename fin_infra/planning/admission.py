"""What the windows can carry: of a vendor's key whose quota is scarce, only so much is queued at a time.

Whatever is queued and cannot run costs a hand-out for each look at it, so due streams wait here, in memory, and not in
the queue. They stay due rows: this is a reading of the table, renewed now and then, and what is chosen from it is
looked up before it is queued.

Each tick admits what the key's windows can give within `HORIZON`, less what is queued and running. More urgent classes
come first; within one, tenants in turn (see `fairness`), the earliest due time inside a tenant. Backfill has what is
left, and a small share while it waits. A stream whose connection is itself out of quota is passed over.

Units of a day that do not suffice for all are not spent on what the next session makes old: streams of a session's
schedule that got no unit wait for the next close, where that comes before the reset. One call then brings both
sessions. Of a month there is always a next close: to wait for the last one would be to stand still for weeks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from sqlalchemy import Connection as SqlConnection

from fin_infra.datasets import SYNCED
from fin_infra.errors import StoreError, UsageError
from fin_infra.planning.costs import Costs
from fin_infra.planning.fairness import FairQueue
from fin_infra.planning.rules import WEBHOOK
from fin_infra.quotas.bounds import micros, period_of
from fin_infra.quotas.declared import key_windows
from fin_infra.quotas.ledger import Ledger
from fin_infra.quotas.windows import LANES, Calendar, Lane, Window, bound
from fin_infra.store.base import Now, Stream
from fin_infra.store.statements import fetched

log = logging.getLogger("fin_infra.planner")

HORIZON = 6.0
"""Seconds that are planned ahead: longer than between two ticks, or the vendor would be idle; short, so that what comes
later and is more urgent waits behind little."""
AMPLE = 0.5
"""Streams that are due are queued all at once where they take this share of what there is, at most: two planners that
find so at the same time queue no more than there is."""
LEASE = 10.0
"""Seconds for which one planner alone admits for a key; should it die, another one takes over after this."""
LEAST = 0.05
"""Share of a key that backfill has while it waits."""
LENT = 10.0  # calls by which a tenant may be ahead of its share
MOST_OWED = 20.0  # calls: what backfill did not get for hours is not made up at once

ENDLESS = 1_000_000_000
DATASET = {name: place for place, name in enumerate(SYNCED)}


class DueRow(NamedTuple):
    """A row of the table `due`, and whose it is. `due_at` in microseconds."""

    schedule: str
    connection_id: str
    dataset: str
    job: str
    lane: Lane
    due_at: int
    session: str | None
    rule: str
    tenant: str
    provider: str
    quota_key: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self[:3]

    @property
    def stream(self) -> str:
        return f"{self.connection_id}/{self.dataset}"


class Admitted(NamedTuple):
    """A due row that is to be queued, and the calls it is likely to make; 0 where its quota is not counted."""

    row: DueRow
    cost: int = 0


WindowsOf = Callable[[str, str], Sequence[Window]]
"""What a provider permits a quota key, unbound."""


class PendingQueue(Protocol):
    """What admission needs of a queue."""

    def running(self, keys: Sequence[str]) -> set[str]: ...

    def pending_cost(self, keys: Sequence[str], until: datetime) -> Mapping[str, Mapping[str, int]]: ...

    def promote(self, quota_key: str) -> int: ...


class Key:
    """One scarce quota key: its due rows by class, and whose turn it is."""

    def __init__(self, name: str, provider: str) -> None:
        self.name = name
        self.provider = provider
        self.weights: Mapping[str, int] = {}
        self.known: set[tuple[str, str, str]] = set()
        self.owed = 0.0  # calls that backfill has to get before anything else
        self.lanes: dict[Lane, FairQueue[DueRow]] = {
            lane: FairQueue(lambda tenant: self.weights.get(tenant, 1), _deadline, LENT) for lane in LANES
        }

    def add(self, rows: Iterable[DueRow]) -> None:
        for row in _by_name(rows):
            if row.key not in self.known:
                self.known.add(row.key)
                self.lanes[row.lane].push(row.tenant, row)

    def refill(self, rows: Sequence[DueRow], weights: Mapping[str, int]) -> None:
        self.weights = weights
        self.known = {row.key for row in rows}
        for lane, waiting in self.lanes.items():
            waiting.refill((row.tenant, row) for row in _by_name(rows) if row.lane == lane)


class Admission:
    """Decides which due rows are queued. `owner`: this planner's name, for leases in the ledger. `next_close`: when a
    schedule that goes by a calendar's sessions is due next, in microseconds; None of others."""

    def __init__(
        self, ledger: Ledger, windows: WindowsOf, queue: PendingQueue, *, owner: str, now: Now,
        horizon: float = HORIZON, next_close: Callable[[str], int | None] = lambda schedule: None,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._windows_of = windows
        self._queue = queue
        self._owner = owner
        self._now = now
        self._horizon = horizon
        self._next_close = next_close
        self._costs = Costs(now)
        self._keys: dict[str, Key] = {}
        self._told = False

    @property
    def scarce(self) -> list[str]:
        """Keys whose due rows wait here."""
        return list(self._keys)

    def ample(self, sql: SqlConnection, rows: Sequence[DueRow]) -> list[Admitted]:
        """Of rows of keys that are not scarce, those to queue. Keys that cannot carry theirs are scarce from now on."""
        admitted: list[Admitted] = []
        metered: dict[str, list[DueRow]] = {}
        free: dict[str, bool] = {}
        for row in rows:
            unmetered = free.get(row.quota_key)
            if unmetered is None:
                unmetered = free[row.quota_key] = not self._permitted(row.provider, row.quota_key)
            if unmetered:
                admitted.append(Admitted(row))
            else:
                metered.setdefault(row.quota_key, []).append(row)
        if metered:
            pending = self._queue.pending_cost(list(metered), self._until)
            for key, mine in metered.items():
                costed = [Admitted(row, self._costs.usual(sql, row.provider, row.dataset, row.lane)) for row in mine]
                room = self._capacity(mine[0].provider, key, "scheduled")
                if sum(cost for _, cost in costed) + sum(pending[key].values()) <= AMPLE * room:
                    admitted += costed
                else:
                    self._keys[key] = Key(key, mine[0].provider)
        return admitted

    def add(self, rows: Iterable[DueRow]) -> None:
        """These are due too, of scarce keys; what is known already is not doubled."""
        by_key: dict[str, list[DueRow]] = {}
        for row in rows:
            by_key.setdefault(row.quota_key, []).append(row)
        for key, mine in by_key.items():
            self._keys[key].add(mine)

    def refill(self, sql: SqlConnection, keys: Sequence[str], rows: Iterable[DueRow]) -> None:
        """All that is due of these scarce keys."""
        by_key: dict[str, list[DueRow]] = {key: [] for key in keys}
        for row in rows:
            by_key[row.quota_key].append(row)
        for key, mine in by_key.items():
            self._keys[key].refill(mine, weights_of(sql, key))

    def admit(self, sql: SqlConnection) -> list[Admitted]:
        """What the scarce keys can carry now. Keys without anything due are scarce no longer."""
        admitted: list[Admitted] = []
        for name in [name for name, key in self._keys.items() if not key.known]:
            del self._keys[name]
        if not self._keys:
            return []
        mine = [key for key in self._keys.values() if self._leads(key.name)]
        pending = self._queue.pending_cost([key.name for key in mine], self._until)
        for key in mine:
            admitted += self._admitted(sql, key, pending[key.name])
        return admitted

    def _admitted(self, sql: SqlConnection, key: Key, pending: Mapping[str, int]) -> list[Admitted]:
        admitted: list[Admitted] = []
        spent = 0
        aside: list[DueRow] = []
        running: set[str] | None = None
        late = self._late(sql, key)
        windows = [window for window in self._permitted(key.provider, key.name) if window.scope == "connection"]

        def take(lane: Lane, as_: Lane | None = None) -> int:
            """Admits the next of a class. Its cost, 0 where there is none."""
            costs: list[int] = []

            def cost_of(row: DueRow) -> float | None:
                nonlocal running
                if row.schedule in late:
                    aside.append(row)
                    return None
                if row.schedule == WEBHOOK:
                    if running is None:
                        running = self._queue.running([mark.stream for mark in key.lanes[lane]] + [row.stream])
                    if row.stream in running:  # it may have read before the change
                        aside.append(row)
                        return None
                if windows and not self._is_open(windows, row, lane):
                    aside.append(row)
                    return None
                costs.append(self._costs.of(sql, row.provider, Stream(row.connection_id, row.dataset), row.lane))
                return costs[-1]

            row = key.lanes[lane].take(cost_of)
            if row is None:
                return 0
            key.known.discard(row.key)
            admitted.append(Admitted(row._replace(lane=as_ or lane), costs[-1]))
            return costs[-1]

        def least() -> int:
            """The share of backfill, as scheduled work, or it would be held back as before: one that is queued, else
            one that is due."""
            if pending.get("backfill"):
                return self._queue.promote(key.name)
            return take("backfill", as_="scheduled")

        while take("interactive"):
            pass  # somebody waits for it: the call decides
        before = 0
        for lane in LANES[1:]:
            before += pending.get(lane, 0)
            room = self._capacity(key.provider, key.name, lane) - pending.get("interactive", 0) - before - spent
            waits = len(key.lanes["backfill"]) > 0 or pending.get("backfill", 0) > 0
            while room > 0:
                if lane != "backfill" and waits and key.owed >= 1.0:
                    cost = least()
                    key.owed -= cost
                    waits = cost > 0
                else:
                    cost = take(lane)
                    if lane == "backfill":
                        key.owed = max(key.owed - cost, 0.0)
                    elif waits:
                        key.owed = min(key.owed + cost * LEAST / (1 - LEAST), MOST_OWED)
                    if not cost:
                        break
                room -= cost
                spent += cost
        for row in aside:
            key.lanes[row.lane].push(row.tenant, row)
        return admitted

    def _permitted(self, provider: str, key: str) -> Sequence[Window]:
        """Windows of the key; none where the settings say nonsense of them: each call is refused with the reason."""
        try:
            return self._windows_of(provider, key)
        except UsageError:
            return ()

    def _late(self, sql: SqlConnection, key: Key) -> set[str]:
        """Schedules whose streams wait for the next close."""
        days = [
            window for window in key_windows(self._permitted(key.provider, key.name), key.name)
            if isinstance(window, Calendar) and window.unit == "day"
        ]  # fmt: skip
        if not days:
            return set()
        now = micros(self._now())
        end = min(period_of(window, now)[1] for window in days)
        late: dict[str, int] = {}
        for lane in (key.lanes["scheduled"], key.lanes["backfill"]):
            for row in lane:
                late[row.schedule] = late.get(row.schedule, 0) + self._costs.usual(
                    sql, row.provider, row.dataset, row.lane
                )
        found = {name for name in late if (close := self._next_close(name)) is not None and close < end}
        if not found:
            return found
        upcoming = fetched(
            sql,
            "SELECT COUNT(*) FROM due AS d JOIN connections AS c ON c.connection_id = d.connection_id WHERE d.schedule "
            f"IN ({', '.join('?' * len(found))}) AND d.due_at > ? AND d.due_at < ? AND c.state = 'active' "
            "AND COALESCE(c.quota_key, c.provider || '/' || c.connection_id) = ?",
            (*found, now, end, key.name),
        )[0][0]
        try:
            left = self._ledger.capacity(days, 0.0)
        except StoreError as error:
            self._tell(error)
            return found
        return found if left < 2 * sum(late[name] for name in found) + upcoming else set()

    @property
    def _until(self) -> datetime:
        return self._now() + timedelta(seconds=self._horizon)

    def _leads(self, key: str) -> bool:
        """Whether this planner admits for the key; nobody does while the ledger is out of reach."""
        try:
            leads = self._ledger.lease(f"plan/{key}", self._owner, LEASE)
        except StoreError as error:
            self._tell(error)
            return False
        self._told = False
        return leads

    def _capacity(self, provider: str, key: str, lane: Lane) -> int:
        """Units for calls of a class within the horizon. Windows of single endpoints count as the widest of them does:
        which one a stream needs is not known here, and the call decides."""
        windows = key_windows(self._permitted(provider, key), key)
        if not windows:  # only connections of their own have any
            return ENDLESS
        common = [window for window in windows if not window.endpoints]
        endpoints = sorted({endpoint for window in windows for endpoint in window.endpoints})
        try:
            if not endpoints:
                return self._ledger.capacity(common, self._horizon, lane=lane)
            return max(
                self._ledger.capacity(
                    [w for w in windows if not w.endpoints or endpoint in w.endpoints], self._horizon, lane=lane
                )
                for endpoint in endpoints
            )
        except StoreError as error:
            self._tell(error)
            return 0

    def _is_open(self, windows: Sequence[Window], row: DueRow, lane: Lane) -> bool:
        mine = bound(windows, holder=row.quota_key, connection=row.connection_id, account="", endpoint="")
        try:
            return not mine or self._ledger.capacity(mine, self._horizon, lane=lane) > 0
        except StoreError as error:
            self._tell(error)
            return False

    def _tell(self, error: StoreError) -> None:
        if not self._told:
            log.error("the quota ledger is out of reach, so nothing of a scarce quota is queued: %s", error.message)
        self._told = True


def weights_of(sql: SqlConnection, key: str) -> dict[str, int]:
    """Connections that each tenant holds of a quota key."""
    rows = fetched(
        sql,
        "SELECT tenant_id, COUNT(*) FROM connections WHERE COALESCE(quota_key, provider || '/' || connection_id) = ? "
        "AND state = 'active' GROUP BY tenant_id",
        (key,),
    )
    return {tenant: int(count) for tenant, count in rows}


def _deadline(row: DueRow) -> tuple[int, int]:
    """By due time; at the same time accounts first, the others need them."""
    return row.due_at, DATASET.get(row.dataset, len(DATASET))


def _by_name(rows: Iterable[DueRow]) -> list[DueRow]:
    """Of streams of a tenant that are due at once the first by name goes first, so that a plan can tell which."""
    return sorted(rows, key=lambda row: row.stream)
