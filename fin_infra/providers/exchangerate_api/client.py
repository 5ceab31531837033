"""Asks ExchangeRate-API and yields pages. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fin_infra.providers.base import Ask, Http, Page
from fin_infra.providers.exchangerate_api import wire


async def probe(http: Http) -> str:
    """The newest rates: there is no cheaper call that a key is needed for."""
    return f"{len(wire.rates((await http.get('/v6/latest/EUR')).body).rates)} rates"


async def rates(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All wanted pairs in one answer: the newest rates of the euro. Older days are not served without a paid plan.

    The path holds no key: it goes as a header.
    """
    if ask.wants:
        reply = await http.get("/v6/latest/EUR")
        found = wire.rates(reply.body)
        yield Page("fx_rates", reply, value=found, wants=ask.wants, as_of=found.as_of)
