"""The ledger: who asks it before each call learns at once that all windows admit it, or when they will."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from fin_infra.quotas.windows import Lane, Window

if TYPE_CHECKING:
    import polars as pl

Why = Literal["full", "blocked", "hold", "reserve", "closed", "pace", "unreachable"]
"""Why a window denies: its units are spent; the vendor told us to wait; a more urgent call waits for the next unit;
units are kept for urgent calls; the reset is near; the pace; the ledger itself cannot be reached."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to one call. `at`: when it was given, microseconds since 1970 like all moments inside the ledger.

    `left` and `total`, by window: what was left behind it, and how many units had been given ever; `observe` tells by
    them what the vendor must still have had.
    """

    id: str
    windows: tuple[Window, ...]
    cost: int
    lane: Lane
    at: int
    left: tuple[int, ...] = ()
    total: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    """No unit now. `eta`: seconds until the same call is admitted if nobody else asks; `at`: that moment.

    `window`: the one that admits it last; None where the ledger itself is out of reach.
    """

    eta: float
    at: datetime
    window: Window | None
    why: Why


class Ledger(Protocol):
    """Counts what is spent of every window, for all processes that share it. Never sleeps.

    Every method may be called from any thread; those of a ledger on disk raise `StoreError` when it cannot be used,
    except `acquire`, which then denies.
    """

    def acquire(self, windows: Sequence[Window], cost: int = 1, *, lane: Lane = "scheduled") -> Grant | Denied:
        """`cost` units of all windows, or of none. A denied call of a more urgent lane holds the next unit for itself:
        less urgent ones are denied on that window until its ETA."""
        ...

    def settle(
        self, grant: Grant, *, written: datetime | None = None, cost: int | None = None, success: bool = True
    ) -> None:  # fmt: skip
        """The answer is here. Entries age from now, or from `written` (the request was sent whole) + `arrive_within`
        where that is earlier. `cost`: what it did cost; not `success`: units of windows that charge by it come back.
        A second settle of a grant changes nothing."""
        ...

    def cancel(self, grant: Grant) -> None:
        """It was never sent: everything comes back."""
        ...

    def penalize(self, windows: Sequence[Window], until: datetime) -> None:
        """The vendor told us to wait: nobody passes these windows before."""
        ...

    def throttled(self, grant: Grant, windows: Sequence[Window]) -> None:
        """A refusal that the windows should have prevented: their limits go down a tenth, once per call that was sent
        after the last such step, and come back by one unit every ten clean periods."""
        ...

    def observe(
        self, grant: Grant, window: Window, remaining: int, reset: datetime | None = None, limit: int | None = None
    ) -> None:  # fmt: skip
        """What the vendor says is left, in the answer to `grant`. Less than we know of: somebody else uses the key, and
        the difference counts as spent until `reset`. More changes nothing. A `limit` below ours takes its place."""
        ...

    def capacity(self, windows: Sequence[Window], horizon: float, *, lane: Lane = "scheduled") -> int:
        """Units that calls of this lane could be given, all windows considered, within `horizon` seconds from now."""
        ...

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """Whether `owner` has the lease `name` now: taken, renewed, or run out at who had it."""
        ...

    def frame(self, windows: Sequence[Window] | None = None) -> pl.DataFrame:
        """One row per window ever used, or only of these, see `FRAME`; sorted by name."""
        ...

    def close(self) -> None: ...


FRAME: dict[str, str] = {
    "window": "name of the window's row",
    "kind": "rolling, day, month or spacing",
    "used": "units spent that still count",
    "limit": "units permitted now",
    "declared": "units permitted as declared",
    "period_seconds": "length, of a rolling window; interval, of a spacing",
    "blocked_until": "the vendor told us to wait until then",
    "hold": "lane that the next unit is held for",
    "hold_until": "and until when",
    "reserve": "units kept for urgent calls now",
    "free_at": "when the next unit is free, null where one is free now",
    "reset_at": "when all units are free again, nothing more spent",
    "throttled": "refusals by the vendor ever, each a defect of ours or of the declaration",
    "spent": "units ever given",
}
"""Columns of `Ledger.frame()`, all instants UTC."""
