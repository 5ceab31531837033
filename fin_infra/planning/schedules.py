"""When things run: `schedules/*.yaml`, checked down to file and line. A typo stops the start, it is never skipped.

    schedules:
      banks: {job: sync_transactions, every: 6h, jitter: 30m}

`every` is wall clock: due times are whole multiples of it since 1970 in UTC, plus a stable share of `jitter` per
stream, so that a thousand connections do not knock at one second and a restart moves nothing.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fin_infra.errors import UsageError
from fin_infra.providers import PROVIDERS

Lane = Literal["interactive", "webhook", "scheduled", "backfill"]
LANES: tuple[Lane, ...] = ("interactive", "webhook", "scheduled", "backfill")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: object) -> timedelta:
    """`90s`, `30m`, `6h`, `1d`, or several in a row: `1h30m`."""
    text = str(value).strip()
    if not re.fullmatch(r"(?:[0-9]{1,6}[smhd])+", text):
        raise ValueError("a duration is a number with a unit: 90s, 30m, 6h, 1d, 1h30m")
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text)))


Duration = Annotated[timedelta, BeforeValidator(duration)]


class Rule(BaseModel):
    """One schedule as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str = Field(description="a job of jobs/; it says which dataset")
    every: Duration = Field(description="how often, by the wall clock in UTC")
    jitter: Duration = Field(timedelta(), description="spread over this span, the same for a stream every time")
    lane: Lane = Field("scheduled", description="class of work: interactive > webhook > scheduled > backfill")
    providers: list[str] | None = Field(None, description="only connections of these; default: all with the dataset")
    tenants: list[str] | None = Field(None, description="only connections of these; default: all")


@dataclass(frozen=True)
class Schedule:
    """A named rule and the dataset its job drives."""

    name: str
    rule: Rule
    dataset: str
    file: str
    line: int

    @property
    def fingerprint(self) -> str:
        """What due times follow from: a change of it starts the schedule anew, from now."""
        return f"{self.rule.job} every {self.rule.every} jitter {self.rule.jitter} lane {self.rule.lane}"

    def due_after(self, moment: datetime, stream: str) -> datetime:
        """The first due time of a stream after `moment`."""
        every = self.rule.every
        offset = self._offset(stream)
        slots = (moment - EPOCH - offset) // every + 1
        return EPOCH + offset + slots * every

    def due_after_run(self, moment: datetime, stream: str) -> datetime:
        """The next due time of a stream that was just queued: never sooner than half of `every` after it.

        A stream that ran late, or at once because it was new, does not run again minutes later at its usual hour.
        """
        return self.due_after(moment + self.rule.every / 2, stream)

    def _offset(self, stream: str) -> timedelta:
        if not self.rule.jitter:
            return timedelta()
        digest = hashlib.sha256(f"{self.name}\n{stream}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return timedelta(seconds=int(share * self.rule.jitter.total_seconds()))


def load_schedules(folder: Path, jobs: Mapping[str, str]) -> list[Schedule]:
    """All schedules of a folder's YAML files. `jobs`: name → dataset.

    Raises `UsageError` with every fault as `file:line: what, allowed values`.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; fin-infra init makes one")
    faults: list[str] = []
    found: dict[str, Schedule] = {}
    for path in sorted(folder.glob("*.y*ml")):
        for schedule in _in_file(path, jobs, faults):
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
    top = _entries(node, path, faults, allowed=("schedules",), what="section")
    schedules = []
    for _, _, section in top:
        for name, line, entry in _entries(section, path, faults, allowed=None, what="schedule"):
            if (rule := _rule(name, line, entry, path, jobs, faults)) is not None:
                schedules.append(Schedule(name, rule, jobs[rule.job], path.name, line))
    return schedules


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
            faults.append(f"{path.name}:{line}: unknown {what} {name!r}{_near(name, allowed)}")
        elif name in entries:
            faults.append(f"{path.name}:{line}: {what} {name!r} stands twice")
        else:
            entries[name] = (name, line, value)
    return list(entries.values())


def _rule(name: str, line: int, node: yaml.Node, path: Path, jobs: Mapping[str, str], faults: list[str]) -> Rule | None:
    before = len(faults)
    fields = list(Rule.model_fields)
    entries = _entries(node, path, faults, allowed=fields, what="field")
    if len(faults) > before:
        return None
    lines = {field: at for field, at, _ in entries}
    values = {field: _plain(value) for field, _, value in entries}
    try:
        rule = Rule.model_validate(values)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            field = str(fault["loc"][0]) if fault["loc"] else name
            message = fault["msg"].removeprefix("Value error, ").lower()
            allowed = f"; allowed: {', '.join(LANES)}" if field == "lane" else ""
            given = f" {values[field]!r}" if field in values else ""
            faults.append(f"{path.name}:{lines.get(field, line)}: {name}.{field}{given}: {message}{allowed}")
        return None
    for field, value, known in (
        ("job", [rule.job], jobs), ("providers", rule.providers or [], PROVIDERS),
    ):  # fmt: skip
        for item in value:
            if item not in known:
                at = lines.get(field, line)
                faults.append(f"{path.name}:{at}: {name}.{field}: unknown {item!r}{_near(item, known)}")
    if rule.every <= timedelta():
        faults.append(f"{path.name}:{lines['every']}: {name}.every: must be longer than nothing")
    if rule.every > timedelta(days=366):
        faults.append(f"{path.name}:{lines['every']}: {name}.every: must not be longer than a year")
    if rule.jitter > rule.every:
        faults.append(f"{path.name}:{lines['jitter']}: {name}.jitter: must not be longer than every")
    return rule if len(faults) == before else None


def _plain(node: yaml.Node) -> Any:
    """The node's value with every scalar as the text it was written as: YAML would read 6:30 as a number."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return {str(key.value): _plain(value) for key, value in node.value}


def _near(name: str, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}; allowed: {', '.join(allowed)}"
