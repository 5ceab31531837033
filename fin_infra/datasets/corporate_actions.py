from __future__ import annotations

import dataframely as dy
import polars as pl

from fin_infra.datasets.base import Dataset, choice, day, instant, money, text

ACTIONS = ("split", "dividend", "symbol_change", "delisting")


class CorporateActions(Dataset):
    """What a company did to its shares: one row per instrument, ex-date, kind and provider.

    It belongs to the instrument and not to who holds it: the same for everyone. Several cash dividends of one ex-date,
    a regular and a special one, are one row with their sum.
    """

    instrument = text("InstrumentKey, like us:AAPL", key=True, regex=r"^[a-z0-9.]+:.+$")
    ex_on = day("first session that trades without it; of a symbol change the first under the new one, "
                "of a delisting the first day without trading", key=True)  # fmt: skip
    kind = choice(ACTIONS, "what happened", key=True)
    provider = text("the vendor's name", key=True)
    ratio = money("new shares per old", "of a split: new_shares / old_shares, rounded to 18 digits", null="no split")
    new_shares = money("shares", "of a split, exact: so many for `old_shares`", null="no split")
    old_shares = money("shares", "of a split, exact", null="no split")
    amount = money("currency per share", "of a dividend, before taxes, on the shares of its day", null="no dividend")
    currency = text("of the amount, ISO 4217", null="no dividend, or not said", regex=r"^[A-Z0-9]{3,12}$")
    new_instrument = text("of a symbol change or a merger: the key from then on", null="none",
                          regex=r"^[a-z0-9.]+:.+$")  # fmt: skip
    paid_on = day("of a dividend, when it is paid", null="not said")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")

    @dy.rule()
    def split_has_a_ratio(cls) -> pl.Expr:
        whole = (pl.col("new_shares") > 0) & (pl.col("old_shares") > 0) & (pl.col("ratio") > 0)
        return (pl.col("kind").cast(pl.String) != "split") | whole.fill_null(value=False)

    @dy.rule()
    def dividend_has_an_amount(cls) -> pl.Expr:
        return (pl.col("kind").cast(pl.String) != "dividend") | (pl.col("amount") > 0).fill_null(value=False)

    @dy.rule()
    def change_leads_elsewhere(cls) -> pl.Expr:
        elsewhere = (pl.col("new_instrument") != pl.col("instrument")).fill_null(value=False)
        return (pl.col("kind").cast(pl.String) != "symbol_change") | elsewhere
