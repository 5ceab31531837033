"""Stripe Identity: sessions in which a user proves with documents who they are. API version 2023-10-16."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from datetime import timedelta

import httpx

from fin_infra.datasets.identity_sessions import IdentitySessions
from fin_infra.providers.base import Feed, Field, Listing, Provider, Refusal, Reply, Source
from fin_infra.providers.stripe import client, frames, wire
from fin_infra.providers.stripe.quota import QUOTA, home
from fin_infra.providers.stripe.webhooks import WEBHOOKS

ADDRESS = "https://api.stripe.com"


class Bearer(httpx.Auth):
    """The secret key as a Bearer token."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Bearer(…)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


def bearer(secrets: Mapping[str, str]) -> httpx.Auth:
    return Bearer(secrets["secret_key"].strip())


def fault(secrets: Mapping[str, str]) -> str | None:
    """What a key's prefix tells. A publishable key can start nothing; it is the one that is copied by mistake."""
    key = secrets.get("secret_key", "").strip()
    if key.startswith("pk_"):
        return "this is a publishable key (pk_…); the secret one begins with sk_ or rk_"
    if not re.fullmatch(r"(?:sk|rk)_(?:test|live)_[!-~]+", key):
        return "a secret key of stripe begins with sk_test_, sk_live_, rk_test_ or rk_live_"
    return None


def again(reply: Reply) -> bool | None:
    """Stripe's own word whether the same request may succeed."""
    return {"true": True, "false": False}.get(reply.headers.get("stripe-should-retry", "").lower())


PROVIDER = Provider(
    name="stripe",
    title="Stripe Identity",
    base_url=ADDRESS,
    domains={"identity": ("identity_sessions",)},
    auth=bearer,
    secrets=(Field("secret_key", "a secret key, or a restricted one that may read and write Identity sessions"),),
    app_fields=(
        Field(
            "webhook_secret",
            "whsec_…, of the webhook endpoint; old and new one, comma-separated, while it is rolled",
            required=False,
        ),
    ),
    headers={"Stripe-Version": "2023-10-16"},
    hosts={"test": ADDRESS},
    home=home,
    fault=fault,
    probe=client.probe,
    again=again,
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(400, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(
            400, "idempotency_error", "bad_request",
            "this --attempt was made with other parameters in the last day; take another one",
        ),
        Refusal(401, "", "auth_invalid", "the key is wrong or was rolled: fin-infra connections relink"),
        Refusal(402, "", "plan_limit", "stripe does not do this for the account: see its dashboard"),
        Refusal(403, "", "permission_denied", "the restricted key may not do this: add Identity to its permissions"),
        Refusal(404, "resource_missing", "not_found", "this key knows no such session; live and test are apart"),
        Refusal(409, "", "vendor_unavailable", "the same request is still under way; it is tried again"),
        Refusal(429, "lock_timeout", "vendor_unavailable", "the session is in use; it is tried again"),
        Refusal(429, "", "rate_limited", "it is asked again after the wait", wait=2.0),
    ),
    sources=(
        Source(
            kind="snapshot",
            fetch=client.sessions,
            feeds=(Feed(IdentitySessions, wire.sessions, frames.sessions, removed=frames.redacted),),
            overlap=timedelta(hours=1),
            listing=Listing("session_id", "created_at", "status", ("verified", "canceled"), timedelta(days=7)),
        ),
    ),
    quota=QUOTA,
    webhooks=WEBHOOKS,
    attribution="Identity verification by Stripe (stripe.com/identity).",
    terms=(
        "Identity data is sensitive personal data, of selfies biometric: keep the minimum. Documents, names and dates "
        "of birth are never asked for here.",
        "A session's url and client_secret are for its user alone: they are shown once, and never stored or logged.",
        "What is redacted at Stripe is deleted here too, its history included.",
    ),
    facts=(
        "The list of sessions goes by creation: a change of status never moves one forward. Webhooks tell of it, and "
        "each session that is open is read again.",
        "Reads are allotted too: about 500 for each transaction in 30 days, at least 10,000 a month (older page, not "
        "verified); an open session costs one read per run. Cancel those that were abandoned.",
        "Test and live are told apart by the key; the address is the same.",
    ),
)  # fmt: skip
