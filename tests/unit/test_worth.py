"""Net worth: what is counted, and what is named instead of invented."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest

from fin_infra.cli.worth import NetWorth, in_one, net_worth
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.prices import Prices
from fin_infra.errors import UsageError
from tests.guards import guarded
from tests.unit.helpers import START

COMMON = {"tenant_id": "ada", "provider": "x", "connection_id": "c", "fetched_at": START, "run_id": "r"}


def accounts(**kinds: str) -> pl.DataFrame:
    rows = {"account_id": list(kinds), "kind": [k.split()[0] for k in kinds.values()],
            "status": [k.split()[-1] if " " in k else "open" for k in kinds.values()]}  # fmt: skip
    return Accounts.build(rows, COMMON).good


def balances(*rows: tuple[str, str, str | None, str | None]) -> pl.DataFrame:
    names = ("account_id", "currency", "current", "cash")
    return Balances.build(
        dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), {**COMMON, "as_of": START}
    ).good


def holdings(*rows: tuple[str, str, str, str, str | None]) -> pl.DataFrame:
    if not rows:
        return Holdings.empty()
    names = ("account_id", "instrument", "quantity", "multiplier", "market_value")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return Holdings.build(columns, {**COMMON, "as_of": START, "currency": "USD"}).good


def prices(*rows: tuple[str, str, str, str]) -> pl.DataFrame:
    if not rows:
        return Prices.empty()
    names = ("instrument", "session", "close", "currency")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return Prices.build(columns, {**COMMON, "basis": "raw", "state": "final"}).good


def test_cash_of_investments_and_balances_of_the_others_and_holdings_at_the_newest_close() -> None:
    worth = net_worth(
        accounts(a="depository", b="credit", c="investment"),
        balances(("a", "USD", "100.10", None), ("b", "USD", "-40", None), ("c", "USD", "9999", "5")),
        holdings(("c", "us:AAPL", "2.5", "1", "1"), ("c", "us:KO", "-3", "1", None)),
        prices(("us:AAPL", "2026-11-23", "200", "USD"), ("us:AAPL", "2026-11-20", "1", "USD"),
               ("us:KO", "2026-11-23", "60.01", "USD")),
    )  # fmt: skip
    assert worth == NetWorth({"USD": Decimal("100.10") - 40 + 5 + 500 - Decimal("180.03")}, [])


def split(ex_on: str, new: str, old: str) -> pl.DataFrame:
    columns: dict[str, list[str | None]] = {"new_shares": [new], "old_shares": [old], "ratio": ["1"], "ex_on": [ex_on]}
    return CorporateActions.build(columns, {**COMMON, "instrument": "us:A", "kind": "split"}).good


@guarded(
    "shares of two days are multiplied", "cli/worth.py", '_same_shares(row, sessions[row["instrument"]], actions)',
    "Fraction(1)",
)  # fmt: skip
def test_t30_a_quantity_and_a_close_count_the_same_shares() -> None:
    """The holding is of the 24th: of its ex-date on, it is counted in new shares; the newest close is of either side."""
    for ex_on, quantity, session, close in (
        ("2026-11-24", "500", "2026-11-23", "100"),  # the close is of the day before the split
        ("2026-11-25", "10", "2026-11-25", "2"),  # the holding is
        ("2026-11-24", "500", "2026-11-24", "2"),
        ("2026-11-25", "10", "2026-11-24", "100"),
    ):
        rows = holdings(("c", "us:A", quantity, "1", None))
        bars = prices(("us:A", session, close, "USD"))
        worth = net_worth(accounts(), Balances.empty(), rows, bars, split(ex_on, "50", "1"))
        assert worth.total == {"USD": Decimal(1000)}, (ex_on, session)
    thirds = net_worth(accounts(), Balances.empty(), holdings(("c", "us:A", "1", "1", None)),
                       prices(("us:A", "2026-11-23", "10", "USD")), split("2026-11-24", "3", "1"))  # fmt: skip
    assert thirds.total == {"USD": Decimal("3.333333333333333333")}


def test_t42_what_is_missing_is_named_and_nothing_is_converted() -> None:
    worth = net_worth(
        accounts(a="depository", b="depository", c="investment", d="depository"),
        balances(("a", "USD", None, None), ("b", "JPY", "1000000", None), ("c", "USD", "10", None)),
        holdings(("c", "opt:AAPL:2027-01-15:C:300", "2", "100", "2470"), ("c", "us:NEW", "1.50", "1", None)),
        prices(),
    )
    assert worth.total == {"JPY": Decimal(1_000_000)}
    assert worth.missing == [
        "account a: the vendor did not say its current", "account c: the vendor did not say its cash",
        "account d: no balance is known",
        "2 opt:AAPL:2027-01-15:C:300: no price is held, by the broker 2470 USD",
        "1.5 us:NEW: no price is held",
    ]  # fmt: skip


def test_closed_accounts_are_left_out() -> None:
    worth = net_worth(
        accounts(a="investment closed", b="depository"),
        balances(("a", "USD", "10", "10"), ("b", "USD", "1", None)),
        holdings(("a", "us:AAPL", "1", "1", "200")),
        prices(("us:AAPL", "2026-11-23", "200", "USD")),
    )
    assert worth == NetWorth({"USD": Decimal(1)}, [])


def test_a_close_of_another_day_counts_as_the_newest_there_is() -> None:
    frame = prices(("us:A", "2026-11-19", "3", "USD"))
    assert frame["session"].to_list() == [date(2026, 11, 19)]
    worth = net_worth(accounts(), Balances.empty(), holdings(("c", "us:A", "2", "1", None)), frame)
    assert worth.total == {"USD": Decimal(6)}


def test_a_close_older_than_others_of_its_calendar_is_counted_and_named() -> None:
    worth = net_worth(
        accounts(c="investment"), balances(("c", "USD", "9", "1")),
        holdings(("c", "us:AAPL", "1", "1", None), ("c", "us:GONE", "1", "1", None), ("c", "crypto:bitcoin", "1", "1", None)),
        prices(("us:AAPL", "2026-11-20", "2", "USD"), ("us:GONE", "2026-06-02", "3", "USD"),
               ("crypto:bitcoin", "2026-11-22", "4", "USD")),
    )  # fmt: skip
    assert worth == NetWorth({"USD": Decimal(10)}, [], ["us:GONE: its newest close is of 2026-06-02"])


def test_no_digit_of_a_large_sum_or_a_small_coin_is_rounded() -> None:
    cash, quantity, price = "99999999999999999999.01", "123456789.123456789012345678", "0.000010215100000001"
    worth = net_worth(
        accounts(a="depository", c="crypto"), balances(("a", "USD", cash, None), ("c", "USD", "0", None)),
        holdings(("c", "crypto:pepe", quantity, "1", None)), prices(("crypto:pepe", "2026-11-22", price, "USD")),
    )  # fmt: skip
    assert Fraction(worth.total["USD"]) == Fraction(cash) + Fraction(quantity) * Fraction(price)


def test_a_coins_36_decimals_do_not_lose_the_dollars() -> None:
    """Quantity by price has as many decimals as both together: more than a column holds, which made null of them."""
    coin = Decimal("0.123456789012345678") * Decimal("86123.45")
    for total, shown in (
        (coin, coin.quantize(Decimal("1e-18"))), (Decimal("1E-20"), Decimal(0)), (Decimal("1E+19"), Decimal(10) ** 19),
    ):  # fmt: skip
        found = in_one(NetWorth({"USD": total}), "USD", date(2026, 11, 24), FxRates.empty()).total()
        assert (found.amount, found.complete) == (shown, True)
    with pytest.raises(UsageError) as wrong:
        in_one(NetWorth({"USD": Decimal("1E+20")}), "USD", date(2026, 11, 24), FxRates.empty())
    assert "USD" in str(wrong.value)
