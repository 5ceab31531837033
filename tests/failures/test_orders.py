"""What an order survives: silence, refusals, crashes, other processes, the night, a wrong clock. Each is placed once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.connections import Connections, open_vault
from fin_infra.errors import NotReady, OwnerActionError, QuotaError, TransientError, UsageError, WireError
from fin_infra.orders import OrderBooks, client_order_id
from fin_infra.providers import resolve
from fin_infra.providers.alpaca import ordering
from fin_infra.providers.alpaca.book import body_of
from fin_infra.providers.transport import Call
from fin_infra.runtime.ordering import open_orders
from tests.guards import guarded
from tests.orders_world import NIGHT, OPEN_HOURS, SECRETS, Killed, OrdersWorld, orders_of

SETTLED = timedelta(seconds=181)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrdersWorld]:
    with orders_of(tmp_path) as found:
        yield found


# -- what became of it -------------------------------------------------------------------------------------------------


def test_the_id_of_a_key_never_changes() -> None:
    """An order whose record was lost is found again by it: were it made otherwise, it would be bought twice."""
    assert (
        client_order_id("ada", "con_1", "k1") == "fi1-c7ba0ec7c689d205c554877c633a669118490c488fe19b050d8b61e4ddabd1b5"
    )
    ids = {client_order_id(*three) for three in [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("a", "b", "ć")]}
    assert len(ids) == 4
    assert len(client_order_id("a" * 500, "b" * 500, "c" * 200)) <= 128


@pytest.mark.parametrize("fate", ["silent", "cut", "done:504", "done:500", "garbage"])
@guarded(
    "an order that was not answered is looked up", "orders/placing.py",
    "        if found is not None:\n            return self._accepted(order, found)\n        if refused:",
    "        if refused:",
)  # fmt: skip
async def test_an_order_that_arrived_without_an_answer_is_found(world: OrdersWorld, fate: str) -> None:
    world.next_post(fate)
    order = await world.submit()
    assert (order.state, order.attempts, [one.id for one in world.placed]) == ("accepted", 1, [order.vendor_id])
    assert await world.submit() == order
    assert len(world.road.posts) == 1


@pytest.mark.parametrize("fate", ["lost", "500", "503"])
async def test_an_order_that_did_not_arrive_is_sent_again_once_nothing_of_it_can(world: OrdersWorld, fate: str) -> None:
    world.next_post(fate)
    with pytest.raises(NotReady, match=r"nobody knows yet whether the order 'k1' was placed.* in 180 s"):
        await world.submit()
    assert world.recorded().state == "unknown"  # type: ignore[union-attr]
    world.clock.advance(timedelta(seconds=100))
    with pytest.raises(NotReady, match="in 80 s"):
        await world.submit()
    assert len(world.road.posts) == 1
    world.clock.advance(timedelta(seconds=81))
    order = await world.submit()
    assert (order.state, order.attempts, len(world.placed)) == ("accepted", 2, 1)


async def test_an_order_that_arrives_late_is_not_sent_again(world: OrdersWorld) -> None:
    world.next_post("late:120")
    with pytest.raises(NotReady):
        await world.submit()
    world.clock.advance(SETTLED)
    order = await world.submit()
    assert (order.state, order.attempts, len(world.placed), len(world.road.posts)) == ("accepted", 1, 1, 1)


@guarded(
    "a refusal is looked up", "orders/placing.py",
    "            return await self._looked_up(desk, order, error, refused=verdict == \"refused\")",
    "            return self._rejected(order, error)",
)  # fmt: skip
async def test_an_order_later_than_anyone_waits_for_is_still_one(world: OrdersWorld) -> None:
    world.next_post("late:181")
    with pytest.raises(NotReady):
        await world.submit()
    world.clock.advance(SETTLED - timedelta(seconds=1))
    world.road.pause = lambda: 0
    before = world.road.fate

    def arrives_now(request: object) -> str:  # after the look-up, before the second attempt
        if getattr(request, "method", "") == "POST":
            world.clock.advance(timedelta(seconds=2))
        return before(request)  # type: ignore[arg-type]

    world.road.fate = arrives_now
    order = await world.submit()
    assert (order.state, order.attempts, len(world.placed)) == ("accepted", 2, 1)
    assert world.account.order_book.duplicates == 1


@guarded(
    "the vendor's refusal of a second id is read as a replay", "providers/alpaca/ordering.py",
    'return "duplicate" if DUPLICATE in', 'return "refused" if "nothing" in',
)  # fmt: skip
async def test_an_id_that_the_vendor_has_seen_is_no_refusal_of_the_order(world: OrdersWorld) -> None:
    """Its lists may be behind its own refusals: that it has seen the id means that there is an order, or will be."""
    world.next_post("duplicate")
    with pytest.raises(NotReady):
        await world.submit()
    recorded = world.recorded()
    assert recorded is not None
    assert recorded.state == "unknown"


async def test_a_purchase_that_cannot_be_paid_because_it_was_made_is_no_refusal(world: OrdersWorld) -> None:
    """The first attempt arrived while the second was under way, and took the money."""
    world.next_post("lost", "403")
    with pytest.raises(NotReady):
        await world.submit()
    world.clock.advance(SETTLED)
    fate = world.road.fate

    def first_arrives(request: object) -> str:
        said = fate(request)  # type: ignore[arg-type]
        if said == "403":
            twin = world.road.posts[0]
            world.account.order_book.place(
                body_of(twin.encode()), world.clock(), is_open=True, power=Decimal(10**6),
                asset=world.broker._tradable,
            )  # fmt: skip
        return said

    world.road.fate = first_arrives
    order = await world.submit()
    assert (order.state, len(world.placed)) == ("accepted", 1)


@pytest.mark.parametrize(
    ("fate", "error"), [("401", OwnerActionError), ("429", QuotaError), ("unreachable", TransientError)]
)
async def test_what_certainly_was_not_placed_may_be_sent_at_once(
    world: OrdersWorld, fate: str, error: type[Exception]
) -> None:
    world.next_post(fate)
    with pytest.raises(error):
        await world.submit()
    assert world.recorded().state == "intended"  # type: ignore[union-attr]
    if fate == "401":
        with pytest.raises(UsageError, match="is reauth"):
            await world.submit()
        with world.store() as store:
            Connections(store, open_vault(world.settings), world.clock).relink(world.at, SECRETS)
    order = await world.submit()
    assert (order.state, order.attempts, len(world.placed)) == ("accepted", 2, 1)


async def test_a_refused_order_stays_refused_with_the_vendors_reason(world: OrdersWorld) -> None:
    world.next_post("422")
    order = await world.submit()
    assert order.state == "rejected"
    assert "qty must be integer" in str(order.reason)
    assert await world.submit() == order
    assert (len(world.road.posts), len(world.placed)) == (1, 0)


# -- crashes and company -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage", ["admitted", "intended", "sent", "answered", "recorded", "killed:before", "killed:after"]
)
async def test_a_crash_at_any_step_leaves_one_order(world: OrdersWorld, stage: str) -> None:
    world.account.order_book.unique = False  # the vendor shall not save us

    def dies(done: str, key: str) -> None:
        if done == stage:
            raise Killed

    if ":" in stage:
        world.next_post(stage)
    with pytest.raises(Killed):
        async with world.orders(on_stage=dies) as orders:
            await orders.submit(world.at, "k1", "us:AAPL", "buy", qty="2", type="limit", limit_price="150",
                                time_in_force="gtc")  # fmt: skip
    try:
        order = await world.submit()
    except NotReady:
        assert stage in ("sent", "killed:before")
        world.clock.advance(SETTLED)
        order = await world.submit()
    assert (order.state, len(world.placed)) == ("accepted", 1)


async def test_of_two_at_once_one_sends_and_the_other_waits_for_it(world: OrdersWorld) -> None:
    world.account.order_book.unique = False
    world.road.pause = lambda: 3
    first, second = await asyncio.gather(world.submit(), world.submit())
    assert first.vendor_id == second.vendor_id
    assert (len(world.road.posts), len(world.placed)) == (1, 1)


async def test_a_record_that_was_lost_with_the_power_is_made_again_of_the_vendors_order(world: OrdersWorld) -> None:
    first = await world.submit()
    with world.store() as store, store.writing() as sql:
        sql.exec_driver_sql("DELETE FROM orders")
        sql.exec_driver_sql("DELETE FROM order_events")
    again = await world.submit()
    assert (again.vendor_id, again.state, len(world.placed)) == (first.vendor_id, "accepted", 1)


async def test_what_is_found_under_the_id_is_the_order_that_was_meant(world: OrdersWorld) -> None:
    await world.submit()
    with world.store() as store, store.writing() as sql:
        sql.exec_driver_sql("DELETE FROM orders")
        sql.exec_driver_sql("DELETE FROM order_events")
    with pytest.raises(WireError, match="has an order under the id of 'k1' that is not it: qty"):
        await world.submit(qty="3")
    assert len(world.placed) == 1


@guarded(
    "settling sends nothing, and waits", "orders/placing.py",
    "late = self._now() >= self._settled_at(order)", "late = True",
)  # fmt: skip
async def test_settling_looks_up_and_sends_nothing(world: OrdersWorld) -> None:
    world.next_post("lost", "late:100")
    for key in ("k1", "k2"):
        with pytest.raises(NotReady):
            await world.submit(key)
    async with world.orders() as orders:
        assert [one.state for one in await orders.settle_unknown()] == ["unknown", "unknown"]
        world.clock.advance(SETTLED)
        await world.road.arrive()
        assert {one.key: one.state for one in await orders.settle_unknown()} == {"k1": "intended", "k2": "accepted"}
        assert await orders.settle_unknown() == []
    assert len(world.road.posts) == 2


async def test_a_lookup_that_finds_no_page_is_no_proof(world: OrdersWorld) -> None:
    """A 404 of a proxy, or of another address, does not say that there is no order."""
    world.next_post("silent")
    fate = world.road.fate
    world.road.fate = lambda request: "404" if "by_client" in request.url.path else fate(request)
    with pytest.raises(NotReady):
        await world.submit()
    world.clock.advance(SETTLED)
    with pytest.raises(OwnerActionError):
        await world.submit()
    assert len(world.road.posts) == 1


# -- cancelling --------------------------------------------------------------------------------------------------------


async def test_cancelling_twice_is_as_good_as_once(world: OrdersWorld) -> None:
    await world.submit()
    async with world.orders() as orders:
        assert (await orders.cancel(world.at, "k1")).state == "canceled"
        assert (await orders.cancel(world.at, "k1")).state == "canceled"
    assert (await world.submit()).state == "canceled"  # and is not placed again
    assert len(world.placed) == 1


async def test_an_executed_order_is_not_cancelled(world: OrdersWorld) -> None:
    await world.submit()
    world.broker.fill(world.placed[0], "0.5", "149.99")
    assert ((order := await world.show()).vendor_status, order.filled_qty) == ("partially_filled", Decimal("0.5"))
    world.broker.fill(world.placed[0], "1.5", "149.95")
    async with world.orders() as orders:
        with pytest.raises(UsageError, match="does not cancel the order 'k1', which is filled there"):
            await orders.cancel(world.at, "k1")
    recorded = world.recorded()
    assert recorded is not None
    assert (recorded.state, recorded.filled_avg_price) == ("filled", Decimal("149.96"))


async def test_an_order_that_was_not_sent_is_never_sent_once_it_is_cancelled(world: OrdersWorld) -> None:
    world.next_post("lost")
    with pytest.raises(NotReady):
        await world.submit()
    async with world.orders() as orders:
        with pytest.raises(NotReady):  # it may arrive still
            await orders.cancel(world.at, "k1")
        world.clock.advance(SETTLED)
        assert (await orders.cancel(world.at, "k1")).state == "canceled"
    assert (await world.submit()).state == "canceled"
    assert len(world.road.posts) == 1


async def test_an_answer_that_was_long_on_its_way_changes_no_ended_order(world: OrdersWorld) -> None:
    order = await world.submit()
    old = ordering.order(json.dumps(world.placed[0].json()).encode())
    async with world.orders() as orders:
        await orders.cancel(world.at, "k1")
        assert orders.books.take(order, old).state == "canceled"


# -- what is not sent at all -------------------------------------------------------------------------------------------


def untouched(world: OrdersWorld) -> bool:
    return world.road.posts == [] and world.recorded() is None


@guarded(
    "a market that is closed", "orders/checks.py", "    if not (clock.is_open or waits or queue):", "    if False:"
)
async def test_an_order_of_the_day_does_not_wait_for_a_morning(tmp_path: Path) -> None:
    with orders_of(tmp_path, NIGHT) as world:
        with pytest.raises(UsageError, match=r"closed until 2026-11-25 14:30 UTC and a day order would wait.*--queue"):
            await world.submit(type="limit", limit_price="150", time_in_force="day")
        assert untouched(world)
        assert (
            await world.submit(type="limit", limit_price="150", time_in_force="day", queue=True)
        ).state == "accepted"
        assert (await world.submit("k2")).state == "accepted"  # gtc
        assert (
            await world.submit("k3", "crypto:bitcoin", qty="0.01", type="limit", limit_price="60000")
        ).state == "accepted"


@guarded("a clock that is wrong", "orders/checks.py", "    if off > most:", "    if False:")
async def test_no_order_is_sent_by_a_clock_that_is_wrong(world: OrdersWorld) -> None:
    real, world.broker._now = world.clock, lambda: world.clock() + timedelta(seconds=40)
    with pytest.raises(UsageError, match="differ by 40 s, more than the 10 s that FIN_INFRA_ORDERS_MAX_SKEW permits"):
        await world.submit()
    assert untouched(world)
    world.broker._now = lambda: real() - timedelta(seconds=9)
    assert (await world.submit()).state == "accepted"


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"qty": "67"}, "worth 10050, more than the 10000 that FIN_INFRA_ORDERS_MAX_NOTIONAL"),
        ({"qty": "1000.000000001", "limit_price": "0.01"}, "more than the 1000 that FIN_INFRA_ORDERS_MAX_QTY"),
        ({"qty": "1", "instrument": "us:SPY"}, "us:SPY is not among the instruments that may be traded; FIN_INFRA_ORDERS_SYMBOLS"),
        ({"instrument": "opt:AAPL:2027-01-15:C:200"}, "cannot be traded at alpaca"),
        ({"side": "sell", "qty": "10.000000001", "limit_price": "1"}, "10 of us:AAPL can be sold, less than"),
        ({"qty": "2", "type": "market", "limit_price": None}, "no price of us:AAPL of the last 5 days is held"),
        ({"notional": "100"}, "no price of us:AAPL of the last 5 days is held"),
        ({"qty": 0.1}, "qty is a float; give it as text or Decimal, which are exact"),
        ({"qty": "1e-10"}, "finer than 9 decimals"),
        ({"qty": "NaN"}, "must be more than 0"),
        ({"qty": "-1"}, "must be more than 0"),
        ({"qty": "2", "notional": "3"}, "either qty or notional"),
        ({"qty": "2", "side": "short"}, "side is buy or sell"),
    ],
)  # fmt: skip
async def test_an_order_beyond_its_limits_leaves_nothing(tmp_path: Path, order: dict[str, object], says: str) -> None:
    with orders_of(tmp_path, OPEN_HOURS, orders_symbols="us:AAPL,crypto:bitcoin") as world:
        said = {"limit_price": "150", "type": "limit", "time_in_force": "gtc", "instrument": "us:AAPL", "side": "buy"}
        if "notional" in order or order.get("type") == "market":
            said |= {"type": "market", "limit_price": None, "time_in_force": "day"}  # type: ignore[dict-item]
        async with world.orders() as orders:
            with pytest.raises(UsageError, match=says):
                await orders.submit(world.at, "k1", **{**said, **order})  # type: ignore[arg-type]
        assert untouched(world)


@guarded("what is paid", "orders/checks.py", "        if value > means.buying_power:", "        if False:")
async def test_nothing_is_bought_that_cannot_be_paid(world: OrdersWorld) -> None:
    world.account.exact["buying_power"] = "299.99"
    with pytest.raises(UsageError, match=r"worth 300, more than the buying power of 299\.99"):
        await world.submit()
    assert untouched(world)
    assert (await world.submit(qty="1.9999")).state == "accepted"


async def test_a_market_order_is_measured_by_the_newest_price_that_is_held(world: OrdersWorld) -> None:
    for day, close in ((date(2026, 11, 20), "90"), (date(2026, 11, 23), "100.01")):
        world.broker.set_bar("AAPL", day, close, close, close, close, "1000")
    async with world.runtime(network=world.road) as runtime:
        await runtime.engine.sync("prices", world.at)
    with pytest.raises(UsageError, match="worth 10001, more than"):
        await world.submit(qty="100", type="market", time_in_force="day")
    assert (await world.submit(qty="99.99", type="market", time_in_force="day")).state == "accepted"
    assert (await world.submit("k2", notional="10000")).notional == Decimal(10_000)


@guarded(
    "real money",
    "orders/placing.py",
    "        if acting and live and self._settings",
    "        if False and self._settings",
)
async def test_live_is_said_twice_and_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with orders_of(tmp_path) as world:
        with world.store() as store:
            live = Connections(store, open_vault(world.settings), world.clock).add(
                resolve("alpaca"), {**SECRETS, "environment": "live"}, tenant="ada"
            )
        world.connection = live
        with pytest.raises(
            UsageError, match="is a live account, whose orders cost real money; set FIN_INFRA_ALPACA_LIVE_ORDERS=1"
        ):
            await world.submit()
        monkeypatch.setenv("FIN_INFRA_ALPACA_LIVE_ORDERS", "1")
        with pytest.raises(
            UsageError,
            match="need limits: set FIN_INFRA_ORDERS_MAX_NOTIONAL, FIN_INFRA_ORDERS_MAX_QTY, FIN_INFRA_ORDERS_SYMBOLS",
        ):
            await world.submit()
        assert untouched(world)
        world.settings = world.settings.model_copy(
            update={"orders_max_notional": Decimal(500), "orders_max_qty": Decimal(5), "orders_symbols": "us:AAPL"}
        )
        order = await world.submit()
        assert (order.state, order.live) == ("accepted", True)


async def test_a_paper_credential_at_the_live_address_is_live(
    world: OrdersWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_orders(
        world.settings, now=world.clock, network=world.road, base_urls={"alpaca": "https://api.alpaca.markets"}
    ) as orders:
        with pytest.raises(UsageError, match="is a live account"):
            await orders.submit(world.at, "k1", "us:AAPL", "buy", qty="1", type="limit", limit_price="1")
    assert untouched(world)


async def test_a_spent_quota_sends_nothing_and_leaves_the_order_intended(world: OrdersWorld) -> None:
    class Spent:
        left = 3  # clock, account, position

        async def acquire(self, call: Call) -> object:
            self.left -= 1
            if self.left < 0:
                raise QuotaError("spent", retry_after=60.0, code="quota_exhausted")
            assert call.lane == "interactive"
            return None

        async def settle(self, grant: object, sent: object) -> float | None:
            return None

    async with world.orders(meter=Spent()) as orders:
        with pytest.raises(QuotaError):
            await orders.submit(world.at, "k1", "us:AAPL", "buy", qty="1", type="limit", limit_price="1")
    assert (world.road.posts, world.recorded().state) == ([], "intended")  # type: ignore[union-attr]


async def test_a_session_that_the_broker_has_otherwise_is_a_finding_until_they_agree(world: OrdersWorld) -> None:
    async with world.orders() as orders:
        assert await orders.check_calendar(world.at) == []
        early = world.broker.early_closes
        world.broker.early_closes = early - {date(2026, 11, 27)}
        world.broker.sessions.remove(date(2026, 12, 2))
        said = [
            "2026-11-27 is open 09:30 to 13:00 by our calendar and 09:30 to 16:00 by the broker's",
            "2026-12-02 is a session of our calendar and none of the broker",
        ]
        assert await orders.check_calendar(world.at) == said
        assert [row["detail"] for row in world.rows("findings") if row["state"] == "open"] == said
        world.broker.early_closes = early
        world.broker.sessions = sorted([*world.broker.sessions, date(2026, 12, 2)])
        assert await orders.check_calendar(world.at) == []
        assert {row["state"] for row in world.rows("findings")} == {"resolved"}


async def test_orders_go_when_their_connection_is_erased(world: OrdersWorld) -> None:
    await world.submit()
    with world.store() as store:
        Connections(store, open_vault(world.settings), world.clock).remove(world.at, erase=True)
        assert OrderBooks(store, world.clock).all() == []
