"""Webhooks from outside: a signed delivery comes in, the worker runs, rows are read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, insert, select
from starlette.responses import JSONResponse

import fin_infra
from fin_infra.connections import Connection, Connections, Vault
from fin_infra.errors import FinInfraError, TransientError, UsageError, WebhookRefused
from fin_infra.planning import load_schedules
from fin_infra.runtime import Door, open_queue
from fin_infra.settings import Settings
from fin_infra.store import Store, open_store
from fin_infra.store.codec import micros
from fin_infra.store.tables import ALIASES, DUE, WEBHOOK_KEYS, WEBHOOK_RECEIPTS
from fin_infra.testing import VirtualClock, serve
from fin_infra.webhooks import WebhookReceipt
from tests.guards import guarded
from tests.signing import PLAID, KeyServer, Signer, plaid_body
from tests.world import START, World, bought, checking

SECRET = "whsec_simulated"
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_WEBHOOK_SECRET", SECRET)


def deliver(world: World, headers: Mapping[str, str], body: bytes) -> WebhookReceipt:
    with world.store() as store:
        return Door(world.settings, store, now=world.clock).receive("banking:teller", headers, body)


def marks(store: Store) -> list[tuple[str, str]]:
    """Streams that webhooks made due, as they lie in the store."""
    with store.reading() as sql:
        rows = sql.execute(select(DUE.c.connection_id, DUE.c.dataset).where(DUE.c.schedule == "webhook"))
        return sorted((row.connection_id, row.dataset) for row in rows)


async def linked(world: World) -> Connection:
    """An enrollment whose first rows are there, and nothing due."""
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    connection = await world.link()
    await world.work()
    assert world.ids() == ["txn_1"]
    return connection


# -- teller --------------------------------------------------------------------------------------------------------


async def test_new_rows_are_there_minutes_after_the_webhook_not_hours(world: World) -> None:
    connection = await linked(world)
    world.bank.add("acc_1", bought("txn_2"))
    assert await world.work(MINUTE) == []  # no schedule is due
    receipt = deliver(world, *world.bank.processed("acc_1", secrets=[SECRET]))
    assert receipt == WebhookReceipt(
        "teller", "transactions.processed", "marked", (connection.connection_id,), None, ("transactions",)
    )
    [report] = await world.work()
    assert (report.dataset, report.outcome) == ("transactions", "ok")
    assert world.ids() == ["txn_1", "txn_2"]
    assert {row["lane"] for row in world.rows("runs")} == {"scheduled", "webhook"}
    assert await world.work(MINUTE) == []  # the mark is gone
    with world.store() as store:
        assert marks(store) == []


async def test_the_public_function_takes_settings_and_clock_of_the_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    connection = await linked(world)
    monkeypatch.setenv("FIN_INFRA_STORE_URL", world.settings.store_url)
    from fin_infra.store.opening import utc_now

    world.bank._now = utc_now
    headers, body = world.bank.processed("acc_1", secrets=[SECRET])
    assert fin_infra.receive_webhook("teller", headers, body).connection_id == connection.connection_id
    again = fin_infra.receive_webhook("teller", headers, body)
    assert isinstance(again, fin_infra.WebhookReceipt)
    assert again.duplicate
    with world.store() as store:
        assert fin_infra.receive_webhook("teller", headers, body, store=store).duplicate
        assert marks(store) == [(connection.connection_id, "transactions")]  # left open: it was not ours to close


@pytest.mark.parametrize("name", ["Teller-Signature", "teller-signature", "TELLER-SIGNATURE", "tElLeR-sIgNaTuRe"])
async def test_header_names_come_in_any_case(world: World, name: str) -> None:
    headers, body = world.bank.webhook("webhook.test", {}, secrets=[SECRET])
    receipt = deliver(world, {name: f" {headers['Teller-Signature']} "}, body)
    assert (receipt.action, receipt.event) == ("nothing", "webhook.test")


async def test_while_the_secret_is_changed_both_are_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_WEBHOOK_SECRET", " new , old ")
    for secrets in (["old"], ["new"], ["older", "old"]):
        assert deliver(world, *world.bank.webhook("webhook.test", {}, secrets=secrets)).action == "nothing"
    monkeypatch.setenv("FIN_INFRA_TELLER_WEBHOOK_SECRET", "new")
    with pytest.raises(WebhookRefused):
        deliver(world, *world.bank.webhook("webhook.test", {}, secrets=["old"]))


@pytest.mark.parametrize("value", [None, "", " , "])
async def test_without_a_secret_nothing_is_taken(world: World, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:  # fmt: skip
    if value is None:
        monkeypatch.delenv("FIN_INFRA_TELLER_WEBHOOK_SECRET")
    else:
        monkeypatch.setenv("FIN_INFRA_TELLER_WEBHOOK_SECRET", value)
    with pytest.raises(UsageError, match="set FIN_INFRA_TELLER_WEBHOOK_SECRET") as refused:
        deliver(world, *world.bank.webhook("webhook.test", {}, secrets=[""]))
    assert not isinstance(refused.value, WebhookRefused)


async def test_what_is_refused_leaves_no_trace(world: World) -> None:
    await linked(world)
    headers, body = world.bank.processed("acc_1", secrets=[SECRET])
    world.clock.advance(timedelta(minutes=4))
    with pytest.raises(WebhookRefused) as refused:
        deliver(world, headers, body)
    assert (refused.value.code, refused.value.as_dict()["outcome"]) == ("webhook_refused", "refuse")
    with pytest.raises(WebhookRefused):
        deliver(world, headers, body + b" ")
    with pytest.raises(WebhookRefused, match="bytes"):
        deliver(world, headers, b"x" * (1 << 21))
    with pytest.raises(UsageError, match="raw bytes"):
        deliver(world, headers, body.decode())  # type: ignore[arg-type]
    with world.store() as store:
        assert marks(store) == []
        assert count(store, WEBHOOK_RECEIPTS) == 0


async def test_a_vendor_without_webhooks_says_so(world: World) -> None:
    with world.store() as store, pytest.raises(UsageError, match="alpaca sends no webhooks"):
        Door(world.settings, store, now=world.clock).receive("alpaca", {}, b"")


async def test_a_login_that_nobody_linked_is_taken_and_marks_nothing(world: World) -> None:
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    assert deliver(world, *world.bank.processed("acc_1", secrets=[SECRET])).action == "unknown_login"
    receipt = deliver(
        world, *world.bank.webhook("enrollment.disconnected", {"enrollment_id": "enr_none"}, secrets=[SECRET])
    )
    assert (receipt.action, receipt.login, receipt.connection_id) == ("unknown_login", "enr_none", None)


async def test_an_event_that_nobody_knows_is_taken_and_says_so(world: World) -> None:
    await linked(world)
    receipt = deliver(
        world,
        *world.bank.webhook(
            "enrollment.polished", {"enrollment_id": world.bank.enrollments["tok"].id}, secrets=[SECRET]
        ),
    )
    assert (receipt.action, receipt.event, receipt.datasets) == ("nothing", "enrollment.polished", ())


async def test_the_same_delivery_twice_is_one(world: World) -> None:
    await linked(world)
    headers, body = world.bank.processed("acc_1", secrets=[SECRET])
    assert deliver(world, headers, body).action == "marked"
    assert len(await world.work()) == 1
    again = deliver(world, headers, body)
    assert (again.duplicate, again.action, again.datasets, again.connections) == (True, "duplicate", (), ())
    assert await world.work() == []
    # another delivery of the same news is none of the same
    assert deliver(world, *world.bank.processed("acc_1", secrets=[SECRET])).action == "marked"


@guarded(
    "receipts are kept for ever",
    "webhooks.py",
    "sql.execute(delete(WEBHOOK_RECEIPTS)",
    "(delete(WEBHOOK_RECEIPTS)",
)
async def test_receipts_are_kept_for_a_day(world: World) -> None:
    def take() -> None:
        deliver(world, *world.bank.webhook("webhook.test", {}, secrets=[SECRET]))

    for _ in range(3):
        take()
    world.clock.advance(timedelta(hours=23))
    take()
    with world.store() as store:
        assert count(store, WEBHOOK_RECEIPTS) == 4
    world.clock.advance(timedelta(hours=2))
    take()
    with world.store() as store:
        assert count(store, WEBHOOK_RECEIPTS) == 2


async def test_a_disabled_connection_is_left_alone(world: World) -> None:
    connection = await linked(world)
    with world.store() as store:
        Connections(store, Vault([Fernet.generate_key()]), world.clock).set_state(
            connection.connection_id, "disabled", "by its owner"
        )
    for webhook in (
        world.bank.processed("acc_1", secrets=[SECRET]),
        world.bank.webhook(
            "enrollment.disconnected", {"enrollment_id": world.bank.enrollments["tok"].id}, secrets=[SECRET]
        ),
    ):
        assert deliver(world, *webhook).action == "disabled"
    with world.store() as store:
        assert marks(store) == []


async def test_erasing_a_connection_takes_its_marks_along(world: World) -> None:
    connection = await linked(world)
    deliver(world, *world.bank.processed("acc_1", secrets=[SECRET]))
    async with world.runtime() as runtime:
        runtime.connections.remove(connection.connection_id, erase=True)
    assert deliver(world, *world.bank.processed("acc_1", secrets=[SECRET])).action == "unknown_login"
    with world.store() as store:
        assert marks(store) == []


@guarded(
    "a job that waits is left waiting",
    "runtime/queue.py",
    'if (order.get("at_once") or lane == 0) and',
    "if lane == 0 and",
)
async def test_a_waiting_job_for_data_that_was_not_ready_waits_no_longer(world: World) -> None:
    """A job put off for later holds its stream's place: news that the data is there must reach it."""
    connection = await linked(world)
    queue = open_queue(world.settings, now=world.clock)
    queue.enqueue(
        "sync_transactions", {"connection": connection.connection_id}, delay_seconds=3600,
        unique_key=f"{connection.connection_id}/transactions",
    )  # fmt: skip
    queue.close()
    assert await world.work() == []
    deliver(world, *world.bank.processed("acc_1", secrets=[SECRET]))
    assert [report.dataset for report in await world.work()] == ["transactions"]


