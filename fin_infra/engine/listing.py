"""Lists that go by creation alone: new rows are listed, unsettled ones are read again, see `Listing`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection as SqlConnection

from fin_infra.engine.parts import Place, value_of
from fin_infra.engine.quarantine import set_aside
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.providers.base import Ask, Feed, Listing
from fin_infra.store import Change, Store
from fin_infra.store.erasing import erase_rows


def listing_ask(run: Run, ask: Ask, place: Place, store: Store) -> Ask:
    """With where the list begins, and which rows are read again: those first that a run cut short did not come to."""
    listing = _of(run)
    since = None if _whole_due(place, listing, run.started_at) else _moment(place.get("listed_to"))
    mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
    held = store.values(run.source.feeds[0].schema, (listing.row, listing.state), mine)
    again = sorted(row for row, state in held if state not in listing.settled)
    reached = place.get("reached", "")
    return replace(
        ask,
        listed_to=None if since is None else since - run.source.overlap,
        unsettled=[*(row for row in again if row > reached), *(row for row in again if row <= reached)],
    )


def listed(run: Run, feed: Feed, ask: Ask, place: Place) -> Change:
    """All that came, of the list and row by row, as one change; what the vendor takes back leaves. Moves `place` on.

    The list counts when it came to its end: without it nothing says from where the next one is to begin.
    """
    name, listing = feed.schema.dataset_name(), _of(run)
    whole = (name, None) in run.complete
    pages = [page for part, pages in run.pages.items() if part in run.complete for page in pages]
    values = [value_of(feed.parse, page) for page in pages]
    built = feed.frames(values, ask, None)
    set_aside(run, feed.schema, built.rejects)
    run.doubts += [
        (name, Doubt("differing_twins", twin[-1], "came twice with different contents")) for twin in built.differing
    ]
    run.erased = frozenset(row for value, _ in values for row in (feed.removed(value) if feed.removed else ()))
    newest = built.good[listing.created].max()
    if isinstance(newest, datetime):
        run.newest[name] = newest.date().isoformat()
    if whole:
        reached = max(_moment(place.get("listed_to")) or newest, newest) if isinstance(newest, datetime) else None
        if reached is not None:  # one dated ahead of now does not move the list on
            place["listed_to"] = min(reached, run.started_at).isoformat()
        if ask.listed_to is None:
            place["whole_at"] = run.started_at.isoformat()
    place.pop("reached", None)
    rows = [page.row for page in pages if page.row is not None]
    if run.stopped is not None and rows:
        place["reached"] = rows[-1]
    return Change(feed.schema, built.good, [(run.connection.tenant_id, row) for row in sorted(run.erased)])


def erasing(run: Run) -> Callable[[SqlConnection], None] | None:
    """What else the commit does: of rows that the vendor takes back no earlier version stays either."""
    if not run.erased:
        return None
    name, provider = run.stream.dataset, run.connection.provider

    def within(sql: SqlConnection) -> None:
        erase_rows(sql, name, provider, sorted(run.erased), run.started_at)

    return within


def _whole_due(place: Place, listing: Listing, now: datetime) -> bool:
    last = _moment(place.get("whole_at"))
    return last is None or now - last >= listing.whole_every - timedelta(hours=1)


def _of(run: Run) -> Listing:
    assert run.source.listing is not None
    return run.source.listing


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
