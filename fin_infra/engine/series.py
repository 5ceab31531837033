"""Series: what is asked for is the expected sessions less the final bars held; what comes is judged before it is kept.

A bar is `provisional` until it was read equal twice after its session was published; a first read long after is
enough. Nothing a vendor no longer serves is removed: a purge at the vendor must not become one here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from fin_infra.calendars import Calendar, calendar_names, get_calendar
from fin_infra.datasets.base import INSTANT, Built, Dataset, Reject
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.engine.gaps import SPANS, gaps
from fin_infra.engine.reconcile import Doubt
from fin_infra.providers.base import Series, Source, Want

Spot = dict[str, Any]
"""What is remembered of one instrument. `head`: nothing is before this session; `heading`: [that session, when it was
first seen so]; `nothing`: there never was a bar. `absent`: session → when its bar was first missed, "" once a later
read missed it too. `refused`: the day the vendor refused its symbol. `redo`: its basis changed and the whole series is
read anew until all of it is final; `lost`: how many held bars that misses. `older`: [how many, the last] bars that
keep an older basis. `jumps`: steps that no corporate action explains, see `splits`."""

Listing = tuple[date | None, date | None]
"""First and last day of trading, None where it is not known or still listed."""
ALWAYS: Listing = (None, None)

SETTLED_AFTER = timedelta(days=3)  # a first read so long after its publication is enough
READS_APART = timedelta(minutes=15)
MISSED_APART = timedelta(hours=20)  # two days, whatever the zone; daily runs are never nearer, early closes or not
MAY_COME_LATE = timedelta(days=28)
REFUSED_FOR = timedelta(days=7)


@dataclass(frozen=True)
class Shape:
    """What of a dataset is a series: which columns say what a row is about, of which day it is, and what it says.

    `parts`, after `prefix`, make the subject, an InstrumentKey; all but the last have three letters where they are
    several. `basis`: the value whose change in the oldest row of an overlap means that older ones may have changed too.
    `same`: what all rows of a series have in common, beside their provider. `word`: the rows, for people.
    """

    schema: type[Dataset]
    parts: tuple[str, ...]
    day: str
    values: tuple[str, ...]
    word: str
    prefix: str = ""
    basis: str | None = None
    same: Mapping[str, str] | None = None

    def keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with their `instrument` and `session`, by which the engine joins."""
        if self.day == "session":
            return rows
        return rows.with_columns(
            instrument=pl.concat_str(pl.lit(self.prefix), *self.parts), session=pl.col(self.day)
        )  # fmt: skip

    def plain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The way back: the dataset's own columns."""
        return rows.select(list(self.schema.dtypes()))

    def where(self, subject: str) -> dict[str, str]:
        """The columns that name a subject: `fx:EURUSD` → base EUR, quote USD."""
        if len(self.parts) == 1:
            return {self.parts[0]: subject}
        name = subject.removeprefix(self.prefix)
        return dict(zip(self.parts, (name[:3], name[3:]), strict=True))

    def told(self, subject: str) -> tuple[str, str]:
        """Subject and day of a row as findings name it: its parts and its day, with spaces between; else "" for it."""
        words = subject.split(" ")
        named = self.prefix + "".join(words[: len(self.parts)])
        return named, " ".join(words[len(self.parts) :])


PRICES = Shape(
    Prices, ("instrument",), "session", ("open", "high", "low", "close", "volume"), "daily bars",
    basis="close", same={"basis": "raw"},
)  # fmt: skip
RATES = Shape(FxRates, ("base", "quote"), "rate_on", ("rate",), "rates", prefix="fx:")
INTRADAY = Shape(
    IntradayPrices, ("instrument",), "start_at", ("open", "high", "low", "close", "volume"), "intraday bars"
)  # fmt: skip
"""Asked for and judged by `intraday`, not here: its rows are of moments, and of several intervals."""
SHAPES: Mapping[type[Dataset], Shape] = {shape.schema: shape for shape in (PRICES, RATES, INTRADAY)}


