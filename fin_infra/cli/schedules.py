from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from fin_infra.calendars import Session
    from fin_infra.planning import Schedule

app = typer.Typer(no_args_is_help=True, help="When things run.")


@app.command("check")
def check() -> None:
    """Check schedules/*.yaml down to file and line. Exit 2 on any fault.

    Example: fin-infra schedules check
    """
    from fin_infra.cli.output import put
    from fin_infra.project import find_project
    from fin_infra.settings import Settings

    project = find_project(Settings.load())
    for schedule in project.schedules:
        put(f"{schedule.file}:{schedule.line}: {schedule.name}: {schedule.fingerprint}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a schedules file, for an editor.

    Example: fin-infra schedules schema
    """
    from fin_infra.cli.output import put
    from fin_infra.planning.schema import schema_text

    put(schema_text().rstrip())


@app.command("next")
def next_(
    at: Annotated[str | None, typer.Option("--at", metavar="INSTANT", help="Default: now.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1000, help="How many due times of each schedule.")] = 4,
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="Draw this month instead, without jitter.")
    ] = None,
    tz: Annotated[
        str | None, typer.Option("--tz", metavar="ZONE", help="With --month: times in this zone, not the calendar's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the next due times of every schedule and the streams it drives, with the session each one is for.

    Example: fin-infra schedules next --at 2026-11-24T00:00:00Z --count 4
    """
    from datetime import UTC, datetime

    from fin_infra.cli.output import moment, put_json, say, table
    from fin_infra.errors import UsageError
    from fin_infra.project import find_project
    from fin_infra.settings import Settings

    if month is not None or tz is not None:
        _draw(month, tz, also=[o for o, given in (("--at", at), ("--json", as_json)) if given])
        return
    settings = Settings.load()
    start = moment(at, "--at") or datetime.now(UTC)
    schedules = find_project(settings).schedules
    streams = _streams(schedules)
    rows: list[tuple[datetime, str, str, str, Session | None, str | None]] = []
    ended: dict[str, str] = {}
    for schedule in schedules:
        zone = None if schedule.calendar is None else schedule.calendar.zone
        coming: list[tuple[datetime, str, str, str, Session | None, str | None]] = []
        for stream in streams[schedule.name] or ["no connection yet"]:
            due = start
            for _ in range(count):
                try:
                    due, session = schedule.occurrence_after(due, stream)
                except UsageError as error:  # one schedule whose calendar ends hides no other
                    ended[schedule.name] = error.message
                    break
                coming.append((due, schedule.name, schedule.rule.job, stream, session, zone))
        rows += sorted(coming, key=lambda row: row[:4])[:count]
    rows.sort(key=lambda row: row[:4])
    if as_json:
        put_json(
            [
                {
                    "due_at": due, "schedule": name, "job": job, "stream": stream,
                    "session": session and session.date, "kind": session and session.kind,
                    "provisional": session and session.provisional,
                }
                for due, name, job, stream, session, _ in rows
            ]
        )  # fmt: skip
    else:
        header = ("due at", "schedule", "job", "stream", "session")
        table([(*row[:4], _told(session, zone)) for *row, session, zone in rows], header)
        say("a stream that is linked new, relinked or overdue runs at once, whatever its next due time")
    for name, told in ended.items():
        say(f"schedule {name} ends here: {told}")
    if ended:  # a list that is shorter than asked for is no success
        raise typer.Exit(1)


def _draw(month: str | None, tz: str | None, *, also: list[str]) -> None:
    import re
    from datetime import date

    from fin_infra.cli.month import month_view
    from fin_infra.cli.output import put
    from fin_infra.errors import UsageError
    from fin_infra.planning.rules import zone
    from fin_infra.project import find_project
    from fin_infra.settings import Settings

    if month is None:
        raise UsageError("--tz goes with --month, such as --month 2026-11")
    if also:
        raise UsageError(f"--month draws a whole month: leave out {' and '.join(also)}")
    if not re.fullmatch(r"[12][0-9]{3}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise UsageError(f"--month {month!r} is no month; write 2026-11")
    try:
        there = None if tz is None else zone(tz)
    except ValueError as error:
        raise UsageError(f"--tz {tz!r}: {error}") from None
    for line in month_view(find_project(Settings.load()).schedules, date.fromisoformat(f"{month}-01"), there):
        put(line)


def _told(session: Session | None, zone: str | None) -> str | None:
    """A session for people: its date, and what is unusual about it, in the exchange's local time."""
    from zoneinfo import ZoneInfo

    if session is None or zone is None:
        return None
    opens, closes = (f"{at.astimezone(ZoneInfo(zone)):%H:%M}" for at in (session.open_at, session.close_at))
    odd = {
        "regular": "", "early": f"early close {closes} {zone}", "late": f"late open {opens} {zone}",
    }.get(session.kind, f"{session.kind} hours {opens} to {closes} {zone}")  # fmt: skip
    notes = [note for note in (odd, "by rule, not published yet" if session.provisional else "") if note]
    return f"{session.date} ({', '.join(notes)})" if notes else f"{session.date}"


def _streams(schedules: list[Schedule]) -> dict[str, list[str]]:
    """Which streams each schedule drives now."""
    from fin_infra.connections import Connections, open_vault
    from fin_infra.planning.planner import driven
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    settings = Settings.load()
    connections = Connections(open_store(settings.store_url), open_vault(settings)).all()
    found: dict[str, list[str]] = {schedule.name: [] for schedule in schedules}
    for connection in connections:
        for schedule in schedules:
            if connection.state == "active" and (lead := driven(schedule, connection.provider, connection.tenant_id)):
                found[schedule.name].append(f"{connection.connection_id}/{lead}")
    return found
