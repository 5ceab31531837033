"""T-29 at Alpha Vantage: it refuses with status 200 and a sentence, for a day, and the sentence repeats the key."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from fin_infra.providers import resolve
from fin_infra.providers.simulating import Fault
from tests.guards import guarded
from tests.providers.alphavantage.market import KEY, AlphaWorld, alpha_of

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SYMBOLS = tuple(f"{a}{b}" for a in "ABCDEF" for b in "KLMNOPQRST")
STREAMS = """
calendars:
  us: {mic: XNYS}
schedules:
  prices: {job: sync_prices, calendar: us, at: close, offset: +40m, providers: [alphavantage]}
  quotes: {job: sync_quotes, every: 1h, providers: [alphavantage]}
  corporate_actions: {job: sync_corporate_actions, every: 1h, providers: [alphavantage]}
"""


async def sixty(world: AlphaWorld) -> None:
    """Two owners who share a key, sixty instruments, three streams each."""
    world.schedule(STREAMS)
    for symbol in SYMBOLS:
        world.trades(symbol, "2026-11-02", "2026-12-31")
    await world.link(*(f"us:{symbol}" for symbol in SYMBOLS))
    async with world.runtime() as runtime:
        runtime.connections.add(resolve("alphavantage"), {"key": KEY}, tenant="ben")


async def one_by_one(world: AlphaWorld, after: timedelta = timedelta()) -> None:
    """Time passes, then a worker with one slot, a process of its own, works until nothing is due."""
    world.clock.advance(after)
    async with world.runtime() as runtime:
        await runtime.run_worker(slots=1, until_idle=True)


@guarded("a used up day stops one endpoint's window alone", "providers/alphavantage/quota.py",
         'case "daily":', 'case "a day":')  # fmt: skip
@guarded("a used up day is taken for a burst", "providers/alphavantage/wire.py",
         'if "spreading out" in text or "burst" in text:', 'if "api" in text:')  # fmt: skip
async def test_t29_a_used_up_day_costs_one_call_for_all_streams_of_sixty_instruments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with alpha_of(tmp_path) as world, caplog.at_level(logging.DEBUG, "fin_infra"):
        await sixty(world)
        world.alpha.fail_next(Fault("refuse", times=10_000, code="daily", status=200))
        await one_by_one(world)
        for _ in range(3):
            await one_by_one(world, 7 * HOUR)
        assert len(world.alpha.requests) == 1, "one call met the limit, and nobody asked again that day"
        assert len([record for record in caplog.records if record.name == "fin_infra.quotas"]) == 1
        async with world.runtime() as runtime:
            assert {connection.state for connection in runtime.connections.all()} == {"active"}, (
                "nobody must link again"
            )
        with world.store() as store:
            assert store.quarantined() == []
        world.alpha.faults.clear()
        await one_by_one(world, 4 * HOUR)
        assert 15 < len(world.alpha.requests) <= 1 + 25, "a day of the free plan, and no call more"
        assert KEY not in caplog.text


@guarded("a text that nobody knows is no limit", "providers/alphavantage/wire.py",
         'and "rate limit" not in text else "throttled"', 'and "rate limit" not in text else None')  # fmt: skip
@pytest.mark.parametrize(
    ("code", "wait"), [("burst", timedelta(seconds=3)), ("minute", timedelta(minutes=1)), ("unknown text", HOUR)],
    ids=["burst", "minute", "unknown"],
)  # fmt: skip
async def test_t29_each_text_is_waited_out_as_long_as_it_says(tmp_path: Path, code: str, wait: timedelta) -> None:
    with alpha_of(tmp_path) as world:
        world.trades("IBM", "2026-11-02", "2026-12-31")
        await world.link("us:IBM")
        world.alpha.fail_next(Fault("refuse", times=1, code=code, status=200))
        began = world.clock()
        report = await world.sync()
        if wait < timedelta(seconds=10):  # the run itself waits so long
            assert world.clock() - began >= timedelta(seconds=2)
        else:
            assert (report.outcome, report.error_code) == ("later", "rate_limited")
            early = await world.sync("quotes", after=wait * 0.3)
            assert (early.outcome, len(world.alpha.requests)) == ("later", 1), "all of its streams wait"
            report = await world.sync(after=wait)
        assert (report.outcome, report.error) == ("ok", None)
        assert len(world.held("us:IBM")) == 17
