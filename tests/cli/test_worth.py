"""`worth`: what is owned and owed, in one currency by rates that say their day; and vendors that need no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from fin_infra.providers.ecb.simulator import EcbSimulator
from fin_infra.providers.teller.simulator import TellerSimulator
from fin_infra.testing import serve
from tests.cli.conftest import TOKEN, Cli


@pytest.fixture
def ecb(monkeypatch: pytest.MonkeyPatch) -> Iterator[EcbSimulator]:
    """Two days of rates, on the real clock as the commands are."""
    simulator = EcbSimulator(now=lambda: datetime.now(UTC))
    monkeypatch.setenv("FIN_INFRA_CURRENCIES", "USD,JPY")
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_ECB_BASE_URL", served.url)
        yield simulator


@pytest.fixture
def yen(bank: TellerSimulator) -> str:
    """The bank's savings account is one in yen."""
    accounts = bank.enrollments[TOKEN].accounts
    accounts[1].currency, accounts[1].ledger, accounts[1].available = "JPY", "1000000", "1000000"
    return accounts[1].id


def last_working_day(simulator: EcbSimulator) -> str:
    from fin_infra.calendars import get_calendar

    return str(get_calendar("TARGET").last_closed(datetime.now(UTC)).date)


def synced(cli: Cli) -> None:
    added = cli("connections", "add", "fx:ecb")
    assert (added.code, added.out[:4]) == (0, "con_"), added.err
    assert cli("sync", "fx_rates", "--provider", "ecb").code == 0


def test_in_one_currency_with_the_rate_its_day_and_its_age(cli: Cli, yen: str, linked: str, ecb: EcbSimulator) -> None:
    day = last_working_day(ecb)
    ecb.set_rate(day, "USD", "1.25")
    ecb.set_rate(day, "JPY", "200")
    assert cli("sync", "--connection", linked).code == 0
    synced(cli)
    said = cli("worth", "--tenant", "ada", "--in", "USD", "--on", day)
    assert said.code == 0, said.err
    [line] = [line for line in said.out.splitlines() if "JPY" in line]
    assert line.split() == ["1000000", "JPY", "0.00625", day, "0", "ecb", "6250"]
    assert "net worth: " in said.out
    assert "not counted" not in said.out
    whole = json.loads(cli("worth", "--tenant", "ada", "--in", "USD", "--on", day, "--json").out)
    assert whole["complete"]
    assert Decimal(whole["worth"]) == Decimal(whole["total"]["USD"]) + 6250
    assert {row["currency"]: row["rate_on"] for row in whole["rates"]} == {"JPY": day, "USD": None}


def test_t42_without_a_rate_it_is_not_counted_said_and_the_code_is_1(cli: Cli, yen: str, linked: str) -> None:
    assert cli("sync", "--connection", linked).code == 0
    said = cli("worth", "--tenant", "ada", "--in", "USD")
    assert said.code == 1
    assert "not counted: JPY: no rate is held" in said.out
    assert ", without what is not counted" in said.out
    whole = json.loads(cli("worth", "--tenant", "ada", "--in", "USD", "--json").out)
    assert not whole["complete"]
    assert Decimal(whole["worth"]) == Decimal(whole["total"]["USD"])


def test_each_currency_by_itself_needs_no_rate(cli: Cli, yen: str, linked: str) -> None:
    assert cli("sync", "--connection", linked).code == 0
    said = cli("worth", "--tenant", "ada")
    assert said.code == 0
    assert ["JPY", "1000000"] in [line.split() for line in said.out.splitlines()]


def test_nobody_is_worth_nothing_and_misuse_is_a_sentence(cli: Cli) -> None:
    assert cli("worth", "--in", "USD").out.rstrip().endswith("net worth: 0 USD")
    assert "no currency 'usd' (did you mean USD?)" in cli("worth", "--in", "usd").error
    assert cli("worth", "--in", "usd").code == 2
    assert "--on says whose rates" in cli("worth", "--on", "2026-11-24").error
    assert "--on 'soon' is no date" in cli("worth", "--in", "USD", "--on", "soon").error


def test_a_vendor_without_a_secret_is_given_none(cli: Cli) -> None:
    assert cli("connections", "add", "fx:ecb").code == 0
    assert cli("connections", "add", "fx:exchangerate_api").code == 0  # open access
    given = cli("connections", "add", "fx:ecb", "--secret-stdin", stdin="abc\n")
    assert (given.code, given.error) == (2, "ecb takes no secret: leave it out")
    keyed = cli("connections", "add", "fx:exchangerate_api", "--secret-stdin", stdin="key123\n")
    assert keyed.code == 0
    assert "key123" not in cli("connections", "show", keyed.out.strip()).out
    assert "where is the secret?" in cli("connections", "relink", keyed.out.strip()).error  # it would drop the key
    assert cli("connections", "add", "banking:teller").code == 2
    listed = json.loads(cli("connections", "ls", "--json").out)
    assert [row["provider"] for row in listed] == ["ecb", "exchangerate_api", "exchangerate_api"]
