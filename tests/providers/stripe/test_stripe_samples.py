"""Every sample of Stripe Identity in the shared collection: its rows, or the code it stands for."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fin_infra.engine.replaying import Recorded, Replayed, replay
from fin_infra.errors import CODES, FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.stripe import frames, webhooks, wire

SAMPLES = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/stripe_identity/samples"
INDEX = {row["file"]: row for row in json.loads((SAMPLES / "INDEX.json").read_text())}
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ID = "vs_1NuN4zLkdIwHu7ixleE6HvkI"
CREATED = datetime(2021, 1, 15, 20, 58, 41, tzinfo=UTC)
WEBHOOK = "webhook_verified.json"

Row = tuple[str, str, str, datetime, str | None]
EXPECTED: dict[str, str | list[Row]] = {
    "derived_session_canceled_redacted.json": [],
    "derived_session_processing.json": [(ID, "processing", "document", CREATED, None)],
    "derived_session_requires_input_failed.json": [(ID, "requires_input", "document", CREATED, "document_expired")],
    "derived_session_requires_input_new.json": [(ID, "requires_input", "document", CREATED, None)],
    "derived_session_verified.json": [(ID, "verified", "document", CREATED, None)],
    "derived_sessions_list.json": [(ID, "verified", "document", CREATED, None)],
    "doc_fixture_identity.verification_report.json": "contract_broken",  # a report is no session, and is never asked for
    "doc_fixture_identity.verification_session.json": [],  # its redaction is under way
    "error_401_invalid_key.json": "auth_invalid",
    "error_404_resource_missing.json": "not_found",
    "error_429_lock_timeout.json": "vendor_unavailable",
    "error_429_rate_limit.json": "rate_limited",
}


def replayed(file: str) -> Replayed:
    row = INDEX[file]
    answer = Recorded((SAMPLES / file).read_bytes(), row["status"], row["headers"])
    return replay(resolve("identity:stripe"), "identity_sessions", [answer], {"at": NOW.isoformat()})


def test_the_table_names_every_sample() -> None:
    assert {*EXPECTED, WEBHOOK} == set(INDEX)


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_a_sample_gives_its_rows_or_its_code(file: str) -> None:
    expected = EXPECTED[file]
    if isinstance(expected, str):
        assert expected in CODES
        with pytest.raises(FinInfraError) as caught:
            replayed(file)
        assert caught.value.code == expected
        return
    found = replayed(file)
    columns = ("session_id", "status", "type", "created_at", "last_error_code")
    assert found.good.select(columns).rows() == expected
    assert (found.rejects, found.differing) == ((), ())


@pytest.mark.parametrize("file", sorted(name for name, rows in EXPECTED.items() if rows == []))
def test_a_redacted_session_is_one_to_be_erased(file: str) -> None:
    [session_id] = frames.redacted(wire.sessions((SAMPLES / file).read_bytes()))
    assert session_id.startswith("vs_")


def test_nothing_that_opens_a_session_is_left_of_a_sample() -> None:
    body = (SAMPLES / "derived_session_requires_input_new.json").read_bytes()
    assert b"_secret_test_" in body
    for cut in (len(body), *range(1, len(body), 7)):
        left = wire.scrubbed(body[:cut])
        assert b"secret_test" not in left
        assert b"verify.stripe.com" not in left
    assert wire.started(body).url == "https://verify.stripe.com/start/test_REDACTED"
    assert "REDACTED" not in repr(wire.started(body))


def test_the_recorded_webhook_signed_anew_is_taken() -> None:
    body, at = (SAMPLES / WEBHOOK).read_bytes(), str(int(NOW.timestamp()))
    headers = {webhooks.HEADER: f"t={at},v1={webhooks.sign('whsec_s', at, body)}"}
    event = webhooks.verify(headers, body, ["whsec_s"], NOW)
    assert (event.name, event.rows, event.everyone) == ("identity.verification_session.verified", (ID,), True)
    assert webhooks.WEBHOOKS.events[event.name].due == ("identity_sessions",)
