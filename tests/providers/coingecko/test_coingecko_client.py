"""CoinGecko asked over real HTTP, both hosts, through the real runtime: keys, refusals, limits, coins it does not know."""

from __future__ import annotations

import json
import logging
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.errors import OwnerActionError
from fin_infra.providers import resolve
from fin_infra.providers.coingecko import client, fault
from fin_infra.providers.coingecko.quota import QUOTA
from fin_infra.providers.coingecko.simulator import CODED, MONTHLY, RATE_LIMIT, sandbox, status_of
from fin_infra.providers.simulating import Fault
from fin_infra.testing import serve
from tests.coins import START, YESTERDAY, CoinWorld, coins_of
from tests.guards import guarded

RANGE, PRICE = "/market_chart/range", "/simple/price"
ONDO = "0xfaba6f8e4a5e8ab82f62fe7c39859fa577269be3"
MANY = [f"crypto:coin-{n:03}" for n in range(450)]


async def runs(world: CoinWorld, *datasets: str) -> list[str]:
    return [str((await world.sync(name)).outcome) for name in datasets]


# -- keys and hosts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("secrets", "header"), [
    ({"api_key": ""}, None), ({}, ("x-cg-demo-api-key", "CG-free")), ({"plan": "demo"}, ("x-cg-demo-api-key", "CG-free")),
    ({"api_key": "CG-paid", "plan": "pro"}, ("x-cg-pro-api-key", "CG-paid")),
])  # fmt: skip
async def test_a_key_goes_as_a_header_of_its_plan_and_never_into_the_address(
    tmp_path: Path, secrets: dict[str, str], header: tuple[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with coins_of(tmp_path, paid=secrets.get("plan") == "pro") as world:
        world.sim.pro_keys.add("CG-paid")
        await world.link(**secrets)
        assert await runs(world, "prices", "quotes", "instruments") == ["ok"] * 3
        assert set(world.sim.calls) == {header[1] if header else ""}
        assert not [request for request in world.sim.requests if "CG-" in request]
        assert "CG-" not in caplog.text


@pytest.mark.parametrize(("secrets", "host"), [
    ({"api_key": ""}, "keyless"), ({}, ""), ({"api_key": "CG-paid", "plan": "pro"}, "pro"),
])  # fmt: skip
async def test_each_kind_of_caller_has_its_own_host(tmp_path: Path, secrets: dict[str, str], host: str) -> None:
    with coins_of(tmp_path) as world, serve(world.sim.pro) as paid:
        world.sim.pro_keys.add("CG-paid")
        nowhere = "http://127.0.0.1:9"
        name = f"coingecko.{host}" if host else "coingecko"
        world.urls = {"coingecko": nowhere, "coingecko.pro": nowhere, "coingecko.keyless": nowhere}
        world.urls[name] = paid.url if host == "pro" else world.url
        await world.link(**secrets)
        assert await runs(world, "quotes") == ["ok"]
    assert resolve("coingecko").address("pro") == "https://pro-api.coingecko.com"
    assert resolve("coingecko").address("keyless") == resolve("coingecko").address("") == "https://api.coingecko.com"


@pytest.mark.parametrize(("secrets", "paid", "code"), [
    ({"api_key": "CG-wrong"}, False, "auth_invalid"), ({"api_key": "CG-wrong", "plan": "pro"}, True, "auth_invalid"),
    ({"api_key": "CG-free"}, True, "auth_invalid"), ({"api_key": "CG-paid", "plan": "pro"}, False, "auth_invalid"),
    ({"api_key": ""}, True, "auth_invalid"),
])  # fmt: skip
async def test_a_key_that_is_wrong_or_of_the_other_host_parks_the_streams(
    tmp_path: Path, secrets: dict[str, str], paid: bool, code: str
) -> None:
    with coins_of(tmp_path, paid=paid) as world:
        world.sim.pro_keys.add("CG-paid")
        await world.link(**secrets)
        report = await world.sync("quotes")
        assert (report.outcome, report.error_code) == ("park", code)
        assert report.calls == 1


def test_a_paid_plan_needs_its_key() -> None:
    assert fault({"plan": "pro"}) is not None
    assert [fault(secrets) for secrets in ({}, {"api_key": "x"}, {"api_key": "x", "plan": "pro"})] == [None] * 3


async def test_the_probe_is_the_cheapest_call_that_takes_the_key(tmp_path: Path) -> None:
    provider = resolve("coingecko")
    assert provider.probe is not None
    with coins_of(tmp_path) as world:
        await world.link()
        async with world.http() as http:
            assert await provider.probe(http) == "it answers '(V3) To the Moon!'"
        assert world.sim.requests == ["/api/v3/ping"]
        world.sim.demo_keys.clear()
        async with world.http() as http:
            with pytest.raises(OwnerActionError) as caught:
                await provider.probe(http)
        assert caught.value.code == "auth_invalid"


# -- quotes ------------------------------------------------------------------------------------------------------------


@guarded("a coin the answer does not name", "providers/coingecko/client.py", "if coin not in found:", "if False:")
@guarded("a coin nobody trades", "providers/coingecko/client.py", "elif found[coin].usd is None:", "elif False:")
async def test_a_coin_that_is_not_in_the_answer_is_unknown_and_one_without_a_price_keeps_its_quote(
    tmp_path: Path,
) -> None:
    with coins_of(tmp_path, "crypto:bitcoin,crypto:nope,crypto:ethereum") as world:
        await world.link()
        report = await world.sync("quotes")
        assert (report.outcome, report.accounts) == ("partial", {"crypto:nope": "unknown_symbol"})
        assert {row["instrument"] for row in world.rows("quotes")} == {"crypto:bitcoin", "crypto:ethereum"}
        world.sim.coins["ethereum"].closes.clear()
        report = await world.sync("quotes", timedelta(hours=1))
        assert report.accounts == {"crypto:nope": "unknown_symbol"}
        assert "no price of 'ethereum' now" in world.findings()["unresolved_instrument"]
        quotes = {row["instrument"]: row for row in world.rows("quotes")}
        assert quotes["crypto:ethereum"]["quoted_at"] == datetime(2026, 11, 24, 12, tzinfo=UTC)
        assert quotes["crypto:bitcoin"]["quoted_at"] == datetime(2026, 11, 24, 13, tzinfo=UTC)


async def test_many_coins_are_few_calls_and_each_has_its_own_price(tmp_path: Path) -> None:
    with coins_of(tmp_path, ",".join(MANY)) as world:
        for n, name in enumerate(MANY):
            world.sim.set_close(name.removeprefix("crypto:"), YESTERDAY, f"{n + 1}.5")
        await world.link()
        report = await world.sync("quotes")
        assert (report.outcome, report.calls) == ("ok", 3)
        assert {row["instrument"]: row["price"] for row in world.rows("quotes")} == {
            name: Decimal(f"{n + 1}.5") for n, name in enumerate(MANY)
        }
        assert max(map(len, world.sim.requests)) < 6000


async def test_no_coin_no_call(tmp_path: Path) -> None:
    with coins_of(tmp_path, "us:AAPL") as world:
        await world.link()
        assert await runs(world, "prices", "quotes", "instruments") == ["ok"] * 3
        assert world.sim.requests == []


async def test_the_smallest_prices_are_asked_for_as_fine_as_they_can_be_kept(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:dust") as world:
        world.sim.set_close("dust", YESTERDAY, "0.0000078312345678901234")
        await world.link()
        assert await runs(world, "prices", "quotes") == ["ok", "ok"]
        assert world.held("dust") == {YESTERDAY: Decimal("0.000007831234567890")}
        assert [row["price"] for row in world.rows("quotes")] == [Decimal("0.000007831234567890")]


# -- contracts ---------------------------------------------------------------------------------------------------------


async def test_a_contract_is_looked_up_in_the_list_once_a_run_and_keeps_its_own_name(tmp_path: Path) -> None:
    key, stranger = f"caip19:eip155:1/erc20:{ONDO}", f"caip19:eip155:1/erc20:0x{'1' * 40}"
    with coins_of(tmp_path, f"crypto:bitcoin,{key},{stranger}") as world:
        world.sim.coin("ondo-finance", "ondo", "Ondo", platforms={"ethereum": ONDO})
        world.has("ondo-finance", begin="0.9")
        await world.link()
        for dataset in ("prices", "quotes"):
            report = await world.sync(dataset)
            assert report.accounts == {stranger: "unknown_symbol"}
        await world.sync("instruments")
        assert len(world.asked("/coins/list")) == 3, "one of each stream"
        assert {row["instrument"]: row["name"] for row in world.rows("instruments")} == {
            "crypto:bitcoin": "Bitcoin", key: "Ondo",
        }  # fmt: skip
        assert {row["instrument"] for row in world.rows("quotes")} == {"crypto:bitcoin", key}
        closes = {row["session"]: row["close"] for row in world.rows("prices", instruments=[key])}
        assert closes == world.sim.closes("ondo-finance", min(closes))


async def test_the_list_of_all_coins_is_looked_into_without_taking_a_symbol_for_a_name(tmp_path: Path) -> None:
    with coins_of(tmp_path) as world:
        sandbox(world.sim, today=YESTERDAY)
        await world.link()
        async with world.http() as http:
            found = await client.coins(http, "btc")
        assert len(found) == len(world.sim.coins)
        assert [(f.symbol, f.instrument) for f in found if f.more["symbol"] == "btc"] == [
            ("bitcoin", "crypto:bitcoin"), ("batcat", "crypto:batcat"),
        ]  # fmt: skip
        assert next(f for f in found if f.symbol == "tether").more["ethereum"].startswith("0xdac17f")


# -- names -------------------------------------------------------------------------------------------------------------


async def test_a_single_coin_is_asked_for_alone_and_one_that_is_gone_is_kept(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        assert await runs(world, "instruments") == ["ok"]
        assert [request.partition("?")[0] for request in world.sim.requests] == ["/api/v3/coins/bitcoin"]
        del world.sim.coins["bitcoin"]
        assert (await world.sync("instruments", timedelta(days=7))).outcome == "ok"
        assert "lists no coin 'bitcoin'" in world.findings()["unresolved_instrument"]
        assert [row["name"] for row in world.rows("instruments")] == ["Bitcoin"]


# -- refusals ----------------------------------------------------------------------------------------------------------


async def test_an_unknown_coin_stops_no_other(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin,crypto:nope,crypto:ethereum") as world:
        await world.link()
        report = await world.sync()
        assert (report.outcome, report.accounts) == ("partial", {"crypto:nope": "unknown_symbol"})
        assert len(world.held()) == len(world.held("ethereum")) == 363


async def test_a_broken_answer_about_one_coin_stops_no_other_and_is_kept(tmp_path: Path) -> None:
    with coins_of(tmp_path) as world:
        await world.link()
        world.refuse(on="bitcoin/market_chart", status=200, code="0", body=b'{"prices":[[1]]}')
        report = await world.sync()
        assert (report.outcome, report.error_code) == ("partial", "contract_broken")
        assert (len(world.held()), len(world.held("ethereum"))) == (0, 363)


async def test_what_the_plan_does_not_have_at_all_is_not_asked_for_coin_by_coin(tmp_path: Path) -> None:
    with coins_of(tmp_path) as world:
        await world.link()
        world.refuse(times=9, status=403, code="10005")
        report = await world.sync()
        assert (report.outcome, report.error_code, report.calls) == ("park", "plan_limit", 1)


CASES: list[tuple[int, Any, str, str]] = [
    (403, status_of(429, RATE_LIMIT), "later", "rate_limited"),
    (429, status_of(429, RATE_LIMIT), "later", "rate_limited"),
    (200, {"error": status_of(429, RATE_LIMIT)}, "later", "rate_limited"),
    (429, status_of(429, MONTHLY), "later", "quota_exhausted"),
    (403, status_of(1020, "Access denied"), "later", "rate_limited"),
    (200, {"error": status_of(10002, "no")}, "park", "auth_invalid"),
    (400, CODED["10010"], "park", "auth_invalid"),
    (403, CODED["10005"], "park", "plan_limit"),
    (200, CODED["10012"], "park", "plan_limit"),
    (400, {"error": "Missing parameter ids"}, "quarantine", "bad_request"),
    (200, {"error": "an error nobody documented"}, "quarantine", "contract_broken"),
    (418, {"error": "an error nobody documented"}, "quarantine", "contract_broken"),
    (500, status_of(500, "Internal Server Error"), "retry", "vendor_unavailable"),
    (503, {"error": "Service Unavailable"}, "retry", "vendor_unavailable"),
    (408, status_of(408, "Timeout"), "retry", "vendor_timeout"),
]


@pytest.mark.parametrize(("status", "said", "outcome", "code"), CASES)
async def test_a_refusal_leads_to_its_code_by_what_the_body_says(
    tmp_path: Path, status: int, said: Any, outcome: str, code: str
) -> None:
    with coins_of(tmp_path) as world:
        await world.link()
        world.refuse(times=9, status=status, code="0", body=json.dumps(said).encode())
        report = await world.sync("quotes")
        assert (report.outcome, report.error_code) == (outcome, code)
        assert world.rows("quotes") == []


# -- limits ------------------------------------------------------------------------------------------------------------


@guarded(
    "a zero is no time to wait",
    "providers/metering.py",
    "told = told or (throttle.wait",
    "told = told if told is not None else (throttle.wait",
)
@pytest.mark.parametrize("retry_after", [None, "0"])
async def test_t29_coingecko_a_limit_inside_of_a_403_is_one_wait_of_all_streams(
    tmp_path: Path, retry_after: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with coins_of(tmp_path) as world:
        await world.link()
        world.refuse(times=100, status=403, retry_after=retry_after)
        with caplog.at_level(logging.WARNING, "fin_infra.quotas"):
            for dataset in ("quotes", "prices", "instruments"):
                assert (await world.sync(dataset)).outcome == "later"
            for dataset in ("quotes", "prices", "instruments"):
                assert (await world.sync(dataset, timedelta(seconds=19))).outcome == "later"
        assert len(world.sim.requests) == 1, "one call met the limit, and nobody asked again for a minute"
        assert len([record for record in caplog.records if record.name == "fin_infra.quotas"]) == 1
        async with world.runtime() as runtime:
            assert {connection.state for connection in runtime.connections.all()} == {"active"}
        world.sim.faults.clear()
        assert (await world.sync("quotes", timedelta(seconds=4))).outcome == "ok"


@guarded("a month is waited for to its end", "providers/coingecko/quota.py", 'case "monthly":', 'case "never":')
@pytest.mark.parametrize("retry_after", [None, "0"])
async def test_the_credits_of_a_month_are_waited_for_until_the_next(tmp_path: Path, retry_after: str | None) -> None:
    with coins_of(tmp_path) as world:
        await world.link()
        body = json.dumps(status_of(429, MONTHLY)).encode()
        world.refuse(times=100, body=body, retry_after=retry_after)
        report = await world.sync("quotes")
        assert (report.outcome, report.error_code) == ("later", "quota_exhausted")
        world.clock.set(datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC))
        assert (await world.sync("quotes")).outcome == "later"
        assert len(world.sim.requests) == 1
        world.sim.faults.clear()
        world.clock.set(datetime(2026, 12, 1, 0, 0, 30, tzinfo=UTC))
        assert (await world.sync("quotes")).outcome == "ok"


async def test_without_a_key_all_share_five_calls_a_minute(tmp_path: Path) -> None:
    with coins_of(tmp_path) as world:
        world.sim.per_minute = 5
        for tenant in range(2):
            async with world.runtime() as runtime:
                runtime.connections.add(resolve("coingecko"), {}, tenant=f"tenant {tenant}")
        async with world.runtime() as runtime:
            ids = [connection.connection_id for connection in runtime.connections.all()]
            reports = [await runtime.engine.sync("quotes", ids[n % 2]) for n in range(8)]
        assert [report.outcome for report in reports] == ["ok"] * 5 + ["later"] * 3
        assert len(world.sim.requests) == 5, "the vendor never had to refuse"


def test_a_day_of_the_clocks_quotes_leaves_most_of_a_free_plan() -> None:
    [demo] = [plan for plan in QUOTA.plans if plan.name == "demo"]
    month = next(window for window in demo.windows if window.key == "month")
    assert getattr(month, "limit", 0) > 31 * 24 * 10


# -- candles ----------------------------------------------------------------------------------------------------------


def candles(world: CoinWorld, interval: str) -> dict[datetime, str]:
    rows = world.rows("intraday_prices", instruments=["crypto:bitcoin"])
    return {row["start_at"]: row["state"] for row in rows if row["interval"] == interval}


async def test_candles_are_contiguous_and_the_last_one_is_open_until_a_read_long_after_its_end(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        assert (await world.sync("intraday_prices")).outcome == "ok"
        for interval, length in (("30m", timedelta(minutes=30)), ("4h", timedelta(hours=4))):
            states = candles(world, interval)
            assert list(states) == [min(states) + n * length for n in range(len(states))]
            assert max(states) == START, "the candle that has just begun"
            assert states[START] == states[START - length] == "provisional", "its price may change, and may be old"
            assert set(list(states.values())[:-2]) == {"final"}
        await world.sync("intraday_prices", timedelta(hours=12))
        for interval, length in (("30m", timedelta(minutes=30)), ("4h", timedelta(hours=4))):
            states = candles(world, interval)
            assert list(states) == [min(states) + n * length for n in range(len(states))]
            assert states[START] == "final"


async def test_candles_that_nobody_has_any_more_are_named_and_not_asked_for_ever(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        await world.sync("intraday_prices")
        await world.sync("intraday_prices", timedelta(days=12))
        assert "were not read" in world.findings()["missing_sessions"]
        assert [query["days"] for query in world.asked("/ohlc")] == ["1", "7", "1", "14"]
        states = list(candles(world, "4h"))
        assert states == [states[0] + n * timedelta(hours=4) for n in range(len(states))], "of four hours all were had"


async def test_an_unknown_coin_has_no_candles_and_stops_no_other(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:nope,crypto:bitcoin") as world:
        await world.link()
        report = await world.sync("intraday_prices")
        assert report.outcome == "partial"
        assert set(report.accounts.values()) == {"unknown_symbol"}
        assert len(candles(world, "30m")) == 49


# -- bars --------------------------------------------------------------------------------------------------------------


async def test_a_second_sync_changes_no_row_and_a_third_makes_the_newest_final(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        await world.sync()
        report = await world.sync(after=timedelta(hours=1))
        assert report.counts.get("prices", (0, 0, 0, 0))[0] == 0
        assert {row["state"] for row in world.rows("prices")} == {"final"}


async def test_a_day_is_asked_for_forty_minutes_after_midnight_and_not_before(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin", datetime(2026, 11, 25, 0, 39, tzinfo=UTC)) as world:
        await world.link()
        await world.sync()
        assert max(world.held()) == YESTERDAY
        await world.sync(after=timedelta(minutes=2))
        assert max(world.held()) == date(2026, 11, 24)
        assert world.held()[date(2026, 11, 24)] == world.sim.closes("bitcoin")[date(2026, 11, 24)]


async def test_a_broken_off_answer_removes_nothing(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        await world.sync()
        for kind in ("truncate", "drop", "garbage"):
            world.sim.fail_next(Fault(kind, times=3, on=RANGE))
            await world.sync(after=timedelta(days=1))
            world.sim.faults.clear()
        assert len(world.held()) >= 363
