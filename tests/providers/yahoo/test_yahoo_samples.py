"""Every Yahoo sample of the shared collection: checked rows, rejects with their reason, or the code it stands for."""

from __future__ import annotations

import json
import os
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.yahoo.simulator import YahooSimulator

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/yahoo/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
DATASETS = ("prices", "intraday_prices", "quotes", "corporate_actions", "instruments")
LATER = {"at": "2026-11-24T21:30:00Z"}  # long after the bars: one read makes them final


def bar(instrument: str, session: str, currency: str, *figures: str | None) -> dict[str, Any]:
    """A final bar; open, high, low, close, volume."""
    names = ("open", "high", "low", "close", "volume")
    amounts = {n: None if f is None else Decimal(f) for n, f in zip(names, figures, strict=True)}
    return {
        "instrument": instrument, "session": date.fromisoformat(session), "basis": "split_adjusted",
        "currency": currency, "provider": "yahoo", "state": "final", **amounts,
    }  # fmt: skip


# file: (rows, some of them by their place, reasons of the rejects) of `prices`, or the code of every dataset
EXPECTED: dict[str, tuple[int, dict[int, dict[str, Any]], list[str]] | str] = {
    "rec_chart_ALL.AX_2022.json": (
        64,
        {
            0: bar("xasx:ALL", "2021-10-13", "AUD", "44.422", "45.08933", "43.674995", "44.70088", "771128"),
            -2: bar("xasx:ALL", "2022-01-12", "AUD", "44.58", "44.64", "43.9", "44.15", "1032183"),
            -1: bar("xasx:ALL", "2022-01-13", "AUD", "44.38", "44.38", "43.72", "44.05", "848539"),
        },
        [],
    ),
    "rec_chart_MUV2.DE_2020.json": (
        122,
        {
            0: bar("xetr:MUV2", "2017-11-27", "EUR", None, None, None, "188.55", None),
            -1: bar("xetr:MUV2", "2018-05-25", "EUR", None, None, None, "188.3", None),
        },
        ["2018-05-21 is no session of XETR"],
    ),
    "rec_chart_beanprice_test_get_historical_price_71.json": (
        4,
        {
            0: bar("xtse:XSP", "2017-10-27", "CAD", "29.36", "29.51", "29.34", "29.48", "160800"),
            1: bar("xtse:XSP", "2017-10-30", "CAD", "29.43", "29.49", "29.35", "29.41", "118700"),
            2: bar("xtse:XSP", "2017-10-31", "CAD", "29.43", "29.47", "29.4", "29.44", "98500"),
            3: bar("xtse:XSP", "2017-11-01", "CAD", "29.53", "29.58", "29.43", "29.47", "227800"),
        },
        [],
    ),
    "rec_chart_beanprice_test_parse_null_prices_in_series_214.json": (
        3,
        {
            0: bar("mf:FBIIX", "2022-02-23", "USD", "9.69", "9.69", "9.69", "9.69", "0"),
            1: bar("mf:FBIIX", "2022-02-24", "USD", "9.71", "9.71", "9.71", "9.71", "0"),
            2: bar("mf:FBIIX", "2022-02-25", "USD", "9.69", "9.69", "9.69", "9.69", "0"),
        },
        [],
    ),
    # a known symbol without a bar of these days
    "rec_chart_beanprice_test_parse_response_no_timestamp_174.json": (0, {}, []),
    # a price of a moment: one bar of its day
    "rec_quote_beanprice_test_get_latest_price_32.json": (
        1,
        {0: {"instrument": "xtse:XSP", "session": date(2018, 3, 29), "close": Decimal("29.99"), "open": None,
             "volume": None, "currency": None}},
        [],
    ),
    # 200, and nothing under this symbol: not even a currency
    "rec_chart_mutualfund_no_data.json": "unknown_symbol",
    "rec_error_events_null.json": "unknown_symbol",
    "rec_error_not_found.json": "unknown_symbol",
    "rec_error_bad_request.json": "not_found",
    "rec_error_422_1m_range.json": "bad_request",
    "rec_error_422_intraday_60d.json": "bad_request",
    "rec_error_unauthorized.json": "auth_invalid",
    "error_401_invalid_crumb.json": "auth_invalid",
    "error_429.txt.json": "rate_limited",
    # no observed shape: an empty result beside an error, or of nothing
    "rec_quote_beanprice_test_parse_response_error_invalid_format_154.json": "contract_broken",
    "rec_quote_beanprice_test_parse_response_error_not_none_162.json": "contract_broken",
    # another endpoint, which is not asked
    "fix_search_BARC.L.json": "contract_broken",
    "fix_search_VFEG.L.json": "contract_broken",
    # tables that a library made of charts: no answer of Yahoo's. See below for what is in them
    "rec_bad_prices_4063-T-1d-bad-stock-split.json": "contract_broken",
    "rec_bad_prices_8TRA-DE-1d-missing-div-adjust.json": "contract_broken",
    "rec_bad_prices_ASAI-L-1h-bad-unit.json": "contract_broken",
}  # fmt: skip


