"""Prices of one basis made of raw bars and corporate actions: pure, exact, and never stored.

What is kept is what was traded. A factor is an exact fraction, the product of the actions behind a session, and each
figure is rounded once, half to even, to 18 decimals: not action by action. So the same bars and actions always give the
same figures, and nothing can be adjusted twice: the basis of every row says what it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from typing import Literal

import polars as pl

from fin_infra.datasets.base import MONEY
from fin_infra.errors import FrameError, UsageError

Kind = Literal["split", "total"]
Action = tuple[date, str, Fraction | None, Decimal | None, str | None]
"""Ex-date, kind, new shares per old, amount, its currency. Of a dividend that is "told" in the shares of a later day:
how many of those one of its own day has become."""
BASIS: Mapping[Kind, str] = {"split": "split_adjusted", "total": "adjusted"}
MADE_OF: Mapping[Kind, tuple[str, ...]] = {"split": ("raw",), "total": ("raw", "split_adjusted")}
"""Which bases a basis is made of. What is adjusted for dividends cannot be told from splits again."""
FIGURES = ("open", "high", "low", "close")
ONE = Fraction(1)
ROW = "#row"


def adjusted(prices: pl.DataFrame, actions: pl.DataFrame, kind: Kind = "split") -> pl.DataFrame:
    """Bars whose basis is the newest one of their series: `split` for splits, `total` for dividends too.

    `prices`: columns of `Prices`, at least instrument, session, basis and close; `actions`: of `CorporateActions`, of
    each instrument and ex-date and kind one row. Rows come back in their order, raw ones as `split_adjusted` or
    `adjusted`; rows that are it already come back as they are. Split-adjusted ones are made total by dividends alone.

    - split: a price before `ex_on` is multiplied by old/new shares, a volume by new/old.
    - total: also by 1 - amount / close, the raw close of the last bar before `ex_on`. The amount is per share as held
      before that day, also where a split has the same `ex_on`. Volumes know splits alone. A split-adjusted close is
      counted in shares of the newest bar: the amount is brought to those by the splits from `ex_on` on.
    - An action counts once the series has a bar of its `ex_on` or later: one that is only announced changes nothing.

    Raises `UsageError` where the basis of a row cannot become the one asked for, where two actions of one kind and day
    are given, or a dividend is not in the currency of the bars (none said: it is); `FrameError` where a figure would
    not fit `Decimal(38, 18)`, or would vanish, or a dividend is not less than the close it is paid from.
    """
    if kind not in BASIS:
        raise UsageError(f"prices are adjusted by split or total, not by {kind!r}")
    stored = pl.col("basis").cast(pl.String)
    other = prices.filter(~stored.is_in([*MADE_OF[kind], BASIS[kind]]))
    if not other.is_empty():
        name, basis = other.select("instrument", stored).row(0)
        whole = " and ".join(MADE_OF[kind])
        raise UsageError(f"bars of {name} are {basis}: {BASIS[kind]} ones can only be made of {whole} ones")
    known = _by_instrument(actions)
    numbered = prices.with_row_index(ROW)
    of = stored.is_in(MADE_OF[kind]) & pl.col("instrument").is_in(list(known))
    parts = [numbered.filter(~of)]
    series = [name for name in ("instrument", "basis", "provider") if name in prices.columns]
    for (name, kept, *_), bars in numbered.filter(of).group_by(series, maintain_order=True):
        acted = known[str(name)] if kept == "raw" else _told_in_shares_of(bars["session"].max(), known[str(name)])
        parts += _adjusted(str(name), bars.sort("session"), acted, kind)
    made = pl.concat(parts).sort(ROW).drop(ROW)
    basis = pl.when(stored.is_in(MADE_OF[kind])).then(pl.lit(BASIS[kind])).otherwise(stored)
    return made.with_columns(basis.cast(prices.schema["basis"]).alias("basis"))


def _by_instrument(actions: pl.DataFrame) -> dict[str, list[Action]]:
    """Splits and dividends, oldest first."""
    rows = actions.filter(pl.col("kind").cast(pl.String).is_in(["split", "dividend"])).sort("instrument", "ex_on")
    if rows.select(pl.struct("instrument", "ex_on", "kind").is_duplicated().any()).item():
        raise UsageError("two actions of one instrument, day and kind are given: choose one provider of each")
    known: dict[str, list[Action]] = {}
    for row in rows.iter_rows(named=True):
        ratio = Fraction(row["new_shares"]) / Fraction(row["old_shares"]) if row["kind"] == "split" else None
        action = row["ex_on"], row["kind"], ratio, row["amount"], row["currency"]
        known.setdefault(row["instrument"], []).append(action)
    return known


def _told_in_shares_of(newest: object, actions: Sequence[Action]) -> list[Action]:
    """The dividends, each for a share of this day: what a split made of the shares since is taken off the amount.

    A split whose ex-date is behind the newest bar is in none of the bars, and one of the very ex-date of a dividend
    came after it: the amount is for a share as it was the day before.
    """
    assert isinstance(newest, date)
    made: list[Action] = []
    for ex_on, what, _, amount, currency in actions:
        if what == "dividend" and amount is not None:
            made.append((ex_on, "told", shares_from(actions, ex_on, newest), amount, currency))
    return made


def shares_from(actions: Sequence[Action], first: date, last: date) -> Fraction:
    """How many shares of the day `last` one held before the day `first` has become."""
    made = ONE
    for ex_on, what, ratio, _, _ in actions:
        if what == "split" and ratio is not None and first <= ex_on <= last:
            made *= ratio
    return made


def _adjusted(name: str, bars: pl.DataFrame, actions: Sequence[Action], kind: Kind) -> list[pl.DataFrame]:
    """Stretches of one series, each with its own factor. `bars`: raw, by session."""
    sessions: list[date] = bars["session"].to_list()
    stretches: list[pl.DataFrame] = []
    end, price, volume = len(sessions), ONE, ONE
    for ex_on, what, ratio, amount, currency in reversed(actions):
        if not sessions or ex_on > sessions[-1] or (what == "dividend" and kind == "split"):
            continue
        begin = bisect_left(sessions, ex_on)
        if begin == 0:
            break  # no bar is older, and all further actions are older still
        stretches.append(_times(bars[begin:end], price, volume, name))
        end = begin
        if what == "split" and ratio is not None:
            price, volume = price / ratio, volume * ratio
        else:
            assert amount is not None
            price *= _kept(name, ex_on, Fraction(amount) / (ratio or ONE), currency, bars.row(begin - 1, named=True))
    stretches.append(_times(bars[:end], price, volume, name))
    return stretches


def _kept(name: str, ex_on: date, amount: Fraction, currency: str | None, before: Mapping[str, object]) -> Fraction:
    """What is left of a share's value when so much of it is paid out. `before`: the last bar before, in its shares."""
    listed = before.get("currency")
    if currency is not None and listed is not None and currency != listed:
        raise UsageError(
            f"the dividend of {name} on {ex_on} is in {currency}, its prices are in {listed}: adjust by split"
        )
    close = before["close"]
    assert isinstance(close, Decimal)
    if not 0 < amount < close:
        told = Decimal(amount.numerator) / Decimal(amount.denominator)
        raise FrameError(
            f"the dividend of {name} on {ex_on} is {told.normalize():f}, its close before was {close.normalize():f}: "
            "no factor is made of that; look at both with fin-infra read"
        )
    return ONE - amount / Fraction(close)


