"""What a calendar answers. Instants have a zone and are given out in UTC; days are exchange-local dates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NoReturn
from zoneinfo import ZoneInfo

from fin_infra.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from fin_infra.calendars.columns import Columns

Kind = Literal["regular", "early", "late", "shifted", "special"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.toordinal()
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day: open from `open_at` up to, not including, `close_at`, both UTC, except in `breaks`.

    `kind`: regular, early (short close), late (late open), shifted (both moved), special (outside the weekly pattern
    or the regular hours). `provisional`: by rule only, since the exchange has not published its holidays that far.
    `breaks`: from the first closed to the first open instant, oldest first; most exchanges have none.
    """

    date: date
    open_at: datetime
    close_at: datetime
    kind: Kind = "regular"
    provisional: bool = False
    breaks: tuple[tuple[datetime, datetime], ...] = ()


class Calendar(ABC):
    """Sessions of one exchange over the days `first` to `last`.

    A question about other days raises `UsageError`, as do an instant without a zone and an instant in place of a day:
    what is not known is never answered with "closed". An opening belongs to its session, a close and a lunch break do
    not. `published` is the last day whose sessions the exchange has announced; later ones are provisional.
    """

    def __init__(self, name: str, zone: str, first: date, last: date, published: date) -> None:
        self.name = name
        self.zone = zone
        self.first = first
        self.last = last
        self.published = published

    def __repr__(self) -> str:
        return f"<Calendar {self.name} {self.first} to {self.last}>"

    @abstractmethod
    def is_open(self, at: datetime) -> bool:
        """Whether trading runs at this instant; at the opening yes, at the close no longer, in a lunch break not."""

    @abstractmethod
    def session(self, day: date) -> Session | None:
        """The session of this day, None on a day without one."""

    @abstractmethod
    def dates(self, first: date, last: date) -> list[date]:
        """The days with a session from `first` to `last`, both included, oldest first."""

    @abstractmethod
    def running(self, at: datetime) -> Session | None:
        """The session with `open_at <= at < close_at`, its lunch break included; None between sessions."""

    @abstractmethod
    def next_session(self, after: datetime) -> Session:
        """The first session that opens later than `after`: never the one that opens in that very instant."""

    @abstractmethod
    def next_close(self, after: datetime) -> datetime:
        """The first close of a session later than `after`; where a lunch break begins is no close."""

    @abstractmethod
    def last_closed(self, at: datetime) -> Session:
        """The latest session whose close is at or before `at`."""

    @abstractmethod
    def local_date(self, at: datetime) -> date:
        """The exchange-local date of an instant; a session that opens the evening before has the date of its close."""

    @cached_property
    @abstractmethod
    def _columns(self) -> Columns: ...

    def is_session(self, day: date) -> bool:
        """Whether this day has a session."""
        return self.session(day) is not None

    def sessions(self, first: date, last: date) -> list[Session]:
        """The sessions from `first` to `last`, both included, oldest first; none when `last` is before `first`."""
        return [found for day in self.dates(first, last) if (found := self.session(day)) is not None]

    def next_open(self, after: datetime) -> datetime:
        """The first opening of a session later than `after`; where a lunch break ends is no opening."""
        return self.next_session(after).open_at

    def last_final_session(self, now: datetime, lag: timedelta = timedelta()) -> Session:
        """The newest session whose close is at least `lag` ago: with that delay a vendor calls its prices final."""
        return self.last_closed(now - lag)

    def minutes_to_close(self, at: datetime) -> int | None:
        """Whole minutes up to the close of the running session, a lunch break on the way counted; None when closed."""
        session = self.running(at) if self.is_open(at) else None
        return None if session is None else (session.close_at - at) // timedelta(minutes=1)

    def is_open_at(self, instants: pl.Series) -> pl.Series:
        """`is_open` of each instant, Boolean, null for null. Instants are a `Datetime` with a zone."""
        return self._columns.is_open(instants)

    def session_of(self, instants: pl.Series) -> pl.Series:
        """The date of the session that is `running` at each instant, Date, null between sessions and for null."""
        return self._columns.session_of(instants)

    def ordinals(self, dates: pl.Series) -> pl.Series:
        """The position of each date among the calendar's sessions, Int32, null for a day without one and for null.

        Two sessions lie `b - a` sessions apart, so consecutive ones differ by 1.
        """
        return self._columns.ordinals(dates)

    def session_frame(self, first: date, last: date) -> pl.DataFrame:
        """The sessions from `first` to `last`, both included, oldest first, one row each.

        Columns: session Date, ordinal Int32 as `ordinals` gives it, open_at and close_at Datetime in UTC, kind and
        provisional. Raises `UsageError` for days that the calendar does not know.
        """
        return self._columns.frame(first, last)

    def _beyond(self, asked: object) -> NoReturn:
        raise UsageError(
            f"calendar {self.name} knows the days {self.first} to {self.last}, not {asked}; "
            "a newer fin_infra may know more"
        )

    def _ordinal(self, day: date) -> int:
        if isinstance(day, datetime):
            raise UsageError(
                f"{day.isoformat()} is an instant, not a day; get_calendar({self.name!r}).local_date gives its day"
            )
        if not self.first <= day <= self.last:
            self._beyond(day)
        return day.toordinal()