async def test_a_wait_that_the_vendor_asked_for_is_kept(world: World) -> None:
    from fin_infra.providers.teller.simulator import Fault

    await linked(world)
    world.bank.fail_next(Fault("refuse", on="/transactions", status=429, retry_after="600"))
    deliver(world, *world.bank.processed("acc_1", secrets=[SECRET]))
    assert [report.error_code for report in await world.work()] == ["rate_limited"]
    deliver(world, *world.bank.processed("acc_1", secrets=[SECRET]))
    assert await world.work(MINUTE) == []
    assert [report.outcome for report in await world.work(timedelta(minutes=10))] == ["ok"]


async def test_a_mark_that_no_job_of_the_project_serves_is_left_for_who_does(world: World, tmp_path: Path) -> None:
    await linked(world)
    deliver(world, *world.bank.processed("acc_1", secrets=[SECRET]))
    from fin_infra.planning import Planner

    with world.store() as store:
        queue = open_queue(world.settings, now=world.clock)
        assert Planner(store, queue, [], now=world.clock, jobs={"sync_accounts": "accounts"}).tick() == []
        assert [
            due.job for due in Planner(store, queue, [], now=world.clock, jobs={"mine": "transactions"}).tick()
        ] == ["mine"]
        # balances lie in the stream that accounts lead: a job of theirs serves it
        assert Planner(store, queue, [], now=world.clock, jobs={"b": "balances"})._job_of("teller", "accounts") == "b"
        queue.close()


