"""Alpaca's rows by their hard cases: signs, options, coins, exact amounts, days in New York."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.datasets.activities import KINDS
from fin_infra.datasets.base import Built
from fin_infra.errors import WireError
from fin_infra.providers.alpaca import frames, wire
from fin_infra.providers.base import Account, Ask

AT = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)
ASK = Ask("alpaca", "ada", "con_1", "run_1", AT)
ACCOUNT = Account("acc", "acc", "investment", "USD")
ASSET_ID = "b28f4066-5c6d-479b-a2af-85dc1a8f16fb"


def position(**said: Any) -> dict[str, Any]:
    return {
        "asset_id": ASSET_ID, "symbol": "SPY", "asset_class": "us_equity", "qty": "2", "side": "long",
        "market_value": "723.1", "cost_basis": "825.82", "current_price": "361.55", **said,
    }  # fmt: skip


def fill(**said: Any) -> dict[str, Any]:
    return {
        "id": "20260302103018500::1", "activity_type": "FILL", "transaction_time": "2026-03-02T15:30:18.500245Z",
        "type": "fill", "price": "10.5", "qty": "3", "side": "buy", "symbol": "SPY", **said,
    }  # fmt: skip


def other(kind: str, net_amount: str | None = None, **said: Any) -> dict[str, Any]:
    return {
        "id": "20260302000000000::1", "activity_type": kind, "date": "2026-03-02", "net_amount": net_amount,
        "status": "executed", **said,
    }  # fmt: skip


def held(*rows: dict[str, Any], account: Account = ACCOUNT) -> Built:
    return frames.holdings([(wire.positions(json.dumps(rows).encode()), AT)], ASK, account)


def happened(*rows: dict[str, Any], account: Account = ACCOUNT) -> Built:
    return frames.activities([(wire.activities(json.dumps(rows).encode()), AT)], ASK, account)


def barred(symbol: str, *stamps: str, **said: str) -> Built:
    digits = {"o": "10", "h": "12", "l": "9", "c": "11", "v": "1000"} | said
    listed = [f'{{"t":"{t}",' + ",".join(f'"{k}":{v}' for k, v in digits.items()) + "}" for t in stamps]
    body = f'{{"bars":{{"{symbol}":[{",".join(listed)}]}},"next_page_token":null}}'
    return frames.prices([(wire.bars(body.encode()), AT)], ASK)


def only(built: Built) -> dict[str, Any]:
    """The one row there is."""
    assert built.rejects == ()
    [row] = built.good.to_dicts()
    return row


def reasons(built: Built) -> list[str]:
    assert built.good.is_empty()
    return [reject.reason for reject in built.rejects]


# -- account -----------------------------------------------------------------------------------------------------------


def account(**said: Any) -> wire.AlpacaAccount:
    whole = {"id": "acc", "account_number": "PA3SIM00001", "status": "ACTIVE", "currency": "USD", "cash": "1.5",
             "equity": "2.5", "portfolio_value": "3.5", **said}  # fmt: skip
    return wire.account(json.dumps(whole).encode())


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("ACTIVE", "open"), ("ACCOUNT_UPDATED", "open"), ("ACCOUNT_CLOSED", "closed"), ("REJECTED", "closed"),
        ("ONBOARDING", "inaccessible"), ("INACTIVE", "inaccessible"),
    ],
)  # fmt: skip
def test_an_accounts_status_is_one_of_ours(status: str, ours: str) -> None:
    assert only(frames.accounts([(account(status=status), AT)], ASK))["status"] == ours


def test_an_unknown_status_of_an_account_is_a_reject_not_a_guess() -> None:
    [reason] = reasons(frames.accounts([(account(status="NEW_WORD"), AT)], ASK))
    assert reason.startswith("status is not one of")


@pytest.mark.parametrize(("number", "mask"), [("PA3SIM00001", "0001"), ("1234", None), ("", None), (None, None)])
def test_a_mask_is_never_the_whole_number(number: str | None, mask: str | None) -> None:
    assert only(frames.accounts([(account(account_number=number), AT)], ASK))["mask"] == mask


def test_a_balance_is_the_value_and_its_cash_negative_on_margin() -> None:
    row = only(frames.balances([(account(cash="-23140.2", equity="103820.56"), AT)], ASK))
    assert (row["current"], row["cash"], row["available"]) == (Decimal("103820.56"), Decimal("-23140.2"), None)
    assert row["as_of"] == AT


def test_equity_that_is_not_said_is_the_portfolios_value_or_unknown() -> None:
    assert only(frames.balances([(account(equity=None), AT)], ASK))["current"] == Decimal("3.5")
    assert only(frames.balances([(account(equity=None, portfolio_value=None), AT)], ASK))["current"] is None
    assert only(frames.balances([(account(equity="0"), AT)], ASK))["current"] == 0


# -- holdings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_a_short_position_is_negative_whether_or_not_alpaca_says_so(signed: bool) -> None:
    sign = "-" if signed else ""
    row = only(held(position(side="short", qty=f"{sign}5", market_value=f"{sign}60.5", cost_basis=f"{sign}50")))
    assert (row["quantity"], row["market_value"], row["cost_basis"]) == (-5, Decimal("-60.5"), -50)
    assert row["price"] == Decimal("361.55")


@pytest.mark.parametrize("nothing", ["0", "0.00", "00.0", "-0"])
def test_nothing_is_not_made_negative(nothing: str) -> None:
    quantity = only(held(position(side="short", qty=nothing)))["quantity"]
    assert (quantity, quantity.is_signed()) == (0, False)


def test_a_price_that_is_not_known_is_null_never_zero() -> None:
    row = only(held(position(current_price=None, market_value=None)))
    assert (row["price"], row["market_value"], row["quantity"], row["cost_basis"]) == (
        None, None, 2, Decimal("825.82"),
    )  # fmt: skip


def test_t44_the_basis_is_the_positions_total() -> None:
    row = only(held(position(qty="2", avg_entry_price="412.91", cost_basis="825.82")))
    assert row["cost_basis"] == Decimal("825.82")


@pytest.mark.parametrize("asset_class", ["us_option", None])
def test_an_option_is_counted_in_contracts_of_a_hundred(asset_class: str | None) -> None:
    option = position(symbol="SPY240621P00500000", asset_class=asset_class, qty="-3", side="short",
                      current_price="4.2", market_value="-1260", cost_basis="-1200")  # fmt: skip
    row = only(held(option))
    assert (row["instrument"], row["quantity"], row["multiplier"]) == ("opt:SPY:2024-06-21:P:500", -3, 100)
    assert row["market_value"] == row["quantity"] * row["multiplier"] * row["price"]


def test_a_crypto_position_has_no_slash() -> None:
    row = only(held(position(symbol="BTCUSD", asset_class="crypto", qty="0.000000001")))
    assert (row["instrument"], row["multiplier"], row["quantity"]) == ("crypto:bitcoin", 1, Decimal("1e-9"))


@pytest.mark.parametrize(
    ("symbol", "asset_class"),
    [("NEWUSD", "crypto"), ("NEW/USD", "crypto"), ("22544F103", "us_equity"), ("SPY1", "us_option"), (None, "crypto")],
)
def test_a_position_in_something_unknown_is_kept_under_alpacas_id(symbol: str | None, asset_class: str) -> None:
    row = only(held(position(symbol=symbol, asset_class=asset_class)))
    assert (row["instrument"], row["quantity"]) == (f"alpaca:{ASSET_ID}", 2)


def test_a_position_without_any_name_is_a_reject_beside_the_good_ones() -> None:
    built = held(position(symbol=None, asset_id=None), position())
    assert built.good["instrument"].to_list() == ["us:SPY"]
    assert [reject.reason for reject in built.rejects] == ["instrument is missing"]


def test_eighteen_digits_stay_exact() -> None:
    row = only(held(position(qty="12345678901234567890.123456789012345678", current_price="0.000000000000000001")))
    assert row["quantity"] == Decimal("12345678901234567890.123456789012345678")
    assert row["price"] == Decimal("1e-18")


@pytest.mark.parametrize("qty", ["0.0000000000000000001", "100000000000000000000.5", "NaN", "1e400000", "two", ""])
def test_a_quantity_that_does_not_fit_is_a_reject_never_rounded(qty: str) -> None:
    assert len(reasons(held(position(qty=qty)))) == 1


def test_numbers_without_quotes_are_as_exact_as_text() -> None:
    body = json.dumps([position()]).replace('"2"', "2.123456789012345678").encode()
    built = frames.holdings([(wire.positions(body), AT)], ASK, ACCOUNT)
    assert only(built)["quantity"] == Decimal("2.123456789012345678")


def test_no_positions_are_an_empty_frame_and_another_shape_is_refused() -> None:
    assert held().good.is_empty()
    for body in (b"{}", b"null", b'[{"id": "x"}]', b'[["SPY"]]', b'{"positions": []}', b"[1]"):
        with pytest.raises(WireError):
            wire.positions(body)


# -- trades ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "kind", "quantity", "amount"),
    [
        ("buy", "buy", "3", "-31.5"), ("sell", "sell", "-3", "31.5"), ("sell_short", "sell", "-3", "31.5"),
        ("buy_to_cover", "buy", "3", "-31.5"),
    ],
)  # fmt: skip
def test_a_trade_moves_the_position_one_way_and_the_cash_the_other(
    side: str, kind: str, quantity: str, amount: str
) -> None:
    row = only(happened(fill(side=side)))
    assert (row["kind"], row["quantity"], row["amount"]) == (kind, Decimal(quantity), Decimal(amount))
    assert (row["price"], row["instrument"], row["fees"], row["currency"]) == (Decimal("10.5"), "us:SPY", None, "USD")


def test_a_trade_of_an_unknown_side_is_a_reject() -> None:
    [reason] = reasons(happened(fill(side="string")))
    assert reason.startswith("kind is not one of")


def test_a_contract_costs_a_hundred_times_its_price() -> None:
    row = only(happened(fill(symbol="SPY240621P00500000", qty="2", price="4.2")))
    assert (row["instrument"], row["quantity"], row["amount"]) == ("opt:SPY:2024-06-21:P:500", 2, -840)


@pytest.mark.parametrize("symbol", ["BTC/USD", "BTCUSD"])
def test_a_coin_is_traded_under_either_spelling(symbol: str) -> None:
    row = only(happened(fill(symbol=symbol, qty="0.000000001", price="64767.7")))
    assert (row["instrument"], row["amount"]) == ("crypto:bitcoin", Decimal("-0.0000647677"))


def test_what_a_trade_moved_is_exact_beyond_28_digits() -> None:
    """Python's own decimals keep 28 digits unless told otherwise, in a change of sign too."""
    row = only(happened(fill(qty="1234567890.123456789012345678", price="2", side="sell")))
    assert row["amount"] == Decimal("2469135780.246913578024691356")
    row = only(happened(fill(qty="12345678901234567890.123456789012345678", price="1")))
    assert row["amount"] == Decimal("-12345678901234567890.123456789012345678")


