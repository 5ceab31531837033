"""How vendors count: four kinds of limiter, each by the vendor's own clock. None knows anything of who calls."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import ClassVar


class Limiter(ABC):
    """At most `limit` calls in `period` seconds, by what the kind takes that to mean.

    `strict`: a refused call counts like an accepted one. `asked` is called once per request that arrives, in the order
    of time.
    """

    kind: ClassVar[str]

    def __init__(self, limit: int, period: float, *, strict: bool = False, phase: float = 0.0) -> None:
        self.limit = limit
        self.period = period
        self.strict = strict
        self.phase = phase
        """Seconds by which the windows of a kind that has them are off; unknown to who calls."""

    def asked(self, now: float) -> bool:
        """Whether the call that arrives now is accepted."""
        accepted = self._left(now) >= 1.0
        if accepted or self.strict:
            self._count(now)
        return accepted

    def left(self, now: float) -> int:
        """Calls that would be accepted now, one after the other."""
        return max(0, math.floor(self._left(now)))

    @abstractmethod
    def reset(self, now: float) -> float:
        """Seconds until all of the limit is there again, nothing more asked."""

    @abstractmethod
    def wait(self, now: float) -> float:
        """Seconds until a call would be accepted, nothing more asked."""

    @abstractmethod
    def _left(self, now: float) -> float: ...

    @abstractmethod
    def _count(self, now: float) -> None: ...


class RollingLog(Limiter):
    """Every call of the last `period` seconds counts."""

    kind = "rolling"

    def __init__(self, limit: int, period: float, *, strict: bool = False, phase: float = 0.0) -> None:
        super().__init__(limit, period, strict=strict, phase=phase)
        self._log = deque[float]()

    def _left(self, now: float) -> float:
        while self._log and self._log[0] <= now - self.period:
            self._log.popleft()
        return self.limit - len(self._log)

    def _count(self, now: float) -> None:
        self._log.append(now)

    def reset(self, now: float) -> float:
        return self._log[-1] + self.period - now if self._left(now) < self.limit else 0.0

    def wait(self, now: float) -> float:
        left = int(self._left(now))
        return 0.0 if left >= 1 else self._log[-left] + self.period - now


class FixedWindow(Limiter):
    """Windows that begin every `period` seconds, at a phase of the vendor's."""

    kind = "fixed"

    def __init__(self, limit: int, period: float, *, strict: bool = False, phase: float = 0.0) -> None:
        super().__init__(limit, period, strict=strict, phase=phase)
        self._window = 0
        self._used = 0

    def _left(self, now: float) -> float:
        window = math.floor((now + self.phase) / self.period)
        if window != self._window:
            self._window, self._used = window, 0
        return self.limit - self._used

    def _count(self, now: float) -> None:
        self._used += 1

    def reset(self, now: float) -> float:
        return self.period - (now + self.phase) % self.period

    def wait(self, now: float) -> float:
        return 0.0 if self._left(now) >= 1 else self.reset(now)


class TokenBucket(Limiter):
    """A bucket of `limit` tokens that is filled evenly, all of it in `period` seconds. Strict: a refused call takes what
    is left in it."""

    kind = "bucket"

    def __init__(self, limit: int, period: float, *, strict: bool = False, phase: float = 0.0) -> None:
        super().__init__(limit, period, strict=strict, phase=phase)
        self._tokens = float(limit)
        self._at: float | None = None

    def _left(self, now: float) -> float:
        if self._at is not None:
            self._tokens = min(float(self.limit), self._tokens + (now - self._at) * self.limit / self.period)
        self._at = now
        return self._tokens + 1e-9  # a call exactly on time is not refused for a digit

    def _count(self, now: float) -> None:
        self._tokens = max(0.0, self._tokens - 1.0)

    def reset(self, now: float) -> float:
        return (self.limit - min(self._left(now), self.limit)) * self.period / self.limit

    def wait(self, now: float) -> float:
        return max(0.0, 1.0 - self._left(now)) * self.period / self.limit


class WindowCounter(Limiter):
    """What gateways estimate from two counts: those of the window before, as far as it still reaches, and of this one.

    It refuses legal traffic: the calls of the window before may all lie in the part that is over.
    """

    kind = "counter"

    def __init__(self, limit: int, period: float, *, strict: bool = False, phase: float = 0.0) -> None:
        super().__init__(limit, period, strict=strict, phase=phase)
        self._window = 0
        self._before = 0
        self._used = 0

    def _left(self, now: float) -> float:
        place = (now + self.phase) / self.period
        window = math.floor(place)
        if window != self._window:
            self._before = self._used if window == self._window + 1 else 0
            self._window, self._used = window, 0
        return self.limit - self._before * (window + 1 - place) - self._used

    def _count(self, now: float) -> None:
        self._used += 1

    def reset(self, now: float) -> float:
        return 2 * self.period - (now + self.phase) % self.period

    def wait(self, now: float) -> float:
        if self._left(now) >= 1:
            return 0.0
        begun = (now + self.phase) % self.period
        if self._used < self.limit:  # what is left of the window before shrinks
            part = 1 - (self.limit - 1 - self._used) / self._before
            return max(0.0, part * self.period - begun)
        part = 1 - (self.limit - 1) / self._used  # and then what is left of this one
        return self.period - begun + part * self.period


LIMITERS: dict[str, type[Limiter]] = {
    kind.kind: kind for kind in (RollingLog, FixedWindow, TokenBucket, WindowCounter)
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """How long a request and its answer are on the way, in seconds, and how long the vendor works once it has counted
    the request."""

    shortest: float = 0.05
    longest: float = 0.5
    work: float = 0.0

    @property
    def mean_round_trip(self) -> float:
        """Seconds from the request to its answer, on average, the vendor's work left out."""
        return self.shortest + self.longest


def ceiling(kind: str, limit: int, period: float, line: Line, *, arrive_within: float = 1.0) -> float:
    """The share of what is permitted that can be used at most without a refusal, whoever calls.

    Nobody knows when within its round trip a call was counted, so its unit is used for a period and a round trip; a
    slow answer costs no more than `arrive_within`. A counter must be planned with a unit less.
    """
    spent = min(line.mean_round_trip + line.work, arrive_within)
    return (1 - 1 / limit if kind == "counter" else 1.0) * period / (period + spent)
