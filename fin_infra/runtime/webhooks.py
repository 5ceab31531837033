"""Webhooks of this process's settings: which secrets prove them, and how a vendor is asked for its public key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fin_infra.connections import Connection
from fin_infra.errors import UsageError
from fin_infra.providers import resolve
from fin_infra.providers.base import Provider
from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.runtime.app import quota_ledger
from fin_infra.runtime.http import HttpPool, app_fields
from fin_infra.settings import Settings
from fin_infra.store import Store, open_store
from fin_infra.store.base import Now
from fin_infra.store.opening import utc_now
from fin_infra.webhooks import Receiver, WebhookReceipt

KEY_TIMEOUT = 5.0
"""Seconds to wait for a vendor's key: whoever sent the webhook waits for our answer meanwhile."""


def receive_webhook(
    provider: str, headers: Mapping[str, str], body: bytes, *, store: Store | None = None
) -> WebhookReceipt:
    """Takes a webhook in, whatever web framework brought it: `receive_webhook("plaid", request.headers, raw_body)`.

    `body` is the raw body: its bytes are what is proven, so nothing may have parsed and written it anew. Of a header
    name the case does not matter. What the webhook announces is due at once; the worker does it. Mostly a few
    milliseconds; where a key has to be fetched, up to `KEY_TIMEOUT` seconds, so call it from a thread in async code.

    Raises `WebhookRefused` (answer 401) when its origin is not proven, `TransientError` (answer 503: it is sent
    again) when the vendor's key or the store cannot be reached, `UsageError` when a setting is missing.
    """
    settings = Settings.load()
    opened = store or open_store(settings.store_url)
    try:
        return Door(settings, opened).receive(provider, headers, body)
    finally:
        if store is None:
            opened.close()


class Door:
    """Where webhooks come in, with a clock and addresses of its own for simulations."""

    def __init__(
        self, settings: Settings, store: Store, *, now: Now = utc_now, base_urls: Mapping[str, str] | None = None,
        app: Any = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._now = now
        self._base_urls = base_urls
        self._app = app
        self._receiver = Receiver(store, now=now, ask_key=self._ask_key)

    def receive(self, provider: str | Provider, headers: Mapping[str, str], body: bytes) -> WebhookReceipt:
        """See `receive_webhook`."""
        declared = resolve(provider) if isinstance(provider, str) else provider
        return self._receiver.receive(declared, headers, body, secrets=self._secrets(declared))

    def _secrets(self, provider: Provider) -> list[str]:
        """What the application's webhooks are signed with, each value of the setting."""
        field = provider.webhooks.secret if provider.webhooks is not None else ""
        if not field:
            return []
        vendor = self._settings.vendor(provider.name)
        value = vendor.secret(field)
        found = [part.strip() for part in value.get_secret_value().split(",")] if value is not None else []
        if not any(found):
            raise UsageError(f"webhooks of {provider.name} cannot be proven: set {vendor.variable(field)}")
        return [part for part in found if part]

    def _ask_key(self, provider: Provider, key_id: str) -> str:
        """Asks the vendor, with the application's credentials, in an event loop of its own: the caller may have one."""
        app_fields(self._settings, provider)  # a missing credential is said as such, before anything is asked
        settings = self._settings.model_copy(
            update={"http_timeout": min(KEY_TIMEOUT, self._settings.http_timeout)}
        )  # fmt: skip
        nobody = Connection("webhooks", "", provider.name, "active", None, 1, self._now())

        async def ask() -> str:
            assert provider.webhooks is not None
            assert provider.webhooks.ask_key is not None
            ledger = quota_ledger(settings, now=self._now)
            meter = QuotaMeter(ledger, Quotas(settings.environment), self._now)
            pool = HttpPool(settings, now=self._now, meter=meter, base_urls=self._base_urls, app=self._app)
            try:
                return await provider.webhooks.ask_key(pool.transport(provider, nobody, {}, "webhook"), key_id)
            finally:
                await pool.close()
                ledger.close()

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fin-infra-key") as thread:
            return thread.submit(asyncio.run, ask()).result()
