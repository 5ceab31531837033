"""One question to a vendor, outside of any sync: to prove a key, to look something up, to link or forget a login."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from svc_infra.cache import cache_read, init_cache

from fin_infra.connections import Connection, Connections
from fin_infra.errors import UsageError
from fin_infra.providers.base import Acting, Found, Lookup, Provider
from fin_infra.providers.metering import QuotaMeter, Quotas
from fin_infra.runtime.app import quota_ledger
from fin_infra.runtime.http import HttpPool
from fin_infra.settings import Settings
from fin_infra.store.opening import utc_now

T = TypeVar("T")


async def asked(
    provider: Provider, ask: Callable[[Acting], Awaitable[T]], secrets: Mapping[str, str],
    connection: Connection | None = None, *, settings: Settings | None = None,
) -> T:  # fmt: skip
    """What a vendor answers to one question with these secrets, metered as all calls are. Raises our errors."""
    settings = settings or Settings.load()
    nobody = Connection("asking", "", provider.name, "active", None, 1, datetime.now(UTC))
    ledger = quota_ledger(settings)
    pool = HttpPool(settings, now=utc_now, meter=QuotaMeter(ledger, Quotas(settings.environment), utc_now))
    try:
        return await ask(pool.transport(provider, connection or nobody, secrets, "interactive"))
    finally:
        await pool.close()
        ledger.close()


def credentials(
    provider: Provider, connections: Connections, connection_id: str | None = None
) -> tuple[dict[str, str], Connection | None]:
    """Secrets with which a vendor may be asked: a connection's, the first active one's, or the settings'.

    Raises `UsageError` where there are none and the vendor wants some.
    """
    if connection_id is not None:
        one = connections.get(connection_id)
        if one.provider != provider.name:
            raise UsageError(f"{connection_id} is a connection of {one.provider}, not of {provider.name}")
        return connections.secrets(one), one
    active = next((one for one in connections.all(provider=provider.name) if one.state == "active"), None)
    if active is not None:
        return connections.secrets(active), active
    told = _set(provider)
    missing = [field.name for field in provider.secrets if field.required and field.name not in told]
    if missing:
        variables = " and ".join(map(Settings.load().vendor(provider.name).variable, missing))
        raise UsageError(f"no connection of {provider.name} is active: link one, or set {variables}")
    return told, None


def _set(provider: Provider) -> dict[str, str]:
    """The credential in the settings."""
    return Settings.load().vendor(provider.name).secrets(field.name for field in provider.secrets)


async def looked_up(
    provider: Provider, what: str, word: str, secrets: Mapping[str, str], connection: Connection | None = None
) -> list[Found]:
    """What a vendor finds for a word: `symbols`, `coins`, `institutions`. Kept by svc-infra's cache for as long as the
    lookup says; `FIN_INFRA_CACHE_URL` puts it where several processes share it.

    Raises `UsageError` for a lookup that the vendor does not have, and what the asking raises.
    """
    lookup = provider.lookups.get(what)
    if lookup is None:
        there = ", ".join(provider.lookups) or "nothing"
        raise UsageError(f"{provider.name} does not look up {what!r}; it looks up: {there}")
    word = word.strip()
    if not word:
        raise UsageError("what is looked for? give a word")
    found = [_found(row) for row in await _kept(provider, what, lookup, word, secrets, connection)]
    return [one for one in found if _matches(one, word.casefold())] if lookup.whole else found


async def _kept(
    provider: Provider, what: str, lookup: Lookup, word: str, secrets: Mapping[str, str], connection: Connection | None
) -> list[dict[str, Any]]:
    settings = Settings.load()
    _opened(settings.cache_url)

    async def ask(key: str) -> list[dict[str, Any]]:
        answered = await asked(provider, lambda http: lookup.ask(http, word), secrets, connection, settings=settings)
        return [asdict(one) for one in answered]

    # the key tells no word in clear: a cache may be shared
    told = "" if lookup.whole else hashlib.sha256(word.casefold().encode()).hexdigest()[:32]
    read = cache_read(key="lookup:{key}", ttl=int(lookup.keep.total_seconds()))(ask)
    rows: list[dict[str, Any]] = await read(key=f"{provider.name}:{what}:{told}")
    return rows


@lru_cache(maxsize=1)
def _opened(url: str) -> None:
    """Opens svc-infra's cache once: opened again, a cache in memory forgets all."""
    init_cache(url=url, prefix="fin_infra", version="1")


def _found(row: Mapping[str, Any]) -> Found:
    return Found(**row)


def _matches(found: Found, word: str) -> bool:
    """Whether a row of a whole list is meant: its id, its key or its name has the word, or a value is just it."""
    said = (found.symbol, found.instrument or "", found.name)
    return any(word in text.casefold() for text in said) or word in {v.casefold() for v in found.more.values()}


async def verified(
    connections: Connections, providers: Sequence[Provider], connection_id: str | None = None
) -> list[dict[str, Any]]:
    """Each credential proven by the vendor's cheapest call: `provider`, `connection`, `state` (good, refused, unknown
    or nothing to prove), `says`, `error_code`."""
    from fin_infra.errors import FinInfraError, OwnerActionError

    rows = []
    for provider in providers:
        pairs: list[tuple[dict[str, str] | None, Connection | None]] = [
            (None, one) for one in connections.all(provider=provider.name)
            if (one.state != "disabled" if connection_id is None else one.connection_id == connection_id)
        ]  # fmt: skip
        told = _set(provider)
        if not pairs and connection_id is None and told:
            pairs = [(told, None)]
        for secrets, one in pairs:
            row: dict[str, Any] = {
                "provider": provider.name, "connection": one.connection_id if one else "settings", "error_code": None
            }  # fmt: skip
            if provider.probe is None:
                rows.append({**row, "state": "nothing to prove", "says": f"{provider.name} needs no key"})
                continue
            try:
                given = secrets if secrets is not None else connections.secrets(one) if one else {}
                said = await asked(provider, provider.probe, given, one)
            except FinInfraError as error:
                state = "refused" if isinstance(error, OwnerActionError) else "unknown"
                rows.append({**row, "state": state, "says": error.message, "error_code": error.code})
            else:
                rows.append({**row, "state": "good", "says": said})
    return rows
