"""Teller: US bank and card accounts through the banks' own interfaces. API version 2020-10-12."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import httpx

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Feed, Field, Lookup, Provider, Refusal, Source
from fin_infra.providers.teller import client, frames, wire
from fin_infra.providers.teller.quota import QUOTA
from fin_infra.providers.teller.webhooks import WEBHOOKS


def basic_token(secrets: Mapping[str, str]) -> httpx.Auth:
    """HTTP Basic: the access token is the user, the password is empty."""
    return httpx.BasicAuth(secrets["access_token"], "")


RELINK = "the user must log in at the bank again: fin-infra connections relink"
DOCS = "https://teller.io/docs/api"

PROVIDER = Provider(
    name="teller",
    title="Teller",
    base_url="https://api.teller.io",
    domains={"banking": ("accounts", "balances", "transactions")},
    auth=basic_token,
    secrets=(Field("access_token", "the enrollment's access token, from Teller Connect"),),
    app_fields=(
        Field("certificate", "path of the client certificate (PEM); not needed in the sandbox", required=False),
        Field("private_key", "path of the certificate's key (PEM); not needed in the sandbox", required=False),
        Field("ca", "path of the authorities to trust (PEM), for a proxy or simulator with TLS", required=False),
        Field(
            "webhook_secret",
            "what webhooks are signed with; old and new one, comma-separated, during a change",
            required=False,
        ),
    ),
    headers={"Teller-Version": "2020-10-12"},
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(400, "", "bad_request", "outside the sandbox set FIN_INFRA_TELLER_CERTIFICATE and _PRIVATE_KEY"),
        Refusal(401, "", "auth_invalid", "no access token was accepted: fin-infra connections relink"),
        Refusal(403, "", "auth_invalid", "the access token is invalid or revoked: fin-infra connections relink"),
        Refusal(404, "not_found", "not_found", "teller does not know this resource; its rows are kept"),
        Refusal(404, "enrollment.disconnected", "reauth_required", RELINK),
        Refusal(404, "account_number_verification_pending", "not_ready", "it is asked again later"),
        Refusal(404, "account_number_verification_expired", "reauth_required", RELINK),
        Refusal(410, "account.closed", "account_closed", "the account was closed at the bank; its rows are kept"),
        Refusal(422, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(429, "", "rate_limited", "it is asked again after the wait"),
        Refusal(502, "", "vendor_unavailable", "the bank behind it does not answer; it is tried again"),
    ),
    sources=(
        Source(
            kind="snapshot",
            fetch=client.accounts,
            feeds=(
                Feed(Accounts, wire.accounts, frames.accounts, login=frames.login),
                Feed(Balances, wire.balances, frames.balances),
            ),
        ),
        Source(
            kind="window",
            fetch=client.transactions,
            feeds=(Feed(Transactions, wire.transactions, frames.transactions),),
            overlap=timedelta(days=14),  # a pending row changes its date when it posts; the docs say 7 to 10 days
            margin=timedelta(days=4),
            needs_accounts=True,
        ),
    ),
    quota=QUOTA,
    probe=client.probe,
    lookups={"institutions": Lookup(client.institutions, keep=timedelta(days=7), whole=True)},
    attribution="Data by Teller (teller.io).",
    webhooks=WEBHOOKS,
    facts=(
        "Rate limits exist and are not published; a 429 carries no documented Retry-After (read 2026-11-24).",
        "Banks are polled at least once in 24 hours; asking more often than daily mostly brings the same.",
        "Balances are a live call to the bank: slow, and billed.",
    ),
)
