"""Alpaca asked over real HTTP, both hosts, through the real runtime: pages, refusals, limits, addresses, secrets."""

from __future__ import annotations

import json
import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fin_infra.errors import UsageError
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, Fault, SimActivity, SimAsset
from fin_infra.testing import serve
from tests.providers.alpaca.market import CLOSED, KEY_ID, SECRET, Market, empty_account, filled, market_of

BARS, ACTIVITIES = "/v2/stocks/bars", "/v2/account/activities"
SYMBOLS = ["AAPL", "BRK.B", "KO", "MSFT", "VTI"]


def query(request: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request).query).items()}


def refused(on: str, status: int, message: str = "", **more: Any) -> Fault:
    body = json.dumps({"message": message}).encode() if message else None
    return Fault("refuse", on=on, status=status, code="", body=body, **more)


# -- bars in pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short_pages", [False, True])
async def test_t43_bars_are_paged_to_the_end_by_the_token_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pages: bool
) -> None:
    monkeypatch.setattr("fin_infra.providers.alpaca.client.BARS_PAGE", 90)
    with market_of(tmp_path, short_pages=short_pages) as market:
        await market.link()
        report = await market.sync("prices")
        asked = market.asked(BARS)
        bars = {symbol: market.broker.bars(symbol) for symbol in SYMBOLS}
        total = sum(map(len, bars.values()))
        assert (report.outcome, report.total.inserted) == ("ok", total)
        assert len(asked) == -(-total // (30 if short_pages else 90))
        for symbol, scripted in bars.items():
            rows = market.rows("prices", instruments=[f"us:{symbol}"])
            assert [row["session"] for row in rows] == list(scripted)
            found = [[f"{row[name]:f}" for name in ("open", "high", "low", "close", "volume")] for row in rows]
            exact = [[bar.open, bar.high, bar.low, bar.close, bar.volume] for bar in scripted.values()]
            assert [[text.rstrip("0").rstrip(".") for text in row] for row in found] == exact


async def test_a_page_that_leads_to_itself_is_a_broken_contract_and_nothing_is_written(market: Market) -> None:
    await market.link()
    body = json.dumps({"bars": {}, "next_page_token": "again"}).encode()
    market.broker.fail_next(Fault("garbage", times=2, on=BARS, body=body))
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("quarantine", "contract_broken")
    assert market.rows("prices") == []


async def test_raw_consolidated_daily_bars_are_asked_for_up_to_the_last_session(market: Market) -> None:
    await market.link()
    await market.sync("prices")
    [asked] = map(query, market.asked(BARS))
    assert (asked["timeframe"], asked["adjustment"], asked["feed"]) == ("1Day", "raw", "sip")
    assert (asked["start"], asked["end"]) == ("2025-11-19T05:00:00Z", "2026-11-24T05:00:00Z")
    assert asked["symbols"].split(",") == SYMBOLS


async def test_within_fifteen_minutes_of_the_close_its_bar_is_not_asked_for(market: Market) -> None:
    await market.link()
    market.clock.set(datetime(2026, 11, 24, 21, 14, 59, tzinfo=UTC))
    report = await market.sync("prices")
    assert (report.outcome, query(market.asked(BARS)[0])["end"]) == ("ok", "2026-11-23T05:00:00Z")
    market.clock.set(datetime(2026, 11, 24, 21, 15, tzinfo=UTC))
    report = await market.sync("prices")
    assert (report.outcome, query(market.asked(BARS)[0])["end"]) == ("ok", "2026-11-24T05:00:00Z")
    assert market.sessions("us:KO")[-1] == date(2026, 11, 24)


async def test_a_new_instrument_and_the_old_ones_are_two_calls(market: Market) -> None:
    await market.link()
    for day in (24, 25):  # twice, to know where each instrument's bars begin
        market.clock.set(datetime(2026, 11, day, 21, 30, tzinfo=UTC))
        await market.sync("prices")
    market.asked(BARS)
    market.watch("us:SPY")
    market.clock.set(datetime(2026, 11, 27, 21, 30, tzinfo=UTC))
    report = await market.sync("prices")
    asked = {query(request)["symbols"]: query(request) for request in market.asked(BARS)}
    assert set(asked) == {"SPY", ",".join(SYMBOLS)}
    assert asked["SPY"]["start"] == "2025-11-24T05:00:00Z"
    assert asked[",".join(SYMBOLS)]["start"] == "2026-11-18T05:00:00Z"  # five sessions before the one not yet final
    assert {each["end"] for each in asked.values()} == {"2026-11-27T05:00:00Z"}
    assert report.outcome == "ok"
    assert market.sessions("us:SPY") == list(market.broker.bars("SPY"))


async def test_coins_are_asked_for_at_their_own_path_with_a_slash(market: Market) -> None:
    for n in range(10):
        market.broker.set_bar(
            "BTC/USD", date(2026, 11, 14) + timedelta(days=n), "1.5", "2", "1.25", "1.75", "0.000000001"
        )
    await market.link()
    market.watch("crypto:bitcoin")
    report = await market.sync("prices", instruments=["crypto:bitcoin"])
    [asked] = map(query, market.asked("/v1beta3/crypto/us/bars"))
    assert (asked["symbols"], asked["timeframe"]) == ("BTC/USD", "1Day")
    assert not {"feed", "adjustment"} & set(asked)
    assert report.outcome == "ok"
    assert market.sessions("crypto:bitcoin") == [date(2026, 11, 14) + timedelta(days=n) for n in range(10)]


async def test_t38_after_twelve_days_down_over_a_holiday_there_is_no_hole_and_no_weekend_row(market: Market) -> None:
    await market.link()
    market.clock.set(datetime(2026, 11, 19, 21, 30, tzinfo=UTC))
    await market.sync("prices")
    market.asked(BARS)
    market.clock.set(datetime(2026, 12, 1, 21, 30, tzinfo=UTC))
    report = await market.sync("prices")
    assert (report.outcome, len(market.asked(BARS))) == ("ok", 1)
    for symbol in SYMBOLS:
        assert market.sessions(f"us:{symbol}") == list(market.broker.bars(symbol))
    newest = market.sessions("us:KO")[-8:]
    assert [day.isoformat()[5:] for day in newest] == [
        "11-19", "11-20", "11-23", "11-24", "11-25", "11-27", "11-30", "12-01",
    ]  # fmt: skip
    assert [finding for finding in market.findings("prices") if finding[2] == "open"] == []


async def test_many_instruments_are_asked_for_a_hundred_at_a_time(market: Market) -> None:
    names = [f"X{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(250)]
    for name in names:
        market.broker.set_bar(name, date(2026, 11, 24), "1", "2", "1", "1.5", "10")
    await market.link()
    report = await market.sync("prices", instruments=[f"us:{name}" for name in names])
    assert [len(query(request)["symbols"].split(",")) for request in market.asked(BARS)] == [100, 100, 50]
    assert (report.outcome, report.total.inserted) == ("ok", 250)


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        (refused("/v1beta3/crypto", 503), "vendor_unavailable", "retry"),
        (refused("/v1beta3/crypto", 403, "crypto is not for you"), "permission_denied", "park"),
        (Fault("garbage", on="/v1beta3/crypto"), "contract_broken", "quarantine"),
    ],
)
async def test_t23_a_group_that_is_refused_stops_no_other(market: Market, fault: Fault, code: str, kind: str) -> None:
    """Coins are asked for first: without them being answered, shares still are."""
    market.broker.set_bar("BTC/USD", date(2026, 11, 20), "1", "2", "1", "1.5", "10")
    market.watch("crypto:bitcoin")
    await market.link()
    market.broker.fail_next(fault)
    report = await market.sync("prices")
    assert (report.outcome, report.error_code, report.follow_up.kind) == ("partial", code, kind)
    assert market.sessions("us:KO")[-1] == date(2026, 11, 24)
    assert market.sessions("crypto:bitcoin") == []
    market.clock.advance(timedelta(hours=1))
    report = await market.sync("prices")
    assert report.outcome == "ok"
    assert market.sessions("crypto:bitcoin") == [date(2026, 11, 20)]


