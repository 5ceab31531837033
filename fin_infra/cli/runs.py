from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="What was tried, and what came of it.")


@app.command("ls")
def ls(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    connection: Annotated[str | None, typer.Option("--connection", metavar="ID", help="Only this one's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the newest runs, and how many things each was the last to find.

    Example: fin-infra runs ls --limit 5
    """
    import polars as pl

    from fin_infra.cli.output import put_json, table
    from fin_infra.reader import read
    from fin_infra.store import open_store

    store = open_store()
    runs = read("runs", connection=connection, store=store).collect().sort("started_at", "run_id", descending=True)
    found = read("findings", connection=connection, store=store).collect().group_by("run_id").agg(findings=pl.len())
    runs = runs.head(limit).join(found, on="run_id", how="left", maintain_order="left")
    runs = runs.with_columns(pl.col("findings").fill_null(0))
    if as_json:
        for row in runs.to_dicts():
            put_json(row)
        return
    columns = ("run_id", "started_at", "connection_id", "dataset", "outcome", "inserted", "updated", "removed",
               "unchanged", "calls", "findings", "error_code")  # fmt: skip
    table(runs.select(columns).iter_rows(), columns)


@app.command("show")
def show(run_id: Annotated[str, typer.Argument(metavar="RUN", help="run_….")]) -> None:
    """Show one run, what it changed and what it found.

    Example: fin-infra runs show run_0123456789abcdef
    """
    import polars as pl

    from fin_infra.cli.output import put_json
    from fin_infra.errors import UsageError
    from fin_infra.reader import read
    from fin_infra.store import open_store

    store = open_store()
    found = read("runs", store=store).filter(pl.col("run_id") == run_id).collect()
    if found.is_empty():
        raise UsageError(f"no run {run_id!r}; fin-infra runs ls shows them")
    changes = store.changes(connection=found["connection_id"][0]).filter(pl.col("run_id") == run_id)
    findings = read("findings", store=store).filter(pl.col("run_id") == run_id).collect()
    put_json(
        {
            "run": found.to_dicts()[0],
            "changes": changes.select("dataset", "op", "key").to_dicts(),
            "findings": findings.select("dataset", "kind", "subject", "detail", "state").to_dicts(),
        }
    )
