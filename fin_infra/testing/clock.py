from __future__ import annotations

import asyncio
from datetime import datetime, timedelta


class VirtualClock:
    """Now is what was said last. Hand the object itself wherever a clock is wanted."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock needs a zone")
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        self._now += by
        return self._now

    async def sleep(self, seconds: float) -> None:
        """How who lives by this clock waits: the time passes at once."""
        self._now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    def set(self, moment: datetime) -> None:
        self._now = moment