def replayed(file: str, dataset: str = "prices", **context: str) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("market:yahoo"), dataset, [answer], {**LATER, **context})


def test_the_table_names_every_sample() -> None:
    on_disk = {path.name for path in SAMPLES.glob("*.json")} - {"INDEX.json"}
    assert set(EXPECTED) == on_disk == set(INDEX)
    assert len(on_disk) == 22


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_a_sample_gives_its_rows_its_rejects_or_its_code(file: str) -> None:
    expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        for dataset in DATASETS:
            with pytest.raises(FinInfraError) as caught:
                replayed(file, dataset)
            assert caught.value.code == expected
        return
    count, some, reasons = expected
    found = replayed(file)
    rows = found.good.to_dicts()
    assert len(rows) == count
    for place, wanted in some.items():
        assert {name: rows[place][name] for name in wanted} == wanted
    assert [reject.reason for reject in found.rejects] == reasons
    assert found.differing == ()


def test_every_bar_of_a_chart_is_a_row_or_is_told() -> None:
    """Dates are Sydney's, whose clocks did not change in these months: no stamp is lost, none doubled."""
    file = "rec_chart_ALL.AX_2022.json"
    [result] = json.loads((SAMPLES / file).read_text())["chart"]["result"]
    days = [datetime.fromtimestamp(at, ZoneInfo("Australia/Sydney")).date() for at in result["timestamp"]]
    assert replayed(file).good["session"].to_list() == days


def test_a_float32_is_told_by_no_row_as_anything_else() -> None:
    """What is kept is the recorded float32 again, for every price of every chart."""
    import struct

    for file in ("rec_chart_ALL.AX_2022.json", "rec_chart_beanprice_test_get_historical_price_71.json"):
        [result] = json.loads((SAMPLES / file).read_text())["chart"]["result"]
        [quote] = result["indicators"]["quote"]
        for name in ("open", "high", "low", "close"):
            for kept, told in zip(replayed(file).good[name], quote[name], strict=True):
                assert struct.unpack("f", struct.pack("f", float(kept)))[0] == pytest.approx(told, rel=1.2e-7)
                assert len(f"{kept.normalize():f}".partition(".")[2]) <= 6


def test_the_price_of_now_is_a_quote_of_each_chart() -> None:
    [row] = replayed("rec_chart_ALL.AX_2022.json", "quotes").good.to_dicts()
    assert (row["instrument"], row["price"], row["session"]) == ("xasx:ALL", Decimal("44.05"), date(2022, 1, 13))
    assert (row["open"], row["low"], row["currency"]) == (Decimal("44.38"), Decimal("43.72"), "AUD")
    assert row["previous_close"] is None, "the close before the chart's first bar is not yesterday's"
    [row] = replayed("rec_quote_beanprice_test_get_latest_price_32.json", "quotes").good.to_dicts()
    assert (row["price"], row["currency"]) == (Decimal("29.99"), None)
    silent = replayed("rec_chart_beanprice_test_get_historical_price_71.json", "quotes")
    assert [reject.reason for reject in silent.rejects] == ["it states no price"]


