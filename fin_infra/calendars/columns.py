"""The answers of a calendar for whole Polars columns. Only this module of the calendars loads polars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import polars as pl

from fin_infra.calendars.calendar import DAY, EPOCH_DAY, Kind
from fin_infra.errors import UsageError

if TYPE_CHECKING:
    from fin_infra.calendars.calendar import Calendar

MICROS = 1_000_000
KINDS = pl.Enum(["regular", "early", "late", "shifted", "special"])
INSTANT = pl.Datetime("us", "UTC")


class Columns(Protocol):
    """What `Calendar` says of its methods on columns."""

    def is_open(self, instants: pl.Series) -> pl.Series: ...
    def session_of(self, instants: pl.Series) -> pl.Series: ...
    def ordinals(self, dates: pl.Series) -> pl.Series: ...
    def frame(self, first: date, last: date) -> pl.DataFrame: ...


class TableColumns:
    """Columns of a `SessionTable`: its own arrays, as series."""

    def __init__(
        self, calendar: Calendar, begin: int, end: int, days: Sequence[int], opens: Sequence[int],
        closes: Sequence[int], edges: Sequence[int], kinds: Sequence[Kind],
    ) -> None:  # fmt: skip
        self._calendar = calendar
        self._begin, self._end = begin * MICROS, end * MICROS
        self._opens = pl.Series("open_at", opens, pl.Int64) * MICROS
        self._closes = pl.Series("close_at", closes, pl.Int64) * MICROS
        self._edges = pl.Series(edges, dtype=pl.Int64) * MICROS
        self._dates = (pl.Series("session", days, pl.Int32) - EPOCH_DAY).cast(pl.Date)
        self._kinds = pl.Series("kind", kinds, KINDS)
        self._origin = calendar.first.toordinal()
        # one place a day, so that a date finds its ordinal without a search
        places = pl.int_range(self._origin, calendar.last.toordinal() + 1, dtype=pl.Int32, eager=True).alias("day")
        found = pl.DataFrame({"day": pl.Series(days, dtype=pl.Int32)}).with_row_index("ordinal")
        self._ordinals = (
            places.to_frame().join(found, on="day", how="left", maintain_order="left")["ordinal"].cast(pl.Int32)
        )

    def is_open(self, instants: pl.Series) -> pl.Series:
        asked = self._asked(instants)
        # as in the scalar form: trading runs after an odd number of begins and stops
        found = self._edges.search_sorted(asked, side="right") % 2 == 1
        return _where(asked.is_not_null(), found, instants.name)

    def session_of(self, instants: pl.Series) -> pl.Series:
        asked = self._asked(instants)
        index = self._opens.search_sorted(asked, side="right").cast(pl.Int64) - 1
        place = index.clip(lower_bound=0)
        within = asked.is_not_null() & (index >= 0) & (asked < self._closes.gather(place))
        return _where(within, self._dates.gather(place), instants.name)

    def ordinals(self, dates: pl.Series) -> pl.Series:
        days = _days(self._calendar, dates)
        return self._ordinals.gather(days + (EPOCH_DAY - self._origin)).alias(dates.name)

    def frame(self, first: date, last: date) -> pl.DataFrame:
        begin, count = 0, 0
        if first <= last:
            days = self._calendar.dates(first, last)
            count = len(days)
            begin = self._dates.search_sorted(first) if count else 0
        part = slice(begin, begin + count)
        return pl.DataFrame(
            [
                self._dates[part],
                pl.int_range(begin, begin + count, dtype=pl.Int32, eager=True).alias("ordinal"),
                self._opens[part].cast(INSTANT),
                self._closes[part].cast(INSTANT),
                self._kinds[part],
                (self._dates[part] > self._calendar.published).alias("provisional"),
            ]
        )

    def _asked(self, instants: pl.Series) -> pl.Series:
        return _micros(self._calendar, instants, self._begin, self._end)


class DayColumns:
    """Columns of a calendar whose sessions are all the days of UTC."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._begin = (calendar.first.toordinal() - EPOCH_DAY) * DAY * MICROS
        self._end = (calendar.last.toordinal() + 1 - EPOCH_DAY) * DAY * MICROS

    def is_open(self, instants: pl.Series) -> pl.Series:
        asked = _micros(self._calendar, instants, self._begin, self._end)
        return _where(asked.is_not_null(), asked.is_not_null(), instants.name)

    def session_of(self, instants: pl.Series) -> pl.Series:
        asked = _micros(self._calendar, instants, self._begin, self._end)
        return asked.cast(pl.Datetime("us")).cast(pl.Date).alias(instants.name)

    def ordinals(self, dates: pl.Series) -> pl.Series:
        origin = self._calendar.first.toordinal() - EPOCH_DAY
        return (_days(self._calendar, dates) - origin).alias(dates.name)

    def frame(self, first: date, last: date) -> pl.DataFrame:
        days = pl.Series("session", self._calendar.dates(first, last), pl.Date)
        opens = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return pl.DataFrame(
            [
                days,
                self.ordinals(days).alias("ordinal"),
                opens.alias("open_at"),
                (opens + timedelta(days=1)).alias("close_at"),
                pl.repeat("regular", len(days), dtype=KINDS, eager=True).alias("kind"),
                pl.repeat(value=False, n=len(days), dtype=pl.Boolean, eager=True).alias("provisional"),
            ]
        )


def _micros(calendar: Calendar, instants: pl.Series, begin: int, end: int) -> pl.Series:
    """Microseconds since 1970; `UsageError` for other than instants and for such that the calendar does not know."""
    if not (isinstance(instants.dtype, pl.Datetime) and instants.dtype.time_zone):
        raise UsageError(
            f"a column of {instants.dtype} has no instants; calendar {calendar.name} needs a Datetime with a zone"
        )
    asked = instants.cast(INSTANT).to_physical()
    low, high = asked.min(), asked.max()
    if isinstance(low, int) and isinstance(high, int) and not begin <= low <= high < end:
        odd = instants.filter((asked < begin) | (asked >= end))[0]
        assert isinstance(odd, datetime)
        calendar._beyond(odd.isoformat())
    return asked


def _days(calendar: Calendar, dates: pl.Series) -> pl.Series:
    """Days since 1970, Int32; `UsageError` for other than dates and for such that the calendar does not know."""
    if dates.dtype != pl.Date:
        raise UsageError(f"a column of {dates.dtype} has no days; calendar {calendar.name} needs a Date")
    for end in (dates.min(), dates.max()):
        if isinstance(end, date) and not calendar.first <= end <= calendar.last:
            calendar._beyond(end)
    return dates.to_physical()


def _where(mask: pl.Series, values: pl.Series, name: str) -> pl.Series:
    return pl.select(pl.when(mask).then(values)).to_series().alias(name)
