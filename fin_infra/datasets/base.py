"""What every dataset shares: column kinds, provenance, and the exact builder.

Numbers arrive as the vendor's text and are cast once, vectorised, after their fit to `Decimal(38, 18)` was checked
on the text: polars turns a too fine decimal into 0 and a too large one into null, without a word.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import chain
from typing import Any

import dataframely as dy
import polars as pl

MONEY = pl.Decimal(38, 18)
INSTANT = pl.Datetime("us", "UTC")
PROVENANCE = ("provider", "connection_id", "fetched_at", "run_id")
VOLATILE = frozenset({"as_of", "fetched_at", "run_id"})  # outside the diff: a sync with nothing new rewrites no row


def text(description: str, *, null: str | None = None, pii: bool = False, key: bool = False, **rules: Any) -> dy.String:
    """A text column. `null`: what a null means here; without it the column is never null."""
    return dy.String(
        nullable=null is not None, primary_key=key, description=description,
        metadata={"null": null, "pii": pii}, **rules,
    )  # fmt: skip


def money(unit: str, description: str, *, null: str | None = None) -> dy.Decimal:
    """An exact amount, `Decimal(38, 18)`, in `unit`."""
    return dy.Decimal(38, 18, nullable=null is not None, description=description, metadata={"unit": unit, "null": null})


def choice(values: Sequence[str], description: str, *, null: str | None = None, key: bool = False) -> dy.Enum:
    """One of a closed set of words."""
    return dy.Enum(
        list(values), nullable=null is not None, primary_key=key, description=description, metadata={"null": null}
    )


def day(description: str, *, null: str | None = None, key: bool = False) -> dy.Date:
    """A calendar date without a zone, as the institution states it."""
    return dy.Date(nullable=null is not None, primary_key=key, description=description, metadata={"null": null})


def instant(description: str, *, null: str | None = None, key: bool = False) -> dy.Datetime:
    """A UTC moment, to the microsecond."""
    return dy.Datetime(
        time_unit="us", time_zone="UTC", nullable=null is not None, primary_key=key, description=description,
        metadata={"null": null},
    )  # fmt: skip


def flag(description: str, *, null: str | None = None) -> dy.Bool:
    return dy.Bool(nullable=null is not None, description=description, metadata={"null": null})


def count(description: str, *, null: str | None = None) -> dy.Int64:
    return dy.Int64(nullable=null is not None, description=description, metadata={"null": null})


@dataclass(frozen=True)
class Reject:
    """A row that breaks its schema: what was wrong, and the row as text (evidence; it may hold personal data).

    `constants`: what all rows of its answer share. With them the row can be built again.
    """

    reason: str
    row: dict[str, str | None]
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """Rows that hold, rows that do not, and keys that came twice with different contents."""

    good: pl.DataFrame
    rejects: tuple[Reject, ...] = ()
    differing: tuple[tuple[str, ...], ...] = ()


class Dataset(dy.Schema):
    """Base of all tables. Subclasses declare their columns; the SQL table, docs and samples come from them."""

    @classmethod
    def dataset_name(cls) -> str:
        """`AccountStates` → `account_states`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def dtypes(cls) -> dict[str, pl.DataType]:
        """Columns and their types, in the order of every frame: key, own columns, provenance."""
        return dict(_shape(cls).dtypes)

    @classmethod
    def key(cls) -> list[str]:
        """Columns of the primary key."""
        return list(_shape(cls).key)

    @classmethod
    def empty(cls) -> pl.DataFrame:
        return pl.DataFrame(schema=cls.dtypes())

    @classmethod
    def compared(cls) -> list[str]:
        """Columns of the diff: all but the key and what changes with every answer."""
        return [name for name in _shape(cls).dtypes if name not in VOLATILE and name not in _shape(cls).key]

    @classmethod
    def build(cls, columns: Mapping[str, Sequence[str | None]], constants: Mapping[str, Any]) -> Built:
        """A frame from columns of text and constants for all rows.

        Columns neither given nor constant are null. Blank text is null, control characters become blanks, amounts
        and dates are checked and cast once. Of rows with an equal key the last wins (give pages oldest answer
        first); keys whose twins differ are named. Never raises on a bad row: it is returned with its reason.
        """
        shape = _shape(cls)
        given = [name for name in shape.dtypes if name in columns]
        cells = _cells(columns, given, shape.key)
        if cells.is_empty():
            return Built(cls.empty())
        raw = _framed(cells, given)
        # whether there is anything to clean is asked of all cells at once: mostly there is not
        clean = raw.select(_cleaned(name) for name in given) if cells.str.contains(_DIRTY).any() else raw
        frame = clean.select(
            shape.casts[name] if name in columns else _constant(name, constants.get(name), dtype)
            for name, dtype in shape.dtypes.items()
        )
        if _sound(clean, frame, shape):
            return Built(frame)
        return cls._sorted_out(raw, clean, frame, constants)

    @classmethod
    def _sorted_out(
        cls, raw: pl.DataFrame, clean: pl.DataFrame, frame: pl.DataFrame, constants: Mapping[str, Any]
    ) -> Built:
        """The rows that hold, each of the others with its reason, and of twins the last."""
        frame, unfit = _fitted(clean, frame)
        reasons: dict[int, list[str]] = {}
        for index, reason in [*unfit, *_keyless(frame, cls.key())]:
            reasons.setdefault(index, []).append(reason)
        good = frame.with_row_index("#row")
        if reasons:
            good = good.filter(~pl.col("#row").is_in(list(reasons)))
        good, differing = _last_of_twins(good, cls.key(), cls.compared())
        filtered, failure = cls.filter(good.drop("#row"), cast=False)
        accepted: pl.DataFrame = filtered
        if len(failure):
            for index, reason in _broken_rules(failure, good, cls.key()):
                reasons.setdefault(index, []).append(reason)
        rejects = tuple(
            Reject("; ".join(reasons[index]), dict(raw.row(index, named=True)), constants) for index in sorted(reasons)
        )
        return Built(accepted.select(list(cls.dtypes())), rejects, differing)


