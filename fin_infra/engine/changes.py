"""From the pages of an answer to what changes in the store, by the kind of stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

import polars as pl

from fin_infra.connections import Connection
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Built, Dataset
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.operations import Streams
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.transactions import Transactions
from fin_infra.engine import intraday
from fin_infra.engine.actions import (
    asked_about,
    delistings,
    known_actions,
    no_longer_missed,
    taken_over,
    unstepped,
)
from fin_infra.engine.delta import delta
from fin_infra.engine.identities import windowed
from fin_infra.engine.linking import continued_list, learn_names
from fin_infra.engine.listing import listed
from fin_infra.engine.naming import named, own_ids_resolved
from fin_infra.engine.parts import WINDOWED, Place, confirmable, doubted, ids_of, note, renamed, value_of
from fin_infra.engine.quarantine import set_aside
from fin_infra.engine.reconcile import SHRINK_SHARE, Doubt, Reconciled, reconcile, undisturbed
from fin_infra.engine.run import Run
from fin_infra.engine.series import Listing, Shape, judge, known_calendar, open_doubts, shape_of, wants_of
from fin_infra.engine.splits import jump_doubts
from fin_infra.engine.standing_in import BEYOND_PLAN, REFUSED, Before, earlier, lacking, standing_in
from fin_infra.errors import FinInfraError, FrameError, StoreError
from fin_infra.outcomes import where
from fin_infra.providers import REGISTRY, declared
from fin_infra.providers.base import Account, Ask, Page, Source, Want
from fin_infra.store import Change, Query, Store, Stream

NO_BARS = {"instrument": pl.String(), "session": pl.Date()}
ASKED_WITHIN = timedelta(days=6)  # what an instrument is hardly changes: it is not asked about again so soon


Universe = Callable[[Run, Store, Sequence[str]], Iterable[str]]
"""All that a stream is about, as InstrumentKeys, where no job names them. The last argument: what the owner watches."""


def _held_and_listed(run: Run, store: Store, listed: Sequence[str]) -> Iterable[str]:
    """Pairs of currencies are streams of their own."""
    return {name for name in listed if not name.startswith("fx:")} | {*store.instruments_held(run.connection.tenant_id)}


def _pairs(run: Run, store: Store, listed: Sequence[str]) -> Iterable[str]:
    return [name for name in listed if name.startswith("fx:")]


UNIVERSE: Mapping[type[Dataset], Universe] = {FxRates: _pairs}
"""By what the stream feeds; any other is about what the tenant holds or ever held, and what is watched."""


def wanted(
    run: Run, place: Place, store: Store, listed: Sequence[str], tenants: Callable[[], Sequence[Connection]]
) -> list[Want]:  # fmt: skip
    """What a source per instrument is asked for: sessions of a series, or each instrument once.

    `tenants`: all connections of its tenant, which tell who stands before it in a fallback order.
    """
    series, now = run.source.series, run.started_at
    assert series is not None
    universe = UNIVERSE.get(run.source.feeds[0].schema, _held_and_listed)
    names = run.ordered if run.ordered is not None else own_ids_resolved(universe(run, store, listed), run, store)
    run.instruments = sorted(set(names))
    if run.source.lead == "corporate_actions":
        return asked_about(run)
    if run.source.lead == "quotes":
        return _priced_now(run)
    if run.source.kind != "series":
        return _undescribed(run, place.get("asked", {}))
    spots = place.get("instruments", {})
    if _is_intraday(run):
        wants = intraday.wants_of(series, run.instruments, spots, now)
        return _ranked(wants, pl.DataFrame(schema=NO_BARS), store.holders(run.connection.tenant_id), listed)
    listings = _listings(run, store)
    _stand_in(run, place, store, tenants, listings)
    asked = [name for name in run.instruments if name not in run.brought]
    anew = any(spots.get(name, {}).get("redo") for name in asked)
    since = date.min if anew else now.date() - series.history - timedelta(days=7)
    bars = _bars(run, asked, since, store, narrow=True)
    wants = wants_of(series, asked, bars, spots, now, listings)
    return _ranked(wants, bars, store.holders(run.connection.tenant_id), listed) if _is_prices(run) else wants


def _stand_in(
    run: Run, place: Place, store: Store, tenants: Callable[[], Sequence[Connection]], listings: Mapping[str, Listing]
) -> None:  # fmt: skip
    """Says of the run what is asked for in place of a provider before it, and what is not. See `standing_in`."""
    order = REGISTRY.order(run.source.lead)
    if run.ordered is not None or run.connection.provider not in order[1:]:
        return
    stand = [_before(one, run, store) for one in earlier(tenants(), run.connection, order)]
    if not (before := [one for one in stand if one is not None]):
        return
    now = run.started_at
    place["lacking"] = lacking(before, run.instruments, place.get("lacking", {}), now)
    run.standing_in = standing_in(before, run.instruments, place["lacking"], listings, now)
    run.brought = frozenset(run.instruments) - run.standing_in.keys()


def _before(connection: Connection, run: Run, store: Store) -> Before | None:
    """How a connection that comes before stands; None of one whose vendor has no such series."""
    source = declared(connection.provider).source(run.source.lead)
    if source is None or source.series is None or source.kind != "series":
        return None
    stream = Stream(connection.connection_id, source.lead)
    if connection.state != "active" or REGISTRY.off(connection.provider) is not None:
        return Before(connection.provider, source.series, "has no active connection")
    mine = {"connection_id": stream.connection_id, "dataset": stream.dataset}
    if any(row["error_code"] in REFUSED for row in store.records(Streams, mine)):
        return Before(connection.provider, source.series, "refuses its credential")
    spots = json.loads(store.cursor(stream, connection.generation).body).get("instruments", {})
    since = run.started_at.date() - source.series.history - timedelta(days=7)
    held = bars_of(shape_of(source), connection.provider, run.instruments, since, store, narrow=True)
    newest = dict(held.group_by("instrument").agg(pl.col("session").max()).iter_rows())
    return Before(connection.provider, source.series, None, spots, newest)


def _ranked(
    wants: Sequence[Want], bars: pl.DataFrame, holders: Mapping[str, int], listed: Sequence[str]
) -> list[Want]:  # fmt: skip
    """What most accounts hold comes first, then what is watched, then the rest; of equals what is longest without a
    bar. Where a quota ends the asking early, it has served as many as it could."""
    watched = frozenset(listed)
    newest = dict(bars.group_by("instrument").agg(pl.col("session").max()).iter_rows())

    def rank(want: Want) -> tuple[int, bool, date, str]:
        name = want.instrument
        return -holders.get(name, 0), name not in watched, newest.get(name, date.min), name

    return sorted(wants, key=rank)


def _listings(run: Run, store: Store) -> dict[str, Listing]:
    """First and last day of trading, of the instruments of which somebody told one."""
    if not _is_prices(run):
        return {}
    parts = store.read(Instruments, Query(instruments=run.instruments), ["instrument", "listed_on", "delisted_on"])
    told = {name: (first, last) for part in parts for name, first, last in part.iter_rows() if first or last}
    for name, end in delistings(store, run.started_at.date()).items():
        first, last = told.get(name, (None, None))
        told[name] = first, min(end, last or end)
    return told


def _undescribed(run: Run, asked: Place) -> list[Want]:
    """Which instruments to ask about: never asked ones first, then the longest ago; none that was just asked.

    A quota may end the asking before the last of them: the next run then goes on where this one stopped.
    """
    series, today = run.source.series, run.started_at.date()
    assert series is not None
    lately = (today - ASKED_WITHIN).isoformat()
    due = [name for name in run.instruments if run.ordered is not None or asked.get(name, "") <= lately]
    pairs = [(name, series.ticker(name)) for name in sorted(due, key=lambda name: (asked.get(name, ""), name))]
    return [Want(name, ticker, today, today) for name, ticker in pairs if ticker is not None]


def _priced_now(run: Run) -> list[Want]:
    """All of them, each time: what it was a moment ago is no price of now."""
    series, today = run.source.series, run.started_at.date()
    assert series is not None
    pairs = [(name, series.ticker(name)) for name in run.instruments]
    return [Want(name, ticker, today, today) for name, ticker in pairs if ticker is not None]


def _bars(run: Run, names: Sequence[str], since: date, store: Store, *, narrow: bool = False) -> pl.DataFrame:
    return bars_of(_shape(run), run.connection.provider, names, since, store, narrow=narrow)


def bars_of(
    shape: Shape, provider: str, names: Sequence[str], since: date, store: Store, *, narrow: bool = False
) -> pl.DataFrame:  # fmt: skip
    """Rows of a vendor's series that the store holds, by instrument and session. `narrow`: without their values."""
    if "instrument" not in shape.parts:
        own = {"provider": provider, shape.day: (">=", since)}
        held = [store.rows(shape.schema, {**shape.where(name), **own}) for name in names]
        return shape.keyed(pl.concat([shape.schema.empty(), *held])).sort("instrument", "session")
    same = {"provider": provider, **(shape.same or {})}
    columns = [*shape.parts, shape.day, "state", *same] if narrow else None
    parts = store.read(shape.schema, Query(instruments=names, since=since), columns)
    mine = pl.all_horizontal(pl.col(name) == value for name, value in same.items())
    return pl.concat([part.filter(mine) for part in parts])


