"""A small finance app as a user of fin_infra would write it: it links, the worker beside it syncs, it reads.

Both processes share the store and the vault's key file. Run it: `uvicorn tests.acceptance.app:app`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import fin_infra as fi


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    store = await run_in_threadpool(fi.open_store)
    try:
        yield {"store": store}
    finally:
        store.close()


def user(request: Request) -> str:
    """Who is logged in, and whose rows are read and written. A real app has sessions; this one believes a header."""
    name = request.headers.get("x-user", "")
    if not name:
        raise HTTPException(401, "say who you are: X-User")
    return name


async def ping(request: Request) -> Response:
    return JSONResponse({"ok": True})


async def link(request: Request) -> Response:
    """The secret goes to the vault; the answer holds ids only."""
    order = await request.json()
    connection = await run_in_threadpool(
        fi.connect, order["provider"], order["secrets"], tenant=user(request), store=request.state.store
    )
    return JSONResponse(
        {"connection_id": connection.connection_id, "provider": connection.provider, "state": connection.state},
        status_code=201,
    )


def rows_of(dataset: str) -> Callable[[Request], Response]:
    """The user's rows of a dataset, without the columns that only an operator wants."""

    def rows(request: Request) -> Response:
        frame = fi.read(dataset, tenant=user(request), store=request.state.store).drop("tenant_id", "run_id").collect()
        return listed(frame)

    return rows


def prices(request: Request) -> Response:
    """Daily bars of `?instrument=…`, by default of all that the user holds. Prices are the same for everyone."""
    chosen = request.query_params.getlist("instrument") or held(request)
    frame = fi.read("prices", instruments=chosen, store=request.state.store).drop("run_id").collect()
    return listed(frame)


def held(request: Request) -> list[str]:
    holdings = fi.read("holdings", tenant=user(request), store=request.state.store)
    instruments: list[str] = holdings.select("instrument").unique().sort("instrument").collect()["instrument"].to_list()
    return instruments


def listed(frame: pl.DataFrame) -> Response:
    return JSONResponse([{name: plain(value) for name, value in row.items()} for row in frame.to_dicts()])


def plain(value: object) -> object:
    """Amounts as exact text (a float would lose digits), dates and instants as ISO 8601."""
    match value:
        case Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case date() | datetime():
            return value.isoformat()
        case _:
            return value


async def refused(request: Request, error: Exception) -> Response:
    """What the caller did wrong, in fin_infra's own sentence; it never holds a secret."""
    assert isinstance(error, fi.errors.UsageError)
    problem = {"title": "refused", "status": 422, "code": error.code, "detail": error.message}
    return JSONResponse(problem, status_code=422, media_type="application/problem+json")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/ping", ping),
        Route("/connections", link, methods=["POST"]),
        Route("/accounts", rows_of("accounts")),
        Route("/balances", rows_of("balances")),
        Route("/transactions", rows_of("transactions")),
        Route("/holdings", rows_of("holdings")),
        Route("/prices", prices),
        Route("/status", rows_of("streams")),
    ],
    exception_handlers={fi.errors.UsageError: refused},
)
