"""Plaid's webhooks: a JWT over the body's hash, signed with a key that Plaid hands out.

Facts: https://plaid.com/docs/api/webhooks/webhook-verification/
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from fin_infra.errors import WebhookRefused, WireError
from fin_infra.providers.base import Follows, Http, WebhookEvent, Webhooks
from fin_infra.providers.plaid import wire

HEADER = "plaid-verification"
ALGORITHM = "ES256"  # never the one that the token names: it could name none, or take the public key for a secret
WINDOW = timedelta(minutes=5)  # the vendor's own limit
SKEW = timedelta(seconds=30)  # so far a vendor's clock may go ahead of ours
LONGEST_TOKEN = 4096
RELINK = "the user must log in at the bank again: fin-infra connections relink"


OUR_CLOCK = dict.fromkeys([f"verify_{claim}" for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")], False)
"""PyJWT checks the signature; the age is checked by our own clock, which tests may move."""


def key_id(headers: Mapping[str, str], body: bytes) -> str:
    """Which key signed it, as `KID` or `sandbox KID`. Nothing is proven yet: only the form is looked at.

    The body says which environment's keys are asked for. Whoever lies there is answered by a host that has no such key,
    and under a name of its own.
    """
    return f"sandbox {_kid(headers)}" if _shaped(body).environment == "sandbox" else _kid(headers)


async def ask_key(http: Http, key_id: str) -> str:
    """The public key of this name, as JSON. Raises one of our errors when Plaid knows none."""
    host, _, kid = key_id.rpartition(" ")
    reply = await http.post("/webhook_verification_key/get", {"key_id": kid}, host=host)
    return wire.verification_key(reply.body).model_dump_json()


def _kid(headers: Mapping[str, str]) -> str:
    token = headers.get(HEADER, "")
    if not token or len(token) > LONGEST_TOKEN:
        raise WebhookRefused("a webhook of plaid has no usable header Plaid-Verification; it was not used")
    try:
        head = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise WebhookRefused("the header Plaid-Verification of a webhook is no token; it was not used") from None
    if head.get("alg") != ALGORITHM:
        raise WebhookRefused(f"a webhook of plaid is not signed with {ALGORITHM}; it was not used")
    kid = head.get("kid")
    if not isinstance(kid, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", kid):
        raise WebhookRefused("the token of a webhook of plaid names no key; it was not used")
    return kid


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[str], now: datetime) -> WebhookEvent:
    """The event of a webhook whose token is signed with the key, is at most five minutes old and is of this body."""
    kid = _kid(headers)
    claims = _claims(headers[HEADER], kid, keys)
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int) or not 0 <= issued < 1 << 36:
        raise WebhookRefused("the token of a webhook of plaid does not say when it was issued; it was not used")
    at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=issued)
    if not -SKEW <= now - at <= WINDOW:
        raise WebhookRefused(
            "a webhook of plaid was not signed in the last five minutes; if they all are refused, set this clock"
        )
    claimed = claims.get("request_body_sha256")
    ours = hashlib.sha256(body).hexdigest()
    if not isinstance(claimed, str) or not hmac.compare_digest(ours.encode(), claimed.encode()):
        raise WebhookRefused("the body of a webhook of plaid is not the one that was signed; hand on the raw bytes")
    return _event(body, at)


def _claims(token: str, kid: str, keys: Sequence[str]) -> dict[str, Any]:
    """What the token says, once its signature is proven."""
    for text in keys:
        key = wire.VerificationKey.model_validate_json(text)
        if (key.kid, key.alg, key.kty, key.crv) != (kid, ALGORITHM, "EC", "P-256"):
            continue
        if key.expired_at is not None:
            raise WebhookRefused("a webhook of plaid is signed with a key that has expired; it was not used")
        try:
            public = jwt.PyJWK({"kty": key.kty, "crv": key.crv, "x": key.x, "y": key.y}, algorithm=ALGORITHM)
            claims: dict[str, Any] = jwt.decode(token, public, algorithms=[ALGORITHM], options=OUR_CLOCK)  # type: ignore[arg-type]
        except jwt.PyJWTError:
            raise WebhookRefused("the signature of a webhook of plaid is wrong; it was not used") from None
        return claims
    raise WebhookRefused("a webhook of plaid is signed with a key that plaid does not know; it was not used")


def _shaped(body: bytes) -> wire.Webhook:
    try:
        return wire.webhook(body)
    except WireError:
        raise WebhookRefused("a webhook of plaid has no documented shape; it was not used") from None


def _event(body: bytes, at: datetime) -> WebhookEvent:
    said = _shaped(body)
    name = f"{said.webhook_type} {said.webhook_code}"
    error = said.error
    if name == "ITEM ERROR" and error is not None and error.error_type not in (None, "ITEM_ERROR"):
        name = f"{name} {error.error_type}"  # not the login's: the institution's, say, and it passes
    word = (error.error_code if error is not None else None) or said.reason
    return WebhookEvent(
        name, at, login=said.item_id, word=word if word and re.fullmatch(r"[A-Za-z0-9_]{1,80}", word) else None
    )


TRANSACTIONS = Follows(due=("transactions",))
ENDING = Follows(state="ending", remedy="let the user confirm it at the bank before: Link's update mode")

WEBHOOKS = Webhooks(
    signature=HEADER,
    verify=verify,
    key_id=key_id,
    ask_key=ask_key,
    events={
        "TRANSACTIONS SYNC_UPDATES_AVAILABLE": TRANSACTIONS,
        "TRANSACTIONS INITIAL_UPDATE": TRANSACTIONS,
        "TRANSACTIONS HISTORICAL_UPDATE": TRANSACTIONS,
        "TRANSACTIONS DEFAULT_UPDATE": TRANSACTIONS,
        "TRANSACTIONS TRANSACTIONS_REMOVED": TRANSACTIONS,
        "HOLDINGS DEFAULT_UPDATE": Follows(due=("holdings",)),
        "INVESTMENTS_TRANSACTIONS DEFAULT_UPDATE": Follows(due=("activities",)),
        "INVESTMENTS_TRANSACTIONS HISTORICAL_UPDATE": Follows(due=("activities",)),
        "ITEM ERROR": Follows(state="reauth", remedy=RELINK),
        "ITEM USER_PERMISSION_REVOKED": Follows(state="reauth", remedy=RELINK),
        "ITEM USER_ACCOUNT_REVOKED": Follows(due=("accounts",)),  # one account: the others of the login go on
        "ITEM PENDING_EXPIRATION": ENDING,
        "ITEM PENDING_DISCONNECT": ENDING,
        "ITEM LOGIN_REPAIRED": Follows(state="active"),
        "ITEM NEW_ACCOUNTS_AVAILABLE": Follows(due=("accounts",)),
    },
)
