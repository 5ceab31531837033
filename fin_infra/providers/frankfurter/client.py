"""Asks Frankfurter and yields pages. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from fin_infra.providers.base import Ask, Http, Page
from fin_infra.providers.frankfurter import wire

AT_ONCE = timedelta(days=180)  # above a year or so, days of a period are left out without a word


async def rates(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All wanted pairs, by periods of half a year.

    Currencies are not named: one that is no longer known would be a "not found" for all of them.
    """
    if not ask.wants:
        return
    first, last = min(want.first for want in ask.wants), max(want.last for want in ask.wants)
    while True:
        end = min(first + AT_ONCE, last)
        reply = await http.get(f"/v1/{first}..{end}", {"base": "EUR"})
        further = end + timedelta(days=1)
        more = further <= last
        yield Page(
            "fx_rates", reply, position=str(further) if more else None, value=wire.rates(reply.body), wants=ask.wants
        )
        if not more:
            return
        first = further
