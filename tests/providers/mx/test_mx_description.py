"""The simulator's answers validate against MX's interface descriptions, of both versions."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.mx.simulator import API_KEY, CLIENT_ID, MxSimulator, own_guid, sandbox

SHARED = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/mx"
HEADERS = {
    "v20250224": {"Accept-Version": "v20250224"},
    "v20111101": {"Accept": "application/vnd.mx.api.v1+json"},
}


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema: nullable, and no property the description does not know."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("nullable", "example")}
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    if "properties" in made and "allOf" not in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


@pytest.mark.parametrize("version", sorted(HEADERS))
@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/members", "MembersResponseBody"),
        (f"/members/{own_guid('MBR', 'USR-sandbox', 'bank')}", "MemberResponseBody"),
        ("/accounts", "AccountsResponseBody"),
        (f"/members/{own_guid('MBR', 'USR-sandbox', 'bank')}/accounts", "AccountsResponseBody"),
        ("/investment_holdings", "InvestmentHoldingsResponseBody"),
        (f"/accounts/{own_guid('ACT', 'USR-sandbox', 'card')}/transactions", "TransactionsResponseBodyIncludes"),
        ("/transactions?records_per_page=10&page=2", "TransactionsResponseBodyIncludes"),
    ],
)
async def test_answers_have_the_documented_shape(version: str, path: str, shape: str) -> None:
    description = json.loads((SHARED / f"openapi-{version}.json").read_text())
    # what a transaction may have more is told by a second schema beside the first: neither forbids the other's
    schemas = {
        name: schema if name.startswith("Transaction") and "Body" not in name else _strict(schema)
        for name, schema in description["components"]["schemas"].items()
    }
    schemas = {name: _nullable(schema) for name, schema in schemas.items()}
    simulator = MxSimulator(now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    sandbox(simulator, today=date(2026, 11, 24))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=simulator), base_url="http://mx", auth=(CLIENT_ID, API_KEY)
    ) as client:
        reply = await client.get(f"/users/USR-sandbox{path}", headers=HEADERS[version])
    assert reply.status_code == 200
    jsonschema.validate(reply.json(), {**schemas[shape], "components": {"schemas": schemas}})


def _nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _nullable(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    if None not in made.get("enum", [None]) and schema.get("nullable"):
        made["enum"] = [*made["enum"], None]
    return made


@pytest.mark.parametrize(("headers", "status"), [({}, 406), ({"Accept-Version": "v20250224"}, 401)])
async def test_no_version_and_no_key_are_refused(headers: dict[str, str], status: int) -> None:
    simulator = MxSimulator()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=simulator), base_url="http://mx") as client:
        reply = await client.get("/users/USR-1/accounts", headers=headers)
    assert (reply.status_code, set(reply.json()["error"])) == (status, {"message", "status", "type"})
