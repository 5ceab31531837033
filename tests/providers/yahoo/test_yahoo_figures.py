"""Figures of Yahoo's, as pure functions: what a float32 stood for, and which bars are in another unit."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.errors import WireError
from fin_infra.providers.base import Ask
from fin_infra.providers.yahoo import frames, wire
from fin_infra.providers.yahoo.figures import meant, mixed
from tests.guards import guarded

FIRST = date(2026, 1, 5)
PRICES = st.decimals(Decimal("0.01"), Decimal("9999.99"), places=2)
AT = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
ASK = Ask("yahoo", "t", "c", "r", AT)


def as_float32(text: str) -> str:
    """The digits in which Yahoo writes it."""
    return repr(struct.unpack("f", struct.pack("f", float(text)))[0])


@given(PRICES)
def test_a_price_that_was_quoted_to_the_hint_is_that_price_again(price: Decimal) -> None:
    assert Decimal(meant(as_float32(str(price))) or "") == price


@given(st.decimals(Decimal("0.0001"), Decimal("99.9999"), places=4))
def test_an_adjusted_price_keeps_the_digits_that_the_hint_does_not_have(price: Decimal) -> None:
    assert Decimal(meant(as_float32(str(price)), 2) or "") == price


@given(st.floats(2**-20, 2**20, width=32))
def test_what_is_kept_is_the_float32_itself_or_its_neighbour(value: float) -> None:
    kept = Decimal(meant(repr(value)) or "")
    assert abs(kept - Decimal(repr(value))) <= Decimal(repr(value)) * Decimal(2) ** -24


@pytest.mark.parametrize("text", [None, "", "NaN", "Infinity", "1e99999", "-", "one"])
def test_what_is_no_number_stays(text: str | None) -> None:
    assert meant(text) == text


def test_examples_of_the_rule() -> None:
    told = {"29.479999542236328": "29.48", "45.08932876586914": "45.08933", "0.600000023841858": "0.60", "210.0": "210.00",
            "68.8936004638672": "68.8936", "98013.8203125": "98013.82", "0.12834799289703369": "0.128348"}  # fmt: skip
    assert {text: meant(text) for text in told} == told
    assert meant("1.2345000505447388", 4) == "1.2345"


# -- units -------------------------------------------------------------------------------------------------------------


def bars(*closes: str) -> list[tuple[date, list[Decimal | None]]]:
    return [(FIRST + timedelta(days=n), [Decimal(close)] * 4) for n, close in enumerate(closes)]


def test_there_and_back_is_another_unit_and_a_step_that_stays_is_not_judged() -> None:
    assert list(mixed(bars("71", "72", "0.71", "0.7", "70", "7100", "71"))) == [2, 3, 5]
    assert mixed(bars("71", "72", "0.71", "0.7")) == {}
    assert mixed(bars("0.71", "71", "72")) == {}
    assert list(mixed(bars("71", "0.71"), (FIRST + timedelta(days=1), Decimal(72)))) == [1]
    assert mixed(bars("71", "0.71"), (FIRST + timedelta(days=1), Decimal("0.72"))) == {}, "the answer says so twice"
    assert mixed(bars("71", "0.71"), (FIRST, Decimal(72))) == {}, "that price is of another day"


@given(st.lists(st.decimals(10, 30, places=2), min_size=1, max_size=30))
def test_a_listing_that_does_not_move_a_hundredfold_is_never_touched(closes: list[Decimal]) -> None:
    assert mixed(bars(*map(str, closes))) == {}


@given(st.lists(st.decimals(20, 25, places=2), min_size=3, max_size=20), st.data())
def test_whichever_bars_in_the_middle_are_divided_by_a_hundred_just_those_are_found(
    closes: list[Decimal], data: Any
) -> None:
    begin = data.draw(st.integers(1, len(closes) - 2))
    end = data.draw(st.integers(begin, len(closes) - 2))
    wrong = [close / 100 if begin <= n <= end else close for n, close in enumerate(closes)]
    assert list(mixed(bars(*map(str, wrong)))) == list(range(begin, end + 1))


@guarded("a bar of nulls and figures is whole", "providers/yahoo/frames.py",
         'if value is None and (name in chart.said or name == "close")', "if False")  # fmt: skip
@given(st.lists(st.lists(st.one_of(st.none(), st.just("5")), min_size=4, max_size=4), max_size=12))
def test_every_bar_is_a_row_or_a_reject_or_nothing_but_nulls(figures: list[list[str | None]]) -> None:
    built = frames.prices([(wire.daily(chart(figures)), AT)], ASK)
    whole = [bar for bar in figures if None not in bar]
    empty = [bar for bar in figures if set(bar) == {None}]
    assert built.good.height == len(whole)
    assert len(built.rejects) == len(figures) - len(whole) - len(empty)


def chart(figures: list[list[str | None]], **more: Any) -> bytes:
    names = ("open", "high", "low", "close")
    stamps = [int(datetime(2026, 1, 5, 14, 30, tzinfo=UTC).timestamp()) + 86_400 * n for n in range(len(figures))]
    quote = {name: [None if bar[n] is None else float(bar[n] or 0) for bar in figures] for n, name in enumerate(names)}
    meta = {"symbol": "AAPL", "currency": "USD", "exchangeTimezoneName": "America/New_York", "dataGranularity": "1d"}
    result = {"meta": {**meta, **more}, "timestamp": stamps, "indicators": {"quote": [quote]}}
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


def test_columns_of_another_length_than_the_stamps_are_no_columns() -> None:
    body = json.loads(chart([["5"] * 4, ["6"] * 4]))
    body["chart"]["result"][0]["indicators"]["quote"][0]["close"].pop()
    with pytest.raises(WireError, match="close is not as long as timestamp"):
        wire.daily(json.dumps(body).encode())


def test_bars_of_a_week_are_no_days_and_a_currency_that_is_none_is_said() -> None:
    with pytest.raises(WireError, match="bars of another length"):
        wire.daily(chart([["5"] * 4], dataGranularity="1wk"))
    for more, reason in (
        ({"currency": "Beans"}, "its currency 'Beans' is none that is known"),
        ({"currency": None, "symbol": "VOD.L"}, "no currency is said, and the venue quotes in hundredths"),
    ):
        built = frames.prices([(wire.daily(chart([["5"] * 4], **more)), AT)], ASK)
        assert (built.good.height, [reject.reason[:40] for reject in built.rejects]) == (0, [reason[:40]])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9), st.integers(1, 9)), max_size=5, unique_by=lambda s: s[0])
)
def test_dividends_are_brought_to_the_shares_of_their_own_day(splits: list[tuple[int, int, int]]) -> None:
    """What was paid, and what of it Yahoo tells per share of today, are one again by the splits since."""
    paid, day = Decimal(7_207_200), 20  # a number that all of these ratios divide
    body = json.loads(chart([["5"] * 4]))
    [result] = body["chart"]["result"]
    begin = result["timestamp"][0]
    told = paid
    for on, new, old in splits:
        told = told * old / new if on >= day else told
    result["events"] = {
        "splits": {str(begin + 86_400 * on): {"date": begin + 86_400 * on, "numerator": new, "denominator": old}
                   for on, new, old in splits},
        "dividends": {str(begin + 86_400 * day): {"date": begin + 86_400 * day, "amount": 0.0}},
    }  # fmt: skip
    text = json.dumps(body).replace('"amount": 0.0', f'"amount": {told:f}')
    built = frames.corporate_actions([(wire.acted(text.encode()), AT)], ASK)
    [amount] = built.good.filter(kind="dividend")["amount"]
    assert abs(amount - paid) <= paid * Decimal(2) ** -23, "but for what a float32 does not tell"
    assert built.good.filter(kind="split").height == len([one for one in splits if one[1] != one[2]])
