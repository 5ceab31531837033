"""Frames ↔ SQL values, exact both ways, vectorised. SQLite's side; a dialect is one pair of functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from fin_infra.datasets.base import Dataset

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def encode(frame: pl.DataFrame, schema: type[Dataset]) -> list[tuple[Any, ...]]:
    """Rows of SQL values in the schema's column order. Equal rows encode equally: the diff compares these."""
    return frame.select(_encoding(schema)).rows()


@cache
def _encoding(schema: type[Dataset]) -> list[pl.Expr]:
    return [_encoded(name, dtype) for name, dtype in schema.dtypes().items()]


def encode_records(rows: Sequence[Mapping[str, Any]], schema: type[Dataset]) -> list[tuple[Any, ...]]:
    """Rows given as dictionaries, as `encode` would give them; a missing column is null."""
    names = schema.dtypes()
    return [tuple([_plain(row.get(name)) for name in names]) for row in rows]


def _plain(value: Any) -> Any:
    match value:
        case None | str():
            return value
        case datetime():
            return micros(value)
        case bool():
            return int(value)
        case int():
            return value
        case _:
            raise TypeError(f"a record of bookkeeping holds text, numbers and instants, not {type(value).__name__}")


def decode_record(row: Sequence[Any], dtypes: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """One row as a dictionary; instants and flags in their own type, the rest as it is stored."""
    return {
        name: _typed(value, dtype) if value is not None else None
        for value, (name, dtype) in zip(row, dtypes.items(), strict=True)
    }


def _typed(value: Any, dtype: pl.DataType) -> Any:
    match dtype:
        case pl.Datetime():
            return from_micros(value)
        case pl.Boolean():
            return bool(value)
        case _:
            return value


def micros(moment: datetime) -> int:
    """An instant as SQLite keeps it: microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(value: int) -> datetime:
    return EPOCH + timedelta(microseconds=value)


def _encoded(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    match dtype:
        case pl.Decimal():  # always 18 digits behind the point: without the idle zeros one number has one text
            return column.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
        case pl.Datetime():
            return column.dt.epoch("us")
        case pl.Boolean():
            return column.cast(pl.Int64)
        case pl.Date() | pl.Enum():
            return column.cast(pl.String)
        case _:
            return column


def stored_dtype(dtype: pl.DataType) -> pl.DataType:
    """The dtype of a column as it lies in the database."""
    return pl.Int64() if isinstance(dtype, pl.Datetime | pl.Boolean | pl.Int64) else pl.String()


def decode(rows: Sequence[Sequence[Any]], dtypes: dict[str, pl.DataType]) -> pl.DataFrame:
    """A frame with exactly `dtypes` from rows of SQL values in that order."""
    stored = {name: stored_dtype(dtype) for name, dtype in dtypes.items()}
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(dtypes)
    frame = pl.DataFrame(
        [pl.Series(name, values, dtype=stored[name]) for name, values in zip(stored, columns, strict=True)]
    )
    return frame.select(_decoded(name, dtype) for name, dtype in dtypes.items())


@cache
def _decoded(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    match dtype:
        case pl.Datetime():
            return pl.from_epoch(column, time_unit="us").dt.replace_time_zone("UTC").alias(name)
        case pl.Date():
            return column.str.to_date("%Y-%m-%d")
        case _:
            return column.cast(dtype)
