"""Stripe's JSON, in Stripe's words. Facts: https://docs.stripe.com/api/identity/verification_sessions

A session's `client_secret` and `url` open it for whoever holds them. They are taken out of a body before anything looks
into it, so that no page, message or evidence has them; `started` alone hands them on.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from fin_infra.errors import WireError
from fin_infra.providers.base import exact_json

SESSION = "identity.verification_session"
_OPENS = re.compile(rb'"(client_secret|url)"\s*:\s*"(?:[^"\\]|\\.)*(?:"|\\?\Z)')
"""With its value, be it cut off in the middle."""


class Listed(NamedTuple):
    """A page of the list, newest first, and whether there is one behind it."""

    rows: list[dict[str, Any]]
    has_more: bool


class Started(NamedTuple):
    """A session that was just started. `url` is for its user alone: never to be stored, logged or sent to others."""

    session_id: str
    status: str
    url: str | None

    def __repr__(self) -> str:
        return f"Started({self.session_id}, {self.status})"


def scrubbed(body: bytes) -> bytes:
    """The body with nothing in it that opens a session. A list's own `url` is lost too; nobody needs it."""
    return _OPENS.sub(rb'"\1":null', body)


def sessions(body: bytes) -> Listed:
    """`GET /v1/identity/verification_sessions` (a list), or `…/{id}` (one). Rows are checked as columns."""
    body = scrubbed(body)
    value = exact_json(body)
    if isinstance(value, dict) and value.get("object") == SESSION:
        return Listed([value], has_more=False)
    if not isinstance(value, dict) or value.get("object") != "list" or not isinstance(value.get("data"), list):
        raise _shapeless("neither a list nor a verification session", body)
    rows, more = value["data"], value.get("has_more")
    if not all(isinstance(row, dict) and row.get("object") == SESSION for row in rows):
        raise _shapeless("a list with something else than verification sessions in it", body)
    if not isinstance(more, bool):
        raise _shapeless("a list that does not say whether it has more", body)
    return Listed(rows, more)


def session(body: bytes, session_id: str) -> Listed:
    """The one session that was asked for."""
    found = sessions(body)
    if [row.get("id") for row in found.rows] != [session_id]:
        raise _shapeless("another session than was asked for", scrubbed(body))
    return found


def started(body: bytes) -> Started:
    """`POST /v1/identity/verification_sessions`."""
    row = sessions(body).rows[0] if sessions(body).rows else {}
    session_id, status = row.get("id"), row.get("status")
    if not (isinstance(session_id, str) and session_id and isinstance(status, str)):
        raise _shapeless("a new session without id or status", scrubbed(body))
    url = exact_json(body).get("url")
    return Started(session_id, status, url if isinstance(url, str) else None)


def word_of(row: dict[str, Any], name: str, part: str) -> str | None:
    """A text one level down, as `last_error.code`; None where either is missing, null or something else."""
    inner = row.get(name)
    found = inner.get(part) if isinstance(inner, dict) else None
    return found if isinstance(found, str) else None


def is_redacted(row: dict[str, Any]) -> bool:
    """Whether its data was, or is about to be, removed at Stripe: it is then kept nowhere else either."""
    return row.get("redaction") is not None


def refusal_word(body: bytes) -> str | None:
    """`error.code` of a refusal, or its `error.type` where it has none; None when the body is not of that form."""
    try:
        error = exact_json(body)["error"]
        found = error.get("code") or error.get("type")
    except (WireError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return found if isinstance(found, str) and re.fullmatch(r"[a-z0-9_]{1,80}", found) else None


def _shapeless(what: str, body: bytes) -> WireError:
    return WireError(f"an answer without its documented shape: {what}", evidence=body)
