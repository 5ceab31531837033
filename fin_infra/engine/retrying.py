"""What is in quarantine, looked at and tried again with today's code."""

from __future__ import annotations

import json
import re
import secrets as entropy
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fin_infra.connections import Connection, Connections, Vault
from fin_infra.datasets.operations import Findings, Runs, Streams
from fin_infra.engine.books import run_row
from fin_infra.engine.delta import retried
from fin_infra.engine.parts import renamed
from fin_infra.engine.quarantine import finding_of
from fin_infra.engine.report import SyncReport
from fin_infra.engine.run import Run
from fin_infra.errors import FinInfraError, StaleCursor, UsageError
from fin_infra.outcomes import OK, where
from fin_infra.providers import declared
from fin_infra.providers.base import Source
from fin_infra.store import Applied, Batch, Change, Forgotten, Kept, Records, Store, Stream
from fin_infra.store.base import Book, Now

Sync = Callable[..., Awaitable[SyncReport]]
"""`Engine.sync`."""
SECRET = re.compile(r'("[a-z_]*(?:token|secret|password|api_key)"\s*:\s*)"[^"]*"', re.IGNORECASE)


@dataclass(frozen=True)
class Retried:
    """What came of it. `healed`: the entry is gone and its finding resolved; `said`: one sentence."""

    entry: Kept
    healed: bool
    said: str


def entry(store: Store, quarantine_id: str) -> Kept:
    """Raises `UsageError` when there is none of this id."""
    found = [kept for kept in store.quarantined() if kept.quarantine_id == quarantine_id]
    if not found:
        raise UsageError(f"{quarantine_id!r} is not in quarantine; fin-infra quarantine ls shows what is")
    return found[0]


def evidence(store: Store, vault: Vault, quarantine_id: str) -> bytes:
    """What was kept of an entry, decrypted: it may hold personal data."""
    sealed = store.evidence(quarantine_id)
    if sealed is None:
        raise UsageError(f"{quarantine_id!r} is not in quarantine any more; fin-infra quarantine ls shows what is")
    return vault.unseal(sealed)


def shown(body: bytes, secrets: Iterable[str]) -> str:
    """Evidence for people, without the connection's own secrets and without what looks like one."""
    text = body.decode("utf-8", "replace")
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 3:
            text = text.replace(secret, "…")
    return SECRET.sub(r'\1"…"', text)


async def retry(kept: Kept, store: Store, connections: Connections, sync: Sync, now: Now) -> Retried:
    """Tries an entry again. A row is built from its evidence and committed where it stands, without the vendor being
    asked; of a whole answer, or a row that is judged by what was asked for, the stream is synced now."""
    connection = connections.get(kept.connection_id)
    source = declared(connection.provider).source(kept.dataset)
    if source is None:
        return Retried(kept, False, f"{connection.provider} has no {kept.dataset} any more")
    body = evidence(store, connections.vault, kept.quarantine_id)
    if kept.kind == "row":
        told = json.loads(body)
        if source.series is None:
            return _row(kept, told, connection, source, store, now)
        return await _again(kept, store, sync, "", instruments=[told["columns"]["instrument"]])
    return await _again(kept, store, sync, _parsed(source, kept.dataset, body))


def _row(
    kept: Kept, told: dict[str, Any], connection: Connection, source: Source, store: Store, now: Now
) -> Retried:  # fmt: skip
    """Built by today's schema; if it holds, it is committed under the stream's cursor, which stays where it is."""
    schema, stream = source.feed(kept.dataset).schema, Stream(kept.connection_id, source.lead)
    run_id, at = f"run_{entropy.token_hex(8)}", now()
    texts = {**told["constants"], **told["columns"], "run_id": run_id}
    built = schema.build({name: [text] for name, text in texts.items()}, {})
    if built.rejects:
        return Retried(kept, False, f"still not kept: {built.rejects[0].reason}")
    if source.kind == "snapshot" and not _of_last_run(kept, store):
        return Retried(
            kept, False, f"a later run read {stream} anew, and two snapshots are never mixed; {_sync_hint(kept)}"
        )
    aliases = store.aliases(kept.connection_id)
    run = Run(connection, source, stream, run_id, "interactive", 1, at, at, aliases=aliases)
    base = {
        "tenant_id": kept.tenant_id, "connection_id": kept.connection_id, "provider": connection.provider,
        "fetched_at": at, "run_id": run_id,
    }  # fmt: skip

    def books(applied: Applied) -> list[Book]:
        found = store.records(Findings, {"finding_id": finding_of(kept.quarantine_id)})
        return [
            Records(Runs, [run_row(run, OK, applied, 0, base, at)]),
            Records(Findings, [{**row, **base, "state": "resolved"} for row in found]),
            Forgotten(kept.connection_id, [kept.quarantine_id]),
        ]

    cursor = store.cursor(stream, connection.generation)
    waiting = {page.subject for page in store.staged_pages(stream, cursor.generation)}
    rows = renamed(built.good, run, store)
    place = retried(cursor.body, rows, aliases, store) if source.kind == "cursor" else cursor.body
    batch = Batch([Change(schema, rows)], unfinished=sorted(waiting))
    try:
        applied = store.apply(batch, stream=stream, run_id=run_id, expect=cursor, next=place, books=books)
    except StaleCursor:
        return Retried(kept, False, f"{stream} was synced at the same moment; try again")
    inserted, updated, *_ = applied.total()
    return Retried(kept, True, "it holds now: " + ("a new row" if inserted else "changed" if updated else "as it was"))


def _of_last_run(kept: Kept, store: Store) -> bool:
    found = store.values(Streams, ("run_id",), {"connection_id": kept.connection_id, "dataset": kept.dataset})
    return [(kept.run_id,)] == found


async def _again(kept: Kept, store: Store, sync: Sync, parsed: str, **ordered: Any) -> Retried:
    """Asks the vendor again. Healed when the finding is, or, of one that nobody keeps any more, when the run is."""
    known = store.records(Findings, {"finding_id": finding_of(kept.quarantine_id), "state": "open"})
    report = await sync(kept.dataset, kept.connection_id, **ordered)
    open_still = store.records(Findings, {"finding_id": finding_of(kept.quarantine_id), "state": "open"})
    healed = not open_still if known else report.outcome in ("ok", "partial")
    if healed:
        store.record([Forgotten(kept.connection_id, [kept.quarantine_id])], connection_id=kept.connection_id)
        return Retried(kept, True, f"{parsed}synced: {report.sentence()}")
    return Retried(kept, False, f"{parsed}synced, and it is still so: {report.sentence()}")


def _parsed(source: Source, dataset: str, body: bytes) -> str:
    """Whether today's code can read the answer, as the begin of a sentence."""
    if not body:
        return "no answer was kept; "
    try:
        source.feed(dataset).parse(body)
    except FinInfraError as error:
        return f"the answer still cannot be read ({error.message}); "
    except Exception as error:  # its text may hold data
        return f"the answer still cannot be read ({where(error).partition(' < ')[0]}); "
    return "the answer can be read now; "


def _sync_hint(kept: Kept) -> str:
    return f"fin-infra sync {kept.dataset} --connection {kept.connection_id}"
