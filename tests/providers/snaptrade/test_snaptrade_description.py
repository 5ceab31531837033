"""The simulator's answers, and the requests of our client, keep to the vendor's interface description, strictly."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.snaptrade.signing import signed
from fin_infra.providers.snaptrade.simulator import (
    CLIENT_ID,
    CONSUMER_KEY,
    SimActivity,
    SimConnection,
    SimPosition,
    SnaptradeSimulator,
    sandbox,
)
from fin_infra.testing import serve
from tests.providers.snaptrade.broker import SnaptradeWorld, bought, brokerage

VENDOR = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/snaptrade"
DESCRIPTION: dict[str, Any] = json.loads((VENDOR / "openapi.json").read_text())
NOW = datetime(2026, 11, 24, 17, tzinfo=UTC)
FORMATS: Any = jsonschema.FormatChecker(["uuid", "date"])
NEWER = {"masked_account_number", "cash_or_margin", "available_credit"}
"""Fields that version 13 of the vendor's own client knows and the description of August does not."""


def _strict(schema: Any) -> Any:
    """As JSON Schema: null where the description permits it, and no property that it does not know."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("example", "discriminator")}
    if isinstance(made.get("properties"), dict):
        made["properties"] |= {name: {} for name in NEWER}
        made["additionalProperties"] = False
    if made.pop("nullable", False):
        return {"anyOf": [made, {"type": "null"}]}
    return made


COMPONENTS = _strict(DESCRIPTION["components"])


def template_of(path: str) -> str:
    """The description has no `/accounts/all`: its rows are those of a connection's list."""
    templates: list[str] = [
        name for name in DESCRIPTION["paths"]
        if re.fullmatch(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(name)), path)
    ]  # fmt: skip
    return min(templates, key=lambda name: name.count("{"))


def check(reply: httpx.Response) -> None:
    path, body = reply.request.url.path, reply.json()
    if path == "/accounts/all":
        assert list(body) == ["results"]
        path, body = "/connections/x/accounts", body["results"]
    responses = DESCRIPTION["paths"][template_of(path)]["get"]["responses"]
    answer = responses.get(str(reply.status_code)) or responses["default"]
    schema = answer["content"]["application/json"]["schema"]
    jsonschema.validate(body, {**_strict(schema), "components": COMPONENTS}, format_checker=FORMATS)


@pytest.fixture
def vendor() -> SnaptradeSimulator:
    simulator = SnaptradeSimulator(now=lambda: NOW)
    user = sandbox(simulator, "user", "secret", today=NOW.date())
    margin = user.accounts[0]
    margin.positions += [
        SimPosition("ESM26", "1", "5000", "4900", "future", multiplier="50", exchange="XCME"),
        SimPosition("XYZ   281215P00050000", "-1", None, None, "option"),
        SimPosition("BTC", "0.000000010000000001", "64000.5", kind="crypto", exchange=None),
    ]
    simulator.add(margin.id, SimActivity(
        "option", "BUY", "-55.00", "2026-11-20T15:00:00Z", option="XYZ   281215C00050000", units="1", price="0.55",
    ), SimActivity("null date", "FEE", None, None, "2026-11-19T05:00:00Z"))  # fmt: skip
    user.connections.append(SimConnection(user.connections[0].id[:-4] + "ffff", [], disabled=True,
                                          disabled_date="2026-11-20 15:11:19.217000+00:00"))  # fmt: skip
    return simulator


@pytest.fixture
def client(vendor: SnaptradeSimulator) -> Iterator[httpx.Client]:
    app = {"client_id": CLIENT_ID, "consumer_key": CONSUMER_KEY}
    auth = signed({"user_id": "user", "user_secret": "secret"}, app, lambda: NOW)
    with serve(vendor) as served, httpx.Client(base_url=served.url, auth=auth) as found:
        yield found


@pytest.mark.parametrize("path", [
    "/", "/brokerages", "/authorizations", "/accounts", "/accounts/all", "/connections/{connection}/accounts",
    "/accounts/{account}", "/accounts/{account}/balances", "/accounts/{account}/positions/all",
    "/accounts/{account}/activities?limit=5&offset=2", "/accounts/{account}/activities?startDate=2026-11-01",
])  # fmt: skip
def test_an_answer_is_as_described(vendor: SnaptradeSimulator, client: httpx.Client, path: str) -> None:
    user = vendor.users["user"]
    reply = client.get(path.format(account=user.accounts[0].id, connection=user.connections[1].id))
    assert reply.status_code == 200
    check(reply)


def test_the_check_is_strict(client: httpx.Client) -> None:
    reply = client.get("/authorizations")
    for wrong in ({"id": "no uuid"}, {"invented": 1}, {"disabled": "no"}):
        broken = httpx.Response(200, json=[{**reply.json()[0], **wrong}], request=reply.request)
        with pytest.raises(jsonschema.ValidationError):
            check(broken)


def test_a_refusal_has_the_fields_that_were_seen_on_the_wire(client: httpx.Client) -> None:
    reply = client.get("/accounts/3f0c1d2e-0000-4000-8000-000000000000/balances")
    assert reply.status_code == 404
    assert reply.json() == {"detail": "The requested resource does not exist.", "status_code": 404, "code": "1011"}


def test_limits_are_told_in_seconds(vendor: SnaptradeSimulator, client: httpx.Client) -> None:
    headers = client.get("/authorizations").headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"], headers["X-RateLimit-Reset"]) == (
        "250", "249", "60",
    )  # fmt: skip
    assert "Deprecation" not in headers
    assert client.get("/api/v1/authorizations").headers["Deprecation"] == "@1781222400"
    vendor.limit = 2
    assert client.get("/authorizations").status_code == 429


async def test_our_requests_are_as_described(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1"))
    broker.sim.add("acc_1", bought("a1"))
    await broker.link()
    await broker.work()
    await broker.next_day()
    assert len(broker.sim.requests) > 10
    for request in broker.sim.requests:
        path, _, query = request.partition("?")
        if path == "/accounts/all":
            path = "/accounts"
        operation = DESCRIPTION["paths"][template_of(path)]["get"]
        assert operation.get("deprecated") is not True
        known = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        assert {part.partition("=")[0] for part in query.split("&")} <= known | {"clientId", "timestamp"}
