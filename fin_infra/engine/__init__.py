"""The heart: one loop that syncs any stream of any vendor, and what jobs are made of."""

from __future__ import annotations

from fin_infra.engine.jobs import Context, Job, Order, job
from fin_infra.engine.report import SyncReport
from fin_infra.engine.sync import Engine

__all__ = ["Context", "Engine", "Job", "Order", "SyncReport", "job"]
