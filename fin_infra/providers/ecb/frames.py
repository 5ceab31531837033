"""The ECB's rates → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fin_infra.datasets.base import Built
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.ecb import wire

BASE = "EUR"


def rates(pages: Sequence[tuple[wire.ReferenceRates, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """Units of each currency for one euro, in the order of the answer, all `provisional`: the engine settles them.

    A file has more days and currencies than were asked for: those are left out. The day is the fixing's, as the file
    states it. Source: https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates
    """
    spans = {want.ticker: (want.first.isoformat(), want.last.isoformat()) for want in ask.wants}
    cubes = [cube for page, _ in pages for cube in page.cubes if not spans or _asked(cube, spans)]
    columns = {
        "quote": [cube.currency for cube in cubes],
        "rate_on": [cube.time for cube in cubes],
        "rate": [cube.rate for cube in cubes],
    }
    return FxRates.build(columns, ask.columns(pages[-1][1] if pages else ask.at, base=BASE, state="provisional"))


def _asked(cube: wire.Cube, spans: dict[str, tuple[str, str]]) -> bool:
    first, last = spans.get(cube.currency, ("~", ""))
    return first <= cube.time <= last
