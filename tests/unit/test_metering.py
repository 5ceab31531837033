"""The meter between transport and ledger: what is asked of the ledger before a call, and told to it after."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from fin_infra.connections import Connection
from fin_infra.errors import QuotaError, StoreError, TransientError, UsageError
from fin_infra.providers import resolve
from fin_infra.providers.base import Provider, Refusal
from fin_infra.providers.base import Reply as Answered
from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.providers.transport import Call, Sent, Transport, refusal
from fin_infra.quotas.declared import Answer, Plan, Seen, Throttle, VendorQuota, nothing_seen, unnamed
from fin_infra.quotas.headers import seen
from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.windows import Rolling, Window
from fin_infra.runtime.http import PATIENCE, HttpPool
from fin_infra.settings import Settings
from fin_infra.testing import VirtualClock
from tests.guards import guarded
from tests.unit.helpers import START, one_sentence

MINUTE = (Rolling("minute", 5, 60.0, scope="connection"),)


def acme(
    windows: tuple[Window, ...] = MINUTE, *, reads: Callable[[Answer], Any] = nothing_seen,
    throttle: Callable[[Answer], Throttle] = unnamed, costs: dict[str, int] | None = None, refusals: tuple[Refusal, ...] = (),
) -> Provider:  # fmt: skip
    quota = VendorQuota(
        (Plan("only", windows, date(2026, 11, 24), "a test"),),
        "application",
        seen=reads,
        throttle=throttle,
        costs=costs or {},
    )
    return Provider(
        name="acme", title="Acme", base_url="http://acme.sim", domains={}, auth=lambda secrets: httpx.Auth(), secrets=(),
        refusals=refusals, refusal_word=lambda body: None, sources=(), quota=quota,
    )  # fmt: skip


def told_always(throttle: Throttle, answer: Answer) -> Throttle:
    return throttle


Reply = tuple[int, dict[str, str], bytes]
GOOD: Reply = (200, {}, b"{}")


class Network(httpx.AsyncBaseTransport):
    """Answers what it is given, good answers behind that, each after a while of the clock's; or breaks."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: deque[Reply | Exception] = deque()
        self.asked: list[datetime] = []
        self.takes = 0.2

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(self.clock())
        self.clock.advance(timedelta(seconds=self.takes))
        answer = self.answers.popleft() if self.answers else GOOD
        if isinstance(answer, Exception):
            raise answer
        status, headers, body = answer
        return httpx.Response(status, headers=headers, content=body, request=request)


class Desk:
    """One vendor, one ledger, and transports as the runtime makes them."""

    def __init__(self, provider: Provider, clock: VirtualClock) -> None:
        self.provider = provider
        self.clock = clock
        self.ledger = MemoryLedger(clock)
        self.network = Network(clock)
        self.meter = QuotaMeter(self.ledger, Quotas(), clock)
        self.pool = HttpPool(Settings(_env_file=None), now=clock, meter=self.meter, network=self.network)

    def http(self, connection: str = "con_1", lane: str = "scheduled") -> Transport:
        row = Connection(connection, "ada", "acme", "active", None, 1, START)
        return self.pool.transport(self.provider, row, {}, lane)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["window"].rpartition("#")[2]: row for row in self.ledger.frame().to_dicts()}


@pytest.fixture
def desk(clock: VirtualClock) -> Desk:
    return Desk(acme(), clock)


async def spent(desk: Desk, http: Transport, calls: int = 5) -> None:
    for _ in range(calls):
        await http.get("/x")


# -- before the call -----------------------------------------------------------------------------------------------------