def test_no_schedule_may_take_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("schedules:\n  webhook: {job: sync_accounts, every: 6h}\n")
    with pytest.raises(UsageError, match=r"a.yaml:2: the name 'webhook' is taken"):
        load_schedules(tmp_path, {"sync_accounts": "accounts"})


# -- plaid ---------------------------------------------------------------------------------------------------------


class Item:
    """A Plaid Item in a store, and a server that has the key its webhooks are signed with."""

    def __init__(self, folder: Path, url: str, server: KeyServer, signer: Signer) -> None:
        self.clock = VirtualClock(START)
        self.settings = Settings(store_url=f"sqlite:///{folder / 'fin.db'}", http_timeout=2.0)
        self.server, self.signer, self.url = server, signer, url
        with self.store() as store:
            links = Connections(store, Vault([Fernet.generate_key()]), self.clock)
            self.connection_id = links.add(PLAID, {"access_token": "access-sandbox-1"}, tenant="ada").connection_id
            with store.writing() as sql:
                sql.execute(
                    insert(ALIASES),
                    {"tenant_id": "ada", "connection_id": self.connection_id, "kind": "login", "vendor_id": "item_1",
                     "id": self.connection_id, "valid_from": micros(START), "reason": "a test"},
                )  # fmt: skip

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(self.settings.store_url, now=self.clock)
        try:
            yield store
        finally:
            store.close()

    def deliver(self, headers: Mapping[str, str], body: bytes) -> WebhookReceipt:
        with self.store() as store:
            door = Door(self.settings, store, now=self.clock, base_urls={"plaid": self.url})
            return door.receive(PLAID, headers, body)

    def send(
        self, code: str, *, type: str = "TRANSACTIONS", signer: Signer | None = None, **more: Any
    ) -> WebhookReceipt:
        body = plaid_body(code, type=type, **more)
        return self.deliver((signer or self.signer).headers(body, self.clock()), body)

    def connection(self) -> Connection:
        with self.store() as store:
            return Connections(store, Vault([Fernet.generate_key()]), self.clock).get(self.connection_id)

    def marks(self) -> list[str]:
        with self.store() as store:
            return [dataset for _, dataset in marks(store)]


