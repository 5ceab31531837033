"""When things run: schedules and the planner that turns them into jobs."""

from __future__ import annotations

from fin_infra.planning.loading import load_schedules
from fin_infra.planning.planner import Due, Planner, mark
from fin_infra.planning.schedules import Schedule

__all__ = ["Due", "Planner", "Schedule", "load_schedules", "mark"]
