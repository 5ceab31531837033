"""The one algorithm of every ledger, over a small interface to what it keeps. Pure; moments are microseconds.

A window has a row; a rolling one has an entry per call besides. An entry counts from its `stamp` for one period.
While the call is in flight the stamp is the latest moment at which the vendor can count it; the answer moves it to
`min(now, written + arrive_within)`. As the vendor's own stamp is never later than ours, a unit is never free here
before it is free there: for a vendor that counts in a sliding window, in fixed ones of any phase, or by a bucket.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from fin_infra.quotas.bounds import SECOND, micros, moment, period_of
from fin_infra.quotas.ledger import Denied, Grant, Why
from fin_infra.quotas.windows import LANES, SHORT, URGENT, Calendar, Lane, Rolling, Spacing, Window

FAR = 1 << 62
UNLIMITED = 1_000_000_000
"""Capacity where no window counts."""
GRACE = SECOND // 4  # a unit is held so much longer than the ETA of the call that it is held for
MEMORY = 3  # periods over which the rate of urgent calls is learned
DOWN = 0.9  # what a refusal leaves of a limit
CLEAN = 10  # periods without a refusal that give one unit back
LATE = 150_000  # microseconds a paced call may come late and cost nobody anything: workers poll, machines are busy
GRAINS = 1000  # parts of a period; of a window of more units, what is freed within one counts as freed at its end
LANE = {lane: rank for rank, lane in enumerate(LANES)}

ROLLING, CALENDAR, SPACING = "rolling", "calendar", "spacing"
MONTH, DAY = 31 * 86_400 * SECOND, 86_400 * SECOND
ASTRAY = 3600 * SECOND
"""No two clocks that share a ledger differ by so much. What is dated later is of a clock that was wrong."""


class Spec:
    """A window as the algorithm wants it: its numbers in microseconds, its declaration as text."""

    __slots__ = (
        "_bounds", "arrive", "declaration", "flight", "for_all", "grain", "interval", "key", "kind", "limit", "long",
        "mark", "period", "refunds", "skew", "window",
    )  # fmt: skip

    def __init__(self, window: Window, timeout: int) -> None:
        self.window = window
        self.key = window.key
        self.arrive: int | None = None
        self.interval = self.skew = self.flight = 0
        self.for_all = False
        self.limit, self.refunds, self.long = 1, False, False
        match window:
            case Rolling():
                self.kind = ROLLING
                self.period = round(window.period * SECOND)
                self.arrive = None if window.arrive_within is None else round(window.arrive_within * SECOND)
                self.flight = timeout if self.arrive is None else self.arrive
                self.long = window.period > SHORT
            case Calendar():
                self.kind = CALENDAR
                self.period = DAY if window.unit == "day" else MONTH
                self.skew = round(window.skew * SECOND)
                self.long = True
            case Spacing():
                self.kind = SPACING
                self.period = self.interval = round(window.interval * SECOND)
                self.for_all = window.for_all
        if not isinstance(window, Spacing):
            self.limit = window.permitted
            self.refunds = window.charge == "success"
        self.declaration = json.dumps({"kind": self.kind, **asdict(window)}, separators=(",", ":"))
        self.mark = zlib.crc32(self.declaration.encode())
        self.grain = 1 if self.limit <= GRAINS else max(1, self.period // GRAINS)
        self._bounds = (0, 0)

    def bounds(self, now: int) -> tuple[int, int]:
        """Of a calendar window: the period that `now` lies in."""
        start, end = self._bounds
        if not start <= now < end:
            assert isinstance(self.window, Calendar)
            self._bounds = start, end = period_of(self.window, now)
        return start, end


def declared(text: str) -> Window:
    """The window of a declaration."""
    known: dict[str, Any] = json.loads(text)
    kind = known.pop("kind")
    if "endpoints" in known:
        known["endpoints"] = tuple(known["endpoints"])
    made: Window = {ROLLING: Rolling, CALENDAR: Calendar, SPACING: Spacing}[kind](**known)
    return made


@dataclass(slots=True)
class Row:
    """What is kept of a window. `used`: units that count, entries not yet taken out included. `win`: first moment of
    the calendar period that `used` is of. `tat`: when a spacing admits next. `blocked`: the vendor told us to wait.
    `hold`: a lane's rank, and until when. `limit_now`: units since `adapted_at`, 0 as declared. `total`: units ever
    given, and `others` those among them that others took. `urgent`: leaky sum of urgent units at `urgent_at`.
    `oldest`: no entry ends its period before this one's. `reserve`: as found last, good until `reserve_until`."""

    key: str
    mark: int = 0
    used: int = 0
    win: int = 0
    tat: int = 0
    blocked: int = 0
    hold_lane: int = 0
    hold_until: int = 0
    limit_now: int = 0
    adapted_at: int = 0
    total: int = 0
    others: int = 0
    urgent: float = 0.0
    urgent_at: int = 0
    throttled: int = 0
    oldest: int = FAR
    reserve: int = 0
    reserve_until: int = 0
    changed: bool = False


