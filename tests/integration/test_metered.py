"""No vendor is called unmetered: every adapter is driven against its simulator, which counts, and so does the ledger.

Nothing is patched and nothing is looked for in the code: what reaches the vendor must have passed the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fin_infra.providers import PROVIDERS, resolve
from fin_infra.providers.mx.simulator import sandbox as sandbox_of_mx
from fin_infra.providers.plaid.simulator import PlaidSimulator, sandbox
from fin_infra.providers.simplefin.simulator import sandbox as sandbox_of_simplefin
from fin_infra.providers.simulating import Simulator
from fin_infra.runtime import Door
from fin_infra.settings import Settings
from fin_infra.store.ledger import open_ledger
from fin_infra.testing import serve
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.coins import coins_of
from tests.guards import guarded
from tests.plaid_world import bank as deposit
from tests.plaid_world import bought as paid
from tests.plaid_world import broker, investment, plaid_of
from tests.providers.alpaca.market import market_of
from tests.providers.alphavantage.market import alpha_of
from tests.providers.ccxt.exchange import exchange_of
from tests.providers.mx.platform import USER as USER_OF_MX
from tests.providers.mx.platform import mx_of
from tests.providers.mx.platform import set_keys as set_mx_keys
from tests.providers.simplefin.server import PASSWORD, USER, simplefin_of
from tests.providers.snaptrade.broker import bought as activity
from tests.providers.snaptrade.broker import brokerage, set_keys, shares, snaptrade_of
from tests.providers.stripe.world import identity_world
from tests.providers.yahoo.market import yahoo_of
from tests.rates import rates_of
from tests.world import VendorWorld, bought, card, checking, world_of

TOKEN = "access-sandbox-hush7731"


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each vendor's plan has one more window, which counts its every call."""
    for name in PROVIDERS:
        monkeypatch.setenv(f"FIN_INFRA_{name.upper().replace('.', '_')}_QUOTAS", "every=1000000/30m")


def spent(settings: Settings, vendor: str) -> int:
    """Calls that the ledger on disk was asked for."""
    ledger = open_ledger(settings.effective_quota_url)
    rows = ledger.frame().to_dicts()
    ledger.close()
    found = [
        row["spent"] for row in rows if row["window"].startswith(f"{vendor}/") and row["window"].endswith("#every")
    ]
    return int(sum(found))


Scene = Callable[[Path, pytest.MonkeyPatch], AbstractAsyncContextManager[tuple[VendorWorld, Simulator]]]