def seconds(at: datetime) -> float:
    """Seconds since 1970 of an instant, exact to the microsecond; `UsageError` when it has no zone."""
    if at.tzinfo is None:
        raise UsageError(f"{at.isoformat()} has no zone; an instant needs one, such as datetime.now(UTC)")
    return at.timestamp()


def instant(of: int) -> datetime:
    return EPOCH + timedelta(seconds=of)


class SessionTable(Calendar):
    """A calendar of listed sessions: sorted arrays, and every answer is a bisection.

    `days` are proleptic ordinals, `opens` and `closes` seconds since 1970, all ascending and of one length. `edges` are
    the instants at which trading begins and stops, in turn, lunch breaks included; `kinds` has the days that are not
    regular. The instants from `begin` up to `end` can be asked about.
    """

    def __init__(
        self, name: str, zone: ZoneInfo, first: date, last: date, published: date, *, begin: int, end: int,
        days: Sequence[int], opens: Sequence[int], closes: Sequence[int], edges: Sequence[int],
        kinds: Mapping[int, Kind],
    ) -> None:  # fmt: skip
        super().__init__(name, zone.key, first, last, published)
        self._zone = zone
        self._begin = begin
        self._end = end
        self._days = days
        self._opens = opens
        self._closes = closes
        self._edges = edges
        self._kinds = kinds
        self._made: dict[int, Session] = {}

    def is_open(self, at: datetime) -> bool:
        # each opening adds 1 and each stop adds 1: after an odd number of them trading runs, also where one session
        # opens in the instant in which the other closes
        return bisect_right(self._edges, self._moment(at)) % 2 == 1

    def is_session(self, day: date) -> bool:
        return self._index(self._ordinal(day)) is not None

    def session(self, day: date) -> Session | None:
        index = self._index(self._ordinal(day))
        return None if index is None else self._at(index)

    def dates(self, first: date, last: date) -> list[date]:
        return [date.fromordinal(day) for day in self._days[self._slice(first, last)]]

    def sessions(self, first: date, last: date) -> list[Session]:
        found = self._slice(first, last)
        return [self._at(index) for index in range(found.start, found.stop)]

    def running(self, at: datetime) -> Session | None:
        moment = self._moment(at)
        index = bisect_right(self._opens, moment) - 1
        return self._at(index) if index >= 0 and moment < self._closes[index] else None

    def minutes_to_close(self, at: datetime) -> int | None:
        moment = self._moment(at)
        if bisect_right(self._edges, moment) % 2 == 0:
            return None
        return int((self._closes[bisect_right(self._closes, moment)] - moment) // 60)

    def next_session(self, after: datetime) -> Session:
        index = bisect_right(self._opens, self._moment(after))
        if index == len(self._opens):
            self._beyond(f"the session after {after.isoformat()}")
        return self._at(index)

    def next_close(self, after: datetime) -> datetime:
        index = bisect_right(self._closes, self._moment(after))
        if index == len(self._closes):
            self._beyond(f"the close after {after.isoformat()}")
        return self._at(index).close_at

    def last_closed(self, at: datetime) -> Session:
        index = bisect_right(self._closes, self._moment(at)) - 1
        if index < 0:
            self._beyond(f"the session before {at.isoformat()}")
        return self._at(index)

    def local_date(self, at: datetime) -> date:
        seconds(at)  # refuses an instant without a zone
        return at.astimezone(self._zone).date()

    @cached_property
    def _columns(self) -> Columns:
        from fin_infra.calendars.columns import TableColumns

        kinds = [self._kinds.get(day, "regular") for day in self._days]
        return TableColumns(self, self._begin, self._end, self._days, self._opens, self._closes, self._edges, kinds)

    def _moment(self, at: datetime) -> float:
        # what `seconds` does, without a call: this is on the way of every question
        moment = at.timestamp() if at.tzinfo is not None else seconds(at)
        if not self._begin <= moment < self._end:
            self._beyond(at.isoformat())
        return moment

    def _index(self, ordinal: int) -> int | None:
        index = bisect_left(self._days, ordinal)
        return index if index < len(self._days) and self._days[index] == ordinal else None

    def _slice(self, first: date, last: date) -> slice:
        if last < first:
            return slice(0, 0)
        return slice(bisect_left(self._days, self._ordinal(first)), bisect_right(self._days, self._ordinal(last)))

    def _at(self, index: int) -> Session:
        if (made := self._made.get(index)) is not None:
            return made
        ordinal, opening, close = self._days[index], self._opens[index], self._closes[index]
        day = date.fromordinal(ordinal)
        within = self._edges[bisect_right(self._edges, opening) : bisect_left(self._edges, close)]
        breaks = tuple(
            (instant(stop), instant(start)) for stop, start in zip(within[::2], within[1::2], strict=True)
        )  # fmt: skip
        made = self._made[index] = Session(
            day, instant(opening), instant(close), self._kinds.get(ordinal, "regular"), day > self.published, breaks
        )
        return made


class AlwaysOpen(Calendar):
    """24/7: a session is a UTC day, from midnight up to the next midnight."""

    def __init__(self) -> None:
        super().__init__("24/7", "UTC", date(1970, 1, 1), date(2199, 12, 31), date(2199, 12, 31))

    def is_open(self, at: datetime) -> bool:
        self._ordinal(self.local_date(at))
        return True

    def session(self, day: date) -> Session:
        begin = (self._ordinal(day) - EPOCH_DAY) * DAY
        return Session(day, instant(begin), instant(begin + DAY))

    def dates(self, first: date, last: date) -> list[date]:
        if last < first:
            return []
        return [date.fromordinal(day) for day in range(self._ordinal(first), self._ordinal(last) + 1)]

    def running(self, at: datetime) -> Session:
        return self.session(self.local_date(at))

    def next_session(self, after: datetime) -> Session:
        return self.session(self.local_date(after) + timedelta(days=1))

    def next_close(self, after: datetime) -> datetime:
        return self.running(after).close_at

    def last_closed(self, at: datetime) -> Session:
        return self.session(self.local_date(at) - timedelta(days=1))

    def local_date(self, at: datetime) -> date:
        seconds(at)
        return at.astimezone(UTC).date()

    @cached_property
    def _columns(self) -> Columns:
        from fin_infra.calendars.columns import DayColumns

        return DayColumns(self)