def _times(bars: pl.DataFrame, price: Fraction, volume: Fraction, name: str) -> pl.DataFrame:
    factors = dict.fromkeys(FIGURES, price) | {"volume": volume}
    columns = [times(bars[figure], by, name) for figure, by in factors.items() if figure in bars.columns and by != ONE]
    return bars.with_columns(columns) if columns else bars


def times(amounts: pl.Series, by: Fraction, what: str) -> pl.Series:
    """Each of these `Decimal(38, 18)` by an exact factor, rounded once, half to even; nulls stay.

    In whole numbers: for a product of polars' own the factor would have to be rounded first.
    Raises `FrameError` where a product does not fit, or is so small that it would become 0.
    """
    above, below = by.as_integer_ratio()

    def product(units: int | None) -> int | None:
        if units is None:
            return None
        whole, rest = divmod(units * above, below)
        twice = rest * 2
        return whole + 1 if twice > below or (twice == below and whole & 1) else whole

    before = amounts.to_physical().to_list()
    after = [product(units) for units in before]
    for old, new in zip(before, after, strict=True):
        if new is not None and old is not None and (abs(new) >= 10**38 or (new == 0) != (old == 0)):
            told = f"{Decimal(old).scaleb(-18, Context(prec=60)):f} by {_short(by)}"
            raise FrameError(f"{amounts.name} of {what} does not fit Decimal(38, 18) once it is adjusted: {told}")
    return pl.Series(amounts.name, after, dtype=pl.Int128).reinterpret(dtype=MONEY)


def _short(factor: Fraction) -> str:
    above, below = factor.as_integer_ratio()
    return f"{above}/{below}" if max(above, below) < 10**12 else f"{float(factor):.6g}"


def of_one_provider(actions: pl.DataFrame) -> pl.DataFrame:
    """Of each instrument the actions of one provider, the first by name: two may date one split differently."""
    return actions.filter(pl.col("provider") == pl.col("provider").min().over("instrument"))


def shares_between(actions: pl.DataFrame, instrument: str, earlier: date, later: date) -> Fraction:
    """How many shares of `later` one of `earlier` has become: by the splits within (earlier, later].

    A quantity and a price belong together only when they count the same shares: quantity by this by price.
    """
    share = ONE
    for ex_on, what, ratio, _, _ in _by_instrument(actions.filter(pl.col("instrument") == instrument)).get(
        instrument, ()
    ):
        if what == "split" and ratio is not None and earlier < ex_on <= later:
            share *= ratio
    return share
