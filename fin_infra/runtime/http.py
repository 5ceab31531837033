"""HTTP as svc-infra builds it, with the two corrections money data needs: waits are honoured, breakers don't wedge."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Literal, cast

import httpx
from svc_infra.http import new_async_httpx_client
from svc_infra.resilience import CircuitBreaker, CircuitBreakerError, CircuitState, RetryExhaustedError, with_retry

from fin_infra.connections import Connection
from fin_infra.errors import QuotaError, TransientError, UsageError
from fin_infra.providers.base import Provider, Reply
from fin_infra.providers.transport import Meter, Once, Transport
from fin_infra.quotas.windows import Lane
from fin_infra.settings import Settings
from fin_infra.store.base import Now

Sleep = Callable[[float], Awaitable[None]]

SHORT_WAIT = 2.0
"""Seconds a call waits itself for a unit; for longer the job is deferred and its slot freed."""
PATIENCE = 15.0
"""Seconds of such waits in a row: where others are always first, the job is deferred too."""
LEAST_WAIT = 0.001


class GuardedBreaker(CircuitBreaker):
    """svc-infra's breaker, counting only failures of the vendor as a whole, and giving a probe's place back.

    The stock one counts every exception (one revoked token would open it for all), and a half-open probe that is
    cancelled keeps its place for ever: after three the circuit never closes again. Its time is the event loop's, as
    that of every wait here is.
    """

    async def _record_failure(self, exc: Exception) -> None:
        await super()._record_failure(exc)
        self._last_failure_time = asyncio.get_running_loop().time()

    def _should_try_half_open(self) -> bool:
        return self._remaining_timeout() == 0.0

    def _remaining_timeout(self) -> float | None:
        if self._state is not CircuitState.OPEN:
            return None
        since = self._last_failure_time
        return 0.0 if since is None else max(0.0, self.recovery_timeout - asyncio.get_running_loop().time() + since)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: Any
    ) -> Literal[False]:
        if _ours(exc_val):
            pass  # the vendor was not asked: it proved nothing
        elif exc_val is None or (isinstance(exc_val, Exception) and not getattr(exc_val, "vendor_wide", False)):
            await self._record_success()  # the vendor answered; that it refused this one says nothing of the rest
        elif isinstance(exc_val, Exception):
            await self._record_failure(exc_val)
        # else cancelled: it proved nothing
        if self._state is CircuitState.HALF_OPEN:
            self._half_open_calls = max(0, self._half_open_calls - 1)
        return False


def _ours(error: BaseException | None) -> bool:
    """Whether our own ledger denied the call: it was not made."""
    return isinstance(error, QuotaError) and "why" in error.context


class HttpPool:
    """Clients and breakers of all vendors, one each; a `Transport` per connection over them.

    `sleep`: how a call waits for a unit that is free within `SHORT_WAIT`; default: the clock's own way, where it has
    one, as those have that move when told.
    """

    def __init__(
        self, settings: Settings, *, now: Now, meter: Meter, sleep: Sleep | None = None,
        base_urls: Mapping[str, str] | None = None, app: Any = None, network: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._now = now
        self._meter = meter
        own: Sleep = getattr(now, "sleep", asyncio.sleep)
        self._sleep = sleep or own
        self._base_urls = dict(base_urls or {})
        self._network = httpx.ASGITransport(app=app) if app is not None else network
        self._clients: dict[tuple[str, str], httpx.AsyncClient] = {}
        self._breakers: dict[tuple[str, str], GuardedBreaker] = {}

    def transport(self, provider: Provider, connection: Connection, secrets: Mapping[str, str], lane: str) -> Transport:
        """This connection's way to its vendor."""
        home = provider.home(secrets)
        own = provider.own_address(secrets) or ""

        async def guard(once: Once, host: str) -> Reply:
            """A second try for what broke on the way, and after a short wait, for a unit or by the vendor's word."""
            guarded = self._guarded(provider, host or home, own)
            waited, refused = 0.0, 0
            while True:
                try:
                    return await _twice(lambda: guarded(once))
                except QuotaError as error:
                    refused += not _ours(error)
                    waited += max(error.retry_after, LEAST_WAIT)
                    if error.retry_after > SHORT_WAIT or waited > PATIENCE or refused > 1:
                        raise
                    if _ours(error):
                        await self._sleep(max(error.retry_after, LEAST_WAIT))
                    # else the ledger knows that the vendor asked us to wait, and until when

        return Transport(
            provider, lambda host: self._client_of(provider, host or home, own), self._auth(provider, secrets),
            connection_id=connection.connection_id, now=self._now, meter=self._meter,
            holder=provider.quota_key(secrets), guard=guard, lane=cast("Lane", lane),
            body={name: secrets[name] for name in provider.body_secrets if name in secrets},
        )  # fmt: skip

    def _auth(self, provider: Provider, secrets: Mapping[str, str]) -> httpx.Auth:
        if provider.signed is None:
            return provider.auth(secrets)
        return provider.signed(secrets, app_fields(self._settings, provider), self._now)

    def _guarded(self, provider: Provider, host: str, own: str = "") -> Callable[[Once], Awaitable[Reply]]:
        """One call behind the breaker of its host: an ill host stops no other."""
        name, at = provider.name, own or host
        if (name, at) not in self._breakers:
            label = f"{name} {host}".strip()
            self._breakers[name, at] = GuardedBreaker(label, failure_threshold=10, recovery_timeout=30.0)
        breaker = self._breakers[name, at]

        async def once_guarded(once: Once) -> Reply:
            try:
                async with breaker:
                    return await once()
            except CircuitBreakerError as error:
                raise TransientError(
                    f"{name} failed {breaker.failure_threshold} times in a row and is left alone for a while; "
                    "it is tried again",
                    retry_after=error.remaining_timeout or breaker.recovery_timeout,
                ) from None

        return once_guarded

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client_of(self, provider: Provider, host: str, own: str = "") -> httpx.AsyncClient:
        if (provider.name, own or host) not in self._clients:
            self._clients[provider.name, own or host] = self._client(provider, host, own)
        return self._clients[provider.name, own or host]

    def _client(self, provider: Provider, host: str, own: str) -> httpx.AsyncClient:
        vendor = self._settings.vendor(provider.name)
        more: dict[str, Any] = {}
        if self._network is not None:  # in tests: vendors without a socket
            more["transport"] = self._network
        elif (context := client_certificate(self._settings, provider)) is not None:
            more["verify"] = context
        # who puts a simulator in the vendor's place by one address alone shall not meet the real one at another
        told = self._base_urls.get(f"{provider.name}.{host}") or self._base_urls.get(provider.name)
        base_url = told or vendor.base_url_of(host) or vendor.base_url or own or provider.address(host)
        client = new_async_httpx_client(
            timeout_seconds=self._settings.http_timeout, base_url=base_url,
            headers={**provider.headers, **provider.app_headers(app_fields(self._settings, provider))},
            propagate_request_id=False, follow_redirects=False, trust_env=False,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=50), **more,
        )  # fmt: skip
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one pool, many tenants
        return client


