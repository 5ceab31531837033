"""Older rows, chunk by chunk, beside the live streams: `planning`, `reckoning` what it costs, `running` it."""

from __future__ import annotations

from fin_infra.engine.backfilling.keeping import JOB, Backfill, Backfills, KeptChunk
from fin_infra.engine.backfilling.planning import Coverage, Plan, coverage, plan
from fin_infra.engine.backfilling.running import Backfiller

__all__ = ["JOB", "Backfill", "Backfiller", "Backfills", "Coverage", "KeptChunk", "Plan", "coverage", "plan"]