@pytest.mark.parametrize(
    ("qty", "price"),
    [
        ("0.000000001", "0.0000000001"),  # 19 decimals
        ("99999999999999999999", "2"),  # 21 digits before the point
    ],
)
def test_an_amount_that_does_not_fit_is_null_and_never_rounded(qty: str, price: str) -> None:
    row = only(happened(fill(qty=qty, price=price)))
    assert row["amount"] is None
    assert (row["quantity"], row["price"]) == (Decimal(qty), Decimal(price))


def test_idle_zeros_do_not_make_an_amount_too_fine() -> None:
    assert only(happened(fill(qty="0.1000000000", price="0.1000000000")))["amount"] == Decimal("-0.01")


@pytest.mark.parametrize("qty", ["NaN", "sNaN", "Infinity", "1E+999999999", "1E+600000", "1_0", "string", "٣"])
def test_a_trade_of_no_number_is_a_reject(qty: str) -> None:
    for row in (fill(qty=qty), fill(qty=qty, price=qty), fill(price=qty)):
        assert len(reasons(happened(row))) == 1


amounts = st.decimals(0, 10**19, places=18, allow_nan=False).map(lambda n: format(n, "f"))


@given(qty=amounts, price=amounts, side=st.sampled_from(["buy", "sell"]))
def test_the_cash_of_a_trade_is_the_exact_product_or_null(qty: str, price: str, side: str) -> None:
    def units(text: str) -> int:
        whole, _, part = text.partition(".")
        return int(whole + part.ljust(18, "0"))

    row = only(happened(fill(qty=qty, price=price, side=side)))
    product = units(qty) * units(price) * (1 if side == "sell" else -1)  # with 36 decimals
    if row["amount"] is None:
        assert product % 10**18 or abs(product) >= 10**56
    else:
        assert units(f"{abs(row['amount']):.18f}") * 10**18 == abs(product)
        assert product == 0 or (row["amount"] > 0) == (product > 0)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-03-03T04:30:00Z", "2026-03-02"),  # 23:30 in New York, in winter
        ("2026-03-03T05:30:00Z", "2026-03-03"),
        ("2026-07-02T03:59:59.999999999Z", "2026-07-01"),  # summer, with nanoseconds
        ("2026-07-02T04:00:00Z", "2026-07-02"),
        ("2026-07-02T00:30:00+02:00", "2026-07-01"),
        ("2026-12-31T23:30:00-05:00", "2026-12-31"),
    ],
)
def test_t49_a_trades_day_is_new_yorks(moment: str, day: str) -> None:
    assert only(happened(fill(transaction_time=moment)))["traded_on"] == date.fromisoformat(day)


