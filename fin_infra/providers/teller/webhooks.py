"""Teller's webhooks: signed with a secret of the application. Facts: https://teller.io/docs/api/webhooks"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from fin_infra.errors import WebhookRefused, WireError
from fin_infra.providers.base import Follows, WebhookEvent, Webhooks, Wire, checked, exact_json

HEADER = "teller-signature"
WINDOW = timedelta(minutes=3)  # the vendor's own limit
SKEW = timedelta(seconds=30)  # so far a vendor's clock may go ahead of ours
SIGNATURE = re.compile(r"t=([0-9]{1,11})((?:,v1=[0-9a-f]{64}){1,8})")
RELINK = "the user must log in at the bank again: fin-infra connections relink"


class Webhook(Wire):
    """One webhook. `payload` depends on the type."""

    type: str
    timestamp: datetime
    payload: dict[str, Any] = {}


WEBHOOK = TypeAdapter(Webhook)


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[str], now: datetime) -> WebhookEvent:
    """The event of a webhook signed with one of our secrets in the last three minutes.

    While a secret is being changed the vendor signs with both, and we may know both: one pair that agrees is enough.
    """
    found = SIGNATURE.fullmatch(headers.get(HEADER, ""))
    if found is None:
        raise WebhookRefused("a webhook of teller has no header Teller-Signature of the form t=…,v1=…; it was not used")
    signed_at = datetime.fromtimestamp(int(found[1]), UTC)
    if not -SKEW <= now - signed_at <= WINDOW:
        raise WebhookRefused(
            "a webhook of teller was not signed in the last three minutes; if they all are refused, set this clock"
        )
    wanted = [sign(key, found[1], body) for key in keys]
    given = re.findall(r"v1=([0-9a-f]{64})", found[2])
    # every pair is compared: how long it takes says nothing of which one agreed
    if not sum(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in given):
        raise WebhookRefused(
            "a webhook of teller is not signed with our secret; check FIN_INFRA_TELLER_WEBHOOK_SECRET, which takes the "
            "old and the new one, comma-separated, while it is changed"
        )
    return _event(body)


def sign(secret: str, at: str, body: bytes) -> str:
    """The signature `v1` over the raw body, signed at epoch second `at`."""
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _event(body: bytes) -> WebhookEvent:
    try:
        said = checked(WEBHOOK, exact_json(body), body)
    except WireError:
        raise WebhookRefused(
            "a webhook of teller is signed well but has no documented shape; it was not used"
        ) from None
    at = said.timestamp if said.timestamp.tzinfo else said.timestamp.replace(tzinfo=UTC)
    login, reason = said.payload.get("enrollment_id"), said.payload.get("reason")
    rows = said.payload.get("transactions")
    accounts = [row.get("account_id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return WebhookEvent(
        name=said.type,
        at=at,
        login=login if isinstance(login, str) else None,
        accounts=tuple(dict.fromkeys(account for account in accounts if isinstance(account, str))),
        word=reason if isinstance(reason, str) and re.fullmatch(r"[a-z0-9_.]{1,80}", reason) else None,
    )


WEBHOOKS = Webhooks(
    signature=HEADER,
    verify=verify,
    secret="webhook_secret",  # noqa: S106 - the field's name
    events={
        "enrollment.disconnected": Follows(state="reauth", remedy=RELINK),
        "transactions.processed": Follows(due=("transactions",)),  # balances are a live call, and billed
        "account.number_verification.processed": Follows(),  # full numbers are never read
        "webhook.test": Follows(),
    },
)
