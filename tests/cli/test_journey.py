"""From a link to rows in a table, by commands alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest

from fin_infra.providers.teller.simulator import Fault, TellerSimulator
from tests.cli.conftest import TOKEN, Cli


def test_link_sync_status_read(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    assert "never run yet" in cli("status").out
    said = cli("sync", "--connection", linked)
    assert said.code == 0
    assert [line.split(": ")[0] for line in said.out.splitlines()] == [f"{linked}/accounts", f"{linked}/transactions"]
    assert "page 1" in said.err
    rows = list(csv.DictReader(io.StringIO(cli("read", "transactions", "--format", "csv").out)))
    held = {row.id: row for e in bank.enrollments.values() for a in e.accounts for row in a.transactions}
    assert {row["transaction_id"] for row in rows} == set(held)
    status = json.loads(cli("status", "--json").out)
    assert {(s["dataset"], s["state"]) for s in status["streams"]} == {
        ("accounts", "ok"), ("balances", "ok"), ("transactions", "ok")
    }  # fmt: skip
    assert "ok" in cli("status").out


def test_a_dry_run_writes_nothing(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    assert "sync accounts first" in cli("sync", "transactions", "--connection", linked, "--dry-run").out
    cli("sync", "--connection", linked)
    before = cli("read", "transactions", "--format", "ndjson").out
    bank.post("acc_ada_card", "txn_ada_pending", on="2026-11-25")
    said = cli("sync", "transactions", "--all", "--dry-run", "--json")
    assert json.loads(said.out)["updated"] == 1
    assert cli("read", "transactions", "--format", "ndjson").out == before
    assert len(cli("runs", "ls", "--json").out.splitlines()) == 2


def test_formats_agree_and_amounts_are_exact(cli: Cli, linked: str, tmp_path: Path, bank: TellerSimulator) -> None:
    bank.account("acc_ada_checking").transactions[0].amount = "-12345678901234567890.123456789012345678"
    cli("sync", "--connection", linked)
    flags = ("read", "transactions", "--account", "acc_ada_checking", "--since", "2026-11-01")
    as_csv = list(csv.DictReader(io.StringIO(cli(*flags, "--format", "csv").out)))
    as_json = [json.loads(line) for line in cli(*flags, "--format", "ndjson").out.splitlines()]
    assert [row["amount"] for row in as_csv] == [row["amount"] for row in as_json]
    assert "-12345678901234567890.123456789012345678" in {row["amount"] for row in as_json}
    assert all(row["booked_on"] >= "2026-11-01" for row in as_json)
    assert cli(*flags, "--limit", "2", "--format", "csv").out.count("\n") == 3
    assert "-12345678901234567890.123456789012345678" in cli(*flags).out


def test_parquet_goes_to_a_file(linked: str, cli: Cli, tmp_path: Path) -> None:
    import subprocess
    import sys

    cli("sync", "--connection", linked)
    file = tmp_path / "rows.parquet"
    with file.open("wb") as out:
        program = "from fin_infra.cli import main; main()"
        command = [sys.executable, "-c", program, "read", "transactions", "--format", "parquet"]
        subprocess.run(command, stdout=out, check=True, timeout=60)
    assert pl.read_parquet(file).schema["amount"] == pl.Decimal(38, 18)


def test_as_of_and_history(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    cli("sync", "--connection", linked)
    [before] = [r for r in _rows(cli) if r["transaction_id"] == "txn_ada_pending"]
    bank.post("acc_ada_card", "txn_ada_pending", on="2026-11-25", amount="30.00")
    cli("sync", "--connection", linked)
    [now] = [r for r in _rows(cli) if r["transaction_id"] == "txn_ada_pending"]
    versions = [r for r in _rows(cli, "--history") if r["transaction_id"] == "txn_ada_pending"]
    [then] = [r for r in _rows(cli, "--as-of", versions[0]["known_from"]) if r["transaction_id"] == "txn_ada_pending"]
    assert (before["status"], now["status"], then["status"]) == ("pending", "posted", "pending")
    assert [v["amount"] for v in versions] == ["-27.8", "-30"]
    assert versions[0]["known_to"] == versions[1]["known_from"]


def test_worker_until_idle_then_runs_jobs_schedules_and_doctor(cli: Cli, linked: str) -> None:
    said = cli("worker", "--until-idle", "--slots", "2")
    assert said.code == 0
    assert f"{linked}/transactions: ok" in said.out
    assert "2 streams" in said.err
    runs = [json.loads(line) for line in cli("runs", "ls", "--json").out.splitlines()]
    assert {run["outcome"] for run in runs} == {"ok"}
    shown = json.loads(cli("runs", "show", runs[0]["run_id"]).out)
    assert shown["run"]["run_id"] == runs[0]["run_id"]
    assert len(shown["changes"]) == runs[0]["inserted"]
    assert cli("jobs", "ls", "--json").out == ""
    assert "0 jobs; 2 done" in cli("jobs", "ls").err
    due = json.loads(cli("schedules", "next", "--count", "3", "--json").out)
    assert {row["stream"] for row in due} == {f"{linked}/accounts", f"{linked}/transactions", "no connection yet"}
    assert all(sum(row["schedule"] == name for row in due) == 3 for name in ("accounts", "transactions", "us_eod"))
    doctor = cli("doctor")
    assert doctor.code == 0
    assert "BAD" not in doctor.out


def test_a_dead_letter_is_listed_and_can_be_tried_again(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    bank.fail_next(Fault("garbage", on="/transactions"))
    cli("worker", "--until-idle")
    [dead] = [json.loads(line) for line in cli("jobs", "dead", "--json").out.splitlines()]
    assert dead["last_error"].startswith("contract_broken: the answer is not whole JSON")
    assert cli("doctor").code == 1
    assert cli("jobs", "retry", "999").code == 2
    assert cli("jobs", "retry", str(dead["id"])).code == 0
    cli("worker", "--until-idle")
    assert cli("jobs", "dead", "--json").out == ""
    assert _rows(cli)


def test_reauth_shows_everywhere_and_relink_cures_it(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    cli("sync", "--connection", linked)
    bank.disconnect(TOKEN)
    said = cli("sync", "--connection", linked)
    assert said.code == 1
    assert "fin-infra connections relink" in said.out
    assert "reauth" in cli("status").out
    assert json.loads(cli("connections", "ls", "--json").out)[0]["state"] == "reauth"
    again = cli("sync", "--connection", linked)
    assert "reauth_required" in again.out or "log in at the bank again" in again.out
    bank.reconnect(TOKEN)
    assert cli("connections", "relink", linked, "--secret-stdin", stdin=json.dumps({"access_token": TOKEN})).code == 0
    assert cli("sync", "--connection", linked).code == 0
    assert json.loads(cli("connections", "ls", "--json").out)[0]["state"] == "active"


def test_a_connection_can_be_disabled_and_erased(cli: Cli, linked: str, tmp_path: Path) -> None:
    cli("sync", "--connection", linked)
    assert cli("connections", "disable", linked).code == 0
    assert "0 streams" not in cli("worker", "--until-idle").err
    assert "disabled" in cli("status").out
    assert cli("connections", "rm", linked, "--erase").code == 0
    assert _rows(cli) == []
    assert cli("connections", "show", linked).code == 2
    for file in (tmp_path / "var").iterdir():
        assert b"acc_ada_card" not in file.read_bytes(), file.name


@pytest.mark.parametrize("how", ["env", "file"])
def test_a_secret_comes_from_the_environment_or_a_file(
    cli: Cli, bank: TellerSimulator, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    (tmp_path / "token").write_text(TOKEN + "\n")
    place = "env:MY_TOKEN" if how == "env" else f"file:{tmp_path / 'token'}"
    said = cli("connections", "add", "banking:teller", "--secret", f"access_token={place}")
    assert said.code == 0
    assert cli("sync", "--all").code == 0


def test_vault_keys_rotate(cli: Cli, linked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    old = (tmp_path / "var/fin.key").read_text().strip()
    new = Fernet.generate_key().decode()
    monkeypatch.setenv("FIN_INFRA_VAULT_KEY", f"{new},{old}")
    assert cli("connections", "reseal").code == 0
    monkeypatch.setenv("FIN_INFRA_VAULT_KEY", new)
    assert cli("sync", "--connection", linked).code == 0
    monkeypatch.setenv("FIN_INFRA_VAULT_KEY", old)
    said = cli("sync", "--connection", linked)
    assert said.code != 0
    assert "vault keys at hand" in said.out + said.err


def _rows(cli: Cli, *more: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in cli("read", "transactions", "--format", "ndjson", *more).out.splitlines()]


def test_a_locale_is_for_tables_and_keeps_all_digits(
    cli: Cli, linked: str, bank: TellerSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.account("acc_ada_checking").transactions[0].amount = "-12345678901234567890.123456789012345678"
    cli("sync", "--connection", linked)
    flags = ("read", "transactions", "--account", "acc_ada_checking")
    exact = "12.345.678.901.234.567.890,123456789012345678"
    assert exact not in cli(*flags).out
    assert exact in cli(*flags, "--locale", "de_DE").out
    monkeypatch.setenv("FIN_INFRA_LOCALE", "de_DE")
    assert exact in cli(*flags).out
    assert exact not in cli(*flags, "--format", "csv").out
    said = cli(*flags, "--format", "csv", "--locale", "de_DE")
    assert (said.code, "--locale is for tables" in said.err) == (2, True)
    said = cli(*flags, "--locale", "xx_YY")
    assert (said.code, "xx_YY" in said.err) == (2, True)
