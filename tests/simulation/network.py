"""The network between our processes and the vendors: slow, lossy, and counted."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx

from tests.simulation.clock import SimClock
from tests.simulation.process import PROCESS, Process


@dataclass
class Trouble:
    """What happens to the next `times` requests whose path contains `on`."""

    kind: str
    times: int = 1
    on: str = ""
    retry_after: str | None = None
    status: int = 429

    def __str__(self) -> str:
        told = f" {self.status}" if self.kind == "refuse" else ""
        wait = f" retry-after {self.retry_after}" if self.retry_after else ""
        return f"{self.kind}{told}{wait} ×{self.times}{' on ' + self.on if self.on else ''}"


@dataclass(frozen=True)
class Asked:
    """One request as the vendor saw it."""

    at: float
    process: str
    host: str
    path: str
    who: str


class SimNetwork(httpx.AsyncBaseTransport):
    """Carries requests to the vendors' simulators by host name. Faults strike here or are the vendor's own words."""

    def __init__(
        self, clock: SimClock, draw: random.Random, vendors: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._vendors = vendors
        self._say = say
        self.troubles: list[Trouble] = []
        self.on_request: Callable[[Process], None] = lambda process: None
        self.soon: list[list[Any]] = []  # [how many requests from now, what happens while that one is on its way]
        self.slow = 0.02  # the share of calls that take very long
        self.asked: list[Asked] = []
        self.unreached = 0  # requests that came to nobody
        self.told_to_wait: dict[str, float] = {}  # who → not before, by the machine's clock
        self.broken: list[str] = []  # promises that were not kept

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        process = PROCESS.get()
        assert process is not None, "only processes ask"
        process.alive()
        self.on_request(process)
        path, who = request.url.path, request.headers.get("authorization", "") or _token_in(request.content)
        query = "?" + request.url.query.decode() if request.url.query else ""
        self.asked.append(Asked(self._clock.seconds, process.name, request.url.host, path, who))
        wall = self._clock().timestamp()
        if wall + 0.001 < self.told_to_wait.get(who, 0.0):
            self.broken.append(f"{process.name} was told to wait and asked {path} before")
        await asyncio.sleep(
            self._draw.uniform(1.0, 4.0) if self._draw.random() < self.slow else self._draw.uniform(0.005, 0.08)
        )
        self._happen()
        process.alive()
        trouble = self._next(path)
        response = await self._answer(request, trouble)
        await asyncio.sleep(self._draw.uniform(0.002, 0.04))
        process.alive()
        if response.status_code == 429 and (wait := response.headers.get("retry-after")) and wait.isdigit():
            self.told_to_wait[who] = self._clock().timestamp() + int(wait)
        kind = f" ({trouble.kind})" if trouble else ""
        self._say(
            f"{process.name}: {request.method} {path}{query} → {response.status_code}{kind} {len(response.content)} B"
        )
        return response

    def _happen(self) -> None:
        for item in list(self.soon):
            item[0] -= 1
            if item[0] <= 0:
                self.soon.remove(item)
                item[1]()

    def _next(self, path: str) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.times > 0 and trouble.on in path:
                trouble.times -= 1
                return trouble
        return None

    async def _answer(self, request: httpx.Request, trouble: Trouble | None) -> httpx.Response:
        kind = trouble.kind if trouble else ""
        if kind == "unreachable":
            self.unreached += 1
            raise httpx.ConnectError("simulated", request=request)
        if kind == "timeout":
            await asyncio.sleep(1.0)
            raise httpx.ReadTimeout("simulated", request=request)
        if trouble is not None and kind == "refuse":
            headers = {}
            if trouble.retry_after is not None:
                seconds = trouble.retry_after
                if seconds.startswith("date+"):
                    at = self._clock() + timedelta(seconds=int(seconds.removeprefix("date+")))
                    seconds = format_datetime(at.replace(microsecond=0), usegmt=True)
                headers["retry-after"] = seconds
            code = "not_found" if trouble.status == 404 else "trouble"
            body = {"error": {"code": code, "message": "simulated"}}
            return httpx.Response(trouble.status, headers=headers, json=body, request=request)
        if kind == "garbage":
            return httpx.Response(200, content=b"<html>oops</html>", request=request)
        response = await self._vendor(request)
        if kind == "dropped":
            raise httpx.RemoteProtocolError("simulated: closed in the middle of the body", request=request)
        if kind == "truncated":
            half = response.content[: len(response.content) // 2]
            return httpx.Response(response.status_code, content=half, request=request)
        # an empty page behind a full one is how a list ends there: nobody can tell that one that lies from the end
        if kind == "empty" and response.status_code == 200 and "from_id" not in request.url.params:
            return httpx.Response(200, content=b"[]", request=request)
        if kind == "shuffled" and response.status_code == 200:
            return httpx.Response(200, json=self._shuffled(response.json()), request=request)
        return response

    def _shuffled(self, body: Any) -> Any:
        """Rows in another order than the vendor's usual one; a full page keeps the place of its last row."""
        if isinstance(body, list):
            first, last = body[:-1], body[-1:]
            return self._draw.sample(first, len(first)) + last
        lists = {name: value for name, value in body.items() if isinstance(value, list)}
        return {**body, **{name: self._draw.sample(value, len(value)) for name, value in lists.items()}}

    async def _vendor(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "headers": [(k.lower(), v) for k, v in request.headers.raw], "scheme": "http", "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0], "query_string": request.url.query, "server": ("sim", 80),
            "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        sent: dict[str, Any] = {"status": 500, "headers": [], "body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                sent["status"], sent["headers"] = message["status"], message["headers"]
            else:
                sent["body"] += message.get("body", b"")

        await self._vendors[request.url.host](scope, receive, send)
        return httpx.Response(sent["status"], headers=sent["headers"], content=sent["body"], request=request)


def _token_in(body: bytes) -> str:
    return str(json.loads(body).get("access_token", "")) if body else ""
