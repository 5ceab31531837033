"""Writes the pages of docs/ that are made from the code: `python -m fin_infra.docs`, which `make docs` calls.

Pure functions render text from the declarations; `main` alone touches files. `--check` writes nothing and exits 1
with the names of stale pages. Nothing imports this module, so it may look at every layer.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import polars as pl
import typer.main
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from fin_infra.calendars import calendar_names
from fin_infra.cli import app
from fin_infra.cli.output import put, say
from fin_infra.datasets import DATASETS, SYNCED, dataset
from fin_infra.datasets.base import Dataset
from fin_infra.errors import CODES
from fin_infra.planning.rules import FIELDS
from fin_infra.planning.schema import schema_text
from fin_infra.providers import PROVIDERS, resolve
from fin_infra.providers.base import WHATEVER, Provider
from fin_infra.quotas.declared import UNDECLARED
from fin_infra.quotas.ledger import FRAME
from fin_infra.quotas.overrides import FORM
from fin_infra.quotas.telling import declared
from fin_infra.settings import Settings

ROOT = Path(__file__).parent.parent
FOLDERS = ("datasets", "reference")  # every page in these is made here
HEADER = "<!-- Made from the code by `make docs`. Change the code, not this page. -->"

SCHEMA = "reference/schedules.schema.json"

OUTCOMES = {
    "retry": "The attempt is counted and the job waits a random time below a limit that doubles with every attempt, "
    "an hour at most unless the vendor asks for longer. After `FIN_INFRA_MAX_ATTEMPTS` attempts it is a dead letter. "
    "`stale_cursor` waits a second at most: nobody is ill, another run was first.",
    "later": "The job is put back until the stated time, or for a minute when the vendor states none. No attempt is "
    "counted. A job that has been put off for {days} days is a dead letter.",
    "park": "The job is done and not tried again before its next due time. A credential that is refused as a whole "
    "stops its connection: state `reauth`, planned again after `fin-infra connections relink`.",
    "quarantine": "The evidence is kept, encrypted, and there is a finding. The job is a dead letter at once; what "
    "came of other accounts has been committed. A single row is set aside alone: its run is `partial` and the job is "
    "done.",
    "refuse": "Nothing was tried. The command exits with 2. Inside a job it counts as `park`.",
}

SCHEDULE_EXAMPLE = """\
calendars:
  us: {mic: XNYS}
schedules:
  banks: {job: sync_transactions, every: 6h, jitter: 30m}
  one-customer:
    job: sync_accounts
    every: 1h30m
    lane: interactive
    providers: [teller]
    tenants: [ada]
  after-new-york: {job: sync_accounts, calendar: us, at: close, offset: +30m}
  evenings: {job: sync_accounts, at: "18:15", tz: Europe/Berlin}