def _shape(run: Run) -> Shape:
    return shape_of(run.source)


def _is_intraday(run: Run) -> bool:
    return _shape(run).schema is IntradayPrices


def _is_prices(run: Run) -> bool:
    return _shape(run).schema is Prices


def changes_of(run: Run, ask: Ask, place: Place, store: Store) -> list[Change]:
    """One change per dataset from all complete parts of the answer. Moves `place` on and fills the run's doubts."""
    changes: dict[type[Dataset], list[Change]] = {}
    for feed in run.source.feeds:
        if run.source.listing is not None:
            changes[feed.schema] = [listed(run, feed, ask, place)]
            continue
        for part, pages in run.pages.items():
            if part[0] != feed.schema.dataset_name() or part not in run.complete:
                continue
            if run.source.kind == "cursor" and feed.removed is not None:
                changes.setdefault(feed.schema, []).append(delta(run, feed, pages, ask, place, store))
                continue
            built = _built(run, ask, part[0], part[1], pages, store)
            if built is not None:
                if run.source.kind == "series" and feed.schema is IntradayPrices:
                    change = _intraday(run, built, pages, place, store)
                elif run.source.kind == "series":
                    change = _series(run, built, pages[0].wants, place, store)
                elif feed.schema is CorporateActions:
                    change = taken_over(run, built, pages[0].wants, place, store)
                else:
                    change = _change(run, feed.schema, part[1], built, ask, place, store)
                changes.setdefault(feed.schema, []).append(change)
                if feed.schema is Accounts:
                    learn_names(run, feed, pages)
                if feed.schema is Accounts and (emptied := _emptied(run, change.rows, store)):
                    changes.setdefault(Holdings, []).append(Change(Holdings, Holdings.empty(), emptied))
    if run.source.kind == "series":
        _close_series(run, ask, place, store)
    elif run.source.series is not None:
        asked = {name: ask.at.date().isoformat() for name in run.answered}
        place["asked"] = {
            k: v for k, v in {**place.get("asked", {}), **asked}.items() if k in run.instruments or run.ordered
        }
    return [
        group[0]
        if len(group) == 1
        else Change(schema, pl.concat([c.rows for c in group]), [key for c in group for key in c.removed])
        for schema, group in changes.items()
    ]


