"""Figures of one vendor held against each other: what moved an account must be what its balance moved by.

Pure functions on rows of one account, and one small reader. A difference is told, as exact text, and no row is dropped
for it. Where figures cannot be held against each other there is no verdict, and what was told before stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

from fin_infra.datasets.balances import Balances
from fin_infra.datasets.base import Dataset
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.operations import AccountStates, Streams
from fin_infra.engine.parts import Place
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.store import Store
from fin_infra.store.codec import micros

EXACT = Context(prec=76)  # sums of 38-digit amounts are whole; the default context would round them to 28
ZERO = Decimal(0)
BOOKED = ("posted", "review")
VALUED = ("investment", "crypto")
"""Kinds of accounts whose balance is a value, which prices move too."""
MANY = 1_000
"""Answers longer than this are looked at by columns; shorter ones take less time row by row."""
NEAR = 10**18
"""Up to here two amounts can be subtracted in a column; larger ones are looked at one by one."""
TOGETHER = timedelta(minutes=15)
CENT = Decimal("0.01")
SHARE = Decimal("0.005")


class Reading(NamedTuple):
    """An account's balance as the store has it, and when the vendor last said it."""

    currency: str | None
    current: Decimal | None
    cash: Decimal | None
    at: int  # microseconds


class Booked(NamedTuple):
    """A posted row: its day, amount and the balance behind it, if the vendor says that."""

    day: date | None
    amount: Decimal
    running: Decimal | None


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    found = ZERO
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def plain(amount: Decimal) -> str:
    """Decimal text without an exponent and without idle zeros."""
    return format(EXACT.plus(amount).normalize(EXACT), "f") if amount else "0"


