"""T-43 of exchanges' candles: no first page taken for all, no gap between pages, no loop on the same page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fin_infra.providers.ccxt.simulator import SimCandle
from tests.guards import guarded
from tests.providers.ccxt.exchange import BITCOIN, NOON, Exchange, exchange_of

ALL = ("kraken", "coinbase", "binance")
PAGED = ("coinbase", "binance")


@pytest.fixture
def exchange(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Exchange]:
    with exchange_of(tmp_path, request.param) as found:
        yield found


def first_of(exchange: Exchange, interval: str) -> datetime:
    return min(exchange.held(interval))


def whole(exchange: Exchange, interval: str, by: datetime) -> bool:
    """What is held of the candles that were closed by then is all the exchange has, each of them final."""
    return exchange.held(interval, by) == exchange.served(interval, first_of(exchange, interval), by)


@pytest.mark.parametrize("exchange", ALL, indirect=True)
@guarded("the first page is taken for all of it", "providers/ccxt/client.py",
         "    return begin if begin <= span.end else None", "    return None")  # fmt: skip
@guarded("only the first window is asked for", "providers/ccxt/client.py",
         "high + span.step if high + span.step <= span.end else None", "None")  # fmt: skip
async def test_t43_ccxt_candles_come_in_whole_from_the_exchange_to_the_reader(exchange: Exchange) -> None:
    """Simulator → worker → store → read, at any hour; candles nobody traded in are missing there as here."""
    await exchange.link()
    assert {report.outcome for report in await exchange.work()} == {"ok"}
    for after in (timedelta(minutes=15), timedelta(hours=3), timedelta(hours=30)):
        exchange.clock.advance(after)
        begun = exchange.clock()
        assert (await exchange.sync()).outcome == "ok"
        for interval in ("5m", "15m", "1h"):
            assert whole(exchange, interval, begun)
    assert exchange.findings() <= {"missing_sessions"}
    assert all(row["provider"] == exchange.vendor for row in exchange.rows("intraday_prices"))
    assert len(exchange.held("5m")) > 600
    days = exchange.rows("prices")
    assert len(days) >= 355
    assert {row["currency"] for row in days} == {"USDT" if exchange.vendor == "ccxt.binance" else "USD"}


@pytest.mark.parametrize("exchange", PAGED, indirect=True)
async def test_t43_ccxt_an_exchange_that_serves_less_than_it_says_is_read_whole_all_the_same(
    exchange: Exchange,
) -> None:
    exchange.exchange.most = 77
    await exchange.link()
    await exchange.sync()
    assert whole(exchange, "5m", NOON)
    assert first_of(exchange, "5m") <= NOON - timedelta(days=4, hours=23)


@pytest.mark.parametrize("exchange", PAGED, indirect=True)
@guarded("the same page for ever is not noticed", "providers/ccxt/client.py",
         "if found.stamps and found.stamps[-1] < begin:", "if False:")  # fmt: skip
async def test_t43_ccxt_the_same_page_again_ends_as_a_broken_contract_and_no_loop(exchange: Exchange) -> None:
    exchange.exchange.deaf = True
    await exchange.link()
    report = await exchange.sync()
    assert len(exchange.exchange.requests) < 12
    assert (report.outcome, report.error_code) == ("quarantine", "contract_broken")
    assert exchange.held("1m") == {}


@pytest.mark.parametrize("exchange", ["kraken"], indirect=True)
@guarded("what Kraken no longer has goes unsaid", "providers/ccxt/client.py",
         "None, found.stamps[0] if cut else None)", "None, None)")  # fmt: skip
async def test_t43_ccxt_what_is_out_of_krakens_reach_is_said(exchange: Exchange) -> None:
    exchange.exchange.holes = 0.0
    await exchange.link()
    await exchange.sync()
    assert "missing_sessions" not in exchange.findings()
    later = exchange.clock() + timedelta(hours=20)
    await exchange.sync(after=timedelta(hours=20))  # 1200 minutes: 720 are left
    told = [row for row in exchange.rows("findings") if row["kind"] == "missing_sessions"]
    assert [row["subject"] for row in told] == ["crypto:bitcoin 1m"]
    assert whole(exchange, "5m", later)


@pytest.mark.parametrize("exchange", ALL, indirect=True)
async def test_a_final_candle_that_changes_is_taken_over_and_said(exchange: Exchange) -> None:
    await exchange.link()
    await exchange.sync()
    start = datetime(2026, 11, 24, 10, tzinfo=UTC)
    exchange.exchange.set_candle(exchange.pair, "1h", start, SimCandle("1", "2", "0.5", "1.5", "0.000000012"))
    await exchange.sync(after=timedelta(hours=1))
    assert exchange.held("1h")[start] == ("final", "1", "2", "0.5", "1.5", "0.000000012")
    assert "restated" in exchange.findings()


@pytest.mark.parametrize("exchange", ALL, indirect=True)
async def test_a_pair_that_is_not_known_stops_no_other(exchange: Exchange) -> None:
    exchange.settings = exchange.settings.model_copy(update={"watchlist": f"crypto:monero,{BITCOIN}"})
    await exchange.link()
    report = await exchange.sync()
    assert (dict(report.accounts), exchange.held("1h") != {}) == ({"crypto:monero": "unknown_symbol"}, True)
    asked = len(exchange.exchange.requests)
    await exchange.sync(after=timedelta(minutes=15))
    assert not [r for r in exchange.exchange.requests[asked:] if "XMR" in r]


@pytest.mark.parametrize("exchange", ["binance"], indirect=True)
@guarded("a candle that was bad once stays a finding", "engine/books.py",
         'day = day.partition(" ")[2][:10]', "pass")  # fmt: skip
async def test_a_candle_that_cannot_be_is_set_aside_until_it_comes_well(exchange: Exchange) -> None:
    await exchange.link()
    await exchange.sync()
    start = datetime(2026, 11, 24, 12, tzinfo=UTC)
    exchange.exchange.set_candle(exchange.pair, "1h", start, SimCandle("5", "1", "2", "5", "1"))
    report = await exchange.sync(after=timedelta(hours=1))
    assert (report.outcome, exchange.findings()) == ("partial", {"row_invalid"})
    assert exchange.held("1h")[start][0] == "provisional"
    del exchange.exchange.scripted[exchange.pair, 3600, int(start.timestamp())]
    await exchange.sync(after=timedelta(minutes=15))
    assert exchange.findings() == set()
    assert exchange.held("1h")[start][0] == "final"
