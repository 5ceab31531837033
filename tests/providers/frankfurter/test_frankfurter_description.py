"""The simulator's answers, and the requests of our client, keep to the vendor's interface description, strictly."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.frankfurter.simulator import FrankfurterSimulator, sandbox
from fin_infra.testing import serve
from tests.rates import rates_of

VENDOR = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/fx"
DESCRIPTION: dict[str, Any] = json.loads((VENDOR / "openapi-frankfurter-v1.json").read_text())
NOW = datetime(2026, 11, 24, 17, tzinfo=UTC)
FORMATS: Any = jsonschema.FormatChecker(["date"])
DAY = r"\d{4}-\d\d-\d\d"
TEMPLATES = {
    "/latest": "/latest", "/currencies": "/currencies", f"/{DAY}": "/{date}", rf"/{DAY}\.\.": "/{start_date}..",
    rf"/{DAY}\.\.{DAY}": "/{start_date}..{end_date}",
}  # fmt: skip


def _strict(schema: Any) -> Any:
    """No property the description does not know; numbers as they stand: 1e-05 is no exact float to divide by."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("example", "multipleOf")}
    if isinstance(made.get("properties"), dict):
        made["additionalProperties"] = False
    return made


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = DESCRIPTION
        for step in node["$ref"].split("/")[1:]:
            found = found[step]
        node = found
    return node


def described(path: str) -> dict[str, Any]:
    """The operation of a path of ours, with `/v1` before it."""
    [template] = [name for pattern, name in TEMPLATES.items() if re.fullmatch(pattern, path.removeprefix("/v1"))]
    operation: dict[str, Any] = DESCRIPTION["paths"][template]["get"]
    return operation


def check(reply: httpx.Response) -> None:
    responses = described(reply.request.url.path)["responses"]
    answer = _resolved(responses[str(reply.status_code)])
    schema = answer["content"]["application/json"]["schema"]
    whole = {**_strict(schema), "components": _strict(DESCRIPTION["components"])}
    jsonschema.validate(reply.json(), whole, format_checker=FORMATS)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    simulator = FrankfurterSimulator(now=lambda: NOW)
    sandbox(simulator, today=NOW.date())
    with serve(simulator) as served, httpx.Client(base_url=served.url) as found:
        yield found


@pytest.mark.parametrize("path", [
    "/v1/latest", "/v1/latest?symbols=USD,JPY", "/v1/latest?base=USD", "/v1/latest?base=USD&symbols=EUR,GBP", "/v1/currencies",
    "/v1/2026-11-20", "/v1/2026-11-22", "/v1/2026-11-02..", "/v1/2026-02-16..2026-02-20?symbols=AUD", "/v1/2026-02-14..2026-02-20",
])  # fmt: skip
def test_an_answer_is_as_described(client: httpx.Client, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200
    check(reply)


@pytest.mark.parametrize("path", [
    "/v1/latest?base=XXX", "/v1/latest?symbols=XXX", "/v1/1998-12-31", "/v1/1990-01-01..1990-02-01", "/v1/2030-01-01..2030-02-01",
])  # fmt: skip
def test_a_refusal_is_as_described(client: httpx.Client, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.json()) == (404, {"message": "not found"})
    check(reply)


@pytest.mark.parametrize("path", ["/v2/rates", "/v1/oops", "/v1/2026-13-01", "/latest", "/v1/2026-11-20..oops"])
def test_what_is_no_path_is_refused_alike(client: httpx.Client, path: str) -> None:
    assert (client.get(path).status_code, client.get(path).json()) == (404, {"message": "not found"})


def test_a_day_without_rates_is_answered_with_the_working_day_before(client: httpx.Client) -> None:
    assert client.get("/v1/2026-11-22").json()["date"] == "2026-11-20"
    period = client.get("/v1/2026-11-21..2026-11-24").json()
    assert (period["start_date"], period["end_date"]) == ("2026-11-20", "2026-11-24")
    assert list(period["rates"]) == ["2026-11-20", "2026-11-23", "2026-11-24"]
    assert "EUR" not in client.get("/v1/latest").json()["rates"]


def test_numbers_come_out_as_the_digits_they_were_set_with() -> None:
    simulator = FrankfurterSimulator(now=lambda: NOW)
    simulator.set_rate("2026-11-24", "USD", "1.13670")
    with serve(simulator) as served:
        assert '"USD":1.13670}' in httpx.get(f"{served.url}/v1/latest").text


async def test_our_requests_are_as_described(tmp_path: Path) -> None:
    with rates_of(tmp_path, "frankfurter", "USD") as world:
        world.has("USD", "2025-10-01", "2026-11-26")
        await world.link()
        await world.work()
        await world.sync(timedelta(days=1))
        assert len(world.sim.requests) == 4
        for request in world.sim.requests:
            path, _, query = request.partition("?")
            known = {_resolved(p)["name"] for p in described(path)["parameters"] if _resolved(p)["in"] == "query"}
            assert {part.partition("=")[0] for part in query.split("&")} <= known
            first, _, last = path.removeprefix("/v1/").partition("..")
            assert date.fromisoformat(last) - date.fromisoformat(first) <= timedelta(days=180)
