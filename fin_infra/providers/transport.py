"""The shared transport: every call of every vendor goes through `Transport`, metered, guarded and classified.

Clients neither sleep nor retry nor log; what does is injected here. Nothing of a credential reaches a message, a
log line or a repr: httpx's own INFO lines hold whole URLs and are silenced.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import httpx

from fin_infra.errors import CODES, FinInfraError, LaterError, TransientError, UsageError, error_of
from fin_infra.providers.base import WHATEVER, Provider, Refusal, Reply
from fin_infra.quotas.declared import Seen
from fin_infra.quotas.headers import retry_after, wait_told
from fin_infra.quotas.windows import Lane

logging.getLogger("httpx").setLevel(logging.WARNING)
log = logging.getLogger("fin_infra.transport")


@dataclass(frozen=True)
class Call:
    """One call as the quota sees it: who is asked, with whose credential, for what.

    `holder`: the vendor's key it is made with, see `Provider.quota_key`; `account`: the vendor's id of the one account
    that it is about, "" of a call about none.
    """

    provider: Provider
    connection_id: str
    endpoint: str
    lane: Lane = "scheduled"
    host: str = ""
    holder: str = ""
    account: str = ""


@dataclass(frozen=True)
class Sent:
    """What became of a call. `left`: it may have reached the vendor. `written`: when the request was written whole,
    None where that is not known. `reply`: None where none came; `refused`: what it stands for, None if it is good."""

    left: bool
    written: datetime | None = None
    reply: Reply | None = None
    refused: FinInfraError | None = None


@dataclass
class Traffic:
    """What became of a transport's calls. `failed`: without an answer, or one that says the vendor cannot serve;
    `waited`, `slowest`: seconds; `told`: what the last answer that spoke of a limit said of it."""

    calls: int = 0
    failed: int = 0
    waited: float = 0.0
    slowest: float = 0.0
    told: Seen | None = None

    def answered(self, seconds: float, reply: Reply | None, refused: FinInfraError | None, provider: Provider) -> None:
        unserved = isinstance(refused, TransientError) and not isinstance(refused, LaterError)
        self.failed += reply is None or unserved
        self.waited += seconds
        self.slowest = max(self.slowest, seconds)
        if reply is not None and provider.quota is not None:
            for seen in provider.quota.seen((reply.status, reply.headers, reply.body, reply.at)):
                self.told = seen


class Meter(Protocol):
    """Every call passes `acquire` before it is sent and `settle` after; a denied one raises `QuotaError`.

    `settle` gives the seconds that a refused call must wait, where it knows better than the answer.
    """

    async def acquire(self, call: Call) -> object: ...

    async def settle(self, grant: object, sent: Sent) -> float | None: ...


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
        connection_id: str, now: Callable[[], datetime], meter: Meter, holder: str = "", guard: Guard = unguarded,
        lane: Lane = "scheduled", body: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.traffic = Traffic()
        self._body = body or {}
        self._provider = provider
        self._client = client if callable(client) else lambda host: client
        self._auth = auth
        self._connection_id = connection_id
        self._now = now
        self._meter = meter
        self._holder = holder or f"{provider.name}/{connection_id}"
        self._guard = guard
        self._lane = lane

    @property
    def calls(self) -> int:
        """Calls made so far."""
        return self.traffic.calls

    def __repr__(self) -> str:
        return f"Transport({self._provider.name}, {self._connection_id})"

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, host: str = "", account: str = ""
    ) -> Reply:
        """The vendor's answer to a GET at one of its hosts. Raises one of our errors for everything but a 200."""
        return await self._guard(lambda: self._once("GET", path, host, account, params=params), host)

    async def post(self, path: str, body: Mapping[str, Any], *, host: str = "", account: str = "") -> Reply:
        """The same of a POST that asks: `body` and the credential's fields as JSON."""
        return await self._guard(lambda: self._once("POST", path, host, account, json={**body, **self._body}), host)

    async def send(
        self, method: Literal["POST", "DELETE", "PATCH"], path: str, body: Mapping[str, Any] | None = None, *,
        host: str = "", account: str = "", form: bool = False, headers: Mapping[str, str] | None = None,
        repeat: bool = True,
    ) -> Reply:  # fmt: skip
        """The answer to what changes something; 201, 202 and 204 are good too. See `Acting`.

        Without `repeat` an error after which the vendor may have got it says so in its context, as `sent`.
        """
        sent: dict[str, Any] = {} if body is None else {"data" if form else "json": {**body, **self._body}}
        if headers:
            sent["headers"] = dict(headers)

        def once() -> Awaitable[Reply]:
            return self._once(method, path, host, account, good=DONE, repeat=repeat, **sent)

        return await self._guard(once, host)

    async def _once(
        self, method: str, path: str, host: str, account: str, *, good: Sequence[int] = (200,), repeat: bool = True,
        **sent: Any,
    ) -> Reply:  # fmt: skip
        call = Call(
            self._provider,
            self._connection_id,
            endpoint_of(path, account, words=method == "POST"),
            self._lane,
            host,
            self._holder,
            account,
        )
        client = self._client(host)
        grant = await self._meter.acquire(call)
        self.traffic.calls += 1
        way, began = _Way(self._now), self._now()
        reply: Reply | None = None
        refused: FinInfraError | None = None
        try:
            answer = await client.request(method, path, auth=self._auth, extensions={"trace": way}, **sent)
            headers = {key.lower(): value for key, value in answer.headers.items()}
            reply = Reply(answer.status_code, headers, answer.content, self._now())
            refused = refusal(self._provider, reply, good)
        except _NEVER_SENT as error:
            way.left = False
            raise self._unsent(error, host, client) from None
        except httpx.TimeoutException:
            raise self._silent(call, repeat) from None
        except httpx.HTTPError as error:
            raise TransientError(
                f"the connection to {call.provider.name} broke before the answer to {call.endpoint} was whole "
                f"({type(error).__name__}); nothing of it was used, it is tried again",
                code="network_error", vendor_wide=True, sent=not repeat,
            ) from None  # fmt: skip
        finally:
            took = max(0.0, (self._now() - began).total_seconds())
            self.traffic.answered(took, reply, refused, self._provider)
            wait = await self._meter.settle(grant, Sent(way.left, way.written, reply, refused))
        log.debug("%s %s %s", call.provider.name, call.endpoint, reply.status)
        if refused is not None:
            # that it answered tells who sent an order what became of it
            refused.context["status"] = reply.status
            if wait is not None and isinstance(refused, LaterError):
                refused.retry_after = wait
            raise refused
        return reply

    def _silent(self, call: Call, repeat: bool) -> TransientError:
        return TransientError(
            f"{call.provider.name} did not answer {call.endpoint} in time; it is tried again", code="vendor_timeout",
            vendor_wide=True, sent=not repeat,
        )  # fmt: skip

    def _unsent(self, error: Exception, host: str, client: httpx.AsyncClient) -> FinInfraError:
        name = self._provider.name
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return UsageError(f"the address of {name} is no http address; correct {_variable(name, host, 'base_url')}")
        if isinstance(error, httpx.TimeoutException):
            return TransientError(
                f"{name} could not be reached in time; it is tried again", code="vendor_timeout", vendor_wide=True
            )
        if "certificate" in str(error).lower():
            return UsageError(
                f"the TLS certificate shown at {client.base_url.host} is not trusted, or ours was refused; "
                f"check {_variable(name, '', 'certificate')}, _PRIVATE_KEY and {_variable(name, host, 'base_url')}"
            )
        return TransientError(
            f"{name} cannot be reached at {client.base_url.host}; check the network, it is tried again",
            code="network_error", vendor_wide=True,
        )  # fmt: skip