@pytest.mark.parametrize("fault", [refused("/v1beta3/crypto", 429), refused("/v1beta3/crypto", 403, "forbidden.")])
async def test_what_concerns_all_groups_ends_the_asking(market: Market, fault: Fault) -> None:
    market.watch("crypto:bitcoin")
    await market.link()
    market.broker.fail_next(fault)
    report = await market.sync("prices")
    assert report.error_code in ("rate_limited", "auth_invalid")
    assert market.asked(BARS) == []


# -- symbols that are refused ------------------------------------------------------------------------------------------


async def test_refused_symbols_stop_no_other_instrument_and_are_left_alone_for_a_week(market: Market) -> None:
    market.watch("us:AB1", "us:SPY", "us:ZZ9")  # the vendor knows no digits in a symbol
    await market.link()
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("partial", "unknown_symbol")
    assert report.accounts == {"us:AB1": "unknown_symbol", "us:ZZ9": "unknown_symbol"}
    assert [len(query(request)["symbols"].split(",")) for request in market.asked(BARS)] == [8, 7, 6]
    assert {row["instrument"] for row in market.rows("prices")} == {*(f"us:{s}" for s in SYMBOLS), "us:SPY"}
    known = {("unresolved_instrument", "us:AB1", "open"), ("unresolved_instrument", "us:ZZ9", "open")}
    assert set(market.findings("prices")) == known
    for day in (25, 27):
        market.clock.set(datetime(2026, 11, day, 21, 30, tzinfo=UTC))
        report = await market.sync("prices")
        asked = market.asked(BARS)
        assert (report.outcome, len(asked)) == ("ok", 1)
        assert not {"AB1", "ZZ9"} & set(query(asked[0])["symbols"].split(","))
        assert known <= set(market.findings("prices"))
    market.clock.set(CLOSED + timedelta(days=7))
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("partial", "unknown_symbol")
    assert market.sessions("us:SPY")[-1] == date(2026, 12, 1)


