"""Whose prices are shown, where a vendor stands in for another."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.failures.test_fallback import fallback_of
from tests.guards import guarded


@guarded("who stands in is not said", "cli/read.py",
         "if (name, provider) in since:", "if False:")  # fmt: skip
def test_reading_says_who_stands_in_for_whom(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with fallback_of(tmp_path) as market:
        market.both_trade("AAPL")
        market.trades("NEWCO", "2026-11-02", "2026-12-31")

        async def synced() -> None:
            await market.link_both("AAPL", "NEWCO")
            await market.work()
            for _ in range(2):
                await market.sync(after=timedelta(minutes=5))

        asyncio.run(synced())
    monkeypatch.setenv("FIN_INFRA_STORE_URL", market.settings.store_url)
    said = cli("read", "prices", "--since", "2026-11-20", "--format", "csv")
    assert said.code == 0
    assert "us:NEWCO,2026-11-24,yahoo,split_adjusted" in said.out
    why = "alphavantage does not know its symbol"
    assert said.err.splitlines()[:1] == [f"us:NEWCO: yahoo stands in for alphavantage since 2026-11-24: {why}"]
    assert "us:AAPL:" not in said.err
    assert "stands in" not in cli("read", "prices", "--all-providers").err
