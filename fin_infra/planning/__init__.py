"""When things run: schedules and the planner that turns them into jobs."""

from __future__ import annotations

from fin_infra.planning.planner import Due, Planner, mark
from fin_infra.planning.schedules import Schedule, load_schedules

__all__ = ["Due", "Planner", "Schedule", "load_schedules", "mark"]
