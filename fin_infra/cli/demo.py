from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import polars as pl

    from fin_infra.planning import Due
    from fin_infra.providers.teller.simulator import TellerSimulator
    from fin_infra.runtime import Runtime
    from fin_infra.testing import VirtualClock

app = typer.Typer(invoke_without_command=True)
TENANT = "demo"
TOKENS = ("test_token_ada", "test_token_lin")
KEY = {"key_id": "PKDEMO", "secret_key": "demo-secret"}
MARKET_KEY = "DEMOMARKETKEY"
COIN_KEY = "CG-demo-coins"
IN = "EUR"


@app.callback()
def demo(context: typer.Context) -> None:
    """Show the whole way of the data on simulated vendors: no key, no server, under a minute.

    Links two banks at Teller, a broker at Alpaca, and the market data of Alpha Vantage and CoinGecko; runs what comes
    due, prints the rows and what they are worth; then goes on to the day after Thanksgiving, when New York closes
    early. The rows stay in the store for `fin-infra read`.

    Example: fin-infra demo
    """
    if context.invoked_subcommand is None:
        run()


@app.command("run")
def run() -> None:
    """The same as `fin-infra demo`."""
    import asyncio

    from fin_infra.cli.output import quiet_logs

    quiet_logs()
    asyncio.run(_demo())


async def _demo() -> None:
    """Two cycles on a clock that the simulated vendors share."""
    from datetime import UTC, date, datetime

    from fin_infra.cli.output import say
    from fin_infra.providers.alpaca.simulator import LISTED, AlpacaSimulator, SimPosition
    from fin_infra.providers.alpaca.simulator import sandbox as paper_account
    from fin_infra.providers.alphavantage.simulator import AlphaVantageSimulator
    from fin_infra.providers.alphavantage.simulator import sandbox as listings
    from fin_infra.providers.coingecko.simulator import CoingeckoSimulator
    from fin_infra.providers.coingecko.simulator import sandbox as coins
    from fin_infra.providers.teller.simulator import TellerSimulator, sandbox
    from fin_infra.testing import VirtualClock, serve

    clock = VirtualClock(datetime(2026, 11, 24, 13, 0, tzinfo=UTC))
    bank, broker = TellerSimulator(now=clock), AlpacaSimulator(now=clock)
    for number, token in enumerate(TOKENS):
        sandbox(bank, token, today=clock().date(), seed=number)
    account = paper_account(broker, KEY["key_id"], KEY["secret_key"], today=clock().date())
    account.positions.append(
        SimPosition("AAPL270115C00300000", "2", "11.20", asset_class="us_option", exchange="", current_price="12.35",
                    lastday_price="12.10")
    )  # fmt: skip
    account.positions.append(
        SimPosition("BTCUSD", "0.05", "61000", asset_class="crypto", exchange="CRYPTO", current_price="64000",
                    lastday_price="63900")
    )  # fmt: skip
    market, crypto = AlphaVantageSimulator(limited=True, now=clock), CoingeckoSimulator(now=clock)
    listings(
        market, MARKET_KEY, today=clock().date(),
        symbols=tuple((symbol.replace(".", "-"), name, price) for symbol, name, _, price in LISTED),
    )  # fmt: skip
    weekdays = [date(2026, 11, day) for day in range(2, 28) if date(2026, 11, day).weekday() < 5]
    market.pairs["EUR", "USD"] = {day: f"1.1{500 + day.day}" for day in weekdays}
    coins(crypto, today=clock().date())
    crypto.demo_keys.add(COIN_KEY)
    with (
        serve(bank) as banking, serve(broker.trading) as trading, serve(broker.data) as data,
        serve(market) as quoting, serve(crypto) as coining,
    ):  # fmt: skip
        say(f"simulated vendors: a bank at {banking.url}, a broker at {trading.url} and {data.url}, market data at")
        say(f"{quoting.url} and {coining.url}")
        await _cycles(clock, bank, {
            "teller": banking.url, "alpaca": trading.url, "alpaca.data": data.url, "alphavantage": quoting.url,
            "coingecko": coining.url,
        })  # fmt: skip
    say("now try: fin-infra read prices; fin-infra status; fin-infra read transactions --history")


