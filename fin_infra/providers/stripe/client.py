"""Asks Stripe and yields pages; starts a session. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from fin_infra.errors import FinInfraError, WireError
from fin_infra.providers.base import Acting, Ask, Http, Page
from fin_infra.providers.stripe import wire

DATASET = "identity_sessions"
PATH = "/v1/identity/verification_sessions"
PAGE = 100
ONE_SESSION_ONLY = frozenset({"not_found", "contract_broken", "bad_request"})
"""Errors that stop one session: the others are still asked for. All others stop the connection."""


async def sessions(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """New sessions, newest first, then each of `ask.unsettled` that was not among them.

    The list goes by creation: what becomes of an older session shows only where it is read itself.
    """
    seen: set[str] = set()
    async for page in listed(http, {} if ask.listed_to is None else {"created[gte]": _seconds(ask)}):
        seen |= {str(row.get("id")) for row in page.value.rows}
        yield page
    for session_id in ask.unsettled:
        if session_id not in seen:
            yield await _again(http, session_id)


async def listed(http: Http, filters: Mapping[str, str]) -> AsyncIterator[Page]:
    """All pages of the list. Raises `WireError` for one that announces more and does not move on."""
    position: str | None = None
    behind: set[str] = set()
    while True:
        params = {"limit": str(PAGE), **filters, **({"starting_after": position} if position else {})}
        reply = await http.get(PATH, params)
        found = wire.sessions(reply.body)
        last = found.rows[-1].get("id") if found.rows else None
        if found.has_more and (not isinstance(last, str) or not last or last in behind):
            raise WireError(
                "a page of stripe's sessions announces more and says not from where; nothing of it was used",
                evidence=wire.scrubbed(reply.body),
            )
        position = last if found.has_more else None
        behind |= {last} if isinstance(last, str) else set()
        yield Page(DATASET, reply, position=position, value=found)
        if position is None:
            return


async def _again(http: Http, session_id: str) -> Page:
    """One session read again, or its own error."""
    try:
        reply = await http.get(path_of(session_id))
        return Page(DATASET, reply, row=session_id, value=wire.session(reply.body, session_id))
    except FinInfraError as error:
        if error.code not in ONE_SESSION_ONLY:
            raise
        return Page(DATASET, row=session_id, error=error)


async def one(http: Http, session_id: str) -> dict[str, Any]:
    """A session as Stripe has it now, without what opens it."""
    return wire.session((await http.get(path_of(session_id))).body, session_id).rows[0]


async def start(http: Acting, key: str, kind: str = "document", reference: str = "") -> wire.Started:
    """Starts a session; the same `key` gives the same one, however often it is called, for at least 24 hours.

    `kind`: document or id_number; `reference`: the application's own word for the user, kept with the session.
    """
    form = {"type": kind, **({"metadata[reference]": reference} if reference else {})}
    reply = await http.send("POST", PATH, form, form=True, headers={"Idempotency-Key": key})
    return wire.started(reply.body)


def idempotency_key(connection_id: str, key: str) -> str:
    """What Stripe is told in place of the caller's own key, which may say who somebody is."""
    return "fin_infra-" + hashlib.sha256(f"{connection_id}\0{key}".encode()).hexdigest()[:40]


async def probe(http: Acting) -> str:
    """The cheapest call that a key without this permission is refused."""
    reply = await http.get(PATH, {"limit": "1"})
    return "verification sessions can be read" if wire.sessions(reply.body).rows else "no verification session yet"


def path_of(session_id: str) -> str:
    return f"{PATH}/{quote(session_id, safe='')}"


def _seconds(ask: Ask) -> str:
    assert ask.listed_to is not None
    return str(int(ask.listed_to.timestamp()))
