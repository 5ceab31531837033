"""Every Alpaca sample of the shared collection: checked rows, rejects with their reason, or the code it stands for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError, WireError
from fin_infra.providers import resolve

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/alpaca/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
DATASETS = ("accounts", "balances", "holdings", "activities", "instruments", "corporate_actions", "prices")


@dataclass(frozen=True)
class Rejected:
    """Rows of the right shape that are none of ours: a reason each."""

    reasons: list[str]
    beside: list[dict[str, Any]]


def bar(instrument: str, session: str, o: str, h: str, low: str, c: str, volume: str) -> dict[str, Any]:
    return {
        "instrument": instrument, "session": date.fromisoformat(session), "open": Decimal(o), "high": Decimal(h),
        "low": Decimal(low), "close": Decimal(c), "volume": Decimal(volume), "basis": "raw", "currency": "USD",
        "provider": "alpaca", "state": "final",
    }  # fmt: skip


def deposit(activity_id: str, amount: str) -> dict[str, Any]:
    return {
        "activity_id": activity_id, "kind": "deposit", "amount": Decimal(amount), "traded_on": date(2022, 4, 19),
        "instrument": None, "quantity": None, "price": None, "fees": None, "currency": "USD",
    }  # fmt: skip


def held(instrument: str, quantity: str, price: str, value: str, basis: str) -> dict[str, Any]:
    return {
        "account_id": "acc", "instrument": instrument, "quantity": Decimal(quantity), "multiplier": Decimal(1),
        "price": Decimal(price), "market_value": Decimal(value), "cost_basis": Decimal(basis), "currency": "USD",
    }  # fmt: skip


NOT_DAILY = "session is not a date as YYYY-MM-DD; session is missing"
UNFIT = "is not an amount that fits Decimal(38, 18)"
NO_POSITION = "; ".join(f"{name} {UNFIT}" for name in ("quantity", "price", "market_value", "cost_basis"))
NO_FILL = (
    "kind is not one of buy, sell, dividend, interest, fee, tax, deposit, withdrawal, transfer_in, transfer_out, "
    f"split, other; quantity {UNFIT}; price {UNFIT}; traded_on is not a date as YYYY-MM-DD"
)
NAMELESS_ASSET = {
    "instrument": "us:AAPL", "name": "string", "kind": "equity", "mic": "XNYS", "cusip": "987654321",
    "currency": "USD", "quote_unit": "major", "isin": None, "figi": None,
}  # fmt: skip
ACC = {"account_id": "acc", "currency": "USD"}
LATER = {"at": "2026-11-24T21:30:00Z"}  # long after the bars: one read makes them final
MARCH_9 = [
    bar("us:AAPL", "2022-03-09", "161.51", "163.41", "159.41", "162.95", "88496480"),
    bar("us:TSLA", "2022-03-09", "839", "860.56", "832.01", "858.97", "19227323"),
]


def acted(instrument: str, ex_on: str, kind: str, **more: Any) -> dict[str, Any]:
    """An action; what is not said is null."""
    numbers: dict[str, Any] = {
        name: Decimal(more.pop(name)) for name in ("ratio", "new_shares", "old_shares", "amount") if name in more
    }
    paid = {"paid_on": date.fromisoformat(more.pop("paid_on"))} if "paid_on" in more else {}
    nulls = dict.fromkeys(("ratio", "new_shares", "old_shares", "amount", "currency", "new_instrument", "paid_on"))
    return {"instrument": instrument, "ex_on": date.fromisoformat(ex_on), "kind": kind, "provider": "alpaca", **nulls,
            **numbers, **paid, **more}  # fmt: skip


def shares(new: str, old: str, ratio: str) -> dict[str, str]:
    return {"new_shares": new, "old_shares": old, "ratio": ratio}


ACTED = [
    acted("us:BSAQ", "2023-08-15", "symbol_change", new_instrument="us:VFS"),
    acted("us:FCF", "2023-05-04", "dividend", amount="0.125", paid_on="2023-05-19"),
    acted("us:GLOP", "2023-07-17", "delisting", amount="5.37"),
    acted("us:IFN", "2024-04-17", "other", new_instrument="alpaca:IFN.RTWI"),
    acted("us:JUPW", "2023-08-15", "spin_off", new_instrument="us:SRM", **shares("1", "19.35", "0.051679586563307494")),
    acted("us:LSI", "2023-07-20", "delisting", new_instrument="us:EXR", **shares("0.895", "1", "0.895")),
    acted("us:MLVF", "2023-07-18", "delisting", new_instrument="us:FRBA", amount="7.8",
          **shares("0.7733", "1", "0.7733")),
    acted("us:MNTS", "2023-08-24", "split", **shares("1", "50", "0.02")),
    acted("us:MSBC", "2023-05-19", "split", **shares("1.05", "1", "1.05")),
    acted("us:ORPHY", "2023-06-13", "delisting", amount="0.141134"),
    acted("us:SRE", "2023-08-22", "split", **shares("2", "1", "2")),
    acted("us:TPBAU", "2023-03-01", "delisting", new_instrument="us:LVRO", **shares("1", "1", "1")),
]  # fmt: skip

Expected = str | list[dict[str, Any]] | Rejected

EXPECTED: dict[str, tuple[str, dict[str, str], Expected]] = {
    # file: (dataset asked for, context, rows, rejects or error code)
    "doc_trading_v2_account.json": (
        "accounts", {},
        [{"account_id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf", "mask": "_123", "kind": "investment",
          "subkind": "brokerage", "currency": "USD", "status": "open", "institution": "Alpaca", "name": None}],
    ),
    "fix_account.json": (
        "balances", LATER,
        [{"account_id": "e6fe16f3-64a4-4921-8928-cadf02f92f98", "currency": "USD", "current": Decimal("103820.56"),
          "cash": Decimal("-23140.2"), "available": None, "credit_limit": None}],
    ),
    "doc_trading_v2_positions.json": ("holdings", ACC, Rejected([NO_POSITION], [])),
    "doc_trading_v2_positions_symbol_or_asset_id.json": ("holdings", ACC, Rejected([NO_POSITION], [])),
    "fix_positions.json": ("holdings", ACC, [held("us:AAPL", "5", "120.0", "600.0", "500.0")]),
    "rec_position_spy.json": ("holdings", ACC, [held("us:SPY", "2", "361.55", "723.1", "825.82")]),
    "doc_trading_v2_account_activities.json": ("activities", ACC, Rejected([NO_FILL], [])),
    "doc_trading_v2_account_activities_activity_type.json": ("activities", ACC, Rejected([NO_FILL], [])),
    "fix_account_activities_page1.json": (
        "activities", ACC,
        [
            deposit("20220419000000000::fd84741b-59c5-4ddd-a303-69f70eb7753f", "33324.35"),
            deposit("20220419000000000::fb876acb-76b0-405c-8c7f-96a1c171ec5c", "29161.91"),
            {"activity_id": "20220304095318500::092cd749-b783-49cb-a36e-4d8666be201f", "kind": "buy",
             "instrument": "us:GOOGL", "quantity": Decimal(9), "price": Decimal("2630.95"),
             "amount": Decimal("-23678.55"), "traded_on": date(2022, 3, 4), "settled_on": None, "currency": "USD"},
            deposit("20220419000000000::f77b60bf-ea39-4551-a3d6-000548e6f11c", "45850.47"),
        ],
    ),
    "fix_account_activities_page2.json": (
        "activities", ACC,
        [
            deposit("20220419000000000::ed22fc4d-897c-474b-876a-b492d40f83d2", "43864.18"),
            deposit("20220419000000000::ec75b06d-1d29-4d1e-9143-c7e59aa842bc", "32155.97"),
            deposit("20220419000000000::ec624f60-ca70-42d6-9086-f47a1eeebeb7", "20979.69"),
            deposit("20220419000000000::e96b84c0-15b8-4821-9c78-cce1d836ff5b", "22386.64"),
        ],
    ),
    "doc_trading_v2_assets.json": ("instruments", {}, [NAMELESS_ASSET]),
    "doc_trading_v2_assets_symbol_or_asset_id.json": ("instruments", {}, [NAMELESS_ASSET]),
    "fix_assets.json": (
        "instruments", {},
        [{"instrument": "us:AAPL", "name": "Apple Inc. Common Stock", "kind": "equity", "mic": "XNAS", "cusip": None}],
    ),
    "rec_assets_crypto.json": (
        "instruments", {},
        Rejected(
            ["instrument is missing"],  # DOGE/USDC: a pair that is not priced in dollars
            [{"instrument": "crypto:aave", "name": "Aave / US Dollar", "kind": "crypto", "mic": None,
              "currency": "USD"}],
        ),
    ),
    "fix_stocks_bars_multi.json": ("prices", LATER, MARCH_9),
    "fix_stocks_bars_single.json": (
        "prices", LATER,
        [
            bar("us:AAPL", "2022-02-01", "174", "174.84", "172.31", "174.61", "85998033"),
            bar("us:AAPL", "2022-02-02", "174.64", "175.88", "173.33", "175.84", "84817432"),
        ],
    ),
    "fix_stocks_bars_empty.json": ("prices", LATER, []),
    "fix_crypto_bars.json": (
        "prices", LATER,
        [{**row, "instrument": key} for row, key in zip(MARCH_9, ("crypto:bitcoin", "crypto:ethereum"), strict=True)],
    ),
    "doc_data_v1beta1_options_bars.json": (
        "prices", LATER, [bar("opt:AAPL:2024-04-19:P:140", "2024-01-18", "0.38", "0.38", "0.34", "0.34", "12")]
    ),
    # bars of minutes and hours
    "doc_data_v2_stocks_bars.json": ("prices", {}, Rejected([NOT_DAILY], [])),
    "doc_data_v2_stocks_symbol_bars.json": ("prices", {}, Rejected([NOT_DAILY], [])),
    "doc_data_v1beta3_crypto_loc_bars.json": ("prices", {}, Rejected([NOT_DAILY], [])),
    "fix_options_bars_multi.json": ("prices", {}, Rejected([NOT_DAILY] * 3, [])),
    "fix_corporate_actions.json": (
        "corporate_actions", LATER, [acted("us:ATNXQ", "2023-10-11", "delisting"), *ACTED]
    ),
    "doc_data_v1_corporate-actions.json": (  # a partial call and a reorganization of "string" on the day "string"
        "corporate_actions", LATER,
        Rejected(["ex_on is not a date as YYYY-MM-DD; ex_on is missing"],
                 [acted("us:BLPH", "2024-12-19", "delisting"), *ACTED]),
    ),
    # refusals
    "doc_trading_v2_options_contracts_symbol_or_id_Contract-Not-Found_404.json": ("instruments", {}, "not_found"),
    "error_400_data_invalid_symbol.json": ("prices", {}, "unknown_symbol"),
    "error_401_unauthorized.json": ("accounts", {}, "auth_invalid"),
    "error_403_forbidden.json": ("prices", {}, "auth_invalid"),
    "error_403_insufficient_buying_power.json": ("holdings", {}, "permission_denied"),
    "error_403_subscription_sip.json": ("prices", {}, "plan_limit"),
    "error_404_position_not_found.json": ("holdings", {}, "not_found"),
    "error_429_data_too_many_requests.json": ("prices", {}, "rate_limited"),
    "error_429_rate_limit.json": ("activities", {}, "rate_limited"),
    "fix_error_10041_1036.json": ("activities", {}, "permission_denied"),
    "fix_error_40010001_1063.json": ("activities", {}, "bad_request"),
    "fix_error_40010001_1087.json": ("activities", {}, "bad_request"),
}  # fmt: skip

NEVER_READ = frozenset({
    "doc_data_v1beta1_forex_latest_rates_USDJPY.json",
    "doc_data_v1beta1_forex_rates_USDJPY.json", "doc_data_v1beta1_options_snapshots.json",
    "doc_data_v1beta1_options_snapshots_underlying_symbol.json", "doc_data_v1beta3_crypto_loc_latest_bars.json",
    "doc_data_v1beta3_crypto_loc_snapshots.json", "doc_data_v2_stocks_bars_latest.json",
    "doc_data_v2_stocks_quotes_latest.json", "doc_data_v2_stocks_snapshots.json",
    "doc_data_v2_stocks_symbol_snapshot.json", "doc_data_v2_stocks_trades_latest.json",
    "doc_trading_v2_account_portfolio_history.json", "doc_trading_v2_calendar.json", "doc_trading_v2_clock.json",
    "doc_trading_v2_corporate_actions_announcements.json", "doc_trading_v2_options_contracts.json",
    "doc_trading_v2_orders_Crypto.json", "doc_trading_v2_orders_Equity.json", "doc_trading_v2_orders_IPO.json",
    "doc_trading_v2_orders_MultilegOptions.json", "doc_trading_v2_orders_Options.json",
    "doc_trading_v3_calendar_market.json", "doc_trading_v3_clock.json", 
    "fix_options_snapshots.json", "fix_options_trades_paged.json", "fix_orders.json", "fix_portfolio_history.json",
    "fix_stocks_bars_latest.json", "fix_stocks_snapshots.json", "rec_clock.json", "rec_crypto_orderbook_numbers.json",
})  # fmt: skip
"""Answers of endpoints that are not read: whatever is asked of them, none may pass for rows."""

ANNOUNCING = frozenset({
    "doc_data_v1beta1_options_bars.json", "doc_data_v1beta3_crypto_loc_bars.json", "doc_data_v2_stocks_bars.json",
    "doc_data_v2_stocks_symbol_bars.json", "fix_stocks_bars_single.json", "fix_corporate_actions.json",
})  # fmt: skip
"""Answers that say that there is a page behind them."""

ALSO = {"accounts": {"accounts", "balances"}, "balances": {"accounts", "balances"}}
"""Datasets that one answer feeds together."""
STRANGERS = [
    (file, dataset)
    for file, row in sorted(INDEX.items())
    for dataset in DATASETS
    if row["status"] == 200 and (file in NEVER_READ or dataset not in ALSO.get(EXPECTED[file][0], {EXPECTED[file][0]}))
]


def replayed(file: str, dataset: str, context: dict[str, str]) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("alpaca"), dataset, [answer], context)


def assert_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Row by row, the columns that are expected."""
    assert [{name: row[name] for name in want} for row, want in zip(found, expected, strict=True)] == expected


