"""The simulated broker itself: paging, limits, keys, faults, the clock, and digits that stay as they were scripted."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from fin_infra.providers.alpaca.simulator import (
    PAPER_CASH,
    AlpacaSimulator,
    Fault,
    SimActivity,
    SimBrokerage,
    SimPosition,
    asset_id,
    sandbox,
)
from fin_infra.testing import VirtualClock

KEYS = {"APCA-API-KEY-ID": "PKSIM", "APCA-API-SECRET-KEY": "sim-secret"}
START = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)  # a Tuesday, 11:00 in New York
BARS = "/v2/stocks/bars"
YEAR = {"timeframe": "1Day", "start": "2025-11-24"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def vendor(clock: VirtualClock) -> AlpacaSimulator:
    simulator = AlpacaSimulator(now=clock)
    simulator.open_account("PKSIM", "sim-secret", SimBrokerage())
    return simulator


async def ask(app: Any, path: str, headers: dict[str, str] | None = None, /, **params: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://alpaca") as client:
        return await client.get(path, params=params, headers=KEYS if headers is None else headers)


async def answer(app: Any, path: str, **params: Any) -> Any:
    reply = await ask(app, path, **params)
    assert reply.status_code == 200, reply.text
    return json.loads(reply.text, parse_float=str, parse_int=str)


def bar(vendor: AlpacaSimulator, symbol: str, day: str, close: str = "10", **more: Any) -> None:
    vendor.set_bar(symbol, date.fromisoformat(day), "10", "12", "9", close, "100", **more)


async def closes(vendor: AlpacaSimulator, symbol: str = "AAPL", **params: Any) -> dict[str, str]:
    asked = {"timeframe": "1Day", "start": "2026-11-01", "symbols": symbol, **params}
    body = await answer(vendor, BARS, **asked)
    return {row["t"]: row["c"] for row in body["bars"].get(symbol, [])}


# -- digits ------------------------------------------------------------------------------------------------------------


async def test_numbers_of_the_data_host_are_sent_digit_by_digit(vendor: AlpacaSimulator) -> None:
    digits = ("0.1000", "12345678901234567890.123456789012345678", "1e-9", "0.30000000000000004", "9007199254740993")
    vendor.set_bar("AAPL", date(2026, 11, 23), *digits, n="7", vw="839")
    reply = await ask(vendor, BARS, symbols="AAPL", **YEAR)
    o, h, l, c, v = digits  # noqa: E741
    assert f'"o":{o},"h":{h},"l":{l},"c":{c},"v":{v},"n":7,"vw":839' in reply.text


@pytest.mark.parametrize("figure", ["", "1.", ".5", "NaN", "Infinity", "0x1", "1,5", " 1", "01"])
def test_only_the_text_of_a_json_number_is_taken(vendor: AlpacaSimulator, figure: str) -> None:
    with pytest.raises(ValueError, match="is not the text of a JSON number"):
        vendor.set_bar("AAPL", date(2026, 11, 23), figure, "2", "1", "1", "1")


async def test_amounts_of_the_trading_host_are_sent_as_given(vendor: AlpacaSimulator) -> None:
    account = vendor.account("PKSIM")
    account.cash = "-23140.20"
    account.exact = {"sma": None, "equity": "122011.09751111286868"}
    account.positions = [
        SimPosition("TSLA", "-5.000000001", "100.0", side="short", current_price="120.00", lastday_price="119.0"),
        SimPosition("SPY", "2", "412.91", current_price="361.55", exact={"unrealized_plpc": "-0.12438546"}),
        SimPosition("OLDCO", "3", "1", current_price=None),
    ]
    said = await answer(vendor, "/v2/account")
    assert (said["cash"], said["sma"], said["equity"]) == ("-23140.20", None, "122011.09751111286868")
    short, long, unpriced = await answer(vendor, "/v2/positions")
    assert [short[name] for name in ("qty", "avg_entry_price", "current_price", "market_value", "cost_basis")] == [
        "-5.000000001", "100.0", "120.00", "-600.00000012", "-500.0000001",
    ]  # fmt: skip
    assert (long["market_value"], long["unrealized_pl"], long["unrealized_plpc"]) == ("723.1", "-102.72", "-0.12438546")
    assert {unpriced[name] for name in ("current_price", "market_value", "unrealized_pl", "change_today")} == {None}
    assert unpriced["cost_basis"] == "3"


async def test_an_option_is_worth_a_hundred_of_its_price(vendor: AlpacaSimulator) -> None:
    option = SimPosition("SPY240621P00500000", "2", "4.10", asset_class="us_option", exchange="", current_price="3.95")
    vendor.account("PKSIM").positions = [option]
    row = await answer(vendor, "/v2/positions/SPY240621P00500000")
    assert (row["qty"], row["cost_basis"], row["market_value"]) == ("2", "820", "790")


async def test_a_crypto_position_has_no_slash_and_follows_the_pair_that_has_one(vendor: AlpacaSimulator) -> None:
    vendor.set_bar("BTC/USD", date(2026, 11, 24), "1", "91000.5", "1", "90999.999999999", "0.5")
    coin = SimPosition("BTCUSD", "0.123456789", "70000", asset_class="crypto", exchange="CRYPTO")
    vendor.account("PKSIM").positions = [coin]
    row = await answer(vendor, "/v2/positions/BTC/USD")
    assert (row["symbol"], row["current_price"]) == ("BTCUSD", "90999.999999999")
    assert row["market_value"] == "11234.567798999876543211"


# -- bars and the clock ------------------------------------------------------------------------------------------------


async def test_daily_bars_are_stamped_at_midnight_in_new_york(vendor: AlpacaSimulator) -> None:
    bar(vendor, "AAPL", "2026-10-30")
    bar(vendor, "AAPL", "2026-11-02")
    assert list(await closes(vendor, start="2026-10-01")) == ["2026-10-30T04:00:00Z", "2026-11-02T05:00:00Z"]


async def test_a_bar_is_served_once_its_session_has_opened(vendor: AlpacaSimulator, clock: VirtualClock) -> None:
    vendor.realtime = True
    bar(vendor, "AAPL", "2026-11-25")
    assert await closes(vendor) == {}
    clock.set(datetime(2026, 11, 25, 14, 29, 59, tzinfo=UTC))
    assert await closes(vendor) == {}
    clock.set(datetime(2026, 11, 25, 14, 30, tzinfo=UTC))
    assert len(await closes(vendor)) == 1


async def test_a_bar_is_partial_then_final_then_corrected(vendor: AlpacaSimulator, clock: VirtualClock) -> None:
    vendor.realtime = True
    day = date(2026, 11, 24)
    bar(vendor, "AAPL", "2026-11-24", "10.5")
    bar(vendor, "AAPL", "2026-11-24", "11", served_from=vendor.closes(day))
    bar(vendor, "AAPL", "2026-11-24", "11.01", served_from=vendor.closes(day) + timedelta(hours=2))
    seen: list[str] = []
    for moment in (START, vendor.closes(day), vendor.closes(day) + timedelta(hours=2)):
        clock.set(moment)
        seen += (await closes(vendor)).values()
    assert seen == ["10.5", "11", "11.01"]
    bar(vendor, "AAPL", "2026-11-24", "11.02")  # replaces all of them
    assert list((await closes(vendor)).values()) == ["11.02"]


async def test_without_realtime_data_the_tape_is_a_quarter_of_an_hour_late(
    vendor: AlpacaSimulator, clock: VirtualClock
) -> None:
    bar(vendor, "AAPL", "2026-11-24", "10.5")
    bar(vendor, "AAPL", "2026-11-24", "11", served_from=vendor.closes(date(2026, 11, 24)))
    clock.set(datetime(2026, 11, 24, 21, 10, tzinfo=UTC))
    assert list((await closes(vendor)).values()) == ["10.5"]
    assert list((await closes(vendor, feed="iex")).values()) == ["11"]
    clock.set(datetime(2026, 11, 24, 21, 15, tzinfo=UTC))
    assert list((await closes(vendor)).values()) == ["11"]


@pytest.mark.parametrize("feed", [{}, {"feed": "sip"}])
@pytest.mark.parametrize("end", ["2026-11-24T15:45:01Z", "2026-11-24T16:00:00Z", "2026-11-24", "2026-12-01"])
async def test_the_free_plan_refuses_a_recent_end(vendor: AlpacaSimulator, end: str, feed: dict[str, str]) -> None:
    reply = await ask(vendor, BARS, symbols="AAPL", end=end, **YEAR, **feed)
    assert (reply.status_code, reply.json()) == (
        403,
        {"message": "subscription does not permit querying recent SIP data"},
    )
    assert (await ask(vendor, BARS, symbols="AAPL", end=end, **YEAR, feed="iex")).status_code == 200
    assert (await ask(vendor, BARS, symbols="AAPL", end="2026-11-24T15:45:00Z", **YEAR, **feed)).status_code == 200
    vendor.realtime = True
    assert (await ask(vendor, BARS, symbols="AAPL", end=end, **YEAR, **feed)).status_code == 200


async def test_start_and_end_are_inclusive_moments_or_days(vendor: AlpacaSimulator) -> None:
    for day in ("2026-11-18", "2026-11-19", "2026-11-20"):
        bar(vendor, "AAPL", day)
    inside = {"2026-11-19T05:00:00Z": "10"}
    assert await closes(vendor, start="2026-11-19", end="2026-11-19") == inside
    assert await closes(vendor, start="2026-11-19T05:00:00Z", end="2026-11-19T00:00:00-05:00") == inside
    assert await closes(vendor, start="2026-11-19T05:00:01Z", end="2026-11-20T04:59:59Z") == {}


async def test_crypto_bars_need_no_key_and_begin_at_midnight_in_central_time(vendor: AlpacaSimulator) -> None:
    vendor.set_bar("BTC/USD", date(2026, 11, 22), "1", "2", "1", "1.000000001", "0.123456789")
    reply = await ask(vendor, "/v1beta3/crypto/us/bars", {}, symbols="BTC/USD", **YEAR)
    assert reply.status_code == 200
    assert '"BTC/USD":[{"t":"2026-11-22T06:00:00Z","o":1,"h":2,"l":1,"c":1.000000001,"v":0.123456789,' in reply.text
    wrong = {**KEYS, "APCA-API-SECRET-KEY": "other"}
    assert (await ask(vendor, "/v1beta3/crypto/us/bars", wrong, symbols="BTC/USD", **YEAR)).status_code == 403


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "timeframe is required"),
        ({"symbols": ""}, "symbols is required"),
        ({"symbols": "AAPL,BRK-B"}, "invalid symbol: BRK-B"),
        ({"symbols": "aapl"}, "invalid symbol: aapl"),
        ({"timeframe": "7Min"}, "invalid timeframe: 7Min"),
        ({"timeframe": "1Day", "limit": "0"}, "limit must be between 1 and 10000"),
        ({"timeframe": "1Day", "limit": "10001"}, "limit must be between 1 and 10000"),
        ({"timeframe": "1Day", "start": "yesterday"}, "invalid start: yesterday"),
        ({"timeframe": "1Day", "start": "2026-11-20T00:00:00"}, "invalid start: 2026-11-20T00:00:00"),
        ({"timeframe": "1Day", "start": "2026-11-20", "end": "2026-11-19"}, "end should not be before start"),
        ({"timeframe": "1Day", "feed": "nasdaq"}, "invalid feed: nasdaq"),
        ({"timeframe": "1Day", "adjustment": "both"}, "invalid adjustment: both"),
        ({"timeframe": "1Day", "sort": "up"}, "invalid sort: up"),
        ({"timeframe": "1Day", "page_token": "???"}, "invalid page_token"),
    ],
)
async def test_what_cannot_be_asked_is_refused(vendor: AlpacaSimulator, params: dict[str, str], message: str) -> None:
    reply = await ask(vendor, BARS, **{"symbols": "AAPL", **params})
    assert (reply.status_code, reply.json()) == (400, {"message": message})


# -- paging ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short_pages", [False, True])
@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 4, 7, 20, 21, 1000])
async def test_pages_of_bars_join_to_all_of_them_once(
    vendor: AlpacaSimulator, limit: int, sort: str, short_pages: bool
) -> None:
    vendor.short_pages = short_pages
    for symbol, days in (("MSFT", 3), ("AAPL", 10), ("BRK.B", 7)):
        for n in range(days):
            bar(vendor, symbol, str(date(2026, 11, 2) + timedelta(days=n)))
    joined: list[tuple[str, str]] = []
    params: dict[str, Any] = {**YEAR, "symbols": "MSFT,AAPL,BRK.B,NONE", "limit": limit, "sort": sort}
    while True:
        body = await answer(vendor, BARS, **params)
        page = [(symbol, row["t"]) for symbol, rows in body["bars"].items() for row in rows]
        assert 0 < len(page) <= limit
        joined += page
        if body["next_page_token"] is None:
            break
        params["page_token"] = body["next_page_token"]
        symbol, _, stamp = base64.b64decode(params["page_token"]).decode().split("|")
        assert (symbol, stamp.replace(".000000000", "")) == page[-1]
    assert len(joined) == 20
    expected = sorted(joined, key=lambda place: place[1], reverse=sort == "desc")
    assert joined == sorted(expected, key=lambda place: place[0])


def _deposits(vendor: AlpacaSimulator, count: int) -> list[str]:
    account = vendor.account("PKSIM")
    for n in range(count):
        account.record(SimActivity("CSD", on=date(2026, 1, 1) + timedelta(days=n // 3), net_amount=str(n)))
    return [row.id for row in account.activities]


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_pages_of_activities_join_to_all_of_them_once(vendor: AlpacaSimulator, direction: str) -> None:
    ids = _deposits(vendor, 23)
    joined: list[str] = []
    while True:
        more = {"page_token": joined[-1]} if joined else {}
        page = await answer(vendor, "/v2/account/activities", page_size=5, direction=direction, **more)
        joined += [row["id"] for row in page]
        if len(page) < 5:
            break
    assert joined == (ids if direction == "asc" else ids[::-1])
    assert len(await answer(vendor, "/v2/account/activities")) == 23


async def test_a_hundred_activities_are_a_page_at_most_and_the_newest_come_first(vendor: AlpacaSimulator) -> None:
    ids = _deposits(vendor, 130)
    assert [row["id"] for row in await answer(vendor, "/v2/account/activities")] == ids[:29:-1]
    for size in ("0", "101", "many"):
        reply = await ask(vendor, "/v2/account/activities", page_size=size)
        assert (reply.status_code, reply.json()["code"]) == (422, 42210000)


async def test_activities_are_cut_by_when_the_vendor_had_them_not_by_their_date(vendor: AlpacaSimulator) -> None:
    account = vendor.account("PKSIM")
    account.record(SimActivity("DIV", on=date(2026, 11, 2), net_amount="1"))  # there on the 3rd
    late = datetime(2026, 11, 20, 8, tzinfo=UTC)
    account.record(SimActivity("DIV", on=date(2026, 11, 2), net_amount="2", created_at=late))
    account.record(SimActivity("FILL", at=datetime(2026, 11, 4, 15, tzinfo=UTC), symbol="KO", qty="1", price="2"))

    async def amounts(**params: str) -> list[str]:
        rows = await answer(vendor, "/v2/account/activities", direction="asc", **params)
        return [row.get("net_amount", "fill") for row in rows]

    assert sorted(await amounts()) == ["1", "2", "fill"]
    assert await amounts(after="2026-11-04") == ["2", "fill"]
    assert await amounts(after="2026-11-04T15:00:00Z") == ["2"]
    assert await amounts(until="2026-11-04T15:00:00Z") == ["1"]
    assert await amounts(date="2026-11-20") == ["2"]


async def test_an_activity_shows_when_the_vendor_has_it(vendor: AlpacaSimulator, clock: VirtualClock) -> None:
    vendor.account("PKSIM").record(SimActivity("DIV", on=START.date(), net_amount="1"))
    assert await answer(vendor, "/v2/account/activities") == []
    clock.advance(timedelta(days=1))
    assert len(await answer(vendor, "/v2/account/activities")) == 1


async def test_activities_are_chosen_by_type(vendor: AlpacaSimulator) -> None:
    sandbox(vendor, today=START.date())

    async def kinds(path: str = "", **params: str) -> set[str]:
        return {row["activity_type"] for row in await answer(vendor, "/v2/account/activities" + path, **params)}

    assert await kinds() == {"FILL", "DIV", "CSD", "CSW", "FEE"}
    assert await kinds("/DIV") == {"DIV"}
    assert await kinds(activity_types="FILL,FEE") == {"FILL", "FEE"}
    assert await kinds(activity_types="TRANS") == {"CSD", "CSW"}
    assert await kinds(activity_types="MISC") == {"FEE"}
    assert await kinds(category="trade_activity") == {"FILL"}
    assert await kinds(category="non_trade_activity") == {"DIV", "CSD", "CSW", "FEE"}
    for params in ({"activity_types": "GIFT"}, {"activity_types": "DIV", "category": "trade_activity"}):
        assert (await ask(vendor, "/v2/account/activities", **params)).status_code == 422


def test_ids_begin_with_new_yorks_time_and_are_the_same_every_time() -> None:
    def ids() -> list[str]:
        account = SimBrokerage()
        at = datetime(2022, 3, 4, 14, 53, 18, 500245, UTC)
        account.record(SimActivity("FILL", at=at, symbol="GOOGL", qty="9", price="2630.95"))
        account.record(SimActivity("CSD", on=date(2022, 4, 19), net_amount="33324.35"))
        return [row.id for row in account.activities]

    assert ids() == ids()
    assert [row.partition("::")[0] for row in ids()] == ["20220304095318500", "20220419000000000"]


# -- keys, hosts, limits, faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {**KEYS, "APCA-API-SECRET-KEY": "no"}, {**KEYS, "APCA-API-KEY-ID": "AKLIVE"}])
async def test_wrong_keys_are_refused_by_each_host_in_its_words(
    vendor: AlpacaSimulator, headers: dict[str, str]
) -> None:
    trading = await ask(vendor, "/v2/positions", headers)
    assert (trading.status_code, trading.json()) == (401, {"code": 40110000, "message": "request is not authorized"})
    data = await ask(vendor, BARS, headers, symbols="AAPL", **YEAR)
    assert (data.status_code, data.json()) == (403, {"message": "forbidden."})


async def test_revoked_keys_are_refused_and_others_of_the_account_are_not(vendor: AlpacaSimulator) -> None:
    vendor.open_account("PKNEW", "sim-secret", vendor.account("PKSIM"))
    vendor.revoke("PKSIM")
    assert (await ask(vendor, "/v2/account")).status_code == 401
    assert (await ask(vendor, "/v2/account", {**KEYS, "APCA-API-KEY-ID": "PKNEW"})).status_code == 200


async def test_each_host_knows_its_own_paths_alone(vendor: AlpacaSimulator) -> None:
    hosts, bars = (vendor, vendor.trading, vendor.data), "/v2/stocks/snapshots"
    assert [(await ask(host, "/v2/clock")).status_code for host in hosts] == [200, 200, 404]
    assert [(await ask(host, bars, symbols="SPY")).status_code for host in hosts] == [200, 404, 200]
    assert vendor.requests == ["/v2/clock"] * 3 + ["/v2/stocks/snapshots?symbols=SPY"] * 3
    assert (await ask(vendor, "/v2/watchlists")).status_code == 404


async def test_the_quota_is_told_on_every_answer_and_kept_per_host_and_minute(
    vendor: AlpacaSimulator, clock: VirtualClock
) -> None:
    vendor.limit_per_minute = 2
    clock.set(START + timedelta(seconds=15))
    told = []
    for _ in range(3):
        reply = await ask(vendor, "/v2/clock")
        names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
        told.append((reply.status_code, *(int(reply.headers[name]) for name in names)))
        assert len(reply.headers["x-request-id"]) == 32
    minute = int(START.timestamp()) + 60
    assert told == [(200, 2, 1, minute), (200, 2, 0, minute), (429, 2, 0, minute)]
    assert (await ask(vendor, BARS, symbols="AAPL", **YEAR)).status_code == 200
    clock.set(START + timedelta(seconds=60))
    assert (await ask(vendor, "/v2/clock")).status_code == 200


async def test_without_a_limit_nothing_is_refused_and_the_vendors_quota_is_told(vendor: AlpacaSimulator) -> None:
    replies = [await ask(vendor, "/v2/clock") for _ in range(201)]
    assert {reply.status_code for reply in replies} == {200}
    assert replies[-1].headers["x-ratelimit-limit"] == "200"
    assert len({reply.headers["x-request-id"] for reply in replies}) == 201


async def test_faults_strike_the_next_requests_of_a_path(vendor: AlpacaSimulator) -> None:
    seen: list[str] = []
    vendor.on_request = seen.append
    vendor.fail_next(Fault("refuse", times=2, on="/positions", status=503, retry_after="7"))
    vendor.fail_next(Fault("garbage", on="/account"))
    vendor.fail_next(Fault("truncate", on="/clock"))
    vendor.fail_next(Fault("refuse", on="/assets", status=403, body=b'{"code":40310000,"message":"insufficient"}'))
    refused = await ask(vendor, "/v2/positions")
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["code"]) == (503, "7", 50310000)
    assert "x-ratelimit-reset" in refused.headers
    assert (await ask(vendor, "/v2/account")).text == "<html>oops</html>"
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        (await ask(vendor, "/v2/clock")).json()
    assert (await ask(vendor, "/v2/assets")).json() == {"code": 40310000, "message": "insufficient"}
    assert [(await ask(vendor, "/v2/positions")).status_code for _ in range(2)] == [503, 200]
    assert seen == vendor.requests == [
        "/v2/positions", "/v2/account", "/v2/clock", "/v2/assets", "/v2/positions", "/v2/positions",
    ]  # fmt: skip


# -- calendar and the lifelike account ---------------------------------------------------------------------------------


async def test_the_calendar_knows_holidays_early_closes_and_settlement(vendor: AlpacaSimulator) -> None:
    rows = await answer(vendor, "/v2/calendar", start="2026-11-25", end="2026-11-30")
    assert [(row["date"], row["close"], row["settlement_date"]) for row in rows] == [
        ("2026-11-25", "16:00", "2026-11-27"),
        ("2026-11-27", "13:00", "2026-11-30"),
        ("2026-11-30", "16:00", "2026-12-01"),
    ]
    reply = await ask(vendor, "/v2/calendar", start="soon")
    assert (reply.status_code, reply.json()["code"]) == (400, 40010001)


@pytest.mark.parametrize(
    ("now", "is_open", "next_open", "next_close"),
    [
        ("2026-11-27T14:29:59Z", False, "2026-11-27T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
        ("2026-11-27T14:30:00Z", True, "2026-11-30T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
        ("2026-11-27T18:00:00Z", False, "2026-11-30T09:30:00-05:00", "2026-11-30T16:00:00-05:00"),
        ("2026-07-01T14:30:00Z", True, "2026-07-02T09:30:00-04:00", "2026-07-01T16:00:00-04:00"),
    ],
)
async def test_the_clock_tells_open_and_close(
    vendor: AlpacaSimulator, clock: VirtualClock, now: str, is_open: bool, next_open: str, next_close: str
) -> None:
    clock.set(datetime.fromisoformat(now))
    said = await answer(vendor, "/v2/clock")
    assert (said["is_open"], said["next_open"], said["next_close"]) == (is_open, next_open, next_close)


async def test_other_sessions_may_be_given(clock: VirtualClock) -> None:
    vendor = AlpacaSimulator(now=clock, sessions=[date(2026, 11, 26), date(2026, 11, 28)], early_closes=())
    vendor.open_account("PKSIM", "sim-secret", SimBrokerage())
    assert [row["date"] for row in await answer(vendor, "/v2/calendar")] == ["2026-11-26", "2026-11-28"]
    with pytest.raises(ValueError, match="no sessions in the 365 days before 2026-11-24"):
        sandbox(vendor, today=START.date())


async def test_activities_of_the_lifelike_account_explain_its_cash_and_quantities(vendor: AlpacaSimulator) -> None:
    sandbox(vendor, today=START.date())
    cash, held = PAPER_CASH, dict[str, Decimal]()
    for row in await answer(vendor, "/v2/account/activities"):
        if row["activity_type"] == "FILL":
            bought = Decimal(row["qty"]) * (1 if row["side"] == "buy" else -1)
            held[row["symbol"]] = held.get(row["symbol"], Decimal(0)) + bought
            cash -= bought * Decimal(row["price"])
        else:
            cash += Decimal(row["net_amount"])
    account, positions = await answer(vendor, "/v2/account"), await answer(vendor, "/v2/positions")
    assert Decimal(account["cash"]) == cash
    assert {row["symbol"]: Decimal(row["qty"]) for row in positions} == held
    assert {row["symbol"]: row["qty"] for row in positions}["BRK.B"] == "4.373456912"
    assert Decimal(account["equity"]) == cash + sum(Decimal(row["market_value"]) for row in positions)
    assert {row["asset_id"] for row in positions} == {asset_id(symbol) for symbol in held}


async def test_prices_of_the_lifelike_account_follow_the_newest_served_close(
    vendor: AlpacaSimulator, clock: VirtualClock
) -> None:
    vendor.realtime = True
    sandbox(vendor, today=START.date())
    equities = set()
    for moment in (START, START + timedelta(hours=6), START + timedelta(days=3), START + timedelta(days=6)):
        clock.set(moment)
        account, positions = await answer(vendor, "/v2/account"), await answer(vendor, "/v2/positions")
        symbols = ",".join(row["symbol"] for row in positions)
        bars = (await answer(vendor, BARS, symbols=symbols, **YEAR, limit=10000))["bars"]
        assert {row["symbol"]: row["current_price"] for row in positions} == {s: b[-1]["c"] for s, b in bars.items()}
        equities.add(account["equity"])
    assert len(equities) == 4


async def test_the_lifelike_account_has_a_bar_for_each_session_of_its_year(vendor: AlpacaSimulator) -> None:
    sandbox(vendor, today=START.date())
    symbols = "AAPL,BRK.B,KO,MSFT,SPY,VTI"
    bars = (await answer(vendor, BARS, symbols=symbols, **YEAR, limit=10000))["bars"]
    days = [row["date"] for row in await answer(vendor, "/v2/calendar", start="2025-11-24", end="2026-11-24")]
    assert {symbol: [row["t"][:10] for row in rows] for symbol, rows in bars.items()} == dict.fromkeys(
        symbols.split(","), days
    )
    for row in (row for rows in bars.values() for row in rows):
        low, high, inner = Decimal(row["l"]), Decimal(row["h"]), (Decimal(row["o"]), Decimal(row["c"]))
        assert 0 < low <= min(inner) <= max(inner) <= high
        assert low <= Decimal(row["vw"]) <= high


def test_a_days_bar_does_not_depend_on_the_day_it_is_asked(clock: VirtualClock) -> None:
    def made(today: date, seed: int = 7) -> Any:
        vendor = AlpacaSimulator(now=clock)
        sandbox(vendor, today=today, seed=seed)
        return vendor.bars("KO")[date(2026, 6, 1)]

    assert made(date(2026, 11, 24)) == made(date(2026, 9, 1)) != made(date(2026, 9, 1), seed=8)


async def test_snapshots_and_latest_bars_need_a_feed_of_the_plan(vendor: AlpacaSimulator) -> None:
    sandbox(vendor, today=START.date())
    newest, before = vendor.newest_closes("KO")
    snapshot = (await answer(vendor, "/v2/stocks/snapshots", symbols="KO,NONE"))["KO"]
    assert (snapshot["dailyBar"]["c"], snapshot["prevDailyBar"]["c"]) == (newest, before)
    assert (await answer(vendor, "/v2/stocks/bars/latest", symbols="KO"))["bars"]["KO"]["c"] == newest
    assert (await ask(vendor, "/v2/stocks/snapshots", symbols="KO", feed="sip")).status_code == 403
    vendor.realtime = True
    assert (await ask(vendor, "/v2/stocks/snapshots", symbols="KO", feed="sip")).status_code == 200


def test_booking_moves_cash_and_positions() -> None:
    account = SimBrokerage(cash="100")
    at = datetime(2026, 11, 2, 15, tzinfo=UTC)

    def trade(side: str, qty: str, price: str) -> tuple[str, list[tuple[str, str, str]]]:
        account.book(SimActivity("FILL", at=at, symbol="KO", side=side, qty=qty, price=price))
        return account.cash, [(p.qty, p.avg_entry_price, p.side) for p in account.positions]

    assert trade("buy", "2", "10") == ("80", [("2", "10", "long")])
    assert trade("buy", "1", "13") == ("67", [("3", "11", "long")])
    assert trade("sell", "1", "20") == ("87", [("2", "11", "long")])
    assert trade("sell", "3", "10") == ("117", [("-1", "10", "short")])
    assert trade("buy", "1", "9.999999999") == ("107.000000001", [])
    account.book(SimActivity("FEE", on=date(2026, 11, 2), net_amount="-0.02"))
    assert account.cash == "106.980000001"
    with pytest.raises(ValueError, match="a FILL needs symbol, qty and price"):
        account.book(SimActivity("FILL", at=at, symbol="KO", side="buy", qty="1"))
