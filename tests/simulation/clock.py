"""Time that costs nothing: an event loop whose selector moves the clock on instead of waiting."""

from __future__ import annotations

import asyncio
import collections
import selectors
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.process import PROCESS, Process


class SimClock:
    """True time, and what our machines take for it. Hand the object itself wherever a clock is wanted.

    `seconds` is the loop's monotonic time. `skew` is what the machines' wall clock is wrong by: it may jump, the
    vendors' time does not.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self.seconds = 0.0
        self.skew = timedelta()

    def __call__(self) -> datetime:
        """What a machine's clock shows."""
        return self.true() + self.skew

    def true(self) -> datetime:
        """The vendors' time."""
        return self._start + timedelta(microseconds=round(self.seconds * 1e6))

    def hop(self, by: timedelta) -> None:
        """Time passes at once: whoever slept meanwhile wakes up late, as after a machine's standstill."""
        self.seconds += by.total_seconds()


class Stuck(Exception):
    """Everything waits, and for nothing: no timer is set."""


class _Selector(selectors.SelectSelector):
    """Watches no socket but the loop's own; a wait is a step of the clock."""

    def __init__(self, clock: SimClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is left that could happen: every task waits for another")
        # a hair more than asked for: a sum of floats that falls short of a timer would be asked again for ever
        self._clock.seconds += timeout + 1e-7 if timeout > 0 else 0.0
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return super().get_map()


class _Ready(collections.deque[asyncio.Handle]):
    """What is to be run next. What belongs to a frozen process is laid aside instead."""

    def __init__(self, nothing: asyncio.Handle) -> None:
        super().__init__()
        self._nothing = nothing

    def popleft(self) -> asyncio.Handle:
        handle = super().popleft()
        context = handle._context  # type: ignore[attr-defined]
        process = context.get(PROCESS) if context is not None else None
        if process is None or not process.frozen:
            return handle
        process.held.append(handle)
        return self._nothing


class SimLoop(asyncio.SelectorEventLoop):
    """One thread, one order of things, and the time of a `SimClock`."""

    def __init__(self, clock: SimClock) -> None:
        self._sim_clock = clock
        super().__init__(_Selector(clock))
        nothing = asyncio.Handle(print, (), self)
        nothing.cancel()
        self._ready = _Ready(nothing)

    def freeze(self, process: Process, seconds: float) -> None:
        """The process stands still, as under SIGSTOP, while the others go on."""
        if not process.frozen:
            process.frozen = True
            self.call_later(seconds, self.thaw, process)

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._ready.extend(process.held)
        process.held.clear()

    def time(self) -> float:
        return self._sim_clock.seconds