class State(Protocol):
    """What a ledger keeps, within one transaction. Entries are those of rolling windows, ordered by stamp."""

    now: int

    def row(self, key: str) -> Row:
        """The row, a new one where there is none. Kept when it is `changed`."""
        ...

    def declare(self, row: Row, declaration: str) -> None:
        """The window is declared anew."""
        ...

    def expire(self, key: str, until: int) -> tuple[int, int]:
        """Takes out the entries stamped at `until` or before: their units, and the oldest stamp left, else `FAR`."""
        ...

    def entries(self, key: str) -> Iterable[tuple[int, int]]:
        """Stamp and units of each entry, oldest first."""
        ...

    def grains(self, key: str, grain: int) -> Sequence[tuple[int, int]]:
        """The same, summed over parts of `grain` microseconds, each with its last stamp."""
        ...

    def units(self, key: str, until: int) -> int:
        """Units of entries stamped at `until` or before."""
        ...

    def newest(self, key: str) -> int:
        """The last stamp, 0 without entries."""
        ...

    def add(self, entry: str, key: str, stamp: int, units: int, *, sent: bool) -> None:
        """A new entry."""
        ...

    def restamp(self, entry: str, stamps: Sequence[tuple[str, int, int]]) -> bool:
        """The answer is here: keys, provisional stamps and final ones of a call's entries. False, and nothing done,
        where one is missing or no longer in flight."""
        ...

    def take(self, entry: str, key: str, stamp: int) -> int | None:
        """Takes out the entry of a call in flight, whose stamp is provisional: its units, None where there is none."""
        ...

    def settled(self, entry: str, key: str) -> bool:
        """Whether there is an entry of a call that was answered."""
        ...


# -- what is left of a window ----------------------------------------------------------------------------------------


def look(state: State, spec: Spec) -> Row:
    """The row as of now: what has expired is gone, a new period begun."""
    row = state.row(spec.key)
    if row.mark != spec.mark:
        _declare(state, spec, row)
    now = state.now
    if spec.kind is ROLLING:
        if row.oldest + spec.period <= now:
            freed, row.oldest = state.expire(spec.key, now - spec.period)
            row.oldest = min(row.oldest, now) if row.oldest != FAR else FAR  # a call in flight may yet settle as of now
            if freed:
                row.used -= freed
                row.reserve_until = 0
            row.changed = True
    elif spec.kind is CALENDAR:
        start, end = spec.bounds(now)
        if row.win < start:
            row.win, row.used, row.reserve_until, row.changed = start, 0, 0, True
        elif row.win > end:  # a clock that was far ahead: what it spent counts now, and no longer than other calls
            row.win, row.reserve_until, row.changed = start, 0, True
    return row


