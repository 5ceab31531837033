"""The shipped schedules on a free key of 25 calls a day: a week of days, and what the vendor was asked on each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.providers.alphavantage.market import AlphaWorld, alpha_of

FIVE = ("IBM", "AAPL", "MSFT", "TSLA", "NVDA")
A_DAY = 25


@pytest.fixture
def market(tmp_path: Path) -> Iterator[AlphaWorld]:
    with alpha_of(tmp_path, datetime(2026, 10, 5, 7, 13, tzinfo=UTC), limited=True) as found:
        found.schedule(None)
        for symbol in FIVE:
            found.trades(symbol, "2026-05-01", "2026-12-31")
        yield found


async def test_five_instruments_on_the_shipped_schedules_leave_most_of_a_free_key(market: AlphaWorld) -> None:
    """The first day tells all there is of them; after it a session costs one call for each, a weekend none."""
    await market.link(*(f"us:{symbol}" for symbol in FIVE))
    days = []
    for _ in range(8):
        for _ in range(8):
            await market.work(timedelta(hours=3))
        days.append(market.asked())
    first, *later = [len(asked) for asked in days]
    assert first <= A_DAY
    assert {one.partition(" ")[0] for one in days[0]} == {"TIME_SERIES_DAILY", "SPLITS", "DIVIDENDS", "SYMBOL_SEARCH"}
    assert max(later) <= len(FIVE)
    assert 0 in later
    assert not [one for asked in days for one in asked if one.startswith(("GLOBAL_QUOTE", "FX_DAILY"))]
    assert {one.partition(" ")[0] for asked in days[1:] for one in asked} == {"TIME_SERIES_DAILY"}
    assert {len(market.held(f"us:{symbol}")) for symbol in FIVE} != {0}
    assert market.findings() == {}
