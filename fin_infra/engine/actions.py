"""Corporate actions of instruments: all of them are read again each time, and what is gone is believed with care.

They belong to the instrument: the tenants who hold it, or held it once, all need the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import select

from fin_infra.datasets.base import Built
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.prices import Prices
from fin_infra.engine.comparing import asked_by, doubts
from fin_infra.engine.parts import Place
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.engine.series import MISSED_APART, Judged, Spot
from fin_infra.engine.splits import Step, explaining, held_back, steps
from fin_infra.providers.base import Want
from fin_infra.store import Change, Query, Store
from fin_infra.store.tables import CURSORS

TAKEN_BACK = 2  # so many actions may vanish from one answer and are taken for withdrawn at once
ENDED_WITHIN = timedelta(days=400)  # a symbol that was given up longer ago may be another company's by now
ENDS = ("delisting", "symbol_change")
UNADJUSTED = {"spin_off": "a spin-off", "other": "a right or a call"}


def asked_about(run: Run) -> list[Want]:
    """Every instrument the vendor can be asked about: what a vendor says of the past it may correct any day."""
    series, today = run.source.series, run.started_at.date()
    assert series is not None
    tickers = [(name, series.ticker(name)) for name in run.instruments]
    return [Want(name, ticker, today, today) for name, ticker in tickers if ticker is not None]


def taken_over(run: Run, built: Built, wants: Sequence[Want], place: Place, store: Store) -> Change:
    """One complete answer about these instruments, and where it differs from what other vendors said of them."""
    change = _taken_over(run, built, wants, place, store)
    run.doubts += [(CorporateActions.dataset_name(), doubt) for doubt in _compared(run, change, wants, store)]
    return change


def _compared(run: Run, change: Change, wants: Sequence[Want], store: Store) -> list[Doubt]:
    """What vendors tell differently once this change is made: see `comparing`."""
    names, own = [want.instrument for want in wants], run.connection.provider
    asked = asked_by(store, names)
    asked[own] = {**asked.get(own, {}), **dict.fromkeys(names, run.started_at.date())}
    if len(asked) < 2:
        return []
    key = CorporateActions.key()
    gone = {tuple(part) for part in change.removed}
    held = known_actions(store, names).join(change.rows, on=key, how="anti")
    kept = [_key(row) not in gone for row in held.select(key).iter_rows()]
    rows = pl.concat([held.filter(pl.Series(kept, dtype=pl.Boolean)), change.rows])
    rows = rows.filter(pl.col("instrument").is_in(names))
    if not (found := doubts(rows, asked)):
        return []
    about = sorted({doubt.subject.partition(" ")[0] for doubt in found})
    bars = pl.concat(list(store.read(Prices, Query(instruments=about), ["instrument", "session"])))
    first = dict(bars.group_by("instrument").agg(pl.col("session").min()).iter_rows())
    return doubts(rows, asked, first)


def _taken_over(run: Run, built: Built, wants: Sequence[Want], place: Place, store: Store) -> Change:
    """One complete answer about these instruments: what came, and which held actions the vendor has withdrawn.

    One or two that are missing beside others of their instrument are withdrawn. When more is missing, or all of an
    instrument, a second read 20 hours later must miss just the same. Of an instrument that is no longer traded nothing
    is ever removed: vendors forget those, and their prices are still to be adjusted.
    """
    names = [want.instrument for want in wants]
    today = run.started_at.date()
    came = built.good
    run.doubts += [(CorporateActions.dataset_name(), doubt) for doubt in _unadjusted(came, names, today, store)]
    held = known_actions(store, names).filter(pl.col("provider") == run.connection.provider)
    missing = held.join(came, on=CorporateActions.key(), how="anti")
    ended = held.filter(pl.col("kind").is_in(ENDS) & (pl.col("ex_on") <= today))["instrument"]
    spoiled = [(reject.row.get("instrument") or "").strip() for reject in built.rejects]
    missing = missing.filter(~pl.col("instrument").is_in([*ended, *spoiled]))
    known = place.get("missed", {})
    missed: dict[str, Any] = {name: spot for name, spot in known.items() if name not in names}
    removed: list[tuple[str, ...]] = []
    if missing.is_empty() or "" in spoiled:
        place["missed"] = missed
        return Change(CorporateActions, came)
    delivered = set(came["instrument"])
    few = missing.height <= TAKEN_BACK
    for (name,), rows in missing.group_by("instrument", maintain_order=True):
        keys = [_key(row) for row in rows.select(CorporateActions.key()).iter_rows()]
        if few and name in delivered:
            removed += keys
            continue
        ids = sorted(f"{day} {kind}" for _, day, kind, _ in keys)
        before = known.get(name, {})
        same = before.get("ids") == ids
        if same and run.started_at - datetime.fromisoformat(before["at"]) >= MISSED_APART:
            removed += keys
            continue
        missed[str(name)] = {"ids": ids, "at": before["at"] if same else run.started_at.isoformat()}
        detail = f"{len(ids)} actions are not in the answer ({ids[0]}, …); none is removed until a second read agrees"
        run.doubts.append((CorporateActions.dataset_name(), Doubt("shrink_guard", str(name), detail)))
    place["missed"] = missed
    return Change(CorporateActions, came, removed)


def _key(row: tuple[Any, ...]) -> tuple[str, ...]:
    """As the store writes it."""
    return tuple(part.isoformat() if isinstance(part, date) else str(part) for part in row)


def _unadjusted(came: pl.DataFrame, names: Sequence[str], today: date, store: Store) -> list[Doubt]:
    """Actions that move a price and give no factor, where bars of both sides are held: the series steps there."""
    rows = came.filter(
        pl.col("kind").is_in(list(UNADJUSTED)) & (pl.col("ex_on") <= today) & pl.col("instrument").is_in(list(names))
    )
    if rows.is_empty():
        return []
    affected = rows["instrument"].unique().to_list()
    bars = pl.concat(list(store.read(Prices, Query(instruments=affected), ["instrument", "session"])))
    spans = bars.group_by("instrument").agg(first=pl.col("session").min(), last=pl.col("session").max())
    within = rows.join(spans, on="instrument").filter(pl.col("ex_on").is_between("first", "last", closed="right"))
    return [
        Doubt(
            "not_adjusted", f"{row['instrument']} {row['ex_on']}",
            f"{UNADJUSTED[row['kind']]}{f' of {new}' if (new := row['new_instrument']) else ''}: no factor is known, "
            "prices before and after it do not compare",
        )
        for row in within.sort("instrument", "ex_on").iter_rows(named=True)
    ]  # fmt: skip


def unstepped(run: Run, judged: Judged, held: pl.DataFrame, spots: dict[str, Spot], store: Store) -> Judged:
    """The bars of an answer that no unexplained step is before: see `splits`."""
    if judged.rows.is_empty() or run.source.lead != "prices":
        return judged
    names = judged.rows["instrument"].unique().to_list()
    first = judged.rows["session"].min()
    assert isinstance(first, date)

    actions = pl.concat(list(store.read(CorporateActions, Query(instruments=names, since=first))))

    def agreed(step: Step) -> bool:
        """Whether bars of another vendor step just so, each by what may move its own basis."""
        query = Query(instruments=[step.instrument], since=step.before, until=step.session)
        bars = pl.concat(list(store.read(Prices, query))).filter(pl.col("provider") != run.connection.provider)
        others = [(str(basis), part) for (_, basis), part in bars.group_by("provider", "basis")]
        return any(
            other.near == step.near for basis, part in others for other in steps(part, explaining(actions, basis))
        )

    return held_back(judged, held, actions, spots, run.started_at, agreed)


def no_longer_missed(spots: Mapping[str, Spot], ends: Mapping[str, date]) -> None:
    """Sessions behind the end of a listing have no bar: those that were missed before the vendor told it are none."""
    for name, end in ends.items():
        absent = spots.get(name, {}).get("absent", {})
        for day in [day for day in absent if day > end.isoformat()]:
            del absent[day]


# -- what others ask ---------------------------------------------------------------------------------------------------


def known_actions(store: Store, instruments: Sequence[str] | None = None) -> pl.DataFrame:
    """The actions held, of these instruments or of all, of every provider."""
    return pl.concat(list(store.read(CorporateActions, Query(instruments=instruments))))


def asked_on(store: Store) -> dict[str, date]:
    """InstrumentKey → the day its actions were last asked for, through whatever connection, and answered."""
    name = CorporateActions.dataset_name()
    with store.reading() as sql:
        bodies = sql.scalars(select(CURSORS.c.body).where(CURSORS.c.dataset == name)).all()
    asked: dict[str, date] = {}
    for body in bodies:
        for instrument, day in json.loads(body).get("asked", {}).items():
            asked[instrument] = max(date.fromisoformat(day), asked.get(instrument, date.min))
    return asked


def delistings(store: Store, today: date) -> dict[str, date]:
    """InstrumentKey → the last day it could be traded under that key, of those that ended within the last 400 days.

    A change of symbol ends the old key too. Those of the future are told as well.
    """
    parts = store.read(CorporateActions, Query(since=today - ENDED_WITHIN), ["instrument", "ex_on", "kind"])
    rows = pl.concat(list(parts)).filter(pl.col("kind").is_in(ENDS))
    ends = rows.group_by("instrument").agg(pl.col("ex_on").min()).iter_rows()
    return {name: day - timedelta(days=1) for name, day in ends}
