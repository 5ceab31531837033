"""What several vendors say of one company's shares, held against each other: a wrong split is wrong in every price.

Pure, but for one small reader. Nobody's rows are changed, nobody is preferred: that they differ is told, and who says
what. Rows are in the same terms whoever told them, see `CorporateActions`: a dividend is per share as held before its
own ex-date. A vendor that tells it per share of today, as those do that serve adjusted prices, had it multiplied by its
own splits from that day on when its rows were made; what it rounded before that is multiplied too, and is allowed for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Context, Decimal
from fractions import Fraction

import polars as pl
from sqlalchemy import select

from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.engine.reconcile import Doubt
from fin_infra.store import Store
from fin_infra.store.tables import CONNECTIONS, CURSORS

KINDS = ("split", "dividend")
"""What moves a price by a known factor, and what every vendor of actions tells."""
APART = timedelta(days=5)
"""So far apart two vendors may date one action: over a long weekend, and less than the week of who pays weekly."""
RATIO_WITHIN = Fraction(1, 10_000)
AMOUNT_WITHIN = Fraction(1, 1_000)
FINEST = Fraction(1, 1_000_000)
"""To what a vendor rounds an adjusted amount: six decimals."""
EXACT = Context(prec=40)

Asked = Mapping[str, Mapping[str, date]]
"""Provider → InstrumentKey → the day on which it was last asked for all of its actions, and answered."""


@dataclass(frozen=True)
class Said:
    """One vendor's word: new shares per old, or cash per share and its currency; how far rounding may have moved it."""

    value: Fraction
    currency: str | None = None
    slack: Fraction = Fraction(0)


@dataclass(frozen=True)
class Event:
    """What one or more vendors say happened on a day. `said`: by vendor; `on`: its day, where it names another."""

    instrument: str
    ex_on: date
    kind: str
    said: Mapping[str, Said]
    on: Mapping[str, date] = field(default_factory=dict)


def disagreements(actions: pl.DataFrame, asked: Asked) -> list[tuple[Event, list[str]]]:
    """Splits and dividends that vendors tell differently, by instrument and ex-date; beside each who does not know it.

    `actions`: rows of `CorporateActions` of every vendor. They disagree where

    - the ratio of a split differs, by more than a hundredth of a percent;
    - the amount of a dividend differs, by more than a tenth of a percent and what is lost by rounding, or its currency
      does, where both say one;
    - one has it and another does not, which was asked later than its ex-date: of a day that was not over a vendor may
      know nothing yet, and of an announced one most never do. A vendor that was not asked has no say.

    The same within five days, by one vendor on this day and by another on that, is one disagreement: of the date.
    """
    found: list[tuple[Event, list[str]]] = []
    for events in _events(actions).values():
        lacking = [_lacking(event, asked) for event in events]
        joined: set[int] = set()
        for place, event in enumerate(events):
            if place in joined:
                continue
            later = range(place + 1, len(events)) if lacking[place] else ()
            twin = next((n for n in later if lacking[n] and _one_of_two_days(event, events[n])), None)
            told = event
            if twin is not None:
                joined.add(twin)
                other = events[twin]
                told = replace(event, said={**event.said, **other.said}, on=dict.fromkeys(other.said, other.ex_on))
            silent = [vendor for vendor in lacking[place] if vendor not in told.said]
            if silent or told.on or not _alike(list(told.said.values())):
                found.append((told, silent))
    return found


def doubts(actions: pl.DataFrame, asked: Asked, since: Mapping[str, date] | None = None) -> list[Doubt]:
    """The same as findings `actions_disagree`. `since`: by instrument, before which day what is unknown to one does not
    matter, since no bar is older; values that differ are told all the same."""
    told = []
    for event, silent in disagreements(actions, asked):
        first = (since or {}).get(event.instrument)
        if len(event.said) == 1 and first is not None and event.ex_on <= first:
            continue
        subject = f"{event.instrument} {event.ex_on} {event.kind}"
        told.append(Doubt("actions_disagree", subject, _sentence(event, silent)))
    return told


