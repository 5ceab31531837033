"""The vendor's own client reads the simulator over real HTTP: it signs as we do, and decodes what our frames have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snaptrade_client.auth import SnapTradeAuth
from snaptrade_client.client import SnapTrade
from snaptrade_client.exceptions import ApiException
from snaptrade_client.request_after_hook import compute_request_signature

from fin_infra.providers.snaptrade.signing import signature, signed
from fin_infra.providers.snaptrade.simulator import (
    CLIENT_ID,
    CONSUMER_KEY,
    SimUser,
    SnaptradeSimulator,
    own_id,
    sandbox,
)
from fin_infra.testing import serve
from tests.providers.snaptrade.broker import SnaptradeWorld, set_keys, snaptrade_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def vendor() -> SnaptradeSimulator:
    """The client stamps its requests with this machine's clock."""
    return SnaptradeSimulator()


@pytest.fixture
def user(vendor: SnaptradeSimulator) -> SimUser:
    return sandbox(vendor, today=datetime.now(UTC).date())


@pytest.fixture
def client(vendor: SnaptradeSimulator) -> Iterator[Any]:
    with serve(vendor) as served:
        yield client_of(served.url)


def client_of(url: str, consumer_key: str = CONSUMER_KEY) -> Any:
    auth = SnapTradeAuth.commercial_api_key(consumer_key=consumer_key, client_id=CLIENT_ID)
    return SnapTrade(auth=auth, host=url)


def named(user: SimUser) -> dict[str, str]:
    return {"user_id": user.user_id, "user_secret": user.secret}


def exact(number: Any) -> Decimal:
    """A number as the client decodes it: a text, or a float whose shortest form it is."""
    return Decimal(str(number))


@given(
    st.text("abc-_0%", max_size=12), st.text("abc=&%+0", max_size=20), st.none() | st.dictionaries(st.text(), JSON)
)  # fmt: skip
def test_its_signature_is_ours(path: str, query: str, body: Any) -> None:
    assert signature("key", f"/{path}", query, body) == compute_request_signature(f"/{path}?{query}", "key", body)


def test_it_would_sign_the_request_that_we_send() -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    ours = signed({"user_id": "a b", "user_secret": "+/="}, {"client_id": "C", "consumer_key": "key"}, lambda: at)
    request = next(ours.sync_auth_flow(httpx.Request("POST", "https://api.example/x?b=1&a=2", json={"é": [1.5]})))
    theirs = compute_request_signature(request.url.raw_path.decode(), "key", {"é": [1.5]})
    assert request.headers["Signature"] == theirs


def test_its_requests_are_signed_well_and_refused_with_another_key(
    vendor: SnaptradeSimulator, user: SimUser, client: Any
) -> None:
    listed = client.connections.list_brokerage_authorizations(**named(user)).body
    assert [row["id"] for row in listed] == [connection.id for connection in user.connections]
    with serve(vendor) as served, pytest.raises(ApiException) as caught:
        client_of(served.url, "wrong").connections.list_brokerage_authorizations(**named(user))
    assert (caught.value.status, caught.value.body["code"]) == (401, "1076")
    with pytest.raises(ApiException) as caught:
        client.account_information.list_all_user_accounts(user_id=user.user_id, user_secret="no")
    assert (caught.value.status, caught.value.body["code"]) == (401, "1083")
    assert client.api_status.check().body["online"] is True
    assert len(client.reference_data.list_all_brokerages().body) == 4


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnaptradeWorld]:
    set_keys(monkeypatch)
    with snaptrade_of(tmp_path) as found:
        sandbox(found.sim, "user_1", "very-secret-user-secret", today=found.clock().date())
        yield found


async def test_what_it_decodes_is_what_our_frames_have(broker: SnaptradeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await broker.link()
    reports = await broker.work()
    assert {report.outcome for report in reports} == {"ok"}
    assert broker.findings() == {}
    monkeypatch.setattr("snaptrade_client.request_before_url_hook.time.time", lambda: broker.clock().timestamp())
    client, user = client_of(broker.url), named(broker.sim.users["user_1"])
    listed = {row["id"]: row for row in client.account_information.list_all_user_accounts(**user).body["results"]}
    accounts = {row["account_id"]: row for row in broker.rows("accounts")}
    assert {own: (row["display_name"], row["masked_account_number"][-4:]) for own, row in listed.items()} == {
        own: (row["name"], row["mask"]) for own, row in accounts.items()
    }
    totals = {own: exact(row["net_value"]["amount"]) for own, row in listed.items()}
    balances = broker.rows("balances")
    assert totals == {row["account_id"]: row["current"] for row in balances if row["current"] is not None}
    for own in (own for own, row in listed.items() if row["kind"] == "investment"):
        _same_balances(client.account_information.get_user_account_balance, own, user, balances)
        _same_positions(client, own, user, broker.rows("holdings"))
        _same_activities(client, own, user, broker.rows("activities"))


Ask = Callable[..., Any]


def _same_balances(ask: Ask, own: str, user: dict[str, str], rows: list[dict[str, Any]]) -> None:
    theirs = {row["currency"]["code"]: exact(row["cash"]) for row in ask(account_id=own, **user).body}
    assert theirs
    assert theirs == {row["currency"]: row["cash"] for row in rows if row["account_id"] == own}


def _same_positions(client: Any, own: str, user: dict[str, str], rows: list[dict[str, Any]]) -> None:
    found = client.account_information.get_all_account_positions(account_id=own, **user).body["results"]
    theirs = sorted(
        (exact(row["units"]), exact(row["price"]),
         exact(row["units"]) * exact(row["cost_basis"]) * Decimal(row["instrument"].get("multiplier", 1)))
        for row in found if not row.get("cash_equivalent")
    )  # fmt: skip
    assert theirs == sorted(
        (row["quantity"], row["price"], row["cost_basis"]) for row in rows if row["account_id"] == own
    )


def _same_activities(client: Any, own: str, user: dict[str, str], rows: list[dict[str, Any]]) -> None:
    found = client.account_information.get_account_activities(account_id=own, **user).body
    theirs = {row["id"]: (exact(row["amount"]), exact(row["fee"])) for row in found["data"]}
    assert len(theirs) == found["pagination"]["total"] > 0
    assert theirs == {row["activity_id"]: (row["amount"], row["fees"]) for row in rows if row["account_id"] == own}


def test_ids_of_the_sandbox_are_the_same_in_each_run() -> None:
    assert own_id("a", "b") == own_id("a", "b") != own_id("a", "c")
