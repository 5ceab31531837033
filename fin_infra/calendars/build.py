"""Compiles the snapshot from pandas_market_calendars and `overrides.csv`. Needs the extra `calendars`.

    fin-infra calendar build

An entry holds the zone, the weekly patterns with the day from which each holds, and what departs from them: `closed`
days, and `hours_on` other days with their kind. Local hours and not instants are kept, so that a government's new rule
for summer time reaches us with the machine's zone data and not with our next release.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from fin_infra.calendars.calendar import Kind
from fin_infra.calendars.exchanges import ALIASES, EXCHANGES, Exchange, Regime
from fin_infra.calendars.snapshot import EVE, Hours, hours, usual
from fin_infra.errors import UsageError

OVERRIDES = Path(__file__).with_name("overrides.csv")
COLUMNS = ["mic", "date", "expected", "open", "close", "breaks", "reason", "source"]
VERSION = 2
DIRECT = "exchange_calendars "


class Override(NamedTuple):
    """A day on which we know better than the library; `hours` are None when it is closed."""

    mic: str
    day: date
    expected: str
    hours: Hours | None
    place: str


def build(overrides: Path | None = None, only: Iterable[str] | None = None) -> dict[str, str]:
    """The text of each calendar's entry: the same library and overrides give the same bytes.

    Raises `UsageError` where the library is missing or loses sessions, and at an override that is not whole.
    """
    known = read_overrides(overrides or OVERRIDES)
    texts = {}
    for mic in only or EXCHANGES:
        exchange = EXCHANGES[mic]
        texts[mic] = entry(exchange, [override for override in known if override.mic == mic])
    for alias, (name, mic) in ALIASES.items():
        if mic in texts:
            texts[alias] = _text({"version": VERSION, "name": name, "same_as": mic})
    return dict(sorted(texts.items()))


def entry(exchange: Exchange, overrides: Sequence[Override]) -> str:
    """The entry of one exchange, with what we know better."""
    regimes = exchange.regimes
    if exchange.closed is not None:
        sessions = ruled_sessions(exchange, exchange.closed)
    else:
        sessions, found = library_sessions(replace(exchange, last=exchange.known or exchange.last))
        if exchange.known is not None and exchange.fixed is not None:
            after = replace(exchange, first=exchange.known + timedelta(days=1), regimes=regimes or found)
            sessions |= ruled_sessions(after, exchange.fixed)
        if regimes:
            sessions = {day: _ours(day, held, found, regimes) for day, held in sessions.items()}
        regimes = regimes or found
    kinds: dict[date, Kind] = {}
    for override in overrides:
        told = apply(override, sessions, regimes)
        if told is not None:
            kinds[override.day] = told
    return _text(compiled(exchange, regimes, sessions, kinds))


def ruled_sessions(exchange: Exchange, closed: Callable[[int], Iterable[date]]) -> dict[date, Hours]:
    """The sessions of a calendar that is ours: its weekly patterns less the days that its own rule closes."""
    off = {day for year in range(exchange.first.year, exchange.last.year + 1) for day in closed(year)}
    found = {}
    for day in days(exchange.first, exchange.last):
        pattern = regime_on(exchange.regimes, day).week[day.weekday()]
        if pattern is not None and day not in off:
            found[day] = usual(pattern)[1]
    return found


def library_sessions(exchange: Exchange) -> tuple[dict[date, Hours], tuple[Regime, ...]]:
    """The library's sessions, oldest first, and its regular hours. Raises `UsageError` where it gives half of them."""
    try:
        import pandas
        import pandas_market_calendars  # brings exchange_calendars
    except ImportError:
        raise UsageError("compiling calendars needs the extra `calendars`; install fin-infra[calendars]") from None
    if tuple(int(part) for part in pandas.__version__.split(".")[:2]) >= (3, 1):
        raise UsageError(f"pandas {pandas.__version__} silently loses sessions; install pandas<3.1")
    assert exchange.library is not None
    if exchange.library.startswith(DIRECT):
        schedule, times, closed = _from_exchange_calendars(exchange)
    else:
        library = pandas_market_calendars.get_calendar(exchange.library)
        schedule = library.schedule(exchange.first, exchange.last, tz=exchange.zone)
        times = library.regular_market_times
        closed = library.holidays().holidays
    found: dict[date, Hours] = {}
    for stamp, *moments in zip(schedule.index, *(schedule[name] for name in _columns(schedule)), strict=True):
        day = stamp.date()
        try:
            found[day] = _hours_on(day, [None if pandas.isna(at) else at.to_pydatetime() for at in moments])
        except ValueError as error:
            raise UsageError(f"{exchange.library} {day}: {error}") from None
    regimes = _regimes(exchange, times)
    refuse_losses(exchange, found, exchange.regimes or regimes, {pandas.Timestamp(day).date() for day in closed})
    return found, regimes