@pytest.fixture
def item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Item]:
    monkeypatch.setenv("FIN_INFRA_PLAID_CLIENT_ID", "client-1")
    monkeypatch.setenv("FIN_INFRA_PLAID_SECRET", "secret-1")
    signer = Signer()
    server = KeyServer(signer)
    with serve(server) as served:
        yield Item(tmp_path, served.url, server, signer)


def test_the_key_is_asked_for_once_a_day_with_the_applications_credentials(item: Item) -> None:
    for _ in range(3):
        assert item.send("SYNC_UPDATES_AVAILABLE").action == "marked"
    assert item.server.asked == [item.signer.kid]
    assert item.server.credentials == [("client-1", "secret-1")]
    item.clock.advance(timedelta(hours=23, minutes=59))
    item.send("SYNC_UPDATES_AVAILABLE")
    assert len(item.server.asked) == 1
    item.clock.advance(MINUTE)
    item.send("SYNC_UPDATES_AVAILABLE")
    assert len(item.server.asked) == 2


def test_a_key_that_expires_is_refused_a_day_later_at_most(item: Item) -> None:
    item.send("SYNC_UPDATES_AVAILABLE")
    item.server.keys[item.signer.kid] = item.signer.jwk(expired_at=1764000000)
    item.clock.advance(timedelta(days=1))
    for _ in range(2):
        with pytest.raises(WebhookRefused, match="expired"):
            item.send("SYNC_UPDATES_AVAILABLE")
    assert len(item.server.asked) == 2


def test_a_new_key_is_taken_beside_the_old_one(item: Item) -> None:
    other = Signer("11111111-8e33-4643-8ced-b2e642a72f3c")
    item.server.keys[other.kid] = other.jwk()
    assert item.send("SYNC_UPDATES_AVAILABLE").action == "marked"
    assert item.send("SYNC_UPDATES_AVAILABLE", signer=other).action == "marked"
    assert item.server.asked == [item.signer.kid, other.kid]


def test_an_unknown_key_is_asked_for_once_a_minute(item: Item) -> None:
    stranger = Signer("stranger")
    for _ in range(5):
        with pytest.raises(WebhookRefused, match="did not give"):
            item.send("SYNC_UPDATES_AVAILABLE", signer=stranger)
    assert item.server.asked == ["stranger"]
    item.clock.advance(timedelta(seconds=61))
    with pytest.raises(WebhookRefused):
        item.send("SYNC_UPDATES_AVAILABLE", signer=stranger)
    assert item.server.asked == ["stranger"] * 2
    item.server.keys["stranger"] = stranger.jwk()  # it was only young
    item.clock.advance(timedelta(seconds=61))
    assert item.send("SYNC_UPDATES_AVAILABLE", signer=stranger).action == "marked"


