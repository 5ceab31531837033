"""Pages of SnapTrade → rows: what each value becomes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.providers.base import Account, Ask
from fin_infra.providers.snaptrade import frames, wire
from tests.guards import guarded

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
ASK = Ask("snaptrade", "ada", "con", "run", AT)
ACCOUNT = Account("vendor_1", "acc_1", "investment", "USD")
FILE = "providers/snaptrade/frames.py"


def acted(**row: Any) -> dict[str, Any]:
    """The row of one activity."""
    told = {"id": "a", "type": "BUY", "units": "1", "price": "2", "amount": "-2", "fee": "0", "currency": {"code": "USD"},
            "symbol": {"symbol": "AAPL"}, "trade_date": "2026-11-20T15:00:00Z", **row}  # fmt: skip
    built = frames.activities([(wire.Activities([told], 0, 1), AT)], ASK, ACCOUNT)
    assert built.rejects == ()
    [found] = built.good.to_dicts()
    return found


def positioned(**row: Any) -> dict[str, Any]:
    """The row of one position."""
    told = {"instrument": {"kind": "stock", "symbol": "AAPL", "id": "i1"}, "units": "10", "price": "25",
            "cost_basis": "20", "currency": "USD", **row}  # fmt: skip
    built = frames.holdings([(wire.Positions([told]), AT)], ASK, ACCOUNT)
    assert built.rejects == ()
    [found] = built.good.to_dicts()
    return found


@guarded("A day in the exchange's zone", FILE, "return found.astimezone(_zone(zone)).date()", "return found.date()")
@guarded("Midnight UTC only says a day", FILE, "found is None or found.time() == time()", "found is None")
@pytest.mark.parametrize(("said", "zone", "day"), [
    ("2024-07-01T04:00:00Z", None, "2024-07-01"),  # midnight in New York
    ("2024-07-01T03:30:00Z", None, "2024-06-30"),
    ("2024-01-15T05:00:00Z", None, "2024-01-15"),  # the same in winter
    ("2024-03-22 16:27:55+00:00", None, "2024-03-22"),
    ("2024-03-26 00:00:00+00:00", None, "2024-03-26"),  # a day, no instant
    ("2024-03-25T23:30:00Z", "Asia/Tokyo", "2024-03-26"),
    ("2024-03-25T15:30:00-04:00", "nowhere", "2024-03-25"),
    ("2024-03-26", None, "2024-03-26"),
])  # fmt: skip
def test_a_trade_is_of_the_day_at_its_exchange(said: str, zone: str | None, day: str) -> None:
    found = acted(trade_date=said, symbol={"symbol": "AAPL", "exchange": {"timezone": zone}})
    assert found["traded_on"] == date.fromisoformat(day)


def test_without_a_trade_date_it_is_the_day_of_the_settlement() -> None:
    found = acted(trade_date=None, settlement_date="2026-11-23T05:00:00Z")
    assert (found["traded_on"], found["settled_on"], found["recorded_at"]) == (
        date(2026, 11, 23), date(2026, 11, 23), None,
    )  # fmt: skip


@guarded("Bought units grow the position, sold ones shrink it", FILE, "said in GROWS else EXACT", "said else EXACT")
@pytest.mark.parametrize(("told", "kind", "quantity"), [
    ({"type": "BUY", "units": "3"}, "buy", 3), ({"type": "BUY", "units": "-3"}, "buy", 3),
    ({"type": "SELL", "units": "-3"}, "sell", -3), ({"type": "SELL", "units": "3"}, "sell", -3),
    ({"type": "REI", "units": "0.5"}, "buy", Decimal("0.5")), ({"type": "REI", "units": "0"}, "dividend", None),
    ({"type": "DIVIDEND", "units": "20"}, "dividend", None),
    ({"type": "SUBSTITUTE_DIVIDEND", "units": "20"}, "dividend", None),
    ({"type": "STOCK_DIVIDEND", "units": "2"}, "dividend", 2), ({"type": "SPLIT", "units": "-2"}, "split", -2),
    ({"type": "INTEREST"}, "interest", None), ({"type": "FEE"}, "fee", None), ({"type": "TAX"}, "tax", None),
    ({"type": "CONTRIBUTION", "symbol": None}, "deposit", None),
    ({"type": "WITHDRAWAL", "symbol": None}, "withdrawal", None),
    ({"type": "TRANSFER", "units": "-2"}, "transfer_out", -2), ({"type": "TRANSFER", "units": "2"}, "transfer_in", 2),
    ({"type": "TRANSFER", "units": "0", "amount": "-5", "symbol": None}, "transfer_out", None),
    ({"type": "EXTERNAL_ASSET_TRANSFER_IN", "units": "4"}, "transfer_in", 4),
    ({"type": "EXTERNAL_ASSET_TRANSFER_OUT", "units": "4"}, "transfer_out", -4),
    ({"type": "OPTIONEXPIRATION", "units": "-1"}, "other", -1), ({"type": "ADJUSTMENT", "units": "-1"}, "other", -1),
    ({"type": "a brokerage's own", "units": "7"}, "other", None), ({"type": None, "units": "7"}, "other", None),
])  # fmt: skip
def test_what_happened_and_what_it_did_to_the_position(told: dict[str, Any], kind: str, quantity: Any) -> None:
    found = acted(**told)
    assert (found["kind"], found["quantity"]) == (kind, quantity)


def test_an_option_is_known_by_its_contract_and_counts_in_contracts() -> None:
    found = acted(symbol=None, option_symbol={"ticker": "ABC   261218C00045000", "id": "o"}, units="2", price="0.55")
    assert (found["instrument"], found["quantity"], found["price"]) == (
        "opt:ABC:2026-12-18:C:45", 2, Decimal("0.55"),
    )  # fmt: skip


def test_what_was_paid_with_a_coin_is_counted_in_it() -> None:
    found = acted(currency=None, currency_universal_symbol={"symbol": "btc"}, amount="-0.001", fee="-0.00001")
    assert (found["currency"], found["amount"], found["fees"]) == ("BTC", Decimal("-0.001"), Decimal("0.00001"))


@pytest.mark.parametrize("amount", ["1e-19", "NaN", "123456789012345678901", "ten", ""])
def test_an_amount_that_does_not_fit_is_no_other(amount: str) -> None:
    told = {"id": "a", "type": "FEE", "amount": amount, "trade_date": "2026-11-20T15:00:00Z"}
    built = frames.activities([(wire.Activities([told], 0, 1), AT)], ASK, ACCOUNT)
    assert built.good["amount"].to_list() == ([None] if amount == "" else [])


AMOUNTS = st.decimals(-(10**8), 10**8, allow_nan=False, places=4)  # products that fit


@guarded("The basis is the position's, not a unit's", FILE,
         '"cost_basis": _product(text(row, "cost_basis"), part, units, size)',
         '"cost_basis": _product(text(row, "cost_basis"), part)')  # fmt: skip
@given(units=AMOUNTS, price=AMOUNTS, basis=AMOUNTS, option=st.booleans())
def test_value_and_basis_are_of_the_whole_position(
    units: Decimal, price: Decimal, basis: Decimal, option: bool
) -> None:
    instrument = {"kind": "option", "symbol": "SPY   281215C00650000", "id": "i"} if option else {
        "kind": "etf", "symbol": "SPY", "id": "i"}  # fmt: skip
    found = positioned(instrument=instrument, units=str(units), price=str(price), cost_basis=str(basis))
    size = 100 if option else 1
    assert (found["market_value"], found["cost_basis"]) == (units * price * size, units * basis * size)


def test_what_is_not_known_is_null_and_never_zero() -> None:
    found = positioned(price=None, cost_basis=None)
    assert (found["price"], found["market_value"], found["cost_basis"]) == (None, None, None)
    told = {"instrument": {"kind": "stock", "symbol": "AAPL"}, "units": None, "price": "1"}
    built = frames.holdings([(wire.Positions([told]), AT)], ASK, ACCOUNT)
    assert built.good.is_empty()
    assert len(built.rejects) == 1


def test_a_product_that_does_not_fit_is_null_and_the_position_stays() -> None:
    found = positioned(units="0.000000010000000001", price="64000.51", cost_basis="0.1234567890123456")
    assert (found["quantity"], found["cost_basis"], found["market_value"]) == (
        Decimal("0.000000010000000001"), None, None,
    )  # fmt: skip


@pytest.mark.parametrize(("instrument", "key"), [
    ({"kind": "stock", "symbol": "brk.b"}, "us:BRK.B"),
    ({"kind": "stock", "symbol": "TECK.B.TO", "exchange": "XTSE"}, "xtse:TECK.B"),
    ({"kind": "adr", "symbol": "TSM", "exchange": "XNYS"}, "us:TSM"),
    ({"kind": "mutualfund", "symbol": "VFIAX"}, "mf:VFIAX"),
    ({"kind": "crypto", "symbol": "BTC"}, "crypto:bitcoin"),
    ({"kind": "crypto", "symbol": "NOCOIN", "id": "i9"}, "snaptrade:i9"),
    ({"kind": "option", "symbol": "XYZ   281215C00050000"}, "opt:XYZ:2028-12-15:C:50"),
    ({"kind": "cfd", "symbol": "AAPL", "id": "i2"}, "snaptrade:i2"),  # not the share
    ({"kind": "future", "symbol": "ESM26", "id": "i3", "multiplier": "50"}, "snaptrade:i3"),
    ({"kind": "other", "symbol": "AAPL", "id": "i4"}, "snaptrade:i4"),
    ({"kind": "a new kind", "symbol": "AAPL"}, "snaptrade:AAPL"),
])  # fmt: skip
def test_a_position_is_named_by_what_is_held(instrument: dict[str, Any], key: str) -> None:
    assert positioned(instrument=instrument)["instrument"] == key


def test_lots_of_one_instrument_are_one_row() -> None:
    lots = [{"instrument": {"kind": "stock", "symbol": "AAPL"}, "units": units, "price": "25", "cost_basis": basis,
             "currency": "USD"} for units, basis in (("10", "20"), ("2", "30"))]  # fmt: skip
    built = frames.holdings([(wire.Positions(lots), AT)], ASK, ACCOUNT)
    [found] = built.good.to_dicts()
    assert (found["quantity"], found["cost_basis"], found["market_value"], found["price"]) == (12, 260, 300, 25)
    assert built.differing == ()


def test_a_price_in_pence_is_one_in_pounds() -> None:
    found = positioned(instrument={"kind": "stock", "symbol": "VOD.L"}, units="100", price="72.5", cost_basis="80",
                       currency="GBX")  # fmt: skip
    assert (found["instrument"], found["currency"], found["price"], found["market_value"], found["cost_basis"]) == (
        "xlon:VOD", "GBP", Decimal("0.725"), Decimal("72.5"), 80,
    )  # fmt: skip


def listed(**row: Any) -> dict[str, Any]:
    told = {"id": "vendor_1", "connection_id": "c", "kind": "investment", "sync_status": {}, **row}
    built = frames.accounts([(wire.Accounts([told]), AT)], ASK)
    assert built.rejects == ()
    [found] = built.good.to_dicts()
    return found


@pytest.mark.parametrize(("said", "expected"), [
    ({"kind": "annuity"}, ("other", "annuity", "open")),
    ({"kind": None, "account_category": "LOC", "raw_type": "Credit Card"}, ("credit", "credit_card", "open")),
    ({"kind": None, "account_category": None, "status": "archived"}, ("investment", None, "closed")),
    ({"status": "unavailable"}, ("investment", None, "inaccessible")),
])  # fmt: skip
def test_kinds_and_states_of_accounts(said: dict[str, Any], expected: tuple[str, str | None, str]) -> None:
    found = listed(**said)
    assert (found["kind"], found["subkind"], found["status"]) == expected


@pytest.mark.parametrize(("number", "mask"), [
    ("Q6542138443", "8443"), ("****8443", "8443"), ("***42", "42"), ("*****", None), (None, None), ("*1", None),
])  # fmt: skip
def test_of_a_number_the_last_four_characters_are_kept(number: str | None, mask: str | None) -> None:
    assert listed(number=number)["mask"] == mask


def test_an_account_of_an_unknown_kind_is_a_reject() -> None:
    told = {"id": "v", "connection_id": "c", "kind": "loan", "sync_status": {}}
    built = frames.accounts([(wire.Accounts([told]), AT)], ASK)
    assert built.good.is_empty()
    assert "kind is not one of" in built.rejects[0].reason


def test_a_total_stands_in_the_row_of_its_own_currency() -> None:
    row = {"id": "vendor_1", "net_value": {"amount": "900.5", "currency": "CAD"}, "connection_id": "c"}
    cash = [{"currency": {"code": "USD"}, "cash": "10", "buying_power": "20"}]
    built = frames.balances([(wire.Balances(cash, [row]), AT)], ASK, ACCOUNT)
    found = {one["currency"]: (one["current"], one["cash"], one["available"]) for one in built.good.to_dicts()}
    assert found == {"USD": (None, 10, None), "CAD": (Decimal("900.5"), None, None)}
