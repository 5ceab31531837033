"""What a vendor's answer stands for, and how long it asks us to wait."""

from __future__ import annotations

from typing import Any, ClassVar

import httpx
import pytest

from fin_infra.errors import (
    CODES,
    DefectError,
    FinInfraError,
    LaterError,
    TransientError,
    UsageError,
    WireError,
)
from fin_infra.providers import DOMAINS, PROVIDERS, resolve
from fin_infra.providers.base import Provider, Refusal, Reply
from fin_infra.providers.metering import Granted, QuotaMeter, Quotas
from fin_infra.providers.transport import Call, Transport, refusal
from fin_infra.quotas.memory import MemoryLedger
from tests.metering import meter_of
from tests.unit.helpers import START, one_sentence


def reply(status: int, word: str = "", **headers: str) -> Reply:
    names = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, names, word.encode(), START)


def vendor(*refusals: Refusal) -> Provider:
    return Provider(
        name="acme", title="Acme", base_url="http://127.0.0.1:9", domains={}, auth=lambda secrets: httpx.Auth(), secrets=(),
        refusals=refusals, refusal_word=lambda body: body.decode() or None, sources=(),
    )  # fmt: skip


NOW = int(START.timestamp())


def test_t25_the_reset_is_the_wait_of_a_refused_call_unless_retry_after_says_it() -> None:
    told = reply(429, X_RateLimit_Reset=str(NOW + 45))
    both = reply(429, X_RateLimit_Reset=str(NOW + 45), Retry_After="7")
    waits = [
        getattr(refusal(vendor(*table), each), "retry_after", None) for table in ((), TABLE) for each in (told, both)
    ]
    assert waits == [45.0, 7.0, 45.0, 7.0]


def test_a_reset_beside_another_refusal_is_no_wait() -> None:
    """Vendors send it with every answer: what is down for a moment is not down until the minute ends."""
    for status in (500, 503, 504):
        error = refusal(vendor(*TABLE), reply(status, X_RateLimit_Reset=str(NOW + 45)))
        assert isinstance(error, TransientError)
        assert error.retry_after is None


# -- refusals ------------------------------------------------------------------------------------------------------------


def test_a_good_answer_is_no_refusal() -> None:
    assert refusal(vendor(), reply(200)) is None


@pytest.mark.parametrize("status", [201, 202, 204, 206, 299])
def test_a_success_without_the_whole_answer_is_none(status: int) -> None:
    error = refusal(vendor(), reply(status))
    assert error is not None
    assert error.code == "contract_broken"


@pytest.mark.parametrize(
    ("status", "code", "kind", "vendor_wide"),
    [
        (429, "rate_limited", LaterError, False), (408, "vendor_timeout", TransientError, True),
        (504, "vendor_timeout", TransientError, True), (500, "vendor_unavailable", TransientError, True),
        (502, "vendor_unavailable", TransientError, True), (503, "vendor_unavailable", TransientError, True),
        (599, "vendor_unavailable", TransientError, True), (400, "contract_broken", WireError, False),
        (401, "contract_broken", WireError, False), (404, "contract_broken", WireError, False),
        (418, "contract_broken", WireError, False), (301, "contract_broken", WireError, False),
        (304, "contract_broken", WireError, False), (100, "contract_broken", WireError, False),
    ],
)  # fmt: skip
def test_a_status_without_a_row_has_the_plain_sense_of_http(
    status: int, code: str, kind: type[FinInfraError], vendor_wide: bool
) -> None:
    error = refusal(vendor(), reply(status))
    assert isinstance(error, kind)
    assert error.code == code
    assert getattr(error, "vendor_wide", False) is vendor_wide
    one_sentence(error)


def test_an_undocumented_answer_keeps_its_body_as_evidence() -> None:
    error = refusal(vendor(), reply(418, "teapot"))
    assert isinstance(error, DefectError)
    assert error.evidence == b"teapot"


