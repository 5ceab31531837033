"""A broker whose network is scripted: what becomes of each request on its way, without a socket and without waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from fin_infra.connections import Connection, Connections, open_vault
from fin_infra.orders import Order, Orders
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimAsset, SimBrokerage, SimOrder, SimPosition
from fin_infra.runtime.ordering import open_orders
from fin_infra.settings import Settings
from fin_infra.store import Store
from fin_infra.testing import VirtualClock
from tests.world import VendorWorld

OPEN_HOURS = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)  # a Tuesday, an hour and a half into the session
NIGHT = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
SECRETS = {"key_id": "PK1", "secret_key": "secret of PK1"}
PATIENT = timedelta(seconds=30)


class Killed(BaseException):
    """The process ends here: nothing after it happens, not even what catches every error."""


class Free:
    """No quota: of what is counted other tests tell."""

    async def acquire(self, call: Any) -> object:
        return None

    async def settle(self, grant: object, sent: Any) -> float | None:
        return None


class Road(httpx.AsyncBaseTransport):
    """The way to the broker and back. `fate` says of each request what becomes of it:

    ok; unreachable; lost (never arrives, no answer); silent (arrives, no answer); cut (arrives, the answer breaks);
    late:SECONDS (no answer, arrives later); killed:before and killed:after (who sent it dies before, or after, it
    arrives); a status (not done, this answer); duplicate (not done, refused because of its id); done:STATUS (done, this answer); garbage (done, no JSON).
    """

    def __init__(self, broker: AlpacaSimulator, clock: VirtualClock) -> None:
        self._inner = httpx.ASGITransport(app=broker)
        self._clock = clock
        self.fate: Callable[[httpx.Request], str] = lambda request: "ok"
        self.pause: Callable[[], int] = lambda: 0
        self.late: list[tuple[datetime, httpx.Request]] = []
        self.posts: list[str] = []
        """Bodies of all orders that were sent, whatever became of them."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import asyncio

        body, begun = await request.aread(), self._clock()
        if request.method == "POST":
            self.posts.append(body.decode())
        fate = self.fate(request)
        for _ in range(self.pause()):
            await asyncio.sleep(0)
        await self.arrive()
        if self._clock() - begun > PATIENT:
            fate = "lost"  # others took so long: this one gave up before
        kind, _, more = fate.partition(":")
        if kind == "unreachable":
            raise httpx.ConnectTimeout("scripted")  # refused at once it would be tried again in real time
        if fate == "killed:before":
            raise Killed
        if kind == "late":
            self.late.append((self._clock() + timedelta(seconds=float(more)), request))
        if kind in ("late", "lost"):
            raise httpx.ReadTimeout("scripted")
        if kind == "duplicate":
            return httpx.Response(422, json={"code": 40010001, "message": "client_order_id must be unique"})
        if kind.isdecimal():
            return httpx.Response(int(kind), json=REFUSALS.get(kind, {"message": "internal server error"}))
        answer = await self._inner.handle_async_request(request)
        await answer.aread()
        match kind:
            case "silent":
                raise httpx.ReadTimeout("scripted")
            case "cut":
                raise httpx.RemoteProtocolError("scripted")
            case "killed":
                raise Killed
            case "done":
                return httpx.Response(int(more), json={"message": "gateway"})
            case "garbage":
                return httpx.Response(200, text="<html>oops</html>")
            case _:
                return answer

    async def arrive(self, *, all: bool = False) -> None:
        """What was late and is due by now gets there."""
        due = [one for one in self.late if all or one[0] <= self._clock()]
        self.late = [one for one in self.late if one not in due]
        for _, request in sorted(due, key=lambda one: one[0]):
            await self._inner.handle_async_request(request)


REFUSALS: dict[str, Any] = {
    "401": {"code": 40110000, "message": "request is not authorized"},
    "403": {"code": 40310000, "message": "insufficient buying power", "buying_power": "0", "cost_basis": "100"},
    "422": {"code": 40010001, "message": "qty must be integer"},
    "429": {"code": 42910000, "message": "rate limit exceeded"},
}


class OrdersWorld(VendorWorld):
    """One paper account with cash, shares and coins, in which orders are placed."""

    vendor = "alpaca"

    def __init__(self, folder: Path, clock: VirtualClock, broker: AlpacaSimulator, **settings: Any) -> None:
        super().__init__(folder, "http://broker.test", clock)
        self.broker = broker
        self.road = Road(broker, clock)
        self.account = broker.open_account(
            SECRETS["key_id"], SECRETS["secret_key"],
            SimBrokerage("acc_1", cash="1000000", positions=[
                SimPosition("AAPL", "10", "25"), SimPosition("BTCUSD", "0.5", "60000", asset_class="crypto")]),
        )  # fmt: skip
        for symbol, kind in (("AAPL", "us_equity"), ("SPY", "us_equity"), ("BTC/USD", "crypto")):
            broker.add_asset(SimAsset(symbol, symbol, kind, exchange="CRYPTO" if kind == "crypto" else "NASDAQ"))
        self.settings = Settings(**{**self.settings.model_dump(), **settings})
        self.connection: Connection | None = None

    @property
    def at(self) -> str:
        assert self.connection is not None
        return self.connection.connection_id

    @asynccontextmanager
    async def orders(self, store: Store | None = None, **more: Any) -> AsyncIterator[Orders]:
        more.setdefault("meter", Free())
        async with open_orders(
            self.settings, store=store, now=self.clock, network=self.road,
            base_urls={"alpaca": "http://broker.test"}, **more,
        ) as found:  # fmt: skip
            yield found

    async def submit(self, key: str = "k1", instrument: str = "us:AAPL", side: str = "buy", **order: Any) -> Order:
        """One submission in a process of its own: two shares for at most 150 each until cancelled, unless said."""
        if not order.keys() & {"qty", "notional"}:
            order["qty"] = "2"
        if "type" not in order and "notional" not in order:
            order |= {"type": "limit", "limit_price": "150", "time_in_force": order.get("time_in_force", "gtc")}
        async with self.orders() as orders:
            return (await orders.submit(self.at, key, instrument, side, **order)).order

    async def show(self, key: str = "k1") -> Order:
        async with self.orders() as orders:
            return (await orders.show(self.at, key))[0]

    def recorded(self, key: str = "k1") -> Order | None:
        from fin_infra.orders import OrderBooks

        with self.store() as store:
            return OrderBooks(store, self.clock).get(self.at, key)

    @property
    def placed(self) -> list[SimOrder]:
        return self.account.order_book.orders

    def next_post(self, *fates: str) -> None:
        """What becomes of the next orders that are sent; everything else goes well."""
        left = list(fates)
        self.road.fate = lambda request: left.pop(0) if request.method == "POST" and left else "ok"


@contextmanager
def orders_of(folder: Path, at: datetime = OPEN_HOURS, **settings: Any) -> Iterator[OrdersWorld]:
    clock = VirtualClock(at)
    world = OrdersWorld(folder, clock, AlpacaSimulator(now=clock), **settings)
    with world.store() as store:
        connections = Connections(store, open_vault(world.settings), clock)
        world.connection = connections.add(resolve("alpaca"), SECRETS, tenant="ada")
    yield world
