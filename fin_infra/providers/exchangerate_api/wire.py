"""ExchangeRate-API's JSON, version 6, in its own words. Facts: https://www.exchangerate-api.com/docs"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, TypeAdapter

from fin_infra.errors import WireError
from fin_infra.providers.base import Wire, checked, exact_json


class Latest(Wire):
    """`/latest/{base}`; open access says `rates` instead of `conversion_rates`."""

    base_code: str
    conversion_rates: dict[str, str] | None = None
    rates: dict[str, str] | None = None
    time_last_update_unix: str


class Pair(Wire):
    """`/pair/{base}/{target}`."""

    base_code: str
    target_code: str
    conversion_rate: str
    time_last_update_unix: str


class History(Wire):
    """`/history/{base}/{year}/{month}/{day}`, of paid plans."""

    base_code: str
    year: str
    month: str
    day: str
    conversion_rates: dict[str, str] = Field(min_length=1)


@dataclass(frozen=True)
class Rates:
    """Rates of one day by currency: units of it for one `base`. `as_of`: the vendor's last update, where it says."""

    base: str
    rate_on: str
    rates: dict[str, str]
    as_of: datetime | None = None


LATEST, PAIR, HISTORY = TypeAdapter(Latest), TypeAdapter(Pair), TypeAdapter(History)


def rates(body: bytes) -> Rates:
    """Rates of now, of one pair, or of a day. Raises `WireError` on anything else."""
    value = exact_json(body)
    if not isinstance(value, dict) or value.get("result") != "success":
        raise _shapeless("its result is no success", body)
    if "year" in value:
        day = checked(HISTORY, value, body)
        return Rates(day.base_code, _day(day), day.conversion_rates)
    if "conversion_rate" in value:
        pair = checked(PAIR, value, body)
        at = _updated(pair.time_last_update_unix, body)
        return Rates(pair.base_code, str(at.date()), {pair.target_code: pair.conversion_rate}, at)
    latest = checked(LATEST, value, body)
    found = latest.conversion_rates or latest.rates
    if not found:
        raise _shapeless("there is no rate in it", body)
    at = _updated(latest.time_last_update_unix, body)
    return Rates(latest.base_code, str(at.date()), found, at)


def _day(answer: History) -> str:
    """Month and day come without leading zeros; what is no day stays what it is, and its rows are refused."""
    return f"{answer.year:0>4}-{answer.month:0>2}-{answer.day:0>2}"


def _updated(seconds: str, body: bytes) -> datetime:
    if not re.fullmatch(r"[1-9][0-9]{0,10}", seconds):
        raise _shapeless("time_last_update_unix is no time", body)
    return datetime.fromtimestamp(int(seconds), UTC)


def _shapeless(what: str, body: bytes) -> WireError:
    return WireError(f"an answer without its documented shape: {what}", evidence=body)


def refusal_word(body: bytes) -> str | None:
    """`error-type` of an answer that is no success, whatever its status; None of a success.

    An answer that claims an error without a known word is "error".
    """
    try:
        value: Any = exact_json(body)
    except WireError:
        return None
    if not isinstance(value, dict) or value.get("result") != "error":
        return None
    word = value.get("error-type")
    return word if isinstance(word, str) and re.fullmatch(r"[a-z-]{1,40}", word) else "error"