async def test_a_symbol_that_becomes_known_is_no_finding_any_more(market: Market) -> None:
    market.watch("us:NEWCO", "us:SPY")
    await market.link()
    market.broker.fail_next(refused(BARS, 400, "invalid symbol: NEWCO"))
    await market.sync("prices")
    market.clock.set(CLOSED + timedelta(days=7))
    for day in (date(2026, 11, 30), date(2026, 12, 1)):
        market.broker.set_bar("NEWCO", day, "1", "2", "1", "1.5", "10")
    report = await market.sync("prices")
    assert report.outcome == "ok"
    assert market.sessions("us:NEWCO") == [date(2026, 11, 30), date(2026, 12, 1)]
    assert ("unresolved_instrument", "us:NEWCO", "resolved") in market.findings("prices")


async def test_a_refusal_that_names_nobody_we_asked_for_blames_nobody(market: Market) -> None:
    await market.link()
    market.broker.fail_next(refused(BARS, 400, "invalid symbol: OTHER"))
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("park", "unknown_symbol")
    assert report.accounts == {}
    assert (await market.sync("prices")).outcome == "ok"


async def test_when_all_symbols_are_refused_there_is_nothing_to_commit(market: Market) -> None:
    await market.link()
    report = await market.sync("prices", instruments=["us:AB1"])
    assert (report.outcome, report.error_code, report.total.inserted) == ("park", "unknown_symbol", 0)
    assert market.rows("prices") == []
    assert len(market.asked(BARS)) == 1


# -- limits and plans --------------------------------------------------------------------------------------------------


async def test_t25_a_limit_of_the_data_host_defers_to_its_reset_and_does_not_hinder_the_trading_host(
    market: Market,
) -> None:
    await market.link()
    market.clock.set(datetime(2026, 11, 24, 21, 30, 10, tzinfo=UTC))
    async with market.runtime() as runtime:
        await market.sync("holdings", runtime)
        market.broker.fail_next(refused(BARS, 429))
        report = await market.sync("prices", runtime)
        assert (report.outcome, report.error_code, report.follow_up.kind) == ("later", "rate_limited", "later")
        assert report.follow_up.after == 50.0  # to the minute's end, as the header says
        market.asked(BARS)
        for dataset in ("accounts", "holdings", "activities"):
            assert (await market.sync(dataset, runtime)).outcome == "ok"
        market.clock.advance(timedelta(seconds=10))
        report = await market.sync("prices", runtime)
        assert (report.outcome, report.follow_up.after) == ("later", 40.0)
        assert market.asked(BARS) == []  # who was told to wait does not even ask
        market.clock.advance(timedelta(seconds=40))
        assert (await market.sync("prices", runtime)).outcome == "ok"