DONE = (200, 201, 202, 204)
"""Statuses that say that something was done, or will be."""
_NEVER_SENT = (
    httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout
)  # fmt: skip


class _Way:
    """How far a request came, as httpx traces it. A network that traces nothing is taken for one that is quick."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._traced = False
        self._began = now()
        self._written: datetime | None = None
        self.left = True

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        self._traced = True
        if event.endswith(".send_request_body.complete"):
            self._written = self._now()

    @property
    def written(self) -> datetime | None:
        return self._written if self._traced else self._began


def _variable(name: str, host: str, field: str) -> str:
    """The setting's name, for messages."""
    parts = [part for part in ("fin_infra", name.replace(".", "_"), host, field) if part]
    return "_".join(parts).upper()


def endpoint_of(path: str, account: str = "", *, words: bool = False) -> str:
    """The path without ids: `/accounts/{id}/balances`. Ids and queries stay out of logs and messages.

    `words`: a part like `public_token` is a word: who asks by a body has no ids in the path.
    """
    parts = path.split("/")
    return "/".join("{id}" if (account and part == account) or _like_an_id(part, words) else part for part in parts)


def _like_an_id(part: str, words: bool) -> bool:
    if "_" in part and not (words and re.fullmatch(r"[a-z_]+", part)):
        return True
    return any(c.isdigit() for c in part) and not re.fullmatch(r"v[0-9](?:beta[0-9])?", part)


