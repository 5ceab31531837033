from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.settings import Settings


def doctor(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Look at settings, files, project and queue, and say what is wrong and what would help. Exit 1 if anything is.

    Example: fin-infra doctor
    """
    from fin_infra.cli.output import put, put_json

    found = list(_checks())
    if as_json:
        put_json([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in found])
    else:
        for name, ok, detail in found:
            put(f"{'ok ' if ok else 'BAD'}  {name}: {detail}")
    if not all(ok for _, ok, _ in found):
        raise SystemExit(1)


def _checks() -> Iterator[tuple[str, bool, str]]:
    from fin_infra.settings import Settings

    settings = Settings.load()
    yield _check("project", lambda: _project(settings))
    yield _check("store", lambda: _store(settings))
    yield _check("vault", lambda: _vault(settings))
    yield _check("queue", lambda: _queue(settings))
    yield _check("quotas", lambda: _quotas(settings))
    yield _check("freshness", lambda: _fresh(settings))
    yield _check("quarantine", lambda: _quarantined(settings))
    yield _check("watchlist", lambda: _watched(settings))
    yield _check("orders", lambda: _orders(settings))
    yield from _vendors(settings)


def _check(name: str, look: Callable[[], tuple[bool, str]]) -> tuple[str, bool, str]:
    from fin_infra.errors import FinInfraError

    try:
        ok, detail = look()
    except FinInfraError as error:
        return name, False, error.message
    return name, ok, detail


def _watched(settings: Settings) -> tuple[bool, str]:
    from fin_infra.instruments import calendar_of

    unknown = [key for key in settings.watched if calendar_of(key) is None]
    if unknown:
        return False, f"FIN_INFRA_WATCHLIST: no calendar is known of {', '.join(unknown)}; nobody will price them"
    return True, f"{len(settings.watched)} instruments beside those held"


def _project(settings: Settings) -> tuple[bool, str]:
    from fin_infra.engine.backfilling import JOB as BACKFILL
    from fin_infra.project import find_project

    project = find_project(settings)
    idle = set(project.jobs) - {schedule.rule.job for schedule in project.schedules} - {BACKFILL}
    detail = f"{project.root}: {len(project.jobs)} jobs, {len(project.schedules)} schedules"
    return True, detail + (f"; no schedule runs {', '.join(sorted(idle))}" if idle else "")


def _store(settings: Settings) -> tuple[bool, str]:
    from fin_infra.store import open_store
    from fin_infra.store.sql import shown

    store, where = open_store(settings.store_url), shown(settings.store_url)
    if settings.store_file is None:
        store.close()
        return True, f"{where} answers, its tables are this version's"
    with store.reading() as sql:
        verdict = sql.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    store.close()
    if verdict != "ok":
        return False, f"{where} is damaged ({verdict}); restore it from a backup"
    return True, f"{where} is whole"


def _vault(settings: Settings) -> tuple[bool, str]:
    from fin_infra.connections import Connections, open_vault
    from fin_infra.errors import FinInfraError
    from fin_infra.store import open_store

    connections = Connections(open_store(settings.store_url), open_vault(settings))
    bad = []
    linked = [c for c in connections.all() if c.state != "disabled"]
    for connection in linked:
        try:
            connections.secrets(connection)
        except FinInfraError:
            bad.append(connection.connection_id)
    if bad:
        return (
            False,
            f"secrets of {', '.join(bad)} cannot be read with the keys at hand; put the old key back or relink",
        )
    return True, f"{len(linked)} secrets can be read"


def _queue(settings: Settings) -> tuple[bool, str]:
    from fin_infra.runtime import open_queue

    queue = open_queue(settings)
    stats = queue.stats()
    queue.close()
    detail = f"{stats.ready} ready, {stats.later} later, {stats.running} running, {stats.dead} dead"
    return stats.dead == 0, detail + ("; see fin-infra jobs dead" if stats.dead else "")


def _quotas(settings: Settings) -> tuple[bool, str]:
    """Whether the ledger can be used, what the settings say of plans, and what vendors refused nevertheless."""
    from fin_infra.providers.metering import Quotas
    from fin_infra.runtime.app import quota_ledger
    from fin_infra.store.sql import shown

    Quotas(settings.environment).check()
    ledger = quota_ledger(settings)
    rows = ledger.frame()
    ledger.close()
    throttled = int(rows["throttled"].sum())
    detail = f"{shown(settings.effective_quota_url)} counts {rows.height} windows"
    return True, detail + (f"; vendors refused {throttled} calls because of a limit" if throttled else "")


def _fresh(settings: Settings) -> tuple[bool, str]:
    """Whether runs happen at all. A run that failed has said why; one that never came says nothing."""
    from fin_infra.connections import Connections, open_vault
    from fin_infra.engine.freshness import expected_since
    from fin_infra.reader import read
    from fin_infra.store import open_store
    from fin_infra.store.opening import utc_now

    now, objectives = utc_now(), settings.objectives
    store = open_store(settings.store_url)
    active = {c.connection_id for c in Connections(store, open_vault(settings)).all() if c.state == "active"}
    rows = read("streams", store=store).select("connection_id", "dataset", "last_attempt_at").collect().rows()
    store.close()
    streams = [row for row in rows if row[0] in active]
    silent = [
        f"{connection}/{dataset}"
        for connection, dataset, tried in streams
        if tried is not None and dataset in objectives and tried < expected_since(dataset, now, objectives[dataset])
    ]
    if silent:
        return False, f"{len(silent)} streams were not even tried for too long, {silent[0]} first: does a worker run?"
    return True, f"{len(streams)} streams were tried in time"


def _quarantined(settings: Settings) -> tuple[bool, str]:
    from fin_infra.store import open_store

    store = open_store(settings.store_url)
    count = len(store.quarantined())
    store.close()
    return True, f"{count} entries" + ("; see fin-infra quarantine ls" if count else "")


def _orders(settings: Settings) -> tuple[bool, str]:
    """Orders of which nobody knows whether they were placed, and sessions that a broker's calendar has otherwise."""
    from fin_infra.datasets.operations import Findings
    from fin_infra.orders import OPEN, OrderBooks
    from fin_infra.orders.calendar import KIND
    from fin_infra.store import open_store
    from fin_infra.store.opening import utc_now

    store = open_store(settings.store_url)
    unknown = [order for order in OrderBooks(store, utc_now).all() if order.state in OPEN]
    differing = store.records(Findings, {"kind": KIND, "state": "open"})
    store.close()
    if unknown:
        return False, f"of {len(unknown)} orders nobody knows whether they were placed; fin-infra orders settle tells"
    if differing:
        return False, f"a broker's calendar is not ours: {differing[0]['detail']}; fin-infra orders check looks again"
    return True, "of every order it is known what became of it"


def _vendors(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    from fin_infra.providers import declared, names

    for name in names():
        provider = declared(name)

        def look() -> tuple[bool, str]:
            from fin_infra.runtime.http import client_certificate

            shown = client_certificate(settings, provider) is not None  # noqa: B023 - called at once
            if not any(field.name == "certificate" for field in provider.app_fields):  # noqa: B023
                return True, "needs no settings"
            return True, "client certificate set" if shown else "no client certificate: enough for the sandbox"

        yield _check(f"provider {name}", look)
