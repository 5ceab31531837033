"""What Stripe permits: by account and second, of a live and of a test key each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = "https://docs.stripe.com/rate-limits: of an account; single endpoints may be limited lower"
READ = date(2026, 11, 24)


def home(secrets: Mapping[str, str]) -> str:
    """Test and live share one address; the key's prefix tells them apart."""
    return "test" if secrets.get("secret_key", "").strip().startswith(("sk_test_", "rk_test_")) else ""


QUOTA = VendorQuota(
    plans=(
        Plan("live", (Rolling("requests", 100, 1.0),), READ, SOURCE),
        Plan("test", (Rolling("requests", 25, 1.0),), READ, f"{SOURCE}; all test keys are counted together here"),
    ),
    holder="credential",
)