"""


def pages() -> dict[str, str]:
    """All pages by their path below docs/."""
    found = {f"datasets/{name}.md": dataset_page(dataset(name)) for name in DATASETS}
    found["reference/commands.md"] = commands_page(typer.main.get_command(app))
    found["reference/errors.md"] = errors_page()
    found["reference/schedules.md"] = schedules_page()
    found["reference/refusals.md"] = refusals_page([resolve(name) for name in PROVIDERS])
    found["reference/quotas.md"] = quotas_page([resolve(name) for name in PROVIDERS])
    found["reference/settings.md"] = settings_page([resolve(name) for name in PROVIDERS])
    return found


def written() -> dict[str, str]:
    """All that `make docs` writes: the pages, and the schema of schedules for editors."""
    return {**pages(), SCHEMA: schema_text()}


# -- datasets ----------------------------------------------------------------------------------------------------------


def dataset_page(schema: type[Dataset]) -> str:
    name = schema.dataset_name()
    key = schema.key()
    columns = schema.columns()
    rows = []
    for column, dtype in schema.dtypes().items():
        spec = columns[column]
        about: Mapping[str, Any] = spec.metadata or {}
        rows.append(
            (
                f"**{column}**" if column in key else column, dtype_words(dtype), about.get("unit") or "",
                spec.description or "", about.get("null") or "never", "yes" if about.get("pii") else "",
            )
        )  # fmt: skip
    kept = (
        "Every version of a row is kept: `--history` shows them with `known_from` and `known_to`, `--as-of` the rows "
        "as they were known at an instant. Every change is in the change feed."
        if name in SYNCED
        else "Only the current rows are kept."
    )
    return _page(
        f"# {name}",
        inspect.getdoc(schema) or "",
        f"Key: {', '.join(f'`{column}`' for column in key)}. {kept}",
        _table(("column", "type", "unit", "meaning", "when null", "personal data"), rows),
        f'Read it with `fin-infra read {name}` or `fin_infra.read("{name}")`.',
    )


def dtype_words(dtype: pl.DataType) -> str:
    """The type in the words of these pages."""
    match dtype:
        case pl.Enum():
            return "enum: " + ", ".join(f"`{value}`" for value in dtype.categories)
        case pl.String():
            return "text"
        case pl.Decimal():
            return "amount"
        case pl.Date():
            return "date"
        case pl.Datetime():
            return "instant"
        case pl.Boolean():
            return "bool"
        case pl.Int64():
            return "integer"
        case _:
            raise TypeError(f"no word for {dtype}; add it to dtype_words")


# -- errors ------------------------------------------------------------------------------------------------------------


def errors_page() -> str:
    from fin_infra.runtime.worker import MAX_DEFERRAL_DAYS

    parts = [
        "# Errors",
        "Every error has a code, and every code leads to one outcome. The code is in `runs.error_code`, in "
        "`streams.error_code`, in `account_states.error_code` and in the answer of a command with `--json`.",
    ]
    for outcome, meaning in OUTCOMES.items():
        codes = [(f"`{name}`", code.meaning) for name, code in CODES.items() if code.outcome == outcome]
        parts += [f"## {outcome}", meaning.format(days=MAX_DEFERRAL_DAYS), _table(("code", "meaning"), codes)]
    return _page(*parts)


# -- settings ----------------------------------------------------------------------------------------------------------


def settings_page(providers: Iterable[Provider]) -> str:
    prefix = str(Settings.model_config["env_prefix"])
    rows = [
        (f"`{prefix}{name.upper()}`", _setting_type(field), _default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    parts = [
        "# Settings",
        "Settings are environment variables, or lines of the same form in a file `.env` in the folder the command "
        "runs in. A variable wins over the file. A wrong value stops the command with the name of the variable.",
        _table(("variable", "type", "default", "meaning"), rows),
    ]
    for provider in providers:
        vendor = Settings.model_construct().vendor(provider.name)
        fields = [
            (f"`{vendor.variable(f.name)}`", "yes" if f.required else "no", f.purpose) for f in provider.app_fields
        ]
        address = (f"`{vendor.variable('base_url')}`", "no", f"another address than {provider.base_url}: a simulator")
        hosts = [
            (f"`{vendor.variable(f'{host}_base_url')}`", "no", f"another address than {url}; default: the one above")
            for host, url in provider.hosts.items()
        ]
        quota = provider.quota or UNDECLARED
        plans = ", ".join(f"`{plan.name}`" for plan in quota.plans)
        limits = [
            (f"`{vendor.variable('plan')}`", "no", f"the plan whose limits count: {plans}; default: the first"),
            (f"`{vendor.variable('quotas')}`", "no", "other limits than the plan's, see [below](#limits-of-your-own)"),
        ]
        parts += [
            f"## {provider.title}",
            "The application's own credentials. A user's credential is never a setting: it goes to the vault with "
            "`fin-infra connections add`.",
            _table(("variable", "required", "meaning"), [*fields, address, *hosts, *limits]),
        ]
    return _page(
        *parts,
        "## Limits of your own",
        "`FIN_INFRA_<VENDOR>_QUOTAS` puts limits in the place of those [declared](quotas.md), by their names, and adds "
        "new ones: `"
        + FORM.partition(",")[0]
        + "`, several with commas between them. What a part does not say stays as it "
        "is declared. Windows of 10 seconds to 5 minutes that all calls of a key share are paced.",
        _table(("example", "meaning"), QUOTA_EXAMPLES),
    )


QUOTA_EXAMPLES = (
    (
        "`trading=1000/60s, day=25/24h`",
        "at most 1,000 calls in any 60 seconds, and 25 in any 24 hours; also `m` and `d`",
    ),
    ("`connection:minute=30/60s`", "of each connection; also `key:` (the default), `account:` and `endpoint:`"),
    ("`account:day=4/24h@/accounts/{id}/transactions`", "of this endpoint alone; several with `+` between them"),
    (
        "`alpaca/3f0c*:data=10000/60s`",
        "of one key alone, as `fin-infra quotas` shows it; `*` stands for the rest of it",
    ),
    ("`month=10000/31d success`", "only calls that were answered well cost a unit"),
    ("`minute=30/60s counter`", "a vendor that estimates from two windows and refuses early: one unit less is planned"),
    ("`day=25/day(America/New_York)`", "a calendar day of a zone, where the vendor documents that"),
    ("`month=1500/month(UTC,14)`", "a month that begins on the 14th"),
)


def _setting_type(field: FieldInfo) -> str:
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    words = {str: "text", int: "integer", float: "number", Decimal: "amount", Path: "path", SecretStr: "secret"}
    signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = [
        f"{said} {getattr(limit, sign):g}"
        for limit in field.metadata
        for sign, said in signs.items()
        if hasattr(limit, sign)
    ]
    return ", ".join([*(words[kind] for kind in kinds), *bounds])


def _default(value: object) -> str:
    return "none" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


# -- refusals ----------------------------------------------------------------------------------------------------------


REFUSALS = (
    "Which answer of which vendor stands for which [error code](errors.md), and what follows: the tables of the "
    "adapters, which live answers and recorded ones go through alike. Of rows that fit, the one with the longest "
    "word holds. What no row names is taken by its status: 408 and 504 are `vendor_timeout`, other 5xx "
    "`vendor_unavailable`, 429 is `rate_limited`, anything else `contract_broken`. A text that pleads for fewer "
    "requests is `rate_limited` whatever its status."
)


def refusals_page(providers: Iterable[Provider]) -> str:
    """Of each vendor: which answer stands for which code and outcome."""
    parts = ["# Refusals of vendors", REFUSALS]
    for provider in providers:
        rows = [
            (
                "any" if row.status == WHATEVER else str(row.status), f"`{row.word}`…" if row.word else "anything",
                f"`{row.code}`", CODES[row.code].outcome, row.remedy,
            )
            for row in provider.refusals
        ]  # fmt: skip
        header = ("status", "word", "error code", "outcome", "remedy")
        parts += [f"## {provider.title} (`{provider.name}`)", _table(header, rows)]
    return _page(*parts)


# -- quotas ------------------------------------------------------------------------------------------------------------


def quotas_page(providers: Iterable[Provider]) -> str:
    parts = [
        "# Quotas",
        "What is declared of each vendor: plans, the first of which is assumed, with their windows, and when and where "
        "the figures were read. `fin-infra providers show NAME` says the same with what your settings put in place of "
        "it; `fin-infra quotas` says what is used. How calls are counted: [quotas](../explanation/quotas.md); how to "
        "choose a plan or set another figure: [live on a free tier](../how-to/live-on-a-free-tier.md).",
    ]
    for provider in providers:
        parts.append(f"## {provider.title}")
        if (quota := provider.quota) is None:
            parts.append("Nothing is declared: its calls share an assumed window, low on purpose.")
            continue
        variable = Settings.model_construct().vendor(provider.name).variable("plan")
        whose = "one key of the application, which all connections share" if quota.holder == "application" else (
            "each credential"
        )  # fmt: skip
        parts.append(f"Counted by {whose}." + (f" `{variable}` chooses the plan." if len(quota.plans) > 1 else ""))
        for plan in quota.plans:
            parts.append(f"Plan `{plan.name}`, read on {plan.read_on}: {_source(plan.source)}")
            if plan.windows:
                rows = [(f"`{window.key}`", declared(window)) for window in plan.windows]
                parts.append(_table(("window", "permits"), rows))
            else:
                parts.append("Nothing is published.")
    parts += [
        "## `fin-infra quotas --json`",
        "One object for each window that was ever used. Beside the parts of its name (`provider`, `key`, `below`, "
        "`name`), `percent` and `now`, a list of sentences:",
        _table(("field", "meaning"), [(f"`{name}`", meaning) for name, meaning in FRAME.items()]),
    ]
    return _page(*parts)


def _source(text: str) -> str:
    """An address stands between angle brackets, so that a renderer makes a link of it."""
    return re.sub(r"https?://[^\s:;,]+", lambda found: f"<{found[0]}>", text)


# -- commands ----------------------------------------------------------------------------------------------------------


def commands_page(root: Any) -> str:
    """`root`: the click command of the whole app; typer carries its own copy of click, hence no type."""
    parts = ["# Commands", root.help, root.epilog]
    for words, command in walk(root):
        context = command.context_class(command, info_name=" ".join(words))
        usage = " ".join([*words, *command.collect_usage_pieces(context)])
        parts += [f"## {' '.join(words)}", f"    {usage}", _help(command.help)]
        options = [record for param in command.params if (record := param.get_help_record(context)) is not None]
        if options:
            parts.append(_table(("argument or option", "meaning"), [(f"`{a}`", b) for a, b in map(_plain, options)]))
    return _page(*parts)


def walk(command: Any, above: tuple[str, ...] = ("fin-infra",)) -> list[tuple[tuple[str, ...], Any]]:
    """All commands below one with the words that call them, in the order of the help."""
    found = []
    for name, child in command.commands.items():
        words = (*above, name)
        children = walk(child, words) if hasattr(child, "commands") else []
        if not children or child.invoke_without_command:
            found.append((words, child))
        found += children
    return found


def _help(text: str) -> str:
    """The help with its example as a block that can be copied."""
    purpose, mark, example = text.partition("Example: ")
    return f"{purpose.strip()}\n\n    {example.strip()}" if mark else purpose.strip()


def _plain(record: tuple[str, str]) -> tuple[str, str]:
    return " ".join(record[0].split()), " ".join(record[1].split())


# -- schedules ---------------------------------------------------------------------------------------------------------


def schedules_page() -> str:
    rows = [
        (
            f"`{name}`", _schedule_type(name, field),
            "required" if field.is_required() else _default(field.default or None), field.description or "",
        )
        for name, field in FIELDS.items()
    ]  # fmt: skip
    return _page(
        "# Schedules",
        "A project's `schedules/*.yaml` say when jobs run. Each file has the section `schedules`: a name, and the "
        "fields below; and, where one of them needs it, the section `calendars`. A name, a field or a value that is "
        "not known stops the start, with file, line and the allowed values; `fin-infra schedules check` says the same "
        "without starting.",
        _table(("field", "type", "default", "meaning"), rows),
        "A schedule has exactly one of `every`, `at` and `cron`. A duration is one or more numbers with a unit: `90s`, "
        "`30m`, `6h`, `1d`, `1h30m`.",
        "\n".join(f"    {line}" for line in SCHEDULE_EXAMPLE.splitlines()),
        "Editors read [the JSON Schema](schedules.schema.json), which `fin-infra schedules schema` prints: "
        "[how to point one to it](../how-to/plan-around-the-market.md#in-the-editor).",
        "## `every`",
        "`every` must be longer than nothing, `jitter` not longer than `every`. Due times are whole multiples of "
        "`every` since 1970 in UTC, plus the stream's own share of `jitter`. Once queued, a stream is not due again "
        "before half of `every` has passed.",
        "With `while: open` and a `calendar`, the count begins anew with each session: at its open, and every so long "
        "after it, up to and not including its close, wherever an early close moves that. A lunch break is left out "
        "and does not begin the count anew. Where less than the jitter is left before the close or the break, only "
        "that much is spread: a run is never lost by its jitter, and never at or after the close.",
        "## `at`",
        "`at: close` and `at: open` need a calendar and are due once for each of its sessions: `offset` after its "
        "close or open, wherever an early close or a late open moves it. A day without a session has none.",
        "A time of day, two digits each and quoted, is local: read in `tz`, else in the calendar's zone. Without a "
        "calendar it is due every day. With one it is due on the days that have a session; on any other day, "
        "`on_closed` says what becomes of it: `skip`, nothing; `next`, it moves to the day of the next session, where "
        "it meets that day's own; `run`, it is due all the same.",
        "`on` narrows `at`: to the first or last session of each month (without a calendar: its first or last day), or "
        "to weekdays, `[mon, thu]`. A weekday without a session is again a matter of `on_closed`; at close and open it "
        "can only be `skip` or `next`.",
        "When a clock change leaves out a local time, the day's run comes as much later as the clock jumps (02:30 "
        "becomes 03:30); a local time that comes twice counts when it comes first. So there is one run a day, always. "
        "`offset` and `jitter` are at most a day.",
        "## `cron`",
        "Five fields: minute, hour, day of month, month, day of week, with `*`, lists, ranges, steps, names, `L` for "
        "the last day and `fri#2` for the second Friday. It is local time, in `tz`, else in the calendar's zone; with "
        "a calendar, `on_closed` is for the days without a session. Where day of month and day of week are both "
        "given, either is enough, as cron has it.",
        "When the clock changes, the times of a line that names its hours behave as `at` does: left out, they come as "
        "much later as the clock jumps; twice, they count once. A line whose hours are `*` or a step of it names no "
        "hour of the day: it runs in the second passage of a repeated hour too, and none is lost where the clock "
        "jumps, so that `*/15 * * * *` runs every quarter of an hour of every day.",
        "## `until`",
        "`until: final` asks again: `retry` after a run of a session, the planner looks whether the session's data is "
        "final, and queues the stream again if it is not. Of prices that is so when every instrument that is asked for "
        "has a final bar of the session or of a later one; of any other dataset when the run succeeded. The first "
        "look at or after `deadline`, a local time in `tz`, else in the calendar's zone, is the last: if the data is "
        "not final then, the log says so, and the stream, and it waits for its next session. It needs `at` and a "
        "`calendar`.",
        "## `calendars`",
        f"A name, and the exchange behind it by its MIC: {', '.join(f'`{name}`' for name in calendar_names())}. It "
        "holds for the file it stands in. `24/7` never closes; its sessions are the days of UTC. Sessions further "
        "ahead than an exchange has published are known by rule only, and `schedules next` says so.",
        "## What is driven",
        "A schedule drives every active connection whose vendor has the job's dataset. Several schedules may drive one "
        "stream: at most one of its jobs waits or runs at a time. A stream that is linked new, relinked or overdue is "
        "due at once, and after a pause it runs once, not once for every time it missed. A changed schedule takes "
        "effect from now: it makes up for nothing. `fin-infra schedules next` lists what comes, with the sessions, and "
        "`--month 2026-11` draws it.",
        "A newer release may know that a day has no session, or other hours. At its start the worker plans anew what "
        "has not come, and the log says which session of which schedule moved or is gone.",
        "Why it is so: [the decision on calendars and schedules](../adr/0005-calendars-and-schedules.md), and [on the "
        "words of a schedule](../adr/0014-schedule-vocabulary.md).",
    )


SCHEDULE_TYPES = {
    "every": "duration", "while": "`open`", "at": "`close`, `open`, time of day", "cron": "five fields",
    "offset": "duration with its sign", "tz": "time zone",
    "on": "`each_session`, `month_first`, `month_last`, list of weekdays", "until": "`final`", "retry": "duration",
    "deadline": "time of day",
}  # fmt: skip


def _schedule_type(name: str, field: FieldInfo) -> str:
    if name in SCHEDULE_TYPES:
        return SCHEDULE_TYPES[name]
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation is timedelta:
        return "duration"
    return "list of text" if field.annotation == list[str] | None else "text"


# -- text and files ----------------------------------------------------------------------------------------------------


def _page(*parts: str) -> str:
    return "\n\n".join([HEADER, *(part for part in parts if part)]) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def stale(folder: Path) -> list[str]:
    """Pages below `folder` that are missing, differ from the code, or belong to nothing any more."""
    wanted = written()
    differing = [name for name, text in wanted.items() if not _is(folder / name, text)]
    return sorted([*differing, *_leftover(folder, wanted)])


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _leftover(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    there = [path.relative_to(folder).as_posix() for name in FOLDERS for path in (folder / name).glob("*.md")]
    return [name for name in there if name not in wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fin_infra.docs", description="Write the pages made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the stale pages")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs", help="where the pages lie")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    old = stale(folder)
    if options.check:
        for name in old:
            put(name)
        if old:
            say("these pages differ from the code; make docs writes them anew")
        return 1 if old else 0
    for name in old:
        put(name)
        path, text = folder / name, written().get(name)
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