def since_of(source: Source, place: Place, today: date) -> dict[str, date]:
    """Window streams: each account from its newest row, or its oldest pending one, less the overlap.

    A row dated ahead of today does not move the window on: what is booked until then would never be asked for. An
    account with a pending row that has no date is read whole.
    """
    since = {}
    if source.kind == "window":
        for vendor_id, spot in place.get("accounts", {}).items():
            if (newest := _day(spot.get("newest"))) and not spot.get("undated_pending"):
                first = min(newest, today, _day(spot.get("oldest_pending")) or newest)
                since[vendor_id] = _earlier(first, source.overlap)
    return since


def _earlier(day: date, by: timedelta) -> date:
    return date.fromordinal(max(1, day.toordinal() - by.days))


def _later(day: date, by: timedelta) -> date:
    return date.fromordinal(min(date.max.toordinal(), day.toordinal() + by.days))


def _built(run: Run, ask: Ask, dataset: str, subject: str | None, pages: list[Page], store: Store) -> Built | None:
    """Rows of one account's pages, under our ids. A page of the wrong shape fails its account alone."""
    feed = run.source.feed(dataset)
    account = run.accounts.get(subject) if subject else None
    if pages[0].wants:  # an answer may not say what it is about
        ask = replace(ask, wants=pages[0].wants)
    try:
        built = feed.frames([value_of(feed.parse, page) for page in pages], ask, account)
    except Exception as error:
        if subject is None or isinstance(error, StoreError):
            raise
        known = error if isinstance(error, FinInfraError) else None
        run.account_failed(dataset, subject, known or FrameError(f"rows that cannot be built: {where(error)}"))
        run.complete.discard((dataset, subject))
        return None
    set_aside(run, feed.schema, built.rejects)
    for twin in built.differing:
        run.doubts.append((dataset, Doubt("differing_twins", twin[-1], "came twice with different contents")))
    if feed.schema is Accounts:  # see `linking`: a list is looked at as a whole
        return built
    return replace(built, good=named(renamed(built.good, run, store), feed.schema, run, store))


