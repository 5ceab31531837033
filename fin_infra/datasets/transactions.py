from __future__ import annotations

from fin_infra.datasets.base import Dataset, choice, day, instant, money, text


class Transactions(Dataset):
    """Movements of bank and card accounts: one row per transaction, signed from the holder's point of view.

    `amount > 0`: money comes in; `< 0`: it goes out. A card purchase is negative, a refund positive.
    """

    tenant_id = text("whose account it is", key=True)
    account_id = text("the account", key=True)
    transaction_id = text("the vendor's id at first sight", key=True)
    status = choice(
        ("pending", "posted", "review", "expired"),
        "review: a posted row with an ambiguous pending match; expired: a pending row that vanished unmatched",
    )
    amount = money("currency", "signed from the holder's point of view, in the account's currency")
    currency = text("the account's currency, ISO 4217", null="the vendor did not say", regex=r"^[A-Z0-9]{3,12}$")
    original_amount = money("original_currency", "what the merchant charged, same sign", null="not said")
    original_currency = text("currency of `original_amount`", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    booked_on = day("booking date; of a pending row the vendor's date for it", null="not said")
    authorized_on = day("when the holder acted", null="not said")
    occurred_at = instant("when it happened, only if the vendor gives a real time", null="not said")
    description = text("as the vendor says", null="not said", pii=True)
    merchant = text("the counterparty's name, as the vendor says", null="not said", pii=True)
    category = text("the vendor's word", null="not said")
    type = text("the vendor's word", null="not said")
    pending_transaction_id = text("id of the pending row this one supersedes", null="none known")
    running_balance = money("currency", "balance after it, signed like `balances.current`", null="not said")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
