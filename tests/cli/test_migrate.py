"""Another vendor for the same bank: accounts keep their ids, no transaction is counted twice, nothing is guessed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.providers.teller.simulator import SimTransaction, TellerSimulator
from fin_infra.testing import serve
from tests.cli.conftest import Cli
from tests.guards import guarded
from tests.plaid_world import PlaidWorld, bank, bought, plaid_of
from tests.plaid_world import card as plaid_card
from tests.world import card, checking

TOKEN = "test_token_new"


@pytest.fixture
def plaid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as world:
        monkeypatch.setenv("FIN_INFRA_STORE_URL", world.settings.store_url)
        monkeypatch.setenv("FIN_INFRA_PLAID_BASE_URL", world.url)
        yield world


@pytest.fixture
def teller(plaid: PlaidWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[TellerSimulator]:
    simulator = TellerSimulator(now=plaid.clock)
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_TELLER_BASE_URL", served.url)
        yield simulator


def spent(row_id: str, amount: str, on: str, text: str = "Corner Grocery") -> SimTransaction:
    return SimTransaction(row_id, amount, on, text)


def rows(cli: Cli, dataset: str, **where: str) -> list[dict[str, Any]]:
    said = cli("read", dataset, "--tenant", "ada", "--format", "ndjson")
    assert said.code == 0, said.err
    found = [json.loads(line) for line in said.out.splitlines()]
    return [row for row in found if all(row[name] == value for name, value in where.items())]


def total(cli: Cli, account: str) -> Decimal:
    return sum((Decimal(row["amount"]) for row in rows(cli, "transactions", account_id=account)), Decimal(0))


def linked(plaid: PlaidWorld) -> str:
    """A bank at Plaid with a purchase, two real twins, and one that Teller no longer tells."""
    con = asyncio.run(plaid.link(bank("acc_1", mask="1111"), plaid_card("acc_2")))
    plaid.item.add(
        bought("p_1", "10.00", "2026-11-20"), bought("p_2", "4.50", "2026-11-18"), bought("p_3", "4.50", "2026-11-18"),
        bought("p_old", "99.00", "2026-11-19"),
    )  # fmt: skip
    for dataset in ("accounts", "transactions"):
        assert asyncio.run(plaid.sync(dataset)).outcome == "ok"
    return con.connection_id


async def synced(plaid: PlaidWorld, connection: str) -> None:
    plaid.clock.advance(timedelta(days=1))
    async with plaid.runtime() as runtime:
        for dataset in ("accounts", "transactions"):
            assert (await runtime.engine.sync(dataset, connection)).outcome == "ok"


def same_bank(teller: TellerSimulator) -> None:
    teller.enroll(
        TOKEN,
        checking(
            "t_acc", spent("t_1", "-10.00", "2026-11-21"), spent("t_2", "-4.50", "2026-11-18"),
            spent("t_3", "-4.50", "2026-11-18"), spent("t_new", "-7.00", "2026-11-23"), last_four="1111",
        ),
        card("t_card"),
    )  # fmt: skip


@guarded(
    "rows that two vendors tell are one", "engine/changes.py",
    "rows, ended = continued_rows(run, built.good, store)", "rows, ended = built.good, None",
)  # fmt: skip
@guarded(
    "the old connection goes out of use in the same step", "connections/__init__.py",
    'self._set(sql, old, state="disabled",', 'self._set(sql, old, state="active",',
)  # fmt: skip
@guarded(
    "what the new vendor does not tell stays", "engine/changes.py",
    'mine["provider"] = run.connection.provider', "pass",
)  # fmt: skip
def test_accounts_keep_their_ids_and_nothing_is_counted_twice(
    cli: Cli, plaid: PlaidWorld, teller: TellerSimulator
) -> None:
    old = linked(plaid)
    same_bank(teller)
    before = total(cli, "acc_1")
    said = cli("connections", "migrate", old, "banking:teller", "--secret-stdin", stdin=TOKEN)
    assert said.code == 0, said.err
    new = said.out.strip()
    assert "acc_1 goes on as t_acc of teller: same last digits, kind and currency" in said.err
    assert [c["state"] for c in (json.loads(cli("connections", "show", i).out) for i in (old, new))] == [
        "disabled", "active",
    ]  # fmt: skip
    for _ in range(3):  # a day apart: what one read misses, another would confirm
        asyncio.run(synced(plaid, new))
    assert {row["account_id"]: row["provider"] for row in rows(cli, "accounts", status="open")} == {
        "acc_1": "teller", "acc_2": "teller",
    }  # fmt: skip
    ids = {row["transaction_id"]: row["provider"] for row in rows(cli, "transactions", account_id="acc_1")}
    assert ids == {
        "p_1": "teller", "p_2": "teller", "p_3": "teller", "p_old": "plaid", "t_new": "teller",
    }  # fmt: skip
    assert total(cli, "acc_1") == before - 7
    history = cli("read", "transactions", "--tenant", "ada", "--history", "--format", "ndjson").out
    assert {json.loads(line)["provider"] for line in history.splitlines() if '"p_1"' in line} == {"plaid", "teller"}
    assert "same amount, booked within three days" in cli("explain", "transaction", "p_1").out


def test_what_is_in_doubt_links_nothing_until_it_is_said(cli: Cli, plaid: PlaidWorld, teller: TellerSimulator) -> None:
    old = asyncio.run(plaid.link(bank("acc_1", mask="1111"), bank("acc_3", mask="1111"))).connection_id
    assert asyncio.run(plaid.sync("accounts")).outcome == "ok"
    teller.enroll(TOKEN, checking("t_acc", last_four="1111"))
    said = cli("connections", "migrate", old, "banking:teller", "--secret-stdin", stdin=TOKEN)
    assert said.code == 2
    assert "say which is which by --map" in said.error
    assert "t_acc may be any of acc_1, acc_3" in said.err
    assert len(json.loads(cli("connections", "ls", "--json").out)) == 1
    mapped = ("--map", "acc_3=t_acc")
    tried = cli("connections", "migrate", old, "banking:teller", *mapped, "--dry-run", "--secret-stdin", stdin=TOKEN)
    assert (tried.code, tried.out) == (0, "")
    assert "acc_3 goes on as t_acc of teller: said by its owner" in tried.err
    assert json.loads(cli("connections", "show", old).out)["state"] == "active"
    said = cli("connections", "migrate", old, "banking:teller", *mapped, "--secret-stdin", stdin=TOKEN)
    assert said.code == 0, said.err
    again = cli("connections", "migrate", old, "banking:teller", *mapped, "--secret-stdin", stdin=TOKEN)
    assert again.code == 2
    assert "is disabled: migrated to teller" in again.error


def test_misuse_is_a_sentence(cli: Cli, plaid: PlaidWorld, teller: TellerSimulator) -> None:
    old = linked(plaid)
    assert (
        "connections relink" in cli("connections", "migrate", old, "banking:plaid", "--secret-stdin", stdin="x").error
    )
    assert "ecb has no accounts" in cli("connections", "migrate", old, "fx:ecb").error
    same_bank(teller)
    wrong = cli("connections", "migrate", old, "banking:teller", "--map", "acc_1", "--secret-stdin", stdin=TOKEN)
    assert "is not OLD=NEW" in wrong.error
    unknown = cli("connections", "migrate", old, "banking:teller", "--map", "x=t_acc", "--secret-stdin", stdin=TOKEN)
    assert "there is no account x" in unknown.error
