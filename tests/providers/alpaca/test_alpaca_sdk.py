"""The vendor's own client reads the simulator over real HTTP: what it decodes is what was scripted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.models import Bar, BarSet
from alpaca.data.requests import CorporateActionsRequest, StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.models import NonTradeActivity, Position, TradeAccount, TradeActivity
from alpaca.trading.requests import GetCalendarRequest

from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimActivity, SimBrokerage, SimPosition, sandbox
from fin_infra.testing import serve

NOW = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)  # half an hour after the close
KEYS = ("PKSIM", "sim-secret")
SYMBOLS = ["AAPL", "BRK.B", "KO", "MSFT", "SPY", "VTI"]


@dataclass(frozen=True)
class Decoded:
    """What alpaca-py makes of an account: its own models, activities newest first, bars by symbol and oldest first."""

    account: TradeAccount
    positions: list[Position]
    activities: list[TradeActivity | NonTradeActivity]
    bars: dict[str, list[Bar]]


def decoded(
    trading_url: str, data_url: str, *, symbols: list[str], start: datetime, end: datetime | None = None,
    keys: tuple[str, str] = KEYS,
) -> Decoded:  # fmt: skip
    """An account read with the vendor's own client from these addresses, every page of it."""
    trading = TradingClient(*keys, url_override=trading_url)
    account = trading.get_account()
    positions = trading.get_all_positions()
    assert isinstance(account, TradeAccount)
    rows: list[dict[str, Any]] = []
    while True:
        more = {"page_token": rows[-1]["id"]} if rows else {}
        page: Any = trading.get("/account/activities", {"page_size": 5, **more})
        rows += page
        if len(page) < 5:
            break
    made: list[TradeActivity | NonTradeActivity] = [
        TradeActivity(account_id=account.id, **row)
        if row["activity_type"] == "FILL"
        else NonTradeActivity(account_id=account.id, **row)
        for row in rows
    ]
    request = StockBarsRequest(symbol_or_symbols=symbols, timeframe=TimeFrame.Day, start=start, end=end)
    bars = StockHistoricalDataClient(*keys, url_override=data_url).get_stock_bars(request)
    assert isinstance(bars, BarSet)
    return Decoded(account, [p for p in positions if isinstance(p, Position)], made, bars.data)


@pytest.fixture
def vendor() -> AlpacaSimulator:
    simulator = AlpacaSimulator(now=lambda: NOW)
    sandbox(simulator, today=NOW.date())
    return simulator


@pytest.fixture
def urls(vendor: AlpacaSimulator) -> Iterator[tuple[str, str]]:
    with serve(vendor.trading) as trading, serve(vendor.data) as data:
        yield trading.url, data.url


def test_account_and_positions_are_the_scripted_ones(vendor: AlpacaSimulator, urls: tuple[str, str]) -> None:
    account = vendor.account("PKSIM")
    account.positions.append(SimPosition("OLDCO", "-12.000000001", "1.0625", side="short", exchange="OTC"))
    account.cash = "-23140.2"
    seen = decoded(*urls, symbols=["SPY"], start=datetime(2026, 11, 20, tzinfo=UTC))
    assert (seen.account.cash, seen.account.currency, str(seen.account.id)) == ("-23140.2", "USD", account.account_id)
    assert [(p.symbol, p.qty, p.avg_entry_price, p.side.value) for p in seen.positions] == [
        (p.symbol, p.qty, p.avg_entry_price, p.side) for p in account.positions
    ]
    assert (seen.positions[-1].current_price, seen.positions[-1].market_value) == (None, None)
    closes = [vendor.newest_closes(p.symbol)[0] for p in account.positions[:-1]]
    assert [p.current_price for p in seen.positions[:-1]] == closes


def test_activities_are_the_scripted_ones_over_all_pages(vendor: AlpacaSimulator, urls: tuple[str, str]) -> None:
    seen = decoded(*urls, symbols=["SPY"], start=datetime(2026, 11, 20, tzinfo=UTC)).activities
    rows = vendor.account("PKSIM").activities[::-1]
    assert [row.id for row in seen] == [row.id for row in rows]
    assert len(rows) == 21
    for made, row in zip(seen, rows, strict=True):
        if isinstance(made, TradeActivity):
            assert (made.symbol, made.qty, made.price) == (row.symbol, float(row.qty or ""), float(row.price or ""))
            assert made.transaction_time == row.at
        else:
            assert (made.date, made.net_amount) == (row.on, float(row.net_amount or ""))


@pytest.mark.parametrize("short_pages", [False, True])
def test_daily_bars_are_the_scripted_ones_over_all_pages(
    vendor: AlpacaSimulator, urls: tuple[str, str], short_pages: bool
) -> None:
    vendor.short_pages = short_pages
    for n in range(5000):  # more than one page holds
        vendor.set_bar("LONG", date.fromordinal(date(2005, 1, 3).toordinal() + n), "1.5", "2", "1.25", "1.75", str(n))
    symbols = [*SYMBOLS, "LONG"]
    seen = decoded(*urls, symbols=symbols, start=datetime(2000, 1, 1, tzinfo=UTC)).bars
    assert set(seen) == set(symbols)
    asked = [request for request in vendor.requests if request.startswith("/v2/stocks/bars")]
    assert len(asked) == (2 if short_pages else 1)
    for symbol in symbols:
        scripted = vendor.bars(symbol)
        assert [_session(bar.timestamp) for bar in seen[symbol]] == list(scripted)
        assert [(b.open, b.high, b.low, b.close, b.volume) for b in seen[symbol]] == [
            tuple(map(float, (b.open, b.high, b.low, b.close, b.volume))) for b in scripted.values()
        ]


