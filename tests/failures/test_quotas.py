"""T-25 and T-29 from outside: a limit is told as one, with its end, and stops everyone whom it concerns, once."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from fin_infra.engine import SyncReport
from fin_infra.providers.simulating import Fault
from tests.guards import guarded
from tests.world import World, bought, checking

TOKENS = ("tok_1", "tok_2", "tok_3")


async def linked(world: World) -> None:
    for number, token in enumerate(TOKENS):
        world.bank.enroll(token, checking(f"acc_{number}", bought(f"txn_{number}")))
        await world.link(token, tenant=f"tenant {number}")


async def one_by_one(world: World, after: timedelta = timedelta()) -> list[SyncReport]:
    """Time passes, then a worker with one slot, a process of its own, works until nothing is due."""
    world.clock.advance(after)
    world.reports.clear()
    async with world.runtime() as runtime:
        await runtime.run_worker(slots=1, until_idle=True)
    return list(world.reports)


@guarded(
    "a page that says so is a refusal whatever its status", "providers/transport.py",
    "if reply.status == 200 and _PLEADS.match(reply.body):", "if reply.status == 201 and _PLEADS.match(reply.body):",
)  # fmt: skip
@pytest.mark.parametrize(
    "body", [b"Too Many Requests", b'"Too many requests."', b"<html><head><title>429 Too Many Requests</title></head></html>",
             b"Rate limit exceeded"],
    ids=["text", "quoted", "page", "other words"],
)  # fmt: skip
async def test_t29_a_refusal_as_text_with_status_200_is_one_wait_of_the_whole_vendor(
    world: World, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await linked(world)
    world.bank.fail_next(Fault("garbage", times=100, body=body))
    with caplog.at_level(logging.WARNING, "fin_infra.quotas"):
        await one_by_one(world)
        await one_by_one(world, timedelta(seconds=30))
    assert len(world.bank.requests) == 1, "one call met the limit, and nobody asked again"
    assert len([record for record in caplog.records if record.name == "fin_infra.quotas"]) == 1
    with world.store() as store:
        assert store.quarantined() == []
    world.bank.faults.clear()
    await one_by_one(world, timedelta(seconds=31))
    assert world.ids() == ["txn_0", "txn_1", "txn_2"]


async def test_t25_a_limit_is_told_with_its_end_and_holds_in_every_process(world: World) -> None:
    await linked(world)
    await one_by_one(world)
    world.bank.requests.clear()
    world.bank.fail_next(Fault("refuse", times=100, retry_after="600"))
    await one_by_one(world, timedelta(days=1))
    refused = list(world.bank.requests)
    assert len(refused) == 1
    assert {row["state"] for row in world.rows("streams")} <= {"ok", "waiting", "later", "delayed"}
    async with world.runtime() as runtime:
        assert {connection.state for connection in runtime.connections.all()} == {"active"}, "nobody must link again"
        rows = {row["window"]: row for row in runtime.ledger.frame().to_dicts()}
    assert rows["teller/app#application"]["throttled"] == 1
    assert rows["teller/app#application"]["blocked_until"] == world.clock() + timedelta(seconds=600)
    await one_by_one(world, timedelta(seconds=599))
    assert world.bank.requests == refused
    world.bank.faults.clear()
    await one_by_one(world, timedelta(seconds=2))
    assert len(world.bank.requests) > 1
    assert {row["state"] for row in world.rows("streams")} == {"ok"}
