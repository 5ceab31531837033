"""Shared fixtures. Polars meets the real date types before a test may freeze the clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.postgres import PostgresServer, postgres_server
from tests.world import World, world_of

pl.DataFrame([{"d": date.min, "t": datetime.now(UTC), "x": timedelta(1)}])

SHARED = os.environ.get("FIN_INFRA_SHARED")
collect_ignore_glob = [] if SHARED else ["*/test_*_samples.py", "*/test_*_description.py"]
"""Tests over recorded vendor samples and interface descriptions form a group that runs where these lie."""
if not os.environ.get("ACCEPTANCE_APP_URL"):
    collect_ignore_glob.append("acceptance/*")  # these tests belong to a running stack: tests.acceptance.stack has one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files named `test_*_sdk.py` are the group `sdk`: `pytest -m sdk`."""
    for item in items:
        if item.path.stem.endswith("_sdk"):
            item.add_marker(pytest.mark.sdk)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees this machine's settings or writes to the checkout: each stands in a folder of its own."""
    for name in list(os.environ):
        if name.startswith("FIN_INFRA_") and name != "FIN_INFRA_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole session, started when the first test wants it."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        yield found
