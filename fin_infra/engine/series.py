"""Series: what is asked for is the expected sessions less the final bars held; what comes is judged before it is kept.

A bar is `provisional` until it was read equal twice after its session was published, or once long after. Nothing a
vendor no longer serves is removed: a purge at the vendor must not become one here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from fin_infra.calendars import Calendar, get_calendar
from fin_infra.datasets.base import INSTANT, Built, Reject
from fin_infra.engine.reconcile import Doubt
from fin_infra.instruments import calendar_of
from fin_infra.providers.base import Series, Want

Spot = dict[str, Any]
"""What is remembered of one instrument. `head`: nothing is before this session; `heading`: [that session, the day it
was first seen so]. `absent`: session → the day its bar was first missed, "" once a later read missed it too.
`refused`: the day the vendor refused its symbol. `redo`: its basis changed, the whole series is read anew."""

SETTLED_AFTER = timedelta(days=3)  # so long after its publication one read of a bar is enough
READS_APART = timedelta(minutes=15)
REFUSED_FOR = timedelta(days=7)
VALUES = ("open", "high", "low", "close", "volume")


def wants_of(
    series: Series, instruments: Sequence[str], held: pl.DataFrame, spots: Mapping[str, Spot], now: datetime
) -> list[Want]:
    """What to ask for: per instrument the span from its first session that is not final, with the overlap before.

    `held`: instrument, session and state of the bars in the store. An instrument the vendor has no ticker for, whose
    calendar is not known, or all of whose sessions are final, is not asked for.
    """
    final = {
        name: set(days)
        for name, days in held.filter(pl.col("state") == "final").group_by("instrument").agg("session").iter_rows()
    }
    wants = []
    for instrument in instruments:
        ticker, calendar = series.ticker(instrument), known_calendar(instrument)
        spot = spots.get(instrument, {})
        if ticker is None or calendar is None or _refused(spot, now):
            continue
        expected = expected_sessions(series, calendar, spot, now)
        missing = [day for day in expected if day not in final.get(instrument, ())]
        if spot.get("redo"):
            missing = expected
        if missing:
            earlier = [day for day in expected if day < missing[0]]
            first = earlier[-series.overlap :][0] if earlier and series.overlap else missing[0]
            wants.append(Want(instrument, ticker, first, expected[-1]))
    return wants


def expected_sessions(series: Series, calendar: Calendar, spot: Spot, now: datetime) -> list[date]:
    """Sessions whose bar the vendor must have by now, oldest first, less those it is known not to have."""
    last = calendar.last_closed(now - series.lags.get(calendar.name, timedelta())).date
    first = max(last - series.history, date.fromisoformat(spot.get("head", "0001-01-01")))
    gone = {day for day, seen in spot.get("absent", {}).items() if not seen}
    return [day for day in calendar.dates(first, last) if day.isoformat() not in gone] if first <= last else []


def known_calendar(instrument: str) -> Calendar | None:
    name = calendar_of(instrument)
    return get_calendar(name) if name in ("XNYS", "24/7") else None


def _refused(spot: Spot, now: datetime) -> bool:
    return "refused" in spot and now.date() - date.fromisoformat(spot["refused"]) < REFUSED_FOR


@dataclass(frozen=True)
class Judged:
    """`rows` to upsert, rows that are none of what was asked, and what was seen. `redo`: instruments to read anew."""

    rows: pl.DataFrame
    strays: Sequence[Reject] = ()
    doubts: Sequence[Doubt] = ()
    redo: frozenset[str] = frozenset()


def judge(
    built: Built, wants: Sequence[Want], held: pl.DataFrame, spots: dict[str, Spot], series: Series, now: datetime
) -> Judged:
    """One complete answer. `held`: whole rows of the wanted instruments in the store, of this provider and basis.

    Moves `spots` on: which sessions have no bar, which have none before them.
    """
    asked = sessions_of(wants, series)
    rows, strays = _within(built.good, asked)
    redo = _rebased(rows, held) - {name for name, spot in spots.items() if spot.get("redo")}
    doubts = [
        Doubt("rebased", name, "all bars of the overlap differ by one ratio: the whole series is read anew")
        for name in sorted(redo)
    ]
    rows = rows.filter(~pl.col("instrument").is_in(list(redo)))
    doubts += _restated(rows, held)
    for want in wants:
        if want.instrument not in redo:
            spot = spots.setdefault(want.instrument, {})
            spot.pop("redo", None)
            spot.pop("refused", None)
            _note_missing(spot, want, asked, rows, held, now.date())
    for name in redo:
        spots.setdefault(name, {})["redo"] = True
    return Judged(_settled(rows, held, asked), strays, doubts, redo)


def judged_alone(built: Built, series: Series, first: date | None, last: date | None) -> Built:
    """The rows of an answer, nothing held before. `first` and `last`: what was asked for, where that is known."""
    spans = (
        built.good.group_by("instrument", maintain_order=True)
        .agg(first=pl.col("session").min(), last=pl.col("session").max())
        .iter_rows()
    )
    wants = [Want(name, name, first or begin, last or end) for name, begin, end in spans if known_calendar(name)]
    asked = sessions_of(wants, series)
    rows, strays = _within(built.good, asked)
    return Built(_settled(rows, rows.clear(), asked), (*built.rejects, *strays), built.differing)


def sessions_of(wants: Sequence[Want], series: Series) -> pl.DataFrame:
    """Every session that is asked for: instrument, session, and the moment its bar is published."""
    parts = []
    for want in wants:
        calendar = known_calendar(want.instrument)
        assert calendar is not None, "an instrument without a calendar is never wanted"
        lag = series.lags.get(calendar.name, timedelta())
        parts += [(want.instrument, s.date, s.close_at + lag) for s in calendar.sessions(want.first, want.last)]
    return pl.DataFrame(
        parts, schema={"instrument": pl.String, "session": pl.Date, "published_at": INSTANT}, orient="row"
    )


def _within(rows: pl.DataFrame, asked: pl.DataFrame) -> tuple[pl.DataFrame, list[Reject]]:
    """Rows of the sessions that were asked for, and the others with the reason."""
    key = ["instrument", "session"]
    inside = rows.join(asked, on=key, how="semi", maintain_order="left")
    if inside.height == rows.height:
        return rows, []
    spans = asked.group_by("instrument").agg(first=pl.col("session").min(), last=pl.col("session").max())
    outside = rows.join(asked, on=key, how="anti").join(spans, on="instrument", how="left")
    strays = []
    for row in outside.iter_rows(named=True):
        if row["first"] is None:
            reason = "this instrument was not asked for"
        elif not row["first"] <= row["session"] <= row["last"]:
            reason = f"{row['session']} is outside of what was asked for"
        else:
            reason = f"{row['session']} is no session of {calendar_of(row['instrument'])}"
        told = {name: None if row[name] is None else str(row[name]) for name in ("instrument", "session", *VALUES)}
        strays.append(Reject(reason, told))
    return inside, strays


def _overlap(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    return rows.join(held, on=["instrument", "session"], how="inner", suffix="_held")


def _differs(names: Sequence[str] = VALUES) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_held")) for name in names)


def _rebased(rows: pl.DataFrame, held: pl.DataFrame) -> frozenset[str]:
    """Instruments whose held bars all differ by one and the same ratio: a split, not a correction."""
    ratio = pl.col("close").cast(pl.Float64) / pl.col("close_held").cast(pl.Float64)
    spread = (
        _overlap(rows, held)
        .group_by("instrument")
        .agg(low=ratio.min(), high=ratio.max(), bars=pl.len())
        .filter((pl.col("bars") >= 3) & ((pl.col("low") - 1).abs() > 1e-3))
        .filter((pl.col("high") / pl.col("low") - 1).abs() < 1e-3)
    )
    return frozenset(spread["instrument"])


def _restated(rows: pl.DataFrame, held: pl.DataFrame) -> list[Doubt]:
    """Final bars that came with other values: taken over, and said."""
    changed = _overlap(rows, held).filter((pl.col("state_held") == "final") & _differs())
    return [
        Doubt("restated", str(name), f"the vendor changed final bars: {_listed(sorted(days))}")
        for name, days in changed.group_by("instrument", maintain_order=True).agg("session").iter_rows()
    ]


def _settled(rows: pl.DataFrame, held: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """The rows with their state: final when a second read after publication says the same, or one long after."""
    before = held.select("instrument", "session", *(pl.col(name).alias(f"{name}_held") for name in VALUES),
                         read_at="fetched_at", state_held="state")  # fmt: skip
    same = pl.col("read_at").is_not_null() & ~_differs()
    again = same & (pl.col("read_at") >= pl.col("published_at")) & (
        pl.col("fetched_at") - pl.col("read_at") >= READS_APART
    )  # fmt: skip
    late = pl.col("fetched_at") >= pl.col("published_at") + SETTLED_AFTER
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
    spot: Spot, want: Want, asked: pl.DataFrame, rows: pl.DataFrame, held: pl.DataFrame, today: date
) -> None:
    """Sessions without a bar. Missed by one read they are asked for again, by two reads on two days no more."""
    mine = pl.col("instrument") == want.instrument
    came, before = set(rows.filter(mine)["session"]), set(held.filter(mine)["session"])
    missing = [day for day in asked.filter(mine)["session"] if day not in came and day not in before]
    earliest = min(came | before, default=want.last + timedelta(days=1))
    lead = [day for day in missing if day < earliest]
    heading = spot.pop("heading", None)
    if lead:
        if heading is not None and heading[1] < today.isoformat():
            spot["head"] = min(heading[0], earliest.isoformat())
        else:
            seen = heading[1] if heading else today.isoformat()
            spot["heading"] = [min(heading[0] if heading else "9999", earliest.isoformat()), seen]
    absent = {}
    for day in missing[len(lead) :]:
        first_missed = spot.get("absent", {}).get(day.isoformat(), today.isoformat())
        absent[day.isoformat()] = "" if first_missed < today.isoformat() else first_missed
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
        if "refused" in spot:
            doubts.append(Doubt("unresolved_instrument", name, "the vendor refuses its symbol; asked again in a week"))
    return doubts


def _listed(days: Sequence[date]) -> str:
    shown = ", ".join(day.isoformat() for day in days[:5])
    return shown if len(days) <= 5 else f"{shown} and {len(days) - 5} more"
