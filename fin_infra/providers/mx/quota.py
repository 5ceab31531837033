"""What MX permits: by client and method, each second. No header tells what is left."""

from __future__ import annotations

from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = "https://docs.mx.com/api-reference/platform-api/overview/rate-limits"
READ = date(2026, 7, 23)
GETS = Rolling("get", 2000, 1.0)

QUOTA = VendorQuota(
    plans=(
        Plan("production", (GETS,), READ, SOURCE),
        Plan("integration", (GETS,), READ, SOURCE),
    ),
    holder="application",
)
