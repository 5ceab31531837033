"""What Alpaca permits: by account and minute, of its trading hosts and of market data each for itself."""

from __future__ import annotations

from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.headers import seen
from fin_infra.quotas.windows import Rolling

SOURCE = "https://docs.alpaca.markets/docs/api-rate-limits and .../docs/about-market-data-api"
READ = date(2026, 11, 24)


def _windows(data: int) -> tuple[Rolling, ...]:
    return (
        Rolling("trading", 200, 60.0, endpoints=("trading",)),
        Rolling("data", data, 60.0, endpoints=("data",)),
    )


def _named(host: str, endpoint: str) -> str:
    """A host counts all that it is asked."""
    return "data" if host == "data" else "trading"


QUOTA = VendorQuota(
    plans=(
        Plan("basic", _windows(200), READ, SOURCE),
        Plan("paid", _windows(10_000), READ, f"{SOURCE}: Algo Trader Plus"),
    ),
    holder="credential",
    seen=seen,  # X-RateLimit-Limit, -Remaining and -Reset, epoch seconds, with every answer
    named=_named,
)
