from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fin_infra.settings import Settings
    from fin_infra.store.ledger import SqlLedger

Rows = list[dict[str, Any]]
HEADER = ("provider", "key", "window", "used", "limit", "%", "all free at", "refused", "now")


def quotas(
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Of this vendor alone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep it up to date; not on a terminal: a line of JSON for each change.")
    ] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, max=3600, help="With --watch: seconds between.")] = 1.0,
) -> None:
    """Say what is used of every quota: a row for each window, with what holds it back now.

    `limit` in brackets is the declared one, where refusals or the vendor's own word have lowered it. `refused` counts
    the calls that the vendor refused although the window admitted them.

    Example: fin-infra quotas --provider alpaca
    """
    from fin_infra.cli.output import put_json, say, table
    from fin_infra.errors import UsageError
    from fin_infra.providers import resolve
    from fin_infra.settings import Settings
    from fin_infra.store.opening import utc_now

    name = None if provider is None else resolve(provider).name
    settings = Settings.load()
    if every != 1.0 and not watch:
        raise UsageError("--every goes with --watch: fin-infra quotas --watch --every 5")
    if watch:
        _watch(lambda: windows(settings, name, utc_now()), every, live=sys.stdout.isatty() and not as_json)
        return
    now = utc_now()
    rows = windows(settings, name, now)
    if as_json:
        put_json(rows)
    elif rows and sys.stdout.isatty():
        console = _console()
        console.print(shown(rows, console.width))
    elif rows:
        table(cells(rows), HEADER)
    if rows and not as_json:
        for sentence in told(settings, name):
            say(sentence)
    if not rows:
        say(nothing_counted(settings, name))


def told(settings: Settings, provider: str | None) -> list[str]:
    """What each vendor's newest answer said of its limit, by the runs; a sentence for each that said something."""
    from pathlib import Path

    import polars as pl

    from fin_infra.datasets.operations import Runs
    from fin_infra.store import Query, open_store

    url = settings.store_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return []  # looking makes none
    store = open_store(url)
    try:
        columns = ["provider", "finished_at", "vendor_limit", "vendor_remaining", "vendor_reset_at"]
        runs = pl.concat(list(store.read(Runs, Query(), columns))).filter(pl.col("vendor_remaining").is_not_null())
    finally:
        store.close()
    newest = runs.sort("finished_at").group_by("provider").last().sort("provider")
    return [
        f"{row['provider']} itself said at {row['finished_at']:%Y-%m-%dT%H:%M:%SZ}: {row['vendor_remaining']} "
        + (f"of {row['vendor_limit']} " if row["vendor_limit"] is not None else "")
        + "left"
        + (f", all free at {row['vendor_reset_at']:%Y-%m-%dT%H:%M:%SZ}" if row["vendor_reset_at"] is not None else "")
        for row in newest.iter_rows(named=True)
        if provider in (None, row["provider"])
    ]


def windows(settings: Settings, provider: str | None, now: datetime) -> Rows:
    """What the ledger has, sorted by vendor, key and window; nothing where no ledger was ever made."""
    from fin_infra.quotas.telling import notes, place

    ledger = ledger_to_read(settings)
    if ledger is None:
        return []
    try:
        frame = ledger.frame()
    finally:
        ledger.close()
    found: Rows = []
    for row in frame.iter_rows(named=True):
        where = place(row["window"])
        if provider in (None, where.provider):
            share = None if row["kind"] == "spacing" or not row["limit"] else round(100 * row["used"] / row["limit"], 1)
            found.append(
                {
                    "provider": where.provider, "key": where.key, "below": where.below or None, "name": where.window,
                    "percent": share, **row, "now": notes(row, now),
                }
            )  # fmt: skip
    return sorted(found, key=lambda row: (row["provider"], row["key"], row["below"] or "", row["name"]))


