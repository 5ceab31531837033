"""From outside: a sandbox, the key that is nowhere, gaps that are said, units, single refusals, and what a plan covers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import httpx
import pytest

from fin_infra.errors import FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.alphavantage import key_in_query
from fin_infra.providers.alphavantage.simulator import sandbox
from fin_infra.providers.simulating import Fault
from fin_infra.providers.transport import Call, Sent, Transport
from tests.guards import guarded
from tests.providers.alphavantage.market import KEY, AlphaWorld

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def test_a_sandbox_is_read_and_again_without_a_change(market: AlphaWorld) -> None:
    sandbox(
        market.alpha, KEY, today=market.clock().date(), symbols=(("IBM", "IBM", "251.40"), ("SPY", "SPY", "602.10"))
    )
    market.alpha.listings["SPY"].kind = "ETF"
    market.alpha.listings["IBM"].dividends = {date(2026, 8, 10): "1.68", date(2026, 11, 10): "1.68"}
    market.alpha.listings["IBM"].splits = {date(1999, 5, 27): "2.0000"}
    await market.link("us:IBM", "us:SPY")
    report = await market.sync()
    assert (report.outcome, len(market.held("us:IBM"))) == ("ok", 100)
    assert market.held("us:IBM", "currency")["2026-11-24"] == "USD"
    assert market.held("us:IBM", "state")["2026-11-24"] == "provisional"
    again = await market.sync(after=timedelta(hours=1))
    assert (again.outcome, again.total.inserted) == ("ok", 0)
    assert market.held("us:IBM", "state")["2026-11-24"] == "final", "a second read says the same"
    for dataset in ("quotes", "corporate_actions", "instruments"):
        assert (await market.sync(dataset, after=DAY)).outcome == "ok", dataset
    actions = [
        (row["kind"], str(row["ex_on"]), row["amount"], row["ratio"]) for row in market.rows("corporate_actions")
    ]
    assert sorted(actions) == [
        ("dividend", "2026-08-10", Decimal("1.68"), None), ("dividend", "2026-11-10", Decimal("1.68"), None),
        ("split", "1999-05-27", None, Decimal(2)),
    ]  # fmt: skip
    assert {row["instrument"]: row["kind"] for row in market.rows("instruments")} == {
        "us:IBM": "equity",
        "us:SPY": "etf",
    }
    assert market.findings() == {}


@guarded("the running session is kept", "providers/alphavantage/frames.py",
         "            if first <= stamp <= last:", "            if first <= stamp:")  # fmt: skip
async def test_the_row_of_the_running_session_is_not_taken_for_a_day(market: AlphaWorld) -> None:
    market.clock.set(datetime(2026, 11, 24, 18, 0, tzinfo=UTC))  # New York is open
    market.trades("IBM", "2026-11-02", "2026-11-30")
    await market.link("us:IBM")
    assert (await market.sync()).outcome == "ok"
    assert max(market.held("us:IBM")) == "2026-11-23"
    assert market.findings() == {}


@guarded("a plan that lacks old rows loses the new ones too", "providers/alphavantage/client.py",
         "if want.last < reach and uncovered is not None:", "if uncovered is not None:")  # fmt: skip
async def test_a_gap_that_a_free_key_cannot_reach_is_said_and_the_new_days_come(market: AlphaWorld) -> None:
    for symbol in ("IBM", "MSFT"):
        market.trades(symbol, "2026-05-01", "2027-12-31")
    await market.link("us:IBM", "us:MSFT")
    await market.sync()
    market.asked()
    report = await market.sync(after=timedelta(days=250))
    assert report.outcome == "ok"
    asked = market.asked()
    assert len(asked) == 3, "that older rows are not covered is told once, not by each instrument"
    assert "2027-07-30" in market.held("us:IBM")
    assert market.findings()["missing_sessions"].endswith("2026-12-01, 2026-12-02 and 64 more")
    market.alpha.premium.add(KEY)
    await market.sync(after=timedelta(hours=1))
    assert market.findings() == {}
    assert len(market.held("us:IBM")) > 250


async def test_a_first_read_asks_for_the_newest_alone_whatever_the_plan(market: AlphaWorld) -> None:
    market.trades("IBM", "2024-05-01", "2026-11-30")
    await market.link("us:IBM", premium=True)
    await market.sync()
    assert market.asked() == ["TIME_SERIES_DAILY IBM"]
    assert "outputsize=compact" in market.alpha.requests[0]
    assert len(market.held("us:IBM")) == 100


async def test_rates_are_the_closes_of_the_pair_that_was_asked_for(market: AlphaWorld) -> None:
    market.alpha.pairs["EUR", "USD"] = {
        day: f"1.1{day.day:02}00" for n in range(24) if (day := date(2026, 11, 1) + n * DAY).weekday() < 5
    }
    await market.link()
    market.settings = market.settings.model_copy(update={"currencies": "EUR,USD"})
    report = await market.sync("fx_rates")
    assert report.outcome == "ok", report
    assert market.asked()[-1].startswith("FX_DAILY")
    rows = sorted(market.rows("fx_rates"), key=lambda row: row["rate_on"])
    assert (rows[-1]["rate"], str(rows[-1]["rate_on"])) == (Decimal("1.123"), "2026-11-23")


@guarded("the newest month alone is read", "providers/alphavantage/client.py",
         "    while day <= last:", "    while day <= last and not months:")  # fmt: skip
async def test_intraday_bars_come_month_by_month_and_only_within_a_paid_plan(market: AlphaWorld) -> None:
    market.clock.set(datetime(2026, 12, 2, 15, 0, tzinfo=UTC))
    listing = market.alpha.list_("IBM")
    for day in (date(2026, 11, 30), date(2026, 12, 1), date(2026, 12, 2)):
        for n in range(78):
            at = datetime(day.year, day.month, day.day, 9, 30, tzinfo=ZoneInfo("America/New_York")) + 5 * n * MINUTE
            listing.minutes[at] = ("100.0000", "101.0000", "99.5000", f"100.{n:02}00", "1000")
    await market.link("us:IBM", "us:MSFT")
    report = await market.sync("intraday_prices")
    assert (report.outcome, report.error_code) == ("park", "plan_limit")
    assert len(market.asked()) == 1, "what the plan does not cover is not asked for by each instrument"
    market.alpha.premium.add(KEY)
    market.alpha.list_("MSFT").minutes.update(listing.minutes)
    report = await market.sync("intraday_prices")
    assert report.outcome == "ok", report
    assert market.asked() == ["TIME_SERIES_INTRADAY IBM"] * 2 + ["TIME_SERIES_INTRADAY MSFT"] * 2
    rows = [row for row in market.rows("intraday_prices") if row["instrument"] == "us:IBM"]
    assert len(rows) == 2 * 78 + 7
    assert rows[0]["start_at"] == datetime(2026, 11, 30, 14, 30, tzinfo=UTC)
    assert {row["state"] for row in rows[:-5]} == {"final"}
    assert rows[-1]["state"] == "provisional"
    assert market.findings() == {}
    report = await market.sync("intraday_prices", after=30 * MINUTE)
    assert (report.outcome, len(market.asked())) == ("ok", 2)


# -- the key -----------------------------------------------------------------------------------------------------------


@guarded("answers keep the key", "providers/alphavantage/__init__.py",
         "if len(told) >= SHORTEST and told in response.content:", "if False:")  # fmt: skip
async def test_the_key_goes_by_the_query_and_is_not_told_by_the_auth(market: AlphaWorld) -> None:
    auth = key_in_query({"key": KEY})
    assert KEY not in repr(auth)
    market.alpha.keys.add(KEY)
    async with httpx.AsyncClient(base_url=market.url, auth=auth) as client:
        market.trades("IBM", "2026-11-02", "2026-11-30")
        answer = await client.get("/query", params={"function": "GLOBAL_QUOTE", "symbol": "IBM"})
        assert answer.json()["Global Quote"]["01. symbol"] == "IBM"
        market.alpha.fail_next(Fault("refuse", status=200, code="daily", body=f'{{"Information": "{KEY}"}}'.encode()))
        answer = await client.get("/query", params={"function": "GLOBAL_QUOTE", "symbol": "IBM"})
        assert answer.json() == {"Information": "[the key]"}


@pytest.mark.parametrize(("key", "code"), [("demo", "auth_invalid"), ("NOT-A-KEY-AT-ALL", "auth_invalid")])
async def test_a_key_that_is_not_accepted_stops_the_connection(market: AlphaWorld, key: str, code: str) -> None:
    market.trades("IBM", "2026-11-02", "2026-11-30")
    await market.link("us:IBM", key=key)
    market.alpha.keys.clear()
    report = await market.sync()
    assert (report.outcome, report.error_code, len(market.asked())) == ("park", code, 1)


async def test_symbols_are_searched_and_a_key_is_proven(market: AlphaWorld) -> None:
    market.trades("IBM", "2026-11-02", "2026-11-30")
    market.alpha.list_("TSCO.LON", name="Tesco PLC", region="United Kingdom", currency="GBX")
    provider = resolve("market:alphavantage")
    market.alpha.keys.add(KEY)
    async with httpx.AsyncClient(base_url=market.url) as client:
        http = Transport(
            provider, client, key_in_query({"key": KEY}), connection_id="con_1", now=market.clock, meter=Unmetered()
        )
        [found] = await provider.lookups["symbols"].ask(http, "tesco")
        assert (found.symbol, found.name, found.instrument) == ("TSCO.LON", "Tesco PLC", "xlon:TSCO")
        assert found.more == {"kind": "Equity", "currency": "GBX", "region": "United Kingdom"}
        assert await provider.lookups["symbols"].ask(http, "nothing like it") == []
        assert provider.probe is not None
        assert await provider.probe(http) == "it answers, with prices of 2026-11-24"
        market.alpha.keys.clear()
        with pytest.raises(FinInfraError) as refused:
            await provider.probe(http)
        assert refused.value.code == "auth_invalid"


class Unmetered:
    """Nobody counts: the simulator has no limits here."""

    async def acquire(self, call: Call) -> object:
        return None

    async def settle(self, grant: object, sent: Sent) -> float | None:
        return None
