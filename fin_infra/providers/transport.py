"""The shared transport: every call of every vendor goes through `Transport`, metered, guarded and classified.

Clients neither sleep nor retry nor log; what does is injected here. Nothing of a credential reaches a message, a
log line or a repr: httpx's own INFO lines hold whole URLs and are silenced.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx

from fin_infra.errors import FinInfraError, TransientError, UsageError, error_of
from fin_infra.providers.base import WHATEVER, Provider, Refusal, Reply

logging.getLogger("httpx").setLevel(logging.WARNING)
log = logging.getLogger("fin_infra.transport")

LONGEST_WAIT = 24 * 3600.0
EPOCH_SECONDS = 1_000_000_000  # a reset above this is an instant, below it a span


@dataclass(frozen=True)
class Call:
    """One call as the quota sees it: who is asked, with whose credential, for what."""

    provider: str
    connection_id: str
    endpoint: str
    lane: str = "scheduled"
    host: str = ""


class Meter(Protocol):
    """Every call passes `acquire` before it is sent and `settle` after; a denied one raises `QuotaError`."""

    async def acquire(self, call: Call) -> object: ...

    async def settle(self, grant: object, reply: Reply | None) -> None: ...


class UnlimitedMeter:
    """Counts and never denies: stands until a vendor's windows are declared."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def acquire(self, call: Call) -> object:
        self.calls[call.provider] += 1
        return call

    async def settle(self, grant: object, reply: Reply | None) -> None:
        """Nothing to give back."""


Once = Callable[[], Awaitable[Reply]]
Guard = Callable[[Once, str], Awaitable[Reply]]


async def unguarded(once: Once, host: str) -> Reply:
    """No breaker, no second try: for direct use of a client."""
    return await once()


