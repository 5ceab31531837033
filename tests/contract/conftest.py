"""What every store and every queue is held to: the suites take them from here and know no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.store import Store, open_store
from fin_infra.testing import VirtualClock
from tests.contract.rows import Bench
from tests.postgres import PostgresServer

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

OpenQueue = Callable[..., SqlJobQueue]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind of store."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        with server.lent() as url:
            yield url
        return
    yield f"sqlite:///{tmp_path / 'store' / 'fin.db'}"


@pytest.fixture
def store(store_url: str, clock: VirtualClock) -> Iterator[Store]:
    opened = open_store(store_url, now=clock)
    yield opened
    opened.close()


@pytest.fixture
def bench(store: Store, clock: VirtualClock) -> Bench:
    """The store with a connection linked, and short ways to commit and read."""
    return Bench(store, clock)


@pytest.fixture(params=["sqlite", "postgres"])
def queue_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind of queue."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        with server.lent() as url:
            yield url
        return
    yield f"sqlite:///{tmp_path / 'queue' / 'jobs.db'}"


@pytest.fixture
def open_queue(queue_url: str, clock: VirtualClock) -> Iterator[OpenQueue]:
    """Opens the queue, once per call, as so many processes would."""
    opened: list[SqlJobQueue] = []

    def opening(**options: object) -> SqlJobQueue:
        opened.append(SqlJobQueue(queue_url, now=clock, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opening
    for queue in opened:
        queue.close()


@pytest.fixture
def queue(open_queue: OpenQueue) -> SqlJobQueue:
    return open_queue()
