"""What Plaid permits: by Item and minute and by application and minute, each endpoint for itself.

No header tells what is left, and a 429 carries no documented Retry-After: a minute is waited. Its `error_code` names
the endpoint's limit, its message whether the Item's or the application's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from fin_infra.providers.plaid import wire
from fin_infra.quotas.declared import Answer, Plan, Throttle, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = "https://plaid.com/docs/errors/rate-limit-exceeded"
READ = date(2026, 3, 7)
MINUTE = 60.0

PRODUCTION: Mapping[str, tuple[int | None, int]] = {
    "/accounts/get": (15, 15_000),
    "/accounts/balance/get": (5, 1_200),
    "/item/get": (15, 5_000),
    "/transactions/sync": (50, 2_500),
    "/transactions/get": (30, 20_000),
    "/transactions/refresh": (2, 100),
    "/transactions/recurring/get": (20, 1_000),
    "/investments/holdings/get": (15, 2_000),
    "/investments/transactions/get": (30, 20_000),
    "/investments/refresh": (1, 100),
    "/liabilities/get": (15, 1_000),
    "/institutions/get_by_id": (None, 400),
    "/item/remove": (30, 2_000),
}
"""Calls a minute: of an Item, of the application."""
SANDBOX: Mapping[str, tuple[int | None, int]] = {
    **PRODUCTION,
    "/accounts/get": (100, 5_000),
    "/accounts/balance/get": (25, 100),
    "/item/get": (40, 5_000),
    "/transactions/sync": (50, 1_000),
    "/transactions/get": (80, 1_000),
    "/investments/holdings/get": (100, 1_000),
    "/investments/transactions/get": (100, 1_000),
    "/liabilities/get": (10, 1_000),
    "/sandbox/transactions/create": (2, 50),
}
LINKING = ("/link/token/create", "/item/public_token/exchange", "/webhook_verification_key/get")
LIMITS = {
    "ACCOUNTS_LIMIT": "accounts",
    "ACCOUNTS_BALANCE_GET_LIMIT": "accounts_balance",
    "BALANCE_LIMIT": "accounts_balance",
    "ITEM_GET_LIMIT": "item",
    "TRANSACTIONS_SYNC_LIMIT": "transactions_sync",
    "TRANSACTIONS_LIMIT": "transactions",
    "INVESTMENT_HOLDINGS_GET_LIMIT": "investments_holdings",
    "INVESTMENT_TRANSACTIONS_LIMIT": "investments_transactions",
    "INSTITUTIONS_GET_BY_ID_LIMIT": "institutions_get_by_id",
}
"""Plaid's word for a limit → the name of the windows of its endpoint."""


def name_of(path: str) -> str:
    """`/accounts/balance/get` → `accounts_balance`."""
    return path.strip("/").removesuffix("/get").replace("/", "_")


def _windows(limits: Mapping[str, tuple[int | None, int]]) -> tuple[Rolling, ...]:
    found: list[Rolling] = []
    for path, (item, application) in limits.items():
        name = name_of(path)
        if item is not None:
            found.append(Rolling(f"{name}.item", item, MINUTE, scope="connection", endpoints=(path,)))
        found.append(Rolling(f"{name}.client", application, MINUTE, endpoints=(path,)))
    return (*found, Rolling("linking.client", 300, MINUTE, endpoints=LINKING))  # unpublished: ours


def throttle(answer: Answer) -> Throttle:
    """Which limit a 429 met: its endpoint's of the Item, unless the message speaks of something else."""
    _, _, body, _ = answer
    name, of_item = LIMITS.get(wire.refusal_word(body) or ""), b"this item" in body.lower()
    windows = () if name is None else (f"{name}.item" if of_item else f"{name}.client",)
    return Throttle("connection" if of_item else "key", windows, MINUTE, everywhere=not windows)


QUOTA = VendorQuota(
    plans=(Plan("production", _windows(PRODUCTION), READ, SOURCE), Plan("sandbox", _windows(SANDBOX), READ, SOURCE)),
    holder="application",
    throttle=throttle,
)
