"""`python -m fin_infra.testing VENDOR`: a simulator as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from fin_infra.errors import UsageError
from fin_infra.testing.__main__ import main
from fin_infra.testing.seeds import VENDORS, Seed, simulator_of


@contextmanager
def standing(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL it wrote when it was ready."""
    ready = folder / "url"
    process = subprocess.Popen(
        [sys.executable, "-m", "fin_infra.testing", *arguments, "--ready-file", str(ready)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    patience = time.monotonic() + 30
    try:
        while not ready.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < patience
            time.sleep(0.02)
        yield process, ready.read_text().strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_the_seeds_rows_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    with standing(tmp_path, "teller", "--seed", "B7") as (process, url), httpx.Client(base_url=url) as http:
        assert http.get("/__health").json() == {"vendor": "teller"}
        assert http.get("/accounts").status_code == 401
        accounts = http.get("/accounts", auth=("test_token_b7", "")).json()
        assert [account["id"] for account in accounts] == ["acc_b7_checking", "acc_b7_savings", "acc_b7_card"]
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out == f"teller simulator, seed B7, answers at {url}\n"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_misuse_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    listed = ", ".join(sorted(VENDORS))
    assert refusal(capsys, "nowhere") == f"error: there is no simulator of 'nowhere'; there are: {listed}\n"
    assert refusal(capsys, "teller", "--seed", "a-0").startswith("error: a seed is a capital letter with ")
    assert refusal(capsys, "teller", "--host", "192.0.2.1").startswith("error: cannot listen on 192.0.2.1:0: ")


def everything(vendor: str, seed: Seed) -> dict[str, Any]:
    """What a simulator holds, as plain values."""
    held = vars(simulator_of(vendor, seed))
    return {name: repr(value) for name, value in held.items() if not callable(value)}


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_a_seed_decides_the_rows_by_its_name_alone(vendor: str) -> None:
    def noon() -> datetime:
        return datetime(2026, 11, 24, 12, tzinfo=UTC)

    assert everything(vendor, Seed("A0", noon)) == everything(vendor, Seed("A0", noon))
    assert everything(vendor, Seed("A0", noon)) != everything(vendor, Seed("A1", noon))


def test_a_seeds_credentials_are_made_of_its_name() -> None:
    assert Seed("A0").credentials == ("test_token_a0", "PKA0", "secret-a0", "access-sandbox-a0", "key-a0")
    with pytest.raises(UsageError, match="not 'A 0'"):
        Seed("A 0")
