"""Prices are asked in the order of how many they serve, so that a spent quota leaves out the least."""

from __future__ import annotations

from tests.broker import SCHEDULES, BrokerWorld
from tests.guards import guarded


@guarded("prices are asked by name", "engine/changes.py", "return -holders.get(name, 0), name not in watched",
         "return 0, False")  # fmt: skip
async def test_what_most_accounts_hold_is_asked_first_then_what_is_watched(market: BrokerWorld) -> None:
    market.schedule(SCHEDULES, watchlist="us:SPY")
    symbols = ("AAPL", "IBM", "MSFT", "SPY", "ZION")
    market.has_bars(*symbols)
    one = await market.link("ZION", "MSFT", "AAPL", key_id="PK1")
    await market.link("ZION", "MSFT", key_id="PK2")
    await market.link("ZION", "IBM", key_id="PK3")
    async with market.runtime() as runtime:
        for connection in runtime.connections.all():
            await runtime.engine.sync("holdings", connection.connection_id)
        await runtime.engine.sync("prices", one.connection_id)
    assert market.asked()[-1]["symbols"] == "ZION,MSFT,AAPL,IBM,SPY"