@dataclass(frozen=True)
class _Shape:
    """A schema as the builder needs it. What dataframely and polars would work out anew at every call is kept here."""

    dtypes: dict[str, pl.DataType]
    key: list[str]
    casts: dict[str, pl.Expr]
    required: tuple[int, ...]  # places of the columns that are never null
    rules: pl.Expr  # whether all rules hold, but for a unique key and nulls, which are seen without an expression


@cache
def _shape(schema: type[Dataset]) -> _Shape:
    columns, key = schema.columns(), schema.primary_key()
    tail = [name for name in PROVENANCE if name in columns and name not in key]
    order = [*key, *(name for name in columns if name not in key and name not in tail), *tail]
    dtypes = {name: columns[name].dtype for name in order}
    seen_otherwise = {"primary_key", *(f"{name}|nullability" for name in columns)}
    rules = [
        rule.expr.fill_null(True).all()
        for name, rule in schema._validation_rules(with_cast=False).items()
        if name not in seen_otherwise
    ]
    return _Shape(
        dtypes, key, {name: _cast(name, dtype).alias(name) for name, dtype in dtypes.items()},
        tuple(place for place, name in enumerate(order) if name in key or not columns[name].nullable),
        pl.all_horizontal(rules) if rules else pl.lit(True),
    )  # fmt: skip


def _cells(columns: Mapping[str, Sequence[str | None]], given: list[str], key: list[str]) -> pl.Series:
    """The given columns as text, one behind the other, exactly as they came."""
    if len({len(columns[name]) for name in given}) > 1:
        raise ValueError(f"columns of different lengths: {', '.join(f'{name} {len(columns[name])}' for name in given)}")
    try:
        return pl.Series("cell", list(chain.from_iterable(columns[name] for name in given)), dtype=pl.String)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON allows and no text is
        whole = [_whole(cell, name in key) for name in given for cell in columns[name]]
        return pl.Series("cell", whole, dtype=pl.String)


def _framed(cells: pl.Series, given: list[str]) -> pl.DataFrame:
    height = len(cells) // len(given)
    return pl.DataFrame([cells.slice(place * height, height).alias(name) for place, name in enumerate(given)])


