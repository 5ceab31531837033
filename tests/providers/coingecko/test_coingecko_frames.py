"""CoinGecko's answers: what a point of a chart is the price of, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.datasets.base import Built
from fin_infra.errors import OwnerActionError, UsageError, WireError
from fin_infra.instruments.key import InstrumentKey
from fin_infra.providers.base import Ask, Want
from fin_infra.providers.coingecko import client, frames, symbols, wire
from tests.guards import guarded

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
FIRST, LAST = date(2026, 11, 20), date(2026, 11, 23)
WANT = Want("crypto:bitcoin", "bitcoin", FIRST, LAST)


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def body(*points: tuple[str, Any]) -> bytes:
    prices = [[stamp(at), price] for at, price in points]
    return json.dumps({"prices": prices, "market_caps": prices, "total_volumes": prices}).encode()


def built(answer: bytes, want: Want = WANT) -> Built:
    ask = Ask("coingecko", "ada", "con", "run", AT, wants=[want])
    return frames.prices([(wire.bars(answer), AT)], ask)


def closes(answer: bytes, want: Want = WANT) -> dict[str, str]:
    return {str(row["session"]): f"{row['close'].normalize():f}" for row in built(answer, want).good.to_dicts()}


@guarded(
    "midnight belongs to the day before", "providers/coingecko/frames.py",
    "(_instant(milliseconds) - timedelta(milliseconds=1)).date()", "_instant(milliseconds).date()",
)  # fmt: skip
@guarded(
    "no other point is a close", "providers/coingecko/frames.py", "if at % wire.DAY == 0]", "if at % 3_600_000 == 0]"
)
def test_a_point_of_midnight_is_the_close_of_the_day_before_and_no_other_point_is_one() -> None:
    hours = [(f"2026-11-{21 + n // 24}T{n % 24:02}:00:00Z", 100 + n) for n in range(72)]
    answer = body(*hours, ("2026-11-24T00:00:00Z", 172), ("2026-11-24T11:59:41Z", 180))
    assert closes(answer) == {"2026-11-20": "100", "2026-11-21": "124", "2026-11-22": "148", "2026-11-23": "172"}
    assert built(answer).differing == (), "one point a day, not the last of many"


@guarded(
    "now is no close where days were asked for", "providers/coingecko/frames.py", "and not (asked and bar.at))", "and True)",
)  # fmt: skip
def test_a_stale_answer_whose_now_was_yesterday_is_no_close_of_yesterday() -> None:
    """Charts are kept for hours by the network in between."""
    stale = body(("2026-11-22T00:00:00Z", 1), ("2026-11-23T00:00:00Z", 2), ("2026-11-23T18:00:00Z", 3))
    assert closes(stale) == {"2026-11-21": "1", "2026-11-22": "2"}
    told = built(stale, WANT._replace(first=date.min, last=date.max)).good
    assert told["session"].to_list()[-1] == date(2026, 11, 23)
    assert told["fetched_at"].to_list()[-1] == datetime(2026, 11, 23, 18, tzinfo=UTC)  # so it is never final


def test_a_point_without_a_price_is_no_bar() -> None:
    assert closes(body(("2026-11-22T00:00:00Z", None), ("2026-11-23T00:00:00Z", 2))) == {"2026-11-22": "2"}
    assert closes(body(("2026-11-23T00:00:00Z", 2), ("2026-11-24T00:00:00Z", None))) == {"2026-11-22": "2"}


def test_prices_of_several_days_without_any_close_are_refused_and_never_an_empty_answer() -> None:
    late = [(f"2026-11-{21 + n // 24}T{n % 24:02}:00:41Z", 100 + n) for n in range(72)]
    with pytest.raises(WireError, match="none of 00:00 UTC"):
        built(body(*late))
    assert closes(body(*late[:5])) == {}
    assert closes(body()) == {}


def test_every_digit_is_kept_also_of_the_smallest_prices() -> None:
    text = b'{"prices":[[1795392000000,1.234e-10],[1795478400000,78052.87543398788123]],"market_caps":[],"total_volumes":[]}'
    assert built(text).good["close"].to_list() == [Decimal("0.0000000001234"), Decimal("78052.87543398788123")]


def test_what_no_chart_says_is_null() -> None:
    [row] = built(body(("2026-11-23T00:00:00Z", 2))).good.to_dicts()
    assert [row[name] for name in ("open", "high", "low", "volume")] == [None] * 4
    assert (row["currency"], row["basis"], row["provider"]) == ("USD", "raw", "coingecko")


@pytest.mark.parametrize("answer", [
    b"", b"null", b"{", b'{"prices":[]}', b'{"prices":null,"market_caps":[],"total_volumes":[]}', b'{"oops":1}', b'["usd"]',
    b'{"prices":[[1]],"market_caps":[],"total_volumes":[]}', b'{"prices":[[1,2,3]],"market_caps":[],"total_volumes":[]}',
    b'{"prices":[[1.5,2]],"market_caps":[],"total_volumes":[]}', b'{"prices":[[-1,2]],"market_caps":[],"total_volumes":[]}',
    b'{"prices":[[86400000,1],[0,2]],"market_caps":[],"total_volumes":[]}', b'{"prices":[["x",2]],"market_caps":[],"total_volumes":[]}',
    b'{"prices":[[1,NaN]],"market_caps":[],"total_volumes":[]}', b'{"bitcoin":{"eur":1}}', b"[[1,2,3,4,5]]", b"[[1,2,3,4]]",
    b"[[0,1,1,1,1],[86400000,1,1,1,1],[86400000,1,1,1,1]]", b"[[0,1,1,1,1],[86400000,1,1,1,1],[180000000,1,1,1,1]]",
])  # fmt: skip
def test_anything_else_is_a_broken_contract(answer: bytes) -> None:
    with pytest.raises(WireError):
        wire.bars(answer)


def test_a_chart_of_a_coin_nobody_named_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="instrument=crypto:bitcoin"):
        frames.prices([(wire.bars(body()), AT)], Ask("coingecko", "ada", "con", "run", AT))


# -- spans -------------------------------------------------------------------------------------------------------------


@guarded(
    "so wide that the points are days",
    "providers/coingecko/client.py",
    "begin = min(begin, end - DAILY_FROM)",
    "begin = begin",
)
@given(st.integers(0, 4000), st.integers(0, 1000))
def test_a_span_has_both_closes_is_longer_than_90_days_and_begins_no_earlier_than_it_must(back: int, days: int) -> None:
    last = AT.date() - timedelta(days=1 + back)
    first = last - timedelta(days=days)
    begin, end = (datetime.fromtimestamp(second, UTC) for second in client.span(first, last, AT))
    assert begin <= datetime.combine(first + timedelta(days=1), datetime.min.time(), UTC)
    assert end >= datetime.combine(last + timedelta(days=1), datetime.min.time(), UTC)
    assert end - begin > timedelta(days=90)
    if first < AT.date() - timedelta(days=93):
        assert begin.date() == first + timedelta(days=1), "where there is room towards today, no older day is asked for"
    assert begin >= AT - timedelta(days=93) or begin.date() == first + timedelta(days=1)


# -- candles -----------------------------------------------------------------------------------------------------------


def candles(step: timedelta, count: int, begin: str = "2026-11-20T04:00:00Z") -> bytes:
    at, length = stamp(begin), step // timedelta(milliseconds=1)
    return json.dumps([[at + n * length, 10, 12, 9, 11] for n in range(count)]).encode()


@guarded(
    "a candle is stamped with its close",
    "providers/coingecko/frames.py",
    "interval, _instant(row[0]) - length, row",
    "interval, _instant(row[0]), row",
)
@pytest.mark.parametrize(("step", "interval"), [(timedelta(minutes=30), "30m"), (timedelta(hours=4), "4h")])
def test_a_candle_begins_its_interval_before_its_stamp(step: timedelta, interval: str) -> None:
    page = wire.intraday(candles(step, 3))
    ask = Ask("coingecko", "ada", "con", "run", AT, wants=[WANT])
    rows = frames.intraday([(page, AT)], ask).good.to_dicts()
    assert [row["start_at"] for row in rows] == [
        datetime(2026, 11, 20, 4, tzinfo=UTC) + (n - 1) * step for n in range(3)
    ]
    assert {(row["interval"], row["volume"], row["currency"], row["state"]) for row in rows} == {
        (interval, None, "USD", "provisional")
    }
    assert [row["high"] for row in rows] == [Decimal(12)] * 3


def test_a_gap_between_candles_does_not_hide_how_long_they_are() -> None:
    whole = json.loads(candles(timedelta(hours=4), 6))
    assert wire.intraday(json.dumps(whole[:2] + whole[4:]).encode()).step == 4 * 3_600_000


@pytest.mark.parametrize("answer", [
    candles(timedelta(days=1), 3), candles(timedelta(days=4), 3), candles(timedelta(hours=1), 3),
    b"{}", b'{"prices":[]}',
])  # fmt: skip
def test_candles_of_another_length_or_of_none_are_refused(answer: bytes) -> None:
    with pytest.raises(WireError):
        wire.intraday(answer)


def test_a_single_candle_is_as_long_as_was_asked_for_and_others_must_be() -> None:
    def starts(answer: bytes, interval: str) -> list[datetime]:
        ask = Ask("coingecko", "ada", "con", "run", AT, wants=[WANT._replace(interval=interval)])
        rows = frames.intraday([(wire.intraday(answer), AT)], ask).good
        return rows["start_at"].to_list()

    one = candles(timedelta(hours=4), 1)
    assert starts(one, "4h") == [datetime(2026, 11, 20, tzinfo=UTC)]
    assert starts(one, "30m") == [datetime(2026, 11, 20, 3, 30, tzinfo=UTC)]
    with pytest.raises(WireError, match="nobody knows how long"):
        starts(one, "")
    with pytest.raises(WireError, match="candles of 4h, not of 30m"):
        starts(candles(timedelta(hours=4), 2), "30m")


def test_no_candles_are_an_empty_answer() -> None:
    ask = Ask("coingecko", "ada", "con", "run", AT, wants=[WANT])
    assert frames.intraday([(wire.intraday(b"[]"), AT)], ask).good.is_empty()
    with pytest.raises(WireError, match="240 minutes are no daily bars"):
        wire.bars(candles(timedelta(hours=4), 3))


# -- refusals ----------------------------------------------------------------------------------------------------------

SAID = {"error_code": 10012, "error_message": "no"}


@pytest.mark.parametrize(("answer", "word"), [
    ({"error": "coin not found"}, "coin not found"), ({"error": "Coin not found."}, "coin not found"),
    ({"error": "Missing parameter vs_currency"}, "missing parameter vs_currency"), ({"error": "key CG-1a is bad"}, "error"),
    ({"status": SAID}, "10012"), ({"error": {"status": SAID}}, "10012"),
    ({"error_code": 10011, "status": {"error_message": "no"}}, "10011"),
    ({"status": {"error_message": "Something else!"}}, "error"), ({"error": {"status": {"error_message": "no"}}}, "no"),
    ({"status": {"error_code": 429, "error_message": "Monthly credits used"}}, "monthly"),
    ({"status": {"error_code": 429, "error_message": "the Rate Limit"}}, "429"),
    ({"status": {"error_code": 500}}, "500"),
    # good answers
    ({"status": {"usd": 0.01}}, None), ({"error": {"usd": 0.01}}, None), ({"status": {"usd": None}, "error": {"usd": 1}}, None),
    ({}, None), ([], None), ({"prices": []}, None), ({"gecko_says": "(V3) To the Moon!"}, None),
])  # fmt: skip
def test_the_word_of_a_refusal_in_each_of_its_shapes(answer: Any, word: str | None) -> None:
    assert wire.refusal_word(json.dumps(answer).encode()) == word


def test_the_network_before_it_refuses_with_a_text() -> None:
    assert wire.refusal_word(b"error code: 1020\n") == "1020"
    assert wire.refusal_word(b"<html>no</html>") is None
    assert wire.refusal_word(b'{"error":"coin not found","x":"' + b"x" * 5000 + b'"}') is None


def test_none_of_the_coins_is_known() -> None:
    with pytest.raises(OwnerActionError) as caught:
        wire.quotes(b"{}")
    assert caught.value.code == "unknown_symbol"


# -- names -------------------------------------------------------------------------------------------------------------

USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
ONDO = "0xfaba6f8e4a5e8ab82f62fe7c39859fa577269be3"


def coin(name: str, symbol: str, **platforms: str | None) -> wire.Coin:
    return wire.Coin(id=name, symbol=symbol, name=name.title(), platforms=platforms)


def test_a_symbol_or_a_contract_of_two_coins_leads_to_neither() -> None:
    coins: Sequence[wire.Coin] = [
        coin("bitcoin", "btc"), coin("batcat", "BTC", solana="EtBc6"), coin("ondo-finance", "ondo", ethereum=ONDO.upper()),
        coin("usd-coin", "usdc", ethereum=USDC, base=""), coin("fake", "fake", ethereum=USDC.lower(), unknown="0x1", base=None),
    ]  # fmt: skip
    assert symbols.by_symbol(coins) == {"ondo": "ondo-finance", "usdc": "usd-coin", "fake": "fake"}
    assert symbols.by_contract(coins) == {
        f"eip155:1/{ONDO}": "ondo-finance", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/EtBc6": "batcat",
    }  # fmt: skip


def test_a_coin_is_asked_for_by_its_id_and_a_contract_by_its_place_in_the_list() -> None:
    assert symbols.ticker("crypto:bitcoin") == "bitcoin"
    assert symbols.ticker(str(InstrumentKey.parse(f"caip19:eip155:1/erc20:{USDC}"))) == "usd-coin"
    assert symbols.ticker(f"caip19:eip155:1/erc20:{ONDO}") == f"eip155:1/{ONDO}"
    assert symbols.ticker("caip19:solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EtBc6") == (
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/EtBc6"
    )
    nowhere = (
        f"caip19:eip155:999999/erc20:{ONDO}",
        f"caip19:eip155:1/erc721:{ONDO}/7",
        "us:AAPL",
        "fx:EURUSD",
        "cash:USD",
    )
    assert [symbols.ticker(name) for name in nowhere] == [None] * 5


@given(st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,40}", fullmatch=True))
def test_an_id_and_its_key_are_the_same(name: str) -> None:
    key = symbols.from_coingecko(name)
    assert key is not None
    assert symbols.to_coingecko(InstrumentKey.parse(key)) == name == symbols.ticker(key)
