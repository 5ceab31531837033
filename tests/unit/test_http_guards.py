"""The two corrections money data needs: waits are honoured, and a breaker never wedges."""

from __future__ import annotations

import asyncio

import pytest
from svc_infra.resilience import CircuitBreaker, CircuitBreakerError, CircuitState

from fin_infra.errors import OwnerActionError, QuotaError, TransientError
from fin_infra.runtime.http import GuardedBreaker


def half_open(kind: type[CircuitBreaker]) -> CircuitBreaker:
    """A breaker that is open and may be probed at once."""
    return kind("acme", failure_threshold=1, recovery_timeout=0.0)


async def fails(breaker: CircuitBreaker, *, error: BaseException | None = None) -> None:
    error = error or TransientError("down", vendor_wide=True)
    with pytest.raises(type(error)):
        async with breaker:
            raise error


async def passes(breaker: CircuitBreaker) -> bool:
    try:
        async with breaker:
            pass
    except CircuitBreakerError:
        return False
    return True


async def cancelled_probe(breaker: CircuitBreaker) -> None:
    """A call that is let through and then cancelled, as by a shutdown or a lost lease."""
    inside = asyncio.Event()

    async def call() -> None:
        async with breaker:
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("kind", "heals"), [(CircuitBreaker, False), (GuardedBreaker, True)])
async def test_after_three_cancelled_probes_the_stock_breaker_is_wedged_and_ours_heals(
    kind: type[CircuitBreaker], heals: bool
) -> None:
    breaker = half_open(kind)
    await fails(breaker)
    for _ in range(breaker.half_open_max_calls):
        await cancelled_probe(breaker)
    assert [await passes(breaker) for _ in range(3)] == [heals] * 3
    assert (breaker.state is CircuitState.CLOSED) is heals


async def test_cancelled_probes_at_once_all_give_their_place_back() -> None:
    breaker = half_open(GuardedBreaker)
    await fails(breaker)
    await asyncio.gather(*(cancelled_probe(breaker) for _ in range(3)))
    assert [await passes(breaker) for _ in range(2)] == [True, True]
    assert breaker.state is CircuitState.CLOSED


async def test_a_cancelled_call_is_neither_failure_nor_success() -> None:
    breaker = half_open(GuardedBreaker)
    await cancelled_probe(breaker)
    assert (breaker.state, breaker.stats.failed_calls, breaker.stats.successful_calls) == (CircuitState.CLOSED, 0, 0)


async def test_no_more_probes_than_allowed_are_under_way_at_once() -> None:
    breaker = half_open(GuardedBreaker)
    await fails(breaker)
    release, inside = asyncio.Event(), 0

    async def call() -> None:
        nonlocal inside
        async with breaker:
            inside += 1
            await release.wait()

    tasks = [asyncio.create_task(call()) for _ in range(8)]
    await asyncio.sleep(0.01)
    assert inside == breaker.half_open_max_calls
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_failures_of_the_vendor_as_a_whole_open_it() -> None:
    breaker = GuardedBreaker("acme", failure_threshold=3, recovery_timeout=60.0)
    for _ in range(3):
        await fails(breaker)
    assert not await passes(breaker)


@pytest.mark.parametrize(
    "error", [OwnerActionError("revoked"), TransientError("one bank is down"), QuotaError("slow", retry_after=1.0)]
)
async def test_t29_a_refusal_of_one_credential_never_opens_it(error: Exception) -> None:
    breaker = GuardedBreaker("acme", failure_threshold=3, recovery_timeout=60.0)
    for _ in range(10):
        await fails(breaker, error=error)
    assert await passes(breaker)


async def test_a_refusal_between_failures_shows_that_the_vendor_lives() -> None:
    breaker = GuardedBreaker("acme", failure_threshold=2, recovery_timeout=60.0)
    for _ in range(5):
        await fails(breaker)
        await fails(breaker, error=OwnerActionError("revoked"))
    assert breaker.state is CircuitState.CLOSED


async def test_a_failing_probe_opens_it_again() -> None:
    breaker = GuardedBreaker("acme", failure_threshold=1, recovery_timeout=0.0)
    await fails(breaker)
    await fails(breaker)
    assert breaker.state is CircuitState.OPEN
