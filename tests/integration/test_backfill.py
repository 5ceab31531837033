"""Older bars, chunk by chunk, from a simulated broker over HTTP to rows in the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from fin_infra.engine.backfilling import Backfill, KeptChunk
from fin_infra.errors import UsageError
from fin_infra.providers.alpaca.simulator import Fault
from fin_infra.providers.metering import Granted, QuotaMeter, Quotas
from fin_infra.providers.transport import Call
from fin_infra.quotas.memory import MemoryLedger
from tests.backfill_world import SESSIONS, BackfillWorld, Between, backfill_world, symbols
from tests.broker import BARS, day_of
from tests.guards import guarded

NAMES = symbols(30)
RUNNING = "engine/backfilling/running.py"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackfillWorld]:
    with backfill_world(tmp_path, NAMES) as made:
        yield made


def sessions(first: str, last: str = "2026-11-20") -> list[date]:
    return [day for day in SESSIONS if first <= str(day) <= last]


def spans(world: BackfillWorld) -> list[tuple[date, date]]:
    """First and last session of each question so far, as asked."""
    return [(day_of(query["start"]), day_of(query["end"])) for query in world.asked(BARS) if "page_token" not in query]


async def test_every_session_is_held_as_final_and_newest_came_first(world: BackfillWorld) -> None:
    backfill = await world.wish(NAMES, "2021-01-01")
    done = await world.until_done(backfill)
    assert (done.state, done.reason) == ("done", None)
    wanted = sessions("2021-01-01")
    frame = world.frame("prices")
    assert frame.height == len(wanted) * len(NAMES) == done.rows
    assert set(frame["state"].cast(str)) == {"final"}
    days = frame.group_by("instrument").agg(pl.col("session").sort())
    assert all(those.to_list() == wanted for those in days["session"]), "each instrument has each session"
    asked = spans(world)
    assert asked == sorted(asked, reverse=True)
    assert len(world.asked(BARS)) == done.calls == sum(chunk.planned_calls for chunk in await chunks(world, backfill))


async def chunks(world: BackfillWorld, backfill: Backfill) -> list[KeptChunk]:
    async with world.runtime() as runtime:
        return runtime.backfiller.books.chunks(backfill.backfill_id)


async def test_runs_the_feed_and_history_say_what_a_backfill_did(world: BackfillWorld) -> None:
    backfill = await world.until_done(await world.wish(NAMES, "2023-01-01"))
    runs = world.rows("runs")
    assert {(run["lane"], run["dataset"], run["outcome"]) for run in runs} == {("backfill", "prices", "ok")}
    assert sum(run["inserted"] for run in runs) == backfill.rows
    with world.store() as store:
        assert store.changes().filter(dataset="prices", op="inserted").height == backfill.rows
    assert world.frame("prices", history=True).height == backfill.rows
    assert world.rows("streams") == [], "the live stream was not said to have run"


@guarded(
    "what is held is asked for again", "engine/backfilling/planning.py",
    "    missing = gaps(held,", "    missing = gaps(held.clear(),",
)  # fmt: skip
async def test_what_was_ever_read_is_not_read_again_and_the_live_cursor_is_not_touched(world: BackfillWorld) -> None:
    async with world.runtime() as runtime:
        await runtime.engine.sync("prices", world.connection.connection_id, instruments=["us:SAA", "us:SAB"])
    live, [(first, _)] = world.live_cursor(), spans(world)
    backfill = await world.until_done(await world.wish(["SAA", "SAB"], "2020-01-01"))
    assert backfill.state == "done"
    assert world.live_cursor() == live
    assert all(last < first for _, last in spans(world)[1:]), "the live stream had read all from there on"
    held = world.frame("prices")
    assert held.group_by("session", "instrument").len()["len"].max() == 1
    again = await world.plan(["SAA", "SAB"], "2020-01-01")
    assert again.nothing is not None
    assert "nothing to backfill" in again.nothing


async def test_the_dry_run_says_what_it_costs_and_writes_nothing(
    world: BackfillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = world.tables(), len(world.broker.requests)
    file = world.folder / "universe.txt"
    file.write_text("# ours\n" + "\n".join(f"us:{name}" for name in NAMES) + "\n\n", encoding="utf-8")
    words = (
        "backfill",
        "prices",
        "--from",
        "2006-01-01",
        "--to",
        "2026-11-20",
        "--instruments",
        f"@{file}",
        "--dry-run",
    )
    code, told, _ = await world.command(monkeypatch, *words)
    assert code == 0
    assert "16 calls in 8 chunks" in told, told
    assert "data: 16 units at 200 a minute: " in told
    code, told, _ = await world.command(monkeypatch, *words, "--json")
    plan = json.loads(told)
    assert (plan["calls"], plan["instruments"], plan["backfill_id"]) == (16, 30, None)
    assert plan["rows"] == len(NAMES) * len(sessions("2006-01-01"))
    assert 0 < plan["cost"]["eta_seconds"] < 10
    assert (world.tables(), len(world.broker.requests)) == (before, asked)


async def test_pause_resume_and_cancel(world: BackfillWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    backfill = await world.wish(NAMES, "2021-01-01")
    own, count = backfill.backfill_id, len(await chunks(world, backfill))
    world.broker.on_request = lambda path: pause_once(world, own)
    await world.work()
    held = world.frame("prices").height
    now = await world.look(backfill)
    assert (now.state, now.done) == ("paused", 1), "the chunk that ran was ended, no other begun"
    assert 0 < held < len(NAMES) * len(sessions("2021-01-01"))
    asked = len(world.broker.requests)
    await world.work(timedelta(hours=1))
    assert len(world.broker.requests) == asked
    assert (await world.command(monkeypatch, "backfill", "resume", own))[0] == 0
    now = await world.until_done(backfill)
    assert (now.state, now.done) == ("done", count)
    assert world.frame("prices").height == len(NAMES) * len(sessions("2021-01-01"))
    with pytest.raises(UsageError, match="is done; only one that is running or paused or failed can be cancelled"):
        await world.command(monkeypatch, "backfill", "cancel", own)
    other = await world.wish(NAMES, "2016-01-01", "2017-06-30")
    assert (await world.command(monkeypatch, "backfill", "cancel", other.backfill_id))[0] == 0
    asked = len(world.broker.requests)
    await world.work()
    assert (await world.look(other)).state == "cancelled"
    assert len(world.broker.requests) == asked


def pause_once(world: BackfillWorld, own: str) -> None:
    from fin_infra.engine.backfilling import Backfills

    world.broker.on_request = lambda path: None
    with world.store() as store:
        Backfills(store, world.clock).set_state(own, "paused", "by its owner", of=["running"])


async def one_page(world: BackfillWorld) -> None:
    """A worker comes by; the vendor refuses the second page for two minutes."""
    count = {"asked": 0}

    def refuse_the_second(path: str) -> None:
        count["asked"] += path == BARS
        if path == BARS and count["asked"] == 2:
            world.broker.fail_next(Fault("refuse", on=BARS, retry_after="120"))

    world.broker.on_request = refuse_the_second
    await world.work()
    assert world.frame("prices").is_empty()


@guarded(
    "pages that were paid for are asked for again", RUNNING,
    "remembering = Remembering(http, restored(kept, self._connections.vault, now))",
    "remembering = Remembering(http, {})",
)  # fmt: skip
async def test_a_chunk_that_is_deferred_goes_on_with_the_page_that_was_not_answered(world: BackfillWorld) -> None:
    backfill = await world.wish(NAMES, "2024-06-01")
    await one_page(world)
    with world.store() as store:
        [page] = store.staged_pages(backfill.stream, 1)
        assert b'"bars"' not in page.body, "sealed"
    done = await world.until_done(backfill)
    first, refused, after, *rest = world.asked(BARS)
    assert "page_token" not in first
    assert refused == after, "the second page was asked for again, the first was not"
    assert all("page_token" in query or query["start"] != first["start"] for query in rest)
    assert (done.state, done.calls) == ("done", 3 + len(rest))
    with world.store() as store:
        assert store.staged_pages(backfill.stream, 1) == []


async def test_no_data_before_is_remembered(world: BackfillWorld) -> None:
    begin = next(day for day in SESSIONS if str(day) >= "2019-05-18")
    world.broker.generate("SAA", begin)
    done = await world.until_done(await world.wish(["SAA"], "2006-01-01"))
    assert done.state == "done"
    assert done.reason == f"alpaca has none for {len(sessions('2006-01-01', str(begin))) - 1} sessions"
    assert min(world.frame("prices")["session"]) == begin
    asked = len(world.broker.requests)
    again = await world.plan(["SAA"], "2006-01-01")
    assert again.nothing is not None, "an hour later to ask again would prove nothing"
    world.clock.advance(timedelta(days=2))
    if (again := await world.plan(["SAA"], "2006-01-01")).nothing is None:  # it was seen once only: once more
        done = await world.until_done(await world.wish(["SAA"], "2006-01-01"))
        assert len(world.broker.requests) > asked
        world.clock.advance(timedelta(days=2))
    asked = len(world.broker.requests)
    again = await world.plan(["SAA"], "2006-01-01", "2026-11-20")
    assert again.nothing is not None
    assert len(world.broker.requests) == asked
    anyway = await world.plan(["SAA"], "2006-01-01", "2026-11-20", again=True)
    assert anyway.calls > 0, "a better plan may have it"


async def test_a_hole_is_named_and_no_reason_to_stop(world: BackfillWorld) -> None:
    """Half a year without trading is no end, and one session without a bar is named."""
    days = [day for day in SESSIONS if not "2015-03-01" <= str(day) <= "2015-08-31"]
    days.remove(date(2020, 2, 14))
    for day in days:
        world.bar("HALT", day, "25.00")
    done = await world.until_done(await world.wish(["HALT"], "2006-01-01"))
    assert done.state == "done"
    assert len(world.held("HALT")) == len([day for day in days if "2006-01-01" <= str(day) <= "2026-11-20"])
    named = {day for chunk in await chunks(world, done) for day in chunk.detail["missing"]["us:HALT"]}
    assert "2020-02-14" in named


async def test_a_refused_symbol_is_named_and_stops_no_other(
    world: BackfillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = b'{"message":"invalid symbol: SAB"}'
    world.broker.fail_next(Fault("refuse", on=BARS, status=400, body=refusal))
    done = await world.until_done(await world.wish(["SAA", "SAB", "SAC"], "2020-01-01"))
    assert done.state == "done"
    assert done.reason is not None
    assert done.reason.startswith("us:SAB cannot be asked for: ")
    assert len(world.held("SAA")) == len(world.held("SAC")) == len(sessions("2020-01-01"))
    assert world.held("SAB") == {}
    _, told, _ = await world.command(monkeypatch, "backfill", "show", done.backfill_id, "--json")
    stand = {one["subject"]: one for one in json.loads(told)["coverage"]}
    assert stand["us:SAA"]["missing"] == 0
    assert "SAB" in stand["us:SAB"]["refused"]


async def test_a_plan_limit_parks_its_chunk_and_a_lost_key_the_backfill(
    world: BackfillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = b'{"message":"subscription does not permit querying data this old"}'
    world.broker.fail_next(Fault("refuse", on=BARS, status=403, body=limit))
    backfill = await world.wish(NAMES, "2021-01-01")
    done = await world.until_done(backfill)
    assert (done.state, done.parked) == ("failed", 1)
    assert done.reason is not None
    assert "1 of 3 chunks wait" in done.reason
    assert "the data plan does not cover this" in done.reason
    world.broker.fail_next(Fault("refuse", on=BARS, status=403, body=b'{"message":"forbidden."}'))
    assert (await world.command(monkeypatch, "backfill", "resume", backfill.backfill_id))[0] == 0
    stopped = await world.until_done(backfill)
    assert stopped.state == "paused"
    assert stopped.reason is not None
    assert "fin-infra connections relink" in stopped.reason
    assert (await world.command(monkeypatch, "backfill", "resume", backfill.backfill_id))[0] == 0
    done = await world.until_done(backfill)
    assert (done.state, done.reason) == ("done", None)
    assert world.frame("prices").height == len(NAMES) * len(sessions("2021-01-01"))


class Noting(QuotaMeter):
    """A meter that notes which lane asks."""

    lanes: ClassVar[list[str]] = []

    async def acquire(self, call: Call) -> Granted:
        self.lanes.append(call.lane)
        return await super().acquire(call)


@guarded(
    "a backfill asks as urgently as live work", RUNNING,
    "http = self._transports(declared(connection.provider), connection, secrets, lane)",
    'http = self._transports(declared(connection.provider), connection, secrets, "interactive")',
)  # fmt: skip
async def test_its_calls_are_the_least_urgent_ones(world: BackfillWorld) -> None:
    await world.wish(["SAA"], "2024-01-01")
    meter = Noting(MemoryLedger(world.clock), Quotas(), world.clock)
    async with world.runtime(meter=meter) as runtime:
        await runtime.run_worker(until_idle=True)
        assert runtime.backfiller.books.all()[0].state == "done"
    assert meter.lanes == ["backfill"]


async def test_two_at_once_share(world: BackfillWorld) -> None:
    one = await world.wish(NAMES[:15], "2016-01-01")
    two = await world.wish(NAMES[15:], "2016-01-01")
    async with world.runtime() as runtime:
        worker = runtime.worker(slots=2)
        loop = worker.start()
        while {b.state for b in runtime.backfiller.books.all()} != {"done"}:
            await asyncio.sleep(0.01)
            world.clock.advance(timedelta(seconds=0.3))
        await worker.stop()
        await loop
    runs = world.frame("runs").sort("finished_at")["run_id"].to_list()
    mine = {chunk.run_id: n for n, b in enumerate((one, two)) for chunk in await chunks(world, b)}
    turns = [mine[run] for run in runs]
    half = len(turns) // 2
    assert 0.3 <= sum(turns[:half]) / half <= 0.7, f"neither waits for the other: {turns}"


async def test_a_backfill_whose_job_was_lost_is_given_another(world: BackfillWorld) -> None:
    backfill = await world.wish(NAMES[:3], "2024-01-01")
    async with world.runtime() as runtime:
        runtime.queue.forget(world.connection.connection_id)
    assert (await world.until_done(backfill)).state == "done"


async def test_datasets_that_come_whole_say_so(world: BackfillWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told, _ = await world.command(monkeypatch, "backfill", "activities", "--from", "2020-01-01")
    assert code == 0
    assert told.strip() == (
        "the first sync of activities asks alpaca for all it has, however old: there is nothing to backfill"
    )


# -- live work beside it -----------------------------------------------------------------------------------------------

CORRECTED = date(2026, 11, 20)


async def live(world: BackfillWorld, after: timedelta) -> None:
    """The vendor corrects a bar, and a live run of its instrument reads it."""
    world.broker.set_bar("SAA", CORRECTED, "54", "55", "53", "54", "1000")
    world.clock.advance(after)
    async with world.runtime() as runtime:
        report = await runtime.engine.sync("prices", world.connection.connection_id, instruments=["us:SAA"])
    assert report.outcome == "ok"
    assert world.bar_of(CORRECTED, "SAA") == ("54", "final")


@guarded(
    "an answer that was overtaken is written over the newer one", RUNNING,
    'raise StaleCursor("live work brought other rows', 'log.debug("live work brought other rows',
)  # fmt: skip
async def test_a_live_run_that_overtakes_an_answer_is_not_undone_by_it(world: BackfillWorld) -> None:
    backfill = await world.wish(NAMES, "2026-11-02")
    network = Between(lambda: live(world, timedelta(minutes=1)))
    async with world.runtime(network=network) as runtime:
        report = await runtime.backfiller.chunk(backfill.backfill_id)
    assert report.outcome == "stale_cursor"
    assert world.bar_of(CORRECTED, "SAA") == ("54", "final")
    done = await world.until_done(backfill)
    assert (done.state, done.reason) == ("done", None)
    assert world.bar_of(CORRECTED, "SAA") == ("54", "final")
    assert world.findings() == {}


@guarded(
    "a page that was kept counts as read when the last one was", RUNNING,
    "oldest = min(at for _, at in read)", "oldest = max(at for _, at in read)",
)  # fmt: skip
async def test_a_page_that_was_kept_does_not_undo_what_a_live_run_read_since(world: BackfillWorld) -> None:
    backfill = await world.wish(NAMES, "2024-06-01")
    await one_page(world)
    before = world.clock()
    await live(world, timedelta(seconds=125))
    done = await world.until_done(backfill)
    assert (done.state, done.reason, done.calls) == ("done", None, 3)
    assert world.bar_of(CORRECTED, "SAA") == ("54", "final")
    assert world.findings() == {}
    rows = world.rows("prices", instruments=["us:SAB"])
    assert max(row["fetched_at"] for row in rows) <= before, "no row is said to be newer than its page"


@guarded(
    "rows that wait for a new basis are taken for absent ones", RUNNING, "if want.instrument in done.redo:", "if False:"
)
async def test_rows_that_a_new_basis_holds_back_are_not_taken_for_absent_ones(world: BackfillWorld) -> None:
    """The oldest bar that is held came otherwise: bars of two bases are not mixed, and it is said that some lack."""
    backfill = await world.wish(NAMES, "2025-06-02")
    await live(world, timedelta(minutes=1))
    first = min(world.held("SAA"))
    world.broker.set_bar("SAA", first, "54", "55", "53", "54", "1000")
    world.clock.advance(timedelta(minutes=1))
    done = await world.until_done(backfill)
    lacking = len(sessions("2025-06-02", str(first - timedelta(days=1))))
    assert (done.state, done.reason) == ("failed", f"{lacking} sessions of us:SAA are missing")
    assert len(world.held("SAB")) == len(sessions("2025-06-02"))
    async with world.runtime() as runtime:
        assert runtime.backfiller.books.known("alpaca", "prices", ["us:SAA"]) == {}


@guarded(
    "a question that leads nowhere is begun anew for ever", RUNNING, "http.replayed and chunk.tries < TRIES:",
    "http.replayed:",
)  # fmt: skip
async def test_a_page_that_is_always_broken_parks_its_chunk_where_a_quota_allows_one_page_at_a_time(
    world: BackfillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_ALPACA_QUOTAS", "data=1/1h")

    def break_the_second(path: str) -> None:
        if path == BARS and "page_token" in world.broker.requests[-1]:
            world.broker.fail_next(Fault("refuse", on=BARS, status=418))

    world.broker.on_request = break_the_second
    done = await world.until_done(await world.wish(NAMES, "2024-06-01"))
    assert done.state == "failed"
    assert done.parked == 1


@guarded(
    "a slower worker overwrites what was said of a chunk", "engine/backfilling/keeping.py",
    'CHUNKS.c.n == chunk.n, CHUNKS.c.state == "open")\n                .values(\n                    calls',
    "CHUNKS.c.n == chunk.n)\n                .values(\n                    calls",
)  # fmt: skip
async def test_a_slower_worker_that_is_refused_does_not_change_a_chunk_that_is_done(world: BackfillWorld) -> None:
    backfill = await world.wish(NAMES, "2026-11-02")
    [chunk] = await chunks(world, backfill)
    await world.until_done(backfill)
    before = await chunks(world, backfill)
    async with world.runtime() as runtime:
        runtime.backfiller.books.tried(backfill.backfill_id, chunk, "refused", calls=1, failed=True)
    assert await chunks(world, backfill) == before
