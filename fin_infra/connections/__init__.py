"""Connections: one credential at one provider for one tenant, its health, and where its secret lives."""

from __future__ import annotations

import json
import secrets as entropy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import insert, select, update

from fin_infra.connections.vault import Vault, open_vault
from fin_infra.datasets.accounts import Accounts
from fin_infra.errors import UsageError
from fin_infra.providers import REGISTRY, declared, resolve
from fin_infra.providers.base import Provider
from fin_infra.settings import Settings
from fin_infra.store import Alias, Store, open_store
from fin_infra.store.base import Now
from fin_infra.store.codec import from_micros, micros
from fin_infra.store.opening import utc_now
from fin_infra.store.sql import shown
from fin_infra.store.statements import changed, fetched, many
from fin_infra.store.tables import CONNECTIONS, DUE, LEFT_OUT, META, QUARANTINE, SECRETS, STAGED_PAGES, TABLES

if TYPE_CHECKING:
    import polars as pl

ONE = "SELECT * FROM connections WHERE connection_id = ?"
LEFT_OUT_OF = "SELECT account_id FROM left_out WHERE connection_id = ?"
SEALED_ONE = "SELECT body FROM secrets WHERE connection_id = ?"
SIMULATED = "simulated"  # the store is a demo's
NEW_ONES = "*"  # in place of an account: those that were never listed before are left out too
TOPOLOGY = "topology"  # counts changes of connections: the planner looks at this one number instead of at them all


@dataclass(frozen=True)
class Connection:
    """One credential at one provider. `state`: active, reauth (the user must act) or disabled; `reason` says why."""

    connection_id: str
    tenant_id: str
    provider: str
    state: str
    reason: str | None
    generation: int
    created_at: datetime
    quota_key: str = ""


class LeftOut(NamedTuple):
    """Accounts of a connection, by our ids, that are listed and never asked for; with `new_ones` also those that were
    never listed before."""

    accounts: frozenset[str] = frozenset()
    new_ones: bool = False


NOBODY = LeftOut()