def refuse_losses(
    exchange: Exchange, sessions: Container[date], regimes: Sequence[Regime], holidays: Container[date]
) -> None:
    """Raises `UsageError` at a day of the weekly pattern that has no session though the library has no holiday on it.

    With pandas 3.1 sessions were lost without a word. Whatever loses some the next time is to be seen here.
    """
    lost = [
        day
        for day in days(exchange.first, exchange.last)
        if regime_on(regimes, day).week[day.weekday()] is not None and day not in sessions and day not in holidays
    ]
    if lost:
        raise UsageError(
            f"{exchange.library} has lost {len(lost)} sessions, the first on {lost[0]}, that it calls no holiday; "
            "install the versions of requirements.lock"
        )


def _from_exchange_calendars(exchange: Exchange) -> tuple[Any, dict[str, Sequence[Any]], list[Any]]:
    """The schedule in local time, the regular times and the holidays, as pandas_market_calendars would give them."""
    import exchange_calendars

    mic = str(exchange.library).removeprefix(DIRECT)
    calendar = exchange_calendars.get_calendar(mic, start=exchange.first.isoformat(), end=exchange.last.isoformat())
    schedule = calendar.schedule.apply(lambda column: column.dt.tz_convert(exchange.zone))
    schedule = schedule.rename(columns={"open": "market_open", "close": "market_close"})
    times = {"market_open": calendar.open_times, "market_close": calendar.close_times}
    if calendar.break_start_times:
        times |= {"break_start": calendar.break_start_times, "break_end": calendar.break_end_times}
    if calendar.open_offset:
        times["market_open"] = [(*step, calendar.open_offset) for step in times["market_open"]]
    rules = calendar.regular_holidays
    ruled = [] if rules is None else rules.holidays(exchange.first.isoformat(), exchange.last.isoformat())
    return schedule, times, [*ruled, *calendar.adhoc_holidays]


def _ours(day: date, held: Hours, library: Sequence[Regime], regimes: Sequence[Regime]) -> Hours:
    """On a day with the library's regular hours those that we state hold; its own exceptions stay."""
    theirs, ours = (regime_on(known, day).week for known in (library, regimes))
    here = ours[day.weekday()]
    # the library has one pattern for all weekdays
    return usual(here)[1] if here is not None and held.text == theirs[0] else held


def _columns(schedule: Any) -> list[str]:
    inner = ["break_start", "break_end"] if "break_start" in schedule.columns else []
    return ["market_open", *inner, "market_close"]


def _hours_on(day: date, times: Sequence[datetime | None]) -> Hours:
    opening, *inner, close = times
    if opening is None or close is None:
        raise ValueError("a session without opening or close")
    spans = f"{_local(day, opening)}-{_local(day, close)}"
    if inner and inner[0] is not None and inner[1] is not None and opening < inner[0] < inner[1] < close:
        spans = f"{_local(day, opening)}-{_local(day, inner[0])} {_local(day, inner[1])}-{_local(day, close)}"
    return hours(spans)