# -- running balances --------------------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """On this day the running balances lead on from a balance that differs by so much from where they ended on the day
    `after`; None: they form no chain within the day."""

    day: date
    after: date
    difference: Decimal | None


def running_gap(rows: pl.DataFrame) -> Gap | None:
    """The first place where the posted rows of one account do not lead from balance to balance. O(n log n).

    Vendors do not say the order within a day. A row leads from `running_balance - amount` to `running_balance`; the
    rows of a day fit when they can be walked one after the other, each once, and the walk begins where the day before
    ended. A day with a row that has no running balance shows no walk, but its amounts count: the next day must begin so
    much further on. Where days do not fit but all rows together can be walked, the bank booked them in another order
    than it dated them, and there is no gap. Pending, expired and undated rows are left out.
    """
    if rows["running_balance"].null_count() == rows.height or (rows.height > MANY and _in_order(rows)):
        return None
    booked = [row for row in _booked(rows) if row.day is not None]
    whole = all(row.running is not None for row in booked)
    if whole and (_leads_on(booked) or _leads_on(booked[::-1])):
        return None
    days: dict[date, list[Booked]] = {}
    for row in sorted(booked, key=lambda row: row.day or date.min):
        days.setdefault(row.day or date.min, []).append(row)
    gap = _first_gap(days)
    if gap is not None and whole and _walk(booked) is not None:
        return None
    return gap


def _leads_on(booked: Sequence[Booked]) -> bool:
    """Whether each row leads to the next as they stand, newest first or oldest first: most answers do."""
    return all(EXACT.subtract(row.running or ZERO, row.amount) == before.running for row, before in pairwise(booked))


def _in_order(rows: pl.DataFrame) -> bool:
    """The same of a long answer, by columns; False where it cannot be said that way."""
    posted = rows.filter(pl.col("status").is_in(BOOKED)).select("amount", "running_balance")
    if posted.null_count().row(0) != (0, 0) or posted.is_empty():
        return False
    if posted.select(pl.all_horizontal((pl.all() > -NEAR) & (pl.all() < NEAR)).all()).item():
        running, amount = posted["running_balance"], posted["amount"]
        before = running - amount
        return bool((before[:-1] == running[1:]).all() or (before[1:] == running[:-1]).all())
    return False


def _booked(rows: pl.DataFrame) -> list[Booked]:
    """Posted rows, in their order."""
    columns = (rows[name].to_list() for name in ("status", "booked_on", "amount", "running_balance"))
    return [Booked(*row) for status, *row in zip(*columns, strict=True) if status in BOOKED]


def _first_gap(days: Mapping[date, Sequence[Booked]]) -> Gap | None:
    """`days`: oldest first."""
    ended: frozenset[Decimal] | None = None  # where the day before may have ended; None: anywhere
    last = date.min  # the last day that was walked
    for day, rows in days.items():
        sum_of_day = total(row.amount for row in rows)
        if any(row.running is None for row in rows):
            ended = None if ended is None else frozenset(EXACT.add(at, sum_of_day) for at in ended)
            continue
        begins = _walk(rows)
        if begins is None:
            return Gap(day, day, None)
        fits = begins if ended is None else begins & ended
        if not fits:
            assert ended is not None
            off = min((EXACT.subtract(b, e) for b in begins for e in ended), key=lambda d: (abs(d), d))
            return Gap(day, last, off)
        last, ended = day, frozenset(EXACT.add(at, sum_of_day) for at in fits)
    return None


def _walk(rows: Sequence[Booked]) -> frozenset[Decimal] | None:
    """From which balances all rows can be walked one after the other; None when they cannot.

    Balances are places and rows the ways between them: a walk along every way exists when the ways hang together and
    each place but the first and the last is left as often as it is reached.
    """
    leads: Counter[Decimal] = Counter()
    root: dict[Decimal, Decimal] = {}

    def found(place: Decimal) -> Decimal:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for row in rows:
        assert row.running is not None
        before, after = EXACT.subtract(row.running, row.amount), row.running
        leads[before] += 1
        leads[after] -= 1
        root.setdefault(before, before)
        root.setdefault(after, after)
        root[found(before)] = found(after)
    if len({found(place) for place in root}) > 1:
        return None
    uneven = {place: n for place, n in leads.items() if n}
    if not uneven:  # a round: it can be begun anywhere
        return frozenset(root)
    first = [place for place, n in uneven.items() if n > 0]
    return frozenset(first) if sorted(uneven.values()) == [-1, 1] else None


def chained(kept: Place | None, rows: pl.DataFrame, since: date | None) -> Place | None:
    """What is told of the chain after an answer from `since` on. A gap from before stands until an answer shows
    both of its days again."""
    gap = running_gap(rows)
    if gap is not None:
        off = None if gap.difference is None else plain(gap.difference)
        return {"day": gap.day.isoformat(), "after": gap.after.isoformat(), "off": off}
    return None if kept is None or since is None or since.isoformat() <= kept["after"] else kept


def chain_doubts(kept: Place, account: str) -> list[Doubt]:
    off, day = kept["off"], kept["day"]
    where = f"the running balances of {day} " + (
        "do not lead from one row to the next" if off is None
        else f"begin {off} beside where the rows before them end"
    )  # fmt: skip
    return [Doubt("running_balance_broken", account, f"{where}: a row is missing, double or has another amount")]


# -- two balances and what came between --------------------------------------------------------------------------------


def summed(anchor: Place, rows: pl.DataFrame, until_next: date) -> Place:
    """The anchor after a window's answer: its `total` moves by what the posted rows of days that both answers show sum
    to now and did before. `until_next`: from which day on the next answer shows rows.

    An anchor is {"total", "before", "from", "sum"} and, once judged, "last", "read", "opening", "off"; amounts are
    text. A posted row without a date belongs to no day: then there is no anchor.
    """
    first = date.fromisoformat(anchor["from"]) if anchor else until_next
    begin, days = min(first, until_next), rows["booked_on"].to_list()
    places = [
        place for place, (status, day) in enumerate(zip(rows["status"].to_list(), days, strict=True))
        if status in BOOKED and (day is None or day >= begin)
    ]  # fmt: skip
    if any(days[place] is None for place in places):
        return {}
    # amounts are made decimals one by one: of those days alone, which mostly are few
    posted = list(zip((days[place] for place in places), rows["amount"].gather(places).to_list(), strict=True))
    by = ZERO
    if anchor:
        by = EXACT.subtract(total(amount for day, amount in posted if day >= first), Decimal(anchor["sum"]))
    held = plain(total(amount for day, amount in posted if day >= until_next))
    return {**moved(anchor, by), "from": until_next.isoformat(), "sum": held}


def stepped(anchor: Place, before: pl.DataFrame, rows: pl.DataFrame, removed: Iterable[str]) -> Place:
    """The anchor after a cursor stream's step: `before` are the rows held that `rows` replace or that are `removed`."""
    gone = {*rows["transaction_id"], *removed}
    old = before.filter(pl.col("transaction_id").is_in(list(gone)) & pl.col("status").is_in(BOOKED))["amount"]
    new = rows.filter(pl.col("status").is_in(BOOKED))["amount"]
    return moved(anchor, EXACT.subtract(total(new.to_list()), total(old.to_list())))


