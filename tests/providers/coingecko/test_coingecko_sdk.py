"""The vendor's own client reads the simulator over real HTTP: what it decodes is what our frames hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from coingecko_sdk import BadRequestError, Coingecko, NotFoundError, RateLimitError

from fin_infra.providers.coingecko.simulator import sandbox
from tests.coins import YESTERDAY, CoinWorld, coins_of

WATCHED = "crypto:bitcoin,crypto:ethereum,crypto:shiba-inu,crypto:tether"
IDS = [name.removeprefix("crypto:") for name in WATCHED.split(",")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CoinWorld]:
    with coins_of(tmp_path, WATCHED) as found:
        sandbox(found.sim, today=YESTERDAY + timedelta(days=1))
        yield found


@pytest.fixture
def sdk(world: CoinWorld) -> Iterator[Coingecko]:
    world.sim.demo_keys.add("CG-sdk")
    with Coingecko(
        demo_api_key="CG-sdk", environment="demo", base_url=f"{world.url}/api/v3", max_retries=0
    ) as found:  # fmt: skip
        yield found


def exact(number: float) -> Decimal:
    """What a float was read from: the shortest digits that give it."""
    return Decimal(repr(number))


async def test_the_closes_it_decodes_are_those_of_our_rows(world: CoinWorld, sdk: Coingecko) -> None:
    await world.link()
    assert (await world.sync()).outcome == "ok"
    for coin in IDS:
        chart: Any = sdk.coins.market_chart.get(coin, vs_currency="usd", days="365")
        closes = {
            (datetime.fromtimestamp(at / 1000, UTC) - timedelta(days=1)).date(): exact(price)
            for at, price in chart.prices[:-1]  # the last one is now
        }
        held = world.held(coin)
        assert held.items() <= closes.items()
        assert (len(held), max(closes)) == (363, max(held))


async def test_the_prices_it_decodes_are_those_of_our_quotes(world: CoinWorld, sdk: Coingecko) -> None:
    await world.link()
    assert (await world.sync("quotes")).outcome == "ok"
    told: Any = sdk.simple.price.get(
        vs_currencies="usd", ids=",".join(IDS), include_last_updated_at=True, precision="18"
    )
    held = {row["instrument"]: row for row in world.rows("quotes")}
    assert set(held) == set(WATCHED.split(","))
    for coin in IDS:
        row, price = held[f"crypto:{coin}"], told[coin]
        assert float(row["price"]) == price.usd
        assert row["quoted_at"].timestamp() == price.last_updated_at


async def test_the_names_it_decodes_are_those_of_our_instruments(world: CoinWorld, sdk: Coingecko) -> None:
    await world.link()
    await world.sync("instruments")
    listed: Any = sdk.coins.list.get(include_platform=True)
    names = {f"crypto:{coin.id}": coin.name for coin in listed}
    held = {row["instrument"]: row["name"] for row in world.rows("instruments")}
    assert len(held) == 4
    assert held.items() <= names.items()
    assert sdk.coins.get_id("bitcoin").name == "Bitcoin"


def test_it_takes_the_refusals_for_refusals(world: CoinWorld, sdk: Coingecko) -> None:
    with pytest.raises(NotFoundError):
        sdk.coins.get_id("nope")
    with pytest.raises(BadRequestError):
        sdk.coins.ohlc.get("bitcoin", vs_currency="usd", days="3")  # type: ignore[arg-type]
    world.sim.per_minute = 0
    with pytest.raises(RateLimitError):
        sdk.ping.get()


def test_a_paid_key_is_taken_at_its_own_host(tmp_path: Path) -> None:
    with coins_of(tmp_path, paid=True) as world:
        world.sim.pro_keys.add("CG-paid")
        with Coingecko(pro_api_key="CG-paid", environment="pro", base_url=f"{world.url}/api/v3") as sdk:
            assert sdk.ping.get().gecko_says == "(V3) To the Moon!"
            assert sdk.key.get().plan == "Basic"