def shape_of(source: Source) -> Shape:
    """The shape of what a series delivers; of prices those of the basis that it serves."""
    shape = SHAPES[source.feeds[0].schema]
    if shape is not PRICES or source.series is None or source.series.basis == "raw":
        return shape
    return replace(shape, same={"basis": source.series.basis})


def wants_of(
    series: Series, instruments: Sequence[str], held: pl.DataFrame, spots: Mapping[str, Spot], now: datetime,
    listings: Mapping[str, Listing] | None = None,
) -> list[Want]:  # fmt: skip
    """What to ask for: per instrument the span from its first session that is not final, with the overlap before.

    So one call catches up with new sessions, mends holes and fills in what was never read. `held`: instrument, session
    and state of the bars in the store, sorted by instrument and session. `listings`: first and last day of trading,
    where they are known: nothing is asked for before and after. An instrument the vendor has no ticker for, whose
    calendar is not known, or all of whose sessions are final, is not asked for.
    """
    expected: dict[str, Expected] = {}
    for instrument in instruments:
        calendar, spot = known_calendar(series, instrument), spots.get(instrument, {})
        if series.ticker(instrument) is not None and calendar is not None and not is_refused(spot, now):
            expected[instrument] = expected_of(series, calendar, spot, now, (listings or {}).get(instrument, ALWAYS))
    spans = [(name, those.calendar.name, those.first, those.last) for name, those in expected.items()]
    missing: dict[str, list[tuple[date, date]]] = {}
    for name, first, last, *_ in gaps(held, pl.DataFrame(spans, schema=SPANS, orient="row")).iter_rows():
        missing.setdefault(name, []).append((first, last))
    wants = []
    for instrument, those in expected.items():
        spot = spots.get(instrument, {})
        if spot.get("redo"):
            span = _whole(instrument, those, held)
        else:
            span = _span(series, spot, those, missing.get(instrument, ()))
        if span is not None:
            wants.append(Want(instrument, str(series.ticker(instrument)), *span))
    return wants


def _span(
    series: Series, spot: Spot, expected: Expected, missing: Sequence[tuple[date, date]]
) -> tuple[date, date] | None:  # fmt: skip
    """From the first of the missing sessions, with the overlap before, to the last one that is expected."""
    begin = next((day for gap in missing for day in expected.sessions(*gap)), None)
    if begin is None:
        return None
    earlier, [end] = expected.latest(series.overlap, before=begin), expected.latest(1)
    # what may still come is looked for along the way, all such instruments over the same days: in one call
    late = end - MAY_COME_LATE
    first = earlier[0] if earlier else begin
    if any(day >= late for day in expected.gone) or spot.get("head", "") > late.isoformat():
        first = max(min(first, late), expected.listed_on)
    # a step in adjusted bars is one that part of them lacks: once the vendor mends it, the older ones change
    steps = [jump["before"] for jump in spot.get("jumps", {}).values() if "basis" in jump]
    return max(min([first, *map(date.fromisoformat, steps)]), min(first, expected.first)), end


def _whole(instrument: str, expected: Expected, held: pl.DataFrame) -> tuple[date, date] | None:
    """All that is held, however old, and all that is expected."""
    days = [*held.filter(pl.col("instrument") == instrument)["session"], *expected.sessions()]
    return (min(days), max(days)) if days else None


@dataclass(frozen=True)
class Expected:
    """Sessions whose bar the vendor must have by now: those from `first` to `last`, less those known to be `gone`."""

    calendar: Calendar
    first: date
    last: date
    gone: frozenset[date]
    listed_on: date

    def sessions(self, first: date | None = None, last: date | None = None) -> list[date]:
        """All of them, or those within two days, oldest first."""
        return [day for day in self.calendar.dates(first or self.first, last or self.last) if day not in self.gone]

    def latest(self, count: int, before: date | None = None) -> list[date]:
        """The newest `count` of them, oldest first, fewer where there are not so many."""
        last = before - timedelta(days=1) if before else self.last
        near = max(self.first, last - timedelta(days=7 + 2 * count))
        found = self.sessions(near, last)
        if len(found) < count and near > self.first:  # many are gone, or holidays
            found = self.sessions(self.first, last)
        return found[-count:] if count else []


