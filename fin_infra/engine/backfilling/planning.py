"""What a backfill has to ask for: the expected sessions less what is held as final and what the vendor has not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from fin_infra.calendars import Calendar
from fin_infra.connections import Connection
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.prices import Prices
from fin_infra.engine.actions import delistings
from fin_infra.engine.backfilling.cutting import Chunk, cut
from fin_infra.engine.backfilling.keeping import Backfill, Backfills
from fin_infra.engine.backfilling.known import Known, Nothing, Once, nothing, refusal
from fin_infra.engine.gaps import SPANS, gaps
from fin_infra.engine.series import SETTLED_AFTER, Listing, Shape, Spot, known_calendar, shape_of
from fin_infra.errors import UsageError
from fin_infra.providers import declared
from fin_infra.providers.base import Provider, Source, Want
from fin_infra.store import Query, Store, Stream
from fin_infra.store.statements import fetched

ONE_WAY = {
    "cursor": "{vendor} delivers all {dataset} it has from the first sync on, and tells what changed: there is nothing "
    "to backfill",
    "window": "the first sync of {dataset} asks {vendor} for all it has, however old: there is nothing to backfill",
    "snapshot": "{dataset} are what is true now, {vendor} keeps no older ones: there is nothing to backfill",
}
"""By the kind of a source that is no series."""


@dataclass(frozen=True)
class Coverage:
    """How an instrument stands between the days of a backfill, in sessions.

    `expected` = `held` (final) + `absent` (the vendor has none) + `missing`. `begin`: the vendor has nothing before it.
    `refused`: why it is not asked for.
    """

    subject: str
    expected: int
    held: int
    absent: int
    missing: int
    begin: date | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Plan:
    """What would be asked. `unasked`: subject → why it cannot be. `nothing`: why there is nothing to do at all."""

    connection: Connection
    dataset: str
    first: date
    last: date
    subjects: tuple[str, ...]
    chunks: Sequence[Chunk] = ()
    unasked: Mapping[str, str] = field(default_factory=dict)
    expected: int = 0
    nothing: str | None = None

    @property
    def calls(self) -> int:
        return sum(chunk.calls for chunk in self.chunks)

    @property
    def rows(self) -> int:
        return sum(chunk.expected for chunk in self.chunks)

    @property
    def bytes(self) -> int:
        """About, of all answers."""
        series = source_of(declared(self.connection.provider), self.dataset).series
        return self.rows * (series.reach.row_bytes if series is not None else 0)


@dataclass(frozen=True)
class Looked:
    """What is to be known of an instrument before it is asked for. `first` and `last`: its expected days."""

    calendar: Calendar
    ticker: str
    first: date
    last: date
    nothing: Nothing
    refused: str | None


def source_of(provider: Provider, dataset: str) -> Source:
    """Raises `UsageError` where the vendor has no such dataset."""
    source = provider.source(dataset)
    if source is None:
        raise UsageError(f"{provider.name} has no {dataset}; it has: {', '.join(provider.datasets)}")
    return source


def plan(
    store: Store, connection: Connection, dataset: str, subjects: Sequence[str], first: date, last: date | None,
    now: datetime, *, again: bool = False,
) -> Plan:  # fmt: skip
    """The chunks of a backfill from `first` to `last`, both included; up to the newest settled session by default.

    `again`: what the vendor is known not to have is asked for too: a better plan may have it.
    Raises `UsageError` where the vendor has no such dataset, or the days are no span.
    """
    provider = declared(connection.provider)
    source = source_of(provider, dataset)
    named = tuple(sorted(set(subjects)))
    end = min(last or now.date(), now.date())
    if first > end:
        raise UsageError(f"--from {first} is after the last day, {end}; name an earlier one")
    if source.kind != "series" or source.series is None:
        told = ONE_WAY[source.kind].format(vendor=provider.name, dataset=dataset)
        return Plan(connection, dataset, first, end, named, nothing=told)
    if source.series.intervals:
        told = f"{dataset} are synced from their first read on, and not backfilled: fin-infra sync {dataset}"
        return Plan(connection, dataset, first, end, named, nothing=told)
    if not source.series.reach.older:
        told = f"{provider.name} serves no older {dataset}, only the newest: there is nothing to backfill"
        return Plan(connection, dataset, first, end, named, nothing=told)
    looked, unasked = look(store, connection, source, named, first, end, now, again=again)
    unasked |= {name: one.refused for name, one in looked.items() if one.refused is not None}
    asked = {name: one for name, one in looked.items() if name not in unasked and one.first <= one.last}
    held = held_days(store, provider.name, source, sorted(asked), first, end)
    absent = [(name, day, "final") for name, one in asked.items() for day in sorted(one.nothing.absent)]
    if absent:
        held = pl.concat([held, pl.DataFrame(absent, schema=held.schema, orient="row")]).sort("instrument", "session")
    spans = [(name, one.calendar.name, one.first, one.last) for name, one in asked.items()]
    missing = gaps(held, pl.DataFrame(spans, schema=SPANS, orient="row"))
    calendars = {name: one.calendar.name for name, one in asked.items()}
    expected = sum(len(one.calendar.dates(one.first, one.last)) for one in asked.values())
    chunks = cut(missing, calendars, source.series.reach)
    left = None if chunks else _nothing_left(unasked, named, dataset, first, end)
    return Plan(connection, dataset, first, end, named, chunks, unasked, expected, left)


def _nothing_left(unasked: Mapping[str, str], named: Sequence[str], dataset: str, first: date, last: date) -> str:
    if not named:
        return "no instrument is named, watched or held: name some with --instruments"
    if len(unasked) == len(named):
        name = min(unasked)
        return f"none of the {len(named)} instruments can be asked for: {name}: {unasked[name]}"
    return f"all {dataset} from {first} to {last} are held, or the vendor has none: there is nothing to backfill"


def look(
    store: Store, connection: Connection, source: Source, subjects: Sequence[str], first: date, last: date,
    now: datetime, *, again: bool = False, once: Once = "lately",
) -> tuple[dict[str, Looked], dict[str, str]]:  # fmt: skip
    """What is known of each instrument; and of those that cannot be asked for, why."""
    series, shape = source.series, shape_of(source)
    assert series is not None
    books = Backfills(store, lambda: now)
    known = books.known(connection.provider, source.lead, subjects)
    live = live_spots(store, connection, source)
    begins = {
        name: begin
        for name, (_, begin, _) in counted(store, connection.provider, source, subjects, first, last).items()
    }
    listings = _listings(store, shape, subjects, now.date())
    found: dict[str, Looked] = {}
    unasked: dict[str, str] = {}
    for name in subjects:
        ticker, calendar = series.ticker(name), known_calendar(series, name)
        if ticker is None:
            unasked[name] = f"{connection.provider} has no symbol for it"
        elif calendar is None:
            unasked[name] = "nobody knows when it is traded"
        else:
            facts: Known = {} if again else known.get(name, {})
            spot: Spot = {} if again else live.get(name, {})
            none = nothing(facts, spot, begins.get(name), now, once=once)
            listed_on, delisted_on = listings.get(name, (None, None))
            settled = calendar.last_closed(now - series.lags.get(calendar.name, timedelta()) - SETTLED_AFTER).date
            begin = max(first, calendar.first, none.begin or first, listed_on or first)
            end = min(last, settled, delisted_on or last)
            found[name] = Looked(calendar, ticker, begin, end, none, None if again else refusal(facts, now))
    return found, unasked


def live_spots(store: Store, connection: Connection, source: Source) -> dict[str, Spot]:
    """What the live stream remembers; it is read, and never written."""
    cursor = store.cursor(Stream(connection.connection_id, source.lead), connection.generation)
    spots: dict[str, Spot] = json.loads(cursor.body).get("instruments", {})
    return spots


def _listings(store: Store, shape: Shape, subjects: Sequence[str], today: date) -> dict[str, Listing]:
    """First and last day of trading, of those of which somebody told one."""
    if shape.schema is not Prices:
        return {}
    parts = store.read(Instruments, Query(instruments=subjects), ["instrument", "listed_on", "delisted_on"])
    told = {name: (first, last) for part in parts for name, first, last in part.iter_rows() if first or last}
    for name, end in delistings(store, today).items():
        first, last = told.get(name, (None, None))
        told[name] = first, min(end, last or end)
    return told


# -- what is held ------------------------------------------------------------------------------------------------------


def held_rows(
    store: Store, provider: str, source: Source, subjects: Sequence[str], first: date, last: date,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Rows of this vendor's series in the store, in key order."""
    shape = shape_of(source)
    same = {"provider": provider, **(shape.same or {})}
    query = Query(instruments=subjects, since=first, until=last)
    shown = None if columns is None else [*dict.fromkeys((*shape.parts, shape.day, *columns, *same))]
    mine = pl.all_horizontal(pl.col(name) == value for name, value in same.items())
    return pl.concat([part.filter(mine) for part in store.read(shape.schema, query, shown)])


