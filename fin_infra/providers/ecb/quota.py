"""What the ECB permits: nothing is published. Its rates change once a day, so little is asked."""

from __future__ import annotations

from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.windows import Rolling

QUOTA = VendorQuota(
    plans=(
        Plan(
            "public", (Rolling("hour", 60, 3600.0, arrive_within=None),), date(2026, 11, 24),
            "https://www.ecb.europa.eu/stats/policy_and_exchange_rates: no limit is stated; ours, out of politeness",
        ),
    ),
    holder="application",
)  # fmt: skip
