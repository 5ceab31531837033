"""Figures, signs, units and keys of Plaid's answers, where samples have none: pure functions, cases in tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.errors import FinInfraError
from fin_infra.instruments import option_of
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.plaid import frames, wire
from fin_infra.providers.plaid.refusals import CODES, item_error
from fin_infra.providers.plaid.symbols import cash_of, key_of
from tests.guards import guarded

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
ASK = Ask("plaid", "ada", "con", "run", AT)
BROKER = Account("a", "ours", "investment", "USD")
APPLE = {"security_id": "s1", "ticker_symbol": "AAPL", "type": "equity", "market_identifier_code": "XNAS"}
OPTION = {"security_id": "s2", "ticker_symbol": "AAPL270115C00200000", "type": "derivative"}
DOLLAR = {"security_id": "usd", "ticker_symbol": "CUR:USD", "type": "cash", "iso_currency_code": "USD"}
EURO = {"security_id": "eur", "ticker_symbol": "CUR:EUR", "type": "cash", "iso_currency_code": "USD"}


def body(**value: Any) -> bytes:
    return json.dumps(value).encode()


def holding(security: Mapping[str, Any] = APPLE, **more: Any) -> dict[str, Any]:
    return {
        "account_id": "a", "security_id": security["security_id"], "quantity": 10, "institution_price": 100,
        "institution_value": 1000, "cost_basis": 800, "iso_currency_code": "USD", **more,
    }  # fmt: skip


def held(*rows: dict[str, Any], accounts: Any = (), securities: Any = (APPLE, OPTION, DOLLAR, EURO)) -> wire.Holdings:
    return wire.holdings(body(accounts=list(accounts), holdings=list(rows), securities=list(securities)))


def positions(*rows: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    built = frames.holdings([(held(*rows, **more), AT)], ASK, BROKER)
    assert not built.rejects
    return built.good.to_dicts()


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("security", "key"),
    [
        ({"ticker_symbol": "BRK.B", "type": "equity", "market_identifier_code": "XNYS"}, "us:BRK.B"),
        ({"ticker_symbol": "SPY", "type": "etf", "market_identifier_code": "ARCX"}, "us:SPY"),
        ({"ticker_symbol": "VTSAX", "type": "mutual fund", "market_identifier_code": "XNAS"}, "us:VTSAX"),
        ({"ticker_symbol": "VOD", "type": "equity", "market_identifier_code": "XLON"}, "xlon:VOD"),
        ({"ticker_symbol": "RY", "type": "equity", "market_identifier_code": "XTSE"}, "xtse:RY"),
        ({"ticker_symbol": "AAPL", "type": "equity"}, "plaid:s"),  # of which venue?
        ({"ticker_symbol": "AAPL", "type": "equity", "isin": "US0378331005"}, "isin:US0378331005"),
        ({"ticker_symbol": "VMFXX", "type": "mutual fund"}, "plaid:s"),
        ({"ticker_symbol": "NHX105509", "type": "etf", "market_identifier_code": "XNAS"}, "plaid:s"),
        ({"ticker_symbol": "X1", "institution_security_id": "X1", "type": "etf", "market_identifier_code": "XLON"}, "plaid:s"),
        ({"ticker_symbol": "BTC", "type": "cryptocurrency"}, "crypto:bitcoin"),
        ({"ticker_symbol": "CUR:BTC", "type": "cash"}, "crypto:bitcoin"),
        ({"ticker_symbol": "NEWCOIN", "type": "cryptocurrency"}, "plaid:s"),
        ({"ticker_symbol": "DOGE", "type": "equity", "market_identifier_code": "XNAS"}, "us:DOGE"),
        ({"ticker_symbol": "AAPL270115C00200000", "type": "derivative"}, "opt:AAPL:2027-01-15:C:200"),
        ({"type": "derivative", "option_contract": {"contract_type": "put", "expiration_date": "2027-01-15",
          "strike_price": "152.5", "underlying_security_ticker": "KO"}}, "opt:KO:2027-01-15:P:152.5"),
        ({"type": "derivative", "option_contract": {"contract_type": "put", "expiration_date": "2027-01-15",
          "strike_price": "0.00001", "underlying_security_ticker": "KO"}}, "plaid:s"),
        ({"type": "derivative", "option_contract": {"contract_type": "put"}}, "plaid:s"),
        ({"type": "derivative", "option_contract": {"contract_type": "put", "expiration_date": "2027-01-15",
          "strike_price": "1e999999", "underlying_security_ticker": "KO"}}, "plaid:s"),
        ({"ticker_symbol": None, "type": "fixed income", "cusip": "912797HE0"}, "cusip:912797HE0"),
        ({"ticker_symbol": None, "type": "fixed income", "cusip": "912797HE1"}, "plaid:s"),
        ({"ticker_symbol": None, "type": "equity", "isin": "US0378331004"}, "plaid:s"),
        ({"ticker_symbol": "CUR:USD", "type": "cash"}, None),
        ({"ticker_symbol": "USD", "type": "cash"}, None),
        ({"security_id": " ", "type": "equity"}, None),
    ],
)  # fmt: skip
def test_a_security_has_the_key_that_can_be_told_honestly(security: dict[str, Any], key: str | None) -> None:
    assert key_of({"security_id": "s", **security}) == key


@given(root=st.from_regex(r"[A-Z]{1,5}", fullmatch=True), day=st.dates(date(2025, 1, 1), date(2099, 12, 31)),
       right=st.sampled_from("CP"), strike=st.integers(1, 99_999_999))  # fmt: skip
def test_an_options_contract_and_its_symbol_are_one_key(root: str, day: date, right: str, strike: int) -> None:
    contract = {"contract_type": "call" if right == "C" else "put", "expiration_date": day.isoformat(),
                "strike_price": str(Decimal(strike) / 1000), "underlying_security_ticker": root}  # fmt: skip
    symbol = f"{root}{day:%y%m%d}{right}{strike:08}"
    made = key_of({"security_id": "s", "type": "derivative", "option_contract": contract})
    assert made == key_of({"security_id": "s", "type": "derivative", "ticker_symbol": symbol}) == option_of(symbol)


def test_cash_is_told_from_what_is_as_good_as_cash() -> None:
    assert cash_of({"type": "mutual fund", "is_cash_equivalent": True, "ticker_symbol": "VMFXX"}) is None
    assert cash_of({"type": "cash", "ticker_symbol": "CUR:EUR"}) == "EUR"
    assert cash_of({"type": "cash", "ticker_symbol": None, "iso_currency_code": "CAD"}) == "CAD"


# -- holdings --------------------------------------------------------------------------------------------------------


@guarded(
    "plaid: an option's units are contracts",
    "providers/plaid/frames.py",
    '"quantity": _hundredth(units) if option else units',
    '"quantity": units',
)
def test_an_option_is_counted_in_contracts() -> None:
    [row] = positions(holding(OPTION, quantity=300, institution_price=1.25, institution_value=375, cost_basis=360))
    assert (row["quantity"], row["multiplier"], row["price"], row["market_value"]) == (3, 100, Decimal("1.25"), 375)
    assert row["quantity"] * row["multiplier"] * row["price"] == row["market_value"]


@guarded(
    "plaid: a short position's value is positive",
    "providers/plaid/frames.py",
    "    return _exactly(amount, lambda number: EXACT.minus(abs(number))) if units is not None and units < 0 else amount",
    "    return amount",
)
@pytest.mark.parametrize("value", [-1000, 1000])
@pytest.mark.parametrize("basis", [-900, 900])
def test_a_short_position_is_negative_whatever_the_institution_says(value: int, basis: int) -> None:
    [row] = positions(holding(quantity=-10, institution_value=value, cost_basis=basis))
    assert (row["quantity"], row["market_value"], row["cost_basis"], row["price"]) == (-10, -1000, -900, 100)


@guarded(
    "plaid: zero is a known basis",
    "providers/plaid/frames.py",
    "    if total is None or total == 0:",
    "    if total is None:",
)
@guarded(
    "plaid: a basis per unit is taken for the total",
    "providers/plaid/frames.py",
    "        if not FAR[0] < as_total < FAR[1] and NEAR[0] < per_unit < NEAR[1]:",
    "        if False:",
)
@pytest.mark.parametrize(
    ("quantity", "price", "basis", "known"),
    [
        (10, 100, 800, True),
        (10, 100, 80, False),  # a twelfth of the price as a total, and four fifths of it per unit
        (1000, 20, 19, False),
        (10, 100, None, False),
        (10, 100, 0, False),  # how institutions say that they do not know
        (25000, "0.177494362", "92.47", True),  # a fiftieth as a total, but five hundred times the price per unit
        (10, 100, 200, True),  # a great win, and no price either
        (1, 2.11, 1.5, True),  # of one unit the two are the same
        (10, 0, 80, True),  # without a price nothing is to be seen
        (10, None, 80, True),
        (0, 100, 80, True),
    ],
)
def test_t44_a_basis_that_may_be_per_unit_is_not_known(quantity: Any, price: Any, basis: Any, known: bool) -> None:
    [row] = positions(holding(quantity=quantity, institution_price=price, cost_basis=basis))
    assert row["cost_basis"] == (Decimal(str(basis)) if known else None)


@guarded(
    "plaid: of two positions in one instrument the last wins",
    "providers/plaid/frames.py",
    "    if len(positions) == 1:\n        return first",
    "    return positions[-1]",
)
def test_positions_in_one_instrument_are_one_row_and_no_part_is_lost() -> None:
    other = {**APPLE, "security_id": "s9"}
    [row] = positions(
        holding(), holding(quantity=5.5, institution_value=550, cost_basis=450),
        holding(other, quantity=1, institution_price=101, institution_value=101, cost_basis=None),
        securities=[APPLE, other],
    )  # fmt: skip
    assert (row["quantity"], row["market_value"], row["cost_basis"], row["price"]) == (
        Decimal("16.5"),
        1651,
        None,
        None,
    )


@guarded(
    "plaid: pence are pounds",
    "providers/plaid/frames.py",
    "    return _hundredth(amount) if _is_minor(row) else amount",
    "    return amount",
)
def test_what_is_quoted_in_pence_is_in_pounds() -> None:
    vodafone = {"security_id": "v", "ticker_symbol": "VOD", "type": "equity", "market_identifier_code": "XLON",
                "unofficial_currency_code": "GBX", "iso_currency_code": None}  # fmt: skip
    row = holding(vodafone, institution_price=72.5, institution_value=725, cost_basis=700,
                  iso_currency_code=None, unofficial_currency_code="GBX")  # fmt: skip
    [made] = positions(row, securities=[vodafone])
    assert (made["price"], made["market_value"], made["cost_basis"]) == (Decimal("0.725"), Decimal("7.25"), 7)
    assert made["currency"] == "GBP"
    [named] = frames.instruments([(held(row, securities=[vodafone]), AT)], ASK).good.to_dicts()
    assert (named["instrument"], named["currency"], named["quote_unit"], named["mic"]) == (
        "xlon:VOD",
        "GBP",
        "minor",
        "XLON",
    )


def test_a_position_in_what_is_not_described_is_kept_under_plaids_id() -> None:
    [row] = positions(holding({"security_id": "unheard"}), securities=[])
    assert (row["instrument"], row["market_value"]) == ("plaid:unheard", 1000)


def test_a_position_that_cannot_be_read_falls_alone() -> None:
    page = held(holding(), holding({"security_id": "s7"}, quantity="many"))
    built = frames.holdings([(page, AT)], ASK, BROKER)
    assert built.good["instrument"].to_list() == ["us:AAPL"]
    assert [reject.row["instrument"] for reject in built.rejects] == ["plaid:s7"]


def test_cash_in_two_currencies_is_two_balances() -> None:
    account = {"account_id": "a", "type": "investment", "balances": {"current": 2500, "iso_currency_code": "USD"}}
    page = held(
        holding(), holding(DOLLAR, quantity=300, institution_price=1, institution_value=300),
        holding(DOLLAR, quantity=0.5, institution_price=1, institution_value=0.5),
        holding(EURO, quantity=100, institution_price=1.1, institution_value=110), accounts=[account],
    )  # fmt: skip
    rows = frames.balances([(page, AT)], ASK, BROKER).good.to_dicts()
    assert {(r["account_id"], r["currency"]): (r["current"], r["cash"]) for r in rows} == {
        ("ours", "USD"): (2500, Decimal("300.5")), ("ours", "EUR"): (None, 100)
    }  # fmt: skip


# -- activities ------------------------------------------------------------------------------------------------------


def activity(**more: Any) -> dict[str, Any]:
    return {
        "investment_transaction_id": "i1", "account_id": "a", "security_id": "s1", "amount": 100, "quantity": 1,
        "price": 100, "fees": 0, "type": "buy", "subtype": "buy", "date": "2026-11-20", "iso_currency_code": "USD", **more,
    }  # fmt: skip


def done(row: dict[str, Any]) -> dict[str, Any]:
    page = wire.activities(
        body(investment_transactions=[row], securities=[APPLE, OPTION, DOLLAR], total_investment_transactions=1)
    )
    built = frames.activities([(page, AT)], ASK, BROKER)
    assert not built.rejects
    [made] = built.good.to_dicts()
    return made


@guarded(
    "plaid: a sale adds to the position",
    "providers/plaid/frames.py",
    '        units = negated(units.removeprefix("-"))',
    "        pass",
)
@guarded(
    "plaid: cash keeps the vendor's sign",
    "providers/plaid/frames.py",
    '"amount": [_major(row, negated(text(row, "amount"))) for _, row, _ in rows],',
    '"amount": [_major(row, text(row, "amount")) for _, row, _ in rows],',
)
@pytest.mark.parametrize(
    ("more", "kind", "quantity", "amount"),
    [
        ({}, "buy", 1, -100),
        ({"type": "sell", "subtype": "sell", "quantity": -2, "amount": -200}, "sell", -2, 200),
        ({"type": "sell", "subtype": "sell", "quantity": 2, "amount": -200}, "sell", -2, 200),
        ({"subtype": "dividend reinvestment"}, "buy", 1, -100),
        ({"type": "cash", "subtype": "dividend", "quantity": 0, "amount": -8.72}, "dividend", None, Decimal("8.72")),
        ({"type": "cash", "subtype": "interest", "amount": -1}, "interest", None, 1),
        ({"type": "cash", "subtype": "margin expense", "amount": 7}, "interest", None, -7),  # T-46: it is a cost
        ({"type": "fee", "subtype": "interest", "amount": 3}, "interest", None, -3),
        ({"type": "fee", "subtype": "management fee", "amount": 3, "quantity": 0}, "fee", None, -3),
        ({"type": "fee", "subtype": "", "amount": 3}, "fee", None, -3),
        ({"type": "cash", "subtype": "tax withheld", "amount": 3}, "tax", None, -3),
        ({"type": "cash", "subtype": "contribution", "security_id": "usd", "amount": -5000, "quantity": -5000, "price": 1}, "deposit", None, 5000),
        ({"type": "buy", "subtype": "contribution", "security_id": "usd", "amount": -5000, "quantity": -5000, "price": 1}, "deposit", None, 5000),
        ({"type": "cash", "subtype": "withdrawal", "security_id": None, "amount": 50}, "withdrawal", None, -50),
        ({"type": "cash", "subtype": "transfer", "security_id": None, "amount": 50}, "transfer_out", None, -50),
        ({"type": "transfer", "subtype": "transfer", "amount": 0, "quantity": 4}, "transfer_in", 4, 0),
        ({"type": "transfer", "subtype": "send", "amount": 0, "quantity": -4}, "transfer_out", -4, 0),
        ({"type": "transfer", "subtype": "split", "amount": 0, "quantity": 9}, "split", 9, 0),
        ({"type": "transfer", "subtype": "merger", "amount": 0, "quantity": -9}, "other", -9, 0),
        ({"type": "cancel", "subtype": "buy", "amount": -100, "quantity": -1}, "other", -1, 100),
        ({"type": "cash", "subtype": "something new", "amount": -1}, "other", None, 1),
        ({"security_id": "s2", "quantity": 200, "price": 1.5, "amount": 300.65, "fees": 0.65}, "buy", 2, Decimal("-300.65")),
        ({"security_id": "s2", "quantity": 2, "price": 1.5, "amount": 300, "fees": None}, "buy", 2, -300),
        ({"security_id": "s2", "type": "transfer", "subtype": "expire", "quantity": -200, "price": 0, "amount": 0}, "other", -2, 0),
    ],
)  # fmt: skip
def test_t46_what_happened_is_signed_for_the_holder(
    more: dict[str, Any], kind: str, quantity: int | None, amount: Decimal | int
) -> None:
    row = done(activity(**more))
    assert (row["kind"], row["quantity"], row["amount"]) == (kind, quantity, amount)


def test_a_type_that_nobody_knows_is_no_guess() -> None:
    page = wire.activities(
        body(investment_transactions=[activity(type="swap")], securities=[APPLE], total_investment_transactions=1)
    )
    built = frames.activities([(page, AT)], ASK, BROKER)
    assert (built.good.height, len(built.rejects)) == (0, 1)


@guarded(
    "plaid: windows are not cut by the date",
    "providers/plaid/frames.py",
    '"recorded_at": [_begin_of(text(row, "date")) for _, row, _ in rows],',
    '"recorded_at": [text(row, "transaction_datetime") for _, row, _ in rows],',
)
def test_t49_a_date_is_the_vendors_day_in_every_zone() -> None:
    row = done(activity(date="2026-11-20", transaction_datetime="2026-11-20T03:00:00Z"))
    assert (str(row["traded_on"]), row["recorded_at"]) == ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC))


# -- transactions ----------------------------------------------------------------------------------------------------


def bank_row(**more: Any) -> dict[str, Any]:
    return {
        "account_id": "a", "transaction_id": "t1", "amount": 1.5, "iso_currency_code": "USD", "date": "2026-11-20",
        "name": "COFFEE", "pending": False, **more,
    }  # fmt: skip


def page_of(*added: dict[str, Any], modified: Any = (), removed: Any = (), **more: Any) -> wire.Transactions:
    return wire.transactions(
        body(added=list(added), modified=list(modified), removed=list(removed),
             **{"next_cursor": "c", "has_more": False, **more})
    )  # fmt: skip


def booked(*added: dict[str, Any], modified: Any = ()) -> list[dict[str, Any]]:
    built = frames.transactions([(page_of(*added, modified=modified), AT)], ASK, None)
    assert (built.rejects, built.differing) == ((), ())
    return built.good.to_dicts()


def test_the_smallest_row_is_enough() -> None:
    [row] = booked({"account_id": "a", "transaction_id": "t", "amount": 1, "pending": True})
    assert (row["amount"], row["status"], row["currency"], row["booked_on"]) == (-1, "pending", None, None)


@pytest.mark.parametrize("kind", ["0", "", None])
def test_t49_no_date_is_no_date(kind: Any) -> None:
    [row] = booked(bank_row(date=kind))
    assert row["booked_on"] is None


@pytest.mark.parametrize(
    ("stamps", "moment"),
    [
        ({"datetime": "2026-11-20T11:01:01Z"}, datetime(2026, 11, 20, 11, 1, 1, tzinfo=UTC)),
        ({"datetime": "2026-11-20T00:00:00Z"}, None),  # midnight is how an institution says that it has no time
        ({"datetime": "2026-11-20T00:00:00Z", "authorized_datetime": "2026-11-19T23:59:00-05:00"}, datetime(2026, 11, 20, 4, 59, tzinfo=UTC)),
        ({}, None),
    ],
)  # fmt: skip
def test_a_time_of_day_is_taken_where_there_is_one(stamps: dict[str, str], moment: datetime | None) -> None:
    [row] = booked(bank_row(**stamps))
    assert row["occurred_at"] == moment
    assert str(row["booked_on"]) == "2026-11-20"


def test_of_one_id_in_a_page_the_later_word_stands() -> None:
    [row] = booked(bank_row(), bank_row(amount=2), modified=[bank_row(amount=3)])
    assert row["amount"] == -3


def test_a_coin_is_counted_in_itself() -> None:
    [row] = booked(bank_row(iso_currency_code=None, unofficial_currency_code="DOGE", amount="0.123456789012345678"))
    assert (row["currency"], row["amount"]) == ("DOGE", Decimal("-0.123456789012345678"))


@given(st.decimals(-(10**9), 10**9, places=4))
def test_the_sign_turns_and_the_figure_stays(amount: Decimal) -> None:
    turned = frames.negated(str(amount))
    assert turned is not None
    assert Decimal(turned) == -amount
    assert amount or not turned.startswith("-")


def test_ids_that_are_taken_back_are_the_vendors_and_never_blank() -> None:
    page = page_of(
        removed=[{"transaction_id": "tX"}, {"transaction_id": " "}, {"transaction_id": None, "account_id": "a"}]
    )
    assert frames.removed(page) == ["tX"]


@pytest.mark.parametrize(
    ("status", "cursor", "history"),
    [
        ("HISTORICAL_UPDATE_COMPLETE", "c", True),
        ("INITIAL_UPDATE_COMPLETE", "c", False),
        ("TRANSACTIONS_UPDATE_STATUS_UNKNOWN", "c", None),
        (None, "c", None),
        ("NOT_READY", "", "not_ready"),
        ("NOT_READY", "c", "not_ready"),
        ("HISTORICAL_UPDATE_COMPLETE", "", "not_ready"),
        ("HISTORICAL_UPDATE_COMPLETE", None, "contract_broken"),
    ],
)
def test_t17_a_page_says_how_much_history_there_is(status: str | None, cursor: str | None, history: Any) -> None:
    if not isinstance(history, str):
        assert page_of(next_cursor=cursor, transactions_update_status=status).history is history
        return
    with pytest.raises(FinInfraError) as refused:
        page_of(next_cursor=cursor, transactions_update_status=status)
    assert refused.value.code == history


# -- accounts and Items ----------------------------------------------------------------------------------------------


def test_an_account_of_a_kind_nobody_knows_is_no_guess() -> None:
    page = wire.accounts(
        body(accounts=[{"account_id": "a", "type": "payroll"}, {"account_id": "b", "type": "brokerage"}])
    )
    built = frames.accounts([(page, AT)], ASK)
    assert dict(built.good.select("account_id", "kind").rows()) == {"b": "investment"}
    assert len(built.rejects) == 1


@pytest.mark.parametrize(
    ("mask", "shown"), [("1234", "1234"), ("001234", "1234"), ("7", None), (None, None), ("12", "12")]
)
def test_a_mask_has_two_to_four_characters(mask: str | None, shown: str | None) -> None:
    page = wire.accounts(body(accounts=[{"account_id": "a", "type": "depository", "mask": mask}]))
    assert frames.accounts([(page, AT)], ASK).good["mask"].to_list() == [shown]


@pytest.mark.parametrize(("word", "code"), [(word, code) for code, (_, *words) in CODES.items() for word in words])
def test_an_items_error_means_what_the_same_refusal_means(word: str, code: str) -> None:
    error = item_error(word, b"{}")
    assert error.code == code
    assert word in error.message


@pytest.mark.parametrize("error", [{}, {"error_code": None}, "broken", {"error_code": "BRAND_NEW"}])
def test_t24_an_items_error_that_cannot_be_read_is_no_success(error: Any) -> None:
    said = {"item_id": "i", "error": error}
    for read, more in (
        (wire.item, {}),
        (wire.accounts, {"accounts": []}),
        (wire.holdings, {"holdings": [], "securities": []}),
        (wire.activities, {"investment_transactions": [], "securities": [], "total_investment_transactions": 0}),
    ):
        with pytest.raises(FinInfraError) as refused:
            read(body(item=said, **more))
        assert refused.value.code == "contract_broken"
