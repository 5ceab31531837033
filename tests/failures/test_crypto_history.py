"""T-43 from outside: the history of a coin is whole, without gaps between pages, and no page is served for ever."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from fin_infra.providers.coingecko import client
from fin_infra.providers.simulating import Fault
from tests.coins import YESTERDAY, CoinWorld, coins_of
from tests.guards import guarded

RANGE = "/market_chart/range"


def days(first: date, last: date = YESTERDAY) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def answered_always_with_the_first_page(world: CoinWorld) -> None:
    """Whatever days are asked for: T-43's page that comes for ever."""
    begin = seconds(date(2025, 12, 1))
    query: dict[str, str | int] = {"vs_currency": "usd", "from": begin, "to": begin + 95 * 86400}
    page = httpx.get(f"{world.url}/api/v3/coins/bitcoin{RANGE}", params=query).content
    world.sim.requests.clear()
    world.sim.fail_next(Fault("refuse", times=1000, on=RANGE, status=200, body=page))


@pytest.mark.parametrize("at_once", [60, 100, 120, 121, 361, 362, 1000])
async def test_t43_coingecko_a_history_in_spans_is_that_of_one_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(client, "AT_ONCE", timedelta(days=at_once))
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        assert (await world.sync()).outcome == "ok"
        held = world.held()
        assert list(held) == days(YESTERDAY - timedelta(days=362))
        assert held == world.sim.closes("bitcoin", min(held)), "each day its own close"
        assert len(world.asked()) == -(-363 // (at_once + 1))
        assert "missing_sessions" not in world.findings()


@guarded(
    "a page that comes for ever",
    "providers/coingecko/client.py",
    "    _within(chart, begin, end, reply)\n",
    "    pass\n",
)
async def test_t43_coingecko_the_same_page_for_ever_ends_the_asking_and_nothing_of_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AT_ONCE", timedelta(days=120))
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        answered_always_with_the_first_page(world)
        report = await world.sync()
        assert (report.outcome, report.error_code) == ("quarantine", "contract_broken")
        assert len(world.asked()) <= 2
        assert world.held() == {}
        assert "of other days than were asked" in world.findings()["contract_broken"]
        world.sim.faults.clear()
        assert (await world.sync(after=timedelta(hours=1))).outcome == "ok"
        assert list(world.held()) == days(YESTERDAY - timedelta(days=362))


async def test_t43_coingecko_days_that_the_vendor_left_out_are_named_and_filled_in_when_it_has_them(
    tmp_path: Path,
) -> None:
    """A page shortened at its end and one with a hole: neither is taken for the whole."""
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        lost = {day: world.sim.coins["bitcoin"].closes.pop(day) for day in days(date(2026, 6, 3), date(2026, 6, 5))}
        await world.link()
        await world.sync()
        assert len(world.held()) == 360
        assert world.findings()["missing_sessions"].startswith(
            "the vendor has no bar for: 2026-06-03, 2026-06-04, 2026-06-05"
        )
        world.sim.coins["bitcoin"].closes |= lost
        await world.sync(after=timedelta(hours=1))
        assert list(world.held()) == days(YESTERDAY - timedelta(days=362))
        assert "missing_sessions" not in world.findings()


async def test_t43_coingecko_a_history_without_its_newest_days_is_asked_for_them_again(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        whole = httpx.get(f"{world.url}/api/v3/coins/bitcoin{RANGE}", params={
            "vs_currency": "usd", "from": seconds(YESTERDAY - timedelta(days=361)), "to": seconds(date(2026, 9, 1)),
        }).content  # fmt: skip
        world.sim.fail_next(Fault("refuse", on=RANGE, status=200, body=whole))
        await world.sync()
        assert max(world.held()) == date(2026, 8, 31)
        assert re.search("2026-09-01, 2026-09-02, .* and 79 more", world.findings()["missing_sessions"])
        await world.sync(after=timedelta(hours=1))
        assert list(world.held()) == days(YESTERDAY - timedelta(days=362))


async def test_t43_coingecko_points_of_hours_in_the_place_of_days_are_refused_and_never_an_empty_success(
    tmp_path: Path,
) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        hours = httpx.get(f"{world.url}/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=30").content
        world.sim.fail_next(Fault("refuse", on=RANGE, status=200, body=hours))
        report = await world.sync()
        assert (report.outcome, world.held()) == ("quarantine", {})
        assert "none of 00:00 UTC" in world.findings()["contract_broken"]


@guarded(
    "older days than the plan has", "providers/coingecko/client.py", "if refused is None:", "if True:"
)  # fmt: skip
async def test_t43_coingecko_what_the_plan_does_not_reach_is_said_and_what_it_does_is_kept(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin") as world:
        await world.link()
        backfill = await world.backfill("2025-02-01")
        assert min(world.held()) == date(2025, 11, 25), "the 364 days that every plan has"
        assert list(world.held()) == days(date(2025, 11, 25), max(world.held()))
        assert len(world.asked()) == 2, "refused once, shortened once"
        async with world.runtime() as runtime:
            [chunk] = runtime.backfiller.books.chunks(backfill.backfill_id)
        assert "10012" in str(chunk.detail)
        assert "nothing before 2025-11-25 was read" in str(chunk.detail)


async def test_t43_coingecko_a_paid_plan_is_read_to_the_beginning(tmp_path: Path) -> None:
    with coins_of(tmp_path, "crypto:bitcoin", paid=True) as world:
        world.sim.pro_keys.add("CG-paid")
        world.has("bitcoin", first="2016-03-01", begin="400.5")
        await world.link(api_key="CG-paid", plan="pro")
        await world.backfill("2016-03-01")
        assert list(world.held()) == days(date(2016, 3, 1), max(world.held()))
        assert max(world.held()) >= YESTERDAY - timedelta(days=5), "the newest days are the live stream's"
        assert world.held().items() <= world.sim.closes("bitcoin").items()
        assert len(world.asked()) == 4
        spans = sorted((int(query["from"]), int(query["to"])) for query in world.asked())
        assert all(later[0] <= earlier[1] + 86_400 for earlier, later in itertools.pairwise(spans))
