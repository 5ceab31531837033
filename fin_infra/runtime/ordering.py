"""Orders with all that their calls need: store, vault, HTTP, quotas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx

from fin_infra.connections import Connections, open_vault
from fin_infra.orders import Orders
from fin_infra.orders.placing import Stage
from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.providers.transport import Meter
from fin_infra.runtime.app import quota_ledger
from fin_infra.runtime.http import HttpPool, Sleep
from fin_infra.settings import Settings
from fin_infra.store import Store, open_store
from fin_infra.store.base import Now
from fin_infra.store.opening import utc_now


@asynccontextmanager
async def open_orders(
    settings: Settings | None = None, *, store: Store | None = None, now: Now = utc_now, sleep: Sleep | None = None,
    base_urls: Mapping[str, str] | None = None, network: httpx.AsyncBaseTransport | None = None,
    meter: Meter | None = None, on_stage: Callable[[Stage, str], None] = lambda stage, key: None,
) -> AsyncIterator[Orders]:  # fmt: skip
    """The orders of these settings, default those of the environment; what was opened for them is closed after.

    Their calls are metered as all are, in the interactive lane.
    """
    settings = settings or Settings.load()
    opened = store or open_store(settings.store_url, now=now)
    ledger = None if meter is not None else quota_ledger(settings, now=now)
    if meter is None:
        assert ledger is not None
        meter = QuotaMeter(ledger, Quotas(settings.environment), now)
    pool = HttpPool(settings, now=now, meter=meter, sleep=sleep, base_urls=base_urls, network=network)
    own: Sleep = getattr(now, "sleep", asyncio.sleep)
    try:
        yield Orders(
            opened, Connections(opened, open_vault(settings), now), pool.transport, settings, now=now,
            sleep=sleep or own, on_stage=on_stage, base_urls=base_urls,
        )  # fmt: skip
    finally:
        await pool.close()
        if ledger is not None:
            ledger.close()
        if store is None:
            opened.close()