def _local(day: date, moment: datetime) -> str:
    if moment.date() == day:
        return f"{moment:%H:%M}"
    if moment.date() == day - timedelta(days=1):
        return f"{EVE}{moment:%H:%M}"
    raise ValueError(f"{moment} is neither of the session's day nor of the day before")


def _regimes(exchange: Exchange, times: Mapping[str, Sequence[Any]]) -> tuple[Regime, ...]:
    """The library's regular hours from Monday to Friday, with the day from which each holds."""
    parts = ["market_open", *(["break_start", "break_end"] if "break_start" in times else []), "market_close"]
    changes = {part: [_change(step) for step in times[part]] for part in parts}
    since = {exchange.first} | {day for steps in changes.values() for day, _ in steps if day > exchange.first}
    found: list[Regime] = []
    for start in sorted(day for day in since if day <= exchange.last):
        opening, *inner, close = ([clock for day, clock in changes[part] if day <= start][-1] for part in parts)
        text = f"{opening}-{close}"
        if inner and inner[0] and inner[0] != inner[1]:
            text = f"{opening}-{inner[0]} {inner[1]}-{close}"
        pattern = (text,) * 5 + (None, None)
        if not found or found[-1].week != pattern:
            found.append(Regime(start, pattern))
    return tuple(found)


def _change(step: Any) -> tuple[date, str]:
    """A step of regular hours: from which day, which local time; a third value of -1 is the day before.

    No time at all ends the lunch breaks.
    """
    since = date.min if step[0] is None else date.fromisoformat(str(step[0])[:10])
    return since, "" if step[1] is None else (EVE if tuple(step[2:]) == (-1,) else "") + f"{step[1]:%H:%M}"


def read_overrides(path: Path) -> list[Override]:
    """The rows of the override file. Raises `UsageError` with file and line at a row that is not whole."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != COLUMNS:
            raise UsageError(f"{path.name}:1: the columns must be {','.join(COLUMNS)}")
        return [_override(row, f"{path.name}:{rows.line_num}") for row in rows]


def _override(row: Mapping[str, str], place: str) -> Override:
    exchange = EXCHANGES.get(row["mic"])
    if exchange is None:
        raise UsageError(f"{place}: unknown mic {row['mic']!r}; there are: {', '.join(EXCHANGES)}")
    try:
        day = date.fromisoformat(row["date"])
        told = None if row["expected"] == "closed" else _told(row)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None
    if not exchange.first <= day <= exchange.last:
        raise UsageError(f"{place}: {day} is not between {exchange.first} and {exchange.last}")
    if not (row["reason"] and row["source"]):
        raise UsageError(f"{place}: an override needs its reason and its source")
    return Override(row["mic"], day, row["expected"], told, place)


def _told(row: Mapping[str, str]) -> Hours:
    """An override's hours: `breaks` are as `12:00-13:00`, more than one with a blank between."""
    stops = [stop.partition("-") for stop in row["breaks"].split()]
    begins, ends = [row["open"], *(end for _, _, end in stops)], [*(begin for begin, _, _ in stops), row["close"]]
    return hours(" ".join(f"{begin}-{end}" for begin, end in zip(begins, ends, strict=True)))


def apply(override: Override, sessions: dict[date, Hours], regimes: Sequence[Regime]) -> Kind | None:
    """Writes an override over the library's `sessions`; tells when the library has come to say the same.

    Returns the kind where the row says it, rather than the hours: within the regular hours a session may be special.
    Raises `UsageError` where the row contradicts its own hours.
    """
    by_hours = "closed" if override.hours is None else kind(override.day, override.hours, regimes)
    named = "special" if override.expected == "special" and by_hours not in ("closed", "regular") else None
    if named is None and override.expected != ("open" if by_hours == "regular" else by_hours):
        raise UsageError(f"{override.place}: by its hours the day is {by_hours}, not {override.expected}")
    if sessions.get(override.day) == override.hours and named is None:
        say(f"{override.place}: the library says the same of {override.day} now")
    if override.hours is None:
        sessions.pop(override.day, None)
    else:
        sessions[override.day] = override.hours
    return "special" if named else None


