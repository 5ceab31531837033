"""`fin-infra orders`: placed once, listed, shown, cancelled; misuse is a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_infra.providers.alpaca.simulator import AlpacaSimulator, SimAsset, SimBrokerage
from fin_infra.providers.simulating import Fault
from fin_infra.testing import serve
from tests.cli.conftest import Cli

ORDER = ("buy", "us:AAPL", "--qty", "2", "--limit", "150.50", "--time-in-force", "gtc")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AlpacaSimulator]:
    simulator = AlpacaSimulator()
    simulator.open_account("PK1", "s3", SimBrokerage("acc_1"))
    simulator.add_asset(SimAsset("AAPL", "Apple Inc."))
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_STORE_URL", f"sqlite:///{tmp_path / 'fin.db'}")
        monkeypatch.setenv("FIN_INFRA_ALPACA_BASE_URL", served.url)
        yield simulator


@pytest.fixture
def account(cli: Cli, broker: AlpacaSimulator) -> str:
    secrets = json.dumps({"key_id": "PK1", "secret_key": "s3"})
    return cli("connections", "add", "brokerage:alpaca", "--secret-stdin", stdin=secrets).out.strip()


def test_an_order_from_its_submission_to_its_end(cli: Cli, broker: AlpacaSimulator, account: str) -> None:
    said = cli("orders", "submit", account, "k1", *ORDER, "--json")
    assert said.code == 0, said.err
    (row,) = json.loads(said.out)
    assert (row["key"], row["qty"], row["price"], row["state"]) == ("k1", "2", "150.5", "accepted")
    again = cli("orders", "submit", account, "k1", *ORDER, "--json")
    assert json.loads(again.out) == [row]
    assert "was there already; nothing was sent" in again.err
    other = cli("orders", "submit", account, "k1", "sell", *ORDER[1:])
    assert other.code == 2
    assert other.error == (
        "the key 'k1' stands for another order (side buy then, sell now); another order needs another key"
    )
    assert len(broker.account("PK1").order_book.orders) == 1
    listed = cli("orders", "ls", account)
    assert "k1" in listed.out
    assert "150.5" in listed.out
    shown = cli("orders", "show", account, "k1")
    assert [line.split()[1] for line in shown.out.splitlines()[-3:]] == ["intended", "sent", "accepted"]
    assert cli("orders", "cancel", account, "k1").code == 0
    assert cli("orders", "cancel", account, "k1").code == 0
    assert json.loads(cli("orders", "show", account, "k1", "--json").out)["state"] == "canceled"
    assert cli("orders", "ls", account, "--json").out == "[]\n"


def test_what_nobody_knows_is_said_and_settled(cli: Cli, broker: AlpacaSimulator, account: str) -> None:
    broker.fail_next(Fault("refuse", status=503, on="/v2/orders"))
    said = cli("orders", "submit", account, "k1", *ORDER, "--json")
    assert said.code == 1
    assert 170 < json.loads(said.out)["retry_after"] <= 180
    assert "submit it with the same key, or run fin-infra orders settle" in said.error
    settled = cli("orders", "settle", "--json")
    assert (settled.code, json.loads(settled.out)[0]["state"]) == (1, "unknown")
    assert "BAD  orders: of 1 orders nobody knows whether they were placed" in cli("doctor").out


def test_a_refusal_is_an_error_with_the_brokers_reason(cli: Cli, broker: AlpacaSimulator, account: str) -> None:
    said = cli("orders", "submit", account, "k1", "buy", "us:MSFT", *ORDER[2:])
    assert said.code == 1
    assert "rejected: alpaca answered 422 42210000 asset MSFT not found" in said.err


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (("buy", "us:AAPL"), "an order has either qty or notional: give one of them"),
        (("buy", "us:AAPL", "--qty", "1.0000000001", "--limit", "1"), "qty 1.0000000001 is finer than 9 decimals, which no broker takes"),
        (("buy", "xlon:VOD", "--qty", "1"), "'xlon:VOD' cannot be traded at alpaca; write an InstrumentKey like us:SPY or crypto:bitcoin"),
    ],
)  # fmt: skip
def test_misuse_is_a_sentence(cli: Cli, account: str, order: tuple[str, ...], says: str) -> None:
    said = cli("orders", "submit", account, "k1", *order)
    assert (said.code, said.error) == (2, says)


def test_a_bank_takes_no_orders(cli: Cli, linked: str) -> None:
    said = cli("orders", "submit", linked, "k1", *ORDER)
    assert said.error == "teller takes no orders; a brokerage connection does, like brokerage:alpaca"
    assert cli("orders", "show", linked, "k9").error == f"no order 'k9' of {linked}; fin-infra orders ls shows them"
