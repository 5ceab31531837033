"""CoinGecko: prices and names of coins. API version 3, with a free (demo) key, a paid one, or without."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import timedelta

import httpx

from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.providers.base import (
    WHATEVER,
    Feed,
    Field,
    Lookup,
    Provider,
    Reach,
    Refusal,
    Series,
    Source,
    nobody,
)
from fin_infra.providers.coingecko import client, frames, symbols, wire
from fin_infra.providers.coingecko.quota import QUOTA


class Key(httpx.Auth):
    """The key as a header: in the query it would end up in logs."""

    def __init__(self, header: str, key: str) -> None:
        self._headers = {header: key}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers.update(self._headers)
        yield request


def key(secrets: Mapping[str, str]) -> httpx.Auth:
    """The key under its plan's name, or nothing."""
    if not secrets.get("api_key"):
        return nobody(secrets)
    return Key("x-cg-pro-api-key" if _paid(secrets) else "x-cg-demo-api-key", secrets["api_key"])


def home(secrets: Mapping[str, str]) -> str:
    """Paid keys are valid at their own host alone, and no other key is valid there."""
    if _paid(secrets):
        return "pro"
    return "" if secrets.get("api_key") else "keyless"


def fault(secrets: Mapping[str, str]) -> str | None:
    """A paid plan has a key."""
    return "the plan pro needs its key: api_key" if _paid(secrets) and not secrets.get("api_key") else None


def _paid(secrets: Mapping[str, str]) -> bool:
    return secrets.get("plan") == "pro"


RELINK = "the key is not accepted: fin-infra connections relink"
PAIRING = "the key is of another plan than was said (plan: demo or pro): fin-infra connections relink"
UNKNOWN = "coingecko has no coin of this id; the others go on"
OURS = "our request was malformed; look at the evidence in quarantine"
WAIT = "it is asked again after the wait"
FIREWALL = timedelta(minutes=15).total_seconds()

PROVIDER = Provider(
    name="coingecko",
    title="CoinGecko",
    base_url="https://api.coingecko.com",
    hosts={"pro": "https://pro-api.coingecko.com", "keyless": "https://api.coingecko.com"},
    home=home,
    domains={"crypto": ("prices", "intraday_prices", "quotes", "instruments")},
    auth=key,
    secrets=(
        Field("api_key", "the API key; without one it is asked slowly, as whoever shares the address", required=False),
        Field("plan", "what the key is of: demo (default) or pro, any paid plan", required=False,
              choices=("demo", "pro")),
    ),
    fault=fault,
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(WHATEVER, "10002", "auth_invalid", RELINK),
        Refusal(WHATEVER, "10010", "auth_invalid", PAIRING),
        Refusal(WHATEVER, "10011", "auth_invalid", PAIRING),
        Refusal(WHATEVER, "10005", "plan_limit", "the plan does not cover this; upgrade it"),
        Refusal(WHATEVER, client.TIME_RANGE, "plan_limit", "the plan does not go back so far; shorten it to 365 days"),
        Refusal(WHATEVER, wire.UNKNOWN_COIN, "unknown_symbol", UNKNOWN),
        Refusal(WHATEVER, "could not find coin", "unknown_symbol", UNKNOWN),
        Refusal(WHATEVER, "429", "rate_limited", WAIT, wait=60.0),
        Refusal(
            WHATEVER, "monthly", "quota_exhausted", "the month's credits are used; it is asked again in the next one",
            wait=timedelta(days=1).total_seconds(),
        ),
        Refusal(WHATEVER, "1020", "rate_limited", "its firewall turned us away; it is asked later", wait=FIREWALL),
        Refusal(WHATEVER, "408", "vendor_timeout", "it is tried again", vendor_wide=True),
        Refusal(WHATEVER, "500", "vendor_unavailable", "it is tried again", vendor_wide=True),
        Refusal(WHATEVER, "503", "vendor_unavailable", "it is tried again", vendor_wide=True),
        Refusal(400, "", "bad_request", OURS),
        Refusal(422, "", "bad_request", OURS),
        Refusal(401, "", "auth_invalid", RELINK),
        # who calls without a key is refused with 403 as well as 429
        Refusal(403, "", "rate_limited", WAIT, wait=FIREWALL),
        Refusal(404, "", "not_found", "coingecko does not know this resource; its rows are kept"),
        Refusal(429, "", "rate_limited", WAIT, wait=60.0),
    ),
    sources=(
        Source(
            kind="series",
            fetch=client.prices,
            feeds=(Feed(Prices, wire.bars, frames.prices),),
            # the close of a day is there 10 to 35 minutes after midnight; free plans go back 365 days
            series=Series(
                ticker=symbols.ticker, lags={"24/7": timedelta(minutes=40)}, history=timedelta(days=362),
                reach=Reach(at_once=1, days=client.AT_ONCE.days + 1, row_bytes=130),
            ),
        ),
        Source(
            kind="series",
            fetch=client.intraday,
            feeds=(Feed(IntradayPrices, wire.intraday, frames.intraday),),
            # an answer is kept for a quarter of an hour on its way: a candle that ended since is still open in it
            series=Series(
                ticker=symbols.ticker, lags={"24/7": timedelta(minutes=30)}, overlap=2, intervals=("30m", "4h"),
                reach=Reach(at_once=1, rows=48, older=False),
            ),
        ),
        Source(
            kind="snapshot",
            fetch=client.quotes,
            feeds=(Feed(Quotes, wire.quotes, frames.quotes),),
            series=Series(ticker=symbols.ticker),
        ),
        Source(
            kind="snapshot",
            fetch=client.instruments,
            feeds=(Feed(Instruments, wire.coins, frames.instruments),),
            series=Series(ticker=symbols.ticker),
        ),
    ),
    lookups={"coins": Lookup(client.coins, whole=True)},
    probe=client.probe,
    quota=QUOTA,
    attribution="Data provided by CoinGecko (https://www.coingecko.com).",
    facts=(
        "Free (demo) keys: 30 calls a minute and 10,000 a month, each call counts, refused ones too (read 2026-11-24).",
        "Without a key about 5 calls a minute, shared with all behind the same address.",
        "Free keys go back 365 days; older days are refused, not left out.",
        "A point of 00:00 UTC is the close of the day before; it is there 10 to 35 minutes after midnight.",
        "Charts have no opens, highs and lows, and volumes in dollars: none of them is kept.",
        "The symbol of a coin is not unique: coins are named by CoinGecko's id, or by chain and contract.",
    ),
    terms=(
        'Free plans: show "Data provided by CoinGecko", with a link to www.coingecko.com, wherever its data is shown.',
        "A commercial use needs a paid plan, from Basic up.",
        "Raw data may not be resold or redistributed; the API terms limit how long it may be cached.",
    ),
)  # fmt: skip
