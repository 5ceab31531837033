from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import date

    from fin_infra.calendars import Calendar, Session

app = typer.Typer(no_args_is_help=True, help="When markets are open.")

MicArg = Annotated[str, typer.Argument(metavar="MIC", help="An exchange, or 24/7, FX, TARGET, SIFMAUS, CMES.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("ls")
def ls(as_json: JsonOption = False) -> None:
    """List the calendars, with the days each knows and up to which the exchange has announced them.

    Example: fin-infra calendar ls
    """
    from fin_infra.calendars.snapshot import described
    from fin_infra.cli.output import put_json, table

    found = described()
    if as_json:
        put_json([row._asdict() for row in found])
    else:
        table(
            [(row.mic, row.name, row.zone, row.first, row.last, row.published) for row in found],
            ("mic", "name", "zone", "first", "last", "announced to"),
        )


@app.command("is-open")
def is_open(
    mic: MicArg,
    at: Annotated[str, typer.Argument(metavar="INSTANT", help="With its zone.")],
    as_json: JsonOption = False,
) -> None:
    """Say whether a market is open at an instant: at the opening yes, at the close and in a lunch break no.

    Example: fin-infra calendar is-open XNYS 2026-11-27T18:00:00Z
    """
    from fin_infra.calendars import get_calendar
    from fin_infra.cli.output import moment, put, put_json

    calendar, when = get_calendar(mic), moment(at, "INSTANT")
    assert when is not None
    session, is_it = calendar.running(when), calendar.is_open(when)
    if as_json:
        left = calendar.minutes_to_close(when)
        put_json({"open": is_it, "session": None if session is None else session.date, "minutes_to_close": left})
    else:
        put("open" if is_it else "closed" if session is None else "closed, in a break")


@app.command("sessions")
def sessions(
    mic: MicArg,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A day, YYYY-MM-DD.")],
    last: Annotated[str, typer.Argument(metavar="LAST", help="A day, included.")],
    as_json: JsonOption = False,
) -> None:
    """List the sessions of a market from one day to another, with their hours in its own time.

    Example: fin-infra calendar sessions XNYS 2026-11-23 2026-12-01
    """
    from fin_infra.calendars import get_calendar

    calendar = get_calendar(mic)
    _show(calendar, calendar.sessions(_day(first, "FIRST"), _day(last, "LAST")), as_json)


@app.command("next")
def next_(
    mic: MicArg,
    at: Annotated[str | None, typer.Argument(metavar="[INSTANT]", help="Default: now.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the first session that opens after an instant.

    Example: fin-infra calendar next XNYS 2026-11-25T21:00:00Z
    """
    from datetime import UTC, datetime

    from fin_infra.calendars import get_calendar
    from fin_infra.cli.output import moment

    calendar = get_calendar(mic)
    _show(calendar, [calendar.next_session(moment(at, "INSTANT") or datetime.now(UTC))], as_json)


@app.command("build")
def build(
    into: Annotated[str | None, typer.Option("--into", metavar="FOLDER", help="Default: the package's own.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 where something differs.")] = False,
) -> None:
    """Compile the shipped sessions anew, from the libraries of the extra `calendars` and overrides.csv.

    Example: fin-infra calendar build --check
    """
    from pathlib import Path

    from fin_infra.calendars.build import build as compile_all
    from fin_infra.calendars.build import differences, write
    from fin_infra.calendars.snapshot import SNAPSHOT
    from fin_infra.cli.output import put, say

    folder = SNAPSHOT if into is None else Path(into)
    texts = compile_all()
    if not check:
        for mic in write(texts, folder):
            say(f"{mic} is new")
        return
    found = differences(texts, folder)
    for line in found:
        put(line)
    if found:
        say("the snapshot is not what the libraries and overrides.csv give; fin-infra calendar build writes it")
        raise typer.Exit(1)


def _day(text: str, name: str) -> date:
    from datetime import date

    from fin_infra.errors import UsageError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name} is {text!r}, not a day; write it as 2026-11-27") from None


def _show(calendar: Calendar, found: list[Session], as_json: bool) -> None:
    from fin_infra.cli.output import put_json, table

    if as_json:
        put_json([_plain(session) for session in found])
        return
    header = ("session", "opens", "closes", f"hours {calendar.zone}", "kind")
    table([(s.date, s.open_at, s.close_at, _hours(calendar, s), _told(s)) for s in found], header)


def _plain(session: Session) -> dict[str, Any]:
    return {
        "session": session.date, "open_at": session.open_at, "close_at": session.close_at,
        "breaks": [list(pause) for pause in session.breaks], "kind": session.kind, "provisional": session.provisional,
    }  # fmt: skip


def _hours(calendar: Calendar, session: Session) -> str:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(calendar.zone)
    pauses = [moment for pause in session.breaks for moment in pause]
    clocks = [f"{at.astimezone(zone):%H:%M}" for at in (session.open_at, *pauses, session.close_at)]
    return " ".join(f"{begin}-{end}" for begin, end in zip(clocks[::2], clocks[1::2], strict=True))


def _told(session: Session) -> str:
    return f"{session.kind}, not announced yet" if session.provisional else session.kind
