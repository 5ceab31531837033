"""Data to stdout, talk to stderr. Amounts are shown exactly, without idle zeros."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fin_infra.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from fin_infra.cli.localised import Localised


WIDE = 110
"""Columns of a terminal from which a table of many is readable."""


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def put(text: str, *, at_once: bool = False) -> None:
    """A line of data; `at_once` for what a person or a log watches as it comes."""
    print(text, flush=at_once)  # noqa: T201


def put_json(value: object) -> None:
    put(json.dumps(plain(value), ensure_ascii=False))


def plain(value: Any) -> Any:
    """The value as JSON can hold it: amounts as exact text, instants and dates as ISO 8601."""
    match value:
        case Decimal():
            return amount(value)
        case datetime():
            return instant(value)
        case date():
            return value.isoformat()
        case Mapping():
            return {str(k): plain(v) for k, v in value.items()}
        case list() | tuple():
            return [plain(v) for v in value]
        case _:
            return value


def amount(value: Decimal) -> str:
    """`12.340000` → `12.34`, `100` → `100`; never an exponent."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def table(
    rows: Iterable[Sequence[Any]], header: Sequence[str], *, currencies: Mapping[str, str] | None = None,
    locale: str | None = None,
) -> None:  # fmt: skip
    """An aligned table on stdout, in the form of `locale` or of `FIN_INFRA_LOCALE`; with neither as data is written.

    `currencies`: header → the header of the currency its amounts are in.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else 400, highlight=False, markup=False, emoji=False)
    shown = grid(rows, header, currencies=currencies, locale=locale)
    if terminal:
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    put("\n".join(line.rstrip() for line in captured.get().splitlines()))


def grid(
    rows: Iterable[Sequence[Any]], header: Sequence[str], *, currencies: Mapping[str, str] | None = None,
    locale: str | None = None,
) -> Table:  # fmt: skip
    """The same table, not yet printed."""
    from rich import box
    from rich.table import Table

    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        found.add_column(name, overflow="fold")
    local = _local(locale)
    beside = [header.index(of) if (of := (currencies or {}).get(name)) in header else None for name in header]
    for row in rows:
        shown = row if local is None else [
            local.cell(value, None if at is None else row[at]) for value, at in zip(row, beside, strict=True)
        ]  # fmt: skip
        found.add_row(*(_cell(value) for value in shown))
    return found


def is_narrow() -> bool:
    """Whether stdout is a terminal on which a wide table would be cut into pieces."""
    import shutil

    return sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE


def _local(name: str | None) -> Localised | None:
    from fin_infra.settings import Settings

    chosen = Settings.load().locale if name is None else name
    if not chosen:
        return None
    from fin_infra.cli.localised import Localised

    return Localised.of(chosen)


def _cell(value: Any) -> str:
    """A value for people: instants to the second, nothing for null."""
    if isinstance(value, datetime):
        value = value.replace(microsecond=0)
    return "" if value is None else str(plain(value))


def put_frame(frame: pl.DataFrame, form: str, *, dataset: str | None = None, locale: str | None = None) -> None:
    """A frame as table, csv, ndjson or parquet. The table leaves out columns without a value; the others keep all.

    `dataset`: whose rows these are, which says what currency an amount is in. `locale` is for the table alone.
    """
    if locale is not None and form != "table":
        raise UsageError(f"--locale is for tables: {form} is read by machines and stays exact")
    if form == "table":
        shown = [name for name in frame.columns if frame.height == 0 or frame[name].null_count() < frame.height]
        shown = [name for name in shown if name not in ("provider", "connection_id", "fetched_at", "run_id")] or shown
        table(frame.select(shown).iter_rows(), shown, currencies=_currencies(dataset), locale=locale)
        say(f"{frame.height} rows; all columns: --format csv")
    elif form == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(frame.columns)
        writer.writerows([("" if v is None else plain(v)) for v in row] for row in frame.iter_rows())
    elif form == "ndjson":
        for row in frame.iter_rows(named=True):
            put_json(row)
    elif form == "parquet":
        if sys.stdout.isatty():
            raise UsageError("parquet is binary: send it to a file, > rows.parquet")
        frame.write_parquet(sys.stdout.buffer)
    else:
        raise UsageError(f"no format {form!r}; there are: table, csv, ndjson, parquet")


def _currencies(name: str | None) -> dict[str, str]:
    """Amount column → the column with its currency, by the unit that the schema states: `currency per unit`."""
    if name is None:
        return {}
    from fin_infra.datasets import dataset

    columns = dataset(name).columns()
    units = {column: str((spec.metadata or {}).get("unit", "")).partition(" ")[0] for column, spec in columns.items()}
    return {column: unit for column, unit in units.items() if unit in columns}


def moment(text: str | None, option: str) -> datetime | None:
    """An instant from the command line; it needs a zone, `2026-11-24T12:00:00Z`."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is None:
            raise UsageError(f"{option} {text!r} has no zone; write 2026-11-24T12:00:00Z or +01:00")
        return value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} is no instant; write 2026-11-24T12:00:00Z") from None


def calendar_day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no date; write 2026-11-24") from None


def quiet_logs(level: int = logging.WARNING) -> None:
    """Our own warnings on stderr, one line each; those of libraries only when they are errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    ours = logging.getLogger("fin_infra")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(level)
    logging.getLogger("svc_infra").setLevel(logging.CRITICAL)
