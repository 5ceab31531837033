"""Every sample of the ECB in the shared collection, and that each sample of rates is somebody's."""

from __future__ import annotations

import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import WireError
from fin_infra.providers import resolve
from fin_infra.providers.ecb.symbols import CURRENCIES

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/fx/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
MINE = {"rec_ecb_eurofxref_daily.json", "rec_ecb_exr_daily_2026.csv"}
LATER = {"at": "2026-11-24T00:00:00Z"}  # long after: one read makes them final


def as_xml(table: dict[str, object]) -> bytes:
    """The recording is the file as a table: this is the file, with the single quotes of the real one."""
    rates = table["rates"]
    assert isinstance(rates, dict)
    cubes = "".join(f"<Cube currency='{code}' rate='{rate}'/>" for code, rate in rates.items())
    return (
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><gesmes:Envelope xmlns:gesmes=\"http://www.gesmes.org/xml/2002-08-01\" "
        "xmlns=\"http://www.ecb.int/vocabulary/2002-08-01/eurofxref\"><gesmes:subject>Reference rates</gesmes:subject>"
        f"<Cube><Cube time='{table['time']}'>{cubes}</Cube></Cube></gesmes:Envelope>"
    ).encode()  # fmt: skip


def test_every_sample_of_rates_belongs_to_a_vendor() -> None:
    on_disk = {path.name for path in SAMPLES.iterdir()} - {"INDEX.json"}
    others = {name for name in on_disk if "frankfurter" in name or "exchangerate-api" in name}
    assert set(INDEX) == on_disk == MINE | others
    assert len(on_disk) == 11


def test_the_recorded_daily_file_gives_its_rates() -> None:
    table = json.loads((SAMPLES / "rec_ecb_eurofxref_daily.json").read_text())
    found = replay(resolve("ecb"), "fx_rates", [Recorded(as_xml(table))], LATER)
    assert (found.rejects, found.differing) == ((), ())
    assert {row["quote"]: row["rate"] for row in found.good.to_dicts()} == {
        code: Decimal(rate) for code, rate in table["rates"].items()
    }
    assert found.good.select("base", "rate_on", "state", "provider").unique().rows(named=True) == [
        {"base": "EUR", "rate_on": date(2026, 9, 24), "state": "final", "provider": "ecb"}
    ]
    assert set(found.good["quote"]) <= set(CURRENCIES)


def test_the_recorded_series_gives_its_rates() -> None:
    body = (SAMPLES / "rec_ecb_exr_daily_2026.csv").read_bytes()
    found = replay(resolve("ecb"), "fx_rates", [Recorded(body)], LATER)
    lines = [line.split(",") for line in body.decode().splitlines()[1:]]
    assert (found.rejects, found.differing) == ((), ())
    assert sorted((row["quote"], str(row["rate_on"]), row["rate"]) for row in found.good.to_dicts()) == sorted(
        (code, day, Decimal(rate)) for _, code, day, rate in lines if rate
    )
    assert found.good.height > 400


@pytest.mark.parametrize("file", sorted(set(INDEX) - {"rec_ecb_exr_daily_2026.csv"}))
def test_an_answer_of_another_vendor_is_a_broken_contract_never_rows(file: str) -> None:
    with pytest.raises(WireError):
        replay(resolve("ecb"), "fx_rates", [Recorded((SAMPLES / file).read_bytes())], {})
