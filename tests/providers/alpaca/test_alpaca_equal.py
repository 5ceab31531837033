"""What the vendor's own client decodes and what our frames hold after a sync are the same values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alpaca.trading.models import TradeActivity

from fin_infra.providers.alpaca.simulator import SimPosition
from tests.providers.alpaca.market import KEY_ID, SECRET, Market, market_of
from tests.providers.alpaca.test_alpaca_sdk import Decoded, decoded

NEW_YORK = ZoneInfo("America/New_York")
KEYS = {"AAPL": "us:AAPL", "BRK.B": "us:BRK.B", "KO": "us:KO", "MSFT": "us:MSFT", "SPY": "us:SPY", "VTI": "us:VTI"}
HELD = {
    **KEYS, "OLDCO": "us:OLDCO", "BTCUSD": "crypto:bitcoin", "SPY270115P00500000": "opt:SPY:2027-01-15:P:500",
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["whole pages", "short pages"])
def market(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Market]:
    """The account with a margin loan, a short position without a price, a coin and an option."""
    with market_of(tmp_path, short_pages=request.param) as found:
        account = found.broker.account(KEY_ID)
        account.cash = "-23140.2"
        account.positions += [
            SimPosition("OLDCO", "-12.000000001", "1.0625", side="short", exchange="OTC"),
            SimPosition("BTCUSD", "0.000000001", "64767.7", asset_class="crypto", current_price="91000.123456789"),
            SimPosition("SPY270115P00500000", "-2", "4.25", side="short", asset_class="us_option", current_price="3.5"),
        ]
        yield found


def seen_by_the_sdk(market: Market) -> Decoded:
    urls = market.urls["alpaca"], market.urls["alpaca.data"]
    start, end = datetime(2025, 11, 20, tzinfo=UTC), datetime(2026, 11, 24, 5, tzinfo=UTC)
    return decoded(*urls, symbols=list(KEYS), start=start, end=end, keys=(KEY_ID, SECRET))


def exact(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


async def test_the_account_is_the_one_the_sdk_sees(market: Market) -> None:
    await market.link()
    await market.sync("accounts")
    seen = seen_by_the_sdk(market).account
    [account], [balance] = market.rows("accounts"), market.rows("balances")
    assert (account["account_id"], account["currency"], account["status"]) == (str(seen.id), seen.currency, "open")
    assert (balance["cash"], balance["current"]) == (exact(seen.cash), exact(seen.equity))
    assert account["mask"] == str(seen.account_number)[-4:]


async def test_positions_are_the_ones_the_sdk_sees(market: Market) -> None:
    await market.link()
    await market.sync("holdings")
    seen = seen_by_the_sdk(market).positions
    rows = {row["instrument"]: row for row in market.rows("holdings")}
    assert set(rows) == {HELD[position.symbol] for position in seen}
    assert len(rows) == 8
    for position in seen:
        row = rows[HELD[position.symbol]]
        assert row["quantity"] == exact(position.qty)
        assert row["cost_basis"] == exact(position.cost_basis)
        assert row["market_value"] == exact(position.market_value)
        assert row["price"] == exact(position.current_price)
        assert row["market_value"] is None or row["market_value"] == row["quantity"] * row["multiplier"] * row["price"]
        assert (row["quantity"] < 0) == (position.side.value == "short")


async def test_activities_are_the_ones_the_sdk_sees(market: Market) -> None:
    await market.link()
    await market.sync("activities")
    seen = {made.id: made for made in seen_by_the_sdk(market).activities}
    rows = {row["activity_id"]: row for row in market.rows("activities")}
    assert set(rows) == set(seen)
    for activity_id, made in seen.items():
        row = rows[activity_id]
        if isinstance(made, TradeActivity):
            assert (row["kind"], float(abs(row["quantity"])), float(row["price"])) == (
                made.side.value, made.qty, made.price,
            )  # fmt: skip
            assert row["traded_on"] == made.transaction_time.astimezone(NEW_YORK).date()
        else:
            assert (float(row["amount"]), row["traded_on"]) == (made.net_amount, made.date)


async def test_bars_are_the_ones_the_sdk_sees(market: Market) -> None:
    await market.link()
    await market.sync("holdings")
    market.watch("us:SPY")
    report = await market.sync("prices")
    assert report.outcome == "ok"
    seen = seen_by_the_sdk(market).bars
    assert set(seen) == set(KEYS)
    for symbol, bars in seen.items():
        rows = market.rows("prices", instruments=[KEYS[symbol]])
        assert [row["session"] for row in rows] == [bar.timestamp.astimezone(NEW_YORK).date() for bar in bars]
        ours = [tuple(float(row[name]) for name in ("open", "high", "low", "close", "volume")) for row in rows]
        assert ours == [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
