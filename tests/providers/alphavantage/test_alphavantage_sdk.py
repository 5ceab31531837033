"""`alpha_vantage` reads the simulator over loopback: what it decodes is what our frames hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alpha_vantage.alphavantage import AlphaVantage
from alpha_vantage.foreignexchange import ForeignExchange
from alpha_vantage.timeseries import TimeSeries

from fin_infra.providers.alphavantage.simulator import sandbox
from fin_infra.providers.simulating import Fault
from tests.providers.alphavantage.market import KEY, AvWorld, av_of


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AvWorld]:
    with av_of(tmp_path) as world:
        monkeypatch.setattr(AlphaVantage, "_ALPHA_VANTAGE_API_URL", f"{world.url}/query?")
        sandbox(world.sim, KEY, today=world.clock().date())
        yield world


FIGURES = {"open": "1. open", "high": "2. high", "low": "3. low", "close": "4. close", "volume": "5. volume"}


async def test_the_bars_it_decodes_are_those_of_our_rows(market: AvWorld) -> None:
    await market.link("us:IBM")
    await market.sync()
    decoded: Any
    decoded, meta = TimeSeries(key=KEY).get_daily("IBM", outputsize="compact")
    assert meta["2. Symbol"] == "IBM"
    rows = {str(row["session"]): row for row in market.rows("prices")}
    assert len(rows) == 100
    assert rows.keys() == decoded.keys()
    for day, cells in decoded.items():
        assert {name: rows[day][name] for name in FIGURES} == {
            n: Decimal(cells[theirs]) for n, theirs in FIGURES.items()
        }


async def test_the_price_it_decodes_is_that_of_our_quote(market: AvWorld) -> None:
    await market.link("us:IBM")
    await market.sync("quotes")
    decoded: Any
    decoded, _ = TimeSeries(key=KEY).get_quote_endpoint("IBM")
    [row] = market.rows("quotes")
    assert row["price"] == Decimal(decoded["05. price"])
    assert (str(row["session"]), row["previous_close"]) == (
        decoded["07. latest trading day"], Decimal(decoded["08. previous close"]),
    )  # fmt: skip


async def test_the_rates_it_decodes_are_those_of_our_rows(market: AvWorld) -> None:
    days = [date(2026, 11, 2) + n * timedelta(days=1) for n in range(21)]
    market.sim.pairs["EUR", "USD"] = {day: f"1.1{day.day:02}00" for day in days if day.weekday() < 5}
    await market.link()
    market.settings = market.settings.model_copy(update={"currencies": "EUR,USD"})
    await market.sync("fx_rates")
    decoded: Any
    decoded, _ = ForeignExchange(key=KEY).get_currency_exchange_daily("EUR", "USD", outputsize="compact")
    held = {str(row["rate_on"]): row["rate"] for row in market.rows("fx_rates")}
    assert held == {day: Decimal(cells["4. close"]) for day, cells in decoded.items()}


def test_what_it_finds_by_a_word_is_what_was_listed(market: AvWorld) -> None:
    decoded: Any
    decoded, _ = TimeSeries(key=KEY).get_symbol_search("ibm")
    assert decoded[["1. symbol", "8. currency"]].to_numpy().tolist() == [["IBM", "USD"]]


def test_the_rate_of_now_it_decodes_is_what_was_set(market: AvWorld) -> None:
    market.sim.pairs["EUR", "USD"] = {date(2026, 11, 24): "1.13450"}
    decoded: Any
    decoded, _ = ForeignExchange(key=KEY).get_currency_exchange_rate("EUR", "USD")
    assert decoded["5. Exchange Rate"] == "1.13450"
    assert datetime.fromisoformat(decoded["6. Last Refreshed"]).date() == date(2026, 11, 24)


def test_it_takes_the_refusals_for_refusals(market: AvWorld) -> None:
    series = TimeSeries(key=KEY)
    for code in ("daily", "burst", "premium", "call"):
        market.sim.fail_next(Fault("refuse", status=200, code=code))
        with pytest.raises(ValueError, match=r"\w"):
            series.get_daily("IBM")
    with pytest.raises(ValueError, match="Invalid API call"):
        series.get_daily("NOPE")
