from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from fin_infra.planning.forecast import Planned
    from fin_infra.planning.outlook import Line, Outlook
    from fin_infra.planning.schedules import Schedule
    from fin_infra.settings import Settings

LATER = 60.0  # seconds behind its due time from which a start is told as late


def plan(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; needed, for the worker alone plans.")] = False,
    horizon: Annotated[str, typer.Option("--horizon", metavar="DURATION", help="How far to look.")] = "24h",
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Of this vendor alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many runs to list; the totals are of all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: all runs.")] = False,
) -> None:
    """Say what would run when within the horizon, what that costs, and whether the quotas carry it. Nothing is written.

    The schedules are played against a copy of the quota ledger, in the order in which the planner serves them. Syncs
    that users start, webhooks to come, sessions that are asked for again until they are final and the further chunks of
    backfills are not foreseen.

    Example: fin-infra plan --dry-run --horizon 24h
    """
    from contextlib import closing

    from fin_infra.cli.output import put_json
    from fin_infra.errors import UsageError
    from fin_infra.project import find_project
    from fin_infra.providers import resolve
    from fin_infra.settings import Settings
    from fin_infra.store.opening import utc_now

    if not dry_run:
        raise UsageError("plan only looks ahead: fin-infra plan --dry-run; what plans for real is fin-infra worker")
    span = _span(horizon)
    name = None if provider is None else resolve(provider).name
    settings, now = Settings.load(), utc_now()
    with closing(outlook(settings, find_project(settings).schedules, now)) as found:
        lines = [line for line in found.lines(now + span) if name in (None, line.key.provider)]
    idle = [one for one in found.idle if name in (None, one.provider)]
    if as_json:
        put_json(
            {
                "from": now, "to": now + span,
                "runs": [_run(line, planned) for line, planned in _in_order(lines)],
                "keys": [_key(line) for line in lines],
                "not_planned": [{"connection": one.connection_id, "state": one.state} for one in idle],
            }
        )  # fmt: skip
        return
    _tell(lines, now, now + span, limit)
    _tell_idle([one.connection_id for one in idle])


def outlook(settings: Settings, schedules: Sequence[Schedule], now: datetime) -> Outlook:
    """What is to come by these settings; close it. Raises `StoreError` when store or queue cannot be read."""
    from fin_infra.cli.quotas import ledger_to_read
    from fin_infra.planning.outlook import Outlook
    from fin_infra.providers.metering import Quotas
    from fin_infra.runtime import open_queue
    from fin_infra.store import open_store

    store, queue = open_store(settings.store_url), open_queue(settings)
    try:
        return Outlook(
            store, schedules, queue.jobs("queued"), now=now, ledger=lambda: ledger_to_read(settings),
            windows=Quotas(settings.environment).windows,
        )  # fmt: skip
    finally:
        queue.close()
        store.close()


def _span(text: str) -> timedelta:
    from datetime import timedelta

    from fin_infra.errors import UsageError
    from fin_infra.planning.schedules import duration

    try:
        span = duration(text)
    except ValueError as error:
        raise UsageError(f"--horizon {text!r}: {error}") from None
    if not timedelta(0) < span <= timedelta(days=31):
        raise UsageError(f"--horizon {text!r} is nothing to look at; write 1m to 31d, such as 24h")
    return span


def _in_order(lines: Sequence[Line]) -> list[tuple[Line, Planned]]:
    """By start; last those that do not start, by their due time."""
    found = [(line, planned) for line in lines for planned in line.planned]
    found.sort(
        key=lambda one: (
            one[1].starts_at is None, one[1].starts_at or one[1].run.due_at, one[1].run.due_at, one[1].run.stream
        )
    )  # fmt: skip
    return found