@asynccontextmanager
async def teller(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with world_of(folder) as world:
        rows = [bought(f"txn_{n:03}", on="2026-11-20") for n in range(130)]
        world.bank.enroll("tok", checking("acc_1", *rows), card())
        await world.link()
        yield world, world.bank


@asynccontextmanager
async def plaid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with plaid_of(folder, monkeypatch) as world:
        await world.link(deposit(), investment())
        broker(world.item).add(paid("txn_1"))
        yield world, world.plaid


@asynccontextmanager
async def alpaca(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with market_of(folder) as world:
        await world.link()
        yield world, world.broker


def rates(vendor: str, **secrets: str) -> Scene:
    @asynccontextmanager
    async def scene(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
        with rates_of(folder, vendor) as world:
            for code in ("USD", "GBP"):
                world.has(code, "2026-10-01", "2026-11-24", weekends=vendor == "exchangerate_api")
            if secrets:
                world.sim.keys.add(secrets["api_key"])
            await world.link(**secrets)
            yield world, world.sim

    return scene


@asynccontextmanager
async def alphavantage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    monkeypatch.setenv("FIN_INFRA_ALPHAVANTAGE_PLAN", "premium_1200")
    with alpha_of(folder) as world:
        world.trades("IBM")
        world.alpha.pairs["EUR", "USD"] = {world.clock().date(): "1.1754"}
        await world.link("us:IBM", "fx:EURUSD", premium=True)
        yield world, world.alpha


@asynccontextmanager
async def yahoo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with yahoo_of(folder) as world:
        world.trades("AAPL", "2026-11-02", "2026-11-30")
        await world.link("us:AAPL")
        yield world, world.yahoo


@asynccontextmanager
async def coingecko(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with coins_of(folder) as world:
        await world.link()
        yield world, world.sim


@asynccontextmanager
async def snaptrade(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    set_keys(monkeypatch)
    with snaptrade_of(folder) as world:
        world.has(brokerage("acc_1", shares("AAPL"), activities=[activity("act_1")]))
        await world.link()
        yield world, world.sim


@asynccontextmanager
async def stripe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with identity_world(folder) as world:
        world.stripe.add("vs_1")
        await world.link()
        yield world, world.stripe


@asynccontextmanager
async def mx(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    set_mx_keys(monkeypatch)
    with mx_of(folder) as world:
        sandbox_of_mx(world.sim, USER_OF_MX, today=world.clock().date())
        await world.link()
        yield world, world.sim


@asynccontextmanager
async def simplefin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
    with simplefin_of(folder) as world:
        sandbox_of_simplefin(world.sim, USER, PASSWORD, today=world.clock().date())
        await world.link()
        yield world, world.sim


def exchange(name: str) -> Scene:
    @asynccontextmanager
    async def scene(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VendorWorld, Simulator]]:
        with exchange_of(folder, name) as world:
            await world.link()
            yield world, world.exchange

    return scene


SCENES: dict[str, tuple[Scene, ...]] = {
    "teller": (teller,),
    "plaid": (plaid,),
    "alpaca": (alpaca,),
    "ecb": (rates("ecb"),),
    "frankfurter": (rates("frankfurter"),),
    "exchangerate_api": (rates("exchangerate_api"), rates("exchangerate_api", api_key="hush7731")),
    "alphavantage": (alphavantage,),
    "yahoo": (yahoo,),
    "coingecko": (coingecko,),
    "snaptrade": (snaptrade,),
    "mx": (mx,),
    "simplefin": (simplefin,),
    "stripe": (stripe,),
    "ccxt.kraken": (exchange("kraken"),),
    "ccxt.coinbase": (exchange("coinbase"),),
    "ccxt.binance": (exchange("binance"),),
}

WEIGHTS = {"ccxt.binance": 2}
"""What one call costs, where a vendor does not count calls."""


def test_every_adapter_is_driven() -> None:
    assert set(SCENES) == set(PROVIDERS)


@guarded(
    "the transport asks the meter", "providers/metering.py",
    "answer = self._opened().acquire(windows, cost, lane=call.lane)",
    'answer = self._opened().acquire(windows, 0, lane=call.lane)',
)  # fmt: skip
@pytest.mark.parametrize(
    ("vendor", "number"), [(name, n) for name, scenes in SCENES.items() for n in range(len(scenes))]
)
async def test_all_that_a_vendor_is_asked_passed_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, number: int
) -> None:
    """All of its sources, twice."""
    async with SCENES[vendor][number](tmp_path, monkeypatch) as (world, simulator):
        for _ in range(2):
            for source in resolve(vendor).sources:
                async with world.runtime() as runtime:
                    [connection] = runtime.connections.all()
                    await runtime.engine.sync(source.lead, connection.connection_id)
        assert len(simulator.requests) >= len(resolve(vendor).sources)
        assert spent(world.settings, vendor) == len(simulator.requests) * WEIGHTS.get(vendor, 1)


async def test_a_webhooks_key_is_asked_for_through_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plaid(tmp_path, monkeypatch) as (world, simulator):
        assert isinstance(simulator, PlaidSimulator)
        item = list(simulator.items.values())[-1]
        headers, body = simulator.signed_webhook(
            simulator.webhook_of(item, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE")
        )  # fmt: skip

        def receive() -> None:
            with world.store() as store:
                Door(world.settings, store, now=world.clock, base_urls={"plaid": world.url}).receive(
                    "plaid", headers, body
                )

        await asyncio.to_thread(receive)
        assert simulator.requests == ["/webhook_verification_key/get"]
        assert spent(world.settings, "plaid") == 1


def test_a_login_is_linked_repaired_and_removed_through_the_ledger(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIN_INFRA_STORE_URL", f"sqlite:///{tmp_path / 'fin.db'}")
    simulator = PlaidSimulator()
    sandbox(simulator, TOKEN, today=datetime.now(UTC).date(), name="hush")
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_PLAID_BASE_URL", served.url)
        monkeypatch.setenv("FIN_INFRA_PLAID_CLIENT_ID", "client")
        monkeypatch.setenv("FIN_INFRA_PLAID_SECRET", "secret")
        assert cli("connections", "link", "banking:plaid", "--tenant", "ada", "--host", "sandbox").code == 0
        connection = cli("connections", "add", "plaid", "--tenant", "ada", "--secret-stdin", stdin=TOKEN).out.strip()
        assert cli("connections", "link", "plaid", "--repair", connection).code == 0
        assert cli("connections", "rm", connection, "--erase").code == 0
    assert {path.partition("?")[0] for path in simulator.requests} >= {"/link/token/create", "/item/remove"}
    assert spent(Settings.load(), "plaid") == len(simulator.requests)
