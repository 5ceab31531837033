"""The only place that knows svc-infra: builds queue, worker, retry and HTTP of a process and injects them."""

from __future__ import annotations

from fin_infra.runtime.app import Runtime, open_queue, settle_down, sync
from fin_infra.runtime.queue import SqlJobQueue
from fin_infra.runtime.webhooks import Door, receive_webhook
from fin_infra.runtime.worker import SyncWorker

__all__ = ["Door", "Runtime", "SqlJobQueue", "SyncWorker", "open_queue", "receive_webhook", "settle_down", "sync"]
