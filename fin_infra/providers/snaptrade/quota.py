"""What SnapTrade permits: by application and minute, and with a personal key by account and minute too.

The headers tell what is left. Their reset is the seconds to wait, never an instant. A 429 may come without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from fin_infra.quotas.declared import Answer, Plan, Seen, Throttle, VendorQuota
from fin_infra.quotas.windows import Rolling

SOURCE = "https://docs.snaptrade.com/docs/ratelimiting"
READ = date(2026, 8, 22)
CLIENT = Rolling("client", 250, 60.0)
ACCOUNT = Rolling("account", 10, 60.0, scope="account")
FAMILIES: Mapping[str, str] = {"client": "x-ratelimit-", "account": "x-ratelimit-account-"}
"""The headers of a window, by its name."""
NO_WORD = 30.0  # seconds: what is waited after a 429 that says nothing; the windows roll over 60


def seen(answer: Answer) -> Sequence[Seen]:
    """What is left in each window that the answer tells of."""
    _, headers, _, at = answer
    found = [_seen(name, headers, family, at) for name, family in FAMILIES.items()]
    return [one for one in found if one is not None]


def throttle(answer: Answer) -> Throttle:
    """Which limit a 429 met, by the window that has nothing left, and how long to wait: by its reset, else its text."""
    for window in (ACCOUNT, CLIENT):
        family = FAMILIES[window.key]
        if answer[1].get(f"{family}remaining", "").strip() == "0":
            return Throttle(window.scope, (window.key,), _seconds(answer[1], f"{family}reset"))
    told = re.search(rb"available in ([0-9]{1,5}) second", answer[2])
    return Throttle("key", (CLIENT.key,), float(told[1]) if told else NO_WORD)


def _seen(name: str, headers: Mapping[str, str], family: str, at: datetime) -> Seen | None:
    remaining, limit = _seconds(headers, f"{family}remaining"), _seconds(headers, f"{family}limit")
    if remaining is None:
        return None
    reset = _seconds(headers, f"{family}reset")
    until = at + timedelta(seconds=reset) if reset is not None else None
    return Seen(name, int(remaining), until, int(limit) if limit is not None else None)


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    """A whole number of at most five digits: more is no span of a window of a minute."""
    said = headers.get(name, "").strip()
    return float(said) if re.fullmatch(r"[0-9]{1,5}", said) else None


QUOTA = VendorQuota(
    plans=(Plan("commercial", (CLIENT,), READ, SOURCE), Plan("personal", (CLIENT, ACCOUNT), READ, SOURCE)),
    holder="application",
    seen=seen,
    throttle=throttle,
)
