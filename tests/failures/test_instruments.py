"""What nothing resolves: kept under the vendor's own id, told, and under its key from the next sync after it is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.errors import UsageError
from fin_infra.instruments.aliases import SymbolAlias
from fin_infra.providers.plaid.simulator import SimActivity, SimHolding, SimSecurity
from tests.guards import guarded
from tests.plaid_world import PlaidWorld, broker, investment, plaid_of

DAY = timedelta(days=1)
ODD = [
    SimSecurity("sec_fund", None, "mutual fund", "Plan Fund", None, close="5"),
    SimSecurity("sec_lot", None, "equity", "A Share", None, close="100"),
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found


async def odd(world: PlaidWorld) -> None:
    """An Item whose account holds two things without ticker, venue or identifier."""
    await world.link(investment())
    item = broker(world.item)
    item.securities += ODD
    item.holdings = [
        SimHolding("acc_9", "sec_fund", "20", "5", "90"),
        SimHolding("acc_9", "sec_lot", "3", "100", "200"),
    ]
    item.activities.append(
        SimActivity("inv_3", "acc_9", "90", "2026-09-01", quantity="20", price="4.5", security_id="sec_fund")
    )
    await world.work()


def say(world: PlaidWorld, symbol: str, key: str, first: date | None = None, end: date | None = None) -> None:
    with world.store() as store:
        store.say_symbol(SymbolAlias("plaid", symbol, key, "statement of May", first, end), world.clock())


def unresolved(world: PlaidWorld, state: str = "open") -> set[tuple[str, str]]:
    found = [row for row in world.rows("findings") if row["kind"] == "unresolved_instrument" and row["state"] == state]
    return {(row["dataset"], row["subject"]) for row in found}


@guarded(
    "naming: a vendor's own id that an alias explains goes under its key",
    "engine/naming.py",
    "return alias_of(aliases, name.removeprefix(own), day) or name",
    "return name",
)
@guarded(
    "naming: a position that only changed its name has not gone",
    "engine/changes.py",
    "for key in gone if run.resolved.get(key[-1]) not in {row[-1] for row in came}",
    "for key in gone",
)
async def test_what_is_unresolved_is_kept_told_and_takes_its_key_once_it_is_said(world: PlaidWorld) -> None:
    await odd(world)
    assert world.ids("holdings", "instrument") == ["plaid:sec_fund", "plaid:sec_lot"]
    mine = {("holdings", "acc_9 plaid:sec_fund"), ("holdings", "acc_9 plaid:sec_lot")}
    assert unresolved(world) == {*mine, ("activities", "acc_9 plaid:sec_fund")}
    say(world, "sec_fund", "mf:VFIAX")
    say(world, "sec_lot", "us:MSFT")
    assert (await world.sync("holdings", DAY)).outcome == "ok"  # both renamed in one commit, no second read needed
    assert world.ids("holdings", "instrument") == ["mf:VFIAX", "us:MSFT"]
    assert {row["instrument"] for row in world.rows("instruments")} >= {"mf:VFIAX", "us:MSFT"}
    assert not mine & unresolved(world)
    await world.sync("activities", DAY)
    assert unresolved(world) == set()
    assert unresolved(world, "resolved") == {*mine, ("activities", "acc_9 plaid:sec_fund")}


@guarded(
    "naming: two positions that are one instrument are their sum",
    "engine/naming.py",
    "frame = _summed(frame) if schema is Holdings else",
    "frame =",
)
async def test_two_positions_that_are_said_to_be_one_instrument_are_their_sum(world: PlaidWorld) -> None:
    await odd(world)
    world.item.securities[2] = replace(ODD[1], id="sec_fund", close="100")
    world.item.holdings[0] = SimHolding("acc_9", "sec_fund", "2", "100", None)
    say(world, "sec_fund", "us:MSFT")
    say(world, "sec_lot", "us:MSFT")
    await world.sync("holdings", DAY)
    [held] = world.rows("holdings")
    assert (held["instrument"], held["quantity"], held["market_value"], held["price"], held["cost_basis"]) == (
        "us:MSFT", Decimal(5), Decimal(500), Decimal(100), None,
    )  # fmt: skip


async def test_a_symbol_that_another_company_has_later_does_not_inherit_the_first_ones_history(
    world: PlaidWorld,
) -> None:
    await odd(world)
    say(world, "sec_fund", "us:OLDCO", end=date(2026, 10, 1))
    say(world, "sec_fund", "us:NEWCO", first=date(2026, 10, 1))
    await world.sync("holdings", DAY)
    await world.sync("activities", DAY)
    assert "us:NEWCO" in world.ids("holdings", "instrument")  # today
    assert {r["activity_id"]: r["instrument"] for r in world.rows("activities")}["inv_3"] == "us:OLDCO"  # of September


async def test_a_wrong_check_digit_is_told_and_never_put_right(world: PlaidWorld) -> None:
    await world.link(investment())
    item = broker(world.item)
    item.securities += [
        SimSecurity("sec_1", None, "equity", "A Share", None, isin="US0378331004"),
        SimSecurity("sec_2", "MSFT", "equity", "Microsoft", isin="US5949181046"),
        SimSecurity("sec_3", None, "equity", "Apple", None, isin="US0378331005"),
    ]
    item.holdings = [SimHolding("acc_9", f"sec_{n}", "1", "1") for n in (1, 2, 3)]
    await world.work()
    assert world.ids("holdings", "instrument") == ["isin:US0378331005", "plaid:sec_1", "us:MSFT"]
    assert {row["instrument"]: row["isin"] for row in world.rows("instruments")} == {
        "plaid:sec_1": None, "us:MSFT": None, "isin:US0378331005": "US0378331005",
    }  # fmt: skip
    wrong = {row["subject"] for row in world.rows("findings") if row["kind"] == "wrong_identifier"}
    assert wrong == {"plaid:sec_1", "us:MSFT"}


def test_one_day_has_one_meaning(world: PlaidWorld) -> None:
    say(world, "sec", "us:AAPL", date(2026, 1, 1))
    with pytest.raises(UsageError, match="already means us:AAPL from 2026-01-01 to now; end that one first"):
        say(world, "sec", "us:MSFT", date(2026, 6, 1))
    say(world, "sec", "us:AAPL", date(2026, 1, 1), date(2026, 6, 1))  # said anew, with an end
    say(world, "sec", "us:MSFT", date(2026, 6, 1))
    with world.store() as store:
        assert [(a.instrument, a.valid_to) for a in store.symbol_aliases("plaid")] == [
            ("us:AAPL", date(2026, 6, 1)), ("us:MSFT", None),
        ]  # fmt: skip
