from __future__ import annotations

import dataframely as dy
import polars as pl

from fin_infra.datasets.base import Dataset, choice, day, instant, money, text

BASES = ("raw", "split_adjusted", "adjusted")


class Prices(Dataset):
    """Daily bars: one row per instrument, session, provider and basis, in the listing's major unit.

    Belongs to no tenant: the same for everyone.
    """

    instrument = text("InstrumentKey, like us:AAPL", key=True, regex=r"^[a-z0-9.]+:.+$")
    session = day("exchange-local trading day; of crypto and FX the UTC day or the vendor's stated cut", key=True)
    provider = text("the vendor's name", key=True)
    basis = choice(BASES, "what the vendor served", key=True)
    open = money("currency per unit", "first price", null="not said")
    high = money("currency per unit", "highest price", null="not said")
    low = money("currency per unit", "lowest price", null="not said")
    close = money("currency per unit", "last price")
    volume = money("units", "traded units", null="not said")
    currency = text("of the listing, ISO 4217", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    state = choice(("provisional", "final"), "provisional: the vendor may still correct it")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")

    @dy.rule()
    def high_is_highest(cls) -> pl.Expr:
        return pl.col("high") >= pl.max_horizontal("open", "close", "low")

    @dy.rule()
    def low_is_lowest(cls) -> pl.Expr:
        return pl.col("low") <= pl.min_horizontal("open", "close")

    @dy.rule()
    def close_is_not_zero(cls) -> pl.Expr:
        return pl.col("close") != 0

    @dy.rule()
    def volume_is_not_negative(cls) -> pl.Expr:
        return pl.col("volume") >= 0