def _session(stamp: datetime) -> date:
    assert (stamp.hour, stamp.minute) in ((4, 0), (5, 0)), "midnight in New York, in UTC"
    return stamp.date()


def test_corporate_actions_are_the_scripted_ones_over_all_pages(vendor: AlpacaSimulator, urls: tuple[str, str]) -> None:
    days = [date(2026, 10, 1), date(2026, 10, 2)]
    for n in range(1100):  # more than one page holds
        vendor.dividend("PAYS", date(2020, 1, 1) + timedelta(days=n), f"0.{n + 1:04}")
    vendor.split("AAPL", days[0], "3", "2")
    vendor.split("KO", days[1], "1", "8")
    vendor.rename("OLDCO", "NEWCO", days[0])
    vendor.delist("GONE", days[1], into="KO", rate="0.5", cash="7.8")
    symbols = ["PAYS", "AAPL", "KO", "OLDCO", "GONE"]
    request = CorporateActionsRequest(symbols=symbols, start=date(2020, 1, 1), end=date(2026, 12, 31), limit=None)
    found: Any = CorporateActionsClient(*KEYS, url_override=urls[1]).get_corporate_actions(request)
    asked = [request for request in vendor.requests if request.startswith("/v1/corporate-actions")]
    assert len(asked) == 2
    paid = [row for row in found.data["cash_dividends"] if row.symbol == "PAYS"]
    assert [(row.ex_date, row.rate) for row in paid] == [
        (date(2020, 1, 1) + timedelta(days=n), float(f"0.{n + 1:04}")) for n in range(1100)
    ]
    [forward], [reverse] = found.data["forward_splits"], found.data["reverse_splits"]
    assert (forward.symbol, forward.new_rate, forward.old_rate, forward.ex_date) == ("AAPL", 3, 2, days[0])
    assert (reverse.symbol, reverse.new_rate, reverse.old_rate, reverse.ex_date) == ("KO", 1, 8, days[1])
    [renamed], [merged] = found.data["name_changes"], found.data["stock_and_cash_mergers"]
    assert (renamed.old_symbol, renamed.new_symbol, renamed.process_date) == ("OLDCO", "NEWCO", days[0])
    assert (merged.acquirer_symbol, merged.acquirer_rate, merged.cash_rate) == ("KO", 0.5, 7.8)


def test_calendar_clock_and_assets_are_read(vendor: AlpacaSimulator, urls: tuple[str, str]) -> None:
    trading = TradingClient(*KEYS, url_override=urls[0])
    days: Any = trading.get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 30)))
    assert [(day.date, day.close.hour) for day in days] == [
        (date(2026, 11, 25), 16),
        (date(2026, 11, 27), 13),
        (date(2026, 11, 30), 16),
    ]
    clock: Any = trading.get_clock()
    assert (clock.is_open, clock.next_open) == (False, datetime(2026, 11, 25, 14, 30, tzinfo=UTC))
    asset: Any = trading.get_asset("BRK.B")
    assert (asset.symbol, asset.exchange.value) == ("BRK.B", "NYSE")
    assert [asset.symbol for asset in trading.get_all_assets()] == SYMBOLS  # type: ignore[union-attr]


def test_refusals_arrive_as_the_clients_errors(vendor: AlpacaSimulator, urls: tuple[str, str]) -> None:
    trading = TradingClient(*KEYS, url_override=urls[0])
    with pytest.raises(APIError) as refused:
        trading.get_open_position("NONE")
    assert (refused.value.status_code, refused.value.code) == (404, 40410000)
    with pytest.raises(APIError) as refused:
        TradingClient("AKLIVE", "wrong", url_override=urls[0]).get_account()
    assert (refused.value.status_code, refused.value.code) == (401, 40110000)
    bars = StockHistoricalDataClient(*KEYS, url_override=urls[1])
    recent = StockBarsRequest(symbol_or_symbols="SPY", timeframe=TimeFrame.Day, end=NOW, feed=DataFeed.SIP)
    with pytest.raises(APIError) as refused:
        bars.get_stock_bars(recent)
    assert refused.value.status_code == 403
    assert "recent SIP data" in str(refused.value)


def test_an_empty_account_is_read(vendor: AlpacaSimulator, urls: tuple[str, str]) -> None:
    vendor.open_account("PKNEW", "new", SimBrokerage("1d9eed04-be39-4e01-9b84-a48ac5bbafcf"))
    start = datetime(2026, 11, 20, tzinfo=UTC)
    seen = decoded(*urls, symbols=["NONE"], start=start, keys=("PKNEW", "new"))
    assert (seen.account.equity, seen.positions, seen.activities, seen.bars) == ("100000", [], [], {})
    vendor.account("PKNEW").book(SimActivity("CSD", on=date(2026, 11, 20), net_amount="33324.35"))
    seen = decoded(*urls, symbols=["NONE"], start=start, keys=("PKNEW", "new"))
    assert (seen.account.cash, len(seen.activities)) == ("133324.35", 1)
