"""A setup token becomes an access URL, once; and neither leads where it must not, or is told to anybody."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from fin_infra.providers import resolve
from fin_infra.providers.simplefin.access import claim_fault, fault, own_address
from fin_infra.providers.simplefin.simulator import Fault, SimAccount, SimplefinSimulator
from fin_infra.testing import Served, serve
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.guards import guarded
from tests.providers.simplefin.server import PASSWORD, USER, own

ADD = ("connections", "add", "banking:simplefin", "--tenant", "ada", "--secret-stdin")
ACCESS, LINKING = "providers/simplefin/access.py", "providers/simplefin/linking.py"


@pytest.fixture
def vendor() -> Iterator[tuple[SimplefinSimulator, Served]]:
    simulator = SimplefinSimulator()
    simulator.grant(USER, PASSWORD, SimAccount(own(1)))
    with serve(simulator) as served:
        yield simulator, served


def token_of(url: str) -> str:
    return base64.b64encode(url.encode()).decode()


@guarded("A claim is never sent twice", LINKING, "repeat=False", "repeat=True")
def test_a_setup_token_is_claimed_once_at_its_own_host(vendor: tuple[SimplefinSimulator, Served], cli: Cli) -> None:
    simulator, served = vendor
    token = simulator.setup_token(served.url, USER, PASSWORD, "S3cretClaim")
    added = cli(*ADD, stdin=token)
    assert added.code == 0, added.err
    assert simulator.claimed == ["S3cretClaim"]
    proven = cli("keys", "verify", "banking:simplefin")
    assert proven.code == 0
    assert "1 account" in proven.out
    again = cli(*ADD, stdin=token)
    assert again.code == 1
    assert "claimed before" in again.error
    simulator.setup_token(served.url, USER, PASSWORD, "S3cretClaim")
    for said in (added, proven, again):
        assert all(word not in said.out + said.err for word in (PASSWORD, token, "S3cretClaim"))
    simulator.fail_next(Fault("drop", on="claim"))
    broken = cli(*ADD, stdin=token)
    assert broken.code == 1
    assert all(word not in broken.out + broken.err for word in (PASSWORD, token, "S3cretClaim"))
    assert simulator.claimed == ["S3cretClaim", "S3cretClaim"]
    assert len([path for path in simulator.requests if "claim" in path]) == 3
    cannot = cli("connections", "link", "banking:simplefin")
    assert cannot.code == 2
    assert "no page to open" in cannot.error


GOOD = (
    "https://u:p@bridge.simplefin.org/simplefin", "https://u:p%40%3A@beta-bridge.simplefin.org/simplefin",
    "https://u:p@sfin.example.com:8443", "http://u:p@127.0.0.1:8000/simplefin", "http://u:p@localhost:8000/simplefin",
    "http://u:p@[::1]:8000/simplefin", "https://u:p@8.8.8.8/simplefin",
)  # fmt: skip
BAD = (
    "https://bridge.simplefin.org/simplefin", "https://u@bridge.simplefin.org/simplefin", "http://u:p@example.com/sfin",
    "https://u:p@127.0.0.1/simplefin", "https://u:p@10.0.0.8/", "https://u:p@192.168.1.1/", "https://u:p@169.254.169.254/",
    "https://u:p@[::1]/", "https://u:p@[fd00::1]/", "https://u:p@[::ffff:10.0.0.1]/", "https://u:p@localhost/",
    "https://u:p@metadata.google.internal/", "https://u:p@router.local/", "https://u:p@intranet/", "https://u:p@2130706433/",
    "https://u:p@127.1/", "https://u:p@0x7f.0x1/", "https://u:p@224.0.0.1/", "ftp://u:p@example.com/", "u:p@example.com",
    "https://u:p@example.com/?next=http://10.0.0.1", "https://u:p@example.com/#x", "https://u:p@example.com:99999/",
    "https://u:p@exam ple.com/", "https://u:p@example.com\\@10.0.0.1/", "https://u:p@[::1", "",
)  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_an_access_url_gives_its_address_without_its_credentials(url: str) -> None:
    assert fault({"access_url": url}) is None
    address = own_address({"access_url": url})
    assert address is not None
    assert "@" not in address
    assert address.partition("://")[2] == url.partition("@")[2]


@guarded("Private networks are not asked", ACCESS, "return None if _is_public(host) else", "return None if True else")
@pytest.mark.parametrize("url", BAD)
def test_an_address_that_may_not_be_asked_is_refused_without_a_word_of_it(url: str) -> None:
    why = fault({"access_url": url})
    assert why is not None
    assert own_address({"access_url": url}) is None
    assert "u:p" not in why
    assert "example" not in why


@pytest.mark.parametrize("url", ["https://10.0.0.1/claim/x", "http://example.com/claim/x", "https://localhost/claim/x"])
def test_a_setup_token_that_leads_inside_is_not_claimed(
    url: str, vendor: tuple[SimplefinSimulator, Served], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator, served = vendor
    monkeypatch.setenv("FIN_INFRA_SIMPLEFIN_BASE_URL", served.url)
    assert claim_fault(token_of(url)) is not None
    assert own_address({"setup_token": token_of(url)}) is None
    said = cli(*ADD, stdin=token_of(url))
    assert said.code == 2
    assert simulator.requests == []


def test_the_claim_of_the_public_demo_goes_to_the_bridge() -> None:
    token = "aHR0cHM6Ly9icmlkZ2Uuc2ltcGxlZmluLm9yZy9zaW1wbGVmaW4vY2xhaW0vZGVtbw=="
    assert own_address({"setup_token": token}) == "https://bridge.simplefin.org"
    assert claim_fault("not a token!") is not None


def test_an_access_url_is_in_no_repr() -> None:
    provider = resolve("banking:simplefin")
    assert PASSWORD not in repr(provider.auth({"access_url": f"https://u:{PASSWORD}@example.com/simplefin"}))
