"""What is kept: one schema a file. `DATASETS` lists them all; nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fin_infra.errors import UsageError

if TYPE_CHECKING:
    from fin_infra.datasets.base import Dataset

DATASETS: dict[str, str] = {
    "accounts": "fin_infra.datasets.accounts:Accounts",
    "balances": "fin_infra.datasets.balances:Balances",
    "transactions": "fin_infra.datasets.transactions:Transactions",
    "holdings": "fin_infra.datasets.holdings:Holdings",
    "activities": "fin_infra.datasets.activities:Activities",
    "instruments": "fin_infra.datasets.instruments:Instruments",
    "corporate_actions": "fin_infra.datasets.corporate_actions:CorporateActions",
    "fx_rates": "fin_infra.datasets.fx_rates:FxRates",
    "prices": "fin_infra.datasets.prices:Prices",
    "intraday_prices": "fin_infra.datasets.intraday_prices:IntradayPrices",
    "quotes": "fin_infra.datasets.quotes:Quotes",
    "identity_sessions": "fin_infra.datasets.identity_sessions:IdentitySessions",
    "account_states": "fin_infra.datasets.operations:AccountStates",
    "streams": "fin_infra.datasets.operations:Streams",
    "runs": "fin_infra.datasets.operations:Runs",
    "findings": "fin_infra.datasets.operations:Findings",
}
SYNCED = (
    "accounts", "balances", "transactions", "holdings", "activities", "instruments", "corporate_actions", "fx_rates",
    "prices", "intraday_prices", "quotes", "identity_sessions",
)  # fmt: skip
"""Rows from vendors: with history and change feed. In the order in which they are best synced."""


def dataset(name: str) -> type[Dataset]:
    """The schema of a dataset. Raises `UsageError` that lists what exists."""
    if name not in DATASETS:
        raise UsageError(f"no dataset {name!r}; there are: {', '.join(DATASETS)}")
    module, _, attribute = DATASETS[name].partition(":")
    found: type[Dataset] = getattr(importlib.import_module(module), attribute)
    return found
