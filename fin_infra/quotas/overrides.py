"""What a setting puts in the place of declared windows: `minute=10000/60s, day=25/24h`.

A part is `NAME=LIMIT/PERIOD`, replaces the declared window of that name or is a new one, and may say more:

    account:day=4/24h@/accounts/{id}/transactions     whose calls count together; which endpoints (more with +)
    alpaca/3f0c*:minute=1000/60s                      for one key only, as `fin-infra quotas` shows it; * ends a prefix
    minute=30/60s counter                             a vendor that estimates from two windows: one unit less is planned
    month=10000/31d success                           only calls that were answered cost a unit
    day=25/day(America/New_York)                      a calendar day of a zone, closed a moment around its reset
    month=1500/month(UTC,14)                          a month that begins on the 14th
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fin_infra.errors import UsageError
from fin_infra.quotas.windows import SHORT, Calendar, Charge, Profile, Rolling, Scope, Window

FORM = "[KEY:][SCOPE:]NAME=LIMIT/PERIOD[@ENDPOINT][ success][ counter], like minute=200/60s or account:day=4/24h"
_PART = re.compile(
    r"(?:(?P<holder>[a-z0-9_.]+/[A-Za-z0-9_.-]+\*?):)?(?:(?P<scope>[a-z]+):)?(?P<name>[a-z][a-z0-9_./-]*)\s*=\s*"
    r"(?P<limit>[0-9]{1,9})\s*/\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>s|m|h|d)"
    r"|(?P<calendar>day|month)\((?P<tz>[A-Za-z0-9_+/-]+)(?:,\s*(?P<anchor>[0-9]{1,2}))?\))"
    r"(?:@(?P<endpoints>/?[^\s,]+))?(?P<words>(?:\s+(?:success|attempt|counter|log))*)"
)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Override:
    """One part of the setting. `holder`: for which keys, a pattern; the rest: what it says, None where it does not."""

    holder: str
    window: Rolling | Calendar
    scope: Scope | None
    endpoints: tuple[str, ...] | None
    charge: Charge | None
    profile: Profile | None

    def over(self, declared: Window | None) -> Window:
        """The window in the place of the declared one, whose scope, endpoints, charge and profile stay unless said."""
        window = self.window
        scope = self.scope or (declared.scope if declared is not None else "key")
        endpoints = self.endpoints if self.endpoints is not None else declared.endpoints if declared is not None else ()
        charge = self.charge or (declared.charge if isinstance(declared, Rolling | Calendar) else "attempt")
        if isinstance(window, Calendar):
            return replace(window, scope=scope, endpoints=endpoints, charge=charge)
        profile = self.profile or (declared.profile if isinstance(declared, Rolling) else "log")
        return replace(window, scope=scope, endpoints=endpoints, charge=charge, profile=profile)


def overrides(text: str, variable: str) -> tuple[Override, ...]:
    """The parts of a setting. Raises `UsageError` that names the variable, the part and the form."""
    found = tuple(_override(part, variable) for part in re.split(r",(?![^(]*\))", text) if part.strip())
    named = [(one.holder, one.window.key) for one in found]
    for holder, name in named:
        if named.count((holder, name)) > 1:
            raise UsageError(f"{variable} says {name!r} twice, and only one would count; give each window its own name")
    return found


def overridden(windows: Iterable[Window], changes: Iterable[Override], holder: str) -> tuple[Window, ...]:
    """The declared windows with those of the setting that concern this key; one for the key alone goes before."""
    found = {window.key: window for window in windows}
    ours = [change for change in changes if not change.holder or fnmatchcase(holder, change.holder)]
    for change in sorted(ours, key=lambda change: bool(change.holder)):
        found[change.window.key] = change.over(found.get(change.window.key))
    return tuple(found.values())


def _override(part: str, variable: str) -> Override:
    match = _PART.fullmatch(part.strip())
    if match is None:
        raise UsageError(f"{variable}: {part.strip()!r} is no window; write {FORM}")
    said = match.groupdict()
    scope, words, limit = said["scope"], (said["words"] or "").split(), int(said["limit"])
    if scope is not None and scope not in get_args(Scope):
        raise UsageError(f"{variable}: no scope {scope!r} in {part.strip()!r}; there are: {', '.join(get_args(Scope))}")
    if limit < 1:
        raise UsageError(f"{variable}: {part.strip()!r} permits nothing; a limit is at least 1")
    return Override(
        said["holder"] or "", _window(said, limit, part.strip(), variable), cast("Scope | None", scope),
        tuple(said["endpoints"].split("+")) if said["endpoints"] else None,
        next((cast("Charge", word) for word in words if word in get_args(Charge)), None),
        next((cast("Profile", word) for word in words if word in get_args(Profile)), None),
    )  # fmt: skip


def _window(said: dict[str, str], limit: int, part: str, variable: str) -> Rolling | Calendar:
    if said["calendar"] is None:
        period = float(said["number"]) * _SECONDS[said["unit"]]
        if period <= 0:
            raise UsageError(f"{variable}: the period in {part!r} has no length; write {FORM}")
        return Rolling(said["name"], limit, period, arrive_within=1.0 if period < SHORT else None)
    try:
        ZoneInfo(said["tz"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"{variable}: no time zone {said['tz']!r} in {part!r}; write one like Europe/Berlin") from None
    anchor = int(said["anchor"] or 1)
    if not 1 <= anchor <= 31:
        raise UsageError(f"{variable}: no month begins on day {anchor}, as {part!r} says; write 1 to 31")
    return Calendar(said["name"], limit, "day" if said["calendar"] == "day" else "month", said["tz"], anchor)
