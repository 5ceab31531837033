"""Currencies against the reference: codes, digits, what replaced them; and prices in pence in pounds."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.datasets.base import MONEY
from fin_infra.datasets.prices import Prices
from fin_infra.errors import FrameError, UsageError
from fin_infra.instruments.currencies import (
    ALIASES,
    EXACT,
    Currency,
    currencies,
    currency,
    major,
    minor_units,
    normalised,
    rounded,
    to_major,
)
from fin_infra.settings import Settings
from tests.guards import guarded
from tests.unit.helpers import START

TABLE = Path(__file__).parents[1] / "data/currencies.csv"
REFERENCE = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
"""Rows of the reference collection, with what the libraries say of each, right or wrong."""
NAMED = {"active", "special", "historic"}


def test_the_reference_has_every_kind() -> None:
    kinds = Counter(row["status"] for row in REFERENCE)
    assert kinds == {"active": 165, "historic": 28, "special": 13, "non_iso": 5, "quote_unit": 5}
    assert sum(row["babel_digits"] not in ("", row["minor_units"]) for row in REFERENCE) > 10


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: row["code"])
def test_a_currency_is_what_the_reference_says(row: dict[str, str]) -> None:
    found = currency(row["code"])
    assert found == Currency(
        row["code"], row["numeric"] or None, int(row["minor_units"]) if row["minor_units"] else None,
        row["name"] if row["status"] in NAMED else found.name, row["status"],
        row["normalises_to"] or None, Decimal(row["factor"]) if row["factor"] else None, found.fixed_since,
    )  # fmt: skip
    assert minor_units(row["code"]) == found.minor_units


@pytest.mark.parametrize("row", [row for row in REFERENCE if row["factor"]], ids=lambda row: row["code"])
def test_a_code_with_a_factor_is_counted_in_another(row: dict[str, str]) -> None:
    into, factor = normalised(row["code"])
    assert (into, factor) == (row["normalises_to"], Decimal(row["factor"]))
    if row["status"] == "historic" and into == "EUR":
        since = currency(row["code"]).fixed_since
        assert since is not None
        assert row["note"].startswith(f"replaced {since}")
        assert normalised(row["code"], date(1998, 12, 31)) == (row["code"], Decimal(1))


def test_what_is_beside_the_reference_is_historic_and_leads_to_a_currency_of_today() -> None:
    more = [found for code, found in currencies().items() if code not in {row["code"] for row in REFERENCE}]
    assert {found.status for found in more} == {"historic"}
    assert {currency(normalised(found.code)[0]).status for found in more} == {"active"}
    assert normalised("BGL") == ("EUR", Decimal(1955830) / 1000)
    assert normalised("BGL", date(2020, 1, 1)) == ("BGN", Decimal(1000))


def test_codes_and_numbers_are_unique() -> None:
    listed = [found for found in currencies().values() if found.numeric]
    again = {
        n: {f.code for f in listed if f.numeric == n} for n, c in Counter(f.numeric for f in listed).items() if c > 1
    }
    assert again == {"532": {"ANG", "XCG"}}  # ISO gave the Caribbean guilder its predecessor's number


@pytest.mark.parametrize(("unit", "code", "exact"), [
    ("GBp", "GBP", "1.2345"), ("GBX", "GBP", "1.2345"), ("ILA", "ILS", "1.2345"), ("ZAc", "ZAR", "1.2345"),
    ("ZAC", "ZAR", "1.2345"), ("USX", "USD", "1.2345"), ("KWF", "KWD", "0.12345"), ("GBP", "GBP", "123.45"),
    ("JPY", "JPY", "123.45"), ("DEM", "DEM", "123.45"), ("XBT", "BTC", "123.45"),
])  # fmt: skip
def test_t41_an_amount_in_a_minor_unit_is_divided_exactly(unit: str, code: str, exact: str) -> None:
    assert major(Decimal("123.45"), unit) == (Decimal(exact), code)


@guarded("case tells pence from pounds", "instruments/currencies.py", '"GBp": "GBX"', '"GBp": "GBP"')
def test_t41_case_tells_pence_from_pounds() -> None:
    assert currency("GBp").code == "GBX" != currency("GBP").code
    for wrong in ("gbp", "GbP", "gbx", "usd", "", "US", "ZAc ", "XYZ"):
        with pytest.raises(UsageError, match="no currency"):
            currency(wrong)
    with pytest.raises(UsageError, match=r"'usd' \(did you mean USD\?\)"):
        currency("usd")
    assert not set(ALIASES) & set(currencies())


@pytest.mark.parametrize(("amount", "code", "kept"), [
    ("1.005", "USD", "1.00"), ("1.015", "USD", "1.02"), ("-1.005", "USD", "-1.00"), ("1234.5", "JPY", "1234"),
    ("1235.5", "JPY", "1236"), ("1.0005", "KWD", "1.000"), ("1.00005", "CLF", "1.0000"), ("0.125", "IQD", "0.125"),
    ("0.05", "RSD", "0.05"), ("0.03", "CHF", "0.03"), ("1.23456789012", "XAU", "1.23456789012"),
    ("0.123456785", "BTC", "0.12345678"), ("12345678901234567890123456789.125", "USD", "12345678901234567890123456789.12"),
])  # fmt: skip
def test_a_ledger_rounds_to_the_digits_of_iso_halves_to_even(amount: str, code: str, kept: str) -> None:
    assert str(rounded(Decimal(amount), code)) == kept


def test_another_rule_can_be_asked_for() -> None:
    assert str(rounded(Decimal("1.005"), "USD", ROUND_HALF_UP)) == "1.01"


# -- frames ------------------------------------------------------------------------------------------------------------


def test_t41_prices_in_pence_are_built_in_pounds_and_the_unit_is_recorded() -> None:
    cells = pl.DataFrame(
        {
            "instrument": ["xlon:VOD", "xtae:TEVA", "xjse:NPN", "us:AAPL", "x:1", "x:2"],
            "close": ["71.34", "6150", "4321.5", "190.12", None, "oops"],
            "currency": ["GBp", "ILA", "ZAc", "USD", "GBp", "GBX"],
        }
    )
    found = to_major(cells, ["close"])
    assert found["close"].to_list() == ["0.7134", "61.5", "43.215", "190.12", None, "oops"]
    assert found["currency"].to_list() == ["GBP", "ILS", "ZAR", "USD", "GBP", "GBP"]
    assert found["quote_unit"].to_list() == ["minor", "minor", "minor", "major", "minor", "minor"]
    columns = {**found.drop("quote_unit").to_dict(as_series=False), "session": ["2026-11-23"] * 6}
    built = Prices.build(
        columns, {"provider": "x", "basis": "raw", "state": "final", "fetched_at": START, "run_id": "r"}
    )
    assert built.good["close"].to_list() == [Decimal(text) for text in ("0.7134", "61.5", "43.215", "190.12")]
    assert len(built.rejects) == 2


amounts = st.integers(1 - 10**36, 10**36 - 1).map(lambda n: EXACT.scaleb(Decimal(n), -16))


@given(st.lists(st.tuples(amounts, st.sampled_from(["GBp", "GBX", "ILA", "ZAc", "USX", "GBP", None])), min_size=1))
def test_t41_decimals_and_text_are_divided_alike_and_exactly(rows: list[tuple[Decimal, str | None]]) -> None:
    values, codes = [amount for amount, _ in rows], [code for _, code in rows]
    exact = [
        value if code in ("GBP", None) else EXACT.scaleb(value, -2) for value, code in zip(values, codes, strict=True)
    ]
    written = pl.DataFrame(
        {"p": [f"{v:f}" for v in values], "currency": codes}, schema_overrides={"currency": pl.String}
    )
    frame = written.with_columns(pl.col("p").cast(MONEY))
    assert to_major(frame, ["p"])["p"].to_list() == exact
    assert [Decimal(text) for text in to_major(written, ["p"])["p"]] == exact


@guarded(
    "no digit is lost",
    "instruments/currencies.py",
    'pl.col("factor") == pl.col("old")',
    'pl.col("factor") == pl.col("new") * 100',
)
def test_t41_a_decimal_without_room_for_the_digits_is_an_error_never_rounded() -> None:
    frame = pl.DataFrame(
        {"p": [Decimal("1.000000000000000001")], "currency": ["GBp"]}, schema={"p": MONEY, "currency": pl.String}
    )
    with pytest.raises(FrameError, match="p has amounts in a minor unit that are too fine"):
        to_major(frame, ["p"])
    largest = frame.with_columns(
        pl.lit(Decimal("99999999999999999999.999999999999999999")).alias("p"), currency=pl.lit("GBP")
    )
    assert to_major(largest, ["p"]).drop("quote_unit").equals(largest)


@pytest.mark.parametrize("text", ["1_000", "١٢", "1E+50000000", "NaN", "-Infinity", "12,5", " ", ""])
def test_what_is_no_amount_stays_for_the_builder_to_refuse(text: str) -> None:
    frame = pl.DataFrame({"p": [text], "currency": ["GBp"]})
    assert to_major(frame, ["p"])["p"].to_list() == [text]


# -- the setting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "pairs"), [
    ("USD", ["fx:EURUSD"]), (" USD , GBP,USD,EUR,", ["fx:EURUSD", "fx:EURGBP"]), ("", []),
])  # fmt: skip
def test_the_currencies_that_are_kept_are_pairs_with_the_euro(said: str, pairs: list[str]) -> None:
    assert Settings(currencies=said).pairs == pairs


def test_by_default_all_that_the_ecb_has_are_kept_and_a_wrong_code_is_a_sentence() -> None:
    assert len(Settings().pairs) == 29
    assert {currency(pair.removeprefix("fx:EUR")).status for pair in Settings().pairs} == {"active"}
    for wrong in ("usd", "USD;GBP", "fx:EURUSD", "EURO"):
        with pytest.raises(UsageError, match="FIN_INFRA_CURRENCIES"):
            _ = Settings(currencies=wrong).pairs
