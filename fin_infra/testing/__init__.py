"""For tests, ours and users': vendors imitated on loopback, and a clock that moves when told."""

from __future__ import annotations

from fin_infra.testing.clock import VirtualClock
from fin_infra.testing.serving import Served, serve

__all__ = ["Served", "VirtualClock", "serve"]
