"""T-27 by commands: an owner chooses accounts, leaves some out and takes them in again."""

from __future__ import annotations

import json

from fin_infra.providers.teller.simulator import TellerSimulator
from tests.cli.conftest import TOKEN, Cli

CHECKING, SAVINGS, CARD = "acc_ada_checking", "acc_ada_savings", "acc_ada_card"


def paths(bank: TellerSimulator) -> list[str]:
    return [request.partition("?")[0] for request in bank.requests]


def test_t27_choosing_costs_one_call_and_only_what_was_chosen_is_asked_for(cli: Cli, bank: TellerSimulator) -> None:
    said = cli("connections", "add", "banking:teller", "--secret-stdin", "--choose", stdin=TOKEN)
    assert said.code == 0, said.err
    linked = said.out.strip()
    assert paths(bank) == ["/accounts"]
    assert all(account in said.err for account in (CHECKING, SAVINGS, CARD))
    assert f"connections take-in {linked}" in said.err
    shown = json.loads(cli("connections", "show", linked).out)
    assert {a["account_id"]: a["left_out"] for a in shown["accounts"]} == {CHECKING: True, SAVINGS: True, CARD: True}
    assert shown["new_accounts"] == "left out"
    assert cli("connections", "take-in", linked, CARD).code == 0
    cli("sync", "--connection", linked)
    assert {path.split("/")[2] for path in paths(bank) if path.count("/") > 1} == {CARD}
    status = json.loads(cli("status", "--json").out)
    assert {row["account_id"] for row in status["accounts_not_ok"]} == set()


def test_t27_an_account_is_left_out_and_taken_in_by_its_id(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    assert "fin-infra sync accounts" in cli("connections", "leave-out", linked, CARD).error
    cli("sync", "--connection", linked)
    assert cli("connections", "leave-out", linked, CARD, SAVINGS).code == 0
    begin = len(bank.requests)
    cli("sync", "--connection", linked)
    assert {path.split("/")[2] for path in paths(bank)[begin:] if path.count("/") > 1} == {CHECKING}
    states = [json.loads(line) for line in cli("read", "account_states", "--format", "ndjson").out.splitlines()]
    assert {row["account_id"] for row in states if row["state"] == "left_out"} == {CARD, SAVINGS}
    assert cli("connections", "take-in", linked, "--all").code == 0
    begin = len(bank.requests)
    cli("sync", "--connection", linked)
    assert {path.split("/")[2] for path in paths(bank)[begin:] if path.count("/") > 1} == {CHECKING, CARD, SAVINGS}


def test_t27_what_cannot_be_meant_is_said(cli: Cli, linked: str) -> None:
    cli("sync", "accounts", "--connection", linked)
    said = cli("connections", "leave-out", linked, "acc_other")
    assert said.code == 2
    assert CHECKING in said.error
    assert "is not left out" in cli("connections", "take-in", linked, CARD).error
    assert "--all" in cli("connections", "take-in", linked).error
    assert cli("connections", "leave-out", "con_none", CARD).code == 2
    assert "no accounts to choose from" in cli("connections", "add", "fx:ecb", "--choose").error
