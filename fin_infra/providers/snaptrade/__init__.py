"""SnapTrade: brokerage accounts at many brokers, read only. Interface of 2026-08, at its root paths."""

from __future__ import annotations

from datetime import timedelta

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.holdings import Holdings
from fin_infra.providers.base import Feed, Field, Lookup, Provider, Refusal, Source, nobody
from fin_infra.providers.snaptrade import client, frames, wire
from fin_infra.providers.snaptrade.quota import QUOTA
from fin_infra.providers.snaptrade.signing import signed
from fin_infra.providers.snaptrade.webhooks import WEBHOOKS

OUR_KEYS = "check FIN_INFRA_SNAPTRADE_CLIENT_ID, FIN_INFRA_SNAPTRADE_CONSUMER_KEY and this machine's clock"
THE_USER = "the user's id or secret is not accepted: fin-infra connections relink"
NOT_OFFERED = "SnapTrade or the brokerage does not offer this here; the rows held are kept"
BEHIND = "the brokerage behind it does not answer well; it is tried again"

PROVIDER = Provider(
    name="snaptrade",
    title="SnapTrade",
    base_url="https://api.snaptrade.com",
    domains={"brokerage": ("accounts", "balances", "holdings", "activities")},
    auth=nobody,
    signed=signed,
    secrets=(
        Field("user_id", "the user's id, as it was registered at SnapTrade"),
        Field("user_secret", "the user's secret, which SnapTrade told once, at the registration"),
    ),
    app_fields=(
        Field("client_id", "the application's client id, from the dashboard"),
        Field(
            "consumer_key",
            "what requests and webhooks are signed with; new and old one, comma-separated, during a change",
        ),
    ),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(400, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(401, "", "auth_invalid", THE_USER),
        Refusal(401, "1076", "auth_invalid", OUR_KEYS, application=True),
        Refusal(401, "1083", "auth_invalid", THE_USER),
        Refusal(402, "3003", "reauth_required", client.RECONNECT),
        Refusal(403, "", "permission_denied", NOT_OFFERED),
        Refusal(404, "", "not_found", "snaptrade does not know this account or connection; its rows are kept"),
        Refusal(425, "3012", "not_ready", "its first sync is running; it is asked again later", wait=client.FIRST_SYNC),
        Refusal(429, "", "rate_limited", "it is asked again after the wait"),
        Refusal(500, "3002", "vendor_unavailable", BEHIND),
        Refusal(503, "3002", "vendor_unavailable", BEHIND),
    ),
    sources=(
        Source(
            kind="snapshot",
            fetch=client.accounts,
            feeds=(
                Feed(Accounts, wire.accounts, frames.accounts, persistent=frames.persistent, login=frames.login),
                Feed(Balances, wire.balances, frames.balances),
            ),
            account_kind="investment",  # of a recorded answer; no sign depends on it
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
            overlap=timedelta(days=30),  # synced a day late, and a brokerage may correct what it said
            margin=timedelta(days=4),
            needs_accounts=True,
            account_kind="investment",
        ),
    ),
    webhooks=WEBHOOKS,
    quota=QUOTA,
    probe=client.probe,
    lookups={"institutions": Lookup(client.institutions, keep=timedelta(days=7), whole=True)},
    attribution="Data by SnapTrade (snaptrade.com).",
    terms=(
        "A manual refresh of a connection is billed: it is never asked for.",
        "One account is not to be polled more often than every 15 seconds.",
    ),
    facts=(
        "250 requests a minute per client id; a personal key also 10 a minute per account (read 2026-08-22).",
        "Without a real-time plan positions and balances are of the last daily sync.",
        "Transactions are synced once a day, a day late, on every plan; there is nothing intraday.",
        "A disabled connection goes on answering with what was known last: its accounts are not read any more.",
    ),
)
