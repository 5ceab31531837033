"""What answers say of quotas in their headers: how long to wait, and what is left. Header names come in lower case.

Pure; garbage is nothing said, never an error. Sources: RFC 9110, section 10.2.3 (Retry-After); the IETF draft
draft-ietf-httpapi-ratelimit-headers in its newest form (`RateLimit: "p";r=50;t=30`, `RateLimit-Policy: "p";q=100;w=60`)
and its older ones (`RateLimit: limit=100, remaining=50, reset=30` and a header each); `X-RateLimit-…`, of which some
vendors give the reset as an instant and some as a span.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from fin_infra.quotas.declared import Answer, Seen

LONGEST_WAIT = 24 * 3600.0
EPOCH_SECONDS = 1_000_000_000  # a reset above this is an instant, below it a span
LATEST = timedelta(days=400)  # a reset behind it says nothing

_PARAMETER = re.compile(r';\s*([a-z]+)\s*=\s*"?([0-9]{1,12})"?')
_ITEM = re.compile(r'\s*"([^"]*)"((?:\s*;\s*[a-z]+\s*=\s*(?:"[^"]*"|[^,;"\s]+))*)\s*(?:,|$)')
_OLD = re.compile(r"\b(limit|remaining|reset)\s*=\s*([0-9]{1,12})\b")
_FAMILIES = ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
_OF_ONE_ACCOUNT = "x-ratelimit-account-"  # of a vendor that limits each account beside the key


def retry_after(headers: Mapping[str, str], at: datetime) -> float | None:
    """Seconds to wait by `Retry-After` (seconds or an HTTP date), between 0 and a day; None when it says nothing."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - at).total_seconds()
    if seconds != seconds:  # "nan" is a float to Python
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def reset_after(headers: Mapping[str, str], at: datetime) -> float | None:
    """The same by `X-RateLimit-Reset` and its like: epoch seconds at some vendors, a span in seconds at others."""
    for family in ("x-ratelimit-", "x-rate-limit-", "ratelimit-"):
        seconds = _span(headers.get(f"{family}reset", ""), at)
        if seconds is not None:
            return min(max(seconds, 0.0), LONGEST_WAIT)
    return None


def wait_told(headers: Mapping[str, str], at: datetime) -> float | None:
    """Seconds that a refused call shall wait: by `Retry-After`, else by the reset of the window that is spent."""
    told = retry_after(headers, at)
    if told is not None:
        return told
    if headers.get(f"{_OF_ONE_ACCOUNT}remaining", "").strip() == "0":
        seconds = _span(headers.get(f"{_OF_ONE_ACCOUNT}reset", ""), at)
        if seconds is not None:
            return min(max(seconds, 0.0), LONGEST_WAIT)
    reset = reset_after(headers, at)
    if reset is not None:
        return reset
    spent = [(found.reset - at).total_seconds() for found in _draft(headers, at) if found.reset and not found.remaining]
    return min(max(*spent, 0.0), LONGEST_WAIT) if spent else None


def seen(answer: Answer) -> Sequence[Seen]:
    """What an answer says is left of each window that it names, `()` when it says nothing.

    A window of the newest draft has the name of its policy, the others "": the one it must be.
    """
    _, headers, _, at = answer
    found = _draft(headers, at)
    if found:
        return found
    for family in _FAMILIES:
        remaining = _whole(headers.get(f"{family}remaining", ""))
        if remaining is not None:
            limit = _whole(headers.get(f"{family}limit", "").split(",")[0].split(";")[0])
            return (Seen("", remaining, _instant(_span(headers.get(f"{family}reset", ""), at), at), limit),)
    return ()


def _draft(headers: Mapping[str, str], at: datetime) -> tuple[Seen, ...]:
    """The header `RateLimit`, newest form or older."""
    value = headers.get("ratelimit", "").strip()
    if not value:
        return ()
    quotas = {name: parts.get("q") for name, parts in _items(headers.get("ratelimit-policy", ""))}
    items = _items(value)
    if items:
        return tuple(
            Seen(name, parts["r"], _instant(parts.get("t"), at), quotas.get(name))
            for name, parts in items
            if "r" in parts
        )
    old = {name: int(digits) for name, digits in _OLD.findall(value)}
    if "remaining" not in old:
        return ()
    return (Seen("", old["remaining"], _instant(old.get("reset"), at), old.get("limit")),)


def _items(value: str) -> list[tuple[str, dict[str, int]]]:
    """A list of strings with whole-number parameters: `"a";r=1;t=2, "b";r=3`; nothing of one that breaks the form."""
    found, place = list[tuple[str, dict[str, int]]](), 0
    while place < len(value):
        match = _ITEM.match(value, place)
        if match is None or match.end() == place:
            return []
        found.append((match[1], {name: int(digits) for name, digits in _PARAMETER.findall(match[2])}))
        place = match.end()
    return found


def _whole(value: str) -> int | None:
    value = value.strip()
    return int(value) if re.fullmatch(r"[0-9]{1,12}", value) else None


def _span(value: str, at: datetime) -> float | None:
    """Seconds from `at`, of an instant or a span."""
    number = _whole(value)
    if number is None:
        return None
    return number - at.timestamp() if number > EPOCH_SECONDS else float(number)


def _instant(seconds: float | None, at: datetime) -> datetime | None:
    if seconds is None or not 0 <= seconds <= LATEST.total_seconds():
        return None
    return at + timedelta(seconds=seconds)