async def test_the_limit_of_the_trading_host_does_not_hinder_the_data_host(market: Market) -> None:
    await market.link()
    async with market.runtime() as runtime:
        await market.sync("holdings", runtime)
        market.broker.fail_next(refused("/v2/positions", 429))
        assert (await market.sync("holdings", runtime)).error_code == "rate_limited"
        assert (await market.sync("prices", runtime)).outcome == "ok"


async def test_the_limit_of_a_minute_is_kept_by_waiting_for_the_next(tmp_path: Path) -> None:
    with market_of(tmp_path, limit_per_minute=5) as market:
        await market.link()
        outcomes = []
        for _ in range(3):
            outcomes += [(await market.sync(name)).outcome for name in ("accounts", "holdings", "activities")]
            market.clock.advance(timedelta(minutes=1))
        assert outcomes == ["ok"] * 9
        for _ in range(5):
            await market.sync("accounts")
        report = await market.sync("holdings")
        assert (report.outcome, report.follow_up.after) == ("later", 60.0)


async def test_prices_that_the_plan_does_not_include_are_the_owners_to_decide(market: Market) -> None:
    await market.link()
    market.broker.fail_next(refused(BARS, 403, "subscription does not permit querying recent SIP data"))
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("park", "plan_limit")
    async with market.runtime() as runtime:
        assert runtime.connections.get(market.con).state == "active"
    assert (await market.sync("activities")).outcome == "ok"


# -- activities in pages -----------------------------------------------------------------------------------------------


async def test_t43_many_activities_are_read_once_each(market: Market) -> None:
    account = market.broker.open_account(KEY_ID, SECRET, empty_account())
    booked = [account.record(filled(n, CLOSED - timedelta(days=30, seconds=-n))) for n in range(250)]
    await market.link()
    report = await market.sync("activities")
    asked = market.asked(ACTIVITIES)
    assert (report.outcome, report.total.inserted, len(asked)) == ("ok", 250, 3)
    assert [query(request).get("page_token") for request in asked] == [None, booked[99].id, booked[199].id]
    rows = market.rows("activities")
    assert [row["activity_id"] for row in rows] == [row.id for row in booked]
    assert [f"{row['quantity']:.6f}" for row in rows] == [row.qty for row in booked]


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (99, 1), (100, 2), (101, 2), (200, 3)])
async def test_a_full_page_is_never_taken_for_the_last(market: Market, count: int, calls: int) -> None:
    account = market.broker.open_account(KEY_ID, SECRET, empty_account())
    for n in range(count):
        account.record(filled(n, CLOSED - timedelta(days=30, seconds=-n)))
    await market.link()
    report = await market.sync("activities")
    assert (report.outcome, report.total.inserted, len(market.asked(ACTIVITIES))) == ("ok", count, calls)


async def test_rows_that_arrive_between_pages_are_read_once_each(market: Market) -> None:
    account = market.broker.open_account(KEY_ID, SECRET, empty_account())
    for n in range(150):
        account.record(filled(n, CLOSED - timedelta(days=3, seconds=-n)))
    arrived: list[SimActivity] = []

    def arriving(path: str) -> None:
        """Before the second page is answered: a trade of now, and a fee dated before all that was read already."""
        if path == ACTIVITIES and len(arrived) < 3:
            fee = SimActivity("FEE", on=date(2026, 11, 20), net_amount="-0.02", created_at=CLOSED)
            arrived.append(SimActivity("none") if not arrived else account.record(filled(999, CLOSED)))
            if len(arrived) == 2:
                arrived.append(account.record(fee))

    market.broker.on_request = arriving
    await market.link()
    report = await market.sync("activities")
    _, trade, fee = arrived
    ids = [row["activity_id"] for row in market.rows("activities")]
    assert (report.outcome, len(ids), len(set(ids))) == ("ok", 151, 151)
    assert trade.id in ids
    assert fee.id not in ids  # it lies before the page's begin
    report = await market.sync("activities")
    assert (report.outcome, report.total.inserted, report.total.removed) == ("ok", 1, 0)
    assert fee.id in [row["activity_id"] for row in market.rows("activities")]


async def test_a_later_read_covers_a_month_again_and_removes_nothing(market: Market) -> None:
    await market.link()
    first = await market.sync("activities")
    market.asked(ACTIVITIES)
    market.clock.advance(timedelta(days=1))
    again = await market.sync("activities")
    [asked] = market.asked(ACTIVITIES)
    newest = max(row["recorded_at"].date() for row in market.rows("activities"))
    assert query(asked)["after"] == f"{newest - timedelta(days=30)}T00:00:00Z"
    assert (first.total.inserted, again.total.inserted, again.total.removed) == (21, 0, 0)


