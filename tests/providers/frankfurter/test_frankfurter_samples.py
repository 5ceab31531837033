"""Every sample of Frankfurter in the shared collection: its rates, or the code it stands for."""

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

EXPECTED: dict[str, str | list[tuple[str, date, str]]] = {
    "doc_frankfurter_404.json": "not_found",
    "doc_frankfurter_v1_latest.json": [
        ("USD", date(2026, 9, 24), "1.1367"), ("JPY", date(2026, 9, 24), "180.57"), ("GBP", date(2026, 9, 24), "0.85986"),
    ],
    "doc_frankfurter_v1_range.json": [
        ("AUD", date(2026, 2, 17), "1.6776"), ("AUD", date(2026, 2, 18), "1.6748"), ("AUD", date(2026, 2, 19), "1.6698"),
        ("AUD", date(2026, 2, 20), "1.6697"),
    ],
}  # fmt: skip


def replayed(file: str, status: int | None = None) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), status or row["status"], row["headers"])
    return replay(resolve("fx:frankfurter"), "fx_rates", [answer], LATER)


def test_the_table_names_every_sample() -> None:
    assert set(EXPECTED) == {file for file in INDEX if "frankfurter" in file}


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_a_sample_gives_its_rates_or_its_code(file: str) -> None:
    expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        for status in (404, 200):  # with another status it is no rates either
            with pytest.raises(FinInfraError) as caught:
                replayed(file, status)
            assert caught.value.code == (expected if status == 404 else "contract_broken")
        return
    found = replayed(file)
    assert found.good.select("quote", "rate_on", "rate").rows() == [(c, d, Decimal(r)) for c, d, r in expected]
    assert (found.rejects, found.differing) == ((), ())
    assert found.good.select("base", "provider", "state").unique().rows() == [("EUR", "frankfurter", "final")]
