"""The scenes, and what has to come of each."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fin_infra.planning import mark
from fin_infra.quotas.ledger import Ledger
from fin_infra.quotas.windows import Calendar, Rolling, paced
from fin_infra.store.base import Stream
from fin_infra.testing import VirtualClock
from tests.quota_simulation.machine import START, Limit, Machine, Seen, Vendor, schedule

HOUR = 3600.0
CONNECTIONS, TENANTS = 10_000, 200
WANTED = 4 * HOUR
GREEDY = 500
PARTS, PART = 6, 10  # of a backfill: jobs, and calls of each

SYNC = schedule("syncs", "sync_transactions", "transactions", every="4h", jitter="4h")
OFTEN = schedule("often", "sync_transactions", "transactions", every="15m", jitter="15m", tenants=["greedy"])
PAST = schedule("past", "sync_accounts", "accounts", every="300d", lane="backfill", tenants=["linking"])


@dataclass(frozen=True)
class Figures:
    """What a day came to. Shares in percent, waits in seconds, ages in hours."""

    seed: int
    used: float
    refused: int
    interactive: tuple[float, float]
    webhook: float
    ages: tuple[float, float, float]
    worst: float
    per_sync: float
    deferrals: int
    backfill: float

    def misses(self) -> list[str]:
        """The gates that it does not hold."""
        gates = {
            f"used {self.used:.2f} % < 98 %": self.used >= 98.0,
            f"{self.refused} calls were refused": self.refused == 0,
            f"interactive p99 {self.interactive[1]:.1f} s > 10 s": self.interactive[1] <= 10.0,
            f"webhook p99 {self.webhook:.1f} s > 15 s": self.webhook <= 15.0,
            f"{self.per_sync:.3f} reserves a sync > 1.1": self.per_sync <= 1.1,
            f"another tenant has {self.worst:.3f} of what it wants < 0.97": self.worst >= 0.97,
        }
        return [miss for miss, held in gates.items() if not held]


def fleet(
    folder: Path, seed: int, hours: float, *, greedy: bool = False, ledger: Callable[[VirtualClock], Ledger] | None = None
) -> Figures:  # fmt: skip
    """10,000 connections of 200 tenants at one key: 100 calls a minute, 30 of each connection. Each syncs every four
    hours (83 % of the key), with orders and webhooks between, and one tenant adds 30,000 calls of backfill.

    `greedy`: a tenant with 500 connections syncs them every quarter of an hour: alone two thirds of the key.
    """
    rng = random.Random(seed)
    windows = paced((Rolling("minute", 100, 60.0), Rolling("item", 30, 60.0, scope="connection")))
    vendor = Vendor((Limit(100, 60.0),), (Limit(30, 60.0),), rng)
    plan = [SYNC, PAST, OFTEN]
    machine = Machine(folder, windows=windows, vendor=vendor, schedules=plan, rng=rng, ledger=ledger)
    owners = tenants(rng)
    if not greedy:
        owners = {connection: "t000" if tenant == "greedy" else tenant for connection, tenant in owners.items()}
    calls = {connection: _calls(rng) for connection in owners}
    machine.link(list(owners.items()))
    machine.due([
        (plan, connection, (plan.due_after(START, f"{connection}/transactions") - START).total_seconds())
        for connection, tenant in owners.items()
        for plan in [OFTEN if tenant == "greedy" else SYNC]
    ])  # fmt: skip
    linking = [connection for connection, tenant in owners.items() if tenant == "linking"]
    machine.due([(PAST, connection, 0.0) for connection in linking])
    parts = dict.fromkeys(linking, PARTS)
    machine.calls_of = lambda stream: (
        PART
        if stream.endswith("/sync_accounts")
        else max(1, calls[stream.partition("/")[0]] + rng.choice((0, 0, 0, 1, -1)))
    )

    def done(stream: str, lane: str) -> None:
        connection, job = stream.split("/")
        if job == "sync_accounts":
            machine.seen.done.setdefault("backfill", []).append((machine.now, connection))
            parts[connection] -= 1
            if parts[connection]:
                machine.again(PAST, connection)

    machine.on_done = done
    names = list(owners)
    poisson(machine, rng, 1 / 60, hours * HOUR, lambda: machine.order(rng.choice(names), "sync_transactions"))
    poisson(machine, rng, 2 / 60, hours * HOUR, lambda: announced(machine, rng.choice(names)))
    seen = machine.run(hours * HOUR)
    ended = seen.done["backfill"][-1][0] if not any(parts.values()) else hours * HOUR
    return figures(machine, seen, seed, owners, until=min(ended, hours * HOUR), parts=sum(parts.values()))


def tenants(rng: random.Random) -> dict[str, str]:
    """Who owns which connection: one in twenty is the one that may be greedy, as many link; of the others the n-th
    tenant has a share of 1/n."""
    names = [f"t{n:03}" for n in range(TENANTS - 2)]
    others = rng.choices(names, [1 / (n + 1) for n in range(len(names))], k=CONNECTIONS - 2 * GREEDY)
    owners = ["greedy"] * GREEDY + ["linking"] * GREEDY + others
    return {f"con_{n:05}": owner for n, owner in enumerate(owners)}


def _calls(rng: random.Random) -> int:
    return rng.choices((1, 2, 3, 6), (45, 35, 14, 6))[0]


def poisson(machine: Machine, rng: random.Random, rate: float, until: float, act: Callable[[], None]) -> None:
    when = rng.expovariate(rate)
    while when < until:
        machine.at(when, act)
        when += rng.expovariate(rate)


def announced(machine: Machine, connection: str) -> None:
    """A webhook says that there is something new."""
    waiting = machine.asked.setdefault(f"{connection}/sync_transactions", [])
    waiting.append((machine.now, "webhook"))
    with machine.store.writing() as sql:
        mark(sql, Stream(connection, "transactions"), f"m{machine.now}", machine.clock())


def figures(
    machine: Machine, seen: Seen, seed: int, owners: dict[str, str], *, until: float, parts: int
) -> Figures:  # fmt: skip
    since = min(600.0, until / 4)
    accepted = machine.vendor.accepted
    within = bisect_left(accepted, until) - bisect_left(accepted, since)
    ages: dict[str, list[float]] = {}
    everything: list[float] = []
    for stream, waits in seen.ages.items():
        connection, job = stream.split("/")
        if job == "sync_transactions" and owners[connection] != "greedy":
            ages.setdefault(owners[connection], []).extend(waits)
            everything += waits
    worst = min(
        (min(1.0, WANTED / (sum(some) / len(some))) for tenant, some in ages.items() if tenant != "linking"),
        default=1.0,
    )
    return Figures(
        seed, 100 * within / (100 / 60 * (until - since)), machine.vendor.refused,
        (share(seen.waits["interactive"], 0.5), share(seen.waits["interactive"], 0.99)),
        share(seen.waits["webhook"], 0.99),
        (share(everything, 0.5) / HOUR, share(everything, 0.99) / HOUR, max(everything, default=0.0) / HOUR),
        worst, seen.reserves / seen.syncs, seen.deferrals, until / HOUR,
    )  # fmt: skip


def share(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True)
class Daily:
    """What many days at a vendor of 25 calls a day came to. Shares in percent; refreshes and orders a day."""

    seed: int
    used: float
    refused: int
    urgent: float
    refreshes: float
    early: float
    orders: float

    def misses(self) -> list[str]:
        gates = {
            f"used {self.used:.2f} % of what the days gave": self.used >= 99.0,
            f"{self.refused} calls were refused": self.refused == 0,
            f"{self.urgent:.1f} % of the urgent orders were served at once < 85 %": self.urgent >= 85.0,
            f"{self.early:.1f} % of the refreshes were within six hours of the close < 50 %": self.early >= 50.0,
        }
        return [miss for miss, held in gates.items() if not held]


INSTRUMENTS, A_DAY, URGENT = 60, 25, 8
AT_ONCE = 60.0
CLOSE = schedule("eod", "sync_transactions", "transactions", mic="XNYS", calendar="us", at="close", offset="+5m")
DAY = 86_400.0
NEW_YORK = "America/New_York"
MIDNIGHT = 4 * HOUR  # in summer, which begins within the first week


def daily(
    folder: Path, seed: int, days: int, *, rolling: bool = False, warm: int = 7,
    ledger: Callable[[VirtualClock], Ledger] | None = None,
) -> Daily:  # fmt: skip
    """25 calls a day; 60 instruments are due after each close of New York, one call each, and orders come at any hour,
    eight a day on average. Counted after `warm` days: how many orders come has to be learned."""
    rng = random.Random(seed)
    budget = Rolling("day", A_DAY, DAY, arrive_within=None) if rolling else Calendar("day", A_DAY, "day", NEW_YORK)
    vendor = Vendor((Limit(A_DAY, DAY, "" if rolling else NEW_YORK), Limit(5, 60.0)), (), rng)
    windows = paced((budget, Rolling("minute", 5, 60.0)))
    machine = Machine(folder, windows=windows, vendor=vendor, schedules=[CLOSE], rng=rng, ledger=ledger, tick=120.0)
    names = [f"con_{n:02}" for n in range(INSTRUMENTS)]
    machine.link([(name, "app") for name in names])
    first = (CLOSE.due_after(START, "") - START).total_seconds()
    machine.due([(CLOSE, name, first) for name in names])
    until = days * DAY + MIDNIGHT
    served: list[float] = []
    refreshes: list[float] = []
    machine.on_done = lambda stream, lane: refreshes.append(machine.now) if lane == "scheduled" else None
    orders: list[float] = []

    def order() -> None:
        orders.append(machine.now)
        machine.order(rng.choice(names), "sync_transactions")

    poisson(machine, rng, URGENT / DAY, until, order)
    begin, full = warm * DAY + MIDNIGHT, list[float]()
    for day in range(warm, days):  # after a weekend nothing may be left to do: such a day wastes nothing

        def ends(morning: float = day * DAY + MIDNIGHT) -> None:
            if machine.waiting():
                full.append(morning)

        machine.at((day + 1) * DAY + MIDNIGHT - 10.0, ends)
    seen = machine.run(until)
    served = [wait for at, wait in seen.answered["interactive"] if at >= begin]
    asked = sum(at >= begin for at in orders)
    accepted = sum(morning <= at < morning + DAY for at in vendor.accepted for morning in full)
    late = [at for at in refreshes if at >= begin]
    early = [at for at in late if _since_close(at) <= 6 * HOUR]
    span = days - warm
    return Daily(
        seed, 100 * accepted / (A_DAY * len(full)), vendor.refused,
        100 * sum(wait <= AT_ONCE for wait in served) / asked, len(late) / span,
        100 * len(early) / max(1, len(late)), asked / span,
    )  # fmt: skip


def _since_close(at: float) -> float:
    """Seconds since the last time at which the instruments were due."""
    moment = START + timedelta(seconds=at)
    due = CLOSE.due_after(moment - timedelta(days=5), "")
    while (later := CLOSE.due_after(due, "")) <= moment:
        due = later
    return (moment - due).total_seconds()
