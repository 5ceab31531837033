"""Amounts of one currency in another: with the rate, its day and its age, or with the reason why there is none.

A missing rate is null and said, never 1. What is in the wanted currency already needs no rate. Rates of two providers
are never mixed: they differ in the third digit. Everything is exact decimals; what is rounded, and how, stands below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

import polars as pl

from fin_infra.datasets.base import MONEY
from fin_infra.errors import UsageError
from fin_infra.instruments.currencies import ALIASES, currencies, currency, normalised
from fin_infra.providers import names

MAX_AGE = timedelta(days=7)  # the longest a central bank is closed, and a weekend
EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)
FINEST = Decimal(1).scaleb(-18)
ONE = pl.lit(Decimal(1), MONEY)
ADDED = ("rate", "rate_on", "rate_age", "rate_provider")
LARGEST = 9.9999999e19  # polars gives up on a whole column when one product does not fit: those are left out before
NO_RATE, TOO_OLD, NO_DAY, NO_CURRENCY, UNFIT = (
    "no rate is held", "the newest rate is too old", "the row has no day", "the row has no currency",
    "the result has no room in Decimal(38, 18)",
)  # fmt: skip


@dataclass(frozen=True)
class Total:
    """The sum of all that could be converted. `lacking`: a sentence for each part that is not in it."""

    amount: Decimal
    currency: str
    lacking: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.lacking


@dataclass(frozen=True)
class Converted:
    """`rows`: the given ones, in their order, with the converted amount and its rate beside them.

    `missing`: what could not be converted, one row per currency and reason: currency, reason, rows (how many), first
    and last (days of these rows), newest (the day of the newest rate held before them, null: none).
    """

    rows: pl.DataFrame
    missing: pl.DataFrame
    amount: str
    to: str

    @property
    def warnings(self) -> list[str]:
        """`missing` in sentences: "RUB: no rate is held for 2 rows, 2026-11-01 to 2026-11-20"."""
        return [_sentence(row["currency"], row["reason"], row) for row in self.missing.iter_rows(named=True)]

    def total(self) -> Total:
        """The sum of the converted amounts, exact. A row without a rate or an amount is not in it, and is said."""
        amount = Decimal(0)
        for value in self.rows[f"{self.amount}_in"].drop_nulls():
            amount = EXACT.add(amount, value)
        unknown = self.rows[self.amount].null_count()
        said = [f"{unknown} row{'' if unknown == 1 else 's'} without an amount"] if unknown else []
        return Total(amount, self.to, (*self.warnings, *said))


def convert(
    frame: pl.DataFrame, *, to: str, on: str | date, amount: str = "amount", currency: str = "currency",
    rates: pl.DataFrame | None = None, max_age: timedelta = MAX_AGE, providers: Sequence[str] = (),
) -> Converted:  # fmt: skip
    """`amount` in the currency `to`, by the newest rate of the row's day or before it, at most `max_age` old.

    `on`: the column with the row's day, or one day for all. `rates`: rows of `fx_rates`; None reads the store's.
    Added are `<amount>_in`, `rate` (of `to` per unit), `rate_on` (the day the provider states), `rate_age` (days from
    there to the row's day) and `rate_provider`. All are null where there is no rate. Where none is needed, because the
    currency is the same or a fixed part of it, `rate_on` and what follows are null, and the amount is not.

    A rate that no provider states is crossed through the currency it states rates of (the euro): the two rates of one
    day, divided, half-even at 18 decimals; the amount by it likewise. What became the euro is first divided by its
    fixed factor, pence by 100. Of each pair all rates are of one provider: the one that values most rows, of equals
    the first in `providers`, then in the registry's order. Raises `UsageError` for a wrong column or currency.
    """
    to = _checked(frame, to, on, amount, currency)
    day = pl.lit(on, pl.Date) if isinstance(on, date) else pl.col(on)
    rows = frame.with_columns(day.alias("#on"), pl.col(currency).alias("#of"))
    asked = _asked(rows, to)
    needed = asked.filter(pl.col("source") != pl.col("target"), pl.col("#on").is_not_null())
    found = _chosen(needed, _sources(_held(needed) if rates is None else rates, providers), max_age)
    key = ["#of", "#on"]
    joined = rows.join(asked, on=key, how="left", nulls_equal=True, maintain_order="left")
    joined = joined.join(found, on=key, how="left", nulls_equal=True, maintain_order="left")
    same = pl.col("source") == pl.col("target")
    joined = joined.with_columns(between=pl.when(same).then(ONE).otherwise("between"))

    def applied(value: pl.Expr) -> pl.Expr:
        return _times(_times(_over(value, pl.col("part_of")), pl.col("between")), pl.col("parts_in"))

    joined = joined.with_columns(applied(ONE).alias("rate"), applied(pl.col(amount)).alias(f"{amount}_in"))
    kept = joined.select(*frame.columns, f"{amount}_in", *ADDED)
    return Converted(kept, _missing(joined, amount), amount, to)


def _checked(frame: pl.DataFrame, to: str, on: str | date, amount: str, of: str) -> str:
    """The code of the wanted currency. Raises `UsageError` for a column that is not there or is of another type."""
    if isinstance(on, datetime):
        raise UsageError("on is a day: an instant could be two")
    types: dict[str, type[pl.DataType]] = {of: pl.String, **({on: pl.Date} if isinstance(on, str) else {})}
    for name in (amount, *types):
        if name not in frame.columns:
            raise UsageError(f"there is no column {name!r} to convert by; there are: {', '.join(frame.columns)}")
    for name, kind in types.items():
        if frame.schema[name] != kind:
            raise UsageError(f"{name} is {frame.schema[name]}, not {kind()}")
    if frame.schema[amount] != MONEY:
        raise UsageError(f"{amount} is {frame.schema[amount]}; only Decimal(38, 18) is converted, as datasets have it")
    if taken := [name for name in (f"{amount}_in", *ADDED) if name in frame.columns]:
        raise UsageError(f"the frame has {', '.join(taken)} already: it was converted before; leave these out")
    return currency(to).code


# -- which rates are needed ----------------------------------------------------------------------------------------


def _asked(rows: pl.DataFrame, to: str) -> pl.DataFrame:
    """Every code and day of the rows: what it is counted in that day (`source`, `part_of` of which make one), and the
    wanted currency likewise (`target`, `parts_in` one)."""
    asked = rows.group_by("#of", "#on", maintain_order=True).agg(rows=pl.len())
    codes = [code for code in asked["#of"].unique() if code is not None]
    sources, targets = _counted(codes), _counted([to])
    return (
        _as_of(asked, sources.rename({"into": "source", "factor": "part_of"}), "#of")
        .with_columns(to=pl.lit(to))
        .pipe(_as_of, targets.rename({"into": "target", "factor": "parts_in"}), "to")
        .drop("to")
    )


def _counted(codes: Sequence[str]) -> pl.DataFrame:
    """Per code, and from which day: what it is counted in, and how many make one of that. Unknown codes: themselves."""
    rows = []
    for code in codes:
        found = currencies().get(ALIASES.get(code, code))
        if found is None:
            rows.append((code, date.min, code, Decimal(1)))
            continue
        changes, step = {date.min}, found
        while step.normalises_to is not None and step.factor is not None:
            changes |= {step.fixed_since} if step.fixed_since else set()
            step = currencies()[step.normalises_to]
        rows += [(code, day, *normalised(code, day)) for day in sorted(changes)]
    schema = {"code": pl.String(), "from": pl.Date(), "into": pl.String(), "factor": MONEY}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _as_of(asked: pl.DataFrame, counted: pl.DataFrame, by: str) -> pl.DataFrame:
    """With what a code was counted in on the day; without a day, at first."""
    day = pl.col("#on").fill_null(date.min)
    return (
        asked.with_columns(day.alias("#day"))
        .sort("#day")
        .join_asof(
            counted.sort("from"), left_on="#day", right_on="from", by_left=by, by_right="code", strategy="backward",
            check_sortedness=False,
        )
        .drop("#day", "from", "code", strict=False)
    )  # fmt: skip


def _held(needed: pl.DataFrame) -> pl.DataFrame:
    """The store's rates that may be needed."""
    from fin_infra.reader import read

    if needed.is_empty():
        return read("fx_rates").head(0).collect()
    codes = list(set(needed["source"]) | set(needed["target"]))
    return read("fx_rates").filter(pl.col("base").is_in(codes) | pl.col("quote").is_in(codes)).collect()


# -- which rates there are -----------------------------------------------------------------------------------------


def _sources(rates: pl.DataFrame, providers: Sequence[str]) -> list[pl.DataFrame]:
    """The rates of each provider and base, the preferred first; each with the base itself, at 1."""
    order = list(dict.fromkeys([*providers, *names(), *sorted(rates["provider"].unique())]))
    parts = rates.sort("rate_on").partition_by("provider", "base", as_dict=True)
    found = []
    for (provider, base), part in sorted(parts.items(), key=lambda item: (order.index(str(item[0][0])), item[0][1])):
        stated = part.select("rate_on", code="quote", stated="rate").unique(["rate_on", "code"], keep="last")
        itself = stated.select(pl.col("rate_on").unique(), code=pl.lit(base, pl.String), stated=ONE)
        found.append(pl.concat([stated, itself]).with_columns(rate_provider=pl.lit(provider, pl.String)))
    return found


FOUND: list[tuple[str, pl.DataType | type[pl.DataType]]] = [
    ("#of", pl.String), ("#on", pl.Date), ("rate_on", pl.Date), ("rate_age", pl.Int64), ("rate_provider", pl.String),
    ("between", MONEY), ("newest", pl.Date),
]  # fmt: skip


def _chosen(needed: pl.DataFrame, sources: Sequence[pl.DataFrame], max_age: timedelta) -> pl.DataFrame:
    """Of every needed code and day its rate. Per pair all of one source: who values most rows, of equals the first."""
    if needed.is_empty() or not sources:
        return pl.DataFrame(schema=FOUND)
    offers = pl.concat(
        _offer(needed, source, max_age).with_columns(place=pl.lit(place)) for place, source in enumerate(sources)
    )
    pair = ["source", "target"]
    best = (
        offers.group_by(*pair, "place")
        .agg(valued=pl.col("rows").filter(pl.col("rate_on").is_not_null()).sum(), seen=pl.col("newest").count())
        .sort("valued", "seen", "place", descending=[True, True, False])
        .unique(pair, keep="first", maintain_order=True)
    )
    return _crossed(offers.join(best, on=[*pair, "place"], how="semi"))


def _offer(needed: pl.DataFrame, source: pl.DataFrame, max_age: timedelta) -> pl.DataFrame:
    """What one source has for each: both rates of the newest day that has both, where it is not too old."""
    pairs = needed.select("source", "target").unique()
    days = pairs.join(source, left_on="source", right_on="code").join(
        source.select("rate_on", code="code", wanted="stated"),
        left_on=["target", "rate_on"],
        right_on=["code", "rate_on"],
    )
    found = needed.sort("#on").join_asof(
        days.sort("rate_on"), left_on="#on", right_on="rate_on", by=["source", "target"], strategy="backward",
        check_sortedness=False, coalesce=False,
    )  # fmt: skip
    age = (pl.col("#on") - pl.col("rate_on")).dt.total_days()
    fresh = [
        pl.when(age <= max_age.days).then(pl.col(name)).alias(name)
        for name in ("rate_on", "rate_provider", "stated", "wanted")
    ]
    return found.with_columns(*fresh, newest="rate_on", rate_age=pl.when(age <= max_age.days).then(age))


def _crossed(offers: pl.DataFrame) -> pl.DataFrame:
    """The rate from one to the other, worked out once for each two rates: half-even at 18 decimals."""
    both = offers.select("stated", "wanted").unique().drop_nulls()
    between = [_ratio(wanted, stated) for stated, wanted in both.iter_rows()]
    known = both.with_columns(between=pl.Series(between, dtype=MONEY))
    found = offers.join(known, on=["stated", "wanted"], how="left")
    lost = pl.col("between").is_null()
    return found.select(
        "#of", "#on",
        *(pl.when(~lost).then(pl.col(name)).alias(name) for name in ("rate_on", "rate_age", "rate_provider")),
        "between", "newest",
    )  # fmt: skip


def _ratio(wanted: Decimal, stated: Decimal) -> Decimal | None:
    """`wanted / stated`; None where it has no room, or would become 0."""
    rate = EXACT.quantize(EXACT.divide(wanted, stated), FINEST)
    return rate if 0 < rate < 10**20 else None


# -- amounts -------------------------------------------------------------------------------------------------------


def _times(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """The product, half-even at 18 decimals; null where it does not fit."""
    fits = (left.cast(pl.Float64) * right.cast(pl.Float64)).abs() < LARGEST
    return pl.when(right == 1).then(left).otherwise(pl.when(fits).then(left) * right)


def _over(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """The quotient, half-even at 18 decimals; null where it does not fit."""
    fits = (left.cast(pl.Float64) / right.cast(pl.Float64)).abs() < LARGEST
    return pl.when(right == 1).then(left).otherwise(pl.when(fits).then(left) / right)


# -- what is missing -----------------------------------------------------------------------------------------------


def _missing(joined: pl.DataFrame, amount: str) -> pl.DataFrame:
    """The report: by currency and reason."""
    reason = (
        pl.when(pl.col("#of").is_null()).then(pl.lit(NO_CURRENCY))
        .when(pl.col("between").is_not_null()).then(pl.lit(UNFIT))
        .when(pl.col("#on").is_null()).then(pl.lit(NO_DAY))
        .when(pl.col("newest").is_not_null()).then(pl.lit(TOO_OLD))
        .otherwise(pl.lit(NO_RATE))
    )  # fmt: skip
    lost = joined.filter(pl.col(f"{amount}_in").is_null(), pl.col("between").is_null() | pl.col(amount).is_not_null())
    return (
        lost.select(currency="#of", reason=reason, on="#on", newest="newest")
        .group_by("currency", "reason")
        .agg(rows=pl.len(), first=pl.col("on").min(), last=pl.col("on").max(), newest=pl.col("newest").max())
        .sort("currency", "reason", nulls_last=True)
    )


def _sentence(code: str | None, reason: str, row: dict[str, object]) -> str:
    days = f", {row['first']}" if row["first"] is not None else ""
    days += f" to {row['last']}" if row["last"] != row["first"] else ""
    newest = f"; the newest is of {row['newest']}" if row["newest"] is not None and reason != UNFIT else ""
    return f"{code or 'no currency'}: {reason}: {row['rows']} row{'' if row['rows'] == 1 else 's'}{days}{newest}"
