"""When a vendor's day or month begins, in its zone. Pure; microseconds since 1970."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from fin_infra.quotas.windows import Calendar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def moment(value: int) -> datetime:
    return EPOCH + timedelta(microseconds=value)


def period_of(window: Calendar, now: int) -> tuple[int, int]:
    """The day or month that `now` lies in: its first moment, and the first one behind it."""
    zone = ZoneInfo(window.tz)
    local = moment(now).astimezone(zone).date()
    if window.unit == "day":
        begin = local

        def step(day: date) -> date:
            return day + timedelta(days=1)
    else:
        begin = _anchored(local.year, local.month, window.anchor)
        if begin > local:
            begin = _anchored(*_month(local, -1), window.anchor)

        def step(day: date) -> date:
            return _anchored(*_month(day, 1), window.anchor)

    start, following = _midnight(begin, zone), step(begin)
    end = _midnight(following, zone)
    while end <= now:  # a clock that is put back over midnight shows the old date once more
        following = step(following)
        start, end = end, _midnight(following, zone)
    return start, end


def _anchored(year: int, month: int, anchor: int) -> date:
    return date(year, month, min(anchor, monthrange(year, month)[1]))


def _month(day: date, steps: int) -> tuple[int, int]:
    months = day.year * 12 + day.month - 1 + steps
    return months // 12, months % 12 + 1


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first moment whose local date is `day`, or later where the zone leaves that day out."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    late = micros(local.astimezone(UTC))
    if moment(late).astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return late
    # midnight is skipped: the day begins when the clock is put forward, between the two readings of it
    early = micros(local.replace(fold=1).astimezone(UTC))
    while early < late:
        middle = (early + late) // 2
        if moment(middle).astimezone(zone).date() >= day:
            late = middle
        else:
            early = middle + 1
    return late
