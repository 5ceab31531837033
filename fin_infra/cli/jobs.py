from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.runtime import SqlJobQueue

app = typer.Typer(no_args_is_help=True, help="The queue: what waits, runs, or could not be done.")


@app.command("ls")
def ls(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List all jobs in the queue.

    Example: fin-infra jobs ls
    """
    _list(None, as_json)


@app.command("dead")
def dead(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List dead letters: jobs that could not be done, with the reason.

    Example: fin-infra jobs dead
    """
    _list("dead", as_json)


@app.command("retry")
def retry(job_id: Annotated[int, typer.Argument(metavar="ID", help="The dead letter's number.")]) -> None:
    """Queue a dead letter again, with fresh attempts.

    Example: fin-infra jobs retry 17
    """
    from fin_infra.cli.output import say
    from fin_infra.errors import UsageError

    if not _queue().revive(job_id):
        raise UsageError(
            f"{job_id} is no dead letter, or its stream already has a live job; fin-infra jobs ls shows them"
        )
    say(f"job {job_id} is queued again")


def _queue() -> SqlJobQueue:
    from fin_infra.runtime import open_queue
    from fin_infra.settings import Settings

    return open_queue(Settings.load())


def _list(state: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from fin_infra.cli.output import put_json, say, table

    queue = _queue()
    jobs = queue.jobs(state)
    if as_json:
        for job in jobs:
            put_json(asdict(job))
        return
    columns = (
        "id",
        "state",
        "lane",
        "name",
        "unique_key",
        "attempts",
        "crashes",
        "deferrals",
        "available_at",
        "last_error",
    )
    table([[getattr(job, column) for column in columns] for job in jobs], columns)
    say(f"{len(jobs)} jobs; {queue.stats().done} done since the queue was made")