def _sentence(event: Event, silent: Sequence[str]) -> str:
    says = []
    for vendor, said in sorted(event.said.items()):
        what = _ratio(said) if event.kind == "split" else f"{_plain(said.value)} {said.currency or ''}".strip()
        on = event.on.get(vendor)
        says.append(f"{vendor} says {what}" + (f" on {on}" if on else f" on {event.ex_on}" if event.on else ""))
    says += [f"{vendor} knows of none" for vendor in silent]
    return f"the {event.kind} of {event.ex_on}: {', '.join(says)}"


def _ratio(said: Said) -> str:
    return f"{said.value.numerator}-for-{said.value.denominator}"


def _plain(value: Fraction) -> str:
    number = EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
    return format(number.quantize(Decimal("1e-12"), context=EXACT).normalize(), "f")


# -- one instrument ----------------------------------------------------------------------------------------------------


def _events(actions: pl.DataFrame) -> dict[str, list[Event]]:
    """By instrument, oldest first: what is told of one day and kind is one event."""
    rows = actions.filter(pl.col("kind").cast(pl.String).is_in(KINDS)).sort("instrument", "ex_on", "kind", "provider")
    columns = ("instrument", "provider", "ex_on", "kind", "new_shares", "old_shares", "amount", "currency")
    told = rows.select(pl.col(name).cast(pl.String) if name == "kind" else name for name in columns).rows()
    splits: dict[tuple[str, str], list[tuple[date, Fraction]]] = {}
    for name, vendor, ex_on, kind, new, old, _, _ in told:
        if kind == "split":
            splits.setdefault((name, vendor), []).append((ex_on, Fraction(new) / Fraction(old)))
    said: dict[tuple[str, date, str], dict[str, Said]] = {}
    for name, vendor, ex_on, kind, new, old, amount, currency in told:
        if kind == "split":
            word = Said(Fraction(new) / Fraction(old))
        else:
            later = Fraction(1)
            for on, ratio in splits.get((name, vendor), ()):
                later *= ratio if on >= ex_on else 1
            word = Said(Fraction(amount), currency, FINEST * max(later, Fraction(1)))
        said.setdefault((name, ex_on, kind), {})[vendor] = word
    events: dict[str, list[Event]] = {}
    for (name, ex_on, kind), words in said.items():
        events.setdefault(name, []).append(Event(name, ex_on, kind, words))
    return events


def _lacking(event: Event, asked: Asked) -> list[str]:
    """Vendors that do not tell it though they were asked on a later day."""
    return sorted(
        vendor for vendor, days in asked.items()
        if vendor not in event.said and (day := days.get(event.instrument)) is not None and day > event.ex_on
    )  # fmt: skip


def _one_of_two_days(one: Event, other: Event) -> bool:
    """Whether different vendors tell the same under two dates."""
    apart = abs(one.ex_on - other.ex_on)
    both = [*one.said.values(), *other.said.values()]
    return one.kind == other.kind and apart <= APART and not {*one.said} & {*other.said} and _alike(both)


def _alike(said: Sequence[Said]) -> bool:
    return all(_agree(one, other) for one, other in itertools.combinations(said, 2))


def _agree(one: Said, other: Said) -> bool:
    if one.currency is not None and other.currency is not None and one.currency != other.currency:
        return False
    larger = max(one.value, other.value)
    within = AMOUNT_WITHIN if one.slack or other.slack else RATIO_WITHIN
    return abs(one.value - other.value) <= max(within * larger, one.slack, other.slack)


# -- what the store knows of it ----------------------------------------------------------------------------------------


def asked_by(store: Store, instruments: Iterable[str]) -> dict[str, dict[str, date]]:
    """See `Asked`: of these instruments, through whatever connection of whatever tenant."""
    wanted, name = set(instruments), CorporateActions.dataset_name()
    query = select(CONNECTIONS.c.provider, CURSORS.c.body).where(
        CURSORS.c.dataset == name, CURSORS.c.connection_id == CONNECTIONS.c.connection_id
    )
    with store.reading() as sql:
        rows = [tuple(row) for row in sql.execute(query)]
    found: dict[str, dict[str, date]] = {}
    for vendor, body in rows:
        for instrument, day in json.loads(body).get("asked", {}).items():
            if instrument in wanted:
                known = found.setdefault(vendor, {})
                known[instrument] = max(date.fromisoformat(day), known.get(instrument, date.min))
    return found