async def test_an_activity_that_is_cancelled_later_leaves_the_table(market: Market) -> None:
    await market.link()
    account = market.broker.account(KEY_ID)
    booked = account.book(SimActivity("CSD", on=date(2026, 11, 20), net_amount="12.5"))
    await market.sync("activities")
    assert booked.id in [row["activity_id"] for row in market.rows("activities")]
    booked.status = "canceled"
    report = await market.sync("activities")
    assert (report.outcome, report.total.removed) == ("ok", 1)
    assert booked.id not in [row["activity_id"] for row in market.rows("activities")]


# -- keys, hosts, addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["accounts", "holdings", "activities"])
async def test_t24_a_refused_key_stops_the_connection_until_its_owner_acts(market: Market, dataset: str) -> None:
    await market.link()
    await market.sync("accounts")
    market.broker.revoke(KEY_ID)
    report = await market.sync(dataset)
    assert (report.outcome, report.error_code) == ("park", "auth_invalid")
    assert "fin-infra connections relink" in (report.error or "")
    assert market.state(dataset) == "reauth"
    async with market.runtime() as runtime:
        assert runtime.connections.get(market.con).state == "reauth"
        market.broker.requests.clear()
        assert (await market.sync("prices", runtime)).error_code == "reauth_required"
        assert market.broker.requests == []
        market.broker.open_account("PKNEW", "new", empty_account())
        runtime.connections.relink(market.con, {"key_id": "PKNEW", "secret_key": "new"})
        assert (await market.sync("accounts", runtime)).outcome == "ok"


async def test_a_key_that_the_data_host_alone_refuses_stops_the_prices_alone(market: Market) -> None:
    await market.link()
    await market.sync("holdings")
    market.broker.fail_next(refused(BARS, 403, "forbidden."))
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("park", "auth_invalid")
    assert next(row for row in market.rows("streams") if row["dataset"] == "prices")["state"] == "reauth"
    async with market.runtime() as runtime:
        assert runtime.connections.get(market.con).state == "active"
    assert (await market.sync("holdings")).outcome == "ok"
    market.broker.revoke(KEY_ID)
    assert (await market.sync("holdings")).error_code == "auth_invalid"
    async with market.runtime() as runtime:
        assert runtime.connections.get(market.con).state == "reauth"


@pytest.mark.parametrize(
    ("ill", "dataset", "well"), [(BARS, "prices", "holdings"), ("/v2/account", "holdings", "prices")]
)
async def test_a_host_that_is_down_opens_only_its_own_breaker(
    market: Market, ill: str, dataset: str, well: str
) -> None:
    await market.link()
    async with market.runtime() as runtime:
        await market.sync("holdings", runtime)
        market.broker.fail_next(refused(ill, 503, times=10))
        for _ in range(10):
            assert (await market.sync(dataset, runtime)).error_code == "vendor_unavailable"
        market.asked(ill)
        report = await market.sync(dataset, runtime)
        assert "in a row" in (report.error or "")
        assert (report.outcome, market.asked(ill)) == ("retry", [])
        assert (await market.sync(well, runtime)).outcome == "ok"


async def test_a_data_host_that_cannot_be_reached_is_named_and_the_trading_host_goes_on(market: Market) -> None:
    market.urls["alpaca.data"] = "http://127.0.0.1:1"
    await market.link()
    report = await market.sync("prices")
    assert (report.outcome, report.error_code) == ("retry", "network_error")
    assert (await market.sync("activities")).outcome == "ok"


@pytest.mark.parametrize(
    ("said", "asked"), [({}, "paper"), ({"environment": "paper"}, "paper"), ({"environment": "live"}, "live")]
)
async def test_a_key_is_used_where_it_is_valid_and_paper_by_default(
    market: Market, said: dict[str, str], asked: str
) -> None:
    live = AlpacaSimulator(now=market.clock)
    live.open_account(KEY_ID, SECRET, empty_account())
    with serve(live) as served:
        market.urls["alpaca.live"] = served.url
        await market.link(**said)
        assert (await market.sync("holdings")).outcome == "ok"
        assert (await market.sync("prices", instruments=["us:SPY"])).outcome == "ok"
    trading = {"live": live, "paper": market.broker}
    assert {name for name, broker in trading.items() if any("/v2/positions" in r for r in broker.requests)} == {asked}
    assert len(market.asked(BARS)) == 1  # market data has one address for both
    assert not [request for request in live.requests if "bars" in request]


