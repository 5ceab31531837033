"""Every sample of exchanges' candles in the shared collection: its rows, why it has none, or the code it stands for."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError
from fin_infra.providers import resolve

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/ccxt/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
HOURS = {"instrument": "crypto:bitcoin", "interval": "1h", "at": "2026-11-24T00:00:00Z"}

Row = tuple[str, str, str, str, str, str]
"""Start and the five numbers of the first and of the last row."""
EXPECTED: dict[str, tuple[dict[str, str], int, Row, Row] | str] = {
    "rec_coinbase_error_429.json": "rate_limited",
    "rec_kraken_error_rate_limit.json": "rate_limited",
    "rec_kraken_error_unknown_pair.json": "unknown_symbol",
    "rec_coinbase_exchange_candles.json": (
        HOURS, 1, ("2024-03-13T11:00", "73243.33", "73402.47", "73241.5", "73370.65", "1.56794406"),
        ("2024-03-13T11:00", "73243.33", "73402.47", "73241.5", "73370.65", "1.56794406"),
    ),
    "rec_coinbase_unified_ohlcv.json": (
        HOURS, 1, ("2024-03-13T11:00", "73243.33", "73402.47", "73241.5", "73370.65", "1.56794406"),
        ("2024-03-13T11:00", "73243.33", "73402.47", "73241.5", "73370.65", "1.56794406"),
    ),
    "rec_kraken_public_OHLC_slice.json": (
        HOURS, 2, ("2024-01-30T19:00", "43375.0", "43539.7", "43357.1", "43539.7", "10.82796308"),
        ("2024-02-01T15:00", "42633.7", "42905.4", "42545.2", "42548.5", "75.60416795"),
    ),
    "rec_kraken_unified_ohlcv.json": (
        HOURS, 3, ("2024-01-30T16:00", "43366.3", "43529.2", "43234.2", "43485", "12.51327406"),
        ("2024-01-30T18:00", "43398.3", "43500.5", "42983.1", "43386.6", "81.88339686"),
    ),
    "rec_fetch_ohlcv_1h_XRP_USDT_futures.json": (
        {**HOURS, "instrument": "crypto:ripple"}, 0, ("2021-11-17T01:00", "1.0801", "1.09758", "1.07654", "1.07925", "3153694.607359"),
        ("", "", "", "", "", ""),
    ),
    "rec_fetch_ohlcv_1m_with_gap.json": (
        {**HOURS, "interval": "1m"}, 300, ("2017-11-04T23:02", "0.00162008", "0.00162008", "0.00162008", "0.00162008", "108.14853839"),
        ("", "", "", "", "", ""),
    ),
    "rec_coinbase_exchange_ticker.json": "a ticker",
    "rec_kraken_public_Ticker.json": "a ticker",
}  # fmt: skip


def replayed(file: str, dataset: str, context: dict[str, str]) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("crypto:ccxt"), dataset, [answer], context)


def told(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["start_at"], *(row[name] for name in ("open", "high", "low", "close", "volume"))


def meant(row: Row) -> tuple[Any, ...]:
    start, *numbers = row
    return datetime.fromisoformat(start).replace(tzinfo=UTC), *(Decimal(number) for number in numbers)


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == set(INDEX)


@pytest.mark.parametrize(
    "file", sorted(name for name, what in EXPECTED.items() if isinstance(what, str) and what in CODES)
)
@pytest.mark.parametrize("dataset", ["prices", "intraday_prices"])
def test_a_refusal_has_its_code(file: str, dataset: str) -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed(file, dataset, HOURS)
    assert caught.value.code == EXPECTED[file]


@pytest.mark.parametrize("file", sorted(name for name, what in EXPECTED.items() if isinstance(what, tuple)))
def test_a_sample_gives_its_candles(file: str) -> None:
    expected = EXPECTED[file]
    assert isinstance(expected, tuple)
    context, count, first, last = expected
    found = replayed(file, "intraday_prices", context)
    assert (found.rejects, found.differing) == ((), ())
    rows = found.good.to_dicts()
    body = json.loads((SAMPLES / file).read_text())
    assert len(rows) == (count or len(body))
    assert told(rows[0]) == meant(first)
    if last[0]:
        assert told(rows[-1]) == meant(last)
    if isinstance(body, list) and "unified" not in file and "exchange" not in file:  # as text they are all exact
        exact = json.loads((SAMPLES / file).read_text(), parse_float=Decimal, parse_int=Decimal)
        assert [told(row)[1:] for row in rows] == [tuple(line[1:]) for line in exact]
    assert {row["state"] for row in rows} == {"final"}
    assert {row["instrument"] for row in rows} == {context["instrument"]}
    assert {row["currency"] for row in rows} == {"USDT" if "public_OHLC" in file else None}


def test_the_candle_that_was_open_when_it_was_recorded_is_provisional() -> None:
    found = replayed("rec_kraken_public_OHLC_slice.json", "intraday_prices", {**HOURS, "at": "2024-02-01T15:40:00Z"})
    assert found.good["state"].to_list() == ["final", "provisional"]


def test_a_minute_in_which_nobody_traded_is_no_row() -> None:
    found = replayed("rec_fetch_ohlcv_1m_with_gap.json", "intraday_prices", {**HOURS, "interval": "1m"})
    starts = found.good["start_at"].to_list()
    assert (starts[-1] - starts[0]).total_seconds() / 60 + 1 > len(starts) == 300


def test_hours_are_no_days() -> None:
    found = replayed("rec_kraken_unified_ohlcv.json", "prices", HOURS)
    assert (found.good.height, len(found.rejects)) == (0, 3)
    assert "session" in found.rejects[0].reason


def test_a_ticker_is_one_provisional_bar_of_the_day_that_it_names_and_none_where_it_names_none() -> None:
    named = replayed("rec_coinbase_exchange_ticker.json", "prices", {**HOURS, "at": "2024-03-13T11:11:00Z"})
    assert named.good.select("session", "close", "state", "volume").rows() == [
        (date(2024, 3, 13), Decimal("73367.8"), "provisional", None)
    ]
    unnamed = replayed("rec_kraken_public_Ticker.json", "prices", HOURS)
    assert (unnamed.good.height, len(unnamed.rejects)) == (0, 1)
    assert "session" in unnamed.rejects[0].reason
    for file in ("rec_coinbase_exchange_ticker.json", "rec_kraken_public_Ticker.json"):
        assert replayed(file, "intraday_prices", HOURS).good.is_empty()
