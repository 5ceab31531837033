"""ExchangeRate-API's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fin_infra.datasets.base import Built
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.exchangerate_api import wire


def rates(pages: Sequence[tuple[wire.Rates, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Units of each currency for one of the stated base, in the order of the answer, all `provisional`.

    The day is that of the vendor's last update, in UTC. The base itself, at 1, and currencies nobody asked for are left
    out. Source: https://www.exchangerate-api.com/docs/standard-requests
    """
    wanted = {want.instrument for want in ask.wants}
    rows = [
        (page.base, page.rate_on, code, rate)
        for page, _ in pages
        for code, rate in page.rates.items()
        if code != page.base and (not wanted or f"fx:{page.base}{code}" in wanted)
    ]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("base", "rate_on", "quote", "rate"))}
    return FxRates.build(columns, ask.columns(pages[-1][1] if pages else ask.at, state="provisional"))