@pytest.mark.parametrize("environment", ["foo", "LIVE", "live2"])
async def test_an_environment_that_there_is_not_is_refused_before_anything_is_stored(
    market: Market, environment: str
) -> None:
    with pytest.raises(UsageError, match="environment of alpaca is one of: paper, live"):
        await market.link(environment=environment)
    async with market.runtime() as runtime:
        assert runtime.connections.all() == []


@pytest.mark.parametrize("environment", ["paper", "live"])
async def test_one_address_in_the_settings_stands_for_all_hosts(
    market: Market, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    with serve(market.broker) as served:
        monkeypatch.setenv("FIN_INFRA_ALPACA_BASE_URL", served.url)
        market.urls.clear()
        await market.link(environment=environment)
        for dataset in ("holdings", "prices", "activities"):
            assert (await market.sync(dataset)).outcome == "ok"
    assert {"/v2/positions", BARS} <= {request.partition("?")[0] for request in market.broker.requests}


async def test_a_hosts_own_address_in_the_settings_comes_first(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_ALPACA_BASE_URL", market.urls["alpaca"])
    monkeypatch.setenv("FIN_INFRA_ALPACA_DATA_BASE_URL", market.urls["alpaca.data"])
    market.urls.clear()
    await market.link()
    assert [(await market.sync(name)).outcome for name in ("holdings", "prices")] == ["ok", "ok"]


def test_without_any_setting_the_addresses_are_the_vendors() -> None:
    provider = resolve("alpaca")
    assert provider.address("") == "https://paper-api.alpaca.markets"
    assert provider.address("live") == "https://api.alpaca.markets"
    assert provider.address("data") == "https://data.alpaca.markets"
    assert [provider.home({"environment": name}) for name in ("", "paper", "live")] == ["", "", "live"]
    assert provider.home({}) == ""


# -- instruments -------------------------------------------------------------------------------------------------------


async def test_instruments_are_described_one_by_one_and_an_unknown_one_is_a_finding(market: Market) -> None:
    market.broker.add_asset(SimAsset("BTC/USD", "Bitcoin / US Dollar", "crypto", "CRYPTO"))
    market.watch("us:GONE", "us:SPY", "crypto:bitcoin")
    await market.link()
    report = await market.sync("instruments")
    described = {row["instrument"] for row in market.rows("instruments")}
    assert described == {*(f"us:{s}" for s in SYMBOLS), "us:SPY", "crypto:bitcoin"}
    assert ("unresolved_instrument", "us:GONE", "open") in market.findings("instruments")
    assert (report.outcome, report.error_code) == ("ok", None)
    assert "/v2/assets/BRK.B" in market.broker.requests


# -- secrets -----------------------------------------------------------------------------------------------------------


async def test_no_secret_is_in_any_log_message_row_repr_or_file(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await market.link()
    market.broker.fail_next(Fault("drop", on="/v2/positions"))
    market.broker.fail_next(refused(ACTIVITIES, 500))
    market.broker.fail_next(Fault("garbage", on=BARS, body=f"<html>{SECRET} {KEY_ID}".encode()))
    told = [repr(await market.sync(name)) for name in ("accounts", "holdings", "activities", "prices")]
    market.broker.revoke(KEY_ID)
    told.append(repr(await market.sync("accounts")))
    async with market.runtime() as runtime:
        secrets = {"key_id": KEY_ID, "secret_key": SECRET}
        connection, provider = runtime.connections.get(market.con), resolve("alpaca")
        transport = runtime.http.transport(provider, connection, secrets, "interactive")
        told += [repr(transport), repr(connection), repr(provider), repr(provider.auth(secrets))]
        told += [repr(runtime.connections.vault), repr(runtime.settings)]
    names = ("runs", "streams", "findings", "account_states", "accounts", "activities", "holdings", "prices")
    told += [str(market.rows(name)) for name in names]
    told += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert caplog.text
    for secret in (SECRET, KEY_ID):
        assert not [text for text in told if secret in text]
        for file in market.folder.glob("fin*"):
            assert secret.encode() not in file.read_bytes(), file
