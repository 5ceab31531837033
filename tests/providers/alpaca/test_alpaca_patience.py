"""What takes several reads: a list longer than the quota, rows dated ahead, findings that only who looked may settle."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimActivity, SimAsset, SimBrokerage, SimPosition
from tests.providers.alpaca.market import KEY_ID, Market, market_of


def holding(broker: AlpacaSimulator, count: int) -> SimBrokerage:
    """The key's account holds this many shares of its own making."""
    names = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]
    account = broker.account(KEY_ID)
    account.positions[:] = [SimPosition(name, "1", "10", current_price="10", lastday_price="10") for name in names]
    for name in names:
        broker.add_asset(SimAsset(name, f"{name} Inc."))
    return account


async def test_more_instruments_than_a_minute_allows_are_all_described_in_the_end(tmp_path: Path) -> None:
    with market_of(tmp_path, limit_per_minute=10) as market:
        await market.link()
        holding(market.broker, 25)
        await market.sync("holdings")
        for _ in range(4):
            market.clock.advance(timedelta(minutes=1))
            report = await market.sync("instruments")
        assert report.outcome == "ok"
        assert len(market.rows("instruments")) == 25
        asked = [path for path in market.broker.requests if path.startswith("/v2/assets/")]
        assert len(set(asked)) == 25
        assert len(asked) <= 25 + 2 * 3, "an instrument that is known is not asked about again"


async def test_an_activity_dated_far_ahead_of_its_creation_stays(market: Market) -> None:
    await market.link()
    account = market.broker.account(KEY_ID)
    today = market.clock().date()
    early = account.book(SimActivity("DIV", on=today + timedelta(days=45), symbol="KO", net_amount="3",
                                     created_at=market.clock() - timedelta(hours=1)))  # fmt: skip
    await market.sync("activities")
    for _ in range(8):
        market.clock.advance(timedelta(days=10))
        account.book(SimActivity("CSD", on=market.clock().date(), net_amount="1", created_at=market.clock()))
        assert (await market.sync("activities")).total.removed == 0
    assert early.id in [row["activity_id"] for row in market.rows("activities")]


async def test_a_run_settles_no_finding_of_what_it_did_not_look_at(market: Market) -> None:
    await market.link()
    market.broker.assets.pop("KO")
    await market.sync("instruments")

    def found() -> list[str]:
        return [row["subject"] for row in market.rows("findings") if row["state"] == "open"]

    assert found() == ["us:KO"]
    market.clock.advance(timedelta(days=1))
    await market.sync("instruments")
    assert found() == ["us:KO"], "nothing was asked: it stands"
    market.broker.add_asset(SimAsset("KO", "Coca-Cola"))
    market.clock.advance(timedelta(days=7))
    await market.sync("instruments")
    assert found() == []


async def test_what_nobody_prices_is_said_until_somebody_does_or_it_was_never_there(market: Market) -> None:
    await market.link()
    account = market.broker.account(KEY_ID)
    account.positions.append(
        SimPosition("AAPL270115C00300000", "2", "11.20", asset_class="us_option", exchange="", current_price="12",
                    lastday_price="12")
    )  # fmt: skip
    await market.sync("prices")
    [row] = [row for row in market.rows("findings") if row["kind"] == "unpriced"]
    assert (row["subject"], row["state"]) == ("opt:AAPL:2027-01-15:C:300", "open")
    assert date(2027, 1, 15) > market.clock().date()