async def test_a_call_that_no_window_admits_is_not_made_and_says_when_and_why(desk: Desk) -> None:
    http = desk.http()
    await spent(desk, http)
    with pytest.raises(QuotaError) as denied:
        await http.get("/x")
    assert len(desk.network.asked) == 5
    error = denied.value
    assert (error.code, error.context["why"], error.context["window"]) == (
        "quota_exhausted",
        "full",
        "acme/app/con_1#minute",
    )
    # the first answer came 0.2 s after START: its unit is free a minute later, and now it is one second past START
    assert error.retry_after == pytest.approx(60.2 - 1.0)
    assert "acme is not asked before 2026-11-24T12:01:01Z: all 5 units in 60 s (minute) are used" in one_sentence(error)
    assert "con_1" not in error.message


@guarded(
    "no long denial is slept through", "runtime/http.py",
    "if error.retry_after > SHORT_WAIT or waited > PATIENCE or refused > 1:", "if refused > 1:",
)  # fmt: skip
async def test_what_takes_longer_than_two_seconds_is_not_waited_for(desk: Desk, clock: VirtualClock) -> None:
    http = desk.http()
    await spent(desk, http)
    before = clock()
    with pytest.raises(QuotaError):
        await http.get("/x")
    assert clock() == before


@guarded(
    "a short denial is waited for to its end",
    "runtime/http.py",
    "waited > PATIENCE or refused",
    "waited > 0 or refused",
)
async def test_a_unit_that_is_free_within_two_seconds_is_waited_for_exactly(desk: Desk, clock: VirtualClock) -> None:
    http = desk.http()
    await spent(desk, http)
    clock.advance(timedelta(seconds=58))
    await http.get("/x")
    assert desk.network.asked[-1] - desk.network.asked[0] == timedelta(seconds=60.2)


async def test_many_short_waits_are_waited_for_while_they_are_bounded(clock: VirtualClock) -> None:
    """A pace of one call in 1.9 seconds: each call waits for its turn, behind those that came before it."""
    desk = Desk(acme((Rolling("minute", 30, 60.0),)), clock)
    http = [desk.http(f"con_{n}") for n in range(5)]
    await asyncio.gather(*(each.get("/x") for each in http))
    gaps = [(b - a).total_seconds() for a, b in zip(desk.network.asked, desk.network.asked[1:], strict=False)]
    assert min(gaps) >= 60 / 31.5 - desk.network.takes  # an answer to somebody else may come between unit and request
    denials = 0

    class Never(MemoryLedger):
        def acquire(self, windows: Any, cost: int = 1, *, lane: Any = "scheduled") -> Grant | Denied:
            nonlocal denials
            denials += 1
            return Denied(1.0, self._now() + timedelta(seconds=1), windows[0], "hold")

    desk.meter._opened = lambda: Never(clock)
    before = clock()
    with pytest.raises(QuotaError, match="more urgent"):
        await desk.http().get("/x")
    assert clock() - before <= timedelta(seconds=PATIENCE)
    assert denials == 16


async def test_the_interactive_lane_is_not_paced(clock: VirtualClock) -> None:
    desk = Desk(acme((Rolling("minute", 30, 60.0),)), clock)
    http = desk.http(lane="interactive")
    await spent(desk, http, 10)
    assert clock() - START == timedelta(seconds=2)


async def test_an_endpoint_may_cost_more_units(clock: VirtualClock) -> None:
    desk = Desk(acme(costs={"/heavy": 4}), clock)
    await desk.http().get("/heavy")
    assert desk.rows()["minute"]["used"] == 4
    await desk.http().get("/light")
    with pytest.raises(QuotaError):
        await desk.http().get("/light")


@guarded(
    "an endpoint that no window counts is counted by one of its own", "providers/metering.py",
    " or bound((UNCOUNTED,), **place, endpoint=endpoint)", "",
)  # fmt: skip
async def test_what_no_window_counts_is_counted_all_the_same(clock: VirtualClock) -> None:
    desk = Desk(acme((Rolling("orders", 5, 60.0, endpoints=("/orders",)),)), clock)
    http = desk.http(lane="interactive")
    await spent(desk, http, 60)
    with pytest.raises(QuotaError):
        await http.get("/x")
    assert len(desk.network.asked) == 60


