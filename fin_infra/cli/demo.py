from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from fin_infra.planning import Due
    from fin_infra.runtime import Runtime

app = typer.Typer(invoke_without_command=True)
TENANT = "demo"
TOKENS = ("test_token_ada", "test_token_lin")


@app.callback()
def demo(context: typer.Context) -> None:
    """Show the whole way of the data on simulated banks: no key, no server, under a minute.

    Links two banks, runs what comes due, prints the rows; then a second cycle in which little changes. The rows
    stay in the store for `fin-infra read`.

    Example: fin-infra demo
    """
    if context.invoked_subcommand is None:
        run()


@app.command("run")
def run() -> None:
    """The same as `fin-infra demo`."""
    import asyncio

    from fin_infra.cli.output import quiet_logs

    quiet_logs()
    asyncio.run(_demo())


async def _demo() -> None:
    """Two cycles on a clock that the simulated bank shares."""
    from datetime import UTC, datetime, timedelta

    from fin_infra.cli.output import instant, put, say
    from fin_infra.errors import UsageError
    from fin_infra.providers import resolve
    from fin_infra.providers.teller.simulator import TellerSimulator, sandbox
    from fin_infra.runtime import Runtime
    from fin_infra.settings import Settings
    from fin_infra.testing import VirtualClock, serve

    clock = VirtualClock(datetime(2026, 11, 24, 13, 0, tzinfo=UTC))
    settings = Settings.load()
    bank = TellerSimulator(now=clock)
    for number, token in enumerate(TOKENS):
        sandbox(bank, token, today=clock().date(), seed=number)
    with serve(bank) as served:
        say(f"a simulated bank answers at {served.url}; rows go to {settings.store_url}")
        async with Runtime(
            settings, now=clock, base_urls={"teller": served.url}, on_report=lambda r: put(f"  ran  {r.sentence()}")
        ) as runtime:
            if any(c.tenant_id != TENANT for c in runtime.connections.all()):
                raise UsageError(
                    f"{settings.store_url} holds linked connections, and the demo's clock and bank are not theirs; "
                    "set FIN_INFRA_STORE_URL to another file for the demo"
                )
            for old in runtime.connections.all(tenant=TENANT):
                runtime.queue.forget(old.connection_id)
                runtime.connections.remove(old.connection_id, erase=True)
            for token in TOKENS:
                runtime.connections.add(resolve("banking:teller"), {"access_token": token}, tenant=TENANT)
            put(f"First cycle, {instant(clock())}: two banks were just linked, so all their streams are due.")
            await _cycle(runtime)
            for name in ("accounts", "balances", "transactions"):
                _show(runtime, name)

            card = f"acc_{TOKENS[0]}_card"
            clock.advance(timedelta(hours=22))
            posted = bank.post(card, f"txn_{TOKENS[0]}_pending", on="2026-11-25", amount="28.30")
            put("")
            put(f"Second cycle, {instant(clock())}: the next day. Meanwhile the bank posted {posted.id}, with a tip.")
            seen = max(runtime.store.changes()["seq"], default=0)
            await _cycle(runtime)
            _show_changes(runtime, seen)
            for done in runtime.connections.all(tenant=TENANT):  # no worker shall ask the real vendor for them
                runtime.connections.set_state(done.connection_id, "disabled", "of the demo: its bank was simulated")
            stats = runtime.queue.stats()
            if stats.dead or stats.ready or stats.later or stats.running:
                raise SystemExit(f"error: the demo left jobs behind: {stats}")
    say("now try: fin-infra read transactions; fin-infra status; fin-infra read transactions --history")


async def _cycle(runtime: Runtime) -> None:
    from fin_infra.cli.output import instant, put

    def planned(due: list[Due]) -> None:
        for item in due:
            put(f"  due  {item.unique_key} since {instant(item.due_at)} ({item.schedule})")

    await runtime.run_worker(until_idle=True, on_planned=planned)


SHOWN = {
    "accounts": ("account_id", "institution", "name", "mask", "kind", "subkind", "currency", "status"),
    "balances": ("account_id", "currency", "current", "available", "as_of"),
    "transactions": ("account_id", "transaction_id", "status", "amount", "currency", "booked_on", "description"),
}


def _show(runtime: Runtime, dataset: str) -> None:
    from fin_infra.cli.output import put, table
    from fin_infra.reader import read

    rows = read(dataset, tenant=TENANT, store=runtime.store).select(SHOWN[dataset]).collect()
    if rows.is_empty():
        raise SystemExit(f"error: the demo delivered no {dataset}")
    put("")
    put(f"{dataset}: {rows.height} rows" + (", the newest ten:" if rows.height > 10 else ":"))
    if rows.height > 10:
        rows = rows.sort("booked_on", "transaction_id", descending=True).head(10)
    table(rows.iter_rows(), SHOWN[dataset])


def _show_changes(runtime: Runtime, seen: int) -> None:
    """What moved, by the change feed; each changed transaction before and after."""
    import polars as pl

    from fin_infra.cli.output import put, table
    from fin_infra.reader import read

    changes = runtime.store.changes(seen)
    total = sum(read(name, tenant=TENANT, store=runtime.store).select(pl.len()).collect().item() for name in SHOWN)
    put("")
    put(f"changes of the second cycle: {changes.height} of {total} rows moved, the others were not rewritten:")
    moved = changes.filter(pl.col("dataset") == "transactions")["key"].list.get(2).to_list()
    versions = (
        read("transactions", tenant=TENANT, history=True, store=runtime.store)
        .filter(pl.col("transaction_id").is_in(moved))
        .collect()
    )
    columns = ("transaction_id", "status", "amount", "booked_on", "known_from", "known_to")
    table(versions.select(columns).iter_rows(), columns)
    if changes.is_empty() or changes.height >= total:
        raise SystemExit("error: the second cycle moved the wrong rows")
