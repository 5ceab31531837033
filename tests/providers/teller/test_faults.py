"""What the network and the vendor can do to us: each is one clear sentence, and nothing is half written."""

from __future__ import annotations

import logging

import pytest

from fin_infra.providers.teller.simulator import Fault
from tests.world import World, bought, checking

TOKEN = "test_token_SECRET7731"


async def _first_sync(world: World, *faults: Fault) -> dict[str, tuple[str, str | None, str]]:
    world.bank.enroll(TOKEN, checking("acc_1", *(bought(f"txn_{n}") for n in range(30))))
    await world.link(TOKEN)
    for fault in faults:
        world.bank.fail_next(fault)
    return {r.dataset: (r.outcome, r.error_code, r.error or "") for r in await world.work()}


async def test_one_dropped_connection_is_cured_by_a_second_try(world: World) -> None:
    reports = await _first_sync(world, Fault("drop", on="/transactions"))
    assert reports["transactions"][0] == "ok"
    assert len(world.ids()) == 30


async def test_connections_dropped_in_the_body_are_network_errors_and_leave_nothing(world: World) -> None:
    reports = await _first_sync(world, Fault("drop", times=9, on="/transactions"))
    outcome, code, sentence = reports["transactions"]
    assert (outcome, code) == ("retry", "network_error")
    assert sentence.startswith("the connection to teller broke before the answer to /accounts/{id}/transactions was")
    assert world.ids() == []


async def test_a_body_cut_short_is_never_taken_for_a_short_list(world: World) -> None:
    reports = await _first_sync(world, Fault("truncate", on="/transactions"))
    outcome, code, sentence = reports["transactions"]
    assert (outcome, code) == ("quarantine", "contract_broken")
    assert "is not whole JSON" in sentence
    assert world.ids() == []
    assert {f["kind"] for f in world.rows("findings")} == {"contract_broken"}


OTHER_SHAPES = [
    b"<html>oops</html>",
    b"",
    b"[1, 2",
    b'{"error": 5}',
    b"null",
    b"[NaN]",
    b'[{"id": "x"}]',
    b"\xff\xfe",
    b"[" * 99999,
]


@pytest.mark.parametrize("body", OTHER_SHAPES)
async def test_a_body_of_another_shape_is_a_broken_contract(world: World, body: bytes) -> None:
    reports = await _first_sync(world, Fault("garbage", on="/transactions", body=body))
    assert reports["transactions"][:2] == ("quarantine", "contract_broken")
    assert reports["accounts"][0] == "ok"
    assert world.ids() == []
    async with world.runtime() as runtime:
        [dead] = runtime.queue.jobs("dead")
        assert (dead.last_error or "").startswith("contract_broken: an answer") or "the answer" in (
            dead.last_error or ""
        )


async def test_a_slow_bank_is_a_timeout_and_is_tried_again(world: World) -> None:
    world.settings = world.settings.model_copy(update={"http_timeout": 0.2})
    reports = await _first_sync(world, Fault("slow", on="/transactions", seconds=0.6))
    assert reports["transactions"][:2] == ("retry", "vendor_timeout")
    async with world.runtime() as runtime:
        [job] = runtime.queue.jobs()
        assert (job.state, job.attempts) == ("queued", 1)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (502, "bad_gateway", ("retry", "vendor_unavailable")),
        (503, "unavailable", ("retry", "vendor_unavailable")),
        (500, "oops", ("retry", "vendor_unavailable")),
        (504, "gateway_timeout", ("retry", "vendor_timeout")),
        (401, "unauthorized", ("park", "auth_invalid")),
        (403, "forbidden", ("park", "auth_invalid")),
        (404, "not_found", ("park", "not_found")),
        (404, "enrollment.disconnected", ("park", "reauth_required")),
        (404, "something.new", ("quarantine", "contract_broken")),
        (418, "teapot", ("quarantine", "contract_broken")),
        (302, "moved", ("quarantine", "contract_broken")),
        (422, "unprocessable_entity", ("quarantine", "bad_request")),
        (429, "too_many_requests", ("later", "rate_limited")),
    ],
)
async def test_every_refusal_has_its_outcome(world: World, status: int, code: str, expected: tuple[str, str]) -> None:
    reports = await _first_sync(world, Fault("refuse", times=9, on="/transactions", status=status, code=code))
    assert reports["transactions"][:2] == expected
    assert world.ids() == []
    [run] = [run for run in world.rows("runs") if run["dataset"] == "transactions"]
    assert (run["outcome"], run["error_code"]) == expected


async def test_an_unreachable_bank_is_a_sentence_with_its_address(world: World) -> None:
    world.url = "http://127.0.0.1:1"
    reports = await _first_sync(world)
    outcome, code, sentence = reports["accounts"]
    assert (outcome, code) == ("retry", "network_error")
    assert sentence == "teller cannot be reached at 127.0.0.1; check the network, it is tried again"


async def test_an_address_that_is_none_is_the_owners_to_correct(world: World) -> None:
    world.url = "ftp://bank"
    reports = await _first_sync(world)
    assert reports["accounts"][0] == "park"
    assert "FIN_INFRA_TELLER_BASE_URL" in reports["accounts"][2]


async def test_an_account_of_an_unknown_kind_is_a_finding_not_a_guess(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1"), checking("acc_2", kind="mortgage"))
    await world.link()
    reports = {r.dataset: r for r in await world.work()}
    assert reports["accounts"].outcome == "partial"
    assert [row["account_id"] for row in world.rows("accounts")] == ["acc_1"]
    assert any("mortgage" in f["detail"] or f["subject"] == "acc_2" for f in world.rows("findings"))


async def test_no_secret_is_in_any_log_message_row_or_repr(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await _first_sync(
        world, Fault("drop", on="/transactions"), Fault("refuse", on="/balances", status=500),
        Fault("garbage", on="/transactions", body=b"<html>" + TOKEN.encode()),
    )  # fmt: skip
    async with world.runtime() as runtime:
        connection = runtime.connections.all()[0]
        provider = __import__("fin_infra").resolve("teller")
        transport = runtime.http.transport(provider, connection, {"access_token": TOKEN}, "interactive")
        told = [repr(transport), repr(runtime.connections.vault), repr(connection), repr(runtime.queue.jobs())]
    told += [str(world.rows(name)) for name in ("runs", "streams", "findings", "account_states", "accounts")]
    told.append(caplog.text)
    assert caplog.text
    assert not [text for text in told if TOKEN in text]
    for file in world.folder.glob("fin*"):
        assert TOKEN.encode() not in file.read_bytes(), file
