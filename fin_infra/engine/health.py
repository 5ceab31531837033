"""How vendors serve us, by what our own runs saw: availability, errors, latency."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from fin_infra.datasets.operations import Runs
from fin_infra.store import Query, Store

FAILED = ("retry", "park", "quarantine", "stale_cursor")


@dataclass(frozen=True)
class Health:
    """One vendor over a span. Shares are from 0 to 1, latencies seconds; None where nothing was asked."""

    provider: str
    runs: int
    calls: int
    availability: float | None
    error_rate: float
    throttled: float
    latency: float | None
    slowest: float | None
    last_success: datetime | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def told(self) -> tuple[str, ...]:
        """For people."""
        at = self.last_success
        return (
            self.provider, str(self.runs), str(self.calls), _share(self.availability), _share(self.error_rate),
            _share(self.throttled), _seconds(self.latency), _seconds(self.slowest),
            at.isoformat(timespec="seconds") if at else "never",
        )  # fmt: skip


def health_of(store: Store, since: datetime, provider: str | None = None) -> list[Health]:
    """Each vendor that runs asked since then, by name. A run that was killed left no row, and counts for nothing."""
    columns = ["provider", "finished_at", "outcome", "calls", "failed_calls", "waited_ms", "slowest_ms"]
    runs = pl.concat(list(store.read(Runs, Query(), columns))).filter(pl.col("finished_at") >= since)
    if provider is not None:
        runs = runs.filter(pl.col("provider") == provider)
    outcome, asked = pl.col("outcome").cast(pl.String), pl.col("failed_calls").is_not_null()
    good = outcome.is_in(["ok", "partial"])
    found = runs.group_by("provider").agg(
        runs=pl.len(),
        calls=pl.col("calls").sum(),
        told=pl.col("calls").filter(asked).sum(),
        failed=pl.col("failed_calls").sum(),
        waited=pl.col("waited_ms").sum(),
        slowest=pl.col("slowest_ms").max(),
        errors=outcome.is_in(list(FAILED)).mean(),
        throttled=(outcome == "later").mean(),
        last_success=pl.col("finished_at").filter(good).max(),
    )
    return [
        Health(
            row["provider"], row["runs"], row["calls"], 1 - row["failed"] / row["told"] if row["told"] else None,
            row["errors"], row["throttled"], row["waited"] / row["told"] / 1000 if row["told"] else None,
            None if row["slowest"] is None else row["slowest"] / 1000, row["last_success"],
        )
        for row in found.sort("provider").iter_rows(named=True)
    ]  # fmt: skip


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"
