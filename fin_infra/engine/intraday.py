"""Intraday series: what is asked for begins where all bars are final; what comes is judged before it is kept.

A bar is final when it was read after its end and the vendor's lag, else `provisional`: still open, or just closed. No
second read is waited for: exchanges close a bar once, and each read covers a few of the last ones again, so that a
correction is seen. Nobody trades in every minute: a hole is no error, and no bar is made up for it. That an answer is
whole is for the client to prove, page by page; nothing is removed because a vendor no longer serves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from fin_infra.calendars import Calendar
from fin_infra.datasets.base import INSTANT, Built, Reject
from fin_infra.datasets.intraday_prices import INTERVALS
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.series import INTRADAY, Judged, Spot, is_refused, known_calendar
from fin_infra.providers.base import Series, Want

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1)}
LENGTHS: Mapping[str, timedelta] = {name: int(name[:-1]) * UNITS[name[-1]] for name in INTERVALS}
FIRST_READ = timedelta(days=5)
"""So far back goes the first read, where the vendor's declaration does not say: over a long weekend, so that there is a
session in it, and still few calls: a year of minutes would be more than a hundred thousand rows of each instrument."""
CATCH_UP = timedelta(days=30)
"""After a longer pause the bars before are not asked for any more, which is said."""
COMES_LATE = timedelta(minutes=15)
RUNS_ON = timedelta(hours=1)
KEY = ["instrument", "interval", "start_at"]
SPANS = {"instrument": pl.String(), "interval": pl.String(), "open_at": INSTANT, "close_at": INSTANT,
         "midnight": INSTANT, "length": pl.Duration("us"), "lag": pl.Duration("us")}  # fmt: skip


def wants_of(
    series: Series, instruments: Sequence[str], spots: Mapping[str, Spot], now: datetime
) -> list[Want]:  # fmt: skip
    """What to ask for: of each instrument and interval the sessions from where all bars are final, with the overlap.

    The session that runs is one of them; when none has begun since the last final bar ended, nothing is asked for.
    """
    wants = []
    for instrument in instruments:
        calendar, ticker = known_calendar(series, instrument), series.ticker(instrument)
        spot = spots.get(instrument, {})
        if ticker is None or calendar is None or is_refused(spot, now):
            continue
        for interval in series.intervals:
            span = _span(series, calendar, interval, _final(spot, interval), now)
            if span is not None:
                since, first, last = span
                wants.append(Want(instrument, ticker, first, last, interval, since))
    return wants


def _span(
    series: Series, calendar: Calendar, interval: str, final: datetime | None, now: datetime
) -> tuple[datetime, date, date] | None:
    length, lag = LENGTHS[interval], series.lags.get(calendar.name, timedelta())
    earliest = now - CATCH_UP if final else now - _first_read(series, length)
    from_here = max(final or earliest, earliest)
    days = calendar.local_date(from_here) - timedelta(days=1), calendar.local_date(now) + timedelta(days=1)
    sessions = [s for s in calendar.sessions(*days) if s.close_at > from_here]
    begun = [s for s in sessions if s.open_at + length + lag <= now]
    if not begun:
        return None
    last = max(s.date for s in sessions if s.open_at <= now + RUNS_ON)  # one may open while the run lasts
    # counted in bars of the sessions: before an open lie those of the session before it
    since = _earlier(calendar, max(from_here, begun[0].open_at), series.overlap * length if final else timedelta())
    if final is not None and final >= earliest:
        since = min(since, final)
    return since, calendar_day(calendar, since), last


def _earlier(calendar: Calendar, at: datetime, by: timedelta) -> datetime:
    """So much trading time before; of what does not fit into the session, as much as the one before it has."""
    for session in reversed(calendar.sessions(calendar.local_date(at) - timedelta(days=10), calendar.local_date(at))):
        if session.open_at >= at:
            continue
        end = min(at, session.close_at)
        if end - session.open_at >= by:
            return end - by if by else at
        by -= end - session.open_at
    return at - by


def calendar_day(calendar: Calendar, at: datetime) -> date:
    """The session that runs at a moment; the local day where none does."""
    session = calendar.running(at)
    return session.date if session is not None else calendar.local_date(at)


def _first_read(series: Series, length: timedelta) -> timedelta:
    """As far as is declared; no further than a vendor reaches that has only so many of the newest bars."""
    history = series.history if series.history != Series.history else FIRST_READ
    if series.reach.rows is not None and not series.reach.older:
        history = min(history, series.reach.rows * length)
    return history


def _final(spot: Spot, interval: str) -> datetime | None:
    told = spot.get("final", {}).get(interval)
    return datetime.fromisoformat(told) if told else None


def judge(
    built: Built, wants: Sequence[Want], held: pl.DataFrame, spots: dict[str, Spot], series: Series,
    reaches: datetime | None = None,
) -> Judged:  # fmt: skip
    """One complete answer. `held`: whole rows of the wanted instruments and intervals, from where was asked on.

    `reaches`: the vendor serves nothing before it, though that was asked for. Moves `spots` on: up to where all bars
    are final, and what was never read.
    """
    rows, strays = _within(built.good, wants, series)
    rows = _settled(rows)
    over = pl.col("fetched_at") >= pl.col("close_at") + pl.col("lag") + COMES_LATE
    through = pl.when(over).then("close_at").otherwise("end_at")  # behind the last trade of a session nothing comes
    for want in wants:
        spot = spots.setdefault(want.instrument, {})
        spot.pop("refused", None)
        _note_unread(spot, want, reaches)
        mine = (pl.col("instrument") == want.instrument) & (pl.col("interval") == want.interval)
        ends = rows.filter(mine & (pl.col("state") == "final")).select(through).to_series()
        if (newest := ends.max()) is not None:
            before = _final(spot, want.interval)
            assert isinstance(newest, datetime)
            spot.setdefault("final", {})[want.interval] = max(newest, before or newest).isoformat()
    rows = rows.select(built.good.columns)
    return Judged(rows, strays, _restated(rows, held))


def _note_unread(spot: Spot, want: Want, reaches: datetime | None) -> None:
    """A span between two reads of a series that nobody can fill in any more. Before its first bar there is none."""
    final = _final(spot, want.interval)
    begin = max(filter(None, (want.since, reaches)), default=None)
    if final is not None and begin is not None and begin > final:
        spot.setdefault("unread", {})[want.interval] = [final.isoformat(), begin.isoformat()]


def open_doubts(spots: Mapping[str, Spot], instruments: Iterable[str]) -> list[Doubt]:
    """Spans of these instruments that were never read."""
    return [
        Doubt(
            "missing_sessions", f"{name} {interval}",
            f"bars from {first} to {last} were not read in time, and are not asked for any more",
        )
        for name in instruments
        for interval, (first, last) in sorted(spots.get(name, {}).get("unread", {}).items())
    ]  # fmt: skip


def judged_alone(built: Built, series: Series, first: date | None, last: date | None) -> Built:
    """The rows of an answer, nothing held before. `first` and `last`: what was asked for, where that is known."""
    spans = built.good.group_by("instrument", "interval", maintain_order=True).agg(
        first=pl.col("start_at").min(), last=pl.col("start_at").max()
    )
    wants = []
    for name, interval, begin, end in spans.iter_rows():
        if (calendar := known_calendar(series, name)) is not None:
            days = first or calendar.local_date(begin), last or calendar.local_date(end)
            wants.append(Want(name, name, *days, interval))
    rows, strays = _within(built.good, wants, series)
    return replace(built, good=_settled(rows).select(built.good.columns), rejects=(*built.rejects, *strays))


def _spans(wants: Sequence[Want], series: Series) -> pl.DataFrame:
    """Every session that is asked for: between which moments its bars begin, and on which marks."""
    parts = []
    for want in wants:
        calendar = known_calendar(series, want.instrument)
        assert calendar is not None, "an instrument without a calendar is never wanted"
        length, lag = LENGTHS[want.interval], series.lags.get(calendar.name, timedelta())
        for session in calendar.sessions(want.first, want.last):
            midnight = session.open_at - _time_of_day(calendar, session.open_at)
            parts.append((want.instrument, want.interval, session.open_at, session.close_at, midnight, length, lag))
    return pl.DataFrame(parts, schema=SPANS, orient="row")


def _time_of_day(calendar: Calendar, at: datetime) -> timedelta:
    local = at.astimezone(ZoneInfo(calendar.zone))
    return timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)


def _within(rows: pl.DataFrame, wants: Sequence[Want], series: Series) -> tuple[pl.DataFrame, list[Reject]]:
    """Rows of the sessions that were asked for, with their session's columns, and the others with the reason.

    A bar begins on a mark of its interval, counted from the session's open or from midnight: vendors do either.
    """
    by, spans = ["instrument", "interval"], _spans(wants, series)
    named = rows.with_columns(pl.col("interval").cast(pl.String)).with_row_index("at")
    placed = (
        named.sort("start_at")
        .join_asof(spans.sort("open_at"), left_on="start_at", right_on="open_at", by=by, coalesce=False,
                   check_sortedness=False)
        .sort("at")
    )  # fmt: skip
    start, length = pl.col("start_at"), pl.col("length")
    marked = pl.any_horizontal(
        (start - pl.col(base)).dt.total_microseconds() % length.dt.total_microseconds() == 0
        for base in ("open_at", "midnight")
    )
    inside = start < pl.col("close_at")
    placed = placed.with_columns(inside=inside.fill_null(False), marked=marked.fill_null(False))
    good = placed.filter("inside", "marked").with_columns(interval=pl.col("interval").cast(rows.schema["interval"]))
    if good.height == rows.height:
        return good, []
    asked = {(want.instrument, want.interval) for want in wants}
    strays = []
    for row in placed.filter(~(pl.col("inside") & pl.col("marked"))).iter_rows(named=True):
        if (row["instrument"], row["interval"]) not in asked:
            reason = f"{row['interval']} bars of this instrument were not asked for"
        elif row["inside"]:
            reason = f"no {row['interval']} bar begins at {row['start_at'].isoformat()}"
        else:
            hours = series.calendar(row["instrument"])
            reason = f"{row['start_at'].isoformat()} is outside of what was asked for, or of the hours of {hours}"
        told = {name: None if row[name] is None else str(row[name]) for name in (*KEY, *INTRADAY.values)}
        strays.append(Reject(reason, {**told, "start_at": row["start_at"].isoformat()}))
    return good, strays


def _settled(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their state, and `end_at`: the last bar of a session ends with it."""
    end = pl.min_horizontal(pl.col("start_at") + pl.col("length"), "close_at")
    rows = rows.with_columns(end_at=end)
    closed = pl.col("fetched_at") >= pl.col("end_at") + pl.col("lag")
    state = pl.when(closed).then(pl.lit("final")).otherwise(pl.lit("provisional"))
    return rows.with_columns(state=state.cast(rows.schema["state"]))


def _restated(rows: pl.DataFrame, held: pl.DataFrame) -> list[Doubt]:
    """Final bars that came with other values: taken over, and said."""
    before = held.filter(pl.col("state") == "final").select(
        *KEY, *(pl.col(name).alias(f"{name}_held") for name in INTRADAY.values)
    )
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_held")) for name in INTRADAY.values)
    changed = rows.join(before, on=KEY, how="inner", maintain_order="left").filter(differs)
    return [
        Doubt("restated", f"{name} {interval}", f"the vendor changed final bars: {_listed(starts)}")
        for name, interval, starts in changed.group_by("instrument", "interval", maintain_order=True)
        .agg("start_at").iter_rows()
    ]  # fmt: skip


def _listed(starts: Sequence[datetime]) -> str:
    shown = ", ".join(start.isoformat(timespec="minutes") for start in sorted(starts)[:5])
    return shown if len(starts) <= 5 else f"{shown} and {len(starts) - 5} more"
