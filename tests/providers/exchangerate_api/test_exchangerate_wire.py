"""ExchangeRate-API's answers: what stands in the body decides, not the status."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import FinInfraError, LaterError, WireError
from fin_infra.providers import resolve
from fin_infra.providers.base import Ask, Want
from fin_infra.providers.exchangerate_api import PROVIDER, bearer, frames, home, wire
from fin_infra.providers.exchangerate_api.symbols import to_exchangerate
from tests.guards import guarded

AT = datetime(2026, 11, 24, 17, tzinfo=UTC)
MIDNIGHT = int(datetime(2026, 11, 24, 0, 0, 2, tzinfo=UTC).timestamp())
CODES = {
    "unsupported-code": "unknown_symbol", "malformed-request": "bad_request", "invalid-key": "auth_invalid",
    "inactive-account": "permission_denied", "quota-reached": "quota_exhausted", "plan-upgrade-required": "plan_limit",
    "no-data-available": "not_found",
}  # fmt: skip


def body(**more: Any) -> bytes:
    common = {"result": "success", "base_code": "EUR", "time_last_update_unix": MIDNIGHT}
    return json.dumps({**common, "conversion_rates": {"EUR": 1, "USD": 1.1367}, **more}).encode()


def refused(word: object, status: int) -> FinInfraError:
    answer = Recorded(json.dumps({"result": "error", "error-type": word}).encode(), status)
    with pytest.raises(FinInfraError) as caught:
        replay(resolve("fx:exchangerate_api"), "fx_rates", [answer], {})
    return caught.value


@guarded(
    "a refusal may come with status 200",
    "providers/transport.py",
    "row.status in (status, WHATEVER)",
    "row.status == status",
)
@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500])
@pytest.mark.parametrize("word", CODES)
def test_the_word_in_the_body_decides_whatever_the_status(word: str, status: int) -> None:
    assert refused(word, status).code == CODES[word]


def test_a_refusal_without_a_known_word_is_never_taken_for_rates() -> None:
    for word in ("something-new", None, "Very <odd>"):
        assert refused(word, 200).code == "contract_broken"
    assert refused("something-new", 429).code == "rate_limited"
    assert refused("something-new", 503).code == "vendor_unavailable"


def test_a_spent_month_and_open_access_are_not_asked_again_at_once() -> None:
    month, open_access = refused("quota-reached", 200), refused("x", 429)
    assert isinstance(month, LaterError)
    assert isinstance(open_access, LaterError)
    assert (month.retry_after, open_access.retry_after) == (86400.0, 1200.0)


@pytest.mark.parametrize("answer", [
    b"", b"Too Many", b"[]", body(result="odd"), body(conversion_rates=None), body(conversion_rates={}), body(base_code=None),
    body(time_last_update_unix=None), body(time_last_update_unix=0), body(time_last_update_unix="soon"), body(year=2024),
    body(conversion_rates={"USD": None}), body(conversion_rate=1.5),
])  # fmt: skip
def test_anything_else_is_a_broken_contract(answer: bytes) -> None:
    with pytest.raises(WireError):
        replay(resolve("fx:exchangerate_api"), "fx_rates", [Recorded(answer)], {})


def test_the_day_is_that_of_the_last_update_in_utc_and_the_base_is_no_row() -> None:
    found = wire.rates(body())
    assert (found.rate_on, found.as_of) == ("2026-11-24", datetime(2026, 11, 24, 0, 0, 2, tzinfo=UTC))
    built = frames.rates([(found, AT)], Ask("exchangerate_api", "ada", "con", "run", AT))
    assert built.good.select("base", "quote", "rate_on", "rate").rows() == [
        ("EUR", "USD", date(2026, 11, 24), Decimal("1.1367"))
    ]
    assert built.rejects == ()
    wanted = Ask("exchangerate_api", "ada", "con", "run", AT, wants=[Want("fx:EURGBP", "GBP", AT.date(), AT.date())])
    assert frames.rates([(found, AT)], wanted).good.is_empty()


def test_a_day_of_the_history_has_no_leading_zeros() -> None:
    old = wire.rates(json.dumps({"result": "success", "base_code": "EUR", "year": 2024, "month": 3, "day": 5,
                                 "conversion_rates": {"USD": 1.08}}).encode())  # fmt: skip
    assert (old.rate_on, old.as_of) == ("2024-03-05", None)


def test_the_key_goes_as_a_header_and_without_one_the_open_host_is_asked() -> None:
    request = next(bearer({"api_key": "k123"}).auth_flow(httpx.Request("GET", "https://x/v6/latest/EUR")))
    assert request.headers["authorization"] == "Bearer k123"
    assert "k123" not in str(request.url)
    nobody = next(bearer({}).auth_flow(httpx.Request("GET", "https://x/v6/latest/EUR")))
    assert "authorization" not in nobody.headers
    assert (home({"api_key": "k"}), home({"api_key": ""}), home({})) == ("", "open", "open")
    assert PROVIDER.address(home({})) == "https://open.er-api.com"


def test_a_pair_and_its_currency() -> None:
    assert to_exchangerate("fx:EURTWD") == "TWD"
    assert [to_exchangerate(pair) for pair in ("fx:EUREUR", "fx:USDTWD", "fx:EURtwd", "us:TWD")] == [None] * 4
