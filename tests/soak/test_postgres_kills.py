"""SIGKILL on PostgreSQL: of the worker, and of a process of the server, which then throws everybody out and recovers.

Meanwhile the bank moves on. Whatever was hit: no row, no job and no entry of the change feed is lost, none is doubled.
`make soak` kills fifty of each; SOAK_KILLS says how many, FIN_INFRA_TEST_SEED which.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet

from fin_infra.providers import resolve
from fin_infra.providers.teller.simulator import SimTransaction, TellerSimulator
from fin_infra.runtime import Runtime, open_queue
from fin_infra.settings import Settings
from fin_infra.testing import serve
from tests.integration.test_kill import PRELOAD, SEED, Hunter, check, eager_project, run, settle
from tests.postgres import FAST, PostgresServer, postgres_server
from tests.world import bought, checking

KILLS = int(os.environ.get("SOAK_KILLS", "4"))
CONNECTIONS = 12
PATIENCE = 60.0
VICTIMS = (
    "SELECT pid, state FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own: it crashes, and what it has said to be committed must be there afterwards."""
    with postgres_server(FAST.replace("synchronous_commit = off", "synchronous_commit = on")) as found:
        yield found


class Stage:
    """A bank whose customers are linked, and the database that is hunted."""

    def __init__(self, folder: Path, url: str) -> None:
        self.draw = random.Random(SEED)
        self.bank = TellerSimulator()
        self.tokens = [f"tok{n:02}" for n in range(CONNECTIONS)]
        for token in self.tokens:
            rows = [bought(f"txn_{token}_{n:03}", on="2026-11-01") for n in range(130)]  # more than one page
            self.bank.enroll(token, checking(f"acc_{token}", *rows))
        self.settings = Settings(
            store_url=url, project=eager_project(folder / "project"), lease_seconds=1.0, plan_seconds=0.1,
            vault_key=Fernet.generate_key().decode(),
        )  # fmt: skip
        self.owner: dict[str, str] = {}
        asyncio.run(self._link())
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([*PRELOAD, "fin_infra.store.postgres", "tests.integration.test_kill"])

    async def _link(self) -> None:
        async with Runtime(self.settings) as runtime:
            for token in self.tokens:
                connection = runtime.connections.add(resolve("teller"), {"access_token": token}, tenant=token)
                self.owner[connection.connection_id] = f"acc_{token}"

    def bought_meanwhile(self, n: int) -> None:
        token = self.draw.choice(self.tokens)
        self.bank.add(f"acc_{token}", SimTransaction(f"txn_{token}_k{n:03}", "-1.00", "2026-11-02", "Meanwhile"))

    def check(self, url: str) -> None:
        """Everything is done once more, then compared with the bank."""
        self.bank.on_request = lambda path: None
        time.sleep(self.settings.lease_seconds)  # the last victim's leases run out
        queue = open_queue(self.settings)
        for connection in self.owner:
            queue.hasten(connection)  # jobs that were put off when the server was away
        queue.close()
        calm = self.settings.model_copy(update={"project": None})
        asyncio.run(settle(calm, url, list(self.owner)))
        asyncio.run(check(calm, self.bank, self.owner))
        queue = open_queue(self.settings)
        assert queue.jobs("dead") == []
        queue.close()


def test_t16_t50_kills_of_the_worker_on_postgresql_lose_and_double_nothing(
    server: PostgresServer, tmp_path: Path
) -> None:
    stage = Stage(tmp_path, server.migrated())
    hunter = Hunter(stage.bank, stage.draw)
    with serve(stage.bank) as served:
        between = 0
        for n in range(KILLS):
            asked = hunter.hunt(stage.settings, served.url, stage.context)
            queue = open_queue(stage.settings)
            running = {stage.owner[job.payload["connection"]] for job in queue.jobs("running")}
            queue.close()
            between += bool(running & asked)
            stage.bought_meanwhile(n)
        assert between > 0, "no kill fell between a first request and its ack"
        stage.check(served.url)
    print(f"{between} of {KILLS} kills of the worker fell between a first request and its ack")


def test_t16_t50_kills_of_the_servers_processes_lose_and_double_nothing(server: PostgresServer, tmp_path: Path) -> None:
    url = server.migrated()
    stage = Stage(tmp_path, url)
    asked, wanted = threading.Semaphore(0), threading.Event()

    def on_request(path: str) -> None:
        if wanted.is_set():
            asked.release()

    stage.bank.on_request = on_request
    worked = 0
    with serve(stage.bank) as served:
        worker = stage.context.Process(target=run, args=(stage.settings, served.url, None), daemon=True)
        worker.start()
        try:
            for n in range(KILLS):
                wanted.set()
                for _ in range(stage.draw.randint(1, 15)):
                    assert asked.acquire(timeout=PATIENCE), f"the worker asked the bank nothing after {n} kills"
                wanted.clear()
                time.sleep(stage.draw.choice([0.0, stage.draw.uniform(0.0, 0.04)]))
                worked += kill_one(url, stage.draw)
                stage.bought_meanwhile(n)
                recovered(url)
            assert worker.is_alive(), "the worker outlives its database"
        finally:
            worker.kill()
            worker.join()
        assert worker.exitcode == -signal.SIGKILL
        stage.check(served.url)
    print(f"{worked} of {KILLS} kills of a server process hit one that was within a transaction")


def kill_one(url: str, draw: random.Random) -> bool:
    """SIGKILL for one of the processes that serve the worker. Whether it was at work."""
    deadline = time.monotonic() + PATIENCE
    while True:
        recovered(url)
        try:
            return _kill_one(url, draw)
        except (psycopg.OperationalError, ProcessLookupError):  # the kill before this one still throws people out
            assert time.monotonic() < deadline, "the server did not come back"


def _kill_one(url: str, draw: random.Random) -> bool:
    soon = time.monotonic() + 0.5
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as sql:
        busy, victims = list[tuple[int, str]](), list[tuple[int, str]]()
        while not busy and (
            not victims or time.monotonic() < soon
        ):  # one in the middle of something is the better prey
            victims = sql.execute(VICTIMS).fetchall()
            busy = [victim for victim in victims if victim[1] != "idle"]
    pid, state = draw.choice(busy or victims)
    os.kill(pid, signal.SIGKILL)
    return bool(state != "idle")


def recovered(url: str) -> None:
    """Until the server has thrown everybody out and takes connections again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as sql:
                sql.execute("SELECT 1")
                return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.02)
