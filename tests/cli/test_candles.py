"""Candles on the command line: read by instrument and day, and replayed from a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.providers.ccxt.exchange import BITCOIN, exchange_of


def test_bars_are_read_by_instrument_and_day(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with exchange_of(tmp_path, "coinbase") as exchange:

        async def synced() -> None:
            await exchange.link()
            await exchange.sync()

        asyncio.run(synced())
    monkeypatch.setenv("FIN_INFRA_STORE_URL", exchange.settings.store_url)
    said = cli("read", "intraday_prices", "--instrument", BITCOIN, "--since", "2026-11-24", "--format", "csv")
    assert said.code == 0, said.err
    lines = said.out.strip().splitlines()
    assert len(lines) > 800
    assert all("2026-11-24" in line and BITCOIN in line for line in lines[1:])


def test_candles_are_replayed_with_what_they_do_not_say(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "candles.json"
    file.write_text("[[1710327600,73241.5,73402.47,73243.33,73370.65,1.56794406]]")
    context = ("--context", "interval=1h", "--context", f"instrument={BITCOIN}")
    played = cli("replay", "crypto:ccxt", "intraday_prices", str(file), *context)
    assert (played.code, "73402.47" in played.out, "2024-03-13T11:00" in played.out) == (0, True, True), played.err
    other = cli("replay", "crypto:ccxt", "intraday_prices", str(file), "--context", "interval=7h")
    assert (other.code, "1m, 5m, 15m, 1h, 4h" in other.err) == (2, True)
