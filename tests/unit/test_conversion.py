"""Conversion: every rate with its day and age, a missing one said; exact against Python's decimals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.conversion import Converted, Total, convert
from fin_infra.datasets.base import MONEY
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.errors import UsageError
from tests.guards import guarded

EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)
FINEST = Decimal(1).scaleb(-18)
SUNDAY = "2026-11-22"


def rates(*rows: str, provider: str = "ecb", base: str = "EUR") -> pl.DataFrame:
    """Rows like "USD 2026-11-20 1.1367"."""
    cells = [row.split() for row in rows]
    columns = {"quote": [c[0] for c in cells], "rate_on": [c[1] for c in cells], "rate": [c[2] for c in cells]}
    common = {
        "provider": provider,
        "base": base,
        "state": "final",
        "fetched_at": datetime(2026, 11, 24, tzinfo=UTC),
        "run_id": "r",
    }
    return FxRates.build(columns, common).good


def rows(*given: str) -> pl.DataFrame:
    """Rows like "1000000 JPY 2026-11-22"; a dash is a null."""
    cells = [[None if part == "-" else part for part in row.split()] for row in given]
    frame = pl.DataFrame(
        cells, schema={"amount": pl.String, "currency": pl.String, "booked_on": pl.String}, orient="row"
    )
    return frame.with_columns(pl.col("amount").cast(MONEY), pl.col("booked_on").str.to_date())


def converted(frame: pl.DataFrame, held: pl.DataFrame, to: str = "USD", **more: Any) -> Converted:
    return convert(frame, to=to, on="booked_on", rates=held, **more)


def values(found: Converted) -> list[str | None]:
    return [None if v is None else f"{v.normalize(EXACT):f}" for v in found.rows[f"{found.amount}_in"]]


FRIDAY = rates("USD 2026-11-20 1.1367", "JPY 2026-11-20 180.57", "GBP 2026-11-20 0.85986")


def test_an_amount_is_converted_by_the_newest_rate_of_its_day_or_before() -> None:
    held = pl.concat([FRIDAY, rates("USD 2026-11-19 1.1", "USD 2026-11-23 1.2")])
    found = converted(rows(f"7 EUR {SUNDAY}", "7 EUR 2026-11-19", "7 EUR 2026-11-24"), held)
    assert values(found) == ["7.9569", "7.7", "8.4"]
    assert found.rows["rate_on"].to_list() == [date(2026, 11, 20), date(2026, 11, 19), date(2026, 11, 23)]
    assert found.rows["rate_age"].to_list() == [2, 0, 1]
    assert set(found.rows["rate_provider"]) == {"ecb"}
    assert found.missing.is_empty()
    assert found.total() == Total(Decimal("24.0569"), "USD")
    assert found.total().complete


def test_a_rate_that_nobody_states_is_crossed_through_the_euro_at_18_decimals() -> None:
    found = converted(rows(f"1000000 JPY {SUNDAY}"), FRIDAY)
    rate = EXACT.quantize(EXACT.divide(Decimal("1.1367"), Decimal("180.57")), FINEST)
    assert found.rows["rate"].to_list() == [rate]
    assert found.rows["amount_in"].to_list() == [EXACT.multiply(rate, Decimal(1000000))]
    back = converted(rows(f"1 USD {SUNDAY}"), FRIDAY, "EUR").rows["rate"].to_list()
    assert back == [EXACT.quantize(EXACT.divide(Decimal(1), Decimal("1.1367")), FINEST)]


def test_both_halves_of_a_cross_are_of_one_day() -> None:
    held = pl.concat([FRIDAY, rates("USD 2026-11-21 2")])
    assert converted(rows(f"1 JPY {SUNDAY}"), held).rows["rate_on"].to_list() == [date(2026, 11, 20)]
    assert converted(rows(f"1 EUR {SUNDAY}"), held).rows["rate_on"].to_list() == [date(2026, 11, 21)]


@guarded(
    "a missing rate is not 1",
    "conversion.py",
    '.otherwise("between")',
    '.otherwise(pl.col("between").fill_null(Decimal(1)))',
)
def test_t42_a_missing_rate_is_null_and_said_and_all_others_are_valued() -> None:
    found = converted(
        rows(f"1000000 KRW {SUNDAY}", f"5 USD {SUNDAY}", f"7 EUR {SUNDAY}", "2 KRW 2026-11-24", f"3 NAN {SUNDAY}"),
        FRIDAY,
    )
    assert values(found) == [None, "5", "7.9569", None, None]
    assert found.rows["rate"].to_list()[0] is None
    assert found.missing.drop("newest").rows() == [
        ("KRW", "no rate is held", 2, date(2026, 11, 22), date(2026, 11, 24)),
        ("NAN", "no rate is held", 1, date(2026, 11, 22), date(2026, 11, 22)),
    ]
    total = found.total()
    assert (total.amount, total.complete) == (Decimal("12.9569"), False)
    assert total.lacking == (
        "KRW: no rate is held: 2 rows, 2026-11-22 to 2026-11-24", "NAN: no rate is held: 1 row, 2026-11-22",
    )  # fmt: skip


@guarded(
    "an old rate is no rate",
    "conversion.py",
    "pl.when(age <= max_age.days).then(pl.col(name))",
    "pl.when(age >= 0).then(pl.col(name))",
)
def test_t42_a_rate_that_is_too_old_is_none_and_its_day_is_said() -> None:
    held = rates("RUB 2022-03-01 117.2010", "USD 2022-03-01 1.1162", "USD 2026-11-20 1.1367")
    found = converted(rows("100 RUB 2022-03-08", "100 RUB 2022-03-09", f"1 EUR {SUNDAY}"), held)
    assert [value is None for value in values(found)] == [False, True, False]
    assert found.rows["rate_age"].to_list() == [7, None, 2]
    assert found.warnings == ["RUB: the newest rate is too old: 1 row, 2022-03-09; the newest is of 2022-03-01"]
    patient = converted(rows("100 RUB 2022-03-09"), held, max_age=timedelta(days=8))
    assert patient.rows["rate_age"].to_list() == [8]


def test_t42_the_same_currency_needs_no_rate_at_all() -> None:
    found = converted(rows(f"99999999999999999999.999999999999999999 USD {SUNDAY}", "-1 USD -"), rates())
    assert found.rows["amount_in"].equals(found.rows["amount"], check_names=False)
    assert found.rows["rate"].to_list() == [1, 1]
    assert found.rows.select("rate_on", "rate_age", "rate_provider").unique().rows() == [(None, None, None)]
    assert found.missing.is_empty()


def test_rows_without_a_day_a_currency_or_an_amount_stay_and_are_said() -> None:
    found = converted(rows("1 EUR -", f"1 - {SUNDAY}", f"- EUR {SUNDAY}", f"2 EUR {SUNDAY}"), FRIDAY)
    assert values(found) == [None, None, None, "2.2734"]
    assert found.warnings == [
        "EUR: the row has no day: 1 row", "no currency: the row has no currency: 1 row, 2026-11-22",
    ]  # fmt: skip
    assert found.total().lacking[-1] == "1 row without an amount"


def test_no_rates_and_no_rows_are_no_error() -> None:
    assert values(converted(rows(f"1 EUR {SUNDAY}"), rates())) == [None]
    empty = converted(rows(), FRIDAY)
    assert empty.rows.columns == [
        "amount",
        "currency",
        "booked_on",
        "amount_in",
        "rate",
        "rate_on",
        "rate_age",
        "rate_provider",
    ]
    assert empty.total() == Total(Decimal(0), "USD")


# -- providers ---------------------------------------------------------------------------------------------------------

OTHERS = rates("USD 2026-11-19 1.9", "USD 2026-11-20 1.9", "USD 2026-11-21 1.9", provider="frankfurter")


@guarded(
    "rates of two providers are not mixed", "conversion.py", '.unique(pair, keep="first", maintain_order=True)', ""
)
def test_rates_of_two_providers_are_never_mixed() -> None:
    frame = rows("1 EUR 2026-11-20", f"1 EUR {SUNDAY}")
    held = pl.concat([OTHERS, FRIDAY])
    assert set(converted(frame, held).rows["rate_provider"]) == {"ecb"}
    assert set(converted(frame, held, providers=["frankfurter"]).rows["rate_provider"]) == {"frankfurter"}
    # the preferred one has none for the first row: then all are of the other
    more = converted(rows("1 EUR 2026-11-19", f"1 EUR {SUNDAY}"), held)
    assert set(more.rows["rate_provider"]) == {"frankfurter"}
    # a cross needs both halves of one
    crossed = converted(rows(f"1 JPY {SUNDAY}"), pl.concat([OTHERS, rates("JPY 2026-11-20 180.57")]))
    assert values(crossed) == [None]


def test_each_pair_has_the_provider_that_has_it() -> None:
    held = pl.concat([FRIDAY, rates("KRW 2026-11-20 1600", "USD 2026-11-20 1.5", provider="exchangerate_api")])
    found = converted(rows(f"1 EUR {SUNDAY}", f"1600 KRW {SUNDAY}"), held)
    assert found.rows["rate_provider"].to_list() == ["ecb", "exchangerate_api"]
    assert values(found) == ["1.1367", "1.5"]


def test_rates_of_any_base_will_do() -> None:
    held = rates("EUR 2026-11-20 0.8", "JPY 2026-11-20 150", base="USD")
    found = converted(rows(f"1 EUR {SUNDAY}", f"300 JPY {SUNDAY}"), held)
    assert values(found) == ["1.25", "2.0000000000000001"]  # 0.006666666666666667 a yen


# -- old codes and small units -----------------------------------------------------------------------------------------


def test_t41_pence_are_a_hundredth_of_a_pound_whichever_way() -> None:
    found = converted(rows(f"12345 GBp {SUNDAY}", f"12345 GBX {SUNDAY}", f"123.45 GBP {SUNDAY}"), FRIDAY, "GBP")
    assert values(found) == ["123.45"] * 3
    assert values(converted(rows(f"1 GBP {SUNDAY}", f"1 EUR {SUNDAY}"), FRIDAY, "GBp")) == ["100", "85.986"]
    dollars = converted(rows(f"100 GBp {SUNDAY}", f"1 GBP {SUNDAY}"), FRIDAY)
    assert len(set(values(dollars))) == 1


def test_what_became_the_euro_is_divided_by_its_factor_not_multiplied_by_an_inverse() -> None:
    found = converted(rows(f"1955830000000 DEM {SUNDAY}", f"1.95583 BGN {SUNDAY}", f"75345 HRK {SUNDAY}"), FRIDAY)
    assert values(found) == ["1136700000000", "1.1367", "11367"]
    assert values(converted(rows(f"2 EUR {SUNDAY}"), rates(), "DEM")) == ["3.91166"]
    euros = converted(rows(f"2 DEM {SUNDAY}"), rates(), "EUR")
    assert euros.rows["rate_on"].to_list() == [None]


def test_before_the_euro_a_currency_had_its_own_rate() -> None:
    held = rates("HRK 2021-05-03 7.55", "USD 2021-05-03 1.208", "HRK 2022-12-30 7.5365", "USD 2023-01-02 1.0683")
    found = converted(rows("7.55 HRK 2021-05-04", "7.5345 HRK 2023-01-03", "1 HRK 2021-04-30"), held)
    assert [value and value[:6] for value in values(found)] == ["1.208", "1.0683", None]
    old = converted(rows("1000000 TRL 2003-01-01", "100000 VEF 2010-01-01"), rates(), "TRY")
    assert values(old) == ["1", None]


# -- exact -------------------------------------------------------------------------------------------------------------

digits = st.integers(1 - 10**38, 10**38 - 1) | st.integers(-(10**22), 10**22)
amounts = digits.map(lambda n: EXACT.scaleb(Decimal(n), -18))
stated = (st.integers(1, 10**38 - 1) | st.integers(1, 10**7)).map(
    lambda n: EXACT.scaleb(Decimal(n), -18)
) | st.integers(1, 10**8).map(lambda n: EXACT.scaleb(Decimal(n), -4))


def frame_of(values: Sequence[Decimal], codes: Sequence[str]) -> pl.DataFrame:
    written = pl.Series("amount", [f"{v:f}" for v in values], dtype=pl.String).cast(MONEY)
    return pl.DataFrame({"amount": written, "currency": codes})


@given(st.lists(st.tuples(amounts, st.sampled_from(["AAA", "BBB", "EUR", "USD", "DEM", "GBp"])), min_size=1, max_size=20),
       st.fixed_dictionaries({"AAA": stated, "BBB": stated, "USD": stated, "GBP": stated}))  # fmt: skip
def test_amounts_and_rates_of_any_size_are_as_exact_as_pythons_or_null(
    given_rows: list[tuple[Decimal, str]], quoted: dict[str, Decimal]
) -> None:
    held = rates(*(f"{code} 2026-11-20 {rate:f}" for code, rate in quoted.items()))
    frame = frame_of(*zip(*given_rows, strict=True))
    found = convert(frame, to="USD", on=date(2026, 11, 20), rates=held)
    quoted["EUR"] = Decimal(1)
    parts = {"DEM": ("EUR", Decimal("1.95583")), "GBp": ("GBP", Decimal(100))}
    lost = 0
    for (amount, code), row in zip(given_rows, found.rows.iter_rows(named=True), strict=True):
        into, factor = parts.get(code, (code, Decimal(1)))
        rate = Decimal(1) if into == "USD" else EXACT.quantize(EXACT.divide(quoted["USD"], quoted[into]), FINEST)
        value = EXACT.quantize(EXACT.multiply(EXACT.quantize(EXACT.divide(amount, factor), FINEST), rate), FINEST)
        sayable = 0 < rate < 10**20 and abs(value) < Decimal("9.9999e19")
        if row["amount_in"] is not None:
            assert row["amount_in"] == value
        else:
            assert not sayable
            lost += 1
    assert found.missing["rows"].sum() == lost


# -- misuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "said"), [
    ({"to": "usd"}, "no currency 'usd'"), ({"on": "day"}, "no column 'day'"), ({"amount": "x"}, "no column 'x'"),
    ({"currency": "amount"}, "amount is Decimal"), ({"amount": "currency"}, "only Decimal"), ({"on": "currency"}, "currency is String, not Date"),
    ({"on": datetime(2026, 1, 1, tzinfo=UTC)}, "on is a day"),
])  # fmt: skip
def test_a_wrong_column_is_a_sentence(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        convert(rows(f"1 EUR {SUNDAY}"), **{"to": "USD", "on": "booked_on", "rates": FRIDAY, **more})


def test_a_float_is_never_converted_and_nothing_is_overwritten() -> None:
    frame = rows(f"1 EUR {SUNDAY}")
    with pytest.raises(UsageError, match="only Decimal"):
        converted(frame.with_columns(amount=pl.lit(1.5)), FRIDAY)
    with pytest.raises(UsageError, match="amount_in, rate, rate_on"):
        converted(converted(frame, FRIDAY).rows, FRIDAY)


def test_rows_keep_their_order_and_all_of_their_columns() -> None:
    frame = rows(*(f"{n} {code} {SUNDAY}" for n, code in enumerate(["JPY", "KRW", "EUR", "USD"] * 25)))
    found = converted(frame.with_columns(id=pl.int_range(pl.len())), FRIDAY)
    assert found.rows.select(frame.columns).equals(frame)
    assert found.rows["id"].to_list() == list(range(100))
