from __future__ import annotations

from fin_infra.datasets.base import Dataset, choice, day, instant, text

KINDS = ("equity", "etf", "fund", "bond", "option", "future", "crypto", "cash", "fx", "index", "other")


class Instruments(Dataset):
    """What an InstrumentKey stands for. Belongs to no tenant: the same for everyone."""

    instrument = text("InstrumentKey, like us:AAPL", key=True, regex=r"^[a-z0-9.]+:.+$")
    name = text("as the vendor says", null="not said")
    kind = choice(KINDS, "class; a vendor that does not tell funds from shares says equity for both", null="not said")
    mic = text("ISO 10383 of the primary listing", null="not said, or no exchange", regex=r"^[A-Z0-9]{4}$")
    currency = text("of the listing, ISO 4217", null="not said", regex=r"^[A-Z0-9]{3,12}$")
    quote_unit = choice(("major", "minor"), "whether it is quoted in currency or in its cents, pence, …")
    isin = text("ISO 6166", null="not said", regex=r"^[A-Z]{2}[A-Z0-9]{9}[0-9]$")
    cusip = text("CUSIP", null="not said", regex=r"^[A-Z0-9*@#]{9}$")
    figi = text("FIGI", null="not said", regex=r"^[A-Z0-9]{12}$")
    listed_on = day("first day of trading", null="not said")
    delisted_on = day("last day of trading", null="still listed, or not said")
    provider = text("the vendor's name")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
