from __future__ import annotations

import dataframely as dy
import polars as pl

from fin_infra.datasets.base import Dataset, choice, instant, money, text
from fin_infra.datasets.prices import BASES

INTERVALS = ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")


class IntradayPrices(Dataset):
    """Bars shorter than a day: one row per instrument, interval, start and provider, in the listing's major unit.

    Where nothing was traded there is no bar, and none is made up. Belongs to no tenant: the same for everyone.
    """

    instrument = text("InstrumentKey, like crypto:bitcoin", key=True, regex=r"^[a-z0-9.]+:.+$")
    interval = choice(INTERVALS, "how long a bar is", key=True)
    start_at = instant("when the bar opens", key=True)
    provider = text("the vendor's name", key=True)
    basis = choice(BASES, "what the vendor served")
    open = money("currency per unit", "first price", null="not said")
    high = money("currency per unit", "highest price", null="not said")
    low = money("currency per unit", "lowest price", null="not said")
    close = money("currency per unit", "last price")
    volume = money("units", "traded units", null="not said")
    currency = text("of the listing, ISO 4217", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    state = choice(("provisional", "final"), "provisional: still open, or the vendor may correct it")
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
