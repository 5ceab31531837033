"""SimpleFIN: bank, card and investment accounts by an access URL, most of them through its Bridge. Versions 1 and 2."""

from __future__ import annotations

from datetime import timedelta

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Feed, Field, Provider, Refusal, Source
from fin_infra.providers.simplefin import client, frames, wire
from fin_infra.providers.simplefin.access import auth, fault, own_address
from fin_infra.providers.simplefin.linking import LINKING
from fin_infra.providers.simplefin.quota import DAY, QUOTA

RENEW = "access was revoked or the URL is wrong: make a new setup token, then fin-infra connections relink"

PROVIDER = Provider(
    name="simplefin",
    title="SimpleFIN",
    base_url="https://bridge.simplefin.org/simplefin",
    own_address=own_address,
    fault=fault,
    domains={"banking": ("accounts", "balances", "holdings", "transactions")},
    auth=auth,
    secrets=(Field("access_url", "the access URL; a setup token in its place (setup_token) is claimed for it"),),
    refusal_word=wire.no_word,
    refusals=(
        Refusal(400, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(
            402, "", "permission_denied", "the user's subscription of the bridge has ended; once it is paid, it goes on"
        ),
        Refusal(403, "", "auth_invalid", RENEW),
        Refusal(429, "", "rate_limited", "24 requests a day are allowed; it is asked again the next day", wait=DAY),
    ),
    sources=(
        Source(
            kind="snapshot",
            fetch=client.accounts,
            feeds=(
                Feed(Accounts, wire.account_set, frames.accounts),
                Feed(Balances, wire.account_set, frames.balances, tells_accounts=True),
                Feed(Holdings, wire.account_set, frames.holdings, tells_accounts=True),
            ),
        ),
        Source(
            kind="window",
            fetch=client.transactions,
            feeds=(Feed(Transactions, wire.account_set, frames.transactions, tells_accounts=True),),
            overlap=timedelta(days=14),  # banks post late, with earlier dates: 7 to 10 days are advised
            margin=timedelta(days=4),
            needs_accounts=True,
        ),
    ),
    linking=LINKING,
    quota=QUOTA,
    probe=client.probe,
    attribution="Data by SimpleFIN (simplefin.org).",
    terms=(
        "The user pays the Bridge 1.50 USD a month, or 15 a year, for up to 25 institutions.",
        "Error texts of the Bridge are to be shown to the user.",
    ),
    facts=(
        "24 requests a day for an access URL; over it first a warning, then it may be disabled (read 2026-11-24).",
        "The Bridge reads each bank about once a day: asking more often brings the same.",
        "A request covers at most 90 days; a longer history takes several.",
    ),
)
