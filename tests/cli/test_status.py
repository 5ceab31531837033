"""What the operator is told: status, explain, runs, doctor."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.providers.teller.simulator import Fault, TellerSimulator
from fin_infra.store import Change, open_store
from tests.cli.conftest import Cli
from tests.guards import guarded


def status(cli: Cli) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("status", "--json").out)
    return found


def later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """So much later, and no worker ran."""
    from fin_infra.store import opening

    monkeypatch.setattr(opening, "utc_now", lambda: datetime.now(UTC) + by)


def test_a_stream_that_nobody_works_on_is_stale_and_doctor_says_so(
    cli: Cli, linked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("sync", "--connection", linked)
    assert {(s["state"], s["recorded_state"]) for s in status(cli)["streams"]} == {("ok", "ok")}
    assert cli("doctor").code == 0
    later(monkeypatch, timedelta(days=2))
    streams = status(cli)["streams"]
    assert {(s["state"], s["recorded_state"]) for s in streams} == {("stale", "ok")}
    assert all("is a worker running?" in s["why"] for s in streams)
    assert "stale" in cli("status").out
    said = cli("doctor")
    assert said.code == 1
    assert "BAD  freshness: 3 streams were not even tried for too long" in said.out
    cli("connections", "disable", linked)
    assert "ok   freshness: 0 streams" in cli("doctor").out, "nobody is meant to"


@guarded(
    "a limit that is over is still waited for", "cli/status.py",
    "and retry_at is not None and retry_at > now else None", "else None",
)  # fmt: skip
def test_t25_a_limit_is_told_as_one_with_its_end_and_never_as_something_to_relink(
    cli: Cli, linked: str, bank: TellerSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("sync", "--connection", linked).code == 0
    bank.fail_next(Fault("refuse", on="/transactions", status=429, retry_after="900"))
    assert cli("sync", "transactions", "--connection", linked).code == 1
    stream = {s["dataset"]: s for s in status(cli)["streams"]}["transactions"]
    assert (stream["state"], stream["connection_state"], stream["waits_for"]) == ("ok", "active", "rate_limited")
    wait = datetime.fromisoformat(stream["retry_at"]) - datetime.now(UTC)
    assert timedelta(seconds=880) < wait < timedelta(seconds=910)
    assert f"rate limit of the vendor until {stream['retry_at'].replace('+00:00', 'Z')}" in cli("status").out
    later(monkeypatch, timedelta(seconds=950))
    assert {s["waits_for"] for s in status(cli)["streams"]} == {None}, "that wait is over"


def test_a_spent_quota_is_told_as_one_with_the_instant_of_the_next_unit(
    cli: Cli, linked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_QUOTAS", "application=5/600s")
    cli("sync", "--connection", linked)
    waits = {s["dataset"]: (s["waits_for"], s["connection_state"]) for s in status(cli)["streams"]}
    assert waits["transactions"] == ("quota_exhausted", "active")
    said = cli("status")
    assert "quota until 2" in said.out
    assert "link" not in said.out + said.err


def test_how_old_is_too_old_is_a_setting(cli: Cli, linked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("sync", "--connection", linked)
    later(monkeypatch, timedelta(days=2))
    monkeypatch.setenv("FIN_INFRA_FRESH_WITHIN", "transactions=3d, balances=1d12h")
    states = {s["dataset"]: s["state"] for s in status(cli)["streams"]}
    assert states == {"accounts": "stale", "balances": "stale", "transactions": "ok"}


@pytest.mark.parametrize(
    "value", ["transactions", "transactions=soon", "transactions=3", "rows=3h", "transactions=-3h"]
)
def test_a_wrong_limit_is_misuse(cli: Cli, linked: str, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FIN_INFRA_FRESH_WITHIN", value)
    said = cli("status")
    assert said.code == 2
    assert "FIN_INFRA_FRESH_WITHIN" in said.error


def test_broken_numbers_are_seen_in_status_and_in_their_run(cli: Cli, linked: str, tmp_path: Path) -> None:
    from fin_infra.datasets.operations import Findings

    cli("sync", "--connection", linked)
    run = json.loads(cli("runs", "ls", "--json", "--limit", "1").out)
    assert run["findings"] == 0
    told = "the balance moved by 20 USD, its transactions by 15 USD: 5 USD are unexplained"
    store = open_store(f"sqlite:///{tmp_path / 'var/fin.db'}")
    finding = Findings.build(
        {"finding_id": ["fnd_1"], "subject": ["acc_ada_card"], "detail": [told]},
        {
            "tenant_id": "ada", "connection_id": linked, "dataset": "transactions", "kind": "balance_unexplained",
            "state": "open", "first_seen_at": datetime.now(UTC), "provider": "teller",
            "fetched_at": datetime.now(UTC), "run_id": run["run_id"],
        },
    )  # fmt: skip
    store.record([Change(Findings, finding.good)], connection_id=linked)
    store.close()
    assert f"{linked}/transactions, acc_ada_card: {told}" in cli("status").err
    found = status(cli)
    assert [(f["stream"], f["detail"]) for f in found["broken_numbers"]] == [(f"{linked}/transactions", told)]
    assert {s["dataset"]: s["open_findings"] for s in found["streams"]}["transactions"] == 1
    assert json.loads(cli("runs", "show", run["run_id"]).out)["findings"][0]["detail"] == told
    assert json.loads(cli("runs", "ls", "--json", "--connection", linked, "--limit", "1").out)["findings"] == 1
    assert cli("runs", "ls", "--json", "--connection", "con_other").out == ""
    assert told in cli("explain", f"{linked}/transactions").out


def test_explain_names_state_runs_schedules_and_cursor(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    cli("worker", "--until-idle")
    told = cli("explain", f"{linked}/transactions")
    assert told.code == 0
    lines = [line.strip() for line in told.out.splitlines()]
    assert lines[0] == f"{linked}/transactions is ok"
    assert any(line.startswith("last tried 2") and "last success 2" in line for line in lines)
    assert any(line.startswith("the schedule transactions drives it next at 2") for line in lines)
    assert any(" came to ok, " in line for line in lines)
    assert lines[-1].startswith("its cursor is version 1, of credential generation 1, moved last at 2")
    whole = [json.loads(line) for line in cli("explain", linked, "--json").out.splitlines()]
    assert [one["stream"] for one in whole] == [f"{linked}/{name}" for name in ("accounts", "balances", "transactions")]
    bank.account("acc_ada_card").refusal = (410, "account.closed")
    cli("sync", "--connection", linked)
    assert "account acc_ada_card is error: account_closed" in cli("explain", f"{linked}/transactions").out


@pytest.mark.parametrize(
    "subject", [("con_x/transactions",), ("{linked}/prices",), ("{linked}/nothing",), ("a", "b", "c"), ("",)]
)
def test_explaining_nothing_is_misuse(cli: Cli, linked: str, subject: tuple[str, ...]) -> None:
    said = cli("explain", *(part.format(linked=linked) for part in subject))
    assert said.code == 2
    assert said.error


def test_explain_tells_the_names_a_transaction_had(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    cli("worker", "--until-idle")
    rows = bank.account("acc_ada_checking").transactions
    newest = next(row for row in rows if row.status == "posted")
    first, newest.id = newest.id, "issued_anew"
    assert cli("sync", "transactions", "--connection", linked).code == 0
    told = cli("explain", "transaction", "issued_anew")
    assert told.code == 0
    assert told.out.startswith(f"{first} of acc_ada_checking is one row: posted")
    assert "teller calls it issued_anew since" in told.out
    [story] = [json.loads(line) for line in cli("explain", "transaction", first, "--json").out.splitlines()]
    assert (story["transaction_id"], story["names"][0]["vendor_id"]) == (first, "issued_anew")
    for wrong in (("transaction", "nobody"), ("transaction", first, "--tenant", "bob"), ("transaction",)):
        assert cli("explain", *wrong).code == 2
