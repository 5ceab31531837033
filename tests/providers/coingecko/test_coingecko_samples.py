"""Every CoinGecko sample of the shared collection: checked rows, rejects with their reason, or the code it stands for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError, UsageError
from fin_infra.providers import resolve

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/coingecko/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
DATASETS = ("prices", "intraday_prices", "quotes", "instruments")
BITCOIN = {"at": "2026-11-24T12:00:00Z", "instrument": "crypto:bitcoin"}  # long after the bars: one read is enough


@dataclass(frozen=True)
class Rows:
    good: list[dict[str, Any]]
    reasons: list[str] = field(default_factory=list)


def bar(session: str, close: str, state: str = "final", coin: str = "bitcoin", **more: str) -> dict[str, Any]:
    nulls: dict[str, Any] = dict.fromkeys(("open", "high", "low", "volume"))
    told = {name: Decimal(value) for name, value in more.items()}
    return {"instrument": f"crypto:{coin}", "session": date.fromisoformat(session), "close": Decimal(close),
            "state": state, "basis": "raw", "currency": "USD", "provider": "coingecko", **nulls, **told}  # fmt: skip


def quote(coin: str, price: str, at: datetime | None) -> dict[str, Any]:
    nulls = dict.fromkeys(("open", "high", "low", "volume", "previous_close"))
    return {"instrument": f"crypto:{coin}", "price": Decimal(price), "quoted_at": at, "currency": "USD",
            "session": at and at.date(), **nulls}  # fmt: skip


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def coin(name: str, title: str) -> dict[str, Any]:
    nulls = dict.fromkeys(("currency", "mic", "isin", "listed_on"))
    return {"instrument": f"crypto:{name}", "name": title, "kind": "crypto", **nulls}


def candle(start: str, interval: str, prices: str, state: str = "final") -> dict[str, Any]:
    """`prices`: open, high, low and close."""
    told = dict(zip(("open", "high", "low", "close"), map(Decimal, prices.split()), strict=True))
    return {"instrument": "crypto:bitcoin", "interval": interval, "start_at": moment(start), "volume": None,
            "state": state, "basis": "raw", "currency": "USD", **told}  # fmt: skip


NOW = Rows([bar("2026-05-17", "78052.87543398788", "provisional")])  # two points of five minutes: the newest is now
ALL_OTHER: dict[str, Rows | str] = dict.fromkeys(DATASETS, "contract_broken")


def only(**expected: Rows | str) -> dict[str, Rows | str]:
    """What is of these datasets; asked for any other it is another endpoint's answer."""
    return {**ALL_OTHER, **expected}


def refused(code: str) -> dict[str, Rows | str]:
    return dict.fromkeys(DATASETS, code)


EXPECTED: dict[str, dict[str, Rows | str]] = {
    "doc_coins_id_market_chart.json": only(prices=NOW),
    "doc_coins_id_market_chart_range.json": only(prices=NOW),
    "rec_coins_id_market_chart.json": only(prices=Rows([
        bar("2023-12-16", "42247.06788172229"), bar("2023-12-17", "41410.819634575855"),
        bar("2023-12-18", "42684.182554683386"), bar("2023-12-19", "42250.206182797505"),
        bar("2023-12-20", "43634.1241684964"),
    ])),
    "doc_pro_coins_id_ohlc_range.json": only(prices=Rows([
        bar("2025-11-30", "90406", open="90832", high="91905", low="90406"),
        bar("2025-12-01", "86281", open="90360", high="90360", low="83989"),
    ])),
    "doc_simple_price.json": only(
        quotes=Rows([quote("bitcoin", "76975", moment("2026-05-18T08:17:38Z"))]),
        prices=Rows([bar("2026-05-18", "76975", "provisional")]),
    ),
    "rec_simple_price.json": only(quotes=Rows([quote("bitcoin", "42317", None)])),  # of which day nobody says
    "simple_price_partial_nulls.json": only(
        quotes=Rows(
            [
                quote("bitcoin", "67187.3358936566", moment("2024-03-25T08:45:00Z")),
                quote("very-small", "0.0000000001234", moment("2024-03-25T08:45:00Z")),
            ],
            ["breaks price|nullability"],
        ),
        prices=Rows(
            [
                bar("2024-03-25", "67187.3358936566", "provisional"),
                bar("2024-03-25", "0.0000000001234", "provisional", "very-small"),
            ],
            ["breaks close|nullability"],
        ),
    ),
    "doc_coins_markets.json": only(
        quotes=Rows([quote("bitcoin", "77671", moment("2026-05-18T12:49:21.599Z"))]),
        prices=Rows([bar("2026-05-18", "77671", "provisional")]),
    ),
    "rec_coins_markets.json": only(
        quotes=Rows([
            quote("bitcoin", "43602", moment("2023-12-25T18:43:11.740Z")),
            quote("ethereum", "2280.2", moment("2023-12-25T18:43:11.750Z")),
        ]),
        prices=Rows([
            bar("2023-12-25", "43602", "provisional"), bar("2023-12-25", "2280.2", "provisional", "ethereum"),
        ]),
    ),
    "doc_coins_list.json": only(
        instruments=Rows([coin("official-trump", "Official Trump"), coin("ondo-finance", "Ondo")])
    ),
    "simple_price_unknown_id.json": only(prices="unknown_symbol", quotes="unknown_symbol"),
    "doc_coins_id_ohlc.json": only(intraday_prices=Rows([
        candle("2026-05-19T13:30:00Z", "30m", "76769 76889 76744 76818"),
        candle("2026-05-19T14:00:00Z", "30m", "76712 76712 76321 76422"),
    ])),
    # prices by contract without their chain; other endpoints
    **dict.fromkeys(
        (
            "doc_simple_token_price_id.json",
            "doc_asset_platforms.json", "doc_coins_id_history.json", "doc_exchange_rates.json",
            "rec_exchange_rates.json", "doc_ping.json", "doc_pro_key.json", "doc_search.json",
            "doc_simple_supported_vs_currencies.json", "rec_coins_id_tickers.json",
        ),
        only(),
    ),
    "error_400_missing_vs_currency.json": refused("bad_request"),
    "error_400_wrong_host_10010.json": refused("auth_invalid"),
    "error_400_wrong_host_10011.json": refused("auth_invalid"),
    "error_401_invalid_key_10002.json": refused("auth_invalid"),
    "error_401_missing_key_10002.json": refused("auth_invalid"),
    "error_401_plan_restricted_10005.json": refused("plan_limit"),
    "error_401_time_range_10012.json": refused("plan_limit"),
    "error_404_coin_not_found.json": refused("unknown_symbol"),
    "error_429_rate_limit.json": refused("rate_limited"),
}  # fmt: skip
CANDLES = "rec_coins_id_ohlc.json"  # see below
CASES = [(file, dataset) for file, expected in sorted(EXPECTED.items()) for dataset in expected]
ERRORS = sorted(file for file, row in INDEX.items() if row["status"] != 200)