def _sound(clean: pl.DataFrame, frame: pl.DataFrame, shape: _Shape) -> bool:
    """Whether there is nothing to sort out: every text fits its type, every rule holds, no key comes twice.

    Most answers are like that, and this is a fraction of the cost of asking which rows are not.
    """
    nulls = frame.null_count().row(0)
    if any(nulls[place] for place in shape.required):
        return False
    before = dict(zip(clean.columns, clean.null_count().row(0), strict=True))
    if any(before.get(name, count) != count for name, count in zip(frame.columns, nulls, strict=True)):
        return False
    if len(set(frame.select(shape.key).rows())) != frame.height:
        return False
    return bool(frame.select(shape.rules).item())


def _whole(text: str | None, key: bool) -> str | None:
    """Text with U+FFFD for half a surrogate pair. Not in a key: two ids that differ there would become one."""
    if text is None or text.isascii():
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None if key and whole != text else whole


_DIRTY = r"[\x00-\x1f\x7f-\x9f]|^\s|\s$|^$"


def _cleaned(name: str) -> pl.Expr:
    """Control characters to blanks, outer blanks off, nothing left → null."""
    column = pl.col(name).str.replace_all(r"[\x00-\x1f\x7f-\x9f]+", " ").str.strip_chars()
    return pl.when(column != "").then(column).alias(name)


FINGERPRINT = "fp1"
"""The recipe of ids that are made here; a changed one gets another number, and its rows are then issued anew."""


def identified(ids: Sequence[str | None], *fields: Sequence[str | None]) -> list[str | None]:
    """The ids; for a row without one a fingerprint of `fields` and which of its equals in the answer it is.

    For vendors that give none. `fields`: columns as the vendor says them, not what was made of them here, and of those
    the ones that stay: date, amount, currency, text. Rows that are equal in all of them are numbered, so that two real
    purchases stay two and a later answer gives the same ids, whatever the order of its rows. To be called with all rows
    of an account's answer. An answer must show a day whole or not at all.
    """
    if all(own is not None and own.strip() for own in ids):
        return list(ids)
    equals: dict[str, int] = {}
    made: list[str | None] = []
    for own, *said in zip(ids, *fields, strict=True):
        if own is not None and own.strip():
            made.append(own)
            continue
        mark = hashlib.sha256(json.dumps([text.strip() if text else None for text in said]).encode()).hexdigest()[:20]
        equals[mark] = equals.get(mark, 0) + 1
        made.append(f"{FINGERPRINT}_{mark}_{equals[mark]}")
    return made


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FITS = r"^[+-]?(?:0*[0-9]{1,20}(?:\.[0-9]{0,18}0*)?|\.[0-9]{1,18}0*)$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def _cast(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column of clean text in its own type; null where the text does not fit it."""
    column = pl.col(name)
    match dtype:
        case pl.Decimal():  # checked on the text: a too fine one would become 0, a too large one null
            return pl.when(column.str.contains(_FITS)).then(column).cast(MONEY, strict=False)
        case pl.Date():  # a date never passes through a zone; Python knows no year 0
            real = column.str.contains(_DAY) & ~column.str.starts_with("0000")
            return pl.when(real).then(column).str.to_date("%Y-%m-%d", strict=False)
        case pl.Datetime():
            return column.map_batches(_instants, return_dtype=INSTANT)
        case pl.Boolean():
            return column.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
        case pl.String():
            return column
        case _:
            return column.cast(dtype, strict=False)


