"""What is done in place and what leaves the event loop: large answers do, and come to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world import World, bought, checking, world_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        yield found


@pytest.mark.parametrize(("count", "handed_over"), [(150, 0), (2_000, 1)])
async def test_only_a_large_answer_is_committed_in_a_thread(world: World, count: int, handed_over: int) -> None:
    world.bank.enroll("tok", checking("acc_1", *(bought(f"t{n:04}") for n in range(count))))
    connection = await world.link()
    handed: list[str] = []

    async def counted(work: Callable[[], Any]) -> Any:
        handed.append("work")
        return work()

    async with world.runtime(offload=counted) as runtime:
        report = await runtime.engine.sync("transactions", connection.connection_id)
    assert (report.outcome, report.total.inserted, len(handed)) == ("ok", count, handed_over)
    assert len(world.ids()) == count


async def test_a_large_answer_is_committed_by_the_real_thread(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", *(bought(f"t{n:04}") for n in range(2_000))))
    await world.link()
    assert {report.outcome for report in await world.work()} == {"ok"}
    assert len(world.ids()) == 2_000