def _change(
    run: Run, schema: type[Dataset], subject: str | None, built: Built, ask: Ask, place: Place, store: Store
) -> Change:
    if run.source.kind == "window" and subject is not None:
        return _window(run, schema, run.accounts[subject], built, ask, place, store)
    if schema is Accounts:
        return _accounts(run, built, place, store)
    if schema is Instruments:
        return Change(schema, _described(built.good, store))
    return _snapshot(run, schema, run.accounts.get(subject) if subject else None, built, place, store)


def _window(
    run: Run, schema: type[Dataset], account: Account, built: Built, ask: Ask, place: Place, store: Store
) -> Change:
    """Upserts the window's rows; what vanished from it is matched, expired or removed. See `reconcile`."""
    name = schema.dataset_name()
    if run.short_list and built.good.is_empty() and not built.rejects:
        return Change(schema, built.good)  # it may be one of those that are no longer listed: closed, not empty
    since = ask.since.get(account.vendor_id)
    tenant = run.connection.tenant_id
    row_id, cut = WINDOWED[name]
    mine: dict[str, Any] = {"tenant_id": tenant, "account_id": account.account_id}
    if since is not None:
        mine[cut] = (">= or null", since if name == "transactions" else datetime.combine(since, time(), UTC))
    spot = place["accounts"].get(account.vendor_id, {})
    untied = name != "transactions" or built.good["pending_transaction_id"].null_count() == built.good.height
    if untied and undisturbed(_glance(schema, mine, store), set(built.good[row_id])):
        held, done = None, Reconciled(_as_transactions(built.good, name))
    else:
        held = _as_transactions(store.rows(schema, mine), name)
        ids = ids_of(built.rejects, row_id, run, store)
        done = reconcile(
            held, _as_transactions(built.good, name), account=account.account_id,
            keep=frozenset(ids) if all(ids) else None, suspect=confirmable(spot, run.started_at),
            judged_from=since and _later(since, run.source.margin),
        )  # fmt: skip
    note(run, name, done)
    after = place["accounts"][account.vendor_id] = _spot(spot, held, done, run.started_at, settled=not built.rejects)
    if schema is Transactions:
        until_next = since_of(run.source, place, date.max).get(account.vendor_id, date.min)
        settled = not built.rejects and not done.suspect
        place["accounts"][account.vendor_id] = windowed(
            spot, after, done.rows, since=since, until_next=until_next, settled=settled
        )
    days = [str(day) for day in (done.rows["booked_on"].max(), spot.get("newest")) if day is not None]
    if days:
        run.newest[account.vendor_id] = max(days)
    rows = done.rows
    if name != "transactions":
        rows = rows.rename({"transaction_id": row_id}, strict=False).select(list(schema.dtypes()))
    return Change(schema, rows, [(tenant, account.account_id, gone) for gone in done.removed])