def ledger_to_read(settings: Settings) -> SqlLedger | None:
    """The ledger of these settings; None where no file was ever made: looking makes none."""
    from pathlib import Path

    from fin_infra.store import opening
    from fin_infra.store.ledger import open_ledger

    url = settings.effective_quota_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///").split("?")[0]).exists():
        return None
    # the server's own clock where it serves several machines: ours must not let its entries expire too early
    return open_ledger(url, now=opening.utc_now if url.startswith("sqlite:") else None)


def cells(rows: Rows) -> list[tuple[Any, ...]]:
    """The table's rows. A pace is no quota of the vendor's: it is left out here, and is in the JSON."""
    from fin_infra.quotas.telling import place

    return [
        (
            row["provider"], place(row["window"]).short, row["name"], row["used"], limit(row),
            None if row["percent"] is None else f"{row['percent']:.0f}", row["reset_at"], row["throttled"] or None,
            ", ".join(row["now"]) or None,
        )
        for row in rows
        if row["kind"] != "spacing"
    ]  # fmt: skip


def shown(rows: Rows, width: int) -> Table | Text:
    """For a terminal: the table, or lines where it would not fit."""
    from rich.text import Text

    from fin_infra.cli.output import WIDE, grid

    if width >= WIDE:
        return grid(cells(rows), HEADER)
    told = []
    for provider, key, window, used, permitted, percent, free_at, refused, now in cells(rows):
        line = f"{provider} {key} {window}: {used} of {permitted} used, {percent} %"
        line += f", all free at {free_at:%Y-%m-%dT%H:%M:%SZ}" if free_at else ""
        line += f", {refused} refused" if refused else ""
        told.append(line + (f"; {now}" if now else ""))
    return Text("\n".join(told))


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def limit(row: dict[str, Any]) -> str:
    """`200`, or `180 (200)` where less is permitted now than is declared."""
    return f"{row['limit']}" if row["limit"] == row["declared"] else f"{row['limit']} ({row['declared']})"


def nothing_counted(settings: Settings, provider: str | None) -> str:
    """What to say while no call was ever made: what is declared, and where more of it stands."""
    from fin_infra.providers import REGISTRY
    from fin_infra.quotas.telling import declared

    told = []
    for name in [name for name in REGISTRY.names() if provider in (None, name)]:
        quota = REGISTRY.declared(name).quota
        if quota is not None and quota.plans:
            permitted = "; ".join(declared(window) for window in quota.plans[0].windows) or "nothing is published"
            told.append(f"{name} permits {permitted} (plan {quota.plans[0].name})")
    if provider is not None:
        known = told[0] if told else f"no windows of {provider} are declared"
    else:
        known = f"windows of {len(told)} vendors are declared" if told else "no windows are declared"
    return f"no call was counted yet; {known}; fin-infra providers show {provider or 'NAME'} says more"


def _watch(look: Callable[[], Rows], every: float, *, live: bool) -> None:
    """Until it is interrupted: in place on a terminal, else a line of JSON with the windows that changed."""
    import contextlib
    import time

    with contextlib.suppress(KeyboardInterrupt):
        if live:
            _live(look, every)
        known: dict[str, dict[str, Any]] = {}
        while True:
            known = _changed(look(), known)
            time.sleep(every)


def _changed(rows: Rows, known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    from fin_infra.cli.output import put_json
    from fin_infra.store.opening import utc_now

    found = {row["window"]: row for row in rows}
    moved = [row for name, row in found.items() if known.get(name) != row]
    if moved or not known:
        put_json({"at": utc_now(), "windows": moved})
        sys.stdout.flush()
    return found


def _live(look: Callable[[], Rows], every: float) -> None:
    import time

    from rich.live import Live

    console = _console()

    def now() -> Table | Text:
        from rich.text import Text

        rows = look()
        return shown(rows, console.width) if rows else Text("no call was counted yet")

    with Live(now(), console=console, auto_refresh=False) as live:
        while True:
            live.update(now(), refresh=True)
            time.sleep(every)
