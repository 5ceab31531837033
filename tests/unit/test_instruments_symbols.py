"""Keys ↔ spellings: every row of the reference collection, and what holds for all keys."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fin_infra.errors import FinInfraError
from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.symbols import from_vendor, quote_at, to_vendor

TABLE = Path(__file__).parents[1] / "data/symbol_roundtrip.csv"
REFERENCE = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"{row['instrument_key']} {row['vendor']}")
def test_a_row_of_the_reference(row: dict[str, str]) -> None:
    key, vendor, symbol = row["instrument_key"], row["vendor"], row["vendor_symbol"]
    if row["direction"] == "reject":
        with pytest.raises(FinInfraError):
            InstrumentKey.parse(key)
        with pytest.raises(FinInfraError):
            from_vendor(vendor, symbol)
        return
    if row["direction"] in ("both", "to_vendor"):
        assert to_vendor(key, vendor) == symbol
    if row["direction"] in ("both", "from_vendor"):
        assert str(from_vendor(vendor, symbol)) == key
    quote = quote_at(key, vendor)
    assert (row["quote_ccy"], row["quote_unit"]) == (("", "") if quote is None else (quote.currency, quote.unit))


def test_the_reference_is_whole() -> None:
    assert len(REFERENCE) == 165
    assert {row["direction"] for row in REFERENCE} <= {"both", "to_vendor", "from_vendor", "reject"}