def _constant(name: str, value: Any, dtype: pl.DataType) -> pl.Expr:
    if value is None:
        return _null(name, dtype)
    if isinstance(value, datetime) and value.tzinfo is not None and dtype == INSTANT:
        return pl.lit((value - _EPOCH) // _MICROSECOND).cast(INSTANT).alias(name)
    literal = pl.lit(value)
    return (literal if isinstance(value, str) and dtype == pl.String else literal.cast(dtype)).alias(name)


@cache
def _null(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.lit(None, dtype=dtype).alias(name)


def _fitted(clean: pl.DataFrame, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """The frame with the rarer spellings of amounts put in, and (row, reason) of every text that fits no way."""
    unfit: list[tuple[int, str]] = []
    for name in clean.columns:
        given, cast = clean[name], frame[name]
        if cast.null_count() == given.null_count():
            continue
        if isinstance(cast.dtype, pl.Date | pl.Datetime):
            given = given.replace("0", None)  # a vendor's "no date"
        elif isinstance(cast.dtype, pl.Decimal):
            cast = amounts(given)
            frame = frame.with_columns(cast.alias(name))
        bad = (cast.is_null() & given.is_not_null()).arg_true().to_list()
        unfit += [(index, f"{name} is not {_wanted(cast.dtype)}") for index in bad]
    return frame, unfit


def _wanted(dtype: pl.DataType) -> str:
    match dtype:
        case pl.Decimal():
            return "an amount that fits Decimal(38, 18)"
        case pl.Date():
            return "a date as YYYY-MM-DD"
        case pl.Datetime():
            return "an instant as ISO 8601 with a zone"
        case pl.Boolean():
            return "true or false"
        case pl.Enum():
            return "one of " + ", ".join(dtype.categories)
        case _:
            return str(dtype)


def amounts(given: pl.Series) -> pl.Series:
    """Text → `Decimal(38, 18)`, exact; null where the text is no number or would be rounded or lost.

    Exponents are rare enough to be looked at one by one.
    """
    plain = given.map_elements(_plain_text, return_dtype=pl.String, skip_nulls=True)
    return plain.to_frame().select(_cast(given.name, MONEY)).to_series()


def _plain_text(text: str) -> str | None:
    """`1E-7` → `0.0000001`; None for what is no finite number or is too long to be written out."""
    if re.match(_FITS, text):
        return text
    try:
        number = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        return None
    # the size is looked at before writing it out: 1E+50000000 would fill the memory
    if not number.is_finite() or number.adjusted() > 20 or number.adjusted() < -40:
        return "0" if number.is_zero() else None
    return format(number, "f")


def dates(given: pl.Series) -> pl.Series:
    """`YYYY-MM-DD` → date; anything else null."""
    return given.to_frame().select(_cast(given.name, pl.Date())).to_series()


def instants(given: pl.Series) -> pl.Series:
    """ISO 8601 with a zone → UTC instant; anything else null (a time without a zone is not an instant)."""
    return given.to_frame().select(_cast(given.name, INSTANT)).to_series()


def _instants(given: pl.Series) -> pl.Series:
    def parsed(text: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else None
        except (ValueError, OverflowError):  # no time at all, or none of our calendar
            return None

    return pl.Series(given.name, [None if t is None else parsed(t) for t in given], dtype=INSTANT)


def _keyless(frame: pl.DataFrame, key: list[str]) -> list[tuple[int, str]]:
    """(row, reason) of rows without a full key: a blank id is no id, and must not make strangers twins."""
    return [
        (index, f"{name} is missing")
        for name in key
        if frame[name].null_count()
        for index in frame[name].is_null().arg_true().to_list()
    ]


def _last_of_twins(
    frame: pl.DataFrame, key: list[str], compared: list[str]
) -> tuple[pl.DataFrame, tuple[tuple[str, ...], ...]]:
    """Of rows with one key the last (dataframely would reject them all), and the keys whose twins differ."""
    if frame.select(key).n_unique() == frame.height:
        return frame, ()
    twins = frame.filter(pl.struct(key).is_duplicated())
    contents = twins.select(*key, *compared).unique()
    differing = contents.filter(pl.struct(key).is_duplicated()).select(pl.col(key).cast(pl.String)).unique().sort(key)
    return frame.unique(key, keep="last", maintain_order=True), tuple(tuple(row) for row in differing.rows())


def _broken_rules(failure: dy.FailureInfo, frame: pl.DataFrame, key: list[str]) -> list[tuple[int, str]]:
    """(row, rules) of the rows that break a rule of their schema; keys are unique by now."""
    index = {row[:-1]: row[-1] for row in frame.select(*key, "#row").rows()}
    details = failure.details()
    rules = [name for name in details.columns if name not in frame.columns]
    return [
        (index[tuple(row[name] for name in key)], "breaks " + ", ".join(r for r in rules if row[r] == "invalid"))
        for row in details.iter_rows(named=True)
    ]
