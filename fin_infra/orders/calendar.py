"""The broker's calendar beside ours: a session that only one of them has is a finding, not a surprise at the open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from fin_infra.calendars import get_calendar
from fin_infra.connections import Connection
from fin_infra.datasets.operations import Findings
from fin_infra.providers.ordering import MarketDay
from fin_infra.store import Records, Store

KIND = "calendar_disagrees"
DATASET = "orders"
"""Of no stream: no run takes these findings for resolved."""


def our_days(mic: str, now: datetime, count: int) -> list[MarketDay]:
    """The next sessions by our calendar, today's among them, in the exchange's wall time."""
    calendar = get_calendar(mic)
    zone, first = ZoneInfo(calendar.zone), calendar.local_date(now)
    days = calendar.sessions(first, min(first + timedelta(days=2 * count + 10), calendar.last))[:count]
    return [
        MarketDay(one.date, one.open_at.astimezone(zone).time(), one.close_at.astimezone(zone).time()) for one in days
    ]  # fmt: skip


def disagreements(ours: Sequence[MarketDay], theirs: Sequence[MarketDay]) -> list[str]:
    """A sentence for each day on which they differ, oldest first; only days between our first and last count."""
    pairs: dict[date, list[MarketDay | None]] = {day.day: [day, None] for day in ours}
    for said in theirs:
        if ours and ours[0].day <= said.day <= ours[-1].day:
            pairs.setdefault(said.day, [None, None])[1] = said
    found = []
    for day, (mine, other) in sorted(pairs.items()):
        if mine is None or other is None:
            has, lacks = ("the broker", "our calendar") if mine is None else ("our calendar", "the broker")
            found.append(f"{day} is a session of {has} and none of {lacks}")
        elif (mine.opens, mine.closes) != (other.opens, other.closes):
            found.append(
                f"{day} is open {mine.opens:%H:%M} to {mine.closes:%H:%M} by our calendar and {other.opens:%H:%M} to "
                f"{other.closes:%H:%M} by the broker's"
            )
    return found


def keep(store: Store, connection: Connection, found: Sequence[str], now: datetime) -> None:
    """Each disagreement as an open finding; those that are gone are resolved."""
    mine = {"connection_id": connection.connection_id, "dataset": DATASET, "kind": KIND}
    before = {row["finding_id"]: row for row in store.records(Findings, mine)}
    seen = {"fetched_at": now, "run_id": "none"}
    rows = []
    for sentence in found:
        finding_id = f"{connection.connection_id}:{KIND}:{sentence[:10]}"
        first = before.get(finding_id, {}).get("first_seen_at", now)
        rows.append({
            "finding_id": finding_id, "tenant_id": connection.tenant_id, **mine, "subject": sentence[:10],
            "detail": sentence, "state": "open", "first_seen_at": first, "provider": connection.provider, **seen,
        })  # fmt: skip
    named = {row["finding_id"] for row in rows}
    rows += [{**row, **seen, "state": "resolved"} for key, row in before.items() if key not in named]
    if rows:
        store.record([Records(Findings, rows)], connection_id=connection.connection_id)
