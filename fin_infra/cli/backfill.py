from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from fin_infra.connections import Connection
    from fin_infra.engine.backfilling import Backfill, Plan
    from fin_infra.engine.backfilling.reckoning import Reckoned
    from fin_infra.runtime import Runtime

app = typer.Typer(no_args_is_help=True, help="Older rows: what is missing is read in the background, newest first.")

From = Annotated[str, typer.Option("--from", metavar="DAY", help="The first day.")]
To = Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last one. Default: the newest settled.")]
Provider = Annotated[str | None, typer.Option("--provider", help="Through the connection of this vendor.")]
ConnectionId = Annotated[str | None, typer.Option("--connection", metavar="ID", help="Through this one.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Through a connection of this tenant.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it costs and how long it takes; ask nothing.")]
Here = Annotated[bool, typer.Option("--here", help="Do it in this process and show how far it is.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show how far it is until it ends; a worker does it.")]
Again = Annotated[bool, typer.Option("--again", help="Ask for what the vendor was known not to have, too.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("prices")
def prices(
    since: From,
    to: To = None,
    instruments: Annotated[
        str | None,
        typer.Option("--instruments", metavar="KEYS", help="us:AAPL,us:MSFT or @FILE. Default: watched or ever held."),
    ] = None,
    provider: Provider = None, connection: ConnectionId = None, tenant: Tenant = None, dry_run: DryRun = False,
    here: Here = False, follow: Follow = False, again: Again = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Read daily bars of days before those that are held.

    Example: fin-infra backfill prices --from 2006-01-01 --instruments us:AAPL,us:MSFT --dry-run
    """
    _begin("prices", since, to, instruments, (provider, connection, tenant), dry_run, here, follow, again, as_json)


@app.command("fx_rates")
def fx_rates(
    since: From,
    to: To = None,
    instruments: Annotated[
        str | None,
        typer.Option("--instruments", metavar="KEYS", help="fx:EURUSD or @FILE. Default: FIN_INFRA_CURRENCIES."),
    ] = None,
    provider: Provider = None, connection: ConnectionId = None, tenant: Tenant = None, dry_run: DryRun = False,
    here: Here = False, follow: Follow = False, again: Again = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Read rates of currencies of days before those that are held.

    Example: fin-infra backfill fx_rates --from 1999-01-04 --provider ecb
    """
    _begin("fx_rates", since, to, instruments, (provider, connection, tenant), dry_run, here, follow, again, as_json)


@app.command("transactions")
def transactions(
    since: From, provider: Provider = None, connection: ConnectionId = None, tenant: Tenant = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Say what older transactions a vendor can still be asked for.

    Example: fin-infra backfill transactions --from 2020-01-01 --provider teller
    """
    _begin("transactions", since, None, None, (provider, connection, tenant), dry_run, False, False, False, as_json)


@app.command("activities")
def activities(
    since: From, provider: Provider = None, connection: ConnectionId = None, tenant: Tenant = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Say what older trades, dividends and fees a vendor can still be asked for.

    Example: fin-infra backfill activities --from 2020-01-01 --provider alpaca
    """
    _begin("activities", since, None, None, (provider, connection, tenant), dry_run, False, False, False, as_json)


@app.command("ls")
def ls(as_json: Json = False) -> None:
    """List all backfills, newest first.

    Example: fin-infra backfill ls
    """
    from fin_infra.cli.output import put_json, say, table

    rows = _books().all()
    if as_json:
        for one in rows:
            put_json(_told(one))
        return
    if not rows:
        say("there is no backfill; fin-infra backfill prices --from DAY --dry-run says what one would cost")
    columns = ("backfill", "dataset", "connection", "from", "to", "state", "chunks", "calls", "rows", "reason")
    table(
        [
            (one.backfill_id, one.dataset, one.connection_id, one.first, one.last, one.state,
             f"{one.done} of {one.chunks}", one.calls, one.rows, one.reason)
            for one in rows
        ],
        columns,
    )  # fmt: skip


@app.command("show")
def show(
    backfill_id: Annotated[str, typer.Argument(metavar="ID", help="bf_….")], as_json: Json = False
) -> None:  # fmt: skip
    """Show one backfill: how each instrument stands, and the chunks that are not simply done.

    Example: fin-infra backfill show bf_01234567
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from fin_infra.cli.output import put, put_json, say, table
    from fin_infra.connections import Connections, open_vault
    from fin_infra.engine.backfilling import Backfills, coverage
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings, now = Settings.load(), datetime.now(UTC)
    store = open_store(settings.store_url)
    books = Backfills(store, lambda: now)
    one = books.get(backfill_id)
    stand = coverage(store, Connections(store, open_vault(settings)).get(one.connection_id), one, now)
    chunks = books.chunks(backfill_id)
    if as_json:
        put_json({**_told(one), "coverage": [asdict(c) for c in stand], "chunks_kept": [asdict(c) for c in chunks]})
        return
    put(f"{one.backfill_id}: {one.dataset} from {one.first} to {one.last} through {one.connection_id}: {one.state}")
    if one.reason:
        put(f"  {one.reason}")
    put(f"  {one.done} of {one.chunks} chunks done, {one.parked} parked, {one.calls} calls, {one.rows} rows")
    table(
        [(c.subject, c.expected, c.held, c.absent, c.missing, c.begin, c.refused) for c in stand],
        ("instrument", "sessions", "held", "vendor has none", "missing", "nothing before", "not asked because"),
    )
    odd = [c for c in chunks if c.state != "done" or c.detail]
    if odd:
        table(
            [(c.n, c.first, c.last, len(c.subjects), c.state, c.calls, c.tries, _noted(c.detail)) for c in odd[:50]],
            ("chunk", "from", "to", "instruments", "state", "calls", "failed", "detail"),
        )
        if len(odd) > 50:
            say(f"and {len(odd) - 50} more; all of them: --json")


@app.command("pause")
def pause(backfill_id: Annotated[str, typer.Argument(metavar="ID", help="bf_….")]) -> None:
    """Stop behind the chunk that runs; nothing is lost.

    Example: fin-infra backfill pause bf_01234567
    """
    _move(backfill_id, "paused", ("running",), "paused by its owner", "is paused behind the chunk that runs")


@app.command("resume")
def resume(backfill_id: Annotated[str, typer.Argument(metavar="ID", help="bf_….")]) -> None:
    """Go on where it stopped; chunks that were parked are tried again.

    Example: fin-infra backfill resume bf_01234567
    """
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    books = _books()
    states = ("paused", "failed")
    _check(books.get(backfill_id), states, "resumed")
    books.reopen(backfill_id)
    _move(backfill_id, "running", states, None, "goes on; a worker does it: fin-infra worker", "resumed")
    queue = open_queue(Settings.load())
    queue.enqueue_many([books.get(backfill_id).order])
    queue.close()


@app.command("cancel")
def cancel(backfill_id: Annotated[str, typer.Argument(metavar="ID", help="bf_….")]) -> None:
    """End it; the rows that came stay.

    Example: fin-infra backfill cancel bf_01234567
    """
    books = _books()
    states = ("running", "paused", "failed")
    _move(backfill_id, "cancelled", states, "cancelled by its owner", "is cancelled; the rows that came stay")
    books.clear(books.get(backfill_id))


# -- inside ------------------------------------------------------------------------------------------------------------


def _books() -> Any:
    from fin_infra.engine.backfilling import Backfills
    from fin_infra.settings import Settings
    from fin_infra.store import open_store
    from fin_infra.store.opening import utc_now

    return Backfills(open_store(Settings.load().store_url), utc_now)


def _check(one: Backfill, of: Sequence[str], done: str) -> None:
    from fin_infra.errors import UsageError

    if one.state not in of:
        raise UsageError(f"{one.backfill_id} is {one.state}; only one that is {' or '.join(of)} can be {done}")


def _move(
    backfill_id: str, state: str, of: Sequence[str], reason: str | None, told: str, done: str | None = None
) -> None:  # fmt: skip
    from fin_infra.cli.output import say

    books = _books()
    if not books.set_state(backfill_id, state, reason, of=of):
        _check(books.get(backfill_id), of, done or state)
    say(f"{backfill_id} {told}")


def _told(one: Backfill) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(one), "subjects": list(one.subjects)}


def _noted(detail: Any) -> str:
    """A chunk's detail for people."""
    said = [str(detail["reason"])] if "reason" in detail else []
    for name, word in (("missing", "no bar on some sessions"), ("begins", "begin later"), ("refused", "refused"),
                       ("invalid", "had rows that cannot be used")):  # fmt: skip
        if names := list(detail.get(name, {})):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            said.append(f"{word}: {shown}")
    return "; ".join(said)


def _begin(
    dataset: str, since: str, to: str | None, instruments: str | None, which: tuple[str | None, str | None, str | None],
    dry_run: bool, here: bool, follow: bool, again: bool, as_json: bool,
) -> None:  # fmt: skip
    import asyncio

    from fin_infra.cli.output import calendar_day, quiet_logs
    from fin_infra.errors import UsageError

    if dry_run and (here or follow):
        raise UsageError("--dry-run asks nothing: leave out --here and --follow")
    quiet_logs()
    first, last = calendar_day(since, "--from"), calendar_day(to, "--to")
    assert first is not None
    named = None if instruments is None else _named(instruments)
    asyncio.run(_run(dataset, first, last, named, which, dry_run, here, follow, again, as_json))


def _named(text: str) -> list[str]:
    """The instruments of the option: keys with commas between them, or those of a file, one a line."""
    import re
    from pathlib import Path

    from fin_infra.errors import UsageError

    where = "--instruments"
    if text.startswith("@"):
        where = text[1:]
        try:
            lines = Path(where).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise UsageError(f"the file {where} is no text; write one instrument a line, like us:SPY") from None
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(f"the file {where!r} cannot be read: {why}; name another after --instruments @") from None
        parts = [line.partition("#")[0].strip() for line in lines]
    else:
        parts = [part.strip() for part in text.split(",")]
    keys = [part for part in parts if part]
    for key in keys:
        if not re.fullmatch(r"[a-z0-9.]+:\S+", key):
            raise UsageError(f"{where}: {key!r} is no instrument; write namespace:symbol, like us:SPY")
    if not keys:
        raise UsageError(f"{where} names no instrument")
    return keys


async def _run(
    dataset: str, first: date, last: date | None, named: list[str] | None,
    which: tuple[str | None, str | None, str | None], dry_run: bool, here: bool, follow: bool, again: bool,
    as_json: bool,
) -> None:  # fmt: skip
    from fin_infra.cli.output import put, put_json, say
    from fin_infra.engine.backfilling import plan
    from fin_infra.engine.backfilling.reckoning import reckon, windows_of
    from fin_infra.runtime import Runtime
    from fin_infra.settings import Settings

    settings = Settings.load()
    async with Runtime(settings) as runtime:
        connection = _connection(runtime, dataset, *which)
        subjects = _subjects(runtime, connection, dataset, named)
        made = plan(runtime.store, connection, dataset, subjects, first, last, runtime.now(), again=again)
        cost = None
        if made.nothing is None:
            windows, units = await windows_of(made, runtime.quotas, runtime.now())
            cost = reckon(made.calls, windows, runtime.ledger, runtime.now(), units=units, rows=made.rows)
        backfill = None
        if made.nothing is None and not dry_run:
            backfill = runtime.backfiller.books.create(
                connection, dataset, made.subjects, made.first, made.last, made.chunks
            )  # fmt: skip
            runtime.queue.enqueue_many([backfill.order])
        if as_json:
            put_json(_plan_told(made, cost, backfill))
        else:
            for line in _sentences(made, cost):
                (put if dry_run or backfill is None else say)(line)
            if backfill is not None:
                put(backfill.backfill_id)
        if backfill is None:
            return
        if here or follow:
            await _watch(runtime, backfill, cost, here=here)
        else:
            say(f"a worker does it: fin-infra worker; how far it is: fin-infra backfill show {backfill.backfill_id}")


def _connection(
    runtime: Runtime, dataset: str, provider: str | None, connection: str | None, tenant: str | None
) -> Connection:  # fmt: skip
    """The one connection that is meant."""
    from fin_infra.errors import UsageError
    from fin_infra.providers import declared, resolve

    if connection is not None:
        one = runtime.connections.get(connection)
        if one.state != "active":
            raise UsageError(f"{connection} is {one.state}; fin-infra connections relink {connection} makes it active")
        return one
    vendor = resolve(provider).name if provider is not None else None
    found = [
        one for one in runtime.connections.all(provider=vendor)
        if one.state == "active" and (tenant is None or one.tenant_id == tenant)
        and declared(one.provider).source(dataset) is not None
    ]  # fmt: skip
    if not found:
        whose = (f" of {vendor}" if vendor else "") + (f" of tenant {tenant}" if tenant else "")
        raise UsageError(f"no active connection{whose} has {dataset}; fin-infra connections ls shows what is linked")
    if len(found) > 1:
        shown = ", ".join(f"{one.connection_id} ({one.provider})" for one in found[:5])
        raise UsageError(f"{len(found)} connections have {dataset}; say which with --connection: {shown}")
    return found[0]


def _subjects(runtime: Runtime, connection: Connection, dataset: str, named: list[str] | None) -> list[str]:
    """The instruments that are named, else all that the dataset is about."""
    if named is not None:
        return named
    if dataset == "fx_rates":
        return runtime.settings.pairs
    if dataset == "prices":
        return sorted({*runtime.settings.watched, *runtime.store.instruments_held(connection.tenant_id)})
    return []


def _plan_told(made: Plan, cost: Reckoned | None, backfill: Backfill | None) -> dict[str, Any]:
    return {
        "dataset": made.dataset, "connection_id": made.connection.connection_id, "from": made.first, "to": made.last,
        "instruments": len(made.subjects), "chunks": len(made.chunks), "calls": made.calls, "rows": made.rows,
        "bytes": made.bytes if made.chunks else 0, "unasked": dict(made.unasked), "nothing": made.nothing,
        "cost": None if cost is None else cost.as_dict(),
        "backfill_id": None if backfill is None else backfill.backfill_id,
    }  # fmt: skip


def _sentences(made: Plan, cost: Reckoned | None) -> list[str]:
    """The plan for people."""
    from fin_infra.engine.backfilling.reckoning import duration

    said = [f"{name} is left out: {why}" for name, why in sorted(made.unasked.items())[:10]]
    if len(made.unasked) > 10:
        said.append(f"and {len(made.unasked) - 10} more are left out")
    if cost is None:
        return [*said, str(made.nothing)]
    about = len({name for chunk in made.chunks for name in chunk.subjects})
    said.append(
        f"{made.dataset} of {_many(about, 'instrument')} from {made.first} to {made.last}: "
        f"{_many(made.rows, 'session')} missing, {_many(made.calls, 'call')} in {_many(len(made.chunks), 'chunk')}, "
        f"about {_size(made.bytes)}"
    )
    said += [f"{line.window}: {_many(line.units, 'unit')} at {line.sentence()}" for line in cost.costs]
    alone = "if nothing more urgent needs the same quota"
    said.append(f"in all about {duration(cost.seconds)} {alone}, and {duration(cost.work)} of work for this machine")
    return said


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1_000_000 else f"{max(1, round(count / 1000))} kB"


async def _watch(runtime: Runtime, backfill: Backfill, cost: Reckoned | None, *, here: bool) -> None:
    """Until it ends: a bar with the time that is left on a terminal, a line for each tenth otherwise."""
    import asyncio
    import signal

    from fin_infra.cli.output import say
    from fin_infra.runtime import open_queue

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    worker = loop = queue = None
    if here:
        queue = open_queue(runtime.settings, now=runtime.now, names=["backfill_chunk"])
        worker = runtime.worker(slots=2, poll_interval=0.05, queue=queue)
        loop = worker.start()
    books = runtime.backfiller.books
    try:
        with _progress(backfill, cost.seconds if cost is not None else 0.0) as show:
            while (one := books.get(backfill.backfill_id)).state == "running" and not stop.is_set():
                show(one)
                with_pause = asyncio.wait_for(stop.wait(), 0.25)
                await asyncio.gather(with_pause, return_exceptions=True)
            show(one)
    finally:
        if worker is not None and loop is not None and queue is not None:
            await worker.stop()
            await asyncio.gather(loop, return_exceptions=True)
            queue.close()
    say(
        f"{one.backfill_id} is {one.state}: {one.rows} rows in {_many(one.calls, 'call')}"
        + (f"; {one.reason}" if one.reason else "")
    )
    if one.state not in ("done", "running"):
        raise typer.Exit(1)


def _progress(backfill: Backfill, seconds: float) -> Any:
    """A context that shows how far a backfill is."""
    import sys
    from contextlib import contextmanager
    from time import monotonic

    from fin_infra.cli.output import say
    from fin_infra.engine.backfilling.reckoning import duration

    begun = monotonic()

    def left(one: Backfill) -> float:
        """By the pace so far; before there is one by the reckoning."""
        made, ended = one.done + one.parked, monotonic() - begun
        return ended / made * (one.chunks - made) if made else seconds

    @contextmanager
    def plain() -> Any:
        told = {"tenth": -1}

        def show(one: Backfill) -> None:
            tenth = 10 * (one.done + one.parked) // max(1, one.chunks)
            if tenth > told["tenth"]:
                told["tenth"] = tenth
                rest = f", about {duration(left(one))} left" if tenth < 10 else ""
                say(f"{one.done} of {one.chunks} chunks, {one.rows} rows{rest}")

        yield show

    @contextmanager
    def live() -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total} chunks"),
                   TextColumn("{task.fields[told]}"))  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"{backfill.dataset} {backfill.backfill_id}", total=backfill.chunks, told="")

            def show(one: Backfill) -> None:
                told = f"{one.rows} rows, about {duration(left(one))} left"
                progress.update(task, completed=one.done + one.parked, told=told)

            yield show

    return live() if sys.stderr.isatty() else plain()
