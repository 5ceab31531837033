"""Every sample of ExchangeRate-API in the shared collection: its rates, or the code it stands for."""

from __future__ import annotations

import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError
from fin_infra.providers import resolve

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/fx/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
LATER = {"at": "2026-11-24T00:00:00Z"}
UPDATED = date(2025, 5, 28)  # as the unix time says; the text beside it, which says 2026, is invented

Expected = str | tuple[str, date, dict[str, str]]

EXPECTED: dict[str, Expected] = {
    "fix_exchangerate-api_error.json": "auth_invalid",
    "fix_exchangerate-api_get-quota.json": "contract_broken",  # a success, and no rates
    "fix_exchangerate-api_get-historical-rates.json": (
        "USD", date(2024, 3, 15), {"EUR": "0.917", "GBP": "0.785", "JPY": "148.34", "CAD": "1.354", "AUD": "1.514"},
    ),
    "fix_exchangerate-api_get-latest-rates.json": (
        "USD", UPDATED,
        {"AED": "3.6725", "EUR": "0.9123", "GBP": "0.7821", "JPY": "156.42", "AUD": "1.5102", "CAD": "1.3645"},
    ),
    "fix_exchangerate-api_get-open-access-latest.json": (
        "USD", UPDATED, {"EUR": "0.9123", "GBP": "0.7821", "JPY": "156.42", "AUD": "1.5102"},
    ),
    "fix_exchangerate-api_get-pair-conversion.json": ("EUR", UPDATED, {"GBP": "0.8574"}),
}  # fmt: skip


def replayed(file: str, status: int | None = None) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), status or row["status"], row["headers"])
    return replay(resolve("fx:exchangerate_api"), "fx_rates", [answer], LATER)


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == {file for file in INDEX if "exchangerate-api" in file}


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_a_sample_gives_its_rates_or_its_code(file: str) -> None:
    expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        for status in (INDEX[file]["status"], 200):
            with pytest.raises(FinInfraError) as caught:
                replayed(file, status)
            assert caught.value.code == expected
        return
    base, day, rates = expected
    found = replayed(file)
    assert {row["quote"]: row["rate"] for row in found.good.to_dicts()} == {c: Decimal(r) for c, r in rates.items()}
    assert found.good.select("base", "rate_on", "provider").unique().rows() == [(base, day, "exchangerate_api")]
    assert (found.rejects, found.differing) == ((), ())
