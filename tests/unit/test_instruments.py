"""Keys of instruments and Alpaca's spellings of them: there and back, or not at all."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.instruments import calendar_of, occ_of, option_of
from fin_infra.providers.alpaca.symbols import COINS, from_alpaca, priced, to_alpaca

TABLE = Path(__file__).parents[1] / "data/symbols_alpaca.csv"
REFERENCE = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
"""Rows of the reference collection, with what makes each hard and who says so."""

letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=5)
shares = st.tuples(letters, st.sampled_from(["", ".A", ".B", ".U", ".WS", ".PRL", ".RT"])).map("".join)
us_keys = shares.map("us:{}".format)
crypto_keys = st.sampled_from(sorted(COINS.values())).map("crypto:{}".format)
strikes = st.integers(1, 99_999_999).map(lambda mils: f"{mils // 1000}.{mils % 1000:03}".rstrip("0").rstrip("."))
roots = st.tuples(letters, st.sampled_from(["", "1", "7"])).map("".join)
option_keys = st.builds(
    lambda root, day, right, strike: f"opt:{root}:{day}:{right}:{strike}",
    roots, st.dates(date(2000, 1, 1), date(2099, 12, 31)), st.sampled_from("CP"), strikes,
)  # fmt: skip


def test_the_reference_has_the_hard_cases() -> None:
    assert len(REFERENCE) == 9
    assert {row["vendor"] for row in REFERENCE} == {"alpaca"}
    assert all(row["verified_by"] and row["direction"] == "both" for row in REFERENCE)


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: row["instrument_key"])
def test_an_instrument_of_the_reference_goes_there_and_back(row: dict[str, str]) -> None:
    assert to_alpaca(row["instrument_key"]) == row["vendor_symbol"]
    assert from_alpaca(row["vendor_symbol"]) == row["instrument_key"]


@given(st.one_of(us_keys, crypto_keys, option_keys))
def test_any_key_goes_there_and_back(key: str) -> None:
    symbol = to_alpaca(key)
    assert symbol is not None
    assert from_alpaca(symbol) == key


@given(st.one_of(shares, st.text(max_size=22), st.text("AB./0 \n:", max_size=12)))
def test_whatever_the_symbol_is_its_key_has_a_spelling_that_leads_back_to_it(symbol: str) -> None:
    key = from_alpaca(symbol)
    assert key is None or from_alpaca(to_alpaca(key) or "") == key


@given(st.text(max_size=30), st.sampled_from(["us", "opt", "crypto", "xlon", "fx", ""]))
def test_a_key_without_a_spelling_of_its_own_has_none(rest: str, namespace: str) -> None:
    symbol = to_alpaca(f"{namespace}:{rest}")
    assert symbol is None or from_alpaca(symbol) == f"{namespace}:{rest}"


@pytest.mark.parametrize(
    ("symbol", "asset_class", "key"),
    [
        ("BTC/USD", None, "crypto:bitcoin"), ("BTC/USD", "crypto", "crypto:bitcoin"),
        ("BTCUSD", "crypto", "crypto:bitcoin"), ("USDCUSD", "crypto", "crypto:usd-coin"),
        ("BTCUSD", None, "crypto:bitcoin"),  # the older form, where no class is said
        ("BTCUSD", "us_equity", "us:BTCUSD"), ("USD", None, "us:USD"), ("UUSD", None, "us:UUSD"),
        ("BTC", "crypto", None), ("USD", "crypto", None), ("NOCOINUSD", "crypto", None), ("NOCOIN/USD", None, None),
        ("DOGE/USDC", "crypto", None), ("ETH/BTC", None, None), ("/USD", None, None),
        ("SPY240621P00500000", "us_option", "opt:SPY:2024-06-21:P:500"),
        ("SPY240621P00500000", None, "opt:SPY:2024-06-21:P:500"),
        ("SPY", "us_option", None), ("BRK.B", "us_equity", "us:BRK.B"), ("BRK-B", None, None), ("brk.b", None, None),
        ("", None, None), ("AAPL\n", None, None), (" AAPL", None, None), ("22544F103", "us_equity", None),
    ],
)  # fmt: skip
def test_a_symbol_by_its_class(symbol: str, asset_class: str | None, key: str | None) -> None:
    assert from_alpaca(symbol, asset_class) == key


@pytest.mark.parametrize(
    ("occ", "key"),
    [
        ("AAPL260116C00200000", "opt:AAPL:2026-01-16:C:200"), ("AAPL  260116C00200000", "opt:AAPL:2026-01-16:C:200"),
        ("SPXW251219P05812500", "opt:SPXW:2025-12-19:P:5812.5"), ("F260116C00000500", "opt:F:2026-01-16:C:0.5"),
        ("AAPL1260116C00200000", "opt:AAPL1:2026-01-16:C:200"), ("BRK.B260116C00400000", "opt:BRK.B:2026-01-16:C:400"),
        ("AAPL261316C00200000", None), ("AAPL260230C00200000", None), ("AAPL260116X00200000", None),
        ("AAPL260116C200000", None), ("AAPL260116C00200000\n", None), ("TOOLONG260116C00200000", None), ("AAPL", None),
    ],
)  # fmt: skip
def test_an_option_by_its_occ_symbol(occ: str, key: str | None) -> None:
    assert option_of(occ) == key
    assert key is None or occ_of(key) == occ.replace(" ", "")


@pytest.mark.parametrize(
    "key",
    [
        "opt:AAPL:2026-01-16:C:200.0005", "opt:AAPL:2026-01-16:C:100000", "opt:AAPL:2026-01-16:C:200.0",
        "opt:AAPL:2026-01-16:C:0200", "opt:AAPL:2026-01-16:C:1.2.3", "opt:AAPL:2026-01-16:C:", "opt:AAPL:2026-13-16:C:200",
        "opt:AAPL:2126-01-16:C:200", "opt:TOOLONG:2026-01-16:C:200", "opt:AAPL:2026-01-16:X:200", "us:AAPL", "",
    ],
)  # fmt: skip
def test_what_occ_cannot_write_has_no_symbol_rather_than_a_rounded_one(key: str) -> None:
    assert occ_of(key) is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("us:AAPL", "XNYS"), ("opt:AAPL:2026-01-16:C:200", "XNYS"), ("crypto:bitcoin", "24/7"), ("xlon:VOD", "XLON"),
        ("alpaca:b28f4066-5c6d-479b-a2af-85dc1a8f16fb", None), ("fx:EURUSD", "FX"), ("isin:US0378331005", None),
        ("figi:BBG000B9XRY4", None), ("caip19:eip155:1/slip44:60", "24/7"), ("", None),
        ("mf:VFIAX", "XNYS"), ("bvmf:PETR4", "BVMF"), ("roco:6488", "ROCO"), ("fut:xcec:GC", "CMES"),
        ("fut:ifus:KC", None), ("idx:SPX", None), ("cash:USD", None), ("sedol:0263494", None),
    ],
)  # fmt: skip
def test_the_calendar_of_an_instrument(key: str, name: str | None) -> None:
    assert calendar_of(key) == name


def test_no_daily_bars_are_asked_of_options() -> None:
    assert priced("opt:AAPL:2026-01-16:C:200") is None
    assert (priced("us:BRK.B"), priced("crypto:bitcoin")) == ("BRK.B", "BTC/USD")


def test_every_coin_has_one_ticker() -> None:
    assert len(set(COINS.values())) == len(COINS)