def expected_of(series: Series, calendar: Calendar, spot: Spot, now: datetime, listing: Listing = ALWAYS) -> Expected:
    """Which sessions: as far back as a first read goes, from where the vendor's series or the listing begins."""
    listed_on, delisted_on = listing
    last = calendar.last_closed(now - series.lags.get(calendar.name, timedelta())).date
    head = date.fromisoformat(spot.get("head", "0001-01-01"))
    first = max(last - series.history, calendar.first, head, listed_on or date.min)
    return Expected(calendar, first, min(last, delisted_on or last), _gone(spot), listed_on or date.min)


def _gone(spot: Spot) -> frozenset[date]:
    """Sessions that the vendor is known not to have."""
    return frozenset(date.fromisoformat(day) for day, seen in spot.get("absent", {}).items() if not seen)


def known_calendar(series: Series, instrument: str) -> Calendar | None:
    """The calendar of what is asked for; None where nobody knows when it has sessions."""
    name = series.calendar(instrument)
    return get_calendar(name) if name in _names() else None


@cache
def _names() -> frozenset[str | None]:
    return frozenset(calendar_names())


def is_refused(spot: Spot, now: datetime) -> bool:
    """Whether the vendor lately said that it does not know the symbol."""
    return "refused" in spot and now.date() - date.fromisoformat(spot["refused"]) < REFUSED_FOR


@dataclass(frozen=True)
class Judged:
    """`rows` to upsert, rows that are none of what was asked, and what was seen. `redo`: instruments to read anew;
    `stepped`: those with bars that wait for a corporate action, see `splits`."""

    rows: pl.DataFrame
    strays: Sequence[Reject] = ()
    doubts: Sequence[Doubt] = ()
    redo: frozenset[str] = frozenset()
    stepped: frozenset[str] = frozenset()


def judge(
    built: Built, wants: Sequence[Want], held: pl.DataFrame, spots: dict[str, Spot], series: Series, now: datetime,
    shape: Shape = PRICES,
) -> Judged:  # fmt: skip
    """One complete answer. `held`: whole rows of the wanted instruments in the store, of this provider and basis.

    Moves `spots` on: which sessions have no bar, which have none before them.
    """
    asked, held = sessions_of(wants, series), shape.keyed(held)
    rows, strays = _within(shape.keyed(built.good), wants, asked, series, shape)
    anew = {want.instrument for want in wants if spots.get(want.instrument, {}).get("redo")}
    redo = _rebased(rows, held, shape) - anew
    doubts: list[Doubt] = []
    short = {name for name in sorted(anew) if not _replaces(spots[name], name, rows, held, doubts)}
    rows = _settled(rows.filter(~pl.col("instrument").is_in([*redo, *short])), held, asked, shape)
    doubts += [doubt for doubt in _restated(rows, held, shape) if doubt.subject not in anew]
    unsettled = set(_overlap(rows, held).filter(pl.col("state") != "final")["instrument"])
    for want in wants:
        if want.instrument not in redo | short:
            spot = spots.setdefault(want.instrument, {})
            if want.instrument not in unsettled:
                spot.pop("redo", None)
                spot.pop("lost", None)
            spot.pop("refused", None)
            _note_missing(spot, want, asked, rows, held, now)
    for name in redo:
        spots.setdefault(name, {})["redo"] = True
    return Judged(shape.plain(rows), strays, doubts, redo)


def _replaces(spot: Spot, name: str, rows: pl.DataFrame, held: pl.DataFrame, doubts: list[Doubt]) -> bool:
    """Whether a series that was read anew takes the place of the held one: when it is as long, or twice is not.

    A half of each basis would be worse than to wait for another read.
    """
    mine = pl.col("instrument") == name
    lost = sorted(set(held.filter(mine)["session"]) - set(rows.filter(mine)["session"]))
    before = spot.pop("lost", None)
    spot.pop("older", None)
    if not lost:
        return True
    spot["lost"] = len(lost)
    if before is None or len(lost) < before:
        detail = f"{len(lost)} bars are not in the series read anew; none is changed until a second read agrees"
        doubts.append(Doubt("shrink_guard", name, detail))
        return False
    if len(lost) < held.filter(mine).height:
        spot["older"] = [len(lost), lost[-1].isoformat()]
    return True


