"""Stripe Identity imitated over HTTP: sessions whose status is scripted, paging, idempotency, webhooks and refusals.

State changes only when it is told to, or by the API itself. It speaks ASGI: serve it on a socket with
`fin_infra.testing.serve`, or hand it to httpx's ASGI transport.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator
from fin_infra.providers.stripe.client import PATH
from fin_infra.providers.stripe.webhooks import sign

OPEN = ("requires_input", "processing")
REASONS = {
    "document_expired": "The document is expired.",
    "document_unverified_other": "The document could not be verified.",
    "selfie_face_mismatch": "The face in the selfie did not match the document.",
    "abandoned": "The user abandoned the verification.",
}


@dataclass
class SimSession:
    """A session. `last_error`: the code of the last try that failed; `redaction`: validated, processing, redacted."""

    id: str
    created: datetime
    type: str | None = "document"
    status: str = "requires_input"
    last_error: str | None = None
    report: str | None = None
    redaction: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def client_secret(self) -> str:
        return f"{self.id}_secret_test_sim"

    @property
    def url(self) -> str:
        return f"https://verify.stripe.com/start/test_{self.id}"


@dataclass(frozen=True)
class _Answered:
    """What a key was used for, and what was answered: both are kept."""

    asked: tuple[str, Mapping[str, str]]
    status: int
    body: bytes


class StripeSimulator(Simulator):
    """The vendor, one account. Script it with its methods; hand the object itself to whoever serves ASGI."""

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), keys: Sequence[str] = ("sk_test_sim",)
    ) -> None:
        super().__init__(now=now)
        self.keys = list(keys)
        self.sessions: list[SimSession] = []
        """Newest first."""
        self.versions: set[str] = set()
        """Of the API, as requests pin it."""
        self.idempotency_keys: list[str] = []
        """Of every POST that had one, in order."""
        self._answered: dict[str, _Answered] = {}
        self._events = self._numbered = 0
        self._under_way: set[str] = set()
        self.answering = Starlette(
            routes=[
                Route(PATH, self._list, methods=["GET"]),
                Route(PATH, self._create, methods=["POST"]),
                Route(PATH + "/{session_id}", self._get, methods=["GET"]),
                Route(PATH + "/{session_id}", self._update, methods=["POST"]),
                Route(PATH + "/{session_id}/cancel", self._cancel, methods=["POST"]),
                Route(PATH + "/{session_id}/redact", self._redact, methods=["POST"]),
            ],
            exception_handlers={404: self._unknown_path, 405: self._unknown_path},
        )

    # -- script ----------------------------------------------------------------------------------------------------

    def add(self, session_id: str = "", **more: Any) -> SimSession:
        """A session that somebody started elsewhere; by default now."""
        self._numbered += 1
        made = SimSession(session_id or f"vs_sim{self._numbered:06d}", more.pop("created", self._now()), **more)
        place = next((i for i, old in enumerate(self.sessions) if old.created <= made.created), len(self.sessions))
        self.sessions.insert(place, made)
        return made

    def session(self, session_id: str) -> SimSession:
        return next(session for session in self.sessions if session.id == session_id)

    def submit(self, session_id: str) -> SimSession:
        """The user has handed in what was asked for."""
        return self._moved(session_id, "processing", None)

    def verify(self, session_id: str) -> SimSession:
        session = self._moved(session_id, "verified", None)
        session.report = session.id.replace("vs_", "vr_", 1)
        return session

    def fail(self, session_id: str, code: str = "document_expired") -> SimSession:
        """The try failed: it waits for input again, and says why."""
        session = self._moved(session_id, "requires_input", code)
        session.report = session.id.replace("vs_", "vr_", 1)
        return session

    def cancel(self, session_id: str) -> SimSession:
        session = self.session(session_id)
        return self._moved(session_id, "canceled", session.last_error)

    def redact(self, session_id: str, state: str = "redacted") -> SimSession:
        session = self.session(session_id)
        session.redaction = state
        return session

    def _moved(self, session_id: str, status: str, error: str | None) -> SimSession:
        session = self.session(session_id)
        session.status, session.last_error = status, error
        return session

    def webhook(
        self, session_id: str, word: str, *, secrets: Sequence[str], at: datetime | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a webhook as Stripe would send it now, signed with each of the secrets.

        `word`: created, processing, verified, requires_input, canceled or redacted.
        """
        moment = at or self._now()
        self._events += 1
        said = {
            "id": f"evt_sim{self._events:06d}", "object": "event", "api_version": "2023-10-16",
            "created": int(moment.timestamp()), "type": f"identity.verification_session.{word}", "livemode": False,
            "pending_webhooks": 1, "request": {"id": None, "idempotency_key": None},
            "data": {"object": _session_json(self.session(session_id))},
        }  # fmt: skip
        body, seconds = json.dumps(said, indent=2).encode(), str(int(moment.timestamp()))
        proofs = ",".join(f"v1={sign(secret, seconds, body)}" for secret in secrets)
        return {"Stripe-Signature": f"t={seconds},{proofs},v0={'0' * 64}", "Content-Type": "application/json"}, body

    def refusal(self, fault: Fault, path: str) -> Response:
        kind = "api_error" if fault.status >= 500 else "invalid_request_error"
        code = None if fault.status >= 500 or fault.status in (401, 402) else fault.code
        if fault.status == 429 and fault.code == "too_many_requests":
            code = "rate_limit"
        return _error(fault.status, kind, code, "scripted refusal")

    # -- the API ---------------------------------------------------------------------------------------------------

    def _refused(self, request: Request) -> Response | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        self.versions.add(request.headers.get("stripe-version", ""))
        if scheme.lower() != "bearer" or not key:
            return _error(401, "invalid_request_error", None, "You did not provide an API key.")
        if key not in self.keys:
            return _error(401, "invalid_request_error", None, f"Invalid API Key provided: {key[:8]}****")
        return None

    async def _list(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        query = request.query_params
        limit = query.get("limit", "10")
        if not limit.isdigit() or not 1 <= int(limit) <= 100:
            return _error(400, "invalid_request_error", "parameter_invalid_integer", "limit is out of range", "limit")
        rows = [session for session in self.sessions if _within(session, query)]
        for name, after in (("starting_after", True), ("ending_before", False)):
            if (edge := query.get(name)) is not None:
                ids = [row.id for row in rows]
                if edge not in ids:
                    return _missing(edge, name)
                rows = rows[ids.index(edge) + 1 :] if after else rows[: ids.index(edge)][-int(limit) :]
        page = rows[: int(limit)]
        return JSONResponse(
            {"object": "list", "data": [_session_json(row) for row in page], "has_more": len(rows) > len(page),
             "url": PATH}
        )  # fmt: skip

    async def _get(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        session = self._known(request)
        return _missing(request.path_params["session_id"], "id") if session is None else _answer(session)

    async def _create(self, request: Request) -> Response:
        async def create(form: Mapping[str, str]) -> Response:
            kind = form.get("type")
            if kind is None:
                return _error(
                    400, "invalid_request_error", "parameter_missing", "Missing required param: type.", "type"
                )
            metadata = {k[9:-1]: v for k, v in form.items() if k.startswith("metadata[")}
            return _answer(self.add(type=kind, metadata=metadata))

        return await self._once(request, create)

    async def _update(self, request: Request) -> Response:
        async def update(form: Mapping[str, str]) -> Response:
            session = self._known(request)
            if session is None:
                return _missing(request.path_params["session_id"], "id")
            if session.status != "requires_input":
                return _unfit(session)
            session.type = form.get("type", session.type)
            return _answer(session)

        return await self._once(request, update)

    async def _cancel(self, request: Request) -> Response:
        async def cancel(form: Mapping[str, str]) -> Response:
            session = self._known(request)
            if session is None:
                return _missing(request.path_params["session_id"], "id")
            return _answer(self.cancel(session.id)) if session.status == "requires_input" else _unfit(session)

        return await self._once(request, cancel)

    async def _redact(self, request: Request) -> Response:
        async def redact(form: Mapping[str, str]) -> Response:
            session = self._known(request)
            if session is None:
                return _missing(request.path_params["session_id"], "id")
            if session.status == "requires_input":
                self.cancel(session.id)
            return _answer(self.redact(session.id, "processing"))

        return await self._once(request, redact)

    async def _once(self, request: Request, act: Callable[[Mapping[str, str]], Any]) -> Response:
        """What a POST does, at most once for its Idempotency-Key: a repeat is answered as the first was."""
        if (refused := self._refused(request)) is not None:
            return refused
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        key, asked = request.headers.get("idempotency-key", ""), (request.url.path, form)
        if key:
            self.idempotency_keys.append(key)
        known = self._answered.get(key) if key else None
        if key in self._under_way:
            return _error(409, "idempotency_error", "idempotency_key_in_use", "Another request uses this key now.")
        if known is not None and known.asked != asked:
            return _error(
                400, "idempotency_error", None,
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
            )  # fmt: skip
        if known is not None:
            answer = Response(known.body, known.status, media_type="application/json")
            answer.headers["idempotent-replayed"] = "true"
        else:
            self._under_way |= {key} - {""}
            try:
                await asyncio.sleep(0)
                answer = await act(form)
            finally:
                self._under_way.discard(key)
            if key:
                self._answered[key] = _Answered(asked, answer.status_code, bytes(answer.body))
        return answer

    def _known(self, request: Request) -> SimSession | None:
        wanted = request.path_params["session_id"]
        return next((session for session in self.sessions if session.id == wanted), None)

    async def _unknown_path(self, request: Request, error: Exception) -> Response:
        return _error(404, "invalid_request_error", None, f"Unrecognized request URL ({request.method}).")


def sandbox(simulator: StripeSimulator, *, now: datetime, seed: int = 7, count: int = 24) -> list[SimSession]:
    """A believable account: sessions of the last weeks, most of them verified, some failed, canceled or still open."""
    draw = random.Random(seed)
    for n in range(count):
        created = now - timedelta(hours=30 * (count - n), minutes=draw.randint(0, 59))
        session = simulator.add(
            f"vs_{seed}x{n:04d}", created=created, type=draw.choice(("document", "document", "id_number"))
        )
        fate = draw.random()
        if fate < 0.6:
            simulator.verify(session.id)
        elif fate < 0.75:
            simulator.fail(session.id, draw.choice(list(REASONS)))
        elif fate < 0.9:
            simulator.cancel(session.id)
    simulator.submit(simulator.sessions[0].id)
    return simulator.sessions


def _within(session: SimSession, query: Mapping[str, str]) -> bool:
    created = int(session.created.timestamp())
    tests: dict[str, Callable[[int], bool]] = {
        "created": lambda t: created == t, "created[gt]": lambda t: created > t, "created[gte]": lambda t: created >= t,
        "created[lt]": lambda t: created < t, "created[lte]": lambda t: created <= t,
    }  # fmt: skip
    asked = all(test(int(query[name])) for name, test in tests.items() if name in query)
    return asked and query.get("status", session.status) == session.status


def _session_json(session: SimSession) -> dict[str, Any]:
    waits = session.status == "requires_input" and session.redaction is None
    error = session.last_error
    return {
        "id": session.id, "object": "identity.verification_session",
        "client_secret": session.client_secret if waits else None,
        "created": int(session.created.timestamp()),
        "last_error": None if error is None else {"code": error, "reason": REASONS.get(error, "It failed.")},
        "last_verification_report": session.report, "livemode": False, "metadata": session.metadata,
        "options": {"document": {"require_matching_selfie": True}} if session.type == "document" else {},
        "redaction": None if session.redaction is None else {"status": session.redaction},
        "status": session.status, "type": session.type, "url": session.url if waits else None,
    }  # fmt: skip


def _answer(session: SimSession) -> Response:
    return JSONResponse(_session_json(session), headers={"request-id": f"req_{session.id[3:]}"})


def _error(status: int, kind: str, code: str | None, message: str, param: str = "") -> Response:
    said = {"type": kind, "message": message, **({"code": code} if code else {}), **({"param": param} if param else {})}
    return JSONResponse({"error": said}, status_code=status, headers={"request-id": "req_refused"})


def _missing(session_id: str, param: str) -> Response:
    message = f"No such verification_session: '{session_id}'"
    return _error(404, "invalid_request_error", "resource_missing", message, param)


def _unfit(session: SimSession) -> Response:
    message = f"This is not possible while its status is {session.status}."
    return _error(400, "invalid_request_error", "status_transition_invalid", message)


__all__ = ["Fault", "SimSession", "StripeSimulator", "sandbox"]
