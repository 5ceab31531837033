"""What the unit tests share: a clock's begin, sentences, and the other processes of a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

from fin_infra.connections.vault import open_vault
from fin_infra.errors import FinInfraError
from fin_infra.settings import Settings

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def one_sentence(error: FinInfraError) -> str:
    """The message, after a look at its form."""
    assert "\n" not in error.message
    assert "Traceback" not in error.message
    assert not error.message.endswith(".")
    return error.message


async def until(done: Callable[[], bool], patience: float = 10.0) -> None:
    """Lets the loop run until it is so; fails when it does not come to be."""
    end = time.monotonic() + patience
    while not done():
        assert time.monotonic() < end, "it did not come to be"
        await asyncio.sleep(0.002)


_start: list[Barrier] = []


def meet_at(barrier: Barrier) -> None:
    _start.append(barrier)


def seal_in_another_process(folder: str) -> bytes:
    """Opens the vault together with other processes, and seals with whatever key they agreed on."""
    _start[0].wait(30)
    return open_vault(Settings(store_url=f"sqlite:///{Path(folder) / 'fin.db'}")).seal(b"secret")
