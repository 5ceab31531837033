"""Meters for tests that make calls without a runtime: a real ledger, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.quotas.memory import MemoryLedger


def meter_of(now: Callable[[], datetime], values: Mapping[str, str] | None = None) -> QuotaMeter:
    """A meter over a ledger of its own."""
    return QuotaMeter(MemoryLedger(now), Quotas(values), now)
