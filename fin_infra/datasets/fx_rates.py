from __future__ import annotations

import dataframely as dy
import polars as pl

from fin_infra.datasets.base import Dataset, choice, day, instant, money, text


class FxRates(Dataset):
    """Rates between currencies: one row per pair, day and provider.

    Sources differ in the third digit: a series of one provider is never filled up from another. Belongs to no tenant.
    """

    base = text("the currency one unit of which is priced, ISO 4217", key=True, regex=r"^[A-Z0-9]{3,12}$")
    quote = text("the currency it is priced in, ISO 4217", key=True, regex=r"^[A-Z0-9]{3,12}$")
    rate_on = day("the day the provider states, not the one that was asked for", key=True)
    provider = text("the vendor's name", key=True)
    rate = money("quote per unit of base", "as the provider states it, never turned over")
    state = choice(("provisional", "final"), "provisional: the provider may still correct it")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")

    @dy.rule()
    def rate_is_positive(cls) -> pl.Expr:
        return pl.col("rate") > 0

    @dy.rule()
    def two_currencies(cls) -> pl.Expr:
        return pl.col("base") != pl.col("quote")