@pytest.mark.parametrize("moment", ["2026-03-02T15:30:18", "yesterday", "2026-02-30T00:00:00Z", "1772465418"])
def test_a_trades_time_that_is_no_instant_is_a_reject(moment: str) -> None:
    assert reasons(happened(fill(transaction_time=moment))) == ["traded_on is not a date as YYYY-MM-DD"]


# -- what else happens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "net", "ours"),
    [
        ("CSD", "33324.35", "deposit"), ("CSW", "-250.75", "withdrawal"), ("FEE", "-0.02", "fee"),
        ("CFEE", "-0.1", "fee"), ("PTC", "-1", "fee"), ("DIVFEE", "-0.05", "fee"),
        ("INT", "1.2", "interest"), ("INT", "-9.87", "interest"), ("INTNRA", "-0.3", "tax"), ("INTTW", "-0.3", "tax"),
        ("DIV", "1.02", "dividend"), ("DIVCGL", "1", "dividend"), ("DIVROC", "1", "dividend"),
        ("DIVNRA", "-0.15", "tax"), ("DIVFT", "-0.15", "tax"), ("DIVTW", "-0.15", "tax"),
        ("JNLC", "500", "transfer_in"), ("JNLC", "-500", "transfer_out"), ("JNL", "-1", "transfer_out"),
        ("ACATC", "12.34", "transfer_in"), ("ACATC", "-12.34", "transfer_out"),
        ("PTR", "0.5", "other"), ("OPCSH", "10", "other"), ("MA", "100", "other"), ("NEWKIND", "1", "other"),
    ],
)  # fmt: skip
def test_t46_cash_keeps_the_sign_it_came_with(kind: str, net: str, ours: str) -> None:
    row = only(happened(other(kind, net)))
    assert (row["kind"], row["amount"], row["quantity"], row["price"]) == (ours, Decimal(net), None, None)
    assert row["traded_on"] == date(2026, 3, 2)


