"""What the client asks, and what a refusal comes to, with Stripe's own word on trying again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from fin_infra.errors import CODES, WireError
from fin_infra.providers import resolve
from fin_infra.providers.base import Ask, Reply
from fin_infra.providers.metering import Quotas
from fin_infra.providers.stripe import client, wire
from fin_infra.providers.transport import refusal
from tests.guards import guarded

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PROVIDER = resolve("identity:stripe")
ROW = '{"object": "identity.verification_session", "id": "%s"}'


def refused(status: int, body: bytes = b"", again: str | None = None) -> str | None:
    headers = {} if again is None else {"stripe-should-retry": again}
    error = refusal(PROVIDER, Reply(status, headers, body or b'{"error": {"type": "api_error"}}', NOW))
    return error.code if error else None


@pytest.mark.parametrize(
    ("status", "again", "code"),
    [
        (500, None, "vendor_unavailable"), (500, "true", "vendor_unavailable"), (500, "false", "bad_request"),
        (504, None, "vendor_timeout"), (504, "false", "bad_request"), (409, None, "vendor_unavailable"),
        (409, "false", "bad_request"), (400, None, "bad_request"), (400, "true", "vendor_unavailable"),
        (402, None, "plan_limit"), (402, "true", "vendor_unavailable"), (429, None, "rate_limited"),
        (429, "false", "rate_limited"), (429, "true", "rate_limited"), (500, "perhaps", "vendor_unavailable"),
        (418, None, "contract_broken"), (200, "false", None),
    ],
)  # fmt: skip
@guarded(
    "what an answer says of trying again is not heard",
    "providers/transport.py",
    "if error is None or (again := provider.again(reply)) is None:",
    "if error is None or (again := None) is None:",
)
def test_stripes_word_on_trying_again_goes_before_the_table(status: int, again: str | None, code: str | None) -> None:
    assert refused(status, again=again) == code
    assert code is None or code in CODES


def test_one_that_will_not_succeed_opens_no_circuit() -> None:
    error = refusal(PROVIDER, Reply(500, {"stripe-should-retry": "false"}, b"{}", NOW))
    assert not getattr(error, "vendor_wide", False)


class Answers:
    """Bodies in the order they are asked for."""

    def __init__(self, *bodies: str) -> None:
        self.bodies = list(bodies)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, host: str = "", account: str = ""
    ) -> Reply:
        self.asked.append((path, params or {}))
        return Reply(200, {}, self.bodies.pop(0).encode(), NOW)

    async def post(self, path: str, body: Mapping[str, Any], *, host: str = "", account: str = "") -> Reply:
        raise AssertionError(path)


def page(*ids: str, more: bool) -> str:
    return f'{{"object": "list", "data": [{", ".join(ROW % i for i in ids)}], "has_more": {str(more).lower()}}}'


@pytest.mark.parametrize(
    "pages",
    [
        (page(more=True),),
        (page("vs_1", more=True), page("vs_2", "vs_1", more=True)),
        (page("", more=True),),
        (page("vs_1", more=True), page("vs_2", more=True), page("vs_1", more=True)),
    ],
)
@guarded(
    "a list that does not move on is asked for ever",
    "providers/stripe/client.py",
    "last in behind):",
    "False):",
)
async def test_a_list_that_does_not_move_on_is_broken(pages: tuple[str, ...]) -> None:
    answers = Answers(*pages)
    with pytest.raises(WireError, match="announces more"):
        [_ async for _ in client.sessions(answers, Ask("stripe", "t", "c", "r", NOW))]
    assert answers.bodies == []


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"object": "list", "data": null, "has_more": false}', '{"object": "list", "data": []}',
     '{"object": "list", "data": [{}], "has_more": false}', '{"object": "identity.verification_report"}'],
)  # fmt: skip
def test_what_is_no_list_of_sessions_is_broken(body: str) -> None:
    with pytest.raises(WireError):
        wire.sessions(body.encode())


def test_another_session_than_was_asked_for_is_broken() -> None:
    assert wire.session((ROW % "vs_1").encode(), "vs_1").rows
    for body in (ROW % "vs_2", page("vs_1", "vs_2", more=False), page(more=False)):
        with pytest.raises(WireError, match="another session"):
            wire.session(body.encode(), "vs_1")


def test_an_id_cannot_lead_to_another_path() -> None:
    assert client.path_of("../accounts?x=1") == client.PATH + "/..%2Faccounts%3Fx%3D1"


async def test_the_probe_is_one_small_call() -> None:
    assert PROVIDER.probe is not None
    answers = Answers(page("vs_1", more=True), page(more=False))
    said = [await client.probe(answers) for _ in range(2)]  # type: ignore[arg-type]
    assert said == ["verification sessions can be read", "no verification session yet"]
    assert answers.asked == [(client.PATH, {"limit": "1"})] * 2


def test_the_keys_prefix_chooses_the_plan() -> None:
    quotas = Quotas()
    for key, plan in (("sk_live_a", "live"), ("rk_live_a", "live"), ("sk_test_a", "test"), ("rk_test_a", "test")):
        assert quotas.plan(PROVIDER, PROVIDER.quota_key({"secret_key": key})).name == plan
    live = {PROVIDER.quota_key({"secret_key": key}) for key in ("sk_live_a", "sk_live_b")}
    assert len(live) == 2


def test_two_connections_do_not_share_a_key() -> None:
    keys = {client.idempotency_key(c, k) for c in ("con_1", "con_2") for k in ("a", "b")}
    assert len(keys) == 4
    assert client.idempotency_key("con_1", "ada@example.org") == client.idempotency_key("con_1", "ada@example.org")
    assert all(len(key) < 255 and "ada" not in key for key in keys)