def held_days(
    store: Store, provider: str, source: Source, subjects: Sequence[str], first: date, last: date
) -> pl.DataFrame:  # fmt: skip
    """Instrument, session and state of those rows, as `gaps` takes them."""
    rows = shape_of(source).keyed(held_rows(store, provider, source, subjects, first, last, ["state"]))
    return rows.select("instrument", "session", pl.col("state").cast(pl.String))


def counted(
    store: Store, provider: str, source: Source, subjects: Sequence[str], first: date, last: date
) -> dict[str, tuple[int, date, date]]:  # fmt: skip
    """By subject: how many final rows are held, the first and the last of their days. The database counts."""
    shape = shape_of(source)
    same = {"provider": provider, "state": "final", **(shape.same or {})}
    conditions = " AND ".join(f"{name} = ?" for name in same)
    one = " AND ".join(f"{name} = ?" for name in shape.parts)
    text = (
        f"SELECT COUNT(*), MIN({shape.day}), MAX({shape.day}) FROM {shape.schema.dataset_name()} "
        f"WHERE {one} AND {shape.day} >= ? AND {shape.day} <= ? AND {conditions}"
    )
    found: dict[str, tuple[int, date, date]] = {}
    with store.reading() as sql:
        for subject in subjects:
            place = tuple(shape.where(subject).values())
            [(count, begin, end)] = fetched(sql, text, (*place, first.isoformat(), last.isoformat(), *same.values()))
            if count:
                found[subject] = int(count), date.fromisoformat(begin), date.fromisoformat(end)
    return found


