"""Webhooks: proven on the raw bytes, each delivery counted once, and what it announces marked due.

A webhook is never data here, only the news that there is some: its stream is asked as ever, sooner. So one that is lost
costs time and nothing else, and one that is refused changes nothing.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import delete, func, select, text, union, update

from fin_infra.errors import FinInfraError, TransientError, UsageError, WebhookRefused
from fin_infra.planning import mark
from fin_infra.providers.base import Follows, Provider, WebhookEvent, Webhooks
from fin_infra.store import Store, Stream
from fin_infra.store.base import Now
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.erasing import erase_rows
from fin_infra.store.tables import ALIASES, CONNECTIONS, META, TABLES, WEBHOOK_KEYS, WEBHOOK_RECEIPTS

LARGEST = 1 << 20  # bytes of a body: no webhook comes near, and nothing is proven before it is hashed
MOST_ACCOUNTS = 200
RECEIPTS_KEPT = timedelta(days=1)  # far longer than any signature is good
KEY_KEPT = timedelta(days=1)
KEY_PAUSE = timedelta(minutes=1)
"""A key that the vendor did not give is asked for again after this, not before."""
KEYS_A_PAUSE = 10
"""So many unknown keys are asked for within `KEY_PAUSE`: anybody can name one, and each costs a call to the vendor."""
PRUNED = "webhooks_pruned"

Action = Literal[
    "marked", "reauth", "active", "warned", "nothing", "disabled", "overtaken", "unknown_login", "duplicate"
]
AskKey = Callable[[Provider, str], str]


@dataclass(frozen=True)
class WebhookReceipt:
    """What came of a webhook: answer 200 to all of these.

    `event`: the vendor's word for it. `action`: marked (`datasets` are due), reauth (the login works no more), active
    (it works again, everything is due), warned (it will end, and still works), nothing (it concerns no stream of ours),
    disabled, overtaken (older than the connection's newest credential), unknown_login (linked later, or not here) or
    duplicate (this very delivery came before). `connections`: those concerned, mostly one. `datasets`: the streams that
    are due, by the dataset that leads each.
    """

    provider: str
    event: str
    action: Action
    connections: tuple[str, ...] = ()
    login: str | None = None
    datasets: tuple[str, ...] = ()

    @property
    def duplicate(self) -> bool:
        return self.action == "duplicate"

    @property
    def connection_id(self) -> str | None:
        """The connection it concerns; None for none. Where a login is linked twice, the first of them."""
        return next(iter(self.connections), None)


class Linked(NamedTuple):
    """A connection as far as a webhook is concerned with it."""

    connection_id: str
    state: str
    reason: str | None
    updated_at: datetime


class Receiver:
    """Receives a store's webhooks, in any number of threads and processes. `ask_key` asks a vendor for a public key."""

    def __init__(self, store: Store, *, now: Now, ask_key: AskKey) -> None:
        self._store = store
        self._now = now
        self._keys = Keys(store, now=now, ask=ask_key)

    def receive(
        self, provider: Provider, headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str] = ()
    ) -> WebhookReceipt:
        """See `fin_infra.receive_webhook`. `secrets`: the application's, where the vendor signs with one."""
        webhooks = provider.webhooks
        if webhooks is None:
            raise UsageError(f"{provider.name} sends no webhooks that we know of")
        if not isinstance(body, bytes):
            raise UsageError("the raw bytes of a webhook's body are what is proven; hand on those, not text or JSON")
        if len(body) > LARGEST:
            raise WebhookRefused(
                f"a webhook of {provider.name} has {len(body)} bytes, no real one has; it was not used"
            )
        headers = {name.lower(): value.strip() for name, value in headers.items()}
        now = self._now()
        keys = secrets
        if webhooks.key_id is not None:
            keys = [self._keys.get(provider, webhooks.key_id(headers, body))]
        event = webhooks.verify(headers, body, keys, now)
        digest = _digest(webhooks, headers, body)
        with self._store.writing() as sql:
            if not self._first_time(sql, provider, digest, now):
                return WebhookReceipt(provider.name, event.name, "duplicate", login=event.login)
            return self._follow(sql, provider, webhooks.events.get(event.name, Follows()), event, digest, now)

    def _first_time(self, sql: SqlConnection, provider: Provider, digest: str, now: datetime) -> bool:
        """Notes the delivery, in the transaction of what follows from it. False when it is noted already."""
        self._prune(sql, now)
        return bool(
            sql.execute(
                RECEIPT,
                {"provider": provider.name, "digest": digest, "now": micros(now)},
            ).rowcount
        )

    def _prune(self, sql: SqlConnection, now: datetime) -> None:
        """Once an hour what is too old to come again leaves: it is found by walking over all."""
        last = sql.scalar(select(META.c.value).where(META.c.name == PRUNED))
        if last is not None and last > micros(now - timedelta(hours=1)):
            return
        if last is None:
            sql.execute(
                text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"),
                {"name": PRUNED, "value": micros(now)},
            )
        else:
            sql.execute(update(META).where(META.c.name == PRUNED).values(value=micros(now)))
        sql.execute(delete(WEBHOOK_RECEIPTS).where(WEBHOOK_RECEIPTS.c.received_at < micros(now - RECEIPTS_KEPT)))
        sql.execute(
            delete(WEBHOOK_KEYS).where(WEBHOOK_KEYS.c.body == "", WEBHOOK_KEYS.c.fetched_at < micros(now - KEY_KEPT))
        )

    def _follow(
        self, sql: SqlConnection, provider: Provider, follows: Follows, event: WebhookEvent, digest: str, now: datetime
    ) -> WebhookReceipt:  # fmt: skip
        if follows == Follows():
            return WebhookReceipt(provider.name, event.name, "nothing", login=event.login)
        if follows.erase and event.rows:
            erase_rows(sql, follows.erase, provider.name, event.rows, now)
        linked = _linked(sql, provider.name, event)
        if not linked:
            return WebhookReceipt(provider.name, event.name, "unknown_login", login=event.login)
        actions: list[Action] = []
        due: dict[str, None] = {}
        for connection in linked:
            action, leads = self._of_connection(sql, provider, follows, event, connection, now)
            actions.append(action)
            for lead in leads:
                mark(sql, Stream(connection.connection_id, lead), digest, now)
                due[lead] = None
        ids = tuple(connection.connection_id for connection in linked)
        told = next((action for action in actions if action not in ("disabled", "overtaken")), actions[0])
        return WebhookReceipt(provider.name, event.name, told, ids, event.login, tuple(due))

    def _of_connection(
        self, sql: SqlConnection, provider: Provider, follows: Follows, event: WebhookEvent, connection: Linked,
        now: datetime,
    ) -> tuple[Action, list[str]]:  # fmt: skip
        """What it comes to for one connection, and which of its streams are due."""
        if connection.state == "disabled":
            return "disabled", []
        sources = [provider.source(name) for name in follows.due]
        leads = list(dict.fromkeys(source.lead for source in sources if source is not None))
        match follows.state:
            case "reauth":
                if connection.state == "active" and event.at + timedelta(seconds=1) <= connection.updated_at:
                    return "overtaken", []  # it was linked anew meanwhile; if not, its next run says so
                _stop(sql, connection, _reason(provider, follows, event), now)
                return "reauth", leads
            case "ending":
                if connection.state == "active":
                    _set(sql, connection, reason=_reason(provider, follows, event))
                return "warned", leads
            case "active":
                _start(sql, connection, now)
                return "active", [source.lead for source in provider.sources]
            case None:
                return ("marked" if leads else "nothing"), leads


