"""Frankfurter imitated over HTTP, version 1: one day, a period, the list of currencies, and one refusal for all.

State is scripted from outside. Rates go in as text and come out as the same digits, never through a float.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator, euro_rates

FRANKFURT = ZoneInfo("Europe/Berlin")
PUBLISHED = time(16, 5)


class FrankfurterSimulator(Simulator):
    """Days with their rates against the euro. `set_rate` scripts one."""

    def __init__(self, **more: Callable[[], datetime]) -> None:
        super().__init__(**more)
        self.days: dict[date, dict[str, str]] = {}
        self.answering = Starlette(
            routes=[
                Route("/v1/currencies", self._currencies),
                Route("/v1/latest", self._latest),
                Route("/v1/{days}", self._of_days),
            ],
            exception_handlers={404: self._nothing},
        )

    def set_rate(self, day: date | str, currency: str, rate: str) -> None:
        self.days.setdefault(date.fromisoformat(str(day)), {})[currency] = rate

    def shown(self) -> dict[date, dict[str, str]]:
        """What can be read by now, the oldest day first."""
        now = self._now()
        return {
            day: rates
            for day, rates in sorted(self.days.items())
            if rates and datetime.combine(day, PUBLISHED, FRANKFURT) <= now
        }

    def _currencies(self, request: Request) -> Response:
        codes = sorted({code for rates in self.days.values() for code in rates} | {"EUR"})
        return JSONResponse({code: f"the currency {code}" for code in codes})

    def _latest(self, request: Request) -> Response:
        return self._on(max(self.shown(), default=date.min), request)

    def _of_days(self, request: Request) -> Response:
        first, dots, last = request.path_params["days"].partition("..")
        try:
            begin = date.fromisoformat(first)
            end = date.fromisoformat(last) if last else (date.max if dots else begin)
        except ValueError:
            return not_found()
        return self._during(begin, end, request) if dots else self._on(begin, request)

    def _on(self, asked: date, request: Request) -> Response:
        """The last working day up to the one asked for."""
        days = [day for day in self.shown() if day <= asked]
        rates = self._asked(self.shown()[days[-1]], request) if days else None
        if rates is None:
            return not_found()
        return _answered({"amount": "1.0", "base": _base(request), "date": str(days[-1]), "rates": rates})

    def _during(self, begin: date, end: date, request: Request) -> Response:
        """The days of a period that have rates; the real one begins with the last working day before it."""
        days = {day: self._asked(rates, request) for day, rates in self.shown().items() if day <= end}
        earlier = [day for day in days if day <= begin]
        found = {str(day): rates for day, rates in days.items() if rates and day >= max(earlier, default=begin)}
        if not found or begin > self._now().date() or None in days.values():
            return not_found()
        span = {"start_date": min(found), "end_date": max(found)}
        return _answered({"amount": "1.0", "base": _base(request), **span, "rates": found})

    def _asked(self, rates: dict[str, str], request: Request) -> dict[str, str] | None:
        """The rates that were asked for, against the asked base; None for a currency that is not known."""
        base, symbols = _base(request), request.query_params.get("symbols")
        whole = {"EUR": "1.0", **rates}
        chosen = symbols.split(",") if symbols else sorted(whole)
        if base not in whole or (symbols and not set(chosen) & set(whole)):
            return None
        if base == "EUR":
            return {code: whole[code] for code in chosen if code in whole and code != base}
        return {
            code: f"{(Decimal(whole[code]) / Decimal(whole[base])).quantize(Decimal('0.00001')):f}"
            for code in chosen
            if code in whole and code != base
        }

    async def _nothing(self, request: Request, error: Exception) -> Response:
        return not_found()

    def refusal(self, fault: Fault, path: str) -> Response:
        return JSONResponse({"message": fault.code.replace("_", " ")}, fault.status)


def not_found() -> Response:
    """An unknown currency, day or path: they all look alike."""
    return JSONResponse({"message": "not found"}, 404)


def _base(request: Request) -> str:
    return request.query_params.get("base", "EUR")


def _answered(value: dict[str, Any]) -> Response:
    """Rates as the digits they were set with."""

    def plain(part: Any, name: str = "") -> str:
        if isinstance(part, dict):
            return "{" + ",".join(f"{json.dumps(key)}:{plain(inner, key)}" for key, inner in part.items()) + "}"
        return json.dumps(part) if name in ("base", "date", "start_date", "end_date") else str(part)

    return Response(plain(value), media_type="application/json")


def sandbox(simulator: FrankfurterSimulator, *, today: date, seed: int = 0) -> None:
    """Rates of all currencies, up to a week after `today`: they show when the clock gets there."""
    simulator.days = euro_rates(today, seed=seed)
