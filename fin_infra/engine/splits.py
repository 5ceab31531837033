"""Steps between bars that look like a split: believed with an action or a second source, else held back for a day.

A vendor forgets a split, invents one, or serves an adjusted series where a raw one was asked: each shows as a step of a
simple ratio from one close to the next open. A crash may look the same, and must not block a series for ever: a second
read a day later that says the same is enough, and the finding stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from typing import Any

import polars as pl

from fin_infra.datasets.base import Reject
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.series import MISSED_APART, Judged, Spot
from fin_infra.instruments import calendar_of

_WHOLE = (*range(2, 21), 25, 30, 40, 50, 60, 75, 80, 100, 150, 200, 250, 500, 1000)
_LARGER = (Fraction(3, 2), Fraction(5, 2), *map(Fraction, _WHOLE))
SIMPLE = (*_LARGER, *(1 / ratio for ratio in _LARGER))
"""New shares for an old one, as splits are made. 4:3 and 5:4 are not among them: a share moves so much on a bad day."""
OPENS_WITHIN = 0.05  # how far the open may be from the ratio: the market moves overnight too
CLOSES_WITHIN = 0.25  # and how far the close of that day
LEAST = 1.4  # a step below every ratio there is: not looked at
KEY = ("instrument", "session")
VALUES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Step:
    """Between two bars that follow each other: `by`, close through open; `left` of it, once known splits are taken off.

    `near`: the simple ratio that is left.
    """

    instrument: str
    before: date
    session: date
    by: float
    near: Fraction


def steps(bars: pl.DataFrame, actions: pl.DataFrame) -> list[Step]:
    """Those that look like a split and no action explains, by instrument and session.

    `bars`: raw ones, of each instrument and session one. A split that is known and does not show in the bars leaves its
    inverse, and is a step too. Coins do not split: what is traded round the clock is not looked at. Any other action
    between two bars explains what is between them; a dividend is taken off the close.
    """
    bars = bars.filter(
        ~pl.col("instrument").is_in([n for n in bars["instrument"].unique() if calendar_of(n) == "24/7"])
    )
    behind = bars.sort(KEY).with_columns(
        before=pl.col("session").shift().over("instrument"), paid=pl.col("close").shift().over("instrument")
    )
    pairs = behind.filter(pl.col("before").is_not_null()).with_columns(
        opened=pl.when(pl.col("open") > 0).then("open").otherwise("close").cast(pl.Float64),
        closed=pl.col("close").cast(pl.Float64), paid=pl.col("paid").cast(pl.Float64),
    )  # fmt: skip
    last = actions.select("instrument", "ex_on", acted_on="ex_on").sort("ex_on")
    pairs = pairs.sort("session").join_asof(
        last, left_on="session", right_on="ex_on", by="instrument", check_sortedness=False
    )
    moved = ~(pl.col("paid") / pl.col("opened")).is_between(1 / LEAST, LEAST)
    rows = pairs.filter(moved | (pl.col("acted_on") > pl.col("before")).fill_null(value=False)).sort(KEY)
    found = []
    for row in rows.select(*KEY, "before", "paid", "opened", "closed").iter_rows(named=True):
        between = _between(actions, row["instrument"], row["before"], row["session"])
        left, closing = (_left(row["paid"], row[name], between) for name in ("opened", "closed"))
        near = simple(left)
        if near is not None and abs(closing / float(near) - 1) <= CLOSES_WITHIN:
            found.append(Step(row["instrument"], row["before"], row["session"], row["paid"] / row["opened"], near))
    return found


def explaining(actions: pl.DataFrame, basis: str) -> pl.DataFrame:
    """The actions that may move bars of this basis. A split moves raw ones only: where split-adjusted bars step at one,
    part of the series lacks it."""
    gone = {"raw": [], "split_adjusted": ["split"], "adjusted": ["split", "dividend"]}[basis]
    return actions.filter(~pl.col("kind").cast(pl.String).is_in(gone))


def simple(ratio: float) -> Fraction | None:
    """The simple ratio that this one is nearest to; None when it is near none."""
    nearest = min(SIMPLE, key=lambda one: abs(ratio / float(one) - 1))
    return nearest if abs(ratio / float(nearest) - 1) <= OPENS_WITHIN else None


def _between(actions: pl.DataFrame, instrument: str, before: date, session: date) -> list[dict[str, Any]]:
    mine = (pl.col("instrument") == instrument) & (pl.col("ex_on") > before) & (pl.col("ex_on") <= session)
    return actions.filter(mine).to_dicts()


def _left(paid: float, price: float, actions: Sequence[Mapping[str, Any]]) -> float:
    """What is left of the step once the actions are taken off; 1 where one of them may explain anything."""
    share, cash = 1.0, 0.0
    providers = {action["provider"] for action in actions}
    for action in actions:
        match action["kind"]:
            case "split" if action["provider"] == min(providers):
                share *= float(action["new_shares"]) / float(action["old_shares"])
            case "dividend" if action["provider"] == min(providers):
                cash += float(action["amount"])
            case "split" | "dividend":
                continue
            case _:
                return 1.0
    return (paid - cash if cash < paid else paid) / price / share


# -- what is done about them -------------------------------------------------------------------------------------------


def held_back(
    judged: Judged, held: pl.DataFrame, actions: pl.DataFrame, spots: dict[str, Spot], now: datetime,
    agreed: Callable[[Step], bool] = lambda step: False,
) -> Judged:  # fmt: skip
    """The bars that may be kept. `held`: those of the store, of the same basis; `agreed`: whether a second source has
    the same step.

    Bars behind an unexplained step wait, those that are new as well as those that changed, see `_behind`: half of each
    basis would be worse. `spots` remember the step: `jumps`, session → the session before it, its ratios, when it was
    first seen, `kept` once its bars are, and the basis where it is not raw.
    """
    if judged.rows.is_empty() or "basis" not in judged.rows.columns:
        return judged
    rows = judged.rows
    [basis, *_] = rows["basis"].cast(pl.String)  # of one series
    actions = explaining(actions, basis)
    values = [pl.col(name).alias(f"{name}_held") for name in VALUES]
    known = rows.join(held.select(*KEY, *values), on=KEY, how="left", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in VALUES)
    moved = known.filter(~same.fill_null(value=False)).select(*KEY, changed=pl.col("close_held").is_not_null())
    others = held.select(rows.columns).join(rows, on=KEY, how="anti")
    found: dict[str, list[Step]] = {}
    for step in steps(pl.concat([rows, others]), actions):
        found.setdefault(step.instrument, []).append(step)
    waiting: list[pl.Expr] = []
    strays: list[Reject] = []
    for name in rows["instrument"].unique(maintain_order=True):
        mine = pl.col("instrument") == name
        days = dict(moved.filter(mine).select("session", "changed").iter_rows())
        seen = {*rows.filter(mine)["session"], *others.filter(mine)["session"]}
        waits = _noted(spots.setdefault(name, {}), found.get(name, []), seen, days, now, agreed, basis)
        if late := _behind(waits, days, sorted(seen - set(days))):
            waiting.append(mine & pl.col("session").is_in(sorted(late)))
            strays.append(_waits(rows.filter(waiting[-1]), spots[name]["jumps"]))
    if not waiting:
        return judged
    stepped = frozenset(
        name for name in found if any(not jump.get("kept") for jump in spots[name].get("jumps", {}).values())
    )
    kept = judged.rows.filter(~pl.any_horizontal(waiting))
    return replace(judged, rows=kept, strays=(*judged.strays, *strays), stepped=stepped)


def _waits(bars: pl.DataFrame, jumps: Mapping[str, Mapping[str, Any]]) -> Reject:
    """What the quarantine keeps of an instrument's bars that wait: the first of them, and how many there are."""
    steps = [_sentence(day, jump) for day, jump in jumps.items() if not jump.get("kept")]
    first = bars.sort("session").row(0, named=True)
    told = {name: None if first[name] is None else str(first[name]) for name in (*KEY, *VALUES)}
    return Reject(f"{steps[0]} ({bars.height} in all)", told)


