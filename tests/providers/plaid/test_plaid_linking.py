"""From a user to a linked Item and away again, on the command line and as a library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from fin_infra.connections import connect
from fin_infra.providers import resolve
from fin_infra.providers.base import LinkOrder
from fin_infra.providers.plaid import linking
from fin_infra.providers.plaid.simulator import PlaidSimulator, sandbox
from fin_infra.providers.transport import Transport
from fin_infra.testing import serve
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.metering import meter_of

TOKEN = "access-sandbox-hush"
ADD = ("connections", "add", "banking:plaid", "--tenant", "ada")


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidSimulator]:
    simulator = PlaidSimulator()
    sandbox(simulator, TOKEN, today=datetime.now(UTC).date(), name="hush")
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_PLAID_BASE_URL", served.url)
        monkeypatch.setenv("FIN_INFRA_PLAID_CLIENT_ID", "client")
        monkeypatch.setenv("FIN_INFRA_PLAID_SECRET", "secret")
        yield simulator


def asked(vendor: PlaidSimulator, path: str) -> list[dict[str, object]]:
    return [body for where, body in vendor.bodies if where == path]


def http_of(vendor: PlaidSimulator) -> Transport:
    keys = {"PLAID-CLIENT-ID": "client", "PLAID-SECRET": "secret"}
    pool = httpx.AsyncClient(transport=httpx.ASGITransport(app=vendor), base_url="http://plaid", headers=keys)
    provider = resolve("plaid")
    now = lambda: datetime.now(UTC)  # noqa: E731
    return Transport(provider, pool, provider.auth({}), connection_id="nobody", now=now, meter=meter_of(now))


def public_token(vendor: PlaidSimulator) -> str:
    return asyncio.run(linking.sandbox_public_token(http_of(vendor), products=("transactions", "investments")))


def test_a_made_up_user_of_the_sandbox_becomes_a_connection(vendor: PlaidSimulator, cli: Cli) -> None:
    public = public_token(vendor)
    said = cli(*ADD, "--secret-stdin", stdin=public)
    assert said.code == 0
    assert "access-" not in said.out + said.err
    assert public not in said.out + said.err
    connection = said.out.strip()
    assert cli("sync", "transactions", "--connection", connection).code == 0
    rows = cli("read", "transactions", "--format", "ndjson").out.splitlines()
    assert len(rows) == len(list(vendor.items.values())[-1].transactions)


def test_a_link_token_is_what_is_printed(vendor: PlaidSimulator, cli: Cli) -> None:
    said = cli("connections", "link", "banking:plaid", "--tenant", "ada", "--host", "sandbox", "--if-supported", "investments",
               "--webhook", "https://example.com/hook")  # fmt: skip
    assert said.code == 0
    assert said.out.startswith("link-sandbox-")
    assert "connections add banking:plaid --tenant ada --secret-stdin" in said.err
    assert asked(vendor, "/link/token/create") == [
        {
            "client_name": "fin_infra", "user": {"client_user_id": "ada"}, "language": "en", "country_codes": ["US"],
            "products": ["transactions"], "transactions": {"days_requested": 730},
            "required_if_supported_products": ["investments"], "webhook": "https://example.com/hook",
        }
    ]  # fmt: skip


def test_a_login_that_stopped_is_repaired_under_the_same_token(vendor: PlaidSimulator, cli: Cli) -> None:
    connection = cli(*ADD, "--secret-stdin", stdin=TOKEN).out.strip()
    assert cli("sync", "transactions", "--connection", connection).code == 0
    item = vendor.items[TOKEN]
    item.error = item.refusal = "ITEM_LOGIN_REQUIRED"
    assert "ITEM_LOGIN_REQUIRED" in cli("sync", "transactions", "--connection", connection).out
    assert json.loads(cli("connections", "show", connection).out)["state"] == "reauth"
    item.refusal = None
    said = cli("connections", "link", "plaid", "--repair", connection)
    assert said.out.startswith("link-")
    [order] = asked(vendor, "/link/token/create")
    assert "products" not in order
    item.error = None
    assert cli("connections", "relink", connection, "--same").code == 0
    assert cli("sync", "transactions", "--connection", connection).code == 0
    assert asked(vendor, "/transactions/sync")[-1]["cursor"]  # it goes on where it stopped
    assert cli("connections", "relink", connection, "--same", "--secret-stdin", stdin=TOKEN).code == 2


def test_plaid_is_told_of_a_connection_that_is_removed(vendor: PlaidSimulator, cli: Cli) -> None:
    connection = cli(*ADD, "--secret-stdin", stdin=json.dumps({"access_token": TOKEN})).out.strip()
    said = cli("connections", "rm", connection, "--erase")
    assert said.code == 0
    assert "plaid has removed it too" in said.err
    assert vendor.removed_items == ["item_hush"]


def test_a_connection_is_removed_even_if_plaid_cannot_be_told(
    vendor: PlaidSimulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = cli(*ADD, "--secret-stdin", stdin=TOKEN).out.strip()
    monkeypatch.setenv("FIN_INFRA_PLAID_SECRET", "another")
    said = cli("connections", "rm", connection, "--erase")
    assert said.code == 0
    assert "could not be told" in said.err
    assert cli("connections", "show", connection).code == 2
    assert vendor.removed_items == []


def test_a_public_token_that_is_spent_links_nothing(vendor: PlaidSimulator, cli: Cli) -> None:
    said = cli(*ADD, "--secret-stdin", stdin="public-sandbox-spent")
    assert said.code == 1
    assert "INVALID_PUBLIC_TOKEN" in said.error
    assert json.loads(cli("connections", "ls", "--json").out or "[]") == []


def test_an_item_that_cannot_be_kept_is_not_left_behind(vendor: PlaidSimulator, cli: Cli) -> None:
    public = public_token(vendor)
    said = cli("connections", "add", "plaid", "--tenant", " ", "--secret-stdin", stdin=public)
    assert said.code == 2
    assert len(vendor.removed_items) == 1


def test_misuse_is_one_sentence(vendor: PlaidSimulator, cli: Cli) -> None:
    assert "teller has no page to open" in cli("connections", "link", "teller").error
    assert (
        "plaid has no host 'sandbx'; it has: sandbox" in cli("connections", "link", "plaid", "--host", "sandbx").error
    )
    teller = connect("teller", {"access_token": "x"}, tenant="ada").connection_id
    assert "is of teller, not of plaid" in cli("connections", "link", "plaid", "--repair", teller).error


def test_missing_keys_of_the_application_are_named(cli: Cli) -> None:
    said = cli("connections", "link", "plaid")
    assert said.code == 2
    assert "FIN_INFRA_PLAID_CLIENT_ID and FIN_INFRA_PLAID_SECRET" in said.error


def test_requests_say_only_what_was_ordered() -> None:
    body = linking.link_token_request(LinkOrder("ada", ("investments",), countries=("GB", "FR"), language="fr"))
    assert body == {
        "client_name": "fin_infra", "user": {"client_user_id": "ada"}, "language": "fr", "country_codes": ["GB", "FR"],
        "products": ["investments"],
    }  # fmt: skip
    assert linking.public_token_request() == {"institution_id": "ins_109508", "initial_products": ["transactions"]}


@pytest.mark.parametrize(
    ("secrets", "host"),
    [
        ({"access_token": "access-sandbox-1"}, "https://sandbox.plaid.com"),
        ({"public_token": "public-sandbox-1"}, "https://sandbox.plaid.com"),
        ({"access_token": "access-production-1"}, "https://production.plaid.com"),
        ({}, "https://production.plaid.com"),
    ],
)
def test_a_token_names_its_environment(secrets: dict[str, str], host: str) -> None:
    provider = resolve("plaid")
    assert provider.address(provider.home(secrets)) == host
