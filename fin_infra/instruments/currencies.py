"""Currencies: minor units, numeric codes, what replaced the old ones, and the units that prices are quoted in.

The facts are those of ISO 4217 (lists one and three, amendments to 2026-01) in `currencies.csv` beside this file; the
factors of what became the euro are the Council's irrevocable rates; quote units and coins are exchanges' and chains'.
Digits are the ledger's. What CLDR gives is for display, and wrong for books: it has no digits for the Iraqi dinar.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from fin_infra.errors import FrameError, UsageError

if TYPE_CHECKING:
    import polars as pl

EXACT = Context(prec=100)
ONE = Decimal(1)
ALIASES = {"GBp": "GBX", "ZAc": "ZAC", "XBT": "BTC"}
"""Other spellings of a code. Upper and lower case differ: `GBp` is a hundredth of `GBP`."""


@dataclass(frozen=True)
class Currency:
    """A code and what is known of it.

    `status`: active, special (metals, units of account, tests), historic, quote_unit (of prices, never of accounts) or
    non_iso. `minor_units`: decimals in a ledger, None where there is no minor unit. `normalises_to`: what replaced it,
    or what it is a part of; `factor`: how many of it make one of that, None where no fixed number does. `fixed_since`:
    the day from which the factor holds, of what became the euro; before it had a rate of its own. None: the factor is
    one of name only, like 10,000 old for one new, and holds for any day.
    """

    code: str
    numeric: str | None
    minor_units: int | None
    name: str
    status: str
    normalises_to: str | None = None
    factor: Decimal | None = None
    fixed_since: date | None = None


@cache
def currencies() -> Mapping[str, Currency]:
    """All that are known, by code."""
    text = resources.files(__package__).joinpath("currencies.csv").read_text(encoding="utf-8")
    return {
        row["code"]: Currency(
            row["code"], row["numeric"] or None, int(row["digits"]) if row["digits"] else None, row["name"],
            row["status"], row["into"] or None, Decimal(row["factor"]) if row["factor"] else None,
            date.fromisoformat(row["fixed_since"]) if row["fixed_since"] else None,
        )
        for row in csv.DictReader(text.splitlines())
    }  # fmt: skip


def currency(code: str) -> Currency:
    """The currency of a code or of an alias of it, case and all. Raises `UsageError` for what is none."""
    found = currencies().get(ALIASES.get(code, code))
    if found is None:
        close = difflib.get_close_matches(code.upper(), [*currencies(), *ALIASES], n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"no currency {code!r}{hint}; give a code of ISO 4217 in capitals, like USD")
    return found


def minor_units(code: str) -> int | None:
    """Decimals of the currency in a ledger: 2 for USD, 0 for JPY, 3 for KWD; None for gold, which has none."""
    return currency(code).minor_units


def major(amount: Decimal, unit: str) -> tuple[Decimal, str]:
    """A price in the major unit of what it is quoted in, exact: `(123.45, "GBp")` → `(1.2345, "GBP")`.

    What is no quote unit stays as it is.
    """
    found = currency(unit)
    if found.status != "quote_unit":
        return amount, found.code
    assert found.normalises_to is not None, "a quote unit is a part of a currency"
    assert found.factor is not None, "a quote unit is a fixed part of a currency"
    return EXACT.divide(amount, found.factor), found.normalises_to


def normalised(code: str, on: date | None = None) -> tuple[str, Decimal]:
    """What a code is counted in, and how many of it make one of that; a code of today itself, and 1.

    `DEM` → `("EUR", 1.95583)`, `GBX` → `("GBP", 100)`, through as many successors as there were. What no fixed number
    leads to is itself: `CNH` has a rate of its own, `ZWL` ended without one. `on`: on that day, instead of today: a
    kuna of 2021 was no fixed part of a euro yet.
    """
    found, factor = currency(code), ONE
    while found.normalises_to is not None and found.factor is not None:
        if on is not None and found.fixed_since is not None and on < found.fixed_since:
            break
        factor = EXACT.multiply(factor, found.factor)
        found = currency(found.normalises_to)
    return found.code, factor


def rounded(amount: Decimal, code: str, rule: str = ROUND_HALF_EVEN) -> Decimal:
    """An amount as a ledger in this currency holds it: ISO's digits, halves go to the even neighbour.

    Never CLDR's digits, which are for display. Nor the smallest coin (0.05 CHF): that is a matter of paying in cash.
    Without a minor unit nothing is rounded. `rule`: another of `decimal`'s.
    """
    digits = minor_units(code)
    return amount if digits is None else amount.quantize(ONE.scaleb(-digits), rounding=rule, context=EXACT)


def to_major(frame: pl.DataFrame, amounts: Sequence[str], currency: str = "currency") -> pl.DataFrame:
    """Prices that are quoted in pence, agorot or cents in their major unit, exact; all other rows as they are.

    `amounts`: columns of text, as frames get them before they are built, or of `Decimal(38, 18)`. The code becomes the
    major unit's (`GBp` → `GBP`), and `quote_unit` says what it was: minor or major. Raises `FrameError` where a decimal
    has no room for the two or three digits more; text is checked when it is built.
    """
    import polars as pl

    units = {code: quoted for code in frame[currency].unique() if (quoted := _quoted(code)) is not None}
    factors = {code: factor for code, (_, factor) in units.items()}
    minor = pl.col(currency).is_in(list(units))
    changed = []
    for name in amounts:
        if frame.schema[name] == pl.String:
            shifted = [
                text if text is None or code not in factors else _over(text, factors[code])
                for text, code in frame.select(name, currency).iter_rows()
            ]
            changed.append(pl.Series(name, shifted, dtype=pl.String))
            continue
        factor = pl.col(currency).replace_strict(factors, default=ONE, return_dtype=frame.schema[name])
        parts = frame.select(old=pl.col(name), new=pl.col(name) / factor, factor=factor)
        # multiplied only where there was something to divide: the largest amounts have no room for the way back
        if (
            not parts.filter(pl.col("factor") != 1)
            .select((pl.col("new") * pl.col("factor") == pl.col("old")).all())
            .item()
        ):
            raise FrameError(f"{name} has amounts in a minor unit that are too fine to be divided exactly")
        changed.append(parts["new"].alias(name))
    return frame.with_columns(
        *changed,
        pl.col(currency).replace({code: into for code, (into, _) in units.items()}),
        quote_unit=pl.when(minor).then(pl.lit("minor")).when(pl.col(currency).is_not_null()).then(pl.lit("major")),
    )


def _quoted(code: str | None) -> tuple[str, Decimal] | None:
    """The major unit and the factor of a quote unit; None of everything else, known or not."""
    found = currencies().get(ALIASES.get(code, code)) if code is not None else None
    return normalised(found.code) if found is not None and found.status == "quote_unit" else None


def _over(text: str, factor: Decimal) -> str:
    """The amount by a power of ten; what is no amount stays what it is, and is refused where it is built."""
    try:
        number = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
        return str(EXACT.divide(number, factor)) if number.is_finite() else text
    except ArithmeticError:
        return text
