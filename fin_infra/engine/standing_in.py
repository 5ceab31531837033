"""Who stands in for whom: a provider further down a fallback order is asked only for what those before it do not bring.

What it brings is a series of its own, under its own name and in its own basis: nothing is copied and nothing joined.
Pure, but for the names of calendars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from fin_infra.connections import Connection
from fin_infra.engine.series import ALWAYS, Listing, Spot, expected_of, is_refused, known_calendar
from fin_infra.providers.base import Series

PATIENCE = timedelta(hours=24)
"""So long after its publication a bar may be missing. Vendors are late by hours, and a schedule runs once a day: what
comes with the next run of the provider itself is not worth a second series."""
REFUSED = frozenset({"auth_invalid", "reauth_required", "permission_denied"})
"""Codes of a stream whose credential is refused: its connection stays active where only market data is."""
BEYOND_PLAN = "beyond_plan"
"""In what is remembered of an instrument: the day its vendor said that the plan does not cover it, until it answers."""


@dataclass(frozen=True)
class Before:
    """A connection whose provider comes before, as it stands. `down`: why it brings nothing at all, None when it may;
    `spots`: what its stream remembers; `newest`: the session of the newest bar held of its provider, by instrument."""

    provider: str
    series: Series
    down: str | None = None
    spots: Mapping[str, Spot] = field(default_factory=dict)
    newest: Mapping[str, date] = field(default_factory=dict)


def earlier(tenants: Sequence[Connection], mine: Connection, order: Sequence[str]) -> list[Connection]:
    """Those connections of the tenant whose provider comes before mine in the order, in that order."""
    first = order[: order.index(mine.provider)]
    return [one for provider in first for one in tenants if one.provider == provider]


def lacking(
    before: Sequence[Before], instruments: Sequence[str], noticed: Mapping[str, str], now: datetime
) -> dict[str, str]:
    """Instruments of which none before holds a bar → when that was first noticed. `noticed`: what was known of it."""
    none = [name for name in instruments if not any(name in one.newest for one in before)]
    return {name: noticed.get(name, now.isoformat(timespec="seconds")) for name in none}


def standing_in(
    before: Sequence[Before], instruments: Sequence[str], noticed: Mapping[str, str],
    listings: Mapping[str, Listing], now: datetime,
) -> dict[str, str]:  # fmt: skip
    """Instruments that none of `before` brings → why, a sentence for people. `noticed`: see `lacking`."""
    found = {}
    for name in instruments:
        since = datetime.fromisoformat(noticed[name]) if name in noticed else None
        reasons = [_why_not(one, name, since, listings.get(name, ALWAYS), now) for one in before]
        if all(reasons):
            found[name] = "; ".join(dict.fromkeys(str(reason) for reason in reasons))
    return found


def _why_not(one: Before, name: str, since: datetime | None, listing: Listing, now: datetime) -> str | None:
    """Why it does not bring the instrument; None where it does, or may yet. `since`: there was no bar then already."""
    calendar, spot = known_calendar(one.series, name), one.spots.get(name, {})
    if one.down is not None:
        return f"{one.provider} {one.down}"
    if one.series.ticker(name) is None or calendar is None:
        return f"{one.provider} has no such instrument"
    if is_refused(spot, now):
        return f"{one.provider} does not know its symbol"
    if BEYOND_PLAN in spot:
        return f"the plan at {one.provider} does not cover it"
    due = replace(expected_of(one.series, calendar, spot, now - PATIENCE, listing), gone=frozenset()).latest(1)
    if name in one.newest:
        late = bool(due) and one.newest[name] < due[0]
        return f"{one.provider} has no bar after {one.newest[name]}" if late else None
    waited = since is not None and now - since >= PATIENCE
    return f"{one.provider} has brought no bar of it" if due and waited else None
