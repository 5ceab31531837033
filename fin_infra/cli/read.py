from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import polars as pl


def read(
    dataset: Annotated[str, typer.Argument(help="accounts, balances, transactions, holdings, prices, …")],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Rows of this tenant alone.")] = None,
    connection: Annotated[
        str | None, typer.Option("--connection", metavar="ID", help="Rows that came through it.")
    ] = None,
    account: Annotated[list[str] | None, typer.Option("--account", metavar="ID", help="May be repeated.")] = None,
    instrument: Annotated[
        list[str] | None, typer.Option("--instrument", metavar="KEY", help="Like us:AAPL; may be repeated.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DAY", help="From this day on.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="Up to and with this day.")] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="INSTANT", help="As known at that moment.")] = None,
    history: Annotated[bool, typer.Option("--history", help="All versions, with known_from and known_to.")] = False,
    all_providers: Annotated[
        bool, typer.Option("--all-providers", help="Of prices every vendor's row, not the preferred one.")
    ] = False,
    adjust: Annotated[
        str | None, typer.Option("--adjust", help="Of prices: split, or total for dividends too; default as traded.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="At most so many rows.")] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv, ndjson or parquet.")] = "table",
    locale: Annotated[
        str | None, typer.Option("--locale", metavar="NAME", help="The table as people of it write: de_CH, en_US.")
    ] = None,
) -> None:
    """Print rows of a dataset: now, as they were known once, or in all versions.

    Example: fin-infra read transactions --since 2026-11-01 --format csv
    """
    from fin_infra.cli.output import calendar_day, moment, put_frame
    from fin_infra.reader import read as scan

    rows = scan(
        dataset, tenant=tenant, connection=connection, accounts=account, instruments=instrument,
        since=calendar_day(since, "--since"), until=calendar_day(until, "--until"),
        as_of=moment(as_of, "--as-of"), history=history, all_providers=all_providers,
        adjust=adjust,  # type: ignore[arg-type]  # any text: it is checked there
    )  # fmt: skip
    frame = (rows if limit is None else rows.head(limit)).collect()
    if dataset == "prices" and not (history or all_providers):
        _tell_of_others(frame)
    put_frame(frame, form, dataset=dataset, locale=locale)


def _tell_of_others(prices: pl.DataFrame) -> None:
    """Whose bars an instrument's are, where that is not one vendor alone, or one that stands in for another."""
    import polars as pl

    from fin_infra.cli.output import say
    from fin_infra.providers import REGISTRY
    from fin_infra.reader import read as scan

    order = REGISTRY.order("prices")
    whose = prices.group_by("instrument", "provider").agg(pl.col("session").max()).sort("instrument", "session")
    several = {
        str(name): rows for (name,), rows in whose.group_by("instrument", maintain_order=True) if rows.height > 1
    }
    for name, rows in several.items():
        told = ", ".join(f"{provider} (last on {day})" for _, provider, day in rows.iter_rows())
        say(f"{name}: rows of more than one provider: {told}")
    standing = whose.filter(pl.col("provider").is_in(order[1:]) & ~pl.col("instrument").is_in(list(several)))
    if standing.is_empty():
        return
    open_ones = pl.col("kind").eq("standing_in") & pl.col("state").cast(pl.String).eq("open")
    found = scan("findings").filter(open_ones).collect()
    since = {
        (row["subject"], row["provider"]): (row["first_seen_at"].date(), row["detail"])
        for row in found.sort("first_seen_at", descending=True).iter_rows(named=True)
    }
    for name, provider, _ in standing.iter_rows():
        if (name, provider) in since:
            day, why = since[name, provider]
            before = " and ".join(order[: order.index(provider)])
            say(f"{name}: {provider} stands in for {before} since {day}: {why}")
