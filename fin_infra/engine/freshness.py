"""Fresh is not the same as successful. Pure: what a stream's row says, the time now, and how old data may be.

A run can succeed and bring nothing new because the vendor's own data is old; and the last good run of a stream can be
long ago because no worker runs. Both are `stale`, and say why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fin_infra.calendars import get_calendar

BY_SESSIONS = {"prices": "XNYS"}
"""Datasets that grow by a market's sessions: old is what the newest session should have changed. Other instruments of
these streams keep other hours; what is missing of each is its own finding, `missing_sessions`."""
AGAIN = re.compile(r"^asked again at (\S+): ")


@dataclass(frozen=True)
class Freshness:
    """`state`: as of `streams.state`; `why`: in one sentence, None when there is nothing to say."""

    state: str
    why: str | None = None


def freshness(row: Mapping[str, Any], now: datetime, within: timedelta | None) -> Freshness:
    """A stream, or an account in one, as it is now. `row`: of `streams` or `account_states`; `within`: the objective.

    What the last run said stands, if that was bad; `ok` and `partial` age.
    """
    said, why = row["state"], row.get("next_reason")
    if within is None or said not in ("ok", "partial", "stale"):
        return Freshness(said, why)
    since = expected_since(row["dataset"], now, within)
    success = row["last_success_at"]
    if success is None or success < since:
        when = "never" if success is None else _at(success)
        told = f"the last success was {when}, which is more than {span(within)} ago"
        return Freshness("stale", f"{told}; {why}" if why else f"{told}: is a worker running? fin-infra doctor")
    if (old := old_data(row["dataset"], row["vendor_as_of"], now, within)) is not None:
        return Freshness("stale", old)
    return Freshness(said, why)


def old_data(dataset: str, as_of: datetime | None, now: datetime, within: timedelta | None) -> str | None:
    """A sentence when the vendor's own data is older than it may be. None when it is not, or nobody says."""
    if within is None or as_of is None or as_of >= expected_since(dataset, now, within):
        return None
    return f"the vendor's data is of {_at(as_of)}, more than {span(within)} old: asking more often does not help"


def expected_since(dataset: str, now: datetime, within: timedelta) -> datetime:
    """Data must be newer than this. Of market data: than the close of the newest session that is `within` ago."""
    if (name := BY_SESSIONS.get(dataset)) is None:
        return now - within
    return get_calendar(name).last_closed(now - within).close_at


def waiting(at: datetime, message: str | None) -> str:
    """What a stream says that is put off until a known time."""
    return f"asked again at {at.isoformat(timespec='seconds').replace('+00:00', 'Z')}: {message}"


def waits_until(reason: str | None) -> datetime | None:
    """The time in such a sentence."""
    found = AGAIN.match(reason or "")
    return datetime.fromisoformat(found[1]) if found else None


def span(length: timedelta) -> str:
    """`36h`, `1h30m`, as settings and schedules write it."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n]
    return "".join(parts) or "0s"


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")
