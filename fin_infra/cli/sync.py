from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.engine import SyncReport
    from fin_infra.runtime import Runtime
    from fin_infra.store import Stream


def sync(
    dataset: Annotated[str | None, typer.Argument(help="Default: every dataset of the connection.")] = None,
    connection: Annotated[str | None, typer.Option("--connection", metavar="ID", help="Only this one.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="All connections of a vendor.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All connections.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask and compare, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per stream.")] = False,
) -> None:
    """Fetch now, in this process, without the queue.

    Example: fin-infra sync transactions --all
    """
    import asyncio

    from fin_infra.cli.output import put, put_json, quiet_logs
    from fin_infra.datasets import SYNCED
    from fin_infra.errors import UsageError

    if sum((connection is not None, provider is not None, all_)) != 1:
        raise UsageError("say which: --connection ID, --provider PROVIDER or --all")
    if dataset is not None and dataset not in SYNCED:
        raise UsageError(f"{dataset!r} is not synced from vendors; these are: {', '.join(SYNCED)}")
    quiet_logs()
    reports = asyncio.run(_sync(dataset, connection, provider, dry_run))
    for report in reports:
        if as_json:
            put_json(report.as_dict())
        else:
            put(report.sentence() + (" (dry run)" if dry_run else ""))
    if any(report.outcome != "ok" for report in reports):
        raise SystemExit(1)


async def _sync(dataset: str | None, connection: str | None, provider: str | None, dry_run: bool) -> list[SyncReport]:
    from fin_infra.errors import UsageError
    from fin_infra.runtime import Runtime
    from fin_infra.settings import Settings

    with _progress() as on_page:
        async with Runtime(Settings.load(), on_page=on_page) as runtime:
            streams = _streams(runtime, dataset, connection, provider)
            if not streams:
                raise UsageError("no active connection to sync; fin-infra connections ls shows what is linked")
            return [await runtime.engine.sync(s.dataset, s.connection_id, dry_run=dry_run) for s in streams]


def _streams(runtime: Runtime, dataset: str | None, connection: str | None, provider: str | None) -> list[Stream]:
    """Which streams; a connection named by the user is tried even when it is not active, so that it says why."""
    from fin_infra.errors import UsageError
    from fin_infra.providers import declared, resolve
    from fin_infra.store import Stream

    if connection is not None:
        chosen = [runtime.connections.get(connection)]
    else:
        vendor = resolve(provider).name if provider else None
        chosen = [c for c in runtime.connections.all(provider=vendor) if c.state == "active"]
    streams = []
    for item in chosen:
        found = declared(item.provider)
        sources = [found.source(dataset)] if dataset else list(found.sources)
        if sources == [None] and connection is not None:
            raise UsageError(f"{found.name} has no {dataset}; it has: {', '.join(found.datasets)}")
        streams += [Stream(item.connection_id, source.lead) for source in sources if source is not None]
    return streams


@contextmanager
def _progress() -> Iterator[Callable[[Stream, int], None]]:
    """A live line per stream on a terminal, plain lines otherwise."""
    if not sys.stderr.isatty():
        from fin_infra.cli.output import say

        def plain(stream: Stream, pages: int) -> None:
            if pages == 1 or pages % 25 == 0:
                say(f"{stream}: page {pages}")

        yield plain
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} pages"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[Stream, object] = {}

        def live(stream: Stream, pages: int) -> None:
            if stream not in tasks:
                tasks[stream] = progress.add_task(str(stream), total=None)
            progress.update(tasks[stream], completed=pages)  # type: ignore[arg-type]

        yield live
