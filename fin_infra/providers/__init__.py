"""Where rows come from: the registry of vendors. `resolve("banking:teller")` finds one by domain and name."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from fin_infra.errors import UsageError

if TYPE_CHECKING:
    from fin_infra.providers.base import Provider

PROVIDERS: dict[str, str] = {
    "teller": "fin_infra.providers.teller:PROVIDER",
    "alpaca": "fin_infra.providers.alpaca:PROVIDER",
    "plaid": "fin_infra.providers.plaid:PROVIDER",
    "ecb": "fin_infra.providers.ecb:PROVIDER",
    "frankfurter": "fin_infra.providers.frankfurter:PROVIDER",
    "exchangerate_api": "fin_infra.providers.exchangerate_api:PROVIDER",
    "stripe": "fin_infra.providers.stripe:PROVIDER",
}
DOMAINS: dict[str, tuple[str, ...]] = {
    "banking": (
        "teller",
        "plaid",
    ),
    "brokerage": (
        "alpaca",
        "plaid",
    ),
    "market": ("alpaca",),
    "fx": (
        "ecb",
        "frankfurter",
        "exchangerate_api",
    ),
    "identity": ("stripe",),
}
"""Which vendors serve a domain; a test holds it to the declarations, so that listing imports nothing."""


def resolve(name: str) -> Provider:
    """The declaration of a vendor, by `teller` or with its domain, `banking:teller`.

    Raises `UsageError`: one sentence that lists what exists.
    """
    domain, _, vendor = name.rpartition(":")
    known = [f"{d}:{v}" for d, vendors in DOMAINS.items() for v in vendors]
    if vendor not in PROVIDERS or (domain and vendor not in DOMAINS.get(domain, ())):
        close = difflib.get_close_matches(name, [*known, *PROVIDERS], n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"no provider {name!r}{hint}; there are: {', '.join(known)}")
    module, _, attribute = PROVIDERS[vendor].partition(":")
    provider: Provider = getattr(importlib.import_module(module), attribute)
    return provider