async def _cycles(clock: VirtualClock, bank: TellerSimulator, urls: dict[str, str]) -> None:
    from datetime import UTC, datetime

    from fin_infra.cli.output import instant, put, say
    from fin_infra.errors import UsageError
    from fin_infra.providers import resolve
    from fin_infra.quotas.memory import MemoryLedger
    from fin_infra.runtime import Runtime
    from fin_infra.settings import Settings

    settings = Settings.load().model_copy(update={"currencies": "USD"})
    ledger = MemoryLedger(clock)  # of simulated vendors: the real ones' quotas are not spent by it
    say(f"rows go to {settings.store_url}")
    async with Runtime(
        settings, now=clock, base_urls=urls, ledger=ledger, on_report=lambda r: put(f"  ran  {r.sentence()}")
    ) as runtime:  # fmt: skip
        if any(c.tenant_id != TENANT for c in runtime.connections.all()):
            raise UsageError(
                f"{settings.store_url} holds linked connections, and the demo's clock and vendors are not theirs; "
                "set FIN_INFRA_STORE_URL to another file for the demo"
            )
        for old in runtime.connections.all(tenant=TENANT):
            runtime.queue.forget(old.connection_id)
            runtime.connections.remove(old.connection_id, erase=True)
        for token in TOKENS:
            runtime.connections.add(resolve("banking:teller"), {"access_token": token}, tenant=TENANT, simulated=True)
        runtime.connections.add(resolve("brokerage:alpaca"), KEY, tenant=TENANT, simulated=True)
        market = runtime.connections.add(resolve("market"), {"key": MARKET_KEY}, tenant=TENANT, simulated=True)
        runtime.connections.add(
            resolve("crypto"), {"api_key": COIN_KEY, "plan": "demo"}, tenant=TENANT, simulated=True
        )  # fmt: skip
        put(f"First cycle, {instant(clock())}: two banks, a broker and two sources of market data were just linked, so")
        put("all their streams are due.")
        await _cycle(runtime)
        report = await runtime.engine.sync("fx_rates", market.connection_id)  # on order: banks of issue give them too
        put(f"  ran  {report.sentence()}")
        for name in SHOWN:
            _show(runtime, name)
        _show_worth(runtime)

        card = f"acc_{TOKENS[0]}_card"
        posted = bank.post(card, f"txn_{TOKENS[0]}_pending", on="2026-11-25", amount="28.30")
        seen = max(runtime.store.changes()["seq"], default=0)
        put("")
        put(f"Second cycle: the bank posts {posted.id}, with a tip; Thanksgiving comes, and the day after New York")
        put("closes at 13:00. The worker wakes at these moments:")
        for moment in (
            datetime(2026, 11, 25, 21, 30, tzinfo=UTC),  # half an hour after the close
            datetime(2026, 11, 26, 21, 30, tzinfo=UTC),  # the same hour on Thanksgiving: no shares are priced
            datetime(2026, 11, 27, 18, 30, tzinfo=UTC),  # half an hour after the early close
        ):
            clock.set(moment)
            put(f"{instant(clock())}, {moment:%A}")
            await _cycle(runtime)
        _show_changes(runtime, seen)
        _show_sessions(runtime)
        _show_worth(runtime)
        for done in runtime.connections.all(tenant=TENANT):  # no worker shall ask the real vendors for them
            runtime.connections.set_state(done.connection_id, "disabled", "of the demo: its vendor was simulated")
        stats = runtime.queue.stats()
        if stats.dead or stats.ready or stats.later or stats.running:
            raise SystemExit(f"error: the demo left jobs behind: {stats}")


async def _cycle(runtime: Runtime) -> None:
    from fin_infra.cli.output import instant, put

    def planned(due: list[Due]) -> None:
        for item in due:
            put(f"  due  {item.unique_key} since {instant(item.due_at)} ({item.schedule})")

    await runtime.run_worker(until_idle=True, on_planned=planned)


SHOWN = {
    "accounts": ("account_id", "institution", "name", "mask", "kind", "subkind", "currency", "status"),
    "balances": ("account_id", "currency", "current", "cash", "available", "as_of"),
    "transactions": ("account_id", "transaction_id", "status", "amount", "currency", "booked_on", "description"),
    "holdings": ("instrument", "quantity", "multiplier", "price", "market_value", "cost_basis", "currency"),
    "prices": ("instrument", "session", "open", "high", "low", "close", "volume", "currency", "state"),
}
OF_ALL = ("prices", "corporate_actions", "fx_rates", "quotes")
NEWEST_FIRST = {"transactions": "booked_on", "prices": "session"}


