"""Text becomes an exact amount, date or instant, or is refused: nothing is rounded, nothing is invented."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fin_infra.datasets.base import MONEY, amounts, dates, instants

LARGEST = Decimal("99999999999999999999.999999999999999999")


def amount(text: str) -> Decimal | None:
    found: Decimal | None = amounts(pl.Series("a", [text], dtype=pl.String))[0]
    return found


def fits(text: str) -> Decimal | None:
    """What Python's Decimal says: the number, or None when it is none or is not of 20 digits before and 18 behind."""
    if not text.isascii() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    if not any(digits):
        return Decimal(0)
    idle = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if number.adjusted() > 19 or exponent + idle < -18:
        return None
    return number


plain = st.from_regex(r"\A[+-]?[0-9]{0,45}(\.[0-9]{0,45})?\Z")
scientific = st.from_regex(r"\A[+-]?[0-9]{1,30}(\.[0-9]{0,25})?[eE][+-]?[0-9]{1,4}\Z")
sparse = st.builds(
    lambda sign, zeros, whole, part, idle: f"{sign}{'0' * zeros}{whole}.{part:018}{'0' * idle}",
    st.sampled_from(["", "-", "+"]), st.integers(0, 60), st.integers(0, 10**20 - 1), st.integers(0, 10**18 - 1),
    st.integers(0, 60),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(text=st.one_of(plain, scientific, sparse, st.decimals().map(str), st.text(max_size=6)))
@example("1E+50000000")
@example("1E-50000000")
@example("0E+50000000")
@example("1E-19")
@example("10E-19")
@example("1E19")
@example("1E20")
@example("-0")
@example("0" * 60 + "1")
@example("1." + "0" * 60)
@example("9" * 400)
@example(str(LARGEST))
@example(f"-{LARGEST}")
def test_any_text_is_exact_or_refused_never_rounded(text: str) -> None:
    found, wanted = amount(text), fits(text.strip())
    if text != text.strip():  # outer blanks are the builder's affair
        assert found is None or found == wanted
        return
    assert found == wanted


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.one_of(plain, scientific, st.none()), max_size=8))
def test_a_column_is_cast_like_its_cells_one_by_one(texts: list[str | None]) -> None:
    column = amounts(pl.Series("a", texts, dtype=pl.String))
    assert column.dtype == MONEY
    assert column.to_list() == [None if text is None else amount(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "1E+50000000", "1E-19", "0.0000000000000000001", "nan", "NaN", "sNaN", "infinity", "-Infinity", "1_000", "٣", "١٫٥",
        "１２", "", " ", "+", "-", ".", "+.", "e5", "1e", "1e1.5", "1,000.00", "$5", "(5)", "0x10", "5-", "--5", "1 000",
        "100000000000000000000", "true", "null", "−5", "1\n2", "½",
    ],
)  # fmt: skip
def test_what_is_no_fitting_number_is_refused(text: str) -> None:
    assert amount(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+5", "5"), (".5", "0.5"), ("5.", "5"), ("-.5", "-0.5"), ("-0", "0"), ("1e2", "100"), ("1E-18", "1E-18"),
        ("12.50", "12.5"), ("0e99", "0"), ("0" * 45 + "7", "7"), ("7." + "0" * 45, "7"), (str(LARGEST), str(LARGEST)),
        (f"-{LARGEST}", f"-{LARGEST}"), ("0.1", "0.1"), ("1.10E1", "11"),
    ],
)  # fmt: skip
def test_a_fitting_number_is_taken_exactly(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


@settings(max_examples=200, deadline=None)
@given(day=st.dates())
def test_every_date_there_is_is_read(day: date) -> None:
    assert dates(pl.Series("d", [day.isoformat()]))[0] == day


@pytest.mark.parametrize(
    "text",
    [
        "0000-00-00", "2026-02-30", "2026-13-01", "2026-00-10", "2026-1-5", "20260105", "2026-01-05T00:00:00Z",
        "05/01/2026", "0", "", " ", "1970", "+2026-01-05", "2026-01-05 ", "today", "٢٠٢٦-01-05", "10000-01-01",
    ],
)  # fmt: skip
def test_t49_what_is_no_date_is_refused_never_1970(text: str) -> None:
    assert dates(pl.Series("d", [text])).to_list() == [None]


def test_a_date_before_the_first_year_of_python_is_refused() -> None:
    assert dates(pl.Series("d", ["0000-01-01"])).to_list() == [None]


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=200, deadline=None)
@given(moment=st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones))
def test_an_instant_with_a_zone_is_the_same_instant_in_utc(moment: datetime) -> None:
    assert instants(pl.Series("t", [moment.isoformat()]))[0] == moment


@pytest.mark.parametrize(
    "text", ["2026-01-05T10:00:00", "2026-01-05", "0", "10:00", "", "2026-02-30T00:00:00Z", "2026-01-05T25:00:00Z", "x"]
)
def test_a_time_without_a_zone_is_no_instant(text: str) -> None:
    assert instants(pl.Series("t", [text])).to_list() == [None]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_an_instant_beyond_the_calendar_is_refused(text: str) -> None:
    assert instants(pl.Series("t", [text])).to_list() == [None]


def test_a_microsecond_before_1970_is_kept() -> None:
    assert instants(pl.Series("t", ["1969-12-31T23:59:59.999999Z"]))[0] == datetime(
        1969, 12, 31, 23, 59, 59, 999_999, UTC
    )
