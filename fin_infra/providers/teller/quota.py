"""What Teller permits. It publishes no figures: these are low enough to be let through, and a 429 lowers them."""

from __future__ import annotations

from datetime import date

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = "https://teller.io/docs/api: limits exist, their figures are not published"
READ = date(2026, 11, 24)


def _windows(application: int, connection: int) -> tuple[Rolling, ...]:
    """Ours, not the vendor's. Ten minutes for all, so that a first read of a login, some twenty calls, is not paced by
    a figure that nobody stated."""
    return (
        Rolling("application", application, 600.0),
        Rolling("connection", connection, 60.0, scope="connection"),
    )


QUOTA = VendorQuota(
    plans=(
        Plan("production", _windows(3000, 60), READ, SOURCE),
        Plan("development", _windows(600, 30), READ, f"{SOURCE}; development is limited harder than production"),
    ),
    holder="application",
)
