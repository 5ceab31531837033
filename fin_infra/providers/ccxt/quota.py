"""What the three exchanges permit without a key, by address: so many calls a second, or weight a minute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from fin_infra.quotas.declared import Answer, Plan, Seen, VendorQuota
from fin_infra.quotas.windows import Rolling

READ = date(2026, 11, 24)
KRAKEN = VendorQuota(
    plans=(
        Plan(
            "public", (Rolling("public", 1, 1.0),), READ,
            "https://support.kraken.com/articles/206548367: about one public call a second by address and pair; the "
            "library keeps the same",
        ),
    ),
    holder="application",
)  # fmt: skip
COINBASE = VendorQuota(
    plans=(
        Plan(
            "public", (Rolling("public", 10, 1.0),), READ,
            "https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits: 10 a second by address, bursts of 15",
        ),
    ),
    holder="application",
)  # fmt: skip
WEIGHT = 6000


def binance_seen(answer: Answer) -> Sequence[Seen]:
    """Every answer says the weight that the address used in this minute."""
    used = answer[1].get("x-mbx-used-weight-1m", "")
    return (Seen("weight", max(0, WEIGHT - int(used)), limit=WEIGHT),) if used.isdecimal() else ()


BINANCE = VendorQuota(
    plans=(
        Plan(
            "public", (Rolling("weight", WEIGHT, 60.0),), READ,
            "https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits: weight 6,000 a minute by "
            "address; a call for candles weighs 2. After 429 an address that goes on is banned (418)",
        ),
    ),
    holder="application",
    costs={"/api/v3/klines": 2},
    seen=binance_seen,
)  # fmt: skip
