"""SnapTrade's webhooks: signed with the application's consumer key over the JSON body, its keys sorted.

Facts: https://docs.snaptrade.com/docs/webhooks
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from fin_infra.errors import WebhookRefused, WireError
from fin_infra.providers.base import Follows, WebhookEvent, Webhooks, Wire, checked, exact_json
from fin_infra.providers.snaptrade.signing import canonical, proof

HEADER = "signature"
WINDOW = timedelta(seconds=300)  # the vendor's own limit
SKEW = timedelta(seconds=30)  # so far a vendor's clock may go ahead of ours


class Webhook(Wire):
    eventType: str
    eventTimestamp: datetime
    userId: str | None = None
    accountId: str | None = None
    brokerageAuthorizationId: str | None = None
    connectionAttemptedResult: str | None = None


WEBHOOK = TypeAdapter(Webhook)


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[str], now: datetime) -> WebhookEvent:
    """The event of a webhook signed with our consumer key whose event is at most five minutes old."""
    given = headers.get(HEADER, "")
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", given):
        raise WebhookRefused("a webhook of snaptrade has no header Signature of the documented form; it was not used")
    message = _signed(body)
    # every key is compared: how long it takes says nothing of which one agreed
    if not sum(hmac.compare_digest(proof(key, message), given) for key in keys):
        raise WebhookRefused(
            "a webhook of snaptrade is not signed with our key; check FIN_INFRA_SNAPTRADE_CONSUMER_KEY"
        )
    try:
        said = checked(WEBHOOK, exact_json(body), body)
    except WireError:
        raise WebhookRefused(
            "a webhook of snaptrade is signed well but has no documented shape; it was not used"
        ) from None
    at = said.eventTimestamp if said.eventTimestamp.tzinfo else said.eventTimestamp.replace(tzinfo=UTC)
    if not -SKEW <= now - at <= WINDOW:
        raise WebhookRefused(
            "a webhook of snaptrade is not of the last five minutes; if they all are refused, set this clock"
        )
    return _event(said, at)


def _signed(body: bytes) -> bytes:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise WebhookRefused("the body of a webhook of snaptrade is no JSON; it was not used") from None
    return canonical(value)


def _event(said: Webhook, at: datetime) -> WebhookEvent:
    """It is about one account, by which it is found whichever connection that is of, or else about a connection."""
    known = said.accountId if said.eventType not in OF_A_NEW_ACCOUNT else None
    word = said.connectionAttemptedResult
    return WebhookEvent(
        name=said.eventType,
        at=at,
        login=None if known else said.brokerageAuthorizationId,
        accounts=(known,) if known else (),
        word=word if word and re.fullmatch(r"[A-Za-z0-9_]{1,80}", word) else None,
    )


OF_A_NEW_ACCOUNT = frozenset({"NEW_ACCOUNT_AVAILABLE"})
LISTED_ANEW = Follows(due=("accounts",))
TRADED = Follows(due=("accounts", "holdings"))

WEBHOOKS = Webhooks(
    signature=HEADER,
    verify=verify,
    secret="consumer_key",  # noqa: S106 - the field's name
    events={
        "ACCOUNT_HOLDINGS_UPDATED": TRADED,
        "TRADE_DETECTION": TRADED,
        "TRADE_UPDATE": TRADED,
        "ACCOUNT_TRANSACTIONS_INITIAL_UPDATE": Follows(due=("activities",)),
        "ACCOUNT_TRANSACTIONS_UPDATED": Follows(due=("activities",)),
        "ACCOUNT_REMOVED": LISTED_ANEW,
        "NEW_ACCOUNT_AVAILABLE": LISTED_ANEW,
        "CONNECTION_ADDED": LISTED_ANEW,
        "CONNECTION_UPDATED": LISTED_ANEW,
        "CONNECTION_DELETED": LISTED_ANEW,
        # a user may have others that work: the list of connections says what is broken, and stops what is to be stopped
        "CONNECTION_BROKEN": LISTED_ANEW,
        "CONNECTION_FIXED": Follows(state="active"),
        "CONNECTION_ATTEMPTED": Follows(),
        "CONNECTION_FAILED": Follows(),
        "USER_REGISTERED": Follows(),
        "USER_DELETED": Follows(),  # it names nothing that we know; the next call of the user is refused
    },
)
