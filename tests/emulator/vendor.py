"""A limiter and a slow line before a simulator, in a process of its own, and what the vendor counted.

The vendor counts by its own clock, at the moment the request has arrived behind the line. `/__counts`, which no vendor
has, tells what it counted; asking it counts nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fin_infra.providers.teller.simulator import TellerSimulator
from fin_infra.testing import serve
from tests.emulator.limiters import LIMITERS, Limiter, Line
from tests.world import bought, checking

COUNTS = "/__counts"
HEADERS = ("none", "retry-after", "epoch", "seconds", "ietf")
"""What the vendor says of its limit: nothing; `Retry-After` with a refusal; `X-RateLimit-*` with an instant or with
seconds; the fields of the IETF draft."""


@dataclass(frozen=True)
class Terms:
    """A vendor's limit and line. `phase`: of its windows as a part of the period; `seed`: of what the line draws."""

    kind: str = "rolling"
    limit: int = 60
    period: float = 60.0
    strict: bool = True
    headers: str = "none"
    line: Line = field(default_factory=Line)
    seed: int = 1

    def limiter(self) -> Limiter:
        phase = random.Random(f"phase {self.seed}").random() * self.period
        return LIMITERS[self.kind](self.limit, self.period, strict=self.strict, phase=phase)


@dataclass(frozen=True)
class Counted:
    """One request as the vendor saw it. Moments in seconds since 1970: it came in, was counted behind the line, and
    its answer was back at the other end of it (0: not yet)."""

    who: str
    path: str
    came: float
    at: float
    accepted: bool
    back: float = 0.0


class Emulator:
    """The middleware."""

    def __init__(self, app: ASGIApp, terms: Terms) -> None:
        self._app = app
        self._terms = terms
        self._limiter = terms.limiter()
        self._draw = random.Random(terms.seed)
        self._log: list[dict[str, object]] = []
        self._epoch = time.time() - time.monotonic()  # whatever is done to this machine's date, a second is a second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == COUNTS:
            since = int(scope["query_string"] or b"0")
            await JSONResponse(self._log[since:])(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = self._terms.line
        came = time.monotonic()
        await asyncio.sleep(self._draw.uniform(line.shortest, line.longest))
        now = time.monotonic()
        accepted = self._limiter.asked(now)
        counted = Counted(_who(scope), scope["path"], came + self._epoch, now + self._epoch, accepted)
        note = asdict(counted)
        self._log.append(note)
        said = self._said(now, accepted)
        if accepted and line.work:
            await asyncio.sleep(line.work)

        async def slowly(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(self._draw.uniform(line.shortest, line.longest))
                note["back"] = time.monotonic() + self._epoch
                message["headers"] = [*message["headers"], *said]
            await send(message)

        answer = self._app if accepted else _refused()
        await answer(scope, receive, slowly)

    def _said(self, now: float, accepted: bool) -> list[tuple[bytes, bytes]]:
        """Headers on the limit, as they stand behind this call."""
        limit, left, reset = self._terms.limit, self._limiter.left(now), self._limiter.reset(now)
        said: dict[str, str] = {}
        match self._terms.headers:
            case "retry-after" if not accepted:
                said = {"retry-after": str(int(self._limiter.wait(now)) + 1)}
            case "epoch" | "seconds" as form:
                instant = reset + (now + self._epoch if form == "epoch" else 0.0)
                said = {"x-ratelimit-limit": str(limit), "x-ratelimit-remaining": str(left),
                        "x-ratelimit-reset": str(int(instant) + 1)}  # fmt: skip
            case "ietf":
                said = {"ratelimit-policy": f'"own";q={limit};w={round(self._terms.period)}',
                        "ratelimit": f'"own";r={left};t={int(reset) + 1}'}  # fmt: skip
        return [(name.encode(), value.encode()) for name, value in said.items()]


def _refused() -> Response:
    problem = {"error": {"code": "too_many_requests", "message": "You are making too many requests."}}
    return JSONResponse(problem, status_code=429)


def _who(scope: Scope) -> str:
    """The login of a request: the user of its Basic header."""
    given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")[2]
    return base64.b64decode(given).decode().partition(":")[0]


def token(number: int) -> str:
    return f"tok{number:03}"


def account(number: int) -> str:
    return f"acc_{token(number)}"


def bank(logins: int) -> TellerSimulator:
    """A bank of so many logins with one account each and a row on it: a sync of transactions is one call, one of
    accounts is two."""
    bank = TellerSimulator()
    for number in range(logins):
        bank.enroll(token(number), checking(account(number), bought(f"txn_{token(number)}", on="2026-11-01")))
    return bank


def stand(terms: Terms, logins: int, url: object, end: Event) -> None:
    """The vendor's process: it puts its address into the queue `url` and stands until `end`."""
    with serve(Emulator(bank(logins), terms), backlog=2048) as served:
        url.put(served.url)  # type: ignore[attr-defined]
        end.wait()


@dataclass(frozen=True)
class Standing:
    """A vendor that runs."""

    terms: Terms
    url: str

    def counted(self, since: int = 0) -> list[Counted]:
        """All requests from the `since`-th on, in the order they were counted."""
        with urllib.request.urlopen(f"{self.url}{COUNTS}?{since}", timeout=10) as answer:
            return [Counted(**row) for row in json.load(answer)]


@contextmanager
def standing(context: ForkServerContext, terms: Terms, logins: int) -> Iterator[Standing]:
    """The vendor in a process of its own until the block ends."""
    url, end = context.SimpleQueue(), context.Event()
    process = context.Process(target=stand, args=(terms, logins, url, end), daemon=True)
    process.start()
    try:
        yield Standing(terms, url.get())
    finally:
        end.set()
        process.join(timeout=20)
        if process.is_alive():
            process.kill()
            process.join()
