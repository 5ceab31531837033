"""Asks the ECB for its files. Sleeps, retries, quotas and errors are the shared transport's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta

from fin_infra.providers.base import Ask, Http, Page
from fin_infra.providers.ecb import wire

DAILY = "/stats/eurofxref/eurofxref-daily.xml"
NINETY_DAYS = "/stats/eurofxref/eurofxref-hist-90d.xml"
HISTORY = "/stats/eurofxref/eurofxref-hist.xml"
SAFELY = timedelta(days=80)  # the file of 90 days has the working days of about that long


async def rates(http: Http, ask: Ask) -> AsyncIterator[Page]:
    """All wanted pairs in one answer: the smallest file that reaches back far enough."""
    if ask.wants:
        reply = await http.get(file_since(min(want.first for want in ask.wants), ask.at.date()))
        yield Page("fx_rates", reply, value=wire.rates(reply.body), wants=ask.wants)


def file_since(first: date, today: date) -> str:
    """The path of the file that has all rates from `first` on."""
    if first >= today:
        return DAILY
    return NINETY_DAYS if today - first <= SAFELY else HISTORY
