"""`fin-infra identity`: a session is started once, shown once, and what opens it stays nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_infra.providers.simulating import Fault
from fin_infra.providers.stripe.simulator import StripeSimulator
from fin_infra.testing import serve
from tests.cli.conftest import Cli
from tests.guards import guarded

KEY = "sk_test_sim7731"


@pytest.fixture
def stripe(monkeypatch: pytest.MonkeyPatch) -> Iterator[StripeSimulator]:
    simulator = StripeSimulator(keys=[KEY])
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_STRIPE_BASE_URL", served.url)
        yield simulator


@pytest.fixture
def connection(cli: Cli, stripe: StripeSimulator) -> str:
    said = cli("connections", "add", "identity:stripe", "--secret-stdin", stdin=KEY)
    assert said.code == 0, said.err
    return said.out.strip()


def test_a_session_is_started_and_its_link_is_kept_nowhere(
    cli: Cli, connection: str, stripe: StripeSimulator, tmp_path: Path
) -> None:
    said = cli("identity", "start", "--attempt", "signup-1", "--reference", "user-42")
    assert said.code == 0, said.err
    [session] = stripe.sessions
    assert said.out.splitlines() == [session.id, session.url]
    assert (session.type, session.metadata) == ("document", {"reference": "user-42"})
    assert "signup-1" not in stripe.idempotency_keys[0]
    shown = json.loads(cli("identity", "get", session.id, "--json").out)
    assert (shown["session_id"], shown["status"], shown["last_error_code"]) == (session.id, "requires_input", None)
    stripe.add(status="processing")
    stripe.add(status="verified")
    opened = json.loads(cli("identity", "ls", "--json").out)
    assert sorted(row["status"] for row in opened) == ["processing", "requires_input"]
    assert cli("sync", "--connection", connection).code == 0
    assert cli("read", "identity_sessions", "--format", "csv").out.count("\n") == 4
    others = [
        cli("identity", "get", session.id),
        cli("identity", "ls"),
        cli("read", "identity_sessions"),
        cli("runs", "ls"),
    ]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for told in (*files, *((one.out + one.err).encode() for one in others)):
        for word in (b"verify.stripe.com", b"_secret_test", KEY.encode()):
            assert word not in told


@guarded(
    "each try of a start is a session of its own",
    "providers/stripe/client.py",
    """return "fin_infra-" + hashlib.sha256(f"{connection_id}\\0{key}".encode()).hexdigest()[:40]""",
    """return "fin_infra-" + __import__("uuid").uuid4().hex""",
)
@pytest.mark.parametrize(
    "fault", [Fault("drop", on="/verification_sessions", times=2), Fault("drop", on="/verification_sessions")]
)
def test_a_crash_before_the_answer_leaves_one_session(
    cli: Cli, connection: str, stripe: StripeSimulator, fault: Fault
) -> None:
    stripe.fail_next(fault)
    said = cli("identity", "start", "--attempt", "signup-1")
    if said.code:
        assert (said.code, len(stripe.sessions)) == (1, 1), "it was started, and nobody was told"
        assert "the same --attempt" in said.error
        said = cli("identity", "start", "--attempt", "signup-1")
    assert said.out.splitlines()[0] == stripe.sessions[0].id
    assert (len(stripe.sessions), len(set(stripe.idempotency_keys))) == (1, 1)
    assert len(stripe.idempotency_keys) > 1
    cli("identity", "start", "--attempt", "signup-2")
    assert len(stripe.sessions) == 2


def test_a_key_that_was_used_otherwise_is_said(cli: Cli, connection: str, stripe: StripeSimulator) -> None:
    cli("identity", "start", "--attempt", "signup-1")
    said = cli("identity", "start", "--attempt", "signup-1", "--type", "id_number")
    assert said.code == 1
    assert "take another one" in said.error
    assert len(stripe.sessions) == 1


def test_without_a_key_the_one_to_go_on_with_is_told_first(cli: Cli, connection: str, stripe: StripeSimulator) -> None:
    said = cli("identity", "start", "--json")
    key = said.err.split("--attempt ")[1].split()[0]
    again = cli("identity", "start", "--json", "--attempt", key)
    assert json.loads(again.out) == json.loads(said.out)
    assert len(stripe.sessions) == 1


def test_what_is_wrong_is_one_sentence(cli: Cli, stripe: StripeSimulator) -> None:
    assert "which connection of stripe" in cli("identity", "ls").error
    refused = cli("connections", "add", "identity:stripe", "--secret-stdin", stdin="pk_test_public")
    assert refused.code == 2
    assert "publishable" in refused.error
    cli("connections", "add", "identity:stripe", "--secret-stdin", stdin=KEY)
    assert "knows no such session" in cli("identity", "get", "vs_none").error
    assert "no session is open" in cli("identity", "ls").err
    stripe.keys = []
    assert "the key is wrong" in cli("identity", "ls").error
