"""Corporate actions: what is asked for, in how many calls, and what is made of records that are odd."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fin_infra.datasets.base import Built
from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import WireError
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import Fault, SimPosition
from tests.guards import guarded
from tests.providers.alpaca.market import KEY_ID, Market

PATH = "/v1/corporate-actions"
DAY = "2026-11-09"


def built(**listed: list[dict[str, Any]]) -> Built:
    """Rows of one answer, each with an id."""
    rows = {kind: [{"id": f"{kind} {n}", **row} for n, row in enumerate(those)] for kind, those in listed.items()}
    body = json.dumps({"corporate_actions": rows, "next_page_token": None}).encode()
    return replay(resolve("alpaca"), "corporate_actions", [Recorded(body)], {})


def dividend(rate: float | str, **more: Any) -> dict[str, Any]:
    return {"symbol": "KO", "ex_date": DAY, "rate": rate, "payable_date": "2026-12-01", "special": False, **more}


async def test_many_symbols_are_asked_for_in_one_call_and_what_is_no_share_in_none(market: Market) -> None:
    names = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(130)]
    market.broker.account(KEY_ID).positions = [
        SimPosition(name, "1", "1", current_price="1", lastday_price="1") for name in [*names, "SPY261218P00500000"]
    ]
    market.broker.account(KEY_ID).positions[-1].asset_class = "us_option"
    market.watch("crypto:bitcoin", "xlon:VOD")
    for name in (names[0], names[-1]):
        market.broker.split(name, date(2020, 1, 2), "2", "1", bars=False)
    await market.link()
    report = await market.sync("corporate_actions")
    asked = market.asked(PATH)
    assert (report.outcome, len(asked)) == ("ok", 2)
    assert [request.count("%2C") + 1 for request in asked] == [100, 30]
    assert all("start=1970-01-01&end=2027-11-24&limit=1000&sort=asc" in request for request in asked)
    assert [row["instrument"] for row in market.rows("corporate_actions", until=date(2025, 1, 1))] == [
        f"us:{names[0]}",
        f"us:{names[-1]}",
    ]


async def test_the_sandboxes_dividends_are_those_of_its_activities(market: Market) -> None:
    await market.link()
    for dataset in ("accounts", "activities", "corporate_actions"):
        await market.sync(dataset)
    actions = {(row["instrument"], row["paid_on"]): row["amount"] for row in market.rows("corporate_actions")}
    booked = [row for row in market.rows("activities") if row["kind"] == "dividend"]
    assert set(actions) == {(row["instrument"], row["traded_on"]) for row in booked}
    assert sorted(actions.values()) == sorted(map(Decimal, ("0.51", "0.26", "0.53", "0.27", "0.53", "0.53")))


async def test_a_page_that_leads_back_and_a_failure_in_between_change_nothing(market: Market) -> None:
    await market.link()
    again = json.dumps({"corporate_actions": {}, "next_page_token": "x"}).encode()
    market.broker.fail_next(Fault("refuse", on=PATH, status=200, body=again, times=2))
    assert (await market.sync("corporate_actions")).error_code == "contract_broken"
    market.broker.fail_next(Fault("refuse", on=PATH, status=403))
    assert (await market.sync("corporate_actions")).error_code == "auth_invalid"
    assert market.rows("corporate_actions") == []
    assert [c["state"] for c in market.rows("streams") if c["dataset"] == "corporate_actions"] == ["reauth"]
    market.clock.advance(timedelta(hours=1))
    assert (await market.sync("corporate_actions")).outcome == "ok"


@pytest.mark.parametrize(
    "body", [b"{}", b'{"corporate_actions": [], "next_page_token": null}', b'{"corporate_actions": {}}',
             b'{"corporate_actions": {"forward_splits": {}}, "next_page_token": null}',
             b'{"corporate_actions": {"forward_splits": ["x"]}, "next_page_token": null}',
             b'{"corporate_actions": {}, "next_page_token": []}'],
)  # fmt: skip
def test_another_shape_is_a_broken_contract(body: bytes) -> None:
    with pytest.raises(WireError):
        replay(resolve("alpaca"), "corporate_actions", [Recorded(body)], {})


@pytest.mark.parametrize("empty", [b'{"corporate_actions": {}, "next_page_token": null}',
                                   b'{"corporate_actions": null, "next_page_token": null}',
                                   b'{"corporate_actions": {"spin_offs": null}, "next_page_token": ""}'])  # fmt: skip
def test_no_actions_are_no_rows(empty: bytes) -> None:
    found = replay(resolve("alpaca"), "corporate_actions", [Recorded(empty)], {})
    assert (found.good.height, found.rejects, found.announced) == (0, (), False)


@guarded("a part that is no number is left out of the sum", "providers/alpaca/actions.py",
         "if len(known) < len(numbers):", "if False:")  # fmt: skip
def test_a_sum_with_a_part_that_is_no_number_is_a_reject_and_not_a_smaller_sum() -> None:
    found = built(cash_dividends=[dividend(0.5), dividend("?", special=True)])
    assert found.good.is_empty()
    assert [reject.row["instrument"] for reject in found.rejects] == ["us:KO"]
    whole = built(cash_dividends=[dividend(0.5), dividend(0.25, special=True, payable_date="2026-12-02")])
    [row] = whole.good.to_dicts()
    assert (row["amount"], row["paid_on"], row["currency"]) == (Decimal("0.75"), None, None)


def test_records_that_are_equal_but_for_their_id_are_one_and_a_newer_version_replaces_an_older() -> None:
    [row] = built(cash_dividends=[dividend(0.5), dividend(0.5)]).good.to_dicts()
    assert row["amount"] == Decimal("0.5")
    [row] = built(cash_dividends=[dividend(0.5), dividend(0.6) | {"id": "cash_dividends 0"}]).good.to_dicts()
    assert row["amount"] == Decimal("0.6")


def test_odd_records() -> None:
    split = {"symbol": "ODD", "ex_date": DAY, "new_rate": 1, "old_rate": 7}
    found = built(
        reverse_splits=[{**split, "new_symbol": "ODDD"}, {**split, "symbol": "SAME", "new_symbol": ""}],
        forward_splits=[{**split, "symbol": "NIL", "old_rate": 0}],
        name_changes=[{"old_symbol": "A", "new_symbol": "A", "process_date": DAY}],
        reorganizations=[
            {"symbol": "REORG", "effective_date": DAY, "cash_rate": 2.5, "currency": "USD",
             "stock_movements": [{"symbol": "NEW", "new_rate": 3, "source_rate": 2}]},
            {"symbol": "STAYS", "effective_date": DAY, "stock_movements": [{"symbol": "STAYS", "new_rate": 1}]},
        ],
        cash_dividends=[dividend(0)],
        lotteries=[{"symbol": "KO", "ex_date": DAY}],
    )  # fmt: skip
    rows = [
        (r["instrument"], str(r["kind"]), r["new_instrument"], r["ratio"], r["amount"]) for r in found.good.to_dicts()
    ]
    seventh = Decimal("0.142857142857142857")
    assert rows == [
        ("us:ODD", "split", None, seventh, None), ("us:ODD", "symbol_change", "us:ODDD", None, None),
        ("us:REORG", "delisting", "us:NEW", Decimal("1.5"), Decimal("2.5")), ("us:SAME", "split", None, seventh, None),
        ("us:STAYS", "other", None, None, None),
    ]  # fmt: skip
    assert [(reject.row.get("instrument"), reject.reason.partition(":")[0]) for reject in found.rejects] == [
        (None, "corporate actions of type lotteries are not known"), ("us:KO", "breaks dividend_has_an_amount"),
        ("us:NIL", "breaks split_has_a_ratio"),
    ]  # fmt: skip
    assert datetime(1970, 1, 1, tzinfo=UTC) == found.good["fetched_at"][0]
