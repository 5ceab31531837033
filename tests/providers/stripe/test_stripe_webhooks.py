"""What proves a webhook of Stripe's: our own verdict and the vendor's SDK agree on every vector."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time

from fin_infra.errors import WebhookRefused
from fin_infra.providers.base import WebhookEvent
from fin_infra.providers.stripe import webhooks
from fin_infra.providers.stripe.simulator import StripeSimulator
from tests.guards import guarded

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = "whsec_simulated"
HEX, AT = "0" * 64, str(int(NOW.timestamp()))


def signed(*secrets: str, at: datetime = NOW) -> tuple[str, bytes]:
    simulator = StripeSimulator(now=lambda: at)
    simulator.fail(simulator.add("vs_1").id)
    headers, body = simulator.webhook("vs_1", "requires_input", secrets=secrets)
    return headers["Stripe-Signature"], body


def taken(header: str, body: bytes, *keys: str) -> WebhookEvent:
    return webhooks.verify({"stripe-signature": header}, body, keys or (SECRET,), NOW)


def test_a_webhook_says_what_happened_to_which_session() -> None:
    event = taken(*signed(SECRET))
    assert (event.name, event.rows, event.everyone, event.word, event.at) == (
        "identity.verification_session.requires_input", ("vs_1",), True, "document_expired", NOW,
    )  # fmt: skip
    assert (event.login, event.accounts) == (None, ())


@pytest.mark.parametrize(
    ("sent", "known", "good"),
    [
        (("old",), ("old",), True), (("old", "new"), ("old",), True), (("new",), ("old", "new"), True),
        (("old", "new"), ("new",), True), (("old",), ("new",), False), (("old", "older"), ("new", "newer"), False),
    ],
)  # fmt: skip
def test_while_a_secret_is_rolled_one_pair_that_agrees_is_enough(
    sent: tuple[str, ...], known: tuple[str, ...], good: bool
) -> None:
    if good:
        assert taken(*signed(*sent), *known).rows == ("vs_1",)
    else:
        with pytest.raises(WebhookRefused, match="FIN_INFRA_STRIPE_WEBHOOK_SECRET"):
            taken(*signed(*sent), *known)


def sdk_takes(header: str, body: bytes, secret: str = SECRET) -> bool:
    import stripe

    with freeze_time(NOW):
        try:
            stripe.Webhook.construct_event(body, header, secret)
        except stripe.SignatureVerificationError:
            return False
    return True


def ours_takes(header: str, body: bytes, secret: str = SECRET) -> bool:
    try:
        taken(header, body, secret)
    except WebhookRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("age", "secret", "change", "good"),
    [
        (0, SECRET, None, True), (299, SECRET, None, True), (300, SECRET, None, True), (301, SECRET, None, False),
        (86400, SECRET, None, False), (0, "whsec_other", None, False), (0, SECRET, (b"vs_1", b"vs_2"), False),
        (0, SECRET, (b"}", b"} "), False), (0, SECRET, (b"\n", b""), False),
    ],
)  # fmt: skip
@guarded(
    "an old capture of stripe's is taken",
    "providers/stripe/webhooks.py",
    "if abs(now - datetime.fromtimestamp(int(times[0]), UTC)) > WINDOW:",
    "if False:",
)
@guarded(
    "what is not signed with our secret is taken",
    "providers/stripe/webhooks.py",
    "if not sum(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in given):",
    "if not wanted:",
)
def test_the_sdk_gives_the_same_verdict(
    age: int, secret: str, change: tuple[bytes, bytes] | None, good: bool
) -> None:  # fmt: skip
    header, body = signed(secret, at=NOW - timedelta(seconds=age))
    if change is not None:
        body = body.replace(*change)
    assert (ours_takes(header, body), sdk_takes(header, body)) == (good, good)


def test_what_the_sdk_signs_is_taken() -> None:
    import stripe

    _, body = signed(SECRET)
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET, int(NOW.timestamp()))
    assert ours_takes(header, body)
    assert not ours_takes(header, body, "whsec_other")


@pytest.mark.parametrize(
    "header",
    ["", "t=", f"v1={HEX}", f"t={AT}", f"t={AT},v1=", f"t={AT},v1=zz", f"t=1e9,v1={HEX}", f"t={AT},v0={HEX}",
     f"t={AT};v1={HEX}", f"t={AT}," + ",".join([f"v1={HEX}"] * 50), f"t={AT},t={AT},v1={HEX}",
     "t=99999999999,v1=" + HEX, f"t={AT},v1={'é' * 64}", "t=999999999999999,v1=" + HEX],
)  # fmt: skip
def test_a_header_of_another_form_is_refused(header: str) -> None:
    _, body = signed(SECRET)
    with pytest.raises(WebhookRefused):
        taken(header, body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type": null, "created": 1, "object": "event"}', b"\xff", b"[" * 9999,
                                  b'{"object": "event", "type": "x", "created": "99999999999999999999"}'])  # fmt: skip
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="no documented shape"):
        taken(f"t={AT},v1={webhooks.sign(SECRET, AT, body)}", body)


def test_an_event_of_something_else_concerns_nothing_of_ours() -> None:
    body = b'{"object": "event", "type": "charge.failed", "created": 1764000000, "data": {"object": {"id": "ch_1"}}}'
    event = taken(f"t={AT},v1={webhooks.sign(SECRET, AT, body)}", body)
    assert (event.name, event.rows) == ("charge.failed", ())
    assert event.name not in webhooks.WEBHOOKS.events
