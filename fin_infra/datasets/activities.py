from __future__ import annotations

from fin_infra.datasets.base import Dataset, choice, day, instant, money, text

KINDS = (
    "buy", "sell", "dividend", "interest", "fee", "tax", "deposit", "withdrawal", "transfer_in", "transfer_out",
    "split", "other",
)  # fmt: skip


class Activities(Dataset):
    """Investment transactions: what changed a position or the cash of an investment account.

    `amount > 0`: cash comes in; `< 0`: it goes out. `quantity > 0`: the position grows.
    """

    tenant_id = text("whose account it is", key=True)
    account_id = text("the account", key=True)
    activity_id = text("the vendor's id at first sight", key=True)
    kind = choice(KINDS, "what happened")
    instrument = text("InstrumentKey, like us:AAPL", null="about no instrument", regex=r"^[a-z0-9.]+:.+$")
    quantity = money("shares, coins or contracts", "change of the position, signed", null="none, or not said")
    price = money("currency", "of one unit", null="no trade, or not said")
    fees = money("currency", "part of `amount` that is fees, positive", null="not said")
    amount = money("currency", "cash effect, signed", null="none, or not said")
    currency = text("of price, fees and amount, ISO 4217", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    traded_on = day("exchange-local day of the trade, or the vendor's date for it", null="not said")
    settled_on = day("when cash and position moved", null="not said")
    recorded_at = instant("when the vendor had the row: what windows are cut by", null="not said")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