class _Again(Exception):
    """Wraps an error that a second try right now may cure."""

    def __init__(self, cause: TransientError) -> None:
        super().__init__(str(cause))
        self.cause = cause


async def _twice(once: Callable[[], Awaitable[Reply]]) -> Reply:
    """A second try for what broke on the way."""
    try:
        return await with_retry(max_attempts=2, base_delay=0.2, retry_on=(_Again,))(_again)(once)
    except RetryExhaustedError as error:
        raise cast("_Again", error.last_exception).cause from None
    except _Again as error:
        raise error.cause from None


async def _again(once: Callable[[], Awaitable[Reply]]) -> Reply:
    try:
        return await once()
    except TransientError as error:
        if error.code == "network_error" and not error.context.get("sent"):
            raise _Again(error) from None
        raise


def app_fields(settings: Settings, provider: Provider) -> dict[str, str]:
    """The application's own credentials at a vendor. Raises `UsageError` that names the variable of a missing one."""
    vendor = settings.vendor(provider.name)
    given = {field.name: vendor.secret(field.name) for field in provider.app_fields}
    missing = [field.name for field in provider.app_fields if field.required and given[field.name] is None]
    if missing:
        raise UsageError(f"{provider.name} needs {' and '.join(map(vendor.variable, missing))}; set them")
    return {name: value.get_secret_value() for name, value in given.items() if value is not None}


def client_certificate(settings: Settings, provider: Provider) -> ssl.SSLContext | None:
    """A TLS context with the application's client certificate; None where none is set or the vendor wants none.

    `FIN_INFRA_<VENDOR>_CA` names a file of authorities to trust instead of the usual ones.
    """
    fields = {field.name for field in provider.app_fields}
    if not {"certificate", "private_key"} <= fields:
        return None
    vendor = settings.vendor(provider.name)
    certificate, key, authority = (vendor.secret(name) for name in ("certificate", "private_key", "ca"))
    if certificate is None and key is None and authority is None:
        return None
    if (certificate is None) != (key is None):
        raise UsageError(f"set both {vendor.variable('certificate')} and {vendor.variable('private_key')}, or neither")
    try:
        context = ssl.create_default_context(cafile=authority.get_secret_value() if authority else None)
        if certificate is not None and key is not None:
            files = [Path(value.get_secret_value()) for value in (certificate, key)]
            for variable, file in zip(("certificate", "private_key"), files, strict=True):
                if not file.is_file():
                    raise UsageError(f"{vendor.variable(variable)}: there is no file {file}")
            context.load_cert_chain(*map(str, files))
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{vendor.variable('certificate')} and {vendor.variable('private_key')} are no certificate and key that "
            f"belong together: {getattr(error, 'reason', None) or error.strerror}"
        ) from None
    return context
