"""ExchangeRate-API: blended rates of some 160 currencies, also on weekends. Version 6; open access without a key."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import timedelta

import httpx

from fin_infra.datasets.fx_rates import FxRates
from fin_infra.providers.base import WHATEVER, Feed, Field, Provider, Reach, Refusal, Series, Source
from fin_infra.providers.exchangerate_api import client, frames, symbols, wire
from fin_infra.providers.exchangerate_api.quota import QUOTA


class Bearer(httpx.Auth):
    """The key as a header: the other way is in the path, which ends up in logs."""

    def __init__(self, key: str) -> None:
        self._header = f"Bearer {key}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


def bearer(secrets: Mapping[str, str]) -> httpx.Auth:
    """The key, or nothing for open access."""
    key = secrets.get("api_key", "")
    return Bearer(key) if key else httpx.Auth()


def home(secrets: Mapping[str, str]) -> str:
    """Without a key the host of open access."""
    return "" if secrets.get("api_key") else "open"


KEY = "the key is not accepted: fin-infra connections relink"
OURS = "our request was malformed; look at the evidence in quarantine"

PROVIDER = Provider(
    name="exchangerate_api",
    title="ExchangeRate-API",
    base_url="https://v6.exchangerate-api.com",
    hosts={"open": "https://open.er-api.com"},
    home=home,
    domains={"fx": ("fx_rates",)},
    auth=bearer,
    secrets=(Field("api_key", "the API key; without one open access is used, once a day", required=False),),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(WHATEVER, "unsupported-code", "unknown_symbol", "it does not know the base currency"),
        Refusal(WHATEVER, "malformed-request", "bad_request", OURS),
        Refusal(WHATEVER, "invalid-key", "auth_invalid", KEY),
        Refusal(WHATEVER, "inactive-account", "permission_denied", "confirm the account's e-mail address there"),
        Refusal(
            WHATEVER, "quota-reached", "quota_exhausted", "the month's requests are used; it is asked again daily",
            wait=timedelta(days=1).total_seconds(),
        ),
        Refusal(WHATEVER, "plan-upgrade-required", "plan_limit", "the plan does not cover this; upgrade it"),
        Refusal(WHATEVER, "no-data-available", "not_found", "there are no rates of this day; those held are kept"),
        Refusal(
            429, "", "rate_limited", "it is asked again after the wait", wait=timedelta(minutes=20).total_seconds()
        ),
    ),
    sources=(
        Source(
            kind="series",
            fetch=client.rates,
            feeds=(Feed(FxRates, wire.rates, frames.rates),),
            # a day's rates stand from its first seconds on: a day before its end
            series=Series(
                ticker=symbols.to_exchangerate, calendar=symbols.calendar, lags={"24/7": timedelta(days=-1)},
                history=timedelta(days=30), reach=Reach(at_once=None, older=False),
            ),
        ),
    ),
    quota=QUOTA,
    probe=client.probe,
    attribution="Rates By Exchange Rate API (https://www.exchangerate-api.com).",
    terms=(
        "Open access, without a key: that attribution must be a visible link wherever rates are shown.",
        "Its rates may be cached, and must not be redistributed.",
    ),
    facts=(
        "Blends of several sources: they differ from the ECB's in the third or fourth digit: another series.",
        "Free plan: 1,500 requests a month, new rates every 24 hours, no older days (read 2026-11-24).",
        "Open access needs no key, but a visible link to them, and must not be redistributed; a 429 lasts 20 minutes.",
    ),
)  # fmt: skip
