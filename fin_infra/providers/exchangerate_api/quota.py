"""What ExchangeRate-API permits: requests a month by plan. The day it begins anew is the account's, and known only by
asking `/quota`: until then any 31 days are counted, which holds whatever the day is."""

from __future__ import annotations

from datetime import date, timedelta

from fin_infra.quotas.declared import Answer, Plan, Throttle, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = "https://www.exchangerate-api.com/#pricing"
READ = date(2026, 11, 24)
MONTH = timedelta(days=31).total_seconds()


def _month(limit: int) -> tuple[Rolling, ...]:
    return (Rolling("month", limit, MONTH, arrive_within=None),)


def throttle(answer: Answer) -> Throttle:
    """`quota-reached` is the month's: asked again daily, since its first day is not known. A plain 429 says nothing."""
    _, _, body, _ = answer
    if b"quota-reached" in body:
        return Throttle(windows=("month",), wait=timedelta(days=1).total_seconds())
    return Throttle(wait=timedelta(minutes=20).total_seconds())


QUOTA = VendorQuota(
    plans=(
        Plan("free", _month(1_500), READ, SOURCE),
        Plan("pro", _month(30_000), READ, SOURCE),
        Plan("business", _month(125_000), READ, SOURCE),
        # once an hour is never limited; what is, is not said, only that it lasts twenty minutes
        Plan(
            "open", (Rolling("hour", 3, 3600.0, arrive_within=None),), READ,
            "https://www.exchangerate-api.com/docs/free: once an hour is never limited, a 429 clears after 20 minutes",
        ),
    ),
    holder="credential",
    throttle=throttle,
)  # fmt: skip
