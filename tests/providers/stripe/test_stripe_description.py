"""The simulator's answers, and the requests of our client, keep to the vendor's interface description, strictly.

The description is a cut of the whole one: of schemas that it names and does not have, the shape is not held.
"""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jsonschema
import pytest

from fin_infra.providers.stripe import client
from fin_infra.providers.stripe.simulator import Fault, StripeSimulator, sandbox
from tests.providers.stripe.world import KEY, IdentityWorld
from tests.world import START

VENDOR = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/stripe_identity"
DESCRIPTION: dict[str, Any] = json.loads((VENDOR / "openapi-identity-2023-10-16.json").read_text())
SCHEMAS: dict[str, Any] = DESCRIPTION["components"]["schemas"]
LIST, ONE = client.PATH, client.PATH + "/{session}"


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema: nullable, references inside or to anything, no property that is not described."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"$ref": f"#/$defs/{name}"} if name in SCHEMAS else {}
    made = {key: _strict(value) for key, value in schema.items() if key not in ("nullable", "format", "anyOf")}
    if "anyOf" in schema:
        made["anyOf"] = [_strict(one) for one in schema["anyOf"]]
    if schema.get("nullable"):
        made = {"anyOf": [{"type": "null"}, made]}
    elif isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


DEFS = {name: _strict(schema) for name, schema in SCHEMAS.items()}


def check(value: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(value, {**_strict(schema), "$defs": DEFS})


def check_answer(reply: httpx.Response, method: str, template: str) -> None:
    responses = DESCRIPTION["paths"][template][method]["responses"]
    described = responses.get(str(reply.status_code), responses["default"])
    check(reply.json(), described["content"]["application/json"]["schema"])


@pytest.fixture
def vendor() -> StripeSimulator:
    simulator = StripeSimulator(now=lambda: START)
    sandbox(simulator, now=START)
    simulator.redact(simulator.sessions[4].id)
    simulator.sessions[5].type = None
    return simulator


async def ask(vendor: StripeSimulator, method: str, path: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=vendor), base_url="http://stripe") as http:
        return await http.request(method, path, headers={"Authorization": f"Bearer {KEY}"}, **more)


async def test_every_answer_has_the_described_shape(vendor: StripeSimulator) -> None:
    for params in ({}, {"limit": "100"}, {"status": "verified"}, {"created[gte]": "1700000000", "limit": "3"}):
        reply = await ask(vendor, "GET", LIST, params=params)
        assert reply.json()["data"]
        check_answer(reply, "get", LIST)
    for session in list(vendor.sessions):
        check_answer(await ask(vendor, "GET", f"{LIST}/{session.id}"), "get", ONE)
    made = await ask(vendor, "POST", LIST, data={"type": "document", "metadata[reference]": "u"})
    check_answer(made, "post", LIST)
    for action in ("cancel", "redact"):
        reply = await ask(vendor, "POST", f"{LIST}/{made.json()['id']}/{action}")
        assert reply.status_code == 200
        check_answer(reply, "post", f"{ONE}/{action}")


@pytest.mark.parametrize(
    ("status", "code"), [(400, "parameter_missing"), (401, ""), (402, ""), (403, "x"), (404, "resource_missing"), (409, "x"),
                         (429, "lock_timeout"), (500, ""), (503, "")],
)  # fmt: skip
async def test_refusals_have_the_described_shape(vendor: StripeSimulator, status: int, code: str) -> None:
    vendor.fail_next(Fault("refuse", status=status, code=code))
    reply = await ask(vendor, "GET", LIST)
    assert reply.status_code == status
    check_answer(reply, "get", LIST)


@pytest.mark.parametrize(("file", "path", "key"), [
    ("error_404_resource_missing.json", f"{LIST}/vs_x", KEY), ("error_401_invalid_key.json", LIST, "sk_test_wrong"),
])  # fmt: skip
async def test_refusals_are_those_of_the_samples(vendor: StripeSimulator, file: str, path: str, key: str) -> None:
    vendor.keys = [KEY]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=vendor), base_url="http://stripe") as http:
        reply = await http.get(path, headers={"Authorization": f"Bearer {key}"})
    wanted = json.loads((VENDOR / "samples" / file).read_text())["error"]
    wanted.pop("doc_url", None)
    assert reply.json()["error"] == wanted
    assert str(reply.status_code) in file


async def test_a_session_names_what_the_samples_name(vendor: StripeSimulator) -> None:
    """All fields of the derived samples, each of the same JSON type or null."""
    names = set()
    for path in sorted((VENDOR / "samples").glob("derived_session_*.json")):
        names |= set(json.loads(path.read_text()))
    assert set((await ask(vendor, "GET", f"{LIST}/{vendor.sessions[0].id}")).json()) == names


async def test_what_the_client_asks_is_described(identity: IdentityWorld) -> None:
    sandbox(identity.stripe, now=identity.clock(), count=130)
    await identity.link()
    await identity.work()
    await identity.work(timedelta(hours=12))
    paths = [urlsplit(path) for path in identity.stripe.requests]
    assert any("starting_after" in path.query for path in paths)
    assert any("created" in path.query for path in paths)
    for path in paths:
        template = LIST if path.path == LIST else re.sub(r"/vs_[^/]+$", "/{session}", path.path)
        known = {p["name"]: p["schema"] for p in DESCRIPTION["paths"][template]["get"].get("parameters", [])}
        for name, text in parse_qsl(path.query):
            outer, _, inner = name.partition("[")
            if inner:
                ranges = next(s for s in known[outer]["anyOf"] if "properties" in s)
                assert inner.rstrip("]") in ranges["properties"]
            check(int(text) if outer in ("limit", "created") else text, known[outer] if not inner else {})


async def test_what_starts_a_session_is_described(vendor: StripeSimulator) -> None:
    body = DESCRIPTION["paths"][LIST]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    described = SCHEMAS[body["schema"]["$ref"].rpartition("/")[2]]["properties"]
    assert {"type", "metadata"} <= set(described)
    assert set(described["type"]["enum"]) == {"document", "id_number"}