def _run(line: Line, planned: Planned) -> dict[str, Any]:
    denied = planned.denied
    return {
        "starts_at": planned.starts_at, "due_at": planned.run.due_at, "stream": planned.run.stream,
        "tenant": planned.run.tenant, "schedule": planned.run.schedule or None, "job": planned.run.job,
        "lane": planned.run.lane, "calls": int(planned.run.calls), "quota_key": line.key.name,
        "held_back_by": None if denied is None or denied.window is None else denied.window.key,
        "why": None if denied is None else denied.why,
    }  # fmt: skip


def _key(line: Line) -> dict[str, Any]:
    return {
        "quota_key": line.key.name, "provider": line.key.provider, "runs": len(line.planned), "needed": line.needed,
        "permitted": line.permitted, "window": None if line.window is None else line.window.key,
        "late": _late(line), "beyond": sum(p.starts_at is None for p in line.planned),
    }  # fmt: skip


def _late(line: Line) -> int:
    return sum(
        p.starts_at is not None and (p.starts_at - p.run.due_at).total_seconds() > LATER and p.denied is not None
        for p in line.planned
    )


def _tell(lines: Sequence[Line], now: datetime, end: datetime, limit: int) -> None:
    from fin_infra.cli.output import is_narrow, put, say, table
    from fin_infra.quotas.telling import at, units

    found = _in_order(lines)
    if not found:
        say(f"nothing is due before {at(end)}: fin-infra schedules next, or fin-infra connections add PROVIDER")
        return
    rows = [
        (
            p.starts_at or f"not before {at(end)}", None if p.run.due_at == p.starts_at else p.run.due_at, p.run.stream,
            p.run.schedule or f"{p.run.job}, queued", p.run.lane, int(p.run.calls), _why(p),
        )
        for _, p in found[:limit]
    ]  # fmt: skip
    if is_narrow():
        for start, due, stream, schedule, lane, calls, why in rows:
            begins = start if isinstance(start, str) else at(start)
            late = f", due {at(due)}" if due else ""
            put(f"{begins}{late}: {stream}, {schedule}, {lane}, {units(calls)}" + (f"; {why}" if why else ""))
    elif rows:
        table(rows, ("starts at", "due at", "stream", "schedule", "lane", "calls", "why not sooner"))
    if len(found) > limit:
        say(f"and {len(found) - limit:,} more runs; --limit {len(found)} or --json lists them all")
    for line in lines:
        put(sentence(line, end))


def _why(planned: Planned) -> str | None:
    from fin_infra.quotas.telling import place

    denied = planned.denied
    if denied is None or (planned.starts_at is not None and planned.starts_at <= planned.run.due_at):
        return None
    return denied.why if denied.window is None else f"{place(denied.window.key).window}: {denied.why}"


def sentence(line: Line, end: datetime) -> str:
    """The totals of one key."""
    from dataclasses import replace

    from fin_infra.quotas.telling import at, declared, place, units

    where = place(f"{line.key.name}#")
    runs = "1 run" if len(line.planned) == 1 else f"{len(line.planned):,} runs"
    told = f"{where.provider} {where.short}: {runs}, needs {units(line.needed)}"
    if line.permitted is None or line.window is None:
        return f"{told}; no window counts them"
    told = f"{where.provider} {where.short}: {runs}, needs {line.needed:,} of {units(line.permitted)}"
    told += f" (window {place(line.window.key).window}: {declared(replace(line.window, endpoints=()))})"
    beyond = sum(p.starts_at is None for p in line.planned)
    if late := _late(line):
        told += f"; {late:,} start more than a minute after they are due"
    return told + (f"; {beyond:,} do not start before {at(end)}" if beyond else "")


def _tell_idle(idle: Sequence[str]) -> None:
    from fin_infra.cli.output import say

    if idle:
        which = idle[0] if len(idle) == 1 else f"{len(idle):,} connections, {idle[0]} first,"
        verb = "is" if len(idle) == 1 else "are"
        say(f"{which} {verb} not planned: the owner has to act; fin-infra connections ls says why")
