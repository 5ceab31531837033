"""Whether what a stream has of a session is final, so that `until: final` may stop asking."""

from __future__ import annotations

import json
from datetime import date, datetime

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import select

from fin_infra.store.base import Stream
from fin_infra.store.codec import micros
from fin_infra.store.tables import CONNECTIONS, CURSORS, TABLES


def is_final(sql: SqlConnection, stream: Stream, session: date | None, since: datetime) -> bool:
    """Prices: every instrument that is asked for has a final bar of the session, or of a later one.

    Without the instruments that the vendor is known not to have. Any other dataset has no final rows: there it is
    enough that the stream has succeeded at or after `since`, when it was last queued.
    """
    if stream.dataset == "prices" and session is not None:
        return _bars_are_final(sql, stream, session)
    streams = TABLES["streams"].c
    success = sql.scalar(
        select(streams.last_success_at).where(
            streams.connection_id == stream.connection_id, streams.dataset == stream.dataset
        )
    )
    return success is not None and success >= micros(since)


def _bars_are_final(sql: SqlConnection, stream: Stream, session: date) -> bool:
    body = sql.scalar(
        select(CURSORS.c.body).where(
            CURSORS.c.connection_id == stream.connection_id, CURSORS.c.dataset == stream.dataset
        )
    )
    if body is None:
        return False
    spots = json.loads(body).get("instruments", {})
    wanted = {name for name, spot in spots.items() if not (spot.get("nothing") or spot.get("refused"))}
    prices = TABLES["prices"].c
    provider = select(CONNECTIONS.c.provider).where(CONNECTIONS.c.connection_id == stream.connection_id)
    final = select(prices.instrument).where(
        prices.session >= session.isoformat(), prices.state == "final", prices.provider == provider.scalar_subquery()
    )
    return wanted <= set(sql.scalars(final.distinct()))