def test_the_table_names_every_sample() -> None:
    on_disk = {path.name for path in SAMPLES.glob("*.json")} - {"INDEX.json"}
    assert set(EXPECTED) | NEVER_READ == on_disk == set(INDEX)
    assert not set(EXPECTED) & NEVER_READ
    assert len(on_disk) == 68


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_a_sample_gives_its_rows_its_rejects_or_its_code(file: str) -> None:
    dataset, context, expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            replayed(file, dataset, context)
        assert caught.value.code == expected
        return
    found = replayed(file, dataset, context)
    rows, reasons = (expected.beside, expected.reasons) if isinstance(expected, Rejected) else (expected, [])
    assert_rows(found.good.to_dicts(), rows)
    assert [reject.reason for reject in found.rejects] == reasons
    assert found.differing == ()
    assert found.announced == (file in ANNOUNCING)


@pytest.mark.parametrize(("file", "dataset"), STRANGERS)
def test_an_answer_of_another_endpoint_is_a_broken_contract_never_rows(file: str, dataset: str) -> None:
    with pytest.raises(WireError) as caught:
        replayed(file, dataset, {"account_id": "acc"})
    assert caught.value.code == "contract_broken"


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("file", sorted(file for file, row in INDEX.items() if row["status"] != 200))
def test_a_refusal_is_the_same_whichever_dataset_was_asked_for(file: str, dataset: str) -> None:
    with pytest.raises(FinInfraError) as caught:
        replayed(file, dataset, {})
    assert caught.value.code == EXPECTED[file][2]


