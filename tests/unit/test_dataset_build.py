"""`Dataset.build`: good rows, rejects with their reason, twins resolved and named. It never raises on a bad row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.datasets import DATASETS, base, dataset
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Built
from fin_infra.datasets.transactions import Transactions
from fin_infra.errors import UsageError
from tests.unit.helpers import START

CONSTANTS = {
    "tenant_id": "ada", "account_id": "acc", "provider": "teller", "connection_id": "con", "run_id": "run",
    "fetched_at": START,
}  # fmt: skip


def build(**columns: Sequence[str | None]) -> Built:
    """Transactions of one account; columns not given are ordinary."""
    count = max(map(len, columns.values()), default=1)
    usual: dict[str, Sequence[str | None]] = {
        "transaction_id": [f"t{n}" for n in range(count)], "amount": ["-1.50"] * count, "status": ["posted"] * count,
        "currency": ["USD"] * count,
    }  # fmt: skip
    return Transactions.build({**usual, **columns}, CONSTANTS)


def test_an_ordinary_row_is_good() -> None:
    built = build(transaction_id=["t1"], amount=["-12.34"], booked_on=["2026-11-01"])
    assert (built.rejects, built.differing) == ((), ())
    assert built.good.schema == pl.Schema(Transactions.dtypes())
    row = built.good.row(0, named=True)
    assert (row["amount"], row["booked_on"], row["fetched_at"]) == (Decimal("-12.34"), date(2026, 11, 1), START)
    assert row["merchant"] is None


@pytest.mark.parametrize("name", list(DATASETS))
def test_no_rows_are_an_empty_frame_of_the_schema(name: str) -> None:
    schema = dataset(name)
    assert schema.build({}, CONSTANTS).good.schema == pl.Schema(schema.dtypes())
    assert schema.build({next(iter(schema.dtypes())): []}, CONSTANTS).good.height == 0


@pytest.mark.parametrize(
    "text", ["1E+50000000", "1E-19", "nan", "infinity", "1_000", "٣", "abc", "0.1234567890123456789"]
)
def test_an_amount_that_does_not_fit_rejects_its_row_alone(text: str) -> None:
    built = build(amount=["1", text, "2"])
    assert built.good["amount"].to_list() == [1, 2]
    (reject,) = built.rejects
    assert "amount" in reject.reason
    assert reject.row["amount"] == text
    assert reject.row["transaction_id"] == "t1"


@pytest.mark.parametrize("text", ["", " ", "\t", "\u00a0", None])
def test_a_blank_amount_is_missing_never_zero(text: str | None) -> None:
    built = build(amount=["1", text], running_balance=[text, text])
    assert built.good["running_balance"].to_list() == [None]
    (reject,) = built.rejects
    assert "amount" in reject.reason


@pytest.mark.parametrize("text", ["0", "", " ", None])
def test_t49_a_blank_or_zero_date_is_null(text: str | None) -> None:
    built = build(booked_on=[text], occurred_at=[text])
    assert built.rejects == ()
    assert built.good.select("booked_on", "occurred_at").row(0) == (None, None)


@pytest.mark.parametrize("text", ["0000-00-00", "2026-02-30", "2026-11-01T00:00:00Z"])
def test_t49_a_date_that_is_none_rejects_its_row_with_the_form_wanted(text: str) -> None:
    built = build(booked_on=["2026-11-01", text])
    assert built.good.height == 1
    (reject,) = built.rejects
    assert reject.reason == "booked_on is not a date as YYYY-MM-DD"


@pytest.mark.parametrize("column", ["booked_on", "occurred_at"])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_moment_beyond_the_calendar_rejects_its_row(column: str, text: str) -> None:
    built = build(**{column: [text, None]})
    assert (built.good.height, len(built.rejects)) == (1, 1)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", "\x00", None])
def test_t10_blank_ids_are_never_twins(blank: str | None) -> None:
    built = build(transaction_id=[blank, "t1", blank])
    assert built.good["transaction_id"].to_list() == ["t1"]
    assert [reject.reason for reject in built.rejects] == ["transaction_id is missing"] * 2
    assert built.differing == ()


def test_ids_are_trimmed_text_and_keep_their_zeros() -> None:
    assert build(transaction_id=[" 007 ", "7", "7.0"]).good["transaction_id"].to_list() == ["007", "7", "7.0"]


def test_t02_of_equal_twins_one_is_kept_and_none_is_named() -> None:
    built = build(transaction_id=["t1", "t1", "t2"])
    assert built.good["transaction_id"].to_list() == ["t1", "t2"]
    assert (built.rejects, built.differing) == ((), ())


def test_t12_of_differing_twins_the_last_wins_and_the_key_is_named() -> None:
    built = build(transaction_id=["t1", "t2", "t1"], amount=["1", "2", "3"])
    assert dict(built.good.select("transaction_id", "amount").rows()) == {"t1": 3, "t2": 2}
    assert built.differing == (("ada", "acc", "t1"),)


def test_amounts_that_are_written_differently_are_no_differing_twins() -> None:
    assert build(transaction_id=["t1", "t1"], amount=["1.5", "1.50"]).differing == ()


def test_t09_two_purchases_that_are_equal_but_for_their_id_stay_two() -> None:
    assert build(transaction_id=["t1", "t2"], amount=["-5", "-5"]).good.height == 2


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=10))
def test_twins_are_resolved_as_a_dict_would(rows: list[tuple[str, int]]) -> None:
    built = build(transaction_id=[key for key, _ in rows], amount=[str(n) for _, n in rows])
    assert dict(built.good.select("transaction_id", "amount").rows()) == dict(rows)
    seen: dict[str, set[int]] = {}
    for key, n in rows:
        seen.setdefault(key, set()).add(n)
    assert [key[-1] for key in built.differing] == sorted(key for key, found in seen.items() if len(found) > 1)


def test_a_row_that_breaks_a_rule_is_rejected_with_the_rule_and_others_are_kept() -> None:
    built = build(currency=["USD", "dollars", "EUR"])
    assert built.good["currency"].to_list() == ["USD", "EUR"]
    (reject,) = built.rejects
    assert "currency" in reject.reason
    assert reject.row["currency"] == "dollars"


def test_every_fault_of_a_row_is_named() -> None:
    (reject,) = build(amount=["x"], booked_on=["y"], status=["z"]).rejects
    assert all(name in reject.reason for name in ("amount", "booked_on", "status"))


def test_a_word_outside_the_set_is_rejected_with_the_allowed_ones() -> None:
    (reject,) = build(status=["settled"]).rejects
    assert "pending, posted, review, expired" in reject.reason


def test_an_account_number_is_never_taken_for_a_mask() -> None:
    built = Accounts.build(
        {"account_id": ["a"], "kind": ["depository"], "status": ["open"], "mask": ["123456789"]}, CONSTANTS
    )
    assert built.good.height == 0
    assert "mask" in built.rejects[0].reason


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), (None, None), ("", None)])
def test_a_flag_is_true_false_or_null(text: str | None, value: bool | None) -> None:
    built = Accounts.build(
        {"account_id": ["a"], "kind": ["loan"], "status": ["open"], "history_complete": [text]}, CONSTANTS
    )
    assert built.good["history_complete"].to_list() == [value]


def test_control_characters_become_blanks_and_meaning_stays() -> None:
    built = build(description=["a\x00b\r\nc\x7f d", " é 👩\u200d👧 "])
    assert built.good["description"].to_list() == ["a b c  d", "é 👩\u200d👧"]


def test_half_of_a_surrogate_pair_never_raises() -> None:
    built = build(description=["cut off \ud83d", "whole"])
    assert built.good.height + len(built.rejects) == 2
    assert "whole" in built.good["description"].to_list()


def test_one_bad_row_among_hundreds_costs_none_of_the_others() -> None:
    built = build(currency=["USD"] * 300 + ["dollars"])
    assert (built.good.height, len(built.rejects)) == (300, 1)


anything: st.SearchStrategy[Any] = st.none() | st.text(max_size=8) | st.sampled_from(
    ["1", "-2.5", "2026-11-01", "2026-11-01T00:00:00Z", "posted", "pending", "USD", "t1", "0", "1e99999999"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(data=st.data(), height=st.integers(1, 5))
def test_no_text_ever_raises_and_no_row_is_lost(data: st.DataObject, height: int) -> None:
    names = [name for name in Transactions.dtypes() if name not in CONSTANTS]
    columns = {name: data.draw(st.lists(anything, min_size=height, max_size=height)) for name in names}
    columns["transaction_id"] = [f"id{n}" for n in range(height)]
    built = Transactions.build(columns, CONSTANTS)
    assert built.good.height + len(built.rejects) == height
    assert all(reject.reason for reject in built.rejects)


def test_an_unknown_dataset_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match="accounts, balances, transactions"):
        dataset("transaction")


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_dataset_is_named_after_its_class(name: str) -> None:
    assert dataset(name).dataset_name() == name


TEXTS = st.sampled_from([None, "", " ", "a", " a", "b\n", "US\x00D", "USD", "usd", "posted", "1.50", "-0.5", "1E-3", "0", "x" * 3,
                         "2026-11-01", "2026-13-01", "0000-01-01", "us:AAPL", "\u2003", "2026-11-01T00:00:00Z"])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["transactions", "prices", "accounts"]))
def test_rows_that_need_no_sorting_out_are_the_rows_that_sorting_out_keeps(data: st.DataObject, name: str) -> None:
    """The short way of the builder is taken only where the long one would come to the same."""
    schema = dataset(name)
    count = data.draw(st.integers(1, 4))
    usual = {"amount": "1", "close": "2", "booked_on": "2026-11-01", "session": "2026-11-02", "status": "posted",
             "state": "final", "basis": "raw", "kind": "depository", "instrument": "us:AAPL"}  # fmt: skip
    columns = {
        column: [data.draw(TEXTS if data.draw(st.integers(0, 9)) == 0 else st.just(usual.get(column, f"{column[:3]}{n}")))
                 for n in range(count)]
        for column in schema.dtypes()
        if column not in CONSTANTS and not column.endswith(("_at", "as_of", "complete")) and "currency" not in column
        and (column in usual or schema.dtypes()[column] == pl.String)
    }  # fmt: skip
    short = schema.build(columns, CONSTANTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "_sound", lambda *_: False)
        patch.setattr(base, "_DIRTY", ".|^$")
        long = schema.build(columns, CONSTANTS)
    assert short.good.equals(long.good)
    assert (short.rejects, short.differing) == (long.rejects, long.differing)
