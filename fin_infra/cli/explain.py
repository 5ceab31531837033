from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fin_infra.engine.reasons import Waiting
    from fin_infra.planning.schedules import Schedule
    from fin_infra.settings import Settings
    from fin_infra.store import Stream


def explain(
    subject: Annotated[
        list[str],
        typer.Argument(metavar="SUBJECT...", help="CONNECTION/DATASET, a connection, or: transaction ID."),
    ],
    tenant: Annotated[str | None, typer.Option(help="Of a transaction: whose.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say why a stream is as it is, or why two rows of the vendor are one transaction of ours.

    Of a stream: its state, what was tried, what it waits for, what is wrong. Of a transaction, as `transaction ID`: the
    names it had, what it took the place of, each version, and on what evidence.

    Example: fin-infra explain con_0123456789abcdef/transactions
    """
    from fin_infra.errors import UsageError

    match subject:
        case ["transaction", transaction_id]:
            _transaction(transaction_id, tenant, as_json)
        case [name] if name != "transaction":
            _stream(name, as_json)
        case _:
            raise UsageError("say what: fin-infra explain CONNECTION/DATASET, or fin-infra explain transaction ID")


def _transaction(transaction_id: str, tenant: str | None, as_json: bool) -> None:
    from fin_infra.cli.output import put, put_json
    from fin_infra.engine.explaining import explain_transaction
    from fin_infra.settings import Settings
    from fin_infra.store import open_store

    for story in explain_transaction(transaction_id, open_store(Settings.load().store_url), tenant=tenant):
        if as_json:
            put_json(story.as_dict())
        else:
            put("\n  ".join(story.sentences()))


def _stream(name: str, as_json: bool) -> None:
    from contextlib import closing

    from fin_infra.cli.output import put, put_json
    from fin_infra.cli.plan import outlook
    from fin_infra.connections import Connections, open_vault
    from fin_infra.engine.condition import as_dict, facts_of, sentences
    from fin_infra.providers import declared
    from fin_infra.settings import Settings
    from fin_infra.store import open_store
    from fin_infra.store.opening import utc_now

    settings, now = Settings.load(), utc_now()
    store = open_store(settings.store_url)
    connection_id, _, dataset = name.partition("/")
    connection = Connections(store, open_vault(settings)).get(connection_id)
    jobs = _jobs(settings)
    schedules = _schedules(settings)
    calendars = {one.name: one.calendar for one in schedules if one.calendar is not None}
    with closing(outlook(settings, schedules, now)) as ahead:
        for one in [dataset] if dataset else declared(connection.provider).datasets:
            facts = facts_of(
                store, connection, one, jobs, calendars=calendars, new=ahead.new,
                budget=lambda lead: ahead.budget(connection.quota_key, lead, _lane(jobs, lead)),
            )  # fmt: skip
            if as_json:
                put_json(as_dict(facts, now, settings.objectives.get(one)))
            else:
                put("\n  ".join(sentences(facts, now, settings.objectives.get(one))))


def _schedules(settings: Settings) -> Sequence[Schedule]:
    """Those of the project; none where it cannot be read, for then there is the more to explain."""
    from fin_infra.cli.output import say
    from fin_infra.errors import UsageError
    from fin_infra.project import find_project

    try:
        return find_project(settings).schedules
    except UsageError as error:
        say(f"the schedules are left out: {error.message}")
        return ()


def _jobs(settings: Settings) -> dict[str, list[Waiting]]:
    """Jobs of the queue by the stream they drive."""
    from fin_infra.engine.reasons import Waiting
    from fin_infra.runtime import open_queue

    found: dict[str, list[Waiting]] = {}
    queue = open_queue(settings)
    for job in queue.jobs():
        if job.unique_key:
            told = Waiting(job.id, job.state, job.available_at, job.lease_until, job.attempts, job.last_error, job.lane)
            found.setdefault(job.unique_key, []).append(told)
    queue.close()
    return found


def _lane(jobs: Mapping[str, Sequence[Waiting]], stream: Stream) -> str | None:
    """Of its job that waits, if one does."""
    return next((job.lane for job in jobs.get(str(stream), ()) if job.state == "queued"), None)