def test_a_quote_says_nothing_of_corporate_actions() -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed("rec_quote_beanprice_test_get_latest_price_32.json", "corporate_actions")
    assert caught.value.code == "contract_broken"


def test_an_instrument_and_days_may_be_named_and_what_is_outside_is_told() -> None:
    file = "rec_chart_ALL.AX_2022.json"
    assert replayed(file, instrument="xasx:ALL").good.equals(replayed(file).good)
    some = replayed(file, **{"from": "2022-01-05", "until": "2022-01-10"})
    assert [str(day) for day in some.good["session"]][::3] == ["2022-01-05", "2022-01-10"]
    assert {reject.reason.partition(" ")[2] for reject in some.rejects} == {"is outside of what was asked for"}


def test_an_answer_in_the_middle_of_a_day_is_provisional() -> None:
    file = "rec_chart_ALL.AX_2022.json"
    states = replayed(file, at="2022-01-13T05:10:07Z").good["state"].to_list()
    assert states[-1] == "provisional"


def test_throttling_as_text_is_told_whatever_the_status_and_waits() -> None:
    body = json.loads((SAMPLES / "error_429.txt.json").read_text())["body"].encode()
    for status in (200, 429, 999):
        with pytest.raises(FinInfraError) as caught:
            replay(resolve("yahoo"), "prices", [Recorded(body, status)], LATER)
        assert caught.value.code == "rate_limited"
    assert caught.value.as_dict()["retry_after"] == 900


# -- bad prices --------------------------------------------------------------------------------------------------------


def untabled(file: str, symbol: str, currency: str, zone: str, granularity: str) -> bytes:
    """The table as the chart that it was made of. Numbers keep their digits."""
    table = json.loads((SAMPLES / file).read_text())
    rows = sorted(dict(zip(table["columns"], row, strict=True)).items() for row in table["rows"])
    named = [dict(row) for row in rows]
    at = {id(row): datetime.fromisoformat(row.get("Date") or row["Datetime"]) for row in named}
    named.sort(key=lambda row: at[id(row)])
    meta = {"symbol": symbol, "currency": currency, "exchangeTimezoneName": zone, "dataGranularity": granularity}
    stamps = [int(at[id(row)].timestamp()) + (9 * 3600 if granularity == "1d" else 0) for row in named]
    columns = {name.lower(): [row[name] for row in named] for name in ("Open", "High", "Low", "Close", "Volume")}
    chart: dict[str, Any] = {"meta": {**meta, "priceHint": 2}, "timestamp": stamps, "indicators": {"quote": [columns]}}
    events: dict[str, Any] = {"dividends": {}, "splits": {}}
    for stamp, row in zip(stamps, named, strict=True):
        if float(row["Dividends"]):
            events["dividends"][str(stamp)] = {"amount": row["Dividends"], "date": stamp}
        if float(row["Stock Splits"]):
            shares = {"numerator": row["Stock Splits"], "denominator": 1}
            events["splits"][str(stamp)] = {"date": stamp, **shares}
    return json.dumps({"chart": {"result": [{**chart, "events": events}], "error": None}}).encode()


def test_bad_prices_a_bar_that_is_partly_in_pounds_is_set_aside() -> None:
    body = untabled("rec_bad_prices_ASAI-L-1h-bad-unit.json", "ASAI.L", "GBp", "Europe/London", "1h")
    built = replay(resolve("yahoo"), "intraday_prices", [Recorded(body)], LATER)
    assert (built.good.height, built.good["instrument"].unique().to_list()) == (19, ["xlon:ASAI"])
    closes = built.good["close"].to_list()
    assert (min(closes), max(closes)) == (Decimal("0.57160"), Decimal("0.7329")), "none is a hundredth of a pound"
    assert set(built.good["currency"]) == {"GBP"}
    [reject] = built.rejects
    assert reject.reason == "0.6 beside 61.5 in one bar: two units are mixed"
    assert reject.row["start_at"] == "2024-10-24T15:00:00+00:00"


