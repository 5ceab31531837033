"""The schema that editors use says what `schedules check` says, as far as one can without the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from fin_infra import docs
from fin_infra.errors import UsageError
from fin_infra.planning import load_schedules
from fin_infra.planning.schema import schedules_schema

ROOT = Path(__file__).parents[2]
JOBS = {"sync_accounts": "accounts", "sync_transactions": "transactions", "sync_prices": "prices"}

GOOD = [
    "every: 6h, jitter: 30m",
    "every: 1h30m, lane: backfill, providers: [teller], tenants: [ada]",
    "every: 15m, while: open, calendar: us",
    "at: close, calendar: us, offset: +30m, jitter: 10m",
    "at: open, calendar: us, offset: -15m, on: month_first",
    'at: "18:15", calendar: us, on_closed: run',
    'at: "18:15", tz: America/New_York',
    'at: "18:15", tz: America/Argentina/Buenos_Aires, on: [mon, thu]',
    "at: close, calendar: us, on: [thu], on_closed: next",
    "cron: 30 6 * * mon-fri, tz: Etc/GMT+5",
    "cron: '*/5 * * * *', calendar: us, on_closed: skip",
    'at: "18:15", calendar: us, tz: America/New_York, until: final, retry: 20m, deadline: "23:00"',
    'at: close, calendar: us, tz: UTC, until: final, retry: 20m, deadline: "23:00"',
]

WRONG = [
    "", "every: 6", "every: 6h, at: close, calendar: us", "every: 6h, calendar: us", "every: 6h, offset: +5m",
    "every: 6h, tz: UTC", "every: 6h, on: [mon]", "every: 15m, while: open", "every: 15m, while: shut, calendar: us",
    "at: close", "at: noon, calendar: us", "at: close, calendar: us, offset: 30m", "at: close, calendar: us, tz: UTC",
    "at: close, calendar: us, on_closed: run", "at: close, calendar: us, while: open", 'at: "18:15"', 'at: "24:00", tz: UTC',
    'at: "18:15", tz: UTC, on_closed: run', "at: close, calendar: us, on: fri", "at: close, calendar: us, on: [friday]",
    "at: close, calendar: us, on: []", "at: close, calendar: us, on: [fri, fri]",
    'at: "18:15", calendar: us, on: month_last, on_closed: skip', "cron: 30 6 * * *", "cron: 30 6 * *, tz: UTC",
    "cron: 30 6 * * *, tz: UTC, offset: +5m", "cron: 30 6 * * *, tz: UTC, on: [mon]", "cron: 30 6 * * *, tz: UTC, every: 6h",
    "at: close, calendar: us, until: final", "at: close, calendar: us, retry: 20m",
    'at: "18:15", tz: UTC, until: final, retry: 20m, deadline: "23:00"',
    "at: close, calendar: us, until: later, retry: 20m, deadline: 23:00", "every: 6h, lane: urgent", "evry: 6h",
    "every: 6h, providers: teller", "every: ", "every: 6h, tenants: []", "every: 6h, providers: []",
    'at: close, calendar: us, offset: -15m, until: final, retry: 20m, deadline: "23:00"',
]  # fmt: skip


def file_of(words: str) -> str:
    return f"calendars:\n  us: {{mic: XNYS}}\nschedules:\n  x: {{job: sync_accounts, {words}}}\n"


def faults(text: str) -> list[str]:
    """What an editor would underline. Every scalar is text, as our own reader takes it."""
    validator = Draft202012Validator(schedules_schema())
    return [error.message for error in validator.iter_errors(yaml.load(text, yaml.BaseLoader))]


def accepts(folder: Path, text: str) -> bool:
    (folder / "x.yaml").write_text(text)
    try:
        load_schedules(folder, JOBS)
    except UsageError:
        return False
    return True


def test_the_schema_is_a_schema_and_the_published_one_is_it() -> None:
    Draft202012Validator.check_schema(schedules_schema())
    published = json.loads((ROOT / "docs/reference/schedules.schema.json").read_text())
    assert published == schedules_schema(), "run make docs"


def test_shipped_schedules_and_the_examples_of_the_pages_are_good() -> None:
    shipped = sorted((ROOT / "schedules").glob("*.yaml"))
    assert shipped
    for text in (*(path.read_text() for path in shipped), docs.SCHEDULE_EXAMPLE):
        assert faults(text) == []


@pytest.mark.parametrize("words", GOOD)
def test_what_is_good_is_good_to_both(tmp_path: Path, words: str) -> None:
    assert faults(file_of(words)) == []
    assert accepts(tmp_path, file_of(words))


@pytest.mark.parametrize("word", ["jitter", "lane", "providers", "tenants"])
def test_a_word_without_a_value_is_wrong_to_both(tmp_path: Path, word: str) -> None:
    text = file_of(f"every: 6h, {word}: ")
    assert list(Draft202012Validator(schedules_schema()).iter_errors(yaml.safe_load(text))) != []
    assert not accepts(tmp_path, text)


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_wrong_to_both(tmp_path: Path, words: str) -> None:
    assert faults(file_of(words)) != []
    assert not accepts(tmp_path, file_of(words))


@pytest.mark.parametrize(
    "text",
    [
        "schedule: {}", "calendars:\n  us: {mic: NYSE}", "calendars:\n  us: {}", "calendars:\n  us: XNYS",
        "schedules:\n  webhook: {job: sync_accounts, every: 6h}", "schedules:\n  x: {every: 6h}", "- x",
    ],
)  # fmt: skip
def test_a_wrong_file_is_wrong_to_both(tmp_path: Path, text: str) -> None:
    assert faults(text) != []
    assert not accepts(tmp_path, text)


def test_every_word_says_what_it_means() -> None:
    fields: dict[str, dict[str, Any]] = schedules_schema()["$defs"]["schedule"]["properties"]
    assert [name for name, field in fields.items() if not field.get("description")] == []
