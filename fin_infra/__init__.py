"""fin_infra: the worker that keeps a finance app's data fresh.

The public names load on first use, so that `import fin_infra` costs next to nothing:
neither polars nor svc_infra nor pandas is imported by it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Connection": "fin_infra.connections",
    "InstrumentKey": "fin_infra.instruments.key",
    "Settings": "fin_infra.settings",
    "SyncReport": "fin_infra.engine",
    "WebhookReceipt": "fin_infra.webhooks",
    "connect": "fin_infra.connections",
    "disconnect": "fin_infra.connections",
    "easy_banking": "fin_infra.easy",
    "easy_brokerage": "fin_infra.easy",
    "easy_crypto": "fin_infra.easy",
    "easy_market": "fin_infra.easy",
    "get_calendar": "fin_infra.calendars",
    "open_store": "fin_infra.store",
    "read": "fin_infra.reader",
    "receive_webhook": "fin_infra.runtime",
    "resolve": "fin_infra.providers",
    "sync": "fin_infra.runtime",
}

__all__ = ["__version__", "errors", *sorted(_HOME)]

if TYPE_CHECKING:
    from fin_infra import errors as errors
    from fin_infra.calendars import get_calendar as get_calendar
    from fin_infra.connections import Connection as Connection
    from fin_infra.connections import connect as connect
    from fin_infra.connections import disconnect as disconnect
    from fin_infra.easy import easy_banking as easy_banking
    from fin_infra.easy import easy_brokerage as easy_brokerage
    from fin_infra.easy import easy_crypto as easy_crypto
    from fin_infra.easy import easy_market as easy_market
    from fin_infra.engine import SyncReport as SyncReport
    from fin_infra.instruments.key import InstrumentKey as InstrumentKey
    from fin_infra.providers import resolve as resolve
    from fin_infra.reader import read as read
    from fin_infra.runtime import receive_webhook as receive_webhook
    from fin_infra.runtime import sync as sync
    from fin_infra.settings import Settings as Settings
    from fin_infra.store import open_store as open_store
    from fin_infra.webhooks import WebhookReceipt as WebhookReceipt


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("fin_infra.errors")
    if home := _HOME.get(name):
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fin_infra' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
