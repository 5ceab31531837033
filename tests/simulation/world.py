"""One seed's world: vendors that live, machines that fail, time that jumps; then quiet, and the reckoning.

Everything is drawn from the seed: the same seed makes the same world, to the byte.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import hashlib
import logging
import os
import random
import secrets
import shutil
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from fin_infra.connections import Connections, open_vault
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.transactions import Transactions
from fin_infra.engine import SyncReport, staging
from fin_infra.planning import Schedule
from fin_infra.project import Project, find_project
from fin_infra.providers import resolve
from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.providers.plaid import client as plaid_client
from fin_infra.providers.plaid.simulator import PlaidSimulator
from fin_infra.providers.teller import client as teller_client
from fin_infra.providers.teller.simulator import TellerSimulator
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.runtime import Runtime, open_queue
from fin_infra.settings import Settings
from fin_infra.store import open_store, sql
from fin_infra.store.codec import micros
from tests.simulation import model
from tests.simulation.audit import Audit
from tests.simulation.bank import Bank
from tests.simulation.clock import SimClock, SimLoop
from tests.simulation.desks import Desk, PlaidDesk, TellerDesk
from tests.simulation.network import SimNetwork, Trouble
from tests.simulation.process import PROCESS, Crash, Process, Switchboard, task_factory

STARTS = (
    datetime(2026, 3, 7, 20, tzinfo=UTC),  # the night in which New York loses an hour
    datetime(2026, 10, 31, 22, tzinfo=UTC),  # and the one in which it gains one
    datetime(2026, 12, 30, 9, tzinfo=UTC),
    datetime(2028, 2, 27, 15, tzinfo=UTC),  # before a leap day
    datetime(2026, 11, 24, 12, tzinfo=UTC),
)
VAULT_KEY = base64.urlsafe_b64encode(b"a key that guards nothing at all").decode()
PLAID_KEYS = {"FIN_INFRA_PLAID_CLIENT_ID": "client", "FIN_INFRA_PLAID_SECRET": "secret"}
PATIENCE = 1_500.0
TROUBLES = ("refuse", "refuse", "refuse", "refuse", "dropped", "dropped", "truncated", "garbage", "empty", "shuffled",
            "unreachable", "timeout")  # fmt: skip
HOPS = (timedelta(minutes=5), timedelta(hours=1), timedelta(hours=7), timedelta(hours=7), timedelta(hours=13),
        timedelta(days=2), timedelta(days=6))  # fmt: skip


class Lost(Exception):
    """The story cannot go on."""


@dataclass
class Verdict:
    """What came of a seed: its trace, and what was wrong."""

    seed: int
    wrong: list[str]
    trace: list[str]
    calls: int = 0
    crashes: int = 0
    runs: int = 0

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


class Template:
    """Empty files with the schema, made once and copied for every seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        settings = settings_in(folder)
        open_store(settings.store_url).close()
        open_queue(settings).close()

    def copy(self, to: Path) -> None:
        to.mkdir(parents=True)
        for name in ("fin.db", "fin-queue.db"):
            shutil.copyfile(self.folder / name, to / name)


def settings_in(folder: Path, **more: Any) -> Settings:
    return Settings(store_url=f"sqlite:///{folder / 'fin.db'}", vault_key=SecretStr(VAULT_KEY), **more)


def simulate(seed: int, template: Template, folder: Path) -> Verdict:
    """Lives through one seed in files under `folder`, which are gone afterwards."""
    home = folder / f"seed-{seed}"
    template.copy(home)
    world = World(seed, home)
    with _knobs(world.draw), _seeded(seed), Switchboard(), _logged(world):
        loop = world.loop = SimLoop(world.clock)
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(world.unhandled)
        try:
            loop.run_until_complete(world.live())
        except Exception as error:
            world.accuse(f"{type(error).__name__}: {error}")
        finally:
            loop.run_until_complete(world.end())
            loop.close()
    shutil.rmtree(home)
    return Verdict(
        seed, world.wrong, world.trace, len(world.network.asked), world.crashes, len(world.reports),
    )  # fmt: skip


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """What the system draws by lot, for ids and jitter, is decided by the seed."""
    draw = random.Random(f"{seed}/ids")
    kept = secrets.token_hex, uuid.uuid4, random.getstate()
    random.seed(f"{seed}/jitter")
    secrets.token_hex = lambda nbytes=None: f"{draw.getrandbits(8 * (nbytes or 32)):0{2 * (nbytes or 32)}x}"
    uuid.uuid4 = lambda: uuid.UUID(int=draw.getrandbits(128), version=4)
    os.environ |= PLAID_KEYS
    try:
        yield
    finally:
        for name in PLAID_KEYS:
            del os.environ[name]
        secrets.token_hex, uuid.uuid4 = kept[:2]
        random.setstate(kept[2])


