"""Worker processes against an emulated vendor, as they run in production, and what came of it by the vendor's count."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path

from fin_infra.project import init
from fin_infra.providers import resolve
from fin_infra.runtime import Runtime, open_queue
from fin_infra.settings import Settings
from tests.emulator.vendor import Counted, Standing, Terms, account, standing, token

OVERLOAD = 2.7
WORKERS = 4
PRELOAD = ["fin_infra.cli.worker", "fin_infra.runtime", "fin_infra.providers.teller", "fin_infra.datasets.operations",
           "tests.emulator.fleet"]  # fmt: skip
MIGRATING = threading.Lock()
"""Migrations are made one at a time in a process: what runs them keeps their state in its modules."""
START = 120.0  # seconds until the first call must have come


def quotas(terms: Terms) -> str:
    """The limit as the owner of the key sets it: what is published, never how it is counted or at what phase. Only of a
    counter one knows that it refuses legal traffic."""
    said = f"application={terms.limit}/{terms.period:g}s"
    return f"{said} counter" if terms.kind == "counter" else said


def work(environment: dict[str, str], folder: Path) -> None:
    """A worker process: `fin-infra worker`, what it says in a file of its own."""
    os.environ.update(environment)
    os.chdir(folder)
    with (folder / f"worker-{os.getpid()}.log").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    from fin_infra.cli import main

    sys.argv = ["fin-infra", "worker", "--grace", "0.2"]
    main()


@dataclass(frozen=True)
class Order:
    """What a user asked for: all accounts of a login anew, now. `at`: seconds since 1970."""

    login: int
    at: float


@dataclass
class Run:
    """What the vendor counted, and what was ordered meanwhile. Calls in the order they were counted; `count`: windows
    that are measured, behind the first."""

    terms: Terms
    count: int
    calls: list[Counted]
    orders: list[Order] = field(default_factory=list)
    starved: float = 0.0
    """Seconds that the worker which fared worst wanted a processor and had none: the machine had other work."""

    @property
    def refused(self) -> int:
        return sum(not call.accepted for call in self.calls)

    def windows(self) -> list[int]:
        """Accepted calls in each period behind the first one, which begins with the first call."""
        begin, counts = self.calls[0].at, [0] * (self.count + 1)
        for call in self.calls:
            place = int((call.at - begin) // self.terms.period)
            if call.accepted and place <= self.count:
                counts[place] += 1
        return counts[1:]

    @property
    def turn(self) -> float:
        """The same by how long it took on average until as many calls as are permitted had followed on a call. Where
        bursts are far apart it is more exact than what whole windows happen to hold."""
        times, limit = [call.at for call in self.calls if call.accepted], self.terms.limit
        turns = [times[n] - times[n - limit] for n in range(limit, len(times))]
        return self.terms.period * len(turns) / sum(turns) if turns else 0.0

    @property
    def used(self) -> float:
        """The share of the permitted calls that was used, in the windows behind the first."""
        counts = self.windows()
        return sum(counts) / (len(counts) * self.terms.limit)

    @property
    def round_trip(self) -> float:
        """Seconds that a call took at the vendor and on the line, on average."""
        taken = [call.back - call.came for call in self.calls if call.back]
        return sum(taken) / len(taken)

    def waits(self) -> list[float]:
        """Seconds that each order waited for us, the vendor's own time and that on the line left out: from the order to
        its last answer, less what its two calls took. Orders whose answers are not all there are left out."""
        found = []
        for order in self.orders:
            paths = ("/accounts", f"/accounts/{account(order.login)}/balances")
            both = [
                next(
                    (c for c in self.calls if c.path == path and c.who == token(order.login) and c.came >= order.at),
                    None,
                )
                for path in paths
            ]
            taken = [call.back - call.came for call in both if call is not None and call.accepted and call.back]
            if len(taken) == len(paths):
                found.append(max(call.back for call in both if call is not None) - order.at - sum(taken))
        return found


class Fleet:
    """Logins with more due than the vendor permits, linked in a store of its own, and the workers' processes."""

    def __init__(
        self, folder: Path, store_url: str, vendor: Standing, logins: int, *, every: int, context: ForkServerContext,
        more: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.vendor = vendor
        self._context = context
        folder.mkdir(parents=True, exist_ok=True)
        project = folder / "project"
        init(project)
        (project / "schedules/accounts.yaml").write_text("schedules:\n  accounts: {job: sync_accounts, every: 12h}\n")
        (project / "schedules/transactions.yaml").write_text(
            f"schedules:\n  moves: {{job: sync_transactions, every: {every}s}}\n"
        )
        key = folder / "vault.key"
        self.environment = {
            "FIN_INFRA_STORE_URL": store_url, "FIN_INFRA_PROJECT": str(project), "FIN_INFRA_VAULT_KEY_FILE": str(key),
            "FIN_INFRA_TELLER_BASE_URL": vendor.url, "FIN_INFRA_TELLER_QUOTAS": quotas(vendor.terms), **(more or {}),
        }  # fmt: skip
        self.settings = Settings(store_url=store_url, project=project, vault_key_file=key)
        with MIGRATING:
            self.connections = asyncio.run(self._link(logins))

    async def _link(self, logins: int) -> list[str]:
        async with Runtime(self.settings) as runtime:
            found = [
                runtime.connections.add(resolve("teller"), {"access_token": token(n)}, tenant=token(n))
                for n in range(logins)
            ]
        return [connection.connection_id for connection in found]

    @contextmanager
    def working(self, workers: int = WORKERS) -> Iterator[list[int]]:
        """So many worker processes until the block ends; their pids. Raises when one of them has ended by itself."""
        processes = [
            self._context.Process(target=work, args=(self.environment, self.folder), daemon=True)
            for _ in range(workers)
        ]
        for process in processes:
            process.start()
        try:
            yield [process.pid for process in processes if process.pid is not None]
            ended = [process.exitcode for process in processes if not process.is_alive()]
            assert not ended, f"workers ended by themselves: {ended}\n{self.said()}"
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(timeout=20)
                if process.is_alive():
                    process.kill()
                    process.join()

    def up(self) -> int:
        """Workers that have begun to work."""
        return sum(path.stat().st_size > 0 for path in self.folder.glob("worker-*.log"))

    def said(self) -> str:
        """The last lines of each worker."""
        return "\n".join("\n".join(path.read_text().splitlines()[-5:]) for path in self.folder.glob("worker-*.log"))

    def order(self, login: int) -> Order:
        """A user's order, put into the queue."""
        queue = open_queue(self.settings)
        try:
            connection = self.connections[login]
            at = time.time()
            queue.enqueue_many(
                [{"name": "sync_accounts", "payload": {"connection": connection}, "lane": "interactive",
                  "unique_key": f"{connection}/accounts", "at_once": True}]
            )  # fmt: skip
        finally:
            queue.close()
        return Order(login, at)


def done(call: Counted, now: float) -> bool:
    """Whether the call was the last of a sync of accounts, which by now is over: an order that meets one in the queue
    is that one."""
    return call.path.endswith("/balances") and call.accepted and 0 < call.back < now - 3.0


def kept_waiting(pid: int) -> float:
    """Seconds that a process was ready to run and had no processor, as Linux counts them; 0 elsewhere."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[1]) for path in threads) / 1e9


def logins_of(terms: Terms, every: int, overload: float = OVERLOAD) -> int:
    """So many that their syncs of one call each are more by `overload` than what is permitted."""
    return round(overload * terms.limit * every / terms.period)


def forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def run(
    folder: Path, store_url: str, terms: Terms, *, windows: int, every: int, orders_every: float | None = None,
    orders_from: float = 1.0, workers: int = WORKERS, more: dict[str, str] | None = None,
) -> Run:  # fmt: skip
    """Works for a first window and then `windows` more. `orders_every`: seconds between a user's orders, which begin
    after `orders_from` windows."""
    context = forkserver()
    logins = logins_of(terms, every)
    draw = random.Random(terms.seed)
    calls: list[Counted] = []
    orders: list[Order] = []
    with standing(context, terms, logins) as vendor:
        fleet = Fleet(folder, store_url, vendor, logins, every=every, context=context, more=more)
        with fleet.working(workers) as pids:
            patience = time.monotonic() + START
            while not calls:
                assert time.monotonic() < patience, f"no call came in {START:.0f} s\n{fleet.said()}"
                time.sleep(0.05)
                calls += vendor.counted()
            while fleet.up() < workers and time.monotonic() < patience:  # a busy machine starts them one by one
                time.sleep(0.05)
            begin, waited = calls[0].at, [kept_waiting(pid) for pid in pids]
            windows += int((time.time() - begin) // terms.period)
            end = begin + (windows + 1) * terms.period
            next_order = begin + orders_from * terms.period if orders_every else end
            last_order = end - 4 * terms.line.longest - 2.0  # its answers are to be seen
            while (now := time.time()) < end + 0.2:
                if next_order <= now < last_order and orders_every:
                    known = sorted({call.who for call in vendor.counted() if done(call, now)})
                    if known:  # of whom nothing waits already
                        orders.append(fleet.order(int(draw.choice(known).removeprefix("tok"))))
                    next_order += orders_every * draw.uniform(0.5, 1.5)
                time.sleep(max(0.0, min(0.2, next_order - time.time(), end + 0.2 - time.time())))
            calls = vendor.counted()
            starved = max(kept_waiting(pid) - before for pid, before in zip(pids, waited, strict=True))
    return Run(terms, windows, calls, orders, starved)


def middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else float("nan")


__all__ = ["OVERLOAD", "WORKERS", "Fleet", "Order", "Run", "forkserver", "logins_of", "middle", "quotas", "run"]
