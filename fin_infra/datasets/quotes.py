from __future__ import annotations

import dataframely as dy
import polars as pl

from fin_infra.datasets.base import Dataset, day, instant, money, text


class Quotes(Dataset):
    """The newest price that a vendor knows of an instrument, in the listing's major unit: one row each.

    No bar: `read("prices")` has those. Belongs to no tenant: the same for everyone.
    """

    instrument = text("InstrumentKey, like crypto:bitcoin", key=True, regex=r"^[a-z0-9.]+:.+$")
    provider = text("the vendor's name", key=True)
    price = money("currency per unit", "the last one")
    currency = text("of the price, ISO 4217", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    quoted_at = instant("the vendor's own time of the price", null="it states none")
    session = day("the trading day it is of", null="not said")
    open = money("currency per unit", "first price of that day", null="not said")
    high = money("currency per unit", "highest price of that day", null="not said")
    low = money("currency per unit", "lowest price of that day", null="not said")
    previous_close = money("currency per unit", "last price of the day before", null="not said")
    volume = money("units", "traded units of that day", null="not said")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")

    @dy.rule()
    def price_is_not_zero(cls) -> pl.Expr:
        return pl.col("price") != 0

    @dy.rule()
    def volume_is_not_negative(cls) -> pl.Expr:
        return pl.col("volume") >= 0
