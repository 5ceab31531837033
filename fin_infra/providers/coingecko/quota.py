"""What CoinGecko permits: calls a minute and credits a month of a key; without a key calls a minute of the address.

A call is a credit, a refused one too. No header tells what is left, and a Retry-After of 0 says nothing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from fin_infra.providers.coingecko import wire
from fin_infra.quotas.declared import Answer, Plan, Throttle, VendorQuota
from fin_infra.quotas.windows import Calendar, Rolling

PRICING = "https://www.coingecko.com/en/api/pricing"
READ = date(2026, 11, 24)
MINUTE = 60.0
SKEW = timedelta(seconds=5)


def _windows(minute: int, month: int) -> tuple[Rolling | Calendar, ...]:
    return (
        Rolling("minute", minute, MINUTE, arrive_within=None),
        Calendar("month", month, "month", "UTC"),
    )


def throttle(answer: Answer) -> Throttle:
    """The month's credits where it speaks of them: then until the next month. Else a minute."""
    _, _, body, at = answer
    match wire.refusal_word(body):
        case "monthly":
            return Throttle(windows=("month",), wait=_next_month(at))
        case "429":
            return Throttle(windows=("minute",), wait=MINUTE)
        case _:
            return Throttle()


def _next_month(at: datetime) -> float:
    """Seconds until it begins, and a few more: whose clock counts is not known."""
    at = at.astimezone(UTC)
    begin = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return (begin - at + SKEW).total_seconds()


QUOTA = VendorQuota(
    plans=(
        Plan("demo", _windows(30, 10_000), READ, f"{PRICING}: 30 a minute; elsewhere it says 100"),
        Plan("basic", _windows(250, 100_000), READ, PRICING),
        Plan("analyst", _windows(500, 500_000), READ, PRICING),
        Plan("lite", _windows(500, 2_000_000), READ, PRICING),
        # the name of the home: all who call without a key share the address
        Plan(
            "keyless", (Rolling("minute", 5, MINUTE, arrive_within=None),), READ,
            "https://docs.coingecko.com: by address and shared with whoever else is behind it; 5 to 15 by experience",
        ),
    ),
    holder="credential",
    throttle=throttle,
)  # fmt: skip
