"""Prices of two vendors in a fallback order: the second is asked for what the first does not bring, and for no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fin_infra.providers import resolve
from fin_infra.providers.alphavantage.simulator import AlphaVantageSimulator
from fin_infra.providers.simulating import Fault
from fin_infra.providers.yahoo.simulator import YahooSimulator
from fin_infra.runtime import Runtime
from fin_infra.testing import VirtualClock, serve
from tests.guards import guarded
from tests.providers.yahoo.market import CLOSED, YahooWorld

DAY = timedelta(days=1)
BOTH = """
calendars:
  us: {mic: XNYS}
schedules:
  prices: {job: sync_prices, calendar: us, at: close, offset: +40m, providers: [alphavantage, yahoo]}
"""


class Fallback(YahooWorld):
    """Two connections of one tenant: a key of Alpha Vantage, and Yahoo. Both vendors trade what `both_trade` says."""

    def __init__(
        self, folder: Path, first: AlphaVantageSimulator, url: str, clock: VirtualClock, yahoo: YahooSimulator,
        charts: str,
    ) -> None:  # fmt: skip
        super().__init__(folder, yahoo, charts, clock)
        self.first = first
        self.first_url = url
        self.primary = ""
        self.schedule(BOTH)

    def runtime(self, **more: Any) -> Runtime:
        urls = {"alphavantage": self.first_url, "yahoo": self.url}
        return Runtime(self.settings, now=self.clock, base_urls=urls, on_report=self.reports.append, **more)

    async def link_both(self, *symbols: str) -> None:
        self.first.keys.add("key")
        await self.link(*(f"us:{symbol}" for symbol in symbols))
        async with self.runtime() as runtime:
            linked = runtime.connections.add(resolve("alphavantage"), {"key": "key"}, tenant="ada", simulated=True)
        self.primary = linked.connection_id

    def both_trade(self, *symbols: str, until: str = "2026-12-31") -> None:
        for symbol in symbols:
            self.trades(symbol, "2026-06-01", until)
            self.at_first(symbol, until)

    def at_first(self, symbol: str, until: str) -> None:
        """Alpha Vantage has the very bars, up to a day."""
        listing = self.first.list_(symbol)
        for day, bar in self.yahoo.listings[symbol].bars.items():
            if day <= date.fromisoformat(until):
                close = str(bar.close)
                listing.bars[day] = (close, close, close, close, "1000")

    async def days(self, count: int = 1) -> set[str]:
        """So many days pass, with a worker at the end of each and once again when a pace was kept. Who was asked for
        at Yahoo meanwhile, by symbol."""
        self.yahoo.requests.clear()
        for _ in range(count):
            await self.work(DAY - timedelta(minutes=30))
            for _ in range(6):
                await self.work(timedelta(minutes=5))
        return self.at_yahoo()

    def at_yahoo(self) -> set[str]:
        return {urlsplit(asked).path.rpartition("/")[2] for asked in self.yahoo.requests}

    def standing_in(self, state: str = "open") -> dict[str, str]:
        rows = [row for row in self.rows("findings") if row["kind"] == "standing_in" and row["state"] == state]
        return {row["subject"]: row["detail"] for row in rows}

    def whose(self, symbol: str) -> set[tuple[str, str]]:
        rows = self.rows("prices", instruments=[f"us:{symbol}"])
        return {(row["provider"], row["basis"]) for row in rows}

    def newest(self, symbol: str) -> str:
        return max(str(row["session"]) for row in self.rows("prices", instruments=[f"us:{symbol}"]))


@contextmanager
def fallback_of(folder: Path) -> Iterator[Fallback]:
    clock = VirtualClock(CLOSED)
    first, yahoo = AlphaVantageSimulator(now=clock), YahooSimulator(now=clock)
    with serve(first) as one, serve(yahoo) as other:
        yield Fallback(folder, first, one.url, clock, yahoo, other.url)


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Fallback]:
    with fallback_of(tmp_path) as found:
        yield found


@guarded("the second vendor is asked for all", "engine/changes.py",
         "asked = [name for name in run.instruments if name not in run.brought]", "asked = list(run.instruments)")  # fmt: skip
async def test_what_the_first_vendor_brings_is_never_asked_at_the_second(market: Fallback) -> None:
    market.both_trade("AAPL", "MSFT", "IBM")
    await market.link_both("AAPL", "MSFT", "IBM")
    assert await market.days(6) == set(), "not on the first day either, when nobody has brought a bar yet"
    assert market.standing_in() == {}
    assert market.whose("AAPL") == {("alphavantage", "raw")}
    assert market.newest("AAPL") == "2026-11-30"


@guarded("a symbol the first vendor refuses is nobody's", "engine/standing_in.py",
         "if is_refused(spot, now):", "if False:")  # fmt: skip
async def test_a_symbol_that_the_first_does_not_know_is_asked_at_the_second_at_once(market: Fallback) -> None:
    market.both_trade("AAPL")
    market.trades("NEWCO", "2026-11-02", "2026-12-31")
    await market.link_both("AAPL", "NEWCO")
    await market.work()
    market.clock.advance(timedelta(minutes=5))
    await market.sync()
    assert market.at_yahoo() == {"NEWCO"}
    assert market.standing_in() == {"us:NEWCO": "alphavantage does not know its symbol"}
    assert await market.days(9) == {"NEWCO"}, "also when the first is asked again after a week"
    assert market.whose("NEWCO") == {("yahoo", "split_adjusted")}


@guarded("a plan's refusal is not remembered", "engine/changes.py",
         'if error.code == "plan_limit":', 'if error.code == "":')  # fmt: skip
async def test_what_the_plan_does_not_cover_comes_from_the_second_until_it_does(market: Fallback) -> None:
    market.both_trade("AAPL")
    await market.link_both("AAPL")
    market.first.fail_next(Fault("refuse", times=1000, on="/query", code="premium"))
    await market.work()
    market.clock.advance(timedelta(minutes=5))
    await market.sync()
    assert market.standing_in() == {"us:AAPL": "the plan at alphavantage does not cover it"}
    assert await market.days(2) == {"AAPL"}
    market.first.faults.clear()
    await market.days()
    assert await market.days(4) == set()
    assert market.standing_in() == {}
    assert set(market.standing_in("resolved")) == {"us:AAPL"}
    assert market.whose("AAPL") == {("alphavantage", "raw")}


@guarded("a stale first vendor is waited for without end", "engine/standing_in.py",
         "late = bool(due) and one.newest[name] < due[0]", "late = False")  # fmt: skip
async def test_a_first_vendor_that_ends_is_replaced_after_a_day_and_comes_back(market: Fallback) -> None:
    """Its newest bar is Tuesday's; Wednesday's is out since Wednesday night, Thursday is Thanksgiving."""
    market.trades("IBM", "2026-06-01", "2026-12-31")
    market.trades("AAPL", "2026-06-01", "2026-12-31")
    market.at_first("AAPL", "2026-12-31")
    market.at_first("IBM", "2026-11-24")
    await market.link_both("AAPL", "IBM")
    await market.work()
    assert await market.days(1) == set(), "it may only be late"
    assert await market.days(3) == {"IBM"}
    assert market.standing_in() == {"us:IBM": "alphavantage has no bar after 2026-11-24"}
    await market.days(2)
    assert market.whose("IBM") == {("yahoo", "split_adjusted")}
    assert market.newest("IBM") == "2026-11-30"
    market.at_first("IBM", "2026-12-31")
    await market.days(2)
    assert await market.days(3) == set()
    assert market.standing_in() == {}
    assert market.whose("IBM") == {("alphavantage", "raw")}
    assert {row["provider"] for row in market.rows("prices", all_providers=True)} == {"alphavantage", "yahoo"}


async def test_what_the_days_quota_leaves_out_is_brought_by_the_second(market: Fallback) -> None:
    """Forty instruments, twenty-five calls a day: after a day the rest is asked at Yahoo, and never what was brought."""
    market.first.limited = True
    symbols = [f"{a}{b}" for a in "BCDFG" for b in "KLMNPQRS"]
    market.both_trade(*symbols)
    await market.link_both(*symbols)
    await market.work()
    for _ in range(40):
        await market.work(timedelta(seconds=30))
    brought = {row["instrument"][3:] for row in market.rows("prices") if row["provider"] == "alphavantage"}
    assert 20 <= len(brought) <= 25, "a call that came too soon is refused, and counts"
    assert market.at_yahoo() == set()
    market.clock.advance(DAY - timedelta(minutes=25) + timedelta(minutes=10))
    await market.sync()
    assert market.at_yahoo() == set(symbols) - brought
    assert set(market.standing_in().values()) == {"alphavantage has brought no bar of it"}
    assert all(len(market.whose(symbol)) == 1 for symbol in symbols)


@guarded("a first vendor whose key is refused is waited for", "engine/standing_in.py",
         "if one.down is not None:", "if False:")  # fmt: skip
async def test_a_refused_key_makes_the_second_stand_in_for_all_and_a_relink_ends_it(market: Fallback) -> None:
    market.both_trade("AAPL", "MSFT")
    await market.link_both("AAPL", "MSFT")
    market.first.keys.clear()
    await market.work()
    await market.sync(after=timedelta(minutes=5))
    assert market.at_yahoo() == {"AAPL", "MSFT"}
    assert set(market.standing_in().values()) == {"alphavantage refuses its credential"}
    market.first.keys.add("new")
    async with market.runtime() as runtime:
        runtime.connections.relink(market.primary, {"key": "new"})
    for _ in range(4):
        await market.work(timedelta(minutes=5))
    assert await market.days(3) == set()
    assert market.standing_in() == {}


async def test_a_first_vendor_that_is_switched_off_is_not_waited_for(
    market: Fallback, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    market.both_trade("AAPL")
    await market.link_both("AAPL")
    monkeypatch.setenv("FIN_INFRA_ALPHAVANTAGE_ENABLED", "0")
    await market.sync()
    assert market.at_yahoo() == {"AAPL"}
    assert market.standing_in() == {"us:AAPL": "alphavantage has no active connection"}


async def test_who_names_instruments_gets_them_whoever_brings_them(market: Fallback) -> None:
    market.both_trade("AAPL", "MSFT")
    await market.link_both("AAPL", "MSFT")
    await market.sync(instruments=["us:AAPL"])
    assert market.at_yahoo() == {"AAPL"}


async def test_without_a_connection_before_it_nobody_stands_in(market: Fallback) -> None:
    market.both_trade("AAPL")
    await market.link("us:AAPL")
    await market.sync()
    assert market.at_yahoo() == {"AAPL"}
    assert market.standing_in() == {}


async def test_an_order_without_it_leaves_it_alone(
    market: Fallback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    told = tmp_path / "providers.yaml"
    told.write_text("fallback:\n  prices: []\n", encoding="utf-8")
    monkeypatch.setenv("FIN_INFRA_PROVIDERS_FILE", str(told))
    market.both_trade("AAPL")
    await market.link_both("AAPL")
    await market.sync()
    assert market.at_yahoo() == {"AAPL"}
