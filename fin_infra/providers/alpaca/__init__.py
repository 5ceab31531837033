"""Alpaca: US brokerage accounts, paper by default, and market data. Trading API 2.0.1, market data API 1.1."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import timedelta

import httpx

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.providers.alpaca import actions, client, frames, symbols, wire
from fin_infra.providers.alpaca.ordering import ORDERING
from fin_infra.providers.alpaca.quota import QUOTA
from fin_infra.providers.base import Feed, Field, Provider, Reach, Refusal, Series, Source


class KeyPair(httpx.Auth):
    """Key id and secret as two headers."""

    def __init__(self, key_id: str, secret_key: str) -> None:
        self._headers = {"APCA-API-KEY-ID": key_id, "APCA-API-SECRET-KEY": secret_key}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers.update(self._headers)
        yield request


def key_pair(secrets: Mapping[str, str]) -> httpx.Auth:
    return KeyPair(secrets["key_id"], secrets["secret_key"])


def home(secrets: Mapping[str, str]) -> str:
    """The trading host: paper's, unless the credential says that it is a live one."""
    return "live" if secrets.get("environment") == "live" else ""


RELINK = "the key was regenerated or is of the other environment: fin-infra connections relink"

PROVIDER = Provider(
    name="alpaca",
    title="Alpaca",
    base_url="https://paper-api.alpaca.markets",
    hosts={"live": "https://api.alpaca.markets", "data": "https://data.alpaca.markets"},
    home=home,
    domains={
        "brokerage": ("accounts", "balances", "holdings", "activities", "instruments"),
        "market": ("prices", "intraday_prices", "corporate_actions", "instruments"),
    },
    auth=key_pair,
    secrets=(
        Field("key_id", "the API key's id; paper and live keys differ"),
        Field("secret_key", "the API key's secret"),
        Field(
            "environment", "where the key is valid: paper (default) or live", required=False, choices=("paper", "live")
        ),
    ),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(400, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(400, "invalid symbol", "unknown_symbol", "alpaca has no data for this symbol; the others go on"),
        Refusal(401, "", "auth_invalid", RELINK),
        Refusal(403, "", "permission_denied", "the account may not do this; ask Alpaca to allow it"),
        Refusal(403, "forbidden", "auth_invalid", RELINK),
        Refusal(403, "subscription does not permit", "plan_limit", "the data plan does not cover this; upgrade it"),
        Refusal(404, "", "not_found", "alpaca does not know this resource; its rows are kept"),
        Refusal(422, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(429, "", "rate_limited", "it is asked again after the wait"),
    ),
    sources=(
        Source(
            kind="snapshot",
            fetch=client.accounts,
            feeds=(
                Feed(Accounts, wire.account, frames.accounts),
                Feed(Balances, wire.account, frames.balances),
            ),
            account_kind="investment",
        ),
        Source(
            kind="snapshot",
            fetch=client.holdings,
            feeds=(Feed(Holdings, wire.positions, frames.holdings),),
            needs_accounts=True,
            account_kind="investment",
        ),
        Source(
            kind="window",
            fetch=client.activities,
            feeds=(Feed(Activities, wire.activities, frames.activities),),
            overlap=timedelta(days=30),  # so long a row that is cancelled later is still seen to be
            margin=timedelta(days=1),
            needs_accounts=True,
            account_kind="investment",
        ),
        Source(
            kind="snapshot",
            fetch=client.assets,
            feeds=(Feed(Instruments, wire.assets, frames.instruments),),
            series=Series(ticker=symbols.priced),
        ),
        Source(
            kind="snapshot",
            fetch=client.actions,
            feeds=(Feed(CorporateActions, wire.actions, actions.corporate_actions),),
            series=Series(ticker=symbols.acting),
        ),
        Source(
            kind="series",
            fetch=client.bars,
            feeds=(Feed(Prices, wire.bars, frames.prices),),
            # consolidated data is free 15 minutes after the fact; a coin's day ends at midnight in Chicago
            series=Series(
                ticker=symbols.priced,
                lags={"XNYS": timedelta(minutes=15), "24/7": timedelta(hours=6, minutes=15)},
                reach=Reach(at_once=client.SYMBOLS_PER_CALL, rows=client.BARS_PAGE),
            ),
        ),
        Source(
            kind="series",
            fetch=client.intraday,
            feeds=(Feed(IntradayPrices, wire.bars, frames.intraday),),
            series=Series(
                ticker=symbols.priced,
                lags={"XNYS": client.DELAY, "24/7": timedelta(minutes=1)},
                intervals=tuple(client.TIMEFRAMES),
                reach=Reach(at_once=client.SYMBOLS_PER_CALL, rows=client.BARS_PAGE),
            ),
        ),
    ),
    quota=QUOTA,
    probe=client.probe,
    ordering=ORDERING,
    attribution="Data by Alpaca (alpaca.markets).",
    terms=("Market data may not be redistributed; showing IEX data has display rules of its own.",),
    facts=(
        "200 requests a minute per account and host; the reset comes with every answer (read 2026-11-24).",
        "Without a paid plan consolidated prices are 15 minutes old, which a daily bar does not mind.",
        "Corporate actions come without a promise of when; they are asked for whole each time, 1,000 a page.",
        "A paper account can be reset, which gives it a new id; it gets no dividends and no corporate actions.",
        "Options are held and shown, but no daily bars are asked for: there is one only on days they trade.",
    ),
)
