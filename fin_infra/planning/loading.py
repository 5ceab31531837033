"""Schedules are YAML, checked down to file and line. A typo stops the start, it is never skipped.

calendars:
  us: {mic: XNYS}
schedules:
  banks: {job: sync_transactions, every: 6h, jitter: 30m}
  us_eod: {job: sync_prices, calendar: us, at: close, offset: +30m}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fin_infra.calendars import calendar_names, get_calendar
from fin_infra.errors import UsageError
from fin_infra.planning.due import cron_days, days_of
from fin_infra.planning.rules import CHOICES, FIELDS, WEBHOOK, Rule, contradictions, near
from fin_infra.planning.schedules import Schedule
from fin_infra.providers import REGISTRY, declared

MICS = "a MIC such as XNYS, or 24/7; fin-infra calendar ls lists them"  # too many to be said
YEARS = 3 * 366  # days in which a weekday must have had a session


def load_schedules(folder: Path, jobs: Mapping[str, str]) -> list[Schedule]:
    """All schedules of a folder's YAML files. `jobs`: name → dataset.

    Raises `UsageError` with every fault as `file:line: what, allowed values`.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; fin-infra init makes one")
    faults: list[str] = []
    found: dict[str, Schedule] = {}
    for path in sorted(folder.glob("*.y*ml")):
        try:
            read = _in_file(path, jobs, faults)
        except RecursionError:
            faults.append(f"{path.name}:1: nested too deep; does an anchor contain itself?")
            continue
        for schedule in read:
            if (other := found.get(schedule.name)) is not None:
                faults.append(
                    f"{path.name}:{schedule.line}: schedule {schedule.name!r} is already in {other.file}:{other.line}"
                )
            found[schedule.name] = schedule
    if faults:
        raise UsageError("; ".join(faults))
    return list(found.values())


def _in_file(path: Path, jobs: Mapping[str, str], faults: list[str]) -> list[Schedule]:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        faults.append(f"{path.name}:1: cannot be read: {(error.strerror or str(error)).lower()}")
        return []
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "it is not UTF-8 text"
        faults.append(f"{path.name}:{line}: not readable as YAML: {problem}")
        return []
    if node is None:
        return []
    sections = {
        name: _entries(section, path, faults, allowed=None, what=name.removesuffix("s"))
        for name, _, section in _entries(node, path, faults, allowed=("schedules", "calendars"), what="section")
    }
    calendars = {name: _mic(name, line, entry, path, faults) for name, line, entry in sections.get("calendars", [])}
    schedules = []
    for name, line, entry in sections.get("schedules", []):
        if name == WEBHOOK:
            faults.append(f"{path.name}:{line}: the name {name!r} is taken: it stands for what webhooks mark due")
            continue
        if (rule := _rule(name, line, entry, path, jobs, calendars, faults)) is not None:
            mic = calendars[rule.calendar] if rule.calendar is not None else None
            schedules.append(Schedule(name, rule, jobs[rule.job], path.name, line, mic))
    return schedules


def _mic(name: str, line: int, node: yaml.Node, path: Path, faults: list[str]) -> str | None:
    """What a name of the section `calendars` stands for; None when it is faulty."""
    before = len(faults)
    entries = _entries(node, path, faults, allowed=("mic",), what="field")
    if not entries and len(faults) == before:
        faults.append(f"{path.name}:{line}: {name}.mic: field required; allowed: {MICS}")
    for _, at, value in entries:
        mic = _plain(value)
        if mic in calendar_names():
            return str(mic)
        hint = near(str(mic), calendar_names(), listed=False, most=3)
        faults.append(f"{path.name}:{at}: {name}.mic: unknown {mic!r}{hint}; allowed: {MICS}")
    return None


def _entries(
    node: yaml.Node, path: Path, faults: list[str], *, allowed: Collection[str] | None, what: str
) -> list[tuple[str, int, yaml.Node]]:
    """Name, line and value of a mapping's entries; a name twice or not allowed is a fault."""
    if not isinstance(node, yaml.MappingNode):
        faults.append(f"{path.name}:{node.start_mark.line + 1}: expected a mapping of {what}s")
        return []
    entries: dict[str, tuple[str, int, yaml.Node]] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if allowed is not None and name not in allowed:
            faults.append(f"{path.name}:{line}: unknown {what} {name!r}{near(name, allowed)}")
        elif name in entries:
            faults.append(f"{path.name}:{line}: {what} {name!r} stands twice")
        else:
            entries[name] = (name, line, value)
    return list(entries.values())


def _rule(
    name: str, line: int, node: yaml.Node, path: Path, jobs: Mapping[str, str], calendars: Mapping[str, str | None],
    faults: list[str],
) -> Rule | None:  # fmt: skip
    before = len(faults)
    entries = _entries(node, path, faults, allowed=FIELDS, what="field")
    if len(faults) > before:
        return None
    lines = {field: at for field, at, _ in entries}
    values = {field: _plain(value) for field, _, value in entries}

    def fault(field: str, said: str) -> None:
        faults.append(f"{path.name}:{lines.get(field, line)}: {name}.{field}{said}")

    for field in FIELDS:
        if field in values and values[field] is None:
            fault(field, ": has no value")
    if len(faults) > before:
        return None
    try:
        rule = Rule.model_validate(values)
    except ValidationError as error:
        for wrong in error.errors(include_url=False):
            field = str(wrong["loc"][0]) if wrong["loc"] else name
            told = wrong.get("ctx", {}).get("error")
            message = str(told) if isinstance(told, ValueError) else wrong["msg"].lower()
            choices = CHOICES.get(field)
            allowed = near(str(values[field]), choices) if choices and field in values else ""
            given = f" {values[field]!r}" if field in values else ""
            fault(field, f"{given}: {message}{allowed}")
        return None
    for field, value, known in (
        ("job", [rule.job], jobs), ("providers", rule.providers or [], REGISTRY.names()),
        ("calendar", [rule.calendar] if rule.calendar is not None else [], calendars),
    ):  # fmt: skip
        for item in value:
            if item not in known:
                where = "" if known else " (the file has no section calendars)"
                fault(field, f": unknown {item!r}{where or near(item, known)}")
    for provider in rule.providers or []:
        if rule.job in jobs and provider in REGISTRY.names() and declared(provider).source(jobs[rule.job]) is None:
            fault(
                "providers", f": {provider} has no {jobs[rule.job]}, so {rule.job} would never run there; leave it out"
            )
    for field, said in contradictions(rule, given=values.keys()):
        fault(field, f": {said}")
    mic = calendars.get(rule.calendar) if rule.calendar is not None else None
    if len(faults) == before and mic is not None and rule.on_closed == "skip":
        remedy = "on_closed: next runs at the session after it"
        calendar = get_calendar(mic)
        begin = calendar.last - timedelta(days=YEARS)
        if isinstance(rule.on, tuple) and not days_of(rule.on, "skip", calendar, begin, calendar.last):
            fault("on", f": {mic} has no session on {', '.join(rule.on)}; {remedy}")
        if rule.cron is not None and not cron_days(rule.cron, "skip", calendar, calendar.first, calendar.last):
            fault("cron", f" {rule.cron!r}: {mic} has no session on such a day; {remedy}")
    return rule if len(faults) == before and (rule.calendar is None or mic is not None) else None


def _plain(node: yaml.Node) -> Any:
    """The node's value with every scalar as the text it was written as: YAML would read 6:30 as a number."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return {str(key.value): _plain(value) for key, value in node.value}
