"""`keys verify`, `providers health` and `providers ls`: which keys are good, and how vendors serve us."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fin_infra.providers import REGISTRY
from fin_infra.providers.alpaca.simulator import AlpacaSimulator, sandbox
from fin_infra.providers.simulating import Fault
from fin_infra.providers.teller.simulator import TellerSimulator
from fin_infra.testing import serve
from tests.cli.conftest import TOKEN, Cli
from tests.guards import guarded


def test_a_good_key_is_proven_by_one_call(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    said = cli("keys", "verify", "banking:teller", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == [
        {"provider": "teller", "connection": linked, "error_code": None, "state": "good", "says": "3 accounts"}
    ]
    assert bank.requests == ["/accounts"]


@guarded(
    "a refused key is no success", "cli/keys.py",
    'if any(row["state"] in ("refused", "unknown") for row in rows):', "if False:",
)  # fmt: skip
def test_a_refused_key_says_so_and_stops_no_other(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    other = cli("connections", "add", "banking:teller", "--secret-stdin", stdin="test_token_wrong").out.strip()
    said = cli("keys", "verify", "--json")
    assert said.code == 1
    rows = {row["connection"]: row for row in json.loads(said.out)}
    assert (rows[linked]["state"], rows[other]["state"], rows[other]["error_code"]) == (
        "good", "refused", "auth_invalid",
    )  # fmt: skip
    assert cli("keys", "verify", "--connection", linked).code == 0


def test_a_vendor_that_is_down_proves_nothing(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    bank.fail_next(Fault("refuse", status=502, code="x", times=9))
    said = cli("keys", "verify", "--json")
    assert said.code == 1
    (row,) = json.loads(said.out)
    assert (row["state"], row["error_code"]) == ("unknown", "vendor_unavailable")


def test_a_key_in_the_settings_is_proven_where_none_is_linked(
    cli: Cli, bank: TellerSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("keys", "verify")
    assert (said.code, said.out) == (0, "")
    assert "no credential is linked or set" in said.err
    monkeypatch.setenv("FIN_INFRA_TELLER_ACCESS_TOKEN", TOKEN)
    said = cli("keys", "verify")
    assert said.code == 0
    assert "settings" in said.out
    assert "3 accounts" in said.out


def test_every_vendor_with_a_key_can_prove_it() -> None:
    keyed = [name for name in REGISTRY.names() if REGISTRY.declared(name).secrets]
    assert [name for name in keyed if REGISTRY.declared(name).probe is None] == []


def test_health_is_what_the_runs_saw(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    assert cli("sync", "--connection", linked).code == 0
    good = json.loads(cli("providers", "health", "--json").out)[0]
    assert (good["provider"], good["availability"], good["error_rate"]) == ("teller", 1.0, 0.0)
    assert good["calls"] == len(bank.requests)
    assert good["slowest"] >= good["latency"] > 0
    bank.fail_next(Fault("refuse", status=502, code="x", times=99))
    cli("sync", "accounts", "--connection", linked)
    ill = json.loads(cli("providers", "health", "banking:teller", "--json").out)[0]
    assert ill["availability"] < 1
    assert ill["error_rate"] > 0
    assert ill["last_success"] == good["last_success"]
    said = cli("providers", "health", "fx:ecb")
    assert "nobody was asked within 24 hours" in said.err


def test_ls_lists_every_vendor_with_its_quota_and_whether_it_is_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_PLAID_ENABLED", "0")
    rows = {row["provider"].rpartition(":")[2]: row for row in json.loads(cli("providers", "ls", "--json").out)}
    assert list(rows) == REGISTRY.names()
    assert "200 calls in any minute" in rows["alpaca"]["quota"]
    assert rows["plaid"]["state"] == "off: FIN_INFRA_PLAID_ENABLED says so"
    assert rows["ecb"]["state"] == "configured"
    assert "plaid" not in cli("connections", "add", "banking:plaid").error.partition("there are:")[2]


def test_what_a_vendor_does_not_look_up_is_a_sentence(cli: Cli, linked: str) -> None:
    said = cli("providers", "find", "banking:teller", "coins", "bitcoin")
    assert said.code == 2
    assert "teller does not look up 'coins'" in said.error


def test_quotas_say_what_the_vendor_itself_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = AlpacaSimulator()
    sandbox(broker, "PKTOLD", "told-secret", today=datetime.now(UTC).date())
    with serve(broker.trading) as trading, serve(broker.data) as data:
        monkeypatch.setenv("FIN_INFRA_ALPACA_BASE_URL", trading.url)
        monkeypatch.setenv("FIN_INFRA_ALPACA_DATA_BASE_URL", data.url)
        keys = json.dumps({"key_id": "PKTOLD", "secret_key": "told-secret"})
        linked = cli("connections", "add", "brokerage:alpaca", "--secret-stdin", stdin=keys).out.strip()
        assert cli("sync", "accounts", "--connection", linked).code == 0
        said = cli("quotas")
        assert "alpaca itself said at" in said.err
        assert "199 of 200 left, all free at" in said.err
        (run,) = [json.loads(line) for line in cli("read", "runs", "--format", "ndjson").out.splitlines()]
        assert (run["vendor_remaining"], run["vendor_limit"], run["failed_calls"]) == (199, 200, 0)


@guarded(
    "an answer that is kept is not asked for again", "runtime/asking.py",
    'rows: list[dict[str, Any]] = await read(key=f"{provider.name}:{what}:{told}")',
    'rows: list[dict[str, Any]] = await ask(f"{provider.name}:{what}:{told}")',
)  # fmt: skip
def test_a_lookup_is_asked_once_and_kept(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    said = cli("providers", "find", "banking:teller", "institutions", "simulated", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == [
        {"symbol": "sim", "instrument": None, "name": "Simulated Bank", "products": "balance, transactions"}
    ]
    asked = len(bank.requests)
    assert asked == 1
    assert (
        cli("providers", "find", "banking:teller", "institutions", "no such bank").code == 1
    )  # of the list that is kept
    assert cli("providers", "find", "banking:teller", "institutions", "sim").code == 0
    assert len(bank.requests) == asked
