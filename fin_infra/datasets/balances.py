from __future__ import annotations

from fin_infra.datasets.base import Dataset, instant, money, text


class Balances(Dataset):
    """One row per account and currency: what it holds now. Past values by `as_of` or `history`."""

    tenant_id = text("whose account it is", key=True)
    account_id = text("the account", key=True)
    currency = text("ISO 4217, or the code of a crypto asset", key=True, regex=r"^[A-Z0-9]{3,12}$")
    current = money("currency", "total value; negative when money is owed", null="not said")
    cash = money("currency", "cash part of an investment account", null="not said, or no investment account")
    available = money("currency", "what can be spent; negative in overdraft", null="not said")
    credit_limit = money("currency", "what may be owed at most, positive", null="not said, or no credit")
    as_of = instant("the vendor's own time if given, else `fetched_at`; not part of the diff")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
