"""`calendar`, and `schedules next` and `check` with a calendar: what comes is shown with its session."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from fin_infra.calendars.exchanges import EXCHANGES
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
    assert (said.code, "nightly" in said.out) == (1, True)
    assert "schedule us_eod ends here: calendar XNYS knows the days 1990-01-01 to 2035-12-31" in said.err


def test_check_shows_calendars_and_stops_at_an_unknown_one(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, SCHEDULES, "check")
    assert said.code == 0
    assert "x.yaml:4: us_eod: sync_accounts at close +0:30:00 calendar XNYS" in said.out
    assert "x.yaml:5: nightly: sync_transactions at 03:00 America/New_York" in said.out
    said = ask(cli, tmp_path, SCHEDULES.replace("XNYS", "NYSE"), "check")
    assert said.code == 2
    assert "x.yaml:2: us.mic: unknown 'NYSE'" in said.error
    assert said.error.endswith("allowed: a MIC such as XNYS, or 24/7; fin-infra calendar ls lists them")


# -- the calendars themselves -------------------------------------------------------------------------------------------


def test_is_open_says_so_in_one_word(cli: Cli) -> None:
    for mic, instant, told in (
        ("XNYS", "2026-11-27T17:59:59Z", "open"),
        ("XNYS", "2026-11-27T18:00:00Z", "closed"),
        ("XHKG", "2026-11-24T12:30:00+08:00", "closed, in a break"),
        ("CMES", "2026-11-22T17:00:00-06:00", "open"),
        ("24/7", "2026-11-26T12:00:00Z", "open"),
    ):
        assert cli("calendar", "is-open", mic, instant).out == told + "\n"
    said = cli("calendar", "is-open", "XHKG", "2026-11-24T03:00:00Z", "--json")
    assert json.loads(said.out) == {"open": True, "session": "2026-11-24", "minutes_to_close": 300}


def test_sessions_have_their_local_hours_and_what_is_odd(cli: Cli) -> None:
    said = cli("calendar", "sessions", "XHKG", "2026-12-23", "2027-01-04")
    lines = [line.split(maxsplit=3) for line in said.out.splitlines()[2:]]
    assert [line[0] for line in lines] == [
        "2026-12-23", "2026-12-24", "2026-12-28", "2026-12-29", "2026-12-30", "2026-12-31", "2027-01-04",
    ]  # fmt: skip
    assert [" ".join(line[3].split()) for line in (lines[0], lines[1], lines[-1])] == [
        "09:30-12:00 13:00-16:00 regular", "09:30-12:00 early", "09:30-12:00 13:00-16:00 regular, not announced yet",
    ]  # fmt: skip
    (found,) = json.loads(cli("calendar", "sessions", "XTKS", "2026-11-20", "2026-11-23", "--json").out)
    assert found == {
        "session": "2026-11-20", "open_at": "2026-11-20T00:00:00Z", "close_at": "2026-11-20T06:30:00Z",
        "breaks": [["2026-11-20T02:30:00Z", "2026-11-20T03:30:00Z"]], "kind": "regular", "provisional": False,
    }  # fmt: skip


def test_next_is_the_session_that_opens_after(cli: Cli) -> None:
    (found,) = json.loads(cli("calendar", "next", "XNYS", "2026-11-25T21:00:00Z", "--json").out)
    assert (found["session"], found["kind"]) == ("2026-11-27", "early")
    assert cli("calendar", "next", "FX").code == 0  # from now


def test_ls_names_what_there_is(cli: Cli) -> None:
    lines = [line.split() for line in cli("calendar", "ls").out.splitlines()]
    assert ["XNYS", "America/New_York", "2028-12-31"] in [[line[0], line[-4], line[-1]] for line in lines[2:]]
    found = {row["mic"]: row for row in json.loads(cli("calendar", "ls", "--json").out)}
    assert found["XSHE"]["name"] == "Shenzhen Stock Exchange"
    assert found["XNYS"]["published_in"].startswith("NYSE Group announces")


def test_what_no_calendar_can_answer_is_one_sentence(cli: Cli) -> None:
    for arguments, told in (
        (("is-open", "xlon", "2026-11-27T18:00:00Z"), "no calendar 'xlon'; did you mean 'XLON'?"),
        (("is-open", "XLON", "2026-11-27T18:00:00"), "has no zone"),
        (("sessions", "XLON", "2026-11-31", "2026-12-01"), "FIRST is '2026-11-31', not a day"),
        (("sessions", "XSES", "2035-12-01", "2036-01-04"), "calendar XSES knows the days 1990-01-01 to 2035-12-31"),
    ):
        said = cli("calendar", *arguments)
        assert (said.code, said.out) == (2, "")
        assert told in said.error


def test_build_checks_and_writes(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fin_infra.calendars.build.EXCHANGES", {mic: EXCHANGES[mic] for mic in ("FX", "TARGET")})
    monkeypatch.setattr("fin_infra.calendars.build.OVERRIDES", tmp_path / "overrides.csv")
    header = "mic,date,expected,open,close,breaks,reason,source"
    (tmp_path / "overrides.csv").write_text(header + "\n")
    into = str(tmp_path / "made")
    assert cli("calendar", "build", "--into", into).err == "FX is new\nTARGET is new\n"
    assert cli("calendar", "build", "--into", into, "--check").code == 0
    (tmp_path / "overrides.csv").write_text(f"{header}\nTARGET,2026-12-24,closed,,,,a strike,the ECB\n")
    said = cli("calendar", "build", "--into", into, "--check")
    assert (said.code, said.out) == (1, "TARGET 2026-12-24: nothing is now closed\n")
    assert "fin-infra calendar build writes it" in said.err
    assert cli("calendar", "build", "--into", into).err == "TARGET is new\n"


def test_build_without_the_libraries_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # as on a machine without the extra
    said = cli("calendar", "build", "--check")
    assert said.code == 2
    assert said.error == "compiling calendars needs the extra `calendars`; install fin-infra[calendars]"


def test_a_schedule_whose_calendar_ends_hides_no_other(cli: Cli, tmp_path: Path) -> None:
    text = SCHEDULES + '  leap: {job: sync_accounts, calendar: us, cron: "0 0 29 2 *"}\n'
    said = ask(cli, tmp_path, text, "next", "--at", "2026-11-24T00:00:00Z", "--count", "3")
    assert said.code == 1, "a list shorter than asked for is no success"
    assert "nightly" in said.out
    assert "schedule leap ends here: " in said.err