def moved(anchor: Place, by: Decimal = ZERO) -> Place:
    """The anchor after a commit: `total` is what the rows moved by since it was cast, `before` what it was."""
    before = anchor.get("total", "0")
    return {**anchor, "before": before, "total": plain(EXACT.add(Decimal(before), by))}


def weighed(anchor: Place, reading: Reading) -> Place:
    """The anchor after it was held against a balance that was read since the last time.

    Balance less rows is what the account must have opened with, and that never changes. The balance was read between
    the commit before and this one, so it is as of the rows of either: two figures, each compared with its like. Feeds
    differ in speed, so one reading proves nothing. The opening is what three successive readings agree on; a difference
    from it is one at two, and stands until a reading agrees with the opening again.
    """
    if not anchor or reading.current is None or reading.at <= anchor.get("read", -1):
        return anchor
    current, opening, past = reading.current, anchor.get("opening"), anchor.get("last", [])
    opened = [plain(EXACT.subtract(current, Decimal(anchor[name]))) for name in ("before", "total")]
    after = {**anchor, "last": [opened, *past[:1]], "read": reading.at}
    if opening is None:
        agreed = _agreed(opened, past, 3)
        return {**after, "opening": agreed.pop()} if len(agreed) == 1 else after
    if opening in opened:
        return {name: value for name, value in after.items() if name != "off"}
    if stands := _agreed(opened, past, 2):
        off = (EXACT.subtract(Decimal(value), Decimal(opening)) for value in stands)
        after["off"] = plain(min(off, key=lambda amount: (abs(amount), amount)))
    return after


def _agreed(opened: Sequence[str], past: Sequence[Sequence[str]], readings: int) -> set[str]:
    """Figures that so many successive readings have in common, this one included. `past`: newest first."""
    same = [p for p in zip(opened, *past[: readings - 1], strict=True) if len(set(p)) == 1]
    return {figure for figure, *_ in same} if len(past) >= readings - 1 else set()


def balance_doubts(anchor: Place, account: str) -> list[Doubt]:
    if "off" not in anchor:
        return []
    off = anchor["off"]
    detail = f"the balance moved by {off} more than the transactions explain, at two readings of it or more"
    return [Doubt("balance_unexplained", account, detail)]


def windowed(
    before: Place, after: Place, rows: pl.DataFrame, *, since: date | None, until_next: date, settled: bool
) -> Place:
    """The spot `after` a window's answer with what is remembered of both identities. Where not `settled`, rows are
    missing that may come yet, and all stays as it was `before`."""
    chain, anchor = before.get("chain"), before.get("anchor", {})
    if settled:
        chain, anchor = chained(chain, rows, since), summed(anchor, rows, until_next)
    return {**after, **({"chain": chain} if chain else {}), **({"anchor": anchor} if anchor else {})}


# -- what is held and what the account is worth ------------------------------------------------------------------------


def tolerance(values: Sequence[Decimal]) -> Decimal:
    """How far positions and cash may be from the account's value: a cent for each position, as values are rounded, or
    half a percent of all that moves with prices, as two answers are not of one moment. The larger of the two."""
    return max(EXACT.multiply(CENT, Decimal(len(values))), EXACT.multiply(SHARE, total(map(abs, values))))