@guarded(
    "every invented key is asked for",
    "webhooks.py",
    "if not (known and known.body) and (unknown or 0) >= KEYS_A_PAUSE:",
    "if False:",
)
def test_a_flood_of_invented_keys_costs_few_calls_and_stops_no_known_one(item: Item) -> None:
    item.send("SYNC_UPDATES_AVAILABLE")
    for n in range(30):
        with pytest.raises(WebhookRefused):
            item.send("SYNC_UPDATES_AVAILABLE", signer=Signer(f"invented-{n}"))
    assert len(item.server.asked) == 1 + 10
    assert item.send("SYNC_UPDATES_AVAILABLE").action == "marked"
    item.clock.advance(timedelta(days=1))  # the known one is asked for anew even within a flood
    for n in range(30):
        with pytest.raises(WebhookRefused):
            item.send("SYNC_UPDATES_AVAILABLE", signer=Signer(f"more-{n}"))
    assert item.send("SYNC_UPDATES_AVAILABLE").action == "marked"
    item.clock.advance(timedelta(days=2))
    item.send("SYNC_UPDATES_AVAILABLE")
    with item.store() as store:
        assert count(store, WEBHOOK_KEYS) == 1  # what was invented is forgotten


@guarded(
    "threads ask for one key at once",
    "webhooks.py",
    "with ASKING:",
    "if True:",
)
def test_of_a_burst_with_a_new_key_one_asks_and_none_is_refused(item: Item) -> None:
    item.server.pause = 0.3
    bodies = [plaid_body("SYNC_UPDATES_AVAILABLE", n=n) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda body: item.deliver(item.signer.headers(body, item.clock()), body), bodies))
    assert {receipt.action for receipt in receipts} == {"marked"}
    assert item.server.asked == [item.signer.kid]
    assert item.marks() == ["transactions"]


async def test_it_works_where_an_event_loop_runs_already(item: Item) -> None:
    assert item.send("SYNC_UPDATES_AVAILABLE").action == "marked"  # holds the loop up for as long as the key takes
    item.clock.advance(timedelta(days=1))
    assert (await asyncio.to_thread(item.send, "SYNC_UPDATES_AVAILABLE")).action == "marked"
    assert len(item.server.asked) == 2


def test_a_vendor_that_is_down_is_no_refusal(item: Item) -> None:
    item.server.down = JSONResponse({}, status_code=503)
    with pytest.raises(TransientError):
        item.send("SYNC_UPDATES_AVAILABLE")
    with pytest.raises(WebhookRefused):  # asked a moment ago
        item.send("SYNC_UPDATES_AVAILABLE")
    assert item.marks() == []
    item.server.down = None
    item.clock.advance(timedelta(seconds=61))
    assert item.send("SYNC_UPDATES_AVAILABLE").action == "marked"


@pytest.mark.parametrize("answer", [{}, {"key": {"kid": 1}}, {"key": None}, []])
def test_an_answer_that_is_no_key_proves_nothing(item: Item, answer: Any) -> None:
    item.server.down = JSONResponse(answer)
    with pytest.raises(WebhookRefused):
        item.send("SYNC_UPDATES_AVAILABLE")


def test_another_key_than_the_one_asked_for_proves_nothing(item: Item) -> None:
    other = Signer("another")
    item.server.keys["claimed"] = other.jwk()
    other.kid = "claimed"
    with pytest.raises(WebhookRefused):
        item.send("SYNC_UPDATES_AVAILABLE", signer=other)