@contextmanager
def _knobs(draw: random.Random) -> Iterator[None]:
    """Limits that only large answers reach are drawn small, so that small worlds reach them too."""
    knobs: list[tuple[Any, str, Any]] = [
        (plaid_client, "PAGE", draw.choice((3, 8, 500, 500))),
        (teller_client, "PAGE", draw.choice((4, 9, 100, 100))),
        (sql, "CHUNK", draw.choice((3, 10, 1_000, 1_000))),
        (staging, "STAGE_EVERY", timedelta(seconds=draw.choice((0.2, 2.0)))),
    ]
    kept = [getattr(module, name) for module, name, _ in knobs]
    for module, name, value in knobs:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(knobs, kept, strict=True):
            setattr(module, name, value)


@contextmanager
def _logged(world: World) -> Iterator[None]:
    """What our code logs becomes a part of the trace."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("fin_infra"):
                world.say(f"log: {record.levelname.lower()} {record.getMessage()}")
            else:  # these tell how long things really took
                world.aside.append(record.getMessage())

    handler = Handler()
    kept = [(log, log.level, log.propagate) for log in map(logging.getLogger, ("fin_infra", "svc_infra"))]
    for log, *_ in kept:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    try:
        yield
    finally:
        for log, level, propagate in kept:
            log.removeHandler(handler)
            log.level, log.propagate = level, propagate


class Banking(Project):
    """The shipped project without what only brokers have: here it would ask for nothing, and cost as much."""

    @cached_property
    def schedules(self) -> list[Schedule]:
        return [
            schedule for schedule in super().schedules if schedule.dataset in ("accounts", "transactions", "holdings")
        ]


@dataclass
class Link:
    """A connection of ours and the login it stands for."""

    connection_id: str
    login: str
    tenant: str
    tokens: list[str] = field(default_factory=list)


class World:
    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.loop: SimLoop
        self.draw = random.Random(f"{seed}/script")
        self.clock = SimClock(self.draw.choice(STARTS) + timedelta(minutes=self.draw.randint(0, 2_000)))
        self.trace: list[str] = []
        self.aside: list[str] = []  # said by others than us, which may not be the same again
        self.wrong: list[str] = []
        self.reports: list[SyncReport] = []
        self.processes: list[Process] = []
        self.crashes = 0
        self.links: list[Link] = []
        self._workers: dict[str, Process] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._coming_back = 0
        self._quiet = False
        self._over = False
        self._number = 0
        self._said_wrong: set[str] = set()
        self._outside = contextvars.copy_context()  # of no process
        self._audit = Audit(folder)
        self._lease = self.draw.choice((1.5, 3.0, 6.0))
        self._slots = self.draw.choice((1, 2, 8))
        self.settings = settings_in(folder, lease_seconds=self._lease, plan_seconds=5.0, slots=self._slots)
        self._project = project()
        bank, aggregator = TellerSimulator(now=self.clock.true), PlaidSimulator(now=self.clock.true)
        vendors = {"teller.sim": bank, "plaid.sim": aggregator}
        self.desks: list[Desk] = [TellerDesk(bank), TellerDesk(bank), PlaidDesk(aggregator)]
        self.bank = Bank(self.draw, self._today, self._audit.of, self.say)
        self.network = SimNetwork(self.clock, random.Random(f"{seed}/network"), vendors, self.say)
        # a ledger that all processes share, as one on disk; the calls of a connection beside the vendors' own windows
        self.ledger = MemoryLedger(self.clock)
        calls = self.draw.choice((None, None, None, 12, 30)) or 1_000_000
        narrow = {f"FIN_INFRA_{name}_QUOTAS": f"connection:calls={calls}/10m" for name in ("TELLER", "PLAID")}
        self.meter = QuotaMeter(self.ledger, Quotas(narrow), self.clock)
        self.network.on_request = self._asks
        self._late_until = 0.0  # until then somebody may still work whose lease was lost meanwhile
        self._skewed = False
        self._retries = random.Random(f"{seed}/retries")

    # -- telling ---------------------------------------------------------------------------------------------------

    def say(self, what: str) -> None:
        self.trace.append(f"{self.clock.seconds:12.3f} {what}")

    def accuse(self, what: str) -> None:
        """Something is wrong. Said once, however often it is seen."""
        if what not in self._said_wrong:
            self._said_wrong.add(what)
            self.wrong.append(what)
            self.say(f"WRONG: {what}")

    def unhandled(self, _: object, context: dict[str, Any]) -> None:
        """An error that nobody waited for; of a killed process it is none."""
        error = context.get("exception")
        if not isinstance(error, Crash):
            self.accuse(f"unhandled: {error or context['message']}")

    def _today(self) -> date:
        return self.clock.true().date()

    # -- the story -------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        self._set_up()
        self._worker("w1")
        await self._settle()
        for _ in range(self.draw.randint(2, 5)):
            await self._step()
        await self._calm_down()
        self._reckon()

    async def end(self) -> None:
        self._over = True
        for process in self.processes:
            self.loop.thaw(process)
            process.crash()
            await process.buried()
        self._audit.close()

    def _set_up(self) -> None:
        store = open_store(self.settings.store_url, now=self.clock)
        connections = Connections(store, open_vault(self.settings), self.clock)
        for number in range(self.draw.choice((1, 1, 2))):
            login, tenant = f"user{number}", f"tenant{self.draw.randint(0, 1)}"
            desk = self.draw.choice(self.desks)
            token = self.bank.join(login, desk, accounts=self.draw.randint(1, 3), rows=self.draw.choice((4, 12, 40)))
            made = connections.add(resolve(desk.provider), {"access_token": token}, tenant=tenant)
            self.links.append(Link(made.connection_id, login, tenant, [token]))
            self.say(f"{tenant} links {login} as {made.connection_id}")
        store.close()

    async def _step(self) -> None:
        """Things happen, time passes, and the machines do their work or fail."""
        draw = self.draw
        for _ in range(draw.choice((0, 1, 2, 4))):
            self.bank.move()
        if draw.random() < 0.7:
            self._trouble()
        if draw.random() < 0.12:
            self._new_life()
        if draw.random() < 0.5:
            self._arm(draw.choice(sorted(self._workers)))
        if draw.random() < 0.15:
            self.clock.skew = timedelta(seconds=draw.choice((-5_400, -30, 0, 40, 7_200)))
            self._skewed = True
            self.say(f"our clock is wrong by {self.clock.skew}")
        if draw.random() < 0.25 and "w2" not in self._workers:
            self._worker("w2")
        elif draw.random() < 0.2:
            await self._restart(draw.choice(sorted(self._workers)))
        hop = draw.choice(HOPS)
        self.say(f"{hop} pass")
        self._pass(hop)
        soon: list[Callable[[], None]] = [self.bank.move] * draw.choice((0, 0, 1, 3))
        if draw.random() < 0.35:
            soon.append(lambda: self._standstill(draw.choice((2.0, 8.0, 90.0))))
        if draw.random() < 0.35:
            soon.append(self._freeze)
        if draw.random() < 0.3:
            soon.append(self._by_hand)
        if draw.random() < 0.08:
            soon.append(lambda: self.bank.disconnect(draw.choice(sorted(self.bank.tokens))))
        self.network.soon += [[draw.randint(1, 6), act] for act in soon]
        await self._settle()
        if draw.random() < 0.7:
            await self._relink_refused()

    def _pass(self, by: timedelta) -> None:
        """Time passes at once."""
        self.clock.hop(by)
        for desk in self.desks:
            desk.heard(self.clock.true())
        if any(process.frozen for process in self.processes):
            self._late_until = max(self._late_until, self.clock.seconds + 10.0)

    async def _calm_down(self) -> None:
        """No more trouble: the machines get the time that they need."""
        self._quiet = True
        self.say("all is quiet from here on")
        self.network.troubles.clear()
        self.network.soon.clear()
        self.network.slow = 0.0
        self.clock.skew = timedelta()
        for process in self.processes:
            process.crash_at = None
        await self._relink_refused()
        for _ in range(4):  # accounts are asked for at least twice
            self._pass(timedelta(hours=13))
            await self._settle()
            for _ in range(12):  # a quota may cut a first read into many
                if not self._audit.waiting():
                    break
                self._pass(timedelta(minutes=11))
                await self._settle()
            await self._relink_refused()

    # -- what may happen -------------------------------------------------------------------------------------------

    def _new_life(self) -> None:
        """An account comes or goes."""
        login = self.draw.choice(sorted(self.bank.tokens))
        mine = [book for book in self.bank.of(login) if book.open]
        if self.draw.random() < 0.5 or len(mine) < 2:
            self.bank.open_account(login, rows=self.draw.randint(0, 8))
        else:
            self.bank.close_account(self.draw.choice(mine))

    def _trouble(self) -> None:
        draw = self.draw
        kind = draw.choice(TROUBLES)
        trouble = Trouble(
            kind, times=draw.choice((1, 1, 1, 2, 3, 15)), on=draw.choice(("", "", "/transactions", "/balances"))
        )
        if kind == "refuse":
            trouble.status = draw.choice((429, 429, 429, 429, 500, 502, 503, 504))
            if trouble.status in (429, 503):
                trouble.retry_after = draw.choice((None, "0", "1", "45", "45", "600", "600", "date+90", "soon"))
        if kind == "refuse" and draw.random() < 0.2:  # one account alone
            book = draw.choice(list(self.bank.books.values()))
            trouble.status, trouble.on = draw.choice((404, 502)), f"/{book.vendor_id}/"
        if kind == "empty":
            trouble.on = draw.choice(("/transactions", "/accounts"))
            self.bank.links_certain = False
            for book in self.bank.books.values():
                book.links.clear()
                book.first_ids.clear()
        self.say(f"trouble ahead: {trouble}")
        self.network.troubles.append(trouble)

    def _arm(self, name: str) -> None:
        """The process will be killed at one of its next statements."""
        process = self._workers[name]
        if not process.dead:
            process.crash_at = process.statements + int(1 + self.draw.expovariate(1 / 60))
            self.say(f"{name} will be killed at statement {process.crash_at}")

    def _standstill(self, seconds: float) -> None:
        """The machine stands still for a while; leases may run out meanwhile."""
        if not self._quiet:
            self.say(f"everything stands still for {seconds:g} s")
            self.clock.hop(timedelta(seconds=seconds))
            self._late_until = max(self._late_until, self.clock.seconds + 10.0)

    def _freeze(self) -> None:
        """The process that asks right now stands still, the others go on: its lease runs out."""
        process, seconds = PROCESS.get(), self.draw.choice((1.0, 5.0, 20.0))
        if process is not None and process.name in self._workers:
            self.say(f"{process.name} stands still for {seconds:g} s")
            self._late_until = max(self._late_until, self.clock.seconds + seconds + 10.0)
            self.loop.call_later(0, self.loop.freeze, process, seconds, context=self._outside)

    def _by_hand(self) -> None:
        """Somebody syncs a stream by hand, beside the workers."""
        link = self.draw.choice(self.links)
        dataset = self.draw.choice((Accounts, Transactions)).dataset_name()
        self._number += 1
        process = self._process(f"hand{self._number}", lambda process: None)

        async def main() -> None:
            async with self._runtime(process) as runtime:
                report = await runtime.engine.sync(dataset, link.connection_id)
                self._reported(process, report)

        process.start(main)

    async def _restart(self, name: str) -> None:
        """A deployment: asked to stop, and started anew."""
        process, stop = self._workers[name], self._stops[name]
        if process.dead:
            return
        self.say(f"{name} is asked to stop")
        stop.set()
        for _ in range(200):
            if not process.tasks:
                break
            await asyncio.sleep(0.25)
        else:
            self.accuse(f"{name} does not stop")
        if not process.dead:
            self._worker(name)

    async def _relink_refused(self) -> None:
        """Users whose login was refused log in again."""
        for link in self.links:
            state = self._audit.rows("SELECT state FROM connections WHERE connection_id = ?", link.connection_id)[0][0]
            gone = self.bank.desks[link.login].disconnected(self.bank.tokens[link.login])
            if state == "active" and not gone:
                continue
            anew = self.draw.random() < 0.6 and self._knows(link)
            token = self.bank.renew(link.login, anew=anew)
            link.tokens.append(token)

            def again(runtime: Runtime, link: Link = link, token: str = token) -> None:
                runtime.connections.relink(link.connection_id, {"access_token": token})
                runtime.queue.hasten(link.connection_id)

            await self._operator(again)

    def _knows(self, link: Link) -> bool:
        """Whether we have all accounts of the login: what we never saw we cannot know again."""
        known = {row["account_id"] for row in self._audit.rows("SELECT account_id FROM accounts WHERE status = 'open'")}
        return all(book.open and book.id in known for book in self.bank.of(link.login))

    async def _operator(self, act: Callable[[Runtime], None]) -> None:
        """A command at the shell; if it is killed, it is given again."""
        while True:
            self._number += 1
            process = self._process(f"shell{self._number}", lambda process: None)
            if not self._quiet and self.draw.random() < 0.2:
                process.crash_at = self.draw.randint(8, 40)

            async def main(process: Process = process) -> None:
                async with self._runtime(process) as runtime:
                    act(runtime)

            await asyncio.gather(process.start(main), return_exceptions=True)
            await process.buried()
            if not process.dead:
                return

    # -- processes -------------------------------------------------------------------------------------------------

    def _process(self, name: str, then: Callable[[Process], None]) -> Process:
        def crashed(process: Process) -> None:
            if self._over:
                return
            self.crashes += 1
            self.say(f"{process.name} is killed at its statement {process.statements}")
            then(process)

        process = Process(name, crashed)
        process.on_commit = self._committed
        self.processes.append(process)
        return process

    def _runtime(self, process: Process) -> Runtime:
        return Runtime(
            self.settings, now=self.clock, base_urls={"teller": "http://teller.sim", "plaid": "http://plaid.sim"}, ledger=self.ledger, meter=self.meter,
            project=self._project, network=self.network, offload=_here(self._retries), random_share=self._retries,
            on_report=lambda report: self._reported(process, report),
        )  # fmt: skip

    def _worker(self, name: str) -> None:
        def then(process: Process) -> None:
            self._coming_back += 1
            self.loop.call_later(self.draw.uniform(0.1, 2.0), self._back, process, context=self._outside)

        process, stop = self._process(name, then), asyncio.Event()
        self._workers[name], self._stops[name] = process, stop
        if not self._quiet and self.draw.random() < 0.2:
            process.crash_at = int(1 + self.draw.expovariate(1 / 60))
        self.say(f"{name} starts")

        async def main() -> None:
            async with self._runtime(process) as runtime:
                await runtime.run_worker(stop=stop)

        process.start(main)

    def _back(self, process: Process) -> None:
        """The supervisor starts it again, once nothing is left of it."""

        async def again() -> None:
            await process.buried()
            self._coming_back -= 1
            self._look(after=process.name)
            self._worker(process.name)

        asyncio.get_running_loop().create_task(again())

    def _reported(self, process: Process, report: SyncReport) -> None:
        if process.dead:
            return
        self.reports.append(report)
        self.say(f"{process.name}: {report.sentence()}")
        found = self._audit.rows("SELECT * FROM runs WHERE run_id = ?", report.run_id)
        if len(found) != 1:
            self.accuse(f"{report.run_id} ended as {report.outcome} and is not recorded")
        elif (found[0]["outcome"], found[0]["calls"]) != (report.outcome, report.calls):
            self.accuse(f"{report.run_id} is recorded as {found[0]['outcome']}, it was {report.outcome}")

    async def _settle(self) -> None:
        """Until nothing is due, nothing runs and everyone is back."""
        began, calm = self.clock.seconds, 0
        while calm < 3:
            await asyncio.sleep(0.2)
            busy = self._coming_back or not self._audit.idle(micros(self.clock()))
            by_hand = any(p.tasks for p in self.processes if p.name.startswith("hand"))
            calm = 0 if busy or by_hand else calm + 1
            if self.clock.seconds - began > PATIENCE:
                self.accuse(
                    "a job is neither done nor put off: " + "; ".join(str(tuple(j)) for j in self._audit.jobs())
                )
                raise Lost("the world does not come to rest")
        self._look(after="a while")

    # -- looking ---------------------------------------------------------------------------------------------------

    def _asks(self, process: Process) -> None:
        """Whoever works has a job that is delivered again if he dies."""
        late = self.clock.seconds < self._late_until
        if process.name in self._workers and not late and not self._audit.working():
            self.accuse(f"{process.name} works without a lease: were it killed now, the job would be lost")

    def _committed(self) -> None:
        for what in self._audit.committed(self.bank.books):
            self.accuse(what)

    def _look(self, *, after: str) -> None:
        """What must hold at any moment."""
        for what in (*self._audit.feed(), *model.possible(self.bank.books, self._audit.held())):
            self.accuse(what)
        for what in self.network.broken:
            self.accuse(what)
        granted = sum(row["spent"] for row in self.ledger.frame().to_dicts() if row["window"].endswith("#calls"))
        asked = len(self.network.asked) - self.network.unreached
        if granted != asked and not self.crashes:
            self.accuse(f"{asked} calls were made, {granted} were granted")

    def _reckon(self) -> None:
        """What must hold now that all is quiet."""
        serial = [] if self._skewed else self._audit.serial()
        for what in model.final_portfolios(self.bank.books, self._audit.portfolios()):
            self.accuse(what)
        for what in (*model.final(self.bank.books, self._audit.held()), *self._audit.versions(), *serial):
            self.accuse(what)
        self._accounts()
        self._streams()
        self._jobs()
        self._secrets()
        self.trace += self._audit.snapshot()

    def _accounts(self) -> None:
        rows = {row["account_id"]: row for row in self._audit.rows("SELECT * FROM accounts")}
        balances = {row["account_id"]: row for row in self._audit.rows("SELECT * FROM balances")}
        for book in self.bank.books.values():
            row = rows.get(book.id)
            if row is None:
                if book.open:
                    self.accuse(f"{book.id} is missing")
                continue
            if (row["status"] == "open") != book.open:
                self.accuse(f"{book.id} is {row['status']}, at the bank it is {'open' if book.open else 'closed'}")
            tenant = next(link.tenant for link in self.links if link.login == self.bank.owner[book.id])
            if row["tenant_id"] != tenant:
                self.accuse(f"{book.id} belongs to {tenant} and is kept for {row['tenant_id']}")
            if book.open and (book.id not in balances or Decimal(balances[book.id]["current"]) != book.balance):
                kept = balances[book.id]["current"] if book.id in balances else None
                self.accuse(f"{book.id} has a balance of {kept}, at the bank it is {book.balance}")

    def _streams(self) -> None:
        now = micros(self.clock())
        for link in self.links:
            mine = link.connection_id
            for row in self._audit.rows("SELECT * FROM streams WHERE connection_id = ?", mine):
                if row["state"] != "ok" or row["last_success_at"] < now - 28 * 3_600 * 1_000_000:
                    self.accuse(
                        f"{mine}/{row['dataset']} is {row['state']} since {row['last_success_at']}: {row['next_reason']}"
                    )
            rows = self._audit.rows(
                "SELECT dataset, MIN(due_at) FROM due WHERE connection_id = ? GROUP BY dataset", mine
            )
            due = {row[0]: row[1] for row in rows}
            if set(due) != self.bank.desks[link.login].streams:
                self.accuse(f"{mine} is planned for {sorted(due)} only")
            for dataset, at in due.items():
                if not now - 1_000_000 < at < now + 21 * 3_600 * 1_000_000:
                    self.accuse(f"{mine}/{dataset} is due at {at}, now it is {now}")

    def _jobs(self) -> None:
        """Nothing waits for ever; what is given up says why."""
        for job in self._audit.jobs():
            if job["state"] != "dead":
                self.accuse(f"job {job['id']} is still {job['state']}: {job['last_error']}")
            elif not job["last_error"]:
                self.accuse(f"job {job['id']} was given up without a reason")

    def _secrets(self) -> None:
        tokens = [token for link in self.links for token in link.tokens]
        trace = "\n".join([*self.trace, *self.aside])
        files = b"".join(path.read_bytes() for path in sorted(self.folder.iterdir()))
        for token in tokens:
            if token in trace or token.encode() in files:
                self.accuse("an access token stands in a log or a file")


def _here(draw: random.Random) -> Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]:
    """Work that would go to a thread is done here, a moment later: others may come first."""

    async def offload(work: Callable[[], Any]) -> Any:
        await asyncio.sleep(draw.uniform(0.0, 0.02))
        return work()

    return offload


@cache
def project() -> Project:
    """Read once."""
    return Banking(find_project(Settings(_env_file=None, project=None)).root)
