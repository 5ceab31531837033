"""The vendor's own client reads the simulator over real HTTP: what it decodes is what our frames hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alpha_vantage.alphavantage import AlphaVantage
from alpha_vantage.foreignexchange import ForeignExchange
from alpha_vantage.timeseries import TimeSeries

from tests.providers.alphavantage.market import KEY, AlphaWorld, alpha_of

FIGURES = ("open", "high", "low", "close", "volume")


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AlphaWorld]:
    with alpha_of(tmp_path) as found:
        monkeypatch.setattr(AlphaVantage, "_ALPHA_VANTAGE_API_URL", f"{found.url}/query?")
        found.trades("IBM", begin="251.4000")
        found.trades("TSCO.LON", mic="XLON", begin="410.2500")
        yield found


async def told(call: Any, **params: Any) -> Any:
    """What the client decodes. It waits for its answer in a thread of its own."""
    data, _meta = await asyncio.to_thread(lambda: call(**params))
    return data


def numbers(cells: dict[str, str]) -> dict[str, Decimal]:
    """`"4. close"` → close."""
    return {name.partition(". ")[2]: Decimal(text) for name, text in cells.items()}


async def test_the_bars_it_decodes_are_those_of_our_rows(market: AlphaWorld) -> None:
    await market.link("us:IBM", "xlon:TSCO")
    assert (await market.sync()).outcome == "ok"
    client = TimeSeries(key=KEY, output_format="json")
    for symbol, key, unit in (("IBM", "us:IBM", 1), ("TSCO.LON", "xlon:TSCO", 100)):
        bars = {day: numbers(cells) for day, cells in (await told(client.get_daily, symbol=symbol)).items()}
        held = {str(row["session"]): row for row in market.rows("prices", instruments=[key])}
        assert set(held) == set(bars)
        assert len(held) > 85
        for day, row in held.items():
            ours = {name: row[name] * (unit if name != "volume" else 1) for name in FIGURES}
            assert ours == bars[day], day


async def test_the_quote_it_decodes_is_ours(market: AlphaWorld) -> None:
    await market.link("us:IBM")
    assert (await market.sync("quotes")).outcome == "ok"
    theirs = numbers(await told(TimeSeries(key=KEY, output_format="json").get_quote_endpoint, symbol="IBM") | {
        "07. latest trading day": "0", "01. symbol": "0", "10. change percent": "0",
    })  # fmt: skip
    [row] = market.rows("quotes")
    assert {name: row[name] for name in ("open", "high", "low", "price", "volume")} == {
        name: theirs[name] for name in ("open", "high", "low", "price", "volume")
    }
    assert row["previous_close"] == theirs["previous close"]


async def test_the_rates_it_decodes_are_those_of_our_rows(market: AlphaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_ALPHAVANTAGE_PLAN", "premium_1200")  # every pair is asked for, more than 25
    days = market.sessions("2026-06-01", "2026-11-24")
    market.alpha.pairs["EUR", "USD"] = {day: f"1.1{n:03}" for n, day in enumerate(days)}
    await market.link("fx:EURUSD")
    await market.sync("fx_rates")  # other pairs it does not know
    client = ForeignExchange(key=KEY, output_format="json")
    rates = await told(client.get_currency_exchange_daily, from_symbol="EUR", to_symbol="USD")
    held = {str(row["rate_on"]): row["rate"] for row in market.rows("fx_rates")}
    assert len(held) > 80
    assert held.items() <= {day: numbers(cells)["close"] for day, cells in rates.items()}.items()


async def test_bars_of_five_minutes_are_those_of_our_rows(market: AlphaWorld) -> None:
    market.minutes("IBM", date(2026, 11, 24))
    await market.link("us:IBM", key="PAID", premium=True)
    assert (await market.sync("intraday_prices")).outcome in ("ok", "partial")
    client = TimeSeries(key="PAID", output_format="json")
    bars = await told(client.get_intraday, symbol="IBM", interval="5min", extended_hours=False)
    held = {row["start_at"]: row["close"] for row in market.rows("intraday_prices")}
    assert len(held) == 78
    assert sorted(held.values()) == sorted(numbers(cells)["close"] for cells in bars.values())


async def test_it_refuses_what_we_refuse(market: AlphaWorld) -> None:
    """Its word for a refusal is a ValueError with the text."""
    market.alpha.keys.add(KEY)
    client = TimeSeries(key=KEY, output_format="json")
    with pytest.raises(ValueError, match="Invalid API call"):
        await told(client.get_daily, symbol="NOPE")
    with pytest.raises(ValueError, match="premium"):
        await told(client.get_daily, symbol="IBM", outputsize="full")
