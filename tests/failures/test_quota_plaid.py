"""An investment history that is longer than a minute of Plaid's limit: read in largest pages within it, and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from fin_infra.engine import SyncReport
from fin_infra.providers.plaid.simulator import SimActivity
from tests.guards import guarded
from tests.plaid_world import PlaidWorld, bank, broker, investment, plaid_of

HISTORY = "/investments/transactions/get"
A_MINUTE = 30  # calls that Plaid answers per Item and minute, documented for /investments/transactions/get
PAGE = 500


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


async def long_history(world: PlaidWorld, pages: int) -> int:
    """An Item whose brokerage account fills so many pages, half of the last one. How many rows these are."""
    await world.link(bank(), investment(), token="access-production-1")
    broker(world.item)
    rows = pages * PAGE - PAGE // 2
    newest = date(2026, 11, 20)
    world.item.activities = [
        SimActivity(f"inv_{n:05}", "acc_9", "1.00", (newest - timedelta(days=n % 600)).isoformat(), security_id="sec_aapl")
        for n in range(rows)
    ]  # fmt: skip
    return rows


def outcomes(reports: list[SyncReport]) -> dict[str, str]:
    return {report.dataset: report.outcome for report in reports}


def offsets(world: PlaidWorld) -> list[int]:
    return [body["options"]["offset"] for body in world.asked(HISTORY)]


@guarded(
    "plaid: history is asked for in pages of the vendor's default size",
    "providers/plaid/client.py",
    "PAGE = 500",
    "PAGE = 100",
)
async def test_t28_a_history_longer_than_a_minutes_calls_is_never_refused_and_goes_on_behind_its_last_page(
    world: PlaidWorld,
) -> None:
    pages = A_MINUTE + 4
    rows = await long_history(world, pages)
    world.plaid.limits[HISTORY] = A_MINUTE
    reports = await world.work()
    # the calls of a minute are spent, none was refused, and what is no history is in the store
    assert outcomes(reports) == {
        "accounts": "ok", "transactions": "ok", "holdings": "ok", "activities": "later"
    }  # fmt: skip
    assert [report.error_code for report in reports if report.outcome == "later"] == ["quota_exhausted"]
    assert offsets(world) == [n * PAGE for n in range(A_MINUTE)], "one more would have been refused"
    assert [row["instrument"] for row in world.rows("holdings")] == ["us:AAPL"]
    assert {body["options"]["count"] for body in world.asked(HISTORY)} == {PAGE}
    assert world.rows("activities") == [], "half a history is not shown as a whole one"
    # a minute later the rest is asked for, and only that
    reports = await world.work(timedelta(seconds=61))
    assert outcomes(reports) == {"activities": "ok"}
    assert offsets(world) == [n * PAGE for n in range(pages)]
    assert len(world.ids("activities", "activity_id")) == rows


async def test_t28_a_history_the_vendor_limits_sooner_than_it_says_stops_nothing_else_and_is_resumed(
    world: PlaidWorld,
) -> None:
    """Somebody else asks for the same Item: nineteen calls are answered, the twentieth is refused."""
    pages = 24
    rows = await long_history(world, pages)
    world.plaid.limits[HISTORY] = 19
    reports = await world.work()
    assert outcomes(reports) == {
        "accounts": "ok", "transactions": "ok", "holdings": "ok", "activities": "later"
    }  # fmt: skip
    assert [report.error_code for report in reports if report.outcome == "later"] == ["rate_limited"]
    assert offsets(world) == [n * PAGE for n in range(20)], "who was told to wait asks no second time"
    assert [row["instrument"] for row in world.rows("holdings")] == ["us:AAPL"]
    reports = await world.work(timedelta(seconds=61))
    assert outcomes(reports) == {"activities": "ok"}
    assert offsets(world) == [n * PAGE for n in (*range(20), *range(19, pages))], "only what was refused is asked again"
    assert len(world.ids("activities", "activity_id")) == rows