def test_the_shares_that_earned_a_dividend_do_not_move() -> None:
    row = only(happened(other("DIV", "1.02", symbol="T", qty="2", per_share_amount="0.51")))
    assert (row["kind"], row["instrument"], row["quantity"], row["amount"]) == (
        "dividend", "us:T", None, Decimal("1.02"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "qty", "ours"),
    [
        ("ACATS", "10", "transfer_in"), ("ACATS", "-10", "transfer_out"), ("JNLS", "-0.5", "transfer_out"),
        ("FOPT", "3", "transfer_in"), ("SPLIT", "30", "split"), ("SPIN", "4", "other"), ("OPEXP", "-1", "other"),
        ("OPASN", "1", "other"), ("NC", "-7", "other"), ("REORG", "-7", "other"),
    ],
)  # fmt: skip
def test_securities_that_move_do(kind: str, qty: str, ours: str) -> None:
    for net in (None, "0"):
        row = only(happened(other(kind, net, symbol="T", qty=qty)))
        assert (row["kind"], row["quantity"]) == (ours, Decimal(qty))
        assert row["amount"] == (None if net is None else 0)


DOCUMENTED = (
    "ACATC", "ACATS", "CFEE", "CGD", "CSD", "CSW", "DIV", "DIVCGL", "DIVCGS", "DIVFEE", "DIVFT", "DIVNRA", "DIVROC",
    "DIVTW", "DIVTXEX", "FEE", "INT", "INTNRA", "INTTW", "JNL", "JNLC", "JNLS", "MA", "NC", "OPASN", "OPCA", "OPCSH",
    "OPEXC", "OPEXP", "OPTRD", "PTC", "PTR", "REORG", "SPIN", "SPLIT", "FOPT",
)  # fmt: skip


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_every_documented_type_makes_a_row(kind: str) -> None:
    assert only(happened(other(kind, "-1")))["kind"] in KINDS