def test_an_account_says_what_its_balances_are_too() -> None:
    [account] = replayed("fix_account.json", "accounts", {}).good.to_dicts()
    assert (account["account_id"], account["mask"], account["status"]) == (
        "e6fe16f3-64a4-4921-8928-cadf02f92f98", "ABCD", "open",
    )  # fmt: skip
    [balance] = replayed("doc_trading_v2_account.json", "balances", {}).good.to_dicts()
    assert (balance["current"], balance["cash"]) == (Decimal("123346.11"), Decimal("122086.5"))


def test_a_reset_of_the_rate_limit_is_the_wait() -> None:
    context = {**LATER, "header.X-RateLimit-Reset": "1795555845"}
    for file in ("error_429_rate_limit.json", "error_429_data_too_many_requests.json"):
        with pytest.raises(FinInfraError) as caught:
            replayed(file, "prices", context)
        assert caught.value.as_dict()["retry_after"] == 45.0


def test_pages_of_activities_are_one_answer() -> None:
    files = ["fix_account_activities_page1.json", "fix_account_activities_page2.json"]
    answers = [Recorded((SAMPLES / file).read_bytes()) for file in files]
    found = replay(resolve("brokerage:alpaca"), "activities", answers, ACC)
    raw = [row for file in files for row in json.loads((SAMPLES / file).read_text())]
    assert found.good["activity_id"].to_list() == [row["id"] for row in raw]
    assert set(found.good["account_id"]) == {"acc"}
    named = replay(resolve("brokerage:alpaca"), "activities", answers, {})
    assert named.good["account_id"].to_list() == [row["account_id"] for row in raw]


def test_bars_read_before_or_right_after_their_publication_are_provisional() -> None:
    for at in ("1970-01-01T00:00:00Z", "2022-03-09T21:30:00Z", "2022-03-12T21:14:59Z"):
        bars = replayed("fix_stocks_bars_multi.json", "prices", {"at": at}).good
        assert set(bars["state"]) == {"provisional"}
    settled = replayed("fix_stocks_bars_multi.json", "prices", {"at": "2022-03-12T21:15:00Z"}).good
    assert set(settled["state"]) == {"final"}


def test_t39_bars_outside_of_what_was_asked_for_are_set_aside() -> None:
    found = replayed("fix_stocks_bars_single.json", "prices", {"from": "2022-02-02", "until": "2022-02-02"})
    assert [str(day) for day in found.good["session"]] == ["2022-02-02"]
    assert [reject.reason for reject in found.rejects] == ["2022-02-01 is outside of what was asked for"]
