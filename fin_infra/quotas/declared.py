"""What is declared of a vendor: plans with their windows as dated facts, and how its answers speak of quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Literal

from fin_infra.quotas.windows import Rolling, Scope, Window


@dataclass(frozen=True)
class Plan:
    """What one plan of a vendor permits. `read_on` and `source`: when and where these figures were found."""

    name: str
    windows: tuple[Window, ...]
    read_on: date
    source: str


@dataclass(frozen=True)
class Seen:
    """What an answer says of one window: units left, when all are free again, and its limit. `window`: its name in the
    plan, "" for the one it must be."""

    window: str
    remaining: int
    reset: datetime | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Throttle:
    """An answer that refuses because of a limit. `windows`: their names in the plan, `()` where it does not say;
    `scope`: whose calls must wait; `everywhere`: at other endpoints too; `wait`: for how many seconds, None where it
    does not say."""

    scope: Scope = "key"
    windows: tuple[str, ...] = ()
    wait: float | None = None
    everywhere: bool = False


Answer = tuple[int, Mapping[str, str], bytes, datetime]
"""Status, headers in lower case, body, and the moment it was whole."""


def nothing_seen(answer: Answer) -> Sequence[Seen]:
    """A vendor whose headers say nothing of quotas."""
    return ()


def same_endpoint(host: str, endpoint: str) -> str:
    """A vendor whose windows name endpoints by their paths."""
    return endpoint


def unnamed(answer: Answer) -> Throttle:
    """A vendor whose refusals do not say which limit was met."""
    return Throttle()


@dataclass(frozen=True)
class VendorQuota:
    """A vendor's plans, the first of which is assumed. `holder`: whose key the windows of scope "key" count: the
    application's, one for all connections, or each credential's. `costs`: units of an endpoint, 1 where it is not
    named. `seen`: what an answer says of the windows. `throttle`: what a refused answer says of the limit it met.
    `named`: what `endpoints` of windows and `costs` call an endpoint of one of the vendor's hosts.

    A plan with the name of a vendor's home, like a sandbox, is that of all who call there.
    """

    plans: tuple[Plan, ...]
    holder: Literal["application", "credential"]
    costs: Mapping[str, int] = field(default_factory=dict)
    seen: Callable[[Answer], Sequence[Seen]] = nothing_seen
    throttle: Callable[[Answer], Throttle] = unnamed
    named: Callable[[str, str], str] = same_endpoint


UNDECLARED = VendorQuota(
    plans=(
        Plan(
            "assumed", (Rolling("minute", 60, 60.0, scope="connection"),), date(2026, 11, 24),
            "nothing is declared: low on purpose",
        ),
    ),
    holder="application",
)  # fmt: skip
"""Of a vendor whose adapter declares no quota: nobody is asked unmetered."""
UNCOUNTED = Rolling("uncounted", 60, 60.0, scope="endpoint")
"""Counts the calls that no declared window counts."""


def key_windows(windows: Iterable[Window], holder: str) -> tuple[Window, ...]:
    """The windows that all calls under one key of the vendor's share, under the names of their rows in the ledger;
    those of single endpoints too."""
    return tuple(replace(window, key=f"{holder}#{window.key}") for window in windows if window.scope == "key")
