"""What a calendar answers. Instants have a zone and are given out in UTC; days are exchange-local dates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NoReturn
from zoneinfo import ZoneInfo

from fin_infra.errors import UsageError

Kind = Literal["regular", "early", "late", "shifted", "special"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.toordinal()
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day: open from `open_at` up to, not including, `close_at`, both UTC.

    `kind`: regular, early (short close), late (late open), shifted (both moved), special (outside the weekly pattern).
    `provisional`: by rule only, since the exchange has not published its holidays that far.
    """

    date: date
    open_at: datetime
    close_at: datetime
    kind: Kind = "regular"
    provisional: bool = False


class Calendar(ABC):
    """Sessions of one exchange over the days `first` to `last`.

    A question about other days raises `UsageError`, as do an instant without a zone and an instant in place of a day:
    what is not known is never answered with "closed".
    """

    def __init__(self, name: str, zone: str, first: date, last: date) -> None:
        self.name = name
        self.zone = zone
        self.first = first
        self.last = last

    def __repr__(self) -> str:
        return f"<Calendar {self.name} {self.first} to {self.last}>"

    @abstractmethod
    def is_open(self, at: datetime) -> bool:
        """Whether a session runs at this instant; at its opening yes, at its close no longer."""

    @abstractmethod
    def session(self, day: date) -> Session | None:
        """The session of this day, None on a day without one."""

    @abstractmethod
    def dates(self, first: date, last: date) -> list[date]:
        """The days with a session from `first` to `last`, both included, oldest first."""

    @abstractmethod
    def next_session(self, after: datetime) -> Session:
        """The first session that opens later than `after`: never the one that opens in that very instant."""

    @abstractmethod
    def last_closed(self, at: datetime) -> Session:
        """The latest session whose close is at or before `at`."""

    @abstractmethod
    def local_date(self, at: datetime) -> date:
        """The exchange-local date of an instant."""

    def is_session(self, day: date) -> bool:
        """Whether this day has a session."""
        return self.session(day) is not None

    def sessions(self, first: date, last: date) -> list[Session]:
        """The sessions from `first` to `last`, both included, oldest first; none when `last` is before `first`."""
        return [found for day in self.dates(first, last) if (found := self.session(day)) is not None]

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

    `days` are proleptic ordinals, `opens` and `closes` seconds since 1970, all ascending and of one length; `kinds` has
    the days that are not regular. Sessions on days after `published` are provisional.
    """

    def __init__(
        self, name: str, zone: ZoneInfo, first: date, last: date, published: date, *,
        days: Sequence[int], opens: Sequence[int], closes: Sequence[int], kinds: Mapping[int, Kind],
    ) -> None:  # fmt: skip
        super().__init__(name, zone.key, first, last)
        self.published = published
        self._zone = zone
        self._days = days
        self._opens = opens
        self._closes = closes
        self._kinds = kinds
        self._made: dict[int, Session] = {}
        self._begin = datetime(first.year, first.month, first.day, tzinfo=zone).timestamp()
        after = last + timedelta(days=1)
        self._end = datetime(after.year, after.month, after.day, tzinfo=zone).timestamp()

    def is_open(self, at: datetime) -> bool:
        moment = self._moment(at)
        index = bisect_right(self._opens, moment) - 1
        return index >= 0 and moment < self._closes[index]

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

    def next_session(self, after: datetime) -> Session:
        index = bisect_right(self._opens, self._moment(after))
        if index == len(self._opens):
            self._beyond(f"the session after {after.isoformat()}")
        return self._at(index)

    def last_closed(self, at: datetime) -> Session:
        index = bisect_right(self._closes, self._moment(at)) - 1
        if index < 0:
            self._beyond(f"the session before {at.isoformat()}")
        return self._at(index)

    def local_date(self, at: datetime) -> date:
        seconds(at)  # refuses an instant without a zone
        return at.astimezone(self._zone).date()

    def _moment(self, at: datetime) -> float:
        moment = seconds(at)
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
        ordinal = self._days[index]
        day = date.fromordinal(ordinal)
        made = self._made[index] = Session(
            day, instant(self._opens[index]), instant(self._closes[index]), self._kinds.get(ordinal, "regular"),
            day > self.published,
        )  # fmt: skip
        return made


class AlwaysOpen(Calendar):
    """24/7: a session is a UTC day, from midnight up to the next midnight."""

    def __init__(self) -> None:
        super().__init__("24/7", "UTC", date(1970, 1, 1), date(2199, 12, 31))

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

    def next_session(self, after: datetime) -> Session:
        return self.session(self.local_date(after) + timedelta(days=1))

    def last_closed(self, at: datetime) -> Session:
        return self.session(self.local_date(at) - timedelta(days=1))

    def local_date(self, at: datetime) -> date:
        seconds(at)
        return at.astimezone(UTC).date()