def _behind(waits: Sequence[Step], moved: Mapping[date, bool], held: Sequence[date]) -> set[date]:
    """Which of the days that moved have to wait: those on the side of a step where nothing is held as it came.

    `moved`: day → whether another bar of it is held. In a hole between held bars all of them wait; of a series that
    changed on both sides of a step all of it does.
    """
    late: set[date] = set()
    for step in waits:
        before, after = any(day <= step.before for day in held), [day for day in held if day >= step.session]
        if before and after:
            begin = max(day for day in held if day <= step.before)
            late |= {day for day in moved if begin < day < after[0]}
        elif after:
            late |= {day for day in moved if day <= step.before}
        else:
            late |= {day for day in moved if day >= step.session}
    changed = {day for day, other in moved.items() if other}
    return set(moved) if late & changed and changed - late else late


def _noted(
    spot: Spot, found: Sequence[Step], seen: set[date], moved: Mapping[date, bool], now: datetime,
    agreed: Callable[[Step], bool], basis: str,
) -> list[Step]:  # fmt: skip
    """Remembers the steps of one instrument. Those whose bars have to wait: seen first, or not long enough ago."""
    before = spot.pop("jumps", {})
    jumps = {
        day: jump for day, jump in before.items()
        if date.fromisoformat(day) not in seen or date.fromisoformat(jump["before"]) not in seen
    }  # fmt: skip
    waits = []
    for step in found:
        day, ratio = step.session.isoformat(), _told(step.near)
        known = before.get(day, {})
        again = known.get("ratio") == ratio
        untouched = step.session not in moved and step.before not in moved
        if untouched and not known:
            continue  # both bars were taken before, by a read that saw no step
        if agreed(step):
            continue
        at = known["at"] if again else now.isoformat(timespec="seconds")
        kept = untouched or (again and (known.get("kept") or now - datetime.fromisoformat(at) >= MISSED_APART))
        jumps[day] = {"before": step.before.isoformat(), "by": f"{step.by:.6g}", "ratio": ratio, "at": at}
        if basis != "raw":
            jumps[day]["basis"] = basis
        if kept:
            jumps[day]["kept"] = True
        else:
            waits.append(step)
    if jumps:
        spot["jumps"] = dict(sorted(jumps.items()))
    return waits


