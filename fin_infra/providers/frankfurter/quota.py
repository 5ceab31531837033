"""What Frankfurter permits: nothing is published, fair use. Volunteers host it; one's own host may be asked more."""

from __future__ import annotations

from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.headers import seen
from fin_infra.quotas.windows import Rolling

QUOTA = VendorQuota(
    plans=(
        Plan(
            "public", (Rolling("hour", 300, 3600.0, arrive_within=None),), date(2026, 11, 24),
            "https://frankfurter.dev: no quota, fair use, throttling with 429 possible; ours, out of politeness",
        ),
        Plan(
            "own", (Rolling("minute", 1000, 60.0),), date(2026, 11, 24), "one's own host"
        ),
    ),
    holder="application",
    seen=seen,
)  # fmt: skip
