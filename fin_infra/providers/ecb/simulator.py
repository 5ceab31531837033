"""The ECB's files imitated over HTTP: a day's rates appear at 16:00 in Frankfurt, on the injected clock.

State is scripted from outside. Rates go in and out as text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fin_infra.providers.ecb.client import DAILY, HISTORY, NINETY_DAYS
from fin_infra.providers.simulating import Fault, Simulator, euro_rates

FRANKFURT = ZoneInfo("Europe/Berlin")
PUBLISHED = time(16)
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" \
xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
\t<gesmes:subject>Reference rates</gesmes:subject>
\t<gesmes:Sender>
\t\t<gesmes:name>European Central Bank</gesmes:name>
\t</gesmes:Sender>
\t<Cube>
"""
TAIL = "\t</Cube>\n</gesmes:Envelope>"


class EcbSimulator(Simulator):
    """Days with their rates. `set_rate` scripts one; a corrected one is simply set again."""

    def __init__(self, **more: Callable[[], datetime]) -> None:
        super().__init__(**more)
        self.days: dict[date, dict[str, str]] = {}
        self.answering = Starlette(
            routes=[
                Route(DAILY, lambda request: self._file(request, 1)),
                Route(NINETY_DAYS, lambda request: self._file(request, 62)),
                Route(HISTORY, lambda request: self._file(request, None)),
            ]
        )

    def set_rate(self, day: date | str, currency: str, rate: str) -> None:
        self.days.setdefault(date.fromisoformat(str(day)), {})[currency] = rate

    def drop(self, currency: str, since: date | str) -> None:
        """The currency has no more rates from this day on."""
        for day, rates in self.days.items():
            if day >= date.fromisoformat(str(since)):
                rates.pop(currency, None)

    def published(self) -> list[tuple[date, dict[str, str]]]:
        """What can be read by now, the newest day first."""
        now = self._now()
        shown = [
            (day, rates)
            for day, rates in self.days.items()
            if rates and datetime.combine(day, PUBLISHED, FRANKFURT) <= now
        ]
        return sorted(shown, reverse=True)

    def _file(self, request: Request, days: int | None) -> Response:
        """The newest days. The daily file states the day in single quotes, as the real one does."""
        quote = "'" if days == 1 else '"'
        parts = [HEAD]
        for day, rates in self.published()[:days]:
            parts.append(f"\t\t<Cube time={quote}{day}{quote}>\n")
            parts += [
                f"\t\t\t<Cube currency={quote}{code}{quote} rate={quote}{rate}{quote}/>\n"
                for code, rate in rates.items()
            ]
            parts.append("\t\t</Cube>\n")
        return Response("".join([*parts, TAIL]), media_type="text/xml")

    def refusal(self, fault: Fault, path: str) -> Response:
        return Response(
            "<html><body>Sorry, this page is not available</body></html>", fault.status, media_type="text/html"
        )


def sandbox(simulator: EcbSimulator, *, today: date, seed: int = 0) -> None:
    """Rates of all currencies, up to a week after `today`: they show when the clock gets there."""
    simulator.days = euro_rates(today, seed=seed)