def test_credentials_of_ours_that_are_wrong_are_said_as_such(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    item.server.down = JSONResponse({"error": {"code": "invalid_api_keys"}}, status_code=400)
    with pytest.raises(FinInfraError) as refused:
        item.send("SYNC_UPDATES_AVAILABLE")
    assert refused.value.code == "auth_invalid"
    monkeypatch.delenv("FIN_INFRA_PLAID_SECRET")
    item.clock.advance(timedelta(minutes=2))
    with pytest.raises(UsageError, match="FIN_INFRA_PLAID_SECRET"):
        item.send("SYNC_UPDATES_AVAILABLE")


def test_tampering_is_refused_and_marks_nothing(item: Item) -> None:
    body = plaid_body("SYNC_UPDATES_AVAILABLE")
    headers = item.signer.headers(body, item.clock())
    with pytest.raises(WebhookRefused):
        item.deliver(headers, body.replace(b"item_1", b"item_2"))
    with pytest.raises(WebhookRefused):
        item.deliver({}, body)
    with pytest.raises(WebhookRefused, match="five minutes"):
        item.deliver(item.signer.headers(body, item.clock() - timedelta(minutes=6)), body)
    with pytest.raises(WebhookRefused, match="five minutes"):
        item.deliver(item.signer.headers(body, item.clock() + timedelta(minutes=1)), body)
    assert item.marks() == []
    assert item.deliver({"PLAID-VERIFICATION": headers["Plaid-Verification"]}, body).action == "marked"
    assert item.deliver(headers, body).duplicate


def test_a_login_of_another_vendor_is_not_touched(item: Item) -> None:
    body = plaid_body("SYNC_UPDATES_AVAILABLE")
    with item.store() as store:
        door = Door(item.settings, store, now=item.clock, base_urls={"other": item.url, "plaid": item.url})
        receipt = door.receive(replace(PLAID, name="other", app_fields=(), app_headers=lambda _: {}),
                               item.signer.headers(body, item.clock()), body)  # fmt: skip
    assert receipt.action == "unknown_login"
    assert item.marks() == []


def test_what_will_end_still_works_and_says_so(item: Item) -> None:
    receipt = item.send("PENDING_DISCONNECT", type="ITEM", reason="INSTITUTION_MIGRATION")
    assert receipt.action == "warned"
    connection = item.connection()
    assert connection.state == "active"
    assert connection.reason is not None
    assert "INSTITUTION_MIGRATION" in connection.reason
    item.send("LOGIN_REPAIRED", type="ITEM")
    assert item.connection().reason is None


def test_one_account_that_is_revoked_stops_no_other(item: Item) -> None:
    receipt = item.send("USER_ACCOUNT_REVOKED", type="ITEM", account_id="acc_9")
    assert (receipt.action, receipt.datasets, item.connection().state) == ("marked", ("accounts",), "active")


@guarded(
    "an old disconnect undoes a relink",
    "webhooks.py",
    'if connection.state == "active" and event.at + timedelta(seconds=1) <= connection.updated_at:',
    "if False:",
)
def test_a_disconnect_that_was_overtaken_by_a_relink_changes_nothing(item: Item) -> None:
    body = plaid_body("USER_PERMISSION_REVOKED", type="ITEM")
    headers = item.signer.headers(body, item.clock())
    item.clock.advance(timedelta(seconds=90))
    with item.store() as store:
        Connections(store, Vault([Fernet.generate_key()]), item.clock).set_state(item.connection_id, "active", None)
    assert item.deliver(headers, body).action == "overtaken"
    assert item.connection().state == "active"
    assert item.send("USER_PERMISSION_REVOKED", type="ITEM").action == "reauth"


def count(store: Store, table: Any) -> int:
    with store.reading() as sql:
        return int(sql.scalar(select(func.count()).select_from(table)) or 0)


def test_threads_of_one_store_take_webhooks_at_once(item: Item) -> None:
    """Many doors, one store object: what an application with a thread pool has."""
    item.send("SYNC_UPDATES_AVAILABLE")
    failed: list[BaseException] = []
    with item.store() as store:

        def run(n: int) -> None:
            door = Door(item.settings, store, now=item.clock, base_urls={"plaid": item.url})
            try:
                for m in range(10):
                    body = plaid_body("HISTORICAL_UPDATE", n=n, m=m)
                    assert door.receive(PLAID, item.signer.headers(body, item.clock()), body).action == "marked"
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failed == []
        assert count(store, WEBHOOK_RECEIPTS) == 41
    assert item.marks() == ["transactions"]
