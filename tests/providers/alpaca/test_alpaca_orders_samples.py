"""Every recorded or documented order, clock and calendar: what it is to us. No sample of another endpoint is an order."""

from __future__ import annotations

import json
import os
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.errors import WireError
from fin_infra.providers.alpaca import PROVIDER, ordering
from fin_infra.providers.base import Reply
from fin_infra.providers.ordering import Placed
from fin_infra.providers.transport import refusal
from tests.orders_world import OPEN_HOURS

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/alpaca/samples"
EXPECTED: dict[str, tuple[str | None, str, Decimal | None, Decimal | None, str, str]] = {
    # symbol, type, qty, notional, the vendor's word, our state
    "doc_trading_v2_orders_Crypto.json": ("ETH/USD", "limit", Decimal("0.02"), None, "pending_new", "accepted"),
    "doc_trading_v2_orders_Equity.json": ("AAPL", "limit", Decimal(2), None, "accepted", "accepted"),
    "doc_trading_v2_orders_IPO.json": ("FI111225", "market", None, Decimal(500), "accepted", "accepted"),
    "doc_trading_v2_orders_MultilegOptions.json": (None, "limit", Decimal(1), None, "filled", "filled"),
    "doc_trading_v2_orders_Options.json": ("AAPL250620C00100000", "limit", Decimal(2), None, "pending_new", "accepted"),
    "fix_orders.json": ("SPY", "stop", Decimal(1), None, "new", "accepted"),  # with numbers in place of text
}


def parsed(file: str) -> list[Placed]:
    body = (SAMPLES / file).read_bytes()
    return ordering.orders(body) if isinstance(json.loads(body), list) else [ordering.order(body)]


def test_the_table_names_every_sample_of_an_order() -> None:
    assert set(EXPECTED) == {path.name for path in SAMPLES.glob("*orders*.json")}


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_an_order_is_read_exactly(file: str) -> None:
    [placed] = parsed(file)
    told = (placed.symbol, placed.type, placed.qty, placed.notional, placed.status, placed.state)
    assert told == EXPECTED[file]
    assert placed.filled_qty == (1 if placed.status == "filled" else 0)
    assert placed.submitted_at is not None


@pytest.mark.parametrize(
    "file", sorted({path.name for path in SAMPLES.glob("*.json")} - set(EXPECTED) - {"INDEX.json"})
)
def test_no_answer_of_another_endpoint_is_an_order(file: str) -> None:
    body = (SAMPLES / file).read_bytes()
    with pytest.raises(WireError):
        ordering.order(body)
    with pytest.raises(WireError):
        ordering.orders(body)


REFUSALS = {
    "error_400_data_invalid_symbol.json": (400, "refused"),
    "error_401_unauthorized.json": (401, "unsent"),
    "error_403_forbidden.json": (403, "refused"),
    "error_403_insufficient_buying_power.json": (403, "refused"),
    "error_429_rate_limit.json": (429, "unsent"),
    "fix_error_10041_1036.json": (403, "refused"),
    "fix_error_40010001_1063.json": (422, "refused"),
    "fix_error_40010001_1087.json": (422, "refused"),
}


@pytest.mark.parametrize("file", sorted(REFUSALS))
def test_a_recorded_refusal_says_what_became_of_the_order(file: str) -> None:
    status, verdict = REFUSALS[file]
    error = refusal(PROVIDER, Reply(status, {}, (SAMPLES / file).read_bytes(), OPEN_HOURS))
    assert error is not None
    error.context["status"] = status  # as the transport does
    assert ordering.verdict(error) == verdict
    if file.startswith("fix_error_40010001"):
        assert json.loads((SAMPLES / file).read_text())["message"] in error.message


class Answers:
    """A vendor with one answer."""

    def __init__(self, file: str) -> None:
        self._body = (SAMPLES / file).read_bytes()

    async def get(self, path: str, params: Any = None, **more: Any) -> Reply:
        return Reply(200, {}, self._body, OPEN_HOURS)


async def test_clock_and_calendar_are_read_as_they_were_recorded() -> None:
    clock = await ordering.clock(Answers("rec_clock.json"))  # type: ignore[arg-type]
    assert not clock.is_open
    assert f"{clock.at:%Y-%m-%d %H:%M:%S.%f}" == "2024-07-18 08:10:33.389152"
    assert f"{clock.next_open:%H:%M}" == "13:30"
    assert (await ordering.clock(Answers("doc_trading_v2_clock.json"))).is_open  # type: ignore[arg-type]
    [day] = await ordering.calendar(Answers("doc_trading_v2_calendar.json"), date.min, date.max)  # type: ignore[arg-type]
    assert (day.day, day.opens, day.closes) == (date(2025, 1, 2), time(9, 30), time(16))
