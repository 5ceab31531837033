"""Bars of minutes: asked for in as few calls as the plan and the paging permit, kept within the session's hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.broker import BrokerWorld, broker_of
from tests.guards import guarded

OPEN = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
NOW = OPEN + timedelta(hours=1, minutes=2)
COINS = "/v1beta3/crypto/us/bars"


@pytest.fixture
async def market(tmp_path: Path) -> Any:
    with broker_of(tmp_path) as found:
        found.clock.set(NOW)
        await found.link("AAPL", "SPY")
        yield found


def held(market: BrokerWorld, instrument: str = "us:AAPL", interval: str = "1m") -> dict[str, tuple[str, str]]:
    rows = market.rows("intraday_prices", instruments=[instrument])
    return {
        f"{row['start_at']:%H:%M}": (f"{row['close'].normalize():f}", row["state"])
        for row in rows
        if row["interval"] == interval
    }


@guarded(
    "what trades around a session", "providers/alpaca/frames.py",
    "for page, _ in pages for row in page.rows if _of_hours(*row)]", "for page, _ in pages for row in page.rows]",
)  # fmt: skip
@guarded(
    "what a free plan may not ask for", "providers/alpaca/client.py",
    "return min(close - timedelta(seconds=1), now - DELAY)", "return min(close - timedelta(seconds=1), now)",
)  # fmt: skip
async def test_minutes_of_the_session_are_kept_and_nothing_newer_is_asked_for(market: BrokerWorld) -> None:
    market.broker.set_minutes("AAPL", OPEN - timedelta(minutes=3), *(str(100 + n) for n in range(65)))
    report = await market.sync("intraday_prices")
    assert report.outcome == "ok"
    bars = held(market)
    assert (min(bars), max(bars), len(bars)) == ("14:30", "15:16", 47)
    assert bars["14:30"] == ("103", "final")
    assert held(market, interval="15m")["14:30"] == ("117", "final")
    assert held(market, interval="5m")["15:15"] == ("149", "provisional")  # not yet over, for who waits for it
    assert market.quarantined() == []
    calls = market.asked()
    assert {call["timeframe"] for call in calls} == {"1Min", "5Min", "15Min", "30Min"}
    assert len(calls) == 4
    assert {call["symbols"] for call in calls} == {"AAPL,SPY"}
    assert {call["end"] for call in calls} == {"2026-11-24T15:17:00Z"}


async def test_the_next_read_begins_where_all_bars_are_final_and_closes_the_gap(market: BrokerWorld) -> None:
    market.broker.set_minutes("AAPL", OPEN, *(str(100 + n) for n in range(390)))
    await market.sync("intraday_prices")
    before = len(market.asked())
    await market.sync("intraday_prices", timedelta(minutes=30))
    assert len(held(market)) == 77
    begins = {call["timeframe"]: call["start"] for call in market.asked()[before:]}
    assert begins["1Min"] >= "2026-11-24T15:00:00Z"
    await market.sync("intraday_prices", timedelta(hours=8))
    bars = held(market)
    assert (len(bars), max(bars), {state for _, state in bars.values()}) == (390, "20:59", {"final"})


async def test_pages_are_followed_to_their_end(market: BrokerWorld) -> None:
    market.broker.short_pages = True
    market.broker.set_minutes("AAPL", OPEN - timedelta(days=1), *(str(100 + n % 7) for n in range(390)))
    market.broker.set_minutes("SPY", OPEN - timedelta(days=1), *(str(500 + n % 7) for n in range(390)))
    from fin_infra.providers.alpaca import client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "BARS_PAGE", 300)
        assert (await market.sync("intraday_prices")).outcome == "ok"
    assert (len(held(market)), len(held(market, "us:SPY"))) == (390, 390)
    assert any("page_token" in call for call in market.asked())


async def test_coins_trade_at_night_too(market: BrokerWorld) -> None:
    market.clock.set(datetime(2026, 11, 24, 3, 0, tzinfo=UTC))
    market.broker.set_minutes("BTC/USD", datetime(2026, 11, 24, 2, 0, tzinfo=UTC), "60000.5", "", "60001.25")
    async with market.runtime() as runtime:
        [connection] = runtime.connections.all()
        report = await runtime.engine.sync("intraday_prices", connection.connection_id, instruments=["crypto:bitcoin"])
    assert report.outcome == "ok"
    assert held(market, "crypto:bitcoin") == {"02:00": ("60000.5", "final"), "02:02": ("60001.25", "final")}
    assert {call["symbols"] for call in market.asked(COINS)} == {"BTC/USD"}
    [row] = [r for r in market.rows("intraday_prices", instruments=["crypto:bitcoin"]) if r["interval"] == "5m"]
    assert (row["open"], row["close"], row["volume"]) == (Decimal("60000.5"), Decimal("60001.25"), Decimal(20))
