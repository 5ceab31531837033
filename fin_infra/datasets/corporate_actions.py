from __future__ import annotations

import dataframely as dy
import polars as pl

from fin_infra.datasets.base import Dataset, choice, day, instant, money, text

ACTIONS = ("split", "dividend", "symbol_change", "delisting", "spin_off", "other")


class CorporateActions(Dataset):
    """What a company did to its shares: one row per instrument, ex-date, kind and provider.

    It belongs to the instrument and not to who holds it: the same for everyone. Several cash dividends of one ex-date,
    a regular and a special one, are one row with their sum, several splits of one ex-date one with their product. A
    dividend in shares is a split. Prices are adjusted for splits and dividends alone: of a `spin_off`, and of what is
    `other` (rights, a partial call), no price factor is invented.
    """

    instrument = text("InstrumentKey, like us:AAPL", key=True, regex=r"^[a-z0-9.]+:.+$")
    ex_on = day("first session that trades without it; of a symbol change the first under the new one, "
                "of a delisting the first day without trading", key=True)  # fmt: skip
    kind = choice(ACTIONS, "what happened; a merger, a redemption and a worthless removal are delistings", key=True)
    provider = text("the vendor's name", key=True)
    ratio = money("new shares per old", "new_shares / old_shares, rounded to 18 digits", null="as new_shares")
    new_shares = money("shares", "exact: so many for `old_shares`; of a merger or spin-off shares of new_instrument",
                       null="no shares are given")  # fmt: skip
    old_shares = money("shares", "exact; of a split or a merger they are gone, of a spin-off they stay",
                       null="as new_shares")  # fmt: skip
    amount = money("currency per share", "of a dividend, before taxes, per share as held before this ex-date; of a "
                   "delisting the cash for a share", null="no cash, or not said")  # fmt: skip
    currency = text("of the amount, ISO 4217", null="no cash, or not said", regex=r"^[A-Z0-9]{3,12}$")
    new_instrument = text("of a symbol change or a merger the key from then on, of a spin-off that of the new shares",
                          null="none, or several", regex=r"^[a-z0-9.]+:.+$")  # fmt: skip
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
