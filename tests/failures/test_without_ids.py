"""T-09, T-11: a vendor that gives no ids. Equal rows stay as many as there are, and are the same ones when read again."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Built, identified
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers import PROVIDERS
from fin_infra.providers.base import Account, Ask, Feed, Field, Http, Page, Provider, Source, exact_json
from fin_infra.providers.simulating import Fault, Simulator
from fin_infra.testing import VirtualClock, serve
from tests.guards import guarded
from tests.world import START, VendorWorld

Rows = list[dict[str, Any]]


async def list_accounts(http: Http, ask: Ask) -> AsyncIterator[Page]:
    yield Page("accounts", await http.get("/accounts"))


async def list_rows(http: Http, ask: Ask) -> AsyncIterator[Page]:
    for account in ask.accounts:
        yield Page("transactions", await http.get("/rows"), account)


def accounts(pages: Sequence[tuple[Rows, datetime]], ask: Ask, _: Account | None) -> Built:
    rows = [row for page, _ in pages for row in page]
    columns: Mapping[str, list[str]] = {
        name: [row[name] for row in rows] for name in ("account_id", "kind", "currency")
    }
    return Accounts.build(columns, ask.columns(ask.at, status="open"))


def transactions(pages: Sequence[tuple[Rows, datetime]], ask: Ask, account: Account | None) -> Built:
    assert account is not None
    rows = [row for page, _ in pages for row in page]
    days, amounts, texts = ([row[name] for row in rows] for name in ("day", "amount", "text"))
    columns: Mapping[str, Sequence[str | None]] = {
        "account_id": [account.account_id] * len(rows),
        "transaction_id": identified([None] * len(rows), days, amounts, texts),
        "booked_on": days, "amount": amounts, "description": texts,
    }  # fmt: skip
    return Transactions.build(columns, ask.columns(ask.at, status="posted", currency="EUR"))


PROVIDER = Provider(
    name="ledger", title="A bank that gives no ids", base_url="http://127.0.0.1:9",
    domains={"banking": ("accounts", "transactions")}, auth=lambda secrets: httpx.Auth(),
    secrets=(Field("key", "any"),), refusals=(), refusal_word=lambda body: None,
    sources=(
        Source(kind="snapshot", fetch=list_accounts, feeds=(Feed(Accounts, exact_json, accounts),)),
        Source(kind="window", fetch=list_rows, feeds=(Feed(Transactions, exact_json, transactions),),
               overlap=timedelta(days=3650), needs_accounts=True),
    ),
)  # fmt: skip


class Ledger(Simulator):
    def __init__(self, now: VirtualClock) -> None:
        super().__init__(now=now)
        self.rows: Rows = []
        account = [{"account_id": "acc", "kind": "depository", "currency": "EUR"}]

        async def tell_accounts(_: Request) -> Response:
            return JSONResponse(account)

        async def tell_rows(_: Request) -> Response:
            return Response(json.dumps(self.rows), media_type="application/json")

        self.answering = Starlette(routes=[Route("/accounts", tell_accounts), Route("/rows", tell_rows)])

    def refusal(self, fault: Fault, path: str) -> Response:
        return Response(status_code=fault.status)


class LedgerWorld(VendorWorld):
    vendor = "ledger"

    def __init__(self, folder: Path, ledger: Ledger, url: str, clock: VirtualClock) -> None:
        super().__init__(folder, url, clock)
        self.ledger = ledger

    def known(self) -> dict[str, Any]:
        return {row["transaction_id"]: row["description"] for row in self.rows("transactions")}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerWorld]:
    monkeypatch.setitem(PROVIDERS, "ledger", f"{__name__}:PROVIDER")
    assert __name__ in sys.modules
    clock = VirtualClock(START)
    ledger = Ledger(clock)
    with serve(ledger) as served:
        yield LedgerWorld(tmp_path, ledger, served.url, clock)


def coffee(**more: str) -> dict[str, Any]:
    return {"day": "2026-11-20", "amount": "-4.50", "text": "Coffee", **more}


@guarded(
    "rows without an id that are equal are one", "datasets/base.py",
    'made.append(f"{FINGERPRINT}_{mark}_{equals[mark]}")', 'made.append(f"{FINGERPRINT}_{mark}")',
)  # fmt: skip
async def test_t09_equal_rows_without_ids_stay_as_many_as_there_are(world: LedgerWorld) -> None:
    world.ledger.rows = [coffee(), coffee(text="Parking"), coffee()]
    await world.linked({"key": "k"}, "ada")
    await world.work()
    first = world.known()
    assert sorted(first.values()) == ["Coffee", "Coffee", "Parking"]
    world.ledger.rows.reverse()
    [report] = [r for r in await world.next_day() if r.dataset == "transactions"]
    assert (report.total.inserted, report.total.updated, report.total.removed) == (0, 0, 0)
    assert world.known() == first
    world.ledger.rows.append(coffee())
    await world.next_day()
    assert sorted(world.known().values()) == ["Coffee", "Coffee", "Coffee", "Parking"]
    assert first.items() <= world.known().items()
    world.ledger.rows.remove(coffee())
    await world.next_day()
    assert world.known() == first


@guarded(
    "an id is made of half of what the vendor says", "datasets/base.py",
    "for text in said]", "for text in said[:1]]",
)  # fmt: skip
async def test_t11_ids_made_of_what_the_vendor_says_are_the_same_in_every_answer(world: LedgerWorld) -> None:
    world.ledger.rows = [coffee(amount=f"-{n}.00") for n in range(1, 9)]
    await world.linked({"key": "k"}, "ada")
    await world.work()
    known = world.known()
    for _ in range(3):
        world.ledger.rows.reverse()
        await world.next_day()
    assert world.known() == known
    assert len(world.rows("transactions", history=True)) == 8
    assert {name.split("_")[0] for name in known} == {"fp1"}
