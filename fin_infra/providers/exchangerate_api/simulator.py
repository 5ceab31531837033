"""ExchangeRate-API imitated over HTTP, with a key and without: both hosts in one. A day's rates come at midnight UTC.

State is scripted from outside. Rates go in as text and come out as the same digits, never through a float. The key is
taken as a header, or in the path, as the vendor does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fin_infra.providers.simulating import Fault, Simulator, euro_rates

UPDATED = timedelta(seconds=2)
STATUSES = {"invalid-key": 403, "inactive-account": 403, "quota-reached": 429, "plan-upgrade-required": 403}
ABOUT = {
    "documentation": "https://www.exchangerate-api.com/docs",
    "terms_of_use": "https://www.exchangerate-api.com/terms",
}


class ExchangeRateSimulator(Simulator):
    """Days with their rates against the euro, and the keys that open it.

    `with_status_200`: refusals come with it, as some of this vendor's do; only their body says what they are.
    `left`: requests of the month; `paid`: whether older days are served.
    """

    def __init__(self, **more: Callable[[], datetime]) -> None:
        super().__init__(**more)
        self.days: dict[date, dict[str, str]] = {}
        self.keys: set[str] = set()
        self.with_status_200 = False
        self.left = 1500
        self.paid = False
        self.seen: list[str | None] = []
        """The key of every request so far, None of open access."""
        self.answering = Starlette(routes=[Route("/v6/{rest:path}", self._v6)])

    def set_rate(self, day: date | str, currency: str, rate: str) -> None:
        self.days.setdefault(date.fromisoformat(str(day)), {})[currency] = rate

    def newest(self) -> date | None:
        now = self._now()
        return max((day for day in self.days if _stands(day) <= now), default=None)

    def _v6(self, request: Request) -> Response:
        parts = request.path_params["rest"].split("/")
        bearer = re.fullmatch(r"Bearer (\S+)", request.headers.get("authorization", ""))
        key = bearer[1] if bearer else None
        if key is None and (parts[0] not in ("latest", "pair", "history", "quota") or len(parts) > 2):
            key, parts = parts[0], parts[1:]
        self.seen.append(key)
        if key is None:
            return self._latest(parts, "rates") if parts[0] == "latest" else self._refused("malformed-request")
        if key not in self.keys:
            return self._refused("invalid-key")
        if parts == ["quota"]:
            return _answered({"plan_quota": "1500", "requests_remaining": str(self.left), "refresh_day_of_month": "14"})
        if self.left <= 0:
            return self._refused("quota-reached")
        self.left -= 1
        match parts:
            case ["latest", _]:
                return self._latest(parts, "conversion_rates")
            case ["pair", base, target, *_]:
                return self._pair(base, target)
            case ["history", base, *day]:
                return self._history(base, day)
        return self._refused("malformed-request")

    def _latest(self, parts: list[str], name: str) -> Response:
        day = self.newest()
        rates = None if day is None or len(parts) != 2 else _against(parts[1], self.days[day])
        if rates is None or day is None:
            return self._refused("unsupported-code")
        return _answered({**_times(day), "base_code": parts[1], name: rates})

    def _pair(self, base: str, target: str) -> Response:
        day = self.newest()
        rates = None if day is None else _against(base, self.days[day])
        if rates is None or day is None or target not in rates:
            return self._refused("unsupported-code")
        return _answered({**_times(day), "base_code": base, "target_code": target, "conversion_rate": rates[target]})

    def _history(self, base: str, parts: list[str]) -> Response:
        if not self.paid:
            return self._refused("plan-upgrade-required")
        try:
            day = date(*map(int, parts))
        except (TypeError, ValueError):
            return self._refused("malformed-request")
        rates = _against(base, self.days[day]) if day in self.days and _stands(day) <= self._now() else None
        if rates is None:
            return self._refused("no-data-available")
        when = {"year": str(day.year), "month": str(day.month), "day": str(day.day)}
        return _answered({**when, "base_code": base, "conversion_rates": rates})

    def _refused(self, word: str) -> Response:
        status = 200 if self.with_status_200 else STATUSES.get(word, 404)
        return JSONResponse({"result": "error", **ABOUT, "error-type": word}, status)

    def refusal(self, fault: Fault, path: str) -> Response:
        return JSONResponse({"result": "error", **ABOUT, "error-type": fault.code.replace("_", "-")}, fault.status)


def _stands(day: date) -> datetime:
    return datetime.combine(day, time(), UTC) + UPDATED


def _times(day: date) -> dict[str, str]:
    last, following = _stands(day), _stands(day) + timedelta(days=1)
    return {
        "time_last_update_unix": str(int(last.timestamp())), "time_last_update_utc": format_datetime(last),
        "time_next_update_unix": str(int(following.timestamp())), "time_next_update_utc": format_datetime(following),
    }  # fmt: skip


def _against(base: str, rates: dict[str, str]) -> dict[str, str] | None:
    """Rates of another base, to four decimals as the vendor has them, itself first; None of an unknown one."""
    whole = {"EUR": "1", **rates}
    if base not in whole:
        return None
    if base == "EUR":
        return whole
    crossed = {
        code: str((Decimal(rate) / Decimal(whole[base])).quantize(Decimal("0.0001"))) for code, rate in whole.items()
    }
    return {base: "1", **{code: rate for code, rate in crossed.items() if code != base}}


NUMBERS = ("year", "month", "day", "plan_quota", "requests_remaining", "refresh_day_of_month", "conversion_rate")


def _answered(value: dict[str, Any]) -> Response:
    """Numbers as the digits they were set with."""
    parts = []
    for name, part in {"result": "success", **ABOUT, **value}.items():
        if isinstance(part, dict):
            plain = "{" + ",".join(f"{json.dumps(code)}:{rate}" for code, rate in part.items()) + "}"
        else:
            plain = part if name in NUMBERS or name.endswith("_unix") else json.dumps(part)
        parts.append(f"{json.dumps(name)}:{plain}")
    return Response("{" + ",".join(parts) + "}", media_type="application/json")


def sandbox(simulator: ExchangeRateSimulator, key: str, *, today: date, seed: int = 0) -> None:
    """Rates of every day up to a week after `today`, for the holder of this key and for open access."""
    simulator.days = euro_rates(today, seed=seed, weekends=True)
    simulator.keys.add(key)
