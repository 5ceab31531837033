"""The signature of a request is over what stands in its request line, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_infra.errors import UsageError
from fin_infra.providers.snaptrade.signing import signature, signed
from tests.guards import guarded
from tests.providers.snaptrade.broker import SnaptradeWorld, brokerage

AT = datetime(2026, 11, 24, 12, 0, 30, 900_000, tzinfo=UTC)
APP = {"client_id": "CLIENT", "consumer_key": "key"}
USER = {"user_id": "snap+trade user", "user_secret": "a&b=c/%é"}
FILE = "providers/snaptrade/signing.py"


def sent(request: httpx.Request, secrets: dict[str, str] = USER) -> httpx.Request:
    """The request as it goes out."""
    return next(signed(secrets, APP, lambda: AT).sync_auth_flow(request))


def signs(request: httpx.Request) -> bool:
    path, _, query = request.url.raw_path.decode().partition("?")
    content = json.loads(request.content) if request.content else None
    return request.headers["Signature"] == signature("key", path, query, content)


@guarded("The query is signed as it is sent", FILE, 'partition("?")\n', 'partition("&")\n')
@given(st.dictionaries(st.sampled_from(["startDate", "type", "offset"]), st.text(max_size=8)))
def test_what_is_signed_is_what_is_sent(params: dict[str, str]) -> None:
    request = sent(httpx.Request("GET", "https://api.example/accounts/a%20b/activities", params=params))
    assert signs(request)
    said = {name: values[0] for name, values in parse_qs(request.url.query.decode(), keep_blank_values=True).items()}
    assert said == {**params, "clientId": "CLIENT", "timestamp": "1795521630", "userId": USER["user_id"],
                    "userSecret": USER["user_secret"]}  # fmt: skip
    assert request.url.raw_path.startswith(b"/accounts/a%20b/activities?")


@guarded("An empty body is null", FILE, "content or None", "content")
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_an_empty_body_is_signed_as_null(body: bytes) -> None:
    request = sent(httpx.Request("POST", "https://api.example/snapTrade/login", content=body))
    path, _, query = request.url.raw_path.decode().partition("?")
    assert request.headers["Signature"] == signature("key", path, query, None)


def test_the_prefix_is_signed_where_it_is_requested() -> None:
    request = sent(httpx.Request("GET", "https://api.example/api/v1/accounts"))
    assert request.url.raw_path.startswith(b"/api/v1/accounts?clientId=CLIENT&timestamp=1795521630&userId=")
    assert signs(request)


def test_a_body_is_signed_with_its_keys_sorted() -> None:
    request = sent(httpx.Request("POST", "https://api.example/x", json={"b": 1, "a": {"d": "é", "c": None}}))
    assert signs(request)


def test_a_credential_shows_nowhere_in_what_is_printed() -> None:
    auth = signed(USER, APP, lambda: AT)
    assert USER["user_secret"] not in repr(auth)
    assert "key" not in repr(auth)


@guarded("Each request has a time of its own", FILE, "str(int(self._now().timestamp()))", "str(1795521600)")
async def test_each_request_is_stamped_with_its_own_time(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1"))
    await broker.link()
    await broker.sync("accounts")
    first = len(broker.sim.requests)
    await broker.sync("accounts", timedelta(hours=3))
    times = [parse_qs(request.partition("?")[2])["timestamp"][0] for request in broker.sim.requests]
    assert int(times[first]) - int(times[0]) >= 3 * 3600
    assert broker.stream("accounts")["state"] == "ok"


async def test_a_wrong_key_of_the_application_stops_no_user(
    broker: SnaptradeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.has(brokerage("acc_1"))
    connection = await broker.link()
    monkeypatch.setenv("FIN_INFRA_SNAPTRADE_CONSUMER_KEY", "wrong")
    report = await broker.sync("accounts")
    assert (report.outcome, report.error_code) == ("park", "auth_invalid")
    assert "FIN_INFRA_SNAPTRADE_CONSUMER_KEY" in str(report.error)
    async with broker.runtime() as runtime:
        assert runtime.connections.get(connection.connection_id).state == "active"


async def test_a_missing_key_is_named_by_its_setting(broker: SnaptradeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.has(brokerage("acc_1"))
    await broker.link()
    monkeypatch.delenv("FIN_INFRA_SNAPTRADE_CLIENT_ID")
    report = await broker.sync("accounts")
    assert report.error_code == UsageError.default_code
    assert "FIN_INFRA_SNAPTRADE_CLIENT_ID" in str(report.error)
    assert broker.sim.requests == []


async def test_only_the_root_paths_are_asked(broker: SnaptradeWorld) -> None:
    broker.has(brokerage("acc_1"))
    await broker.link()
    await broker.work()
    assert set(broker.asked()) == {
        "/authorizations", "/accounts/all", "/accounts/acc_1/balances", "/accounts/acc_1/positions/all",
        "/accounts/acc_1/activities",
    }  # fmt: skip


def test_of_two_keys_during_a_change_the_first_signs() -> None:
    app = {"client_id": "CLIENT", "consumer_key": "key, old"}
    assert signs(next(signed(USER, app, lambda: AT).sync_auth_flow(httpx.Request("GET", "https://api.example/x"))))
