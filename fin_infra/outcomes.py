"""What follows from an error: one pure function, so that the table of decisions is the table in the test."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Literal

from fin_infra.errors import (
    DefectError,
    FinInfraError,
    LaterError,
    OwnerActionError,
    StaleCursor,
    TransientError,
    UsageError,
)

Kind = Literal["ok", "partial", "later", "retry", "park", "quarantine", "stale_cursor"]


@dataclass(frozen=True)
class Outcome:
    """What a run came to, and what the queue does with its job.

    ok, partial, park → the job is done; later → deferred by `after` seconds with no attempt counted;
    retry, stale_cursor → tried again after a back-off (`after` is its lower bound); quarantine → dead letter.
    `moved`: something was read that the next run need not ask for again.
    """

    kind: Kind
    after: float | None = None
    code: str | None = None
    message: str | None = None
    moved: bool = field(default=False, compare=False)


OK = Outcome("ok")


def decide(error: BaseException) -> Outcome:
    """The outcome of an error. An unmapped one is kept and tried again: losing work is worse than trying twice."""
    match error:
        case LaterError():
            return Outcome("later", error.retry_after, error.code, error.message)
        case StaleCursor():
            return Outcome("stale_cursor", 0.0, error.code, error.message)
        case TransientError():
            return Outcome("retry", error.retry_after, error.code, error.message)
        case OwnerActionError() | UsageError():
            return Outcome("park", None, error.code, error.message)
        case DefectError():
            return Outcome("quarantine", None, error.code, error.message)
        case FinInfraError():
            return Outcome("retry", None, error.code, error.message)
        case _:  # nothing of ours: its text may hold anything, so only its type is kept
            return Outcome("retry", None, "internal_error", f"unexpected {type(error).__name__}; see the worker's log")


def where(error: BaseException) -> str:
    """An unmapped error for the log: its type and the lines it came through, without its text, which may hold data."""
    lines = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return " < ".join([type(error).__name__, *reversed(lines)])


LONG = 3600.0  # seconds: by then a retry has been tried


def worst(outcomes: list[Outcome]) -> Outcome:
    """The outcome that decides what a job with several parts does next: the one that promises most if tried again.

    What must wait for long holds up nothing that may succeed at once: it is denied again, at no call's cost.
    """
    rank = ["later", "retry", "stale_cursor", "later for long", "quarantine", "park", "partial", "ok"]

    def promise(outcome: Outcome) -> tuple[int, float]:
        after = outcome.after or 0.0
        return rank.index("later for long" if outcome.kind == "later" and after > LONG else outcome.kind), after

    return min(outcomes, key=promise, default=OK)
