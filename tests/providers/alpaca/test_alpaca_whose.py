"""Whose rows they are, and what they are counted in: resets, other accounts' keys, pairs, fees in coins."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from fin_infra.errors import UsageError
from fin_infra.providers import resolve
from fin_infra.providers.alpaca import frames, wire
from fin_infra.providers.alpaca.simulator import SimBrokerage, SimPosition
from fin_infra.providers.base import Account, Ask
from tests.providers.alpaca.market import Market
from tests.unit.helpers import START

ACCOUNT = Account("acc", "acc", "investment", "USD")


def activity(**fields: Any) -> dict[str, Any]:
    ask = Ask("alpaca", "ada", "con", "run", START)
    row = {"id": "20260102::1", **fields}
    [made] = frames.activities([([row], START)], ask, ACCOUNT).good.to_dicts()
    return made


async def test_a_paper_account_that_was_reset_does_not_fill_the_old_one(market: Market) -> None:
    await market.link()
    await market.sync("accounts")
    await market.sync("holdings")
    before = {row["account_id"] for row in market.rows("holdings")}
    fresh = SimBrokerage(
        "acc-new", account_number="PA3SIM00002", cash="50", positions=[SimPosition("F", "3", "11", current_price="12")]
    )
    for key, (secret, _) in list(market.broker.keys.items()):
        market.broker.keys[key] = (secret, fresh)
    market.clock.advance(timedelta(hours=1))
    assert (await market.sync("holdings")).outcome == "ok"
    of = {row["instrument"]: row["account_id"] for row in market.rows("holdings")}
    assert of["us:F"] == "acc-new"
    assert {owner for name, owner in of.items() if name != "us:F"} == before
    await market.sync("activities")
    assert "acc-new" not in {row["account_id"] for row in market.rows("activities")}
    await market.sync("accounts")
    assert {row["account_id"]: row["status"] for row in market.rows("accounts")} == {
        **dict.fromkeys(before, "closed"), "acc-new": "open",
    }  # fmt: skip
    assert [row["instrument"] for row in market.rows("holdings")] == ["us:F"]
    assert len({row["instrument"] for row in market.rows("holdings", history=True)}) > 3


def test_a_trade_of_two_coins_is_counted_in_the_second() -> None:
    made = activity(activity_type="FILL", symbol="ETH/BTC", side="buy", qty="1.5", price="0.05",
                    transaction_time="2026-01-02T15:00:00Z")  # fmt: skip
    assert (made["instrument"], made["currency"], made["amount"]) == ("crypto:ethereum", "BTC", Decimal("-0.075"))


def test_a_fee_in_coins_shrinks_the_position_and_costs_no_cash() -> None:
    made = activity(activity_type="CFEE", symbol="ETHUSD", qty="-0.000195", price="1884.5", net_amount="0",
                    date="2026-01-02")  # fmt: skip
    assert (made["kind"], made["instrument"]) == ("fee", "crypto:ethereum")
    assert (made["quantity"], made["price"], made["amount"]) == (Decimal("-0.000195"), Decimal("1884.5"), 0)


def test_what_we_have_no_key_for_keeps_its_symbol() -> None:
    made = activity(activity_type="FILL", symbol="NOPE/EUR", side="sell", qty="1", price="2",
                    transaction_time="2026-01-02T15:00:00Z")  # fmt: skip
    assert (made["instrument"], made["currency"]) == ("alpaca:NOPE/EUR", "EUR")


def test_a_position_does_not_fall_with_a_product_that_has_too_many_decimals() -> None:
    row = {"asset_id": "a1", "symbol": "PEPE/USD", "asset_class": "crypto", "qty": "123456789.123456789", "side": "long",
           "current_price": "0.0000102151", "market_value": "1261.1234567890123456789", "cost_basis": "1"}  # fmt: skip
    built = frames.holdings([([row], START)], Ask("alpaca", "ada", "con", "run", START), ACCOUNT)
    assert built.rejects == ()
    assert built.good.select("instrument", "quantity", "market_value", "cost_basis").rows() == [
        ("crypto:pepe", Decimal("123456789.123456789"), None, Decimal(1)),
    ]  # fmt: skip


def test_a_balance_with_too_many_decimals_is_not_said_and_the_rest_is() -> None:
    account = wire.AlpacaAccount(id="a", status="ACTIVE", currency="USD", cash="1.5", equity="1." + "0" * 18 + "1")
    [row] = frames.balances([(account, START)], Ask("alpaca", "ada", "con", "run", START)).good.to_dicts()
    assert (row["current"], row["cash"]) == (None, Decimal("1.5"))


@pytest.mark.parametrize("key", ["…", "PK\u00e9", "PK\x07"])
async def test_a_key_with_a_character_that_no_key_has_is_refused_when_it_is_linked(market: Market, key: str) -> None:
    async with market.runtime() as runtime:
        with pytest.raises(UsageError, match="key_id of alpaca has a character that no key has"):
            runtime.connections.add(resolve("alpaca"), {"key_id": key, "secret_key": "s"}, tenant="ada")


async def test_a_demos_store_takes_no_real_link(market: Market) -> None:
    keys = {"key_id": "PKX", "secret_key": "s"}
    async with market.runtime() as runtime:
        runtime.connections.add(resolve("alpaca"), keys, tenant="demo", simulated=True)
        with pytest.raises(UsageError, match="holds the demo's simulated rows"):
            runtime.connections.add(resolve("alpaca"), keys, tenant="ada")
        runtime.connections.add(resolve("alpaca"), keys, tenant="demo", simulated=True)