TABLE = (
    Refusal(404, "", "not_found", "nothing"), Refusal(404, "item", "reauth_required", "relink"),
    Refusal(404, "item.pending", "not_ready", "later"), Refusal(503, "", "vendor_unavailable", "wait", vendor_wide=True),
    Refusal(429, "", "rate_limited", "wait"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("word", "code"),
    [("", "not_found"), ("other", "not_found"), ("item", "reauth_required"), ("item.gone", "reauth_required"),
     ("item.pending.x", "not_ready")],
)  # fmt: skip
def test_the_row_with_the_longest_prefix_of_the_vendors_word_decides(word: str, code: str) -> None:
    error = refusal(vendor(*TABLE), reply(404, word))
    assert error is not None
    assert error.code == code


@pytest.mark.parametrize(("status", "code", "wait"), [(429, "rate_limited", 7.0), (503, "vendor_unavailable", 7.0)])
def test_t25_a_wait_the_vendor_asks_for_is_kept_with_the_error(status: int, code: str, wait: float) -> None:
    for table in ((), TABLE):
        error = refusal(vendor(*table), reply(status, retry_after="7"))
        assert isinstance(error, TransientError)
        assert (error.code, error.retry_after) == (code, wait)


def test_t25_a_limit_without_a_wait_is_later_in_a_minute() -> None:
    error = refusal(vendor(), reply(429))
    assert isinstance(error, LaterError)
    assert error.retry_after == 60.0


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_row_of_every_vendor_has_a_code_of_the_table_and_a_remedy(name: str) -> None:
    provider = resolve(name)
    for row in provider.refusals:
        assert CODES[row.code].outcome != "refuse"
        assert row.remedy
        error = refusal(provider, reply(row.status))
        assert error is not None
        one_sentence(error)


@pytest.mark.parametrize(
    ("status", "word", "code"),
    [
        (400, "", "bad_request"), (401, "", "auth_invalid"), (403, "", "auth_invalid"), (404, "not_found", "not_found"),
        (404, "enrollment.disconnected", "reauth_required"),
        (404, "enrollment.disconnected.user_action.mfa_required", "reauth_required"), (410, "account.closed", "account_closed"),
        (422, "", "bad_request"), (429, "", "rate_limited"), (502, "enrollment.unhealthy", "vendor_unavailable"),
        (500, "", "vendor_unavailable"), (404, "", "contract_broken"), (418, "", "contract_broken"),
    ],
)  # fmt: skip
def test_tellers_refusals(status: int, word: str, code: str) -> None:
    body = f'{{"error": {{"code": "{word}", "message": "m"}}}}' if word else ""
    error = refusal(resolve("teller"), Reply(status, {}, body.encode(), START))
    assert error is not None
    assert error.code == code


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, '{"message":"invalid symbol: BRK-B"}', "unknown_symbol"), (400, '{"message":"invalid end"}', "bad_request"),
        (400, "", "bad_request"), (401, '{"code":40110000,"message":"request is not authorized"}', "auth_invalid"),
        (403, '{"message":"forbidden."}', "auth_invalid"), (403, '{"code":40310000,"message":"no"}', "permission_denied"),
        (403, '{"message":"subscription does not permit querying recent SIP data"}', "plan_limit"),
        (404, '{"code":40410000,"message":"position does not exist"}', "not_found"), (404, "<html>", "not_found"),
        (422, '{"code":42210000,"message":"qty must be integer"}', "bad_request"),
        (429, '{"code":42910000,"message":"rate limit exceeded"}', "rate_limited"),
        (429, '{"message":"too many requests."}', "rate_limited"), (500, '{"code":50010000}', "vendor_unavailable"),
        (503, "", "vendor_unavailable"), (504, "", "vendor_timeout"), (418, "", "contract_broken"), (207, "[]", "contract_broken"),
    ],
)  # fmt: skip
def test_alpacas_refusals(status: int, body: str, code: str) -> None:
    error = refusal(resolve("alpaca"), Reply(status, {}, body.encode(), START))
    assert error is not None
    assert error.code == code
    one_sentence(error)


def test_the_domains_of_the_registry_are_those_the_vendors_declare() -> None:
    declared: dict[str, set[str]] = {}
    for name in PROVIDERS:
        for domain in resolve(name).domains:
            declared.setdefault(domain, set()).add(name)
    assert {domain: set(names) for domain, names in DOMAINS.items()} == declared


@pytest.mark.parametrize("name", ["telller", "banking:alpaca", "market:teller", "", ":", "banking:"])
def test_an_unknown_vendor_lists_what_exists(name: str) -> None:
    with pytest.raises(UsageError, match="banking:teller") as refused:
        resolve(name)
    one_sentence(refused.value)


# -- the call itself -----------------------------------------------------------------------------------------------------


