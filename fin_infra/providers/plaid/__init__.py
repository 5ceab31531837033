"""Plaid: US and European banks, cards, loans and investments, by Items. API version 2020-09-14."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import httpx

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Feed, Field, Provider, Source
from fin_infra.providers.plaid import client, frames, wire
from fin_infra.providers.plaid.linking import LINKING
from fin_infra.providers.plaid.quota import QUOTA
from fin_infra.providers.plaid.refusals import REFUSALS
from fin_infra.providers.plaid.webhooks import WEBHOOKS


def no_header(secrets: Mapping[str, str]) -> httpx.Auth:
    """Nothing: the access token travels in the body, the application's keys in headers of their own."""
    return httpx.Auth()


def home(secrets: Mapping[str, str]) -> str:
    """The environment, which every token of Plaid names: `access-sandbox-…`."""
    return "sandbox" if any("-sandbox-" in value for value in secrets.values()) else ""


def app_headers(fields: Mapping[str, str]) -> Mapping[str, str]:
    return {"PLAID-CLIENT-ID": fields["client_id"], "PLAID-SECRET": fields["secret"]}


PROVIDER = Provider(
    name="plaid",
    title="Plaid",
    base_url="https://production.plaid.com",
    hosts={"sandbox": "https://sandbox.plaid.com"},
    home=home,
    domains={
        "banking": ("accounts", "balances", "transactions"),
        "brokerage": ("holdings", "activities", "instruments"),
    },
    auth=no_header,
    secrets=(Field("access_token", "the Item's access token; a public_token in its place is exchanged for it"),),
    app_fields=(
        Field("client_id", "the application's client id, from the dashboard"),
        Field("secret", "the application's secret of the environment, sandbox or production"),
    ),
    headers={"Plaid-Version": "2020-09-14"},
    app_headers=app_headers,
    body_secrets=("access_token",),
    refusal_word=wire.refusal_word,
    refusals=REFUSALS,
    sources=(
        Source(
            kind="snapshot",
            fetch=client.accounts,
            feeds=(
                Feed(Accounts, wire.accounts, frames.accounts, persistent=frames.persistent, login=frames.login),
                Feed(Balances, wire.balances, frames.balances, tells_accounts=True),
            ),
        ),
        Source(
            kind="cursor",
            fetch=client.transactions,
            feeds=(
                Feed(Transactions, wire.transactions, frames.transactions, removed=frames.removed, tells_accounts=True),
            ),
            needs_accounts=True,
        ),
        Source(
            kind="snapshot",
            fetch=client.holdings,
            feeds=(
                Feed(Holdings, wire.holdings, frames.holdings, tells_accounts=True),
                Feed(Balances, wire.balances, frames.balances, tells_accounts=True),
                Feed(Instruments, wire.holdings, frames.instruments),
            ),
            needs_accounts=True,
            account_kind="investment",
        ),
        Source(
            kind="window",
            fetch=client.activities,
            feeds=(Feed(Activities, wire.activities, frames.activities, tells_accounts=True),),
            overlap=timedelta(days=30),
            margin=timedelta(days=4),
            needs_accounts=True,
            account_kind="investment",
        ),
    ),
    webhooks=WEBHOOKS,
    linking=LINKING,
    quota=QUOTA,
    probe=client.probe,
    attribution="Data by Plaid (plaid.com).",
    facts=(
        "Banks are polled one to four times a day; a webhook says when there is something new (read 2026-11-24).",
        "Limits are per Item and minute, by endpoint; a 429 carries no documented Retry-After: 60 seconds are waited.",
        "Billed per Item and month and product; live balances per call: they are not asked for.",
    ),
)