def judged_alone(
    built: Built, series: Series, first: date | None, last: date | None, shape: Shape = PRICES
) -> Built:  # fmt: skip
    """The rows of an answer, nothing held before. `first` and `last`: what was asked for, where that is known."""
    good = shape.keyed(built.good)
    spans = (
        good.group_by("instrument", maintain_order=True)
        .agg(first=pl.col("session").min(), last=pl.col("session").max())
        .iter_rows()
    )
    wants = [
        Want(name, name, first or begin, last or end) for name, begin, end in spans if known_calendar(series, name)
    ]
    asked = sessions_of(wants, series)
    rows, strays = _within(good, wants, asked, series, shape)
    settled = shape.plain(_settled(rows, rows.clear(), asked, shape))
    return Built(settled, (*built.rejects, *strays), built.differing)


def sessions_of(wants: Sequence[Want], series: Series) -> pl.DataFrame:
    """Every session that is asked for: instrument, session, and the moment its bar is published."""
    parts = []
    for want in wants:
        calendar = known_calendar(series, want.instrument)
        assert calendar is not None, "an instrument without a calendar is never wanted"
        lag = series.lags.get(calendar.name, timedelta())
        parts += [(want.instrument, s.date, s.close_at + lag) for s in calendar.sessions(want.first, want.last)]
    return pl.DataFrame(
        parts, schema={"instrument": pl.String, "session": pl.Date, "published_at": INSTANT}, orient="row"
    )


def _within(
    rows: pl.DataFrame, wants: Sequence[Want], asked: pl.DataFrame, series: Series, shape: Shape
) -> tuple[pl.DataFrame, list[Reject]]:
    """Rows of the sessions that were asked for, and the others with the reason."""
    key = ["instrument", "session"]
    inside = rows.join(asked, on=key, how="semi", maintain_order="left")
    if inside.height == rows.height:
        return rows, []
    spans = {want.instrument: (want.first, want.last) for want in wants}
    strays = []
    for row in rows.join(asked, on=key, how="anti", maintain_order="left").iter_rows(named=True):
        first, last = spans.get(row["instrument"], (None, None))
        if first is None or last is None:
            reason = "this instrument was not asked for"
        elif not first <= row["session"] <= last:
            reason = f"{row['session']} is outside of what was asked for"
        else:
            reason = f"{row['session']} is no session of {series.calendar(row['instrument'])}"
        columns = (*shape.parts, shape.day, *shape.values)
        told = {name: None if row[name] is None else str(row[name]) for name in columns}
        strays.append(Reject(reason, told))
    return inside, strays


