"""Every Alpha Vantage sample of the shared collection: checked rows, or the code it stands for."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.alphavantage import frames, wire
from fin_infra.providers.base import Ask

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/alphavantage/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
DATASETS = ("prices", "intraday_prices", "quotes", "fx_rates", "instruments", "corporate_actions")
LATER = {"at": "2026-11-24T21:30:00Z"}


def bar(session: str, *figures: str) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume")
    return {
        "instrument": "us:MSFT", "session": date.fromisoformat(session), "basis": "raw", "currency": "USD",
        "provider": "alphavantage", "state": "final", **dict(zip(names, map(Decimal, figures), strict=True)),
    }  # fmt: skip


MSFT = {
    0: bar("2019-03-13", "114.13", "115", "113.78", "114.5", "35513750"),
    -1: bar("2019-08-02", "138.09", "138.32", "135.26", "136.9", "30781971"),
}


def minute(interval: str, start: str, *figures: str) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume")
    return {
        "instrument": "us:MSFT", "interval": interval, "start_at": datetime.fromisoformat(start), "basis": "raw",
        "currency": "USD", "provider": "alphavantage", **dict(zip(names, map(Decimal, figures), strict=True)),
    }  # fmt: skip


QUOTE = {
    "instrument": "us:MSFT", "price": Decimal("136.9"), "currency": "USD", "session": date(2019, 8, 2),
    "open": Decimal("138.09"), "high": Decimal("138.3165"), "low": Decimal("135.26"), "quoted_at": None,
    "previous_close": Decimal("138.06"), "volume": Decimal(30791624),
}  # fmt: skip


def rate(day: str, value: str) -> dict[str, Any]:
    return {"base": "EUR", "quote": "USD", "rate_on": date.fromisoformat(day), "rate": Decimal(value)}


# file → dataset → (how many rows, some of them by their place), or an error code; for a dataset that is not named it
# is another shape: contract_broken
EXPECTED: dict[str, dict[str, tuple[int, dict[int, dict[str, Any]]] | str]] = {
    "error_message_invalid_call_200.json": dict.fromkeys(DATASETS, "unknown_symbol"),
    "error_message_invalid_key_200.json": dict.fromkeys(DATASETS, "auth_invalid"),
    "fix_HISTORICAL_OPTIONS_IBM.json": {},
    "global_quote_empty_200.json": dict.fromkeys(DATASETS, "unknown_symbol"),
    "info_burst_1_per_second_200.json": dict.fromkeys(DATASETS, "rate_limited"),
    "info_daily_quota_with_key_200.json": dict.fromkeys(DATASETS, "rate_limited"),
    "info_demo_key_200.json": dict.fromkeys(DATASETS, "auth_invalid"),
    "info_legacy_25_per_day_200.json": dict.fromkeys(DATASETS, "rate_limited"),
    "info_premium_endpoint_200.json": dict.fromkeys(DATASETS, "plan_limit"),
    "note_legacy_5_per_minute_200.json": dict.fromkeys(DATASETS, "rate_limited"),
    "rec_CURRENCY_EXCHANGE_RATE_BTC_CNY.json": {
        "fx_rates": (1, {0: {"base": "BTC", "quote": "CNY", "rate_on": date(2017, 12, 20), "rate": Decimal("109631.430607")}}),
    },
    "rec_FX_DAILY_EUR_USD.json": {"fx_rates": (2, {0: rate("2026-01-22", "1.1754"), 1: rate("2026-01-23", "1.1826")})},
    "rec_FX_WEEKLY_EUR_USD.json": {},
    "rec_GLOBAL_QUOTE_MSFT.json": {
        "quotes": (1, {0: QUOTE}),
        "prices": (1, {0: bar("2019-08-02", "138.09", "138.3165", "135.26", "136.9", "30791624")}),
    },
    "rec_OVERVIEW.json": {
        "instruments": (1, {0: {
            "instrument": "us:IBM", "name": "International Business Machines Corporation", "kind": "equity",
            "mic": "XNYS", "currency": "USD", "quote_unit": "major",
        }}),
    },
    "rec_SYMBOL_SEARCH_BA.json": {
        "instruments": (10, {0: {"instrument": "us:BA", "name": "The Boeing Company", "kind": "equity", "mic": None,
                                "currency": "USD"}}),
    },
    "rec_TIME_SERIES_DAILY_ADJUSTED_MSFT.json": {"prices": (100, MSFT)},
    "rec_TIME_SERIES_DAILY_MSFT.json": {"prices": (100, MSFT)},
    "rec_TIME_SERIES_INTRADAY_MSFT_1min.json": {"intraday_prices": (100, {
        -1: minute("1m", "2017-12-18T19:56:00Z", "86.49", "86.5", "86.475", "86.5", "10494"),
    })},
    # of its two days the bars that begin at the close are set aside: such answers of 2019 stamp the end
    "rec_TIME_SERIES_INTRADAY_MSFT_5min.json": {"intraday_prices": (98, {
        -1: minute("5m", "2019-08-02T19:55:00Z", "136.58", "136.66", "136.45", "136.64", "766744"),
    })},
    "rec_TIME_SERIES_WEEKLY_ADJUSTED_MSFT.json": {},
    "symbol_search_empty_200.json": dict.fromkeys(DATASETS, "unknown_symbol"),
}  # fmt: skip
WAITS = {
    "info_burst_1_per_second_200.json": 2.0, "note_legacy_5_per_minute_200.json": 60.0,
    "info_daily_quota_with_key_200.json": 86400.0, "info_legacy_25_per_day_200.json": 86400.0,
}  # fmt: skip


def recorded(name: str) -> Recorded:
    row = INDEX[name]
    return Recorded((SAMPLES / name).read_bytes(), int(row.get("status") or 200), row.get("headers") or {})


def test_every_file_is_in_the_table() -> None:
    assert set(EXPECTED) == set(INDEX)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_is_the_rows_or_the_code_it_stands_for(name: str, dataset: str) -> None:
    wanted = EXPECTED[name].get(dataset, "contract_broken")
    if isinstance(wanted, str):
        with pytest.raises(FinInfraError) as refused:
            replay(resolve("market:alphavantage"), dataset, [recorded(name)], LATER)
        assert refused.value.code == wanted
        if name in WAITS:
            assert getattr(refused.value, "retry_after", None) == WAITS[name]
        assert "XXXXXXXX" not in str(refused.value)
        return
    found = replay(resolve("market:alphavantage"), dataset, [recorded(name)], LATER)
    rows = found.good.to_dicts()
    assert len(rows) == wanted[0]
    for place, row in wanted[1].items():
        assert {key: rows[place][key] for key in row} == row


@pytest.mark.parametrize(
    ("name", "interval", "first", "last", "kept"),
    [
        (
            "rec_TIME_SERIES_INTRADAY_MSFT_1min.json", "1m", datetime(2017, 12, 18, 18, 17, tzinfo=UTC),
            datetime(2017, 12, 18, 19, 56, tzinfo=UTC), 100,
        ),
        (
            "rec_TIME_SERIES_INTRADAY_MSFT_5min.json", "5m", datetime(2019, 8, 1, 18, 15, tzinfo=UTC),
            datetime(2019, 8, 2, 20, 0, tzinfo=UTC), 98,
        ),
    ],
)  # fmt: skip
def test_intraday_stamps_are_new_yorks(name: str, interval: str, first: datetime, last: datetime, kept: int) -> None:
    """In 2019 a bar was stamped with its end: that of 16:00 is outside of the hours, by what a stamp means today."""
    at = datetime(2026, 11, 24, tzinfo=UTC)
    ask = Ask("alphavantage", "t", "c", "r", at)
    built = frames.intraday_prices([(wire.intraday((SAMPLES / name).read_bytes()), at)], ask)
    assert built.rejects == ()
    assert built.good.height == 100
    assert set(built.good["interval"]) == {interval}
    assert (built.good["start_at"].min(), built.good["start_at"].max()) == (first, last)
    found = replay(resolve("market:alphavantage"), "intraday_prices", [recorded(name)], LATER)
    assert (found.good.height, len(found.rejects)) == (kept, 100 - kept)
    assert {reject.reason.partition(" is ")[2] for reject in found.rejects} <= {
        "outside of what was asked for, or of the hours of XNYS"
    }