def refusal(provider: Provider, reply: Reply, good: Sequence[int] = (200,)) -> FinInfraError | None:
    """The error an answer stands for; None for a good status (to a GET another 2xx than 200 is no whole answer).

    The vendor's own table first, then the plain sense of HTTP. A vendor that refuses with status 200 is asked for its
    word then too. What the answer itself says of trying again goes before both; a limit stays one.
    """
    error = _told(provider, reply, good)
    if error is None or (again := provider.again(reply)) is None:
        return error
    outcome, said = CODES[error.code].outcome, error.message.partition(";")[0]
    if again and outcome not in ("retry", "later"):
        return error_of("vendor_unavailable", f"{said}, and that it may succeed later; it is tried again")
    if not again and outcome == "retry":
        what = f"{said}, and that it will not succeed if it is tried again; look at the evidence in quarantine"
        return error_of("bad_request", what, evidence=reply.body)
    return error


def _told(provider: Provider, reply: Reply, good: Sequence[int]) -> FinInfraError | None:
    if reply.status == 200 and _PLEADS.match(reply.body):
        return error_of(
            "rate_limited", f"{provider.name} answered 200 with a text that refuses; it is asked again after the wait",
            retry_after=retry_after(reply.headers, reply.at),
        )  # fmt: skip
    refusing = [row for row in provider.refusals if row.status == WHATEVER]
    if reply.status in good and not refusing:
        return None
    word = provider.refusal_word(reply.body)
    if reply.status in good and word is None:
        return None
    row = _row(provider.refusals, reply.status, word)
    said = f"{provider.name} answered {reply.status}" + (f" {word}" if word else "")
    # vendors send their reset with every answer: it is a wait only where they refuse
    told = wait_told if reply.status == 429 else retry_after
    wait = told(reply.headers, reply.at)
    if row is not None:
        wait = wait or (row.wait if row.wait is not None else wait)  # "0" says no more than nothing
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


_PLEADS = re.compile(rb"[\s\"']*(?:<!?[a-z][^\[{]{0,600}?)?(?:429\s+)?(?:too many requests|rate limit)", re.IGNORECASE)
"""A page or a text that says so, with whatever status: of no vendor is it data, all of which are JSON or XML."""


def _row(table: Sequence[Refusal], status: int, word: str | None) -> Refusal | None:
    """The row of this status with the longest prefix of the vendor's word."""
    rows = [row for row in table if row.status in (status, WHATEVER) and (word or "").startswith(row.word)]
    return max(rows, key=lambda row: len(row.word), default=None)
