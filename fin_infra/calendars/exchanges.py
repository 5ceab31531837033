"""What is compiled of each exchange: where its sessions come from, and how far it has announced them itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

Pattern = tuple[str | None, ...]
"""The hours of each weekday, Monday first; None is a day without a session."""


@dataclass(frozen=True)
class Regime:
    """The weekly pattern from this day on; `early 10:00-13:50` says that a weekday's own hours are no full day."""

    since: date
    week: Pattern


@dataclass(frozen=True)
class Exchange:
    """What is compiled of one exchange.

    `library`: the calendar of pandas_market_calendars it is read from, and `chosen` says why this one; None where
    `regimes` and `closed` are the rule itself. `regimes` are read from the library where they are not stated.
    `published`: up to this day the exchange has announced its holidays, see `published_in`; the rules go on to `last`,
    and those sessions are provisional.
    """

    name: str
    library: str | None
    chosen: str
    zone: str
    published: date
    published_in: str
    first: date = date(1990, 1, 1)
    last: date = date(2035, 12, 31)
    regimes: tuple[Regime, ...] = ()
    closed: Callable[[int], Iterable[date]] | None = None


def weekdays(hours: str) -> Pattern:
    """The same hours from Monday to Friday."""
    return (hours,) * 5 + (None, None)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar, by the formula of Meeus, Jones and Butcher."""
    century, rest = divmod(year, 100)
    moon = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    sunday = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    shift = (year % 19 + 11 * moon + 22 * sunday) // 451
    month, day = divmod(moon + sunday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def never(year: int) -> list[date]:
    """A calendar without holidays."""
    return []


def target_holidays(year: int) -> list[date]:
    """The closing days of TARGET, by the decisions of the ECB for 2000, 2001 and from 2002 until further notice."""
    found = [
        date(year, 1, 1), easter(year) - timedelta(days=2), easter(year) + timedelta(days=1), date(year, 5, 1),
        date(year, 12, 25), date(year, 12, 26),
    ]  # fmt: skip
    return [*found, date(year, 12, 31)] if year == 2001 else found


EXCHANGES = {
    "XNYS": Exchange(
        "New York Stock Exchange", "NYSE", "knows the late openings and interrupted days of the 1990s, XNYS does not",
        "America/New_York", date(2028, 12, 31),
        "NYSE Group announces 2026, 2027 and 2028 holiday and early closings calendar, 2025-12-23",
    ),
    "FX": Exchange(
        "foreign exchange, 24 hours on 5 days", None, "a convention of ours: no holidays, sessions end at 17:00",
        "America/New_York", date(2035, 12, 31), "the convention has no holidays to announce",
        regimes=(Regime(date(1990, 1, 1), weekdays("<17:00-17:00")),), closed=never,
    ),
    "TARGET": Exchange(
        "days with an ECB reference rate", None, "the ECB's rule is six days a year, no library has it with hours",
        "Europe/Berlin", date(2035, 12, 31),
        "ECB press release of 2000-12-14, TARGET closing days from 2002 until further notice",
        first=date(2000, 1, 1),
        regimes=(
            Regime(date(2000, 1, 1), weekdays("07:00-18:00")),
            Regime(date(2023, 3, 20), weekdays("02:30-18:00")),  # the launch of T2
        ),
        closed=target_holidays,
    ),
}  # fmt: skip

ALIASES = {"XNAS": "XNYS"}
"""Exchanges that keep another's sessions."""
