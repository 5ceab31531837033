"""What SnapTrade's answers say of its limits, and what the worker does about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fin_infra.providers.snaptrade.quota import NO_WORD, QUOTA, seen, throttle
from fin_infra.quotas.declared import Seen, Throttle
from fin_infra.quotas.headers import wait_told
from tests.guards import guarded
from tests.providers.snaptrade.broker import SnaptradeWorld, brokerage, set_keys, shares, snaptrade_of

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
FILE = "providers/snaptrade/quota.py"


def limits(remaining: str, reset: str, family: str = "x-ratelimit-", limit: str = "250") -> dict[str, str]:
    return {f"{family}limit": limit, f"{family}remaining": remaining, f"{family}reset": reset}


def of_account(remaining: str, reset: str) -> dict[str, str]:
    return limits(remaining, reset, "x-ratelimit-account-", "10")


@guarded("A reset is a span", FILE, "at + timedelta(seconds=reset)", "datetime.fromtimestamp(reset, at.tzinfo)")
def test_a_reset_is_the_seconds_to_wait() -> None:
    found = seen((200, {**limits("249", "60"), **of_account("9", "41")}, b"", AT))
    assert found == [
        Seen("client", 249, AT + timedelta(seconds=60), 250), Seen("account", 9, AT + timedelta(seconds=41), 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "headers", [{}, limits("", "60"), limits("-1", "60"), limits("many", "60"), limits("1795521630", "60")]
)
def test_garbage_is_nothing_said(headers: dict[str, str]) -> None:
    assert seen((200, headers, b"", AT)) == []


def test_a_reset_that_is_no_span_says_nothing_of_when() -> None:
    assert seen((200, limits("3", "1795521630"), b"", AT)) == [Seen("client", 3, None, 250)]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (limits("0", "17"), b"", Throttle("key", ("client",), 17.0)),
        ({**limits("200", "17"), **of_account("0", "43")}, b"", Throttle("account", ("account",), 43.0)),
        (
            {},
            b'{"detail": "Request was throttled. Expected available in 7 seconds."}',
            Throttle("key", ("client",), 7.0),
        ),
        ({}, b"{}", Throttle("key", ("client",), NO_WORD)),
        (limits("0", "soon"), b"", Throttle("key", ("client",), None)),
    ],
)
def test_a_429_tells_its_limit_and_its_wait(headers: dict[str, str], body: bytes, expected: Throttle) -> None:
    assert throttle((429, headers, body, AT)) == expected


@guarded(
    "The wait of the account's limit",
    "quotas/headers.py",
    '.strip() == "0":\n        seconds',
    '.strip() == "x":\n        seconds',
)
def test_the_wait_is_the_accounts_where_its_limit_is_met() -> None:
    assert wait_told({**limits("200", "17"), **of_account("0", "43")}, AT) == 43.0
    assert wait_told({**limits("0", "17"), **of_account("4", "43")}, AT) == 17.0
    assert wait_told({**limits("200", "17"), **of_account("0", "soon")}, AT) == 17.0


def test_all_users_share_the_applications_quota_and_a_personal_key_counts_accounts_too() -> None:
    assert QUOTA.holder == "application"
    commercial, personal = QUOTA.plans
    assert [(w.key, w.scope) for w in commercial.windows] == [("client", "key")]
    assert [(w.key, w.scope) for w in personal.windows] == [("client", "key"), ("account", "account")]


@pytest.fixture
def personal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnaptradeWorld]:
    set_keys(monkeypatch)
    with snaptrade_of(tmp_path, personal=True, account_limit=2) as found:
        yield found


async def test_a_429_of_one_account_waits_for_the_seconds_it_says(personal: SnaptradeWorld) -> None:
    personal.has(brokerage("acc_1", shares("AAPL"), total="1250.00"))
    await personal.link()
    await personal.sync("accounts")
    assert (await personal.sync("holdings")).outcome == "ok"
    personal.clock.advance(timedelta(seconds=20))
    report = await personal.sync("activities")
    assert (report.outcome, report.error_code, report.follow_up.after) == ("later", "rate_limited", 40.0)
    assert (await personal.sync("activities", timedelta(seconds=41))).outcome == "ok"


async def test_a_personal_plan_is_never_refused(personal: SnaptradeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_SNAPTRADE_PLAN", "personal")
    personal.sim.account_limit = 10
    personal.has(brokerage("acc_1", shares("AAPL"), total="1250.00"))
    await personal.link()
    outcomes = [(await personal.sync(name)).error_code for _ in range(8) for name in ("accounts", "holdings")]
    assert set(outcomes) <= {None, "quota_exhausted"}
    assert "quota_exhausted" in outcomes


async def test_a_429_without_headers_waits_as_its_text_says(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1"))
    await broker.link()
    broker.sim.quiet = True
    broker.sim.limit = 1
    report = await broker.sync("accounts")
    assert (report.outcome, report.error_code) == ("later", "rate_limited")
    assert report.follow_up.after == 60.0
