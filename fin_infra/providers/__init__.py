"""Where rows come from: the registry of vendors. `resolve("banking:teller")` finds one by domain and name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fin_infra.providers.registry import Registry

if TYPE_CHECKING:
    from fin_infra.providers.base import Provider

PROVIDERS: dict[str, str] = {
    "teller": "fin_infra.providers.teller:PROVIDER",
    "alpaca": "fin_infra.providers.alpaca:PROVIDER",
    "plaid": "fin_infra.providers.plaid:PROVIDER",
    "ecb": "fin_infra.providers.ecb:PROVIDER",
    "frankfurter": "fin_infra.providers.frankfurter:PROVIDER",
    "exchangerate_api": "fin_infra.providers.exchangerate_api:PROVIDER",
    "alphavantage": "fin_infra.providers.alphavantage:PROVIDER",
    "yahoo": "fin_infra.providers.yahoo:PROVIDER",
    "coingecko": "fin_infra.providers.coingecko:PROVIDER",
    "mx": "fin_infra.providers.mx:PROVIDER",
    "snaptrade": "fin_infra.providers.snaptrade:PROVIDER",
    "simplefin": "fin_infra.providers.simplefin:PROVIDER",
    "ccxt.kraken": "fin_infra.providers.ccxt:KRAKEN",
    "ccxt.coinbase": "fin_infra.providers.ccxt:COINBASE",
    "ccxt.binance": "fin_infra.providers.ccxt:BINANCE",
    "stripe": "fin_infra.providers.stripe:PROVIDER",
}
DOMAINS: dict[str, tuple[str, ...]] = {
    "banking": (
        "teller",
        "plaid",
        "simplefin",
        "mx",
    ),
    "brokerage": (
        "alpaca",
        "plaid",
        "snaptrade",
    ),
    "market": (
        "alphavantage",
        "alpaca",
        "yahoo",
    ),
    "crypto": (
        "coingecko",
        "ccxt.kraken",
        "ccxt.coinbase",
        "ccxt.binance",
    ),
    "fx": (
        "ecb",
        "frankfurter",
        "exchangerate_api",
        "alphavantage",
    ),
    "identity": ("stripe",),
}
"""Which vendors serve a domain, its default first; a test holds it to the declarations, so that listing imports
nothing."""
FALLBACK: dict[str, tuple[str, ...]] = {
    "prices": ("alphavantage", "yahoo"),
}
"""By dataset, in which order vendors stand in for one another; `providers.yaml` may say otherwise."""
ALIASES: dict[str, str] = {
    "exchangerate": "exchangerate_api",
    "ccxt": "ccxt.kraken",
}
"""Other names by which some are asked for; rows are stored under the vendor's own."""
REGISTRY = Registry(PROVIDERS, DOMAINS, FALLBACK, ALIASES)


def resolve(name: str) -> Provider:
    """The declaration of a vendor, by `teller`, with its domain, `banking:teller`, or the default of a domain alone.

    Raises `UsageError`: one sentence that lists what exists, also for one that is switched off.
    """
    return REGISTRY.resolve(name)


def declared(name: str) -> Provider:
    """The same by the name that is stored with rows and connections, whether it is switched off or not."""
    return REGISTRY.declared(name)


def names() -> list[str]:
    """All vendors there are, switched off or not, the built-in ones first."""
    return REGISTRY.names()
