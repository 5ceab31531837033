"""The scenes, and what has to come of each."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fin_infra.planning import mark
from fin_infra.quotas.ledger import Ledger
from fin_infra.quotas.windows import Rolling, paced
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


def counted(owners: dict[str, str]) -> Counter[str]:
    return Counter(owners.values())