def compiled(
    exchange: Exchange, regimes: Sequence[Regime], sessions: Mapping[date, Hours], kinds: Mapping[date, Kind]
) -> dict[str, Any]:
    """The entry of one exchange: its weekly patterns, and every day that departs from them."""
    closed: dict[str, list[str]] = {}
    other: dict[str, str] = {}
    for day in days(exchange.first, exchange.last):
        text = regime_on(regimes, day).week[day.weekday()]
        found, pattern = sessions.get(day), None if text is None else usual(text)
        if found is None:
            if pattern is not None:
                closed.setdefault(f"{day.year:04}", []).append(f"{day:%m-%d}")
        elif pattern is None or found != pattern[1] or day in kinds:
            other[day.isoformat()] = f"{kinds.get(day) or kind(day, found, regimes)} {found.text}"
    return {
        "version": VERSION,
        "name": exchange.name,
        "zone": exchange.zone,
        "first": exchange.first.isoformat(),
        "last": exchange.last.isoformat(),
        "published": exchange.published.isoformat(),
        "published_in": exchange.published_in,
        "regimes": [{"from": regime.since.isoformat(), "week": list(regime.week)} for regime in regimes],
        "closed": {year: " ".join(found) for year, found in closed.items()},
        "hours_on": other,
    }


def kind(day: date, found: Hours, regimes: Sequence[Regime]) -> Kind:
    """What sets the day apart from the weekly pattern; a later close alone is special, and so is a missing break."""
    text = regime_on(regimes, day).week[day.weekday()]
    if text is None:
        return "special"
    named, pattern = usual(text)
    if found == pattern:
        return named
    late, early = found.opening > pattern.opening, found.close < pattern.close
    apart = found.opening >= pattern.close or found.close <= pattern.opening
    if apart:
        return "special"
    if found.opening != pattern.opening and found.close != pattern.close:
        return "shifted" if late else "special"
    return "late" if late else "early" if early else "special"


def regime_on(regimes: Sequence[Regime], day: date) -> Regime:
    """The weekly pattern that holds on this day."""
    return next(regime for regime in reversed(regimes) if regime.since <= day)


def days(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def differences(texts: Mapping[str, str], folder: Path) -> list[str]:
    """What a folder's entries say otherwise than `texts`: one line a calendar and day, or part of an entry."""
    held = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    found = []
    for mic in sorted({*texts, *held}):
        if held.get(mic) == texts.get(mic):
            continue
        new, old = (_flat(json.loads(source.get(mic, "{}"))) for source in (texts, held))
        parts = sorted(part for part in {*new, *old} if new.get(part) != old.get(part))
        found += [f"{mic} {part}: {old.get(part, 'nothing')} is now {new.get(part, 'nothing')}" for part in parts]
        found += [] if parts else [f"{mic}: written otherwise"]
    return found


def _flat(entry: Mapping[str, Any]) -> dict[str, str]:
    closed = {f"{year}-{day}": "closed" for year, found in entry.get("closed", {}).items() for day in found.split()}
    rest = {part: str(value) for part, value in entry.items() if part not in ("closed", "hours_on")}
    return {**rest, **closed, **entry.get("hours_on", {})}


def write(texts: Mapping[str, str], folder: Path) -> list[str]:
    """Makes the folder hold these entries and no others; returns the calendars that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {path.stem: path for path in folder.glob("*.json")}
    changed = []
    for mic in sorted({*texts, *held}):
        path = folder / f"{mic}.json"
        if mic not in texts:
            path.unlink()
        elif mic not in held or path.read_text(encoding="utf-8") != texts[mic]:
            path.write_text(texts[mic], encoding="utf-8")
        else:
            continue
        changed.append(mic)
    return changed


def _text(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, indent=1, ensure_ascii=False) + "\n"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