class Kept(NamedTuple):
    """A public key as it is kept, "" for one that the vendor did not give, and since when."""

    body: str
    age: timedelta


class Keys:
    """Vendors' public keys, kept for a day in the store. Whoever names unknown ones costs few calls."""

    def __init__(self, store: Store, *, now: Now, ask: AskKey) -> None:
        self._store = store
        self._now = now
        self._ask = ask

    def get(self, provider: Provider, key_id: str) -> str:
        """The key, as the vendor's JSON. Raises `WebhookRefused` when there is none, one of ours when none answered."""
        known = self._kept(provider, key_id)
        if known is not None and known.body and known.age < KEY_KEPT:
            return known.body
        with ASKING:  # of the threads that miss a key one asks, the others wait and find it
            known = self._kept(provider, key_id)
            if known is not None and known.body and known.age < KEY_KEPT:
                return known.body
            if known is not None and not known.body and known.age < KEY_PAUSE:
                raise WebhookRefused(
                    f"a webhook of {provider.name} is signed with a key that {provider.name} did not give a moment "
                    "ago; it was not used"
                )
            self._claim(provider, key_id, known)
            body = self._asked(provider, key_id)
            with self._store.writing() as sql:
                self._keep(sql, provider, key_id, body)
            return body

    def _kept(self, provider: Provider, key_id: str) -> Kept | None:
        with self._store.reading() as sql:
            found = sql.execute(select(WEBHOOK_KEYS).where(*_is(provider, key_id))).one_or_none()
        return None if found is None else Kept(found.body, self._now() - from_micros(found.fetched_at))

    def _claim(self, provider: Provider, key_id: str, known: Kept | None) -> None:
        """Notes that the key is asked for, before it is: other processes leave it alone, and a crash loses nothing."""
        now = self._now()
        kept = WEBHOOK_KEYS.c
        with self._store.writing() as sql:
            unknown = sql.scalar(
                select(func.count()).select_from(WEBHOOK_KEYS).where(
                    kept.provider == provider.name, kept.body == "", kept.fetched_at > micros(now - KEY_PAUSE),
                )
            )  # fmt: skip
            if not (known and known.body) and (unknown or 0) >= KEYS_A_PAUSE:
                raise WebhookRefused(
                    f"webhooks of {provider.name} name many keys that it does not know; for a minute no other is asked "
                    "for, and this one was not used"
                )
            self._keep(sql, provider, key_id, "")

    def _asked(self, provider: Provider, key_id: str) -> str:
        try:
            return self._ask(provider, key_id)
        except TransientError:
            raise
        except FinInfraError as error:
            if error.code in ("auth_invalid", "permission_denied", "usage"):  # ours to correct, not the sender's
                raise
            raise WebhookRefused(
                f"a webhook of {provider.name} is signed with a key that {provider.name} did not give; it was not used"
            ) from None

    def _keep(self, sql: SqlConnection, provider: Provider, key_id: str, body: str) -> None:
        sql.execute(
            KEY, {"provider": provider.name, "key_id": key_id, "body": body, "now": micros(self._now())}
        )  # fmt: skip


