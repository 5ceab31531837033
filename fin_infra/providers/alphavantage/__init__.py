"""Alpha Vantage: daily prices, quotes, FX rates, splits and dividends of listings all over the world."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import timedelta

import httpx

from fin_infra.calendars import calendar_names
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.fx_rates import FxRates
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.providers.alphavantage import client, frames, symbols, wire
from fin_infra.providers.alphavantage.quota import A_DAY, COOL_DOWN, QUOTA
from fin_infra.providers.base import WHATEVER, Feed, Field, Lookup, Provider, Reach, Refusal, Series, Source

SHORTEST = 8
"""No key is shorter; a few letters might stand anywhere."""


class KeyInQuery(httpx.Auth):
    """The key where this vendor wants it: in the query. It is put there last, so that no log has it.

    Some answers repeat it. It is taken out of them before anybody reads one: an answer may become evidence.
    """

    requires_response_body = True

    def __init__(self, key: str) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.url = request.url.copy_merge_params({"apikey": self._key})
        response = yield request
        told = self._key.encode()
        if len(told) >= SHORTEST and told in response.content:
            response._content = response.content.replace(told, b"[the key]")  # httpx has no other way


def key_in_query(secrets: Mapping[str, str]) -> httpx.Auth:
    return KeyInQuery(secrets["key"])


RELINK = "the key is not accepted: fin-infra connections relink"
LATER = "it is asked again after the wait"

PROVIDER = Provider(
    name="alphavantage",
    title="Alpha Vantage",
    base_url="https://www.alphavantage.co",
    domains={
        "market": ("prices", "intraday_prices", "quotes", "corporate_actions", "instruments"),
        "fx": ("fx_rates",),
    },
    auth=key_in_query,
    secrets=(Field("key", "the API key"),),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(WHATEVER, "burst", "rate_limited", LATER, wait=2.0),
        Refusal(WHATEVER, "minute", "rate_limited", LATER, wait=60.0),
        Refusal(WHATEVER, "daily", "rate_limited", "the day's requests are used, it is asked tomorrow", wait=A_DAY),
        Refusal(WHATEVER, "throttled", "rate_limited", "a text that nobody knows; it is left alone", wait=COOL_DOWN),
        Refusal(WHATEVER, "premium", "plan_limit", "the plan does not cover this: a paid one does"),
        Refusal(WHATEVER, "demo", "auth_invalid", "the demo key is for its own examples alone: link a key"),
        Refusal(WHATEVER, "key", "auth_invalid", RELINK),
        Refusal(WHATEVER, "call", "unknown_symbol", "it does not know this symbol; the others go on"),
        Refusal(WHATEVER, "empty", "unknown_symbol", "it has nothing under this symbol; the others go on"),
        Refusal(WHATEVER, "error", "bad_request", "an error that nobody knows; look at the evidence in quarantine"),
    ),
    sources=(
        Source(
            kind="series",
            fetch=client.prices,
            feeds=(Feed(Prices, wire.daily, frames.prices),),
            series=Series(
                ticker=symbols.priced, history=client.HISTORY,
                lags=dict.fromkeys(calendar_names(), timedelta(minutes=30)), reach=Reach(row_bytes=150),
            ),
        ),
        Source(
            kind="series",
            fetch=client.intraday,
            feeds=(Feed(IntradayPrices, wire.intraday, frames.intraday_prices),),
            series=Series(
                ticker=symbols.priced_within_days, intervals=("5m",),
                # prices are 15 minutes late without an exchange's licence
                lags=dict.fromkeys(calendar_names(), timedelta(minutes=20)), reach=Reach(days=28, row_bytes=150),
            ),
        ),
        Source(
            kind="snapshot",
            fetch=client.quotes,
            feeds=(Feed(Quotes, wire.quote, frames.quotes),),
            series=Series(ticker=symbols.priced),
        ),
        Source(
            kind="snapshot",
            fetch=client.actions,
            feeds=(Feed(CorporateActions, wire.actions, frames.corporate_actions),),
            series=Series(ticker=symbols.priced),
        ),
        Source(
            kind="snapshot",
            fetch=client.instruments,
            feeds=(Feed(Instruments, wire.listings, frames.instruments),),
            series=Series(ticker=symbols.priced),
        ),
        Source(
            kind="series",
            fetch=client.rates,
            feeds=(Feed(FxRates, wire.rates, frames.rates),),
            series=Series(
                ticker=symbols.paired, calendar=lambda pair: "FX", history=client.HISTORY,
                reach=Reach(row_bytes=110),
            ),
        ),
    ),
    quota=QUOTA,
    probe=client.probe,
    lookups={"symbols": Lookup(client.symbols, keep=timedelta(days=7))},
    attribution="Data by Alpha Vantage (www.alphavantage.co).",
    facts=(
        "A free key has 25 requests a day and one a second, and the 100 newest bars; more is for paid plans: "
        "FIN_INFRA_ALPHAVANTAGE_PLAN=premium_75 (read 2026-11-24).",
        "Every refusal is a 200 with a text, and one of them repeats the key: texts are sorted, never shown or kept.",
        "No currency stands beside a price: it is that of the listing; pence and cents become the major unit.",
        "Prices are raw, as traded. Adjusted and intraday series are for paid plans.",
        "A call counts whether it succeeds or not, and brings one instrument.",
    ),
    terms=(
        "A free key is for personal, non-commercial use, one for each person.",
        "Raw data must not be redistributed or sold without a licence.",
    ),
)  # fmt: skip