class Odd(httpx.AsyncBaseTransport):
    """A network that fails in a given way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise self.error


@pytest.mark.parametrize(
    ("broken", "kind", "code"),
    [
        (httpx.ReadTimeout("hunter2"), TransientError, "vendor_timeout"),
        (httpx.ConnectTimeout("hunter2"), TransientError, "vendor_timeout"),
        (httpx.PoolTimeout("hunter2"), TransientError, "vendor_timeout"),
        (httpx.ConnectError("hunter2"), TransientError, "network_error"),
        (httpx.ReadError("hunter2"), TransientError, "network_error"),
        (httpx.RemoteProtocolError("hunter2"), TransientError, "network_error"),
        (httpx.DecodingError("hunter2"), TransientError, "network_error"),
        (httpx.ConnectError("certificate verify failed hunter2"), UsageError, "usage"),
        (httpx.UnsupportedProtocol("hunter2"), UsageError, "usage"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
async def test_what_breaks_on_the_way_is_one_of_our_errors_without_its_text(
    broken: Exception, kind: type[FinInfraError], code: str
) -> None:
    async with httpx.AsyncClient(transport=Odd(broken), base_url="http://127.0.0.1:9") as client:
        transport = Transport(
            vendor(), client, httpx.Auth(), connection_id="con", now=lambda: START, meter=meter_of(lambda: START)
        )
        with pytest.raises(kind) as raised:
            await transport.get("/accounts/acc_1/balances", {"key": "hunter2"})
    assert raised.value.code == code
    assert "hunter2" not in one_sentence(raised.value)
    assert "acc_1" not in raised.value.message
    assert raised.value.__cause__ is None


async def test_a_vendor_that_does_not_answer_is_ill_as_a_whole() -> None:
    async with httpx.AsyncClient(transport=Odd(httpx.ReadTimeout("")), base_url="http://127.0.0.1:9") as client:
        transport = Transport(
            vendor(), client, httpx.Auth(), connection_id="con", now=lambda: START, meter=meter_of(lambda: START)
        )
        with pytest.raises(TransientError) as raised:
            await transport.get("/x")
    assert raised.value.vendor_wide


class Answers(httpx.AsyncBaseTransport):
    """A network that answers everything with the address it was asked at."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=f"{request.url.host}:{request.url.port}{request.url.path}")


async def test_each_host_is_asked_at_its_own_address_and_the_meter_knows_which() -> None:
    class Noting(QuotaMeter):
        noted: ClassVar[list[Call]] = []

        async def acquire(self, call: Call) -> Granted:
            self.noted.append(call)
            return await super().acquire(call)

    meter, guarded = Noting(MemoryLedger(lambda: START), Quotas(), lambda: START), list[str]()

    async def guard(once: Any, host: str) -> Reply:
        guarded.append(host)
        answered: Reply = await once()
        return answered

    addresses = {"": "http://127.0.0.1:7001", "data": "http://127.0.0.1:7002"}
    clients = {name: httpx.AsyncClient(transport=Answers(), base_url=url) for name, url in addresses.items()}
    transport = Transport(
        vendor(), clients.__getitem__, httpx.Auth(), connection_id="con", now=lambda: START, meter=meter, guard=guard
    )
    bodies = [(await transport.get("/v2/x", host=host)).body for host in ("", "data", "")]
    assert bodies == [b"127.0.0.1:7001/v2/x", b"127.0.0.1:7002/v2/x", b"127.0.0.1:7001/v2/x"]
    assert [(call.host, call.endpoint) for call in meter.noted] == [("", "/v2/x"), ("data", "/v2/x"), ("", "/v2/x")]
    assert (guarded, transport.calls) == (["", "data", ""], 3)
    for client in clients.values():
        await client.aclose()


async def test_one_client_serves_all_hosts_of_a_vendor_with_one_address() -> None:
    async with httpx.AsyncClient(transport=Answers(), base_url="http://127.0.0.1:7001") as client:
        transport = Transport(
            vendor(), client, httpx.Auth(), connection_id="con", now=lambda: START, meter=meter_of(lambda: START)
        )
        assert (await transport.get("/x", host="data")).body == b"127.0.0.1:7001/x"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v2/stocks/bars", "/v2/stocks/bars"), ("/v1beta3/crypto/us/bars", "/v1beta3/crypto/us/bars"),
        ("/v2/positions/b28f4066-5c6d", "/v2/positions/{id}"), ("/accounts/acc_1/balances", "/accounts/{id}/balances"),
    ],
)  # fmt: skip
async def test_an_endpoint_is_told_without_ids(path: str, shown: str) -> None:
    async with httpx.AsyncClient(transport=Odd(httpx.ReadTimeout("")), base_url="http://127.0.0.1:9") as client:
        transport = Transport(
            vendor(), client, httpx.Auth(), connection_id="con", now=lambda: START, meter=meter_of(lambda: START)
        )
        with pytest.raises(TransientError) as raised:
            await transport.get(path)
    assert f"did not answer {shown} in time" in raised.value.message


def test_no_repr_of_a_transport_shows_its_credential() -> None:
    transport = Transport(
        vendor(), httpx.AsyncClient(), httpx.BasicAuth("hunter2", ""), connection_id="con", now=lambda: START,
        meter=meter_of(lambda: START),
    )  # fmt: skip
    assert "hunter2" not in repr(transport)