async def test_a_window_of_an_account_counts_the_calls_about_it(clock: VirtualClock) -> None:
    desk = Desk(acme((Rolling("day", 2, 86400.0, None, scope="account", endpoints=("/accounts/{id}/rows",)),)), clock)
    http = desk.http()
    for account in ("acc_1", "plain", "acc_1", "plain"):
        await http.get(f"/accounts/{account}/rows", account=account)
    with pytest.raises(QuotaError) as denied:
        await http.get("/accounts/plain/rows", account="plain")
    assert "plain" not in denied.value.message
    await http.get("/accounts/acc_2/rows", account="acc_2")
    assert {row["window"]: row["used"] for row in desk.ledger.frame().to_dicts()} == {
        "acme/app/con_1/acc_1#day": 2, "acme/app/con_1/acc_2#day": 1, "acme/app/con_1/plain#day": 2,
    }  # fmt: skip


async def test_without_the_ledger_nobody_is_asked(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> MemoryLedger:
        raise StoreError("the disk is full")

    desk.meter._opened = broken
    for _ in range(3):
        with pytest.raises(QuotaError, match="FIN_INFRA_QUOTA_URL") as denied:
            await desk.http().get("/x")
        one_sentence(denied.value)
    assert (denied.value.retry_after, desk.network.asked) == (5.0, [])
    assert [record.levelname for record in caplog.records] == ["ERROR"], "it is told once a minute"


# -- after it ------------------------------------------------------------------------------------------------------------


@guarded(
    "the answer settles the call", "providers/metering.py",
    "ledger.settle(grant, written=sent.written, success=good)", "ledger.capacity(grant.windows, 0.0)",
)  # fmt: skip
async def test_a_unit_comes_back_a_period_after_the_answer(clock: VirtualClock) -> None:
    desk = Desk(acme((Rolling("minute", 1, 60.0, arrive_within=None, scope="connection"),)), clock)
    http = desk.http()
    await http.get("/x")
    clock.advance(timedelta(seconds=59))
    await http.get("/x")  # waits for the last second
    assert desk.network.asked[1] - START == timedelta(seconds=60.2)


async def test_of_a_slow_answer_the_time_it_was_sent_counts(desk: Desk, clock: VirtualClock) -> None:
    desk.network.takes = 20.0
    await desk.http().get("/x")
    assert desk.rows()["minute"]["reset_at"] == START + timedelta(seconds=61)


@pytest.mark.parametrize(
    ("broken", "counted"),
    [
        (httpx.ConnectError("x"), 0), (httpx.ConnectTimeout("x"), 0), (httpx.PoolTimeout("x"), 0),
        (httpx.ConnectError("certificate verify failed"), 0), (httpx.UnsupportedProtocol("x"), 0),
        (httpx.ReadTimeout("x"), 1), (httpx.RemoteProtocolError("x"), 2), (httpx.WriteError("x"), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)  # fmt: skip
async def test_what_was_never_sent_costs_nothing(desk: Desk, broken: Exception, counted: int) -> None:
    """What broke on the way is tried a second time at once, and may have come to the vendor both times."""
    desk.network.answers.extend([broken, broken])
    with pytest.raises((TransientError, UsageError)):
        await desk.http().get("/x")
    assert (desk.rows()["minute"]["used"], desk.rows()["minute"]["spent"]) == (counted, counted)


async def test_a_cancelled_call_counts_as_sent(desk: Desk) -> None:
    class Hanging(Network):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    desk.pool._network = Hanging(desk.clock)
    call = asyncio.create_task(desk.http().get("/x"))
    for _ in range(20):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert desk.rows()["minute"]["used"] == 1


async def test_a_refusal_gives_the_unit_back_where_only_answers_cost_one(clock: VirtualClock) -> None:
    desk = Desk(acme((Rolling("month", 9, 31 * 86400.0, None, charge="success"),)), clock)
    desk.network.answers.append((500, {}, b""))
    with pytest.raises(TransientError):
        await desk.http().get("/x")
    assert desk.rows()["month"]["used"] == 0
    await desk.http().get("/x")
    assert desk.rows()["month"]["used"] == 1


async def test_a_second_settle_changes_nothing(desk: Desk, clock: VirtualClock) -> None:
    call = Call(desk.provider, "con_1", "/x", holder="acme/app")
    grant = await desk.meter.acquire(call)
    for _ in range(3):
        await desk.meter.settle(grant, Sent(True, clock()))
        clock.advance(timedelta(seconds=5))
    assert desk.rows()["minute"]["reset_at"] == START + timedelta(seconds=60)
    await desk.meter.settle(grant, Sent(False))
    assert desk.rows()["minute"]["used"] == 1


async def test_a_ledger_that_breaks_after_the_call_loses_no_answer(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    class Breaking(MemoryLedger):
        def settle(self, grant: Grant, **more: Any) -> None:
            raise StoreError("the disk is full")

    ledger = Breaking(desk.clock)
    desk.meter._opened = lambda: ledger
    assert (await desk.http().get("/x")).status == 200
    assert "the disk is full" in caplog.text


async def test_what_the_vendor_says_is_left_counts(clock: VirtualClock) -> None:
    desk = Desk(acme(reads=seen), clock)
    desk.network.answers.append(
        (200, {"X-RateLimit-Remaining": "1", "X-RateLimit-Limit": "5", "X-RateLimit-Reset": "30"}, b"{}")
    )
    http = desk.http()
    await spent(desk, http, 2)
    with pytest.raises(QuotaError) as denied:
        await http.get("/x")
    assert denied.value.retry_after == pytest.approx(30.2 - 0.4)


async def test_a_named_window_is_the_one_that_the_vendor_speaks_of(clock: VirtualClock) -> None:
    windows = (Rolling("burst", 50, 60.0, scope="connection"), Rolling("day", 100, 86400.0, None))
    desk = Desk(acme(windows, reads=lambda answer: [Seen("day", 7), Seen("nobody", 0)]), clock)
    await desk.http().get("/x")
    assert {name: row["used"] for name, row in desk.rows().items()} == {"burst": 1, "day": 93}


# -- refusals ------------------------------------------------------------------------------------------------------------


@guarded(
    "a vendor's wait is the ledger's", "providers/metering.py",
    "ledger.penalize(list(stopped.values()), reply.at + timedelta(seconds=wait))", "pass",
)  # fmt: skip
async def test_t25_who_was_told_to_wait_waits_in_every_process(desk: Desk, clock: VirtualClock) -> None:
    desk.network.answers.append((429, {"Retry-After": "600"}, b""))
    with pytest.raises(QuotaError) as told:
        await desk.http().get("/x")
    assert (told.value.code, told.value.retry_after) == ("rate_limited", 600.0)
    other = Desk(desk.provider, clock)
    other.ledger = desk.ledger
    other.meter._opened = lambda: desk.ledger
    clock.advance(timedelta(seconds=100))
    with pytest.raises(QuotaError, match="asked us to wait") as denied:
        await other.http().get("/x")
    assert (denied.value.code, denied.value.retry_after) == ("quota_exhausted", 500.0)
    assert "2026-11-24T12:10:01" in one_sentence(denied.value)
    assert other.network.asked == []
    clock.advance(timedelta(seconds=500))
    await other.http().get("/x")


async def test_a_short_wait_the_vendor_asks_for_is_waited_for_once(clock: VirtualClock) -> None:
    desk = Desk(acme((Rolling("minute", 50, 60.0, scope="connection"),)), clock)
    desk.network.answers.append((429, {"Retry-After": "1"}, b""))
    await desk.http().get("/x")
    assert desk.network.asked[1] - desk.network.asked[0] == timedelta(seconds=1.2)
    desk.network.answers.extend([(429, {"Retry-After": "1"}, b"")] * 9)
    with pytest.raises(QuotaError):
        await desk.http().get("/x")
    assert len(desk.network.asked) == 4


@pytest.mark.parametrize("headers", [{"X-RateLimit-Reset": "45"}, {"RateLimit": '"default";r=0;t=45'}])
async def test_a_reset_is_a_wait_of_a_refused_call(desk: Desk, headers: dict[str, str]) -> None:
    desk.network.answers.append((429, headers, b""))
    with pytest.raises(QuotaError) as told:
        await desk.http().get("/x")
    assert told.value.retry_after == 45.0
    assert desk.rows()["minute"]["blocked_until"] == desk.clock() + timedelta(seconds=45)


async def test_a_refusal_is_counted_and_told_with_the_state_of_its_windows(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.network.answers.append((429, {}, b""))
    with pytest.raises(QuotaError):
        await desk.http().get("/accounts/acc_77/x")
    assert desk.rows()["minute"]["throttled"] == 1
    [record] = [record for record in caplog.records if record.name == "fin_infra.quotas"]
    assert record.levelno == logging.WARNING
    said = record.getMessage()
    assert "acme refused /accounts/{id}/x because of a limit (429)" in said
    assert "minute 1 of 4 used, blocked until 2026-11-24 12:01:00.2" in said
    assert "con_1" not in said


async def test_a_refusal_speaks_of_the_windows_it_names_or_that_are_as_long_as_the_wait(clock: VirtualClock) -> None:
    windows = (
        Rolling("minute", 50, 60.0, scope="connection"),
        Rolling("burst", 90, 600.0),
        Rolling("day", 99, 86400.0, None),
    )
    told: dict[str, tuple[dict[str, str], Throttle]] = {
        "burst": ({}, Throttle()), "day": ({"Retry-After": "7200"}, Throttle()), "minute": ({}, Throttle("connection")),
    }  # fmt: skip
    for blocked, (headers, throttle) in told.items():
        desk = Desk(acme(windows, throttle=partial(told_always, throttle)), clock)
        desk.network.answers.append((429, headers, b""))
        with pytest.raises(QuotaError):
            await desk.http().get("/x")
        assert [
            name for name, row in desk.rows().items() if row["blocked_until"] and row["blocked_until"] > clock()
        ] == [blocked]
    desk = Desk(acme(windows, throttle=lambda answer: Throttle(windows=("day", "minute"), wait=5.0)), clock)
    desk.network.answers.append((429, {}, b""))
    with pytest.raises(QuotaError):
        await desk.http().get("/x")
    assert {name: row["throttled"] for name, row in desk.rows().items()} == {"burst": 0, "day": 1, "minute": 1}


async def test_a_spent_day_is_waited_for_to_its_end_and_not_for_a_minute(clock: VirtualClock) -> None:
    """ "No more today", as text with status 200, from a key that somebody else uses too."""
    desk = Desk(
        acme((Rolling("day", 25, 86400.0, None),), throttle=lambda answer: Throttle(windows=("day",)),
             refusals=(Refusal(429, "", "quota_exhausted", "the day's calls are used"),)), clock,
    )  # fmt: skip
    await desk.http().get("/x")
    clock.advance(timedelta(hours=1))
    desk.network.answers.append((429, {}, b""))
    with pytest.raises(QuotaError) as told:
        await desk.http().get("/x")
    # what we spent an hour ago is the first to come back
    assert told.value.retry_after == pytest.approx(23 * 3600, abs=2)
    assert "the day's calls are used" in told.value.message
    clock.advance(timedelta(hours=22, minutes=59))
    with pytest.raises(QuotaError):
        await desk.http().get("/x")
    assert len(desk.network.asked) == 2


async def test_a_vendor_that_is_down_until_it_says_is_left_alone(desk: Desk) -> None:
    desk.network.answers.append((503, {"Retry-After": "300"}, b""))
    with pytest.raises(TransientError) as down:
        await desk.http().get("/x")
    assert down.value.code == "vendor_unavailable"
    with pytest.raises(QuotaError) as denied:
        await desk.http().get("/x")
    assert (denied.value.retry_after, desk.rows()["minute"]["throttled"]) == (300.0, 0)


async def test_plaids_limits_are_those_that_it_names() -> None:
    clock = VirtualClock(START)
    plaid, said = resolve("plaid"), b'{"error_code": "%s", "error_message": "rate limit exceeded for %s"}'
    desk = Desk(plaid, clock)
    cases = [
        ("/item/get", b"ITEM_GET_LIMIT", b"attempts to access this item", {"item.item"}),
        ("/accounts/get", b"ACCOUNTS_LIMIT", b"this client", {"accounts.client"}),
    ]
    for path, word, whom, blocked in cases:
        grant = await desk.meter.acquire(Call(plaid, "con_1", path, holder="plaid/app"))
        reply = Answered(429, {}, said % (word, whom), clock())
        wait = await desk.meter.settle(grant, Sent(True, clock(), reply, refusal(plaid, reply)))
        assert wait == 60.0
        held = {name for name, row in desk.rows().items() if row["blocked_until"] and row["blocked_until"] > clock()}
        assert held == blocked
        clock.advance(timedelta(minutes=2))
    grant = await desk.meter.acquire(Call(plaid, "con_1", "/item/get", holder="plaid/app"))
    reply = Answered(429, {}, said % (b"RATE_LIMIT", b"this item"), clock())
    await desk.meter.settle(grant, Sent(True, clock(), reply, refusal(plaid, reply)))
    with pytest.raises(QuotaError):
        await desk.meter.acquire(Call(plaid, "con_1", "/transactions/sync", holder="plaid/app"))
    await desk.meter.acquire(Call(plaid, "con_2", "/transactions/sync", holder="plaid/app"))


# -- gate 8: a limit that is not the declared one ------------------------------------------------------------------------


class Emulated(httpx.AsyncBaseTransport):
    """Permits so many calls in any minute; `strict`: refused ones count too."""

    def __init__(self, clock: VirtualClock, limit: int, *, strict: bool) -> None:
        self.clock, self.limit, self.strict = clock, limit, strict
        self.taken: deque[datetime] = deque()
        self.answered = self.refused = 0
        self.draw = random.Random(7)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        there = self.draw.uniform(0.025, 0.25)
        self.clock.advance(timedelta(seconds=there))
        while self.taken and self.clock() - self.taken[0] >= timedelta(seconds=60):
            self.taken.popleft()
        good = len(self.taken) < self.limit
        if good or self.strict:
            self.taken.append(self.clock())
        self.answered, self.refused = self.answered + good, self.refused + (not good)
        self.clock.advance(timedelta(seconds=there))
        return httpx.Response(200 if good else 429, content=b"{}", request=request)


@guarded("a refusal lowers the limit", "providers/metering.py", "ledger.throttled(grant, windows)", "pass")
@pytest.mark.parametrize("strict", [False, True])
async def test_a_limit_of_two_thirds_is_learned(clock: VirtualClock, strict: bool) -> None:
    """Configured 30 a minute, permitted 20: fewer than one in 200 is refused, most of what is permitted is used."""
    provider, network = acme((Rolling("minute", 30, 60.0),)), Emulated(clock, 20, strict=strict)
    meter = QuotaMeter(MemoryLedger(clock), Quotas(), clock)
    async with httpx.AsyncClient(transport=network, base_url="http://acme.sim") as client:
        http = Transport(
            provider, client, httpx.Auth(), connection_id="con_1", now=clock, meter=meter, holder="acme/app"
        )
        hours = 12
        while clock() < START + timedelta(hours=hours):
            try:
                await http.get("/x")
            except QuotaError as error:
                clock.advance(timedelta(seconds=error.retry_after))
    asked = network.answered + network.refused
    assert network.refused / asked < 0.005
    assert network.answered / (20 * 60 * hours) > 0.85
