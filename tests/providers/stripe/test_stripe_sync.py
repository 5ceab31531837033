"""Identity sessions from outside: listed, read again, told by webhooks, erased."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from sqlalchemy import select

from fin_infra.errors import UsageError, WebhookRefused
from fin_infra.providers.simulating import Fault
from fin_infra.store.tables import HISTORY, TABLES
from tests.guards import guarded
from tests.providers.stripe.world import KEY, SECRET, IdentityWorld

HALF_A_DAY, MINUTE = timedelta(hours=12), timedelta(minutes=1)
OLD = timedelta(days=3)


@guarded(
    "a session that is open is not read again",
    "engine/listing.py",
    "again = sorted(row for row, state in held if state not in listing.settled)",
    "again: list[str] = []",
)
async def test_a_change_that_no_list_shows_is_seen_by_reading_again(identity: IdentityWorld) -> None:
    stripe, before = identity.stripe, identity.clock() - OLD
    for n in range(3):
        stripe.add(f"vs_{n}", created=before + timedelta(minutes=n))
    stripe.add("vs_now")
    stripe.verify("vs_0")
    await identity.link()
    assert [report.outcome for report in await identity.work()] == ["ok"]
    assert identity.told() == {
        "vs_0": ("verified", None), "vs_1": ("requires_input", None), "vs_2": ("requires_input", None),
        "vs_now": ("requires_input", None),
    }  # fmt: skip
    identity.asked()
    stripe.submit("vs_1")
    stripe.fail("vs_2", "selfie_face_mismatch")
    await identity.work(HALF_A_DAY)
    assert identity.told()["vs_1"] == ("processing", None)
    assert identity.told()["vs_2"] == ("requires_input", "selfie_face_mismatch")
    first, *again = identity.asked()
    assert "created%5Bgte%5D=" in first
    assert again == ["/vs_1", "/vs_2"], "what was listed, and what is settled, is not read again"
    stripe.verify("vs_1")
    stripe.cancel("vs_2")
    await identity.work(HALF_A_DAY)
    assert (identity.told()["vs_1"], identity.told()["vs_2"][0]) == (("verified", None), "canceled")
    identity.asked()
    await identity.work(HALF_A_DAY)
    assert len(identity.asked()) == 1, "the newest is among those listed"


async def test_a_list_of_many_pages_comes_whole_and_once(identity: IdentityWorld) -> None:
    for n in range(250):
        identity.stripe.add(f"vs_{n:03d}", created=identity.clock() - timedelta(hours=n + 2), status="verified")
    await identity.link()
    [report] = await identity.work()
    assert (report.outcome, report.calls, len(identity.told())) == ("ok", 3, 250)
    identity.stripe.add("vs_new")
    [report] = await identity.work(HALF_A_DAY)
    assert (report.calls, report.counts["identity_sessions"].inserted) == (1, 1)
    assert identity.stripe.versions == {"2023-10-16"}


async def test_words_and_fields_that_are_new_pass(identity: IdentityWorld) -> None:
    identity.stripe.add("vs_1", type="bank_visit", status="in_limbo")
    identity.stripe.add("vs_2", type=None)
    await identity.link()
    await identity.work()
    assert {(r["session_id"], r["status"], r["type"]) for r in identity.rows("identity_sessions")} == {
        ("vs_1", "in_limbo", "bank_visit"), ("vs_2", "requires_input", None),
    }  # fmt: skip
    identity.asked()
    identity.stripe.verify("vs_1")
    await identity.work(OLD)
    assert identity.told()["vs_1"] == ("verified", None), "what is not known to be settled is open"


@guarded(
    "one session that is gone stops the others",
    "providers/stripe/client.py",
    'ONE_SESSION_ONLY = frozenset({"not_found", "contract_broken", "bad_request"})',
    "ONE_SESSION_ONLY: frozenset[str] = frozenset()",
)
async def test_a_session_that_stripe_no_longer_knows_concerns_itself_alone(identity: IdentityWorld) -> None:
    before = identity.clock() - OLD
    for name in ("vs_a", "vs_b", "vs_c"):
        identity.stripe.add(name, created=before)
    identity.stripe.add("vs_now", status="verified")
    await identity.link()
    await identity.work()
    gone = identity.stripe.session("vs_b")
    identity.stripe.sessions.remove(gone)
    identity.stripe.verify("vs_c")
    [report] = await identity.work(HALF_A_DAY)
    assert report.outcome == "ok"
    assert identity.told() == {
        "vs_a": ("requires_input", None), "vs_b": ("requires_input", None), "vs_c": ("verified", None),
        "vs_now": ("verified", None),
    }  # fmt: skip
    [finding] = identity.rows("findings")
    assert (finding["kind"], finding["subject"], finding["state"]) == ("unknown_to_vendor", "vs_b", "open")
    identity.stripe.sessions.append(gone)
    await identity.work(HALF_A_DAY)
    assert [row["state"] for row in identity.rows("findings")] == ["resolved"]


async def test_a_broken_answer_to_one_concerns_it_alone(identity: IdentityWorld) -> None:
    for name in ("vs_a", "vs_b"):
        identity.stripe.add(name, created=identity.clock() - OLD)
    identity.stripe.add("vs_now", status="verified")
    await identity.link()
    await identity.work()
    identity.stripe.fail_next(Fault("garbage", on="/vs_a"))
    identity.stripe.verify("vs_b")
    [report] = await identity.work(HALF_A_DAY)
    assert (report.outcome, report.error_code, identity.told()["vs_b"][0]) == ("partial", "contract_broken", "verified")
    [report] = await identity.work(HALF_A_DAY)
    assert report.outcome == "ok"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("refuse", status=500), "vendor_unavailable"), (Fault("refuse", status=402), "plan_limit"),
        (Fault("refuse", status=403, code="x"), "permission_denied"), (Fault("refuse", status=409), "vendor_unavailable"),
        (Fault("refuse", status=429, code="lock_timeout"), "vendor_unavailable"),
        (Fault("truncate"), "contract_broken"), (Fault("refuse", status=401), "auth_invalid"),
        (Fault("refuse", status=400, code="parameter_missing"), "bad_request"),
    ],
)  # fmt: skip
async def test_a_refusal_of_the_list_changes_no_row(identity: IdentityWorld, fault: Fault, code: str) -> None:
    identity.stripe.add("vs_1")
    connection = await identity.link()
    await identity.work()
    identity.stripe.fail_next(fault)
    async with identity.runtime() as runtime:
        report = await runtime.engine.sync("identity_sessions", connection.connection_id)
    assert report.error_code == code
    assert identity.told() == {"vs_1": ("requires_input", None)}


async def test_a_run_cut_short_goes_on_with_those_it_did_not_come_to(identity: IdentityWorld) -> None:
    for n in range(4):
        identity.stripe.add(f"vs_{n}", created=identity.clock() - OLD)
    identity.stripe.add("vs_now", status="verified")
    connection = await identity.link()
    await identity.work()
    identity.stripe.fail_next(Fault("refuse", on="/vs_2", status=503))
    identity.clock.advance(HALF_A_DAY)
    identity.asked()
    async with identity.runtime() as runtime:
        for _ in range(2):
            await runtime.engine.sync("identity_sessions", connection.connection_id)
    paths = identity.asked()
    listed = [n for n, path in enumerate(paths) if path.startswith("?")]
    assert paths[listed[0] + 1 : listed[1]] == ["/vs_0", "/vs_1", "/vs_2"]
    assert paths[listed[1] + 1 :] == ["/vs_2", "/vs_3", "/vs_0", "/vs_1"]


# -- webhooks ----------------------------------------------------------------------------------------------------------


async def test_a_webhook_makes_the_stream_due_at_once(identity: IdentityWorld) -> None:
    identity.stripe.add("vs_1", created=identity.clock() - OLD)
    connection = await identity.link()
    await identity.work()
    assert await identity.work(MINUTE) == []
    identity.stripe.verify("vs_1")
    receipt = identity.deliver("vs_1", "verified")
    assert (receipt.action, receipt.connections, receipt.datasets) == (
        "marked", (connection.connection_id,), ("identity_sessions",),
    )  # fmt: skip
    [report] = await identity.work()
    assert report.outcome == "ok"
    assert identity.told() == {"vs_1": ("verified", None)}


async def test_the_same_event_counts_once_and_an_unproven_one_never(identity: IdentityWorld) -> None:
    identity.stripe.add("vs_1")
    await identity.link()
    await identity.work()
    headers, body = identity.stripe.webhook("vs_1", "verified", secrets=[SECRET])
    assert identity.received(headers, body).action == "marked"
    assert identity.received(headers, body).duplicate
    for changed in (body + b" ", body.replace(b"vs_1", b"vs_2")):
        with pytest.raises(WebhookRefused):
            identity.received(headers, changed)
    identity.clock.advance(timedelta(minutes=6))
    with pytest.raises(WebhookRefused, match="five minutes"):
        identity.received(
            *identity.stripe.webhook("vs_1", "verified", secrets=[SECRET], at=identity.clock() - 6 * MINUTE)
        )


@guarded(
    "an earlier version of a redacted session stays",
    "store/erasing.py",
    "sql.execute(delete(history).where(",
    "sql.execute(select(history).where(",
)
@guarded(
    "a webhook of a redaction erases nothing",
    "webhooks.py",
    "if follows.erase and event.rows:",
    "if False:",
)
async def test_a_redacted_session_leaves_no_version_behind(identity: IdentityWorld) -> None:
    identity.stripe.add("vs_1", created=identity.clock() - OLD)
    identity.stripe.add("vs_2", created=identity.clock() - OLD)
    await identity.link()
    await identity.work()
    identity.stripe.verify("vs_1")
    await identity.work(HALF_A_DAY)
    assert versions(identity, "vs_1") == 2
    identity.stripe.redact("vs_1")
    assert identity.deliver("vs_1", "redacted").action == "marked"
    assert versions(identity, "vs_1") == 0, "before the worker runs: the data is not ours any more"
    await identity.work()
    assert (versions(identity, "vs_1"), versions(identity, "vs_2")) == (0, 1)
    with identity.store() as store:
        removed = store.changes().filter(op="removed")["key"].to_list()
    assert removed == [["ada", "vs_1"]], "who reads changes is told that it left"


@guarded(
    "what was redacted while webhooks were lost stays for ever",
    "engine/listing.py",
    "return last is None or now - last >= listing.whole_every - timedelta(hours=1)",
    "return last is None",
)
async def test_a_redaction_that_no_webhook_told_is_found_within_a_week(identity: IdentityWorld) -> None:
    for name in ("vs_1", "vs_2"):
        identity.stripe.add(name, created=identity.clock() - OLD)
        identity.stripe.verify(name)
    identity.stripe.add("vs_now")
    await identity.link()
    await identity.work()
    identity.stripe.redact("vs_1", "processing")
    await identity.work(HALF_A_DAY)
    assert versions(identity, "vs_1") == 1
    await identity.work(timedelta(days=7))
    assert (versions(identity, "vs_1"), versions(identity, "vs_2")) == (0, 1)


def versions(identity: IdentityWorld, session_id: str) -> int:
    with identity.store() as store, store.reading() as sql:
        tables = (TABLES["identity_sessions"], HISTORY["identity_sessions"])
        return sum(len(sql.execute(select(t).where(t.c.session_id == session_id)).all()) for t in tables)


# -- secrets -----------------------------------------------------------------------------------------------------------


@guarded(
    "a link that opens a session is kept with a broken answer",
    "providers/stripe/wire.py",
    """return _OPENS.sub(rb'"\\1":null', body)""",
    "return body",
)
async def test_nothing_that_opens_a_session_is_stored_or_logged(
    identity: IdentityWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for n in range(3):
        identity.stripe.add(f"vs_{n}", created=identity.clock() - OLD)
    identity.stripe.add("vs_now")
    connection = await identity.link()
    await identity.work()
    identity.stripe.fail_next(Fault("truncate", on="/vs_1"))
    await identity.work(HALF_A_DAY)
    identity.deliver("vs_1", "requires_input")
    with identity.store() as store:
        from fin_infra.connections import Connections, open_vault
        from fin_infra.engine.retrying import evidence

        vault = Connections(store, open_vault(identity.settings)).vault
        kept = store.quarantined(connection.connection_id)
        assert kept, "the broken answer is kept as evidence"
        unsealed = b"".join(evidence(store, vault, entry.quarantine_id) for entry in kept)
    files = b"".join(path.read_bytes() for path in identity.folder.iterdir() if path.is_file())
    for told in (files, unsealed, caplog.text.encode()):
        for word in (b"_secret_test_sim", b"verify.stripe.com", KEY.encode(), SECRET.encode()):
            assert word not in told


async def test_a_publishable_key_is_refused_before_anything_is_asked(identity: IdentityWorld) -> None:
    for key in ("pk_test_x", "whatever", "sk_test_", "sk_test_a b"):
        with pytest.raises(UsageError) as refused:
            await identity.link(key=key)
        assert key not in str(refused.value) or key == "sk_test_"
    assert identity.asked() == []