def worth_difference(holdings: pl.DataFrame, reading: Reading, at: int) -> Decimal | None:
    """Positions and cash less the account's value; zero when within the tolerance. None: no verdict.

    There is none when a position has no value or another currency, when no cash or value is told, or when the balance
    was read more than a quarter of an hour before or after.
    """
    if reading.current is None or reading.cash is None or abs(at - reading.at) > TOGETHER / timedelta(microseconds=1):
        return None
    if holdings["market_value"].null_count() or set(holdings["currency"]) - {reading.currency}:
        return None
    values = holdings["market_value"].to_list()
    off = EXACT.subtract(EXACT.add(total(values), reading.cash), reading.current)
    return off if abs(off) > tolerance(values) else ZERO


# -- the reader --------------------------------------------------------------------------------------------------------


def readings(run: Run, store: Store) -> dict[str, Reading]:
    """Balances of the connection's accounts by our id; not of one that has several currencies."""
    mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
    rows = store.values(Balances, ("account_id", "currency", "current", "cash"), mine)
    read_at = _read_at(AccountStates, "account_id", {**mine, "dataset": "balances"}, store)
    of_all = {}
    if any(account not in read_at for account, *_ in rows):  # one answer told the balances of all accounts
        of_all = _read_at(Streams, "dataset", {"connection_id": mine["connection_id"], "dataset": "balances"}, store)
    several = Counter(account for account, *_ in rows)
    return {
        account: Reading(currency, _decimal(current), _decimal(cash), at)
        for account, currency, current, cash in rows
        if several[account] == 1 and (at := read_at.get(account) or of_all.get("balances")) is not None
    }


def _read_at(schema: type[Dataset], subject: str, where: Mapping[str, Any], store: Store) -> dict[str, int]:
    return {name: at for name, at in store.values(schema, (subject, "last_success_at"), where) if at is not None}


def hold_against(run: Run, place: Place, store: Store) -> None:
    """Holds what this run read against the balances that the store has; moves the spots on and fills the run's doubts.

    To be called when all changes of the run are known. What was told of an account that it did not read stands.
    """
    spots = place.get("accounts", {})
    if "transactions" in run.source.datasets:
        known = readings(run, store) if any("anchor" in spot for spot in spots.values()) else {}
        for vendor_id, account in run.accounts.items():
            _booked_against(run, spots.get(vendor_id, {}), vendor_id, known.get(account.account_id))
    elif "holdings" in run.source.datasets:
        known = readings(run, store)
        for vendor_id, account in run.accounts.items():
            _held_against(run, spots, vendor_id, known.get(account.account_id))


def _booked_against(run: Run, spot: Place, vendor_id: str, reading: Reading | None) -> None:
    account = run.accounts[vendor_id]
    read = _came(run, "transactions", vendor_id) and not spot.get("suspect")
    if read and reading is not None and "anchor" in spot and account.kind not in VALUED:
        spot["anchor"] = weighed(spot["anchor"], reading)
    doubts = balance_doubts(spot.get("anchor", {}), account.account_id)
    doubts += chain_doubts(spot["chain"], account.account_id) if "chain" in spot else []
    run.doubts += [("transactions", doubt) for doubt in doubts]


def _held_against(run: Run, spots: Place, vendor_id: str, reading: Reading | None) -> None:
    account, off = run.accounts[vendor_id], None
    rejected = any(name == "holdings" and doubt.kind == "row_invalid" for name, doubt in run.doubts)
    if reading is not None and not rejected and vendor_id not in run.held_back and _came(run, "holdings", vendor_id):
        rows = pl.concat([change.rows for change in run.changes if change.schema is Holdings])
        off = worth_difference(rows.filter(pl.col("account_id") == account.account_id), reading, micros(run.started_at))
    before = spots.get(vendor_id, {})
    told = before.get("total_off") if off is None else plain(off) if off else None
    spots[vendor_id] = {
        **{k: v for k, v in before.items() if k != "total_off"},
        **({"total_off": told} if told else {}),
    }
    if told:
        detail = f"positions and cash are {told} more than the account's value, beyond what prices and rounding explain"
        run.doubts.append(("holdings", Doubt("holdings_total", account.account_id, detail)))


def _came(run: Run, dataset: str, vendor_id: str) -> bool:
    whole = (dataset, vendor_id) in run.complete or (dataset, None) in run.complete
    return whole and vendor_id not in run.failed


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)
