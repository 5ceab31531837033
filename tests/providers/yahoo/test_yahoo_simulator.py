"""From outside: a sandbox, the row of now, units, holes, symbols, and what each day becomes."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from fin_infra.providers.simulating import Fault
from fin_infra.providers.yahoo.simulator import NOTHING, SimBar, sandbox
from tests.guards import guarded
from tests.providers.yahoo.market import YahooWorld

DAY = timedelta(days=1)


async def test_a_sandbox_is_read_whole_and_again_without_a_change(market: YahooWorld) -> None:
    sandbox(market.yahoo, today=market.clock().date())
    names = ["us:AAPL", "us:MSFT", "us:SPY", "us:BRK.B", "xlon:VOD", "crypto:bitcoin"]
    await market.link(*names)
    report = await market.sync()
    assert report.outcome == "ok"
    assert set(market.asked()) == {"AAPL", "MSFT", "SPY", "BRK-B", "VOD.L", "BTC-USD"}
    assert {row["instrument"] for row in market.rows("prices")} == set(names)
    assert {row["basis"] for row in market.rows("prices")} == {"split_adjusted"}
    assert len(market.held("us:AAPL")) == len(market.sessions("2025-11-19", "2026-11-24"))
    assert market.findings() == {}
    again = await market.sync(after=timedelta(hours=1))
    assert (again.outcome, again.total.inserted) == ("ok", 0)
    for dataset in ("quotes", "corporate_actions", "instruments"):
        assert (await market.sync(dataset)).outcome == "ok", dataset
    assert {row["instrument"] for row in market.rows("quotes")} == set(names)
    assert {row["kind"] for row in market.rows("corporate_actions")} == {"dividend", "split"}
    told = {row["instrument"]: (row["kind"], row["mic"], row["currency"], row["quote_unit"])
            for row in market.rows("instruments")}  # fmt: skip
    assert told["xlon:VOD"] == ("equity", "XLON", "GBP", "minor")
    assert told["us:SPY"] == ("etf", "ARCX", "USD", "major")


@guarded("pence are stored as pounds", "providers/yahoo/frames.py", "return over(meant(text, self.hint), self.factor)",
         "return meant(text, self.hint)")  # fmt: skip
async def test_t41_hundredths_are_divided_and_the_major_unit_is_said(market: YahooWorld) -> None:
    for symbol, mic, unit in (("VOD.L", "XLON", "GBp"), ("NPN.JO", "XJSE", "ZAc"), ("TEVA.TA", "XTAE", "ILA")):
        market.yahoo.listed(symbol, currency=unit)
        market.trades(symbol, "2026-11-01", "2026-11-24", mic, begin="7123.45")
    await market.link("xlon:VOD", "xjse:NPN", "xtae:TEVA")
    await market.sync()
    for name, currency in (("xlon:VOD", "GBP"), ("xjse:NPN", "ZAR"), ("xtae:TEVA", "ILS")):
        assert min(market.held(name).values()) == "71.2345", name
        assert set(market.held(name, "currency").values()) == {currency}
        assert set(market.held(name, "volume").values()) == {"1000"}


@guarded("a day is dated by UTC", "providers/yahoo/frames.py",
         "timedelta(seconds=at)).astimezone(zone).date()", "timedelta(seconds=at)).date()")  # fmt: skip
async def test_a_stamp_is_a_day_of_the_exchange_also_across_a_change_of_the_clocks(market: YahooWorld) -> None:
    """Sydney opens at 23:00 UTC in summer and at midnight UTC in winter: its clocks changed on 2026-10-04."""
    market.yahoo.listed("BHP.AX", currency="AUD", zone="Australia/Sydney", opens=time(10), closes=time(16, 10))
    market.trades("BHP.AX", "2026-09-15", "2026-11-24", "XASX")
    await market.link("xasx:BHP")
    await market.sync()
    assert list(market.held("xasx:BHP")) == [str(day) for day in market.sessions("2026-09-15", "2026-11-24", "XASX")]
    assert market.findings() == {}


@guarded("the row of now is a second row of its day", "providers/yahoo/frames.py",
         "if first is None or first.close is None:", "if True:")  # fmt: skip
async def test_the_row_of_now_is_the_day_it_is_of_and_provisional_until_the_day_is_over(market: YahooWorld) -> None:
    market.clock.set(datetime(2026, 11, 24, 18, 0, tzinfo=UTC))  # New York is open
    market.trades("AAPL", "2026-11-02", "2026-11-25")
    market.yahoo.set_bar("AAPL", "2026-11-24", "100.16", open="99.50", high="101.00", low="98.75", volume="7000")
    market.yahoo.listings["AAPL"].twice = True
    await market.link("us:AAPL")
    await market.sync()
    assert max(market.held("us:AAPL")) == "2026-11-23", "the open day is not asked for"
    market.clock.set(datetime(2026, 11, 24, 21, 45, tzinfo=UTC))
    await market.sync()
    assert market.held("us:AAPL", "state")["2026-11-24"] == "provisional"
    figures = [market.held("us:AAPL", name)["2026-11-24"] for name in ("open", "high", "low", "close", "volume")]
    assert (figures, market.evidence()) == (["99.5", "101", "98.75", "100.16", "7000"], [])
    await market.sync(after=timedelta(hours=1))
    assert market.held("us:AAPL", "state")["2026-11-24"] == "final", "a second read says the same"


async def test_nulls_alone_are_a_day_without_a_bar_and_half_a_bar_is_set_aside(market: YahooWorld) -> None:
    market.trades("AAPL", "2026-11-02", "2026-11-24")
    market.yahoo.hole("AAPL", "2026-11-10")
    market.yahoo.listings["AAPL"].verbatim[market.sessions("2026-11-12", "2026-11-12")[0]] = SimBar(
        None, None, None, "100.08"
    )
    await market.link("us:AAPL")
    report = await market.sync()
    assert report.outcome == "partial"
    days = {str(day) for day in market.sessions("2026-11-02", "2026-11-24")}
    assert days - set(market.held("us:AAPL")) == {"2026-11-10", "2026-11-12"}
    assert market.evidence() == ["open, high, low is null beside other figures of the bar: it is not whole"]
    assert NOTHING.close is None


async def test_what_yahoo_does_not_know_is_said_and_asked_again_in_a_week(market: YahooWorld) -> None:
    market.trades("AAPL", "2026-11-02", "2026-11-24")
    market.yahoo.listed("APPL", silent=True)
    await market.link("us:AAPL", "us:APPL", "us:GONE")
    report = await market.sync()
    assert report.accounts == {"us:APPL": "unknown_symbol", "us:GONE": "unknown_symbol"}
    assert market.asked() == ["AAPL", "APPL", "GONE", "GONE"], "a 404 is believed the second time"
    assert len(market.held("us:AAPL")) == 17
    await market.sync(after=DAY)
    assert market.asked() == ["AAPL"]


@guarded("what is refused for all is believed of each", "providers/yahoo/client.py",
         "if len(twice) > 1 and not answered:", "if False:")  # fmt: skip
async def test_a_404_of_everything_is_throttling_and_believed_of_none(market: YahooWorld) -> None:
    for symbol in ("AAPL", "MSFT"):
        market.trades(symbol, "2026-11-02", "2026-11-24")
    await market.link("us:AAPL", "us:MSFT")
    market.yahoo.fail_next(Fault("refuse", times=4, status=404))
    report = await market.sync()
    assert (report.error_code, report.accounts) == ("rate_limited", {})
    assert (await market.sync(after=timedelta(minutes=16))).outcome == "ok"
    assert len(market.held("us:AAPL")) == 17


async def test_a_404_of_one_that_is_answered_the_second_time_is_forgotten(market: YahooWorld) -> None:
    for symbol in ("AAPL", "MSFT"):
        market.trades(symbol, "2026-11-02", "2026-11-24")
    await market.link("us:AAPL", "us:MSFT")
    market.yahoo.fail_next(Fault("refuse", status=404, on="AAPL"))
    assert (await market.sync()).outcome == "ok"
    assert (len(market.held("us:AAPL")), market.findings()) == (17, {})


async def test_symbols_are_written_as_a_path_can_hold_them(market: YahooWorld) -> None:
    market.yahoo.listed("GC=F", kind="FUTURE", exchange="CMX")
    market.trades("GC=F", "2026-11-02", "2026-11-24", "CMES", begin="4100.10")
    await market.link("fut:xcec:GC")
    assert (await market.sync()).outcome == "ok"
    assert market.held("fut:xcec:GC")["2026-11-02"] == "4100.1"


async def test_the_client_names_itself_and_the_application_may(market: YahooWorld) -> None:
    market.trades("AAPL", "2026-11-02", "2026-11-24")
    await market.link("us:AAPL")
    await market.sync()
    assert market.yahoo.agents == {"Mozilla/5.0 (compatible; fin_infra)"}


async def test_bars_of_a_quarter_of_an_hour_are_read_as_they_close_and_that_of_now_is_none(market: YahooWorld) -> None:
    market.clock.set(datetime(2026, 11, 24, 17, 52, 11, tzinfo=UTC))
    market.trades("AAPL", "2026-11-20", "2026-11-25")
    begin = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
    market.yahoo.listings["AAPL"].shorter["15m"] = {
        begin + n * timedelta(minutes=15): SimBar("100.00", "100.50", "99.75", f"100.{n:02}", "500") for n in range(26)
    }
    await market.link("us:AAPL")
    report = await market.sync("intraday_prices")
    rows = [row for row in market.rows("intraday_prices") if row["interval"] == "15m"]
    assert (report.outcome, market.evidence()) == ("ok", [])
    assert [row["start_at"] for row in rows] == [begin + n * timedelta(minutes=15) for n in range(14)]
    assert {row["basis"] for row in rows} == {"split_adjusted"}
    states = [row["state"] for row in rows]
    assert states == ["final"] * 11 + ["provisional"] * 3, "quotes are late: half an hour behind its end it is final"
    market.clock.set(datetime(2026, 11, 24, 21, 45, tzinfo=UTC))
    await market.sync("intraday_prices")
    rows = [row for row in market.rows("intraday_prices") if row["interval"] == "15m"]
    assert (len(rows), {row["state"] for row in rows}, market.evidence()) == (26, {"final"}, [])
