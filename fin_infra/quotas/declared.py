"""What is declared of a vendor: plans with their windows as dated facts, and how its answers speak of quotas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from fin_infra.quotas.windows import Scope, Window


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
    `scope`: whose calls must wait; `wait`: for how many seconds, None where it does not say."""

    scope: Scope = "key"
    windows: tuple[str, ...] = ()
    wait: float | None = None


Answer = tuple[int, Mapping[str, str], bytes, datetime]
"""Status, headers in lower case, body, and the moment it was whole."""


def nothing_seen(answer: Answer) -> Sequence[Seen]:
    """A vendor whose headers say nothing of quotas."""
    return ()


@dataclass(frozen=True)
class VendorQuota:
    """A vendor's plans, the first of which is assumed. `holder`: whose key the windows of scope "key" count: the
    application's, one for all connections, or each credential's. `costs`: units of an endpoint, 1 where it is not
    named. `seen`: what an answer says of the windows. `throttle`: what a refused answer says of the limit it met."""

    plans: tuple[Plan, ...]
    holder: Literal["application", "credential"]
    costs: Mapping[str, int] = field(default_factory=dict)
    seen: Callable[[Answer], Sequence[Seen]] = nothing_seen
    throttle: Callable[[Answer], Throttle] = lambda answer: Throttle()
