"""`schedules next --month`: a picture of a month, and the schema for editors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_calendars import ask
from tests.unit.test_schedules_schema import faults

ROOT = Path(__file__).parents[2]
BUSY = """\
calendars:
  us: {mic: XNYS}
  all: {mic: 24/7}
schedules:
  banks: {job: sync_transactions, every: 6h, jitter: 30m}
  intraday: {job: sync_holdings, calendar: us, every: 15m, while: open}
  us_eod: {job: sync_prices, calendar: us, at: close, offset: +30m, until: final, retry: 20m, deadline: "23:00"}
  monthly: {job: sync_holdings, calendar: us, on: month_first, at: "07:00"}
  nightly: {job: sync_accounts, at: "23:30", tz: America/New_York, jitter: 10m}
  crypto: {job: sync_prices, calendar: all, at: close, offset: +5m, on: [fri]}
"""


def week(out: str, begins: str) -> list[str]:
    """The lines of the week whose first line begins so."""
    lines = out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(begins))
    return lines[at : lines.index("", at)]


def test_thanksgiving_week_of_the_shipped_schedules_shows_the_early_close(cli: Cli) -> None:
    said = cli("schedules", "next", "--month", "2026-11")
    assert said.code == 0
    assert said.out.startswith("November 2026, XNYS, times in America/New_York\n")
    [eod] = [line for line in said.out.splitlines() if "  us_eod  " in line]
    assert eod.endswith("  sync_prices, at close, offset +30m")
    days, hours, *due = week(said.out, "23 ")
    assert days == "23          24          25          26 holiday  27 early    28          29"
    assert hours == "09:30-16:00 09:30-16:00 09:30-16:00             09:30-13:00"
    columns = [[line[n * 12 : n * 12 + 12].strip() for line in due] for n in range(7)]
    closes = [[cell for cell in column if cell.startswith(f"{eod[0]} ")] for column in columns]
    assert closes == [
        [f"{eod[0]} {clock}"] if clock else [] for clock in ("16:30", "16:30", "16:30", "", "13:30", "", "")
    ]
    assert "sync_accounts, every 12h, and up to 30m later, round the clock: not drawn" in said.out
    assert said.out.isascii()
    assert max(map(len, week(said.out, "23 "))) <= 84


def test_the_same_week_as_a_list_shows_the_early_close_too(cli: Cli) -> None:
    said = cli("schedules", "next", "--at", "2026-11-23T00:00:00Z", "--count", "5")
    closes = [line.split() for line in said.out.splitlines() if " us_eod " in line]
    assert [(line[0], line[6]) for line in closes] == [
        ("2026-11-23T21:30:00Z", "2026-11-23"), ("2026-11-24T21:30:00Z", "2026-11-24"),
        ("2026-11-25T21:30:00Z", "2026-11-25"), ("2026-11-27T18:30:00Z", "2026-11-27"),
        ("2026-11-30T21:30:00Z", "2026-11-30"),
    ]  # fmt: skip
    assert " ".join(closes[3][7:]) == "(early close 13:00 America/New_York)"


def test_the_picture_in_the_docs_is_what_is_drawn_of_the_file_beside_it(cli: Cli, tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/plan-around-the-market.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    out = ask(cli, tmp_path, text, "next", "--month", "2026-11").out
    assert "\n".join(f"    {line}".rstrip() for line in out.splitlines()) in page
    assert ": us_eod: " in ask(cli, tmp_path, text, "check").out
    assert faults(text) == []


def test_a_busy_month_names_the_first_time_and_how_many(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, BUSY, "next", "--month", "2026-12")
    assert said.code == 0
    us, everywhere = said.out.split("\n\nDecember 2026, 24/7, times in UTC\n")
    assert us.startswith("December 2026, XNYS, times in America/New_York\n")
    assert week(us, "21 ") == [
        "21          22          23          24 early    25 holiday  26          27",
        "09:30-16:00 09:30-16:00 09:30-16:00 09:30-13:00 d 23:30     d 23:30     d 23:30",
        "a 09:30 x26 a 09:30 x26 a 09:30 x26 a 09:30 x14",
        "b 16:30     b 16:30     b 16:30     b 13:30",
        "d 23:30     d 23:30     d 23:30     d 23:30",
    ]
    assert "c 07:00" in us
    assert us.count("c 07:00") == 1
    assert "b  us_eod    sync_prices, at close, offset +30m, until final, retry 20m, deadline 23:00" in us
    assert "-  banks     sync_transactions, every 6h, and up to 30m later, round the clock: not drawn" in us
    assert "24 hours" in everywhere
    assert everywhere.count("e 00:05") == 4
    assert "e  crypto  sync_prices, at close, offset +5m, on fri" in everywhere


def test_another_zone_moves_hours_and_due_times(cli: Cli, tmp_path: Path) -> None:
    said = ask(cli, tmp_path, BUSY, "next", "--month", "2026-11", "--tz", "Asia/Tokyo")
    assert "November 2026, XNYS, times in Asia/Tokyo" in said.out
    friday, saturday = (line[48:60].strip() for line in week(said.out, "23 ")[1:3]), week(said.out, "23 ")
    assert next(friday) == "23:30-03:00"
    assert any(line[60:72].strip() == "b 03:30" for line in saturday)


def test_what_is_not_published_is_marked(cli: Cli) -> None:
    assert "2~          3~" in cli("schedules", "next", "--month", "2029-01").out


def test_without_calendars_there_are_days_alone(cli: Cli, tmp_path: Path) -> None:
    text = 'schedules:\n  nightly: {job: sync_accounts, at: "03:00", tz: Europe/Berlin}\n'
    said = ask(cli, tmp_path, text, "next", "--month", "2026-03")
    assert said.out.startswith("March 2026, times in UTC\n")
    assert week(said.out, "23 ")[1].split() == ["a", "02:00"] * 6 + ["a", "01:00"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--month", "2026-13"], "'2026-13' is no month; write 2026-11"),
        (["--month", "26-11"], "is no month"),
        (["--month", "2026-11", "--tz", "Tokyo"], "did you mean Asia/Tokyo"),
        (["--tz", "UTC"], "--tz goes with --month"),
        (["--month", "2026-11", "--json"], "leave out --json"),
        (["--month", "2040-01"], "calendar XNYS knows the days"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(cli: Cli, arguments: list[str], told: str) -> None:
    said = cli("schedules", "next", *arguments)
    assert said.code == 2
    assert told in said.error


def test_the_schema_for_editors_is_the_published_one(cli: Cli) -> None:
    said = cli("schedules", "schema")
    assert json.loads(said.out) == json.loads((ROOT / "docs/reference/schedules.schema.json").read_text())