def coverage(store: Store, connection: Connection, backfill: Backfill, now: datetime) -> list[Coverage]:
    """How each instrument of a backfill stands, in order."""
    source = source_of(declared(backfill.provider), backfill.dataset)
    series = source.series
    assert series is not None, "only a series is backfilled"
    looked, unasked = look(
        store, connection, source, backfill.subjects, backfill.first, backfill.last, now, once="always"
    )
    held = counted(store, backfill.provider, source, backfill.subjects, backfill.first, backfill.last)
    odd = [name for name, one in looked.items() if one.nothing.absent]
    days = held_days(store, backfill.provider, source, odd, backfill.first, backfill.last) if odd else None
    came = (
        set() if days is None else set(days.filter(pl.col("state") == "final").select("instrument", "session").rows())
    )
    rows = []
    for name in backfill.subjects:
        one = looked.get(name)
        if one is None:
            rows.append(Coverage(name, 0, 0, 0, 0, refused=unasked[name]))
            continue
        begin = max(backfill.first, one.calendar.first)
        expected = len(one.calendar.dates(begin, one.last)) if begin <= one.last else 0
        mine = held.get(name, (0, None, None))[0]
        before = len(one.calendar.dates(begin, one.first - timedelta(days=1))) if one.first > begin else 0
        absent = min(before, expected) + sum(
            one.first <= day <= one.last and one.calendar.is_session(day) and (name, day) not in came
            for day in one.nothing.absent
        )
        missing = max(0, expected - mine - absent)
        rows.append(Coverage(name, expected, mine, min(absent, expected), missing, one.nothing.begin, one.refused))
    return rows


def wanted(looked: Looked, name: str, held: set[date], first: date, last: date) -> Want | None:
    """The sessions of a chunk that are to be asked for of one instrument; None when none is missing any more."""
    begin, end = max(first, looked.first), min(last, looked.last)
    if looked.refused is not None or begin > end:
        return None
    due = [day for day in looked.calendar.dates(begin, end) if day not in held and day not in looked.nothing.absent]
    return Want(name, looked.ticker, first, last) if due else None