ASKING = threading.Lock()
KEY = text(
    "INSERT INTO webhook_keys (provider, key_id, body, fetched_at) VALUES (:provider, :key_id, :body, :now) "
    "ON CONFLICT (provider, key_id) DO UPDATE SET body = excluded.body, fetched_at = excluded.fetched_at"
)
RECEIPT = text(
    "INSERT INTO webhook_receipts (provider, digest, received_at) VALUES (:provider, :digest, :now) "
    "ON CONFLICT DO NOTHING"
)


def _is(provider: Provider, key_id: str) -> tuple[Any, Any]:
    return WEBHOOK_KEYS.c.provider == provider.name, WEBHOOK_KEYS.c.key_id == key_id


def _digest(webhooks: Webhooks, headers: Mapping[str, str], body: bytes) -> str:
    """What makes a delivery this one: its proof and its body."""
    return hashlib.sha256(headers.get(webhooks.signature, "").encode() + b"\n" + body).hexdigest()


def _linked(sql: SqlConnection, provider: str, event: WebhookEvent) -> list[Linked]:
    """The connections of the login, or of the accounts where the webhook names no login; all, where it is of everyone.
    In the order of their ids.

    A login that a re-link has put another in the place of says nothing of the connection any more.
    """
    if event.login is not None:
        newer = ALIASES.alias()
        replaced = (
            select(newer.c.connection_id)
            .where(newer.c.connection_id == ALIASES.c.connection_id, newer.c.kind == "login")
            .where(newer.c.valid_from > ALIASES.c.valid_from)
            .exists()
        )
        ids = select(ALIASES.c.connection_id).where(
            ALIASES.c.kind == "login", ALIASES.c.vendor_id == event.login, ~replaced
        )
    elif event.everyone:
        ids = select(CONNECTIONS.c.connection_id).where(CONNECTIONS.c.provider == provider)
    elif event.accounts:
        named = list(event.accounts[:MOST_ACCOUNTS])
        accounts = TABLES["accounts"].c
        ids = union(
            select(accounts.connection_id).where(accounts.provider == provider, accounts.account_id.in_(named)),
            select(ALIASES.c.connection_id).where(ALIASES.c.kind == "account", ALIASES.c.vendor_id.in_(named)),
        )  # type: ignore[assignment]
    else:
        return []
    mine = CONNECTIONS.c
    rows = sql.execute(
        select(mine.connection_id, mine.state, mine.reason, mine.updated_at)
        .where(mine.provider == provider, mine.connection_id.in_(ids))
        .order_by(mine.connection_id)
    )
    return [Linked(row.connection_id, row.state, row.reason, from_micros(row.updated_at)) for row in rows]


def _reason(provider: Provider, follows: Follows, event: WebhookEvent) -> str:
    return f"{provider.name} says {event.word or event.name}; {follows.remedy}"


def _set(sql: SqlConnection, connection: Linked, **values: Any) -> None:
    sql.execute(update(CONNECTIONS).where(CONNECTIONS.c.connection_id == connection.connection_id).values(**values))


def _stop(sql: SqlConnection, connection: Linked, reason: str, now: datetime) -> None:
    """The user must act: nothing of it is asked any more, and every stream of it says so."""
    if connection.state != "active":
        return
    _set(sql, connection, state="reauth", reason=reason, updated_at=micros(now))
    streams = TABLES["streams"]
    sql.execute(
        update(streams)
        .where(streams.c.connection_id == connection.connection_id)
        .values(state="reauth", error_code="reauth_required", next_reason=reason)
    )


def _start(sql: SqlConnection, connection: Linked, now: datetime) -> None:
    """It works again: what its streams said of it is past, and they are stale until they have run."""
    _set(sql, connection, state="active", reason=None, updated_at=micros(now))
    streams = TABLES["streams"]
    sql.execute(
        update(streams)
        .where(streams.c.connection_id == connection.connection_id, streams.c.state == "reauth")
        .values(state="stale", error_code=None, next_reason=None)
    )


__all__ = ["Receiver", "WebhookReceipt"]
