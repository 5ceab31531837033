"""Frankfurter's JSON, version 1, in its own words. Facts: https://frankfurter.dev"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import TypeAdapter

from fin_infra.errors import WireError
from fin_infra.providers.base import Wire, checked, exact_json


class OnDate(Wire):
    """`/latest` and `/{date}`: `date` is the working day the rates are of, which need not be the one asked for."""

    amount: str = "1"
    base: str
    date: str
    rates: dict[str, str]


class DuringPeriod(Wire):
    """`/{start}..{end}`: rates by day; days without a rate are absent."""

    amount: str = "1"
    base: str
    start_date: str
    end_date: str
    rates: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Rates:
    """Day, currency and rate, in the order of the answer: units of the currency for one `base`."""

    base: str
    rows: list[tuple[str, str, str]]


ON_DATE, DURING_PERIOD = TypeAdapter(OnDate), TypeAdapter(DuringPeriod)


def rates(body: bytes) -> Rates:
    """Rates of one day or of a period. Raises `WireError` on anything else, and on rates of another amount than one."""
    value = exact_json(body)
    if isinstance(value, dict) and "start_date" in value:
        period = checked(DURING_PERIOD, value, body)
        amount, base = period.amount, period.base
        rows = [(day, code, rate) for day, listed in period.rates.items() for code, rate in listed.items()]
    else:
        found = checked(ON_DATE, value, body)
        amount, base = found.amount, found.base
        rows = [(found.date, code, rate) for code, rate in found.rates.items()]
    if not re.fullmatch(r"1(\.0*)?", amount):
        raise WireError("an answer without its documented shape: rates of an amount that is not 1", evidence=body)
    return Rates(base, rows)


def refusal_word(body: bytes) -> str | None:
    """`message`: "not found" for an unknown currency, day or path alike."""
    try:
        word = exact_json(body)["message"]
    except (WireError, KeyError, TypeError):
        return None
    return word if isinstance(word, str) and re.fullmatch(r"[a-z ]{1,40}", word) else None