def _described(came: pl.DataFrame, store: Store) -> pl.DataFrame:
    """What an instrument is, is told by who told it first; another vendor fills in what is not known yet."""
    held = store.held(Instruments, [(name,) for name in came["instrument"]])
    known = came.join(held, on="instrument", how="inner", suffix="_held", maintain_order="left")
    others = known.filter(pl.col("provider") != pl.col("provider_held"))
    if others.is_empty():
        return came
    columns = [name for name in came.columns if name not in ("instrument", "fetched_at", "run_id")]
    filled = others.select(
        "instrument", *(pl.coalesce(f"{name}_held", name).alias(name) for name in columns), "fetched_at", "run_id"
    ).select(came.columns)
    rest = came.filter(~pl.col("instrument").is_in(others["instrument"].to_list()))
    return pl.concat([rest, filled])


def _glance(schema: type[Dataset], where: Mapping[str, Any], store: Store) -> list[tuple[Any, ...]]:
    """Id, status and what it supersedes of each row that is held: all that `undisturbed` asks."""
    if schema is Transactions:
        return store.values(schema, ("transaction_id", "status", "pending_transaction_id"), where)
    row_id, _ = WINDOWED[schema.dataset_name()]
    return [(value, "posted", None) for (value,) in store.values(schema, (row_id,), where)]


