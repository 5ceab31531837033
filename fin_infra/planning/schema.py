"""The JSON Schema of a schedules file, for editors: words, forms, and which go together.

It knows no project: the names of jobs, and what a calendar's name stands for, `fin-infra schedules check` checks.
"""

from __future__ import annotations

import json
from typing import Any

from fin_infra.calendars import calendar_names
from fin_infra.planning.rules import CLOCKS, Rule

Schema = dict[str, Any]


def schedules_schema() -> Schema:
    """What a `schedules/*.yaml` may hold, as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fin_infra schedules",
        "description": "When jobs run: schedules/*.yaml. `fin-infra schedules check` also checks names.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "calendars": {
                "description": "Names of this file for exchanges.",
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["mic"],
                    "properties": {"mic": {"description": "the calendar by its MIC", "enum": calendar_names()}},
                },
            },
            "schedules": {
                "description": "Schedules by their names.",
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/schedule"},
                "propertyNames": {"not": {"const": "webhook"}},
            },
        },
        "$defs": {"schedule": _schedule()},
    }


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(schedules_schema(), indent=2) + "\n"


def _schedule() -> Schema:
    fields = Rule.model_json_schema(by_alias=True)["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["job"],
        "properties": {name: _plain(field) for name, field in fields.items()},
        "oneOf": [_has(name) for name in CLOCKS],
        "dependentRequired": {
            "while": ["every", "calendar"],
            "offset": ["at"],
            "on": ["at"],
            "on_closed": ["calendar"],
            "until": ["at", "calendar", "retry", "deadline"],
            "retry": ["until"],
            "deadline": ["until"],
        },
        "dependentSchemas": {
            "every": {"not": _any("tz", "on_closed")},
            "calendar": {"anyOf": [_has(name) for name in ("at", "cron", "while")]},
            "cron": {"anyOf": [_has("tz"), _has("calendar")]},
        },
        "allOf": [
            {
                "if": {"required": ["at"], "properties": {"at": {"enum": ["close", "open"]}}},
                "then": {
                    "required": ["calendar"],
                    "properties": {"on_closed": {"not": {"const": "run"}}},
                    "anyOf": [{"not": _has("tz")}, _has("deadline")],
                },
                "else": {"anyOf": [{"not": _has("at")}, _has("tz"), _has("calendar")]},
            },
            {
                "if": {"required": ["at", "until"], "properties": {"at": {"const": "close"}}},
                "then": {"properties": {"offset": {"pattern": r"^\+"}}},
            },
            {
                "if": {
                    "required": ["on", "calendar"],
                    "properties": {"on": {"enum": ["month_first", "month_last"]}},
                },
                "then": {"not": _has("on_closed")},
            },
        ],
    }


def _plain(field: Schema) -> Schema:
    """A field without its default, which is not written as YAML is, and without null, which means nothing here."""
    kept = {name: value for name, value in field.items() if name not in ("default", "title", "anyOf")}
    for choice in field.get("anyOf", ()):
        if choice != {"type": "null"}:
            kept |= choice
    return kept


def _has(name: str) -> Schema:
    return {"required": [name]}


def _any(*names: str) -> Schema:
    return {"anyOf": [_has(name) for name in names]}
