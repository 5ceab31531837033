"""`schedules next` and `check` with a calendar: what comes is shown with its session."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tests.cli.conftest import Cli, Said

SCHEDULES = """\
calendars:
  us: {mic: XNYS}
schedules:
  us_eod: {job: sync_accounts, calendar: us, at: close, offset: +30m}
  nightly: {job: sync_transactions, at: "03:00", tz: America/New_York}
"""


def ask(cli: Cli, folder: Path, text: str, *arguments: str) -> Said:
    schedules = folder / "mine/schedules"
    if not schedules.exists():
        assert cli("init", "mine").code == 0
        for shipped in schedules.glob("*.yaml"):
            shipped.unlink()
    (schedules / "x.yaml").write_text(text)
    with contextlib.chdir(folder / "mine"):
        return cli("schedules", *arguments)


def test_next_names_the_session_and_its_early_close_and_skips_thanksgiving(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, SCHEDULES, "next", "--at", "2026-11-25T12:00:00Z", "--count", "3")
    assert said.code == 0
    shown = [line.split(maxsplit=3) for line in said.out.splitlines()[2:]]
    assert [(due, schedule) for due, schedule, *_ in shown] == [
        ("2026-11-25T21:30:00Z", "us_eod"), ("2026-11-26T08:00:00Z", "nightly"), ("2026-11-27T08:00:00Z", "nightly"),
        ("2026-11-27T18:30:00Z", "us_eod"), ("2026-11-28T08:00:00Z", "nightly"), ("2026-11-30T21:30:00Z", "us_eod"),
    ]  # fmt: skip
    assert said.out.splitlines()[2].endswith(" 2026-11-25")
    assert said.out.splitlines()[5].endswith(" 2026-11-27 (early close 13:00 America/New_York)")
    assert said.out.splitlines()[3].endswith("no connection yet")


def test_next_tells_unusual_hours_and_what_is_not_published(cli: Cli, tmp_path: Path) -> None:
    for at, told in (
        ("1996-01-08T00:00Z", "1996-01-08 (shifted hours 11:00 to 14:00 America/New_York)"),
        ("2002-09-11T00:00Z", "2002-09-11 (late open 12:00 America/New_York)"),
        ("2029-01-01T00:00Z", "2029-01-02 (by rule, not published yet)"),
        ("2029-07-03T00:00Z", "2029-07-03 (early close 13:00 America/New_York, by rule, not published yet)"),
    ):
        text = SCHEDULES[: SCHEDULES.index("  nightly")]
        said = ask(cli, tmp_path, text, "next", "--at", at, "--count", "1")
        assert said.out.splitlines()[2].endswith(told)


def test_next_for_machines(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, SCHEDULES, "next", "--at", "2026-11-27T07:00:00Z", "--count", "2", "--json")
    nightly, eod, *later = json.loads(said.out)
    assert len(later) == 2
    assert (eod["due_at"], eod["session"], eod["kind"], eod["provisional"]) == (
        "2026-11-27T18:30:00Z", "2026-11-27", "early", False,
    )  # fmt: skip
    assert (nightly["session"], nightly["kind"], nightly["provisional"]) == (None, None, None)


def test_next_beyond_the_calendar_says_where_it_ends(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, SCHEDULES, "next", "--at", "2035-12-31T22:00:00Z")
    assert said.code == 2
    assert "calendar XNYS knows the days 1990-01-01 to 2035-12-31" in said.error


def test_check_shows_calendars_and_stops_at_an_unknown_one(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, SCHEDULES, "check")
    assert said.code == 0
    assert "x.yaml:4: us_eod: sync_accounts at close +0:30:00 calendar XNYS" in said.out
    assert "x.yaml:5: nightly: sync_transactions at 03:00 America/New_York" in said.out
    said = ask(cli, tmp_path, SCHEDULES.replace("XNYS", "NYSE"), "check")
    assert said.code == 2
    assert "x.yaml:2: us.mic: unknown 'NYSE'" in said.error
    assert "; allowed: " in said.error