def test_what_was_cancelled_is_left_out_and_what_was_corrected_stays() -> None:
    rows = [other("CSD", "1", id=f"2026::{status}", status=status) for status in ("executed", "canceled", "correct")]
    assert happened(*rows).good["activity_id"].to_list() == ["2026::executed", "2026::correct"]
    assert happened(other("CSD", "1", status="canceled")).good.is_empty()


@pytest.mark.parametrize("said", ["2026-03-02", "2026-03-02T00:00:00Z", "2026-03-02T00:00:00.000Z"])
def test_a_date_is_a_date_however_it_is_written(said: str) -> None:
    assert only(happened(other("CSD", "1", date=said)))["traded_on"] == date(2026, 3, 2)


def test_a_row_without_a_date_has_none() -> None:
    assert only(happened(other("CSD", "1", date=None)))["traded_on"] is None


def test_t10_a_row_without_an_id_is_a_reject() -> None:
    for blank in (None, "", " "):
        assert reasons(happened(other("CSD", "1", id=blank))) == ["activity_id is missing"]


def test_a_currency_is_the_rows_the_accounts_or_dollars() -> None:
    euro = Account("acc", "acc", "investment", "EUR")
    assert only(happened(other("CSD", "1", currency="GBP"), account=euro))["currency"] == "GBP"
    assert only(happened(other("CSD", "1"), account=euro))["currency"] == "EUR"
    assert only(happened(fill(), account=Account("acc", "acc", "investment")))["currency"] == "USD"


# -- bars --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "session"),
    [
        ("2026-03-06T05:00:00Z", "2026-03-06"), ("2026-03-09T04:00:00Z", "2026-03-09"),  # summer begins on 8 March
        ("2026-10-30T04:00:00Z", "2026-10-30"), ("2026-11-02T05:00:00Z", "2026-11-02"),  # and ends on 1 November
        ("2026-03-08T05:00:00Z", "2026-03-08"), ("2026-11-01T04:00:00Z", "2026-11-01"),  # on the very days
        ("2026-07-01T00:00:00-04:00", "2026-07-01"), ("2026-07-01T04:00:00.000000000Z", "2026-07-01"),
        ("1999-12-31T05:00:00Z", "1999-12-31"),
    ],
)  # fmt: skip
def test_t39_midnight_in_new_york_is_the_session_in_winter_and_in_summer(stamp: str, session: str) -> None:
    row = only(barred("SPY", stamp))
    assert (row["session"], row["instrument"]) == (date.fromisoformat(session), "us:SPY")


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-03-06T13:00:00Z",  # an hour
        "2026-03-06T14:31:00Z",  # a minute
        "2026-03-06T04:00:00Z",  # summer's midnight in winter
        "2026-07-01T05:00:00Z",  # winter's midnight in summer
        "2026-07-01T00:00:00Z",  # UTC's midnight is no session of New York
        "2026-07-01T04:00:00",  # no zone
        "soon",
    ],
)
def test_a_bar_that_begins_at_no_midnight_is_none_of_a_day(stamp: str) -> None:
    assert reasons(barred("SPY", stamp)) == ["session is not a date as YYYY-MM-DD; session is missing"]


@pytest.mark.parametrize(
    ("stamp", "session"),
    [
        ("2026-07-01T00:00:00Z", "2026-07-01"), ("2026-07-01T04:00:00Z", "2026-07-01"),
        ("2026-07-01T05:00:00Z", "2026-07-01"), ("2026-01-15T05:00:00Z", "2026-01-15"),
        ("2026-01-15T06:00:00Z", "2026-01-15"), ("2026-03-08T06:00:00Z", "2026-03-08"),
        ("2026-03-09T05:00:00Z", "2026-03-09"),
    ],
)  # fmt: skip
def test_a_coins_day_begins_at_midnight_utc_new_york_or_chicago(stamp: str, session: str) -> None:
    row = only(barred("BTC/USD", stamp))
    assert (row["session"], row["instrument"]) == (date.fromisoformat(session), "crypto:bitcoin")


@pytest.mark.parametrize("stamp", ["2026-07-01T10:18:00Z", "2026-07-01T06:00:00Z", "2026-01-15T04:00:00Z"])
def test_a_coins_bar_of_another_hour_is_none_of_a_day(stamp: str) -> None:
    assert len(reasons(barred("BTC/USD", stamp))) == 1


def test_an_unknown_coins_bars_are_rejects() -> None:
    assert reasons(barred("NEW/USD", "2026-07-01T05:00:00Z")) == ["instrument is missing"]


