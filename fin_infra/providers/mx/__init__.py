"""MX: US and Canadian bank, card, loan and investment accounts. Platform API v20250224, or v20111101 where asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.balances import Balances
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.base import Feed, Field, Provider, Refusal, Source, nobody
from fin_infra.providers.mx import client, frames, wire
from fin_infra.providers.mx.dialects import VERSIONS, signed
from fin_infra.providers.mx.quota import QUOTA


def home(secrets: Mapping[str, str]) -> str:
    """Production, unless the credential says that its user is of the integration environment."""
    return "integration" if secrets.get("environment") == "integration" else ""


LATER = "the institution behind it does not answer; it is tried again"
NEVER = "the institution does not let MX in; the rows held are kept"
OUR_KEYS = "check FIN_INFRA_MX_CLIENT_ID, FIN_INFRA_MX_API_KEY and the environment they are of"

PROVIDER = Provider(
    name="mx",
    title="MX",
    base_url="https://api.mx.com",
    hosts={"integration": "https://int-api.mx.com"},
    home=home,
    domains={"banking": ("accounts", "balances", "transactions", "holdings")},
    auth=nobody,
    signed=signed,
    secrets=(
        Field("user_guid", "the user at MX: USR-…"),
        Field("member_guid", "one login of the user, MBR-…: only its accounts are read", required=False),
        Field("environment", "which of MX's environments the user is in", required=False,
              choices=("production", "integration")),
        Field("api_version", "the version of the interface that is spoken", required=False, choices=VERSIONS),
    ),
    app_fields=(
        Field("client_id", "the application's client id, from the dashboard"),
        Field("api_key", "the application's key, of the same environment"),
    ),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(400, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(400, "institution_maintenance_error", "vendor_unavailable", LATER),
        Refusal(400, "institution_unavailable_error", "vendor_unavailable", LATER),
        Refusal(400, "institution_prevented_error", "permission_denied", NEVER),
        Refusal(400, "institution_prevent_new_error", "permission_denied", NEVER),
        Refusal(401, "", "auth_invalid", OUR_KEYS, application=True),
        Refusal(403, "", "permission_denied", "let this machine's address in, or the feature, in MX's dashboard",
                application=True),
        Refusal(404, "", "not_found", "mx does not know this user, member or account; its rows are kept"),
        Refusal(406, "", "bad_request", "the interface's version is not spoken any more; set api_version"),
        Refusal(409, "", "not_ready", "another aggregation of this login is running; it is asked again"),
        Refusal(422, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(429, "", "rate_limited", "it is asked again after the wait"),
    ),
    sources=(
        Source(
            kind="snapshot",
            fetch=client.accounts,
            feeds=(
                Feed(Accounts, wire.accounts, frames.accounts),
                Feed(Balances, wire.accounts, frames.balances, tells_accounts=True),
            ),
        ),
        Source(
            kind="window",
            fetch=client.transactions,
            feeds=(Feed(Transactions, wire.transactions, frames.transactions, tells_accounts=True),),
            overlap=timedelta(days=14),  # a pending row may be replaced by one of another day
            margin=timedelta(days=4),
            needs_accounts=True,
        ),
        Source(
            kind="snapshot",
            fetch=client.holdings,
            feeds=(Feed(Holdings, wire.holdings, frames.holdings, tells_accounts=True),),
            needs_accounts=True,
            account_kind="investment",
        ),
    ),
    quota=QUOTA,
    probe=client.probe,
    attribution="Data by MX (mx.com).",
    terms=("An aggregation of a login is at most started every few hours, and is billed: none is started here.",),
    facts=(
        "GET: 2,000 requests a second per client (read 2026-07-23); no header tells what is left.",
        "The integration environment has test institutions and at most 100 users.",
        "A page size over the maximum silently becomes 25; each page's own size is checked.",
        "Logins are aggregated in the background about once a day; balances are as old as that.",
    ),
)  # fmt: skip
