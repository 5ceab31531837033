"""Shared fixtures. Polars meets the real date types before a test may freeze the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

pl.DataFrame([{"d": date.min, "t": datetime.now(UTC), "x": timedelta(1)}])
