"""The simulator's answers validate against the interface description of the shared collection, refusals too."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.teller.simulator import Fault, TellerSimulator, sandbox

DESCRIPTION = json.loads((Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/teller/openapi-derived.json").read_text())


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema: nullable, and no property the description does not know."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def validate(path: str, status: int, body: Any) -> None:
    responses = DESCRIPTION["paths"][path]["get"]["responses"]
    assert str(status) in responses, f"{path} does not document {status}"
    schema = responses[str(status)]["content"]["application/json"]["schema"]
    jsonschema.validate(body, {**_strict(schema), "components": _strict(DESCRIPTION["components"])})


@pytest.fixture
def bank() -> TellerSimulator:
    simulator = TellerSimulator(now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    sandbox(simulator, "tok", today=date(2026, 11, 24))
    return simulator


async def answer(bank: TellerSimulator, path: str, token: str | None = "tok") -> httpx.Response:
    headers = {} if token is None else {"authorization": "Basic " + base64.b64encode(f"{token}:".encode()).decode()}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=bank), base_url="http://bank") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/accounts", "/accounts"),
        ("/accounts/{account_id}", "/accounts/acc_tok_card"),
        ("/accounts/{account_id}/balances", "/accounts/acc_tok_card/balances"),
        ("/accounts/{account_id}/balances", "/accounts/acc_tok_savings/balances"),
        ("/accounts/{account_id}/transactions", "/accounts/acc_tok_card/transactions"),
        ("/accounts/{account_id}/transactions", "/accounts/acc_tok_checking/transactions?count=5"),
        (
            "/accounts/{account_id}/transactions/{transaction_id}",
            "/accounts/acc_tok_card/transactions/txn_tok_pending",
        ),
    ],
)
async def test_answers_have_the_documented_shape(bank: TellerSimulator, template: str, path: str) -> None:
    reply = await answer(bank, path)
    assert reply.status_code == 200
    assert reply.json()
    validate(template, 200, reply.json())


@pytest.mark.parametrize(
    ("status", "code", "script"),
    [
        (400, "bad_request", lambda bank: setattr(bank, "needs_certificate", True)),
        (403, "forbidden", lambda bank: setattr(bank.enrollments["tok"], "revoked", True)),
        (404, "enrollment.disconnected.user_action.mfa_required", lambda bank: bank.disconnect("tok")),
        (410, "account.closed", lambda bank: setattr(bank.account("acc_tok_card"), "refusal", (410, "account.closed"))),
        (429, "too_many_requests", lambda bank: bank.fail_next(Fault("refuse"))),
        (502, "bad_gateway", lambda bank: bank.fail_next(Fault("refuse", status=502, code="bad_gateway"))),
    ],
)
async def test_refusals_have_the_documented_shape(bank: TellerSimulator, status: int, code: str, script: Any) -> None:
    script(bank)
    reply = await answer(bank, "/accounts/acc_tok_card/balances")
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    validate("/accounts/{account_id}/balances", status, reply.json())


async def test_no_token_and_unknown_resources_are_refused_as_documented(bank: TellerSimulator) -> None:
    reply = await answer(bank, "/accounts", token=None)
    assert reply.status_code == 401
    validate("/accounts", 401, reply.json())
    reply = await answer(bank, "/accounts/acc_none")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    validate("/accounts/{account_id}", 404, reply.json())


async def test_pages_join_to_the_whole_history_without_gap_or_overlap(bank: TellerSimulator) -> None:
    path = "/accounts/acc_tok_card/transactions"
    whole = [row["id"] for row in (await answer(bank, path)).json()]
    paged: list[str] = []
    while True:
        more = f"&from_id={paged[-1]}" if paged else ""
        page = (await answer(bank, f"{path}?count=7{more}")).json()
        paged += [row["id"] for row in page]
        if len(page) < 7:
            break
    assert paged == whole
    since = (await answer(bank, f"{path}?start_date=2026-11-20&end_date=2026-11-22")).json()
    assert {row["date"] for row in since} <= {"2026-11-20", "2026-11-21", "2026-11-22"}
