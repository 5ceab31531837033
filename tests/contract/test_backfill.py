"""A backfill on each kind of store: the same chunks, states and counts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from fin_infra.engine.backfilling import coverage, plan
from fin_infra.errors import StaleCursor
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import SimBrokerage
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock, serve
from tests.backfill_world import SESSIONS, broker, quiet_project
from tests.guards import guarded
from tests.rates import rates_of

NAMES = ["SAA", "SAB", "SAC"]


@guarded(
    "a chunk is ended twice", "engine/backfilling/keeping.py", "        if ended != 1:\n", "        if ended > 1:\n"
)
async def test_a_backfill_runs_to_its_end_on_each_store(store_url: str, clock: VirtualClock, tmp_path: Path) -> None:
    vendor = broker(NAMES, clock)
    vendor.open_account("PK1", "secret of PK1", SimBrokerage("acc_empty"))
    settings = Settings(
        store_url=store_url, queue_url=f"sqlite:///{tmp_path / 'queue.db'}", project=quiet_project(tmp_path),
        vault_key=Fernet.generate_key().decode(),
    )  # fmt: skip
    with serve(vendor) as served:
        async with Runtime(
            settings, now=clock, base_urls={"alpaca": served.url}, ledger=MemoryLedger(clock)
        ) as runtime:  # fmt: skip
            secrets = {"key_id": "PK1", "secret_key": "secret of PK1"}
            connection = runtime.connections.add(resolve("alpaca"), secrets, tenant="ada")
            subjects = [f"us:{name}" for name in NAMES]
            made = plan(runtime.store, connection, "prices", subjects, date(2025, 1, 1), None, clock())
            books = runtime.backfiller.books
            one = books.create(connection, "prices", made.subjects, made.first, made.last, made.chunks)
            chunk = books.next_chunk(one.backfill_id)
            assert chunk is not None
            report = await runtime.backfiller.chunk(one.backfill_id)
            assert (report.outcome, report.calls) == ("ok", 1)
            with pytest.raises(StaleCursor, match="ended by another run"), runtime.store.writing() as sql:
                books.close(sql, one.backfill_id, chunk, calls=0, rows=0, run_id=None, detail={})
            one = books.get(one.backfill_id)
            expected = len([day for day in SESSIONS if "2025-01-01" <= str(day) <= "2026-11-20"])
            assert (one.state, one.rows, one.done, one.calls_left) == ("done", 3 * expected, 1, 0)
            stand = coverage(runtime.store, connection, one, clock())
            assert {(c.expected, c.held, c.absent, c.missing) for c in stand} == {(expected, expected, 0, 0)}
            assert books.all()[0] == one
            assert books.running() == []
            runtime.store.erase(connection.connection_id)
            assert books.all() == []


@guarded("a file with everything is asked for again", "engine/backfilling/running.py",
         "unfinished=answers.kept if whole else ()", "unfinished=()")  # fmt: skip
async def test_rates_of_a_file_with_everything_are_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several chunks, one answer."""
    monkeypatch.setattr("fin_infra.engine.backfilling.cutting.ROWS", 400)
    now = datetime(2026, 11, 24, 17, tzinfo=UTC)
    with rates_of(tmp_path, "ecb", at=now) as world:
        world.has("USD", "2025-01-02", "2026-11-24")
        world.has("GBP", "2025-06-02", "2026-11-24")
        await world.link()
        async with world.runtime() as runtime:
            [connection] = runtime.connections.all()
            await runtime.engine.sync("fx_rates", connection.connection_id)
            pairs = ["fx:EURUSD", "fx:EURGBP"]
            made = plan(runtime.store, connection, "fx_rates", pairs, date(2025, 1, 2), None, world.clock())
            asked = len(world.sim.requests)
            books = runtime.backfiller.books
            one = books.create(connection, "fx_rates", made.subjects, made.first, made.last, made.chunks)
            assert made.calls == 1
            while (await runtime.backfiller.chunk(one.backfill_id)).follow_up.code == "next_chunk":
                world.clock.advance(timedelta(seconds=1))
            assert books.get(one.backfill_id).state == "done"
        assert len(world.sim.requests) == asked + 1
        assert min(world.held("USD")) == "2025-01-02"
        assert min(world.held("GBP")) == "2025-06-02"
        assert set(world.states("USD").values()) <= {"final", "provisional"}
        assert len(made.chunks) > 1
