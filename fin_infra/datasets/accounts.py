from __future__ import annotations

from fin_infra.datasets.base import Dataset, choice, flag, instant, text


class Accounts(Dataset):
    """One row per account that a connection delivers."""

    tenant_id = text("whose account it is", key=True)
    account_id = text("the vendor's id at first sight, stable ever after", key=True)
    institution = text("the bank's name, as the vendor says", null="not said")
    name = text("the account's name at the bank", null="not said", pii=True)
    mask = text("last 2 to 4 characters of the number, never more", null="not said", pii=True, regex=r"^.{2,4}$")
    kind = choice(("depository", "credit", "loan", "investment", "crypto", "other"), "decides the sign of balances")
    subkind = text("checking, savings, credit_card, …; the vendor's word when unknown", null="not said")
    currency = text("ISO 4217, or the code of a crypto asset", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    status = choice(("open", "closed", "inaccessible"), "closed and inaccessible accounts keep their rows")
    history_complete = flag("the vendor said that all history it has was delivered", null="not said")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