def jump_doubts(spots: Mapping[str, Spot], actions: Callable[[Sequence[str]], pl.DataFrame]) -> list[Doubt]:
    """The steps that are still unexplained. One whose bars are kept is forgotten as soon as an action explains it."""
    names = sorted(name for name, spot in spots.items() if spot.get("jumps"))
    if not names:
        return []
    known = actions(names)
    doubts = []
    for name in names:
        jumps = spots[name]["jumps"]
        for day, jump in list(jumps.items()):
            moving = explaining(known, jump.get("basis", "raw"))
            between = _between(moving, name, date.fromisoformat(jump["before"]), date.fromisoformat(day))
            if jump.get("kept") and between and simple(_left(float(jump["by"]), 1.0, between)) is None:
                del jumps[day]
        if not jumps:
            del spots[name]["jumps"]
        told = [_sentence(day, jump) for day, jump in jumps.items()]
        if told:
            doubts.append(Doubt("unexplained_jump", name, "; ".join(told[:3])))
    return doubts


def _sentence(day: str, jump: Mapping[str, Any]) -> str:
    step = f"from {jump['before']} to {day} its price moved as in a {jump['ratio']} split that no action explains"
    if jump.get("kept"):
        return f"{step}; a second read said the same, so its bars are kept"
    return f"{step}; bars behind it wait for an action, or for a second read on another day"


def _told(ratio: Fraction) -> str:
    return f"{ratio.numerator}-for-{ratio.denominator}"
