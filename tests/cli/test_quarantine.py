"""Rows that could not be used: seen, looked at, tried again."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fin_infra.datasets import transactions
from fin_infra.datasets.transactions import Transactions
from fin_infra.providers.teller.simulator import Fault, TellerSimulator
from tests.cli.conftest import TOKEN, Cli

BAD = "txn_ada_pending"


@pytest.fixture
def broken(cli: Cli, linked: str, bank: TellerSimulator) -> str:
    """A connection of which one row has an amount that is none."""
    bank.add("acc_ada_card", bank.remove("acc_ada_card", BAD)).amount = "twelve"
    assert cli("sync", "--connection", linked).code == 1
    return linked


def entries(cli: Cli, *more: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli("quarantine", "ls", "--json", *more).out.splitlines()]


def findings(cli: Cli) -> list[tuple[str, str, str]]:
    rows = [json.loads(line) for line in cli("read", "findings", "--format", "ndjson").out.splitlines()]
    return [(row["kind"], row["subject"], row["state"]) for row in rows]


def held(cli: Cli) -> set[str]:
    lines = cli("read", "transactions", "--format", "ndjson").out.splitlines()
    return {json.loads(line)["transaction_id"] for line in lines}


def test_a_bad_row_is_listed_and_shown_and_the_rest_commits(cli: Cli, broken: str) -> None:
    [entry] = entries(cli)
    assert (entry["connection_id"], entry["dataset"], entry["kind"]) == (broken, "transactions", "row")
    assert entry["reason"] == "amount is not an amount that fits Decimal(38, 18)"
    assert entry["reason"] in cli("quarantine", "ls").out
    assert entries(cli, "--connection", "con_other") == []
    said = cli("quarantine", "show", entry["id"])
    shown = json.loads(said.out)
    assert shown["evidence"]["columns"]["transaction_id"] == BAD
    assert shown["evidence"]["constants"]["tenant_id"] == "ada"
    assert "may be personal" in said.err
    assert BAD not in held(cli)
    assert held(cli)
    assert findings(cli) == [("row_invalid", f"acc_ada_card {BAD}", "open")]
    [run] = [json.loads(r) for r in cli("runs", "ls", "--json").out.splitlines() if '"dataset": "transactions"' in r]
    assert run["outcome"] == "partial"
    assert json.loads(cli("runs", "show", run["run_id"]).out)["findings"][0]["subject"] == f"acc_ada_card {BAD}"


def test_the_same_bad_row_is_one_entry_however_often_it_comes(
    cli: Cli, broken: str, bank: TellerSimulator, tmp_path: Path
) -> None:
    [first] = entries(cli)
    for amount in ("twelve", "thirteen", "fourteen"):
        next(t for t in bank.account("acc_ada_card").transactions if t.id == BAD).amount = amount
        cli("sync", "transactions", "--connection", broken)
    [last] = entries(cli)
    assert first["id"] == last["id"]
    assert first["last_seen_at"] < last["last_seen_at"]
    assert "fourteen" in cli("quarantine", "show", last["id"]).out, "as it came last"
    rows = sqlite3.connect(tmp_path / "var/fin.db").execute("SELECT body FROM quarantine").fetchall()
    assert all(b"fourteen" not in body for (body,) in rows), "sealed"


def test_a_row_that_comes_well_later_leaves_by_itself(cli: Cli, broken: str, bank: TellerSimulator) -> None:
    next(t for t in bank.account("acc_ada_card").transactions if t.id == BAD).amount = "27.80"
    assert cli("sync", "transactions", "--connection", broken).code == 0
    assert entries(cli) == []
    assert BAD in held(cli)
    assert findings(cli) == [("row_invalid", f"acc_ada_card {BAD}", "resolved")]


def test_a_row_that_the_vendor_no_longer_has_leaves_too(cli: Cli, broken: str, bank: TellerSimulator) -> None:
    bank.remove("acc_ada_card", BAD)
    assert cli("sync", "transactions", "--connection", broken).code == 0
    assert entries(cli) == []
    assert findings(cli) == [("row_invalid", f"acc_ada_card {BAD}", "resolved")]


def test_a_failed_read_says_nothing_about_what_it_did_not_see(cli: Cli, broken: str, bank: TellerSimulator) -> None:
    bank.account("acc_ada_card").refusal = (410, "account.closed")
    cli("sync", "transactions", "--connection", broken)
    assert len(entries(cli)) == 1
    assert findings(cli) == [("row_invalid", f"acc_ada_card {BAD}", "open")]


def test_an_account_that_fails_keeps_no_other_finding_open(cli: Cli, broken: str, bank: TellerSimulator) -> None:
    bank.account("acc_ada_savings").refusal = (410, "account.closed")
    bank.remove("acc_ada_card", BAD)
    cli("sync", "transactions", "--connection", broken)
    assert entries(cli) == []


def test_retry_with_the_same_code_says_why_it_is_still_broken(cli: Cli, broken: str) -> None:
    [entry] = entries(cli)
    said = cli("quarantine", "retry", entry["id"])
    assert said.code == 1
    assert said.out == f"{entry['id']}: still not kept: amount is not an amount that fits Decimal(38, 18)\n"
    assert len(entries(cli)) == 1


def test_retry_with_newer_code_commits_the_row_without_asking_the_vendor(
    cli: Cli, linked: str, bank: TellerSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fin_infra.datasets import base

    bank.account("acc_ada_card").transactions[-1].status = "settled"  # a word that today's schema does not know
    bad = bank.account("acc_ada_card").transactions[-1].id
    assert cli("sync", "--connection", linked).code == 1
    [entry] = entries(cli)
    assert "status is not one of pending, posted" in entry["reason"]
    before = json.loads(cli("read", "streams", "--format", "ndjson").out.splitlines()[-1])
    asked = len(bank.requests)
    with monkeypatch.context() as patch:  # the next release takes that word for posted
        build = Transactions.build.__func__  # type: ignore[attr-defined]

        def newer(cls: Any, columns: Any, constants: Any) -> base.Built:
            status = ["posted" if word == "settled" else word for word in columns["status"]]
            built: base.Built = build(cls, {**columns, "status": status}, constants)
            return built

        patch.setattr(transactions.Transactions, "build", classmethod(newer))
        said = cli("quarantine", "retry", "--all")
    assert (said.code, said.out) == (0, f"{entry['id']}: it holds now: a new row\n")
    assert len(bank.requests) == asked
    rows = [json.loads(line) for line in cli("read", "transactions", "--format", "ndjson").out.splitlines()]
    [row] = [row for row in rows if row["transaction_id"] == bad]
    assert (row["account_id"], row["currency"], row["tenant_id"]) == ("acc_ada_card", "USD", "ada")
    assert entries(cli) == []
    assert [state for *_, state in findings(cli)] == ["resolved"]
    after = json.loads(cli("read", "streams", "--format", "ndjson").out.splitlines()[-1])
    assert before == after, "the stream says what its last run said"
    shown = json.loads(cli("runs", "show", row["run_id"]).out)
    assert (shown["run"]["outcome"], shown["run"]["inserted"], shown["run"]["calls"]) == ("ok", 1, 0)
    assert [change["key"][-1] for change in shown["changes"]] == [bad]
    bank.account("acc_ada_card").transactions[-1].status = "posted"
    assert cli("sync", "transactions", "--connection", linked).code == 0
    rows = [json.loads(line) for line in cli("read", "transactions", "--format", "ndjson").out.splitlines()]
    assert [row["transaction_id"] for row in rows].count(bad) == 1


def test_a_row_of_an_older_snapshot_is_not_mixed_into_a_newer_one(
    cli: Cli, linked: str, bank: TellerSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.account("acc_ada_card").kind = "mortgage"
    cli("sync", "accounts", "--connection", linked)
    [entry] = [e for e in entries(cli) if e["dataset"] == "accounts"]
    assert "kind is not one of" in entry["reason"]
    said = cli("quarantine", "retry", entry["id"])
    assert (said.code, "still not kept" in said.out) == (1, True)
    bank.disconnect(TOKEN)
    cli("sync", "accounts", "--connection", linked)  # whatever it came to, the run of the evidence is not the last
    from fin_infra.datasets.accounts import Accounts

    build = Accounts.build.__func__  # type: ignore[attr-defined]

    def newer(cls: Any, columns: Any, constants: Any) -> Any:
        kind = ["loan" if word and "mortgage" in word else word for word in columns["kind"]]
        return build(cls, {**columns, "kind": kind}, constants)

    monkeypatch.setattr(Accounts, "build", classmethod(newer))
    said = cli("quarantine", "retry", entry["id"])
    assert said.code == 1
    assert "two snapshots are never mixed" in said.out


def test_an_answer_that_could_not_be_read_is_kept_and_tried_again(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    cli("sync", "accounts", "--connection", linked)
    garbage = f'{{"oops": 1, "access_token": "{TOKEN}", "link_token": "link-77"}}'.encode()
    bank.fail_next(Fault("garbage", times=6, on="/transactions", body=garbage))
    cli("sync", "transactions", "--connection", linked)
    cli("sync", "transactions", "--connection", linked)
    kept = entries(cli)
    assert {entry["kind"] for entry in kept} == {"page"}
    assert len(kept) <= 3, "one per account and answer, not one per sync"
    shown = cli("quarantine", "show", kept[0]["id"]).out
    assert "oops" in shown
    assert "link-77" not in shown
    bank.faults.clear()
    said = cli("quarantine", "retry", kept[0]["id"], "--json")
    done = json.loads(said.out)
    assert (said.code, done["healed"]) == (0, True)
    assert done["said"].startswith("the answer still cannot be read (an answer without its documented shape")
    assert entries(cli) == []
    assert held(cli)


def test_an_answer_that_comes_broken_again_stays(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    cli("sync", "accounts", "--connection", linked)
    bank.fail_next(Fault("garbage", times=99, on="/transactions"))
    cli("sync", "transactions", "--connection", linked)
    said = cli("quarantine", "retry", "--all")
    assert said.code == 1
    assert "it is still so" in said.out
    assert entries(cli)


def test_evidence_goes_with_its_connection_and_survives_new_keys(cli: Cli, broken: str) -> None:
    [entry] = entries(cli)
    assert cli("connections", "rm", broken, "--erase").code == 0
    assert entries(cli) == []
    assert cli("quarantine", "show", entry["id"]).code == 2


@pytest.mark.parametrize("arguments", [("retry",), ("retry", "qua_x", "--all"), ("retry", "qua_x"), ("show", "qua_x")])
def test_misuse_exits_2_with_a_remedy(cli: Cli, linked: str, arguments: tuple[str, ...]) -> None:
    said = cli("quarantine", *arguments)
    assert said.code == 2
    assert "fin-infra quarantine" in said.error


def test_what_a_vendor_can_fill_the_quarantine_with_is_bounded(
    cli: Cli, linked: str, bank: TellerSimulator, tmp_path: Path
) -> None:
    from fin_infra.providers.teller.simulator import SimTransaction

    account = bank.account("acc_ada_checking")
    for part in range(2):
        account.transactions = [
            SimTransaction(f"bad_{part}_{n}", "much", "2026-11-20", "x") for n in range(700)
        ]  # fmt: skip
        cli("sync", "--connection", linked)
    assert len(entries(cli)) == 500
    further = [f for f in findings(cli) if f[1] == "further rows"]
    assert further == [("row_invalid", "further rows", "open")]
