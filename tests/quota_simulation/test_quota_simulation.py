"""The form of `make simulate-quota` for every run of the tests: six hours, one seed, less than a minute of CPU."""

from __future__ import annotations

from pathlib import Path

from tests.quota_simulation.scenes import daily, fleet


def test_ten_thousand_connections_share_a_key_and_it_is_used_up(tmp_path: Path) -> None:
    figures = fleet(tmp_path, 1, 6.0)
    assert figures.misses() == [], figures


def test_a_greedy_tenant_moves_nobody_else(tmp_path: Path) -> None:
    figures = fleet(tmp_path, 1, 6.0, greedy=True)
    assert figures.misses() == [], figures


def test_a_days_budget_is_used_up_after_the_close_and_serves_who_waits(tmp_path: Path) -> None:
    figures = daily(tmp_path, 1, 14, warm=7)
    assert figures.misses() == [], figures
