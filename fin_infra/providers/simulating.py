"""What all imitated vendors share: requests are noted, scripted faults strike first, then the vendor answers."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Fault:
    """What happens to the next `times` requests whose path contains `on`.

    `body`: the very bytes of a garbage answer or of a refusal, where the vendor's usual ones will not do.
    """

    kind: str  # refuse | drop | truncate | garbage | slow
    times: int = 1
    on: str = ""
    status: int = 429
    code: str = "too_many_requests"
    retry_after: str | None = None
    seconds: float = 0.0
    body: bytes | None = None


class Simulator(ABC):
    """A vendor's HTTP side. A subclass gives `answering`, the app of its API, and says how it words a `refusal`."""

    answering: ASGIApp

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """Every request so far, as "path?query"."""
        self.on_request: Callable[[str], None] = lambda path: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.serve(self.answering, scope, receive, send)

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        path = scope["path"]
        self.requests.append(path + ("?" + scope["query_string"].decode() if scope["query_string"] else ""))
        self.on_request(path)
        fault = self._next_fault(path)
        if fault is None:
            await app(scope, receive, send)
        else:
            await self._faulty(fault, app, scope, receive, send)

    def fail_next(self, fault: Fault) -> None:
        self.faults.append(fault)

    @abstractmethod
    def refusal(self, fault: Fault, path: str) -> Response:
        """The vendor's own words for a scripted refusal."""

    def _next_fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.on in path:
                fault.times -= 1
                return fault
        return None

    async def _faulty(self, fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "refuse":
            answer = self.refusal(fault, scope["path"])
            if fault.body is not None:
                answer = Response(fault.body, fault.status, media_type="application/json")
            if fault.retry_after is not None:
                answer.headers["retry-after"] = fault.retry_after
            await answer(scope, receive, send)
            return
        if fault.kind == "garbage":
            garbage = b"<html>oops</html>" if fault.body is None else fault.body
            await Response(garbage, media_type="text/html")(scope, receive, send)
            return
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            await app(scope, receive, send)
            return
        whole = await _whole(app, scope, receive)
        half = whole[: len(whole) // 2]
        length = len(whole) if fault.kind == "drop" else len(half)  # truncate: the length tells nothing
        sent = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": sent})
        await send({"type": "http.response.body", "body": half, "more_body": fault.kind == "drop"})
        if fault.kind == "drop":
            raise ConnectionResetError("scripted: the connection is dropped in the middle of the body")


async def _whole(app: ASGIApp, scope: Scope, receive: Receive) -> bytes:
    parts: list[bytes] = []

    async def collect(message: Any) -> None:
        parts.append(message.get("body", b""))

    await app(scope, receive, collect)
    return b"".join(parts)
