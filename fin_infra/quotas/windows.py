"""What a vendor permits, as windows. Frozen, pure; a call is admitted by all windows that count it, or by none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Lane = Literal["interactive", "webhook", "scheduled", "backfill"]
LANES: tuple[Lane, ...] = ("interactive", "webhook", "scheduled", "backfill")
"""Classes of work, most urgent first."""
URGENT = frozenset(("interactive", "webhook"))
Scope = Literal["key", "connection", "account", "endpoint"]
"""Whose calls count together: all under one key of the vendor's; one connection's; one account's; one endpoint's."""
Charge = Literal["attempt", "success"]
Profile = Literal["log", "counter"]

SHORT = 3600.0  # seconds: a longer window holds a count, not a rate
PACED = (10.0, 300.0)  # seconds: windows of these lengths are paced
PACE = 1.0  # evenly over the period: what is faster leaves a gap at its end, in which an urgent call finds no unit
EVEN = 0.99  # a vendor that estimates takes past calls for evenly spread: a call a little early may exceed its limit


@dataclass(frozen=True, slots=True)
class Rolling:
    """At most `limit` units in any `period` seconds: a sliding log whose entries age from the response.

    The default for whatever a vendor does not document: it holds for fixed windows of any phase and for token buckets
    too. `arrive_within`: a request is counted by the vendor at most so many seconds after it was written, so that a
    slow answer costs no more; None: it may be counted as late as it is answered. `charge`: "success" gives the unit
    back when the answer is a refusal. `profile` "counter": the vendor estimates from two fixed windows and refuses
    legal traffic, so one unit less is planned. `endpoints`: those that it counts, `()` all. `key`: its name within the
    plan, and, once bound, that of its row in the ledger.
    """

    key: str
    limit: int
    period: float
    arrive_within: float | None = 1.0
    scope: Scope = "key"
    charge: Charge = "attempt"
    profile: Profile = "log"
    endpoints: tuple[str, ...] = ()

    @property
    def permitted(self) -> int:
        """Units that are planned with."""
        return max(1, self.limit - 1) if self.profile == "counter" else self.limit


@dataclass(frozen=True, slots=True)
class Calendar:
    """At most `limit` units a day or month of zone `tz`. Only where the vendor documents it, or its headers prove it.

    `anchor`: of a month, the day it begins (its last one where it has no such day). Closed `skew` seconds each side of
    the reset: whose clock the vendor goes by is not known to the second.
    """

    key: str
    limit: int
    unit: Literal["day", "month"]
    tz: str
    anchor: int = 1
    skew: float = 5.0
    scope: Scope = "key"
    charge: Charge = "attempt"
    endpoints: tuple[str, ...] = ()

    @property
    def permitted(self) -> int:
        """Units that are planned with."""
        return self.limit


@dataclass(frozen=True, slots=True)
class Spacing:
    """One unit every `interval` seconds: pacing inside a window. The interactive lane does not wait for it, unless
    `for_all`."""

    key: str
    interval: float
    scope: Scope = "key"
    endpoints: tuple[str, ...] = ()
    for_all: bool = False


Window = Rolling | Calendar | Spacing


def paced(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The windows, each short one that many share with its pace beside it.

    Without it a burst repeats every period for ever. A single connection's window is left alone: a sync of a few calls
    in a row should not wait between them. Where the vendor estimates, even an interactive call out of turn may be one
    too many.
    """
    found: list[Window] = []
    for window in windows:
        found.append(window)
        if isinstance(window, Rolling) and window.scope == "key" and PACED[0] <= window.period <= PACED[1]:
            estimated = window.profile == "counter"
            interval = window.period / ((EVEN if estimated else PACE) * window.permitted)
            found.append(Spacing(f"{window.key}/pace", interval, endpoints=window.endpoints, for_all=estimated))
    return tuple(found)


def bound(
    windows: Iterable[Window], *, holder: str, connection: str, account: str, endpoint: str
) -> tuple[Window, ...]:
    """The windows that count a call, under the names of their rows in the ledger.

    `holder`: the vendor's key the call is made with, like `plaid/app` or `alpaca/3f0c…`. A window per account does not
    count a call that is about none.
    """
    found: list[Window] = []
    for window in windows:
        if window.endpoints and endpoint not in window.endpoints:
            continue
        match window.scope:
            case "key":
                place = holder
            case "connection":
                place = f"{holder}/{connection}"
            case "account" if account:
                place = f"{holder}/{connection}/{account}"
            case "account":
                continue
            case "endpoint":
                place = f"{holder}{endpoint}"
        found.append(replace(window, key=f"{place}#{window.key}"))
    return tuple(found)
