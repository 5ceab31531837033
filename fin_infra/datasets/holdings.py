from __future__ import annotations

from fin_infra.datasets.base import Dataset, instant, money, text


class Holdings(Dataset):
    """Positions of investment accounts: one row per account and instrument, the whole account switched in one commit.

    Plain cash is in `balances.cash`, never here. `market_value` = `quantity` * `multiplier` * `price`.
    """

    tenant_id = text("whose account it is", key=True)
    account_id = text("the account", key=True)
    instrument = text("InstrumentKey, like us:AAPL", key=True, regex=r"^[a-z0-9.]+:.+$")
    as_of = instant("of the snapshot: the vendor's own time if given, else `fetched_at`; not part of the diff")
    quantity = money("shares, coins or contracts", "what is held; negative when sold short")
    multiplier = money("units per quantity", "1, or 100 for a US option")
    price = money("currency", "of one unit, as the vendor says", null="not said")
    market_value = money("currency", "of the whole position, as the vendor says; negative when short", null="not said")
    cost_basis = money("currency", "total for the position, never per unit; signed like it", null="not known")
    currency = text("of price, value and basis, ISO 4217", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
