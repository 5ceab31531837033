from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.store import Store, open_store
from fin_infra.testing import VirtualClock
from tests.unit.helpers import START


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def store(tmp_path: Path, clock: VirtualClock) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'fin.db'}", now=clock)
    yield opened
    opened.close()


@pytest.fixture
def queue(tmp_path: Path, clock: VirtualClock) -> Iterator[SqlJobQueue]:
    opened = SqlJobQueue(f"sqlite:///{tmp_path / 'jobs.db'}", now=clock, lease_seconds=60.0)
    yield opened
    opened.close()
