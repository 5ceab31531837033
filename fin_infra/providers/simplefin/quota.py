"""What SimpleFIN's Bridge asks for: 24 requests a day for an access URL. No header tells what is left."""

from __future__ import annotations

from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = (
    "the Bridge's notes for developers, as clients quote them: over it first a warning, then the token may be disabled"
)
READ = date(2026, 11, 24)
DAY = 86_400.0

QUOTA = VendorQuota(plans=(Plan("bridge", (Rolling("day", 24, DAY),), READ, SOURCE),), holder="credential")