def test_digits_of_a_bar_are_kept_to_the_last() -> None:
    row = only(
        barred("SPY", "2026-07-01T04:00:00Z", o="524288.015625000000000001", h="9007199254740993.5",
               l="0.000000000000000001", c="524288.01", v="2880534893454904001")
    )  # fmt: skip
    assert (row["open"], row["high"]) == (Decimal("524288.015625000000000001"), Decimal("9007199254740993.5"))
    assert (row["low"], row["volume"]) == (Decimal("1e-18"), Decimal(2880534893454904001))


def test_exponents_are_written_out() -> None:
    row = only(barred("SPY", "2026-07-01T04:00:00Z", l="1e-7", v="1.5E+3"))
    assert (row["low"], row["volume"]) == (Decimal("0.0000001"), 1500)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"h": "10.5"}, "breaks high_is_highest"), ({"l": "10.5"}, "breaks low_is_lowest"),
        ({"v": "-1"}, "breaks volume_is_not_negative"), ({"c": "null"}, "breaks close|nullability"),
        ({"c": "0", "l": "0"}, "breaks close_is_not_zero"),
    ],
)  # fmt: skip
def test_a_bar_that_cannot_be_is_a_reject(said: dict[str, str], reason: str) -> None:
    assert reasons(barred("SPY", "2026-07-01T04:00:00Z", **said)) == [reason]


def test_bars_are_raw_dollars_and_not_yet_final() -> None:
    row = only(barred("BRK.B", "2026-07-01T04:00:00Z"))
    assert (row["instrument"], row["basis"], row["currency"], row["state"]) == (
        "us:BRK.B", "raw", "USD", "provisional",
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"null", b'{"bars":{}}', b'{"next_page_token":null}', b'{"bars":[],"next_page_token":null}',
        b'{"bars":{"SPY":{"t":"x"}},"next_page_token":null}', b'{"bars":{"SPY":[1]},"next_page_token":null}',
        b'{"bars":{"SPY":[{"p":1}]},"next_page_token":null}', b'{"bars":{},"next_page_token":{}}', b'{"bars":{}',
        b'{"bars":{"SPY":[{"t":"2026-07-01T04:00:00Z","c":NaN}]},"next_page_token":null}',
    ],
)  # fmt: skip
def test_bars_of_another_shape_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        wire.bars(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"bars":{},"next_page_token":null}', b'{"bars":null,"next_page_token":null}',
        b'{"bars":null,"symbol":"SPY","next_page_token":null}', b'{"bars":{"SPY":[]},"next_page_token":""}',
    ],
)  # fmt: skip
def test_no_bars_are_an_empty_frame(body: bytes) -> None:
    page = wire.bars(body)
    assert (list(page.rows), page.next_page_token) == ([], None)
    assert frames.prices([(page, AT)], ASK).good.is_empty()


# -- instruments -------------------------------------------------------------------------------------------------------


def asset(**said: Any) -> wire.Asset:
    whole = {"id": ASSET_ID, "class": "us_equity", "exchange": "NYSE", "symbol": "T", "name": "AT&T Inc.", **said}
    [found] = wire.assets(json.dumps(whole).encode())
    return found


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ("us:T", "equity", "XNYS")),
        ({"symbol": "SPY", "exchange": "ARCA"}, ("us:SPY", "equity", "ARCX")),
        ({"symbol": "OTCQ", "exchange": "OTC"}, ("us:OTCQ", "equity", "OTCM")),
        ({"symbol": "BTC/USD", "class": "crypto", "exchange": "CRYPTO"}, ("crypto:bitcoin", "crypto", None)),
        (
            {"symbol": "SPY240621P00500000", "class": "us_option", "exchange": "OPRA"},
            ("opt:SPY:2024-06-21:P:500", "option", None),
        ),
        ({"exchange": None}, ("us:T", "equity", None)),
    ],
)
def test_an_asset_is_an_instrument(said: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    row = only(frames.instruments([([asset(**said)], AT)], ASK))
    assert (row["instrument"], row["kind"], row["mic"]) == expected
    assert (row["currency"], row["quote_unit"]) == ("USD", "major")


def test_an_asset_of_a_new_class_is_a_reject_not_a_guess() -> None:
    [reason] = reasons(frames.instruments([([asset(**{"class": "us_bond"})], AT)], ASK))
    assert reason.startswith("kind is not one of")