def replayed(file: str, dataset: str, context: dict[str, str] = BITCOIN, status: int | None = None) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), status or row["status"], row["headers"])
    return replay(resolve("crypto:coingecko"), dataset, [answer], context)


def test_the_table_names_every_sample() -> None:
    on_disk = {path.name for path in SAMPLES.glob("*.json")} - {"INDEX.json"}
    assert set(EXPECTED) | {CANDLES} == on_disk == set(INDEX)
    assert len(on_disk) == 32


@pytest.mark.parametrize(("file", "dataset"), CASES)
def test_a_sample_gives_its_rows_its_rejects_or_its_code(file: str, dataset: str) -> None:
    expected = EXPECTED[file][dataset]
    if isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            replayed(file, dataset)
        assert caught.value.code == expected
        return
    found = replayed(file, dataset)
    shown = [{name: row[name] for name in want} for row, want in zip(found.good.to_dicts(), expected.good, strict=True)]
    assert shown == expected.good
    assert [reject.reason for reject in found.rejects] == expected.reasons
    assert found.differing == ()


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("file", ERRORS)
def test_a_refusal_with_status_200_or_403_is_the_same_refusal(file: str, dataset: str) -> None:
    for status in (200, 403):
        with pytest.raises(FinInfraError) as caught:
            replayed(file, dataset, status=status)
        code = EXPECTED[file][dataset]
        if file == "error_400_missing_vs_currency.json":  # no code: with a status that does not go with it, it is vague
            code = "contract_broken" if status == 200 else "rate_limited"
        assert caught.value.code == code


def test_a_chart_needs_to_be_told_of_which_coin_it_is() -> None:
    with pytest.raises(UsageError, match="--context instrument=crypto:bitcoin"):
        replayed("rec_coins_id_market_chart.json", "prices", {})


def test_the_days_before_from_and_after_until_are_left_out() -> None:
    context = {**BITCOIN, "from": "2023-12-17", "until": "2023-12-18"}
    found = replayed("rec_coins_id_market_chart.json", "prices", context)
    assert found.good["session"].to_list() == [date(2023, 12, 17), date(2023, 12, 18)]
    assert found.rejects == ()


def test_a_bar_of_a_price_of_now_is_never_final_however_late_it_is_read() -> None:
    rows = replayed("doc_coins_id_market_chart.json", "prices", {**BITCOIN, "at": "2036-01-01T00:00:00Z"}).good
    assert rows["state"].to_list() == ["provisional"]
    assert rows["fetched_at"].to_list() == [moment("2026-05-17T14:29:59.661Z")]


def test_a_wait_is_told() -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed("error_429_rate_limit.json", "quotes")
    assert caught.value.as_dict()["retry_after"] == 60.0


def test_recorded_candles_are_contiguous_and_the_last_one_was_open() -> None:
    """Seven days in steps of four hours, read when the last one had just begun: its four prices are one."""
    rows = replayed(CANDLES, "intraday_prices", {**BITCOIN, "at": "2023-12-26T04:05:00Z"}).good
    first, last = moment("2023-12-19T04:00:00Z"), moment("2023-12-26T04:00:00Z")
    assert rows["start_at"].to_list() == [first + n * timedelta(hours=4) for n in range(43)]
    assert rows["start_at"].to_list()[-1] == last
    assert rows["interval"].unique().to_list() == ["4h"]
    assert rows["state"].to_list()[-2:] == ["provisional", "provisional"], "the one before may be kept on its way"
    assert set(rows["state"].to_list()[:-2]) == {"final"}
    [newest] = rows.tail(1).to_dicts()
    assert {newest[name] for name in ("open", "high", "low", "close")} == {Decimal(43441)}


def test_an_interval_that_is_not_that_of_the_candles_is_refused() -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed(CANDLES, "intraday_prices", {**BITCOIN, "interval": "30m"})
    assert caught.value.code == "contract_broken"
    assert len(replayed(CANDLES, "intraday_prices", {**BITCOIN, "interval": "4h"}).good) == 43


@pytest.mark.parametrize("dataset", ["prices", "quotes", "instruments"])
def test_recorded_candles_are_nothing_else(dataset: str) -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed(CANDLES, dataset)
    assert caught.value.code == "contract_broken"