def _show(runtime: Runtime, dataset: str) -> None:
    from fin_infra.cli.output import put, table

    rows = _rows(runtime, dataset).select(SHOWN[dataset]).collect()
    if rows.is_empty():
        raise SystemExit(f"error: the demo delivered no {dataset}")
    put("")
    put(f"{dataset}: {rows.height} rows" + (", the newest ten:" if rows.height > 10 else ":"))
    if rows.height > 10:
        rows = rows.sort(NEWEST_FIRST[dataset], *SHOWN[dataset][:2], descending=[True, False, False]).head(10)
    table(rows.iter_rows(), SHOWN[dataset])


def _rows(runtime: Runtime, dataset: str) -> pl.LazyFrame:
    """Rows of the demo's tenant; market data belongs to no tenant."""
    from fin_infra.reader import read

    return read(dataset, tenant=None if dataset in OF_ALL else TENANT, store=runtime.store)


def _show_worth(runtime: Runtime) -> None:
    import polars as pl

    from fin_infra.cli.output import put
    from fin_infra.cli.worth import in_one, net_worth

    names = ("accounts", "balances", "holdings", "prices", "corporate_actions")
    worth = net_worth(*(_rows(runtime, name).collect() for name in names))
    put("")
    put("net worth: " + ", ".join(f"{amount:,.2f} {currency}" for currency, amount in sorted(worth.total.items())))
    rates = _rows(runtime, "fx_rates").collect()
    converted = in_one(worth, IN, runtime.now().date(), rates)
    for row in converted.rows.filter(pl.col("rate").is_not_null()).iter_rows(named=True):
        put(f"  {row['currency']} at {row['rate']:.6f} {IN}, {row['rate_provider']}'s rate of {row['rate_on']}")
    put(f"net worth in {IN}: {converted.total().amount:,.2f}")
    for sentence in converted.total().lacking:
        put(f"  not counted in {IN}: {sentence}")
    for sentence in worth.missing:
        put(f"  not counted: {sentence}")
    for sentence in worth.old:
        put(f"  counted at an old price: {sentence}")
    if not worth.total:
        raise SystemExit("error: the demo counted nothing")


def _show_sessions(runtime: Runtime) -> None:
    """The last sessions of one instrument: none on Thanksgiving, one at the early close."""
    from datetime import date

    import polars as pl

    from fin_infra.cli.output import put, table

    columns = ("instrument", "session", "close", "state")
    rows = _rows(runtime, "prices").filter(pl.col("instrument") == "us:AAPL").select(columns).collect().tail(4)
    put("")
    put("the last sessions of us:AAPL: Thursday was Thanksgiving, Friday closed early:")
    table(rows.iter_rows(), columns)
    if rows["session"].to_list() != [date(2026, 11, day) for day in (23, 24, 25, 27)]:
        raise SystemExit("error: the demo's prices are not those of the last sessions")


def _show_changes(runtime: Runtime, seen: int) -> None:
    """What moved, by the change feed; each changed transaction before and after."""
    import polars as pl

    from fin_infra.cli.output import put, table
    from fin_infra.reader import read

    changes = runtime.store.changes(seen)
    total = sum(_rows(runtime, name).select(pl.len()).collect().item() for name in SHOWN)
    put("")
    put(f"changes of the second cycle: {changes.height} of {total} rows moved, the others were not rewritten;")
    put("the posted transaction before and after:")
    moved = changes.filter(pl.col("dataset") == "transactions")["key"].list.get(2).to_list()
    versions = (
        read("transactions", tenant=TENANT, history=True, store=runtime.store)
        .filter(pl.col("transaction_id").is_in(moved))
        .collect()
    )
    columns = ("transaction_id", "status", "amount", "booked_on", "known_from", "known_to")
    table(versions.select(columns).iter_rows(), columns)
    if changes.is_empty() or changes.height >= total:
        raise SystemExit("error: the second cycle moved the wrong rows")
