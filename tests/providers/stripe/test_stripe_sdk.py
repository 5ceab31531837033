"""The vendor's own client reads the simulator over real HTTP: what it decodes is what our frames hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import requests
import stripe
from stripe.identity import VerificationSession

from fin_infra.providers.stripe.simulator import Fault, StripeSimulator, sandbox
from fin_infra.testing import serve
from tests.providers.stripe.world import IdentityWorld

KEY = "sk_test_sim"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def vendor() -> StripeSimulator:
    return StripeSimulator(now=lambda: NOW)


@pytest.fixture
def client(vendor: StripeSimulator) -> Iterator[stripe.StripeClient]:
    with serve(vendor) as served, client_at(served.url) as made:
        yield made


@contextmanager
def client_at(url: str) -> Iterator[stripe.StripeClient]:
    """Whose connections are closed at the end, by whatever thread."""
    with requests.Session() as session:
        yield stripe.StripeClient(
            KEY, base_addresses={"api": url}, stripe_version="2023-10-16", max_network_retries=0,
            http_client=stripe.RequestsClient(session=session),
        )  # fmt: skip


def told(session: VerificationSession) -> tuple[str, str, str | None, datetime, str | None]:
    error = session.last_error
    return (
        session.id, session.status, session.type, datetime.fromtimestamp(session.created, UTC),
        error.code if error else None,
    )  # fmt: skip


async def test_every_session_is_the_same_to_the_sdk_and_to_us(identity: IdentityWorld) -> None:
    sandbox(identity.stripe, now=identity.clock(), count=130)
    await identity.link()
    await identity.work()
    with client_at(identity.url) as client:
        page = client.v1.identity.verification_sessions.list({"limit": 20})
        theirs = [told(session) for session in page.auto_paging_iter()]
    rows = identity.rows("identity_sessions")
    columns = ("session_id", "status", "type", "created_at", "last_error_code")
    assert len(theirs) == 130
    assert sorted(theirs) == sorted(tuple(row[name] for name in columns) for row in rows)
    assert {status for _, status, *_ in theirs} == {"requires_input", "processing", "verified", "canceled"}


def test_a_session_is_created_once_for_a_key(client: stripe.StripeClient, vendor: StripeSimulator) -> None:
    sessions = client.v1.identity.verification_sessions
    first = sessions.create({"type": "document", "metadata": {"user": "u"}}, {"idempotency_key": "k"})
    again = sessions.create({"type": "document", "metadata": {"user": "u"}}, {"idempotency_key": "k"})
    assert (first.id, first.url, first.client_secret) == (again.id, again.url, again.client_secret)
    assert first.metadata is not None
    assert (len(vendor.sessions), first.metadata["user"]) == (1, "u")
    with pytest.raises(stripe.IdempotencyError):
        sessions.create({"type": "id_number"}, {"idempotency_key": "k"})
    assert sessions.create({"type": "document"}, {"idempotency_key": "k2"}).id != first.id


def test_a_session_goes_through_its_states(client: stripe.StripeClient, vendor: StripeSimulator) -> None:
    sessions = client.v1.identity.verification_sessions
    session_id = sessions.create({"type": "document"}).id
    assert sessions.retrieve(session_id).last_error is None
    vendor.submit(session_id)
    assert (sessions.retrieve(session_id).status, sessions.retrieve(session_id).url) == ("processing", None)
    with pytest.raises(stripe.InvalidRequestError):
        sessions.cancel(session_id)
    vendor.fail(session_id, "selfie_face_mismatch")
    failed = sessions.retrieve(session_id)
    assert failed.last_error is not None
    assert (failed.status, failed.last_error.code) == ("requires_input", "selfie_face_mismatch")
    assert sessions.cancel(session_id).status == "canceled"
    redacted = sessions.redact(session_id)
    assert redacted.redaction is not None
    assert redacted.redaction.status == "processing"


def test_filters_are_the_vendors(client: stripe.StripeClient, vendor: StripeSimulator) -> None:
    sandbox(vendor, now=NOW)
    sessions, since = client.v1.identity.verification_sessions, int((NOW - timedelta(days=10)).timestamp())
    newer = list(sessions.list({"created": {"gte": since}, "limit": 3}).auto_paging_iter())
    assert [row.id for row in newer] == [s.id for s in vendor.sessions if s.created.timestamp() >= since]
    assert {row.status for row in sessions.list({"status": "verified"}).auto_paging_iter()} == {"verified"}
    edge = vendor.sessions[5].id
    assert [r.id for r in sessions.list({"ending_before": edge, "limit": 3})] == [s.id for s in vendor.sessions[2:5]]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("refuse", status=401), stripe.AuthenticationError), (Fault("refuse", status=403), stripe.PermissionError),
        (Fault("refuse", status=429), stripe.RateLimitError), (Fault("refuse", status=500), stripe.APIError),
        (Fault("refuse", status=402), stripe.CardError), (Fault("refuse", status=404), stripe.InvalidRequestError),
    ],
)  # fmt: skip
def test_refusals_are_what_the_sdk_takes_them_for(
    client: stripe.StripeClient, vendor: StripeSimulator, fault: Fault, error: type[stripe.StripeError]
) -> None:
    vendor.fail_next(fault)
    with pytest.raises(error):
        client.v1.identity.verification_sessions.list()


def test_a_signed_event_is_read_by_the_sdk(vendor: StripeSimulator) -> None:
    vendor._now = lambda: datetime.now(UTC)
    vendor.verify(vendor.add("vs_1").id)
    headers, body = vendor.webhook("vs_1", "verified", secrets=["whsec_old", "whsec_new"])
    for secret in ("whsec_old", "whsec_new"):
        event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], secret)
        assert (event.type, event.data.object["id"]) == ("identity.verification_session.verified", "vs_1")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_other")
