"""A world with Stripe in it: its simulator over HTTP, a clock, and a worker on real files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fin_infra.connections import Connection
from fin_infra.providers.stripe.simulator import StripeSimulator
from fin_infra.runtime import Door
from fin_infra.testing import VirtualClock, serve
from fin_infra.webhooks import WebhookReceipt
from tests.world import START, VendorWorld

KEY = "sk_test_sim"
SECRET = "whsec_simulated"


class IdentityWorld(VendorWorld):
    vendor = "stripe"

    def __init__(self, folder: Path, stripe: StripeSimulator, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.stripe = stripe

    async def link(self, tenant: str = "ada", key: str = KEY) -> Connection:
        return await self.linked({"secret_key": key}, tenant)

    def told(self, **filters: Any) -> dict[str, tuple[str, str | None]]:
        """Status and last error of each session held."""
        rows = self.rows("identity_sessions", **filters)
        return {row["session_id"]: (row["status"], row["last_error_code"]) for row in rows}

    def deliver(self, session_id: str, word: str) -> WebhookReceipt:
        headers, body = self.stripe.webhook(session_id, word, secrets=[SECRET])
        return self.received(headers, body)

    def received(self, headers: dict[str, str], body: bytes) -> WebhookReceipt:
        with self.store() as store:
            return Door(self.settings, store, now=self.clock).receive("identity:stripe", headers, body)

    def asked(self) -> list[str]:
        """Paths that were asked since the last time, without the common part."""
        paths = [path.removeprefix("/v1/identity/verification_sessions") for path in self.stripe.requests]
        self.stripe.requests.clear()
        return paths


@contextmanager
def identity_world(folder: Path) -> Iterator[IdentityWorld]:
    clock = VirtualClock(START)
    stripe = StripeSimulator(now=clock)
    with serve(stripe) as served:
        yield IdentityWorld(folder, stripe, served.url, clock)