def _overlap(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    return rows.join(held, on=["instrument", "session"], how="inner", suffix="_held")


def _differs(names: Sequence[str]) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_held")) for name in names)


def _rebased(rows: pl.DataFrame, held: pl.DataFrame, shape: Shape) -> frozenset[str]:
    """Instruments whose oldest bar of the overlap changed: what is before it may have changed too.

    So it is when the vendor adjusts for a split, at once or some days later. No ratio is looked for: rounding blurs it,
    and bars after the split do not have it. One correction that happens to be the oldest costs one more read.
    """
    if shape.basis is None:
        return frozenset()
    oldest = _overlap(rows, held).sort("session").group_by("instrument").first()
    changed = oldest.filter((pl.col("state_held") == "final") & _differs((shape.basis,)))
    return frozenset(changed["instrument"])


def _restated(rows: pl.DataFrame, held: pl.DataFrame, shape: Shape) -> list[Doubt]:
    """Final bars that came with other values: taken over, and said."""
    changed = _overlap(rows, held).filter((pl.col("state_held") == "final") & _differs(shape.values))
    return [
        Doubt("restated", str(name), f"the vendor changed final {shape.word}: {_listed(sorted(days))}")
        for name, days in changed.group_by("instrument", maintain_order=True).agg("session").iter_rows()
    ]


def _settled(rows: pl.DataFrame, held: pl.DataFrame, asked: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """The rows with their state: final when a second read after publication says the same, or a first one long after.

    A bar that changed is provisional again, however old.
    """
    before = held.select("instrument", "session", *(pl.col(name).alias(f"{name}_held") for name in shape.values),
                         read_at="fetched_at", state_held="state")  # fmt: skip
    same = pl.col("read_at").is_not_null() & ~_differs(shape.values)
    again = same & (pl.col("read_at") >= pl.col("published_at")) & (
        pl.col("fetched_at") - pl.col("read_at") >= READS_APART
    )  # fmt: skip
    late = pl.col("read_at").is_null() & (pl.col("fetched_at") >= pl.col("published_at") + SETTLED_AFTER)
    kept = same & (pl.col("state_held") == "final")
    final = pl.when(kept | again | late).then(pl.lit("final")).otherwise(pl.lit("provisional"))
    key = ["instrument", "session"]
    return (
        rows.join(asked, on=key, how="left", maintain_order="left")
        .join(before, on=key, how="left", maintain_order="left")
        .with_columns(state=final.cast(rows.schema["state"]))
        .select(rows.columns)
    )


def _note_missing(
    spot: Spot, want: Want, asked: pl.DataFrame, rows: pl.DataFrame, held: pl.DataFrame, now: datetime
) -> None:
    """Sessions without a bar. Missed by one read they are asked for again, by two reads on two days no more."""

    def long_ago(seen: str) -> bool:
        return not seen or now - datetime.fromisoformat(seen) >= MISSED_APART

    at = now.isoformat(timespec="seconds")
    mine = pl.col("instrument") == want.instrument
    came, before = set(rows.filter(mine)["session"]), set(held.filter(mine)["session"])
    missing = [day for day in asked.filter(mine)["session"] if day not in came and day not in before]
    earliest = min(came | before, default=want.last + timedelta(days=1))
    lead = [day for day in missing if day < earliest]
    heading = spot.pop("heading", None)
    if came and (spot.pop("nothing", False) or min(came).isoformat() < spot.get("head", "")):
        spot.pop("head", None)  # it had a bad day, or is still filling up: it is asked for all
    if lead:
        begin, seen = min(heading[0] if heading else "9999", earliest.isoformat()), heading[1] if heading else at
        if long_ago(seen):
            spot["head"] = begin
            if not (came or before):
                spot["nothing"] = True
        else:
            spot["heading"] = [begin, seen]
    absent = {}
    for day in missing[len(lead) :]:
        first_missed = spot.get("absent", {}).get(day.isoformat(), at)
        absent[day.isoformat()] = "" if long_ago(first_missed) else first_missed
    kept = {
        day: seen for day, seen in spot.get("absent", {}).items()
        if not seen and day not in absent and date.fromisoformat(day) not in came
        and day >= (want.last - timedelta(days=400)).isoformat()
    }  # fmt: skip
    spot["absent"] = dict(sorted({**kept, **absent}.items()))
    if not spot["absent"]:
        del spot["absent"]


def open_doubts(spots: Mapping[str, Spot], instruments: Sequence[str]) -> list[Doubt]:
    """What is known to be wrong with the series of these instruments, whether or not this run asked for it."""
    doubts = []
    for name in instruments:
        spot = spots.get(name, {})
        if spot.get("absent"):
            days = [date.fromisoformat(day) for day in spot["absent"]]
            doubts.append(Doubt("missing_sessions", name, f"the vendor has no bar for: {_listed(days)}"))
        if "redo" in spot:
            detail = "final bars changed as far back as was read: the whole series is read anew, until a read agrees"
            doubts.append(Doubt("rebased", name, detail))
        if "older" in spot:
            count, last = spot["older"]
            detail = f"{count} bars up to {last} keep an older basis: the vendor no longer serves them"
            doubts.append(Doubt("rebased", name, detail))
        if "refused" in spot:
            doubts.append(Doubt("unresolved_instrument", name, "the vendor refuses its symbol; asked again in a week"))
    return doubts


def _listed(days: Sequence[date]) -> str:
    shown = ", ".join(day.isoformat() for day in days[:5])
    return shown if len(days) <= 5 else f"{shown} and {len(days) - 5} more"
