"""Stripe's webhooks: signed with the endpoint's secret. Facts: https://docs.stripe.com/webhooks#verify-manually"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fin_infra.errors import WebhookRefused, WireError
from fin_infra.providers.base import Follows, WebhookEvent, Webhooks, exact_json
from fin_infra.providers.stripe import wire

HEADER = "stripe-signature"
WINDOW = timedelta(minutes=5)  # the vendor's own limit; so far ahead of ours its clock may be too
MOST = 16
"""Signatures of one header: there are as many as the endpoint has secrets, two during a change."""


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[str], now: datetime) -> WebhookEvent:
    """The event of a webhook signed with one of our secrets in the last five minutes.

    While a secret is rolled Stripe signs with both, and we may know both: one pair that agrees is enough. Other schemes
    than v1 may stand beside it and prove nothing.
    """
    parts = [part.partition("=") for part in headers.get(HEADER, "").split(",")]
    times = [value for name, _, value in parts if name.strip() == "t"]
    given = [value for name, _, value in parts if name.strip() == "v1" and re.fullmatch("[0-9a-f]{64}", value)]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,11}", times[0]) or not 0 < len(given) <= MOST:
        raise WebhookRefused("a webhook of stripe has no header Stripe-Signature of the form t=…,v1=…; it was not used")
    if abs(now - datetime.fromtimestamp(int(times[0]), UTC)) > WINDOW:
        raise WebhookRefused(
            "a webhook of stripe was not signed in the last five minutes; if they all are refused, set this clock"
        )
    wanted = [sign(key, times[0], body) for key in keys]
    # every pair is compared: how long it takes says nothing of which one agreed
    if not sum(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in given):
        raise WebhookRefused(
            "a webhook of stripe is not signed with our secret; check FIN_INFRA_STRIPE_WEBHOOK_SECRET, which takes the "
            "old and the new one, comma-separated, while it is rolled"
        )
    return _event(body)


def sign(secret: str, at: str, body: bytes) -> str:
    """The signature `v1` over the raw body, signed at epoch second `at`."""
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _event(body: bytes) -> WebhookEvent:
    try:
        said = exact_json(wire.scrubbed(body))
        name, at = said["type"], datetime.fromtimestamp(int(said["created"]), UTC)
        if said["object"] != "event" or not isinstance(name, str):
            raise KeyError
    except (WireError, KeyError, TypeError, ValueError, OverflowError, OSError):
        raise WebhookRefused(
            "a webhook of stripe is signed well but has no documented shape; it was not used"
        ) from None
    session = _session(said)
    session_id, word = session.get("id"), wire.word_of(session, "last_error", "code")
    return WebhookEvent(
        name=name,
        at=at,
        everyone=True,  # it names no account of Stripe's: whoever is linked there may be meant
        rows=(session_id,) if isinstance(session_id, str) else (),
        word=word if word and re.fullmatch(r"[a-z0-9_]{1,80}", word) else None,
    )


def _session(said: Mapping[str, Any]) -> dict[str, Any]:
    data = said.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) and found.get("object") == wire.SESSION else {}


DUE = Follows(due=("identity_sessions",))
WEBHOOKS = Webhooks(
    signature=HEADER,
    verify=verify,
    secret="webhook_secret",  # noqa: S106 - the field's name
    events={
        **{
            f"identity.verification_session.{word}": DUE
            for word in ("created", "processing", "verified", "requires_input", "canceled")
        },
        "identity.verification_session.redacted": Follows(due=DUE.due, erase="identity_sessions"),
    },
)
