"""Recorded bars of minutes and hours: rows where the interval is one that is synced, never as another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import UsageError
from fin_infra.providers import resolve

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/alpaca/samples"


def rows(file: str, interval: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    answer = Recorded((SAMPLES / file).read_bytes())
    found = replay(resolve("alpaca"), "intraday_prices", [answer], {"interval": interval})
    good = [
        (r["instrument"], f"{r['start_at']:%Y-%m-%d %H:%M}", f"{r['close'].normalize():f}")
        for r in found.good.to_dicts()
    ]
    return good, [reject.reason for reject in found.rejects]


def test_a_coins_minute_is_a_row() -> None:
    assert rows("doc_data_v1beta3_crypto_loc_bars.json", "1m") == (
        [("crypto:bitcoin", "2022-05-27 10:18", "29003")],
        [],
    )


def test_it_is_no_bar_of_half_an_hour() -> None:
    good, reasons = rows("doc_data_v1beta3_crypto_loc_bars.json", "30m")
    assert (good, reasons) == ([], ["no 30m bar begins at 2022-05-27T10:18:00+00:00"])


@pytest.mark.parametrize("file", ["doc_data_v2_stocks_bars.json", "doc_data_v2_stocks_symbol_bars.json"])
def test_what_trades_before_the_open_is_no_bar_of_the_session(file: str) -> None:
    assert rows(file, "1m") == ([], [])  # four in the morning in New York


def test_hours_that_begin_on_the_clock_are_not_kept() -> None:
    with pytest.raises(UsageError, match="interval='1h' is none that is synced; there are: 1m, 5m, 15m, 30m"):
        rows("fix_options_bars_multi.json", "1h")