def _declare(state: State, spec: Spec, row: Row) -> None:
    """A window seen first, or declared otherwise than before: what is spent stays, what was learned of a limit goes."""
    row.used = sum(units for _, units in state.entries(spec.key)) if spec.kind is ROLLING else row.used
    row.mark, row.limit_now, row.reserve_until, row.changed = spec.mark, 0, 0, True
    state.declare(row, spec.declaration)


def limit_at(spec: Spec, row: Row, at: int) -> int:
    """Units permitted at a moment: fewer than declared after a refusal, and back by one every ten clean periods."""
    if not row.limit_now:
        return spec.limit
    return min(spec.limit, row.limit_now + max(0, at - row.adapted_at) // (CLEAN * spec.period))


def _regained(spec: Spec, row: Row, at: int, steps: int) -> int:
    """When the limit is `steps` units higher than at `at`."""
    if limit_at(spec, row, at) + steps > spec.limit:
        return FAR
    gone = max(0, at - row.adapted_at) // (CLEAN * spec.period)
    return row.adapted_at + (gone + steps) * CLEAN * spec.period


def rate(spec: Spec, row: Row, at: int) -> float:
    """Urgent units a microsecond, as learned."""
    if not row.urgent:
        return 0.0
    memory = MEMORY * spec.period
    return row.urgent * math.exp((row.urgent_at - at) / memory) / memory


def _learn(spec: Spec, row: Row, now: int, cost: int) -> None:
    row.urgent = rate(spec, row, now) * MEMORY * spec.period + cost
    row.urgent_at, row.reserve_until, row.changed = now, 0, True


def _most(limit: int, cost: int) -> int:
    """Units that may be kept at most: a call that fits into the window must not wait for ever."""
    return max(0, min(limit // 2, limit - cost))


def _enough(expected: float) -> int:
    """Units for urgent calls of which so many are expected: they do not come evenly. None for a quarter of one, so that
    the last unit of a day is not kept until its end."""
    return max(0, math.ceil(expected + math.sqrt(expected) - 0.25))


def _kept_in_day(spec: Spec, row: Row, at: int, cost: int) -> int:
    """Units to keep for urgent calls until the reset."""
    expected = rate(spec, row, at) * max(0, spec.bounds(at)[1] - at)
    return min(_most(limit_at(spec, row, at), cost), _enough(expected))


def _kept_in_log(spec: Spec, row: Row, freed: Sequence[tuple[int, int]], at: int, cost: int) -> tuple[int, int]:
    """Units to keep so that urgent calls find one at any later moment; and what is freed until `at`.

    `freed`: when units come back. Between now and each such moment urgent calls live on what was left and came back.
    """
    speed = rate(spec, row, at)
    kept = back = gone = 0
    for when, units in freed:
        if when <= at:
            gone += units
            continue
        kept = max(kept, _enough(speed * (when - at)) - back)
        back += units
    return min(_most(limit_at(spec, row, at), cost), kept), gone


# -- whether and when a window admits --------------------------------------------------------------------------------


def admits(state: State, spec: Spec, row: Row, cost: int, lane: int, at: int) -> tuple[int, Why | None]:
    """The first moment from `at` on at which the window admits the call, nothing else happening, and what hinders it
    until then. It admits it from there on, until the next reset of a calendar window."""
    when, why = at, None
    if row.blocked > when:
        when, why = row.blocked, "blocked"
    if row.hold_until > when and row.hold_lane < lane:
        when, why = row.hold_until, "hold"
    if spec.kind is SPACING:
        return (row.tat, "pace") if (lane or spec.for_all) and row.tat > when else (when, why)  # type: ignore[return-value]
    if spec.kind is CALENDAR:
        return _in_day(spec, row, cost, lane, when, why)  # type: ignore[arg-type]
    limit = limit_at(spec, row, when)
    need = row.used + min(cost, limit) - limit
    if need > 0:
        found = _free(state, spec, row, cost, when)
        if found > when:
            when, why = found, "full"
    if spec.long and lane > 1 and row.urgent:
        found = _unreserved(state, spec, row, cost, when)
        if found > when:
            when, why = found, "reserve"
    return when, why  # type: ignore[return-value]


def _free(state: State, spec: Spec, row: Row, cost: int, at: int) -> int:
    """When the log has room: enough entries have ended, or the limit has come back."""
    best, step, moments = FAR, 0, iter(state.entries(spec.key))
    ends: list[tuple[int, int]] = []  # when so many units are back, as far as read

    def freed(units: int) -> int:
        while not ends or ends[-1][1] < units:
            entry = next(moments, None)
            if entry is None:
                return FAR
            ends.append((entry[0] + spec.period, (ends[-1][1] if ends else 0) + entry[1]))
        return next(when for when, back in ends if back >= units)

    while True:
        since = at if step == 0 else _regained(spec, row, at, step)
        if since >= best:
            return best
        limit = limit_at(spec, row, since)
        need = row.used + min(cost, limit) - limit
        best = min(best, since if need <= 0 else max(since, freed(need)))
        step += 1


def _unreserved(state: State, spec: Spec, row: Row, cost: int, at: int) -> int:
    """When the log has room beside what is kept for urgent calls."""
    limit = limit_at(spec, row, at)
    cost = min(cost, limit)
    now = state.now
    if at == now:
        left = limit - row.used
        if left - cost >= limit // 2 or (now < row.reserve_until and left - cost >= row.reserve):
            return at
    freed = [(stamp + spec.period, units) for stamp, units in state.grains(spec.key, spec.grain)]

    def fits(when: int) -> bool:
        kept, gone = _kept_in_log(spec, row, freed, when, cost)
        return limit_at(spec, row, when) - row.used + gone - cost >= kept

    if at == now:
        row.reserve, row.reserve_until = _kept_in_log(spec, row, freed, at, cost)[0], now + spec.period // GRAINS
        row.changed = True
    if fits(at):
        return at
    ends = [when for when, _ in freed if when > at]
    low, high = 0, len(ends) - 1  # what is left beside the reserve only grows, and with the last entry all is free
    while low < high:
        middle = (low + high) // 2
        if fits(ends[middle]):
            high = middle
        else:
            low = middle + 1
    if not ends:
        return at
    return _first(fits, at if low == 0 else ends[low - 1], ends[low])


def _first(fits: Any, early: int, late: int) -> int:
    """The first moment that fits behind `early`, to a millisecond; `late` is one that does."""
    while late - early > 1000:
        middle = (early + late) // 2
        if fits(middle):
            late = middle
        else:
            early = middle
    return late


def _in_day(spec: Spec, row: Row, cost: int, lane: int, at: int, why: Why | None) -> tuple[int, Why | None]:
    start, end = spec.bounds(at)
    if at < start + spec.skew:
        at, why = start + spec.skew, "closed"
    opens = end + spec.skew
    if at >= end - spec.skew:
        return opens, "closed"
    used = row.used if row.win >= start else 0

    def fits(when: int) -> bool:
        limit = limit_at(spec, row, when)
        return used + min(cost, limit) <= limit

    if not fits(at):
        step, found = 1, FAR
        while found == FAR and (regained := _regained(spec, row, at, step)) < end - spec.skew:
            found = regained if fits(regained) else FAR
            step += 1
        if found == FAR:
            return opens, "full"
        at, why = found, "full"
    if lane > 1 and row.urgent:

        def beside(when: int) -> bool:
            limit = limit_at(spec, row, when)
            units = min(cost, limit)
            return limit - used - units >= _kept_in_day(spec, row, when, units)

        if not beside(at):
            last = end - spec.skew - 1
            return (_first(beside, at, last), "reserve") if beside(last) else (opens, "reserve")
    return at, why


# -- the operations --------------------------------------------------------------------------------------------------


def acquire(state: State, specs: Sequence[Spec], entry: str, cost: int, lane: Lane) -> Grant | Denied:
    """See `Ledger.acquire`; `entry` is the new grant's id."""
    rank, now = LANE[lane], state.now
    rows = [look(state, spec) for spec in specs]
    last: Spec | None = None
    at, why = now, None
    for spec, row in zip(specs, rows, strict=True):
        when, hinders = admits(state, spec, row, cost, rank, now)
        if when - now > spec.period + spec.flight + ASTRAY and _set_back(state, spec, row, entry):
            when, hinders = admits(state, spec, row, cost, rank, now)
        if when > at:
            at, why, last = when, hinders, spec
        if when > now and lane in URGENT and spec.long and now - row.urgent_at >= spec.period // spec.limit:
            _learn(spec, row, now, cost)  # what is asked for, not what was to be had; who polls does not count as many
    if last is not None:
        return _denied(state, specs, rows, cost, lane, at, last, why)
    left: list[int] = []
    total: list[int] = []
    urgent = lane in URGENT
    for spec, row in zip(specs, rows, strict=True):
        row.total += cost
        row.changed = True
        if row.hold_until and rank <= row.hold_lane:
            row.hold_until = 0
        if spec.kind is SPACING:
            row.tat = max(row.tat, now - min(spec.interval, LATE)) + cost * spec.interval
            left.append(0)
        else:
            row.used += cost
            if spec.kind is ROLLING:
                state.add(entry, spec.key, now + spec.flight, cost, sent=False)
                if now < row.oldest:
                    row.oldest = now  # as early as it can settle
            if urgent and spec.long:
                _learn(spec, row, now, cost)
            left.append(limit_at(spec, row, now) - row.used)
        total.append(row.total)
    return Grant(entry, tuple([spec.window for spec in specs]), cost, lane, now, tuple(left), tuple(total))


def _set_back(state: State, spec: Spec, row: Row, entry: str) -> bool:
    """Takes what is dated as no clock of now can have dated it as of now. Whether there was any."""
    now = state.now
    before = row.tat, row.blocked, row.hold_until, row.adapted_at, row.oldest
    row.tat = row.tat if row.tat <= now + ASTRAY + spec.interval else now
    row.blocked = row.blocked if row.blocked <= now + MONTH + DAY else 0
    row.hold_until = row.hold_until if row.hold_until <= now + MONTH + DAY else 0
    row.adapted_at = min(row.adapted_at, now + ASTRAY)
    if spec.kind is ROLLING and state.newest(spec.key) > now + spec.flight + ASTRAY:
        row.used, _ = state.expire(spec.key, FAR - 1)
        row.oldest, row.reserve_until = now, 0
        state.add(f"clock:{entry}", spec.key, now, row.used, sent=True)
    moved = before != (row.tat, row.blocked, row.hold_until, row.adapted_at, row.oldest)
    row.changed = row.changed or moved
    return moved


def _denied(
    state: State, specs: Sequence[Spec], rows: Sequence[Row], cost: int, lane: Lane, at: int, last: Spec,
    why: Why | None,
) -> Denied:  # fmt: skip
    rank = LANE[lane]
    moved = True
    while moved:  # a window that admits at once may be closed at the moment at which another one admits
        moved = False
        for spec, row in zip(specs, rows, strict=True):
            when, hinders = admits(state, spec, row, cost, rank, at)
            if when > at:
                at, why, last, moved = when, hinders, spec, True
    row = rows[[spec.key for spec in specs].index(last.key)]
    until = at + GRACE
    if rank == len(LANES) - 1:
        pass  # nobody is less urgent
    elif row.hold_until <= state.now or rank < row.hold_lane or (rank == row.hold_lane and until > row.hold_until):
        row.hold_lane, row.hold_until, row.changed = rank, until, True
    assert why is not None
    return Denied((at - state.now) / SECOND, moment(at), last.window, why)


def settle(state: State, specs: Sequence[Spec], grant: Grant, written: int | None, cost: int, *, success: bool) -> None:
    """See `Ledger.settle`."""
    if cost == grant.cost and not _moves(specs, grant, state.now, success=success):
        stamps = [
            (spec.key, grant.at + spec.flight, settled(spec, grant, state.now, written))
            for spec in specs
            if spec.kind is ROLLING
        ]
        if not stamps or state.restamp(grant.id, stamps):
            return  # nearly always: no row is read or written
    for spec in specs:
        row = look(state, spec)
        units = 0 if spec.refunds and not success else cost
        if spec.kind is SPACING:
            row.tat += (units - grant.cost) * spec.interval
        elif spec.kind is CALENDAR:
            begun = spec.bounds(grant.at)[0]
            if begun < row.win:  # which side of the reset the vendor counts it on is not known
                row.used += units
            elif begun == row.win:
                row.used += units - grant.cost
        else:
            stamp = settled(spec, grant, state.now, written)
            had = state.take(grant.id, spec.key, grant.at + spec.flight)
            if had is None and state.settled(grant.id, spec.key):
                continue  # by another process
            if units and stamp + spec.period > state.now:
                state.add(grant.id, spec.key, stamp, units, sent=True)
                row.used += units
                row.oldest = min(row.oldest, stamp)
            row.used -= had or 0
        row.total += units - grant.cost
        row.reserve_until = 0
        row.changed = True


def _moves(specs: Sequence[Spec], grant: Grant, now: int, *, success: bool) -> bool:
    """Whether a settled call changes a count: a unit comes back, or a reset lies between call and answer."""
    for spec in specs:
        if spec.refunds and not success:
            return True
        if spec.kind is CALENDAR and spec.bounds(now)[0] > spec.bounds(grant.at)[0]:
            return True
    return False


def settled(spec: Spec, grant: Grant, now: int, written: int | None) -> int:
    """The moment from which a call counts whose answer is here."""
    if written is None or spec.arrive is None:
        return now
    return min(now, max(written, grant.at) + spec.arrive)


def cancel(state: State, specs: Sequence[Spec], grant: Grant) -> None:
    """See `Ledger.cancel`."""
    for spec in specs:
        row = look(state, spec)
        if spec.kind is SPACING:
            row.tat -= grant.cost * spec.interval
        elif spec.kind is CALENDAR:
            if spec.bounds(grant.at)[0] == row.win:
                row.used -= grant.cost
        else:
            row.used -= state.take(grant.id, spec.key, grant.at + spec.flight) or 0
        row.total -= grant.cost
        row.reserve_until = 0
        row.changed = True


def penalize(state: State, specs: Sequence[Spec], until: int) -> None:
    """See `Ledger.penalize`."""
    for spec in specs:
        row = look(state, spec)
        until = min(until, state.now + MONTH + DAY)  # whatever was said: no window is longer
        if until > row.blocked:
            row.blocked, row.changed = until, True


def throttled(state: State, specs: Sequence[Spec], grant: Grant) -> None:
    """See `Ledger.throttled`."""
    for spec in specs:
        if spec.kind is SPACING:
            continue
        row = look(state, spec)
        row.throttled += 1
        row.changed = True
        if grant.at > row.adapted_at:
            row.limit_now = max(1, math.floor(DOWN * limit_at(spec, row, state.now)))
            row.adapted_at = state.now


def observe(
    state: State, spec: Spec, entry: str, grant: Grant, remaining: int, reset: int | None, limit: int | None
) -> None:  # fmt: skip
    """See `Ledger.observe`; `entry` is the id of what others spent."""
    place = next((n for n, window in enumerate(grant.windows) if window.key == spec.key), None)
    if spec.kind is SPACING or place is None:
        return
    row, now = look(state, spec), state.now
    bound = grant.left[place] - (row.total - grant.total[place])
    adapted = row.adapted_at >= grant.at  # what was left then is of another limit
    if limit is not None and 0 < limit < limit_at(spec, row, now):
        bound -= limit_at(spec, row, now) - limit
        row.limit_now, row.adapted_at, row.changed = limit, now, True
    foreign = bound - max(0, remaining)
    if adapted or foreign <= 0:
        return
    if spec.kind is CALENDAR:
        if spec.bounds(grant.at)[0] != row.win:
            return
    else:
        stamp = now if reset is None else min(now, reset - spec.period)
        if stamp + spec.period <= now:
            return
        state.add(entry, spec.key, stamp, foreign, sent=True)
        row.oldest = min(row.oldest, stamp)
    row.used += foreign
    row.total += foreign
    row.others += foreign
    row.reserve_until, row.changed = 0, True


def capacity(state: State, specs: Sequence[Spec], horizon: int, lane: Lane) -> int:
    """See `Ledger.capacity`."""
    rank = LANE[lane]
    return max(0, min((_capacity(state, spec, horizon, rank) for spec in specs), default=UNLIMITED))


def _capacity(state: State, spec: Spec, horizon: int, rank: int) -> int:
    row, now = look(state, spec), state.now
    until = now + horizon
    if row.blocked > until or (row.hold_until > until and row.hold_lane < rank):
        return 0
    if spec.kind is SPACING:
        if not rank and not spec.for_all:
            return UNLIMITED
        begin = max(now, row.tat, row.blocked)
        return 0 if begin > until else (until - begin) // spec.interval + 1
    limit = limit_at(spec, row, now)
    left = limit - row.used
    if spec.kind is CALENDAR:
        start, end = spec.bounds(now)
        if rank > 1:
            left -= _kept_in_day(spec, row, now, 0)
        if max(now, start + spec.skew) > min(until, end - spec.skew - 1):
            left = 0
        return max(0, left) + (limit if end + spec.skew <= until else 0)
    again, rest = divmod(horizon, spec.period)
    left += state.units(spec.key, now + rest - spec.period)
    if rank > 1 and spec.long and row.urgent:
        freed = [(stamp + spec.period, units) for stamp, units in state.grains(spec.key, spec.grain)]
        left -= _kept_in_log(spec, row, freed, now + rest, 0)[0]
    return again * limit + max(0, min(limit, left))


# -- the frame -------------------------------------------------------------------------------------------------------


def described(state: State, spec: Spec) -> dict[str, Any]:
    """One row of `Ledger.frame()`, under the names of `FRAME`."""
    row, now = look(state, spec), state.now
    held = row.hold_until > now
    found: dict[str, Any] = {
        "window": spec.key, "kind": spec.kind, "used": row.used, "limit": limit_at(spec, row, now),
        "declared": spec.limit, "period_seconds": None, "blocked_until": _shown(row.blocked, now),
        "hold": LANES[row.hold_lane] if held else None, "hold_until": _shown(row.hold_until, now), "reserve": 0,
        "free_at": None, "reset_at": None, "throttled": row.throttled, "spent": row.total - row.others,
    }  # fmt: skip
    free, _ = admits(state, spec, row, 1, 1, now)
    match spec.window:
        case Calendar(unit=unit):
            found |= {"kind": unit, "reset_at": moment(spec.bounds(now)[1]), "reserve": _kept_in_day(spec, row, now, 0)}
        case Rolling(period=period):
            last = state.newest(spec.key) if row.used else 0
            found |= {"period_seconds": period, "reset_at": moment(last + spec.period) if last else None}
            if spec.long and row.urgent:
                freed = [(stamp + spec.period, units) for stamp, units in state.grains(spec.key, spec.grain)]
                found["reserve"] = _kept_in_log(spec, row, freed, now, 0)[0]
        case Spacing(interval=interval):
            waits = row.tat > now
            found |= {"period_seconds": interval, "used": int(waits), "reset_at": _shown(row.tat, now)}
    found["free_at"] = _shown(free, now)
    return found


def _shown(at: int, now: int) -> datetime | None:
    return moment(at) if at > now else None


__all__ = ["FAR", "UNLIMITED", "Row", "Spec", "State", "micros", "moment"]
