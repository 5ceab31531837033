"""Stripe's pages → normalized rows. Pure: no clock, no network, no environment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fin_infra.datasets.base import Built
from fin_infra.datasets.identity_sessions import IdentitySessions
from fin_infra.providers.base import Account, Ask
from fin_infra.providers.stripe import wire


def sessions(pages: Sequence[tuple[wire.Listed, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """One row per session, newest first inside a page; none of a session that is redacted, see `redacted`.

    A new session and one whose try failed both wait for input: a failed one alone has a `last_error_code`. Words that
    are new to us stay as they come. Source: https://docs.stripe.com/api/identity/verification_sessions/object
    """
    rows = [row for page, _ in pages for row in page.rows if not wire.is_redacted(row)]
    columns = {
        "session_id": [_text(row.get("id")) for row in rows],
        "status": [_text(row.get("status")) for row in rows],
        "type": [_text(row.get("type")) for row in rows],
        "created_at": [_instant(row.get("created")) for row in rows],
        "last_error_code": [wire.word_of(row, "last_error", "code") for row in rows],
    }
    return IdentitySessions.build(columns, ask.columns(pages[-1][1] if pages else ask.at))


def redacted(page: wire.Listed) -> list[str]:
    """Sessions whose data is removed at Stripe: what is held of them leaves too."""
    return [row["id"] for row in page.rows if wire.is_redacted(row) and isinstance(row.get("id"), str)]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _instant(seconds: object) -> str | None:
    """Unix seconds, in text as all numbers are → ISO 8601. What is none stays as it is, and is a reject."""
    if not isinstance(seconds, str):
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return seconds
