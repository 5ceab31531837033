"""What Alpha Vantage permits: of the free plan a day and a second, of the others a minute. No header says anything."""

from __future__ import annotations

from datetime import date

from fin_infra.providers.alphavantage import wire
from fin_infra.quotas.declared import Answer, Plan, Throttle, VendorQuota
from fin_infra.quotas.windows import Rolling, Spacing

SOURCE = "https://www.alphavantage.co/support and .../premium"
READ = date(2026, 11, 24)
A_DAY = 86400.0
COOL_DOWN = 3600.0


def throttle(answer: Answer) -> Throttle:
    """Which limit a text names. A day that is used up is so for everybody with this key."""
    match wire.refusal_word(answer[2]):
        case "burst":
            return Throttle(windows=("second",), wait=2.0)
        case "daily":
            return Throttle(windows=("day",), everywhere=True)
        case "minute":
            return Throttle(windows=("minute",), wait=60.0)
        case _:
            return Throttle(wait=COOL_DOWN, everywhere=True)


QUOTA = VendorQuota(
    plans=(
        Plan(
            "free",
            # when a day begins there is not documented: a rolling one holds whenever it does
            (
                Rolling("day", 25, A_DAY, arrive_within=None), Rolling("second", 1, 1.1, arrive_within=None),
                Spacing("pace", 1.2, for_all=True),
            ),
            READ, f"{SOURCE}: 25 requests a day, and 1 a second since December 2025",
        ),
        *(
            Plan(f"premium_{limit}", (Rolling("minute", limit, 60.0),), READ, f"{SOURCE}: {limit} requests a minute")
            for limit in (75, 150, 300, 600, 1200)
        ),
    ),
    holder="credential",
    throttle=throttle,
)  # fmt: skip
