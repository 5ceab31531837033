"""Names change hands: what a key meant on a day, and what a vendor's symbol was said to mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from typing import NamedTuple

from fin_infra.errors import UsageError
from fin_infra.instruments.key import InstrumentKey, as_key
from fin_infra.instruments.known import rows


class Rename(NamedTuple):
    """On the day `on` what was called `old` began to be called `new`.

    `until`: the first day on which `old` names something else that nobody renamed into it: a new listing. None: so far
    the old name means the same, for whoever still writes it.
    """

    old: str
    new: str
    on: date
    until: date | None = None


class SymbolAlias(NamedTuple):
    """What a vendor's symbol, or its own id, means from `valid_from` (None: ever) up to, not including, `valid_to`."""

    provider: str
    symbol: str
    instrument: str
    reason: str
    valid_from: date | None = None
    valid_to: date | None = None

    def holds(self, on: date) -> bool:
        return (self.valid_from is None or self.valid_from <= on) and (self.valid_to is None or on < self.valid_to)


@cache
def renames() -> tuple[Rename, ...]:
    """Well-known renames that are shipped, in `aliases.csv`, each with its source."""
    return tuple(
        Rename(
            row["old"], row["new"], date.fromisoformat(row["renamed_on"]),
            date.fromisoformat(row["until"]) if row["until"] else None,
        )
        for row in rows("aliases.csv")
    )  # fmt: skip


def renamed(changes: Iterable[tuple[str, str, date]]) -> tuple[Rename, ...]:
    """Renames of (old, new, first day of the new name): what corporate actions of kind `symbol_change` say."""
    return tuple(Rename(str(as_key(old)), str(as_key(new)), on) for old, new, on in changes)


def resolve_key(key: InstrumentKey | str, on: date, changes: Sequence[Rename] | None = None) -> InstrumentKey:
    """The newest name of what was called `key` on a day: `us:FB` on 2021-01-04 is `us:META`.

    A name in use on that day that was given up later is followed; so is one given up before, unless something else
    bears it by then: then it means that, and inherits nothing. `changes`: default the shipped ones. Raises `UsageError`
    for what is no key, and for renames that lead round in a circle on one day.
    """
    name, day = str(as_key(key)), on
    known = renames() if changes is None else changes
    for _ in range(len(known) + 1):
        step = _step(name, day, known)
        if step is None:
            return InstrumentKey.parse(name)
        name, day = step.new, max(step.on, day)
    raise UsageError(f"the renames of {key} on {on} lead round in a circle; correct them")


def _step(name: str, day: date, changes: Sequence[Rename]) -> Rename | None:
    """The rename by which what bears this name on that day goes on to its next name."""
    away = sorted((change for change in changes if change.old == name), key=lambda change: change.on)
    later = [change for change in away if change.on > day]
    if not (past := [change for change in away if change.on <= day]):
        return later[0] if later else None
    last = past[-1]
    taken = [change.on for change in changes if change.new == name and change.on >= last.on]
    taken += [last.until] if last.until is not None else []
    if any(since <= day for since in taken):  # somebody else bears the name by now
        return later[0] if later else None
    return last


def alias_of(aliases: Iterable[SymbolAlias], symbol: str, on: date) -> str | None:
    """The key that a symbol was said to mean on a day; None where nobody said so."""
    return next((alias.instrument for alias in aliases if alias.symbol == symbol and alias.holds(on)), None)


def overlapping(one: SymbolAlias, other: SymbolAlias) -> bool:
    """Whether a day exists on which both hold."""
    begins = [alias.valid_from or date.min for alias in (one, other)]
    ends = [alias.valid_to or date.max for alias in (one, other)]
    return max(begins) < min(ends)
