"""The simulator's answers validate against Plaid's OpenAPI description in the shared collection, refusals too."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.plaid.simulator import Fault, PlaidSimulator, SimItem, sandbox

DESCRIPTION = json.loads((Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/plaid/openapi.json").read_text())
KEYS = {"plaid-client-id": "client", "plaid-secret": "secret"}


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema: `nullable`, also beside a reference."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("nullable", "example", "examples")}
    if not schema.get("nullable"):
        return made
    return {"anyOf": [made, {"type": "null"}]}


COMPONENTS = _strict(DESCRIPTION["components"])


def validate(schema: Any, body: Any) -> None:
    jsonschema.validate(body, {**_strict(schema), "components": COMPONENTS})


def described(path: str) -> Any:
    return DESCRIPTION["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]


@pytest.fixture
def vendor() -> PlaidSimulator:
    simulator = PlaidSimulator(now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    sandbox(simulator, "tok", today=date(2026, 11, 24))
    return simulator


@pytest.fixture
def item(vendor: PlaidSimulator) -> SimItem:
    return vendor.items["tok"]


async def answer(vendor: PlaidSimulator, path: str, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=vendor), base_url="http://plaid") as client:
        return await client.post(path, json={"access_token": "tok", **body}, headers=KEYS)


RANGE = {"start_date": "2026-01-01", "end_date": "2026-11-24"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/accounts/get", {}),
        ("/accounts/balance/get", {}),
        ("/item/get", {}),
        ("/transactions/sync", {}),
        ("/transactions/sync", {"count": 7, "cursor": ""}),
        ("/transactions/refresh", {}),
        ("/investments/holdings/get", {}),
        ("/investments/transactions/get", RANGE),
        ("/investments/refresh", {}),
        ("/item/webhook/update", {"webhook": "https://example.com/hook"}),
        ("/item/remove", {}),
        ("/sandbox/item/reset_login", {}),
        ("/sandbox/public_token/create", {"institution_id": "ins_109508", "initial_products": ["transactions"]}),
    ],
)
async def test_answers_have_the_described_shape(vendor: PlaidSimulator, path: str, body: dict[str, Any]) -> None:
    request = DESCRIPTION["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validate(request, {"access_token": "tok", **body})
    reply = await answer(vendor, path, **body)
    assert reply.status_code == 200
    validate(described(path), reply.json())


async def test_removed_and_modified_rows_and_all_phases_have_the_described_shape(
    vendor: PlaidSimulator, item: SimItem
) -> None:
    start = (await answer(vendor, "/transactions/sync", count=500)).json()["next_cursor"]
    ids = list(item.transactions)
    item.modify(ids[0], amount="12.5")
    item.remove(ids[1])
    for phase in ("NOT_READY", "INITIAL", "UNKNOWN", "HISTORICAL"):
        item.phase = phase
        reply = (await answer(vendor, "/transactions/sync", cursor=start)).json()
        validate(described("/transactions/sync"), reply)
    assert (len(reply["modified"]), len(reply["removed"]), reply["added"]) == (1, 1, [])


async def test_a_broken_item_has_the_described_shape(vendor: PlaidSimulator, item: SimItem) -> None:
    item.error = "ITEM_LOGIN_REQUIRED"
    reply = await answer(vendor, "/item/get")
    assert (reply.status_code, reply.json()["item"]["error"]["error_code"]) == (200, "ITEM_LOGIN_REQUIRED")
    validate(described("/item/get"), reply.json())


async def test_tokens_and_keys_have_the_described_shape(vendor: PlaidSimulator) -> None:
    made = await answer(
        vendor, "/sandbox/public_token/create", institution_id="ins_1", initial_products=["transactions"]
    )
    exchanged = await answer(vendor, "/item/public_token/exchange", public_token=made.json()["public_token"])
    validate(described("/item/public_token/exchange"), exchanged.json())
    key = await answer(vendor, "/webhook_verification_key/get", key_id=vendor.kid)
    validate(described("/webhook_verification_key/get"), key.json())


@pytest.mark.parametrize(
    ("status", "code", "script"),
    [
        (400, "INVALID_API_KEYS", lambda vendor: setattr(vendor, "keys", ("other", "keys"))),
        (400, "INVALID_ACCESS_TOKEN", lambda vendor: vendor.items.clear()),
        (400, "ITEM_LOGIN_REQUIRED", lambda vendor: setattr(vendor.items["tok"], "refusal", "ITEM_LOGIN_REQUIRED")),
        (400, "INSTITUTION_DOWN", lambda vendor: setattr(vendor.items["tok"], "refusal", "INSTITUTION_DOWN")),
        (400, "NO_ACCOUNTS", lambda vendor: vendor.items["tok"].accounts.clear()),
        (429, "ACCOUNTS_LIMIT", lambda vendor: vendor.limits.update({"/accounts/get": 0})),
        (429, "RATE_LIMIT", lambda vendor: vendor.fail_next(Fault("refuse"))),
        (500, "INTERNAL_SERVER_ERROR", lambda vendor: vendor.fail_next(Fault("refuse", status=500))),
    ],
)
async def test_refusals_have_the_described_shape(vendor: PlaidSimulator, status: int, code: str, script: Any) -> None:
    script(vendor)
    reply = await answer(vendor, "/accounts/get")
    assert (reply.status_code, reply.json()["error_code"]) == (status, code)
    validate(DESCRIPTION["components"]["schemas"]["PlaidError"], reply.json())