def test_bad_prices_a_split_that_part_of_the_history_lacks_is_a_row_each_and_the_engine_sees_the_step() -> None:
    """One answer cannot tell which side is wrong. See tests/failures/test_yahoo.py for what a sync makes of it."""
    body = untabled("rec_bad_prices_4063-T-1d-bad-stock-split.json", "4063.T", "JPY", "Asia/Tokyo", "1d")
    found = replay(resolve("yahoo"), "prices", [Recorded(body)], LATER)
    closes = {str(day): close for day, close in found.good.select("session", "close").iter_rows()}
    assert (closes["2023-03-28"], closes["2023-03-29"]) == (Decimal(20710), Decimal(4206))
    acted = replay(resolve("yahoo"), "corporate_actions", [Recorded(body)], LATER).good.to_dicts()
    assert [(row["kind"], row["ratio"], row["amount"]) for row in acted] == [
        ("dividend", None, Decimal(275)), ("split", Decimal(5), None),
    ], "55 yen for a share of today were 275 for one of that day"  # fmt: skip


def test_bad_prices_a_dividend_that_adjclose_lacks_changes_nothing_since_adjclose_is_not_read() -> None:
    body = untabled("rec_bad_prices_8TRA-DE-1d-missing-div-adjust.json", "8TRA.DE", "EUR", "Europe/Berlin", "1d")
    found = replay(resolve("yahoo"), "prices", [Recorded(body)], LATER)
    assert [str(close.normalize()) for close in found.good["close"]] == ["19.35", "18.79", "18.9", "19", "18.66"]
    [paid] = replay(resolve("yahoo"), "corporate_actions", [Recorded(body)], LATER).good.to_dicts()
    assert (paid["ex_on"], paid["amount"], paid["currency"]) == (date(2023, 6, 2), Decimal("0.7"), "EUR")


# -- the simulator ------------------------------------------------------------------------------------------------------


def keys(value: Any) -> Any:
    """The names of an answer, whatever their values; of a list those of its first."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict | list) else None


def test_the_simulator_answers_in_the_shape_of_the_recorded_ones() -> None:
    import httpx

    from fin_infra.testing import VirtualClock, serve

    clock = VirtualClock(datetime.fromisoformat("2026-11-24T21:45:00Z"))
    yahoo = YahooSimulator(now=clock)
    yahoo.set_bar("ALL.AX", "2026-11-23", "44.05")
    yahoo.set_bar("ALL.AX", "2026-11-24", "44.06")
    yahoo.listed("APPL", kind="MUTUALFUND", exchange="YHD", silent=True)
    with serve(yahoo) as served, httpx.Client(base_url=served.url, headers={"User-Agent": "Mozilla/5.0"}) as client:
        for symbol, file in (
            ("ALL.AX", "rec_chart_ALL.AX_2022.json"),
            ("APPL", "rec_chart_mutualfund_no_data.json"),
            ("NONE", "rec_error_not_found.json"),
        ):
            answer = client.get(f"/v8/finance/chart/{symbol}?interval=1d&range=5d")
            assert answer.status_code == INDEX[file]["status"]
            assert keys(answer.json()) == keys(json.loads((SAMPLES / file).read_text()))
        told = client.get("/v7/finance/quote?symbols=ALL.AX")
        assert (told.status_code, told.json()) == (
            401, json.loads((SAMPLES / "error_401_invalid_crumb.json").read_text()),
        )  # fmt: skip
        refused = httpx.get(f"{served.url}/v8/finance/chart/ALL.AX", headers={"User-Agent": "python"})
        wrapped = json.loads((SAMPLES / "error_429.txt.json").read_text())
        assert (refused.status_code, refused.text) == (wrapped["status"], wrapped["body"])
