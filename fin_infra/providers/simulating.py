"""What all imitated vendors share: requests are noted, scripted faults strike first, then the vendor answers."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
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


# -- rates of the euro, which several vendors have ---------------------------------------------------------------------

NEAR = {
    "USD": "1.1367", "JPY": "180.57", "CZK": "24.399", "DKK": "7.4756", "GBP": "0.85986", "HUF": "366.15",
    "PLN": "4.3823", "RON": "5.2779", "SEK": "11.2645", "CHF": "0.9409", "ISK": "138.00", "NOK": "10.7895",
    "TRY": "55.5332", "AUD": "1.6177", "BRL": "5.8890", "CAD": "1.6047", "CNY": "7.6302", "HKD": "8.9148",
    "IDR": "20384.10", "ILS": "3.4649", "INR": "109.0775", "KRW": "1689.21", "MXN": "20.9511", "MYR": "4.5872",
    "NZD": "1.9721", "PHP": "68.310", "SGD": "1.4711", "THB": "36.842", "ZAR": "19.6520",
}  # fmt: skip
"""Units for a euro, as the ECB stated them on 2026-09-24 or near to it: what the rates of a sandbox begin with."""
NO_RATES = frozenset(
    date.fromisoformat(day)
    for day in (
        "2025-01-01", "2025-04-18", "2025-04-21", "2025-05-01", "2025-12-25", "2025-12-26", "2026-01-01", "2026-04-03",
        "2026-04-06", "2026-05-01", "2026-12-25", "2027-01-01", "2027-03-26", "2027-03-29",
    )
)  # fmt: skip
"""Weekdays on which TARGET is closed."""


def euro_rates(today: date, *, seed: int = 0, weekends: bool = False) -> dict[date, dict[str, str]]:
    """Rates by day, from 400 days before `today` to a week after it, drawn: no day is like the next."""
    draw = random.Random(seed)
    rates, days = {code: Decimal(rate) for code, rate in NEAR.items()}, {}
    for day in (today + timedelta(days=n) for n in range(-400, 8)):
        if weekends or (day.weekday() < 5 and day not in NO_RATES):
            for code, rate in rates.items():
                moved = rate * (1 + Decimal(draw.randint(-50, 50)) / 10_000)
                rates[code] = moved.quantize(Decimal(NEAR[code]))
            days[day] = {code: str(rate) for code, rate in rates.items()}
    return days