def _as_transactions(rows: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Rows with the columns that reconciling looks at; an activity is never pending."""
    if dataset == "transactions":
        return rows
    row_id, cut = WINDOWED[dataset]
    told = pl.col("kind", "instrument", "quantity").cast(pl.String).fill_null("")
    return rows.rename({row_id: "transaction_id"}).with_columns(
        booked_on=pl.col(cut).dt.date(), status=pl.lit("posted"), pending_transaction_id=pl.lit(None, pl.String),
        description=pl.concat_str(told, separator=" "),
    )  # fmt: skip


def _spot(
    before: Place, held: pl.DataFrame | None, done: Reconciled, now: datetime, *, settled: bool
) -> Place:  # fmt: skip
    """Where the account stands now. While something waits to be confirmed or was rejected, the window does not move.

    `held` is None where none of the rows held is pending but those that came again.
    """
    pending = _pending(done.rows)
    if held is not None:
        gone = [*done.rows["transaction_id"].to_list(), *done.removed]
        pending = pl.concat([pending, _pending(held.filter(~pl.col("transaction_id").is_in(gone)))])
    came = _days(done.rows, "expired", others=True)  # an expired row is none of the answer
    days = [day for day in (came.max(), _day(before.get("newest"))) if isinstance(day, date)]
    newest = max(days, default=None) if settled and not done.suspect else _day(before.get("newest"))
    oldest = [day for day in (_iso(pending.min()), None if settled else before.get("oldest_pending")) if day]
    spot = {
        "newest": _iso(newest), "oldest_pending": min(oldest, default=None),
        "undated_pending": pending.null_count() > 0 or (not settled and before.get("undated_pending", False)),
        **doubted(before, done.suspect, now),
    }  # fmt: skip
    return {name: value for name, value in spot.items() if value}


def _pending(rows: pl.DataFrame) -> pl.Series:
    """The dates of the pending rows."""
    return _days(rows, "pending")


def _days(rows: pl.DataFrame, status: str, *, others: bool = False) -> pl.Series:
    """The dates of the rows with this status, or of all others. Mostly none has it: then nothing is filtered."""
    days, statuses = rows["booked_on"], rows["status"]
    if status not in statuses.to_list():
        return days if others else days.clear()
    return days.filter(statuses != status if others else statuses == status)


def _accounts(run: Run, built: Built, place: Place, store: Store) -> Change:
    """The whole set: one no longer listed is closed, not deleted; a much shorter list closes nothing at first."""
    before: Place = {name: place.pop(name) for name in ("suspect", "missed_at") if name in place}
    built = replace(built, good=continued_list(run, built.good, store))
    mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
    rejected = [(reject.row.get("account_id") or "").strip() for reject in built.rejects]
    rejected = [run.aliases.get("account", {}).get(vendor_id, vendor_id) for vendor_id in rejected]
    listed = [*built.good["account_id"].to_list(), *rejected]
    known = store.values(Accounts, ("account_id", "status"), mine)
    if all(account_id in listed for account_id, status in known if status == "open"):
        return Change(Accounts, built.good)
    held = store.rows(Accounts, mine)
    absent = held.filter(~pl.col("account_id").is_in(listed) & (pl.col("status") == "open"))
    if absent.is_empty() or "" in rejected:
        return Change(Accounts, built.good)
    digest = hashlib.sha256("\n".join(sorted(absent["account_id"])).encode()).hexdigest()[:16]
    open_ones = held.filter(pl.col("status") == "open").height
    shrunk = built.good.is_empty() or absent.height > max(1, SHRINK_SHARE * open_ones)
    if shrunk and confirmable(before, run.started_at) != {digest}:
        place.update(doubted(before, [digest], run.started_at))
        detail = f"{absent.height} of {open_ones} accounts are not listed; none is closed until a second read agrees"
        run.doubts.append(("accounts", Doubt("shrink_guard", run.connection.connection_id, detail)))
        return Change(Accounts, built.good)
    closed = absent.with_columns(status=pl.lit("closed").cast(absent.schema["status"]), run_id=pl.lit(run.run_id))
    return Change(Accounts, pl.concat([built.good, closed]))


def _emptied(run: Run, accounts: pl.DataFrame, store: Store) -> list[tuple[str, ...]]:
    """Keys of holdings of accounts that are closed now: what was in them is elsewhere, and would count twice."""
    closed = accounts.filter(pl.col("status") == "closed")["account_id"].to_list()
    tenant = run.connection.tenant_id
    return [
        key
        for account in closed
        for key in store.values(Holdings, Holdings.key(), {"tenant_id": tenant, "account_id": account})
    ]


def _snapshot(
    run: Run, schema: type[Dataset], account: Account | None, built: Built, place: Place, store: Store
) -> Change:
    """The whole set of one account: what it no longer holds leaves the table in the same commit.

    Holdings of which much is suddenly gone stay as they are, whole, until a second read says the same. A row that came
    and cannot be used stays as it was; one that does not even say what it is about could be any: then nothing leaves.
    """
    *_, subject = schema.key()
    unusable = {(reject.row.get(subject) or "").strip() for reject in built.rejects}
    if account is None or "" in unusable:
        return Change(schema, built.good)
    where = {"tenant_id": run.connection.tenant_id, "account_id": account.account_id}
    came = set(built.good.select(schema.key()).rows())
    held = store.values(schema, schema.key(), where)
    gone = [key for key in held if key not in came and key[-1] not in unusable]
    if schema is Holdings:
        spot = place["accounts"].setdefault(account.vendor_id, {})
        before: Place = {name: spot.pop(name) for name in ("suspect", "missed_at") if name in spot}
        missed = {key[-1] for key in gone if run.resolved.get(key[-1]) not in {row[-1] for row in came}}
        shrunk = len(missed) > max(1, SHRINK_SHARE * len(held)) or (built.good.is_empty() and gone)
        if shrunk and confirmable(before, run.started_at) != missed:
            spot.update(doubted(before, missed, run.started_at))
            detail = f"{len(gone)} of {len(held)} holdings are gone; nothing is changed until a second read agrees"
            run.doubts.append((schema.dataset_name(), Doubt("shrink_guard", account.account_id, detail)))
            run.held_back.add(account.vendor_id)
            return Change(schema, built.good.clear())
    return Change(schema, built.good, gone)


def _series(run: Run, built: Built, wants: Sequence[Want], place: Place, store: Store) -> Change:
    """Rows of one answer, judged: see `series`. Nothing is ever removed."""
    series = run.source.series
    assert series is not None
    spots = place.setdefault("instruments", {})
    names = [want.instrument for want in wants]
    held = _bars(run, names, min(want.first for want in wants), store)
    shape = _shape(run)
    done = judge(built, wants, held, spots, series, run.started_at, shape)
    done = unstepped(run, done, held, spots, store)
    set_aside(run, shape.schema, done.strays)
    run.doubts += [(shape.schema.dataset_name(), doubt) for doubt in done.doubts]
    run.redo |= done.redo
    run.stepped |= done.stepped
    for name, newest in shape.keyed(done.rows).group_by("instrument").agg(pl.col("session").max()).iter_rows():
        run.newest[name] = newest.isoformat()
    return Change(shape.schema, done.rows)


def _intraday(run: Run, built: Built, pages: Sequence[Page], place: Place, store: Store) -> Change:
    """Rows of one answer, judged: see `intraday`. Nothing is ever removed."""
    series, wants = run.source.series, pages[0].wants
    assert series is not None
    held = [
        store.rows(IntradayPrices, {
            "instrument": want.instrument, "interval": want.interval, "provider": run.connection.provider,
            "start_at": (">=", want.since or datetime.combine(want.first, time(), UTC)),
        })
        for want in wants
    ]  # fmt: skip
    reaches = max((page.reaches for page in pages if page.reaches is not None), default=None)
    done = intraday.judge(built, wants, pl.concat(held), place.setdefault("instruments", {}), series, reaches)
    set_aside(run, IntradayPrices, done.strays)
    run.doubts += [(IntradayPrices.dataset_name(), doubt) for doubt in done.doubts]
    for name, newest in done.rows.group_by("instrument").agg(pl.col("start_at").max()).iter_rows():
        run.newest[name] = max(newest.isoformat(timespec="minutes"), run.newest.get(name, ""))
    return Change(IntradayPrices, done.rows)


def _close_series(run: Run, ask: Ask, place: Place, store: Store) -> None:
    """What is remembered of instruments that failed or left, and what is still wrong with the others."""
    spots, dataset, word = place.setdefault("instruments", {}), run.source.lead, _shape(run).word
    for name in run.answered:
        spots.get(name, {}).pop(BEYOND_PLAN, None)
    for name, error in run.failed.items():
        if error.code == "unknown_symbol":
            spots.setdefault(name, {})["refused"] = ask.at.date().isoformat()
        if error.code == "plan_limit":
            spots.setdefault(name, {})[BEYOND_PLAN] = ask.at.date().isoformat()
    if run.ordered is None:
        for name in [name for name in spots if name not in run.instruments]:
            del spots[name]
        detail = f"{run.connection.provider} has no {word} of it, and no other vendor's price is held"
        run.doubts += [(dataset, Doubt("unpriced", name, detail)) for name in _unpriced(run, store)]
        run.doubts += [(dataset, Doubt("standing_in", name, why)) for name, why in run.standing_in.items()]
    if _is_prices(run):
        no_longer_missed(spots, delistings(store, ask.at.date()))
    looked = {name: spot for name, spot in spots.items() if name not in run.brought}  # what others bring lacks nothing
    run.doubts += [(dataset, doubt) for doubt in open_doubts(looked, sorted(looked))]
    run.doubts += [(dataset, doubt) for doubt in intraday.open_doubts(looked, sorted(looked))]
    run.doubts += [(dataset, doubt) for doubt in jump_doubts(looked, partial(known_actions, store))]


def _unpriced(run: Run, store: Store) -> list[str]:
    """Instruments that are held, or watched, and that nobody prices: a net worth lacks them."""
    series = run.source.series
    assert series is not None
    unknown = [n for n in run.instruments if series.ticker(n) is None or known_calendar(series, n) is None]
    schema, by = _shape(run).schema, _shape(run).where
    return [name for name in unknown if not store.values(schema, schema.key()[:1], by(name))]


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def _iso(value: Any) -> str | None:
    return value.isoformat() if value is not None else None
