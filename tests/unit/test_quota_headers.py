"""What answers say of quotas in their headers, in every form that vendors use. Garbage says nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fin_infra.quotas.declared import Seen
from fin_infra.quotas.headers import LONGEST_WAIT, reset_after, retry_after, seen, wait_told
from tests.unit.helpers import START

# -- Retry-After ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0), ("1", 1.0), ("120", 120.0), ("1.5", 1.5), (" 30 ", 30.0), ("+3", 3.0),
        ("-5", 0.0), ("-inf", 0.0), ("999999999", LONGEST_WAIT), ("inf", LONGEST_WAIT), ("1e400", LONGEST_WAIT),
        ("nan", None), ("", None), ("  ", None), ("soon", None), ("1 minute", None), ("12:00", None), ("0x10", None),
        (format_datetime(START + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(START - timedelta(seconds=90), usegmt=True), 0.0),
        (format_datetime(START + timedelta(days=90), usegmt=True), LONGEST_WAIT),
        ("Tue, 24 Nov 2026 12:01:00 -0000", 60.0), ("Tue, 24 Nov 2026 13:01:00 +0100", 60.0),
        ("Tuesday, 24-Nov-26 12:01:00 GMT", 60.0),
        ("Tue, 99 Nov 2026 12:01:00 GMT", None), ("Tue, 24 Foo 2026 12:01:00 GMT", None),
        ("Tue, 24 Nov 2026 99:01:00 GMT", None),
    ],
)  # fmt: skip
def test_t25_a_wait_is_read_or_is_none(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, START) == seconds


def test_no_header_is_no_wait() -> None:
    assert retry_after({}, START) is None


pieces = st.lists(
    st.sampled_from(["Tue,", "24", "Nov", "2026", "12:01:00", "GMT", "+0100", "-9999", "0", "99999999999999999999", "9999", "-",
                     ":", " ", "Jan", "1"]), max_size=8).map(" ".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(value=st.one_of(pieces, st.text(max_size=20), st.floats().map(str), st.integers().map(str)))
@example("Tue, 24 Nov 99999999999999999999 12:01:00 GMT")
@example("Tue, 24 Nov 2026 12:01:00 +99999999999999999999")
@example("Fri, 31 Dec 9999 23:59:59 -2300")
@example("Mon, 01 Jan 0001 00:00:00 +2300")
def test_whatever_the_header_says_the_wait_is_none_or_within_a_day(value: str) -> None:
    found = retry_after({"retry-after": value}, START)
    assert found is None or 0 <= found <= LONGEST_WAIT


@settings(deadline=None)
@given(moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_any_date_is_a_wait_within_a_day(moment: datetime) -> None:
    found = retry_after({"retry-after": format_datetime(moment, usegmt=True)}, START)
    assert found is not None
    assert 0 <= found <= LONGEST_WAIT


# -- X-RateLimit-Reset ---------------------------------------------------------------------------------------------------

NOW = int(START.timestamp())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (str(NOW + 45), 45.0), (str(NOW), 0.0), (str(NOW - 45), 0.0), (str(NOW + 10**6), LONGEST_WAIT), (f" {NOW + 1} ", 1.0),
        ("0", 0.0), ("30", 30.0), ("86400", LONGEST_WAIT), ("86401", LONGEST_WAIT), ("1000000000", LONGEST_WAIT),
        ("1000000001", 0.0), ("999999999999", LONGEST_WAIT),
        (str(NOW * 1000), None),  # milliseconds: no vendor's way that we know
        ("", None), ("soon", None), ("-1", None), ("1.5", None), ("٣٠", None), ("30,30", None),
    ],
)  # fmt: skip
def test_t25_a_reset_is_an_instant_or_a_span(value: str, seconds: float | None) -> None:
    assert reset_after({"x-ratelimit-reset": value}, START) == seconds


def test_a_reset_is_measured_from_the_answers_moment_to_the_fraction() -> None:
    at = START + timedelta(milliseconds=250)
    assert reset_after({"x-ratelimit-reset": str(NOW + 1)}, at) == pytest.approx(0.75)
    assert reset_after({}, at) is None


@settings(max_examples=300, deadline=None)
@given(value=st.one_of(st.text(max_size=15), st.integers(0, 10**15).map(str), st.floats().map(str)))
def test_whatever_the_reset_says_the_wait_is_none_or_within_a_day(value: str) -> None:
    found = reset_after({"x-ratelimit-reset": value}, START)
    assert found is None or 0 <= found <= LONGEST_WAIT


# -- gate 11: every form of what is left -----------------------------------------------------------------------------------


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


FORMS: list[tuple[str, dict[str, str], float | None, list[Seen]]] = [
    # (what, headers, seconds to wait when it comes with a 429, what it says is left)
    ("nothing", {}, None, []),
    ("Retry-After, seconds", {"retry-after": "7"}, 7.0, []),
    ("Retry-After, an HTTP date", {"retry-after": "Tue, 24 Nov 2026 12:01:00 GMT"}, 60.0, []),
    ("Retry-After, garbage", {"retry-after": "later"}, None, []),
    ("IETF draft", {"ratelimit": '"default";r=50;t=30'}, None, [Seen("default", 50, after(30))]),
    ("IETF draft, spent", {"ratelimit": '"default";r=0;t=30'}, 30.0, [Seen("default", 0, after(30))]),
    (
        "IETF draft with its policy",
        {"ratelimit": '"burst";r=5;t=10, "day";r=0;t=3600', "ratelimit-policy": '"burst";q=100;w=60,"day";q=1000;w=86400'},
        3600.0, [Seen("burst", 5, after(10), 100), Seen("day", 0, after(3600), 1000)],
    ),
    ("IETF draft without a reset", {"ratelimit": '"default";r=9'}, None, [Seen("default", 9)]),
    ("IETF draft, a partition key", {"ratelimit": '"default";r=9;pk=:dHVybg==:;t=3'}, None, [Seen("default", 9, after(3))]),
    ("older draft, one header", {"ratelimit": "limit=100, remaining=50, reset=30"}, None, [Seen("", 50, after(30), 100)]),
    (
        "older draft, a header each",
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "3", "ratelimit-reset": "30"},
        30.0, [Seen("", 3, after(30), 100)],
    ),
    ("a policy alone", {"ratelimit-policy": '"default";q=100;w=60'}, None, []),
    (
        "X-RateLimit, the reset an instant",
        {"x-ratelimit-limit": "200", "x-ratelimit-remaining": "199", "x-ratelimit-reset": str(NOW + 45)},
        45.0, [Seen("", 199, after(45), 200)],
    ),
    (
        "X-RateLimit, the reset a span",
        {"x-ratelimit-limit": "250", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "45"},
        45.0, [Seen("", 0, after(45), 250)],
    ),
    ("X-Rate-Limit", {"x-rate-limit-remaining": "4", "x-rate-limit-reset": "9"}, 9.0, [Seen("", 4, after(9))]),
    ("a reset in the past", {"x-ratelimit-remaining": "4", "x-ratelimit-reset": str(NOW - 9)}, 0.0, [Seen("", 4)]),
    ("a reset in milliseconds", {"x-ratelimit-remaining": "4", "x-ratelimit-reset": str(NOW * 1000)}, None, [Seen("", 4)]),
    ("Retry-After before a reset", {"retry-after": "7", "x-ratelimit-reset": "45"}, 7.0, []),
    ("no figure", {"x-ratelimit-remaining": "many", "ratelimit": "soon"}, None, []),
    ("less than nothing", {"x-ratelimit-remaining": "-1"}, None, []),
    ("half a list", {"ratelimit": '"default";r=50;t=30, "day'}, None, []),
    ("empty", {"ratelimit": "", "x-ratelimit-remaining": "", "retry-after": ""}, None, []),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "wait", "left"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS])
def test_every_form_of_a_limit_is_read(headers: dict[str, str], wait: float | None, left: list[Seen]) -> None:
    assert wait_told(headers, START) == wait
    assert list(seen((200, headers, b"", START))) == left


NAMES = ("retry-after", "ratelimit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset", "x-ratelimit-limit",
         "x-ratelimit-remaining", "x-ratelimit-reset", "x-rate-limit-reset")  # fmt: skip
bits = st.lists(st.sampled_from(['"a"', ";r=", ";t=", "5", "0", "99999999999999", ",", " ", "limit=", "remaining=", '"', ";", "="]),
                max_size=9).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(headers=st.dictionaries(st.sampled_from(NAMES), st.one_of(bits, st.text(max_size=12)), max_size=4))
def test_whatever_headers_say_nothing_breaks_and_nothing_is_negative(headers: dict[str, str]) -> None:
    wait = wait_told(headers, START)
    assert wait is None or 0 <= wait <= LONGEST_WAIT
    for found in seen((429, headers, b"", START)):
        assert found.remaining >= 0
        assert found.reset is None or found.reset >= START
