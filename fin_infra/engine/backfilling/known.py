"""What a vendor is known not to have of one instrument: before which day nothing, and which sessions. Pure.

It is remembered for all later backfills, apart from what the live stream remembers in its own cursor. `head`: nothing
is before this day, known for certain; `heading`: [that day, when it was seen so once]. `absent`: session → when it was
first missed, "" once a later read missed it too. `refused`: [day, sentence], the vendor did not know its symbol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from fin_infra.engine.series import MISSED_APART, REFUSED_FOR, Spot

Known = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What one whole answer said of an instrument that was asked for from `first` to `last`.

    `begins`: the first day with a bar, in it or held, None without any; `missing`: sessions without one.
    """

    first: date
    last: date
    begins: date | None
    missing: tuple[date, ...] = ()


def learned(known: Known, told: Told, now: datetime) -> Known:
    """What is known after an answer.

    One answer that begins late may be a bad day of the vendor's. It is believed when another one, about older days, is
    empty, or when the same is seen on another day.
    """
    after = {name: value for name, value in known.items() if name in ("head", "heading", "absent")}
    if told.begins is not None:
        for name, day in (("head", after.get("head")), ("heading", after.get("heading", [None])[0])):
            if day is not None and told.begins.isoformat() < day:
                after.pop(name)
    lead = told.begins is None or any(day < told.begins for day in told.missing)
    if lead:
        begin = (told.begins or told.last + timedelta(days=1)).isoformat()
        before = after.pop("heading", None)
        if before is not None and (
            _apart(before[1], now) or (told.begins is None and told.last.isoformat() < before[0])
        ):
            after["head"] = before[0] if told.begins is None else min(before[0], begin)
        elif after.get("head", "9999") > begin:
            after["heading"] = before if before is not None and before[0] <= begin else [begin, _said(now)]
    absent = dict(after.pop("absent", {}))
    for day in [day for day in absent if told.first.isoformat() <= day <= told.last.isoformat()]:
        if date.fromisoformat(day) not in told.missing:
            del absent[day]
    for missed in told.missing:
        if told.begins is not None and missed > told.begins:
            seen = absent.get(missed.isoformat(), _said(now))
            absent[missed.isoformat()] = "" if not seen or _apart(seen, now) else seen
    if absent:
        after["absent"] = dict(sorted(absent.items()))
    return after


def refused(known: Known, sentence: str, now: datetime) -> Known:
    """The vendor does not know its symbol: it is not asked for again so soon."""
    return {**known, "refused": [now.date().isoformat(), sentence]}


def refusal(known: Known, now: datetime) -> str | None:
    """Why it is not asked for now."""
    day, sentence = known.get("refused", ["0001-01-01", None])
    return sentence if now.date() - date.fromisoformat(day) < REFUSED_FOR else None


@dataclass(frozen=True)
class Nothing:
    """What need not be asked for. `begin`: nothing is before it; `absent`: sessions without a bar."""

    begin: date | None = None
    absent: frozenset[date] = field(default_factory=frozenset)


Once = Literal["never", "lately", "always"]
"""Whether what was seen only once counts: not at all; no longer than a day, when to ask again would prove nothing; or
however long ago, to tell what is known."""


def nothing(known: Known, live: Spot, first_held: date | None, now: datetime, *, once: Once) -> Nothing:
    """What the vendor has not, by what backfills know and what the live stream knows (`live`, its spot).

    A bar that is held before the day that either gives disproves it.
    """

    def counts(seen: str) -> bool:
        return not seen or once == "always" or (once == "lately" and not _apart(seen, now))

    begins = [day for day in (known.get("head"), live.get("head")) if day]
    if "heading" in known and counts(known["heading"][1]):
        begins.append(known["heading"][0])
    begin = date.fromisoformat(min(begins)) if begins else None
    if begin is not None and first_held is not None and first_held < begin:
        begin = first_held
    absent = {day for day, seen in live.get("absent", {}).items() if not seen}
    absent |= {day for day, seen in known.get("absent", {}).items() if counts(seen)}
    return Nothing(begin, frozenset(map(date.fromisoformat, absent)))


def _apart(seen: str, now: datetime) -> bool:
    return now - datetime.fromisoformat(seen) >= MISSED_APART


def _said(now: datetime) -> str:
    return now.isoformat(timespec="seconds")
