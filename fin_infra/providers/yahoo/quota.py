"""What Yahoo permits: nothing is published, and no answer tells. A low plan of our own, by address."""

from __future__ import annotations

from datetime import date, timedelta

from fin_infra.quotas.declared import Answer, Plan, Throttle, VendorQuota
from fin_infra.quotas.windows import Rolling, Spacing


def throttle(answer: Answer) -> Throttle:
    """It refuses an address, for minutes to hours, and does not say for how long: everybody here waits."""
    return Throttle(windows=("hour",), wait=timedelta(minutes=15).total_seconds(), everywhere=True)


QUOTA = VendorQuota(
    plans=(
        Plan(
            "unpublished",
            (Rolling("hour", 300, 3600.0, arrive_within=None), Spacing("pace", 2.0)),
            date(2026, 11, 24),
            "nothing is published; users told of about 2,000 requests an hour and address years ago, and of far fewer "
            "since 2025 (https://github.com/ranaroussi/yfinance/issues): ours, low on purpose",
        ),
    ),
    holder="application",
    throttle=throttle,
)
