"""Frankfurter's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fin_infra.datasets.base import Built
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.frankfurter import wire


def rates(pages: Sequence[tuple[wire.Rates, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Units of each currency for one of the stated base, in the order of the answer, all `provisional`.

    The day is the one that stands in the answer. A period may begin earlier than it was asked for: that much is left
    out, and so are currencies nobody asked for. Source: https://frankfurter.dev
    """
    first = {want.instrument: want.first.isoformat() for want in ask.wants}
    rows = [
        (page.base, day, code, rate)
        for page, _ in pages
        for day, code, rate in page.rows
        if code != page.base and (not first or day >= first.get(f"fx:{page.base}{code}", "~"))
    ]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("base", "rate_on", "quote", "rate"))}
    return FxRates.build(columns, ask.columns(pages[-1][1] if pages else ask.at, state="provisional"))
