from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from fin_infra.orders import Order, Orders

app = typer.Typer(
    no_args_is_help=True, help="Orders at brokers: each placed once by its key, on paper unless live is asked for."
)

ConnectionArg = Annotated[str, typer.Argument(metavar="CONNECTION", help="A brokerage connection's id.")]
KeyArg = Annotated[
    str, typer.Argument(metavar="KEY", help="Your own name of the order: the same key is the same order.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
HEADER = ("key", "instrument", "side", "qty", "type", "price", "force", "state", "vendor says", "filled", "at", "id")
T = TypeVar("T")


@app.command("submit")
def submit(
    connection: ConnectionArg,
    key: KeyArg,
    side: Annotated[str, typer.Argument(metavar="buy|sell")],
    instrument: Annotated[str, typer.Argument(help="us:SPY, crypto:bitcoin, or the broker's symbol.")],
    qty: Annotated[str | None, typer.Option("--qty", help="How many shares or coins, exactly.")] = None,
    notional: Annotated[str | None, typer.Option("--notional", help="Or for how many dollars.")] = None,
    limit: Annotated[str | None, typer.Option("--limit", metavar="PRICE", help="The worst price.")] = None,
    stop: Annotated[str | None, typer.Option("--stop", metavar="PRICE", help="The price that triggers it.")] = None,
    time_in_force: Annotated[
        str | None, typer.Option("--time-in-force", help="day (default), gtc, opg, cls, ioc, fok; of coins gtc or ioc.")
    ] = None,
    extended_hours: Annotated[
        bool, typer.Option("--extended-hours", help="Limit orders: before the open and after the close too.")
    ] = False,
    queue: Annotated[bool, typer.Option("--queue", help="It may wait for the market to open.")] = False,
    as_json: Json = False,
) -> None:
    """Place an order, once for its key, however often this is run.

    A second run with the same key shows the order that is there. Market order without --limit or --stop.

    Example: fin-infra orders submit con_1f2e rebalance-2026-11-24-spy buy us:SPY --qty 2 --limit 601.50
    """
    from fin_infra.cli.output import say

    kinds = {(False, False): "market", (True, False): "limit", (False, True): "stop", (True, True): "stop_limit"}

    async def act(orders: Orders) -> tuple[Order, bool]:
        done = await orders.submit(
            connection, key, instrument, side, qty=qty, notional=notional, limit_price=limit, stop_price=stop,
            type=kinds[limit is not None, stop is not None], time_in_force=time_in_force,
            extended_hours=extended_hours, queue=queue,
        )  # fmt: skip
        return done.order, done.replayed

    order, replayed = _with_orders(act)
    _put([_told(order)], as_json)
    if replayed:
        say(f"the order {key!r} was there already; nothing was sent")
    if order.state == "rejected":
        say(f"rejected: {order.reason}")
        raise SystemExit(1)


@app.command("ls")
def ls(
    connection: ConnectionArg,
    status: Annotated[str, typer.Option("--status", help="open, closed or all.")] = "open",
    after: Annotated[datetime | None, typer.Option("--after", help="Submitted after this time, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Submitted before this time, UTC.")] = None,
    instrument: Annotated[list[str] | None, typer.Option("--instrument", help="Only of these.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List the account's orders as the broker has them, newest first, whoever placed them.

    The key column names those that were placed here.

    Example: fin-infra orders ls con_1f2e --status all
    """
    from datetime import UTC

    from fin_infra.errors import UsageError

    if status not in ("open", "closed", "all"):
        raise UsageError(f"--status is open, closed or all, not {status!r}")

    async def act(orders: Orders) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        listed: AsyncIterator[Any] = orders.listed(
            connection, status=status,  # type: ignore[arg-type]
            after=after and after.replace(tzinfo=UTC), until=until and until.replace(tzinfo=UTC),
            instruments=instrument or (),
        )  # fmt: skip
        async for one in listed:
            placed = one.placed
            rows.append({
                "key": one.key, "instrument": placed.symbol, "side": placed.side,
                "qty": placed.qty if placed.notional is None else f"${placed.notional}", "type": placed.type,
                "price": placed.limit_price or placed.stop_price, "force": placed.time_in_force,
                "state": placed.state, "vendor says": placed.status, "filled": placed.filled_qty,
                "at": placed.submitted_at, "id": placed.vendor_id,
            })  # fmt: skip
            if len(rows) == limit:
                break
        return rows

    _put(_with_orders(act), as_json)


@app.command("show")
def show(connection: ConnectionArg, key: KeyArg, as_json: Json = False) -> None:
    """Show an order with the broker's newest word of it, and what became of it step by step.

    Example: fin-infra orders show con_1f2e rebalance-2026-11-24-spy
    """
    from dataclasses import asdict

    from fin_infra.cli.output import instant, put, put_json
    from fin_infra.orders import STATES

    async def act(orders: Orders) -> tuple[Order, list[Any]]:
        return await orders.show(connection, key)

    order, steps = _with_orders(act)
    if as_json:
        put_json({**asdict(order), "steps": [asdict(step) for step in steps]})
        return
    _put([_told(order)], as_json)
    put(f"{order.state}: {STATES[order.state]}")
    for step in steps:
        said = ", ".join(part for part in (step.vendor_status, step.reason) if part)
        put(f"{instant(step.at)}  {step.state}{f' ({said})' if said else ''}")


@app.command("cancel")
def cancel(connection: ConnectionArg, key: KeyArg, as_json: Json = False) -> None:
    """Cancel an order. Of one that is cancelled already this says so; of an executed one that it is too late.

    Example: fin-infra orders cancel con_1f2e rebalance-2026-11-24-spy
    """
    from fin_infra.cli.output import say

    async def act(orders: Orders) -> Order:
        return await orders.cancel(connection, key)

    order = _with_orders(act)
    _put([_told(order)], as_json)
    if order.state != "canceled":
        say(f"the broker was asked to cancel it; it is {order.vendor_status} so far: fin-infra orders show tells more")


@app.command("settle")
def settle(
    connection: Annotated[str | None, typer.Argument(metavar="[CONNECTION]", help="Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Look up every order of which nobody knows whether it was placed. Nothing is sent. Exit 1 if one stays unknown.

    An order that the broker certainly does not have is intended again: the same submission sends it.

    Example: fin-infra orders settle
    """
    from fin_infra.cli.output import say
    from fin_infra.orders import OPEN

    async def act(orders: Orders) -> list[Order]:
        return await orders.settle_unknown(connection)

    found = _with_orders(act)
    _put([_told(order) for order in found], as_json)
    if not found:
        say("of every order it is known what became of it")
    if any(order.state in OPEN for order in found):
        raise SystemExit(1)


@app.command("check")
def check(
    connection: ConnectionArg,
    sessions: Annotated[int, typer.Option("--sessions", min=1, max=250, help="How far ahead.")] = 20,
    as_json: Json = False,
) -> None:
    """Compare the broker's clock and its calendar of the next sessions with ours. Exit 1 if they disagree.

    Example: fin-infra orders check con_1f2e
    """
    from fin_infra.cli.output import put, put_json

    async def act(orders: Orders) -> tuple[Any, list[str]]:
        return await orders.clock(connection), await orders.check_calendar(connection, sessions)

    clock, differing = _with_orders(act)
    if as_json:
        put_json({"is_open": clock.is_open, "next_open": clock.next_open, "next_close": clock.next_close,
                  "calendar_disagrees": differing})  # fmt: skip
    else:
        then = clock.next_close if clock.is_open else clock.next_open
        put(f"the market is {'open' if clock.is_open else 'closed'} until {then:%Y-%m-%d %H:%M} UTC; the clocks agree")
        for line in differing or [f"the next {sessions} sessions are the same in both calendars"]:
            put(line)
    if differing:
        raise SystemExit(1)


def _with_orders(act: Callable[[Orders], Awaitable[T]]) -> T:
    import asyncio

    from fin_infra.runtime.ordering import open_orders

    async def run() -> T:
        async with open_orders() as orders:
            return await act(orders)

    return asyncio.run(run())


def _told(order: Order) -> dict[str, Any]:
    return {
        "key": order.key, "instrument": order.instrument, "side": order.side,
        "qty": order.qty if order.notional is None else f"${order.notional}", "type": order.type,
        "price": order.limit_price or order.stop_price, "force": order.time_in_force, "state": order.state,
        "vendor says": order.vendor_status, "filled": order.filled_qty, "at": order.submitted_at,
        "id": order.vendor_id,
    }  # fmt: skip


def _put(rows: list[dict[str, Any]], as_json: bool) -> None:
    from fin_infra.cli.output import put_json, table

    if as_json:
        put_json(rows)
    elif rows:
        table([tuple(row[name] for name in HEADER) for row in rows], HEADER)