class Connections:
    """The connections of a store, and their secrets in its vault."""

    def __init__(self, store: Store, vault: Vault, now: Now = utc_now) -> None:
        self._store = store
        self.vault = vault
        self._now = now

    def add(
        self, provider: Provider, secrets: Mapping[str, str], *, tenant: str, simulated: bool = False,
        choose: bool = False, instead_of: Connection | None = None, accounts: Mapping[str, str] | None = None,
    ) -> Connection:  # fmt: skip
        """Links a credential. Raises `UsageError` naming a field that is missing or unknown.

        `simulated`: of a demo. Its rows look like the vendor's own, so its store takes no real link ever after.
        `choose`: every account, and each that is new later, is left out until it is taken in: see `leave_out`.
        `instead_of`: a connection of the same tenant whose place it takes, which is disabled in the same transaction;
        `accounts`: those that it takes over, {the new vendor's id: ours}.
        """
        if instead_of is not None and instead_of.tenant_id != tenant:
            raise UsageError(f"{instead_of.connection_id} is another tenant's: nothing of it is handed over")
        if (why := REGISTRY.unlinkable(provider)) is not None and not simulated:
            raise UsageError(f"{provider.name} cannot be linked: {why}")
        body = self._sealed(provider, secrets)
        if not tenant.strip():
            raise UsageError("a tenant needs a name: --tenant NAME")
        connection_id = f"con_{entropy.token_hex(8)}"
        now = micros(self._now())
        with self._store.writing(alone=True) as sql:
            self._keep_apart(sql, simulated)
            sql.execute(
                insert(CONNECTIONS),
                {
                    "connection_id": connection_id, "tenant_id": tenant, "provider": provider.name, "state": "active",
                    "generation": 1, "created_at": now, "updated_at": now, "quota_key": provider.quota_key(secrets),
                },
            )  # fmt: skip
            sql.execute(insert(SECRETS), {"connection_id": connection_id, "generation": 1, "body": body})
            if choose:
                sql.execute(insert(LEFT_OUT), {"connection_id": connection_id, "account_id": NEW_ONES, "since": now})
            if instead_of is not None:
                old = instead_of.connection_id
                why = f"migrated from {instead_of.provider} {old}"
                names = [Alias("account", vendor_id, ours, why) for vendor_id, ours in sorted((accounts or {}).items())]
                self._store.learn(sql, connection_id, names)
                self._set(sql, old, state="disabled", reason=f"migrated to {provider.name} {connection_id}")
            _bump(sql)
        return self.get(connection_id)

    def _keep_apart(self, sql: SqlConnection, simulated: bool) -> None:
        marked = sql.scalar(select(META.c.value).where(META.c.name == SIMULATED))
        if simulated and marked is None:
            sql.execute(insert(META), {"name": SIMULATED, "value": 1})
        if marked is not None and not simulated:
            raise UsageError(
                f"{shown(self._store.url)} holds the demo's simulated rows, prices among them, which must not mix with "
                "real ones; set FIN_INFRA_STORE_URL to another file, or delete this one"
            )

    def relink(self, connection_id: str, secrets: Mapping[str, str]) -> Connection:
        """A new credential for the same connection: active again, cursors start anew, rows stay."""
        found = self.get(connection_id)
        provider = declared(found.provider)
        body = self._sealed(provider, secrets)
        with self._store.writing() as sql:
            generation = found.generation + 1
            sql.execute(SECRETS.delete().where(SECRETS.c.connection_id == connection_id))
            sql.execute(insert(SECRETS), {"connection_id": connection_id, "generation": generation, "body": body})
            self._set(
                sql, connection_id, state="active", reason=None, generation=generation,
                quota_key=provider.quota_key(secrets),
            )  # fmt: skip
            sql.execute(update(DUE).where(DUE.c.connection_id == connection_id).values(due_at=micros(self._now())))
        return self.get(connection_id)

    def get(self, connection_id: str) -> Connection:
        """Raises `UsageError` when there is none of this id."""
        with self._store.reading() as sql:
            found = fetched(sql, ONE, (connection_id,))
        if not found:
            raise UsageError(f"no connection {connection_id!r}; fin-infra connections ls shows them")
        return _connection(found[0])

    def all(self, *, provider: str | None = None, tenant: str | None = None) -> list[Connection]:
        statement = select(CONNECTIONS).order_by(CONNECTIONS.c.created_at, CONNECTIONS.c.connection_id)
        if provider is not None:
            statement = statement.where(CONNECTIONS.c.provider == provider)
        if tenant is not None:
            statement = statement.where(CONNECTIONS.c.tenant_id == tenant)
        with self._store.reading() as sql:
            return [_connection(row) for row in sql.execute(statement)]

    def secrets(self, connection: Connection) -> dict[str, str]:
        """The credential's fields. For the transport's `auth` alone."""
        with self._store.reading() as sql:
            found = fetched(sql, SEALED_ONE, (connection.connection_id,))
        if not found:
            raise UsageError(
                f"{connection.connection_id} has no secret in the vault; relink it", code="secret_unreadable"
            )
        opened: dict[str, str] = json.loads(self.vault.unseal(found[0][0]))
        self._keyed(connection, opened)
        return opened

    def _keyed(self, connection: Connection, secrets: Mapping[str, str]) -> None:
        """Whose quota it spends, where that was told before there was a name for it, or by another rule."""
        key = declared(connection.provider).quota_key(secrets)
        if connection.quota_key != key:
            with self._store.writing() as sql:
                self._set(sql, connection.connection_id, quota_key=key)

    def set_state(self, connection_id: str, state: str, reason: str | None) -> None:
        """active, reauth or disabled. Only an active connection is planned."""
        with self._store.writing() as sql:
            self._set(sql, connection_id, state=state, reason=reason)

    def refused(self, connection: Connection, reason: str) -> None:
        """Its credential was refused: reauth, unless it was replaced, disabled or removed meanwhile."""
        with self._store.writing() as sql:
            done = sql.execute(
                update(CONNECTIONS)
                .where(
                    CONNECTIONS.c.connection_id == connection.connection_id,
                    CONNECTIONS.c.generation == connection.generation,
                    CONNECTIONS.c.state == "active",
                )
                .values(state="reauth", reason=reason, updated_at=micros(self._now()))
            ).rowcount
            if done:
                _bump(sql)

    def left_out(self, connection_id: str) -> LeftOut:
        """What its owner does not want of it."""
        with self._store.reading() as sql:
            found = {row[0] for row in fetched(sql, LEFT_OUT_OF, (connection_id,))}
        return LeftOut(frozenset(found - {NEW_ONES}), NEW_ONES in found)

    def accounts(self, connection_id: str) -> list[dict[str, Any]]:
        """Its accounts as they are known: id, name, mask, kind, currency, status, and whether each is left out."""
        left = self.left_out(connection_id).accounts
        columns = ("account_id", "name", "mask", "kind", "currency", "status")
        mine = {"tenant_id": self.get(connection_id).tenant_id, "connection_id": connection_id}
        rows = sorted(self._store.values(Accounts, columns, mine))
        return [{**dict(zip(columns, row, strict=True)), "left_out": row[0] in left} for row in rows]

    def account_rows(self, connection_id: str) -> pl.DataFrame:
        """Its accounts that are open, as a frame of `accounts`."""
        mine = {"tenant_id": self.get(connection_id).tenant_id, "connection_id": connection_id}
        return self._store.rows(Accounts, {**mine, "status": "open"})

    def leave_out(self, connection_id: str, accounts: Iterable[str] = (), *, new_ones: bool = False) -> None:
        """These accounts are listed from now on, and never asked for; their rows stay. `new_ones`: so are all that
        were never listed before."""
        self.get(connection_id)
        names = sorted({*accounts, *((NEW_ONES,) if new_ones else ())})
        with self._store.writing() as sql:
            many(
                sql, "INSERT INTO left_out (connection_id, account_id, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(connection_id, name, micros(self._now())) for name in names],
            )  # fmt: skip
            self._say(sql, connection_id, names, "left_out")

    def take_in(self, connection_id: str, accounts: Iterable[str] | None = None) -> None:
        """These accounts, or all and those to come, are asked for again; what drives the connection is due now, and
        its next runs close the gap."""
        self.get(connection_id)
        mine = LEFT_OUT.c.connection_id == connection_id
        names = None if accounts is None else sorted(accounts)
        chosen = mine if names is None else mine & LEFT_OUT.c.account_id.in_(names)
        with self._store.writing() as sql:
            sql.execute(LEFT_OUT.delete().where(chosen))
            self._say(sql, connection_id, names, "stale")
            sql.execute(update(DUE).where(DUE.c.connection_id == connection_id).values(due_at=micros(self._now())))

    def _say(self, sql: SqlConnection, connection_id: str, accounts: Sequence[str] | None, state: str) -> None:
        """Of accounts that were asked for before: nothing will refresh them, or something will soon."""
        states = TABLES["account_states"]
        mine = states.c.connection_id == connection_id
        which = mine & (states.c.state == "left_out" if accounts is None else states.c.account_id.in_(accounts))
        if state != "left_out":
            which &= states.c.state == "left_out"
        sql.execute(update(states).where(which).values(state=state, error_code=None))

    def remove(self, connection_id: str, *, erase: bool = False) -> int:
        """Forgets the credential; with `erase` every row, version and page of the connection too. Rows removed."""
        if erase:
            with self._store.writing() as sql:
                _bump(sql)
            removed = self._store.erase(connection_id)
            if removed == 0:
                self.get(connection_id)  # says that there is none
            return removed
        self.get(connection_id)
        with self._store.writing() as sql:
            removed = sql.execute(SECRETS.delete().where(SECRETS.c.connection_id == connection_id)).rowcount
            sql.execute(DUE.delete().where(DUE.c.connection_id == connection_id))
            self._set(sql, connection_id, state="disabled", reason="removed; its rows are kept")
        return removed

    def reseal(self) -> int:
        """Everything sealed goes under the vault's newest key. How many values there were."""
        count = 0
        with self._store.writing() as sql:
            for table in (SECRETS, QUARANTINE, STAGED_PAGES):
                key = list(table.primary_key)
                for row in sql.execute(select(*key, table.c.body)).fetchall():
                    same = [column == value for column, value in zip(key, row, strict=False)]
                    sql.execute(update(table).where(*same).values(body=self.vault.reseal(row.body)))
                    count += 1
        return count

    def _sealed(self, provider: Provider, secrets: Mapping[str, str]) -> bytes:
        names = [field.name for field in provider.secrets]
        missing = [f.name for f in provider.secrets if f.required and not secrets.get(f.name, "").strip()]
        unknown = [name for name in secrets if name not in names]
        if missing or unknown:
            wrong = f"misses {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
            raise UsageError(f"the secret for {provider.name} {wrong}; its fields are: {', '.join(names)}")
        for field in provider.secrets:
            given = secrets.get(field.name, "").strip()
            if given and field.choices and given not in field.choices:
                raise UsageError(f"{field.name} of {provider.name} is one of: {', '.join(field.choices)}")
        if (fault := provider.fault(secrets)) is not None:
            raise UsageError(f"the secret for {provider.name} cannot be right: {fault}")
        if any("\ufffd" in value or not _is_text(value) for value in secrets.values()):
            raise UsageError(f"the secret for {provider.name} is not UTF-8 text")
        odd = [name for name, value in secrets.items() if not (value.strip().isascii() and value.strip().isprintable())]
        if odd:
            raise UsageError(
                f"{', '.join(odd)} of {provider.name} has a character that no key has; copy it anew from the vendor"
            )
        return self.vault.seal(json.dumps({name: value.strip() for name, value in secrets.items()}).encode())

    def _set(self, sql: SqlConnection, connection_id: str, **values: Any) -> None:
        sql.execute(
            update(CONNECTIONS)
            .where(CONNECTIONS.c.connection_id == connection_id)
            .values(updated_at=micros(self._now()), **values)
        )
        _bump(sql)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bump(sql: SqlConnection) -> None:
    changed(
        sql, "INSERT INTO meta (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = meta.value + 1",
        (TOPOLOGY,),
    )  # fmt: skip


def _connection(row: Sequence[Any]) -> Connection:
    connection_id, tenant_id, provider, state, reason, generation, created_at, _, quota_key = row
    at = from_micros(created_at)
    return Connection(
        connection_id, tenant_id, provider, state, reason, generation, at, quota_key or f"{provider}/{connection_id}"
    )


def connect(
    provider: str, secrets: Mapping[str, str], *, tenant: str, store: Store | None = None
) -> Connection:  # fmt: skip
    """Links a user's credential: `connect("banking:teller", {"access_token": …}, tenant="ada")`.

    The secret goes to the vault and nowhere else. Raises `UsageError` for an unknown provider or field.
    """
    return _open(store).add(resolve(provider), secrets, tenant=tenant)


def disconnect(connection_id: str, erase: bool = False, *, store: Store | None = None) -> None:
    """Forgets a credential; with `erase` all rows of the connection, their history and evidence as well."""
    _open(store).remove(connection_id, erase=erase)


def _open(store: Store | None) -> Connections:
    settings = Settings.load()
    return Connections(store or open_store(settings.store_url), open_vault(settings))


__all__ = ["NOBODY", "Connection", "Connections", "LeftOut", "Vault", "connect", "disconnect", "open_vault"]