class Transport:
    """One credential's way to one vendor. Never shared between connections; the pool beneath may be.

    `client`: the pool of the vendor's address, or, where it has several hosts, which pool by the host's name. `body`:
    fields of the credential that the vendor wants in the body of every POST.
    """

    def __init__(
        self, provider: Provider, client: httpx.AsyncClient | Callable[[str], httpx.AsyncClient], auth: httpx.Auth, *,
        connection_id: str, now: Callable[[], datetime], meter: Meter | None = None, guard: Guard = unguarded,
        lane: str = "scheduled", body: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.calls = 0
        self._body = body or {}
        self._provider = provider
        self._client = client if callable(client) else lambda host: client
        self._auth = auth
        self._connection_id = connection_id
        self._now = now
        self._meter: Meter = meter or UnlimitedMeter()
        self._guard = guard
        self._lane = lane

    def __repr__(self) -> str:
        return f"Transport({self._provider.name}, {self._connection_id})"

    async def get(self, path: str, params: Mapping[str, Any] | None = None, *, host: str = "") -> Reply:
        """The vendor's answer to a GET at one of its hosts. Raises one of our errors for everything but a 200."""
        return await self._guard(lambda: self._once("GET", path, host, params=params), host)

    async def post(self, path: str, body: Mapping[str, Any], *, host: str = "") -> Reply:
        """The same of a POST that asks: `body` and the credential's fields as JSON."""
        return await self._guard(lambda: self._once("POST", path, host, json={**body, **self._body}), host)

    async def _once(self, method: str, path: str, host: str, **sent: Any) -> Reply:
        name = self._provider.name
        client = self._client(host)
        call = Call(name, self._connection_id, _endpoint(path), self._lane, host)
        grant = await self._meter.acquire(call)
        self.calls += 1
        reply: Reply | None = None
        try:
            answer = await client.request(method, path, auth=self._auth, **sent)
            headers = {key.lower(): value for key, value in answer.headers.items()}
            reply = Reply(answer.status_code, headers, answer.content, self._now())
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise UsageError(
                f"the address of {name} is no http address; correct {_variable(name, host, 'base_url')}"
            ) from None
        except httpx.TimeoutException:
            raise TransientError(
                f"{name} did not answer {call.endpoint} in time; it is tried again", code="vendor_timeout",
                vendor_wide=True,
            ) from None  # fmt: skip
        except httpx.ConnectError as error:
            if "certificate" in str(error).lower():
                raise UsageError(
                    f"the TLS certificate shown at {client.base_url.host} is not trusted, or ours was refused; "
                    f"check {_variable(name, '', 'certificate')}, _PRIVATE_KEY and {_variable(name, host, 'base_url')}"
                ) from None
            raise TransientError(
                f"{name} cannot be reached at {client.base_url.host}; check the network, it is tried again",
                code="network_error", vendor_wide=True,
            ) from None  # fmt: skip
        except httpx.HTTPError as error:
            raise TransientError(
                f"the connection to {name} broke before the answer to {call.endpoint} was whole "
                f"({type(error).__name__}); nothing of it was used, it is tried again",
                code="network_error", vendor_wide=True,
            ) from None  # fmt: skip
        finally:
            await self._meter.settle(grant, reply)
        log.debug("%s %s %s", name, call.endpoint, reply.status)
        if (refused := refusal(self._provider, reply)) is not None:
            raise refused
        return reply


def _variable(name: str, host: str, field: str) -> str:
    """The setting's name, for messages."""
    parts = [part for part in ("fin_infra", name.replace(".", "_"), host, field) if part]
    return "_".join(parts).upper()


def _endpoint(path: str) -> str:
    """The path without ids: `/accounts/{id}/balances`. Ids and queries stay out of logs and messages."""
    return "/".join("{id}" if _like_an_id(part) else part for part in path.split("/"))


def _like_an_id(part: str) -> bool:
    return (any(c.isdigit() for c in part) and not re.fullmatch(r"v[0-9](?:beta[0-9])?", part)) or "_" in part


def refusal(provider: Provider, reply: Reply) -> FinInfraError | None:
    """The error an answer stands for; None for a 200 (another 2xx is no whole answer).

    The vendor's own table first, then the plain sense of HTTP. A vendor that refuses with status 200 is asked for its
    word then too.
    """
    refusing = [row for row in provider.refusals if row.status == WHATEVER]
    if reply.status == 200 and not refusing:
        return None
    word = provider.refusal_word(reply.body)
    if reply.status == 200 and word is None:
        return None
    row = _row(provider.refusals, reply.status, word)
    said = f"{provider.name} answered {reply.status}" + (f" {word}" if word else "")
    wait = retry_after(reply.headers, reply.at)
    if wait is None and reply.status == 429:  # vendors send their reset with every answer: it is a wait only here
        wait = reset_after(reply.headers, reply.at)
    if row is not None:
        wait = row.wait if wait is None else wait
        return error_of(
            row.code, f"{said}; {row.remedy}", retry_after=wait, evidence=reply.body, vendor_wide=row.vendor_wide,
            word=word, application=row.application,
        )  # fmt: skip
    match reply.status:
        case 429:
            return error_of("rate_limited", f"{said}; it is asked again after the wait", retry_after=wait)
        case 408 | 504:
            return error_of("vendor_timeout", f"{said}; it is tried again", retry_after=wait, vendor_wide=True)
        case status if status >= 500:
            return error_of("vendor_unavailable", f"{said}; it is tried again", retry_after=wait, vendor_wide=True)
        case _:
            return error_of(
                "contract_broken", f"{said}, which is not documented; look at the evidence in quarantine",
                evidence=reply.body,
            )  # fmt: skip


def _row(table: Sequence[Refusal], status: int, word: str | None) -> Refusal | None:
    """The row of this status with the longest prefix of the vendor's word."""
    rows = [row for row in table if row.status in (status, WHATEVER) and (word or "").startswith(row.word)]
    return max(rows, key=lambda row: len(row.word), default=None)


def retry_after(headers: Mapping[str, str], at: datetime) -> float | None:
    """Seconds to wait by `Retry-After` (seconds or an HTTP date), between 0 and a day; None when it says nothing."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - at).total_seconds()
    if seconds != seconds:  # "nan" is a float to Python
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def reset_after(headers: Mapping[str, str], at: datetime) -> float | None:
    """The same by `X-RateLimit-Reset`: epoch seconds at some vendors, a span in seconds at others."""
    value = headers.get("x-ratelimit-reset", "").strip()
    if not re.fullmatch(r"[0-9]{1,12}", value):
        return None
    seconds = float(value) - at.timestamp() if int(value) > EPOCH_SECONDS else float(value)
    return min(max(seconds, 0.0), LONGEST_WAIT)
